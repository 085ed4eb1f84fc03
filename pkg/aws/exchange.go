package aws

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go/middleware"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// Audience is what tokens for AWS are for by convention: the client ID of the identity
// provider that AWS's own guides and actions set up.
const Audience = "sts.amazonaws.com"

// Credentials are a role session's keys.
type Credentials struct {
	AccessKeyID     secret.Value
	SecretAccessKey secret.Value
	SessionToken    secret.Value
	Expiration      time.Time // UTC
	Account         string    // 12 digits
	ARN             string    // arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION
	Region          string    // "" when none is known
}

// Identity is STS's answer to who the credentials belong to.
type Identity struct {
	Account string // 12 digits
	ARN     string // arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION
	UserID  string // e.g. "AROA...:SESSION"
}

// AssumeRole trades the token for the credentials of the last role. A refusal is
// a fault.Refused with AWS's words, the token's claims and what to do.
func (x *Exchange) AssumeRole(ctx context.Context, c *remote.Client, t oidc.Token) (Credentials, error) {
	c, err := x.client(c)
	if err != nil {
		return Credentials{}, err
	}
	got, err := x.webIdentity(ctx, c, t)
	if err != nil {
		return Credentials{}, err
	}
	for i := 1; i < len(x.roles); i++ {
		if got, err = x.chain(ctx, c, got, i); err != nil {
			return Credentials{}, err
		}
	}
	return got, nil
}

// webIdentity assumes the first role (STS API: AssumeRoleWithWebIdentity).
func (x *Exchange) webIdentity(ctx context.Context, c *remote.Client, t oidc.Token) (Credentials, error) {
	in := &sts.AssumeRoleWithWebIdentityInput{
		RoleArn:          &x.roles[0].arn,
		RoleSessionName:  &x.session,
		WebIdentityToken: awssdk.String(t.Raw.Reveal()),
		DurationSeconds:  x.seconds(),
	}
	// A session policy on the first of several roles would limit what it may
	// assume, not what the credentials handed out may do.
	if len(x.roles) == 1 {
		in.Policy, in.PolicyArns = x.sessionPolicies()
	}
	var out *sts.AssumeRoleWithWebIdentityOutput
	seen, err := x.call(ctx, c, nil, refusalOf{role: x.roles[0], token: &t, duration: x.duration}, func(ctx context.Context, api *sts.Client) (err error) {
		out, err = api.AssumeRoleWithWebIdentity(ctx, in)
		return err
	})
	if err != nil {
		return Credentials{}, err
	}
	return x.accept(out.Credentials, out.AssumedRoleUser, x.roles[0], c.Now(), seen)
}

// chain assumes the role i with the credentials of the one before it (STS API:
// AssumeRole).
func (x *Exchange) chain(ctx context.Context, c *remote.Client, with Credentials, i int) (Credentials, error) {
	in := &sts.AssumeRoleInput{RoleArn: &x.roles[i].arn, RoleSessionName: &x.session, DurationSeconds: x.seconds()}
	n := i // chained roles before this one
	if !x.via {
		n--
	}
	x.chained.fill(in, n)
	if i == len(x.roles)-1 {
		in.Policy, in.PolicyArns = x.sessionPolicies()
	}
	var out *sts.AssumeRoleOutput
	seen, err := x.call(ctx, c, &with, refusalOf{role: x.roles[i], by: with.ARN, with: &with, duration: x.duration}, func(ctx context.Context, api *sts.Client) (err error) {
		out, err = api.AssumeRole(ctx, in)
		return err
	})
	if err != nil {
		return Credentials{}, err
	}
	return x.accept(out.Credentials, out.AssumedRoleUser, x.roles[i], c.Now(), seen)
}

// Identify asks AWS who the credentials belong to (STS API: GetCallerIdentity).
func (x *Exchange) Identify(ctx context.Context, c *remote.Client, with Credentials) (Identity, error) {
	c, err := x.client(c)
	if err != nil {
		return Identity{}, err
	}
	var out *sts.GetCallerIdentityOutput
	seen, err := x.call(ctx, c, &with, refusalOf{role: x.last(), by: with.ARN, with: &with}, func(ctx context.Context, api *sts.Client) (err error) {
		out, err = api.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		return err
	})
	if err != nil {
		return Identity{}, err
	}
	id := Identity{Account: awssdk.ToString(out.Account), ARN: awssdk.ToString(out.Arn), UserID: awssdk.ToString(out.UserId)}
	if id.ARN == "" {
		return Identity{}, notAWS(seen + " without an ARN")
	}
	return id, nil
}

func (x *Exchange) seconds() *int32 {
	return awssdk.Int32(int32(x.duration / time.Second)) // #nosec G115 -- at most 12 hours
}

func (x *Exchange) sessionPolicies() (*string, []types.PolicyDescriptorType) {
	var arns []types.PolicyDescriptorType
	for i := range x.policyARNs {
		arns = append(arns, types.PolicyDescriptorType{Arn: &x.policyARNs[i]})
	}
	if x.policy == "" {
		return nil, arns
	}
	return &x.policy, arns
}

