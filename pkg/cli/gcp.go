package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/oidc-broker/oidc-broker/pkg/gcp"
	"github.com/oidc-broker/oidc-broker/pkg/internal/broker"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// gcpRun is what the outputs of the Google Cloud provider share.
type gcpRun struct {
	*app
	token   tokenOptions
	options gcp.Options
}

// gcpFiles are the options of outputs that write a credential configuration.
type gcpFiles struct {
	output, source string
	variables      bool // they are exported, too: gsutil needs a file besides
}

func (a *app) gcpCommand() *cobra.Command {
	r := &gcpRun{app: a}
	c := r.loginCommand()
	c.Use = "gcp"
	c.Short = "Google Cloud credentials by workload identity federation"
	c.Long = `Exchange the job's token at Google's Security Token Service and impersonate a service
account. 'oidc-broker gcp' alone writes the credential configuration that gcloud,
Terraform and every client library read, as 'oidc-broker gcp login' does; the other
outputs are subcommands. No gcloud is needed.

Without a service account, the access is direct: the roles are those of the federated
identity itself.`
	c.AddCommand(r.loginCommand(), a.credConfigCommand(), r.envCommand(), r.execCommand(), r.accessTokenCommand(), r.idTokenCommand(), a.executableSourceCommand())
	return c
}

// declare declares the provider's options. Each output declares them for itself,
// for create-cred-config has gcloud's.
func (r *gcpRun) declare(o options) {
	p := &r.options
	o.text(&p.Provider, "workload-identity-provider", "OIDC_BROKER_WORKLOAD_IDENTITY_PROVIDER", "`name` of the provider: projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER")
	o.text(&p.ProjectNumber, "project-number", "GOOGLE_PROJECT_NUMBER GCP_PROJECT_ID", "`number` of the pool's project, instead of the name")
	o.text(&p.PoolID, "pool-id", "GCP_WIP_ID OIDC_WIP_ID GCP_WORKLOAD_IDENTITY_POOL", "`pool`, instead of the name")
	o.text(&p.ProviderID, "provider-id", "GCP_WIP_PROVIDER_ID OIDC_WIP_PROVIDER_ID GCP_WORKLOAD_IDENTITY_PROVIDER", "`provider`, instead of the name")
	o.text(&p.ServiceAccount, "service-account", "GCP_SERVICE_ACCOUNT_EMAIL OIDC_SERVICE_ACCOUNT_EMAIL GCP_OIDC_SERVICE_ACCOUNT", "`address` of the service account to impersonate")
	o.switches(&p.Direct, "direct", "OIDC_BROKER_DIRECT", "access without a service account, whatever the environment names")
	o.list(&p.Delegates, "delegate", "OIDC_BROKER_DELEGATE", "`address` of a service account in between (repeatable, in order)")
	o.list(&p.Scopes, "scope", "OIDC_BROKER_SCOPE", "`scope` of the access token (repeatable; default cloud-platform)")
	o.text(&p.TokenLifetime, "token-lifetime", "OIDC_BROKER_TOKEN_LIFETIME", "`time` the service account's token lasts: 1800, 30m; 10m to 12h (default 1h)")
	o.text(&p.ProjectID, "project-id", "GOOGLE_PROJECT_ID GOOGLE_CLOUD_PROJECT", "`id` of the project that the tools work in")
	o.text(&p.UniverseDomain, "universe-domain", "CLOUDSDK_CORE_UNIVERSE_DOMAIN GOOGLE_CLOUD_UNIVERSE_DOMAIN", "`domain` of the APIs (default googleapis.com)")
	o.text(&p.STSEndpoint, "sts-endpoint", "CLOUDSDK_API_ENDPOINT_OVERRIDES_STS", "`URL` of another Security Token Service")
	o.text(&p.IAMCredentialsEndpoint, "iamcredentials-endpoint", "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS", "`URL` of another IAM Credentials API")
	// --direct wins over an account that the environment names, and the reverse.
	o.exclusive("direct", "service-account")
	r.token.declare(o)
}

func (f *gcpFiles) declare(o options) {
	o.text(&f.output, "output-file", "OIDC_BROKER_GCP_OUTPUT_FILE", "`file` for the credential configuration (default ~/.config/oidc-broker/gcp/credentials.json)")
	f.declareSource(o)
}

func (f *gcpFiles) declareSource(o options) {
	o.choice(&f.source, "source", "OIDC_BROKER_GCP_SOURCE", []string{"file", "executable"}, "`source` of the configuration's tokens: file, or executable, this program, which mints new ones (default file)")
}

