package vault

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
)

const tokenGone = "the Vault token no longer exists: it was revoked, it has expired, or its uses (the role's token_num_uses) are spent; nothing is renewed any more"

// A clock that moves when somebody waits.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func (c *clock) after(d time.Duration) <-chan time.Time {
	c.at = c.at.Add(d)
	ready := make(chan time.Time, 1)
	ready <- c.at
	return ready
}

// keep runs Keep on virtual time, for so many calls, and returns what was called
// when, and the warnings.
func keep(t *testing.T, n *network, all []*Lease, calls int) (called, warnings []string) {
	t.Helper()
	c := &clock{now()}
	client := &remote.Client{Transport: n, Now: c.now, Attempts: 1}
	s, err := server(t, Options{}).Login(t.Context(), client, testToken())
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	defer end()
	s.client.Transport = counting{n, func(line string) {
		called = append(called, fmt.Sprintf("%s %s", c.at.Sub(now()), strings.TrimPrefix(line, testAddr+"/v1/")))
		if len(called) == calls {
			end()
		}
	}}
	s.leases, s.read = all, true
	s.Keep(ctx, func(format string, args ...any) { warnings = append(warnings, fmt.Sprintf(format, args...)) }, c.after)
	return called, warnings
}

func TestKeep(t *testing.T) {
	login := func(auth string) reply { return ok(`{"auth":{"client_token":"` + given + `",` + auth + `}}`) }
	renewed := func(seconds int) reply {
		return ok(fmt.Sprintf(`{"auth":{"client_token":"%s","lease_duration":%d,"renewable":true}}`, given, seconds))
	}
	for _, row := range []struct {
		name     string
		replies  map[string][]reply
		leases   []*Lease
		calls    int
		called   []string
		warnings []string
	}{
		{"a third before its end, each time", nil, nil, 3,
			[]string{"10m0s auth/token/renew-self", "20m0s auth/token/renew-self", "30m0s auth/token/renew-self"}, nil},
		{"a lease beside it", map[string][]reply{"sys/leases/renew": {ok(`{"lease_id":"l","lease_duration":300,"renewable":true}`)}},
			[]*Lease{{ID: "l", Duration: 5 * time.Minute, Renewable: true, Since: now()}, {ID: "fixed", Duration: time.Minute, Since: now()}}, 4,
			[]string{"3m20s sys/leases/renew", "6m40s sys/leases/renew", "10m0s auth/token/renew-self", "10m0s sys/leases/renew"}, nil},
		{"up to its maximum", map[string][]reply{"auth/token/renew-self": {renewed(900), renewed(600), renewed(200)}}, nil, 9,
			[]string{"10m0s auth/token/renew-self", "20m0s auth/token/renew-self", "26m40s auth/token/renew-self"},
			[]string{"the Vault token ends at 2026-03-01T12:30:00Z and cannot be renewed beyond it"}},
		{"not renewable", map[string][]reply{"auth/jwt/login": {login(`"lease_duration":900,"renewable":false`)}}, nil, 9, nil, nil},
		{"without end", map[string][]reply{"auth/jwt/login": {login(`"lease_duration":0,"renewable":true`)}}, nil, 9, nil, nil},
		{"a server that is away for a moment", map[string][]reply{"auth/token/renew-self": {refused(503, "Vault is sealed"), renewed(900)}}, nil, 3,
			[]string{"10m0s auth/token/renew-self", "10m15s auth/token/renew-self", "20m15s auth/token/renew-self"}, nil},
		{"a policy that does not let it", map[string][]reply{"auth/jwt/login": {login(`"lease_duration":60,"renewable":true`)}, "auth/token/renew-self": {refused(403, "1 error occurred:\n\t* permission denied\n\n")}}, nil, 9,
			[]string{"40s auth/token/renew-self"},
			[]string{"the Vault token ends at 2026-03-01T12:01:00Z and could not be renewed: Vault refused the renewal auth/token/renew-self: 1 error occurred: * permission denied",
				"the role's policies have to grant update on auth/token/renew-self (token_no_default_policy takes it away)"}},
		{"a token that no longer exists takes its leases along", map[string][]reply{"auth/token/renew-self": {refused(403, "permission denied")}},
			[]*Lease{{ID: "l", Duration: time.Hour, Renewable: true, Since: now()}}, 9, []string{"10m0s auth/token/renew-self"}, []string{tokenGone}},
		{"as Vault says the same", map[string][]reply{"auth/token/renew-self": {refused(403, "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n")}}, nil, 9,
			[]string{"10m0s auth/token/renew-self"}, []string{tokenGone}},
		{"past its maximum", map[string][]reply{"auth/token/renew-self": {refused(500, "1 error occurred:\n\t* past the max TTL, cannot renew\n\n")}}, nil, 9,
			[]string{"10m0s auth/token/renew-self"},
			[]string{"the Vault token ends at 2026-03-01T12:15:00Z and could not be renewed: Vault refused the renewal auth/token/renew-self: 1 error occurred: * past the max TTL, cannot renew",
				"its maximum TTL is reached: a longer one is the role's token_max_ttl, or the secret engine's max_ttl"}},
		{"a role that was deleted", map[string][]reply{"auth/token/renew-self": {refused(500, `failed to renew entry: role "deploy" does not exist during renewal`)}}, nil, 9,
			[]string{"10m0s auth/token/renew-self"},
			[]string{`the Vault token ends at 2026-03-01T12:15:00Z and could not be renewed: Vault refused the renewal auth/token/renew-self: failed to renew entry: role "deploy" does not exist during renewal`,
				"the role was deleted or renamed after the login: a token of it cannot be renewed"}},
		{"a lease whose reading took long", map[string][]reply{"auth/jwt/login": {login(`"lease_duration":0`)}, "sys/leases/renew": {ok(`{"lease_id":"l","lease_duration":30,"renewable":true}`)}},
			[]*Lease{{ID: "l", Duration: 30 * time.Second, Renewable: true, Since: now().Add(-10 * time.Second)}}, 2,
			[]string{"10s sys/leases/renew", "30s sys/leases/renew"}, nil},
		{"seconds, and a server that is unavailable for one", map[string][]reply{"auth/jwt/login": {login(`"lease_duration":6,"renewable":true`)}, "auth/token/renew-self": {refused(503, "x"), renewed(6)}}, nil, 3,
			[]string{"4s auth/token/renew-self", "5s auth/token/renew-self", "9s auth/token/renew-self"}, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			called, warnings := keep(t, vault(row.replies), row.leases, row.calls)
			if diff := cmp.Diff(row.called, called); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(row.warnings, warnings); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// slow delays a path's answers, in a bubble's virtual time.
type slow struct {
	http.RoundTripper
	path string
	time time.Duration
}

func (s slow) RoundTrip(req *http.Request) (*http.Response, error) {
	if strings.HasSuffix(req.URL.Path, s.path) {
		time.Sleep(s.time)
	}
	return s.RoundTripper.RoundTrip(req)
}

// TestKeepDuringRead: the token, and the lease of a read that was fast, are renewed
// while another read takes longer than either lives.
func TestKeepDuringRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dynamic := func(id string, seconds int) reply {
			return ok(fmt.Sprintf(`{"lease_id":"%s","lease_duration":%d,"renewable":true,"data":{"password":"p"}}`, id, seconds))
		}
		n := vault(map[string][]reply{
			"database/fast": {dynamic("fast", 900)}, "database/slow": {dynamic("slow", 900)},
			"sys/leases/renew": {ok(`{"lease_id":"x","lease_duration":900,"renewable":true}`)},
		})
		var mu sync.Mutex
		var called []string
		start := time.Now()
		network := slow{counting{n, func(line string) {
			mu.Lock()
			defer mu.Unlock()
			called = append(called, fmt.Sprintf("%s %s", time.Since(start), strings.TrimPrefix(line, testAddr+"/v1/")))
		}}, "database/slow", 25 * time.Minute}
		s, err := server(t, Options{Secrets: []string{"database/slow password=SLOW", "database/fast password=FAST"}}).
			Login(t.Context(), &remote.Client{Transport: network, Now: time.Now, Attempts: 1, AttemptTime: time.Hour}, testToken())
		if err != nil {
			t.Fatal(err)
		}
		life, end := context.WithCancel(t.Context())
		kept := make(chan struct{})
		go func() {
			defer close(kept)
			s.Keep(life, func(format string, args ...any) { t.Errorf(format, args...) }, nil)
		}()
		if _, err := s.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Minute) // the slow one's lease began with its call: it is due at once
		end()
		<-kept
		slices.Sort(called)
		want := []string{
			"0s auth/jwt/login", "0s database/fast",
			"10m0s auth/token/renew-self", "10m0s sys/leases/renew", "20m0s auth/token/renew-self", "20m0s sys/leases/renew",
			"25m0s database/slow", "25m0s sys/leases/renew",
			"30m0s auth/token/renew-self", "30m0s sys/leases/renew", "35m0s sys/leases/renew",
		}
		if diff := cmp.Diff(want, called); diff != "" {
			t.Error(diff)
		}
		var ids []string
		for _, l := range s.Leases() {
			ids = append(ids, l.ID)
		}
		if diff := cmp.Diff([]string{"slow", "fast"}, ids); diff != "" {
			t.Errorf("the leases, in the order asked: %s", diff)
		}
	})
}
