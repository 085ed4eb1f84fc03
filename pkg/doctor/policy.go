package doctor

import (
	"fmt"
	"strconv"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// A Trust is a document by which a receiver decides on the job's token.
type Trust struct {
	Cloud, Path string // aws, gcp or vault
	Judge       func(policy.Claims) policy.Judgement
}

// policyGroup is there where documents are given.
func policyGroup() group {
	return group{"policy", fault.Refused, []check{
		{"policy-aws", "the trust policy lets the token in, or none is given", func(v *view) []Finding { return v.judged("aws") }},
		{"policy-gcp", "the workload identity provider lets the token in, or none is given", func(v *view) []Finding { return v.judged("gcp") }},
		{"policy-vault", "the Vault role lets the token in, or none is given", func(v *view) []Finding { return v.judged("vault") }},
	}}
}

// candidates are the tokens that a command could send: the one that it would, and
// the job's other one.
func (v *view) candidates() []oidc.Token {
	j := v.job()
	if !j.found {
		return nil
	}
	all := []oidc.Token{j.Token}
	if v.Finder.Env != "" || v.Finder.File != "" {
		return all
	}
	for _, name := range []string{ci.EnvV1, ci.EnvV2} {
		if t, err := oidc.Parse(v.get(name), name); err == nil && name != j.Source {
			all = append(all, t)
		}
	}
	return all
}

// judged holds the job's tokens against the document of a cloud.
func (v *view) judged(cloud string) []Finding {
	var all []Finding
	for _, t := range v.Trusts {
		if t.Cloud == cloud {
			all = append(all, v.judgedBy(t))
		}
	}
	return all
}

func (v *view) judgedBy(t Trust) Finding {
	what := map[string]string{"aws": "the trust policy", "gcp": "the workload identity provider", "vault": "the Vault role"}[t.Cloud] + " in " + v.place(t.Path)
	tokens := v.candidates()
	if len(tokens) == 0 {
		return notes("%s is not checked against a token: no token was found", what).
			because("a token that is minted later is not known here").
			remedy("in a job: oidc-broker policy check %s FILE", t.Cloud)
	}
	first := tokens[0]
	j := t.Judge(policy.Claims(first.Claims))
	if j.Verdict == policy.Allow {
		return passes("%s lets in the token in %s (%s)", what, first.Source, ci.Version(first))
	}
	for _, other := range tokens[1:] {
		if t.Judge(policy.Claims(other.Claims)).Verdict != policy.Allow {
			continue
		}
		f := fails("%s refuses the token in %s (%s), and lets in the one in %s (%s)", what, first.Source, ci.Version(first), other.Source, ci.Version(other)).
			because("it is written for the subject of the other one: %s", firstNo(j))
		if other.Source == ci.EnvV2 {
			return f.remedy("take that one: --token-version v2, or OIDC_BROKER_TOKEN_VERSION=v2")
		}
		return f.remedy("take that one: leave --token-version and OIDC_BROKER_TOKEN_VERSION out")
	}
	f := fails("%s refuses the token in %s (%s)", what, first.Source, ci.Version(first))
	if j.Verdict != policy.Deny {
		f = warns("whether %s lets in the token in %s is not decided", what, first.Source)
	}
	if len(tokens) > 1 {
		f.Message += fmt.Sprintf(", and so it is with the one in %s (%s)", tokens[1].Source, ci.Version(tokens[1]))
	}
	return f.because("%s", firstNo(j)).remedy("oidc-broker policy check %s %s explains each condition", t.Cloud, v.place(t.Path))
}

// firstNo is what a judgement names first. The values that it compared are left to
// 'policy check'.
func firstNo(j policy.Judgement) string {
	for _, c := range j.Checks {
		if c.Verdict != policy.Allow {
			return "the first condition that is not met is " + strconv.Quote(c.Name)
		}
	}
	return string(j.Verdict)
}
