package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// hostile are texts that a shell would make something of.
var hostile = []string{
	`$(touch canary)`,
	"`touch canary`",
	`"; touch canary; "`,
	`'; touch canary; '`,
	"two  words\tand a\nline",
	`${NO:-$(touch canary)} $((1+1)) $1 $$ $? ${ $`,
	`* ? [a-z] ~ \ \n %s %d -n --help`,
}

// evil is what a variable holds that a parameter names.
const evil = "$(touch canary) ${HOME} `touch canary` '\" "

// TestOrbRunsNoValue gives hostile texts to the parameters of each command, and to
// the variables that they name, and runs the steps with a program in place of
// oidc-broker that records what it gets: that is the text, to the byte.
func TestOrbRunsNoValue(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the shells are those of Unix")
	}
	testenv.NeedFull(t, "starts shells hundreds of times")
	packed, err := readYAML(orbPacked)
	if err != nil {
		t.Fatal(err)
	}
	for _, shell := range []string{"bash -eo pipefail", "dash -e"} {
		if missing, err := condition("missing:" + strings.Fields(shell)[0]); err != nil {
			t.Fatal(err)
		} else if missing {
			continue
		}
		for _, params := range hostileParameters(packed) {
			for _, text := range hostile {
				params.of(text).refused(t, packed, shell)
			}
		}
		all := strings.Join(hostile, " ")
		for _, command := range []string{"aws", "gcp", "vault", "exec"} {
			arrives(t, packed, shell, command, all, all)
			arrives(t, packed, shell, command, "-$EVIL-${EVIL}-$(EVIL)", "-"+evil+"-"+evil+"-$(EVIL)")
		}
	}
}

// An orbCall is one of a command with parameters.
type orbCall struct {
	command string
	params  map[string]any
	env     map[string]string // that the job has
}

// hostileParameters are calls with one parameter that nobody gets to see but
// the script, which has to refuse what is not of its form.
func hostileParameters(packed map[string]any) []orbCall {
	var calls []orbCall
	for name, p := range parametersOf(packed, "install") {
		if p["type"] == "string" {
			calls = append(calls, orbCall{command: "install", params: map[string]any{"download_base_url": "http://127.0.0.1:1", name: ""}})
		}
	}
	for _, name := range []string{"google_compute_zone", "google_compute_region"} {
		calls = append(calls, orbCall{command: "gcp", params: map[string]any{"skip_broker_install": true, name: "NAMED"}})
	}
	return calls
}

// of puts a text where it belongs.
func (c orbCall) of(text string) orbCall {
	c.params = maps.Clone(c.params)
	c.env = map[string]string{"NAMED": text}
	for name, value := range c.params {
		if value == "" {
			c.params[name] = text
		}
	}
	return c
}

func (c orbCall) refused(t *testing.T, packed map[string]any, shell string) {
	t.Helper()
	said, _ := c.run(t, packed, shell)
	if !strings.Contains(said, "oidc-broker orb: error: ") {
		t.Errorf("%s %q is not refused in %s: %s", c.command, c.params, shell, said)
	}
}

// arrives demands that a text reaches oidc-broker from each parameter, and from
// each variable that one names.
func arrives(t *testing.T, packed map[string]any, shell, command, given, want string) {
	t.Helper()
	for _, provider := range []string{"aws", "gcp", "vault"} {
		if provider != command && command != "exec" {
			continue
		}
		c := orbCall{command: command, params: map[string]any{"skip_broker_install": true}, env: map[string]string{"EVIL": evil, "NAMED": given}}
		if command == "exec" {
			c.params["provider"], c.params["command"] = provider, "true"
		}
		texts, names := 0, 0
		for name, p := range parametersOf(packed, command) {
			switch {
			case !passedOn(name) || c.params[name] != nil || parametersOf(packed, provider)[name] == nil:
			case p["type"] == "string":
				c.params[name] = given
				texts++
			case p["type"] == "env_var_name" && !strings.HasPrefix(name, "google_compute_"):
				c.params[name] = "NAMED"
				names++
			}
		}
		said, recorded := c.run(t, packed, shell)
		if got := counted(recorded, want); got < texts {
			t.Errorf("%s in %s: %d texts of %d arrived as %q; it said:\n%s", command, shell, got, texts, want, said)
		}
		// A variable's value is never looked at again.
		if got := counted(recorded, given); got < names {
			t.Errorf("%s in %s: %d variables of %d arrived as %q; it said:\n%s", command, shell, got, names, given, said)
		}
	}
}

