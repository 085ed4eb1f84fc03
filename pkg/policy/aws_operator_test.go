package policy

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

func TestAWSText(t *testing.T) {
	job := awsJob(oidc.Variant{}, nil)
	const sub = `org/$O/project/$J/user/$U/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main`
	awsJudge(t, []awsRow{
		awsAllow(awsWith(`{"StringEquals":{"$P:sub":"`+sub+`"}}`), job),
		awsAllow(awsWith(`{"StringEquals":{"OIDC.circleci.com/org/$O:SUB":["x","`+sub+`"]}}`), job),
		awsDeny(awsWith(`{"StringEquals":{"$P:sub":"`+strings.ToUpper(sub)+`"}}`), job),
		awsDeny(awsWith(`{"StringEquals":{"$P:sub":"org/$O/*"}}`), job, "StringEquals takes * and ? for themselves"),
		awsAllow(awsWith(`{"StringEqualsIgnoreCase":{"$P:sub":"Org/$O/Project/$J/User/$U/vcs-origin/GitHub.com/my-org/app/vcs-ref/refs/heads/main"}}`), job),
		awsDeny(awsWith(`{"StringEqualsIgnoreCase":{"$P:sub":"Org/$O"}}`), job),
		awsAllow(awsWith(`{"StringLike":{"$P:sub":"org/$O/*"}}`), job),
		awsAllow(awsWith(`{"StringLike":{"$P:sub":"org/*/refs/heads/mai?"}}`), job),
		awsAllow(awsWith(`{"StringLike":{"$P:sub":"*"}}`), job),
		awsDeny(awsWith(`{"StringLike":{"$P:sub":"org/$O"}}`), job, "wanted nothing more"),
		awsDeny(awsWith(`{"StringLike":{"$P:sub":"*/refs/heads/main?"}}`), job),
		awsDeny(awsWith(`{"StringLike":{"$P:sub":"*/Refs/heads/main"}}`), job, "letter case"),
	})
	awsJudge(t, []awsRow{
		awsAllow(awsWith(`{"StringNotEquals":{"$P:aud":["a","b"]}}`), job),
		awsDeny(awsWith(`{"StringNotEquals":{"$P:aud":["a","$O"]}}`), job, "the condition excludes this value", `wanted not "a" or "$O"`),
		awsDeny(awsWith(`{"StringNotEqualsIgnoreCase":{"$P:sub":"`+strings.ToUpper("x")+`","$P:aud":"$O"}}`), job),
		awsAllow(awsWith(`{"StringNotEqualsIgnoreCase":{"$P:aud":"x"}}`), job),
		awsDeny(awsWith(`{"StringNotEqualsIgnoreCase":{"$P:aud":"`+strings.ToUpper(oidc.SampleOrg)+`"}}`), job),
		awsAllow(awsWith(`{"StringNotLike":{"$P:sub":["*/tags/*","*/pull/*"]}}`), job),
		awsDeny(awsWith(`{"StringNotLike":{"$P:sub":["*/tags/*","*/heads/*"]}}`), job),
		awsAllow(awsWith(`{"StringNotEquals":{"$P:sub":"org/*"}}`), job), // no wildcard here
		awsAllow(awsWith(`{"StringEquals":{"$P:aud":"$O","$P:oidc.circleci.com/project-id":"$J"},"StringLike":{"$P:sub":"org/*"}}`), job),
		awsDeny(awsWith(`{"StringEquals":{"$P:aud":"$O","$P:oidc.circleci.com/project-id":"x"},"StringLike":{"$P:sub":"org/*"}}`), job, `oidc.circleci.com/project-id"]: they differ at character 1`),
		awsDeny(awsWith(`{"StringEquals":{"$P:aud":"$O"},"StringLike":{"$P:sub":"x*"}}`), job),
		// A number and true are compared as text.
		awsAllow(awsWith(`{"StringEquals":{"$P:sub":12}}`), awsJob(oidc.Variant{}, map[string]any{"sub": json.Number("12")})),
		awsAllow(awsWith(`{"StringEquals":{"$P:sub":true}}`), awsJob(oidc.Variant{}, map[string]any{"sub": true})),
		awsAllow(awsWith(`{"StringLike":{"$P:sub":"a?c"}}`), awsJob(oidc.Variant{}, map[string]any{"sub": "aüc"})),
	})
}

