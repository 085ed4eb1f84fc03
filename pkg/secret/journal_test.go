package secret

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// home is a directory with a journal of its own in it.
func home(t *testing.T) (dir string, j *Journal) {
	t.Helper()
	dir = t.TempDir()
	return dir, &Journal{Dir: filepath.Join(dir, ".local", "state", "oidc-broker"), Log: func(format string, args ...any) {
		t.Errorf(format, args...)
	}}
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
			done, err := j.Undo(t.Context())
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
			if done, err := j.Undo(t.Context()); err != nil || done != nil {
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
	if err != nil || len(kept) != 1 {
		t.Fatalf("%d files are kept, %v", len(kept), err)
	}
	text, err := os.ReadFile(kept[0])
	if err != nil || string(text) != "key = USERS-OWN\n" {
		t.Errorf("kept is %q, %v", text, err)
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
	for _, row := range []struct{ name, was, ours, then, want, left string }{
		{"below", "a\n", "a\nOURS\n", "a\nOURS\ntheirs\n", "a\ntheirs\n", ""},
		{"above", "a\n", "a\nOURS\n", "theirs\na\nOURS\n", "theirs\na\n", ""},
		{"in a file of ours", "", "OURS\n", "OURS\ntheirs\n", "theirs\n", ""},
		{"ours itself", "a\n", "a\nOURS\n", "a\nOURS changed\n", "a\nOURS changed\n", "somebody else changed it"},
		{"ours twice", "a\n", "a\nOURS\n", "OURS\na\nOURS\n", "OURS\na\nOURS\n", "somebody else changed it"},
		{"back already", "a\n", "a\nOURS\n", "a\n", "a\n", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir, j := home(t)
			path := filepath.Join(dir, "file")
			if row.was != "" {
				if err := os.WriteFile(path, []byte(row.was), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := j.Commit(t.Context(), set(path, row.ours)); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(row.then), 0o600); err != nil {
				t.Fatal(err)
			}
			done, err := j.Undo(t.Context())
			if err != nil || len(done) != 1 || !strings.Contains(done[0].Left, row.left) || row.left == "" && done[0].Left != "" {
				t.Errorf("%v, %v", done, err)
			}
			if text, err := os.ReadFile(path); err != nil || string(text) != row.want {
				t.Errorf("%q, %v; want %q", text, err, row.want)
			}
		})
	}
}

// Killed between the record and the change, or after it: Undo knows both.
func TestUndoAfterACrash(t *testing.T) {
	dir, j := home(t)
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, []byte("a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := &file{path: path, edits: []Edit{set(path, "a\nOURS\n")}}
	if err := f.change(); err != nil {
		t.Fatal(err)
	}
	if err := j.record(t.Context(), []*file{f}); err != nil {
		t.Fatal(err)
	}
	if done, err := j.Undo(t.Context()); err != nil || len(done) != 1 || done[0].Left != "" {
		t.Errorf("%v, %v", done, err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "a\n" {
		t.Errorf("%q, %v", text, err)
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
	if done, err := j.Undo(t.Context()); err != nil || len(done) != 1 || done[0].Left != "" {
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
	if got := j.Notes(); len(got) != 1 || got[0].Values["addr"] != "https://v" {
		t.Errorf("%v", got)
	}
	cache := filepath.Join(dir, ".cache", "oidc-broker")
	if err := j.MkdirAll(t.Context(), cache); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Undo(t.Context()); err != nil {
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
	j.Dir, j.Log = filepath.Join(blocked, "state"), func(format string, args ...any) { said = fmt.Sprintf(format, args...) }
	path := filepath.Join(dir, "file")
	if err := j.Commit(t.Context(), set(path, "x")); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "x" || !strings.Contains(said, "not recorded") {
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
	if done, err := j.Undo(t.Context()); err != nil || len(done) != 9 {
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
		if _, err := j.Undo(t.Context()); err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(path); err != nil || string(text) != start {
			t.Fatalf("%q, %v; want %q", text, err, start)
		}
	})
}
