package gcp

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// signJWT is the method of IAM Credentials, oauthToken the name that refusals of the
// OAuth token endpoint go by.
const (
	signJWT    = "signJwt"
	oauthToken = "token"
)

// actAs makes a user's access token by domain-wide delegation: the service account's
// key, which Google keeps, signs an assertion that names the user, and OAuth's token
// endpoint takes it (RFC 7523 §2.1).
func (x *Exchange) actAs(ctx context.Context, c *remote.Client, t oidc.Token, federated AccessToken) (AccessToken, error) {
	lifetime := x.lifetime
	if lifetime == 0 {
		lifetime = maxSubjectLifetime
	}
	now := c.Now()
	claims, err := json.Marshal(map[string]any{
		"iss": x.ServiceAccount, "sub": x.subject, "aud": googleTokenURL, "scope": strings.Join(x.scopes, " "),
		"iat": now.Unix(), "exp": now.Add(lifetime).Unix(),
	})
	if err != nil {
		return AccessToken{}, fault.New(fault.Internal, "cannot write the assertion: %w", err)
	}
	var signed struct {
		JWT string `json:"signedJwt"`
	}
	unusable, err := x.iamCall(ctx, c, t, federated, signJWT, map[string]any{"payload": string(claims)}, &signed)
	if err != nil {
		return AccessToken{}, err
	}
	if !usable(signed.JWT) {
		return AccessToken{}, unusable(" without a signed assertion")
	}
	return x.userToken(ctx, c, t, signed.JWT, lifetime)
}

// userToken trades the assertion for the token.
func (x *Exchange) userToken(ctx context.Context, c *remote.Client, t oidc.Token, assertion string, lifetime time.Duration) (AccessToken, error) {
	form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {assertion}}
	about := x.refusalOf(c, t)
	about.method, about.bearer = oauthToken, secret.New(assertion)
	a, err := x.call(ctx, c, remote.Request{
		Method: http.MethodPost, URL: x.oauth,
		Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
		Body:   []byte(form.Encode()),
	}, about)
	if err != nil {
		return AccessToken{}, err
	}
	return readToken(a, about, c.Now(), lifetime)
}

// subjectRefusals are what the OAuth token endpoint answers to an assertion. The job's
// token has no part in it.
var subjectRefusals = []refusal{
	{code: "unauthorized_client", hints: []string{
		"an administrator has to allow it: admin.google.com, Security, Access and data control, API controls, Manage domain-wide delegation",
		"add the client id of {account} with exactly these scopes: {scopes}",
		"the client id: gcloud iam service-accounts describe {account} --format='value(oauth2ClientId)'",
		"a change takes up to 24 hours"}},
	{text: "Invalid email or User ID", hints: []string{
		"there is no user {subject} in a Workspace domain that delegates to {account}: check the address; groups and aliases are no users"}},
	{code: "access_denied", hints: []string{
		"{account} may not act as {subject}: ask the administrator of the Workspace domain"}},
	{code: "invalid_scope", hints: []string{
		"one of these is not a scope of Google's: {scopes}"}},
	{text: "short-lived token", hints: []string{
		"this machine's clock is wrong: Google takes an assertion that was made within the last hour"}},
}

// signHints are for a principal that has workloadIdentityUser alone, which cannot sign.
var signHints = []string{
	"{--subject} needs roles/iam.serviceAccountTokenCreator on the account: roles/iam.workloadIdentityUser cannot sign",
}

var signMore = []string{
	"gcloud iam service-accounts add-iam-policy-binding {account} --role=roles/iam.serviceAccountTokenCreator --member='{member}'",
}
