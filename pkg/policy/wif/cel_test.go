package wif

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/document"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// The examples of Google's documentation of extract, and what they leave open.
func TestExtract(t *testing.T) {
	const name = "projects/_/buckets/acme-orders-aaa/objects/data_lake/orders/order_date=2019-11-03/aef87g87ae0876"
	for _, row := range []struct{ s, template, want string }{
		{name, "/order_date={date}/", "2019-11-03"},
		{name, "buckets/{name}/", "acme-orders-aaa"},
		{name, "/orders/{empty}order_date", ""},
		{name, "{start}/objects/data_lake", "projects/_/buckets/acme-orders-aaa"},
		{name, "orders/{end}", "order_date=2019-11-03/aef87g87ae0876"},
		{name, "{all}", name},
		{name, "/orders/{none}/order_date=", ""},
		{name, "/orders/order_date=2019-11-03/{id}/data_lake", ""},
		{name, "/nothing/{x}/", ""},
		{"a/b/a/c", "a/{x}/a", "b"},
		{"a.b", "{x}.", "a"}, // no regular expression
		{"axb", "{x}.", ""},
		{"", "{x}", ""},
		{"", "a{x}", ""},
		{"aa", "a{x}a", ""},
		{"org/é/x", "org/{id}/x", "é"},
	} {
		if got, ok := extract(row.s, row.template); !ok || got != row.want {
			t.Errorf("%q.extract(%q) is %q, want %q", row.s, row.template, got, row.want)
		}
	}
	for _, template := range []string{"", "x", "{}", "{a}{b}", "{a", "a}", "}a{", "{{a}}", "{a}}"} {
		if got, ok := extract("xay", template); ok {
			t.Errorf("%q has one name: %q", template, got)
		}
	}
	p := parse(t, withCondition("assertion.sub.extract('x') != 'y'"))
	if j := p.Judge(v1Claims(ci.Variant{})); j.Admitted || !strings.Contains(j.Why, `has not exactly one {name}`) {
		t.Errorf("%+v", j)
	}
}

func FuzzExtract(f *testing.F) {
	f.Add("projects/_/buckets/b/x", "buckets/", "/")
	f.Add("aaa", "a", "a")
	f.Add("", "", "")
	f.Fuzz(func(t *testing.T, s, before, after string) {
		if strings.ContainsAny(before+after, "{}") {
			if _, ok := extract(s, before+"{x}"+after); ok {
				t.Fatal("more than one name")
			}
			return
		}
		got, ok := extract(s, before+"{x}"+after)
		if !ok {
			t.Fatal("one name, and refused")
		}
		if got != "" && !strings.Contains(s, before+got+after) {
			t.Fatalf("%q is not between the two", got)
		}
		if got != "" && after != "" && strings.Contains(got+after[:len(after)-1], after) {
			t.Fatalf("%q goes beyond the first %q", got, after)
		}
		if i := strings.Index(s, before); got != "" && !strings.HasPrefix(s[i+len(before):], got) {
			t.Fatalf("%q is not after the first %q", got, before)
		}
		// Through CEL it is the same.
		if again, _ := extract(s, before+"{another}"+after); again != got {
			t.Fatal("the name counts")
		}
	})
}

