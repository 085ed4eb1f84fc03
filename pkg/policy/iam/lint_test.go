package iam

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

const (
	documented = `{"StringLike":{"$P:sub":"org/$O/project/*/user/*/vcs-origin/github.com/my-org/*/vcs-ref/refs/heads/main"}}`
	safe       = `{"StringEquals":{"$P:aud":"$O"},"StringLike":{"$P:sub":"org/$O/project/$J/user/$M/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main"}}`
)

// sub is a condition of aud and a pattern of sub.
func sub(patterns ...string) string {
	return with(`{"StringEquals":{"$P:aud":"$O"},"StringLike":{"$P:sub":["` + strings.Join(patterns, `","`) + `"]}}`)
}

// principal is a statement that admits a principal.
func principal(principal, condition string) string {
	return `{"Effect":"Allow","Principal":` + principal + `,"Action":"sts:AssumeRole*","Condition":` + condition + `}`
}

// github is a statement for GitHub's provider, $G.
func github(condition string) string {
	return principal(`{"Federated":"arn:aws:iam::111122223333:oidc-provider/$G"}`, condition)
}

// principalAlone is a policy of one such statement without a condition.
func principalAlone(p string) string {
	return policyOf(strings.Replace(principal(p, ""), `,"Condition":`, "", 1))
}

// root is a policy for the root issuer.
func root(condition string) string {
	return strings.NewReplacer("$A", "arn:aws:iam::111122223333:oidc-provider/oidc.circleci.com", "$P", "oidc.circleci.com").Replace(with(condition))
}

func namedRole(name, document string) string {
	return `{"Role":{"AssumeRolePolicyDocument":` + document + `,"Arn":"arn:aws:iam::111122223333:role/ci/` + name + `"}}`
}

// findings lints, and proves every witness.
func findings(t *testing.T, document string) []policy.Finding {
	t.Helper()
	p := parse(t, document)
	all := p.Lint(now())
	for _, f := range all {
		if f.Line == 0 || f.Column == 0 || f.Message == "" || f.Where == "" && f.ID != "A24" && f.ID != "A25" || f.Fix == "" {
			t.Errorf("incomplete: %+v", f)
		}
		if f.Witness == nil {
			continue
		}
		if j := p.Check(Request{Claims: f.Witness, RoleSessionName: "ci", Now: now()}); j.Verdict != policy.Allow {
			t.Errorf("%s: the witness is not let in: %s", f.ID, said(j))
		}
		for _, name := range []string{"iss", "sub", "aud", "iat", "exp", policy.ClaimOrg} {
			if name == policy.ClaimOrg && f.ID == "A27" {
				continue // no job of CircleCI's
			}
			if f.Witness[name] == nil {
				t.Errorf("%s: the witness has no %s", f.ID, name)
			}
		}
	}
	return all
}

