package policy

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/common/operators"

	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// gcpMaxLintCost is what all tokens that are tried may cost together.
const gcpMaxLintCost = 2 * gcpMaxCost

// A gcpLinter looks for tokens that get in and should not.
type gcpLinter struct {
	p   *GCPProvider
	iam *IAMPolicy
	now time.Time
	gcpNames
	insider  gcpCandidate // that the documents mean, as far as they tell
	left     int64
	findings []Finding
	repair   gcpRepair
}

// Lint returns what is dangerous or useless in the provider, and with a service
// account's policy, in both together: the worst first. A witness is a token
// that Check of the same documents admits.
func (p *GCPProvider) Lint(iam *IAMPolicy, now time.Time) []Finding {
	l := &gcpLinter{p: p, iam: iam, now: now, left: gcpMaxLintCost}
	if l.iam == nil {
		l.iam = p.iam
	}
	l.gcpNames = l.names()
	l.insider = l.findInsider()
	for _, rule := range []func(){
		l.audiences, l.subject, l.claimNames, l.extracts, l.rerun, l.patterns, l.webhooks, l.contexts, l.issuer,
		l.bindings, l.numbers, l.limits, l.types, l.state,
	} {
		rule()
	}
	l.strangers() // after the rules that may explain them
	repaired := l.repaired()
	for i := range l.findings {
		if l.findings[i].Fix == "" {
			l.findings[i].Fix = repaired
		}
	}
	if l.left <= 0 {
		l.add(Finding{ID: "G13", Severity: Medium, Where: l.p.word("attributeCondition"),
			Message: "the expressions take more than this program spends on them, so that not everything was tried",
			Fix:     "write simpler expressions"})
	}
	slices.SortStableFunc(l.findings, func(a, b Finding) int {
		return cmp.Or(slices.Index(Severities(), a.Severity)-slices.Index(Severities(), b.Severity), strings.Compare(gcpOrdered(a.ID), gcpOrdered(b.ID)))
	})
	return l.findings
}

// gcpOrdered makes G2 come before G10.
func gcpOrdered(id string) string { return fmt.Sprintf("%4s", strings.TrimPrefix(id, "G")) }

func (l *gcpLinter) add(f Finding) { l.findings = append(l.findings, f) }

// placed puts a place of the provider's document into a finding.
func (f Finding) placed(at position) Finding {
	f.Line, f.Column = at.line, at.column
	return f
}

// atMember puts a place of the policy into a finding. A policy of its own has
// lines of its own, which are not the document's.
func (l *gcpLinter) atMember(f Finding, binding, member int) Finding {
	f.Where = fmt.Sprintf("%sbindings[%d].members[%d]", l.iam.prefix, binding, member)
	if l.iam.prefix != "" {
		f = f.placed(l.iam.bindings[binding].members[member].position)
	}
	return f
}

func (l *gcpLinter) has(id string) bool {
	return slices.ContainsFunc(l.findings, func(f Finding) bool { return f.ID == id && f.Witness != nil })
}

// admitted returns the claims of the first candidate that gets in, V2's before
// V1's: they say more.
func (l *gcpLinter) admitted(iam *IAMPolicy, candidates ...gcpCandidate) (Claims, gcpCandidate) {
	return l.judged(Allow, iam, candidates...)
}

// judged returns the claims of the first candidate with that verdict.
func (l *gcpLinter) judged(v Verdict, iam *IAMPolicy, candidates ...gcpCandidate) (Claims, gcpCandidate) {
	for _, c := range candidates {
		v1, v2 := c.claims(l.now)
		for _, claims := range []Claims{v2, v1} {
			if l.left <= 0 {
				return nil, c
			}
			run := newGCPRun(claims, min(l.left, gcpMaxCost))
			before := run.left
			j := l.p.check(GCPRequest{Claims: claims, IAM: iam, Now: l.now}, run)
			l.left -= before - max(run.left, 0)
			if j.Verdict == v {
				return claims, c
			}
		}
	}
	return nil, gcpCandidate{}
}

