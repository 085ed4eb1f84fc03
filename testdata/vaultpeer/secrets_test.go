package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

const denied = "1 error occurred:\n\t* permission denied\n\n"

func TestReads(t *testing.T) {
	f := start(t)
	token := f.in("deploy")
	root := f.peer.root
	r := f.as(token, "GET", "secret/data/ci/app", "")
	r.want(f, 200, "")
	data, _ := r.Data["data"].(object)
	// The engine keeps the number as it was written, and reads it as a float.
	if data["password"] != "two" || data["number"] != json.Number("12345678901234567000") {
		t.Errorf("%v", r.Data)
	}
	r = f.as(token, "GET", "kv1/ci/app", "")
	if r.Data["data"] != "one" || r.TTL != 2764800 || r.Lease != "" {
		t.Errorf("%+v", r)
	}
	r = f.as(token, "GET", "secret/data/ci/twice?version=1", "")
	if data, _ := r.Data["data"].(object); data["password"] != "first" {
		t.Errorf("%+v", r)
	}
	f.ask("GET", "/v1/secret/data/ci/app", "", "Authorization", "Bearer "+token).want(f, 200, "")

	f.ask("GET", "/v1/secret/data/ci/app", "").want(f, 403, "permission denied")
	f.as("hvs.nosuch", "GET", "secret/data/ci/app", "").want(f, 403, "permission denied")
	f.as(token, "GET", "secret/data/other", "").want(f, 403, denied)
	f.as(token, "GET", "nosuch/app", "").want(f, 403, denied)
	f.as(token, "GET", "secret/ci/app", "").want(f, 403, denied)
	if r := f.as(root, "GET", "secret/ci/app", ""); r.status != 404 || !strings.HasPrefix(strings.Join(r.Warnings, ""), "Invalid path for a versioned K/V secrets engine") {
		t.Errorf("%+v", r)
	}
	for _, path := range []string{"secret/data/ci/nosuch", "secret/data/ci/app?version=7", "kv1/ci/nosuch"} {
		if r := f.as(token, "GET", path, ""); r.status != 404 || strings.TrimSpace(r.raw) != `{"errors":[]}` {
			t.Errorf("%s: %+v", path, r)
		}
	}
	r = f.as(token, "GET", "secret/data/ci/gone", "")
	meta, _ := r.Data["metadata"].(object)
	if r.status != 404 || r.Data["data"] != nil || meta["deletion_time"] == "" || meta["version"] != json.Number("1") {
		t.Errorf("%+v", r)
	}
	f.as(root, "GET", "nosuch/app", "").want(f, 404, `no handler for route "nosuch/app". route entry not found.`)

	version := func(path string) any {
		o, _ := f.as(token, "GET", "sys/internal/ui/mounts/"+path, "").Data["options"].(object)
		return o["version"]
	}
	if a, b := version("secret/ci/app"), version("kv1/ci"); a != "2" || b != "1" {
		t.Errorf("versions %v and %v", a, b)
	}
	f.as(token, "GET", "sys/internal/ui/mounts/nosuch", "").want(f, 403, "preflight capability check returned 403...")
}

