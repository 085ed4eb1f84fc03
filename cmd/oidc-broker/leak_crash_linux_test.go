package main

import (
	"bytes"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/sandbox"
)

// TestACrashLeaksNothing: a process that dies of a signal while it holds a token
// prints goroutines and no token, and leaves no core; and while it runs, no other
// process of its user reads its environment.
func TestACrashLeaksNothing(t *testing.T) {
	s := crashSandbox(t)
	for _, signal := range []syscall.Signal{syscall.SIGABRT, syscall.SIGQUIT, syscall.SIGSEGV} {
		asked := make(chan struct{}, 1)
		silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			asked <- struct{}{}
			<-r.Context().Done()
		}))
		c := newCrash(t, s, signal.String(), "aws env --verbose", map[string]string{"AWS_ENDPOINT_URL_STS": silent.URL, "GOTRACEBACK": "crash"})
		if err := c.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-asked
		c.environmentIsItsOwn()
		_ = c.cmd.Process.Signal(signal)
		_ = c.cmd.Wait()
		silent.CloseClientConnections()
		silent.Close()
		if !strings.Contains(c.stderr.String(), "goroutine ") {
			t.Errorf("%s: no trace: %q", signal, c.stderr.String())
		}
		c.judge()
	}
}

// TestAPanicLeaksNothing: a bug that ends the program after a cloud gave it credentials
// is exit code 1 and lines without a secret; and where it is not in the goroutine that
// runs the command, the runtime's traces have none. Nothing stays in a file or a core.
func TestAPanicLeaksNothing(t *testing.T) {
	s := crashSandbox(t)
	const ours, runtimes, aborted = 1, 2, -1
	for _, row := range []struct {
		point, traceback, line string
		exit                   int
	}{
		{"answer", "all", "aws env", ours},
		{"clock", "system", "aws env --verbose", ours},
		{"stdout", "crash", "aws env", ours},
		{"stderr", "crash", "aws whoami --verbose", ours},
		{"answer", "crash", "aws credential-process", ours},
		{"clock", "crash", "aws exec -- env", ours},
		{"answer", "all", "aws profile", ours},
		{"answer", "crash", "gcp env", ours},
		{"stdout", "system", "gcp access-token", ours},
		{"answer", "crash", "vault login", ours},
		{"stdout", "crash", "vault read " + secretApp, ours},
		// Each target has a goroutine of its own.
		{"answer", "all", "apply", runtimes},
		{"answer", "system", "apply", runtimes},
		{"answer", "crash", "apply", aborted},
		{"clock", "crash", "apply --verbose", aborted},
	} {
		name := row.point + ", " + row.traceback + ", " + row.line
		c := newCrash(t, s, name, row.line, map[string]string{"TEST_PANIC": row.point, "GOTRACEBACK": row.traceback})
		if err := c.cmd.Run(); err == nil {
			t.Errorf("%s: it did not panic", name)
			continue
		}
		if got := c.cmd.ProcessState.ExitCode(); got != row.exit {
			t.Errorf("%s: exit code %d, want %d", name, got, row.exit)
		}
		trace := map[int]string{
			ours:     `(?s)^.*oidc-broker: error: a bug ended the command: .*\noidc-broker: at: github.com/oidc-broker/oidc-broker/`,
			runtimes: `(?s)panic: .*\n\ngoroutine \d+.*\n\ngoroutine \d+`,
			aborted:  `(?s)panic: .*\n\ngoroutine \d+ .* fp=0x.*\n\ngoroutine \d+`,
		}[row.exit]
		if !regexp.MustCompile(trace).Match(c.stderr.Bytes()) {
			t.Errorf("%s: not the trace that is looked into:\n%s", name, c.masked())
		}
		if row.exit == ours && c.stdout.Len() > 0 {
			t.Errorf("%s: something is on stdout", name)
		}
		c.judge()
	}
}

