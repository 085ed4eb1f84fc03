package cli

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"
)

// openers are the functions that open files. What they open may be another user's pipe,
// device or link, so all files are opened by pkg/internal/files, which expects that.
var openers = map[string][]string{
	"os":                         {"Open", "OpenFile", "ReadFile", "WriteFile", "Create", "CreateTemp", "DirFS", "OpenRoot", "OpenInRoot"},
	"io/ioutil":                  {"ReadFile", "WriteFile", "TempFile", "ReadDir"},
	"syscall":                    {"Open", "Openat", "Creat"},
	"golang.org/x/sys/unix":      {"Open", "Openat", "Openat2", "Creat"},
	"debug/buildinfo":            {"ReadFile"},
	"debug/elf":                  {"Open"},
	"crypto/tls":                 {"LoadX509KeyPair"},
	"crypto/x509":                {"SystemCertPool"},
	"github.com/gofrs/flock":     {"New"},
	"path/filepath":              {},
	"github.com/google/renameio": {"WriteFile", "TempFile"},
}

// openedElsewhere are the places that open a file by themselves, and why they may.
var openedElsewhere = map[string]string{
	"pkg/internal/child/child_unix.go os.Open": "/dev/tty is the device that is wanted; it is opened when a signal comes",
	"pkg/doctor/view.go buildinfo.ReadFile":    "a program on PATH, which is a regular file",
	"pkg/doctor/machine.go os.CreateTemp":      "a new file in a directory that doctor tries",
}

// TestFilesAreOpenedInOnePlace: a pipe in the place of a file would stop the program,
// a link would lead it elsewhere.
func TestFilesAreOpenedInOnePlace(t *testing.T) {
	used := map[string]bool{}
	sources(t, func(path, dir string, text []byte) {
		if dir == "pkg/internal/files" {
			return
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, text, 0)
		if err != nil {
			t.Fatal(err)
		}
		banned := map[string]map[string]bool{}
		for _, i := range file.Imports {
			name, _ := strconv.Unquote(i.Path.Value)
			functions, ok := openers[name]
			if !ok {
				continue
			}
			local := name[lastSlash(name)+1:]
			if i.Name != nil {
				local = i.Name.Name
			}
			if local == "." {
				t.Errorf("%s imports all names of %s", path, name)
			}
			banned[local] = map[string]bool{}
			for _, f := range functions {
				banned[local][f] = true
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := s.X.(*ast.Ident)
			if !ok || x.Obj != nil || !banned[x.Name][s.Sel.Name] {
				return true
			}
			place := path + " " + x.Name + "." + s.Sel.Name
			if openedElsewhere[place] == "" {
				t.Errorf("%s: %s.%s: files are opened by pkg/internal/files", set.Position(n.Pos()), x.Name, s.Sel.Name)
			}
			used[place] = true
			return true
		})
	})
	for place := range openedElsewhere {
		if !used[place] {
			t.Errorf("%s is listed, and not there", place)
		}
	}
}

func lastSlash(s string) int {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == '/' {
			return i
		}
	}
	return -1
}
