package remote

import (
	"net/http"
	"testing"
	"time"
)

// After never asks for a pause that is negative or longer than an hour,
// whatever the clocks of the two sides show.
func TestAfter(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"": 0, "x": 0, "-1": 0, "0": 0, "1": time.Second, "3600": time.Hour, "3601": time.Hour, "9223372036854775807": time.Hour,
		"Sun, 01 Mar 2026 12:00:00 GMT": 0, "Sun, 01 Mar 2026 11:00:00 GMT": 0, "Thu, 01 Jan 1970 00:00:00 GMT": 0,
		"Sun, 01 Mar 2026 12:00:01 GMT": time.Second, "Fri, 31 Dec 9999 23:59:59 GMT": time.Hour,
	} {
		if got := After(&http.Response{Header: http.Header{"Retry-After": {header}}}, now()); got != want {
			t.Errorf("%q: %s, want %s", header, got, want)
		}
	}
}

// How long it took is said of what was waited for alone: "is not followed after 5s"
// would say that another 5 seconds change it.
func TestElapsed(t *testing.T) {
	for _, row := range []struct {
		f    Failure
		n    int
		want string
	}{
		{Failure{Why: "did not answer in time", Again: true}, 1, "h did not answer in time after 5s"},
		{Failure{Why: "answers 503", Again: true}, 3, "h answers 503 (tried 3 times) after 5s"},
		{Failure{Why: "answers 503", Again: true, After: time.Minute}, 1, "h answers 503; it asks to wait 1m0s"},
		{Failure{Why: "answers 301 and points elsewhere, which is not followed"}, 1, "h answers 301 and points elsewhere, which is not followed"},
		{Failure{Why: "has a certificate for another host"}, 2, "h has a certificate for another host (tried 2 times)"},
	} {
		row.f.Host = "h"
		if got := row.f.final(&row.f, row.n, 5*time.Second).Error(); got != row.want {
			t.Errorf("%q, want %q", got, row.want)
		}
	}
}
