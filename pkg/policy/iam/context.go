package iam

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// The claims that AWS itself gives a meaning.
const (
	tagsClaim     = "https://aws.amazon.com/tags"
	identityClaim = "https://aws.amazon.com/source_identity"
	rolesClaim    = "https://aws.amazon.com/roles"
)

// longestClaim is what fits into the 20000 characters that AWS takes of a
// token. It bounds the work that a token can make.
const longestClaim = 15000

// An context is a request as a trust policy sees it.
type context struct {
	claims   policy.Claims
	provider string     // the issuer without https://, as in the provider's ARN; empty where it has none
	role     arnParts   // of the role; without account where that is not known
	document string     // the ARN of the role that the document says it is of
	accounts []arnParts // of the providers of this name in the document
	needs    []string   // the actions that have to be allowed
	request  map[string]attribute
}

// An attribute is what the request has for a condition key. Without values,
// it says why.
type attribute struct {
	values  []string
	multi   bool
	absent  string // why there is none
	unknown string // why nobody can say here
}

// An arnParts is whose a role or a provider is.
type arnParts struct{ partition, account, name string }

// providerARN reads the ARN of an OpenID Connect provider.
func providerARN(arn string) (arnParts, bool) {
	p := strings.SplitN(arn, ":", 6)
	if len(p) < 6 || p[0] != "arn" || p[2] != "iam" || p[3] != "" {
		return arnParts{}, false
	}
	name, ok := strings.CutPrefix(p[5], "oidc-provider/")
	return arnParts{p[1], p[4], name}, ok
}

// roleARN reads the ARN of a role, and keeps the whole of it as the name.
func roleARN(arn string) (arnParts, bool) {
	p := strings.SplitN(arn, ":", 6)
	if len(p) < 6 || p[0] != "arn" || p[2] != "iam" || p[3] != "" || !strings.HasPrefix(p[5], "role/") {
		return arnParts{}, false
	}
	a := arnParts{p[1], p[4], arn}
	return a, a.whole()
}

func (a arnParts) String() string {
	return fmt.Sprintf("arn:%s:iam::%s:oidc-provider/%s", cmp.Or(a.partition, "*"), cmp.Or(a.account, "*"), a.name)
}

// whole says whether the ARN can be one: documentation has ACCOUNT_ID there.
func (a arnParts) whole() bool {
	return strings.HasPrefix(a.partition, "aws") && strings.Trim(a.partition, "abcdefghijklmnopqrstuvwxyz-") == "" &&
		len(a.account) == 12 && strings.Trim(a.account, "0123456789") == ""
}

func (p *Policy) context(r Request) *context {
	c := &context{claims: r.Claims, needs: []string{assume}, document: p.roleARN}
	issuer, _ := r.Claims.Text("iss")
	if name, ok := strings.CutPrefix(issuer, "https://"); ok {
		c.provider = name
	}
	for _, s := range p.statements {
		for _, w := range s.federated {
			if a, ok := providerARN(w.text); ok && a.name == c.provider && a.whole() && !slices.Contains(c.accounts, a) {
				c.accounts = append(c.accounts, a)
			}
		}
	}
	arn := cmp.Or(r.RoleARN, p.roleARN)
	if role, ok := roleARN(arn); ok {
		c.role = role
	} else if arn == "" && len(c.accounts) == 1 {
		c.role = arnParts{c.accounts[0].partition, c.accounts[0].account, ""}
	}
	if c.has(tagsClaim) {
		c.needs = append(c.needs, tag)
	}
	if c.has(identityClaim) {
		c.needs = append(c.needs, identify)
	}
	c.request = c.requestKeys(r)
	return c
}

func (c *context) has(claim string) bool { return c.claims[claim] != nil }

