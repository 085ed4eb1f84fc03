package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/ini"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/pkg/internal/shell"
	"github.com/oidc-broker/oidc-broker/pkg/internal/undo"
	"github.com/oidc-broker/oidc-broker/pkg/vault"
)

// journal returns the record of what this program writes on this machine, or nil
// where there is no place for one.
func (a *app) journal() *undo.Journal {
	dir, err := a.stateDir()
	if err != nil || dir == "" {
		return nil
	}
	j := undo.NewJournal(dir)
	if home := a.Getenv("HOME"); home != "" && dir == filepath.Join(home, stateBelowHome, "oidc-broker") {
		j.Levels = 3 // .local/state/oidc-broker
	}
	j.Job, j.Markers = ci.JobID(a.Getenv), allMarkers()
	j.Log = func(err error) {
		if len(fault.Hints(err)) > 0 && !errors.Is(err, fs.ErrPermission) {
			// There is a record, and it cannot be used: nobody would know before cleanup.
			a.note(fmt.Sprintf("not recorded for 'oidc-broker cleanup': %s", a.text(err)))
			return
		}
		a.progress("not recorded for 'oidc-broker cleanup': %v", err)
	}
	return j
}

// stateBelowHome is where the record's directory is in the home directory.
var stateBelowHome = filepath.Join(".local", "state")

// stateDir is where the record is.
func (a *app) stateDir() (string, error) {
	return a.userDir("XDG_STATE_HOME", stateBelowHome)
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

// commit is files.Commit, recorded for cleanup.
func (a *app) commit(ctx context.Context, edits ...files.Edit) error {
	for i := range edits {
		edits[i].InPlace = func(path string, why error) {
			a.note(fmt.Sprintf("%s cannot be replaced (%v), as a file that is mounted by itself: it was written in place", a.shownPath(path), why))
		}
	}
	noted := map[string]bool{}
	for _, e := range edits {
		why := ""
		if e.Private && !a.unrecorded {
			why = files.Exposed(e.Path)
		}
		if why != "" && !noted[why] {
			a.note(why)
		}
		noted[why] = true
	}
	if j := a.journal(); j != nil && !a.unrecorded {
		return j.Commit(ctx, edits...)
	}
	return files.Commit(ctx, edits...)
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

// noteToken records a Vault token that is about to be written to a file, so that
// cleanup can revoke it, and keeps the one of ours that it replaces there: that one
// lives on too.
func (a *app) noteToken(ctx context.Context, s *vault.Session, where, path string) {
	j := a.journal()
	if j == nil {
		return
	}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	notes, err := j.Notes()
	for _, n := range notes {
		if token := tokenAt(n.Values); n.Kind == noteVault && n.Values[where] == path && !token.Empty() && j.Kept(n).Empty() {
			err = errors.Join(err, j.Keep(ctx, n, token))
		}
	}
	err = errors.Join(err, j.Note(ctx, undo.Note{Kind: noteVault, Values: map[string]string{
		noteAddr: s.Addr(), noteNamespace: s.Namespace(), where: path, noteDigest: digestOf(s.Token),
	}}))
	if err != nil {
		j.Log(err)
	}
}

// keepToken records a Vault token that is written nowhere and lives on.
func (a *app) keepToken(ctx context.Context, s *vault.Session) {
	j := a.journal()
	if j == nil {
		return
	}
	n := undo.Note{Kind: noteVault, Values: map[string]string{noteAddr: s.Addr(), noteNamespace: s.Namespace(), noteDigest: digestOf(s.Token)}}
	err := j.Note(ctx, n)
	if err == nil {
		err = j.Keep(ctx, n, s.Token)
	}
	if err != nil {
		j.Log(err)
	}
}

func digestOf(v secret.Value) string {
	sum := sha256.Sum256([]byte(v.Reveal()))
	return hex.EncodeToString(sum[:])
}

// tokenAt returns the token that a note speaks of from where it was written, or an
// empty one where it is gone, or somebody else's.
func tokenAt(n map[string]string) (token secret.Value) {
	switch path := n[noteFile]; {
	case path == "" && n[noteBashEnv] == "":
		return token // it was written nowhere
	case path != "":
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			return token
		}
		if b, err := files.Read(path, 1<<20); err == nil {
			token = secret.New(strings.TrimSpace(string(b)))
		}
	default:
		token = shell.BlockValue(n[noteBashEnv], "vault", "VAULT_TOKEN")
	}
	if digestOf(token) != n[noteDigest] {
		return secret.Value{}
	}
	return token
}

// notedToken is a Vault token that cleanup revokes.
type notedToken struct {
	Address   string `json:"address"`
	Namespace string `json:"namespace,omitempty"`
	File      string `json:"file"`
	token     secret.Value
	note      undo.Note
}

// notedTokens are the tokens of the notes that are still known.
func notedTokens(j *undo.Journal, notes []undo.Note) []notedToken {
	all := []notedToken{}
	for _, n := range notes {
		if n.Kind != noteVault {
			continue
		}
		t := notedToken{n.Values[noteAddr], n.Values[noteNamespace], n.Values[noteFile] + n.Values[noteBashEnv], j.Kept(n), n}
		if t.token.Empty() {
			t.token = tokenAt(n.Values)
		}
		if !t.token.Empty() {
			all = append(all, t)
		}
	}
	return all
}

func (a *app) cleanupCommand() *cobra.Command {
	var (
		format string
		dryRun bool
	)
	r := &vaultRun{app: a}
	c := &cobra.Command{
		Use:   "cleanup",
		Short: "Take back what was written on this machine",
		Long: `Take back what the other commands wrote on this machine, as they recorded it: profiles
become what they were, files and directories that were made are removed, the blocks in
$BASH_ENV and the caches go, Vault tokens that live on are revoked. What somebody else
has changed since is left, but for our own lines. It can run twice, and after a crash:
in CircleCI, in a last step with 'when: always'. --dry-run shows what it would do.`,
		Example: `  oidc-broker cleanup --dry-run

  - run:
      command: oidc-broker cleanup
      when: always`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return r.cleanup(c.Context(), format, dryRun)
		},
	}
	o := a.own(c)
	o.switches(&dryRun, "dry-run", "OIDC_BROKER_DRY_RUN", "show what would be taken back, and do nothing")
	declareFormat(o, &format)
	r.connection(o)
	return c
}