func TestTokens(t *testing.T) {
	f := start(t)
	token := f.in("deploy")
	if r := f.as(token, "GET", "auth/token/lookup-self", ""); r.Data["display_name"] != "jwt-"+project || r.Data["path"] != "auth/jwt/login" {
		t.Errorf("%+v", r)
	}
	if r := f.as(token, "POST", "auth/token/renew-self", "{}"); r.Auth.TTL != 900 || r.Auth.Token != token || r.Warnings != nil {
		t.Errorf("%+v", r)
	}
	r := f.as(token, "POST", "auth/token/renew-self", `{"increment":"24h"}`)
	if r.status != 200 || !strings.HasPrefix(strings.Join(r.Warnings, ""), `TTL of "24h" exceeded the effective max_ttl`) {
		t.Errorf("%+v", r)
	}
	f.as(token, "POST", "auth/token/renew-self", `{"increment":"soon"}`).want(f, 400, "Field validation failed: ...")
	f.as(f.peer.root, "POST", "auth/token/lookup", `{"token":"`+token+`"}`).want(f, 200, "")
	f.as(token, "POST", "auth/token/lookup", `{"token":"`+token+`"}`).want(f, 403, denied)
	if r := f.as(token, "POST", "auth/token/revoke-self", ""); r.status != 204 || r.raw != "" {
		t.Errorf("%+v", r)
	}
	f.as(token, "GET", "auth/token/lookup-self", "").want(f, 403, "permission denied")
	f.as(f.peer.root, "POST", "auth/token/lookup", `{"token":"`+token+`"}`).want(f, 403, "bad token")

	batch := f.in("batch")
	f.as(batch, "POST", "auth/token/renew-self", "{}").want(f, 400, "batch tokens cannot be renewed")
	f.as(batch, "POST", "auth/token/revoke-self", "").want(f, 400, "batch tokens cannot be revoked")
	bare := f.in("bare")
	f.as(bare, "GET", "secret/data/ci/app", "").want(f, 200, "")
	f.as(bare, "GET", "auth/token/lookup-self", "").want(f, 403, denied)
	f.as(bare, "POST", "auth/token/revoke-self", "").want(f, 403, denied)
	twice := f.in("twice")
	f.as(twice, "GET", "secret/data/other", "").want(f, 403, denied)
	f.as(twice, "GET", "secret/data/ci/app", "").want(f, 200, "")
	f.as(twice, "GET", "secret/data/ci/app", "").want(f, 403, "permission denied")
	short := f.in("short")
	for f.as(short, "GET", "secret/data/ci/app", "").status == 200 {
		time.Sleep(50 * time.Millisecond)
	}
	f.as(short, "GET", "secret/data/ci/app", "").want(f, 403, "permission denied")
}

func TestLeases(t *testing.T) {
	f := start(t)
	token, root := f.in("deploy"), f.peer.root
	r := f.as(token, "GET", "dyn/creds/app", "")
	if !strings.HasPrefix(r.Lease, "dyn/creds/app/") || r.TTL != 3600 || !r.Renewable || r.Data["password"] == "" {
		t.Errorf("%+v", r)
	}
	id := func(lease string) string { return `{"lease_id":"` + lease + `"}` }
	f.as(token, "POST", "sys/leases/lookup", id(r.Lease)).want(f, 200, "")
	f.as(token, "POST", "sys/leases/renew", id(r.Lease)).want(f, 200, "")
	f.as(token, "POST", "sys/leases/revoke", id(r.Lease)).want(f, 403, denied)
	fixed := f.as(token, "POST", "dyn/creds/fixed", `{"ttl":"10m"}`)
	if fixed.TTL != 600 || fixed.Renewable {
		t.Errorf("%+v", fixed)
	}
	f.as(token, "POST", "sys/leases/renew", id(fixed.Lease)).want(f, 400, "lease is not renewable")
	if got := f.as(root, "POST", "sys/leases/revoke", id(fixed.Lease)).status; got != 202 {
		t.Errorf("revoked with %d", got)
	}
	f.as(root, "POST", "sys/leases/lookup", id(fixed.Lease)).want(f, 400, "invalid lease")
	f.as(token, "POST", "auth/token/revoke-self", "").want(f, 204, "")
	f.as(root, "POST", "sys/leases/lookup", id(r.Lease)).want(f, 400, "invalid lease")

	twice := f.in("twice")
	f.as(twice, "GET", "dyn/creds/app", "").want(f, 200, "")
	f.as(twice, "GET", "dyn/creds/app", "").want(f, 400, "Secret cannot be returned; token had one use left, so leased credentials were immediately revoked.")
	if !slices.Contains(f.peer.issued, token) || !slices.Contains(f.peer.issued, r.Data["password"].(string)) {
		t.Error("what was issued is not listed")
	}
}

