package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	// foreign is what is said of an answer that is none of the cloud's.
	foreign = `, which is not an answer of (AWS STS|Google's|Vault's)$`
	twice   = ` \(tried 2 times\)`
	cut     = `closed the connection before the whole answer had come` + twice
	strange = `does not answer as an HTTP server does` + twice
	late    = `did not answer in time`
	html    = "<!doctype html><html><body>Please log in " + marker + "</body></html>"
	// The plain header of an answer, without its length.
	ok = "HTTP/1.1 200 OK\r\nX-Secret: " + marker + "\r\n"
)

// misbehaviours is the table.
func misbehaviours() []misbehaviour {
	return slices.Concat(statuses(), answers(), forms(), stages(), slow(), heads(), handshakes(), networks(), clocks())
}

// statuses has each status with a page that is nobody's.
func statuses() []misbehaviour {
	var all []misbehaviour
	for _, status := range []int{
		99, 201, 202, 203, 204, 205, 206, 226, 300, 301, 302, 303, 304, 305, 307, 308,
		400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421, 422, 423, 425, 426, 428, 429, 431, 451, 499,
		500, 501, 502, 503, 504, 505, 507, 508, 511, 520, 599, 600, 999,
	} {
		m := misbehaviour{name: fmt.Sprintf("status %d", status), exit: 5, says: foreign, serve: func(w *wire) {
			body := html
			if status == 204 || status == 304 {
				body = ""
			}
			w.sayf("HTTP/1.1 %03d %s\r\nLocation: /%s\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s", status, marker, marker, len(body), body)
		}}
		number := strconv.Itoa(status)
		switch {
		case status/100 == 3:
			m.says = "answers " + number + " and points elsewhere, which is not followed"
		case status == 408, status == 429, status >= 500 && status != 501:
			m.says = "answers " + number + twice
		case status == 204:
			m.says += `|holds no token|has no fields`
		case status == 404:
			m.at = map[string]string{"vault-login": `4 Vault refused the login auth/jwt/login: status 404`, "vault-read": `4 Vault has no secret secret/data/ci/app`}
		case status == 412: // a standby that lags behind
			m.at = map[string]string{"vault-login": "5 answers 412" + twice, "vault-read": "5 answers 412" + twice}
		}
		all = append(all, m)
	}
	return all
}

// body answers 200 with a body.
func body(kind, text string) func(*wire) {
	return func(w *wire) {
		w.sayf("%sContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", ok, kind, len(text), text)
	}
}

// answers are 200, and not what was asked for.
func answers() []misbehaviour {
	return []misbehaviour{
		{name: "nothing", exit: 5, says: foreign, serve: body("text/plain", "")},
		{name: "a login page", exit: 5, says: foreign, serve: body("text/html", html)},
		{name: "another XML", exit: 5, says: foreign, serve: body("text/xml", "<ListAllMyBucketsResult><Owner>"+marker+"</Owner></ListAllMyBucketsResult>")},
		{name: "half an XML", exit: 5, says: foreign, serve: body("text/xml", "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><SecretAccessKey>"+marker)},
		{name: "XML that is infinitely deep", exit: 5, says: foreign, serve: body("text/xml", strings.Repeat("<a>", 100000))},
		{name: "XML that grows", exit: 5, says: foreign, serve: body("text/xml", `<!DOCTYPE a [<!ENTITY b "`+marker+marker+`"><!ENTITY c "&b;&b;&b;&b;">]><AssumeRoleWithWebIdentityResponse>&c;</AssumeRoleWithWebIdentityResponse>`)},
		{name: "another JSON", exit: 5, says: foreign + `|holds no (access )?token|has no fields`, serve: body("application/json", `{"message":"`+marker+`"}`)},
		{name: "JSON of other types", exit: 5, says: foreign, serve: body("application/json", `{"access_token":["`+marker+`"],"accessToken":{},"auth":7,"data":"x","expires_in":{}}`)},
		{name: "half a JSON", exit: 5, says: foreign, serve: body("application/json", `{"access_token":"`+marker)},
		{name: "a list", exit: 5, says: foreign, serve: body("application/json", `["`+marker+`"]`)},
		{name: "null", exit: 5, says: foreign + `|holds no (access )?token|has no fields`, serve: body("application/json", `null`)},
		{name: "JSON that is infinitely deep", exit: 5, says: foreign, serve: body("application/json", strings.Repeat(`{"auth":`, 100000))},
		{name: "two answers in one", exit: 5, says: foreign, serve: body("application/json", `{"access_token":"`+marker+`"}{"access_token":"`+marker+`"}`)},
		{name: "a refusal with status 200", exit: 5, says: foreign + `|holds no (access )?token|has no fields`, serve: body("application/json", `{"error":"invalid_grant","error_description":"`+marker+`","errors":["`+marker+`"]}`)},
		{name: "zeros", exit: 5, says: foreign, serve: body("application/octet-stream", strings.Repeat("\x00", 4096))},
	}
}

