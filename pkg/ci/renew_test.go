package ci

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// TestRenew: the next token, for the audience of the one that ends; never that one
// again, however long it is still valid.
func TestRenew(t *testing.T) {
	old, next := tokenOf("old", 10*time.Minute), tokenOf("next", time.Hour)
	file := func(token string) func(*Finder) {
		path := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return func(f *Finder) { f.File = path }
	}
	held := map[string]string{EnvV1: old, EnvV2: next, "MINE": next}
	circleci := map[string]said{"circleci": {stdout: next + "\n"}}
	for _, row := range []struct {
		name    string
		path    map[string]said
		options func(*Finder)
		argv    string
		kind    fault.Kind // of the error, 0 for none
		words   string
	}{
		{"minted for its audience", circleci, func(*Finder) {}, `circleci run oidc get --claims {"aud":"the-audience"}`, 0, ""},
		{"by the agent", map[string]said{"circleci-agent": {stdout: next}}, func(*Finder) {}, `circleci-agent run oidc get --claims {"aud":"the-audience"}`, 0, ""},
		{"for an audience of one's own", circleci, func(f *Finder) { f.Audience = "mine" }, `circleci run oidc get --claims {"aud":"mine"}`, 0, ""},
		{"from the file", nil, file(next), "", 0, ""},
		{"nobody mints", nil, func(*Finder) {}, "", fault.Token, "neither circleci nor circleci-agent is on PATH"},
		{"the same once more", map[string]said{"circleci": {stdout: old}}, func(*Finder) {}, `circleci run oidc get --claims {"aud":"the-audience"}`, fault.Token,
			"there is no newer token in circleci run oidc get than the one that ends at 2025-11-13T22:23:52Z"},
		{"an expired one", map[string]said{"circleci": {stdout: tokenOf("late", -2*time.Minute)}}, func(*Finder) {}, `circleci run oidc get --claims {"aud":"the-audience"}`, fault.Token, "made a token that expired"},
		{"the same in the file", circleci, file(old), "", fault.Token, "there is no newer token in"},
		{"the file is gone", circleci, func(f *Finder) { f.File = "/nonexistent/token" }, "", fault.Local, "cannot read"},
		{"a variable does not change", circleci, func(f *Finder) { f.Env = "MINE" }, "", fault.Token, `the variable "MINE", which token-env names, gets no newer token`},
		{"nor does what was read", circleci, func(f *Finder) { f.File = "-" }, "", fault.Token, "standard input gives no second token"},
		{"guards hold", circleci, func(f *Finder) { f.Guards.Claims = []string{"sub=old"} }, `circleci run oidc get --claims {"aud":"the-audience"}`, fault.Refused, `require-claim: the token's sub is "next", not "old"`},
		{"options that contradict each other", circleci, func(f *Finder) { f.Audience, f.Env = "a", "MINE" }, "", fault.Usage, "give one of them"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(held, row.path)
			row.options(&w.Finder)
			was, err := oidc.Parse(old, EnvV1)
			if err != nil {
				t.Fatal(err)
			}
			got, err := w.Renew(t.Context(), was)
			switch {
			case row.kind == 0 && err != nil:
				t.Error(err)
			case row.kind == 0 && got.Subject != "next":
				t.Errorf("got the token of %q", got.Subject)
			case row.kind != 0 && (fault.KindOf(err) != row.kind || !strings.Contains(err.Error(), row.words)):
				t.Errorf("kind %d, %v", fault.KindOf(err), err)
			}
			last := ""
			if len(w.argv) > 0 {
				last = strings.Join(w.argv[len(w.argv)-1], " ")
			}
			if last != row.argv {
				t.Errorf("ran %q, want %q", last, row.argv)
			}
		})
	}
}
