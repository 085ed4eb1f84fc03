// Package remote is the one HTTP client: every call that leaves the program
// goes through it. A call is bounded in time, attempts and size, follows no
// redirect, uses http:// to loopback only, and its errors hold neither a URL,
// a header nor a body, for those are where tokens travel.
package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

const (
	// maxAnswer bounds an answer's body. STS answers with 3 KB, a JWKS with 10.
	maxAnswer = 1 << 20
	// attemptTime bounds one attempt, so that a server which accepts and then
	// says nothing leaves time for another. Client.AttemptTime replaces it.
	attemptTime = 15 * time.Second
	// The pause after attempt n is drawn from [0, min(maxPause, firstPause·2ⁿ⁻¹)):
	// full jitter spreads the jobs of a fleet that failed at the same moment.
	// The figures are those with which a fleet that is given the time outlives an
	// outage of a minute, and a quota that is used up until the next: TestFleet.
	firstPause = time.Second
	maxPause   = 20 * time.Second
	// unknownHost bounds the attempts to reach a host whose name does not exist:
	// names come back from an outage, but a typing error is likelier.
	unknownHost = 5
)

// Client makes calls. Its zero value is not usable: Transport and Now are
// required.
type Client struct {
	Transport http.RoundTripper
	Now       func() time.Time
	// Attempts is how often a call is made at most; less than 1 means once.
	Attempts int
	// AttemptTime bounds one attempt; 0 means 15 seconds.
	AttemptTime time.Duration
	// From names the option or variable that an address came from, by host; what is
	// not in it is a default.
	From map[string]any
	// Origin returns what gave an option of From its value, a variable or the option
	// itself; nil: the option is named.
	Origin fault.Naming
	// CAVariable is the server's own variable that names a CA, for hints, beside
	// SSL_CERT_FILE; empty means that it has none.
	CAVariable string
	// Private says that the server's CA is likelier the user's own than the public's,
	// for hints.
	Private bool
	// ProxyFrom is the variable that the proxy is from; empty means HTTPS_PROXY.
	ProxyFrom string
	// Log is told of each attempt that will be repeated; nil means nobody is.
	Log func(format string, args ...any)

	// For tests: pause waits between attempts, nil means by the clock; draw
	// returns a part of the longest pause, nil means by chance.
	pause func(context.Context, time.Duration) error
	draw  func(time.Duration) time.Duration
}

// A Request is a call that can be made again.
type Request struct {
	Method string // as in net/http; empty means GET
	URL    string
	Header http.Header
	Body   []byte
	// Again says that an answer asks for another attempt although its status
	// does not; nil means that none does.
	Again func(Answer) bool
	// Final says that an answer is the last one although its status asks for another
	// attempt; nil means that none is.
	Final func(Answer) bool
	// Elects says that a 307 to the same path of another node means that a cluster is
	// electing its leader: the call is made again, at the same address.
	Elects bool
}

// An Answer is a whole response.
type Answer struct {
	Host   string
	Status int
	Header http.Header
	Body   []byte // at most 1 MiB
}

