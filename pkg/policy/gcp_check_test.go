package policy

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

func TestGCPCheck(t *testing.T) {
	v1, v2 := gcpV1(oidc.Variant{}), gcpV2(oidc.Variant{})
	rejected := "Google says: The given credential is rejected by the attribute condition."
	ssh := func(op string) map[string]any { return gcpCondition("assertion['oidc.circleci.com/ssh-rerun'] " + op) }
	ref := func(rest string) map[string]any { return gcpCondition("assertion['oidc.circleci.com/vcs-ref']" + rest) }
	for _, row := range []gcpRow{
		gcpAllow("V1", nil, v1),
		gcpAllow("V2", nil, v2, "principal:"+gcpTestPool+"subject/org/"+oidc.SampleOrg+"/project/"+oidc.SampleProject+"/user/"+oidc.SampleUser,
			"principalSet:"+gcpTestPool+"attribute.project/"+oidc.SampleProject, "principalSet:"+gcpTestPool+"*", "there is no IAM policy"),
		gcpAllow("no condition", gcpCondition(""), gcpV1(oidc.Variant{Project: gcpOtherID})),
		gcpDeny("other project", nil, gcpV1(oidc.Variant{Project: gcpOtherID}), rejected, "they differ from character 1 on"),

		// State, issuer, audience and times.
		gcpDeny("disabled", map[string]any{"disabled": true}, v1, "disabled: the provider is disabled; Google says: The target service indicated by", "--no-disabled"),
		gcpDeny("deleted", map[string]any{"state": "DELETED"}, v1, "the provider is deleted", "undelete"),
		gcpUndecided("unknown state", map[string]any{"state": "RESTING"}, v1, "what Google does in the state RESTING is not known"),
		gcpAllow("no state", map[string]any{"state": nil}, v1),
		gcpDeny("other organisation", nil, gcpV1(oidc.Variant{Org: gcpOtherID}), "oidc.issuerUri: the issuers differ; Google says: The issuer in ID Token https://oidc.circleci.com/org/"+gcpOtherID+" does not match the expected ones: "+gcpTestIssuer,
			"the token is of the organisation "+gcpOtherID),
		gcpDeny("root issuer", nil, gcpV1(oidc.Variant{RootIssuer: true}), "mint it without"),
		gcpDeny("no issuer", nil, gcpLacks("iss"), "The issuer in ID Token null does not match"),
		gcpDeny("issuer is a number", nil, gcpV1(gcpClaim("iss", "5")), "The issuer in ID Token 5 does not match"),
		gcpDeny("slash", map[string]any{"oidc": map[string]any{"issuerUri": gcpTestIssuer + "/", "allowedAudiences": []string{oidc.SampleOrg}}}, v1, "they differ in the / at the end alone"),
		gcpDeny("audience", nil, gcpV1(oidc.Variant{Audience: "vault"}), "oidc.allowedAudiences: the token is for somebody else; Google says: The audience in ID Token [vault] does not match the expected audience."),
		gcpAllow("list of audiences", nil, gcpV1(gcpClaim("aud", `["vault", "`+oidc.SampleOrg+`"]`))),
		gcpDeny("list of others", nil, gcpV1(gcpClaim("aud", `["vault", "sts"]`)), "[vault, sts]"),
		gcpDeny("audience is a number", nil, gcpV1(gcpClaim("aud", `7`)), "ID Token []"),
		gcpDeny("no audience", nil, gcpLacks("aud"), "ID Token []"),
		gcpDeny("expired", nil, gcpV1(oidc.Variant{Expired: true}), "iat and exp: the token has expired 1h0m0s ago; Google says: ID Token issued at 1763064232 is stale to sign-in."),
		gcpDeny("no times", nil, gcpLacks("exp"), "the token has no good iat and exp"),
		gcpDeny("time as text", nil, gcpV1(gcpClaim("iat", `"1763071432"`)), "the token has no good iat and exp"),
		gcpDeny("from the future", nil, gcpV1(gcpClaim("iat", `1763071500`)), "the token begins in 1m8s", "issued at 1763071500"),
		gcpAllow("from the near future", nil, gcpV1(gcpClaim("iat", `1763071490`))),
		gcpDeny("from yesterday", nil, gcpV1(gcpClaim("iat", `1762984000`)), "the token is 24h17m12s old"),

		// The mapping.
		gcpDeny("V2 does not fit", gcpMaps("google.subject", "assertion.sub"), v2, "it has 184 bytes, 57 more", "exceeds the 127 bytes limit", "use the V1 token", "split('/vcs-origin/')[0]"),
		gcpAllow("V1 fits", gcpMaps("google.subject", "assertion.sub"), v1),
		gcpDeny("128 bytes", gcpMaps("google.subject", "assertion.sub + 'x'"), v1, "it has 128 bytes, 1 more"),
		gcpDeny("org_id", gcpMaps("google.subject", `assertion.org_id + "/" + assertion.sub.extract('/user/{user_id}/')`), v2,
			"no such key: org_id; Google says: Could not obtain a value for google.subject from the given credential.", "there is no claim org_id: it is assertion['oidc.circleci.com/org-id']"),
		gcpDeny("boolean subject", gcpMaps("google.subject", "assertion.sub == 'x'"), v1, "The mapped attribute 'google.subject' must be of type STRING."),
		gcpDeny("null subject", gcpMaps("google.subject", "assertion['oidc.circleci.com/context-ids']"), gcpV1(gcpClaim(claimContexts, "null")), "it is null", "Could not obtain a value"),
		gcpDeny("empty subject", gcpMaps("google.subject", "assertion.sub.extract('/user/{user_id}/')"), v1, "it is empty", "extract gives an empty text"),
		gcpDeny("no subject", map[string]any{"attributeMapping": map[string]any{"attribute.a": "'a'"}}, v1, "attributeMapping: there is no mapping for google.subject; Google says: Could not obtain"),
		gcpUndecided("absent attribute", gcpMaps("attribute.ref", "assertion['oidc.circleci.com/vcs-ref']"), gcpV1(oidc.Variant{Webhook: true}),
			`attributeMapping["attribute.ref"]: it has no value for this token (no such key: oidc.circleci.com/vcs-ref)`, "begin with 'oidc.circleci.com/vcs-ref' in assertion"),
		gcpUndecided("boolean attribute", gcpMaps("attribute.ssh", "assertion['oidc.circleci.com/ssh-rerun']"), v1, "the attribute is true or false, not text", "string(...)"),
		gcpUndecided("list attribute", gcpMaps("attribute.contexts", "assertion['oidc.circleci.com/context-ids']"), v1, "the attribute is a list, not text"),
		gcpAllow("groups", gcpMaps("google.groups", "assertion['oidc.circleci.com/context-ids']"), v1, "principalSet:"+gcpTestPool+"group/"+oidc.SampleContext),
		gcpUndecided("groups are text", gcpMaps("google.groups", "assertion.sub"), v1, "google.groups is text, not a list of texts"),
		gcpUndecided("groups of numbers", gcpMaps("google.groups", "[1, 2]"), v1, "google.groups is a list, not a list of texts"),
		gcpDeny("8 KB", gcpMaps("attribute.big", "assertion.big"), gcpV1(gcpClaim("big", `"`+strings.Repeat("x", 8192)+`"`)), "more than the 8192 that Google takes"),
		gcpDeny("one too many", gcpMaps("attribute.big", "assertion.big"), gcpV1(gcpClaim("big", `"`+strings.Repeat("x", 8193-127)+`"`)), "the mapped values have 8193 bytes"),
		gcpUndecided("8 KB with the names", gcpMaps("attribute.big", "assertion.big"), gcpV1(gcpClaim("big", `"`+strings.Repeat("x", 8192-127)+`"`)), "whether Google counts both"),
		gcpAllow("less", gcpMaps("attribute.big", "assertion.big"), gcpV1(gcpClaim("big", `"`+strings.Repeat("x", 8192-127-40)+`"`))),

		// The condition.
		gcpAllow("string against boolean is never equal", ssh("!= 'true'"), gcpV1(oidc.Variant{SSHRerun: true})),
		gcpDeny("nor here", ssh("== 'false'"), v1, "compare it with true or false, without quotes"),
		gcpDeny("as boolean", ssh("!= true"), gcpV1(oidc.Variant{SSHRerun: true})),
		gcpDeny("webhook", ref(" == 'refs/heads/main'"), gcpV1(oidc.Variant{Webhook: true}), "it cannot be evaluated: no such key: oidc.circleci.com/vcs-ref; "+rejected, "webhook"),
		gcpAllow("or swallows the error", ref(" == 'refs/heads/main' || true"), gcpV1(oidc.Variant{Webhook: true})),
		gcpDeny("dotted", gcpCondition("assertion.oidc.circleci.com == 'x'"), v1, "no such key: oidc", "assertion['oidc.circleci.com/project-id']"),
		gcpDeny("missing oidc.", gcpCondition("assertion['circleci.com/project-id'] == 'x'"), v1, "there is no claim circleci.com/project-id: it is assertion['oidc.circleci.com/project-id']"),
		gcpDeny("variable", gcpCondition("assertion['${server_domain}/project-id'] == 'x'"), v1, "a variable was not expanded"),
		gcpDeny("unknown claim", gcpCondition("assertion.repository == 'x'"), v1, "CircleCI's tokens have no claim repository"),
		gcpDeny("letter case", gcpCondition("assertion['oidc.circleci.com/vcs-origin'] == 'github.com/My-Org/app'"), v1, "upper and lower case alone", `they differ from character 12 on, where "My-Org/app" is wanted and "my-org/app" found`),
		gcpDeny("within a letter", gcpCondition("assertion.aud == 'xé'"), gcpV1(gcpClaim("aud", `"xè"`)), `they differ from character 2 on, where "é" is wanted and "è" found`),
		gcpDeny("slug for a UUID", gcpCondition("assertion['oidc.circleci.com/project-id'] == 'my-org/app'"), v1, "is a UUID, not a name"),
		gcpDeny("https", gcpCondition("assertion['oidc.circleci.com/vcs-origin'] == 'https://github.com/my-org/app.git'"), v1, "no https:// and no .git"),
		gcpDeny("short ref", ref(" == 'main'"), v1, `is the whole ref: "refs/heads/main"`),
		gcpDeny("white space", ref(" == ' refs/heads/main'"), v1, "white space"),
		gcpDeny("subject compared", gcpCondition("assertion.sub == 'org/x'"), v1, "compare the claims instead"),
		gcpDeny("null contexts", gcpCondition("'c' in assertion['oidc.circleci.com/context-ids']"), gcpV1(gcpClaim(claimContexts, "null")), "no such overload", "!= null first"),
		gcpDeny("broken regular expression", gcpCondition("assertion.sub.matches('(')"), v1, "it cannot be evaluated: error parsing regexp"),
		gcpDeny("not a boolean", gcpCondition("assertion.sub"), v1, "it is text, not true or false"),
		gcpDeny("operands", gcpCondition("assertion.aud != '' && assertion['oidc.circleci.com/vcs-ref'] == 'refs/heads/main' && assertion.iat > 5"), gcpV1(oidc.Variant{Branch: "dev"}),
			"attributeCondition, operand 2: it is false: they differ from character 12 on",
			"allow | attributeCondition, operand 1 | assertion.aud != '' | aud is",
			"allow | attributeCondition, operand 3 | assertion.iat > 5 | iat is 1763071432"),
		gcpAllow("google and attribute", gcpCondition("google.subject.startsWith('org/') && attribute.project == '"+oidc.SampleProject+"'"), v1),
		gcpDeny("unmapped attribute", gcpCondition("attribute.nothing == 'x'"), v1, "no such key: nothing", "the mapping gives no attribute.nothing"),
		gcpAllow("numbers are doubles", gcpCondition("assertion.iat == 1763071432 && assertion.iat > 1763071431 && type(assertion.iat) == double"), v1),
		gcpDeny("so that int arithmetic is an error", gcpCondition("assertion.iat + 1 > 0"), v1, "no such overload"),
		gcpUndecided("too expensive", gcpCondition("[1,2,3,4,5,6,7,8,9].all(a, [1,2,3,4,5,6,7,8,9].all(b, [1,2,3,4,5,6,7,8,9].all(c, [1,2,3,4,5,6,7,8,9].all(d, [1,2,3,4,5,6,7,8,9].all(e, [1,2,3,4,5,6,7,8,9].all(f, a+b+c+d+e+f > 0))))))"), v1,
			"it takes more than this program spends on a token"),
		gcpAllow("undocumented function", gcpCondition("assertion.sub.substring(0, 4) == 'org/'"), v1, "Google documents no function substring"),
		gcpAllow("uploaded keys", map[string]any{"oidc": map[string]any{"issuerUri": gcpTestIssuer, "allowedAudiences": []string{oidc.SampleOrg}, "jwksJson": `{"keys":[]}`}}, v1, "keys that were uploaded"),
	} {
		row.run(t, GCPRequest{Now: gcpTestNow})
	}
}

