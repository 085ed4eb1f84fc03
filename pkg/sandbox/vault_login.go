package sandbox

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidc-broker/oidc-broker/pkg/policy"
	"github.com/oidc-broker/oidc-broker/pkg/policy/jwtrole"
)

// login exchanges a JWT for a token, in the order of the server's plugin.
func (v *vault) login(q *vaultRequest) (*vaultAnswer, error) {
	s := q.space
	for _, name := range []string{"role", "jwt"} {
		if err := q.checkText(name); err != nil {
			return nil, err
		}
	}
	name := strings.ToLower(q.text("role"))
	if name == "" {
		name = strings.ToLower(s.config.DefaultRole)
	}
	if name == "" {
		return nil, vaultInvalid("missing role")
	}
	role, jwt := s.role, q.text("jwt")
	switch {
	case name != DefaultVaultRole:
		return nil, vaultInvalid(fmt.Sprintf("role %q could not be found", name))
	case role.RoleType == "oidc":
		return nil, vaultInvalid("role with oidc role_type is not allowed")
	case jwt == "":
		return nil, vaultInvalid("missing token")
	case !role.AdmitsFrom(q.address):
		return nil, vaultDenied().because("the role's token_bound_cidrs do not have the caller's address")
	}
	claims, err := v.verify(jwt, s.config)
	if err != nil {
		return nil, vaultInvalid("error validating token: " + err.Error())
	}
	identity, refusal := role.Login(claims, s.config, v.now())
	if refusal != "" {
		return nil, vaultInvalid(refusal).because("%s", v.explain(role, s.config, claims))
	}
	a, err := v.admit(q, name, role, identity)
	if err != nil {
		return nil, err
	}
	a.warnings = append(a.warnings, q.ignored("role", "jwt", "distributed_claim_access_token")...)
	return a, nil
}

// explain says for the log which condition it was, and where it differs.
func (v *vault) explain(role *jwtrole.Role, c *jwtrole.Config, claims policy.Claims) string {
	j := role.Check(jwtrole.Request{Claims: claims, Config: c, Now: v.now()})
	v.explainer.of("the Vault role", j)
	for _, check := range j.Checks {
		if check.Verdict == policy.Deny {
			return check.Name + ": " + check.Reason
		}
	}
	return "no condition"
}

// admit issues the token of a login.
func (v *vault) admit(q *vaultRequest, name string, role *jwtrole.Role, identity jwtrole.Login) (*vaultAnswer, error) {
	if identity.User == "" {
		return nil, &vaultRefusal{status: 500, texts: []string{"missing name in alias"}}
	}
	policies := sanitized(role.TokenPolicies, !role.TokenNoDefaultPolicy)
	for _, p := range policies {
		switch p {
		case rootPolicy:
			return nil, vaultInvalid("auth methods cannot create root tokens")
		case wrappingPolicy:
			return nil, vaultInvalid(fmt.Sprintf("cannot assign policy %q", p))
		}
	}
	metadata := maps.Clone(identity.Metadata)
	metadata["role"] = name
	if q.space.entities[identity.User] == "" {
		q.space.entities[identity.User] = newUUID()
	}
	limits := limitsOf(role)
	ttl, warnings, err := limits.life(0, v.now(), v.now())
	if err != nil {
		return nil, err
	}
	mount := strings.TrimSuffix(strings.TrimPrefix(q.path, "auth/"), "/login")
	t := &vaultToken{
		batch: role.TokenType == "batch", space: q.space,
		display: strings.ReplaceAll(mount, "/", "-") + "-" + identity.User, path: q.path,
		entity: q.space.entities[identity.User], policies: policies, metadata: metadata,
		issued: v.now(), expires: v.now().Add(ttl), created: ttl, limits: limits, uses: role.TokenNumUses,
	}
	if len(role.TokenBoundCIDRs) > 0 {
		t.address = func(q *vaultRequest) bool { return role.AdmitsFrom(q.address) }
	}
	v.issue(t)
	return &vaultAnswer{auth: t.auth(ttl), warnings: warnings}, nil
}

// verify checks a JWT's signature and returns what it says. The texts are those
// of two libraries: one for keys that are configured, one for keys that the
// server fetches.
func (v *vault) verify(jwt string, c *jwtrole.Config) (policy.Claims, error) {
	fetched := len(c.JWTValidationPubkeys) == 0
	signed, err := parseSigned(jwt, fetched)
	if err != nil {
		return nil, fmt.Errorf("error verifying token signature: %w", err)
	}
	payload, err := v.checkSignature(signed, fetched)
	if err != nil {
		return nil, fmt.Errorf("error verifying token signature: %w", err)
	}
	if len(c.JWTSupportedAlgs) > 0 && !slices.Contains(c.JWTSupportedAlgs, signed.Signatures[0].Header.Algorithm) {
		return nil, errors.New("invalid algorithm (alg) header parameter: token signed with unexpected algorithm")
	}
	claims, err := readClaims(payload, fetched)
	if err != nil {
		return nil, fmt.Errorf("error verifying token signature: %w", err)
	}
	return claims, nil
}

// parseSigned takes a JWT apart.
func parseSigned(jwt string, fetched bool) (*jose.JSONWebSignature, error) {
	known := []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512, jose.PS256, jose.PS384, jose.PS512, jose.EdDSA,
	}
	// White space counts for nothing, wherever it stands.
	jwt = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, jwt)
	parse := jose.ParseSignedCompact
	if strings.HasPrefix(jwt, "{") {
		parse = jose.ParseSignedJSON
	} else if !fetched {
		if err := checkHeader(jwt); err != nil {
			return nil, err
		}
		parts := strings.Split(jwt, ".")
		for i := range parts {
			parts[i] = strings.TrimRight(parts[i], "=")
		}
		jwt = strings.Join(parts, ".")
	}
	signed, err := parse(jwt, known)
	var algorithm *jose.ErrUnexpectedSignatureAlgorithm
	switch {
	case err != nil && fetched:
		return nil, fmt.Errorf("oidc: malformed jwt: %w", err)
	case errors.As(err, &algorithm):
		return nil, errNoKnownKey
	}
	return signed, err
}

var errNoKnownKey = errors.New("no known key successfully validated the token signature")

// checkHeader says what the server's other library says of a header that is no
// object.
func checkHeader(jwt string) error {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return nil // which the parser finds, too
	}
	header, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[0], "="))
	if err != nil || len(header) == 0 {
		return err
	}
	var members map[string]json.RawMessage
	err = json.Unmarshal(header, &members)
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &kind):
		return fmt.Errorf("json: cannot unmarshal %s into Go value of type jose.rawHeader", kind.Value)
	case err == nil && members == nil: // null
		return errNoKnownKey
	}
	return err
}

func (v *vault) checkSignature(signed *jose.JSONWebSignature, fetched bool) ([]byte, error) {
	wrong := errNoKnownKey
	if fetched {
		wrong = errors.New("failed to verify id token signature")
		if id := signed.Signatures[0].Header.KeyID; id != "" && id != v.key.KeyID {
			return nil, wrong
		}
	}
	payload, err := signed.Verify(v.key.Key)
	if err != nil {
		return nil, wrong
	}
	return payload, nil
}

// readClaims reads a payload. Where keys are configured, one that is no object
// is to the server as good as a wrong signature.
func readClaims(payload []byte, fetched bool) (policy.Claims, error) {
	var claims policy.Claims
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	if err := d.Decode(&claims); err != nil {
		if !fetched {
			return nil, errNoKnownKey
		}
		return nil, err
	}
	return claims, nil
}
