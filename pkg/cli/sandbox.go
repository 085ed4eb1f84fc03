package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/child"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/pkg/internal/shell"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
	"github.com/oidc-broker/oidc-broker/pkg/policy/iam"
	"github.com/oidc-broker/oidc-broker/pkg/policy/wif"
	"github.com/oidc-broker/oidc-broker/pkg/sandbox"
	"github.com/oidc-broker/oidc-broker/pkg/sandbox/job"
)

// sandboxOptions say what the sandbox holds.
type sandboxOptions struct {
	roles     []string
	claims    []string
	vaultRole string
	trust     string // a file: the trust policy of the AWS roles
	provider  string // a file: Google's provider
	explain   bool
	session   time.Duration // that AWS sessions and Google access tokens last; 0: as long as they do
	token     sandbox.Variant
	job       job.Options
}

func (a *app) sandboxCommand() *cobra.Command {
	var s sandboxOptions
	c := &cobra.Command{
		Use:        "sandbox [-- COMMAND [ARG...]]",
		SuggestFor: []string{"mock", "local", "emulator", "try"},
		Short:      "Try everything without CI and without a cloud",
		Long: `Start, on loopback only, an issuer that signs tokens as CircleCI does, and an AWS STS,
Google services and a Vault that judge them as the real ones do, and run COMMAND in the
environment of a CircleCI job that uses them. Profiles and $BASH_ENV are files of the
sandbox's own, so that nothing of yours is touched; a 'circleci' that can mint tokens is
on PATH. The exit code is COMMAND's. Without COMMAND, the sandbox prints the environment
and serves until it is interrupted.

The role ` + sandbox.DefaultRole + ` exists unless --aws-role names others; it trusts
the tokens of the project that the job belongs to, and its sessions last 1h at most. At
Google, the provider
` + sandbox.DefaultGCPProvider + `
exists, and lets the project impersonate ` + sandbox.DefaultGCPServiceAccount + `.
At Vault, the role ` + sandbox.DefaultVaultRole + ` lets the project's own repository read secret/ci/*, kv1/ci/*
and dyn/creds/*, unless --vault-role says who gets in.

With --ci, the job and its tokens are those of another CI system, and what issues tokens
there runs on loopback: GitHub's request endpoint, a 'buildkite-agent' on PATH, a metadata
server. The roles and the provider then trust the subject of this job. AWS's tokens are for
` + job.AWSAudience + `, Google's for the provider's full name, Vault's for ` + job.VaultAudience + `; where the
job has one token for all, it is for its own audience.`,
		Example: `  oidc-broker sandbox -- oidc-broker aws whoami --role-arn ` + sandbox.DefaultRole + `
  oidc-broker sandbox --fork -- ./deploy.sh
  oidc-broker sandbox --ci github --environment production -- ./deploy.sh`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return commandArgs(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			if s.token.TTL < 0 || s.token.TTL == 0 && c.Flags().Changed("ttl") {
				return fault.New(fault.Usage, "%s %s is not more than zero", fault.Option("ttl"), s.token.TTL).Hint("for a token that has expired: %s", fault.Option("expired"))
			}
			return a.sandbox(c.Context(), s, args)
		},
	}
	o := a.own(c)
	o.choice(&s.job.CI, "ci", "OIDC_BROKER_SANDBOX_CI", job.Names(), "CI `system` that the job is of: "+strings.Join(job.Names(), ", ")+" (default circleci)")
	o.list(&s.roles, "aws-role", "OIDC_BROKER_AWS_ROLE", "`ARN` of an AWS role that exists (repeatable; default "+sandbox.DefaultRole+")")
	o.text(&s.trust, "trust-policy", "OIDC_BROKER_SANDBOX_TRUST_POLICY", "`file` with the trust policy of the AWS roles, as for 'policy check aws'")
	o.text(&s.provider, "gcp-provider", "OIDC_BROKER_SANDBOX_GCP_PROVIDER", "`file` with the workload identity provider, as for 'policy check gcp'")
	o.switches(&s.explain, "explain", "OIDC_BROKER_SANDBOX_EXPLAIN", "say on stderr which condition of these documents refused a token")
	o.text(&s.vaultRole, "vault-role", "OIDC_BROKER_SANDBOX_VAULT_ROLE", "`file` with what the Vault role "+sandbox.DefaultVaultRole+" is, as 'vault read -format=json' prints it (- is standard input)")
	o.text(&s.token.Org, "org", "OIDC_BROKER_SANDBOX_ORG", "`UUID` of the organisation that the job is of, as your own documents name it (default: a made-up one)")
	o.text(&s.token.Project, "project", "OIDC_BROKER_SANDBOX_PROJECT", "`UUID` of the project")
	o.text(&s.token.Origin, "vcs-origin", "OIDC_BROKER_SANDBOX_VCS_ORIGIN", "`repository` of the project (default "+ci.SampleOrigin+")")
	o.text(&s.token.Branch, "branch", "OIDC_BROKER_SANDBOX_BRANCH", "`branch` the token is for (default main)")
	o.text(&s.token.Tag, "tag", "OIDC_BROKER_SANDBOX_TAG", "`tag` the token is for, instead of a branch")
	o.text(&s.job.Environment, "environment", "OIDC_BROKER_SANDBOX_ENVIRONMENT", "`name` of the environment that the job deploys to (github, gitlab, bitbucket)")
	o.switches(&s.token.Fork, "fork", "OIDC_BROKER_SANDBOX_FORK", "a token of a forked pull request")
	o.switches(&s.job.PullRequest, "pull-request", "OIDC_BROKER_SANDBOX_PULL_REQUEST", "a token of a pull request from a branch of the own repository (github, gitlab)")
	o.switches(&s.job.Immutable, "immutable-subject", "OIDC_BROKER_SANDBOX_IMMUTABLE_SUBJECT", "a subject with the ids of owner and repository (github)")
	o.switches(&s.token.Webhook, "webhook", "OIDC_BROKER_SANDBOX_WEBHOOK", "a token of a pipeline that a custom webhook started: it has no repository")
	o.switches(&s.token.SSHRerun, "ssh-rerun", "OIDC_BROKER_SANDBOX_SSH_RERUN", "a token of a job that was rerun with SSH")
	o.switches(&s.token.Expired, "expired", "OIDC_BROKER_SANDBOX_EXPIRED", "a token that has expired")
	o.switches(&s.token.RootIssuer, "root-issuer", "OIDC_BROKER_SANDBOX_ROOT_ISSUER", "a token of the issuer that all organisations share")
	o.text(&s.token.Audience, "audience", "OIDC_BROKER_SANDBOX_AUDIENCE", "`audience` of the token (default: the organisation's id)")
	o.duration(&s.token.TTL, "ttl", "OIDC_BROKER_SANDBOX_TTL", 0, "how long the token is valid (default: as long as the CI system's; CircleCI: 1h)")
	o.duration(&s.session, "session-ttl", "OIDC_BROKER_SANDBOX_SESSION_TTL", 0, "`time` that AWS sessions and Google access tokens last at most, whatever is asked for (default: as long as in the clouds)")
	o.flags.StringArrayVar(&s.claims, "claim", nil, "`NAME=JSON`: a claim to set, last (repeatable)")
	o.note("claim", "")
	c.AddCommand(a.standInCommand("circleci-run", func(ctx context.Context, args []string) (string, error) {
		return sandbox.CircleCIRun(ctx, a.Getenv("CIRCLE_OIDC_SANDBOX_URL"), args, a.client().Do)
	}))
	c.AddCommand(a.standInCommand("buildkite-agent-run", func(ctx context.Context, args []string) (string, error) {
		return job.BuildkiteAgent(ctx, a.Getenv, args, a.client().Do)
	}))
	return c
}