func TestLint(t *testing.T) {
	const job = "org/$O/project/$J/user/$M"
	const repo = job + "/vcs-origin/github.com/my-org/app/vcs-ref/"
	for _, row := range []struct {
		name, document string
		want           []string // "ID severity words of the witness's sub, of the message or the fix"
	}{
		{"no condition", with(`{}`), []string{"A1 critical project/" + otherProject, "A2 medium project/$J"}},
		{"aud alone", with(`{"StringEquals":{"$P:aud":"$O"}}`), []string{"A1 critical project/" + otherProject}},
		{"another aud alone", with(`{"StringEquals":{"$P:aud":"aws"}}`), []string{`A1 critical "PROJECT-ID"`}},
		{"the documented pattern", with(documented), []string{"A3 critical /my-org/app/vcs-ref/refs/heads/x/vcs-ref/refs/heads/main", "A2 medium /my-org/app/vcs-ref/refs/heads/main"}},
		{"pinned, with any user", sub(strings.Replace(repo, "$M", "*", 1) + "refs/heads/main"), []string{"A3 critical refs/heads/x/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main"}},
		{"safe", with(safe), nil},
		{"safe for any project of the organisation", sub(strings.Replace(repo, "$J", "$M", 1) + "refs/heads/main"), nil},
		{"any ref of a repository", sub(repo + "*"), nil},
		{"any branch of a repository", sub(repo + "refs/heads/*"), nil},
		{"branches below a name", sub(repo + "refs/heads/release/*"), nil},
		{"a tag", sub(repo + "refs/tags/v1.2.3"), nil},
		{"several repositories", sub(repo+"refs/heads/main", strings.Replace(repo, "/app/", "/web/", 1)+"refs/heads/main"), nil},
		{"the project in sub", sub("org/$O/project/$J/user/*"), nil},
		{"the project's key", with(`{"StringEquals":{"$P:aud":"$O","$P:oidc.circleci.com/project-id":"$J"}}`), nil},
		{"two projects", with(`{"StringEquals":{"$P:aud":"$O","$P:oidc.circleci.com/project-id":["$J","00000000-1111-4222-8333-444444444444"]}}`), nil},
		{"audit logs alone", with(`{"StringEquals":{"$P:aud":"$O","$P:sub":"org/$O/file-streaming/audit-logs"}}`), nil},
		{"a deny beside", policyOf(allowing(safe), denyingStatement(`{"StringLike":{"$P:sub":"*/refs/heads/pull/*"}}`)), nil},
		{"a deny that saves", policyOf(allowing(`{"StringEquals":{"$P:aud":"$O"}}`), denyingStatement(`{"StringNotEquals":{"$P:oidc.circleci.com/project-id":"$J"}}`)), nil},

		{"any project by sub", sub("org/$O/*"), []string{"A4 critical project/" + otherProject}},
		{"a star alone", sub("*"), []string{"A4 critical project/" + otherProject}},
		{"a star for the project", with(`{"StringEquals":{"$P:aud":"$O"},"StringLike":{"$P:oidc.circleci.com/project-id":"*"}}`), []string{"A4 critical project/" + otherProject}},
		{"the end alone", sub("*/main"), []string{"A4 critical project/" + otherProject + "/user/$U/vcs-origin/github.com/stranger/app/vcs-ref/refs/heads/main"}},
		{"the ref alone", sub("*/vcs-ref/refs/heads/main"), []string{"A3 critical refs/heads/x/vcs-ref/refs/heads/main", "A4 critical project/" + otherProject}},
		{"any repository's main", sub("org/$O/project/*/user/*/vcs-origin/*/vcs-ref/refs/heads/main"), []string{"A3 critical", "A4 critical"}},
		{"the audit logs too", sub("org/$O/f*", job), []string{"A4 critical org/$O/file-streaming/audit-logs"}},
		{"only a deny of another project", policyOf(allowing(`{"StringEquals":{"$P:aud":"$O"}}`), denyingStatement(`{"StringEquals":{"$P:oidc.circleci.com/project-id":"$J"}}`)), []string{"A1 critical"}},
		{"negative conditions", with(`{"StringEquals":{"$P:aud":"$O"},"StringNotLike":{"$P:sub":"*/pull/*"}}`), []string{"A7 critical only what is named is kept out"}},
		{"a star for the project before a repository", sub("org/$O/project/*/user/$M/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main"), []string{"A3 critical"}},
		{"a star for the organisation's part", sub("org/*/project/$J/user/$M"), []string{"A3 critical project/" + otherProject}},
		{"any ref, with any user", sub(strings.Replace(repo, "$M", "*", 1) + "*"), []string{"A3 critical github.com/stranger/app/vcs-ref/refs/heads/x/vcs-origin/github.com/my-org/app/vcs-ref/"}},
		{"tags, with any user", sub(strings.Replace(repo, "$M", "*", 1) + "refs/tags/v1"), []string{"A3 critical refs/heads/x/vcs-origin/github.com/my-org/app/vcs-ref/refs/tags/v1"}},
		{"branches, with any user", sub(strings.Replace(repo, "$M", "*", 1) + "refs/heads/*"), []string{"A3 critical refs/tags/x/vcs-origin/"}},
		{"the project's key and any user", with(`{"StringEquals":{"$P:aud":"$O","$P:oidc.circleci.com/project-id":"$J"},"StringLike":{"$P:sub":"*/vcs-ref/refs/heads/main"}}`), []string{"A3 critical $J"}},

		{"any audience", with(strings.Replace(safe, `"StringEquals":{"$P:aud":"$O"},`, "", 1)), []string{"A2 medium a token that a job minted for another service"}},
		{"a star for the audience", with(strings.Replace(safe, `"StringEquals":{"$P:aud":"$O"},"StringLike":{`, `"StringLike":{"$P:aud":"*",`, 1)), []string{"A2 medium"}},

		{"stars in StringEquals", with(`{"StringEquals":{"$P:aud":"$O","$P:sub":"org/$O/project/$J/*"}}`), []string{"A5 high never matches, so that nobody gets in by it"}},
		{"stars in StringNotEquals", with(`{"StringEquals":{"$P:aud":"$O","$P:oidc.circleci.com/project-id":"$J"},"StringNotEquals":{"$P:sub":"*/refs/heads/pull/*"}}`), []string{"A5 high keeps nobody out"}},
		{"stars in a Deny", policyOf(allowing(safe), denyingStatement(`{"StringEquals":{"$P:sub":"*/refs/heads/pull/*"}}`)), []string{"A5 high nobody is denied by it"}},
		{"stars in a Deny that is negated", policyOf(allowing(safe), denyingStatement(`{"StringNotEquals":{"$P:sub":"org/$O/*"}}`)), []string{"A5 high everybody is denied by it"}},

		{"if exists, of the project", with(`{"StringEquals":{"$P:aud":"$O"},"StringEqualsIfExists":{"$P:oidc.circleci.com/project-id":"$J"}}`), []string{"A6 critical org/$O/file-streaming/audit-logs"}},
		{"all values, of sub", with(`{"StringEquals":{"$P:aud":"$O"},"ForAllValues:StringLike":{"$P:sub":"` + job + `"}}`), []string{"A6 high holds for a token without sub"}},
		{"if exists, of aud", with(`{"StringEqualsIfExists":{"$P:aud":"$O"},"StringEquals":{"$P:oidc.circleci.com/project-id":"$J"}}`), []string{"A6 high holds for a token without aud"}},
		{"if exists, of any sub", with(`{"StringEquals":{"$P:aud":"$O"},"StringLikeIfExists":{"$P:sub":"*"}}`), []string{"A4 critical project/" + otherProject, "A6 high holds for a token without sub"}},
		{"no sub wanted", with(`{"Null":{"$P:sub":"true"}}`), []string{"A6 high every token has sub, so that nobody gets in"}},
		{"no project wanted", with(`{"StringEquals":{"$P:aud":"$O"},"Null":{"$P:oidc.circleci.com/project-id":"true"}}`), []string{"A6 critical file-streaming"}},
		{"a sub wanted", with(`{"StringEquals":{"$P:aud":"$O"},"Null":{"$P:sub":"false"}}`), []string{"A1 critical"}},

		{"the key of the root issuer", with(`{"StringEquals":{"$P:aud":"$O","oidc.circleci.com:sub":"x"}}`), []string{"A8 high the condition never holds, so that nobody gets in"}},
		{"the same, if exists", with(`{"StringEquals":{"$P:aud":"$O"},"StringEqualsIfExists":{"oidc.circleci.com:sub":"x"}}`), []string{"A1 critical", "A8 high keeps nobody out"}},
		{"another organisation's key", with(`{"StringEquals":{"$P:aud":"$O","oidc.circleci.com/org/` + otherOrg + `:oidc.circleci.com/project-id":"$J"}}`), []string{"A8 high"}},
		{"a key with https://", with(`{"StringEquals":{"$P:oidc.circleci.com/project-id":"$J","https://$P:aud":"$O"}}`), []string{"A8 high"}},
		{"a key with a slash", with(`{"StringEquals":{"$P:oidc.circleci.com/project-id":"$J","$P/:aud":"$O"}}`), []string{"A8 high"}},
		{"another organisation's sub", sub(strings.Replace(job, "$O", otherOrg, 1)), []string{"A8 high the sub is of the organisation " + otherOrg}},
		{"a deny by a foreign key", policyOf(allowing(safe), denyingStatement(`{"StringEquals":{"gitlab.com:sub":"x"}}`)), []string{"A8 high the statement denies nobody"}},
		{"a deny by a missing foreign key", policyOf(allowing(safe), denyingStatement(`{"StringNotEquals":{"gitlab.com:sub":"x"}}`)), []string{"A8 high it spares nobody"}},
		{"no provider of CircleCI's", strings.Replace(with(`{}`), "$A", "arn:aws:iam::111122223333:oidc-provider/gitlab.com", 1), []string{"A27 critical project_path:stranger:ref_type:branch:ref:main"}},

		{"another account beside", policyOf(allowing(safe), principal(`{"AWS":"999999999999"}`, `{}`)), []string{"A26 high another account, 999999999999, can assume the role"}},
		{"another account's role, under conditions", policyOf(allowing(safe), principal(`{"AWS":["arn:aws:iam::999999999999:role/x"]}`, `{"StringEquals":{"sts:ExternalId":"x"}}`)), []string{"A26 high conditions were not evaluated"}},
		{"a principal that was deleted", policyOf(allowing(safe), principal(`{"AWS":"AROAEXAMPLE"}`, `{}`)), []string{"A26 high was not evaluated"}},
		{"every account beside", policyOf(allowing(safe), principal(`{"AWS":"*"}`, `{}`)), []string{"A26 critical any AWS account in the world"}},
		{"the own account beside", policyOf(allowing(safe), principal(`{"AWS":"arn:aws:iam::111122223333:root"}`, `{}`)), nil},
		{"a service beside", policyOf(allowing(safe), principal(`{"Service":"ec2.amazonaws.com"}`, `{}`)), nil},
		{"an account of a role without a name", principalAlone(`{"AWS":"111122223333"}`), []string{"A26 high was not evaluated"}},
		{"a service alone", principalAlone(`{"Service":"ec2.amazonaws.com"}`), nil},
		{"a stranger of GitHub's beside", policyOf(allowing(safe), principal(`{"Federated":"arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com"}`, `{}`)), []string{"A27 critical repo:stranger/app"}},
		{"every repository of GitHub's beside", policyOf(allowing(safe), principal(`{"Federated":"arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com"}`, `{"StringLike":{"token.actions.githubusercontent.com:sub":"repo:*"},"StringEquals":{"token.actions.githubusercontent.com:aud":"sts.amazonaws.com"}}`)), []string{"A27 critical repo:stranger/app"}},
		{"a sound statement of GitHub's beside", policyOf(allowing(safe), github(`{"StringEquals":{"$G:aud":"sts.amazonaws.com","$G:sub":"repo:my-org/app:ref:refs/heads/main"}}`)), nil},
		{"GitHub alone", policyOf(github(`{"StringEquals":{"$G:aud":"sts.amazonaws.com","$G:sub":"repo:my-org/app:environment:production"}}`)), nil},
		{"every repository of the organisation", policyOf(github(`{"StringEquals":{"$G:aud":"sts.amazonaws.com"},"StringLike":{"$G:sub":"repo:my-org/*"}}`)), nil},
		{"GitHub by the repository's id", policyOf(github(`{"StringEquals":{"$G:aud":"sts.amazonaws.com","$G:repository_id":"2002"}}`)), nil},
		{"an organisation that begins so", policyOf(github(`{"StringEquals":{"$G:aud":"sts.amazonaws.com"},"StringLike":{"$G:sub":"repo:my-org*"}}`)), []string{"A27 critical repo:my-org-evil/"}},
		{"the repository's name of any owner", policyOf(github(`{"StringEquals":{"$G:aud":"sts.amazonaws.com"},"StringLike":{"$G:sub":"repo:*/app:ref:refs/heads/main"}}`)), []string{"A27 critical repo:stranger/app:ref:refs/heads/main"}},
		{"the audience alone", policyOf(github(`{"StringEquals":{"$G:aud":"sts.amazonaws.com"}}`)), []string{"A27 critical repo:stranger/app"}},
		{"only what is named is kept out, at GitHub", policyOf(github(`{"StringNotLike":{"$G:sub":"repo:my-org/*"}}`)), []string{"A27 critical repo:stranger/app"}},
		{"an address of the caller's", policyOf(github(`{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`)), []string{"A27 high was not evaluated"}},
		{"a prefix of an organisation at Buildkite", strings.NewReplacer("$G", "agent.buildkite.com").Replace(policyOf(github(`{"StringLike":{"$G:sub":"organization:my-org*"}}`))), []string{"A27 critical organization:my-org-evil:"}},
		{"any workspace at HCP Terraform", strings.NewReplacer("$G", "app.terraform.io").Replace(policyOf(github(`{"StringLike":{"$G:sub":"organization:*:project:x:workspace:y:run_phase:*"}}`))), []string{"A27 critical organization:"}},
		{"an unknown issuer, with a subject", strings.NewReplacer("$G", "issuer.example.com").Replace(policyOf(github(`{"StringEquals":{"$G:sub":"x"}}`))), []string{"A27 high were not evaluated"}},
		{"Cognito beside", policyOf(allowing(safe), principal(`{"Federated":"cognito-identity.amazonaws.com"}`, `{}`)), []string{"A27 critical cognito-identity.amazonaws.com"}},
		{"SAML beside", policyOf(allowing(safe), strings.Replace(principal(`{"Federated":"arn:aws:iam::111122223333:saml-provider/okta"}`, `{}`), "sts:AssumeRole*", "sts:AssumeRoleWithSAML", 1)), []string{"A27 high were not evaluated"}},
		{"a wildcard beside the provider", strings.Replace(with(safe), `{"Federated":"$A"}`, `{"Federated":["$A","*"]}`, 1), []string{"A27 critical names no provider"}},

		{"all but one letter of projects", with(`{"StringEquals":{"$P:aud":"$O"},"StringNotLike":{"$P:oidc.circleci.com/project-id":"5*"}}`), []string{"A7 critical"}},
		{"fifteen letters of projects", with(`{"StringEquals":{"$P:aud":"$O"},"StringLike":{"$P:oidc.circleci.com/project-id":["0*","1*","2*","3*","4*","6*","7*","8*","9*","a*","b*","c*","d*","e*","f*"]}}`), []string{"A4 critical"}},
		{"one letter of projects", with(`{"StringEquals":{"$P:aud":"$O"},"StringLike":{"$P:oidc.circleci.com/project-id":"7*"}}`), []string{"A4 critical project/7"}},
		{"two letters of projects", with(`{"StringEquals":{"$P:aud":"$O"},"StringLike":{"$P:oidc.circleci.com/project-id":"7e*"}}`), []string{"A4 critical project/7e"}},
		{"one letter of projects in sub", sub("org/$O/project/7*/user/*"), []string{"A4 critical project/7"}},
		{"a deny of one letter", policyOf(allowing(`{"StringEquals":{"$P:aud":"$O"}}`), denyingStatement(`{"StringLike":{"$P:oidc.circleci.com/project-id":"5*"}}`)), []string{"A1 critical"}},
		{"a deny of all but one letter", policyOf(allowing(`{"StringEquals":{"$P:aud":"$O"}}`), denyingStatement(`{"StringNotLike":{"$P:oidc.circleci.com/project-id":"7*"}}`)), []string{"A1 critical project/7"}},

		{"the branch by its claim", with(`{"StringEquals":{"$P:aud":"$O","$P:oidc.circleci.com/project-id":"$J","$P:oidc.circleci.com/vcs-ref":"refs/heads/main"}}`), []string{"A9 high so that nobody gets in"}},
		{"the project by a short name", with(`{"StringEquals":{"$P:aud":"$O","$P:project-id":"$J"}}`), []string{`A9 high AWS calls this key "$P:oidc.circleci.com/project-id"`}},
		{"no sub of a mail", with(`{"StringEquals":{"$P:aud":"$O","$P:oidc.circleci.com/project-id":"$J","$P:email":"a@b"}}`), []string{`A9 high CircleCI's tokens have no claim "email"`}},
		{"reruns denied", policyOf(allowing(safe), denyingStatement(`{"Bool":{"$P:oidc.circleci.com/ssh-rerun":"true"}}`)), []string{"A9 high refs/heads/main"}},
		{"the branch, if exists", with(`{"StringEquals":{"$P:aud":"$O","$P:oidc.circleci.com/project-id":"$J"},"StringEqualsIfExists":{"$P:oidc.circleci.com/vcs-ref":"refs/heads/main"}}`), []string{"A9 high $J"}},
		{"the repository, negated", with(`{"StringEquals":{"$P:aud":"$O","$P:oidc.circleci.com/project-id":"$J"},"StringNotEquals":{"$P:oidc.circleci.com/vcs-origin":"github.com/stranger/app"}}`), []string{"A9 high $J"}},

		{"the root issuer", root(`{"StringEquals":{"$P:aud":"$O"}}`), []string{"A10 critical org/" + otherOrg}},
		{"the root issuer and any organisation", root(`{"StringEquals":{"$P:aud":"$O"},"StringLike":{"$P:sub":"org/*/project/$J/user/$M/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main"}}`), []string{"A10 critical org/" + otherOrg, "A3 critical"}},
		{"the root issuer and a project of an organisation", root(`{"StringEquals":{"$P:aud":"$O"},"StringLike":{"$P:sub":"` + job + `"}}`), nil},
		{"the root issuer and an organisation", root(`{"StringEquals":{"$P:aud":"$O"},"StringLike":{"$P:sub":"org/$O/*"}}`), []string{"A4 critical org/$O"}},

		{"the form of another CI", with(`{"StringLike":{"$P:sub":"repo:my-org/app:*"}}`), []string{`A11 high no token of CircleCI's has a sub like "repo:my-org/app:*"`}},
		{"no user", sub("org/$O/project/$J"), []string{"A11 high"}},
		{"no user before a repository", sub("org/$O/project/$J/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main"), []string{"A11 high"}},
		{"a ref that is not whole", sub(repo + "main"), []string{"A11 high"}},
		{"a name that says what for", namedRole("prod-deploy", sub(job)), []string{"A12 medium every branch of the project gets in"}},
		{"a name, and the key of the project", namedRole("release", with(`{"StringEquals":{"$P:aud":"$O","$P:oidc.circleci.com/project-id":"$J"}}`)), []string{"A12 medium VCS-ORIGIN"}},
		{"a name, and any branch", namedRole("release", sub(repo+"refs/heads/*")), []string{"A12 medium refs/heads/" + otherBranch}},
		{"a name, and a branch", namedRole("prod-deploy", with(safe)), nil},
		{"a name that says nothing", namedRole("ci", sub(job)), nil},

		{"tags", sub(repo + "refs/tags/*"), []string{"A13 medium refs/tags/x-evil"}},
		{"tags that begin so", sub(repo + "refs/tags/v*"), []string{"A13 medium refs/tags/v-evil"}},
		{"branches that begin so", sub(repo + "refs/heads/release*"), []string{"A13 medium refs/heads/release-evil"}},
		{"branches that end so", sub(repo + "refs/heads/*-prod"), []string{"A13 medium refs/heads/"}},
		{"repositories that begin so", sub(job + "/vcs-origin/github.com/my-org/app*"), []string{"A13 high github.com/my-org/app-evil"}},
		{"owners that begin so", sub(job + "/vcs-origin/github.com/my-org*"), []string{"A13 high github.com/my-org-evil"}},
		{"V1 beside V2", sub(repo+"refs/heads/main", job), []string{"A14 high org/$O/project/$J/user/$U"}},
		{"V1 in another statement", policyOf(allowing(safe), allowing(`{"StringEquals":{"$P:aud":"$O"},"StringLike":{"$P:sub":"`+job+`"}}`)), []string{"A14 high"}},
		{"one user", with(`{"StringEquals":{"$P:aud":"$O","$P:sub":"org/$O/project/$J/user/$U"}}`), []string{"A18 medium only jobs that the user $U starts get in"}},
		{"another action", strings.Replace(with(safe), assume, "sts:AssumeRole", 1), []string{"A19 high"}},
		{"tagging beside", policyOf(allowing(safe), strings.Replace(allowing(safe), assume, tag, 1)), nil},
		{"a wider value", sub(repo+"refs/heads/main", repo+"*"), []string{"A22 high refs/heads/" + otherBranch}},
		{"a wider statement", policyOf(allowing(safe), allowing(`{"StringEquals":{"$P:aud":"$O","$P:oidc.circleci.com/project-id":"$J"}}`)), []string{"A14 high", "A22 high refs/heads/" + otherBranch}},
		{"another project's statement", policyOf(allowing(safe), allowing(`{"StringEquals":{"$P:aud":"$O","$P:oidc.circleci.com/project-id":"00000000-1111-4222-8333-444444444444"}}`)), nil},
		{"letters of a UUID", sub(strings.Replace(job, "$J", strings.ToUpper(ci.SampleProject), 1)), []string{"A23 medium is not the id of a project"}},
		{"braces", with(`{"StringEquals":{"$P:aud":"$O","$P:oidc.circleci.com/project-id":"{$J}"}}`), []string{"A23 medium is not a project's id"}},
		{"a slug", with(`{"StringEquals":{"$P:aud":"$O","$P:oidc.circleci.com/project-id":"gh/my-org/app"}}`), []string{"A23 medium"}},
		{"a slug in sub", sub("org/gh/my-org/*"), []string{"A23 medium is not the id of an organisation"}},
		{"everybody", strings.Replace(with(safe), `{"Federated":"$A"}`, `"*"`, 1), []string{"A26 critical any AWS account in the world"}},
		{"every account", strings.Replace(with(safe), `{"Federated":"$A"}`, `{"AWS":"*"}`, 1), []string{"A26 critical any AWS account in the world"}},
		{"a placeholder for the account", strings.Replace(with(safe), "$A", "arn:aws:iam::ACCOUNT_ID:oidc-provider/$P", 1), []string{"A25 high an account has 12 digits"}},

		// What cannot be decided is said, and never called proved.
		{"an address", with(`{"IpAddress":{"aws:SourceIp":"192.0.2.0/24"}}`), []string{`A1 high this is so unless Statement[0].Condition.IpAddress["aws:SourceIp"] keeps the job out`, "A2 medium"}},
	} {
		found := findings(t, row.document)
		slices.SortFunc(found, func(a, b policy.Finding) int { return strings.Compare(a.ID, b.ID) })
		want := slices.Sorted(slices.Values(row.want))
		if len(found) != len(want) {
			t.Errorf("%s: %s, want %q", row.name, listed(found), want)
			continue
		}
		for i, f := range found {
			words := strings.SplitN(fill(want[i]), " ", 3)
			sub, _ := f.Witness.Text("sub")
			if f.ID != words[0] || string(f.Severity) != words[1] || len(words) > 2 && !strings.Contains(sub+"\n"+f.Message+"\n"+f.Fix, words[2]) {
				t.Errorf("%s: %s, want %q", row.name, listed([]policy.Finding{f}), want[i])
			}
		}
	}
}

