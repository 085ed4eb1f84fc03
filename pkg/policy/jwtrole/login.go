package jwtrole

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// A Login is what a role makes of a token that it takes.
type Login struct {
	User     string            // the name of the identity's alias
	Metadata map[string]string // of claim_mappings
	Groups   []string
}

const (
	// skew is by how much the server's clock and the issuer's may differ
	// where the role says nothing.
	skew = 60 * time.Second
	// lifetime is how long a token without exp lives, or before exp one
	// without iat and nbf.
	lifetime = 150 * time.Second
)

// Login judges a token whose signature is known to be good, in the server's
// order. A refusal is the text that the server answers with status 400, else it
// is empty. Without a configuration the issuer is not judged.
//
// Where several bound claims or mappings fail, the server names any of them.
// Here it is the first by name.
func (r *Role) Login(c policy.Claims, cfg *Config, now time.Time) (login Login, refusal string) {
	if r.RoleType == typeOIDC {
		return login, "role with oidc role_type is not allowed"
	}
	all := claims(c)
	if err := r.validate(all, cfg, now); err != nil {
		return login, "error validating token: " + err.Error()
	}
	if len(r.BoundAudiences) == 0 && hasAudience(all) {
		return login, "audience claim found in JWT but no audiences bound to the role"
	}
	login, err := r.identity(all)
	if err != nil {
		return Login{}, err.Error()
	}
	for _, name := range slices.Sorted(maps.Keys(r.BoundClaims)) {
		if err := r.boundClaim(all, name); err != nil {
			return Login{}, "error validating claims: " + err.Error()
		}
	}
	return login, ""
}

// claims are the claims as the server's decoder leaves them: numbers are
// float64, with what that costs.
func claims(c policy.Claims) map[string]any {
	all := map[string]any{}
	b, err := json.Marshal(c)
	if err != nil || json.Unmarshal(b, &all) != nil {
		return map[string]any{}
	}
	return all
}

// A date is a claim of a time. Fractions of a second are cut off.
type date int64

// UnmarshalJSON reads a number.
func (d *date) UnmarshalJSON(b []byte) error {
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil {
		return errors.New("go-jose/go-jose/jwt: expected number value to unmarshal NumericDate")
	}
	*d = date(f)
	return nil
}

func (d date) time() time.Time { return time.Unix(int64(d), 0) }

// A audience is the claim aud.
type audience []string

// UnmarshalJSON reads one text, or a list of them.
func (a *audience) UnmarshalJSON(b []byte) error {
	var one *string
	if json.Unmarshal(b, &one) == nil && one != nil {
		*a = audience{*one}
		return nil
	}
	var list []*string
	if json.Unmarshal(b, &list) != nil || list == nil || slices.Contains(list, nil) {
		return errors.New("go-jose/go-jose/jwt: expected string or array value to unmarshal to Audience")
	}
	for _, s := range list {
		*a = append(*a, *s)
	}
	return nil
}

// registered are the claims that every JWT may have (RFC 7519 §4.1).
type registered struct {
	issuer, subject        string
	audience               []string
	expires, before, since date // 0: not there
}

func registeredOf(all map[string]any) (registered, error) {
	// A decoder's error names this type and its members, and the server shows
	// it.
	type Claims struct {
		Issuer    string   `json:"iss,omitempty"`
		Subject   string   `json:"sub,omitempty"`
		Audience  audience `json:"aud,omitempty"`
		Expiry    *date    `json:"exp,omitempty"`
		NotBefore *date    `json:"nbf,omitempty"`
		IssuedAt  *date    `json:"iat,omitempty"`
		ID        string   `json:"jti,omitempty"`
	}
	var c Claims
	b, err := json.Marshal(all)
	if err != nil {
		return registered{}, err
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return registered{}, err
	}
	date := func(d *date) date {
		if d == nil {
			return 0
		}
		return *d
	}
	return registered{
		issuer: c.Issuer, subject: c.Subject, audience: c.Audience,
		expires: date(c.Expiry), before: date(c.NotBefore), since: date(c.IssuedAt),
	}, nil
}

// validate judges the claims that every JWT has.
func (r *Role) validate(all map[string]any, cfg *Config, now time.Time) error {
	c, err := registeredOf(all)
	switch {
	case err != nil:
		return err
	case cfg != nil && cfg.BoundIssuer != "" && c.issuer != cfg.BoundIssuer:
		return errors.New("invalid issuer (iss) claim")
	case r.BoundSubject != "" && c.subject != r.BoundSubject:
		return errors.New("invalid subject (sub) claim")
	case !r.admitsAudience(c.audience):
		return errors.New("invalid audience (aud) claim: audience claim does not match any expected audience")
	}
	return r.validateTimes(c, now)
}

func (r *Role) admitsAudience(audience []string) bool {
	return len(r.BoundAudiences) == 0 || slices.ContainsFunc(r.BoundAudiences, func(a string) bool {
		return slices.Contains(audience, a)
	})
}

func (r *Role) validateTimes(c registered, now time.Time) error {
	if c.since == 0 && c.expires == 0 && c.before == 0 {
		return errors.New("no issued at (iat), not before (nbf), or expiration time (exp) claims in token")
	}
	if c.expires == 0 {
		c.expires = max(c.since, c.before) + seconds(r.ExpirationLeeway, lifetime)
	}
	switch {
	case c.before != 0:
	case c.since != 0:
		c.before = c.since
	default:
		c.before = c.expires - seconds(r.NotBeforeLeeway, lifetime)
	}
	skew := leeway(r.ClockSkewLeeway, skew)
	switch {
	case now.Add(skew).Before(c.before.time()):
		return errors.New("invalid not before (nbf) claim: token not yet valid")
	case now.Add(-skew).After(c.expires.time()):
		return errors.New("invalid expiration time (exp) claim: token is expired")
	case now.Add(skew).Before(c.since.time()):
		return errors.New("invalid issued at (iat) claim: token issued in the future")
	}
	return nil
}

