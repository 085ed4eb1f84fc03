package remote

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// TestReach: whatever is answered, the server is there; and its clock is read.
func TestReach(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, status := range []int{101, 200, 301, 404, 429, 503} {
		calls := 0
		c := &Client{Attempts: 3, Now: func() time.Time { return at }, Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			calls++
			if r.Method != http.MethodGet || r.Header.Get("X") != "y" {
				t.Errorf("%s with %v", r.Method, r.Header)
			}
			return &http.Response{StatusCode: status, Header: http.Header{"Date": {"Sun, 22 Nov 2026 12:03:00 GMT"}}, Body: http.NoBody}, nil
		})}
		got, err := c.Probe(t.Context(), "https://h.example/x", http.Header{"X": {"y"}})
		if err != nil || got.Status != status || got.Host != "h.example" || got.Ahead() != 3*time.Minute || calls != 1 {
			t.Errorf("%d: %+v, %v, %d calls", status, got, err, calls)
		}
	}
}

func TestReachInVain(t *testing.T) {
	calls := 0
	c := &Client{Attempts: 2, Now: time.Now, Transport: roundTrip(func(*http.Request) (*http.Response, error) {
		calls++
		return nil, errors.New("with https://h.example/?secret in it")
	}), pause: func(context.Context, time.Duration) error { return nil }}
	_, err := c.Probe(t.Context(), "https://h.example/?secret", nil)
	if fault.KindOf(err) != fault.Unavailable || calls != 2 || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v after %d calls", err, calls)
	}
	for _, url := range []string{"http://example.com", "ftp://x", "https://u:p@h", "://", "https://"} {
		if _, err := c.Probe(t.Context(), url, nil); fault.KindOf(err) != fault.Usage || calls != 2 {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestAhead(t *testing.T) {
	at := func(s float64) time.Time { return time.Unix(1000, 0).Add(time.Duration(s * float64(time.Second))) }
	for _, row := range []struct{ date, sent, came, want float64 }{
		{10, 10.2, 10.4, 0},    // the same second
		{10, 9.5, 10.5, 0},     // it turned on the way
		{10, 10.9, 11.9, 0},    // still that second when it was sent
		{20, 10, 10.5, 9.5},    // ahead of the arrival
		{10, 21, 22, -10},      // its second was over before
		{10, 11.5, 40, -0.5},   // a slow answer says less
		{-1000, 10, 10.5, 0.0}, // zero: it does not say
	} {
		r := Probed{Date: at(row.date), Sent: at(row.sent), Came: at(row.came)}
		if row.date == -1000 {
			r.Date = time.Time{}
		}
		if got := r.Ahead().Seconds(); got != row.want {
			t.Errorf("%+v: %v", row, got)
		}
	}
}

func TestRootsThere(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const pem = "x\n-----BEGIN CERTIFICATE-----\n"
	good, bad := file("good", pem), file("bad", "no certificate")
	full, empty := filepath.Dir(file("full/one", pem)), filepath.Dir(file("empty/one", "x"))
	for _, row := range []struct{ goos, file, dir, want string }{
		{"linux", good, empty, good},
		{"linux", bad, full, full},
		{"linux", bad, empty + ":" + full, full},
		{"linux", bad, empty, ""},
		{"linux", filepath.Join(dir, "none"), filepath.Join(dir, "none"), ""},
		{"linux", dir, empty, ""},
		{"darwin", bad, empty, "the system's store"},
		{"windows", bad, empty, "the system's store"},
	} {
		getenv := func(name string) string {
			return map[string]string{"SSL_CERT_FILE": row.file, "SSL_CERT_DIR": row.dir}[name]
		}
		if got := Roots(row.goos, getenv); got != row.want {
			t.Errorf("%+v: %q", row, got)
		}
	}
}
