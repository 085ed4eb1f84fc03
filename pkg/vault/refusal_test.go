package vault

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// A loginAnswer is an answer to a login, and what the error for it says.
type loginAnswer struct {
	status int
	text   string
	kind   fault.Kind
	hint   string
}

// loginAnswers has a row for every answer that a server is known to give to a login.
func loginAnswers() []loginAnswer {
	const claim = `"oidc.circleci.com/vcs-ref"`
	return []loginAnswer{
		{400, "error validating token: invalid audience (aud) claim: audience claim does not match any expected audience", fault.Refused, "the token's audience is AUD"},
		{400, "audience claim found in JWT but no audiences bound to the role", fault.Refused, "vault write auth/jwt/role/deploy bound_audiences=AUD"},
		{400, "error validating token: invalid issuer (iss) claim", fault.Refused, "the token's issuer is https://oidc.circleci.com/org/ORG"},
		{400, "error validating claims: claim " + claim + " does not match any associated bound claim values", fault.Refused, `the token's oidc.circleci.com/vcs-ref is "refs/heads/it's"`},
		{400, "error validating claims: claim " + claim + " is missing", fault.Refused, "the token has no oidc.circleci.com/vcs-ref"},
		{400, "error validating token: invalid subject (sub) claim", fault.Refused, `the token's subject is "` + testSubject + `"`},
		{400, "error validating token: invalid expiration time (exp) claim: token is expired", fault.Refused, "mint a new one"},
		{400, "error validating token: invalid not before (nbf) claim: token not yet valid", fault.Refused, "clock is behind"},
		{400, "error validating token: no issued at (iat), not before (nbf), or expiration time (exp) claims in token", fault.Refused, ""},
		{400, "error validating token: error verifying token signature: no known key successfully validated the token signature", fault.Refused, "oidc-broker token --verify"},
		{400, "error validating token: error verifying token signature: failed to verify id token signature", fault.Refused, "compare its jwks_url or oidc_discovery_url"},
		{400, `error validating token: error verifying token signature: oidc: malformed jwt: unexpected signature algorithm "none"; expected ["RS256"]`, fault.Refused, ""},
		{400, "error validating token: malformed: go-jose/go-jose: compact JWS format must have three parts", fault.Refused, ""},
		{400, "missing token", fault.Refused, ""},
		{400, `role "deploy" could not be found`, fault.Refused, `there is no role "deploy" at auth/jwt`},
		{400, "missing role", fault.Refused, "auth/jwt has no default role"},
		{400, "role with oidc role_type is not allowed", fault.Refused, "vault write auth/jwt/role/deploy role_type=jwt"},
		{400, `claim "email" not found in token`, fault.Refused, "user_claim names the claim email"},
		{400, "error converting claim 'oidc.circleci.com/context-ids' to string", fault.Refused, "claim_mappings name oidc.circleci.com/context-ids, which is a list in the token"},
		{400, "error converting claim 'oidc.circleci.com/ssh-rerun' to string", fault.Refused, "claim_mappings name oidc.circleci.com/ssh-rerun, which is a boolean in the token (false)"},
		{400, `failed to fetch groups: "groups" claim not found in token`, fault.Refused, "the role's groups_claim names groups, which the token does not have"},
		{400, `"oidc.circleci.com/vcs-ref" claim could not be converted to string list`, fault.Refused, "groups_claim names oidc.circleci.com/vcs-ref, which is text in the token"},
		{400, `claim "oidc.circleci.com/context-ids" could not be converted to string`, fault.Refused, "user_claim names oidc.circleci.com/context-ids, which is a list in the token"},
		{400, "auth methods cannot create root tokens", fault.Refused, "take it out of the role's token_policies"},
		{400, "error executing cel program: no such key: groups", fault.Refused, "the program of the CEL role"},
		{500, "missing name in alias", fault.Refused, "the claim that the role's user_claim names is empty"},
		{503, `API access to this namespace has been locked by an administrator - "team/" must be unlocked to gain access.`, fault.Refused, "has to unlock it"},
		{400, "could not load configuration", fault.Refused, "vault write auth/jwt/config"},
		{400, `error validating token: error verifying token signature: fetching keys oidc: get keys failed Get "https://x": dial tcp: connection refused`, fault.Unavailable, "could not fetch the keys of https://oidc.circleci.com/org/ORG"},
		{400, `error configuring token validator: keyset configuration error: Get "https://x": EOF`, fault.Unavailable, "could not fetch the keys"},
		{403, "permission denied", fault.Refused, "check the auth mount (sent: auth/jwt), the namespace (sent: none) and the address (https://vault.example.com:8200); not the claims"},
		{404, "namespace not found", fault.Refused, "there is no namespace none"},
		{405, "unsupported operation", fault.Refused, "auth/jwt is no JWT auth mount"},
		{412, "", fault.Unavailable, ""},
		{429, `request path "auth/jwt/login": rate limit quota exceeded`, fault.Unavailable, "limits how often"},
		{503, "Vault is sealed", fault.Unavailable, "has to unseal it"},
		{500, "internal error", fault.Unavailable, ""},
		{400, "something of tomorrow", fault.Refused, ""},
	}
}

