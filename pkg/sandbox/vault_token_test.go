package sandbox

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	oneDenied   = "1 error occurred:\n\t* permission denied\n\n"
	noSuchToken = "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"
)

// A vaultRow is a request and what comes back: no text is a good answer.
type vaultRow struct {
	name, method, path, token, body string
	status                          int
	text                            string
}

func (l *lab) vaultRows(rows []vaultRow) {
	l.t.Helper()
	for _, row := range rows {
		a := l.vaultAsk(row.method, row.path, row.token, row.body)
		var texts []string
		if row.text != "" {
			texts = []string{row.text}
		}
		a.want(l.t, row.name, row.status, texts...)
	}
}

// What a token may do, and how the causes are told apart.
func TestVaultPermissions(t *testing.T) {
	l := newLab(t, Config{})
	job := l.vaultToken()
	l.vaultRows([]vaultRow{
		{"a secret", "GET", "/v1/secret/data/ci/app", job, "", 200, ""},
		{"an older version", "GET", "/v1/secret/data/ci/app?version=1", job, "", 200, ""},
		{"KV 1", "GET", "/v1/kv1/ci/app", job, "", 200, ""},
		{"dynamic", "GET", "/v1/dyn/creds/ci", job, "", 200, ""},
		{"dynamic by POST", "POST", "/v1/dyn/creds/ci", job, `{"ttl":"10m"}`, 200, ""},
		{"another job's secret", "GET", "/v1/secret/data/other/app", job, "", 403, oneDenied},
		{"another job's, KV 1", "GET", "/v1/kv1/other/app", job, "", 403, oneDenied},
		{"without data/", "GET", "/v1/secret/ci/app", job, "", 403, oneDenied},
		{"metadata", "GET", "/v1/secret/metadata/ci/app", job, "", 403, oneDenied},
		{"a list", "LIST", "/v1/secret/metadata/ci", job, "", 403, oneDenied},
		{"writing", "POST", "/v1/secret/data/ci/app", job, `{"data":{}}`, 403, oneDenied},
		{"deleting", "DELETE", "/v1/secret/data/ci/app", job, "", 403, oneDenied},
		{"no such mount", "GET", "/v1/nope/data/ci/app", job, "", 403, oneDenied},
		{"root's lookup", "POST", "/v1/auth/token/lookup", job, `{"token":"x"}`, 403, oneDenied},
		{"revoking another", "POST", "/v1/auth/token/revoke", job, `{"token":"x"}`, 403, oneDenied},
		{"revoking a lease", "POST", "/v1/sys/leases/revoke", job, `{"lease_id":"x"}`, 403, oneDenied},
		{"the role", "GET", "/v1/auth/jwt/role/deploy", job, "", 403, oneDenied},
		{"no token", "GET", "/v1/secret/data/ci/app", "", "", 403, "permission denied"},
		{"a wrong token", "GET", "/v1/secret/data/ci/app", "hvs.wrong", "", 403, noSuchToken},
		{"no such mount, no token", "GET", "/v1/nope/x", "", "", 403, "permission denied"},
		{"not there", "GET", "/v1/secret/data/ci/nope", job, "", 404, ""},
		{"no such version", "GET", "/v1/secret/data/ci/app?version=9", job, "", 404, ""},
		{"not there, KV 1", "GET", "/v1/kv1/ci/nope", job, "", 404, ""},
		{"unknown dynamic role", "GET", "/v1/dyn/creds/nope", job, "", 400, "unknown role: nope"},
		{"version of letters", "GET", "/v1/secret/data/ci/app?version=x", job, "", 400, `Field validation failed: error converting input for field "version": cannot parse '' as int: strconv.ParseInt: parsing "x": invalid syntax`},
		{"the sandbox has no cubbyhole", "GET", "/v1/cubbyhole/x", job, "", 403, oneDenied},
		{"nor a seal to look at", "GET", "/v1/sys/seal-status", job, "", 403, oneDenied},
		{"nor leases", "POST", "/v1/sys/leases/lookup", job, `{"lease_id":"x"}`, 403, oneDenied},
		{"writing to a folder", "POST", "/v1/dyn/creds/", job, "{}", 400, "cannot write to a path ending in '/'"},
		{"health", "GET", "/v1/sys/health", "", "", 200, ""},
	})
	if a := l.vaultAsk("GET", "/v1/secret/data/ci/app", "", "", "Authorization: Bearer "+job); a.status != 200 {
		t.Errorf("a bearer: %d %s", a.status, a.body)
	}
}

