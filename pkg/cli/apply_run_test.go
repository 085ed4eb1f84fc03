package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
	"github.com/oidc-broker/oidc-broker/pkg/sandbox"
)

// applyJob is a job in a sandbox, in this process.
type applyJob struct {
	t       *testing.T
	dir     string // what is written goes below it
	env     map[string]string
	sandbox *sandbox.Sandbox
}

func applyRole(i int) string { return fmt.Sprintf("arn:aws:iam::%012d:role/deploy", 100000000000+i) }

// newApplyJob makes one with so many AWS roles.
func newApplyJob(t *testing.T, roles int) *applyJob {
	t.Helper()
	dir := t.TempDir()
	own := filepath.Join(dir, "sandbox")
	home := filepath.Join(dir, "home")
	for _, d := range []string{own, home} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	c := sandbox.Config{Now: time.Now, Dir: own}
	for i := range roles {
		c.Roles = append(c.Roles, applyRole(i))
	}
	s, err := sandbox.Start(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	set, _ := s.Environment()
	env := maps.Clone(set)
	env["HOME"] = home
	env["OIDC_BROKER_TRUST_FILE"] = "true" // the files name paths in another directory than this one
	for _, name := range []string{"AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "BASH_ENV", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "CLOUDSDK_CONFIG", "BAO_TOKEN_PATH"} {
		delete(env, name)
	}
	return &applyJob{t, home, env, s}
}

// gate puts a handler in front of a service of the sandbox, which may pass requests
// on.
func (j *applyJob) gate(variable string, handle func(w http.ResponseWriter, r *http.Request, pass http.Handler)) {
	j.t.Helper()
	u, err := url.Parse(j.env[variable])
	if err != nil {
		j.t.Fatal(err)
	}
	pass := httputil.NewSingleHostReverseProxy(u)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handle(w, r, pass) }))
	j.t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	j.env[variable] = s.URL
}

// run runs the program.
func (j *applyJob) run(ctx context.Context, stdin string, args ...string) (status int, stdout, stderr string) {
	j.t.Helper()
	var out, err bytes.Buffer
	status = Main(ctx, World{
		Args:   args,
		Getenv: func(name string) string { return j.env[name] },
		Environ: func() []string {
			var all []string
			for name, value := range j.env {
				all = append(all, name+"="+value)
			}
			return all
		},
		Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &err,
		Now: time.Now, Transport: remote.NewTransport(func(string) string { return "" }),
		Executable: os.Executable, WorkDir: os.Getwd, TempDir: os.TempDir,
	})
	for _, secret := range j.sandbox.Issued() {
		if strings.Contains(out.String()+err.String(), secret) {
			j.t.Errorf("a secret shows in\n%s%s", out.String(), err.String())
		}
	}
	return status, out.String(), err.String()
}

// files are those that there are below the home directory, with their content.
func (j *applyJob) files() map[string]string {
	j.t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(j.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		name, _ := filepath.Rel(j.dir, path)
		all[filepath.ToSlash(name)] = string(b)
		return err
	})
	if err != nil {
		j.t.Fatal(err)
	}
	return all
}

// manyRoles is a file with so many AWS profiles.
func manyRoles(n int) string {
	var b strings.Builder
	b.WriteString("version: 1\naws:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - {profile: p%d, role-arn: %q, region: eu-central-1}\n", i, applyRole(i))
	}
	return b.String()
}

// together lets requests through when so many have come, and none before.
func together(n int) func(http.ResponseWriter, *http.Request, http.Handler) {
	var mu sync.Mutex
	asked := 0
	all := make(chan struct{})
	return func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		mu.Lock()
		if asked++; asked == n {
			close(all)
		}
		mu.Unlock()
		select {
		case <-all:
			pass.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}
}

