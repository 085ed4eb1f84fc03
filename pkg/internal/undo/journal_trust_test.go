package undo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"

	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// recorded is a home with a record of two changes.
func recorded(t *testing.T) (dir string, j *Journal) {
	t.Helper()
	dir, j = home(t)
	path := testenv.Given(t, filepath.Join(dir, "file"), "a\nformer\n", 0o600)
	testenv.Given(t, filepath.Join(dir, "elsewhere"), "NOBODY'S\n", 0o600)
	if err := j.Commit(t.Context(), set(path, "a\nOURS\n"), set(filepath.Join(dir, "new", "made"), "OURS\n")); err != nil {
		t.Fatal(err)
	}
	j.Log = nil
	return dir, j
}

// tampered changes the record as somebody may have who knows JSON.
func tampered(change func(r map[string]any)) func(t *testing.T, j *Journal) {
	return func(t *testing.T, j *Journal) {
		path := filepath.Join(j.Dir, recordFile)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var r map[string]any
		if err := json.Unmarshal(b, &r); err != nil {
			t.Fatal(err)
		}
		change(r)
		if b, err = json.Marshal(r); err != nil {
			t.Fatal(err)
		}
		testenv.Given(t, path, string(b), 0o600)
	}
}

// changed returns the entry of the file that was there before.
func changed(r map[string]any) map[string]any {
	for _, f := range r["files"].([]any) {
		if e := f.(map[string]any); strings.HasSuffix(e["path"].(string), "file") {
			return e
		}
	}
	return nil
}

