package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain runs the program itself where a test asks for it.
func TestMain(m *testing.M) {
	if os.Getenv("VAULTPEER_RUN") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// launch starts the program, and returns its address and what ends it.
func launch(t *testing.T, args ...string) (addr string, end func() error) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "VAULTPEER_RUN=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	var ready struct{ Addr, Root_token string }
	line, _ := bufio.NewReader(stdout).ReadString('\n')
	if err := json.Unmarshal([]byte(line), &ready); err != nil || ready.Root_token == "" {
		t.Fatalf("it says %q: %v", line, err)
	}
	return ready.Addr, func() error {
		_ = stdin.Close()
		return cmd.Wait()
	}
}

func TestProgram(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(file, []byte(`{"auth":{"jwt":{}},"kv1":{"a":{"b":1}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	addr, end := launch(t, "-config", file)
	r, err := http.Post(addr+"/v1/auth/jwt/login", "", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(r.Body)
	_ = r.Body.Close()
	if !strings.Contains(string(body), "could not load configuration") {
		t.Errorf("%s", body)
	}
	if err := end(); err != nil {
		t.Errorf("its end: %v", err)
	}
	if _, _, err := listen(t.Context(), options{listen: "0.0.0.0:0"}); err == nil {
		t.Error("it listens beyond loopback")
	}
}

func TestTLS(t *testing.T) {
	cert, key, pair, roots := certificate(t)
	client := func(c *tls.Config) *http.Client { return &http.Client{Transport: &http.Transport{TLSClientConfig: c}} }
	addr, _ := launch(t, "-tls-cert", cert, "-tls-key", key)
	get := func(c *tls.Config, addr string) error {
		r, err := client(c).Get(addr + "/v1/secret/data/a")
		if err == nil {
			_ = r.Body.Close()
		}
		return err
	}
	if err := get(&tls.Config{RootCAs: roots}, addr); err != nil {
		t.Error(err)
	}
	addr, _ = launch(t, "-tls-cert", cert, "-tls-key", key, "-client-ca", cert)
	if err := get(&tls.Config{RootCAs: roots}, addr); err == nil {
		t.Error("no certificate was demanded")
	}
	if err := get(&tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}, addr); err != nil {
		t.Error(err)
	}
}

// certificate makes one that is its own authority, and writes it down.
func certificate(t *testing.T) (cert, key string, pair tls.Certificate, roots *x509.CertPool) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for file, b := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if pair, err = tls.LoadX509KeyPair(cert, key); err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return cert, key, pair, roots
}