// settle checks the options: every usage error ends here.
func (r *gcpRun) settle(out gcp.Output) (*gcp.Exchange, error) {
	x, err := r.options.SettleFor(out)
	if err != nil {
		return nil, err
	}
	r.token.receiver = "https:" + x.Provider.Audience()
	return x, r.finder(r.token).Check()
}

// login makes the exchange once, so that what is wrong fails here, and then
// writes the files. It returns the token that they come from, too.
func (r *gcpRun) login(ctx context.Context, x *gcp.Exchange, f gcpFiles) (gcp.Files, oidc.Token, error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	t, err := r.finder(r.token).Find(ctx)
	if err != nil {
		return gcp.Files{}, oidc.Token{}, err
	}
	files, err := r.googleFiles(f.output, x.Provider.String(), t)
	if err != nil {
		return gcp.Files{}, oidc.Token{}, err
	}
	by, err := r.sourceProgram(f.source, r.token)
	if err != nil {
		return gcp.Files{}, oidc.Token{}, err
	}
	if !f.variables {
		files.Boto = ""
	}
	edits, err := x.Write(files, t, by)
	if err != nil {
		return gcp.Files{}, oidc.Token{}, err
	}
	got, err := x.Run(ctx, r.client(), t)
	if err != nil {
		return gcp.Files{}, oidc.Token{}, err
	}
	r.progress("access to Google Cloud until %s", got.Expiry.Format(time.RFC3339))
	if f.variables {
		r.noteDirectory(ctx, noteState, x.GsutilState(files, t))
	}
	if err := r.commit(ctx, edits...); err != nil {
		return gcp.Files{}, oidc.Token{}, fault.New(fault.KindOf(err), "cannot write the credential configuration: %w", err)
	}
	if by != nil {
		files.Token = ""
	}
	return files, t, nil
}

// machine is where Google's tools look for credentials.
func (a *app) machine() gcp.Machine {
	env := map[string]string{}
	for _, e := range a.Environ() {
		if name, value, ok := strings.Cut(e, "="); ok {
			env[name] = value
		}
	}
	return gcp.Machine{
		Lookup: func(name string) (string, bool) { value, set := env[name]; return value, set },
		Read:   func(path string) ([]byte, error) { return files.Read(path, gcp.MaxConfiguration) },
	}
}

// configDelivery says what a credential configuration gives. A file of the job's
// token is of use until the token expires; a program has new ones.
func configDelivery(files gcp.Files, identity string, t oidc.Token) delivery {
	d := delivery{what: "credentials", where: files.Config, identity: identity, expiry: t.Expiry}
	if files.Token == "" {
		d.lifetime = renewing
	}
	return d
}

// sourceProgram returns this program as a token source, or nil for a file.
func (a *app) sourceProgram(source string, t tokenOptions) (*gcp.Executable, error) {
	if source != "executable" {
		return nil, nil
	}
	self, args, err := a.callback(t, fault.Messagef("%s executable", fault.Option("source")))
	if err != nil {
		return nil, err
	}
	return &gcp.Executable{Path: self, Args: append([]string{"gcp", "executable-source"}, args...)}, nil
}

// callback returns this program's own file and the token's options as a command
// line has them, for a file that calls the program back. option is the one that
// demands it.
func (a *app) callback(t tokenOptions, option fault.Message) (self string, args []string, err error) {
	if t.File == "-" {
		return "", nil, fault.New(fault.Usage, "%s - cannot be read again: it does not go with %s", fault.Option("token-file"), option)
	}
	if self, err = a.lastingSelf(option); err != nil {
		return "", nil, err
	}
	for _, o := range []struct{ name, value string }{{"--ci", t.CI}, {"--token-env", t.Env}, {"--token-file", t.File}, {"--audience", t.Audience}, {"--token-version", t.Version}} {
		if o.name == "--token-file" && o.value != "" {
			if o.value, err = filepath.Abs(o.value); err != nil {
				return "", nil, fault.New(fault.Local, "cannot find the token's file: %w", err)
			}
		}
		if o.value != "" {
			args = append(args, o.name, o.value)
		}
	}
	return self, append(args, guardArgs(t.Guards)...), nil
}

func (r *gcpRun) loginCommand() *cobra.Command {
	var f gcpFiles
	c := &cobra.Command{
		Use:        "login",
		SuggestFor: []string{"login", "auth"},
		Short:      "Write a credential configuration, once the exchange has worked",
		Long: `Make the exchange and the impersonation once, so that a wrong pool, condition or binding
fails here, and write the credential configuration that Google's tools read
(GOOGLE_APPLICATION_CREDENTIALS). The token that it names is written outside of the
checkout, 0600.`,
		Example: `  oidc-broker gcp login --service-account deploy@my-project.iam.gserviceaccount.com --output-file ~/gcp.json`,
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			x, err := r.settle(gcp.CredentialConfiguration)
			if err != nil {
				return err
			}
			files, t, err := r.login(c.Context(), x, f)
			if err != nil {
				return err
			}
			r.delivered(configDelivery(files, x.Identity(), t))
			m := r.machine()
			r.noteConflicts(append(r.unused(c, x, !m.HasProject()), m.FileConflicts(files.Config)...))
			return nil
		},
	}
	o := r.own(c)
	f.declare(o)
	r.declare(o)
	return r.orExisting(c, &r.token, func() (existing, error) { return r.existingGoogle(f.output) })
}

