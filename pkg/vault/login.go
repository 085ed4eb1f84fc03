package vault

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// Session is a login: the token, and what hangs on it.
type Session struct {
	Token secret.Value
	// Lease is how long the token lives unless it is renewed; 0: for ever.
	Lease     time.Duration
	Renewable bool
	Batch     bool // a batch token: it can be neither renewed nor revoked
	Policies  []string

	server *Server
	client *remote.Client
	job    oidc.Token
	warns  []string // of the server

	// Keep runs beside Read: mu guards Lease, Renewable and what follows.
	mu     sync.Mutex
	since  time.Time     // of Lease
	leases []*Lease      // of what was read
	read   bool          // Read has ended: no lease follows
	news   chan struct{} // has an element when leases or read changed
}

// answer is what every call returns (Vault's API documentation, "response").
type answer struct {
	described string // who answered what, for an answer that lacks something

	Errors        []string        `json:"errors"`
	Warnings      []string        `json:"warnings"`
	Data          json.RawMessage `json:"data"`
	LeaseID       string          `json:"lease_id"`
	LeaseDuration int64           `json:"lease_duration"` // seconds
	Renewable     bool            `json:"renewable"`
	Auth          *struct {
		ClientToken   string          `json:"client_token"`
		LeaseDuration int64           `json:"lease_duration"`
		Renewable     bool            `json:"renewable"`
		TokenType     string          `json:"token_type"`
		Policies      []string        `json:"policies"`
		MFA           json.RawMessage `json:"mfa_requirement"`
	} `json:"auth"`
	Wrap *struct {
		Token        string `json:"token"`
		CreationPath string `json:"creation_path"`
	} `json:"wrap_info"`
}

// Login trades the job's token for one of the server's: auth/PATH/login of the
// JWT auth method. A refusal is a fault.Refused with the server's words, the
// token's value of the claim that they name, and what to do.
func (s *Server) Login(ctx context.Context, c *remote.Client, t oidc.Token) (*Session, error) {
	own, err := s.client(c)
	if err != nil {
		return nil, err
	}
	in := map[string]string{"jwt": t.Raw.Reveal()}
	if s.role != "" { // else the mount's default role
		in["role"] = s.role
	}
	body, err := json.Marshal(in)
	if err != nil {
		return nil, fault.New(fault.Internal, "cannot write the request")
	}
	session := &Session{server: s, client: own, job: t, since: c.Now(), news: make(chan struct{}, 1)}
	a, err := session.call(ctx, about{step: login, path: "auth/" + s.authPath + "/login"}, remote.Request{
		Method: http.MethodPost, URL: s.Addr + "/v1/auth/" + s.authPath + "/login",
		Header: s.header(s.authNamespace), Body: body,
	})
	if err != nil {
		return nil, err
	}
	switch {
	case a.Auth == nil:
		return nil, notVault(a.described, " without a token")
	case len(a.Auth.MFA) > 0 && string(a.Auth.MFA) != "null":
		return nil, fault.New(fault.Refused, "Vault wants a second factor for the role %q, which a job does not have", s.role).
			Hint("take the login's path out of the server's MFA enforcement")
	case !usable(a.Auth.ClientToken):
		return nil, notVault(a.described, " without a token")
	}
	session.Token = secret.New(a.Auth.ClientToken)
	session.Lease = leaseTime(a.Auth.LeaseDuration)
	session.Renewable = a.Auth.Renewable
	session.Batch = a.Auth.TokenType == "batch"
	session.Policies = a.Auth.Policies
	session.warned(a)
	return session, nil
}

// Resume returns a session of a token that was made before.
func (s *Server) Resume(c *remote.Client, token secret.Value) (*Session, error) {
	own, err := s.client(c)
	if err != nil {
		return nil, err
	}
	return &Session{Token: token, server: s, client: own, since: c.Now(), news: make(chan struct{}, 1)}, nil
}

// Identity names who the token belongs to: the role that was logged in to, and where.
func (s *Session) Identity() string {
	if s.server.role == "" {
		return "the default role of " + s.server.Addr
	}
	return fmt.Sprintf("role %q of %s", s.server.role, s.server.Addr)
}

// Addr is the server's address.
func (s *Session) Addr() string { return s.server.Addr }

// Namespace is the one that the token belongs to, "" for the root's.
func (s *Session) Namespace() string { return s.server.authNamespace }

// SecretsNamespace is the one that secrets are read from.
func (s *Session) SecretsNamespace() string { return s.server.Namespace }

// Expiry is when the token ends unless it is renewed; zero: never.
func (s *Session) Expiry() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Lease <= 0 {
		return time.Time{}
	}
	return s.since.Add(s.Lease)
}

// Irrevocable says why the token cannot be revoked, where the login tells; else
// it is "".
func (s *Session) Irrevocable() string {
	if s.Batch {
		return "the role gives batch tokens, which cannot be revoked or renewed"
	}
	return ""
}