// A condition that asks for an attribute whose value is not known is not known
// either, unless another operand refuses.
func TestGCPUnknownAttribute(t *testing.T) {
	webhook := gcpV1(oidc.Variant{Webhook: true})
	changes := gcpMaps("attribute.ref", "assertion['oidc.circleci.com/vcs-ref']")
	changes["attributeCondition"] = "attribute.ref != 'refs/heads/evil'"
	gcpUndecided("alone", changes, webhook, "it asks for attribute.ref, whose value is not known").run(t, GCPRequest{})
	changes["attributeCondition"] = "attribute.ref != 'refs/heads/evil' && assertion.aud == 'x'"
	gcpDeny("with another", changes, webhook, "operand 2: it is false").run(t, GCPRequest{})
}

// Without a subject there is no identity, and so there are no names of it.
func TestGCPNoPrincipals(t *testing.T) {
	j := gcpParse(t, gcpMaps("google.subject", "assertion.nothing")).Check(GCPRequest{Claims: gcpV1(oidc.Variant{})})
	if j.Principals != nil {
		t.Errorf("%q", j.Principals)
	}
}

// All expressions of a provider share what may be spent on a token.
func TestGCPBudget(t *testing.T) {
	list := "[" + strings.Repeat("1,", 99) + "1]"
	dear := list + ".all(a, " + list + ".all(b, a + b > 0))" // a tenth of what there is
	var parts []string
	for range 6 {
		parts = append(parts, dear)
	}
	gcpAllow("some", gcpCondition(strings.Join(parts, " && ")), gcpV1(oidc.Variant{})).run(t, GCPRequest{})
	many := map[string]string{"google.subject": "'s'"}
	for i := range 20 {
		many[fmt.Sprintf("attribute.a%02d", i)] = dear + " ? 'a' : 'b'"
	}
	gcpUndecided("many", map[string]any{"attributeMapping": many}, gcpV1(oidc.Variant{}), "it takes more than this program spends on a token").run(t, GCPRequest{})
	p := gcpParse(t, map[string]any{"attributeMapping": many})
	run := newGCPRun(gcpV1(oidc.Variant{}), gcpMaxCost)
	if attributes, _ := p.evaluate(gcpV1(oidc.Variant{}), run); len(attributes) > 15 || run.left > 0 {
		t.Errorf("%d attributes were mapped, and %d is left", len(attributes), run.left)
	}
	// What was given up ends the rest, too.
	endless := strings.Replace(dear, "a + b > 0", list+".all(c, a + b + c > 0)", 1)
	p = gcpParse(t, gcpCondition(endless+" && assertion.aud != ''"))
	for _, check := range p.Check(GCPRequest{Claims: gcpV1(oidc.Variant{})}).Checks {
		if strings.HasPrefix(check.Name, "attributeCondition") && check.Verdict != Undecided {
			t.Errorf("%+v", check)
		}
	}
}

