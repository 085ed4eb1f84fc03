package gcp

import (
	"slices"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// TestOptionsHaveAnEffect: each option of an exchange is in what each output delivers,
// or refused for it, or said to be unused. A new option needs a row.
func TestOptionsHaveAnEffect(t *testing.T) {
	const account = "deploy@my-project.iam.gserviceaccount.com"
	base := Options{Provider: "projects/123456789012/locations/global/workloadIdentityPools/pool-a/providers/provider-a", ServiceAccount: account}
	all := []Output{CredentialConfiguration, ExportedConfiguration, PrintedAccessToken, PrintedIDToken}
	for _, row := range []struct {
		option string
		set    func(*Options)
		has    []Output
	}{
		{"scope", func(o *Options) { o.Scopes = []string{"https://www.googleapis.com/auth/pubsub"} }, []Output{PrintedAccessToken}},
		{"the default scope", func(o *Options) { o.Scopes = []string{defaultScope} }, all},
		{"delegate", func(o *Options) { o.Delegates = []string{account} }, []Output{PrintedAccessToken, PrintedIDToken}},
		{"token-lifetime", func(o *Options) { o.TokenLifetime = "30m" }, []Output{CredentialConfiguration, ExportedConfiguration, PrintedAccessToken}},
		{"subject", func(o *Options) { o.Subject = "admin@example.com" }, []Output{PrintedAccessToken}},
		{"universe-domain", func(o *Options) { o.UniverseDomain = "example.goog" }, all},
		{"project-id", func(o *Options) { o.ProjectID = "my-project" }, []Output{ExportedConfiguration}},
		{"sts-endpoint", func(o *Options) { o.STSEndpoint = "https://sts.example.com" }, all},
		{"iamcredentials-endpoint", func(o *Options) { o.IAMCredentialsEndpoint = "https://iam.example.com/" }, all},
	} {
		for _, out := range all {
			o := base
			row.set(&o)
			x, err := o.SettleFor(out)
			has := err == nil && len(x.Unused) == 0
			if want := slices.Contains(row.has, out); has != want {
				t.Errorf("%s for output %d: %v", row.option, out, err)
			}
			if err == nil && !has && (string(x.Unused[0].Option) != row.option || x.Unused[0].Remedy == "" || len(x.Unused[0].String()) > 140) {
				t.Errorf("%s for output %d: %v", row.option, out, x.Unused)
			}
			if err != nil && (fault.KindOf(err) != fault.Usage || len(fault.Hints(err)) == 0 || len(err.Error()) > 160) {
				t.Errorf("%s for output %d: %v, hints %q", row.option, out, err, fault.Hints(err))
			}
		}
	}
}

// TestBase: the URL of a method is not the URL of its service.
func TestBase(t *testing.T) {
	for _, row := range []struct {
		url string
		ok  bool
	}{
		{"https://sts.googleapis.com", true}, {"https://sts.googleapis.com/", true}, {"https://proxy.example.com/google/sts", true},
		{"https://proxy.example.com/v12/sts", true}, {"https://tokens.example.com/tokens", true},
		{"https://sts.googleapis.com/v1", false}, {"https://sts.googleapis.com/v1/", false}, {"https://sts.googleapis.com/v1/token", false},
		{"https://sts.googleapis.com/v1beta/token", false}, {"https://proxy.example.com/google/v1/introspect", false}, {"https://x.example.com/token", false},
	} {
		for _, o := range []Options{{STSEndpoint: row.url}, {IAMCredentialsEndpoint: row.url}} {
			if err := o.settleEndpoints(&Exchange{}); (err == nil) != row.ok {
				t.Errorf("%q: %v", row.url, err)
			}
		}
	}
}
