package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/oidc-broker/oidc-broker/pkg/cli"
	"github.com/oidc-broker/oidc-broker/pkg/sandbox"
	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// manyAtOnce runs more tests at once than there are processors. Scripts wait more
// than they work: for a lock, a token's end, an answer that does not come. Two at
// a time would take longer than go test's ten minutes.
type manyAtOnce struct{ m *testing.M }

// Run is that of testing.M.
func (a manyAtOnce) Run() int {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		if err := f.Value.Set(strconv.Itoa(max(4, runtime.GOMAXPROCS(0)))); err != nil {
			panic(err)
		}
	}
	withoutShims()
	return a.m.Run()
}

// TestMain lets the scripts run the program: the real one, but for its clock,
// which TEST_NOW stops (RFC 3339) or moves (a duration), its temporary directories,
// which TEST_TEMP_DIRS lists, and the bug that TEST_PANIC puts into it.
func TestMain(m *testing.M) {
	testscript.Main(manyAtOnce{m}, map[string]func(){
		"oidc-broker": func() {
			harden()
			w := world()
			if now, ok := testClock(os.Getenv("TEST_NOW")); ok {
				w.Now = now
			}
			// testscript itself puts the program into a temporary directory.
			w.TempDirs = filepath.SplitList(os.Getenv("TEST_TEMP_DIRS"))
			if point := os.Getenv("TEST_PANIC"); point != "" {
				panicAt(&w, point)
			}
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			status := cli.Main(ctx, w)
			stop()
			os.Exit(status)
		},
		"gosdk":             goSDK,
		"gogoogle":          goGoogle,
		"gosdk-long":        goSDKLong,
		"gogoogle-long":     goGoogleLong,
		"circleci-job":      circleciJob,
		"oidc-broker-again": again,
	})
}

// withoutShims puts the programs of pyenv's Python before pyenv's shims on PATH.
// Through them each call of the AWS CLI costs two and a half times as much, and a
// test makes many.
func withoutShims() {
	path, err := exec.LookPath("aws")
	if err != nil || !strings.HasSuffix(filepath.Dir(path), filepath.Join(".pyenv", "shims")) {
		return
	}
	real, err := exec.Command("pyenv", "which", "aws").Output()
	if err != nil {
		return
	}
	if err := os.Setenv("PATH", filepath.Dir(strings.TrimSpace(string(real)))+string(filepath.ListSeparator)+os.Getenv("PATH")); err != nil {
		panic(err)
	}
}

