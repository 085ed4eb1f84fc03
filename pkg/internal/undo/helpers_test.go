package undo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// given puts a file there, and its directory.
func given(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if dir := filepath.Dir(path); os.MkdirAll(filepath.Dir(dir), 0o755) == nil && os.Mkdir(dir, 0o755) == nil {
		if err := os.Chmod(dir, 0o755); err != nil { // whatever the umask is
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// tree is all that is below dir: name, mode, content or target.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		line := fmt.Sprintf("%s %s", filepath.ToSlash(name), info.Mode())
		switch {
		case info.Mode().IsRegular():
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %q", text)
		case info.Mode()&os.ModeSymlink != 0:
			target, _ := os.Readlink(path)
			line += " -> " + target
		}
		all = append(all, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func unix(t *testing.T) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("modes and links as unix has them")
	}
}

// needs skips a test that may not do what it must; a full run fails.
func needs(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	testenv.Missing(t, fmt.Sprintf("%s (%v)", what, err))
}

func root(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		needs(t, "root is needed", errors.New("not root"))
	}
}
