package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// serve answers as STS does, under a CA at the end of the system's bundle.
func serve(dir string) (*httptest.Server, string) {
	ca, key := certificate(nil, nil)
	leaf, leafKey := certificate(ca, key)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch {
		case strings.HasPrefix(r.URL.Path, "/v1/auth/"), strings.HasPrefix(r.URL.Path, "/v1/secret/"), strings.HasPrefix(r.URL.Path, "/v1/sys/"):
			answerVault(w, r.URL.Path)
		case r.URL.Path == "/v1/token":
			_, _ = io.WriteString(w, `{"access_token":"ya29.x","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":3599}`)
		case strings.HasSuffix(r.URL.Path, ":generateAccessToken"):
			_, _ = io.WriteString(w, `{"accessToken":"ya29.y","expireTime":"`+time.Now().Add(time.Hour).UTC().Format(time.RFC3339)+`"}`)
		case strings.HasPrefix(r.URL.Path, "/v1/projects/"):
			_, _ = io.WriteString(w, `{"projectId":"my-project","projectNumber":"123456789012","lifecycleState":"ACTIVE","name":"my-project"}`)
		case strings.HasPrefix(r.URL.Path, "/compute/"):
			_, _ = io.WriteString(w, `{"kind":"compute#zone","name":"europe-west3-a","status":"UP"}`)
		default:
			// A session of 2099 would not be believed out of the cache.
			_, _ = fmt.Fprintf(w, answer, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
		}
	}))
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: leafKey}}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // a connection made ahead may not be needed
	s.StartTLS()
	bundle := filepath.Join(dir, "bundle.pem")
	system, err := os.ReadFile("/etc/ssl/certs/ca-certificates.crt")
	check(err)
	check(os.WriteFile(filepath.Join(dir, "ca.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw}), 0o600))
	check(os.WriteFile(bundle, append(system, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})...), 0o600))
	return s, bundle
}

func certificate(parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	name := "bench leaf"
	if parent == nil {
		name = "Amazon Root CA of the bench"
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: parent == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	if parent == nil {
		parent, by = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	check(err)
	c, err = x509.ParseCertificate(der)
	check(err)
	return c, key
}

// token has CircleCI's form and size; nobody judges it here.
func token() string {
	b64 := base64.RawURLEncoding.EncodeToString
	claims := fmt.Sprintf(`{"iss":"https://oidc.circleci.com/org/o","sub":"org/o/project/p/user/u","aud":"o","iat":1,"exp":%d,"pad":%q}`,
		time.Now().Add(time.Hour).Unix(), bytes.Repeat([]byte("x"), 700))
	return b64([]byte(`{"alg":"RS256","kid":"k","typ":"JWT"}`)) + "." + b64([]byte(claims)) + "." + b64(make([]byte, 256))
}

// answerVault answers as Vault does.
func answerVault(w http.ResponseWriter, path string) {
	switch {
	case path == "/v1/auth/jwt/login":
		_, _ = io.WriteString(w, `{"auth":{"client_token":"hvs.x","lease_duration":900,"renewable":true,"token_type":"service","policies":["default","ci"]}}`)
	case strings.HasPrefix(path, "/v1/secret/data/"):
		_, _ = io.WriteString(w, `{"data":{"data":{"password":"p"},"metadata":{"version":1,"created_time":"2026-01-01T00:00:00Z","deletion_time":"","destroyed":false}}}`)
	case strings.HasPrefix(path, "/v1/sys/internal/ui/mounts/"):
		_, _ = io.WriteString(w, `{"data":{"path":"secret/","type":"kv","options":{"version":"2"}}}`)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

const answer = `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>` +
	`<Credentials><AccessKeyId>ASIAEXAMPLEEXAMPLE00</AccessKeyId><SecretAccessKey>abcdefghijklmnopqrstuvwxyz0123456789+/AB</SecretAccessKey>` +
	`<SessionToken>IQoJb3JpZ2luX2VjEXAMPLE</SessionToken><Expiration>%s</Expiration></Credentials>` +
	`<AssumedRoleUser><AssumedRoleId>AROAEXAMPLE:deploy</AssumedRoleId><Arn>arn:aws:sts::111122223333:assumed-role/deploy/bench</Arn></AssumedRoleUser>` +
	`</AssumeRoleWithWebIdentityResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></AssumeRoleWithWebIdentityResponse>`
