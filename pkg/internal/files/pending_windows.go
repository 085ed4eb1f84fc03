package files

import (
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
)

// pending is renameio's PendingFile for Windows, which renameio leaves out
// because ReplaceFile is not atomic on every file system there. MoveFileEx,
// which os.Rename uses, is on NTFS.
type pending struct {
	*os.File
	path string
	done bool
}

func newPending(path, dir string) (pendingFile, error) {
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"*")
	if err != nil {
		return nil, err
	}
	return &pending{File: f, path: path}, nil
}

func (p *pending) CloseAtomicallyReplace() error {
	if err := p.Close(); err != nil {
		return err
	}
	if err := os.Rename(p.Name(), p.path); err != nil {
		return err
	}
	p.done = true
	return nil
}

func (p *pending) Cleanup() error {
	if p.done {
		return nil
	}
	_ = p.Close() // it may be closed already
	return os.Remove(p.Name())
}

// keepOwner has nothing to do: the directory's access list is inherited.
func keepOwner(pendingFile, fs.FileInfo) error { return nil }

// release gives the lock back and removes its file, which Windows allows only
// once nobody has it open.
func release(l *flock.Flock, name string) {
	_ = l.Close()
	_ = os.Remove(name)
}

// Ours and WritableByOthers have nothing to go by: the directory's access list is
// that of the user's own profile.
func Ours(fs.FileInfo) bool                   { return true }
func Mine(fs.FileInfo) bool                   { return true }
func sameOwner(fs.FileInfo, fs.FileInfo) bool { return true }
func isRoot() bool                            { return false }
func openToAll(fs.FileInfo) bool              { return false }
func WritableByOthers(fs.FileInfo) bool       { return false }

const noFollow = 0
