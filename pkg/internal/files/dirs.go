package files

// What stands beside a file while it is written, and the directories around it.

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// MissingDirs are the directories that making dir would make, the outermost first.
func MissingDirs(dir string) []string {
	var missing []string
	for {
		if _, err := os.Lstat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
			slices.Reverse(missing)
			return missing
		}
		missing = append(missing, dir)
		parent := filepath.Dir(dir)
		if parent == dir {
			return nil
		}
		dir = parent
	}
}

// MakeDirs makes a directory, 0700, and those around it that are missing. Another process
// may remove empty ones meanwhile: os.MkdirAll then says that one is missing, or that it
// exists, and is called again.
func MakeDirs(dir string) error {
	const tries = 100
	for n := 1; ; n++ {
		err := os.MkdirAll(dir, 0o700)
		if n == tries || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
}

// RemoveEmpty removes directories, the innermost first, that hold nothing.
func RemoveEmpty(dirs []string) {
	for _, d := range slices.SortedStableFunc(slices.Values(dirs), func(a, b string) int { return len(b) - len(a) }) {
		if info, err := os.Lstat(d); err == nil && info.IsDir() {
			_ = os.Remove(d) // one that holds something stays
		}
	}
}

// clear removes what a writer that was killed left beside the file, whose lock is
// held. Where other users can write, they may have taken the name.
func (f *file) clear() error {
	name := tempName(f.path)
	dir := filepath.Dir(name)
	if !sharedDir(dir) {
		err := os.RemoveAll(name)
		if _, there := os.Lstat(name); errors.Is(there, fs.ErrNotExist) {
			return nil // a file system that is read-only refuses even that
		}
		return err
	}
	for _, left := range ownTemps(f.path) {
		_ = os.RemoveAll(left)
	}
	return nil
}

// ownTemps are what writers that were killed left beside a file as this user: write
// takes another name where another user has taken the first.
func ownTemps(path string) []string {
	name := tempName(path)
	names := []string{name}
	if sharedDir(filepath.Dir(name)) {
		entries, _ := os.ReadDir(filepath.Dir(name)) // what cannot be listed holds nothing that could be found
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), filepath.Base(name)+"-") {
				names = append(names, filepath.Join(filepath.Dir(name), e.Name()))
			}
		}
	}
	return slices.DeleteFunc(names, func(name string) bool {
		info, err := os.Lstat(name)
		return err != nil || !Ours(info)
	})
}

// lockName and tempName are what stands beside a file while it is written.
func lockName(path string) string { return beside(path, lockSuffix) }
func tempName(path string) string { return beside(path, tempSuffix) }

const lockSuffix, tempSuffix = ".oidc-broker.lock", ".oidc-broker.tmp"

func beside(path, suffix string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+suffix)
}

// IsTransient says whether a name is that of a lock or of a temporary directory,
// which a writer of this program has beside a file.
func IsTransient(name string) bool {
	return strings.HasPrefix(name, ".") && (strings.HasSuffix(name, lockSuffix) || strings.HasSuffix(name, tempSuffix))
}

func unite(a, b []string) []string {
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(a, s)
		}
	}
	return a
}
