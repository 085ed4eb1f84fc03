package jwtrole

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/document"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// The rules for Vault, by id:
//
//	V1   high      no bound_audiences: the server refuses every token with an audience
//	V2   critical  a pattern that somebody's branch or repository name fits, too
//	V3   medium    user_claim makes an identity of every user, branch or run
//	V4   critical  the issuer is the one of all organisations, and nothing names one
//	V5   high      ssh-rerun compared with text, or among patterns: nobody gets in
//	V6   critical  no bound_issuer, and other organisations' tokens get in; medium
//	               where the role keeps them out
//	V7   critical  any project of the organisation gets in; high where a context
//	               is asked for
//	V8   high      role_type is not jwt: nobody gets in
//	V9   medium    a job that was rerun with SSH gets in
//	V10  medium    tokens live, or can be renewed, for more than a day
//	V11  high      a value or a claim that no token of CircleCI's has: nobody gets in
//	V12  high      a branch is bound, but no repository: a fork's gets in
//	V13  medium    a pattern for names that whoever may push can make
//	V14  info      the job cannot revoke its token at its end
//	V15  medium    the subject binds one user
//	V16  medium    tokens are good long after their end
//	V17  medium    the server's answer has a member that is not evaluated

// Where a document names no project or organisation, the fix has these.
const (
	noOrg     = "<org-id>"
	noProject = "<project-id>"
)

const (
	// longest is how long a job may need its token at most.
	longest = 24 * time.Hour
	// maxTTL is what a server gives where neither role nor mount say less.
	maxTTL = 768 * time.Hour
	// mostSkew is more than clocks differ by.
	mostSkew = 5 * time.Minute
)

// Lint says what is wrong with a role, the worst first. Without a configuration
// what it decides is not looked at.
func (r *Role) Lint(cfg *Config, now time.Time) []policy.Finding {
	l := &linter{role: r, cfg: cfg, now: now}
	l.intend()
	l.unknown()
	l.token()
	l.identity()
	if r.RoleType == typeOIDC {
		l.add(policy.Finding{ID: "V8", Severity: policy.High, Where: "role_type",
			Message: "the role is of type oidc, which is the default: no job can log in to it",
			Fix:     `{"role_type": "jwt"}`}, "role_type")
		return l.sorted()
	}
	if len(r.BoundAudiences) == 0 {
		l.add(policy.Finding{ID: "V1", Severity: policy.High, Where: "bound_audiences",
			Message: "the role has no bound_audiences: Vault refuses every token that has an audience, and OpenBao may look at none",
			Fix:     fix("bound_audiences", []string{l.audience()})}, "bound_audiences")
	}
	l.rerun()
	l.nobody()
	l.strangers()
	l.patterns()
	l.subject()
	return l.sorted()
}

// unknown reports what newer servers added and this does not know.
func (l *linter) unknown() {
	if len(l.role.Unknown) > 0 {
		l.add(policy.Finding{ID: "V17", Severity: policy.Medium, Where: l.role.Unknown[0],
			Message: fmt.Sprintf("not evaluated, for this oidc-broker does not know it: %s", strings.Join(l.role.Unknown, ", "))}, l.role.Unknown[0])
	}
	if l.cfg != nil && len(l.cfg.Unknown) > 0 {
		l.addConfig(policy.Finding{ID: "V17", Severity: policy.Medium, Where: l.cfg.Unknown[0],
			Message: fmt.Sprintf("not evaluated, for this oidc-broker does not know it: %s", strings.Join(l.cfg.Unknown, ", "))}, l.cfg.Unknown[0])
	}
}

// A linter looks for tokens that get in and should not: it starts from the
// one that the role is meant for, changes what a stranger can change, and asks
// Check.
type linter struct {
	role *Role
	cfg  *Config
	now  time.Time
	// meant is the job that the role is meant for, as far as it says.
	meant                  ci.Variant
	namesOrg, namesProject bool
	namesOrigin, namesRef  bool
	keep                   map[string]any // bound claims that a fix keeps
	findings               []policy.Finding
}

// add adds a finding that stands at a member of the role, or at the role where
// it has no such member.
func (l *linter) add(f policy.Finding, member ...string) {
	if l.role.document != nil {
		f.Line, f.Column = place(l.role.document, member...)
	}
	l.findings = append(l.findings, f)
}

// addConfig does the same for the configuration.
func (l *linter) addConfig(f policy.Finding, member ...string) {
	if l.cfg.document != nil {
		f.Line, f.Column = place(l.cfg.document, member...)
	}
	l.findings = append(l.findings, f)
}

