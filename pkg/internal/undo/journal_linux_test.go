package undo

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// Whoever runs cleanup with more rights than the record's owner does nothing of what
// stands there.
func TestARecordOfAnotherUser(t *testing.T) {
	root(t)
	for _, name := range []string{".", recordFile, backupDir} {
		dir, j := recorded(t)
		if err := os.Chown(filepath.Join(j.Dir, name), 12345, -1); err != nil {
			t.Fatal(err)
		}
		before := testenv.Tree(t, dir)
		_, err := j.Undo(t.Context(), nil)
		if fault.KindOf(err) != fault.Local || !strings.Contains(err.Error(), "belongs to another user") || len(fault.Hints(err)) == 0 {
			t.Errorf("%s: %v, %q", name, err, fault.Hints(err))
		}
		if diff := cmp.Diff(before, testenv.Tree(t, dir)); diff != "" {
			t.Errorf("%s: something was changed:\n%s", name, diff)
		}
	}
}

// The owner comes back with the bytes.
func TestUndoKeepsTheOwner(t *testing.T) {
	root(t)
	dir, j := home(t)
	path := testenv.Given(t, filepath.Join(dir, "file"), "a\n", 0o640)
	for _, p := range []string{dir, path} {
		if err := os.Chown(p, 12345, 54321); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Commit(t.Context(), set(path, "a\nOURS\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Undo(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if s := info.Sys().(*syscall.Stat_t); s.Uid != 12345 || s.Gid != 54321 || info.Mode().Perm() != 0o640 {
		t.Errorf("%d:%d %v", s.Uid, s.Gid, info.Mode())
	}
}

// What is there in place of the file is left alone.
func TestUndoWhereTheFileIsNoMore(t *testing.T) {
	for name, row := range map[string]struct {
		put  func(t *testing.T, path string)
		left string
	}{
		"a directory":       {func(t *testing.T, path string) { testenv.Given(t, filepath.Join(path, "x"), "x", 0o600) }, "it is no regular file any more"},
		"a FIFO":            {func(t *testing.T, path string) { needs(t, "a FIFO", syscall.Mkfifo(path, 0o600)) }, "it is no regular file any more"},
		"a link to nothing": {func(t *testing.T, path string) { _ = os.Symlink("nowhere", path) }, ""},
		"a file for the directory": {func(t *testing.T, path string) {
			_ = os.Remove(filepath.Dir(path))
			testenv.Given(t, filepath.Dir(path), "x", 0o600)
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir, j := home(t)
			path := filepath.Join(dir, "sub", "file")
			if err := j.Commit(t.Context(), set(path, "OURS\n")); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			row.put(t, path)
			done, err := j.Undo(t.Context(), nil)
			if err != nil || len(done) != 1 || done[0].Left != row.left {
				t.Errorf("%v, %v", done, err)
			}
			if exists(j.Dir) {
				t.Error("the record is still there")
			}
		})
	}
}
