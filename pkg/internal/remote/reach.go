package remote

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
)

// Probed is that a server answered.
type Probed struct {
	Host   string
	Status int
	// Date is when, by the server's clock; zero if it does not say.
	Date time.Time
	// Between these, by this machine's clock.
	Sent, Came time.Time
}

// Ahead is how far the server's clock is ahead of this machine's, as far as its
// Date says: it counts seconds, and the answer may have been made at any moment
// between the request and its arrival. It is 0 where that explains all.
func (r Probed) Ahead() time.Duration {
	switch {
	case r.Date.IsZero():
		return 0
	case r.Date.After(r.Came):
		return r.Date.Sub(r.Came)
	case r.Date.Add(time.Second).Before(r.Sent):
		return r.Date.Add(time.Second).Sub(r.Sent)
	}
	return 0
}

// Probe asks a server for url, whatever it answers: what counts is that it does,
// by TLS with a certificate that is trusted. A redirect is an answer too, and not
// followed. Not reached is a fault.Unavailable, a URL that may not be called a
// fault.Usage.
func (c *Client) Probe(ctx context.Context, url string, header http.Header) (Probed, error) {
	var r Probed
	err := c.Retry(ctx, func(ctx context.Context) error {
		limit := attemptTime
		if c.AttemptTime > 0 {
			limit = c.AttemptTime
		}
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return fault.New(fault.Usage, "not a URL that can be called")
		}
		if err := Allowed(req.URL); err != nil {
			return err
		}
		if header != nil {
			req.Header = header.Clone()
		}
		r = Probed{Host: req.URL.Host, Sent: c.Now()}
		res, err := c.Transport.RoundTrip(req)
		if err != nil {
			return c.failure(req, err)
		}
		defer func() { _ = res.Body.Close() }()
		r.Came, r.Status = c.Now(), res.StatusCode
		r.Date, _ = http.ParseTime(res.Header.Get("Date")) // zero: it does not say
		if res.StatusCode != http.StatusSwitchingProtocols {
			// A connection that was read to its end closes in good order.
			_, _ = io.CopyN(io.Discard, res.Body, maxDiscarded)
		}
		return nil
	})
	if err != nil {
		return Probed{}, err
	}
	return r, nil
}

// maxDiscarded bounds what is read of an answer that nobody looks at.
const maxDiscarded = 64 << 10

// Roots returns where the authorities' certificates are that TLS needs on this
// system, and "" where there are none. macOS and Windows have their own store.
func Roots(goos string, getenv func(string) string) string {
	if goos == "darwin" || goos == "windows" {
		return "the system's store"
	}
	for _, file := range bundles(getenv("SSL_CERT_FILE")) {
		if hasCertificate(file) {
			return file
		}
	}
	// As crypto/x509 has them, for Linux.
	dirs := []string{"/etc/ssl/certs", "/etc/pki/tls/certs"}
	if named := getenv("SSL_CERT_DIR"); named != "" {
		dirs = strings.Split(named, ":")
	}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if hasCertificate(filepath.Join(dir, e.Name())) {
				return dir
			}
		}
	}
	return ""
}

// hasCertificate says whether a file holds a PEM certificate.
func hasCertificate(path string) bool {
	b, err := files.Head(path, 4<<20)
	return err == nil && strings.Contains(string(b), "-----BEGIN CERTIFICATE-----")
}
