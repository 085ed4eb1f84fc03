package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oidc-broker/oidc-broker/pkg/gcp"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// credConfigRun is gcloud's create-cred-config with our two sources besides.
type credConfigRun struct {
	*app
	token  tokenOptions
	config gcp.CredConfig
	files  gcpFiles
}

func (a *app) credConfigCommand() *cobra.Command {
	r := &credConfigRun{app: a}
	c := &cobra.Command{
		Use:   "create-cred-config PROVIDER",
		Short: "Write a credential configuration, offline, as gcloud does",
		Long: `Write a credential configuration without any call: the flags of 'gcloud iam
workload-identity-pools create-cred-config', and the same bytes in the file. What gcloud
lets pass or exits 0 on is an error here.

With none of gcloud's sources, the job's token is written to a file outside of the
checkout (--source file), or the configuration names this program, which mints new ones
(--source executable).`,
		Example: `  oidc-broker gcp create-cred-config projects/123456789012/locations/global/workloadIdentityPools/circleci/providers/circleci \
    --service-account deploy@my-project.iam.gserviceaccount.com --output-file ~/gcp.json`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fault.New(fault.Usage, "%s takes one provider, got %d arguments", c.CommandPath(), len(args)).
					Hint("it is like projects/123456789012/locations/global/workloadIdentityPools/POOL/providers/PROVIDER")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			r.config.Provider = args[0]
			return r.run(c)
		},
	}
	r.declare(a.own(c))
	return c
}

func (r *credConfigRun) declare(o options) {
	g := &r.config
	o.text(&r.files.output, "output-file", "OIDC_BROKER_GCP_OUTPUT_FILE", "`file` to write; required")
	o.text(&g.ServiceAccount, "service-account", "", "`address` of the service account to impersonate")
	o.text(&g.TokenLifetime, "service-account-token-lifetime-seconds", "", "`time` its token lasts: 3600, 12h; 600s to 43200s")
	o.text(&g.SubjectTokenType, "subject-token-type", "", "`type` of the token (default urn:ietf:params:oauth:token-type:jwt)")
	r.files.declareSource(o)
	o.raw(&g.SourceFile, "credential-source-file", "", "`file` that will hold the token")
	o.raw(&g.SourceURL, "credential-source-url", "", "`URL` that answers with the token")
	o.flags.StringArrayVar(&g.SourceHeaders, "credential-source-headers", nil, "`KEY=VALUE,...` headers for that URL")
	o.text(&g.SourceType, "credential-source-type", "", "text or json: what the source holds")
	o.text(&g.SourceFieldName, "credential-source-field-name", "", "`field` of the JSON that holds the token")
	o.raw(&g.ExecutableCommand, "executable-command", "", "`command` that prints the token")
	o.text(&g.ExecutableTimeout, "executable-timeout-millis", "", "`time` it may take: 5s to 120s (default 30s)")
	o.raw(&g.ExecutableOutputFile, "executable-output-file", "", "`file` in which it caches")
	o.switches(&g.AWS, "aws", "", "an AWS machine's credentials are the source")
	o.switches(&g.EnableIMDSv2, "enable-imdsv2", "", "with IMDSv2")
	o.switches(&g.Azure, "azure", "", "an Azure machine's identity is the source")
	o.text(&g.AppIDURI, "app-id-uri", "", "`URI` of the Azure application")
	o.raw(&g.CertPath, "credential-cert-path", "", "`file` of a client certificate, which is the source")
	o.raw(&g.CertKeyPath, "credential-cert-private-key-path", "", "`file` of its key")
	o.raw(&g.CertTrustChainPath, "credential-cert-trust-chain-path", "", "`file` of its chain")
	o.raw(&g.CertConfigOutputFile, "credential-cert-configuration-output-file", "", "`file` to write the certificate's configuration to")
	o.text(&g.UniverseDomain, "universe-domain", "CLOUDSDK_CORE_UNIVERSE_DOMAIN GOOGLE_CLOUD_UNIVERSE_DOMAIN", "`domain` of the APIs (default googleapis.com)")
	o.text(&g.STSEndpoint, "sts-endpoint", "CLOUDSDK_API_ENDPOINT_OVERRIDES_STS", "`URL` of another Security Token Service")
	o.text(&g.IAMCredentialsEndpoint, "iamcredentials-endpoint", "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS", "`URL` of another IAM Credentials API")
	r.token.declare(o)
}