// Google would not have let anybody create these.
func TestGCPLimits(t *testing.T) {
	v1 := gcpV1(oidc.Variant{})
	many := map[string]any{"google.subject": "'x'"}
	for i := range 51 {
		many[fmt.Sprintf("attribute.a%d", i)] = "'a'"
	}
	oidcWith := func(audiences ...string) map[string]any {
		return map[string]any{"oidc": map[string]any{"issuerUri": gcpTestIssuer, "allowedAudiences": append(audiences, oidc.SampleOrg)}}
	}
	for _, row := range []gcpRow{
		gcpDeny("51 attributes", map[string]any{"attributeMapping": many}, v1, "Google takes no such provider: there are 51 custom attributes, more than 50"),
		gcpDeny("upper case", gcpMaps("attribute.Ref", "'x'"), v1, "a-z, 0-9 and _"),
		gcpDeny("no name", gcpMaps("attribute.", "'x'"), v1, "a-z, 0-9 and _"),
		gcpDeny("101 characters", gcpMaps("attribute."+strings.Repeat("a", 101), "'x'"), v1, "has 101 characters, more than 100"),
		gcpAllow("100 characters", gcpMaps("attribute."+strings.Repeat("a", 100), "'x'"), v1),
		gcpDeny("long mapping", gcpMaps("attribute.a", "'"+strings.Repeat("x", 2047)+"'"), v1, "the expression has 2049 characters, more than 2048"),
		gcpAllow("mapping", gcpMaps("attribute.a", "'"+strings.Repeat("é", 2046)+"'"), v1),
		gcpDeny("long condition", gcpCondition("'"+strings.Repeat("x", 4090)+"' != ''"), v1, "the expression has 4098 characters, more than 4096"),
		gcpAllow("condition", gcpCondition("'"+strings.Repeat("x", 4088)+"' != ''"), v1),
		gcpDeny("11 audiences", oidcWith("a", "b", "c", "d", "e", "f", "g", "h", "i", "j"), v1, "there are 11 audiences, more than 10"),
		gcpDeny("long audience", oidcWith(strings.Repeat("a", 257)), v1, "an audience has 257 characters, more than 256"),
	} {
		row.run(t, GCPRequest{Now: gcpTestNow})
	}
}

