package remote

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// A fleet of jobs that need credentials within the same minute, each a Client of
// its own, all in virtual time: nothing here waits, and nothing of the policy is
// written a second time. docs/reliability.md has the table that
//
//	OIDC_BROKER_FULL=2 go test ./pkg/internal/remote -run TestFleet -v
//
// prints.

// What docs/reliability.md tells fleets to give as --timeout and --max-attempts,
// and the defaults.
const (
	fleetTimeout  = 3 * time.Minute
	fleetAttempts = 50
	jobTimeout    = time.Minute
	jobAttempts   = 5
)

// A quota is what a service lets through. AWS's is a rate for each second
// (600 for STS, an account and a region), Google's an amount for each minute of
// the clock (6,000 exchanges a project, 60,000 calls of IAM Credentials).
type quota struct {
	calls  int
	within time.Duration

	window time.Time
	used   int
}

func (q *quota) take(now time.Time) bool {
	if w := now.Truncate(q.within); !w.Equal(q.window) {
		q.window, q.used = w, 0
	}
	q.used++
	return q.used <= q.calls
}

// A service answers after 50 ms: 200 within its quota, 429 beyond. During an
// outage it answers 503, or says nothing until it ends and then drops every
// connection at once, as a balancer does whose machines are replaced.
type service struct {
	quota quota
	hangs bool
	down  time.Duration // how long the outage lasts, from the first job on

	mu      sync.Mutex
	began   time.Time
	calls   int
	seconds map[int]int // calls in each second
	last    time.Duration
}

func (s *service) RoundTrip(r *http.Request) (*http.Response, error) {
	time.Sleep(50 * time.Millisecond)
	s.mu.Lock()
	at := time.Since(s.began)
	s.calls++
	s.seconds[int(at/time.Second)]++
	status := http.StatusOK
	switch {
	case at < s.down:
		status = http.StatusServiceUnavailable
	case !s.quota.take(time.Now()):
		status = http.StatusTooManyRequests
	default:
		s.last = at
	}
	s.mu.Unlock()
	if at < s.down && s.hangs {
		select {
		case <-r.Context().Done():
			return nil, r.Context().Err()
		case <-time.After(s.down - at):
			return nil, io.ErrUnexpectedEOF
		}
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}")), Request: r}, nil
}

// peak is the most calls within a second, from a second on.
func (s *service) peak(from int) int {
	most := 0
	for at, n := range s.seconds {
		if at >= from {
			most = max(most, n)
		}
	}
	return most
}

// A flood is a scenario: who comes when, to what, and with which policy.
type flood struct {
	cloud    string // AWS: one call; Google: an exchange, then IAM
	arrival  string // even: spread over the minute; cron: most within its first seconds
	outage   string // none, 503, hang
	jitter   bool
	attempts int
	timeout  time.Duration
}

// A tally is what came of it.
type tally struct {
	jobs, failed, calls  int
	peak, after          int           // calls a second at the first service: ever, and after the outage
	half, most, recovery time.Duration // until a job had its credentials; until all had, after the outage
}

