package child

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// LookPath returns the file that the command name stands for. A name with a
// path separator is that file; any other is searched for in the PATH of
// environ, and on Windows with the endings of its PATHEXT. The current
// directory is searched only if PATH names it: an empty element, which shells
// take for it, would let a checkout decide what runs. Not found is a
// fault.Local that wraps exec.ErrNotFound or, for a path, fs.ErrNotExist.
func LookPath(name string, environ []string) (string, error) {
	if strings.ContainsAny(name, separators()) {
		var unusable error
		for _, file := range executables(name, environ) {
			if path, err := exec.LookPath(file); err == nil {
				return path, nil
			} else if unusable == nil || !isMissing(err) {
				unusable = err
			}
		}
		if isMissing(unusable) {
			return "", fault.New(fault.Local, "cannot run %q: %w", name, fs.ErrNotExist)
		}
		return "", notRunnable(name, unusable)
	}
	var unusable error
	for _, dir := range filepath.SplitList(valueOf("PATH", environ, runtime.GOOS == "windows")) {
		if dir == "" {
			continue
		}
		for _, file := range executables(name, environ) {
			path, err := filepath.Abs(filepath.Join(dir, file))
			if err != nil {
				continue
			}
			if _, err = exec.LookPath(path); err == nil {
				return path, nil
			}
			// As in bash: only a file that is there counts. What is behind a
			// directory that cannot be read is not known to be there.
			if unusable == nil && isFile(path) {
				unusable = err
			}
		}
	}
	if unusable != nil {
		return "", notRunnable(name, unusable)
	}
	return "", fault.New(fault.Local, "cannot run %q: %w", name, exec.ErrNotFound).
		Hint("check its spelling, and that PATH has the directory that it is in")
}

func separators() string {
	if runtime.GOOS == "windows" {
		return `/\:`
	}
	return "/"
}

func isFile(path string) bool {
	about, err := os.Stat(path)
	return err == nil && about.Mode().IsRegular()
}

func isMissing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound)
}

func notRunnable(name string, err error) error {
	var e *exec.Error
	if errors.As(err, &e) {
		err = e.Err
	}
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	no := fault.New(fault.Local, "cannot run %q: %w", name, err)
	if _, stat := os.Stat(name); stat != nil && strings.ContainsAny(name, separators()) || errors.Is(err, syscall.EISDIR) {
		return no // it is not the file's mode
	}
	return no.Hint("make it an executable file (chmod +x), in a file system that is not mounted noexec")
}

// valueOf returns the value of a variable in environ, the last if there are
// several.
func valueOf(name string, environ []string, foldCase bool) string {
	for i := len(environ) - 1; i >= 0; i-- {
		n := nameOf(environ[i])
		if (n == name || foldCase && strings.EqualFold(n, name)) && len(environ[i]) > len(n) {
			return environ[i][len(n)+1:]
		}
	}
	return ""
}
