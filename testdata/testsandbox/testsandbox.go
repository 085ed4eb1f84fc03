// Package testsandbox runs the sandbox for examples.
package testsandbox

import (
	"context"
	"os"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/sandbox"
)

// Start runs the clouds on this machine, and returns the environment of a job.
func Start(ctx context.Context) (getenv func(string) string, stop func()) {
	dir, err := os.MkdirTemp("", "oidc-broker-example")
	if err != nil {
		panic(err)
	}
	s, err := sandbox.Start(ctx, sandbox.Config{Now: time.Now, Dir: dir})
	if err != nil {
		panic(err)
	}
	set, _ := s.Environment()
	return func(name string) string { return set[name] }, func() {
		_ = s.Close()
		_ = os.RemoveAll(dir)
	}
}
