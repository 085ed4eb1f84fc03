package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/cli"
	"github.com/oidc-broker/oidc-broker/pkg/sandbox"
	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// TestLeaks runs every command well, refused by servers that send back what they
// were sent, and given the token where it does not belong; with --verbose and with
// --quiet, and --help. Each has to do its work and to end with its exit code. While
// they run, the arguments and environments of all processes are looked at.
func TestLeaks(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("what processes look like is read from Linux's /proc")
	}
	testenv.NeedFull(t, "runs every command many times")
	lab := newLeakLab(t)
	defer lab.watch()()
	rows := map[string][]leakRow{}
	for _, row := range leakRows() {
		path := strings.TrimSpace("oidc-broker " + row.command)
		rows[path] = append(rows[path], row)
	}
	cli.Reference().Walk(func(m cli.Manual) {
		if len(rows[m.Path]) == 0 {
			t.Errorf("%s has no row: how could it leak?", m.Path)
		}
		for _, row := range rows[m.Path] {
			lab.row(row).all()
		}
		delete(rows, m.Path)
		if testenv.IsFull() {
			lab.row(leakRow{command: strings.TrimPrefix(strings.TrimPrefix(m.Path, "oidc-broker"), " ")}).misplaced()
		}
	})
	for path := range rows {
		t.Errorf("%s has a row, and is no command", path)
	}
	lab.serves()
}

// A leakLab is what the rows have in common.
type leakLab struct {
	*testing.T
	sandbox       *sandbox.Sandbox
	echo, second  string            // servers that refuse: each call, the one with what the first gave
	documents     map[string]string // files that each home has
	program, path string
	// What everything may show before a run begins, without the payloads of tokens:
	// those of two sandboxes have much in common.
	signatures *needles

	mu     sync.Mutex
	job    *needles // tokens of the job's
	clouds *needles // all else
	told   int      // of the sandbox's secrets, those that are in them
	run    *leakRun // that is going on
}

func newLeakLab(t *testing.T) *leakLab {
	program, err := exec.LookPath("oidc-broker")
	if err == nil {
		program, err = filepath.EvalSymlinks(program)
	}
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
	l := &leakLab{T: t, sandbox: s, program: program, signatures: newNeedles(), job: newNeedles(), clouds: newNeedles()}
	l.path = s.Bin() + string(filepath.ListSeparator) + os.Getenv("PATH")
	set, _ := s.Environment()
	l.echo, l.second = echoServer(t), secondServer(t, set)
	for _, token := range []string{set["CIRCLE_OIDC_TOKEN"], set["CIRCLE_OIDC_TOKEN_V2"]} {
		l.signatures.add(token[strings.LastIndexByte(token, '.')+1:])
	}
	l.documents = map[string]string{
		"oidc-broker.yaml": leakTargets, "cases.yaml": leakCases,
		"trust.json":    l.document("aws", "--account-id", "111122223333", "--role-name", "x"),
		"other.json":    l.document("aws", "--account-id", "111122223333", "--role-name", "x", "--project", "00000000-1111-4222-8333-444455556666"),
		"provider.json": l.document("gcp", "--project-number", "123456789012", "--pool-id", "circleci", "--provider-id", "circleci"),
		"role.json":     l.document("vault", "--role", "x"),
	}
	return l
}

// document is what policy new writes for the job.
func (l *leakLab) document(args ...string) string {
	l.Helper()
	r := l.row(leakRow{})
	cmd := r.command(r.Context(), leakTry{args: append([]string{"policy", "new"}, args...)})
	b, err := cmd.Output()
	if err != nil {
		l.Fatal(err)
	}
	return string(b)
}

const leakTargets = `version: 1
aws:
  - name: ci
    role-arn: ` + sandbox.DefaultRole + `
  - profile: staging
    role-arn: ` + sandbox.DefaultRole + `
    region: eu-central-1
  - profile: production
    via: ci
    role-arn: arn:aws:iam::222233334444:role/deploy
  - profile: long
    role-arn: ` + sandbox.DefaultRole + `
    mode: process
gcp:
  - name: deploy
    workload-identity-provider: ` + sandbox.DefaultGCPProvider + `
    service-account: ` + sandbox.DefaultGCPServiceAccount + `
    configuration: deploy
    project-id: my-project
vault:
  - name: token
    role: deploy
  - name: app
    role: deploy
    secret: secret/data/ci/app username=DB_USER password=DB_PASSWORD
    secrets-file: app.env
    secrets-format: sh
`

