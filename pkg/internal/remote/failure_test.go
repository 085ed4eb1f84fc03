package remote

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// listen runs a server that need not speak HTTP, and counts its connections.
func listen(t *testing.T, serve func(net.Conn)) (addr string, conns *atomic.Int32) {
	conns = new(atomic.Int32)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			go func() {
				defer func() { _ = c.Close() }()
				serve(c)
			}()
		}
	}()
	return ln.Addr().String(), conns
}

// closedPort is an address on which nobody listens.
func closedPort(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	return ln.Addr().String()
}

// says is a server that reads a whole request and answers with these bytes.
func says(answer string) func(net.Conn) {
	return func(c net.Conn) {
		read(c)
		_, _ = io.WriteString(c, answer)
	}
}

// thenWaits is one that says no more, and waits for the client to go.
func thenWaits(serve func(net.Conn)) func(net.Conn) {
	return func(c net.Conn) {
		serve(c)
		_, _ = io.Copy(io.Discard, c)
	}
}

func read(c net.Conn) {
	if r, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
		_, _ = io.Copy(io.Discard, r.Body)
	}
}

func TestBrokenServers(t *testing.T) {
	const ok = "HTTP/1.1 200 OK " + marker + "\r\nX-Secret: " + marker + "\r\n"
	for _, row := range []struct {
		name  string
		serve func(net.Conn)
		words string // a pattern
	}{
		{"empty reply", read, "closed the connection before the whole answer had come"},
		// What the client notices first depends on who is faster.
		{"reset at accept", func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }, "cannot be reached: |closed the connection"},
		{"close at accept", func(net.Conn) {}, "cannot be reached: |closed the connection"},
		{"headers cut", says(ok), "closed the connection before the whole answer had come"},
		{"a header cut", says(ok + "Content-Le"), "does not answer as an HTTP server does"},
		{"body shorter than its length", says(ok + "Content-Length: 100\r\n\r\n" + marker), "closed the connection before the whole answer had come"},
		{"chunks cut", says(ok + "Transfer-Encoding: chunked\r\n\r\n7\r\n" + marker + "\r\n"), "closed the connection before the whole answer had come"},
		{"a chunk cut", says(ok + "Transfer-Encoding: chunked\r\n\r\nff\r\n" + marker), "closed the connection before the whole answer had come"},
		{"chunks that are none", says(ok + "Transfer-Encoding: chunked\r\n\r\n" + marker + "\r\n"), "does not answer as an HTTP server does"},
		{"never a header", thenWaits(read), "did not answer in time"},
		{"never a body", thenWaits(says(ok + "Content-Length: 100\r\n\r\n" + marker)), "did not answer in time"},
		{"never an end of the headers", thenWaits(says(ok)), "did not answer in time"},
		{"another protocol", says("SSH-2.0-" + marker + "\r\n"), "does not answer as an HTTP server does"},
		{"noise", says(strings.Repeat("\x00\xff"+marker, 100)), "does not answer as an HTTP server does"},
		{"a bad status", says("HTTP/1.1 " + marker + "\r\n\r\n"), "does not answer as an HTTP server does"},
		{"a bad header", says(ok + marker + "\r\n\r\n"), "does not answer as an HTTP server does"},
		{"two lengths", says(ok + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n" + marker), "does not answer as an HTTP server does"},
		{"endless headers", says(ok + strings.Repeat("X-Long: "+strings.Repeat(marker, 100)+"\r\n", 200) + "\r\n"), "does not answer as an HTTP server does"},
		{"gzip that is none", says(ok + "Connection: close\r\nContent-Encoding: gzip\r\nContent-Length: 14\r\n\r\n" + marker + marker), "does not answer as an HTTP server does"},
		{"TLS on an http URL", says("\x15\x03\x01\x00\x02\x02\x46"), "does not answer as an HTTP server does"},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := newLab(t, nil)
			l.AttemptTime = 15 * time.Second
			if strings.Contains(row.words, "in time") {
				l.AttemptTime = 40 * time.Millisecond
			}
			host, conns := listen(t, row.serve)
			_, err := l.post(t.Context(), "http://"+host)
			l.fails(err, fault.Unavailable, host+" ")
			if !regexp.MustCompile(row.words).MatchString(err.Error()) {
				t.Errorf("says %q, want %q", err, row.words)
			}
			l.fails(err, fault.Unavailable, " (tried 3 times)")
			if conns.Load() != 3 || len(l.pauses) != 2 {
				t.Errorf("%d connections, pauses %v", conns.Load(), l.pauses)
			}
		})
	}
}

