// Package undo records on disk what commands change in files, so that cleanup can
// restore it, also after a crash.
package undo

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
)

// A Journal is the record of what Commit changed. The record itself holds paths and
// digests. What files would be without our changes, which may hold secrets, lies beside
// it. All files are 0600, the directory is 0700, and a record that other users could
// have written to is refused.
type Journal struct {
	Dir string
	// Levels is how many directories, Dir and those around it, are made for the record:
	// an empty one of them is removed with it. 0 is 1.
	Levels int
	// Job names the job for which something is recorded; "" outside of one.
	Job string
	// Log is told what could not be recorded: the change is made all the same.
	// Nil means nobody is.
	Log func(error)
	// Markers know, by the kinds of marks, what edits wrote.
	Markers map[string]Marker
}

// A Note is something else to clean up, which its writer understands. It holds
// no secret.
type Note struct {
	Kind   string            `json:"kind"`
	Values map[string]string `json:"values"`
}

func (n Note) equal(m Note) bool { return n.Kind == m.Kind && maps.Equal(n.Values, m.Values) }

const (
	recordFile    = "journal.json"
	backupDir     = "undo"
	recordVersion = 2
	// maxRecord bounds what is read of a record, maxFile what is read of a file.
	maxRecord, maxFile = 16 << 20, 64 << 20
)

// record is the manifest of all changes.
type record struct {
	Version int      `json:"version"`
	Files   []*entry `json:"files"`
	Dirs    []string `json:"dirs,omitempty"`  // made for the record, for caches, and for files undone already
	Temps   []string `json:"temps,omitempty"` // temporary directories in use
	Notes   []Note   `json:"notes,omitempty"`
}

// entry is a file that is changed. It is in the record before anything is there of
// the change: its directory, its lock.
type entry struct {
	Path    string      `json:"path"`              // symbolic links resolved
	Job     string      `json:"job,omitempty"`     // that changed it first
	Created bool        `json:"created,omitempty"` // there would be none without us
	Mode    fs.FileMode `json:"mode,omitempty"`    // that it would have
	Given   fs.FileMode `json:"given,omitempty"`   // that we gave it
	Dirs    []string    `json:"dirs,omitempty"`    // made for it
	// Texts are the digests of what we wrote last and, since nobody knows whether a
	// writer got as far as that, of what it found. None: nothing is written yet.
	Texts   []string `json:"texts,omitempty"`
	Base    string   `json:"base,omitempty"`   // digest of what the file would be without us
	Backup  string   `json:"backup,omitempty"` // the file with that; "": it would be empty
	Marks   []Note   `json:"marks,omitempty"`
	Secrets []string `json:"secrets,omitempty"` // digests of the secrets in it
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func (j *Journal) log(err error) {
	if err != nil && j.Log != nil {
		j.Log(err)
	}
}

// NewJournal returns the journal in a directory, which need not be there yet.
// Symbolic links on the way to it are resolved, for the record has paths.
func NewJournal(dir string) *Journal {
	if parent, err := files.Resolve(filepath.Dir(dir)); err == nil {
		dir = filepath.Join(parent, filepath.Base(dir))
	}
	return &Journal{Dir: dir}
}

func (j *Journal) path() string { return filepath.Join(j.Dir, recordFile) }

// Note adds a note to the record.
func (j *Journal) Note(ctx context.Context, n Note) error {
	return j.update(ctx, func(r *record) error {
		if !slices.ContainsFunc(r.Notes, n.equal) {
			r.Notes = append(r.Notes, n)
		}
		return nil
	})
}

// Notes returns the notes in the record.
func (j *Journal) Notes() ([]Note, error) {
	r, err := j.read()
	if err != nil || r == nil {
		return nil, err
	}
	return r.Notes, nil
}

// Keep puts a secret beside the record, for a note in it, until Undo. Kept returns
// it.
func (j *Journal) Keep(ctx context.Context, n Note, v secret.Value) error {
	return j.update(ctx, func(r *record) error {
		i := slices.IndexFunc(r.Notes, n.equal)
		if i < 0 {
			return nil // a cleanup has seen to it
		}
		name, err := j.backup([]byte(v.Reveal()))
		if err != nil {
			return err
		}
		values := maps.Clone(n.Values)
		values[keptValue] = name
		r.Notes[i].Values = values
		return nil
	})
}

// keptValue is the value of a note by which Keep's secrets are known.
const keptValue = "kept"

// Kept returns the secret that a note has from Keep, or an empty one.
func (j *Journal) Kept(n Note) secret.Value {
	b, err := j.backupBytes(n.Values[keptValue])
	if err != nil {
		return secret.Value{}
	}
	return secret.New(string(b))
}

// MkdirAll makes a directory, 0700, and records those that it has to make.
func (j *Journal) MkdirAll(ctx context.Context, dir string) error {
	if missing := files.MissingDirs(dir); len(missing) > 0 {
		j.log(j.update(ctx, func(r *record) error { r.Dirs = union(r.Dirs, missing); return nil }))
	}
	if err := files.MakeDirs(dir); err != nil {
		return files.Cannot("make directory", dir, err)
	}
	return nil
}

// OfOthers returns the files that are recorded for another job than this one.
func (j *Journal) OfOthers() ([]string, error) {
	r, err := j.read()
	if err != nil || r == nil {
		return nil, err
	}
	var all []string
	for _, e := range r.Files {
		if e.Job != "" && e.Job != j.Job {
			all = append(all, e.Path)
		}
	}
	return all, nil
}

// Marks returns what the edits of a file left in the record.
func (j *Journal) Marks(path string) ([]Note, error) {
	r, err := j.read()
	if err != nil {
		return nil, err
	}
	if e := r.found(path); e != nil {
		return e.Marks, nil
	}
	return nil, nil
}

// Wrote says whether a file holds what Commit wrote last, and nothing else since.
func (j *Journal) Wrote(path string) bool {
	r, err := j.read()
	if err != nil {
		return false
	}
	e := r.found(path)
	if e == nil {
		return false
	}
	b, err := files.Read(path, maxFile)
	return err == nil && slices.Contains(e.Texts, digest(b))
}

// found is the entry of a path that may have links in it.
func (r *record) found(path string) *entry {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return r.entry(path)
}

func (r *record) entry(path string) *entry {
	if r != nil {
		for _, e := range r.Files {
			if e.Path == path {
				return e
			}
		}
	}
	return nil
}

func (r *record) drop(e *entry) {
	r.Files = slices.DeleteFunc(r.Files, func(f *entry) bool { return f == e })
}

func (r *record) empty() bool { return len(r.Files)+len(r.Temps)+len(r.Notes) == 0 }

func union[T comparable](a, b []T) []T {
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(a, s)
		}
	}
	return a
}

