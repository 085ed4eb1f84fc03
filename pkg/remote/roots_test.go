package remote

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// An authority signs certificates of a server.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

type change func(*x509.Certificate)

func sign(t *testing.T, by *authority, name string, changes ...change) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name, Organization: []string{"Test"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	if by == nil {
		c.IsCA, c.KeyUsage, c.IPAddresses = true, x509.KeyUsageCertSign, nil
		by = &authority{c, key}
	}
	for _, f := range changes {
		f(c)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by.cert, &key.PublicKey, by.key)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return &authority{c, key}
}

func pemOf(all ...*authority) []byte {
	var b []byte
	for _, a := range all {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})...)
	}
	return b
}

func poolOf(all ...*authority) *x509.CertPool {
	p := x509.NewCertPool()
	for _, a := range all {
		p.AddCert(a.cert)
	}
	return p
}

// TestRoots holds the quick handshake against the whole pool: it may only be
// quicker, never admit more, and what it does not know the whole pool decides.
func TestRoots(t *testing.T) {
	cloud := sign(t, nil, "Amazon Root CA 1")
	impostor := sign(t, nil, "Amazon Root CA 1") // the same name, another key
	private := sign(t, nil, "Corp Private CA")
	unknown := sign(t, nil, "Unknown CA")
	intermediate := sign(t, cloud, "Amazon RSA 2048 M01", func(c *x509.Certificate) {
		c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign
		c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"example.com"}
		c.PermittedIPRanges = []*net.IPNet{{IP: net.IPv4(10, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)}}
	})
	notCA := sign(t, cloud, "no CA")
	bundle := pemOf(private, cloud)

	for _, row := range []struct {
		name       string
		leaf       *authority
		chain      []*authority
		handshakes int32
		ok         bool
	}{
		{"a cloud's root", sign(t, cloud, "server"), nil, 1, true},
		{"a private root in the bundle", sign(t, private, "server"), nil, 2, true},
		{"an unknown root", sign(t, unknown, "server"), nil, 2, false},
		{"a root with a cloud's name and another key", sign(t, impostor, "server"), []*authority{impostor}, 2, false},
		{"another host", sign(t, cloud, "server", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 2)} }), nil, 1, false},
		{"expired", sign(t, cloud, "server", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), nil, 1, false},
		{"not yet valid", sign(t, cloud, "server", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }), nil, 1, false},
		{"signed by a certificate that is no authority", sign(t, notCA, "server"), []*authority{notCA}, 2, false},
		{"outside of the intermediate's names", sign(t, intermediate, "server"), []*authority{intermediate}, 1, false},
		{"self-signed", sign(t, nil, "server", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }), nil, 2, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			var handshakes atomic.Int32
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
			certificate := tls.Certificate{Certificate: [][]byte{row.leaf.cert.Raw}, PrivateKey: row.leaf.key}
			for _, c := range row.chain {
				certificate.Certificate = append(certificate.Certificate, c.cert.Raw)
			}
			s.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
				handshakes.Add(1)
				return nil, nil
			}}
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			s.StartTLS()
			defer s.Close()

			// The whole pool cannot be the machine's in a test: the second
			// handshake gets this one in its place.
			tr := NewTransport(func(string) string { return "" })
			config := &tls.Config{MinVersion: tls.VersionTLS12}
			whole := poolOf(private, cloud)
			d := &tlsDialer{dial: tr.DialContext, config: config, timeout: time.Second, system: whole, anchors: func() *x509.CertPool { return pick(bundle) }}
			tr.DialTLSContext = d.dialTLS
			res, err := (&http.Client{Transport: tr}).Get(s.URL)
			if err == nil {
				_ = res.Body.Close()
			}
			if (err == nil) != row.ok {
				t.Errorf("error %v, want ok=%v", err, row.ok)
			}
			if n := handshakes.Load(); n != row.handshakes {
				t.Errorf("%d handshakes, want %d", n, row.handshakes)
			}
			// The standard verifier with the whole pool says the same.
			plain := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: whole, MinVersion: tls.VersionTLS12}}}
			res, err = plain.Get(s.URL)
			if err == nil {
				_ = res.Body.Close()
			}
			if (err == nil) != row.ok {
				t.Errorf("the standard verifier says %v: the row is wrong", err)
			}
		})
	}
}

func TestAnchorsAreAPartOfTheBundle(t *testing.T) {
	cloud, private := sign(t, nil, "GTS Root R1"), sign(t, nil, "Corp Private CA")
	file := filepath.Join(t.TempDir(), "bundle.pem")
	if err := os.WriteFile(file, append([]byte("# a comment\n"), pemOf(private, cloud)...), 0o600); err != nil {
		t.Fatal(err)
	}
	named := func(name string) string {
		if name == "SSL_CERT_FILE" {
			return file
		}
		return ""
	}
	if got := anchorsOf(named)(); got == nil || !got.Equal(poolOf(cloud)) {
		t.Error("the anchors are not the bundle's cloud roots")
	}
	for _, bad := range []string{"", "garbage", "-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n", string(pemOf(private))} {
		if got := pick([]byte(bad)); got != nil {
			t.Errorf("anchors found in %q", bad)
		}
	}
	file = filepath.Join(t.TempDir(), "no such file")
	if anchorsOf(named)() != nil {
		t.Error("anchors without a bundle")
	}
}

// FuzzPick: whatever the bundle, no panic, and nothing picked that x509 does not
// find in it.
func FuzzPick(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nQW1hem9uIFJvb3QgQ0E=\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("-----BEGIN CERTIFICATE----------BEGIN CERTIFICATE-----"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got := pick(b); got != nil {
			whole := x509.NewCertPool()
			if !whole.AppendCertsFromPEM(b) {
				t.Error("anchors from a bundle in which x509 finds none")
			}
		}
	})
}

func TestSystemBundleHasTheClouds(t *testing.T) {
	for _, file := range bundles("") {
		b, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if pick(b) == nil {
			t.Errorf("%s has no root of Amazon's, Google's or GlobalSign's", file)
		}
		return
	}
}

func BenchmarkPick(b *testing.B) {
	bundle, err := os.ReadFile(bundles("")[0])
	if err != nil {
		b.Skip("no bundle here")
	}
	for b.Loop() {
		pick(bundle)
	}
}
