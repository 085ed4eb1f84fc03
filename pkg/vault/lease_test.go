package vault

import (
	"math"
	"testing"
	"time"
)

// TestLeaseTime: no number of a server's makes a lease negative or endless.
func TestLeaseTime(t *testing.T) {
	t.Parallel()
	for seconds, want := range map[int64]time.Duration{
		0: 0, -1: 0, math.MinInt64: 0, 1: time.Second, 2764800: 768 * time.Hour,
		math.MaxInt64: longestLease, math.MaxInt64 / int64(time.Second): longestLease, math.MaxInt64/int64(time.Second) + 1: longestLease,
	} {
		if got := leaseTime(seconds); got != want {
			t.Errorf("%d seconds are %s, want %s", seconds, got, want)
		}
	}
	end := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if l := (&Lease{Since: end, Duration: leaseTime(math.MaxInt64)}); !l.Expiry().After(end) || l.Expiry().After(end.Add(longestLease)) {
		t.Errorf("a lease of the most seconds ends at %s", l.Expiry())
	}
}
