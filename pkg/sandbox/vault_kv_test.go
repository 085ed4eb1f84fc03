package sandbox

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestVaultKV2(t *testing.T) {
	l := newLab(t, Config{})
	root := l.vault.root
	ask := func(method, path, body string) vaultReply { return l.vaultAsk(method, "/v1/secret/"+path, root, body) }
	meta := func(a vaultReply) map[string]any { m, _ := a.Data["metadata"].(map[string]any); return m }

	a := ask("POST", "data/x/y", `{"data":{"a":"1"}}`)
	if a.status != 200 || fmt.Sprint(a.Data["version"]) != "1" || a.Data["created_time"] != "2026-11-22T12:00:00Z" || a.Data["destroyed"] != false || a.Data["deletion_time"] != "" {
		t.Errorf("first: %d %s", a.status, a.body)
	}
	ask("PUT", "data/x/y", `{"data":{"a":"2"},"options":{"cas":1}}`).want(t, "second", 200)
	for version, want := range map[string]string{"": "2", "?version=0": "2", "?version=1": "1", "?version=2": "2"} {
		a := ask("GET", "data/x/y"+version, "")
		if got := fmt.Sprint(a.Data["data"]); got != "map[a:"+want+"]" || fmt.Sprint(meta(a)["version"]) != want || a.Lease != 0 || a.LeaseID != "" {
			t.Errorf("%q: %s", version, a.body)
		}
	}
	for _, row := range []struct{ name, body, text string }{
		{"no data", `{}`, "no data provided"},
		{"not the current version", `{"data":{},"options":{"cas":1}}`, "check-and-set parameter did not match the current version"},
		{"no version", `{"data":{},"options":{"cas":"x"}}`, "error parsing check-and-set parameter"},
		{"data is text", `{"data":"x"}`, `Field validation failed: error converting input for field "data": '' expected a map, got 'string'`},
		{"data is a list", `{"data":[]}`, `Field validation failed: error converting input for field "data": '' expected a map, got 'slice'`},
		{"options are text", `{"data":{},"options":"x"}`, `Field validation failed: error converting input for field "options": '' expected a map, got 'string'`},
	} {
		ask("POST", "data/x/y", row.body).want(t, row.name, 400, row.text)
	}
	ask("DELETE", "data/x/y", "").want(t, "delete", 204)
	a = ask("GET", "data/x/y", "")
	if a.status != 404 || a.Errors != nil || a.RequestID == "" || a.Data["data"] != nil || meta(a)["deletion_time"] != "2026-11-22T12:00:00Z" || meta(a)["destroyed"] != false {
		t.Errorf("deleted: %d %s", a.status, a.body)
	}
	ask("GET", "data/x/y?version=1", "").want(t, "the version before", 200)
	ask("POST", "undelete/x/y", `{"versions":[2]}`).want(t, "undelete", 204)
	ask("GET", "data/x/y", "").want(t, "undeleted", 200)
	ask("POST", "delete/x/y", `{"versions":"1,2"}`).want(t, "delete two", 204)
	ask("GET", "data/x/y?version=1", "").want(t, "deleted with it", 404)
	ask("POST", "undelete/x/y", `{"versions":[1,2]}`).want(t, "undelete two", 204)
	ask("POST", "destroy/x/y", `{"versions":[1]}`).want(t, "destroy", 204)
	if a = ask("GET", "data/x/y?version=1", ""); a.status != 404 || meta(a)["destroyed"] != true {
		t.Errorf("destroyed: %d %s", a.status, a.body)
	}
	ask("POST", "delete/x/y", `{"versions":"1, 2"}`).want(t, "a space", 400,
		"Field validation failed: error converting input for field \"versions\": 1 error(s) decoding:\n\n* cannot parse '[1]' as int: strconv.ParseInt: parsing \" 2\": invalid syntax")
	ask("POST", "destroy/x/y", `{}`).want(t, "no versions", 400, "no version number provided")
	ask("POST", "delete/x/y", `{}`).want(t, "no versions", 400, "No version number provided")
	a = ask("GET", "metadata/x/y", "")
	versions, _ := a.Data["versions"].(map[string]any)
	if len(versions) != 2 || fmt.Sprint(a.Data["current_version"]) != "2" || fmt.Sprint(a.Data["oldest_version"]) != "0" {
		t.Errorf("metadata: %s", a.body)
	}
	for range maxVersions {
		ask("POST", "data/x/y", `{"data":{}}`)
	}
	ask("GET", "data/x/y?version=2", "").want(t, "too old a version", 404)
	if a = ask("GET", "metadata/x/y", ""); fmt.Sprint(a.Data["oldest_version"]) != "3" {
		t.Errorf("metadata: %s", a.body)
	}
	if a = ask("POST", "data/x/y", `{"data":null,"more":1}`); a.status != 200 || strings.Join(a.Warnings, "|") != "Endpoint ignored these unrecognized parameters: [more]" {
		t.Errorf("null: %d %s", a.status, a.body)
	}
	if a = ask("GET", "config", ""); a.status != 200 || a.Data["cas_required"] != false {
		t.Errorf("config: %d %s", a.status, a.body)
	}
	ask("DELETE", "metadata/x/y", "").want(t, "all of it", 204)
	ask("GET", "data/x/y", "").want(t, "gone", 404)
	ask("GET", "metadata/x/y", "").want(t, "gone", 404)
	ask("DELETE", "data/x/nope", "").want(t, "deleting nothing", 204)
}

