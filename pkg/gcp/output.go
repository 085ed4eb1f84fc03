package gcp

import (
	"github.com/oidc-broker/oidc-broker/pkg/fault"
)

// An Output is what the exchange is made for.
type Output int

// The outputs: a credential configuration, with which tools make the exchange again,
// by themselves; and tokens, which are made here.
const (
	CredentialConfiguration Output = iota
	PrintedAccessToken
	PrintedIDToken
)

// A place says which outputs an option has no effect on. One that takes part in the
// exchange here, and is not in the file, would have none on the tools that read it.
type place struct {
	option string
	given  func(Options) bool
	why    map[Output]string // it has no effect on that output
}

var places = []place{
	{"scope", Options.limitsScopes, map[Output]string{
		CredentialConfiguration: "each tool asks for the scopes that it wants",
		PrintedIDToken:          "an ID token has none",
	}},
	{"delegate", func(o Options) bool { return len(o.Delegates) > 0 }, map[Output]string{
		CredentialConfiguration: "each tool impersonates the service account directly",
	}},
	{"token-lifetime", func(o Options) bool { return o.TokenLifetime != "" }, map[Output]string{
		PrintedIDToken: "an ID token is valid for an hour",
	}},
	{"subject", func(o Options) bool { return o.Subject != "" }, map[Output]string{
		CredentialConfiguration: "the tools cannot act as a user",
		PrintedIDToken:          "an ID token is the service account's",
	}},
}

// limitsScopes says whether the scopes are others than what tools ask for anyway.
func (o Options) limitsScopes() bool {
	for _, s := range o.Scopes {
		if s != defaultScope {
			return true
		}
	}
	return false
}

// SettleFor checks the options, and that each that was given has an effect on the
// output. Every error is a fault.Usage.
func (o Options) SettleFor(out Output) (*Exchange, error) {
	x, err := o.Settle()
	if err != nil {
		return nil, err
	}
	for _, p := range places {
		why := p.why[out]
		if !p.given(o) || why == "" {
			continue
		}
		if out == PrintedIDToken {
			return nil, fault.New(fault.Usage, "--%s has no effect on an ID token: %s", p.option, why).Hint("leave it out")
		}
		return nil, fault.New(fault.Usage, "--%s has no place in a credential configuration: %s", p.option, why).
			Hint("make a token with it, for one tool: CLOUDSDK_AUTH_ACCESS_TOKEN=\"$(oidc-broker gcp access-token --%s ...)\" gcloud ...", p.option).
			Hint("Terraform takes it from GOOGLE_OAUTH_ACCESS_TOKEN; an access token is not renewed")
	}
	return x, nil
}
