package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/sandbox"
	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// vaultPeer is where the program of testdata/vaultpeer is: a Vault of HashiCorp's
// own plugins. It is a module of its own, which .ci/run builds.
func vaultPeer() string {
	if p := os.Getenv("OIDC_BROKER_VAULTPEER"); p != "" {
		return p
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".cache", "oidc-broker-tools", "vaultpeer")
}

func missingVaultPeer() bool {
	info, err := os.Stat(vaultPeer())
	return err != nil || info.IsDir()
}

// peerConfig is a Vault that trusts the keys at a URL, with the role, the policy
// and the secrets of the sandbox's own.
func peerConfig(jwks string) map[string]any {
	role := map[string]any{
		"role_type": "jwt", "bound_audiences": []string{ci.SampleOrg}, "user_claim": "oidc.circleci.com/project-id",
		"bound_claims": map[string]any{
			"oidc.circleci.com/project-id": ci.SampleProject, "oidc.circleci.com/vcs-origin": ci.SampleOrigin, "oidc.circleci.com/ssh-rerun": false,
		},
		"token_policies": []string{"ci"}, "token_ttl": "15m", "token_max_ttl": "1h",
	}
	bare := map[string]any{"role_type": "jwt", "bound_audiences": []string{ci.SampleOrg}, "user_claim": "oidc.circleci.com/project-id", "token_policies": []string{"ci"}, "token_no_default_policy": true}
	batch := map[string]any{"role_type": "jwt", "bound_audiences": []string{ci.SampleOrg}, "user_claim": "oidc.circleci.com/project-id", "token_policies": []string{"ci"}, "token_type": "batch"}
	mount := map[string]any{
		"config": map[string]any{"jwks_url": jwks, "bound_issuer": ci.OrgIssuer(ci.SampleOrg)},
		"roles":  map[string]any{"deploy": role, "bare": bare, "batch": batch},
	}
	away := map[string]any{
		"config": map[string]any{"jwks_url": "http://127.0.0.1:1/keys", "bound_issuer": ci.OrgIssuer(ci.SampleOrg)},
		"roles":  map[string]any{"deploy": role}, "unchecked": true,
	}
	return map[string]any{
		"auth":     map[string]any{"jwt": mount, "ci/jwt": mount, "away": away, "empty": map[string]any{}},
		"policies": map[string]any{"ci": map[string]any{"secret/data/ci/*": []string{"read"}, "kv1/ci/*": []string{"read"}, "dyn/creds/*": []string{"read", "update"}}},
		"kv1":      map[string]any{"ci/app": map[string]any{"data": "a field called data", "password": "kv1-password-of-the-peer"}},
		"kv2": map[string]any{
			"ci/app": map[string]any{
				"password": "it's a \"password\" of the peer", "private_key": "-----BEGIN KEY-----\nof the peer\n-----END KEY-----\n",
				"db.password": "dotted-value-of-the-peer", "data": "field", "number": json.Number("12345678901234567890"),
				"empty": "", "enabled": true, "settings": map[string]any{"region": "eu", "replicas": 3},
			},
			"ci/gone": []any{map[string]any{"password": "once-upon-a-time"}, nil},
		},
	}
}

// startPeer runs the peer until stop is called; it returns its address and its
// root token.
func startPeer(dir string, config map[string]any) (addr, root string, stop func(), err error) {
	b, err := json.Marshal(config)
	if err != nil {
		return "", "", nil, err
	}
	file := filepath.Join(dir, "vaultpeer.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		return "", "", nil, err
	}
	cmd := exec.Command(vaultPeer(), "-config", file)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", "", nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", "", nil, err
	}
	stop = func() { _ = in.Close(); _ = cmd.Wait() }
	var ready struct {
		Addr string `json:"addr"`
		Root string `json:"root_token"`
	}
	if err := json.NewDecoder(out).Decode(&ready); err != nil {
		stop()
		return "", "", nil, err
	}
	return ready.Addr, ready.Root, stop, nil
}

// scriptPeer is the script command vaultpeer: Vault is the peer from here on.
func scriptPeer(ts *testscript.TestScript, neg bool, args []string) {
	jwks := ts.Getenv("CIRCLE_OIDC_JWKS_URL")
	if neg || len(args) > 1 || jwks == "" {
		ts.Fatalf("usage: vaultpeer [FILE], after sandbox")
	}
	config := peerConfig(jwks)
	if len(args) == 1 {
		var patch map[string]any
		text := strings.ReplaceAll(ts.ReadFile(args[0]), "$CIRCLE_OIDC_JWKS_URL", jwks)
		ts.Check(json.Unmarshal([]byte(text), &patch))
		merge(config, patch)
	}
	addr, root, stop, err := startPeer(ts.MkAbs("."), config)
	ts.Check(err)
	ts.Defer(stop)
	ts.Setenv("VAULT_ADDR", addr)
	ts.Setenv("VAULT_ROLE", "deploy")
	ts.Setenv("VAULT_ROOT_TOKEN", root)
	held := secretsOf(ts)
	held.mu.Lock()
	held.from = append(held.from, issuedBy(addr))
	held.more = append(held.more, "kv1-password-of-the-peer", `it's a "password" of the peer`, "dotted-value-of-the-peer", "once-upon-a-time")
	held.mu.Unlock()
}

