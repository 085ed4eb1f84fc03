package files

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestKilledInPlace: whatever a writer that was killed while it wrote in place left in
// the file, the next one restores the old text, and begins from that.
func TestKilledInPlace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, before, after string }{
		{"longer", "old old\n", "new new new new\n"},
		{"shorter", "old old old old\n", "new\n"},
		{"the same length", "old 1\n", "new 2\n"},
		{"a common beginning", "same 1\nold\n", "same 1\nnew\n"},
		{"from nothing", "", "new\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for k := range len(c.after) + 1 {
				now := c.after[:k]
				if k < len(c.before) {
					now += c.before[k:]
				}
				if got := afterKill(t, c.before, c.after, now); got != c.before && (now != c.after || got != c.after) {
					t.Errorf("killed after %d bytes: the next writer finds %q, want %q", k, got, c.before)
				}
			}
			for _, theirs := range []string{"mine\n", c.after + "mine\n", "x" + c.before} {
				if got := afterKill(t, c.before, c.after, theirs); got != theirs {
					t.Errorf("what another program has written since, %q, became %q", theirs, got)
				}
			}
		})
	}
}

// afterKill returns what a writer finds where another one was killed.
func afterKill(t *testing.T, before, after, now string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config")
	if err := os.Mkdir(tempName(path), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		path: now, filepath.Join(tempName(path), keptOld): before, filepath.Join(tempName(path), keptNew): after,
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	found := ""
	err := Commit(context.Background(), Edit{Path: path, Apply: func(b []byte) ([]byte, error) {
		found = string(b)
		return append(b, "# more\n"...), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != found+"# more\n" {
		t.Errorf("the file holds %q, %v", b, err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("left beside it: %v, %v", entries, err)
	}
	return found
}

// TestKilledInPlaceUnderAnotherName: where another user has taken the first name, what
// lies under the second one is restored too.
func TestKilledInPlaceUnderAnotherName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "config")
	kept := tempName(path) + "-OTHERNAME"
	if err := os.Mkdir(kept, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{path: "new old\n", filepath.Join(kept, keptOld): "old old\n", filepath.Join(kept, keptNew): "new new\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	found := ""
	err := Commit(context.Background(), Edit{Path: path, Apply: func(b []byte) ([]byte, error) {
		found = string(b)
		return append(b, "# more\n"...), nil
	}})
	if want := "old old\n"; os.PathSeparator == '/' && (err != nil || found != want) {
		t.Errorf("the next writer finds %q, %v; want %q", found, err, want)
	}
}

// TestOverwrite: written in place, a file is the same one, with the mode that it shall
// have, and both texts are kept beside it meanwhile.
func TestOverwrite(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, []byte(strings.Repeat("old\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	told := 0
	f := &file{path: path, edits: []Edit{{Path: path, Private: true, InPlace: func(string, error) { told++ },
		Apply: func([]byte) ([]byte, error) { return []byte("new\n"), nil }}}}
	if err := f.change(); err != nil {
		t.Fatal(err)
	}
	if err := f.stage(); err != nil {
		t.Fatal(err)
	}
	if err := f.overwrite(os.ErrInvalid); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{keptOld: strings.Repeat("old\n", 100), keptNew: "new\n"} {
		if b, err := os.ReadFile(filepath.Join(tempName(path), name)); err != nil || string(b) != want {
			t.Errorf("kept as %s: %q, %v", name, b, err)
		}
	}
	f.discard()
	after, err := os.Stat(path)
	if err != nil || !os.SameFile(before, after) || after.Mode().Perm() != 0o600 && os.PathSeparator == '/' {
		t.Errorf("it is another file, or has another mode: %v, %v", after, err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "new\n" || told != 1 {
		t.Errorf("it holds %q, %v; told %d times", b, err, told)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("left beside it: %v, %v", entries, err)
	}
}
