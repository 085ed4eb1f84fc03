package aws

import (
	"fmt"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/aws/smithy-go"

	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// lineLength is what a line of a job's log shows, less "oidc-broker: hint: ".
const lineLength = 160 - 19

// TestRefusalsAreBrief: of every refusal the four hints that are printed fit into
// a line each, with values of a real length, but for the subject, which is
// shortened; and the first says what to do.
func TestRefusalsAreBrief(t *testing.T) {
	token := oidc.Token{
		Raw:      secret.New("x"),
		Issuer:   "https://oidc.circleci.com/org/2a3b4c5d-1111-4222-8333-444455556666",
		Subject:  "org/2a3b4c5d-1111-4222-8333-444455556666/project/76543210-ba98-4edc-b210-edcba0987654/user/aaaaaaaa-bbbb-4222-8ccc-333344445555",
		Audience: []string{"2a3b4c5d-1111-4222-8333-444455556666"},
	}
	for _, by := range []caller{job, aRole} {
		about := refusalOf{role: role{arn: testRole, account: "111122223333", name: "deploy"}, by: "arn:aws:sts::111122223333:assumed-role/first/deploy"}
		if by == job {
			about.token = &token
		}
		for _, row := range refusals {
			if row.by != anybody && row.by != by {
				continue
			}
			hints := about.hints(row)
			if len(hints) == 0 || hints[0] == token.SubjectHint() || hints[0] == token.IssuerHint() {
				t.Errorf("%s %s: the first hint is not what to do: %q", row.code, row.text, hints)
			}
			for _, h := range hints[:min(4, len(hints))] {
				if n := utf8.RuneCountInString(fmt.Sprint(h)); n > lineLength && h != token.SubjectHint() {
					t.Errorf("%s %s: %d characters: %s", row.code, row.text, n, h)
				}
			}
		}
	}
}

// TestClaimsOnlyWhereTheyCanBeTheReason: what no claim can change shows none.
func TestClaimsOnlyWhereTheyCanBeTheReason(t *testing.T) {
	token := testToken()
	about := refusalOf{role: role{arn: testRole, account: "111122223333", name: "deploy"}, token: &token}
	for _, row := range []struct {
		code, message string
		shown         bool
	}{
		{"AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity", true},
		{"AccessDenied", "User: x is not authorized to perform: sts:AssumeRoleWithWebIdentity on resource: y with an explicit deny in a service control policy", false},
		{"AccessDenied", "User: x is not authorized to perform: sts:AssumeRoleWithWebIdentity on resource: y with an explicit deny in a resource control policy", false},
		{"AccessDenied", "User: x is not authorized to perform: sts:AssumeRoleWithWebIdentity on resource: y with an explicit deny in a resource-based policy", true},
		{"Throttling", "Rate exceeded", false},
		{"RegionDisabledException", "STS is not activated in this region", false},
		{"ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.", false},
		{"PackedPolicyTooLarge", "Packed size of session tags consumes 142% of allotted space.", false},
		{"SomethingNew", "of tomorrow", true},
	} {
		hints := about.hints(about.find(&smithy.GenericAPIError{Code: row.code, Message: row.message}))
		if got := slices.Contains(hints, any(token.SubjectHint())); got != row.shown {
			t.Errorf("%s %s: claims shown: %v, want %v: %q", row.code, row.message, got, row.shown, hints)
		}
	}
}
