package wif

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/common/operators"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/document"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// maxLintCost is what all tokens that are tried may cost together.
const maxLintCost = 2 * maxCost

// A linter looks for tokens that get in and should not.
type linter struct {
	p   *Provider
	iam *IAMPolicy
	now time.Time
	reads
	insider  candidate // that the documents mean, as far as they tell
	left     int64
	findings []policy.Finding
	repair   repair
}

// Lint returns what is dangerous or useless in the provider, and with a service
// account's policy, in both together: the worst first. A witness is a token
// that Check of the same documents admits.
func (p *Provider) Lint(iam *IAMPolicy, now time.Time) []policy.Finding {
	l := &linter{p: p, iam: iam, now: now, left: maxLintCost}
	if l.iam == nil {
		l.iam = p.iam
	}
	l.reads = l.names()
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
		l.add(policy.Finding{ID: "G13", Severity: policy.Medium, Where: l.p.word("attributeCondition"),
			Message: "the expressions take more than this program spends on them, so that not everything was tried",
			Fix:     "write simpler expressions"})
	}
	slices.SortStableFunc(l.findings, func(a, b policy.Finding) int {
		return cmp.Or(slices.Index(policy.Severities(), a.Severity)-slices.Index(policy.Severities(), b.Severity), strings.Compare(ordered(a.ID), ordered(b.ID)))
	})
	return l.findings
}

// ordered makes G2 come before G10.
func ordered(id string) string { return fmt.Sprintf("%4s", strings.TrimPrefix(id, "G")) }

func (l *linter) add(f policy.Finding) { l.findings = append(l.findings, f) }

// atMember puts a place of the policy into a finding. A policy of its own has
// lines of its own, which are not the document's.
func (l *linter) atMember(f policy.Finding, binding, member int) policy.Finding {
	f.Where = fmt.Sprintf("%sbindings[%d].members[%d]", l.iam.prefix, binding, member)
	if l.iam.prefix != "" {
		f = f.At(l.iam.bindings[binding].members[member].Position)
	}
	return f
}

func (l *linter) has(id string) bool {
	return slices.ContainsFunc(l.findings, func(f policy.Finding) bool { return f.ID == id && f.Witness != nil })
}

// admitted returns the claims of the first candidate that gets in, V2's before
// V1's: they say more.
func (l *linter) admitted(iam *IAMPolicy, candidates ...candidate) (policy.Claims, candidate) {
	return l.judged(policy.Allow, iam, candidates...)
}

// judged returns the claims of the first candidate with that verdict.
func (l *linter) judged(v policy.Verdict, iam *IAMPolicy, candidates ...candidate) (policy.Claims, candidate) {
	for _, c := range candidates {
		v1, v2 := c.claims(l.now)
		for _, claims := range []policy.Claims{v2, v1} {
			if l.left <= 0 {
				return nil, c
			}
			run := newRun(claims, min(l.left, maxCost))
			before := run.left
			j := l.p.check(Request{Claims: claims, IAM: iam, Now: l.now}, run)
			l.left -= before - max(run.left, 0)
			if j.Verdict == v {
				return claims, c
			}
		}
	}
	return nil, candidate{}
}

// outcome evaluates an expression for the claims, with what the mapping gives.
func (l *linter) outcome(x *celExpression, c policy.Claims) outcome {
	run := newRun(c, min(max(l.left, 0), maxCost))
	before := run.left
	attributes, _ := l.p.evaluate(c, run)
	run.know(attributes)
	o := run.eval(x)
	l.left -= before - max(run.left, 0)
	return o
}

// audiences is G2.
func (l *linter) audiences() {
	if len(l.p.audiences) > 0 {
		return
	}
	l.add(policy.Finding{ID: "G2", Severity: policy.High, Where: l.p.word("oidc.allowedAudiences"),
		Message: "no audience is allowed but the provider's own name, which CircleCI's tokens have only where a job mints one for it: the default is the organisation's id",
		Fix:     fmt.Sprintf("[%q]", orElse(l.org, "the organisation's id")),
	}.At(l.p.oidcPlace))
}

