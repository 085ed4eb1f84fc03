package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// NewTransport returns the program's transport: TLS 1.2 and later, the system's
// roots, the proxies that the environment names, and a limit on each stage of a
// call. It speaks HTTP/1.1, which for the one or two requests of a run costs
// less than HTTP/2. getenv is asked for SSL_CERT_FILE.
func NewTransport(getenv func(string) string) *http.Transport {
	t := &http.Transport{
		Proxy:                  proxyOf(getenv),
		OnProxyConnectResponse: proxyAnswered,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  attemptTime,
		MaxResponseHeaderBytes: 64 << 10,
	}
	t.DialTLSContext = (&tlsDialer{dial: t.DialContext, config: t.TLSClientConfig, anchors: anchorsOf(getenv), ready: systemReady(getenv), timeout: t.TLSHandshakeTimeout}).dialTLS
	return t
}

// proxyRefusal is the status with which a proxy answered CONNECT. Without it
// net/http makes the proxy's own words the error.
type proxyRefusal int

func (p proxyRefusal) Error() string { return "the proxy answers " + strconv.Itoa(int(p)) }

func proxyAnswered(_ context.Context, _ *url.URL, _ *http.Request, res *http.Response) error {
	if res.StatusCode != http.StatusOK {
		return proxyRefusal(res.StatusCode)
	}
	return nil
}

// WithRoots returns a copy of rt that trusts the certificates in pem instead of
// the system's, as the clouds' own CA variables ask for. It is a fault.Usage
// when pem holds no certificate, a fault.Internal when rt is no *http.Transport.
func WithRoots(rt http.RoundTripper, pem []byte) (http.RoundTripper, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fault.New(fault.Usage, "no PEM certificate in the CA bundle")
	}
	return WithTLS(rt, TLS{Roots: pool})
}

// TLS is how the TLS of one server differs from everybody's. Zero values differ
// in nothing.
type TLS struct {
	Roots       *x509.CertPool   // to trust instead of the system's
	Certificate *tls.Certificate // of the client (RFC 8446 §4.4.2)
	ServerName  string           // to send, and to find in the server's certificate
	AnswerTime  time.Duration    // until an answer begins
	Proxy       *url.URL         // instead of what the environment names
}

// WithTLS returns a copy of rt with the server's TLS. It is a fault.Internal when
// rt is no *http.Transport.
func WithTLS(rt http.RoundTripper, own TLS) (http.RoundTripper, error) {
	t, ok := rt.(*http.Transport)
	if !ok {
		return nil, fault.New(fault.Internal, "this transport takes no TLS of its own")
	}
	t = t.Clone()
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{} // #nosec G402 -- the next line sets MinVersion
	}
	t.TLSClientConfig.MinVersion = max(t.TLSClientConfig.MinVersion, tls.VersionTLS12)
	if own.AnswerTime > 0 {
		t.ResponseHeaderTimeout = own.AnswerTime
	}
	if own.Proxy != nil {
		t.Proxy = http.ProxyURL(own.Proxy)
	}
	if own.Roots != nil {
		t.TLSClientConfig.RootCAs = own.Roots
	}
	if own.Certificate != nil {
		t.TLSClientConfig.Certificates = []tls.Certificate{*own.Certificate}
	}
	t.TLSClientConfig.ServerName = own.ServerName
	if own.Roots != nil || own.Certificate != nil || own.ServerName != "" {
		t.DialTLSContext = nil // it is for the system's roots, and for nobody's name but the host's
	}
	return t, nil
}