const leakCases = `documents:
  - aws: trust.json
    cases:
      - {name: main, expect: allow, token: {version: v1}}
      - {name: another project, expect: deny, token: {project: 00000000-1111-4222-8333-444455556666}}
`

// learn takes in what the sandbox has handed out since. The lock is held.
func (l *leakLab) learn() {
	all := l.sandbox.Issued()
	for _, s := range all[l.told:] {
		switch {
		case jobToken(s):
			l.job.add(s)
		case strings.HasPrefix(s, "eyJ"): // a token of Google's has claims like the job's
			l.clouds.add(s[strings.LastIndexByte(s, '.')+1:])
		default:
			l.clouds.add(s)
		}
	}
	l.told = len(all)
}

// shown says which secrets a text shows, how they are written.
func (l *leakLab) shown(text []byte) (job, cloud string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.learn()
	return l.find(text)
}

// find is shown, with the lock held and of what was learnt.
func (l *leakLab) find(text []byte) (job, cloud string) {
	tokens := l.job
	if l.run != nil && (l.run.row.command == "sandbox" || l.run.row.command == "gcp id-token") {
		tokens = l.signatures // they have other tokens with the same claims
	}
	return tokens.find(text), l.clouds.find(text)
}

// A leakRun is the runs of one row, in a home of its own.
type leakRun struct {
	*leakLab
	row  leakRow
	home string
	now  leakTry // that is going on
}

func (l *leakLab) row(row leakRow) *leakRun {
	r := &leakRun{leakLab: l, row: row, home: l.TempDir()}
	for name, text := range l.documents {
		if err := os.WriteFile(filepath.Join(r.home, name), []byte(text), 0o600); err != nil {
			l.Fatal(err)
		}
	}
	return r
}

// A leakTry is one command line.
type leakTry struct {
	args   []string
	exit   int
	well   bool // it does its work
	broken bool // its place for files cannot be one
	full   bool // stdout is a full disk
	at     string
	token  string // in place of the job's
	given  bool   // the token is in the arguments
}

// all runs the row in every way.
func (r *leakRun) all() {
	r.Helper()
	args := leakArgs(r.row.command + " " + r.row.args)
	verbose, quiet := append([]string{"--verbose"}, args...), append([]string{"--quiet"}, args...)
	refused := 4
	if r.row.online != 0 {
		refused = r.row.online
	}
	r.well(verbose)
	if !r.row.calls { // wherever the clouds are
		r.try(leakTry{args: quiet, exit: r.row.exit, at: r.echo})
		return
	}
	r.try(leakTry{args: verbose, exit: refused, at: r.echo})
	if r.row.second {
		r.try(leakTry{args: verbose, exit: refused, at: r.second})
	}
	if !testenv.IsFull() {
		return
	}
	r.well(quiet)
	r.try(leakTry{args: quiet, exit: refused, at: r.echo})
	set, _ := r.sandbox.Environment()
	if !r.row.mints {
		r.try(leakTry{args: verbose, exit: 3, token: set["CIRCLE_OIDC_TOKEN"] + ".more"})
	}
	if r.row.prints {
		r.try(leakTry{args: verbose, exit: 6, full: true})
	}
	if len(r.row.writes) > 0 && !r.row.prints {
		r.try(leakTry{args: verbose, exit: 6, broken: true})
	}
}

// leakArgs are the arguments of a command line.
func leakArgs(line string) []string {
	args := strings.Fields(line)
	for i := range args {
		args[i] = strings.Replace(strings.ReplaceAll(args[i], "~", " "), "CHILD", childScript, 1)
	}
	return args
}

// well runs the row, and what it needs before.
func (r *leakRun) well(args []string) {
	r.Helper()
	for _, line := range r.row.before {
		cmd := r.command(r.Context(), leakTry{args: leakArgs(line)})
		if out, err := cmd.CombinedOutput(); err != nil {
			r.Errorf("%s: %v\n%s", line, err, out)
		}
	}
	r.try(leakTry{args: args, exit: r.row.exit, well: true})
}

