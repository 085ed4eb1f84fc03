package doctor

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/child"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// A visit is a row of the doctor's tables: a world, and what one check says to it.
type visit struct {
	check string
	name  string
	env   string // NAME=VALUE, a line each
	files string // a txtar archive; the mode may follow the name
	token ci.Finder
	set   func(*view)
	// want is "" where nothing is found, else lines "SEVERITY TEXT": each is a
	// finding, and the text is in one of its parts.
	want string
}

// doctorNow is when the doctor looks.
var doctorNow = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// unsigned returns a token by its words: v1 or v2, then what differs.
func unsigned(t *testing.T, words string) string {
	t.Helper()
	v := ci.Variant{}
	now := doctorNow.Add(-time.Minute)
	second := false
	var more map[string]any
	for _, w := range strings.Fields(words) {
		name, value, _ := strings.Cut(w, "=")
		switch name {
		case "v1":
		case "v2":
			second = true
		case "fork":
			v.Fork = true
		case "webhook":
			v.Webhook = true
		case "ssh":
			v.SSHRerun = true
		case "expired":
			v.Expired = true
		case "root":
			v.RootIssuer = true
		case "aud":
			v.Audience = value
		case "issued":
			d, err := time.ParseDuration(value)
			if err != nil {
				t.Fatal(err)
			}
			now = doctorNow.Add(d)
		case "ttl":
			d, err := time.ParseDuration(value)
			if err != nil {
				t.Fatal(err)
			}
			v.TTL = d
		case "claim":
			claim, value, _ := strings.Cut(value, ":")
			more = map[string]any{claim: json.RawMessage(value)}
		default:
			t.Fatalf("a token that is %q?", w)
		}
	}
	one, two := v.Payload(now)
	if second {
		one = two
	}
	for name, value := range more {
		one[name] = value
	}
	payload, err := json.Marshal(one)
	if err != nil {
		t.Fatal(err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(`{"alg":"RS256","kid":"k"}`)) + "." + enc(payload) + "." + enc([]byte("a signature that nobody checks"))
}

// filled replaces $DIR and {token ...}.
func filled(t *testing.T, text, dir string) string {
	text = strings.ReplaceAll(text, "$DIR", dir)
	return regexp.MustCompile(`\{token [^}]*\}`).ReplaceAllStringFunc(text, func(s string) string {
		return unsigned(t, strings.TrimSuffix(strings.TrimPrefix(s, "{token "), "}"))
	})
}

// view makes the row's world, in a directory of its own.
func (r visit) view(t *testing.T) *view {
	t.Helper()
	dir := t.TempDir()
	archive := txtar.Parse([]byte(filled(t, r.files, dir)))
	for _, f := range archive.Files {
		name, mode, _ := strings.Cut(f.Name, " ")
		if rest, bare := strings.CutPrefix(mode, "bare"); bare { // without the last line's end
			mode, f.Data = strings.TrimSpace(rest), bytes.TrimSuffix(f.Data, []byte("\n"))
		}
		perm := os.FileMode(0o600)
		if mode != "" {
			if _, err := fmt.Sscanf(mode, "%o", &perm); err != nil {
				t.Fatal(err)
			}
		}
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, perm); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, perm); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"home", "work", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	env := map[string]string{
		"HOME": filepath.Join(dir, "home"), "PATH": filepath.Join(dir, "bin"), "TMPDIR": filepath.Join(dir, "tmp"),
	}
	for line := range strings.Lines(filled(t, r.env, dir)) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok {
			env[strings.TrimSpace(name)] = strings.ReplaceAll(value, `\n`, "\n")
		}
	}
	var environ []string
	for name, value := range env {
		environ = append(environ, name+"="+value)
	}
	finder := r.token
	finder.Getenv = func(name string) string { return env[name] }
	finder.Stdin, finder.Now = strings.NewReader(""), func() time.Time { return doctorNow }
	v := newView(t.Context(), Options{
		Environ: environ, Now: doctorNow, TempDir: os.TempDir(), WorkDir: filepath.Join(dir, "work"), Finder: finder,
		VaultHeaders: strings.FieldsFunc(env["OIDC_BROKER_VAULT_HEADER"], func(r rune) bool { return r == ',' || r == ' ' }),
		Client:       &remote.Client{Transport: noNetwork{t}, Now: finder.Now, Attempts: 1},
	})
	v.goos = "linux"
	v.localCLI = func(path string) bool {
		b, err := os.ReadFile(path)
		return err == nil && strings.Contains(string(b), "local command line tool")
	}
	v.noexec = func(string) bool { return false }
	v.mounted = func(string) bool { return false }
	if r.set != nil {
		r.set(v)
	}
	return v.prepared()
}