func listed(all []policy.Finding) string {
	var b strings.Builder
	for _, f := range all {
		sub, _ := f.Witness.Text("sub")
		fmt.Fprintf(&b, "\n%s %s %s: %s\n  witness %s\n  fix %s", f.ID, f.Severity, f.Where, f.Message, sub, f.Fix)
	}
	return b.String()
}

// The findings whose fix is a whole condition, with nothing to fill in, are
// gone with it, and the job that the policy means still gets in.
func TestFixes(t *testing.T) {
	const job = "org/$O/project/$J/user/$M"
	const repo = job + "/vcs-origin/github.com/my-org/app/vcs-ref/"
	tried := map[string]bool{}
	for _, document := range []string{
		sub(strings.Replace(repo, "$M", "*", 1) + "refs/heads/main"),
		sub("org/$O/project/*/user/*/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main"),
		with(strings.Replace(safe, `"StringEquals":{"$P:aud":"$O"},`, "", 1)),
		sub(repo + "refs/heads/main*"),
		sub(strings.Replace(repo, "/app/vcs-ref/", "/app*", 1)),
		sub(repo+"refs/heads/main", job),
		sub(repo+"refs/heads/main", repo+"*"),
		policyOf(allowing(`{"StringEquals":{"$P:aud":"$O"},"StringLike":{"$P:sub":"` + strings.Replace(job, "$M", "$U", 1) + `"}}`)),
		with(`{"StringEquals":{"$P:aud":"$O","$P:sub":"` + repo + `refs/heads/main"}}`),
		with(`{"StringEquals":{"$P:aud":"$O","$P:oidc.circleci.com/project-id":"$J","$P:oidc.circleci.com/vcs-ref":"refs/heads/main"}}`),
		with(`{"StringEquals":{"$P:aud":"$O"},"StringEqualsIfExists":{"$P:oidc.circleci.com/project-id":"$J"}}`),
		root(`{"StringEquals":{"$P:aud":"$O"},"StringLike":{"$P:sub":"org/*/project/$J/user/$M","$P:sub":"org/$O/project/$J/*/refs/heads/main"}}`),
		strings.NewReplacer("$P", "ci.example.com/org/$O", "$A", "arn:aws:iam::111122223333:oidc-provider/ci.example.com/org/$O").Replace(with(`{"StringLike":{"$P:sub":"org/$O/project/$J/user/*"}}`)),
	} {
		for _, f := range findings(t, document) {
			var fixed struct{ Principal, Condition json.RawMessage }
			if json.Unmarshal([]byte(f.Fix), &fixed) != nil || fixed.Condition == nil || strings.Contains(f.Fix, "VCS-ORIGIN") || strings.Contains(f.Fix, "TAG") || f.ID == "A24" {
				continue
			}
			tried[f.ID] = true
			statement := allowing(string(fixed.Condition))
			if fixed.Principal != nil {
				statement = strings.Replace(statement, `{"Federated":"$A"}`, string(fixed.Principal), 1)
			} else if strings.Contains(document, "ci.example.com") {
				statement = strings.Replace(statement, "$A", "arn:aws:iam::111122223333:oidc-provider/ci.example.com/org/$O", 1)
			}
			if left := findings(t, policyOf(statement)); len(left) > 0 {
				t.Errorf("%s: after the fix %s in %s\nthere is %s", f.ID, f.Fix, fill(document), listed(left))
			}
			own := jobRequest(ci.Variant{}, nil)
			if strings.Contains(document, "ci.example.com") {
				own.Claims["iss"] = fill("https://ci.example.com/org/$O")
			}
			if j := parse(t, policyOf(statement)).Check(own); j.Verdict != policy.Allow {
				t.Errorf("%s: after the fix %s\nthe job is kept out: %s", f.ID, f.Fix, said(j))
			}
		}
	}
	for _, id := range []string{"A2", "A3", "A5", "A6", "A9", "A13", "A14", "A18", "A22"} {
		if !tried[id] {
			t.Errorf("no fix of %s was tried", id)
		}
	}
}

