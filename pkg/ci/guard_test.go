package ci

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

func TestGuards(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	token := oidc.Token{Source: "MINE", Subject: "me", Expiry: now.Add(10 * time.Minute), Claims: map[string]any{
		"sub": "me", "number": json.Number("42"), "null": nil, "project-id": "not CircleCI's",
		ClaimPrefix + "vcs-ref": "refs/heads/a=b", ClaimPrefix + "project-id": "p",
		ClaimPrefix + "ssh-rerun": false, ClaimPrefix + "context-ids": []any{"one", "two", []any{"three"}},
	}}
	rerun := token
	rerun.Claims = map[string]any{ClaimPrefix + "ssh-rerun": true}
	text := token
	text.Claims = map[string]any{ClaimPrefix + "ssh-rerun": "true"}
	for _, row := range []struct {
		name  string
		token oidc.Token
		g     Guards
		kind  fault.Kind // 0: it passes
		words string
	}{
		{"none", token, Guards{}, 0, ""},
		{"text", token, Guards{Claims: []string{"sub=me"}}, 0, ""},
		{"two", token, Guards{Claims: []string{"sub=me", "sub=you"}}, fault.Refused, `require-claim: the token's sub is "me", not "you"`},
		{"CircleCI's own", token, Guards{Claims: []string{"vcs-ref=refs/heads/a=b"}}, 0, ""},
		{"with its prefix", token, Guards{Claims: []string{ClaimPrefix + "project-id=p"}}, 0, ""},
		{"the whole name first", token, Guards{Claims: []string{"project-id=p"}}, fault.Refused, `"not CircleCI's"`},
		{"boolean", token, Guards{Claims: []string{"ssh-rerun=false"}}, 0, ""},
		{"number", token, Guards{Claims: []string{"number=42"}}, 0, ""},
		{"in a list", token, Guards{Claims: []string{"context-ids=two"}}, 0, ""},
		{"in a list of a list", token, Guards{Claims: []string{"context-ids=three"}}, fault.Refused, `["one","two",["three"]]`},
		{"not in a list", token, Guards{Claims: []string{"context-ids=on"}}, fault.Refused, "context-ids"},
		{"null is no text", token, Guards{Claims: []string{"null="}}, fault.Refused, "is null"},
		{"absent is no text", token, Guards{Claims: []string{"absent="}}, fault.Refused, "the token's absent is not there"},
		{"no rerun", token, Guards{RefuseSSHRerun: true}, 0, ""},
		{"a rerun", rerun, Guards{RefuseSSHRerun: true}, fault.Refused, "refuse-ssh-rerun: the token's ssh-rerun is true"},
		{"a rerun as text", text, Guards{RefuseSSHRerun: true}, fault.Refused, `ssh-rerun is "true"`},
		{"unknown means no", oidc.Token{Expiry: token.Expiry}, Guards{RefuseSSHRerun: true}, fault.Refused, "not there"},
		{"long enough", token, Guards{MinValidity: 10 * time.Minute}, 0, ""},
		{"too short", token, Guards{MinValidity: 11 * time.Minute}, fault.Token, "the token from MINE is still valid for 10m0s, less than 11m0s"},
	} {
		t.Run(row.name, func(t *testing.T) {
			err := row.g.check(row.token, now)
			if row.kind == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || fault.KindOf(err) != row.kind || !strings.Contains(err.Error(), row.words) {
				t.Errorf("%v, want %q", err, row.words)
			}
		})
	}
	for _, g := range []Guards{{Claims: []string{"x"}}, {Claims: []string{"=x"}}, {MinValidity: -1}} {
		if err := g.settle(); fault.KindOf(err) != fault.Usage {
			t.Errorf("%+v: %v", g, err)
		}
	}
}

// A token that has less left than is demanded is minted anew, and what cannot be
// minted is refused.
func TestMinValidityMints(t *testing.T) {
	short, minted := tokenOf("short", 5*time.Minute), tokenOf("minted", time.Hour)
	w := newWorld(map[string]string{EnvV1: short}, map[string]said{"circleci": {stdout: minted}})
	w.Guards.MinValidity = 10 * time.Minute
	got, err := w.Find(t.Context())
	if err != nil || got.Subject != "minted" {
		t.Errorf("%s, %v", got.Subject, err)
	}
	w = newWorld(map[string]string{EnvV1: short}, nil)
	w.Guards.MinValidity = 10 * time.Minute
	if _, err = w.Find(t.Context()); fault.KindOf(err) != fault.Token || !strings.Contains(err.Error(), "min-validity") {
		t.Error(err)
	}
}