// TestScripts runs what users type. Each script says in its first line what it
// shows. Beside testscript's commands there are:
//
//	sandbox [--fork] [--tag T] ... start the local clouds and set the environment of a job
//	exits N PROGRAM [ARG...]       run, demand the exit code, and look for secrets where none may be
//	exits-source PROGRAM [ARG...]  run what answers in Google's protocol for executable sources
//	clock DURATION                 move the clocks of the program and of the sandbox
//	calls N TEXT                   demand how many requests, by TEXT in their log lines, the sandbox got since the last calls
//	mode 600 FILE                  demand a file's mode
//	manifest DIR FILE              write down all that is below a directory: names, kinds, modes, owners, targets, contents
//	bytes FILE TEXT                write a file from text with Go's escapes
//	faulty KIND                    start a server that misbehaves and point AWS's STS at it
//	faulty KIND sts|iam            the same in front of one of Google's services
//	faulty KIND vault PATH         the same for the calls of Vault whose path has PATH in it
//	moto                           point all of AWS at a moto server, which believes everything
//	moto --unsigned N              the same, but after N actions it verifies signatures
//	gosdk [PROFILE]                ask aws-sdk-go-v2 who one is; $CLIENTS/ask.sh asks all clients
//	gogoogle                       print an access token of each of Google's libraries for Go
//	gosdk-long, gogoogle-long      the same again and again, as testdata/longjob says
//	golden FILE [WORD...]          type what gcloud was recorded with, and demand its bytes
//	vaultpeer [FILE]               start the Vault of HashiCorp's own plugins, with the sandbox's keys, changed by a JSON merge patch
//	fault KIND TIMES PATH          have its next answers below a path go wrong
//	granted account|direct NAME... demand lines "NAME TOKEN" with access tokens of the sandbox
//	circleci-job FILE JOB          run a job of a CircleCI configuration, with the orb; see circleciJob
//	machine KIND [PROGRAM...]      have the PATH of an image without oidc-broker; see machine
//	release [KIND]                 serve a release on loopback, in $RELEASES; see releases.serve
//
// and the conditions [root], [full], [missing:PROGRAM], [missing-file:PATH], [missing-python:MODULE],
// [missing-node:MODULE], [missing-vaultpeer], and [missing-dist] where there is no snapshot of a release: what is missing
// fails a full run, and the real clients are taken for missing in another (see testenv).
// [missing-mounts] is where this user may not mount.
func TestScripts(t *testing.T) {
	clients, err := filepath.Abs(filepath.Join("..", "..", "testdata", "clients"))
	if err != nil {
		t.Fatal(err)
	}
	orb, err := filepath.Abs(orbPacked)
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("..", "..", "testdata", "script"),
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"sandbox": startSandbox, "exits": exits, "exits-source": exitsSource, "mode": mode, "manifest": manifest, "bytes": writeBytes, "faulty": startFaulty,
			"moto": newMotos(t).point, "granted": granted, "storage": startStorage, "golden": golden,
			"vaultpeer": scriptPeer, "fault": scriptFault,
			"machine": machine, "release": newReleases(t.TempDir()).serve,
			"clock": setClock, "calls": calls,
		},
		Condition:          condition,
		UpdateScripts:      os.Getenv("UPDATE") == "1",
		RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("ROLE", sandbox.DefaultRole)
			e.Setenv("PROVIDER", sandbox.DefaultGCPProvider)
			e.Setenv("SERVICE_ACCOUNT", sandbox.DefaultGCPServiceAccount)
			e.Setenv("CLIENTS", clients)
			e.Setenv("ORB", orb)
			e.Setenv("DOCS", filepath.Join(filepath.Dir(filepath.Dir(clients)), "docs"))
			e.Setenv("GOLDEN", filepath.Join(filepath.Dir(clients), "golden"))
			e.Setenv("PRESS", filepath.Join(filepath.Dir(clients), "press.py"))
			e.Setenv("DIST", os.Getenv(distEnv))
			e.Setenv("GOARCH", runtime.GOARCH)
			e.Setenv("NODE_PATH", nodeModules())
			newLongJob().setenv(e)
			e.Values[secretsKey{}] = &secrets{}
			e.Values[watchKey{}] = &watch{}
			return nil
		},
	})
}

type secretsKey struct{}

// secrets are the servers of a script: what they handed out must not show.
type secrets struct {
	mu   sync.Mutex
	from []interface{ Issued() []string }
	more []string
}

func (s *secrets) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.more
	for _, b := range s.from {
		all = append(all, b.Issued()...)
	}
	return all
}

func secretsOf(ts *testscript.TestScript) *secrets { return ts.Value(secretsKey{}).(*secrets) }

