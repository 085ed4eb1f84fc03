package sandbox

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Every answer has the members of the real server's, and no others. Which kind of
// mount it names is the core's affair: none where no token is needed, and none in
// what an engine answers with a status of its own.
func TestVaultAnswersAsTheServer(t *testing.T) {
	l := newLab(t, Config{})
	kept := map[string]string{}
	for _, row := range []struct{ name, method, path, token, body, wrap, want string }{
		{"login", "POST", "auth/jwt/login", "", `{"role":"deploy","jwt":"` + l.v1(Variant{}, nil) + `"}`, "",
			`200 {"auth":{"accessor":"*","client_token":"*","entity_id":"*","lease_duration":900,"metadata":{"role":"deploy"},"mfa_requirement":null,"num_uses":0,"orphan":true,"policies":["ci","default"],"renewable":true,"token_policies":["ci","default"],"token_type":"service"},"data":null,"lease_duration":0,"lease_id":"","mount_type":"","renewable":false,"request_id":"*","warnings":null,"wrap_info":null}`},
		{"unknown parameter", "POST", "auth/jwt/login", "", `{"role":"deploy","x":1,"jwt":"` + l.v1(Variant{}, nil) + `"}`, "",
			`200 {"auth":{"accessor":"*","client_token":"*","entity_id":"*","lease_duration":900,"metadata":{"role":"deploy"},"mfa_requirement":null,"num_uses":0,"orphan":true,"policies":["ci","default"],"renewable":true,"token_policies":["ci","default"],"token_type":"service"},"data":null,"lease_duration":0,"lease_id":"","mount_type":"","renewable":false,"request_id":"*","warnings":["Endpoint ignored these unrecognized parameters: [x]"],"wrap_info":null}`},
		{"lookup", "GET", "auth/token/lookup-self", "client_token", "", "",
			`200 {"auth":null,"data":{"accessor":"*","creation_time":1795348800,"creation_ttl":900,"display_name":"jwt-76543210-ba98-4edc-b210-edcba0987654","entity_id":"*","expire_time":"2026-11-22T12:15:00Z","explicit_max_ttl":0,"id":"*","issue_time":"2026-11-22T12:00:00Z","meta":{"role":"deploy"},"num_uses":0,"orphan":true,"path":"auth/jwt/login","policies":["ci","default"],"renewable":true,"ttl":900,"type":"service"},"lease_duration":0,"lease_id":"","mount_type":"token","renewable":false,"request_id":"*","warnings":null,"wrap_info":null}`},
		{"renew", "POST", "auth/token/renew-self", "client_token", `{"increment":"24h"}`, "",
			`200 {"auth":{"accessor":"*","client_token":"*","entity_id":"*","lease_duration":3600,"metadata":{"role":"deploy"},"mfa_requirement":null,"num_uses":0,"orphan":true,"policies":["ci","default"],"renewable":true,"token_policies":["ci","default"],"token_type":"service"},"data":null,"lease_duration":0,"lease_id":"","mount_type":"token","renewable":false,"request_id":"*","warnings":["TTL of \"24h\" exceeded the effective max_ttl of \"1h\"; TTL value is capped accordingly"],"wrap_info":null}`},
		{"looked up after", "GET", "auth/token/lookup-self", "client_token", "", "",
			`200 {"auth":null,"data":{"accessor":"*","creation_time":1795348800,"creation_ttl":900,"display_name":"jwt-76543210-ba98-4edc-b210-edcba0987654","entity_id":"*","expire_time":"2026-11-22T13:00:00Z","explicit_max_ttl":0,"id":"*","issue_time":"2026-11-22T12:00:00Z","last_renewal":"2026-11-22T12:00:00Z","last_renewal_time":1795348800,"meta":{"role":"deploy"},"num_uses":0,"orphan":true,"path":"auth/jwt/login","policies":["ci","default"],"renewable":true,"ttl":3600,"type":"service"},"lease_duration":0,"lease_id":"","mount_type":"token","renewable":false,"request_id":"*","warnings":null,"wrap_info":null}`},
		{"kv2", "GET", "secret/data/ci/app?version=1", "client_token", "", "",
			`200 {"auth":null,"data":{"data":{"password":"*","username":"*"},"metadata":{"created_time":"2026-11-22T12:00:00Z","custom_metadata":null,"deletion_time":"","destroyed":false,"version":1}},"lease_duration":0,"lease_id":"","mount_type":"kv","renewable":false,"request_id":"*","warnings":null,"wrap_info":null}`},
		{"kv2, deleted", "GET", "secret/data/ci/gone", "client_token", "", "",
			`404 {"auth":null,"data":{"data":null,"metadata":{"created_time":"2026-11-22T12:00:00Z","custom_metadata":null,"deletion_time":"2026-11-22T12:00:00Z","destroyed":false,"version":1}},"lease_duration":0,"lease_id":"","mount_type":"","renewable":false,"request_id":"*","warnings":null,"wrap_info":null}`},
		{"kv2, not there", "GET", "secret/data/ci/nope", "client_token", "", "",
			`404 {"errors":[]}`},
		{"kv1", "GET", "kv1/ci/app", "client_token", "", "",
			`200 {"auth":null,"data":{"data":"a key of this name","db.password":"*","password":"*","port":5432,"username":"*"},"lease_duration":2764800,"lease_id":"","mount_type":"kv","renewable":false,"request_id":"*","warnings":null,"wrap_info":null}`},
		{"a lease", "POST", "dyn/creds/ci", "client_token", `{"ttl":"48h"}`, "",
			`200 {"auth":null,"data":{"password":"*","username":"*"},"lease_duration":86400,"lease_id":"*","mount_type":"dyn","renewable":true,"request_id":"*","warnings":["TTL of \"48h\" exceeded the effective max_ttl of \"24h\"; TTL value is capped accordingly"],"wrap_info":null}`},
		{"renewed", "PUT", "sys/leases/renew", "client_token", `{"lease_id":"$LEASE"}`, "",
			`200 {"auth":null,"data":null,"lease_duration":3600,"lease_id":"*","mount_type":"system","renewable":true,"request_id":"*","warnings":null,"wrap_info":null}`},
		{"the lease's end", "PUT", "sys/leases/revoke", "client_token", `{"lease_id":"$LEASE"}`, "",
			`403 {"errors":["1 error occurred:\n\t* permission denied\n\n"]}`},
		{"wrapped", "GET", "dyn/creds/fixed", "client_token", "", "60",
			`200 {"auth":null,"data":null,"lease_duration":0,"lease_id":"","mount_type":"","renewable":false,"request_id":"","warnings":null,"wrap_info":{"accessor":"*","creation_path":"dyn/creds/fixed","creation_time":"2026-11-22T12:00:00Z","token":"*","ttl":60}}`},
		{"wrapping lookup", "POST", "sys/wrapping/lookup", "token", "", "",
			`200 {"auth":null,"data":{"creation_path":"dyn/creds/fixed","creation_time":"2026-11-22T12:00:00Z","creation_ttl":60},"lease_duration":0,"lease_id":"","mount_type":"","renewable":false,"request_id":"*","warnings":null,"wrap_info":null}`},
		{"unwrapped", "POST", "sys/wrapping/unwrap", "token", "", "",
			`200 {"auth":null,"data":{"password":"*","username":"*"},"lease_duration":3600,"lease_id":"*","mount_type":"dyn","renewable":false,"request_id":"*","warnings":null,"wrap_info":null}`},
		{"unwrapped twice", "POST", "sys/wrapping/unwrap", "token", "", "",
			`400 {"errors":["wrapping token is not valid or does not exist"]}`},
		{"mount", "GET", "sys/internal/ui/mounts/secret/ci/app", "client_token", "", "",
			`200 {"auth":null,"data":{"accessor":"*","config":{"default_lease_ttl":2764800,"force_no_cache":false,"max_lease_ttl":2764800},"deprecation_status":"supported","description":"","external_entropy_access":false,"local":false,"options":{"version":"2"},"path":"secret/","plugin_version":"","running_plugin_version":"","running_sha256":"","seal_wrap":false,"type":"kv","uuid":"*"},"lease_duration":0,"lease_id":"","mount_type":"","renewable":false,"request_id":"*","warnings":null,"wrap_info":null}`},
		{"health", "GET", "sys/health", "", "", "",
			`200 {"clock_skew_ms":0,"cluster_id":"*","cluster_name":"sandbox","echo_duration_ms":0,"enterprise":false,"initialized":true,"performance_standby":false,"replication_dr_mode":"disabled","replication_performance_mode":"disabled","replication_primary_canary_age_ms":0,"sealed":false,"server_time_utc":1795348800,"standby":false,"version":"1.21.0"}`},
		{"revoked", "POST", "auth/token/revoke-self", "client_token", "", "",
			`204`},
		{"gone", "POST", "auth/token/renew-self", "client_token", "", "",
			`403 {"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`},
	} {
		var headers []string
		if row.wrap != "" {
			headers = []string{"X-Vault-Wrap-TTL: " + row.wrap}
		}
		a := l.vaultAsk(row.method, "/v1/"+row.path, kept[row.token], strings.ReplaceAll(row.body, "$LEASE", kept["lease_id"]), headers...)
		for _, name := range []string{"client_token", "token", "lease_id"} {
			if m := regexp.MustCompile(`"` + name + `":"([^"]+)"`).FindStringSubmatch(a.body); m != nil {
				kept[name] = m[1]
			}
		}
		if got := shape(t, a); got != row.want {
			t.Errorf("%s:\ngot  %s\nwant %s", row.name, got, row.want)
		}
	}
}

// shape is a status and a body, in which what differs at every request is a star.
func shape(t *testing.T, a vaultReply) string {
	t.Helper()
	text := []byte(a.body)
	if a.body != "" {
		var v any
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatalf("%v: %s", err, a.body)
		}
		text, _ = json.Marshal(v)
	}
	varying := regexp.MustCompile(`"(request_id|client_token|token|accessor|wrapped_accessor|entity_id|id|lease_id|username|password|db\.password|uuid|cluster_id)":"[^"]+"`)
	return strings.TrimSpace(strings.Join([]string{strconv.Itoa(a.status), varying.ReplaceAllString(string(text), `"$1":"*"`)}, " "))
}
