package sandbox

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// The domain whose administrator delegated to every service account of the sandbox.
	workspaceDomain = "example.com"

	assertionGrant    = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	assertionAudience = "https://oauth2.googleapis.com/token"

	// maxSignedLife is how far in the future a signed JWT may expire.
	maxSignedLife = 12 * time.Hour
	// maxAssertionLife is the longest time between an assertion's iat and exp.
	maxAssertionLife = time.Hour
)

type signJWTAnswer struct {
	KeyID     string `json:"keyId"`
	SignedJWT string `json:"signedJwt"`
}

// signJWT signs claims with a service account's key, which needs the role Token
// Creator: workloadIdentityUser does not suffice.
func (g *google) signJWT(r *http.Request, name string) (any, error) {
	caller, err := g.bearer(r, cloudPlatformScope, iamScope)
	if err != nil {
		return nil, err
	}
	var ask struct {
		Delegates []string `json:"delegates"`
		Payload   string   `json:"payload"`
	}
	if err := readMessage(r, &ask, "delegates", "payload"); err != nil {
		return nil, err
	}
	var claims map[string]any
	if json.Unmarshal([]byte(ask.Payload), &claims) != nil || len(claims) == 0 {
		return nil, plainInvalidArgument().because("the payload is not a JSON object")
	}
	if exp, is := claims["exp"].(float64); is && time.Unix(int64(exp), 0).After(g.now().Add(maxSignedLife)) {
		return nil, plainInvalidArgument().because("exp is more than 12 hours from now")
	}
	account, err := g.impersonate(caller, ask.Delegates, name, signPermission)
	if err != nil {
		return nil, err
	}
	key, err := g.idKey()
	if err != nil {
		return nil, err
	}
	signer, err := newIssuer(key, g.now, Variant{}, g.tokens.ledger)
	if err != nil {
		return nil, err
	}
	// One key signs for all accounts here; whose it was, the endpoint has to know.
	claims[signedFor] = account.email
	token, err := signer.sign(claims)
	if err != nil {
		return nil, err
	}
	return signJWTAnswer{KeyID: key.KeyID, SignedJWT: token}, nil
}

const (
	signPermission = "iam.serviceAccounts.signJwt"
	signedFor      = "sandbox/signed-for"
)

// openOAuth is Google's OAuth 2.0 token endpoint, for assertions alone.
func (g *google) openOAuth(base string) (endpoint, map[string]string) {
	return g.serveOAuth, map[string]string{"CLOUDSDK_AUTH_TOKEN_HOST": base + "/token"}
}

func (g *google) serveOAuth(w http.ResponseWriter, r *http.Request) string {
	if r.URL.Path != "/token" || r.Method != http.MethodPost {
		return answerGoogle(w, "request", nil, methodNotFound())
	}
	result, err := g.assertion(r)
	return answerGoogle(w, "token", result, err)
}

// assertion trades a service account's assertion for a user's access token (RFC 7523,
// with Google's claims sub and scope).
func (g *google) assertion(r *http.Request) (any, error) {
	form, err := readParameters(r, "grant_type", "assertion")
	if err != nil {
		return nil, err
	}
	if form.Get("grant_type") != assertionGrant {
		return nil, oauthRefusal("unsupported_grant_type", "Invalid grant_type: %s", shortened(form.Get("grant_type")))
	}
	claims, err := g.verifyAssertion(form.Get("assertion"))
	if err != nil {
		return nil, err
	}
	if err := g.delegated(claims); err != nil {
		return nil, err
	}
	now := g.now()
	life := g.life(time.Hour)
	made := &googleToken{email: claims.Subject, scopes: strings.Fields(claims.Scope), issued: now, expires: now.Add(life)}
	return tokenAnswer{AccessToken: g.tokens.issue(made), TokenType: "Bearer", ExpiresIn: int64(life.Seconds())}, nil
}

type assertionClaims struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience string `json:"aud"`
	Scope    string `json:"scope"`
	Issued   int64  `json:"iat"`
	Expires  int64  `json:"exp"`
	Signer   string `json:"sandbox/signed-for"`
}

func (g *google) verifyAssertion(text string) (assertionClaims, error) {
	var claims assertionClaims
	key, err := g.idKey()
	if err != nil {
		return claims, err
	}
	signed, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return claims, invalidGrant("Invalid JWT: JWT must have 3 parts.")
	}
	payload, err := signed.Verify(key.Public())
	if err != nil {
		return claims, invalidGrant("Invalid JWT Signature.")
	}
	if json.Unmarshal(payload, &claims) != nil {
		return claims, invalidGrant("Invalid JWT: Failed to parse the claims.")
	}
	now := g.now()
	issued, expires := time.Unix(claims.Issued, 0), time.Unix(claims.Expires, 0)
	switch {
	case claims.Issuer != claims.Signer:
		return claims, invalidGrant("Invalid JWT Signature.").because("the key is not the issuer's")
	case claims.Audience != assertionAudience:
		return claims, invalidGrant("Invalid JWT: Failed audience check. The right audience is %s", assertionAudience)
	case issued.After(now.Add(time.Minute)), !expires.After(now), expires.Sub(issued) > maxAssertionLife:
		return claims, invalidGrant("Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.")
	}
	return claims, nil
}

// delegated says whether the domain's administrator allowed it: the users of
// example.com, with every scope but those of Google Cloud itself.
func (g *google) delegated(claims assertionClaims) error {
	unauthorized := func(why string) error {
		no := oauthRefusal("unauthorized_client", "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of the scopes requested.")
		no.status = http.StatusUnauthorized
		return no.because("%s", why)
	}
	name, domain, _ := strings.Cut(claims.Subject, "@")
	scopes := strings.Fields(claims.Scope)
	switch {
	case len(scopes) == 0:
		return oauthRefusal("invalid_scope", "Empty or missing scope not allowed.")
	case domain != workspaceDomain:
		return unauthorized("only " + workspaceDomain + " delegated to the account")
	case name == "nobody":
		return invalidGrant("Invalid email or User ID")
	}
	for _, s := range scopes {
		if !isScope(s) && s != "https://mail.google.com/" {
			return oauthRefusal("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
		}
		if strings.HasPrefix(s, cloudPlatformScope) {
			return unauthorized("the administrator did not allow the scope " + s)
		}
	}
	return nil
}
