package wif

import (
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// Language is Google's workload identity federation, for RunCases.
func Language() policy.Language {
	return policy.Language{Name: "gcp", Options: []string{"iam-policy"}, Open: func(d policy.CaseDocument, read policy.Reader, now time.Time) (func(policy.Claims) policy.Judgement, error) {
		p, err := policy.ReadDocument(read, d.GCP, Parse)
		if err != nil {
			return nil, err
		}
		iam, err := policy.ReadDocument(read, d.IAMPolicy, ParseIAMPolicy)
		return func(c policy.Claims) policy.Judgement { return p.Check(Request{Claims: c, IAM: iam, Now: now}) }, err
	}}
}
