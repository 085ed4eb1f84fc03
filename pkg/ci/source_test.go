package ci

import (
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// TestZeroFinder: a Go program gives what it knows, and the machine's own stands for the
// rest.
func TestZeroFinder(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	none := func(string) string { return "" }
	if _, err := (Finder{Getenv: none}).Token(t.Context()); fault.KindOf(err) != fault.Token {
		t.Errorf("no token: %v", err)
	}
	if _, err := (Finder{Getenv: none, File: "-"}).Token(t.Context()); fault.KindOf(err) != fault.Token {
		t.Errorf("no standard input: %v", err)
	}
}
