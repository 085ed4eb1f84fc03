//go:build !windows

package files

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Whatever there is under a name, reading it ends: this test would hang.
func TestReadWaitsForNothing(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Skip(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(fifo, link); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	for path, want := range map[string]string{fifo: "it is a pipe", link: "it is a pipe", filepath.Join(dir, "s"): "it is a socket", "/dev/zero": "it is a device"} {
		if _, err := Read(path, 10); !errors.Is(err, ErrSpecial) || !strings.Contains(err.Error(), want) {
			t.Errorf("Read %s: %v, want %q", path, err, want)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 1)
		if _, err := ReadWithin(ctx, path, 10); err == nil {
			t.Errorf("ReadWithin %s: no error", path)
		}
		cancel()
		if f, err := OpenOwn(path, os.O_RDONLY); err == nil { // what is opened is looked at
			_ = f.Close()
		}
		if _, err := ReadOwn(path, 10); err == nil {
			t.Errorf("ReadOwn %s: no error", path)
		}
	}
}

// A pipe gives what its writer writes, though that comes late.
func TestReadWithinReadsAPipe(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Skip(err)
	}
	go func() {
		w, err := os.OpenFile(fifo, os.O_WRONLY, 0)
		if err != nil {
			return
		}
		_, _ = w.WriteString("from ")
		_, _ = w.WriteString("a pipe")
		_ = w.Close()
	}()
	if got, err := ReadWithin(t.Context(), fifo, 20); err != nil || string(got) != "from a pipe" {
		t.Errorf("%q, %v", got, err)
	}
}
