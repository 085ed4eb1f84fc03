package wif

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/ext"
	"cel.dev/cel-go/interpreter"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// A celOracle is CEL as cel-go puts it together itself, with the strings of its
// own ext. Neither package is in the program.
type celOracle struct{ env *cel.Env }

func newCELOracle(t testing.TB) celOracle {
	t.Helper()
	attributes := cel.MapType(cel.StringType, cel.DynType)
	env, err := cel.NewEnv(ext.Strings(),
		cel.Function("extract", cel.MemberOverload("string_extract_string", []*cel.Type{cel.StringType, cel.StringType}, cel.StringType,
			cel.BinaryBinding(func(s, template ref.Val) ref.Val { return extractValue([]ref.Val{s, template}) }))),
		cel.EnableMacroCallTracking(), cel.ParserExpressionSizeLimit(maxSource), cel.RegexProgramSizeLimit(maxRegexp),
		cel.Variable(assertion, attributes), cel.Variable(googleNamespace, attributes), cel.Variable(attribute, attributes))
	if err != nil {
		t.Fatal(err)
	}
	return celOracle{env}
}

// says returns all that an expression's reader learns: its first mistake and where
// that is, or its type, value, error and cost.
func (o celOracle) says(t testing.TB, text string, vars map[string]any) (mistake, outcome string) {
	t.Helper()
	compiled, issues := o.env.Compile(text)
	if issues.Err() != nil {
		return celMistake(issues.Errors()[0]), ""
	}
	program, err := o.env.Program(compiled, cel.CostLimit(maxCost), cel.MemoryLimit(maxMemory))
	if err != nil {
		return err.Error(), ""
	}
	v, details, err := program.Eval(vars)
	return "", celOutcome(compiled.OutputType().String(), v, *details.ActualCost(), err)
}

func oursSays(t testing.TB, l language, text string, vars map[string]any) (mistake, outcome string) {
	t.Helper()
	checked, mistakes := l.check(text)
	if len(mistakes) > 0 {
		return celMistake(mistakes[0]), ""
	}
	program, err := l.plan(checked)
	if err != nil {
		return err.Error(), ""
	}
	v, spent, err := program.eval(vars)
	return "", celOutcome(checked.GetType(checked.Expr().ID()).String(), v, spent, err)
}

func celMistake(e *common.Error) string {
	return fmt.Sprintf("%d:%d: %s", e.Location.Line(), e.Location.Column(), e.Message)
}

func celOutcome(kind string, v ref.Val, spent uint64, err error) string {
	var cancelled interpreter.EvalCancelledError
	switch {
	case errors.As(err, &cancelled):
		return kind + ": cancelled: " + cancelled.Message
	case err != nil:
		return fmt.Sprintf("%s: error %s, cost %d", kind, err, spent)
	}
	return fmt.Sprintf("%s: %s, cost %d", kind, celText(v), spent)
}

func celText(v ref.Val) string {
	var all []string
	switch c := v.(type) {
	case traits.Mapper:
		for it := c.Iterator(); it.HasNext() == types.True; {
			key := it.Next()
			all = append(all, celText(key)+": "+celText(c.Get(key)))
		}
		slices.Sort(all)
	case traits.Lister:
		for it := c.Iterator(); it.HasNext() == types.True; {
			all = append(all, celText(it.Next()))
		}
	default:
		return fmt.Sprintf("%s(%v)", v.Type().TypeName(), v.Value())
	}
	return v.Type().TypeName() + "(" + strings.Join(all, ", ") + ")"
}

func oracleVars(c policy.Claims) map[string]any {
	r := newRun(c, maxCost)
	r.know(map[string]any{"google.subject": "org/1/project/2", "attribute.branch": "main", "attribute.list": []any{"a", 1.0}})
	return r.vars
}

