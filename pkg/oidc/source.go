package oidc

import "context"

// A TokenSource returns the job's token, and a new one where the last has expired and
// one can be had. A ci.Finder is a TokenSource.
type TokenSource interface {
	Token(context.Context) (Token, error)
}

// TokenSourceFunc is a function as a TokenSource.
type TokenSourceFunc func(context.Context) (Token, error)

// Token calls the function.
func (f TokenSourceFunc) Token(ctx context.Context) (Token, error) { return f(ctx) }
