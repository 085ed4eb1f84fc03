package vault

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

func TestSettleRefuses(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	writeFile(t, text, "MARKER, no certificate")
	missing := filepath.Join(dir, "missing")
	for _, row := range []struct {
		name  string
		o     Options
		kind  fault.Kind
		words []string
	}{
		{"no address", Options{Addr: " "}, fault.Usage, []string{"vault-addr"}},
		{"no scheme", Options{Addr: "vault.example.com:8200"}, fault.Usage, []string{"write it as https://vault.example.com:8200"}},
		{"a name", Options{Addr: "vault"}, fault.Usage, []string{`vault-addr "vault" is not an address`}},
		{"http", Options{Addr: "http://vault.example.com:8200"}, fault.Usage, []string{"would send the token unencrypted"}},
		{"a password", Options{Addr: "https://u:MARKER@vault.example.com"}, fault.Usage, []string{"with a user name or password"}},
		{"a query", Options{Addr: "https://vault.example.com/?x"}, fault.Usage, []string{"is not an address"}},
		{"a socket", Options{Addr: "unix:///run/vault.sock"}, fault.Usage, []string{"vault-addr"}},
		{"auth path", Options{AuthPath: "a//b"}, fault.Usage, []string{`auth-path "a//b" is not a path`}},
		{"auth path up", Options{AuthPath: "a/../b"}, fault.Usage, []string{"auth-path"}},
		{"namespace", Options{Namespace: "a b"}, fault.Usage, []string{`namespace "a b" is not the name of a namespace`}},
		{"auth namespace", Options{AuthNamespace: "ü"}, fault.Usage, []string{"auth-namespace"}},
		{"timeout", Options{ClientTimeout: "soon"}, fault.Usage, []string{`client-timeout "soon"`}},
		{"no timeout", Options{ClientTimeout: "0"}, fault.Usage, []string{`client-timeout "0"`}},
		{"retries", Options{MaxRetries: "-1"}, fault.Usage, []string{`max-retries "-1"`}},
		{"wrap", Options{WrapTTL: "10ms"}, fault.Usage, []string{`wrap-ttl "10ms"`}},
		{"no CA file", Options{CACert: missing}, fault.Local, []string{"ca-cert", missing}},
		{"CA file", Options{CACert: text}, fault.Usage, []string{"ca-cert holds no PEM certificate"}},
		{"CA bytes", Options{CACertBytes: "MARKER"}, fault.Usage, []string{"ca-cert-bytes holds no PEM certificate"}},
		{"CA path", Options{CAPath: dir}, fault.Usage, []string{"ca-path holds no PEM certificate"}},
		{"no CA path", Options{CAPath: missing}, fault.Local, []string{"ca-path", missing}},
		{"certificate alone", Options{ClientCert: text}, fault.Usage, []string{"client-cert and client-key go together"}},
		{"key alone", Options{ClientKey: text}, fault.Usage, []string{"client-cert and client-key go together"}},
		{"no pair", Options{ClientCert: text, ClientKey: text}, fault.Usage, []string{"are not a certificate and its key"}},
		{"no key", Options{ClientCert: text, ClientKey: missing}, fault.Local, []string{"client-key", missing}},
		{"version", Options{KVVersions: []string{"3"}}, fault.Usage, []string{`kv-version "3" is not 1 or 2`}},
		{"version of a mount", Options{KVVersions: []string{"secret="}}, fault.Usage, []string{"kv-version secret=2"}},
		{"no path", Options{Secrets: []string{"/ x"}}, fault.Usage, []string{`secret "" is not a path`}},
		{"path", Options{Secrets: []string{"a/../b x"}}, fault.Usage, []string{`secret "a/../b" is not a path`}},
		{"query", Options{Secrets: []string{"a/b?list=true"}}, fault.Usage, []string{`"list=true" is not a version`}},
		{"no field", Options{Secrets: []string{"a/b =X"}}, fault.Usage, []string{`"=X" is not FIELD=NAME`}},
		{"all as one", Options{Secrets: []string{"a/b *=X"}}, fault.Usage, []string{`"*=X" is not FIELD=NAME`}},
		{"name", Options{Secrets: []string{"a/b x=1X"}}, fault.Usage, []string{`"1X" cannot be the name of an environment variable`}},
		{"code", Options{Secrets: []string{"a/b x=A;id"}}, fault.Usage, []string{`"A;id" cannot be the name`}},
		{"write alone", Options{Writes: []string{"a/b x=1"}}, fault.Usage, []string{"write a/b: no secret takes a field"}},
		{"write twice", Options{Writes: []string{"a/b x=1", "a/b y=1"}, Secrets: []string{"a/b"}}, fault.Usage, []string{"is there twice"}},
		{"write of what", Options{Writes: []string{"a/b x"}, Secrets: []string{"a/b"}}, fault.Usage, []string{"a word is not KEY=VALUE"}},
		{"write of a file", Options{Writes: []string{"a/b x=@" + missing}, Secrets: []string{"a/b"}}, fault.Local, []string{missing}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.o.Addr == "" {
				row.o.Addr = testAddr
			}
			row.o.Addr = strings.TrimSpace(row.o.Addr)
			_, err := row.o.Resolve()
			wantFault(t, err, row.kind, row.words...)
			if strings.Contains(err.Error()+strings.Join(fault.Hints(err), ""), "MARKER") {
				t.Errorf("it shows what may be a secret: %v", err)
			}
		})
	}
}