func TestGCPDefaultAudience(t *testing.T) {
	none := map[string]any{"oidc": map[string]any{"issuerUri": gcpTestIssuer}}
	for _, row := range []gcpRow{
		gcpAllow("https", none, gcpV1(oidc.Variant{Audience: "https://iam.googleapis.com/" + gcpTestName})),
		gcpAllow("without", none, gcpV1(oidc.Variant{Audience: "//iam.googleapis.com/" + gcpTestName})),
		gcpDeny("name alone", none, gcpV1(oidc.Variant{Audience: gcpTestName})),
		gcpDeny("CircleCI's default", none, gcpV1(oidc.Variant{}), "the provider lists no audience", "--allowed-audiences="+oidc.SampleOrg, "--audience https://iam.googleapis.com/"+gcpTestName),
		gcpDeny("not beside listed ones", nil, gcpV1(oidc.Variant{Audience: "https://iam.googleapis.com/" + gcpTestName})),
	} {
		row.run(t, GCPRequest{})
	}
}

// Terraform knows the project's number only after it has applied.
func TestGCPTerraform(t *testing.T) {
	attributes := map[string]any{
		"workload_identity_pool_id": "circleci", "workload_identity_pool_provider_id": "jobs", "project": "my-project", "id": "x", "timeouts": nil,
		"aws": []any{}, "saml": []any{}, "x509": []any{}, "display_name": "", "disabled": nil,
		"attribute_mapping":   map[string]string{"google.subject": "assertion.sub"},
		"attribute_condition": nil,
		"oidc":                []any{map[string]any{"issuer_uri": gcpTestIssuer, "allowed_audiences": []string{}, "jwks_json": nil}},
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
			p, err := ParseGCP(gcpMarshal(t, doc))
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := p.Pool(); ok || len(p.Audiences()) != 0 {
				t.Errorf("the pool and the audiences of a plan: %v", p.Audiences())
			}
			for audience, want := range map[string]Verdict{
				"https://iam.googleapis.com/" + gcpTestName:                                        Undecided,
				"//iam.googleapis.com/" + strings.Replace(gcpTestName, "123", "999", 1):            Undecided,
				"//iam.googleapis.com/" + strings.Replace(gcpTestName, "circleci", "other", 1):     Deny,
				"https://iam.googleapis.com/" + strings.Replace(gcpTestName, "/jobs", "/jobs2", 1): Deny,
				"https://iam.googleapis.com//iam.googleapis.com/" + gcpTestName:                    Deny,
				oidc.SampleOrg: Deny,
			} {
				j := p.Check(GCPRequest{Claims: gcpV1(oidc.Variant{Audience: audience})})
				if j.Verdict != want || j.Principals != nil {
					t.Errorf("%s: %s %v, want %s", audience, j.Verdict, j.Principals, want)
				}
				if want == Undecided && !strings.Contains(j.Reason, "oidc.allowed_audiences: the document does not tell the number") {
					t.Error(j.Reason)
				}
			}
		})
	}
}

