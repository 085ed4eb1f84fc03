package sandbox

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidc-broker/oidc-broker/pkg/policy/jwtrole"
)

const (
	errToken  = "error validating token: "
	errSigned = errToken + "error verifying token signature: "
	errKey    = errSigned + "no known key successfully validated the token signature"
	errParts  = errSigned + "go-jose/go-jose: compact JWS format must have three parts"
)

// vaultLab is a lab whose role is a good one, but for some members.
func vaultLab(t testing.TB, members string) *lab {
	t.Helper()
	role := map[string]json.RawMessage{}
	for _, text := range []string{
		`{"role_type": "jwt", "user_claim": "oidc.circleci.com/project-id", "token_ttl": 900, "token_max_ttl": 3600, "token_policies": "ci",
			"bound_audiences": "` + orgID + `", "bound_claims": {"oidc.circleci.com/project-id": "` + projectID + `"}}`,
		"{" + members + "}",
	} {
		if err := json.Unmarshal([]byte(text), &role); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
	}
	text, err := json.Marshal(role)
	if err != nil {
		t.Fatal(err)
	}
	r, err := jwtrole.ParseRole(text)
	if err != nil {
		t.Fatal(err)
	}
	return newLab(t, Config{VaultRole: r})
}

func TestVaultLoginRefusals(t *testing.T) {
	l := newLab(t, Config{})
	good := l.v1(Variant{}, nil)
	stranger, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	type change = map[string]any
	unix := at.Unix()
	const project, origin, rerun = claimPrefix + "project-id", claimPrefix + "vcs-origin", claimPrefix + "ssh-rerun"
	claim := func(name, what string) string { return `error validating claims: claim "` + name + `" ` + what }
	const mismatch = "does not match any associated bound claim values"
	for _, row := range []struct{ name, token, text string }{
		{"another audience", l.v1(Variant{Audience: "vault"}, nil), errToken + "invalid audience (aud) claim: audience claim does not match any expected audience"},
		{"no aud", l.v1(Variant{}, change{"aud": nil}), errToken + "invalid audience (aud) claim: audience claim does not match any expected audience"},
		{"root issuer", l.v1(Variant{RootIssuer: true}, nil), errToken + "invalid issuer (iss) claim"},
		{"another organisation", l.v1(Variant{Org: projectID}, nil), errToken + "invalid issuer (iss) claim"},
		{"another project", l.v1(Variant{Project: orgID}, nil), claim(project, mismatch)},
		{"a fork", l.v1(Variant{Fork: true}, nil), claim(origin, mismatch)},
		{"a webhook", l.v1(Variant{Webhook: true}, nil), claim(origin, "is missing")},
		{"a rerun", l.v1(Variant{SSHRerun: true}, nil), claim(rerun, mismatch)},
		{"expired", l.v1(Variant{Expired: true}, nil), errToken + "invalid expiration time (exp) claim: token is expired"},
		{"over the grace", l.v1(Variant{}, change{"exp": unix - 61}), errToken + "invalid expiration time (exp) claim: token is expired"},
		{"ahead", l.v1(Variant{}, change{"iat": unix + 61}), errToken + "invalid not before (nbf) claim: token not yet valid"},
		{"no times", l.v1(Variant{}, change{"iat": nil, "exp": nil}), errToken + "no issued at (iat), not before (nbf), or expiration time (exp) claims in token"},
		{"no user claim", l.v1(Variant{}, change{project: nil}), `claim "oidc.circleci.com/project-id" not found in token`},
		{"another key", l.forge(stranger.Key, l.key.KeyID), errKey},
		{"another key without an id", l.forge(stranger.Key, ""), errKey},
		{"tampered", swap(good, 1, strings.Replace(payload(t, good), "main", "evil", 1)), errKey},
		{"no signature", good[:strings.LastIndexByte(good, '.')+1], errKey},
		{"alg none", swap(good, 0, `{"alg":"none"}`), errKey},
		{"alg HS256", swap(good, 0, `{"alg":"HS256"}`), errKey},
		{"alg unknown", swap(good, 0, `{"alg":"x"}`), errKey},
		{"null header", swap(good, 0, `null`), errKey},
		{"header no JSON", swap(good, 0, `x`), errSigned + "invalid character 'x' looking for beginning of value"},
		{"header a list", swap(good, 0, `[]`), errSigned + "json: cannot unmarshal array into Go value of type jose.rawHeader"},
		{"header no base64", good[:10] + "!" + good[10:], errSigned + "illegal base64 data at input byte 10"},
		{"no header", good[strings.IndexByte(good, '.'):], errKey},
		{"a variable's name", "$CIRCLE_OIDC_TOKEN", errParts},
		{"two parts", "a.b", errParts},
		{"four parts", good + ".x", errParts},
		{"signature no base64", good + "!", errSigned + "illegal base64 data at input byte 342"},
		{"no token", "", "missing token"},
	} {
		l.vaultLogin(DefaultVaultRole, row.token).want(t, row.name, 400, row.text)
	}
	for name, token := range map[string]string{
		"white space":      " " + good[:20] + "\n" + good[20:] + "\t\n",
		"padding":          good + "=",
		"59 s late":        l.v1(Variant{}, change{"exp": unix - 59}),
		"60 s ahead":       l.v1(Variant{}, change{"iat": unix + 60}),
		"no exp":           l.v1(Variant{}, change{"exp": nil}),
		"no key id":        l.forge(l.key.Key, ""),
		"two audiences":    l.v1(Variant{}, change{"aud": []string{"x", orgID}}),
		"another branch":   l.v1(Variant{Branch: "dev"}, nil),
		"V2":               l.v2(Variant{}),
		"the same, again":  l.v2(Variant{}),
		"any other key id": l.forge(l.key.Key, "other"),
	} {
		if a := l.vaultLogin(DefaultVaultRole, token); a.status != 200 {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}

// Keys that the server fetches are another library's, with other words.
func TestVaultLoginWithFetchedKeys(t *testing.T) {
	l := newLab(t, Config{VaultConfig: &jwtrole.Config{JWKSURL: "https://oidc.circleci.com/x", BoundIssuer: orgIssuer}})
	good := l.v1(Variant{}, nil)
	const malformed, unverified = errSigned + "oidc: malformed jwt: ", errSigned + "failed to verify id token signature"
	for _, row := range []struct{ name, token, text string }{
		{"no JWT", "x", malformed + "go-jose/go-jose: compact JWS format must have three parts"},
		{"alg none", swap(good, 0, `{"alg":"none"}`), malformed + `unexpected signature algorithm "none"; expected ["RS256" "RS384" "RS512" "ES256" "ES384" "ES512" "PS256" "PS384" "PS512" "EdDSA"]`},
		{"another key id", l.forge(l.key.Key, "other"), unverified},
		{"tampered", swap(good, 1, strings.Replace(payload(t, good), "main", "evil", 1)), unverified},
	} {
		l.vaultLogin(DefaultVaultRole, row.token).want(t, row.name, 400, row.text)
	}
	if a := l.vaultLogin(DefaultVaultRole, good); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// A good signature is not enough where the mount lists its algorithms.
func TestVaultAlgorithms(t *testing.T) {
	for name, c := range map[string]Config{
		"RS256 alone": {},
		"all":         {VaultConfig: &jwtrole.Config{JWTValidationPubkeys: []string{"x"}}},
	} {
		l := newLab(t, c)
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS384, Key: l.key.Key}, nil)
		if err != nil {
			t.Fatal(err)
		}
		signed, err := signer.Sign([]byte(payload(t, l.v1(Variant{}, nil))))
		if err != nil {
			t.Fatal(err)
		}
		token, err := signed.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		a := l.vaultLogin(DefaultVaultRole, token)
		if c.VaultConfig != nil {
			a.want(t, name, 200)
			continue
		}
		a.want(t, name, 400, errToken+"invalid algorithm (alg) header parameter: token signed with unexpected algorithm")
	}
}

// What is wrong with the role is told before anything about the token.
func TestVaultRoles(t *testing.T) {
	for _, row := range []struct{ name, members, text string }{
		{"oidc", `"role_type": "oidc"`, "role with oidc role_type is not allowed"},
		{"no audience bound", `"bound_audiences": []`, "audience claim found in JWT but no audiences bound to the role"},
		{"subject", `"bound_subject": "org/x"`, errToken + "invalid subject (sub) claim"},
		{"user claim", `"user_claim": "email"`, `claim "email" not found in token`},
		{"mapping of a list", `"claim_mappings": {"oidc.circleci.com/context-ids": "c"}`, "error converting claim 'oidc.circleci.com/context-ids' to string"},
		{"root", `"token_policies": "root"`, "auth methods cannot create root tokens"},
		{"wrapping", `"token_policies": "response-wrapping"`, `cannot assign policy "response-wrapping"`},
	} {
		l := vaultLab(t, row.members)
		l.vaultLogin(DefaultVaultRole, l.v1(Variant{}, nil)).want(t, row.name, 400, row.text)
	}
	l := vaultLab(t, `"role_type": "oidc"`)
	l.vaultLogin(DefaultVaultRole, "").want(t, "oidc without a token", 400, "role with oidc role_type is not allowed")

	l = newLab(t, Config{})
	l.vaultLogin("nosuch", "").want(t, "unknown role", 400, `role "nosuch" could not be found`)
	l.vaultLogin("NoSuch", "x").want(t, "unknown role in capitals", 400, `role "nosuch" could not be found`)
	l.vaultLogin("", "x").want(t, "no role", 400, "missing role")
	if a := l.vaultLogin("Deploy", l.v1(Variant{}, nil)); a.status != 200 || a.Auth.Metadata["role"] != "deploy" {
		t.Errorf("a role in capitals: %d %s", a.status, a.body)
	}
	l = newLab(t, Config{VaultConfig: &jwtrole.Config{DefaultRole: "Deploy", JWTValidationPubkeys: []string{"x"}}})
	if a := l.vaultLogin("", l.v1(Variant{}, nil)); a.status != 200 {
		t.Errorf("the default role: %d %s", a.status, a.body)
	}
	if a := l.vaultLogin(DefaultVaultRole, l.v1(Variant{RootIssuer: true}, nil)); a.status != 200 {
		t.Errorf("no bound issuer: %d %s", a.status, a.body)
	}
}

func TestVaultLoginPaths(t *testing.T) {
	l := newLab(t, Config{})
	good := l.v1(Variant{}, nil)
	body := `{"role":"deploy","jwt":"` + good + `"}`
	for _, row := range []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		text                     []string
	}{
		{"POST", "POST", "/v1/auth/jwt/login", body, nil, 200, nil},
		{"PUT", "PUT", "/v1/auth/jwt/login", body, nil, 200, nil},
		{"a nested mount", "POST", "/v1/auth/ci/jwt/login", body, nil, 200, nil},
		{"any type", "POST", "/v1/auth/jwt/login", body, []string{"Content-Type: text/plain"}, 200, nil},
		{"a form", "POST", "/v1/auth/jwt/login", "role=deploy&jwt=" + good, []string{"Content-Type: application/x-www-form-urlencoded"}, 200, nil},
		{"JSON called a form", "POST", "/v1/auth/jwt/login", body, []string{"Content-Type: application/x-www-form-urlencoded"}, 200, nil},
		{"a stale token is not looked at", "POST", "/v1/auth/jwt/login", body, []string{"X-Vault-Token: hvs.gone"}, 200, nil},
		{"a namespace", "POST", "/v1/auth/jwt/login", body, []string{"X-Vault-Namespace: team-a/"}, 200, nil},
		{"a namespace in the path", "POST", "/v1/team-a/auth/jwt/login", body, nil, 200, nil},
		{"the root's", "POST", "/v1/auth/jwt/login", body, []string{"X-Vault-Namespace: root"}, 200, nil},
		{"no such mount", "POST", "/v1/auth/nope/login", body, nil, 403, []string{"permission denied"}},
		{"half of a nested mount", "POST", "/v1/auth/ci/login", body, nil, 403, []string{"permission denied"}},
		{"no such namespace", "POST", "/v1/auth/jwt/login", body, []string{"X-Vault-Namespace: nope"}, 404, []string{"namespace not found"}},
		{"without /v1", "POST", "/auth/jwt/login", body, nil, 404, nil},
		{"GET", "GET", "/v1/auth/jwt/login", "", nil, 405, []string{"unsupported operation"}},
		{"cut off", "POST", "/v1/auth/jwt/login", `{"role":"dep`, nil, 400, []string{"failed to decode JSON input: unexpected EOF"}},
		{"a list", "POST", "/v1/auth/jwt/login", `[]`, nil, 400, []string{"failed to decode JSON input: json: cannot unmarshal array into Go value of type map[string]interface {}"}},
		{"a list as role", "POST", "/v1/auth/jwt/login", `{"role":["deploy"]}`, nil, 400, []string{`Field validation failed: error converting input for field "role": '' expected type 'string', got unconvertible type '[]interface {}', value: '[deploy]'`}},
		{"nothing", "POST", "/v1/auth/jwt/login", "", nil, 400, []string{"missing role"}},
		{"a slash at the end", "POST", "/v1/auth/jwt/login/", body, nil, 400, []string{"cannot write to a path ending in '/'"}},
		{"an endless body", "POST", "/v1/auth/jwt/login", `{"jwt":"` + strings.Repeat("a", maxRequest), nil, 413, []string{"http: request body too large"}},
		{"another method", "TRACE", "/v1/auth/jwt/login", "", nil, 405, nil},
		{"wrapping for how long", "POST", "/v1/auth/jwt/login", body, []string{"X-Vault-Wrap-TTL: soon"}, 400, []string{`error parsing X-Vault-Wrap-TTL header: time: invalid duration "soon"`}},
		{"wrapping for less than nothing", "POST", "/v1/auth/jwt/login", body, []string{"X-Vault-Wrap-TTL: -1"}, 400, []string{"error parsing X-Vault-Wrap-TTL header: requested wrap ttl cannot be negative"}},
	} {
		a := l.vaultAsk(row.method, row.path, "", row.body, row.headers...)
		a.want(t, row.name, row.status, row.text...)
		if a.status == 200 && a.Auth == nil || strings.Contains(a.note, good) {
			t.Errorf("%s: %s", row.name, a.body)
		}
	}
	for path, want := range map[string]string{
		"/v1//auth/jwt/login": "/v1/auth/jwt/login", "/v1/auth//jwt/login?x=y": "/v1/auth/jwt/login?x=y", "/v1/auth/./jwt/login/": "/v1/auth/jwt/login/", "/v1/../x": "/x",
	} {
		if a := l.vaultAsk("POST", path, "", body); a.status != 307 || a.header.Get("Location") != want {
			t.Errorf("%s: %d %s", path, a.status, a.header.Get("Location"))
		}
	}
	if a := l.vaultAsk("POST", "/v1/auth/jwt/login", "", body, "X-Vault-Namespace: nope"); a.header.Get("X-Vault-Namespace") != "nope" {
		t.Error("the namespace is not echoed")
	}
	a := l.vaultAsk("POST", "/v1/auth/jwt/login", "", `{"role":"deploy","user":"x","a":1,"jwt":"`+good+`"}`)
	if strings.Join(a.Warnings, "|") != "Endpoint ignored these unrecognized parameters: [a user]" {
		t.Errorf("%q", a.Warnings)
	}
}

