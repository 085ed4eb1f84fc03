package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// What a real server was seen to answer to logins, with its texts. Not here:
// bound addresses beyond loopback's, and headers of rate limits, which the peer
// does not have; a rate limit itself and a sealed server are faults.
func TestLoginRefusals(t *testing.T) {
	f := start(t)
	const (
		claim   = "error validating claims: claim "
		invalid = "error validating token: invalid "
		anAud   = invalid + "audience (aud) claim: audience claim does not match any expected audience"
	)
	now := time.Now().Unix()
	for _, row := range []struct {
		name, role string
		change     object
		status     int
		text       string
	}{
		{"good", "deploy", nil, 200, ""},
		{"wrong aud", "deploy", object{"aud": "another"}, 400, anAud},
		{"no aud", "deploy", object{"aud": nil}, 400, anAud},
		{"no bound_audiences", "no-audience", nil, 400, "audience claim found in JWT but no audiences bound to the role"},
		{"wrong iss", "deploy", object{"iss": "https://oidc.circleci.com"}, 400, invalid + "issuer (iss) claim"},
		{"wrong bound claim", "bound-project", nil, 400, claim + `"oidc.circleci.com/project-id" does not match any associated bound claim values`},
		{"bound claim absent", "bound-ref", nil, 400, claim + `"oidc.circleci.com/vcs-ref" is missing`},
		{"wrong subject", "bound-subject", nil, 400, invalid + "subject (sub) claim"},
		{"50 s late", "deploy", object{"exp": now - 50}, 200, ""},
		{"70 s late", "deploy", object{"exp": now - 70}, 400, invalid + "expiration time (exp) claim: token is expired"},
		{"50 s early", "deploy", object{"iat": now + 50}, 200, ""},
		{"70 s early", "deploy", object{"iat": now + 70}, 400, invalid + "not before (nbf) claim: token not yet valid"},
		{"no exp, but iat", "deploy", object{"exp": nil}, 200, ""},
		{"no times", "deploy", object{"exp": nil, "iat": nil}, 400,
			"error validating token: no issued at (iat), not before (nbf), or expiration time (exp) claims in token"},
		{"unknown role", "nosuch", nil, 400, `role "nosuch" could not be found`},
		{"role in capitals", "NoSuch", nil, 400, `role "nosuch" could not be found`},
		{"default role", "", nil, 200, ""},
		{"role for browsers", "browser", nil, 400, "role with oidc role_type is not allowed"},
		{"no user_claim", "by-mail", nil, 400, `claim "email" not found in token`},
		{"mapping of a list", "mapped-list", nil, 400, "error converting claim 'oidc.circleci.com/context-ids' to string"},
		{"other address", "elsewhere", nil, 403, "permission denied"},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := *f
			g.T = t
			g.login("jwt", row.role, g.token(row.change)).want(&g, row.status, row.text)
		})
	}
}

// The same for signatures, for what is no token, and for mounts.
func TestSignatureRefusals(t *testing.T) {
	f := start(t)
	const signature = "error validating token: error verifying token signature: "
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, _ := x509.MarshalPKIXPublicKey(&f.key.PublicKey)
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	good := f.token(nil)
	parts := strings.Split(good, ".")
	evil := strings.Split(f.token(object{"sub": "evil"}), ".")
	wrongKey, hmac := f.signed(jose.RS256, other, claims(nil)), f.signed(jose.HS256, public, claims(nil))
	unsigned := "eyJhbGciOiJub25lIn0." + parts[1] + "."
	const (
		noKey      = signature + "no known key successfully validated the token signature"
		malformed  = "oidc: malformed jwt: "
		threeParts = "go-jose/go-jose: compact JWS format must have three parts"
	)
	for _, row := range []struct {
		name, mount, jwt string
		status           int
		text             string
	}{
		{"other key", "jwt", wrongKey, 400, noKey},
		{"tampered", "jwt", parts[0] + "." + evil[1] + "." + parts[2], 400, noKey},
		{"HS256 with the public key", "jwt", hmac, 400, noKey},
		{"alg none", "jwt", unsigned, 400, noKey},
		{"not a JWT", "jwt", "$CIRCLE_OIDC_TOKEN", 400, signature + threeParts},
		// Where the keys are fetched, other code finds the same faults.
		{"other key, keys fetched", "ci/jwt/prod", wrongKey, 400, signature + "failed to verify id token signature"},
		{"other key, keys discovered", "discovered", wrongKey, 400, signature + "failed to verify id token signature"},
		{"HS256, keys fetched", "ci/jwt/prod", hmac, 400, signature + malformed + `unexpected signature algorithm "HS256"; expected ["RS256" ...`},
		{"alg none, keys discovered", "discovered", unsigned, 400, signature + malformed + `unexpected signature algorithm "none"; expected ["RS256" ...`},
		{"not a JWT, keys fetched", "ci/jwt/prod", "$CIRCLE_OIDC_TOKEN", 400, signature + malformed + threeParts},
		{"white space", "jwt", " " + good + "\n", 200, ""},
		{"empty", "jwt", "", 400, "missing token"},
		{"never configured", "bare", good, 400, "could not load configuration"},
		{"nested mount, keys fetched", "ci/jwt/prod", good, 200, ""},
		{"keys discovered", "discovered", good, 200, ""},
		{"keys out of reach", "dead", good, 400, signature + `fetching keys oidc: get keys failed Get "http://127.0.0.1:1/keys": dial tcp 127.0.0.1:1: ...`},
		{"discovery out of reach", "dead-at-start", good, 400, `error configuring token validator: keyset configuration error: Get "http://127.0.0.1:1/.well-known/openid-configuration": ...`},
		{"no such mount", "nosuch", good, 403, "permission denied"},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := *f
			g.T = t
			g.login(row.mount, "deploy", row.jwt).want(&g, row.status, row.text)
		})
	}
}