// The body of a 101 is the connection itself, which has no end.
func TestSwitchingProtocols(t *testing.T) {
	l := newLab(t, nil)
	host, conns := listen(t, thenWaits(says("HTTP/1.1 101 "+marker+"\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")))
	_, err := l.post(t.Context(), "http://"+host)
	l.fails(err, fault.Unavailable, host+" answers 101, which nobody asked for")
	if conns.Load() != 1 {
		t.Errorf("%d connections", conns.Load())
	}
}

func TestClosedPort(t *testing.T) {
	l := newLab(t, nil)
	host := closedPort(t)
	_, err := l.post(t.Context(), "http://"+host)
	l.fails(err, fault.Unavailable, host+" cannot be reached: ")
	l.fails(err, fault.Unavailable, " (tried 3 times)")
}

func TestUnknownHost(t *testing.T) {
	tr := NewTransport(func(string) string { return "" })
	tr.Proxy = nil
	tr.DialContext = func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: marker, Server: marker, IsNotFound: true}}
	}
	l := newLab(t, tr)
	_, err := l.post(t.Context(), "https://sts.moon-1.amazonaws.com")
	l.fails(err, fault.Unavailable, "sts.moon-1.amazonaws.com cannot be found: no such host (tried 3 times)")
	if len(fault.Hints(err)) != 1 {
		t.Errorf("hints %q", fault.Hints(err))
	}
	// However patient the client is: it is a typing error, more likely than not.
	l.Attempts = 50
	_, err = l.post(t.Context(), "https://sts.moon-1.amazonaws.com")
	l.fails(err, fault.Unavailable, "no such host (tried 5 times)")
}

// ca makes certificates that are good for the hour around now.
type ca struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCA(t *testing.T) *ca {
	a := &ca{}
	a.key = newKey(t)
	a.cert = a.sign(t, &x509.Certificate{
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: now().Add(-24 * time.Hour), NotAfter: now().Add(24 * time.Hour),
	}, a.key)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *ca) sign(t *testing.T, c *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	c.SerialNumber, c.Subject = big.NewInt(1), pkix.Name{CommonName: marker}
	parent := a.cert
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// issue makes a server certificate, changed by edit.
func (a *ca) issue(t *testing.T, edit func(*x509.Certificate)) tls.Certificate {
	c := &x509.Certificate{
		NotBefore: now().Add(-time.Hour), NotAfter: now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"sts.test"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if edit != nil {
		edit(c)
	}
	key := newKey(t)
	return tls.Certificate{Certificate: [][]byte{a.sign(t, c, key).Raw}, PrivateKey: key}
}

func (a *ca) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// transport is the program's own, with the tests' clock and without a proxy.
func transport() *http.Transport {
	tr := NewTransport(func(string) string { return "" })
	tr.Proxy = nil
	tr.TLSClientConfig.Time = now
	return tr
}

func trusting(t *testing.T, a *ca, tr *http.Transport) http.RoundTripper {
	rt, err := WithRoots(tr, a.pem())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(rt.(*http.Transport).CloseIdleConnections)
	return rt
}

// serveTLS runs an HTTPS server with this certificate.
func serveTLS(t *testing.T, config *tls.Config) (host string, requests *atomic.Int32) {
	requests = new(atomic.Int32)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		_, _ = io.WriteString(w, marker)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = config
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), requests
}

func TestTLS(t *testing.T) {
	good, other := newCA(t), newCA(t)
	cert := func(a *ca, edit func(*x509.Certificate)) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{a.issue(t, edit)}}
	}
	for _, row := range []struct {
		name   string
		config *tls.Config
		words  string // "": it succeeds
		hint   string
	}{
		{"good", cert(good, nil), "", ""},
		{"unknown authority", cert(other, nil), "has a certificate of an unknown authority", "ca-certificates"},
		{"another host", cert(good, func(c *x509.Certificate) { c.IPAddresses = nil }), "has a certificate for another host", ""},
		{"expired", cert(good, func(c *x509.Certificate) { c.NotAfter = now().Add(-time.Minute) }), "has expired or is not valid yet", "clock"},
		{"not yet valid", cert(good, func(c *x509.Certificate) { c.NotBefore = now().Add(time.Minute) }), "has expired or is not valid yet", "clock"},
		{"for another use", cert(good, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} }), "has a certificate that is not valid", ""},
		{"TLS 1.1 at most", &tls.Config{Certificates: cert(good, nil).Certificates, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
			"refuses the TLS connection: protocol version not supported", ""},
		{"TLS 1.2", &tls.Config{Certificates: cert(good, nil).Certificates, MaxVersion: tls.VersionTLS12}, "", ""},
		{"wants the client's certificate", &tls.Config{Certificates: cert(good, nil).Certificates, ClientAuth: tls.RequireAnyClientCert},
			"refuses the TLS connection: certificate required", ""},
		{"wants it over TLS 1.2", &tls.Config{Certificates: cert(good, nil).Certificates, ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12},
			"refuses the TLS connection: ", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := newLab(t, trusting(t, good, transport()))
			host, requests := serveTLS(t, row.config)
			a, err := l.post(t.Context(), "https://"+host)
			if row.words == "" {
				if err != nil || string(a.Body) != marker {
					t.Errorf("%q, %v", a.Body, err)
				}
				return
			}
			l.fails(err, fault.Unavailable, host+" ")
			l.fails(err, fault.Unavailable, row.words)
			if hints := strings.Join(fault.Hints(err), "\n"); row.hint == "" && hints != "" || !strings.Contains(hints, row.hint) {
				t.Errorf("hints %q, want one on %q", hints, row.hint)
			}
			if requests.Load() != 0 || len(l.pauses) != 0 {
				t.Errorf("%d requests, %d pauses: want none", requests.Load(), len(l.pauses))
			}
		})
	}
}

