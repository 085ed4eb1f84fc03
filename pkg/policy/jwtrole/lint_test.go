package jwtrole

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

const (
	lintOrg     = "11111111-2222-4333-8444-555566667777"
	lintProject = "99999999-8888-4777-8666-555544443333"
	lintIssuer  = "https://oidc.circleci.com/org/" + lintOrg
	// lintSubject is what a V2 subject of the project begins with.
	lintSubject = "org/" + lintOrg + "/project/" + lintProject
)

// lintRole writes a clean role, of which members are changed; empty takes one
// out.
func lintRole(members map[string]string) string {
	all := map[string]string{
		"role_type": `"jwt"`, "user_claim": `"oidc.circleci.com/project-id"`, "bound_audiences": `["` + lintOrg + `"]`,
		"token_ttl": "900", "token_max_ttl": "3600", "token_policies": `["ci"]`,
		"bound_claims": lintClaims(""),
	}
	maps.Copy(all, members)
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if all[name] != "" {
			lines = append(lines, `  "`+name+`": `+all[name])
		}
	}
	return "{\n" + strings.Join(lines, ",\n") + "\n}"
}

// lintClaims writes bound claims: the clean ones, and more.
func lintClaims(more string) string {
	return `{"oidc.circleci.com/project-id": "` + lintProject + `", "oidc.circleci.com/ssh-rerun": false` + more + `}`
}

func lintConfig(text string) string {
	if text == "" {
		return `{"oidc_discovery_url": "` + lintIssuer + `", "bound_issuer": "` + lintIssuer + `"}`
	}
	return text
}

type lintCase struct {
	name string
	role map[string]string
	cfg  string // empty: a clean one; "none": none
	want string // ids with severities, sorted
	// of the first finding
	where   string
	at      string // line:column
	message string
	witness map[string]any
	last    map[string]any // of the last finding's witness
}