func TestVaultKV2Paths(t *testing.T) {
	l := newLab(t, Config{})
	for _, row := range []struct{ method, path, command string }{
		{"GET", "ci/app", "get"}, {"POST", "ci/app", "put"}, {"DELETE", "ci/app", "delete"}, {"LIST", "ci", "list"}, {"LIST", "data/ci", "list"},
	} {
		a := l.vaultAsk(row.method, "/v1/secret/"+row.path, l.vault.root, "{}")
		want := "Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to use. If using the Vault CLI, use 'vault kv " + row.command + "' for this operation."
		if a.status != 404 || a.Errors != nil || strings.Join(a.Warnings, "|") != want || a.Data != nil {
			t.Errorf("%s %s: %d %s", row.method, row.path, a.status, a.body)
		}
	}
	if a := l.vaultAsk("GET", "/v1/secret/data", l.vault.root, ""); a.status != 404 || strings.Join(a.Warnings, "|") != "Non-listing operations on the root of a K/V v2 mount are not supported." {
		t.Errorf("%d %s", a.status, a.body)
	}
	for _, row := range []struct{ method, path, want string }{
		{"LIST", "/v1/secret/metadata/ci", "[app gone]"}, {"GET", "/v1/secret/metadata?list=true", "[ci/ other/]"}, {"LIST", "/v1/kv1", "[ci/ other/]"}, {"LIST", "/v1/kv1/ci/", "[app]"},
	} {
		if a := l.vaultAsk(row.method, row.path, l.vault.root, ""); a.status != 200 || fmt.Sprint(a.Data["keys"]) != row.want {
			t.Errorf("%s: %d %s", row.path, a.status, a.body)
		}
	}
	l.vaultAsk("LIST", "/v1/secret/metadata/nope", l.vault.root, "").want(t, "an empty list", 404)
	l.vaultAsk("PATCH", "/v1/secret/data/ci/app", l.vault.root, "{}").want(t, "PATCH without a type", 400, "mime: no media type")
	l.vaultAsk("PATCH", "/v1/secret/data/ci/app", l.vault.root, "{}", "Content-Type: application/json").want(t, "PATCH of another type", 415,
		"PATCH requires Content-Type of application/merge-patch+json, provided application/json")
}

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

// The first version keeps numbers as they are.
func TestVaultKV1(t *testing.T) {
	l := newLab(t, Config{})
	root := l.vault.root
	l.vaultRows([]vaultRow{
		{"write", "POST", "/v1/kv1/x", root, `{"n":12345678901234567890,"data":{"a":1}}`, 204, ""},
		{"nothing", "POST", "/v1/kv1/x", root, `{}`, 400, "missing data fields"},
		{"nowhere", "POST", "/v1/kv1/", root, `{"a":1}`, 400, "cannot write to a path ending in '/'"},
	})
	if a := l.vaultAsk("GET", "/v1/kv1/x", root, ""); !strings.Contains(a.body, "12345678901234567890") {
		t.Error(a.body)
	}
	l.vaultAsk("POST", "/v1/kv1/t", root, `{"ttl":"1h"}`)
	if a := l.vaultAsk("GET", "/v1/kv1/t", root, ""); a.Lease != 3600 {
		t.Error(a.body)
	}
	l.vaultRows([]vaultRow{
		{"delete", "DELETE", "/v1/kv1/x", root, "", 204, ""},
		{"gone", "GET", "/v1/kv1/x", root, "", 404, ""},
	})
}