// outcome evaluates an expression for the claims, with what the mapping gives.
func (l *gcpLinter) outcome(x *gcpExpression, c Claims) gcpOutcome {
	run := newGCPRun(c, min(max(l.left, 0), gcpMaxCost))
	before := run.left
	attributes, _ := l.p.evaluate(c, run)
	run.know(attributes)
	o := run.eval(x)
	l.left -= before - max(run.left, 0)
	return o
}

// audiences is G2.
func (l *gcpLinter) audiences() {
	if len(l.p.audiences) > 0 {
		return
	}
	l.add(Finding{ID: "G2", Severity: High, Where: l.p.word("oidc.allowedAudiences"),
		Message: "no audience is allowed but the provider's own name, which CircleCI's tokens have only where a job mints one for it: the default is the organisation's id",
		Fix:     fmt.Sprintf("[%q]", gcpOrElse(l.org, "the organisation's id")),
	}.placed(l.p.oidcPlace))
}

// subject is G3: what a V2 token's subject needs.
func (l *gcpLinter) subject() {
	m := l.p.mapped(gcpSubject)
	if m == nil {
		l.add(Finding{ID: "G13", Severity: Medium, Where: l.p.word("attributeMapping"),
			Message: "there is no mapping for google.subject, without which Google takes no token",
			Fix:     `"google.subject": ` + gcpShow(gcpMappingFor("'")[gcpSubject])}.placed(l.p.mappingPlace))
		return
	}
	v1, v2 := l.insider.claims(l.now)
	size := func(c Claims) int {
		s, _ := l.outcome(m.gcpExpression, c).value.(string)
		return len(s)
	}
	n1, n2 := size(v1), size(v2)
	if n2 <= gcpMaxSubject {
		return
	}
	fix := "assertion.sub.split('/vcs-origin/')[0]"
	which := "no V2 token"
	if n1 > gcpMaxSubject {
		fix, which = gcpMappingFor("'")[gcpSubject], "no token"
	}
	l.add(Finding{ID: "G3", Severity: High, Where: m.where,
		Message: fmt.Sprintf("%s fits: google.subject would have %d bytes, and there is room for %d", which, n2, gcpMaxSubject), Fix: fix}.placed(m.position))
}

// claimNames is G4 and G5: claims that no token has.
func (l *gcpLinter) claimNames() {
	for _, x := range l.expressions() {
		for _, r := range x.refs {
			if r.variable != gcpAssertion || r.presence || slices.Contains(gcpClaims(), r.name) || x.asks(gcpRef{r.variable, r.name, true}) {
				continue
			}
			f := Finding{ID: "G5", Severity: High, Where: x.where, Message: "this never has a value: " + gcpAbsent(r.name)}
			if _, ok := gcpMeant(r.name); ok && !strings.Contains(r.name, "/") {
				f.ID = "G4"
			}
			if x != l.p.condition {
				f.Fix = l.corrected(x.text, x)
			}
			l.add(f.placed(x.position))
		}
	}
}

// corrected gives the claims in an expression the names that they have, and
// takes the user's id from where it is in every subject.
func (l *gcpLinter) corrected(text string, x *gcpExpression) string {
	for _, r := range x.refs {
		if r.variable != gcpAssertion || slices.Contains(gcpClaims(), r.name) {
			continue
		}
		if meant, ok := gcpMeant(r.name); ok {
			text = gcpRewrite(text, r.name, meant)
		} else if r.name == "oidc" {
			text = gcpUndot(text)
		} else if _, name, found := strings.Cut(r.name, "}/"); found && slices.Contains(gcpClaims(), claimPrefix+name) {
			text = strings.ReplaceAll(text, r.name, claimPrefix+name)
		}
	}
	for _, template := range l.emptyExtracts(x) {
		for _, q := range []string{"'", `"`} {
			text = strings.ReplaceAll(text, "assertion.sub.extract("+q+template+q+")", "assertion.sub.split('/')[5]")
		}
	}
	return text
}