// misplaced gives a command the token where it does not belong, and asks for help.
func (r *leakRun) misplaced() {
	words := strings.Fields(r.row.command)
	argument := 2
	switch words := r.row.command; {
	case strings.HasPrefix(words, "policy lint "), strings.HasPrefix(words, "policy check "), words == "policy test":
		argument = 6 // no such file
	case words == "gcp executable-source":
		argument = 0 // as Google's protocol wants it
	}
	usage := min(argument, 2)
	r.try(leakTry{args: append(slices.Clone(words), "--help")})
	r.try(leakTry{args: append(slices.Clone(words), "--nonsense=TOKEN"), given: true, exit: usage})
	r.try(leakTry{args: append(slices.Clone(words), "TOKEN"), given: true, exit: argument})
	r.try(leakTry{args: append(slices.Clone(words), "--timeout=TOKEN"), given: true, exit: usage})
}

// command is the program in the environment of the job.
func (r *leakRun) command(ctx context.Context, x leakTry) *exec.Cmd {
	set, _ := r.sandbox.Environment()
	home := r.home
	if x.broken {
		home = filepath.Join(r.home, "cases.yaml") // a file
	}
	maps.Copy(set, map[string]string{
		"HOME": home, "PATH": r.path, "TMPDIR": r.home, "AWS_ROLE_ARN": sandbox.DefaultRole, "VAULT_ROLE": sandbox.DefaultVaultRole, "OIDC_BROKER_MAX_ATTEMPTS": "1",
		"OIDC_BROKER_TRUST_FILE":                 "true", // else apply refuses what a broken home keeps no record of
		"OIDC_BROKER_WORKLOAD_IDENTITY_PROVIDER": sandbox.DefaultGCPProvider, "GCP_SERVICE_ACCOUNT_EMAIL": sandbox.DefaultGCPServiceAccount,
		"BASH_ENV": filepath.Join(home, bashEnvFile), "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(home, filepath.FromSlash(awsFile)),
		"AWS_CONFIG_FILE": filepath.Join(home, "aws", "config"), "BAO_TOKEN_PATH": filepath.Join(home, vaultFile), "CLOUDSDK_CONFIG": filepath.Join(home, "gcloud"),
	})
	if x.at != "" {
		for _, name := range []string{"AWS_ENDPOINT_URL_STS", "CLOUDSDK_API_ENDPOINT_OVERRIDES_STS", "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS", "VAULT_ADDR"} {
			u, err := url.Parse(set[name])
			if err != nil {
				r.Fatal(err)
			}
			set[name] = x.at + u.Path
		}
	}
	args := slices.Clone(x.args)
	if x.given {
		last := len(args) - 1
		args[last] = strings.ReplaceAll(args[last], "TOKEN", set["CIRCLE_OIDC_TOKEN"])
	}
	if x.token != "" {
		set["CIRCLE_OIDC_TOKEN"] = x.token
	}
	cmd := exec.CommandContext(ctx, r.program, args...)
	cmd.Dir, cmd.WaitDelay = r.home, time.Second
	for name, value := range set {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

// try runs one command line and judges what it left.
func (r *leakRun) try(x leakTry) {
	r.Helper()
	r.mu.Lock()
	r.run, r.now = r, x
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
	defer cancel()
	cmd := r.command(ctx, x)
	child := &childWatch{run: r}
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = child, &stderr
	if x.full {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			r.Fatal(err)
		}
		defer func() { _ = full.Close() }()
		cmd.Stdout = full
	}
	if strings.Contains(r.row.args, childLooks) {
		in, err := cmd.StdinPipe()
		if err != nil {
			r.Fatal(err)
		}
		child.looked = func() { _ = in.Close() }
	} else {
		cmd.Stdin = strings.NewReader(r.documents[r.row.stdin])
	}
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		r.failf("%v", err)
		return
	}
	r.judge(x, cmd.ProcessState.ExitCode(), child, stderr.String())
}

func (r *leakRun) failf(format string, args ...any) {
	r.Helper()
	where := map[string]string{"": "", r.echo: " (refused)", r.second: " (refused the second time)"}[r.now.at]
	r.Errorf("%.50q%s: "+format, append([]any{r.now.args, where}, args...)...)
}

