package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/cli"
	"github.com/oidc-broker/oidc-broker/pkg/sandbox"
	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// A leg is a call of a provider's that goes wrong. All calls before it are
// answered by the sandbox.
type leg struct {
	name     string
	args     []string
	variable string // leads to the server that misbehaves
	part     string // of the paths whose calls go wrong
	first    bool   // the server is not called before
}

var legs = []leg{
	{"aws", []string{"aws", "--profile", "ci"}, "AWS_ENDPOINT_URL_STS", "", true},
	{"gcp-sts", []string{"gcp", "login", "--direct"}, "CLOUDSDK_API_ENDPOINT_OVERRIDES_STS", "", true},
	{"gcp-iam", []string{"gcp", "login"}, "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS", "", true},
	{"vault-login", []string{"vault", "login"}, "VAULT_ADDR", "/login", true},
	{"vault-read", []string{"vault", "read", "--secret", "secret/data/ci/app password"}, "VAULT_ADDR", "/secret/", false},
}

// A misbehaviour is what a server, or the network before it, does.
type misbehaviour struct {
	name string
	// serve writes whatever it likes once a request has come; the connection is
	// closed afterwards.
	serve func(*wire)
	// accept takes the connection over before anything is read from it.
	accept func(net.Conn)
	// tls makes the server speak TLS, with the certificate authority's help.
	tls func(*authority) *tls.Config
	// network changes how the client gets to the server, which is at addr.
	network func(f faultRun, tr *http.Transport, addr string)
	// clock is how far the machine's clock is off.
	clock time.Duration
	args  []string
	exit  int
	says  string // a pattern; "" is silence
	// at is what differs at a leg: "EXIT PATTERN".
	at map[string]string
}

// TestFaults runs every misbehaviour against every leg, in process. The exit code
// and the words are right, it ends, nothing is on stdout, no file is written, and
// no secret shows: neither ours nor the server's.
func TestFaults(t *testing.T) {
	if n := len(misbehaviours()); n < 40 {
		t.Errorf("only %d misbehaviours", n)
	}
	harden() // net/http's log is silent from here on, as it is in the program
	s, err := sandbox.Start(t.Context(), sandbox.Config{Now: time.Now, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	ca := newAuthority(t)
	// Most of the time of most of them is a pause before the next attempt.
	runs := make(chan faultRun)
	var workers sync.WaitGroup
	for range 32 {
		workers.Go(func() {
			for f := range runs {
				t.Run(f.misbehaviour.name+"/"+f.leg.name, func(t *testing.T) { f.T = t; f.run() })
			}
		})
	}
	seen := map[string]bool{}
	for i, m := range misbehaviours() {
		if seen[m.name] {
			t.Errorf("%q stands there twice", m.name)
		}
		seen[m.name] = true
		asked := legs
		if !testenv.IsFull() { // each at one of the calls, in turn
			asked = legs[i%len(legs):][:1]
		}
		for _, l := range asked {
			runs <- faultRun{misbehaviour: m, leg: l, sandbox: s, ca: ca}
		}
	}
	close(runs)
	workers.Wait()
}

// A faultRun is one cell of the table.
type faultRun struct {
	*testing.T
	misbehaviour
	leg
	sandbox *sandbox.Sandbox
	ca      *authority
}

func (f faultRun) run() {
	set, _ := f.sandbox.Environment()
	home := f.TempDir()
	for _, name := range []string{"BASH_ENV", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "CLOUDSDK_CONFIG", "BAO_TOKEN_PATH"} {
		delete(set, name) // they would be outside of the home that is looked at
	}
	maps.Copy(set, map[string]string{
		"HOME": home, "AWS_ROLE_ARN": sandbox.DefaultRole, "OIDC_BROKER_MAX_ATTEMPTS": "2", "OIDC_BROKER_TIMEOUT": "1m",
		"OIDC_BROKER_WORKLOAD_IDENTITY_PROVIDER": sandbox.DefaultGCPProvider, "GCP_SERVICE_ACCOUNT_EMAIL": sandbox.DefaultGCPServiceAccount,
	})
	set[f.variable] = f.start(set[f.variable])
	tr := cli.NewTransport(func(string) string { return "" })
	tr.Proxy = nil
	tr.TLSClientConfig.RootCAs = f.ca.pool()
	defer tr.CloseIdleConnections()
	if f.network != nil {
		_, addr, _ := strings.Cut(set[f.variable], "://")
		f.network(f, tr, addr)
	}
	var stdout, stderr bytes.Buffer
	ctx, cancel := context.WithTimeout(f.Context(), 2*time.Minute) // far beyond every --timeout here
	defer cancel()
	got := cli.Main(ctx, cli.World{
		Args:    slices.Concat([]string{"--verbose"}, f.leg.args, f.misbehaviour.args),
		Getenv:  func(name string) string { return set[name] },
		Environ: func() []string { return nil },
		Stdin:   strings.NewReader(""), Stdout: &stdout, Stderr: &stderr,
		Now:        func() time.Time { return time.Now().Add(f.clock) },
		Transport:  tr,
		Executable: os.Executable, WorkDir: os.Getwd, TempDir: os.TempDir,
	})
	if ctx.Err() != nil {
		f.Error("it did not end by itself")
	}
	f.judge(got, stdout.String(), stderr.String(), home)
}

// judge holds what came of a run against what should have.
func (f faultRun) judge(got int, stdout, stderr, home string) {
	exit, says := f.exit, f.says
	if other := f.at[f.leg.name]; other != "" {
		_, err := fmt.Sscan(other, &exit)
		if _, says, _ = strings.Cut(other, " "); err != nil {
			f.Fatalf("%q is no code and a pattern", other)
		}
	}
	if got != exit || !regexp.MustCompile("(?m)"+says).MatchString(stderr) {
		f.Errorf("exit code %d, want %d and words like %q:\n%s", got, exit, says, stderr)
	}
	for _, s := range append(f.sandbox.Issued(), marker) {
		for _, piece := range secretPieces(s) {
			if strings.Contains(stderr, piece) || got != 0 && strings.Contains(stdout, piece) {
				f.Error("shows a secret")
			}
		}
	}
	if got == 0 {
		return
	}
	if stdout != "" {
		f.Errorf("prints %q", stdout)
	}
	err := filepath.WalkDir(home, func(path string, d fs.DirEntry, err error) error {
		if err == nil && path != home {
			f.Errorf("wrote %s", path)
		}
		return err
	})
	if err != nil {
		f.Error(err)
	}
}

// start runs the server that misbehaves, in front of the one at target, and
// returns its URL.
func (f faultRun) start(target string) string {
	u, err := url.Parse(target)
	if err != nil {
		f.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	s := &faultyServer{run: f, target: u, conns: map[net.Conn]bool{}}
	s.all.Go(func() { s.accept(l) })
	f.Cleanup(func() {
		_ = l.Close()
		s.closeAll()
		s.all.Wait()
	})
	scheme := "http://"
	if f.tls != nil {
		scheme = "https://"
	}
	return scheme + l.Addr().String()
}

type faultyServer struct {
	run    faultRun
	target *url.URL
	all    sync.WaitGroup
	bad    atomic.Int32 // requests that went wrong

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]bool
}

func (s *faultyServer) accept(l net.Listener) {
	for n := 1; ; n++ {
		c, err := l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[c] = true
		closed := s.closed
		s.mu.Unlock()
		if closed {
			_ = c.Close()
			return
		}
		s.all.Go(func() {
			defer func() { _ = c.Close() }()
			s.connection(c, s.run.first || n > 1)
		})
	}
}

func (s *faultyServer) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for c := range s.conns {
		_ = c.Close()
	}
}

// connection serves one. Where another call comes first, that one has a good
// connection for itself.
func (s *faultyServer) connection(c net.Conn, bad bool) {
	if bad && s.run.accept != nil {
		s.run.accept(c)
		return
	}
	raw := c
	if s.run.tls != nil {
		config := s.run.ca.good()
		if bad {
			config = s.run.tls(s.run.ca)
		}
		c = tls.Server(c, config)
	}
	r := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		w := &wire{Conn: c, raw: raw, r: r, req: req, body: body, target: s.target}
		if s.run.part == "" || strings.Contains(req.URL.Path, s.run.part) {
			w.n = int(s.bad.Add(1))
			if s.run.serve == nil {
				w.say(w.good())
			} else {
				s.run.serve(w)
			}
			return
		}
		// The next call gets a connection of its own, for what goes wrong with one.
		w.say(bytes.Replace(w.good(), []byte("\r\n"), []byte("\r\nConnection: close\r\n"), 1))
		if s.run.serve == nil || s.run.tls != nil {
			return
		}
	}
}

