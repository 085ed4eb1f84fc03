package policy

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/common/ast"

	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// Who tries to get in. None of these exists at CircleCI.
const (
	gcpStrangerOrg     = "eeeeeeee-0000-4000-8000-000000000001"
	gcpStrangerProject = "eeeeeeee-0000-4000-8000-000000000002"
	gcpStrangerUser    = "eeeeeeee-0000-4000-8000-000000000003"
	gcpStrangerBranch  = "feature-of-somebody"
)

// A gcpCandidate is a token that may get in.
type gcpCandidate struct {
	variant oidc.Variant
	issuer  string // where it is none of CircleCI's cloud
}

func (c gcpCandidate) claims(now time.Time) (v1, v2 Claims) {
	v := c.variant
	if b, err := json.Marshal(c.issuer); err == nil && c.issuer != "" {
		v = c.with("iss", string(b)).variant
	}
	return ClaimsOf(v, now)
}

// with returns the candidate with a claim of that JSON.
func (c gcpCandidate) with(name, value string) gcpCandidate {
	claims := map[string]json.RawMessage{name: json.RawMessage(value)}
	for n, v := range c.variant.Claims {
		if n != name {
			claims[n] = v
		}
	}
	c.variant.Claims = claims
	return c
}

// gcpNames are what the documents name.
type gcpNames struct {
	org                                        string
	projects, users, origins, refs, contextIDs []string
	values                                     []string // of attributes that bindings ask for
}

func (n gcpNames) project() string {
	if len(n.projects) == 0 {
		return ""
	}
	return n.projects[0]
}

// expressions are all of the provider's.
func (l *gcpLinter) expressions() []*gcpExpression {
	var all []*gcpExpression
	for _, m := range l.p.mapping {
		all = append(all, m.gcpExpression)
	}
	if l.p.condition != nil {
		all = append(all, l.p.condition)
	}
	return all
}

// claim returns the claim that a reference stands for: also that of an
// attribute that is a claim as it is.
func (p *GCPProvider) claim(r gcpRef) (string, bool) {
	if r.variable == gcpAssertion {
		return r.name, true
	}
	if m := p.mapped(r.key()); m != nil {
		if inner, ok := gcpRefOf(m.root); ok && inner.variable == gcpAssertion && !inner.presence {
			return inner.name, true
		}
	}
	return "", false
}

