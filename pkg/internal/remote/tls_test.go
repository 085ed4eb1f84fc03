package remote

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

func TestWithTLS(t *testing.T) {
	server, clients := newCA(t), newCA(t)
	pool := x509.NewCertPool()
	pool.AddCert(server.cert)
	trusted := x509.NewCertPool()
	trusted.AddCert(clients.cert)
	use := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }
	ours, others := clients.issue(t, use), server.issue(t, use)
	mutual := func() *tls.Config {
		return &tls.Config{
			Certificates: []tls.Certificate{server.issue(t, nil)}, ClientCAs: trusted, ClientAuth: tls.RequireAndVerifyClientCert,
			Time: now,
		}
	}
	named := func() *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{server.issue(t, func(c *x509.Certificate) {
			c.IPAddresses, c.DNSNames = nil, []string{"vault.internal"}
		})}}
	}
	for _, row := range []struct {
		name   string
		config *tls.Config
		own    TLS
		words  string // "": it succeeds
	}{
		{"a client's certificate", mutual(), TLS{Roots: pool, Certificate: &ours}, ""},
		{"none", mutual(), TLS{Roots: pool}, "refuses the TLS connection: certificate required"},
		{"another authority's", mutual(), TLS{Roots: pool, Certificate: &others}, "refuses the TLS connection: "},
		{"another name", named(), TLS{Roots: pool, ServerName: "vault.internal"}, ""},
		{"the wrong name", named(), TLS{Roots: pool, ServerName: "other.internal"}, "has a certificate for another host"},
		{"the host's name", named(), TLS{Roots: pool}, "has a certificate for another host"},
		{"the system's roots", named(), TLS{ServerName: "vault.internal"}, "has a certificate of an unknown authority"},
	} {
		t.Run(row.name, func(t *testing.T) {
			rt, err := WithTLS(transport(), row.own)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(rt.(*http.Transport).CloseIdleConnections)
			l := newLab(t, rt)
			l.CAVariable, l.Private = "VAULT_CACERT", true
			host, _ := serveTLS(t, row.config)
			a, err := l.post(t.Context(), "https://"+host)
			if row.words == "" {
				if err != nil || string(a.Body) != marker {
					t.Errorf("%q, %v", a.Body, err)
				}
				return
			}
			l.fails(err, fault.Unavailable, row.words)
			if hints := strings.Join(fault.Hints(err), ""); strings.Contains(row.words, "authority") != strings.Contains(hints, "name the authority's certificate with VAULT_CACERT") {
				t.Errorf("hints: %s", hints)
			}
		})
	}
}

// The time that an answer may take is the server's own.
func TestAnswerTime(t *testing.T) {
	for _, row := range []struct{ own, want time.Duration }{{0, attemptTime}, {time.Minute, time.Minute}} {
		rt, err := WithTLS(transport(), TLS{AnswerTime: row.own})
		if err != nil {
			t.Fatal(err)
		}
		if got := rt.(*http.Transport).ResponseHeaderTimeout; got != row.want {
			t.Errorf("%s, want %s", got, row.want)
		}
	}
	addr, _ := listen(t, func(c net.Conn) { read(c); time.Sleep(300 * time.Millisecond) })
	l := newLab(t, transport())
	l.AttemptTime = 30 * time.Millisecond
	l.Attempts = 1
	_, err := l.post(t.Context(), "http://"+addr)
	l.fails(err, fault.Unavailable, "did not answer in time")
}
