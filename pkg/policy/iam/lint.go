package iam

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/document"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// Lint reports what is dangerous or useless in the policy, the worst first.
// Who gets in is found by asking Check itself, with tokens that CircleCI may
// well sign; now is when these are made.
//
// Some of what can be wrong no document shows, so no rule looks for it:
// whether secrets are passed to forks (A14 is reported where the document
// means one repository and takes V1 tokens all the same); that AWS cannot tell
// a job somebody is logged in to (A15); that an unversioned configuration may
// have run (A16); that pipelines of webhooks never match a pattern with a
// repository (A17); whether a deployment needs a branch (A12 is reported where
// the role's name, which get-role prints, speaks of one); whether tokens carry
// session tags, which CircleCI's never do, and lack sts:TagSession (A19, in
// part); how long a session is asked for (A20); a provider's thumbprint (A21);
// which of its two tokens a job gives (A11 is reported where neither fits).
func (p *Policy) Lint(now time.Time) []policy.Finding {
	l := &linter{p: p, now: now, sessions: p.sessionNames()}
	for _, f := range p.flaws {
		l.report(policy.Finding{ID: f.id, Severity: policy.High, Message: f.text, Where: f.where, Fix: f.remedy}, f.Position)
	}
	concerned := false
	for i, s := range p.statements {
		l.principals(s)
		ours := l.providers(s)
		for _, provider := range ours {
			concerned = true
			l.judge(l.scene(i, provider))
		}
		l.others(s)
		l.literals(i, ours)
		concerned = concerned || !s.deny && (s.anyone || s.anyAccount || len(s.accounts)+len(s.federated)+s.services > 0)
	}
	if !concerned && len(p.flaws) == 0 {
		l.report(policy.Finding{ID: "A8", Severity: policy.High, Message: "no statement allows anybody: no job gets in",
			Where: "Statement", Fix: principalFix(placeholderARN)}, p.place())
	}
	return l.sorted()
}

// placeholderARN is for fixes that cannot know whose provider it is.
const placeholderARN = "arn:aws:iam::ACCOUNT-ID:oidc-provider/oidc.circleci.com/org/ORG-ID"

// An linter collects findings.
type linter struct {
	p        *Policy
	now      time.Time
	sessions []string // names that a caller may give its session, to get in
	findings []policy.Finding
}

func (p *Policy) place() document.Position {
	if len(p.statements) > 0 {
		return p.statements[0].Position
	}
	return document.Position{}
}

// report adds a finding, unless the same is there.
func (l *linter) report(f policy.Finding, at document.Position) {
	f.Line, f.Column = at.Line, at.Column
	if !slices.ContainsFunc(l.findings, func(g policy.Finding) bool { return g.ID == f.ID && g.Where == f.Where && g.Message == f.Message }) {
		l.findings = append(l.findings, f)
	}
}

func (l *linter) sorted() []policy.Finding {
	rank := func(f policy.Finding) int { return slices.Index(policy.Severities(), f.Severity) }
	slices.SortStableFunc(l.findings, func(a, b policy.Finding) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.ID, b.ID))
	})
	return l.findings
}

// providers returns those that an Allow or Deny names and that issue
// CircleCI's tokens.
func (l *linter) providers(s statement) []arnParts {
	var all []arnParts
	for _, w := range s.federated {
		if a, ok := providerARN(w.text); ok && !slices.Contains(all, a) {
			if _, ours := circleCI(a.name); ours {
				all = append(all, a)
			}
		}
	}
	return all
}

