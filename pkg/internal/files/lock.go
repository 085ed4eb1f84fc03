package files

import (
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

const (
	// lockWait is how long another process may hold a file's lock.
	lockWait = 30 * time.Second
	lockPoll = 10 * time.Millisecond
)

// ErrLocked is what the error of Lock is that waited in vain for another process.
var ErrLocked = errors.New("locked")

// waited is for how long Lock did.
type waited string

func (w waited) Error() string      { return "waited " + string(w) }
func (waited) Is(target error) bool { return target == ErrLocked }

// waitedTimeout is that it was for all the time that the command has.
type waitedTimeout struct{ waited }

func (waitedTimeout) Error() string { return waitedTimeout{}.Named(nil) }

// Named names the option that limits that time.
func (waitedTimeout) Named(names fault.Naming) string {
	return fault.Messagef("waited until %s", fault.Option("timeout")).Named(names)
}

// errOccupied is the cause of a lock whose name another user has taken, or that is
// not a regular file.
var errOccupied = errors.New("another user's file, or not a regular one, is in its place")

type locksKey struct{}

// WithLocks returns a context in which locks of files whose directory other users can
// write to are held in a directory of this user's, too.
func WithLocks(ctx context.Context, dir string) context.Context {
	return context.WithValue(ctx, locksKey{}, dir)
}

// Lock takes the lock that this program's writers of path hold, waiting half a
// minute for another holder at most. The lock file lies beside path and is
// gone when the lock is. If ctx is canceled, that is the error.
func Lock(ctx context.Context, path string) (unlock func(), err error) {
	return lock(ctx, path, lockWait)
}

func lock(ctx context.Context, path string, patience time.Duration) (unlock func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err // nobody knows yet whether the lock is held
	}
	dir, _ := ctx.Value(locksKey{}).(string)
	if dir == "" || !sharedDir(filepath.Dir(path)) {
		return lockFile(ctx, path, lockName(path), patience)
	}
	// Where others can make files, they can make a lock's. The one that all processes
	// of this user agree on is where nobody else can: the one beside the file is for
	// those of other homes, and nothing where another user has taken its name.
	private, err := lockPrivate(ctx, path, dir, patience)
	if err != nil {
		return nil, err
	}
	beside, err := lockFile(ctx, path, lockName(path), patience)
	switch {
	case errors.Is(err, errOccupied), errors.Is(err, fs.ErrPermission):
		return private, nil
	case err != nil:
		private()
		return nil, err
	}
	return func() { beside(); private() }, nil
}

// lockPrivate takes a lock in a directory of this user's, which is made for it.
func lockPrivate(ctx context.Context, path, dir string, patience time.Duration) (unlock func(), err error) {
	for {
		made := MissingDirs(dir)
		if err := MakeDirs(dir); err != nil {
			return nil, cannot("make directory", dir, err)
		}
		if err := (Cache{Dir: dir}).private(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fault.New(fault.Local, "cannot lock %q: %w", path, err)
		}
		unlock, err := lockFile(ctx, path, filepath.Join(dir, CacheName(sha256.Sum256([]byte(path)), "lock")), patience)
		if errors.Is(err, fs.ErrNotExist) && ctx.Err() == nil {
			continue // another process has just removed the empty directory
		}
		if err != nil {
			return nil, err
		}
		// The last of several that hold locks finds the directories empty.
		return func() {
			unlock()
			RemoveEmpty(unite([]string{dir, filepath.Dir(dir), filepath.Dir(filepath.Dir(dir))}, made))
		}, nil
	}
}

// lockFile takes the lock of a name.
func lockFile(ctx context.Context, path, name string, patience time.Duration) (unlock func(), err error) {
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		l, err := openLock(name)
		if err == nil {
			_, err = l.TryLockContext(wait, lockPoll)
		}
		if err != nil {
			if l != nil {
				_ = l.Close()
			}
			switch {
			case errors.Is(err, context.DeadlineExceeded):
				long := error(waited(patience.String()))
				if ctx.Err() != nil {
					long = waitedTimeout{}
				}
				return nil, fault.New(fault.Local, "%q is locked by another process: %w", path, long).
					Hint("the lock is %q; end the process that holds it", name)
			case errors.Is(err, context.Canceled):
				return nil, err
			case errors.Is(err, errOccupied):
				e := fault.New(fault.Local, "cannot lock %q: %w", path, err).Hint("remove %q", name)
				if sharedDir(filepath.Dir(name)) {
					e.Hint("or set HOME to a directory of this user's: the lock is then held there")
				}
				return nil, e
			}
			return nil, cannot("lock", path, err)
		}
		if current(l, name) {
			return func() { release(l, name) }, nil
		}
		_ = l.Close()
	}
}

// tryLock takes the lock of this name, or says that somebody else has it.
func tryLock(name string) (unlock func(), ok bool, err error) {
	for {
		l, err := openLock(name)
		if err != nil {
			return nil, false, cannot("lock", name, err)
		}
		ok, err := l.TryLock()
		if err != nil || !ok {
			_ = l.Close()
			if err != nil {
				err = cannot("lock", name, err)
			}
			return nil, false, err
		}
		if current(l, name) {
			return func() { release(l, name) }, true, nil
		}
		_ = l.Close()
	}
}

// openLock refuses what another user has put in a lock's place, without waiting for
// it, and makes the file where there is none. What is opened here is what TryLock
// locks.
func openLock(name string) (*flock.Flock, error) {
	info, err := os.Lstat(name)
	if err == nil && !ownLock(name, info) {
		return nil, errOccupied
	}
	return NewLock(name, os.O_CREATE), nil
}

// NewLock is the lock of a file of this program's own, which is opened for reading
// with a flag, through no link, and without waiting.
func NewLock(name string, flag int) *flock.Flock {
	return flock.New(name, flock.SetPermissions(0o600), flock.SetFlag(flag|os.O_RDONLY|noFollow))
}

// ownLock says whether a lock's file is one that this program can have made: as this
// user, as root, or as the directory's owner.
func ownLock(name string, info fs.FileInfo) bool {
	if !info.Mode().IsRegular() {
		return false
	}
	if Mine(info) {
		return true
	}
	dir, err := os.Stat(filepath.Dir(name))
	return err == nil && sameOwner(info, dir)
}

// current says whether the lock held is the file that is there now: between
// opening and locking it, the former holder may have removed it.
func current(l *flock.Flock, name string) bool {
	held, err := l.Stat()
	if err != nil || !held.Mode().IsRegular() {
		return false
	}
	there, err := os.Lstat(name)
	return err == nil && os.SameFile(held, there)
}
