package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"
)

// A countedServer tells of each connection that begins and ends.
type countedServer struct {
	*httptest.Server
	begun, ended chan struct{}
}

func newCountedServer(t *testing.T, ca *authority) countedServer {
	t.Helper()
	s := countedServer{httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })),
		make(chan struct{}, 100), make(chan struct{}, 100)}
	leaf := sign(t, ca, "server")
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.cert.Raw}, PrivateKey: leaf.key}}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			s.begun <- struct{}{}
		case http.StateClosed:
			s.ended <- struct{}{}
		}
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// An aheadLab is a client whose connections can be made to fail.
type aheadLab struct {
	Client
	mu     sync.Mutex
	dialed int
	fail   error // of the first dial
	made   chan struct{}
	clock  time.Time
}

func newAheadLab(ca *authority) *aheadLab {
	lab := &aheadLab{clock: time.Unix(1_800_000_000, 0), made: make(chan struct{}, 100)}
	tr := NewTransport(func(string) string { return "" })
	tr.Proxy = nil
	d := &tlsDialer{dial: tr.DialContext, config: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: poolOf(ca)}, timeout: 10 * time.Second}
	tr.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		lab.mu.Lock()
		lab.dialed++
		err := lab.fail
		lab.fail = nil
		lab.mu.Unlock()
		defer func() { lab.made <- struct{}{} }()
		if err != nil {
			return nil, err
		}
		return d.dialTLS(ctx, network, addr)
	}
	lab.Client = Client{Transport: tr, Now: func() time.Time { lab.mu.Lock(); defer lab.mu.Unlock(); return lab.clock }}
	return lab
}

func (lab *aheadLab) dials() int { lab.mu.Lock(); defer lab.mu.Unlock(); return lab.dialed }

func TestEarlyConnection(t *testing.T) {
	ca := sign(t, nil, "Amazon Root CA 1")
	for _, row := range []struct {
		name  string
		set   func(*aheadLab)
		wait  time.Duration // between the connection and the call
		calls int
		dials int
	}{
		{"the call takes the connection", nil, 0, 1, 1},
		{"a second call keeps it", nil, 0, 2, 1},
		{"it stands too long", nil, aheadAge, 1, 2},
		{"it fails", func(lab *aheadLab) { lab.fail = errors.New("no route") }, 0, 1, 2},
		{"nobody calls", nil, 0, 0, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			s, lab := newCountedServer(t, ca), newAheadLab(ca)
			if row.set != nil {
				row.set(lab)
			}
			c, done := lab.PreDial(t.Context(), s.URL+"/path")
			<-lab.made
			lab.mu.Lock()
			lab.clock = lab.clock.Add(row.wait)
			lab.mu.Unlock()
			for range row.calls {
				if a, err := c.Call(t.Context(), Request{URL: s.URL}); err != nil || string(a.Body) != "hello" {
					t.Fatal(a, err)
				}
			}
			done()
			if lab.dials() != row.dials {
				t.Errorf("%d connections, want %d", lab.dials(), row.dials)
			}
			// All that was opened is closed.
			for range len(s.begun) {
				<-s.ended
			}
		})
	}
}

// The server's own certificate is verified on the early connection as on any.
func TestEarlyConnectionTrustsNobodyElse(t *testing.T) {
	s, lab := newCountedServer(t, sign(t, nil, "Amazon Root CA 1")), newAheadLab(sign(t, nil, "Amazon Root CA 1"))
	c, done := lab.PreDial(t.Context(), s.URL)
	defer done()
	if a, err := c.Call(t.Context(), Request{URL: s.URL}); err == nil {
		t.Errorf("%s", a.Body)
	}
}

func TestEarlyConnectionIsForItsHostAlone(t *testing.T) {
	ca := sign(t, nil, "Amazon Root CA 1")
	one, other, lab := newCountedServer(t, ca), newCountedServer(t, ca), newAheadLab(ca)
	c, done := lab.PreDial(t.Context(), one.URL)
	if _, err := c.Call(t.Context(), Request{URL: other.URL}); err != nil {
		t.Fatal(err)
	}
	<-other.begun
	done()
	if lab.dials() != 2 {
		t.Errorf("%d connections", lab.dials())
	}
}

// An end of the command ends a connection that never comes about.
func TestEarlyConnectionEnds(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	lab := newAheadLab(sign(t, nil, "Amazon Root CA 1"))
	_, done := lab.PreDial(t.Context(), "https://"+silent.Addr().String())
	done() // returns
}

func TestNoEarlyConnection(t *testing.T) {
	ca := sign(t, nil, "Amazon Root CA 1")
	for _, row := range []struct {
		name, url string
		proxy     func(*http.Request) (*url.URL, error)
	}{
		{"plain HTTP", "http://127.0.0.1:1", nil},
		{"no URL", "https://[", nil},
		{"no host", "https://", nil},
		{"a proxy", "https://127.0.0.1:1", http.ProxyURL(&url.URL{Scheme: "http", Host: "proxy:3128"})},
		{"a proxy that is none", "https://127.0.0.1:1", func(*http.Request) (*url.URL, error) { return nil, errors.New("bad proxy") }},
	} {
		lab := newAheadLab(ca)
		lab.Transport.(*http.Transport).Proxy = row.proxy
		c, done := lab.PreDial(t.Context(), row.url)
		done()
		if c != &lab.Client || lab.dials() != 0 {
			t.Errorf("%s: %d connections", row.name, lab.dials())
		}
	}
}
