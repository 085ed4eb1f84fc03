package cli

import "testing"

func TestBuiltToRun(t *testing.T) {
	for path, want := range map[string]bool{
		"/tmp/go-build123456/b001/exe/oidc-broker":    true,
		"/home/u/.cache/go-build/ab/abcd-d/broker":    true,
		"/usr/local/bin/oidc-broker":                  false,
		"/home/u/go-builder/bin/oidc-broker":          false,
		"/home/u/go/bin/go-build":                     false,
		"/home/u/src/go-build-tools/oidc-broker/main": false,
	} {
		if got := builtToRun(path); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}
