package cli

import (
	"context"
	"path/filepath"

	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/undo"
)

// privateDir makes a directory for the files of one command, which is gone when done is
// called, or else with the next command or cleanup. It lies below the user's own cache:
// in a directory that all users share, another one could make it again when it is gone,
// and put files where processes that live on look for them. Where there is no home
// directory, or none that can be written to, it lies in TMPDIR.
func (a *app) privateDir(ctx context.Context) (dir string, done func(), err error) {
	temp, err := a.tempDir()
	if err != nil {
		return "", nil, err
	}
	if cache, err := a.cacheDir(); err == nil {
		parent := filepath.Join(cache, "run")
		if dir, done, err = a.journal().TempDir(ctx, parent); err == nil {
			undo.SweepTemps(parent)
			return dir, done, nil
		}
	}
	if why := files.Exposed(filepath.Join(temp, "*")); why != "" {
		a.note(why)
	}
	return a.journal().TempDir(ctx, temp)
}
