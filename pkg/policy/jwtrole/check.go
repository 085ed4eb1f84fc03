package jwtrole

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// A Request is a login to be judged.
type Request struct {
	Claims policy.Claims
	// Config is the auth mount's. Nil: not known, so that the issuer is not
	// judged.
	Config *Config
	Now    time.Time
	// Address is where the job runs. The zero value: not known.
	Address netip.Addr
}

// Check says what the server would make of a token whose signature is good, and
// why. The verdict is that of Login, which the sandbox's server asks too.
//
// Without a configuration it rests on the role, and a note names what was not
// judged: the role alone is what its owner has at hand, and the issuer is the
// same for every role of a mount.
func (r *Role) Check(q Request) policy.Judgement {
	k := checker{role: r, request: q, all: claims(q.Claims)}
	k.run()
	j := policy.Judgement{Verdict: policy.Allow, Checks: k.checks, Notes: k.notes}
	if _, refusal := r.Login(q.Claims, q.Config, q.Now); refusal != "" {
		j.Verdict, j.Reason = policy.Deny, refusal
		return j
	}
	for _, c := range k.checks {
		if c.Verdict != policy.Allow {
			j.Verdict, j.Reason = c.Verdict, c.Name+": "+c.Reason
			return j
		}
	}
	return j
}

// A checker explains a login, condition by condition, in the server's
// order.
type checker struct {
	role    *Role
	request Request
	all     map[string]any
	checks  []policy.Check
	notes   []string
}

func (k *checker) add(c policy.Check) { k.checks = append(k.checks, c) }

func (k *checker) run() {
	r := k.role
	k.roleType()
	k.address()
	c, err := registeredOf(k.all)
	if err != nil {
		k.add(policy.Check{Name: "claims", Verdict: policy.Deny, Wanted: "iss and sub as text, aud as text or a list of texts, times as numbers", Reason: err.Error()})
	} else {
		k.issuer(c)
		k.subject(c)
		k.audience(c)
		k.times(c)
	}
	k.user()
	for _, name := range slices.Sorted(maps.Keys(r.ClaimMappings)) {
		k.mapping(name)
	}
	k.groups()
	for _, name := range slices.Sorted(maps.Keys(r.BoundClaims)) {
		k.boundClaim(name)
	}
}

func (k *checker) roleType() {
	c := policy.Check{Name: "role_type", Verdict: policy.Allow, Wanted: typeJWT, Got: k.role.RoleType}
	if k.role.RoleType == typeOIDC {
		c.Verdict, c.Reason = policy.Deny, "a role of this type is for people with a browser"
		c.Hints = []string{`write "role_type": "jwt": without it a role is of type oidc`}
	}
	k.add(c)
}

func (k *checker) address() {
	blocks := k.role.TokenBoundCIDRs
	if len(blocks) == 0 {
		return
	}
	c := policy.Check{Name: "token_bound_cidrs", Verdict: policy.Allow, Wanted: strings.Join(blocks, " or ")}
	switch a := k.request.Address; {
	case !a.IsValid():
		c.Verdict, c.Reason = policy.Undecided, "the address that the job logs in from is not known"
	case !k.role.AdmitsFrom(a):
		c.Verdict, c.Got, c.Reason = policy.Deny, a.String(), "the address is in none of the blocks"
		c.Hints = []string{`the server answers 403 "permission denied", as to a wrong path`}
	default:
		c.Got = a.String()
	}
	k.add(c)
}

func (k *checker) issuer(got registered) {
	cfg := k.request.Config
	switch {
	case cfg == nil:
		k.notes = append(k.notes, "the auth mount's configuration is not given, so that the issuer is not judged (bound_issuer of auth/jwt/config)")
		return
	case cfg.BoundIssuer == "":
		k.notes = append(k.notes, "the auth mount has no bound_issuer, so that it looks at no token's issuer")
		return
	}
	c := policy.Check{Name: "config.bound_issuer", Verdict: policy.Allow, Wanted: cfg.BoundIssuer, Got: got.issuer}
	if got.issuer != cfg.BoundIssuer {
		c.Verdict, c.Reason = policy.Deny, difference(cfg.BoundIssuer, got.issuer)
		c.Hints = issuerHints(cfg.BoundIssuer, got.issuer)
	}
	k.add(c)
}

