package iam

import (
	"fmt"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// An explainer puts an outcome into words.
type explainer struct {
	p      *Policy
	c      *context
	o      outcome
	checks [][]policy.Check // by statement
}

func (p *Policy) explain(c *context, o outcome) explainer {
	e := explainer{p: p, c: c, o: o}
	for i := range p.statements {
		e.checks = append(e.checks, e.statement(i))
	}
	return e
}

// statement returns the checks of a statement. Of one that is for somebody
// else only the first is of interest.
func (e explainer) statement(i int) []policy.Check {
	s, a := e.p.statements[i], e.o.statements[i]
	checks := []policy.Check{e.principal(s, a.principal)}
	if a.principal == policy.No {
		return e.turned(s, checks)
	}
	checks = append(checks, e.action(s, a))
	for n, d := range s.conditions {
		checks = append(checks, e.condition(d, a.conditions[n]))
	}
	return e.turned(s, checks)
}

// turned makes the verdicts of a statement that denies what they mean for the
// token: where all of its conditions hold, it is kept out.
func (e explainer) turned(s statement, checks []policy.Check) []policy.Check {
	if !s.deny {
		return checks
	}
	for i, c := range checks {
		switch c.Verdict {
		case policy.Allow:
			checks[i].Verdict, checks[i].Reason = policy.Deny, "holds, in a statement that denies"
		case policy.Deny:
			checks[i].Verdict, checks[i].Reason = policy.Allow, c.Reason+", so that the statement denies nothing"
		}
	}
	return checks
}

func (e explainer) principal(s statement, t policy.Truth) policy.Check {
	var wanted []string
	for _, w := range s.federated {
		wanted = append(wanted, w.text)
	}
	if s.anyone {
		wanted = append(wanted, "*")
	}
	if s.anyAccount {
		wanted = append(wanted, "AWS: *")
	}
	check := policy.Check{Name: s.path + ".Principal", Verdict: t.Verdict(), Wanted: quoted(wanted)}
	if e.c.provider != "" {
		check.Got = fmt.Sprintf("%q", arnParts{e.c.role.partition, e.c.role.account, e.c.provider})
	}
	switch {
	case t == policy.Yes:
	case t == policy.No && e.c.provider == "":
		check.Reason = "the token's issuer is no https:// address, so no provider can be for it"
	case t == policy.No && len(s.federated) == 0:
		check.Reason = "the statement is for no provider of web identities"
	case t == policy.No:
		check.Reason = "the statement is for another provider than the token's"
		check.Hints = e.c.providerHints(s)
	case s.anyone || s.anyAccount && s.deny:
		check.Reason = "what * means to a web identity is not documented"
	case e.c.role.account == "":
		check.Reason = e.c.noAccount()
	default:
		check.Reason = "the principal is no ARN of a provider"
	}
	return check
}

// noAccount says why the role's account is not known.
func (c *context) noAccount() string {
	switch len(c.accounts) {
	case 0:
		return "the document names no account of 12 digits, and the role's ARN is not known"
	case 1:
		return "the role's ARN is not that of a role"
	}
	return "the document names providers in several accounts, and which is the role's is not known"
}

func (e explainer) action(s statement, a applied) policy.Check {
	var wanted []string
	for _, w := range s.actions {
		wanted = append(wanted, w.text)
	}
	check := policy.Check{Name: s.path + ".Action", Verdict: policy.Deny, Wanted: quoted(wanted), Got: quotedBy(" and ", e.c.needs)}
	if s.notAction {
		check.Name, check.Wanted = s.path+".NotAction", "none of "+check.Wanted
	}
	for _, covered := range a.actions {
		if covered {
			check.Verdict = policy.Allow
			return check
		}
	}
	check.Reason = "the statement is not about this action"
	for _, w := range s.actions {
		if strings.EqualFold(w.text, "sts:AssumeRole") || strings.EqualFold(w.text, "sts:AssumeRoleWithSAML") {
			check.Hints = append(check.Hints, fmt.Sprintf("%s is another action; a token needs %s", w.text, assume))
		}
	}
	return check
}

func (e explainer) condition(d condition, t policy.Truth) policy.Check {
	a := e.c.get(d.key)
	check := policy.Check{Name: d.path, Verdict: t.Verdict(), Wanted: d.wanted(), Got: quoted(a.values)}
	switch {
	case a.unknown != "":
		check.Reason = a.unknown
	case len(a.values) == 0:
		check.Reason = a.absent
		if check.Reason == "" {
			check.Reason = "the token's list of them is empty"
		}
		if t == policy.Yes && d.operator.family != nullFamily {
			check.Reason += ", and " + d.operator.name + " holds without a value"
		}
		check.Hints = e.c.keyHints(d.key)
	case t == policy.Yes:
	case t == policy.Unknown:
		check.Reason = e.c.unclear(d, a)
	case d.operator.family == nullFamily:
		check.Reason = "the token has the claim"
	case d.operator.negated:
		check.Reason = "the condition excludes this value"
	default:
		check.Reason, check.Hints = e.c.difference(d, a)
	}
	return check
}

// unclear says why a condition that has a value is undecided.
func (c *context) unclear(d condition, a attribute) string {
	if a.multi && !d.operator.all && !d.operator.some {
		return "the key may have several values, for which AWS demands ForAnyValue: or ForAllValues:"
	}
	for _, v := range d.values {
		for _, t := range v.tokens {
			if t.kind != variable {
				continue
			}
			if of := c.get(t.key); of.unknown != "" {
				return "the variable ${" + t.key + "}: " + of.unknown
			}
		}
	}
	for _, got := range a.values {
		if got == "" {
			return "what AWS makes of an empty value is not documented"
		}
	}
	return fmt.Sprintf("what %s makes of these values is not documented", d.operator.name)
}

// wanted is the condition's values as a phrase.
func (d condition) wanted() string {
	var all []string
	for _, v := range d.values {
		all = append(all, v.text)
	}
	s := quoted(all)
	if d.operator.negated {
		return "not " + s
	}
	return s
}

// difference says where the value first differs from the one of the condition
// that comes closest, with the likely slips.
func (c *context) difference(d condition, a attribute) (reason string, hints []string) {
	if len(a.values) != 1 || !d.operator.text() && d.operator.family != arnFamily {
		return "no value is as the condition wants it", nil
	}
	got := []rune(a.values[0])
	best, deepest := -1, place{-1, -1}
	var tokens []token
	for i, v := range d.values {
		expanded, known := c.expand(v.tokens, d.operator.family != textFamily)
		if known != policy.Yes {
			continue
		}
		text := got
		if d.operator.fold {
			expanded, text = lower(expanded), []rune(strings.ToLower(a.values[0]))
		}
		if _, at := match(expanded, text); at.char > deepest.char {
			best, deepest, tokens = i, at, expanded
		}
	}
	if best < 0 {
		return "the condition's variables have no value", nil
	}
	at := min(deepest.char, len(got))
	reason = fmt.Sprintf("they differ at character %d: wanted %s, got %s", at+1, rest(plain(tokens[deepest.token:])), rest(string(got[at:])))
	return reason, c.valueHints(d, plain(tokens), a.values[0])
}

func lower(tokens []token) []token {
	out := make([]token, len(tokens))
	for i, t := range tokens {
		if out[i] = t; t.kind == char {
			out[i].char = []rune(strings.ToLower(string(t.char)))[0]
		}
	}
	return out
}

func rest(s string) string {
	if s == "" {
		return "nothing more"
	}
	return fmt.Sprintf("%q", clip(s))
}

// clip shortens what a message quotes.
func clip(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "..."
	}
	return s
}

