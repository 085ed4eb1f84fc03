package iam

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// An Request is a call of sts:AssumeRoleWithWebIdentity.
type Request struct {
	Claims policy.Claims
	// RoleARN tells account and partition. Empty: those of the provider that
	// the document names.
	RoleARN         string
	RoleSessionName string
	// Now is when the token is judged. Zero: its times are not.
	Now time.Time
}

// skew is what AWS's clock and the issuer's may differ by.
const skew = 5 * time.Minute

// An outcome is what a policy makes of a request, without words.
type outcome struct {
	result     policy.Truth
	statements []applied
}

// An applied is what became of a statement's parts.
type applied struct {
	principal  policy.Truth
	conditions []policy.Truth
	actions    []bool // of those that are needed, in their order
}

// applies says whether the statement is about the request's nth action.
func (a applied) applies(action int) policy.Truth {
	result := a.principal.And(policy.TruthOf(a.actions[action]))
	for _, t := range a.conditions {
		result = result.And(t)
	}
	return result
}

// evaluate is the whole of it: each action that the request needs is allowed
// by a statement, and denied by none.
func (p *Policy) evaluate(c *context) outcome {
	o := outcome{result: policy.Yes}
	for _, s := range p.statements {
		a := applied{principal: c.principal(s)}
		for _, need := range c.needs {
			a.actions = append(a.actions, s.covers(need))
		}
		for _, condition := range s.conditions {
			a.conditions = append(a.conditions, c.holds(condition))
		}
		o.statements = append(o.statements, a)
	}
	for n := range c.needs {
		allowed, denied := policy.No, policy.No
		for i, s := range p.statements {
			if s.deny {
				denied = denied.Or(o.statements[i].applies(n))
			} else {
				allowed = allowed.Or(o.statements[i].applies(n))
			}
		}
		o.result = o.result.And(allowed).And(denied.Not())
	}
	if len(p.flaws) > 0 {
		o.result = policy.Unknown
	}
	return o
}

func (s statement) covers(action string) bool {
	for _, w := range s.actions {
		tokens, _ := tokens(strings.ToLower(w.text), true, false)
		if ok, _ := match(tokens, []rune(strings.ToLower(action))); ok {
			return !s.notAction
		}
	}
	return s.notAction
}

// principal says whether the statement is for the token's provider.
func (c *context) principal(s statement) policy.Truth {
	result := policy.No
	if s.anyone || s.anyAccount && s.deny {
		// "AWS": "*" admits no web identity, as was seen at AWS. Whether "*"
		// does, and what either denies, was not.
		result = policy.Unknown
	}
	for _, w := range s.federated {
		result = result.Or(c.federated(w.text))
	}
	return result
}

func (c *context) federated(arn string) policy.Truth {
	switch arn {
	case "accounts.google.com", "cognito-identity.amazonaws.com", "www.amazon.com", "graph.facebook.com":
		return policy.TruthOf(arn == c.provider)
	}
	if wild(arn) {
		return policy.Unknown // there are no patterns in a principal, but whether AWS stores it was not seen
	}
	a, ok := providerARN(arn)
	switch {
	case !ok, c.provider == "", a.name != c.provider:
		return policy.No
	case !a.whole(), c.role.account == "":
		return policy.Unknown
	}
	return policy.TruthOf(a.partition == c.role.partition && a.account == c.role.account)
}

// absent is what becomes of the condition where the request has no value.
func (d condition) absent() policy.Truth {
	if d.operator.family == nullFamily {
		return policy.TruthOf(slices.ContainsFunc(d.values, func(v value) bool { return v.text == "true" }))
	}
	return d.operator.absent()
}

// holds evaluates one condition.
func (c *context) holds(d condition) policy.Truth {
	o, a := d.operator, c.get(d.key)
	if a.unknown != "" {
		return policy.Unknown
	}
	// Text of no length counts as no value, in the documented cases.
	null := !slices.ContainsFunc(a.values, func(s string) bool { return s != "" })
	switch {
	case o.family == nullFamily:
		result := policy.No
		for _, v := range d.values {
			result = result.Or(policy.TruthOf(v.text == fmt.Sprint(null)))
		}
		return result
	case len(a.values) == 0, null && (o.all || o.some):
		return o.absent()
	case null, a.multi && !o.all && !o.some:
		return policy.Unknown
	}
	result := policy.TruthOf(!o.some)
	for _, got := range a.values {
		matched := policy.No
		for _, v := range d.values {
			matched = matched.Or(c.matches(o, v, got))
		}
		if o.negated {
			matched = matched.Not()
		}
		if o.some {
			result = result.Or(matched)
		} else {
			result = result.And(matched)
		}
	}
	return result
}

// Check judges a request: what AWS looks at before it reads the policy, and then
// condition by condition.
func (p *Policy) Check(r Request) policy.Judgement {
	j := p.judge(r)
	if refusal := p.context(r).refusal(r); refusal != "" {
		j.Verdict, j.Reason = policy.Deny, refusal+": AWS refuses it before it reads this policy"
	}
	return j
}

// judge is the policy's own verdict.
func (p *Policy) judge(r Request) policy.Judgement {
	c := p.context(r)
	o := p.evaluate(c)
	j := policy.Judgement{Verdict: o.result.Verdict(), Checks: []policy.Check{}}
	e := p.explain(c, o)
	for _, checks := range e.checks {
		j.Checks = append(j.Checks, checks...)
	}
	switch {
	case len(p.flaws) > 0:
		f := p.flaws[0]
		j.Reason = f.At() + ": " + f.text
	case o.result == policy.No:
		j.Reason = e.denied()
	case o.result == policy.Unknown:
		j.Reason = e.undecided()
	}
	j.Notes = c.notes(r, o.result)
	return j
}

// notes say what the document does not show.
func (c *context) notes(r Request, result policy.Truth) []string {
	var notes []string
	if result != policy.No {
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
	return notes
}

// refusal is why AWS refuses the token before it reads any policy; empty where it
// does not.
func (c *context) refusal(r Request) string {
	for _, name := range []string{"iss", "sub", "aud", "exp", "iat"} {
		v, there := c.claims[name]
		if !there || v == nil {
			return fmt.Sprintf("the token has no claim %s", name)
		}
		if _, ok := c.time(name); (name == "exp" || name == "iat") && !ok {
			return fmt.Sprintf("the token's %s is no whole number of seconds", name)
		}
		if _, ok := v.(string); !ok && (name == "iss" || name == "sub") {
			return fmt.Sprintf("the token's %s is no text", name)
		}
	}
	switch aud := c.many("aud"); {
	case aud.unknown != "" || len(aud.values) == 0:
		return "the token's aud is neither text nor a list of texts"
	case len(aud.values) > 1 && c.claims["azp"] == nil:
		return "the token has several audiences and no azp"
	}
	if r.Now.IsZero() {
		return ""
	}
	if exp, _ := c.time("exp"); !r.Now.Add(-skew).Before(exp) {
		return "the token expired at " + exp.UTC().Format(time.RFC3339)
	}
	for _, name := range []string{"iat", "nbf"} {
		if t, ok := c.time(name); ok && t.After(r.Now.Add(skew)) {
			return fmt.Sprintf("the token's %s is %s, in the future", name, t.UTC().Format(time.RFC3339))
		}
	}
	return ""
}

func (c *context) time(name string) (time.Time, bool) {
	s, ok := text(c.claims[name])
	n, whole := numberOf(s)
	if !ok || !whole || !n.IsInt() || !n.Num().IsInt64() {
		return time.Time{}, false
	}
	return time.Unix(n.Num().Int64(), 0), true
}
