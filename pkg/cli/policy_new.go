package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
	"github.com/oidc-broker/oidc-broker/pkg/policy/iam"
	"github.com/oidc-broker/oidc-broker/pkg/policy/jwtrole"
	"github.com/oidc-broker/oidc-broker/pkg/policy/wif"
)

// policyNew are the options of 'policy new', for every cloud.
type policyNew struct {
	*app
	job    policy.Job
	format string
	aws    iam.Setup
	gcp    wif.Setup
	vault  jwtrole.Setup
}

func (a *app) policyNewCommand() *cobra.Command {
	return policyClouds(&cobra.Command{
		Use:   "new",
		Short: "Write the trust for a project, safe by construction",
		Long: `Write what the cloud's owner sets up so that jobs of one CircleCI project, and nobody
else, get in. Organisation and project are CircleCI's UUIDs, taken from the job's token
where they are not given. What it writes passes 'policy lint'; what the cloud cannot
express is said on stderr.`,
		Example: `  oidc-broker policy new aws --org ORG_UUID --project PROJECT_UUID --account-id 111122223333 --role-name deploy`,
	}, a.newCommand)
}

func (a *app) newCommand(cloud string) *cobra.Command {
	n := &policyNew{app: a}
	formats := map[string]func() []string{"aws": iam.Formats, "gcp": wif.Formats, "vault": jwtrole.Formats}[cloud]()
	c := &cobra.Command{
		Use:     cloud,
		Short:   "Write the trust at " + cloudName(cloud),
		Long:    newLong(cloud),
		Example: newExample(cloud),
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if n.format == "" {
				n.format = "json"
			}
			return n.run(c.Context(), cloud)
		},
	}
	o := a.own(c)
	o.text(&n.job.Org, "org", "CIRCLE_ORGANIZATION_ID", "`UUID` of the organisation (default: the token's)")
	if cloud == "aws" {
		o.list(&n.aws.Projects, "project", "CIRCLE_PROJECT_ID", "`UUID` of the project (repeatable; default: the token's)")
		o.list(&n.aws.Origins, "vcs-origin", "OIDC_BROKER_VCS_ORIGIN", "`repository` that has to be built, like github.com/my-org/app: it keeps forks out (repeatable: for each project, in order)")
	} else {
		o.text(&n.job.Project, "project", "CIRCLE_PROJECT_ID", "`UUID` of the project (default: the token's)")
		o.text(&n.job.VCSOrigin, "vcs-origin", "OIDC_BROKER_VCS_ORIGIN", "`repository` that has to be built, like github.com/my-org/app: it keeps forks out")
	}
	o.text(&n.job.VCSRef, "vcs-ref", "OIDC_BROKER_VCS_REF", "`branch or tag` that has to be built, like refs/heads/main")
	o.text(&n.job.Audience, "audience", "OIDC_BROKER_AUDIENCE", "`audience` of the tokens (default: the organisation's UUID, as CircleCI's own)")
	switch cloud {
	case "aws":
		o.text(&n.aws.AccountID, "account-id", "OIDC_BROKER_ACCOUNT_ID", "`number` of the AWS account")
		o.text(&n.aws.RoleName, "role-name", "OIDC_BROKER_ROLE_NAME", "`name` of the role")
		o.switches(&n.aws.ExistingProvider, "existing-provider", "OIDC_BROKER_EXISTING_PROVIDER", "the account has the provider of this issuer: it is looked up, and not made")
		o.text(&n.aws.Partition, "partition", "OIDC_BROKER_PARTITION", "`partition` of the account: aws, aws-cn, aws-us-gov (default aws)")
	case "gcp":
		o.text(&n.gcp.ProjectNumber, "project-number", "GOOGLE_PROJECT_NUMBER GCP_PROJECT_ID", "`number` of the pool's project")
		o.text(&n.gcp.PoolID, "pool-id", "GCP_WIP_ID OIDC_WIP_ID", "`id` of the pool")
		o.text(&n.gcp.ProviderID, "provider-id", "GCP_WIP_PROVIDER_ID OIDC_WIP_PROVIDER_ID", "`id` of the provider")
		o.text(&n.gcp.ServiceAccount, "service-account", "GCP_SERVICE_ACCOUNT_EMAIL OIDC_SERVICE_ACCOUNT_EMAIL", "`address` of the service account that jobs become")
	case "vault":
		o.text(&n.vault.AuthPath, "auth-path", "BAO_AUTH_PATH VAULT_AUTH_PATH", "`path` of the JWT auth mount (default jwt)")
		o.text(&n.vault.Role, "role", "BAO_ROLE VAULT_ROLE", "`name` of the role")
		o.text(&n.vault.Policy, "policy", "OIDC_BROKER_VAULT_POLICY", "`name` of the policy that the role grants")
	}
	o.choice(&n.format, "format", "OIDC_BROKER_FORMAT", formats, "`form` of the output: "+strings.Join(formats, ", ")+" (default json)")
	return c
}

