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
	// login answers what it cannot do in other words.
	login bool
	run   map[vaultOperation]func(*vaultRequest) (*vaultAnswer, error)
	// exists says whether a write changes what is there already. Nil: it does.
	exists func(*vaultRequest) bool
}

// failure is what the server says of a path or an operation that an engine does
// not have.
func (r *vaultRoute) failure(status int, text string) error {
	if !r.login {
		text = vaultOneError(text)
	}
	return &vaultRefusal{status: status, texts: []string{text}}
}

type vaultRun = map[vaultOperation]func(*vaultRequest) (*vaultAnswer, error)

// find returns whether anything is mounted at a path, and what answers there.
func (v *vault) find(q *vaultRequest) (mounted bool, route *vaultRoute) {
	mount := ""
	for m := range q.space.mounts {
		if strings.HasPrefix(q.path, m) && len(m) > len(mount) {
			mount = m
		}
	}
	rest := strings.TrimPrefix(q.path, mount)
	switch mount {
	case "":
		return false, nil
	case jwtMount, nestedJWTMount:
		return true, v.jwtRoute(rest)
	case emptyJWTMount:
		return true, v.emptyJWTRoute(rest)
	case "auth/token/":
		return true, v.tokenRoute(rest)
	case "sys/":
		return true, v.sysRoute(rest)
	case "secret/":
		return true, v.kv2Route(rest)
	case "kv1/":
		return true, &vaultRoute{name: "kv1", exists: func(q *vaultRequest) bool { return q.space.kv1[rest] != nil },
			run: vaultRun{vaultRead: v.readKV1, vaultWrite: v.writeKV1, vaultDelete: v.deleteKV1, vaultList: v.listKV1}}
	case "dyn/":
		if strings.HasPrefix(rest, "creds/") {
			return true, &vaultRoute{name: "dyn/creds", run: vaultRun{vaultRead: v.credentials, vaultWrite: v.credentials}}
		}
	}
	return true, nil
}

func (v *vault) jwtRoute(rest string) *vaultRoute {
	switch {
	case rest == "login":
		return &vaultRoute{name: "login", open: true, login: true, run: vaultRun{vaultWrite: v.login}}
	case rest == "config":
		return &vaultRoute{name: "jwt config", run: vaultRun{vaultRead: v.readJWTConfig}}
	case strings.HasPrefix(rest, "role/"):
		return &vaultRoute{name: "jwt role", run: vaultRun{vaultRead: v.readJWTRole}}
	}
	return nil
}

func (v *vault) readJWTConfig(q *vaultRequest) (*vaultAnswer, error) {
	return &vaultAnswer{data: q.space.config.Document(), mount: "jwt"}, nil
}

func (v *vault) readJWTRole(q *vaultRequest) (*vaultAnswer, error) {
	role := q.space.roles[strings.ToLower(q.path[strings.LastIndex(q.path, "/")+1:])]
	if role == nil {
		return nil, nil
	}
	return &vaultAnswer{data: role.Document(), mount: "jwt"}, nil
}

// emptyJWTRoute is of a mount that was enabled, and never configured.
func (v *vault) emptyJWTRoute(rest string) *vaultRoute {
	if rest != "login" {
		return nil
	}
	return &vaultRoute{name: "login", open: true, login: true, run: vaultRun{vaultWrite: v.loginUnconfigured}}
}

func (v *vault) loginUnconfigured(*vaultRequest) (*vaultAnswer, error) {
	return nil, vaultInvalid("could not load configuration")
}

func (v *vault) tokenRoute(rest string) *vaultRoute {
	run := map[string]vaultRun{
		"lookup-self": {vaultRead: v.lookupSelf, vaultWrite: v.lookupSelf},
		"renew-self":  {vaultWrite: v.renewSelf},
		"revoke-self": {vaultWrite: v.revokeSelf},
		"lookup":      {vaultRead: v.lookupToken, vaultWrite: v.lookupToken},
		"renew":       {vaultWrite: v.renewOther},
		"revoke":      {vaultWrite: v.revokeOther},
	}[rest]
	if run == nil {
		return nil
	}
	return &vaultRoute{name: rest, self: strings.HasSuffix(rest, "-self"), run: run}
}

