package ci

import (
	"strings"
)

// A Receiver takes the job's token itself, from a variable.
type Receiver struct {
	Name, Audience, Variable string
	// RootIssuer says that it knows the issuer of all of CircleCI's organisations alone.
	RootIssuer bool
}

// Receivers are those with an audience and a variable of their own.
func Receivers() []Receiver {
	return []Receiver{
		{Name: "npm", Audience: "npm:registry.npmjs.org", Variable: "NPM_ID_TOKEN"},
		{Name: "pypi", Audience: "pypi", Variable: "PYPI_ID_TOKEN", RootIssuer: true},
		{Name: "cosign", Audience: "sigstore", Variable: "SIGSTORE_ID_TOKEN"},
	}
}

// For returns f with the receiver's audience.
func (f Finder) For(r Receiver) Finder {
	f.Audience = r.Audience
	f.RootIssuer = f.RootIssuer || r.RootIssuer && f.source().Name == "circleci"
	return f
}

// TokenVariables are the names of the variables that hold the job's tokens, and of those
// that only request some.
func (f Finder) TokenVariables() (holding, requesting []string) {
	holding = []string{EnvV1, EnvV2}
	if f.Env != "" {
		holding = append(holding, f.Env)
	}
	s := f.source()
	for _, pattern := range s.Variables {
		for _, name := range f.matching(pattern) {
			// What matches by its name alone may be something else.
			if pattern == name || LooksLikeToken(f.Getenv(name)) {
				holding = append(holding, name)
			}
		}
	}
	return holding, s.Requests
}

// Masked returns the line that keeps a value out of the job's log, or "".
func (f Finder) Masked(value string) string {
	s, _ := f.System()
	if s == nil || s.Mask == "" {
		return ""
	}
	return strings.ReplaceAll(s.Mask, "{}", value)
}
