package main

import (
	"io"
	"net"
	"net/url"
	"time"
)

// far puts a round trip between the clients and a server: a proxy below TLS that
// hands on each way's bytes half of it later, and the first ones a whole one
// later still, for the handshake of TCP that a real one would have waited for.
func far(server string, trip time.Duration) string {
	u, err := url.Parse(server)
	check(err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				there, err := net.Dial("tcp", u.Host)
				if err != nil {
					_ = near.Close()
					return
				}
				go later(there, near, trip/2, trip)
				later(near, there, trip/2, 0)
			}()
		}
	}()
	return "https://" + l.Addr().String()
}

// later copies from one connection to another, each piece late, and the end too.
func later(to, from net.Conn, late, first time.Duration) {
	type piece struct {
		bytes []byte
		due   time.Time
	}
	pieces := make(chan piece, 1024)
	go func() {
		defer close(pieces)
		for extra := first; ; extra = 0 {
			b := make([]byte, 32<<10)
			n, err := from.Read(b)
			pieces <- piece{b[:n], time.Now().Add(late + extra)}
			if err != nil {
				return
			}
		}
	}()
	for p := range pieces {
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.bytes); err != nil {
			break
		}
	}
	_ = to.Close()
	for range pieces { // so that the reader ends
	}
	_, _ = io.Copy(io.Discard, from)
}
