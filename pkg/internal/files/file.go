package files

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

const (
	// maxFile bounds what is read for an edit: 10,000 profiles are 3 MB.
	maxFile = 64 << 20
)

// An Edit is a change of one file's content.
type Edit struct {
	Path string
	// Private says that the file is to hold a secret: an existing one is
	// tightened to 0600. Any other existing file keeps its mode, and a new one
	// is 0600 in any case.
	Private bool
	// Mark is for an Observer, which knows what it is.
	Mark any
	// Apply returns the new content. old is nil when there is no file. An
	// error leaves every file of the Commit as it was.
	Apply func(old []byte) ([]byte, error)
	// InPlace is told that the file was written in place because it could not be
	// replaced; nil means nobody is.
	InPlace func(path string, why error)
}

// Commit applies the edits: all of them, or none. Every file is locked against
// other writers of this program, read, changed in memory, and only when all
// changes are known written to a temporary file beside it and renamed: killed
// at any instant, a file is the old one or the new one. Symbolic links are
// resolved first; missing directories are made with 0700. What cannot be done
// is a fault.Local that names the file; so is a lock that another process still
// holds at ctx's deadline.
func Commit(ctx context.Context, edits ...Edit) error { return CommitObserved(ctx, nil, edits...) }

// A Change is what a Commit does to one file.
type Change struct {
	Path     string      // symbolic links resolved
	Dirs     []string    // made for it
	Info     fs.FileInfo // nil: there is no file yet
	Old, New []byte
	Mode     fs.FileMode // that the file gets
	Edits    []Edit
}

// An Observer is told of the changes of a Commit before they are made.
type Observer interface {
	// Intended comes before anything is made, directories and locks included: only
	// the paths, the directories and the edits are known.
	Intended(context.Context, []Change)
	// Changing comes when all changes are known, with the files' locks held. Files
	// that stay the same are not among them.
	Changing(context.Context, []Change)
	// Ended comes when the Commit is done, or has failed.
	Ended(context.Context, []Change)
}

func (f *file) described() Change {
	return Change{Path: f.path, Dirs: f.made, Info: f.info, Old: f.old, New: f.new, Mode: f.mode(), Edits: f.edits}
}

// CommitObserved is Commit with an Observer, which may be nil.
func CommitObserved(ctx context.Context, o Observer, edits ...Edit) (err error) {
	files, err := open(edits)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			for _, f := range files {
				RemoveEmpty(f.made)
			}
		}
	}()
	if o != nil {
		intended := describe(files)
		o.Intended(ctx, intended)
		defer o.Ended(ctx, intended)
	}
	unlock, err := lockAll(ctx, files)
	if err != nil {
		return err
	}
	defer unlock()
	var changing []*file
	for _, f := range files {
		if err := f.restoreTorn(); err != nil {
			return err
		}
		if err := f.change(); err != nil {
			return err
		}
		if !f.same() {
			changing = append(changing, f)
		}
	}
	if o != nil && len(changing) > 0 {
		o.Changing(ctx, describe(changing))
	}
	return writeAll(files)
}

func describe(files []*file) []Change {
	var all []Change
	for _, f := range files {
		all = append(all, f.described())
	}
	return all
}

// writeAll puts the new files in the place of the old ones. Their locks are held.
func writeAll(files []*file) error {
	defer func() {
		for _, f := range files {
			f.discard()
		}
	}()
	for _, f := range files {
		if err := f.stage(); err != nil {
			return cannot("write", f.path, err)
		}
	}
	for i, f := range files {
		if err := f.replace(); err != nil {
			for _, done := range files[:i] {
				done.restore()
			}
			return cannot("write", f.path, err)
		}
	}
	return nil
}