// noNetwork fails the test that calls anybody.
type noNetwork struct{ t *testing.T }

func (n noNetwork) RoundTrip(r *http.Request) (*http.Response, error) {
	n.t.Errorf("%s is called", r.URL.Host)
	return nil, errors.New("no network")
}

// visits makes the examinations of the rows, and demands that each check of these
// groups has a row in which it finds something and one in which it does not.
func visits(t *testing.T, names string, rows []visit) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("the rows are about files with modes and programs without endings")
	}
	found, silent := map[string]bool{}, map[string]bool{}
	for _, r := range rows {
		t.Run(r.check+"/"+r.name, func(t *testing.T) {
			e := examine(r.view(t), only(t, r.check))
			var got []Finding
			for _, f := range e.Findings {
				if f.Severity != OK {
					got = append(got, f)
				}
			}
			want := strings.Split(strings.TrimSpace(r.want), "\n")
			if r.want == "" {
				want = nil
			}
			if len(got) != len(want) {
				t.Fatalf("%d findings, want %d: %+v", len(got), len(want), got)
			}
			for i, w := range want {
				severity, text, _ := strings.Cut(strings.TrimSpace(w), " ")
				f := got[i]
				if all := f.Message + "\n" + f.Why + "\n" + f.Remedy; f.Severity != severity || !strings.Contains(all, text) {
					t.Errorf("got %s: %s; want %s", f.Severity, all, w)
				}
				if f.Message == "" || f.Remedy == "" {
					t.Errorf("no message or no remedy: %+v", f)
				}
			}
			found[r.check] = found[r.check] || len(got) > 0
			silent[r.check] = silent[r.check] || len(got) == 0
		})
	}
	for _, g := range groups(true, nil) {
		for _, c := range g.checks {
			if !strings.Contains(" "+names+" ", " "+g.name+" ") {
				continue
			}
			if !silent[c.id] {
				t.Errorf("%s: no row in which it is silent", c.id)
			}
			if !found[c.id] && c.id != "version" {
				t.Errorf("%s: no row in which it finds something", c.id)
			}
		}
	}
}

// only returns the one check.
func only(t *testing.T, id string) []group {
	t.Helper()
	for _, g := range groups(true, nil) {
		for _, c := range g.checks {
			if c.id == id {
				return []group{{g.name, g.kind, []check{c}}}
			}
		}
	}
	t.Fatalf("there is no check %q", id)
	return nil
}

