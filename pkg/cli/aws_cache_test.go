package cli

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/sandbox"
)

// An awsLab is a job beside a sandbox, both by one clock that the test moves.
type awsLab struct {
	t     *testing.T
	mu    sync.Mutex
	env   map[string]string
	cloud *sandbox.Sandbox
	at    time.Time
	asked int // exchanges at the sandbox
	// hold, if any, is called when an exchange begins.
	hold func()
}

func newAWSLab(t *testing.T) *awsLab {
	t.Helper()
	l := &awsLab{t: t, at: time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)}
	s, err := sandbox.Start(t.Context(), sandbox.Config{Now: l.now, Dir: t.TempDir(), Log: l.log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	l.cloud = s
	l.env, _ = s.Environment()
	l.env["HOME"] = t.TempDir()
	l.env["AWS_ROLE_ARN"] = sandbox.DefaultRole
	return l
}

func (l *awsLab) now() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.at
}

func (l *awsLab) set(name, value string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.env[name] = value
}

func (l *awsLab) pass(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at = l.at.Add(d)
}

func (l *awsLab) log(format string, args ...any) {
	if len(args) > 1 && strings.HasPrefix(args[1].(string), "AssumeRoleWithWebIdentity: 200") {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.asked++
	}
}

// exchanges is how often there was one since it was last asked.
func (l *awsLab) exchanges() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.asked
	l.asked = 0
	return n
}

// cacheDir is where the cache is.
func (l *awsLab) cacheDir() string { return filepath.Join(l.env["HOME"], ".cache", "oidc-broker") }

func (l *awsLab) world(args []string, stdout, stderr *bytes.Buffer) World {
	return World{
		Args: args,
		Getenv: func(name string) string {
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.env[name]
		},
		Environ: func() []string {
			l.mu.Lock()
			defer l.mu.Unlock()
			var all []string
			for name, v := range l.env {
				all = append(all, name+"="+v)
			}
			return all
		},
		Stdin: strings.NewReader(""), Stdout: stdout, Stderr: stderr, Now: l.now,
		Transport: held{l}, Executable: os.Executable, WorkDir: os.Getwd, TempDir: os.TempDir,
	}
}

// held is the network, which a test may stop.
type held struct{ lab *awsLab }

func (h held) RoundTrip(r *http.Request) (*http.Response, error) {
	h.lab.mu.Lock()
	hold := h.lab.hold
	h.lab.mu.Unlock()
	if hold != nil {
		hold()
	}
	return http.DefaultTransport.RoundTrip(r)
}

// run runs the program.
func (l *awsLab) run(args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = Main(context.Background(), l.world(args, &out, &err))
	return code, out.String(), err.String()
}

// ask is a credential-process that must answer.
func (l *awsLab) ask(args ...string) string {
	l.t.Helper()
	code, stdout, stderr := l.run(append([]string{"aws", "credential-process"}, args...)...)
	if code != 0 || stderr != "" {
		l.t.Errorf("exit code %d: %s", code, stderr)
	}
	return stdout
}

// TestManyCallersOneExchange: those that come while it is made wait for it, and of
// those that come when it is to be renewed one alone does.
func TestManyCallersOneExchange(t *testing.T) {
	l := newAWSLab(t)
	together := func() map[string]int {
		answers, all := make(chan string), map[string]int{}
		const callers = 16
		for range callers {
			go func() { answers <- l.ask() }()
		}
		for range callers {
			all[<-answers]++
		}
		return all
	}
	first := together()
	if n := l.exchanges(); n != 1 || len(first) != 1 {
		t.Errorf("%d exchanges, %d answers", n, len(first))
	}
	l.pass(50 * time.Minute)
	if all := together(); l.exchanges() != 1 || len(all) > 2 {
		t.Errorf("not one renewal: %d answers", len(all))
	}
	l.pass(3 * time.Hour)
	v1, _, err := l.cloud.Mint(sandbox.Variant{})
	if err != nil {
		t.Fatal(err)
	}
	l.set("CIRCLE_OIDC_TOKEN", v1)
	if all := together(); l.exchanges() != 1 || len(all) != 1 {
		t.Errorf("%d answers after all had ended", len(all))
	}
}

// TestNobodyWaitsForARenewal: while one caller renews, others have the old keys.
func TestNobodyWaitsForARenewal(t *testing.T) {
	l := newAWSLab(t)
	old := l.ask()
	l.pass(50 * time.Minute)
	begun, goOn := make(chan struct{}), make(chan struct{})
	l.mu.Lock()
	l.hold = func() { begun <- struct{}{}; <-goOn }
	l.mu.Unlock()
	renewed := make(chan string)
	go func() { renewed <- l.ask() }()
	<-begun
	for range 3 {
		if got := l.ask(); got != old {
			t.Error("not the old keys")
		}
	}
	close(goOn)
	got := <-renewed
	if got == old {
		t.Error("not renewed")
	}
	if again := l.ask(); again != got {
		t.Error("the new keys were not kept")
	}
}

// TestWithoutACache: where nothing can be stored, each call makes an exchange, and
// only --verbose speaks of it.
func TestWithoutACache(t *testing.T) {
	for _, row := range []struct {
		name, why string
		spoil     func(l *awsLab)
	}{
		{"no home", "there is no home directory", func(l *awsLab) { l.set("HOME", "") }},
		{"a file where the directory would be", "not a directory", func(l *awsLab) { l.set("XDG_CACHE_HOME", os.Args[0]) }},
		{"a variable in the directory's name", "the variable XDG_CACHE_HOME holds the literal text $HOME", func(l *awsLab) { l.set("XDG_CACHE_HOME", "$HOME/cache") }},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := newAWSLab(t)
			row.spoil(l)
			if first := l.ask(); first == l.ask() || l.exchanges() != 2 {
				t.Error("it was cached")
			}
			code, stdout, stderr := l.run("--verbose", "aws", "credential-process")
			if code != 0 || stdout == "" || !strings.Contains(stderr, "works without a cache: ") || !strings.Contains(stderr, row.why) {
				t.Errorf("exit code %d, %s", code, stderr)
			}
		})
	}
}