// Without WithRoots it is the system's roots that count: a private CA is
// unknown to them.
func TestSystemRoots(t *testing.T) {
	host, requests := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{newCA(t).issue(t, nil)}})
	l := newLab(t, transport())
	_, err := l.post(t.Context(), "https://"+host)
	l.fails(err, fault.Unavailable, host+" ")
	if requests.Load() != 0 {
		t.Error("trusts anybody")
	}
}

// A server that goes back to TLS 1.1 although the client offers only later
// ones, and one that does not speak TLS.
func TestNoTLS(t *testing.T) {
	for _, row := range []struct {
		name, answer, words string
		conns               int32
	}{
		{"plain HTTP", "HTTP/1.1 400 " + marker + "\r\n\r\n", "does not speak TLS", 1},
		{"another protocol", "220 " + marker + " ESMTP\r\n", "does not speak TLS", 1},
		{"nothing", "", "closed the connection before the whole answer had come", 3},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := newLab(t, transport())
			host, conns := listen(t, func(c net.Conn) {
				_, _ = c.Read(make([]byte, 1<<14))
				_, _ = io.WriteString(c, row.answer)
			})
			_, err := l.post(t.Context(), "https://"+host)
			l.fails(err, fault.Unavailable, host+" "+row.words)
			if conns.Load() != row.conns {
				t.Errorf("%d connections, want %d", conns.Load(), row.conns)
			}
		})
	}
	t.Run("silence", func(t *testing.T) {
		l := newLab(t, transport())
		l.AttemptTime = 40 * time.Millisecond
		host, _ := listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
		_, err := l.post(t.Context(), "https://"+host)
		l.fails(err, fault.Unavailable, host+" did not answer in time (tried 3 times)")
	})
}

func TestWithRoots(t *testing.T) {
	good, second := newCA(t), newCA(t)
	key, err := x509.MarshalECPrivateKey(good.key)
	if err != nil {
		t.Fatal(err)
	}
	for name, bundle := range map[string]string{
		"nothing":              "",
		"noise":                marker,
		"PEM without a header": strings.Join(strings.Split(string(good.pem()), "\n")[1:], "\n"),
		"PEM of noise":         string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(marker)})),
		"a key":                string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: key})),
		"DER":                  string(good.cert.Raw),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := WithRoots(transport(), []byte(bundle))
			newLab(t, nil).fails(err, fault.Usage, "no PEM certificate in the CA bundle")
			newLab(t, nil).clean(err)
		})
	}
	t.Run("no transport of net/http", func(t *testing.T) {
		_, err := WithRoots(roundTrip(nil), good.pem())
		newLab(t, nil).fails(err, fault.Internal, "takes no TLS of its own")
	})
	t.Run("the original stays as it was", func(t *testing.T) {
		tr := transport()
		trusting(t, good, tr)
		if tr.TLSClientConfig.RootCAs != nil {
			t.Error("the roots are in the original")
		}
	})
	t.Run("TLS 1.2 without a config", func(t *testing.T) {
		rt := trusting(t, good, &http.Transport{})
		if rt.(*http.Transport).TLSClientConfig.MinVersion != tls.VersionTLS12 {
			t.Error("takes older TLS")
		}
	})
	t.Run("a bundle of two, with comments", func(t *testing.T) {
		rt, err := WithRoots(transport(), append(append([]byte("# first\n"), good.pem()...), append([]byte("# second\n"), second.pem()...)...))
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range []*ca{good, second} {
			host, _ := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{a.issue(t, nil)}})
			if _, err := newLab(t, rt).post(t.Context(), "https://"+host); err != nil {
				t.Error(err)
			}
		}
	})
}