func (k *checker) subject(got registered) {
	want := k.role.BoundSubject
	if want == "" {
		return
	}
	c := policy.Check{Name: "bound_subject", Verdict: policy.Allow, Wanted: want, Got: got.subject}
	if got.subject != want {
		c.Verdict, c.Reason = policy.Deny, difference(want, got.subject)
		c.Hints = subjectHints(want, got.subject)
		if strings.Contains(want, "*") {
			c.Hints = append(c.Hints, "bound_subject knows no wildcards, whatever bound_claims_type says: bind the single claims")
		}
	}
	k.add(c)
}

func (k *checker) audience(got registered) {
	wants := k.role.BoundAudiences
	c := policy.Check{Name: "bound_audiences", Verdict: policy.Allow, Wanted: alternatives(wants), Got: strings.Join(got.audience, ", ")}
	switch {
	case len(wants) == 0 && hasAudience(k.all):
		c.Verdict, c.Wanted = policy.Deny, "a token without an audience"
		c.Reason = "the role has no bound_audiences, and the token has an audience"
		c.Hints = []string{
			fmt.Sprintf(`write "bound_audiences": %s`, shown(got.audience)),
			"OpenBao may take the token all the same, whatever its audience is",
		}
	case len(wants) == 0:
		c.Wanted = "a token without an audience"
	case !k.role.admitsAudience(got.audience):
		c.Verdict, c.Reason = policy.Deny, "the token is for none of these audiences"
		if len(got.audience) == 0 {
			c.Reason = "the token has no aud"
		}
		c.Hints = []string{
			fmt.Sprintf("a job can have a token for this audience: circleci run oidc get --claims '{\"aud\":%s}'", shown(wants[0])),
			"the audience of CIRCLE_OIDC_TOKEN is the organisation's id, unless the organisation has changed it",
		}
	}
	k.add(c)
}

func (k *checker) times(got registered) {
	skew := leeway(k.role.ClockSkewLeeway, skew)
	now := k.request.Now.UTC()
	c := policy.Check{Name: "exp, nbf and iat", Verdict: policy.Allow, Wanted: fmt.Sprintf("valid at %s, give or take %s", now.Format(time.RFC3339), skew)}
	var shown []string
	for _, t := range []struct {
		name string
		at   date
	}{{"exp", got.expires}, {"nbf", got.before}, {"iat", got.since}} {
		if t.at != 0 {
			shown = append(shown, t.name+" "+t.at.time().UTC().Format(time.RFC3339))
		}
	}
	c.Got = strings.Join(shown, ", ")
	if err := k.role.validateTimes(got, k.request.Now); err != nil {
		c.Verdict, c.Reason = policy.Deny, err.Error()
		if got.expires != 0 && now.After(got.expires.time()) {
			c.Hints = []string{fmt.Sprintf("the token ended %s ago: circleci run oidc get mints a new one", now.Sub(got.expires.time()).Round(time.Second))}
		} else if got.since != 0 && got.since.time().After(now) {
			c.Hints = []string{"the server's clock is behind the issuer's"}
		}
	}
	k.add(c)
}

func (k *checker) user() {
	r := k.role
	c := policy.Check{Name: "user_claim", Verdict: policy.Allow, Wanted: fmt.Sprintf("%q as text", r.UserClaim)}
	switch v := r.user(k.all).(type) {
	case string:
		c.Got = shown(v)
	case nil:
		c.Verdict, c.Reason = policy.Deny, "the token has no such claim"
		c.Hints = append(k.nameHints(r.UserClaim), fmt.Sprintf("every token of CircleCI has %q", policy.ClaimProject))
	default:
		c.Verdict, c.Got, c.Reason = policy.Deny, shown(v), "the claim is not text"
	}
	k.add(c)
}