// call makes one STS call, again where that can help, and explains its failure.
// It also says who answered what, for an answer that cannot be used.
func (x *Exchange) call(ctx context.Context, c *remote.Client, with *Credentials, about refusalOf, do func(context.Context, *sts.Client) error) (answered string, err error) {
	err = c.Retry(ctx, func(ctx context.Context) error {
		seen := &wire{client: c}
		err := do(ctx, x.api(seen, with))
		if err == nil {
			answered = seen.describe(about.redact)
			return nil
		}
		return about.explain(ctx, err, seen, c.Now())
	})
	return answered, err
}

// A wire is the SDK's HTTP client for one attempt. It remembers what happened,
// which the SDK's own errors tell in part only.
type wire struct {
	client *remote.Client
	host   string
	body   []byte
	res    *http.Response
	err    error
}

// Do makes the attempt.
func (w *wire) Do(r *http.Request) (*http.Response, error) {
	w.host = r.URL.Host
	if w.res, w.err = w.client.Do(r); w.err == nil {
		w.body, _ = io.ReadAll(w.res.Body) // remote has read it already
		w.res.Body = io.NopCloser(bytes.NewReader(w.body))
	}
	return w.res, w.err
}

// describe says who answered what.
func (w *wire) describe(redact func(string) string) string {
	return w.client.Describe(w.host, w.res.StatusCode, w.res.Header, w.body, redact)
}

// api returns an STS client that makes one attempt: remote decides about more.
func (x *Exchange) api(w *wire, with *Credentials) *sts.Client {
	o := sts.Options{
		Region:     x.Region,
		HTTPClient: w,
		Retryer:    awssdk.NopRetryer{},
		APIOptions: []func(*middleware.Stack) error{awsmiddleware.AddUserAgentKey("oidc-broker")},
	}
	if x.Region == "" {
		o.Region = "aws-global" // sts.amazonaws.com, as botocore does without a region
	}
	if x.endpoint.url != "" {
		// An explicit endpoint is called as it is: FIPS and dual stack are
		// about choosing one.
		o.BaseEndpoint = &x.endpoint.url
	} else {
		if x.endpoint.fips {
			o.EndpointOptions.UseFIPSEndpoint = awssdk.FIPSEndpointStateEnabled
		}
		if x.endpoint.dualStack {
			o.EndpointOptions.UseDualStackEndpoint = awssdk.DualStackEndpointStateEnabled
		}
	}
	if with != nil {
		o.Credentials = awssdk.CredentialsProviderFunc(func(context.Context) (awssdk.Credentials, error) {
			return awssdk.Credentials{
				AccessKeyID:     with.AccessKeyID.Reveal(),
				SecretAccessKey: with.SecretAccessKey.Reveal(),
				SessionToken:    with.SessionToken.Reveal(),
			}, nil
		})
	}
	return sts.New(o)
}

// session is the ARN of a role session. How long it may be is checked beside it, for a
// message shows it.
const session = `^arn:[a-z-]+:sts::([0-9]{12}):assumed-role/([\w+=,.@-]+)/([\w+=,.@-]+)$`

// usable says whether a key consists of what keys consist of, base64 and a
// little more. A quote, a blank or a newline would not survive the files and
// variables it is put into, or write lines of its own there.
func usable(key string) bool {
	for i := range len(key) {
		c := key[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("+/=_-.~", rune(c)) {
			return false
		}
	}
	return key != ""
}

// expirySlack is how far AWS's clock may be ahead of this machine's: STS allows for as
// much in a token's times.
const expirySlack = 5 * time.Minute

// accept checks AWS's answer before anything is done with it.
func (x *Exchange) accept(c *types.Credentials, u *types.AssumedRoleUser, want role, now time.Time, answered string) (Credentials, error) {
	if c == nil || u == nil || c.Expiration == nil {
		return Credentials{}, notAWS(answered + " without credentials")
	}
	for _, part := range []*string{c.AccessKeyId, c.SecretAccessKey, c.SessionToken} {
		if !usable(awssdk.ToString(part)) {
			return Credentials{}, notAWS(answered + " without usable credentials")
		}
	}
	m := groups(session, awssdk.ToString(u.Arn))
	if m == nil || len(*u.Arn) > 300 || len(m[2]) > 64 || len(m[3]) > 64 {
		return Credentials{}, notAWS(answered + " without the assumed role")
	}
	if m[1] != want.account || m[2] != want.name {
		return Credentials{}, fault.New(fault.Refused, "asked for the role %s, got credentials of %s", want.arn, *u.Arn).
			Hint("these credentials are not used; is AWS_ENDPOINT_URL_STS what it should be?")
	}
	if !c.Expiration.After(now) {
		return Credentials{}, fault.New(fault.Unavailable, "AWS's credentials ended at %s, before now by this machine's clock", c.Expiration.UTC().Format(time.RFC3339)).
			Hint("is this machine's clock right? The AWS CLI would refuse them")
	}
	// A server that says 2099 would have them taken for valid when they are not.
	expiration := *c.Expiration
	if latest := now.Add(x.duration); expiration.After(latest.Add(expirySlack)) {
		expiration = latest
	}
	return Credentials{
		AccessKeyID:     secret.New(*c.AccessKeyId),
		SecretAccessKey: secret.New(*c.SecretAccessKey),
		SessionToken:    secret.New(*c.SessionToken),
		Expiration:      expiration.UTC(),
		Account:         m[1],
		ARN:             *u.Arn,
		Region:          x.Region,
	}, nil
}
