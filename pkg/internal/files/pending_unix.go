//go:build !windows

package files

import (
	"io/fs"
	"os"
	"syscall"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"
)

// newPending opens a temporary file in dir that is to take path's place.
func newPending(path, dir string) (pendingFile, error) {
	return renameio.NewPendingFile(path, renameio.WithTempDir(dir), renameio.WithStaticPermissions(0o600))
}

// keepOwner gives the new file to the old one's owner and group: a step that
// runs as root must not lock the job's user out of his own file.
func keepOwner(p pendingFile, old fs.FileInfo) error {
	s, ok := old.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	uid, gid := int(s.Uid), int(s.Gid)
	if uid == syscall.Geteuid() && gid == syscall.Getegid() {
		return nil
	}
	err := p.Chown(uid, gid)
	if uid == syscall.Geteuid() {
		// Only the group could not be kept: the file is still its owner's.
		return nil
	}
	return err
}

// release gives the lock back and removes its file. Removing comes first, while
// the lock is held: whoever has the file open sees that it is the lock no more.
func release(l *flock.Flock, name string) {
	_ = os.Remove(name)
	_ = l.Close()
}

// Ours says whether a file belongs to the user that this process is.
func Ours(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(s.Uid) == syscall.Geteuid()
}

// noFollow opens through no link, and does not wait for a pipe.
const noFollow = syscall.O_NOFOLLOW | syscall.O_NONBLOCK

func isRoot() bool { return syscall.Geteuid() == 0 }

// Mine says whether a file belongs to this user, or to root.
func Mine(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && (s.Uid == 0 || int(s.Uid) == syscall.Geteuid())
}

func sameOwner(a, b fs.FileInfo) bool {
	s, ok := a.Sys().(*syscall.Stat_t)
	t, also := b.Sys().(*syscall.Stat_t)
	return ok && also && s.Uid == t.Uid
}

// openToAll says whether every user can replace what is in a directory.
func openToAll(dir fs.FileInfo) bool {
	return dir.Mode().Perm()&0o002 != 0 && dir.Mode()&fs.ModeSticky == 0
}

// WritableByOthers says whether another user than its owner may change a file, or
// what is in a directory.
func WritableByOthers(info fs.FileInfo) bool { return info.Mode().Perm()&0o022 != 0 }