// What expressions over CircleCI's tokens give, as it was found with cel-go.
func TestGolden(t *testing.T) {
	job := ci.Variant{}
	ssh := ci.Variant{SSHRerun: true}
	evil := ci.Variant{Branch: evil}
	webhook := ci.Variant{Webhook: true}
	ref := "assertion['oidc.circleci.com/vcs-ref']"
	rerun := "assertion['oidc.circleci.com/ssh-rerun']"
	v2 := func(v ci.Variant) policy.Claims { return v2(v) }
	for _, row := range []struct {
		expression string
		claims     policy.Claims
		want       any // or the beginning of the error
	}{
		{rerun + " != 'true'", v2(ssh), true},
		{rerun + " == 'false'", v2(job), false},
		{rerun + " != true", v2(ssh), false},
		{"!" + rerun, v2(ssh), false},
		{"!" + rerun, v2(job), true},
		{"assertion.sub.endsWith('/vcs-ref/refs/heads/main')", v2(evil), true},
		{"assertion.sub.matches('/vcs-ref/refs/heads/main$')", v2(evil), true},
		{"assertion.sub.contains('/vcs-ref/refs/heads/main')", v2(evil), true},
		{ref + " == 'refs/heads/main'", v2(evil), false},
		{ref + ".endsWith('refs/heads/main')", v2(evil), true},
		{ref + " == 'refs/heads/main'", v2(webhook), "no such key: oidc.circleci.com/vcs-ref"},
		{"('oidc.circleci.com/vcs-ref' in assertion) && " + ref + " == 'refs/heads/main'", v2(webhook), false},
		{"'c' in assertion['oidc.circleci.com/context-ids']", v2(claim(policy.ClaimContexts, "null")), "no such overload"},
		{"'c' in assertion['oidc.circleci.com/context-ids']", v2(claim(policy.ClaimContexts, "[]")), false},
		{"assertion.oidc.circleci.com == 'x'", v2(job), "no such key: oidc"},
		{ref + " == 'x' || true", v2(webhook), true},
		{"true || " + ref + " == 'x'", v2(webhook), true},
		{ref + " == 'x' || false", v2(webhook), "no such key"},
		{"assertion.sub.split('/')[5] == '" + ci.SampleUser + "'", v2(evil), true},
		{"assertion.sub.split('/')[5] == '" + ci.SampleUser + "'", v1Claims(job), true},
		{"has(assertion.sub) && !has(assertion.jti)", v2(job), true},
		{"assertion.sub.lowerAscii() == assertion.sub", v2(job), true},
		{"['a', 'b'].join('-') == 'a-b'", v2(job), true},
		{"assertion.sub.matches('^org/[0-9a-f-]{36}/')", v2(job), true},
		{"assertion['oidc.circleci.com/context-ids'].exists(c, c == '" + ci.SampleContext + "')", v2(job), true},
		{"assertion.iat + 1.0 > 0.0", v2(job), true},
		{"size(assertion) > 10", v2(job), true},
	} {
		language, err := newLanguage(assertion)
		if err != nil {
			t.Fatal(err)
		}
		x, err := language.compile(row.expression, "x", document.Position{Line: 1, Column: 1})
		if err != nil {
			t.Errorf("%s: %v", row.expression, err)
			continue
		}
		o := newRun(row.claims, maxCost).eval(x)
		if text, ok := row.want.(string); ok && o.err != "" {
			if !strings.HasPrefix(o.err, text) {
				t.Errorf("%s: %s, want %s", row.expression, o.err, text)
			}
		} else if o.value != row.want || o.err != "" {
			t.Errorf("%s: %v %s, want %v", row.expression, o.value, o.err, row.want)
		}
	}
}

// How the subjects of CircleCI's tokens fit into Google's 127 bytes.
func TestSubjectSizes(t *testing.T) {
	for _, row := range []struct {
		mapping    string
		v1, v2, wh int // 0: refused
	}{
		{"assertion.sub", 127, 0, 127},
		{`assertion.org_id + "/" + assertion.sub.extract('/user/{user_id}/')`, 0, 0, 0},
		{`assertion.aud + '/' + assertion.sub.extract('/user/{user_id}/')`, 37, 73, 37},
		{"assertion.sub.split('/vcs-origin/')[0]", 127, 127, 127},
		{"'project/' + assertion['oidc.circleci.com/project-id'] + '/user/' + assertion.sub.split('/')[5]", 86, 86, 86},
		{"assertion['oidc.circleci.com/org-id'] + '/' + assertion['oidc.circleci.com/project-id']", 73, 73, 73},
	} {
		p := parse(t, withMapping("google.subject", row.mapping))
		size := func(c policy.Claims) int { s, _ := p.Judge(c).Attributes[subject].(string); return len(s) }
		got := [3]int{size(v1Claims(ci.Variant{})), size(v2(ci.Variant{})), size(v2(ci.Variant{Webhook: true}))}
		if got != [3]int{row.v1, row.v2, row.wh} {
			t.Errorf("%s: %d, want %d %d %d", row.mapping, got, row.v1, row.v2, row.wh)
		}
	}
}

