package sandbox

import (
	"encoding/base64"
	"errors"
	"maps"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/policy/jwtrole"
)

const (
	rootPolicy     = "root" // which no login gives
	defaultPolicy  = "default"
	wrappingPolicy = "response-wrapping"
)

// A vaultToken is one that the server issued.
type vaultToken struct {
	text     string
	accessor string
	batch    bool
	space    *vaultSpace
	display  string
	path     string // where it was issued
	entity   string
	policies []string
	metadata map[string]string

	issued  time.Time
	renewed time.Time
	expires time.Time
	created time.Duration
	limits  vaultLimits
	uses    int // left; 0: any number, less: none
	given   int
	address func(*vaultRequest) bool // nil: from anywhere
	wrapped *wrappedAnswer
}

// vaultLimits bound a token's life.
type vaultLimits struct{ ttl, max, explicitMax, period time.Duration }

// issue makes the token's text and keeps it.
func (v *vault) issue(t *vaultToken) *vaultToken {
	lead := "hvs."
	if t.batch {
		lead = "hvb."
	} else {
		t.accessor = base62(24)
	}
	switch {
	case t.batch:
		t.text = lead + "AAAAAQ" + base64.RawURLEncoding.EncodeToString(random(105))
	default:
		t.text = lead + "CAESI" + base64.RawURLEncoding.EncodeToString(random(67))
	}
	if t.space.id != "" {
		t.text += "." + t.space.id
		if t.accessor != "" {
			t.accessor += "." + t.space.id
		}
	}
	t.given = t.uses
	v.tokens[t.text] = t
	v.ledger.add(t.text)
	return t
}

// live returns nil for a token that is not good, or not any more.
func (v *vault) live(text string) *vaultToken {
	t := v.tokens[text]
	switch {
	case t == nil || t.uses < 0:
		return nil
	case !v.now().Before(t.expires):
		v.revoke(t)
		return nil
	}
	return t
}

// revoke ends a token and all that was leased with it.
func (v *vault) revoke(t *vaultToken) {
	delete(v.tokens, t.text)
	maps.DeleteFunc(v.leases, func(_ string, l *vaultLease) bool { return l.token == t })
}

// authorize says whether the request's token is good, and for this. A use is
// counted even where it is not.
func (v *vault) authorize(q *vaultRequest, route *vaultRoute) error {
	t := q.token
	if t == nil {
		return vaultNoToken(q.bearer)
	}
	if t.address != nil && !t.address(q) {
		return vaultDenied()
	}
	// A token is good in its namespace and those below.
	if !strings.HasPrefix(q.space.path, t.space.path) && (route == nil || !route.self) {
		return vaultDenied()
	}
	switch {
	case t.uses > 1:
		t.uses--
	case t.uses == 1:
		t.uses = -1 // revoked once this request is served
	}
	path := q.path
	if route != nil && !route.self {
		path = strings.TrimPrefix(q.space.path, t.space.path) + q.path
	}
	if route == nil || !allowed(t.policies, path, q.operation) {
		v.spend(t)
		return vaultForbidden()
	}
	return nil
}

// spend revokes a token that was used for the last time, and says whether it
// was.
func (v *vault) spend(t *vaultToken) bool {
	if t == nil || t.uses >= 0 {
		return false
	}
	v.revoke(t)
	return true
}

// A grant is a line of a policy.
type grant struct {
	pattern string // a * at the end is any text, + is any one segment
	able    string // to do what
}

// grantsOf returns what a policy grants. The sandbox does not know its user's
// policies: whatever a role names, other than the two that every server has, is
// what a job needs.
func grantsOf(name string) []grant {
	switch name {
	case wrappingPolicy:
		return []grant{{"sys/wrapping/unwrap", "update"}}
	case defaultPolicy:
		return []grant{
			{"auth/token/lookup-self", "read"},
			{"auth/token/renew-self", "update"},
			{"auth/token/revoke-self", "update"},
			{"sys/leases/renew", "update"},
			{"sys/wrapping/unwrap", "update"},
		}
	}
	return []grant{
		{"secret/data/ci/*", "read"},
		{"kv1/ci/*", "read"},
		{"dyn/creds/*", "read update"},
		{VaultNamespace + "/secret/data/ci/*", "read"},
	}
}

// allowed says whether the policies let a path be used. No two of them
// contradict each other, so that any line that matches will do.
func allowed(policies []string, path string, operation vaultOperation) bool {
	for _, name := range policies {
		for _, g := range grantsOf(name) {
			if g.matches(path) && slices.Contains(strings.Fields(g.able), string(operation)) {
				return true
			}
		}
	}
	return false
}

func (g grant) matches(path string) bool {
	if prefix, ok := strings.CutSuffix(g.pattern, "*"); ok {
		return strings.HasPrefix(path, prefix)
	}
	return path == g.pattern
}

// reaches says whether the policies allow anything at a mount.
func reaches(policies []string, mount string) bool {
	for _, name := range policies {
		for _, g := range grantsOf(name) {
			if strings.HasPrefix(g.pattern, mount) {
				return true
			}
		}
	}
	return false
}

