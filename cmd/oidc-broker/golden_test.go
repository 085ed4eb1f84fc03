package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// golden types the command lines of a recording of gcloud's create-cred-config,
// and demands the same bytes. Where gcloud wrote no file, and where the command
// line holds one of the words, it demands exit code 2 and no file. pkg/gcp knows
// more recordings, and each error's words.
func golden(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: golden FILE [WORD...]")
	}
	b, err := os.ReadFile(args[0])
	ts.Check(err)
	var all []struct {
		Env  map[string]string
		Args []string
		File *string
	}
	ts.Check(json.Unmarshal(b, &all))
	if len(all) == 0 {
		ts.Fatalf("%s records nothing", args[0])
	}
	out := ts.MkAbs(filepath.Join("golden", "out.json"))
	for _, r := range all {
		if len(r.Args) == 1 {
			continue // without a source, ours is taken
		}
		refused := r.File == nil || slices.ContainsFunc(args[1:], func(word string) bool { return strings.Contains(strings.Join(r.Args, " "), word) })
		for name, value := range r.Env {
			ts.Setenv(name, value)
		}
		err := ts.Exec("oidc-broker", append(append([]string{"gcp", "create-cred-config"}, r.Args...), "--output-file="+out)...)
		for name := range r.Env {
			ts.Setenv(name, "")
		}
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			ts.Fatalf("cannot run: %v", err)
		}
		got, missing := os.ReadFile(out)
		switch {
		case refused && (err == nil || exit.ExitCode() != 2 || missing == nil):
			ts.Fatalf("%q: %v, and a file: %v", r.Args, err, missing == nil)
		case !refused && (err != nil || string(got) != *r.File):
			ts.Fatalf("%q: %v, and:\n%s", r.Args, err, got)
		case !refused:
			ts.Check(os.Remove(out))
		}
	}
}