// rewritten answers with the sandbox's own answer, changed.
func rewritten(change func(head, body string) string) func(*wire) {
	return func(w *wire) {
		head, body, _ := strings.Cut(string(w.good()), "\r\n\r\n")
		w.say([]byte(change(head, body)))
	}
}

// withoutHeader takes a header out of a head.
func withoutHeader(head, name string) string {
	lines := strings.Split(head, "\r\n")
	return strings.Join(slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(strings.ToLower(l), strings.ToLower(name)+":") }), "\r\n")
}

func packed(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(text))
	_ = z.Close()
	return b.String()
}

// forms are good answers in strange form, which are good, and bombs.
func forms() []misbehaviour {
	long := func(n int) string { return strings.Repeat("x", n) }
	bomb := packed(long(50 << 20))
	return []misbehaviour{
		{name: "good", serve: rewritten(func(head, body string) string { return head + "\r\n\r\n" + body })},
		{name: "good, of another type", serve: rewritten(func(head, body string) string {
			return withoutHeader(head, "Content-Type") + "\r\nContent-Type: image/png\r\n\r\n" + body
		})},
		{name: "good, of another charset", serve: rewritten(func(head, body string) string {
			return withoutHeader(head, "Content-Type") + "\r\nContent-Type: text/xml; charset=ebcdic-" + marker + "\r\n\r\n" + body
		})},
		{name: "good, compressed", serve: rewritten(func(head, body string) string {
			body = packed(body)
			return withoutHeader(head, "Content-Length") + "\r\nContent-Encoding: gzip\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
		})},
		{name: "good, in chunks", serve: rewritten(func(head, body string) string {
			head = withoutHeader(head, "Content-Length") + "\r\nTransfer-Encoding: chunked\r\n\r\n"
			for _, c := range []byte(body) {
				head += "1\r\n" + string(c) + "\r\n"
			}
			return head + "0\r\nX-Trailer: " + marker + "\r\n\r\n"
		})},
		{name: "good, with no end but the connection's", serve: rewritten(func(head, body string) string {
			return withoutHeader(head, "Content-Length") + "\r\nConnection: close\r\n\r\n" + body
		})},
		{name: "good, and more behind it", serve: rewritten(func(head, body string) string { return head + "\r\n\r\n" + body + html })},
		{name: "good, after five informational answers", serve: rewritten(func(head, body string) string {
			return strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </"+marker+">\r\n\r\n", 5) + head + "\r\n\r\n" + body
		})},
		{name: "good, after 500 broken", serve: func(w *wire) {
			if w.n == 1 {
				body("text/html", html)(&wire{Conn: errorStatus{w.Conn}})
				return
			}
			w.say(w.good())
		}},
		{name: "in UTF-16", exit: 5, says: foreign, serve: rewritten(func(head, body string) string {
			wide := "\xff\xfe" + strings.Join(strings.Split(body, ""), "\x00") + "\x00"
			return withoutHeader(head, "Content-Length") + "\r\nContent-Length: " + strconv.Itoa(len(wide)) + "\r\n\r\n" + wide
		})},
		{name: "in two encodings", exit: 5, says: foreign, serve: rewritten(func(head, body string) string {
			body = packed(packed(body))
			return withoutHeader(head, "Content-Length") + "\r\nContent-Encoding: gzip\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
		})},
		{name: "said to be compressed", exit: 5, says: strange, serve: func(w *wire) {
			w.sayf("%sContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", ok, len(html), html)
		}},
		{name: "half compressed", exit: 5, says: cut, serve: func(w *wire) {
			half := packed(html)[:30]
			w.sayf("%sContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", ok, len(half), half)
		}},
		{name: "3 MB", exit: 5, says: "sent more than 1 MiB", serve: body("text/html", long(3<<20))},
		{name: "3 MB without a length", exit: 5, says: "sent more than 1 MiB", serve: func(w *wire) { w.sayf("%s\r\n%s", ok, long(3<<20)) }},
		{name: "endless chunks", exit: 5, says: "sent more than 1 MiB", serve: func(w *wire) {
			w.sayf("%sTransfer-Encoding: chunked\r\n\r\n", ok)
			for chunk := fmt.Appendf(nil, "10000\r\n%s\r\n", long(0x10000)); ; {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}},
		{name: "a compressed bomb", exit: 5, says: "sent more than 1 MiB", serve: func(w *wire) {
			w.sayf("%sContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", ok, len(bomb), bomb)
		}},
	}
}

// errorStatus makes what is written an error's answer.
type errorStatus struct{ net.Conn }

func (e errorStatus) Write(b []byte) (int, error) {
	return e.Conn.Write(bytes.Replace(b, []byte("200 OK"), []byte("500 Internal Server Error"), 1))
}

// stages are where a connection ends, is reset or lies about its length.
func stages() []misbehaviour {
	reset := `cannot be reached: (connection reset by peer|broken pipe|.*forcibly closed.*)` + twice // the last is Windows'
	gone := `(` + cut + `|` + reset + `)`                                                            // which of the two comes is the system's to say
	part := func(text string, end func(*wire)) func(*wire) {
		return func(w *wire) { w.say([]byte(text)); end(w) }
	}
	closed, dropped := func(*wire) {}, (*wire).reset
	half := ok + "Content-Length: 4000\r\n\r\n<half " + marker
	return []misbehaviour{
		{name: "closed at once", exit: 5, says: gone, accept: func(c net.Conn) {}},
		{name: "reset at once", exit: 5, says: gone, accept: func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }},
		{name: "closed after the request", exit: 5, says: cut, serve: part("", closed)},
		{name: "reset after the request", exit: 5, says: gone, serve: part("", dropped)},
		{name: "closed in the status line", exit: 5, says: strange, serve: part("HTTP/1.1 20", closed)},
		{name: "reset in the status line", exit: 5, says: gone + "|" + strange, serve: part("HTTP/1.1 20", dropped)},
		{name: "closed in the header", exit: 5, says: cut, serve: part(ok, closed)},
		{name: "reset in the header", exit: 5, says: gone, serve: part(ok, dropped)},
		{name: "closed before the body", exit: 5, says: cut, serve: part(ok+"Content-Length: 4000\r\n\r\n", closed)},
		{name: "closed in the body", exit: 5, says: cut, serve: part(half, closed)},
		{name: "reset in the body", exit: 5, says: gone, serve: part(half, dropped)},
		{name: "closed in a chunk", exit: 5, says: cut, serve: part(ok+"Transfer-Encoding: chunked\r\n\r\nff\r\n"+marker, closed)},
		{name: "closed before the last chunk", exit: 5, says: cut, serve: part(ok+"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", closed)},
		{name: "no chunks, though it says so", exit: 5, says: strange, serve: part(ok+"Transfer-Encoding: chunked\r\n\r\n"+html+"\r\n", closed)},
		{name: "a chunk of an absurd length", exit: 5, says: strange, serve: part(ok+"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", closed)},
		{name: "a chunk longer than it says", exit: 5, says: strange, serve: part(ok+"Transfer-Encoding: chunked\r\n\r\n2\r\n{} and "+marker+"\r\n0\r\n\r\n", closed)},
		{name: "shorter than it says", exit: 5, says: foreign, serve: rewritten(func(head, body string) string {
			return withoutHeader(head, "Content-Length") + "\r\nContent-Length: 10\r\n\r\n" + body
		})},
		{name: "of two lengths", exit: 5, says: strange, serve: part(ok+"Content-Length: 3\r\nContent-Length: 4\r\n\r\n"+marker, closed)},
		{name: "of a negative length", exit: 5, says: strange, serve: part(ok+"Content-Length: -1\r\n\r\n"+marker, closed)},
		{name: "of a length in words", exit: 5, says: strange, serve: part(ok+"Content-Length: "+marker+"\r\n\r\n", closed)},
		{name: "of an unknown encoding", exit: 5, says: strange, serve: part(ok+"Transfer-Encoding: "+marker+"\r\n\r\n", closed)},
	}
}