func gcpPolicy(t *testing.T, bindings ...map[string]any) *IAMPolicy {
	t.Helper()
	p, err := ParseIAMPolicy(gcpMarshal(t, map[string]any{"bindings": append([]map[string]any{}, bindings...), "etag": "BwY=", "version": 1}))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func gcpGrant(role string, members ...string) map[string]any {
	return map[string]any{"role": role, "members": members}
}

func TestGCPBinding(t *testing.T) {
	user, set := gcpUserRole, "principalSet:"+gcpTestPool
	subject := "principal:" + gcpTestPool + "subject/org/" + oidc.SampleOrg + "/project/" + oidc.SampleProject + "/user/" + oidc.SampleUser
	project := set + "attribute.project/" + oidc.SampleProject
	conditional := gcpGrant(user, project)
	conditional["condition"] = map[string]any{"title": "until spring", "expression": "request.time < timestamp('2030-01-01T00:00:00Z')", "description": ""}
	denied := "Google says: Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist)."
	for _, row := range []struct {
		name     string
		bindings []map[string]any
		verdict  Verdict
		words    []string
	}{
		{"subject", []map[string]any{gcpGrant(user, subject)}, Allow, []string{"allow | bindings[0].members[0] | " + subject + " | " + user}},
		{"attribute", []map[string]any{gcpGrant("roles/viewer", "user:a@example.com"), gcpGrant(user, "user:a@example.com", project)}, Allow, []string{"bindings[1].members[1]"}},
		{"pool", []map[string]any{gcpGrant(user, set+"*")}, Allow, nil},
		{"everybody", []map[string]any{gcpGrant(user, "allUsers")}, Allow, nil},
		{"token creator", []map[string]any{gcpGrant(gcpTokenCreatorRole, project)}, Allow, nil},
		{"Google's own alone", []map[string]any{gcpGrant(user, "allAuthenticatedUsers")}, Deny, []string{denied}},
		{"nobody", nil, Deny, []string{"bindings: no binding lets", denied, "grant roles/iam.workloadIdentityUser to a principal of the token's, for example " + project}},
		{"another role", []map[string]any{gcpGrant("roles/iam.serviceAccountUser", project)}, Deny, []string{"it takes roles/iam.workloadIdentityUser"}},
		{"another value", []map[string]any{gcpGrant(user, set+"attribute.project/"+gcpOtherID)}, Deny, nil},
		{"letter case", []map[string]any{gcpGrant(user, set+"attribute.project/"+strings.ToUpper(oidc.SampleProject))}, Deny, []string{"upper and lower case alone"}},
		{"prefix", []map[string]any{gcpGrant(user, set+"attribute.project/"+oidc.SampleProject[:8])}, Deny, nil},
		{"unmapped", []map[string]any{gcpGrant(user, set+"attribute.repo/x")}, Deny, []string{"which the mapping does not give"}},
		{"two attributes", []map[string]any{gcpGrant(user, project+"/attribute.ref/x")}, Deny, []string{"names two attributes"}},
		{"principal for a set", []map[string]any{gcpGrant(user, "principal:"+gcpTestPool+"attribute.project/"+oidc.SampleProject)}, Deny, []string{"principal: goes with subject/"}},
		{"set for a principal", []map[string]any{gcpGrant(user, strings.Replace(subject, "principal:", "principalSet:", 1))}, Deny, []string{"principal: goes with subject/"}},
		{"project's id", []map[string]any{gcpGrant(user, strings.Replace(project, "123456789012", "my-project", 1))}, Deny, []string{"its number 123456789012 belongs there"}},
		{"other pool", []map[string]any{gcpGrant(user, strings.Replace(project, "circleci", "other", 1))}, Deny, []string{"is of another pool"}},
		{"V2 subject", []map[string]any{gcpGrant(user, subject+"/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main")}, Deny, []string{"which never fits"}},
		{"condition", []map[string]any{conditional}, Undecided, []string{"the binding has a condition that was not evaluated: until spring"}},
		{"condition, and a binding without", []map[string]any{conditional, gcpGrant(user, subject)}, Allow, nil},
		{"custom role", []map[string]any{gcpGrant("projects/my-project/roles/deployer", project)}, Undecided, []string{"whether projects/my-project/roles/deployer has the permission iam.serviceAccounts.getAccessToken"}},
		{"role of Google's", []map[string]any{gcpGrant("roles/editor", project)}, Undecided, []string{"whether roles/editor has"}},
		{"custom role of others", []map[string]any{gcpGrant("projects/my-project/roles/deployer", set+"attribute.project/"+gcpOtherID)}, Deny, nil},
		{"set of a folder", []map[string]any{gcpGrant(user, "principalSet://cloudresourcemanager.googleapis.com/projects/123456789012")}, Undecided, []string{"who belongs to that principal set"}},
		{"deleted", []map[string]any{gcpGrant(user, "deleted:"+subject)}, Deny, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := gcpParse(t, nil)
			j := p.Check(GCPRequest{Claims: gcpV1(oidc.Variant{}), IAM: gcpPolicy(t, row.bindings...)})
			if j.Verdict != row.verdict {
				t.Errorf("%s (%s), want %s", j.Verdict, j.Reason, row.verdict)
			}
			for _, w := range append(row.words, "none of them is in these documents") {
				if all := gcpWords(j); !strings.Contains(all, w) {
					t.Errorf("no %q in\n%s", w, all)
				}
			}
		})
	}
}

