package gcp

import (
	"fmt"
	"testing"
	"unicode/utf8"

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
	about := settled(t, Options{ServiceAccount: testAccount}).refusalOf(nil, token)
	about.method = "generateAccessToken"
	for _, row := range refusals {
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
