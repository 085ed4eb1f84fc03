package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/oidc-broker/oidc-broker/pkg/aws"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/ini"
)

// awsRun is what the outputs of the AWS provider share.
type awsRun struct {
	*app
	token   tokenOptions
	options aws.Options
	noCache bool
}

func (a *app) awsCommand() *cobra.Command {
	r := &awsRun{app: a}
	c := r.profileCommand()
	c.Use = "aws"
	c.Short = "AWS credentials by STS AssumeRoleWithWebIdentity"
	c.Long = `Exchange the job's token for AWS credentials. 'oidc-broker aws' alone writes them into
a profile, as 'oidc-broker aws profile' does; the other outputs are subcommands.

STS is found as the AWS SDKs find it: by the region, AWS_USE_FIPS_ENDPOINT,
AWS_USE_DUALSTACK_ENDPOINT, AWS_ENDPOINT_URL_STS and AWS_ENDPOINT_URL. AWS_CA_BUNDLE
replaces the system's roots.`
	o := a.options(c)
	o.text(&r.options.RoleARN, "role-arn", "AWS_ROLE_ARN", "`ARN` of the role to assume")
	o.text(&r.options.SessionName, "role-session-name", "AWS_ROLE_SESSION_NAME", "`name` of the session in AWS's logs (default: the job's, else oidc-broker)")
	o.text(&r.options.Duration, "session-duration", "OIDC_BROKER_SESSION_DURATION", "`time` the credentials last: 1800, 30m, 1h; 15m to 12h (default 1h)")
	o.text(&r.options.Region, "region", "AWS_REGION AWS_DEFAULT_REGION", "`region` whose STS is called, and which is delivered")
	o.raw(&r.options.Policy, "policy", "OIDC_BROKER_POLICY", "session policy that limits the credentials: a `file` or JSON")
	o.list(&r.options.PolicyARNs, "policy-arn", "OIDC_BROKER_POLICY_ARN", "`ARN` of a managed policy that limits the credentials (repeatable)")
	o.list(&r.options.ChainRoleARNs, "chain-role-arn", "OIDC_BROKER_CHAIN_ROLE_ARN", "`ARN` of a role to assume from the one before (repeatable, in order; at most 1h)")
	o.list(&r.options.ExternalIDs, "external-id", "OIDC_BROKER_EXTERNAL_ID", "external `ID` that the chained roles demand (one for all, or repeated for each in order; - for none)")
	o.list(&r.options.SessionTags, "session-tag", "OIDC_BROKER_SESSION_TAG", "`KEY=VALUE` of a session tag for the chained roles (repeatable)")
	o.list(&r.options.TransitiveTagKeys, "transitive-tag-key", "OIDC_BROKER_TRANSITIVE_TAG_KEY", "`KEY` of a session tag that the roles after the first chained one inherit (repeatable)")
	o.text(&r.options.SourceIdentity, "source-identity", "OIDC_BROKER_SOURCE_IDENTITY", "`name` in AWS's logs that stays with all chained roles")
	o.list(&r.options.AllowedAccounts, "allowed-account-id", "OIDC_BROKER_ALLOWED_ACCOUNT_ID", "`account` that the credentials may be of (repeatable; default: any)")
	r.token.declare(o)
	c.AddCommand(r.profileCommand(), r.envCommand(), r.execCommand(), r.processCommand(), r.whoamiCommand())
	return c
}

// settle checks the options: every usage error ends here, before the token is
// looked for. The region may be one that profiles have already.
func (r *awsRun) settle(profiles ...string) (*aws.Exchange, error) {
	r.regionOfProfiles(&r.options, profiles...)
	return r.settleAsGiven()
}

// settleAsGiven is settle without a look at the AWS files.
func (r *awsRun) settleAsGiven() (*aws.Exchange, error) {
	getenv, err := r.environment("AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE")
	if err != nil {
		return nil, err
	}
	r.options.Read = r.readFile
	x, err := r.options.Resolve(getenv)
	if err != nil {
		return nil, err
	}
	r.token.receiver = aws.Audience
	if err := r.finder(r.token).Check(); err != nil {
		return nil, err
	}
	for _, n := range x.Notes {
		r.note(n.Named(r.given))
	}
	return x, nil
}

// exchange finds the token and makes the calls. ctx is bounded by its caller, who
// has more to do within the same time.
func (r *awsRun) exchange(ctx context.Context, x *aws.Exchange) (aws.Credentials, error) {
	t, err := r.finder(r.token).Find(ctx)
	if err != nil {
		return aws.Credentials{}, err
	}
	got, err := x.AssumeRole(ctx, r.client(), t)
	if err == nil {
		r.progress("assumed %s until %s", got.ARN, got.Expiration.Format(time.RFC3339))
	}
	return got, err
}