// gcpRewrite gives a claim its right name, however it was written.
func gcpRewrite(text, wrong, claim string) string {
	for _, q := range []string{"'", `"`} {
		text = strings.ReplaceAll(text, gcpAssertion+"["+q+wrong+q+"]", gcpWritten(claim))
	}
	return regexp.MustCompile(`\bassertion\.`+regexp.QuoteMeta(wrong)+`\b`).ReplaceAllLiteralString(text, gcpWritten(claim))
}

// gcpUndot writes assertion.oidc.circleci.com['x'] and its like as one name.
func gcpUndot(text string) string {
	return regexp.MustCompile(`\bassertion\.oidc(?:\.circleci)?(?:\.com)?(?:\[['"]/?([a-z-]+)['"]\]|\.([a-z_]+))?`).ReplaceAllStringFunc(text, func(s string) string {
		name := strings.Trim(s[strings.LastIndexAny(s, ".[")+1:], `'"/]`)
		name = strings.ReplaceAll(name, "_", "-")
		if !slices.Contains(gcpClaims(), claimPrefix+name) {
			name = "project-id"
		}
		return gcpWritten(claimPrefix + name)
	})
}

// extracts is the other half of G4: extract of what V1 subjects do not have.
func (l *gcpLinter) extracts() {
	for _, x := range l.expressions() {
		for _, template := range l.emptyExtracts(x) {
			f := Finding{ID: "G4", Severity: High, Where: x.where,
				Message: fmt.Sprintf("extract(%s) is empty for every V1 token and for webhooks, whose subject ends with the user's id, so that all users become one", gcpShow(template))}
			if x != l.p.condition {
				f.Fix = l.corrected(x.text, x)
			}
			l.add(f.placed(x.position))
		}
	}
}

// emptyExtracts returns the templates that find something in V2 subjects alone.
func (l *gcpLinter) emptyExtracts(x *gcpExpression) []string {
	v1, v2 := l.insider.claims(l.now)
	sub1, _ := v1.text("sub")
	sub2, _ := v2.text("sub")
	var all []string
	for _, call := range x.calls("extract") {
		target, ofClaim := gcpRefOf(call.target)
		template, isText := gcpLiteral(call.argument)
		if !ofClaim || !isText || target.name != "sub" {
			continue
		}
		one, _ := gcpExtract(sub1, template)
		if two, fine := gcpExtract(sub2, template); fine && one == "" && two != "" {
			all = append(all, template)
		}
	}
	return all
}

// rerun is G7.
func (l *gcpLinter) rerun() {
	ssh := l.insider
	ssh.variant.SSHRerun = true
	seen := false
	for _, x := range l.expressions() {
		for _, r := range x.refs {
			claim, _ := l.p.claim(r)
			seen = seen || claim == claimSSHRerun
		}
	}
	if x := l.p.condition; x != nil {
		for _, cmp := range x.comparisons() {
			if claim, _ := l.p.claim(cmp.ref); claim == claimSSHRerun {
				l.textRerun(x, cmp, ssh)
			}
		}
	}
	if seen {
		return
	}
	if w, _ := l.admitted(l.iam, ssh); w != nil {
		l.repair.noRerun = true
		l.add(Finding{ID: "G7", Severity: Info, Where: l.p.word("attributeCondition"), Witness: w,
			Message: "nothing looks at ssh-rerun: a job that somebody may be logged in to gets in"}.placed(l.place()))
	}
}

func (l *gcpLinter) textRerun(x *gcpExpression, cmp gcpComparison, ssh gcpCandidate) {
	f := Finding{ID: "G7", Severity: High, Where: x.where,
		Message: fmt.Sprintf("ssh-rerun is a boolean, which never equals the text %s: ", gcpShow(cmp.text))}
	if f.Witness, _ = l.admitted(l.iam, ssh); f.Witness != nil {
		f.Severity = Critical
	}
	if cmp.equal {
		f.Message += "what asks for that admits nobody"
	} else {
		f.Message += "the comparison is true for every token"
	}
	l.add(f.placed(x.position))
}

