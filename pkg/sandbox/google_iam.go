package sandbox

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	accountsPath    = "/v1/projects/-/serviceAccounts/"
	googleCertsPath = "/oauth2/v3/certs"

	iamScope = googleScopes + "iam"

	// maxImpersonated is the limit unless an organisation's policy raised it.
	maxImpersonated = time.Hour
)

// The whole of protobuf's Duration in JSON, of which years are not needed.
var googleDuration = lazy(`^-?[0-9]{1,9}(?:\.[0-9]{1,9})?s$`)

// openIAM is Google's Service Account Credentials API. The keys that verify id
// tokens are here too, under the path that they have at www.googleapis.com.
func (g *google) openIAM(base string) (endpoint, map[string]string) {
	return g.serveIAM, map[string]string{"CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS": base + "/"}
}

func (g *google) serveIAM(w http.ResponseWriter, r *http.Request) string {
	if r.URL.Path == googleCertsPath && r.Method == http.MethodGet {
		keys, err := g.idKeys()
		return answerGoogle(w, "certs", keys, err)
	}
	resource, method := r.URL.Path, ""
	if i := strings.LastIndexByte(resource, ':'); i >= 0 {
		resource, method = resource[:i], resource[i+1:]
	}
	account, found := strings.CutPrefix(resource, accountsPath)
	run := map[string]func(*http.Request, string) (any, error){
		"generateAccessToken": g.generateAccessToken,
		"generateIdToken":     g.generateIDToken,
		"signJwt":             g.signJWT,
	}[method]
	if run == nil || !found || account == "" || strings.Contains(account, "/") || r.Method != http.MethodPost {
		return answerGoogle(w, "request", nil, methodNotFound())
	}
	result, err := run(r, account)
	return answerGoogle(w, method, result, err)
}

type accessTokenAnswer struct {
	AccessToken string `json:"accessToken"`
	ExpireTime  string `json:"expireTime"`
}

func (g *google) generateAccessToken(r *http.Request, name string) (any, error) {
	caller, err := g.bearer(r, cloudPlatformScope, iamScope)
	if err != nil {
		return nil, err
	}
	var ask struct {
		Delegates []string `json:"delegates"`
		Scope     []string `json:"scope"`
		Lifetime  string   `json:"lifetime"`
	}
	if err := readMessage(r, &ask, "delegates", "scope", "lifetime"); err != nil {
		return nil, err
	}
	if len(ask.Scope) == 0 {
		return nil, plainInvalidArgument().because("there is no scope")
	}
	if slices.ContainsFunc(ask.Scope, func(s string) bool { return !isScope(s) }) {
		return nil, plainInvalidArgument().because("a scope is none of Google's")
	}
	lifetime, err := readLifetime(ask.Lifetime)
	if err != nil {
		return nil, err
	}
	account, err := g.impersonate(caller, ask.Delegates, name, "iam.serviceAccounts.getAccessToken")
	if err != nil {
		return nil, err
	}
	now := g.now()
	made := &googleToken{email: account.email, scopes: ask.Scope, issued: now, expires: now.Add(g.life(lifetime))}
	return accessTokenAnswer{
		AccessToken: g.tokens.issue(made),
		// Google sends whole seconds, and Python's library reads no others.
		ExpireTime: made.expires.UTC().Format(time.RFC3339),
	}, nil
}

// readLifetime has texts of which the first was seen at Google, the second in
// its users' reports.
func readLifetime(text string) (time.Duration, error) {
	if text == "" {
		return maxImpersonated, nil
	}
	if !googleDuration().MatchString(text) {
		return 0, invalidArgument("Invalid value at 'lifetime' (type.googleapis.com/google.protobuf.Duration), Field 'lifetime', Invalid duration format")
	}
	lifetime, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return 0, plainInvalidArgument()
	case lifetime <= 0:
		return 0, invalidArgument("Lifetime of access token must be larger then zero.")
	case lifetime > maxImpersonated:
		return 0, invalidArgument("The access token lifetime cannot exceed 3600 seconds.")
	}
	return lifetime, nil
}

// impersonate goes from the caller over the delegates to the service account
// named, each of which has to admit the one before.
func (g *google) impersonate(caller *googleToken, delegates []string, name, permission string) (*serviceAccount, error) {
	var account *serviceAccount
	for _, next := range append(slices.Clone(delegates), name) {
		// gcloud leaves out what Google's documents ask for before a delegate.
		next = strings.TrimPrefix(next, "projects/-/serviceAccounts/")
		if strings.Contains(next, "/") {
			return nil, plainInvalidArgument().because("a delegate is not named as projects/-/serviceAccounts/ADDRESS")
		}
		account = g.account(next)
		if account == nil {
			return nil, g.noAccount(next, permission)
		}
		if admitted, why := account.admits(caller, permission); !admitted {
			return nil, permissionDenied(permission).because("%s", why)
		}
		caller = &googleToken{email: account.email}
	}
	return account, nil
}

// noAccount tells who has no rights in a project nothing of what is in it. An
// address that is nobody's in any project is 404; that only those count which
// have not the form of a service account's is a guess.
func (g *google) noAccount(name, permission string) error {
	if strings.Contains(name, "@") && !gcpAccountAddress().MatchString(name) {
		return noGaiaID(shortened(name))
	}
	return permissionDenied(permission).because("there is no such service account")
}

type idTokenAnswer struct {
	Token string `json:"token"`
}

func (g *google) generateIDToken(r *http.Request, name string) (any, error) {
	caller, err := g.bearer(r, cloudPlatformScope, iamScope)
	if err != nil {
		return nil, err
	}
	var ask struct {
		Delegates    []string `json:"delegates"`
		Audience     string   `json:"audience"`
		IncludeEmail bool     `json:"include_email"`
		Organization bool     `json:"organization_number_included"`
	}
	if err := readMessage(r, &ask, "delegates", "audience", "include_email", "organization_number_included"); err != nil {
		return nil, err
	}
	if ask.Audience == "" {
		return nil, plainInvalidArgument().because("there is no audience")
	}
	account, err := g.impersonate(caller, ask.Delegates, name, "iam.serviceAccounts.getOpenIdToken")
	if err != nil {
		return nil, err
	}
	token, err := g.signIDToken(account, ask.Audience, ask.IncludeEmail)
	if err != nil {
		return nil, err
	}
	return idTokenAnswer{Token: token}, nil
}

func (g *google) idKeys() (jose.JSONWebKeySet, error) {
	key, err := g.idKey()
	if err != nil {
		return jose.JSONWebKeySet{}, err
	}
	return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key.Public()}}, nil
}

// signIDToken makes a token that says who the account is, for an hour.
func (g *google) signIDToken(a *serviceAccount, audience string, email bool) (string, error) {
	key, err := g.idKey()
	if err != nil {
		return "", err
	}
	signer, err := newIssuer(key, g.now, Variant{}, g.tokens.ledger)
	if err != nil {
		return "", err
	}
	now := g.now()
	claims := map[string]any{
		"iss": "https://accounts.google.com",
		"aud": audience,
		"azp": a.id,
		"sub": a.id,
		"iat": now.Unix(),
		"exp": now.Add(time.Hour).Unix(),
	}
	if email {
		claims["email"], claims["email_verified"] = a.email, true
	}
	return signer.sign(claims)
}