// The policy beside the provider counts, but for one that is given.
func TestGCPPolicyBeside(t *testing.T) {
	beside := map[string]any{"provider": gcpDoc(nil), "iamPolicy": map[string]any{"bindings": []any{gcpGrant(gcpUserRole, "user:a@example.com")}}}
	p, err := ParseGCP(gcpMarshal(t, beside))
	if err != nil {
		t.Fatal(err)
	}
	if j := p.Check(GCPRequest{Claims: gcpV1(oidc.Variant{})}); j.Verdict != Deny || !strings.HasPrefix(j.Reason, "iamPolicy.bindings: ") {
		t.Errorf("%s %s", j.Verdict, j.Reason)
	}
	given := gcpPolicy(t, gcpGrant(gcpUserRole, "principalSet:"+gcpTestPool+"*"))
	if j := p.Check(GCPRequest{Claims: gcpV1(oidc.Variant{}), IAM: given}); j.Verdict != Allow {
		t.Errorf("%s %s", j.Verdict, j.Reason)
	}
}

// The sandbox judges many tokens at once.
func TestGCPParallel(t *testing.T) {
	p := gcpParse(t, nil)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			v := oidc.Variant{}
			if i%2 == 1 {
				v.Project = gcpOtherID
			}
			if j := p.Judge(gcpV2(v)); j.Admitted != (i%2 == 0) {
				t.Errorf("%d: %+v", i, j)
			}
		})
	}
	all.Wait()
}