func startSandbox(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("sandbox cannot be negated")
	}
	dir, err := os.MkdirTemp(ts.MkAbs("."), "sandbox")
	ts.Check(err)
	self, err := lookPath("oidc-broker", ts.Getenv("PATH"))
	ts.Check(err)
	c := sandbox.Config{Now: watchOf(ts).now, Dir: dir, Executable: self, Log: watchOf(ts).log}
	for i := 0; i < len(args); i++ {
		value := func() string {
			if i++; i >= len(args) {
				ts.Fatalf("%s needs a value", args[i-1])
			}
			return args[i]
		}
		switch args[i] {
		case "--ci":
			c.Job.CI = value()
		case "--environment":
			c.Job.Environment = value()
		case "--pull-request":
			c.Job.PullRequest = true
		case "--immutable-subject":
			c.Job.Immutable = true
		case "--fork":
			c.Token.Fork = true
		case "--webhook":
			c.Token.Webhook = true
		case "--expired":
			c.Token.Expired = true
		case "--root-issuer":
			c.Token.RootIssuer = true
		case "--ssh-rerun":
			c.Token.SSHRerun = true
		case "--project":
			c.Token.Project = value()
		case "--claim":
			name, v, _ := strings.Cut(value(), "=")
			c.Token.Claims = map[string]json.RawMessage{name: json.RawMessage(v)}
		case "--branch":
			c.Token.Branch = value()
		case "--tag":
			c.Token.Tag = value()
		case "--audience":
			c.Token.Audience = value()
		case "--ttl":
			c.Token.TTL, err = time.ParseDuration(value())
			ts.Check(err)
		case "--session-ttl":
			c.SessionTTL, err = time.ParseDuration(value())
			ts.Check(err)
		case "--aws-role":
			c.Roles = append(c.Roles, value())
		case "--service-account":
			c.GCPServiceAccounts = append(c.GCPServiceAccounts, value())
		case "--external-id":
			role, id, _ := strings.Cut(value(), "=")
			if c.ExternalIDs == nil {
				c.ExternalIDs = map[string]string{}
			}
			c.ExternalIDs[role] = id
		case "--untagged":
			c.Untagged = append(c.Untagged, value())
		default:
			ts.Fatalf("sandbox: unknown option %s", args[i])
		}
	}
	s, err := sandbox.Start(context.Background(), c)
	ts.Check(err)
	ts.Defer(func() { _ = s.Close() })
	set, unset := s.Environment()
	for _, name := range unset {
		// testscript cannot unset, and an empty AWS_PROFILE is one to botocore.
		if ts.Getenv(name) != "" {
			ts.Setenv(name, "")
		}
	}
	for name, v := range set {
		ts.Setenv(name, v)
	}
	ts.Setenv("SANDBOX_vault", set["VAULT_ADDR"])
	for service, name := range googleServices {
		ts.Setenv("SANDBOX_"+service, set[name])
	}
	ts.Setenv("PATH", s.Bin()+string(filepath.ListSeparator)+ts.Getenv("PATH"))
	held := secretsOf(ts)
	held.mu.Lock()
	held.from = append(held.from, s)
	held.mu.Unlock()
}

// exits runs a program and demands its exit code. Whatever happens, stderr
// holds no secret, and stdout no token; after a failure stdout is empty.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("cannot run: %v", err)
	}
	stdout, stderr := ts.ReadFile("stdout"), ts.ReadFile("stderr")
	noSecret(ts, "stderr", stderr, secretsOf(ts).all())
	if args[1] == "oidc-broker" && !slices.Contains(args, "--verbose") {
		briefly(ts, stderr)
	}
	for _, s := range secretsOf(ts).all() {
		if jobToken(s) {
			noSecret(ts, "stdout", stdout, []string{s})
		}
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
	// What ends as 1 to 6 is ours; exec passes on a child's own.
	if got >= 1 && got <= 6 && args[1] == "oidc-broker" && strings.Contains(stderr, "oidc-broker: error: ") && stdout != "" {
		ts.Fatalf("a failure printed on stdout: %q", stdout)
	}
}

// briefly demands that an error is read at a glance: no line of more than 160
// characters, and at most four hints after an error.
func briefly(ts *testscript.TestScript, stderr string) {
	hints := 0
	for line := range strings.Lines(stderr) {
		noun, _, _ := strings.Cut(strings.TrimPrefix(line, "oidc-broker: "), ": ")
		switch noun {
		case "hint":
			hints++
		case "error":
			hints = 0
		default:
			continue
		}
		if n := utf8.RuneCountInString(strings.TrimSpace(line)); n > 160 {
			ts.Fatalf("a line has %d characters: %s", n, line)
		}
		if hints > 4 {
			ts.Fatalf("an error has more than four hints")
		}
	}
}