// TestLoginRefusals: the error has the server's words, and one hint those of the
// remedy.
func TestLoginRefusals(t *testing.T) {
	for _, row := range loginAnswers() {
		t.Run(row.text, func(t *testing.T) {
			n := vault(map[string][]reply{"auth/jwt/login": {refused(row.status, row.text)}})
			_, err := server(t, Options{Role: "deploy"}).Login(t.Context(), n.client(), testToken())
			words := []string{row.text, row.hint}
			wantFault(t, err, row.kind, words...)
			hints := fault.Hints(err)
			if strings.ContainsAny(strings.Join(hints, ""), "{}") {
				t.Errorf("a hint has an unfilled place: %s", hints)
			}
		})
	}
}

// A readAnswer is an answer to the read of a secret, and what the error for it says.
type readAnswer struct {
	name   string
	secret string
	reply  reply
	kind   fault.Kind
	words  []string
}

// readAnswers has a row for every answer that a server is known to give to a read.
func readAnswers() []readAnswer {
	const broad = "Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to use."
	return []readAnswer{
		{"policy", "secret/data/ci/app", refused(403, "1 error occurred:\n\t* permission denied\n\n"), fault.Refused,
			[]string{"Vault refused the secret secret/data/ci/app: 1 error occurred: * permission denied", "the policy has to allow secret/data/ci/app"}},
		{"policy, perhaps without data", "secret/ci/app", refused(403, "1 error occurred:\n\t* permission denied\n\n"), fault.Refused,
			[]string{"in a mount of KV version 2 it is secret/data/ci/app; or say so with kv-version secret=2"}},
		{"without data", "secret/ci/app", reply{404, `{"errors":[],"warnings":["` + broad + `"]}`}, fault.Refused,
			[]string{broad, "it is secret/data/ci/app"}},
		{"token gone", "secret/data/ci/app", refused(403, "permission denied"), fault.Refused, []string{"does not know the token any more"}},
		{"token gone, new servers", "secret/data/ci/app", refused(403, "permission denied", "invalid token"), fault.Refused, []string{"permission denied; invalid token"}},
		{"not there", "secret/data/ci/app", refused(404), fault.Refused, []string{"Vault has no secret secret/data/ci/app"}},
		{"namespace", "secret/data/ci/app", refused(404, "namespace not found"), fault.Refused, []string{"there is no namespace team"}},
		{"deleted", "secret/data/ci/app", reply{404, `{"data":{"data":null,"metadata":{"version":3,"created_time":"x","deletion_time":"2026-01-02T03:04:05Z","destroyed":false}}}`}, fault.Refused,
			[]string{"version 3 of secret/data/ci/app was deleted at 2026-01-02T03:04:05Z", "vault kv undelete -mount=secret -versions=3 ci/app"}},
		{"destroyed", "secret/data/ci/app", reply{404, `{"data":{"data":null,"metadata":{"version":3,"created_time":"x","deletion_time":"","destroyed":true}}}`}, fault.Refused,
			[]string{"version 3 of secret/data/ci/app was destroyed"}},
		{"written", "pki/issue/ci", refused(405, "unsupported operation"), fault.Refused, []string{"write 'pki/issue/ci KEY=VALUE...'"}},
		{"sealed", "secret/data/ci/app", refused(503, "Vault is sealed"), fault.Unavailable, []string{"Vault is sealed"}},
		{"html", "secret/data/ci/app", ok("<html>MARKER</html>"), fault.Unavailable, []string{"which is not an answer of Vault's"}},
		{"html 403", "secret/data/ci/app", reply{403, "<html>MARKER</html>"}, fault.Unavailable, []string{"vault.example.com:8200 (vault-addr) answers 403, which is not an answer of Vault's"}},
		{"no fields", "secret/data/ci/app", ok(`{"data":null}`), fault.Unavailable, []string{"has no fields"}},
		{"echo", "secret/data/ci/app", refused(400, "what is "+given+" and "+testRaw), fault.Refused, []string{"[secret]"}},
		{"plain words of the HTTPS port", "secret/data/ci/app", reply{400, "Client sent an HTTP request to an HTTPS server.\n"}, fault.Refused, []string{"give vault-addr with https://"}},
	}
}

