package gcp

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// AccessToken is an OAuth 2.0 access token of Google's.
type AccessToken struct {
	Token  secret.Value
	Expiry time.Time // UTC
}

// Run trades the job's token for an access token: the federated one (RFC
// 8693 §2.1), and with a service account that account's. A refusal is a
// fault.Refused with Google's words, the token's claims and what to do.
func (x *Exchange) Run(ctx context.Context, c *remote.Client, t oidc.Token) (AccessToken, error) {
	c = x.client(c)
	if x.ServiceAccount == "" {
		return x.federate(ctx, c, t)
	}
	// Two of six round trips pass while STS answers.
	iam, done := c.PreDial(ctx, x.iam)
	defer done()
	federated, err := x.federate(ctx, c, t)
	if err != nil {
		return federated, err
	}
	if x.subject != "" {
		return x.actAs(ctx, iam, t, federated)
	}
	return x.impersonate(ctx, iam, t, federated)
}

// IDToken trades the job's token for an ID token of the service account, for
// the audience.
func (x *Exchange) IDToken(ctx context.Context, c *remote.Client, t oidc.Token, audience string, includeEmail bool) (secret.Value, error) {
	if x.ServiceAccount == "" {
		return secret.Value{}, fault.New(fault.Usage, "an ID token is a service account's: give %s", fault.Option("service-account"))
	}
	c = x.client(c)
	iam, done := c.PreDial(ctx, x.iam)
	defer done()
	federated, err := x.federate(ctx, c, t)
	if err != nil {
		return secret.Value{}, err
	}
	var out struct {
		Token string `json:"token"`
	}
	in := map[string]any{"audience": audience, "includeEmail": includeEmail}
	unusable, err := x.iamCall(ctx, iam, t, federated, "generateIdToken", in, &out)
	if err != nil {
		return secret.Value{}, err
	}
	if !usable(out.Token) {
		return secret.Value{}, unusable(" without an ID token")
	}
	return secret.New(out.Token), nil
}

// federate is the token exchange at Google's STS.
func (x *Exchange) federate(ctx context.Context, c *remote.Client, t oidc.Token) (AccessToken, error) {
	form := url.Values{
		"grant_type":           {"urn:ietf:params:oauth:grant-type:token-exchange"},
		"audience":             {x.Provider.Audience()},
		"scope":                {strings.Join(x.federatedScopes(), " ")},
		"requested_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
		"subject_token_type":   {"urn:ietf:params:oauth:token-type:jwt"},
		"subject_token":        {t.Raw.Reveal()},
	}
	about := x.refusalOf(c, t)
	a, err := x.call(ctx, c, remote.Request{
		Method: http.MethodPost, URL: x.sts + "/v1/token",
		Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
		Body:   []byte(form.Encode()),
		Again:  mends,
	}, about)
	if err != nil {
		return AccessToken{}, err
	}
	return readToken(a, about, c.Now(), time.Hour)
}

// readToken reads an OAuth 2.0 token answer (RFC 6749 §5.1).
func readToken(a remote.Answer, about refusalOf, now time.Time, asked time.Duration) (AccessToken, error) {
	var out struct {
		AccessToken string      `json:"access_token"`
		ExpiresIn   json.Number `json:"expires_in"`
	}
	if json.Unmarshal(a.Body, &out) != nil {
		return AccessToken{}, about.notGoogle(a, "")
	}
	if !usable(out.AccessToken) {
		return AccessToken{}, about.notGoogle(a, " without an access token")
	}
	seconds, err := out.ExpiresIn.Int64()
	if err != nil || seconds <= 0 || seconds > 1<<31 {
		return AccessToken{}, about.notGoogle(a, " without the token's lifetime")
	}
	return newAccessToken(out.AccessToken, now.Add(time.Duration(seconds)*time.Second), now, asked)
}

// newAccessToken believes an expiry as far as what was asked for: Google's tokens are
// valid for an hour unless a longer lifetime was granted.
func newAccessToken(token string, expiry, now time.Time, asked time.Duration) (AccessToken, error) {
	if !expiry.After(now) {
		return AccessToken{}, fault.New(fault.Unavailable, "Google's access token expired at %s, and it is %s here", expiry.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339)).
			Hint("set this machine's clock")
	}
	if last := now.Add(asked); expiry.After(last) {
		expiry = last
	}
	return AccessToken{Token: secret.New(token), Expiry: expiry.UTC()}, nil
}

