package vault

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

const metadata = `"metadata":{"version":3,"created_time":"2026-01-01T00:00:00Z","deletion_time":"","destroyed":false,"custom_metadata":null}`

// app is a KV version 2 secret with everything that values can be.
const app = `{"data":{"data":{"password":"p'a$ss \"q\"","pem":"-----BEGIN\nx\n","number":12345678901234567890,"small":1.10,` +
	`"nested":{"b":1, "a":[1, 2]},"a.b":"dotted","empty":"","null":null,"yes":true,"data":"field","html":"<a>&"},` + metadata + `}}`

func TestValues(t *testing.T) {
	for _, row := range []struct {
		secret string
		want   string // NAME=VALUE, a line each
	}{
		{"secret/data/ci/app password", "password=p'a$ss \"q\""},
		{"secret/data/ci/app password=DB_PASSWORD number=N", "DB_PASSWORD=p'a$ss \"q\"\nN=12345678901234567890"},
		{"secret/data/ci/app pem=PEM small=S nested=O", "PEM=-----BEGIN\nx\n\nS=1.10\nO={\"b\":1,\"a\":[1,2]}"},
		{"secret/data/ci/app a.b=AB empty null yes data html", "AB=dotted\nempty=\nnull=\nyes=true\ndata=field\nhtml=<a>&"},
		{"secret/data/ci/app * a.b=AB", "AB=dotted\ndata=field\nempty=\nhtml=<a>&\nnested={\"b\":1,\"a\":[1,2]}\nnull=\nnumber=12345678901234567890\npassword=p'a$ss \"q\"\npem=-----BEGIN\nx\n\nsmall=1.10\nyes=true"},
		{"/v1/secret/data/ci/app/ password", "password=p'a$ss \"q\""},
		{"secret/data/ci/app *=APP_* a.b=AB", "AB=dotted\nAPP_data=field\nAPP_empty=\nAPP_html=<a>&\nAPP_nested={\"b\":1,\"a\":[1,2]}\nAPP_null=\nAPP_number=12345678901234567890\nAPP_password=p'a$ss \"q\"\nAPP_pem=-----BEGIN\nx\n\nAPP_small=1.10\nAPP_yes=true"},
		{"secret/data/ci/app /nested/a/1=TWO /nested/b=B /a.b=AB /nested=N", "TWO=2\nB=1\nAB=dotted\nN={\"b\":1,\"a\":[1,2]}"},
		{"secret/data/ci/app /nested/a/2?=X /nested/x/y?no=Y /html/x?=Z nothing?'a default'=D gone?=G null?x=NULL", "Y=no\nD=a default\nNULL="},
		{"secret/data/ci/nothing x?=X y?1=Y", "Y=1"},
		{"secret/data/ci/gone x?=X y?1=Y", "Y=1"},
		{"secret/data/ci/later password", "password=alive"},
		{"secret/data/ci/b64 std:base64=A url:base64=B lines:base64=C std=D", "A=it's\nB=\xfb\xff\nC=it's\nD=aXQncw=="},
		{`secret/data/ci/odd 'a b'=AB "c=d"=CD '*'=STAR 'q?'=Q 'x:base64'=X '/s'=S`, "AB=1\nCD=2\nSTAR=3\nQ=4\nX=5\nS=6"},
		{"kv1/ci/app data x=X", "data=plain\nX=1"},
		{"kv1/ci/app", "data=plain\nx=1"},
		{"kv1/data/old data=OLD", "OLD=a field of version 1"},
	} {
		t.Run(row.secret, func(t *testing.T) {
			n := vault(map[string][]reply{
				"secret/data/ci/app":     {ok(app)},
				"secret/data/ci/gone":    {{404, `{"data":{"data":null,"metadata":{"version":3,"created_time":"2026-01-01T00:00:00Z","deletion_time":"2026-01-02T00:00:00Z","destroyed":false}}}`}},
				"secret/data/ci/nothing": {refused(404)},
				// With delete_version_after the time of the deletion lies in the future.
				"secret/data/ci/later": {ok(`{"data":{"data":{"password":"alive"},"metadata":{"version":1,"created_time":"2026-01-01T00:00:00Z","deletion_time":"2036-01-02T00:00:00Z","destroyed":false}}}`)},
				"secret/data/ci/b64":   {ok(`{"data":{"data":{"std":"aXQncw==","url":"-_8","lines":"aXQn\ncw==\n"},` + metadata + `}}`)},
				"secret/data/ci/odd":   {ok(`{"data":{"data":{"a b":1,"c=d":2,"*":3,"q?":4,"x:base64":5,"/s":6},` + metadata + `}}`)},
				"kv1/ci/app":           {ok(`{"data":{"data":"plain","x":1},"lease_duration":2764800}`)},
				"kv1/data/old":         {ok(`{"data":{"data":"a field of version 1","metadata":"too"}}`)},
			})
			s := session(t, n, Options{Secrets: []string{row.secret}})
			got, err := s.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			env, err := s.Environment(got, false)
			if err != nil {
				t.Fatal(err)
			}
			var lines []string
			for _, v := range env.Set {
				lines = append(lines, v.Name+"="+v.Value.Reveal())
			}
			if diff := cmp.Diff(row.want, strings.Join(lines, "\n")); diff != "" {
				t.Error(diff)
			}
			if strings.Contains(fmt.Sprintf("%v %+v %#v", got, got, got), "dotted") {
				t.Error("a secret prints itself")
			}
		})
	}
}