func TestReadRefusals(t *testing.T) {
	for _, row := range readAnswers() {
		t.Run(row.name, func(t *testing.T) {
			path, _, _ := strings.Cut(row.secret, "?")
			n := vault(map[string][]reply{path: {row.reply}})
			_, err := session(t, n, Options{Secrets: []string{row.secret}, Namespace: "team"}).Read(t.Context())
			wantFault(t, err, row.kind, row.words...)
			if text := err.Error() + strings.Join(fault.Hints(err), ""); strings.Contains(text, "MARKER") || strings.ContainsAny(text, "{}") {
				t.Errorf("%s", text)
			}
		})
	}
}

// TestEveryRefusalIsReached: each row of the table explains an answer to one of the
// calls. A row that no answer produces fails.
func TestEveryRefusalIsReached(t *testing.T) {
	var answers []reply
	for _, a := range loginAnswers() {
		answers = append(answers, refused(a.status, a.text))
	}
	for _, a := range readAnswers() {
		answers = append(answers, a.reply)
	}
	answers = append(answers, refused(404, "no handler for route"), refused(400, "wrapping token is not valid or does not exist"), refused(400, "batch tokens cannot be revoked"),
		refused(400, "Secret cannot be returned; token had one use left, so leased credentials were immediately revoked."),
		refused(500, "1 error occurred:\n\t* past the max TTL, cannot renew\n\n"), refused(500, `failed to renew entry: role "deploy" does not exist during renewal`))
	// The hint of each row is its number: what the error then shows is the row.
	known := refusals
	t.Cleanup(func() { refusals = known })
	refusals = slices.Clone(known)
	for i := range refusals {
		refusals[i].hints = []string{fmt.Sprintf("row %d", i)}
	}
	const place = "secret/data/ci/app"
	wrapped := ok(`{"data":null,"wrap_info":{"token":"hvs.WRAPPING","creation_path":"` + place + `"}}`)
	calls := map[string]func(reply) error{
		"login": func(a reply) error {
			_, err := server(t, Options{Role: "deploy"}).Login(t.Context(), vault(map[string][]reply{"auth/jwt/login": {a}}).client(), testToken())
			return err
		},
		"read": func(a reply) error {
			_, err := session(t, vault(map[string][]reply{place: {a}}), Options{Secrets: []string{place}}).Read(t.Context())
			return err
		},
		"unwrap": func(a reply) error {
			_, err := session(t, vault(map[string][]reply{place: {wrapped}, "sys/wrapping/lookup": {a}}), Options{Secrets: []string{place}, WrapTTL: "1m"}).Read(t.Context())
			return err
		},
		"revoke": func(a reply) error {
			return session(t, vault(map[string][]reply{"auth/token/revoke-self": {a}}), Options{}).Revoke(t.Context())
		},
		"renew": func(a reply) error {
			return session(t, vault(map[string][]reply{"auth/token/renew-self": {a}}), Options{}).renew(t.Context())
		},
		"renew a lease": func(a reply) error {
			_, _, err := session(t, vault(map[string][]reply{"sys/leases/renew": {a}}), Options{}).renewLease(t.Context(), &Lease{ID: "l", Duration: time.Minute, Renewable: true})
			return err
		},
	}
	reached := map[string]bool{}
	for _, call := range calls {
		for _, a := range answers {
			if err := call(a); err != nil {
				for _, hint := range append(fault.Hints(err), fault.Details(err)...) {
					reached[hint] = true
				}
			}
		}
	}
	for i, r := range known {
		if !reached[fmt.Sprintf("row %d", i)] {
			t.Errorf("no answer reaches %s %d %q", r.step, r.status, r.text)
		}
	}
}

