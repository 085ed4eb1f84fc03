package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oidc-broker/oidc-broker/pkg/deliver"
	"github.com/oidc-broker/oidc-broker/pkg/fault"
	"github.com/oidc-broker/oidc-broker/pkg/secret"
	"github.com/oidc-broker/oidc-broker/pkg/vault"
)

// journal returns the record of what this program writes on this machine, or nil
// where there is no place for one.
func (a *app) journal() *secret.Journal {
	dir, err := a.userDir("XDG_STATE_HOME", filepath.Join(".local", "state"))
	if err != nil || dir == "" {
		return nil
	}
	return &secret.Journal{Dir: dir, Log: a.progress}
}

// userDir returns this program's directory below the one that a variable names,
// else below a place in the home directory. It is "" where there is no home.
func (a *app) userDir(variable, place string) (string, error) {
	getenv, err := a.environment(variable, "HOME", "LOCALAPPDATA")
	if err != nil {
		return "", err
	}
	if dir := getenv(variable); filepath.IsAbs(dir) {
		return filepath.Join(dir, "oidc-broker"), nil
	}
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, place, "oidc-broker"), nil
	}
	if dir := getenv("LOCALAPPDATA"); dir != "" {
		return filepath.Join(dir, "oidc-broker", filepath.Base(place)), nil
	}
	return "", nil
}

// commit is secret.Commit, recorded for cleanup.
func (a *app) commit(ctx context.Context, edits ...secret.Edit) error {
	if j := a.journal(); j != nil && !a.unrecorded {
		return j.Commit(ctx, edits...)
	}
	return secret.Commit(ctx, edits...)
}

// The names in the note about a Vault token that lives on.
const (
	noteVault     = "vault"
	noteAddr      = "addr"
	noteNamespace = "namespace"
	noteFile      = "file"     // that holds the token
	noteBashEnv   = "bash-env" // whose block holds it
	noteDigest    = "digest"   // SHA-256 of the token: another's is not revoked
)

// noteToken records a Vault token that lives on, so that cleanup can revoke it.
func (a *app) noteToken(ctx context.Context, s *vault.Session, where, path string) {
	j := a.journal()
	if j == nil {
		return
	}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	err := j.Note(ctx, secret.Note{Kind: noteVault, Values: map[string]string{
		noteAddr: s.Addr(), noteNamespace: s.Namespace(), where: path, noteDigest: digestOf(s.Token),
	}})
	if err != nil {
		a.progress("the token is not recorded for 'oidc-broker cleanup': %v", err)
	}
}

func digestOf(v secret.Value) string {
	sum := sha256.Sum256([]byte(v.Reveal()))
	return hex.EncodeToString(sum[:])
}

func (a *app) cleanupCommand() *cobra.Command {
	r := &vaultRun{app: a}
	c := &cobra.Command{
		Use:   "cleanup",
		Short: "Take back what was written on this machine",
		Long: `Take back what the other commands wrote on this machine, as they recorded it: profiles
become what they were, files and directories that were made are removed, the blocks in
$BASH_ENV and the caches go, Vault tokens that live on are revoked. What somebody else
has changed since is left, but for our own lines. It can run twice, and after a crash:
in CircleCI, in a last step with 'when: always'.`,
		Example: `  - run:
      command: oidc-broker cleanup
      when: always`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return r.cleanup(c.Context()) },
	}
	r.connection(a.own(c))
	return c
}

func (r *vaultRun) cleanup(ctx context.Context) error {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	j := r.journal()
	if j == nil {
		return fault.New(fault.Local, "there is no home directory, and so no record of what was written").
			Hint("set HOME as it was when the other commands ran")
	}
	for _, n := range j.Notes() {
		if n.Kind == noteVault {
			r.revokeNoted(ctx, n.Values)
		}
	}
	done, err := j.Undo(ctx)
	for _, u := range done {
		if u.Left == "" {
			r.progress("%q is as it was before", u.Path)
		} else {
			r.note(fmt.Sprintf("%q: %s", u.Path, u.Left))
		}
	}
	if err != nil {
		return fault.New(fault.Local, "not everything could be taken back: %w", err)
	}
	return nil
}

// revokeNoted revokes a token that a note speaks of, where it is still there and
// still the one.
func (r *vaultRun) revokeNoted(ctx context.Context, n map[string]string) {
	var token secret.Value
	if path := n[noteFile]; path != "" {
		if b, err := secret.ReadFile(path, 1<<20); err == nil {
			token = secret.New(strings.TrimSpace(string(b)))
		}
	} else {
		token = deliver.BlockValue(n[noteBashEnv], "vault", "VAULT_TOKEN")
	}
	if token.Empty() || digestOf(token) != n[noteDigest] {
		return // gone, or somebody else's
	}
	o := r.options
	o.Addr, o.Namespace = n[noteAddr], n[noteNamespace]
	s, err := o.Settle()
	var session *vault.Session
	if err == nil {
		session, err = s.Resume(r.client(), token)
	}
	if err == nil {
		// A server that is away must not hold up a job that is over.
		ctx, cancel := context.WithTimeout(ctx, revokeTime)
		defer cancel()
		err = session.Revoke(ctx)
	}
	switch {
	case errors.Is(err, context.Canceled):
	case err != nil && fault.KindOf(err) == fault.Refused:
		r.progress("the Vault token at %s is gone, or may not revoke itself", n[noteAddr])
	case err != nil:
		r.note(fmt.Sprintf("a Vault token at %s could not be revoked: %v", n[noteAddr], err))
	default:
		r.progress("revoked the Vault token at %s", n[noteAddr])
	}
}
