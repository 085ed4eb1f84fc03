package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestFaults(t *testing.T) {
	f := start(t)
	fault := func(body string) {
		t.Helper()
		if got := f.ask("POST", "/fault", body).status; got != 200 {
			t.Fatalf("a fault is refused with %d", got)
		}
	}
	token := f.in("deploy")
	read := func() reply {
		t.Helper()
		return f.as(token, "GET", "secret/data/ci/app", "")
	}
	for _, row := range []struct {
		kind   string
		status int
		text   string
	}{
		{"429", 429, `request path "secret/data/ci/app": rate limit quota exceeded`},
		{"429-wait", 429, `request path "secret/data/ci/app": rate limit quota exceeded`},
		{"412", 412, "required index state not present"},
		{"500", 500, "internal error"},
		{"502", 502, ""},
		{"503", 503, "Vault is sealed"},
		{"keys", 400, "error validating token: error verifying token signature: fetching keys oidc: ..."},
	} {
		fault(`{"kind":"` + row.kind + `","path":"secret/"}`)
		f.as(token, "GET", "auth/token/lookup-self", "").want(f, 200, "")
		r := read()
		r.want(f, row.status, row.text)
		if wait := r.header.Get("Retry-After"); (wait == "1") != (row.kind == "429-wait") {
			t.Errorf("%s: Retry-After %q", row.kind, wait)
		}
		read().want(f, 200, "")
	}
	fault(`{"kind":"html","times":2}`)
	for range 2 {
		if r := read(); r.status != 200 || !strings.Contains(r.raw, marker) {
			t.Errorf("html: %+v", r)
		}
	}
	fault(`{"kind":"big"}`)
	if r := read(); len(r.raw) < 3_000_000 {
		t.Errorf("big: %d bytes", len(r.raw))
	}
	fault(`{"kind":"redirect"}`)
	if r := read(); r.status != 307 || !strings.Contains(r.header.Get("Location"), marker) {
		t.Errorf("redirect: %+v", r)
	}
	read().want(f, 200, "")
	if r := f.ask("POST", "/fault", `{"kind":"rain"}`); r.status != 400 {
		t.Errorf("an unknown fault: %+v", r)
	}
	seen := f.ask("GET", "/requests", "")
	if !strings.Contains(seen.raw, `"GET /v1/secret/data/ci/app fault 429-wait"`) {
		t.Errorf("requests: %s", seen.raw)
	}
}

func TestBrokenConnections(t *testing.T) {
	f := start(t)
	before := len(f.peer.issued)
	login := func() (int, string, error) {
		r, err := http.Post(f.url+"/v1/auth/jwt/login", "application/json", strings.NewReader(`{"role":"deploy","jwt":"`+f.token(nil)+`"}`))
		if err != nil {
			return 0, "", err
		}
		defer r.Body.Close()
		raw, err := io.ReadAll(r.Body)
		return r.StatusCode, string(raw), err
	}
	f.ask("POST", "/fault", `{"kind":"cut"}`)
	if status, body, err := login(); status != 200 || body == "" || err == nil {
		t.Errorf("cut: %d %q %v", status, body, err)
	}
	if len(f.peer.issued) != before+1 {
		t.Error("a login whose answer is cut leaves no token")
	}
	f.ask("POST", "/fault", `{"kind":"close"}`)
	if status, _, err := login(); err == nil {
		t.Errorf("close: %d", status)
	}
	if status, _, err := login(); status != 200 || err != nil {
		t.Errorf("afterwards: %d %v", status, err)
	}
}
