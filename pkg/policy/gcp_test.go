package policy

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

const (
	gcpTestName   = "projects/123456789012/locations/global/workloadIdentityPools/circleci/providers/jobs"
	gcpTestPool   = "//iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/circleci/"
	gcpTestIssuer = "https://oidc.circleci.com/org/" + oidc.SampleOrg

	gcpOtherID = "99999999-9999-4999-8999-999999999999"
	gcpEvil    = "x/vcs-ref/refs/heads/main"
)

var gcpTestNow = time.Unix(1763071432, 0)

// gcpDoc is a provider as gcloud prints one, with changes: a member that is set
// to nil is not there.
func gcpDoc(changes map[string]any) map[string]any {
	doc := map[string]any{
		"name":  gcpTestName,
		"state": "ACTIVE",
		"oidc":  map[string]any{"issuerUri": gcpTestIssuer, "allowedAudiences": []string{oidc.SampleOrg}},
		"attributeMapping": map[string]any{
			"google.subject":    "assertion.sub.split('/vcs-origin/')[0]",
			"attribute.project": "assertion['oidc.circleci.com/project-id']",
		},
		"attributeCondition": "assertion['oidc.circleci.com/project-id'] == '" + oidc.SampleProject + "'",
	}
	for name, v := range changes {
		if doc[name] = v; v == nil {
			delete(doc, name)
		}
	}
	return doc
}

func gcpParse(t testing.TB, changes map[string]any) *GCPProvider {
	t.Helper()
	p, err := ParseGCP(gcpMarshal(t, gcpDoc(changes)))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func gcpMarshal(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func gcpCondition(condition string) map[string]any {
	return map[string]any{"attributeCondition": condition}
}

func gcpMaps(key, expression string) map[string]any {
	m := map[string]any{"google.subject": "assertion.sub.split('/vcs-origin/')[0]"}
	m[key] = expression
	return map[string]any{"attributeMapping": m, "attributeCondition": nil}
}

func gcpV1(v oidc.Variant) Claims { c, _ := ClaimsOf(v, gcpTestNow); return c }
func gcpV2(v oidc.Variant) Claims { _, c := ClaimsOf(v, gcpTestNow); return c }

func gcpClaim(name, value string) oidc.Variant {
	return oidc.Variant{Claims: map[string]json.RawMessage{name: json.RawMessage(value)}}
}

// gcpLacks is a V1 token without a claim.
func gcpLacks(name string) Claims {
	c := gcpV1(oidc.Variant{})
	delete(c, name)
	return c
}

type gcpRow struct {
	name    string
	changes map[string]any
	claims  Claims
	verdict Verdict
	words   []string // of the reason, the checks and their hints
}

func gcpAllow(name string, changes map[string]any, c Claims, words ...string) gcpRow {
	return gcpRow{name, changes, c, Allow, words}
}

func gcpDeny(name string, changes map[string]any, c Claims, words ...string) gcpRow {
	return gcpRow{name, changes, c, Deny, words}
}

func gcpUndecided(name string, changes map[string]any, c Claims, words ...string) gcpRow {
	return gcpRow{name, changes, c, Undecided, words}
}

func (r gcpRow) run(t *testing.T, request GCPRequest) {
	t.Helper()
	t.Run(r.name, func(t *testing.T) {
		t.Helper()
		request.Claims = r.claims
		j := gcpParse(t, r.changes).Check(request)
		if j.Verdict != r.verdict || (j.Reason == "") != (r.verdict == Allow) {
			t.Errorf("verdict %s (%s), want %s", j.Verdict, j.Reason, r.verdict)
		}
		all := gcpWords(j)
		for _, w := range r.words {
			if !strings.Contains(all, w) {
				t.Errorf("no %q in\n%s", w, all)
			}
		}
	})
}

func gcpWords(j Judgement) string {
	lines := []string{j.Reason}
	for _, c := range j.Checks {
		lines = append(lines, strings.Join(append([]string{string(c.Verdict), c.Name, c.Wanted, c.Got, c.Reason}, c.Hints...), " | "))
	}
	return strings.Join(append(append(lines, j.Principals...), j.Notes...), "\n")
}