// Findings come sorted: by severity, then by place.
func TestLintOrder(t *testing.T) {
	all := findings(t, policyOf("\n"+allowing(safe), "\n"+allowing(`{}`), "\n"+allowing(`{"StringEquals":{"$P:sub":"x*"}}`)))
	if !slices.IsSortedFunc(all, func(a, b policy.Finding) int {
		if c := slices.Index(policy.Severities(), a.Severity) - slices.Index(policy.Severities(), b.Severity); c != 0 {
			return c
		}
		return a.Line - b.Line
	}) || len(all) < 4 {
		t.Errorf("%s", listed(all))
	}
}

// A caller picks the session's name, so a condition on it keeps nobody out. The
// finding says which name gets in.
func TestSessionNames(t *testing.T) {
	p := parse(t, with(`{"StringEquals":{"$P:aud":"$O"},"StringLike":{"sts:RoleSessionName":"build-?"}}`))
	all := p.Lint(now())
	if len(all) != 1 || all[0].ID != "A1" || !strings.Contains(all[0].Message, `names its session "build-x"`) {
		t.Fatalf("%s", listed(all))
	}
	if j := p.Check(Request{Claims: all[0].Witness, RoleSessionName: "build-x"}); j.Verdict != policy.Allow {
		t.Errorf("%s", said(j))
	}
}

