// Package vault logs in to HashiCorp Vault or OpenBao with the job's token (the
// JWT auth method), reads secrets, keeps what it was given alive while it is
// needed and revokes it afterwards, and explains the server's refusals.
package vault

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
)

// Options are the options as the user gave them, each from its flag or its
// environment variable.
type Options struct {
	Addr          string // --vault-addr: https://vault.example.com:8200
	Role          string // --role; "": the mount's default role
	AuthPath      string // --auth-path; "": jwt
	Namespace     string // --namespace, of the secrets
	AuthNamespace string // --auth-namespace; "": Namespace

	CACert        string // --ca-cert: a file
	CACertBytes   string // --ca-cert-bytes: PEM
	CAPath        string // --ca-path: a directory
	ClientCert    string // --client-cert: a file
	ClientKey     string // --client-key: a file
	TLSServerName string // --tls-server-name
	ClientTimeout string // --client-timeout, of one call: seconds, or Go's form
	MaxRetries    string // --max-retries; "": as --max-attempts says
	Proxy         string // --proxy-addr: a URL

	Headers []string            // --header: NAME=VARIABLE
	Getenv  func(string) string // of the headers' variables; nil: there are none

	Secrets    []string // --secret
	Writes     []string // --write
	KVVersions []string // --kv-version
	WrapTTL    string   // --wrap-ttl

	// Read reads the files that the options name. Nil: files.Read.
	Read func(path string, limit int64) ([]byte, error)
	// ReadValue reads those of --write's KEY=@FILE. Nil: Read.
	ReadValue func(path string, limit int64) ([]byte, error)
}

func (o Options) readValue(path string, limit int64) ([]byte, error) {
	if o.ReadValue == nil {
		return o.read(path, limit)
	}
	return o.ReadValue(path, limit)
}

func (o Options) read(path string, limit int64) ([]byte, error) {
	if o.Read == nil {
		return files.Read(path, limit)
	}
	return o.Read(path, limit)
}

const (
	defaultAuthPath = "jwt"
	// maxPEM bounds a file of certificates; a system's whole bundle has 220 KB.
	maxPEM = 4 << 20
)

// Server is a server and how to log in there: nothing in it can be wrong any
// more that this machine could know.
type Server struct {
	Addr      string // without a slash at the end
	Namespace string // "": the root namespace
	Secrets   []*Wanted

	role, authPath, authNamespace string
	wrap                          string // of X-Vault-Wrap-TTL; "": answers are not wrapped
	tls                           remote.TLS
	headers                       map[string]secret.Value
	timeout                       time.Duration // 0: the client's own
	attempts                      int           // 0: the client's own
}

