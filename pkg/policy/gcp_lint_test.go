package policy

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/oidc"
	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// gcpLintRow is a provider, the policy of the account, and the findings: each
// an id, its severity, "witness" where it has one, and words of it.
type gcpLintRow struct {
	name     string
	changes  map[string]any
	bindings []map[string]any
	want     []string
}

const (
	gcpProjectIs = "assertion['oidc.circleci.com/project-id'] == '" + oidc.SampleProject + "'"
	gcpRefIs     = "'oidc.circleci.com/vcs-ref' in assertion && assertion['oidc.circleci.com/vcs-ref'] == 'refs/heads/main'"
	gcpNoSSH     = "assertion['oidc.circleci.com/ssh-rerun'] == false"
)

func gcpLintRows() []gcpLintRow {
	all := func(parts ...string) map[string]any {
		return gcpCondition(strings.Join(append(parts, gcpNoSSH), " && "))
	}
	ref := "assertion['oidc.circleci.com/vcs-ref']"
	guarded := "'oidc.circleci.com/vcs-ref' in assertion && "
	origin := "'oidc.circleci.com/vcs-origin' in assertion && assertion['oidc.circleci.com/vcs-origin']"
	set := "principalSet:" + gcpTestPool
	user := func(member string) []map[string]any { return []map[string]any{gcpGrant(gcpUserRole, member)} }
	issuer := func(uri string, audiences ...string) map[string]any {
		return map[string]any{"issuerUri": uri, "allowedAudiences": audiences}
	}
	maps := func(key, expression string) map[string]any {
		m := gcpMaps(key, expression)
		m["attributeCondition"] = gcpProjectIs + " && " + gcpNoSSH
		return m
	}
	join := func(a map[string]any, key string, v any) map[string]any { a[key] = v; return a }
	return []gcpLintRow{
		{"clean", all(gcpProjectIs), nil, nil},
		{"clean with a branch", all(gcpProjectIs, gcpRefIs), nil, nil},
		{"clean with a policy", all(gcpProjectIs), user(set + "attribute.project/" + oidc.SampleProject), nil},

		{"G1 no condition", gcpCondition(""), nil, []string{"G1 high witness /every project of the organisation gets in to the pool", "G7 info witness"}},
		{"G1 no condition, whole pool", gcpCondition(""), user(set + "*"), []string{"G1 critical witness", "G7 info witness"}},
		{"G1 no condition, everybody", gcpCondition(""), user("allUsers"), []string{"G1 critical witness", "G7 info witness"}},
		{"G1 custom role", gcpCondition(""), []map[string]any{gcpGrant("projects/my-project/roles/deployer", set+"*")}, []string{"G1 high /whether a binding lets it on is not in the documents"}},
		{"G1 not with a binding of the project", gcpCondition(""), user(set + "attribute.project/" + oidc.SampleProject), []string{"G7 info witness"}},
		{"G1 organisation alone", all("assertion['oidc.circleci.com/org-id'] == '" + oidc.SampleOrg + "'"), nil, []string{"G1 high witness"}},
		{"G1 subject's beginning", all("assertion.sub.startsWith('org/" + oidc.SampleOrg + "/')"), nil, []string{"G1 high witness"}},
		{"G1 branch alone", all(gcpRefIs), nil, []string{"G1 high witness"}},
		{"G1 not with the repository", all("'oidc.circleci.com/vcs-origin' in assertion && assertion['oidc.circleci.com/vcs-origin'] == 'github.com/my-org/app'"), nil, nil},
		{"G1 or", all("(" + gcpProjectIs + " || assertion.aud == '" + oidc.SampleOrg + "')"), nil, []string{"G1 high witness"}},

		{"G2", join(all(gcpProjectIs), "oidc", issuer(gcpTestIssuer)), nil, []string{"G2 high /the default is the organisation's id"}},

		{"G3", maps("google.subject", "assertion.sub"), nil, []string{"G3 high /no V2 token fits: google.subject would have 184 bytes"}},
		{"G3 both", maps("google.subject", "assertion.sub + assertion.aud"), nil, []string{"G3 high /no token fits"}},

		{"G4", maps("google.subject", `assertion.org_id + "/" + assertion.sub.extract('/user/{user_id}/')`), nil,
			[]string{"G4 high /there is no claim org_id", `G4 high /extract("/user/{user_id}/") is empty for every V1 token`}},
		{"G4 repaired by the public", maps("google.subject", `assertion.aud + '/' + assertion.sub.extract('/user/{user_id}/')`), nil, []string{"G4 high /all users become one"}},
		{"G4 in the condition", all("assertion.project_id == '" + oidc.SampleProject + "'"), nil, []string{"G4 high /it is assertion['oidc.circleci.com/project-id']"}},
		{"G4 not where it is found", maps("attribute.user", "assertion.sub.extract('/user/{user_id}')"), nil, nil},

		{"G5 dotted", all("assertion.oidc.circleci.com['project-id'] == 'x'"), nil, []string{"G5 high /is written assertion['oidc.circleci.com/project-id']"}},
		{"G5 without oidc.", all("assertion['circleci.com/project-id'] == 'x'"), nil, []string{"G5 high"}},
		{"G5 variable", all("assertion['${server_domain}/project-id'] == 'x'"), nil, []string{"G5 high /a variable was not expanded"}},
		{"G5 somebody else's", all(gcpProjectIs, "assertion.repository == 'x'"), nil, []string{"G5 high /CircleCI's tokens have no claim repository"}},
		{"G5 in the mapping", maps("attribute.repo", "assertion.repository"), nil, []string{"G5 high"}},
		{"G5 not where it is asked for", all(gcpProjectIs, "(!has(assertion.repository) || assertion.repository == 'x')"), nil, nil},

		{"G6 audience", gcpMaps("attribute.org_id", "assertion.aud"), user(set + "attribute.org_id/" + oidc.SampleOrg),
			[]string{"G6 critical witness /attribute.org_id goes by the audience, which every job chooses", "G7 info witness"}},
		{"G6 second audience", join(gcpMaps("attribute.aud", "assertion.aud"), "oidc", issuer(gcpTestIssuer, oidc.SampleOrg, "deploy")), user(set + "attribute.aud/deploy"),
			[]string{"G6 critical witness", "G7 info witness"}},
		{"G6 not behind a condition", join(all(gcpProjectIs), "attributeMapping", map[string]string{"google.subject": "'s'", "attribute.aud": "assertion.aud"}), user(set + "attribute.aud/" + oidc.SampleOrg), nil},

		{"G7 always true", gcpCondition(gcpProjectIs + " && assertion['oidc.circleci.com/ssh-rerun'] != 'true'"), nil, []string{"G7 critical witness /the comparison is true for every token"}},
		{"G7 always false", gcpCondition(gcpProjectIs + " && assertion['oidc.circleci.com/ssh-rerun'] == 'false'"), nil, []string{"G7 high /what asks for that admits nobody"}},
		{"G7 within", gcpCondition(gcpProjectIs + " && (assertion['oidc.circleci.com/ssh-rerun'] != 'true' && assertion.aud != 'x' || false)"), nil, []string{"G7 critical witness"}},
		{"G7 or", gcpCondition(gcpProjectIs + " || false"), nil, []string{"G7 info witness"}},
		{"G7 in a context", gcpCondition(gcpProjectIs + " && assertion['oidc.circleci.com/context-ids'] != null && '" + gcpOtherID + "' in assertion['oidc.circleci.com/context-ids']"), nil, []string{"G7 info witness"}},
		{"G7 of a user", gcpCondition("assertion.sub.startsWith('org/" + oidc.SampleOrg + "/project/" + oidc.SampleProject + "/user/" + gcpOtherID + "/')"), nil, []string{"G7 info witness"}},
		{"G7 not asked", gcpCondition(gcpProjectIs), nil, []string{"G7 info witness /nothing looks at ssh-rerun"}},
		{"G7 text of it", gcpCondition(gcpProjectIs + " && string(assertion['oidc.circleci.com/ssh-rerun']) == 'false'"), nil, nil},

		{"G8 endsWith on sub", all(gcpProjectIs, "assertion.sub.endsWith('/vcs-ref/refs/heads/main')"), nil, []string{`G8 critical witness /the branch "x/vcs-ref/refs/heads/main" gets in`}},
		{"G8 contains on sub", all(gcpProjectIs, "assertion.sub.contains('/vcs-ref/refs/heads/main')"), nil, []string{"G8 critical witness"}},
		{"G8 matches on sub", all(gcpProjectIs, "assertion.sub.matches('/vcs-ref/refs/heads/main$')"), nil, []string{"G8 critical witness"}},
		{"G8 swallow on sub", all("assertion.sub.matches('^org/" + oidc.SampleOrg + "/project/" + oidc.SampleProject + "/user/.*/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main$')"), nil,
			[]string{`G8 critical witness /the branch "x/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main" gets in`}},
		{"G8 not with a mask", all("assertion.sub.matches('^org/" + oidc.SampleOrg + "/project/" + oidc.SampleProject + "/user/[0-9a-f-]{36}/vcs-origin/github[.]com/my-org/app/vcs-ref/refs/heads/main$')"), nil, nil},
		{"G8 endsWith on ref", all(gcpProjectIs, guarded+ref+".endsWith('/main')"), nil, []string{"G8 critical witness"}},
		{"G8 contains on ref", all(gcpProjectIs, guarded+ref+".contains('release')"), nil, []string{"G8 critical witness"}},
		{"G8 matches on ref", all(gcpProjectIs, guarded+ref+".matches('refs/heads/(main|release)')"), nil, []string{"G8 critical witness"}},
		{"G8 alternatives", all(gcpProjectIs, guarded+ref+".matches('^refs/heads/main|refs/heads/release$')"), nil, []string{"G8 critical witness"}},
		{"G8 unescaped dot", all(gcpProjectIs, guarded+ref+".matches('^refs/heads/release-1.0$')"), nil, []string{`G8 critical witness /the branch "release-1x0" gets in`}},
		{"G8 any beginning", all(gcpProjectIs, guarded+ref+".matches('^.*/main$')"), nil, []string{"G8 critical witness"}},
		{"G8 not with all that it needs", all(gcpProjectIs, guarded+ref+".matches('^refs/heads/release-[0-9]+$')"), nil, nil},
		{"G8 not with a family", all(gcpProjectIs, guarded+ref+".matches('^refs/heads/release/.*')"), nil, nil},
		{"G8 not with a family's beginning", all(gcpProjectIs, guarded+ref+".startsWith('refs/heads/release/')"), nil, nil},
		{"G8 not with any branch", all(gcpProjectIs, guarded+ref+".startsWith('refs/heads/')"), nil, nil},
		{"G8 not beside a whole claim", all(gcpProjectIs, gcpRefIs, "assertion.sub.startsWith('org/')"), nil, nil},
		{"G8 beginning of a name", all(gcpProjectIs, guarded+ref+".startsWith('refs/heads/main')"), nil, []string{`G8 medium witness /the branch "main-x" gets in`}},
		{"G8 project in sub", all("assertion.sub.contains('/project/" + oidc.SampleProject + "/')"), nil, []string{"G8 critical witness /another project's branch"}},
		{"G8 not at the beginning", all("assertion.sub.startsWith('org/" + oidc.SampleOrg + "/project/" + oidc.SampleProject + "/')"), nil, nil},
		{"G8 origin", all(gcpProjectIs, origin+".contains('my-org/app')"), nil, []string{"G8 critical witness /a pull request from gitlab.com/stranger/my-org/app gets in"}},
		{"G8 origin's end", all(gcpProjectIs, origin+".endsWith('/app')"), nil, []string{"G8 critical witness /a pull request from github.com/stranger/app gets in"}},
		{"G8 origin's beginning", all(gcpProjectIs, origin+".startsWith('github.com/my-org')"), nil, []string{"G8 medium witness /a pull request from github.com/my-org-x/app gets in"}},
		{"G8 not with an owner", all(gcpProjectIs, origin+".startsWith('github.com/my-org/')"), nil, nil},
		{"G8 origin in sub", all("assertion.sub.startsWith('org/" + oidc.SampleOrg + "/project/" + oidc.SampleProject + "/user/" + oidc.SampleUser + "/vcs-origin/github.com/my-org/app')"), nil,
			[]string{"G8 medium witness /a pull request from github.com/my-org/app-x gets in"}},
		{"G8 in the mapping", join(maps("attribute.main", "assertion.sub.endsWith('/refs/heads/main') ? 'yes' : 'no'"), "attributeCondition", "attribute.main == 'yes' && "+gcpProjectIs+" && "+gcpNoSSH), nil, []string{"G8 critical witness"}},
		{"G8 through an attribute", join(maps("attribute.ref", guardedRef()), "attributeCondition", "attribute.ref.endsWith('/main') && "+gcpProjectIs+" && "+gcpNoSSH), nil, []string{"G8 critical witness"}},
		{"G8 by a binding", maps("attribute.main", "assertion.sub.endsWith('/refs/heads/main') ? 'yes' : 'no'"), user(set + "attribute.main/yes"), []string{"G8 critical witness"}},
		{"G8 refused branches", all(gcpProjectIs, "!("+guardedRef()+").contains('pull')", "assertion.sub.endsWith('/refs/heads/main')"), nil, []string{"G8 critical witness /endsWith"}},
		{"G8 names what is weak", all("assertion.sub.startsWith('org/" + oidc.SampleOrg + "/project/" + oidc.SampleProject + "/user/') && assertion.sub.endsWith('/refs/heads/main')"), nil, []string{"G8 critical witness /endsWith"}},
		{"G8 not for what needs no craft", all("assertion.sub.contains('org/" + oidc.SampleOrg + "')"), nil, []string{"G1 high witness"}},
		{"G8 not by what git refuses", all(gcpProjectIs, guarded+ref+".contains('a..b')"), nil, nil},
		{"G8 not with any of a family", all(gcpProjectIs, guarded+ref+".matches('^refs/heads/release/.+$')"), nil, nil},

		{"G9 branch", all(gcpProjectIs, ref+" == 'refs/heads/main'"), nil, []string{"G9 medium /it is refused by an error"}},
		{"G9 or", all(gcpProjectIs, "("+ref+" == 'refs/heads/main' || assertion.aud == '"+oidc.SampleOrg+"')"), nil, []string{"G9 medium witness /swallows the error: it gets in"}},
		{"G9 origin", all(gcpProjectIs, "assertion['oidc.circleci.com/vcs-origin'] == 'github.com/my-org/app'"), nil, []string{"G9 medium /vcs-origin"}},
		{"G9 mapping", maps("attribute.ref", "assertion['oidc.circleci.com/vcs-ref']"), nil, []string{"G9 medium /an attribute without a value"}},
		{"G9 not in another order", all(gcpProjectIs, ref+" == 'refs/heads/main'", "'oidc.circleci.com/vcs-ref' in assertion"), nil, nil},

		{"G10", all(gcpProjectIs, "'"+oidc.SampleContext+"' in assertion['oidc.circleci.com/context-ids']"), nil, []string{"G10 medium /context-ids may be null"}},
		{"G10 not with a guard", all(gcpProjectIs, "assertion['oidc.circleci.com/context-ids'] != null && '"+oidc.SampleContext+"' in assertion['oidc.circleci.com/context-ids']"), nil, nil},

		{"G11", join(all("assertion.aud == 'google'"), "oidc", issuer(oidc.RootIssuer, "google")), nil, []string{"G11 critical witness /whoever has an account there gets in"}},
		{"G11 with a policy", join(all("true"), "oidc", issuer(oidc.RootIssuer, "google")), user(set + "*"), []string{"G11 critical witness"}},
		{"G11 not with the organisation", join(all("assertion['oidc.circleci.com/org-id'] == '"+oidc.SampleOrg+"'", gcpProjectIs), "oidc", issuer(oidc.RootIssuer, "google")), nil, nil},
		{"G11 organisation, any project", join(all("assertion['oidc.circleci.com/org-id'] == '"+oidc.SampleOrg+"'"), "oidc", issuer(oidc.RootIssuer, "google")), nil, []string{"G1 high witness"}},

		{"G12", join(gcpMaps("attribute.vcs_ref", guardedRef()), "attributeCondition", gcpNoSSH), user(set + "attribute.vcs_ref/refs/heads/main"),
			[]string{"G1 critical witness", "G12 medium witness /goes by the branch"}},
		{"G12 not behind a condition", join(gcpMaps("attribute.vcs_ref", guardedRef()), "attributeCondition", gcpProjectIs+" && "+gcpNoSSH), user(set + "attribute.vcs_ref/refs/heads/main"), nil},
		{"G12 not with the project", join(gcpMaps("attribute.job", "assertion['oidc.circleci.com/project-id'] + ':' + ("+guardedRef()+")"), "attributeCondition", gcpNoSSH), user(set + "attribute.job/" + oidc.SampleProject + ":refs/heads/main"), nil},
		{"G12 two attributes", all(gcpProjectIs), user(set + "attribute.project/" + oidc.SampleProject + "/attribute.ref/x"), []string{"G12 medium /the rest is taken for its value"}},

		{"G13 key", maps("attribute.Ref", "'x'"), nil, []string{"G13 medium /a-z, 0-9 and _"}},
		{"G13 condition", all(gcpProjectIs, "'"+strings.Repeat("x", 4097)+"' != ''"), nil, []string{"G13 medium /more than 4096"}},
		{"G13 no subject", join(all(gcpProjectIs), "attributeMapping", map[string]string{"attribute.a": "'a'"}), nil, []string{"G13 medium /there is no mapping for google.subject"}},
		{"G13 8 KB", maps("attribute.big", "["+strings.Repeat("assertion.sub, ", 50)+"assertion.sub].join('')"), nil, []string{"G13 medium /more than the 8192"}},
		{"G13 too expensive", all(gcpProjectIs, "[1,2,3,4,5,6,7,8,9].all(a, [1,2,3,4,5,6,7,8,9].all(b, [1,2,3,4,5,6,7,8,9].all(c, [1,2,3,4,5,6,7,8,9].all(d, [1,2,3,4,5,6,7,8,9].all(e, [1,2,3,4,5,6,7,8,9].all(f, a+b+c+d+e+f > 0))))))"), nil, []string{"G13 medium /not everything was tried"}},

		{"G14 name", join(all(gcpProjectIs), "name", strings.Replace(gcpTestName, "123456789012", "my-project", 1)), nil, []string{"G14 medium /the project's id stands where its number belongs"}},
		{"G14 exponent", join(all(gcpProjectIs), "name", strings.Replace(gcpTestName, "123456789012", "1.23457e+11", 1)), nil, []string{"G14 medium /a floating-point number"}},
		{"G14 member", all(gcpProjectIs), user(strings.Replace(set, "123456789012", "my-project", 1) + "*"), []string{"G14 medium", "G15 info"}},

		{"G15 nobody", all(gcpProjectIs), user("user:a@example.com"), []string{"G15 info /no binding lets an identity of this pool"}},
		{"G15 wrong role", all(gcpProjectIs), []map[string]any{gcpGrant("roles/iam.serviceAccountUser", set+"*")}, []string{"G15 info"}},
		{"G15 unmapped", all(gcpProjectIs), user(set + "attribute.repo/x"), []string{"G15 info /the mapping gives no attribute.repo"}},

		{"G16 slash", join(all(gcpProjectIs), "oidc", issuer(gcpTestIssuer+"/", oidc.SampleOrg)), nil, []string{"G16 high /nobody gets in"}},
		{"G16 name", join(all(gcpProjectIs), "oidc", issuer("https://oidc.circleci.com/org/my-org", oidc.SampleOrg)), nil, []string{"G16 high"}},
		{"G16 http", join(all(gcpProjectIs), "oidc", issuer("http://oidc.circleci.com/org/"+oidc.SampleOrg, oidc.SampleOrg)), nil, []string{"G16 high"}},
		{"G16 not of a server", join(all(gcpProjectIs), "oidc", issuer("https://circleci.example.com/org/"+oidc.SampleOrg, oidc.SampleOrg)), nil, nil},

		{"G18", join(gcpCondition(""), "disabled", true), nil, []string{"G18 info /no token could be tried"}},
		{"G17 list", maps("attribute.contexts", "assertion['oidc.circleci.com/context-ids']"), nil, []string{"G17 medium /attribute.contexts is a list"}},
		{"G17 boolean", maps("attribute.ssh", "assertion['oidc.circleci.com/ssh-rerun']"), nil, []string{"G17 medium"}},
	}
}