func TestVaultLeases(t *testing.T) {
	l := newLab(t, Config{})
	job, root := l.vaultToken(), l.vault.root
	a := l.vaultAsk("GET", "/v1/dyn/creds/ci", job, "")
	if a.status != 200 || !strings.HasPrefix(a.LeaseID, "dyn/creds/ci/") || a.Lease != 3600 || !a.Renewable || a.Data["username"] == "" || a.Data["password"] == "" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	b := l.vaultAsk("POST", "/v1/dyn/creds/fixed", job, `{"ttl":"48h","username_prefix":"me-"}`)
	if b.status != 200 || b.Lease != 24*3600 || b.Renewable || !strings.HasPrefix(b.Data["username"].(string), "me-v-jwt-fixed-") || len(b.Warnings) != 1 {
		t.Fatalf("%d %s", b.status, b.body)
	}
	l.later(10 * time.Minute)
	l.vaultRows([]vaultRow{
		{"fixed", "POST", "/v1/sys/leases/renew", job, `{"lease_id":"` + b.LeaseID + `"}`, 400, "lease is not renewable"},
		{"unknown", "POST", "/v1/sys/leases/renew", job, `{"lease_id":"x"}`, 400, "lease not found"},
		{"none", "POST", "/v1/sys/leases/renew", job, `{}`, 400, "lease_id must be specified"},
	})
	if r := l.vaultAsk("PUT", "/v1/sys/leases/renew", job, `{"lease_id":"`+a.LeaseID+`","increment":120}`); r.status != 200 || r.Lease != 120 || r.LeaseID != a.LeaseID || !r.Renewable {
		t.Errorf("%d %s", r.status, r.body)
	}
	look := l.vaultAsk("POST", "/v1/sys/leases/lookup", job, `{"lease_id":"`+a.LeaseID+`"}`)
	if fmt.Sprint(look.Data["ttl"]) != "120" || look.Data["issue_time"] != "2026-11-22T12:00:00Z" || look.Data["last_renewal"] != "2026-11-22T12:10:00Z" || look.Data["renewable"] != true {
		t.Errorf("%s", look.body)
	}
	l.later(2 * time.Minute)
	l.vaultRows([]vaultRow{
		{"over", "POST", "/v1/sys/leases/lookup", job, `{"lease_id":"` + a.LeaseID + `"}`, 400, "invalid lease"},
		{"revoke", "POST", "/v1/sys/leases/revoke", root, `{"lease_id":"` + b.LeaseID + `"}`, 202, ""},
		{"revoked", "POST", "/v1/sys/leases/lookup", job, `{"lease_id":"` + b.LeaseID + `"}`, 400, "invalid lease"},
		{"revoke at once", "POST", "/v1/sys/leases/revoke", root, `{"lease_id":"x","sync":true}`, 204, ""},
	})
	// With the token, whatever ends it.
	c := l.vaultAsk("GET", "/v1/dyn/creds/ci", job, "").LeaseID
	l.later(4 * time.Minute)
	l.vaultAsk("POST", "/v1/sys/leases/lookup", root, `{"lease_id":"`+c+`"}`).want(t, "the token is over", 400, "invalid lease")
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
		{"wrapping nothing", "POST", "/v1/sys/wrapping/wrap", job, `{"a":"b"}`, 400, "endpoint requires response wrapping to be used"},
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
	a = l.vaultAsk("POST", "/v1/sys/wrapping/wrap", job, `{"a":"b"}`, "X-Vault-Wrap-TTL: 60")
	if u = l.vaultAsk("POST", "/v1/sys/wrapping/unwrap", a.WrapInfo.Token, ""); fmt.Sprint(u.Data) != "map[a:b]" {
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
		{"a wrong token", "GET", "/v1/sys/internal/ui/mounts/secret", "x", "", 403, "permission denied"},
		{"health", "GET", "/v1/sys/health", "", "", 200, ""},
	})
	if a := l.vaultAsk("GET", "/v1/sys/internal/ui/mounts/auth/jwt", l.vault.root, ""); a.Data["type"] != "jwt" || a.Data["path"] != "jwt/" {
		t.Errorf("%s", a.body)
	}
}

// Root reads back what policy check takes.
func TestVaultDocuments(t *testing.T) {
	l := newLab(t, Config{})
	a := l.vaultAsk("GET", "/v1/auth/jwt/role/deploy", l.vault.root, "")
	claims, _ := a.Data["bound_claims"].(map[string]any)
	if a.status != 200 || a.Data["role_type"] != "jwt" || claims[claimPrefix+"ssh-rerun"] != false || claims[claimPrefix+"vcs-origin"] != ownOrigin || fmt.Sprint(a.Data["token_ttl"]) != "900" {
		t.Errorf("%s", a.body)
	}
	l.vaultAsk("GET", "/v1/auth/jwt/role/nope", l.vault.root, "").want(t, "no such role", 404)
	if a = l.vaultAsk("GET", "/v1/auth/jwt/config", l.vault.root, ""); a.Data["bound_issuer"] != orgIssuer || !strings.Contains(fmt.Sprint(a.Data["jwt_validation_pubkeys"]), "BEGIN PUBLIC KEY") {
		t.Errorf("%s", a.body)
	}
}
