package policy

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/oidc"
	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

const (
	awsDocumented = `{"StringLike":{"$P:sub":"org/$O/project/*/user/*/vcs-origin/github.com/my-org/*/vcs-ref/refs/heads/main"}}`
	awsSafe       = `{"StringEquals":{"$P:aud":"$O"},"StringLike":{"$P:sub":"org/$O/project/$J/user/$M/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main"}}`
)

// awsSub is a condition of aud and a pattern of sub.
func awsSub(patterns ...string) string {
	return awsWith(`{"StringEquals":{"$P:aud":"$O"},"StringLike":{"$P:sub":["` + strings.Join(patterns, `","`) + `"]}}`)
}

// awsRoot is a policy for the root issuer.
func awsRoot(condition string) string {
	return strings.NewReplacer("$A", "arn:aws:iam::111122223333:oidc-provider/oidc.circleci.com", "$P", "oidc.circleci.com").Replace(awsWith(condition))
}

func awsNamedRole(name, document string) string {
	return `{"Role":{"AssumeRolePolicyDocument":` + document + `,"Arn":"arn:aws:iam::111122223333:role/ci/` + name + `"}}`
}

// awsFindings lints, and proves every witness.
func awsFindings(t *testing.T, document string) []Finding {
	t.Helper()
	p := awsParse(t, document)
	all := p.Lint(awsNow())
	for _, f := range all {
		if f.Line == 0 || f.Column == 0 || f.Message == "" || f.Where == "" && f.ID != "A24" && f.ID != "A25" || f.Fix == "" {
			t.Errorf("incomplete: %+v", f)
		}
		if f.Witness == nil {
			continue
		}
		if j := p.Check(AWSRequest{Claims: f.Witness, RoleSessionName: "ci", Now: awsNow()}); j.Verdict != Allow {
			t.Errorf("%s: the witness is not let in: %s", f.ID, awsSaid(j))
		}
		for _, name := range []string{"iss", "sub", "aud", "iat", "exp", claimOrg} {
			if f.Witness[name] == nil {
				t.Errorf("%s: the witness has no %s", f.ID, name)
			}
		}
	}
	return all
}

