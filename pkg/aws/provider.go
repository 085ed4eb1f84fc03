package aws

import (
	"context"
	"net/http"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"

	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// Provider assumes a role with the job's token. It is an aws.CredentialsProvider of the
// AWS SDK for Go v2, and makes a call each time: wrap it in aws.NewCredentialsCache.
type Provider struct {
	exchange *Exchange
	tokens   oidc.TokenSource
	client   *remote.Client
}

var _ awssdk.CredentialsProvider = (*Provider)(nil)

// ProviderOptions say how a Provider gets its credentials. All may be left out.
type ProviderOptions struct {
	SessionName string        // default: the name of the CI job, or oidc-broker
	Duration    time.Duration // of the session; default: an hour
	Region      string        // default: AWS_REGION, AWS_DEFAULT_REGION, or the global endpoint
	Policy      string        // session policy, as JSON
	PolicyARNs  []string      // managed policies that limit the session

	ChainRoleARNs     []string // roles to assume with the first one's credentials, in order
	ExternalIDs       []string // of the chained roles: one for all, or one for each
	SessionTags       []string // of the chained roles, KEY=VALUE
	TransitiveTagKeys []string
	SourceIdentity    string

	AllowedAccounts []string // accounts that the role may be in; default: any

	Transport http.RoundTripper   // default: TLS 1.2 and later, proxies from the environment
	Now       func() time.Time    // default: time.Now
	Getenv    func(string) string // for AWS_ENDPOINT_URL_STS and the like; default: os.Getenv
}

// NewProvider returns a provider of the role's credentials. It makes no call; an error
// is about the options.
func NewProvider(tokens oidc.TokenSource, roleARN string, o ProviderOptions) (*Provider, error) {
	library := remote.Library{Transport: o.Transport, Now: o.Now, Getenv: o.Getenv}
	getenv := library.Lookup()
	region := o.Region
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION"} {
		if region == "" {
			region = getenv(name)
		}
	}
	options := Options{
		RoleARN: roleARN, SessionName: o.SessionName, Region: region, Policy: o.Policy, PolicyARNs: o.PolicyARNs,
		ChainRoleARNs: o.ChainRoleARNs, ExternalIDs: o.ExternalIDs, SessionTags: o.SessionTags,
		TransitiveTagKeys: o.TransitiveTagKeys, SourceIdentity: o.SourceIdentity, AllowedAccounts: o.AllowedAccounts,
	}
	if o.Duration != 0 {
		options.Duration = o.Duration.String()
	}
	x, err := options.Resolve(getenv)
	if err != nil {
		return nil, err
	}
	return &Provider{exchange: x, tokens: tokens, client: library.Client()}, nil
}

// Retrieve makes the exchange. The credentials expire: the SDK's cache makes it again
// in time.
func (p *Provider) Retrieve(ctx context.Context) (awssdk.Credentials, error) {
	t, err := p.tokens.Token(ctx)
	if err != nil {
		return awssdk.Credentials{}, err
	}
	got, err := p.exchange.AssumeRole(ctx, p.client, t)
	if err != nil {
		return awssdk.Credentials{}, err
	}
	return awssdk.Credentials{
		AccessKeyID:     got.AccessKeyID.Reveal(),
		SecretAccessKey: got.SecretAccessKey.Reveal(),
		SessionToken:    got.SessionToken.Reveal(),
		Source:          "oidc-broker",
		CanExpire:       true,
		Expires:         got.Expiration,
		AccountID:       got.Account,
	}, nil
}