func (f flood) run(t *testing.T, jobs int) (sum tally) {
	synctest.Test(t, func(t *testing.T) {
		services := f.services(jobs)
		var (
			all  sync.WaitGroup
			mu   sync.Mutex
			took []time.Duration
		)
		for i := range jobs {
			all.Go(func() {
				time.Sleep(f.arrives(i, jobs))
				began := time.Now()
				if !f.job(t.Context(), services) {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				took = append(took, time.Since(began))
			})
		}
		all.Wait()
		sum = tally{jobs: jobs, failed: jobs - len(took), peak: services[0].peak(0), after: services[0].peak(int(services[0].down.Seconds()))}
		for _, s := range services {
			sum.calls += s.calls
			sum.recovery = max(sum.recovery, s.last-s.down)
		}
		if slices.Sort(took); len(took) > 0 {
			sum.half, sum.most = took[len(took)/2], took[len(took)-1]
		}
	})
	return sum
}

// services are those that a job calls one after the other. Their quotas shrink
// with the fleet, where a test has less time.
func (f flood) services(jobs int) []*service {
	quotas := []quota{{calls: 600, within: time.Second}}
	if f.cloud == "Google" {
		quotas = []quota{{calls: 6000, within: time.Minute}, {calls: 60000, within: time.Minute}}
	}
	var all []*service
	for _, q := range quotas {
		q.calls = q.calls * jobs / 10000
		s := &service{quota: q, hangs: f.outage == "hang", began: time.Now(), seconds: map[int]int{}}
		if f.outage != "none" {
			s.down = time.Minute
		}
		all = append(all, s)
	}
	return all
}

func (f flood) arrives(i, jobs int) time.Duration {
	if f.arrival == "cron" {
		return min(time.Minute, time.Duration(rand.ExpFloat64()*float64(5*time.Second)))
	}
	return time.Minute * time.Duration(i) / time.Duration(jobs)
}

// job is one command: all its calls within one timeout.
func (f flood) job(ctx context.Context, services []*service) bool {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	for _, s := range services {
		c := &Client{Transport: s, Now: time.Now, Attempts: f.attempts}
		if !f.jitter {
			c.draw = func(longest time.Duration) time.Duration { return longest }
		}
		if a, err := c.Call(ctx, Request{URL: "https://sts.example.com"}); err != nil || a.Status != http.StatusOK {
			return false
		}
	}
	return true
}

// patient is the policy for fleets.
func patient(cloud, arrival, outage string) flood {
	return flood{cloud, arrival, outage, true, fleetAttempts, fleetTimeout}
}

func (f flood) plain() flood {
	f.jitter = false
	return f
}

// TestFleet: with what a fleet should give, every job has its credentials in the
// end, whatever happens within a minute; those that failed at the same instant do
// not come back at one. And a quota of 600 a second is no trouble by default.
func TestFleet(t *testing.T) {
	jobs := 1000 // and a tenth of the quotas
	if testenv.IsFull() {
		jobs = 2500
	}
	if testenv.IsProof() {
		jobs = 10000
		fleetTable(t, jobs)
	}
	herd := patient("AWS", "cron", "hang")
	with, without := herd.run(t, jobs), herd.plain().run(t, jobs)
	if with.after > jobs*3/10 || without.after < jobs/2 {
		t.Errorf("after the outage at most %d calls a second with jitter, want at most %d; %d without, want at least %d", with.after, jobs*3/10, without.after, jobs/2)
	}
	if without.failed == 0 {
		t.Error("without jitter none fails: then what is it for?")
	}
	if sum := (flood{"AWS", "even", "none", true, jobAttempts, jobTimeout}).run(t, jobs); sum.failed > 0 || sum.calls != jobs {
		t.Errorf("by default, with nothing wrong: %+v", sum)
	}
	for _, f := range []flood{herd, patient("AWS", "even", "503"), patient("Google", "even", "none"), patient("Google", "cron", "503")} {
		sum := with
		if f != herd {
			sum = f.run(t, jobs)
		}
		if sum.failed > 0 || sum.recovery > 2*time.Minute || sum.most > fleetTimeout {
			t.Errorf("%v: %d of %d fail, the last after %s, recovered after %s", f, sum.failed, jobs, sum.most, sum.recovery)
		}
		if sum.calls > 20*jobs {
			t.Errorf("%v: %d calls for %d jobs", f, sum.calls, jobs)
		}
	}
}

// fleetTable prints every scenario: by default, with what a fleet should give, and
// with that but without jitter.
func fleetTable(t *testing.T, jobs int) {
	fmt.Println("| cloud | arrival | outage | policy | calls | peak/s | peak/s after it | failed | median | slowest | recovered after |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|---|")
	for _, cloud := range []string{"AWS", "Google"} {
		for _, arrival := range []string{"even", "cron"} {
			for _, outage := range []string{"none", "503", "hang"} {
				f := patient(cloud, arrival, outage)
				for _, row := range []struct {
					name string
					f    flood
				}{
					{"default", flood{cloud, arrival, outage, true, jobAttempts, jobTimeout}},
					{"for fleets", f}, {"for fleets, without jitter", f.plain()},
				} {
					s := row.f.run(t, jobs)
					second := func(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }
					fmt.Printf("| %s | %s | %s | %s | %d | %d | %d | %d | %s | %s | %s |\n", cloud, arrival, outage, row.name,
						s.calls, s.peak, s.after, s.failed, second(s.half), second(s.most), second(s.recovery))
				}
			}
		}
	}
}
