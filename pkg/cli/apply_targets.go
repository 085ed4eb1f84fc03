package cli

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/aws"
	"github.com/oidc-broker/oidc-broker/pkg/deliver"
	"github.com/oidc-broker/oidc-broker/pkg/fault"
	"github.com/oidc-broker/oidc-broker/pkg/gcp"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
	"github.com/oidc-broker/oidc-broker/pkg/secret"
	"github.com/oidc-broker/oidc-broker/pkg/vault"
)

func (p *plan) nameAWS(f *applyFile) error {
	for i := range f.AWS {
		c := &f.AWS[i]
		t := &target{kind: "aws", name: c.Profile.text, at: c.At, viaName: c.Via, ownToken: c.Token, of: c}
		if c.Name.given() {
			t.name = c.Name.text
		}
		if t.name == "" {
			return misplaced(c.At, "an aws target has neither profile nor name").
				Hint("profile is the one to write; name alone is for a role that others come via")
		}
		p.targets = append(p.targets, t)
	}
	return nil
}

func (p *plan) nameGCP(f *applyFile) error {
	for i := range f.GCP {
		c := &f.GCP[i]
		n, err := named("gcp", c.At, c.Name)
		if err != nil {
			return err
		}
		p.targets = append(p.targets, &target{kind: "gcp", name: n, at: c.At, ownToken: c.Token, of: c})
	}
	return nil
}

func (p *plan) nameVault(f *applyFile) error {
	for i := range f.Vault {
		c := &f.Vault[i]
		n, err := named("vault", c.At, c.Name)
		if err != nil {
			return err
		}
		p.targets = append(p.targets, &target{kind: "vault", name: n, at: c.At, ownToken: c.Token, of: c})
	}
	return nil
}

func (p *plan) settleAWS(t *target, c *applyAWS) error {
	if !c.RoleARN.given() {
		return t.wrong(t.at, "it has no role-arn").Hint("it is the role to assume, like arn:aws:iam::111122223333:role/deploy")
	}
	if c.Mode.given() {
		if err := oneOf("mode", c.Mode.text, []string{"static"}); err != nil {
			return t.located(err)
		}
	}
	policy, err := p.place(c.Policy, t.String())
	if err != nil {
		return err
	}
	o := aws.Options{
		RoleARN: c.RoleARN.text, SessionName: c.RoleSessionName.text, Duration: c.SessionDuration.text, Region: c.Region.text,
		Policy: policy, PolicyARNs: texts(c.PolicyARN), ChainRoleARNs: texts(c.ChainRoleARN), ExternalID: c.ExternalID.text,
		AllowedAccounts: texts(c.AllowedAccountID), Via: t.via != nil,
	}
	for _, v := range []struct {
		to    *string
		names []string
	}{{&o.Region, []string{"AWS_REGION", "AWS_DEFAULT_REGION"}}, {&o.SessionName, []string{"AWS_ROLE_SESSION_NAME"}}} {
		if *v.to == "" {
			if *v.to, err = p.first(v.names...); err != nil {
				return err
			}
		}
	}
	getenv, err := p.environment("AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE")
	if err != nil {
		return err
	}
	x, err := o.Settle(getenv)
	if err != nil {
		return t.located(err)
	}
	for _, n := range x.Notes {
		p.noteOnce(n)
	}
	return p.planAWS(t, c, x)
}