func TestAWSMissing(t *testing.T) {
	none := awsJob(oidc.Variant{}, map[string]any{"sub": nil, "email": nil})
	null := awsJob(oidc.Variant{}, nil)
	null.Claims["sub"] = nil
	empty := awsJob(oidc.Variant{}, map[string]any{"sub": ""})
	for _, r := range []AWSRequest{none, null} {
		awsJudge(t, []awsRow{
			awsDeny(awsWith(`{"StringEquals":{"$P:sub":"x"}}`), r, "the token has no claim sub"),
			awsDeny(awsWith(`{"StringEqualsIgnoreCase":{"$P:sub":"x"}}`), r),
			awsDeny(awsWith(`{"StringLike":{"$P:sub":"*"}}`), r),
			awsAllow(awsWith(`{"StringNotEquals":{"$P:sub":"x"}}`), r, "and StringNotEquals holds without a value"),
			awsAllow(awsWith(`{"StringNotEqualsIgnoreCase":{"$P:sub":"x"}}`), r),
			awsAllow(awsWith(`{"StringNotLike":{"$P:sub":"*"}}`), r),
			awsAllow(awsWith(`{"StringEqualsIfExists":{"$P:sub":"x"}}`), r),
			awsAllow(awsWith(`{"StringLikeIfExists":{"$P:sub":"x"}}`), r),
			awsAllow(awsWith(`{"StringNotEqualsIfExists":{"$P:sub":"x"}}`), r),
			awsDeny(awsWith(`{"NumericEquals":{"$P:sub":"1"}}`), r),
			awsDeny(awsWith(`{"NumericLessThan":{"$P:sub":"1"}}`), r),
			awsDeny(awsWith(`{"NumericGreaterThanEquals":{"$P:sub":"1"}}`), r),
			awsAllow(awsWith(`{"NumericNotEquals":{"$P:sub":"1"}}`), r),
			awsAllow(awsWith(`{"NumericLessThanIfExists":{"$P:sub":"1"}}`), r),
			awsDeny(awsWith(`{"DateEquals":{"$P:sub":"2026-01-01"}}`), r),
			awsAllow(awsWith(`{"DateNotEquals":{"$P:sub":"2026-01-01"}}`), r),
			awsDeny(awsWith(`{"Bool":{"$P:sub":"false"}}`), r),
			awsAllow(awsWith(`{"BoolIfExists":{"$P:sub":"false"}}`), r),
			awsDeny(awsWith(`{"BinaryEquals":{"$P:sub":"eA=="}}`), r),
			awsDeny(awsWith(`{"IpAddress":{"$P:sub":"10.0.0.0/8"}}`), r),
			awsAllow(awsWith(`{"NotIpAddress":{"$P:sub":"10.0.0.0/8"}}`), r),
			awsDeny(awsWith(`{"ArnLike":{"$P:sub":"*"}}`), r),
			awsDeny(awsWith(`{"ArnEquals":{"$P:sub":"*"}}`), r),
			awsAllow(awsWith(`{"ArnNotEquals":{"$P:sub":"*"}}`), r),
			awsAllow(awsWith(`{"ArnNotLike":{"$P:sub":"*"}}`), r),
			awsAllow(awsWith(`{"ForAllValues:StringEquals":{"$P:sub":"x"}}`), r),
			awsAllow(awsWith(`{"ForAllValues:StringNotEquals":{"$P:sub":"x"}}`), r),
			awsDeny(awsWith(`{"ForAnyValue:StringEquals":{"$P:sub":"x"}}`), r),
			awsDeny(awsWith(`{"ForAnyValue:StringNotEquals":{"$P:sub":"x"}}`), r),
			awsAllow(awsWith(`{"ForAnyValue:StringEqualsIfExists":{"$P:sub":"x"}}`), r),
			awsAllow(awsWith(`{"Null":{"$P:sub":"true"}}`), r),
			awsAllow(awsWith(`{"Null":{"$P:sub":true}}`), r),
			awsAllow(awsWith(`{"Null":{"$P:sub":["true","false"]}}`), r),
			awsDeny(awsWith(`{"Null":{"$P:sub":"false"}}`), r, "the token has no claim sub"),
		})
	}
	awsJudge(t, []awsRow{
		// Text without length is null where that is documented, else undecided.
		awsAllow(awsWith(`{"Null":{"$P:sub":"true"}}`), empty),
		awsDeny(awsWith(`{"Null":{"$P:sub":"false"}}`), empty),
		awsAllow(awsWith(`{"ForAllValues:StringEquals":{"$P:sub":"x"}}`), empty),
		awsDeny(awsWith(`{"ForAnyValue:StringLike":{"$P:sub":"*"}}`), empty),
		awsUndecided(awsWith(`{"StringLike":{"$P:sub":"*"}}`), empty, "an empty value is not documented"),
		awsUndecided(awsWith(`{"StringNotEquals":{"$P:sub":"x"}}`), empty),
		awsUndecided(awsWith(`{"StringEqualsIfExists":{"$P:sub":""}}`), empty),
		awsDeny(awsWith(`{"Null":{"$P:sub":"true"}}`), awsJob(oidc.Variant{}, nil), "the token has the claim"),
		awsAllow(awsWith(`{"Null":{"$P:sub":"false"}}`), awsJob(oidc.Variant{}, nil)),
		awsDeny(awsWith(`{"StringEqualsIfExists":{"$P:aud":"x"}}`), awsJob(oidc.Variant{}, nil)),
	})
}