// TestApplyAsksAtOnce: no cloud answers before all targets have asked theirs. Were
// one of them to wait for another, none would get an answer.
func TestApplyAsksAtOnce(t *testing.T) {
	const roles = 50
	j := newApplyJob(t, roles)
	wait := together(roles + 4)
	for _, service := range []string{"AWS_ENDPOINT_URL_STS", "CLOUDSDK_API_ENDPOINT_OVERRIDES_STS", "VAULT_ADDR"} {
		j.gate(service, wait)
	}
	file := manyRoles(roles) + `gcp:
  - {name: g, workload-identity-provider: ` + sandbox.DefaultGCPProvider + `}
  - {name: h, workload-identity-provider: ` + sandbox.DefaultGCPProvider + `, service-account: ` + sandbox.DefaultGCPServiceAccount + `}
vault:
  - {name: v, role: deploy}
  - {name: w, role: deploy, output-file: ` + j.dir + `/w}
`
	status, stdout, stderr := j.run(context.Background(), file, "apply", "--file", "-", "--timeout", "50s", "--max-attempts", "1")
	if status != 0 {
		t.Fatalf("exit %d\n%s", status, stderr)
	}
	if n := strings.Count(stdout, "wrote keys"); n != roles {
		t.Errorf("%d profiles, want %d\n%s", n, roles, stdout)
	}
	if n := strings.Count(j.files()[".aws/credentials"], "aws_session_token"); n != roles {
		t.Errorf("%d profiles in the file", n)
	}
}

// TestApplyViaWaitsForItsOwn: what comes via another begins when that one is there,
// and not when all are.
func TestApplyViaWaitsForItsOwn(t *testing.T) {
	j := newApplyJob(t, 3)
	second := make(chan struct{})
	var once sync.Once
	j.gate("AWS_ENDPOINT_URL_STS", func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		b, _ := httputil.DumpRequest(r, true)
		switch {
		case bytes.Contains(b, []byte("Action=AssumeRole&")):
			once.Do(func() { close(second) })
		case bytes.Contains(b, []byte("100000000002")): // the slow one
			select {
			case <-second:
			case <-r.Context().Done():
				return
			}
		}
		pass.ServeHTTP(w, r)
	})
	file := strings.Replace(manyRoles(3), `- {profile: p0, `, `- {profile: p0, via: p1, `, 1)
	if status, _, stderr := j.run(context.Background(), file, "apply", "--file", "-", "--max-attempts", "1", "--timeout", "50s"); status != 0 {
		t.Fatalf("exit %d\n%s", status, stderr)
	}
}

// valid says whether Vault knows a token.
func (j *applyJob) valid(token string) bool {
	j.t.Helper()
	r, err := http.NewRequest(http.MethodGet, j.env["VAULT_ADDR"]+"/v1/auth/token/lookup-self", nil)
	if err != nil {
		j.t.Fatal(err)
	}
	r.Header.Set("X-Vault-Token", token)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		j.t.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// vaultTokens are those that the sandbox has given.
func (j *applyJob) vaultTokens() []string {
	return slices.DeleteFunc(j.sandbox.Issued(), func(s string) bool { return !strings.HasPrefix(s, "hvs.") })
}

// TestApplyInterrupted: an interrupt while clouds have not answered yet leaves nothing
// behind: no file, and no token, also where the answer that holds it comes later.
func TestApplyInterrupted(t *testing.T) {
	j := newApplyJob(t, 2)
	ctx, interrupt := context.WithCancel(context.Background())
	defer interrupt()
	loggedIn := make(chan struct{})
	j.gate("VAULT_ADDR", func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		held := httptest.NewRecorder()
		pass.ServeHTTP(held, r)
		if strings.HasSuffix(r.URL.Path, "/login") {
			close(loggedIn)
			<-ctx.Done()
		}
		w.WriteHeader(held.Code)
		_, _ = w.Write(held.Body.Bytes())
	})
	j.gate("AWS_ENDPOINT_URL_STS", func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if b, _ := httputil.DumpRequest(r, true); !bytes.Contains(b, []byte("100000000001")) {
			pass.ServeHTTP(w, r)
			return
		}
		<-loggedIn
		interrupt()
		<-r.Context().Done()
	})
	file := manyRoles(2) + "vault: [{name: v, role: deploy}]\n"
	status, stdout, stderr := j.run(ctx, file, "apply", "--file", "-")
	if status != int(fault.Unavailable) || stdout != "" || !strings.Contains(stderr, "error: interrupted") {
		t.Errorf("exit %d\n%s%s", status, stdout, stderr)
	}
	if files := j.files(); len(files) > 0 {
		t.Errorf("left behind: %v", slices.Sorted(maps.Keys(files)))
	}
	tokens := j.vaultTokens()
	if len(tokens) != 1 || j.valid(tokens[0]) {
		t.Errorf("%d Vault tokens, and one is valid yet", len(tokens))
	}
}

