package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A vaultRequest is one to compare two servers by. In path and body $TOKEN is the
// token of the login before, $WRAP the last wrapping token and $LEASE the last
// lease.
type vaultRequest struct{ name, method, path, token, body, wrap string }

// A vaultReply is what came back: every member by its path. What differs at every
// request is replaced by its kind.
type vaultReply struct {
	status  int
	members map[string]string
}

// varying are the members that no two answers have in common.
var varying = regexp.MustCompile(`(^|\.)(request_id|client_token|token|accessor|wrapped_accessor|entity_id|id|lease_id|creation_time|created_time|` +
	`deletion_time|expire_time|issue_time|last_renewal|last_renewal_time|uuid)$|^data\.ttl$|^data\.(username|password)$`)

// askVault sends a request and keeps what later ones refer to.
func askVault(t *testing.T, addr string, q vaultRequest, kept map[string]string) vaultReply {
	t.Helper()
	expand := strings.NewReplacer("$TOKEN", kept["auth.client_token"], "$WRAP", kept["wrap_info.token"], "$LEASE", kept["lease_id"])
	req, err := http.NewRequest(q.method, addr+"/v1/"+q.path, strings.NewReader(expand.Replace(q.body)))
	if err != nil {
		t.Fatal(err)
	}
	if q.token != "" {
		req.Header.Set("X-Vault-Token", expand.Replace(q.token))
	}
	if q.wrap != "" {
		req.Header.Set("X-Vault-Wrap-TTL", q.wrap)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := vaultReply{status: res.StatusCode, members: map[string]string{}}
	if len(body) == 0 {
		return a
	}
	var whole any
	if err := json.Unmarshal(body, &whole); err != nil {
		t.Fatalf("%s %s: %v: %s", q.method, q.path, err, body)
	}
	a.flatten("", whole, kept)
	return a
}

func (a vaultReply) flatten(path string, value any, kept map[string]string) {
	if object, ok := value.(map[string]any); ok && len(object) > 0 {
		for name, inner := range object {
			a.flatten(strings.TrimPrefix(path+"."+name, "."), inner, kept)
		}
		return
	}
	if text, ok := value.(string); ok && text != "" && kept != nil {
		kept[path] = text
	}
	if varying.MatchString(path) && value != nil && value != "" {
		a.members[path] = fmt.Sprintf("a %T", value)
		return
	}
	text, _ := json.Marshal(value)
	a.members[path] = string(text)
}

// compare demands the same status and the same members, but for some.
func (a vaultReply) compare(t *testing.T, name string, real vaultReply, but ...string) {
	t.Helper()
	if a.status != real.status {
		t.Errorf("%s: the sandbox answers %d %v, the plugins %d %v", name, a.status, a.members, real.status, real.members)
	}
	all := maps.Clone(a.members)
	maps.Copy(all, real.members)
	for _, path := range slices.Sorted(maps.Keys(all)) {
		got, here := a.members[path]
		want, there := real.members[path]
		if (here != there || got != want) && !slices.Contains(but, path) {
			t.Errorf("%s: %s is %s (%t) in the sandbox, %s (%t) of the plugins", name, path, got, here, want, there)
		}
	}
}

// compareVaults goes through all that the sandbox answers. The peer has
// HashiCorp's plugins and a core of its own, which has no mount types: what the
// real server's core says of them is in the sandbox's own test.
func compareVaults(t *testing.T, sandbox, peer, jwt string) {
	login := vaultRequest{"login", "POST", "auth/jwt/login", "", `{"role":"deploy","jwt":"` + jwt + `"}`, ""}
	keptHere, keptThere := map[string]string{}, map[string]string{}
	for _, q := range []vaultRequest{
		login,
		{"unknown parameters", "POST", "auth/jwt/login", "", `{"role":"deploy","jwt":"` + jwt + `","user":"x"}`, ""},
		{"a list as role", "POST", "auth/jwt/login", "", `{"role":["deploy"],"jwt":"x"}`, ""},
		{"an empty list as role", "POST", "auth/jwt/login", "", `{"role":[],"jwt":"x"}`, ""},
		{"an object as role", "POST", "auth/jwt/login", "", `{"role":{"a":1},"jwt":"x"}`, ""},
		{"an empty object as role", "POST", "auth/jwt/login", "", `{"role":{},"jwt":"x"}`, ""},
		{"a number as role", "POST", "auth/jwt/login", "", `{"role":7,"jwt":"x"}`, ""},
		{"a truth as role", "POST", "auth/jwt/login", "", `{"role":true,"jwt":"x"}`, ""},
		{"null as role", "POST", "auth/jwt/login", "", `{"role":null,"jwt":"x"}`, ""},
		{"a list as token", "POST", "auth/jwt/login", "", `{"role":"deploy","jwt":["x"]}`, ""},
		{"not JSON", "POST", "auth/jwt/login", "", `{`, ""},
		{"a list", "POST", "auth/jwt/login", "", `[]`, ""},
		{"read", "GET", "auth/jwt/login", "", "", ""},
		{"lookup", "GET", "auth/token/lookup-self", "$TOKEN", "", ""},
		{"renew", "POST", "auth/token/renew-self", "$TOKEN", `{}`, ""},
		{"lookup after", "GET", "auth/token/lookup-self", "$TOKEN", "", ""},
		{"renew for long", "POST", "auth/token/renew-self", "$TOKEN", `{"increment":"24h"}`, ""},
		{"renew for what", "POST", "auth/token/renew-self", "$TOKEN", `{"increment":"long"}`, ""},
		{"kv2", "GET", "secret/data/ci/app", "$TOKEN", "", ""},
		{"kv2, version 9", "GET", "secret/data/ci/app?version=9", "$TOKEN", "", ""},
		{"kv2, version x", "GET", "secret/data/ci/app?version=x", "$TOKEN", "", ""},
		{"kv2, nothing", "GET", "secret/data/ci/nothing", "$TOKEN", "", ""},
		{"kv2, a folder", "GET", "secret/data/ci/", "$TOKEN", "", ""},
		{"kv2, deleted", "GET", "secret/data/ci/gone", "$TOKEN", "", ""},
		{"kv2, write", "POST", "secret/data/ci/app", "$TOKEN", `{"data":{}}`, ""},
		{"kv2, a list", "LIST", "secret/metadata/ci", "$TOKEN", "", ""},
		{"kv2, data/ left out", "GET", "secret/ci/app", "$TOKEN", "", ""},
		{"kv1", "GET", "kv1/ci/app", "$TOKEN", "", ""},
		{"kv1, nothing", "GET", "kv1/ci/nothing", "$TOKEN", "", ""},
		{"kv1, delete", "DELETE", "kv1/ci/app", "$TOKEN", "", ""},
		{"no such mount", "GET", "nope/x", "$TOKEN", "", ""},
		{"a wrong token", "GET", "secret/data/ci/app", "hvs.wrong", "", ""},
		{"no token", "GET", "secret/data/ci/app", "", "", ""},
		{"no such mount, no token", "GET", "nope/x", "", "", ""},
		{"a lease", "POST", "dyn/creds/fixed", "$TOKEN", `{"ttl":"48h"}`, ""},
		{"renew what cannot be", "PUT", "sys/leases/renew", "$TOKEN", `{"lease_id":"$LEASE"}`, ""},
		{"another lease", "GET", "dyn/creds/ci", "$TOKEN", "", ""},
		{"renew it", "PUT", "sys/leases/renew", "$TOKEN", `{"lease_id":"$LEASE"}`, ""},
		{"renew it for long", "PUT", "sys/leases/renew", "$TOKEN", `{"lease_id":"$LEASE","increment":"48h"}`, ""},
		{"renew no lease", "PUT", "sys/leases/renew", "$TOKEN", `{"lease_id":"nobodys"}`, ""},
		{"revoke it", "PUT", "sys/leases/revoke", "$TOKEN", `{"lease_id":"$LEASE"}`, ""},
		{"wrapped", "GET", "kv1/ci/app", "$TOKEN", "", "60s"},
		{"wrapping lookup", "POST", "sys/wrapping/lookup", "", `{"token":"$WRAP"}`, ""},
		{"unwrap", "POST", "sys/wrapping/unwrap", "$WRAP", "", ""},
		{"unwrap twice", "POST", "sys/wrapping/unwrap", "$WRAP", "", ""},
		{"lookup of what was opened", "POST", "sys/wrapping/lookup", "", `{"token":"$WRAP"}`, ""},
		{"unwrap nothing", "POST", "sys/wrapping/unwrap", "", "", ""},
		{"unwrap another token", "POST", "sys/wrapping/unwrap", "$TOKEN", "", ""},
		{"a refusal wrapped", "GET", "secret/data/other/x", "$TOKEN", "", "60s"},
		{"wrapped for how long", "GET", "kv1/ci/app", "$TOKEN", "", "soon"},
		{"a wrapped login", "POST", "auth/jwt/login", "", login.body, "60s"},
		{"the login unwrapped", "POST", "sys/wrapping/unwrap", "$WRAP", "", ""},
		{"the mount", "GET", "sys/internal/ui/mounts/secret/ci/app", "$TOKEN", "", ""},
		{"the mount of another", "GET", "sys/internal/ui/mounts/nope", "$TOKEN", "", ""},
		{"root's lookup", "POST", "auth/token/lookup", "$TOKEN", `{"token":"x"}`, ""},
		{"the role", "GET", "auth/jwt/role/deploy", "$TOKEN", "", ""},
		{"revoke", "POST", "auth/token/revoke-self", "$TOKEN", "", ""},
		{"revoke again", "POST", "auth/token/revoke-self", "$TOKEN", "", ""},
		{"renew what is gone", "POST", "auth/token/renew-self", "$TOKEN", "", ""},
	} {
		here, there := askVault(t, sandbox, q, keptHere), askVault(t, peer, q, keptThere)
		here.compare(t, q.name, there, unlike[q.name]...)
	}
}

// unlike are the members that the peer, whose core is its own, does not have as the
// real server has them.
var unlike = map[string][]string{
	"login": {"mount_type"}, "unknown parameters": {"mount_type"}, "the login unwrapped": {"mount_type"},
	"renew": {"mount_type"}, "renew for long": {"mount_type"}, "renew it": {"mount_type"}, "renew it for long": {"mount_type"},
	"a wrong token": {"errors"}, "revoke again": {"errors"}, "renew what is gone": {"errors"}, // Vault adds: invalid token
	"the mount": {
		"data.config.default_lease_ttl", "data.config.force_no_cache", "data.config.max_lease_ttl", "data.deprecation_status", "data.description",
		"data.external_entropy_access", "data.local", "data.plugin_version", "data.running_plugin_version", "data.running_sha256", "data.seal_wrap", "data.uuid",
	},
}

// secretsInTheSandbox are what its Vault holds, for the peer to hold the same.
func secretsInTheSandbox(t *testing.T, addr, jwt string) (kv1, kv2 map[string]any) {
	t.Helper()
	kept := map[string]string{}
	askVault(t, addr, vaultRequest{method: "POST", path: "auth/jwt/login", body: `{"role":"deploy","jwt":"` + jwt + `"}`}, kept)
	get := func(path string) json.RawMessage {
		req, err := http.NewRequest(http.MethodGet, addr+"/v1/"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Vault-Token", kept["auth.client_token"])
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		var got struct{ Data json.RawMessage }
		if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
			t.Fatal(err)
		}
		return got.Data
	}
	version := func(n string) json.RawMessage {
		var got struct{ Data json.RawMessage }
		if err := json.Unmarshal(get("secret/data/ci/app?version="+n), &got); err != nil {
			t.Fatal(err)
		}
		return got.Data
	}
	return map[string]any{"ci/app": get("kv1/ci/app")}, map[string]any{
		"ci/app": []any{version("1"), version("2")}, "ci/gone": []any{version("1"), nil},
	}
}
