//go:build unix

package child

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRunAsShellsDo: what a name stands for, and the exit code where it stands for
// nothing, are those of bash; and of dash, which says 127 where bash says 126.
func TestRunAsShellsDo(t *testing.T) {
	top := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	file := func(dir, text string, mode os.FileMode) {
		must(os.MkdirAll(filepath.Join(top, dir), 0o700))
		must(os.WriteFile(filepath.Join(top, dir, "tool"), []byte(text), mode))
	}
	file("good", "#!/bin/sh\necho good\n", 0o700)
	file("locked", "#!/bin/sh\n", 0o600)
	file("text", "echo text $1\n", 0o700)
	file("badline", "#!/no/such/interpreter\n", 0o700)
	file("binary", "\x7fBAD\x00\x01", 0o700)
	must(os.MkdirAll(filepath.Join(top, "directory", "tool"), 0o700))
	must(os.MkdirAll(filepath.Join(top, "empty"), 0o700))
	for dir, target := range map[string]string{"dangling": "nowhere", "loop": "tool"} {
		must(os.Mkdir(filepath.Join(top, dir), 0o700))
		must(os.Symlink(target, filepath.Join(top, dir, "tool")))
	}
	must(os.WriteFile(filepath.Join(top, "file"), nil, 0o600))
	must(os.Mkdir(filepath.Join(top, "unreadable"), 0o700))
	must(os.Chmod(filepath.Join(top, "unreadable"), 0)) // root reads it all the same, and finds nothing
	t.Chdir(top)

	for _, row := range []struct {
		path, name string // the PATH below top; the name, if it is not tool
		code       int
		out        string
		bash       int // where the answer of bash differs; 0: it does not
	}{
		{path: "unreadable", code: 127},
		{path: "empty", code: 127},
		{path: "missing", code: 127},
		{path: "directory", code: 127},
		{path: "dangling", code: 127},
		{path: "loop", code: 127},
		{path: "file", code: 127},
		{path: "locked", code: 126},
		{path: "badline", code: 127},
		{path: "binary", code: 126},
		{path: "text", code: 0, out: "text one\n"},
		{path: "unreadable:good", code: 0, out: "good\n"},
		{path: "directory:good", code: 0, out: "good\n"},
		{path: "locked:good", code: 0, out: "good\n"},
		{path: "dangling:loop:file:good", code: 0, out: "good\n"},
		{path: "unreadable:locked", code: 126},
		{path: "locked:unreadable", code: 126},
		{path: "directory:locked", code: 126, bash: 127}, // bash gives up at the directory
		{name: "./tool", code: 127},
		{name: "./good/tool", code: 0, out: "good\n"},
		{name: "./text/tool", code: 0, out: "text one\n"},
		{name: "./directory/tool", code: 126},
		{name: "./locked/tool", code: 126},
		{name: "./dangling/tool", code: 127},
		{name: "./loop/tool", code: 126},
		{name: "./file/tool", code: 126},
		{name: "./badline/tool", code: 127},
		{name: "/", code: 126},
	} {
		var dirs []string
		for dir := range strings.SplitSeq(row.path, ":") {
			dirs = append(dirs, filepath.Join(top, dir))
		}
		if row.name == "" {
			row.name = "tool"
		}
		env := []string{"PATH=" + strings.Join(dirs, ":")}
		var out bytes.Buffer
		err := Run(t.Context(), Child{Argv: []string{row.name, "one"}, Env: env, Stdout: &out, Stderr: io.Discard})
		code := 0
		if e := (*ExitError)(nil); errors.As(err, &e) {
			code = e.Code
		}
		if code != row.code || out.String() != row.out {
			t.Errorf("PATH=%s %s: exit %d, %q, want %d, %q (%v)", row.path, row.name, code, &out, row.code, row.out, err)
		}
		if bash, err := exec.LookPath("bash"); err == nil {
			if row.bash == 0 {
				row.bash = row.code
			}
			cmd := exec.CommandContext(t.Context(), bash, "-c", row.name+" one")
			cmd.Env = env
			_ = cmd.Run() // its code counts
			if got := cmd.ProcessState.ExitCode(); got != row.bash {
				t.Errorf("PATH=%s %s: bash exits %d, the table says %d", row.path, row.name, got, row.bash)
			}
		}
	}
}
