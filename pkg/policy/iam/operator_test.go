package iam

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
)

func TestText(t *testing.T) {
	job := jobRequest(ci.Variant{}, nil)
	const sub = `org/$O/project/$J/user/$U/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main`
	judge(t, []row{
		allow(with(`{"StringEquals":{"$P:sub":"`+sub+`"}}`), job),
		allow(with(`{"StringEquals":{"OIDC.circleci.com/org/$O:SUB":["x","`+sub+`"]}}`), job),
		deny(with(`{"StringEquals":{"$P:sub":"`+strings.ToUpper(sub)+`"}}`), job),
		deny(with(`{"StringEquals":{"$P:sub":"org/$O/*"}}`), job, "StringEquals takes * and ? for themselves"),
		allow(with(`{"StringEqualsIgnoreCase":{"$P:sub":"Org/$O/Project/$J/User/$U/vcs-origin/GitHub.com/my-org/app/vcs-ref/refs/heads/main"}}`), job),
		deny(with(`{"StringEqualsIgnoreCase":{"$P:sub":"Org/$O"}}`), job),
		allow(with(`{"StringLike":{"$P:sub":"org/$O/*"}}`), job),
		allow(with(`{"StringLike":{"$P:sub":"org/*/refs/heads/mai?"}}`), job),
		allow(with(`{"StringLike":{"$P:sub":"*"}}`), job),
		deny(with(`{"StringLike":{"$P:sub":"org/$O"}}`), job, "wanted nothing more"),
		deny(with(`{"StringLike":{"$P:sub":"*/refs/heads/main?"}}`), job),
		deny(with(`{"StringLike":{"$P:sub":"*/Refs/heads/main"}}`), job, "letter case"),
	})
	judge(t, []row{
		allow(with(`{"StringNotEquals":{"$P:aud":["a","b"]}}`), job),
		deny(with(`{"StringNotEquals":{"$P:aud":["a","$O"]}}`), job, "the condition excludes this value", `wanted not "a" or "$O"`),
		deny(with(`{"StringNotEqualsIgnoreCase":{"$P:sub":"`+strings.ToUpper("x")+`","$P:aud":"$O"}}`), job),
		allow(with(`{"StringNotEqualsIgnoreCase":{"$P:aud":"x"}}`), job),
		deny(with(`{"StringNotEqualsIgnoreCase":{"$P:aud":"`+strings.ToUpper(ci.SampleOrg)+`"}}`), job),
		allow(with(`{"StringNotLike":{"$P:sub":["*/tags/*","*/pull/*"]}}`), job),
		deny(with(`{"StringNotLike":{"$P:sub":["*/tags/*","*/heads/*"]}}`), job),
		allow(with(`{"StringNotEquals":{"$P:sub":"org/*"}}`), job), // no wildcard here
		allow(with(`{"StringEquals":{"$P:aud":"$O","$P:oidc.circleci.com/project-id":"$J"},"StringLike":{"$P:sub":"org/*"}}`), job),
		deny(with(`{"StringEquals":{"$P:aud":"$O","$P:oidc.circleci.com/project-id":"x"},"StringLike":{"$P:sub":"org/*"}}`), job, `oidc.circleci.com/project-id"]: they differ at character 1`),
		deny(with(`{"StringEquals":{"$P:aud":"$O"},"StringLike":{"$P:sub":"x*"}}`), job),
		// A number and true are compared as text.
		allow(with(`{"StringEquals":{"$P:sub":12}}`), jobRequest(ci.Variant{}, map[string]any{"sub": json.Number("12")})),
		allow(with(`{"StringEquals":{"$P:sub":true}}`), jobRequest(ci.Variant{}, map[string]any{"sub": true})),
		allow(with(`{"StringLike":{"$P:sub":"a?c"}}`), jobRequest(ci.Variant{}, map[string]any{"sub": "aüc"})),
	})
}

