package files

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

func givenFile(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	path := givenFile(t, filepath.Join(dir, "f"), "12345")
	if got, err := Read(path, 5); err != nil || string(got) != "12345" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := Head(path, 2); err != nil || string(got) != "12" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := Read(os.DevNull, 5); err != nil || len(got) != 0 {
		t.Errorf("the null device: %q, %v", got, err)
	}
	for _, row := range []struct {
		path  string
		limit int64
		want  string
	}{
		{path, 4, `f" is larger than 4 bytes`},
		{filepath.Join(dir, "missing"), 4, "cannot read"},
		{dir, 4, "it is a directory"},
	} {
		got, err := Read(row.path, row.limit)
		if got != nil || fault.KindOf(err) != fault.Local || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %q, %v, want %q", row.path, got, err, row.want)
		}
	}
	if _, err := Read(filepath.Join(dir, "missing"), 4); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v: no caller can tell that there is none", err)
	}
}

// A stream that never ends is givenFile up when the time is over, or at the first signal.
func TestReadStreamEndsWithItsContext(t *testing.T) {
	never, _ := io.Pipe()
	ctx, cancel := context.WithTimeout(t.Context(), 1)
	defer cancel()
	if _, err := ReadStream(ctx, "-", never, 1); fault.KindOf(err) != fault.Local || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if _, err := ReadStream(ctx, "-", never, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// Files of the program's own are not opened through a link.
func TestOwnFilesFollowNoLink(t *testing.T) {
	dir := t.TempDir()
	target := givenFile(t, filepath.Join(dir, "target"), "theirs")
	link := filepath.Join(dir, "link")
	if err := os.Symlink(target, link); err != nil {
		t.Skip(err)
	}
	if _, err := ReadOwn(link, 10); err == nil {
		t.Error("read through a link")
	}
	if err := WriteNew(link, nil); err == nil {
		t.Error("wrote through a link")
	}
	dangling := filepath.Join(dir, "dangling")
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), dangling); err != nil {
		t.Fatal(err)
	}
	if f, err := OpenOwn(dangling, os.O_RDWR|os.O_CREATE); err == nil {
		_ = f.Close()
		t.Error("opened through a dangling link")
	}
	if _, err := os.Lstat(filepath.Join(dir, "elsewhere")); err == nil {
		t.Error("a file was made where a link points")
	}
}
