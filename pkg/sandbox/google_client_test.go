package sandbox

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// The real gcloud, which knows nothing of this package, gets its tokens here.
// Each start of it takes seconds, so that there are few and all at once.
func TestGcloud(t *testing.T) {
	s := start(t, Config{Now: time.Now, GCPServiceAccounts: []string{secondAccount}})
	_, expired := mustMint(t, s, Variant{Expired: true})
	v1, v2 := mustMint(t, s, Variant{})
	account := credentialFile(t, s, v2+"\n", DefaultGCPServiceAccount)
	direct := credentialFile(t, s, v1, "")
	stale := credentialFile(t, s, expired, DefaultGCPServiceAccount)
	unbound := credentialFile(t, s, v1, "nobody@sandbox-project.iam.gserviceaccount.com")

	t.Run("service account", func(t *testing.T) {
		t.Parallel()
		token, _ := gcloud(t, s, true, []string{"CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE=" + account}, "auth", "print-access-token")
		if !strings.HasPrefix(token, "ya29.c.") || !slices.Contains(s.Issued(), token) {
			t.Error("the token is none of a service account's of the sandbox")
		}
	})
	t.Run("login without one", func(t *testing.T) {
		t.Parallel()
		own := []string{"CLOUDSDK_CONFIG=" + t.TempDir()}
		gcloud(t, s, true, own, "auth", "login", "--brief", "--cred-file="+direct)
		token, _ := gcloud(t, s, true, own, "auth", "print-access-token")
		if !strings.HasPrefix(token, "ya29.d.") || !slices.Contains(s.Issued(), token) {
			t.Error("the token is none of a workload's of the sandbox")
		}
		if who, _ := gcloud(t, s, true, own, "auth", "list", "--format=value(account)"); who != ownPrincipal {
			t.Errorf("logged in as %q", who)
		}
	})
	t.Run("id token through a delegate", func(t *testing.T) {
		t.Parallel()
		token, _ := gcloud(t, s, true, []string{"CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE=" + direct},
			"auth", "print-identity-token", "--impersonate-service-account="+DefaultGCPServiceAccount+","+secondAccount, "--audiences=https://run.example", "--include-email")
		if claims := decode(t, token); claims["email"] != secondAccount || claims["aud"] != "https://run.example" {
			t.Errorf("the token is of %v for %v", claims["email"], claims["aud"])
		}
	})
	t.Run("project", func(t *testing.T) {
		t.Parallel()
		if name, _ := gcloud(t, s, true, []string{"CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE=" + account},
			"projects", "describe", "123456789012", "--format=value(projectId,lifecycleState)"); name != "sandbox-project\tACTIVE" {
			t.Errorf("the project is %q", name)
		}
	})
	t.Run("expired", func(t *testing.T) {
		t.Parallel()
		_, stderr := gcloud(t, s, false, []string{"CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE=" + stale}, "auth", "print-access-token")
		if !strings.Contains(stderr, "Error code invalid_grant: ID Token issued at ") {
			t.Error(stderr)
		}
	})
	t.Run("not bound", func(t *testing.T) {
		t.Parallel()
		_, stderr := gcloud(t, s, false, []string{"CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE=" + unbound}, "auth", "print-access-token")
		if !strings.Contains(stderr, "Unable to acquire impersonated credentials") || !strings.Contains(stderr, "iam.serviceAccounts.getAccessToken") {
			t.Error(stderr)
		}
	})
}

