package jwtrole

import (
	"net/netip"
	"slices"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/document"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// The values of role_type and bound_claims_type.
const (
	typeJWT    = "jwt"
	typeOIDC   = "oidc"
	matchText  = "string"
	matchGlobs = "glob"
)

// A Role is a role of Vault's or OpenBao's JWT auth method, as `vault read
// auth/jwt/role/NAME` prints it and `vault write` takes it.
type Role struct {
	RoleType string // jwt or oidc
	// BoundAudiences are the values of aud of which the token has to have one.
	BoundAudiences []string
	BoundSubject   string
	// BoundClaims have values of the types string, bool, json.Number and []any
	// of these.
	BoundClaims     map[string]any
	BoundClaimsType string // string or glob

	UserClaim            string // the claim that names the identity
	UserClaimJSONPointer bool
	ClaimMappings        map[string]string // metadata's name by claim
	GroupsClaim          string

	// Leeways in the server's sense: 0 is its default, less is none.
	ClockSkewLeeway  time.Duration
	ExpirationLeeway time.Duration
	NotBeforeLeeway  time.Duration

	TokenTTL             time.Duration // 0: the mount's default
	TokenMaxTTL          time.Duration
	TokenExplicitMaxTTL  time.Duration
	TokenPeriod          time.Duration
	TokenPolicies        []string
	TokenNoDefaultPolicy bool
	TokenType            string
	TokenNumUses         int
	TokenBoundCIDRs      []string

	// Unknown are members of a server's answer that are not evaluated.
	Unknown []string

	document *document.Node // nil for a role that was not read
}

// A Config is the configuration of a JWT auth mount, as `vault read
// auth/jwt/config` prints it.
type Config struct {
	BoundIssuer string // empty: iss is not looked at
	DefaultRole string
	// Where the keys are from: one of these four.
	OIDCDiscoveryURL     string
	JWKSURL              string
	JWKSPairs            int // how many there are
	JWTValidationPubkeys []string
	JWTSupportedAlgs     []string // empty: all that the server knows

	// Unknown are members of a server's answer that are not evaluated.
	Unknown []string

	document *document.Node
}

// ParseRole reads a role: as `vault read -format=json auth/jwt/role/NAME`
// prints it, the object in its data alone, or the object that Setup
// writes. An error is a fault.Usage with line and column.
func ParseRole(b []byte) (*Role, error) {
	n, err := parseDocument(b, "role")
	if err != nil {
		return nil, err
	}
	r := &Role{document: n, TokenType: "default"}
	f := fields{object: n, what: "role", read: "auth/jwt/role/NAME"}
	f.text("role_type", &r.RoleType, "", typeJWT, typeOIDC)
	f.list("bound_audiences", &r.BoundAudiences)
	f.text("bound_subject", &r.BoundSubject)
	f.boundClaims(&r.BoundClaims)
	f.text("bound_claims_type", &r.BoundClaimsType, "", matchText, matchGlobs)
	f.text("user_claim", &r.UserClaim)
	f.boolean("user_claim_json_pointer", &r.UserClaimJSONPointer)
	f.pairs("claim_mappings", &r.ClaimMappings)
	f.text("groups_claim", &r.GroupsClaim)
	f.leeway("clock_skew_leeway", &r.ClockSkewLeeway)
	f.leeway("expiration_leeway", &r.ExpirationLeeway)
	f.leeway("not_before_leeway", &r.NotBeforeLeeway)
	r.readToken(&f)
	// What decides nothing about a login with a job's token.
	f.ignore("name", "allowed_redirect_uris", "oidc_scopes", "verbose_oidc_logging", "max_age", "alias_metadata",
		// OpenBao's alone.
		"callback_mode", "poll_interval", "oauth2_metadata", "oidc_disable_confirmation",
		"token_policies_template_claims", "token_strictly_bind_ip")
	if err := f.finish(&r.Unknown); err != nil {
		return nil, err
	}
	if err := r.settle(); err != nil {
		return nil, err
	}
	return r, nil
}

// readToken reads what the role says of the tokens that it gives. The names
// without token_ are older and count where the newer ones are not set.
func (r *Role) readToken(f *fields) {
	f.duration("ttl", &r.TokenTTL)
	f.duration("token_ttl", &r.TokenTTL)
	f.duration("max_ttl", &r.TokenMaxTTL)
	f.duration("token_max_ttl", &r.TokenMaxTTL)
	f.duration("token_explicit_max_ttl", &r.TokenExplicitMaxTTL)
	f.duration("period", &r.TokenPeriod)
	f.duration("token_period", &r.TokenPeriod)
	f.list("policies", &r.TokenPolicies)
	f.list("token_policies", &r.TokenPolicies)
	f.boolean("token_no_default_policy", &r.TokenNoDefaultPolicy)
	f.text("token_type", &r.TokenType, "", "default", "service", "batch")
	f.count("num_uses", &r.TokenNumUses)
	f.count("token_num_uses", &r.TokenNumUses)
	f.addresses("bound_cidrs", &r.TokenBoundCIDRs)
	f.addresses("token_bound_cidrs", &r.TokenBoundCIDRs)
}

// settle fills in what the server would, and refuses what it would not store.
func (r *Role) settle() error {
	if r.RoleType == "" {
		r.RoleType = typeOIDC
	}
	if r.BoundClaimsType == "" {
		r.BoundClaimsType = matchText
	}
	at := r.document.At()
	switch {
	case r.UserClaim == "":
		return fault.New(fault.Usage, "%s: the role has no user_claim, without which the server stores none", at).
			Hint(`write "user_claim": %q`, policy.ClaimProject)
	case r.TokenTTL > 0 && r.TokenMaxTTL > 0 && r.TokenTTL > r.TokenMaxTTL:
		return fault.New(fault.Usage, "%s: token_ttl is more than token_max_ttl, which the server does not store", r.document.Get(tTLName(r.document)).At())
	case r.batch() && (r.TokenPeriod != 0 || r.TokenNumUses != 0):
		return fault.New(fault.Usage, "%s: batch tokens have no period and no number of uses, so that the server does not store the role", r.document.Get("token_type").At())
	}
	return nil
}

func tTLName(role *document.Node) string {
	if role.Get("token_ttl") == nil {
		return "ttl"
	}
	return "token_ttl"
}

func (r *Role) batch() bool { return r.TokenType == "batch" }

// ParseConfig reads a mount's configuration: as `vault read -format=json
// auth/jwt/config` prints it, the object in its data alone, or the object that
// Setup writes. An error is a fault.Usage with line and column.
func ParseConfig(b []byte) (*Config, error) {
	n, err := parseDocument(b, "config")
	if err != nil {
		return nil, err
	}
	c := &Config{document: n}
	f := fields{object: n, what: "configuration", read: "auth/jwt/config"}
	f.text("bound_issuer", &c.BoundIssuer)
	f.text("default_role", &c.DefaultRole)
	f.text("oidc_discovery_url", &c.OIDCDiscoveryURL)
	f.text("jwks_url", &c.JWKSURL)
	f.length("jwks_pairs", &c.JWKSPairs)
	f.list("jwt_validation_pubkeys", &c.JWTValidationPubkeys)
	f.list("jwt_supported_algs", &c.JWTSupportedAlgs)
	f.ignore("oidc_discovery_ca_pem", "oidc_client_id", "oidc_client_secret", "oidc_response_mode", "oidc_response_types",
		"jwks_ca_pem", "provider_config", "namespace_in_state", "unsupported_critical_cert_extensions",
		// OpenBao's alone.
		"override_allowed_server_names", "skip_jwks_validation", "status")
	if err := f.finish(&c.Unknown); err != nil {
		return nil, err
	}
	ways := 0
	for _, has := range []bool{c.OIDCDiscoveryURL != "", c.JWKSURL != "", c.JWKSPairs > 0, len(c.JWTValidationPubkeys) > 0} {
		if has {
			ways++
		}
	}
	if ways != 1 {
		return nil, fault.New(fault.Usage, "%s: the server takes exactly one of oidc_discovery_url, jwks_url, jwks_pairs and jwt_validation_pubkeys, and here are %d", n.At(), ways)
	}
	if c.JWKSPairs > 0 && c.BoundIssuer != "" {
		return nil, fault.New(fault.Usage, "%s: the server takes no bound_issuer beside jwks_pairs", n.Get("bound_issuer").At())
	}
	return c, nil
}

// Parse reads a role as ParseVaultRole does, and the mount's configuration
// where the document holds both, as what Setup writes does.
func Parse(b []byte) (*Role, *Config, error) {
	r, err := ParseRole(b)
	if err != nil {
		return nil, nil, err
	}
	n, err := document.Parse(b)
	if err != nil || n.Get("data") != nil || n.Get("config") == nil {
		return r, nil, err
	}
	c, err := ParseConfig(b)
	if err != nil {
		return nil, nil, err
	}
	return r, c, nil
}

// AdmitsFrom says whether the role's token_bound_cidrs let a job log in from
// this address.
func (r *Role) AdmitsFrom(address netip.Addr) bool {
	return len(r.TokenBoundCIDRs) == 0 || slices.ContainsFunc(r.TokenBoundCIDRs, func(cidr string) bool {
		p, err := cIDR(cidr)
		return err == nil && p.Contains(address.Unmap())
	})
}

// cIDR reads a block of addresses, or one address.
func cIDR(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return netip.ParsePrefix(text)
}