// TestDoctorTable: ids are unique, and the documentation has each.
func TestDoctorTable(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "doctor.md"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, g := range groups(true, nil) {
		for _, c := range g.checks {
			if seen[c.id] || c.title == "" || c.look == nil {
				t.Errorf("%q is there twice, or lacks something", c.id)
			}
			seen[c.id] = true
			if !strings.Contains(string(doc), "| `"+c.id+"` |") {
				t.Errorf("docs/doctor.md has no row for %s", c.id)
			}
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|").FindAllStringSubmatch(string(doc), -1) {
		if !seen[m[1]] {
			t.Errorf("docs/doctor.md has a row for %s, which is no check", m[1])
		}
	}
}

// everything is an environment in which nearly every variable is wrong, and each
// value that must not be shown holds the word CANARY.
func everything() string {
	var b strings.Builder
	for _, name := range append(append(secretVariables(), plainVariables()...),
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
		"AWS_CREDENTIAL_EXPIRATION", "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", "CLOUDSDK_CORE_ACCOUNT", "CLOUDSDK_API_ENDPOINT_OVERRIDES_STS",
		"CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS", "CLOUDSDK_CORE_UNIVERSE_DOMAIN", "OIDC_BROKER_WORKLOAD_IDENTITY_PROVIDER",
		"VAULT_SKIP_VERIFY", "BAO_SKIP_VERIFY", "VAULT_CLIENT_TIMEOUT", "VAULT_CAPATH", "VAULT_AGENT_ADDR", "SSL_CERT_FILE", "SSL_CERT_DIR",
		"HTTPS_PROXY", "https_proxy", "NO_PROXY", "CIRCLE_REPOSITORY_URL", "CIRCLE_PROJECT_ID", "CIRCLE_WORKING_DIRECTORY", "CIRCLE_OIDC_JWKS_URL", "BAO_TOKEN_PATH",
		"CIRCLE_BUILD_URL", "CIRCLE_ORGANIZATION_ID", "AWS_USE_FIPS_ENDPOINT", "AWS_ENDPOINT_URL_S3") {
		fmt.Fprintf(&b, "%s=wJalrCANARY/K7MDENG+bPxRfiCYzzzzKEY%d\n", name, b.Len())
	}
	return b.String()
}

// TestDoctorShowsNoSecret: whatever variable the secret is in.
func TestDoctorShowsNoSecret(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("paths there begin with a letter")
	}
	for _, prefix := range []string{"", "CIRCLECI=true\nCIRCLE_OIDC_TOKEN={token v1}\n"} {
		r := visit{env: everything() + prefix, files: strings.Join([]string{
			"-- home/.aws/config 644 --", "[default]", "credential_process = /no/such/CANARYprogram --password CANARY",
			"[profile wJalrCANARY/K7MDENG+bPxRfiCYzzzzKEYx]", "aws_access_key_id = AKIACANARYCANARYCANA", "web_identity_token_file = CANARY",
			"-- work/Dockerfile --", "FROM x",
			"-- work/key.json --", `{"type": "service_account", "private_key": "-----BEGIN PRIVATE KEY-----\nCANARYCANARY\n"}`,
			"-- work/AKIACANARYCANARYCANA --", "hvs.CANARYCANARYCANARYCANARYCANARY",
		}, "\n") + "\n"}
		v := r.view(t)
		v.Client.Transport = answering{}
		e := examine(v, groups(true, nil))
		if e.Kind == 0 {
			t.Fatalf("nothing found: %+v", e)
		}
		j, err := json.Marshal(e.Findings)
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("%+v", e)
		for _, shown := range []string{text, string(j)} {
			// The program of a credential_process is a path, and is shown.
			shown = strings.ReplaceAll(shown, "/no/such/CANARYprogram", "")
			if i := strings.Index(shown, "CANARY"); i >= 0 {
				t.Errorf("a secret is shown: ...%s...", shown[max(0, i-200):min(len(shown), i+80)])
			}
			if strings.Contains(shown, unsigned(t, "v1")[:40]) {
				t.Error("the token is shown")
			}
		}
	}
}

// answering says 200 to everybody.
type answering struct{}

func (answering) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
}

// TestDoctorCallsNobody without --online, and changes no file.
func TestDoctorCallsNobody(t *testing.T) {
	v := visit{env: everything() + "CIRCLECI=true\n"}.view(t)
	before := tree(t, filepath.Dir(v.WorkDir))
	examine(v, groups(false, nil))
	if after := tree(t, filepath.Dir(v.WorkDir)); after != before {
		t.Errorf("files: %s, before: %s", after, before)
	}
}