// slow are servers that make one wait.
func slow() []misbehaviour {
	drip := func(w *wire, text string) {
		for i := 0; ; i++ {
			if _, err := w.Write([]byte{text[i%len(text)]}); err != nil {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	short := []string{"--timeout", "700ms"}
	return []misbehaviour{
		{name: "silent", exit: 5, says: late, args: short, serve: (*wire).gone},
		{name: "silent after the header", exit: 5, says: late, args: short, serve: func(w *wire) { w.sayf("%sContent-Length: 10\r\n\r\n", ok); w.gone() }},
		{name: "silent in the body", exit: 5, says: late, args: short, serve: func(w *wire) { w.sayf("%sContent-Length: 100\r\n\r\n%s", ok, marker); w.gone() }},
		{name: "a slow status line", exit: 5, says: late, args: short, serve: func(w *wire) { w.sayf("HTTP/1.1 200 "); drip(w, "O") }},
		{name: "a slow header", exit: 5, says: late, args: short, serve: func(w *wire) { w.sayf("%s", ok); drip(w, "X-Slow: "+marker+"\r\n") }},
		{name: "a slow body", exit: 5, says: late, args: short, serve: func(w *wire) { w.sayf("%s\r\n", ok); drip(w, html) }},
		{name: "slow chunks", exit: 5, says: late, args: short, serve: func(w *wire) {
			w.sayf("%sTransfer-Encoding: chunked\r\n\r\n", ok)
			drip(w, "1\r\nx\r\n")
		}},
		{name: "asks to wait too long", exit: 5, says: `answers 429; it asks to wait 10m0s`, serve: func(w *wire) {
			w.sayf("HTTP/1.1 429 Slow\r\nRetry-After: 600\r\nContent-Length: 0\r\n\r\n")
		}},
		{name: "asks to wait until a date that is past", exit: 5, says: `answers 503` + twice, serve: func(w *wire) {
			w.sayf("HTTP/1.1 503 Down\r\nRetry-After: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n")
		}},
	}
}

// heads are heads of answers that are no HTTP, too large, or lead elsewhere.
func heads() []misbehaviour {
	raw := func(text string) func(*wire) { return func(w *wire) { w.say([]byte(text)) } }
	elsewhere := func(status int, to string) func(*wire) {
		return raw(fmt.Sprintf("HTTP/1.1 %d Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n", status, to))
	}
	moved := func(status int) string {
		return fmt.Sprintf("answers %d and points elsewhere, which is not followed$", status)
	}
	return []misbehaviour{
		{name: "SSH", exit: 5, says: strange, serve: raw("SSH-2.0-" + marker + "\r\n")},
		{name: "HTTP/0.9", exit: 5, says: strange, serve: raw(html)},
		{name: "HTTP/1.0, good", serve: rewritten(func(head, body string) string {
			return strings.Replace(head, "HTTP/1.1", "HTTP/1.0", 1) + "\r\n\r\n" + body
		})},
		{name: "HTTP/2", exit: 5, says: strange, serve: raw("\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64\x00\x04\x00\x60\x00\x00\x00\x06\x00\x04\x00\x00")},
		{name: "HTTP/9.9", exit: 5, says: strange, serve: raw("HTTP/9.9.9 200 OK\r\n\r\n")},
		{name: "a status in words", exit: 5, says: strange, serve: raw("HTTP/1.1 " + marker + " OK\r\n\r\n")},
		{name: "a header without a colon", exit: 5, says: strange, serve: raw("HTTP/1.1 200 OK\r\n" + marker + "\r\n\r\n")},
		{name: "a header with a blank in its name", exit: 5, says: foreign, serve: raw("HTTP/1.1 200 OK\r\nX " + marker + ": y\r\n\r\n")},
		{name: "a header with a zero in it", exit: 5, says: strange, serve: raw("HTTP/1.1 200 OK\r\nX: \x00" + marker + "\r\n\r\n")},
		{name: "a long header", exit: 5, says: strange, serve: raw(ok + "X-Long: " + strings.Repeat("x", 1<<20) + "\r\n\r\n")},
		{name: "a long status line", exit: 5, says: strange, serve: raw("HTTP/1.1 200 " + strings.Repeat("x", 1<<20) + "\r\n\r\n")},
		{name: "100,000 headers", exit: 5, says: strange, serve: raw(ok + strings.Repeat("X: y\r\n", 100000) + "\r\n")},
		{name: "101", exit: 5, says: "answers 101, which nobody asked for", serve: func(w *wire) {
			w.sayf("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n%s", marker)
			w.gone()
		}},
		{name: "a flood of informational answers", exit: 5, says: strange, serve: func(w *wire) {
			for range 100000 {
				if _, err := w.Write([]byte("HTTP/1.1 103 Early Hints\r\n\r\n")); err != nil {
					return
				}
			}
		}},
		{name: "redirected to another host", exit: 5, says: moved(307), serve: elsewhere(307, "https://evil.example/?"+marker)},
		{name: "redirected to plain http", exit: 5, says: moved(308), serve: elsewhere(308, "http://evil.example/")},
		{name: "redirected to itself", exit: 5, says: moved(302), serve: elsewhere(302, "/")},
		{name: "redirected to a file", exit: 5, says: moved(301), serve: elsewhere(301, "file:///etc/passwd")},
		{name: "redirected to nowhere", exit: 5, says: moved(302), serve: raw("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n")},
		{name: "asks for a password", exit: 5, says: foreign, serve: raw("HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"" + marker + "\"\r\nContent-Length: 0\r\n\r\n")},
		{name: "another answer on the connection", exit: 5, says: `answers 500` + twice, serve: func(w *wire) {
			// The first attempt's connection stays, and what comes next on it was
			// not asked for.
			w.sayf("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
			w.gone()
		}},
		{name: "good, but the connection ends as the next request comes", args: []string{"--max-attempts", "3"}, serve: func(w *wire) {
			if w.n > 1 {
				w.say(w.good())
				return
			}
			w.sayf("HTTP/1.1 503 Down\r\nContent-Length: 0\r\n\r\n")
			one := make([]byte, 1)
			_, _ = w.r.Read(one) // the next request
			w.reset()
		}},
	}
}

// handshakes are TLS that goes wrong.
func handshakes() []misbehaviour {
	cert := func(edit func(*x509.Certificate)) func(*authority) *tls.Config {
		return func(a *authority) *tls.Config {
			return &tls.Config{Certificates: []tls.Certificate{a.issue(edit)}, MinVersion: tls.VersionTLS12}
		}
	}
	good := (*authority).good
	version := func(v uint16) func(*authority) *tls.Config {
		return func(a *authority) *tls.Config {
			return &tls.Config{Certificates: a.good().Certificates, MinVersion: v, MaxVersion: v} // #nosec G402 -- the point of it
		}
	}
	hour := time.Hour
	expired := "has a certificate that has expired or is not valid yet$"
	unknown := "has a certificate of an unknown authority"
	return []misbehaviour{
		{name: "TLS, good", tls: good, serve: rewritten(func(head, body string) string { return head + "\r\n\r\n" + body })},
		{name: "TLS, silent", tls: good, exit: 5, says: late, args: []string{"--timeout", "1s"}, serve: (*wire).gone},
		{name: "TLS, closed without a word", tls: good, exit: 5, says: cut, serve: func(w *wire) { _ = w.raw.Close() }},
		{name: "TLS 1.0", tls: version(tls.VersionTLS10), exit: 5, says: "refuses the TLS connection: protocol version not supported|has a certificate that is not valid|does not speak TLS|does not answer as an HTTPS server does"},
		{name: "TLS 1.1", tls: version(tls.VersionTLS11), exit: 5, says: "refuses the TLS connection: protocol version not supported|does not answer as an HTTPS server does"},
		{name: "an expired certificate", exit: 5, says: expired, tls: cert(func(c *x509.Certificate) { c.NotBefore, c.NotAfter = time.Now().Add(-2*hour), time.Now().Add(-hour) })},
		{name: "a certificate of tomorrow", exit: 5, says: expired, tls: cert(func(c *x509.Certificate) { c.NotBefore, c.NotAfter = time.Now().Add(23*hour), time.Now().Add(24*hour) })},
		{name: "another host's certificate", exit: 5, says: "has a certificate for another host", tls: cert(func(c *x509.Certificate) { c.IPAddresses = nil; c.DNSNames = []string{marker + ".test"} })},
		{name: "a certificate that names nobody", exit: 5, says: "has a certificate for another host|has a certificate that is not valid", tls: cert(func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, nil })},
		{name: "a client's certificate", exit: 5, says: "has a certificate that is not valid", tls: cert(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })},
		{name: "its own authority", exit: 5, says: unknown, tls: func(a *authority) *tls.Config { return newAuthority(a.t).good() }},
		{name: "self-signed", exit: 5, says: unknown, tls: func(a *authority) *tls.Config { return a.selfSigned() }},
		{name: "signed by a leaf", exit: 5, says: unknown + "|has a certificate that is not valid", tls: func(a *authority) *tls.Config { return a.byLeaf() }},
		{name: "wants a certificate of its clients", exit: 5, says: "refuses the TLS connection: ", tls: func(a *authority) *tls.Config {
			c := a.good()
			c.ClientAuth = tls.RequireAnyClientCert
			return c
		}},
		{name: "plain HTTP where TLS was meant", tls: good, exit: 5, says: "does not speak TLS", accept: func(c net.Conn) {
			_, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n" + marker))
		}},
		{name: "closed in the handshake", tls: good, exit: 5, says: cut + `|connection reset by peer` + twice, accept: func(net.Conn) {}},
		{name: "silent in the handshake", tls: good, exit: 5, says: late, args: []string{"--timeout", "700ms"}, accept: func(c net.Conn) {
			_, _ = c.Read(make([]byte, 10))
			_, _ = c.Read(make([]byte, 1<<20))
			_, _ = c.Read(make([]byte, 1)) // until the client has gone
		}},
		{name: "garbage in the handshake", tls: good, exit: 5, says: cut, accept: func(c net.Conn) {
			_, _ = c.Read(make([]byte, 5))
			_, _ = c.Write(append([]byte{22, 3, 3, 0, 80}, strings.Repeat(marker, 5)...))
			_, _ = c.Read(make([]byte, 1<<20))
		}},
	}
}

// networks are what lies between here and the server.
func networks() []misbehaviour {
	// Every connection fails but those before the leg's own.
	fails := func(err error) func(faultRun, *http.Transport, string) {
		return func(f faultRun, tr *http.Transport, addr string) {
			dial, n := tr.DialContext, new(atomic.Int32)
			tr.DialContext = func(ctx context.Context, network, to string) (net.Conn, error) {
				if to != addr || n.Add(1) == 1 && !f.first {
					return dial(ctx, network, to)
				}
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
			}
		}
	}
	proxy := func(serve func(net.Conn)) func(faultRun, *http.Transport, string) {
		return func(f faultRun, tr *http.Transport, _ string) { f.viaProxy(tr, serve) }
	}
	says := func(text string) func(net.Conn) {
		return func(c net.Conn) { _, _ = c.Read(make([]byte, 4096)); _, _ = c.Write([]byte(text)) }
	}
	good := (*authority).good
	here := `cannot be reached through the proxy \S+ that HTTPS_PROXY names` + twice
	return []misbehaviour{
		{name: "no such host", exit: 5, says: "cannot be found: no such host" + twice, network: fails(&net.DNSError{Err: "no such host", Name: marker, Server: marker, IsNotFound: true})},
		{name: "DNS that does not work", exit: 5, says: "cannot be found: server misbehaving" + twice, network: fails(&net.DNSError{Err: "server misbehaving", Name: marker, Server: marker, IsTemporary: true})},
		{name: "DNS that does not answer", exit: 5, says: "cannot be found: i/o timeout" + twice, network: fails(&net.DNSError{Err: "i/o timeout", Name: marker, Server: marker, IsTimeout: true})},
		{name: "nobody listens", exit: 5, says: "cannot be reached: connection refused" + twice, network: fails(syscall.ECONNREFUSED)},
		{name: "a proxy that nobody runs", tls: good, exit: 5, says: here, network: func(f faultRun, tr *http.Transport, _ string) {
			fails(syscall.ECONNREFUSED)(f, tr, f.viaProxy(tr, nil))
		}},
		{name: "a proxy that wants a password", tls: good, exit: 5, says: "the proxy \\S+ that HTTPS_PROXY names answers 407\n.*hint: the proxy wants a user name and a password", network: proxy(says("HTTP/1.1 407 " + marker + "\r\nProxy-Authenticate: Basic realm=\"" + marker + "\"\r\n\r\n"))},
		{name: "a proxy that forbids", tls: good, exit: 5, says: "the proxy \\S+ that HTTPS_PROXY names answers 403\n.*hint: the proxy must let this job connect", network: proxy(says("HTTP/1.1 403 " + marker + "\r\n\r\n" + html))},
		{name: "a proxy that has no way", tls: good, exit: 5, says: `the proxy \S+ that HTTPS_PROXY names answers 502` + twice, network: proxy(says("HTTP/1.1 502 " + marker + "\r\n\r\n" + html))},
		{name: "a proxy that says nothing", tls: good, exit: 5, says: late, args: []string{"--timeout", "700ms"}, network: proxy(func(c net.Conn) {
			_, _ = c.Read(make([]byte, 4096))
			_, _ = c.Read(make([]byte, 1)) // until the client has gone
		})},
		{name: "a proxy that hangs up", tls: good, exit: 5, says: cut, network: proxy(says(""))},
		{name: "a proxy that speaks nonsense", tls: good, exit: 5, says: "does not answer as an HTTPS server does", network: proxy(says("SSH-2.0-" + marker + "\r\n"))},
		{name: "a proxy that connects to nothing", tls: good, exit: 5, says: cut + `|connection reset by peer` + twice, network: proxy(says("HTTP/1.1 200 OK\r\n\r\n"))},
		{name: "a proxy that redirects", tls: good, exit: 5, says: `the proxy \S+ that HTTPS_PROXY names answers 302$`, network: proxy(says("HTTP/1.1 302 Found\r\nLocation: https://evil.example/" + marker + "\r\n\r\n"))},
		{name: "a proxy that looks into TLS", tls: func(a *authority) *tls.Config { return newAuthority(a.t).good() }, exit: 5, says: "has a certificate of an unknown authority"},
	}
}

// viaProxy has a proxy in between that misbehaves after the leg's earlier calls, and
// returns its address.
func (f faultRun) viaProxy(tr *http.Transport, serve func(net.Conn)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = l.Close() })
	tr.Proxy = func(r *http.Request) (*url.URL, error) {
		if r.URL.Scheme == "http" {
			return nil, nil // another of the clouds'
		}
		return &url.URL{Scheme: "http", Host: l.Addr().String()}, nil
	}
	go func() {
		for n := 1; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if n == 1 && !f.first {
				go tunnel(c)
				continue
			}
			go func() {
				defer func() { _ = c.Close() }()
				serve(c)
			}()
		}
	}()
	return l.Addr().String()
}