func TestMissing(t *testing.T) {
	none := jobRequest(ci.Variant{}, map[string]any{"sub": nil, "email": nil})
	null := jobRequest(ci.Variant{}, nil)
	null.Claims["sub"] = nil
	empty := jobRequest(ci.Variant{}, map[string]any{"sub": ""})
	for _, r := range []Request{none, null} {
		judge(t, []row{
			deny(with(`{"StringEquals":{"$P:sub":"x"}}`), r, "the token has no claim sub"),
			deny(with(`{"StringEqualsIgnoreCase":{"$P:sub":"x"}}`), r),
			deny(with(`{"StringLike":{"$P:sub":"*"}}`), r),
			allow(with(`{"StringNotEquals":{"$P:sub":"x"}}`), r, "and StringNotEquals holds without a value"),
			allow(with(`{"StringNotEqualsIgnoreCase":{"$P:sub":"x"}}`), r),
			allow(with(`{"StringNotLike":{"$P:sub":"*"}}`), r),
			allow(with(`{"StringEqualsIfExists":{"$P:sub":"x"}}`), r),
			allow(with(`{"StringLikeIfExists":{"$P:sub":"x"}}`), r),
			allow(with(`{"StringNotEqualsIfExists":{"$P:sub":"x"}}`), r),
			deny(with(`{"NumericEquals":{"$P:sub":"1"}}`), r),
			deny(with(`{"NumericLessThan":{"$P:sub":"1"}}`), r),
			deny(with(`{"NumericGreaterThanEquals":{"$P:sub":"1"}}`), r),
			allow(with(`{"NumericNotEquals":{"$P:sub":"1"}}`), r),
			allow(with(`{"NumericLessThanIfExists":{"$P:sub":"1"}}`), r),
			deny(with(`{"DateEquals":{"$P:sub":"2026-01-01"}}`), r),
			allow(with(`{"DateNotEquals":{"$P:sub":"2026-01-01"}}`), r),
			deny(with(`{"Bool":{"$P:sub":"false"}}`), r),
			allow(with(`{"BoolIfExists":{"$P:sub":"false"}}`), r),
			deny(with(`{"BinaryEquals":{"$P:sub":"eA=="}}`), r),
			deny(with(`{"IpAddress":{"$P:sub":"10.0.0.0/8"}}`), r),
			allow(with(`{"NotIpAddress":{"$P:sub":"10.0.0.0/8"}}`), r),
			deny(with(`{"ArnLike":{"$P:sub":"*"}}`), r),
			deny(with(`{"ArnEquals":{"$P:sub":"*"}}`), r),
			allow(with(`{"ArnNotEquals":{"$P:sub":"*"}}`), r),
			allow(with(`{"ArnNotLike":{"$P:sub":"*"}}`), r),
			allow(with(`{"ForAllValues:StringEquals":{"$P:sub":"x"}}`), r),
			allow(with(`{"ForAllValues:StringNotEquals":{"$P:sub":"x"}}`), r),
			deny(with(`{"ForAnyValue:StringEquals":{"$P:sub":"x"}}`), r),
			deny(with(`{"ForAnyValue:StringNotEquals":{"$P:sub":"x"}}`), r),
			allow(with(`{"ForAnyValue:StringEqualsIfExists":{"$P:sub":"x"}}`), r),
			allow(with(`{"Null":{"$P:sub":"true"}}`), r),
			allow(with(`{"Null":{"$P:sub":true}}`), r),
			allow(with(`{"Null":{"$P:sub":["true","false"]}}`), r),
			deny(with(`{"Null":{"$P:sub":"false"}}`), r, "the token has no claim sub"),
		})
	}
	judge(t, []row{
		// Text without length is null where that is documented, else undecided.
		allow(with(`{"Null":{"$P:sub":"true"}}`), empty),
		deny(with(`{"Null":{"$P:sub":"false"}}`), empty),
		allow(with(`{"ForAllValues:StringEquals":{"$P:sub":"x"}}`), empty),
		deny(with(`{"ForAnyValue:StringLike":{"$P:sub":"*"}}`), empty),
		undecided(with(`{"StringLike":{"$P:sub":"*"}}`), empty, "an empty value is not documented"),
		undecided(with(`{"StringNotEquals":{"$P:sub":"x"}}`), empty),
		undecided(with(`{"StringEqualsIfExists":{"$P:sub":""}}`), empty),
		deny(with(`{"Null":{"$P:sub":"true"}}`), jobRequest(ci.Variant{}, nil), "the token has the claim"),
		allow(with(`{"Null":{"$P:sub":"false"}}`), jobRequest(ci.Variant{}, nil)),
		deny(with(`{"StringEqualsIfExists":{"$P:aud":"x"}}`), jobRequest(ci.Variant{}, nil)),
	})
}