// A proxy's own words may hold anything, its URL holds a password.
func TestProxies(t *testing.T) {
	answers := func(status string) func(net.Conn) {
		return says("HTTP/1.1 " + status + " " + marker + "\r\nProxy-Authenticate: Basic realm=" + marker + "\r\nX-Secret: " + marker + "\r\n\r\n" + marker)
	}
	for _, row := range []struct {
		name  string
		serve func(net.Conn)
		words string
		conns int32
		hint  string
	}{
		{"wants a password", answers("407"), "cannot be reached: the proxy PROXY that HTTPS_PROXY names answers 407", 1, "a user name and a password"},
		{"forbids", answers("403"), "cannot be reached: the proxy PROXY that HTTPS_PROXY names answers 403", 1, "NO_PROXY"},
		{"cannot reach it", answers("502"), "cannot be reached: the proxy PROXY that HTTPS_PROXY names answers 502 (tried 3 times)", 3, "NO_PROXY"},
		{"closes", read, "closed the connection before the whole answer had come (tried 3 times)", 3, ""},
		{"is none", says("SSH-2.0-" + marker + "\r\n"), "does not answer as an HTTPS server does (tried 3 times)", 3, ""},
		{"says nothing", thenWaits(read), "did not answer in time through the proxy PROXY that HTTPS_PROXY names (tried 3 times)", 3, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			host, conns := listen(t, row.serve)
			tr := transport()
			tr.Proxy = http.ProxyURL(&url.URL{Scheme: "http", User: url.UserPassword(marker, marker), Host: host})
			l := newLab(t, tr)
			if strings.Contains(row.words, "in time") {
				l.AttemptTime = 40 * time.Millisecond
			}
			_, err := l.post(t.Context(), "https://sts.test")
			l.fails(err, fault.Unavailable, "sts.test "+strings.ReplaceAll(row.words, "PROXY that", host+" that"))
			if hints := strings.Join(fault.Hints(err), "\n"); !strings.Contains(hints, row.hint) || row.hint == "" && hints != "" {
				t.Errorf("hints %q, want one on %q", hints, row.hint)
			}
			if conns.Load() != row.conns {
				t.Errorf("%d connections, want %d", conns.Load(), row.conns)
			}
		})
	}
	for _, scheme := range []string{"http", "https", "socks5"} {
		t.Run("closed port, "+scheme, func(t *testing.T) {
			tr := transport()
			tr.Proxy = http.ProxyURL(&url.URL{Scheme: scheme, User: url.UserPassword(marker, marker), Host: closedPort(t)})
			l := newLab(t, tr)
			_, err := l.post(t.Context(), "https://sts.test")
			l.fails(err, fault.Unavailable, " that HTTPS_PROXY names (tried 3 times)")
		})
	}
	t.Run("a certificate nobody knows", func(t *testing.T) {
		host, _ := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{newCA(t).issue(t, nil)}})
		tr := transport()
		tr.Proxy = http.ProxyURL(&url.URL{Scheme: "https", Host: host})
		l := newLab(t, trusting(t, newCA(t), tr))
		_, err := l.post(t.Context(), "https://sts.test")
		l.fails(err, fault.Unavailable, "sts.test cannot be reached through the proxy ")
	})
	t.Run("a variable that is no URL", func(t *testing.T) {
		tr := transport()
		tr.Proxy = func(*http.Request) (*url.URL, error) { return nil, errors.New("invalid proxy address " + marker) }
		l := newLab(t, tr)
		_, err := l.post(t.Context(), "https://sts.test")
		l.fails(err, fault.Unavailable, "sts.test ")
	})
	// It works: the proxy passes bytes on to a server that only it can reach.
	t.Run("good", func(t *testing.T) {
		a := newCA(t)
		server, requests := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{a.issue(t, nil)}})
		host, _ := listen(t, func(c net.Conn) {
			read(c)
			s, err := net.Dial("tcp", server)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = s.Close() }()
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
			go func() { _, _ = io.Copy(s, c); _ = s.Close() }()
			_, _ = io.Copy(c, s)
		})
		tr := transport()
		tr.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: host})
		l := newLab(t, trusting(t, a, tr))
		if _, err := l.post(t.Context(), "https://sts.test"); err != nil || requests.Load() != 1 {
			t.Errorf("%v after %d requests", err, requests.Load())
		}
	})
}