func TestAWSLint(t *testing.T) {
	const job = "org/$O/project/$J/user/$M"
	const repo = job + "/vcs-origin/github.com/my-org/app/vcs-ref/"
	for _, row := range []struct {
		name, document string
		want           []string // "ID severity words of the witness's sub, of the message or the fix"
	}{
		{"no condition", awsWith(`{}`), []string{"A1 critical project/" + awsOtherProject, "A2 medium project/$J"}},
		{"aud alone", awsWith(`{"StringEquals":{"$P:aud":"$O"}}`), []string{"A1 critical project/" + awsOtherProject}},
		{"another aud alone", awsWith(`{"StringEquals":{"$P:aud":"aws"}}`), []string{`A1 critical "PROJECT-ID"`}},
		{"the documented pattern", awsWith(awsDocumented), []string{"A3 critical /my-org/app/vcs-ref/refs/heads/x/vcs-ref/refs/heads/main", "A2 medium /my-org/app/vcs-ref/refs/heads/main"}},
		{"pinned, with any user", awsSub(strings.Replace(repo, "$M", "*", 1) + "refs/heads/main"), []string{"A3 critical refs/heads/x/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main"}},
		{"safe", awsWith(awsSafe), nil},
		{"safe for any project of the organisation", awsSub(strings.Replace(repo, "$J", "$M", 1) + "refs/heads/main"), nil},
		{"any ref of a repository", awsSub(repo + "*"), nil},
		{"any branch of a repository", awsSub(repo + "refs/heads/*"), nil},
		{"branches below a name", awsSub(repo + "refs/heads/release/*"), nil},
		{"a tag", awsSub(repo + "refs/tags/v1.2.3"), nil},
		{"several repositories", awsSub(repo+"refs/heads/main", strings.Replace(repo, "/app/", "/web/", 1)+"refs/heads/main"), nil},
		{"the project in sub", awsSub("org/$O/project/$J/user/*"), nil},
		{"the project's key", awsWith(`{"StringEquals":{"$P:aud":"$O","$P:oidc.circleci.com/project-id":"$J"}}`), nil},
		{"two projects", awsWith(`{"StringEquals":{"$P:aud":"$O","$P:oidc.circleci.com/project-id":["$J","00000000-1111-4222-8333-444444444444"]}}`), nil},
		{"audit logs alone", awsWith(`{"StringEquals":{"$P:aud":"$O","$P:sub":"org/$O/file-streaming/audit-logs"}}`), nil},
		{"a deny beside", awsPolicyOf(awsAllowing(awsSafe), awsDenying(`{"StringLike":{"$P:sub":"*/refs/heads/pull/*"}}`)), nil},
		{"a deny that saves", awsPolicyOf(awsAllowing(`{"StringEquals":{"$P:aud":"$O"}}`), awsDenying(`{"StringNotEquals":{"$P:oidc.circleci.com/project-id":"$J"}}`)), nil},

		{"any project by sub", awsSub("org/$O/*"), []string{"A4 critical project/" + awsOtherProject}},
		{"a star alone", awsSub("*"), []string{"A4 critical project/" + awsOtherProject}},
		{"a star for the project", awsWith(`{"StringEquals":{"$P:aud":"$O"},"StringLike":{"$P:oidc.circleci.com/project-id":"*"}}`), []string{"A4 critical project/" + awsOtherProject}},
		{"the end alone", awsSub("*/main"), []string{"A4 critical project/" + awsOtherProject + "/user/$U/vcs-origin/github.com/stranger/app/vcs-ref/refs/heads/main"}},
		{"the ref alone", awsSub("*/vcs-ref/refs/heads/main"), []string{"A3 critical refs/heads/x/vcs-ref/refs/heads/main", "A4 critical project/" + awsOtherProject}},
		{"any repository's main", awsSub("org/$O/project/*/user/*/vcs-origin/*/vcs-ref/refs/heads/main"), []string{"A3 critical", "A4 critical"}},
		{"the audit logs too", awsSub("org/$O/f*", job), []string{"A4 critical org/$O/file-streaming/audit-logs"}},
		{"only a deny of another project", awsPolicyOf(awsAllowing(`{"StringEquals":{"$P:aud":"$O"}}`), awsDenying(`{"StringEquals":{"$P:oidc.circleci.com/project-id":"$J"}}`)), []string{"A1 critical"}},
		{"negative conditions", awsWith(`{"StringEquals":{"$P:aud":"$O"},"StringNotLike":{"$P:sub":"*/pull/*"}}`), []string{"A7 critical only what is named is kept out"}},
		{"a star for the project before a repository", awsSub("org/$O/project/*/user/$M/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main"), []string{"A3 critical"}},
		{"a star for the organisation's part", awsSub("org/*/project/$J/user/$M"), []string{"A3 critical project/" + awsOtherProject}},
		{"any ref, with any user", awsSub(strings.Replace(repo, "$M", "*", 1) + "*"), []string{"A3 critical github.com/stranger/app/vcs-ref/refs/heads/x/vcs-origin/github.com/my-org/app/vcs-ref/"}},
		{"tags, with any user", awsSub(strings.Replace(repo, "$M", "*", 1) + "refs/tags/v1"), []string{"A3 critical refs/heads/x/vcs-origin/github.com/my-org/app/vcs-ref/refs/tags/v1"}},
		{"branches, with any user", awsSub(strings.Replace(repo, "$M", "*", 1) + "refs/heads/*"), []string{"A3 critical refs/tags/x/vcs-origin/"}},
		{"the project's key and any user", awsWith(`{"StringEquals":{"$P:aud":"$O","$P:oidc.circleci.com/project-id":"$J"},"StringLike":{"$P:sub":"*/vcs-ref/refs/heads/main"}}`), []string{"A3 critical $J"}},

		{"any audience", awsWith(strings.Replace(awsSafe, `"StringEquals":{"$P:aud":"$O"},`, "", 1)), []string{"A2 medium a token that a job minted for another service"}},
		{"a star for the audience", awsWith(strings.Replace(awsSafe, `"StringEquals":{"$P:aud":"$O"},"StringLike":{`, `"StringLike":{"$P:aud":"*",`, 1)), []string{"A2 medium"}},

		{"stars in StringEquals", awsWith(`{"StringEquals":{"$P:aud":"$O","$P:sub":"org/$O/project/$J/*"}}`), []string{"A5 high never matches, so that nobody gets in by it"}},
		{"stars in StringNotEquals", awsWith(`{"StringEquals":{"$P:aud":"$O","$P:oidc.circleci.com/project-id":"$J"},"StringNotEquals":{"$P:sub":"*/refs/heads/pull/*"}}`), []string{"A5 high keeps nobody out"}},
		{"stars in a Deny", awsPolicyOf(awsAllowing(awsSafe), awsDenying(`{"StringEquals":{"$P:sub":"*/refs/heads/pull/*"}}`)), []string{"A5 high nobody is denied by it"}},
		{"stars in a Deny that is negated", awsPolicyOf(awsAllowing(awsSafe), awsDenying(`{"StringNotEquals":{"$P:sub":"org/$O/*"}}`)), []string{"A5 high everybody is denied by it"}},

		{"if exists, of the project", awsWith(`{"StringEquals":{"$P:aud":"$O"},"StringEqualsIfExists":{"$P:oidc.circleci.com/project-id":"$J"}}`), []string{"A6 critical org/$O/file-streaming/audit-logs"}},
		{"all values, of sub", awsWith(`{"StringEquals":{"$P:aud":"$O"},"ForAllValues:StringLike":{"$P:sub":"` + job + `"}}`), []string{"A6 high holds for a token without sub"}},
		{"if exists, of aud", awsWith(`{"StringEqualsIfExists":{"$P:aud":"$O"},"StringEquals":{"$P:oidc.circleci.com/project-id":"$J"}}`), []string{"A6 high holds for a token without aud"}},
		{"if exists, of any sub", awsWith(`{"StringEquals":{"$P:aud":"$O"},"StringLikeIfExists":{"$P:sub":"*"}}`), []string{"A4 critical project/" + awsOtherProject, "A6 high holds for a token without sub"}},
		{"no sub wanted", awsWith(`{"Null":{"$P:sub":"true"}}`), []string{"A6 high every token has sub, so that nobody gets in"}},
		{"no project wanted", awsWith(`{"StringEquals":{"$P:aud":"$O"},"Null":{"$P:oidc.circleci.com/project-id":"true"}}`), []string{"A6 critical file-streaming"}},
		{"a sub wanted", awsWith(`{"StringEquals":{"$P:aud":"$O"},"Null":{"$P:sub":"false"}}`), []string{"A1 critical"}},

		{"the key of the root issuer", awsWith(`{"StringEquals":{"$P:aud":"$O","oidc.circleci.com:sub":"x"}}`), []string{"A8 high the condition never holds, so that nobody gets in"}},
		{"the same, if exists", awsWith(`{"StringEquals":{"$P:aud":"$O"},"StringEqualsIfExists":{"oidc.circleci.com:sub":"x"}}`), []string{"A1 critical", "A8 high keeps nobody out"}},
		{"another organisation's key", awsWith(`{"StringEquals":{"$P:aud":"$O","oidc.circleci.com/org/` + awsOtherOrg + `:oidc.circleci.com/project-id":"$J"}}`), []string{"A8 high"}},
		{"a key with https://", awsWith(`{"StringEquals":{"$P:oidc.circleci.com/project-id":"$J","https://$P:aud":"$O"}}`), []string{"A8 high"}},
		{"a key with a slash", awsWith(`{"StringEquals":{"$P:oidc.circleci.com/project-id":"$J","$P/:aud":"$O"}}`), []string{"A8 high"}},
		{"another organisation's sub", awsSub(strings.Replace(job, "$O", awsOtherOrg, 1)), []string{"A8 high the sub is of the organisation " + awsOtherOrg}},
		{"a deny by a foreign key", awsPolicyOf(awsAllowing(awsSafe), awsDenying(`{"StringEquals":{"gitlab.com:sub":"x"}}`)), []string{"A8 high the statement denies nobody"}},
		{"a deny by a missing foreign key", awsPolicyOf(awsAllowing(awsSafe), awsDenying(`{"StringNotEquals":{"gitlab.com:sub":"x"}}`)), []string{"A8 high it spares nobody"}},
		{"no provider of CircleCI's", strings.Replace(awsWith(`{}`), "$A", "arn:aws:iam::111122223333:oidc-provider/gitlab.com", 1), []string{"A8 high no job gets in"}},

		{"the branch by its claim", awsWith(`{"StringEquals":{"$P:aud":"$O","$P:oidc.circleci.com/project-id":"$J","$P:oidc.circleci.com/vcs-ref":"refs/heads/main"}}`), []string{"A9 high so that nobody gets in"}},
		{"the project by a short name", awsWith(`{"StringEquals":{"$P:aud":"$O","$P:project-id":"$J"}}`), []string{`A9 high AWS calls this key "$P:oidc.circleci.com/project-id"`}},
		{"no sub of a mail", awsWith(`{"StringEquals":{"$P:aud":"$O","$P:oidc.circleci.com/project-id":"$J","$P:email":"a@b"}}`), []string{`A9 high CircleCI's tokens have no claim "email"`}},
		{"reruns denied", awsPolicyOf(awsAllowing(awsSafe), awsDenying(`{"Bool":{"$P:oidc.circleci.com/ssh-rerun":"true"}}`)), []string{"A9 high refs/heads/main"}},
		{"the branch, if exists", awsWith(`{"StringEquals":{"$P:aud":"$O","$P:oidc.circleci.com/project-id":"$J"},"StringEqualsIfExists":{"$P:oidc.circleci.com/vcs-ref":"refs/heads/main"}}`), []string{"A9 high $J"}},
		{"the repository, negated", awsWith(`{"StringEquals":{"$P:aud":"$O","$P:oidc.circleci.com/project-id":"$J"},"StringNotEquals":{"$P:oidc.circleci.com/vcs-origin":"github.com/stranger/app"}}`), []string{"A9 high $J"}},

		{"the root issuer", awsRoot(`{"StringEquals":{"$P:aud":"$O"}}`), []string{"A10 critical org/" + awsOtherOrg}},
		{"the root issuer and any organisation", awsRoot(`{"StringEquals":{"$P:aud":"$O"},"StringLike":{"$P:sub":"org/*/project/$J/user/$M/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main"}}`), []string{"A10 critical org/" + awsOtherOrg, "A3 critical"}},
		{"the root issuer and a project of an organisation", awsRoot(`{"StringEquals":{"$P:aud":"$O"},"StringLike":{"$P:sub":"` + job + `"}}`), nil},
		{"the root issuer and an organisation", awsRoot(`{"StringEquals":{"$P:aud":"$O"},"StringLike":{"$P:sub":"org/$O/*"}}`), []string{"A4 critical org/$O"}},

		{"the form of another CI", awsWith(`{"StringLike":{"$P:sub":"repo:my-org/app:*"}}`), []string{`A11 high no token of CircleCI's has a sub like "repo:my-org/app:*"`}},
		{"no user", awsSub("org/$O/project/$J"), []string{"A11 high"}},
		{"no user before a repository", awsSub("org/$O/project/$J/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main"), []string{"A11 high"}},
		{"a ref that is not whole", awsSub(repo + "main"), []string{"A11 high"}},
		{"a name that says what for", awsNamedRole("prod-deploy", awsSub(job)), []string{"A12 medium every branch of the project gets in"}},
		{"a name, and the key of the project", awsNamedRole("release", awsWith(`{"StringEquals":{"$P:aud":"$O","$P:oidc.circleci.com/project-id":"$J"}}`)), []string{"A12 medium VCS-ORIGIN"}},
		{"a name, and any branch", awsNamedRole("release", awsSub(repo+"refs/heads/*")), []string{"A12 medium refs/heads/" + awsOtherBranch}},
		{"a name, and a branch", awsNamedRole("prod-deploy", awsWith(awsSafe)), nil},
		{"a name that says nothing", awsNamedRole("ci", awsSub(job)), nil},

		{"tags", awsSub(repo + "refs/tags/*"), []string{"A13 medium refs/tags/x-evil"}},
		{"tags that begin so", awsSub(repo + "refs/tags/v*"), []string{"A13 medium refs/tags/v-evil"}},
		{"branches that begin so", awsSub(repo + "refs/heads/release*"), []string{"A13 medium refs/heads/release-evil"}},
		{"branches that end so", awsSub(repo + "refs/heads/*-prod"), []string{"A13 medium refs/heads/"}},
		{"repositories that begin so", awsSub(job + "/vcs-origin/github.com/my-org/app*"), []string{"A13 high github.com/my-org/app-evil"}},
		{"owners that begin so", awsSub(job + "/vcs-origin/github.com/my-org*"), []string{"A13 high github.com/my-org-evil"}},
		{"V1 beside V2", awsSub(repo+"refs/heads/main", job), []string{"A14 high org/$O/project/$J/user/$U"}},
		{"V1 in another statement", awsPolicyOf(awsAllowing(awsSafe), awsAllowing(`{"StringEquals":{"$P:aud":"$O"},"StringLike":{"$P:sub":"`+job+`"}}`)), []string{"A14 high"}},
		{"one user", awsWith(`{"StringEquals":{"$P:aud":"$O","$P:sub":"org/$O/project/$J/user/$U"}}`), []string{"A18 medium only jobs that the user $U starts get in"}},
		{"another action", strings.Replace(awsWith(awsSafe), awsAssume, "sts:AssumeRole", 1), []string{"A19 high"}},
		{"tagging beside", awsPolicyOf(awsAllowing(awsSafe), strings.Replace(awsAllowing(awsSafe), awsAssume, awsTag, 1)), nil},
		{"a wider value", awsSub(repo+"refs/heads/main", repo+"*"), []string{"A22 high refs/heads/" + awsOtherBranch}},
		{"a wider statement", awsPolicyOf(awsAllowing(awsSafe), awsAllowing(`{"StringEquals":{"$P:aud":"$O","$P:oidc.circleci.com/project-id":"$J"}}`)), []string{"A14 high", "A22 high refs/heads/" + awsOtherBranch}},
		{"another project's statement", awsPolicyOf(awsAllowing(awsSafe), awsAllowing(`{"StringEquals":{"$P:aud":"$O","$P:oidc.circleci.com/project-id":"00000000-1111-4222-8333-444444444444"}}`)), nil},
		{"letters of a UUID", awsSub(strings.Replace(job, "$J", strings.ToUpper(oidc.SampleProject), 1)), []string{"A23 medium is not the id of a project"}},
		{"braces", awsWith(`{"StringEquals":{"$P:aud":"$O","$P:oidc.circleci.com/project-id":"{$J}"}}`), []string{"A23 medium is not a project's id"}},
		{"a slug", awsWith(`{"StringEquals":{"$P:aud":"$O","$P:oidc.circleci.com/project-id":"gh/my-org/app"}}`), []string{"A23 medium"}},
		{"a slug in sub", awsSub("org/gh/my-org/*"), []string{"A23 medium is not the id of an organisation"}},
		{"everybody", strings.Replace(awsWith(awsSafe), `{"Federated":"$A"}`, `"*"`, 1), []string{"A26 high names no provider"}},
		{"every account", strings.Replace(awsWith(awsSafe), `{"Federated":"$A"}`, `{"AWS":"*"}`, 1), []string{"A26 high"}},
		{"a placeholder for the account", strings.Replace(awsWith(awsSafe), "$A", "arn:aws:iam::ACCOUNT_ID:oidc-provider/$P", 1), []string{"A25 high an account has 12 digits"}},

		// What cannot be decided is said, and never called proved.
		{"an address", awsWith(`{"IpAddress":{"aws:SourceIp":"192.0.2.0/24"}}`), []string{`A1 high this is so unless Statement[0].Condition.IpAddress["aws:SourceIp"] keeps the job out`, "A2 medium"}},
	} {
		found := awsFindings(t, row.document)
		slices.SortFunc(found, func(a, b Finding) int { return strings.Compare(a.ID, b.ID) })
		want := slices.Sorted(slices.Values(row.want))
		if len(found) != len(want) {
			t.Errorf("%s: %s, want %q", row.name, awsListed(found), want)
			continue
		}
		for i, f := range found {
			words := strings.SplitN(awsFill(want[i]), " ", 3)
			sub, _ := f.Witness.text("sub")
			if f.ID != words[0] || string(f.Severity) != words[1] || len(words) > 2 && !strings.Contains(sub+"\n"+f.Message+"\n"+f.Fix, words[2]) {
				t.Errorf("%s: %s, want %q", row.name, awsListed([]Finding{f}), want[i])
			}
		}
	}
}