// quoted writes a list of values for a check.
func quoted(values []string) string { return quotedBy(" or ", values) }

func quotedBy(joint string, values []string) string {
	const most = 5
	var b strings.Builder
	for i, v := range values {
		switch {
		case i == most:
			fmt.Fprintf(&b, "%sone of %d more", joint, len(values)-most)
			return b.String()
		case i > 0:
			b.WriteString(joint)
		}
		fmt.Fprintf(&b, "%q", v)
	}
	return b.String()
}

// denied says in one line why nobody let the token in.
func (e explainer) denied() string {
	for n, need := range e.c.needs {
		allowed := policy.No
		for i, s := range e.p.statements {
			t := e.o.statements[i].applies(n)
			if s.deny && t == policy.Yes {
				return fmt.Sprintf("%s denies it", s.path)
			}
			if !s.deny {
				allowed = allowed.Or(t)
			}
		}
		if allowed == policy.No {
			return e.nobody(n, need)
		}
	}
	return "no statement allows it"
}

// nobody names what keeps the token out of the statement that comes closest.
func (e explainer) nobody(n int, need string) string {
	nearest, fewest := -1, 0
	for i, s := range e.p.statements {
		a := e.o.statements[i]
		if s.deny || a.principal == policy.No || !a.actions[n] {
			continue
		}
		failed := 0
		for _, t := range a.conditions {
			if t == policy.No {
				failed++
			}
		}
		if nearest < 0 || failed < fewest {
			nearest, fewest = i, failed
		}
	}
	if nearest >= 0 {
		for _, check := range e.checks[nearest] {
			if check.Verdict == policy.Deny {
				return check.Name + ": " + check.Reason
			}
		}
	}
	if e.c.provider == "" {
		return "the token's issuer is no https:// address, so no provider can be for it"
	}
	for i, s := range e.p.statements {
		if !s.deny && e.o.statements[i].principal != policy.No {
			return "no statement allows " + need
		}
	}
	return "no statement allows anything to the provider " + arnParts{e.c.role.partition, e.c.role.account, e.c.provider}.String()
}

// undecided names what could not be decided, in a statement that matters: where
// an Allow is certain, in one that may deny.
func (e explainer) undecided() string {
	for n := range e.c.needs {
		allowed := policy.No
		for i, s := range e.p.statements {
			if !s.deny {
				allowed = allowed.Or(e.o.statements[i].applies(n))
			}
		}
		for i, s := range e.p.statements {
			if s.deny != (allowed == policy.Yes) || e.o.statements[i].applies(n) != policy.Unknown {
				continue
			}
			for _, check := range e.checks[i] {
				if check.Verdict == policy.Undecided {
					return check.Name + ": " + check.Reason
				}
			}
		}
	}
	return "it cannot be decided here"
}
