package gcp

import (
	"context"
	"net/http"
	"time"

	"golang.org/x/oauth2"

	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// TokenSourceOptions say what a token source's access tokens are for. All but the
// provider may be left out.
type TokenSourceOptions struct {
	// Provider is the full name of the workload identity provider:
	// projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER.
	Provider       string
	ServiceAccount string        // to impersonate; default: direct access
	Delegates      []string      // service accounts in between, in order
	Scopes         []string      // default: cloud-platform
	Lifetime       time.Duration // of a service account's token; default: an hour
	Subject        string        // user of a Google Workspace domain to act as
	UniverseDomain string        // default: googleapis.com

	STSEndpoint            string
	IAMCredentialsEndpoint string

	Transport http.RoundTripper // default: TLS 1.2 and later, proxies from the environment
	Now       func() time.Time  // default: time.Now
}

// tokenSource makes an access token for each call.
type tokenSource struct {
	ctx      context.Context
	exchange *Exchange
	tokens   oidc.TokenSource
	client   *remote.Client
}

// NewTokenSource returns a source of access tokens, which keeps a token until shortly
// before it expires. The context bounds all calls, as in golang.org/x/oauth2. It makes
// no call itself; an error is about the options.
func NewTokenSource(ctx context.Context, tokens oidc.TokenSource, o TokenSourceOptions) (oauth2.TokenSource, error) {
	options := Options{
		Provider: o.Provider, ServiceAccount: o.ServiceAccount, Delegates: o.Delegates, Scopes: o.Scopes, Subject: o.Subject,
		UniverseDomain: o.UniverseDomain, STSEndpoint: o.STSEndpoint, IAMCredentialsEndpoint: o.IAMCredentialsEndpoint,
	}
	if o.Lifetime != 0 {
		options.TokenLifetime = o.Lifetime.String()
	}
	x, err := options.Resolve()
	if err != nil {
		return nil, err
	}
	client := remote.Library{Transport: o.Transport, Now: o.Now}.Client()
	return oauth2.ReuseTokenSource(nil, &tokenSource{ctx: ctx, exchange: x, tokens: tokens, client: client}), nil
}

// Token makes the exchange.
func (s *tokenSource) Token() (*oauth2.Token, error) {
	t, err := s.tokens.Token(s.ctx)
	if err != nil {
		return nil, err
	}
	got, err := s.exchange.Run(s.ctx, s.client, t)
	if err != nil {
		return nil, err
	}
	return &oauth2.Token{AccessToken: got.Token.Reveal(), TokenType: "Bearer", Expiry: got.Expiry}, nil
}