// The same for what is wrong before a plugin sees it.
func TestRequestRefusals(t *testing.T) {
	f := start(t)
	login := `{"role":"deploy","jwt":"` + f.token(nil) + `"}`
	f.ask("POST", "/v1/auth/jwt/login", login, "X-Vault-Namespace", "nosuch").want(f, 404, "namespace not found")
	f.ask("POST", "/auth/jwt/login", login).want(f, 404, "")
	f.ask("GET", "/v1/auth/jwt/login", "").want(f, 405, "unsupported operation")
	f.ask("POST", "/v1/auth/jwt/login", `{"role":`).want(f, 400, "failed to decode JSON input: unexpected EOF")
	f.ask("POST", "/v1/auth/jwt/login", `{"role":"deploy"}`).want(f, 400, "missing token")
	f.ask("PUT", "/v1/auth/jwt/login", login, "X-Vault-Token", "stale").want(f, 200, "")
	if r := f.ask("POST", "/v1/auth//jwt/login", login); r.status != 307 || r.header.Get("Location") != "/v1/auth/jwt/login" {
		t.Errorf("a doubled slash: %d to %q", r.status, r.header.Get("Location"))
	}
	f.ask("POST", "/v1/auth/jwt/login", login, "X-Vault-Wrap-TTL", "soon").want(f, 400, "error parsing X-Vault-Wrap-TTL header: ...")
}

func TestLogin(t *testing.T) {
	f := start(t)
	r := f.login("jwt", "mapped", f.token(nil))
	r.want(f, 200, "")
	a := r.Auth
	if a.TTL != 900 || !a.Renewable || a.Type != "service" || a.Accessor == "" || a.Entity == "" ||
		strings.Join(a.Policies, " ") != "default deploy" || a.Metadata["project"] != project || a.Metadata["role"] != "mapped" {
		t.Errorf("%+v", a)
	}
	if again := f.login("jwt", "mapped", f.token(nil)).Auth; again.Entity != a.Entity || again.Token == a.Token {
		t.Errorf("%+v after %+v", again, a)
	}
	if b := f.login("jwt", "batch", f.token(nil)).Auth; b.Type != "batch" || b.Renewable || b.Accessor != "" || !strings.HasPrefix(b.Token, "hvb.") {
		t.Errorf("%+v", b)
	}
	if b := f.login("jwt", "bare", f.token(nil)).Auth; strings.Join(b.Policies, " ") != "deploy" {
		t.Errorf("%+v", b)
	}
}

func TestNamespaces(t *testing.T) {
	f := start(t)
	login := `{"role":"deploy","jwt":"` + f.token(nil) + `"}`
	r := f.ask("POST", "/v1/auth/jwt/login", login, "X-Vault-Namespace", "team-a/")
	r.want(f, 200, "")
	id := r.Auth.Entity[strings.LastIndex(r.Auth.Entity, "."):]
	if !strings.HasSuffix(r.Auth.Token, id) || !strings.HasSuffix(r.Auth.Accessor, id) || r.header.Get("X-Vault-Namespace") != "team-a/" {
		t.Errorf("%+v %v", r.Auth, r.header)
	}
	f.ask("POST", "/v1/team-a/auth/jwt/login", login).want(f, 200, "")
	f.as(r.Auth.Token, "GET", "secret/data/app", "", "X-Vault-Namespace", "team-a").want(f, 200, "")
	f.as(r.Auth.Token, "GET", "team-a/secret/data/app", "").want(f, 200, "")
	f.as(r.Auth.Token, "GET", "secret/data/app", "").want(f, 403, denied)
	f.as(f.in("deploy"), "GET", "secret/data/app", "", "X-Vault-Namespace", "team-a").want(f, 403, denied)
	f.as(r.Auth.Token, "POST", "auth/token/revoke-self", "").want(f, 204, "")
	f.as(r.Auth.Token, "GET", "secret/data/app", "", "X-Vault-Namespace", "team-a").want(f, 403, "permission denied")
}
