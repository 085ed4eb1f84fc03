package cli

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestFit(t *testing.T) {
	subject := "org/2a3b4c5d-1111-4222-8333-444455556666/project/76543210-ba98-4edc-b210-edcba0987654/user/aaaaaaaa-bbbb-4222-8ccc-333344445555/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main"
	const address = "a-name-of-thirty-letters-here1@a-project-of-thirty-letters-12.iam.gserviceaccount.com"
	for _, row := range []struct {
		name, line string
		want       []string
	}{
		{"a short line", `oidc-broker: error: short`, []string{`oidc-broker: error: short`}},
		{"organisation, project and branch of a subject", `oidc-broker: hint: the token's subject is "` + subject + `"`,
			[]string{subject[:85], `refs/heads/main"`, "..."}},
		{"a file's name", `oidc-broker: error: cannot write the profile "deploy": "` + strings.Repeat("/long", 40) + `/home/.aws/credentials" is locked by another process`,
			[]string{`/.aws/credentials" is locked by another process`, `cannot write the profile "deploy": "/long`}},
		{"the words around two long ones", `oidc-broker: error: ` + strings.Repeat("a", 90) + ` must not be ` + strings.Repeat("b", 90) + `, says the server`,
			[]string{" must not be ", ", says the server"}},
		{"a text of short words", `oidc-broker: error: begins` + strings.Repeat(" and", 60) + ` ends`, []string{"begins and", "..."}},
		{"characters, not bytes", `oidc-broker: error: ` + strings.Repeat("ü", 140), []string{strings.Repeat("ü", 140)}},
		{"an address, beside a subject", `oidc-broker: error: Google refused ` + address + `: ` + subject, []string{address, subject[:12]}},
		{"a permission", `oidc-broker: error: Google refused deploy@sandbox-project.iam.gserviceaccount.com: IAM_PERMISSION_DENIED: Permission 'iam.serviceAccounts.getOpenIdToken' denied on resource (or it may not exist).`,
			[]string{"deploy@sandbox-project.iam.gserviceaccount.com:", `'iam.serviceAccounts.getOpenIdToken' ...`}},
		{"a role and a resource", `oidc-broker: error: AWS refused arn:aws:iam::111122223333:role/a/b/c: AccessDenied: Not authorized to perform "sts:AssumeRoleWithWebIdentity" on https://example.com/` + strings.Repeat("path/", 20),
			[]string{"arn:aws:iam::111122223333:role/a/b/c:", `"sts:AssumeRoleWithWebIdentity"`}},
		{"the role to give", `oidc-broker: hint: give ` + subject + ` roles/iam.serviceAccountTokenCreator on deploy@my-project.iam.gserviceaccount.com`, []string{"roles/iam.serviceAccountTokenCreator on deploy@my-project.iam.gserviceaccount.com"}},
		{"a command", `oidc-broker: hint: for ` + subject + `: gcloud services enable iamcredentials.googleapis.com --project 123456789012`, []string{"gcloud services enable iamcredentials.googleapis.com --project 123456789012"}},
		{"a name that no name is so long as", strings.Repeat("x", 300) + "@example.com", []string{"...", "@example.com"}},
		{"the end, between two words", `oidc-broker: error: ` + strings.Repeat("words ", 23) + "iam.serviceAccounts.getAccessToken", []string{"words ..."}},
		{"one long word", strings.Repeat("x", 1000), []string{"x...x"}},
	} {
		got := fit(row.line)
		if n := utf8.RuneCountInString(got); n > longestLine {
			t.Errorf("%s: %d characters: %s", row.name, n, got)
		}
		for _, want := range row.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %q is not in %s", row.name, want, got)
			}
		}
	}
}