// takenBack is what cleanup did, or would do.
type takenBack struct {
	DryRun bool         `json:"dry_run"`
	Files  []takenFile  `json:"files"`
	Tokens []notedToken `json:"tokens"`
}

type takenFile struct {
	Path   string `json:"path"`
	Action string `json:"action"`
	Left   string `json:"left,omitempty"`
}

func (r *vaultRun) cleanup(ctx context.Context, format string, dryRun bool) error {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	if _, err := r.stateDir(); err != nil {
		return err
	}
	j := r.journal()
	if j == nil {
		return fault.New(fault.Local, "there is no home directory, and so no record of what was written").
			Hint("set HOME as it was when the other commands ran")
	}
	notes, err := j.Notes()
	if err != nil {
		return fault.New(fault.Local, "nothing was cleaned up: %w", err)
	}
	out := takenBack{DryRun: dryRun, Files: []takenFile{}, Tokens: notedTokens(j, notes)}
	caches, notes, failed := r.clearCaches(notes, dryRun)
	var done []undo.Undone
	revoked := 0
	if dryRun {
		done, err = j.Plan()
	} else {
		for _, t := range out.Tokens {
			did, again := r.revokeNoted(ctx, t)
			if did {
				revoked++
			}
			if !again {
				continue
			}
			// The next cleanup tries again: the file that holds it may be gone by then.
			notes = slices.DeleteFunc(notes, func(n undo.Note) bool { return maps.Equal(n.Values, t.note.Values) })
			if j.Kept(t.note).Empty() {
				if err := j.Keep(ctx, t.note, t.token); err != nil {
					j.Log(err)
				}
			}
		}
		done, err = j.Undo(ctx, notes)
	}
	if err == nil {
		err = failed
	}
	for _, u := range append(caches, done...) {
		out.Files = append(out.Files, takenFile(u))
		switch {
		case dryRun:
		case u.Left != "":
			r.note(fmt.Sprintf("%q: %s", u.Path, u.Left))
		default:
			r.progress("%s: %q", u.Action, u.Path)
		}
	}
	if err == nil && !dryRun {
		r.tell(out.summary(revoked))
	}
	switch {
	case err != nil:
		return fault.New(fault.Local, "not everything could be cleaned up: %w", err)
	case format == "json":
		return r.jsonResult(out)
	case dryRun:
		return r.result(out.text())
	}
	return nil
}