// requestKeys are the keys that the request has whatever provider the token is
// from, their names in lower case.
func (c *context) requestKeys(r Request) map[string]attribute {
	keys := map[string]attribute{
		"aws:securetransport":     {values: []string{"true"}},
		"aws:principaltype":       {values: []string{"User"}},
		"aws:principalarn":        {absent: "a web identity has no ARN yet when the trust policy is judged"},
		"sts:externalid":          {absent: assume + " takes no external id"},
		"aws:userid":              {unknown: "the role's account is not known"},
		"aws:principalaccount":    {unknown: "the role's account is not known"},
		"sts:rolesessionname":     {unknown: "the session's name is not known"},
		"sts:roleauthorizedbyidp": c.authorized(),
		"sts:sourceidentity":      c.claim(identityClaim),
	}
	if c.role.account != "" {
		provider := arnParts{c.role.partition, c.role.account, c.provider}
		keys["aws:userid"] = attribute{values: []string{provider.String()}}
		keys["aws:principalaccount"] = attribute{values: []string{c.role.account}}
	}
	if r.RoleSessionName != "" {
		keys["sts:rolesessionname"] = attribute{values: []string{r.RoleSessionName}}
	}
	c.tagKeys(keys)
	return keys
}

// authorized is whether the token lists this role.
func (c *context) authorized() attribute {
	if !c.has(rolesClaim) {
		return attribute{values: []string{"false"}}
	}
	roles := c.many(rolesClaim)
	switch {
	case roles.unknown != "":
		return roles
	case c.role.name == "":
		return attribute{unknown: "the role's ARN is not known"}
	}
	return attribute{values: []string{fmt.Sprint(slices.Contains(roles.values, c.role.name))}}
}

// tagKeys adds the keys that come from the token's session tags.
func (c *context) tagKeys(keys map[string]attribute) {
	none := attribute{absent: "the token carries no session tags"}
	if !c.has(tagsClaim) {
		keys["aws:tagkeys"], keys["sts:transitivetagkeys"] = none, none
		return
	}
	malformed := attribute{unknown: "the token's session tags are not in the form that AWS reads"}
	keys["aws:tagkeys"], keys["sts:transitivetagkeys"] = malformed, malformed
	claim, _ := c.claims[tagsClaim].(map[string]any)
	tags, ok := claim["principal_tags"].(map[string]any)
	if !ok {
		return
	}
	var names []string
	for name, v := range tags {
		list, _ := v.([]any)
		if len(list) != 1 {
			return
		}
		value, ok := text(list[0])
		if !ok {
			return
		}
		names = append(names, name)
		keys["aws:requesttag/"+strings.ToLower(name)] = attribute{values: []string{value}}
	}
	slices.Sort(names)
	keys["aws:tagkeys"] = attribute{values: names, multi: true}
	keys["sts:transitivetagkeys"] = none
	if claim["transitive_tag_keys"] != nil {
		keys["sts:transitivetagkeys"] = attributeOf(claim["transitive_tag_keys"], true)
	}
}

// get returns what the request has for a key.
func (c *context) get(key string) attribute {
	lower := strings.ToLower(key)
	if a, ok := c.request[lower]; ok {
		return a
	}
	switch kind, claim := keyOf(key, c.provider); kind {
	case mapped:
		return c.claim(claim)
	case unmapped:
		return attribute{absent: "AWS does not make this claim a condition key"}
	case foreign:
		return attribute{absent: "the key belongs to another provider than the token's"}
	}
	if strings.HasPrefix(lower, "aws:requesttag/") && c.request["aws:tagkeys"].unknown == "" {
		return attribute{absent: "the token carries no such session tag"}
	}
	switch lower {
	case "aws:currenttime", "aws:epochtime":
		return attribute{unknown: "the time of the request is not known here"}
	}
	return attribute{unknown: "what the request has for " + key + " is not known here"}
}

