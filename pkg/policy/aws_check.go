package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// An AWSRequest is a call of sts:AssumeRoleWithWebIdentity.
type AWSRequest struct {
	Claims Claims
	// RoleARN tells account and partition. Empty: those of the provider that
	// the document names.
	RoleARN         string
	RoleSessionName string
	// Now is for the note about a token that is over. Zero: no note.
	Now time.Time
}

// awsSkew is what AWS's clock and the issuer's may differ by.
const awsSkew = 5 * time.Minute

// An awsOutcome is what a policy makes of a request, without words.
type awsOutcome struct {
	result     truth
	statements []awsApplied
}

// An awsApplied is what became of a statement's parts.
type awsApplied struct {
	principal  truth
	conditions []truth
	actions    []bool // of those that are needed, in their order
}

// applies says whether the statement is about the request's nth action.
func (a awsApplied) applies(action int) truth {
	result := a.principal.and(truthOf(a.actions[action]))
	for _, t := range a.conditions {
		result = result.and(t)
	}
	return result
}

// evaluate is the whole of it: each action that the request needs is allowed
// by a statement, and denied by none.
func (p *AWSPolicy) evaluate(c *awsContext) awsOutcome {
	o := awsOutcome{result: yes}
	for _, s := range p.statements {
		a := awsApplied{principal: c.principal(s)}
		for _, need := range c.needs {
			a.actions = append(a.actions, s.covers(need))
		}
		for _, condition := range s.conditions {
			a.conditions = append(a.conditions, c.holds(condition))
		}
		o.statements = append(o.statements, a)
	}
	for n := range c.needs {
		allowed, denied := no, no
		for i, s := range p.statements {
			if s.deny {
				denied = denied.or(o.statements[i].applies(n))
			} else {
				allowed = allowed.or(o.statements[i].applies(n))
			}
		}
		o.result = o.result.and(allowed).and(denied.not())
	}
	if len(p.flaws) > 0 {
		o.result = unknown
	}
	return o
}

func (s awsStatement) covers(action string) bool {
	for _, w := range s.actions {
		tokens, _ := awsTokens(strings.ToLower(w.text), true, false)
		if ok, _ := awsMatch(tokens, []rune(strings.ToLower(action))); ok {
			return !s.notAction
		}
	}
	return s.notAction
}

// principal says whether the statement is for the token's provider.
func (c *awsContext) principal(s awsStatement) truth {
	result := no
	if s.anyone || s.anyAccount && s.deny {
		// "AWS": "*" admits no web identity, as was seen at AWS. Whether "*"
		// does, and what either denies, was not.
		result = unknown
	}
	for _, w := range s.federated {
		result = result.or(c.federated(w.text))
	}
	return result
}

func (c *awsContext) federated(arn string) truth {
	switch arn {
	case "accounts.google.com", "cognito-identity.amazonaws.com", "www.amazon.com", "graph.facebook.com":
		return truthOf(arn == c.provider)
	}
	if awsWild(arn) {
		return unknown // there are no patterns in a principal, but whether AWS stores it was not seen
	}
	a, ok := awsProviderARN(arn)
	switch {
	case !ok, c.provider == "", a.name != c.provider:
		return no
	case !a.whole(), c.role.account == "":
		return unknown
	}
	return truthOf(a.partition == c.role.partition && a.account == c.role.account)
}

// absent is what becomes of the condition where the request has no value.
func (d awsCondition) absent() truth {
	if d.operator.family == awsNull {
		return truthOf(slices.ContainsFunc(d.values, func(v awsValue) bool { return v.text == "true" }))
	}
	return d.operator.absent()
}

// holds evaluates one condition.
func (c *awsContext) holds(d awsCondition) truth {
	o, a := d.operator, c.get(d.key)
	if a.unknown != "" {
		return unknown
	}
	// Text of no length counts as no value, in the documented cases.
	null := !slices.ContainsFunc(a.values, func(s string) bool { return s != "" })
	switch {
	case o.family == awsNull:
		result := no
		for _, v := range d.values {
			result = result.or(truthOf(v.text == fmt.Sprint(null)))
		}
		return result
	case len(a.values) == 0, null && (o.all || o.some):
		return o.absent()
	case null, a.multi && !o.all && !o.some:
		return unknown
	}
	result := truthOf(!o.some)
	for _, got := range a.values {
		matched := no
		for _, v := range d.values {
			matched = matched.or(c.matches(o, v, got))
		}
		if o.negated {
			matched = matched.not()
		}
		if o.some {
			result = result.or(matched)
		} else {
			result = result.and(matched)
		}
	}
	return result
}

// Check judges a request, condition by condition.
func (p *AWSPolicy) Check(r AWSRequest) Judgement {
	c := p.context(r)
	o := p.evaluate(c)
	j := Judgement{Verdict: o.result.verdict(), Checks: []Check{}}
	e := p.explain(c, o)
	for _, checks := range e.checks {
		j.Checks = append(j.Checks, checks...)
	}
	switch {
	case len(p.flaws) > 0:
		f := p.flaws[0]
		j.Reason = f.at() + ": " + f.text
	case o.result == no:
		j.Reason = e.denied()
	case o.result == unknown:
		j.Reason = e.undecided()
	}
	j.Notes = c.notes(r, o.result)
	return j
}

// notes say what the document does not show.
func (c *awsContext) notes(r AWSRequest, result truth) []string {
	var notes []string
	if result != no {
		notes = append(notes, "the role can be assumed unless a resource control policy (RCP) denies it")
		if aud := c.claim("aud"); len(aud.values) == 1 {
			notes = append(notes, fmt.Sprintf("the provider in IAM has to list %q among its client ids, or AWS refuses the token before it reads this policy", aud.values[0]))
		}
	}
	if r.RoleARN == "" && c.role.account != "" && c.role.name == "" {
		notes = append(notes, fmt.Sprintf("the role's account is taken to be that of the provider, %s", c.role.account))
	}
	if own := c.document; own != "" && r.RoleARN != "" && own != r.RoleARN {
		notes = append(notes, fmt.Sprintf("the document is the trust policy of another role, %s", own))
	}
	for _, name := range []string{"iss", "sub", "aud", "iat", "exp"} {
		if _, there := c.claims[name]; !there {
			notes = append(notes, fmt.Sprintf("the token has no claim %s: AWS refuses it whatever this policy says", name))
		}
	}
	if r.Now.IsZero() {
		return notes
	}
	if exp, ok := c.time("exp"); ok && !r.Now.Add(-awsSkew).Before(exp) {
		notes = append(notes, fmt.Sprintf("the token expired at %s: AWS refuses it whatever this policy says", exp.UTC().Format(time.RFC3339)))
	}
	for _, name := range []string{"iat", "nbf"} {
		if t, ok := c.time(name); ok && t.After(r.Now.Add(awsSkew)) {
			notes = append(notes, fmt.Sprintf("the token's %s is %s, in the future: AWS refuses it whatever this policy says", name, t.UTC().Format(time.RFC3339)))
		}
	}
	return notes
}

func (c *awsContext) time(name string) (time.Time, bool) {
	s, ok := awsText(c.claims[name])
	n, whole := awsNumberOf(s)
	if !ok || !whole || !n.IsInt() || !n.Num().IsInt64() {
		return time.Time{}, false
	}
	return time.Unix(n.Num().Int64(), 0), true
}
