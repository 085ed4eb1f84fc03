package wif

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// A celRef is what an expression asks one of its variables for.
type celRef struct {
	variable, name string
	presence       bool // whether it is there, not what it is
}

// key is the name that a mapping has for it, or the claim's.
func (r celRef) key() string {
	switch r.variable {
	case attribute:
		return attributePrefix + r.name
	case googleNamespace:
		return googleNamespace + "." + r.name
	}
	return r.name
}

// refs returns what an expression asks for, each once.
func refs(e ast.Expr) []celRef {
	var all []celRef
	ast.PostOrderVisit(e, ast.NewExprVisitor(func(e ast.Expr) {
		if r, ok := refOf(e); ok && !slices.Contains(all, r) {
			all = append(all, r)
		}
	}))
	return all
}

// refOf reads assertion.sub, assertion['sub'], has(assertion.sub) and
// 'sub' in assertion.
func refOf(e ast.Expr) (celRef, bool) {
	switch e.Kind() {
	case ast.SelectKind:
		s := e.AsSelect()
		v, ok := variable(s.Operand())
		return celRef{v, s.FieldName(), s.IsTestOnly()}, ok
	case ast.CallKind:
		c := e.AsCall()
		if len(c.Args()) != 2 {
			return celRef{}, false
		}
		switch c.FunctionName() {
		case operators.Index:
			v, ok1 := variable(c.Args()[0])
			name, ok2 := literal(c.Args()[1])
			return celRef{v, name, false}, ok1 && ok2
		case operators.In:
			v, ok1 := variable(c.Args()[1])
			name, ok2 := literal(c.Args()[0])
			return celRef{v, name, true}, ok1 && ok2
		}
	}
	return celRef{}, false
}

func variable(e ast.Expr) (string, bool) {
	if e.Kind() != ast.IdentKind {
		return "", false
	}
	name := strings.TrimPrefix(e.AsIdent(), ".")
	return name, name == assertion || name == googleNamespace || name == attribute
}

// literal returns a text that stands in an expression.
func literal(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().(types.String)
	return string(s), ok
}

// gcpLookup returns what a reference finds.
func (r celRef) lookup(c policy.Claims, attributes map[string]any) (any, bool) {
	if r.variable == assertion {
		v, ok := c[r.name]
		return v, ok
	}
	v, ok := attributes[r.key()]
	return v, ok
}

// mentions says what the expression's references find, for a reader.
func (x *celExpression) mentions(c policy.Claims, attributes map[string]any) string {
	var all []string
	for _, r := range x.refs {
		if r.presence && slices.Contains(x.refs, celRef{r.variable, r.name, false}) {
			continue
		}
		v, ok := r.lookup(c, attributes)
		switch {
		case ok:
			all = append(all, r.key()+" is "+show(v))
		case r.variable == assertion:
			all = append(all, "the token has no "+r.name)
		default:
			all = append(all, "there is no "+r.key())
		}
	}
	return strings.Join(all, ", ")
}

// A comparison is `reference == text` or its like.
type comparison struct {
	ref   celRef
	text  string
	equal bool // not !=
}

// comparisons returns the comparisons of a reference with a text, also those
// with the texts of a list, wherever they stand.
func (x *celExpression) comparisons() []comparison {
	var all []comparison
	add := func(a, b ast.Expr, equal bool) {
		r, ok := refOf(a)
		if !ok || r.presence {
			return
		}
		if s, ok := literal(b); ok {
			all = append(all, comparison{ref: r, text: s, equal: equal})
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
func (x *celExpression) differ(c policy.Claims, attributes map[string]any) string {
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
		return fmt.Sprintf("%s is %s, the other side is text", all[0].ref.key(), typeName(plainJSON(v)))
	}
	return differ(all[0].text, got)
}

// differ says where two texts first differ.
func differ(wanted, got string) string {
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
		utf8.RuneCountInString(got[:at])+1, tail(wanted[at:]), tail(got[at:]))
}

func tail(s string) string {
	if s == "" {
		return "the end"
	}
	runes := []rune(s)
	if len(runes) > 24 {
		return show(string(runes[:24])) + "..."
	}
	return show(s)
}

// functions returns the names of the functions that an expression calls.
func (x *celExpression) functions() []string {
	var all []string
	ast.PostOrderVisit(x.root, ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() == ast.CallKind {
			all = append(all, e.AsCall().FunctionName())
		}
	}))
	return all
}
