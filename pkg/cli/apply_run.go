package cli

import (
	"context"
	"strings"
	"sync"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// atOnce is how many exchanges run at the same time: far more than a job has
// accounts, and far less than the files that a process may have open.
const atOnce = 64

// run makes the exchanges and writes what they give.
func (p *plan) run(ctx context.Context, format string) error {
	bounded, cancel := p.bounded(ctx)
	defer cancel()
	tokens, err := p.findTokens(bounded)
	if err != nil {
		return err
	}
	results := p.exchangeAll(bounded, tokens)
	if err = p.failure(ctx, results); err == nil {
		err = p.write(bounded, results)
	}
	if err != nil {
		p.revokeAll(ctx, results, func(outcome) bool { return true })
		return err
	}
	for _, r := range results {
		switch {
		case r.session == nil || !r.leases:
		case r.tokenPath == "":
			p.leaveForLeases(ctx, r.session)
		default:
			p.noteLeases(r.session, "or as long as the token")
		}
	}
	p.revokeAll(ctx, results, func(o outcome) bool { return o.tokenPath == "" && !o.leases })
	p.noteEnvironment()
	return p.showResults(results, format)
}

// A result is what became of a target.
type result struct {
	outcome
	target *target
	err    error
	before *target // whose failure kept this one from being tried
}

// exchangeAll makes all exchanges at once, up to a limit; one that comes via
// another waits for that one alone. One that fails ends no other: the user wants to
// know all that is wrong.
func (p *plan) exchangeAll(ctx context.Context, tokens map[*target]oidc.Token) []*result {
	var results []*result
	of, done := map[*target]*result{}, map[*target]chan struct{}{}
	for _, t := range p.targets {
		if t.needed {
			of[t], done[t] = &result{target: t}, make(chan struct{})
			results = append(results, of[t])
		}
	}
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for _, r := range results {
		wg.Go(func() {
			defer close(done[r.target])
			m := material{token: tokens[r.target]}
			if via := r.target.via; via != nil {
				<-done[via] // before the slot: it may need the last one itself
				if from := of[via]; from.err != nil || from.before != nil {
					r.before = via
					return
				}
				m.via = of[via].credentials
			}
			slots <- struct{}{}
			defer func() { <-slots }()
			r.outcome, r.err = r.target.exchange(ctx, m)
		})
	}
	wg.Wait()
	return results
}

// failures are the errors of several targets. The first decides about the exit code.
type failures []error

func (f failures) Error() string {
	all := make([]string, len(f))
	for i, err := range f {
		all[i] = err.Error()
	}
	return strings.Join(all, "; ")
}

func (f failures) Unwrap() []error { return f }

// failure is what the targets failed with, each under its name.
func (p *plan) failure(ctx context.Context, results []*result) error {
	if err := ctx.Err(); err != nil {
		return err // interrupted: the rest follows from it
	}
	var all failures
	for _, r := range results {
		first := len(all) == 0
		var e *fault.Error
		switch {
		case r.before != nil:
			e = fault.New(fault.Refused, "%s: not tried, for %s failed, which it comes via", r.target, r.before)
			if first {
				e.Hint("%s", nothingWritten)
			}
		case r.err != nil:
			e = p.inTermsOf(r.target.spec, r.target.String()+": ", r.err, first)
		default:
			continue
		}
		all = append(all, e)
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

// write delivers everything, or nothing.
func (p *plan) write(ctx context.Context, results []*result) error {
	var edits []files.Edit
	for _, r := range results {
		if !r.target.chosen {
			continue
		}
		edits = append(edits, r.edits...)
		// Before the files: a token that is there and not recorded would be revoked
		// by nobody, one that is recorded and not there is passed over.
		if r.tokenPath != "" {
			p.noteToken(ctx, r.session, noteFile, r.tokenPath)
		}
	}
	if err := p.commit(ctx, edits...); err != nil {
		return fault.New(fault.KindOf(err), "nothing was written: %w", err)
	}
	for _, r := range results {
		for _, f := range r.files {
			p.progress("%s: wrote %s", r.target, f)
		}
	}
	return nil
}

// revokeAll revokes the Vault tokens that nobody has.
func (p *plan) revokeAll(ctx context.Context, results []*result, which func(outcome) bool) {
	var wg sync.WaitGroup
	for _, r := range results {
		if r.session != nil && which(r.outcome) {
			wg.Go(func() { p.revoke(ctx, r.session) })
		}
	}
	wg.Wait()
}

// clientOf is the HTTP client for a target's calls.
func (p *plan) clientOf(t *target) *remote.Client {
	c := p.client()
	c.Origin = p.optionNames(t.spec)
	return c
}
