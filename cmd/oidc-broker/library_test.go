package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestLibrary builds the programs of docs/go.md in a module of another path, which can
// use nothing below pkg/internal.
func TestLibrary(t *testing.T) {
	top := repository(t)
	ours, err := os.ReadFile(filepath.Join(top, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	_, required, _ := strings.Cut(string(ours), "\n")
	outside := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(outside, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const module = "github.com/oidc-broker/oidc-broker"
	write("go.mod", "module example.com/outside\n"+required+"\nrequire "+module+" v0.0.0\n\nreplace "+module+" => "+strconv.Quote(filepath.ToSlash(top))+"\n")
	sums, err := os.ReadFile(filepath.Join(top, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	write("go.sum", string(sums))
	programs := 0
	for _, p := range pages(t) {
		if p.name != "docs/go.md" {
			continue
		}
		for _, b := range p.blocks {
			if b.language == "go" {
				programs++
				write(filepath.Join("program"+strconv.Itoa(programs), "main.go"), b.text)
			}
		}
	}
	if programs != 3 {
		t.Errorf("%d programs, want 3", programs)
	}
	cmd := exec.Command("go", "vet", "-mod=mod", "./...")
	cmd.Dir = outside
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOPROXY=off", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