// A wire is a connection on which a request has come.
type wire struct {
	net.Conn
	raw    net.Conn // below TLS
	r      *bufio.Reader
	n      int // which request it is, from 1
	req    *http.Request
	body   []byte
	target *url.URL
}

// say writes to the client, which may be gone.
func (w *wire) say(b []byte) { _, _ = w.Write(b) }

func (w *wire) sayf(format string, args ...any) { w.say(fmt.Appendf(nil, format, args...)) }

// good is the answer of the sandbox's own server.
func (w *wire) good() []byte {
	req := w.req.Clone(context.Background())
	req.RequestURI, req.URL.Scheme, req.URL.Host = "", w.target.Scheme, w.target.Host
	req.Header.Del("Accept-Encoding")
	req.Body = io.NopCloser(bytes.NewReader(w.body))
	tr := &http.Transport{DisableCompression: true}
	defer tr.CloseIdleConnections()
	res, err := tr.RoundTrip(req)
	if err != nil {
		return nil
	}
	defer func() { _ = res.Body.Close() }()
	b, _ := httputil.DumpResponse(res, true)
	return b
}

// reset ends the connection with a RST.
func (w *wire) reset() {
	if tcp, ok := w.raw.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = w.raw.Close()
}

// gone waits until the client has gone.
func (w *wire) gone() { _, _ = io.Copy(io.Discard, w.r) }

// An authority issues certificates for 127.0.0.1.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  any
	once sync.Once
	own  tls.Certificate
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

func (a *authority) good() *tls.Config {
	a.once.Do(func() { a.own = a.issue(nil) })
	return &tls.Config{Certificates: []tls.Certificate{a.own}, MinVersion: tls.VersionTLS12}
}

// secretPieces are what must not be seen of a secret: all of it, and the parts of a
// token that say something.
func secretPieces(s string) []string {
	pieces := []string{s}
	if parts := strings.Split(s, "."); len(parts) == 3 {
		pieces = append(pieces, parts[1], parts[2])
	}
	return slices.DeleteFunc(pieces, func(p string) bool { return len(p) <= 8 })
}
