package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
	"github.com/oidc-broker/oidc-broker/pkg/vault"
)

// revokeTime bounds the revocation, which happens after everything else.
const revokeTime = 15 * time.Second

// login logs in. ctx is bounded by its caller.
func (r *vaultRun) login(ctx context.Context, s *vault.Server) (*vault.Session, error) {
	t, err := r.finder(r.token).Find(ctx)
	if err != nil {
		return nil, err
	}
	session, err := loginWith(ctx, r.client(), s, t)
	if err != nil {
		return nil, err
	}
	life := "forever"
	if end := session.Expiry(); !end.IsZero() {
		life = "until " + end.UTC().Format(time.RFC3339)
	}
	for _, w := range session.Warnings() {
		r.note("Vault warns: " + w)
	}
	r.progress("logged in to %s %s, with the policies %s", s.Addr, life, strings.Join(session.Policies, ", "))
	return session, nil
}

// leaveForLeases leaves a token alive because dynamic secrets end with it: that is said,
// and cleanup will revoke it.
func (a *app) leaveForLeases(ctx context.Context, session *vault.Session) {
	a.keepToken(ctx, session)
	a.note(fmt.Sprintf("the Vault token stays valid %s, or until 'oidc-broker cleanup': the leases of what was read end with it", ending(session)))
	a.noteLeases(session, "or as long as the token")
}

// answerTime is how long an answer may yet take after an interrupt.
const answerTime = 2 * time.Second

// lingering is ctx, but for an interrupt, which does not cut it short at once: the
// server may have made something already, and nobody could revoke that.
func lingering(ctx context.Context) (context.Context, func()) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	limit := func() {}
	if deadline, ok := ctx.Deadline(); ok {
		longer, limit = context.WithDeadline(longer, deadline)
	}
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(answerTime, cancel) })
	done := func() {
		stop()
		limit()
		cancel()
	}
	return longer, done
}

// loginWith logs in.
func loginWith(ctx context.Context, c *remote.Client, s *vault.Server, t oidc.Token) (*vault.Session, error) {
	longer, done := lingering(ctx)
	defer done()
	return s.Login(longer, c, t)
}

// readWith reads the secrets. A user at a database that nobody knows of would outlive
// the job: what the server made is heard of, also after an interrupt.
func (a *app) readWith(ctx context.Context, session *vault.Session) ([]vault.Secret, error) {
	longer, done := lingering(ctx)
	defer done()
	secrets, err := session.Read(longer)
	for _, w := range session.Warnings() {
		a.note("Vault warns: " + w)
	}
	if err == nil {
		err = ctx.Err()
	}
	return secrets, err
}

// with logs in and reads, and hands both to use. Where anything fails, the token
// is revoked: nobody has it.
func (r *vaultRun) with(ctx context.Context, s *vault.Server, use func(context.Context, *vault.Session, []vault.Secret) error) error {
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	session, err := r.login(bounded, s)
	if err != nil {
		return err
	}
	secrets, err := r.readWith(bounded, session)
	if err == nil {
		err = use(bounded, session, secrets)
	}
	if err != nil {
		r.revoke(ctx, session)
	}
	return err
}

// revoke ends a token and its leases, also after an interrupt. That it cannot be is no
// failure of what was asked for; what remains is said.
func (a *app) revoke(ctx context.Context, session *vault.Session) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTime)
	defer cancel()
	for _, err := range session.RevokeLeases(ctx) {
		a.noteError(err)
	}
	if why := session.Irrevocable(); why != "" {
		a.note(fmt.Sprintf("the Vault token stays valid %s: %s", ending(session), why))
		return
	}
	switch err := session.Revoke(ctx); {
	case vault.Gone(err):
		a.progress("the Vault token no longer exists: it has expired, its uses are spent, or it was revoked")
	case err != nil:
		a.note(fmt.Sprintf("the Vault token stays valid %s, for it could not be revoked: %v", ending(session), err))
		for _, h := range asFlags.Hints(err) {
			a.note(h)
		}
		if session.Namespace() == session.SecretsNamespace() {
			a.noteLeases(session, "and with the token")
		}
	default:
		a.progress("revoked the token")
	}
}

// noteError prints an error that is no failure, with its hints.
func (a *app) noteError(err error) {
	a.note(a.text(err))
	for _, h := range asFlags.Hints(err) {
		a.note(h)
	}
}

// noteLeases says how long the dynamic secrets that were read are valid.
func (a *app) noteLeases(session *vault.Session, how string) {
	for _, l := range session.Leases() {
		a.note(fmt.Sprintf("the dynamic secret %s is valid until %s, %s: its lease is %s", l.Path, l.Expiry().UTC().Format(time.RFC3339), how, l.ID))
	}
}

func ending(session *vault.Session) string {
	if end := session.Expiry(); !end.IsZero() {
		return "until " + end.UTC().Format(time.RFC3339)
	}
	return "forever"
}
