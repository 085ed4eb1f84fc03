package cli

import (
	"context"
	"path/filepath"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/gcp"
	"github.com/oidc-broker/oidc-broker/pkg/internal/broker"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

func (c *applyGCP) settle(p *plan, t *target) error {
	if !c.WorkloadIdentityProvider.given() {
		return t.mistake(t.at(), "it has no workload-identity-provider").
			Hint("it is like projects/123456789012/locations/global/workloadIdentityPools/POOL/providers/PROVIDER")
	}
	if c.ProjectID.given() && !c.Configuration.given() {
		return t.mistake(c.ProjectID.at, "project-id: it goes into a gcloud configuration, and none is named").
			Hint("name one: configuration: NAME; a credential configuration has no place for a project")
	}
	x, err := c.exchange(p, t)
	if err != nil {
		return err
	}
	t.receiver = "https:" + x.Provider.Audience()
	f := gcpFiles{source: c.Source.text}
	by, err := p.sourceProgram(f.source, t.token)
	if err != nil {
		return p.located(t, err)
	}
	if f.output, err = c.configPath(p, t); err != nil {
		return err
	}
	w := &gcpWriting{exchange: x, by: by, find: func(token oidc.Token) (gcp.Files, error) {
		files, err := p.googleFiles(f.output, x.Provider.String(), token)
		files.Boto = "" // no variable names it
		return files, err
	}}
	if c.Configuration.given() {
		getenv, err := p.environment("CLOUDSDK_CONFIG", "HOME", "APPDATA")
		if err != nil {
			return err
		}
		if w.configuration, err = gcp.FindConfiguration(getenv, c.Configuration.text); err != nil {
			return p.located(t, fault.About(err, "configuration", ""))
		}
	}
	t.calls = []string{"token exchange at " + x.Provider.String()}
	if x.ServiceAccount != "" {
		t.calls = append(t.calls, "generateAccessToken of "+x.ServiceAccount)
	}
	return c.plan(p, t, w)
}

// exchange settles the options, with what the environment adds to them.
func (c *applyGCP) exchange(p *plan, t *target) (*gcp.Exchange, error) {
	o := gcp.Options{
		Provider: c.WorkloadIdentityProvider.text, ServiceAccount: c.ServiceAccount.text, Delegates: texts(c.Delegate),
		Scopes: texts(c.Scope), TokenLifetime: c.TokenLifetime.text, ProjectID: c.ProjectID.text, UniverseDomain: c.UniverseDomain.text,
		STSEndpoint: c.STSEndpoint.text, IAMCredentialsEndpoint: c.IAMCredentialsEndpoint.text,
	}
	for _, v := range []struct {
		option fault.Option
		to     *string
		names  []string
	}{
		{"universe-domain", &o.UniverseDomain, []string{"CLOUDSDK_CORE_UNIVERSE_DOMAIN", "GOOGLE_CLOUD_UNIVERSE_DOMAIN"}},
		{"sts-endpoint", &o.STSEndpoint, []string{"CLOUDSDK_API_ENDPOINT_OVERRIDES_STS"}},
		{"iamcredentials-endpoint", &o.IAMCredentialsEndpoint, []string{"CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS"}},
	} {
		if err := p.fromEnvironment(v.option, v.to, v.names...); err != nil {
			return nil, err
		}
	}
	x, err := o.SettleFor(gcp.ExportedConfiguration) // a project needs a gcloud configuration: settle
	if err != nil {
		return nil, p.located(t, err)
	}
	return x, nil
}

// configPath is where the credential configuration goes: several targets have
// several by default.
func (c *applyGCP) configPath(p *plan, t *target) (string, error) {
	if c.OutputFile.given() {
		return p.outputPath(c.OutputFile, t, p.googlePlaces)
	}
	known, err := p.googleFiles("", "", oidc.Token{})
	if err != nil {
		return "", err
	}
	return filepath.Join(filepath.Dir(known.Config), filepath.Base(filepath.FromSlash(t.name))+".json"), nil
}

// gcpWriting is what a target writes, and where.
type gcpWriting struct {
	exchange      *gcp.Exchange
	by            *gcp.Executable // the token's source; nil: a file
	find          func(oidc.Token) (gcp.Files, error)
	configuration string // gcloud's; "": none
}

func (w *gcpWriting) edits(f gcp.Files, t oidc.Token) ([]files.Edit, error) {
	edits, err := w.exchange.Write(f, t, w.by)
	if err == nil && w.configuration != "" {
		edits = append(edits, w.exchange.Configuration(w.configuration, f)...)
	}
	return edits, err
}

// plan says what the target takes, and how it is done.
func (c *applyGCP) plan(p *plan, t *target, w *gcpWriting) error {
	known, err := w.find(oidc.Token{})
	if err != nil {
		return err
	}
	if _, err := w.edits(known, oidc.Token{}); err != nil {
		return p.located(t, err)
	}
	if err := p.writes(t, known.Config, "credential configuration", c.OutputFile.or(t.at())); err != nil {
		return err
	}
	if w.configuration != "" {
		if err := p.writes(t, w.configuration, "gcloud configuration "+c.Configuration.text, c.Configuration.at); err != nil {
			return err
		}
	}
	t.conflicts = func(names []string) []broker.Conflict {
		if w.configuration == "" {
			return p.machine().Overrides()
		}
		return p.machine().ConfigurationConflicts(w.exchange, known, names)
	}
	sure := t.files
	const jobToken = "the job's token"
	if w.by == nil {
		// Its name depends on the token's audience, which nobody knows yet.
		t.files = append(t.files, written{Path: filepath.Join(filepath.Dir(known.Token), "token-*"), Holds: jobToken})
		t.tokenFile = func(token oidc.Token) (string, error) {
			files, err := w.find(token)
			return files.Token, err
		}
	}
	t.exchange = func(ctx context.Context, m material) (outcome, error) {
		files, err := w.find(m.token)
		if err != nil {
			return outcome{}, err
		}
		o := outcome{identity: w.exchange.Identity(), files: sure}
		if w.by == nil { // with a program, access does not end
			o.expires = m.token.Expiry
			o.files = append(sure[:len(sure):len(sure)], written{Path: files.Token, Holds: jobToken})
		}
		if o.edits, err = w.edits(files, m.token); err != nil {
			return o, err
		}
		got, err := w.exchange.Run(ctx, p.clientOf(t), m.token)
		if err == nil {
			p.progress("%s: access to Google Cloud until %s", t, got.Expiry.Format(time.RFC3339))
		}
		return o, err
	}
	return nil
}
