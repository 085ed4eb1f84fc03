package wif

import (
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/document"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// line is a provider with something on its second line.
func line(rest string) string {
	return `{"oidc": {"issuerUri": "` + testIssuer + `"}, ` + "\n" + rest + `}`
}

func TestParseErrors(t *testing.T) {
	snake := func(rest string) string {
		return `{"oidc": {"issuer_uri": "x"}, "attribute_mapping": {},` + "\n" + rest + `}`
	}
	for _, row := range []struct{ name, text, want string }{
		{"YAML", "attributeCondition: x", "line 1, column 1: not JSON | --format=json"},
		{"two documents", line(`"state": "ACTIVE"`) + "{}", "line 2, column 19: something follows the document"},
		{"too long", `"` + strings.Repeat("x", document.MaxDocument) + `"`, "more than the 1048576 that are read"},
		{"text", `"x"`, "line 1, column 1: text where a provider belongs"},
		{"list", `[{}]`, "line 1, column 1: a list where a provider belongs | gcloud's describe prints one"},
		{"empty", `{}`, "line 1, column 1: oidc.issuerUri is missing"},
		{"no issuer", `{"oidc": {}}`, "line 1, column 1: oidc.issuerUri is missing"},
		{"null", `{"oidc": null}`, "line 1, column 1: oidc.issuerUri is missing"},
		{"no issuer in Terraform", `{"attribute_mapping": {}, "oidc": []}`, "oidc.issuer_uri is missing"},
		{"duplicate", line(`"attributeMapping": {"google.subject": "a", "google.subject": "b"}`), `line 2, column 45: "google.subject" is there twice`},
		{"unknown", line(`"attributeConditions": "x"`), `line 2, column 1: there is no "attributeConditions" here`},
		{"unknown in oidc", `{"oidc": {"issuer": "x"}}`, `line 1, column 11: there is no "issuer" here`},
		{"Terraform's name in gcloud's form", line(`"project": "x"`), `line 2, column 1: there is no "project" here`},
		{"gcloud's name in Terraform's form", snake(`"attributeCondition": "x"`), `line 2, column 1: there is no "attributeCondition" here | all names are Terraform's`},
		{"issuer is a number", `{"oidc": {"issuerUri": 5}}`, "line 1, column 24: oidc.issuerUri is a number, not text"},
		{"oidc is text", `{"oidc": "x"}`, "line 1, column 10: oidc is text, not an object"},
		{"two oidc", `{"attribute_mapping": {}, "oidc": [{}, {}]}`, "oidc is a list, not an object"},
		{"list of oidc in gcloud's form", `{"oidc": [{"issuerUri": "x"}]}`, "oidc is a list, not an object"},
		{"audiences are text", `{"oidc": {"issuerUri": "x", "allowedAudiences": "a"}}`, "line 1, column 49: oidc.allowedAudiences is text, not a list"},
		{"audience is null", `{"oidc": {"issuerUri": "x", "allowedAudiences": ["a", null]}}`, "line 1, column 55: an audience is null, not text"},
		{"keys are an object", `{"oidc": {"issuerUri": "x", "jwksJson": {}}}`, "line 1, column 41: oidc.jwksJson is an object, not text"},
		{"disabled is text", line(`"disabled": "true"`), "line 2, column 13: disabled is text, not true or false"},
		{"mapping is a list", line(`"attributeMapping": []`), "line 2, column 21: attributeMapping is a list, not an object"},
		{"mapping of a number", line(`"attributeMapping": {"google.subject": 1}`), `line 2, column 40: attributeMapping["google.subject"] is a number, not text`},
		{"mapping of null", line(`"attributeMapping": {"google.subject": null}`), `line 2, column 40: attributeMapping["google.subject"] is null, not text`},
		{"condition is true", line(`"attributeCondition": true`), "line 2, column 23: attributeCondition is true or false, not text"},
		{"reversed", line(`"attributeMapping": {"assertion.sub": "google.subject"}`), `line 2, column 22: the mapping's key "assertion.sub" is a claim: the key is what Google is to have | it is written the other way round: "google.subject": "assertion.sub"`},
		{"reversed attribute", line(`"attributeMapping": {"assertion['x']": "attribute.x"}`), `it is written the other way round: "attribute.x": "assertion['x']"`},
		{"unknown attribute", line(`"attributeMapping": {"subject": "assertion.sub"}`), `line 2, column 22: Google has no attribute "subject" | attribute.NAME`},
		{"mapping does not compile", line(`"attributeMapping": {"google.subject": "assertion.sub +"}`), `line 2, column 40: attributeMapping["google.subject"] does not compile: column 16 of the expression: Syntax error: mismatched input '<EOF>'`},
		{"condition does not compile", line(`"attributeCondition": "assertion.sub = 'x'"`), "line 2, column 23: attributeCondition does not compile: column 15 of the expression: Syntax error"},
		{"second line", line(`"attributeCondition": "assertion.sub == 'x' &&\n  assertions.sub != 'y'"`), "line 2, column 23: attributeCondition does not compile: line 2, column 3 of the expression: undeclared reference to 'assertions'"},
		{"empty mapping", line(`"attributeMapping": {"google.subject": ""}`), `line 2, column 40: attributeMapping["google.subject"] does not compile`},
		{"dotted", line(`"attributeCondition": "assertion.oidc.circleci.com/project-id == 'x'"`), "does not compile | assertion['oidc.circleci.com/project-id']"},
		{"mapping of attributes", line(`"attributeMapping": {"google.subject": "attribute.x"}`), "undeclared reference to 'attribute' | a mapping knows assertion alone"},
		{"unknown function", line(`"attributeCondition": "assertion.sub.toUpper() == 'x'"`), "column 22 of the expression: undeclared reference to 'toUpper' | Google's extract, split, join and lowerAscii"},
		{"unknown macro", line(`"attributeCondition": "[1].fold(x, x)"`), "does not compile"},
		{"condition is text", line(`"attributeCondition": "'x'"`), "line 2, column 23: attributeCondition gives text, not true or false"},
		{"condition is a number", line(`"attributeCondition": "1"`), "gives a number, not true or false"},
		{"assertion is a map", line(`"attributeCondition": "assertion == 'x'"`), "found no matching overload"},
		{"too deep", line(`"attributeCondition": "` + strings.Repeat("(", 300) + "true" + strings.Repeat(")", 300) + `"`), "does not compile"},
		{"too long for any limit", line(`"attributeCondition": "` + strings.Repeat(" ", 8200) + `true"`), "does not compile"},
		{"pool", `{"name": "projects/1/locations/global/workloadIdentityPools/circleci", "state": "ACTIVE"}`, "line 1, column 10: it is a pool, not a provider"},
		{"workforce", `{"name": "locations/global/workforcePools/p/providers/q", "oidc": {"issuerUri": "x"}}`, "workforce pool, which is for people"},
		{"name", `{"name": "circleci", "oidc": {"issuerUri": "x"}}`, `line 1, column 2: the name "circleci" is not a provider's`},
		{"IAM policy", `{"bindings": [], "etag": "x"}`, "it is an IAM policy, not a provider"},
		{"credential configuration", `{"type": "external_account", "audience": "//iam"}`, "it is a credential configuration"},
		{"AWS", line(`"aws": {"accountId": "x"}`), "line 2, column 1: the provider takes AWS credentials, not OpenID Connect tokens"},
		{"X.509", `{"name": "` + testName + `", "x509": {"trustStore": {}}}`, "X509 credentials"},
		{"two in a state", `{"values": {"root_module": {"resources": [{"type": "` + terraformProvider + `", "values": {}}, {"type": "` + terraformProvider + `", "values": {}}]}}}`, "2 resources of type google_iam_workload_identity_pool_provider, not one"},
		{"none in a state", `{"values": {"root_module": {}}}`, "0 resources"},
		{"data source", `{"values": {"root_module": {"resources": [{"mode": "data", "type": "` + terraformProvider + `", "values": {}}]}}}`, "0 resources"},
		{"other resource", `{"type": "google_storage_bucket", "values": {}}`, `line 1, column 10: the resource is of type "google_storage_bucket"`},
		{"something beside the provider", `{"provider": {}, "policy": {}}`, `line 1, column 18: there is no "policy" here`},
		{"broken policy beside it", `{"provider": {}, "iamPolicy": []}`, "line 1, column 31: a list where an IAM policy belongs"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, err := Parse([]byte(row.text))
			if err == nil {
				t.Fatalf("taken: %+v", p)
			}
			got := err.Error() + " | " + strings.Join(fault.Hints(err), " | ")
			for _, want := range strings.Split(row.want, " | ") {
				if !strings.Contains(got, want) {
					t.Errorf("%s, want %s", got, want)
				}
			}
			if fault.KindOf(err) != fault.Usage || strings.Contains(err.Error(), "\n") {
				t.Errorf("kind %d: %q", fault.KindOf(err), err)
			}
		})
	}
}

