package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	errAway     = errors.New("STS is away")
	errHopeless = errors.New("refused")
)

// A renewal is what a Refresher's attempt meets: credentials that live for so long,
// or an error.
type renewal struct {
	life time.Duration
	err  error
}

// TestKeeperRuns on virtual time: when it renews, and what it says of failures.
func TestKeeperRuns(t *testing.T) {
	const h, m, s = time.Hour, time.Minute, time.Second
	fresh := func(d time.Duration) renewal { return renewal{life: d} }
	away, refused := renewal{err: errAway}, renewal{err: errHopeless}
	for _, row := range []struct {
		name     string
		life     time.Duration
		renewals []renewal
		until    time.Duration
		attempts []time.Duration
		notes    []string
	}{
		{"an hour: a quarter of one ahead", h, []renewal{fresh(h), fresh(h), fresh(h)}, 3*h - 1, []time.Duration{45 * m, 90 * m, 135 * m}, nil},
		{"twelve hours: the same", 12 * h, []renewal{fresh(12 * h)}, 23 * h, []time.Duration{11*h + 45*m}, nil},
		{"a quarter of an hour: a third of it ahead", 15 * m, []renewal{fresh(15 * m), fresh(h)}, 65*m - 1, []time.Duration{10 * m, 20 * m}, nil},
		{"seconds", 6 * s, []renewal{fresh(6 * s), fresh(6 * s)}, 12*s - 1, []time.Duration{4 * s, 8 * s}, nil},
		{"less than a second at a time is no load", 9 * s, []renewal{fresh(s), fresh(s), fresh(h)}, m, []time.Duration{6 * s, 7 * s, 8 * s}, nil},
		{"what is over at the start", -s, []renewal{fresh(h)}, m, []time.Duration{0}, nil},
		{"away for two minutes", h, []renewal{away, away, fresh(h)}, h, []time.Duration{45 * m, 46 * m, 47 * m}, []string{"ends 1h0m0s: STS is away"}},
		{"away for a moment, twice", h, []renewal{away, fresh(h), away, fresh(h)}, 95 * m, []time.Duration{45 * m, 46 * m, 91 * m, 92 * m},
			[]string{"ends 1h0m0s: STS is away", "ends 1h46m0s: STS is away"}},
		{"a short one is tried again sooner", m, []renewal{away, away, away, fresh(h)}, m, []time.Duration{40 * s, 41 * s, 42 * s, 43 * s}, []string{"ends 1m0s: STS is away"}},
		{"beyond the end, too", 6 * s, []renewal{away, away, away, away, fresh(h)}, m, []time.Duration{4 * s, 5 * s, 6 * s, 7 * s, 8 * s}, []string{"ends 6s: STS is away"}},
		{"away, and then refused", 3 * m, []renewal{away, refused}, h, []time.Duration{2 * m, 2*m + 3*s}, []string{"ends 3m0s: STS is away"}},
		{"refused: not again", h, []renewal{refused}, 9 * h, []time.Duration{45 * m}, []string{"ends 1h0m0s: refused"}},
		{"what has ended before it came", h, []renewal{fresh(-m), fresh(h)}, 50 * m, []time.Duration{45 * m, 46 * m},
			[]string{"ends 1h0m0s: what it was renewed with ended at 2000-01-01T00:44:00Z, before now by this machine's clock"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var attempts []time.Duration
				var notes []string
				k := NewKeeper(start.Add(row.life), time.Now)
				k.Hopeless = func(err error) bool { return errors.Is(err, errHopeless) }
				k.Failed = func(end time.Time, err error) {
					notes = append(notes, fmt.Sprintf("ends %s: %v", end.Sub(start), err))
				}
				k.Renew = func(context.Context) (time.Time, error) {
					attempts = append(attempts, time.Since(start))
					if len(attempts) > len(row.renewals) {
						t.Fatalf("one attempt too many, at %s", time.Since(start))
					}
					next := row.renewals[len(attempts)-1]
					return time.Now().Add(next.life), next.err
				}
				ctx, cancel := context.WithTimeout(t.Context(), row.until)
				defer cancel()
				k.Run(ctx)
				if diff := cmp.Diff(row.attempts, attempts); diff != "" {
					t.Error(diff)
				}
				if diff := cmp.Diff(row.notes, notes); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

// A sleeper is a keeper whose machine sleeps: its timers stand still while the
// clock on the wall goes on.
type sleeper struct {
	*Refresher
	mu    sync.Mutex
	slept time.Duration
	calls int
}

func (s *sleeper) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.slept)
}

func (s *sleeper) sleep(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slept += d
}

// newSleeper runs a keeper of what lives for an hour. Each renewal takes a second.
func newSleeper(t *testing.T, renewals ...renewal) *sleeper {
	s := &sleeper{}
	s.Refresher = NewKeeper(time.Now().Add(time.Hour), s.now)
	s.Hopeless = func(err error) bool { return errors.Is(err, errHopeless) }
	s.Renew = func(ctx context.Context) (time.Time, error) {
		if s.calls++; s.calls > len(renewals) {
			t.Fatalf("renewed %d times", s.calls)
		}
		select {
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		case <-time.After(time.Second):
		}
		next := renewals[s.calls-1]
		return s.now().Add(next.life), next.err
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go s.Run(ctx)
	return s
}

// TestFreshForMany: however many ask for what is over, one renewal is made, and
// all of them have what it brings.
func TestFreshForMany(t *testing.T) {
	for _, row := range []struct {
		name string
		renewal
	}{{"renewed", renewal{life: time.Hour}}, {"in vain", renewal{err: errAway}}, {"refused", renewal{err: errHopeless}}} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSleeper(t, row.renewal)
				synctest.Wait()
				s.sleep(2 * time.Hour)
				var all sync.WaitGroup
				for range 50 {
					all.Go(func() {
						before := time.Now()
						if err := s.Fresh(t.Context()); !errors.Is(err, row.err) || err == nil && row.err != nil {
							t.Errorf("%v, want %v", err, row.err)
						}
						if took := time.Since(before); took != time.Second {
							t.Errorf("took %s", took)
						}
					})
				}
				all.Wait()
				if s.calls != 1 {
					t.Errorf("%d renewals", s.calls)
				}
			})
		})
	}
}