func (r *gcpRun) envCommand() *cobra.Command {
	f := gcpFiles{variables: true}
	out := envOutput{app: r.app, block: "gcp", command: "oidc-broker gcp env", plain: true}
	c := &cobra.Command{
		Use:   "env",
		Short: "Do what login does, and print the variables that point every tool at it",
		Long: `Do what 'gcp login' does, then print the variables by which gcloud, gsutil, Terraform and
every client library find the credentials with no 'gcloud auth login'.`,
		Example: `  oidc-broker gcp env --bash-env`,
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			x, err := r.settle(gcp.ExportedConfiguration)
			if err != nil {
				return err
			}
			if err := out.settle(); err != nil {
				return err
			}
			files, t, err := r.login(c.Context(), x, f)
			if err != nil {
				return err
			}
			d := configDelivery(files, x.Identity(), t)
			r.progress("wrote %q", files.Config)
			d.what = "variables"
			if err := out.deliver(c.Context(), x.Environment(files, r.machine()), d); err != nil {
				return err
			}
			r.noteConflicts(r.machine().EnvironmentConflicts(files))
			return nil
		},
	}
	o := r.own(c)
	f.declare(o)
	out.declare(o)
	r.declare(o)
	return r.orExisting(c, &r.token, func() (existing, error) { return r.existingGoogle("") })
}

func (r *gcpRun) execCommand() *cobra.Command {
	f := gcpFiles{variables: true}
	c := &cobra.Command{
		Use:   "exec -- COMMAND [ARG...]",
		Short: "Run a command that finds the credentials, and leave nothing behind",
		Long: `Run a command with the variables of 'gcp env'. The credential configuration and the
token lie in a directory that is removed when the command ends. While it runs, a new
token is minted ahead of the old one's end, where the job can mint one, so that Google's
libraries, which read the file again each time, keep their access.`,
		Example: "  oidc-broker gcp exec -- gcloud storage ls",
		Args:    commandArgs,
		RunE: func(c *cobra.Command, args []string) error {
			x, err := r.settle(gcp.ExportedConfiguration)
			if err != nil {
				return err
			}
			return r.exec(c.Context(), x, f, args)
		},
	}
	o := r.own(c)
	f.declareSource(o)
	r.token.declareKeep(o)
	r.declare(o)
	return r.orExisting(c, &r.token, func() (existing, error) { return r.existingGoogle("") })
}

func (r *gcpRun) exec(ctx context.Context, x *gcp.Exchange, f gcpFiles, argv []string) error {
	// Recorded until it is gone: what this process leaves when it is killed, cleanup removes.
	dir, done, err := r.privateDir(ctx)
	if err != nil {
		return err
	}
	defer done()
	within := *r
	withinApp := *r.app
	withinApp.Getenv = func(name string) string {
		if name == "XDG_CONFIG_HOME" {
			return dir
		}
		return r.Getenv(name)
	}
	withinApp.unrecorded = true // it is gone when the command ends
	within.app = &withinApp
	files, t, err := within.login(ctx, x, f)
	if err != nil {
		return err
	}
	env := x.Environment(files, r.machine())
	r.noteConflicts(r.machine().EnvironmentConflicts(files))
	if f.source == "executable" {
		// The program that mints needs what the job has: its tokens stay.
		return r.run(ctx, argv, r.overBashEnv(env))
	}
	if err := ctx.Err(); err != nil { // an interrupt that came while the last answer did
		return err
	}
	r.noteLast(ctx, r.token, "access")
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		r.keepToken(life, files.Token, t)
	}()
	defer func() { end(); <-kept }() // before the directory goes
	return r.child(ctx, argv, env, r.token)
}

// keepToken keeps the file from which Google's libraries renew their access.
func (r *gcpRun) keepToken(ctx context.Context, path string, t oidc.Token) {
	r.token.silent = true // a token that is minted instead of the job's is noted once
	renew := func(ctx context.Context, old oidc.Token) (oidc.Token, error) {
		ctx, cancel := r.bounded(ctx)
		defer cancel()
		return r.finder(r.token).Renew(ctx, old)
	}
	gcp.KeepToken(ctx, path, t, renew, r.Now, func(end time.Time, err error) {
		r.note(fmt.Sprintf("Google's libraries can renew their access until %s, because no newer token is available: %s", end.UTC().Format(time.RFC3339), r.text(err)))
		for _, h := range asFlags.Hints(err) {
			r.note(h)
		}
	})
}

