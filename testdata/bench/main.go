// Command bench measures the program beside curl: whole processes, in turn, in
// one run, so that only the ratios between them count.
//
//	go run ./testdata/bench [-n 21] [-delay 20ms] [-gcloud | -vault]
//
// It starts a TLS server that answers as AWS STS does, with a certificate
// under a CA that stands at the end of the system's own bundle, and makes every
// client read all of that bundle, as in a job.
package main

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	rounds := flag.Int("n", 21, "rounds, each command once a round")
	delay := flag.Duration("delay", 0, "pause before each answer")
	gcloud := flag.Bool("gcloud", false, "measure beside gcloud instead: its own command, and the set-up step of the gcp-cli orb")
	vault := flag.Bool("vault", false, "measure a Vault login, two reads and the revocation instead, beside curl and, where there is one, the Vault CLI")
	flag.Parse()
	dir, err := os.MkdirTemp("", "bench")
	check(err)
	defer func() { _ = os.RemoveAll(dir) }()

	server, bundle := serve(dir, *delay)
	defer server.Close()
	binary := build(dir, "oidc-broker", "./cmd/oidc-broker")
	nothing := nothing(dir)

	// A job's environment: what this machine sets about certificates is left out.
	env := []string{"PATH=" + os.Getenv("PATH"), "SSL_CERT_FILE=" + bundle, "AWS_ENDPOINT_URL_STS=" + server.URL, "CIRCLECI=true",
		"CIRCLE_OIDC_TOKEN=" + token(), "AWS_ROLE_ARN=arn:aws:iam::111122223333:role/deploy", "AWS_REGION=us-east-1", "HOME=" + dir}
	form := filepath.Join(dir, "form")
	check(os.WriteFile(form, []byte("Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleSessionName=bench&RoleArn=arn%3Aaws%3Aiam%3A%3A111122223333%3Arole%2Fdeploy&WebIdentityToken="+token()), 0o600))
	env = append(env, "CLOUDSDK_API_ENDPOINT_OVERRIDES_STS="+server.URL, "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS="+server.URL,
		"OIDC_BROKER_WORKLOAD_IDENTITY_PROVIDER="+provider, "GCP_SERVICE_ACCOUNT_EMAIL="+account, "CLOUDSDK_CONFIG="+filepath.Join(dir, "gcloud"))
	if *vault {
		measureVault(env, server.URL, dir, binary, *rounds)
		return
	}
	out := filepath.Join(dir, "gcp.json")
	if *gcloud {
		measureGcloud(append(env, "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE="+bundle, "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER="+server.URL+"/",
			"CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE="+server.URL+"/compute/v1/"), server.URL, binary, out, *rounds)
		return
	}
	commands := []*command{
		{name: "curl, the same POST", argv: []string{"curl", "-sS", "--fail", "--cacert", bundle, "--data-binary", "@" + form, server.URL}},
		{name: "oidc-broker aws env", argv: []string{binary, "aws", "env"}},
		{name: "oidc-broker aws --profile", argv: []string{binary, "aws", "--profile", "bench"}},
		{name: "oidc-broker gcp env", argv: []string{binary, "gcp", "env"}},
		{name: "oidc-broker version", argv: []string{binary, "version"}},
		{name: "a Go program that does nothing", argv: []string{nothing}},
	}
	for i := range *rounds + 2 {
		for _, c := range commands {
			c.run(env, i >= 2) // two rounds to warm up
		}
	}
	report(commands, binary)
}

const (
	provider = "projects/123456789012/locations/global/workloadIdentityPools/circleci/providers/circleci"
	account  = "deploy@my-project.iam.gserviceaccount.com"
)

