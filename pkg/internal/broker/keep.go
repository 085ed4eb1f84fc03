package broker

import (
	"context"
	"sync"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// What is delivered is renewed this long before its end, or when a third of it
// is left: AWS's SDKs ask again 5 to 15 minutes before the end, and a session of
// AWS's has 15 minutes at least.
const (
	renewAhead = 15 * time.Minute
	// soonest is the shortest pause between two renewals, so that what lives for
	// seconds does not become a load.
	soonest = time.Second
	// latest is the longest after one that failed.
	latest = time.Minute
)

// RefreshAhead is how long before its end something is renewed that lives for so long.
func RefreshAhead(life time.Duration) time.Duration { return min(renewAhead, life/3) }

// pause is how long after a renewal that failed the next one is due.
func pause(life time.Duration) time.Duration {
	return min(max(life/60, soonest), latest)
}

// A Refresher renews what a command was given while the command runs: ahead of its
// end, again after a while where that failed, and at once when somebody needs
// what is over.
type Refresher struct {
	// Renew makes it anew and returns when the new one ends. One call at a time
	// is made.
	Renew func(context.Context) (end time.Time, err error)
	// Failed is told, once until a renewal succeeds, that there is none yet, and
	// when what there is ends.
	Failed func(end time.Time, err error)
	// Hopeless says of an error that the next attempt has the same. After it,
	// none is made until somebody asks for what is over. nil: no error is.
	Hopeless func(error) bool
	Now      func() time.Time

	mu     sync.Mutex
	end    time.Time
	life   time.Duration // what end was away when it was known
	failed error         // of the last attempt
	tried  time.Time
	done   chan struct{} // closed after the attempt under way, or the next one
	wanted chan struct{} // somebody cannot wait for the timer
	over   bool          // Run has ended
}

// NewKeeper returns one for what ends at end. Its fields are the caller's to
// set before Run.
func NewKeeper(end time.Time, now func() time.Time) *Refresher {
	return &Refresher{
		Now: now, Failed: func(time.Time, error) {},
		end: end, life: end.Sub(now()),
		done: make(chan struct{}), wanted: make(chan struct{}, 1),
	}
}

// Run renews until ctx ends.
func (k *Refresher) Run(ctx context.Context) {
	defer k.stop()
	for {
		var timer <-chan time.Time
		if wait, ok := k.wait(); ok {
			timer = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return
		case <-timer:
		case <-k.wanted:
			if !k.due() { // what was wished for has been there since
				continue
			}
		}
		if ctx.Err() != nil { // of two that are ready, select takes either
			return
		}
		k.renew(ctx)
	}
}

// wait is how long nothing is to be done; ok is false if for ever.
func (k *Refresher) wait() (d time.Duration, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failed != nil && k.hopeless() {
		return 0, false
	}
	return max(k.next().Sub(k.Now()), 0), true
}

// next is when the next renewal is due.
func (k *Refresher) next() time.Time {
	if k.failed != nil {
		return k.tried.Add(pause(k.life))
	}
	ahead := k.end.Add(-RefreshAhead(k.life))
	if earliest := k.tried.Add(soonest); ahead.Before(earliest) {
		return earliest
	}
	return ahead
}

func (k *Refresher) hopeless() bool { return k.Hopeless != nil && k.Hopeless(k.failed) }

// due says whether a renewal may be attempted now that somebody asks.
func (k *Refresher) due() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.dueAt(k.Now())
}

func (k *Refresher) dueAt(now time.Time) bool {
	if k.failed != nil && k.hopeless() && now.Before(k.end) {
		return false
	}
	return !now.Before(k.next())
}

func (k *Refresher) renew(ctx context.Context) {
	end, err := k.Renew(ctx)
	if ctx.Err() != nil {
		return // it was interrupted, and nobody needs it any more
	}
	k.mu.Lock()
	now := k.Now()
	if err == nil && !end.After(now) {
		err = fault.New(fault.Unavailable, "what it was renewed with ended at %s, before now by this machine's clock", end.UTC().Format(time.RFC3339)).
			Hint("is this machine's clock right?")
	}
	first := k.failed == nil
	k.failed, k.tried = err, now
	if err == nil {
		k.end, k.life = end, end.Sub(now)
	}
	last := k.end
	close(k.done)
	k.done = make(chan struct{})
	k.mu.Unlock()
	if err != nil && first {
		k.Failed(last, err)
	}
}

func (k *Refresher) stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.over = true
	close(k.done)
}

// Fresh returns nil when what was delivered has not ended, which it waits for
// when that takes a renewal. An error is that of the renewal that failed, or
// ctx's. However many wait, one renewal is made.
func (k *Refresher) Fresh(ctx context.Context) error {
	for asked := false; ; asked = true {
		k.mu.Lock()
		now, failed, done := k.Now(), k.failed, k.done
		valid, due := now.Before(k.end), k.dueAt(now)
		over := k.over
		k.mu.Unlock()
		// The timer does not run while a machine sleeps, its clock does.
		if due && !over {
			k.want()
		}
		switch {
		case valid:
			return nil
		case failed != nil && (asked || !due):
			return failed
		case over:
			return fault.New(fault.Internal, "the renewal has stopped")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-done:
		}
	}
}

func (k *Refresher) want() {
	select {
	case k.wanted <- struct{}{}:
	default: // it is known
	}
}
