package ci

import (
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

const origin = "github.com/my-org/app"

// job returns a token of a job: its subject and, unless they are empty, its
// two claims on the repository.
func job(t *testing.T, source, sub, origin, ref string) oidc.Token {
	t.Helper()
	payload := claims[:len(claims)-1] + `,"sub":"` + sub + `"`
	if origin != "" {
		payload += `,"oidc.circleci.com/vcs-origin":"` + origin + `","oidc.circleci.com/vcs-ref":"` + ref + `"`
	}
	return mustParse(t, compact(header, payload+"}"), source)
}

func TestParts(t *testing.T) {
	v2 := func(origin, ref string) string { return subject + "/vcs-origin/" + origin + "/vcs-ref/" + ref }
	const crafted = "refs/heads/x/vcs-ref/refs/heads/main"
	for _, row := range []struct {
		name, source, sub, origin, ref string
		wantOrigin, wantRef, version   string
	}{
		{"V1", EnvV1, subject, origin, "refs/heads/main", "", "", "V1"},
		{"V2", EnvV2, v2(origin, "refs/heads/main"), origin, "refs/heads/main", origin, "refs/heads/main", "V2"},
		{"V2 in the other's variable", EnvV1, v2(origin, "refs/heads/main"), origin, "refs/heads/main", origin, "refs/heads/main", "V2"},
		{"V1 in the other's variable", EnvV2, subject, origin, "refs/heads/main", "", "", "V1"},
		{"V1 from a file", `"t"`, subject, origin, "refs/heads/main", "", "", "V1"},
		{"webhook", EnvV1, subject, "", "", "", "", "V1"},
		{"webhook, V2's variable", EnvV2, subject, "", "", "", "", "V2"},
		{"webhook, minted", "circleci run oidc get", subject, "", "", "", "", "V1 or V2"},
		{"fork", EnvV2, v2("github.com/stranger/app", "refs/heads/pull/123"), "github.com/stranger/app", "refs/heads/pull/123", "github.com/stranger/app", "refs/heads/pull/123", "V2"},
		{"tag", EnvV2, v2(origin, "refs/tags/v1.2.3"), origin, "refs/tags/v1.2.3", origin, "refs/tags/v1.2.3", "V2"},
		{"branch with slashes", EnvV2, v2(origin, "refs/heads/a/b/c"), origin, "refs/heads/a/b/c", origin, "refs/heads/a/b/c", "V2"},
		{"GitLab", EnvV2, v2("gitlab.com/a/b/c", "refs/heads/main"), "gitlab.com/a/b/c", "refs/heads/main", "gitlab.com/a/b/c", "refs/heads/main", "V2"},
		// The branch must not become "main" by ending in what introduces it.
		{"branch that looks like a subject", EnvV2, v2(origin, crafted), origin, crafted, origin, crafted, "V2"},
		{"the same without claims", EnvV2, v2(origin, crafted), "", "", origin, crafted, "V2"},
		{"owner vcs-ref", EnvV2, v2("github.com/vcs-ref/app", "refs/heads/main"), "github.com/vcs-ref/app", "refs/heads/main", "github.com/vcs-ref/app", "refs/heads/main", "V2"},
		{"claims of another job", EnvV2, v2(origin, "refs/heads/main"), "github.com/stranger/app", "refs/heads/evil", origin, "refs/heads/main", "V2"},
	} {
		t.Run(row.name, func(t *testing.T) {
			tok := job(t, row.source, row.sub, row.origin, row.ref)
			got, ok := ParseSubject(tok)
			if want := (Subject{org, project, user, row.wantOrigin, row.wantRef}); !ok || got != want {
				t.Errorf("parts %+v %t, want %+v", got, ok, want)
			}
			if got := Version(tok); got != row.version {
				t.Errorf("version %q, want %q", got, row.version)
			}
		})
	}
	for _, sub := range []string{
		"org/" + org + "/file-streaming/audit-logs",
		"repo:octo-org/octo-repo:ref:refs/heads/main",
		"org", "org//project", "//////", "project/" + project + "/org/" + org + "/user/" + user,
		subject + "/", subject + "/ssh/true", subject + "/vcs-origin/" + origin, subject + "/vcs-ref/refs/heads/main",
		"x" + subject, "/" + subject,
	} {
		tok := job(t, EnvV2, sub, origin, "refs/heads/main")
		if got, ok := ParseSubject(tok); ok || got != (Subject{}) {
			t.Errorf("%q has the parts %+v", sub, got)
		}
		if got := Version(tok); got != "" {
			t.Errorf("%q is %s", sub, got)
		}
	}
}

func TestClaims(t *testing.T) {
	tok := mustParse(t, compact(header, claims[:len(claims)-1]+`,"oidc.circleci.com/org-id":"o","oidc.circleci.com/project-id":"p","n":1}`), EnvV1)
	if OrgID(tok) != "o" || ProjectID(tok) != "p" || tok.Text("n") != "" || tok.Text("none") != "" || CircleCIClaim(tok, "none") != nil {
		t.Errorf("claims %+v", tok.Claims)
	}
}
