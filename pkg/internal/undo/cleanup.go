package undo

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"syscall"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
)

// What becomes of a file, or of a directory.
const (
	Restored  = "restore" // it is as it was before
	Removed   = "remove"  // it was made by us, and goes
	Edited    = "edit"    // it was changed since: our part goes, the rest stays
	Untouched = "keep"    // nothing of ours is in it
)

// Undone is what became of one file or temporary directory, or what would.
type Undone struct {
	Path   string
	Action string
	// Left says why it, or a part of our change, is still there. "": nothing is.
	Left string
}

// Plan returns what Undo would do.
func (j *Journal) Plan() ([]Undone, error) {
	r, err := j.read()
	if err != nil || r == nil {
		return nil, err
	}
	var all []Undone
	for _, dir := range r.Temps {
		all = append(all, Undone{Path: dir, Action: Removed})
	}
	for _, e := range slices.Backward(r.Files) {
		_, u, err := j.judge(e)
		if err != nil {
			u.Left = err.Error()
		}
		all = append(all, u)
	}
	return all, nil
}

// Undo restores every file that is recorded: one that was not changed since gets the
// bytes and the mode that it had, or is removed with the directories that were made for
// it. From one that was changed since only our part goes. What could not be done is said
// in the result; what failed stays in the record, and the first such error is returned.
// The notes are those that the caller has seen to. Undo a second time does nothing.
func (j *Journal) Undo(ctx context.Context, notes []Note) ([]Undone, error) {
	r, err := j.read()
	if err != nil {
		return nil, err
	}
	if r == nil { // but a process that was killed may have made its directories
		err := j.takeOut(ctx, func(*record) error { return nil })
		j.prune()
		return nil, err
	}
	var all []Undone
	done := &record{Notes: notes}
	for _, dir := range r.Temps {
		left := removeTemp(dir)
		if left == "" {
			done.Temps = append(done.Temps, dir)
		}
		all = append(all, Undone{dir, Removed, left})
	}
	var first error
	for _, e := range slices.Backward(r.Files) {
		e, u, err := j.undoFile(ctx, e)
		switch {
		case err == nil:
			done.Files = append(done.Files, e)
		case first == nil:
			first = err
			fallthrough
		default:
			u.Left = err.Error()
		}
		all = append(all, u)
	}
	err = j.finish(ctx, done)
	if first != nil {
		err = first
	}
	return all, err
}

// parted is a text without what we wrote.
type parted struct {
	base    []byte
	changed bool   // the text is not one that we wrote
	left    string // what could not be restored
}

// apart takes our part out of a text.
func (j *Journal) apart(e *entry, text []byte) (parted, error) {
	now := digest(text)
	if len(e.Texts) == 0 || now == e.Base {
		return parted{base: text}, nil
	}
	backup, err := j.backupBytes(e.Backup)
	if err != nil {
		return parted{}, err
	}
	if digest(backup) != e.Base {
		return parted{}, fault.New(fault.Local, "what %q was before is damaged in the record", e.Path).
			Hint("the file is unchanged: remove by hand what oidc-broker wrote, then the record")
	}
	if slices.Contains(e.Texts, now) {
		return parted{base: backup}, nil
	}
	p := parted{base: text, changed: true}
	whole, known := true, len(e.Marks)+len(e.Secrets) > 0
	byKind := map[string][]map[string]string{}
	for _, m := range e.Marks {
		byKind[m.Kind] = append(byKind[m.Kind], m.Values)
	}
	for kind, marks := range byKind {
		marker := j.Markers[kind]
		if marker == nil {
			known = false
			continue
		}
		got, all, err := marker.Remove(marks, p.base, backup)
		if err != nil {
			known = false // but for the lines with secrets
			continue
		}
		p.base, whole = got, whole && all
	}
	if !known || len(e.Marks) == 0 {
		// A line with one of our secrets goes wherever it is, also as a comment.
		lines := WithoutLines(p.base, e.Secrets)
		if whole = len(backup) == 0; len(lines) < len(p.base) && len(e.Marks) == 0 && len(bytes.TrimSpace(lines)) == 0 {
			lines, whole = backup, true // a file with nothing else in it
		}
		p.base = lines
	}
	switch {
	case !known:
		p.left = "somebody else changed it since: what is left of ours is not known"
	case !whole:
		p.left = "somebody else changed it since: ours is gone, but not all that it replaced is back"
	}
	return p, nil
}

