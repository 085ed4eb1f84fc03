package sandbox

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// The seeds: what is hard to read, and what is secret.
func TestVaultSeeds(t *testing.T) {
	l := newLab(t, Config{})
	job := l.vaultToken()
	a := l.vaultAsk("GET", "/v1/secret/data/ci/app", job, "")
	data := a.Data["data"].(map[string]any)
	if fmt.Sprint(data["port"]) != "5432" || fmt.Sprint(data["big"]) != "12345678901234567000" || data["enabled"] != true || data["empty"] != "" || data["nothing"] != nil {
		t.Errorf("%s", a.body)
	}
	if _, there := data["nothing"]; !there {
		t.Error("null is gone")
	}
	if fmt.Sprint(data["settings"]) != "map[region:eu replicas:3]" {
		t.Errorf("%v", data["settings"])
	}
	key, _ := data["private_key"].(string)
	if strings.Count(key, "\n") != 4 {
		t.Errorf("%q", key)
	}
	one := l.vaultAsk("GET", "/v1/kv1/ci/app", job, "")
	if one.Lease != 2764800 || one.LeaseID != "" || one.Data["data"] != "a key of this name" || fmt.Sprint(one.Data["port"]) != "5432" {
		t.Errorf("%s", one.body)
	}
	held := strings.Join(l.ledger.list(), "\n\n")
	for _, secret := range []any{data["password"], data["db.password"], key, strings.Split(key, "\n")[1], one.Data["password"]} {
		if s, ok := secret.(string); !ok || len(s) < 20 || !strings.Contains(held, s) {
			t.Errorf("%q is not known as a secret", secret)
		}
	}
	if a := l.vaultAsk("GET", "/v1/secret/data/ci/gone", job, ""); a.status != 404 || a.Data == nil {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestVaultLeases(t *testing.T) {
	l := newLab(t, Config{})
	job := l.vaultToken()
	a := l.vaultAsk("GET", "/v1/dyn/creds/ci", job, "")
	if a.status != 200 || !strings.HasPrefix(a.LeaseID, "dyn/creds/ci/") || a.Lease != 3600 || !a.Renewable || a.Data["username"] == "" || a.Data["password"] == "" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	b := l.vaultAsk("POST", "/v1/dyn/creds/fixed", job, `{"ttl":"48h"}`)
	if b.status != 200 || b.Lease != 24*3600 || b.Renewable || !strings.HasPrefix(b.Data["username"].(string), "v-jwt-fixed-") || len(b.Warnings) != 1 {
		t.Fatalf("%d %s", b.status, b.body)
	}
	l.later(10 * time.Minute)
	l.vaultRows([]vaultRow{
		{"fixed", "POST", "/v1/sys/leases/renew", job, `{"lease_id":"` + b.LeaseID + `"}`, 400, "lease is not renewable"},
		{"unknown", "POST", "/v1/sys/leases/renew", job, `{"lease_id":"x"}`, 400, "lease not found"},
		{"none", "POST", "/v1/sys/leases/renew", job, `{}`, 400, "lease_id must be specified"},
		{"its end", "PUT", "/v1/sys/leases/revoke", job, `{"lease_id":"` + a.LeaseID + `"}`, 403, oneDenied},
	})
	if r := l.vaultAsk("PUT", "/v1/sys/leases/renew", job, `{"lease_id":"`+a.LeaseID+`","increment":120}`); r.status != 200 || r.Lease != 120 || r.LeaseID != a.LeaseID || !r.Renewable {
		t.Errorf("%d %s", r.status, r.body)
	}
	l.later(2 * time.Minute)
	l.vaultAsk("PUT", "/v1/sys/leases/renew", job, `{"lease_id":"`+a.LeaseID+`"}`).want(t, "over", 400, "lease not found")
}

func TestVaultWrapping(t *testing.T) {
	l := newLab(t, Config{})
	job := l.vaultToken()
	a := l.vaultAsk("GET", "/v1/secret/data/ci/app", job, "", "X-Vault-Wrap-TTL: 60s")
	w := a.WrapInfo
	if a.status != 200 || w == nil || w.TTL != 60 || w.CreationPath != "secret/data/ci/app" || a.RequestID != "" || a.Data != nil || a.Auth != nil || !strings.HasPrefix(w.Token, "hvs.") {
		t.Fatalf("%d %s", a.status, a.body)
	}
	const gone = "wrapping token is not valid or does not exist"
	for _, headers := range [][2]string{{w.Token, ""}, {"", `{"token":"` + w.Token + `"}`}} {
		look := l.vaultAsk("POST", "/v1/sys/wrapping/lookup", headers[0], headers[1])
		if look.status != 200 || look.Data["creation_path"] != "secret/data/ci/app" || fmt.Sprint(look.Data["creation_ttl"]) != "60" || look.Data["creation_time"] != "2026-11-22T12:00:00Z" {
			t.Errorf("%d %s", look.status, look.body)
		}
	}
	u := l.vaultAsk("POST", "/v1/sys/wrapping/unwrap", w.Token, "")
	if data, _ := u.Data["data"].(map[string]any); u.status != 200 || data["username"] != "ci-app" || u.RequestID == "" {
		t.Errorf("%d %s", u.status, u.body)
	}
	second := l.vaultAsk("GET", "/v1/kv1/ci/app", job, "", "X-Vault-Wrap-TTL: 60").WrapInfo.Token
	third := l.vaultAsk("GET", "/v1/kv1/ci/app", job, "", "X-Vault-Wrap-TTL: 1m").WrapInfo.Token
	late := l.vaultAsk("GET", "/v1/kv1/ci/app", job, "", "X-Vault-Wrap-TTL: 5").WrapInfo.Token
	l.vaultRows([]vaultRow{
		{"twice", "POST", "/v1/sys/wrapping/unwrap", w.Token, "", 400, gone},
		{"an ordinary token", "POST", "/v1/sys/wrapping/unwrap", job, "", 400, gone},
		{"an ordinary token in the body", "POST", "/v1/sys/wrapping/unwrap", job, `{"token":"` + job + `"}`, 400, gone},
		{"an ordinary token looked up", "POST", "/v1/sys/wrapping/lookup", job, "", 400, gone},
		{"none", "POST", "/v1/sys/wrapping/unwrap", "", "", 403, "error validating wrapping token: token is empty"},
		{"none in the body", "POST", "/v1/sys/wrapping/unwrap", job, `{"token":""}`, 403, "error validating wrapping token: empty token in request body"},
		{"nobody unwraps", "POST", "/v1/sys/wrapping/unwrap", "", `{"token":"` + second + `"}`, 403, "permission denied"},
		{"by a third", "POST", "/v1/sys/wrapping/unwrap", job, `{"token":"` + second + `"}`, 200, ""},
		{"by a third, twice", "PUT", "/v1/sys/wrapping/unwrap", job, `{"token":"` + second + `"}`, 400, gone},
		{"used for something else", "GET", "/v1/kv1/ci/app", third, "", 403, oneDenied},
		{"and so used up", "POST", "/v1/sys/wrapping/unwrap", third, "", 400, gone},
	})
	l.later(5 * time.Second)
	l.vaultAsk("POST", "/v1/sys/wrapping/unwrap", late, "").want(t, "too late", 400, gone)
	l.vaultAsk("POST", "/v1/sys/wrapping/lookup", late, "").want(t, "looked up too late", 400, gone)

	jwt, err := json.Marshal(map[string]string{"role": DefaultVaultRole, "jwt": l.v1(Variant{}, nil)})
	if err != nil {
		t.Fatal(err)
	}
	a = l.vaultAsk("POST", "/v1/auth/jwt/login", "", string(jwt), "X-Vault-Wrap-TTL: 60")
	if a.Auth != nil || a.WrapInfo == nil || len(a.WrapInfo.WrappedAccessor) != 24 || a.WrapInfo.CreationPath != "auth/jwt/login" {
		t.Fatalf("%s", a.body)
	}
	u = l.vaultAsk("POST", "/v1/sys/wrapping/unwrap", a.WrapInfo.Token, "")
	if u.Auth == nil || u.Auth.Accessor != a.WrapInfo.WrappedAccessor {
		t.Errorf("%s", u.body)
	}
	// What is deleted has a body to wrap; what is not there has none.
	a = l.vaultAsk("GET", "/v1/secret/data/ci/gone", job, "", "X-Vault-Wrap-TTL: 60")
	if a.status != 200 || a.WrapInfo == nil {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if u = l.vaultAsk("POST", "/v1/sys/wrapping/unwrap", a.WrapInfo.Token, ""); u.status != 404 || u.Data["metadata"] == nil {
		t.Errorf("%d %s", u.status, u.body)
	}
	a = l.vaultAsk("GET", "/v1/secret/data/ci/nope", job, "", "X-Vault-Wrap-TTL: 60")
	a.want(t, "a refusal is not wrapped", 404)
}

func TestVaultMounts(t *testing.T) {
	l := newLab(t, Config{})
	job := l.vaultToken()
	for _, row := range []struct{ path, mount, kind, options string }{
		{"secret/ci/app", "secret/", "kv", "map[version:2]"}, {"secret", "secret/", "kv", "map[version:2]"}, {"kv1/ci", "kv1/", "kv", "map[version:1]"}, {"dyn/creds/ci", "dyn/", "dyn", "<nil>"},
	} {
		a := l.vaultAsk("GET", "/v1/sys/internal/ui/mounts/"+row.path, job, "")
		if a.status != 200 || a.Data["path"] != row.mount || a.Data["type"] != row.kind || fmt.Sprint(a.Data["options"]) != row.options {
			t.Errorf("%s: %d %s", row.path, a.status, a.body)
		}
	}
	const refused = `preflight capability check returned 403, please ensure client's policies grant access to path `
	l.vaultRows([]vaultRow{
		{"none", "GET", "/v1/sys/internal/ui/mounts/nope/x", job, "", 403, refused + `"nope/x/"`},
		{"not granted", "GET", "/v1/sys/internal/ui/mounts/auth/jwt", job, "", 403, refused + `"auth/jwt/"`},
		{"no token", "GET", "/v1/sys/internal/ui/mounts/secret", "", "", 403, "permission denied"},
		{"a wrong token", "GET", "/v1/sys/internal/ui/mounts/secret", "x", "", 403, noSuchToken},
	})
}