func (r *awsRun) profileCommand() *cobra.Command {
	var profile, mode string
	c := &cobra.Command{
		Use:        "profile",
		SuggestFor: []string{"login", "auth", "configure", "assume-role"},
		Short:      "Write the credentials into a profile of the shared AWS files",
		Long: `Write the credentials into a profile: the keys into the shared credentials file
(AWS_SHARED_CREDENTIALS_FILE, else ~/.aws/credentials), the region into the config file
(AWS_CONFIG_FILE, else ~/.aws/config). What the profile held for finding credentials
another way is removed from both; every other byte of both files is kept.

With --mode process there are no keys in the files: the SDKs call this program when they
need some ('oidc-broker aws credential-process', with its cache), so that a long job's are
renewed. All options are written down as they are settled now. The exchange is made once,
so that what is wrong fails here.`,
		Example: `  oidc-broker aws profile --role-arn arn:aws:iam::111122223333:role/deploy --profile deploy
  aws s3 ls --profile deploy

  oidc-broker aws profile --mode process --role-arn arn:aws:iam::111122223333:role/deploy --profile long`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if profile == "" {
				profile = "default"
			}
			if err := ini.ProfileName(profile); err != nil {
				return err
			}
			return r.profile(c.Context(), profile, mode == "process")
		},
	}
	o := r.own(c)
	o.text(&profile, "profile", "OIDC_BROKER_PROFILE", "`name` of the profile to write; AWS_PROFILE is not read (default \"default\")")
	o.choice(&mode, "mode", "OIDC_BROKER_MODE", []string{"static", "process"}, "static: keys in the file; process: this program, which renews them (default static)")
	o.switches(&r.noCache, "no-cache", "OIDC_BROKER_NO_CACHE", "with --mode process: make an exchange with every call")
	return r.orExisting(c, &r.token, func() (existing, error) { return r.existingAWS(profile) })
}

func (r *awsRun) profile(ctx context.Context, name string, process bool) error {
	x, err := r.settle(name)
	if err != nil {
		return err
	}
	getenv, err := r.environment("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "HOME")
	if err != nil {
		return err
	}
	files, err := aws.FindFiles(getenv)
	if err != nil {
		return err
	}
	edits := x.Preview(name, files)
	if process {
		if edits, err = r.processProfile(x, r.token, name, files); err != nil {
			return err
		}
	}
	conflicts := r.profileConflicts(files, []aws.DeliveredProfile{{Name: name, Region: x.Region, Process: process}}, edits)
	if err := refuseNever(conflicts); err != nil {
		return err
	}
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	var got aws.Credentials
	if process {
		// A role that refuses fails this step, and not the first SDK's.
		got, err = r.cached(ctx, x)
	} else {
		got, err = r.exchange(ctx, x)
		got.Region = x.RegionToWrite(files, name)
		edits = got.StaticProfile(name, files)
	}
	if err != nil {
		return err
	}
	if err := r.commit(ctx, edits...); err != nil {
		return fault.New(fault.KindOf(err), "cannot write the profile %q: %w", name, err)
	}
	r.delivered(profileDelivery(name, files, got, process))
	r.noteConflicts(conflicts)
	return nil
}

// profileDelivery says what a profile holds.
func profileDelivery(name string, files aws.Files, got aws.Credentials, process bool) delivery {
	d := delivery{what: fmt.Sprintf("profile %q", name), where: files.Credentials, identity: got.ARN, expiry: got.Expiration}
	if process {
		d.where, d.lifetime = files.Config, renewing
	}
	return d
}

func (r *awsRun) envCommand() *cobra.Command {
	out := envOutput{app: r.app, block: "aws", command: "oidc-broker aws env"}
	c := &cobra.Command{
		Use:   "env",
		Short: "Print the credentials as environment variables, or put them into $BASH_ENV",
		Long: `Print commands that set the variables which every AWS SDK reads, and unset those that
would win over them. With --bash-env they go into the file that CircleCI's bash steps
read first, so that the following steps have them.`,
		Example: `  oidc-broker aws env --role-arn arn:aws:iam::111122223333:role/deploy --bash-env

  credentials="$(oidc-broker aws env --role-arn arn:aws:iam::111122223333:role/deploy)"
  eval "$credentials"`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			x, err := r.settle()
			if err != nil {
				return err
			}
			if err := out.settle(); err != nil {
				return err
			}
			ctx, cancel := r.bounded(c.Context())
			defer cancel()
			got, err := r.exchange(ctx, x)
			if err != nil {
				return err
			}
			if err := out.deliver(ctx, got.Environment(), delivery{what: "variables", identity: got.ARN, expiry: got.Expiration}); err != nil {
				return err
			}
			r.noteConflicts(r.environmentConflicts(out.path))
			return nil
		},
	}
	out.declare(r.own(c))
	return r.orExisting(c, &r.token, func() (existing, error) { return r.existingAWS("") })
}

