package cli

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/vault"
)

// vaultRun is what the outputs of the Vault provider share.
type vaultRun struct {
	*app
	token   tokenOptions
	options vault.Options
}

func (a *app) vaultCommand() *cobra.Command {
	r := &vaultRun{app: a}
	c := r.loginCommand()
	c.Use = "vault"
	c.Short = "HashiCorp Vault or OpenBao: a token by JWT login, and secrets"
	c.Long = `Log in to HashiCorp Vault or OpenBao with the job's token (the JWT auth method).
'oidc-broker vault' alone writes the token where the Vault CLI looks for it, as
'oidc-broker vault login' does; the other outputs are subcommands. No vault is needed.

'vault exec' is the safest of them: the command gets the secrets, the token is renewed
while it runs and revoked when it ends. Each variable VAULT_... may be a BAO_... too,
which wins. VAULT_TOKEN is not read.`
	o := a.options(c)
	p := &r.options
	o.text(&p.Addr, "vault-addr", "BAO_ADDR VAULT_ADDR", "`URL` of the server")
	o.text(&p.Role, "role", "BAO_ROLE VAULT_ROLE", "`role` to log in as (default: the mount's default role)")
	o.text(&p.AuthPath, "auth-path", "BAO_AUTH_PATH VAULT_AUTH_PATH", "`path` of the JWT auth mount (default jwt)")
	o.text(&p.Namespace, "namespace", "BAO_NAMESPACE VAULT_NAMESPACE", "`namespace` of the secrets, and of the login unless --auth-namespace says otherwise")
	o.text(&p.AuthNamespace, "auth-namespace", "BAO_AUTH_NAMESPACE VAULT_AUTH_NAMESPACE", "`namespace` of the login; root is the one without a name")
	r.connection(o)
	r.token.declare(o)
	c.AddCommand(r.loginCommand(), r.envCommand(), r.execCommand(), r.tokenCommand(), r.readCommand())
	return c
}

// connection declares how the server is reached.
func (r *vaultRun) connection(o options) {
	p := &r.options
	o.text(&p.CACert, "ca-cert", "BAO_CACERT VAULT_CACERT", "`file` of the authorities to trust, instead of the system's")
	o.text(&p.CACertBytes, "ca-cert-bytes", "BAO_CACERT_BYTES VAULT_CACERT_BYTES", "the same as `PEM` text")
	o.text(&p.CAPath, "ca-path", "BAO_CAPATH VAULT_CAPATH", "`directory` of such files")
	o.exclusive("ca-cert", "ca-cert-bytes", "ca-path")
	o.text(&p.ClientCert, "client-cert", "BAO_CLIENT_CERT VAULT_CLIENT_CERT", "`file` of the certificate to show to the server")
	o.text(&p.ClientKey, "client-key", "BAO_CLIENT_KEY VAULT_CLIENT_KEY", "`file` of its key")
	o.text(&p.TLSServerName, "tls-server-name", "BAO_TLS_SERVER_NAME VAULT_TLS_SERVER_NAME", "`name` that the server's certificate is for, where it is not the host's")
	o.text(&p.Proxy, "proxy-addr", "BAO_PROXY_ADDR VAULT_PROXY_ADDR BAO_HTTP_PROXY VAULT_HTTP_PROXY", "`URL` of the proxy to the server, instead of HTTPS_PROXY's")
	o.list(&p.Headers, "header", "OIDC_BROKER_VAULT_HEADER", "send a header that an access proxy in front of the server wants: `NAME=VARIABLE` that holds its value (repeatable; VAULT_HEADERS has names and values as JSON)")
	p.Getenv = r.Getenv
	o.text(&p.ClientTimeout, "client-timeout", "BAO_CLIENT_TIMEOUT VAULT_CLIENT_TIMEOUT", "`time` that one call may take: 30, 30s (default 15s)")
	o.text(&p.MaxRetries, "max-retries", "BAO_MAX_RETRIES VAULT_MAX_RETRIES", "`number` of further attempts (default: one less than --max-attempts)")
}

// secrets declares the options of outputs that read secrets.
func (r *vaultRun) secrets(o options) {
	p := &r.options
	o.list(&p.Secrets, "secret", "OIDC_BROKER_VAULT_SECRETS", "a secret to read: its path, and the fields that are wanted with the variables they go into, as `'PATH [FIELD[=NAME]]...'`, quoted as for a shell; *=PREFIX_* is every field (repeatable)")
	o.list(&p.Writes, "write", "OIDC_BROKER_VAULT_WRITES", "write parameters to the path of a --secret instead of reading it: `'PATH KEY=VALUE...'`, or KEY=@FILE (repeatable)")
	o.list(&p.KVVersions, "kv-version", "OIDC_BROKER_VAULT_KV_VERSION", "1 or 2, of all mounts, or `MOUNT=N`: with 2, paths are as the Vault CLI has them (repeatable)")
	o.text(&p.WrapTTL, "wrap-ttl", "BAO_WRAP_TTL VAULT_WRAP_TTL", "have answers wrapped, for this `time`, and open them here: 60, 60s")
}

