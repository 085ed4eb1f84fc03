package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"sort"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/child"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// tokenOptions choose the token, for every provider alike.
type tokenOptions struct {
	Env, File, Audience, Version, CI string

	receiver string // the audience that the receiver expects where none is chosen
	silent   bool   // an SDK asks, again and again: nothing is noted
	keep     bool   // --keep-ci-token
	keepJob  bool   // the same by its old name, for vault exec
	root     bool   // --root-issuer
	ci.Guards
}

func (t *tokenOptions) declare(o options) {
	t.declareCI(o)
	o.text(&t.Env, "token-env", "OIDC_BROKER_TOKEN_ENV", "`variable` that holds the token (default: the CI system's own)")
	o.text(&t.File, "token-file", "OIDC_BROKER_TOKEN_FILE", "`file` that holds the token, - for standard input")
	o.text(&t.Audience, "audience", "OIDC_BROKER_AUDIENCE", "use a token for this `audience`, a new one where the CI system mints them")
	o.choice(&t.Version, "token-version", "OIDC_BROKER_TOKEN_VERSION", []string{"v1", "v2"}, "which `version` of the job's two tokens to prefer: v1 or v2 (default v1)")
	o.exclusive("token-env", "token-file", "audience")
	t.declareGuards(o)
}

func (t *tokenOptions) declareCI(o options) {
	o.choice(&t.CI, "ci", "OIDC_BROKER_CI", ci.Names(), "CI `system` whose token to use: "+strings.Join(ci.Names(), ", ")+" (default: the one that the environment shows)")
}

func (t *tokenOptions) declareGuards(o options) {
	o.list(&t.Claims, "require-claim", "OIDC_BROKER_REQUIRE_CLAIM", "refuse a token without this claim: `NAME=VALUE`, as vcs-ref=refs/heads/main (repeatable; no boundary, see docs/security.md)")
	o.switches(&t.RefuseSSHRerun, "refuse-ssh-rerun", "OIDC_BROKER_REFUSE_SSH_RERUN", "refuse the token of a job that was rerun with SSH (no boundary)")
	o.duration(&t.MinValidity, "min-validity", "OIDC_BROKER_MIN_VALIDITY", 0, "minimum remaining lifetime of the token: with less `time`, a new one is minted")
}

// declareKeep declares what the commands have that run another one.
func (t *tokenOptions) declareKeep(o options) {
	o.switches(&t.keep, "keep-ci-token", "OIDC_BROKER_KEEP_CI_TOKEN", "leave the command the variables that hold or request the job's tokens, for a nested run")
}

// guardArgs are the guards as a command line has them, for a file that calls this
// program back.
func guardArgs(g ci.Guards) []string {
	var args []string
	for _, c := range g.Claims {
		args = append(args, "--require-claim", c)
	}
	if g.RefuseSSHRerun {
		args = append(args, "--refuse-ssh-rerun")
	}
	if g.MinValidity > 0 {
		args = append(args, "--min-validity", g.MinValidity.String())
	}
	return args
}

// mintedOutput bounds what a minting program may print.
const mintedOutput = 64 << 10

func (a *app) finder(t tokenOptions) ci.Finder {
	note := a.note
	if t.silent {
		note = nil
	}
	return ci.Finder{
		Env: t.Env, File: t.File, Audience: t.Audience, Version: t.Version, CI: t.CI, DefaultAudience: t.receiver, RootIssuer: t.root, Guards: t.Guards,
		Getenv: a.Getenv, Environ: a.Environ, Client: a.client, Stdin: a.Stdin, Now: a.Now, Log: a.progress, Note: note, Found: a.found.add,
		Run: func(ctx context.Context, argv ...string) ([]byte, []byte, error) {
			stdout, stderr, err := child.Output(ctx, child.Child{Argv: argv, Env: a.Environ()}, mintedOutput)
			if errors.Is(err, exec.ErrNotFound) {
				return nil, nil, fs.ErrNotExist
			}
			return stdout, stderr, err
		},
	}
}

// noteLast says, before a command begins that renews, until when it can.
func (a *app) noteLast(ctx context.Context, o tokenOptions, what string) {
	f := a.finder(o)
	t, found, err := f.Look(ctx)
	if err != nil || !found {
		return
	}
	if why, last := f.Lasts(t); last {
		a.note(fmt.Sprintf("new %s can be had until %s: %s", what, t.Expiry.Format(time.RFC3339), why))
	}
}

