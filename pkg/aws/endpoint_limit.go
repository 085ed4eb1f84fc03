package aws

import (
	"net"
	"sync"
)

// limitListener returns a listener with a bound on the connections that are open. One
// more takes the place of the oldest: a stranger who keeps connections open must not
// keep the command's own out, which are short.
func limitListener(l net.Listener, n int) net.Listener {
	return &limited{Listener: l, most: n}
}

type limited struct {
	net.Listener
	most int
	mu   sync.Mutex
	open []*limitedConn // the oldest first
}

func (l *limited) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	own := &limitedConn{Conn: c, of: l}
	l.mu.Lock()
	var oldest *limitedConn
	if len(l.open) >= l.most {
		oldest = l.open[0]
	}
	l.open = append(l.open, own)
	l.mu.Unlock()
	if oldest != nil {
		_ = oldest.Close()
	}
	return own, nil
}

type limitedConn struct {
	net.Conn
	of *limited
}

func (c *limitedConn) Close() error {
	c.of.mu.Lock()
	for i, other := range c.of.open {
		if other == c {
			c.of.open = append(c.of.open[:i], c.of.open[i+1:]...)
			break
		}
	}
	c.of.mu.Unlock()
	return c.Conn.Close()
}