func TestVaultLoginAnswer(t *testing.T) {
	l := vaultLab(t, `"claim_mappings": {"oidc.circleci.com/vcs-ref": "ref"},
		"token_policies": "CI, other,ci",
		"token_num_uses": 7`)
	a := l.vaultLogin(DefaultVaultRole, l.v1(Variant{}, nil))
	if a.status != 200 {
		t.Fatal(a.body)
	}
	auth := a.Auth
	if strings.Join(auth.Policies, " ") != "ci default other" || strings.Join(auth.TokenPolicies, " ") != "ci default other" || auth.Metadata["ref"] != "refs/heads/main" ||
		auth.Metadata["role"] != "deploy" || len(auth.Metadata) != 2 || auth.NumUses != 7 || !auth.Renewable || !auth.Orphan || auth.TokenType != "service" ||
		auth.LeaseDuration != 900 || len(auth.EntityID) != 36 || len(auth.Accessor) != 24 || a.RequestID == "" || a.Data != nil {
		t.Errorf("%s", a.body)
	}
	if a.header.Get("Content-Type") != "application/json" || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%v", a.header)
	}
	if b := l.vaultLogin(DefaultVaultRole, l.v2(Variant{})); b.Auth.EntityID != auth.EntityID || b.Auth.ClientToken == auth.ClientToken {
		t.Error("the same identity has an entity of its own, and every login a token")
	}
	found := false
	for _, secret := range l.ledger.list() {
		found = found || secret == auth.ClientToken
	}
	if !found {
		t.Error("the token is not in the ledger")
	}
	if b := l.vaultAsk("POST", "/v1/auth/jwt/login", "", `{"role":"deploy","jwt":"`+l.v1(Variant{}, nil)+`"}`, "X-Vault-Namespace: team-a"); !strings.Contains(b.Auth.ClientToken[10:], ".") || b.Auth.EntityID == auth.EntityID {
		t.Error("a namespace's token names the namespace, and has entities of its own")
	}
}

