package main

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	org     = "2a3b4c5d-1111-4222-8333-444455556666"
	project = "9f8e7d6c-1111-4222-8333-444455556666"
	issuer  = "https://oidc.circleci.com/org/" + org
	subject = "org/" + org + "/project/" + project + "/user/5e6f7a8b-1111-4222-8333-444455556666"
)

// fixture is a peer whose mount jwt has the keys themselves; ci/jwt/prod and
// discovered fetch them. All have the same roles.
type fixture struct {
	*testing.T
	peer *peer
	url  string
	key  *rsa.PrivateKey
}

type object = map[string]any

func start(t *testing.T) *fixture {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	var keys *httptest.Server
	keys = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/.well-known/openid-configuration" {
			_ = json.NewEncoder(w).Encode(object{"issuer": keys.URL, "jwks_uri": keys.URL + "/keys"})
			return
		}
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "1", Algorithm: "RS256", Use: "sig"}}})
	}))
	t.Cleanup(keys.Close)
	const closed = "http://127.0.0.1:1"
	static := object{"jwt_validation_pubkeys": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), "bound_issuer": issuer, "default_role": "deploy"}
	p, err := newPeer(t.Context(), config{
		namespace: namespace{
			Auth: map[string]authMount{
				"jwt":           {Config: static, Roles: roles()},
				"ci/jwt/prod":   {Config: object{"jwks_url": keys.URL, "bound_issuer": issuer}, Roles: roles()},
				"discovered":    {Config: object{"oidc_discovery_url": keys.URL, "bound_issuer": issuer}, Roles: roles()},
				"bare":          {},
				"dead":          {Config: object{"jwks_url": closed + "/keys"}, Roles: roles(), Unchecked: true},
				"dead-at-start": {Config: object{"oidc_discovery_url": closed}, Roles: roles(), Unchecked: true},
			},
			Policies: map[string]rules{"deploy": {"secret/data/ci/*": {"read"}, "kv1/ci/*": {"read"}, "dyn/creds/*": {"read", "update"}}},
			KV1:      map[string]map[string]any{"ci/app": {"data": "one"}},
			KV2: map[string]json.RawMessage{
				"ci/app":   json.RawMessage(`{"password": "two", "number": 12345678901234567890}`),
				"ci/gone":  json.RawMessage(`[{"password": "old"}, null]`),
				"ci/twice": json.RawMessage(`[{"password": "first"}, {"password": "second"}]`),
				"other":    json.RawMessage(`{"password": "three"}`),
			},
		},
		Namespaces: map[string]namespace{"team-a": {
			Auth:     map[string]authMount{"jwt": {Config: static, Roles: roles()}},
			Policies: map[string]rules{"deploy": {"secret/data/*": {"read"}, "dyn/creds/*": {"read"}}},
			KV2:      map[string]json.RawMessage{"app": json.RawMessage(`{"password": "four"}`)},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(p.handler())
	t.Cleanup(s.Close)
	return &fixture{T: t, peer: p, url: s.URL, key: key}
}

func roles() map[string]map[string]any {
	all := map[string]map[string]any{}
	role := func(name string, change object) {
		r := object{
			"role_type": "jwt", "user_claim": "oidc.circleci.com/project-id", "bound_audiences": []any{org},
			"token_policies": []any{"deploy"}, "token_ttl": "15m", "token_max_ttl": "30m",
		}
		for k, v := range change {
			r[k] = v
		}
		all[name] = r
	}
	role("deploy", nil)
	role("no-audience", object{"bound_audiences": []any{}, "bound_subject": subject}) // some bound there must be
	role("bound-project", object{"bound_claims": object{"oidc.circleci.com/project-id": "another"}})
	role("bound-ref", object{"bound_claims": object{"oidc.circleci.com/vcs-ref": "refs/heads/main"}})
	role("bound-subject", object{"bound_subject": "another"})
	role("by-mail", object{"user_claim": "email"})
	role("mapped", object{"claim_mappings": object{"oidc.circleci.com/project-id": "project"}})
	role("mapped-list", object{"claim_mappings": object{"oidc.circleci.com/context-ids": "contexts"}})
	role("elsewhere", object{"token_bound_cidrs": []any{"10.0.0.0/8"}})
	role("batch", object{"token_type": "batch"})
	role("twice", object{"token_num_uses": 2})
	role("bare", object{"token_no_default_policy": true})
	role("short", object{"token_ttl": "1s"})
	all["browser"] = object{"user_claim": "sub", "bound_audiences": []any{org}, "allowed_redirect_uris": []any{"http://localhost"}}
	return all
}

// claims are those of a job, with changes; nil takes one away.
func claims(change object) object {
	now := time.Now().Unix()
	c := object{
		"iss": issuer, "sub": subject, "aud": org, "iat": now, "exp": now + 3600,
		"oidc.circleci.com/project-id": project, "oidc.circleci.com/context-ids": []string{"1", "2"}, "oidc.circleci.com/ssh-rerun": false,
	}
	for k, v := range change {
		c[k] = v
		if v == nil {
			delete(c, k)
		}
	}
	return c
}

func (f *fixture) token(change object) string { return f.signed(jose.RS256, f.key, claims(change)) }

func (f *fixture) signed(alg jose.SignatureAlgorithm, key any, c object) string {
	f.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", "1"))
	if err != nil {
		f.Fatal(err)
	}
	raw, err := jwt.Signed(s).Claims(c).Serialize()
	if err != nil {
		f.Fatal(err)
	}
	return raw
}

// reply is an answer, read.
type reply struct {
	status int
	header http.Header
	raw    string
	Errors []string
	Auth   struct {
		Token     string `json:"client_token"`
		Accessor  string
		Policies  []string
		Metadata  map[string]string
		TTL       int `json:"lease_duration"`
		Renewable bool
		Entity    string `json:"entity_id"`
		Type      string `json:"token_type"`
		Uses      int    `json:"num_uses"`
	}
	Data      object
	Lease     string `json:"lease_id"`
	TTL       int    `json:"lease_duration"`
	Renewable bool
	Warnings  []string
	Wrap      struct {
		Token, Accessor string
		TTL             int
		Path            string `json:"creation_path"`
		Wrapped         string `json:"wrapped_accessor"`
	} `json:"wrap_info"`
}

// ask sends a request; headers are names and values in turn.
func (f *fixture) ask(method, path, body string, headers ...string) reply {
	f.Helper()
	r, err := http.NewRequestWithContext(f.Context(), method, f.url+path, strings.NewReader(body))
	if err != nil {
		f.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		f.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		f.Fatal(err)
	}
	got := reply{status: resp.StatusCode, header: resp.Header, raw: string(raw)}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if len(raw) > 0 && strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		if err := d.Decode(&got); err != nil {
			f.Fatalf("%s %s: %v in %s", method, path, err, raw)
		}
	}
	return got
}

func (f *fixture) login(mount, role, jwt string) reply {
	f.Helper()
	body, _ := json.Marshal(object{"role": role, "jwt": jwt})
	return f.ask("POST", "/v1/auth/"+mount+"/login", string(body))
}

// in is a token of a role of the mount jwt.
func (f *fixture) in(role string) string {
	f.Helper()
	r := f.login("jwt", role, f.token(nil))
	r.want(f, 200, "")
	return r.Auth.Token
}

func (f *fixture) as(token, method, path, body string, headers ...string) reply {
	f.Helper()
	return f.ask(method, "/v1/"+path, body, append(headers, "X-Vault-Token", token)...)
}

// want demands a status, and the one error's text: the whole of it, or its
// beginning when that ends with "...".
func (r reply) want(f *fixture, status int, text string) {
	f.Helper()
	got := strings.Join(r.Errors, "|")
	start, open := strings.CutSuffix(text, "...")
	if r.status != status || got != text && !(open && strings.HasPrefix(got, start)) {
		f.Errorf("got %d %q\nwant %d %q\nin %s", r.status, got, status, text, r.raw)
	}
}
