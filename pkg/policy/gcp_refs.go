package policy

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// A gcpRef is what an expression asks one of its variables for.
type gcpRef struct {
	variable, name string
	presence       bool // whether it is there, not what it is
}

// key is the name that a mapping has for it, or the claim's.
func (r gcpRef) key() string {
	switch r.variable {
	case gcpAttribute:
		return gcpAttributePrefix + r.name
	case gcpGoogle:
		return gcpGoogle + "." + r.name
	}
	return r.name
}

// gcpRefs returns what an expression asks for, each once.
func gcpRefs(e ast.Expr) []gcpRef {
	var all []gcpRef
	ast.PostOrderVisit(e, ast.NewExprVisitor(func(e ast.Expr) {
		if r, ok := gcpRefOf(e); ok && !slices.Contains(all, r) {
			all = append(all, r)
		}
	}))
	return all
}

// gcpRefOf reads assertion.sub, assertion['sub'], has(assertion.sub) and
// 'sub' in assertion.
func gcpRefOf(e ast.Expr) (gcpRef, bool) {
	switch e.Kind() {
	case ast.SelectKind:
		s := e.AsSelect()
		v, ok := gcpVariable(s.Operand())
		return gcpRef{v, s.FieldName(), s.IsTestOnly()}, ok
	case ast.CallKind:
		c := e.AsCall()
		if len(c.Args()) != 2 {
			return gcpRef{}, false
		}
		switch c.FunctionName() {
		case operators.Index:
			v, ok1 := gcpVariable(c.Args()[0])
			name, ok2 := gcpLiteral(c.Args()[1])
			return gcpRef{v, name, false}, ok1 && ok2
		case operators.In:
			v, ok1 := gcpVariable(c.Args()[1])
			name, ok2 := gcpLiteral(c.Args()[0])
			return gcpRef{v, name, true}, ok1 && ok2
		}
	}
	return gcpRef{}, false
}

func gcpVariable(e ast.Expr) (string, bool) {
	if e.Kind() != ast.IdentKind {
		return "", false
	}
	name := strings.TrimPrefix(e.AsIdent(), ".")
	return name, name == gcpAssertion || name == gcpGoogle || name == gcpAttribute
}

// gcpLiteral returns a text that stands in an expression.
func gcpLiteral(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().(types.String)
	return string(s), ok
}

// gcpLookup returns what a reference finds.
func (r gcpRef) lookup(c Claims, attributes map[string]any) (any, bool) {
	if r.variable == gcpAssertion {
		v, ok := c[r.name]
		return v, ok
	}
	v, ok := attributes[r.key()]
	return v, ok
}

// mentions says what the expression's references find, for a reader.
func (x *gcpExpression) mentions(c Claims, attributes map[string]any) string {
	var all []string
	for _, r := range x.refs {
		if r.presence && slices.Contains(x.refs, gcpRef{r.variable, r.name, false}) {
			continue
		}
		v, ok := r.lookup(c, attributes)
		switch {
		case ok:
			all = append(all, r.key()+" is "+gcpShow(v))
		case r.variable == gcpAssertion:
			all = append(all, "the token has no "+r.name)
		default:
			all = append(all, "there is no "+r.key())
		}
	}
	return strings.Join(all, ", ")
}

// A gcpComparison is `reference == text` or its like.
type gcpComparison struct {
	ref   gcpRef
	text  string
	equal bool // not !=
}

// comparisons returns the comparisons of a reference with a text, also those
// with the texts of a list, wherever they stand.
func (x *gcpExpression) comparisons() []gcpComparison {
	var all []gcpComparison
	add := func(a, b ast.Expr, equal bool) {
		r, ok := gcpRefOf(a)
		if !ok || r.presence {
			return
		}
		if s, ok := gcpLiteral(b); ok {
			all = append(all, gcpComparison{ref: r, text: s, equal: equal})
		}
	}
	ast.PostOrderVisit(x.root, ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind {
			return
		}
		c := e.AsCall()
		switch name := c.FunctionName(); {
		case (name == operators.Equals || name == operators.NotEquals) && len(c.Args()) == 2:
			add(c.Args()[0], c.Args()[1], name == operators.Equals)
			add(c.Args()[1], c.Args()[0], name == operators.Equals)
		case name == operators.In && len(c.Args()) == 2 && c.Args()[1].Kind() == ast.ListKind:
			for _, item := range c.Args()[1].AsList().Elements() {
				add(c.Args()[0], item, true)
			}
		}
	}))
	return all
}

// differ says where the two sides of a single comparison first differ.
func (x *gcpExpression) differ(c Claims, attributes map[string]any) string {
	all := x.comparisons()
	if len(all) != 1 || !all[0].equal || x.root.Kind() != ast.CallKind || x.root.AsCall().FunctionName() != operators.Equals {
		return ""
	}
	v, ok := all[0].ref.lookup(c, attributes)
	got, isText := v.(string)
	switch {
	case !ok:
		return ""
	case !isText:
		return fmt.Sprintf("%s is %s, the other side is text", all[0].ref.key(), gcpTypeName(gcpJSON(v)))
	}
	return gcpDiffer(all[0].text, got)
}

// gcpDiffer says where two texts first differ.
func gcpDiffer(wanted, got string) string {
	at := 0
	for at < len(wanted) && at < len(got) && wanted[at] == got[at] {
		at++
	}
	for at > 0 && (at < len(wanted) && !utf8.RuneStart(wanted[at]) || at < len(got) && !utf8.RuneStart(got[at])) {
		at--
	}
	if wanted == got {
		return ""
	}
	return fmt.Sprintf("they differ from character %d on, where %s is wanted and %s found",
		utf8.RuneCountInString(got[:at])+1, gcpTail(wanted[at:]), gcpTail(got[at:]))
}

func gcpTail(s string) string {
	if s == "" {
		return "the end"
	}
	runes := []rune(s)
	if len(runes) > 24 {
		return gcpShow(string(runes[:24])) + "..."
	}
	return gcpShow(s)
}

// functions returns the names of the functions that an expression calls.
func (x *gcpExpression) functions() []string {
	var all []string
	ast.PostOrderVisit(x.root, ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() == ast.CallKind {
			all = append(all, e.AsCall().FunctionName())
		}
	}))
	return all
}