// subject is G3: what a V2 token's subject needs.
func (l *linter) subject() {
	m := l.p.mapped(subject)
	if m == nil {
		l.add(policy.Finding{ID: "G13", Severity: policy.Medium, Where: l.p.word("attributeMapping"),
			Message: "there is no mapping for google.subject, without which Google takes no token",
			Fix:     `"google.subject": ` + show(mappingFor("'")[subject])}.At(l.p.mappingPlace))
		return
	}
	v1, v2 := l.insider.claims(l.now)
	size := func(c policy.Claims) int {
		s, _ := l.outcome(m.celExpression, c).value.(string)
		return len(s)
	}
	n1, n2 := size(v1), size(v2)
	if n2 <= maxSubject {
		return
	}
	fix := "assertion.sub.split('/vcs-origin/')[0]"
	which := "no V2 token"
	if n1 > maxSubject {
		fix, which = mappingFor("'")[subject], "no token"
	}
	l.add(policy.Finding{ID: "G3", Severity: policy.High, Where: m.where,
		Message: fmt.Sprintf("%s fits: google.subject would have %d bytes, and there is room for %d", which, n2, maxSubject), Fix: fix}.At(m.Position))
}

// claimNames is G4 and G5: claims that no token has.
func (l *linter) claimNames() {
	for _, x := range l.expressions() {
		for _, r := range x.refs {
			if r.variable != assertion || r.presence || slices.Contains(claims(), r.name) || x.asks(celRef{r.variable, r.name, true}) {
				continue
			}
			f := policy.Finding{ID: "G5", Severity: policy.High, Where: x.where, Message: "this never has a value: " + absent(r.name)}
			if _, ok := meant(r.name); ok && !strings.Contains(r.name, "/") {
				f.ID = "G4"
			}
			if x != l.p.condition {
				f.Fix = l.corrected(x.text, x)
			}
			l.add(f.At(x.Position))
		}
	}
}

// corrected gives the claims in an expression the names that they have, and
// takes the user's id from where it is in every subject.
func (l *linter) corrected(text string, x *celExpression) string {
	for _, r := range x.refs {
		if r.variable != assertion || slices.Contains(claims(), r.name) {
			continue
		}
		if meant, ok := meant(r.name); ok {
			text = rewrite(text, r.name, meant)
		} else if r.name == "oidc" {
			text = undot(text)
		} else if _, name, found := strings.Cut(r.name, "}/"); found && slices.Contains(claims(), policy.ClaimPrefix+name) {
			text = strings.ReplaceAll(text, r.name, policy.ClaimPrefix+name)
		}
	}
	for _, template := range l.emptyExtracts(x) {
		for _, q := range []string{"'", `"`} {
			text = strings.ReplaceAll(text, "assertion.sub.extract("+q+template+q+")", "assertion.sub.split('/')[5]")
		}
	}
	return text
}

// rewrite gives a claim its right name, however it was written.
func rewrite(text, wrong, claim string) string {
	for _, q := range []string{"'", `"`} {
		text = strings.ReplaceAll(text, assertion+"["+q+wrong+q+"]", written(claim))
	}
	return regexp.MustCompile(`\bassertion\.`+regexp.QuoteMeta(wrong)+`\b`).ReplaceAllLiteralString(text, written(claim))
}

// undot writes assertion.oidc.circleci.com['x'] and its like as one name.
func undot(text string) string {
	return regexp.MustCompile(`\bassertion\.oidc(?:\.circleci)?(?:\.com)?(?:\[['"]/?([a-z-]+)['"]\]|\.([a-z_]+))?`).ReplaceAllStringFunc(text, func(s string) string {
		name := strings.Trim(s[strings.LastIndexAny(s, ".[")+1:], `'"/]`)
		name = strings.ReplaceAll(name, "_", "-")
		if !slices.Contains(claims(), policy.ClaimPrefix+name) {
			name = "project-id"
		}
		return written(policy.ClaimPrefix + name)
	})
}

// extracts is the other half of G4: extract of what V1 subjects do not have.
func (l *linter) extracts() {
	for _, x := range l.expressions() {
		for _, template := range l.emptyExtracts(x) {
			f := policy.Finding{ID: "G4", Severity: policy.High, Where: x.where,
				Message: fmt.Sprintf("extract(%s) is empty for every V1 token and for webhooks, whose subject ends with the user's id, so that all users become one", show(template))}
			if x != l.p.condition {
				f.Fix = l.corrected(x.text, x)
			}
			l.add(f.At(x.Position))
		}
	}
}

