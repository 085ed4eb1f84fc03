package vault

import (
	"context"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

const (
	// soonest is the shortest pause between two renewals, so that a lease of
	// seconds does not become a load.
	soonest = time.Second
	// retryAfter is the pause after a renewal that failed.
	retryAfter = 15 * time.Second
)

// Keep renews the token and the leases of what was read until ctx ends, each after two
// thirds of what it had when it was made. It may run beside Read, which can take longer
// than the token lives: a lease is kept from the moment that the server made it. warn is told, once for each, of what cannot
// be kept any longer. after waits, nil means by the clock.
func (s *Session) Keep(ctx context.Context, warn func(format string, args ...any), after func(time.Duration) <-chan time.Time) {
	if after == nil {
		after = time.After
	}
	k := &keeper{session: s, warn: warn, taken: map[*Lease]bool{}}
	if s.Renewable && s.Lease > 0 {
		k.add("the Vault token", s.since, s.Lease, func(ctx context.Context) (time.Duration, bool, error) {
			err := s.renew(ctx)
			return s.Lease, s.Renewable, err
		})
	}
	for read := false; ctx.Err() == nil; {
		if !read {
			read = k.take()
		}
		if k.gone || read && len(k.all) == 0 {
			return
		}
		next := k.next()
		var due <-chan time.Time
		if next != nil {
			due = after(max(next.due.Sub(s.client.Now()), 0))
		}
		select {
		case <-ctx.Done():
			return
		case <-s.news:
		case <-due:
			if ctx.Err() == nil { // of two that are ready, select takes either
				k.renew(ctx, next)
			}
		}
	}
}

// A keeper knows what is due when.
type keeper struct {
	session *Session
	warn    func(format string, args ...any)
	all     []*kept
	taken   map[*Lease]bool // leases that were looked at
	gone    bool            // the token, and its leases with it
}

// kept is one thing that is renewed.
type kept struct {
	name     string
	due, end time.Time
	had      time.Duration // what a renewal gave at first
	renew    func(context.Context) (left time.Duration, again bool, err error)
}

// take adds the leases that are new, and says whether there can be no more.
func (k *keeper) take() bool {
	s := k.session
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.leases {
		if !k.taken[l] && l.Renewable && l.Duration > 0 {
			k.add("the lease "+l.ID, l.Since, l.Duration, func(ctx context.Context) (time.Duration, bool, error) { return s.renewLease(ctx, l) })
		}
		k.taken[l] = true
	}
	return s.read
}

func (k *keeper) add(name string, since time.Time, lease time.Duration, renew func(context.Context) (time.Duration, bool, error)) {
	k.all = append(k.all, &kept{name: name, due: since.Add(pause(lease)), end: since.Add(lease), had: lease, renew: renew})
}

func pause(lease time.Duration) time.Duration { return max(lease*2/3, soonest) }

func (k *keeper) next() *kept {
	var first *kept
	for _, e := range k.all {
		if first == nil || e.due.Before(first.due) {
			first = e
		}
	}
	return first
}

func (k *keeper) drop(gone *kept) {
	for i, e := range k.all {
		if e == gone {
			k.all = append(k.all[:i], k.all[i+1:]...)
			return
		}
	}
}

func (k *keeper) renew(ctx context.Context, e *kept) {
	now := k.session.client.Now() // the server counts from then at the earliest
	left, again, err := e.renew(ctx)
	later := k.session.client.Now()
	switch wait := min(retryAfter, max(soonest, e.end.Sub(later)/3)); {
	case ctx.Err() != nil:
	case Gone(err):
		k.warn("the Vault token no longer exists: it was revoked, it has expired, or its uses (the role's token_num_uses) are spent; nothing is renewed any more")
		k.gone = true
	case err != nil && fault.KindOf(err) != fault.Refused && later.Add(wait).Before(e.end):
		e.due = later.Add(wait)
	case err != nil:
		k.warn("%s ends at %s and could not be renewed: %v", e.name, e.end.UTC().Format(time.RFC3339), err)
		for _, h := range fault.Hints(err) {
			k.warn("%s", h)
		}
		k.drop(e)
	// Near its maximum a renewal gives less than before: what is left is all.
	case !again || left <= soonest || left < e.had && left < e.end.Sub(now)+soonest:
		e.end = now.Add(left)
		k.warn("%s ends at %s and cannot be renewed beyond it", e.name, e.end.UTC().Format(time.RFC3339))
		k.drop(e)
	default:
		e.due, e.end = now.Add(pause(left)), now.Add(left)
	}
}

// renewLease renews a lease and returns how long it lives from now on.
func (s *Session) renewLease(ctx context.Context, l *Lease) (time.Duration, bool, error) {
	since := s.client.Now()
	var a answer
	if err := s.aboutLease(ctx, "sys/leases/renew", l, &a); err != nil {
		return 0, false, err
	}
	l.Since, l.Duration, l.Renewable = since, leaseTime(a.LeaseDuration), a.Renewable
	return l.Duration, l.Renewable, nil
}
