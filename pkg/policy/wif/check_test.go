package wif

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

func TestCheck(t *testing.T) {
	v1, v2 := v1Claims(ci.Variant{}), v2(ci.Variant{})
	rejected := "Google says: The given credential is rejected by the attribute condition."
	ssh := func(op string) map[string]any { return withCondition("assertion['oidc.circleci.com/ssh-rerun'] " + op) }
	ref := func(rest string) map[string]any {
		return withCondition("assertion['oidc.circleci.com/vcs-ref']" + rest)
	}
	for _, row := range []row{
		allow("V1", nil, v1),
		allow("V2", nil, v2, "principal:"+testPool+"subject/org/"+ci.SampleOrg+"/project/"+ci.SampleProject+"/user/"+ci.SampleUser,
			"principalSet:"+testPool+"attribute.project/"+ci.SampleProject, "principalSet:"+testPool+"*", "there is no IAM policy"),
		allow("no condition", withCondition(""), v1Claims(ci.Variant{Project: otherID})),
		deny("other project", nil, v1Claims(ci.Variant{Project: otherID}), rejected, "they differ from character 1 on"),

		// State, issuer, audience and times.
		deny("disabled", map[string]any{"disabled": true}, v1, "disabled: the provider is disabled; Google says: The target service indicated by", "--no-disabled"),
		deny("deleted", map[string]any{"state": "DELETED"}, v1, "the provider is deleted", "undelete"),
		undecided("unknown state", map[string]any{"state": "RESTING"}, v1, "what Google does in the state RESTING is not known"),
		allow("no state", map[string]any{"state": nil}, v1),
		deny("other organisation", nil, v1Claims(ci.Variant{Org: otherID}), "oidc.issuerUri: the issuers differ; Google says: The issuer in ID Token https://oidc.circleci.com/org/"+otherID+" does not match the expected ones: "+testIssuer,
			"the token is of the organisation "+otherID),
		deny("root issuer", nil, v1Claims(ci.Variant{RootIssuer: true}), "mint it without"),
		deny("no issuer", nil, lacks("iss"), "The issuer in ID Token null does not match"),
		deny("issuer is a number", nil, v1Claims(claim("iss", "5")), "The issuer in ID Token 5 does not match"),
		deny("slash", map[string]any{"oidc": map[string]any{"issuerUri": testIssuer + "/", "allowedAudiences": []string{ci.SampleOrg}}}, v1, "they differ in the / at the end alone"),
		deny("audience", nil, v1Claims(ci.Variant{Audience: "vault"}), "oidc.allowedAudiences: the token is for somebody else; Google says: The audience in ID Token [vault] does not match the expected audience."),
		allow("list of audiences", nil, v1Claims(claim("aud", `["vault", "`+ci.SampleOrg+`"]`))),
		deny("list of others", nil, v1Claims(claim("aud", `["vault", "sts"]`)), "[vault, sts]"),
		deny("audience is a number", nil, v1Claims(claim("aud", `7`)), "ID Token []"),
		deny("no audience", nil, lacks("aud"), "ID Token []"),
		deny("expired", nil, v1Claims(ci.Variant{Expired: true}), "iat and exp: the token has expired 1h0m0s ago; Google says: ID Token issued at 1763064232 is stale to sign-in."),
		deny("no times", nil, lacks("exp"), "the token has no good iat and exp"),
		deny("time as text", nil, v1Claims(claim("iat", `"1763071432"`)), "the token has no good iat and exp"),
		deny("from the future", nil, v1Claims(claim("iat", `1763071500`)), "the token begins in 1m8s", "issued at 1763071500"),
		allow("from the near future", nil, v1Claims(claim("iat", `1763071490`))),
		deny("from yesterday", nil, v1Claims(claim("iat", `1762984000`)), "the token is 24h17m12s old"),

		// The mapping.
		deny("V2 does not fit", withMapping("google.subject", "assertion.sub"), v2, "it has 184 bytes, 57 more", "exceeds the 127 bytes limit", "use the V1 token", "split('/vcs-origin/')[0]"),
		allow("V1 fits", withMapping("google.subject", "assertion.sub"), v1),
		deny("128 bytes", withMapping("google.subject", "assertion.sub + 'x'"), v1, "it has 128 bytes, 1 more"),
		deny("org_id", withMapping("google.subject", `assertion.org_id + "/" + assertion.sub.extract('/user/{user_id}/')`), v2,
			"no such key: org_id; Google says: Could not obtain a value for google.subject from the given credential.", "there is no claim org_id: it is assertion['oidc.circleci.com/org-id']"),
		deny("boolean subject", withMapping("google.subject", "assertion.sub == 'x'"), v1, "The mapped attribute 'google.subject' must be of type STRING."),
		deny("null subject", withMapping("google.subject", "assertion['oidc.circleci.com/context-ids']"), v1Claims(claim(policy.ClaimContexts, "null")), "it is null", "Could not obtain a value"),
		deny("empty subject", withMapping("google.subject", "assertion.sub.extract('/user/{user_id}/')"), v1, "it is empty", "extract gives an empty text"),
		deny("no subject", map[string]any{"attributeMapping": map[string]any{"attribute.a": "'a'"}}, v1, "attributeMapping: there is no mapping for google.subject; Google says: Could not obtain"),
		undecided("absent attribute", withMapping("attribute.ref", "assertion['oidc.circleci.com/vcs-ref']"), v1Claims(ci.Variant{Webhook: true}),
			`attributeMapping["attribute.ref"]: it has no value for this token (no such key: oidc.circleci.com/vcs-ref)`, "begin with 'oidc.circleci.com/vcs-ref' in assertion"),
		undecided("boolean attribute", withMapping("attribute.ssh", "assertion['oidc.circleci.com/ssh-rerun']"), v1, "the attribute is true or false, not text", "string(...)"),
		undecided("list attribute", withMapping("attribute.contexts", "assertion['oidc.circleci.com/context-ids']"), v1, "the attribute is a list, not text"),
		allow("groups", withMapping("google.groups", "assertion['oidc.circleci.com/context-ids']"), v1, "principalSet:"+testPool+"group/"+ci.SampleContext),
		undecided("groups are text", withMapping("google.groups", "assertion.sub"), v1, "google.groups is text, not a list of texts"),
		undecided("groups of numbers", withMapping("google.groups", "[1, 2]"), v1, "google.groups is a list, not a list of texts"),
		deny("8 KB", withMapping("attribute.big", "assertion.big"), v1Claims(claim("big", `"`+strings.Repeat("x", 8192)+`"`)), "more than the 8192 that Google takes"),
		deny("one too many", withMapping("attribute.big", "assertion.big"), v1Claims(claim("big", `"`+strings.Repeat("x", 8193-127)+`"`)), "the mapped values have 8193 bytes"),
		undecided("8 KB with the names", withMapping("attribute.big", "assertion.big"), v1Claims(claim("big", `"`+strings.Repeat("x", 8192-127)+`"`)), "whether Google counts both"),
		allow("less", withMapping("attribute.big", "assertion.big"), v1Claims(claim("big", `"`+strings.Repeat("x", 8192-127-40)+`"`))),

		// The condition.
		allow("string against boolean is never equal", ssh("!= 'true'"), v1Claims(ci.Variant{SSHRerun: true})),
		deny("nor here", ssh("== 'false'"), v1, "compare it with true or false, without quotes"),
		deny("as boolean", ssh("!= true"), v1Claims(ci.Variant{SSHRerun: true})),
		deny("webhook", ref(" == 'refs/heads/main'"), v1Claims(ci.Variant{Webhook: true}), "it cannot be evaluated: no such key: oidc.circleci.com/vcs-ref; "+rejected, "webhook"),
		allow("or swallows the error", ref(" == 'refs/heads/main' || true"), v1Claims(ci.Variant{Webhook: true})),
		deny("dotted", withCondition("assertion.oidc.circleci.com == 'x'"), v1, "no such key: oidc", "assertion['oidc.circleci.com/project-id']"),
		deny("missing oidc.", withCondition("assertion['circleci.com/project-id'] == 'x'"), v1, "there is no claim circleci.com/project-id: it is assertion['oidc.circleci.com/project-id']"),
		deny("variable", withCondition("assertion['${server_domain}/project-id'] == 'x'"), v1, "a variable was not expanded"),
		deny("unknown claim", withCondition("assertion.repository == 'x'"), v1, "CircleCI's tokens have no claim repository"),
		deny("letter case", withCondition("assertion['oidc.circleci.com/vcs-origin'] == 'github.com/My-Org/app'"), v1, "upper and lower case alone", `they differ from character 12 on, where "My-Org/app" is wanted and "my-org/app" found`),
		deny("within a letter", withCondition("assertion.aud == 'xé'"), v1Claims(claim("aud", `"xè"`)), `they differ from character 2 on, where "é" is wanted and "è" found`),
		deny("slug for a UUID", withCondition("assertion['oidc.circleci.com/project-id'] == 'my-org/app'"), v1, "is a UUID, not a name"),
		deny("https", withCondition("assertion['oidc.circleci.com/vcs-origin'] == 'https://github.com/my-org/app.git'"), v1, "no https:// and no .git"),
		deny("short ref", ref(" == 'main'"), v1, `is the whole ref: "refs/heads/main"`),
		deny("white space", ref(" == ' refs/heads/main'"), v1, "white space"),
		deny("subject compared", withCondition("assertion.sub == 'org/x'"), v1, "compare the claims instead"),
		deny("null contexts", withCondition("'c' in assertion['oidc.circleci.com/context-ids']"), v1Claims(claim(policy.ClaimContexts, "null")), "no such overload", "!= null first"),
		deny("broken regular expression", withCondition("assertion.sub.matches('(')"), v1, "it cannot be evaluated: error parsing regexp"),
		deny("not a boolean", withCondition("assertion.sub"), v1, "it is text, not true or false"),
		deny("operands", withCondition("assertion.aud != '' && assertion['oidc.circleci.com/vcs-ref'] == 'refs/heads/main' && assertion.iat > 5"), v1Claims(ci.Variant{Branch: "dev"}),
			"attributeCondition, operand 2: it is false: they differ from character 12 on",
			"allow | attributeCondition, operand 1 | assertion.aud != '' | aud is",
			"allow | attributeCondition, operand 3 | assertion.iat > 5 | iat is 1763071432"),
		allow("google and attribute", withCondition("google.subject.startsWith('org/') && attribute.project == '"+ci.SampleProject+"'"), v1),
		deny("unmapped attribute", withCondition("attribute.nothing == 'x'"), v1, "no such key: nothing", "the mapping gives no attribute.nothing"),
		allow("numbers are doubles", withCondition("assertion.iat == 1763071432 && assertion.iat > 1763071431 && type(assertion.iat) == double"), v1),
		deny("so that int arithmetic is an error", withCondition("assertion.iat + 1 > 0"), v1, "no such overload"),
		undecided("too expensive", withCondition("[1,2,3,4,5,6,7,8,9].all(a, [1,2,3,4,5,6,7,8,9].all(b, [1,2,3,4,5,6,7,8,9].all(c, [1,2,3,4,5,6,7,8,9].all(d, [1,2,3,4,5,6,7,8,9].all(e, [1,2,3,4,5,6,7,8,9].all(f, a+b+c+d+e+f > 0))))))"), v1,
			"it takes more than this program spends on a token"),
		allow("undocumented function", withCondition("assertion.sub.substring(0, 4) == 'org/'"), v1, "Google documents no function substring"),
		allow("uploaded keys", map[string]any{"oidc": map[string]any{"issuerUri": testIssuer, "allowedAudiences": []string{ci.SampleOrg}, "jwksJson": `{"keys":[]}`}}, v1, "keys that were uploaded"),
	} {
		row.run(t, Request{Now: testNow})
	}
}

