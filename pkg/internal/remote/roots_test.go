package remote

import (
	"bytes"
	"context"
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
	"slices"
	"strings"
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

func sign(t testing.TB, by *authority, name string, changes ...change) *authority {
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

// A rootsRow is a server, and what a client makes of it whose bundle is TestRoots'.
type rootsRow struct {
	name       string
	leaf       *authority
	chain      []*authority
	handshakes int32
	ok         bool
	host       string // that the client means; "": 127.0.0.1
}

// TestRoots holds the quick handshake against the whole pool: it may only be
// quicker, never admit or refuse more, and what it does not know the whole pool
// decides.
func TestRoots(t *testing.T) {
	ca := func(c *x509.Certificate) { c.IsCA, c.KeyUsage, c.IPAddresses = true, x509.KeyUsageCertSign, nil }
	expired := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }
	narrow := func(c *x509.Certificate) {
		c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"example.com"}
		c.PermittedIPRanges = []*net.IPNet{{IP: net.IPv4(10, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)}}
	}
	names := func(names ...string) change {
		return func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, names }
	}
	cloud := sign(t, nil, "Amazon Root CA 1")
	impostor := sign(t, nil, "Amazon Root CA 1") // the same name, another key
	private := sign(t, nil, "Corp Private CA")
	unknown := sign(t, nil, "Unknown CA")
	old := sign(t, nil, "Starfield Services Root Certificate Authority - G2", expired)
	expiredRoot := sign(t, nil, "GTS Root R1", expired)
	renewed := crossSign(t, expiredRoot, expiredRoot, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(time.Hour) })
	intermediate := sign(t, cloud, "Amazon RSA 2048 M01", ca)
	narrowed := sign(t, cloud, "Amazon RSA 2048 M02", ca, narrow)
	notCA := sign(t, cloud, "no CA")
	// Two ways each: what a cloud's root says of an intermediate, and what the
	// private one says of the same key.
	below := sign(t, old, "below an old root", ca)
	crossed := crossSign(t, private, below)
	narrowedElsewhere := crossSign(t, private, narrowed, func(c *x509.Certificate) { c.PermittedDNSDomains, c.PermittedIPRanges = nil, nil })
	bundle := []*authority{private, cloud, old, expiredRoot, renewed}

	for _, row := range []rootsRow{
		{"a cloud's root", sign(t, cloud, "server"), nil, 1, true, ""},
		{"an intermediate", sign(t, intermediate, "server"), []*authority{intermediate}, 1, true, ""},
		{"an intermediate, and its root", sign(t, intermediate, "server"), []*authority{intermediate, cloud}, 1, true, ""},
		{"an intermediate that is not sent", sign(t, intermediate, "server"), nil, 2, false, ""},
		{"another intermediate is sent", sign(t, intermediate, "server"), []*authority{narrowed}, 2, false, ""},
		{"a private root in the bundle", sign(t, private, "server"), nil, 2, true, ""},
		{"an unknown root", sign(t, unknown, "server"), nil, 2, false, ""},
		{"an unknown root that is sent", sign(t, unknown, "server"), []*authority{unknown}, 2, false, ""},
		{"a root with a cloud's name and another key", sign(t, impostor, "server"), []*authority{impostor}, 2, false, ""},
		{"another host", sign(t, cloud, "server", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 2)} }), nil, 2, false, ""},
		{"an address that only the common name has", sign(t, cloud, "127.0.0.1", names()), nil, 2, false, ""},
		{"an address among the names", sign(t, cloud, "server", names("127.0.0.1")), nil, 2, false, ""},
		{"a name", sign(t, cloud, "server", names("sts.example.com")), nil, 1, true, "sts.example.com"},
		{"a name that only the common name has", sign(t, cloud, "sts.example.com", names()), nil, 2, false, "sts.example.com"},
		{"a name that only the common name has, beside others", sign(t, cloud, "sts.example.com", names("example.com")), nil, 2, false, "sts.example.com"},
		{"expired", sign(t, cloud, "server", expired), nil, 2, false, ""},
		{"not yet valid", sign(t, cloud, "server", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }), nil, 2, false, ""},
		{"a cloud's root that has expired", sign(t, old, "server"), nil, 2, false, ""},
		{"a cloud's root that has expired, and its successor", sign(t, renewed, "server"), nil, 1, true, ""},
		{"a cloud's root that has expired, and a way to a private one", sign(t, below, "server"), []*authority{below, crossed}, 2, true, ""},
		{"signed by a certificate that is no authority", sign(t, notCA, "server"), []*authority{notCA}, 2, false, ""},
		{"outside of the intermediate's names", sign(t, narrowed, "server"), []*authority{narrowed}, 2, false, ""},
		{"outside of the intermediate's names, and a way to a private root", sign(t, narrowed, "server"), []*authority{narrowed, narrowedElsewhere}, 2, true, ""},
		{"self-signed", sign(t, nil, "server", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }), nil, 2, false, ""},
		{"no certificate", nil, nil, 1, false, ""}, // no chain to judge: TLS itself ends there
	} {
		for version, name := range map[uint16]string{tls.VersionTLS12: "TLS 1.2", tls.VersionTLS13: "TLS 1.3"} {
			t.Run(row.name+"/"+name, func(t *testing.T) { row.run(t, version, bundle) })
		}
	}
}

