// Package sandbox runs the two sides of an exchange on loopback: an issuer that
// signs tokens as CircleCI does, and clouds that judge them as the real ones
// do. It imports no provider and no cloud's client: a fake that is built from
// the client agrees with the client's bugs.
package sandbox

import (
	"context"
	"errors"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
	"github.com/oidc-broker/oidc-broker/pkg/policy/iam"
	"github.com/oidc-broker/oidc-broker/pkg/policy/jwtrole"
	"github.com/oidc-broker/oidc-broker/pkg/policy/wif"
	"github.com/oidc-broker/oidc-broker/pkg/sandbox/job"
)

// DefaultRole is the role that exists when Config names none.
const DefaultRole = "arn:aws:iam::111122223333:role/deploy"

// Config says what a sandbox holds.
type Config struct {
	Now func() time.Time // required
	// Dir is a directory for this sandbox alone, made 0700 by the caller, who
	// also removes it.
	Dir string
	// Executable is called back by the circleci stand-in, as
	// `Executable sandbox circleci-run ARGS...`. Empty: there is no stand-in.
	Executable string
	// Roles are the ARNs of the AWS roles that exist. Empty: DefaultRole. The
	// account of each has CircleCI's organisation as identity provider.
	Roles []string
	// ExternalIDs holds, by role ARN, the external id that AssumeRole must give.
	ExternalIDs map[string]string
	// Untagged holds ARNs of roles whose trust policy does not allow sts:TagSession.
	Untagged []string
	// GCPProjectID is the Google Cloud project's. Empty: sandbox-project.
	GCPProjectID string
	// GCPServiceAccounts are the addresses of service accounts that exist
	// beside DefaultGCPServiceAccount. The jobs of the sandbox's project may
	// become each of them, and each of them may become any other.
	GCPServiceAccounts []string
	// VaultRole is what DefaultVaultRole says. Nil: the jobs of the sandbox's
	// project that build its own repository may log in.
	VaultRole *jwtrole.Role
	// VaultConfig is the JWT auth mount's. Nil: it knows the sandbox's key, and
	// the organisation's issuer alone.
	VaultConfig *jwtrole.Config
	// TrustPolicy is the trust policy of every AWS role. Nil: each trusts the
	// sandbox's project.
	TrustPolicy *iam.Policy
	// GCPProvider is the workload identity provider. Nil: DefaultGCPProvider,
	// which trusts the sandbox's project. The policy of the service account that
	// its document may hold is every account's; without one, the whole pool may
	// become each of them.
	GCPProvider *wif.Provider
	// Explain is told what such a document made of a token that it did not let
	// in; several at once may call it. Nil: nobody is.
	Explain explainer
	// SessionTTL is how long AWS's sessions and Google's access tokens last at
	// most, whatever was asked for: what a command does past the hour shows in a
	// minute. 0: no less than the clouds give.
	SessionTTL time.Duration
	// Token is what the job's token says.
	Token Variant
	// Job says which job it is, where it is not CircleCI's alone.
	Job job.Options
	// Log gets a line for each request, never a token; several at once may
	// call it. Nil: silent.
	Log func(format string, args ...any)
}

// clients are the audiences that the identity provider of the AWS accounts is
// registered for. No trust policy tells: with one of the user's own, it is the
// token's audience too, so that the policy decides.
func (c Config) clients() []string {
	if party, ok := c.Token.Job["azp"].(string); ok { // which AWS takes for the audience
		return []string{party}
	}
	if c.TrustPolicy != nil && c.Token.Audience != "" {
		return []string{c.Token.OrgID(), c.Token.Audience}
	}
	return []string{c.Token.OrgID()}
}

// issuer is the one that the clouds know: the organisation's, or that of another CI
// system whose job the token is of.
func (c Config) issuer() string {
	if issuer, ok := c.Token.Job["iss"].(string); ok {
		return issuer
	}
	return ci.OrgIssuer(c.Token.OrgID())
}

// life is how long what is asked for so long lasts.
func (c Config) life(asked time.Duration) time.Duration {
	if c.SessionTTL > 0 {
		return min(asked, c.SessionTTL)
	}
	return asked
}

// An explainer is told of a judgement, and what judged.
type explainer func(what string, j policy.Judgement)

func (e explainer) of(what string, j policy.Judgement) {
	if e != nil {
		e(what, j)
	}
}

// A Sandbox is running.
type Sandbox struct {
	bin     string
	set     map[string]string
	unset   []string
	issuer  *issuer
	ledger  *ledger
	vault   *vault
	job     *job.Job // nil: CircleCI's
	servers []*http.Server
	serving sync.WaitGroup
	stop    func() bool // takes back the wish to close with the context
}

// A service is one listener: a cloud's API, or the issuer.
type service struct {
	name string
	// open is told where the service will listen, and says how it answers and
	// which environment leads a client there.
	open func(base string) (endpoint, map[string]string)
}

// An endpoint answers a request and returns what to log of it.
type endpoint func(http.ResponseWriter, *http.Request) (note string)

