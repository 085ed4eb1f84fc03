package iam

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

const providerName = "oidc.circleci.com/org/" + ci.SampleOrg

// fill writes what the rows of tables leave short: $P is the provider's
// name, $A its ARN, $O the organisation, $J the project, $U the user, $M the
// mask of a UUID.
func fill(s string) string {
	return strings.NewReplacer("$P", providerName, "$G", "token.actions.githubusercontent.com", "$A", "arn:aws:iam::111122223333:oidc-provider/"+providerName,
		"$O", ci.SampleOrg, "$J", ci.SampleProject, "$U", ci.SampleUser, "$M", mask).Replace(s)
}

// with is a policy of one statement with this condition.
func with(condition string) string { return policyOf(allowing(condition)) }

func policyOf(statements ...string) string {
	return `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
}

func allowing(condition string) string {
	return `{"Effect":"Allow","Principal":{"Federated":"$A"},"Action":"sts:AssumeRoleWithWebIdentity","Condition":` + condition + `}`
}

func denyingStatement(condition string) string {
	return strings.Replace(allowing(condition), "Allow", "Deny", 1)
}

func now() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

// jobRequest is a V2 token's request, with claims set over it. A nil value takes
// the claim away.
func jobRequest(v ci.Variant, claims map[string]any) Request {
	_, v2 := policy.ClaimsOf(v, now())
	for name, value := range claims {
		if v2[name] = value; value == nil {
			delete(v2, name)
		}
	}
	return Request{Claims: v2, RoleARN: "arn:aws:iam::111122223333:role/deploy", RoleSessionName: "ci", Now: now()}
}

func v1(v ci.Variant) Request {
	r := jobRequest(v, nil)
	r.Claims, _ = policy.ClaimsOf(v, now())
	return r
}

type row struct {
	document string
	request  Request
	verdict  policy.Verdict
	words    []string
}

func allow(document string, r Request, words ...string) row {
	return row{document, r, policy.Allow, words}
}

func deny(document string, r Request, words ...string) row {
	return row{document, r, policy.Deny, words}
}

func undecided(document string, r Request, words ...string) row {
	return row{document, r, policy.Undecided, words}
}

// judge runs a table. All words have to be in the judgement.
func judge(t *testing.T, rows []row) {
	t.Helper()
	for i, row := range rows {
		p := parse(t, row.document)
		j := p.judge(row.request)
		if j.Verdict != row.verdict {
			t.Errorf("row %d: %s, want %s\n%s\n%s", i, j.Verdict, row.verdict, fill(row.document), said(j))
			continue
		}
		if (j.Verdict == policy.Allow) != (j.Reason == "") {
			t.Errorf("row %d: %s with the reason %q", i, j.Verdict, j.Reason)
		}
		for _, word := range row.words {
			if !strings.Contains(said(j), fill(word)) {
				t.Errorf("row %d: no %q in\n%s", i, fill(word), said(j))
			}
		}
	}
}

func parse(t testing.TB, document string) *Policy {
	t.Helper()
	p, err := Parse([]byte(fill(document)))
	if err != nil {
		t.Fatalf("%v in %s", err, fill(document))
	}
	return p
}

func said(j policy.Judgement) string {
	var b strings.Builder
	fmt.Fprintln(&b, j.Verdict, j.Reason)
	for _, c := range j.Checks {
		fmt.Fprintf(&b, "%s %s wanted %s got %s: %s %v\n", c.Name, c.Verdict, c.Wanted, c.Got, c.Reason, c.Hints)
	}
	return b.String() + strings.Join(j.Notes, "\n")
}

func TestDocuments(t *testing.T) {
	for _, row := range []struct{ name, text, want string }{
		{"not JSON", "hello", "line 1, column 1: not JSON"},
		{"two documents", with("{}") + "\n{}", "line 2, column 1: something follows"},
		{"a list", "[]", "line 1, column 1: a trust policy is an object, not a list"},
		{"no statement", "{\"Version\":\"2012-10-17\"}", "line 1, column 1: the document has no Statement"},
		{"statement is text", "{\n\"Statement\":\"x\"}", "line 2, column 13: Statement is text, not an object or a list"},
		{"role is text", "{\n\"Role\":\"x\"}", "line 2, column 8: Role is text"},
		{"role without policy", "{\"Role\":{}}", "Role has no AssumeRolePolicyDocument"},
		{"encoded policy", "{\"Role\":{\n\"AssumeRolePolicyDocument\":\"%7B%7D\"}}", "line 2, column 28: AssumeRolePolicyDocument is text"},
		{"the role's ARN is a number", "{\"Role\":{\"AssumeRolePolicyDocument\":{\"Statement\":[]},\"Arn\":1}}", "the role's Arn is a number"},
	} {
		_, err := Parse([]byte(row.text))
		if err == nil || !strings.Contains(err.Error(), row.want) || fault.KindOf(err) != fault.Usage {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
}

// What AWS would not store is not judged, and lint names its place.
func TestFlaws(t *testing.T) {
	good := allowing(`{"StringEquals":{"$P:aud":"$O"}}`)
	for _, row := range []struct{ name, document, want string }{
		{"duplicate operator", with(`{"StringEquals":{"$P:aud":"$O"},` + "\n" + `"StringEquals":{"$P:sub":"x"}}`), `line 2, column 1: "StringEquals" is there twice`},
		{"duplicate Condition", policyOf(strings.Replace(good, `"Effect"`, `"Condition":{},"Effect"`, 1)), `"Condition" is there twice`},
		{"duplicate key in another case", with(`{"StringEquals":{"$P:aud":"$O","$P:AUD":"$O"}}`), "compared without letter case"},
		{"unknown operator", with(`{` + "\n  " + `"StringMatches":{"$P:aud":"$O"}}`), `line 2, column 3: unknown operator "StringMatches"`},
		{"operator in another case", with(`{"stringlike":{"$P:aud":"$O"}}`), `unknown operator "stringlike"; it is written "StringLike"`},
		{"unknown set operator", with(`{"ForSomeValues:StringLike":{"$P:aud":"$O"}}`), "unknown operator"},
		{"a set operator without a name", with(`{":StringLike":{"$P:aud":"$O"}}`), "unknown operator"},
		{"Null of a set", with(`{"ForAllValues:Null":{"$P:aud":"true"}}`), "unknown operator"},
		{"NullIfExists", with(`{"NullIfExists":{"$P:aud":"true"}}`), "unknown operator"},
		{"empty operator", with(`{"StringEquals":{}}`), "has no key"},
		{"operator of text", with(`{"StringEquals":"x"}`), "is text, not an object"},
		{"condition of text", with(`"x"`), "is text, not an object"},
		{"no values", with(`{"StringEquals":{"$P:aud":[]}}`), "empty list of values"},
		{"a value is an object", with(`{"StringEquals":{"$P:aud":[{}]}}`), "a value is an object"},
		{"a value is null", with(`{"StringEquals":{"$P:aud":null}}`), "a value is null"},
		{"nested values", with(`{"StringEquals":{"$P:aud":[["$O"]]}}`), "a value is a list"},
		{"key without a prefix", with(`{"StringEquals":{"sub":"x"}}`), `"sub" is no condition key`},
		{"number for text", with(`{"NumericEquals":{"$P:aud":"ten"}}`), `the value "ten" is not a number`},
		{"number with an exponent", with(`{"NumericEquals":{"$P:aud":1e99999999}}`), "is not a number"},
		{"date", with(`{"DateLessThan":{"aws:CurrentTime":"tomorrow"}}`), "is not a date"},
		{"bool", with(`{"Bool":{"aws:SecureTransport":"TRUE"}}`), "is not true or false"},
		{"null", with(`{"Null":{"$P:aud":"yes"}}`), "is not true or false"},
		{"address", with(`{"IpAddress":{"aws:SourceIp":"10.0.0.0/33"}}`), "is not an address"},
		{"address of an interface", with(`{"IpAddress":{"aws:SourceIp":"fe80::1%eth0"}}`), "is not an address"},
		{"no address", with(`{"IpAddress":{"aws:SourceIp":"home"}}`), "is not an address"},
		{"base64", with(`{"BinaryEquals":{"$P:sub":"%"}}`), "is not base64"},
		{"variable without an end", with(`{"StringLike":{"$P:sub":"${$P:aud"}}`), "has a ${ without its }"},
		{"variable without a key", with(`{"StringLike":{"$P:sub":"${x}"}}`), "has a variable whose name is no condition key"},
		{"variable without a name", with(`{"StringLike":{"$P:sub":"${}"}}`), "has a variable whose name is no condition key"},
		{"default with one quote", with(`{"StringLike":{"$P:sub":"${$P:aud, 'x}"}}`), "has a ${ without its }"},
		{"default with half a quote", with(`{"StringLike":{"$P:sub":"${$P:aud, x'y'}"}}`), "has a variable whose default is not in single quotes"},
		{"default of two", with(`{"StringLike":{"$P:sub":"${$P:aud, 'x''y'}"}}`), "has a variable whose default is not in single quotes"},
		{"default of nothing", with(`{"StringLike":{"$P:sub":"${$P:aud,}"}}`), "has a variable whose default is not in single quotes"},
		{"default without quotes", with(`{"StringLike":{"$P:sub":"${$P:aud, x}"}}`), "has a variable whose default is not in single quotes"},
		{"version", strings.Replace(with(`{}`), "2012-10-17", "2024-01-01", 1), `there is no version "2024-01-01"`},
		{"version of a number", strings.Replace(with(`{}`), `"2012-10-17"`, `2012`, 1), "Version is a number, not text"},
		{"unknown member", `{"Statement":[` + good + `],"Statements":[]}`, `there is no member "Statements" in a trust policy`},
		{"member in another case", policyOf(strings.Replace(good, `"Effect"`, `"effect"`, 1)), `no member "effect"; it is written "Effect"`},
		{"resource", policyOf(strings.Replace(good, `"Effect"`, `"Resource":"*","Effect"`, 1)), "a trust policy has no Resource"},
		{"not principal", policyOf(strings.Replace(good, `"Principal"`, `"NotPrincipal"`, 1)), "a trust policy has no NotPrincipal"},
		{"effect", policyOf(strings.Replace(good, `"Allow"`, `"allow"`, 1)), `Effect is "allow", not Allow or Deny`},
		{"no effect", policyOf(strings.Replace(good, `"Effect":"Allow",`, ``, 1)), "has no Effect"},
		{"no principal", policyOf(strings.Replace(good, `"Principal":{"Federated":"$A"},`, ``, 1)), "has no Principal"},
		{"principal of text", policyOf(strings.Replace(good, `{"Federated":"$A"}`, `"$A"`, 1)), `is text, not an object or "*"`},
		{"unknown principal", policyOf(strings.Replace(good, `Federated`, `federated`, 1)), `it is written "Federated"`},
		{"empty principal", policyOf(strings.Replace(good, `{"Federated":"$A"}`, `{}`, 1)), "Principal is empty"},
		{"empty federated", policyOf(strings.Replace(good, `"$A"`, `[]`, 1)), "Federated is an empty list"},
		{"principal of a number", policyOf(strings.Replace(good, `"$A"`, `5`, 1)), "Federated is a number, not text"},
		{"no action", policyOf(strings.Replace(good, `"Action":"sts:AssumeRoleWithWebIdentity",`, ``, 1)), "needs either Action or NotAction"},
		{"two actions", policyOf(strings.Replace(good, `"Action"`, `"NotAction":"x","Action"`, 1)), "needs either Action or NotAction"},
		{"action of a number", policyOf(strings.Replace(good, `"sts:AssumeRoleWithWebIdentity"`, `[1]`, 1)), "Action is a number, not text"},
		{"sid", policyOf(strings.Replace(good, `"Effect"`, `"Sid":1,"Effect"`, 1)), "Sid is a number, not text"},
		{"statement of text", policyOf(`"x"`), "Statement[0] is text, not an object"},
		{"no statements", policyOf(), "Statement is empty"},
		{"far too long", with(`{"StringEquals":{"$P:aud":"` + strings.Repeat("x", longest) + `"}}`), "AWS keeps 2048 of a trust policy"},
	} {
		p := parse(t, row.document)
		j := p.Check(jobRequest(ci.Variant{}, nil))
		if j.Verdict != policy.Undecided || !strings.Contains(j.Reason, fill(row.want)) || !strings.HasPrefix(j.Reason, "line ") {
			t.Errorf("%s: %s %q, want undecided %q", row.name, j.Verdict, j.Reason, row.want)
		}
		findings := p.Lint(now())
		if len(findings) == 0 || findings[0].Line == 0 || !strings.Contains(fmt.Sprint(findings), fill(row.want[strings.Index(row.want, ": ")+1:])) {
			t.Errorf("%s: lint finds %+v", row.name, findings)
		}
	}
}

func TestGetRole(t *testing.T) {
	role := func(arn string) string {
		return `{"Role":{"RoleName":"x","AssumeRolePolicyDocument":` + with(`{"StringEquals":{"$P:aud":"$O"}}`) + `,"Arn":"` + arn + `","MaxSessionDuration":3600}}`
	}
	here, there := role("arn:aws:iam::111122223333:role/x"), role("arn:aws:iam::999988887777:role/x")
	anywhere := jobRequest(ci.Variant{}, nil)
	anywhere.RoleARN = ""
	judge(t, []row{
		allow(here, anywhere),
		deny(there, anywhere, "the provider has to be in the role's account: arn:aws:iam::999988887777"),
		allow(there, jobRequest(ci.Variant{}, nil), "the document is the trust policy of another role, arn:aws:iam::999988887777:role/x"),
	})
}

func TestPrincipals(t *testing.T) {
	federated := func(arn string) string {
		return policyOf(strings.Replace(allowing(`{}`), `{"Federated":"$A"}`, `{"Federated":`+arn+`}`, 1))
	}
	job := jobRequest(ci.Variant{}, nil)
	unknown := job
	unknown.RoleARN = ""
	broken := job
	broken.RoleARN = "deploy"
	china := job
	china.RoleARN = "arn:aws-cn:iam::111122223333:role/deploy"
	role := func(arn string) Request {
		r := job
		r.RoleARN = arn
		return r
	}
	google := jobRequest(ci.Variant{}, map[string]any{"iss": "https://accounts.google.com"})
	judge(t, []row{
		allow(federated(`"$A"`), job, "unless a resource control policy (RCP) denies it", `has to list "$O" among its client ids`),
		allow(federated(`["arn:aws:iam::111122223333:oidc-provider/gitlab.com","$A"]`), job),
		allow(federated(`"$A"`), unknown, "account is taken to be that of the provider, 111122223333"),
		undecided(federated(`"$A"`), broken, "the role's ARN is not that of a role"),
		undecided(federated(`["$A","arn:aws:iam::999988887777:oidc-provider/$P"]`), unknown, "in several accounts"),
		undecided(federated(`"arn:aws:iam::ACCOUNT_ID:oidc-provider/$P"`), unknown, "names no account of 12 digits"),
		undecided(federated(`"arn:aws:iam::ACCOUNT_ID:oidc-provider/$P"`), job, "no ARN of a provider"),
		deny(federated(`"arn:aws:iam::999988887777:oidc-provider/$P"`), job, "has to be in the role's account"),
		deny(federated(`"$A"`), china, "arn:aws-cn:iam::111122223333"),
		allow(federated(`"arn:aws-cn:iam::111122223333:oidc-provider/$P"`), china),
		deny(federated(`"arn:aws:iam::111122223333:oidc-provider/oidc.circleci.com/org/`+otherOrg+`"`), job, "the document names the organisation "+otherOrg, "no statement allows anything to the provider $A"),
		deny(federated(`"arn:aws:iam::111122223333:oidc-provider/oidc.circleci.com"`), job, "is the root issuer, which lacks /org/$O"),
		deny(federated(`"$A"`), jobRequest(ci.Variant{RootIssuer: true}, nil), "the token is of the root issuer"),
		deny(federated(`"arn:aws:iam::111122223333:oidc-provider/https://$P"`), job, "issuer without https://"),
		deny(federated(`"$A/"`), job, "trailing slash"),
		deny(federated(`"arn:aws:iam::111122223333:oidc-provider/OIDC.circleci.com/org/$O"`), job, "by letter case"),
		deny(federated(`"arn:aws:iam::111122223333:saml-provider/x"`), job, "another provider than the token's"),
		deny(federated(`"$P"`), job),
		deny(federated(`["arn:aws:iam:x:111122223333:oidc-provider/$P","arn:aws:sts::111122223333:oidc-provider/$P","urn:aws:iam::111122223333:oidc-provider/$P"]`), job),
		undecided(federated(`"$A"`), role("urn:aws:iam::111122223333:role/deploy")),
		undecided(federated(`"$A"`), role("arn:aws:sts::111122223333:role/deploy")),
		undecided(federated(`"$A"`), role("arn:aws:iam:x:111122223333:role/deploy")),
		undecided(federated(`"$A"`), role("arn:aws:iam::111122223333:user/deploy")),
		undecided(federated(`"$A"`), role("arn:aws:iam::11112222333:role/deploy")),
		undecided(federated(`"$A"`), role("arn:aws:iam::1111222233330:role/deploy")),
		undecided(federated(`"$A"`), role("arn:aws:iam::11112222333x:role/deploy")),
		undecided(federated(`"$A"`), role("arn:azure:iam::111122223333:role/deploy")),
		undecided(federated(`"$A"`), role("arn:aws:iam::111122223333")),
		deny(federated(`"$A"`), jobRequest(ci.Variant{}, map[string]any{"iss": providerName}), "issuer is no https:// address"),
		deny(federated(`"$A"`), jobRequest(ci.Variant{}, map[string]any{"iss": nil}), "no https:// address"),
		allow(federated(`"accounts.google.com"`), google),
		deny(federated(`"accounts.google.com"`), job),
		undecided(federated(`"*"`), job),
		undecided(federated(`"arn:aws:iam::*:oidc-provider/$P"`), job),
		undecided(strings.Replace(federated(`"$A"`), `{"Federated":"$A"}`, `"*"`, 1), job, "what * means to a web identity is not documented"),
		deny(strings.Replace(federated(`"$A"`), `"Federated":"$A"`, `"AWS":"*"`, 1), job, "for no provider of web identities"),
		deny(strings.Replace(federated(`"$A"`), `"Federated":"$A"`, `"Service":"ec2.amazonaws.com"`, 1), job),
		// Whether it denies a web identity is not known, so it must not allow.
		undecided(policyOf(allowing(`{}`), strings.Replace(denyingStatement(`{}`), `"Federated":"$A"`, `"AWS":"*"`, 1)), job),
		undecided(policyOf(allowing(`{}`), strings.Replace(denyingStatement(`{}`), `{"Federated":"$A"}`, `"*"`, 1)), job),
		allow(policyOf(allowing(`{}`), strings.Replace(denyingStatement(`{}`), `"Federated":"$A"`, `"AWS":"111122223333"`, 1)), job),
		allow(`{"Version":"2008-10-17","Id":"x","Statement":`+allowing(`{}`)+`}`, job, "Statement.Principal allow"),
	})
}

func TestActions(t *testing.T) {
	action := func(a string) string {
		return policyOf(strings.Replace(allowing(`{}`), `"Action":"sts:AssumeRoleWithWebIdentity"`, a, 1))
	}
	job := jobRequest(ci.Variant{}, nil)
	tags := map[string]any{"principal_tags": map[string]any{"team": []any{"a"}}, "transitive_tag_keys": []any{"team"}}
	tagged := jobRequest(ci.Variant{}, map[string]any{tagsClaim: tags})
	named := jobRequest(ci.Variant{}, map[string]any{identityClaim: "me"})
	tagging := strings.Replace(allowing(`{"StringEquals":{"aws:RequestTag/Team":"a"}}`), assume, tag, 1)
	judge(t, []row{
		allow(action(`"Action":"STS:assumerolewithwebidentity"`), job),
		allow(action(`"Action":["sts:AssumeRole","sts:AssumeRoleWith*"]`), job),
		allow(action(`"Action":"sts:AssumeRole*"`), job),
		allow(action(`"Action":"sts:AssumeRoleWithWeb?dentity"`), job),
		allow(action(`"Action":"sts:*"`), job),
		allow(action(`"Action":"*"`), job),
		deny(action(`"Action":"sts:AssumeRole"`), job, "sts:AssumeRole is another action; a token needs sts:AssumeRoleWithWebIdentity", "no statement allows sts:AssumeRoleWithWebIdentity"),
		deny(action(`"Action":"sts:AssumeRoleWithSAML"`), job, "is another action"),
		allow(action(`"NotAction":"sts:TagSession"`), job),
		deny(action(`"NotAction":"sts:Assume*"`), job, "Statement[0].NotAction", "none of"),
		deny(with(`{}`), tagged, "no statement allows sts:TagSession"),
		deny(with(`{}`), named, "no statement allows sts:SetSourceIdentity"),
		allow(action(`"Action":["sts:AssumeRoleWithWebIdentity","sts:TagSession"]`), tagged),
		allow(action(`"Action":["sts:AssumeRoleWithWebIdentity","sts:SetSourceIdentity"]`), named),
		allow(policyOf(allowing(`{}`), tagging), tagged),
		deny(policyOf(allowing(`{}`), strings.Replace(tagging, `"a"`, `"b"`, 1)), tagged, `differ at character 1: wanted "b", got "a"`),
		deny(policyOf(allowing(`{}`), tagging, strings.Replace(denyingStatement(`{}`), assume, tag, 1)), tagged, "Statement[2] denies it"),
		allow(policyOf(allowing(`{}`), strings.Replace(denyingStatement(`{}`), assume, tag, 1)), job),
	})
}

func TestDenyWins(t *testing.T) {
	job := jobRequest(ci.Variant{}, nil)
	everybody := allowing(`{}`)
	judge(t, []row{
		deny(policyOf(everybody, denyingStatement(`{}`)), job, "Statement[1] denies it", "holds, in a statement that denies"),
		deny(policyOf(denyingStatement(`{}`), everybody), job, "Statement[0] denies it"),
		allow(policyOf(everybody, denyingStatement(`{"StringEquals":{"$P:aud":"x"}}`)), job, "so that the statement denies nothing"),
		deny(policyOf(everybody, denyingStatement(`{"StringNotLike":{"$P:sub":"*/refs/tags/*"}}`)), job),
		undecided(policyOf(everybody, denyingStatement(`{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`)), job, `Statement[1].Condition.IpAddress["aws:SourceIp"]: what the request has for aws:SourceIp is not known here`),
		allow(policyOf(everybody, denyingStatement(`{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"},"StringEquals":{"$P:aud":"x"}}`)), job),
		deny(policyOf(everybody, denyingStatement(`{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`), denyingStatement(`{}`)), job, "Statement[2] denies it"),
		// Nobody is let in, so what the Deny decides does not matter.
		deny(policyOf(allowing(`{"StringEquals":{"$P:aud":"x"}}`), denyingStatement(`{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`)), job),
		// One statement is undecided, another allows.
		allow(policyOf(allowing(`{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`), everybody), job),
		undecided(policyOf(allowing(`{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`), denyingStatement(`{"StringEquals":{"$P:aud":"x"}}`)), job, `Statement[0].Condition.IpAddress`),
		deny(policyOf(allowing(`{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"},"StringEquals":{"$P:aud":"x"}}`)), job),
		deny(policyOf(denyingStatement(`{}`)), job, "Statement[0] denies it"),
		// A Deny with a key that no token has never denies.
		allow(policyOf(everybody, denyingStatement(`{"Bool":{"$P:oidc.circleci.com/ssh-rerun":"true"}}`)), jobRequest(ci.Variant{SSHRerun: true}, nil), "AWS does not make this claim a condition key, so that the statement denies nothing"),
	})
}

