//go:build !windows

package shell

import (
	"path/filepath"
	"syscall"
	"testing"
)

// Opening a FIFO waits for a writer, which a $BASH_ENV may never get.
func TestHasBlockDoesNotWaitForAFIFO(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if HasBlock(path, "") {
		t.Error("it has none")
	}
}
