package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"

	"github.com/oidc-broker/oidc-broker/pkg/sandbox"
)

// serves runs a sandbox that serves until it is interrupted, and has its clouds used
// meanwhile: what it logs has no secret, and nothing of it stays on the disk.
func (l *leakLab) serves() {
	r := l.row(leakRow{command: "sandbox"})
	l.mu.Lock()
	l.run = r
	l.mu.Unlock()
	printed, err := os.Create(filepath.Join(l.TempDir(), "stdout"))
	if err != nil {
		l.Fatal(err)
	}
	defer func() { _ = printed.Close() }()
	cmd := r.command(r.Context(), leakTry{args: []string{"--verbose", "sandbox"}})
	stderr := &waiting{text: "serves until it is interrupted", there: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = printed, stderr
	if err := cmd.Start(); err != nil {
		l.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-stderr.there:
	case err := <-ended:
		l.Errorf("the sandbox did not serve: %v", err)
		return
	}
	b, err := os.ReadFile(printed.Name())
	if err != nil {
		l.Fatal(err)
	}
	env := []string{"HOME=" + l.TempDir()}
	own := newNeedles()
	for _, m := range regexp.MustCompile(`(?m)^export (\w+)='(.*)'$`).FindAllStringSubmatch(string(b), -1) {
		env = append(env, m[1]+"="+m[2])
		if jobToken(m[2]) {
			own.add(m[2])
		}
	}
	if own.find(b) == "" {
		l.Error("the sandbox prints no token")
	}
	l.useSandbox(env, own)
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := <-ended; err != nil {
		l.Errorf("the sandbox ended with %v", err)
	}
	logged := stderr.all()
	if how := own.find(logged); how != "" {
		l.Errorf("the sandbox logs a secret %s", how)
	}
	if n := bytes.Count(logged, []byte("\n")); n < 8 {
		l.Errorf("it logs %d lines of its calls:\n%s", n, logged)
	}
	l.mu.Lock()
	l.clouds = own // of nobody else's files
	l.mu.Unlock()
	r.files(nil)
}

// useSandbox runs commands in the environment of a sandbox, well and refused, and adds
// what they print to its secrets.
func (l *leakLab) useSandbox(env []string, own *needles) {
	for _, x := range []struct {
		line string
		exit int
	}{
		{"aws env --role-arn arn:aws:iam::111122223333:role/deploy", 0},
		{"aws env --role-arn arn:aws:iam::111122223333:role/other", 4},
		{"gcp access-token --workload-identity-provider " + sandbox.DefaultGCPProvider + " --service-account " + sandbox.DefaultGCPServiceAccount, 0},
		{"gcp access-token --workload-identity-provider " + sandbox.DefaultGCPProvider + " --service-account no" + sandbox.DefaultGCPServiceAccount, 4},
		{"vault env --role deploy " + secretApp, 0},
		{"vault token --role none", 4},
		{"token --audience x", 0},
	} {
		args := leakArgs(x.line)
		cmd := exec.CommandContext(l.Context(), l.program, args...)
		cmd.Env, cmd.Stderr = env, io.Discard
		out, err := cmd.Output()
		if got := cmd.ProcessState.ExitCode(); got != x.exit {
			l.Errorf("%.40s in the sandbox: exit code %d, want %d: %v", x.line, got, x.exit, err)
		}
		if strings.HasPrefix(x.line, "token") {
			continue
		}
		for _, m := range regexp.MustCompile(`(?m)^(?:export \w+='(.{16,})'|([\w.-]{16,}))$`).FindAllStringSubmatch(string(out), -1) {
			if !strings.Contains(m[0], "VAULT_ADDR") && !strings.Contains(m[0], "EXPIRATION") && !strings.Contains(m[0], "KEY_ID") {
				own.add(m[1] + m[2])
			}
		}
	}
}

// waiting is a stream on which a text is waited for.
type waiting struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	text  string
	there chan struct{}
	once  sync.Once
}

func (w *waiting) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.buf.Write(b)
	if bytes.Contains(w.buf.Bytes(), []byte(w.text)) {
		w.once.Do(func() { close(w.there) })
	}
	return n, err
}

func (w *waiting) all() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Clone(w.buf.Bytes())
}
