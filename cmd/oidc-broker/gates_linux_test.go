package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// checkStart holds what the program asks the kernel for.
func checkStart(t *testing.T, binary string) {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		return
	}
	t.Run("calls", func(t *testing.T) { checkCalls(t, binary) })
}

// A callsGate is what a command may ask the kernel for.
type callsGate struct {
	args    string
	files   []touched // beside those of every start
	most    int       // calls that depend on neither time nor scheduling
	sockets int       // of the internet's
}

// A touched pattern says which files are looked at, with which call, and how often:
// as often as that, and not more.
type touched struct {
	pattern string
	times   int
}

// everyStart is what Go's runtime looks at, where it is there, and a package that
// is initialised.
var everyStart = []touched{
	{`execve $BIN`, 1},
	{`openat /sys/kernel/mm/transparent_hugepage/hpage_pmd_size`, 1},
	// How many processors this process may have.
	{`openat /proc/self/(cgroup|mountinfo)`, 2},
	{`openat /sys/fs/cgroup/.*cpu[.](max|cfs_quota_us|cfs_period_us)`, 2},
	// protobuf's internal/detrand reads 512 bytes of the program, so that nobody
	// relies on what its texts look like.
	{`readlinkat /proc/self/exe`, 1},
	{`openat $BIN`, 1},
}

var callsGates = []callsGate{
	{"version", nil, mostCallsVersion, 0},
	{"aws credential-process", []touched{
		// Nobody else may write the directory, else what is in it is not believed.
		{`newfstatat $HOME/.cache/oidc-broker`, 2},
		{`openat $HOME/.cache/oidc-broker/[0-9a-f]{64}[.]ref`, 1},
		{`openat $HOME/.cache/oidc-broker/[0-9a-f]{64}[.]json`, 1},
	}, mostCallsCached, 0},
	// Neither a home directory, nor a resolver's files, nor who one is. Of the
	// authorities the bundle alone, once.
	{"aws env", []touched{
		{`openat $DIR/has[.]pem`, 1},
		{`newfstatat ($DIR/has[.]pem|/dev/null)`, 2},     // is it a pipe, which would have to be waited for?
		{`newfstatat $HOME/aws/(credentials|config)`, 2}, // the region, and what the SDKs would refuse
	}, mostCallsEnv, 1},
}

// checkCalls runs commands under strace: what they ask the kernel for is the same on
// every machine but for what waits and wakes.
func checkCalls(t *testing.T, binary string) {
	needStrace(t)
	home := t.TempDir()
	_, set := jobIn(t, home)
	sts := set["AWS_ENDPOINT_URL_STS"]
	// environ is that of a job whose server's authority has a name.
	environ := func(name, dir string) (all []string) {
		ca := newAuthorityNamed(t, name)
		trustFiles(t, dir, ca)
		set["AWS_ENDPOINT_URL_STS"], set["SSL_CERT_FILE"] = newTLSFront(t, ca, sts).url, filepath.Join(dir, "has.pem")
		for name, value := range set {
			all = append(all, name+"="+value)
		}
		return all
	}
	dir := t.TempDir()
	env := environ("Amazon Root CA 9", dir)
	names := map[string]string{"$BIN": binary, "$HOME": home, "$DIR": dir}
	traced(t, env, binary, "aws", "credential-process") // so that there is a cache
	for _, gate := range callsGates {
		got := traced(t, env, append([]string{binary}, strings.Fields(gate.args)...)...)
		for _, problem := range gate.judge(got, names) {
			t.Errorf("%s %s", gate.args, problem)
		}
		t.Logf("%s: %d calls", gate.args, got.steady())
	}
	// The gate sees: an authority that is not tried first costs a second connection,
	// and all files of all directories.
	dir = t.TempDir()
	names["$DIR"], set["SSL_CERT_DIR"] = dir, filepath.Join(dir, "certs")
	gate := callsGates[len(callsGates)-1]
	said := strings.Join(gate.judge(traced(t, environ("Corp Private CA", dir), binary, "aws", "env"), names), "\n")
	for _, want := range []string{"touches openat " + dir + "/certs/corp.crt", "openat $DIR/has[.]pem 3 times, want 1", "opens 2 sockets, want 1", "calls, the bound is"} {
		if !strings.Contains(said, want) {
			t.Errorf("the gate does not see %q, only\n%s", want, said)
		}
	}
}

