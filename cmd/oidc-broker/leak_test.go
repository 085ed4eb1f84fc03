package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/cli"
	"github.com/oidc-broker/oidc-broker/pkg/sandbox"
)

// A leakRow is a command as it is run for leaks.
type leakRow struct {
	args string
	// prints says that secrets of the cloud's are its output; token says that the
	// job's token is.
	prints, token bool
}

// leakRows has every command: a new one without a row fails the test.
var leakRows = map[string]leakRow{
	"oidc-broker":                        {args: "--version"},
	"oidc-broker aws":                    {args: "aws"},
	"oidc-broker aws profile":            {args: "aws profile --profile x"},
	"oidc-broker aws env":                {args: "aws env", prints: true},
	"oidc-broker aws exec":               {args: "aws exec -- sh -c " + childLooks, prints: true},
	"oidc-broker aws credential-process": {args: "aws credential-process", prints: true},
	"oidc-broker aws whoami":             {args: "aws whoami"},
	"oidc-broker gcp":                    {args: "gcp"},
	"oidc-broker gcp login":              {args: "gcp login"},
	"oidc-broker gcp env":                {args: "gcp env --bash-env"},
	"oidc-broker gcp exec":               {args: "gcp exec -- sh -c " + childLooks, prints: true},
	"oidc-broker gcp access-token":       {args: "gcp access-token", prints: true},
	"oidc-broker gcp id-token":           {args: "gcp id-token --audience-url https://x", prints: true},
	"oidc-broker gcp create-cred-config": {args: "gcp create-cred-config " + sandbox.DefaultGCPProvider + " --output-file=c.json"},
	"oidc-broker gcp executable-source":  {args: "gcp executable-source", token: true},
	"oidc-broker vault":                  {args: "vault"},
	"oidc-broker vault login":            {args: "vault login"},
	"oidc-broker vault token":            {args: "vault token", prints: true},
	"oidc-broker vault env":              {args: "vault env --bash-env"},
	"oidc-broker vault exec":             {args: "vault exec -- sh -c " + childLooks, prints: true},
	"oidc-broker vault read":             {args: "vault read --secret secret/data/ci/app", prints: true},
	"oidc-broker token":                  {args: "token"},
	"oidc-broker policy":                 {args: "policy"},
	"oidc-broker policy new":             {args: "policy new"},
	"oidc-broker policy new aws":         {args: "policy new aws --account-id 111122223333 --role-name x"},
	"oidc-broker policy new gcp":         {args: "policy new gcp --project-number 123456789012 --pool-id pool1 --provider-id provider1"},
	"oidc-broker policy new vault":       {args: "policy new vault --role x"},
	"oidc-broker policy lint":            {args: "policy lint"},
	"oidc-broker policy lint aws":        {args: "policy lint aws -"},
	"oidc-broker policy lint gcp":        {args: "policy lint gcp -"},
	"oidc-broker policy lint vault":      {args: "policy lint vault -"},
	"oidc-broker policy check":           {args: "policy check"},
	"oidc-broker policy check aws":       {args: "policy check aws -"},
	"oidc-broker policy check gcp":       {args: "policy check gcp -"},
	"oidc-broker policy check vault":     {args: "policy check vault -"},
	"oidc-broker policy test":            {args: "policy test -"},
	"oidc-broker apply":                  {args: "apply -"},
	"oidc-broker doctor":                 {args: "doctor"},
	"oidc-broker sandbox":                {args: "sandbox -- true"},
	"oidc-broker cleanup":                {args: "cleanup"},
	"oidc-broker completion":             {args: "completion"},
	"oidc-broker completion bash":        {args: "completion bash"},
	"oidc-broker completion zsh":         {args: "completion zsh"},
	"oidc-broker completion fish":        {args: "completion fish"},
	"oidc-broker completion powershell":  {args: "completion powershell"},
	"oidc-broker help":                   {args: "help"},
	"oidc-broker version":                {args: "version"},
}

// childLooks stands for childScript, which has blanks.
const childLooks = "CHILD"

// childScript is what a child of exec looks for: the job's token in its own
// environment and arguments, and in its parent's arguments.
const childScript = `env | grep CIRCLE_OIDC_TOKEN; tr '\0' '\n' < /proc/self/cmdline; tr '\0' '\n' < /proc/$PPID/cmdline`

