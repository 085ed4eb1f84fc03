package remote

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
)

// Go builds the system's pool from the bundle and from every file of the
// certificate directory, which holds the same certificates again, twice: that is
// more than half of a whole exchange's CPU time. So a first handshake knows the
// roots of the clouds alone, picked by name out of the system's own bundle. The
// verifier is the standard one, and what it trusts a part of what the system
// trusts. Whatever certificate it refuses, a second handshake on a new connection
// knows the whole system's pool and decides: there may be another way to a root
// than the one that is unknown, expired or not for this name.

// maxBundle bounds what is read of a file of certificates.
const maxBundle = 16 << 20

// tlsDialer connects to a server, trusting the system's roots.
type tlsDialer struct {
	dial    func(ctx context.Context, network, addr string) (net.Conn, error)
	config  *tls.Config
	anchors func() *x509.CertPool // nil result: there are none to try first
	system  *x509.CertPool        // nil: the system's own; tests have another
	timeout time.Duration         // of a handshake
	// ready says why the system's pool cannot be read; nil: it is not asked.
	ready func() error
}

// dialTLS is http.Transport's DialTLSContext.
func (d *tlsDialer) dialTLS(ctx context.Context, network, addr string) (net.Conn, error) {
	if d.config.RootCAs != nil {
		return d.connect(ctx, network, addr, d.config.RootCAs)
	}
	if some := d.anchors(); some != nil {
		conn, err := d.connect(ctx, network, addr, some)
		var refused *tls.CertificateVerificationError
		if !errors.As(err, &refused) {
			return conn, err
		}
	}
	if d.ready != nil {
		if err := d.ready(); err != nil {
			return nil, err
		}
	}
	return d.connect(ctx, network, addr, d.system)
}

// systemReady returns the check of what the variables of crypto/x509 name, which it
// would open and wait for: a pipe in such a place ends the program never.
func systemReady(getenv func(string) string) func() error {
	return sync.OnceValue(func() error {
		if runtime.GOOS == "darwin" || runtime.GOOS == "windows" {
			return nil
		}
		if file := getenv("SSL_CERT_FILE"); file != "" {
			if err := waits(file); err != nil {
				return rootsError{"SSL_CERT_FILE", err}
			}
		}
		for _, dir := range strings.Split(getenv("SSL_CERT_DIR"), ":") {
			if dir == "" {
				continue
			}
			entries, _ := os.ReadDir(dir) // what cannot be read holds no certificates
			for _, e := range entries {
				if err := waits(filepath.Join(dir, e.Name())); err != nil {
					return rootsError{"SSL_CERT_DIR", err}
				}
			}
		}
		return nil
	})
}

// waits says why path must not be read. A directory can: crypto/x509 gets an error
// at once, passes over it, and looks for certificates elsewhere.
func waits(path string) error {
	_, err := files.Head(path, 1)
	if !errors.Is(err, files.ErrSpecial) {
		return nil
	}
	if info, statErr := os.Stat(path); statErr == nil && info.IsDir() {
		return nil
	}
	return err
}

// rootsError is why the roots cannot be read that a variable names.
type rootsError struct {
	variable string
	cause    error
}

func (e rootsError) Error() string { return e.variable + ": " + e.cause.Error() }
func (e rootsError) Unwrap() error { return e.cause }

// connect makes one connection, verified with roots; nil means the system's.
func (d *tlsDialer) connect(ctx context.Context, network, addr string, roots *x509.CertPool) (net.Conn, error) {
	raw, err := d.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	config := d.config.Clone()
	config.RootCAs = roots
	if config.ServerName, _, err = net.SplitHostPort(addr); err != nil {
		_ = raw.Close()
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return conn, nil
}

// anchorsOf returns the roots of the clouds that the system's bundle holds, read
// once, when first asked for. It returns nil where there is no bundle: then the
// system verifies by itself, as on macOS and Windows.
func anchorsOf(getenv func(string) string) func() *x509.CertPool {
	return sync.OnceValue(func() *x509.CertPool {
		if runtime.GOOS == "darwin" || runtime.GOOS == "windows" {
			return nil
		}
		for _, file := range bundles(getenv("SSL_CERT_FILE")) {
			if b, err := files.Read(file, maxBundle); err == nil {
				return pick(b)
			}
		}
		return nil
	})
}

// bundles are where crypto/x509 looks for the system's bundle: in what
// SSL_CERT_FILE names, else in the places that the distributions have.
func bundles(named string) []string {
	if named != "" {
		return []string{named}
	}
	return []string{
		"/etc/ssl/certs/ca-certificates.crt",
		"/etc/pki/tls/certs/ca-bundle.crt",
		"/etc/ssl/ca-bundle.pem",
		"/etc/pki/tls/cacert.pem",
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
		"/etc/ssl/cert.pem",
	}
}

// names are in the subjects of the roots that AWS's and Google's servers have,
// and most Vault servers with a public name.
func names() [][]byte {
	return [][]byte{[]byte("Amazon Root CA"), []byte("Starfield"), []byte("GTS Root R"), []byte("GlobalSign"), []byte("ISRG Root")}
}

// pick returns a pool of the certificates of a PEM bundle that have one of the
// names, or nil where there are none.
func pick(bundle []byte) *x509.CertPool {
	picked := picked(bundle)
	if len(picked) == 0 {
		return nil
	}
	pool := x509.NewCertPool()
	for _, c := range picked {
		pool.AddCert(c)
	}
	return pool
}

// picked looks at the blocks that x509 takes from a bundle, and at no others: what
// is commented out, or has another label, is none of the system's roots.
func picked(bundle []byte) (all []*x509.Certificate) {
	names := names()
	for {
		var block *pem.Block
		if block, bundle = pem.Decode(skip(bundle, names)); block == nil {
			return all
		}
		if block.Type != "CERTIFICATE" || len(block.Headers) > 0 || !named(block.Bytes, names) {
			continue
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			all = append(all, c)
		}
	}
}

// skip passes over the certificates at the beginning of a bundle that plainly have
// none of the names, for most have none, and decoding all of them takes four times
// as long. It goes from one block to the next as pem.Decode does; what looks odd
// it leaves to that.
func skip(bundle []byte, names [][]byte) []byte {
	const begins, ends = "-----BEGIN CERTIFICATE-----\n", "\n-----END CERTIFICATE-----\n"
	for {
		end := bytes.Index(bundle, []byte(ends[:len("\n-----END ")]))
		if end < 0 || !bytes.HasPrefix(bundle[end:], []byte(ends)) {
			return bundle
		}
		begin := bytes.Index(bundle[:end], []byte(begins))
		if begin < 0 || begin > 0 && bundle[begin-1] != '\n' {
			return bundle
		}
		if begun := begin + len(begins); bytes.Contains(bundle[begun:end], []byte("-----BEGIN ")) {
			return bundle // the last one counts
		}
		var der [512]byte
		if named(head(der[:], bundle[begin+len(begins):end]), names) {
			return bundle
		}
		bundle = bundle[end+len(ends):]
	}
}

// head decodes the beginning of a block into der, as far as that goes: a root's
// name is its issuer's too, and stands there.
func head(der, text []byte) []byte {
	n := 0
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		line = line[:min(len(line), (len(der)-n)/3*4)]
		m, err := base64.StdEncoding.Decode(der[n:], line)
		if n += m; err != nil || len(line) == 0 {
			break
		}
	}
	return der[:n]
}

func named(der []byte, names [][]byte) bool {
	for _, name := range names {
		if bytes.Contains(der, name) {
			return true
		}
	}
	return false
}