func lintCases() []lintCase {
	type members = map[string]string
	bound := func(json string) members { return members{"bound_claims": json} }
	glob := func(json string) members { return members{"bound_claims": json, "bound_claims_type": `"glob"`} }
	globbed := func(claim, pattern string) members {
		return glob(`{"oidc.circleci.com/project-id": "` + lintProject + `", "` + claim + `": "` + pattern + `"}`)
	}
	sub := func(pattern string) members { return glob(`{"sub": "` + pattern + `"}`) }
	const rerun = " V9:medium"
	main := lintSubject + "/user/*/vcs-origin/github.com/acme/widget/vcs-ref/refs/heads/main"
	return []lintCase{
		{name: "clean", want: ""},
		{name: "clean without a configuration", cfg: "none", want: ""},
		{name: "clean with a branch", role: bound(lintClaims(`, "oidc.circleci.com/vcs-origin": "github.com/acme/widget", "oidc.circleci.com/vcs-ref": ["refs/heads/main", "refs/tags/v1"]`)), want: ""},
		{name: "clean with a context", role: bound(lintClaims(`, "oidc.circleci.com/context-ids": ["0f0f0f0f-1212-4343-9494-565656565656"]`)), want: ""},
		{name: "clean at a server of one's own", cfg: `{"oidc_discovery_url": "https://ci.example.com/org/` + lintOrg + `", "bound_issuer": "https://ci.example.com/org/` + lintOrg + `"}`, want: ""},
		{name: "clean with a pointer", role: bound(`{"/oidc.circleci.com~1project-id": "` + lintProject + `", "oidc.circleci.com/ssh-rerun": [false]}`), want: ""},
		{name: "clean with addresses", role: members{"token_bound_cidrs": `"192.0.2.0/24"`}, want: ""},

		{name: "no audience", role: members{"bound_audiences": ""}, want: "V1:high", where: "bound_audiences", at: "1:1", message: "Vault refuses every token that has an audience"},
		{name: "an empty list of audiences", role: members{"bound_audiences": "[]"}, want: "V1:high", where: "bound_audiences", at: "2:3"},

		{name: "a branch in the subject", role: sub(main), want: "V2:critical" + rerun, where: `bound_claims["sub"]`, at: "3:20", message: "the * swallows what follows it",
			witness: map[string]any{policy.ClaimRef: "refs/heads/x/vcs-origin/github.com/acme/widget/vcs-ref/refs/heads/main", policy.ClaimProject: lintProject}},
		{name: "a repository in the subject", role: sub(lintSubject + "/user/*/vcs-origin/github.com/acme/widget/*"), want: "V2:critical" + rerun,
			witness: map[string]any{policy.ClaimOrigin: "github.com/stranger/app", policy.ClaimRef: "refs/heads/x/vcs-origin/github.com/acme/widget/x"}},
		{name: "the end of the subject", role: sub(lintSubject + "*/refs/heads/main"), want: "V2:critical" + rerun, witness: map[string]any{policy.ClaimRef: "refs/heads/x/refs/heads/main"}},
		{name: "any project in the subject", role: sub("org/" + lintOrg + "/project/*/user/*/vcs-origin/github.com/acme/widget/vcs-ref/refs/heads/main"), want: "V7:critical V2:critical" + rerun},
		{name: "the project in the subject", role: sub(lintSubject + "/*"), want: "V9:medium", where: "bound_claims"},
		{name: "the organisation in the subject", role: sub("org/" + lintOrg + "/*"), want: "V7:critical" + rerun, where: "bound_claims"},
		{name: "a subject of stars", role: sub("*"), want: "V7:critical" + rerun},
		{name: "a subject that is harmless, since the claims are bound", role: glob(`{"sub": "` + main + `", "oidc.circleci.com/vcs-origin": "github.com/acme/widget", "oidc.circleci.com/vcs-ref": "refs/heads/main"}`), want: "V9:medium"},
		{name: "a ref's end", role: globbed(policy.ClaimRef, "*/main"), want: "V2:critical V12:high" + rerun, where: `bound_claims["oidc.circleci.com/vcs-ref"]`, message: `whoever can make "refs/heads/x/main" gets in`},
		{name: "a ref's middle", role: globbed(policy.ClaimRef, "refs/heads/*/deploy"), want: "V2:critical V12:high" + rerun, witness: map[string]any{policy.ClaimRef: "refs/heads/x/deploy"}},
		{name: "any branch", role: globbed(policy.ClaimRef, "refs/heads/*"), want: "V12:high" + rerun},
		{name: "a ref's beginning", role: glob(`{"oidc.circleci.com/project-id": "` + lintProject + `", "oidc.circleci.com/vcs-origin": "github.com/acme/widget", "oidc.circleci.com/vcs-ref": "refs/heads/release*"}`), want: "V9:medium V13:medium", last: map[string]any{policy.ClaimRef: "refs/heads/releaseanything"}},
		{name: "any tag", role: glob(`{"oidc.circleci.com/project-id": "` + lintProject + `", "oidc.circleci.com/vcs-origin": "github.com/acme/widget", "oidc.circleci.com/vcs-ref": "refs/tags/*"}`), want: "V9:medium V13:medium", last: map[string]any{policy.ClaimRef: "refs/tags/anything"}},
		{name: "an owner's repositories", role: globbed(policy.ClaimOrigin, "github.com/acme/*"), want: "V9:medium V13:medium", last: map[string]any{policy.ClaimOrigin: "github.com/acme/anything"}},
		{name: "an owner's name's beginning", role: globbed(policy.ClaimOrigin, "github.com/acme*"), want: "V2:critical" + rerun, witness: map[string]any{policy.ClaimOrigin: "github.com/acme-stranger/app"}},
		{name: "any host", role: globbed(policy.ClaimOrigin, "*/acme/widget"), want: "V2:critical" + rerun, witness: map[string]any{policy.ClaimOrigin: "gitlab.com/stranger/acme/widget"}},
		{name: "an owner's name's end", role: globbed(policy.ClaimOrigin, "*acme/widget"), want: "V2:critical" + rerun, witness: map[string]any{policy.ClaimOrigin: "github.com/stranger-acme/widget"}},
		{name: "any owner", role: globbed(policy.ClaimOrigin, "github.com/*/widget"), want: "V2:critical" + rerun, witness: map[string]any{policy.ClaimOrigin: "github.com/stranger/widget"}},
		{name: "any repository of a host, with a branch", role: glob(`{"oidc.circleci.com/project-id": "` + lintProject + `", "oidc.circleci.com/vcs-origin": "github.com/*", "oidc.circleci.com/vcs-ref": "refs/heads/main"}`), want: "V2:critical" + rerun, witness: map[string]any{policy.ClaimOrigin: "github.com/stranger/app", policy.ClaimRef: "refs/heads/main"}},
		{name: "a branch that git does not take", role: sub(lintSubject + "/user/*/vcs-ref/refs/heads/a..b"), want: "V11:high"},
		{name: "a branch of any repository", role: glob(`{"oidc.circleci.com/project-id": "` + lintProject + `", "oidc.circleci.com/vcs-origin": "*", "oidc.circleci.com/vcs-ref": "refs/heads/main"}`), want: "V12:high" + rerun},
		{name: "any project by a star", role: glob(`{"oidc.circleci.com/project-id": "*"}`), want: "V7:critical" + rerun},

		{name: "an identity for each user", role: members{"user_claim": `"sub"`}, want: "V3:medium", where: "user_claim", at: "8:3", message: "every user has a subject of his own"},
		{name: "an identity for each run", role: members{"user_claim": `"oidc.circleci.com/job-id"`}, want: "V3:medium", message: "every job that ever ran is another user"},

		{name: "the shared issuer", role: bound(`{"oidc.circleci.com/ssh-rerun": false}`), cfg: `{"oidc_discovery_url": "https://oidc.circleci.com", "bound_issuer": "https://oidc.circleci.com"}`,
			want: "V4:critical V7:critical", where: "config.bound_issuer", at: "1:53", witness: map[string]any{"iss": "https://oidc.circleci.com", policy.ClaimOrg: "00000000-1111-4222-8333-444455556666"}},
		{name: "the shared issuer with a project", cfg: `{"oidc_discovery_url": "https://oidc.circleci.com", "bound_issuer": "https://oidc.circleci.com"}`, want: ""},
		{name: "the shared issuer with an organisation", role: bound(`{"oidc.circleci.com/org-id": "` + lintOrg + `", "oidc.circleci.com/ssh-rerun": false}`), cfg: `{"oidc_discovery_url": "https://oidc.circleci.com", "bound_issuer": "https://oidc.circleci.com"}`, want: "V7:critical"},

		{name: "text for false", role: bound(`{"oidc.circleci.com/project-id": "` + lintProject + `", "oidc.circleci.com/ssh-rerun": "false"}`), want: "V5:high", where: `bound_claims["oidc.circleci.com/ssh-rerun"]`, at: "3:92", message: "nobody gets in: the claim is true or false, and text is neither"},
		{name: "false among patterns", role: glob(lintClaims("")), want: "V5:high", message: "among patterns a boolean is an error"},

		{name: "no issuer", role: bound(`{"oidc.circleci.com/ssh-rerun": false}`), cfg: `{"oidc_discovery_url": "` + lintIssuer + `"}`, want: "V6:critical V7:critical", where: "config.bound_issuer", at: "1:1",
			message: "any customer of CircleCI gets in", witness: map[string]any{"iss": ci.OrgIssuer("00000000-1111-4222-8333-444455556666")}},
		{name: "no issuer, with a project", cfg: `{"jwks_url": "` + lintIssuer + `/.well-known/jwks-pub.json"}`, want: "V6:medium", message: "this role keeps them out"},
		{name: "pairs have no issuer", cfg: `{"jwks_pairs": [{"jwks_url": "x"}]}`, want: "V6:medium"},
		{name: "keys of one's own", cfg: `{"jwt_validation_pubkeys": ["x"]}`, want: "V6:medium"},

		{name: "aud alone", role: members{"bound_claims": ""}, want: "V7:critical V9:medium", at: "1:1", message: "any project of the organisation gets in", witness: map[string]any{policy.ClaimProject: "00000000-1111-4222-8333-444455556666", policy.ClaimOrg: lintOrg, "aud": lintOrg, "iss": lintIssuer}},
		{name: "aud alone without a configuration", role: members{"bound_claims": ""}, cfg: "none", want: "V7:critical V9:medium"},
		{name: "an audience of one's own alone", role: bound(`{"oidc.circleci.com/ssh-rerun": false}`), want: "V7:critical"},
		{name: "a context alone", role: bound(`{"oidc.circleci.com/context-ids": "0f0f0f0f-1212-4343-9494-565656565657", "oidc.circleci.com/ssh-rerun": false}`), want: "V7:high", message: "that may use the context", witness: map[string]any{policy.ClaimContexts: []any{"0f0f0f0f-1212-4343-9494-565656565657"}}},
		{name: "a repository alone", role: bound(`{"oidc.circleci.com/vcs-origin": "github.com/acme/widget", "oidc.circleci.com/ssh-rerun": false}`), want: "V7:critical", witness: map[string]any{policy.ClaimOrigin: "github.com/acme/widget"}},

		{name: "oidc by default", role: members{"role_type": ""}, want: "V8:high", at: "1:1"},
		{name: "oidc", role: members{"role_type": `"oidc"`, "bound_audiences": ""}, want: "V8:high", at: "3:3"},

		{name: "reruns", role: bound(`{"oidc.circleci.com/project-id": "` + lintProject + `"}`), want: "V9:medium", witness: map[string]any{policy.ClaimSSHRerun: true}},
		{name: "reruns alone", role: bound(`{"oidc.circleci.com/project-id": "` + lintProject + `", "oidc.circleci.com/ssh-rerun": true}`), want: "V9:medium"},

		{name: "no lifetime", role: members{"token_ttl": "", "token_max_ttl": ""}, want: "V10:medium", where: "token_ttl", message: "without token_ttl a token lives for 768 hours"},
		{name: "a lifetime of the most alone", role: members{"token_ttl": ""}, want: ""},
		{name: "long", role: members{"token_ttl": `"72h"`, "token_max_ttl": ""}, want: "V10:medium", at: "6:3", message: "a token lives for 72h0m0s"},
		{name: "renewed for long", role: members{"token_max_ttl": `"72h"`}, want: "V10:medium", where: "token_max_ttl"},
		{name: "periodic", role: members{"token_period": "600", "token_max_ttl": ""}, want: "V10:medium", where: "token_period"},

		{name: "a slug", role: bound(`{"oidc.circleci.com/project-id": "gh/acme/widget", "oidc.circleci.com/ssh-rerun": false}`), want: "V11:high", where: `bound_claims["oidc.circleci.com/project-id"]`, message: "the claim is a UUID"},
		{name: "a UUID in upper case", role: bound(`{"oidc.circleci.com/project-id": "` + strings.ToUpper("abcdefab-8888-4777-8666-555544443333") + `", "oidc.circleci.com/ssh-rerun": false}`), want: "V11:high"},
		{name: "https", role: bound(lintClaims(`, "oidc.circleci.com/vcs-origin": "https://github.com/acme/widget"`)), want: "V11:high"},
		{name: ".git", role: bound(lintClaims(`, "oidc.circleci.com/vcs-origin": "github.com/acme/widget.git"`)), want: "V11:high"},
		{name: "a short ref", role: bound(lintClaims(`, "oidc.circleci.com/vcs-origin": "github.com/acme/widget", "oidc.circleci.com/vcs-ref": "main"`)), want: "V11:high", message: `write "refs/heads/main"`},
		{name: "a star as text", role: bound(lintClaims(`, "oidc.circleci.com/vcs-ref": "refs/heads/*"`)), want: "V11:high", message: `* is a wildcard with "bound_claims_type": "glob" alone`},
		{name: "a claim that nobody has", role: bound(lintClaims(`, "project_id": "x"`)), want: "V11:high", message: `the claim is called "oidc.circleci.com/project-id"`},
		{name: "a pointer not escaped", role: bound(`{"/oidc.circleci.com/project-id": "` + lintProject + `", "oidc.circleci.com/ssh-rerun": false}`), want: "V11:high"},
		{name: "a user claim that nobody has", role: members{"user_claim": `"email"`}, want: "V11:high", where: "user_claim"},
		{name: "a mapping of a list", role: members{"claim_mappings": `{"oidc.circleci.com/context-ids": "c", "oidc.circleci.com/vcs-ref": "r"}`}, want: "V11:high", where: `claim_mappings["oidc.circleci.com/context-ids"]`, at: "4:22"},
		{name: "groups", role: members{"groups_claim": `"groups"`}, want: "V11:high", where: "groups_claim"},
		{name: "root", role: members{"token_policies": `["ci", "root"]`}, want: "V11:high", where: "token_policies"},
		{name: "another organisation's id", role: bound(`{"oidc.circleci.com/project-id": "` + lintProject + `", "oidc.circleci.com/org-id": "` + lintProject + `", "oidc.circleci.com/ssh-rerun": false}`), want: "V11:high", where: `bound_claims["oidc.circleci.com/org-id"]`},
		{name: "a slash behind the issuer", cfg: `{"oidc_discovery_url": "` + lintIssuer + `", "bound_issuer": "` + lintIssuer + `/"}`, want: "V11:high", where: "config.bound_issuer", message: "the slash at the end counts"},
		{name: "a slash behind the discovery URL", cfg: `{"oidc_discovery_url": "` + lintIssuer + `/", "bound_issuer": "` + lintIssuer + `"}`, want: "V11:high", where: "config.oidc_discovery_url"},
		{name: "other algorithms", cfg: `{"oidc_discovery_url": "` + lintIssuer + `", "bound_issuer": "` + lintIssuer + `", "jwt_supported_algs": ["ES256"]}`, want: "V11:high", where: "config.jwt_supported_algs"},
		{name: "a subject of stars in a role of text", role: bound(`{"sub": "org/` + lintOrg + `/*"}`), want: "V11:high"},

		{name: "a ref without a repository", role: bound(lintClaims(`, "oidc.circleci.com/vcs-ref": "refs/heads/main"`)), want: "V12:high", witness: map[string]any{policy.ClaimRef: "refs/heads/main", policy.ClaimOrigin: "github.com/stranger/app"}},
		{name: "a tag without a repository", role: bound(lintClaims(`, "oidc.circleci.com/vcs-ref": "refs/tags/v1"`)), want: "V12:high", witness: map[string]any{policy.ClaimRef: "refs/tags/v1", policy.ClaimOrigin: "github.com/stranger/app"}},

		{name: "batch", role: members{"token_type": `"batch"`}, want: "V14:info", where: "token_type"},
		{name: "no default policy", role: members{"token_no_default_policy": "true"}, want: "V14:info"},
		{name: "few uses", role: members{"token_num_uses": "3"}, want: "V14:info", message: "used up after 3 requests"},

		{name: "one user", role: members{"bound_subject": `"` + lintSubject + `/user/aaaa1111-bbbb-4222-8ccc-333344445555"`}, want: "V15:medium", where: "bound_subject"},
		{name: "one user as a claim", role: bound(`{"sub": "` + lintSubject + `/user/aaaa1111-bbbb-4222-8ccc-333344445555/vcs-origin/github.com/acme/widget/vcs-ref/refs/heads/main", "oidc.circleci.com/ssh-rerun": false}`), want: "V15:medium", where: `bound_claims["sub"]`},

		{name: "much leeway", role: members{"clock_skew_leeway": `"1h"`}, want: "V16:medium", where: "clock_skew_leeway"},
	}
}

