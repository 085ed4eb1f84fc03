// Package gcp exchanges the job's token for Google Cloud credentials (RFC 8693
// at Google's Security Token Service, then the impersonation of a service
// account), writes the credential configuration files that Google's tools
// read, and explains Google's refusals.
package gcp

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// defaultScope is what a service account's token is good for unless --scope
// says otherwise: everything that its roles allow.
const defaultScope = "https://www.googleapis.com/auth/cloud-platform"

// googleTokenURL is where a signed assertion becomes an access token (RFC 7523), and
// the audience of the assertion, wherever it is sent.
const googleTokenURL = "https://oauth2.googleapis.com/token" // #nosec G101 -- a URL

// maxSubjectLifetime is the longest that such an assertion may be valid for.
const maxSubjectLifetime = time.Hour

// What IAM Credentials accepts (gcloud's own minimum; the API's maximum).
const (
	minLifetime = 10 * time.Minute
	maxLifetime = 12 * time.Hour
)

// Options are the Google Cloud options as the user gave them, each from its
// flag or its environment variable.
type Options struct {
	Provider      string // --workload-identity-provider: the full name, or
	ProjectNumber string // --project-number
	PoolID        string // --pool-id: an id, or the pool's full name
	ProviderID    string // --provider-id: an id, or the provider's full name

	ServiceAccount string   // --service-account; "" means direct access
	Direct         bool     // --direct
	Delegates      []string // --delegate, in order
	Scopes         []string // --scope
	Subject        string   // --subject: a user of a Google Workspace domain
	TokenLifetime  string   // --token-lifetime: seconds, or Go's form
	ProjectID      string   // --project-id
	UniverseDomain string   // --universe-domain

	STSEndpoint            string // --sts-endpoint
	IAMCredentialsEndpoint string // --iamcredentials-endpoint
	OAuthEndpoint          string // --oauth-endpoint: the whole URL
}

// Exchange is a request that is resolved: nothing in it can be wrong any more
// that this machine could know.
type Exchange struct {
	Provider       Provider
	ServiceAccount string // "": direct access
	ProjectID      string // "" when it is not known
	// Unused are the options that were given and have no effect on the output.
	Unused []Unused

	delegates []string
	scopes    []string
	subject   string        // "": the service account itself
	lifetime  time.Duration // 0: Google's default, an hour
	universe  string
	sts, iam  string         // base URLs without a slash at the end
	custom    bool           // an endpoint was moved: files name the new one
	from      map[string]any // the options that named the endpoints, by host
	oauth     string         // the URL of the token endpoint
}

// Resolve checks the options. Every error is a fault.Usage.
func (o Options) Resolve() (*Exchange, error) {
	x := &Exchange{ServiceAccount: o.ServiceAccount, ProjectID: o.ProjectID, scopes: o.Scopes}
	for _, settle := range []func(*Exchange) error{o.settleProvider, o.settleAccount, o.settleScopes, o.settleLifetime, o.settleProject, o.settleEndpoints, o.settleSubject} {
		if err := settle(x); err != nil {
			return nil, err
		}
	}
	if len(x.scopes) == 0 {
		x.scopes = []string{defaultScope}
	}
	return x, nil
}

// settleScopes refuses what is no scope: Google's own names are URLs, but for those of
// OpenID Connect.
func (o Options) settleScopes(*Exchange) error {
	for _, s := range o.Scopes {
		switch {
		case s == "openid", s == "email", s == "profile":
		case !strings.HasPrefix(s, "https://") || strings.ContainsAny(s, " ,"):
			return fault.New(fault.Usage, "%s %s is not a scope", fault.Option("scope"), show(s)).Value(s).
				Hint("it is like https://www.googleapis.com/auth/devstorage.read_only")
		}
	}
	return nil
}

// settleSubject checks what a user's token needs (domain-wide delegation).
func (o Options) settleSubject(x *Exchange) error {
	if o.Subject == "" {
		return nil
	}
	name, domain, ok := strings.Cut(o.Subject, "@")
	switch {
	case !ok || name == "" || !matches(hostName, domain) || strings.ContainsAny(name, " \t\r\n,/<>"):
		return fault.New(fault.Usage, "%s %s is not a user", fault.Option("subject"), show(o.Subject)).
			Hint("it is the address of a user of your Google Workspace domain, like admin@example.com")
	case strings.HasSuffix(domain, ".gserviceaccount.com"):
		return fault.New(fault.Usage, "%s %s is a service account, not a user", fault.Option("subject"), show(o.Subject)).
			Hint("to become a service account: %s; %s for the ones in between", fault.Option("service-account"), fault.Option("delegate"))
	case o.ServiceAccount == "":
		return fault.New(fault.Usage, "%s needs a service account with domain-wide delegation: give %s", fault.Option("subject"), fault.Option("service-account"))
	case x.universe != googleUniverse:
		return fault.New(fault.Usage, "%s is for googleapis.com: other universes have no domain-wide delegation", fault.Option("subject"))
	case x.lifetime > maxSubjectLifetime:
		return fault.New(fault.Usage, "%s %s is longer than the hour that a token of %s is valid for", fault.Option("token-lifetime"), o.TokenLifetime, fault.Option("subject"))
	}
	x.subject = o.Subject
	return nil
}

// Identity names whose access it is: the service account's, or the federated
// identity's, of which the provider alone is known before Google's mapping.
func (x *Exchange) Identity() string {
	if x.ServiceAccount != "" {
		return x.ServiceAccount
	}
	return fmt.Sprintf("pool %s, provider %s", x.Provider.Pool, x.Provider.ID)
}