func TestVaultRevoke(t *testing.T) {
	l := newLab(t, Config{})
	job, other := l.vaultToken(), l.vaultToken()
	l.vaultAsk("GET", "/v1/dyn/creds/ci", job, "")
	kept := l.vaultAsk("GET", "/v1/dyn/creds/ci", other, "").LeaseID
	l.vaultRows([]vaultRow{
		{"revoke", "POST", "/v1/auth/token/revoke-self", job, "", 204, ""},
		{"again", "POST", "/v1/auth/token/revoke-self", job, "", 403, noSuchToken},
		{"self", "GET", "/v1/auth/token/lookup-self", job, "", 403, noSuchToken},
		{"another's lease", "POST", "/v1/sys/leases/renew", other, `{"lease_id":"` + kept + `"}`, 200, ""},
	})
	if len(l.vault.leases) != 1 {
		t.Errorf("%d leases are left", len(l.vault.leases))
	}
	job = l.vaultToken()
	if a := l.vaultAsk("POST", "/v1/auth/token/revoke-self", job, "", "X-Vault-Namespace: team-a"); a.status != 204 {
		t.Errorf("revoking from another namespace: %d %s", a.status, a.body)
	}
	job = l.vaultToken()
	if a := l.vaultAsk("PUT", "/v1/auth/token/revoke-self", job, "{}"); a.status != 204 || a.body != "" {
		t.Errorf("PUT: %d %q", a.status, a.body)
	}
}

