package wif

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// lintRow is a provider, the policy of the account, and the findings: each
// an id, its severity, "witness" where it has one, and words of it.
type lintRow struct {
	name     string
	changes  map[string]any
	bindings []map[string]any
	want     []string
}

const (
	projectIs = "assertion['oidc.circleci.com/project-id'] == '" + ci.SampleProject + "'"
	refIs     = "'oidc.circleci.com/vcs-ref' in assertion && assertion['oidc.circleci.com/vcs-ref'] == 'refs/heads/main'"
	noSSH     = "assertion['oidc.circleci.com/ssh-rerun'] == false"
)

func lintRows() []lintRow {
	all := func(parts ...string) map[string]any {
		return withCondition(strings.Join(append(parts, noSSH), " && "))
	}
	ref := "assertion['oidc.circleci.com/vcs-ref']"
	guarded := "'oidc.circleci.com/vcs-ref' in assertion && "
	origin := "'oidc.circleci.com/vcs-origin' in assertion && assertion['oidc.circleci.com/vcs-origin']"
	set := "principalSet:" + testPool
	user := func(member string) []map[string]any { return []map[string]any{grant(userRole, member)} }
	issuer := func(uri string, audiences ...string) map[string]any {
		return map[string]any{"issuerUri": uri, "allowedAudiences": audiences}
	}
	maps := func(key, expression string) map[string]any {
		m := withMapping(key, expression)
		m["attributeCondition"] = projectIs + " && " + noSSH
		return m
	}
	join := func(a map[string]any, key string, v any) map[string]any { a[key] = v; return a }
	return []lintRow{
		{"clean", all(projectIs), nil, nil},
		{"clean with a branch", all(projectIs, refIs), nil, nil},
		{"clean with a policy", all(projectIs), user(set + "attribute.project/" + ci.SampleProject), nil},

		{"G1 no condition", withCondition(""), nil, []string{"G1 high witness /every project of the organisation gets in to the pool", "G7 info witness"}},
		{"G1 no condition, whole pool", withCondition(""), user(set + "*"), []string{"G1 critical witness", "G7 info witness"}},
		{"G1 no condition, everybody", withCondition(""), user("allUsers"), []string{"G1 critical witness", "G7 info witness"}},
		{"G1 custom role", withCondition(""), []map[string]any{grant("projects/my-project/roles/deployer", set+"*")}, []string{"G1 high /whether a binding lets it on is not in the documents"}},
		{"G1 not with a binding of the project", withCondition(""), user(set + "attribute.project/" + ci.SampleProject), []string{"G7 info witness"}},
		{"G1 organisation alone", all("assertion['oidc.circleci.com/org-id'] == '" + ci.SampleOrg + "'"), nil, []string{"G1 high witness"}},
		{"G1 subject's beginning", all("assertion.sub.startsWith('org/" + ci.SampleOrg + "/')"), nil, []string{"G1 high witness"}},
		{"G1 branch alone", all(refIs), nil, []string{"G1 high witness"}},
		{"G1 not with the repository", all("'oidc.circleci.com/vcs-origin' in assertion && assertion['oidc.circleci.com/vcs-origin'] == 'github.com/my-org/app'"), nil, nil},
		{"G1 or", all("(" + projectIs + " || assertion.aud == '" + ci.SampleOrg + "')"), nil, []string{"G1 high witness"}},

		{"G2", join(all(projectIs), "oidc", issuer(testIssuer)), nil, []string{"G2 high /the default is the organisation's id"}},

		{"G3", maps("google.subject", "assertion.sub"), nil, []string{"G3 high /no V2 token fits: google.subject would have 184 bytes"}},
		{"G3 both", maps("google.subject", "assertion.sub + assertion.aud"), nil, []string{"G3 high /no token fits"}},

		{"G4", maps("google.subject", `assertion.org_id + "/" + assertion.sub.extract('/user/{user_id}/')`), nil,
			[]string{"G4 high /there is no claim org_id", `G4 high /extract("/user/{user_id}/") is empty for every V1 token`}},
		{"G4 repaired by the public", maps("google.subject", `assertion.aud + '/' + assertion.sub.extract('/user/{user_id}/')`), nil, []string{"G4 high /all users become one"}},
		{"G4 in the condition", all("assertion.project_id == '" + ci.SampleProject + "'"), nil, []string{"G4 high /it is assertion['oidc.circleci.com/project-id']"}},
		{"G4 not where it is found", maps("attribute.user", "assertion.sub.extract('/user/{user_id}')"), nil, nil},

		{"G5 dotted", all("assertion.oidc.circleci.com['project-id'] == 'x'"), nil, []string{"G5 high /is written assertion['oidc.circleci.com/project-id']"}},
		{"G5 without oidc.", all("assertion['circleci.com/project-id'] == 'x'"), nil, []string{"G5 high"}},
		{"G5 variable", all("assertion['${server_domain}/project-id'] == 'x'"), nil, []string{"G5 high /a variable was not expanded"}},
		{"G5 somebody else's", all(projectIs, "assertion.repository == 'x'"), nil, []string{"G5 high /CircleCI's tokens have no claim repository"}},
		{"G5 in the mapping", maps("attribute.repo", "assertion.repository"), nil, []string{"G5 high"}},
		{"G5 not where it is asked for", all(projectIs, "(!has(assertion.repository) || assertion.repository == 'x')"), nil, nil},

		{"G6 audience", withMapping("attribute.org_id", "assertion.aud"), user(set + "attribute.org_id/" + ci.SampleOrg),
			[]string{"G6 critical witness /attribute.org_id goes by the audience, which every job chooses", "G7 info witness"}},
		{"G6 second audience", join(withMapping("attribute.aud", "assertion.aud"), "oidc", issuer(testIssuer, ci.SampleOrg, "deploy")), user(set + "attribute.aud/deploy"),
			[]string{"G6 critical witness", "G7 info witness"}},
		{"G6 not behind a condition", join(all(projectIs), "attributeMapping", map[string]string{"google.subject": "'s'", "attribute.aud": "assertion.aud"}), user(set + "attribute.aud/" + ci.SampleOrg), nil},

		{"G7 always true", withCondition(projectIs + " && assertion['oidc.circleci.com/ssh-rerun'] != 'true'"), nil, []string{"G7 critical witness /the comparison is true for every token"}},
		{"G7 always false", withCondition(projectIs + " && assertion['oidc.circleci.com/ssh-rerun'] == 'false'"), nil, []string{"G7 high /what asks for that admits nobody"}},
		{"G7 within", withCondition(projectIs + " && (assertion['oidc.circleci.com/ssh-rerun'] != 'true' && assertion.aud != 'x' || false)"), nil, []string{"G7 critical witness"}},
		{"G7 or", withCondition(projectIs + " || false"), nil, []string{"G7 info witness"}},
		{"G7 in a context", withCondition(projectIs + " && assertion['oidc.circleci.com/context-ids'] != null && '" + otherID + "' in assertion['oidc.circleci.com/context-ids']"), nil, []string{"G7 info witness"}},
		{"G7 of a user", withCondition("assertion.sub.startsWith('org/" + ci.SampleOrg + "/project/" + ci.SampleProject + "/user/" + otherID + "/')"), nil, []string{"G7 info witness"}},
		{"G7 not asked", withCondition(projectIs), nil, []string{"G7 info witness /nothing looks at ssh-rerun"}},
		{"G7 text of it", withCondition(projectIs + " && string(assertion['oidc.circleci.com/ssh-rerun']) == 'false'"), nil, nil},

		{"G8 endsWith on sub", all(projectIs, "assertion.sub.endsWith('/vcs-ref/refs/heads/main')"), nil, []string{`G8 critical witness /the branch "x/vcs-ref/refs/heads/main" gets in`}},
		{"G8 contains on sub", all(projectIs, "assertion.sub.contains('/vcs-ref/refs/heads/main')"), nil, []string{"G8 critical witness"}},
		{"G8 matches on sub", all(projectIs, "assertion.sub.matches('/vcs-ref/refs/heads/main$')"), nil, []string{"G8 critical witness"}},
		{"G8 swallow on sub", all("assertion.sub.matches('^org/" + ci.SampleOrg + "/project/" + ci.SampleProject + "/user/.*/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main$')"), nil,
			[]string{`G8 critical witness /the branch "x/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main" gets in`}},
		{"G8 not with a mask", all("assertion.sub.matches('^org/" + ci.SampleOrg + "/project/" + ci.SampleProject + "/user/[0-9a-f-]{36}/vcs-origin/github[.]com/my-org/app/vcs-ref/refs/heads/main$')"), nil, nil},
		{"G8 endsWith on ref", all(projectIs, guarded+ref+".endsWith('/main')"), nil, []string{"G8 critical witness"}},
		{"G8 contains on ref", all(projectIs, guarded+ref+".contains('release')"), nil, []string{"G8 critical witness"}},
		{"G8 matches on ref", all(projectIs, guarded+ref+".matches('refs/heads/(main|release)')"), nil, []string{"G8 critical witness"}},
		{"G8 alternatives", all(projectIs, guarded+ref+".matches('^refs/heads/main|refs/heads/release$')"), nil, []string{"G8 critical witness"}},
		{"G8 unescaped dot", all(projectIs, guarded+ref+".matches('^refs/heads/release-1.0$')"), nil, []string{`G8 critical witness /the branch "release-1x0" gets in`}},
		{"G8 any beginning", all(projectIs, guarded+ref+".matches('^.*/main$')"), nil, []string{"G8 critical witness"}},
		{"G8 not with all that it needs", all(projectIs, guarded+ref+".matches('^refs/heads/release-[0-9]+$')"), nil, nil},
		{"G8 not with a family", all(projectIs, guarded+ref+".matches('^refs/heads/release/.*')"), nil, nil},
		{"G8 not with a family's beginning", all(projectIs, guarded+ref+".startsWith('refs/heads/release/')"), nil, nil},
		{"G8 not with any branch", all(projectIs, guarded+ref+".startsWith('refs/heads/')"), nil, nil},
		{"G8 not beside a whole claim", all(projectIs, refIs, "assertion.sub.startsWith('org/')"), nil, nil},
		{"G8 beginning of a name", all(projectIs, guarded+ref+".startsWith('refs/heads/main')"), nil, []string{`G8 medium witness /the branch "main-x" gets in`}},
		{"G8 project in sub", all("assertion.sub.contains('/project/" + ci.SampleProject + "/')"), nil, []string{"G8 critical witness /another project's branch"}},
		{"G8 not at the beginning", all("assertion.sub.startsWith('org/" + ci.SampleOrg + "/project/" + ci.SampleProject + "/')"), nil, nil},
		{"G8 origin", all(projectIs, origin+".contains('my-org/app')"), nil, []string{"G8 critical witness /a pull request from gitlab.com/stranger/my-org/app gets in"}},
		{"G8 origin's end", all(projectIs, origin+".endsWith('/app')"), nil, []string{"G8 critical witness /a pull request from github.com/stranger/app gets in"}},
		{"G8 origin's beginning", all(projectIs, origin+".startsWith('github.com/my-org')"), nil, []string{"G8 medium witness /a pull request from github.com/my-org-x/app gets in"}},
		{"G8 not with an owner", all(projectIs, origin+".startsWith('github.com/my-org/')"), nil, nil},
		{"G8 origin in sub", all("assertion.sub.startsWith('org/" + ci.SampleOrg + "/project/" + ci.SampleProject + "/user/" + ci.SampleUser + "/vcs-origin/github.com/my-org/app')"), nil,
			[]string{"G8 medium witness /a pull request from github.com/my-org/app-x gets in"}},
		{"G8 in the mapping", join(maps("attribute.main", "assertion.sub.endsWith('/refs/heads/main') ? 'yes' : 'no'"), "attributeCondition", "attribute.main == 'yes' && "+projectIs+" && "+noSSH), nil, []string{"G8 critical witness"}},
		{"G8 through an attribute", join(maps("attribute.ref", guardedRef()), "attributeCondition", "attribute.ref.endsWith('/main') && "+projectIs+" && "+noSSH), nil, []string{"G8 critical witness"}},
		{"G8 by a binding", maps("attribute.main", "assertion.sub.endsWith('/refs/heads/main') ? 'yes' : 'no'"), user(set + "attribute.main/yes"), []string{"G8 critical witness"}},
		{"G8 refused branches", all(projectIs, "!("+guardedRef()+").contains('pull')", "assertion.sub.endsWith('/refs/heads/main')"), nil, []string{"G8 critical witness /endsWith"}},
		{"G8 names what is weak", all("assertion.sub.startsWith('org/" + ci.SampleOrg + "/project/" + ci.SampleProject + "/user/') && assertion.sub.endsWith('/refs/heads/main')"), nil, []string{"G8 critical witness /endsWith"}},
		{"G8 not for what needs no craft", all("assertion.sub.contains('org/" + ci.SampleOrg + "')"), nil, []string{"G1 high witness"}},
		{"G8 not by what git refuses", all(projectIs, guarded+ref+".contains('a..b')"), nil, nil},
		{"G8 not with any of a family", all(projectIs, guarded+ref+".matches('^refs/heads/release/.+$')"), nil, nil},

		{"G9 branch", all(projectIs, ref+" == 'refs/heads/main'"), nil, []string{"G9 medium /it is refused by an error"}},
		{"G9 or", all(projectIs, "("+ref+" == 'refs/heads/main' || assertion.aud == '"+ci.SampleOrg+"')"), nil, []string{"G9 medium witness /swallows the error: it gets in"}},
		{"G9 origin", all(projectIs, "assertion['oidc.circleci.com/vcs-origin'] == 'github.com/my-org/app'"), nil, []string{"G9 medium /vcs-origin"}},
		{"G9 mapping", maps("attribute.ref", "assertion['oidc.circleci.com/vcs-ref']"), nil, []string{"G9 medium /an attribute without a value"}},
		{"G9 not in another order", all(projectIs, ref+" == 'refs/heads/main'", "'oidc.circleci.com/vcs-ref' in assertion"), nil, nil},

		{"G10", all(projectIs, "'"+ci.SampleContext+"' in assertion['oidc.circleci.com/context-ids']"), nil, []string{"G10 medium /context-ids may be null"}},
		{"G10 not with a guard", all(projectIs, "assertion['oidc.circleci.com/context-ids'] != null && '"+ci.SampleContext+"' in assertion['oidc.circleci.com/context-ids']"), nil, nil},

		{"G11", join(all("assertion.aud == 'google'"), "oidc", issuer(ci.RootIssuer, "google")), nil, []string{"G11 critical witness /whoever has an account there gets in"}},
		{"G11 with a policy", join(all("true"), "oidc", issuer(ci.RootIssuer, "google")), user(set + "*"), []string{"G11 critical witness"}},
		{"G11 not with the organisation", join(all("assertion['oidc.circleci.com/org-id'] == '"+ci.SampleOrg+"'", projectIs), "oidc", issuer(ci.RootIssuer, "google")), nil, nil},
		{"G11 organisation, any project", join(all("assertion['oidc.circleci.com/org-id'] == '"+ci.SampleOrg+"'"), "oidc", issuer(ci.RootIssuer, "google")), nil, []string{"G1 high witness"}},

		{"G12", join(withMapping("attribute.vcs_ref", guardedRef()), "attributeCondition", noSSH), user(set + "attribute.vcs_ref/refs/heads/main"),
			[]string{"G1 critical witness", "G12 medium witness /goes by the branch"}},
		{"G12 not behind a condition", join(withMapping("attribute.vcs_ref", guardedRef()), "attributeCondition", projectIs+" && "+noSSH), user(set + "attribute.vcs_ref/refs/heads/main"), nil},
		{"G12 not with the project", join(withMapping("attribute.job", "assertion['oidc.circleci.com/project-id'] + ':' + ("+guardedRef()+")"), "attributeCondition", noSSH), user(set + "attribute.job/" + ci.SampleProject + ":refs/heads/main"), nil},
		{"G12 two attributes", all(projectIs), user(set + "attribute.project/" + ci.SampleProject + "/attribute.ref/x"), []string{"G12 medium /the rest is taken for its value"}},

		{"G13 key", maps("attribute.Ref", "'x'"), nil, []string{"G13 medium /a-z, 0-9 and _"}},
		{"G13 condition", all(projectIs, "'"+strings.Repeat("x", 4097)+"' != ''"), nil, []string{"G13 medium /more than 4096"}},
		{"G13 no subject", join(all(projectIs), "attributeMapping", map[string]string{"attribute.a": "'a'"}), nil, []string{"G13 medium /there is no mapping for google.subject"}},
		{"G13 8 KB", maps("attribute.big", "["+strings.Repeat("assertion.sub, ", 50)+"assertion.sub].join('')"), nil, []string{"G13 medium /more than the 8192"}},
		{"G13 too expensive", all(projectIs, "[1,2,3,4,5,6,7,8,9].all(a, [1,2,3,4,5,6,7,8,9].all(b, [1,2,3,4,5,6,7,8,9].all(c, [1,2,3,4,5,6,7,8,9].all(d, [1,2,3,4,5,6,7,8,9].all(e, [1,2,3,4,5,6,7,8,9].all(f, a+b+c+d+e+f > 0))))))"), nil, []string{"G13 medium /not everything was tried"}},

		{"G14 name", join(all(projectIs), "name", strings.Replace(testName, "123456789012", "my-project", 1)), nil, []string{"G14 medium /the project's id stands where its number belongs"}},
		{"G14 exponent", join(all(projectIs), "name", strings.Replace(testName, "123456789012", "1.23457e+11", 1)), nil, []string{"G14 medium /a floating-point number"}},
		{"G14 member", all(projectIs), user(strings.Replace(set, "123456789012", "my-project", 1) + "*"), []string{"G14 medium", "G15 info"}},

		{"G15 nobody", all(projectIs), user("user:a@example.com"), []string{"G15 info /no binding lets an identity of this pool"}},
		{"G15 wrong role", all(projectIs), []map[string]any{grant("roles/iam.serviceAccountUser", set+"*")}, []string{"G15 info"}},
		{"G15 unmapped", all(projectIs), user(set + "attribute.repo/x"), []string{"G15 info /the mapping gives no attribute.repo"}},

		{"G16 slash", join(all(projectIs), "oidc", issuer(testIssuer+"/", ci.SampleOrg)), nil, []string{"G16 high /nobody gets in"}},
		{"G16 name", join(all(projectIs), "oidc", issuer("https://oidc.circleci.com/org/my-org", ci.SampleOrg)), nil, []string{"G16 high"}},
		{"G16 http", join(all(projectIs), "oidc", issuer("http://oidc.circleci.com/org/"+ci.SampleOrg, ci.SampleOrg)), nil, []string{"G16 high"}},
		{"G16 not of a server", join(all(projectIs), "oidc", issuer("https://circleci.example.com/org/"+ci.SampleOrg, ci.SampleOrg)), nil, nil},

		{"G18", join(withCondition(""), "disabled", true), nil, []string{"G18 info /no token could be tried"}},
		{"G17 list", maps("attribute.contexts", "assertion['oidc.circleci.com/context-ids']"), nil, []string{"G17 medium /attribute.contexts is a list"}},
		{"G17 boolean", maps("attribute.ssh", "assertion['oidc.circleci.com/ssh-rerun']"), nil, []string{"G17 medium"}},
	}
}

