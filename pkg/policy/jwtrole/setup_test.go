package jwtrole

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// setupJobs are all shapes that a job has.
func setupJobs() map[string]Setup {
	job := func(origin, ref, audience string) Setup {
		return Setup{Job: policy.Job{Org: lintOrg, Project: lintProject, VCSOrigin: origin, VCSRef: ref, Audience: audience}}
	}
	long := job("gitlab.com/group/sub/app", "refs/tags/v1.2.3", "${path}%{if}\"'\\\n$${EOF")
	long.AuthPath, long.Role, long.Policy = "team/ci/jwt", "9-deploy.eu", "deploy-eu"
	return map[string]Setup{
		"project":             job("", "", ""),
		"repository":          job("github.com/my-org/app", "", ""),
		"branch":              job("github.com/my-org/app", "refs/heads/main", ""),
		"branch with slashes": job("github.com/my-org/app", "refs/heads/release/1.x", "vault"),
		"tag":                 job("github.com/my-org/app", "refs/tags/v1", ""),
		"audience":            job("", "", "https://vault.example.com"),
		"odd names":           long,
	}
}

// What is written is clean by its own lint, lets the job in that it was made
// for, and nobody else whom the server can tell apart.
func TestSetupIsSafe(t *testing.T) {
	for name, s := range setupJobs() {
		out, err := s.Write("json")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		r, cfg := lintParse(t, name, string(out.Text), string(out.Text))
		if findings := r.Lint(cfg, now); len(findings) > 0 {
			t.Errorf("%s: %+v", name, findings)
		}
		job := s.Variant()
		if job.Audience == "" {
			job.Audience = lintOrg
		}
		allow := func(what string, change func(*ci.Variant)) {
			v := job
			change(&v)
			setupJudge(t, name+": "+what, r, cfg, v, policy.Allow)
		}
		deny := func(what string, change func(*ci.Variant)) {
			v := job
			change(&v)
			setupJudge(t, name+": "+what, r, cfg, v, policy.Deny)
		}
		allow("the job", func(*ci.Variant) {})
		allow("another user", func(v *ci.Variant) { v.User = lintOrg })
		deny("ssh-rerun", func(v *ci.Variant) { v.SSHRerun = true })
		deny("another project", func(v *ci.Variant) { v.Project = ci.SampleProject })
		deny("another organisation", func(v *ci.Variant) { v.Org = ci.SampleOrg })
		deny("the shared issuer", func(v *ci.Variant) { v.RootIssuer = true })
		deny("another audience", func(v *ci.Variant) { v.Audience = "sts.amazonaws.com" })
		deny("expired", func(v *ci.Variant) { v.Expired = true })
		crafted := "x/vcs-origin/" + s.VCSOrigin + "/vcs-ref/refs/heads/main"
		if s.VCSOrigin != "" {
			deny("a fork", func(v *ci.Variant) { v.Fork = true })
			deny("a fork's crafted branch", func(v *ci.Variant) { v.Fork, v.Branch, v.Tag = true, crafted, "" })
			deny("a webhook", func(v *ci.Variant) { v.Webhook = true })
			deny("a repository that begins so", func(v *ci.Variant) { v.Origin += "-evil" })
		} else {
			allow("a webhook", func(v *ci.Variant) { v.Webhook = true })
			allow("another repository", func(v *ci.Variant) { v.Origin = "github.com/my-org/other" })
		}
		if s.VCSRef != "" {
			deny("a crafted branch", func(v *ci.Variant) { v.Branch, v.Tag = crafted, "" })
			deny("another branch", func(v *ci.Variant) { v.Branch, v.Tag = "dev", "" })
			deny("a tag or branch of the same name", func(v *ci.Variant) { v.Branch, v.Tag = v.Tag, v.Branch })
		}
	}
}

