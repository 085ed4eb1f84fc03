// Command oidc-broker exchanges a CI job's OpenID Connect token for
// short-lived cloud credentials.
package main

import (
	"context"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/cli"
)

func main() {
	harden()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	// The first signal ends the command in good order; a second one ends it.
	context.AfterFunc(ctx, stop)
	status := cli.Main(ctx, world())
	stop()
	os.Exit(status)
}

// harden keeps what the process holds from getting out beside the printer.
func harden() {
	// net/http has no other way to be silent than this one: it logs the first
	// bytes that come on a connection after an answer, which may be half of a
	// token when a server says less than the length of what it sends.
	log.SetOutput(io.Discard)
	undumpable()
}

// world is the real one.
func world() cli.World {
	return cli.World{
		Args:    os.Args[1:],
		Getenv:  os.Getenv,
		Environ: os.Environ,
		Stdin:   os.Stdin,
		Stdout:  os.Stdout,
		Stderr:  os.Stderr,
		Now:     time.Now,

		Executable: os.Executable,
		TempDirs:   []string{os.TempDir(), "/tmp", "/var/tmp", "/dev/shm", "/private/tmp", "/private/var/folders"},
		TempDir:    os.TempDir,
		WorkDir:    os.Getwd,
	}
}
