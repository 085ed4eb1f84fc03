package files

import (
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"

	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

func named(s string) string { return CacheName(sha256.Sum256([]byte(s)), "json") }

// kept is a cache with one file in it.
func kept(t *testing.T, content string) (c Cache, path string) {
	t.Helper()
	c = Cache{Dir: filepath.Join(t.TempDir(), "cache")}
	if err := os.Mkdir(c.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := c.Write(named("a"), []byte(content)); err != nil {
		t.Fatal(err)
	}
	return c, filepath.Join(c.Dir, named("a"))
}

func TestCacheReadsWhatWasWritten(t *testing.T) {
	for _, content := range []string{"one", "", "two\nlines\n", strings.Repeat("x", 32<<10)} {
		c, path := kept(t, content)
		got, err := c.Read(named("a"))
		if err != nil || string(got) != content {
			t.Errorf("read %q, %v", got, err)
		}
		if info, _ := os.Stat(path); info.Mode().Perm()&0o077 != 0 && filepath.Separator == '/' {
			t.Errorf("mode %s", info.Mode())
		}
		if got, err := c.Read(named("b")); got != nil || err != nil {
			t.Errorf("what is not there is %q, %v", got, err)
		}
		if err := c.Write(named("a"), []byte("later")); err != nil {
			t.Error(err)
		}
		if got, _ := c.Read(named("a")); string(got) != "later" {
			t.Errorf("read %q after it was replaced", got)
		}
	}
	if got, err := (Cache{Dir: filepath.Join(t.TempDir(), "none")}).Read(named("a")); got != nil || err != nil {
		t.Errorf("without a directory: %q, %v", got, err)
	}
	c, _ := kept(t, "x")
	if err := c.Write(named("a"), make([]byte, maxCached)); err == nil {
		t.Errorf("too large: %v", err)
	}
}

// TestCacheBelievesNothingElse: each row makes the file one that cannot be used, and
// after Ready and Write it is one that can.
func TestCacheBelievesNothingElse(t *testing.T) {
	testenv.Unix(t)
	move := func(t *testing.T, path string) string {
		other := filepath.Join(t.TempDir(), "other")
		if err := os.Rename(path, other); err != nil {
			t.Fatal(err)
		}
		return other
	}
	write := func(text string) func(*testing.T, Cache, string) error {
		return func(_ *testing.T, _ Cache, path string) error { return os.WriteFile(path, []byte(text), 0o600) }
	}
	for _, row := range []struct {
		name, why string
		spoil     func(t *testing.T, c Cache, path string) error
	}{
		{"empty", "damaged", write("")},
		{"no digest", "damaged", write("content")},
		{"another digest", "damaged", write(strings.Repeat("0", 64) + "\ncontent")},
		{"too large", "damaged", write(strings.Repeat("x", maxCached+1))},
		{"cut short", "damaged", func(_ *testing.T, _ Cache, path string) error { return os.Truncate(path, 70) }},
		{"another file's content", "damaged", func(t *testing.T, c Cache, path string) error {
			if err := c.Write(named("b"), []byte("content")); err != nil {
				return err
			}
			return os.Rename(filepath.Join(c.Dir, named("b")), path)
		}},
		{"its mode", "open to other users", func(_ *testing.T, _ Cache, path string) error { return os.Chmod(path, 0o640) }},
		{"a link to a good one", "symbolic links", func(t *testing.T, _ Cache, path string) error { return os.Symlink(move(t, path), path) }},
		{"a link to nothing", "symbolic links", func(t *testing.T, _ Cache, path string) error { return os.Symlink(move(t, path)+"x", path) }},
		{"the directory's mode", "open to other users", func(_ *testing.T, c Cache, _ string) error { return os.Chmod(c.Dir, 0o701) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, path := kept(t, "content")
			if err := row.spoil(t, c, path); err != nil {
				t.Fatal(err)
			}
			got, err := c.Read(named("a"))
			if got != nil || err == nil || !strings.Contains(err.Error(), row.why) {
				t.Errorf("read %q, %v", got, err)
			}
			if err := c.Ready(); err != nil {
				t.Error(err)
			}
			if err := c.Write(named("a"), []byte("new")); err != nil {
				t.Error(err)
			}
			if got, err := c.Read(named("a")); string(got) != "new" {
				t.Errorf("then read %q, %v", got, err)
			}
			if info, err := os.Lstat(path); err != nil || info.Mode() != 0o600 {
				t.Errorf("mode %s, %v", info.Mode(), err)
			}
		})
	}
}

// TestCacheWhoseDirectoryIsNone: it is neither read nor written, nor what it leads to.
func TestCacheWhoseDirectoryIsNone(t *testing.T) {
	testenv.Unix(t)
	c, _ := kept(t, "content")
	link := Cache{Dir: filepath.Join(t.TempDir(), "link")}
	if err := os.Symlink(c.Dir, link.Dir); err != nil {
		t.Fatal(err)
	}
	before := testenv.Tree(t, c.Dir)
	if got, err := link.Read(named("a")); got != nil || err == nil {
		t.Errorf("read %q, %v", got, err)
	}
	for what, err := range map[string]error{"ready": link.Ready(), "write": link.Write(named("a"), nil)} {
		if err == nil || !strings.Contains(err.Error(), "no directory") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := errors.Join(link.Clear(), link.Sweep(time.Now().Add(time.Hour))); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(before, testenv.Tree(t, c.Dir)); diff != "" {
		t.Errorf("something changed:\n%s", diff)
	}
}

func TestCacheClearsWhatIsItsOwn(t *testing.T) {
	c, path := kept(t, "content")
	for _, name := range []string{"mine", strings.Repeat("a", 64), strings.Repeat("a", 63) + ".json", "." + named("a") + "77"} {
		testenv.Given(t, filepath.Join(c.Dir, name), "x", 0o600)
	}
	testenv.Given(t, lockName(filepath.Join(c.Dir, named("dead"))), "", 0o600)
	if err := os.Mkdir(filepath.Join(c.Dir, named("dir")), 0o700); err != nil {
		t.Fatal(err)
	}
	unlock, err := c.Lock(t.Context(), named("held"))
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	if err := c.Sweep(old.Add(time.Minute)); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old one: %v", err)
	}
	if got := c.Len(); got != 4 { // leftover, dead lock, held lock, directory
		t.Errorf("%d files are left", got)
	}
	for range 2 {
		if err := c.Clear(); err != nil {
			t.Error(err)
		}
	}
	var left []string
	entries, _ := os.ReadDir(c.Dir)
	for _, e := range entries {
		left = append(left, e.Name())
	}
	want := []string{filepath.Base(lockName(named("held"))), strings.Repeat("a", 64), strings.Repeat("a", 63) + ".json", named("dir"), "mine"}
	sorted := cmp.Transformer("set", func(names []string) map[string]bool {
		set := map[string]bool{}
		for _, n := range names {
			set[n] = true
		}
		return set
	})
	if diff := cmp.Diff(want, left, sorted); diff != "" {
		t.Errorf("what is left:\n%s", diff)
	}
}

func TestTryLock(t *testing.T) {
	c, _ := kept(t, "content")
	unlock, ok, err := c.TryLock(named("a"))
	if !ok || err != nil {
		t.Fatalf("%t, %v", ok, err)
	}
	if _, ok, err := c.TryLock(named("a")); ok || err != nil {
		t.Errorf("held by another: %t, %v", ok, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Lock(ctx, named("a")); !errors.Is(err, ErrLocked) {
		t.Errorf("waiting for it: %v", err)
	}
	unlock()
	unlock, ok, err = c.TryLock(named("a"))
	if !ok || err != nil {
		t.Fatalf("given back: %t, %v", ok, err)
	}
	unlock()
	if _, _, err := (Cache{Dir: filepath.Join(c.Dir, "none")}).TryLock(named("a")); fault.KindOf(err) != fault.Local || errors.Is(err, ErrLocked) {
		t.Errorf("without a directory: %v", err)
	}
}
