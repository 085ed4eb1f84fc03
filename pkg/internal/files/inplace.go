package files

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// A file that is mounted by itself, as containers have them, cannot be replaced by a
// rename, and in a directory that is not writable nothing can be made beside it. It is
// written in place: under a lock, with both texts kept beside it until that is done,
// so that the next writer can restore the old one if this one is killed.

// The copies of both texts, in the directory where the new file was made. With both
// there, a writer was about to write in place.
const keptOld, keptNew = "old", "new"

// irreplaceable says that a file cannot be replaced, or nothing be made beside it.
func irreplaceable(err error) bool {
	for _, number := range []syscall.Errno{syscall.EBUSY, syscall.EXDEV, syscall.EPERM, syscall.EACCES, syscall.EROFS} {
		if errors.Is(err, number) {
			return true
		}
	}
	return false
}

// writableInPlace says that the file is there, and this user's to write. In a directory
// of another user, another owner's file is not: the rename that failed protects it.
func (f *file) writableInPlace() bool {
	info := f.info
	if info == nil {
		var err error
		if info, err = os.Lstat(f.path); err != nil {
			return false
		}
	}
	return info.Mode().IsRegular() && (Ours(info) || os.Geteuid() == 0)
}

// lock takes the lock of a file, beside it or, where nothing can be made there, on
// the file itself: it is not going to be replaced.
func (f *file) lock(ctx context.Context) (unlock func(), err error) {
	if unlock, err = Lock(ctx, f.path); err == nil || !irreplaceable(err) || !f.writableInPlace() {
		return unlock, err
	}
	wait, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	l := NewLock(f.path, 0)
	if _, lerr := l.TryLockContext(wait, lockPoll); lerr != nil {
		_ = l.Close()
		if errors.Is(lerr, context.Canceled) {
			return nil, lerr
		}
		return nil, err
	}
	return func() { _ = l.Close() }, nil
}

// replace puts the staged file in its place.
func (f *file) replace() error {
	if f.alone != nil {
		return f.overwrite(f.alone)
	}
	if f.pending == nil {
		return nil
	}
	err := f.pending.CloseAtomicallyReplace()
	if err != nil && irreplaceable(err) {
		return f.overwrite(err)
	}
	return err
}

func (f *file) discard() {
	if f.pending != nil {
		_ = f.pending.Cleanup() // nothing is left to do about it
		if !f.broken {
			_ = f.clear()
		}
	}
}

// restore puts the old content back after a later file of the same Commit
// could not be replaced. It is the best that can be done.
func (f *file) restore() {
	if f.pending == nil && f.alone == nil {
		return
	}
	if f.info == nil {
		_ = os.Remove(f.path)
		return
	}
	back := &file{path: f.path, info: f.info, old: f.new, new: f.old, edits: []Edit{{}}}
	if back.write() == nil {
		_ = back.replace()
	}
	back.discard()
}

// overwrite writes the new text in place, because the file could not be replaced.
func (f *file) overwrite(why error) error {
	if f.info == nil || !f.writableInPlace() {
		return why
	}
	if f.alone == nil {
		if err := WriteNew(filepath.Join(f.temp, keptOld), f.old); err != nil {
			return err
		}
		if err := WriteNew(filepath.Join(f.temp, keptNew), f.new); err != nil {
			return err
		}
	}
	w, err := OpenOwn(f.path, os.O_WRONLY)
	if err != nil {
		return why
	}
	defer func() { _ = w.Close() }()
	switch info, err := w.Stat(); {
	case err != nil:
		return err
	case !os.SameFile(info, f.info):
		return fault.New(fault.Local, "another program replaced it at the same time")
	case info.Mode().Perm() != f.mode():
		// While a secret is in it, neither mode's readers may be more than the other's.
		if err := w.Chmod(info.Mode().Perm() & f.mode()); err != nil {
			return err
		}
		defer func() { _ = w.Chmod(f.mode()) }()
	}
	if err := rewrite(w, f.new); err != nil {
		f.broken = rewrite(w, f.old) != nil
		return err
	}
	for _, e := range f.edits {
		if e.InPlace != nil {
			e.InPlace(e.Path, bare(why))
			break
		}
	}
	return nil
}

// rewrite makes b the content of an open file.
func rewrite(w *os.File, b []byte) error {
	if _, err := w.WriteAt(b, 0); err != nil {
		return err
	}
	if err := w.Truncate(int64(len(b))); err != nil {
		return err
	}
	return w.Sync()
}

// restoreTorn restores the old text where a writer was killed while it wrote in place. What
// another program has written since stays. The file's lock is held.
func (f *file) restoreTorn() error {
	for _, dir := range ownTemps(f.path) {
		if err := f.restoreFrom(dir); err != nil {
			return err
		}
	}
	return nil
}

// restoreFrom does it with the texts that are in a directory of this user's.
func (f *file) restoreFrom(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() || WritableByOthers(info) {
		return nil //nolint:nilerr // no writer of ours was here
	}
	var texts [2][]byte
	for i, name := range []string{keptOld, keptNew} {
		if texts[i], err = ReadOwn(filepath.Join(dir, name), maxFile); err != nil {
			return nil //nolint:nilerr // it had not begun
		}
	}
	w, err := OpenOwn(f.path, os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return cannot("restore", f.path, err)
	}
	defer func() { _ = w.Close() }()
	now, err := ReadOwn(f.path, maxFile)
	if err == nil && torn(now, texts[0], texts[1]) {
		err = rewrite(w, texts[0])
	}
	if err != nil {
		return cannot("restore", f.path, err)
	}
	return nil
}

// torn says that a text is the beginning of the new one followed by the rest of the
// old one: rewrite was interrupted.
func torn(now, before, after []byte) bool {
	if bytes.Equal(now, before) || bytes.Equal(now, after) {
		return false
	}
	same := 0
	for same < len(now) && same < len(after) && now[same] == after[same] {
		same++
	}
	if len(now) > len(before) { // it had grown already: nothing of the old one can be left
		return same == len(now)
	}
	return len(now) == len(before) && bytes.Equal(now[same:], before[same:])
}
