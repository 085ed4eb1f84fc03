package wif

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"
	"cel.dev/cel-go/parser"

	"github.com/oidc-broker/oidc-broker/pkg/internal/document"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// The variables that Google gives to an expression: a mapping sees the token
// alone, the condition also what the mapping made of it.
const (
	assertion       = "assertion"
	googleNamespace = "google"
	attribute       = "attribute"
)

// An expression of Google's 4,096 characters over a token costs some hundreds.
// The limits are for those that somebody wrote to hang whoever judges them:
// a tenth of a second, some megabytes.
const (
	maxCost   = 1_000_000
	maxMemory = 10_000_000
	maxSource = 8 << 10 // characters, twice what Google takes
	maxRegexp = 10_000
)

// A celExpression is one CEL expression of a provider.
type celExpression struct {
	document.Position // of the text in its document
	where             string
	text              string
	root              ast.Expr
	info              *ast.SourceInfo
	program           *program
	kind              *types.Type
	refs              []celRef
	// operands are those of the outermost &&: one alone where there is none.
	operands []*celExpression
}

// compile reads an expression. An error is a fault.Usage that has the place of
// the text in the document and the place of the mistake in the text.
func (l language) compile(text, where string, at document.Position) (*celExpression, error) {
	checked, mistakes := l.check(text)
	if len(mistakes) > 0 {
		return nil, compileError(text, where, at, mistakes[0])
	}
	program, err := l.plan(checked)
	if err != nil {
		return nil, fault.New(fault.Usage, "%s: %s: %s", at.At(), where, oneLine(err.Error()))
	}
	root := checked.Expr()
	return &celExpression{Position: at, where: where, text: text, program: program,
		root: root, info: checked.SourceInfo(), kind: checked.GetType(root.ID()), refs: refs(root)}, nil
}

func compileError(text, where string, at document.Position, mistake *common.Error) error {
	place, message := "", mistake.Message
	if l := mistake.Location; l.Line() == 1 {
		place = fmt.Sprintf("column %d of the expression: ", l.Column()+1)
	} else if l.Line() > 1 {
		place = fmt.Sprintf("line %d, column %d of the expression: ", l.Line(), l.Column()+1)
	}
	e := fault.New(fault.Usage, "%s: %s does not compile: %s%s", at.At(), where, place, oneLine(message))
	switch {
	case strings.Contains(text, "oidc.circleci.com/") && !strings.Contains(text, "'oidc.circleci.com/") && !strings.Contains(text, `"oidc.circleci.com/`):
		e = e.Hint("a claim with . and / in its name is written assertion['oidc.circleci.com/project-id']")
	case strings.Contains(message, "undeclared reference to 'attribute'"), strings.Contains(message, "undeclared reference to 'google'"):
		e = e.Hint("a mapping knows assertion alone; the condition knows google and attribute as well")
	case strings.Contains(message, "undeclared reference to"):
		e = e.Hint("known are assertion, in the condition also google and attribute, CEL's own functions, and Google's extract, split, join and lowerAscii")
	}
	return e
}

// oneLine makes a sentence of one of CEL's messages.
func oneLine(message string) string {
	message = strings.Join(strings.Fields(message), " ")
	if len(message) > 300 {
		message = strings.ToValidUTF8(message[:300], "") + "..."
	}
	return message
}

// split fills in the operands of the outermost &&.
func (l language) split(x *celExpression) error {
	parts := flattenAnd(x.root, nil)
	if len(parts) == 1 {
		x.operands = []*celExpression{x}
		return nil
	}
	texts := x.operandTexts(l, len(parts))
	for i, part := range parts {
		text := ""
		if texts != nil {
			text = texts[i]
		} else if written, err := parser.Unparse(part, x.info); err == nil {
			text = written
		}
		o, err := l.compile(text, fmt.Sprintf("%s, operand %d", x.where, i+1), x.Position)
		if err != nil {
			// Not an error of the document's, which has compiled as a whole.
			x.operands = []*celExpression{x}
			return nil //nolint:nilerr // the whole is judged in one piece
		}
		x.operands = append(x.operands, o)
	}
	return nil
}

func flattenAnd(e ast.Expr, all []ast.Expr) []ast.Expr {
	if e.Kind() == ast.CallKind && e.AsCall().FunctionName() == operators.LogicalAnd {
		for _, a := range e.AsCall().Args() {
			all = flattenAnd(a, all)
		}
		return all
	}
	return append(all, e)
}

// operandTexts returns the operands as their author wrote them, or nil where
// parentheses join some of them: CEL's own writing has other quotes.
func (x *celExpression) operandTexts(l language, n int) []string {
	var cuts []int
	ast.PostOrderVisit(x.root, ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() == ast.CallKind && e.AsCall().FunctionName() == operators.LogicalAnd {
			if r, ok := x.info.GetOffsetRange(e.ID()); ok {
				cuts = append(cuts, int(r.Start))
			}
		}
	}))
	if len(cuts) != n-1 {
		return nil // an && within an operand
	}
	slices.Sort(cuts)
	runes := []rune(x.text)
	var texts []string
	from := 0
	for _, cut := range append(cuts, len(runes)) {
		if cut < from || cut > len(runes) {
			return nil
		}
		text := strings.TrimSpace(string(runes[from:cut]))
		if _, _, mistakes := l.parse(text); len(mistakes) > 0 {
			return nil
		}
		texts = append(texts, text)
		from = cut + len("&&")
	}
	return texts
}