// measureGcloud measures create-cred-config beside gcloud's own, and 'gcp env',
// with its two calls, beside what the gcp-cli orb's step runs.
func measureGcloud(env []string, server, binary, out string, rounds int) {
	create := []string{"iam", "workload-identity-pools", "create-cred-config", provider, "--service-account=" + account, "--credential-source-file=" + out + ".token", "--output-file=" + out}
	// gcloud knows no other STS than Google's: sed points its file at ours.
	local := "sed -i 's#https://[a-z]*.googleapis.com/v1#" + server + "/v1#' " + out
	step := "gcloud " + strings.Join(create, " ") + " && " + local + " && gcloud auth login --brief --cred-file=" + out + " && gcloud config set project my-project && " +
		"gcloud config set compute/zone europe-west3-a && gcloud config set compute/region europe-west3"
	check(os.WriteFile(out+".token", []byte(token()), 0o600))
	pairs := [][]*command{
		{{name: "gcloud create-cred-config", argv: append([]string{"gcloud", "--quiet"}, create...)},
			{name: "oidc-broker gcp create-cred-config", argv: append([]string{binary, "gcp", "create-cred-config"}, create[3:]...)}},
		{{name: "the orb's step", argv: []string{"sh", "-c", step}},
			{name: "oidc-broker gcp env", argv: []string{binary, "gcp", "env"}}},
	}
	for _, pair := range pairs {
		for i := range rounds + 1 {
			for _, c := range pair {
				c.run(env, i >= 1)
			}
		}
		theirs, ours := pair[0], pair[1]
		fmt.Printf("%-28s %8.1f ms\n%-28s %8.1f ms, 1/%.0f of the wall time, 1/%.0f of the CPU time (medians of %d pairs)\n",
			theirs.name, median(theirs.wall), ours.name, median(ours.wall), median(ratios(theirs.wall, ours.wall)), median(ratios(theirs.cpu, ours.cpu)), rounds)
	}
}

// measureVault measures a login, two reads and the revocation: in one process of
// ours, in one of curl and in four, and in four of the Vault CLI.
func measureVault(env []string, server, dir, binary string, rounds int) {
	ca := filepath.Join(dir, "ca.pem")
	body := filepath.Join(dir, "login.json")
	check(os.WriteFile(body, []byte(`{"role":"deploy","jwt":"`+token()+`"}`), 0o600))
	env = append(env, "VAULT_ADDR="+server, "VAULT_CACERT="+ca, "VAULT_ROLE=deploy", "JWT="+body)
	with := func(args ...string) []string { return append([]string{"-sS", "--fail", "--cacert", ca}, args...) }
	login := with("--data-binary", "@"+body, server+"/v1/auth/jwt/login")
	app := with("-H", "X-Vault-Token: hvs.x", server+"/v1/secret/data/ci/app")
	db := with("-H", "X-Vault-Token: hvs.x", server+"/v1/secret/data/ci/db")
	revoke := with("-H", "X-Vault-Token: hvs.x", "-X", "POST", server+"/v1/auth/token/revoke-self")
	one := []string{"curl"}
	steps := make([]string, 0, 4)
	for _, args := range [][]string{login, app, db, revoke} {
		if len(one) > 1 {
			one = append(one, "--next")
		}
		one = append(one, args...)
		quoted := make([]string, len(args))
		for i, a := range args {
			quoted[i] = "'" + a + "'"
		}
		steps = append(steps, "curl "+strings.Join(quoted, " "))
	}
	commands := []*command{
		{name: "curl, four requests in one", argv: one},
		{name: "curl, four steps", argv: []string{"sh", "-ec", strings.Join(steps, "\n")}},
		{name: "oidc-broker vault read", argv: []string{binary, "vault", "read", "--secret", "secret/data/ci/app password", "--secret", "secret/data/ci/db password"}},
	}
	for _, cli := range []string{"vault", "bao"} {
		if path, err := exec.LookPath(cli); err == nil {
			commands = append(commands, &command{name: cli + " CLI, four steps", argv: []string{"sh", "-ec",
				path + " write -field=token auth/jwt/login role=deploy jwt=$(cat $JWT)\nexport VAULT_TOKEN=hvs.x\n" +
					path + " kv get -field=password secret/ci/app\n" + path + " kv get -field=password secret/ci/db\n" + path + " token revoke -self"}})
		}
	}
	for i := range rounds + 2 {
		for _, c := range commands {
			c.run(env, i >= 2)
		}
	}
	report(commands, binary)
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

// A command is measured as a whole process.
type command struct {
	name            string
	argv            []string
	wall, cpu, peak []float64 // ms, ms, MiB
}

func (c *command) run(env []string, counted bool) {
	cmd := exec.Command(c.argv[0], c.argv[1:]...)
	cmd.Env = env
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.Discard, &stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		log.Fatalf("%s: %v: %s", c.name, err, stderr.String())
	}
	if !counted {
		return
	}
	c.wall = append(c.wall, float64(time.Since(start).Microseconds())/1000)
	c.cpu = append(c.cpu, float64((cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()).Microseconds())/1000)
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		c.peak = append(c.peak, float64(u.Maxrss)/1024)
	}
}

