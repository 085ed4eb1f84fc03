package jwtrole

import (
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// Language is the roles of Vault and OpenBao, for RunCases.
func Language() policy.Language {
	return policy.Language{Name: "vault", Options: []string{"config"}, Open: openCase}
}

func openCase(d policy.CaseDocument, read policy.Reader, now time.Time) (func(policy.Claims) policy.Judgement, error) {
	var config *Config
	role, err := policy.ReadDocument(read, d.Vault, func(b []byte) (role *Role, err error) {
		role, config, err = Parse(b)
		return role, err
	})
	if err == nil && d.Config != "" {
		config, err = policy.ReadDocument(read, d.Config, ParseConfig)
	}
	if err != nil {
		return nil, err
	}
	return func(c policy.Claims) policy.Judgement {
		return role.Check(Request{Claims: c, Config: config, Now: now})
	}, nil
}
