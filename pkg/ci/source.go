package ci

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/child"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

var _ oidc.TokenSource = Finder{}

// Token is Find: a Finder is an oidc.TokenSource.
func (f Finder) Token(ctx context.Context) (oidc.Token, error) { return f.Find(ctx) }

// orReal returns f with the machine's own for what is nil: the zero value finds the
// token of the job that the program runs in.
func (f Finder) orReal() Finder {
	machine := remote.Library{Getenv: f.Getenv, Now: f.Now}
	f.Getenv, f.Now = machine.Lookup(), machine.Clock()
	if f.Client == nil {
		f.Client = machine.Client
	}
	if f.Stdin == nil {
		f.Stdin = strings.NewReader("")
	}
	if f.Run == nil {
		f.Run = run
	}
	return f
}

// printed bounds what a program that mints a token may print.
const printed = 64 << 10

func run(ctx context.Context, argv ...string) (stdout, stderr []byte, err error) {
	stdout, stderr, err = child.Output(ctx, child.Child{Argv: argv, Env: os.Environ()}, printed)
	if errors.Is(err, exec.ErrNotFound) {
		err = fs.ErrNotExist
	}
	return stdout, stderr, err
}