func TestAWSNumbersAndDates(t *testing.T) {
	sub := func(s string) AWSRequest { return awsJob(oidc.Variant{}, map[string]any{"sub": s}) }
	awsJudge(t, []awsRow{
		awsAllow(awsWith(`{"NumericEquals":{"$P:sub":"10.0"}}`), sub("10")),
		awsAllow(awsWith(`{"NumericEquals":{"$P:sub":[1,10]}}`), sub("10")),
		awsDeny(awsWith(`{"NumericNotEquals":{"$P:sub":[1,10]}}`), sub("10")),
		awsAllow(awsWith(`{"NumericNotEquals":{"$P:sub":[1,2]}}`), sub("10")),
		awsAllow(awsWith(`{"NumericLessThan":{"$P:sub":"10"}}`), sub("9")), // as text 9 is the greater
		awsDeny(awsWith(`{"NumericLessThan":{"$P:sub":"10"}}`), sub("10")),
		awsAllow(awsWith(`{"NumericLessThanEquals":{"$P:sub":"10"}}`), sub("10")),
		awsDeny(awsWith(`{"NumericLessThanEquals":{"$P:sub":"10"}}`), sub("10.5")),
		awsAllow(awsWith(`{"NumericGreaterThan":{"$P:sub":"-1"}}`), sub("0")),
		awsDeny(awsWith(`{"NumericGreaterThan":{"$P:sub":"0"}}`), sub("0")),
		awsAllow(awsWith(`{"NumericGreaterThanEquals":{"$P:sub":"0"}}`), sub("0")),
		awsUndecided(awsWith(`{"NumericEquals":{"$P:sub":"0"}}`), sub("zero"), "what NumericEquals makes of these values"),
		awsAllow(awsWith(`{"DateEquals":{"$P:sub":"2026-01-01T00:00:00Z"}}`), sub("2026-01-01")),
		awsAllow(awsWith(`{"DateEquals":{"$P:sub":"1767225600"}}`), sub("2026-01-01T01:00:00+01:00")),
		awsDeny(awsWith(`{"DateNotEquals":{"$P:sub":"2026-01-01"}}`), sub("2026-01-01")),
		awsAllow(awsWith(`{"DateLessThan":{"$P:sub":"2026-01-02"}}`), sub("2026-01-01")),
		awsDeny(awsWith(`{"DateLessThanEquals":{"$P:sub":"2026-01-02"}}`), sub("2026-01-03")),
		awsAllow(awsWith(`{"DateGreaterThan":{"$P:sub":"2026-01-02"}}`), sub("2026-01-03")),
		awsDeny(awsWith(`{"DateGreaterThanEquals":{"$P:sub":"2026-01-02"}}`), sub("2026-01-01")),
		awsUndecided(awsWith(`{"DateLessThan":{"$P:sub":"2026-01-02"}}`), sub("now")),
		awsAllow(awsWith(`{"NumericEquals":{"$P:sub":"`+strings.Repeat("1", 40)+`"}}`), sub(strings.Repeat("1", 40))),
		awsUndecided(awsWith(`{"NumericEquals":{"$P:sub":"1"}}`), sub(strings.Repeat("1", 41))),
		awsUndecided(awsWith(`{"NumericEquals":{"$P:sub":"1"}}`), sub("1e3")),
		awsUndecided(awsWith(`{"DateLessThan":{"$P:sub":"2026-01-02"}}`), sub("2026")), // a year, or seconds
		awsAllow(awsWith(`{"DateLessThan":{"$P:sub":"2026-01-02"}}`), sub("20260")),
	})
}

