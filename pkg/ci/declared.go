package ci

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// declared makes a system one whose tokens its configuration declares: they are in
// variables or files, and no other one can be had. missing says what to declare for an
// audience, ready to paste.
func declared(s *System, missing func(f Finder, audience string) error) *System {
	s.Missing = missing
	s.Token = func(_ context.Context, f Finder, w Want) (oidc.Token, error) {
		all, err := s.candidates(f)
		if err != nil {
			return oidc.Token{}, err
		}
		return s.chosen(f, all, w, missing)
	}
	s.Look = func(_ context.Context, f Finder) (oidc.Token, bool, error) {
		all, err := s.candidates(f)
		if err != nil || len(all) == 0 {
			return oidc.Token{}, false, err
		}
		t, err := s.chosen(f, all, Want{Audience: f.DefaultAudience}, missing)
		return t, err == nil, err
	}
	return s
}

// candidates are the tokens that the environment has.
func (s *System) candidates(f Finder) ([]oidc.Token, error) {
	var all []oidc.Token
	for _, pattern := range s.Variables {
		for _, name := range f.matching(pattern) {
			v := strings.TrimSpace(f.Getenv(name))
			if v == "" || pattern != name && !LooksLikeToken(v) {
				continue
			}
			t, err := oidc.Parse(v, name)
			if err != nil {
				return nil, err
			}
			all = append(all, t)
		}
	}
	for _, name := range s.Files {
		path := strings.TrimSpace(f.Getenv(name))
		if path == "" {
			continue
		}
		// A projected token is a symbolic link that moves with each rotation.
		b, err := files.Read(path, oidc.MaxToken+2)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, fault.New(fault.Token, "the file %q, which %s names, does not exist", path, name)
		case err != nil:
			return nil, err
		}
		t, err := oidc.Parse(string(b), fmt.Sprintf("the file of %s", name))
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

// matching are the set variables whose names match a pattern, sorted.
func (f Finder) matching(pattern string) []string {
	if !strings.Contains(pattern, "*") {
		return []string{pattern}
	}
	var names []string
	if f.Environ == nil {
		return nil
	}
	for _, v := range f.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if ok, _ := path.Match(pattern, name); ok && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// chosen returns the token for the audience. Where the user demanded none, the only one
// that is not declared for another receiver will do: its audience may be the one that the
// trust was made for.
func (s *System) chosen(f Finder, all []oidc.Token, w Want, missing func(f Finder, audience string) error) (oidc.Token, error) {
	var others []oidc.Token
	for _, t := range all {
		if w.Audience != "" && slices.Contains(t.Audience, w.Audience) {
			return t, nil
		}
		same := func(o oidc.Token) bool { return o.Raw.Reveal() == t.Raw.Reveal() }
		if t.Source != declaredName(t.Audience[0]) && !slices.ContainsFunc(others, same) {
			others = append(others, t)
		}
	}
	switch {
	case w.Demanded || len(others) == 0:
		return oidc.Token{}, missing(f, w.Audience)
	case len(others) == 1:
		return others[0], nil
	}
	var names []string
	for _, t := range others {
		names = append(names, t.Source)
	}
	e := fault.New(fault.Token, "several variables hold a token: %s", strings.Join(names, ", "))
	if w.Audience != "" {
		e = fault.New(fault.Token, "several variables hold a token, none of them for %s: %s", w.Audience, strings.Join(names, ", "))
	}
	return oidc.Token{}, e.Hint("%s chooses the one with that audience, %s the one in that variable", fault.Option("audience"), fault.Option("token-env"))
}

// declaredName is the variable by which sigstore's tools find the token for an audience.
func declaredName(audience string) string {
	upper := strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '_'
	}, strings.ToUpper(audience))
	return upper + "_ID_TOKEN"
}

// unavailable is the error of a job without a token for the audience.
func (s *System) unavailable(audience, why string) *fault.Error {
	if audience != "" {
		return fault.New(fault.Token, "no OpenID Connect token for the audience %q in this %s job: %s", audience, s.Title, why)
	}
	return fault.New(fault.Token, "no OpenID Connect token in this %s job: %s", s.Title, why)
}
