// Package job is the sandbox's job of a CI system other than CircleCI: what its token
// says, which environment it has, and the services that issue tokens there.
package job

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// The audiences that tokens are declared for, beside that of the Google provider.
const (
	AWSAudience   = "sts.amazonaws.com"
	VaultAudience = "vault.example"
)

// Options say which job it is, beside what a ci.Variant says.
type Options struct {
	CI          string // the system's name; empty: circleci
	Environment string // that the job deploys to
	PullRequest bool   // from a branch of the project's own repository
	Immutable   bool   // GitHub's subject with the ids of owner and repository
}

// A Job is one of a CI system other than CircleCI.
type Job struct {
	// Token is what its tokens say.
	Token   ci.Variant
	system  *ci.System
	form    form
	subject string // of the same job where neither a fork nor a pull request started it
}

// Names are the systems that a sandbox can run as.
func Names() []string {
	return slices.DeleteFunc(ci.Names(), func(name string) bool {
		_, known := forms[name]
		return !known
	})
}

// New returns the job; nil for one of CircleCI.
func New(o Options, token ci.Variant) (*Job, error) {
	if o.CI == "" {
		o.CI = "circleci"
	}
	f, known := forms[o.CI]
	if !known {
		return nil, fault.NotOneOf("ci", o.CI, Names())
	}
	s := ci.Named(o.CI)
	for _, option := range given(o, token) {
		if !slices.Contains(f.takes, option) {
			e := fault.New(fault.Usage, "%s is not for the sandbox's job of %s", option, s.Title)
			return nil, e.Hint("these change its token: %s", fault.List(", ", append(slices.Clone(f.takes), "audience", "ttl", "claim")...))
		}
	}
	if o.CI == "circleci" {
		return nil, nil
	}
	j := &Job{Token: token, system: s, form: f}
	own, trusted := o, token
	own.PullRequest, trusted.Fork = false, false
	j.subject = text(f.claims(s, own, trusted), "sub")
	j.Token.Job = f.claims(s, o, token)
	if s.Audience != "" {
		j.Token.Audience = s.Audience
	}
	if j.Token.Audience == "" {
		j.Token.Audience = AWSAudience
	}
	if life, err := time.ParseDuration(s.Lifetime); err == nil && token.TTL == 0 {
		j.Token.TTL = life
	}
	return j, nil
}

// given are the options of the token that have a value.
func given(o Options, v ci.Variant) (names []fault.Option) {
	for _, option := range []struct {
		name  fault.Option
		given bool
	}{
		{"org", v.Org != ""}, {"project", v.Project != ""}, {"vcs-origin", v.Origin != ""},
		{"branch", v.Branch != ""}, {"tag", v.Tag != ""}, {"environment", o.Environment != ""},
		{"fork", v.Fork}, {"pull-request", o.PullRequest}, {"webhook", v.Webhook}, {"ssh-rerun", v.SSHRerun},
		{"expired", v.Expired}, {"root-issuer", v.RootIssuer}, {"immutable-subject", o.Immutable},
	} {
		if option.given {
			names = append(names, option.name)
		}
	}
	return names
}

// Issuer is the one that the clouds trust.
func (j *Job) Issuer() string { return text(j.system.Samples[0].Claims, "iss") }

// TrustPolicy is the trust policy of these AWS roles: it admits the job's own subject.
func (j *Job) TrustPolicy(roles ...string) ([]byte, error) {
	host := strings.TrimPrefix(j.Issuer(), "https://")
	var providers []string
	for _, role := range roles {
		if p := strings.Split(role, ":"); len(p) > 4 { // else it is no role, which is said later
			providers = append(providers, "arn:"+p[1]+":iam::"+p[4]+":oidc-provider/"+host)
		}
	}
	audience := j.Token.Audience
	if host == "accounts.google.com" { // which AWS knows by itself, and takes azp for the audience
		providers, audience = []string{host}, text(j.Token.Job, "azp")
	}
	return json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": []any{map[string]any{
		"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
		"Principal": map[string][]string{"Federated": providers},
		"Condition": map[string]any{"StringEquals": map[string]string{host + ":aud": audience, host + ":sub": j.subject}},
	}}})
}

// GoogleProvider is the workload identity provider of that name, which admits the same.
func (j *Job) GoogleProvider(name string) ([]byte, error) {
	subject, err := json.Marshal(j.subject)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{
		"name": name, "state": "ACTIVE",
		"oidc":               map[string]any{"issuerUri": j.Issuer(), "allowedAudiences": []string{j.Token.Audience, googleAudience(name)}},
		"attributeMapping":   map[string]string{"google.subject": "assertion.sub"},
		"attributeCondition": "assertion.sub == " + string(subject),
	})
}

// VaultRole is Vault's role, which admits the same.
func (j *Job) VaultRole(policy string) ([]byte, error) {
	audience := j.Token.Audience
	if j.system.Mints && j.system.Audience == "" || slices.Contains(slices.Collect(maps.Values(j.form.declares)), VaultAudience) {
		audience = VaultAudience
	}
	return json.Marshal(map[string]any{
		"role_type": "jwt", "user_claim": "sub", "bound_subject": j.subject,
		"bound_audiences": []string{audience}, "token_policies": []string{policy},
	})
}

func text(claims map[string]any, name string) string {
	value, _ := claims[name].(string)
	return value
}

func googleAudience(provider string) string { return "https://iam.googleapis.com/" + provider }

// claims are the payload of the job's token: the first sample's, changed.
func (f form) claims(s *ci.System, o Options, v ci.Variant) map[string]any {
	c := maps.Clone(s.Samples[0].Claims)
	if f.change != nil {
		f.change(c, o, v)
	}
	return c
}
