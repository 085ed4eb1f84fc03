package gcp

import (
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

func TestParseProvider(t *testing.T) {
	for _, prefix := range []string{"", "/", "//iam.googleapis.com/", "https://iam.googleapis.com/"} {
		p, err := ParseProvider(prefix + providerName)
		if err != nil || p != (Provider{"123456789012", "circleci", "circleci-oidc"}) || p.String() != providerName || p.Audience() != "//iam.googleapis.com/"+providerName {
			t.Errorf("prefix %q: %+v, %v", prefix, p, explain(err))
		}
	}
}

func TestParseProviderSaysWhatIsWrong(t *testing.T) {
	const doubled, unset, space, form = "its prefix is there twice", "a part of it is empty", "there is white space in it", "it is like projects/123456789012/"
	name := func(number, pool, id string) string { return Provider{number, pool, id}.String() }
	for _, row := range []struct{ name, words string }{
		{"", "is empty"},
		{" \n", "is empty"},
		{providerName + "\n", space},
		{"//iam.googleapis.com///iam.googleapis.com/" + providerName, doubled},
		{"//iam.googleapis.com/https://iam.googleapis.com/" + providerName, doubled},
		{"https://iam.googleapis.com//" + providerName, doubled},
		{"//" + providerName, "the prefixes that it may have"},
		{"//iam.my-universe.goog/" + providerName, "in every universe"},
		{"http://iam.googleapis.com/" + providerName, "the prefixes that it may have"},
		{"iam.googleapis.com/" + providerName, "the prefixes that it may have"},
		{"https://iam.googleapis.com/v1/" + providerName, "the URL of an API call"},
		{"principalSet://iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/circleci/*", "the name of a principal"},
		{"projects/$NUMBER/locations/global/workloadIdentityPools/p/providers/q", "not expanded"},
		{"projects/123456789012/locations/global/workloadIdentityPools/<< parameters.pool >>/providers/q", space},
		{name("", "pool", "prov"), unset},
		{name("123456789012", "", "prov"), unset},
		{name("123456789012", "pool", ""), "the provider's id is missing"},
		{"projects/123456789012/locations/global/workloadIdentityPools/circleci", "it is the name of a pool"},
		{"projects/123456789012/locations/global/workloadIdentityPools/circleci/providers", "it is the name of a pool"},
		{"projects/123456789012", "it is not complete"},
		{"circleci-oidc", `"circleci-oidc" stands where "projects" belongs`},
		{strings.Replace(providerName, "Pools", "Pool", 1), `"workloadIdentityPool" stands where "workloadIdentityPools" belongs`},
		{strings.Replace(providerName, "global", "us-central1", 1), "locations/global alone"},
		{"locations/global/workforcePools/acme/providers/idp", "it is in a workforce pool"},
		{strings.Replace(providerName, "workloadIdentity", "workforce", 1), "it is in a workforce pool"},
		{providerName + "/keys/1", "it goes on after"},
		{providerName + "/", "it goes on after"},
		{name("my-project", "pool", "prov"), "gcloud projects describe my-project"},
		{name("example.com:my-project", "pool", "prov"), "it is a project's id"},
		{name("1.23457e+11", "pool", "prov"), "YAML turned"},
		{name("1.23456789012E11", "pool", "prov"), "YAML turned"},
		{name("123456789012.0", "pool", "prov"), "YAML turned"},
		{name("123_456", "pool", "prov"), "a project number is like"},
		{name("42", "pool", "prov"), "a project number is like"},
		{name("0123456789", "pool", "prov"), "a project number is like"},
		{name("123456789012", "gcp-pool", "prov"), "reserved by Google"},
		{name("123456789012", "pool", "gcp-prov"), `"gcp-prov" is not the id of a workload identity provider`},
		{name("123456789012", "pol", "prov"), "4 to 32 characters, this one has 3"},
		{name("123456789012", "pool", strings.Repeat("p", 33)), "4 to 32 characters, this one has 33"},
		{name("123456789012", "Pool", "prov"), `"Pool" is not the id of a workload identity pool; an id has a-z`},
		{name("123456789012", "pool", "pr.ov"), "an id has a-z"},
		{"folders/1/" + providerName, form},
	} {
		_, err := ParseProvider(row.name)
		if text := explain(err); fault.KindOf(err) != fault.Usage || !strings.Contains(text, row.words) {
			t.Errorf("%q: error %q, want a usage error with %q", row.name, text, row.words)
		}
	}
}

func TestServiceAccount(t *testing.T) {
	for _, email := range []string{
		"deployer@my-project.iam.gserviceaccount.com",
		"deployer@my-project.example.com.iam.gserviceaccount.com",
		"deployer@my-project.eu0.iam.gserviceaccount.com",
		"123456789012-compute@developer.gserviceaccount.com",
		"my-project@appspot.gserviceaccount.com",
		"my-project.example.com@appspot.gserviceaccount.com",
		"service-123456789012@gcp-sa-cloudbuild.iam.gserviceaccount.com",
		"123456789012@cloudbuild.gserviceaccount.com",
		"102345678901234567890",
	} {
		if err := ServiceAccount(email); err != nil {
			t.Errorf("%s: %s", email, explain(err))
		}
	}
	for _, row := range []struct{ email, words string }{
		{"", "the service account is empty"},
		{"  ", "the service account is empty"},
		{"not-an-email", `"not-an-email" is not the address of a service account; it is like`},
		{"@my-project.iam.gserviceaccount.com", "it is like"},
		{"a@b@my-project.iam.gserviceaccount.com", "it is like"},
		{"deployer@my-project.iam.gserviceaccount.com\n", "white space"},
		{"deployer@${PROJECT}.iam.gserviceaccount.com", "not expanded"},
		{"serviceAccount:deployer@my-project.iam.gserviceaccount.com", "leave serviceAccount: out"},
		{"projects/-/serviceAccounts/deployer@my-project.iam.gserviceaccount.com", "give the address alone"},
		{"Deployer@my-project.iam.gserviceaccount.com", "lower case"},
		{"deployer@123456789012.iam.gserviceaccount.com", "123456789012 is the project's number"},
		{"deployer@example.com:my-project.iam.gserviceaccount.com", "my-project.example.com.iam.gserviceaccount.com"},
		{"deployer@my-project.iam.gserviceaccount.com.evil.test", "ends in .gserviceaccount.com"},
		{"deployer@my-project.iamgserviceaccount.com", "ends in .gserviceaccount.com"},
		{"someone@gmail.com", "people and groups"},
		{"deployer@.iam.gserviceaccount.com", "ends in .gserviceaccount.com"},
		{"deployer?x@my-project.iam.gserviceaccount.com", "its name has"},
		{"1023456789", "it is like"},
	} {
		err := ServiceAccount(row.email)
		if text := explain(err); fault.KindOf(err) != fault.Usage || !strings.Contains(text, row.words) {
			t.Errorf("%q: error %q, want a usage error with %q", row.email, text, row.words)
		}
	}
}

// A token or a key in the wrong place must not reach the log.
func TestNamesWithholdWhatMayBeSecret(t *testing.T) {
	const token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln"
	long := strings.Repeat("k", 300)
	for _, secret := range []string{token, long, "-----BEGIN\u00a0PRIVATE\u00a0KEY-----"} {
		var all []string
		for _, name := range []string{secret, providerName + "/" + secret, "projects/123456789012/" + secret + "/global", Provider{secret, "pool", "prov"}.String(), Provider{"123456789012", secret, "prov"}.String()} {
			_, err := ParseProvider(name)
			all = append(all, explain(err))
		}
		c := CredConfig{Provider: providerName, SourceFile: "f"}
		for _, set := range []func(*CredConfig){
			func(c *CredConfig) { c.ServiceAccount = secret },
			func(c *CredConfig) {
				c.ServiceAccount, c.TokenLifetime = "deployer@my-project.iam.gserviceaccount.com", secret
			},
			func(c *CredConfig) { c.ExecutableTimeout = secret },
			func(c *CredConfig) { c.SourceType = secret },
			func(c *CredConfig) { c.SourceHeaders = []string{secret} },
			func(c *CredConfig) { c.UniverseDomain = secret },
			func(c *CredConfig) { c.STSEndpoint = secret },
			func(c *CredConfig) { c.STSEndpoint = "https://user:" + secret + "@sts.test" },
		} {
			other := c
			set(&other)
			_, err := other.Files()
			all = append(all, explain(err))
		}
		for i, text := range all {
			if text == "none" || strings.Contains(text, secret) {
				t.Errorf("error %d shows the secret, or is none: %s", i, text)
			}
		}
	}
}
