package secret

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/oidc-broker/oidc-broker/pkg/fault"
)

// A Journal remembers on disk what Commit changed, so that Undo can take it
// back, also after a crash. The record itself holds paths, lengths and digests.
// What a change removed from a file, which may have been a secret, lies beside it
// in a file of its own. All of them are 0600, the directory is 0700.
type Journal struct {
	Dir string
	// Log is told when something could not be recorded: the change is made all
	// the same. Nil means nobody is.
	Log func(format string, args ...any)
}

const (
	journalFile    = "journal.json"
	undoDir        = "undo"
	journalVersion = 1
	// maxSearch bounds the work of finding a change in a file that somebody else
	// has changed since.
	maxSearch = 1 << 30
)

// journal is the record.
type journal struct {
	Version int             `json:"version"`
	Files   []*journalEntry `json:"files"`
	Dirs    []string        `json:"dirs,omitempty"` // made for the record and for caches
	Notes   []Note          `json:"notes,omitempty"`

	over []journalEdit // whose bytes nobody needs once the record is written
}

// A Note is something else to take back, which its writer understands. It holds
// no secret.
type Note struct {
	Kind   string            `json:"kind"`
	Values map[string]string `json:"values"`
}

// journalEntry is a file that was changed.
type journalEntry struct {
	Path    string        `json:"path"` // symbolic links resolved
	Created bool          `json:"created,omitempty"`
	Mode    fs.FileMode   `json:"mode,omitempty"` // that it had
	Dirs    []string      `json:"dirs,omitempty"` // made for it
	Changes []journalEdit `json:"changes"`        // in order
}

// journalEdit is one change: of the lines at Offset, Length bytes are ours, and
// what Undo names was there before.
type journalEdit struct {
	Before string `json:"before"` // SHA-256 of the whole file
	After  string `json:"after"`
	Offset int    `json:"offset"`
	Length int    `json:"length"`
	Ours   string `json:"ours"`           // SHA-256 of our bytes
	Undo   string `json:"undo,omitempty"` // a file's name; "": nothing was there
}

// Commit is the package's Commit, recorded. The record is written first: after a
// crash in between, Undo finds nothing of the change and does nothing.
func (j *Journal) Commit(ctx context.Context, edits ...Edit) error { return commit(ctx, j, edits) }

// record writes down what is about to change.
func (j *Journal) record(ctx context.Context, files []*file) error {
	return j.update(ctx, func(r *journal) error {
		for _, f := range files {
			if f.same() {
				continue
			}
			if err := j.add(r, f); err != nil {
				return err
			}
		}
		return nil
	})
}

// Note adds a note to the record.
func (j *Journal) Note(ctx context.Context, n Note) error {
	return j.update(ctx, func(r *journal) error {
		for _, known := range r.Notes {
			if known.Kind == n.Kind && equalMaps(known.Values, n.Values) {
				return nil
			}
		}
		r.Notes = append(r.Notes, n)
		return nil
	})
}

// MkdirAll makes a directory, 0700, and records those that it had to make.
func (j *Journal) MkdirAll(ctx context.Context, dir string) error {
	missing := missingDirs(dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return cannot("make directory", dir, err)
	}
	if len(missing) == 0 {
		return nil
	}
	err := j.update(ctx, func(r *journal) error {
		r.addDirs(missing)
		return nil
	})
	j.log(err)
	return nil
}

// Notes returns the notes in the record.
func (j *Journal) Notes() []Note {
	r, err := j.read()
	if err != nil {
		return nil
	}
	return r.Notes
}

func (j *Journal) log(err error) {
	if err != nil && j.Log != nil {
		j.Log("not recorded for 'oidc-broker cleanup': %v", err)
	}
}

// update changes the record under its lock.
func (j *Journal) update(ctx context.Context, change func(*journal) error) error {
	missing := missingDirs(j.Dir)
	if err := os.MkdirAll(filepath.Join(j.Dir, undoDir), 0o700); err != nil {
		return cannot("make directory", j.Dir, err)
	}
	path := filepath.Join(j.Dir, journalFile)
	unlock, err := Lock(ctx, path)
	if err != nil {
		return err
	}
	defer unlock()
	r, err := j.read()
	if err != nil {
		return err
	}
	r.addDirs(missing)
	if err := change(r); err != nil {
		return err
	}
	if err := j.write(r); err != nil {
		return err
	}
	for _, e := range r.over {
		_ = j.forget(e) // what stays goes with the record
	}
	return nil
}

// write replaces the record. Its lock is held.
func (j *Journal) write(r *journal) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fault.New(fault.Internal, "cannot write the record as JSON")
	}
	return j.put(journalFile, append(b, '\n'))
}

