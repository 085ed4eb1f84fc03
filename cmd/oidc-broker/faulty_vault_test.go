package main

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/rogpeppe/go-internal/testscript"
)

// vaultFaults are how a Vault server misbehaves, beside the faults that are
// nobody's in particular.
var vaultFaults = map[string]faulty{
	"no-token":         says(`{"auth":{"client_token":""},"hint":"` + marker + `"}`),
	"newline-in-token": says(`{"auth":{"client_token":"` + marker + `\nexport PATH=/evil","lease_duration":900}}`),
	"mfa":              says(`{"auth":{"client_token":"","mfa_requirement":{"mfa_request_id":"x","mfa_constraints":{}}}}`),
	"batch":            says(`{"auth":{"client_token":"hvb.` + marker + `","lease_duration":900,"renewable":false,"token_type":"batch","policies":["ci"]}}`),
	"sealed":           vaultSays(http.StatusServiceUnavailable, "Vault is sealed"),
	"standby":          vaultSays(http.StatusPreconditionFailed, "required index state not present"),
	"standby-once":     vaultSays(http.StatusPreconditionFailed, "required index state not present"),
	"503-once":         faults["503"],
	"keys":             vaultSays(http.StatusBadRequest, `error validating token: error verifying token signature: fetching keys oidc: get keys failed Get "https://oidc.circleci.com": dial tcp 127.0.0.1:1: connect: connection refused`),
	"keys-once":        vaultSays(http.StatusBadRequest, `error configuring token validator: keyset configuration error: Get "https://oidc.circleci.com": EOF`),
	"quota":            vaultSays(http.StatusTooManyRequests, `request path "auth/jwt/login": rate limit quota exceeded`),
	"429-once": func(w http.ResponseWriter, r *http.Request, n int32) {
		w.Header().Set("Retry-After", "1")
		vaultSays(http.StatusTooManyRequests, `request path "auth/jwt/login": rate limit quota exceeded`)(w, r, n)
	},
	"leader":      electing,
	"leader-once": electing,
	"locked":      vaultSays(http.StatusServiceUnavailable, `API access to this namespace has been locked by an administrator - "" must be unlocked to gain access.`),
	"gone":        vaultSays(http.StatusForbidden, "permission denied"),
	"gone-vault":  vaultSays(http.StatusForbidden, "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"),
	"warning":     says(`{"data":{"data":{"password":"x"},"metadata":{"version":1,"created_time":"2026-01-01T00:00:00Z"}},"warnings":["TTL of \"768h\" exceeded the effective max_ttl of \"1h\""]}`),
	"denied":      vaultSays(http.StatusForbidden, "1 error occurred:\n\t* permission denied\n\n"),
	"echo": func(w http.ResponseWriter, r *http.Request, n int32) {
		var b strings.Builder
		buffer := make([]byte, 8<<10)
		for {
			k, err := r.Body.Read(buffer)
			b.Write(buffer[:k])
			if err != nil {
				break
			}
		}
		vaultSays(http.StatusBadRequest, "cannot take "+r.Header.Get("X-Vault-Token")+" "+b.String()+" \x1b[31mred")(w, r, n)
	},
	"list": says(`["` + marker + `"]`),
	"null": says(`{"data":null}`),
	// More than its length: what follows is on a connection that is idle by then.
	"longer": func(w http.ResponseWriter, _ *http.Request, _ int32) {
		hijack(w, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"+marker)
	},
}

// electing points to another node of the cluster, as a standby does.
func electing(w http.ResponseWriter, r *http.Request, _ int32) {
	w.Header().Set("Location", "http://127.0.0.2:8200"+r.URL.RequestURI())
	w.WriteHeader(http.StatusTemporaryRedirect)
}

func vaultSays(status int, text string) faulty {
	return func(w http.ResponseWriter, r *http.Request, n int32) {
		w.WriteHeader(status)
		says(`{"errors":[`+quoted(text)+`]}`)(w, r, n)
	}
}

// faultyVault finds a fault for the calls of Vault whose path has the part; all
// others, and those after a fault that mends itself, are the sandbox's.
func faultyVault(ts *testscript.TestScript, kind, part string) faulty {
	fault := vaultFaults[kind]
	if fault == nil {
		if fault = faults[kind]; fault == nil {
			return nil
		}
	}
	own := ts.Getenv("SANDBOX_vault")
	if own == "" {
		ts.Fatalf("faulty %s vault needs a sandbox", kind)
	}
	u, err := url.Parse(own)
	ts.Check(err)
	onward := httputil.NewSingleHostReverseProxy(u)
	var calls atomic.Int32
	return func(w http.ResponseWriter, r *http.Request, _ int32) {
		if !strings.Contains(r.URL.Path, part) {
			onward.ServeHTTP(w, r)
			return
		}
		n := calls.Add(1)
		if strings.HasSuffix(kind, "-once") && n > 1 {
			onward.ServeHTTP(w, r)
			return
		}
		fault(w, r, n)
	}
}