// emptyExtracts returns the templates that find something in V2 subjects alone.
func (l *linter) emptyExtracts(x *celExpression) []string {
	v1, v2 := l.insider.claims(l.now)
	sub1, _ := v1.Text("sub")
	sub2, _ := v2.Text("sub")
	var all []string
	for _, call := range x.calls("extract") {
		target, ofClaim := refOf(call.target)
		template, isText := literal(call.argument)
		if !ofClaim || !isText || target.name != "sub" {
			continue
		}
		one, _ := extract(sub1, template)
		if two, fine := extract(sub2, template); fine && one == "" && two != "" {
			all = append(all, template)
		}
	}
	return all
}

// rerun is G7.
func (l *linter) rerun() {
	ssh := l.insider
	ssh.variant.SSHRerun = true
	seen := false
	for _, x := range l.expressions() {
		for _, r := range x.refs {
			claim, _ := l.p.claim(r)
			seen = seen || claim == policy.ClaimSSHRerun
		}
	}
	if x := l.p.condition; x != nil {
		for _, cmp := range x.comparisons() {
			if claim, _ := l.p.claim(cmp.ref); claim == policy.ClaimSSHRerun {
				l.textRerun(x, cmp, ssh)
			}
		}
	}
	if seen {
		return
	}
	if w, _ := l.admitted(l.iam, ssh); w != nil {
		l.repair.noRerun = true
		l.add(policy.Finding{ID: "G7", Severity: policy.Info, Where: l.p.word("attributeCondition"), Witness: w,
			Message: "nothing looks at ssh-rerun: a job that somebody may be logged in to gets in"}.At(l.place()))
	}
}

func (l *linter) textRerun(x *celExpression, cmp comparison, ssh candidate) {
	f := policy.Finding{ID: "G7", Severity: policy.High, Where: x.where,
		Message: fmt.Sprintf("ssh-rerun is a boolean, which never equals the text %s: ", show(cmp.text))}
	if f.Witness, _ = l.admitted(l.iam, ssh); f.Witness != nil {
		f.Severity = policy.Critical
	}
	if cmp.equal {
		f.Message += "what asks for that admits nobody"
	} else {
		f.Message += "the comparison is true for every token"
	}
	l.add(f.At(x.Position))
}

func noRerun(q quote) string {
	return q.text(policy.ClaimSSHRerun) + " in assertion && " + q.claim(policy.ClaimSSHRerun) + " == false"
}

// webhooks is G9.
func (l *linter) webhooks() {
	hook := l.insider
	hook.variant.Webhook, hook.variant.Tag = true, ""
	_, claims := hook.claims(l.now)
	for _, claim := range []string{policy.ClaimOrigin, policy.ClaimRef} {
		lacks := "no such key: " + claim
		for _, m := range l.p.mapping {
			if o := l.outcome(m.celExpression, claims); strings.HasPrefix(o.err, lacks) {
				l.add(policy.Finding{ID: "G9", Severity: policy.Medium, Where: m.where,
					Message: fmt.Sprintf("the token of a pipeline that a webhook started has no %s, and what Google makes of an attribute without a value is not documented", claim),
					Fix:     fmt.Sprintf("'%s' in assertion ? %s : ''", claim, m.text)}.At(m.Position))
			}
		}
		if x := l.p.condition; x != nil && x.asks(celRef{assertion, claim, false}) {
			l.webhookCondition(x, claim, lacks, hook, claims)
		}
	}
}

func (l *linter) webhookCondition(x *celExpression, claim, lacks string, hook candidate, claims policy.Claims) {
	f := policy.Finding{ID: "G9", Severity: policy.Medium, Where: x.where}.At(x.Position)
	if o := l.outcome(x, claims); strings.HasPrefix(o.err, lacks) {
		l.repair.guards = true
		f.Message = fmt.Sprintf("the token of a pipeline that a webhook started has no %s: it is refused by an error, which an || would swallow", claim)
		l.add(f)
		return
	}
	if x.asks(celRef{assertion, claim, true}) || !slices.Contains(x.functions(), operators.LogicalOr) {
		return
	}
	if f.Witness, _ = l.admitted(l.iam, hook); f.Witness != nil {
		l.repair.guards = true
		f.Message = fmt.Sprintf("the token of a pipeline that a webhook started has no %s, and || swallows the error: it gets in", claim)
		l.add(f)
	}
}