func TestVaultLookup(t *testing.T) {
	l := newLab(t, Config{})
	job := l.vaultToken()
	l.later(100 * time.Second)
	a := l.vaultAsk("GET", "/v1/auth/token/lookup-self", job, "")
	for name, want := range map[string]string{
		"id": job, "ttl": "800", "creation_ttl": "900", "type": "service", "path": "auth/jwt/login", "display_name": "jwt-" + projectID, "num_uses": "0", "orphan": "true",
		"renewable": "true", "policies": "[ci default]", "meta": "map[role:deploy]", "issue_time": "2026-11-22T12:00:00Z", "expire_time": "2026-11-22T12:15:00Z", "creation_time": fmt.Sprint(at.Unix()),
		"explicit_max_ttl": "0",
	} {
		if got := fmt.Sprint(a.Data[name]); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	l.later(800 * time.Second)
	l.vaultAsk("GET", "/v1/auth/token/lookup-self", job, "").want(t, "expired", 403, noSuchToken)
}

func TestVaultRenew(t *testing.T) {
	l := newLab(t, Config{})
	job := l.vaultToken()
	l.later(10 * time.Minute)
	a := l.vaultAsk("POST", "/v1/auth/token/renew-self", job, "{}")
	if a.status != 200 || a.Auth.LeaseDuration != 900 || a.Auth.ClientToken != job || !a.Auth.Renewable || strings.Join(a.Auth.Policies, " ") != "ci default" || a.Warnings != nil {
		t.Fatalf("%d %s", a.status, a.body)
	}
	l.later(14 * time.Minute)
	a = l.vaultAsk("PUT", "/v1/auth/token/renew-self", job, `{"increment":"24h"}`)
	if a.status != 200 || a.Auth.LeaseDuration != 36*60 || strings.Join(a.Warnings, "|") != `TTL of "24h" exceeded the effective max_ttl of "36m"; TTL value is capped accordingly` {
		t.Fatalf("%d %s", a.status, a.body)
	}
	a = l.vaultAsk("POST", "/v1/auth/token/renew-self", job, `{"increment":60}`)
	if a.status != 200 || a.Auth.LeaseDuration != 60 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if b := l.vaultAsk("GET", "/v1/auth/token/lookup-self", job, ""); b.Data["last_renewal"] != "2026-11-22T12:24:00Z" {
		t.Errorf("%s", b.body)
	}
	l.vaultRows([]vaultRow{
		{"how long", "POST", "/v1/auth/token/renew-self", job, `{"increment":"long"}`, 400, `Field validation failed: error converting input for field "increment": time: invalid duration "long"`},
	})
	l.later(16 * time.Minute)
	l.vaultAsk("POST", "/v1/auth/token/renew-self", job, "").want(t, "too late", 403, noSuchToken)
}

// In the second in which its maximum ends a token cannot be renewed, nor can a
// lease; in the one before there is one second left.
func TestVaultRenewPastTheMaximum(t *testing.T) {
	l := vaultLab(t, `"token_ttl": "1h"`)
	l.later(900 * time.Millisecond)
	job := l.vaultToken()
	l.later(time.Hour - time.Second)
	a := l.vaultAsk("POST", "/v1/auth/token/renew-self", job, "")
	if a.status != 200 || a.Auth.LeaseDuration != 1 || strings.Join(a.Warnings, "|") != `TTL of "1h" exceeded the effective max_ttl of "1s"; TTL value is capped accordingly` {
		t.Errorf("%d %s", a.status, a.body)
	}
	l.later(200 * time.Millisecond)
	l.vaultAsk("POST", "/v1/auth/token/renew-self", job, "").want(t, "past it", 500, "1 error occurred:\n\t* past the max TTL, cannot renew\n\n")
	l.later(time.Second)
	l.vaultAsk("POST", "/v1/auth/token/renew-self", job, "").want(t, "gone", 403, noSuchToken)

	l = vaultLab(t, `"token_ttl": "48h", "token_max_ttl": "48h"`)
	l.later(900 * time.Millisecond)
	job = l.vaultToken()
	lease := `{"lease_id":"` + l.vaultAsk("POST", "/v1/dyn/creds/ci", job, `{"ttl":"24h"}`).LeaseID + `"}`
	l.later(24*time.Hour - 800*time.Millisecond)
	l.vaultAsk("PUT", "/v1/sys/leases/renew", job, lease).want(t, "a lease past it", 400, "past the max TTL, cannot renew")
}

// A periodic token is renewed by its period for ever, but for an explicit end.
func TestVaultPeriods(t *testing.T) {
	l := vaultLab(t, `"token_period": "10m", "token_max_ttl": 0`)
	job := l.vaultToken()
	for range 9 {
		l.later(9 * time.Minute)
		if a := l.vaultAsk("POST", "/v1/auth/token/renew-self", job, `{"increment":"1h"}`); a.status != 200 || a.Auth.LeaseDuration != 600 || a.Warnings != nil {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	l = vaultLab(t, `"token_period": "10m", "token_explicit_max_ttl": "15m"`)
	job = l.vaultToken()
	l.later(9 * time.Minute)
	a := l.vaultAsk("POST", "/v1/auth/token/renew-self", job, "")
	if a.status != 200 || a.Auth.LeaseDuration != 360 || strings.Join(a.Warnings, "|") != `TTL of "10m" exceeded the effective max_ttl of "6m"; TTL value is capped accordingly` {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestVaultBatchTokens(t *testing.T) {
	l := vaultLab(t, `"token_type": "batch"`)
	a := l.vaultLogin(DefaultVaultRole, l.v1(Variant{}, nil))
	job := a.Auth.ClientToken
	if !strings.HasPrefix(job, "hvb.") || a.Auth.TokenType != "batch" || a.Auth.Accessor != "" || a.Auth.Renewable {
		t.Errorf("%s", a.body)
	}
	l.vaultRows([]vaultRow{
		{"renew", "POST", "/v1/auth/token/renew-self", job, "", 400, "batch tokens cannot be renewed"},
		{"revoke", "POST", "/v1/auth/token/revoke-self", job, "", 400, "batch tokens cannot be revoked"},
		{"read", "GET", "/v1/secret/data/ci/app", job, "", 200, ""},
	})
	if a := l.vaultAsk("GET", "/v1/auth/token/lookup-self", job, ""); a.Data["type"] != "batch" || a.Data["renewable"] != false || a.Data["accessor"] != "" {
		t.Errorf("%s", a.body)
	}
	if a := l.vaultAsk("POST", "/v1/dyn/creds/ci", job, `{"ttl":"5h"}`); a.Lease != 900 {
		t.Errorf("a lease outlives its batch token: %s", a.body)
	}
	lease := l.vaultAsk("GET", "/v1/dyn/creds/ci", job, "").LeaseID
	l.later(5 * time.Minute)
	if a := l.vaultAsk("PUT", "/v1/sys/leases/renew", job, `{"lease_id":"`+lease+`"}`); a.status != 200 || a.Lease != 600 {
		t.Errorf("a renewed lease outlives its batch token: %s", a.body)
	}
}

func TestVaultWithoutDefaultPolicy(t *testing.T) {
	l := vaultLab(t, `"token_no_default_policy": true`)
	a := l.vaultLogin(DefaultVaultRole, l.v1(Variant{}, nil))
	job := a.Auth.ClientToken
	l.vaultRows([]vaultRow{
		{"read", "GET", "/v1/secret/data/ci/app", job, "", 200, ""},
		{"self", "GET", "/v1/auth/token/lookup-self", job, "", 403, oneDenied},
		{"revoke", "POST", "/v1/auth/token/revoke-self", job, "", 403, oneDenied},
	})
	l = vaultLab(t, `"token_policies": []`)
	job = l.vaultToken()
	l.vaultRows([]vaultRow{
		{"no policy but the default", "GET", "/v1/secret/data/ci/app", job, "", 403, oneDenied},
		{"self", "GET", "/v1/auth/token/lookup-self", job, "", 200, ""},
	})
}

// Every request counts, those among them that are refused; the last one is
// still served.
func TestVaultUses(t *testing.T) {
	l := vaultLab(t, `"token_num_uses": 3`)
	job := l.vaultToken()
	l.vaultRows([]vaultRow{
		{"first", "GET", "/v1/secret/data/ci/app", job, "", 200, ""},
		{"refused", "GET", "/v1/secret/data/other/app", job, "", 403, oneDenied},
		{"last", "GET", "/v1/kv1/ci/app", job, "", 200, ""},
		{"used up", "GET", "/v1/kv1/ci/app", job, "", 403, noSuchToken},
	})
	l = vaultLab(t, `"token_num_uses": 1`)
	job = l.vaultToken()
	l.vaultAsk("GET", "/v1/dyn/creds/ci", job, "").want(t, "a lease at the last use", 400,
		"Secret cannot be returned; token had one use left, so leased credentials were immediately revoked.")
	job = l.vaultToken()
	l.vaultRows([]vaultRow{
		{"refused at the last use", "GET", "/v1/secret/data/other/app", job, "", 403, oneDenied},
		{"used up", "GET", "/v1/kv1/ci/app", job, "", 403, noSuchToken},
	})
	if n := len(l.vault.tokens); n != 0 {
		t.Errorf("%d tokens are kept", n)
	}
}

func TestVaultNamespaces(t *testing.T) {
	l := newLab(t, Config{})
	job := l.vaultToken()
	inner := l.vaultAsk("POST", "/v1/team-a/auth/jwt/login", "", `{"role":"deploy","jwt":"`+l.v1(Variant{}, nil)+`"}`).Auth.ClientToken
	for _, row := range []struct {
		name, path, token, namespace string
		status                       int
		text                         string
	}{
		{"from above", "/v1/secret/data/ci/app", job, "team-a", 200, ""},
		{"from above, in the path", "/v1/team-a/secret/data/ci/app", job, "", 200, ""},
		{"its own", "/v1/secret/data/ci/app", inner, "team-a", 200, ""},
		{"from below", "/v1/secret/data/ci/app", inner, "", 403, "permission denied"},
		{"what is not granted", "/v1/kv1/ci/app", job, "team-a", 403, oneDenied},
		{"self from anywhere", "/v1/auth/token/lookup-self", inner, "", 200, ""},
		{"self from below", "/v1/auth/token/lookup-self", job, "team-a", 200, ""},
		{"an unknown one", "/v1/secret/data/ci/app", job, "team-b", 404, "namespace not found"},
		{"an unknown one below", "/v1/secret/data/ci/app", job, "team-a/x", 404, "namespace not found"},
	} {
		var headers []string
		if row.namespace != "" {
			headers = []string{"X-Vault-Namespace: " + row.namespace}
		}
		a := l.vaultAsk("GET", row.path, row.token, "", headers...)
		var texts []string
		if row.text != "" {
			texts = []string{row.text}
		}
		a.want(t, row.name, row.status, texts...)
	}
	a := l.vaultAsk("GET", "/v1/auth/token/lookup-self", inner, "")
	if a.Data["namespace_path"] != "team-a/" {
		t.Errorf("%s", a.body)
	}
	// The two hold secrets of their own.
	one := l.vaultAsk("GET", "/v1/secret/data/ci/app", job, "").Data["data"].(map[string]any)["password"]
	two := l.vaultAsk("GET", "/v1/team-a/secret/data/ci/app", job, "").Data["data"].(map[string]any)["password"]
	if one == two {
		t.Error("the namespaces share a secret")
	}
}

// Many clients at once: each token is its own, and what one revokes is gone for
// that one alone.
func TestVaultParallel(t *testing.T) {
	l := newLab(t, Config{})
	jwt := l.v1(Variant{}, nil)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			token := l.vaultLogin(DefaultVaultRole, jwt).Auth.ClientToken
			l.vaultAsk("GET", "/v1/dyn/creds/ci", token, "")
			if a := l.vaultAsk("GET", "/v1/secret/data/ci/app", token, "", "X-Vault-Wrap-TTL: 60"); a.status != 200 {
				t.Errorf("read: %d %s", a.status, a.body)
			} else if a = l.vaultAsk("POST", "/v1/sys/wrapping/unwrap", a.WrapInfo.Token, ""); a.status != 200 {
				t.Errorf("unwrap: %d %s", a.status, a.body)
			}
			l.vaultAsk("POST", "/v1/auth/token/renew-self", token, "")
			if a := l.vaultAsk("POST", "/v1/auth/token/revoke-self", token, ""); a.status != 204 {
				t.Errorf("revoke: %d %s", a.status, a.body)
			}
		})
	}
	wg.Wait()
	if len(l.vault.leases) != 0 || len(l.vault.tokens) != 0 {
		t.Errorf("%d leases and %d tokens are left", len(l.vault.leases), len(l.vault.tokens))
	}
}