func TestLint(t *testing.T) {
	for _, row := range lintCases() {
		r, cfg := lintParse(t, row.name, lintRole(row.role), lintConfig(row.cfg))
		findings := r.Lint(cfg, now)
		var got []string
		for _, f := range findings {
			got = append(got, f.ID+":"+string(f.Severity))
			if f.Message == "" || f.Where == "" || f.Line == 0 || f.Column == 0 {
				t.Errorf("%s: not whole: %+v", row.name, f)
			}
			if f.Witness != nil && r.Check(Request{Claims: f.Witness, Config: cfg, Now: now, Address: lintAddress(r)}).Verdict != policy.Allow {
				t.Errorf("%s: %s: the witness does not get in", row.name, f.ID)
			}
			lintRef(t, row.name, f.Witness)
			if f.Severity == policy.Critical && f.Witness == nil {
				t.Errorf("%s: %s: critical without a witness", row.name, f.ID)
			}
		}
		if strings.Join(got, " ") != row.want {
			t.Errorf("%s: %s, want %s", row.name, strings.Join(got, " "), row.want)
			for _, f := range findings {
				t.Logf("  %+v", f)
			}
			continue
		}
		if len(findings) == 0 {
			continue
		}
		f := findings[0]
		if row.where != "" && f.Where != row.where || !strings.Contains(f.Message, row.message) {
			t.Errorf("%s: %s %q", row.name, f.Where, f.Message)
		}
		if at := shown([]int{f.Line, f.Column}); row.at != "" && at != "["+strings.Replace(row.at, ":", ",", 1)+"]" {
			t.Errorf("%s: at %s, want %s", row.name, at, row.at)
		}
		lintSays(t, row.name, f.Witness, row.witness)
		lintSays(t, row.name, findings[len(findings)-1].Witness, row.last)
	}
}

