package cli

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// floors is the layout of docs/design.md: a package imports only packages on
// lower floors.
var floors = map[string]int{
	"cmd/oidc-broker": 13,
	"pkg/cli":         12,
	"pkg/sandbox":     11, "pkg/doctor": 11,
	"pkg/aws": 10, "pkg/gcp": 10, "pkg/vault": 10, "pkg/policy/iam": 10, "pkg/policy/wif": 10, "pkg/policy/jwtrole": 10,
	"pkg/internal/broker": 9, "pkg/policy": 9, "pkg/sandbox/job": 9,
	"pkg/ci": 8, "pkg/oidc": 7,
	"pkg/internal/shell": 7,
	"pkg/internal/ini":   6,
	"pkg/internal/child": 5, "pkg/internal/remote": 5,
	"pkg/internal/undo":   4,
	"pkg/internal/files":  3,
	"pkg/internal/secret": 2, "pkg/internal/document": 2,
	"pkg/internal/fault": 1,
}

// alone are the packages that one package only may import.
var alone = map[string]string{
	"github.com/spf13/cobra": "pkg/cli",
	"github.com/spf13/pflag": "pkg/cli",
}

const module = "github.com/oidc-broker/oidc-broker/"

// TestFloors fails on a new arrow in the picture of the packages.
func TestFloors(t *testing.T) {
	sources(t, func(path, dir string, text []byte) {
		floor, ok := floors[dir]
		if !ok {
			t.Errorf("%s is in no package of the layout", path)
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range file.Imports {
			name, _ := strconv.Unquote(i.Path.Value)
			if only := alone[name]; only != "" && only != dir {
				t.Errorf("%s imports %s, which is for %s alone", path, name, only)
			}
			lower, ours := strings.CutPrefix(name, module)
			if ours && floors[lower] >= floor {
				t.Errorf("%s (floor %d) imports %s (floor %d)", path, floor, lower, floors[lower])
			}
			if name == module+"testdata/testenv" {
				t.Errorf("%s imports %s, which is for tests alone", path, name)
			}
			if dir == "pkg/internal/fault" && strings.Contains(name, ".") {
				t.Errorf("%s imports %s: fault is for the standard library only", path, name)
			}
		}
	})
}

// sources calls visit with each of the module's own Go files that are not
// tests. dir is the file's directory, with slashes.
func sources(t *testing.T, visit func(path, dir string, text []byte)) {
	t.Helper()
	root := filepath.Join("..", "..")
	seen := map[string]bool{}
	for _, top := range []string{"cmd", "pkg"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			dir := filepath.ToSlash(filepath.Dir(rel))
			seen[dir] = true
			visit(filepath.ToSlash(rel), dir, text)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) < 9 {
		t.Fatalf("only %d packages found", len(seen))
	}
}

// overBudget are the packages and files that are larger than the budget of
// docs/design.md, with what they may have at most.
var overBudget = map[string]int{
	"pkg/cli":               10_100, // until apply is a package, and options are a table
	"pkg/sandbox":           5_500,  // until each cloud is a package
	"pkg/policy/wif":        4_600,  // the evaluation of CEL
	"pkg/policy/iam":        4_000,  // the evaluation of AWS's operators
	"pkg/cli/apply_yaml.go": 500,
	"pkg/aws/conflicts.go":  460,
}

// TestSizes: a package has at most 3,500 lines without tests, a file 450.
func TestSizes(t *testing.T) {
	lines := map[string]int{}
	sources(t, func(path, dir string, text []byte) {
		n := strings.Count(string(text), "\n")
		lines[dir] += n
		lines[filepath.ToSlash(path)] = n
	})
	for name, n := range lines {
		most := 3_500
		if strings.HasSuffix(name, ".go") {
			most = 450
		}
		allowed, over := overBudget[name]
		switch {
		case over && n <= most:
			t.Errorf("%s has %d lines: it is within the budget, remove its exception", name, n)
		case n > max(most, allowed):
			t.Errorf("%s has %d lines, and may have %d", name, n, max(most, allowed))
		}
	}
	for name := range overBudget {
		if lines[name] == 0 {
			t.Errorf("%s is not there: remove its exception", name)
		}
	}
}
