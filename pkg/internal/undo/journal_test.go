package undo

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
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// home is a directory with a journal of its own in it.
func home(t *testing.T) (dir string, j *Journal) {
	t.Helper()
	dir = t.TempDir()
	return dir, &Journal{Dir: filepath.Join(dir, ".local", "state", "oidc-broker"), Levels: 3, Log: func(err error) { t.Error(err) }}
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

func set(path, text string) files.Edit {
	return files.Edit{Path: path, Private: true, Apply: func([]byte) ([]byte, error) { return []byte(text), nil }}
}

func replace(path, old, text string) files.Edit {
	return files.Edit{Path: path, Private: true, Apply: func(b []byte) ([]byte, error) {
		if old == "" {
			return append(b, text...), nil
		}
		return bytes.Replace(b, []byte(old), []byte(text), 1), nil
	}}
}

func TestUndoLeavesEverythingAsItWas(t *testing.T) {
	for name, steps := range map[string]func(commit func(...files.Edit), at func(string) string){
		"nothing":  func(func(...files.Edit), func(string) string) {},
		"new file": func(commit func(...files.Edit), at func(string) string) { commit(set(at("new/deep/file"), "text")) },
		"two in a new directory": func(commit func(...files.Edit), at func(string) string) {
			commit(set(at("new/b"), "b"), set(at("new/a"), "a"))
		},
		"an existing one": func(commit func(...files.Edit), at func(string) string) { commit(replace(at("there"), "two", "2")) },
		"twice": func(commit func(...files.Edit), at func(string) string) {
			commit(replace(at("there"), "two", "SECRET-1"))
			commit(replace(at("there"), "SECRET-1", "SECRET-2"))
		},
		"two places": func(commit func(...files.Edit), at func(string) string) {
			commit(replace(at("there"), "one", "1"))
			commit(replace(at("there"), "", "four\n"))
			commit(replace(at("there"), "1", "one"))
		},
		"back again": func(commit func(...files.Edit), at func(string) string) {
			commit(replace(at("there"), "two", "2"))
			commit(replace(at("there"), "2", "two"))
		},
		"emptied":        func(commit func(...files.Edit), at func(string) string) { commit(set(at("there"), "")) },
		"no line's end":  func(commit func(...files.Edit), at func(string) string) { commit(replace(at("cut"), "", "more")) },
		"CRLF":           func(commit func(...files.Edit), at func(string) string) { commit(replace(at("crlf"), "b", "B\r\nx")) },
		"the mode alone": func(commit func(...files.Edit), at func(string) string) { commit(replace(at("open"), "zzz", "")) },
		"an empty file":  func(commit func(...files.Edit), at func(string) string) { commit(set(at("empty"), "x")) },
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
			steps(func(edits ...files.Edit) {
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
	record, err := os.ReadFile(filepath.Join(j.Dir, recordFile))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(record, []byte("SECRET")) || bytes.Contains(record, []byte("USERS-OWN")) {
		t.Errorf("%s", record)
	}
	kept, err := filepath.Glob(filepath.Join(j.Dir, backupDir, "*"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("%d files are kept, %v", len(kept), err)
	}
	for _, path := range kept {
		if text, err := os.ReadFile(path); err != nil || string(text) != "[a]\nkey = USERS-OWN\n[b]\n" {
			t.Errorf("kept is %q, %v", text, err)
		}
	}
	if runtime.GOOS != "windows" {
		for _, p := range append(kept, filepath.Join(j.Dir, recordFile)) {
			if info, err := os.Stat(p); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v %v", p, info.Mode(), err)
			}
		}
	}
}

// A lineMarker knows lines by their texts, and the line that each replaced.
type lineMarker struct{}

func (lineMarker) Remove(marks []map[string]string, text, backup []byte) (got []byte, whole bool, err error) {
	if bytes.Contains(text, []byte("broken")) {
		return nil, false, errors.New("it cannot be read")
	}
	for _, m := range marks {
		text = bytes.ReplaceAll(text, []byte(m["line"]+"\n"), nil)
	}
	return text, len(backup) <= len(text), nil
}

// marked is an edit that writes a text and marks lines of it.
func marked(path, text string, secrets []string, lines ...string) []files.Edit {
	var edits []files.Edit
	for _, line := range append(lines, "") {
		e := set(path, text)
		m := Mark{Secrets: secrets}
		if line != "" {
			m.Note = Note{"line", map[string]string{"line": line}}
		}
		e.Mark = m
		edits = append(edits, e)
	}
	return edits
}

// From a file that was changed since our last write, our part goes by its mark, and each
// line with a secret of ours.
func TestUndoOfAFileThatWasChanged(t *testing.T) {
	const (
		unknown = "somebody else changed it since: what is left of ours is not known"
		notBack = "somebody else changed it since: ours is gone, but not all that it replaced is back"
		token   = "hvs.CAESI-0123456789"
	)
	for _, row := range []struct {
		name, was, ours string
		marks           []string
		secret          string
		then            string
		want, left      string
	}{
		{name: "theirs within", was: "a\n", ours: "a\nkey 1\nkey 2\n", marks: []string{"key 1", "key 2"}, then: "a\nkey 1\ntheirs\nkey 2\n", want: "a\ntheirs\n"},
		{name: "one of ours is theirs now", was: "a\n", ours: "a\nkey 1\nkey 2\n", marks: []string{"key 1", "key 2"}, then: "a\nkey 1\nkey 9\n", want: "a\nkey 9\n"},
		{name: "what ours replaced", was: "a\nformer\n", ours: "a\nkey 1\n", marks: []string{"key 1"}, then: "key 1\ntheirs\n", want: "theirs\n", left: notBack},
		{name: "a file that the marker cannot read", was: "a\n", ours: "a\nkey " + token + "\n", marks: []string{"key 1"}, secret: token, then: "broken\nkey = '" + token + "' # edited\n", want: "broken\n", left: unknown},
		{name: "without a mark", was: "a\n", ours: "a\nOURS\n", then: "a\nOURS\ntheirs\n", want: "a\nOURS\ntheirs\n", left: unknown},
		{name: "a secret in a comment", ours: token, secret: token, then: "# mine: " + token + "\ntheirs\n", want: "theirs\n"},
		{name: "a secret with a line's end", was: "former", ours: token, secret: token, then: token + "\n", want: "former"},
		{name: "another's secret in its place", was: "former", ours: token, secret: token, then: "hvs.another-9876543210\n", want: "hvs.another-9876543210\n", left: notBack},
		{name: "as it was already", was: "a\n", ours: "a\nOURS\n", then: "a\n", want: "a\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir, j := home(t)
			j.Markers = map[string]Marker{"line": lineMarker{}}
			path := filepath.Join(dir, "file")
			if row.was != "" {
				testenv.Given(t, path, row.was, 0o600)
			}
			if err := j.Commit(t.Context(), marked(path, row.ours, Digests(secret.New(row.secret)), row.marks...)...); err != nil {
				t.Fatal(err)
			}
			testenv.Given(t, path, row.then, 0o600)
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
			if exists(filepath.Join(dir, ".local")) {
				t.Error("the record is still there")
			}
		})
	}
}

// Killed between the record and the change: the file is what it was before that, and
// Undo knows it too, also when another program goes on writing.
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
			j.Markers = map[string]Marker{"line": lineMarker{}}
			path := testenv.Given(t, filepath.Join(dir, "file"), "a\n", 0o600)
			if row.before != "" {
				if err := j.Commit(t.Context(), marked(path, row.before, nil, "OURS 1")...); err != nil {
					t.Fatal(err)
				}
			}
			now, err := files.Look(path)
			if err != nil {
				t.Fatal(err)
			}
			now.New, now.Edits = []byte("a\nOURS 2\n"), marked(path, "", nil, "OURS 2")
			(&recording{Journal: j}).Changing(t.Context(), []files.Change{now})
			testenv.Given(t, path, row.then, 0o600)
			done, err := j.Undo(t.Context(), nil)
			if err != nil || len(done) != 1 || done[0].Left != "" {
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
			edit := files.Edit{Path: path, Apply: func(b []byte) ([]byte, error) {
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

// A random history of our changes and of others': afterwards no line of ours is there,
// and all that others wrote since.
func FuzzUndoAmongOthers(f *testing.F) {
	for seed := range uint64(30) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		dir, j := home(t)
		j.Markers = map[string]Marker{"line": lineMarker{}}
		r := rand.New(rand.NewPCG(seed, 1))
		path := testenv.Given(t, filepath.Join(dir, "file"), "first\n", 0o600)
		lines := []string{"first"}
		text := func() string { return strings.Join(lines, "\n") + "\n" }
		for n := range 1 + r.IntN(8) {
			at := r.IntN(len(lines) + 1)
			if r.IntN(2) == 0 {
				lines = slices.Insert(lines, at, fmt.Sprint("theirs ", n))
				testenv.Given(t, path, text(), 0o600)
				continue
			}
			ours := fmt.Sprint("OURS ", n)
			if at < len(lines) && strings.HasPrefix(lines[at], "OURS") {
				lines[at] = ours
			} else {
				lines = slices.Insert(lines, at, ours)
			}
			if err := j.Commit(t.Context(), marked(path, text(), nil, ours)...); err != nil {
				t.Fatal(err)
			}
		}
		lines = slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(line, "OURS") })
		done, err := j.Undo(t.Context(), nil)
		if err != nil || len(done) > 0 && done[0].Left != "" {
			t.Fatal(done, err)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != text() {
			t.Errorf("%q, %v; want %q", after, err, text())
		}
	})
}

// A process recorded the directories that it was about to make, and was killed: the
// record holds for the next one that makes them.
func TestDirectoriesStayRecordedAfterAKill(t *testing.T) {
	home := t.TempDir()
	before := testenv.Tree(t, home)
	j := NewJournal(filepath.Join(home, "state", "oidc-broker"))
	j.Levels = 2
	dir := filepath.Join(home, "cache", "oidc-broker")
	if err := j.update(t.Context(), func(r *record) error { r.Dirs = append(r.Dirs, files.MissingDirs(dir)...); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := j.MkdirAll(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Undo(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, testenv.Tree(t, home)); diff != "" {
		t.Errorf("left:\n%s", diff)
	}
}