// A condition that asks for an attribute whose value is not known is not known
// either, unless another operand refuses.
func TestUnknownAttribute(t *testing.T) {
	webhook := v1Claims(ci.Variant{Webhook: true})
	changes := withMapping("attribute.ref", "assertion['oidc.circleci.com/vcs-ref']")
	changes["attributeCondition"] = "attribute.ref != 'refs/heads/evil'"
	undecided("alone", changes, webhook, "it asks for attribute.ref, whose value is not known").run(t, Request{})
	changes["attributeCondition"] = "attribute.ref != 'refs/heads/evil' && assertion.aud == 'x'"
	deny("with another", changes, webhook, "operand 2: it is false").run(t, Request{})
}

// Without a subject there is no identity, and so there are no names of it.
func TestNoPrincipals(t *testing.T) {
	j := parse(t, withMapping("google.subject", "assertion.nothing")).Check(Request{Claims: v1Claims(ci.Variant{})})
	if j.Principals != nil {
		t.Errorf("%q", j.Principals)
	}
}

// All expressions of a provider share what may be spent on a token.
func TestBudget(t *testing.T) {
	list := "[" + strings.Repeat("1,", 99) + "1]"
	dear := list + ".all(a, " + list + ".all(b, a + b > 0))" // a tenth of what there is
	var parts []string
	for range 6 {
		parts = append(parts, dear)
	}
	allow("some", withCondition(strings.Join(parts, " && ")), v1Claims(ci.Variant{})).run(t, Request{})
	many := map[string]string{"google.subject": "'s'"}
	for i := range 20 {
		many[fmt.Sprintf("attribute.a%02d", i)] = dear + " ? 'a' : 'b'"
	}
	undecided("many", map[string]any{"attributeMapping": many}, v1Claims(ci.Variant{}), "it takes more than this program spends on a token").run(t, Request{})
	p := parse(t, map[string]any{"attributeMapping": many})
	run := newRun(v1Claims(ci.Variant{}), maxCost)
	if attributes, _ := p.evaluate(v1Claims(ci.Variant{}), run); len(attributes) > 15 || run.left > 0 {
		t.Errorf("%d attributes were mapped, and %d is left", len(attributes), run.left)
	}
	// What was given up ends the rest, too.
	endless := strings.Replace(dear, "a + b > 0", list+".all(c, a + b + c > 0)", 1)
	p = parse(t, withCondition(endless+" && assertion.aud != ''"))
	for _, check := range p.Check(Request{Claims: v1Claims(ci.Variant{})}).Checks {
		if strings.HasPrefix(check.Name, "attributeCondition") && check.Verdict != policy.Undecided {
			t.Errorf("%+v", check)
		}
	}
}