func TestNumbersAndDates(t *testing.T) {
	sub := func(s string) Request { return jobRequest(ci.Variant{}, map[string]any{"sub": s}) }
	judge(t, []row{
		allow(with(`{"NumericEquals":{"$P:sub":"10.0"}}`), sub("10")),
		allow(with(`{"NumericEquals":{"$P:sub":[1,10]}}`), sub("10")),
		deny(with(`{"NumericNotEquals":{"$P:sub":[1,10]}}`), sub("10")),
		allow(with(`{"NumericNotEquals":{"$P:sub":[1,2]}}`), sub("10")),
		allow(with(`{"NumericLessThan":{"$P:sub":"10"}}`), sub("9")), // as text 9 is the greater
		deny(with(`{"NumericLessThan":{"$P:sub":"10"}}`), sub("10")),
		allow(with(`{"NumericLessThanEquals":{"$P:sub":"10"}}`), sub("10")),
		deny(with(`{"NumericLessThanEquals":{"$P:sub":"10"}}`), sub("10.5")),
		allow(with(`{"NumericGreaterThan":{"$P:sub":"-1"}}`), sub("0")),
		deny(with(`{"NumericGreaterThan":{"$P:sub":"0"}}`), sub("0")),
		allow(with(`{"NumericGreaterThanEquals":{"$P:sub":"0"}}`), sub("0")),
		undecided(with(`{"NumericEquals":{"$P:sub":"0"}}`), sub("zero"), "what NumericEquals makes of these values"),
		allow(with(`{"DateEquals":{"$P:sub":"2026-01-01T00:00:00Z"}}`), sub("2026-01-01")),
		allow(with(`{"DateEquals":{"$P:sub":"1767225600"}}`), sub("2026-01-01T01:00:00+01:00")),
		deny(with(`{"DateNotEquals":{"$P:sub":"2026-01-01"}}`), sub("2026-01-01")),
		allow(with(`{"DateLessThan":{"$P:sub":"2026-01-02"}}`), sub("2026-01-01")),
		deny(with(`{"DateLessThanEquals":{"$P:sub":"2026-01-02"}}`), sub("2026-01-03")),
		allow(with(`{"DateGreaterThan":{"$P:sub":"2026-01-02"}}`), sub("2026-01-03")),
		deny(with(`{"DateGreaterThanEquals":{"$P:sub":"2026-01-02"}}`), sub("2026-01-01")),
		undecided(with(`{"DateLessThan":{"$P:sub":"2026-01-02"}}`), sub("now")),
		allow(with(`{"NumericEquals":{"$P:sub":"`+strings.Repeat("1", 40)+`"}}`), sub(strings.Repeat("1", 40))),
		undecided(with(`{"NumericEquals":{"$P:sub":"1"}}`), sub(strings.Repeat("1", 41))),
		undecided(with(`{"NumericEquals":{"$P:sub":"1"}}`), sub("1e3")),
		undecided(with(`{"DateLessThan":{"$P:sub":"2026-01-02"}}`), sub("2026")), // a year, or seconds
		allow(with(`{"DateLessThan":{"$P:sub":"2026-01-02"}}`), sub("20260")),
	})
}