func TestWrapping(t *testing.T) {
	f := start(t)
	const gone = "wrapping token is not valid or does not exist"
	r := f.as(f.in("deploy"), "GET", "secret/data/ci/app", "", "X-Vault-Wrap-TTL", "60s")
	if r.Wrap.TTL != 60 || r.Wrap.Path != "secret/data/ci/app" || r.Data != nil || r.Lease != "" {
		t.Errorf("%s", r.raw)
	}
	look := f.ask("POST", "/v1/sys/wrapping/lookup", `{"token":"`+r.Wrap.Token+`"}`)
	if look.status != 200 || look.Data["creation_path"] != "secret/data/ci/app" || look.Data["creation_ttl"] != json.Number("60") {
		t.Errorf("%s", look.raw)
	}
	f.as(r.Wrap.Token, "GET", "auth/token/lookup-self", "").want(f, 403, denied)
	f.as(r.Wrap.Token, "POST", "sys/wrapping/unwrap", "").want(f, 400, gone) // that was its only use

	body := `{"role":"deploy","jwt":"` + f.token(nil) + `"}`
	r = f.ask("POST", "/v1/auth/jwt/login", body, "X-Vault-Wrap-TTL", "60")
	open := f.as(r.Wrap.Token, "PUT", "sys/wrapping/unwrap", "")
	if open.Auth.Token == "" || open.Auth.Accessor != r.Wrap.Wrapped {
		t.Errorf("%s of %s", open.raw, r.raw)
	}
	f.as(r.Wrap.Token, "POST", "sys/wrapping/unwrap", "").want(f, 400, gone)
	f.as(open.Auth.Token, "POST", "sys/wrapping/unwrap", "").want(f, 400, gone)
	f.ask("POST", "/v1/sys/wrapping/lookup", `{"token":"`+r.Wrap.Token+`"}`).want(f, 400, gone)

	r = f.as(open.Auth.Token, "POST", "sys/wrapping/wrap", `{"a":"b"}`, "X-Vault-Wrap-TTL", "60")
	if got := f.as(open.Auth.Token, "POST", "sys/wrapping/unwrap", `{"token":"`+r.Wrap.Token+`"}`); got.Data["a"] != "b" {
		t.Errorf("%s", got.raw)
	}
	f.as(open.Auth.Token, "POST", "sys/wrapping/unwrap", `{"token":"`+r.Wrap.Token+`"}`).want(f, 400, gone)
	r = f.as(open.Auth.Token, "POST", "sys/wrapping/wrap", `{"a":"b"}`, "X-Vault-Wrap-TTL", "1")
	for f.ask("POST", "/v1/sys/wrapping/lookup", `{"token":"`+r.Wrap.Token+`"}`).status == 200 {
		time.Sleep(50 * time.Millisecond)
	}
	f.as(r.Wrap.Token, "POST", "sys/wrapping/unwrap", "").want(f, 400, gone)
}

// An operator's hand, over HTTP.
func TestWrites(t *testing.T) {
	f := start(t)
	root := f.peer.root
	f.as(root, "POST", "auth/jwt/role/new", `{"role_type":"jwt","user_claim":"sub","bound_audiences":["`+org+`"],"token_policies":"deploy","token_ttl":60}`).want(f, 204, "")
	r := f.as(root, "GET", "auth/jwt/role/new", "")
	if r.Data["token_ttl"] != json.Number("60") || r.Data["user_claim"] != "sub" || r.Data["bound_claims"] != nil {
		t.Errorf("%s", r.raw)
	}
	if r := f.as(root, "LIST", "auth/jwt/role", ""); r.status != 200 || r.Data["keys"] == nil {
		t.Errorf("%s", r.raw)
	}
	f.login("jwt", "new", f.token(nil)).want(f, 200, "")
	f.as(root, "POST", "auth/jwt/config", `{"jwks_url":"http://127.0.0.1:1/keys"}`).want(f, 400, "error checking jwks URL http://127.0.0.1:1/keys")
	f.as(root, "POST", "secret/data/ci/new", `{"data":{"a":"b"}}`).want(f, 200, "")
	f.as(f.in("deploy"), "GET", "secret/data/ci/new", "").want(f, 200, "")
	f.as(root, "DELETE", "secret/data/ci/new", "").want(f, 204, "")
	if r := f.as(f.in("deploy"), "GET", "secret/data/ci/new", ""); r.status != 404 {
		t.Errorf("%+v", r)
	}
	f.as(root, "POST", "kv1/ci/new", `{"a":"b"}`).want(f, 204, "")
	f.as(f.in("deploy"), "POST", "secret/data/ci/new", `{"data":{"a":"b"}}`).want(f, 403, denied)
}