// Google would not have let anybody create these.
func TestLimits(t *testing.T) {
	v1 := v1Claims(ci.Variant{})
	many := map[string]any{"google.subject": "'x'"}
	for i := range 51 {
		many[fmt.Sprintf("attribute.a%d", i)] = "'a'"
	}
	oidcWith := func(audiences ...string) map[string]any {
		return map[string]any{"oidc": map[string]any{"issuerUri": testIssuer, "allowedAudiences": append(audiences, ci.SampleOrg)}}
	}
	for _, row := range []row{
		deny("51 attributes", map[string]any{"attributeMapping": many}, v1, "Google takes no such provider: there are 51 custom attributes, more than 50"),
		deny("upper case", withMapping("attribute.Ref", "'x'"), v1, "a-z, 0-9 and _"),
		deny("no name", withMapping("attribute.", "'x'"), v1, "a-z, 0-9 and _"),
		deny("101 characters", withMapping("attribute."+strings.Repeat("a", 101), "'x'"), v1, "has 101 characters, more than 100"),
		allow("100 characters", withMapping("attribute."+strings.Repeat("a", 100), "'x'"), v1),
		deny("long mapping", withMapping("attribute.a", "'"+strings.Repeat("x", 2047)+"'"), v1, "the expression has 2049 characters, more than 2048"),
		allow("mapping", withMapping("attribute.a", "'"+strings.Repeat("é", 2046)+"'"), v1),
		deny("long condition", withCondition("'"+strings.Repeat("x", 4090)+"' != ''"), v1, "the expression has 4098 characters, more than 4096"),
		allow("condition", withCondition("'"+strings.Repeat("x", 4088)+"' != ''"), v1),
		deny("11 audiences", oidcWith("a", "b", "c", "d", "e", "f", "g", "h", "i", "j"), v1, "there are 11 audiences, more than 10"),
		deny("long audience", oidcWith(strings.Repeat("a", 257)), v1, "an audience has 257 characters, more than 256"),
	} {
		row.run(t, Request{Now: testNow})
	}
}