// A condition is shown by the operands of its && as they were written.
func TestOperands(t *testing.T) {
	for condition, want := range map[string][]string{
		"true":                                                     {"true"},
		"true||false":                                              {"true||false"},
		"assertion.a == 'x&&y' && true":                            {"assertion.a == 'x&&y'", "true"},
		"true\n  && assertion.b // why\n&&true":                    {"true", "assertion.b // why", "true"},
		"(true && false) && true":                                  {"true", "false", "true"},
		"(true) && (true || false && true)":                        {"true", "true || false && true"},
		"é == 'é' && true":                                         nil,
		"'é' == 'é' && true && 'ü' != 'é'":                         {"'é' == 'é'", "true", "'ü' != 'é'"},
		"[true && false].all(x, x) && true":                        {"[true && false].all(x, x)", "true"},
		"!(true && false) && true":                                 {"!(true && false)", "true"},
		"has(assertion.a) && true && true && true && true && true": {"has(assertion.a)", "true", "true", "true", "true", "true"},
	} {
		p, err := Parse(marshal(t, doc(withCondition(condition))))
		if err != nil {
			if want != nil {
				t.Errorf("%s: %v", condition, err)
			}
			continue
		}
		var got []string
		for _, o := range p.condition.operands {
			got = append(got, o.text)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %q, want %q", condition, got, want)
		}
	}
}

// Whatever the expressions are: nothing panics or hangs, undecided and an error
// never admit, and the operands together say what the whole condition says.
func FuzzExpression(f *testing.F) {
	for _, s := range []string{
		"assertion.sub == 'x' && assertion.iat > 1", "has(assertion.sub) || assertion.nothing", "'a' in assertion && assertion['a'] == true",
		"assertion.sub.extract('/user/{id}/') != ''", "[1, 2].all(x, x > 0) && !(false && true)", "google.subject.startsWith('org') && attribute.x == 'y'",
		"assertion.sub.matches('(a|b)*') ? true : false", "assertion.sub.replace('o', assertion.sub).replace('r', assertion.sub) == ''", "{'a': 1}['b'] == 2",
		"timestamp('2020-01-01T00:00:00Z') < timestamp(5)", "'%s %d'.format(['x', 1]) == 'x 1'", "b'x' == b'y' || 1u < 2u", "assertion['oidc.circleci.com/ssh-rerun'] != 'true'",
		"(true && true) && (false || assertion.x)", "assertion.a.b.c.d", "type(assertion.sub) == string", "assertion && google", "1/0 == 1 || true", "dyn([1]).exists(x, x)",
	} {
		f.Add(s, "assertion.sub")
	}
	f.Add("true", "[assertion.sub]")
	f.Add("attribute.x == 'a'", "assertion.aud == 'x' ? 'a' : assertion.nothing")
	claims := v2(ci.Variant{})
	f.Fuzz(func(t *testing.T, condition, mapping string) {
		b, err := json.Marshal(doc(map[string]any{"attributeCondition": condition, "attributeMapping": map[string]string{"google.subject": "'s'", "attribute.x": mapping}}))
		if err != nil {
			t.Skip()
		}
		start := time.Now()
		p, err := Parse(b)
		if err != nil {
			return
		}
		j := p.Check(Request{Claims: claims, Now: testNow})
		coherent(t, j)
		if spent := time.Since(start); spent > 20*time.Second {
			t.Fatalf("%s", spent)
		}
		attributes, results := p.evaluate(claims, newRun(claims, maxCost))
		if p.condition == nil || j.Verdict == policy.Undecided || len(results) == 0 {
			return
		}
		whole := newRun(claims, maxCost)
		whole.know(attributes)
		o := whole.eval(p.condition)
		if (o.value == true) != (j.Verdict == policy.Allow) && !o.gaveUp {
			t.Fatalf("the condition as a whole gives %v %s, its operands %s: %s", o.value, o.err, j.Verdict, j.Reason)
		}
	})
}
