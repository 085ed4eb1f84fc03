package gcp

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

const testPool = "projects/123456789012/locations/global/workloadIdentityPools/circleci"

// The provider's name is put together from whatever CircleCI's documentation,
// the orb or the image pull call for.
func TestSettleProvider(t *testing.T) {
	for name, o := range map[string]Options{
		"in full":                         {Provider: testProvider},
		"//iam":                           {Provider: "//iam.googleapis.com/" + testProvider},
		"https":                           {Provider: "https://iam.googleapis.com/" + testProvider},
		"a slash":                         {Provider: "/" + testProvider},
		"parts":                           {ProjectNumber: "123456789012", PoolID: "circleci", ProviderID: "main"},
		"the pool in full":                {PoolID: testPool, ProviderID: "main"},
		"the pool with a slash":           {PoolID: testPool + "/", ProviderID: "main"},
		"the pool with a prefix":          {PoolID: "//iam.googleapis.com/" + testPool, ProviderID: "main"},
		"pool and number":                 {ProjectNumber: "123456789012", PoolID: testPool, ProviderID: "main"},
		"the provider in full":            {ProviderID: testProvider},
		"the provider with a prefix":      {ProviderID: "https://iam.googleapis.com/" + testProvider},
		"the provider in full, and parts": {ProjectNumber: "123456789012", PoolID: "circleci", ProviderID: testProvider},
		"the name wins":                   {Provider: testProvider, ProjectNumber: "999999999999", PoolID: "other", ProviderID: "other"},
	} {
		x, err := o.Resolve()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if x.Provider.String() != testProvider || x.Provider.Audience() != "//iam.googleapis.com/"+testProvider {
			t.Errorf("%s: %s", name, x.Provider)
		}
	}
}

func TestSettleRefuses(t *testing.T) {
	with := func(change func(*Options)) Options {
		o := Options{Provider: testProvider, ServiceAccount: testAccount}
		change(&o)
		return o
	}
	for _, row := range []struct {
		o     Options
		words string
	}{
		{Options{}, "no workload identity provider: give workload-identity-provider"},
		{Options{PoolID: "circleci"}, "not complete: give project-number and provider-id too"},
		{Options{ProjectNumber: "123456789012", ProviderID: "main"}, "not complete: give pool-id too"},
		{Options{PoolID: testPool}, "the provider's id is missing at the end"},
		{Options{Provider: "main"}, `"main" stands where "projects" belongs`},
		{Options{Provider: testPool}, "it is the name of a pool"},
		{Options{ProjectNumber: "my-project", PoolID: "circleci", ProviderID: "main"}, "it is a project's id"},
		{Options{ProjectNumber: "1.23457e+11", PoolID: "circleci", ProviderID: "main"}, "YAML turned the project number"},
		{Options{ProjectNumber: "123456789012", PoolID: "circleci", ProviderID: "$PROVIDER"}, "was not expanded"},
		{Options{Provider: "//iam.googleapis.com///iam.googleapis.com/" + testProvider}, "its prefix is there twice"},
		{with(func(o *Options) { o.ServiceAccount = "deploy" }), `"deploy" is not the address of a service account`},
		{with(func(o *Options) { o.Direct = true }), "direct is access without a service account"},
		{with(func(o *Options) { o.Delegates = []string{"me@example.com"} }), `"me@example.com" is not the address`},
		{with(func(o *Options) { o.ServiceAccount, o.Delegates = "", []string{testAccount} }), "delegate leads to a service account"},
		{with(func(o *Options) { o.ServiceAccount, o.TokenLifetime = "", "1h" }), "token-lifetime is for a service account's token"},
		{with(func(o *Options) { o.TokenLifetime = "soon" }), `token-lifetime "soon" is not a duration`},
		{with(func(o *Options) { o.TokenLifetime = "601.5s" }), "is not a duration"},
		{with(func(o *Options) { o.TokenLifetime = "599" }), "token-lifetime 599 is not within 10m and 12h"},
		{with(func(o *Options) { o.TokenLifetime = "12h1s" }), "not within"},
		{with(func(o *Options) { o.TokenLifetime = "-600" }), "not within"},
		{with(func(o *Options) { o.TokenLifetime = "-1h" }), "not within"},
		// As nanoseconds, these two are 600 seconds once 64 bits are over.
		{with(func(o *Options) { o.TokenLifetime = "36028797018964568" }), "not within"},
		{with(func(o *Options) { o.TokenLifetime = "-36028797018963368" }), "not within"},
		{with(func(o *Options) { o.ProjectID = "123456789012" }), "is not the id of a project"},
		{with(func(o *Options) { o.ProjectID = "My Project" }), "is not the id of a project"},
		{with(func(o *Options) { o.UniverseDomain = "https://googleapis.com" }), "is not a domain"},
		{with(func(o *Options) { o.UniverseDomain = "example.com/?" }), "is not a domain"},
		{with(func(o *Options) { o.UniverseDomain = "user@example.com" }), "is not a domain"},
		{with(func(o *Options) { o.STSEndpoint = "nonsense" }), "sts-endpoint is not a URL"},
		{with(func(o *Options) { o.STSEndpoint = "ftp://sts.example.com" }), "sts-endpoint is not a URL"},
		{with(func(o *Options) { o.STSEndpoint = "http://sts.example.com" }), "unencrypted"},
		{with(func(o *Options) { o.STSEndpoint = "https://sts.example.com/?x=1" }), "more than a scheme"},
		{with(func(o *Options) { o.IAMCredentialsEndpoint = "https://iam.example.com/#x" }), "iamcredentials-endpoint holds more than a scheme"},
		{with(func(o *Options) { o.IAMCredentialsEndpoint = "https://me:secret@iam.example.com" }), "more than a scheme"},
		{with(func(o *Options) { o.IAMCredentialsEndpoint = "https://" }), "iamcredentials-endpoint is not a URL"},
	} {
		t.Run(row.words, func(t *testing.T) {
			_, err := row.o.Resolve()
			wantFault(t, err, fault.Usage, row.words)
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("it shows a password: %v", err)
			}
		})
	}
}