// crossSign has an authority sign a name and key that another one signed.
func crossSign(t *testing.T, by, other *authority, changes ...change) *authority {
	t.Helper()
	c := *other.cert
	c.SerialNumber, c.AuthorityKeyId = new(big.Int).Add(c.SerialNumber, big.NewInt(1)), nil
	for _, f := range changes {
		f(&c)
	}
	der, err := x509.CreateCertificate(rand.Reader, &c, by.cert, &other.key.PublicKey, by.key)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{signed, other.key}
}

func (row rootsRow) run(t *testing.T, version uint16, bundle []*authority) {
	handshakes := new(atomic.Int32)
	url, dial := row.serve(t, version, handshakes)
	// The whole pool cannot be the machine's in a test: the second handshake gets
	// this one in its place.
	tr := NewTransport(func(string) string { return "" })
	tr.Proxy = nil
	whole := poolOf(bundle...)
	d := &tlsDialer{
		dial: dial, config: &tls.Config{MinVersion: tls.VersionTLS12}, timeout: 10 * time.Second,
		system: whole, anchors: func() *x509.CertPool { return pick(pemOf(bundle...)) },
	}
	tr.DialTLSContext = d.dialTLS
	if err := get(tr, url); (err == nil) != row.ok {
		t.Errorf("error %v, want ok=%v", err, row.ok)
	}
	if n := handshakes.Load(); n != row.handshakes {
		t.Errorf("%d handshakes, want %d", n, row.handshakes)
	}
	// The standard verifier with the whole pool says the same.
	plain := &http.Transport{DialContext: dial, TLSClientConfig: &tls.Config{RootCAs: whole, MinVersion: tls.VersionTLS12}}
	if err := get(plain, url); (err == nil) != row.ok {
		t.Errorf("the standard verifier says %v: the row is wrong", err)
	}
}

func get(tr *http.Transport, url string) error {
	defer tr.CloseIdleConnections()
	res, err := (&http.Client{Transport: tr}).Get(url)
	if err == nil {
		_ = res.Body.Close()
	}
	return err
}

// serve starts the server. What dial returns leads there, whatever the host.
func (row rootsRow) serve(t *testing.T, version uint16, handshakes *atomic.Int32) (url string, dial func(context.Context, string, string) (net.Conn, error)) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	certificate := &tls.Certificate{}
	if row.leaf == nil {
		certificate.PrivateKey = sign(t, nil, "nobody").key
	} else {
		certificate.PrivateKey, certificate.Certificate = row.leaf.key, [][]byte{row.leaf.cert.Raw}
	}
	for _, c := range row.chain {
		certificate.Certificate = append(certificate.Certificate, c.cert.Raw)
	}
	config := &tls.Config{MinVersion: version, MaxVersion: version, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate, nil }}
	s.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		handshakes.Add(1)
		return config, nil
	}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	addr := s.Listener.Addr().String()
	url = s.URL
	if row.host != "" {
		_, port, _ := net.SplitHostPort(addr)
		url = "https://" + net.JoinHostPort(row.host, port)
	}
	return url, func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
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

