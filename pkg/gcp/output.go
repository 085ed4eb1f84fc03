package gcp

import (
	"github.com/oidc-broker/oidc-broker/pkg/internal/broker"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// An Output is what the exchange is made for.
type Output int

// The outputs: a credential configuration, with which tools make the exchange again,
// by themselves; and tokens, which are made here.
const (
	CredentialConfiguration Output = iota
	// ExportedConfiguration is one beside which variables, or a gcloud configuration,
	// say more.
	ExportedConfiguration
	PrintedAccessToken
	PrintedIDToken
)

// A place says which outputs an option has no effect on. One that takes part in the
// exchange here, and is not in the file, would have none on the tools that read it.
type place struct {
	option fault.Option
	given  func(Options) bool
	why    map[Output]string // it has no effect on that output
	// beside says that what goes beside an exported configuration holds it.
	beside bool
	// does is not "" where the option does no harm: the output is made, and this is what
	// to do for its effect. It may come from a variable that is set for other commands.
	does string
}

// on returns why the option has no effect on the output; "" when it has one.
func (p place) on(out Output) string {
	if out == ExportedConfiguration {
		if p.beside {
			return ""
		}
		out = CredentialConfiguration
	}
	return p.why[out]
}

// An Unused option was given, and has no effect on the output. The conflict's message
// follows the option's name.
type Unused struct {
	Option fault.Option
	broker.Conflict
}

var places = []place{
	{option: "scope", given: Options.limitsScopes, why: map[Output]string{ // #nosec G101 -- words about a token
		CredentialConfiguration: "each tool asks for the scopes that it wants",
		PrintedIDToken:          "an ID token has none",
	}},
	{option: "delegate", given: func(o Options) bool { return len(o.Delegates) > 0 }, why: map[Output]string{ // #nosec G101 -- words about a token
		CredentialConfiguration: "each tool impersonates the service account directly",
	}},
	{option: "token-lifetime", given: func(o Options) bool { return o.TokenLifetime != "" }, why: map[Output]string{ // #nosec G101 -- words about a token
		PrintedIDToken: "an ID token is valid for an hour",
	}},
	{option: "subject", given: func(o Options) bool { return o.Subject != "" }, why: map[Output]string{ // #nosec G101 -- words about a token
		CredentialConfiguration: "the tools cannot act as a user",
		PrintedIDToken:          "an ID token is the service account's",
	}},
	{option: "project-id", given: func(o Options) bool { return o.ProjectID != "" }, why: map[Output]string{ // #nosec G101 -- words about a token
		CredentialConfiguration: "is not in a credential configuration: the tools take their project from variables",
		PrintedAccessToken:      "has no effect on an access token, which is for every project",
		PrintedIDToken:          "has no effect on an ID token",
	}, beside: true, does: "use 'oidc-broker gcp env' or 'exec'"},
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
// output: one that has none is refused, or in Unused. Every error is a fault.Usage.
func (o Options) SettleFor(out Output) (*Exchange, error) {
	x, err := o.Resolve()
	if err != nil {
		return nil, err
	}
	for _, p := range places {
		why := p.on(out)
		if !p.given(o) || why == "" {
			continue
		}
		if p.does != "" {
			x.Unused = append(x.Unused, Unused{p.option, broker.Conflict{Message: why, Remedy: p.does}})
			continue
		}
		if out == PrintedIDToken {
			return nil, fault.New(fault.Usage, "%s has no effect on an ID token: %s", p.option, why).Hint("leave it out")
		}
		return nil, fault.New(fault.Usage, "%s has no place in a credential configuration: %s", p.option, why).
			Hint("make a token with it, for one tool: CLOUDSDK_AUTH_ACCESS_TOKEN=\"$(oidc-broker gcp access-token --%s ...)\" gcloud ...", string(p.option)).
			Hint("Terraform takes it from GOOGLE_OAUTH_ACCESS_TOKEN; an access token is not renewed")
	}
	return x, nil
}
