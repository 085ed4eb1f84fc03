package cli

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/pkg/vault"
)

// writeFiles writes the files that fields of secrets go into.
func (a *app) writeFiles(ctx context.Context, secrets []vault.Secret) error {
	edits := fileEdits(secrets)
	if len(edits) == 0 {
		return nil
	}
	if err := a.commit(ctx, edits...); err != nil {
		return fault.New(fault.KindOf(err), "cannot write a secret's file: %w", err)
	}
	for _, e := range edits {
		a.progress("wrote a secret to %q", e.Path)
	}
	return nil
}

func fileEdits(secrets []vault.Secret) []files.Edit {
	var edits []files.Edit
	for _, f := range vault.Files(secrets) {
		edits = append(edits, whole(f.Path, []byte(f.Content.Reveal())))
	}
	return edits
}

// unused refuses files that are there: exec removes what it writes, and would remove
// the user's.
func unused(paths []string) error {
	for _, path := range paths {
		if _, err := os.Lstat(path); err == nil {
			return fault.New(fault.Local, "%s: the file %q is there already", fault.Option("secret"), path).
				Hint("exec removes its files when the command ends: name one that is not there")
		}
	}
	return nil
}

// removeFiles removes what exec wrote, unless another program has changed it.
func (a *app) removeFiles(written []vault.File) {
	for _, f := range written {
		b, err := files.ReadOwn(f.Path, 16<<20)
		if err == nil && !secret.New(string(b)).Equal(f.Content) {
			a.note("the file " + f.Path + " was changed while the command ran, and stays")
			continue
		}
		if err := os.Remove(f.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			a.note("the file " + f.Path + " holds a secret and could not be removed")
		}
	}
}
