package ci

import (
	"strings"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

func TestOrigin(t *testing.T) {
	for in, want := range map[string]string{
		"":                                "",
		"git@github.com:my-org/app.git":   "github.com/my-org/app",
		"github.com:my-org/app":           "github.com/my-org/app",
		"https://github.com/my-org/app":   "github.com/my-org/app",
		"https://GitHub.com/My-Org/app/":  "github.com/My-Org/app",
		"https://x:y@github.com/o/r.git":  "github.com/o/r",
		"ssh://git@host:2222/a/b/c.git":   "host/a/b/c",
		"git@host:/a/b":                   "host/a/b",
		" https://github.com/my-org/app ": "github.com/my-org/app",
		"https://github.com":              "",
		"https://github.com/.git":         "",
		"not a url":                       "",
		"https://%zz":                     "",
		":":                               "",
	} {
		if got := Origin(in); got != want {
			t.Errorf("Origin(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzOrigin(f *testing.F) {
	for _, s := range []string{"git@github.com:my-org/app.git", "https://github.com/my-org/app", "ssh://git@h:22/x", "@:@:", "://"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got := Origin(s); got != "" && !strings.Contains(got, "/") {
			t.Errorf("Origin(%q) = %q", s, got)
		}
	})
}

// TestLook: what Find begins with, and nothing is minted, whatever the options.
func TestLook(t *testing.T) {
	v1, v2, old := tokenOf("v1", time.Hour), tokenOf("v2", time.Hour), tokenOf("old", -time.Hour)
	for _, row := range []struct {
		name   string
		f      Finder
		env    map[string]string
		source string // "": none
		err    string
	}{
		{"nothing", Finder{}, nil, "", ""},
		{"V1 first", Finder{}, map[string]string{EnvV1: v1, EnvV2: v2}, EnvV1, ""},
		{"V2 preferred", Finder{Version: "v2"}, map[string]string{EnvV1: v1, EnvV2: v2}, EnvV2, ""},
		{"an expired one", Finder{}, map[string]string{EnvV1: old}, EnvV1, ""},
		{"a guard is not asked", Finder{Guards: Guards{Claims: []string{"x=y"}}}, map[string]string{EnvV1: v1}, EnvV1, ""},
		{"a malformed one", Finder{}, map[string]string{EnvV1: "x", EnvV2: v2}, "", "has 1 part,"},
		{"a named one", Finder{Env: "MINE"}, map[string]string{"MINE": v1}, "MINE", ""},
		{"a named one that is not there", Finder{Env: "MINE"}, map[string]string{EnvV1: v1}, "", "is not set"},
		{"an audience", Finder{Audience: "x"}, map[string]string{EnvV1: v1}, "", ""},
		{"a contradiction", Finder{Audience: "x", Env: "MINE"}, nil, "", "give one of them"},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := newWorld(row.env, nil)
			f.Env, f.Audience, f.Version, f.Guards = row.f.Env, row.f.Audience, row.f.Version, row.f.Guards
			f.Run = nil // it would panic
			got, found, err := f.Look(t.Context())
			if found != (row.source != "") || got.Source != row.source {
				t.Errorf("found %v in %q, want %q", found, got.Source, row.source)
			}
			if (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
				t.Errorf("error %v, want %q", err, row.err)
			}
		})
	}
}

func TestMissing(t *testing.T) {
	job := map[string]string{"CIRCLECI": "true"}
	if err := newWorld(job, nil).Missing(true); err != nil {
		t.Errorf("a job that can mint: %v", err)
	}
	for name, row := range map[string]struct {
		env  map[string]string
		can  bool
		want string
	}{
		"a job that cannot mint":  {job, false, "neither CIRCLE_OIDC_TOKEN nor"},
		"a fork":                  {map[string]string{"CIRCLECI": "true", "CIRCLE_PR_USERNAME": "x"}, true, "forked pull request"},
		"no job":                  {nil, true, "no CI job is detected"},
		"no job that cannot mint": {nil, false, "no CI job is detected"},
	} {
		err := newWorld(row.env, nil).Missing(row.can)
		if err == nil || fault.KindOf(err) != fault.Token || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", name, err, row.want)
		}
	}
}

func TestCheckAlgorithm(t *testing.T) {
	for alg, ok := range map[string]bool{"RS256": true, "ES512": true, "none": false, "HS256": false, "": false, "rs256": false} {
		err := CheckAlgorithm(oidc.Token{Algorithm: alg, Source: "X"})
		if (err == nil) != ok || err != nil && fault.KindOf(err) != fault.Token {
			t.Errorf("%q: %v", alg, err)
		}
	}
}
