package sandbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// The real AWS CLI, which knows nothing of this package, gets through a whole
// chain: a token, a role, another role.
func TestAWSCLI(t *testing.T) {
	const second = "arn:aws:iam::444455556666:role/team/release"
	s := start(t, Config{Now: time.Now, Roles: []string{DefaultRole, second}, ExternalIDs: map[string]string{second: "x-1"}})
	set, _ := s.Environment()
	out := awsCLI(t, s, nil, "sts", "assume-role-with-web-identity", "--role-arn", DefaultRole,
		"--role-session-name", "build-1", "--web-identity-token", set["CIRCLE_OIDC_TOKEN_V2"], "--duration-seconds", "900")
	first := out.Credentials.environment()
	if got, want := out.AssumedRoleUser.Arn, "arn:aws:sts::111122223333:assumed-role/deploy/build-1"; got != want {
		t.Errorf("assumed %q, want %q", got, want)
	}
	who := awsCLI(t, s, first, "sts", "get-caller-identity")
	if got, want := who.Arn, "arn:aws:sts::111122223333:assumed-role/deploy/build-1"; got != want {
		t.Errorf("first identity %q, want %q", got, want)
	}
	out = awsCLI(t, s, first, "sts", "assume-role", "--role-arn", second, "--role-session-name", "build-2", "--external-id", "x-1")
	who = awsCLI(t, s, out.Credentials.environment(), "sts", "get-caller-identity")
	if got, want := who.Arn, "arn:aws:sts::444455556666:assumed-role/release/build-2"; got != want {
		t.Errorf("second identity %q, want %q", got, want)
	}
}

// The CLI shows our refusals as AWS's own.
func TestAWSCLIRefusals(t *testing.T) {
	s := start(t, Config{Now: time.Now})
	v1, _, err := s.Mint(Variant{Expired: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name string
		env  []string
		args []string
		want string
	}{
		{"expired token", nil, []string{"assume-role-with-web-identity", "--role-arn", DefaultRole, "--role-session-name", "ci", "--web-identity-token", v1},
			"(ExpiredTokenException) when calling the AssumeRoleWithWebIdentity operation: Token expired"},
		{"invented key", []string{"AWS_ACCESS_KEY_ID=ASIAAAAAAAAAAAAAAAAA", "AWS_SECRET_ACCESS_KEY=x", "AWS_SESSION_TOKEN=y"}, []string{"get-caller-identity"},
			"(InvalidClientTokenId) when calling the GetCallerIdentity operation: The security token included in the request is invalid"},
	} {
		cmd := command(t, s, row.env, append([]string{"sts"}, row.args...)...)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), row.want) {
			t.Errorf("%s: %v: %s\nwant %q", row.name, err, out, row.want)
		}
	}
}

type cliOutput struct {
	Arn             string
	AssumedRoleUser struct{ Arn string }
	Credentials     cliCredentials
}

type cliCredentials struct{ AccessKeyId, SecretAccessKey, SessionToken string }

func (c cliCredentials) environment() []string {
	return []string{"AWS_ACCESS_KEY_ID=" + c.AccessKeyId, "AWS_SECRET_ACCESS_KEY=" + c.SecretAccessKey, "AWS_SESSION_TOKEN=" + c.SessionToken}
}

func awsCLI(t *testing.T, s *Sandbox, env []string, args ...string) cliOutput {
	t.Helper()
	var out cliOutput
	var stderr bytes.Buffer
	cmd := command(t, s, env, args...)
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	if err != nil {
		t.Fatalf("aws %s: %v: %s", strings.Join(args[:2], " "), err, stderr.Bytes())
	}
	if err := json.Unmarshal(stdout, &out); err != nil {
		t.Fatalf("aws %s: %v", strings.Join(args[:2], " "), err)
	}
	return out
}

// command is the aws CLI in the sandbox's environment.
func command(t *testing.T, s *Sandbox, env []string, args ...string) *exec.Cmd {
	t.Helper()
	testenv.NeedFull(t, "starts the AWS CLI")
	path := testenv.Program(t, "aws")
	// #nosec G204 -- the aws CLI of this machine
	cmd := exec.CommandContext(t.Context(), path, append([]string{"--output", "json"}, args...)...)
	set, unset := s.Environment()
	cmd.Env = slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains(unset, name)
	})
	for name, value := range set {
		cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%s", name, value))
	}
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

// start runs a sandbox for the length of a test.
func start(t *testing.T, c Config) *Sandbox {
	t.Helper()
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	s, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}
