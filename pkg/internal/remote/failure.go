package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// Failure is a call that brought no usable answer. Its text names the host and
// the cause, never the URL, a header or a body.
type Failure struct {
	Host  string        // host, with the port if the URL named one, and the option or variable it came from
	Why   string        // what it did: "answers 503", "cannot be reached: connection refused"
	Again bool          // another attempt can succeed
	After time.Duration // the pause the server asked for; 0: none
	Hint  string        // what the user can do; may be empty
	// Attempts bounds how often a call that fails so is made, where the client
	// allows more; 0: it does not.
	Attempts int

	alert bool   // the server ended the TLS handshake with an alert
	node  string // that a 307 named for the same path; "": none
}

// ErrTLSAlert is in the error of a connection that the server refused in the TLS
// handshake: it may want a certificate of its clients.
var ErrTLSAlert = errors.New("alert of the TLS server")

// Error returns "HOST WHY".
func (f *Failure) Error() string { return f.Host + " " + f.Why }

// final turns the last of n attempts, which took so long in all, into the
// command's error.
func (f *Failure) final(err error, n int, elapsed time.Duration) error {
	text := err.Error()
	elapsed = elapsed.Round(100 * time.Millisecond)
	if n > 1 {
		text = fmt.Sprintf("%s (tried %d times)", text, n)
	}
	switch {
	case f.After > 0:
		text += fmt.Sprintf("; it asks to wait %s", f.After)
	case elapsed > 0 && f.Again: // what no attempt can change was not waited for
		text += fmt.Sprintf(" after %s", elapsed)
	}
	e := fault.New(fault.Unavailable, "%s", text)
	for _, h := range fault.Hints(err) {
		e.Hint("%s", h)
	}
	for _, d := range fault.Details(err) {
		e.Detail("%s", d)
	}
	if f.Hint != "" {
		e.Hint("%s", f.Hint)
	}
	if f.alert {
		e.Cause(ErrTLSAlert)
	}
	return e
}

// closedIdle is what net/http says of a connection that ends before the request
// is written, or as it is. Its error has no name.
const closedIdle = "http: server closed idle connection"

// failure names the cause of a failed attempt. It goes by type, never by the
// error's text: net/http puts URLs and pieces of the answer into those.
func (c *Client) failure(req *http.Request, err error) error {
	if req.Context().Err() == context.Canceled {
		return context.Canceled
	}
	if roots := (rootsError{}); errors.As(err, &roots) {
		return fault.New(fault.Local, "%w", roots).Hint("name a file of PEM certificates with %s, or unset it", roots.variable)
	}
	if setting := (*fault.Error)(nil); errors.As(err, &setting) {
		return setting // a proxy that cannot be meant: every attempt would be the same
	}
	f := &Failure{Host: c.named(req.URL.Host), Again: true}
	proxied := c.through(req)
	var (
		proxy   proxyRefusal
		dns     *net.DNSError
		op      *net.OpError
		errno   syscall.Errno
		timeout interface{ Timeout() bool }
	)
	switch {
	// First the proxy: its certificate is not the host's.
	case errors.As(err, &op) && op.Op == "proxyconnect":
		f.Why = "cannot be reached through " + c.orProxy(proxied)
		f.Hint = "check the proxy's address in " + c.proxyFrom() + "; NO_PROXY names hosts to reach without it"
	case errors.As(err, &proxy):
		f.Why = "cannot be reached: " + c.orProxy(proxied) + " answers " + strconv.Itoa(int(proxy))
		f.Again = Transient(int(proxy))
		f.Hint = "the proxy must let this job connect to the host, NO_PROXY names hosts to reach without it"
		if proxy == http.StatusProxyAuthRequired {
			f.Hint = "the proxy wants a user name and a password, which belong in " + c.proxyFrom()
		}
	case c.untrusted(err, f):
	case errors.As(err, &dns):
		f.Why = "cannot be found: " + dns.Err
		f.Hint = "check the region and the address; does this network resolve public names?"
		if dns.IsNotFound {
			f.Attempts = unknownHost
		}
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		f.Why = "did not answer in time"
		if proxied != "" {
			f.Why = "did not answer in time through " + proxied
		}
	case errors.As(err, &errno):
		f.Why = "cannot be reached: " + errno.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), err.Error() == closedIdle:
		f.Why = "closed the connection before the whole answer had come"
	default:
		f.Why = "does not answer as an " + strings.ToUpper(req.URL.Scheme) + " server does"
	}
	return f
}

// untrusted fills f when the server's certificate or its TLS is the cause.
// Trying again does not change a certificate.
func (c *Client) untrusted(err error, f *Failure) bool {
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
		roots     x509.SystemRootsError
		record    tls.RecordHeaderError
		op        *net.OpError
	)
	switch {
	case errors.As(err, &authority):
		f.Why = "has a certificate of an unknown authority"
		f.Hint = "install the ca-certificates package in this image; behind a proxy of your own, name its CA with SSL_CERT_FILE"
		switch {
		case c.Private:
			f.Hint = "name the authority's certificate with " + c.CAVariable
		case c.CAVariable != "":
			f.Hint += " or " + c.CAVariable
		}
	case errors.As(err, &host):
		f.Why = "has a certificate for another host"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		f.Why = "has a certificate that has expired or is not valid yet"
		f.Hint = "is this machine's clock right?"
	case errors.As(err, &roots):
		f.Why = "cannot be verified: this image has no CA certificates"
		f.Hint = "install the ca-certificates package"
	case errors.As(err, &invalid), errors.As(err, &verify):
		f.Why = "has a certificate that is not valid"
	case errors.As(err, &record):
		f.Why = "does not speak TLS"
	// An alert of the server's, the only thing that crypto/tls names so. Its
	// type is not exported; its text is one of a fixed list.
	case errors.As(err, &op) && op.Op == "remote error":
		f.alert = true
		f.Why = "refuses the TLS connection: " + strings.TrimPrefix(op.Err.Error(), "tls: ")
	default:
		return false
	}
	f.Again = false
	return true
}

// orProxy is how a proxy is called in an error.
func (c *Client) orProxy(proxied string) string {
	if proxied == "" {
		return "the proxy that " + c.proxyFrom() + " names"
	}
	return proxied
}

// Clip makes one line of at most 500 bytes of a text.
func Clip(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > 500 {
		return strings.ToValidUTF8(text[:500], "") + "..."
	}
	return text
}
