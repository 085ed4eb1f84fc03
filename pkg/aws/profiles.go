package aws

import (
	"context"
	"strings"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/ini"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
)

// Profile is what the two files say of one profile, each by key. nil means that a
// file has no such section.
type Profile struct {
	Name                string
	Credentials, Config map[string]secret.Value
}

func add(to map[string]secret.Value, settings []ini.Entry) map[string]secret.Value {
	if to == nil {
		to = map[string]secret.Value{}
	}
	for _, s := range settings {
		to[s.Key] = s.Value
	}
	return to
}

// Value returns what a key of the profile is: for keys in the credentials file that
// file wins, in botocore and in Go.
func (p Profile) Value(key string) string {
	if v, ok := p.Credentials[key]; ok {
		return v.Reveal()
	}
	return p.Config[key].Reveal()
}

// CredentialSources are the ways by which an SDK could find credentials for the profile. Of two
// it is not the same that wins in each SDK, and some pairs fail to load. They are
// in botocore's order.
func (p Profile) CredentialSources() []string {
	var ways []string
	has := func(keys ...string) bool {
		for _, key := range keys {
			if p.Value(key) != "" {
				return true
			}
		}
		return false
	}
	// A role that is assumed from the profile's own keys is one way, with both.
	own := p.Value("source_profile") == p.Name
	for _, w := range []struct {
		name  string
		there bool
	}{
		{"source_profile", has("source_profile")},
		{"credential_source", has("credential_source")},
		{"web_identity_token_file", has("web_identity_token_file")},
		{"sso", has("sso_session", "sso_start_url", "sso_account_id")},
		{"aws_access_key_id in the credentials file", p.Credentials["aws_access_key_id"].Reveal() != "" && !own},
		{"login_session", has("login_session")},
		{"credential_process", has("credential_process")},
		{"aws_access_key_id in the config file", p.Config["aws_access_key_id"].Reveal() != "" && p.Credentials["aws_access_key_id"].Empty() && !own},
	} {
		if w.there {
			ways = append(ways, w.name)
		}
	}
	return ways
}

// A KeyKind is what the first letters of an access key's id say of it (IAM's
// "Understanding unique ID prefixes").
type KeyKind int

// The kinds.
const (
	OtherKey  KeyKind = iota
	LongLived         // of a user: it ends when somebody deletes it
	Temporary         // of a session: it goes with a session token
)

// KindOfKey returns the kind of an access key's id.
func KindOfKey(id string) KeyKind {
	switch {
	case strings.HasPrefix(id, "AKIA"):
		return LongLived
	case strings.HasPrefix(id, "ASIA"):
		return Temporary
	}
	return OtherKey
}

// CheckRegion refuses what is no region's name, as a fault.Usage.
func CheckRegion(name string) error { return checkRegion(name) }

// CheckRole refuses what is no role's ARN, and a role of another partition than the
// region's, as a fault.Usage. The region may be "".
func CheckRole(variable, arn, region string) error {
	r, err := parseRole(variable, arn)
	if err != nil {
		return err
	}
	if checkRegion(region) != nil {
		region = "" // somebody else's complaint
	}
	return checkPartition(r, region)
}

// CheckEndpoint refuses variables by which the SDKs find STS that say nothing
// sensible, as a fault.Usage or, for a file that cannot be read, a fault.Local.
func CheckEndpoint(getenv func(string) string) error {
	return new(Exchange).settleEndpoint(getenv, files.Read)
}

// Probe asks the region's STS whether it is there, without a token or a signature.
func Probe(ctx context.Context, c *remote.Client, region string, getenv func(string) string) (remote.Probed, error) {
	x := &Exchange{Region: region}
	if err := x.settleEndpoint(getenv, files.Read); err != nil {
		return remote.Probed{}, err
	}
	c, err := x.client(c)
	if err != nil {
		return remote.Probed{}, err
	}
	url := x.endpoint.url
	if url == "" {
		if region == "" {
			region = "aws-global"
		}
		p := sts.EndpointParameters{Region: &region, UseFIPS: &x.endpoint.fips, UseDualStack: &x.endpoint.dualStack, UseGlobalEndpoint: awssdk.Bool(false)}
		at, err := sts.NewDefaultEndpointResolverV2().ResolveEndpoint(ctx, p)
		if err != nil {
			return remote.Probed{}, fault.New(fault.Usage, "AWS has no STS endpoint for the region %q with these settings", region).
				Hint("are AWS_REGION, AWS_USE_FIPS_ENDPOINT and AWS_USE_DUALSTACK_ENDPOINT meant together?")
		}
		url = at.URI.String()
	}
	return c.Probe(ctx, url, nil)
}
