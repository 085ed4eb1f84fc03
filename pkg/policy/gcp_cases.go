package policy

import "time"

// GCPLanguage is Google's workload identity federation, for RunCases.
func GCPLanguage() Language {
	return Language{Name: "gcp", Options: []string{"iam-policy"}, Open: func(d CaseDocument, read Reader, now time.Time) (func(Claims) Judgement, error) {
		p, err := ReadDocument(read, d.GCP, ParseGCP)
		if err != nil {
			return nil, err
		}
		iam, err := ReadDocument(read, d.IAMPolicy, ParseIAMPolicy)
		return func(c Claims) Judgement { return p.Check(GCPRequest{Claims: c, IAM: iam, Now: now}) }, err
	}}
}