// What is wrong with a provider's own name.
func TestProviderNames(t *testing.T) {
	for arn, want := range map[string]string{
		"arn:aws:iam::111122223333:oidc-provider/https://$P":                         "A8 the issuer without https://",
		"arn:aws:iam::111122223333:oidc-provider/$P/":                                "A8 no slash at its end",
		"arn:aws:iam::111122223333:oidc-provider/OIDC.circleci.com/org/$O":           "A23 in lower case",
		"arn:aws:iam::111122223333:oidc-provider/oidc.circleci.com/org/gh/my-org":    "A23 is not an organisation's id",
		"arn:aws:iam::111122223333:oidc-provider/oidc.circleci.com/org/ORGANISATION": "A23",
	} {
		document := strings.Replace(with(safe), "$A", arn, 1)
		id, words, _ := strings.Cut(want, " ")
		if !slices.ContainsFunc(findings(t, document), func(f policy.Finding) bool { return f.ID == id && strings.Contains(f.Message, words) }) {
			t.Errorf("%s: %s, want %s", arn, listed(findings(t, document)), want)
		}
	}
	elsewhere := namedRole("ci", strings.Replace(with(safe), "$A", "arn:aws:iam::999988887777:oidc-provider/$P", 1))
	if all := findings(t, elsewhere); len(all) != 1 || !strings.Contains(all[0].Message, "not in the account of the role") {
		t.Errorf("%s", listed(all))
	}
}