// sanitized is a list of policies as the server keeps it.
func sanitized(names []string, withDefault bool) []string {
	all := []string{}
	for _, name := range names {
		if name = strings.ToLower(strings.TrimSpace(name)); name != "" {
			all = append(all, name)
		}
	}
	if withDefault && !slices.Contains(all, rootPolicy) {
		all = append(all, defaultPolicy)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// limitsOf are what a role says of the life of its tokens.
func limitsOf(r *jwtrole.Role) vaultLimits {
	return vaultLimits{ttl: r.TokenTTL, max: r.TokenMaxTTL, explicitMax: r.TokenExplicitMaxTTL, period: r.TokenPeriod}
}

// errPastMax is of the second in which a token or a lease ends.
var errPastMax = errors.New("past the max TTL, cannot renew")

// life is how long a token or a lease lives from now on, with the server's
// words where that is less than asked for.
func (l vaultLimits) life(increment time.Duration, issued, now time.Time) (ttl time.Duration, warnings []string, err error) {
	most := vaultMaxTTL
	for _, limit := range []time.Duration{l.max, l.explicitMax} {
		if limit > 0 {
			most = min(most, limit)
		}
	}
	issued, now = issued.Truncate(time.Second), now.Truncate(time.Second)
	left := most - now.Sub(issued)
	switch {
	case l.period > 0:
		ttl = l.period
		if ttl > most {
			warnings = append(warnings, `period of "`+shortDuration(ttl)+`" exceeded the effective max_ttl of "`+shortDuration(most)+`"; period value is capped accordingly`)
			ttl = most
		}
		if l.explicitMax == 0 {
			return ttl, warnings, nil
		}
		left = l.explicitMax - now.Sub(issued)
	case increment > 0:
		ttl = increment
	case l.ttl > 0:
		ttl = l.ttl
	default:
		ttl = vaultMaxTTL
	}
	if left <= 0 {
		return 0, nil, errPastMax
	}
	if ttl > left {
		warnings = append(warnings, `TTL of "`+shortDuration(ttl)+`" exceeded the effective max_ttl of "`+shortDuration(left)+`"; TTL value is capped accordingly`)
		ttl = left
	}
	return ttl, warnings, nil
}

// shortDuration is a duration without zeros at its end: 1h, not 1h0m0s.
func shortDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func (v *vault) lookupSelf(q *vaultRequest) (*vaultAnswer, error) {
	t := q.token
	data := map[string]any{
		"id": t.text, "accessor": t.accessor, "policies": t.policies, "path": t.path, "meta": t.metadata,
		"display_name": t.display, "num_uses": t.uses, "orphan": true,
		"creation_time": t.issued.Unix(), "creation_ttl": int64(t.created.Seconds()),
		"explicit_max_ttl": int64(t.limits.explicitMax.Seconds()),
		"entity_id":        t.entity, "type": t.kind(),
	}
	if t.limits.period != 0 {
		data["period"] = int64(t.limits.period.Seconds())
	}
	if t.space.path != "" {
		data["namespace_path"] = t.space.path
	}
	data["expire_time"] = t.expires.UTC().Format(time.RFC3339Nano)
	data["ttl"] = int64(t.expires.Sub(v.now()).Seconds())
	data["renewable"] = t.renewable()
	data["issue_time"] = t.issued.UTC().Format(time.RFC3339Nano)
	if !t.renewed.IsZero() {
		data["last_renewal"] = t.renewed.UTC().Format(time.RFC3339Nano)
		data["last_renewal_time"] = t.renewed.Unix()
	}
	return &vaultAnswer{data: data, mount: "token"}, nil
}

func (t *vaultToken) kind() string {
	if t.batch {
		return "batch"
	}
	return "service"
}

func (t *vaultToken) renewable() bool {
	return !t.batch && t.wrapped == nil
}

// auth is what a login and a renewal tell of a token.
func (t *vaultToken) auth(ttl time.Duration) *vaultAuth {
	return &vaultAuth{
		ClientToken: t.text, Accessor: t.accessor, Policies: t.policies, TokenPolicies: t.policies, Metadata: t.metadata,
		LeaseDuration: int(ttl.Seconds()), Renewable: t.renewable(), EntityID: t.entity, TokenType: t.kind(),
		Orphan: true, NumUses: t.given,
	}
}

func (v *vault) renewSelf(q *vaultRequest) (*vaultAnswer, error) {
	t := q.token
	increment, err := q.duration("increment")
	switch {
	case err != nil:
		return nil, err
	case t.batch:
		return nil, vaultInvalid("batch tokens cannot be renewed")
	case !t.renewable():
		return nil, vaultInvalid("lease is not renewable")
	}
	ttl, warnings, err := t.limits.life(increment, t.issued, v.now())
	if err != nil {
		return nil, &vaultRefusal{status: http.StatusInternalServerError, texts: []string{vaultOneError(err.Error())}}
	}
	t.renewed, t.expires = v.now(), v.now().Add(ttl)
	return &vaultAnswer{auth: t.auth(ttl), warnings: warnings, mount: "token"}, nil
}

func (v *vault) revokeSelf(q *vaultRequest) (*vaultAnswer, error) {
	if q.token.batch {
		return nil, vaultInvalid("batch tokens cannot be revoked")
	}
	v.revoke(q.token)
	return nil, nil
}

// base62 returns n random characters of the kind that Vault's ids have.
func base62(n int) string {
	const most = 64 // of characters, so that the number's length suffices
	for {
		text := new(big.Int).SetBytes(random(most)).Text(62)
		if len(text) > n {
			return text[len(text)-n:]
		}
	}
}
