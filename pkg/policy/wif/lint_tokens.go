package wif

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/common/ast"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// Who tries to get in. None of these exists at CircleCI.
const (
	strangerOrg     = "eeeeeeee-0000-4000-8000-000000000001"
	strangerProject = "eeeeeeee-0000-4000-8000-000000000002"
	strangerUser    = "eeeeeeee-0000-4000-8000-000000000003"
	strangerBranch  = "feature-of-somebody"
)

// A candidate is a token that may get in.
type candidate struct {
	variant ci.Variant
	issuer  string // where it is none of CircleCI's cloud
}

func (c candidate) claims(now time.Time) (v1, v2 policy.Claims) {
	v := c.variant
	if b, err := json.Marshal(c.issuer); err == nil && c.issuer != "" {
		v = c.with("iss", string(b)).variant
	}
	return policy.ClaimsOf(v, now)
}

// with returns the candidate with a claim of that JSON.
func (c candidate) with(name, value string) candidate {
	claims := map[string]json.RawMessage{name: json.RawMessage(value)}
	for n, v := range c.variant.Claims {
		if n != name {
			claims[n] = v
		}
	}
	c.variant.Claims = claims
	return c
}

// reads are what the documents name.
type reads struct {
	org                                        string
	projects, users, origins, refs, contextIDs []string
	values                                     []string // of attributes that bindings ask for
}

func (n reads) project() string {
	if len(n.projects) == 0 {
		return ""
	}
	return n.projects[0]
}

// expressions are all of the provider's.
func (l *linter) expressions() []*celExpression {
	var all []*celExpression
	for _, m := range l.p.mapping {
		all = append(all, m.celExpression)
	}
	if l.p.condition != nil {
		all = append(all, l.p.condition)
	}
	return all
}

// claim returns the claim that a reference stands for: also that of an
// attribute that is a claim as it is.
func (p *Provider) claim(r celRef) (string, bool) {
	if r.variable == assertion {
		return r.name, true
	}
	if m := p.mapped(r.key()); m != nil {
		if inner, ok := refOf(m.root); ok && inner.variable == assertion && !inner.presence {
			return inner.name, true
		}
	}
	return "", false
}