func TestDefaultAudience(t *testing.T) {
	none := map[string]any{"oidc": map[string]any{"issuerUri": testIssuer}}
	for _, row := range []row{
		allow("https", none, v1Claims(ci.Variant{Audience: "https://iam.googleapis.com/" + testName})),
		allow("without", none, v1Claims(ci.Variant{Audience: "//iam.googleapis.com/" + testName})),
		deny("name alone", none, v1Claims(ci.Variant{Audience: testName})),
		deny("CircleCI's default", none, v1Claims(ci.Variant{}), "the provider lists no audience", "--allowed-audiences="+ci.SampleOrg, "--audience https://iam.googleapis.com/"+testName),
		deny("not beside listed ones", nil, v1Claims(ci.Variant{Audience: "https://iam.googleapis.com/" + testName})),
	} {
		row.run(t, Request{})
	}
}

// Terraform knows the project's number only after it has applied.
func TestTerraform(t *testing.T) {
	attributes := map[string]any{
		"workload_identity_pool_id": "circleci", "workload_identity_pool_provider_id": "jobs", "project": "my-project", "id": "x", "timeouts": nil,
		"aws": []any{}, "saml": []any{}, "x509": []any{}, "display_name": "", "disabled": nil,
		"attribute_mapping":   map[string]string{"google.subject": "assertion.sub"},
		"attribute_condition": nil,
		"oidc":                []any{map[string]any{"issuer_uri": testIssuer, "allowed_audiences": []string{}, "jwks_json": nil}},
	}
	resource := map[string]any{"address": "x.y", "mode": "managed", "type": terraformProvider, "name": "y", "values": attributes}
	for name, doc := range map[string]any{
		"attributes": attributes,
		"resource":   resource,
		"state": map[string]any{"format_version": "1.0", "terraform_version": "1.9.0", "values": map[string]any{"root_module": map[string]any{
			"resources":     []any{map[string]any{"type": "google_project_service", "values": map[string]any{}}},
			"child_modules": []any{map[string]any{"resources": []any{resource}}},
		}}},
		"plan": map[string]any{"planned_values": map[string]any{"root_module": map[string]any{"resources": []any{resource}}}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Parse(marshal(t, doc))
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := p.Pool(); ok || len(p.Audiences()) != 0 {
				t.Errorf("the pool and the audiences of a plan: %v", p.Audiences())
			}
			for audience, want := range map[string]policy.Verdict{
				"https://iam.googleapis.com/" + testName:                                        policy.Undecided,
				"//iam.googleapis.com/" + strings.Replace(testName, "123", "999", 1):            policy.Undecided,
				"//iam.googleapis.com/" + strings.Replace(testName, "circleci", "other", 1):     policy.Deny,
				"https://iam.googleapis.com/" + strings.Replace(testName, "/jobs", "/jobs2", 1): policy.Deny,
				"https://iam.googleapis.com//iam.googleapis.com/" + testName:                    policy.Deny,
				ci.SampleOrg: policy.Deny,
			} {
				j := p.Check(Request{Claims: v1Claims(ci.Variant{Audience: audience})})
				if j.Verdict != want || j.Principals != nil {
					t.Errorf("%s: %s %v, want %s", audience, j.Verdict, j.Principals, want)
				}
				if want == policy.Undecided && !strings.Contains(j.Reason, "oidc.allowed_audiences: the document does not tell the number") {
					t.Error(j.Reason)
				}
			}
		})
	}
}

