package files

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// home is a directory with a journal of its own in it.
func home(t *testing.T) (dir string, j *Journal) {
	t.Helper()
	dir = t.TempDir()
	return dir, &Journal{Dir: filepath.Join(dir, ".local", "state", "oidc-broker"), Log: func(err error) { t.Error(err) }}
}

// snapshot is what is in a directory: names, modes and bytes.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		fmt.Fprintf(&b, "%s %s", info.Mode(), rel)
		if info.Mode().IsRegular() {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %q", text)
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func set(path, text string) Edit {
	return Edit{Path: path, Private: true, Apply: func([]byte) ([]byte, error) { return []byte(text), nil }}
}

func replace(path, old, text string) Edit {
	return Edit{Path: path, Private: true, Apply: func(b []byte) ([]byte, error) {
		if old == "" {
			return append(b, text...), nil
		}
		return bytes.Replace(b, []byte(old), []byte(text), 1), nil
	}}
}

func TestUndoLeavesEverythingAsItWas(t *testing.T) {
	for name, steps := range map[string]func(commit func(...Edit), at func(string) string){
		"nothing":  func(func(...Edit), func(string) string) {},
		"new file": func(commit func(...Edit), at func(string) string) { commit(set(at("new/deep/file"), "text")) },
		"two in a new directory": func(commit func(...Edit), at func(string) string) {
			commit(set(at("new/b"), "b"), set(at("new/a"), "a"))
		},
		"an existing one": func(commit func(...Edit), at func(string) string) { commit(replace(at("there"), "two", "2")) },
		"twice": func(commit func(...Edit), at func(string) string) {
			commit(replace(at("there"), "two", "SECRET-1"))
			commit(replace(at("there"), "SECRET-1", "SECRET-2"))
		},
		"two places": func(commit func(...Edit), at func(string) string) {
			commit(replace(at("there"), "one", "1"))
			commit(replace(at("there"), "", "four\n"))
			commit(replace(at("there"), "1", "one"))
		},
		"back again": func(commit func(...Edit), at func(string) string) {
			commit(replace(at("there"), "two", "2"))
			commit(replace(at("there"), "2", "two"))
		},
		"emptied":        func(commit func(...Edit), at func(string) string) { commit(set(at("there"), "")) },
		"no line's end":  func(commit func(...Edit), at func(string) string) { commit(replace(at("cut"), "", "more")) },
		"CRLF":           func(commit func(...Edit), at func(string) string) { commit(replace(at("crlf"), "b", "B\r\nx")) },
		"the mode alone": func(commit func(...Edit), at func(string) string) { commit(replace(at("open"), "zzz", "")) },
		"an empty file":  func(commit func(...Edit), at func(string) string) { commit(set(at("empty"), "x")) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, j := home(t)
			at := func(name string) string { return filepath.Join(dir, name) }
			for name, text := range map[string]string{"there": "one\ntwo\nthree\n", "cut": "no end", "crlf": "a\r\nb\r\nc\r\n", "open": "open\n", "empty": ""} {
				if err := os.WriteFile(at(name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range []string{"there", "open"} {
				if err := os.Chmod(at(name), 0o644); err != nil { // #nosec G302 -- that is what it tests
					t.Fatal(err)
				}
			}
			before := snapshot(t, dir)
			steps(func(edits ...Edit) {
				if err := j.Commit(t.Context(), edits...); err != nil {
					t.Fatal(err)
				}
			}, at)
			done, err := j.Undo(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, u := range done {
				if u.Left != "" {
					t.Errorf("%s: %s", u.Path, u.Left)
				}
			}
			if after := snapshot(t, dir); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
			if done, err := j.Undo(t.Context(), nil); err != nil || done != nil {
				t.Errorf("a second time: %v, %v", done, err)
			}
		})
	}
}

// The record holds no byte of the files, and does not grow with every run.
func TestTheRecordHoldsNoSecret(t *testing.T) {
	dir, j := home(t)
	path := filepath.Join(dir, "credentials")
	if err := os.WriteFile(path, []byte("[a]\nkey = USERS-OWN\n[b]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	old := "USERS-OWN"
	for i := range 5 {
		next := fmt.Sprintf("OUR-SECRET-%d", i)
		if err := j.Commit(t.Context(), replace(path, old, next)); err != nil {
			t.Fatal(err)
		}
		old = next
	}
	record, err := os.ReadFile(filepath.Join(j.Dir, journalFile))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(record, []byte("SECRET")) || bytes.Contains(record, []byte("USERS-OWN")) {
		t.Errorf("%s", record)
	}
	kept, err := filepath.Glob(filepath.Join(j.Dir, undoDir, "*"))
	if err != nil || len(kept) == 0 || len(kept) > 2 { // of the text before, and of this one
		t.Fatalf("%d files are kept, %v", len(kept), err)
	}
	for _, path := range kept {
		if text, err := os.ReadFile(path); err != nil || string(text) != "key = USERS-OWN\n" {
			t.Errorf("kept is %q, %v", text, err)
		}
	}
	if runtime.GOOS != "windows" {
		for _, p := range append(kept, filepath.Join(j.Dir, journalFile)) {
			if info, err := os.Stat(p); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v %v", p, info.Mode(), err)
			}
		}
	}
}

// What somebody else wrote in the meantime stays.
func TestUndoKeepsWhatOthersWrote(t *testing.T) {
	const changed, known = "somebody else changed it since: what is left of ours is not known", ""
	for _, row := range []struct{ name, was, ours, then, want, left string }{
		{"below", "a\n", "a\nOURS\n", "a\nOURS\ntheirs\n", "a\ntheirs\n", known},
		{"above", "a\n", "a\nOURS\n", "theirs\na\nOURS\n", "theirs\na\n", known},
		{"in a file of ours", "", "OURS\n", "OURS\ntheirs\n", "theirs\n", known},
		{"after a line without an end", "a", "a\nOURS\n", "a\nOURS\ntheirs\n", "a\ntheirs\n", known},
		{"the same, CRLF", "a\r\nb", "a\r\nb\r\nOURS\r\n", "a\r\nb\r\nOURS\r\ntheirs", "a\r\nb\r\ntheirs", known},
		{"between two of ours", "a\nb\nc\n", "OURS\nb\nOURS too\n", "OURS\nB\nOURS too\n", "a\nB\nc\n", known},
		{"line ends", "a\nb\n", "OURS\na\nb\nOURS too\n", "OURS\r\na\r\nb\r\nOURS too\r\n", "a\r\nb\r\n", known},
		{"the last line end", "a\nb", "a\nOURS", "a\nOURS\n", "a\nb", known},
		{"where lines were taken out, below", "a\nb\nc\n", "a\nc\n", "a\nc\ntheirs\n", "a\nb\nc\ntheirs\n", known},
		{"at the end", "a\nb\n", "a\n", "a\ntheirs\n", "a\nb\ntheirs\n", known},
		{"at the beginning", "a\nb\n", "b\n", "theirs\nb\n", "theirs\na\nb\n", known},
		{"beside a line that is gone", "a\nb\nc\n", "a\nc\n", "a\ntheirs\n", "a\nb\ntheirs\n", known},
		{"put back by hand", "a\nb\nc\n", "a\nc\n", "a\nb\nc\ntheirs\n", "a\nb\nc\ntheirs\n", known},
		{"where both lines around are gone", "a\nb\nc\n", "a\nc\n", "theirs\n", "theirs\n", changed},
		{"ours twice", "a\n", "a\nOURS\n", "OURS\na\nOURS\n", "OURS\na\n", known}, // one of them is theirs: ours stands below a
		{"ours twice, who knows which", "a\n", "a\nOURS\n", "a\nOURS\na\nOURS\n", "a\nOURS\na\nOURS\n", changed},
		{"ours itself", "a\n", "a\nOURS\n", "a\nOURS changed\n", "a\nOURS changed\n", changed},
		{"all of it", "a\n", "a\nOURS\n", "", "", changed},
		{"moved", "x\na\nb\n", "x\nOURS\nb\n", "b\nx\nOURS\n", "b\nx\na\n", known},
		{"back already", "a\n", "a\nOURS\n", "a\n", "a\n", known},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir, j := home(t)
			path := filepath.Join(dir, "file")
			if row.was != "" {
				given(t, path, row.was, 0o600)
			}
			if err := j.Commit(t.Context(), set(path, row.ours)); err != nil {
				t.Fatal(err)
			}
			given(t, path, row.then, 0o600)
			plan, err := j.Plan()
			if err != nil {
				t.Fatal(err)
			}
			done, err := j.Undo(t.Context(), nil)
			if err != nil || len(done) != 1 || done[0].Left != row.left {
				t.Errorf("%v, %v", done, err)
			}
			if diff := cmp.Diff(plan, done); diff != "" {
				t.Errorf("what was planned was not done:\n%s", diff)
			}
			if text, err := os.ReadFile(path); err != nil || string(text) != row.want {
				t.Errorf("%q, %v; want %q", text, err, row.want)
			}
			if _, err := os.Lstat(filepath.Join(dir, ".local")); !os.IsNotExist(err) {
				t.Error("the record is still there")
			}
		})
	}
}

// A Marker that knows a line by its text.
type lineMarker struct{}

func (lineMarker) Fits(ours, _, rest []byte) bool {
	return !bytes.HasPrefix(ours, []byte("head")) || !bytes.HasPrefix(rest, []byte("  "))
}

func (lineMarker) Remove(values map[string]string, text []byte) ([]byte, error) {
	if bytes.Contains(text, []byte("broken")) {
		return nil, errors.New("it cannot be read")
	}
	return bytes.ReplaceAll(text, []byte(values["line"]+"\n"), nil), nil
}

// Where lines are not found, or not alone, their meaning is looked for.
func TestUndoByMeaning(t *testing.T) {
	for _, row := range []struct{ name, was, ours, then, want, left string }{
		{"theirs within", "a\n", "a\nkey 1\nkey 2\n", "a\nkey 1\ntheirs\nkey 2\n", "a\ntheirs\n", ""},
		{"theirs hang on it", "a\n", "a\nhead\nkey 1\nkey 2\n", "a\nhead\nkey 1\nkey 2\n  theirs\n", "a\nhead\n  theirs\n", ""},
		{"one of ours is theirs now", "a\n", "a\nkey 1\nkey 2\n", "a\nkey 1\nkey 9\n", "a\nkey 9\n", ""},
		{"what ours replaced", "a\nold\n", "a\nkey 1\nkey 2\n", "a\nkey 1\ntheirs\nkey 2\n", "a\ntheirs\n", "somebody else changed it since: ours is gone, but not all that it replaced is back"},
		{"nobody can tell", "a\n", "a\nkey 1\nkey 2\n", "broken\nkey 1\n", "broken\nkey 1\n", "somebody else changed it since: what is left of ours is not known"},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir, j := home(t)
			j.Markers = map[string]Marker{"line": lineMarker{}}
			path := given(t, filepath.Join(dir, "file"), row.was, 0o600)
			var edits []Edit
			for _, line := range []string{"key 1", "key 2"} {
				e := set(path, row.ours)
				e.Mark = Note{"line", map[string]string{"line": line}}
				edits = append(edits, e)
			}
			if err := j.Commit(t.Context(), edits...); err != nil {
				t.Fatal(err)
			}
			given(t, path, row.then, 0o600)
			done, err := j.Undo(t.Context(), nil)
			if err != nil || len(done) != 1 || done[0].Left != row.left {
				t.Errorf("%v, %v", done, err)
			}
			if text, err := os.ReadFile(path); err != nil || string(text) != row.want {
				t.Errorf("%q, %v; want %q", text, err, row.want)
			}
		})
	}
}

// Killed between the record and the change: the file is what it was before that, and
// Undo knows it too, also when somebody goes on writing.
func TestUndoAfterACrash(t *testing.T) {
	for name, row := range map[string]struct{ before, then, want string }{
		"the first change":         {"", "a\n", "a\n"},
		"a later one":              {"a\nOURS 1\n", "a\nOURS 1\n", "a\n"},
		"and somebody goes on":     {"a\nOURS 1\n", "a\nOURS 1\ntheirs\n", "a\ntheirs\n"},
		"the first, and goes on":   {"", "a\ntheirs\n", "a\ntheirs\n"},
		"or it was the disk alone": {"a\nOURS 1\n", "a\nOURS 2\n", "a\n"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, j := home(t)
			path := given(t, filepath.Join(dir, "file"), "a\n", 0o600)
			if row.before != "" {
				if err := j.Commit(t.Context(), set(path, row.before)); err != nil {
					t.Fatal(err)
				}
			}
			f := &file{path: path, edits: []Edit{set(path, "a\nOURS 2\n")}}
			if err := f.change(); err != nil {
				t.Fatal(err)
			}
			if err := j.record(t.Context(), []*file{f}); err != nil {
				t.Fatal(err)
			}
			given(t, path, row.then, 0o600)
			done, err := j.Undo(t.Context(), nil)
			if err != nil || len(done) != 1 || done[0].Left != "" && row.before != "" {
				t.Errorf("%v, %v", done, err)
			}
			if text, err := os.ReadFile(path); err != nil || string(text) != row.want {
				t.Errorf("%q, %v", text, err)
			}
		})
	}
}