func place(n *document.Node, path ...string) (line, column int) {
	at := n.Position
	for _, name := range path {
		i := slices.IndexFunc(n.Members, func(m document.Member) bool { return m.Name == name })
		if i < 0 {
			break
		}
		at, n = n.Members[i].Position, n.Members[i].Value
	}
	return at.Line, at.Column
}

func (l *linter) sorted() []policy.Finding {
	slices.SortStableFunc(l.findings, func(a, b policy.Finding) int {
		all := policy.Severities()
		if d := slices.Index(all, a.Severity) - slices.Index(all, b.Severity); d != 0 {
			return d
		}
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return l.findings
}

// admits returns the token of a variant that gets in, of V2 or V1, or nil.
func (l *linter) admits(v ci.Variant) policy.Claims {
	v1, v2 := policy.ClaimsOf(v, l.now)
	for _, c := range []policy.Claims{v2, v1} {
		if c != nil && l.check(c).Verdict == policy.Allow {
			return c
		}
	}
	return nil
}

// check judges a token from an address that the role admits.
func (l *linter) check(c policy.Claims) policy.Judgement {
	q := Request{Claims: c, Config: l.cfg, Now: l.now}
	if len(l.role.TokenBoundCIDRs) > 0 {
		if p, err := cIDR(l.role.TokenBoundCIDRs[0]); err == nil {
			q.Address = p.Addr()
		}
	}
	if !q.Address.IsValid() {
		q.Address = netip.IPv6Unspecified()
	}
	return l.role.Check(q)
}

func (l *linter) first(variants ...ci.Variant) policy.Claims {
	for _, v := range variants {
		if c := l.admits(v); c != nil {
			return c
		}
	}
	return nil
}

// token looks at what the role's tokens are good for.
func (l *linter) token() {
	r := l.role
	life, where := r.TokenTTL, "token_ttl"
	if life == 0 {
		life = maxTTL
	}
	for _, limit := range []time.Duration{r.TokenMaxTTL, r.TokenExplicitMaxTTL} {
		if limit > 0 {
			life = min(life, limit)
		}
	}
	message := fmt.Sprintf("without token_ttl a token lives for %d hours, unless the mount says less", int(life.Hours()))
	switch {
	case r.TokenPeriod > 0 && (r.TokenExplicitMaxTTL == 0 || r.TokenExplicitMaxTTL > longest):
		life, where = maxTTL, "token_period"
		message = "a token with a period never ends while somebody renews it"
	case r.TokenTTL > longest:
		message = fmt.Sprintf("a token lives for %s, and no job runs as long", r.TokenTTL)
	case r.TokenTTL > 0 && max(r.TokenMaxTTL, r.TokenExplicitMaxTTL) > longest:
		life, where = max(r.TokenMaxTTL, r.TokenExplicitMaxTTL), "token_max_ttl"
		message = fmt.Sprintf("a token can be renewed for %s, and no job runs as long", life)
	}
	if life > longest {
		l.add(policy.Finding{ID: "V10", Severity: policy.Medium, Where: where, Message: message,
			Fix: fix("token_ttl", 900, "token_max_ttl", 3600, "token_explicit_max_ttl", 0, "token_period", 0)}, where)
	}
	const stays = ", so that it stays good until it ends by itself"
	switch {
	case r.batch():
		l.add(policy.Finding{ID: "V14", Severity: policy.Info, Where: "token_type", Message: "a batch token cannot be revoked" + stays, Fix: `{"token_type": "service"}`}, "token_type")
	case r.TokenNoDefaultPolicy:
		l.add(policy.Finding{ID: "V14", Severity: policy.Info, Where: "token_no_default_policy",
			Message: "without the default policy the job may revoke its token only if its own policies have auth/token/revoke-self" + stays + " where they do not",
			Fix:     `{"token_no_default_policy": false}`}, "token_no_default_policy")
	case r.TokenNumUses > 0:
		l.add(policy.Finding{ID: "V14", Severity: policy.Info, Where: "token_num_uses",
			Message: fmt.Sprintf("the token is used up after %d requests, of which revoking it is one", r.TokenNumUses), Fix: `{"token_num_uses": 0}`}, "token_num_uses")
	}
	if slices.Contains(r.TokenPolicies, "root") {
		l.add(policy.Finding{ID: "V11", Severity: policy.High, Where: "token_policies", Message: `nobody gets in: the server gives no token with the policy "root"`,
			Fix: fix("token_policies", slices.DeleteFunc(slices.Clone(r.TokenPolicies), func(p string) bool { return p == "root" }))}, "token_policies")
	}
	if leeway(r.ClockSkewLeeway, skew) > mostSkew {
		late := l.meant
		late.Claims = maps.Clone(late.Claims)
		ended := l.now.Add(-mostSkew - time.Second)
		late.Claims["exp"], late.Claims["iat"] = rawJSON(ended.Unix()), rawJSON(ended.Add(-time.Hour).Unix())
		l.add(policy.Finding{ID: "V16", Severity: policy.Medium, Where: "clock_skew_leeway", Witness: l.admits(late),
			Message: fmt.Sprintf("a token is good for another %s after its end", r.ClockSkewLeeway), Fix: `{"clock_skew_leeway": 0}`}, "clock_skew_leeway")
	}
}

// identity looks at the claim that names the identity.
func (l *linter) identity() {
	what := map[string]string{
		"sub":                              "every user has a subject of his own, and in a V2 token every branch of every user",
		policy.ClaimRef:                    "every branch",
		policy.ClaimPrefix + "job-id":      "every job that ever ran",
		policy.ClaimPrefix + "pipeline-id": "every pipeline that ever ran",
		policy.ClaimPrefix + "workflow-id": "every workflow that ever ran",
	}[fieldName(l.role.UserClaim)]
	if what == "" {
		return
	}
	if fieldName(l.role.UserClaim) != "sub" {
		what += " is another user"
	}
	l.add(policy.Finding{ID: "V3", Severity: policy.Medium, Where: "user_claim",
		Message: "the server keeps an identity for each value of user_claim, and counts it as a client: " + what,
		Fix:     fix("user_claim", policy.ClaimProject, "user_claim_json_pointer", false)}, "user_claim")
}

// rerun looks at the one claim that is true or false.
func (l *linter) rerun() {
	for _, name := range slices.Sorted(maps.Keys(l.role.BoundClaims)) {
		if fieldName(name) != policy.ClaimSSHRerun {
			continue
		}
		wants, _ := list(l.role.BoundClaims[name])
		message := ""
		for _, want := range wants {
			_, isBool := want.(bool)
			switch {
			case isBool && l.role.BoundClaimsType == matchGlobs:
				message = "among patterns a boolean is an error, which the server finds when the role is written, or else at every login"
			case !isBool:
				message = "the claim is true or false, and text is neither"
			}
		}
		if message != "" {
			l.add(policy.Finding{ID: "V5", Severity: policy.High, Where: fmt.Sprintf("bound_claims[%q]", name),
				Message: "nobody gets in: " + message, Fix: l.fix()}, "bound_claims", name)
		}
	}
}

// nobody says why the job that the role is meant for does not get in.
func (l *linter) nobody() {
	if l.cfg != nil && len(l.cfg.JWTSupportedAlgs) > 0 && !slices.Contains(l.cfg.JWTSupportedAlgs, "RS256") {
		l.addConfig(policy.Finding{ID: "V11", Severity: policy.High, Where: "config.jwt_supported_algs", Message: "nobody gets in: CircleCI signs with RS256",
			Fix: `{"jwt_supported_algs": ["RS256"]}`}, "jwt_supported_algs")
	}
	if l.cfg != nil && strings.HasSuffix(l.cfg.OIDCDiscoveryURL, "/") {
		l.addConfig(policy.Finding{ID: "V11", Severity: policy.High, Where: "config.oidc_discovery_url",
			Message: "the server does not take a slash at the end of oidc_discovery_url: CircleCI's document names the issuer without",
			Fix:     fix("oidc_discovery_url", strings.TrimRight(l.cfg.OIDCDiscoveryURL, "/"))}, "oidc_discovery_url")
	}
	if l.admits(l.meant) != nil {
		return
	}
	v1, v2 := policy.ClaimsOf(l.meant, l.now)
	best := l.check(v2)
	if other := l.check(v1); denials(other) < denials(best) {
		best = other
	}
	for _, c := range best.Checks {
		if c.Verdict == policy.Allow || l.said(c.Name) {
			continue
		}
		l.unmet(c)
	}
}

func denials(j policy.Judgement) int {
	n := 0
	for _, c := range j.Checks {
		if c.Verdict != policy.Allow {
			n++
		}
	}
	return n
}

// said says whether another rule has told already that nobody gets in here.
func (l *linter) said(where string) bool {
	return slices.ContainsFunc(l.findings, func(f policy.Finding) bool { return f.Where == where && f.Severity == policy.High })
}

// unmet reports a condition that no token meets.
func (l *linter) unmet(c policy.Check) {
	f := policy.Finding{ID: "V11", Severity: policy.High, Where: c.Name, Message: "nobody gets in: wanted is " + c.Wanted + ", and " + c.Reason, Fix: l.fix()}
	if c.Got != "" {
		f.Message = "nobody gets in: wanted is " + c.Wanted + ", and the job's token has " + c.Got
	}
	if len(c.Hints) > 0 {
		f.Message += "; " + c.Hints[0]
	}
	member := []string{c.Name}
	for _, prefix := range []string{"bound_claims", "claim_mappings"} {
		if name, ok := strings.CutPrefix(c.Name, prefix+"["); ok {
			name = unquoted(strings.TrimSuffix(name, "]"))
			member = []string{prefix, name}
			if prefix == "claim_mappings" {
				left := maps.Clone(l.role.ClaimMappings)
				delete(left, name)
				f.Fix = fix("claim_mappings", left)
			}
		}
	}
	switch c.Name {
	case "config.bound_issuer":
		f.Fix = l.configFix()
		l.addConfig(f, "bound_issuer")
		return
	case "user_claim":
		f.Fix = fix("user_claim", policy.ClaimProject, "user_claim_json_pointer", false)
	case "groups_claim":
		f.Fix = `{"groups_claim": ""}`
	}
	l.add(f, member...)
}

// strangers are other organisations, other projects, forks and reruns.
func (l *linter) strangers() {
	const other = "00000000-1111-4222-8333-444455556666"
	foreign := l.meant
	foreign.Org, foreign.Project, foreign.RootIssuer, foreign.Audience = other, other, false, l.audience()
	rooted := foreign
	rooted.RootIssuer = true
	l.issuer(l.first(foreign, rooted))

	sibling := l.meant
	sibling.Project = other
	sibling.Audience = l.audience()
	if w := l.first(sibling); w != nil {
		f := policy.Finding{ID: "V7", Severity: policy.Critical, Where: "bound_claims", Witness: w, Fix: l.fix(),
			Message: "any project of the organisation gets in: neither the project's id nor the subject is bound, and a job chooses its audience itself"}
		if _, bound := l.role.BoundClaims[policy.ClaimContexts]; bound {
			f.Severity = policy.High
			f.Message = "any project of the organisation that may use the context gets in: neither the project's id nor the subject is bound"
		}
		l.add(f, "bound_claims")
	}
	fork := l.meant
	fork.Fork, fork.Branch = true, l.meant.BuiltBranch() // a fork's own would be another
	if l.namesRef && !l.namesOrigin {
		if w := l.first(fork); w != nil {
			l.add(policy.Finding{ID: "V12", Severity: policy.High, Where: "bound_claims", Witness: w, Fix: l.fix(),
				Message: "the ref is bound, but not the repository: a fork has branches and tags of the same names"}, "bound_claims")
		}
	}
	rerun := l.meant
	rerun.SSHRerun = true
	if w := l.first(rerun); w != nil {
		l.add(policy.Finding{ID: "V9", Severity: policy.Medium, Where: "bound_claims", Witness: w, Fix: l.fix(),
			Message: "a job that was rerun with SSH gets in, and whoever is logged in to it"}, "bound_claims")
	}
}

// issuer takes the token of another organisation that gets in, or nil.
func (l *linter) issuer(w policy.Claims) {
	switch {
	case l.cfg == nil:
	case l.cfg.BoundIssuer == ci.RootIssuer && w != nil:
		l.addConfig(policy.Finding{ID: "V4", Severity: policy.Critical, Where: "config.bound_issuer", Witness: w, Fix: l.configFix(),
			Message: "any customer of CircleCI gets in: the issuer is the one that all organisations share, and the role names neither organisation nor project"}, "bound_issuer")
	case l.cfg.BoundIssuer != "":
	case w != nil:
		l.addConfig(policy.Finding{ID: "V6", Severity: policy.Critical, Where: "config.bound_issuer", Witness: w, Fix: l.configFix(),
			Message: "any customer of CircleCI gets in: without bound_issuer the server does not look at the issuer, and one key signs for all organisations"}, "bound_issuer")
	default:
		l.addConfig(policy.Finding{ID: "V6", Severity: policy.Medium, Where: "config.bound_issuer", Fix: l.configFix(),
			Message: "without bound_issuer the server does not look at the issuer, and one key signs for all organisations: this role keeps them out, another role of the mount may not"}, "bound_issuer")
	}
}

// subject looks at bindings of the whole subject.
func (l *linter) subject() {
	const message = "the subject names the user who started the pipeline: whoever else starts one, or a schedule, is refused"
	if strings.Contains(l.role.BoundSubject, "/user/") {
		l.add(policy.Finding{ID: "V15", Severity: policy.Medium, Where: "bound_subject", Message: message, Fix: l.fix()}, "bound_subject")
	}
	for name, values := range l.values("sub") {
		for _, v := range values {
			_, user, ok := strings.Cut(v, "/user/")
			if ok && !strings.HasPrefix(user, "*") && user != "" {
				l.add(policy.Finding{ID: "V15", Severity: policy.Medium, Where: fmt.Sprintf("bound_claims[%q]", name), Message: message, Fix: l.fix()}, "bound_claims", name)
				break
			}
		}
	}
}
