package cli

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// mounted mounts something until the test ends; a full run must be allowed to.
func mounted(t *testing.T, source, target, kind string, flags uintptr, data string) {
	t.Helper()
	if err := syscall.Mount(source, target, kind, flags, data); err != nil {
		testenv.Missing(t, "the right to mount "+kind)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(target, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// TestCacheOnAFullDisk: it works without one, or with the old keys that are valid.
func TestCacheOnAFullDisk(t *testing.T) {
	l := newAWSLab(t)
	disk := t.TempDir()
	mounted(t, "tmpfs", disk, "tmpfs", 0, "size=64k,mode=700")
	l.set("XDG_CACHE_HOME", disk)
	l.ask("--role-session-name", "before")
	if err := os.WriteFile(filepath.Join(disk, "large"), make([]byte, 64<<10), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	if first := l.ask(); first == l.ask() || l.exchanges() != 3 {
		t.Error("it was cached")
	}
	code, stdout, stderr := l.run("--verbose", "aws", "credential-process")
	if code != 0 || stdout == "" || !strings.Contains(stderr, "no space left on device") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	l.exchanges()
	l.ask("--role-session-name", "before")
	if n := l.exchanges(); n != 0 {
		t.Errorf("what was kept before is not used: %d exchanges", n)
	}
}

func TestCacheOnAReadOnlyFileSystem(t *testing.T) {
	l := newAWSLab(t)
	disk := t.TempDir()
	l.set("XDG_CACHE_HOME", disk)
	l.ask("--role-session-name", "before")
	mounted(t, disk, disk, "", syscall.MS_BIND, "")
	if err := syscall.Mount("", disk, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if first := l.ask(); first == l.ask() || l.exchanges() != 3 {
		t.Error("it was cached")
	}
	l.ask("--role-session-name", "before")
	if n := l.exchanges(); n != 0 {
		t.Errorf("what was kept before is not used: %d exchanges", n)
	}
	code, stdout, stderr := l.run("--verbose", "aws", "credential-process")
	if code != 0 || stdout == "" || !strings.Contains(stderr, "read-only file system") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}