func TestAWSOtherTypes(t *testing.T) {
	sub := func(s any) AWSRequest { return awsJob(oidc.Variant{}, map[string]any{"sub": s}) }
	awsJudge(t, []awsRow{
		awsAllow(awsWith(`{"Bool":{"$P:sub":true}}`), sub(true)),
		awsAllow(awsWith(`{"Bool":{"$P:sub":["false","true"]}}`), sub("true")),
		awsDeny(awsWith(`{"Bool":{"$P:sub":"false"}}`), sub("true"), "no value is as the condition wants it"),
		awsUndecided(awsWith(`{"Bool":{"$P:sub":"false"}}`), sub("no")),
		awsAllow(awsWith(`{"BinaryEquals":{"$P:sub":"aGVsbG8="}}`), sub("hello")),
		awsDeny(awsWith(`{"BinaryEquals":{"$P:sub":"aGVsbG8="}}`), sub("aGVsbG8=")),
		awsAllow(awsWith(`{"IpAddress":{"$P:sub":["192.0.2.0/24","10.0.0.0/8"]}}`), sub("10.1.2.3")),
		awsAllow(awsWith(`{"IpAddress":{"$P:sub":"10.1.2.3"}}`), sub("10.1.2.3")),
		awsDeny(awsWith(`{"IpAddress":{"$P:sub":"10.1.2.3"}}`), sub("10.1.2.4")),
		awsAllow(awsWith(`{"IpAddress":{"$P:sub":"2001:db8::/32"}}`), sub("2001:db8::1")),
		awsDeny(awsWith(`{"NotIpAddress":{"$P:sub":"10.0.0.0/8"}}`), sub("10.1.2.3")),
		awsAllow(awsWith(`{"NotIpAddress":{"$P:sub":"10.0.0.0/8"}}`), sub("192.0.2.1")),
		awsUndecided(awsWith(`{"NotIpAddress":{"$P:sub":"10.0.0.0/8"}}`), sub("localhost")),
		awsAllow(awsWith(`{"ArnLike":{"$P:sub":"arn:aws:iam::*:role/ci-*"}}`), sub("arn:aws:iam::111122223333:role/ci-a:b/c")),
		awsAllow(awsWith(`{"ArnEquals":{"$P:sub":"arn:aws:iam::*:role/ci-?"}}`), sub("arn:aws:iam::111122223333:role/ci-a")),
		awsDeny(awsWith(`{"ArnLike":{"$P:sub":"arn:aws:*:*:*:user/*"}}`), sub("arn:aws:iam::111122223333:role/user/x")),
		awsDeny(awsWith(`{"ArnLike":{"$P:sub":"arn:aws:i*m:x:1:role/a"}}`), sub("arn:aws:i:m:x:1:role/a")),
		awsDeny(awsWith(`{"ArnNotLike":{"$P:sub":"arn:aws:iam::*:role/*"}}`), sub("arn:aws:iam::111122223333:role/x")),
		awsAllow(awsWith(`{"ArnNotEquals":{"$P:sub":"arn:aws:iam::*:user/*"}}`), sub("arn:aws:iam::111122223333:role/x")),
		awsAllow(awsWith(`{"ArnLike":{"$P:sub":"*"}}`), sub("anything")),
		awsUndecided(awsWith(`{"ArnLike":{"$P:sub":"arn:aws:iam::*:role/*"}}`), sub("anything"), "what ArnLike makes of these values"),
		awsUndecided(awsWith(`{"ArnNotLike":{"$P:sub":"arn:aws:iam::*:role/*"}}`), sub("anything")),
		awsUndecided(awsWith(`{"ArnLike":{"$P:sub":"?"}}`), sub("x")),
		awsUndecided(awsWith(`{"ArnLike":{"$P:sub":"role/*"}}`), sub("arn:aws:iam::111122223333:role/x")),
		awsUndecided(awsWith(`{"StringLike":{"$P:sub":"*"}}`), sub([]any{"a"}), "of a type that AWS documents nothing about"),
		awsUndecided(awsWith(`{"StringLike":{"$P:sub":"*"}}`), sub(map[string]any{})),
	})
}

