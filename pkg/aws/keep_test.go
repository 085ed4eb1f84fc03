package aws

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
)

// A cloud gives out credentials that last for so long, and is away, or refuses,
// from time to time.
type cloud struct {
	mu    sync.Mutex
	life  time.Duration
	err   error
	given int
}

func (c *cloud) renew(context.Context) (Credentials, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return Credentials{}, c.err
	}
	c.given++
	return Credentials{AccessKeyID: secret.New(fmt.Sprintf("ASIA%d", c.given)), Expiration: time.Now().Add(c.life).UTC()}, nil
}

func (c *cloud) set(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

// TestKeptForADay on virtual time: a day of SDKs that keep what they have until
// 5, 10 or 15 minutes before its end, and of programs that ask each time, never
// sees credentials that are over, or about to be.
func TestKeptForADay(t *testing.T) {
	for _, life := range []time.Duration{15 * time.Minute, 20 * time.Minute, time.Hour, 12 * time.Hour} {
		t.Run(life.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &cloud{life: life}
				first, _ := c.renew(t.Context())
				k := NewRefreshed(first, c.renew, time.Now, func(end time.Time, err error) { t.Errorf("%s: %v", end, err) })
				ctx, cancel := context.WithCancel(t.Context())
				go k.Run(ctx)
				var sdks sync.WaitGroup
				for _, window := range []time.Duration{24 * time.Hour, 15 * time.Minute, 10 * time.Minute, 5 * time.Minute} {
					sdks.Go(func() {
						var has Credentials
						for range 24 * 60 * 2 {
							if time.Until(has.Expiration) < window {
								before := time.Now()
								got, err := k.Get(ctx)
								if err != nil {
									t.Error(err)
								}
								if has = got; time.Since(before) > 0 {
									t.Errorf("waited %s", time.Since(before))
								}
							}
							// Ahead of a third, or of a quarter of an hour.
							if left := time.Until(has.Expiration); left < min(window, life/3, 15*time.Minute)-30*time.Second {
								t.Errorf("an SDK that asks %s ahead works with what has %s left", window, left)
							}
							time.Sleep(30 * time.Second)
						}
					})
				}
				sdks.Wait()
				cancel()
				synctest.Wait()
				want := int(24*time.Hour/(life-min(life/3, 15*time.Minute))) + 1
				if c.given > want {
					t.Errorf("%d exchanges, want %d at most", c.given, want)
				}
			})
		})
	}
}

// TestKeptInVain: what is valid is served as long as it is, then the error says
// until when it was, and why; a cloud that is back helps at once.
func TestKeptInVain(t *testing.T) {
	for _, row := range []struct {
		name string
		err  error
	}{
		{"away", fault.New(fault.Unavailable, "STS is away")},
		{"refused", fault.New(fault.Refused, "AWS refused the token")},
		{"no token", fault.New(fault.Token, "the token in CIRCLE_OIDC_TOKEN expired 1m ago, and a new one could not be minted")},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				c := &cloud{life: time.Hour}
				first, _ := c.renew(t.Context())
				var notes []string
				k := NewRefreshed(first, c.renew, time.Now, func(end time.Time, err error) { notes = append(notes, fmt.Sprintf("%s %v", end.Sub(start), err)) })
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go k.Run(ctx)
				c.set(row.err)
				for time.Since(start) < time.Hour {
					if got, err := k.Get(ctx); err != nil || got.AccessKeyID.Reveal() != "ASIA1" {
						t.Fatalf("after %s: %v", time.Since(start), err)
					}
					time.Sleep(time.Minute)
				}
				_, err := k.Get(ctx)
				if want := "the AWS credentials ended at 2000-01-01T01:00:00Z and could not be renewed: " + row.err.Error(); err == nil || err.Error() != want || fault.KindOf(err) != fault.KindOf(row.err) || !errors.Is(err, row.err) {
					t.Errorf("%v, want %s", err, want)
				}
				if want := "1h0m0s " + row.err.Error(); len(notes) != 1 || notes[0] != want {
					t.Errorf("notes %q, want %q once", notes, want)
				}
				c.set(nil)
				time.Sleep(time.Minute)
				if got, err := k.Get(ctx); err != nil || got.AccessKeyID.Reveal() != "ASIA2" {
					t.Errorf("the cloud is back: %v", err)
				}
			})
		})
	}
}