func lintSays(t testing.TB, name string, got policy.Claims, want map[string]any) {
	t.Helper()
	for claim, value := range want {
		if shown(got[claim]) != shown(value) {
			t.Errorf("%s: the witness's %s is %v, want %v", name, claim, got[claim], value)
		}
	}
}

// lintRef asks git whether a witness's branch can be.
func lintRef(t testing.TB, name string, witness policy.Claims) {
	t.Helper()
	git, err := exec.LookPath("git")
	ref, ok := witness.Text(policy.ClaimRef)
	if err != nil || !ok {
		return
	}
	if err := exec.Command(git, "check-ref-format", ref).Run(); err != nil {
		t.Errorf("%s: git does not take %q", name, ref)
	}
}

func lintAddress(r *Role) (a netip.Addr) {
	if len(r.TokenBoundCIDRs) > 0 {
		p, _ := cIDR(r.TokenBoundCIDRs[0])
		return p.Addr()
	}
	return a
}

func lintParse(t testing.TB, name, role, config string) (*Role, *Config) {
	t.Helper()
	r, err := ParseRole([]byte(role))
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, role)
	}
	if config == "none" {
		return r, nil
	}
	cfg, err := ParseConfig([]byte(config))
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, config)
	}
	return r, cfg
}

// A fix, written into the document in place of what it had, ends its finding,
// and the job that the role was for gets in.
func TestFixes(t *testing.T) {
	for _, row := range lintCases() {
		role, config := lintRole(row.role), lintConfig(row.cfg)
		r, cfg := lintParse(t, row.name, role, config)
		for range 5 {
			findings := r.Lint(cfg, now)
			if len(findings) == 0 {
				break
			}
			f := findings[0]
			fix := strings.NewReplacer(noProject, lintProject, noOrg, lintOrg, "github.com/<org>/<repository>", "github.com/acme/widget").Replace(f.Fix)
			if strings.HasPrefix(f.Where, "config.") {
				config = lintMerge(t, config, fix)
			} else {
				role = lintMerge(t, role, fix)
			}
			r, cfg = lintParse(t, row.name, role, config)
			for _, after := range r.Lint(cfg, now) {
				if after.ID == f.ID && after.Where == f.Where {
					t.Errorf("%s: %s is still there after %s: %s", row.name, f.ID, fix, after.Message)
				}
			}
		}
		if left := r.Lint(cfg, now); len(left) > 0 {
			t.Errorf("%s: in the end %+v", row.name, left)
		}
		meant := ci.Variant{Org: lintOrg, Project: lintProject, Origin: "github.com/acme/widget", Audience: r.BoundAudiences[0]}
		if cfg != nil && cfg.BoundIssuer != lintIssuer {
			meant.Claims = map[string]json.RawMessage{"iss": rawJSON(cfg.BoundIssuer)}
		}
		l := &linter{role: r, cfg: cfg, now: now}
		l.intend()
		if l.admits(l.meant) == nil {
			t.Errorf("%s: nobody gets in after all fixes: %s", row.name, role)
		}
	}
}