func (r *leakRun) judge(x leakTry, exit int, child *childWatch, stderr string) {
	r.Helper()
	stdout := child.out.String()
	if exit != x.exit {
		r.failf("exit code %d, want %d\n%s%s", exit, x.exit, r.masked(stdout), r.masked(stderr))
	}
	if job, cloud := r.shown([]byte(stderr)); job != "" || cloud != "" {
		r.failf("stderr shows a secret %s%s", job, cloud)
	}
	job, cloud := r.shown([]byte(stdout))
	if job != "" && (!r.row.token || x.given) {
		r.failf("stdout shows the token %s", job)
	}
	if cloud != "" && !(r.row.prints && x.at == "") {
		r.failf("stdout shows a secret %s", cloud)
	}
	places := r.files(slices.Concat(r.row.writes, []string{record}))
	if !x.well {
		return
	}
	if r.row.token != (job != "") || r.row.prints != (cloud != "") || !strings.Contains(stdout, r.row.says) {
		r.failf("it does not print what it should:\n%s", r.masked(stdout))
	}
	for _, place := range r.row.writes {
		if !places[place] {
			r.failf("no secret is in %s", place)
		}
	}
	if r.row.child != nil && child.seen == "" {
		r.failf("its child was not seen")
	}
}

// masked is what may be printed of an output by a test that fails.
func (r *leakRun) masked(text string) string {
	if job, cloud := r.shown([]byte(text)); job != "" || cloud != "" {
		return "(an output with secrets)\n"
	}
	return text
}

// files looks for secrets in every file below the home, and returns which of the
// places have some. All others must have none.
func (r *leakRun) files(places []string) map[string]bool {
	r.Helper()
	found := map[string]bool{}
	err := filepath.WalkDir(r.home, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		job, cloud := r.shown(b)
		if job == "" && cloud == "" {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name := filepath.ToSlash(strings.TrimPrefix(path, r.home+string(filepath.Separator)))
		at := slices.IndexFunc(places, func(p string) bool { return strings.HasPrefix(name, p) })
		if at < 0 || info.Mode().Perm() != 0o600 {
			r.failf("%s (%s) holds a secret %s%s", name, info.Mode(), job, cloud)
			return nil
		}
		found[places[at]] = true
		return nil
	})
	if err != nil {
		r.failf("%v", err)
	}
	return found
}

// A childWatch is a stdout on which a child says its number; it is looked at then.
type childWatch struct {
	out    bytes.Buffer // not embedded: io.Copy would go around Write, to its ReadFrom
	run    *leakRun
	looked func()
	seen   string
}

func (c *childWatch) Write(b []byte) (int, error) {
	n, err := c.out.Write(b)
	if c.looked == nil || c.seen != "" {
		return n, err
	}
	if m := regexp.MustCompile(`(?m)^child (\d+)$`).FindSubmatch(c.out.Bytes()); m != nil {
		c.seen = string(m[1])
		c.run.look(c.seen)
		c.looked()
	}
	return n, err
}

// look looks at a child that waits, at its environment and arguments, and at the
// files that are there while it runs.
func (r *leakRun) look(pid string) {
	env, err := os.ReadFile("/proc/" + pid + "/environ")
	if err != nil || len(env) == 0 {
		r.failf("its child's environment cannot be read: %v", err)
	}
	holds := map[string]bool{}
	for v := range bytes.SplitSeq(env, []byte{0}) {
		name, value, _ := strings.Cut(string(v), "=")
		if name == endpointToken && len(value) > shortestRun {
			r.mu.Lock()
			r.clouds.add(value)
			r.mu.Unlock()
		}
		if _, cloud := r.shown([]byte(value)); cloud != "" {
			holds[name] = true
		}
	}
	if got := slices.Sorted(maps.Keys(holds)); !slices.Equal(got, slices.Sorted(slices.Values(r.row.child))) {
		r.failf("its child has secrets in the variables %q, want %q", got, r.row.child)
	}
	r.mu.Lock()
	_ = r.inspect(pid, "")
	r.mu.Unlock()
	places := r.files(slices.Concat(r.row.during, r.row.writes, []string{record}))
	for _, place := range r.row.during {
		if !places[place] {
			r.failf("no secret is in %s while its child runs", place)
		}
	}
}

// watch looks at all processes until it is stopped.
func (l *leakLab) watch() (stop func()) {
	// What was looked at, by number, with its arguments. Those that are older than the
	// test have none of its secrets; one whose arguments are still the same can have
	// got no other environment. So it is cheap enough for every 10 ms, a third of what a start takes.
	seen := map[string]string{}
	const older = "\x00"
	for _, pid := range processes() {
		seen[pid] = older
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-time.After(10 * time.Millisecond):
			}
			now := map[string]string{}
			l.mu.Lock()
			l.learn()
			for _, pid := range processes() {
				if now[pid] = seen[pid]; now[pid] != older && l.run != nil {
					now[pid] = l.run.inspect(pid, seen[pid])
				}
			}
			l.mu.Unlock()
			seen = now
		}
	}()
	return func() { close(done); <-ended }
}