// settle checks the options: every usage error ends here.
func (r *vaultRun) settle() (*vault.Server, error) {
	r.options.Read = r.readFile
	s, err := r.options.Resolve()
	if err != nil {
		return nil, err
	}
	for _, n := range r.unheeded() {
		r.note(n)
	}
	return s, r.finder(r.token).Check()
}

func (r *vaultRun) loginCommand() *cobra.Command {
	c := &cobra.Command{
		Use:        "login",
		SuggestFor: []string{"login", "auth"},
		Short:      "Log in, and write the token where the Vault CLI looks for it",
		Long: `Log in and write the token to ~/.vault-token (BAO_TOKEN_PATH, where that is set), 0600, as
the Vault CLI's own login does. The steps that follow can use vault and bao until the
token ends. Nothing revokes it: 'vault exec' does.`,
		Example: `  oidc-broker vault login --vault-addr https://vault.example.com:8200 --role deploy
  vault kv get secret/ci/app`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := r.settle()
			if err != nil {
				return err
			}
			path, err := r.tokenPath()
			if err != nil {
				return err
			}
			return r.with(c.Context(), s, func(ctx context.Context, session *vault.Session, _ []vault.Secret) error {
				edit := whole(path, []byte(session.Token.Reveal())) // without a line break, as the CLI writes it
				r.noteToken(ctx, session, noteFile, path)
				if err := r.commit(ctx, edit); err != nil {
					return fault.New(fault.KindOf(err), "cannot write the token: %w", err)
				}
				r.delivered(tokenDelivery("token", path, session))
				r.noteConflicts(r.vaultDelivery(s, r.options, path, r.Getenv("BASH_ENV")).Conflicts())
				return nil
			})
		},
	}
	return r.orExisting(c, &r.token, r.existingVault)
}

// tokenDelivery says whose the Vault token is that was written.
func tokenDelivery(what, where string, session *vault.Session) delivery {
	d := delivery{what: what, where: where, identity: session.Identity(), expiry: session.Expiry()}
	if d.expiry.IsZero() {
		d.lifetime = "valid forever"
	}
	return d
}

// tokenPath is where the Vault CLI keeps its token.
func (r *vaultRun) tokenPath() (string, error) {
	getenv, err := r.environment("BAO_TOKEN_PATH", "HOME", "USERPROFILE")
	if err != nil {
		return "", err
	}
	if path := getenv("BAO_TOKEN_PATH"); path != "" {
		return path, nil
	}
	for _, name := range []string{"HOME", "USERPROFILE"} {
		if home := getenv(name); home != "" {
			return filepath.Join(home, ".vault-token"), nil
		}
	}
	return "", fault.New(fault.Local, "there is no home directory for the file .vault-token").
		Hint("set HOME, or BAO_TOKEN_PATH to a file")
}

func (r *vaultRun) envCommand() *cobra.Command {
	out := envOutput{app: r.app, block: "vault", command: "oidc-broker vault env"}
	c := &cobra.Command{
		Use:   "env",
		Short: "Print the token and the secrets as environment variables, or put them into $BASH_ENV",
		Long: `Log in, read the secrets that --secret names, and print commands that set VAULT_ADDR,
VAULT_TOKEN, VAULT_NAMESPACE and a variable for each field. With --bash-env they go into
the file that CircleCI's bash steps read first. The token stays valid: what was read is
what the following steps need it for.`,
		Example: `  oidc-broker vault env --bash-env --secret 'secret/data/ci/app username=DB_USER password=DB_PASSWORD'`,
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := r.settle()
			if err != nil {
				return err
			}
			if err := s.CheckVariables(); err != nil {
				return err
			}
			if err := out.settle(); err != nil {
				return err
			}
			return r.with(c.Context(), s, func(ctx context.Context, session *vault.Session, secrets []vault.Secret) error {
				env, err := session.Environment(secrets, true)
				if err != nil {
					return err
				}
				if out.bashEnv {
					r.noteToken(ctx, session, noteBashEnv, out.path)
				}
				if err := r.writeFiles(ctx, secrets); err != nil {
					return err
				}
				if err := out.deliver(ctx, env, tokenDelivery("variables", "", session)); err != nil {
					return err
				}
				r.noteConflicts(r.vaultDelivery(s, r.options, "", out.path).Conflicts())
				r.noteLeases(session, "or as long as the token")
				return nil
			})
		},
	}
	o := r.own(c)
	r.secrets(o)
	out.declare(o)
	return r.orExisting(c, &r.token, r.existingVault)
}

