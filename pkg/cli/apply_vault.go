package cli

import (
	"context"

	"github.com/oidc-broker/oidc-broker/pkg/internal/broker"
	"github.com/oidc-broker/oidc-broker/pkg/internal/child"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/pkg/internal/shell"
	"github.com/oidc-broker/oidc-broker/pkg/internal/undo"
	"github.com/oidc-broker/oidc-broker/pkg/vault"
)

func (c *applyVault) settle(p *plan, t *target) error {
	o, err := c.options(p, t)
	if err != nil {
		return err
	}
	s, err := o.Resolve()
	if err != nil {
		return p.located(t, err)
	}
	w, err := c.writing(p, t)
	if err != nil {
		return err
	}
	if err := s.CheckVariables(); err != nil {
		return p.located(t, err)
	}
	if files := s.Files(); len(files) > 0 {
		return t.mistake(c.Secret[0].at, "secret: %q: a field goes into a file of its own with 'oidc-broker vault' alone", "@"+files[0]).
			Hint("here all of them go into the secrets-file; a second target can have another")
	}
	for _, n := range p.unheeded() {
		p.noteOnce(n)
	}
	t.calls = []string{"login at " + s.Addr}
	for _, wanted := range s.Secrets {
		t.calls = append(t.calls, "read "+wanted.Path)
	}
	if w.token != "" {
		if err := p.writes(t, w.token, "token", c.OutputFile.or(t.at())); err != nil {
			return err
		}
	}
	if w.token != "" && !c.OutputFile.given() { // no tool looks elsewhere
		t.conflicts = func([]string) []broker.Conflict {
			return p.vaultDelivery(s, o, w.token, p.Getenv("BASH_ENV")).Conflicts()
		}
	}
	if w.secrets != "" {
		if err := p.writes(t, w.secrets, "secrets", c.SecretsFile.at); err != nil {
			return err
		}
	}
	t.exchange = func(ctx context.Context, m material) (outcome, error) {
		session, err := loginWith(ctx, p.clientOf(t), s, m.token)
		if err != nil {
			return outcome{}, err
		}
		p.progress("%s: logged in, valid %s", t, ending(session))
		o := outcome{session: session, identity: session.Identity(), files: t.files}
		return o, w.fill(ctx, p.app, &o)
	}
	return nil
}

// options are the provider's, with what the environment adds to them.
func (c *applyVault) options(p *plan, t *target) (vault.Options, error) {
	o := p.server
	o.Read = p.readFile
	o.ReadValue = func(path string, limit int64) ([]byte, error) {
		if err := p.mayRead(path); err != nil {
			return nil, err
		}
		return p.readFile(path, limit)
	}
	o.Addr, o.Role, o.AuthPath, o.Namespace, o.AuthNamespace = c.VaultAddr.text, c.Role.text, c.AuthPath.text, c.Namespace.text, c.AuthNamespace.text
	o.Secrets, o.Writes, o.KVVersions, o.WrapTTL = texts(c.Secret), texts(c.Write), texts(c.KVVersion), c.WrapTTL.text
	if c.CACert.given() || c.CAPath.given() {
		o.CACert, o.CACertBytes, o.CAPath = "", "", ""
	}
	for _, v := range []struct {
		to   *string
		from entry
		path bool
	}{
		{&o.CACert, c.CACert, true}, {&o.CAPath, c.CAPath, true}, {&o.ClientCert, c.ClientCert, true}, {&o.ClientKey, c.ClientKey, true},
		{&o.TLSServerName, c.TLSServerName, false}, {&o.ClientTimeout, c.ClientTimeout.entry, false}, {&o.MaxRetries, c.MaxRetries.entry, false},
	} {
		if !v.from.given() {
			continue
		}
		*v.to = v.from.text
		if v.path {
			var err error
			if *v.to, err = p.filePath(v.from, t.String()); err != nil {
				return o, err
			}
		}
	}
	if c.VaultAddr.given() {
		return o, nil
	}
	// The namespace that the variable names is one of that server.
	if err := p.fromEnvironment("vault-addr", &o.Addr, "BAO_ADDR", "VAULT_ADDR"); err != nil {
		return o, err
	}
	return o, p.fromEnvironment("namespace", &o.Namespace, "BAO_NAMESPACE", "VAULT_NAMESPACE")
}

// vaultWriting is what a Vault target writes: the token, the secrets, or both.
type vaultWriting struct {
	token, secrets string // paths; "": not written
	format         string // of the secrets
}

func (c *applyVault) writing(p *plan, t *target) (vaultWriting, error) {
	w := vaultWriting{format: c.SecretsFormat.text}
	switch {
	case c.SecretsFile.given() && len(c.Secret) == 0:
		return w, t.mistake(c.SecretsFile.at, "secrets-file: there is no secret to write into it").Hint("name one: secret: 'secret/data/ci/app password=DB_PASSWORD'")
	case !c.SecretsFile.given() && len(c.Secret) > 0:
		return w, t.mistake(c.Secret[0].at, "secret: there is no secrets-file to write it into")
	case c.SecretsFormat.given() && !c.SecretsFile.given():
		return w, t.mistake(c.SecretsFormat.at, "secrets-format is that of a secrets-file, which is not given")
	}
	if w.format == "" {
		w.format = "dotenv"
	}
	var err error
	if w.secrets, err = p.outputPath(c.SecretsFile, t, noPlaces); err != nil {
		return w, err
	}
	if w.token, err = p.outputPath(c.OutputFile, t, p.vaultPlaces); err != nil {
		return w, err
	}
	if w.token == "" && w.secrets == "" {
		w.token, err = (&vaultRun{app: p.app}).tokenPath()
	}
	return w, err
}

// fill reads the secrets, and adds what is written to the outcome.
func (w vaultWriting) fill(ctx context.Context, a *app, o *outcome) error {
	if w.token != "" {
		o.tokenPath, o.expires = w.token, o.session.Expiry()
		o.edits = append(o.edits, whole(w.token, []byte(o.session.Token.Reveal()))) // without a line break, as the CLI writes it
	}
	secrets, err := a.readWith(ctx, o.session)
	if err != nil || w.secrets == "" {
		return err
	}
	o.leases = len(o.session.Leases()) > 0
	env, err := o.session.Environment(secrets, false)
	if err != nil {
		return err
	}
	b, err := shell.Render(w.format, child.Environment{Set: env.Set})
	if err != nil {
		return fault.New(fault.KindOf(err), "%w", err).Hint("JSON holds any value: secrets-format: json")
	}
	o.edits = append(o.edits, whole(w.secrets, b))
	return nil
}

// whole is the edit that makes a file of these bytes alone.
func whole(path string, b []byte) files.Edit {
	return files.Edit{
		Path: path, Private: true, Apply: func([]byte) ([]byte, error) { return b, nil },
		Mark: undo.Mark{Secrets: undo.Digests(secret.New(string(b)))},
	}
}