// claims returns the claims that references hang on, through the mapping too.
func (p *Provider) claims(refs []celRef) []string {
	var all []string
	add := func(name string) {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	for _, r := range refs {
		if r.variable == assertion {
			add(r.name)
		} else if m := p.mapped(r.key()); m != nil {
			for _, inner := range m.refs { // a mapping knows the token alone
				add(inner.name)
			}
		}
	}
	return all
}

// names reads what the documents say of the job that they mean.
func (l *linter) names() reads {
	var n reads
	uuid := regexp.MustCompile(policy.UUIDForm)
	if i := strings.LastIndex(l.p.issuer, "/org/"); i >= 0 && uuid.MatchString(l.p.issuer[i+5:]) {
		n.org = l.p.issuer[i+5:]
	}
	for _, x := range l.expressions() {
		for _, cmp := range x.comparisons() {
			if claim, ok := l.p.claim(cmp.ref); ok && cmp.equal {
				n.note(claim, cmp.text)
			}
		}
		for _, s := range x.literals() {
			n.read(s)
			if x.asks(celRef{assertion, policy.ClaimContexts, false}) && uuid.MatchString(s) && s != n.org && !slices.Contains(n.projects, s) {
				n.contextIDs = note(n.contextIDs, s)
			}
		}
		for _, q := range l.p.patternsOf(x) {
			for _, s := range q.samples() {
				n.read(s)
				n.readPattern(q, s)
			}
		}
	}
	l.members(func(_ binding, m member, _, _ int) {
		g, ok := parsePrincipal(m.name)
		if !ok || g.pool != l.p.pool {
			return
		}
		n.read(g.rest)
		if name, value, ok := g.attribute(); ok {
			n.values = note(n.values, value)
			if claim, ok := l.p.claim(celRef{attribute, name, false}); ok {
				n.note(claim, value)
			}
		}
	})
	return n
}

// note adds to a short list what is not in it.
func note(all []string, s string) []string {
	if s == "" || slices.Contains(all, s) || len(all) >= 4 {
		return all
	}
	return append(all, s)
}

func (n *reads) note(claim, value string) {
	uuid := regexp.MustCompile(policy.UUIDForm).MatchString(value)
	switch {
	case claim == policy.ClaimOrg && uuid && n.org == "":
		n.org = value
	case claim == policy.ClaimProject && uuid:
		n.projects = note(n.projects, value)
	case claim == policy.ClaimOrigin && value != "":
		n.origins = note(n.origins, value)
	case claim == policy.ClaimRef && strings.HasPrefix(value, "refs/"):
		n.refs = note(n.refs, value)
	}
}

// read takes names out of the parts of a subject.
func (n *reads) read(s string) {
	const id = `([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})`
	if m := regexp.MustCompile(`org/` + id).FindStringSubmatch(s); m != nil && n.org == "" {
		n.org = m[1]
	}
	if m := regexp.MustCompile(`project/` + id).FindStringSubmatch(s); m != nil {
		n.projects = note(n.projects, m[1])
	}
	if m := regexp.MustCompile(`user/` + id).FindStringSubmatch(s); m != nil {
		n.users = note(n.users, m[1])
	}
	if m := regexp.MustCompile(`vcs-origin/([^'" ]+?)(?:/vcs-ref/|$)`).FindStringSubmatch(s); m != nil {
		n.origins = note(n.origins, originLike(m[1]))
	}
	if m := regexp.MustCompile(`(?:^|/|:)(refs/(?:heads|tags)/[^'" ]*[^'" /])$`).FindStringSubmatch(s); m != nil {
		n.refs = note(n.refs, m[1])
	}
}

// refLike makes a whole ref of what a pattern looks for in one.
func refLike(s string) string {
	s = strings.TrimLeft(s, "/")
	switch {
	case s == "":
		return ""
	case strings.HasPrefix(s, "refs/heads/"), strings.HasPrefix(s, "refs/tags/"):
	case strings.HasPrefix(s, "heads/"), strings.HasPrefix(s, "tags/"):
		s = "refs/" + s
	default:
		s = "refs/heads/" + s
	}
	if strings.HasSuffix(s, "/") {
		s += "x"
	}
	return s
}

// originLike makes a whole repository of what a pattern looks for in one.
func originLike(s string) string {
	s = strings.TrimLeft(s, "/")
	if s == "" {
		return ""
	}
	if strings.HasSuffix(s, "/") {
		s += "app"
	}
	if host, _, _ := strings.Cut(s, "/"); !strings.Contains(host, ".") {
		if !strings.Contains(s, "/") {
			s = "my-org/" + s
		}
		s = "github.com/" + s
	}
	for strings.Count(s, "/") < 2 {
		s += "/app"
	}
	return s
}

// readPattern takes the names out of what a pattern would find.
func (n *reads) readPattern(q pattern, s string) {
	n.read(s)
	if slices.Contains(q.claims, policy.ClaimRef) {
		n.refs = note(n.refs, refLike(s))
	}
	if slices.Contains(q.claims, policy.ClaimOrigin) {
		n.origins = note(n.origins, originLike(s))
	}
}

// findInsider returns the token that the documents mean: one of those with
// their names that gets in, or the first of them.
func (l *linter) findInsider() candidate {
	var all []candidate
	for _, audience := range l.tryAudiences() {
		for _, project := range orSample(l.projects, ci.SampleProject) {
			for _, origin := range orSample(l.origins, ci.SampleOrigin) {
				for _, ref := range orSample(l.refs, "refs/heads/main") {
					all = append(all, l.candidate(audience, project, origin, ref))
				}
			}
		}
	}
	if _, found := l.admitted(l.iam, all...); found.variant.Audience != "" {
		return found
	}
	if _, found := l.admitted(nil, all...); found.variant.Audience != "" {
		return found
	}
	return all[0]
}

func orSample(all []string, sample string) []string {
	if len(all) == 0 {
		return []string{sample}
	}
	return all
}

// tryAudiences are some of those that the provider takes, and those that
// bindings ask for: a job can mint any.
func (l *linter) tryAudiences() []string {
	all := l.p.Audiences()
	var some []string
	for _, v := range l.values {
		if slices.Contains(all, v) {
			some = note(some, v)
		}
	}
	for _, a := range all {
		some = note(some, a)
	}
	return orSample(some, orElse(l.org, ci.SampleOrg))
}

func (l *linter) candidate(audience, project, origin, ref string) candidate {
	c := candidate{variant: ci.Variant{Org: l.org, Project: project, Origin: origin, Audience: audience}}
	if len(l.users) > 0 {
		c.variant.User = l.users[0]
	}
	if branch, ok := strings.CutPrefix(ref, "refs/heads/"); ok {
		c.variant.Branch = branch
	}
	if tag, ok := strings.CutPrefix(ref, "refs/tags/"); ok {
		c.variant.Tag = tag
	}
	switch l.p.issuer {
	case ci.RootIssuer:
		c.variant.RootIssuer = true
	case ci.OrgIssuer(orElse(l.org, ci.SampleOrg)):
	default:
		c.issuer = l.p.issuer
	}
	if len(l.contextIDs) > 0 {
		if b, err := json.Marshal(l.contextIDs); err == nil {
			c = c.with(policy.ClaimContexts, string(b))
		}
	}
	return c
}

// stranger is the insider's token in another project of the organisation, of
// another repository and another user, for every audience that could help.
func (l *linter) others(change func(*ci.Variant)) []candidate {
	var all []candidate
	for _, audience := range l.tryAudiences() {
		for _, ref := range append([]string{""}, l.refs...) {
			c := l.insider
			if ref != "" {
				c = l.candidate(audience, "", "", ref)
			}
			c.variant.Project, c.variant.User, c.variant.Audience = strangerProject, strangerUser, audience
			c.variant.Origin = otherRepository(l.insider.variant.Origin)
			change(&c.variant)
			all = append(all, c)
		}
	}
	return all
}

func (l *linter) otherProjects() []candidate {
	return l.others(func(*ci.Variant) {})
}

// otherOrganisations come through the root issuer, which no organisation owns.
func (l *linter) otherOrganisations() []candidate {
	return l.others(func(v *ci.Variant) {
		v.Org, v.RootIssuer, v.Origin = strangerOrg, true, "github.com/stranger/app"
	})
}

// otherRepository is a repository of the same owner.
func otherRepository(origin string) string {
	i := strings.LastIndexByte(origin, '/')
	return origin[:i+1] + "another"
}

// literals returns the texts in an expression.
func (x *celExpression) literals() []string {
	var all []string
	ast.PostOrderVisit(x.root, ast.NewExprVisitor(func(e ast.Expr) {
		if s, ok := literal(e); ok {
			all = append(all, s)
		}
	}))
	return all
}

func (x *celExpression) asks(r celRef) bool { return slices.Contains(x.refs, r) }

// A call is target.method(argument).
type call struct{ target, argument ast.Expr }

func (x *celExpression) calls(method string) []call {
	var all []call
	ast.PostOrderVisit(x.root, ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind {
			return
		}
		if c := e.AsCall(); c.FunctionName() == method && c.IsMemberFunction() && len(c.Args()) == 1 {
			all = append(all, call{c.Target(), c.Args()[0]})
		}
	}))
	return all
}