func gcpNoRerun(q gcpQuote) string {
	return q.text(claimSSHRerun) + " in assertion && " + q.claim(claimSSHRerun) + " == false"
}

// webhooks is G9.
func (l *gcpLinter) webhooks() {
	hook := l.insider
	hook.variant.Webhook, hook.variant.Tag = true, ""
	_, claims := hook.claims(l.now)
	for _, claim := range []string{claimOrigin, claimRef} {
		lacks := "no such key: " + claim
		for _, m := range l.p.mapping {
			if o := l.outcome(m.gcpExpression, claims); strings.HasPrefix(o.err, lacks) {
				l.add(Finding{ID: "G9", Severity: Medium, Where: m.where,
					Message: fmt.Sprintf("the token of a pipeline that a webhook started has no %s, and what Google makes of an attribute without a value is not documented", claim),
					Fix:     fmt.Sprintf("'%s' in assertion ? %s : ''", claim, m.text)}.placed(m.position))
			}
		}
		if x := l.p.condition; x != nil && x.asks(gcpRef{gcpAssertion, claim, false}) {
			l.webhookCondition(x, claim, lacks, hook, claims)
		}
	}
}

func (l *gcpLinter) webhookCondition(x *gcpExpression, claim, lacks string, hook gcpCandidate, claims Claims) {
	f := Finding{ID: "G9", Severity: Medium, Where: x.where}.placed(x.position)
	if o := l.outcome(x, claims); strings.HasPrefix(o.err, lacks) {
		l.repair.guards = true
		f.Message = fmt.Sprintf("the token of a pipeline that a webhook started has no %s: it is refused by an error, which an || would swallow", claim)
		l.add(f)
		return
	}
	if x.asks(gcpRef{gcpAssertion, claim, true}) || !slices.Contains(x.functions(), operators.LogicalOr) {
		return
	}
	if f.Witness, _ = l.admitted(l.iam, hook); f.Witness != nil {
		l.repair.guards = true
		f.Message = fmt.Sprintf("the token of a pipeline that a webhook started has no %s, and || swallows the error: it gets in", claim)
		l.add(f)
	}
}

// contexts is G10.
func (l *gcpLinter) contexts() {
	x := l.p.condition
	if x == nil || !x.asks(gcpRef{gcpAssertion, claimContexts, false}) {
		return
	}
	_, claims := l.insider.with(claimContexts, "null").claims(l.now)
	if o := l.outcome(x, claims); o.err == "" {
		return
	}
	l.repair.contexts = true
	l.add(Finding{ID: "G10", Severity: Medium, Where: x.where,
		Message: "context-ids may be null, and then the condition cannot be evaluated: the token is refused by an error, which an || would swallow",
	}.placed(x.position))
}

// state is G18.
func (l *gcpLinter) state() {
	if l.p.checkState().Verdict == Allow {
		return
	}
	l.add(Finding{ID: "G18", Severity: Info, Where: "state",
		Message: "the provider is disabled or deleted: nobody gets in, and no token could be tried",
		Fix:     "enable it to see who would"})
}

// issuer is G11 and G16.
func (l *gcpLinter) issuer() {
	org, ok := strings.CutPrefix(l.p.issuer, oidc.OrgIssuer(""))
	switch {
	case l.p.issuer == oidc.RootIssuer:
		l.rootIssuer()
	case ok && !regexp.MustCompile(uuidForm).MatchString(org),
		!ok && strings.Contains(l.p.issuer, "oidc.circleci.com"), strings.HasPrefix(l.p.issuer, "http://"):
		l.add(Finding{ID: "G16", Severity: High, Where: l.p.word("oidc.issuerUri"),
			Message: "no token of CircleCI's has this issuer, so that nobody gets in",
			Fix:     oidc.OrgIssuer(gcpOrElse(l.org, "UUID of the organisation"))}.placed(l.p.issuerPlace))
	}
}