// Google's library for Python, out of gcloud's own bundle.
func TestPythonLibrary(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Now: time.Now})
	v1, _ := mustMint(t, s, Variant{})
	const program = `
import sys
from google.auth import identity_pool
from google.auth.transport.requests import Request
creds = identity_pool.Credentials.from_file(sys.argv[1]).with_scopes(["https://www.googleapis.com/auth/cloud-platform"])
creds.refresh(Request())
print(creds.token, creds.expiry.isoformat())
`
	python, library := pythonLibrary(t)
	for _, account := range []string{"", DefaultGCPServiceAccount} {
		// #nosec G204 -- the Python of this machine
		cmd := exec.CommandContext(t.Context(), python, "-c", program, credentialFile(t, s, v1, account))
		cmd.Env = append(googleClientEnv(s), "PYTHONPATH="+library)
		out, err := cmd.CombinedOutput()
		token, expiry, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
		if err != nil || !slices.Contains(s.Issued(), token) {
			t.Fatalf("account %q: %v: %s", account, err, out)
		}
		if ends, err := time.Parse("2006-01-02T15:04:05", strings.Split(expiry, ".")[0]); err != nil || time.Until(ends) < 50*time.Minute {
			t.Errorf("account %q: the token ends at %s", account, expiry)
		}
	}
}

func mustMint(t *testing.T, s *Sandbox, v Variant) (v1, v2 string) {
	t.Helper()
	v1, v2, err := s.Mint(v)
	if err != nil {
		t.Fatal(err)
	}
	return v1, v2
}

// credentialFile writes what gcloud's create-cred-config does, but for the
// endpoints. Without an account the access is direct.
func credentialFile(t *testing.T, s *Sandbox, token, account string) string {
	t.Helper()
	set, _ := s.Environment()
	dir := t.TempDir()
	source := filepath.Join(dir, "token")
	if err := os.WriteFile(source, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	config := map[string]any{
		"universe_domain":    "googleapis.com",
		"type":               "external_account",
		"audience":           "//iam.googleapis.com/" + DefaultGCPProvider,
		"subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
		"token_url":          set["CLOUDSDK_API_ENDPOINT_OVERRIDES_STS"] + "v1/token",
		"credential_source":  map[string]any{"file": source},
	}
	if account == "" {
		config["token_info_url"] = set["CLOUDSDK_API_ENDPOINT_OVERRIDES_STS"] + "v1/introspect"
	} else {
		config["service_account_impersonation_url"] = set["CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS"] +
			"v1/projects/-/serviceAccounts/" + account + ":generateAccessToken"
	}
	b, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "credentials.json")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// gcloud runs in the sandbox's environment.
func gcloud(t *testing.T, s *Sandbox, succeeds bool, env []string, args ...string) (stdout, stderr string) {
	t.Helper()
	testenv.NeedFull(t, "starts gcloud")
	path := testenv.Program(t, "gcloud")
	var out, diag bytes.Buffer
	// #nosec G204 -- the gcloud of this machine
	cmd := exec.CommandContext(t.Context(), path, args...)
	// Programs that write to one directory at once get in each other's way.
	cmd.Env = append(append(googleClientEnv(s), "CLOUDSDK_CONFIG="+t.TempDir()), env...)
	cmd.Stdout, cmd.Stderr = &out, &diag
	if err := cmd.Run(); (err == nil) != succeeds {
		t.Fatalf("gcloud %s: %v: %s", strings.Join(args[:2], " "), err, diag.Bytes())
	}
	return strings.TrimSpace(out.String()), diag.String()
}

func googleClientEnv(s *Sandbox) []string {
	set, unset := s.Environment()
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains(unset, name)
	})
	for name, value := range set {
		env = append(env, name+"="+value)
	}
	return env
}

// pythonLibrary returns a Python and where it finds Google's library.
func pythonLibrary(t *testing.T) (python, library string) {
	t.Helper()
	testenv.NeedFull(t, "starts the Python of gcloud")
	path, err := filepath.EvalSymlinks(testenv.Program(t, "gcloud"))
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Dir(filepath.Dir(path))
	library = filepath.Join(root, "lib", "third_party")
	if _, err := os.Stat(filepath.Join(library, "google", "auth")); err != nil {
		testenv.Missing(t, "google-auth, which gcloud has in its bundle")
	}
	python = filepath.Join(root, "platform", "bundledpythonunix", "bin", "python3")
	if _, err := os.Stat(python); err != nil {
		python = testenv.Program(t, "python3")
	}
	return python, library
}