func awsListed(all []Finding) string {
	var b strings.Builder
	for _, f := range all {
		sub, _ := f.Witness.text("sub")
		fmt.Fprintf(&b, "\n%s %s %s: %s\n  witness %s\n  fix %s", f.ID, f.Severity, f.Where, f.Message, sub, f.Fix)
	}
	return b.String()
}

// The findings whose fix is a whole condition, with nothing to fill in, are
// gone with it, and the job that the policy means still gets in.
func TestAWSFixes(t *testing.T) {
	const job = "org/$O/project/$J/user/$M"
	const repo = job + "/vcs-origin/github.com/my-org/app/vcs-ref/"
	tried := map[string]bool{}
	for _, document := range []string{
		awsSub(strings.Replace(repo, "$M", "*", 1) + "refs/heads/main"),
		awsSub("org/$O/project/*/user/*/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main"),
		awsWith(strings.Replace(awsSafe, `"StringEquals":{"$P:aud":"$O"},`, "", 1)),
		awsSub(repo + "refs/heads/main*"),
		awsSub(strings.Replace(repo, "/app/vcs-ref/", "/app*", 1)),
		awsSub(repo+"refs/heads/main", job),
		awsSub(repo+"refs/heads/main", repo+"*"),
		awsPolicyOf(awsAllowing(`{"StringEquals":{"$P:aud":"$O"},"StringLike":{"$P:sub":"` + strings.Replace(job, "$M", "$U", 1) + `"}}`)),
		awsWith(`{"StringEquals":{"$P:aud":"$O","$P:sub":"` + repo + `refs/heads/main"}}`),
		awsWith(`{"StringEquals":{"$P:aud":"$O","$P:oidc.circleci.com/project-id":"$J","$P:oidc.circleci.com/vcs-ref":"refs/heads/main"}}`),
		awsWith(`{"StringEquals":{"$P:aud":"$O"},"StringEqualsIfExists":{"$P:oidc.circleci.com/project-id":"$J"}}`),
		awsRoot(`{"StringEquals":{"$P:aud":"$O"},"StringLike":{"$P:sub":"org/*/project/$J/user/$M","$P:sub":"org/$O/project/$J/*/refs/heads/main"}}`),
		strings.NewReplacer("$P", "ci.example.com/org/$O", "$A", "arn:aws:iam::111122223333:oidc-provider/ci.example.com/org/$O").Replace(awsWith(`{"StringLike":{"$P:sub":"org/$O/project/$J/user/*"}}`)),
	} {
		for _, f := range awsFindings(t, document) {
			var fixed struct{ Principal, Condition json.RawMessage }
			if json.Unmarshal([]byte(f.Fix), &fixed) != nil || fixed.Condition == nil || strings.Contains(f.Fix, "VCS-ORIGIN") || strings.Contains(f.Fix, "TAG") || f.ID == "A24" {
				continue
			}
			tried[f.ID] = true
			statement := awsAllowing(string(fixed.Condition))
			if fixed.Principal != nil {
				statement = strings.Replace(statement, `{"Federated":"$A"}`, string(fixed.Principal), 1)
			} else if strings.Contains(document, "ci.example.com") {
				statement = strings.Replace(statement, "$A", "arn:aws:iam::111122223333:oidc-provider/ci.example.com/org/$O", 1)
			}
			if left := awsFindings(t, awsPolicyOf(statement)); len(left) > 0 {
				t.Errorf("%s: after the fix %s in %s\nthere is %s", f.ID, f.Fix, awsFill(document), awsListed(left))
			}
			own := awsJob(oidc.Variant{}, nil)
			if strings.Contains(document, "ci.example.com") {
				own.Claims["iss"] = awsFill("https://ci.example.com/org/$O")
			}
			if j := awsParse(t, awsPolicyOf(statement)).Check(own); j.Verdict != Allow {
				t.Errorf("%s: after the fix %s\nthe job is kept out: %s", f.ID, f.Fix, awsSaid(j))
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
func TestAWSLintOrder(t *testing.T) {
	all := awsFindings(t, awsPolicyOf("\n"+awsAllowing(awsSafe), "\n"+awsAllowing(`{}`), "\n"+awsAllowing(`{"StringEquals":{"$P:sub":"x*"}}`)))
	if !slices.IsSortedFunc(all, func(a, b Finding) int {
		if c := slices.Index(Severities(), a.Severity) - slices.Index(Severities(), b.Severity); c != 0 {
			return c
		}
		return a.Line - b.Line
	}) || len(all) < 4 {
		t.Errorf("%s", awsListed(all))
	}
}

// A caller picks the session's name, so a condition on it keeps nobody out. The
// finding says which name gets in.
func TestAWSSessionNames(t *testing.T) {
	p := awsParse(t, awsWith(`{"StringEquals":{"$P:aud":"$O"},"StringLike":{"sts:RoleSessionName":"build-?"}}`))
	all := p.Lint(awsNow())
	if len(all) != 1 || all[0].ID != "A1" || !strings.Contains(all[0].Message, `names its session "build-x"`) {
		t.Fatalf("%s", awsListed(all))
	}
	if j := p.Check(AWSRequest{Claims: all[0].Witness, RoleSessionName: "build-x"}); j.Verdict != Allow {
		t.Errorf("%s", awsSaid(j))
	}
}

// What is wrong with a provider's own name.
func TestAWSProviderNames(t *testing.T) {
	for arn, want := range map[string]string{
		"arn:aws:iam::111122223333:oidc-provider/https://$P":                         "A8 the issuer without https://",
		"arn:aws:iam::111122223333:oidc-provider/$P/":                                "A8 no slash at its end",
		"arn:aws:iam::111122223333:oidc-provider/OIDC.circleci.com/org/$O":           "A23 in lower case",
		"arn:aws:iam::111122223333:oidc-provider/oidc.circleci.com/org/gh/my-org":    "A23 is not an organisation's id",
		"arn:aws:iam::111122223333:oidc-provider/oidc.circleci.com/org/ORGANISATION": "A23",
	} {
		document := strings.Replace(awsWith(awsSafe), "$A", arn, 1)
		id, words, _ := strings.Cut(want, " ")
		if !slices.ContainsFunc(awsFindings(t, document), func(f Finding) bool { return f.ID == id && strings.Contains(f.Message, words) }) {
			t.Errorf("%s: %s, want %s", arn, awsListed(awsFindings(t, document)), want)
		}
	}
	elsewhere := awsNamedRole("ci", strings.Replace(awsWith(awsSafe), "$A", "arn:aws:iam::999988887777:oidc-provider/$P", 1))
	if all := awsFindings(t, elsewhere); len(all) != 1 || !strings.Contains(all[0].Message, "not in the account of the role") {
		t.Errorf("%s", awsListed(all))
	}
}

// The golden results for the patterns that are in use: what each admits.
func TestAWSGolden(t *testing.T) {
	const pinned = "org/$O/project/$J/user/*/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main"
	swallow := awsJob(oidc.Variant{Branch: "x/vcs-ref/refs/heads/main"}, nil)
	whole := awsJob(oidc.Variant{Branch: "x/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main"}, nil)
	good := awsJob(oidc.Variant{}, nil)
	logs := awsJob(oidc.Variant{}, map[string]any{"sub": "org/" + oidc.SampleOrg + "/file-streaming/audit-logs", claimProject: nil})
	awsJudge(t, []awsRow{
		awsAllow(awsWith(awsDocumented), good),
		awsAllow(awsWith(awsDocumented), swallow),
		awsAllow(awsSub(pinned), good),
		awsDeny(awsSub(pinned), swallow),
		awsAllow(awsSub(pinned), whole),
		awsAllow(awsWith(awsSafe), good),
		awsDeny(awsWith(awsSafe), swallow, `wanted "main", got "x/vcs-ref/refs/heads/main"`),
		awsDeny(awsWith(awsSafe), whole),
		awsAllow(awsSub("org/$O/*"), logs),
		awsDeny(awsWith(awsSafe), logs),
	})
}

// git takes every name of a branch or tag that a witness has.
func TestAWSGit(t *testing.T) {
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
		for _, f := range awsFindings(t, awsSub(pattern)) {
			ref, _ := f.Witness.text(claimRef)
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
		if got := awsRefName(name); got != takes(name) {
			t.Errorf("%q: %v, git says %v", name, got, takes(name))
		}
	}
}
