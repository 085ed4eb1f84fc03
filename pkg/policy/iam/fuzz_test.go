package iam

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/document"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// reference is a pattern as an anchored regular expression.
func reference(pattern string) *regexp.Regexp {
	r := strings.NewReplacer(`\*`, `.*`, `\?`, `.`)
	return regexp.MustCompile(`(?s)^(?:` + r.Replace(regexp.QuoteMeta(pattern)) + `)$`)
}

func FuzzGlob(f *testing.F) {
	for _, s := range [][2]string{{"", ""}, {"*", ""}, {"?", "é"}, {"a*b", "axxb"}, {"*a*b*", "ba"}, {"a?*", "a"}, {"**?", "x"}, {"a*ab", "aab"},
		{"org/*/vcs-ref/refs/heads/main", "org/o/vcs-ref/refs/heads/x/vcs-ref/refs/heads/main"}, {"*.*", "a\nb.c"}, {`[a]\`, `[a]\`}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if !utf8.ValidString(pattern) || !utf8.ValidString(text) || len(pattern) > 500 {
			return // a document has no such text; a regular expression of it would be too large
		}
		if got, want := glob(pattern, text), reference(pattern).MatchString(text); got != want {
			t.Fatalf("%q against %q: %v, want %v", text, pattern, got, want)
		}
	})
}

// What two patterns meet in both match; where they do not meet, nothing does.
func FuzzMeet(f *testing.F) {
	for _, s := range [][3]string{{"*", "?", "x"}, {"a*", "*b", "ab"}, {"a", "b", ""}, {"*/x/*", "a/*", "a/x/"}, {"a*c", "?b*", "abc"}, {"**", "", ""}, {"*a", "a*", "a"}} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, a, b, text string) {
		if len(a)+len(b) > 200 {
			return
		}
		p, _ := tokens(a, true, false)
		q, _ := tokens(b, true, false)
		both, ok := meet(p, q, 'x')
		if ok && (!glob(a, both) || !glob(b, both)) {
			t.Fatalf("%q and %q do not meet in %q", a, b, both)
		}
		if glob(a, text) && glob(b, text) && (!ok || len([]rune(both)) > len([]rune(text))) {
			t.Fatalf("%q and %q meet in %q, and also in %q, %v", a, b, both, text, ok)
		}
	})
}

// Whatever the document: nothing panics, an explicit Deny wins, fewer
// conditions keep out nobody more, and what is undecided is not allowed.
func FuzzPolicy(f *testing.F) {
	for _, s := range []string{with(`{}`), with(documented), with(safe), root(`{"StringEquals":{"$P:aud":"$O"}}`),
		policyOf(allowing(safe), denyingStatement(`{"Bool":{"aws:SecureTransport":"false"}}`)),
		policyOf(allowing(`{"IpAddress":{"aws:SourceIp":["10.0.0.0/8","::1"]},"StringNotLike":{"$P:sub":"*/pull/*"}}`)),
		with(`{"ForAllValues:StringLikeIfExists":{"$P:amr":["a*","${$P:sub,'x'}"]},"Null":{"$P:email":true}}`),
		with(`{"ForAnyValue:ArnLike":{"aws:userid":"arn:*:iam::*:*"},"NumericLessThan":{"aws:EpochTime":1},"DateGreaterThan":{"aws:CurrentTime":"2026-01-01"}}`),
		with(`{"StringEquals":{"$P:aud":"$O","$P:oidc.circleci.com/vcs-ref":"refs/heads/main"}}`), namedRole("deploy", sub("org/*")),
		strings.Replace(with(`{}`), `"$A"`, `["$A","*"]`, 1), strings.Replace(with(`{}`), `{"Federated":"$A"}`, `"*"`, 1), `{"Statement":{}}`, `{"Statement":[[]]}`} {
		f.Add([]byte(fill(s)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		if err != nil {
			if fault.KindOf(err) != fault.Usage {
				t.Fatal(err)
			}
			return
		}
		v1, v2 := policy.ClaimsOf(ci.Variant{}, now())
		requests := []Request{{Claims: v1}, {Claims: v2, RoleARN: "arn:aws:iam::111122223333:role/deploy", RoleSessionName: "ci", Now: now()}, {}}
		for _, finding := range p.Lint(now()) {
			if finding.Witness != nil && !strings.Contains(finding.Message, "names its session") {
				if j := p.Check(Request{Claims: finding.Witness, RoleSessionName: "ci"}); j.Verdict != policy.Allow {
					t.Fatalf("%s is not proved: %s", finding.ID, said(j))
				}
			}
		}
		for _, r := range requests {
			holds(t, p, r)
		}
	})
}

// Policies of all operators and keys, chosen by the fuzzer's bytes.
func FuzzConditions(f *testing.F) {
	for _, b := range [][]byte{{}, {1}, {0, 0, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9}, {2, 1, 1, 200, 100, 50, 25, 0, 9, 9, 4, 8, 15, 16, 23, 42}, []byte("any text will do, and the longer the better it is")} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { properties(t, b) })
}

func TestProperties(t *testing.T) {
	seen := map[policy.Verdict]int{}
	documents := uint64(300)
	if testenv.IsFull() {
		documents = 4000
	}
	for n := range documents {
		source := rand.New(rand.NewPCG(n, 5))
		b := make([]byte, 60)
		for i := range b {
			b[i] = byte(source.Uint32())
		}
		seen[properties(t, b)]++
	}
	if min(seen[policy.Allow], seen[policy.Deny], seen[policy.Undecided]) < 50 {
		t.Errorf("a lopsided choice: %v", seen)
	}
}

// properties demands of a policy what has to be so for all. It returns the
// last verdict.
func properties(t *testing.T, b []byte) policy.Verdict {
	t.Helper()
	p, rest := chosen(t, b)
	v1, v2 := policy.ClaimsOf(ci.Variant{}, now())
	v2["amr"] = []any{"mfa", "pwd"}
	request := Request{Claims: v1, RoleARN: "arn:aws:iam::111122223333:role/deploy"}
	holds(t, p, request)
	settles(t, p, request, rest)
	request.Claims, request.RoleSessionName = v2, "ci"
	holds(t, p, request)
	settles(t, p, request, rest)
	return p.judge(request).Verdict
}

// chosen makes a policy out of bytes.
func chosen(t *testing.T, b []byte) (p *Policy, rest []byte) {
	t.Helper()
	pick := func(from []string) string {
		if len(b) == 0 {
			return from[0]
		}
		i := int(b[0]) % len(from)
		b = b[1:]
		return from[i]
	}
	values := map[family][]string{
		textFamily: {"$O", "mfa", "x", "ci", "${$P:aud}", "${aws:SourceIp}", "${$P:email}", "true"},
		like:       {"*", "org/*", "${$P:aud}", "*/refs/tags/*", "m?a", "x"},
		arnFamily:  {"*", "arn:aws:iam::*:*", "arn:aws:s3:::x"},
		number:     {"1", "2.5"}, date: {"2026-01-01", "1767225600"}, boolFamily: {"true", "false"},
		binary: {"", "eA=="}, iP: {"10.0.0.0/8", "::1"}, nullFamily: {"true", "false"},
	}
	operators := slices.Sorted(maps.Keys(operators()))
	keys := []string{"$P:aud", "$P:sub", "$P:amr", "$P:email", "$P:iss", "gitlab.com:sub", "aws:SourceIp", "aws:CurrentTime", "sts:RoleSessionName", "aws:SecureTransport", "aws:userid", "$P:oidc.circleci.com/project-id"}
	var statements []string
	for range len(pick([]string{"", "1", "22", "333"})) + 1 {
		var conditions []string
		for n := range len(pick([]string{"", "1", "22"})) {
			base := pick(operators)
			name := base
			if base != "Null" {
				name = pick([]string{"", "", "ForAllValues:", "ForAnyValue:"}) + base + pick([]string{"", "", "IfExists"})
			}
			o, _ := operatorOf(name)
			key, value := pick(keys), pick(values[o.family])
			if n == 0 || !strings.Contains(conditions[0], `"`+name+`"`) { // no member twice
				conditions = append(conditions, fmt.Sprintf(`%q:{%q:[%q,%q]}`, name, key, value, pick(values[o.family])))
			}
		}
		statement := allowing("{" + strings.Join(conditions, ",") + "}")
		if pick([]string{"Allow", "Allow", "Deny"}) == "Deny" {
			statement = strings.Replace(statement, "Allow", "Deny", 1)
		}
		statements = append(statements, statement)
	}
	p = parse(t, policyOf(statements...))
	if len(p.flaws) > 0 {
		t.Fatalf("%+v", p.flaws)
	}
	return p, b
}

// settles settles what is undecided one way or the other: a verdict that was
// decided stays as it is.
func settles(t *testing.T, p *Policy, r Request, ways []byte) {
	t.Helper()
	before, c := p.judge(r).Verdict, p.context(r)
	never := parse(t, with(`{"Null":{"$P:aud":"true"}}`)).statements[0].conditions[0]
	settled := *p
	settled.statements = slices.Clone(p.statements)
	n := 0
	for i, s := range p.statements {
		settled.statements[i].conditions = nil
		for _, d := range s.conditions {
			switch {
			case c.holds(d) != policy.Unknown:
			case len(ways) == 0 || ways[n%len(ways)]%2 == 0:
				n++
				continue // it holds
			default:
				n++
				d = never
			}
			settled.statements[i].conditions = append(settled.statements[i].conditions, d)
		}
	}
	after := settled.judge(r).Verdict
	if after == policy.Undecided || before != policy.Undecided && before != after {
		t.Fatalf("%s, and when all is known %s", before, after)
	}
}

// holds demands of one request what has to be so for every policy.
func holds(t *testing.T, p *Policy, r Request) {
	t.Helper()
	j := p.judge(r)
	if len(p.flaws) > 0 && j.Verdict != policy.Undecided {
		t.Fatalf("%s, with %+v", j.Verdict, p.flaws)
	}
	if j.Verdict == policy.Allow && !decided(p, j) {
		t.Fatalf("allowed, though something that matters is undecided: %s", said(j))
	}
	denying := *p
	denying.statements = append(slices.Clone(p.statements), parse(t, policyOf(denyingStatement(`{}`))).statements...)
	if after := denying.judge(r).Verdict; after == policy.Allow || r.RoleARN != "" && len(p.flaws) == 0 && after != policy.Deny {
		t.Fatalf("%s in spite of a Deny", after)
	}
	for i, s := range p.statements {
		for n := range s.conditions {
			if s.deny {
				continue
			}
			fewer := *p
			fewer.statements = slices.Clone(p.statements)
			fewer.statements[i].conditions = slices.Delete(slices.Clone(s.conditions), n, n+1)
			if after := fewer.judge(r); j.Verdict == policy.Allow && after.Verdict != policy.Allow || j.Verdict == policy.Undecided && after.Verdict == policy.Deny {
				t.Fatalf("%s, without %s %s", j.Verdict, s.conditions[n].path, said(after))
			}
		}
	}
}

// decided says whether the checks bear the verdict out: a statement that
// allows with nothing undecided, and in each that denies something that
// certainly does not hold.
func decided(p *Policy, j policy.Judgement) bool {
	allowed := false
	for _, s := range p.statements {
		certain, spared := true, false
		for _, c := range j.Checks {
			if !strings.HasPrefix(c.Name, s.path+".") {
				continue
			}
			certain = certain && c.Verdict == policy.Allow
			spared = spared || c.Verdict == policy.Allow
		}
		if s.deny && !spared {
			return false
		}
		allowed = allowed || !s.deny && certain
	}
	return allowed
}

// Documents and tokens as long as they may be take no time to speak of.
func TestWork(t *testing.T) {
	part := 5
	if testenv.IsFull() {
		part = 1
	}
	long := strings.Repeat("a", (longest-600)/part)
	job := jobRequest(ci.Variant{}, map[string]any{"sub": strings.Repeat("a", longestClaim/part)})
	longer := jobRequest(ci.Variant{}, map[string]any{"sub": strings.Repeat("a", document.MaxDocument)})
	for _, pattern := range []string{long + "b", "*" + long + "b", strings.Repeat("*a", len(long)/2) + "b", strings.Repeat("?*", len(long)/2) + "b", "*" + strings.Repeat("?", len(long)-2) + "b"} {
		p := parse(t, sub(pattern))
		if j := p.judge(job); j.Verdict != policy.Deny {
			t.Errorf("%s: %s", pattern[:9], j.Verdict)
		}
		if j := p.judge(longer); j.Verdict != policy.Undecided {
			t.Errorf("%s: %s", pattern[:9], j.Verdict)
		}
		p.Lint(now())
	}
	many := strings.Repeat(`"org/$O/*",`, document.MaxDocument/60)
	if j := parse(t, with(`{"StringLike":{"$P:sub":[`+many+`"x"]}}`)).judge(job); j.Verdict != policy.Undecided || !strings.Contains(j.Reason, "AWS keeps") {
		t.Errorf("%s %s", j.Verdict, j.Reason)
	}
	deep := strings.Repeat(`{"a":`, document.MaxDepth-4) + "1" + strings.Repeat("}", document.MaxDepth-4)
	if j := parse(t, policyOf(allowing(deep))).judge(job); j.Verdict != policy.Undecided {
		t.Errorf("%s %s", j.Verdict, j.Reason)
	}
}