// The golden results for the patterns that are in use: what each admits.
func TestGolden(t *testing.T) {
	const pinned = "org/$O/project/$J/user/*/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main"
	swallow := jobRequest(ci.Variant{Branch: "x/vcs-ref/refs/heads/main"}, nil)
	whole := jobRequest(ci.Variant{Branch: "x/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main"}, nil)
	good := jobRequest(ci.Variant{}, nil)
	logs := jobRequest(ci.Variant{}, map[string]any{"sub": "org/" + ci.SampleOrg + "/file-streaming/audit-logs", policy.ClaimProject: nil})
	judge(t, []row{
		allow(with(documented), good),
		allow(with(documented), swallow),
		allow(sub(pinned), good),
		deny(sub(pinned), swallow),
		allow(sub(pinned), whole),
		allow(with(safe), good),
		deny(with(safe), swallow, `wanted "main", got "x/vcs-ref/refs/heads/main"`),
		deny(with(safe), whole),
		allow(sub("org/$O/*"), logs),
		deny(with(safe), logs),
	})
}

// git takes every name of a branch or tag that a witness has.
func TestGit(t *testing.T) {
	git := testenv.Program(t, "git")
	takes := func(name string) bool {
		return exec.Command(git, "check-ref-format", "--branch", name).Run() == nil
	}
	crafted := 0
	for _, pattern := range []string{
		"org/$O/project/*/user/*/vcs-origin/github.com/my-org/*/vcs-ref/refs/heads/main",
		"org/$O/project/$J/user/*/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main",
		"org/$O/project/*/user/$M/vcs-origin/github.com/*/vcs-ref/refs/tags/v*",
		"*/vcs-origin/*/vcs-ref/refs/heads/release*", "*/main", "org/*/project/$J/*",
		"org/$O/project/$J/user/*/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/*",
	} {
		for _, f := range findings(t, sub(pattern)) {
			ref, _ := f.Witness.Text(policy.ClaimRef)
			name := strings.TrimPrefix(strings.TrimPrefix(ref, "refs/heads/"), "refs/tags/")
			if f.Witness != nil && !takes(name) {
				t.Errorf("%s: git does not take %q", f.ID, name)
			}
			if f.ID == "A3" {
				crafted++
			}
		}
	}
	if crafted < 5 {
		t.Errorf("only %d crafted names", crafted)
	}
	for _, name := range []string{"main", "a/b", "x/vcs-ref/refs/heads/main", "", "a@b", "a@{b", "-a", "a/-b", "HEAD", "a..b", "a.b", ".a", "a/.b", "a.", "a.lock",
		"a.lock/b", "a//b", "/a", "a/", "a b", "a~b", "a^b", "a:b", "a?b", "a*b", "a[b", "a]b", `a\b`, "a\x7fb", "a\tb", "ä", "a{b}"} {
		if got := refName(name); got != takes(name) {
			t.Errorf("%q: %v, git says %v", name, got, takes(name))
		}
	}
}
