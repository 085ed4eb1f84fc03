package remote

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// TestProxySettings: a variable that cannot be meant is refused before anything is
// sent, once, and without its value, which may have a password in it.
func TestProxySettings(t *testing.T) {
	for _, row := range []struct{ name, value, noProxy, want string }{
		{"HTTPS_PROXY", "socks9://x", "", `HTTPS_PROXY names a proxy with the scheme "socks9"`},
		{"https_proxy", "ftp://user:MARKER@x", "", `https_proxy names a proxy with the scheme "ftp"`},
		{"HTTPS_PROXY", "::bad", "", "HTTPS_PROXY is not the address of a proxy"},
		{"HTTPS_PROXY", "http://", "", "HTTPS_PROXY names a proxy without a host"},
		{"HTTPS_PROXY", "http://:3128", "", "HTTPS_PROXY names a proxy without a host"},
		{"HTTPS_PROXY", "http://MARKER@proxy:99999", "", `HTTPS_PROXY names a proxy with the port "99999"`},
		{"HTTPS_PROXY", "proxy:3128", "", ""},
		{"HTTPS_PROXY", "proxy", "", ""},
		{"HTTPS_PROXY", "http://user:password@10.0.0.1:3128/", "", ""},
		{"HTTPS_PROXY", "socks5h://[::1]:1080", "", ""},
		{"HTTPS_PROXY", "http://p", "example.com, .internal,*.x,10.0.0.0/8,fd00::/8,::1,[::1]:80,host:8200,*,", ""},
		{"HTTPS_PROXY", "http://p", "https://example.com", `NO_PROXY has "https://example.com"`},
		{"HTTPS_PROXY", "http://p", "10.0.0.0/99", `NO_PROXY has "10.0.0.0/99"`},
		{"HTTPS_PROXY", "http://p", "a b", `NO_PROXY has "a b"`},
		{"HTTPS_PROXY", "http://p", "host:port", `NO_PROXY has "host:port"`},
		{"HTTP_PROXY", "::bad", "a b", ""},
	} {
		getenv := func(name string) string {
			return map[string]string{row.name: row.value, "NO_PROXY": row.noProxy}[name]
		}
		tries := 0
		c := &Client{Transport: NewTransport(getenv), Now: time.Now, Attempts: 4, Log: func(string, ...any) { tries++ }}
		err := CheckProxy(getenv)
		if row.want == "" {
			if err != nil {
				t.Errorf("%s=%s NO_PROXY=%s: %v", row.name, row.value, row.noProxy, err)
			}
			continue
		}
		if err == nil || fault.KindOf(err) != fault.Usage || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "MARKER") {
			t.Errorf("%s=%s NO_PROXY=%s: %v, want %s", row.name, row.value, row.noProxy, err, row.want)
		}
		if _, err := c.Call(t.Context(), Request{Method: http.MethodGet, URL: "https://sts.test"}); fault.KindOf(err) != fault.Usage || tries > 0 {
			t.Errorf("%s=%s: a call says %v after %d more attempts", row.name, row.value, err, tries)
		}
	}
}
