package files

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// A Cache is a directory of private files that can go at any time. Nothing in it
// is believed that another user could have put there or could have read, no
// symbolic link in it is followed, and each file carries its digest. The files'
// names are CacheName's.
type Cache struct{ Dir string }

const (
	maxCached = 64 << 10
	cacheWait = time.Hour
	sealed    = 2*sha256.Size + 1 // the digest in hexadecimal, and a line break
)

// CacheName returns the name of the file that is kept for a digest.
func CacheName(sum [sha256.Size]byte, ending string) string {
	return hex.EncodeToString(sum[:]) + "." + ending
}

// cacheNames are CacheName's, and what lies beside such a file: a lock, and what a
// process that was killed has left half written.
const cacheNames = `^\.?[0-9a-f]{64}\.`

// Read returns what Write has put there. It is nil without an error where there is
// no such file; an error says why the file that is there is not believed.
func (c Cache) Read(name string) ([]byte, error) {
	if err := c.private(); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	path := filepath.Join(c.Dir, name)
	r, err := OpenOwn(path, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, cannot("read", path, err)
	}
	defer func() { _ = r.Close() }()
	info, err := r.Stat()
	if err != nil {
		return nil, cannot("read", path, err)
	}
	if why := suspicious(info); why != "" {
		return nil, fmt.Errorf("%q is %s", path, why)
	}
	b, err := io.ReadAll(io.LimitReader(r, maxCached+1))
	if err != nil {
		return nil, cannot("read", path, err)
	}
	if len(b) > maxCached || len(b) < sealed || !bytes.Equal(b[:sealed], seal(name, b[sealed:])) {
		return nil, fmt.Errorf("%q is damaged", path)
	}
	return b[sealed:], nil
}

// seal is the first line of a file: it holds for this content under this name.
func seal(name string, content []byte) []byte {
	h := sha256.New()
	_, _ = h.Write([]byte(name + "\n")) // a hash takes anything
	_, _ = h.Write(content)
	return append([]byte(hex.EncodeToString(h.Sum(nil))), '\n')
}

// private says why the directory is not one that only this user can write or read.
func (c Cache) private() error {
	info, err := os.Lstat(c.Dir)
	if err != nil {
		return cannot("find", c.Dir, err)
	}
	why := suspicious(info)
	if !info.IsDir() {
		why = "no directory"
	}
	if why != "" {
		return fmt.Errorf("%q is %s", c.Dir, why)
	}
	return nil
}

// Ready has the directory, which is there, fit for Write. One that is this user's
// and open to others is closed, and emptied of what they could have read or put
// there.
func (c Cache) Ready() error {
	why := c.private()
	if why == nil {
		return nil
	}
	d, err := OpenOwn(c.Dir, os.O_RDONLY)
	if err != nil {
		return why
	}
	defer func() { _ = d.Close() }()
	info, err := d.Stat()
	if err != nil || !info.IsDir() || !Ours(info) {
		return why
	}
	if err := d.Chmod(0o700); err != nil {
		return cannot("use", c.Dir, err)
	}
	return c.Clear()
}

// Write replaces a file's content, whole or not at all. The file's lock is held. A
// file or a link that is there under the name is replaced, whoever made it.
func (c Cache) Write(name string, content []byte) error {
	if err := c.private(); err != nil {
		return err
	}
	path, b := filepath.Join(c.Dir, name), append(seal(name, content), content...)
	if len(b) > maxCached {
		return fmt.Errorf("%q would be larger than %d bytes", path, maxCached)
	}
	return Overwrite(path, b)
}

// Lock takes the lock of a file, as the package's Lock does, but waits as long as
// ctx allows: who holds it may be waiting for a server.
func (c Cache) Lock(ctx context.Context, name string) (unlock func(), err error) {
	return lock(ctx, filepath.Join(c.Dir, name), cacheWait)
}

// TryLock takes the lock of a file; ok is false where somebody else has it.
func (c Cache) TryLock(name string) (unlock func(), ok bool, err error) {
	return tryLock(lockName(filepath.Join(c.Dir, name)))
}

// Len is how many files there are, locks and leftovers among them.
func (c Cache) Len() int {
	names, err := c.names()
	if err != nil {
		return 0
	}
	return len(names)
}

// Sweep removes what was written before a time, and what killed processes left.
func (c Cache) Sweep(before time.Time) error { return c.remove(before) }

// Clear removes all files. It is no error when there is no such directory.
func (c Cache) Clear() error { return c.remove(time.Time{}) }

// remove removes the files that are older, or all of them for a zero time.
func (c Cache) remove(before time.Time) error {
	names, err := c.names()
	if err != nil {
		return err
	}
	var first error
	for _, name := range names {
		path := filepath.Join(c.Dir, name)
		info, err := os.Lstat(path)
		if err != nil || !before.IsZero() && !info.ModTime().Before(before) {
			continue
		}
		remove := os.Remove
		switch {
		case strings.HasSuffix(name, lockSuffix):
			// A lock that is held is not taken away; releasing one removes it.
			if unlock, ok, err := tryLock(path); err == nil && ok {
				unlock()
			}
			continue
		case strings.HasSuffix(name, tempSuffix):
			remove = os.RemoveAll
		case info.IsDir():
			continue // nobody's of ours
		}
		if err := remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) && first == nil {
			first = cannot("remove", path, err)
		}
	}
	return first
}

// names are the names of our files.
func (c Cache) names() ([]string, error) {
	info, err := os.Lstat(c.Dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return nil, nil // a link would lead to somebody else's files
	}
	if err != nil {
		return nil, cannot("read", c.Dir, err)
	}
	entries, err := os.ReadDir(c.Dir)
	if err != nil {
		return nil, cannot("read", c.Dir, err)
	}
	named := regexp.MustCompile(cacheNames)
	var names []string
	for _, e := range entries {
		if named.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}