func TestVaultAddresses(t *testing.T) {
	l := vaultLab(t, `"token_bound_cidrs": ["192.0.2.0/24"]`)
	a := l.vaultLogin(DefaultVaultRole, l.v1(Variant{}, nil))
	a.want(t, "from elsewhere", 403, "permission denied")
	if !strings.Contains(a.note, "token_bound_cidrs") {
		t.Errorf("the log says %q", a.note)
	}
	l = vaultLab(t, `"token_bound_cidrs": ["127.0.0.0/8"]`)
	a = l.vaultLogin(DefaultVaultRole, l.v1(Variant{}, nil))
	if a.status != 200 {
		t.Fatal(a.body)
	}
	for address, want := range map[string]int{"127.0.0.1:1": 200, "192.0.2.1:1": 403, "@": 403} {
		r := httptest.NewRequest("GET", "/v1/secret/data/ci/app", nil)
		r.RemoteAddr = address
		r.Header.Set("X-Vault-Token", a.Auth.ClientToken)
		w := httptest.NewRecorder()
		if l.vault.serve(w, r); w.Code != want {
			t.Errorf("from %s: %d %s", address, w.Code, w.Body)
		}
	}
}

// The sandbox's log says which condition it was; the answer does not.
func TestVaultLog(t *testing.T) {
	l := newLab(t, Config{})
	a := l.vaultLogin(DefaultVaultRole, l.v1(Variant{Fork: true}, nil))
	if want := `login: 400 (bound_claims["oidc.circleci.com/vcs-origin"]: from character 12 on, "my-org/app" is wanted, and there is "stranger/app")`; a.note != want {
		t.Errorf("%s, want %s", a.note, want)
	}
}

