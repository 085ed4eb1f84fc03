package vault

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/remote"
)

const (
	// soonest is the shortest pause between two renewals, so that a lease of
	// seconds does not become a load.
	soonest = time.Second
	// retryAfter is the pause after a renewal that failed.
	retryAfter = 15 * time.Second
)

// Keep renews the token and the leases until ctx ends, each after two thirds of
// what it has left. warn is told, once for each, of what cannot be kept any
// longer. after waits, nil means by the clock.
func (s *Session) Keep(ctx context.Context, all []Lease, warn func(format string, args ...any), after func(time.Duration) <-chan time.Time) {
	if after == nil {
		after = time.After
	}
	k := &keeper{session: s, warn: warn}
	if s.Renewable && s.Lease > 0 {
		k.add("the Vault token", s.Lease, func(ctx context.Context) (time.Duration, bool, error) {
			err := s.renew(ctx)
			return s.Lease, s.Renewable, err
		})
	}
	for _, l := range all {
		if l.Renewable && l.Duration > 0 {
			k.add("the lease "+l.ID, l.Duration, func(ctx context.Context) (time.Duration, bool, error) { return s.renewLease(ctx, l) })
		}
	}
	for len(k.all) > 0 && ctx.Err() == nil {
		next := k.next()
		wait := next.due.Sub(s.client.Now())
		select {
		case <-ctx.Done():
			return
		case <-after(max(wait, 0)):
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
}

// kept is one thing that is renewed.
type kept struct {
	name     string
	due, end time.Time
	had      time.Duration // what a renewal gave at first
	renew    func(context.Context) (left time.Duration, again bool, err error)
}

func (k *keeper) add(name string, lease time.Duration, renew func(context.Context) (time.Duration, bool, error)) {
	now := k.session.client.Now()
	k.all = append(k.all, &kept{name: name, due: now.Add(pause(lease)), end: now.Add(lease), had: lease, renew: renew})
}

func pause(lease time.Duration) time.Duration { return max(lease*2/3, soonest) }

func (k *keeper) next() *kept {
	first := k.all[0]
	for _, e := range k.all[1:] {
		if e.due.Before(first.due) {
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
	left, again, err := e.renew(ctx)
	now := k.session.client.Now()
	switch {
	case ctx.Err() != nil:
	case err != nil && now.Add(retryAfter).Before(e.end):
		e.due = now.Add(retryAfter)
	case err != nil:
		k.warn("%s ends at %s and could not be renewed: %v", e.name, e.end.UTC().Format(time.RFC3339), err)
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
func (s *Session) renewLease(ctx context.Context, l Lease) (time.Duration, bool, error) {
	body, err := json.Marshal(map[string]string{"lease_id": l.ID})
	if err != nil {
		return 0, false, err
	}
	h := header(s.server.Namespace)
	h.Set("X-Vault-Token", s.Token.Reveal())
	a, err := s.call(ctx, about{step: leases, path: l.ID}, remote.Request{
		Method: http.MethodPut, URL: s.server.Addr + "/v1/sys/leases/renew", Header: h, Body: body,
	})
	return leaseTime(a.LeaseDuration), a.Renewable, err
}
