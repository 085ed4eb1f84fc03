package wif

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// numbers is G14.
func (l *linter) numbers() {
	wrong := func(number string) string {
		if strings.ContainsAny(number, ".eE") && regexp.MustCompile(mangledNumber).MatchString(number) {
			return "YAML or a spreadsheet made a floating-point number of the project's number"
		}
		return "the project's id stands where its number belongs"
	}
	if l.p.name != "" && l.p.number == "" {
		project := strings.Split(l.p.name, "/")[1]
		l.add(policy.Finding{ID: "G14", Severity: policy.Medium, Where: "name", Message: wrong(project),
			Fix: strings.Replace(l.p.name, "projects/"+project+"/", "projects/NUMBER/", 1)}.At(l.p.namePlace))
	}
	l.members(func(b binding, m member, i, k int) {
		g, ok := parsePrincipal(m.name)
		if !ok || regexp.MustCompile(number).MatchString(g.project) {
			return
		}
		l.add(l.atMember(policy.Finding{ID: "G14", Severity: policy.Medium, Message: wrong(g.project) + ": nobody is this principal",
			Fix: strings.Replace(m.name, "/projects/"+g.project+"/", "/projects/"+orElse(l.p.number, "NUMBER")+"/", 1)}, i, k))
	})
}

// limits is G13.
func (l *linter) limits() {
	for _, over := range l.p.overLimits() {
		l.add(policy.Finding{ID: "G13", Severity: policy.Medium, Where: over.where, Message: "Google takes no such provider: " + over.what,
			Fix: "keep within Google's limits"}.At(over.Position))
	}
	_, v2 := l.insider.claims(l.now)
	attributes, _ := l.p.evaluate(v2, newRun(v2, min(max(l.left, 0), maxCost)))
	if r, over := l.p.size(attributes); over {
		l.add(policy.Finding{ID: "G13", Severity: policy.Medium, Where: r.Name, Message: r.why, Fix: "map less"}.At(l.p.mappingPlace))
	}
}

// types is G17. Such an attribute leaves every token undecided, so that no
// witness can be found.
func (l *linter) types() {
	_, v2 := l.insider.claims(l.now)
	for _, m := range l.p.mapping {
		o := l.outcome(m.celExpression, v2)
		if _, isText := o.value.(string); isText || o.err != "" || m.key == subject {
			continue
		}
		if _, isList := texts(o.value); isList && m.key == groups {
			continue
		}
		l.add(policy.Finding{ID: "G17", Severity: policy.Medium, Where: m.where,
			Message: fmt.Sprintf("%s is %s, and what Google makes of that is not documented: no token could be tried", m.key, typeName(o.value)),
			Fix:     "string(" + m.text + ")"}.At(m.Position))
	}
}

func (l *linter) members(visit func(b binding, m member, i, k int)) {
	if l.iam == nil {
		return
	}
	for i, b := range l.iam.bindings {
		for k, m := range b.members {
			visit(b, m, i, k)
		}
	}
}

// bindings is G6, G12 and G15.
func (l *linter) bindings() {
	if l.iam == nil {
		return
	}
	bound := false
	l.members(func(b binding, m member, i, k int) {
		g, ok := parsePrincipal(m.name)
		ours := ok && g.pool == l.p.pool && (l.p.number == "" || g.project == l.p.number)
		if impersonates(b.role) == policy.No {
			return
		}
		bound = bound || ours || m.name == "allUsers"
		if name, value, ok := g.attribute(); ok && ours {
			l.attributeBinding(b, m, i, k, name, value)
		}
	})
	if !bound {
		l.add(policy.Finding{ID: "G15", Severity: policy.Info, Where: l.iam.prefix + "bindings",
			Message: "no binding lets an identity of this pool impersonate the service account",
			Fix:     fmt.Sprintf("grant %s to %s", userRole, l.safeMember())})
	}
}

func (l *linter) attributeBinding(b binding, m member, i, k int, name, value string) {
	mapping := l.p.mapped(attributePrefix + name)
	switch {
	case mapping == nil:
		l.add(l.atMember(policy.Finding{ID: "G15", Severity: policy.Info, Message: fmt.Sprintf("the mapping gives no attribute.%s: nobody is this principal", name),
			Fix: l.safeMember()}, i, k))
		return
	case strings.Contains(value, "/"+attributePrefix):
		l.add(l.atMember(policy.Finding{ID: "G12", Severity: policy.Medium, Message: "a principal set has one attribute, and the rest is taken for its value: nobody is this principal",
			Fix: "map both into one attribute, and grant the role to that"}, i, k))
		return
	}
	alone := &IAMPolicy{bindings: []binding{{role: b.role, members: []member{m}, conditional: b.conditional}}}
	w, _ := l.admitted(alone, l.otherProjects()...)
	if w == nil {
		return
	}
	claims := l.p.claims(mapping.refs)
	switch {
	case slices.Contains(claims, "aud"):
		l.add(l.atMember(policy.Finding{ID: "G6", Severity: policy.Critical, Witness: w,
			Message: fmt.Sprintf("attribute.%s goes by the audience, which every job chooses: any project of the organisation is this principal", name),
			Fix:     l.safeMember()}, i, k))
	case slices.Contains(claims, policy.ClaimRef):
		l.add(l.atMember(policy.Finding{ID: "G12", Severity: policy.Medium, Witness: w,
			Message: fmt.Sprintf("attribute.%s goes by the branch: every project of the organisation with such a branch is this principal", name),
			Fix:     l.safeMember()}, i, k))
	}
}

// safeMember is the principal that no other project can be.
func (l *linter) safeMember() string {
	name := projectAttribute
	for _, m := range l.p.mapping {
		if r, ok := refOf(m.root); ok && r == (celRef{assertion, policy.ClaimProject, false}) && strings.HasPrefix(m.key, attributePrefix) {
			name = m.key
		}
	}
	pool := "projects/" + orElse(l.p.number, "NUMBER") + poolPath + l.p.pool
	return principalName(pool, name+"/"+orElse(l.project(), "UUID of the project"))
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