func TestCheckVariables(t *testing.T) {
	for _, row := range []struct {
		secrets []string
		words   string // "": it is good
	}{
		{[]string{"a x", "b y", "c *=APP_*"}, ""},
		{[]string{"a x", "b x"}, "two secrets claim the name x: a and b"},
		{[]string{"a x=N y=N"}, "two secrets claim the name N: a and a"},
		{[]string{"a a.b"}, `the field "a.b" of a cannot be the name`},
		{[]string{"a x=VAULT_TOKEN"}, "which this command sets itself"},
		{[]string{"a x=BAO_ADDR"}, "which this command sets itself"},
		{[]string{"a x=PATH"}, ""},
	} {
		err := server(t, Options{Secrets: row.secrets}).CheckVariables()
		if row.words == "" {
			if err != nil {
				t.Errorf("%s: %v", row.secrets, err)
			}
			continue
		}
		wantFault(t, err, fault.Usage, row.words)
	}
}

func TestCAPathTakesWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "README"), "not one")
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "ca.pem"), certificate)
	s := server(t, Options{CAPath: dir})
	if s.tls.Roots == nil || s.tls.Roots.Equal(nil) {
		t.Error("no roots")
	}
}

// A prefix under which a program looks for its settings would let whoever writes the
// secret change what it does.
func TestPrefixes(t *testing.T) {
	for _, prefix := range []string{
		"", "A", "_", "__", "A_", "AW", "AWS", "AWS_", "AWS_ENDPOINT_URL_", "aws_", "_AWS_", "LD_", "DYLD_", "OIDC_", "OIDC_BROKER_", "GO", "GOFLA", "CGO_", "DOCKER_", "KUBE", "MAVEN_",
		"_JAVA_", "JAVA_TOOL_", "BASH_", "BASH_FUNC_", "NODE_", "npm_", "npm_config_", "http_", "NO_", "SSL_", "GIT_", "GIT_CONFIG_", "TF_", "TF_CLI_ARGS_", "PIP_", "CIRCLE_", "GITHUB_", "VAULT_", "BAO_", "P", "PATH",
	} {
		err := server(t, Options{Secrets: []string{"a/b *=" + prefix + "*"}}).CheckVariables()
		wantFault(t, err, fault.Usage, "secret a/b: ", "*=APP_*")
	}
	for _, prefix := range []string{"APP_", "DB_", "my_app_", "TF_VAR_", "PROD_DB_", "X1_"} {
		if err := server(t, Options{Secrets: []string{"a/b *=" + prefix + "*"}}).CheckVariables(); err != nil {
			t.Errorf("%s: %v", prefix, err)
		}
	}
	for _, text := range []string{"a/b", "a/b *", "a/b **", "a/b * c=D", "a/b *?"} {
		wantFault(t, server(t, Options{Secrets: []string{text}}).CheckVariables(), fault.Usage, "could set any variable", "*=APP_*")
	}
}