// put writes one file of the journal's.
func (j *Journal) put(name string, b []byte) error {
	f := &file{path: filepath.Join(j.Dir, name), new: b, edits: []Edit{{Private: true}}}
	defer f.discard()
	if err := f.write(); err != nil {
		return cannot("write", f.path, err)
	}
	return f.replace()
}

func (j *Journal) read() (*journal, error) {
	b, err := ReadFile(filepath.Join(j.Dir, journalFile), maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return &journal{Version: journalVersion}, nil
	}
	if err != nil {
		return nil, err
	}
	var r journal
	if json.Unmarshal(b, &r) != nil || r.Version != journalVersion {
		return nil, fault.New(fault.Local, "%q is no record of this program's", filepath.Join(j.Dir, journalFile)).
			Hint("remove it; what it knew of is left as it is")
	}
	return &r, nil
}

func (r *journal) addDirs(dirs []string) {
	for _, d := range dirs {
		if !slices.Contains(r.Dirs, d) {
			r.Dirs = append(r.Dirs, d)
		}
	}
}

func (r *journal) entry(path string) *journalEntry {
	for _, e := range r.Files {
		if e.Path == path {
			return e
		}
	}
	return nil
}

// add records the change of one file. One that goes on from our last change
// becomes one with it, so that the record does not grow with every run.
func (j *Journal) add(r *journal, f *file) error {
	e := r.entry(f.path)
	if e == nil {
		e = &journalEntry{Path: f.path, Created: f.info == nil, Dirs: f.made}
		if f.info != nil {
			e.Mode = f.info.Mode().Perm()
		}
		r.Files = append(r.Files, e)
	}
	before := f.old
	if n := len(e.Changes); n > 0 && e.Changes[n-1].After == digest(f.old) {
		last := e.Changes[n-1]
		if original, ok := j.undo(last, f.old); ok {
			before = original
			e.Changes = e.Changes[:n-1]
			r.over = append(r.over, last)
		}
	}
	if bytes.Equal(before, f.new) {
		return nil
	}
	start, oldEnd, newEnd := changedLines(before, f.new)
	edit := journalEdit{
		Before: digest(before), After: digest(f.new),
		Offset: start, Length: newEnd - start, Ours: digest(f.new[start:newEnd]),
	}
	if oldEnd > start {
		edit.Undo = filepath.Join(undoDir, rand.Text())
		if err := j.put(edit.Undo, before[start:oldEnd]); err != nil {
			return err
		}
	}
	e.Changes = append(e.Changes, edit)
	return nil
}

// forget removes what a change kept.
func (j *Journal) forget(e journalEdit) error {
	if e.Undo == "" {
		return nil
	}
	return os.Remove(filepath.Join(j.Dir, e.Undo))
}

// undo returns a file's content without the change. It is false when the change
// cannot be found in it.
func (j *Journal) undo(e journalEdit, text []byte) ([]byte, bool) {
	whole := digest(text)
	if whole == e.Before {
		return text, true
	}
	at := e.Offset
	if whole != e.After {
		if at = find(text, e); at < 0 {
			return nil, false
		}
	}
	if at+e.Length > len(text) {
		return nil, false
	}
	var old []byte
	if e.Undo != "" {
		var err error
		if old, err = ReadFile(filepath.Join(j.Dir, e.Undo), maxFile); err != nil {
			return nil, false
		}
	}
	return slices.Concat(text[:at], old, text[at+e.Length:]), true
}

// find returns where our lines of a change are in a text that has changed since,
// or -1 where they are not, or not once.
func find(text []byte, e journalEdit) int {
	lines := bytes.Count(text, []byte("\n")) + 1
	if e.Length == 0 || lines*e.Length > maxSearch {
		return -1
	}
	found := -1
	for at := 0; at+e.Length <= len(text); {
		if digest(text[at:at+e.Length]) == e.Ours {
			if found >= 0 {
				return -1
			}
			found = at
		}
		next := bytes.IndexByte(text[at:], '\n')
		if next < 0 {
			break
		}
		at += next + 1
	}
	return found
}

// changedLines returns the lines in which two texts differ: from start to oldEnd
// in a, to newEnd in b.
func changedLines(a, b []byte) (start, oldEnd, newEnd int) {
	for start < len(a) && start < len(b) && a[start] == b[start] {
		start++
	}
	start = bytes.LastIndexByte(a[:start], '\n') + 1
	oldEnd, newEnd = len(a), len(b)
	for oldEnd > start && newEnd > start && a[oldEnd-1] == b[newEnd-1] {
		oldEnd--
		newEnd--
	}
	// Up to the end of the line, unless it is one already.
	rest := 0
	if oldEnd > start && a[oldEnd-1] != '\n' || newEnd > start && b[newEnd-1] != '\n' {
		if rest = bytes.IndexByte(a[oldEnd:], '\n') + 1; rest == 0 {
			rest = len(a) - oldEnd
		}
	}
	return start, oldEnd + rest, newEnd + rest
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// missingDirs are the directories that making dir would make, the outermost
// first.
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

func equalMaps(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || w != v {
			return false
		}
	}
	return true
}

