package wif

import (
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/parser"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// exact writes an operand with patterns as comparisons of whole claims, or
// returns an empty text where none of them is weak.
func (l *linter) exact(o *celExpression) string {
	patterns := l.p.patternsOf(o)
	if !slices.ContainsFunc(patterns, pattern.weak) {
		return ""
	}
	return l.exactly(patterns, o.comparisons())
}

func (l *linter) exactly(patterns []pattern, comparisons []comparison) string {
	var n reads
	for _, q := range patterns {
		for _, s := range q.samples() {
			n.readPattern(q, s)
		}
	}
	for _, cmp := range comparisons {
		if claim, ok := l.p.claim(cmp.ref); ok && cmp.equal {
			n.note(claim, cmp.text)
		}
	}
	var parts []string
	for _, c := range []struct {
		claim  string
		values []string
	}{{policy.ClaimProject, n.projects}, {policy.ClaimOrigin, n.origins}, {policy.ClaimRef, n.refs}} {
		if len(c.values) > 0 {
			parts = append(parts, oneOf(c.claim, c.values))
		}
	}
	if len(parts) == 0 {
		return oneOf(policy.ClaimProject, []string{orElse(l.project(), "UUID of the project")})
	}
	return strings.Join(parts, " && ")
}

// remapped returns a mapping with a pattern written as exact does, or an empty
// text where the pattern is not to be found as it is usually written.
func (l *linter) remapped(q pattern) string {
	for _, claim := range q.claims {
		for _, target := range []string{written(claim), assertion + `["` + claim + `"]`} {
			for _, mark := range []string{"'", `"`} {
				call := target + "." + q.method + "(" + mark + q.literal + mark + ")"
				if strings.Contains(q.x.text, call) {
					return strings.ReplaceAll(q.x.text, call, "("+l.exactly([]pattern{q}, nil)+")")
				}
			}
		}
	}
	return ""
}

// oneOf compares a claim that a token may lack.
func oneOf(claim string, values []string) string {
	comparison := written(claim) + " == '" + values[0] + "'"
	if len(values) > 1 {
		comparison = written(claim) + " in ['" + strings.Join(values, "', '") + "']"
	}
	if claim == policy.ClaimProject {
		return comparison
	}
	return "'" + claim + "' in assertion && " + comparison
}

// A repair says what the condition needs.
type repair struct {
	patterns bool // whole claims for parts of them
	guards   bool // for claims that webhooks lack
	contexts bool // a guard for null
	project  bool // one project
	noRerun  bool // no ssh rerun
}

// repaired returns the condition with all that is wrong in it mended.
func (l *linter) repaired() string {
	var parts []string
	add := func(text string) {
		if text != "" && !slices.Contains(parts, text) {
			parts = append(parts, text)
		}
	}
	if l.p.condition != nil {
		for _, o := range l.p.condition.operands {
			add(l.mended(o))
		}
	}
	switch {
	case l.repair.patterns && !l.rewritable():
		// Nothing to write anew, so something to add: that never lets more in.
		add(l.job())
		return strings.Join(parts, " && ")
	case l.repair.project:
		add(oneOf(policy.ClaimProject, []string{orElse(l.project(), "UUID of the project")}))
	}
	if l.repair.noRerun {
		add(noRerun("'"))
	}
	return strings.Join(parts, " && ")
}

func (l *linter) mended(o *celExpression) string {
	if all := o.comparisons(); len(all) == 1 && o.isComparison() && all[0].refuses() {
		return noRerun("'")
	}
	if l.repair.patterns && positive(o.root) {
		if text := l.exact(o); text != "" {
			return text
		}
	}
	text := unquote(l.corrected(o.operand(), o))
	if l.repair.contexts && o.asks(celRef{assertion, policy.ClaimContexts, false}) {
		text = written(policy.ClaimContexts) + " != null && " + text
	}
	for _, claim := range []string{policy.ClaimRef, policy.ClaimOrigin} {
		if l.repair.guards && o.asks(celRef{assertion, claim, false}) && !l.p.condition.asks(celRef{assertion, claim, true}) {
			text = "'" + claim + "' in assertion && " + text
		}
	}
	return text
}

// rewritable says whether there is an operand that exact writes anew.
func (l *linter) rewritable() bool {
	return l.p.condition != nil && slices.ContainsFunc(l.p.condition.operands, func(o *celExpression) bool {
		return positive(o.root) && l.exact(o) != ""
	})
}

// job is the condition for what the documents name.
func (l *linter) job() string {
	v := l.insider.variant
	j := policy.Job{Project: orElse(l.project(), "UUID of the project"), VCSOrigin: v.Origin}
	if len(l.refs) > 0 {
		j.VCSRef = l.refs[0]
	}
	return conditionFor(j, "'")
}

// positive says whether an operand is nothing but comparisons and patterns
// of which one or all have to hold: then others can stand in their place.
func positive(e ast.Expr) bool {
	if e.Kind() != ast.CallKind {
		return false
	}
	c := e.AsCall()
	switch c.FunctionName() {
	case operators.LogicalOr, operators.LogicalAnd:
		return !slices.ContainsFunc(c.Args(), func(a ast.Expr) bool { return !positive(a) })
	case operators.Equals, operators.In, "contains", "startsWith", "endsWith", "matches":
		return true
	}
	return false
}

// isComparison says whether the operand is a single == or !=.
func (x *celExpression) isComparison() bool {
	if x.root.Kind() != ast.CallKind {
		return false
	}
	name := x.root.AsCall().FunctionName()
	return name == operators.Equals || name == operators.NotEquals
}

// refuses says whether a comparison with a text means to keep ssh reruns out.
func (cmp comparison) refuses() bool {
	return cmp.ref == (celRef{assertion, policy.ClaimSSHRerun, false}) && (cmp.equal && cmp.text == "false" || !cmp.equal && cmp.text == "true")
}

// unquote makes booleans of the texts that ssh-rerun is compared with.
func unquote(text string) string {
	return regexp.MustCompile(`(\bassertion\[['"]`+regexp.QuoteMeta(policy.ClaimSSHRerun)+`['"]\]\s*[!=]=\s*)['"](true|false)['"]`).ReplaceAllString(text, "$1$2")
}

// operand returns the text as an operand of &&. A comment would swallow the rest.
func (x *celExpression) operand() string {
	if strings.Contains(x.text, "//") {
		if text, err := parser.Unparse(x.root, x.info); err == nil {
			return text
		}
	}
	if x.root.Kind() == ast.CallKind {
		switch x.root.AsCall().FunctionName() {
		case operators.LogicalOr, operators.Conditional:
			return "(" + x.text + ")"
		}
	}
	return x.text
}
