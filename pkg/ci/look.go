package ci

import (
	"context"
	"net/url"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// Minters are the programs that can mint a token, in the order in which Find
// asks them.
func Minters() []string { return minters() }

// NoExec says whether programs below dir cannot be run.
func NoExec(dir string) bool { return noexec(dir) }

// Look returns the token that Find begins with, and mints none: it may have
// expired, and the Guards are not asked. found is false where there is none,
// which is no error where Find would mint one.
func (f Finder) Look(ctx context.Context) (t oidc.Token, found bool, err error) {
	switch {
	case f.Check() != nil:
		return oidc.Token{}, false, f.Check()
	case f.Audience != "":
		return oidc.Token{}, false, nil
	case f.Env != "" || f.File != "":
		t, err = f.find(ctx)
		return t, err == nil, err
	}
	return f.source().Look(ctx, f)
}

// Missing says which of the known reasons fits a job that has no token. canMint
// says that a program could make one: then nil means that no reason is known why
// it should not.
func (f Finder) Missing(canMint bool) error {
	if s := f.source(); s.Name != "circleci" {
		if s.Missing == nil {
			return nil
		}
		return s.Missing(f, f.wanted().Audience)
	}
	if !canMint {
		return f.missing(errNoMinter)
	}
	if e := f.reason(); e != nil {
		return e
	}
	return nil
}

// Unmet says what of the Guards a token has not: a fault.Refused, or a fault.Token
// for one that ends too soon.
func (g Guards) Unmet(t oidc.Token, now time.Time) error { return g.check(t, now) }

// Forked says whether the job builds somebody else's pull request, by the
// variables that CircleCI sets for no other.
func (f Finder) Forked() bool { return f.fork() }

// Expiration is the error of a token that has expired, where none can be minted.
func (f Finder) Expiration(t oidc.Token) error { return f.expired(t) }

// Origin returns a repository's URL as the claim vcs-origin has it, HOST/OWNER/REPO,
// or "" for what is no repository's URL.
func Origin(repository string) string {
	repository = strings.TrimSpace(repository)
	if !strings.Contains(repository, "://") {
		// As git and ssh write it: git@github.com:my-org/app.git
		host, path, ok := strings.Cut(repository, ":")
		if !ok {
			return ""
		}
		if _, after, user := strings.Cut(host, "@"); user {
			host = after
		}
		repository = "ssh://" + host + "/" + strings.TrimPrefix(path, "/")
	}
	u, err := url.Parse(repository)
	if err != nil || u.Hostname() == "" {
		return ""
	}
	path := strings.TrimSuffix(strings.Trim(u.Path, "/"), ".git")
	if path == "" {
		return ""
	}
	return strings.ToLower(u.Hostname()) + "/" + path
}

// CheckAlgorithm returns a fault.Token for a token that no cloud takes, whoever
// signed it: one that everybody could have signed.
func CheckAlgorithm(t oidc.Token) error {
	for _, a := range oidc.Algorithms {
		if string(a) == t.Algorithm {
			return nil
		}
	}
	return fault.New(fault.Token, "the token in %s is signed with %q, which no cloud accepts", t.Source, clipped(t.Algorithm)).
		Hint("use the token as the CI system gives it to the job")
}

func clipped(s string) string { return strings.ToValidUTF8(s[:min(len(s), 20)], "") }
