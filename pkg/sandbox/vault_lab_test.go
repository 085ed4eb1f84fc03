package sandbox

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A vaultReply is what the Vault sent, read by types of the test's own.
type vaultReply struct {
	status int
	header http.Header
	body   string
	note   string

	Errors    []string
	RequestID string `json:"request_id"`
	LeaseID   string `json:"lease_id"`
	Renewable bool
	Lease     int `json:"lease_duration"`
	Data      map[string]any
	Warnings  []string
	Auth      *struct {
		ClientToken   string `json:"client_token"`
		Accessor      string
		Policies      []string
		TokenPolicies []string `json:"token_policies"`
		Metadata      map[string]string
		LeaseDuration int    `json:"lease_duration"`
		EntityID      string `json:"entity_id"`
		TokenType     string `json:"token_type"`
		NumUses       int    `json:"num_uses"`
		Renewable     bool
		Orphan        bool
	}
	WrapInfo *struct {
		Token           string
		TTL             int
		CreationPath    string `json:"creation_path"`
		WrappedAccessor string `json:"wrapped_accessor"`
	} `json:"wrap_info"`
}

// vaultAsk sends a request. Headers are NAME: VALUE.
func (l *lab) vaultAsk(method, path, token, body string, headers ...string) vaultReply {
	l.t.Helper()
	r := httptest.NewRequest(method, "http://127.0.0.1:1"+path, strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:1234"
	if token != "" {
		r.Header.Set("X-Vault-Token", token)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	note := l.vault.serve(w, r)
	a := vaultReply{status: w.Code, header: w.Header(), body: w.Body.String(), note: note}
	if w.Body.Len() > 0 && w.Code != http.StatusTemporaryRedirect {
		d := json.NewDecoder(w.Body)
		d.UseNumber()
		if err := d.Decode(&a); err != nil {
			l.t.Errorf("no JSON: %v: %s", err, a.body)
		}
	}
	return a
}

func (l *lab) vaultLogin(role, jwt string) vaultReply {
	l.t.Helper()
	body, err := json.Marshal(map[string]string{"role": role, "jwt": jwt})
	if err != nil {
		l.t.Fatal(err)
	}
	return l.vaultAsk("POST", "/v1/auth/jwt/login", "", string(body))
}

// vaultToken logs in with a good token.
func (l *lab) vaultToken() string {
	l.t.Helper()
	a := l.vaultLogin(DefaultVaultRole, l.v1(Variant{}, nil))
	if a.status != 200 || a.Auth == nil {
		l.t.Fatalf("no token: %d %s", a.status, a.body)
	}
	return a.Auth.ClientToken
}

func (a vaultReply) want(t testing.TB, name string, status int, texts ...string) {
	t.Helper()
	if a.status != status || strings.Join(a.Errors, "|") != strings.Join(texts, "|") {
		t.Errorf("%s:\ngot  %d %q\nwant %d %q", name, a.status, a.Errors, status, texts)
	}
}
