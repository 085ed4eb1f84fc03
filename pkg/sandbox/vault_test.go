package sandbox

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// The flow that a job goes through: log in, read, revoke, and nothing is left.
func TestVaultFlow(t *testing.T) {
	l := newLab(t, Config{})
	a := l.vaultLogin(DefaultVaultRole, l.v2(Variant{}))
	if a.status != 200 || a.Auth.LeaseDuration != 900 || !a.Auth.Renewable || a.Auth.TokenType != "service" || a.Auth.Metadata["role"] != DefaultVaultRole {
		t.Fatalf("login: %d %s", a.status, a.body)
	}
	token := a.Auth.ClientToken
	if !strings.HasPrefix(token, "hvs.") || strings.Join(a.Auth.Policies, " ") != "ci default" {
		t.Errorf("login: %s", a.body)
	}
	a = l.vaultAsk("GET", "/v1/secret/data/ci/app", token, "")
	data, _ := a.Data["data"].(map[string]any)
	if a.status != 200 || data["username"] != "ci-app" {
		t.Errorf("read: %d %s", a.status, a.body)
	}
	a = l.vaultAsk("GET", "/v1/auth/token/lookup-self", token, "")
	if a.status != 200 || a.Data["id"] != token {
		t.Errorf("lookup: %d %s", a.status, a.body)
	}
	if a = l.vaultAsk("POST", "/v1/auth/token/revoke-self", token, ""); a.status != 204 || a.body != "" {
		t.Errorf("revoke: %d %s", a.status, a.body)
	}
	l.vaultAsk("GET", "/v1/secret/data/ci/app", token, "").want(t, "after", 403, noSuchToken)
}

// No request makes the server panic, and every answer that has a body has JSON.
func FuzzVaultRequests(f *testing.F) {
	l := newLab(f, Config{})
	job := l.vaultToken()
	for _, row := range []struct{ method, path, body, header string }{
		{"POST", "auth/jwt/login", `{"role":"deploy","jwt":"a.b.c"}`, ""}, {"GET", "secret/data/ci/app?version=1", "", ""}, {"LIST", "secret/metadata/", "", ""},
		{"POST", "secret/data/x", `{"data":{"a":[1]},"options":{"cas":0}}`, "60"}, {"POST", "sys/wrapping/unwrap", `{"token":1}`, ""}, {"PUT", "sys/leases/renew/x", `{"increment":"1d"}`, ""},
		{"POST", "secret/destroy/ci/app", `{"versions":[1,"x",{}]}`, ""}, {"DELETE", "kv1/ci/app", "", ""}, {"GET", "team-a/kv1/ci/app", "", "1h"}, {"HEAD", "sys/health", "", ""},
		{"GET", "auth/jwt/role/../x", "", ""}, {"GET", "sys/internal/ui/mounts/", "", ""}, {"PATCH", "secret/data/x", "{}", ""},
	} {
		f.Add(row.method, row.path, row.body, row.header)
	}
	f.Fuzz(func(t *testing.T, method, path, body, header string) {
		r, err := http.NewRequest(method, "http://127.0.0.1:1/v1/"+path, strings.NewReader(body)) // #nosec G704 -- nothing is sent
		if err != nil {
			return
		}
		for _, token := range []string{"", job} {
			r := r.Clone(t.Context())
			r.Body = http.NoBody
			if body != "" {
				r.Body = httptest.NewRequest("POST", "/", strings.NewReader(body)).Body
			}
			r.Header.Set("X-Vault-Token", token)
			r.Header.Set("X-Vault-Wrap-TTL", header)
			r.Header.Set("Content-Type", header)
			w := httptest.NewRecorder()
			if note := l.vault.serve(w, r); note == "" {
				t.Error("nothing for the log")
			}
			if b := w.Body.Bytes(); len(b) > 0 && w.Code != http.StatusTemporaryRedirect && !json.Valid(b) {
				t.Errorf("%d %s", w.Code, b)
			}
		}
	})
}
