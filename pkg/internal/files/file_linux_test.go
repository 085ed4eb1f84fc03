package files

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// needs skips a test that may not do what it must; a full run fails.
func needs(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	testenv.Missing(t, fmt.Sprintf("%s (%v)", what, err))
}

func root(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		needs(t, "root is needed", errors.New("not root"))
	}
}

func mount(t *testing.T, source, target, kind string, flags uintptr, data string) {
	t.Helper()
	root(t)
	needs(t, "mount", syscall.Mount(source, target, kind, flags, data))
	t.Cleanup(func() {
		if err := syscall.Unmount(target, 0); err != nil {
			t.Error(err)
		}
	})
}

func TestCommitOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	mount(t, "tmpfs", dir, "tmpfs", 0, "size=64k")
	small := testenv.Given(t, filepath.Join(dir, "a"), "old", 0o600)
	large := testenv.Given(t, filepath.Join(dir, "b"), "old", 0o600)
	before := testenv.Tree(t, dir)
	err := Commit(t.Context(), to(small, "new"), to(large, strings.Repeat("x", 100<<10)))
	if fault.KindOf(err) != fault.Local || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), large) {
		t.Errorf("kind %d, %v", fault.KindOf(err), err)
	}
	if diff := cmp.Diff(before, testenv.Tree(t, dir)); diff != "" {
		t.Errorf("something changed or was left:\n%s", diff)
	}
}

func TestCommitOnAReadOnlyFileSystem(t *testing.T) {
	dir := t.TempDir()
	testenv.Given(t, filepath.Join(dir, "f"), "old", 0o600)
	mount(t, dir, dir, "", syscall.MS_BIND, "")
	needs(t, "remount", syscall.Mount("", dir, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	err := Commit(t.Context(), to(filepath.Join(dir, "f"), "new"))
	if fault.KindOf(err) != fault.Local || !errors.Is(err, syscall.EROFS) {
		t.Errorf("kind %d, %v", fault.KindOf(err), err)
	}
}

// A file that is a read-only mount point, as a container's secret is, can be neither
// replaced nor written in place. Only the last step fails: the one before is undone.
func TestCommitUndoesWhatCameBefore(t *testing.T) {
	for _, old := range []string{"old", ""} {
		dir := t.TempDir()
		first := testenv.Given(t, filepath.Join(dir, "a"), old, 0o640)
		second := testenv.Given(t, filepath.Join(dir, "b"), "old", 0o600)
		mount(t, second, second, "", syscall.MS_BIND, "")
		needs(t, "remount", syscall.Mount("", second, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
		before := testenv.Tree(t, dir)
		err := Commit(t.Context(), private(to(first, "new")), to(second, "new"), to(filepath.Join(dir, "c"), "new"))
		if fault.KindOf(err) != fault.Local || !errors.Is(err, syscall.EBUSY) || !strings.Contains(err.Error(), second) {
			t.Errorf("kind %d, %v", fault.KindOf(err), err)
		}
		if diff := cmp.Diff(before, testenv.Tree(t, dir)); diff != "" {
			t.Errorf("something changed or was left:\n%s", diff)
		}
	}
}

func TestCommitKeepsTheOwner(t *testing.T) {
	root(t)
	path := testenv.Given(t, filepath.Join(t.TempDir(), "f"), "old", 0o640)
	if err := os.Chown(path, 4711, 4712); err != nil {
		t.Fatal(err)
	}
	if err := Commit(t.Context(), to(path, "new")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if s := info.Sys().(*syscall.Stat_t); s.Uid != 4711 || s.Gid != 4712 || info.Mode().Perm() != 0o640 {
		t.Errorf("owner %d:%d, mode %s", s.Uid, s.Gid, info.Mode())
	}
}

func TestCacheOnAFullDisk(t *testing.T) {
	c := Cache{Dir: t.TempDir()}
	mount(t, "tmpfs", c.Dir, "tmpfs", 0, "size=64k,mode=700")
	if err := c.Write(named("a"), []byte("old")); err != nil {
		t.Fatal(err)
	}
	testenv.Given(t, filepath.Join(c.Dir, "large"), strings.Repeat("x", 40<<10), 0o600)
	before := testenv.Tree(t, c.Dir)
	if err := c.Write(named("a"), make([]byte, 40<<10)); fault.KindOf(err) != fault.Local || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("kind %d, %v", fault.KindOf(err), err)
	}
	if diff := cmp.Diff(before, testenv.Tree(t, c.Dir)); diff != "" {
		t.Errorf("something changed or was left:\n%s", diff)
	}
}

func TestCacheOfAnotherUser(t *testing.T) {
	root(t)
	c, path := kept(t, "content")
	if err := os.Chown(path, 4711, 4712); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Read(named("a")); got != nil || err == nil || !strings.Contains(err.Error(), "another user's") {
		t.Errorf("a file: %q, %v", got, err)
	}
	c, _ = kept(t, "content")
	if err := os.Chown(c.Dir, 4711, 4712); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{"ready": c.Ready(), "write": c.Write(named("a"), nil)} {
		if err == nil || !strings.Contains(err.Error(), "another user's") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if got, err := c.Read(named("a")); got != nil || err == nil {
		t.Errorf("its directory: %q, %v", got, err)
	}
}