func TestAWSSets(t *testing.T) {
	amr := func(v any) AWSRequest { return awsJob(oidc.Variant{}, map[string]any{"amr": v}) }
	two := amr([]any{"mfa", "pwd"})
	awsJudge(t, []awsRow{
		awsAllow(awsWith(`{"ForAnyValue:StringEquals":{"$P:amr":["x","mfa"]}}`), two),
		awsDeny(awsWith(`{"ForAnyValue:StringEquals":{"$P:amr":"x"}}`), two),
		awsAllow(awsWith(`{"ForAllValues:StringEquals":{"$P:amr":["mfa","pwd","x"]}}`), two),
		awsDeny(awsWith(`{"ForAllValues:StringEquals":{"$P:amr":["mfa"]}}`), two),
		awsAllow(awsWith(`{"ForAllValues:StringLike":{"$P:amr":"*"}}`), two),
		awsAllow(awsWith(`{"ForAllValues:StringNotEquals":{"$P:amr":"x"}}`), two),
		awsDeny(awsWith(`{"ForAllValues:StringNotEquals":{"$P:amr":"mfa"}}`), two),
		awsAllow(awsWith(`{"ForAnyValue:StringNotEquals":{"$P:amr":"mfa"}}`), two),
		awsDeny(awsWith(`{"ForAnyValue:StringNotEquals":{"$P:amr":["mfa","pwd"]}}`), two),
		awsAllow(awsWith(`{"ForAnyValue:StringEqualsIfExists":{"$P:amr":"pwd"}}`), two),
		awsAllow(awsWith(`{"ForAllValues:StringEquals":{"$P:amr":"x"}}`), amr([]any{})),
		awsDeny(awsWith(`{"ForAnyValue:StringEquals":{"$P:amr":"x"}}`), amr([]any{})),
		awsAllow(awsWith(`{"ForAnyValue:StringEquals":{"$P:amr":"mfa"}}`), amr("mfa")),
		awsUndecided(awsWith(`{"StringEquals":{"$P:amr":"mfa"}}`), two, "AWS demands ForAnyValue: or ForAllValues:"),
		awsUndecided(awsWith(`{"StringEquals":{"$P:amr":"mfa"}}`), amr("mfa")),
		awsUndecided(awsWith(`{"ForAnyValue:StringEquals":{"$P:amr":"mfa"}}`), amr([]any{map[string]any{}})),
		// On a key of one value they are the plain operator, where it is there.
		awsAllow(awsWith(`{"ForAllValues:StringEquals":{"$P:aud":"$O"}}`), awsJob(oidc.Variant{}, nil)),
		awsDeny(awsWith(`{"ForAllValues:StringEquals":{"$P:aud":"x"}}`), awsJob(oidc.Variant{}, nil)),
		awsAllow(awsWith(`{"ForAnyValue:StringLike":{"$P:sub":"org/*"}}`), awsJob(oidc.Variant{}, nil)),
	})
}

func TestAWSVariables(t *testing.T) {
	job := awsJob(oidc.Variant{}, nil)
	old := func(condition string) string {
		return strings.Replace(awsWith(condition), "2012-10-17", "2008-10-17", 1)
	}
	unversioned := func(condition string) string {
		return strings.Replace(awsWith(condition), `"Version":"2012-10-17",`, "", 1)
	}
	sub := func(s string) AWSRequest { return awsJob(oidc.Variant{}, map[string]any{"sub": s}) }
	awsJudge(t, []awsRow{
		awsAllow(awsWith(`{"StringLike":{"$P:sub":"org/${$P:aud}/project/${$P:oidc.circleci.com/project-id}/*"}}`), job),
		awsDeny(awsWith(`{"StringLike":{"$P:sub":"org/${$P:aud}/project/${$P:aud}/*"}}`), job),
		awsAllow(awsWith(`{"StringEquals":{"sts:RoleSessionName":"${sts:RoleSessionName}"}}`), job),
		awsAllow(awsWith(`{"StringEqualsIgnoreCase":{"$P:aud":"${$P:AUD}"}}`), job),
		awsDeny(old(`{"StringEquals":{"$P:aud":"${$P:aud}"}}`), job),
		awsDeny(unversioned(`{"StringEquals":{"$P:aud":"${$P:aud}"}}`), job),
		awsAllow(old(`{"StringEquals":{"$P:sub":"${x"}}`), sub("${x")),
		awsAllow(old(`{"StringLike":{"$P:sub":"${*}"}}`), sub("${anything}")),
		// Without a value nothing is matched.
		awsDeny(awsWith(`{"StringEquals":{"$P:aud":"${$P:email}"}}`), job, "the condition's variables have no value"),
		awsAllow(awsWith(`{"StringNotEquals":{"$P:aud":"${$P:email}"}}`), job),
		awsAllow(awsWith(`{"StringEquals":{"$P:aud":["${$P:email}","$O"]}}`), job),
		awsAllow(awsWith(`{"StringEquals":{"$P:aud":"${$P:email, '$O'}"}}`), job),
		awsAllow(awsWith(`{"StringEquals":{"$P:aud":"${$P:email,'$O'}"}}`), job),
		awsDeny(awsWith(`{"StringEquals":{"$P:aud":"${$P:sub, '$O'}"}}`), job),
		awsAllow(awsWith(`{"StringEquals":{"$P:sub":"${$P:email, 'a}b'}"}}`), sub("a}b")),
		awsUndecided(awsWith(`{"StringLike":{"$P:aud":"${$P:email, '*'}"}}`), job),
		awsUndecided(awsWith(`{"ArnLike":{"aws:userid":"arn:aws:iam::111122223333:${$P:email, '*'}"}}`), job),
		awsDeny(awsWith(`{"StringEquals":{"$P:aud":"${$P:email, ''}"}}`), job),
		awsUndecided(awsWith(`{"StringEquals":{"$P:aud":"${x:y}"}}`), job, "the variable ${x:y}"),
		awsAllow(awsWith(`{"StringEquals":{"$P:sub":"a${*}b${?}c${$}"}}`), sub("a*b?c$")),
		awsAllow(awsWith(`{"StringLike":{"$P:sub":"a${*}*"}}`), sub("a*bc")),
		awsDeny(awsWith(`{"StringLike":{"$P:sub":"a${*}*"}}`), sub("abc")),
		awsDeny(awsWith(`{"StringLike":{"$P:sub":"a${?}"}}`), sub("ab")),
		// What a variable brings along is no pattern.
		awsDeny(awsWith(`{"StringLike":{"$P:aud":"${$P:sub}"}}`), sub("*")),
		awsUndecided(awsWith(`{"StringEquals":{"$P:aud":"${aws:SourceIp}"}}`), job, "the variable ${aws:SourceIp}: what the request has"),
		awsUndecided(awsWith(`{"StringNotEquals":{"$P:aud":"${aws:SourceIp}"}}`), job),
		awsUndecided(awsWith(`{"StringEquals":{"$P:aud":"${$P:amr}"}}`), awsJob(oidc.Variant{}, map[string]any{"amr": []any{oidc.SampleOrg}})),
		awsUndecided(awsWith(`{"StringLike":{"$P:aud":"*${$P:sub}"}}`), sub("")),
		awsAllow(awsWith(`{"ArnLike":{"aws:userid":"arn:aws:iam::${aws:PrincipalAccount}:oidc-provider/*"}}`), job),
		awsDeny(awsWith(`{"ArnLike":{"aws:userid":"arn:aws:iam::${$P:email}:oidc-provider/*"}}`), job),
	})
}

