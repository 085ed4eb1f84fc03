package policy

import (
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/parser"
)

// exact writes an operand with patterns as comparisons of whole claims, or
// returns an empty text where none of them is weak.
func (l *gcpLinter) exact(o *gcpExpression) string {
	patterns := l.p.patternsOf(o)
	if !slices.ContainsFunc(patterns, gcpPattern.weak) {
		return ""
	}
	return l.exactly(patterns, o.comparisons())
}

func (l *gcpLinter) exactly(patterns []gcpPattern, comparisons []gcpComparison) string {
	var n gcpNames
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
	}{{claimProject, n.projects}, {claimOrigin, n.origins}, {claimRef, n.refs}} {
		if len(c.values) > 0 {
			parts = append(parts, gcpOneOf(c.claim, c.values))
		}
	}
	if len(parts) == 0 {
		return gcpOneOf(claimProject, []string{gcpOrElse(l.project(), "UUID of the project")})
	}
	return strings.Join(parts, " && ")
}

// remapped returns a mapping with a pattern written as exact does, or an empty
// text where the pattern is not to be found as it is usually written.
func (l *gcpLinter) remapped(q gcpPattern) string {
	for _, claim := range q.claims {
		for _, target := range []string{gcpWritten(claim), gcpAssertion + `["` + claim + `"]`} {
			for _, mark := range []string{"'", `"`} {
				call := target + "." + q.method + "(" + mark + q.literal + mark + ")"
				if strings.Contains(q.x.text, call) {
					return strings.ReplaceAll(q.x.text, call, "("+l.exactly([]gcpPattern{q}, nil)+")")
				}
			}
		}
	}
	return ""
}

// gcpOneOf compares a claim that a token may lack.
func gcpOneOf(claim string, values []string) string {
	comparison := gcpWritten(claim) + " == '" + values[0] + "'"
	if len(values) > 1 {
		comparison = gcpWritten(claim) + " in ['" + strings.Join(values, "', '") + "']"
	}
	if claim == claimProject {
		return comparison
	}
	return "'" + claim + "' in assertion && " + comparison
}

// A gcpRepair says what the condition needs.
type gcpRepair struct {
	patterns bool // whole claims for parts of them
	guards   bool // for claims that webhooks lack
	contexts bool // a guard for null
	project  bool // one project
	noRerun  bool // no ssh rerun
}

// repaired returns the condition with all that is wrong in it mended.
func (l *gcpLinter) repaired() string {
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
		add(gcpOneOf(claimProject, []string{gcpOrElse(l.project(), "UUID of the project")}))
	}
	if l.repair.noRerun {
		add(gcpNoRerun("'"))
	}
	return strings.Join(parts, " && ")
}

func (l *gcpLinter) mended(o *gcpExpression) string {
	if all := o.comparisons(); len(all) == 1 && o.isComparison() && all[0].refuses() {
		return gcpNoRerun("'")
	}
	if l.repair.patterns && gcpPositive(o.root) {
		if text := l.exact(o); text != "" {
			return text
		}
	}
	text := gcpUnquote(l.corrected(o.operand(), o))
	if l.repair.contexts && o.asks(gcpRef{gcpAssertion, claimContexts, false}) {
		text = gcpWritten(claimContexts) + " != null && " + text
	}
	for _, claim := range []string{claimRef, claimOrigin} {
		if l.repair.guards && o.asks(gcpRef{gcpAssertion, claim, false}) && !l.p.condition.asks(gcpRef{gcpAssertion, claim, true}) {
			text = "'" + claim + "' in assertion && " + text
		}
	}
	return text
}

// rewritable says whether there is an operand that exact writes anew.
func (l *gcpLinter) rewritable() bool {
	return l.p.condition != nil && slices.ContainsFunc(l.p.condition.operands, func(o *gcpExpression) bool {
		return gcpPositive(o.root) && l.exact(o) != ""
	})
}

// job is the condition for what the documents name.
func (l *gcpLinter) job() string {
	v := l.insider.variant
	j := Job{Project: gcpOrElse(l.project(), "UUID of the project"), VCSOrigin: v.Origin}
	if len(l.refs) > 0 {
		j.VCSRef = l.refs[0]
	}
	return gcpConditionFor(j, "'")
}

// gcpPositive says whether an operand is nothing but comparisons and patterns
// of which one or all have to hold: then others can stand in their place.
func gcpPositive(e ast.Expr) bool {
	if e.Kind() != ast.CallKind {
		return false
	}
	c := e.AsCall()
	switch c.FunctionName() {
	case operators.LogicalOr, operators.LogicalAnd:
		return !slices.ContainsFunc(c.Args(), func(a ast.Expr) bool { return !gcpPositive(a) })
	case operators.Equals, operators.In, "contains", "startsWith", "endsWith", "matches":
		return true
	}
	return false
}

// isComparison says whether the operand is a single == or !=.
func (x *gcpExpression) isComparison() bool {
	if x.root.Kind() != ast.CallKind {
		return false
	}
	name := x.root.AsCall().FunctionName()
	return name == operators.Equals || name == operators.NotEquals
}

// refuses says whether a comparison with a text means to keep ssh reruns out.
func (cmp gcpComparison) refuses() bool {
	return cmp.ref == (gcpRef{gcpAssertion, claimSSHRerun, false}) && (cmp.equal && cmp.text == "false" || !cmp.equal && cmp.text == "true")
}

// gcpUnquote makes booleans of the texts that ssh-rerun is compared with.
func gcpUnquote(text string) string {
	return regexp.MustCompile(`(\bassertion\[['"]`+regexp.QuoteMeta(claimSSHRerun)+`['"]\]\s*[!=]=\s*)['"](true|false)['"]`).ReplaceAllString(text, "$1$2")
}

// operand returns the text as an operand of &&. A comment would swallow the rest.
func (x *gcpExpression) operand() string {
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