func guardedRef() string {
	return "'oidc.circleci.com/vcs-ref' in assertion ? assertion['oidc.circleci.com/vcs-ref'] : ''"
}

func TestLint(t *testing.T) {
	for _, row := range lintRows() {
		t.Run(row.name, func(t *testing.T) {
			p := parse(t, row.changes)
			var iam *IAMPolicy
			if row.bindings != nil {
				iam = policyWith(t, row.bindings...)
			}
			findings := p.Lint(iam, testNow)
			for i, f := range findings {
				proved(t, p, iam, f)
				head := f.ID + " " + string(f.Severity)
				if f.Witness != nil {
					head += " witness"
				}
				if i < len(row.want) {
					want, words, _ := strings.Cut(row.want[i], " /")
					if head != want || !strings.Contains(f.Message, words) {
						t.Errorf("%s %q, want %s", head, f.Message, row.want[i])
					}
				} else {
					t.Errorf("%s %q, want nothing", head, f.Message)
				}
			}
			if len(findings) < len(row.want) {
				t.Errorf("%d findings, want %q", len(findings), row.want)
			}
		})
	}
}

// proved holds for every finding: a witness is a whole token that gets in.
func proved(t *testing.T, p *Provider, iam *IAMPolicy, f policy.Finding) {
	t.Helper()
	if f.Fix == "" || f.Where == "" || f.Message == "" || !slices.Contains(policy.Severities(), f.Severity) {
		t.Errorf("%+v is not complete", f)
	}
	if f.Severity == policy.Critical && f.Witness == nil {
		t.Errorf("%s: critical without a witness", f.ID)
	}
	if f.Witness == nil {
		return
	}
	if j := p.Check(Request{Claims: f.Witness, IAM: iam, Now: testNow}); j.Verdict != policy.Allow {
		t.Errorf("%s: the witness is refused: %s", f.ID, j.Reason)
	}
	b, err := json.Marshal(f.Witness)
	if err != nil {
		t.Fatal(err)
	}
	c, err := policy.ParseClaims(b)
	if err != nil || p.Check(Request{Claims: c, IAM: iam, Now: testNow}).Verdict != policy.Allow {
		t.Errorf("%s: the witness cannot be given to check: %v", f.ID, err)
	}
	for _, name := range []string{"iss", "sub", "aud", "iat", "exp", policy.ClaimOrg, policy.ClaimProject, policy.ClaimSSHRerun, policy.ClaimContexts} {
		if _, ok := f.Witness[name]; !ok {
			t.Errorf("%s: the witness has no %s", f.ID, name)
		}
	}
	if ref, ok := f.Witness.Text(policy.ClaimRef); ok {
		if err := exec.Command(testenv.Program(t, "git"), "check-ref-format", ref).Run(); err != nil {
			t.Errorf("%s: git refuses %s: %v", f.ID, ref, err)
		}
	}
}

