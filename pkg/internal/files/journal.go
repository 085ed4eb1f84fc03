package files

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
)

// A Journal remembers on disk what Commit changed, so that Undo can take it back,
// also after a crash. The record itself holds paths, lengths and digests. What our
// changes took out of files, which may have been secrets, lies beside it until
// then. All files are 0600, the directory is 0700, and one that others could have
// written to is not believed.
type Journal struct {
	Dir string
	// Job names the job for which something is recorded; "" outside of one.
	Job string
	// Log is told what could not be recorded: the change is made all the same.
	// Nil means nobody is.
	Log func(error)
	// Markers know, by the kinds of marks, what edits wrote.
	Markers map[string]Marker
}

// A Marker takes out by its meaning what an edit wrote, where somebody else has
// changed the file since.
type Marker interface {
	// Fits says whether what follows ours in the file means the same when old
	// takes the place of ours.
	Fits(ours, old, rest []byte) bool
	// Remove returns the text without what a mark names.
	Remove(values map[string]string, text []byte) ([]byte, error)
}

// A Note is something else to take back, which its writer understands. It holds
// no secret.
type Note struct {
	Kind   string            `json:"kind"`
	Values map[string]string `json:"values"`
}

func (n Note) equal(m Note) bool { return n.Kind == m.Kind && maps.Equal(n.Values, m.Values) }

const (
	journalFile    = "journal.json"
	undoDir        = "undo"
	journalVersion = 1
	// maxRecord bounds what is read of a record: that of 1,000 files has 1 MB.
	maxRecord = 16 << 20
)

// journal is the record.
type journal struct {
	Version int             `json:"version"`
	Files   []*journalEntry `json:"files"`
	Dirs    []string        `json:"dirs,omitempty"`  // made for the record, for caches, and for files undone already
	Temps   []string        `json:"temps,omitempty"` // temporary directories in use
	Notes   []Note          `json:"notes,omitempty"`

	// begun says that what is in it is about to be made: that nothing is there yet
	// is no reason to remove it.
	begun bool
}

// journalEntry is a file that is changed. It is in the record before anything is
// there of the change: its directory, its lock.
type journalEntry struct {
	Path    string      `json:"path"`              // symbolic links resolved
	Job     string      `json:"job,omitempty"`     // that changed it first
	Created bool        `json:"created,omitempty"` // there would be none without us
	Mode    fs.FileMode `json:"mode,omitempty"`    // that it would have
	Given   fs.FileMode `json:"given,omitempty"`   // that we gave it
	Dirs    []string    `json:"dirs,omitempty"`    // made for it
	Left    string      `json:"left,omitempty"`    // what could not be told apart already
	// States are what we wrote last and, since nobody knows whether a writer got
	// as far as that, what it found.
	States []journalState `json:"states,omitempty"`
}

// journalState is a text, and how it differs from what it would be without us.
type journalState struct {
	Text  string `json:"text"` // their SHA-256
	Base  string `json:"base"`
	Hunks []hunk `json:"hunks"`
	Undo  string `json:"undo,omitempty"` // the file with the base's bytes; "": there are none
	Marks []Note `json:"marks,omitempty"`
}

// Commit is the package's Commit, recorded. The record is written first: after a
// crash in between, Undo finds nothing of the change and does nothing.
func (j *Journal) Commit(ctx context.Context, edits ...Edit) error { return commit(ctx, j, edits) }

func (j *Journal) log(err error) {
	if err != nil && j.Log != nil {
		j.Log(err)
	}
}

// intend names the files in the record, and the directories that will be made.
func (j *Journal) intend(ctx context.Context, files []*file) error {
	known := func(r *journal) bool {
		all := true
		for _, f := range files {
			e := r.entry(f.path)
			f.intended = e == nil || len(e.States) == 0
			all = all && e != nil && len(f.made) == 0
		}
		return all
	}
	if r, err := j.read(); err == nil && known(r) {
		return nil
	}
	return j.begin(ctx, func(r *journal) {
		known(r)
		for _, f := range files {
			j.entry(r, f).addDirs(f.made)
		}
	})
}