func setupJudge(t *testing.T, name string, r *Role, cfg *Config, v ci.Variant, want policy.Verdict) {
	t.Helper()
	v1, v2 := policy.ClaimsOf(v, now)
	for version, c := range map[string]policy.Claims{"V1": v1, "V2": v2} {
		if j := r.Check(Request{Claims: c, Config: cfg, Now: now}); j.Verdict != want {
			t.Errorf("%s %s: %s %s", name, version, j.Verdict, j.Reason)
		}
	}
}

func TestSetupText(t *testing.T) {
	s := setupJobs()["branch"]
	s.Policy = "ci"
	const role = `{
  "role_type": "jwt",
  "bound_audiences": ["11111111-2222-4333-8444-555566667777"],
  "bound_claims_type": "string",
  "bound_claims": {
    "oidc.circleci.com/project-id": "99999999-8888-4777-8666-555544443333",
    "oidc.circleci.com/vcs-origin": "github.com/my-org/app",
    "oidc.circleci.com/vcs-ref": "refs/heads/main",
    "oidc.circleci.com/ssh-rerun": false
  },
  "user_claim": "oidc.circleci.com/project-id",
  "token_policies": ["ci"],
  "token_ttl": 900,
  "token_max_ttl": 3600,
  "token_type": "service"
}
`
	const config = `{
  "oidc_discovery_url": "https://oidc.circleci.com/org/11111111-2222-4333-8444-555566667777",
  "bound_issuer": "https://oidc.circleci.com/org/11111111-2222-4333-8444-555566667777",
  "jwt_supported_algs": ["RS256"]
}
`
	for format, want := range map[string]string{
		"cli": "#!/bin/sh\nset -eu\n\nvault auth enable -path='jwt' jwt\n\nvault write 'auth/jwt/config' - <<'EOF'\n" + config +
			"EOF\n\nvault write 'auth/jwt/role/deploy' - <<'EOF'\n" + role + "EOF\n",
		"terraform": `resource "vault_jwt_auth_backend" "circleci" {
  path               = "jwt"
  type               = "jwt"
  description        = "CircleCI's jobs"
  oidc_discovery_url = "https://oidc.circleci.com/org/11111111-2222-4333-8444-555566667777"
  bound_issuer       = "https://oidc.circleci.com/org/11111111-2222-4333-8444-555566667777"
  jwt_supported_algs = ["RS256"]
}

# vault_jwt_auth_backend_role makes text of every claim's value, and ssh-rerun
# is a boolean.
resource "vault_generic_endpoint" "deploy" {
  path                 = "auth/${vault_jwt_auth_backend.circleci.path}/role/deploy"
  ignore_absent_fields = true

  data_json = jsonencode({
    role_type         = "jwt"
    bound_audiences   = ["11111111-2222-4333-8444-555566667777"]
    bound_claims_type = "string"
    bound_claims = {
      "oidc.circleci.com/project-id" = "99999999-8888-4777-8666-555544443333"
      "oidc.circleci.com/vcs-origin" = "github.com/my-org/app"
      "oidc.circleci.com/vcs-ref"    = "refs/heads/main"
      "oidc.circleci.com/ssh-rerun"  = false
    }
    user_claim     = "oidc.circleci.com/project-id"
    token_policies = ["ci"]
    token_ttl      = 900
    token_max_ttl  = 3600
    token_type     = "service"
  })
}
`,
	} {
		out, err := s.Write(format)
		if err != nil || string(out.Text) != want {
			t.Errorf("%s: %v\n%s", format, err, out.Text)
		}
		notes := strings.Join(out.Notes, "\n")
		for _, part := range []string{`the policy "ci"`, "renewed for 60 minutes", "custom webhook"} {
			if !strings.Contains(notes, part) {
				t.Errorf("%s: no note of %q in %s", format, part, notes)
			}
		}
	}
	notes := func(s Setup, format string) string {
		out, err := s.Write(format)
		if err != nil {
			t.Error(err)
		}
		return strings.Join(out.Notes, "\n")
	}
	for _, row := range []struct{ got, part string }{
		{notes(setupJobs()["project"], "json"), "pull requests of forks"},
		{notes(setupJobs()["audience"], "json"), `with the audience "https://vault.example.com"`},
		{notes(s, "json"), "delete it before"},
		{notes(s, "terraform"), "vault_generic_endpoint"},
	} {
		if !strings.Contains(row.got, row.part) {
			t.Errorf("no note of %q in %s", row.part, row.got)
		}
	}
}