func TestHintsAreFilled(t *testing.T) {
	s := session(t, vault(nil), Options{})
	for _, row := range refusals {
		for _, h := range row.hints {
			if filled := s.fill(h, about{step: row.step, path: "a/b"}, row.text); strings.ContainsAny(filled.String(), "{}") {
				t.Errorf("unfilled: %s", filled)
			}
		}
	}
}

func TestNoLogin(t *testing.T) {
	for name, r := range map[string]reply{
		"html":         ok("<html>MARKER</html>"),
		"no token":     ok(`{"auth":{"client_token":""}}`),
		"no auth":      ok(`{"data":{}}`),
		"not a token":  ok(`{"auth":{"client_token":"hvs.a\nb"}}`),
		"no content":   {204, ""},
		"html 403":     {403, "<html>MARKER</html>"},
		"a list":       ok(`["MARKER"]`),
		"a wrong type": ok(`{"auth":"MARKER"}`),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := server(t, Options{}).Login(t.Context(), vault(map[string][]reply{"auth/jwt/login": {r}}).client(), testToken())
			wantFault(t, err, fault.Unavailable, "not an answer of Vault's", "a wrong vault-addr")
			if strings.Contains(err.Error(), "MARKER") {
				t.Error(err)
			}
		})
	}
	mfa := ok(`{"auth":{"client_token":"","mfa_requirement":{"mfa_request_id":"x"}}}`)
	_, err := server(t, Options{Role: "deploy"}).Login(t.Context(), vault(map[string][]reply{"auth/jwt/login": {mfa}}).client(), testToken())
	wantFault(t, err, fault.Refused, "a second factor")
}

// What the role decides is explained by two commands, the last of the four hints
// that are printed.
func TestTheFourthHintIsTheCheck(t *testing.T) {
	for _, text := range []string{
		"audience claim found in JWT but no audiences bound to the role",
		"error validating token: invalid audience (aud) claim: audience claim does not match any expected audience",
		"error validating token: invalid issuer (iss) claim",
		`error validating claims: claim "x" does not match any associated bound claim values`,
		`error validating claims: claim "x" is missing`,
		"error validating token: invalid subject (sub) claim",
		"role with oidc role_type is not allowed",
		`claim "email" not found in token`,
		"error converting claim 'x' to string",
	} {
		n := vault(map[string][]reply{"auth/jwt/login": {refused(400, text)}})
		_, err := server(t, Options{Role: "deploy"}).Login(t.Context(), n.client(), testToken())
		hints := fault.Hints(err)
		if last := hints[3]; !strings.Contains(last, "vault read -format=json auth/jwt/role/deploy | oidc-broker policy check vault - --claims claims.json") {
			t.Errorf("%s: the fourth hint is %q", text, last)
		}
	}
}