// lockAll makes the files' directories and takes their locks, in the order of the
// files.
func lockAll(ctx context.Context, files []*file) (unlock func(), err error) {
	var held []func()
	unlock = func() {
		for _, release := range held {
			release()
		}
	}
	for i := 0; i < len(files); {
		f := files[i]
		dir := filepath.Dir(f.path)
		f.made = unite(f.made, MissingDirs(dir)) // a cleanup may be removing what was there a moment ago
		if err := MakeDirs(dir); err != nil {
			unlock()
			return nil, cannot("make directory", dir, err)
		}
		release, err := f.lock(ctx)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			// A cleanup found the directory empty, and removed it.
			if err := ctx.Err(); err != nil {
				unlock()
				return nil, err
			}
		case err != nil:
			unlock()
			return nil, err
		default:
			held = append(held, release)
			i++
		}
	}
	return unlock, nil
}

// A file under edit. Two edits of one file share it.
type file struct {
	path     string // symbolic links resolved
	edits    []Edit
	info     fs.FileInfo // nil: there is none yet
	old, new []byte
	pending  pendingFile
	perm     fs.FileMode // instead of the mode that it would have; 0: none
	alone    error       // why nothing can be made beside it
	broken   bool        // it is neither the old one nor the new one
	temp     string      // the directory in which it is pending
	made     []string    // the directories that are made for it
}

// A pendingFile is written beside its target and then takes its place.
type pendingFile interface {
	io.Writer
	Chmod(fs.FileMode) error
	Chown(uid, gid int) error
	Sync() error
	CloseAtomicallyReplace() error
	Cleanup() error
}

// open resolves the edits' paths, in an order that is the same for every
// process, so that two of them never wait for each other's lock. It finds out
// which directories are missing, and makes none.
func open(edits []Edit) ([]*file, error) {
	byPath := map[string]*file{}
	var files []*file
	for _, e := range edits {
		path, err := Resolve(e.Path)
		if err != nil {
			return nil, err
		}
		f := byPath[path]
		if f == nil {
			f = &file{path: path}
			byPath[path] = f
			files = append(files, f)
		}
		f.edits = append(f.edits, e)
	}
	sort.Slice(files, func(i, j int) bool { return files[i].path < files[j].path })
	for _, f := range files {
		f.made = MissingDirs(filepath.Dir(f.path))
	}
	return files, nil
}

// Resolve follows the symbolic links of what is there of the path.
func Resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", cannot("find", path, err)
	}
	for range maxLinks {
		target, gone, err := resolve(path)
		if !gone {
			return target, err
		}
	}
	return "", cannot("find", path, fs.ErrNotExist)
}

// resolve resolves an absolute path. gone says that another process removed what was
// there in between: what is there has to be looked for again.
func resolve(path string) (target string, gone bool, err error) {
	there, missing := path, ""
	info, err := os.Lstat(there)
	for errors.Is(err, fs.ErrNotExist) && there != filepath.Dir(there) {
		there, missing = filepath.Dir(there), filepath.Join(filepath.Base(there), missing)
		info, err = os.Lstat(there)
	}
	if err != nil {
		return "", false, cannot("find", path, err)
	}
	if link := foreignLink(there); link != "" {
		return "", false, fault.New(fault.Local, "%q is a symbolic link that another user made", link).
			Hint("remove it, or name the file itself")
	}
	target, err = filepath.EvalSymlinks(there)
	if errors.Is(err, fs.ErrNotExist) {
		if info, err = os.Lstat(there); err != nil || info.Mode()&fs.ModeSymlink == 0 {
			return "", true, nil //nolint:nilerr // it was there a moment ago
		}
		// Creating the target would put a secret where a link of unknown
		// origin points.
		kind := "file"
		if missing != "" {
			kind = "directory"
		}
		return "", false, fault.New(fault.Local, "%q is a symbolic link to a %s that does not exist", there, kind).
			Hint("remove the link, or create the %s that it points to", kind)
	}
	if err != nil {
		if info.Mode()&fs.ModeSymlink != 0 {
			return "", false, fault.New(fault.Local, "%q is a broken symbolic link: %w", path, bare(err)).
				Hint("remove the link, or point it at a file")
		}
		return "", false, cannot("find", path, err)
	}
	return filepath.Join(target, missing), false, nil
}

