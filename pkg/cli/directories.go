package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/oidc-broker/oidc-broker/pkg/gcp"
	"github.com/oidc-broker/oidc-broker/pkg/internal/undo"
)

// The kinds of the notes that name directories for cleanup.
const (
	noteCache = "cache"  // of ours
	noteState = "gsutil" // that gsutil makes where our file says
	noteDir   = "dir"
)

// noteDirectory records a directory for cleanup, before anything is in it.
func (a *app) noteDirectory(ctx context.Context, kind, dir string) {
	j := a.journal()
	if j == nil || a.unrecorded {
		return
	}
	n := undo.Note{Kind: kind, Values: map[string]string{noteDir: dir}}
	if notes, err := j.Notes(); err == nil && slices.ContainsFunc(notes, func(known undo.Note) bool {
		return known.Kind == n.Kind && known.Values[noteDir] == dir
	}) {
		return
	}
	if err := j.Note(ctx, n); err != nil {
		j.Log(err)
	}
}

// clearStates removes what gsutil left in the directories that the notes name, or
// with dryRun says that it would. It adds to failed those that it could not remove.
func clearStates(notes []undo.Note, dryRun bool, failed map[string]bool) (done []undo.Undone, err error) {
	for _, n := range notes {
		dir := n.Values[noteDir]
		if n.Kind != noteState || !gcp.IsGsutilState(dir) {
			continue
		}
		if info, e := os.Lstat(dir); e != nil || !info.IsDir() {
			continue // gsutil was not used, or somebody else has put something there
		}
		u := undo.Undone{Path: dir, Action: undo.Removed}
		if !dryRun {
			if e := os.RemoveAll(dir); e != nil {
				e = fmt.Errorf("cannot remove %q: %w", dir, unwrapPath(e))
				u.Left, failed[dir], err = e.Error(), true, errors.Join(err, e)
			}
		}
		done = append(done, u)
	}
	return done, err
}