// TestApplyFailsAsAWhole: each that fails is named with its hints, those that come
// via it too; what the others gave is not written, and is given back.
func TestApplyFailsAsAWhole(t *testing.T) {
	j := newApplyJob(t, 1)
	file := manyRoles(1) + `  - {profile: nope, role-arn: arn:aws:iam::999999999999:role/nope}
  - {profile: after, role-arn: "` + applyRole(0) + `", via: nope}
gcp: [{name: g, workload-identity-provider: ` + sandbox.DefaultGCPProvider + `, service-account: other@sandbox-project.iam.gserviceaccount.com}]
vault:
  - {name: v, role: deploy}
  - {name: w, role: nope, output-file: ` + j.dir + `/w}
`
	status, stdout, stderr := j.run(context.Background(), file, "--verbose", "apply", "--file", "-")
	if status != int(fault.Refused) || stdout != "" {
		t.Errorf("exit %d, %s", status, stdout)
	}
	for _, want := range []string{
		`error: aws target "nope": AWS refused the token for arn:aws:iam::999999999999:role/nope`,
		`error: aws target "after": not tried, for aws target "nope" failed`,
		`error: gcp target "g": Google refused other@sandbox-project.iam.gserviceaccount.com: `,
		`error: vault target "w": Vault refused the login`,
		"hint: give this token's principal roles/iam.workloadIdentityUser on",
		"revoked the token",
	} {
		if !strings.Contains(stderr, want) {
			t.Errorf("stderr lacks %q:\n%s", want, stderr)
		}
	}
	_, first, _ := strings.Cut(stderr, "oidc-broker: error: ")
	if lines := strings.Split(first, "\n"); lines[1] != "oidc-broker: hint: nothing was written" {
		t.Errorf("the line after the first error is %q", lines[1])
	}
	if n := strings.Count(stderr, "hint: the token's issuer is"); n != 1 {
		t.Errorf("one hint is given %d times", n)
	}
	if files := j.files(); len(files) > 0 {
		t.Errorf("left behind: %v", slices.Sorted(maps.Keys(files)))
	}
	for _, token := range j.vaultTokens() {
		if j.valid(token) {
			t.Error("a Vault token is valid yet")
		}
	}
}

// TestApplyExitsAsTheFirst: the first target that fails decides.
func TestApplyExitsAsTheFirst(t *testing.T) {
	j := newApplyJob(t, 1)
	j.gate("VAULT_ADDR", func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	const refused = "aws: [{profile: p, role-arn: 'arn:aws:iam::999999999999:role/nope'}]\n"
	const away = "vault: [{name: v, role: deploy}]\n"
	for file, want := range map[string]fault.Kind{
		"version: 1\n" + refused + away: fault.Refused,
		"version: 1\n" + away + refused: fault.Unavailable,
	} {
		status, _, stderr := j.run(context.Background(), file, "apply", "--file", "-", "--max-attempts", "1")
		if status != int(want) || strings.Count(stderr, "oidc-broker: error: ") != 2 {
			t.Errorf("exit %d, want %d\n%s", status, want, stderr)
		}
	}
}

// TestApplySlowTarget: one that does not answer within --timeout is named, and the
// others wait for nothing longer.
func TestApplySlowTarget(t *testing.T) {
	j := newApplyJob(t, 2)
	j.gate("AWS_ENDPOINT_URL_STS", func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if b, _ := httputil.DumpRequest(r, true); bytes.Contains(b, []byte("100000000001")) {
			<-r.Context().Done()
			return
		}
		pass.ServeHTTP(w, r)
	})
	status, _, stderr := j.run(context.Background(), manyRoles(2)+"vault: [{name: v, role: deploy}]\n", "apply", "--file", "-", "--timeout", "2s")
	if status != int(fault.Unavailable) || !strings.Contains(stderr, `error: aws target "p1": `) || strings.Contains(stderr, `target "p0"`) {
		t.Errorf("exit %d\n%s", status, stderr)
	}
	if files := j.files(); len(files) > 0 {
		t.Errorf("left behind: %v", slices.Sorted(maps.Keys(files)))
	}
	for _, token := range j.vaultTokens() {
		if j.valid(token) {
			t.Error("a Vault token is valid yet")
		}
	}
}

