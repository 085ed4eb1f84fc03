package vault

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// FuzzVaultAnswers: whatever comes in Vault's place, at the login, the read and
// the unwrapping. The body is taken as it is, and put into the places of good
// answers and of refusals.
func FuzzVaultAnswers(f *testing.F) {
	for _, s := range []string{
		`{"auth":{"client_token":"hvs.X","lease_duration":-1,"mfa_requirement":{}}}`, `{"data":{"a":"b","c":null}}`,
		`{"data":{"data":null,"metadata":{"version":3,"created_time":"x","deletion_time":"2026-01-01T00:00:00Z"}}}`,
		`{"wrap_info":{"token":"hvs.W","creation_path":"secret/data/ci"}}`, `{"errors":["` + testRaw + `","` + given + `"]}`, testRaw, given, `{"errors":[]}`,
		`{"data":{"` + given + `":1}}`, `"claim \"x\" does not match any associated bound claim values"`, "hvs\n.x", "<html>", "null", "\xff",
		"'" + testRaw + "' does not match any associated bound claim values", `{"data":{"` + strings.Repeat("field", 2000) + `":1}}`,
		`{"lease_id":"a","lease_duration":9223372036854775807,"data":{"a":1}}`,
	} {
		for _, status := range []uint16{100, 300, 304} {
			f.Add(status, s)
		}
	}
	f.Fuzz(func(t *testing.T, status uint16, body string) {
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		code, in := 100+int(status)%900, string(text)
		for _, whole := range []string{
			body,
			`{"auth":{"client_token":` + in + `},"data":{"a":` + in + `,` + in + `:1,"creation_path":` + in + `},"wrap_info":{"token":` + in + `}}`,
			`{"data":{"data":null,"metadata":{"version":3,"created_time":"x","deletion_time":` + in + `}}}`,
			`{"data":{` + in + `:1}}`,
			`{"errors":[` + in + `]}`,
		} {
			answered(t, reply{code, whole})
		}
	})
}

// answered holds each call to what must be so for every answer to it.
func answered(t *testing.T, a reply) {
	t.Helper()
	one := Options{Secrets: []string{"secret/data/ci a=A"}}
	s, err := server(t, one).Login(t.Context(), vault(map[string][]reply{"auth/jwt/login": {a}}).client(), testToken())
	if err != nil {
		shown(t, err, testRaw)
	} else if v := s.Token.Reveal(); v == "" || strings.ContainsFunc(v, func(r rune) bool { return r < '!' || r > '~' }) {
		t.Errorf("takes %q for a token", v)
	}
	for _, o := range []Options{one, {Secrets: []string{"secret/data/ci *"}}, {Secrets: one.Secrets, WrapTTL: "1m"}} {
		n := vault(map[string][]reply{"secret/data/ci": {a}, "sys/wrapping/lookup": {a}, "sys/wrapping/unwrap": {a}})
		all, err := session(t, n, o).Read(t.Context())
		if err != nil {
			shown(t, err, testRaw, given)
			continue
		}
		for _, v := range all[0].Values {
			if !json.Valid([]byte(v.JSON.Reveal())) || o.Secrets[0] == one.Secrets[0] && v.Field != "a" {
				t.Errorf("takes %q for the field %q", v.JSON.Reveal(), v.Field)
			}
		}
	}
}

// shown holds an error to what a user may see of an answer.
func shown(t *testing.T, err error, sent ...string) {
	t.Helper()
	if k := fault.KindOf(err); k != fault.Refused && k != fault.Unavailable {
		t.Errorf("kind %d: %v", k, err)
	}
	text := err.Error() + "\n" + strings.Join(fault.Hints(err), "\n")
	if len(text) > 5000 {
		t.Errorf("an error of %d bytes: %.200s", len(text), text)
	}
	for _, token := range sent {
		for i := 0; i+16 <= len(token); i++ {
			if strings.Contains(text, token[i:i+16]) {
				t.Fatalf("the error shows a piece of a token: %s", text)
			}
		}
	}
}
