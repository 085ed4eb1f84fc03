//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/pkg/cli"
	"github.com/oidc-broker/oidc-broker/pkg/sandbox"
	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// A killedKind is a kind of file that the program writes, by the commands that do.
type killedKind struct {
	name     string
	commands []string
	given    map[string]string // what is there before, below the home directory
}

const (
	foreignProfiles = "# mine\n\n[other]\r\naws_access_key_id = AKIAIOSFODNN7EXAMPLE ; kept\n[ci]\n# of ci\naws_access_key_id = old\n\n[last]\nx = y\n"
	foreignConfig   = "# mine\n[profile other]\nregion = eu-north-1 # kept\n[default]\noutput = json\n"
	foreignBash     = "export OTHER=1\n# no more\n"
	killedTargets   = `version: 1
aws:
  - profile: ci
    role-arn: ` + sandbox.DefaultRole + `
    region: eu-central-1
  - profile: more
    role-arn: ` + sandbox.DefaultRole + `
gcp:
  - name: g
    workload-identity-provider: ` + sandbox.DefaultGCPProvider + `
    configuration: g
vault:
  - name: v
    role: deploy
`
)

// killedKinds are all kinds. Where cleanup follows, each round makes the files anew,
// and a kill may come while they are removed.
var killedKinds = []killedKind{
	{"profile", []string{"aws profile --profile ci --region eu-west-1"}, map[string]string{"aws/credentials": foreignProfiles, "aws/config": foreignConfig}},
	{"bash-env", []string{"aws env --bash-env"}, map[string]string{"bash_env": foreignBash}},
	{"google", []string{"gcp login"}, nil},
	{"vault-token", []string{"vault login"}, map[string]string{".vault-token": "hvs.mine"}},
	{"cache", []string{"aws credential-process", "cleanup"}, nil},
	{"record", []string{"aws profile --profile ci", "cleanup"}, map[string]string{"aws/credentials": foreignProfiles}},
	{"apply", []string{"apply --file HOME/targets.yaml"}, map[string]string{
		"targets.yaml": killedTargets, "aws/credentials": foreignProfiles, "aws/config": foreignConfig, ".vault-token": "hvs.mine",
	}},
}

// TestKilledCommands: a process that runs commands over and over is killed at a
// random instant, for each kind of file that they write. Each file is the old one or
// the new one, the next run leaves no lock and no temporary file, and cleanup brings
// back what was there before, to the byte. OIDC_BROKER_FULL=2 kills 500 times.
func TestKilledCommands(t *testing.T) {
	testenv.NeedFull(t, "starts and kills hundreds of processes")
	for _, kind := range killedKinds {
		t.Run(kind.name, func(t *testing.T) {
			k := newKilling(t, kind)
			before := tree(t, k.home)
			old := k.forms()
			k.run(kind.commands[0])
			made := k.forms()
			k.runAll()
			end := k.forms()
			stray := 0
			for n := range testenv.Times(3, 500) {
				k.kill()
				if len(k.stray()) > 0 {
					stray++
				}
				for name, form := range k.forms() {
					if form != old[name] && form != made[name] {
						t.Fatalf("kill %d: %s is neither the old one nor the new one:\n%s", n+1, name, form)
					}
				}
				k.runAll()
				if left := k.stray(); len(left) > 0 {
					t.Fatalf("kill %d: the next run leaves %q", n+1, left)
				}
				if diff := cmp.Diff(end, k.forms()); diff != "" {
					t.Fatalf("kill %d: the next run makes (-want +got)\n%s", n+1, diff)
				}
			}
			k.run("cleanup")
			if diff := cmp.Diff(before, tree(t, k.home)); diff != "" {
				t.Errorf("cleanup does not bring back what was there (-want +got)\n%s", diff)
			}
			t.Logf("%d kills left something beside the files, which the next runs cleared", stray)
		})
	}
}

type killing struct {
	*testing.T
	killedKind
	sandbox *sandbox.Sandbox
	home    string
	set     map[string]string
}

