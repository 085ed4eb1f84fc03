package wif

import (
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/document"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// The names of what Google's mapping makes.
const (
	subject         = "google.subject"
	groups          = "google.groups"
	attributePrefix = "attribute."
)

// Google's limits, as its API describes the provider.
const (
	maxSubject       = 127  // bytes
	maxAttributes    = 50   // that are custom
	maxKey           = 100  // characters of a custom attribute's name
	maxMapping       = 2048 // characters
	maxCondition     = 4096 // characters
	maxMapped        = 8192 // bytes of all mapped values
	maxAudiences     = 10
	maxAudience      = 256 // characters
	attributeName    = `^[a-z0-9_]{1,100}$`
	providerName     = `^projects/([^/]+)/locations/global/workloadIdentityPools/([^/]+)/providers/([^/]+)$`
	number           = `^[1-9][0-9]*$`
	mangledNumber    = `^[0-9]+(?:\.[0-9]*)?(?:[eE][+]?[0-9]+)?$`
	host             = "//iam.googleapis.com/"
	poolPath         = "/locations/global/workloadIdentityPools/"
	userRole         = "roles/iam.workloadIdentityUser"
	tokenCreatorRole = "roles/iam.serviceAccountTokenCreator" // #nosec G101 -- a role's name
)

// A Provider is a provider of one of Google's workload identity pools, and
// the rules by which it takes tokens.
type Provider struct {
	terraform bool   // how the document names things
	name      string // full, as far as the document has it
	namePlace document.Position
	// The parts of the name. The number is empty where the document has none,
	// or has a project's id in its place.
	number, pool, id string

	state    string
	disabled bool

	issuer      string
	issuerPlace document.Position
	audiences   []string
	oidcPlace   document.Position
	uploadedKey bool

	mapping      []*mapping
	mappingPlace document.Position
	condition    *celExpression // nil: whoever the issuer vouches for

	iam *IAMPolicy // that the document holds as well
}

type mapping struct {
	key      string
	keyPlace document.Position
	*celExpression
}

// Name returns the provider's resource name, "projects/123456789012/...", or
// what the document has of it.
func (p *Provider) Name() string { return p.name }

// Pool returns the pool's resource name, and false where the document does not
// tell the number of its project.
func (p *Provider) Pool() (string, bool) {
	if p.number == "" || p.pool == "" {
		return "", false
	}
	return "projects/" + p.number + poolPath + p.pool, true
}

// Issuer returns the iss that a token needs.
func (p *Provider) Issuer() string { return p.issuer }

// Audiences returns what a token's aud may be: what the provider lists, or
// where it lists none, its own name in two forms. It is empty where that name
// is not known.
func (p *Provider) Audiences() []string {
	if len(p.audiences) > 0 {
		return append([]string(nil), p.audiences...)
	}
	if p.number == "" {
		return nil
	}
	return []string{"https:" + host + p.name, host + p.name}
}

// IAM returns the service account's policy that the document holds beside the
// provider, or nil.
func (p *Provider) IAM() *IAMPolicy { return p.iam }

// A Request is what a provider is asked to judge.
type Request struct {
	Claims policy.Claims
	// IAM is the policy of the service account that is to be impersonated. Nil:
	// the one in the provider's document, and without that, the exchange alone
	// is judged.
	IAM *IAMPolicy
	// Now is when. Zero: the token's times are not judged.
	Now time.Time
}

// word returns a member's name as the document's form has it.
func (p *Provider) word(camel string) string {
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
func (p *Provider) mapped(key string) *mapping {
	for _, m := range p.mapping {
		if m.key == key {
			return m
		}
	}
	return nil
}