// celExpressions are the seeds of the comparison: each function at its edges, the
// operators over what a token may hold, and mistakes of each kind.
func celExpressions() []string {
	all := []string{
		// What policies are made of.
		"assertion.sub == 'x'", "assertion['oidc.circleci.com/ssh-rerun'] != 'true'", "assertion.iat + 1 > 0", "assertion.iat > 1", "assertion.iat > 1u",
		"assertion.nothing", "has(assertion.sub) && !has(assertion.jti)", "assertion.aud in ['a', 'b']", "'a' in assertion", "'c' in assertion['oidc.circleci.com/context-ids']",
		"assertion.sub.matches('^org/[0-9a-f-]{36}/')", "assertion.sub.matches('(')", "assertion.sub.matches(assertion.sub)", "assertion.sub.matches('(a{1,99}){99}')",
		"'a'.matches('(' + 'a{1,99}){99}')", "true || assertion.sub.matches('(a{1,99}){99}')", "assertion.sub.matches('(a{1,99}){99}') &&\n nope('(a{1,99}){99}')", "assertion.sub.startsWith('org') ? 1 : 2", "assertion.x || true", "true || assertion.x", "assertion.x && false", "assertion.x && assertion.y",
		"google.subject == 'org/1/project/2' && attribute.branch == 'main'", "attribute.list[1] == 1", "attribute.list.exists(x, x == 1)", "attribute.list.all(x, x == 'a')",
		"assertion.exists_one(k, k == 'sub')", "[1, 2, 3].map(x, x > 1, x * 2)", "[1, 2].filter(x, x > 1)", "size(assertion.sub) > size([1])", "type(assertion.sub) == string",
		"timestamp('2020-01-01T00:00:00Z') < timestamp(5)", "duration('1h') > duration('1m')", "timestamp(0).getFullYear()", "int('7') + int(7.9)", "string(1.5) + string(true)",
		"double('x')", "bytes('é') == b'\\xc3\\xa9'", "string(b'\\xff')", "1/0 == 1 || true", "1 / 0", "9223372036854775807 + 1", "-(-9223372036854775808)", "1 == 1.0 && 1u == 1",
		"dyn(1) == dyn('a')", "{'a': 1}['b']", "{'a': 1, 'a': 2}", "{'a': {'b': [1, 2]}}.a.b[1]", "[1, 2][5]", "[][0]", "null == assertion.x", "b'x' == b'y' || 1u < 2u", "'a' < 'b'",
		"google.protobuf.Timestamp{seconds: 1} == timestamp(1)", "google.protobuf.Value{string_value: 'x'}", "google.protobuf.Struct{}", "cel.expr.Expr{}", "no.such.Type{}",
		"true ? assertion.x : 1", "assertion", "[assertion.sub]", "[[[[1]]]]", "'\\u00e9' + 'é'", "r'\\d'", "\"\"\"a\nb\"\"\"", "1 < 2 && 'a'.size() == 1 // why",
		// Extract, and the strings.
		"assertion.sub.extract('/user/{id}/')", "'a'.extract('x')", "'abc'.extract('a{x}c') + 'x'",
	}
	subjects := []string{"''", "'hello'", "'Grüße, ÆØ 世界 🎉'", "'aaa'", "' \\t x\\n'", "'\"\\\\\\a\\b\\f\\n\\r\\t\\v'", "'A,b,,C'", "assertion.sub"}
	calls := []string{
		"charAt(-1)", "charAt(0)", "charAt(5)", "charAt(6)", "indexOf('')", "indexOf('l')", "indexOf('世')", "indexOf('aa')", "indexOf('l', 3)", "indexOf('', 9)", "indexOf('x', -1)",
		"indexOf('o', 99)", "lastIndexOf('')", "lastIndexOf('l')", "lastIndexOf('世')", "lastIndexOf('aa')", "lastIndexOf('l', 2)", "lastIndexOf('o')", "lastIndexOf('o', 5)", "lastIndexOf('o', 4)", "lastIndexOf('lo', 3)", "lastIndexOf('', 9)", "lastIndexOf('', 2)",
		"lastIndexOf('x', -1)", "lastIndexOf('o', 99)", "lastIndexOf('a', 0)", "lastIndexOf('hellohello')", "lowerAscii()", "upperAscii()", "reverse()", "trim()",
		"replace('l', 'L')", "replace('', '-')", "replace('a', '', 1)", "replace('a', 'bb', 0)", "replace('a', 'bb', -1)", "split(',')", "split('')", "split(',', 0)", "split(',', 1)",
		"split(',', 2)", "split(',', -1)", "split('/')[5]", "split(',').join()", "split(',').join('; ')", "split('').map(c, c + c).join('|')",
		"substring(0)", "substring(5)", "substring(6)", "substring(-1)", "substring(1, 3)", "substring(3, 1)", "substring(0, 99)", "substring(-1, 2)", "substring(2, 2)",
	}
	for _, s := range subjects {
		for _, c := range calls {
			all = append(all, s+"."+c)
		}
		all = append(all, "strings.quote("+s+")")
	}
	return append(all,
		"[1, 2].join()", "['a', 1].join('-')", "dyn(['a', 2]).join('-')", "[].join()", "assertion['oidc.circleci.com/context-ids'].join('-')", "dyn(1).trim()", "dyn('a').charAt('b')",
		// Too much.
		"true || assertion.sub.matches('"+strings.Repeat("a{999}", 11)+"')", "assertion.sub.matches('"+strings.Repeat("a{999}", 11)+"') &&\n nope(1)", "'a'.matches('a' + '"+strings.Repeat("a{999}", 11)+"')",
		"matches(assertion.sub, '"+strings.Repeat("a{999}", 11)+"')",
		"'"+strings.Repeat("a", 8000)+"'.replace('a', '"+strings.Repeat("b", 150)+"')", strings.Repeat("(", 300)+"1"+strings.Repeat(")", 300), strings.Repeat("!", 1000)+"true", strings.Repeat("a", maxSource+1),
		"[1,2,3,4,5,6,7,8,9].map(a, [1,2,3,4,5,6,7,8,9].map(b, [1,2,3,4,5,6,7,8,9].map(c, [1,2,3,4,5,6,7,8,9].map(d, [1,2,3,4,5,6,7,8,9].map(e, [1,2,3,4,5,6,7,8,9].map(f, '"+strings.Repeat("x", 500)+"'))))))",
		"[[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]]"+strings.Repeat(".map(x, x + x)", 22)+".size()",
		"assertion.sub.replace('o', assertion.sub).replace('r', assertion.sub).replace('e', assertion.sub).replace('c', assertion.sub).replace('i', assertion.sub)",
		// Mistakes.
		"", "1 +", "asertion.sub", "assertion.sub.lowerASCII()", "assertion.sub.startswith('x')", "starts('x')", "1 + 'a'", "!1", "'a' && true", "x.y.z", "google2.x", "assertion.sub(", "assertion.sub == \"x",
		"has(assertion)", "[1].all(x)", "[1].all(1, true)", "'a'.split(1)", "'a'.join()", "assertion..sub", "a b", "true &&\n  asertion.x && nope", "1 ? 2 : 3", "strings.quot('a')", "[?1]", "foo.bar.Baz{}", "int", "lower('a')",
		"charAt('a')", "`a`", "assertion.`a-b`", "if (true)", "'\\q'", "0x", "1.", "18446744073709551616u", "99999999999999999999")
}