// tunnel is a proxy that does what it should.
func tunnel(c net.Conn) {
	defer func() { _ = c.Close() }()
	r := bufio.NewReader(c)
	req, err := http.ReadRequest(r)
	if err != nil {
		return
	}
	to, err := net.Dial("tcp", req.Host)
	if err != nil {
		return
	}
	defer func() { _ = to.Close() }()
	_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\n\r\n"))
	go func() { _, _ = io.Copy(to, r) }()
	_, _ = io.Copy(c, to)
}

// clocks are a machine's that is wrong; the servers' are right.
func clocks() []misbehaviour {
	return []misbehaviour{
		{name: "the clock is ten minutes ahead", clock: 10 * time.Minute},
		{name: "the clock is ten minutes behind", clock: -10 * time.Minute},
		{name: "the clock is two hours ahead", clock: 2 * time.Hour, exit: 3, says: "the token in CIRCLE_OIDC_TOKEN expired .* ago"},
		{name: "the clock stands at 1970", clock: -time.Since(time.Unix(0, 0)), exit: 0},
	}
}

// newAuthority makes one, which may be a server itself.
func newAuthority(t *testing.T, addresses ...net.IP) *authority {
	return newAuthorityNamed(t, marker, addresses...)
}

func newAuthorityNamed(t *testing.T, name string, addresses ...net.IP) *authority {
	a := &authority{t: t}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a.key = key
	a.cert = a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name},
		IsCA:    true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, IPAddresses: addresses,
		NotBefore: time.Now().Add(-100 * time.Hour), NotAfter: time.Now().Add(100 * time.Hour),
	}, nil, key)
	return a
}

func (a *authority) sign(c, parent *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	c.SerialNumber = big.NewInt(1)
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return signed
}

// issue makes a server's certificate, changed by edit.
func (a *authority) issue(edit func(*x509.Certificate)) tls.Certificate {
	c := &x509.Certificate{
		Subject:   pkix.Name{CommonName: marker},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if edit != nil {
		edit(c)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{a.sign(c, a.cert, key).Raw}, PrivateKey: key}
}

func (a *authority) selfSigned() *tls.Config {
	own := newAuthority(a.t, net.IPv4(127, 0, 0, 1))
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{own.cert.Raw}, PrivateKey: own.key}}, MinVersion: tls.VersionTLS12}
}

// byLeaf has a server's certificate sign another's.
func (a *authority) byLeaf() *tls.Config {
	leaf := a.issue(nil)
	cert, err := x509.ParseCertificate(leaf.Certificate[0])
	if err != nil {
		a.t.Fatal(err)
	}
	below := &authority{t: a.t, cert: cert, key: leaf.PrivateKey}
	own := below.issue(nil)
	own.Certificate = append(own.Certificate, leaf.Certificate[0])
	return &tls.Config{Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS12}
}