// processes are the numbers of all there are.
func processes() []string {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer func() { _ = dir.Close() }()
	names, _ := dir.Readdirnames(-1)
	return slices.DeleteFunc(names, func(name string) bool { return name[0] < '0' || name[0] > '9' })
}

// ours says whether a process descends from the test: others run beside it, with
// tokens of their own.
func ours(pid string) bool {
	for own := strconv.Itoa(os.Getpid()); pid != own; {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		// After its name, which may hold anything, come its state and its parent.
		f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if err != nil || len(f) < 2 || f[1] == "0" {
			return false
		}
		pid = f[1]
	}
	return true
}

// inspect looks at one process, which may end meanwhile: at its arguments, and at its
// environment if it is not the program itself. It returns its arguments, and looks at
// nothing more when they are those that were seen. The lock is held.
func (r *leakRun) inspect(pid, seen string) (arguments string) {
	r.Helper()
	dir := "/proc/" + pid
	line, err := os.ReadFile(dir + "/cmdline")
	if err != nil || len(line) == 0 || string(line) == seen {
		return string(line)
	}
	if !ours(pid) {
		return string(line)
	}
	job, cloud := r.find(line)
	if job != "" && !r.now.given || cloud != "" {
		r.failf("the arguments of a process show a secret %s%s", job, cloud)
	}
	exe, err := os.Readlink(dir + "/exe")
	if err != nil || exe == r.program { // until it executes another
		return ""
	}
	env, err := os.ReadFile(dir + "/environ")
	// Before it executes another program, a child is a copy of its parent.
	if again, err2 := os.Readlink(dir + "/exe"); err != nil || err2 != nil || again != exe {
		return ""
	}
	for v := range bytes.SplitSeq(env, []byte{0}) {
		name, _, _ := bytes.Cut(v, []byte("="))
		job, cloud := r.find(v)
		if job != "" && !(r.row.job && strings.HasPrefix(string(name), "CIRCLE_OIDC_TOKEN")) && string(name) != r.row.handed {
			r.failf("%s has the job's token in %s", filepath.Base(exe), name)
		}
		if cloud != "" && !slices.Contains(r.row.child, string(name)) {
			r.failf("%s has a secret in %s", filepath.Base(exe), name)
		}
	}
	return string(line)
}

// echoServer refuses everything, in the words of all clouds, and with all that was
// sent to it.
func echoServer(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(refuseAndEcho))
	t.Cleanup(s.Close)
	return s.URL
}

func refuseAndEcho(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	sent := r.URL.RawQuery + " " + string(body)
	for name := range r.Header {
		sent += " " + name + ": " + r.Header.Get(name)
	}
	switch {
	case strings.HasPrefix(r.URL.Path, "/v1/auth"), r.Header.Get("X-Vault-Token") != "":
		vaultSays(http.StatusForbidden, sent)(w, r, 1)
	case r.URL.Path == "/v1/token":
		refusesOAuth(http.StatusBadRequest, "invalid_grant", sent)(w, r, 1)
	case strings.HasPrefix(r.URL.Path, "/v1/projects/"):
		refusesAPI(http.StatusForbidden, "PERMISSION_DENIED", sent, "")(w, r, 1)
	default:
		refuse(w, http.StatusForbidden, "AccessDenied", sent)
	}
}

// secondServer lets the first call to a cloud pass to the sandbox, and refuses what
// comes with the credentials that it gave.
func secondServer(t *testing.T, set map[string]string) string {
	pass := func(name string) http.Handler {
		u, err := url.Parse(set[name])
		if err != nil {
			t.Fatal(err)
		}
		u.Path = ""
		return httputil.NewSingleHostReverseProxy(u)
	}
	aws, google, vault := pass("AWS_ENDPOINT_URL_STS"), pass("CLOUDSDK_API_ENDPOINT_OVERRIDES_STS"), pass("VAULT_ADDR")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		switch {
		case bytes.Contains(body, []byte("AssumeRoleWithWebIdentity")):
			aws.ServeHTTP(w, r)
		case r.URL.Path == "/v1/token":
			google.ServeHTTP(w, r)
		case strings.HasSuffix(r.URL.Path, "/login"), strings.HasSuffix(r.URL.Path, "/revoke-self"):
			vault.ServeHTTP(w, r)
		default:
			refuseAndEcho(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}
