package ci

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// minting makes a system one that mints a token for each want: none is in the
// environment.
func minting(s *System, mint func(ctx context.Context, f Finder, audience string) (oidc.Token, error)) *System {
	s.Mints = true
	s.Token = func(ctx context.Context, f Finder, w Want) (oidc.Token, error) { return mint(ctx, f, w.Audience) }
	s.Look = func(context.Context, Finder) (oidc.Token, bool, error) { return oidc.Token{}, false, nil }
	return s
}

// An endpoint is where a token is requested.
type endpoint struct {
	source  string // what names it, for messages: a variable
	request remote.Request
	field   string // of the answer's JSON that has the token; empty: the whole answer
	// refused is what to do where the answer is 401, 403 or 404.
	refused []string
}

// ask requests a token. Neither the URL nor a header is in an error.
func (e endpoint) ask(ctx context.Context, c *remote.Client) (oidc.Token, error) {
	a, err := c.Call(ctx, e.request)
	switch {
	case errors.Is(err, context.Canceled):
		return oidc.Token{}, context.Canceled
	case fault.KindOf(err) == fault.Usage:
		return oidc.Token{}, fault.New(fault.Token, "cannot request a token at %s: %w", e.source, err)
	case err != nil && a.Status == 0:
		return oidc.Token{}, fault.New(fault.Unavailable, "cannot request a token at %s: %w", e.source, err)
	case err != nil:
		return oidc.Token{}, fault.New(fault.KindOf(err), "cannot request a token at %s: %w", e.source, err)
	case a.Status == http.StatusUnauthorized, a.Status == http.StatusForbidden, a.Status == http.StatusNotFound:
		refusal := fault.New(fault.Token, "%s refuses to issue a token: it answers %d", e.source, a.Status)
		for _, h := range e.refused {
			refusal = refusal.Hint("%s", h)
		}
		return oidc.Token{}, refusal
	case a.Status != http.StatusOK:
		return oidc.Token{}, fault.New(fault.Token, "%s issues no token: it answers %d", e.source, a.Status)
	}
	raw := string(a.Body)
	if e.field != "" {
		var fields map[string]any
		if json.Unmarshal(a.Body, &fields) != nil {
			return oidc.Token{}, fault.New(fault.Token, "%s issues no token: its answer is no JSON", e.source).
				Hint("is something else behind this address, such as a proxy's or a login page?")
		}
		raw, _ = fields[e.field].(string)
	}
	if strings.TrimSpace(raw) == "" {
		return oidc.Token{}, fault.New(fault.Token, "%s issues no token: its answer has none", e.source)
	}
	t, err := oidc.Parse(raw, "the answer of "+e.source)
	if err == nil {
		t.Source = e.source
	}
	return t, err
}

// asked runs a program that prints a token.
func asked(ctx context.Context, f Finder, argv []string, command string, absent error) (oidc.Token, error) {
	ctx, cancel := context.WithTimeout(ctx, mintTime)
	defer cancel()
	stdout, stderr, err := f.Run(ctx, argv...)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return oidc.Token{}, absent
	case ctx.Err() == context.Canceled:
		return oidc.Token{}, context.Canceled
	case ctx.Err() != nil:
		return oidc.Token{}, fault.New(fault.Token, "%s did not end in time", command)
	}
	if err == nil {
		t, bad := oidc.Parse(string(stdout), "the output of '"+command+"'")
		if bad == nil {
			t.Source = command
			return t, nil
		}
		if strings.TrimSpace(string(stdout)) != "" {
			return oidc.Token{}, bad
		}
	}
	why := "it printed nothing"
	if err != nil {
		why = err.Error()
	}
	if line := firstLine(stderr); line != "" {
		why = line
	}
	return oidc.Token{}, fault.New(fault.Token, "%s made no token: %s", command, why)
}

// mintTime bounds one program's run. It takes a second or two.
const mintTime = 20 * time.Second

// jwtLike is what no message may repeat.
const jwtLike = `[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}(?:\.[A-Za-z0-9_-]*)?` // #nosec G101 -- a pattern

// firstLine returns the first line that is not empty, fit to be printed.
func firstLine(b []byte) string {
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" {
			return secret.Foreign(regexp.MustCompile(jwtLike).ReplaceAllString(line, "[secret]"))
		}
	}
	return ""
}