func TestOtherTypes(t *testing.T) {
	sub := func(s any) Request { return jobRequest(ci.Variant{}, map[string]any{"sub": s}) }
	judge(t, []row{
		allow(with(`{"Bool":{"$P:sub":true}}`), sub(true)),
		allow(with(`{"Bool":{"$P:sub":["false","true"]}}`), sub("true")),
		deny(with(`{"Bool":{"$P:sub":"false"}}`), sub("true"), "no value is as the condition wants it"),
		undecided(with(`{"Bool":{"$P:sub":"false"}}`), sub("no")),
		allow(with(`{"BinaryEquals":{"$P:sub":"aGVsbG8="}}`), sub("hello")),
		deny(with(`{"BinaryEquals":{"$P:sub":"aGVsbG8="}}`), sub("aGVsbG8=")),
		allow(with(`{"IpAddress":{"$P:sub":["192.0.2.0/24","10.0.0.0/8"]}}`), sub("10.1.2.3")),
		allow(with(`{"IpAddress":{"$P:sub":"10.1.2.3"}}`), sub("10.1.2.3")),
		deny(with(`{"IpAddress":{"$P:sub":"10.1.2.3"}}`), sub("10.1.2.4")),
		allow(with(`{"IpAddress":{"$P:sub":"2001:db8::/32"}}`), sub("2001:db8::1")),
		deny(with(`{"NotIpAddress":{"$P:sub":"10.0.0.0/8"}}`), sub("10.1.2.3")),
		allow(with(`{"NotIpAddress":{"$P:sub":"10.0.0.0/8"}}`), sub("192.0.2.1")),
		undecided(with(`{"NotIpAddress":{"$P:sub":"10.0.0.0/8"}}`), sub("localhost")),
		allow(with(`{"ArnLike":{"$P:sub":"arn:aws:iam::*:role/ci-*"}}`), sub("arn:aws:iam::111122223333:role/ci-a:b/c")),
		allow(with(`{"ArnEquals":{"$P:sub":"arn:aws:iam::*:role/ci-?"}}`), sub("arn:aws:iam::111122223333:role/ci-a")),
		deny(with(`{"ArnLike":{"$P:sub":"arn:aws:*:*:*:user/*"}}`), sub("arn:aws:iam::111122223333:role/user/x")),
		deny(with(`{"ArnLike":{"$P:sub":"arn:aws:i*m:x:1:role/a"}}`), sub("arn:aws:i:m:x:1:role/a")),
		deny(with(`{"ArnNotLike":{"$P:sub":"arn:aws:iam::*:role/*"}}`), sub("arn:aws:iam::111122223333:role/x")),
		allow(with(`{"ArnNotEquals":{"$P:sub":"arn:aws:iam::*:user/*"}}`), sub("arn:aws:iam::111122223333:role/x")),
		allow(with(`{"ArnLike":{"$P:sub":"*"}}`), sub("anything")),
		undecided(with(`{"ArnLike":{"$P:sub":"arn:aws:iam::*:role/*"}}`), sub("anything"), "what ArnLike makes of these values"),
		undecided(with(`{"ArnNotLike":{"$P:sub":"arn:aws:iam::*:role/*"}}`), sub("anything")),
		undecided(with(`{"ArnLike":{"$P:sub":"?"}}`), sub("x")),
		undecided(with(`{"ArnLike":{"$P:sub":"role/*"}}`), sub("arn:aws:iam::111122223333:role/x")),
		undecided(with(`{"StringLike":{"$P:sub":"*"}}`), sub([]any{"a"}), "of a type that AWS documents nothing about"),
		undecided(with(`{"StringLike":{"$P:sub":"*"}}`), sub(map[string]any{})),
	})
}

func TestSets(t *testing.T) {
	amr := func(v any) Request { return jobRequest(ci.Variant{}, map[string]any{"amr": v}) }
	two := amr([]any{"mfa", "pwd"})
	judge(t, []row{
		allow(with(`{"ForAnyValue:StringEquals":{"$P:amr":["x","mfa"]}}`), two),
		deny(with(`{"ForAnyValue:StringEquals":{"$P:amr":"x"}}`), two),
		allow(with(`{"ForAllValues:StringEquals":{"$P:amr":["mfa","pwd","x"]}}`), two),
		deny(with(`{"ForAllValues:StringEquals":{"$P:amr":["mfa"]}}`), two),
		allow(with(`{"ForAllValues:StringLike":{"$P:amr":"*"}}`), two),
		allow(with(`{"ForAllValues:StringNotEquals":{"$P:amr":"x"}}`), two),
		deny(with(`{"ForAllValues:StringNotEquals":{"$P:amr":"mfa"}}`), two),
		allow(with(`{"ForAnyValue:StringNotEquals":{"$P:amr":"mfa"}}`), two),
		deny(with(`{"ForAnyValue:StringNotEquals":{"$P:amr":["mfa","pwd"]}}`), two),
		allow(with(`{"ForAnyValue:StringEqualsIfExists":{"$P:amr":"pwd"}}`), two),
		allow(with(`{"ForAllValues:StringEquals":{"$P:amr":"x"}}`), amr([]any{})),
		deny(with(`{"ForAnyValue:StringEquals":{"$P:amr":"x"}}`), amr([]any{})),
		allow(with(`{"ForAnyValue:StringEquals":{"$P:amr":"mfa"}}`), amr("mfa")),
		undecided(with(`{"StringEquals":{"$P:amr":"mfa"}}`), two, "AWS demands ForAnyValue: or ForAllValues:"),
		undecided(with(`{"StringEquals":{"$P:amr":"mfa"}}`), amr("mfa")),
		undecided(with(`{"ForAnyValue:StringEquals":{"$P:amr":"mfa"}}`), amr([]any{map[string]any{}})),
		// On a key of one value they are the plain operator, where it is there.
		allow(with(`{"ForAllValues:StringEquals":{"$P:aud":"$O"}}`), jobRequest(ci.Variant{}, nil)),
		deny(with(`{"ForAllValues:StringEquals":{"$P:aud":"x"}}`), jobRequest(ci.Variant{}, nil)),
		allow(with(`{"ForAnyValue:StringLike":{"$P:sub":"org/*"}}`), jobRequest(ci.Variant{}, nil)),
	})
}