func (n *policyNew) run(ctx context.Context, cloud string) error {
	for to, all := range map[*string][]string{&n.job.Project: n.aws.Projects, &n.job.VCSOrigin: n.aws.Origins} {
		if len(all) > 0 {
			*to = all[0]
		}
	}
	if err := n.fromToken(ctx); err != nil {
		return err
	}
	var (
		s   policy.Setup
		err error
	)
	switch cloud {
	case "aws":
		n.aws.Job = n.job
		s, err = n.aws.Write(n.format)
	case "gcp":
		n.gcp.Job = n.job
		s, err = n.gcp.Write(n.format)
	default:
		n.vault.Job = n.job
		s, err = n.vault.Write(n.format)
	}
	if err != nil {
		return err
	}
	if err := n.result(s.Text); err != nil {
		return err
	}
	for _, note := range s.Notes {
		n.note(note)
	}
	return nil
}

// fromToken takes what was not given from the job's token, where there is one.
// A branch is never taken: that somebody sets the trust up on one does not mean
// that only it deploys.
func (n *policyNew) fromToken(ctx context.Context) error {
	if n.job.Org != "" && n.job.Project != "" && (n.job.VCSRef == "" || n.job.VCSOrigin != "") {
		return nil
	}
	if n.Getenv(ci.EnvV1) == "" && n.Getenv(ci.EnvV2) == "" {
		return nil // what is missing is said by whoever needs it
	}
	ctx, cancel := n.bounded(ctx)
	defer cancel()
	t, err := n.finder(tokenOptions{}).Find(ctx)
	if err != nil {
		return err
	}
	take := func(p *string, claim string) {
		if *p == "" {
			*p = claim
		}
	}
	take(&n.job.Org, ci.OrgID(t))
	take(&n.job.Project, ci.ProjectID(t))
	if n.job.VCSRef != "" {
		take(&n.job.VCSOrigin, t.Text(policy.ClaimOrigin))
	}
	return nil
}

func newLong(cloud string) string {
	switch cloud {
	case "aws":
		return `Write the identity provider and the role: json is the role's trust policy alone.

AWS sees of the token its subject, its audience and its project-id. A branch or a tag is
therefore held against the subject of V2 tokens: the job needs --token-version v2.`
	case "gcp":
		return `Write the pool, the provider with its mapping and condition, and the binding of the
service account: json is an object with the provider and the account's policy.`
	}
	return `Write the JWT auth mount's configuration and the role: json is an object with both.`
}

func newExample(cloud string) string {
	const job = " --org 2a3b4c5d-1111-4222-8333-444455556666 --project 76543210-ba98-4edc-b210-edcba0987654"
	switch cloud {
	case "aws":
		return "  oidc-broker policy new aws" + job + ` \
    --account-id 111122223333 --role-name deploy --format terraform`
	case "gcp":
		return "  oidc-broker policy new gcp" + job + ` \
    --project-number 123456789012 --pool-id circleci --provider-id main \
    --service-account deploy@my-project.iam.gserviceaccount.com --format cli`
	}
	return "  oidc-broker policy new vault" + job + ` \
    --role deploy --policy ci --vcs-origin github.com/my-org/app --format cli`
}