// oddBundles have a cloud's root in places where x509 does not take it.
func oddBundles(root *authority) map[string]string {
	text := strings.TrimSpace(string(pemOf(root)))
	body := strings.Split(text, "\n")
	body = body[1 : len(body)-1]
	relabel := func(label string) string { return strings.ReplaceAll(text, "CERTIFICATE", label) }
	return map[string]string{
		"commented out":                    "#" + strings.ReplaceAll(text, "\n", "\n#"),
		"its first line is commented out":  "# " + text,
		"its last line is commented out":   strings.Replace(text, "-----END", "# -----END", 1),
		"a trusted certificate":            relabel("TRUSTED CERTIFICATE"),
		"a revocation list":                relabel("X509 CRL"),
		"labels that differ":               strings.Replace(text, "END CERTIFICATE", "END TRUSTED CERTIFICATE", 1),
		"a header":                         strings.Replace(text, "\n", "\nProc-Type: 4,ENCRYPTED\n\n", 1),
		"behind broken text, other label":  "-----BEGIN CERTIFICATE-----\n" + body[0] + body[1] + "!\n-----END CERTIFICATE-----\n" + relabel("TRUSTED CERTIFICATE"),
		"text behind the end":              text + " # until 2030",
		"cut short":                        text[:len(text)*2/3],
		"more behind the certificate":      string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: append(slices.Clip(root.cert.Raw), 0)})),
		"two in one block":                 string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: slices.Concat(root.cert.Raw, root.cert.Raw)})),
		"its begin within another's lines": "-----BEGIN PRIVATE KEY-----\nx" + text + "\n-----END PRIVATE KEY-----",
	}
}

func TestPickTakesWhatX509Takes(t *testing.T) {
	cloud := sign(t, nil, "GTS Root R1")
	for name, bundle := range oddBundles(cloud) {
		for _, bundle := range []string{bundle, bundle + "\n", strings.ReplaceAll(bundle, "\n", "\r\n")} {
			if x509.NewCertPool().AppendCertsFromPEM([]byte(bundle)) {
				t.Errorf("%s: x509 takes it, so that the row is wrong", name)
			}
			if pick([]byte(bundle)) != nil {
				t.Errorf("%s: picked", name)
			}
			// What stands around it is found all the same.
			other := sign(t, nil, "ISRG Root X1")
			around := slices.Concat(pemOf(other), []byte(bundle), []byte("\n"), pemOf(other))
			if got := pick(around); got == nil || !got.Equal(poolOf(other)) {
				t.Errorf("%s: the root before and behind it is not picked alone", name)
			}
		}
	}
	text := pemOf(cloud)
	for name, bundle := range map[string][]byte{
		"lines that end in CR LF": bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")),
		"comments":                slices.Concat([]byte("# GTS Root R1\n# -----BEGIN CERTIFICATE-----\n"), text, []byte("# end\n")),
		"no last newline":         bytes.TrimSpace(text),
		"a BOM on a line before":  slices.Concat([]byte("\ufeff\n"), text),
		"twice":                   slices.Concat(text, text),
		"a begin without an end":  slices.Concat([]byte("-----BEGIN CERTIFICATE-----\n"), text),
	} {
		whole := x509.NewCertPool()
		if got := pick(bundle); !whole.AppendCertsFromPEM(bundle) || got == nil || !got.Equal(whole) {
			t.Errorf("%s: x509 and pick differ", name)
		}
		checkSkips(t, bundle)
	}
}

// FuzzPick: whatever the bundle, no panic, and nothing picked that x509 does not
// take from it.
func FuzzPick(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nQW1hem9uIFJvb3QgQ0E=\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("-----BEGIN CERTIFICATE----------BEGIN CERTIFICATE-----"))
	cloud := sign(f, nil, "GTS Root R1")
	f.Add(pemOf(cloud, sign(f, nil, "Corp Private CA")))
	for _, b := range oddBundles(cloud) {
		f.Add([]byte(b))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		whole := x509.NewCertPool()
		whole.AppendCertsFromPEM(b)
		for _, c := range picked(b) {
			// A pool that has it does not grow by it.
			more := whole.Clone()
			more.AddCert(c)
			if !more.Equal(whole) {
				t.Errorf("x509 does not take %q", c.Subject)
			}
		}
		checkSkips(t, b)
	})
}

// checkSkips holds what is picked against a look into every block.
func checkSkips(t *testing.T, bundle []byte) {
	t.Helper()
	got := picked(bundle)
	for rest := bundle; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil || block.Type != "CERTIFICATE" || len(block.Headers) > 0 || !named(block.Bytes[:min(len(block.Bytes), 384)], names()) {
			continue
		}
		if !slices.ContainsFunc(got, c.Equal) {
			t.Errorf("%q is passed over", c.Subject)
		}
	}
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
		checkSkips(t, b)
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