// Resolve checks the options, and reads the files that they name. Errors are
// fault.Usage, or fault.Local for a file that cannot be read.
func (o Options) Resolve() (*Server, error) {
	s := &Server{role: o.Role}
	for _, settle := range []func(*Server) error{o.settleAddr, o.settlePlaces, o.settleLimits, o.settleSecrets, o.settleRoots, o.settleCertificate, o.settleProxy, o.settleHeaders} {
		if err := settle(s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (o Options) settleAddr(s *Server) error {
	if o.Addr == "" {
		return fault.New(fault.Usage, "%s is missing", fault.Option("vault-addr")).
			Hint("give the server's address: %s https://vault.example.com:8200, or set VAULT_ADDR", fault.Option("vault-addr"))
	}
	u, err := url.Parse(o.Addr)
	if err != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" || u.Scheme == "" {
		return fault.New(fault.Usage, "%s %q is not an address", fault.Option("vault-addr"), clip(o.Addr)).
			Hint("write it as https://vault.example.com:8200")
	}
	if err := remote.Allowed(u); err != nil {
		return fault.New(fault.Usage, "%s: %w", fault.Option("vault-addr"), err)
	}
	s.Addr = strings.TrimRight(u.String(), "/")
	if path, ok := strings.CutSuffix(s.Addr, "/v1"); ok {
		s.Addr = path
	}
	return nil
}

func (o Options) settlePlaces(s *Server) error {
	var err error
	path := authMount(o.AuthPath)
	if s.authPath, err = apiPath("auth-path", path); err != nil {
		return err
	}
	if s.Namespace, err = namespace("namespace", o.Namespace); err != nil {
		return err
	}
	s.authNamespace = s.Namespace
	if o.AuthNamespace != "" {
		s.authNamespace, err = namespace("auth-namespace", o.AuthNamespace)
	}
	return err
}

// authMount returns the mount that --auth-path names, also where it is the whole path
// of the login.
func authMount(path string) string {
	path = strings.TrimSuffix(strings.TrimPrefix(trimPath(path), "auth/"), "/login")
	if path == "" || path == "login" {
		return defaultAuthPath
	}
	return path
}

// namespace returns what X-Vault-Namespace takes. "root" and "/" are the root
// namespace, which is a header less.
func namespace(option fault.Option, value string) (string, error) {
	value = strings.Trim(value, "/")
	if value == "" || value == "root" {
		return "", nil
	}
	for _, r := range value {
		if r <= ' ' || r > '~' {
			return "", fault.New(fault.Usage, "%s %q is not the name of a namespace", option, value)
		}
	}
	return value, nil
}

// apiPath checks a path of the server's API and escapes it for a URL.
func apiPath(option fault.Option, path string) (string, error) {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if p == "" || p == "." || p == ".." || strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return "", fault.New(fault.Usage, "%s %q is not a path", option, path).
				Hint("write it as the API does, without a slash doubled: secret/data/ci/app")
		}
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/"), nil
}

func (o Options) settleLimits(s *Server) error {
	if o.ClientTimeout != "" {
		d, err := seconds(o.ClientTimeout)
		if err != nil || d <= 0 {
			return fault.New(fault.Usage, "%s %q is not a time", fault.Option("client-timeout"), o.ClientTimeout).
				Hint("give seconds (30), or a number with its unit (30s)")
		}
		s.timeout = d
	}
	if o.MaxRetries != "" {
		n, err := strconv.Atoi(o.MaxRetries)
		if err != nil || n < 0 || n > 100 {
			return fault.New(fault.Usage, "%s %q is not a number from 0 to 100", fault.Option("max-retries"), o.MaxRetries)
		}
		s.attempts = n + 1
	}
	if o.WrapTTL != "" {
		d, err := seconds(o.WrapTTL)
		if err != nil || d < time.Second {
			return fault.New(fault.Usage, "%s %q is not a time of a second or more", fault.Option("wrap-ttl"), o.WrapTTL).
				Hint("give seconds (60), or a number with its unit (60s)")
		}
		s.wrap = strconv.Itoa(int(d/time.Second)) + "s"
	}
	return nil
}

func seconds(v string) (time.Duration, error) {
	if n, err := strconv.Atoi(v); err == nil {
		return time.Duration(min(n, 1<<30)) * time.Second, nil
	}
	return time.ParseDuration(v)
}

// settleRoots reads the authorities to trust. As OpenBao has it, of several the
// file wins, then the text, then the directory.
func (o Options) settleRoots(s *Server) error {
	var all [][]byte
	var option fault.Option
	switch {
	case o.CACert != "":
		option = "ca-cert"
		b, err := o.readPEM(option, o.CACert)
		if err != nil {
			return err
		}
		all = [][]byte{b}
	case o.CACertBytes != "":
		option, all = "ca-cert-bytes", [][]byte{[]byte(o.CACertBytes)}
	case o.CAPath != "":
		option = "ca-path"
		entries, err := os.ReadDir(o.CAPath)
		if err != nil {
			return fault.New(fault.Local, "%s: cannot read %q: %w", option, o.CAPath, unwrap(err))
		}
		for _, e := range entries {
			// What a directory of certificates holds beside them is passed over.
			if b, err := files.Read(filepath.Join(o.CAPath, e.Name()), maxPEM); err == nil {
				all = append(all, b)
			}
		}
	default:
		return nil
	}
	s.tls.Roots = x509.NewCertPool()
	some := false
	for _, b := range all {
		some = s.tls.Roots.AppendCertsFromPEM(b) || some
	}
	if !some {
		return fault.New(fault.Usage, "%s holds no PEM certificate", option).
			Hint("it starts with -----BEGIN CERTIFICATE-----")
	}
	return nil
}

func (o Options) settleCertificate(s *Server) error {
	s.tls.ServerName, s.tls.AnswerTime = o.TLSServerName, s.timeout
	if o.ClientCert == "" && o.ClientKey == "" {
		return nil
	}
	if o.ClientCert == "" || o.ClientKey == "" {
		return fault.New(fault.Usage, "%s and %s go together", fault.Option("client-cert"), fault.Option("client-key"))
	}
	certificate, err := o.readPEM("client-cert", o.ClientCert)
	if err != nil {
		return err
	}
	key, err := o.readPEM("client-key", o.ClientKey)
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		// Not the parser's own words: the file may be anything.
		return fault.New(fault.Usage, "%s %q and %s %q are not a certificate and its key", fault.Option("client-cert"), o.ClientCert, fault.Option("client-key"), o.ClientKey).
			Hint("both are PEM, the key without a password")
	}
	s.tls.Certificate = &pair
	return nil
}

func (o Options) readPEM(option fault.Option, path string) ([]byte, error) {
	b, err := o.read(path, maxPEM)
	if err != nil {
		return nil, fault.New(fault.KindOf(err), "%s: %w", option, err)
	}
	return b, nil
}

// client returns c as this server wants to be called.
func (s *Server) client(c *remote.Client) (*remote.Client, error) {
	own := *c
	own.CAVariable, own.Private = "VAULT_CACERT", true
	if u, err := url.Parse(s.Addr); err == nil {
		own.From = map[string]any{u.Host: fault.Option("vault-addr")}
	}
	if s.timeout > 0 {
		own.AttemptTime = s.timeout
	}
	if s.attempts > 0 {
		own.Attempts = s.attempts
	}
	if s.tls.Proxy != nil {
		own.ProxyFrom = "VAULT_PROXY_ADDR"
	}
	if s.tls == (remote.TLS{}) {
		return &own, nil
	}
	rt, err := remote.WithTLS(c.Transport, s.tls)
	own.Transport = rt
	return &own, err
}

// header returns the headers of a call in a namespace.
func (s *Server) header(namespace string) http.Header {
	h := http.Header{}
	for name, value := range s.headers {
		h.Set(name, value.Reveal())
	}
	// As Vault Proxy may demand it, against requests that a browser was led to.
	h.Set("X-Vault-Request", "true")
	if namespace != "" {
		h.Set("X-Vault-Namespace", namespace)
	}
	return h
}

func clip(s string) string {
	if len(s) > 100 {
		return s[:100] + "..."
	}
	return s
}