// documented are the places that docs/security.md names for secrets, below the
// home directory.
var documented = []string{"aws/credentials", "bash_env", ".config/oidc-broker/gcp/token-", ".vault-token", ".local/state/oidc-broker/", ".cache/oidc-broker/"}

// TestLeaks runs every command well, refused by servers that send back what they
// were sent, and given the token where it does not belong; as it is, --verbose and
// --quiet, and --help. While they run, the arguments of all processes are looked at.
func TestLeaks(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("what processes look like is read from Linux's /proc")
	}
	s, err := sandbox.Start(t.Context(), sandbox.Config{Now: time.Now, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	stop := watchArguments(t, s)
	defer stop()
	echo := echoServer(t)
	cli.Reference().Walk(func(m cli.Manual) {
		row, ok := leakRows[m.Path]
		if !ok {
			t.Errorf("%s has no row: how could it leak?", m.Path)
			return
		}
		args := strings.Fields(row.args)
		for i := range args {
			if args[i] == childLooks {
				args[i] = childScript
			}
		}
		l := leakRun{T: t, sandbox: s, row: row, home: t.TempDir()}
		l.run("", append([]string{"--verbose"}, args...)...)
		l.run(echo, append([]string{"--verbose"}, args...)...)
		if testing.Short() {
			return
		}
		l.run("", append([]string{"--quiet"}, args...)...)
		l.run("", append(strings.Fields(m.Path)[1:], "--help")...)
		l.run("", append(strings.Fields(m.Path)[1:], "--nonsense=TOKEN")...)
		l.run("", append(strings.Fields(m.Path)[1:], "TOKEN")...)
		l.run("", append(strings.Fields(m.Path)[1:], "--timeout=TOKEN")...)
	})
}

type leakRun struct {
	*testing.T
	sandbox *sandbox.Sandbox
	row     leakRow
	home    string
}

// run runs one command line, with all clouds at echo if that is given. TOKEN in
// an argument is the job's token, which then is in the arguments, but nowhere else.
func (l leakRun) run(echo string, args ...string) {
	l.Helper()
	set, _ := l.sandbox.Environment()
	maps.Copy(set, map[string]string{
		"HOME": l.home, "PATH": os.Getenv("PATH"), "TMPDIR": l.home, "AWS_ROLE_ARN": sandbox.DefaultRole, "OIDC_BROKER_MAX_ATTEMPTS": "1",
		"OIDC_BROKER_WORKLOAD_IDENTITY_PROVIDER": sandbox.DefaultGCPProvider, "GCP_SERVICE_ACCOUNT_EMAIL": sandbox.DefaultGCPServiceAccount,
		"BASH_ENV": filepath.Join(l.home, "bash_env"), "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(l.home, "aws", "credentials"),
		"AWS_CONFIG_FILE": filepath.Join(l.home, "aws", "config"), "BAO_TOKEN_PATH": filepath.Join(l.home, ".vault-token"),
	})
	if echo != "" {
		for _, name := range []string{"AWS_ENDPOINT_URL_STS", "CLOUDSDK_API_ENDPOINT_OVERRIDES_STS", "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS", "VAULT_ADDR"} {
			set[name] = echo
		}
	}
	given := false
	for i, a := range args {
		if given = given || strings.Contains(a, "TOKEN") && a != childScript; given {
			args[i] = strings.ReplaceAll(a, "TOKEN", set["CIRCLE_OIDC_TOKEN"])
		}
	}
	ctx, cancel := context.WithTimeout(l.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "oidc-broker", args...)
	cmd.Dir = l.home
	for name, value := range set {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(""), &stdout, &stderr
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		l.Fatal(err)
	}
	l.judge(strings.Join(args, " "), stdout.String(), stderr.String())
}

func (l leakRun) judge(line, stdout, stderr string) {
	l.Helper()
	for _, s := range append(l.sandbox.Issued(), marker) {
		for _, piece := range secretPieces(s) {
			if strings.Contains(stderr, piece) {
				l.Errorf("%.60s: stderr shows a secret", line)
			}
			may := l.row.prints && !jobToken(s) || l.row.token
			if !may && strings.Contains(stdout, piece) {
				l.Errorf("%.60s: stdout shows a secret", line)
			}
			l.files(line, piece)
		}
	}
}

// files looks for a secret in every file that is not for secrets.
func (l leakRun) files(line, piece string) {
	l.Helper()
	err := filepath.WalkDir(l.home, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(b, []byte(piece)) {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name := filepath.ToSlash(strings.TrimPrefix(path, l.home+string(filepath.Separator)))
		known := info.Mode().Perm() == 0o600
		for _, place := range documented {
			if known && strings.HasPrefix(name, place) {
				return nil
			}
		}
		l.Errorf("%.60s: %s (%s) holds a secret", line, name, info.Mode())
		return nil
	})
	if err != nil {
		l.Fatal(err)
	}
}

// echoServer refuses everything, in the words of all clouds, and with all that was
// sent to it.
func echoServer(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		sent := r.URL.RawQuery + " " + string(body) + " " + r.Header.Get("Authorization") + " " + r.Header.Get("X-Vault-Token") + " " + marker
		switch {
		case strings.HasPrefix(r.URL.Path, "/v1/auth"):
			vaultSays(http.StatusForbidden, strings.ReplaceAll(sent, marker, ""))(w, r, 1)
		case r.URL.Path == "/v1/token":
			refusesOAuth(http.StatusBadRequest, "invalid_grant", strings.ReplaceAll(sent, marker, ""))(w, r, 1)
		default:
			refuse(w, http.StatusForbidden, "AccessDenied", strings.ReplaceAll(sent, marker, ""))
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// watchArguments looks at the arguments of all processes until it is stopped. Those
// that the test itself gives a token to are left out.
func watchArguments(t *testing.T, s *sandbox.Sandbox) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	var once sync.Once
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
			}
			files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
			for _, f := range files {
				b, err := os.ReadFile(f)
				if err != nil || len(b) == 0 || bytes.Contains(b, []byte("--nonsense=")) || bytes.Contains(b, []byte("--timeout=")) {
					continue
				}
				for _, secret := range s.Issued() {
					if len(secret) > 8 && !jobToken(secret) && bytes.Contains(b, []byte(secret)) {
						t.Errorf("%s shows a secret", f)
					}
				}
			}
		}
	}()
	return func() { once.Do(func() { close(done) }); <-ended }
}