func TestVaultLifetimes(t *testing.T) {
	for _, row := range []struct {
		name, members string
		want          time.Duration
		warning       string
	}{
		{"as written", `"token_ttl": "10m"`, 10 * time.Minute, ""},
		{"not written", `"token_ttl": 0,
			"token_max_ttl": 0`, 768 * time.Hour, ""},
		{"the most is less", `"token_ttl": 0,
			"token_max_ttl": 3600`, time.Hour, `TTL of "768h" exceeded the effective max_ttl of "1h"; TTL value is capped accordingly`},
		{"the explicit most is less", `"token_explicit_max_ttl": 60`, time.Minute, `TTL of "15m" exceeded the effective max_ttl of "1m"; TTL value is capped accordingly`},
		{"a period", `"token_period": "2m"`, 2 * time.Minute, ""},
		{"a long period", `"token_period": "2h"`, time.Hour, `period of "2h" exceeded the effective max_ttl of "1h"; period value is capped accordingly`},
	} {
		l := vaultLab(t, row.members)
		a := l.vaultLogin(DefaultVaultRole, l.v1(Variant{}, nil))
		if a.status != 200 || a.Auth.LeaseDuration != int(row.want.Seconds()) || strings.Join(a.Warnings, "|") != row.warning {
			t.Errorf("%s: %d %s", row.name, a.status, a.body)
		}
	}
}