func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil {
			fmt.Fprintln(&b, path, info.Size())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestDoctorInNoWorld: no variable at all, a working directory that is gone, and
// things that are no files where files belong.
func TestDoctorInNoWorld(t *testing.T) {
	empty := visit{}.view(t)
	empty.env, empty.WorkDir = map[string]string{}, ""
	empty.lookPath = func(string) (string, error) { return "", errors.New("no PATH") }
	empty.Finder.Getenv = func(string) string { return "" }
	e := examine(empty.prepared(), groups(false, nil))
	if e.Kind != fault.Token || e.Findings[0].ID != "token-missing" {
		t.Errorf("status %d, first %+v", e.Kind, e.Findings[0])
	}

	odd := visit{env: strings.Join([]string{
		"AWS_SHARED_CREDENTIALS_FILE=$DIR/home", "AWS_CONFIG_FILE=$DIR/pipe", "BASH_ENV=$DIR/pipe", "GOOGLE_APPLICATION_CREDENTIALS=$DIR/pipe",
		"AWS_CA_BUNDLE=$DIR/pipe", "AWS_WEB_IDENTITY_TOKEN_FILE=$DIR/pipe", "AWS_ROLE_ARN=x", "SSL_CERT_FILE=$DIR/pipe", "VAULT_ADDR=https://v", "VAULT_CACERT=$DIR/pipe",
		"CIRCLE_WORKING_DIRECTORY=$DIR/pipe", "BAO_TOKEN_PATH=$DIR/pipe",
	}, "\n")}.view(t)
	if runtime.GOOS != "windows" {
		if err := exec.Command("mkfifo", filepath.Join(filepath.Dir(odd.WorkDir), "pipe")).Run(); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan Report, 1)
	go func() { done <- examine(odd, groups(false, nil)) }()
	select {
	case e := <-done:
		if e.Kind == 0 {
			t.Error("nothing is wrong")
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it waits for a FIFO")
	}
}

// TestLocalCLI builds a program of that module: Go writes the name into it.
func TestLocalCLI(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module github.com/CircleCI-Public/circleci-cli\n", "main.go": "package main\n\nfunc main() {}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(dir, "circleci")
	build := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", program, ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Skipf("cannot build it: %v\n%s", err, out)
	}
	if !localCLI(program) {
		t.Error("the local command line tool is not known")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range []string{self, filepath.Join(dir, "main.go"), dir, filepath.Join(dir, "none")} {
		if localCLI(other) {
			t.Errorf("%s is taken for it", other)
		}
	}
}

func TestExaminationOrder(t *testing.T) {
	say := func(f ...Finding) func(*view) []Finding { return func(*view) []Finding { return f } }
	v := visit{}.view(t)
	for _, row := range []struct {
		name   string
		groups []group
		status fault.Kind
		ok     int
	}{
		{"nothing", []group{{"machine", fault.Local, []check{{"a", "fine", say()}}}}, 0, 1},
		{"what was looked at", []group{{"machine", fault.Local, []check{{"a", "fine", say(passes("seen"))}}}}, 0, 1},
		{"warnings and notes", []group{{"machine", fault.Local, []check{{"a", "fine", say(warns("w"), notes("n"))}}}}, 0, 0},
		{"an error of the group's kind", []group{{"machine", fault.Local, []check{{"a", "fine", say(warns("w"), fails("e"))}}}}, fault.Local, 0},
		{"an error's own kind", []group{{"token", fault.Token, []check{{"a", "fine", say(failed(fault.New(fault.Refused, "x")))}}}}, fault.Refused, 0},
		{"a usage error is no option's here", []group{{"aws", fault.Local, []check{{"a", "fine", say(failed(fault.New(fault.Usage, "x")))}}}}, fault.Local, 0},
		{"the first counts", []group{{"token", fault.Token, []check{{"a", "x", say(fails("e"))}}}, {"machine", fault.Local, []check{{"b", "x", say(fails("e"))}}}}, fault.Token, 0},
	} {
		if e := examine(v, row.groups); e.Kind != row.status || e.Passed != row.ok {
			t.Errorf("%s: status %d, %d fine; want %d, %d", row.name, e.Kind, e.Passed, row.status, row.ok)
		}
	}
}

// realBash puts the machine's bash onto the row's PATH.
func realBash(t *testing.T) func(*view) {
	path := testenv.Program(t, "bash")
	return func(v *view) {
		v.lookPath = func(name string) (string, error) {
			if name == "bash" {
				return path, nil
			}
			return child.LookPath(name, []string{"PATH=" + v.env["PATH"]})
		}
	}
}

// testCertificate is nobody's.
const testCertificate = `-----BEGIN CERTIFICATE-----
MIIBejCCAR+gAwIBAgIUKHGCK1WEmt5b8qi6pQACAwmEJocwCgYIKoZIzj0EAwIw
ETEPMA0GA1UEAwwGbm9ib2R5MCAXDTI2MTEyMzAyNTcyMVoYDzIxMjYxMDMwMDI1
NzIxWjARMQ8wDQYDVQQDDAZub2JvZHkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AAQVdvxktpFYTMGsLNHJNZDHm+8bKx9Xd53xF8CgPV/gFrxOFARg6CI1zIoKld3c
hfJQtQalrMblxEuzuRqbxNSio1MwUTAdBgNVHQ4EFgQUTaO1mxIULzFNwMMbcV1C
X0Fo1SgwHwYDVR0jBBgwFoAUTaO1mxIULzFNwMMbcV1CX0Fo1SgwDwYDVR0TAQH/
BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEA1bLbmEkUf5qVUl5HUACh3okwUKOM
woXrJQ+ABra+bSoCIQCo916UMCTn8X7s1u8JLm+5Tk7LajaKidIK3E+eIliMJg==
-----END CERTIFICATE-----
`
