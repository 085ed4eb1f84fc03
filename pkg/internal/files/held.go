package files

import (
	"context"
	"errors"
	"io/fs"
	"os"
)

// Held is one file whose lock is held. Its path has no symbolic links.
type Held struct {
	f      *file
	unlock func()
}

// Hold takes a file's lock. Where its directory is not there, that is an
// fs.ErrNotExist. What a writer that was killed left of the file is restored.
func Hold(ctx context.Context, path string) (*Held, error) {
	f := &file{path: path}
	unlock, err := f.lock(ctx)
	if err != nil {
		return nil, err
	}
	if err := f.restoreTorn(); err != nil {
		unlock()
		return nil, err
	}
	return &Held{f, unlock}, nil
}

// Release gives the lock back, and removes what a writer that was killed left.
func (h *Held) Release() {
	_ = h.f.clear() // the next writer tries again
	h.unlock()
}

// Look returns a file as a Commit would find it.
func Look(path string) (Change, error) {
	f := &file{path: path}
	err := f.change()
	return f.described(), err
}

// Replace writes the file anew, with the mode that it is to have.
func (h *Held) Replace(content []byte, mode fs.FileMode) error {
	f := &file{path: h.f.path}
	if err := f.change(); err != nil {
		return err
	}
	f.new, f.perm = content, mode
	return writeAll([]*file{f})
}

// Remove removes the file.
func (h *Held) Remove() error {
	if err := os.Remove(h.f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return cannot("remove", h.f.path, err)
	}
	return nil
}

// Overwrite replaces a private file of this program's own, whole or not at all. Its
// lock is held. A file or a link that is there is replaced, whoever made it.
func Overwrite(path string, content []byte) error {
	f := &file{path: path, new: content, perm: 0o600}
	defer f.discard()
	if err := f.write(); err != nil {
		return cannot("write", path, err)
	}
	if err := f.replace(); err != nil {
		return cannot("write", path, err)
	}
	return nil
}

// Clear removes what a writer that was killed left beside a file whose lock is held.
func Clear(path string) { _ = (&file{path: path}).clear() }
