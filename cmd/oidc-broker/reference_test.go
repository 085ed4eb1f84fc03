package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/cli"
	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// TestManPagesAreRead: groff, of which man is made, shows each page with its
// examples as they are, and has nothing to say against it.
func TestManPagesAreRead(t *testing.T) {
	testenv.Program(t, "groff")
	dir := t.TempDir()
	m := cli.Reference()
	pages := m.ManPages("v1.2.0", "2026-11-28")
	args := []string{"-man", "-Tascii", "-P-c", "-P-b", "-P-u", "-rLL=200n", "-rIN=7n"}
	// All of its warnings but those about lines that cannot be made to fit.
	for _, w := range strings.Fields("char delim escape input mac missing number range reg scale syntax tab") {
		args = append(args, "-w"+w)
	}
	m.Walk(func(c cli.Manual) {
		name := strings.ReplaceAll(c.Path, " ", "-") + ".1"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(pages[name]), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, name)
	})
	groff := exec.Command("groff", args...)
	groff.Dir = dir
	var errs bytes.Buffer
	groff.Stderr = &errs
	out, err := groff.Output()
	if err != nil || errs.Len() > 0 {
		t.Errorf("groff: %v: %s", err, errs.String())
	}
	shown := regexp.MustCompile(`\s+`).ReplaceAllString(string(out), " ")
	m.Walk(func(c cli.Manual) {
		name := strings.ReplaceAll(c.Path, " ", "-")
		for _, want := range append([]string{strings.ToUpper(name) + "(1)", name + " - " + c.Short, "SYNOPSIS " + c.Usage}, strings.Split(c.Example, "\n")...) {
			if !strings.Contains(shown, strings.Join(strings.Fields(want), " ")) {
				t.Errorf("%s does not show %q", name, want)
			}
		}
	})
}
