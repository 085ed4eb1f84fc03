package remote

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"
)

// aheadAge is how long a connection that nothing was sent on is taken: servers
// and middle boxes end those that stay silent.
const aheadAge = 5 * time.Second

// PreDial begins to connect to target's host, and returns a client whose first call
// there takes that connection: what the call would wait for passes while another
// one is under way. When it comes to nothing, or there is nothing to gain (a
// proxy, plain HTTP, a transport that is not net/http's), the client connects as
// ever. done closes what was not used.
func (c *Client) PreDial(ctx context.Context, target string) (ahead *Client, done func()) {
	t, ok := c.Transport.(*http.Transport)
	u, err := url.Parse(target)
	if !ok || err != nil || u.Scheme != "https" || Allowed(u) != nil || t.DialTLSContext == nil || proxied(t, u) {
		return c, func() {}
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	ctx, cancel := context.WithCancel(ctx)
	early := &earlyConn{addr: net.JoinHostPort(u.Hostname(), port), ready: make(chan struct{}), since: c.Now(), now: c.Now, dial: t.DialTLSContext}
	go early.connect(ctx)
	own := t.Clone()
	own.DialTLSContext = early.dialTLS
	client := *c
	client.Transport = own
	return &client, func() {
		cancel()
		<-early.ready
		if conn := early.take(); conn != nil {
			_ = conn.Close()
		}
		own.CloseIdleConnections()
	}
}

func proxied(t *http.Transport, u *url.URL) bool {
	if t.Proxy == nil {
		return false
	}
	proxy, err := t.Proxy(&http.Request{URL: u})
	return err != nil || proxy != nil
}

// An earlyConn is a connection that is made before it is asked for.
type earlyConn struct {
	addr  string
	since time.Time
	ready chan struct{} // closed when conn is there, or an error was
	conn  net.Conn
	taken atomic.Bool
	now   func() time.Time
	dial  func(ctx context.Context, network, addr string) (net.Conn, error)
}

func (e *earlyConn) connect(ctx context.Context) {
	defer close(e.ready)
	// An error is not told: the call that needs a connection makes its own, and
	// has an error of its own.
	if conn, err := e.dial(ctx, "tcp", e.addr); err == nil {
		e.conn = conn
	}
}

// take returns the connection once. It is called when ready is closed.
func (e *earlyConn) take() net.Conn {
	if e.taken.Swap(true) {
		return nil
	}
	return e.conn
}

// dialTLS is http.Transport's DialTLSContext.
func (e *earlyConn) dialTLS(ctx context.Context, network, addr string) (net.Conn, error) {
	if addr != e.addr || e.taken.Load() {
		return e.dial(ctx, network, addr)
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-e.ready:
	}
	conn := e.take()
	if conn != nil && e.now().Sub(e.since) < aheadAge {
		return conn, nil
	}
	if conn != nil {
		_ = conn.Close()
	}
	return e.dial(ctx, network, addr)
}
