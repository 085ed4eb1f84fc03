package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"

	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// to is the edit that makes text the content, whatever it was.
func to(path, text string) Edit {
	return Edit{Path: path, Apply: func([]byte) ([]byte, error) { return []byte(text), nil }}
}

func private(e Edit) Edit {
	e.Private = true
	return e
}

func TestCommitModes(t *testing.T) {
	testenv.Unix(t)
	for _, row := range []struct {
		name string
		mode os.FileMode // 0: no file yet
		edit func(Edit) Edit
		want string
	}{
		{"new", 0, nil, "-rw-------"},
		{"new and private", 0, private, "-rw-------"},
		{"kept", 0o644, nil, "-rw-r--r--"},
		{"kept, though odd", 0o750, nil, "-rwxr-x---"},
		{"tightened", 0o644, private, "-rw-------"},
		{"tightened, though only the group can read", 0o640, private, "-rw-------"},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, text := range []string{"new", "old"} { // the same content must be tightened too
				dir := t.TempDir()
				path := filepath.Join(dir, "f")
				if row.mode != 0 {
					testenv.Given(t, path, "old", row.mode)
				}
				e := to(path, text)
				if row.edit != nil {
					e = row.edit(e)
				}
				if err := Commit(t.Context(), e); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff([]string{fmt.Sprintf("f %s %q", row.want, text)}, testenv.Tree(t, dir)); diff != "" {
					t.Errorf("(-want +got)\n%s", diff)
				}
			}
		})
	}
}

func TestCommitMakesPrivateDirectories(t *testing.T) {
	testenv.Unix(t)
	dir := t.TempDir()
	if err := Commit(t.Context(), to(filepath.Join(dir, "a", "b", "f"), "x")); err != nil {
		t.Fatal(err)
	}
	want := []string{"a drwx------", "a/b drwx------", `a/b/f -rw------- "x"`}
	if diff := cmp.Diff(want, testenv.Tree(t, dir)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// A path that cannot be found must not leave the directories of the others.
func TestCommitMakesNoDirectoryInVain(t *testing.T) {
	testenv.Unix(t)
	for _, row := range []struct{ name, second, want string }{
		{"a dangling link", "dangling", `dangling" is a symbolic link to a file that does not exist`},
		{"a directory that is one", "dangling/config", `dangling" is a symbolic link to a directory that does not exist`},
		{"or that would be in one", "dangling/deep/config", `dangling" is a symbolic link to a directory that does not exist`},
		{"a loop", "loop", "broken symbolic link"},
		{"a file in place of a directory", "plain/deep/config", "cannot find"},
	} {
		for _, swapped := range []bool{false, true} {
			dir := t.TempDir()
			testenv.Given(t, filepath.Join(dir, "plain"), "x", 0o600)
			for link, target := range map[string]string{"dangling": "nowhere", "loop": "loop"} {
				if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
					t.Fatal(err)
				}
			}
			before := testenv.Tree(t, dir)
			edits := []Edit{to(filepath.Join(dir, "aws", "credentials"), "x"), to(filepath.Join(dir, row.second), "x")}
			if swapped {
				edits[0], edits[1] = edits[1], edits[0]
			}
			err := Commit(t.Context(), edits...)
			if fault.KindOf(err) != fault.Local || !strings.Contains(fmt.Sprint(err), row.want) {
				t.Errorf("%s: kind %d, %v\nwant %q", row.name, fault.KindOf(err), err, row.want)
			}
			if diff := cmp.Diff(before, testenv.Tree(t, dir)); diff != "" {
				t.Errorf("%s: something was made:\n%s", row.name, diff)
			}
		}
	}
}

func TestCommitFollowsLinksToWhatIsMissing(t *testing.T) {
	testenv.Unix(t)
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "real"), 0o700), os.Symlink("real", filepath.Join(dir, "link"))); err != nil {
		t.Fatal(err)
	}
	add := func(path string) Edit {
		return Edit{Path: path, Apply: func(old []byte) ([]byte, error) { return append(old, 'x'), nil }}
	}
	err := Commit(t.Context(), add(filepath.Join(dir, "link", "a", "b", "f")), add(filepath.Join(dir, "real", "a", "b", "f")))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"a drwx------", "a/b drwx------", `a/b/f -rw------- "xx"`}
	if diff := cmp.Diff(want, testenv.Tree(t, filepath.Join(dir, "real"))); diff != "" {
		t.Errorf("the two spellings are one file (-want +got)\n%s", diff)
	}
}

