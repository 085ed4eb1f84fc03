package policy

import (
	"strings"
	"time"
)

// The names of what Google's mapping makes.
const (
	gcpSubject         = "google.subject"
	gcpGroups          = "google.groups"
	gcpAttributePrefix = "attribute."
)

// Google's limits, as its API describes the provider.
const (
	gcpMaxSubject       = 127  // bytes
	gcpMaxAttributes    = 50   // that are custom
	gcpMaxKey           = 100  // characters of a custom attribute's name
	gcpMaxMapping       = 2048 // characters
	gcpMaxCondition     = 4096 // characters
	gcpMaxMapped        = 8192 // bytes of all mapped values
	gcpMaxAudiences     = 10
	gcpMaxAudience      = 256 // characters
	gcpAttributeName    = `^[a-z0-9_]{1,100}$`
	gcpProviderName     = `^projects/([^/]+)/locations/global/workloadIdentityPools/([^/]+)/providers/([^/]+)$`
	gcpNumber           = `^[1-9][0-9]*$`
	gcpMangledNumber    = `^[0-9]+(?:\.[0-9]*)?(?:[eE][+]?[0-9]+)?$`
	gcpHost             = "//iam.googleapis.com/"
	gcpPoolPath         = "/locations/global/workloadIdentityPools/"
	gcpUserRole         = "roles/iam.workloadIdentityUser"
	gcpTokenCreatorRole = "roles/iam.serviceAccountTokenCreator" // #nosec G101 -- a role's name
)

// A GCPProvider is a provider of one of Google's workload identity pools, and
// the rules by which it takes tokens.
type GCPProvider struct {
	terraform bool   // how the document names things
	name      string // full, as far as the document has it
	namePlace position
	// The parts of the name. The number is empty where the document has none,
	// or has a project's id in its place.
	number, pool, id string

	state    string
	disabled bool

	issuer      string
	issuerPlace position
	audiences   []string
	oidcPlace   position
	uploadedKey bool

	mapping      []*gcpMapping
	mappingPlace position
	condition    *gcpExpression // nil: whoever the issuer vouches for

	iam *IAMPolicy // that the document holds as well
}

type gcpMapping struct {
	key      string
	keyPlace position
	*gcpExpression
}

// Name returns the provider's resource name, "projects/123456789012/...", or
// what the document has of it.
func (p *GCPProvider) Name() string { return p.name }

// Pool returns the pool's resource name, and false where the document does not
// tell the number of its project.
func (p *GCPProvider) Pool() (string, bool) {
	if p.number == "" || p.pool == "" {
		return "", false
	}
	return "projects/" + p.number + gcpPoolPath + p.pool, true
}

// Issuer returns the iss that a token needs.
func (p *GCPProvider) Issuer() string { return p.issuer }

// Audiences returns what a token's aud may be: what the provider lists, or
// where it lists none, its own name in two forms. It is empty where that name
// is not known.
func (p *GCPProvider) Audiences() []string {
	if len(p.audiences) > 0 {
		return append([]string(nil), p.audiences...)
	}
	if p.number == "" {
		return nil
	}
	return []string{"https:" + gcpHost + p.name, gcpHost + p.name}
}

// IAM returns the service account's policy that the document holds beside the
// provider, or nil.
func (p *GCPProvider) IAM() *IAMPolicy { return p.iam }

// A GCPRequest is what a provider is asked to judge.
type GCPRequest struct {
	Claims Claims
	// IAM is the policy of the service account that is to be impersonated. Nil:
	// the one in the provider's document, and without that, the exchange alone
	// is judged.
	IAM *IAMPolicy
	// Now is when. Zero: the token's times are not judged.
	Now time.Time
}

// word returns a member's name as the document's form has it.
func (p *GCPProvider) word(camel string) string {
	if !p.terraform {
		return camel
	}
	var b strings.Builder
	for _, r := range camel {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// mapped returns the mapping of that key, or nil.
func (p *GCPProvider) mapped(key string) *gcpMapping {
	for _, m := range p.mapping {
		if m.key == key {
			return m
		}
	}
	return nil
}
