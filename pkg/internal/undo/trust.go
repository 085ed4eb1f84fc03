package undo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
)

// read returns the record, or nil where there is none.
func (j *Journal) read() (*record, error) {
	if there, err := j.trusted(); err != nil || !there {
		return nil, err
	}
	b, err := files.ReadOwn(j.path(), maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var r record
	if json.Unmarshal(b, &r) != nil || r.Version < 1 {
		return nil, distrusted("%q is damaged, or no record of this program's", j.path())
	}
	if r.Version > recordVersion {
		return nil, fault.New(fault.Local, "%q was written by a newer version of this program", j.path()).
			Hint("use that version: oidc-broker cleanup")
	}
	if r.Version < recordVersion {
		return nil, fault.New(fault.Local, "%q was written by an older version of this program", j.path()).
			Hint("use that version: oidc-broker cleanup")
	}
	if bad := r.implausible(); bad != "" {
		return nil, distrusted("%q is damaged: %s", j.path(), bad)
	}
	return &r, nil
}

// distrusted is the error of a record that cannot be used.
func distrusted(format string, args ...any) error {
	return fault.New(fault.Local, format, args...).
		Hint("nothing of it was used or changed; look at what it names, take that back by hand, and remove it")
}

// trusted says whether the record's directory is there. One that belongs to another
// user, or in which others can write, is an error: whoever runs cleanup would do what
// they wrote there, with his own rights.
func (j *Journal) trusted() (there bool, err error) {
	for _, path := range []string{j.Dir, filepath.Join(j.Dir, backupDir), j.path()} {
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			if path == j.Dir {
				return false, nil
			}
			continue
		}
		switch {
		case err != nil:
			return false, files.Cannot("read", path, err)
		case info.Mode()&fs.ModeSymlink != 0:
			return false, distrusted("%q, the record for cleanup, is a symbolic link", path)
		case path == j.path() && !info.Mode().IsRegular():
			return false, distrusted("%q, the record for cleanup, is not a regular file", path)
		case path != j.path() && !info.IsDir():
			return false, distrusted("%q, which holds the record for cleanup, is not a directory", path)
		case !files.Ours(info):
			return false, fault.New(fault.Local, "%q, the record for cleanup, belongs to another user", path).
				Hint("run the command as that user, or with a HOME of this one's own")
		case files.WritableByOthers(info):
			return false, distrusted("%q, the record for cleanup, can be written to by other users", path)
		}
	}
	return true, nil
}

// implausible says what no writer of ours puts into a record. It keeps damage, and
// who tampered, from having other files removed than those that we made.
func (r *record) implausible() string {
	plain := func(path string) bool { return filepath.IsAbs(path) && filepath.Clean(path) == path }
	for _, d := range r.Dirs {
		if !plain(d) {
			return fmt.Sprintf("%q is no directory", d)
		}
	}
	for _, t := range r.Temps {
		if !plain(t) || !isTempName(filepath.Base(t)) {
			return fmt.Sprintf("%q is no temporary directory", t)
		}
	}
	for _, e := range r.Files {
		if e == nil || !plain(e.Path) || filepath.Dir(e.Path) == e.Path {
			return "a file without a path"
		}
		for _, d := range e.Dirs {
			if !plain(d) || !within(d, e.Path) {
				return fmt.Sprintf("%q does not lie in %q", e.Path, d)
			}
		}
		if !isBackupName(e.Backup) {
			return "what was there before has no such name"
		}
	}
	for _, n := range r.Notes {
		if !isBackupName(n.Values[keptValue]) {
			return "a secret that is kept has no such name"
		}
	}
	return ""
}