// With the number of the project unknown, no binding is known to match.
func TestGCPBindingOfPlan(t *testing.T) {
	p, err := ParseGCP(gcpMarshal(t, map[string]any{
		"workload_identity_pool_id": "circleci", "attribute_mapping": map[string]string{"google.subject": "'s'"},
		"oidc": map[string]any{"issuer_uri": gcpTestIssuer, "allowed_audiences": []string{oidc.SampleOrg}}}))
	if err != nil {
		t.Fatal(err)
	}
	for member, want := range map[string]Verdict{
		"principal:" + gcpTestPool + "subject/s":                                          Undecided,
		"principal:" + strings.Replace(gcpTestPool, "circleci", "other", 1) + "subject/s": Deny,
		"principal:" + gcpTestPool + "subject/t":                                          Deny,
	} {
		j := p.Check(GCPRequest{Claims: gcpV1(oidc.Variant{}), IAM: gcpPolicy(t, gcpGrant(gcpUserRole, member))})
		if j.Verdict != want {
			t.Errorf("%s: %s, want %s", member, j.Verdict, want)
		}
	}
}

func TestGCPJudge(t *testing.T) {
	p := gcpParse(t, gcpMaps("google.groups", "['a', 'b']"))
	j := p.Judge(gcpV2(oidc.Variant{RootIssuer: true, Expired: true})) // which are not its to judge
	want := map[string]any{
		"google.subject": "org/" + oidc.SampleOrg + "/project/" + oidc.SampleProject + "/user/" + oidc.SampleUser,
		"google.groups":  []string{"a", "b"},
	}
	if !j.Admitted || j.Verdict != Allow || !reflect.DeepEqual(j.Attributes, want) || j.Code+j.Text+j.Why != "" {
		t.Errorf("%+v", j)
	}
	for _, row := range []struct {
		changes         map[string]any
		verdict         Verdict
		code, text, why string
	}{
		{gcpCondition("false"), Deny, "unauthorized_client", gcpRejected().text, "attributeCondition: it is false"},
		{gcpMaps("google.subject", "assertion.nothing"), Deny, "unauthorized_client", gcpNoSubject().text, `attributeMapping["google.subject"]: no such key: nothing`},
		{gcpMaps("google.subject", "'"+strings.Repeat("x", 128)+"'"), Deny, "invalid_request", gcpSubjectSize().text, `attributeMapping["google.subject"]: it has 128 bytes, 1 more than there is room for`},
		{gcpMaps("attribute.x", "assertion.nothing"), Undecided, "", "", `attributeMapping["attribute.x"]: it has no value for this token (no such key: nothing), and what Google makes of that is not documented`},
	} {
		j := gcpParse(t, row.changes).Judge(gcpV2(oidc.Variant{}))
		if j.Admitted || j.Verdict != row.verdict || j.Code != row.code || j.Text != row.text || j.Why != row.why {
			t.Errorf("%v: %+v", row.changes, j)
		}
	}
	// Of several faults the mapping's comes first, the condition's last.
	changes := gcpMaps("google.subject", "assertion.nothing")
	changes["attributeCondition"] = "false"
	if j := gcpParse(t, changes).Judge(gcpV2(oidc.Variant{})); j.Text != gcpNoSubject().text {
		t.Errorf("%+v", j)
	}
}

