package remote

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/fault"
)

// NewTransport returns the program's transport: TLS 1.2 and later, the system's
// roots, the proxies that the environment names, and a limit on each stage of a
// call. It speaks HTTP/1.1, which for the one or two requests of a run costs
// less than HTTP/2.
func NewTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  attemptTime,
		MaxResponseHeaderBytes: 64 << 10,
		DisableKeepAlives:      false,
	}
}

// WithRoots returns a copy of rt that trusts the certificates in pem instead of
// the system's, as the clouds' own CA variables ask for. It is a fault.Usage
// when pem holds no certificate or rt is no *http.Transport.
func WithRoots(rt http.RoundTripper, pem []byte) (http.RoundTripper, error) {
	t, ok := rt.(*http.Transport)
	if !ok {
		return nil, fault.New(fault.Internal, "this transport takes no other roots")
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fault.New(fault.Usage, "no PEM certificate in the CA bundle")
	}
	t = t.Clone()
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	t.TLSClientConfig.RootCAs = pool
	return t, nil
}