// Undone is what became of one file.
type Undone struct {
	Path string
	// Left says why the file, or a part of our change, is still there; "": it is
	// as it was before.
	Left string
}

// Undo takes back every change that is recorded: files get the bytes and the mode
// that they had, files and directories that were made are removed. Where somebody
// else has changed a file since, only our own lines go. What could not be done is
// said in the result; a file that could not be written stays in the record, and
// the first such error is returned. Undo a second time does nothing.
func (j *Journal) Undo(ctx context.Context) ([]Undone, error) {
	path := filepath.Join(j.Dir, journalFile)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	r, err := j.read()
	if err != nil {
		return nil, err
	}
	var (
		all   []Undone
		gone  = map[string]bool{}
		first error
	)
	for i := len(r.Files) - 1; i >= 0; i-- {
		e := r.Files[i]
		left, err := j.undoFile(ctx, e)
		if err != nil {
			left = err.Error()
			if first == nil {
				first = err
			}
		} else {
			gone[e.Path] = true
		}
		all = append(all, Undone{e.Path, left})
	}
	return all, errors.Join(first, j.finish(ctx, gone))
}

// undoFile takes the changes of one file back, the last one first.
func (j *Journal) undoFile(ctx context.Context, e *journalEntry) (left string, err error) {
	if _, err := os.Lstat(filepath.Dir(e.Path)); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	unlock, err := Lock(ctx, e.Path)
	if err != nil {
		return "", err
	}
	f := &file{path: e.Path, edits: []Edit{{Apply: func(b []byte) ([]byte, error) { return b, nil }}}}
	err = f.change()
	if err == nil && f.info != nil {
		for i := len(e.Changes) - 1; i >= 0; i-- {
			text, ok := j.undo(e.Changes[i], f.new)
			if !ok {
				left = "somebody else changed it since: what is left of ours is not known"
				continue
			}
			f.new = text
		}
		err = f.putBack(e)
	}
	unlock() // before the directory goes, in which the lock's file is
	if err == nil {
		removeEmpty(e.Dirs)
	}
	return left, err
}

// putBack writes what a file was, or removes one that was made.
func (f *file) putBack(e *journalEntry) error {
	if e.Created && len(f.new) == 0 {
		if err := os.Remove(f.path); err != nil {
			return cannot("remove", f.path, err)
		}
		return nil
	}
	if bytes.Equal(f.old, f.new) && (e.Created || f.info.Mode().Perm() == e.Mode) {
		return nil
	}
	defer f.discard()
	if err := f.write(); err != nil {
		return cannot("write", f.path, err)
	}
	if !e.Created {
		if err := f.pending.Chmod(e.Mode); err != nil {
			return cannot("write", f.path, err)
		}
	}
	if err := f.replace(); err != nil {
		return cannot("write", f.path, err)
	}
	return nil
}

// finish takes what was undone out of the record, and removes the record when
// nothing is left in it.
func (j *Journal) finish(ctx context.Context, gone map[string]bool) error {
	path := filepath.Join(j.Dir, journalFile)
	unlock, err := Lock(ctx, path)
	if err != nil {
		return err
	}
	r, err := j.read() // again: another process may have added to it
	if err != nil {
		unlock()
		return err
	}
	kept := r.Files[:0]
	for _, e := range r.Files {
		if !gone[e.Path] {
			kept = append(kept, e)
			continue
		}
		for _, c := range e.Changes {
			_ = j.forget(c) // it may be gone already
		}
	}
	r.Files, r.Notes = kept, nil
	if len(r.Files) > 0 {
		err = j.write(r)
		unlock()
		return err
	}
	err = os.Remove(path)
	_ = os.RemoveAll(filepath.Join(j.Dir, undoDir))
	unlock()
	removeEmpty(r.Dirs)
	if err != nil {
		return cannot("remove", path, err)
	}
	return nil
}

// removeEmpty removes directories, the innermost first, where nothing is left in
// them.
func removeEmpty(dirs []string) {
	for i := len(dirs) - 1; i >= 0; i-- {
		_ = os.Remove(dirs[i]) // not empty: somebody else uses it
	}
}