// TestACrashLeaksNothing: a process that dies of a signal while it holds a token
// prints goroutines and no token, and leaves no core.
func TestACrashLeaksNothing(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("cores and signals as Linux has them")
	}
	s, err := sandbox.Start(t.Context(), sandbox.Config{Now: time.Now, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	for _, signal := range []syscall.Signal{syscall.SIGABRT, syscall.SIGQUIT, syscall.SIGSEGV} {
		asked := make(chan struct{}, 1)
		silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			asked <- struct{}{}
			<-r.Context().Done()
		}))
		dir := t.TempDir()
		set, _ := s.Environment()
		maps.Copy(set, map[string]string{"HOME": dir, "PATH": os.Getenv("PATH"), "AWS_ROLE_ARN": sandbox.DefaultRole, "AWS_ENDPOINT_URL_STS": silent.URL, "GOTRACEBACK": "crash"})
		cmd := exec.Command("sh", "-c", "ulimit -c unlimited; exec oidc-broker aws env --verbose")
		cmd.Dir = dir
		for name, value := range set {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-asked
		if os.Geteuid() != 0 {
			if _, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/environ"); err == nil {
				t.Error("another process of the same user reads its environment")
			}
		}
		_ = cmd.Process.Signal(signal)
		_ = cmd.Wait()
		silent.CloseClientConnections()
		silent.Close()
		if !strings.Contains(stderr.String(), "goroutine ") {
			t.Errorf("%s: no trace: %q", signal, stderr.String())
		}
		for _, secret := range s.Issued() {
			for _, piece := range secretPieces(secret) {
				if strings.Contains(stderr.String(), piece) || strings.Contains(stderr.String(), base64.StdEncoding.EncodeToString([]byte(piece))) {
					t.Errorf("%s: the trace shows a secret", signal)
				}
			}
		}
		if cores, _ := filepath.Glob(filepath.Join(dir, "*core*")); len(cores) > 0 {
			t.Errorf("%s: left %q", signal, cores)
		}
	}
}
