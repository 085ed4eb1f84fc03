package policy

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

const awsProvider = "oidc.circleci.com/org/" + oidc.SampleOrg

// awsFill writes what the rows of tables leave short: $P is the provider's
// name, $A its ARN, $O the organisation, $J the project, $U the user, $M the
// mask of a UUID.
func awsFill(s string) string {
	return strings.NewReplacer("$P", awsProvider, "$A", "arn:aws:iam::111122223333:oidc-provider/"+awsProvider,
		"$O", oidc.SampleOrg, "$J", oidc.SampleProject, "$U", oidc.SampleUser, "$M", awsMask).Replace(s)
}

// awsWith is a policy of one statement with this condition.
func awsWith(condition string) string { return awsPolicyOf(awsAllowing(condition)) }

func awsPolicyOf(statements ...string) string {
	return `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
}

func awsAllowing(condition string) string {
	return `{"Effect":"Allow","Principal":{"Federated":"$A"},"Action":"sts:AssumeRoleWithWebIdentity","Condition":` + condition + `}`
}

func awsDenying(condition string) string {
	return strings.Replace(awsAllowing(condition), "Allow", "Deny", 1)
}

func awsNow() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

// awsJob is a V2 token's request, with claims set over it. A nil value takes
// the claim away.
func awsJob(v oidc.Variant, claims map[string]any) AWSRequest {
	_, v2 := ClaimsOf(v, awsNow())
	for name, value := range claims {
		if v2[name] = value; value == nil {
			delete(v2, name)
		}
	}
	return AWSRequest{Claims: v2, RoleARN: "arn:aws:iam::111122223333:role/deploy", RoleSessionName: "ci", Now: awsNow()}
}

func awsV1(v oidc.Variant) AWSRequest {
	r := awsJob(v, nil)
	r.Claims, _ = ClaimsOf(v, awsNow())
	return r
}

type awsRow struct {
	document string
	request  AWSRequest
	verdict  Verdict
	words    []string
}

func awsAllow(document string, r AWSRequest, words ...string) awsRow {
	return awsRow{document, r, Allow, words}
}

func awsDeny(document string, r AWSRequest, words ...string) awsRow {
	return awsRow{document, r, Deny, words}
}

func awsUndecided(document string, r AWSRequest, words ...string) awsRow {
	return awsRow{document, r, Undecided, words}
}

// awsJudge runs a table. All words have to be in the judgement.
func awsJudge(t *testing.T, rows []awsRow) {
	t.Helper()
	for i, row := range rows {
		p := awsParse(t, row.document)
		j := p.Check(row.request)
		if j.Verdict != row.verdict {
			t.Errorf("row %d: %s, want %s\n%s\n%s", i, j.Verdict, row.verdict, awsFill(row.document), awsSaid(j))
			continue
		}
		if (j.Verdict == Allow) != (j.Reason == "") {
			t.Errorf("row %d: %s with the reason %q", i, j.Verdict, j.Reason)
		}
		for _, word := range row.words {
			if !strings.Contains(awsSaid(j), awsFill(word)) {
				t.Errorf("row %d: no %q in\n%s", i, awsFill(word), awsSaid(j))
			}
		}
	}
}

func awsParse(t testing.TB, document string) *AWSPolicy {
	t.Helper()
	p, err := ParseAWS([]byte(awsFill(document)))
	if err != nil {
		t.Fatalf("%v in %s", err, awsFill(document))
	}
	return p
}

func awsSaid(j Judgement) string {
	var b strings.Builder
	fmt.Fprintln(&b, j.Verdict, j.Reason)
	for _, c := range j.Checks {
		fmt.Fprintf(&b, "%s %s wanted %s got %s: %s %v\n", c.Name, c.Verdict, c.Wanted, c.Got, c.Reason, c.Hints)
	}
	return b.String() + strings.Join(j.Notes, "\n")
}

func TestAWSDocuments(t *testing.T) {
	for _, row := range []struct{ name, text, want string }{
		{"not JSON", "hello", "line 1, column 1: not JSON"},
		{"two documents", awsWith("{}") + "\n{}", "line 2, column 1: something follows"},
		{"a list", "[]", "line 1, column 1: a trust policy is an object, not a list"},
		{"no statement", "{\"Version\":\"2012-10-17\"}", "line 1, column 1: the document has no Statement"},
		{"statement is text", "{\n\"Statement\":\"x\"}", "line 2, column 13: Statement is text, not an object or a list"},
		{"role is text", "{\n\"Role\":\"x\"}", "line 2, column 8: Role is text"},
		{"role without policy", "{\"Role\":{}}", "Role has no AssumeRolePolicyDocument"},
		{"encoded policy", "{\"Role\":{\n\"AssumeRolePolicyDocument\":\"%7B%7D\"}}", "line 2, column 28: AssumeRolePolicyDocument is text"},
		{"the role's ARN is a number", "{\"Role\":{\"AssumeRolePolicyDocument\":{\"Statement\":[]},\"Arn\":1}}", "the role's Arn is a number"},
	} {
		_, err := ParseAWS([]byte(row.text))
		if err == nil || !strings.Contains(err.Error(), row.want) || fault.KindOf(err) != fault.Usage {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
}

// What AWS would not store is not judged, and lint names its place.
func TestAWSFlaws(t *testing.T) {
	good := awsAllowing(`{"StringEquals":{"$P:aud":"$O"}}`)
	for _, row := range []struct{ name, document, want string }{
		{"duplicate operator", awsWith(`{"StringEquals":{"$P:aud":"$O"},` + "\n" + `"StringEquals":{"$P:sub":"x"}}`), `line 2, column 1: "StringEquals" is there twice`},
		{"duplicate Condition", awsPolicyOf(strings.Replace(good, `"Effect"`, `"Condition":{},"Effect"`, 1)), `"Condition" is there twice`},
		{"duplicate key in another case", awsWith(`{"StringEquals":{"$P:aud":"$O","$P:AUD":"$O"}}`), "compared without letter case"},
		{"unknown operator", awsWith(`{` + "\n  " + `"StringMatches":{"$P:aud":"$O"}}`), `line 2, column 3: unknown operator "StringMatches"`},
		{"operator in another case", awsWith(`{"stringlike":{"$P:aud":"$O"}}`), `unknown operator "stringlike"; it is written "StringLike"`},
		{"unknown set operator", awsWith(`{"ForSomeValues:StringLike":{"$P:aud":"$O"}}`), "unknown operator"},
		{"a set operator without a name", awsWith(`{":StringLike":{"$P:aud":"$O"}}`), "unknown operator"},
		{"Null of a set", awsWith(`{"ForAllValues:Null":{"$P:aud":"true"}}`), "unknown operator"},
		{"NullIfExists", awsWith(`{"NullIfExists":{"$P:aud":"true"}}`), "unknown operator"},
		{"empty operator", awsWith(`{"StringEquals":{}}`), "has no key"},
		{"operator of text", awsWith(`{"StringEquals":"x"}`), "is text, not an object"},
		{"condition of text", awsWith(`"x"`), "is text, not an object"},
		{"no values", awsWith(`{"StringEquals":{"$P:aud":[]}}`), "empty list of values"},
		{"a value is an object", awsWith(`{"StringEquals":{"$P:aud":[{}]}}`), "a value is an object"},
		{"a value is null", awsWith(`{"StringEquals":{"$P:aud":null}}`), "a value is null"},
		{"nested values", awsWith(`{"StringEquals":{"$P:aud":[["$O"]]}}`), "a value is a list"},
		{"key without a prefix", awsWith(`{"StringEquals":{"sub":"x"}}`), `"sub" is no condition key`},
		{"number for text", awsWith(`{"NumericEquals":{"$P:aud":"ten"}}`), `the value "ten" is not a number`},
		{"number with an exponent", awsWith(`{"NumericEquals":{"$P:aud":1e99999999}}`), "is not a number"},
		{"date", awsWith(`{"DateLessThan":{"aws:CurrentTime":"tomorrow"}}`), "is not a date"},
		{"bool", awsWith(`{"Bool":{"aws:SecureTransport":"TRUE"}}`), "is not true or false"},
		{"null", awsWith(`{"Null":{"$P:aud":"yes"}}`), "is not true or false"},
		{"address", awsWith(`{"IpAddress":{"aws:SourceIp":"10.0.0.0/33"}}`), "is not an address"},
		{"address of an interface", awsWith(`{"IpAddress":{"aws:SourceIp":"fe80::1%eth0"}}`), "is not an address"},
		{"no address", awsWith(`{"IpAddress":{"aws:SourceIp":"home"}}`), "is not an address"},
		{"base64", awsWith(`{"BinaryEquals":{"$P:sub":"%"}}`), "is not base64"},
		{"variable without an end", awsWith(`{"StringLike":{"$P:sub":"${$P:aud"}}`), "has a ${ without its }"},
		{"variable without a key", awsWith(`{"StringLike":{"$P:sub":"${x}"}}`), "has a variable whose name is no condition key"},
		{"variable without a name", awsWith(`{"StringLike":{"$P:sub":"${}"}}`), "has a variable whose name is no condition key"},
		{"default with one quote", awsWith(`{"StringLike":{"$P:sub":"${$P:aud, 'x}"}}`), "has a ${ without its }"},
		{"default with half a quote", awsWith(`{"StringLike":{"$P:sub":"${$P:aud, x'y'}"}}`), "has a variable whose default is not in single quotes"},
		{"default of two", awsWith(`{"StringLike":{"$P:sub":"${$P:aud, 'x''y'}"}}`), "has a variable whose default is not in single quotes"},
		{"default of nothing", awsWith(`{"StringLike":{"$P:sub":"${$P:aud,}"}}`), "has a variable whose default is not in single quotes"},
		{"default without quotes", awsWith(`{"StringLike":{"$P:sub":"${$P:aud, x}"}}`), "has a variable whose default is not in single quotes"},
		{"version", strings.Replace(awsWith(`{}`), "2012-10-17", "2024-01-01", 1), `there is no version "2024-01-01"`},
		{"version of a number", strings.Replace(awsWith(`{}`), `"2012-10-17"`, `2012`, 1), "Version is a number, not text"},
		{"unknown member", `{"Statement":[` + good + `],"Statements":[]}`, `there is no member "Statements" in a trust policy`},
		{"member in another case", awsPolicyOf(strings.Replace(good, `"Effect"`, `"effect"`, 1)), `no member "effect"; it is written "Effect"`},
		{"resource", awsPolicyOf(strings.Replace(good, `"Effect"`, `"Resource":"*","Effect"`, 1)), "a trust policy has no Resource"},
		{"not principal", awsPolicyOf(strings.Replace(good, `"Principal"`, `"NotPrincipal"`, 1)), "a trust policy has no NotPrincipal"},
		{"effect", awsPolicyOf(strings.Replace(good, `"Allow"`, `"allow"`, 1)), `Effect is "allow", not Allow or Deny`},
		{"no effect", awsPolicyOf(strings.Replace(good, `"Effect":"Allow",`, ``, 1)), "has no Effect"},
		{"no principal", awsPolicyOf(strings.Replace(good, `"Principal":{"Federated":"$A"},`, ``, 1)), "has no Principal"},
		{"principal of text", awsPolicyOf(strings.Replace(good, `{"Federated":"$A"}`, `"$A"`, 1)), `is text, not an object or "*"`},
		{"unknown principal", awsPolicyOf(strings.Replace(good, `Federated`, `federated`, 1)), `it is written "Federated"`},
		{"empty principal", awsPolicyOf(strings.Replace(good, `{"Federated":"$A"}`, `{}`, 1)), "Principal is empty"},
		{"empty federated", awsPolicyOf(strings.Replace(good, `"$A"`, `[]`, 1)), "Federated is an empty list"},
		{"principal of a number", awsPolicyOf(strings.Replace(good, `"$A"`, `5`, 1)), "Federated is a number, not text"},
		{"no action", awsPolicyOf(strings.Replace(good, `"Action":"sts:AssumeRoleWithWebIdentity",`, ``, 1)), "needs either Action or NotAction"},
		{"two actions", awsPolicyOf(strings.Replace(good, `"Action"`, `"NotAction":"x","Action"`, 1)), "needs either Action or NotAction"},
		{"action of a number", awsPolicyOf(strings.Replace(good, `"sts:AssumeRoleWithWebIdentity"`, `[1]`, 1)), "Action is a number, not text"},
		{"sid", awsPolicyOf(strings.Replace(good, `"Effect"`, `"Sid":1,"Effect"`, 1)), "Sid is a number, not text"},
		{"statement of text", awsPolicyOf(`"x"`), "Statement[0] is text, not an object"},
		{"no statements", awsPolicyOf(), "Statement is empty"},
		{"far too long", awsWith(`{"StringEquals":{"$P:aud":"` + strings.Repeat("x", awsLongest) + `"}}`), "AWS keeps 2048 of a trust policy"},
	} {
		p := awsParse(t, row.document)
		j := p.Check(awsJob(oidc.Variant{}, nil))
		if j.Verdict != Undecided || !strings.Contains(j.Reason, awsFill(row.want)) || !strings.HasPrefix(j.Reason, "line ") {
			t.Errorf("%s: %s %q, want undecided %q", row.name, j.Verdict, j.Reason, row.want)
		}
		findings := p.Lint(awsNow())
		if len(findings) == 0 || findings[0].Line == 0 || !strings.Contains(fmt.Sprint(findings), awsFill(row.want[strings.Index(row.want, ": ")+1:])) {
			t.Errorf("%s: lint finds %+v", row.name, findings)
		}
	}
}

func TestAWSGetRole(t *testing.T) {
	role := func(arn string) string {
		return `{"Role":{"RoleName":"x","AssumeRolePolicyDocument":` + awsWith(`{"StringEquals":{"$P:aud":"$O"}}`) + `,"Arn":"` + arn + `","MaxSessionDuration":3600}}`
	}
	here, there := role("arn:aws:iam::111122223333:role/x"), role("arn:aws:iam::999988887777:role/x")
	anywhere := awsJob(oidc.Variant{}, nil)
	anywhere.RoleARN = ""
	awsJudge(t, []awsRow{
		awsAllow(here, anywhere),
		awsDeny(there, anywhere, "the provider has to be in the role's account: arn:aws:iam::999988887777"),
		awsAllow(there, awsJob(oidc.Variant{}, nil), "the document is the trust policy of another role, arn:aws:iam::999988887777:role/x"),
	})
}

func TestAWSPrincipals(t *testing.T) {
	federated := func(arn string) string {
		return awsPolicyOf(strings.Replace(awsAllowing(`{}`), `{"Federated":"$A"}`, `{"Federated":`+arn+`}`, 1))
	}
	job := awsJob(oidc.Variant{}, nil)
	unknown := job
	unknown.RoleARN = ""
	broken := job
	broken.RoleARN = "deploy"
	china := job
	china.RoleARN = "arn:aws-cn:iam::111122223333:role/deploy"
	role := func(arn string) AWSRequest {
		r := job
		r.RoleARN = arn
		return r
	}
	google := awsJob(oidc.Variant{}, map[string]any{"iss": "https://accounts.google.com"})
	awsJudge(t, []awsRow{
		awsAllow(federated(`"$A"`), job, "unless a resource control policy (RCP) denies it", `has to list "$O" among its client ids`),
		awsAllow(federated(`["arn:aws:iam::111122223333:oidc-provider/gitlab.com","$A"]`), job),
		awsAllow(federated(`"$A"`), unknown, "account is taken to be that of the provider, 111122223333"),
		awsUndecided(federated(`"$A"`), broken, "the role's ARN is not that of a role"),
		awsUndecided(federated(`["$A","arn:aws:iam::999988887777:oidc-provider/$P"]`), unknown, "in several accounts"),
		awsUndecided(federated(`"arn:aws:iam::ACCOUNT_ID:oidc-provider/$P"`), unknown, "names no account of 12 digits"),
		awsUndecided(federated(`"arn:aws:iam::ACCOUNT_ID:oidc-provider/$P"`), job, "no ARN of a provider"),
		awsDeny(federated(`"arn:aws:iam::999988887777:oidc-provider/$P"`), job, "has to be in the role's account"),
		awsDeny(federated(`"$A"`), china, "arn:aws-cn:iam::111122223333"),
		awsAllow(federated(`"arn:aws-cn:iam::111122223333:oidc-provider/$P"`), china),
		awsDeny(federated(`"arn:aws:iam::111122223333:oidc-provider/oidc.circleci.com/org/`+awsOtherOrg+`"`), job, "the document names the organisation "+awsOtherOrg, "no statement allows anything to the provider $A"),
		awsDeny(federated(`"arn:aws:iam::111122223333:oidc-provider/oidc.circleci.com"`), job, "is the root issuer, which lacks /org/$O"),
		awsDeny(federated(`"$A"`), awsJob(oidc.Variant{RootIssuer: true}, nil), "the token is of the root issuer"),
		awsDeny(federated(`"arn:aws:iam::111122223333:oidc-provider/https://$P"`), job, "issuer without https://"),
		awsDeny(federated(`"$A/"`), job, "trailing slash"),
		awsDeny(federated(`"arn:aws:iam::111122223333:oidc-provider/OIDC.circleci.com/org/$O"`), job, "by letter case"),
		awsDeny(federated(`"arn:aws:iam::111122223333:saml-provider/x"`), job, "another provider than the token's"),
		awsDeny(federated(`"$P"`), job),
		awsDeny(federated(`["arn:aws:iam:x:111122223333:oidc-provider/$P","arn:aws:sts::111122223333:oidc-provider/$P","urn:aws:iam::111122223333:oidc-provider/$P"]`), job),
		awsUndecided(federated(`"$A"`), role("urn:aws:iam::111122223333:role/deploy")),
		awsUndecided(federated(`"$A"`), role("arn:aws:sts::111122223333:role/deploy")),
		awsUndecided(federated(`"$A"`), role("arn:aws:iam:x:111122223333:role/deploy")),
		awsUndecided(federated(`"$A"`), role("arn:aws:iam::111122223333:user/deploy")),
		awsUndecided(federated(`"$A"`), role("arn:aws:iam::11112222333:role/deploy")),
		awsUndecided(federated(`"$A"`), role("arn:aws:iam::1111222233330:role/deploy")),
		awsUndecided(federated(`"$A"`), role("arn:aws:iam::11112222333x:role/deploy")),
		awsUndecided(federated(`"$A"`), role("arn:azure:iam::111122223333:role/deploy")),
		awsUndecided(federated(`"$A"`), role("arn:aws:iam::111122223333")),
		awsDeny(federated(`"$A"`), awsJob(oidc.Variant{}, map[string]any{"iss": awsProvider}), "issuer is no https:// address"),
		awsDeny(federated(`"$A"`), awsJob(oidc.Variant{}, map[string]any{"iss": nil}), "the token has no claim iss"),
		awsAllow(federated(`"accounts.google.com"`), google),
		awsDeny(federated(`"accounts.google.com"`), job),
		awsUndecided(federated(`"*"`), job),
		awsUndecided(federated(`"arn:aws:iam::*:oidc-provider/$P"`), job),
		awsUndecided(strings.Replace(federated(`"$A"`), `{"Federated":"$A"}`, `"*"`, 1), job, "what * means to a web identity is not documented"),
		awsDeny(strings.Replace(federated(`"$A"`), `"Federated":"$A"`, `"AWS":"*"`, 1), job, "for no provider of web identities"),
		awsDeny(strings.Replace(federated(`"$A"`), `"Federated":"$A"`, `"Service":"ec2.amazonaws.com"`, 1), job),
		// Whether it denies a web identity is not known, so it must not allow.
		awsUndecided(awsPolicyOf(awsAllowing(`{}`), strings.Replace(awsDenying(`{}`), `"Federated":"$A"`, `"AWS":"*"`, 1)), job),
		awsUndecided(awsPolicyOf(awsAllowing(`{}`), strings.Replace(awsDenying(`{}`), `{"Federated":"$A"}`, `"*"`, 1)), job),
		awsAllow(awsPolicyOf(awsAllowing(`{}`), strings.Replace(awsDenying(`{}`), `"Federated":"$A"`, `"AWS":"111122223333"`, 1)), job),
		awsAllow(`{"Version":"2008-10-17","Id":"x","Statement":`+awsAllowing(`{}`)+`}`, job, "Statement.Principal allow"),
	})
}

func TestAWSActions(t *testing.T) {
	action := func(a string) string {
		return awsPolicyOf(strings.Replace(awsAllowing(`{}`), `"Action":"sts:AssumeRoleWithWebIdentity"`, a, 1))
	}
	job := awsJob(oidc.Variant{}, nil)
	tags := map[string]any{"principal_tags": map[string]any{"team": []any{"a"}}, "transitive_tag_keys": []any{"team"}}
	tagged := awsJob(oidc.Variant{}, map[string]any{awsTagsClaim: tags})
	named := awsJob(oidc.Variant{}, map[string]any{awsIdentityClaim: "me"})
	tagging := strings.Replace(awsAllowing(`{"StringEquals":{"aws:RequestTag/Team":"a"}}`), awsAssume, awsTag, 1)
	awsJudge(t, []awsRow{
		awsAllow(action(`"Action":"STS:assumerolewithwebidentity"`), job),
		awsAllow(action(`"Action":["sts:AssumeRole","sts:AssumeRoleWith*"]`), job),
		awsAllow(action(`"Action":"sts:AssumeRole*"`), job),
		awsAllow(action(`"Action":"sts:AssumeRoleWithWeb?dentity"`), job),
		awsAllow(action(`"Action":"sts:*"`), job),
		awsAllow(action(`"Action":"*"`), job),
		awsDeny(action(`"Action":"sts:AssumeRole"`), job, "sts:AssumeRole is another action; a token needs sts:AssumeRoleWithWebIdentity", "no statement allows sts:AssumeRoleWithWebIdentity"),
		awsDeny(action(`"Action":"sts:AssumeRoleWithSAML"`), job, "is another action"),
		awsAllow(action(`"NotAction":"sts:TagSession"`), job),
		awsDeny(action(`"NotAction":"sts:Assume*"`), job, "Statement[0].NotAction", "none of"),
		awsDeny(awsWith(`{}`), tagged, "no statement allows sts:TagSession"),
		awsDeny(awsWith(`{}`), named, "no statement allows sts:SetSourceIdentity"),
		awsAllow(action(`"Action":["sts:AssumeRoleWithWebIdentity","sts:TagSession"]`), tagged),
		awsAllow(action(`"Action":["sts:AssumeRoleWithWebIdentity","sts:SetSourceIdentity"]`), named),
		awsAllow(awsPolicyOf(awsAllowing(`{}`), tagging), tagged),
		awsDeny(awsPolicyOf(awsAllowing(`{}`), strings.Replace(tagging, `"a"`, `"b"`, 1)), tagged, `differ at character 1: wanted "b", got "a"`),
		awsDeny(awsPolicyOf(awsAllowing(`{}`), tagging, strings.Replace(awsDenying(`{}`), awsAssume, awsTag, 1)), tagged, "Statement[2] denies it"),
		awsAllow(awsPolicyOf(awsAllowing(`{}`), strings.Replace(awsDenying(`{}`), awsAssume, awsTag, 1)), job),
	})
}

func TestAWSDenyWins(t *testing.T) {
	job := awsJob(oidc.Variant{}, nil)
	everybody := awsAllowing(`{}`)
	awsJudge(t, []awsRow{
		awsDeny(awsPolicyOf(everybody, awsDenying(`{}`)), job, "Statement[1] denies it", "holds, in a statement that denies"),
		awsDeny(awsPolicyOf(awsDenying(`{}`), everybody), job, "Statement[0] denies it"),
		awsAllow(awsPolicyOf(everybody, awsDenying(`{"StringEquals":{"$P:aud":"x"}}`)), job, "so that the statement denies nothing"),
		awsDeny(awsPolicyOf(everybody, awsDenying(`{"StringNotLike":{"$P:sub":"*/refs/tags/*"}}`)), job),
		awsUndecided(awsPolicyOf(everybody, awsDenying(`{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`)), job, `Statement[1].Condition.IpAddress["aws:SourceIp"]: what the request has for aws:SourceIp is not known here`),
		awsAllow(awsPolicyOf(everybody, awsDenying(`{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"},"StringEquals":{"$P:aud":"x"}}`)), job),
		awsDeny(awsPolicyOf(everybody, awsDenying(`{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`), awsDenying(`{}`)), job, "Statement[2] denies it"),
		// Nobody is let in, so what the Deny decides does not matter.
		awsDeny(awsPolicyOf(awsAllowing(`{"StringEquals":{"$P:aud":"x"}}`), awsDenying(`{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`)), job),
		// One statement is undecided, another allows.
		awsAllow(awsPolicyOf(awsAllowing(`{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`), everybody), job),
		awsUndecided(awsPolicyOf(awsAllowing(`{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`), awsDenying(`{"StringEquals":{"$P:aud":"x"}}`)), job, `Statement[0].Condition.IpAddress`),
		awsDeny(awsPolicyOf(awsAllowing(`{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"},"StringEquals":{"$P:aud":"x"}}`)), job),
		awsDeny(awsPolicyOf(awsDenying(`{}`)), job, "Statement[0] denies it"),
		// A Deny with a key that no token has never denies.
		awsAllow(awsPolicyOf(everybody, awsDenying(`{"Bool":{"$P:oidc.circleci.com/ssh-rerun":"true"}}`)), awsJob(oidc.Variant{SSHRerun: true}, nil), "AWS does not make this claim a condition key, so that the statement denies nothing"),
	})
}