// Revoke ends the token, and every lease that was made with it in its namespace.
func (s *Session) Revoke(ctx context.Context) error {
	_, err := s.self(ctx, revoke, "auth/token/revoke-self", nil)
	return err
}

// Leases are those of what was read. They end with the token.
func (s *Session) Leases() []*Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.leases)
}

// change changes what Keep looks at, and wakes it.
func (s *Session) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	select {
	case s.news <- struct{}{}:
	default: // it was not taken yet
	}
}

// RevokeLeases revokes those leases that outlive the token's revocation: of another
// namespace than the token's, or of a token that cannot be revoked. It returns what
// could not be.
func (s *Session) RevokeLeases(ctx context.Context) []error {
	if s.server.Namespace == s.server.authNamespace && !s.Batch {
		return nil
	}
	var left []error
	for _, l := range s.Leases() {
		if err := s.aboutLease(ctx, "sys/leases/revoke", l, nil); err != nil {
			left = append(left, fault.New(fault.KindOf(err), "the lease %s stays valid until %s: %w", l.ID, l.Expiry().UTC().Format(time.RFC3339), err))
		}
	}
	return left
}

// aboutLease makes a call about a lease, in the namespace that it belongs to.
func (s *Session) aboutLease(ctx context.Context, path string, l *Lease, into *answer) error {
	body, err := json.Marshal(map[string]string{"lease_id": l.ID})
	if err != nil {
		return err
	}
	h := s.server.header(s.server.Namespace)
	h.Set("X-Vault-Token", s.Token.Reveal())
	a, err := s.call(ctx, about{step: leases, path: path, of: l.ID}, remote.Request{
		Method: http.MethodPut, URL: s.server.Addr + "/v1/" + path, Header: h, Body: body,
	})
	if into != nil {
		*into = a
	}
	return err
}

// warned keeps what the server warned of in an answer.
func (s *Session) warned(a answer) {
	for _, w := range a.Warnings {
		if w = remote.Clip(s.hide(w)); w != "" && !slices.Contains(s.warns, w) {
			s.warns = append(s.warns, w)
		}
	}
}

// Warnings returns what the server warned of since it was called last.
func (s *Session) Warnings() []string {
	all := s.warns
	s.warns = nil
	return all
}

// renew renews the token and returns how long it lives from now on.
func (s *Session) renew(ctx context.Context) error {
	since := s.client.Now()
	a, err := s.self(ctx, renew, "auth/token/renew-self", []byte("{}"))
	if err != nil {
		return err
	}
	if a.Auth == nil {
		return notVault(a.described, " without the token's lifetime")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since = since
	s.Lease, s.Renewable = leaseTime(a.Auth.LeaseDuration), a.Auth.Renewable
	return nil
}

// self makes a call about the token itself, in the namespace that it belongs to.
func (s *Session) self(ctx context.Context, step step, path string, body []byte) (answer, error) {
	h := s.server.header(s.server.authNamespace)
	h.Set("X-Vault-Token", s.Token.Reveal())
	return s.call(ctx, about{step: step, path: path}, remote.Request{
		Method: http.MethodPost, URL: s.server.Addr + "/v1/" + path, Header: h, Body: body,
	})
}

// call makes a call and explains what is no success.
func (s *Session) call(ctx context.Context, what about, r remote.Request) (answer, error) {
	r.Elects = true
	r.Again = func(a remote.Answer) bool { return what.step.retries(a) == again }
	r.Final = func(a remote.Answer) bool { return what.step.retries(a) == never }
	got, err := s.client.Call(ctx, r)
	var a answer
	read := json.Unmarshal(got.Body, &a) == nil
	switch {
	case err == nil && got.Status == http.StatusNoContent:
		return answer{}, nil
	case err == nil && got.Status == http.StatusOK && read:
		a.described = s.describe(got)
		return a, nil
	case err == nil && got.Status == http.StatusNotFound && what.wanted != nil && what.wanted.versioned(a.Data) != nil:
		return a, nil // a version that was deleted: what is left of it says when
	case err == nil && got.Status == http.StatusOK:
		return a, notVault(s.describe(got), "")
	}
	return a, s.explain(what, got, a, read, err)
}

// usable says whether a token consists of what tokens consist of. Anything else
// would not survive the headers, files and variables it is put into.
func usable(token string) bool {
	return token != "" && !strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' })
}

// notVault is an answer that Vault would not give, or one that lacks something. It
// never shows the answer.
func notVault(answered, lack string) error {
	return fault.New(fault.Unavailable, "%s%s, which is not an answer of Vault's", answered, lack).
		Hint("a proxy, a login page or a wrong %s answers in its place", fault.Option("vault-addr"))
}

// longestLease is more than a lease can be: 32 days is the default maximum of a server.
const longestLease = 10 * 365 * 24 * time.Hour

// leaseTime is a lease's time, which no server makes negative or endless by saying a
// number that a time.Duration cannot hold.
func leaseTime(seconds int64) time.Duration {
	return time.Duration(min(max(seconds, 0), int64(longestLease/time.Second))) * time.Second
}