// entry is a file's in the record, new if need be.
func (j *Journal) entry(r *journal, f *file) *journalEntry {
	e := r.entry(f.path)
	if e == nil {
		e = &journalEntry{Path: f.path, Job: j.Job}
		r.Files = append(r.Files, e)
	}
	return e
}

// record writes down what is about to change. The files' locks are held.
func (j *Journal) record(ctx context.Context, files []*file) error {
	return j.update(ctx, func(r *journal) error {
		for _, f := range files {
			if f.same() {
				continue
			}
			e := j.entry(r, f)
			e.addDirs(f.made)
			if err := j.add(e, f); err != nil {
				return err
			}
			f.intended = false
		}
		return nil
	})
}

// add records the change of one file.
func (j *Journal) add(e *journalEntry, f *file) error {
	base, _, left, err := j.apart(e, f.old)
	if err != nil {
		return err
	}
	e.Left = cmp.Or(left, e.Left)
	if f.info == nil {
		e.Created, e.Mode = true, 0
	} else if perm := f.info.Mode().Perm(); perm != e.Given || len(e.States) == 0 {
		e.Mode = perm // nobody's but the user's
	}
	e.Given = f.mode()
	marks := e.marks()
	e.States = nil
	if !bytes.Equal(base, f.old) {
		if err := j.state(e, base, f.old, marks); err != nil {
			return err
		}
	}
	for _, edit := range f.edits {
		if edit.Mark.Kind != "" && !slices.ContainsFunc(marks, edit.Mark.equal) {
			marks = append(marks, edit.Mark)
		}
	}
	return j.state(e, base, f.new, marks)
}

// state adds a text to those that a file may have.
func (j *Journal) state(e *journalEntry, base, text []byte, marks []Note) error {
	s := journalState{Text: digest(text), Base: digest(base), Marks: marks}
	var old []byte
	if s.Hunks, old = hunksOf(base, text); len(old) > 0 {
		s.Undo = rand.Text()
		if err := WriteNew(j.undoPath(s.Undo), old); err != nil {
			return err
		}
	}
	e.States = append(e.States, s)
	return nil
}

// marks are those of all texts that the file may have. What two jobs wrote under
// one name is two marks, of which the last few are kept.
func (e *journalEntry) marks() []Note {
	const most = 100
	var all []Note
	for _, s := range e.States {
		for _, m := range s.Marks {
			if !slices.ContainsFunc(all, m.equal) {
				all = append(all, m)
			}
		}
	}
	return all[max(0, len(all)-most):]
}

// forget takes out of the record what was intended and did not happen.
func (j *Journal) forget(ctx context.Context, files []*file) error {
	if !slices.ContainsFunc(files, func(f *file) bool { return f.intended }) {
		return nil
	}
	return j.changeIfThere(ctx, func(r *journal) error {
		for _, f := range files {
			e := r.entry(f.path)
			if !f.intended || e == nil || len(e.States) > 0 {
				continue
			}
			removeEmpty(e.Dirs)
			if !slices.ContainsFunc(e.Dirs, exists) { // else somebody else is at it
				r.drop(e)
			}
		}
		return nil
	})
}