func TestSettleDefaults(t *testing.T) {
	x := settled(t, Options{})
	if x.ServiceAccount != "" || x.lifetime != 0 || x.custom || !slices.Equal(x.scopes, []string{cloudPlatform}) ||
		x.sts != "https://sts.googleapis.com" || x.iam != "https://iamcredentials.googleapis.com" || x.universe != "googleapis.com" {
		t.Errorf("%+v", x)
	}
}

func TestSettleKeeps(t *testing.T) {
	x := settled(t, Options{
		ServiceAccount: testAccount, Delegates: []string{"a@p.iam.gserviceaccount.com", "projects/-/serviceAccounts/123456789012345678901"},
		Scopes: []string{"https://s1", "openid"}, ProjectID: "example.com:my-project", UniverseDomain: "example.goog",
		STSEndpoint: "http://127.0.0.1:1//", TokenLifetime: "12h",
	})
	if !slices.Equal(x.delegates, []string{"projects/-/serviceAccounts/a@p.iam.gserviceaccount.com", "projects/-/serviceAccounts/123456789012345678901"}) ||
		!slices.Equal(x.scopes, []string{"https://s1", "openid"}) || x.ProjectID != "example.com:my-project" || x.lifetime != 12*time.Hour {
		t.Errorf("%+v", x)
	}
	if x.sts != "http://127.0.0.1:1" || x.iam != "https://iamcredentials.example.goog" || !x.custom {
		t.Errorf("it calls %s and %s", x.sts, x.iam)
	}
	// Google's own name is in the audience of every universe.
	if !strings.HasPrefix(x.Provider.Audience(), "//iam.googleapis.com/") {
		t.Errorf("audience %s", x.Provider.Audience())
	}
}

func TestSettleLifetime(t *testing.T) {
	for text, want := range map[string]time.Duration{"600": 10 * time.Minute, "10m": 10 * time.Minute, "1h30m": 90 * time.Minute, "43200": 12 * time.Hour, "3600s": time.Hour} {
		if x := settled(t, Options{ServiceAccount: testAccount, TokenLifetime: text}); x.lifetime != want {
			t.Errorf("%s: %s, want %s", text, x.lifetime, want)
		}
	}
}
