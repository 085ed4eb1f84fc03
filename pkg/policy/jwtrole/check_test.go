package jwtrole

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// check returns the check of that name.
func checkOf(t testing.TB, j policy.Judgement, name string) policy.Check {
	t.Helper()
	for _, c := range j.Checks {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no check %q in %+v", name, j.Checks)
	return policy.Check{}
}

func TestCheck(t *testing.T) {
	type members = map[string]string
	type change = map[string]any
	v1, v2 := policy.ClaimsOf(ci.Variant{}, now)
	bound := func(json string) members { return members{"bound_claims": json} }
	glob := func(json string) members { return members{"bound_claims": json, "bound_claims_type": `"glob"`} }
	const ref, origin, project, rerun = `bound_claims["` + policy.ClaimRef + `"]`, `bound_claims["` + policy.ClaimOrigin + `"]`, `bound_claims["` + policy.ClaimProject + `"]`, `bound_claims["` + policy.ClaimSSHRerun + `"]`
	for _, row := range []struct {
		name    string
		role    members
		token   policy.Claims
		verdict policy.Verdict
		check   string
		wanted  string
		got     string
		reason  string
		hint    string // a part of one
	}{
		{"the good one", nil, v2, policy.Allow, project, `"` + ci.SampleProject + `"`, `"` + ci.SampleProject + `"`, "", ""},
		{"another project", nil, token(ci.Variant{Project: "76543210-ba98-4edc-b210-edcba0987655"}, nil), policy.Deny, project,
			`"` + ci.SampleProject + `"`, `"76543210-ba98-4edc-b210-edcba0987655"`, `from character 36 on, "4" is wanted, and there is "5"`, ""},
		{"upper case", bound(`{"oidc.circleci.com/project-id": "76543210-BA98-4EDC-B210-EDCBA0987654"}`), v2, policy.Deny, project, "", "", `from character 10 on, "BA98-4EDC-B210-EDCBA0987654" is wanted, and there is "ba98-4edc-b210-edcba0987654"`, "letter case counts"},
		{"a slug", bound(`{"oidc.circleci.com/project-id": "gh/my-org/app"}`), v2, policy.Deny, project, "", "", "", "the claim is a UUID"},
		{"a webhook", bound(`{"oidc.circleci.com/vcs-ref": "refs/heads/main"}`), token(ci.Variant{Webhook: true}, nil), policy.Deny, ref, `"refs/heads/main"`, "", "the token has no such claim", "custom webhook"},
		{"no context", bound(`{"oidc.circleci.com/context-ids": "x"}`), token(ci.Variant{}, change{policy.ClaimContexts: map[string]any(nil)}), policy.Deny, `bound_claims["oidc.circleci.com/context-ids"]`, "", "", "the token has no such claim", "uses no context"},
		{"a short name", bound(`{"project-id": "x"}`), v2, policy.Deny, `bound_claims["project-id"]`, "", "", "the token has no such claim", `the claim is called "oidc.circleci.com/project-id"`},
		{"an underscore", bound(`{"oidc.circleci.com/project_id": "x"}`), v2, policy.Deny, `bound_claims["oidc.circleci.com/project_id"]`, "", "", "", `the claim is called "oidc.circleci.com/project-id"`},
		{"a pointer not escaped", bound(`{"/oidc.circleci.com/project-id": "x"}`), v2, policy.Deny, `bound_claims["/oidc.circleci.com/project-id"]`, "", "", "", `a slash in front makes a JSON pointer of it: write "oidc.circleci.com/project-id"`},
		{"a branch", bound(`{"oidc.circleci.com/vcs-ref": "refs/heads/main"}`), token(ci.Variant{Branch: "mein"}, nil), policy.Deny, ref, `"refs/heads/main"`, `"refs/heads/mein"`, `from character 13 on, "ain" is wanted, and there is "ein"`, ""},
		{"the nearest of two", bound(`{"oidc.circleci.com/vcs-ref": ["refs/tags/v1", "refs/heads/main"]}`), token(ci.Variant{Branch: "m"}, nil), policy.Deny, ref, `"refs/tags/v1" or "refs/heads/main"`, "", `from character 13 on, "ain" is wanted, and there is the end`, ""},
		{"a branch without refs/heads/", bound(`{"oidc.circleci.com/vcs-ref": "main"}`), v2, policy.Deny, ref, "", "", "", `write "refs/heads/main"`},
		{"two in one text", bound(`{"oidc.circleci.com/vcs-ref": "refs/heads/dev, refs/heads/main"}`), v2, policy.Deny, ref, "", "", "", "a comma separates nothing here"},
		{"a fork", bound(`{"oidc.circleci.com/vcs-ref": "refs/heads/main"}`), token(ci.Variant{Fork: true}, nil), policy.Deny, ref, "", `"refs/heads/pull/123"`, "", "pull request of a fork"},
		{"https", bound(`{"oidc.circleci.com/vcs-origin": "https://github.com/my-org/app.git"}`), v2, policy.Deny, origin, "", "", "", `write "github.com/my-org/app"`},
		{"glob as text", bound(`{"oidc.circleci.com/vcs-ref": "refs/heads/*"}`), v2, policy.Deny, ref, "", "", "", `* is a wildcard with "bound_claims_type": "glob" alone`},
		{"glob that does not begin so", glob(`{"oidc.circleci.com/vcs-ref": "refs/tags/*"}`), v2, policy.Deny, ref, "", "", `from character 6 on, "tags/" is wanted, and there is "heads/main", before the first *`, ""},
		{"glob that does not end so", glob(`{"oidc.circleci.com/vcs-ref": "refs/*/dev"}`), v2, policy.Deny, ref, "", "", `it does not end with "/dev"`, ""},
		{"glob without the middle", glob(`{"oidc.circleci.com/vcs-ref": "refs/*x*"}`), v2, policy.Deny, ref, "", "", "the parts between the * are not there in this order", ""},
		{"question marks", glob(`{"oidc.circleci.com/vcs-ref": "refs/heads/mai?"}`), v2, policy.Deny, ref, "", "", `from character 15 on, "?" is wanted, and there is "n"`, "of all wildcards there is * alone"},
		{"false as text", bound(`{"oidc.circleci.com/ssh-rerun": "false"}`), v2, policy.Deny, rerun, `"false"`, "false", "the two are not equal, or not of the same type", `"false" as text is never false itself`},
		{"a rerun", bound(`{"oidc.circleci.com/ssh-rerun": false}`), token(ci.Variant{SSHRerun: true}, nil), policy.Deny, rerun, "false", "true", "the two are not equal, or not of the same type", "rerun with SSH"},
		{"false among patterns", glob(`{"oidc.circleci.com/ssh-rerun": false}`), v2, policy.Deny, rerun, "false", "false", "false is no pattern: with bound_claims_type glob all values are text", `write "bound_claims_type": "string"`},
		{"a pattern for false", glob(`{"oidc.circleci.com/ssh-rerun": "f*"}`), v2, policy.Deny, rerun, `"f*"`, "false", "", "patterns match text alone"},
		{"no values", bound(`{"oidc.circleci.com/vcs-ref": []}`), v2, policy.Deny, ref, "", "", "no value is good enough", ""},
		{"V2 for V1", members{"bound_subject": shown(v1["sub"])}, v2, policy.Deny, "bound_subject", "", "", "", "the token is a V2 token"},
		{"V1 for V2", members{"bound_subject": shown(v2["sub"])}, v1, policy.Deny, "bound_subject", "", "", "", "the token is a V1 token"},
		{"V1 for a V2 pattern", glob(`{"sub": "org/*/vcs-origin/*/vcs-ref/refs/heads/main"}`), v1, policy.Deny, `bound_claims["sub"]`, "", "", "", "the token is a V1 token"},
		{"another user", members{"bound_subject": shown(v1["sub"])}, func() policy.Claims { c, _ := policy.ClaimsOf(ci.Variant{User: ci.SampleOrg}, now); return c }(), policy.Deny, "bound_subject", "", "", "", "the subject names the user who started the pipeline"},
		{"a pattern in bound_subject", members{"bound_subject": `"org/*"`}, v1, policy.Deny, "bound_subject", "", "", "", "bound_subject knows no wildcards"},
		{"no sub", members{"bound_subject": `"org/x"`}, token(ci.Variant{}, change{"sub": nil}), policy.Deny, "bound_subject", "org/x", "", "the token has none", ""},
		{"audience", nil, token(ci.Variant{Audience: "vault"}, nil), policy.Deny, "bound_audiences", `"` + ci.SampleOrg + `"`, "vault", "the token is for none of these audiences", `--claims '{"aud":"` + ci.SampleOrg + `"}'`},
		{"no aud", nil, token(ci.Variant{}, change{"aud": nil}), policy.Deny, "bound_audiences", "", "", "the token has no aud", ""},
		{"no audience bound", members{"bound_audiences": ""}, v2, policy.Deny, "bound_audiences", "a token without an audience", ci.SampleOrg, "the role has no bound_audiences, and the token has an audience", `write "bound_audiences": ["` + ci.SampleOrg + `"]`},
		{"root issuer", nil, token(ci.Variant{RootIssuer: true}, nil), policy.Deny, "config.bound_issuer", ci.OrgIssuer(ci.SampleOrg), ci.RootIssuer, "", "--root-issuer"},
		{"another organisation", nil, token(ci.Variant{Org: ci.SampleProject}, nil), policy.Deny, "config.bound_issuer", "", "", "", "a mount, of its own"},
		{"expired", nil, token(ci.Variant{Expired: true}, nil), policy.Deny, "exp, nbf and iat", "valid at 2026-11-22T12:00:00Z, give or take 1m0s", "exp 2026-11-22T11:00:00Z, iat 2026-11-22T10:00:00Z", "invalid expiration time (exp) claim: token is expired", "the token ended 1h0m1s ago"},
		{"ahead", nil, token(ci.Variant{}, change{"iat": now.Unix() + 100}), policy.Deny, "exp, nbf and iat", "", "", "invalid not before (nbf) claim: token not yet valid", "clock is behind"},
		{"user claim", members{"user_claim": `"email"`}, v2, policy.Deny, "user_claim", `"email" as text`, "", "the token has no such claim", `every token of CircleCI has "oidc.circleci.com/project-id"`},
		{"user claim without pointers", members{"user_claim": `"/oidc.circleci.com~1project-id"`}, v2, policy.Deny, "user_claim", "", "", "", `here no pointer is read: write "oidc.circleci.com/project-id"`},
		{"user claim as a list", members{"user_claim": `"oidc.circleci.com/context-ids"`}, v2, policy.Deny, "user_claim", "", `["` + ci.SampleContext + `"]`, "the claim is not text", ""},
		{"mapping of a list", members{"claim_mappings": `{"oidc.circleci.com/context-ids": "x"}`}, v2, policy.Deny, `claim_mappings["oidc.circleci.com/context-ids"]`, "", "", "only a claim that is text can be mapped", `"/oidc.circleci.com~1context-ids/0"`},
		{"groups", members{"groups_claim": `"groups"`}, v2, policy.Deny, "groups_claim", `"groups" as a list of texts`, "", `failed to fetch groups: "groups" claim not found in token`, ""},
		{"an OIDC role", members{"role_type": ""}, v2, policy.Deny, "role_type", "jwt", "oidc", "", `write "role_type": "jwt"`},
		{"aud is a number", nil, token(ci.Variant{}, change{"aud": 3}), policy.Deny, "claims", "", "", "go-jose/go-jose/jwt: expected string or array value to unmarshal to Audience", ""},
		{"addresses", members{"token_bound_cidrs": `"192.0.2.0/24"`}, v2, policy.Undecided, "token_bound_cidrs", "192.0.2.0/24", "", "the address that the job logs in from is not known", ""},
		{"addresses, and denied anyway", members{"token_bound_cidrs": `"192.0.2.0/24"`}, token(ci.Variant{Project: ci.SampleOrg}, nil), policy.Deny, project, "", "", "", ""},
	} {
		r := role(t, row.role)
		j := r.Check(Request{Claims: row.token, Config: orgConfig(), Now: now})
		c := checkOf(t, j, row.check)
		if j.Verdict != row.verdict || c.Verdict != row.verdict {
			t.Errorf("%s: %s (%s), the check says %s", row.name, j.Verdict, j.Reason, c.Verdict)
		}
		for what, pair := range map[string][2]string{"wanted": {row.wanted, c.Wanted}, "got": {row.got, c.Got}, "reason": {row.reason, c.Reason}} {
			if pair[0] != "" && pair[0] != pair[1] {
				t.Errorf("%s: %s is\n%s, want\n%s", row.name, what, pair[1], pair[0])
			}
		}
		if !strings.Contains(strings.Join(c.Hints, "\n"), row.hint) {
			t.Errorf("%s: no hint %q in %q", row.name, row.hint, c.Hints)
		}
		if _, refusal := r.Login(row.token, orgConfig(), now); refusal != "" && j.Reason != refusal {
			t.Errorf("%s: the reason is %q, and the server says %q", row.name, j.Reason, refusal)
		}
		if (row.verdict == policy.Allow) != (j.Reason == "") || (c.Verdict == policy.Allow) != (c.Reason == "") {
			t.Errorf("%s: reasons %q and %q", row.name, j.Reason, c.Reason)
		}
	}
}

func TestCheckAddress(t *testing.T) {
	r := role(t, map[string]string{"token_bound_cidrs": `["192.0.2.0/24", "2001:db8::1"]`})
	for address, want := range map[string]policy.Verdict{"192.0.2.7": policy.Allow, "::ffff:192.0.2.7": policy.Allow, "2001:db8::1": policy.Allow, "192.0.3.7": policy.Deny, "2001:db8::2": policy.Deny} {
		j := r.Check(Request{Claims: token(ci.Variant{}, nil), Now: now, Address: netip.MustParseAddr(address)})
		if j.Verdict != want {
			t.Errorf("%s: %s %s", address, j.Verdict, j.Reason)
		}
	}
}

// Without a configuration the role alone decides, and a note says so.
func TestCheckNotes(t *testing.T) {
	token := token(ci.Variant{RootIssuer: true}, nil)
	for _, row := range []struct {
		name string
		cfg  *Config
		want policy.Verdict
		note string
	}{
		{"no configuration", nil, policy.Allow, "the issuer is not judged"},
		{"no issuer", &Config{JWKSURL: "x"}, policy.Allow, "it looks at no token's issuer"},
		{"an issuer", orgConfig(), policy.Deny, ""},
	} {
		j := role(t, nil).Check(Request{Claims: token, Config: row.cfg, Now: now})
		if j.Verdict != row.want || !strings.Contains(strings.Join(j.Notes, "\n"), row.note) || row.note == "" && len(j.Notes) > 0 {
			t.Errorf("%s: %s, %q", row.name, j.Verdict, j.Notes)
		}
	}
}

// What Check says is what the server does: a verdict is Allow exactly where
// Login refuses nothing, and where it is Deny, some check says why.
func FuzzCheck(f *testing.F) {
	_, good := policy.ClaimsOf(ci.Variant{}, now)
	f.Add([]byte(wholeRole), []byte(shown(good)))
	f.Add([]byte(`{"user_claim": "/a/0", "user_claim_json_pointer": true, "role_type": "jwt", "groups_claim": "a"}`), []byte(`{"a": ["x"], "exp": 9e99, "aud": []}`))
	f.Add([]byte(`{"user_claim": "a", "role_type": "jwt", "bound_claims_type": "glob", "bound_claims": {"a": [true, "*"], "b": []}}`), []byte(`{"a": "x", "b": {}, "iat": 1795348800}`))
	f.Fuzz(func(t *testing.T, role, token []byte) {
		r, err := ParseRole(role)
		if err != nil {
			return
		}
		c, err := policy.ParseClaims(token)
		if err != nil {
			return
		}
		_, refusal := r.Login(c, nil, now)
		j := r.Check(Request{Claims: c, Now: now})
		denied, undecided := false, false
		for _, c := range j.Checks {
			denied = denied || c.Verdict == policy.Deny
			undecided = undecided || c.Verdict == policy.Undecided
		}
		want := policy.Allow
		if undecided {
			want = policy.Undecided
		}
		if refusal != "" {
			want = policy.Deny
		}
		if j.Verdict != want || denied != (refusal != "") {
			t.Fatalf("%s, denied %v, but the server says %q: %+v", j.Verdict, denied, refusal, j.Checks)
		}
	})
}

// Every combination of what can be wrong is denied, and each of the checks that
// fail alone fails in company too.
func TestCheckAll(t *testing.T) {
	wrong := map[string]func(policy.Claims){
		"config.bound_issuer":                        func(c policy.Claims) { c["iss"] = ci.RootIssuer },
		"bound_audiences":                            func(c policy.Claims) { c["aud"] = "x" },
		"exp, nbf and iat":                           func(c policy.Claims) { c["exp"] = now.Unix() - 100 },
		"user_claim":                                 func(c policy.Claims) { delete(c, policy.ClaimOrg) },
		`bound_claims["` + policy.ClaimRef + `"]`:    func(c policy.Claims) { c[policy.ClaimRef] = "x" },
		`bound_claims["` + policy.ClaimOrigin + `"]`: func(c policy.Claims) { delete(c, policy.ClaimOrigin) },
	}
	r := role(t, map[string]string{
		"user_claim":   `"` + policy.ClaimOrg + `"`,
		"bound_claims": fmt.Sprintf(`{%q: "refs/heads/main", %q: %q}`, policy.ClaimRef, policy.ClaimOrigin, ci.SampleOrigin),
	})
	names := slices.Sorted(maps.Keys(wrong))
	for set := range 1 << len(names) {
		_, c := policy.ClaimsOf(ci.Variant{}, now)
		var want []string
		for i, name := range names {
			if set>>i&1 == 1 {
				wrong[name](c)
				want = append(want, name)
			}
		}
		j := r.Check(Request{Claims: policy.Plain(c), Config: orgConfig(), Now: now})
		var got []string
		for _, c := range j.Checks {
			if c.Verdict == policy.Deny {
				got = append(got, c.Name)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) || (j.Verdict == policy.Allow) != (set == 0) {
			t.Errorf("%s with %v, want %v", j.Verdict, got, want)
		}
	}
}
