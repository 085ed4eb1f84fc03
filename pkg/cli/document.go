package cli

import (
	"context"
	"errors"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
	"github.com/oidc-broker/oidc-broker/pkg/policy/jwtrole"
)

// maxDocument bounds what is read of a document.
const maxDocument = 1 << 20

// readFile reads what an option or a variable names: a file, or a pipe for as long as
// --timeout allows.
func (a *app) readFile(path string, limit int64) ([]byte, error) {
	if a.reading == nil {
		return files.Read(path, limit)
	}
	return files.ReadWithin(a.reading, path, limit)
}

// document reads a file; - is standard input. option is the one that names it, ""
// for an argument.
func (a *app) document(option fault.Option, path string) ([]byte, error) {
	var b []byte
	var err error
	if path == "-" {
		b, err = files.ReadStream(a.reading, path, a.Stdin, maxDocument)
	} else {
		b, err = a.readFile(path, maxDocument)
	}
	cause := errors.Unwrap(err)
	if err == nil || cause == nil || errors.Is(err, context.Canceled) {
		return b, err
	}
	return nil, fault.New(fault.Local, "cannot read %s: %w", document(option, path), cause).HintsOf(err)
}

// document is how a message names a document.
func document(option fault.Option, path string) fault.Message {
	if option == "" {
		return fault.Messagef("%q", path)
	}
	return fault.Messagef("%s %q", option, path)
}

// optional reads and parses a document. Without a path there is none.
func optional[T any](a *app, option fault.Option, path string, parse func([]byte) (*T, error)) (*T, error) {
	if path == "" {
		return nil, nil
	}
	return parsed(a, option, path, parse)
}

// parsed reads and parses a document.
func parsed[T any](a *app, option fault.Option, path string, parse func([]byte) (*T, error)) (*T, error) {
	b, err := a.document(option, path)
	if err != nil {
		return nil, err
	}
	d, err := parse(b)
	if err != nil {
		return nil, fault.New(fault.KindOf(err), "%s: %w", document(option, path), err)
	}
	return d, nil
}

// vaultPolicy is a Vault role, and the configuration of its mount where that is
// known.
type vaultPolicy struct {
	role   *jwtrole.Role
	config *jwtrole.Config
}

func parseVault(b []byte) (*vaultPolicy, error) {
	role, config, err := jwtrole.Parse(b)
	return &vaultPolicy{role, config}, err
}

// parseClaimsFile reads a token's claims.
func parseClaimsFile(b []byte) (*policy.Claims, error) {
	c, err := policy.ParseClaims(b)
	return &c, err
}

// oneStdin refuses standard input for two documents.
func oneStdin(paths ...string) error {
	n := 0
	for _, p := range paths {
		if p == "-" {
			n++
		}
	}
	if n > 1 {
		return fault.New(fault.Usage, "standard input, -, is given for %d files", n)
	}
	return nil
}
