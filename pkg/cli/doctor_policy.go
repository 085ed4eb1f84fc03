package cli

import (
	"fmt"
	"strconv"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// trustFiles are the documents by which the clouds judge, as the sandbox takes them.
type trustFiles struct {
	aws, gcp, vault string
}

func (t *trustFiles) declare(o options) {
	o.text(&t.aws, "trust-policy", "OIDC_BROKER_TRUST_POLICY", "`file` with the trust policy of the AWS role, as for 'policy check aws': would it let the job's token in?")
	o.text(&t.gcp, "gcp-provider", "OIDC_BROKER_GCP_PROVIDER", "`file` with the workload identity provider, as for 'policy check gcp'")
	o.text(&t.vault, "vault-role", "OIDC_BROKER_VAULT_ROLE", "`file` with the Vault role, as for 'policy check vault'")
}

// A trust is one such document.
type trust struct {
	cloud, path string
	judge       func(policy.Claims) policy.Judgement
}

// trusts reads the documents. One that cannot be read is no finding: it was named.
func (a *app) trusts(files trustFiles, t tokenOptions) ([]trust, error) {
	if err := oneStdin(files.aws, files.gcp, files.vault, t.File); err != nil {
		return nil, err
	}
	var all []trust
	for _, f := range []trust{{cloud: "aws", path: files.aws}, {cloud: "gcp", path: files.gcp}, {cloud: "vault", path: files.vault}} {
		if f.path == "" {
			continue
		}
		d := policyDocuments{cloud: f.cloud}
		if f.cloud == "aws" {
			var err error
			if d.roleARN, err = a.variable("AWS_ROLE_ARN"); err != nil {
				return nil, err
			}
		}
		var err error
		if f.judge, err = a.judge(d, f.path); err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	return all, nil
}

// policyGroup is there where documents are given.
func policyGroup() group {
	return group{"policy", fault.Refused, []check{
		{"policy-aws", "the trust policy lets the token in, or none is given", func(v *view) []finding { return v.judged("aws") }},
		{"policy-gcp", "the workload identity provider lets the token in, or none is given", func(v *view) []finding { return v.judged("gcp") }},
		{"policy-vault", "the Vault role lets the token in, or none is given", func(v *view) []finding { return v.judged("vault") }},
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
	if v.token.Env != "" || v.token.File != "" {
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
func (v *view) judged(cloud string) []finding {
	var all []finding
	for _, t := range v.trusts {
		if t.cloud == cloud {
			all = append(all, v.judgedBy(t))
		}
	}
	return all
}

func (v *view) judgedBy(t trust) finding {
	what := map[string]string{"aws": "the trust policy", "gcp": "the workload identity provider", "vault": "the Vault role"}[t.cloud] + " in " + v.place(t.path)
	tokens := v.candidates()
	if len(tokens) == 0 {
		return notes("%s is not checked against a token: no token was found", what).
			because("a token that is minted later is not known here").
			remedy("in a job: oidc-broker policy check %s FILE", t.cloud)
	}
	first := tokens[0]
	j := t.judge(policy.Claims(first.Claims))
	if j.Verdict == policy.Allow {
		return passes("%s lets in the token in %s (%s)", what, first.Source, ci.Version(first))
	}
	for _, other := range tokens[1:] {
		if t.judge(policy.Claims(other.Claims)).Verdict != policy.Allow {
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
	return f.because("%s", firstNo(j)).remedy("oidc-broker policy check %s %s explains each condition", t.cloud, v.place(t.path))
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
