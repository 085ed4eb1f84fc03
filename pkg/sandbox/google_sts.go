package sandbox

import (
	"net/http"
	"net/url"
	"strings"
)

const (
	// #nosec G101 -- the name of a kind of token
	tokenTypes      = "urn:ietf:params:oauth:token-type:"
	accessTokenType = tokenTypes + "access_token"
	exchangeGrant   = "urn:ietf:params:oauth:grant-type:token-exchange"
)

// The names that an audience may have, of which the first is a provider's.
var googleAudience = lazy(`^//iam\.googleapis\.com/(?:` +
	`(projects/[0-9]{1,20}/locations/global/workloadIdentityPools/[a-z0-9-]{4,32}/providers/[a-z0-9-]{4,32})` +
	`|locations/global/workforcePools/[a-z0-9-]{6,63}/providers/[a-z0-9-]{4,32})$`)

// openSTS is Google's Security Token Service.
func (g *google) openSTS(base string) (endpoint, map[string]string) {
	return g.serveSTS, map[string]string{"CLOUDSDK_API_ENDPOINT_OVERRIDES_STS": base + "/"}
}

func (g *google) serveSTS(w http.ResponseWriter, r *http.Request) string {
	run := map[string]func(*http.Request) (any, error){
		"/v1/token":      g.token,
		"/v1/introspect": g.introspect,
	}[r.URL.Path]
	if run == nil || r.Method != http.MethodPost {
		return answerGoogle(w, "request", nil, methodNotFound())
	}
	result, err := run(r)
	return answerGoogle(w, strings.TrimPrefix(r.URL.Path, "/v1/"), result, err)
}

type tokenAnswer struct {
	AccessToken     string `json:"access_token"`
	IssuedTokenType string `json:"issued_token_type"`
	TokenType       string `json:"token_type"`
	ExpiresIn       int64  `json:"expires_in"`
}

// token exchanges a token for another (RFC 8693). Nobody signs this request:
// the token is the proof. gcloud sends its client id all the same, which
// changes nothing.
func (g *google) token(r *http.Request) (any, error) {
	form, err := readParameters(r, "audience", "grant_type", "options", "requested_token_type", "scope", "subject_token", "subject_token_type")
	if err != nil {
		return nil, err
	}
	if form.Get("subject_token") == "" && (r.URL.Query().Has("subject_token") || r.URL.Query().Has("subjectToken")) {
		return nil, missingParameter("subject_token").because("the token was sent in the URL")
	}
	if err := checkExchange(form); err != nil {
		return nil, err
	}
	scopes, err := readScopes(form.Get("scope"))
	if err != nil {
		return nil, err
	}
	name := googleAudience().FindStringSubmatch(form.Get("audience"))
	if name == nil {
		return nil, wrongAudienceParameter()
	}
	if name[1] != g.provider.name {
		return nil, invalidTarget().because("there is no such provider")
	}
	// That Google takes a token with a newline after it is no more than likely:
	// Python's library sends the one that `echo` left in the file, and
	// CircleCI's orb, which logs in so, works.
	t, err := g.exchange(g.provider, strings.TrimSuffix(form.Get("subject_token"), "\n"), scopes)
	if err != nil {
		return nil, err
	}
	return tokenAnswer{
		AccessToken:     g.tokens.issue(t),
		IssuedTokenType: accessTokenType,
		TokenType:       "Bearer",
		ExpiresIn:       int64(t.expires.Sub(t.issued).Seconds()),
	}, nil
}

// checkExchange looks at the parameters that say what is exchanged for what.
func checkExchange(form url.Values) error {
	for _, name := range []string{"grant_type", "audience", "requested_token_type", "subject_token_type", "subject_token", "scope"} {
		if form.Get(name) == "" {
			return missingParameter(name)
		}
	}
	if form.Get("grant_type") != exchangeGrant {
		return oauthRefusal("unsupported_grant_type", "Invalid value for %q.", "grant_type")
	}
	if form.Get("requested_token_type") != accessTokenType {
		return wrongParameter("requested_token_type")
	}
	if kind := form.Get("subject_token_type"); kind != tokenTypes+"jwt" && kind != tokenTypes+"id_token" {
		return wrongParameter("subject_token_type")
	}
	return nil
}

func readScopes(list string) ([]string, error) {
	scopes := strings.Fields(list)
	if len(scopes) == 0 {
		return nil, missingParameter("scope")
	}
	for _, scope := range scopes {
		if !isScope(scope) {
			return nil, invalidScope(shortened(scope))
		}
	}
	return scopes, nil
}

// isScope knows the form of Google's scopes, not their names.
func isScope(scope string) bool {
	switch scope {
	case "openid", "email", "profile":
		return true
	}
	name, ours := strings.CutPrefix(scope, googleScopes)
	return ours && name != ""
}

// An introspection is what RFC 7662 asks for.
type introspection struct {
	Active   bool   `json:"active"`
	Scope    string `json:"scope,omitempty"`
	Username string `json:"username,omitempty"`
	Issued   int64  `json:"iat,omitempty"`
	Expires  int64  `json:"exp,omitempty"`
	Issuer   string `json:"iss,omitempty"`
}

// introspect tells whose an access token is. It knows tokens alone that this
// service issued. gcloud proves with its client id that it may ask, which is
// not required here.
func (g *google) introspect(r *http.Request) (any, error) {
	form, err := readParameters(r, "token", "token_type_hint")
	if err != nil {
		return nil, err
	}
	if form.Get("token") == "" {
		return nil, missingParameter("token")
	}
	if hint := form.Get("token_type_hint"); hint != "" && hint != accessTokenType {
		return nil, wrongParameter("token_type_hint")
	}
	t := g.tokens.find(form.Get("token"))
	if t == nil || t.email != "" || !g.now().Before(t.expires) {
		return introspection{}, nil
	}
	return introspection{
		Active:   true,
		Scope:    strings.Join(t.scopes, " "),
		Username: t.principal(),
		Issued:   t.issued.Unix(),
		Expires:  t.expires.Unix(),
		Issuer:   "https://sts.googleapis.com/",
	}, nil
}