func TestSetupErrors(t *testing.T) {
	good := setupJobs()["branch"]
	for _, row := range []struct {
		name   string
		change func(*Setup)
		want   string
	}{
		{"no project", func(s *Setup) { s.Project = "" }, "--project is missing"},
		{"auth/ in front", func(s *Setup) { s.AuthPath = "auth/jwt" }, `--auth-path "auth/jwt" begins with auth/, which is in front of every mount's path`},
		{"the tokens' path", func(s *Setup) { s.AuthPath = "token" }, `--auth-path "token" is where the server's tokens are`},
		{"a path with a quote", func(s *Setup) { s.AuthPath = "jwt'; rm -rf x" }, `--auth-path "jwt'; rm -rf x" is no name that Vault takes`},
		{"dots", func(s *Setup) { s.AuthPath = "a/../b" }, `--auth-path "a/../b" is no name that Vault takes`},
		{"an option as a path", func(s *Setup) { s.AuthPath = "-x" }, `--auth-path "-x" is no name that Vault takes`},
		{"upper case", func(s *Setup) { s.Role = "Deploy" }, `--role "Deploy" is no name that Vault takes`},
		{"a role with a slash", func(s *Setup) { s.Role = "a/b" }, `--role "a/b" is no name that Vault takes`},
		{"an audience that Vault would trim", func(s *Setup) { s.Audience = "vault\n" }, `--audience "vault\n" has white space at an end, which Vault takes away`},
		{"root", func(s *Setup) { s.Policy = "root" }, `--policy "root": the server gives no job a token with this policy`},
		{"a policy with a space", func(s *Setup) { s.Policy = "a b" }, `--policy "a b" is no name that Vault takes`},
	} {
		s := good
		row.change(&s)
		_, err := s.Write("json")
		if err == nil || err.Error() != row.want || fault.KindOf(err) != fault.Usage {
			t.Errorf("%s: %v, want %s", row.name, err, row.want)
		}
	}
	if _, err := good.Write("cloudformation"); err == nil || err.Error() != `unknown format "cloudformation"` {
		t.Error(err)
	}
}

// The script gives the CLI the same documents, whatever the shell.
func TestSetupScript(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("sh")
	}
	dir := t.TempDir()
	fake := "#!/bin/sh\nprintf '%s\\n' \"$*\" >>\"$OUT/args\"\ncase $1 in write) cat >\"$OUT/$(echo \"$2\" | tr / _)\" ;; esac\n"
	if err := os.WriteFile(filepath.Join(dir, "vault"), []byte(fake), 0o700); err != nil { // #nosec G306 -- a program
		t.Fatal(err)
	}
	for name, s := range setupJobs() {
		out := t.TempDir()
		text, err := s.Write("cli")
		if err != nil {
			t.Fatal(err)
		}
		run := exec.Command("sh")
		run.Stdin = bytes.NewReader(text.Text)
		run.Env = []string{"PATH=" + dir + ":/usr/bin:/bin", "OUT=" + out}
		if b, err := run.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", name, err, b)
			continue
		}
		s, _ = s.settle()
		args, _ := os.ReadFile(filepath.Join(out, "args"))
		want := "auth enable -path=" + s.AuthPath + " jwt\nwrite auth/" + s.AuthPath + "/config -\nwrite auth/" + s.AuthPath + "/role/" + s.Role + " -\n"
		if string(args) != want {
			t.Errorf("%s: %q, want %q", name, args, want)
		}
		path := strings.ReplaceAll("auth/"+s.AuthPath, "/", "_")
		role, _ := os.ReadFile(filepath.Join(out, path+"_role_"+s.Role))
		config, _ := os.ReadFile(filepath.Join(out, path+"_config"))
		r, _ := lintParse(t, name, string(role), string(config))
		if r.BoundAudiences[0] != s.Audience {
			t.Errorf("%s: audience %q", name, r.BoundAudiences)
		}
	}
}