// leeway is what the server makes of a role's leeway.
func leeway(d, byDefault time.Duration) time.Duration {
	switch {
	case d == 0:
		return byDefault
	case d < 0:
		return 0
	}
	return d
}

func seconds(d, byDefault time.Duration) date {
	return date(leeway(d, byDefault).Seconds())
}

func hasAudience(all map[string]any) bool {
	switch aud := all["aud"].(type) {
	case []any:
		return len(aud) > 0
	case string:
		return aud != ""
	}
	return false
}

// claim returns a claim by its name or, with a slash in front, by a JSON
// pointer (RFC 6901). Nil is a claim that is not there, or null. A number is
// whole: the server cuts its fraction off.
func claim(all map[string]any, name string) any {
	v := all[name]
	if strings.HasPrefix(name, "/") {
		v = pointed(all, name)
	}
	if f, ok := v.(float64); ok {
		return json.Number(strconv.Itoa(int(f)))
	}
	return v
}

func pointed(all map[string]any, pointer string) any {
	var v any = all
	for part := range strings.SplitSeq(pointer[1:], "/") {
		part = strings.ReplaceAll(strings.ReplaceAll(part, "~1", "/"), "~0", "~")
		switch in := v.(type) {
		case map[string]any:
			v = in[part]
		case []any:
			if part == "" {
				part = "0"
			}
			i, err := strconv.ParseInt(part, 0, 0)
			if err != nil || i < 0 || i >= int64(len(in)) {
				return nil
			}
			v = in[i]
		default:
			return nil
		}
	}
	return v
}

// user returns the value of the user claim.
func (r *Role) user(all map[string]any) any {
	if r.UserClaimJSONPointer {
		return claim(all, r.UserClaim)
	}
	return all[r.UserClaim]
}

func (r *Role) identity(all map[string]any) (Login, error) {
	login := Login{Metadata: map[string]string{}}
	user := r.user(all)
	if user == nil {
		return login, fmt.Errorf("claim %q not found in token", r.UserClaim)
	}
	var ok bool
	if login.User, ok = user.(string); !ok {
		return login, fmt.Errorf("claim %q could not be converted to string", r.UserClaim)
	}
	for _, name := range slices.Sorted(maps.Keys(r.ClaimMappings)) {
		value := claim(all, name)
		if value == nil {
			continue
		}
		s, ok := value.(string)
		if !ok {
			return login, fmt.Errorf("error converting claim '%s' to string", name)
		}
		login.Metadata[r.ClaimMappings[name]] = s
	}
	if r.GroupsClaim == "" {
		return login, nil
	}
	groups, err := r.groups(all)
	login.Groups = groups
	return login, err
}

func (r *Role) groups(all map[string]any) ([]string, error) {
	value := claim(all, r.GroupsClaim)
	if value == nil {
		return nil, fmt.Errorf("failed to fetch groups: %q claim not found in token", r.GroupsClaim)
	}
	list, ok := list(value)
	if !ok {
		return nil, fmt.Errorf("%q claim could not be converted to string list", r.GroupsClaim)
	}
	var groups []string
	for _, item := range list {
		group, ok := item.(string)
		if !ok {
			return nil, fmt.Errorf("value %v in groups claim could not be parsed as string", item)
		}
		if group != "" {
			groups = append(groups, group)
		}
	}
	return groups, nil
}

// boundClaim judges one of the bound claims.
func (r *Role) boundClaim(all map[string]any, name string) error {
	got := claim(all, name)
	if got == nil {
		return fmt.Errorf("claim %q is missing", name)
	}
	gots, ok := list(got)
	if !ok {
		return fmt.Errorf("received claim is not a string, bool, int or list: %v", got)
	}
	wants, ok := list(r.BoundClaims[name])
	if !ok {
		return fmt.Errorf("bound claim is not a string, bool, int or list: %v", r.BoundClaims[name])
	}
	for _, want := range wants {
		for _, got := range gots {
			if r.BoundClaimsType != matchGlobs {
				if same(want, got) {
					return nil
				}
				continue
			}
			pattern, ok := want.(string)
			if !ok {
				return errors.New("received claim is not a glob string: " + noGlob(want))
			}
			if s, ok := got.(string); ok && glob(pattern, s) {
				return nil
			}
		}
	}
	return fmt.Errorf("claim %q does not match any associated bound claim values", name)
}

// noGlob is what the server prints of a value that is no pattern: its
// text for this is not the one that its author meant.
func noGlob(v any) string {
	return fmt.Sprintf("%e", v) + "xpVal"
}

// same says whether two values are of the same type and equal. A list or
// an object within a list equals nothing, and neither does a number: the one
// side has it as text, the other as a float.
func same(want, got any) bool {
	switch got.(type) {
	case string, bool, json.Number:
		return want == got
	}
	return false
}

// glob says whether a text matches a pattern in which * is any text, of
// any length and with slashes; nothing else is special.
func glob(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	first, last := parts[0], parts[len(parts)-1]
	if len(parts) == 1 {
		return s == pattern
	}
	s, ok := strings.CutPrefix(s, first)
	if !ok {
		return false
	}
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
	return strings.HasSuffix(s, last)
}
