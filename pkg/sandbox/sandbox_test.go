package sandbox

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

func TestEnvironment(t *testing.T) {
	always := map[string]string{
		"CI": "true", "CIRCLECI": "true", "CIRCLE_JOB": "deploy",
		"CIRCLE_ORGANIZATION_ID": orgID, "CIRCLE_PROJECT_ID": projectID,
		"CIRCLE_PIPELINE_ID": pipelineID, "CIRCLE_WORKFLOW_ID": workflowID, "CIRCLE_WORKFLOW_JOB_ID": jobID,
		"CIRCLE_BUILD_NUM": "42", "CIRCLE_NODE_INDEX": "0", "CIRCLE_NODE_TOTAL": "1",
		"CIRCLE_PROJECT_USERNAME": "my-org", "CIRCLE_PROJECT_REPONAME": "app",
		"CIRCLE_REPOSITORY_URL": "https://github.com/my-org/app", "CIRCLE_SHA1": commit, "CIRCLE_USERNAME": "octocat",
		"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
		"CLOUDSDK_CORE_DISABLE_PROMPTS": "1", "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true", "NO_GCE_CHECK": "true",
		"VAULT_ROLE": "deploy",
	}
	for _, row := range []struct {
		name  string
		v     Variant
		more  map[string]string
		unset []string
	}{
		{"branch", Variant{Branch: "b"}, map[string]string{"CIRCLE_BRANCH": "b"}, []string{"CIRCLE_TAG", "CIRCLE_PR_NUMBER"}},
		{"tag", Variant{Tag: "v1"}, map[string]string{"CIRCLE_TAG": "v1"}, []string{"CIRCLE_BRANCH"}},
		{"fork", Variant{Fork: true}, map[string]string{
			"CIRCLE_BRANCH": "pull/123", "CIRCLE_PR_NUMBER": "123", "CIRCLE_PR_USERNAME": "stranger", "CIRCLE_PR_REPONAME": "app",
		}, []string{"CIRCLE_TAG"}},
		{"webhook", Variant{Webhook: true}, nil, []string{"CIRCLE_BRANCH", "CIRCLE_TAG"}},
	} {
		dir := t.TempDir()
		s := start(t, Config{Now: fixed, Dir: dir, Token: row.v})
		set, unset := s.Environment()
		for _, name := range []string{"CIRCLE_OIDC_JWKS_URL", "CIRCLE_OIDC_SANDBOX_URL", "AWS_ENDPOINT_URL_STS", "VAULT_ADDR"} {
			if u, err := url.Parse(set[name]); err != nil || u.Scheme != "http" || u.Hostname() != "127.0.0.1" || u.Port() == "" {
				t.Errorf("%s: %s is %q", row.name, name, set[name])
			}
			delete(set, name)
		}
		// gcloud appends to what it finds, so that the slash has to be there.
		for _, name := range []string{"STS", "IAMCREDENTIALS", "CLOUDRESOURCEMANAGER"} {
			name = "CLOUDSDK_API_ENDPOINT_OVERRIDES_" + name
			if u, err := url.Parse(set[name]); err != nil || u.Scheme != "http" || u.Hostname() != "127.0.0.1" || u.Port() == "" || u.Path != "/" {
				t.Errorf("%s: %s is %q", row.name, name, set[name])
			}
			delete(set, name)
		}
		if u, err := url.Parse(set["CLOUDSDK_AUTH_TOKEN_HOST"]); err != nil || u.Hostname() != "127.0.0.1" || u.Path != "/token" {
			t.Errorf("%s: CLOUDSDK_AUTH_TOKEN_HOST is %q", row.name, set["CLOUDSDK_AUTH_TOKEN_HOST"])
		}
		delete(set, "CLOUDSDK_AUTH_TOKEN_HOST")
		for _, name := range []string{"AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "CLOUDSDK_CONFIG", "BASH_ENV", "BAO_TOKEN_PATH"} {
			if filepath.Dir(set[name]) != dir && filepath.Dir(filepath.Dir(set[name])) != dir {
				t.Errorf("%s: %s is %q", row.name, name, set[name])
			}
			delete(set, name)
		}
		if decode(t, set["CIRCLE_OIDC_TOKEN"])["sub"] != ownSubject {
			t.Errorf("%s: no V1 token", row.name)
		}
		if _, c2 := row.v.Payload(fixed()); decode(t, set["CIRCLE_OIDC_TOKEN_V2"])["sub"] != c2["sub"] {
			t.Errorf("%s: no V2 token", row.name)
		}
		delete(set, "CIRCLE_OIDC_TOKEN")
		delete(set, "CIRCLE_OIDC_TOKEN_V2")
		want := map[string]string{}
		for _, m := range []map[string]string{always, row.more} {
			for name, value := range m {
				want[name] = value
			}
		}
		if diff := cmp.Diff(want, set); diff != "" {
			t.Errorf("%s: %s", row.name, diff)
		}
		for _, name := range append(row.unset, "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECURITY_TOKEN", "AWS_ENDPOINT_URL", "AWS_ROLE_ARN",
			"GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "GCP_PROJECT", "CLOUDSDK_CORE_PROJECT", "CLOUDSDK_PROJECT",
			"CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE", "CLOUDSDK_AUTH_ACCESS_TOKEN", "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE",
			"CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT", "CLOUDSDK_AUTH_TOKEN_INTROSPECTION_ENDPOINT", "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES",
			"GCP_PROJECT_ID", "GCP_WIP_ID", "GCP_WIP_PROVIDER_ID", "GCP_SERVICE_ACCOUNT_EMAIL",
			"GOOGLE_PROJECT_ID", "GOOGLE_PROJECT_NUMBER", "OIDC_WIP_ID", "OIDC_WIP_PROVIDER_ID", "OIDC_SERVICE_ACCOUNT_EMAIL",
			"GCP_WORKLOAD_IDENTITY_POOL", "GCP_WORKLOAD_IDENTITY_PROVIDER", "GCP_OIDC_SERVICE_ACCOUNT",
			"VAULT_TOKEN", "VAULT_NAMESPACE", "VAULT_CACERT", "VAULT_SKIP_VERIFY", "VAULT_AGENT_ADDR", "VAULT_AUTH_PATH",
			"BAO_ADDR", "BAO_TOKEN", "BAO_NAMESPACE", "BAO_ROLE", "BAO_CACERT",
		) {
			if !slices.Contains(unset, name) {
				t.Errorf("%s: %s is not unset", row.name, name)
			}
		}
		for _, name := range unset {
			if _, both := want[name]; both {
				t.Errorf("%s: %s is set and unset", row.name, name)
			}
		}
	}
}

func TestFilesArePrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("access lists, not modes, protect files on Windows")
	}
	dir := t.TempDir()
	s := start(t, Config{Now: fixed, Dir: dir, Executable: "oidc-broker"})
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	set, _ := s.Environment()
	if b, err := os.ReadFile(set["BASH_ENV"]); err != nil || len(b) != 0 {
		t.Errorf("BASH_ENV: %d bytes, %v", len(b), err)
	}
}

// The stand-in runs a program whatever its path is called, and hands on every
// argument as it is.
func TestStandIn(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs sh")
	}
	dir := filepath.Join(t.TempDir(), "it's $HOME; \"a\" `b`\n*")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "oidc broker")
	// #nosec G306 -- a program has to be executable
	if err := os.WriteFile(program, []byte("#!/bin/sh\nprintf '[%s]' \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := start(t, Config{Now: fixed, Executable: program})
	// #nosec G204 -- the script that this test is about
	out, err := exec.CommandContext(t.Context(), filepath.Join(s.Bin(), "circleci"), "run", "oidc", "get", "--claims", `{"aud":"it's $x"}`, "").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(out), `[sandbox][circleci-run][run][oidc][get][--claims][{"aud":"it's $x"}][]`; got != want {
		t.Errorf("ran %s, want %s", got, want)
	}
}

func TestNoStandInWithoutExecutable(t *testing.T) {
	s := start(t, Config{Now: fixed})
	left, err := os.ReadDir(s.Bin())
	if err != nil || len(left) != 0 {
		t.Errorf("%v, %v", left, err)
	}
}

func TestBadConfig(t *testing.T) {
	for _, row := range []struct {
		name string
		c    Config
		kind fault.Kind
		want string
	}{
		{"no clock", Config{Dir: "x"}, fault.Internal, "a sandbox needs a clock and a directory"},
		{"no directory", Config{Now: fixed}, fault.Internal, "a sandbox needs a clock and a directory"},
		{"role", Config{Now: fixed, Dir: "x", Roles: []string{"deploy"}}, fault.Usage, `"deploy" is not the ARN of a role`},
		{"role with a newline", Config{Now: fixed, Dir: "x", Roles: []string{DefaultRole + "\n"}}, fault.Usage, `"arn:aws:iam::111122223333:role/deploy\n" is not the ARN of a role`},
		{"external id", Config{Now: fixed, Dir: "x", ExternalIDs: map[string]string{"arn:aws:iam::1:role/x": "1"}}, fault.Usage,
			`there is an external id for "arn:aws:iam::1:role/x", but no such role`},
		{"project number", Config{Now: fixed, Dir: "x", GCPProjectID: "123456789012"}, fault.Usage, `"123456789012" is not the id of a Google Cloud project`},
		{"project with a newline", Config{Now: fixed, Dir: "x", GCPProjectID: "my-project\n"}, fault.Usage, `"my-project\n" is not the id of a Google Cloud project`},
		{"service account", Config{Now: fixed, Dir: "x", GCPServiceAccounts: []string{"deploy"}}, fault.Usage, `"deploy" is not the address of a service account`},
		{"somebody's address", Config{Now: fixed, Dir: "x", GCPServiceAccounts: []string{"me@example.com"}}, fault.Usage,
			`"me@example.com" is not the address of a service account`},
		{"sessions", Config{Now: fixed, Dir: "x", SessionTTL: time.Millisecond}, fault.Usage, "sessions cannot last 1ms"},
		{"token", Config{Now: fixed, Dir: "x", Token: Variant{TTL: -1}}, fault.Usage, "a token cannot live for -1ns"},
	} {
		_, err := Start(t.Context(), row.c)
		if err == nil || err.Error() != row.want || fault.KindOf(err) != row.kind {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), Config{Now: fixed, Dir: file}); fault.KindOf(err) != fault.Local {
		t.Errorf("a file for a directory: %v", err)
	}
}

// Everything secret that goes out is in Issued, and nothing of it in the log.
func TestLogHoldsNoSecret(t *testing.T) {
	var mu sync.Mutex
	var lines []string
	s := start(t, Config{Now: fixed, Log: func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, fmt.Sprintf(format, args...))
	}})
	set, _ := s.Environment()
	minted, err := CircleCIRun(t.Context(), set["CIRCLE_OIDC_SANDBOX_URL"], []string{"run", "oidc", "get"}, http.DefaultClient.Do)
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range []url.Values{
		webIdentity(minted, nil),
		webIdentity(minted, url.Values{"RoleSessionName": {minted}}),
		{"Action": {minted}},
	} {
		a, err := http.PostForm(set["AWS_ENDPOINT_URL_STS"], form)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, a.Body)
		_ = a.Body.Close()
	}
	google := set["CLOUDSDK_API_ENDPOINT_OVERRIDES_STS"] + "v1/token"
	iam := set["CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS"] + "v1/projects/-/serviceAccounts/"
	federated := send(t, google, "", exchangeForm(minted, nil))["access_token"]
	account := send(t, iam+DefaultGCPServiceAccount+":generateAccessToken", federated, `{"scope":["`+cloudPlatform+`"]}`)["accessToken"]
	id := send(t, iam+DefaultGCPServiceAccount+":generateIdToken", federated, `{"audience":"x"}`)["token"]
	for _, name := range []string{"scope", "audience", "grant_type", minted} {
		send(t, google, "", exchangeForm(minted, url.Values{name: {minted}}))
	}
	send(t, google, "", `{"`+minted+`":"`+minted+`"}`)
	send(t, iam+federated+":generateAccessToken", federated, `{"scope":["`+cloudPlatform+`"]}`)
	send(t, iam+DefaultGCPServiceAccount+":"+federated, federated, `{"`+federated+`":1}`)
	send(t, iam+DefaultGCPServiceAccount+":generateAccessToken", account, `{"scope":["`+cloudPlatform+`"]}`)
	_ = s.Close()
	mu.Lock()
	defer mu.Unlock()
	want := []string{
		"circleci: circleci run oidc get: 200",
		"aws sts: AssumeRoleWithWebIdentity: 200",
		"aws sts: AssumeRoleWithWebIdentity: 400 ValidationError",
		"aws sts: request: 400 InvalidAction",
		"google sts: token: 200",
		"google iam: generateAccessToken: 200",
		"google iam: generateIdToken: 200",
		"google sts: token: 400 invalid_scope",
		"google sts: token: 400 invalid_request",
		"google sts: token: 400 unsupported_grant_type",
		"google sts: token: 200", // an unknown parameter changes nothing
		"google sts: token: 400 INVALID_ARGUMENT",
		"google iam: generateAccessToken: 403 PERMISSION_DENIED (there is no such service account)",
		"google iam: request: 404 NOT_FOUND",
		"google iam: generateAccessToken: 403 PERMISSION_DENIED (the caller is that service account already)",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
	issued := s.Issued()
	for _, secret := range []string{minted, set["CIRCLE_OIDC_TOKEN"], set["CIRCLE_OIDC_TOKEN_V2"], federated, account, id} {
		if !slices.Contains(issued, secret) {
			t.Error("a token is not among those issued")
		}
	}
	for _, secret := range issued {
		if strings.Contains(strings.Join(lines, "\n"), secret) {
			t.Error("a secret is in the log")
		}
	}
}