// merge changes a document by a JSON merge patch (RFC 7396).
func merge(into, patch map[string]any) {
	for name, change := range patch {
		inner, ok := into[name].(map[string]any)
		deeper, also := change.(map[string]any)
		switch {
		case change == nil:
			delete(into, name)
		case ok && also:
			merge(inner, deeper)
		default:
			into[name] = change
		}
	}
}

// issuedBy is a peer's address, where it lists the tokens and passwords it made.
type issuedBy string

// Issued returns those of now. A peer that does not answer must not pass for one
// that made none.
func (addr issuedBy) Issued() []string {
	res, err := http.Get(string(addr) + "/issued")
	if err != nil {
		panic(err)
	}
	defer func() { _ = res.Body.Close() }()
	var all []string
	if err := json.NewDecoder(res.Body).Decode(&all); err != nil {
		panic(err)
	}
	return all
}

// scriptFault is the script command fault KIND TIMES PATH: the peer's next answers
// below the path are faulty.
func scriptFault(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: fault KIND TIMES PATH")
	}
	times, err := strconv.Atoi(args[1])
	ts.Check(err)
	b, err := json.Marshal(map[string]any{"kind": args[0], "times": times, "path": args[2]})
	ts.Check(err)
	res, err := http.Post(ts.Getenv("VAULT_ADDR")+"/fault", "application/json", bytes.NewReader(b))
	ts.Check(err)
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode/100 != 2 {
		ts.Fatalf("the peer answers %s", res.Status)
	}
}

// TestTheSandboxAnswersAsHashiCorpsPlugins asks both the same: status and words
// have to be the same.
func TestTheSandboxAnswersAsHashiCorpsPlugins(t *testing.T) {
	if missingVaultPeer() {
		testenv.Missing(t, "testdata/vaultpeer, which .ci/run builds,")
	}
	dir := t.TempDir()
	s, err := sandbox.Start(context.Background(), sandbox.Config{Now: time.Now, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	env, _ := s.Environment()
	config := peerConfig(env["CIRCLE_OIDC_JWKS_URL"])
	// As the sandbox's own mount has it: with keys that are fetched, two of the
	// plugin's texts are others.
	config["auth"].(map[string]any)["jwt"].(map[string]any)["config"] = map[string]any{
		"jwt_validation_pubkeys": []string{publicKey(t, env["CIRCLE_OIDC_JWKS_URL"])}, "bound_issuer": ci.OrgIssuer(ci.SampleOrg),
	}
	delete(config["auth"].(map[string]any), "away")
	good, _, err := s.Mint(ci.Variant{})
	if err != nil {
		t.Fatal(err)
	}
	config["kv1"], config["kv2"] = secretsInTheSandbox(t, env["VAULT_ADDR"], good)
	peer, _, stop, err := startPeer(dir, config)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	mint := func(v ci.Variant) string {
		v1, _, err := s.Mint(v)
		if err != nil {
			t.Fatal(err)
		}
		return v1
	}
	type logins struct{ path, role, jwt string }
	for _, l := range []logins{
		{"auth/jwt/login", "deploy", good},
		{"auth/ci/jwt/login", "deploy", good},
		{"auth/jwt/login", "DEPLOY", good},
		{"auth/jwt/login", "nosuch", good},
		{"auth/jwt/login", "", good},
		{"auth/jwt/login", "deploy", ""},
		{"auth/jwt/login", "deploy", "$CIRCLE_OIDC_TOKEN"},
		{"auth/jwt/login", "deploy", good[:len(good)-8] + "AAAAAAAA"},
		{"auth/other/login", "deploy", good},
		{"auth/jwt/login", "deploy", mint(ci.Variant{Expired: true})},
		{"auth/jwt/login", "deploy", mint(ci.Variant{Audience: "other"})},
		{"auth/jwt/login", "deploy", mint(ci.Variant{RootIssuer: true})},
		{"auth/jwt/login", "deploy", mint(ci.Variant{Org: "11111111-1111-4111-8111-111111111111", Audience: ci.SampleOrg})},
		{"auth/jwt/login", "deploy", mint(ci.Variant{Project: "11111111-1111-4111-8111-111111111111"})},
		{"auth/jwt/login", "deploy", mint(ci.Variant{Fork: true})},
		{"auth/jwt/login", "deploy", mint(ci.Variant{Webhook: true})},
		{"auth/jwt/login", "deploy", mint(ci.Variant{SSHRerun: true})},
	} {
		b, err := json.Marshal(map[string]string{"role": l.role, "jwt": l.jwt})
		if err != nil {
			t.Fatal(err)
		}
		one := askVault(t, env["VAULT_ADDR"], vaultRequest{method: "POST", path: l.path, body: string(b)}, nil)
		two := askVault(t, peer, vaultRequest{method: "POST", path: l.path, body: string(b)}, nil)
		one.compare(t, l.path+" as "+l.role, two, "mount_type")
	}
	compareVaults(t, env["VAULT_ADDR"], peer, good)
}

// publicKey fetches an issuer's key as PEM.
func publicKey(t *testing.T, url string) string {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var set jose.JSONWebKeySet
	if err := json.NewDecoder(res.Body).Decode(&set); err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(set.Keys[0].Key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}