// A clock of nobody's judges no times.
func TestGCPNoClock(t *testing.T) {
	j := gcpParse(t, nil).Check(GCPRequest{Claims: gcpV1(oidc.Variant{Expired: true})})
	if j.Verdict != Allow || !strings.Contains(gcpWords(j), "the token's times were not judged") {
		t.Error(gcpWords(j))
	}
	if j := gcpParse(t, nil).Check(GCPRequest{Claims: gcpV1(oidc.Variant{}), Now: gcpTestNow.Add(time.Hour + 59*time.Second)}); j.Verdict != Allow {
		t.Error("within the minute that clocks may differ by:", j.Reason)
	}
	if j := gcpParse(t, nil).Check(GCPRequest{Claims: gcpV1(oidc.Variant{}), Now: gcpTestNow.Add(time.Hour + time.Minute)}); j.Verdict != Deny {
		t.Error("after it")
	}
}

func TestGCPAccessors(t *testing.T) {
	p := gcpParse(t, nil)
	pool, ok := p.Pool()
	if p.Name() != gcpTestName || pool != strings.TrimSuffix(gcpTestName, "/providers/jobs") || !ok || p.Issuer() != gcpTestIssuer ||
		!reflect.DeepEqual(p.Audiences(), []string{oidc.SampleOrg}) || p.IAM() != nil {
		t.Errorf("%q %q %q %q", p.Name(), pool, p.Issuer(), p.Audiences())
	}
	p.Audiences()[0] = "changed"
	if p.Audiences()[0] != oidc.SampleOrg {
		t.Error("the provider's own list was handed out")
	}
	none := gcpParse(t, map[string]any{"oidc": map[string]any{"issuerUri": gcpTestIssuer}})
	if got := none.Audiences(); !reflect.DeepEqual(got, []string{"https://iam.googleapis.com/" + gcpTestName, "//iam.googleapis.com/" + gcpTestName}) {
		t.Error(got)
	}
}

// The whole judgement is data that a machine reads.
func TestGCPJudgementJSON(t *testing.T) {
	b, err := json.Marshal(gcpParse(t, nil).Check(GCPRequest{Claims: gcpV1(oidc.Variant{}), Now: gcpTestNow}))
	if err != nil || !strings.Contains(string(b), `"attribute.project":"`+oidc.SampleProject+`"`) || strings.Contains(string(b), `"checks":null`) {
		t.Errorf("%v %s", err, b)
	}
}