// What a finding says to write instead is clean, keeps its witness out, and
// lets those in who came in rightly.
func TestLintFixes(t *testing.T) {
	for _, row := range lintRows() {
		t.Run(row.name, func(t *testing.T) {
			p := parse(t, row.changes)
			var iam *IAMPolicy
			if row.bindings != nil {
				iam = policyWith(t, row.bindings...)
			}
			findings := p.Lint(iam, testNow)
			doc := doc(row.changes)
			mapping := map[string]any{}
			b, err := json.Marshal(doc["attributeMapping"])
			if err != nil || json.Unmarshal(b, &mapping) != nil {
				t.Fatal(err)
			}
			fixed := map[string]bool{}
			for _, f := range findings {
				fix := strings.ReplaceAll(f.Fix, "UUID of the project", ci.SampleProject)
				key, isMapping := strings.CutPrefix(f.Where, `attributeMapping["`)
				switch {
				case f.ID == "G13" || f.ID == "G14" || f.ID == "G15" || f.ID == "G18" || strings.Contains(f.Where, "bindings"):
					return // prose
				case f.Where == "attributeCondition":
					doc["attributeCondition"] = fix
				case isMapping:
					mapping[strings.TrimSuffix(key, `"]`)] = fix
				case f.Where == "oidc.issuerUri":
					doc["oidc"] = map[string]any{"issuerUri": strings.ReplaceAll(fix, "UUID of the organisation", ci.SampleOrg), "allowedAudiences": p.Audiences()}
				case f.Where == "oidc.allowedAudiences":
					doc["oidc"] = map[string]any{"issuerUri": p.Issuer(), "allowedAudiences": json.RawMessage(fix)}
				default:
					t.Fatalf("no test for a fix at %s", f.Where)
				}
				fixed[f.ID] = true
			}
			doc["attributeMapping"] = mapping
			again, err := Parse(marshal(t, doc))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range again.Lint(iam, testNow) {
				if fixed[f.ID] && f.Fix != "leave it out" && !strings.Contains(f.Message, "no claim repository") && f.ID != "G17" {
					t.Errorf("still %s: %s\n%s", f.ID, f.Message, again.condition.text)
				}
			}
			for _, f := range findings {
				if f.Witness == nil {
					continue
				}
				if j := again.Check(Request{Claims: f.Witness, IAM: iam, Now: testNow}); j.Verdict == policy.Allow {
					t.Errorf("%s: the witness still gets in by %s", f.ID, again.condition.text)
				}
			}
			own := v2(ci.Variant{Audience: again.Audiences()[0]})
			was := p.Check(Request{Claims: own, IAM: iam, Now: testNow})
			if is := again.Check(Request{Claims: own, IAM: iam, Now: testNow}); was.Verdict == policy.Allow && is.Verdict != policy.Allow {
				t.Errorf("the job itself is refused: %s", is.Reason)
			}
		})
	}
}

