package wif

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

const (
	testName   = "projects/123456789012/locations/global/workloadIdentityPools/circleci/providers/jobs"
	testPool   = "//iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/circleci/"
	testIssuer = "https://oidc.circleci.com/org/" + ci.SampleOrg

	otherID = "99999999-9999-4999-8999-999999999999"
	evil    = "x/vcs-ref/refs/heads/main"
)

var testNow = time.Unix(1763071432, 0)

// doc is a provider as gcloud prints one, with changes: a member that is set
// to nil is not there.
func doc(changes map[string]any) map[string]any {
	doc := map[string]any{
		"name":  testName,
		"state": "ACTIVE",
		"oidc":  map[string]any{"issuerUri": testIssuer, "allowedAudiences": []string{ci.SampleOrg}},
		"attributeMapping": map[string]any{
			"google.subject":    "assertion.sub.split('/vcs-origin/')[0]",
			"attribute.project": "assertion['oidc.circleci.com/project-id']",
		},
		"attributeCondition": "assertion['oidc.circleci.com/project-id'] == '" + ci.SampleProject + "'",
	}
	for name, v := range changes {
		if doc[name] = v; v == nil {
			delete(doc, name)
		}
	}
	return doc
}

func parse(t testing.TB, changes map[string]any) *Provider {
	t.Helper()
	p, err := Parse(marshal(t, doc(changes)))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func withCondition(condition string) map[string]any {
	return map[string]any{"attributeCondition": condition}
}

func withMapping(key, expression string) map[string]any {
	m := map[string]any{"google.subject": "assertion.sub.split('/vcs-origin/')[0]"}
	m[key] = expression
	return map[string]any{"attributeMapping": m, "attributeCondition": nil}
}

func v1Claims(v ci.Variant) policy.Claims { c, _ := policy.ClaimsOf(v, testNow); return c }
func v2(v ci.Variant) policy.Claims       { _, c := policy.ClaimsOf(v, testNow); return c }

func claim(name, value string) ci.Variant {
	return ci.Variant{Claims: map[string]json.RawMessage{name: json.RawMessage(value)}}
}

// lacks is a V1 token without a claim.
func lacks(name string) policy.Claims {
	c := v1Claims(ci.Variant{})
	delete(c, name)
	return c
}

type row struct {
	name    string
	changes map[string]any
	claims  policy.Claims
	verdict policy.Verdict
	words   []string // of the reason, the checks and their hints
}

func allow(name string, changes map[string]any, c policy.Claims, words ...string) row {
	return row{name, changes, c, policy.Allow, words}
}

func deny(name string, changes map[string]any, c policy.Claims, words ...string) row {
	return row{name, changes, c, policy.Deny, words}
}

func undecided(name string, changes map[string]any, c policy.Claims, words ...string) row {
	return row{name, changes, c, policy.Undecided, words}
}

func (r row) run(t *testing.T, request Request) {
	t.Helper()
	t.Run(r.name, func(t *testing.T) {
		t.Helper()
		request.Claims = r.claims
		j := parse(t, r.changes).Check(request)
		if j.Verdict != r.verdict || (j.Reason == "") != (r.verdict == policy.Allow) {
			t.Errorf("verdict %s (%s), want %s", j.Verdict, j.Reason, r.verdict)
		}
		all := words(j)
		for _, w := range r.words {
			if !strings.Contains(all, w) {
				t.Errorf("no %q in\n%s", w, all)
			}
		}
	})
}

func words(j policy.Judgement) string {
	lines := []string{j.Reason}
	for _, c := range j.Checks {
		lines = append(lines, strings.Join(append([]string{string(c.Verdict), c.Name, c.Wanted, c.Got, c.Reason}, c.Hints...), " | "))
	}
	return strings.Join(append(append(lines, j.Principals...), j.Notes...), "\n")
}
