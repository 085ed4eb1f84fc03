package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

func TestPublishedKeysVerify(t *testing.T) {
	s := start(t, Config{Now: fixed})
	set, _ := s.Environment()
	var keys jose.JSONWebKeySet
	get(t, set["CIRCLE_OIDC_JWKS_URL"], &keys)
	if len(keys.Keys) != 1 || !keys.Keys[0].IsPublic() || keys.Keys[0].Use != "sig" {
		t.Fatalf("keys: %+v", keys)
	}
	for _, name := range []string{"CIRCLE_OIDC_TOKEN", "CIRCLE_OIDC_TOKEN_V2"} {
		token, err := jose.ParseSignedCompact(set[name], []jose.SignatureAlgorithm{jose.RS256})
		if err != nil {
			t.Fatal(err)
		}
		found := keys.Key(token.Signatures[0].Header.KeyID)
		if len(found) != 1 {
			t.Fatalf("%s: no key", name)
		}
		if _, err := token.Verify(found[0]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDiscovery(t *testing.T) {
	s := start(t, Config{Now: fixed})
	set, _ := s.Environment()
	base, _, _ := strings.Cut(set["CIRCLE_OIDC_JWKS_URL"], "/org/")
	for _, row := range []struct{ path, issuer string }{
		{"/org/" + orgID, "https://oidc.circleci.com/org/" + orgID},
		{"", "https://oidc.circleci.com"},
	} {
		var got map[string]any
		get(t, base+row.path+"/.well-known/openid-configuration", &got)
		want := map[string]any{
			"claims_supported":                      []any{"aud", "sub", "iss", "iat", "exp", "oidc.circleci.com/project-id", "oidc.circleci.com/context-ids"},
			"subject_types_supported":               []any{"public", "pairwise"},
			"scopes_supported":                      []any{"openid"},
			"response_types_supported":              []any{"id_token"},
			"id_token_signing_alg_values_supported": []any{"RS256"},
			"request_uri_parameter_supported":       false,
			"issuer":                                row.issuer,
			"jwks_uri":                              base + row.path + "/.well-known/jwks-pub.json",
			"service_documentation":                 "https://circleci.com/docs/2.0/openid-connect-tokens/",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		var keys jose.JSONWebKeySet
		get(t, base+row.path+"/.well-known/jwks-pub.json", &keys)
		if len(keys.Keys) != 1 {
			t.Errorf("%d keys", len(keys.Keys))
		}
	}
}

func TestMintRefusals(t *testing.T) {
	l := newLab(t, Config{})
	serve, _ := l.issuer.open("http://127.0.0.1:1")
	held := len(l.ledger.list())
	for _, row := range []struct {
		name, method, path, media, body string
		want                            int
	}{
		{"elsewhere", "GET", "/", "", "", 404},
		{"GET", "GET", mintPath, "application/json", "{}", 405},
		{"a form of a web page", "POST", mintPath, "application/x-www-form-urlencoded", "{}", 415},
		{"text of a web page", "POST", mintPath, "text/plain", "{}", 415},
		{"no JSON", "POST", mintPath, "application/json", "aud", 400},
		{"another claim", "POST", mintPath, "application/json", `{"sub":"x"}`, 400},
		{"endless", "POST", mintPath, "application/json", `{"aud":"` + strings.Repeat("a", maxMint), 400},
	} {
		r := httptest.NewRequest(row.method, row.path, strings.NewReader(row.body))
		r.Header.Set("Content-Type", row.media)
		w := httptest.NewRecorder()
		serve(w, r)
		if w.Code != row.want || strings.Contains(w.Body.String(), "ey") {
			t.Errorf("%s: %d %s", row.name, w.Code, w.Body)
		}
	}
	if n := len(l.ledger.list()) - held; n != 0 {
		t.Errorf("%d tokens minted", n)
	}
}

func TestCircleCIRun(t *testing.T) {
	s := start(t, Config{Now: fixed, Token: Variant{Expired: true, Branch: "b", Audience: "job"}})
	set, _ := s.Environment()
	for _, row := range []struct {
		name string
		args []string
		aud  string
		iss  string
	}{
		{"plain", []string{"run", "oidc", "get"}, "job", orgIssuer},
		{"audience", []string{"run", "oidc", "get", "--claims", `{"aud":"vault"}`}, "vault", orgIssuer},
		{"audience inline", []string{"run", "oidc", "get", `--claims={"aud":"a=b"}`}, "a=b", orgIssuer},
		{"no claims", []string{"run", "oidc", "get", "--claims", `{}`}, "job", orgIssuer},
		{"root issuer", []string{"run", "oidc", "get", "--root-issuer", "--claims", `{"aud":"x"}`}, "x", rootIssuer},
	} {
		token, err := CircleCIRun(t.Context(), set["CIRCLE_OIDC_SANDBOX_URL"], row.args, http.DefaultClient.Do)
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		c := decode(t, token)
		want := map[string]any{
			"aud": row.aud, "iss": row.iss, "sub": ownSubject + "/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/b",
			"iat": float64(at.Unix()), "exp": float64(at.Unix() + 3600),
		}
		for name := range want {
			if diff := cmp.Diff(want[name], c[name]); diff != "" {
				t.Errorf("%s: %s: %s", row.name, name, diff)
			}
		}
	}
}

func TestCircleCIRunRefusals(t *testing.T) {
	answers := func(status int, body string) func(*http.Request) (*http.Response, error) {
		return func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body))}, nil
		}
	}
	never := func(*http.Request) (*http.Response, error) {
		t.Error("a request was sent")
		return nil, io.EOF
	}
	get := func(more ...string) []string { return append([]string{"run", "oidc", "get"}, more...) }
	const url = "http://127.0.0.1:1/run/oidc/get"
	for _, row := range []struct {
		url    string
		args   []string
		client func(*http.Request) (*http.Response, error)
		kind   fault.Kind
		want   string
	}{
		{url, []string{"run", "release"}, never, fault.Usage, "the sandbox's circleci knows one command: circleci run oidc get"},
		{url, nil, never, fault.Usage, "the sandbox's circleci knows one command: circleci run oidc get"},
		{url, get("--ttl", "1h"), never, fault.Usage, `circleci run oidc get knows --claims and --root-issuer, not "--ttl"`},
		{url, get("--root-issuer=true"), never, fault.Usage, `circleci run oidc get knows --claims and --root-issuer, not "--root-issuer=true"`},
		{url, get("--claims"), never, fault.Usage, "--claims needs a value"},
		{url, get("--claims", "aud=x"), never, fault.Usage, "--claims is not a JSON object"},
		{url, get("--claims", `["aud"]`), never, fault.Usage, "--claims is not a JSON object"},
		{url, get("--claims", `{"sub":"x"}`), never, fault.Usage, `only the claim aud can be customised, not "sub"`},
		{url, get("--claims", `{"aud":["x"]}`), never, fault.Usage, "the claim aud in --claims is not text, or is empty"},
		{url, get("--claims", `{"aud":null}`), never, fault.Usage, "the claim aud in --claims is not text, or is empty"},
		{"", get(), never, fault.Usage, "CIRCLE_OIDC_SANDBOX_URL is not set"},
		{"http://a b", get(), never, fault.Usage, "CIRCLE_OIDC_SANDBOX_URL is not a URL"},
		{url, get(), func(*http.Request) (*http.Response, error) { return nil, errors.New("no route") }, fault.Unavailable, "cannot reach the sandbox: no route"},
		{url, get(), answers(500, "secret"), fault.Unavailable, "the sandbox mints no token: status 500"},
		{url, get(), answers(200, "<html>"), fault.Unavailable, "the sandbox's answer holds no token"},
		{url, get(), answers(200, "{}"), fault.Unavailable, "the sandbox's answer holds no token"},
	} {
		token, err := CircleCIRun(context.Background(), row.url, row.args, row.client)
		if token != "" || err == nil || err.Error() != row.want || fault.KindOf(err) != row.kind {
			t.Errorf("%q: %q, %v, want %q", row.args, token, err, row.want)
		}
	}
}

func fixed() time.Time { return at }

func get(t *testing.T, url string, into any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	if a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("%s: %d %s", url, a.StatusCode, a.Header.Get("Content-Type"))
	}
	if err := json.NewDecoder(a.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}
