package policy

import "time"

// AWSLanguage is AWS's trust policies, for RunCases.
func AWSLanguage() Language {
	return Language{Name: "aws", Options: []string{"role-arn", "role-session-name"}, Open: func(d CaseDocument, read Reader, now time.Time) (func(Claims) Judgement, error) {
		p, err := ReadDocument(read, d.AWS, ParseAWS)
		return func(c Claims) Judgement {
			return p.Check(AWSRequest{Claims: c, RoleARN: d.RoleARN, RoleSessionName: d.RoleSessionName, Now: now})
		}, err
	}}
}