func newKilling(t *testing.T, kind killedKind) *killing {
	t.Helper()
	k := &killing{T: t, killedKind: kind, home: homeInMemory(t)}
	k.sandbox, k.set = jobIn(t, k.home)
	for name, text := range kind.given {
		path := filepath.Join(k.home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

func (k *killing) args(command string) []string {
	return strings.Fields(strings.ReplaceAll(command, "HOME", k.home))
}

// run runs a command in this process: that is cheaper, and nobody kills it.
func (k *killing) run(command string) {
	k.Helper()
	var stdout, stderr bytes.Buffer
	ctx, cancel := context.WithTimeout(k.Context(), 2*time.Minute)
	defer cancel()
	w := world()
	w.Args, w.Stdin, w.Stdout, w.Stderr = k.args(command), strings.NewReader(""), &stdout, &stderr
	w.Getenv = func(name string) string { return k.set[name] }
	w.Environ = func() []string { return environ(k.set) } // a shortcut's name is the digest of all of it
	if status := cli.Main(ctx, w); status != 0 {
		k.Fatalf("%s: exit code %d\n%s", command, status, stderr.String())
	}
}

func (k *killing) runAll() {
	k.Helper()
	for _, c := range k.commands {
		k.run(c)
	}
}

// kill has another process run the commands once, and on until it is killed.
func (k *killing) kill() {
	k.Helper()
	var args []string
	for _, c := range k.commands {
		args = append(append(args, k.args(c)...), ";")
	}
	cmd := exec.Command("oidc-broker-again", args...)
	cmd.Dir, cmd.Env = k.home, environ(k.set)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		k.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		k.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err == nil {
		<-time.After(rand.N(40 * time.Millisecond))
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it says that it was killed
	if err != nil {
		k.Fatalf("the commands say %q, %v\n%s", line, err, stderr.String())
	}
}

// stray are the locks and the temporary files that there are.
func (k *killing) stray() (all []string) {
	k.Helper()
	for name := range tree(k.T, k.home) {
		if strings.Contains(name, ".oidc-broker.") {
			all = append(all, name)
		}
	}
	return all
}

// forms are the files but for what lies beside them, with a word in the place of
// each secret that is one of the sandbox's to its last byte. The record is not among
// them: it has to be one.
func (k *killing) forms() map[string]string {
	k.Helper()
	issued := map[string]bool{}
	for _, s := range k.sandbox.Issued() {
		issued[s] = true
	}
	forms := map[string]string{}
	for name, text := range tree(k.T, k.home) {
		switch {
		case strings.Contains(name, ".oidc-broker."), strings.HasPrefix(name, ".local/state/oidc-broker/undo/"), strings.HasPrefix(text, "d"):
		case name == ".local/state/oidc-broker/journal.json":
			if _, text, _ := strings.Cut(text, "\n"); !json.Valid([]byte(text)) {
				k.Fatalf("the record is no JSON:\n%s", text)
			}
		default:
			forms[name] = form(text, issued)
		}
	}
	return forms
}

func form(text string, issued map[string]bool) string {
	text = regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+(Z|[+-]\d\d:\d\d)`).ReplaceAllString(text, "TIME")
	text = regexp.MustCompile(`(?m)^[0-9a-f]{64}$`).ReplaceAllString(text, "DIGEST") // a cache's seal
	text = regexp.MustCompile(`\bASIA[A-Z0-9]{16}\b`).ReplaceAllString(text, "KEY")  // the sandbox does not count it as a secret
	return regexp.MustCompile(`[A-Za-z0-9+/=._-]{16,}`).ReplaceAllStringFunc(text, func(word string) string {
		if issued[word] {
			return "SECRET"
		}
		return word
	})
}

// tree is everything below a directory: its mode, a line break, and what is in it.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		var text []byte
		if d.Type().IsRegular() {
			if text, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		name, err := filepath.Rel(dir, path)
		all[filepath.ToSlash(name)] = fmt.Sprintf("%v\n%s", info.Mode(), text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// environ is a job's environment in the form of os.Environ.
func environ(set map[string]string) (all []string) {
	for _, name := range slices.Sorted(maps.Keys(set)) {
		all = append(all, name+"="+set[name])
	}
	return all
}