// sandbox runs argv in a sandbox, or serves one.
func (a *app) sandbox(ctx context.Context, o sandboxOptions, argv []string) (err error) {
	if o.token.Claims, err = parseClaims(o.claims); err != nil {
		return err
	}
	if o.session != 0 && o.session < time.Second {
		return fault.New(fault.Usage, "%s %s is less than a second", fault.Option("session-ttl"), o.session)
	}
	c, err := a.sandboxConfig(o)
	if err != nil {
		return err
	}
	self, err := a.Executable()
	if err != nil {
		return fault.New(fault.Local, "cannot find this program's own file: %w", err)
	}
	dir, done, err := a.privateDir(ctx)
	if err != nil {
		return err
	}
	defer done()
	// With a command, an interrupt is the command's: its clouds stay until it ends.
	life := ctx
	if len(argv) > 0 {
		life = context.WithoutCancel(ctx)
	}
	c.Dir, c.Executable = dir, self
	s, err := sandbox.Start(life, c)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	env := a.sandboxEnvironment(s, dir, filepath.Dir(self))
	if len(argv) == 0 {
		return a.serve(ctx, env)
	}
	return a.run(ctx, argv, env)
}

// sandboxConfig reads the documents by which the sandbox judges.
func (a *app) sandboxConfig(o sandboxOptions) (sandbox.Config, error) {
	c := sandbox.Config{Now: a.Now, Log: a.progress, Roles: o.roles, SessionTTL: o.session, Token: o.token, Job: o.job}
	if err := oneStdin(o.trust, o.provider, o.vaultRole); err != nil {
		return c, err
	}
	_, err := policy.Job{Org: o.token.OrgID(), Project: o.token.ProjectID(), VCSOrigin: o.token.OwnOrigin()}.Resolve()
	if err != nil {
		return c, err
	}
	if c.TrustPolicy, err = optional(a, "trust-policy", o.trust, iam.Parse); err != nil {
		return c, err
	}
	if c.GCPProvider, err = optional(a, "gcp-provider", o.provider, wif.Parse); err != nil {
		return c, err
	}
	v, err := optional(a, "vault-role", o.vaultRole, parseVault)
	if err != nil {
		return c, err
	}
	if v != nil {
		c.VaultRole, c.VaultConfig = v.role, v.config
	}
	if o.explain {
		c.Explain = func(what string, j policy.Judgement) { a.explained(what, j) }
	}
	return c, nil
}

