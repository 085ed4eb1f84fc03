package files

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// What becomes of a file, or of a directory.
const (
	Restored  = "restore" // it is as it was before
	Removed   = "remove"  // it was made by us, and goes
	Edited    = "edit"    // somebody else changed it too: ours goes, theirs stays
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

// Undo takes back every change that is recorded: files get the bytes and the mode
// that they had, files and directories that were made are removed. Where somebody
// else has changed a file since, only what is ours goes. What could not be done is
// said in the result; what failed stays in the record, and the first such error is
// returned. The notes are those that the caller has seen to. Undo a second time
// does nothing.
func (j *Journal) Undo(ctx context.Context, notes []Note) ([]Undone, error) {
	r, err := j.read()
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, j.sweep(ctx)
	}
	var all []Undone
	done := &journal{Notes: notes}
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

// judge finds out what is to become of a file.
func (j *Journal) judge(e *journalEntry) (*file, Undone, error) {
	u := Undone{Path: e.Path, Action: Untouched}
	f := &file{path: e.Path, edits: []Edit{{Apply: func(b []byte) ([]byte, error) { return b, nil }}}}
	info, err := os.Stat(e.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return f, u, nil
	case err == nil && !info.Mode().IsRegular():
		u.Left = "it is no regular file any more"
		return f, u, nil
	}
	if err := f.change(); err != nil {
		return f, u, err
	}
	base, ours, left, err := j.apart(e, f.old)
	if err != nil {
		return f, u, err
	}
	f.new, u.Left = base, cmp.Or(left, e.Left)
	retighten := !e.Created && len(e.States) > 0 && f.info.Mode().Perm() == e.Given && e.Given != e.Mode
	switch {
	case e.Created && len(base) == 0 && len(e.States) > 0:
		u.Action = Removed
	case bytes.Equal(base, f.old) && !retighten:
	case ours:
		u.Action = Restored
	default:
		u.Action = Edited
	}
	return f, u, nil
}

// undoFile takes the changes of one file back, and returns what the record says of
// them: while the file's lock is held, nobody adds to that.
func (j *Journal) undoFile(ctx context.Context, e *journalEntry) (*journalEntry, Undone, error) {
	u := Undone{Path: e.Path, Action: Untouched}
	if !exists(filepath.Dir(e.Path)) {
		removeEmpty(e.Dirs)
		return e, u, nil
	}
	unlock, err := (&file{path: e.Path}).lock(ctx)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return e, u, nil
	case err != nil:
		return e, u, err
	}
	r, err := j.read()
	if err == nil {
		err = (&file{path: e.Path}).restoreTorn()
	}
	if now := r.entry(e.Path); err == nil && now != nil {
		var f *file
		e = now
		if f, u, err = j.judge(e); err == nil {
			err = f.putBack(e, u.Action)
		}
		if err == nil {
			err = f.clear()
		}
	}
	unlock() // before the directory goes, in which the lock's file is
	if err == nil {
		removeEmpty(e.Dirs)
	}
	return e, u, err
}

// putBack writes what a file was, or removes one that was made.
func (f *file) putBack(e *journalEntry, action string) error {
	switch action {
	case Untouched:
		return nil
	case Removed:
		if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return cannot("remove", f.path, err)
		}
		return nil
	}
	defer f.discard()
	if !e.Created && f.info.Mode().Perm() == e.Given {
		f.perm = e.Mode
	}
	if err := f.write(); err != nil {
		return cannot("write", f.path, err)
	}
	if err := f.replace(); err != nil {
		return cannot("write", f.path, err)
	}
	return nil
}

// finish takes what was undone out of the record, and removes the record when
// nothing is left in it. What another process has recorded in the meantime stays.
func (j *Journal) finish(ctx context.Context, done *journal) error {
	err := j.changeIfThere(ctx, func(r *journal) error {
		for _, e := range done.Files {
			if now := r.entry(e.Path); now != nil && reflect.DeepEqual(now, e) {
				r.drop(now)
				r.addDirs(e.Dirs)
			}
		}
		r.Temps = slices.DeleteFunc(r.Temps, func(t string) bool { return slices.Contains(done.Temps, t) })
		r.Notes = slices.DeleteFunc(r.Notes, func(n Note) bool { return slices.ContainsFunc(done.Notes, n.equal) })
		r.Dirs = append(j.inside(r.Dirs), r.stillUsed(j.outside(r.Dirs))...)
		return nil
	})
	if err != nil {
		return err
	}
	return j.sweepBeside(ctx)
}

// stillUsed removes directories, and returns those that one of our commands uses: it
// is in the record, or holds a lock, for which it waits to get there. Directories in
// which there is something else are somebody else's from now on.
func (r *journal) stillUsed(dirs []string) []string {
	var used []string
	for _, d := range innermostFirst(dirs) {
		for range 10 {
			removeDir(d)
			entries, err := os.ReadDir(d)
			if err == nil && len(entries) == 0 {
				continue // what was in there is gone
			}
			within := func(path string) bool {
				rel, err := filepath.Rel(d, path)
				return err == nil && filepath.IsLocal(rel)
			}
			ours := func(e fs.DirEntry) bool {
				return strings.HasPrefix(e.Name(), ".") && (strings.HasSuffix(e.Name(), lockSuffix) || strings.HasSuffix(e.Name(), tempSuffix))
			}
			if err == nil && (slices.ContainsFunc(used, within) || slices.ContainsFunc(entries, ours) ||
				slices.ContainsFunc(r.Temps, within) ||
				slices.ContainsFunc(r.Files, func(e *journalEntry) bool { return within(e.Path) })) {
				used = append(used, d)
			}
			break
		}
	}
	return used
}