func TestVariables(t *testing.T) {
	job := jobRequest(ci.Variant{}, nil)
	old := func(condition string) string {
		return strings.Replace(with(condition), "2012-10-17", "2008-10-17", 1)
	}
	unversioned := func(condition string) string {
		return strings.Replace(with(condition), `"Version":"2012-10-17",`, "", 1)
	}
	sub := func(s string) Request { return jobRequest(ci.Variant{}, map[string]any{"sub": s}) }
	judge(t, []row{
		allow(with(`{"StringLike":{"$P:sub":"org/${$P:aud}/project/${$P:oidc.circleci.com/project-id}/*"}}`), job),
		deny(with(`{"StringLike":{"$P:sub":"org/${$P:aud}/project/${$P:aud}/*"}}`), job),
		allow(with(`{"StringEquals":{"sts:RoleSessionName":"${sts:RoleSessionName}"}}`), job),
		allow(with(`{"StringEqualsIgnoreCase":{"$P:aud":"${$P:AUD}"}}`), job),
		deny(old(`{"StringEquals":{"$P:aud":"${$P:aud}"}}`), job),
		deny(unversioned(`{"StringEquals":{"$P:aud":"${$P:aud}"}}`), job),
		allow(old(`{"StringEquals":{"$P:sub":"${x"}}`), sub("${x")),
		allow(old(`{"StringLike":{"$P:sub":"${*}"}}`), sub("${anything}")),
		// Without a value nothing is matched.
		deny(with(`{"StringEquals":{"$P:aud":"${$P:email}"}}`), job, "the condition's variables have no value"),
		allow(with(`{"StringNotEquals":{"$P:aud":"${$P:email}"}}`), job),
		allow(with(`{"StringEquals":{"$P:aud":["${$P:email}","$O"]}}`), job),
		allow(with(`{"StringEquals":{"$P:aud":"${$P:email, '$O'}"}}`), job),
		allow(with(`{"StringEquals":{"$P:aud":"${$P:email,'$O'}"}}`), job),
		deny(with(`{"StringEquals":{"$P:aud":"${$P:sub, '$O'}"}}`), job),
		allow(with(`{"StringEquals":{"$P:sub":"${$P:email, 'a}b'}"}}`), sub("a}b")),
		undecided(with(`{"StringLike":{"$P:aud":"${$P:email, '*'}"}}`), job),
		undecided(with(`{"ArnLike":{"aws:userid":"arn:aws:iam::111122223333:${$P:email, '*'}"}}`), job),
		deny(with(`{"StringEquals":{"$P:aud":"${$P:email, ''}"}}`), job),
		undecided(with(`{"StringEquals":{"$P:aud":"${x:y}"}}`), job, "the variable ${x:y}"),
		allow(with(`{"StringEquals":{"$P:sub":"a${*}b${?}c${$}"}}`), sub("a*b?c$")),
		allow(with(`{"StringLike":{"$P:sub":"a${*}*"}}`), sub("a*bc")),
		deny(with(`{"StringLike":{"$P:sub":"a${*}*"}}`), sub("abc")),
		deny(with(`{"StringLike":{"$P:sub":"a${?}"}}`), sub("ab")),
		// What a variable brings along is no pattern.
		deny(with(`{"StringLike":{"$P:aud":"${$P:sub}"}}`), sub("*")),
		undecided(with(`{"StringEquals":{"$P:aud":"${aws:SourceIp}"}}`), job, "the variable ${aws:SourceIp}: what the request has"),
		undecided(with(`{"StringNotEquals":{"$P:aud":"${aws:SourceIp}"}}`), job),
		undecided(with(`{"StringEquals":{"$P:aud":"${$P:amr}"}}`), jobRequest(ci.Variant{}, map[string]any{"amr": []any{ci.SampleOrg}})),
		undecided(with(`{"StringLike":{"$P:aud":"*${$P:sub}"}}`), sub("")),
		allow(with(`{"ArnLike":{"aws:userid":"arn:aws:iam::${aws:PrincipalAccount}:oidc-provider/*"}}`), job),
		deny(with(`{"ArnLike":{"aws:userid":"arn:aws:iam::${$P:email}:oidc-provider/*"}}`), job),
	})
}

