package cli

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// ambient are the identifiers that read or change what lies outside the program, by
// the path of their package.
var ambient = map[string][]string{
	"os": {"Args", "Chdir", "Clearenv", "CreateTemp", "Environ", "Executable", "Exit", "ExpandEnv", "Getegid", "Getenv", "Geteuid", "Getgid", "Getgroups",
		"Getpid", "Getppid", "Getuid", "Getwd", "Hostname", "LookupEnv", "MkdirTemp", "Setenv", "Stderr", "Stdin", "Stdout", "TempDir", "Unsetenv",
		"UserCacheDir", "UserConfigDir", "UserHomeDir"},
	"syscall": {"Chdir", "Environ", "Exit", "Getegid", "Getenv", "Geteuid", "Getgid", "Getpid", "Getppid", "Getuid", "Getwd", "Setenv", "Umask", "Unsetenv"},
	"golang.org/x/sys/unix": {"Chdir", "Environ", "Exit", "Getegid", "Getenv", "Geteuid", "Getgid", "Getpid", "Getppid", "Getuid", "Getwd", "Setenv",
		"Umask", "Unsetenv"},
	"os/user":  {"Current", "Lookup", "LookupGroup", "LookupGroupId", "LookupId"},
	"time":     {"After", "AfterFunc", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until"},
	"net/http": {"DefaultClient", "DefaultTransport", "Get", "Head", "ListenAndServe", "ListenAndServeTLS", "Post", "PostForm", "ProxyFromEnvironment"},
	"net": {"DefaultResolver", "Dial", "DialTimeout", "InterfaceAddrs", "Interfaces", "LookupAddr", "LookupCNAME", "LookupHost", "LookupIP", "LookupMX",
		"LookupNS", "LookupPort", "LookupSRV", "LookupTXT"},
	"fmt":     {"Print", "Printf", "Println", "Scan", "Scanf", "Scanln"},
	"log":     {"Default", "Fatal", "Fatalf", "Fatalln", "Panic", "Panicf", "Panicln", "Print", "Printf", "Println"},
	"runtime": {"NumCPU"},
}

// ambientByDesign are the uses that stay, by directory and identifier, with the reason.
var ambientByDesign = map[string]string{
	"pkg/cli time.AfterFunc":                        "cuts off an answer that comes after an interrupt",
	"pkg/internal/broker time.After":                "the default of what tests put a clock in place of",
	"pkg/internal/child time.Sleep":                 "looks again whether a group of processes has ended: the kernel tells only parents",
	"pkg/vault time.After":                          "the default of what tests put a clock in place of",
	"pkg/internal/remote time.NewTimer":             "waits between two attempts, up to the context's deadline",
	"pkg/internal/remote time.Until":                "a context's deadline is one of the machine's clock",
	"pkg/internal/undo time.Until":                  "a context's deadline is one of the machine's clock",
	"pkg/internal/remote http.ProxyFromEnvironment": "makes the transport of World",
	"pkg/internal/remote time.Now":                  "the default for Go programs that use the packages",
	"pkg/internal/remote os.Getenv":                 "the default for Go programs that use the packages",
	"pkg/ci os.Environ":                             "the default for Go programs that use the packages",
	"pkg/internal/files syscall.Geteuid":            "whose files and directories are trusted depends on who runs the program",
	"pkg/internal/files os.Geteuid":                 "root may write where another owner's directory forbids a rename",
	"pkg/internal/files syscall.Getegid":            "a new file keeps the group that the old one had where it may",
}

// ambientUses returns what a file uses of it, as "os.Getenv" with its line. The imports
// say which package a name is; a variable of the same name is none.
func ambientUses(t *testing.T, name string, source []byte) map[string]int {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, source, 0)
	if err != nil {
		t.Fatal(err)
	}
	uses := map[string]int{}
	imported := map[string]string{} // path by name
	for _, i := range file.Imports {
		from, _ := strconv.Unquote(i.Path.Value)
		if ambient[from] == nil {
			continue
		}
		as := path.Base(from)
		if i.Name != nil {
			as = i.Name.Name
		}
		if as == "." {
			uses[from+", imported into the file's own names"] = files.Position(i.Pos()).Line
		}
		imported[as] = from
	}
	given := map[*ast.SelectorExpr]bool{} // with a directory as its first argument
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Name.Name == "init" && n.Recv == nil {
				uses["init"] = files.Position(n.Pos()).Line
			}
		case *ast.CallExpr:
			called, ok := n.Fun.(*ast.SelectorExpr)
			if !ok || called.Sel.Name != "MkdirTemp" && called.Sel.Name != "CreateTemp" || len(n.Args) == 0 {
				break
			}
			text, literal := n.Args[0].(*ast.BasicLit)
			given[called] = !literal || text.Value != `""`
		case *ast.SelectorExpr:
			left, ok := n.X.(*ast.Ident)
			if !ok || left.Obj != nil || given[n] { // Obj: something that the file declares
				break
			}
			if from := imported[left.Name]; slices.Contains(ambient[from], n.Sel.Name) {
				uses[path.Base(from)+"."+n.Sel.Name] = files.Position(n.Pos()).Line
			}
		}
		return true
	})
	return uses
}