func (r *vaultRun) execCommand() *cobra.Command {
	var keep bool
	c := &cobra.Command{
		Use:   "exec -- COMMAND [ARG...]",
		Short: "Run a command with the secrets, and revoke the token when it ends",
		Long: `Log in, read the secrets that --secret names and run a command with them in its
environment. While it runs, the token and the leases of dynamic secrets are renewed; when
it ends, whatever way it ends, the token is revoked, and the leases with it. The
command's exit code and the signals for it pass through. It sees neither the job's token
nor Vault's: --keep-token gives it Vault's, --keep-ci-token leaves it the job's.`,
		Example: `  oidc-broker vault exec --secret 'secret/data/ci/app password=DB_PASSWORD' -- ./migrate.sh`,
		Args:    commandArgs,
		RunE: func(c *cobra.Command, args []string) error {
			s, err := r.settle()
			if err != nil {
				return err
			}
			if err := s.CheckVariables(); err != nil {
				return err
			}
			if err := unused(s.Files()); err != nil {
				return err
			}
			return r.exec(c.Context(), s, args, keep)
		},
	}
	o := r.own(c)
	r.secrets(o)
	o.switches(&keep, "keep-token", "OIDC_BROKER_VAULT_KEEP_TOKEN", "give the command VAULT_TOKEN and VAULT_ADDR")
	r.token.declareKeep(o)
	// Its name before the other exec commands had the option.
	o.switches(&r.token.keepJob, "keep-job-token", "OIDC_BROKER_VAULT_KEEP_JOB_TOKEN", "the same as --keep-ci-token")
	_ = o.flags.MarkHidden("keep-job-token")
	return r.orExisting(c, &r.token, r.existingVault)
}

func (r *vaultRun) exec(ctx context.Context, s *vault.Server, argv []string, keep bool) error {
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	session, err := r.login(bounded, s)
	if err != nil {
		return err
	}
	defer r.revoke(ctx, session)
	// Reads may take longer than the token lives.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		session.Keep(life, func(format string, args ...any) { r.note(fmt.Sprintf(format, args...)) }, nil)
	}()
	// Before the revocation: a renewal must not meet a token that is gone.
	defer func() { end(); <-kept }()
	secrets, err := r.readWith(bounded, session)
	if err != nil {
		return err
	}
	env, err := session.Environment(secrets, keep)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil { // an interrupt that came while the last answer did
		return err
	}
	// Also where not all could be written.
	defer func() { r.removeFiles(vault.Files(secrets)) }()
	if err := r.commit(bounded, fileEdits(secrets)...); err != nil {
		return fault.New(fault.KindOf(err), "cannot write a secret's file: %w", err)
	}
	if keep {
		r.noteConflicts(r.vaultDelivery(s, r.options, "", "").Conflicts())
	}
	return r.child(ctx, argv, env, r.token)
}

func (r *vaultRun) tokenCommand() *cobra.Command {
	var toTerminal bool
	c := &cobra.Command{
		Use:     "token",
		Short:   "Print a Vault token, and nothing else",
		Example: `  VAULT_TOKEN="$(oidc-broker vault token)" vault kv get secret/ci/app`,
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := r.settle()
			if err != nil {
				return err
			}
			if err := r.refuseTerminal(toTerminal); err != nil {
				return err
			}
			return r.with(c.Context(), s, func(_ context.Context, session *vault.Session, _ []vault.Secret) error {
				return r.result(fmt.Appendln(nil, session.Token.Reveal()))
			})
		},
	}
	printToTerminal(r.own(c), &toTerminal)
	return c
}

func (r *vaultRun) readCommand() *cobra.Command {
	var toTerminal bool
	c := &cobra.Command{
		Use:   "read",
		Short: "Print secrets as JSON, and revoke the token",
		Long: `Log in, read the secrets that --secret names and print them as a JSON object: by path,
with data, the version of a KV version 2 secret, and lease_id, lease_duration and
renewable of a dynamic one. Numbers have all the digits that the server sent. The token
is revoked, unless a lease hangs on it.`,
		Example: `  oidc-broker vault read --secret 'secret/data/ci/app *' | jq -r '."secret/data/ci/app".data.password'`,
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := r.settle()
			if err != nil {
				return err
			}
			if len(s.Secrets) == 0 {
				return fault.New(fault.Usage, "no secret to read").Hint("name one: %s 'secret/data/ci/app password'", fault.Option("secret"))
			}
			if err := r.refuseTerminal(toTerminal, "write it to a file or a pipe"); err != nil {
				return err
			}
			return r.with(c.Context(), s, func(_ context.Context, session *vault.Session, secrets []vault.Secret) error {
				if err := r.writeFiles(c.Context(), secrets); err != nil {
					return err
				}
				return r.read(c.Context(), session, secrets)
			})
		},
	}
	o := r.own(c)
	r.secrets(o)
	printToTerminal(o, &toTerminal)
	return c
}

func (r *vaultRun) read(ctx context.Context, session *vault.Session, secrets []vault.Secret) error {
	b, err := vault.JSON(secrets)
	if err != nil {
		return err
	}
	if err := r.result(b); err != nil {
		return err
	}
	if len(session.Leases()) > 0 {
		r.leaveForLeases(ctx, session)
		return nil
	}
	r.revoke(ctx, session)
	return nil
}