func TestAWSKeys(t *testing.T) {
	job := awsJob(oidc.Variant{}, nil)
	nameless := job
	nameless.RoleSessionName = ""
	party := func(aud, azp any) AWSRequest {
		r := awsJob(oidc.Variant{}, map[string]any{"aud": aud})
		r.Claims["azp"] = azp
		return r
	}
	several := awsJob(oidc.Variant{}, map[string]any{"aud": []any{"a", "b"}})
	tags := map[string]any{"principal_tags": map[string]any{"team": []any{"a"}, "stage": []any{"b"}}, "transitive_tag_keys": []any{"team"}}
	tagged := awsJob(oidc.Variant{}, map[string]any{awsTagsClaim: tags})
	twice := awsJob(oidc.Variant{}, map[string]any{awsTagsClaim: map[string]any{"principal_tags": map[string]any{"team": []any{"a", "b"}}}})
	all := func(condition string) string { return strings.Replace(awsWith(condition), awsAssume, "sts:*", 1) }
	github := awsJob(oidc.Variant{}, map[string]any{"iss": "https://token.actions.githubusercontent.com", "repository": "o/r", "event_name": "push"})
	of := func(provider, condition string) string {
		return strings.NewReplacer("$A", "arn:aws:iam::111122223333:oidc-provider/"+provider, "$P", provider).Replace(awsWith(condition))
	}
	awsJudge(t, []awsRow{
		awsAllow(awsWith(`{"StringEquals":{"$P:aud":"me"}}`), party("other", "me")),
		awsDeny(awsWith(`{"StringEquals":{"$P:aud":"other"}}`), party("other", "me")),
		awsAllow(awsWith(`{"StringEquals":{"$P:oaud":"other"}}`), party("other", "me")),
		awsUndecided(awsWith(`{"StringEquals":{"$P:aud":"other"}}`), party("other", nil), "an azp that is null"),
		awsUndecided(awsWith(`{"StringEquals":{"$P:aud":""}}`), party("other", "")),
		awsAllow(awsWith(`{"ForAnyValue:StringEquals":{"$P:oaud":"a"},"StringEquals":{"$P:aud":"me"}}`), party([]any{"a", "b"}, "me")),
		awsAllow(awsWith(`{"StringEquals":{"$P:aud":"a"}}`), awsJob(oidc.Variant{}, map[string]any{"aud": []any{"a"}})),
		awsUndecided(awsWith(`{"StringEquals":{"$P:aud":"a"}}`), several, "several audiences and no azp"),
		awsAllow(awsWith(`{"StringEquals":{"$P:email":"a@b"}}`), awsJob(oidc.Variant{}, map[string]any{"email": "a@b"})),
		awsAllow(awsWith(`{"StringEquals":{"$P:oidc.circleci.com/project-id":"$J"}}`), job),
		awsAllow(awsWith(`{"StringEquals":{"$P:OIDC.circleci.com/Project-ID":"$J"}}`), job),
		awsDeny(awsWith(`{"StringEquals":{"$P:project-id":"$J"}}`), job, "AWS does not make this claim a condition key", `the key that AWS has is "$P:oidc.circleci.com/project-id"`),
		awsDeny(awsWith(`{"StringEquals":{"$P:oidc.circleci.com/vcs-ref":"refs/heads/main"}}`), job, "AWS does not make this claim a condition key", "of this provider's tokens AWS has aud, oaud, sub, amr, email, oidc.circleci.com/project-id", "repository and branch are in the sub of a V2 token"),
		awsAllow(awsWith(`{"StringNotEquals":{"$P:oidc.circleci.com/vcs-ref":"refs/heads/main"}}`), job),
		awsDeny(awsWith(`{"StringEquals":{"$P:iss":"https://$P"}}`), job, "AWS does not make this claim a condition key"),
		awsDeny(awsWith(`{"StringEquals":{"oidc.circleci.com:sub":"x"}}`), job, "belongs to another provider", "is the root issuer, which lacks /org/$O", `the token's key is "$P:sub"`),
		awsDeny(awsWith(`{"StringEquals":{"https://$P:sub":"x"}}`), job, "a condition key has the issuer without https://", `the token's key is "$P:sub"`),
		awsDeny(awsWith(`{"StringEquals":{"$P/:aud":"$O"}}`), job, "trailing slash", `the token's key is "$P:aud"`),
		awsDeny(awsWith(`{"StringEquals":{"oidc.circleci.com/org/`+awsOtherOrg+`:aud":"$O"}}`), job, "the document names the organisation "+awsOtherOrg),
		awsDeny(awsWith(`{"StringEquals":{"gitlab.com:sub":"x"}}`), job, "belongs to another provider"),
		awsAllow(awsWith(`{"StringEquals":{"sts:RoleSessionName":"ci"}}`), job),
		awsUndecided(awsWith(`{"StringEquals":{"sts:RoleSessionName":"ci"}}`), nameless, "the session's name is not known"),
		awsAllow(awsWith(`{"Bool":{"sts:RoleAuthorizedByIdp":"false"}}`), job),
		awsAllow(awsWith(`{"Bool":{"sts:RoleAuthorizedByIdp":"true"}}`), awsJob(oidc.Variant{}, map[string]any{awsRolesClaim: []any{"arn:aws:iam::111122223333:role/deploy"}})),
		awsDeny(awsWith(`{"Bool":{"sts:RoleAuthorizedByIdp":"true"}}`), awsJob(oidc.Variant{}, map[string]any{awsRolesClaim: "arn:aws:iam::111122223333:role/other"})),
		awsDeny(awsWith(`{"StringEquals":{"sts:ExternalId":"x"}}`), job, "takes no external id"),
		awsDeny(awsWith(`{"StringLike":{"aws:PrincipalArn":"*"}}`), job),
		awsAllow(awsWith(`{"StringEquals":{"aws:PrincipalType":"User","aws:PrincipalAccount":"111122223333","aws:userid":"$A"},"Bool":{"aws:SecureTransport":"true"}}`), job),
		awsDeny(awsWith(`{"Bool":{"aws:SecureTransport":"false"}}`), job),
		awsUndecided(awsWith(`{"DateLessThan":{"aws:CurrentTime":"2020-01-01T00:00:00Z"}}`), job, "the time of the request is not known here"),
		awsUndecided(awsWith(`{"NumericGreaterThan":{"aws:EpochTime":"1"}}`), job, "the time of the request"),
		awsUndecided(awsWith(`{"IpAddress":{"aws:SourceIp":"0.0.0.0/0"}}`), job, "what the request has for aws:SourceIp is not known here"),
		awsUndecided(awsWith(`{"StringLike":{"aws:UserAgent":"*"}}`), job),
		awsUndecided(awsWith(`{"StringEquals":{"aws:RequestedRegion":"eu-central-1"}}`), job),
		awsUndecided(awsWith(`{"StringEqualsIfExists":{"aws:SourceVpc":"vpc-1"}}`), job),
		awsUndecided(awsWith(`{"Null":{"aws:SourceVpce":"true"}}`), job),
		awsUndecided(awsWith(`{"StringEquals":{"iam:ResourceTag/x":"y"}}`), job),
		awsAllow(all(`{"StringEquals":{"aws:RequestTag/Team":"a"},"ForAllValues:StringEquals":{"aws:TagKeys":["team","stage"],"sts:TransitiveTagKeys":"team"}}`), tagged),
		awsDeny(all(`{"StringEquals":{"aws:RequestTag/other":"a"}}`), tagged, "no such session tag"),
		awsDeny(all(`{"StringEquals":{"aws:RequestTag/team":"a"}}`), job),
		awsAllow(all(`{"Null":{"aws:TagKeys":"true","sts:SourceIdentity":"true"}}`), job),
		awsUndecided(all(`{"StringEquals":{"aws:RequestTag/team":"a"}}`), twice),
		awsUndecided(all(`{"Null":{"aws:TagKeys":"true"}}`), twice, "not in the form that AWS reads"),
		awsAllow(all(`{"StringEquals":{"sts:SourceIdentity":"me"}}`), awsJob(oidc.Variant{}, map[string]any{awsIdentityClaim: "me"})),
		awsAllow(of("token.actions.githubusercontent.com", `{"StringEquals":{"$P:repository":"o/r"}}`), github),
		awsDeny(of("token.actions.githubusercontent.com", `{"StringEquals":{"$P:event_name":"push"}}`), github),
		// The root issuer's tokens have the claim, and AWS no key for it.
		awsDeny(of("oidc.circleci.com", `{"StringEquals":{"$P:oidc.circleci.com/project-id":"$J"}}`),
			awsJob(oidc.Variant{RootIssuer: true}, nil), "AWS does not make this claim a condition key"),
	})
}

