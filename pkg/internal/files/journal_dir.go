package files

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
	"strings"

	"github.com/gofrs/flock"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// The record's directory comes and goes whole: it is made beside its place, with
// the record of the directories that were made for it in it, and renamed; and so
// it is taken away. Killed at any instant, either there is a record that knows of
// everything, or something under a name of ours that sweep finds.

// NewJournal returns the journal in a directory, which need not be there yet.
// Symbolic links on the way to it are resolved, for the record has paths.
func NewJournal(dir string) *Journal {
	if parent, err := resolve(filepath.Dir(dir)); err == nil {
		dir = filepath.Join(parent, filepath.Base(dir))
	}
	return &Journal{Dir: dir}
}

// trusted says whether the record's directory is there. One that belongs to
// somebody else, or in which others can write, is an error: whoever runs cleanup
// would do what they wrote there, with his own rights.
func (j *Journal) trusted() (there bool, err error) {
	for _, path := range []string{j.Dir, filepath.Join(j.Dir, undoDir), filepath.Join(j.Dir, journalFile)} {
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			if path == j.Dir {
				return false, nil
			}
			continue
		}
		switch {
		case err != nil:
			return false, cannot("read", path, err)
		case info.Mode()&fs.ModeSymlink != 0:
			return false, distrusted("%q, the record for cleanup, is a symbolic link", path)
		case path == filepath.Join(j.Dir, journalFile) && !info.Mode().IsRegular():
			return false, distrusted("%q, the record for cleanup, is not a regular file", path)
		case path != filepath.Join(j.Dir, journalFile) && !info.IsDir():
			return false, distrusted("%q, which holds the record for cleanup, is not a directory", path)
		case !ours(info):
			return false, fault.New(fault.Local, "%q, the record for cleanup, belongs to another user", path).
				Hint("run the command as that user, or with a HOME of this one's own")
		case writableByOthers(info):
			return false, distrusted("%q, the record for cleanup, can be written to by other users", path)
		}
	}
	return true, nil
}

// make makes the directories for the record. If there are none, first is done to
// the record that they begin with, and done is true.
func (j *Journal) make(ctx context.Context, first func(*journal)) (done bool, err error) {
	for {
		missing := missingDirs(j.Dir)
		if len(missing) == 0 {
			break
		}
		if done, err = j.makeMissing(ctx, missing, first); err != nil || done {
			return done, err
		}
	}
	if _, err := j.trusted(); err != nil {
		return false, err
	}
	if err := os.Mkdir(filepath.Join(j.Dir, undoDir), 0o700); err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
		return false, cannot("make directory", j.Dir, err)
	}
	return false, nil
}

func (j *Journal) makeMissing(ctx context.Context, missing []string, first func(*journal)) (done bool, err error) {
	top := missing[0]
	unlock, err := Lock(ctx, top)
	if err != nil {
		return false, err
	}
	defer unlock()
	if exists(top) {
		return false, nil // somebody was faster
	}
	within := filepath.Join(tempName(top), strings.TrimPrefix(j.Dir, top))
	removeRecord(tempName(top), within)
	if err := os.MkdirAll(filepath.Join(within, undoDir), 0o700); err != nil {
		return false, cannot("make directory", j.Dir, err)
	}
	r := &journal{Version: journalVersion, Files: []*journalEntry{}, Dirs: missing}
	first(r)
	if err = (&Journal{Dir: within}).write(r); err == nil {
		if err = os.Rename(tempName(top), top); err == nil {
			return true, nil
		}
		err = cannot("make directory", j.Dir, err)
	}
	removeRecord(tempName(top), within)
	if exists(top) {
		return false, nil
	}
	return false, err
}

// retire removes the record, in which nothing is left, with the directories that
// were made for it and that nobody else uses. The record's lock is held; what is
// to go after it is returned.
func (j *Journal) retire(ctx context.Context, r *journal) (after []string, err error) {
	removeEmpty(j.outside(r.Dirs))
	_ = os.RemoveAll(filepath.Join(j.Dir, undoDir))
	if top := j.top(r.Dirs); top != "" {
		unlock, err := Lock(ctx, top)
		if err != nil {
			return nil, err
		}
		defer unlock()
		within := filepath.Join(tempName(top), strings.TrimPrefix(j.Dir, top))
		removeRecord(tempName(top), within)
		if os.Rename(top, tempName(top)) == nil {
			removeRecord(tempName(top), within)
			if exists(tempName(top)) {
				_ = os.Rename(tempName(top), top) // somebody put something there at that instant
			}
			return nil, nil
		}
	}
	// On Windows, what holds an open file cannot be renamed.
	path := filepath.Join(j.Dir, journalFile)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, cannot("remove", path, err)
	}
	return r.Dirs, nil
}

// top is the outermost of the directories made in which there is nothing but the
// record; "" where the record's own directory was there before.
func (j *Journal) top(made []string) string {
	path := filepath.Join(j.Dir, journalFile)
	known := []string{path, lockName(path), tempName(path)}
	top := ""
	for dir := j.Dir; slices.Contains(made, dir); dir = filepath.Dir(dir) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return top
		}
		for _, e := range entries {
			if !slices.Contains(known, filepath.Join(dir, e.Name())) {
				return top
			}
		}
		top, known = dir, []string{dir}
	}
	return top
}

