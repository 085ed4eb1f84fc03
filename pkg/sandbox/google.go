package sandbox

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

const (
	// DefaultGCPProvider is the workload identity provider that exists.
	DefaultGCPProvider = defaultPool + "/providers/circleci"

	// DefaultGCPServiceAccount exists whatever else Config names.
	DefaultGCPServiceAccount = "deploy@sandbox-project.iam.gserviceaccount.com"

	defaultPool          = "projects/" + gcpProjectNumber + "/locations/global/workloadIdentityPools/circleci"
	defaultGCPProjectID  = "sandbox-project"
	gcpProjectNumber     = "123456789012"
	googleAPIs           = "//iam.googleapis.com/"
	googleScopes         = "https://www.googleapis.com/auth/"
	cloudPlatformScope   = googleScopes + "cloud-platform"
	cloudPlatformROScope = cloudPlatformScope + ".read-only"
)

var (
	gcpProjectIDChars = lazy(`^[a-z][a-z0-9-]{4,28}[a-z0-9]$`)
	gcpAccountAddress = lazy(`^[a-z0-9-]{1,63}@(?:[a-z0-9-]+\.)+gserviceaccount\.com$`)
)

// A google is what Google's services share: one project, with the provider,
// the service accounts and the access tokens that they issued.
type google struct {
	now      func() time.Time
	key      jose.JSONWebKey // of the issuer, as its published keys have it
	project  string          // its id
	provider *workloadProvider
	accounts []*serviceAccount
	tokens   *googleTokens
	life     func(asked time.Duration) time.Duration // of access tokens
	// idKey signs id tokens. Few jobs ask for one, and a key takes its time.
	idKey func() (jose.JSONWebKey, error)
}

func newGoogle(c Config, key jose.JSONWebKey, l *ledger) (*google, error) {
	project := c.GCPProjectID
	if project == "" {
		project = defaultGCPProjectID
	}
	if !gcpProjectIDChars().MatchString(project) {
		return nil, fault.New(fault.Usage, "%q is not the id of a Google Cloud project", project).
			Hint("it is not the project's number or name: write it as %s", defaultGCPProjectID)
	}
	g := &google{
		now: c.Now, key: key, project: project,
		provider: newProvider(c),
		tokens:   &googleTokens{byText: map[string]*googleToken{}, ledger: l},
		life:     c.life,
		idKey:    sync.OnceValues(newKey),
	}
	for _, email := range append([]string{DefaultGCPServiceAccount}, c.GCPServiceAccounts...) {
		if !gcpAccountAddress().MatchString(email) {
			return nil, fault.New(fault.Usage, "%q is not the address of a service account", email).
				Hint("write it as %s", DefaultGCPServiceAccount)
		}
		if g.account(email) == nil {
			g.accounts = append(g.accounts, newServiceAccount(email, members(c), signers(c)))
		}
	}
	return g, nil
}

// googleEnvironment is for gcloud, which in a sandbox has nobody to ask, and
// for the libraries, which look for a machine of Google's.
func googleEnvironment() map[string]string {
	return map[string]string{
		"CLOUDSDK_CORE_DISABLE_PROMPTS":         "1",
		"CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
		"NO_GCE_CHECK":                          "true",
	}
}

// account finds one by its address or its number, or returns nil.
func (g *google) account(name string) *serviceAccount {
	i := slices.IndexFunc(g.accounts, func(a *serviceAccount) bool { return name == a.email || name == a.id })
	if i < 0 {
		return nil
	}
	return g.accounts[i]
}

// A serviceAccount is one that exists in the sandbox.
type serviceAccount struct {
	email string
	id    string // a number, stable while the sandbox runs
	// members have the role workloadIdentityUser, signers serviceAccountTokenCreator.
	members, signers []string
}

// members are who may become the accounts.
func members(c Config) []string {
	switch {
	case c.GCPProvider == nil:
		return []string{principalSet + defaultPool + "/attribute.project/" + c.Token.ProjectID()}
	case c.GCPProvider.IAM() != nil:
		return c.GCPProvider.IAM().Members()
	}
	pool, _ := c.GCPProvider.Pool()
	return []string{principalSet + pool + "/*"}
}

// signers are who may sign as the accounts: in the default environment those who may
// become them.
func signers(c Config) []string {
	if c.GCPProvider != nil && c.GCPProvider.IAM() != nil {
		return c.GCPProvider.IAM().Signers()
	}
	return members(c)
}

func newServiceAccount(email string, members, signers []string) *serviceAccount {
	digits := make([]byte, 20)
	for i, b := range random(len(digits)) {
		digits[i] = '0' + b%10
	}
	return &serviceAccount{
		email:   email,
		id:      "1" + string(digits),
		members: members,
		signers: signers,
	}
}

// admits says whether the bearer of an access token may become this account. A
// service account may become any other, as with the role Token Creator, but
// not itself: nobody has that role on himself unless given.
func (a *serviceAccount) admits(t *googleToken, permission string) (admitted bool, why string) {
	if permission == signPermission && t.email == "" {
		if slices.ContainsFunc(a.signers, t.is) {
			return true, ""
		}
		return false, "no binding of serviceAccountTokenCreator has the caller as a member"
	}
	switch {
	case t.email == a.email:
		return false, "the caller is that service account already"
	case t.email != "":
		return true, ""
	case slices.ContainsFunc(a.members, t.is):
		return true, ""
	}
	return false, "no binding of workloadIdentityUser has the caller as a member"
}

// bearer returns the access token that a request is made with, if it may do
// what one of the scopes allows.
func (g *google) bearer(r *http.Request, scopes ...string) (*googleToken, error) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return nil, missingCredentials()
	}
	scheme, text, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return nil, wrongCredentials().because("the Authorization header holds no bearer token")
	}
	t := g.tokens.find(strings.TrimSpace(text))
	if t == nil {
		return nil, wrongCredentials().because("the access token was not issued here")
	}
	if !g.now().Before(t.expires) {
		return nil, wrongCredentials().because("the access token has expired")
	}
	if !slices.ContainsFunc(scopes, func(s string) bool { return slices.Contains(t.scopes, s) }) {
		return nil, insufficientScopes().because("the access token's scopes do not suffice")
	}
	return t, nil
}

// answerGoogle writes a result or a refusal, and returns the line for the log.
func answerGoogle(w http.ResponseWriter, what string, result any, err error) string {
	if err == nil {
		return reply(w, what, http.StatusOK, result)
	}
	no := asGoogleRefusal(err)
	if no.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="https://accounts.google.com/", error="invalid_token"`)
	}
	note := fmt.Sprintf("%s %s", reply(w, what, no.status, no.body), no.code)
	if no.why != "" {
		note += " (" + no.why + ")"
	}
	return note
}