// update changes the record under its lock, and makes it where there is none.
func (j *Journal) update(ctx context.Context, change func(*record) error) error {
	const tries = 100
	for n := 0; ; n++ {
		missing := files.MissingDirs(j.Dir)
		if err := files.MakeDirs(j.Dir); err != nil {
			return files.Cannot("make directory", j.Dir, err)
		}
		err := j.change(ctx, false, func(r *record) error {
			r.Dirs = union(r.Dirs, missing)
			return change(r)
		})
		if err != nil {
			files.RemoveEmpty(missing)
		}
		if !errors.Is(err, fs.ErrNotExist) || ctx.Err() != nil || n == tries {
			return err
		}
		// A cleanup removed the directory in between.
	}
}

// takeOut is update for what removes something from the record. One that is empty
// then is removed. Where there is none, a cleanup has removed it already.
func (j *Journal) takeOut(ctx context.Context, change func(*record) error) error {
	if err := j.change(ctx, true, change); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// change changes the record under its lock. Where there is no directory for it, that
// is an fs.ErrNotExist.
func (j *Journal) change(ctx context.Context, retire bool, change func(*record) error) error {
	if _, err := j.trusted(); err != nil {
		return err
	}
	wait, cancel := halfOf(ctx)
	defer cancel()
	unlock, err := files.Lock(wait, j.path())
	if err != nil {
		return err
	}
	defer func() {
		unlock()
		if retire {
			j.prune()
		}
	}()
	r, err := j.read()
	if err != nil {
		return err
	}
	if r == nil {
		r = &record{Files: []*entry{}}
	}
	r.Version = recordVersion
	if err := change(r); err != nil {
		return err
	}
	if retire && r.empty() && !slices.ContainsFunc(r.Dirs, func(d string) bool { return !j.onTheWay(d) && exists(d) }) {
		_ = os.RemoveAll(filepath.Join(j.Dir, backupDir))
		files.Clear(j.path())
		if err := os.Remove(j.path()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return files.Cannot("remove", j.path(), err)
		}
		defer files.RemoveEmpty(r.Dirs)
		return nil
	}
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fault.New(fault.Internal, "cannot write the record as JSON")
	}
	if err := files.Overwrite(j.path(), append(b, '\n')); err != nil {
		return err
	}
	j.sweepBackups(r)
	return nil
}

// prune removes the record's directories where nothing is in them. A process that was
// killed may have made them and no record.
func (j *Journal) prune() {
	dir := j.Dir
	for range max(1, j.Levels) {
		files.RemoveEmpty([]string{dir})
		dir = filepath.Dir(dir)
	}
}

// onTheWay says whether the record lies in a directory.
func (j *Journal) onTheWay(dir string) bool { return within(dir, j.Dir) }

func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// halfOf leaves the other half of a command's time for what it was run for, which is
// done without a record, too.
func halfOf(ctx context.Context) (context.Context, context.CancelFunc) {
	if end, ok := ctx.Deadline(); ok {
		return context.WithTimeout(ctx, time.Until(end)/2)
	}
	return context.WithCancel(ctx)
}

// backup writes what is to be restored beside the record, and returns its name.
func (j *Journal) backup(b []byte) (name string, err error) {
	if len(b) == 0 {
		return "", nil
	}
	if err := os.Mkdir(filepath.Join(j.Dir, backupDir), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", files.Cannot("make directory", j.Dir, err)
	}
	name = rand.Text()
	return name, files.WriteNew(j.backupPath(name), b)
}

// isBackupName says whether a name is one that rand.Text made: no path leads out of
// the directory.
func isBackupName(name string) bool {
	return name == "" || regexp.MustCompile(`^[A-Z2-7]{26}$`).MatchString(name)
}

func (j *Journal) backupPath(name string) string { return filepath.Join(j.Dir, backupDir, name) }

// backupBytes returns what is beside the record under a name.
func (j *Journal) backupBytes(name string) ([]byte, error) {
	if name == "" {
		return nil, nil
	}
	return files.ReadOwn(j.backupPath(name), maxFile)
}

// sweepBackups removes what is beside the record and not needed any more. The
// record's lock is held.
func (j *Journal) sweepBackups(r *record) {
	needed := map[string]bool{}
	for _, e := range r.Files {
		needed[e.Backup] = true
	}
	for _, n := range r.Notes {
		needed[n.Values[keptValue]] = true
	}
	entries, _ := os.ReadDir(filepath.Join(j.Dir, backupDir)) // what cannot be read goes with the record
	for _, e := range entries {
		if isBackupName(e.Name()) && !needed[e.Name()] {
			_ = os.Remove(j.backupPath(e.Name()))
		}
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