func counted(recorded []string, want string) int {
	names := map[string]bool{}
	for _, r := range recorded {
		name, value, _ := strings.Cut(r, "=")
		// A path that is not absolute is one of the directory.
		if value == want || name == "" && strings.HasSuffix(value, "/"+want) {
			names[name] = true
		}
	}
	// What the job and the step have set is not what the script passed on.
	for name := range names {
		if name == "NAMED" || strings.HasPrefix(name, "ORB_") {
			delete(names, name)
		}
	}
	return len(names)
}

func parametersOf(packed map[string]any, command string) map[string]map[string]any {
	all := map[string]map[string]any{}
	parameters := section(section(section(packed, "commands"), command), "parameters")
	for name := range parameters {
		all[name] = section(parameters, name)
	}
	return all
}

// passedOn says whether oidc-broker gets to see a parameter.
func passedOn(parameter string) bool {
	switch parameter {
	case "version", "install_dir", "binary_dir", "aws_access_key_id", "aws_secret_access_key", "components", "gcloud_service_key":
		return false
	case "token_version", "audience": // one excludes the other
		return false
	}
	return !strings.HasPrefix(parameter, "broker_")
}

// run runs a command's steps, and returns what was printed and what the program
// got: NAME=VALUE of its environment, =ARGUMENT.
func (c orbCall) run(t *testing.T, packed map[string]any, shell string) (said string, recorded []string) {
	t.Helper()
	steps, err := expander{published: true}.call("orb/"+c.command, c.params, scope{orbs: map[string]scope{"orb": {top: packed, orb: true}}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	record, later := filepath.Join(dir, "record"), filepath.Join(dir, "bash_env")
	writeProgram(t, filepath.Join(dir, "bin", "oidc-broker"), "{ printf '=%s\\0' \"$@\"; env -0; } >>\"$RECORD\"")
	writeProgram(t, filepath.Join(dir, "bin", "curl"), "exit 22") // nobody asks a server
	path := filepath.Join(dir, "bin") + ":" + os.Getenv("PATH")
	var out strings.Builder
	for _, s := range steps {
		argv := append(strings.Fields(shell), "-c", s.command)
		p := exec.Command(argv[0], argv[1:]...)
		p.Dir, p.Stdout, p.Stderr = dir, &out, &out
		p.Env = []string{"PATH=" + path, "HOME=" + dir, "RECORD=" + record, "BASH_ENV=" + later}
		for _, m := range []map[string]string{c.env, s.env} {
			for name, value := range m {
				p.Env = append(p.Env, name+"="+value)
			}
		}
		if p.Run() != nil {
			break
		}
	}
	if text, err := os.ReadFile(later); err == nil && len(text) > 0 {
		p := exec.Command("bash", "-c", `. "$1"`, "bash", later)
		p.Dir = dir
		if text, err := p.CombinedOutput(); err != nil || len(text) > 0 {
			t.Errorf("%s %q: $BASH_ENV says %q, %v", c.command, c.params, text, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "canary")); err == nil {
		t.Fatalf("%s in %s: one of %q was run", c.command, shell, c.params)
	}
	b, _ := os.ReadFile(record)
	return out.String(), strings.Split(string(b), "\x00")
}

func writeProgram(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	// #nosec G306 -- a program has to be executable
	if err := os.WriteFile(path, fmt.Appendf(nil, "#!/bin/sh\n%s\n", text), 0o700); err != nil {
		t.Fatal(err)
	}
}