// A comment in the condition does not swallow what the fix adds.
func TestLintFixComment(t *testing.T) {
	p := parse(t, withCondition(projectIs+" // https: ours\n && assertion.aud != 'x' // why\n"))
	found := p.Lint(nil, testNow)
	want := `assertion["oidc.circleci.com/project-id"] == "` + ci.SampleProject + `" && assertion.aud != "x" && ` + noRerun("'")
	if len(found) != 1 || found[0].Fix != want {
		t.Errorf("%+v, want %s", found, want)
	}
}

// The places of findings are the document's; those in a policy of its own are
// not, and those in a policy beside the provider are.
func TestLintPlaces(t *testing.T) {
	text := "{\n \"provider\": " + string(marshal(t, doc(withMapping("attribute.org", "assertion.aud")))) +
		",\n \"iamPolicy\": {\"bindings\": [{\"role\": \"roles/iam.workloadIdentityUser\",\n  \"members\": [\"principalSet:" + testPool + "attribute.org/" + ci.SampleOrg + "\"]}]}\n}"
	p, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	found := p.Lint(nil, testNow)
	if len(found) == 0 || found[0].ID != "G6" || found[0].Where != "iamPolicy.bindings[0].members[0]" || found[0].Line != strings.Count(text, "\n") || found[0].Column != 15 {
		t.Errorf("%+v", found)
	}
	own := parse(t, withMapping("attribute.org", "assertion.aud")).Lint(policyWith(t, grant(userRole, "principalSet:"+testPool+"attribute.org/"+ci.SampleOrg)), testNow)
	if len(own) == 0 || own[0].ID != "G6" || own[0].Where != "bindings[0].members[0]" || own[0].Line != 0 {
		t.Errorf("%+v", own)
	}
	g3 := parse(t, withMapping("google.subject", "assertion.sub")).Lint(nil, testNow)
	if i := slices.IndexFunc(g3, func(f policy.Finding) bool { return f.ID == "G3" }); i < 0 || g3[i].Line != 3 || g3[i].Column != 23 {
		t.Errorf("%+v", g3)
	}
}