// TestNothingAmbient: what lies outside the program comes through World, and nothing
// runs before main.
func TestNothingAmbient(t *testing.T) {
	seen := map[string]bool{}
	sources(t, func(name, dir string, text []byte) {
		if dir == "cmd/oidc-broker" {
			return
		}
		for use, line := range ambientUses(t, name, text) {
			seen[dir+" "+use] = true
			if ambientByDesign[dir+" "+use] == "" {
				t.Errorf("%s:%d uses %s: it comes through cli.World", name, line, use)
			}
		}
	})
	for use := range ambientByDesign {
		if !seen[use] {
			t.Errorf("%s is not used: remove its exception", use)
		}
	}
}

// TestAmbientUses: the test above sees a use by whatever name the file has for the
// package, and takes nothing else for one.
func TestAmbientUses(t *testing.T) {
	for _, row := range []struct{ source, want string }{
		{`import "os"; var _ = os.Getenv("X")`, "os.Getenv"},
		{`import "os"; var read = os.Getenv`, "os.Getenv"},
		{`import system "os"; var _, _ = system.Getwd()`, "os.Getwd"},
		{`import . "os"; var _ = TempDir()`, "os, imported into the file's own names"},
		{`import "os"; var _, _ = os.MkdirTemp("", "x")`, "os.MkdirTemp"},
		{`import "os"; var _, _ = os.CreateTemp("", "x")`, "os.CreateTemp"},
		{`import "os"; var make = os.MkdirTemp`, "os.MkdirTemp"},
		{`import "os"; func f(dir string) { os.MkdirTemp(dir, "x") }`, ""},
		{`import "time"; var _ = time.Since(time.Time{})`, "time.Since"},
		{`import "time"; var now = time.Now`, "time.Now"},
		{`import "time"; var _ = time.Second`, ""},
		{`import "golang.org/x/sys/unix"; var _ = unix.Getuid()`, "unix.Getuid"},
		{`import "os"; func f() { os := world{}; os.Getenv("X") }`, ""},
		{`import "time"; func f(time clock) { time.Now() }`, ""},
		{`// os.Getenv`, ""},
		{`const text = "os.Getenv"`, ""},
		{`func init() {}`, "init"},
		{`func (x) init() {}`, ""},
	} {
		var got []string
		for use := range ambientUses(t, "x.go", []byte("package x\n"+row.source+"\n")) {
			got = append(got, use)
		}
		if strings.Join(got, ", ") != row.want {
			t.Errorf("%s: %q, want %q", row.source, got, row.want)
		}
	}
}
