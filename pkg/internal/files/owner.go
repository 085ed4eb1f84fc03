package files

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// Who owns a file reads it, whatever its mode; who owns a directory, or can write to
// one that is not sticky, replaces what is in it. Root can do both to all.

// sharedDir says whether other users than this one and root can make files in a
// directory. One that cannot be looked at is not: what is done there will say why.
func sharedDir(dir string) bool {
	info, err := os.Stat(dir)
	return err == nil && (WritableByOthers(info) || !Mine(info))
}

// keepsSecrets says why a secret may not be written to a file, in a directory that is
// there. info is nil where there is no file yet.
func keepsSecrets(path string, info fs.FileInfo) error {
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return cannot("read", filepath.Dir(path), err)
	}
	switch {
	case !Mine(dir) && !isRoot():
		return fault.New(fault.Local, "the directory %q belongs to another user, who could replace the secrets in it", filepath.Dir(path)).
			Hint("name a file in a directory of this user's")
	case info != nil && !Ours(info) && !(isRoot() && sameOwner(info, dir)):
		return fault.New(fault.Local, "%q belongs to another user, who could read the secrets in it", path).
			Hint("remove it, or name another file")
	}
	return nil
}

// Exposed says that other users can replace what is in the directory of a file, and
// "" where they cannot.
func Exposed(path string) string {
	path, err := Resolve(path)
	if err != nil {
		return ""
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err == nil && openToAll(info) {
			return fmt.Sprintf("every user can write to the directory %q, which is not sticky: they could replace %q", dir, path)
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
	}
}

// maxLinks is how many links a path may lead through, as in Linux.
const maxLinks = 40

// foreignLink returns the first link on the way to a path that another user made in a
// directory which is not his, and "" if there is none: following it would let him
// choose the file. The kernel refuses the same in sticky directories.
func foreignLink(path string) string {
	for range maxLinks {
		link, rest := firstLink(path)
		if link == "" {
			return ""
		}
		info, err := os.Lstat(link)
		if err != nil {
			return ""
		}
		dir, err := os.Stat(filepath.Dir(link))
		if err != nil || !Mine(info) && !sameOwner(info, dir) {
			return link
		}
		target, err := os.Readlink(link)
		if err != nil {
			return ""
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(link), target)
		}
		path = filepath.Join(target, rest)
	}
	return ""
}

// firstLink returns the outermost link in a path, and what comes after it.
func firstLink(path string) (link, rest string) {
	for at := path; ; at = filepath.Dir(at) {
		if info, err := os.Lstat(at); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			link, rest = at, path[len(at):]
		}
		if at == filepath.Dir(at) {
			return link, rest
		}
	}
}