// What gcloud prints, all of it, and Terraform's whole set.
func TestParseMembers(t *testing.T) {
	for name, text := range map[string]string{
		"gcloud": `{"actorProviders": [], "attributeCondition": "true", "attributeMapping": {"google.subject": "'x'"}, "description": "d", "disabled": false,
			"displayName": "d", "expireTime": "2026-01-01T00:00:00Z", "name": "` + testName + `", "state": "ACTIVE",
			"oidc": {"allowedAudiences": [], "discoveryUri": "https://x/.well-known/y", "issuerUri": "https://x", "jwksJson": "{}"}}`,
		"terraform": `{"attribute_condition": "true", "attribute_mapping": {"google.subject": "'x'"}, "aws": [], "deletion_policy": "DELETE", "description": "",
			"disabled": false, "display_name": "", "id": "` + testName + `", "name": "` + testName + `", "project": "my-project", "saml": null, "state": "ACTIVE",
			"timeouts": null, "workload_identity_pool_id": "circleci", "workload_identity_pool_provider_id": "jobs", "x509": [],
			"oidc": {"allowed_audiences": null, "issuer_uri": "https://x", "jwks_json": ""}}`,
		"beside a policy": `{"iamPolicy": {"bindings": []}, "provider": {"name": "` + testName + `", "oidc": {"issuerUri": "https://x"}, "attributeMapping": {"google.subject": "'x'"}}}`,
	} {
		p, err := Parse([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if p.Name() != testName || p.Issuer() != "https://x" || p.number != "123456789012" || len(p.mapping) != 1 || p.disabled {
			t.Errorf("%s: %+v", name, p)
		}
		if (p.IAM() != nil) != (name == "beside a policy") {
			t.Errorf("%s: the policy is %v", name, p.IAM())
		}
	}
}

// The places that findings name are the document's.
func TestPlaces(t *testing.T) {
	p, err := Parse([]byte("{\n  \"oidc\": {\n    \"issuerUri\": \"https://x\"},\n  \"attributeMapping\": {\n    \"google.subject\":\n      \"'x'\"},\n  \"attributeCondition\": \"true\"\n}"))
	if err != nil {
		t.Fatal(err)
	}
	for what, got := range map[string]string{
		"line 6, column 7":  p.mapping[0].At(),
		"line 5, column 5":  p.mapping[0].keyPlace.At(),
		"line 4, column 3":  p.mappingPlace.At(),
		"line 7, column 25": p.condition.At(),
		"line 3, column 18": p.issuerPlace.At(),
		"line 2, column 3":  p.oidcPlace.At(),
	} {
		if got != what {
			t.Errorf("%s, want %s", got, what)
		}
	}
}

func TestParsePolicyErrors(t *testing.T) {
	binding := func(b string) string { return "{\"bindings\": [\n" + b + "]}" }
	for _, row := range []struct{ name, text, want string }{
		{"not JSON", "x", "line 1, column 1: not JSON"},
		{"list", "[]", "a list where an IAM policy belongs"},
		{"bindings are text", `{"bindings": "x"}`, "line 1, column 14: bindings is text, not a list"},
		{"binding is text", binding(`"x"`), "line 2, column 1: a binding is text, not an object"},
		{"no role", binding(`{"members": []}`), "line 2, column 1: the binding has no role"},
		{"role is a number", binding(`{"role": 1}`), "line 2, column 10: role is a number, not text"},
		{"members are text", binding(`{"role": "r", "members": "allUsers"}`), "line 2, column 26: members is text, not a list"},
		{"member is null", binding(`{"role": "r", "members": [null]}`), "line 2, column 27: a member is null, not text"},
		{"condition is text", binding(`{"role": "r", "members": [], "condition": "x"}`), "condition is text, not an object"},
		{"unknown in a condition", binding(`{"role": "r", "members": [], "condition": {"when": "x"}}`), `there is no "when" here`},
		{"title is a number", binding(`{"role": "r", "members": [], "condition": {"title": 1}}`), "condition.title is a number, not text"},
		{"unknown in a binding", binding(`{"role": "r", "member": "x"}`), `line 2, column 15: there is no "member" here`},
		{"unknown", `{"Bindings": []}`, `line 1, column 2: there is no "Bindings" here`},
		{"duplicate", binding(`{"role": "r", "role": "s", "members": []}`), `line 2, column 15: "role" is there twice`},
		{"provider", `{"attributeMapping": {}}`, "it is a provider, not an IAM policy"},
	} {
		if _, err := ParseIAMPolicy([]byte(row.text)); err == nil || !strings.Contains(err.Error(), row.want) || fault.KindOf(err) != fault.Usage {
			t.Errorf("%s: %v, want %s", row.name, err, row.want)
		}
	}
	p, err := ParseIAMPolicy([]byte(`{"etag": "ACAB", "version": 3, "auditConfigs": [], "bindings": [{"role": "r", "members": ["m"], "condition": null}]}`))
	if err != nil || len(p.bindings) != 1 || p.bindings[0].conditional {
		t.Errorf("%+v %v", p, err)
	}
	if p, err := ParseIAMPolicy([]byte(`{"etag": "ACAB"}`)); err != nil || len(p.bindings) != 0 {
		t.Errorf("a policy without bindings: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(marshal(f, doc(nil)), []byte(`{"bindings": [{"role": "roles/iam.workloadIdentityUser", "members": ["principalSet:`+testPool+`*"]}]}`))
	f.Add([]byte(`{"attribute_mapping": {"google.subject": "assertion.sub"}, "oidc": [{"issuer_uri": "`+testIssuer+`"}]}`), []byte(`{}`))
	f.Add([]byte(`{"values": {"root_module": {"resources": [{"type": "google_iam_workload_identity_pool_provider", "values": {"id": ""}}]}}}`), []byte(`{"bindings": [{"role": "r", "condition": {}}]}`))
	f.Add([]byte(`{"provider": {"oidc": {"issuerUri": ""}}, "iamPolicy": {}}`), []byte(`[]`))
	claims := v2(ci.Variant{})
	f.Fuzz(func(t *testing.T, provider, policy []byte) {
		iam, err := ParseIAMPolicy(policy)
		if err != nil && fault.KindOf(err) != fault.Usage {
			t.Fatal(err)
		}
		p, err := Parse(provider)
		if err != nil {
			if fault.KindOf(err) != fault.Usage {
				t.Fatal(err)
			}
			return
		}
		j := p.Check(Request{Claims: claims, IAM: iam, Now: testNow})
		coherent(t, j)
	})
}

// coherent holds for every judgement: allow is what all checks say.
func coherent(t *testing.T, j policy.Judgement) {
	t.Helper()
	worst := policy.Allow
	for _, c := range j.Checks {
		switch {
		case c.Verdict == policy.Deny, c.Verdict == policy.Undecided && worst == policy.Allow:
			worst = c.Verdict
		}
		if c.Verdict != policy.Allow && c.Reason == "" {
			t.Fatalf("%s without a reason: %+v", c.Verdict, c)
		}
	}
	if worst != j.Verdict || (j.Reason == "") != (worst == policy.Allow) {
		t.Fatalf("%s (%s), but the checks say %s", j.Verdict, j.Reason, worst)
	}
}
