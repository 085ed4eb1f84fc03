package main

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// A trustRow is an environment, and whether a server is trusted in it whose
// authority is in some of the files of trustFiles, which are in $DIR.
type trustRow struct {
	name, set string
	words     string // of the refusal; "": it is trusted
}

const (
	unknownAuthority = "has a certificate of an unknown authority"
	noAuthorities    = "cannot be verified: this image has no CA certificates"
)

// systemTrust are the rows that hold for everything that asks the system.
var systemTrust = []trustRow{
	{"the bundle has it", "SSL_CERT_FILE=$DIR/has.pem", ""},
	{"the bundle is the system's, and has it", "SSL_CERT_FILE=$DIR/system.pem", ""},
	{"the bundle's lines end in CR LF", "SSL_CERT_FILE=$DIR/crlf.pem", ""},
	{"the bundle has comments and trusted certificates between", "SSL_CERT_FILE=$DIR/mixed.pem", ""},
	{"a directory has it", "SSL_CERT_DIR=$DIR/certs", ""},
	{"the second directory has it", "SSL_CERT_DIR=$DIR/void:$DIR/certs", ""},
	{"a directory has it, the bundle does not", "SSL_CERT_FILE=$DIR/lacks.pem SSL_CERT_DIR=$DIR/certs", ""},
	{"a directory has it, there is no bundle", "SSL_CERT_FILE=$DIR/none.pem SSL_CERT_DIR=$DIR/certs", ""},
	{"a directory has it, the bundle has another of its name", "SSL_CERT_FILE=$DIR/impostor.pem SSL_CERT_DIR=$DIR/certs", ""},
	{"a directory has it, and stands in the place of the bundle", "SSL_CERT_FILE=$DIR/certs SSL_CERT_DIR=$DIR/certs", ""},

	{"nothing is named", "", unknownAuthority},
	{"the bundle lacks it", "SSL_CERT_FILE=$DIR/lacks.pem", unknownAuthority},
	{"the bundle is empty", "SSL_CERT_FILE=$DIR/empty.pem", unknownAuthority},
	{"the bundle and the directory are empty", "SSL_CERT_FILE=$DIR/empty.pem SSL_CERT_DIR=$DIR/void", unknownAuthority},
	{"there is no bundle", "SSL_CERT_FILE=$DIR/none.pem SSL_CERT_DIR=$DIR/others", unknownAuthority},
	{"a directory stands in the place of the bundle", "SSL_CERT_FILE=$DIR/certs SSL_CERT_DIR=$DIR/others", unknownAuthority},
	{"a directory stands in the place of the bundle, the other is empty", "SSL_CERT_FILE=$DIR/certs SSL_CERT_DIR=$DIR/void", noAuthorities},
	{"the bundle has another of its name", "SSL_CERT_FILE=$DIR/impostor.pem", unknownAuthority},
	{"the bundle has it commented out", "SSL_CERT_FILE=$DIR/commented.pem", unknownAuthority},
	{"the bundle has it as a trusted certificate", "SSL_CERT_FILE=$DIR/trusted.pem", unknownAuthority},
}

// TestTrust: whom the program trusts, in a process for each row, for Go reads the
// system's roots once in each. Who is refused gets no request.
func TestTrust(t *testing.T) {
	_, set := jobIn(t, t.TempDir())
	of := func(command string, variables ...string) func(*testing.T, *authority, string, trustRow, string) {
		return func(t *testing.T, ca *authority, dir string, row trustRow, hint string) {
			t.Run(command+"/"+row.name, func(t *testing.T) {
				t.Parallel()
				trustRun{T: t, set: set, ca: ca, dir: dir}.run(strings.Fields(command), variables, row, hint)
			})
		}
	}
	aws := of("aws env", "AWS_ENDPOINT_URL_STS")
	gcp := of("gcp access-token", "CLOUDSDK_API_ENDPOINT_OVERRIDES_STS", "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS")
	vault := of("vault token", "VAULT_ADDR")
	// A name like those that are tried first must not make a difference.
	for _, name := range []string{"Corp Private CA", "Amazon Root CA 9"} {
		t.Run(name, func(t *testing.T) {
			ca, dir := newAuthorityNamed(t, name), t.TempDir()
			trustFiles(t, dir, ca)
			const hint, hintGCP, hintVault = "name its CA with SSL_CERT_FILE or AWS_CA_BUNDLE\n", "name its CA with SSL_CERT_FILE\n", "name the authority's certificate with VAULT_CACERT"
			for _, row := range systemTrust {
				aws(t, ca, dir, row, hint)
			}
			for _, row := range []trustRow{
				{"AWS_CA_BUNDLE has it", "AWS_CA_BUNDLE=$DIR/has.pem", ""},
				{"AWS_CA_BUNDLE has it, the system does not", "AWS_CA_BUNDLE=$DIR/has.pem SSL_CERT_FILE=$DIR/lacks.pem SSL_CERT_DIR=$DIR/void", ""},
				{"AWS_CA_BUNDLE lacks it, the system does not", "AWS_CA_BUNDLE=$DIR/lacks.pem SSL_CERT_FILE=$DIR/has.pem SSL_CERT_DIR=$DIR/certs", unknownAuthority},
			} {
				aws(t, ca, dir, row, hint)
			}
			for _, row := range []trustRow{systemTrust[0], systemTrust[6], {"nothing is named", "", unknownAuthority}} {
				gcp(t, ca, dir, row, hintGCP)
			}
			for _, row := range []trustRow{
				systemTrust[0],
				{"VAULT_CACERT has it", "VAULT_CACERT=$DIR/has.pem", ""},
				{"VAULT_CAPATH has it", "VAULT_CAPATH=$DIR/certs", ""},
				{"VAULT_CACERT lacks it, the system does not", "VAULT_CACERT=$DIR/lacks.pem SSL_CERT_FILE=$DIR/has.pem", unknownAuthority},
				{"nothing is named", "", unknownAuthority},
			} {
				vault(t, ca, dir, row, hintVault)
			}
		})
	}
}