// federatedScopes are the scopes of the federated token. Those that the user
// asked for are the service account's where there is one; the federated token
// then needs to call IAM Credentials alone.
func (x *Exchange) federatedScopes() []string {
	if x.ServiceAccount != "" {
		return []string{defaultScope}
	}
	return x.scopes
}

// impersonate has the service account's token made.
func (x *Exchange) impersonate(ctx context.Context, c *remote.Client, t oidc.Token, federated AccessToken) (AccessToken, error) {
	in := map[string]any{"scope": x.scopes}
	if x.lifetime > 0 {
		in["lifetime"] = strconv.Itoa(int(x.lifetime/time.Second)) + "s" // protobuf's JSON form
	}
	var out struct {
		AccessToken string    `json:"accessToken"`
		ExpireTime  time.Time `json:"expireTime"`
	}
	unusable, err := x.iamCall(ctx, c, t, federated, "generateAccessToken", in, &out)
	if err != nil {
		return AccessToken{}, err
	}
	if !usable(out.AccessToken) {
		return AccessToken{}, unusable(" without an access token")
	}
	if out.ExpireTime.IsZero() {
		return AccessToken{}, unusable(" without the token's lifetime")
	}
	asked := x.lifetime
	if asked == 0 {
		asked = time.Hour
	}
	return newAccessToken(out.AccessToken, out.ExpireTime, c.Now(), asked)
}

// iamCall calls a method of IAM Credentials on the service account. unusable is the
// error for an answer that lacks something.
func (x *Exchange) iamCall(ctx context.Context, c *remote.Client, t oidc.Token, with AccessToken, method string, in map[string]any, out any) (unusable func(lack string) error, err error) {
	if len(x.delegates) > 0 {
		in["delegates"] = x.delegates
	}
	body, err := json.Marshal(in)
	if err != nil {
		return nil, fault.New(fault.Internal, "cannot write the request: %w", err)
	}
	about := x.refusalOf(c, t)
	about.method, about.bearer = method, with.Token
	a, err := x.call(ctx, c, remote.Request{
		Method: http.MethodPost, URL: x.iam + "/v1/projects/-/serviceAccounts/" + url.PathEscape(x.ServiceAccount) + ":" + method,
		Header: http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + with.Token.Reveal()}},
		Body:   body,
	}, about.as(func() string { return x.principal(ctx, c, with) }))
	if err != nil {
		return nil, err
	}
	unusable = func(lack string) error { return about.notGoogle(a, lack) }
	if json.Unmarshal(a.Body, out) != nil {
		return nil, unusable("")
	}
	return unusable, nil
}

// client returns c with the options that name the endpoints, for errors.
func (x *Exchange) client(c *remote.Client) *remote.Client {
	own := *c
	own.From = x.from
	return &own
}

// principal asks STS whom the federated token stands for (RFC 7662): the name
// that a binding needs, which depends on the provider's attribute mapping. It
// returns "" when STS does not say.
func (x *Exchange) principal(ctx context.Context, c *remote.Client, federated AccessToken) string {
	form := url.Values{"token": {federated.Token.Reveal()}, "token_type_hint": {"urn:ietf:params:oauth:token-type:access_token"}}
	once := *c
	once.Attempts = 1
	a, err := once.Call(ctx, remote.Request{
		Method: http.MethodPost, URL: x.sts + "/v1/introspect",
		Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
		Body:   []byte(form.Encode()),
	})
	var out struct {
		Active   bool   `json:"active"`
		Username string `json:"username"`
	}
	if err != nil || a.Status != http.StatusOK || json.Unmarshal(a.Body, &out) != nil || !out.Active || !strings.HasPrefix(out.Username, "principal://") {
		return ""
	}
	return out.Username
}

// call makes one call and explains an answer that is not 200.
func (x *Exchange) call(ctx context.Context, c *remote.Client, r remote.Request, about refusalOf) (remote.Answer, error) {
	a, err := c.Call(ctx, r)
	if err == nil && a.Status == http.StatusOK {
		return a, nil
	}
	if err != nil && (a.Status == 0 || errors.Is(err, context.Canceled)) {
		return a, err
	}
	return a, about.explain(a, err)
}

// usable says whether a token consists of what tokens consist of. Anything else
// would not survive the files and variables it is put into.
func usable(token string) bool {
	for i := range len(token) {
		if token[i] < '!' || token[i] > '~' {
			return false
		}
	}
	return token != ""
}