func TestLanguageIsCEL(t *testing.T) {
	oracle, vars := newCELOracle(t), oracleVars(v2(ci.Variant{}))
	l, err := newLanguage(assertion, googleNamespace, attribute)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range celExpressions() {
		wantMistake, want := oracle.says(t, text, vars)
		mistake, got := oursSays(t, l, text, vars)
		if at := strings.Index(wantMistake, "regex program size"); at > 0 {
			wantMistake = wantMistake[at:] // ours is found where it is planned, without its place
		}
		if mistake != wantMistake || got != want {
			t.Errorf("%.300s\n gives %s%s\n cel-go says %s%s", text, mistake, got, wantMistake, want)
		}
	}
}

// FuzzGCPLanguage: whatever the expression, it is refused where cel-go refuses it,
// and otherwise has the type, the value, the error and the cost that it has there.
func FuzzLanguage(f *testing.F) {
	for i, text := range celExpressions() {
		if i%8 == 0 { // the test above has them all
			f.Add(text)
		}
	}
	oracle, vars := newCELOracle(f), oracleVars(v2(ci.Variant{}))
	l, err := newLanguage(assertion, googleNamespace, attribute)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "format") {
			return // the one that is not evaluated
		}
		wantMistake, want := oracle.says(t, text, vars)
		mistake, got := oursSays(t, l, text, vars)
		if (mistake == "") != (wantMistake == "") {
			t.Fatalf("%s%s, cel-go says %s%s", mistake, got, wantMistake, want)
		}
		// The keys of a map come in any order.
		for range 50 {
			if got == want {
				return
			}
			_, want = oracle.says(t, text, vars)
			_, got = oursSays(t, l, text, vars)
		}
		t.Fatalf("%s, cel-go says %s", got, want)
	})
}

// What depends on format is undecided; what does not is decided.
func TestFormatIsUndecided(t *testing.T) {
	for condition, want := range map[string]policy.Verdict{
		"'%s'.format([assertion.aud]) == 'x'":                                 policy.Undecided,
		"assertion.nothing == 'x' || '%s'.format([1]) == 'x'":                 policy.Undecided,
		"'%s'.format([1]) == 'x' || assertion.nothing == 'x'":                 policy.Undecided,
		"['%s'.format([1])].exists(x, x == '1')":                              policy.Undecided,
		"'%s'.format([1]) == 'x' || assertion.sub != ''":                      policy.Allow,
		"assertion.sub == '' && '%s'.format([1]) == 'x'":                      policy.Deny,
		"'%s'.format([1]) == '1' ? assertion.sub != '' : assertion.sub != ''": policy.Undecided,
	} {
		p := parse(t, withCondition(condition))
		j := p.Check(Request{Claims: v2(ci.Variant{}), Now: testNow})
		if j.Verdict != want {
			t.Errorf("%s: %s (%s), want %s", condition, j.Verdict, j.Reason, want)
		}
		if want == policy.Undecided && !strings.Contains(j.Reason, "format, which this program does not evaluate") {
			t.Errorf("%s: %s", condition, j.Reason)
		}
	}
}
