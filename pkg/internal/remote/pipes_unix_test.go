//go:build !windows && !darwin

package remote

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// crypto/x509 would open a pipe in the place of the system's authorities, and wait.
func TestAPipeInPlaceOfTheRoots(t *testing.T) {
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Skip(err)
	}
	for name, value := range map[string]string{"SSL_CERT_FILE": fifo, "SSL_CERT_DIR": "/nowhere:" + dir} {
		tr := NewTransport(func(asked string) string {
			if asked == name {
				return value
			}
			return ""
		})
		tr.Proxy = nil
		c := &Client{Transport: tr, Attempts: 3}
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
		_, err := c.Do(req)
		if fault.KindOf(err) != fault.Local || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "it is a pipe") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