// Note adds a note to the record.
func (j *Journal) Note(ctx context.Context, n Note) error {
	return j.begin(ctx, func(r *journal) {
		if !slices.ContainsFunc(r.Notes, n.equal) {
			r.Notes = append(r.Notes, n)
		}
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
	return j.update(ctx, func(r *journal) error {
		i := slices.IndexFunc(r.Notes, n.equal)
		if i < 0 {
			return nil // a cleanup has seen to it
		}
		name := rand.Text()
		if err := WriteNew(j.undoPath(name), []byte(v.Reveal())); err != nil {
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
	b, err := j.undoBytes(n.Values[keptValue])
	if err != nil {
		return secret.Value{}
	}
	return secret.New(string(b))
}

// MkdirAll makes a directory, 0700, and records those that it has to make.
func (j *Journal) MkdirAll(ctx context.Context, dir string) error {
	if missing := missingDirs(dir); len(missing) > 0 {
		j.log(j.begin(ctx, func(r *journal) { r.addDirs(missing) }))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return cannot("make directory", dir, err)
	}
	return nil
}

func (r *journal) entry(path string) *journalEntry {
	if r == nil {
		return nil
	}
	for _, e := range r.Files {
		if e.Path == path {
			return e
		}
	}
	return nil
}

func (r *journal) drop(e *journalEntry) {
	r.Files = slices.DeleteFunc(r.Files, func(f *journalEntry) bool { return f == e })
}

func (r *journal) empty() bool { return len(r.Files)+len(r.Temps)+len(r.Notes) == 0 }

func (r *journal) addDirs(dirs []string) { r.Dirs = union(r.Dirs, dirs) }

func (e *journalEntry) addDirs(dirs []string) { e.Dirs = union(e.Dirs, dirs) }

func union(a, b []string) []string {
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(a, s)
		}
	}
	return a
}

// begin is update for a change that needs no file beside the record: where there is
// none yet, it is written but once.
func (j *Journal) begin(ctx context.Context, change func(*journal)) error {
	if done, err := j.make(ctx, change); err != nil || done {
		return err
	}
	return j.update(ctx, func(r *journal) error {
		r.begun = true
		change(r)
		return nil
	})
}

// update changes the record under its lock, and makes it where there is none.
func (j *Journal) update(ctx context.Context, change func(*journal) error) error {
	const tries = 100
	for n := 0; ; n++ {
		if _, err := j.make(ctx, func(*journal) {}); err != nil {
			return err
		}
		err := j.change(ctx, change)
		if !errors.Is(err, fs.ErrNotExist) || ctx.Err() != nil || n == tries {
			return err
		}
		// A cleanup took the directory away in between.
	}
}

// change changes the record under its lock. One in which nothing is left is
// removed. Where there is no directory for it, that is an fs.ErrNotExist.
func (j *Journal) change(ctx context.Context, change func(*journal) error) error {
	path := filepath.Join(j.Dir, journalFile)
	wait, cancel := halfOf(ctx)
	defer cancel()
	unlock, err := Lock(wait, path)
	if err != nil {
		return err
	}
	var after []string
	defer func() {
		unlock()
		removeEmpty(after)
	}()
	r, err := j.read()
	if err != nil {
		return err
	}
	if r == nil {
		r = &journal{Version: journalVersion}
	}
	if err := change(r); err != nil {
		return err
	}
	if !r.begun && r.empty() && !slices.ContainsFunc(j.outside(r.Dirs), exists) {
		after, err = j.retire(ctx, r)
		return err
	}
	if err := j.write(r); err != nil {
		return err
	}
	j.sweepUndo(r)
	return nil
}

// halfOf leaves the other half of a command's time for what it was run for, which is
// done without a record, too.
func halfOf(ctx context.Context) (context.Context, context.CancelFunc) {
	if end, ok := ctx.Deadline(); ok {
		return context.WithTimeout(ctx, time.Until(end)/2)
	}
	return context.WithCancel(ctx)
}

// changeIfThere is change for what takes out of the record: where there is none, a
// cleanup has done so already.
func (j *Journal) changeIfThere(ctx context.Context, change func(*journal) error) error {
	if err := j.change(ctx, change); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// write replaces the record. Its lock is held.
func (j *Journal) write(r *journal) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fault.New(fault.Internal, "cannot write the record as JSON")
	}
	f := &file{path: filepath.Join(j.Dir, journalFile), new: append(b, '\n'), edits: []Edit{{Private: true}}}
	defer f.discard()
	if err := f.write(); err != nil {
		return cannot("write", f.path, err)
	}
	if err := f.replace(); err != nil {
		return cannot("write", f.path, err)
	}
	return nil
}

// read returns the record, or nil where there is none.
func (j *Journal) read() (*journal, error) {
	path := filepath.Join(j.Dir, journalFile)
	if there, err := j.trusted(); err != nil || !there {
		return nil, err
	}
	b, err := ReadOwn(path, maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var r journal
	if json.Unmarshal(b, &r) != nil || r.Version < 1 {
		return nil, distrusted("%q is damaged, or no record of this program's", path)
	}
	if r.Version > journalVersion {
		return nil, fault.New(fault.Local, "%q was written by a newer version of this program", path).
			Hint("use that version: oidc-broker cleanup")
	}
	if bad := r.implausible(); bad != "" {
		return nil, distrusted("%q is damaged: %s", path, bad)
	}
	return &r, nil
}

// distrusted is the error of a record that cannot be used.
func distrusted(format string, args ...any) error {
	return fault.New(fault.Local, format, args...).
		Hint("nothing of it was used or changed; look at what it names, take that back by hand, and remove it")
}

// implausible says what no writer of ours puts into a record. It keeps damage, and
// who tampered, from having other files removed than those that we made.
func (r *journal) implausible() string {
	plain := func(path string) bool { return filepath.IsAbs(path) && filepath.Clean(path) == path }
	for _, d := range r.Dirs {
		if !plain(d) {
			return fmt.Sprintf("%q is no directory", d)
		}
	}
	for _, t := range r.Temps {
		if !plain(t) || !isTempName(filepath.Base(t)) {
			return fmt.Sprintf("%q is no temporary directory", t)
		}
	}
	for _, e := range r.Files {
		if e == nil || !plain(e.Path) || filepath.Dir(e.Path) == e.Path {
			return "a file without a path"
		}
		for _, d := range e.Dirs {
			if rel, err := filepath.Rel(d, e.Path); !plain(d) || err != nil || !filepath.IsLocal(rel) {
				return fmt.Sprintf("%q does not lie in %q", e.Path, d)
			}
		}
		for _, s := range e.States {
			if bad := s.implausible(); bad != "" {
				return bad
			}
		}
	}
	for _, n := range r.Notes {
		if kept, ok := n.Values[keptValue]; ok && !isUndoName(kept) {
			return "a secret that is kept has no such name"
		}
	}
	return ""
}

func (s journalState) implausible() string {
	if s.Undo != "" && !isUndoName(s.Undo) {
		return "what was there before has no such name"
	}
	at := 0
	for _, h := range s.Hunks {
		if h.At < at || h.Length < 0 || h.Lines < 0 || h.Old < 0 || h.At > maxFile || h.Length > maxFile || h.Old > maxFile || len(h.Above) == 0 || len(h.Below) == 0 {
			return "a change that cannot be"
		}
		at = h.At + h.Length
	}
	return ""
}

// isUndoName says whether a name is one that rand.Text made: no path leads out of
// the directory.
func isUndoName(name string) bool { return regexp.MustCompile(`^[A-Z2-7]{26}$`).MatchString(name) }

func (j *Journal) undoPath(name string) string { return filepath.Join(j.Dir, undoDir, name) }

// undoBytes returns what is beside the record under a name.
func (j *Journal) undoBytes(name string) ([]byte, error) {
	if name == "" {
		return nil, nil
	}
	path := j.undoPath(name)
	return ReadOwn(path, maxFile)
}

// sweepUndo removes what is kept beside the record and not needed any more. The
// record's lock is held.
func (j *Journal) sweepUndo(r *journal) {
	needed := map[string]bool{}
	for _, e := range r.Files {
		for _, s := range e.States {
			needed[s.Undo] = true
		}
	}
	for _, n := range r.Notes {
		needed[n.Values[keptValue]] = true
	}
	entries, _ := os.ReadDir(filepath.Join(j.Dir, undoDir)) // what cannot be read goes with the record
	for _, e := range entries {
		if isUndoName(e.Name()) && !needed[e.Name()] {
			_ = os.Remove(j.undoPath(e.Name()))
		}
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
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