// trustFiles writes bundles and directories, with the authority and without.
func trustFiles(t *testing.T, dir string, ca *authority) {
	t.Helper()
	encode := func(label string, c *x509.Certificate) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: label, Bytes: c.Raw}))
	}
	other := newAuthorityNamed(t, "GTS Root R9").cert // one of those that are tried first
	text, others := encode("CERTIFICATE", ca.cert), encode("CERTIFICATE", other)
	impostor := encode("CERTIFICATE", newAuthorityNamed(t, ca.cert.Subject.CommonName).cert)
	system, err := os.ReadFile("/etc/ssl/certs/ca-certificates.crt")
	if err != nil {
		system = []byte(others) // it is elsewhere, or there is none
	}
	between := "# " + ca.cert.Subject.CommonName + "\n" + encode("TRUSTED CERTIFICATE", other) + "\nsome text\n"
	for name, content := range map[string]string{
		"has.pem": others + text, "lacks.pem": others, "empty.pem": "", "impostor.pem": others + impostor,
		"system.pem": string(system) + text, "crlf.pem": strings.ReplaceAll(others+text, "\n", "\r\n"),
		"mixed.pem": between + others + between + text + between, "trusted.pem": others + encode("TRUSTED CERTIFICATE", ca.cert),
		"commented.pem": others + "# " + text, "certs/corp.crt": text, "certs/README": "certificates", "others/other.pem": others, "void/.keep": "",
	} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	// As openssl rehash makes them.
	if err := os.Symlink("corp.crt", filepath.Join(dir, "certs", "5ad8a5d6.0")); err != nil {
		t.Fatal(err)
	}
}

// A tlsFront is a server of TLS before one of the sandbox's.
type tlsFront struct {
	url      string
	requests atomic.Int32
}

func newTLSFront(t *testing.T, ca *authority, target string) *tlsFront {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	f := &tlsFront{}
	base := &url.URL{Scheme: u.Scheme, Host: u.Host}
	proxy := httputil.NewSingleHostReverseProxy(base)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.requests.Add(1)
		proxy.ServeHTTP(w, r)
	}))
	s.TLS = ca.good()
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	f.url = s.URL + strings.TrimPrefix(target, base.String())
	return f
}

// A trustRun is one process.
type trustRun struct {
	*testing.T
	set map[string]string
	ca  *authority
	dir string
}

func (r trustRun) run(args, variables []string, row trustRow, hint string) {
	set := maps.Clone(r.set)
	var fronts []*tlsFront
	for _, v := range variables {
		f := newTLSFront(r.T, r.ca, set[v])
		fronts, set[v] = append(fronts, f), f.url
	}
	for _, pair := range strings.Fields(strings.ReplaceAll(row.set, "$DIR", r.dir)) {
		name, value, _ := strings.Cut(pair, "=")
		set[name] = value
	}
	cmd := exec.CommandContext(r.Context(), "oidc-broker", args...)
	cmd.Env = []string{}
	for name, value := range set {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	asked := 0
	for _, f := range fronts {
		asked += int(f.requests.Load())
	}
	var exit *exec.ExitError
	switch {
	case row.words == "":
		if err != nil || stdout.Len() == 0 || stderr.Len() > 0 || asked != len(fronts) {
			r.Errorf("%v after %d requests, with %d bytes:\n%s", err, asked, stdout.Len(), stderr.String())
		}
		return
	case !errors.As(err, &exit) || exit.ExitCode() != 5 || asked != 0 || stdout.Len() > 0:
		r.Errorf("%v after %d requests, want exit code 5 after none; %d bytes on stdout", err, asked, stdout.Len())
	}
	if row.words == noAuthorities {
		hint = "install the ca-certificates package"
	}
	if said := stderr.String(); !strings.Contains(said, row.words) || !strings.Contains(said, hint) {
		r.Errorf("want %q and %q:\n%s", row.words, hint, said)
	}
}
