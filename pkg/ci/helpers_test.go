package ci

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// The identifiers of CircleCI's documented example, and the hour in which its
// token is valid.
const (
	org     = "2a3b4c5d-1111-4222-8333-444455556666"
	project = "76543210-ba98-4edc-b210-edcba0987654"
	user    = "aaaa1111-bbbb-4222-8ccc-333344445555"
	issuer  = "https://oidc.circleci.com/org/" + org
	subject = "org/" + org + "/project/" + project + "/user/" + user
	issued  = 1763071432
	expires = 1763075032

	header = `{"alg":"RS256","kid":"c1d2e3f4-0000-4000-8000-000000000001","typ":"JWT"}`
	claims = `{"iss":"` + issuer + `","sub":"` + subject + `","aud":"` + org + `","iat":1763071432,"exp":1763075032}`
	// signature stands for one: nothing here but Verify looks at it.
	signature = "c2lnbmF0dXJlLW9mLXRoZS1leGFtcGxlLXRva2Vu"
)

// now is ten minutes after the token was issued.
func now() time.Time { return time.Unix(issued+600, 0).UTC() }

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// compact joins a header and a payload to a token.
func compact(header, payload string) string {
	return b64(header) + "." + b64(payload) + "." + signature
}

// leaks reports whether any of the texts shows 8 bytes of the token in a row.
func leaks(token string, texts ...string) (string, bool) {
	token = strings.TrimSpace(token)
	for _, text := range texts {
		for i := 0; i+8 <= len(token); i++ {
			if strings.Contains(text, token[i:i+8]) {
				return text, true
			}
		}
	}
	return "", false
}

// isTokenError checks an error's kind and words, and that it keeps the token
// to itself.
func isTokenError(t *testing.T, err error, token, words string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one that says %q", words)
	}
	if fault.KindOf(err) != fault.Token {
		t.Errorf("kind %d of %v, want %d", fault.KindOf(err), err, fault.Token)
	}
	if !strings.Contains(err.Error(), words) {
		t.Errorf("says %q, want the words %q", err, words)
	}
	if text, ok := leaks(token, append(fault.Hints(err), err.Error(), fmt.Sprintf("%+v", err))...); ok {
		t.Errorf("shows a part of the token: %s", text)
	}
}

func mustParse(t *testing.T, raw, source string) oidc.Token {
	t.Helper()
	tok, err := oidc.Parse(raw, source)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}