// explained says what a document made of a token, with the checks that refused.
func (a *app) explained(what string, j policy.Judgement) {
	a.note(fmt.Sprintf("%s says %s: %s", what, j.Verdict, j.Reason))
	for _, c := range j.Checks {
		if c.Verdict == policy.Allow {
			continue
		}
		a.note(fmt.Sprintf("%s: %s: wanted %s, got %s", c.Verdict, c.Name, c.Wanted, c.Got))
		for _, h := range c.Hints {
			a.note(h)
		}
	}
}

// sandboxEnvironment points everything at the sandbox. This program's own
// directory is on PATH, so that COMMAND finds it under its name.
func (a *app) sandboxEnvironment(s *sandbox.Sandbox, dir, own string) child.Environment {
	set, unset := s.Environment()
	// Where 'gcp login' puts its files, and where the record for cleanup and the
	// caches are.
	set["XDG_CONFIG_HOME"], set["XDG_STATE_HOME"], set["XDG_CACHE_HOME"] = filepath.Join(dir, "config"), filepath.Join(dir, "state"), filepath.Join(dir, "cache")
	path := []string{s.Bin(), own}
	if p := a.Getenv("PATH"); p != "" { // an empty entry would be the current directory
		path = append(path, p)
	}
	set["PATH"] = strings.Join(path, string(filepath.ListSeparator))
	for _, name := range []string{"NO_PROXY", "no_proxy"} {
		set[name] = strings.TrimPrefix(a.Getenv(name)+",127.0.0.1,localhost", ",")
	}
	// What the user has set for us is about another job.
	unset = append(unset, "AWS_ROLE_SESSION_NAME", "AWS_CREDENTIAL_FILE", "CIRCLE_BUILD_URL")
	for _, v := range a.Environ() {
		if name, _, _ := strings.Cut(v, "="); set[name] == "" && (strings.HasPrefix(name, "OIDC_BROKER_") || s.TokenVariable(name)) {
			unset = append(unset, name)
		}
	}
	names := make([]string, 0, len(set))
	for name := range set {
		names = append(names, name)
	}
	sort.Strings(names)
	env := child.Environment{Unset: unset}
	for _, name := range names {
		env.Set = append(env.Set, child.Var{Name: name, Value: secret.New(set[name])})
	}
	return env
}

// serve prints the environment and waits for the interrupt that is the normal
// end. What it prints are secrets of the sandbox, good for nothing elsewhere.
func (a *app) serve(ctx context.Context, env child.Environment) error {
	b, err := shell.Render("sh", env)
	if err != nil {
		return err
	}
	if err := a.result(b); err != nil {
		return err
	}
	a.note("the sandbox serves until it is interrupted")
	<-ctx.Done()
	return nil
}

// parseClaims reads NAME=JSON.
func parseClaims(claims []string) (map[string]json.RawMessage, error) {
	all := map[string]json.RawMessage{}
	for _, c := range claims {
		name, value, ok := strings.Cut(c, "=")
		if !ok || name == "" || !json.Valid([]byte(value)) {
			return nil, fault.New(fault.Usage, "%s %q is not NAME=JSON", fault.Option("claim"), c).
				Hint(`text needs its quotes: %s 'oidc.circleci.com/vcs-ref="refs/heads/dev"'`, fault.Option("claim"))
		}
		all[name] = json.RawMessage(value)
	}
	return all, nil
}

// standInCommand is what the sandbox's circleci or buildkite-agent calls.
func (a *app) standInCommand(name string, run func(ctx context.Context, args []string) (token string, err error)) *cobra.Command {
	return &cobra.Command{
		Use:                name,
		Hidden:             true,
		DisableFlagParsing: true,
		// The real one knows none of our options and reads none of our variables.
		PersistentPreRunE: func(*cobra.Command, []string) error { return nil },
		RunE: func(c *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(c.Context(), time.Minute)
			defer cancel()
			token, err := run(ctx, args)
			if err != nil {
				return err
			}
			return a.result(fmt.Appendln(nil, token))
		},
	}
}