func (r *credConfigRun) run(c *cobra.Command) error {
	if r.files.output == "" {
		return fault.New(fault.Usage, "no file to write: give %s", fault.Option("output-file"))
	}
	p, err := gcp.ParseProvider(r.config.Provider)
	if err != nil {
		return err
	}
	given := c.Flags().Changed
	g := &r.config
	g.Provider = p.String() // the token's file is named for it
	g.CertConfigDefault = gcp.CertConfigDefaultPath(r.Getenv)
	g.ServiceAccountGiven = given("service-account")
	g.SourceFileGiven, g.SourceURLGiven = given("credential-source-file"), given("credential-source-url")
	g.ExecutableCommandGiven, g.CertPathGiven = given("executable-command"), given("credential-cert-path")
	ctx, cancel := r.bounded(c.Context())
	defer cancel()
	edits, d, err := r.edits(ctx, given("source"))
	if err != nil {
		return err
	}
	if err := r.commit(ctx, edits...); err != nil {
		return fault.New(fault.KindOf(err), "cannot write the credential configuration: %w", err)
	}
	for _, n := range g.Notes() {
		r.note(n.Named(r.given))
	}
	r.delivered(d)
	return nil
}

// edits describes the files: with gcloud's sources as gcloud does, else with
// one of ours.
func (r *credConfigRun) edits(ctx context.Context, sourceGiven bool) ([]files.Edit, delivery, error) {
	d := delivery{what: "credentials", where: r.files.output, identity: r.config.ServiceAccount}
	edits, t, err := r.sourceEdits(ctx, sourceGiven)
	if d.expiry = t.Expiry; r.files.source == "executable" {
		d.lifetime = renewing
	}
	return edits, d, err
}

// sourceEdits returns the edits, and the token that they hold.
func (r *credConfigRun) sourceEdits(ctx context.Context, sourceGiven bool) (edits []files.Edit, t oidc.Token, err error) {
	g := r.config
	theirs := g.SourceFileGiven || g.SourceURLGiven || g.ExecutableCommandGiven || g.CertPathGiven || g.AWS || g.Azure
	files := gcp.Files{Config: r.files.output}
	if theirs {
		if sourceGiven {
			return nil, t, fault.New(fault.Usage, "%s is instead of gcloud's sources: give one of them", fault.Option("source"))
		}
		r.unrecorded = true // as gcloud's own: the file is the user's, and cleanup leaves it
		edits, err = g.Edits(files)
		return edits, t, err
	}
	by, err := r.sourceProgram(r.files.source, r.token)
	if err != nil {
		return nil, t, err
	}
	if by == nil {
		r.token.receiver = "https://iam.googleapis.com/" + g.Provider
		if t, err = r.finder(r.token).Find(ctx); err != nil {
			return nil, t, err
		}
		if files, err = r.googleFiles(r.files.output, g.Provider, t); err != nil {
			return nil, t, err
		}
	}
	edits, err = g.WithSource(files, t, by)
	return edits, t, err
}

// executableNote marks the command whose failures are answers of Google's
// protocol.
const executableNote = "google-executable-source"

// executableSourceCommand is the program that a credential configuration names.
// By the protocol it writes JSON to stdout and nothing to stderr, and exits 0
// even when it fails: some clients take any text on stderr for the answer, and
// others do not read the answer of a program that failed.
func (a *app) executableSourceCommand() *cobra.Command {
	var t tokenOptions
	c := &cobra.Command{
		Use:         "executable-source",
		Short:       "Answer Google's libraries with the job's token",
		Long:        "Answer in Google's protocol for executable-sourced credentials: JSON on stdout, nothing on\nstderr, exit code 0 even on failure. 'gcp login --source executable' writes a\nconfiguration that names this command.",
		Example:     "  oidc-broker gcp login --source executable",
		Annotations: map[string]string{executableNote: ""},
		Args:        noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			a.quiet = true // whatever the environment says: stderr is part of the answer
			ctx, cancel := a.bounded(c.Context())
			defer cancel()
			if name := a.Getenv("GOOGLE_EXTERNAL_ACCOUNT_AUDIENCE"); strings.HasPrefix(name, "//iam.") {
				t.receiver = "https:" + name
			}
			token, err := a.finder(t).Find(ctx)
			if err != nil {
				return err
			}
			b, err := gcp.ExecutableAnswer(token, a.Getenv("GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE"))
			if err != nil {
				return err
			}
			return a.result(append(b, '\n'))
		},
	}
	t.declare(a.own(c))
	return c
}

// answered prints a failure as the protocol wants it, if c is the command whose
// protocol it is.
func (a *app) answered(c *cobra.Command, err error) bool {
	if c == nil || err == nil {
		return false
	}
	if _, ok := c.Annotations[executableNote]; !ok {
		return false
	}
	return a.result(append(gcp.ExecutableRefusal(a.text(err), asFlags.Hints(err), fault.KindOf(err), clean), '\n')) == nil
}