// contexts is G10.
func (l *linter) contexts() {
	x := l.p.condition
	if x == nil || !x.asks(celRef{assertion, policy.ClaimContexts, false}) {
		return
	}
	_, claims := l.insider.with(policy.ClaimContexts, "null").claims(l.now)
	if o := l.outcome(x, claims); o.err == "" {
		return
	}
	l.repair.contexts = true
	l.add(policy.Finding{ID: "G10", Severity: policy.Medium, Where: x.where,
		Message: "context-ids may be null, and then the condition cannot be evaluated: the token is refused by an error, which an || would swallow",
	}.At(x.Position))
}

// state is G18.
func (l *linter) state() {
	if l.p.checkState().Verdict == policy.Allow {
		return
	}
	l.add(policy.Finding{ID: "G18", Severity: policy.Info, Where: "state",
		Message: "the provider is disabled or deleted: nobody gets in, and no token could be tried",
		Fix:     "enable it to see who would"})
}

// issuer is G11 and G16.
func (l *linter) issuer() {
	org, ok := strings.CutPrefix(l.p.issuer, ci.OrgIssuer(""))
	switch {
	case l.p.issuer == ci.RootIssuer:
		l.rootIssuer()
	case ok && !regexp.MustCompile(policy.UUIDForm).MatchString(org),
		!ok && strings.Contains(l.p.issuer, "oidc.circleci.com"), strings.HasPrefix(l.p.issuer, "http://"):
		l.add(policy.Finding{ID: "G16", Severity: policy.High, Where: l.p.word("oidc.issuerUri"),
			Message: "no token of CircleCI's has this issuer, so that nobody gets in",
			Fix:     ci.OrgIssuer(orElse(l.org, "UUID of the organisation"))}.At(l.p.issuerPlace))
	}
}

func (l *linter) rootIssuer() {
	w, _ := l.admitted(l.iam, l.otherOrganisations()...)
	if w == nil {
		return
	}
	l.add(policy.Finding{ID: "G11", Severity: policy.Critical, Where: l.p.word("oidc.issuerUri"), Witness: w,
		Message: "the issuer signs for every organisation of CircleCI's, and nothing asks for one: whoever has an account there gets in",
		Fix:     ci.OrgIssuer(orElse(l.org, "UUID of the organisation"))}.At(l.p.issuerPlace))
}

// strangers is G1: a token of another project, with nothing crafted in it.
func (l *linter) strangers() {
	if l.has("G6") || l.has("G11") {
		return
	}
	w, _ := l.admitted(l.iam, l.otherProjects()...)
	if w == nil {
		l.perhapsStrangers()
		return
	}
	l.repair.project = true
	f := policy.Finding{ID: "G1", Severity: policy.Critical, Where: l.p.word("attributeCondition"), Witness: w, Message: "every project of the organisation gets in"}
	if l.iam == nil {
		f.Severity = policy.High
		f.Message += " to the pool: what its identities may do hangs on the bindings alone"
	}
	l.add(f.At(l.place()))
}

// perhapsStrangers is G1 where the policy leaves it open.
func (l *linter) perhapsStrangers() {
	others := l.otherProjects()
	if open, _ := l.judged(policy.Undecided, l.iam, others...); open == nil {
		return
	}
	if w, _ := l.admitted(nil, others...); w == nil {
		return
	}
	l.repair.project = true
	l.add(policy.Finding{ID: "G1", Severity: policy.High, Where: l.p.word("attributeCondition"),
		Message: "every project of the organisation gets in to the pool, and whether a binding lets it on is not in the documents",
	}.At(l.place()))
}

// place is the condition's, or where it belongs.
func (l *linter) place() document.Position {
	if l.p.condition != nil {
		return l.p.condition.Position
	}
	return l.p.mappingPlace
}