func guardedRef() string {
	return "'oidc.circleci.com/vcs-ref' in assertion ? assertion['oidc.circleci.com/vcs-ref'] : ''"
}

func TestGCPLint(t *testing.T) {
	for _, row := range gcpLintRows() {
		t.Run(row.name, func(t *testing.T) {
			p := gcpParse(t, row.changes)
			var iam *IAMPolicy
			if row.bindings != nil {
				iam = gcpPolicy(t, row.bindings...)
			}
			findings := p.Lint(iam, gcpTestNow)
			for i, f := range findings {
				gcpProved(t, p, iam, f)
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

// gcpProved holds for every finding: a witness is a whole token that gets in.
func gcpProved(t *testing.T, p *GCPProvider, iam *IAMPolicy, f Finding) {
	t.Helper()
	if f.Fix == "" || f.Where == "" || f.Message == "" || !slices.Contains(Severities(), f.Severity) {
		t.Errorf("%+v is not complete", f)
	}
	if f.Severity == Critical && f.Witness == nil {
		t.Errorf("%s: critical without a witness", f.ID)
	}
	if f.Witness == nil {
		return
	}
	if j := p.Check(GCPRequest{Claims: f.Witness, IAM: iam, Now: gcpTestNow}); j.Verdict != Allow {
		t.Errorf("%s: the witness is refused: %s", f.ID, j.Reason)
	}
	b, err := json.Marshal(f.Witness)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseClaims(b)
	if err != nil || p.Check(GCPRequest{Claims: c, IAM: iam, Now: gcpTestNow}).Verdict != Allow {
		t.Errorf("%s: the witness cannot be given to check: %v", f.ID, err)
	}
	for _, name := range []string{"iss", "sub", "aud", "iat", "exp", claimOrg, claimProject, claimSSHRerun, claimContexts} {
		if _, ok := f.Witness[name]; !ok {
			t.Errorf("%s: the witness has no %s", f.ID, name)
		}
	}
	if ref, ok := f.Witness.text(claimRef); ok {
		if err := exec.Command(testenv.Program(t, "git"), "check-ref-format", ref).Run(); err != nil {
			t.Errorf("%s: git refuses %s: %v", f.ID, ref, err)
		}
	}
}

// What a finding says to write instead is clean, keeps its witness out, and
// lets those in who came in rightly.
func TestGCPLintFixes(t *testing.T) {
	for _, row := range gcpLintRows() {
		t.Run(row.name, func(t *testing.T) {
			p := gcpParse(t, row.changes)
			var iam *IAMPolicy
			if row.bindings != nil {
				iam = gcpPolicy(t, row.bindings...)
			}
			findings := p.Lint(iam, gcpTestNow)
			doc := gcpDoc(row.changes)
			mapping := map[string]any{}
			b, err := json.Marshal(doc["attributeMapping"])
			if err != nil || json.Unmarshal(b, &mapping) != nil {
				t.Fatal(err)
			}
			fixed := map[string]bool{}
			for _, f := range findings {
				fix := strings.ReplaceAll(f.Fix, "UUID of the project", oidc.SampleProject)
				key, isMapping := strings.CutPrefix(f.Where, `attributeMapping["`)
				switch {
				case f.ID == "G13" || f.ID == "G14" || f.ID == "G15" || f.ID == "G18" || strings.Contains(f.Where, "bindings"):
					return // prose
				case f.Where == "attributeCondition":
					doc["attributeCondition"] = fix
				case isMapping:
					mapping[strings.TrimSuffix(key, `"]`)] = fix
				case f.Where == "oidc.issuerUri":
					doc["oidc"] = map[string]any{"issuerUri": strings.ReplaceAll(fix, "UUID of the organisation", oidc.SampleOrg), "allowedAudiences": p.Audiences()}
				case f.Where == "oidc.allowedAudiences":
					doc["oidc"] = map[string]any{"issuerUri": p.Issuer(), "allowedAudiences": json.RawMessage(fix)}
				default:
					t.Fatalf("no test for a fix at %s", f.Where)
				}
				fixed[f.ID] = true
			}
			doc["attributeMapping"] = mapping
			again, err := ParseGCP(gcpMarshal(t, doc))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range again.Lint(iam, gcpTestNow) {
				if fixed[f.ID] && f.Fix != "leave it out" && !strings.Contains(f.Message, "no claim repository") && f.ID != "G17" {
					t.Errorf("still %s: %s\n%s", f.ID, f.Message, again.condition.text)
				}
			}
			for _, f := range findings {
				if f.Witness == nil {
					continue
				}
				if j := again.Check(GCPRequest{Claims: f.Witness, IAM: iam, Now: gcpTestNow}); j.Verdict == Allow {
					t.Errorf("%s: the witness still gets in by %s", f.ID, again.condition.text)
				}
			}
			own := gcpV2(oidc.Variant{Audience: again.Audiences()[0]})
			was := p.Check(GCPRequest{Claims: own, IAM: iam, Now: gcpTestNow})
			if is := again.Check(GCPRequest{Claims: own, IAM: iam, Now: gcpTestNow}); was.Verdict == Allow && is.Verdict != Allow {
				t.Errorf("the job itself is refused: %s", is.Reason)
			}
		})
	}
}

// A comment in the condition does not swallow what the fix adds.
func TestGCPLintFixComment(t *testing.T) {
	p := gcpParse(t, gcpCondition(gcpProjectIs+" // https: ours\n && assertion.aud != 'x' // why\n"))
	found := p.Lint(nil, gcpTestNow)
	want := `assertion["oidc.circleci.com/project-id"] == "` + oidc.SampleProject + `" && assertion.aud != "x" && ` + gcpNoRerun("'")
	if len(found) != 1 || found[0].Fix != want {
		t.Errorf("%+v, want %s", found, want)
	}
}

// The places of findings are the document's; those in a policy of its own are
// not, and those in a policy beside the provider are.
func TestGCPLintPlaces(t *testing.T) {
	text := "{\n \"provider\": " + string(gcpMarshal(t, gcpDoc(gcpMaps("attribute.org", "assertion.aud")))) +
		",\n \"iamPolicy\": {\"bindings\": [{\"role\": \"roles/iam.workloadIdentityUser\",\n  \"members\": [\"principalSet:" + gcpTestPool + "attribute.org/" + oidc.SampleOrg + "\"]}]}\n}"
	p, err := ParseGCP([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	found := p.Lint(nil, gcpTestNow)
	if len(found) == 0 || found[0].ID != "G6" || found[0].Where != "iamPolicy.bindings[0].members[0]" || found[0].Line != strings.Count(text, "\n") || found[0].Column != 15 {
		t.Errorf("%+v", found)
	}
	own := gcpParse(t, gcpMaps("attribute.org", "assertion.aud")).Lint(gcpPolicy(t, gcpGrant(gcpUserRole, "principalSet:"+gcpTestPool+"attribute.org/"+oidc.SampleOrg)), gcpTestNow)
	if len(own) == 0 || own[0].ID != "G6" || own[0].Where != "bindings[0].members[0]" || own[0].Line != 0 {
		t.Errorf("%+v", own)
	}
	g3 := gcpParse(t, gcpMaps("google.subject", "assertion.sub")).Lint(nil, gcpTestNow)
	if i := slices.IndexFunc(g3, func(f Finding) bool { return f.ID == "G3" }); i < 0 || g3[i].Line != 3 || g3[i].Column != 23 {
		t.Errorf("%+v", g3)
	}
}

// What Write writes is clean, in every form and for every kind of job.
func TestGCPSetupIsClean(t *testing.T) {
	for name, job := range gcpShapes() {
		out := gcpWrite(t, gcpSetup(job), "json")
		p, err := ParseGCP(out.Text)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range p.Lint(nil, gcpTestNow) {
			t.Errorf("%s: %s %s", name, f.ID, f.Message)
		}
		p.iam = nil
		for _, f := range p.Lint(nil, gcpTestNow) {
			t.Errorf("%s, without the binding: %s %s", name, f.ID, f.Message)
		}
	}
}

// However an expression costs, lint ends.
func TestGCPLintEnds(t *testing.T) {
	long := "[" + strings.Repeat("1,", 200) + "1]"
	dear := long + ".all(a, " + long + ".all(b, a + b > 0))"
	p := gcpParse(t, map[string]any{
		"attributeCondition": gcpProjectIs + " && " + dear + " && assertion.sub.endsWith('/refs/heads/main') && " + dear,
		"attributeMapping":   map[string]string{"google.subject": "assertion.sub", "attribute.a": dear + " ? 'a' : 'b'"},
	})
	start := time.Now()
	findings := p.Lint(gcpPolicy(t, gcpGrant(gcpUserRole, "principalSet:"+gcpTestPool+"*")), gcpTestNow)
	if spent := time.Since(start); spent > 30*time.Second {
		t.Errorf("it took %s", spent)
	}
	if !slices.ContainsFunc(findings, func(f Finding) bool { return strings.Contains(f.Message, "not everything was tried") }) {
		t.Errorf("it does not say that it gave up: %+v", findings)
	}
}

func FuzzGCPLint(f *testing.F) {
	for i, row := range gcpLintRows() {
		if i%7 != 0 {
			continue // the fuzzer finds the rest, and every run of the tests takes the seeds
		}
		var policy []byte
		if row.bindings != nil {
			policy = gcpMarshal(f, map[string]any{"bindings": row.bindings})
		}
		f.Add(gcpMarshal(f, gcpDoc(row.changes)), policy)
	}
	f.Fuzz(func(t *testing.T, provider, policy []byte) {
		p, err := ParseGCP(provider)
		if err != nil {
			return
		}
		iam, err := ParseIAMPolicy(policy)
		if err != nil {
			iam = nil
		}
		for _, finding := range p.Lint(iam, gcpTestNow) {
			if finding.Witness != nil && p.Check(GCPRequest{Claims: finding.Witness, IAM: iam, Now: gcpTestNow}).Verdict != Allow {
				t.Fatalf("%s: the witness is refused", finding.ID)
			}
		}
	})
}