func TestAWSNotes(t *testing.T) {
	j := awsParse(t, awsWith(`{}`)).Check(awsJob(oidc.Variant{Expired: true}, nil))
	if j.Verdict != Allow || !strings.Contains(awsSaid(j), "the token expired at 2026-11-22T11:00:00Z: AWS refuses it") {
		t.Errorf("expired: %s", awsSaid(j))
	}
	early := awsJob(oidc.Variant{}, map[string]any{"nbf": json.Number(fmt.Sprint(awsNow().Add(time.Hour).Unix()))})
	if said := awsSaid(awsParse(t, awsWith(`{}`)).Check(early)); !strings.Contains(said, "the token's nbf is 2026-11-22T13:00:00Z, in the future") {
		t.Errorf("not yet valid: %s", said)
	}
	for what, r := range map[string]AWSRequest{
		"usual": awsJob(oidc.Variant{}, nil), "no whole number": awsJob(oidc.Variant{}, map[string]any{"exp": json.Number("1.5"), "nbf": "soon", "iat": true}),
		"endless": awsJob(oidc.Variant{}, map[string]any{"exp": json.Number(strings.Repeat("9", 40)), "iat": []any{}}),
	} {
		for _, document := range []string{awsWith(`{}`), awsNamedRole("deploy", awsWith(`{}`))} {
			r.RoleARN = "arn:aws:iam::111122223333:role/ci/deploy"
			for _, word := range []string{"expired", "in the future", "is taken to be", "of another role"} {
				if said := awsSaid(awsParse(t, document).Check(r)); strings.Contains(said, word) {
					t.Errorf("%s: %q in %s", what, word, said)
				}
			}
		}
		r.RoleARN = ""
		for _, word := range []string{"is taken to be", "of another role"} {
			if said := awsSaid(awsParse(t, awsNamedRole("deploy", awsWith(`{}`))).Check(r)); strings.Contains(said, word) {
				t.Errorf("%s: %q in %s", what, word, said)
			}
		}
	}
	grace := awsJob(oidc.Variant{}, nil)
	grace.Now = awsNow().Add(time.Hour + 4*time.Minute)
	if said := awsSaid(awsParse(t, awsWith(`{}`)).Check(grace)); strings.Contains(said, "expired") {
		t.Errorf("within AWS's five minutes: %s", said)
	}
}