func TestKeys(t *testing.T) {
	job := jobRequest(ci.Variant{}, nil)
	nameless := job
	nameless.RoleSessionName = ""
	party := func(aud, azp any) Request {
		r := jobRequest(ci.Variant{}, map[string]any{"aud": aud})
		r.Claims["azp"] = azp
		return r
	}
	several := jobRequest(ci.Variant{}, map[string]any{"aud": []any{"a", "b"}})
	tags := map[string]any{"principal_tags": map[string]any{"team": []any{"a"}, "stage": []any{"b"}}, "transitive_tag_keys": []any{"team"}}
	tagged := jobRequest(ci.Variant{}, map[string]any{tagsClaim: tags})
	twice := jobRequest(ci.Variant{}, map[string]any{tagsClaim: map[string]any{"principal_tags": map[string]any{"team": []any{"a", "b"}}}})
	all := func(condition string) string { return strings.Replace(with(condition), assume, "sts:*", 1) }
	github := jobRequest(ci.Variant{}, map[string]any{"iss": "https://token.actions.githubusercontent.com", "repository": "o/r", "event_name": "push"})
	of := func(provider, condition string) string {
		return strings.NewReplacer("$A", "arn:aws:iam::111122223333:oidc-provider/"+provider, "$P", provider).Replace(with(condition))
	}
	judge(t, []row{
		allow(with(`{"StringEquals":{"$P:aud":"me"}}`), party("other", "me")),
		deny(with(`{"StringEquals":{"$P:aud":"other"}}`), party("other", "me")),
		allow(with(`{"StringEquals":{"$P:oaud":"other"}}`), party("other", "me")),
		undecided(with(`{"StringEquals":{"$P:aud":"other"}}`), party("other", nil), "an azp that is null"),
		undecided(with(`{"StringEquals":{"$P:aud":""}}`), party("other", "")),
		allow(with(`{"ForAnyValue:StringEquals":{"$P:oaud":"a"},"StringEquals":{"$P:aud":"me"}}`), party([]any{"a", "b"}, "me")),
		allow(with(`{"StringEquals":{"$P:aud":"a"}}`), jobRequest(ci.Variant{}, map[string]any{"aud": []any{"a"}})),
		undecided(with(`{"StringEquals":{"$P:aud":"a"}}`), several, "several audiences and no azp"),
		allow(with(`{"StringEquals":{"$P:email":"a@b"}}`), jobRequest(ci.Variant{}, map[string]any{"email": "a@b"})),
		allow(with(`{"StringEquals":{"$P:oidc.circleci.com/project-id":"$J"}}`), job),
		allow(with(`{"StringEquals":{"$P:OIDC.circleci.com/Project-ID":"$J"}}`), job),
		deny(with(`{"StringEquals":{"$P:project-id":"$J"}}`), job, "AWS does not make this claim a condition key", `the key that AWS has is "$P:oidc.circleci.com/project-id"`),
		deny(with(`{"StringEquals":{"$P:oidc.circleci.com/vcs-ref":"refs/heads/main"}}`), job, "AWS does not make this claim a condition key", "of this provider's tokens AWS has aud, oaud, sub, amr, email, oidc.circleci.com/project-id", "repository and branch are in the sub of a V2 token"),
		allow(with(`{"StringNotEquals":{"$P:oidc.circleci.com/vcs-ref":"refs/heads/main"}}`), job),
		deny(with(`{"StringEquals":{"$P:iss":"https://$P"}}`), job, "AWS does not make this claim a condition key"),
		deny(with(`{"StringEquals":{"oidc.circleci.com:sub":"x"}}`), job, "belongs to another provider", "is the root issuer, which lacks /org/$O", `the token's key is "$P:sub"`),
		deny(with(`{"StringEquals":{"https://$P:sub":"x"}}`), job, "a condition key has the issuer without https://", `the token's key is "$P:sub"`),
		deny(with(`{"StringEquals":{"$P/:aud":"$O"}}`), job, "trailing slash", `the token's key is "$P:aud"`),
		deny(with(`{"StringEquals":{"oidc.circleci.com/org/`+otherOrg+`:aud":"$O"}}`), job, "the document names the organisation "+otherOrg),
		deny(with(`{"StringEquals":{"gitlab.com:sub":"x"}}`), job, "belongs to another provider"),
		allow(with(`{"StringEquals":{"sts:RoleSessionName":"ci"}}`), job),
		undecided(with(`{"StringEquals":{"sts:RoleSessionName":"ci"}}`), nameless, "the session's name is not known"),
		allow(with(`{"Bool":{"sts:RoleAuthorizedByIdp":"false"}}`), job),
		allow(with(`{"Bool":{"sts:RoleAuthorizedByIdp":"true"}}`), jobRequest(ci.Variant{}, map[string]any{rolesClaim: []any{"arn:aws:iam::111122223333:role/deploy"}})),
		deny(with(`{"Bool":{"sts:RoleAuthorizedByIdp":"true"}}`), jobRequest(ci.Variant{}, map[string]any{rolesClaim: "arn:aws:iam::111122223333:role/other"})),
		deny(with(`{"StringEquals":{"sts:ExternalId":"x"}}`), job, "takes no external id"),
		deny(with(`{"StringLike":{"aws:PrincipalArn":"*"}}`), job),
		allow(with(`{"StringEquals":{"aws:PrincipalType":"User","aws:PrincipalAccount":"111122223333","aws:userid":"$A"},"Bool":{"aws:SecureTransport":"true"}}`), job),
		deny(with(`{"Bool":{"aws:SecureTransport":"false"}}`), job),
		undecided(with(`{"DateLessThan":{"aws:CurrentTime":"2020-01-01T00:00:00Z"}}`), job, "the time of the request is not known here"),
		undecided(with(`{"NumericGreaterThan":{"aws:EpochTime":"1"}}`), job, "the time of the request"),
		undecided(with(`{"IpAddress":{"aws:SourceIp":"0.0.0.0/0"}}`), job, "what the request has for aws:SourceIp is not known here"),
		undecided(with(`{"StringLike":{"aws:UserAgent":"*"}}`), job),
		undecided(with(`{"StringEquals":{"aws:RequestedRegion":"eu-central-1"}}`), job),
		undecided(with(`{"StringEqualsIfExists":{"aws:SourceVpc":"vpc-1"}}`), job),
		undecided(with(`{"Null":{"aws:SourceVpce":"true"}}`), job),
		undecided(with(`{"StringEquals":{"iam:ResourceTag/x":"y"}}`), job),
		allow(all(`{"StringEquals":{"aws:RequestTag/Team":"a"},"ForAllValues:StringEquals":{"aws:TagKeys":["team","stage"],"sts:TransitiveTagKeys":"team"}}`), tagged),
		deny(all(`{"StringEquals":{"aws:RequestTag/other":"a"}}`), tagged, "no such session tag"),
		deny(all(`{"StringEquals":{"aws:RequestTag/team":"a"}}`), job),
		allow(all(`{"Null":{"aws:TagKeys":"true","sts:SourceIdentity":"true"}}`), job),
		undecided(all(`{"StringEquals":{"aws:RequestTag/team":"a"}}`), twice),
		undecided(all(`{"Null":{"aws:TagKeys":"true"}}`), twice, "not in the form that AWS reads"),
		allow(all(`{"StringEquals":{"sts:SourceIdentity":"me"}}`), jobRequest(ci.Variant{}, map[string]any{identityClaim: "me"})),
		allow(of("token.actions.githubusercontent.com", `{"StringEquals":{"$P:repository":"o/r"}}`), github),
		deny(of("token.actions.githubusercontent.com", `{"StringEquals":{"$P:event_name":"push"}}`), github),
		// The root issuer's tokens have the claim, and AWS no key for it.
		deny(of("oidc.circleci.com", `{"StringEquals":{"$P:oidc.circleci.com/project-id":"$J"}}`),
			jobRequest(ci.Variant{RootIssuer: true}, nil), "AWS does not make this claim a condition key"),
	})
}