// summary is what cleanup did, in a line; "" where there was nothing to do.
func (t takenBack) summary(revoked int) string {
	n := map[string]int{}
	for _, f := range t.Files {
		if f.Left == "" {
			n[f.Action]++
		}
	}
	var parts []string
	for _, p := range []struct {
		done string
		n    int
	}{
		{"files restored", n[undo.Restored]}, {"files edited", n[undo.Edited]},
		{"files and directories removed", n[undo.Removed]}, {"Vault tokens revoked", revoked},
	} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%s: %d", p.done, p.n))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "cleaned up: " + strings.Join(parts, ", ")
}

func (t notedToken) text() string {
	if t.File == "" {
		return fmt.Sprintf("the Vault token at %s, left alive for the leases made with it", t.Address)
	}
	return fmt.Sprintf("the Vault token at %s, written to %q", t.Address, t.File)
}

// text is what cleanup would do, for people.
func (t takenBack) text() []byte {
	var rows [][2]string
	for _, token := range t.Tokens {
		rows = append(rows, [2]string{"revoke", token.text()})
	}
	for _, f := range t.Files {
		what := strconv.Quote(f.Path)
		if f.Action == undo.Edited {
			what += ": somebody else changed it too, and that stays"
		}
		if f.Left != "" {
			what += ": " + f.Left
		}
		rows = append(rows, [2]string{f.Action, what})
	}
	if len(rows) == 0 {
		return []byte("nothing is recorded\n")
	}
	return table(rows)
}

// revokeNoted revokes a token, and says whether it did, and else whether another
// attempt may.
func (r *vaultRun) revokeNoted(ctx context.Context, t notedToken) (did, again bool) {
	o := r.options
	o.Addr, o.Namespace = t.Address, t.Namespace
	s, err := o.Resolve()
	var session *vault.Session
	if err == nil {
		session, err = s.Resume(r.client(), t.token)
	}
	if err == nil {
		// A server that is away must not hold up a job that is over.
		ctx, cancel := context.WithTimeout(ctx, revokeTime)
		defer cancel()
		err = session.Revoke(ctx)
	}
	switch {
	case errors.Is(err, context.Canceled):
		return false, true
	case vault.Gone(err):
		r.progress("the Vault token at %s no longer exists", t.Address)
	case err != nil:
		r.noteError(fault.New(fault.KindOf(err), "a Vault token at %s could not be revoked: %w", t.Address, err))
		if fault.KindOf(err) != fault.Refused {
			r.note("it stays recorded: run cleanup again when the server can be reached")
			return false, true
		}
	default:
		r.progress("revoked the Vault token at %s", t.Address)
	}
	return err == nil, false
}

// allMarkers returns what knows the marks that our edits leave.
func allMarkers() map[string]undo.Marker {
	all := ini.Markers()
	maps.Copy(all, shell.BlockMarkers())
	return all
}