// change reads the file and applies its edits in memory.
func (f *file) change() error {
	info, err := os.Stat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return cannot("read", f.path, err)
	case info.IsDir():
		return fault.New(fault.Local, "%q is a directory, not a file", f.path)
	case !info.Mode().IsRegular():
		return fault.New(fault.Local, "%q is not a regular file", f.path)
	case info.Mode().Perm()&0o200 == 0:
		// A rename would succeed, for root any write would; but somebody
		// marked the file as not to be changed.
		return fault.New(fault.Local, "%q is read-only", f.path).
			Hint("make it writable (chmod u+w), or name another file")
	default:
		f.info = info
		if f.old, err = Read(f.path, maxFile); err != nil {
			return err
		}
	}
	if f.private() {
		if err := keepsSecrets(f.path, f.info); err != nil {
			return err
		}
	}
	f.new = bytes.Clone(f.old) // Apply may write into what it is given
	for _, e := range f.edits {
		if f.new, err = e.Apply(f.new); err != nil {
			// It may know the line, but not the file.
			return fault.New(fault.KindOf(err), "cannot edit %q: %w", e.Path, err)
		}
	}
	return nil
}

func (f *file) private() bool {
	for _, e := range f.edits {
		if e.Private {
			return true
		}
	}
	return false
}

// mode is the mode that the file shall have.
func (f *file) mode() fs.FileMode {
	if f.perm != 0 {
		return f.perm
	}
	if f.info == nil || f.private() {
		return 0o600
	}
	return f.info.Mode().Perm()
}

// same says that the file is already what it shall be.
func (f *file) same() bool {
	if f.info == nil {
		return len(f.new) == 0
	}
	return bytes.Equal(f.old, f.new) && f.info.Mode().Perm() == f.mode()
}

// stage writes the new content beside the file, down to the disk: from here
// on only renaming can fail.
func (f *file) stage() error {
	if f.same() {
		// A killed run may have left a secret beside what it had no time to change
		// again. Where it cannot be removed, there is nothing to write either.
		_ = f.clear()
		return nil
	}
	return f.write()
}

// write makes the new file in a directory of its own, which has the same name for
// each writer: what a killed one left, with a secret in it, the next one removes.
// The file's lock is held.
func (f *file) write() error {
	if err := f.clear(); err != nil {
		return err
	}
	f.temp = tempName(f.path)
	err := os.Mkdir(f.temp, 0o700)
	if errors.Is(err, fs.ErrExist) { // another user's, which clear has left
		f.temp += "-" + rand.Text()
		err = os.Mkdir(f.temp, 0o700)
	}
	if err != nil {
		if irreplaceable(err) && f.info != nil && f.writableInPlace() {
			f.alone = err
			return nil
		}
		return err
	}
	p, err := newPending(f.path, f.temp)
	if err != nil {
		_ = os.Remove(f.temp)
		return err
	}
	f.pending = p
	if f.info != nil {
		if err := keepOwner(p, f.info); err != nil {
			return err
		}
	}
	if err := p.Chmod(f.mode()); err != nil {
		return err
	}
	if _, err := p.Write(f.new); err != nil {
		return err
	}
	return p.Sync()
}

// Rereadable says whether a file can be read more than once: a pipe cannot, nor
// what a shell makes of <(command). Of one that is not there reading it will tell.
func Rereadable(path string) bool {
	info, err := os.Stat(path)
	return err != nil || info.Mode().IsRegular() && !strings.HasPrefix(filepath.ToSlash(filepath.Clean(path)), "/dev/")
}

// cannot says what could not be done with which file.
func cannot(do, path string, err error) error { return Cannot(do, path, err) }

// bare strips the operation and the path from a system error.
func bare(err error) error { return Bare(err) }