func TestAFileThatIsGone(t *testing.T) {
	dir, j := home(t)
	path := filepath.Join(dir, "sub", "file")
	if err := j.Commit(t.Context(), set(path, "x")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if done, err := j.Undo(t.Context(), nil); err != nil || len(done) != 1 || done[0].Left != "" {
		t.Errorf("%v, %v", done, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "sub")); !os.IsNotExist(err) {
		t.Error("the directory is still there")
	}
}

func TestNotesAndDirectories(t *testing.T) {
	dir, j := home(t)
	n := Note{"vault", map[string]string{"addr": "https://v"}}
	for range 2 {
		if err := j.Note(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := j.Notes(); err != nil || len(got) != 1 || got[0].Values["addr"] != "https://v" {
		t.Errorf("%v, %v", got, err)
	}
	cache := filepath.Join(dir, ".cache", "oidc-broker")
	if err := j.MkdirAll(t.Context(), cache); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Undo(t.Context(), []Note{n}); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// What cannot be recorded is done all the same, and said.
func TestWithoutARecord(t *testing.T) {
	dir, j := home(t)
	blocked := filepath.Join(dir, "blocked")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	said := ""
	j.Dir, j.Log = filepath.Join(blocked, "state"), func(err error) { said = err.Error() }
	path := filepath.Join(dir, "file")
	if err := j.Commit(t.Context(), set(path, "x")); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "x" || !strings.Contains(said, "not a directory") {
		t.Errorf("%q, %v, said %q", text, err, said)
	}
}

func TestManyWritersOneRecord(t *testing.T) {
	dir, j := home(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for k := range 5 {
				if err := j.Commit(t.Context(), replace(filepath.Join(dir, "file"), "", fmt.Sprintf("line %d %d\n", i, k)), set(filepath.Join(dir, fmt.Sprint("own", i)), fmt.Sprint(k))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if done, err := j.Undo(t.Context(), nil); err != nil || len(done) != 9 {
		t.Errorf("%v, %v", done, err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// A random history of our changes and theirs: afterwards only theirs is there.
func FuzzUndo(f *testing.F) {
	f.Add(uint64(1), "a\nb\nc\n")
	f.Add(uint64(2), "no end")
	f.Fuzz(func(t *testing.T, seed uint64, start string) {
		if len(start) > 1<<10 {
			return
		}
		dir := t.TempDir()
		j := &Journal{Dir: filepath.Join(dir, "state")}
		path := filepath.Join(dir, "file")
		if err := os.WriteFile(path, []byte(start), 0o600); err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(seed, 0))
		for i := range r.IntN(6) {
			edit := Edit{Path: path, Apply: func(b []byte) ([]byte, error) {
				at := 0
				if len(b) > 0 {
					at = r.IntN(len(b))
				}
				end := at + r.IntN(len(b)-at+1)
				return append(append(bytes.Clone(b[:at]), fmt.Sprintf("ours %d\n", i)...), b[end:]...), nil
			}}
			if err := j.Commit(t.Context(), edit); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := j.Undo(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(path); err != nil || string(text) != start {
			t.Fatalf("%q, %v; want %q", text, err, start)
		}
	})
}

// A model is a file by its lines: theirs, ours, and those of theirs that ours took
// the place of.
type model struct {
	r     *rand.Rand
	items []modelLine
	n     int
	holes bool // lines were taken out with nothing in their place
}

type modelLine struct {
	text         string
	ours, hidden bool
}

func (m *model) file() []byte {
	var b []byte
	for _, l := range m.items {
		if !l.hidden {
			b = append(b, l.text+"\n"...)
		}
	}
	return b
}

// fresh are lines that nobody has written yet; some of theirs are blank.
func (m *model) fresh(ours bool) []modelLine {
	var all []modelLine
	for range 1 + m.r.IntN(3) {
		m.n++
		text := fmt.Sprintf("theirs %d", m.n)
		if ours {
			text = fmt.Sprintf("OURS %d", m.n)
		} else if m.r.IntN(4) == 0 {
			text = ""
		}
		all = append(all, modelLine{text: text, ours: ours})
	}
	return all
}

// theirs are the places between lines that somebody else may write to: not within
// ours.
func (m *model) theirs() []int {
	var all []int
	for i := range len(m.items) + 1 {
		if i > 0 && i < len(m.items) && (m.items[i-1].ours || m.items[i-1].hidden) && (m.items[i].ours || m.items[i].hidden) {
			continue
		}
		all = append(all, i)
	}
	return all
}

// ourChange writes lines of ours, in the place of some of theirs or of ours.
func (m *model) ourChange() {
	at := m.r.IntN(len(m.items) + 1)
	end := min(len(m.items), at+m.r.IntN(3))
	var kept []modelLine
	for _, l := range m.items[at:end] {
		if !l.ours {
			l.hidden = true
			kept = append(kept, l)
		}
	}
	var fresh []modelLine
	if len(kept) > 0 && m.r.IntN(4) == 0 {
		m.holes = true
	} else {
		fresh = m.fresh(true)
	}
	m.items = slices.Concat(m.items[:at], kept, fresh, m.items[end:])
}

// theirChange writes, changes or removes lines of theirs.
func (m *model) theirChange() {
	places := m.theirs()
	at := places[m.r.IntN(len(places))]
	if m.r.IntN(3) > 0 || at == len(m.items) || m.items[at].ours || m.items[at].hidden {
		m.items = slices.Insert(m.items, at, m.fresh(false)...)
		return
	}
	m.items = slices.Delete(m.items, at, at+1)
	if m.r.IntN(2) == 0 {
		m.items = slices.Insert(m.items, at, m.fresh(false)...)
	}
}

// check says what is wrong with what Undo made of the file.
func (m *model) check(after string) string {
	want, blank := map[string]bool{}, 0
	var order []string
	for _, l := range m.items {
		switch {
		case l.ours:
		case l.text == "":
			blank++
		case l.hidden:
			want[l.text] = true
		default:
			order = append(order, l.text)
		}
	}
	for line := range strings.Lines(after) {
		switch line = strings.TrimSuffix(line, "\n"); {
		case strings.HasPrefix(line, "OURS"):
			return fmt.Sprintf("%q is left", line)
		case line == "":
			blank--
		case want[line]:
			delete(want, line)
		case len(order) == 0 || order[0] != line:
			return fmt.Sprintf("%q is not theirs, or not there", line)
		default:
			order = order[1:]
		}
	}
	if len(order)+len(want) > 0 || blank != 0 {
		return fmt.Sprintf("missing are %q, %v and %d blank lines", order, want, blank)
	}
	return ""
}

// A random history of our changes and of others': afterwards only theirs is there,
// and all of it.
func FuzzUndoAmongOthers(f *testing.F) {
	for seed := range uint64(30) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		dir := t.TempDir()
		j := &Journal{Dir: filepath.Join(dir, "state"), Log: func(err error) { t.Error(err) }}
		m := &model{r: rand.New(rand.NewPCG(seed, 1))}
		for range m.r.IntN(4) {
			m.items = append(m.items, m.fresh(false)...)
		}
		path := filepath.Join(dir, "file")
		given(t, path, string(m.file()), 0o600)
		for range 1 + m.r.IntN(8) {
			if m.r.IntN(2) == 0 {
				m.theirChange()
				t.Logf("they:\n%s", m.file())
				given(t, path, string(m.file()), 0o600)
				continue
			}
			m.ourChange()
			t.Logf("we:\n%s", m.file())
			if err := j.Commit(t.Context(), set(path, string(m.file()))); err != nil {
				t.Fatal(err)
			}
		}
		was := string(m.file())
		done, err := j.Undo(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		after, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(done) > 0 && done[0].Left != "" {
			if !m.holes {
				t.Errorf("%s\n%s", done[0].Left, was)
			}
			return
		}
		if bad := m.check(string(after)); bad != "" {
			t.Errorf("%s\nwas:\n%s\nis:\n%s", bad, was, after)
		}
	})
}

// A process recorded the directories that it was about to make, and was killed: the
// record holds for the next one that makes them.
func TestDirectoriesStayRecordedAfterAKill(t *testing.T) {
	home := t.TempDir()
	before := tree(t, home)
	j := NewJournal(filepath.Join(home, "state", "oidc-broker"))
	dir := filepath.Join(home, "cache", "oidc-broker")
	if err := j.begin(t.Context(), func(r *journal) { r.addDirs(missingDirs(dir)) }); err != nil {
		t.Fatal(err)
	}
	if err := j.MkdirAll(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Undo(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, tree(t, home)); diff != "" {
		t.Errorf("left:\n%s", diff)
	}
}
