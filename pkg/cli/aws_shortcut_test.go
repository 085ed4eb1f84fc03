package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// short says whether there is a shortcut for a command line, and what it answers.
func (l *awsLab) short(args ...string) (string, bool) {
	var out, err bytes.Buffer
	a := &app{World: l.world(append([]string{"aws", "credential-process"}, args...), &out, &err)}
	status, done := a.shortcut(context.Background())
	if done && (status != 0 || err.Len() > 0) {
		l.t.Errorf("the shortcut ends with %d: %s", status, &err)
	}
	return out.String(), done
}

// TestShortcut: it answers what the command answers, and nothing once anything that
// could matter is not as it was.
func TestShortcut(t *testing.T) {
	l := newAWSLab(t)
	if _, done := l.short(); done {
		t.Error("before there is an answer")
	}
	want := l.ask()
	if got, done := l.short(); !done || got != want {
		t.Errorf("not the command's answer: %t", done)
	}
	for _, args := range [][]string{{"--verbose"}, {"--role-session-name", "x"}, {"--no-cache"}, {"--help"}} {
		if _, done := l.short(args...); done {
			t.Errorf("it answers %q", args)
		}
	}
	for name, value := range map[string]string{
		"AWS_REGION": "eu-west-1", "AWS_CA_BUNDLE": "/x", "OIDC_BROKER_NO_CACHE": "1", "OIDC_BROKER_VERBOSE": "1", "CIRCLE_JOB": "x", "CIRCLE_OIDC_TOKEN": "x", "HOME": "/x",
		"CIRCLE_WORKFLOW_JOB_ID": "x", "XDG_CACHE_HOME": "/x", "AWS_ENDPOINT_URL_STS": "https://x.example",
	} {
		before := l.env[name]
		l.set(name, value)
		if _, done := l.short(); done {
			t.Errorf("it answers with another %s", name)
		}
		l.set(name, before)
		if before == "" {
			delete(l.env, name)
		}
	}
	if got, done := l.short(); !done || got != want {
		t.Error("nothing has changed")
	}
	for _, step := range []time.Duration{46 * time.Minute, -2 * time.Hour} {
		l.pass(step)
		if _, done := l.short(); done {
			t.Errorf("it answers %s later", step)
		}
		l.pass(-step)
	}
	if runtime.GOOS == "windows" {
		return // modes as unix has them
	}
	entries, _ := filepath.Glob(filepath.Join(l.cacheDir(), "*.json"))
	for _, path := range entries {
		if err := os.Chmod(path, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if _, done := l.short(); done {
		t.Error("it answers from what others can read")
	}
}

// TestNoShortcut: what depends on more than the command line and the environment, or
// prints more, takes the long way.
func TestNoShortcut(t *testing.T) {
	l := newAWSLab(t)
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	l.set("MINE", l.env["CIRCLE_OIDC_TOKEN"])
	for _, args := range [][]string{
		{"--policy", file("policy", `{"Version":"2012-10-17","Statement":[]}`)},
		{"--token-file", file("token", l.env["CIRCLE_OIDC_TOKEN"])},
		{"--token-env", "MINE"},
		{"--role-session-name", "a b"}, // a note says that it is changed
		{"--verbose"},
		{"--no-cache"},
	} {
		for range 2 {
			if code, _, stderr := l.run(append([]string{"aws", "credential-process"}, args...)...); code != 0 {
				t.Fatalf("%q: %s", args, stderr)
			}
		}
		if _, done := l.short(args...); done {
			t.Errorf("%q has a shortcut", args)
		}
	}
}

// TestShortcutKnowsWhatIsRead: each variable that the command reads is a part of the
// shortcut's name.
func TestShortcutKnowsWhatIsRead(t *testing.T) {
	l := newAWSLab(t)
	l.ask()
	var out, errs bytes.Buffer
	w := l.world([]string{"aws", "credential-process"}, &out, &errs)
	read := map[string]bool{}
	getenv := w.Getenv
	w.Getenv = func(name string) string { read[name] = true; return getenv(name) }
	w.Args = append(w.Args, "--quiet") // the long way
	if code := Main(context.Background(), w); code != 0 {
		t.Fatal(errs.String())
	}
	for name := range read {
		one, other := l.world(nil, &out, &errs), l.world(nil, &out, &errs)
		one.Environ = func() []string { return []string{name + "=a"} }
		other.Environ = func() []string { return []string{name + "=b"} }
		if (&app{World: one}).shortcutName() == (&app{World: other}).shortcutName() && !strings.HasPrefix(name, "XDG_STATE") {
			t.Errorf("%s is read, and not a part of the name", name)
		}
	}
	if len(read) < 20 {
		t.Errorf("only %d variables are read", len(read))
	}
}
