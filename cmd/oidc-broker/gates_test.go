package main

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// The gates below need no clock. What depends on the kernel and on the version of Go
// is for a full run alone.

// linked returns the packages of other modules that are in the program.
func linked(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-f", "{{if .Module}}{{if not .Module.Main}}{{.ImportPath}}{{end}}{{end}}", ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS=")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Fields(string(out))
	slices.Sort(all)
	return all
}

func TestLinkedPackages(t *testing.T) {
	file := filepath.Join("..", "..", "testdata", "packages.txt")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	known, got := strings.Fields(string(b)), linked(t)
	for _, p := range got {
		if !slices.Contains(known, p) {
			t.Errorf("%s is new in the program: it costs size and start-up (docs/benchmarks.md); if that is meant, add the line to %s", p, filepath.ToSlash(file))
		}
		for _, never := range []string{"google.golang.org/grpc", "go.opentelemetry.io/", "runtime/cgo", "cel.dev/cel-go/cel", "cel.dev/cel-go/ext", "google.golang.org/api/option", "google.golang.org/api/transport", "google.golang.org/api/iamcredentials"} {
			if p == never || strings.HasPrefix(p, strings.TrimSuffix(never, "/")+"/") {
				t.Errorf("%s does not belong into the program", p)
			}
		}
	}
	for _, p := range known {
		if !slices.Contains(got, p) {
			t.Errorf("%s is not in the program any more: remove its line from %s", p, filepath.ToSlash(file))
		}
	}
}

// Little above what the program has: it grew by 0.7 MB with the checks of what the
// next tool uses, role chains, and the grammar of Vault's secrets, and by 0.3 MB with
// fifteen CI systems and the constructors for Go programs.
const (
	mostBytes  = 21_300_000
	mostPacked = 7_900_000
	// Calls to the kernel, one more than there are.
	mostCallsVersion = 30
	mostCallsCached  = 45
	mostCallsEnv     = 50
)

// build builds a program as a release does.
func build(t *testing.T, binary, what string) {
	t.Helper()
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", binary, what)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func TestSizeAndStart(t *testing.T) {
	testenv.NeedFull(t, "depends on the kernel and on the version of Go")
	binary := filepath.Join(t.TempDir(), "oidc-broker")
	build(t, binary, ".")
	b, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes, packed %d", len(b), packed.Len())
	if len(b) > mostBytes || packed.Len() > mostPacked {
		t.Errorf("the program has %d bytes, packed %d; the bounds are %d and %d", len(b), packed.Len(), mostBytes, mostPacked)
	}
	for _, never := range []string{"google.golang.org/grpc", "go.opentelemetry.io"} {
		if bytes.Contains(b, []byte(never)) {
			t.Errorf("the program has %q in it", never)
		}
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if f.Section(".interp") != nil || f.Section(".dynamic") != nil {
		t.Error("the program is linked dynamically: cgo is in it")
	}
	checkStart(t, binary)
}