// claims returns the claims that references hang on, through the mapping too.
func (p *GCPProvider) claims(refs []gcpRef) []string {
	var all []string
	add := func(name string) {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	for _, r := range refs {
		if r.variable == gcpAssertion {
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
func (l *gcpLinter) names() gcpNames {
	var n gcpNames
	uuid := regexp.MustCompile(uuidForm)
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
			if x.asks(gcpRef{gcpAssertion, claimContexts, false}) && uuid.MatchString(s) && s != n.org && !slices.Contains(n.projects, s) {
				n.contextIDs = gcpNote(n.contextIDs, s)
			}
		}
		for _, q := range l.p.patternsOf(x) {
			for _, s := range q.samples() {
				n.read(s)
				n.readPattern(q, s)
			}
		}
	}
	l.members(func(_ gcpBinding, m gcpMember, _, _ int) {
		g, ok := parsePrincipal(m.name)
		if !ok || g.pool != l.p.pool {
			return
		}
		n.read(g.rest)
		if name, value, ok := g.attribute(); ok {
			n.values = gcpNote(n.values, value)
			if claim, ok := l.p.claim(gcpRef{gcpAttribute, name, false}); ok {
				n.note(claim, value)
			}
		}
	})
	return n
}

// gcpNote adds to a short list what is not in it.
func gcpNote(all []string, s string) []string {
	if s == "" || slices.Contains(all, s) || len(all) >= 4 {
		return all
	}
	return append(all, s)
}

func (n *gcpNames) note(claim, value string) {
	uuid := regexp.MustCompile(uuidForm).MatchString(value)
	switch {
	case claim == claimOrg && uuid && n.org == "":
		n.org = value
	case claim == claimProject && uuid:
		n.projects = gcpNote(n.projects, value)
	case claim == claimOrigin && value != "":
		n.origins = gcpNote(n.origins, value)
	case claim == claimRef && strings.HasPrefix(value, "refs/"):
		n.refs = gcpNote(n.refs, value)
	}
}

// read takes names out of the parts of a subject.
func (n *gcpNames) read(s string) {
	const id = `([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})`
	if m := regexp.MustCompile(`org/` + id).FindStringSubmatch(s); m != nil && n.org == "" {
		n.org = m[1]
	}
	if m := regexp.MustCompile(`project/` + id).FindStringSubmatch(s); m != nil {
		n.projects = gcpNote(n.projects, m[1])
	}
	if m := regexp.MustCompile(`user/` + id).FindStringSubmatch(s); m != nil {
		n.users = gcpNote(n.users, m[1])
	}
	if m := regexp.MustCompile(`vcs-origin/([^'" ]+?)(?:/vcs-ref/|$)`).FindStringSubmatch(s); m != nil {
		n.origins = gcpNote(n.origins, gcpOriginLike(m[1]))
	}
	if m := regexp.MustCompile(`(?:^|/|:)(refs/(?:heads|tags)/[^'" ]*[^'" /])$`).FindStringSubmatch(s); m != nil {
		n.refs = gcpNote(n.refs, m[1])
	}
}

// gcpRefLike makes a whole ref of what a pattern looks for in one.
func gcpRefLike(s string) string {
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

// gcpOriginLike makes a whole repository of what a pattern looks for in one.
func gcpOriginLike(s string) string {
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
func (n *gcpNames) readPattern(q gcpPattern, s string) {
	n.read(s)
	if slices.Contains(q.claims, claimRef) {
		n.refs = gcpNote(n.refs, gcpRefLike(s))
	}
	if slices.Contains(q.claims, claimOrigin) {
		n.origins = gcpNote(n.origins, gcpOriginLike(s))
	}
}

// findInsider returns the token that the documents mean: one of those with
// their names that gets in, or the first of them.
func (l *gcpLinter) findInsider() gcpCandidate {
	var all []gcpCandidate
	for _, audience := range l.tryAudiences() {
		for _, project := range gcpOrSample(l.projects, oidc.SampleProject) {
			for _, origin := range gcpOrSample(l.origins, oidc.SampleOrigin) {
				for _, ref := range gcpOrSample(l.refs, "refs/heads/main") {
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

func gcpOrSample(all []string, sample string) []string {
	if len(all) == 0 {
		return []string{sample}
	}
	return all
}

// tryAudiences are some of those that the provider takes, and those that
// bindings ask for: a job can mint any.
func (l *gcpLinter) tryAudiences() []string {
	all := l.p.Audiences()
	var some []string
	for _, v := range l.values {
		if slices.Contains(all, v) {
			some = gcpNote(some, v)
		}
	}
	for _, a := range all {
		some = gcpNote(some, a)
	}
	return gcpOrSample(some, gcpOrElse(l.org, oidc.SampleOrg))
}

func (l *gcpLinter) candidate(audience, project, origin, ref string) gcpCandidate {
	c := gcpCandidate{variant: oidc.Variant{Org: l.org, Project: project, Origin: origin, Audience: audience}}
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
	case oidc.RootIssuer:
		c.variant.RootIssuer = true
	case oidc.OrgIssuer(gcpOrElse(l.org, oidc.SampleOrg)):
	default:
		c.issuer = l.p.issuer
	}
	if len(l.contextIDs) > 0 {
		if b, err := json.Marshal(l.contextIDs); err == nil {
			c = c.with(claimContexts, string(b))
		}
	}
	return c
}

// stranger is the insider's token in another project of the organisation, of
// another repository and another user, for every audience that could help.
func (l *gcpLinter) others(change func(*oidc.Variant)) []gcpCandidate {
	var all []gcpCandidate
	for _, audience := range l.tryAudiences() {
		for _, ref := range append([]string{""}, l.refs...) {
			c := l.insider
			if ref != "" {
				c = l.candidate(audience, "", "", ref)
			}
			c.variant.Project, c.variant.User, c.variant.Audience = gcpStrangerProject, gcpStrangerUser, audience
			c.variant.Origin = gcpOtherRepository(l.insider.variant.Origin)
			change(&c.variant)
			all = append(all, c)
		}
	}
	return all
}

func (l *gcpLinter) otherProjects() []gcpCandidate {
	return l.others(func(*oidc.Variant) {})
}

// otherOrganisations come through the root issuer, which no organisation owns.
func (l *gcpLinter) otherOrganisations() []gcpCandidate {
	return l.others(func(v *oidc.Variant) {
		v.Org, v.RootIssuer, v.Origin = gcpStrangerOrg, true, "github.com/stranger/app"
	})
}

// gcpOtherRepository is a repository of the same owner.
func gcpOtherRepository(origin string) string {
	i := strings.LastIndexByte(origin, '/')
	return origin[:i+1] + "another"
}

// literals returns the texts in an expression.
func (x *gcpExpression) literals() []string {
	var all []string
	ast.PostOrderVisit(x.root, ast.NewExprVisitor(func(e ast.Expr) {
		if s, ok := gcpLiteral(e); ok {
			all = append(all, s)
		}
	}))
	return all
}

func (x *gcpExpression) asks(r gcpRef) bool { return slices.Contains(x.refs, r) }

// A gcpCall is target.method(argument).
type gcpCall struct{ target, argument ast.Expr }

func (x *gcpExpression) calls(method string) []gcpCall {
	var all []gcpCall
	ast.PostOrderVisit(x.root, ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind {
			return
		}
		if c := e.AsCall(); c.FunctionName() == method && c.IsMemberFunction() && len(c.Args()) == 1 {
			all = append(all, gcpCall{c.Target(), c.Args()[0]})
		}
	}))
	return all
}
