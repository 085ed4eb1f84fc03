package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/cli"
	"github.com/oidc-broker/oidc-broker/pkg/sandbox"
	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// again runs commands, each of which ends with ";", over and over until somebody
// kills it. It prints a line each time all have run.
func again() {
	harden()
	for {
		var command []string
		for _, a := range os.Args[1:] {
			if a != ";" {
				command = append(command, a)
				continue
			}
			w := world()
			w.Args, w.Stdout = command, io.Discard
			if status := cli.Main(context.Background(), w); status != 0 {
				os.Exit(status)
			}
			command = nil
		}
		fmt.Println("ran")
	}
}

// jobIn starts a sandbox and returns the environment of a job with this home.
func jobIn(t *testing.T, home string) (*sandbox.Sandbox, map[string]string) {
	t.Helper()
	s, err := sandbox.Start(t.Context(), sandbox.Config{Now: time.Now, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	set, _ := s.Environment()
	for _, name := range []string{"CLOUDSDK_CONFIG", "XDG_CACHE_HOME", "XDG_STATE_HOME"} {
		delete(set, name)
	}
	maps.Copy(set, map[string]string{
		"HOME": home, "PATH": os.Getenv("PATH"), "AWS_ROLE_ARN": sandbox.DefaultRole, "OIDC_BROKER_TIMEOUT": "5m",
		"OIDC_BROKER_WORKLOAD_IDENTITY_PROVIDER": sandbox.DefaultGCPProvider, "GCP_SERVICE_ACCOUNT_EMAIL": sandbox.DefaultGCPServiceAccount,
		"BASH_ENV": filepath.Join(home, "bash_env"), "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(home, "aws", "credentials"),
		"AWS_CONFIG_FILE": filepath.Join(home, "aws", "config"), "BAO_TOKEN_PATH": filepath.Join(home, ".vault-token"),
	})
	return s, set
}

// homeInMemory is a directory in memory where there is such a place: the disk is not
// what the tests are about that write thousands of times.
func homeInMemory(t *testing.T) string {
	t.Helper()
	if info, err := os.Stat("/dev/shm"); err != nil || !info.IsDir() {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "oidc-broker-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// together is how many processes run at once.
const together = 64

// TestManyCommandsAtOnce: 64 processes write into one file, or ask one cache, round
// after round. Everything is there, what others wrote is untouched, nothing is left
// beside the files. OIDC_BROKER_FULL=2 takes 20 rounds.
func TestManyCommandsAtOnce(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the sandbox's environment of a job is that of a Unix")
	}
	testenv.NeedFull(t, "starts hundreds of processes")
	for name, round := range map[string]func(*crowd, int){"profiles": (*crowd).profiles, "bash-env": (*crowd).blocks, "cache": (*crowd).cache} {
		t.Run(name, func(t *testing.T) {
			c := newCrowd(t)
			few := 1
			if name == "cache" {
				few = 2 // the second is another one
			}
			rounds := testenv.Times(few, 20)
			start := time.Now()
			for n := range rounds {
				round(c, n)
				c.nothingBeside()
			}
			t.Logf("%d rounds of %d processes in %s", rounds, together, time.Since(start).Round(time.Second))
			c.atOnce(1, func(int) []string { return []string{"oidc-broker", "cleanup"} })
			if got := c.read("aws/credentials") + c.read("aws/config"); name != "bash-env" && got != c.profilesBefore+c.configBefore {
				t.Errorf("cleanup leaves\n%s", got)
			}
			if matches, _ := filepath.Glob(filepath.Join(c.home, ".*", "*")); len(matches) > 0 {
				t.Errorf("cleanup leaves %q", matches)
			}
		})
	}
}

// crowd is what the processes of one test share.
type crowd struct {
	*testing.T
	sandbox *sandbox.Sandbox
	home    string
	set     map[string]string
	keys    map[string]string // of the last round, by profile

	profilesBefore, configBefore, bashBefore string
}

func newCrowd(t *testing.T) *crowd {
	t.Helper()
	c := &crowd{T: t, home: homeInMemory(t), keys: map[string]string{}}
	c.sandbox, c.set = jobIn(t, c.home)
	// Every other profile and block is there already, between what is others'.
	p, cf, b := "# mine, first line\r\n\n[default]\naws_access_key_id=AKIAIOSFODNN7EXAMPLE ; kept\n", "[default]\noutput = json\n", "export OTHER=1\n"
	for i := 0; i < together; i += 2 {
		p += fmt.Sprintf("\n[p%02d]\naws_access_key_id = x\naws_secret_access_key = x\naws_session_token = x\n# below p%02d\n[foreign %02d]\n\tk = \u00fc%d\r\n", i, i, i, i)
		cf += fmt.Sprintf("[profile p%02d]\nregion = x\n; below p%02d\n", i, i)
		b += fmt.Sprintf("export W%d=\"$V\" # below\n", i)
	}
	c.profilesBefore, c.configBefore, c.bashBefore = p, cf, b
	if err := os.Mkdir(filepath.Join(c.home, "aws"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"aws/credentials": p, "aws/config": cf, "bash_env": b} {
		if err := os.WriteFile(filepath.Join(c.home, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// atOnce runs n processes at once and returns what they print.
func (c *crowd) atOnce(n int, args func(i int) []string) []string {
	c.Helper()
	outs := make([]string, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			a := args(i)
			cmd := exec.CommandContext(c.Context(), a[0], a[1:]...)
			cmd.Dir = c.home
			for name, value := range c.set {
				cmd.Env = append(cmd.Env, name+"="+value)
			}
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			err := cmd.Run()
			// What was written or cleaned up is one line, and the job's region a note; all
			// else is too much.
			if line := regexp.MustCompile(`^oidc-broker: (?:wrote (?:profile|variables)|cleaned up:) .*\n(?:oidc-broker: note: AWS_REGION and AWS_DEFAULT_REGION are us-east-1 .*\n)?$`).Find(stderr.Bytes()); err != nil || len(line) != stderr.Len() {
				c.Errorf("%q: %v\n%s", a, err, stderr.String())
			}
			outs[i] = stdout.String()
		})
	}
	all.Wait()
	if c.Failed() {
		c.FailNow()
	}
	return outs
}

func (c *crowd) read(name string) string {
	c.Helper()
	b, err := os.ReadFile(filepath.Join(c.home, filepath.FromSlash(name)))
	if err != nil {
		c.Fatal(err)
	}
	return string(b)
}

// ours takes out of a file what a pattern knows as ours, and returns that, and the
// rest of the file.
func (c *crowd) ours(name, pattern string) (ours [][]string, rest string) {
	c.Helper()
	re := regexp.MustCompile(pattern)
	text := c.read(name)
	return re.FindAllStringSubmatch(text, -1), re.ReplaceAllString(text, "")
}

const (
	ourProfile = `\[p(\d\d)\]\r?\naws_access_key_id = (\S+)\r?\naws_secret_access_key = (\S+)\r?\naws_session_token = (\S+)\r?\n`
	ourRegion  = `\[profile p(\d\d)\]\r?\nregion = (\S+)\r?\n`
	ourBlock   = `# >>> oidc-broker (\w+) >>>\r?\n((?:[^#].*\n)+)# <<< oidc-broker \w+ <<<\r?\n`
)

// foreign holds the rest of a file against the rest of what was there before.
func (c *crowd) foreign(name, rest, before, pattern string) {
	c.Helper()
	if want := regexp.MustCompile(pattern).ReplaceAllString(before, ""); rest != want {
		c.Fatalf("%s: others' bytes are\n%q\nand were\n%q", name, rest, want)
	}
}

func (c *crowd) profiles(n int) {
	c.Helper()
	region := fmt.Sprintf("eu-west-%d", n+1)
	c.atOnce(together, func(i int) []string {
		return []string{"oidc-broker", "aws", "profile", "--profile", fmt.Sprintf("p%02d", i), "--region", region}
	})
	issued := map[string]bool{}
	for _, s := range c.sandbox.Issued() {
		issued[s] = true
	}
	written, rest := c.ours("aws/credentials", ourProfile)
	c.foreign("credentials", rest, c.profilesBefore, ourProfile)
	keys := map[string]string{}
	for _, m := range written {
		if !issued[m[3]] || !issued[m[4]] || c.keys[m[1]] == m[2] {
			c.Fatalf("round %d: profile p%s is not this round's", n, m[1])
		}
		keys[m[1]] = m[2]
	}
	regions, rest := c.ours("aws/config", ourRegion)
	c.foreign("config", rest, c.configBefore, ourRegion)
	for _, m := range regions {
		if m[2] != region {
			c.Fatalf("round %d: profile p%s has region %s", n, m[1], m[2])
		}
	}
	if len(written) != together || len(keys) != together || len(regions) != together {
		c.Fatalf("round %d: %d profiles of %d names and %d regions, want %d", n, len(written), len(keys), len(regions), together)
	}
	c.keys = keys
}

// blocks has half of the processes write the block of one cloud, half that of another.
func (c *crowd) blocks(n int) {
	c.Helper()
	commands := [][]string{{"oidc-broker", "aws", "env", "--bash-env"}, {"oidc-broker", "gcp", "env", "--bash-env"}}
	c.atOnce(together, func(i int) []string { return commands[i%len(commands)] })
	blocks, rest := c.ours("bash_env", ourBlock)
	c.foreign("$BASH_ENV", rest, c.bashBefore, ourBlock)
	if len(blocks) != len(commands) || blocks[0][1] == blocks[1][1] {
		c.Fatalf("round %d: the blocks %q", n, blocks)
	}
	issued := c.sandbox.Issued()
	for _, m := range blocks {
		if m[1] == "aws" && !slices.ContainsFunc(issued, func(s string) bool { return strings.Contains(m[2], "AWS_SESSION_TOKEN='"+s+"'") }) {
			c.Fatalf("round %d: the block's session token was not issued: %q", n, m[2])
		}
	}
}

// cache begins without one. In one round all processes ask for the same credentials,
// in the next one each for its own.
func (c *crowd) cache(n int) {
	c.Helper()
	dir := filepath.Join(c.home, ".cache", "oidc-broker")
	if err := os.RemoveAll(dir); err != nil {
		c.Fatal(err)
	}
	want := 1 + n%2*(together-1)
	outs := c.atOnce(together, func(i int) []string {
		return []string{"oidc-broker", "aws", "credential-process", "--role-session-name", fmt.Sprintf("s%02d", i%want)}
	})
	different := map[string]bool{}
	for _, out := range outs {
		if !strings.Contains(out, `"SecretAccessKey"`) {
			c.Fatalf("round %d: a process prints %q", n, out)
		}
		different[out] = true
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		c.Fatal(err)
	}
	entries := 0 // beside them are names under which a command line finds its own again
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil || len(b) == 0 {
			c.Fatalf("round %d: %s: %v", n, f.Name(), err)
		}
		if strings.Contains(string(b), "secretAccessKey") {
			entries++
		}
	}
	if len(different) != want || entries != want {
		c.Fatalf("round %d: %d exchanges and %d entries, want %d", n, len(different), entries, want)
	}
}

// nothingBeside looks for locks and temporary files.
func (c *crowd) nothingBeside() {
	c.Helper()
	for _, pattern := range []string{".*.oidc-broker.*", "*/.*.oidc-broker.*", "*/*/.*.oidc-broker.*", "*/*/*/.*.oidc-broker.*"} {
		left, err := filepath.Glob(filepath.Join(c.home, pattern))
		if err != nil || len(left) > 0 {
			c.Fatalf("left: %q, %v", left, err)
		}
	}
}