func (a *app) tokenCommand() *cobra.Command {
	var (
		t       tokenOptions
		format  string
		verify  bool
		jwksURL string
	)
	c := &cobra.Command{
		Use:        "token",
		SuggestFor: []string{"claims", "decode", "inspect"},
		Short:      "Show what the job's token says, or hand over a token",
		Long: `Show the claims of the token that the other commands would use: who issued it, for
which organisation, project, branch and audience, and how long it is valid. The token
and its signature are not printed; 'oidc-broker token get' prints a token, and
'oidc-broker token exec' hands one to a command.

The CI system is the one that the environment shows, or that --ci names. Its token is in
a variable or a file of the job, or is minted for the audience; docs/ci.md has a table.`,
		Example: `  oidc-broker token
  oidc-broker token --verify
  oidc-broker token --audience sts.amazonaws.com --format json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if jwksURL != "" && c.Flags().Changed("jwks-url") && !verify {
				return fault.New(fault.Usage, "%s goes with %s", fault.Option("jwks-url"), fault.Option("verify"))
			}
			return a.token(c.Context(), t, format, verify, jwksURL)
		},
	}
	o := a.own(c)
	declareFormat(o, &format)
	o.switches(&verify, "verify", "OIDC_BROKER_VERIFY", "check the signature against the issuer's published keys")
	o.text(&jwksURL, "jwks-url", "CIRCLE_OIDC_JWKS_URL", "`URL` of the keys to verify with, instead of the issuer's own")
	t.declare(o)
	c.AddCommand(a.tokenGetCommand(), a.tokenExecCommand())
	return c
}

func (a *app) token(ctx context.Context, o tokenOptions, format string, verify bool, jwksURL string) error {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	t, err := a.finder(o).Find(ctx)
	if err != nil {
		return err
	}
	var v *oidc.Verification
	if verify {
		got, err := t.Verify(ctx, a.client(), jwksURL)
		if err != nil {
			return err
		}
		v = &got
	}
	if format == "json" {
		s, sign := a.finder(o).System()
		return a.tokenJSON(t, v, s, sign)
	}
	rows := a.tokenRows(t, v)
	if s, sign := a.finder(o).System(); s != nil {
		rows = append([][2]string{{"ci", fmt.Sprintf("%s (by %s)", s.Title, sign)}}, rows...)
	}
	return a.result(table(rows))
}

// tokenRows is what a person wants to know of a token.
func (a *app) tokenRows(t oidc.Token, v *oidc.Verification) [][2]string {
	rows := [][2]string{
		{"from", t.Source},
		{"issuer", t.Issuer},
		{"audience", strings.Join(t.Audience, ", ")},
		{"subject", t.Subject},
	}
	add := func(name, value string) {
		if value != "" {
			rows = append(rows, [2]string{name, value})
		}
	}
	if s, ok := ci.ParseSubject(t); ok {
		add("  org", s.Org)
		add("  project", s.Project)
		add("  user", s.User)
		add("  vcs-origin", s.VCSOrigin)
		add("  vcs-ref", s.VCSRef)
	} else if s := ci.Issuing(t.Issuer); s != nil {
		for _, p := range s.Subject.Parse(t.Subject) {
			add("  "+p.Name, p.Value)
		}
	}
	add("version", ci.Version(t))
	add("organisation", ci.OrgID(t))
	add("project", ci.ProjectID(t))
	add("repository", text(ci.CircleCIClaim(t, "vcs-origin")))
	add(refName(text(ci.CircleCIClaim(t, "vcs-ref"))))
	if ci.Version(t) != "" || ci.CircleCIClaim(t, "context-ids") != nil {
		add("contexts", contexts(ci.CircleCIClaim(t, "context-ids")))
	}
	add("ssh-rerun", text(ci.CircleCIClaim(t, "ssh-rerun")))
	for _, name := range otherClaims(t) {
		add(strings.TrimPrefix(name, ci.ClaimPrefix), text(t.Claims[name]))
	}
	if !t.IssuedAt.IsZero() {
		add("issued", fmt.Sprintf("%s (%s ago)", t.IssuedAt.Format(time.RFC3339), a.Now().Sub(t.IssuedAt).Round(time.Second)))
	}
	add("expires", a.until(t.Expiry))
	add("key", strings.TrimSpace(t.Algorithm+" "+t.KeyID))
	if v != nil {
		add("signature", "good, by the key "+v.KeyID+" of "+v.JWKS)
	} else {
		add("signature", "not checked (--verify checks it)")
	}
	return rows
}

// refName names a ref as people do.
func refName(ref string) (name, value string) {
	if b, ok := strings.CutPrefix(ref, "refs/heads/"); ok {
		return "branch", b
	}
	if t, ok := strings.CutPrefix(ref, "refs/tags/"); ok {
		return "tag", t
	}
	return "ref", ref
}

func contexts(v any) string {
	ids, ok := v.([]any)
	if !ok || len(ids) == 0 {
		return "none"
	}
	all := make([]string, len(ids))
	for i, id := range ids {
		all[i] = text(id)
	}
	return strings.Join(all, ", ")
}

// text shows a claim's value: text as it is, anything else as JSON.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	}
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(b)
}

// otherClaims are the names of the claims that have no row of their own.
func otherClaims(t oidc.Token) []string {
	var names []string
	for name := range t.Claims {
		switch strings.TrimPrefix(name, ci.ClaimPrefix) {
		case "iss", "sub", "aud", "iat", "exp", "org-id", "project-id", "vcs-origin", "vcs-ref", "context-ids", "ssh-rerun":
			continue
		}
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

func (a *app) tokenJSON(t oidc.Token, v *oidc.Verification, s *ci.System, sign string) error {
	out := map[string]any{
		"source":           t.Source,
		"header":           map[string]string{"alg": t.Algorithm, "kid": t.KeyID},
		"claims":           t.Claims,
		"version":          ci.Version(t),
		"secondsLeft":      int64(t.Expiry.Sub(a.Now()).Seconds()),
		"expires":          t.Expiry.Format(time.RFC3339),
		"signatureChecked": v != nil,
	}
	if !t.IssuedAt.IsZero() {
		out["secondsOld"] = int64(a.Now().Sub(t.IssuedAt).Seconds())
		out["issued"] = t.IssuedAt.Format(time.RFC3339)
	}
	if s, ok := ci.ParseSubject(t); ok {
		out["subject"] = map[string]string{"org": s.Org, "project": s.Project, "user": s.User, "vcs-origin": s.VCSOrigin, "vcs-ref": s.VCSRef}
	}
	if s != nil {
		out["ci"] = map[string]string{"name": s.Name, "by": sign}
	}
	if v != nil {
		out["jwksURL"] = v.JWKS
	}
	return a.jsonResult(out)
}
