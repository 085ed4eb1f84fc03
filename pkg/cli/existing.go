package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oidc-broker/oidc-broker/pkg/aws"
	"github.com/oidc-broker/oidc-broker/pkg/gcp"
	"github.com/oidc-broker/oidc-broker/pkg/internal/child"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/shell"
)

// existing is what an output's tools find without this program.
type existing struct {
	tools string   // whose credentials they are
	found []string // where they are
	none  string   // what to do where there are none
}

// orExisting adds --if-no-token to an output: where there is no token at all, outside
// of a CI job, the output can leave the credentials that look finds in use.
func (a *app) orExisting(c *cobra.Command, t *tokenOptions, look func() (existing, error)) *cobra.Command {
	var choice string
	a.own(c).choice(&choice, "if-no-token", "OIDC_BROKER_IF_NO_TOKEN", []string{"fail", "use-existing"},
		"`what` to do on a laptop or below 'circleci local execute', which have no token: fail, or use-existing credentials (default fail)")
	run := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		f := a.finder(*t)
		if choice != "use-existing" || !f.Absent() {
			return run(c, args)
		}
		if by := f.Hosted(); by != "" {
			err := run(c, args)
			if fault.KindOf(err) == fault.Token {
				return fault.New(fault.Token, "%w", err).Hint("%s use-existing does not apply: %s is set, so this is a CI job, which should have a token", fault.Option("if-no-token"), by)
			}
			return err
		}
		ctx, cancel := a.bounded(c.Context())
		defer cancel()
		missing := f.Unobtainable(ctx)
		if missing == nil {
			return run(c, args)
		}
		e, err := look()
		if err != nil {
			return err
		}
		if len(e.found) == 0 {
			return fault.New(fault.Token, "%w; %s use-existing found no %s", missing, fault.Option("if-no-token"), e.tools).Hint("%s", e.none)
		}
		// Also with --quiet: that another identity acts is never silent.
		a.say("note", fmt.Sprintf("no OpenID Connect token: nothing is changed, and tools use the existing %s: %s", e.tools, strings.Join(e.found, ", ")))
		if c.Name() == "exec" {
			return a.run(c.Context(), args, child.Environment{})
		}
		return nil
	}
	return c
}

// existingAWS looks for the credentials of a profile, or with "" for those of the
// environment.
func (a *app) existingAWS(profile string) (existing, error) {
	found, err := aws.FindFiles(a.Getenv)
	if err != nil {
		return existing{}, err
	}
	e := existing{tools: "AWS credentials", found: aws.Existing(profile, a.Getenv, found)}
	switch {
	case len(e.found) > 0:
	case profile == "" || profile == "default":
		e.none = "log in first (aws sso login, aws configure), or set AWS_PROFILE; the role of a machine is not looked for"
	default:
		e.tools = fmt.Sprintf("credentials in the AWS profile %q", profile)
		e.none = "the steps that follow want this profile: aws configure sso --profile " + shell.Word(profile)
	}
	return e, nil
}

// existingGoogle looks for the file that an output would write, or with "" for what
// Google's tools find.
func (a *app) existingGoogle(file string) (existing, error) {
	e := existing{tools: "Google Cloud credentials", found: a.machine().Existing(file), none: "log in first: gcloud auth application-default login, and gcloud auth login for gcloud itself"}
	if file != "" {
		e.none = fmt.Sprintf("the steps that follow want the file %q: copy your application default credentials there", file)
	}
	return e, nil
}

// existingVault looks for the variables of the secrets, or without secrets for a token.
func (r *vaultRun) existingVault() (existing, error) {
	wanted, err := r.options.Variables()
	if err != nil {
		return existing{}, err
	}
	if len(r.options.Secrets) > 0 {
		return r.existingSecrets(wanted), nil
	}
	e := existing{tools: "Vault token", none: "log in first: vault login, or set VAULT_TOKEN"}
	for _, name := range []string{"BAO_TOKEN", "VAULT_TOKEN"} {
		if r.Getenv(name) != "" {
			e.found = []string{name}
			return e, nil
		}
	}
	path, err := r.tokenPath()
	if err != nil {
		return existing{}, err
	}
	if text, err := files.Read(path, gcp.MaxConfiguration); err == nil && strings.TrimSpace(string(text)) != "" {
		e.found = []string{fmt.Sprintf("the file %q", path)}
	}
	return e, nil
}

// existingSecrets looks for the variables that the secrets would go into: the next
// command wants them all.
func (r *vaultRun) existingSecrets(wanted []string) existing {
	e := existing{tools: "variables of --secret", found: wanted}
	if len(wanted) == 0 {
		e.none = "these are looked for where --secret names the fields and their variables: not with *, and not with a file"
	}
	var absent []string
	for _, name := range wanted {
		if r.Getenv(name) == "" {
			absent = append(absent, name)
		}
	}
	if len(absent) > 0 {
		e.found = nil
		e.none = "the command wants them: set " + strings.Join(absent, ", ")
	}
	return e
}