// TestFresh of one who asks: what is valid is had at once, also while it is
// renewed and when it cannot be; what is over is not asked for without a pause.
func TestFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSleeper(t, renewal{err: errHopeless}, renewal{err: errAway}, renewal{life: time.Hour})
		ask := func(what string, want error, takes time.Duration, calls int) {
			t.Helper()
			before := time.Now()
			if err := s.Fresh(t.Context()); !errors.Is(err, want) || want == nil && err != nil {
				t.Errorf("%s: %v, want %v", what, err, want)
			}
			if took := time.Since(before); took != takes {
				t.Errorf("%s: took %s", what, took)
			}
			synctest.Wait()
			if s.calls != calls {
				t.Errorf("%s: %d renewals, want %d", what, s.calls, calls)
			}
		}
		synctest.Wait()
		ask("at first", nil, 0, 0)
		s.sleep(50 * time.Minute)
		ask("near its end: renewed beside it", nil, 0, 1)
		time.Sleep(time.Second)
		ask("refused, but valid", nil, 0, 1)
		time.Sleep(2 * time.Minute)
		ask("refused: not again", nil, 0, 1)
		s.sleep(time.Hour)
		ask("over: once more", errAway, time.Second, 2)
		ask("at once again: the same", errAway, 0, 2)
		s.sleep(59 * time.Second)
		ask("before the pause is over: the same", errAway, 0, 2)
		s.sleep(2 * time.Second)
		ask("after it", nil, time.Second, 3)
		ask("and now", nil, 0, 3)
	})
}

// TestFreshEnds with who asks, and with the command.
func TestFreshEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sleeper{}
		s.Refresher = NewKeeper(time.Now().Add(time.Hour), s.now)
		s.Renew = func(ctx context.Context) (time.Time, error) {
			<-ctx.Done()
			return time.Time{}, ctx.Err()
		}
		s.Failed = func(time.Time, error) { t.Error("an interrupt is no failure") }
		running, end := context.WithCancel(t.Context())
		go s.Run(running)
		s.sleep(2 * time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := s.Fresh(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who asks gave up: %v", err)
		}
		waits := make(chan error, 1)
		go func() { waits <- s.Fresh(t.Context()) }()
		synctest.Wait()
		end()
		if err := <-waits; err == nil || err.Error() != "the renewal has stopped" {
			t.Errorf("the command ended: %v", err)
		}
		if err := s.Fresh(t.Context()); err == nil {
			t.Error("after its end")
		}
	})
}