func (v *vault) sysRoute(rest string) *vaultRoute {
	named := func(name string, run vaultRun) *vaultRoute { return &vaultRoute{name: name, run: run} }
	lease, isRenew := strings.CutPrefix(rest, "leases/renew")
	_, isRevoke := strings.CutPrefix(rest, "leases/revoke")
	switch {
	case rest == "wrapping/wrap":
		return named("wrap", vaultRun{vaultWrite: v.wrapData})
	case rest == "wrapping/unwrap":
		return named("unwrap", vaultRun{vaultWrite: v.unwrap})
	case rest == "wrapping/lookup":
		return &vaultRoute{name: "wrapping lookup", open: true, run: vaultRun{vaultWrite: v.lookupWrapping, vaultRead: v.lookupWrapping}}
	case rest == "leases/lookup":
		return named("lease lookup", vaultRun{vaultWrite: v.lookupLease})
	case isRenew && (lease == "" || lease[0] == '/'), rest == "renew":
		return named("lease renew", vaultRun{vaultWrite: v.renewLease})
	case isRevoke:
		return named("lease revoke", vaultRun{vaultWrite: v.revokeLease})
	case strings.HasPrefix(rest, "internal/ui/mounts/"):
		return &vaultRoute{name: "mount", open: true, run: vaultRun{vaultRead: v.mountInfo}}
	case rest == "health", rest == "seal-status":
		return &vaultRoute{name: rest, open: true, run: vaultRun{vaultRead: v.health, vaultHead: v.health}}
	}
	return nil
}

func (v *vault) kv2Route(rest string) *vaultRoute {
	kind, path, _ := strings.Cut(rest, "/")
	exists := func(q *vaultRequest) bool { return q.space.kv2[path] != nil }
	route := &vaultRoute{name: "kv2 " + kind, exists: exists}
	switch {
	case rest == "config":
		route.run = vaultRun{vaultRead: v.readKV2Config}
	case strings.HasPrefix(rest, "metadata/"):
		route.run = vaultRun{vaultRead: v.readKV2Metadata, vaultDelete: v.deleteKV2Metadata, vaultList: v.listKV2}
	case path == "" || strings.HasSuffix(path, "/"):
	case kind == "data":
		route.run = vaultRun{vaultRead: v.readKV2, vaultWrite: v.writeKV2, vaultDelete: v.deleteKV2}
	case kind == "delete":
		route.run = vaultRun{vaultWrite: v.onVersions("No version number provided", v.markDeleted)}
	case kind == "undelete":
		route.run = vaultRun{vaultWrite: v.onVersions("No version number provided", undelete)}
	case kind == "destroy":
		route.run = vaultRun{vaultWrite: v.onVersions("no version number provided", destroy)}
	}
	if route.run == nil {
		route.name, route.exists = "kv2", nil
		route.run = vaultRun{}
		for _, operation := range []vaultOperation{vaultRead, vaultWrite, vaultPatch, vaultDelete, vaultList} {
			route.run[operation] = v.wrongKV2Path
		}
	}
	return route
}

// mountInfo tells what is mounted at a path, to whom may do anything there.
func (v *vault) mountInfo(q *vaultRequest) (*vaultAnswer, error) {
	if q.token == nil {
		return nil, vaultDenied()
	}
	path := strings.Trim(strings.TrimPrefix(q.path, "sys/internal/ui/mounts/"), "/") + "/"
	mount := ""
	for m := range q.space.mounts {
		if strings.HasPrefix(path, m) && len(m) > len(mount) {
			mount = m
		}
	}
	seen := strings.TrimPrefix(q.space.path, q.token.space.path) + mount
	if mount == "" || !strings.HasPrefix(q.space.path, q.token.space.path) || !reaches(q.token.policies, seen) {
		return nil, &vaultRefusal{status: http.StatusForbidden,
			texts: []string{fmt.Sprintf("preflight capability check returned 403, please ensure client's policies grant access to path %q", path)}}
	}
	kind := map[string]string{"secret/": "kv", "kv1/": "kv", "dyn/": "dyn", "sys/": "system", "cubbyhole/": "cubbyhole", "auth/token/": "token"}[mount]
	if kind == "" {
		kind = "jwt"
	}
	data := map[string]any{
		"accessor": q.space.mounts[mount], "type": kind, "description": "", "local": false, "seal_wrap": false,
		"external_entropy_access": false, "options": nil, "path": strings.TrimPrefix(mount, "auth/"), "plugin_version": "",
		"running_plugin_version": "", "running_sha256": "",
		"config": map[string]any{"default_lease_ttl": 0, "max_lease_ttl": 0, "force_no_cache": false},
	}
	switch mount {
	case "secret/":
		data["options"] = map[string]string{"version": "2"}
	case "kv1/":
		data["options"] = map[string]string{"version": "1"}
	}
	return &vaultAnswer{data: data, mount: "system"}, nil
}

// health is what probes ask for.
func (v *vault) health(*vaultRequest) (*vaultAnswer, error) {
	return &vaultAnswer{whole: []byte(`{"initialized":true,"sealed":false,"standby":false,"performance_standby":false,` +
		`"version":"1.21.0","cluster_name":"sandbox"}`)}, nil
}