// inside are the directories on the way to the record, outside are the others.
func (j *Journal) inside(dirs []string) []string {
	return slices.DeleteFunc(slices.Clone(dirs), func(d string) bool { return !j.onTheWay(d) })
}

func (j *Journal) outside(dirs []string) []string {
	return slices.DeleteFunc(slices.Clone(dirs), j.onTheWay)
}

func (j *Journal) onTheWay(dir string) bool {
	rel, err := filepath.Rel(dir, j.Dir)
	return err == nil && filepath.IsLocal(rel)
}

// removeRecord removes a record's files from a directory, and the directories up to
// top, where nothing else is in them.
func removeRecord(top, dir string) {
	if info, err := os.Lstat(top); err != nil || !info.IsDir() {
		_ = os.Remove(top) // a link, or a file, under a name of ours
		return
	}
	path := filepath.Join(dir, journalFile)
	_ = os.RemoveAll(filepath.Join(dir, undoDir))
	_ = os.RemoveAll(tempName(path))
	_ = os.Remove(lockName(path))
	_ = os.Remove(path)
	for {
		removeDir(dir)
		if dir == top || dir == filepath.Dir(dir) {
			return
		}
		dir = filepath.Dir(dir)
	}
}

// sweep removes what was left of making or removing a record by a process that was
// killed.
func (j *Journal) sweep(ctx context.Context) error {
	if err := j.sweepBeside(ctx); err != nil {
		return err
	}
	if there, err := j.trusted(); err != nil || !there {
		return err
	}
	// A directory that was there before us, and what a killed command left in it.
	return j.change(ctx, func(*journal) error { return nil })
}

func (j *Journal) sweepBeside(ctx context.Context) error {
	for dir := j.Dir; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if !exists(lockName(dir)) && !exists(tempName(dir)) {
			continue
		}
		unlock, err := Lock(ctx, dir)
		if err != nil {
			return err
		}
		removeRecord(tempName(dir), filepath.Join(tempName(dir), strings.TrimPrefix(j.Dir, dir)))
		unlock()
	}
	return nil
}

// missingDirs are the directories that making dir would make, the outermost first.
func missingDirs(dir string) []string {
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

// removeEmpty removes directories, the innermost first, where nothing is left in
// them.
func removeEmpty(dirs []string) {
	for _, d := range innermostFirst(dirs) {
		removeDir(d)
	}
}

func innermostFirst(dirs []string) []string {
	return slices.SortedStableFunc(slices.Values(dirs), func(a, b string) int { return len(b) - len(a) })
}

// removeDir removes a directory that is empty, and nothing else.
func removeDir(path string) {
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		_ = os.Remove(path) // not empty: somebody else uses it
	}
}

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
		return "", nil, cannot("find", parent, err)
	}
	dir = filepath.Join(parent, tempPrefix+rand.Text())
	recorded := false
	made := missingDirs(parent)
	if j != nil {
		err := j.begin(ctx, func(r *journal) {
			r.Temps = append(r.Temps, dir)
			r.addDirs(made)
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
		removeEmpty(made)
		if recorded && !exists(dir) {
			j.log(j.changeIfThere(context.WithoutCancel(ctx), func(r *journal) error {
				r.Temps = slices.DeleteFunc(r.Temps, func(t string) bool { return t == dir })
				return nil
			}))
		}
	}
	if err := makeTemp(ctx, dir); err != nil {
		done()
		return "", nil, err
	}
	alive := newLock(filepath.Join(dir, inUse))
	if _, err := alive.TryLock(); err != nil {
		done()
		return "", nil, cannot("lock", dir, err)
	}
	open = append(open, alive)
	for range removeDepth {
		reserved, err := OpenOwn(dir, os.O_RDONLY)
		if err != nil {
			done()
			return "", nil, cannot("use", dir, err)
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
		if missing := missingDirs(parent); len(missing) > 0 {
			there = filepath.Dir(missing[0])
		}
		if info, err := os.Stat(there); err == nil && !mine(info) {
			return fault.New(fault.Local, "the directory %q belongs to another user, who could replace what is in it", there).
				Hint("set TMPDIR to a directory of this user's")
		}
		if err := os.MkdirAll(parent, 0o700); err != nil {
			return cannot("make directory", parent, err)
		}
		err := os.Mkdir(dir, 0o700)
		if errors.Is(err, fs.ErrNotExist) && ctx.Err() == nil {
			continue // another process has just removed the empty directory
		}
		if err != nil {
			return cannot("make directory", dir, err)
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
		return cannot("read", dir, err).Error()
	case !info.IsDir() || !ours(info):
		return "it is not the directory that was made"
	}
	l := flock.New(filepath.Join(dir, inUse), flock.SetFlag(os.O_RDONLY|noFollow))
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
		return cannot("remove", dir, err).Error()
	}
	return ""
}

// Marks returns what the edits of a file left in the record.
func (j *Journal) Marks(path string) ([]Note, error) {
	r, err := j.read()
	if err != nil || r == nil {
		return nil, err
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if e := r.entry(path); e != nil {
		return e.marks(), nil
	}
	return nil, nil
}

// Wrote says whether a file holds what Commit wrote last, and nothing else since.
func (j *Journal) Wrote(path string) bool {
	r, err := j.read()
	if err != nil {
		return false
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	e := r.entry(path)
	if e == nil {
		return false
	}
	b, err := Read(path, maxFile)
	return err == nil && slices.ContainsFunc(e.States, func(s journalState) bool { return s.Text == digest(b) })
}
