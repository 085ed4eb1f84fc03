package vault

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
)

const headerValue = "cf-access-secret-0123456789"

func headerOptions() Options {
	env := map[string]string{"CF_SECRET": headerValue, "VAULT_HEADERS": `{"X-Proxy": "` + headerValue + `-2"}`}
	return Options{Headers: []string{"CF-Access-Client-Secret=CF_SECRET"}, Getenv: func(name string) string { return env[name] }}
}

// Every call carries the headers, none in its address or body, and no error shows them.
func TestHeaders(t *testing.T) {
	n := vault(map[string][]reply{"secret/data/ci/app": {refused(403, "denied for "+headerValue+" and "+headerValue+"-2")}})
	o := headerOptions()
	o.Secrets = []string{"secret/data/ci/app password"}
	s := session(t, n, o)
	_, err := s.Read(t.Context())
	if err == nil {
		t.Fatal("no error")
	}
	if err := s.Revoke(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range n.calls {
		if c.header.Get("CF-Access-Client-Secret") != headerValue || c.header.Get("X-Proxy") != headerValue+"-2" {
			t.Errorf("%s: %v", c.line, c.header)
		}
		if strings.Contains(c.line+c.body, headerValue) {
			t.Errorf("%s has the value", c.line)
		}
	}
	if len(n.calls) != 3 {
		t.Errorf("%q", n.lines())
	}
	shown := fmt.Sprintf("%v %+v %q %#v", err, s.server, fault.Hints(err), s.server)
	b, _ := json.Marshal(s.server)
	if strings.Contains(shown+string(b), headerValue) {
		t.Errorf("the value is shown: %s %s", shown, b)
	}
}

// A redirect would carry the headers to another server.
func TestHeadersAreForOneServer(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the other server got %v", r.Header)
	}))
	defer other.Close()
	first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	defer first.Close()
	o := headerOptions()
	o.Addr = first.URL
	if _, err := server(t, o).Login(t.Context(), &remote.Client{Transport: remote.NewTransport(func(string) string { return "" }), Now: now, Attempts: 1}, testToken()); err == nil || strings.Contains(err.Error(), headerValue) {
		t.Errorf("got %v", err)
	}
}

// With a proxy, the server's name is not even looked up: the proxy gets every call, and
// its password is not shown where it fails.
func TestProxy(t *testing.T) {
	var mu sync.Mutex
	var got []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, r.Method+" "+r.Host+" "+r.Header.Get("Proxy-Authorization")+r.Header.Get("CF-Access-Client-Secret"))
		w.WriteHeader(http.StatusForbidden)
	}))
	defer proxy.Close()
	u, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("ci", "proxypassword")
	o := headerOptions()
	o.Addr, o.Proxy = "https://vault.invalid:8200", u.String()
	_, err = server(t, o).Login(t.Context(), &remote.Client{Transport: remote.NewTransport(func(string) string { return "" }), Now: now, Attempts: 1}, testToken())
	if err == nil || strings.Contains(fmt.Sprint(err, fault.Hints(err)), "proxypassword") {
		t.Fatalf("got %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	// CONNECT has the proxy's password, and none of the server's headers.
	if len(got) != 1 || got[0] != "CONNECT vault.invalid:8200 Basic Y2k6cHJveHlwYXNzd29yZA==" {
		t.Errorf("the proxy got %q", got)
	}
}

// --auth-path is a mount, or the whole path of its login; a CEL role has a path of its
// own below the mount.
func TestAuthPath(t *testing.T) {
	for path, want := range map[string]string{
		"": "jwt", "jwt": "jwt", "jwt/": "jwt", "/team/jwt": "team/jwt", "auth/jwt": "jwt", "auth/jwt/login": "jwt",
		"jwt/login": "jwt", "auth/team/jwt/login/": "team/jwt", "jwt/cel": "jwt/cel", "auth/jwt/cel/login": "jwt/cel",
	} {
		n := vault(map[string][]reply{"auth/" + want + "/login": {ok(`{"auth":{"client_token":"` + given + `","lease_duration":900}}`)}})
		session(t, n, Options{AuthPath: path})
		if got := n.lines(); len(got) != 1 || got[0] != "POST "+testAddr+"/v1/auth/"+want+"/login" {
			t.Errorf("%q: %q", path, got)
		}
	}
}