// send posts a form or JSON, and returns what of the answer is text.
func send(t *testing.T, to, bearer string, body any) map[string]string {
	t.Helper()
	media, text := "application/json", fmt.Sprint(body)
	if form, ok := body.(url.Values); ok {
		media, text = "application/x-www-form-urlencoded", form.Encode()
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, to, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", media)
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	var all map[string]any
	if err := json.NewDecoder(a.Body).Decode(&all); err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for name, value := range all {
		if s, ok := value.(string); ok {
			texts[name] = s
		}
	}
	return texts
}

func TestClose(t *testing.T) {
	refused := func(s *Sandbox) bool {
		set, _ := s.Environment()
		a, err := http.Get(set["CIRCLE_OIDC_JWKS_URL"])
		if err == nil {
			_ = a.Body.Close()
		}
		return err != nil
	}
	s := start(t, Config{Now: fixed})
	if refused(s) {
		t.Error("not listening")
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if !refused(s) {
		t.Error("listening after Close")
	}

	ctx, cancel := context.WithCancel(t.Context())
	s, err := Start(ctx, Config{Now: fixed, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	s.serving.Wait()
	if !refused(s) {
		t.Error("listening after the context's end")
	}
	_ = s.Close()
}

// Many clients at once get sessions of their own.
func TestParallel(t *testing.T) {
	l := newLab(t, Config{})
	seeds := len(l.ledger.list())
	token := l.v1(Variant{}, nil)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			r := httptest.NewRequest(http.MethodPost, "/v1/token", strings.NewReader(exchangeForm(token, nil).Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			w := httptest.NewRecorder()
			if l.google.serveSTS(w, r); w.Code != 200 {
				t.Errorf("%d", w.Code)
			}
			bearer := readGoogle(t, w).AccessToken
			r = httptest.NewRequest(http.MethodPost, accountsPath+DefaultGCPServiceAccount+":generateIdToken", strings.NewReader(`{"audience":"x"}`))
			r.Header.Set("Authorization", "Bearer "+bearer)
			w = httptest.NewRecorder()
			if l.google.serveIAM(w, r); w.Code != 200 {
				t.Errorf("%d", w.Code)
			}
			w = httptest.NewRecorder()
			l.sts.serve(w, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(webIdentity(token, nil).Encode())))
			if w.Code != 200 {
				t.Errorf("%d", w.Code)
			}
		})
	}
	wg.Wait()
	all := l.ledger.list()[seeds:]
	slices.Sort(all)
	// The id tokens say the same, and so are the same.
	if n := len(slices.Compact(all)); n != 1+3*16+1 {
		t.Errorf("%d different secrets", n)
	}
}