func report(commands []*command, binary string) {
	base := commands[0]
	fmt.Printf("%-32s %9s %9s %9s %11s %11s\n", "median of "+fmt.Sprint(len(base.wall)), "wall ms", "cpu ms", "peak MiB", "wall/curl", "cpu/curl")
	for _, c := range commands {
		fmt.Printf("%-32s %9.1f %9.1f %9.1f %11.2f %11.2f\n", c.name, median(c.wall), median(c.cpu), slices.Max(c.peak),
			median(ratios(c.wall, base.wall)), median(ratios(c.cpu, base.cpu)))
	}
	info, err := os.Stat(binary)
	check(err)
	fmt.Printf("binary: %.1f MB\n", float64(info.Size())/1e6)
}

// ratios pairs what ran in the same round.
func ratios(a, b []float64) []float64 {
	r := make([]float64, len(a))
	for i := range a {
		r[i] = a[i] / b[i]
	}
	return r
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.SortFunc(v, cmp.Compare[float64])
	return v[len(v)/2]
}

// serve answers as STS does, under a CA at the end of the system's bundle.
func serve(dir string, delay time.Duration) (*httptest.Server, string) {
	ca, key := certificate(nil, nil)
	leaf, leafKey := certificate(ca, key)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		time.Sleep(delay)
		switch {
		case strings.HasPrefix(r.URL.Path, "/v1/auth/"), strings.HasPrefix(r.URL.Path, "/v1/secret/"), strings.HasPrefix(r.URL.Path, "/v1/sys/"):
			answerVault(w, r.URL.Path)
		case r.URL.Path == "/v1/token":
			_, _ = io.WriteString(w, `{"access_token":"ya29.x","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":3599}`)
		case strings.HasSuffix(r.URL.Path, ":generateAccessToken"):
			_, _ = io.WriteString(w, `{"accessToken":"ya29.y","expireTime":"2099-01-02T03:04:05Z"}`)
		case strings.HasPrefix(r.URL.Path, "/v1/projects/"):
			_, _ = io.WriteString(w, `{"projectId":"my-project","projectNumber":"123456789012","lifecycleState":"ACTIVE","name":"my-project"}`)
		case strings.HasPrefix(r.URL.Path, "/compute/"):
			_, _ = io.WriteString(w, `{"kind":"compute#zone","name":"europe-west3-a","status":"UP"}`)
		default:
			_, _ = io.WriteString(w, answer)
		}
	}))
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: leafKey}}}
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

func build(dir, name, pkg string) string {
	out := filepath.Join(dir, name)
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -buildid=", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	check(cmd.Run())
	return out
}

func nothing(dir string) string {
	src := filepath.Join(dir, "nothing.go")
	check(os.WriteFile(src, []byte("package main\n\nfunc main() {}\n"), 0o600))
	return build(dir, "nothing", src)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

const answer = `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>` +
	`<Credentials><AccessKeyId>ASIAEXAMPLEEXAMPLE00</AccessKeyId><SecretAccessKey>abcdefghijklmnopqrstuvwxyz0123456789+/AB</SecretAccessKey>` +
	`<SessionToken>IQoJb3JpZ2luX2VjEXAMPLE</SessionToken><Expiration>2099-01-02T03:04:05Z</Expiration></Credentials>` +
	`<AssumedRoleUser><AssumedRoleId>AROAEXAMPLE:deploy</AssumedRoleId><Arn>arn:aws:sts::111122223333:assumed-role/deploy/bench</Arn></AssumedRoleUser>` +
	`</AssumeRoleWithWebIdentityResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></AssumeRoleWithWebIdentityResponse>`