// A outcome is what an expression gives for a token.
type outcome struct {
	value any // string, bool, float64, []any, map[string]any, nil; or a other
	// err is CEL's error, in CEL's words. Google takes it for a refusal.
	err string
	// gaveUp says that the expression needs more than this program spends on
	// one, or does: what Google makes of it is not known.
	gaveUp bool
}

// other is a value of a type that JSON lacks, by the type's name.
type other string

// A run evaluates the expressions of a provider for one token.
type run struct {
	vars map[string]any
	left int64 // of what all of them may cost together
}

func newRun(c policy.Claims, cost int64) *run {
	nothing := map[string]any{}
	return &run{map[string]any{assertion: plainJSON(c), googleNamespace: nothing, attribute: nothing}, cost}
}

// know gives the condition what the mapping made.
func (r *run) know(attributes map[string]any) {
	google, custom := map[string]any{}, map[string]any{}
	for key, v := range attributes {
		if name, ok := strings.CutPrefix(key, attributePrefix); ok {
			custom[name] = v
		} else {
			google[strings.TrimPrefix(key, googleNamespace+".")] = v
		}
	}
	r.vars[googleNamespace], r.vars[attribute] = google, custom
}

func (r *run) eval(x *celExpression) outcome {
	tooMuch := outcome{err: "it takes more than this program spends on a token", gaveUp: true}
	if r.left <= 0 {
		return tooMuch
	}
	v, spent, err := x.program.eval(r.vars)
	r.left -= int64(min(spent, maxCost)) // #nosec G115 -- of a million at most
	var cancelled interpreter.EvalCancelledError
	switch {
	case errors.As(err, &cancelled):
		r.left = 0
		return tooMuch
	case err != nil:
		return outcome{err: oneLine(err.Error())}
	case types.IsUnknown(v):
		return outcome{err: "it depends on format, which this program does not evaluate", gaveUp: true}
	}
	return outcome{value: plain(v, 0)}
}

// plainJSON gives a token's claims the types that CEL gives to JSON: a number is
// a double, for that is what google.protobuf.Value holds, so that iat + 1 is
// an error (double + int) while iat > 1 compares.
func plainJSON(v any) any {
	switch v := v.(type) {
	case policy.Claims:
		return plainJSON(map[string]any(v))
	case map[string]any:
		m := make(map[string]any, len(v))
		for name, value := range v {
			m[name] = plainJSON(value)
		}
		return m
	case []any:
		all := make([]any, len(v))
		for i, value := range v {
			all[i] = plainJSON(value)
		}
		return all
	case json.Number:
		f, err := strconv.ParseFloat(v.String(), 64)
		if err != nil && f == 0 {
			return nil
		}
		return f
	}
	return v
}

// plain is the way back.
func plain(v ref.Val, depth int) any {
	switch v := v.(type) {
	case types.String:
		return string(v)
	case types.Bool:
		return bool(v)
	case types.Double:
		return float64(v)
	case types.Null:
		return nil
	case traits.Lister:
		if depth > document.MaxDepth {
			return other("list")
		}
		all := []any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			all = append(all, plain(it.Next(), depth+1))
		}
		return all
	}
	return other(v.Type().TypeName())
}

func typeName(v any) string {
	switch v := v.(type) {
	case string:
		return "text"
	case bool:
		return "true or false"
	case float64:
		return "a number"
	case nil:
		return "null"
	case []any:
		return "a list"
	case other:
		return "of CEL's type " + string(v)
	}
	return "of another type"
}

func extractValue(args []ref.Val) ref.Val {
	template := stringOf(args[1])
	text, ok := extract(stringOf(args[0]), template)
	if !ok {
		return types.NewErr("extract: the template %q has not exactly one {name}", template)
	}
	return types.String(text)
}

// extract is Google's extract: what stands between the first occurrence of
// the text before {name} and the first one of the text after it that follows.
// Nothing before means from the start, nothing after means to the end. What is
// not found makes it empty, which is no error: two tokens then look alike.
func extract(s, template string) (string, bool) {
	before, rest, ok1 := strings.Cut(template, "{")
	name, after, ok2 := strings.Cut(rest, "}")
	if !ok1 || !ok2 || name == "" || strings.ContainsAny(name, "{") || strings.ContainsAny(before+after, "{}") {
		return "", false
	}
	_, s, found := strings.Cut(s, before)
	if !found {
		return "", true
	}
	if after == "" {
		return s, true
	}
	value, _, found := strings.Cut(s, after)
	if !found {
		return "", true
	}
	return value, true
}

// length is a text's length as Google's limits on expressions count it.
func (x *celExpression) length() int { return utf8.RuneCountInString(x.text) }