// A record that others could have written, that is damaged or that is not ours to
// read changes nothing: not the files, not itself. And no command adds to it.
func TestADistrustedRecord(t *testing.T) {
	record := func(j *Journal) string { return filepath.Join(j.Dir, recordFile) }
	chmod := func(path string, mode os.FileMode) func(*testing.T, *Journal) {
		return func(t *testing.T, j *Journal) {
			testenv.Unix(t)
			if err := os.Chmod(filepath.Join(j.Dir, path), mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	link := func(path string) func(*testing.T, *Journal) {
		return func(t *testing.T, j *Journal) {
			testenv.Unix(t)
			path := filepath.Join(j.Dir, path)
			if err := os.Rename(path, filepath.Join(filepath.Dir(j.Dir), "moved")); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("../moved", path); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, row := range map[string]struct {
		harm func(*testing.T, *Journal)
		want string
	}{
		"truncated": {func(t *testing.T, j *Journal) {
			b, _ := os.ReadFile(record(j))
			testenv.Given(t, record(j), string(b[:len(b)/2]), 0o600)
		}, "is damaged, or no record of this program's"},
		"empty":                     {func(t *testing.T, j *Journal) { testenv.Given(t, record(j), "", 0o600) }, "is damaged, or no record"},
		"something else":            {func(t *testing.T, j *Journal) { testenv.Given(t, record(j), `{"x": 1}`, 0o600) }, "is damaged, or no record"},
		"huge":                      {func(t *testing.T, j *Journal) { testenv.Given(t, record(j), strings.Repeat(" ", maxRecord+1), 0o600) }, "is larger than"},
		"newer":                     {tampered(func(r map[string]any) { r["version"] = 3 }), "was written by a newer version"},
		"older":                     {tampered(func(r map[string]any) { r["version"] = 1 }), "was written by an older version"},
		"others write to it":        {chmod(recordFile, 0o666), "can be written to by other users"},
		"the group does":            {chmod(recordFile, 0o620), "can be written to by other users"},
		"to its directory":          {chmod(".", 0o777), "can be written to by other users"},
		"to what is kept":           {chmod(backupDir, 0o770), "can be written to by other users"},
		"a link":                    {link(recordFile), "is a symbolic link"},
		"what is kept is elsewhere": {link(backupDir), "is a symbolic link"},
		"a directory in its place": {func(t *testing.T, j *Journal) {
			_ = os.Remove(record(j))
			testenv.Given(t, filepath.Join(record(j), "x"), "", 0o600)
		}, "is not a regular file"},
		"a path that leads out":        {tampered(func(r map[string]any) { changed(r)["backup"] = "../../../../elsewhere" }), "what was there before has no such name"},
		"a name of another kind":       {tampered(func(r map[string]any) { changed(r)["backup"] = "elsewhere" }), "what was there before has no such name"},
		"a relative path":              {tampered(func(r map[string]any) { changed(r)["path"] = "elsewhere" }), "a file without a path"},
		"no path":                      {tampered(func(r map[string]any) { delete(changed(r), "path") }), "a file without a path"},
		"a path with dots":             {tampered(func(r map[string]any) { changed(r)["path"] = changed(r)["path"].(string) + "/../elsewhere" }), "a file without a path"},
		"another's directory":          {tampered(func(r map[string]any) { changed(r)["dirs"] = []string{"/var"} }), "does not lie in"},
		"a temporary directory":        {tampered(func(r map[string]any) { r["temps"] = []string{"/home"} }), "is no temporary directory"},
		"one of our name and a path":   {tampered(func(r map[string]any) { r["temps"] = []string{"oidc-broker-AAAAAAAAAAAAAAAAAAAAAAAAAA"} }), "is no temporary directory"},
		"a secret kept somewhere":      {tampered(func(r map[string]any) { r["notes"] = []Note{{"vault", map[string]string{"kept": "../x"}}} }), "a secret that is kept has no such name"},
		"directories that are no path": {tampered(func(r map[string]any) { r["dirs"] = []string{"x"} }), "is no directory"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, j := recorded(t)
			row.harm(t, j)
			before := testenv.Tree(t, dir)
			_, err := j.Undo(t.Context(), nil)
			if fault.KindOf(err) != fault.Local || !strings.Contains(err.Error(), row.want) || len(fault.Hints(err)) == 0 && name != "huge" {
				t.Errorf("kind %d, %v, %q; want %q", fault.KindOf(err), err, fault.Hints(err), row.want)
			}
			if _, err := j.Plan(); err == nil {
				t.Error("there is a plan")
			}
			if _, err := j.Notes(); err == nil {
				t.Error("the notes are believed")
			}
			if diff := cmp.Diff(before, testenv.Tree(t, dir)); diff != "" {
				t.Errorf("something was changed:\n%s", diff)
			}
			var said error
			j.Log = func(err error) { said = err }
			if err := j.Commit(t.Context(), set(filepath.Join(dir, "later"), "x")); err != nil || said == nil {
				t.Errorf("a later command: %v, said %v", err, said)
			}
		})
	}
}

// What leads to other files than ours, and looks like a record, does no harm either:
// nothing is written that is not made of the very text that we wrote.
func TestARecordOfOtherFiles(t *testing.T) {
	for name, row := range map[string]struct {
		change func(dir string, r map[string]any)
		fails  bool
	}{
		"a change of a file that we never wrote": {func(dir string, r map[string]any) { changed(r)["path"] = filepath.Join(dir, "elsewhere") }, false},
		"said to be made by us": {func(dir string, r map[string]any) {
			changed(r)["path"], changed(r)["created"] = filepath.Join(dir, "elsewhere"), true
		}, false},
		"a file among the directories": {func(dir string, r map[string]any) {
			r["dirs"] = append(r["dirs"].([]any), filepath.Join(dir, "elsewhere"))
		}, false},
		"other bytes than were there": {func(_ string, r map[string]any) { changed(r)["base"] = digest([]byte("x")) }, true},
		"nothing of what was there":   {func(_ string, r map[string]any) { changed(r)["backup"] = "" }, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir, j := recorded(t)
			tampered(func(r map[string]any) { row.change(dir, r) })(t, j)
			_, err := j.Undo(t.Context(), nil)
			if (err != nil) != row.fails || err != nil && !strings.Contains(err.Error(), "is damaged in the record") {
				t.Errorf("%v", err)
			}
			for path, want := range map[string]string{"elsewhere": "NOBODY'S\n", "file": "a\nOURS\n"} {
				text, err := os.ReadFile(filepath.Join(dir, path))
				if path == "file" && string(text) == "a\nformer\n" {
					continue
				}
				if err != nil || string(text) != want {
					t.Errorf("%s: %q, %v", path, text, err)
				}
			}
			if row.fails && !exists(filepath.Join(j.Dir, recordFile)) {
				t.Error("the record is gone, and with it what the file was")
			}
		})
	}
}

// What was kept is gone: the file stays as it is, and the record too.
func TestWhatWasKeptIsGone(t *testing.T) {
	dir, j := recorded(t)
	kept, _ := filepath.Glob(filepath.Join(j.Dir, backupDir, "*"))
	for _, k := range kept {
		if err := os.Remove(k); err != nil {
			t.Fatal(err)
		}
	}
	if len(kept) == 0 {
		t.Fatal("nothing was kept")
	}
	done, err := j.Undo(t.Context(), nil)
	if fault.KindOf(err) != fault.Local || len(done) != 2 {
		t.Errorf("%v, %v", done, err)
	}
	if text, _ := os.ReadFile(filepath.Join(dir, "file")); string(text) != "a\nOURS\n" {
		t.Errorf("%q", text)
	}
	if exists(filepath.Join(dir, "new")) || !exists(filepath.Join(j.Dir, recordFile)) {
		t.Error("the other file is there, or the record is gone")
	}
}

// A file that cannot be written keeps its place in the record; the rest is undone,
// and the directories too, once it is.
func TestUndoGoesOnAfterAFailure(t *testing.T) {
	testenv.Unix(t)
	dir, j := home(t)
	one, two := filepath.Join(dir, "new", "one"), filepath.Join(dir, "new", "two")
	before := testenv.Tree(t, dir)
	if err := j.Commit(t.Context(), set(one, "x"), set(two, "y")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(two, 0o400); err != nil {
		t.Fatal(err)
	}
	done, err := j.Undo(t.Context(), nil)
	if fault.KindOf(err) != fault.Local || !strings.Contains(err.Error(), "is read-only") || len(done) != 2 || done[0].Left == "" || done[1].Left != "" {
		t.Errorf("%v, %v", done, err)
	}
	if exists(one) || !exists(two) {
		t.Error("not the one that can be removed")
	}
	if err := os.Chmod(two, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Undo(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(before, testenv.Tree(t, dir)); diff != "" {
		t.Errorf("left:\n%s", diff)
	}
}

// Commands write while cleanups run: neither gets in the other's way, and after the
// last cleanup nothing is left.
func TestUndoWhileOthersWrite(t *testing.T) {
	dir, j := home(t)
	shared := testenv.Given(t, filepath.Join(dir, "shared"), "theirs\n", 0o640)
	before := testenv.Tree(t, dir)
	var writers, cleaners sync.WaitGroup
	end := make(chan struct{})
	for range 2 {
		cleaners.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
				}
				if _, err := j.Undo(t.Context(), nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 4 {
		writers.Go(func() {
			for k := range 8 {
				own := filepath.Join(dir, "deep", fmt.Sprint("d", i), fmt.Sprint(k%2))
				if err := j.Commit(t.Context(), replace(shared, "", fmt.Sprintf("ours %d %d\n", i, k)), set(own, fmt.Sprint(k))); err != nil {
					t.Error(err)
				}
				if err := j.Note(t.Context(), Note{"x", map[string]string{"n": fmt.Sprint(i, k)}}); err != nil {
					t.Error(err)
				}
				if tmp, done, err := j.TempDir(t.Context(), dir); err != nil {
					t.Error(err)
				} else {
					testenv.Given(t, filepath.Join(tmp, "file"), "x", 0o600)
					done()
				}
			}
		})
	}
	writers.Wait()
	close(end)
	cleaners.Wait()
	notes, err := j.Notes()
	if err != nil || len(notes) == 0 {
		t.Errorf("%d notes that nobody has seen to, %v", len(notes), err)
	}
	if _, err := j.Undo(t.Context(), notes); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, testenv.Tree(t, dir)); diff != "" {
		t.Errorf("left:\n%s", diff)
	}
}

func TestTempDir(t *testing.T) {
	testenv.Unix(t)
	dir, j := home(t)
	before := testenv.Tree(t, dir)
	tmp, done, err := j.TempDir(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	testenv.Given(t, filepath.Join(tmp, "token"), "x", 0o600)
	if info, err := os.Stat(tmp); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	// In use: it stays, and is said to.
	undone, err := j.Undo(t.Context(), nil)
	if err != nil || len(undone) != 1 || undone[0].Left != "a command that runs uses it" || !exists(filepath.Join(tmp, "token")) {
		t.Errorf("%v, %v", undone, err)
	}
	done()
	if diff := cmp.Diff(before, testenv.Tree(t, dir)); diff != "" {
		t.Errorf("left:\n%s", diff)
	}
	// Its process is dead: the lock is gone, all else is there.
	tmp, done, err = j.TempDir(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	testenv.Given(t, filepath.Join(tmp, "token"), "x", 0o600)
	if err := os.Rename(filepath.Join(tmp, inUse), filepath.Join(tmp, "was in use")); err != nil {
		t.Fatal(err)
	}
	if undone, err := j.Undo(t.Context(), nil); err != nil || len(undone) != 1 || undone[0].Left != "" {
		t.Errorf("%v, %v", undone, err)
	}
	done()
	if diff := cmp.Diff(before, testenv.Tree(t, dir)); diff != "" {
		t.Errorf("left:\n%s", diff)
	}
	// Something else in its place is not ours to remove.
	tmp, _, err = j.TempDir(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(tmp); err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Dir(testenv.Given(t, filepath.Join(dir, "elsewhere", "file"), "x", 0o600))
	if err := os.Symlink(elsewhere, tmp); err != nil {
		t.Fatal(err)
	}
	if undone, err := j.Undo(t.Context(), nil); err != nil || len(undone) != 1 || undone[0].Left != "it is not the directory that was made" || !exists(filepath.Join(elsewhere, "file")) {
		t.Errorf("%v, %v", undone, err)
	}
	// No record, no home: it works all the same.
	var none *Journal
	tmp, done, err = none.TempDir(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	done()
	if exists(tmp) {
		t.Error("it is still there")
	}
}

// A secret that is kept for a note lies beside the record until the note is seen to.
func TestKeep(t *testing.T) {
	dir, j := home(t)
	n := Note{"vault", map[string]string{"addr": "https://v"}}
	if err := j.Note(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if err := j.Keep(t.Context(), n, secret.New("KEPT-SECRET")); err != nil {
		t.Fatal(err)
	}
	if err := j.Commit(t.Context(), set(filepath.Join(dir, "file"), "x")); err != nil { // sweeps what is not needed
		t.Fatal(err)
	}
	notes, err := j.Notes()
	if err != nil || len(notes) != 1 || j.Kept(notes[0]).Reveal() != "KEPT-SECRET" || !j.Kept(n).Empty() {
		t.Fatalf("%v, %v", notes, err)
	}
	if record, err := os.ReadFile(filepath.Join(j.Dir, recordFile)); err != nil || bytes.Contains(record, []byte("KEPT-SECRET")) {
		t.Errorf("%s, %v", record, err)
	}
	if _, err := j.Undo(t.Context(), nil); err != nil { // nobody has seen to it
		t.Fatal(err)
	}
	if j.Kept(notes[0]).Empty() {
		t.Error("it is gone")
	}
	if _, err := j.Undo(t.Context(), notes); err != nil {
		t.Fatal(err)
	}
	if left := testenv.Tree(t, dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// Commands that fail leave nothing behind, not even the record that they began.
func TestAFailureLeavesNoRecord(t *testing.T) {
	dir, j := home(t)
	before := testenv.Tree(t, dir)
	bad := files.Edit{Path: filepath.Join(dir, "new", "file"), Apply: func([]byte) ([]byte, error) { return nil, errors.New("no") }}
	if err := j.Commit(t.Context(), bad); err == nil {
		t.Error("no error")
	}
	if err := j.Commit(t.Context(), set(filepath.Join(dir, "new", "nothing"), "")); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(before, testenv.Tree(t, dir)); diff != "" {
		t.Errorf("left:\n%s", diff)
	}
}

// Modes come back, but for one that somebody else has givenFile since.
func TestUndoAndModes(t *testing.T) {
	testenv.Unix(t)
	for name, row := range map[string]struct{ was, then, want os.FileMode }{
		"as it was":            {0o640, 0o600, 0o640},
		"group and all":        {0o664, 0o600, 0o664},
		"changed since":        {0o640, 0o660, 0o660},
		"it was so before":     {0o600, 0o600, 0o600},
		"an odd one":           {0o755, 0o600, 0o755},
		"back again by itself": {0o644, 0o644, 0o644},
	} {
		t.Run(name, func(t *testing.T) {
			dir, j := home(t)
			path := testenv.Given(t, filepath.Join(dir, "file"), "a\n", row.was)
			if err := j.Commit(t.Context(), set(path, "a\nOURS\n")); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, row.then); err != nil {
				t.Fatal(err)
			}
			if _, err := j.Undo(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != row.want {
				t.Errorf("%v, %v; want %v", info.Mode(), err, row.want)
			}
		})
	}
}

// A link that somebody has made of the file since is followed: what is ours goes
// where it is.
func TestUndoFollowsLinks(t *testing.T) {
	testenv.Unix(t)
	dir, j := home(t)
	real := testenv.Given(t, filepath.Join(dir, "dotfiles", "credentials"), "a\n", 0o600)
	path := filepath.Join(dir, "credentials")
	if err := os.Symlink(real, path); err != nil {
		t.Fatal(err)
	}
	before := testenv.Tree(t, dir)
	if err := j.Commit(t.Context(), set(path, "a\nOURS\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Undo(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, testenv.Tree(t, dir)); diff != "" {
		t.Errorf("left:\n%s", diff)
	}
}
