package ci

import (
	"context"
	"encoding/json"
	"maps"
	"path/filepath"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// Identity says on whose behalf Find's token would speak, without minting one: who
// has the same identity gets tokens that differ in their times alone. So what was
// got for one job is never taken for another's, of the same project or branch
// either. The options that choose and guard the token are a part of it. It is nil
// where nobody can say: the token can be read but once, or no variable tells for
// which job one would be minted.
func (f Finder) Identity(ctx context.Context) ([]string, error) {
	if err := f.Check(); err != nil {
		return nil, err
	}
	path := f.File
	if path != "" {
		if path == "-" || !files.Rereadable(path) {
			return nil, nil
		}
		var err error
		if path, err = filepath.Abs(path); err != nil {
			return nil, nil //nolint:nilerr // a file of which nobody can say which it is
		}
	}
	t, found, err := f.Look(ctx)
	if err != nil {
		return nil, err
	}
	g := f.Guards
	guards, err := json.Marshal(g)
	if err != nil {
		return nil, fault.New(fault.Internal, "cannot write the claims: %w", err)
	}
	id := []string{"env", f.Env, "file", path, "audience", f.Audience, "version", f.Version, "guards", string(guards)}
	if found {
		claims, err := lasting(t)
		return append(id, "claims", claims), err
	}
	job := f.source().Job
	if len(job) == 0 || f.Getenv(job[0]) == "" {
		return nil, nil
	}
	id = append(id, "ci", f.source().Name, "default", f.DefaultAudience)
	for _, name := range job {
		id = append(id, name, f.Getenv(name))
	}
	return id, nil
}

// lasting are the claims but those in which two tokens of one job differ.
func lasting(t oidc.Token) (string, error) {
	claims := maps.Clone(t.Claims)
	for _, name := range []string{"iat", "nbf", "exp", "jti"} {
		delete(claims, name)
	}
	b, err := json.Marshal(claims) // its members are sorted
	if err != nil {
		return "", fault.New(fault.Internal, "cannot write the claims: %w", err)
	}
	return string(b), nil
}