func TestJSON(t *testing.T) {
	n := vault(map[string][]reply{
		"secret/data/ci/app": {ok(app)},
		"dyn/creds/db":       {ok(`{"lease_id":"dyn/creds/db/1","lease_duration":599,"renewable":true,"data":{"username":"u"}}`)},
	})
	s := session(t, n, Options{Secrets: []string{"secret/data/ci/app number html=H", "secret/data/ci/app?version=3 yes", "dyn/creds/db"}})
	got, err := s.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, err := JSON(got)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"dyn/creds/db":{"data":{"username":"u"},"lease_id":"dyn/creds/db/1","lease_duration":599,"renewable":true},` +
		`"secret/data/ci/app":{"data":{"H":"<a>&","number":12345678901234567890},"version":3},` +
		`"secret/data/ci/app?version=3":{"data":{"yes":true},"version":3}}`
	var compact strings.Builder
	for _, line := range strings.Split(string(b), "\n") {
		compact.WriteString(strings.Replace(strings.TrimSpace(line), `": `, `":`, 1))
	}
	if diff := cmp.Diff(want, compact.String()); diff != "" {
		t.Error(diff)
	}
	if !json.Valid(b) {
		t.Error("not JSON")
	}
}

// What is called, and with which headers.
func TestCalls(t *testing.T) {
	for _, row := range []struct {
		name string
		o    Options
		want []string
	}{
		{"plain", Options{Secrets: []string{"secret/data/ci/app yes"}}, []string{"POST /v1/auth/jwt/login", "GET /v1/secret/data/ci/app"}},
		{"each path once", Options{Secrets: []string{"secret/data/ci/app yes", "secret/data/ci/app html"}}, []string{"POST /v1/auth/jwt/login", "GET /v1/secret/data/ci/app"}},
		{"a version", Options{Secrets: []string{"secret/data/ci/app?version=3 yes"}}, []string{"POST /v1/auth/jwt/login", "GET /v1/secret/data/ci/app?version=3"}},
		{"as the CLI writes it", Options{Secrets: []string{"secret/ci/app yes"}, KVVersions: []string{"2"}}, []string{"POST /v1/auth/jwt/login", "GET /v1/secret/data/ci/app"}},
		{"of one mount", Options{Secrets: []string{"secret/ci/app yes"}, KVVersions: []string{"1", "secret/=2"}}, []string{"POST /v1/auth/jwt/login", "GET /v1/secret/data/ci/app"}},
		{"a longer mount", Options{Secrets: []string{"team/kv/ci/app yes"}, KVVersions: []string{"team=1", "team/kv=2"}}, []string{"POST /v1/auth/jwt/login", "GET /v1/team/kv/data/ci/app"}},
		{"written with data all the same", Options{Secrets: []string{"secret/data/ci/app yes"}, KVVersions: []string{"2"}}, []string{"POST /v1/auth/jwt/login", "GET /v1/secret/data/ci/app"}},
		{"a write", Options{Secrets: []string{"pki/issue/ci certificate=C"}, Writes: []string{"pki/issue/ci common_name=a ttl=10m"}}, []string{"POST /v1/auth/jwt/login", "POST /v1/pki/issue/ci"}},
		{"nested mount", Options{AuthPath: "/auth/team/jwt/"}, []string{"POST /v1/auth/team/jwt/login"}},
		{"characters", Options{AuthPath: "j#wt", Secrets: []string{"secret/data/ü%/a yes"}}, []string{"POST /v1/auth/j%23wt/login", "GET /v1/secret/data/%C3%BC%25/a"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			n := vault(map[string][]reply{
				"auth/team/jwt/login": {ok(`{"auth":{"client_token":"` + given + `"}}`)}, "auth/j#wt/login": {ok(`{"auth":{"client_token":"` + given + `"}}`)},
				"secret/data/ci/app": {ok(app)}, "team/kv/data/ci/app": {ok(app)}, "secret/data/ü%/a": {ok(app)},
				"pki/issue/ci": {ok(`{"data":{"certificate":"c"}}`)},
			})
			s := session(t, n, row.o)
			if _, err := s.Read(t.Context()); err != nil {
				t.Fatal(err)
			}
			lines := n.lines()
			for i := range lines {
				lines[i] = strings.Replace(lines[i], testAddr, "", 1)
			}
			if diff := cmp.Diff(row.want, lines); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRequests(t *testing.T) {
	n := vault(map[string][]reply{"secret/data/ci/app": {ok(app)}, "ssh/sign/ci": {ok(`{"data":{"signed_key":"k"}}`)}})
	key := t.TempDir() + "/id.pub"
	writeFile(t, key, "ssh-ed25519 AAAA me\n")
	s := session(t, n, Options{
		Role: "deploy", Namespace: "/team-a/", AuthNamespace: "root", Addr: testAddr + "/v1/",
		Secrets: []string{"secret/data/ci/app yes", "ssh/sign/ci"}, Writes: []string{"ssh/sign/ci public_key=@" + key + " note=a=b"},
	})
	if _, err := s.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Revoke(t.Context()); err != nil {
		t.Fatal(err)
	}
	byPath := map[string]call{}
	for _, c := range n.calls {
		byPath[c.line] = c
	}
	in := byPath["POST "+testAddr+"/v1/auth/jwt/login"]
	if in.body != `{"jwt":"`+testRaw+`","role":"deploy"}` || in.header.Get("X-Vault-Token") != "" || in.header.Get("X-Vault-Namespace") != "" {
		t.Errorf("login: %+v", in)
	}
	get := byPath["GET "+testAddr+"/v1/secret/data/ci/app"]
	if get.header.Get("X-Vault-Token") != given || get.header.Get("X-Vault-Namespace") != "team-a" || get.header.Get("X-Vault-Request") != "true" {
		t.Errorf("read: %+v", get)
	}
	if sign := byPath["POST "+testAddr+"/v1/ssh/sign/ci"]; sign.body != `{"note":"a=b","public_key":"ssh-ed25519 AAAA me\n"}` {
		t.Errorf("write: %s", sign.body)
	}
	end := byPath["POST "+testAddr+"/v1/auth/token/revoke-self"]
	if end.header.Get("X-Vault-Token") != given || end.header.Get("X-Vault-Namespace") != "" {
		t.Errorf("revoke: %+v", end)
	}
}

func TestWrapping(t *testing.T) {
	wrapped := ok(`{"request_id":"","data":null,"wrap_info":{"token":"hvs.WRAPPING","creation_path":"secret/data/ci/app"}}`)
	made := func(path string) reply { return ok(`{"data":{"creation_path":"` + path + `","creation_ttl":60}}`) }
	for _, row := range []struct {
		name    string
		replies map[string][]reply
		kind    fault.Kind // 0: it is read
		words   string
	}{
		{"opened", map[string][]reply{"sys/wrapping/lookup": {made("secret/data/ci/app")}, "sys/wrapping/unwrap": {ok(app)}}, 0, ""},
		{"opened in a namespace", map[string][]reply{"sys/wrapping/lookup": {made("team/secret/data/ci/app")}, "sys/wrapping/unwrap": {ok(app)}}, 0, ""},
		{"of another path", map[string][]reply{"sys/wrapping/lookup": {made("sys/wrapping/wrap")}, "sys/wrapping/unwrap": {ok(app)}}, fault.Refused, "was made for another path"},
		{"of a longer path", map[string][]reply{"sys/wrapping/lookup": {made("x/secret/data/ci/app")}, "sys/wrapping/unwrap": {ok(app)}}, fault.Refused, "was made for another path"},
		{"opened by another", map[string][]reply{"sys/wrapping/lookup": {refused(400, "wrapping token is not valid or does not exist")}}, fault.Refused, "treat the secret as known to them"},
		{"not wrapped", map[string][]reply{"secret/data/ci/app": {ok(app)}}, fault.Unavailable, "without the wrapping that was asked for"},
		{"no token", map[string][]reply{"secret/data/ci/app": {ok(`{"wrap_info":{"token":""}}`)}}, fault.Unavailable, "without a wrapping token"},
	} {
		t.Run(row.name, func(t *testing.T) {
			replies := map[string][]reply{"secret/data/ci/app": {wrapped}}
			for path, r := range row.replies {
				replies[path] = r
			}
			n := vault(replies)
			got, err := session(t, n, Options{Namespace: "team", Secrets: []string{"secret/data/ci/app html"}, WrapTTL: "1m"}).Read(t.Context())
			if row.kind != 0 {
				wantFault(t, err, row.kind, row.words)
				if strings.Contains(err.Error(), "hvs.WRAPPING") {
					t.Error("the error shows the wrapping token")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if v := got[0].Values[0].Text().Reveal(); v != "<a>&" {
				t.Errorf("%q", v)
			}
			for _, c := range n.calls {
				if strings.HasPrefix(c.line, "GET") && c.header.Get("X-Vault-Wrap-TTL") != "60s" {
					t.Errorf("not asked to be wrapped: %v", c.header)
				}
				if strings.Contains(c.line, "unwrap") && c.header.Get("X-Vault-Token") != "hvs.WRAPPING" {
					t.Errorf("opened with %v", c.header)
				}
			}
		})
	}
}

// Several secrets are on their way at once: the server answers none before all
// have been asked for.
func TestConcurrentReads(t *testing.T) {
	const many = concurrent
	meeting := make(chan struct{}, many)
	all := make(chan struct{})
	rt := roundTrip(func(req *http.Request) (*http.Response, error) {
		if req.Method == http.MethodGet {
			meeting <- struct{}{}
			if len(meeting) == many {
				close(all)
			}
			select {
			case <-all:
			case <-req.Context().Done():
				return nil, req.Context().Err()
			}
		}
		return vault(map[string][]reply{strings.TrimPrefix(req.URL.Path, "/v1/"): {ok(app)}, "auth/jwt/login": vault(nil).replies["auth/jwt/login"]}).RoundTrip(req)
	})
	var secrets []string
	for i := range many {
		secrets = append(secrets, fmt.Sprintf("secret/data/ci/%d yes=Y%d", i, i))
	}
	c := vault(nil).client()
	c.Transport = rt
	s, err := server(t, Options{Secrets: secrets}).Login(t.Context(), c, testToken())
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Read(t.Context())
	if err != nil || len(got) != many {
		t.Fatalf("%d secrets, %v", len(got), err)
	}
	for i, g := range got {
		if g.Values[0].Variable != fmt.Sprintf("Y%d", i) {
			t.Errorf("secret %d is %s: out of order", i, g.Path)
		}
	}
}

func TestVariablesRefuse(t *testing.T) {
	replies := map[string][]reply{
		"a": {ok(`{"data":{"x.y":"1","x-y":"2"}}`)}, "b": {ok(`{"data":{"ok":"2"}}`)}, "e": {ok(`{"data":{"VAULT_ADDR":"x"}}`)},
	}
	for _, row := range []struct {
		secrets []string
		words   []string
	}{
		{[]string{"b ok", "b ok"}, []string{"two secrets claim the name ok: b and b", "secret 'b ok=OTHER_NAME'"}},
		{[]string{"a *=APP_*"}, []string{"two secrets claim the name APP_x_y: a and a", "secret 'a x.y=OTHER_NAME'"}},
		{[]string{"e VAULT_ADDR"}, []string{"VAULT_ADDR, which this command sets itself"}},
	} {
		s := session(t, vault(replies), Options{Secrets: row.secrets})
		got, err := s.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Environment(got, true)
		wantFault(t, err, fault.Usage, row.words...)
	}
}

func TestEnvironment(t *testing.T) {
	s := session(t, vault(nil), Options{Namespace: "team"})
	env, err := s.Environment(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	got := env.Apply([]string{"BAO_ADDR=x", "BAO_TOKEN=x", "VAULT_TOKEN=old", "KEEP=1"})
	slices.Sort(got)
	if diff := cmp.Diff([]string{"KEEP=1", "VAULT_ADDR=" + testAddr, "VAULT_NAMESPACE=team", "VAULT_TOKEN=" + given}, got); diff != "" {
		t.Error(diff)
	}
	env, err = s.Environment(nil, false)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"KEEP=1"}, env.Apply([]string{"BAO_TOKEN=x", "VAULT_TOKEN=old", "KEEP=1"})); diff != "" {
		t.Error(diff)
	}
}

func TestSession(t *testing.T) {
	s := session(t, vault(nil), Options{})
	if !s.Expiry().Equal(now().Add(15*time.Minute)) || s.Irrevocable() != "" {
		t.Errorf("%s %q", s.Expiry(), s.Irrevocable())
	}
	batch := vault(map[string][]reply{"auth/jwt/login": {ok(`{"auth":{"client_token":"hvb.x","lease_duration":0,"token_type":"batch"}}`)}})
	s = session(t, batch, Options{})
	if !s.Expiry().IsZero() || !strings.Contains(s.Irrevocable(), "batch tokens") {
		t.Errorf("%s %q", s.Expiry(), s.Irrevocable())
	}
	denied := vault(map[string][]reply{"auth/token/revoke-self": {refused(403, "1 error occurred:\n\t* permission denied\n\n")}})
	wantFault(t, session(t, denied, Options{}).Revoke(t.Context()), fault.Refused, "grant update on auth/token/revoke-self")
}

type roundTrip func(*http.Request) (*http.Response, error)

func (r roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return r(req) }
