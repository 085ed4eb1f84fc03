package files

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// TestMakeDirsWhileOthersRemove: what removes empty directories stops no writer that makes
// them. os.MkdirAll alone fails here within a few hundred rounds.
func TestMakeDirsWhileOthersRemove(t *testing.T) {
	top := filepath.Join(t.TempDir(), "a")
	dir := filepath.Join(top, "b", "c")
	done := make(chan struct{})
	var others sync.WaitGroup
	for range 2 {
		others.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					RemoveEmpty([]string{dir, filepath.Dir(dir), top})
				}
			}
		})
	}
	for range 5000 {
		if err := MakeDirs(dir); err != nil {
			t.Error(err)
			break
		}
	}
	close(done)
	others.Wait()
	// What is in the way and is no directory is an error at once.
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "x")} {
		if err := MakeDirs(dir); err == nil {
			t.Errorf("%s: a directory in a file's place", dir)
		}
	}
}