func (r *awsRun) execCommand() *cobra.Command {
	var refresh bool
	c := &cobra.Command{
		Use:   "exec -- COMMAND [ARG...]",
		Short: "Run a command with the credentials in its environment",
		Long: `Run a command with the credentials in its environment. The job's token and what would
win over the credentials are taken out of it, and so is BASH_ENV when a block of ours is
in that file. The command's exit code and the signals for it pass through.

With --refresh the credentials are not in the environment: an endpoint on 127.0.0.1,
which ends with the command, hands them to every AWS SDK (as ECS's and EKS's do), and
renews them ahead of their end, with a newly minted token when the job's has expired.
For commands that take longer than the credentials last.`,
		Example: `  oidc-broker aws exec --role-arn arn:aws:iam::111122223333:role/deploy -- aws s3 ls
  oidc-broker aws exec --role-arn arn:aws:iam::111122223333:role/deploy --refresh -- ./three-hours.sh`,
		Args: commandArgs,
		RunE: func(c *cobra.Command, args []string) error {
			x, err := r.settle()
			if err != nil {
				return err
			}
			if refresh {
				if err := r.settleRefresh(); err != nil {
					return err
				}
				return r.refreshed(c.Context(), x, args)
			}
			got, err := r.within(c.Context(), x)
			if err != nil {
				return err
			}
			r.noteConflicts(r.environmentConflicts(""))
			return r.child(c.Context(), args, got.Environment(), r.token)
		},
	}
	o := r.own(c)
	r.token.declareKeep(o)
	o.switches(&refresh, "refresh", "OIDC_BROKER_REFRESH", "renew the credentials while the command runs: an endpoint on loopback hands them to every SDK")
	return r.orExisting(c, &r.token, func() (existing, error) { return r.existingAWS("") })
}

func (r *awsRun) processCommand() *cobra.Command {
	var toTerminal, alone bool
	c := &cobra.Command{
		Use:   "credential-process",
		Short: "Print the credentials as JSON for the SDKs' credential_process",
		Long: `Print the credentials as the SDKs want them of a profile's credential_process. They are
kept in a private cache of this job's ($XDG_CACHE_HOME/oidc-broker, else
~/.cache/oidc-broker), so that many SDKs that ask at once cause one exchange, and renewed
when a quarter of an hour is left, or a third of a shorter session. While renewing fails,
the old ones are printed as long as they are valid. 'oidc-broker aws profile --mode
process' writes such a profile.`,
		Example: `  # in ~/.aws/config
  [profile deploy]
  credential_process = /usr/local/bin/oidc-broker aws credential-process --role-arn arn:aws:iam::111122223333:role/deploy`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			r.token.silent = true
			if !alone {
				r.regionOfProfiles(&r.options)
			}
			x, err := r.settleAsGiven()
			if err != nil {
				return err
			}
			if err := r.refuseTerminal(toTerminal); err != nil {
				return err
			}
			ctx, cancel := r.bounded(c.Context())
			defer cancel()
			got, err := r.cached(ctx, x)
			if err != nil {
				return err
			}
			b, err := got.Process()
			if err != nil {
				return err
			}
			return r.result(b)
		},
	}
	o := r.own(c)
	o.switches(&r.noCache, "no-cache", "OIDC_BROKER_NO_CACHE", "make an exchange with every call")
	o.switches(&alone, ignoreEnvironment, "OIDC_BROKER_IGNORE_ENVIRONMENT", "take the options from the command line alone; the token's and AWS's own variables count")
	printToTerminal(o, &toTerminal)
	return c
}

func (r *awsRun) whoamiCommand() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:     "whoami",
		Short:   "Exchange the token and ask AWS whose the credentials are",
		Long:    "Exchange the token, call GetCallerIdentity with the fresh credentials, and print the\naccount, the ARN, the user id and the expiry. Nothing is written.",
		Example: "  oidc-broker aws whoami --role-arn arn:aws:iam::111122223333:role/deploy",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			x, err := r.settle()
			if err != nil {
				return err
			}
			return r.whoami(c.Context(), x, format)
		},
	}
	declareFormat(r.own(c), &format)
	return c
}

func (r *awsRun) whoami(ctx context.Context, x *aws.Exchange, format string) error {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	got, err := r.exchange(ctx, x)
	if err != nil {
		return err
	}
	id, err := x.Identify(ctx, r.client(), got)
	if err != nil {
		return err
	}
	if format == "json" {
		return r.jsonResult(map[string]string{
			"account": id.Account, "arn": id.ARN, "userId": id.UserID, "expiration": got.Expiration.Format(time.RFC3339),
		})
	}
	return r.result(table([][2]string{
		{"account", id.Account},
		{"arn", id.ARN},
		{"user id", id.UserID},
		{"expires", r.until(got.Expiration)},
	}))
}
