//go:build !windows

package files

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

const stranger = 12002

// owned makes a path another user's, which root alone can do.
func owned(t *testing.T, paths ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make another user's file")
	}
	for _, path := range paths {
		if err := os.Lchown(path, stranger, stranger); err != nil {
			t.Fatal(err)
		}
	}
}

// sticky is a directory in which every user can make files, as /tmp is.
func sticky(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	return dir
}

func privately(path, text string) Edit {
	e := to(path, text)
	e.Private = true
	return e
}

// A secret does not go into a file that another user owns, however it came there.
func TestSecretsAreNotWrittenToAnotherUser(t *testing.T) {
	refused := func(path, want string) {
		t.Helper()
		before, _ := os.ReadFile(path)
		err := Commit(t.Context(), privately(path, "SECRET"))
		if fault.KindOf(err) != fault.Local || !strings.Contains(fmt.Sprint(err), want) || len(fault.Hints(err)) == 0 {
			t.Errorf("%s: %v", want, err)
		}
		if after, _ := os.ReadFile(path); string(before) != string(after) {
			t.Errorf("%s: wrote %q", want, after)
		}
	}
	dir := sticky(t)
	theirs := testenv.Given(t, filepath.Join(dir, "creds"), "", 0o666)
	owned(t, theirs)
	refused(theirs, "belongs to another user, who could read")

	home := t.TempDir() // the stranger's
	theirs = testenv.Given(t, filepath.Join(home, "creds"), "", 0o666)
	link := filepath.Join(dir, "link")
	if err := os.Symlink(theirs, link); err != nil {
		t.Fatal(err)
	}
	owned(t, home, theirs, link)
	refused(link, "a symbolic link that another user made")
	if err := os.Symlink(home, filepath.Join(dir, "way")); err != nil {
		t.Fatal(err)
	}
	owned(t, filepath.Join(dir, "way"))
	refused(filepath.Join(dir, "way", "creds"), "a symbolic link that another user made")

	// Root in a user's own home, and a link of the user's own: as before.
	own := filepath.Join(home, "own")
	if err := os.Symlink(theirs, own); err != nil {
		t.Fatal(err)
	}
	owned(t, own)
	if err := Commit(t.Context(), privately(own, "SECRET")); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(theirs); err != nil || info.Sys().(*syscall.Stat_t).Uid != stranger || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestExposed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sub", "creds")
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[os.FileMode]bool{0o777: true, 0o777 | os.ModeSticky: false, 0o755: false, 0o702: true} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if why := Exposed(path); (why != "") != want || want && !strings.Contains(why, dir) {
			t.Errorf("%v: %q", mode, why)
		}
	}
}

// squat puts something of another user's where a lock or a temporary file is to go.
func squat(t *testing.T, name, kind string) {
	t.Helper()
	var err error
	switch kind {
	case "file":
		testenv.Given(t, name, "", 0o600)
	case "pipe":
		err = syscall.Mkfifo(name, 0o666)
	case "directory":
		if err = os.Mkdir(name, 0o755); err == nil {
			testenv.Given(t, filepath.Join(name, "in"), "", 0o600)
			owned(t, filepath.Join(name, "in"))
		}
	case "link":
		err = os.Symlink(filepath.Join(filepath.Dir(name), "elsewhere"), name)
	}
	if err != nil {
		t.Fatal(err)
	}
	owned(t, name)
}

// Whatever another user puts under the names that stand beside a file while it is
// written: it is written, by any number of writers, and what he put there stays his.
func TestSquattersStopNoWriter(t *testing.T) {
	for _, kind := range []string{"file", "pipe", "directory", "link"} {
		for _, name := range []func(string) string{lockName, tempName} {
			dir, cache := sticky(t), filepath.Join(t.TempDir(), "made", "locks")
			path := filepath.Join(dir, "creds")
			squat(t, name(path), kind)
			if os.Geteuid() == 0 && kind == "directory" && name(path) == tempName(path) {
				testenv.Given(t, filepath.Join(dir, "kept"), "", 0o600)
			}
			ctx := WithLocks(t.Context(), cache)
			var wg sync.WaitGroup
			for i := range 8 {
				wg.Go(func() {
					err := Commit(ctx, Edit{Path: path, Private: true, Apply: func(old []byte) ([]byte, error) {
						return fmt.Appendf(old, "%d\n", i), nil
					}})
					if err != nil {
						t.Errorf("%s at %s: %v", kind, name("x"), err)
					}
				})
			}
			wg.Wait()
			if b, _ := os.ReadFile(path); strings.Count(string(b), "\n") != 8 {
				t.Errorf("%s at %s: a writer's line is lost: %q", kind, name("x"), b)
			}
			if _, err := os.Lstat(name(path)); err != nil {
				t.Errorf("%s at %s: %v", kind, name("x"), err)
			}
			if _, err := os.Lstat(filepath.Join(dir, "elsewhere")); err == nil {
				t.Error("a file was made where a link points")
			}
			if _, err := os.Lstat(filepath.Dir(cache)); err == nil {
				t.Error("the directory of the locks is left")
			}
		}
	}
}

// A lock's name that is taken by what is no lock ends in an error, and in no wait.
func TestALockThatIsNone(t *testing.T) {
	for _, kind := range []string{"pipe", "directory", "link"} {
		path := filepath.Join(t.TempDir(), "f")
		name := lockName(path)
		var err error
		switch kind {
		case "pipe":
			err = syscall.Mkfifo(name, 0o600)
		case "directory":
			err = os.Mkdir(name, 0o700)
		case "link":
			err = os.Symlink(filepath.Join(filepath.Dir(path), "elsewhere"), name)
		}
		if err != nil {
			t.Fatal(err)
		}
		err = Commit(t.Context(), to(path, "x"))
		if fault.KindOf(err) != fault.Local || !strings.Contains(strings.Join(fault.Hints(err), " "), name) {
			t.Errorf("%s: %v, %q", kind, err, fault.Hints(err))
		}
	}
}

// Without a home directory, the hints say how to get past another user's file.
func TestASquattedLockWithoutHome(t *testing.T) {
	path := filepath.Join(sticky(t), "f")
	if err := os.Mkdir(lockName(path), 0o700); err != nil {
		t.Fatal(err)
	}
	err := Commit(t.Context(), to(path, "x"))
	if hints := fault.Hints(err); len(hints) != 2 || !strings.Contains(hints[1], "set HOME") {
		t.Errorf("%v, %q", err, hints)
	}
}

// A killed writer's temporary file goes with the next one, under any of its names.
func TestClearFindsEveryTemporaryName(t *testing.T) {
	dir := sticky(t)
	path := filepath.Join(dir, "creds")
	for _, name := range []string{tempName(path), tempName(path) + "-OLD"} {
		if err := os.Mkdir(name, 0o700); err != nil {
			t.Fatal(err)
		}
		testenv.Given(t, filepath.Join(name, "x"), "SECRET", 0o600)
	}
	ctx, cancel := context.WithCancel(WithLocks(t.Context(), filepath.Join(t.TempDir(), "locks")))
	defer cancel()
	if err := Commit(ctx, privately(path, "new")); err != nil {
		t.Fatal(err)
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 1 {
		t.Errorf("left: %v", entries)
	}
}