func (l *gcpLinter) rootIssuer() {
	w, _ := l.admitted(l.iam, l.otherOrganisations()...)
	if w == nil {
		return
	}
	l.add(Finding{ID: "G11", Severity: Critical, Where: l.p.word("oidc.issuerUri"), Witness: w,
		Message: "the issuer signs for every organisation of CircleCI's, and nothing asks for one: whoever has an account there gets in",
		Fix:     oidc.OrgIssuer(gcpOrElse(l.org, "UUID of the organisation"))}.placed(l.p.issuerPlace))
}

// strangers is G1: a token of another project, with nothing crafted in it.
func (l *gcpLinter) strangers() {
	if l.has("G6") || l.has("G11") {
		return
	}
	w, _ := l.admitted(l.iam, l.otherProjects()...)
	if w == nil {
		l.perhapsStrangers()
		return
	}
	l.repair.project = true
	f := Finding{ID: "G1", Severity: Critical, Where: l.p.word("attributeCondition"), Witness: w, Message: "every project of the organisation gets in"}
	if l.iam == nil {
		f.Severity = High
		f.Message += " to the pool: what its identities may do hangs on the bindings alone"
	}
	l.add(f.placed(l.place()))
}

// perhapsStrangers is G1 where the policy leaves it open.
func (l *gcpLinter) perhapsStrangers() {
	others := l.otherProjects()
	if open, _ := l.judged(Undecided, l.iam, others...); open == nil {
		return
	}
	if w, _ := l.admitted(nil, others...); w == nil {
		return
	}
	l.repair.project = true
	l.add(Finding{ID: "G1", Severity: High, Where: l.p.word("attributeCondition"),
		Message: "every project of the organisation gets in to the pool, and whether a binding lets it on is not in the documents",
	}.placed(l.place()))
}

// place is the condition's, or where it belongs.
func (l *gcpLinter) place() position {
	if l.p.condition != nil {
		return l.p.condition.position
	}
	return l.p.mappingPlace
}

// numbers is G14.
func (l *gcpLinter) numbers() {
	wrong := func(number string) string {
		if strings.ContainsAny(number, ".eE") && regexp.MustCompile(gcpMangledNumber).MatchString(number) {
			return "YAML or a spreadsheet made a floating-point number of the project's number"
		}
		return "the project's id stands where its number belongs"
	}
	if l.p.name != "" && l.p.number == "" {
		project := strings.Split(l.p.name, "/")[1]
		l.add(Finding{ID: "G14", Severity: Medium, Where: "name", Message: wrong(project),
			Fix: strings.Replace(l.p.name, "projects/"+project+"/", "projects/NUMBER/", 1)}.placed(l.p.namePlace))
	}
	l.members(func(b gcpBinding, m gcpMember, i, k int) {
		g, ok := parsePrincipal(m.name)
		if !ok || regexp.MustCompile(gcpNumber).MatchString(g.project) {
			return
		}
		l.add(l.atMember(Finding{ID: "G14", Severity: Medium, Message: wrong(g.project) + ": nobody is this principal",
			Fix: strings.Replace(m.name, "/projects/"+g.project+"/", "/projects/"+gcpOrElse(l.p.number, "NUMBER")+"/", 1)}, i, k))
	})
}

// limits is G13.
func (l *gcpLinter) limits() {
	for _, over := range l.p.overLimits() {
		l.add(Finding{ID: "G13", Severity: Medium, Where: over.where, Message: "Google takes no such provider: " + over.what,
			Fix: "keep within Google's limits"}.placed(over.position))
	}
	_, v2 := l.insider.claims(l.now)
	attributes, _ := l.p.evaluate(v2, newGCPRun(v2, min(max(l.left, 0), gcpMaxCost)))
	if r, over := l.p.size(attributes); over {
		l.add(Finding{ID: "G13", Severity: Medium, Where: r.Name, Message: r.why, Fix: "map less"}.placed(l.p.mappingPlace))
	}
}

