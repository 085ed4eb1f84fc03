package files

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// digested is a content that proves to be whole: its digest stands in front.
func digested(body string) []byte {
	return fmt.Appendf(nil, "%x\n%s", sha256.Sum256([]byte(body)), body)
}

func whole(b []byte) bool {
	sum, body, ok := bytes.Cut(b, []byte("\n"))
	return ok && string(sum) == fmt.Sprintf("%x", sha256.Sum256(body))
}

// killedFiles are the shapes in which the program writes: two files at once, one
// alone. Beside them there is a cache.
func killedFiles(dir string) (pair []string, alone string) {
	return []string{filepath.Join(dir, "aws", "credentials"), filepath.Join(dir, "aws", "config")},
		filepath.Join(dir, ".vault-token")
}

// write is one command's writing. Each content is longer or shorter than the last.
func write(ctx context.Context, dir string, n int) error {
	pair, alone := killedFiles(dir)
	edit := func(path string) Edit {
		return Edit{Path: path, Private: true, Apply: func(old []byte) ([]byte, error) {
			if old != nil && !whole(old) {
				return nil, fmt.Errorf("%s is not whole", path)
			}
			return digested(strings.Repeat(fmt.Sprintf("line %d of %s\n", n, path), 1+n*37%2000)), nil
		}}
	}
	if err := Commit(ctx, edit(pair[0]), edit(pair[1])); err != nil {
		return err
	}
	if err := Commit(ctx, edit(alone)); err != nil {
		return err
	}
	cache, name := killedCache(dir)
	unlock, err := cache.Lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := cache.Read(name); err != nil {
		return err
	}
	return cache.Write(name, []byte(strings.Repeat(fmt.Sprintf("cached %d\n", n), 1+n*37%2000)))
}

// killedCache is a cache and the name of its file: Cache has a Write of its own.
func killedCache(dir string) (Cache, string) {
	return Cache{Dir: filepath.Join(dir, "cache")}, CacheName(sha256.Sum256(nil), "json")
}

// TestKilled: a process that writes is killed at a random instant, again and again.
// Each file is the old one or the new one; the next run holds the locks, and
// leaves nothing of the killed one behind.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("SECRET_TEST_KILLED"); dir != "" {
		for n := 0; ; n++ {
			if err := write(context.Background(), dir, n); err != nil {
				fmt.Println("error:", err)
				os.Exit(1)
			}
			fmt.Println("wrote")
		}
	}
	testenv.NeedFull(t, "it kills a writer again and again")
	dir := t.TempDir()
	pair, alone := killedFiles(dir)
	cache, cached := killedCache(dir)
	if err := os.Mkdir(cache.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	stray := 0
	for n := range testenv.Times(15, 500) {
		killWriter(t, dir)
		for _, path := range append(pair, alone) {
			if b, err := os.ReadFile(path); err == nil && !whole(b) {
				t.Fatalf("after %d kills, %s is half a file", n+1, path)
			}
		}
		if _, err := cache.Read(cached); err != nil {
			t.Fatalf("after %d kills: %v", n+1, err)
		}
		stray += len(strays(t, dir))
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		err := write(ctx, dir, n)
		cancel()
		if err != nil {
			t.Fatalf("after %d kills: %v", n+1, err)
		}
		if left := strays(t, dir); len(left) > 0 {
			t.Fatalf("after %d kills, the next run leaves %q", n+1, left)
		}
	}
	t.Logf("the kills left %d files, which the next runs cleared", stray)
}

// killWriter runs a writer until it has written once, and kills it some time later.
func killWriter(t *testing.T, dir string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), "SECRET_TEST_KILLED="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 5)
	if _, err := out.Read(first); err != nil || string(first) != "wrote" {
		_ = cmd.Process.Kill()
		t.Fatalf("the writer says %q, %v", first, err)
	}
	end := time.NewTimer(rand.N(10 * time.Millisecond))
	<-end.C
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it says that it was killed
}

// strays are what a run that ends leaves nothing of: locks and temporary files.
func strays(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.Contains(d.Name(), ".oidc-broker.") {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