// Terraform's own formatter has nothing to change, and what it makes of the
// role is the role.
func TestSetupTerraform(t *testing.T) {
	testenv.NeedFull(t, "starts Terraform")
	terraform := testenv.Program(t, "terraform")
	for name, s := range setupJobs() {
		out, err := s.Write("terraform")
		if err != nil {
			t.Fatal(err)
		}
		run := exec.Command(terraform, "fmt", "-check", "-diff", "-")
		run.Stdin = bytes.NewReader(out.Text)
		if b, err := run.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, b)
		}
		_, object, _ := strings.Cut(string(out.Text), "data_json = ")
		run = exec.Command(terraform, "console")
		run.Dir = t.TempDir()
		if err := os.WriteFile(filepath.Join(run.Dir, "main.tf"), []byte("locals {\n  role = "+object), 0o600); err != nil {
			t.Fatal(err)
		}
		run.Stdin = strings.NewReader("local.role\n")
		b, err := run.Output()
		if err != nil {
			t.Errorf("%s: console: %v", name, err)
			continue
		}
		var encoded string
		if err := json.Unmarshal(b, &encoded); err != nil {
			t.Errorf("%s: console: %v: %s", name, err, b)
			continue
		}
		whole, err := s.Write("json")
		if err != nil {
			t.Fatal(err)
		}
		want, _ := lintParse(t, name, string(whole.Text), string(whole.Text))
		got, err := ParseRole([]byte(encoded))
		if err != nil || shown(roleDocument(got)) != shown(roleDocument(want)) {
			t.Errorf("%s: %v\n%s", name, err, encoded)
		}
	}
}

// roleDocument is a role as the server prints it, as far as it is known here.
func roleDocument(r *Role) map[string]any {
	return map[string]any{
		"role_type":               r.RoleType,
		"expiration_leeway":       int64(r.ExpirationLeeway.Seconds()),
		"not_before_leeway":       int64(r.NotBeforeLeeway.Seconds()),
		"clock_skew_leeway":       int64(r.ClockSkewLeeway.Seconds()),
		"bound_audiences":         r.BoundAudiences,
		"bound_subject":           r.BoundSubject,
		"bound_claims_type":       r.BoundClaimsType,
		"bound_claims":            r.BoundClaims,
		"claim_mappings":          r.ClaimMappings,
		"user_claim":              r.UserClaim,
		"user_claim_json_pointer": r.UserClaimJSONPointer,
		"groups_claim":            r.GroupsClaim,
		"allowed_redirect_uris":   nil,
		"oidc_scopes":             nil,
		"verbose_oidc_logging":    false,
		"max_age":                 0,
		"token_bound_cidrs":       append([]string{}, r.TokenBoundCIDRs...),
		"token_explicit_max_ttl":  int64(r.TokenExplicitMaxTTL.Seconds()),
		"token_max_ttl":           int64(r.TokenMaxTTL.Seconds()),
		"token_no_default_policy": r.TokenNoDefaultPolicy,
		"token_period":            int64(r.TokenPeriod.Seconds()),
		"token_policies":          append([]string{}, r.TokenPolicies...),
		"token_type":              r.TokenType,
		"token_ttl":               int64(r.TokenTTL.Seconds()),
		"token_num_uses":          r.TokenNumUses,
	}
}