// principals looks at whom the statement is for.
func (l *linter) principals(s statement) {
	where := s.path + ".Principal"
	for _, w := range s.federated {
		a, ok := providerARN(w.text)
		name := strings.ToLower(a.name)
		bare := strings.TrimRight(strings.TrimPrefix(name, "https://"), "/")
		org, ours := circleCI(bare)
		if !ok || !ours {
			continue
		}
		finding := policy.Finding{ID: "A8", Severity: policy.High, Where: where + ".Federated",
			Fix: quoteJSON(map[string]any{"Principal": map[string]any{"Federated": arnParts{a.partition, a.account, bare}.String()}})}
		switch {
		case strings.HasPrefix(name, "https://"):
			finding.Message = "a provider's ARN has the issuer without https://: no token is of this provider"
		case strings.HasSuffix(name, "/"):
			finding.Message = "CircleCI's issuer has no slash at its end: no token is of this provider"
		case name != a.name:
			finding.ID, finding.Severity = "A23", policy.Medium
			finding.Message = "CircleCI's issuer is in lower case, and AWS compares letter case: no token is of this provider"
		case org != "" && !uUID(org):
			finding.ID, finding.Severity = "A23", policy.Medium
			finding.Message = fmt.Sprintf("%q is not an organisation's id, which is a UUID: no token is of this provider", org)
		case l.p.roleARN != "" && !strings.HasPrefix(l.p.roleARN, "arn:"+a.partition+":iam::"+a.account+":"):
			finding.Message = fmt.Sprintf("the provider is not in the account of the role %s: no token is of this provider", l.p.roleARN)
			finding.Fix = "name the provider of the role's own account"
		case !a.whole():
			finding.ID = "A25"
			finding.Message = fmt.Sprintf("%q is not the ARN of a provider: an account has 12 digits", w.text)
		default:
			continue
		}
		l.report(finding, w.Position)
	}
}

// literals finds wildcards where they are none (A5).
func (l *linter) literals(index int, ours []arnParts) {
	s := l.p.statements[index]
	for _, d := range s.conditions {
		if d.operator.family != textFamily {
			continue
		}
		_, claim := keyOf(d.key, "")
		for _, v := range d.values {
			if !strings.Contains(v.text, "*") && (claim == "aud" || !strings.Contains(v.text, "?")) {
				continue
			}
			if strings.Contains(v.text, "${*}") || strings.Contains(v.text, "${?}") {
				continue // meant for themselves
			}
			effect := "never matches, so that nobody gets in by it"
			switch {
			case d.operator.negated && s.deny:
				effect = "matches nothing, so that everybody is denied by it"
			case d.operator.negated:
				effect = "matches nothing, so that the condition keeps nobody out"
			case s.deny:
				effect = "never matches, so that nobody is denied by it"
			}
			like := strings.Replace(strings.TrimSuffix(d.operator.name, "IgnoreCase"), "Equals", "Like", 1)
			fix := quoteJSON(map[string]any{like: map[string]any{d.key: v.text}})
			if len(ours) > 0 && !s.deny && (claim == "sub" || claim == policy.ClaimProject) {
				fix = l.scene(index, ours[0]).fix(keyFix{}) // the pattern itself may admit too much
			}
			l.report(policy.Finding{ID: "A5", Severity: policy.High, Where: d.path, Fix: fix,
				Message: fmt.Sprintf("%s takes * and ? for themselves: %q %s", d.operator.name, clip(v.text), effect)}, v.Position)
		}
	}
}

// sessionNames returns names that fit what the policy says of them. Whoever
// calls AWS chooses the name.
func (p *Policy) sessionNames() []string {
	names := []string{"ci"}
	anything, _ := tokens("?*", true, false)
	for _, s := range p.statements {
		for _, d := range s.conditions {
			if !strings.EqualFold(d.key, "sts:RoleSessionName") || !d.operator.text() || len(names) > 8 {
				continue
			}
			for _, v := range d.values {
				if name, ok := meet(open(v.tokens), anything, 'x'); ok && len(name) <= 64 {
					names = append(names, name)
				}
			}
		}
	}
	return names
}

// open lets variables be anything, for a search that Check judges in the
// end.
func open(tokens []token) []token {
	out := slices.Clone(tokens)
	for i := range out {
		if out[i].kind == variable {
			out[i] = token{kind: anyText}
		}
	}
	return out
}