// What hashicorp/vault-action reads, and this does not: the hint has it in our words.
func TestActionSyntax(t *testing.T) {
	for _, row := range []struct{ text, hint string }{
		{"secret/data/ci/aws accessKey | AWS_ACCESS_KEY_ID ;", "secret 'secret/data/ci/aws accessKey=AWS_ACCESS_KEY_ID'"},
		{"secret/data/ci/aws accessKey|KEY", "secret 'secret/data/ci/aws accessKey=KEY'"},
		{"secret/data/ci/aws accessKey |KEY", "secret 'secret/data/ci/aws accessKey=KEY'"},
		{"secret/data/ci/aws * | MYAPP_ ;", "secret 'secret/data/ci/aws *=MYAPP_*'"},
		{"secret/data/ci/aws ** | MYAPP_", "secret 'secret/data/ci/aws *=MYAPP_*'"},
		{"secret/data/ci/aws | X", "PATH FIELD=NAME"},
	} {
		_, err := Options{Addr: testAddr, Secrets: []string{row.text}}.Resolve()
		wantFault(t, err, fault.Usage, "vault-action", row.hint)
	}
}

func TestSecretLists(t *testing.T) {
	for _, text := range []string{"a/b x=X ;\nc/d y=Y ;\n", "a/b x=X\nc/d y=Y", "a/b x=X; c/d \\\n y=Y"} {
		s := server(t, Options{Secrets: []string{text}})
		var all []string
		for _, w := range s.Secrets {
			all = append(all, w.String())
		}
		if diff := cmp.Diff([]string{"a/b x=X", "c/d y=Y"}, all); diff != "" {
			t.Errorf("%q:\n%s", text, diff)
		}
	}
}

// FuzzWanted: whatever is typed, the path that is called stays below /v1/, no
// variable has a name that a shell would take for more, and what is read is written
// so that it is read again.
func FuzzWanted(f *testing.F) {
	for _, s := range []string{
		"secret/data/ci/app a=B *=APP_* c.d=E", "a?version=2 x", "/v1/a/b/ =", "a/../b", "a/%2e%2e/b x", "a b=c=d", "\x00 \x7f",
		`'a b/c?' "d e":base64?'x y'=N@/tmp/f g?=@'h i' /j/~1k=L`, "a/b c | D ;\n e/f *?=P_*", "a '*' '/b' '' \\;",
	} {
		f.Add(s, "secret=2")
	}
	f.Fuzz(func(t *testing.T, text, version string) {
		o := Options{Addr: testAddr, Secrets: []string{text}, KVVersions: []string{version}}
		s, err := o.Resolve()
		if err != nil {
			if k := fault.KindOf(err); k != fault.Usage {
				t.Fatalf("%v is no usage error", err)
			}
			return
		}
		o.Secrets = nil
		for _, w := range s.Secrets {
			for _, part := range strings.Split(w.api, "/") {
				if part == "" || part == "." || part == ".." || strings.ContainsAny(part, "?# \n\r") {
					t.Fatalf("%q calls %q", text, w.api)
				}
			}
			o.Secrets = append(o.Secrets, w.String())
		}
		again, err := o.Resolve()
		if err != nil {
			t.Fatalf("%q is written as %q: %v", text, o.Secrets, err)
		}
		if diff := cmp.Diff(s.Secrets, again.Secrets, cmp.AllowUnexported(Wanted{}, field{})); diff != "" {
			t.Fatalf("%q is written as %q:\n%s", text, o.Secrets, diff)
		}
		if s.CheckVariables() == nil {
			for _, w := range s.Secrets {
				for _, f := range w.fields {
					if !isVariable(f.variable) && f.file == "" && !f.all || f.all && settings(f.prefix) {
						t.Fatalf("%q sets %q", text, f.variable)
					}
				}
			}
		}
	})
}

// certificate is one that nobody has the key of.
const certificate = `-----BEGIN CERTIFICATE-----
MIIBdjCCARugAwIBAgIUTL+5ib7BcLadD1FtQ/w/4S/uhPEwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEVGVzdDAgFw0yNjExMjMwMDA5MzJaGA8yMTI2MTAzMDAwMDkz
MlowDzENMAsGA1UEAwwEVGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABCwl
FKRoyZ6HhY/4Rconq0nQHKUcthK0qOS/gjVxz2yfZOu0a216Gazn5Ff2RshM3ltW
x1aOuJtU0EyuUrmkP+ejUzBRMB0GA1UdDgQWBBTMg3/Sb99LROAQi1jyB6jPs8tS
BjAfBgNVHSMEGDAWgBTMg3/Sb99LROAQi1jyB6jPs8tSBjAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0kAMEYCIQDDy6PETGdGG43IlGnB17vtIcoUM3QqoFrv
7JC9NO1SQgIhANhgzyyKpNChTMD13MBtufq4PvWQwgCZAHnTQoAOWL9S
-----END CERTIFICATE-----
`
