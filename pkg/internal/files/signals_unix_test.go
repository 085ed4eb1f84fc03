//go:build unix

package files

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// Signals that mean nothing to a writer interrupt its system calls (EINTR): it fails
// at none of them, and its files are whole.
func TestSignalsDoNotDisturbAWriter(t *testing.T) {
	dir := t.TempDir()
	cache, _ := killedCache(dir)
	if err := os.Mkdir(cache.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), "SECRET_TEST_KILLED="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	sent := 0
	for n := range testenv.Times(20, 1000) {
		if !lines.Scan() || lines.Text() != "wrote" {
			t.Errorf("write %d, after %d signals: %q, %v", n, sent, lines.Text(), lines.Err())
			break
		}
		for i := range 400 {
			s := []syscall.Signal{syscall.SIGWINCH, syscall.SIGCHLD, syscall.SIGCONT, syscall.SIGURG}[i%4]
			if err := cmd.Process.Signal(s); err != nil {
				t.Errorf("signal %d: %v", sent, err)
			}
			sent++
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it says that it was killed
	pair, alone := killedFiles(dir)
	for _, path := range append(pair, alone) {
		if b, err := os.ReadFile(path); err != nil || !whole(b) {
			t.Errorf("%s is not whole: %v", strings.TrimPrefix(path, dir), err)
		}
	}
	t.Logf("%d signals", sent)
}