// settleProvider puts the name together from what was given: in full, or in
// parts, of which the pool and the provider may be full names themselves.
func (o Options) settleProvider(x *Exchange) error {
	name := o.Provider
	if name == "" {
		name = o.ProviderID
	}
	if !strings.Contains(name, "/") {
		if o.Provider != "" {
			_, err := ParseProvider(o.Provider)
			return fault.About(err, "workload-identity-provider", "")
		}
		pool := o.PoolID
		if !strings.Contains(pool, "/") {
			if err := o.missingParts(); err != nil {
				return err
			}
			pool = "projects/" + o.ProjectNumber + "/locations/global/workloadIdentityPools/" + pool
		}
		name = strings.TrimSuffix(pool, "/") + "/providers/" + o.ProviderID
	}
	p, err := ParseProvider(name)
	x.Provider = p
	if o.Provider == "" {
		return fault.About(err, "provider-id", "")
	}
	return fault.About(err, "workload-identity-provider", "")
}

func (o Options) missingParts() error {
	var missing []fault.Option
	for _, part := range []struct {
		name  fault.Option
		value string
	}{
		{"project-number", o.ProjectNumber}, {"pool-id", o.PoolID}, {"provider-id", o.ProviderID},
	} {
		if part.value == "" {
			missing = append(missing, part.name)
		}
	}
	switch len(missing) {
	case 0:
		return nil
	case 3:
		return fault.New(fault.Usage, "no workload identity provider: give %s", fault.Option("workload-identity-provider")).
			Hint("it is like projects/123456789012/locations/global/workloadIdentityPools/POOL/providers/PROVIDER").
			Hint("or set GOOGLE_PROJECT_NUMBER, GCP_WIP_ID and GCP_WIP_PROVIDER_ID, as in CircleCI's documentation")
	}
	return fault.New(fault.Usage, "the workload identity provider's name is not complete: give %s too", fault.List(" and ", missing...)).Cause(ErrIncomplete)
}

// ErrIncomplete is in the error for a provider of which parts are given and not all.
var ErrIncomplete = errors.New("a part of the provider's name is missing")

func (o Options) settleAccount(x *Exchange) error {
	switch {
	case o.ServiceAccount == "" && len(o.Delegates) > 0:
		return fault.New(fault.Usage, "%s leads to a service account: give %s", fault.Option("delegate"), fault.Option("service-account"))
	case o.ServiceAccount == "":
		return nil
	case o.Direct:
		return fault.New(fault.Usage, "%s is access without a service account, and %s names one: give one of them", fault.Option("direct"), fault.Option("service-account"))
	}
	if err := ServiceAccount(o.ServiceAccount); err != nil {
		return fault.About(err, "service-account", "")
	}
	for _, given := range o.Delegates {
		d := strings.TrimPrefix(given, "projects/-/serviceAccounts/")
		if err := ServiceAccount(d); err != nil {
			return fault.About(err, "delegate", given)
		}
		x.delegates = append(x.delegates, "projects/-/serviceAccounts/"+d)
	}
	return nil
}

func (o Options) settleLifetime(x *Exchange) error {
	if o.TokenLifetime == "" {
		return nil
	}
	if o.ServiceAccount == "" {
		return fault.New(fault.Usage, "%s is for a service account's token: without one, the token lives as long as the job's", fault.Option("token-lifetime")).
			Hint("give %s, or leave %s out", fault.Option("service-account"), fault.Option("token-lifetime"))
	}
	d, err := time.ParseDuration(o.TokenLifetime)
	if n, nerr := strconv.Atoi(o.TokenLifetime); nerr == nil {
		d, err = time.Duration(max(0, min(n, 1<<30)))*time.Second, nil // more would overflow into what is allowed
	}
	if err != nil || d%time.Second != 0 {
		return fault.New(fault.Usage, "%s %q is not a duration", fault.Option("token-lifetime"), o.TokenLifetime).
			Hint("give seconds (1800) or a number with its unit (30m, 1h)")
	}
	if d < minLifetime || d > maxLifetime {
		return fault.New(fault.Usage, "%s %s is not within 10m and 12h", fault.Option("token-lifetime"), o.TokenLifetime)
	}
	x.lifetime = d
	return nil
}

// settleProject tells a project's id from its number: the tools want the id
// where a project is chosen, and the number in a provider's name.
func (o Options) settleProject(*Exchange) error {
	for i := range len(o.ProjectID) {
		c := o.ProjectID[i]
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9' && i > 0, (c == '-' || c == ':' || c == '.') && i > 0:
			continue
		}
		return fault.New(fault.Usage, "%s %q is not the id of a project", fault.Option("project-id"), o.ProjectID).
			Hint("it is like my-project-123, in lower case; the number belongs in %s", fault.Option("project-number"))
	}
	return nil
}

// settleEndpoints finds where the calls go. It is as strict as the file that
// names the same places, for not every output writes one.
func (o Options) settleEndpoints(x *Exchange) error {
	h, err := CredConfig{UniverseDomain: o.UniverseDomain, STSEndpoint: o.STSEndpoint, IAMCredentialsEndpoint: o.IAMCredentialsEndpoint}.hosts(false)
	if err != nil {
		return err
	}
	x.universe, x.sts, x.iam = h.universe, h.sts, h.iam
	x.from = h.from
	x.custom = o.STSEndpoint != "" || o.IAMCredentialsEndpoint != ""
	x.oauth = googleTokenURL
	if o.OAuthEndpoint != "" {
		x.oauth = o.OAuthEndpoint
		return checkEndpoint("oauth-endpoint", o.OAuthEndpoint)
	}
	return nil
}