// claim returns the values of a claim, or of what AWS takes for it.
func (c *context) claim(name string) attribute {
	aud := c.many("aud")
	azp, party := c.claims["azp"]
	switch {
	case name == "aud" && party && azp == nil:
		return attribute{unknown: "what AWS makes of an azp that is null is not documented"}
	case name == "amr":
		return c.many("amr")
	case name == "aud" && party:
		name = "azp"
	case name == "aud" && len(aud.values) > 1:
		return attribute{unknown: "AWS refuses a token with several audiences and no azp"}
	case name == "aud":
		aud.multi = false
		return aud
	case name == "oaud":
		if aud.multi = len(aud.values) > 1; aud.absent != "" {
			aud.absent = "the token has no claim aud"
		}
		return aud
	}
	if c.claims[name] == nil {
		return attribute{absent: fmt.Sprintf("the token has no claim %s", name)}
	}
	return attributeOf(c.claims[name], false)
}

// many returns a claim that may be a list.
func (c *context) many(name string) attribute {
	if c.claims[name] == nil {
		return attribute{absent: fmt.Sprintf("the token has no claim %s", name)}
	}
	return attributeOf(c.claims[name], true)
}

func attributeOf(v any, multi bool) attribute {
	list, ok := v.([]any)
	if !ok || !multi {
		list = []any{v}
	}
	a := attribute{multi: multi, values: []string{}}
	for _, item := range list {
		s, ok := text(item)
		switch {
		case !ok:
			return attribute{unknown: "the claim is of a type that AWS documents nothing about"}
		case len(s) > longestClaim:
			return attribute{unknown: "the claim is longer than a token that AWS takes"}
		}
		a.values = append(a.values, s)
	}
	return a
}

// text writes a claim's value as AWS compares it.
func text(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return fmt.Sprint(v), true
	}
	return "", false
}

// keyKind says where the value of a condition key comes from.
type keyKind int8

const (
	global   keyKind = iota // from the request
	mapped                  // from a claim of the provider's tokens
	unmapped                // from nowhere: the claim is no key
	foreign                 // from a token of another provider
)

// keyOf tells what a key is to a provider, and the claim it is made from.
// The names of keys are compared without letter case. A provider's name has no
// colon, the claim may have anything.
func keyOf(key, provider string) (kind keyKind, claim string) {
	if provider != "" && len(key) > len(provider) && strings.EqualFold(key[:len(provider)+1], provider+":") {
		claim = key[len(provider)+1:]
		for _, name := range claims(provider) {
			if strings.EqualFold(name, claim) {
				return mapped, name
			}
		}
		return unmapped, claim
	}
	rest := key
	if i := strings.Index(rest, "://"); i >= 0 {
		rest = rest[i+3:]
	}
	prefix, claim, _ := strings.Cut(rest, ":")
	if strings.ContainsAny(prefix, "./") {
		return foreign, claim
	}
	return global, claim
}

// claims returns the claims that AWS makes condition keys for a provider:
// some for everybody, and what it has agreed upon with a few.
func claims(provider string) []string {
	claims := []string{"aud", "oaud", "sub", "amr", "email"}
	if rest, ok := strings.CutPrefix(strings.ToLower(provider), "oidc.circleci.com/org/"); ok && rest != "" && !strings.Contains(rest, "/") {
		return append(claims, policy.ClaimProject)
	}
	if _, ok := circleCI(provider); ok {
		return claims
	}
	if s := ci.Issuing("https://" + strings.ToLower(provider)); s != nil {
		return append(claims, s.AWSKeys...)
	}
	if regexp.MustCompile(`(?i)^idcs-[^/]+\.identity\.oraclecloud\.com$`).MatchString(provider) {
		return append(claims, "rpst_id")
	}
	return claims
}

// circleCI says whether a provider issues CircleCI's tokens, and for which
// organisation: for all of them, where it is the root issuer.
func circleCI(provider string) (org string, ok bool) {
	if "https://"+provider == ci.RootIssuer {
		return "", true
	}
	host, org, found := strings.Cut(provider, "/org/")
	return org, found && (strings.Contains(host, "circleci") || regexp.MustCompile(policy.UUIDForm).MatchString(org))
}