// exitsSource runs an executable source, whose answer is the token: it exits 0
// and writes nothing to stderr, also when it fails.
func exitsSource(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: exits-source PROGRAM [ARG...]")
	}
	ts.Check(ts.Exec(args[0], args[1:]...))
	if stderr := ts.ReadFile("stderr"); stderr != "" {
		ts.Fatalf("stderr is not empty")
	}
}

// jobToken says whether a secret is a token of the issuer's, not one that a
// cloud made.
func jobToken(s string) bool {
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		return false
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	return err == nil && strings.Contains(string(claims), "https://oidc.circleci.com")
}

// noSecret looks for each secret, and for each part of a token but the header,
// whose text says nothing.
func noSecret(ts *testscript.TestScript, name, text string, all []string) {
	for _, s := range all {
		pieces := []string{s}
		if parts := strings.Split(s, "."); len(parts) == 3 {
			pieces = append(pieces, parts[1], parts[2])
		}
		for _, p := range pieces {
			if len(p) > 8 && strings.Contains(text, p) {
				ts.Fatalf("%s shows a secret", name)
			}
		}
	}
}

func mode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode 600 FILE")
	}
	if runtime.GOOS == "windows" {
		return
	}
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%o", info.Mode().Perm()); got != args[0] {
		ts.Fatalf("mode of %s is %s, want %s", args[1], got, args[0])
	}
}

func writeBytes(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: bytes FILE TEXT")
	}
	text, err := strconv.Unquote(`"` + strings.ReplaceAll(args[1], `"`, `\"`) + `"`)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// slowPrograms take seconds to start, or start others that do: only a full run has them.
var slowPrograms = []string{"aws", "gcloud", "gsutil", "bq", "python3", "node", "moto_server", "terraform", "botocore", "boto3", "google-auth-library"}

// condition knows [root], [full], and [missing:PROGRAM], [missing-python:MODULE] and
// [missing-node:MODULE] for what a machine may lack. In a full run
// it fails the script.
func condition(cond string) (bool, error) {
	kind, name, _ := strings.Cut(cond, ":")
	if slices.Contains(slowPrograms, name) && !testenv.IsFull() {
		return true, nil
	}
	var missing bool
	switch kind {
	case "root":
		return os.Geteuid() == 0, nil
	case "full":
		return testenv.IsFull(), nil
	case "missing":
		_, err := lookPath(name, os.Getenv("PATH"))
		missing = err != nil
	case "missing-python":
		missing = missingModule(name)
	case "missing-node":
		missing = missingNode(name)
	case "missing-file":
		_, err := os.Stat(name)
		missing = err != nil
	case "missing-dist":
		name, missing = "a snapshot, whose directory "+distEnv+" names,", os.Getenv(distEnv) == ""
	case "missing-mounts": // a container may forbid them
		return exec.Command("unshare", "-m", "mount", "--bind", ".", ".").Run() != nil, nil
	case "missing-vaultpeer":
		name, missing = "testdata/vaultpeer", missingVaultPeer()
	default:
		return false, fmt.Errorf("unknown condition %q", cond)
	}
	if missing && testenv.IsFull() {
		return false, fmt.Errorf("%s is not installed", name)
	}
	return missing, nil
}

func lookPath(name, path string) (string, error) {
	for _, dir := range filepath.SplitList(path) {
		p := filepath.Join(dir, name)
		if runtime.GOOS == "windows" {
			p += ".exe"
		}
		if info, err := os.Stat(p); err == nil && !info.IsDir() {
			return p, nil
		}
	}
	return "", fs.ErrNotExist
}