// planAWS says what the target takes, and how it is done.
func (p *plan) planAWS(t *target, c *applyAWS, x *aws.Exchange) error {
	for i, role := range x.Roles() {
		call := "AssumeRole " + role
		if i == 0 && t.via == nil {
			call = "AssumeRoleWithWebIdentity " + role
		}
		if x.Region != "" {
			call += " in " + x.Region
		}
		t.calls = append(t.calls, call)
	}
	files, err := p.profileFiles(t, c, x.Region)
	if err != nil {
		return err
	}
	t.exchange = func(ctx context.Context, m material) (outcome, error) {
		var got aws.Credentials
		var err error
		if t.via != nil {
			got, err = x.ExchangeVia(ctx, p.client(), m.via)
		} else {
			got, err = x.Exchange(ctx, p.client(), m.token)
		}
		if err != nil {
			return outcome{}, err
		}
		p.progress("%s: assumed %s until %s", t, got.ARN, got.Expiration.Format(time.RFC3339))
		o := outcome{credentials: got, expires: got.Expiration, files: t.files}
		if len(t.files) > 0 {
			o.edits = got.StaticProfile(c.Profile.text, files)
		}
		return o, nil
	}
	return nil
}

// profileFiles finds the files of the target's profile, if it is to write one.
func (p *plan) profileFiles(t *target, c *applyAWS, region string) (aws.Files, error) {
	if !c.Profile.given() {
		if slices.ContainsFunc(p.targets, func(other *target) bool { return other.via == t }) {
			return aws.Files{}, nil
		}
		return aws.Files{}, t.wrong(t.at, "it has no profile to write, and no other target comes via it")
	}
	if err := deliver.ProfileName(c.Profile.text); err != nil {
		return aws.Files{}, located(err, t.String(), c.Profile.at)
	}
	if !t.chosen {
		return aws.Files{}, nil
	}
	getenv, err := p.environment("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "HOME")
	if err != nil {
		return aws.Files{}, err
	}
	files, err := aws.FindFiles(getenv)
	if err != nil {
		return aws.Files{}, err
	}
	section := "profile " + c.Profile.text
	if c.Profile.text == "default" {
		section = "default"
	}
	settings := "region"
	if region == "" {
		settings = "no region"
	}
	t.files = []written{{files.Credentials, c.Profile.text, "keys"}, {files.Config, section, settings}}
	return files, p.claimAll(t, t.at, true)
}

// claimAll claims the files that the target writes.
func (p *plan) claimAll(t *target, at place, shared bool) error {
	for _, f := range t.files {
		if err := p.claim(f.Path, claim{t.String(), at, shared}); err != nil {
			return err
		}
	}
	return nil
}

func (p *plan) settleGCP(t *target, c *applyGCP) error {
	if !c.WorkloadIdentityProvider.given() {
		return t.wrong(t.at, "it has no workload-identity-provider").
			Hint("it is like projects/123456789012/locations/global/workloadIdentityPools/POOL/providers/PROVIDER")
	}
	o := gcp.Options{
		Provider: c.WorkloadIdentityProvider.text, ServiceAccount: c.ServiceAccount.text, Delegates: texts(c.Delegate),
		Scopes: texts(c.Scope), TokenLifetime: c.TokenLifetime.text, UniverseDomain: c.UniverseDomain.text,
		STSEndpoint: c.STSEndpoint.text, IAMCredentialsEndpoint: c.IAMCredentialsEndpoint.text,
	}
	for _, v := range []struct {
		to    *string
		names []string
	}{
		{&o.UniverseDomain, []string{"CLOUDSDK_CORE_UNIVERSE_DOMAIN", "GOOGLE_CLOUD_UNIVERSE_DOMAIN"}},
		{&o.STSEndpoint, []string{"CLOUDSDK_API_ENDPOINT_OVERRIDES_STS"}},
		{&o.IAMCredentialsEndpoint, []string{"CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS"}},
	} {
		if *v.to == "" {
			var err error
			if *v.to, err = p.first(v.names...); err != nil {
				return err
			}
		}
	}
	x, err := o.Settle()
	if err != nil {
		return t.located(err)
	}
	f := gcpFiles{source: c.Source.text}
	if err := f.settle(); err != nil {
		return t.located(err)
	}
	if f.output, err = p.place(c.OutputFile, t.String()); err != nil {
		return err
	}
	return p.planGCP(t, c, x, f)
}

func (p *plan) planGCP(t *target, c *applyGCP, x *gcp.Exchange, f gcpFiles) error {
	t.calls = []string{"token exchange at " + x.Provider.String()}
	if x.ServiceAccount != "" {
		t.calls = append(t.calls, "generateAccessToken of "+x.ServiceAccount)
	}
	by, err := p.sourceProgram(f.source, t.token)
	if err != nil {
		return located(err, t.String(), t.at, c, &c.Token)
	}
	find := func(token oidc.Token) (gcp.Files, error) {
		return gcp.FindFiles(p.Getenv, f.output, x.Provider.String(), token)
	}
	known, err := find(oidc.Token{})
	if err != nil {
		return err
	}
	if _, err := x.Write(known, oidc.Token{}, by); err != nil {
		return t.located(err)
	}
	t.files = []written{{Path: known.Config, Holds: "credential configuration"}}
	if err := p.claimAll(t, c.OutputFile.or(t.at), false); err != nil {
		return err
	}
	if by == nil {
		// Its name depends on the token's audience, which nobody knows yet.
		t.files = append(t.files, written{Path: filepath.Join(filepath.Dir(known.Token), "token-*"), Holds: "the job's token"})
		t.tokenFile = func(token oidc.Token) (string, error) {
			files, err := find(token)
			return files.Token, err
		}
	}
	t.exchange = func(ctx context.Context, m material) (outcome, error) {
		files, err := find(m.token)
		if err != nil {
			return outcome{}, err
		}
		o := outcome{files: t.files}
		if by == nil { // with a program, access does not end
			o.expires = m.token.Expiry
			o.files = []written{t.files[0], {Path: files.Token, Holds: t.files[1].Holds}}
		}
		if o.edits, err = x.Write(files, m.token, by); err != nil {
			return o, err
		}
		got, err := x.Exchange(ctx, p.client(), m.token)
		if err == nil {
			p.progress("%s: access to Google Cloud until %s", t, got.Expiry.Format(time.RFC3339))
		}
		return o, err
	}
	return nil
}

// or is where the entry stands, or where it would.
func (e entry) or(at place) place {
	if e.given() {
		return e.at
	}
	return at
}

func (p *plan) settleVault(t *target, c *applyVault) error {
	o := p.server
	o.Addr, o.Role, o.AuthPath, o.Namespace, o.AuthNamespace = c.VaultAddr.text, c.Role.text, c.AuthPath.text, c.Namespace.text, c.AuthNamespace.text
	o.Secrets, o.Writes, o.KVVersions, o.WrapTTL = texts(c.Secret), texts(c.Write), texts(c.KVVersion), c.WrapTTL.text
	if c.CACert.given() || c.CAPath.given() {
		o.CACert, o.CACertBytes, o.CAPath = "", "", ""
	}
	for _, v := range []struct {
		to   *string
		from entry
	}{{&o.CACert, c.CACert}, {&o.CAPath, c.CAPath}, {&o.ClientCert, c.ClientCert}, {&o.ClientKey, c.ClientKey}} {
		path, err := p.place(v.from, t.String())
		if err != nil {
			return err
		}
		if path != "" {
			*v.to = path
		}
	}
	for _, v := range []struct {
		to   *string
		from entry
	}{{&o.TLSServerName, c.TLSServerName}, {&o.ClientTimeout, c.ClientTimeout.entry}, {&o.MaxRetries, c.MaxRetries.entry}} {
		if v.from.given() {
			*v.to = v.from.text
		}
	}
	if !c.VaultAddr.given() {
		// The namespace that the variable names is one of that server.
		var err error
		if o.Addr, err = p.first("BAO_ADDR", "VAULT_ADDR"); err != nil {
			return err
		}
		if !c.Namespace.given() {
			if o.Namespace, err = p.first("BAO_NAMESPACE", "VAULT_NAMESPACE"); err != nil {
				return err
			}
		}
	}
	s, err := o.Settle()
	if err == nil {
		err = s.CheckVariables()
	}
	if err != nil {
		return t.located(err)
	}
	return p.planVault(t, c, s)
}

// vaultFiles finds what a Vault target writes: the token, the secrets, or both.
func (p *plan) vaultFiles(t *target, c *applyVault) (tokenPath, secretsPath, format string, err error) {
	switch {
	case c.SecretsFile.given() && len(c.Secret) == 0:
		return "", "", "", t.wrong(c.SecretsFile.at, "secrets-file: there is no secret to write into it").Hint("name one: secret: 'secret/data/ci/app password=DB_PASSWORD'")
	case !c.SecretsFile.given() && len(c.Secret) > 0:
		return "", "", "", t.wrong(c.Secret[0].at, "secret: there is no secrets-file to write it into")
	case c.SecretsFormat.given() && !c.SecretsFile.given():
		return "", "", "", t.wrong(c.SecretsFormat.at, "secrets-format is that of a secrets-file, which is not given")
	}
	if format = c.SecretsFormat.text; format == "" {
		format = "dotenv"
	}
	if err := oneOf("secrets-format", format, deliver.Shells()); err != nil {
		return "", "", "", t.located(err)
	}
	if secretsPath, err = p.place(c.SecretsFile, t.String()); err != nil {
		return "", "", "", err
	}
	if tokenPath, err = p.place(c.OutputFile, t.String()); err != nil {
		return "", "", "", err
	}
	if tokenPath == "" && secretsPath == "" {
		tokenPath, err = (&vaultRun{app: p.app}).tokenPath()
	}
	return tokenPath, secretsPath, format, err
}

func (p *plan) planVault(t *target, c *applyVault, s *vault.Server) error {
	tokenPath, secretsPath, format, err := p.vaultFiles(t, c)
	if err != nil {
		return err
	}
	t.calls = []string{"login at " + s.Addr}
	for _, w := range s.Secrets {
		t.calls = append(t.calls, "read "+w.Path)
	}
	for _, f := range []struct {
		path, holds string
		at          place
	}{{tokenPath, "token", c.OutputFile.or(t.at)}, {secretsPath, "secrets", c.SecretsFile.at}} {
		if f.path == "" {
			continue
		}
		if err := p.claim(f.path, claim{t.String(), f.at, false}); err != nil {
			return err
		}
		t.files = append(t.files, written{Path: f.path, Holds: f.holds})
	}
	t.exchange = func(ctx context.Context, m material) (outcome, error) {
		session, err := s.Login(ctx, p.client(), m.token)
		if err != nil {
			return outcome{}, err
		}
		p.progress("%s: logged in, valid %s", t, ending(session))
		o := outcome{session: session, files: t.files, tokenPath: tokenPath}
		if tokenPath != "" {
			o.expires = session.Expiry()
			o.edits = []secret.Edit{whole(tokenPath, []byte(session.Token.Reveal()))} // without a line break, as the CLI writes it
		}
		secrets, err := session.Read(ctx)
		if err != nil || secretsPath == "" {
			return o, err
		}
		o.leases = len(vault.Leases(secrets)) > 0
		b, err := rendered(session, secrets, format)
		o.edits = append(o.edits, whole(secretsPath, b))
		return o, err
	}
	return nil
}

// rendered are the secrets as a file of the format holds them.
func rendered(session *vault.Session, secrets []vault.Secret, format string) ([]byte, error) {
	env, err := session.Environment(secrets, false)
	if err != nil {
		return nil, err
	}
	b, err := deliver.Render(format, deliver.Environment{Set: env.Set})
	if err != nil {
		return nil, fault.New(fault.KindOf(err), "%s", err).Hint("json can: secrets-format: json")
	}
	return b, nil
}

// whole is the edit that makes a file of these bytes alone.
func whole(path string, b []byte) secret.Edit {
	return secret.Edit{Path: path, Private: true, Apply: func([]byte) ([]byte, error) { return b, nil }}
}