// needStrace ends the test where there is no strace, or none that may trace.
func needStrace(t *testing.T) {
	t.Helper()
	testenv.Program(t, "strace")
	if out, err := exec.CommandContext(t.Context(), "strace", "-o", os.DevNull, "true").CombinedOutput(); err != nil {
		testenv.Missing(t, fmt.Sprintf("the right to trace (%s)", out))
	}
}

// judge says what is wrong with a run. names are what stands for them in patterns.
func (g callsGate) judge(got trace, names map[string]string) (problems []string) {
	all := slices.Concat(everyStart, g.files)
	seen := make([]int, len(all))
	for _, file := range got.files {
		n := slices.IndexFunc(all, func(f touched) bool {
			pattern := f.pattern
			for name, value := range names {
				pattern = strings.ReplaceAll(pattern, name, regexp.QuoteMeta(value))
			}
			return regexp.MustCompile(`^(?:` + pattern + `)$`).MatchString(file)
		})
		if n < 0 {
			problems = append(problems, "touches "+file)
			continue
		}
		seen[n]++
	}
	for n, f := range all {
		if seen[n] > f.times || n >= len(everyStart) && seen[n] < f.times {
			problems = append(problems, fmt.Sprintf("%s %d times, want %d", f.pattern, seen[n], f.times))
		}
	}
	if got.inet != g.sockets {
		problems = append(problems, fmt.Sprintf("opens %d sockets, want %d", got.inet, g.sockets))
	}
	if n := got.steady(); n > g.most {
		problems = append(problems, fmt.Sprintf("makes %d calls, the bound is %d: %v", n, g.most, got.calls))
	}
	return problems
}

// A trace is what a run asked the kernel for.
type trace struct {
	calls map[string]int // how often, by name
	files []string       // "CALL PATH"
	inet  int            // sockets of the internet's
}

// steady counts the calls that neither time nor scheduling adds: not those for
// threads, signals, memory, waiting and waking, nor those that meet a pipe or
// a connection which has nothing yet, nor those of the runtime's watchman, who
// looks again and again how many processors there are.
func (t trace) steady() (n int) {
	calls := maps.Clone(t.calls)
	for name := range calls {
		switch name {
		case "clone", "clone3", "exit", "exit_group", "gettid", "getpid", "tgkill", "sigaltstack", "set_robust_list", "rseq",
			"mmap", "munmap", "madvise", "prctl", "futex", "nanosleep", "epoll_pwait", "sched_yield", "restart_syscall",
			"read", "write", "getrandom", "pread64", "sched_getaffinity":
		default:
			if !strings.HasPrefix(name, "rt_sig") {
				n += calls[name]
			}
		}
	}
	return n
}

// traced runs the program under strace. Each thread has a file of its own, so that
// no call is cut in two.
func traced(t *testing.T, env []string, argv ...string) trace {
	t.Helper()
	dir := t.TempDir()
	// The program makes itself unreadable for other processes: also for strace,
	// unless root runs it. So prctl does nothing here.
	cmd := exec.CommandContext(t.Context(), "strace", append([]string{"-ff", "-qq", "-s", "4096", "-e", "inject=prctl:retval=0", "-o", filepath.Join(dir, "t"), "--"}, argv...)...)
	cmd.Env, cmd.Dir = env, t.TempDir()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil || stderr.Len() > 0 {
		t.Fatalf("%q: %v\n%s", argv, err, stderr.String())
	}
	threads, err := filepath.Glob(filepath.Join(dir, "t.*"))
	if err != nil || len(threads) == 0 {
		t.Fatalf("strace wrote nothing (%v)", err)
	}
	all := trace{calls: map[string]int{}}
	for _, thread := range threads {
		b, err := os.ReadFile(thread)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			all.add(line)
		}
	}
	return all
}

// add takes a line of strace's.
func (t *trace) add(line string) {
	name, arguments, ok := strings.Cut(line, "(")
	if !ok || strings.ContainsAny(name, "+- ") {
		return // a signal, or the end
	}
	t.calls[name]++
	switch name {
	case "read", "write", "pread64", "pwrite64", "sendto", "recvfrom", "getrandom", "prctl":
		return // a text, not a path
	case "socket":
		if strings.HasPrefix(arguments, "AF_INET") {
			t.inet++
		}
	}
	// A path is the first argument, or the second one behind its directory.
	if m := regexp.MustCompile(`^(?:(?:AT_FDCWD|\d+), )?"((?:[^"\\]|\\.)*)"`).FindStringSubmatch(arguments); m != nil {
		t.files = append(t.files, name+" "+m[1])
	}
}