// What Write writes is clean, in every form and for every kind of job.
func TestSetupIsClean(t *testing.T) {
	for name, job := range shapes() {
		out := write(t, setup(job), "json")
		p, err := Parse(out.Text)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range p.Lint(nil, testNow) {
			t.Errorf("%s: %s %s", name, f.ID, f.Message)
		}
		p.iam = nil
		for _, f := range p.Lint(nil, testNow) {
			t.Errorf("%s, without the binding: %s %s", name, f.ID, f.Message)
		}
	}
}

// However an expression costs, lint ends.
func TestLintEnds(t *testing.T) {
	long := "[" + strings.Repeat("1,", 200) + "1]"
	dear := long + ".all(a, " + long + ".all(b, a + b > 0))"
	p := parse(t, map[string]any{
		"attributeCondition": projectIs + " && " + dear + " && assertion.sub.endsWith('/refs/heads/main') && " + dear,
		"attributeMapping":   map[string]string{"google.subject": "assertion.sub", "attribute.a": dear + " ? 'a' : 'b'"},
	})
	start := time.Now()
	findings := p.Lint(policyWith(t, grant(userRole, "principalSet:"+testPool+"*")), testNow)
	if spent := time.Since(start); spent > 30*time.Second {
		t.Errorf("it took %s", spent)
	}
	if !slices.ContainsFunc(findings, func(f policy.Finding) bool { return strings.Contains(f.Message, "not everything was tried") }) {
		t.Errorf("it does not say that it gave up: %+v", findings)
	}
}

func FuzzLint(f *testing.F) {
	for i, row := range lintRows() {
		if i%7 != 0 {
			continue // the fuzzer finds the rest, and every run of the tests takes the seeds
		}
		var policy []byte
		if row.bindings != nil {
			policy = marshal(f, map[string]any{"bindings": row.bindings})
		}
		f.Add(marshal(f, doc(row.changes)), policy)
	}
	f.Fuzz(func(t *testing.T, provider, iamPolicy []byte) {
		p, err := Parse(provider)
		if err != nil {
			return
		}
		iam, err := ParseIAMPolicy(iamPolicy)
		if err != nil {
			iam = nil
		}
		for _, finding := range p.Lint(iam, testNow) {
			if finding.Witness != nil && p.Check(Request{Claims: finding.Witness, IAM: iam, Now: testNow}).Verdict != policy.Allow {
				t.Fatalf("%s: the witness is refused", finding.ID)
			}
		}
	})
}