func policyWith(t *testing.T, bindings ...map[string]any) *IAMPolicy {
	t.Helper()
	p, err := ParseIAMPolicy(marshal(t, map[string]any{"bindings": append([]map[string]any{}, bindings...), "etag": "BwY=", "version": 1}))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func grant(role string, members ...string) map[string]any {
	return map[string]any{"role": role, "members": members}
}

func TestBinding(t *testing.T) {
	user, set := userRole, "principalSet:"+testPool
	subject := "principal:" + testPool + "subject/org/" + ci.SampleOrg + "/project/" + ci.SampleProject + "/user/" + ci.SampleUser
	project := set + "attribute.project/" + ci.SampleProject
	conditional := grant(user, project)
	conditional["condition"] = map[string]any{"title": "until spring", "expression": "request.time < timestamp('2030-01-01T00:00:00Z')", "description": ""}
	denied := "Google says: Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist)."
	for _, row := range []struct {
		name     string
		bindings []map[string]any
		verdict  policy.Verdict
		words    []string
	}{
		{"subject", []map[string]any{grant(user, subject)}, policy.Allow, []string{"allow | bindings[0].members[0] | " + subject + " | " + user}},
		{"attribute", []map[string]any{grant("roles/viewer", "user:a@example.com"), grant(user, "user:a@example.com", project)}, policy.Allow, []string{"bindings[1].members[1]"}},
		{"pool", []map[string]any{grant(user, set+"*")}, policy.Allow, nil},
		{"everybody", []map[string]any{grant(user, "allUsers")}, policy.Allow, nil},
		{"token creator", []map[string]any{grant(tokenCreatorRole, project)}, policy.Allow, nil},
		{"Google's own alone", []map[string]any{grant(user, "allAuthenticatedUsers")}, policy.Deny, []string{denied}},
		{"nobody", nil, policy.Deny, []string{"bindings: no binding lets", denied, "grant roles/iam.workloadIdentityUser to a principal of the token's, for example " + project}},
		{"another role", []map[string]any{grant("roles/iam.serviceAccountUser", project)}, policy.Deny, []string{"it takes roles/iam.workloadIdentityUser"}},
		{"another value", []map[string]any{grant(user, set+"attribute.project/"+otherID)}, policy.Deny, nil},
		{"letter case", []map[string]any{grant(user, set+"attribute.project/"+strings.ToUpper(ci.SampleProject))}, policy.Deny, []string{"upper and lower case alone"}},
		{"prefix", []map[string]any{grant(user, set+"attribute.project/"+ci.SampleProject[:8])}, policy.Deny, nil},
		{"unmapped", []map[string]any{grant(user, set+"attribute.repo/x")}, policy.Deny, []string{"which the mapping does not give"}},
		{"two attributes", []map[string]any{grant(user, project+"/attribute.ref/x")}, policy.Deny, []string{"names two attributes"}},
		{"principal for a set", []map[string]any{grant(user, "principal:"+testPool+"attribute.project/"+ci.SampleProject)}, policy.Deny, []string{"principal: goes with subject/"}},
		{"set for a principal", []map[string]any{grant(user, strings.Replace(subject, "principal:", "principalSet:", 1))}, policy.Deny, []string{"principal: goes with subject/"}},
		{"project's id", []map[string]any{grant(user, strings.Replace(project, "123456789012", "my-project", 1))}, policy.Deny, []string{"its number 123456789012 belongs there"}},
		{"other pool", []map[string]any{grant(user, strings.Replace(project, "circleci", "other", 1))}, policy.Deny, []string{"is of another pool"}},
		{"V2 subject", []map[string]any{grant(user, subject+"/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main")}, policy.Deny, []string{"which never fits"}},
		{"condition", []map[string]any{conditional}, policy.Undecided, []string{"the binding has a condition that was not evaluated: until spring"}},
		{"condition, and a binding without", []map[string]any{conditional, grant(user, subject)}, policy.Allow, nil},
		{"custom role", []map[string]any{grant("projects/my-project/roles/deployer", project)}, policy.Undecided, []string{"whether projects/my-project/roles/deployer has the permission iam.serviceAccounts.getAccessToken"}},
		{"role of Google's", []map[string]any{grant("roles/editor", project)}, policy.Undecided, []string{"whether roles/editor has"}},
		{"custom role of others", []map[string]any{grant("projects/my-project/roles/deployer", set+"attribute.project/"+otherID)}, policy.Deny, nil},
		{"set of a folder", []map[string]any{grant(user, "principalSet://cloudresourcemanager.googleapis.com/projects/123456789012")}, policy.Undecided, []string{"who belongs to that principal set"}},
		{"deleted", []map[string]any{grant(user, "deleted:"+subject)}, policy.Deny, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := parse(t, nil)
			j := p.Check(Request{Claims: v1Claims(ci.Variant{}), IAM: policyWith(t, row.bindings...)})
			if j.Verdict != row.verdict {
				t.Errorf("%s (%s), want %s", j.Verdict, j.Reason, row.verdict)
			}
			for _, w := range append(row.words, "none of them is in these documents") {
				if all := words(j); !strings.Contains(all, w) {
					t.Errorf("no %q in\n%s", w, all)
				}
			}
		})
	}
}

