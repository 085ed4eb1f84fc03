package vault

import (
	"context"
	"net/http"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// ClientOptions say where a Client logs in. All but the address may be left out.
type ClientOptions struct {
	Addr      string // https://vault.example.com:8200
	Role      string // default: the mount's default role
	AuthPath  string // of the JWT auth method; default: jwt
	Namespace string // default: the root namespace
	CACert    string // file of the authorities to trust; default: the system's

	Transport http.RoundTripper // default: TLS 1.2 and later, proxies from the environment
	Now       func() time.Time  // default: time.Now
}

// Client logs in to a server with the job's token.
type Client struct {
	server *Server
	tokens oidc.TokenSource
	client *remote.Client
}

// NewClient returns a client. It makes no call; an error is about the options, or the
// file that they name.
func NewClient(tokens oidc.TokenSource, o ClientOptions) (*Client, error) {
	s, err := Options{Addr: o.Addr, Role: o.Role, AuthPath: o.AuthPath, Namespace: o.Namespace, CACert: o.CACert}.Resolve()
	if err != nil {
		return nil, err
	}
	return &Client{server: s, tokens: tokens, client: remote.Library{Transport: o.Transport, Now: o.Now}.Client()}, nil
}

// Token is a token of Vault's or OpenBao's. It prints as [secret].
type Token struct {
	Expiry    time.Time // unless it is renewed; zero: never
	Renewable bool
	Policies  []string

	value secret.Value
}

// Reveal returns the token itself, which other clients take.
func (t Token) Reveal() string { return t.value.Reveal() }

// Token logs in and returns a new token. The caller revokes it.
func (c *Client) Token(ctx context.Context) (Token, error) {
	t, err := c.tokens.Token(ctx)
	if err != nil {
		return Token{}, err
	}
	s, err := c.server.Login(ctx, c.client, t)
	if err != nil {
		return Token{}, err
	}
	return Token{Expiry: s.Expiry(), Renewable: s.Renewable, Policies: s.Policies, value: s.Token}, nil
}

// Revoke ends a token, and the leases that were made with it.
func (c *Client) Revoke(ctx context.Context, t Token) error {
	s, err := c.server.Resume(c.client, t.value)
	if err != nil {
		return err
	}
	return s.Revoke(ctx)
}