func (k *checker) mapping(name string) {
	c := policy.Check{Name: fmt.Sprintf("claim_mappings[%q]", name), Verdict: policy.Allow, Wanted: "text, or no such claim"}
	switch v := claim(k.all, name).(type) {
	case nil:
	case string:
		c.Got = shown(v)
	default:
		c.Verdict, c.Got, c.Reason = policy.Deny, shown(v), "only a claim that is text can be mapped"
		c.Hints = []string{"take the mapping out"}
		if _, ok := v.([]any); ok {
			c.Hints = append(c.Hints, fmt.Sprintf("an item of a list has a name of its own: %q", pointer(name)+"/0"))
		}
	}
	k.add(c)
}

func (k *checker) groups() {
	r := k.role
	if r.GroupsClaim == "" {
		return
	}
	c := policy.Check{Name: "groups_claim", Verdict: policy.Allow, Wanted: fmt.Sprintf("%q as a list of texts", r.GroupsClaim)}
	v := claim(k.all, r.GroupsClaim)
	if v != nil {
		c.Got = shown(v)
	}
	if _, err := r.groups(k.all); err != nil {
		c.Verdict, c.Reason = policy.Deny, err.Error()
		if v == nil {
			c.Hints = k.nameHints(r.GroupsClaim)
		}
	}
	k.add(c)
}

func (k *checker) boundClaim(name string) {
	r := k.role
	wants, _ := list(r.BoundClaims[name])
	c := policy.Check{Name: fmt.Sprintf("bound_claims[%q]", name), Verdict: policy.Allow, Wanted: alternatives(wants)}
	got := claim(k.all, name)
	if got != nil {
		c.Got = shown(got)
	}
	err := r.boundClaim(k.all, name)
	switch {
	case err == nil:
	case got == nil:
		c.Verdict, c.Reason = policy.Deny, "the token has no such claim"
		c.Hints = k.nameHints(name)
	default:
		c.Verdict, c.Reason = policy.Deny, k.mismatch(wants, got, err)
		c.Hints = k.valueHints(name, wants, got)
	}
	k.add(c)
}

// mismatch says where a claim differs from what is wanted: from the value that
// it has the most in common with.
func (k *checker) mismatch(wants []any, got any, err error) string {
	s, isText := got.(string)
	if len(wants) == 0 {
		return "no value is good enough"
	}
	best, common := "", -1
	for _, want := range wants {
		w, ok := want.(string)
		if !ok {
			if k.role.BoundClaimsType == matchGlobs {
				return fmt.Sprintf("%s is no pattern: with bound_claims_type glob all values are text", shown(want))
			}
			continue
		}
		if n := commonPrefix(w, s); isText && n > common {
			best, common = w, n
		}
	}
	switch {
	case common < 0:
		return "the two are not equal, or not of the same type"
	case k.role.BoundClaimsType == matchGlobs:
		return globDifference(best, s)
	}
	if err != nil && best == s {
		return err.Error()
	}
	return difference(best, s)
}

// shown is a value as JSON.
func shown(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(v) != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func alternatives[T any](values []T) string {
	var all []string
	for _, v := range values {
		all = append(all, shown(v))
	}
	return strings.Join(all, " or ")
}

// commonPrefix is how many characters two texts begin with in common.
func commonPrefix(a, b string) int {
	x, y := []rune(a), []rune(b)
	n := 0
	for n < min(len(x), len(y)) && x[n] == y[n] {
		n++
	}
	return n
}

// difference says where two texts part.
func difference(want, got string) string {
	if got == "" {
		return "the token has none"
	}
	n := commonPrefix(want, got)
	rest := func(s string) string {
		const most = 40
		left := []rune(s)[n:]
		switch {
		case len(left) == 0:
			return "the end"
		case len(left) > most:
			return shown(string(left[:most]) + "...")
		}
		return shown(string(left))
	}
	return fmt.Sprintf("from character %d on, %s is wanted, and there is %s", n+1, rest(want), rest(got))
}

// globDifference says which part of a pattern has no match.
func globDifference(pattern, got string) string {
	parts := strings.Split(pattern, "*")
	first, last := parts[0], parts[len(parts)-1]
	switch {
	case len(parts) == 1:
		return difference(pattern, got)
	case !strings.HasPrefix(got, first):
		return difference(first, got) + ", before the first *"
	case !strings.HasSuffix(got, last):
		return fmt.Sprintf("it does not end with %q", last)
	}
	return "the parts between the * are not there in this order"
}
