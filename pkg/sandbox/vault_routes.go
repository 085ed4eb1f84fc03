package sandbox

import (
	"fmt"
	"net/http"
	"strings"
)

// A vaultRoute is an endpoint: what it does for each operation.
type vaultRoute struct {
	name string // for the log
	open bool   // without a token
	self bool   // about the request's own token, whose namespace is then meant
	run  map[vaultOperation]vaultRun
}

type vaultRun func(*vaultRequest) (*vaultAnswer, error)

// The mounts of the JWT auth method. They share role and configuration.
const (
	jwtMount       = "auth/jwt/"
	nestedJWTMount = "auth/ci/jwt/"
)

// vaultEngines are the mounts of secrets.
var vaultEngines = []struct{ path, kind, version string }{
	{"secret/", "kv", "2"}, {"kv1/", "kv", "1"}, {"dyn/", "dyn", ""},
}

// mountsPath tells what is mounted at the path that follows.
const mountsPath = "sys/internal/ui/mounts/"

// find returns what answers at a path, or nil. All else is forbidden to every
// token that the sandbox gives.
func (v *vault) find(path string) *vaultRoute {
	switch {
	case strings.HasPrefix(path, "secret/data/"):
		return &vaultRoute{name: "kv2", run: map[vaultOperation]vaultRun{vaultRead: v.readKV2}}
	case strings.HasPrefix(path, "kv1/"):
		return &vaultRoute{name: "kv1", run: map[vaultOperation]vaultRun{vaultRead: v.readKV1}}
	case strings.HasPrefix(path, "dyn/creds/"):
		return &vaultRoute{name: "dyn/creds", run: map[vaultOperation]vaultRun{vaultRead: v.credentials, vaultWrite: v.credentials}}
	case strings.HasPrefix(path, mountsPath):
		return &vaultRoute{name: "mount", open: true, run: map[vaultOperation]vaultRun{vaultRead: v.mountInfo}}
	}
	switch path {
	case jwtMount + "login", nestedJWTMount + "login":
		return &vaultRoute{name: "login", open: true, run: map[vaultOperation]vaultRun{vaultWrite: v.login}}
	case "auth/token/lookup-self":
		return &vaultRoute{name: "lookup-self", self: true, run: map[vaultOperation]vaultRun{vaultRead: v.lookupSelf}}
	case "auth/token/renew-self":
		return &vaultRoute{name: "renew-self", self: true, run: map[vaultOperation]vaultRun{vaultWrite: v.renewSelf}}
	case "auth/token/revoke-self":
		return &vaultRoute{name: "revoke-self", self: true, run: map[vaultOperation]vaultRun{vaultWrite: v.revokeSelf}}
	case "sys/leases/renew":
		return &vaultRoute{name: "lease renew", run: map[vaultOperation]vaultRun{vaultWrite: v.renewLease}}
	case "sys/wrapping/lookup":
		return &vaultRoute{name: "wrapping lookup", open: true, run: map[vaultOperation]vaultRun{vaultRead: v.lookupWrapping, vaultWrite: v.lookupWrapping}}
	case "sys/wrapping/unwrap":
		return &vaultRoute{name: "unwrap", run: map[vaultOperation]vaultRun{vaultWrite: v.unwrap}}
	case "sys/health":
		return &vaultRoute{name: "health", open: true, run: map[vaultOperation]vaultRun{vaultRead: v.health}}
	}
	return nil
}

// mountInfo tells which engine is at a path, to whom may do anything there.
// The Vault CLI's kv commands ask for it.
func (v *vault) mountInfo(q *vaultRequest) (*vaultAnswer, error) {
	if q.token == nil {
		return nil, vaultNoToken(q.bearer)
	}
	path := strings.Trim(strings.TrimPrefix(q.path, mountsPath), "/") + "/"
	inner, below := strings.CutPrefix(q.space.path, q.token.space.path)
	for _, e := range vaultEngines {
		if !below || !strings.HasPrefix(path, e.path) || !reaches(q.token.policies, inner+e.path) {
			continue
		}
		var options map[string]string
		if e.version != "" {
			options = map[string]string{"version": e.version}
		}
		return &vaultAnswer{data: map[string]any{
			"accessor": q.space.mounts[e.path], "type": e.kind, "path": e.path, "options": options, "uuid": newUUID(),
			"description": "", "local": false, "seal_wrap": false, "external_entropy_access": false, "deprecation_status": "supported",
			"plugin_version": "", "running_plugin_version": "", "running_sha256": "",
			"config": map[string]any{"default_lease_ttl": int(vaultMaxTTL.Seconds()), "max_lease_ttl": int(vaultMaxTTL.Seconds()), "force_no_cache": false},
		}}, nil
	}
	return nil, &vaultRefusal{status: http.StatusForbidden,
		texts: []string{fmt.Sprintf("preflight capability check returned 403, please ensure client's policies grant access to path %q", path)}}
}

// health is what probes ask for.
func (v *vault) health(*vaultRequest) (*vaultAnswer, error) {
	return &vaultAnswer{whole: fmt.Appendf(nil, `{"initialized":true,"sealed":false,"standby":false,"performance_standby":false,`+
		`"replication_performance_mode":"disabled","replication_dr_mode":"disabled","server_time_utc":%d,"version":"1.21.0",`+
		`"enterprise":false,"cluster_name":"sandbox","cluster_id":%q,"echo_duration_ms":0,"clock_skew_ms":0,`+
		`"replication_primary_canary_age_ms":0}`, v.now().Unix(), v.cluster)}, nil
}