func crashSandbox(t *testing.T) *sandbox.Sandbox {
	program, err := exec.LookPath("oidc-broker")
	if err != nil {
		t.Fatal(err)
	}
	s, err := sandbox.Start(t.Context(), sandbox.Config{
		Now: time.Now, Dir: t.TempDir(), Executable: program,
		Roles: []string{sandbox.DefaultRole, "arn:aws:iam::222233334444:role/deploy"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// A crash is one run of the program that does not end well.
type crash struct {
	*testing.T
	name, dir      string
	sandbox        *sandbox.Sandbox
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
	cores          []string // that were there before
}

// newCrash prepares a run whose cores may be of any size.
func newCrash(t *testing.T, s *sandbox.Sandbox, name, line string, env map[string]string) *crash {
	t.Helper()
	c := &crash{T: t, name: name, dir: t.TempDir(), sandbox: s}
	if err := os.WriteFile(filepath.Join(c.dir, "oidc-broker.yaml"), []byte(leakTargets), 0o600); err != nil {
		t.Fatal(err)
	}
	set, _ := s.Environment()
	maps.Copy(set, map[string]string{
		"HOME": c.dir, "TMPDIR": c.dir, "PATH": s.Bin() + ":" + os.Getenv("PATH"), "AWS_ROLE_ARN": sandbox.DefaultRole, "VAULT_ROLE": sandbox.DefaultVaultRole,
		"OIDC_BROKER_WORKLOAD_IDENTITY_PROVIDER": sandbox.DefaultGCPProvider, "GCP_SERVICE_ACCOUNT_EMAIL": sandbox.DefaultGCPServiceAccount,
		"AWS_SHARED_CREDENTIALS_FILE": filepath.Join(c.dir, "credentials"), "AWS_CONFIG_FILE": filepath.Join(c.dir, "config"),
		"BAO_TOKEN_PATH": filepath.Join(c.dir, vaultFile), "CLOUDSDK_CONFIG": filepath.Join(c.dir, "gcloud"),
	})
	maps.Copy(set, env)
	c.cmd = exec.CommandContext(t.Context(), "sh", append([]string{"-c", `ulimit -c unlimited; exec oidc-broker "$@"`, "sh"}, leakArgs(line)...)...)
	c.cmd.Dir = c.dir
	for name, value := range set {
		c.cmd.Env = append(c.cmd.Env, name+"="+value)
	}
	c.cmd.Stdout, c.cmd.Stderr = &c.stdout, &c.stderr
	c.cores = c.coresThere()
	return c
}

// environmentIsItsOwn has another process of the same user look at the program's
// environment. Of root nothing is hidden, so that both run as nobody then.
func (c *crash) environmentIsItsOwn() {
	c.Helper()
	file := "/proc/" + strconv.Itoa(c.cmd.Process.Pid) + "/environ"
	if os.Geteuid() != 0 {
		if _, err := os.ReadFile(file); err == nil {
			c.Errorf("%s: another process of the same user reads its environment", c.name)
		}
		return
	}
	program, err := exec.LookPath("oidc-broker")
	if err != nil {
		c.Fatal(err)
	}
	binary, err := os.Open(program)
	if err != nil {
		c.Fatal(err)
	}
	defer func() { _ = binary.Close() }()
	// The program's directory is root's alone; an open file needs none.
	nobody := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	for _, look := range []struct {
		program []string
		seen    bool
	}{
		{[]string{"/bin/sleep", "60"}, true}, // what can be looked at so
		{[]string{"/proc/self/fd/3", "sandbox"}, false},
	} {
		other := exec.CommandContext(c.Context(), look.program[0])
		other.Args = append([]string{"oidc-broker"}, look.program[1:]...)
		other.Env, other.Dir, other.SysProcAttr, other.ExtraFiles = []string{"MINE=" + marker, "PATH=/bin"}, "/", nobody, []*os.File{binary}
		out, err := other.StdoutPipe()
		if err != nil {
			c.Fatal(err)
		}
		if err := other.Start(); err != nil {
			c.Fatal(err)
		}
		if !look.seen { // until it serves
			if n, err := out.Read(make([]byte, 1)); n == 0 {
				c.Errorf("the program does not run as nobody: %v", err)
			}
		}
		reader := exec.CommandContext(c.Context(), "cat", "/proc/"+strconv.Itoa(other.Process.Pid)+"/environ")
		reader.Dir, reader.SysProcAttr = "/", nobody
		b, _ := reader.Output()
		if seen := bytes.Contains(b, []byte(marker)); seen != look.seen {
			c.Errorf("another process of the same user reads the environment of %q: %v, want %v", look.program, seen, look.seen)
		}
		_ = other.Process.Kill()
		_ = other.Wait()
	}
}

// judge looks for secrets in all that the run left.
func (c *crash) judge() {
	c.Helper()
	n := newNeedles()
	n.add(c.sandbox.Issued()...)
	for name, b := range map[string][]byte{"stdout": c.stdout.Bytes(), "stderr": c.stderr.Bytes()} {
		if how := n.find(b); how != "" {
			c.Errorf("%s: %s shows a secret %s", c.name, name, how)
		}
	}
	if c.cmd.ProcessState.Sys().(syscall.WaitStatus).CoreDump() {
		c.Errorf("%s: the kernel wrote a core", c.name)
	}
	if now := c.coresThere(); !slices.Equal(now, c.cores) {
		c.Errorf("%s: left %q", c.name, now)
	}
	err := filepath.WalkDir(c.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if how := n.find(b); how != "" {
			c.Errorf("%s: %s holds a secret %s", c.name, path, how)
		}
		return err
	})
	if err != nil {
		c.Fatal(err)
	}
}

// masked is stderr, if it can be shown.
func (c *crash) masked() string {
	n := newNeedles()
	n.add(c.sandbox.Issued()...)
	if n.find(c.stderr.Bytes()) != "" {
		return "(an output with secrets)"
	}
	return c.stderr.String()
}

// coresThere are the cores where the kernel writes them: in the working directory, or
// where its pattern says. What it pipes them to keeps them elsewhere; of that the
// status tells.
func (c *crash) coresThere() []string {
	pattern, _ := os.ReadFile("/proc/sys/kernel/core_pattern")
	name := strings.TrimSpace(string(pattern))
	if strings.HasPrefix(name, "|") || name == "" {
		name = "core"
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(c.dir, name)
	}
	found, _ := filepath.Glob(regexp.MustCompile(`%.`).ReplaceAllString(name, "*") + "*")
	return found
}