// TestApplyTwiceAtOnce: two runs with profiles of their own in the same files lose
// nothing of each other's.
func TestApplyTwiceAtOnce(t *testing.T) {
	j := newApplyJob(t, 20)
	lines := strings.SplitAfter(manyRoles(20), "\n")
	head, all := strings.Join(lines[:2], ""), lines[2:]
	var wg sync.WaitGroup
	for _, part := range [][]string{all[:10], all[10:], all[5:15]} {
		wg.Go(func() {
			if status, _, stderr := j.run(context.Background(), head+strings.Join(part, ""), "apply", "--file", "-"); status != 0 {
				t.Errorf("exit %d\n%s", status, stderr)
			}
		})
	}
	wg.Wait()
	if n := strings.Count(j.files()[".aws/credentials"], "aws_session_token"); n != 20 {
		t.Errorf("%d profiles, want 20", n)
	}
	if status, _, stderr := j.run(context.Background(), "", "cleanup"); status != 0 || stderr != "oidc-broker: cleaned up: files and directories removed: 2\n" {
		t.Errorf("cleanup: exit %d\n%s", status, stderr)
	}
	if files := j.files(); len(files) > 0 {
		t.Errorf("left behind: %v", slices.Sorted(maps.Keys(files)))
	}
}

// TestApplyDryRunIsWhatIsWritten: it makes no call, and names the files that a run
// writes.
func TestApplyDryRunIsWhatIsWritten(t *testing.T) {
	j := newApplyJob(t, 2)
	file := manyRoles(2) + `gcp: [{name: g, workload-identity-provider: ` + sandbox.DefaultGCPProvider + `, configuration: prod}]
vault: [{name: v, role: deploy, secret: secret/data/ci/app password, secrets-file: ` + j.dir + `/s, output-file: ` + j.dir + `/t}]
`
	paths := func(stdout string) []string {
		var shown struct{ Targets []shownTarget }
		if err := json.Unmarshal([]byte(stdout), &shown); err != nil {
			t.Fatalf("%v: %s", err, stdout)
		}
		var all []string
		for _, s := range shown.Targets {
			for _, f := range s.Files {
				if i := strings.LastIndex(f.Path, "token-"); i >= 0 {
					f.Path = f.Path[:i] + "token-*"
				}
				all = append(all, f.String())
			}
		}
		slices.Sort(all)
		return all
	}
	token := j.env["CIRCLE_OIDC_TOKEN"]
	delete(j.env, "CIRCLE_OIDC_TOKEN")
	_, planned, _ := j.run(context.Background(), file, "apply", "--file", "-", "--dry-run", "--format", "json")
	if files := j.files(); len(files) > 0 || len(j.vaultTokens()) > 0 {
		t.Errorf("a dry run left %v", slices.Sorted(maps.Keys(files)))
	}
	j.env["CIRCLE_OIDC_TOKEN"] = token
	status, written, stderr := j.run(context.Background(), file, "apply", "--file", "-", "--format", "json")
	if status != 0 {
		t.Fatalf("exit %d\n%s", status, stderr)
	}
	if p, w := paths(planned), paths(written); !slices.Equal(p, w) || len(p) != 9 {
		t.Errorf("%d planned, %d written:\n%s\n%s", len(p), len(w), strings.Join(p, "\n"), strings.Join(w, "\n"))
	}
}