// apart takes ours out of a text. alone says that nobody else has changed it, left
// what could not be told.
func (j *Journal) apart(e *journalEntry, text []byte) (base []byte, alone bool, left string, err error) {
	if len(e.States) == 0 {
		return text, true, "", nil
	}
	now := digest(text)
	for _, s := range slices.Backward(e.States) {
		if s.Text == now {
			base, err = j.exactly(e, s, text)
			return base, true, "", err
		}
	}
	for _, s := range e.States {
		if s.Base == now {
			return text, true, "", nil
		}
	}
	ix := linesOf(text)
	for _, s := range slices.Backward(e.States) {
		got, missing, err := j.nearly(s, ix)
		if err != nil {
			return nil, false, "", err
		}
		if missing == 0 {
			return got, false, "", nil
		}
		if base == nil {
			base = got
		}
		if !e.unwritten(s, ix) {
			break // this is what the file was: what it was before does not count
		}
	}
	base, left = j.byMarks(e, base)
	return base, false, left, nil
}

// unwritten says whether the last text cannot have been written: no line of it is
// there that the one before had not too.
func (e *journalEntry) unwritten(s journalState, ix *lines) bool {
	before := map[string]bool{digest(nil)[:hintLength]: true} // nor does a blank line tell anything
	for _, h := range e.States[0].Hunks {
		for _, hint := range h.Hints {
			before[hint] = true
		}
	}
	fresh := false
	for _, h := range s.Hunks {
		for _, hint := range h.Hints {
			if before[hint] {
				continue
			}
			fresh = true
			if slices.ContainsFunc(ix.short, func(short string) bool { return short[:hintLength] == hint }) {
				return false
			}
		}
	}
	return fresh
}

// exactly takes ours out of the very text that we wrote.
func (j *Journal) exactly(e *journalEntry, s journalState, text []byte) ([]byte, error) {
	old, err := j.undoBytes(s.Undo)
	if err != nil {
		return nil, err
	}
	var cuts []cut
	for _, h := range s.Hunks {
		if h.At+h.Length > len(text) || h.Old > len(old) {
			return nil, damagedUndo(e)
		}
		cuts = append(cuts, cut{h.At, h.At + h.Length, old[:h.Old]})
		old = old[h.Old:]
	}
	if base := splice(text, cuts); digest(base) == s.Base {
		return base, nil
	}
	return nil, damagedUndo(e)
}

func damagedUndo(e *journalEntry) error {
	return fault.New(fault.Local, "what %q was before is damaged in the record", e.Path).
		Hint("the file is unchanged: remove by hand what oidc-broker wrote, then the record")
}

// nearly takes ours out of a text that somebody else has changed too, and counts
// the places that are not found.
func (j *Journal) nearly(s journalState, ix *lines) (base []byte, missing int, err error) {
	old, err := j.undoBytes(s.Undo)
	if err != nil {
		return nil, 0, err
	}
	var cuts []cut
	for _, h := range s.Hunks {
		if h.Old > len(old) {
			return nil, 0, fault.New(fault.Local, "what a file was before is damaged in the record")
		}
		was := old[:h.Old]
		old = old[h.Old:]
		if h.Lines == 0 && ix.back(h, was) {
			continue
		}
		at := ix.find(h)
		if at < 0 {
			missing++
			continue
		}
		c := cut{ix.at[at], ix.at[at+h.Lines], was}
		if !j.fits(s.Marks, ix.text[c.from:c.to], was, ix.text[c.to:]) {
			missing++
			continue
		}
		cuts = append(cuts, c)
	}
	slices.SortStableFunc(cuts, func(a, b cut) int { return a.from - b.from })
	for i := 1; i < len(cuts); {
		if cuts[i].from < cuts[i-1].to {
			cuts = slices.Delete(cuts, i, i+1)
			missing++
			continue
		}
		i++
	}
	return splice(ix.text, cuts), missing, nil
}

func (j *Journal) fits(marks []Note, ours, old, rest []byte) bool {
	for _, m := range marks {
		if marker := j.Markers[m.Kind]; marker != nil && !marker.Fits(ours, old, rest) {
			return false
		}
	}
	return true
}

// byMarks takes out what our marks name. left says what cannot be told.
func (j *Journal) byMarks(e *journalEntry, text []byte) (base []byte, left string) {
	marks := e.marks()
	known := len(marks) > 0
	for _, m := range marks {
		marker := j.Markers[m.Kind]
		if marker == nil {
			known = false
			continue
		}
		got, err := marker.Remove(m.Values, text)
		if err != nil {
			known = false
			continue
		}
		text = got
	}
	if !known {
		return text, "somebody else changed it since: what is left of ours is not known"
	}
	if slices.ContainsFunc(e.States, func(s journalState) bool { return s.Undo != "" }) {
		return text, "somebody else changed it since: ours is gone, but not all that it replaced is back"
	}
	return text, ""
}

// A cut puts other bytes in the place of some.
type cut struct {
	from, to int
	put      []byte
}

func splice(text []byte, cuts []cut) []byte {
	var out []byte
	at := 0
	for _, c := range cuts {
		out = append(append(out, text[at:c.from]...), c.put...)
		at = c.to
		if n := len(out); n > 0 && out[n-1] != '\n' && at < len(text) {
			// A last line without an end, and somebody has gone on after it.
			out = append(out, endOf(text[c.from:c.to])...)
		}
	}
	return append(out, text[at:]...)
}

// endOf is the line end of our last line.
func endOf(ours []byte) string {
	if bytes.HasSuffix(ours, []byte("\r\n")) {
		return "\r\n"
	}
	return "\n"
}
