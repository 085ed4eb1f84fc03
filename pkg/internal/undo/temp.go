package undo

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
)

// The names of temporary directories.
const tempPrefix = "oidc-broker-"

func isTempName(name string) bool {
	return regexp.MustCompile(`^` + tempPrefix + `[A-Z2-7]{26}$`).MatchString(name)
}

// inUse is the file by whose lock it is known that a temporary directory's user is
// alive.
const inUse = ".in-use"

// removeDepth is how many files more than one os.RemoveAll has open to remove what a
// temporary directory holds. They are reserved: a process that can open no more files
// would leave it behind.
const removeDepth = 3

// TempDir makes a directory in parent, 0700, that is gone when done is called, or
// else by Undo, once this process has ended.
func (j *Journal) TempDir(ctx context.Context, parent string) (dir string, done func(), err error) {
	parent, err = filepath.Abs(parent)
	if err != nil {
		return "", nil, files.Cannot("find", parent, err)
	}
	dir = filepath.Join(parent, tempPrefix+rand.Text())
	recorded := false
	made := files.MissingDirs(parent)
	if j != nil {
		err := j.update(ctx, func(r *record) error {
			r.Temps, r.Dirs = append(r.Temps, dir), union(r.Dirs, made)
			return nil
		})
		j.log(err)
		recorded = err == nil
	}
	var open []io.Closer
	done = func() {
		_ = os.Remove(filepath.Join(dir, inUse)) // before it is closed: it is the lock
		for _, c := range open {
			_ = c.Close()
		}
		_ = os.RemoveAll(dir) // what stays is worth nothing in an hour
		files.RemoveEmpty(made)
		if recorded && !exists(dir) {
			j.log(j.takeOut(context.WithoutCancel(ctx), func(r *record) error {
				r.Temps = slices.DeleteFunc(r.Temps, func(t string) bool { return t == dir })
				return nil
			}))
		}
	}
	if err := makeTemp(ctx, dir); err != nil {
		done()
		return "", nil, err
	}
	alive := files.NewLock(filepath.Join(dir, inUse), os.O_CREATE)
	if _, err := alive.TryLock(); err != nil {
		done()
		return "", nil, files.Cannot("lock", dir, err)
	}
	open = append(open, alive)
	for range removeDepth {
		reserved, err := files.OpenOwn(dir, os.O_RDONLY)
		if err != nil {
			done()
			return "", nil, files.Cannot("use", dir, err)
		}
		open = append(open, reserved)
	}
	return dir, done, nil
}

// makeTemp makes a temporary directory, and the directories that it lies in. Another
// user's directory is refused: he could put another one in its place.
func makeTemp(ctx context.Context, dir string) error {
	parent := filepath.Dir(dir)
	for {
		there := parent
		if missing := files.MissingDirs(parent); len(missing) > 0 {
			there = filepath.Dir(missing[0])
		}
		if info, err := os.Stat(there); err == nil && !files.Mine(info) {
			return fault.New(fault.Local, "the directory %q belongs to another user, who could replace what is in it", there).
				Hint("set TMPDIR to a directory of this user's")
		}
		if err := files.MakeDirs(parent); err != nil {
			return files.Cannot("make directory", parent, err)
		}
		err := os.Mkdir(dir, 0o700)
		if errors.Is(err, fs.ErrNotExist) && ctx.Err() == nil {
			continue // another process has just removed the empty directory
		}
		if err != nil {
			return files.Cannot("make directory", dir, err)
		}
		return nil
	}
}

// SweepTemps removes the temporary directories in a directory whose processes have
// ended without doing so.
func SweepTemps(parent string) {
	entries, _ := os.ReadDir(parent) // what cannot be listed holds nothing that could be found
	for _, e := range entries {
		if isTempName(e.Name()) {
			_ = removeTemp(filepath.Join(parent, e.Name()))
		}
	}
}

// removeTemp removes a temporary directory whose process has ended. left says why
// it has not been.
func removeTemp(dir string) (left string) {
	info, err := os.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ""
	case err != nil:
		return files.Cannot("read", dir, err).Error()
	case !info.IsDir() || !files.Ours(info):
		return "it is not the directory that was made"
	}
	l := files.NewLock(filepath.Join(dir, inUse), 0)
	switch locked, err := l.TryLock(); {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "whether it is in use is not known"
	case err == nil && !locked:
		return "a command that runs uses it"
	}
	err = os.RemoveAll(dir)
	_ = l.Close()
	if err == nil {
		err = os.RemoveAll(dir) // Windows keeps what is open
	}
	if err != nil {
		return files.Cannot("remove", dir, err).Error()
	}
	return ""
}
