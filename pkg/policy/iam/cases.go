package iam

import (
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// Language is AWS's trust policies, for RunCases.
func Language() policy.Language {
	return policy.Language{Name: "aws", Options: []string{"role-arn", "role-session-name"}, Open: func(d policy.CaseDocument, read policy.Reader, now time.Time) (func(policy.Claims) policy.Judgement, error) {
		p, err := policy.ReadDocument(read, d.AWS, Parse)
		return func(c policy.Claims) policy.Judgement {
			return p.Check(Request{Claims: c, RoleARN: d.RoleARN, RoleSessionName: d.RoleSessionName, Now: now})
		}, err
	}}
}