// TestRefused: what AWS refuses before it reads a policy is no allow, whatever that says.
func TestRefused(t *testing.T) {
	at := func(d time.Duration) json.Number { return json.Number(fmt.Sprint(now().Add(d).Unix())) }
	for _, row := range []struct {
		name   string
		claims map[string]any // a nil takes the claim away
		want   string         // empty: admitted
	}{
		{"as it is", nil, ""},
		{"expired", map[string]any{"exp": at(-time.Hour)}, "the token expired at 2026-11-22T11:00:00Z"},
		{"expired within AWS's five minutes", map[string]any{"exp": at(-4 * time.Minute)}, ""},
		{"not valid yet", map[string]any{"nbf": at(time.Hour)}, "the token's nbf is 2026-11-22T13:00:00Z, in the future"},
		{"issued in the future", map[string]any{"iat": at(time.Hour)}, "the token's iat is 2026-11-22T13:00:00Z, in the future"},
		{"no issuer", map[string]any{"iss": nil}, "the token has no claim iss"},
		{"no subject", map[string]any{"sub": nil}, "the token has no claim sub"},
		{"no audience", map[string]any{"aud": nil}, "the token has no claim aud"},
		{"no expiry", map[string]any{"exp": nil}, "the token has no claim exp"},
		{"no time of issue", map[string]any{"iat": nil}, "the token has no claim iat"},
		{"two audiences", map[string]any{"aud": []any{"a", "b"}}, "the token has several audiences and no azp"},
		{"two audiences and azp", map[string]any{"aud": []any{"a", "b"}, "azp": "a"}, ""},
		{"one audience in a list", map[string]any{"aud": []any{"a"}}, ""},
		{"an audience that is a number", map[string]any{"aud": map[string]any{}}, "the token's aud is neither text nor a list of texts"},
		{"no audience in a list", map[string]any{"aud": []any{}}, "the token's aud is neither text nor a list of texts"},
		{"an expiry in text", map[string]any{"exp": "soon"}, "the token's exp is no whole number of seconds"},
		{"a fraction", map[string]any{"exp": json.Number("1.5")}, "the token's exp is no whole number of seconds"},
		{"an endless number", map[string]any{"exp": json.Number(strings.Repeat("9", 40))}, "the token's exp is no whole number of seconds"},
		{"a subject that is a number", map[string]any{"sub": json.Number("12")}, "the token's sub is no text"},
	} {
		j := parse(t, with(`{}`)).Check(jobRequest(ci.Variant{}, row.claims))
		want := policy.Deny
		if row.want == "" {
			want = policy.Allow
		}
		if j.Verdict != want || row.want != "" && j.Reason != row.want+": AWS refuses it before it reads this policy" {
			t.Errorf("%s: %s", row.name, said(j))
		}
	}
}

func TestNotes(t *testing.T) {
	for what, r := range map[string]Request{
		"usual": jobRequest(ci.Variant{}, nil), "no whole number": jobRequest(ci.Variant{}, map[string]any{"exp": json.Number("1.5"), "nbf": "soon", "iat": true}),
		"endless": jobRequest(ci.Variant{}, map[string]any{"exp": json.Number(strings.Repeat("9", 40)), "iat": []any{}}),
	} {
		for _, document := range []string{with(`{}`), namedRole("deploy", with(`{}`))} {
			r.RoleARN = "arn:aws:iam::111122223333:role/ci/deploy"
			for _, word := range []string{"expired", "in the future", "is taken to be", "of another role"} {
				if said := said(parse(t, document).Check(r)); strings.Contains(said, word) {
					t.Errorf("%s: %q in %s", what, word, said)
				}
			}
		}
		r.RoleARN = ""
		for _, word := range []string{"is taken to be", "of another role"} {
			if said := said(parse(t, namedRole("deploy", with(`{}`))).Check(r)); strings.Contains(said, word) {
				t.Errorf("%s: %q in %s", what, word, said)
			}
		}
	}
}
