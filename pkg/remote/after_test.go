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