// The policy beside the provider counts, but for one that is given.
func TestPolicyBeside(t *testing.T) {
	beside := map[string]any{"provider": doc(nil), "iamPolicy": map[string]any{"bindings": []any{grant(userRole, "user:a@example.com")}}}
	p, err := Parse(marshal(t, beside))
	if err != nil {
		t.Fatal(err)
	}
	if j := p.Check(Request{Claims: v1Claims(ci.Variant{})}); j.Verdict != policy.Deny || !strings.HasPrefix(j.Reason, "iamPolicy.bindings: ") {
		t.Errorf("%s %s", j.Verdict, j.Reason)
	}
	given := policyWith(t, grant(userRole, "principalSet:"+testPool+"*"))
	if j := p.Check(Request{Claims: v1Claims(ci.Variant{}), IAM: given}); j.Verdict != policy.Allow {
		t.Errorf("%s %s", j.Verdict, j.Reason)
	}
}

// The sandbox judges many tokens at once.
func TestParallel(t *testing.T) {
	p := parse(t, nil)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			v := ci.Variant{}
			if i%2 == 1 {
				v.Project = otherID
			}
			if j := p.Judge(v2(v)); j.Admitted != (i%2 == 0) {
				t.Errorf("%d: %+v", i, j)
			}
		})
	}
	all.Wait()
}

