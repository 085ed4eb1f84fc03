package remote

import (
	"net/http"
	"os"
	"time"
)

// libraryAttempts is how often a call is made for a Go program, as for a command.
const libraryAttempts = 5

// Library is what a Go program that uses the packages gives of its surroundings. Nil
// means the machine's own.
type Library struct {
	Transport http.RoundTripper
	Now       func() time.Time
	Getenv    func(string) string
}

// Lookup returns Getenv, or the environment.
func (l Library) Lookup() func(string) string {
	if l.Getenv == nil {
		return os.Getenv
	}
	return l.Getenv
}

// Clock returns Now, or the machine's clock.
func (l Library) Clock() func() time.Time {
	if l.Now == nil {
		return time.Now
	}
	return l.Now
}

// Client returns a client for the program.
func (l Library) Client() *Client {
	c := &Client{Transport: l.Transport, Now: l.Clock(), Attempts: libraryAttempts}
	if c.Transport == nil {
		c.Transport = NewTransport(l.Lookup())
	}
	return c
}