// judge finds out what is to become of a file, and what it is to hold.
func (j *Journal) judge(e *entry) (base []byte, u Undone, err error) {
	u = Undone{Path: e.Path, Action: Untouched}
	info, err := os.Stat(e.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return nil, u, nil
	case err == nil && !info.Mode().IsRegular():
		u.Left = "it is no regular file any more"
		return nil, u, nil
	}
	now, err := files.Look(e.Path)
	if err != nil {
		return nil, u, err
	}
	p, err := j.apart(e, now.Old)
	if err != nil {
		return nil, u, err
	}
	u.Left = p.left
	switch {
	case e.Created && len(p.base) == 0 && len(e.Texts) > 0:
		u.Action = Removed
	case bytes.Equal(p.base, now.Old) && e.mode(now.Info) == info.Mode().Perm():
	case p.changed:
		u.Action = Edited
	default:
		u.Action = Restored
	}
	return p.base, u, nil
}

// mode is the mode that a file is to have: another than what we gave it is the user's.
func (e *entry) mode(now fs.FileInfo) fs.FileMode {
	if perm := now.Mode().Perm(); e.Created || len(e.Texts) == 0 || perm != e.Given {
		return perm
	}
	return e.Mode
}

// undoFile undoes the changes of one file, and returns what the record says of
// them: while the file's lock is held, nobody adds to that.
func (j *Journal) undoFile(ctx context.Context, e *entry) (*entry, Undone, error) {
	u := Undone{Path: e.Path, Action: Untouched}
	if !exists(filepath.Dir(e.Path)) {
		files.RemoveEmpty(e.Dirs)
		return e, u, nil
	}
	h, err := files.Hold(ctx, e.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return e, u, nil
	case err != nil:
		return e, u, err
	}
	r, err := j.read()
	if now := r.entry(e.Path); err == nil && now != nil {
		e = now
		u, err = j.restore(h, e)
	}
	h.Release() // before the directory goes, in which the lock's file is
	if err == nil {
		files.RemoveEmpty(e.Dirs)
	}
	return e, u, err
}

// restore does to a file what judge found.
func (j *Journal) restore(h *files.Held, e *entry) (Undone, error) {
	base, u, err := j.judge(e)
	switch {
	case err != nil:
	case u.Action == Removed:
		err = h.Remove()
	case u.Action != Untouched:
		var info fs.FileInfo
		if info, err = os.Stat(e.Path); err == nil {
			err = h.Replace(base, e.mode(info))
		}
	}
	return u, err
}

// finish takes what was undone out of the record, and removes the record when
// nothing is left in it. What another process has recorded in the meantime stays.
func (j *Journal) finish(ctx context.Context, done *record) error {
	return j.takeOut(ctx, func(r *record) error {
		for _, e := range done.Files {
			if now := r.entry(e.Path); now != nil && reflect.DeepEqual(now, e) {
				r.drop(now)
				r.Dirs = union(r.Dirs, e.Dirs)
			}
		}
		r.Temps = slices.DeleteFunc(r.Temps, func(t string) bool { return slices.Contains(done.Temps, t) })
		r.Notes = slices.DeleteFunc(r.Notes, func(n Note) bool { return slices.ContainsFunc(done.Notes, n.equal) })
		files.RemoveEmpty(r.Dirs)
		r.Dirs = slices.DeleteFunc(r.Dirs, func(d string) bool { return !j.onTheWay(d) && !r.uses(d) })
		return nil
	})
}

// uses says whether one of our commands uses a directory: it is in the record, or holds
// a lock, for which it waits to get there. What else is in one is not ours.
func (r *record) uses(dir string) bool {
	in := func(path string) bool { return within(dir, path) }
	if info, err := os.Lstat(dir); err != nil || !info.IsDir() {
		return false
	}
	if slices.ContainsFunc(r.Temps, in) || slices.ContainsFunc(r.Files, func(e *entry) bool { return in(e.Path) }) {
		return true
	}
	found := false
	entries := 0
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if entries++; err != nil || entries > 100 {
			return fs.SkipAll
		}
		found = found || files.IsTransient(d.Name())
		return nil
	})
	return found || entries == 1 // an empty one was just left, and goes with the next cleanup
}