// Start runs a sandbox until it is closed or the context ends.
func Start(ctx context.Context, c Config) (*Sandbox, error) {
	if c.Now == nil || c.Dir == "" {
		return nil, errors.New("a sandbox needs a clock and a directory")
	}
	// Google counts whole seconds.
	if c.SessionTTL != 0 && c.SessionTTL < time.Second {
		return nil, fault.New(fault.Usage, "sessions cannot last %s", c.SessionTTL).Hint("give a second or more")
	}
	if c.Log == nil {
		c.Log = func(string, ...any) {}
	}
	l := &ledger{}
	j, err := job.New(c.Job, c.Token)
	if err != nil {
		return nil, err
	}
	if j != nil {
		if c, err = c.trusting(j); err != nil {
			return nil, err
		}
	}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	i, err := newIssuer(key, c.Now, c.Token, l)
	if err != nil {
		return nil, err
	}
	aws, err := newSTS(c, i.public, l)
	if err != nil {
		return nil, err
	}
	gcp, err := newGoogle(c, i.public, l)
	if err != nil {
		return nil, err
	}
	vault, err := newVault(c, i.public, l)
	if err != nil {
		return nil, err
	}
	s := &Sandbox{bin: filepath.Join(c.Dir, "bin"), issuer: i, ledger: l, vault: vault, job: j}
	s.set, err = s.writeFiles(c)
	if err != nil {
		return nil, err
	}
	maps.Copy(s.set, googleEnvironment())
	services, err := s.enter(c)
	if err != nil {
		return nil, err
	}
	for _, svc := range append(services, []service{
		{"aws sts", aws.open},
		{"google sts", gcp.openSTS},
		{"google iam", gcp.openIAM},
		{"google oauth", gcp.openOAuth},
		{"google projects", gcp.openCRM},
		{"vault", vault.open},
	}...) {
		if err := s.serve(ctx, svc, c.Log); err != nil {
			_ = s.Close() // what is open already
			return nil, err
		}
	}
	s.unset = shadows(s.set, j)
	s.stop = context.AfterFunc(ctx, s.closeServers)
	return s, nil
}

// serve gives a service a listener of its own, on loopback alone.
func (s *Sandbox) serve(ctx context.Context, svc service, logf func(string, ...any)) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return fault.New(fault.Local, "cannot listen on loopback: %w", err)
	}
	answer, env := svc.open("http://" + l.Addr().String())
	maps.Copy(s.set, env)
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			logf("%s: %s", svc.name, answer(w, r))
		}),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
		// What net/http has to say would go to stderr, past the one printer.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	s.servers = append(s.servers, server)
	s.serving.Go(func() { _ = server.Serve(l) }) // ends with Close
	return nil
}

// Close ends the sandbox and waits until nothing listens any more.
func (s *Sandbox) Close() error {
	if s.stop != nil {
		s.stop()
	}
	s.closeServers()
	s.serving.Wait()
	return nil
}

func (s *Sandbox) closeServers() {
	for _, server := range s.servers {
		_ = server.Close() // a listener that is closed already
	}
}

// Environment returns what points every client here: the variables to set, and
// those to unset because they would shadow them. PATH is not among them: Bin
// goes in front of it.
func (s *Sandbox) Environment() (set map[string]string, unset []string) {
	return maps.Clone(s.set), slices.Clone(s.unset)
}

// TokenVariable says whether a token in a variable of this name would be taken for one of
// the job's.
func (s *Sandbox) TokenVariable(name string) bool { return s.job != nil && s.job.TokenVariable(name) }

// Bin is the directory that goes in front of PATH. It holds the
// stand-in for circleci or buildkite-agent.
func (s *Sandbox) Bin() string { return s.bin }

// Mint signs further tokens with the sandbox's key.
func (s *Sandbox) Mint(v Variant) (v1, v2 string, err error) { return s.issuer.mint(v) }

// Issued returns every secret handed out so far: tokens, secret keys and
// session tokens, and all secrets that the Vault holds from the start. It is
// there to look for them where they must not be.
func (s *Sandbox) Issued() []string { return s.ledger.list() }

// writeFiles makes what lies in the sandbox's directory and returns the
// variables that name it.
func (s *Sandbox) writeFiles(c Config) (map[string]string, error) {
	aws := filepath.Join(c.Dir, "aws")
	gcloud := filepath.Join(c.Dir, "gcloud")
	for _, dir := range []string{s.bin, aws, gcloud} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fault.New(fault.Local, "cannot make the sandbox's directory: %w", err)
		}
	}
	return map[string]string{
		// Trying things on a laptop must never touch its owner's profiles.
		"AWS_SHARED_CREDENTIALS_FILE": filepath.Join(aws, "credentials"),
		"AWS_CONFIG_FILE":             filepath.Join(aws, "config"),
		"CLOUDSDK_CONFIG":             gcloud,
		// OpenBao's name for the file that a login writes, which is in the
		// user's home otherwise.
		"BAO_TOKEN_PATH": filepath.Join(c.Dir, "vault-token"),
	}, nil
}

// A ledger remembers every secret that left the sandbox.
type ledger struct {
	mu  sync.Mutex
	all []string
}

func (l *ledger) add(secrets ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, secrets...)
}

func (l *ledger) list() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.all)
}