func TestAWSHints(t *testing.T) {
	like := func(sub string) string { return awsWith(`{"StringLike":{"$P:sub":"` + sub + `"}}`) }
	equals := func(sub string) string { return awsWith(`{"StringEquals":{"$P:sub":"` + sub + `"}}`) }
	const pinned = "org/$O/project/$J/user/$M/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main"
	job := awsJob(oidc.Variant{}, nil)
	awsJudge(t, []awsRow{
		awsDeny(equals("org/$O/project/$J/user/$U"), job, "differ at character 128: wanted nothing more, got \"/vcs-origin/", "the token is V2 ($CIRCLE_OIDC_TOKEN_V2)", "give $CIRCLE_OIDC_TOKEN"),
		awsDeny(like("org/$O/project/*/user/$M"), job, "the token is V2"),
		awsDeny(like(pinned), awsV1(oidc.Variant{}), "the token is V1 ($CIRCLE_OIDC_TOKEN), whose sub ends behind the user", `wanted "/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main", got nothing more`),
		awsDeny(like(pinned), awsJob(oidc.Variant{Webhook: true}, nil), "a custom webhook started"),
		awsDeny(like(pinned), awsJob(oidc.Variant{Fork: true}, nil), "the token is of the repository github.com/stranger/app; a fork's build has the fork's"),
		awsDeny(like(pinned), awsJob(oidc.Variant{Tag: "v1"}, nil), "wants a branch (refs/heads/), the job builds a tag (refs/tags/)", `wanted "heads/main", got "tags/v1"`),
		awsDeny(like(strings.Replace(pinned, "refs/heads/main", "refs/tags/*", 1)), job, "wants a tag (refs/tags/), the job builds a branch"),
		awsDeny(like(strings.Replace(pinned, "refs/heads/main", "main", 1)), job, "a token's vcs-ref is whole: refs/heads/main"),
		awsDeny(like(pinned), awsJob(oidc.Variant{Branch: "dev"}, nil), `wanted "main", got "dev"`, "the job builds refs/heads/dev"),
		awsDeny(like(strings.Replace(pinned, "github.com", "https://github.com", 1)), job, "has no https:// and no .git"),
		awsDeny(like(strings.Replace(pinned, "/app/", "/app.git/", 1)), job, "has no https:// and no .git"),
		awsDeny(like(strings.Replace(pinned, "$J", awsOtherProject, 1)), job, "the document names the project "+awsOtherProject+", the token is of $J"),
		awsDeny(like(strings.Replace(pinned, "$O", awsOtherOrg, 1)), job, "the document names the organisation "+awsOtherOrg+", the token is of $O"),
		awsDeny(like(strings.Replace(pinned, "$M", awsOtherProject, 1)), job, "the document names one user, "+awsOtherProject),
		awsDeny(like(strings.Replace(pinned, "my-org", "My-Org", 1)), job, "letter case"),
		awsDeny(like(pinned+" "), job, "white space around it"),
		awsDeny(equals("org/$O/project/$J/*"), job, "StringLike takes them for wildcards"),
		awsDeny(awsWith(`{"StringEquals":{"$P:aud":"sts.amazonaws.com"}}`), job, "the audience of CircleCI's tokens is the organisation's id", `wanted "sts.amazonaws.com", got "$O"`),
		awsDeny(awsWith(`{"StringEquals":{"$P:oidc.circleci.com/project-id":"`+awsOtherProject+`"}}`), job, "the token is of another project"),
		awsDeny(awsWith(`{"StringEquals":{"$P:oidc.circleci.com/project-id":"`+strings.ToUpper(oidc.SampleProject)+`"}}`), job, "letter case"),
		// Of several values the one that comes closest is explained.
		awsDeny(awsWith(`{"StringLike":{"$P:sub":["x","`+pinned+`","org/*/x"]}}`), awsJob(oidc.Variant{Branch: "dev"}, nil), `wanted "main", got "dev"`),
	})
}
