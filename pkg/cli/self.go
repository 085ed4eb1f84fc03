package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// lastingSelf is this program's own file, for a file of another tool's that calls the
// program in later steps. option is the one that demands it. A file that is gone by
// then is refused: one in a temporary directory, and one that 'go run' builds.
func (a *app) lastingSelf(option fault.Message) (string, error) {
	self, err := a.Executable()
	if err == nil {
		_, err = os.Stat(self) // it may have been replaced or removed since it was started
	}
	if err != nil {
		return "", fault.New(fault.Local, "cannot find this program's own file, which %s writes down: %w", option, unwrapPath(err)).
			Hint("install the program at a path that stays, like /usr/local/bin/oidc-broker")
	}
	why, detail := "", "" // the line is full
	if dir := a.temporary(self); dir != "" {
		why, detail = "it is temporary", fmt.Sprintf("it is below the temporary directory %q", dir)
	}
	if builtToRun(self) {
		why, detail = "'go run' made it", "'go run' builds a program for one run"
	}
	if why != "" {
		return "", fault.New(fault.Local, "%s writes down the program's path, and %q may be gone in the next step: %s", option, self, why).
			Hint("install the program at a path that stays, like /usr/local/bin/oidc-broker").
			Detail("%s", detail)
	}
	return self, nil
}

// temporary returns the temporary directory that a file is in, or "".
func (a *app) temporary(path string) string {
	path = realPath(path)
	for _, dir := range a.TempDirs {
		real := realPath(dir)
		if real == filepath.Dir(real) { // the root: everything is below it
			continue
		}
		if rest, err := filepath.Rel(real, path); err == nil && rest != ".." && !strings.HasPrefix(rest, ".."+string(filepath.Separator)) {
			return dir
		}
	}
	return ""
}

// builtToRun says whether a file is in go-build or go-build123, where the go command
// puts what it builds to run at once: in a temporary directory, or in its cache.
func builtToRun(path string) bool {
	for _, part := range strings.Split(filepath.ToSlash(filepath.Dir(path)), "/") {
		if rest, ok := strings.CutPrefix(part, "go-build"); ok && strings.Trim(rest, "0123456789") == "" {
			return true
		}
	}
	return false
}