// With the number of the project unknown, no binding is known to match.
func TestBindingOfPlan(t *testing.T) {
	p, err := Parse(marshal(t, map[string]any{
		"workload_identity_pool_id": "circleci", "attribute_mapping": map[string]string{"google.subject": "'s'"},
		"oidc": map[string]any{"issuer_uri": testIssuer, "allowed_audiences": []string{ci.SampleOrg}}}))
	if err != nil {
		t.Fatal(err)
	}
	for member, want := range map[string]policy.Verdict{
		"principal:" + testPool + "subject/s":                                          policy.Undecided,
		"principal:" + strings.Replace(testPool, "circleci", "other", 1) + "subject/s": policy.Deny,
		"principal:" + testPool + "subject/t":                                          policy.Deny,
	} {
		j := p.Check(Request{Claims: v1Claims(ci.Variant{}), IAM: policyWith(t, grant(userRole, member))})
		if j.Verdict != want {
			t.Errorf("%s: %s, want %s", member, j.Verdict, want)
		}
	}
}

func TestJudge(t *testing.T) {
	p := parse(t, withMapping("google.groups", "['a', 'b']"))
	j := p.Judge(v2(ci.Variant{RootIssuer: true, Expired: true})) // which are not its to judge
	want := map[string]any{
		"google.subject": "org/" + ci.SampleOrg + "/project/" + ci.SampleProject + "/user/" + ci.SampleUser,
		"google.groups":  []string{"a", "b"},
	}
	if !j.Admitted || j.Verdict != policy.Allow || !reflect.DeepEqual(j.Attributes, want) || j.Code+j.Text+j.Why != "" {
		t.Errorf("%+v", j)
	}
	for _, row := range []struct {
		changes         map[string]any
		verdict         policy.Verdict
		code, text, why string
	}{
		{withCondition("false"), policy.Deny, "unauthorized_client", rejected().text, "attributeCondition: it is false"},
		{withMapping("google.subject", "assertion.nothing"), policy.Deny, "unauthorized_client", noSubject().text, `attributeMapping["google.subject"]: no such key: nothing`},
		{withMapping("google.subject", "'"+strings.Repeat("x", 128)+"'"), policy.Deny, "invalid_request", subjectSize().text, `attributeMapping["google.subject"]: it has 128 bytes, 1 more than there is room for`},
		{withMapping("attribute.x", "assertion.nothing"), policy.Undecided, "", "", `attributeMapping["attribute.x"]: it has no value for this token (no such key: nothing), and what Google makes of that is not documented`},
	} {
		j := parse(t, row.changes).Judge(v2(ci.Variant{}))
		if j.Admitted || j.Verdict != row.verdict || j.Code != row.code || j.Text != row.text || j.Why != row.why {
			t.Errorf("%v: %+v", row.changes, j)
		}
	}
	// Of several faults the mapping's comes first, the condition's last.
	changes := withMapping("google.subject", "assertion.nothing")
	changes["attributeCondition"] = "false"
	if j := parse(t, changes).Judge(v2(ci.Variant{})); j.Text != noSubject().text {
		t.Errorf("%+v", j)
	}
}