func TestHints(t *testing.T) {
	like := func(sub string) string { return with(`{"StringLike":{"$P:sub":"` + sub + `"}}`) }
	equals := func(sub string) string { return with(`{"StringEquals":{"$P:sub":"` + sub + `"}}`) }
	const pinned = "org/$O/project/$J/user/$M/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main"
	job := jobRequest(ci.Variant{}, nil)
	judge(t, []row{
		deny(equals("org/$O/project/$J/user/$U"), job, "differ at character 128: wanted nothing more, got \"/vcs-origin/", "the token is V2 ($CIRCLE_OIDC_TOKEN_V2)", "give $CIRCLE_OIDC_TOKEN"),
		deny(like("org/$O/project/*/user/$M"), job, "the token is V2"),
		deny(like(pinned), v1(ci.Variant{}), "the token is V1 ($CIRCLE_OIDC_TOKEN), whose sub ends behind the user", `wanted "/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main", got nothing more`),
		deny(like(pinned), jobRequest(ci.Variant{Webhook: true}, nil), "a custom webhook started"),
		deny(like(pinned), jobRequest(ci.Variant{Fork: true}, nil), "the token is of the repository github.com/stranger/app; a fork's build has the fork's"),
		deny(like(pinned), jobRequest(ci.Variant{Tag: "v1"}, nil), "wants a branch (refs/heads/), the job builds a tag (refs/tags/)", `wanted "heads/main", got "tags/v1"`),
		deny(like(strings.Replace(pinned, "refs/heads/main", "refs/tags/*", 1)), job, "wants a tag (refs/tags/), the job builds a branch"),
		deny(like(strings.Replace(pinned, "refs/heads/main", "main", 1)), job, "a token's vcs-ref is whole: refs/heads/main"),
		deny(like(pinned), jobRequest(ci.Variant{Branch: "dev"}, nil), `wanted "main", got "dev"`, "the job builds refs/heads/dev"),
		deny(like(strings.Replace(pinned, "github.com", "https://github.com", 1)), job, "has no https:// and no .git"),
		deny(like(strings.Replace(pinned, "/app/", "/app.git/", 1)), job, "has no https:// and no .git"),
		deny(like(strings.Replace(pinned, "$J", otherProject, 1)), job, "the document names the project "+otherProject+", the token is of $J"),
		deny(like(strings.Replace(pinned, "$O", otherOrg, 1)), job, "the document names the organisation "+otherOrg+", the token is of $O"),
		deny(like(strings.Replace(pinned, "$M", otherProject, 1)), job, "the document names one user, "+otherProject),
		deny(like(strings.Replace(pinned, "my-org", "My-Org", 1)), job, "letter case"),
		deny(like(pinned+" "), job, "white space around it"),
		deny(equals("org/$O/project/$J/*"), job, "StringLike takes them for wildcards"),
		deny(with(`{"StringEquals":{"$P:aud":"sts.amazonaws.com"}}`), job, "the audience of CircleCI's tokens is the organisation's id", `wanted "sts.amazonaws.com", got "$O"`),
		deny(with(`{"StringEquals":{"$P:oidc.circleci.com/project-id":"`+otherProject+`"}}`), job, "the token is of another project"),
		deny(with(`{"StringEquals":{"$P:oidc.circleci.com/project-id":"`+strings.ToUpper(ci.SampleProject)+`"}}`), job, "letter case"),
		// Of several values the one that comes closest is explained.
		deny(with(`{"StringLike":{"$P:sub":["x","`+pinned+`","org/*/x"]}}`), jobRequest(ci.Variant{Branch: "dev"}, nil), `wanted "main", got "dev"`),
	})
}