func (r *gcpRun) accessTokenCommand() *cobra.Command {
	var toTerminal bool
	c := &cobra.Command{
		Use:   "access-token",
		Short: "Print an access token, and nothing else",
		Long: `Print an access token of the service account, or of the federated identity without one.
With --subject, it is a user's, by the service account's domain-wide delegation: give the
scopes that the administrator allowed it.`,
		Example: `  curl -H "Authorization: Bearer $(oidc-broker gcp access-token)" https://storage.googleapis.com/...
  oidc-broker gcp access-token --subject admin@example.com --scope https://www.googleapis.com/auth/admin.directory.user.readonly`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return r.print(c, gcp.PrintedAccessToken, toTerminal, func(ctx context.Context, x *gcp.Exchange, t oidc.Token) (secret.Value, error) {
				got, err := x.Run(ctx, r.client(), t)
				return got.Token, err
			})
		},
	}
	o := r.own(c)
	o.text(&r.options.Subject, "subject", "OIDC_BROKER_SUBJECT", "`address` of a user to act as: the service account has domain-wide delegation")
	o.text(&r.options.OAuthEndpoint, "oauth-endpoint", "CLOUDSDK_AUTH_TOKEN_HOST", "`URL` of another OAuth 2.0 token endpoint, for --subject")
	printToTerminal(o, &toTerminal)
	r.declare(o)
	return c
}

func (r *gcpRun) idTokenCommand() *cobra.Command {
	var (
		toTerminal, email bool
		audience          string
	)
	c := &cobra.Command{
		Use:     "id-token",
		Short:   "Print an ID token of the service account, and nothing else",
		Long:    "Print an ID token of the service account: what Cloud Run and IAP ask for. gcloud cannot\nmake one from workload identity federation.",
		Example: `  curl -H "Authorization: Bearer $(oidc-broker gcp id-token --audience-url https://my-service.run.app)" https://my-service.run.app`,
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if audience == "" {
				return fault.New(fault.Usage, "an ID token needs an audience: give %s", fault.Option("audience-url")).
					Hint("it is the URL of the service that is called, or its client id")
			}
			return r.print(c, gcp.PrintedIDToken, toTerminal, func(ctx context.Context, x *gcp.Exchange, t oidc.Token) (secret.Value, error) {
				return x.IDToken(ctx, r.client(), t, audience, email)
			})
		},
	}
	o := r.own(c)
	o.text(&audience, "audience-url", "OIDC_BROKER_AUDIENCE_URL", "`URL` that the ID token is for (its aud claim)")
	o.switches(&email, "include-email", "OIDC_BROKER_INCLUDE_EMAIL", "put the service account's address into the ID token")
	printToTerminal(o, &toTerminal)
	r.declare(o)
	return c
}

// print prints a token that a call makes.
func (r *gcpRun) print(c *cobra.Command, out gcp.Output, toTerminal bool, get func(context.Context, *gcp.Exchange, oidc.Token) (secret.Value, error)) error {
	x, err := r.settle(out)
	if err != nil {
		return err
	}
	if err := r.refuseTerminal(toTerminal); err != nil {
		return err
	}
	ctx, cancel := r.bounded(c.Context())
	defer cancel()
	t, err := r.finder(r.token).Find(ctx)
	if err != nil {
		return err
	}
	token, err := get(ctx, x, t)
	if err != nil {
		return err
	}
	if err := r.result(fmt.Appendln(nil, token.Reveal())); err != nil {
		return err
	}
	r.noteConflicts(r.unused(c, x, false))
	return nil
}

// unused are the options that were given and have no effect: as flags, and with
// lacking as variables too, which are set for all commands of a job.
func (r *gcpRun) unused(c *cobra.Command, x *gcp.Exchange, lacking bool) []broker.Conflict {
	var all []broker.Conflict
	for _, u := range x.Unused {
		if lacking || c.Flags().Changed(string(u.Option)) {
			u.Message = r.given(u.Option) + " " + u.Message
			all = append(all, u.Conflict)
		}
	}
	return all
}

// googleFiles finds where the files go.
func (a *app) googleFiles(output, provider string, t oidc.Token) (gcp.Files, error) {
	getenv, err := a.environment("XDG_CONFIG_HOME", "HOME", "USERPROFILE")
	if err != nil {
		return gcp.Files{}, err
	}
	return gcp.FindFiles(getenv, output, provider, t)
}