// A fix keeps what is good in the document.
func TestFixKeeps(t *testing.T) {
	r, cfg := lintParse(t, "", lintRole(map[string]string{"bound_claims": `{"oidc.circleci.com/project-id": "` + lintProject + `", "oidc.circleci.com/org-id": "` + lintOrg + `",
		"oidc.circleci.com/context-ids": ["0f0f0f0f-1212-4343-9494-565656565656"], "oidc.circleci.com/vcs-origin": "github.com/acme/widget"}`}), lintConfig(""))
	const want = `{"bound_subject": "", "bound_claims_type": "string", "bound_claims": {"oidc.circleci.com/context-ids":["0f0f0f0f-1212-4343-9494-565656565656"],` +
		`"oidc.circleci.com/org-id":"` + lintOrg + `","oidc.circleci.com/project-id":"` + lintProject + `","oidc.circleci.com/ssh-rerun":false,"oidc.circleci.com/vcs-origin":"github.com/acme/widget"}}`
	if all := r.Lint(cfg, now); len(all) != 1 || all[0].ID != "V9" || all[0].Fix != want {
		t.Errorf("%+v", all)
	}
}

// lintMerge puts the members of a fix into a document.
func lintMerge(t testing.TB, document, fix string) string {
	t.Helper()
	var all, more map[string]json.RawMessage
	if err := json.Unmarshal([]byte(document), &all); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(fix), &more); err != nil {
		t.Fatalf("the fix %s: %v", fix, err)
	}
	maps.Copy(all, more)
	if more["oidc_discovery_url"] != nil {
		delete(all, "jwks_pairs")
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(all); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Lint never panics, its witnesses get in, and whoever is refused everything
// is told so.
func FuzzLint(f *testing.F) {
	for _, row := range lintCases() {
		f.Add([]byte(lintRole(row.role)), []byte(lintConfig(row.cfg)))
	}
	f.Fuzz(func(t *testing.T, role, config []byte) {
		r, err := ParseRole(role)
		if err != nil {
			if fault.KindOf(err) != fault.Usage {
				t.Fatal(err)
			}
			return
		}
		cfg, err := ParseConfig(config)
		if err != nil {
			cfg = nil
		}
		for _, finding := range r.Lint(cfg, now.Truncate(time.Second)) {
			if finding.Witness == nil {
				continue
			}
			j := r.Check(Request{Claims: finding.Witness, Config: cfg, Now: now.Truncate(time.Second), Address: lintAddress(r)})
			if j.Verdict != policy.Allow {
				t.Fatalf("%s: %s", finding.ID, j.Reason)
			}
			if !json.Valid([]byte(finding.Fix)) {
				t.Fatalf("%s: %s", finding.ID, finding.Fix)
			}
		}
	})
}