func TestCommitFollowsLinks(t *testing.T) {
	testenv.Unix(t)
	dir := t.TempDir()
	testenv.Given(t, filepath.Join(dir, "real", "f"), "old", 0o644)
	for link, target := range map[string]string{"link": "real/f", "second": "link", "dir": "real"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := Commit(t.Context(), to(filepath.Join(dir, "second"), "1")); err != nil {
		t.Fatal(err)
	}
	if err := Commit(t.Context(), to(filepath.Join(dir, "dir", "new"), "2")); err != nil {
		t.Fatal(err)
	}
	links := func(mode string) []string {
		return []string{"dir " + mode + " -> real", "link " + mode + " -> real/f", "real drwxr-xr-x",
			`real/f -rw-r--r-- "1"`, `real/new -rw------- "2"`, "second " + mode + " -> link"}
	}
	got := testenv.Tree(t, dir)
	mode := strings.Fields(got[0])[1] // of links: differs between systems
	if diff := cmp.Diff(links(mode), got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestCommitRefuses(t *testing.T) {
	testenv.Unix(t)
	dir := t.TempDir()
	link := func(name, target string) string {
		path := filepath.Join(dir, name)
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain := testenv.Given(t, filepath.Join(dir, "plain"), "x", 0o600)
	readOnly := testenv.Given(t, filepath.Join(dir, "read-only"), "x", 0o444)
	testenv.Given(t, filepath.Join(dir, "folder", "x"), "x", 0o600)
	for _, row := range []struct{ name, path, want, hint string }{
		{"dangling link", link("dangling", "nowhere"), "is a symbolic link to a file that does not exist", "remove the link, or create the file"},
		{"link into a missing directory", link("deep", "no/where"), "is a symbolic link to a file that does not exist", "remove the link"},
		{"loop", link("loop", "loop"), "is a broken symbolic link", "remove the link, or point it at a file"},
		{"loop on the way", filepath.Join(link("loopdir", "loopdir"), "f"), "cannot find", ""},
		{"read-only", readOnly, "is read-only", "chmod u+w"},
		{"link to a read-only file", link("ro", "read-only"), "is read-only", "chmod u+w"},
		{"directory", filepath.Join(dir, "folder"), "is a directory, not a file", ""},
		{"device", os.DevNull, map[bool]string{true: "is not a regular file", false: "cannot lock"}[os.Geteuid() == 0], ""},
		{"file in place of a directory", filepath.Join(plain, "f"), "cannot", ""},
	} {
		before := testenv.Tree(t, dir)
		called := false
		err := Commit(t.Context(), Edit{Path: row.path, Apply: func([]byte) ([]byte, error) {
			called = true
			return []byte("s3cr3t"), nil
		}})
		if err == nil || fault.KindOf(err) != fault.Local || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: kind %d, %v\nwant %q", row.name, fault.KindOf(err), err, row.want)
			continue
		}
		if name := filepath.Base(row.path); !strings.Contains(err.Error(), name) && !strings.Contains(err.Error(), "read-only") && row.name != "file in place of a directory" {
			t.Errorf("%s: %v does not name %q", row.name, err, name)
		}
		if hints := strings.Join(fault.Hints(err), "\n"); !strings.Contains(hints, row.hint) {
			t.Errorf("%s: hints %q, want %q", row.name, hints, row.hint)
		}
		if called {
			t.Errorf("%s: the content was made all the same", row.name)
		}
		if diff := cmp.Diff(before, testenv.Tree(t, dir)); diff != "" {
			t.Errorf("%s: something changed:\n%s", row.name, diff)
		}
	}
}

func TestCommitGivesNilWhenThereIsNoFile(t *testing.T) {
	dir := t.TempDir()
	testenv.Given(t, filepath.Join(dir, "empty"), "", 0o600)
	for _, row := range []struct {
		name string
		null bool
	}{{"missing", true}, {"empty", false}} {
		err := Commit(t.Context(), Edit{Path: filepath.Join(dir, row.name), Apply: func(old []byte) ([]byte, error) {
			if (old == nil) != row.null || len(old) > 0 {
				t.Errorf("%s: old is %#v", row.name, old)
			}
			return old, nil
		}})
		if err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "missing")); err == nil {
		t.Error("a file was made out of nothing")
	}
}

func TestCommitTwoEditsOfOneFile(t *testing.T) {
	testenv.Unix(t)
	dir := t.TempDir()
	testenv.Given(t, filepath.Join(dir, "real", "f"), "0", 0o644)
	if err := os.Symlink("real", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	add := func(path, text string) Edit {
		return Edit{Path: path, Apply: func(old []byte) ([]byte, error) { return append(old, text...), nil }}
	}
	err := Commit(t.Context(),
		add(filepath.Join(dir, "real", "f"), "1"),
		private(add(filepath.Join(dir, "link", "f"), "2")),
		add(filepath.Join(dir, "real", "..", "real", "f"), "3"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := testenv.Tree(t, filepath.Join(dir, "real")), []string{`f -rw------- "0123"`}; !cmp.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestCommitIsAllOrNothing(t *testing.T) {
	testenv.Unix(t)
	broken := fault.New(fault.Usage, "line 3: broken").Hint("repair it")
	for _, row := range []struct {
		name   string
		second func(path string) Edit
		want   string
	}{
		{"the second cannot be applied", func(path string) Edit {
			return Edit{Path: path, Apply: func([]byte) ([]byte, error) { return []byte("partial"), broken }}
		}, `b": line 3: broken`},
		{"the second is read-only", func(path string) Edit {
			if err := os.Chmod(path, 0o400); err != nil {
				t.Fatal(err)
			}
			return to(path, "new")
		}, `b" is read-only`},
		{"the second becomes a directory at the last moment", func(path string) Edit {
			return Edit{Path: path, Apply: func([]byte) ([]byte, error) {
				return []byte("new"), errors.Join(os.Remove(path), os.Mkdir(path, 0o700), os.WriteFile(filepath.Join(path, "x"), nil, 0o600))
			}}
		}, `cannot write`},
	} {
		for _, old := range []string{"old", "", "-"} {
			t.Run(row.name+", first "+old, func(t *testing.T) {
				dir := t.TempDir()
				first, second := filepath.Join(dir, "a"), testenv.Given(t, filepath.Join(dir, "b"), "b", 0o644)
				if old != "-" {
					testenv.Given(t, first, old, 0o640)
				}
				edits := []Edit{private(to(first, "new")), row.second(second)}
				before := testenv.Tree(t, dir)
				err := Commit(t.Context(), edits...)
				if err == nil || !strings.Contains(err.Error(), row.want) {
					t.Fatalf("%v, want %q", err, row.want)
				}
				got := testenv.Tree(t, dir)
				if strings.Contains(row.name, "directory") { // which the test itself made
					before, got = before[:len(before)-1], got[:len(got)-2]
				}
				if diff := cmp.Diff(before, got); diff != "" {
					t.Errorf("something changed or was left:\n%s", diff)
				}
			})
		}
	}
}

func TestCommitKeepsTheKindAndHintsOfApply(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	broken := fault.New(fault.Usage, "line 3: broken").Hint("repair it")
	err := Commit(t.Context(), Edit{Path: path, Apply: func([]byte) ([]byte, error) { return nil, broken }})
	if fault.KindOf(err) != fault.Usage || !errors.Is(err, broken) || !cmp.Equal(fault.Hints(err), []string{"repair it"}) {
		t.Errorf("kind %d, hints %q, %v", fault.KindOf(err), fault.Hints(err), err)
	}
	if want := fmt.Sprintf("cannot edit %q: line 3: broken", path); err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
}

func TestCommitSurvivesAnApplyThatWritesIntoItsInput(t *testing.T) {
	path := testenv.Given(t, filepath.Join(t.TempDir(), "f"), "old", 0o600)
	err := Commit(t.Context(), Edit{Path: path, Apply: func(old []byte) ([]byte, error) {
		copy(old, "new")
		return old, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); string(got) != "new" {
		t.Errorf("%q: the change was taken for none", got)
	}
}

func TestCommitDoesNotTouchWhatIsTheSame(t *testing.T) {
	path := testenv.Given(t, filepath.Join(t.TempDir(), "f"), "x", 0o600)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := Commit(t.Context(), to(path, "x")); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("it was replaced: %v", err)
	}
}

// increment adds a line that counts the lines, so that a lost one shows.
func increment(path string) Edit {
	return Edit{Path: path, Apply: func(old []byte) ([]byte, error) {
		return fmt.Appendf(old, "%d\n", bytes.Count(old, []byte("\n"))), nil
	}}
}

func counted(t *testing.T, path string, n int) {
	t.Helper()
	var want strings.Builder
	for i := range n {
		fmt.Fprintln(&want, i)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.String(), string(got)); diff != "" {
		t.Errorf("lines were lost (-want +got)\n%s", diff)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			t.Errorf("%s was left", e.Name())
		}
	}
}

func TestManyGoroutinesLoseNothing(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			edits := []Edit{increment(a), increment(b)}
			if i%2 == 1 {
				edits[0], edits[1] = edits[1], edits[0]
			}
			for range 3 {
				if err := Commit(context.Background(), edits...); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	counted(t, a, 96)
	counted(t, b, 96)
}

func TestManyProcessesLoseNothing(t *testing.T) {
	if path := os.Getenv("SECRET_TEST_INCREMENT"); path != "" {
		for range 4 {
			if err := Commit(t.Context(), increment(path)); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	path := filepath.Join(t.TempDir(), "f")
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			cmd := exec.Command(os.Args[0], "-test.run=^TestManyProcessesLoseNothing$", "-test.count=1")
			cmd.Env = append(os.Environ(), "SECRET_TEST_INCREMENT="+path)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	all.Wait()
	counted(t, path, 128)
}

func TestLockWaitsForItsHolder(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	unlock, err := Lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = lock(t.Context(), path, 50*time.Millisecond)
	if fault.KindOf(err) != fault.Local || !strings.Contains(fmt.Sprint(err), `f" is locked by another process: waited 50ms`) {
		t.Errorf("kind %d, %v", fault.KindOf(err), err)
	}
	if hints := strings.Join(fault.Hints(err), "\n"); !strings.Contains(hints, ".f.oidc-broker.lock") {
		t.Errorf("hints %q do not name the lock", hints)
	}
	got := make(chan error)
	go func() {
		unlock, err := lock(t.Context(), path, time.Minute)
		if err == nil {
			unlock()
		}
		got <- err
	}()
	unlock()
	if err := <-got; err != nil {
		t.Errorf("the lock was free: %v", err)
	}
	if left := testenv.Tree(t, dir); left != nil {
		t.Errorf("left: %q", left)
	}
}

func TestLockAndItsContext(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	unlock, err := Lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	before := testenv.Tree(t, dir)
	late, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err = Commit(late, to(path, "x"))
	if fault.KindOf(err) != fault.Local || !strings.Contains(fmt.Sprint(err), `f" is locked by another process: waited until timeout`) {
		t.Errorf("the deadline passed: kind %d, %v", fault.KindOf(err), err)
	}
	if hints := strings.Join(fault.Hints(err), "\n"); !strings.Contains(hints, ".f.oidc-broker.lock") {
		t.Errorf("hints %q do not name the lock", hints)
	}
	if err := Commit(late, to(path, "x")); err != context.DeadlineExceeded {
		t.Errorf("the deadline had passed before: %v", err)
	}
	stopped, stop := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, stop)
	if err := Commit(stopped, to(path, "x")); err != context.Canceled {
		t.Errorf("canceled: %v", err)
	}
	if diff := cmp.Diff(before, testenv.Tree(t, dir)); diff != "" {
		t.Errorf("something changed:\n%s", diff)
	}
}

func TestLockWhereItCannotBe(t *testing.T) {
	_, err := Lock(t.Context(), filepath.Join(t.TempDir(), "no", "f"))
	if fault.KindOf(err) != fault.Local || !strings.Contains(fmt.Sprint(err), "cannot lock") {
		t.Errorf("%v", err)
	}
}