// Do makes one attempt and returns the response with its body read to the end.
// Its error is a *Failure, or the context's. It is what SDKs take as their HTTP
// client.
func (c *Client) Do(req *http.Request) (*http.Response, error) {
	if err := Allowed(req.URL); err != nil {
		return nil, err
	}
	limit := attemptTime
	if c.AttemptTime > 0 {
		limit = c.AttemptTime
	}
	ctx, cancel := context.WithTimeout(req.Context(), limit)
	defer cancel()
	host := c.named(req.URL.Host)
	// Not through an http.Client: it follows redirects, which would carry the
	// token to a host the user never named, and its errors hold the URL.
	res, err := c.Transport.RoundTrip(req.WithContext(ctx))
	if err != nil {
		return nil, c.failure(req, err)
	}
	defer func() { _ = res.Body.Close() }()
	switch res.StatusCode / 100 {
	case 1:
		// Only 101 gets here. Its body is the bare connection, which ctx does
		// not end: reading it would never return.
		return nil, &Failure{Host: host, Why: "answers 101, which nobody asked for"}
	case 3:
		return nil, &Failure{Host: host, Why: "answers " + strconv.Itoa(res.StatusCode) + " and points elsewhere, which is not followed", node: otherNode(req.URL, res)}
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return nil, c.failure(req, err)
	}
	if len(body) > maxAnswer {
		return nil, &Failure{Host: host, Why: "sent more than 1 MiB"}
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res, nil
}

// Call makes a request, again where that can help, and returns the answer
// whatever its status. After the last attempt with a status that asks for
// another one, the answer comes with a fault.Unavailable.
func (c *Client) Call(ctx context.Context, r Request) (Answer, error) {
	var a Answer
	err := c.Retry(ctx, func(ctx context.Context) error {
		a = Answer{}
		req, err := http.NewRequestWithContext(ctx, r.Method, r.URL, bytes.NewReader(r.Body))
		if err != nil {
			return fault.New(fault.Usage, "not a URL that can be called")
		}
		if r.Header != nil {
			req.Header = r.Header.Clone()
		}
		res, err := c.Do(req)
		if err != nil {
			return r.elected(err)
		}
		defer func() { _ = res.Body.Close() }()
		a = Answer{Host: req.URL.Host, Status: res.StatusCode, Header: res.Header}
		a.Body, err = io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil {
			return err
		}
		if r.Final != nil && r.Final(a) {
			return nil
		}
		if Transient(a.Status) || r.Again != nil && r.Again(a) {
			return &Failure{Host: c.named(req.URL.Host), Why: "answers " + strconv.Itoa(a.Status), Again: true, After: After(res, c.Now())}
		}
		return nil
	})
	return a, err
}

// otherNode returns the host that a 307 names for the same path and scheme, or "".
func otherNode(asked *url.URL, res *http.Response) string {
	to, err := res.Location()
	if err != nil || res.StatusCode != http.StatusTemporaryRedirect || to.Path != asked.Path || to.Scheme != asked.Scheme || to.Host == asked.Host {
		return ""
	}
	return to.Host
}

// elected makes a redirect to another node of the cluster a failure after which the
// call is made again: in a moment this address answers by itself.
func (r Request) elected(err error) error {
	var f *Failure
	if r.Elects && errors.As(err, &f) && f.node != "" {
		f.Again = true
		f.Hint = fmt.Sprintf("its cluster elects a leader, or the address is a standby's that forwards nothing: give the active node's (%.60q) or the load balancer's", f.node)
	}
	return err
}

// Retry calls attempt until it succeeds, fails with an error that is no
// *Failure with Again set, or time or attempts are used up. What it gives up on
// is a fault.Unavailable around the last error; any other error returns as it
// is.
func (c *Client) Retry(ctx context.Context, attempt func(context.Context) error) error {
	start := c.Now()
	final := func(f *Failure, err error, n int) error { return f.final(err, n, c.Now().Sub(start)) }
	for n := 1; ; n++ {
		err := attempt(ctx)
		var f *Failure
		if err == nil || !errors.As(err, &f) {
			return err
		}
		if ctx.Err() == context.Canceled {
			return context.Canceled // an interrupt is not the server's failure
		}
		if !f.Again || n >= c.Attempts || f.Attempts > 0 && n >= f.Attempts || ctx.Err() != nil {
			return final(f, err, n)
		}
		// On top of what the server asks for, too: it tells a whole fleet the same.
		wait := f.After + c.jitter(n)
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < wait {
			return final(f, err, n) // nothing would come after the pause
		}
		if c.Log != nil {
			c.Log("%v; trying again in %s", err, wait.Round(time.Millisecond))
		}
		if c.sleep(ctx, wait) != nil {
			if ctx.Err() == context.Canceled {
				return context.Canceled
			}
			return final(f, err, n)
		}
	}
}

// jitter is the pause after attempt n, beside what the server asked for.
func (c *Client) jitter(n int) time.Duration {
	longest := min(maxPause, firstPause<<min(n-1, 10))
	if c.draw != nil {
		return c.draw(longest)
	}
	return rand.N(longest) // #nosec G404 -- spreads load, guards nothing
}

func (c *Client) sleep(ctx context.Context, d time.Duration) error {
	if c.pause != nil {
		return c.pause(ctx, d)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Transient says that a status asks for another attempt: 408, 429 and 5xx but
// for 501.
func Transient(status int) bool {
	return status == http.StatusRequestTimeout || status == http.StatusTooManyRequests ||
		status >= 500 && status != http.StatusNotImplemented
}

// After returns the pause that an answer's Retry-After asks for (RFC 9110
// §10.2.3: seconds or a date), or 0.
func After(res *http.Response, now time.Time) time.Duration {
	v := res.Header.Get("Retry-After")
	if s, err := strconv.Atoi(v); err == nil && s > 0 {
		return time.Duration(min(s, 3600)) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil && t.After(now) {
		return min(t.Sub(now), time.Hour)
	}
	return 0
}

// Allowed refuses a URL that is not called because it would carry a token in the
// clear, or holds a password, as a fault.Usage.
func Allowed(u *url.URL) error {
	switch {
	case u.Hostname() == "": // "https://:443" would be this machine
		return fault.New(fault.Usage, "a URL without a host cannot be called")
	case u.User != nil:
		return fault.New(fault.Usage, "a URL with a user name or password in it is not called")
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	case u.Scheme == "http":
		return fault.New(fault.Usage, "http:// to %s would send the token unencrypted", u.Host).
			Hint("use https://; plain http:// is for 127.0.0.1, [::1] and localhost")
	}
	return fault.New(fault.Usage, "%s: only https:// is called", u.Host)
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