// A clock of nobody's judges no times.
func TestNoClock(t *testing.T) {
	j := parse(t, nil).Check(Request{Claims: v1Claims(ci.Variant{Expired: true})})
	if j.Verdict != policy.Allow || !strings.Contains(words(j), "the token's times were not judged") {
		t.Error(words(j))
	}
	if j := parse(t, nil).Check(Request{Claims: v1Claims(ci.Variant{}), Now: testNow.Add(time.Hour + 59*time.Second)}); j.Verdict != policy.Allow {
		t.Error("within the minute that clocks may differ by:", j.Reason)
	}
	if j := parse(t, nil).Check(Request{Claims: v1Claims(ci.Variant{}), Now: testNow.Add(time.Hour + time.Minute)}); j.Verdict != policy.Deny {
		t.Error("after it")
	}
}

func TestAccessors(t *testing.T) {
	p := parse(t, nil)
	pool, ok := p.Pool()
	if p.Name() != testName || pool != strings.TrimSuffix(testName, "/providers/jobs") || !ok || p.Issuer() != testIssuer ||
		!reflect.DeepEqual(p.Audiences(), []string{ci.SampleOrg}) || p.IAM() != nil {
		t.Errorf("%q %q %q %q", p.Name(), pool, p.Issuer(), p.Audiences())
	}
	p.Audiences()[0] = "changed"
	if p.Audiences()[0] != ci.SampleOrg {
		t.Error("the provider's own list was handed out")
	}
	none := parse(t, map[string]any{"oidc": map[string]any{"issuerUri": testIssuer}})
	if got := none.Audiences(); !reflect.DeepEqual(got, []string{"https://iam.googleapis.com/" + testName, "//iam.googleapis.com/" + testName}) {
		t.Error(got)
	}
}

// The whole judgement is data that a machine reads.
func TestJudgementJSON(t *testing.T) {
	b, err := json.Marshal(parse(t, nil).Check(Request{Claims: v1Claims(ci.Variant{}), Now: testNow}))
	if err != nil || !strings.Contains(string(b), `"attribute.project":"`+ci.SampleProject+`"`) || strings.Contains(string(b), `"checks":null`) {
		t.Errorf("%v %s", err, b)
	}
}
