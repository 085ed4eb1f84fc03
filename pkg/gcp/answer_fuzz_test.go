package gcp

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
)

// FuzzGoogleAnswers: whatever comes in the place of STS, IAM Credentials and the
// introspection of their refusals. The body is taken as it is, and put into the
// places of good answers and of refusals.
func FuzzGoogleAnswers(f *testing.F) {
	raw := testToken().Raw.Reveal()
	for _, s := range []string{
		`{"access_token":"ya29.d.T","expires_in":"3600"}`, `{"accessToken":"ya29.c.T","expireTime":"2026-03-01T13:00:00.123456789Z"}`, `{"token":"a\nb"}`,
		`{"error":"invalid_grant","error_description":"the token ` + raw + `"}`, `{"error":"` + federated + `"}`, api("PERMISSION_DENIED", denied, ""), raw, federated,
		`{"active":true,"username":"principal://iam.googleapis.com/'; id\n"}`, `{"error":{"details":[{"reason":1}]}}`, "<html>", "null", "ya29 x", "1e9", "\xff",
	} {
		f.Add(uint16(100), s)
		f.Add(uint16(303), s)
	}
	f.Fuzz(func(t *testing.T, status uint16, body string) {
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		code := 100 + int(status)%900
		in := string(text)
		for _, whole := range []string{
			body,
			`{"access_token":` + in + `,"accessToken":` + in + `,"token":` + in + `,"expires_in":3600,"expireTime":"2026-03-01T13:00:00Z"}`,
			`{"access_token":"ya29.d.T","accessToken":"ya29.c.T","expires_in":` + in + `,"expireTime":` + in + `}`,
			`{"error":` + in + `,"error_description":"m"}`,
			`{"error":{"status":"PERMISSION_DENIED","message":` + in + `,"details":[{"reason":` + in + `}]}}`,
		} {
			for _, at := range []string{"/v1/token", ":generateAccessToken", ":generateIdToken"} {
				answered(t, at, answer{code, whole}, answer{200, whole})
			}
		}
	})
}

// answered holds the exchange to what must be so for every answer.
func answered(t *testing.T, at string, a, introspected answer) {
	t.Helper()
	other := map[string][]answer{at: {a}, "/v1/introspect": {introspected}}
	sent := []string{testToken().Raw.Reveal()}
	if at != "/v1/token" {
		sent = append(sent, federated)
	}
	x := settled(t, Options{ServiceAccount: testAccount})
	got, err := x.Run(t.Context(), google(other).client(), testToken())
	taken(t, got.Token, err, sent)
	if err == nil && got.Expiry.IsZero() {
		t.Error("a token without an end")
	}
	id, err := x.IDToken(t.Context(), google(other).client(), testToken(), "https://x", false)
	taken(t, id, err, sent)
}

// taken holds a token to what tokens are made of, and an error to what a user may
// see of an answer.
func taken(t *testing.T, token secret.Value, err error, sent []string) {
	t.Helper()
	if err == nil {
		if v := token.Reveal(); v == "" || strings.ContainsFunc(v, func(r rune) bool { return r < '!' || r > '~' }) {
			t.Errorf("takes %q for a token", v)
		}
		return
	}
	if k := fault.KindOf(err); k != fault.Refused && k != fault.Unavailable {
		t.Errorf("kind %d: %v", k, err)
	}
	if !token.Empty() {
		t.Error("a token, and an error")
	}
	text := err.Error() + "\n" + strings.Join(fault.Hints(err), "\n")
	if len(text) > 5000 {
		t.Errorf("an error of %d bytes: %.200s", len(text), text)
	}
	for _, s := range sent {
		for i := 0; i+16 <= len(s); i++ {
			if strings.Contains(text, s[i:i+16]) {
				t.Fatalf("the error shows a piece of a token: %s", text)
			}
		}
	}
}