// types is G17. Such an attribute leaves every token undecided, so that no
// witness can be found.
func (l *gcpLinter) types() {
	_, v2 := l.insider.claims(l.now)
	for _, m := range l.p.mapping {
		o := l.outcome(m.gcpExpression, v2)
		if _, isText := o.value.(string); isText || o.err != "" || m.key == gcpSubject {
			continue
		}
		if _, isList := gcpTexts(o.value); isList && m.key == gcpGroups {
			continue
		}
		l.add(Finding{ID: "G17", Severity: Medium, Where: m.where,
			Message: fmt.Sprintf("%s is %s, and what Google makes of that is not documented: no token could be tried", m.key, gcpTypeName(o.value)),
			Fix:     "string(" + m.text + ")"}.placed(m.position))
	}
}

func (l *gcpLinter) members(visit func(b gcpBinding, m gcpMember, i, k int)) {
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
func (l *gcpLinter) bindings() {
	if l.iam == nil {
		return
	}
	bound := false
	l.members(func(b gcpBinding, m gcpMember, i, k int) {
		g, ok := parsePrincipal(m.name)
		ours := ok && g.pool == l.p.pool && (l.p.number == "" || g.project == l.p.number)
		if impersonates(b.role) == no {
			return
		}
		bound = bound || ours || m.name == "allUsers"
		if name, value, ok := g.attribute(); ok && ours {
			l.attributeBinding(b, m, i, k, name, value)
		}
	})
	if !bound {
		l.add(Finding{ID: "G15", Severity: Info, Where: l.iam.prefix + "bindings",
			Message: "no binding lets an identity of this pool impersonate the service account",
			Fix:     fmt.Sprintf("grant %s to %s", gcpUserRole, l.safeMember())})
	}
}

func (l *gcpLinter) attributeBinding(b gcpBinding, m gcpMember, i, k int, name, value string) {
	mapping := l.p.mapped(gcpAttributePrefix + name)
	switch {
	case mapping == nil:
		l.add(l.atMember(Finding{ID: "G15", Severity: Info, Message: fmt.Sprintf("the mapping gives no attribute.%s: nobody is this principal", name),
			Fix: l.safeMember()}, i, k))
		return
	case strings.Contains(value, "/"+gcpAttributePrefix):
		l.add(l.atMember(Finding{ID: "G12", Severity: Medium, Message: "a principal set has one attribute, and the rest is taken for its value: nobody is this principal",
			Fix: "map both into one attribute, and grant the role to that"}, i, k))
		return
	}
	alone := &IAMPolicy{bindings: []gcpBinding{{role: b.role, members: []gcpMember{m}, conditional: b.conditional}}}
	w, _ := l.admitted(alone, l.otherProjects()...)
	if w == nil {
		return
	}
	claims := l.p.claims(mapping.refs)
	switch {
	case slices.Contains(claims, "aud"):
		l.add(l.atMember(Finding{ID: "G6", Severity: Critical, Witness: w,
			Message: fmt.Sprintf("attribute.%s goes by the audience, which every job chooses: any project of the organisation is this principal", name),
			Fix:     l.safeMember()}, i, k))
	case slices.Contains(claims, claimRef):
		l.add(l.atMember(Finding{ID: "G12", Severity: Medium, Witness: w,
			Message: fmt.Sprintf("attribute.%s goes by the branch: every project of the organisation with such a branch is this principal", name),
			Fix:     l.safeMember()}, i, k))
	}
}

// safeMember is the principal that no other project can be.
func (l *gcpLinter) safeMember() string {
	name := gcpProjectAttribute
	for _, m := range l.p.mapping {
		if r, ok := gcpRefOf(m.root); ok && r == (gcpRef{gcpAssertion, claimProject, false}) && strings.HasPrefix(m.key, gcpAttributePrefix) {
			name = m.key
		}
	}
	pool := "projects/" + gcpOrElse(l.p.number, "NUMBER") + gcpPoolPath + l.p.pool
	return principalName(pool, name+"/"+gcpOrElse(l.project(), "UUID of the project"))
}

func gcpOrElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
