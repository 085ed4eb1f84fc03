package jwtrole

import (
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// now is the time of every test.
var now = time.Date(2026, 11, 22, 12, 0, 0, 500_000_000, time.UTC)

const (
	audienceText = "error validating token: invalid audience (aud) claim: audience claim does not match any expected audience"
	unboundText  = "audience claim found in JWT but no audiences bound to the role"
	issuerText   = "error validating token: invalid issuer (iss) claim"
	subjectText  = "error validating token: invalid subject (sub) claim"
	expiredText  = "error validating token: invalid expiration time (exp) claim: token is expired"
	earlyText    = "error validating token: invalid not before (nbf) claim: token not yet valid"
	futureText   = "error validating token: invalid issued at (iat) claim: token issued in the future"
	timelessText = "error validating token: no issued at (iat), not before (nbf), or expiration time (exp) claims in token"
)

func missing(claim string) string {
	return `error validating claims: claim "` + claim + `" is missing`
}

func mismatch(claim string) string {
	return `error validating claims: claim "` + claim + `" does not match any associated bound claim values`
}

// role reads a role with the good role's members but those given, which
// are JSON by name; empty takes a member out.
func role(t testing.TB, members map[string]string) *Role {
	t.Helper()
	all := map[string]string{
		"role_type": `"jwt"`, "user_claim": `"oidc.circleci.com/project-id"`, "bound_audiences": `["` + ci.SampleOrg + `"]`,
		"bound_claims": `{"oidc.circleci.com/project-id": "` + ci.SampleProject + `"}`, "token_ttl": "900",
	}
	for name, value := range members {
		all[name] = value
	}
	var lines []string
	for name, value := range all {
		if value != "" {
			lines = append(lines, `"`+name+`": `+value)
		}
	}
	r, err := ParseRole([]byte("{" + strings.Join(lines, ",\n") + "}"))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// token is the V2 token of a variant, with claims changed last. A nil
// value takes the claim out.
func token(v ci.Variant, change map[string]any) policy.Claims {
	_, c := policy.ClaimsOf(v, now)
	for name, value := range change {
		c[name] = value
		if value == nil {
			delete(c, name)
		}
	}
	return policy.Plain(c)
}

func orgConfig() *Config {
	return &Config{BoundIssuer: ci.OrgIssuer(ci.SampleOrg), OIDCDiscoveryURL: ci.OrgIssuer(ci.SampleOrg)}
}

func TestLoginRefusals(t *testing.T) {
	type members = map[string]string
	type change = map[string]any
	unix := now.Unix()
	_, good := policy.ClaimsOf(ci.Variant{}, now)
	v2 := good["sub"].(string)
	bound := func(json string) members { return members{"bound_claims": json} }
	glob := func(json string) members { return members{"bound_claims": json, "bound_claims_type": `"glob"`} }
	timeless := change{"iat": nil, "exp": nil}
	for _, row := range []struct {
		name  string
		role  members
		token policy.Claims
		want  string
	}{
		{"good", nil, token(ci.Variant{}, nil), ""},
		{"another audience", nil, token(ci.Variant{Audience: "vault"}, nil), audienceText},
		{"one audience of two", nil, token(ci.Variant{}, change{"aud": []string{"x", ci.SampleOrg}}), ""},
		{"no aud", nil, token(ci.Variant{}, change{"aud": nil}), audienceText},
		{"aud is a number", nil, token(ci.Variant{}, change{"aud": 1}), "error validating token: go-jose/go-jose/jwt: expected string or array value to unmarshal to Audience"},
		{"aud has a number", nil, token(ci.Variant{}, change{"aud": []any{1}}), "error validating token: go-jose/go-jose/jwt: expected string or array value to unmarshal to Audience"},
		{"no audience bound", members{"bound_audiences": "[]"}, good, unboundText},
		{"no audience bound, nor there", members{"bound_audiences": ""}, token(ci.Variant{}, change{"aud": nil}), ""},
		{"no audience bound, an empty list", members{"bound_audiences": ""}, token(ci.Variant{}, change{"aud": []string{}}), ""},
		{"root issuer", nil, token(ci.Variant{RootIssuer: true}, nil), issuerText},
		{"no issuer", nil, token(ci.Variant{}, change{"iss": nil}), issuerText},
		{"issuer is a number", nil, token(ci.Variant{}, change{"iss": 1}), "error validating token: json: cannot unmarshal number into Go struct field Claims.iss of type string"},
		{"subject", members{"bound_subject": `"org/x"`}, good, subjectText},
		{"subject has no globs", members{"bound_subject": `"org/*"`, "bound_claims_type": `"glob"`}, good, subjectText},
		{"this subject", members{"bound_subject": `"` + v2 + `"`}, good, ""},
		{"issuer before audience", nil, token(ci.Variant{RootIssuer: true, Audience: "x"}, nil), issuerText},
		{"subject before audience", members{"bound_subject": `"x"`}, token(ci.Variant{Audience: "x"}, nil), subjectText},
		{"audience before expiry", nil, token(ci.Variant{Audience: "x", Expired: true}, nil), audienceText},
		{"expiry before claims", nil, token(ci.Variant{Project: ci.SampleOrg, Expired: true}, nil), expiredText},

		{"expired", nil, token(ci.Variant{Expired: true}, nil), expiredText},
		{"59 s late", nil, token(ci.Variant{}, change{"exp": unix - 59}), ""},
		{"60.5 s late", nil, token(ci.Variant{}, change{"exp": unix - 60}), expiredText},
		{"iat ahead", nil, token(ci.Variant{}, change{"iat": unix + 61}), earlyText},
		{"iat ahead, within the skew", nil, token(ci.Variant{}, change{"iat": unix + 60}), ""},
		{"iat ahead of nbf", nil, token(ci.Variant{}, change{"iat": unix + 61, "nbf": unix}), futureText},
		{"nbf ahead", nil, token(ci.Variant{}, change{"nbf": unix + 61}), earlyText},
		{"no skew", members{"clock_skew_leeway": "-1"}, token(ci.Variant{}, change{"exp": unix}), expiredText},
		{"more skew", members{"clock_skew_leeway": `"10m"`}, token(ci.Variant{}, change{"exp": unix - 599}), ""},
		{"no exp", nil, token(ci.Variant{}, change{"exp": nil}), ""},
		{"no exp, 209 s old", nil, token(ci.Variant{}, change{"exp": nil, "iat": unix - 209}), ""},
		{"no exp, 210.5 s old", nil, token(ci.Variant{}, change{"exp": nil, "iat": unix - 210}), expiredText},
		{"no exp, less leeway", members{"expiration_leeway": "10"}, token(ci.Variant{}, change{"exp": nil, "iat": unix - 70}), expiredText},
		{"no exp, nbf later than iat", nil, token(ci.Variant{}, change{"exp": nil, "iat": unix - 400, "nbf": unix - 100}), ""},
		{"only exp, 210 s ahead", nil, token(ci.Variant{}, change{"iat": nil, "exp": unix + 210}), ""},
		{"only exp, 211 s ahead", nil, token(ci.Variant{}, change{"iat": nil, "exp": unix + 211}), earlyText},
		{"no times", nil, token(ci.Variant{}, timeless), timelessText},
		{"exp is text", nil, token(ci.Variant{}, change{"exp": "soon"}), "error validating token: go-jose/go-jose/jwt: expected number value to unmarshal NumericDate"},

		{"another project", nil, token(ci.Variant{Project: ci.SampleOrg}, nil), mismatch(policy.ClaimProject)},
		{"a webhook has no ref", bound(`{"oidc.circleci.com/vcs-ref": "refs/heads/main"}`), token(ci.Variant{Webhook: true}, nil), missing(policy.ClaimRef)},
		{"a null claim", bound(`{"x": "y"}`), token(ci.Variant{}, change{"x": map[string]any(nil)}), missing("x")},
		{"one of the values", bound(`{"oidc.circleci.com/vcs-ref": ["refs/heads/dev", "refs/heads/main"]}`), good, ""},
		{"one of the contexts", bound(`{"oidc.circleci.com/context-ids": "` + ci.SampleContext + `"}`), good, ""},
		{"no context", bound(`{"oidc.circleci.com/context-ids": "` + ci.SampleContext + `"}`), token(ci.Variant{}, change{policy.ClaimContexts: []string{}}), mismatch(policy.ClaimContexts)},
		{"false", bound(`{"oidc.circleci.com/ssh-rerun": false}`), good, ""},
		{"ssh-rerun", bound(`{"oidc.circleci.com/ssh-rerun": false}`), token(ci.Variant{SSHRerun: true}, nil), mismatch(policy.ClaimSSHRerun)},
		{"false as text", bound(`{"oidc.circleci.com/ssh-rerun": "false"}`), good, mismatch(policy.ClaimSSHRerun)},
		{"false as a pattern", glob(`{"oidc.circleci.com/ssh-rerun": "*"}`), good, mismatch(policy.ClaimSSHRerun)},
		{"a boolean among patterns", glob(`{"oidc.circleci.com/ssh-rerun": false}`), good, "error validating claims: received claim is not a glob string: %!e(bool=false)xpVal"},
		{"a number among patterns", glob(`{"oidc.circleci.com/ssh-rerun": 42}`), good, "error validating claims: received claim is not a glob string: %!e(json.Number=42)xpVal"},
		{"a number", bound(`{"n": 42}`), token(ci.Variant{}, change{"n": 42}), ""},
		{"its fraction is cut off", bound(`{"n": 42}`), token(ci.Variant{}, change{"n": 42.9}), ""},
		{"written otherwise", bound(`{"n": 42.0}`), token(ci.Variant{}, change{"n": 42}), mismatch("n")},
		{"a number in a list", bound(`{"n": 42}`), token(ci.Variant{}, change{"n": []any{42}}), mismatch("n")},
		{"a number as text", bound(`{"n": "42"}`), token(ci.Variant{}, change{"n": 42}), mismatch("n")},
		{"an object", bound(`{"n": "x"}`), token(ci.Variant{}, change{"n": map[string]any{"a": "b"}}), "error validating claims: received claim is not a string, bool, int or list: map[a:b]"},
		{"no globs", bound(`{"oidc.circleci.com/vcs-ref": "refs/heads/*"}`), good, mismatch(policy.ClaimRef)},
		{"globs", glob(`{"oidc.circleci.com/vcs-ref": "refs/heads/*"}`), good, ""},
		{"a glob crosses slashes", glob(`{"sub": "org/*/refs/heads/main"}`), good, ""},
		{"the first by name", bound(`{"b": "x", "a": "x"}`), good, missing("a")},
		{"a pointer", bound(`{"/oidc.circleci.com~1vcs-ref": "refs/heads/main"}`), good, ""},
		{"a pointer not escaped", bound(`{"/oidc.circleci.com/vcs-ref": "refs/heads/main"}`), good, missing("/oidc.circleci.com/vcs-ref")},
		{"a pointer to a tilde", bound(`{"/~01": "x"}`), token(ci.Variant{}, change{"~1": "x"}), ""},
		{"a pointer into a list", bound(`{"/oidc.circleci.com~1context-ids/0": "` + ci.SampleContext + `"}`), good, ""},
		{"a pointer beyond a list", bound(`{"/oidc.circleci.com~1context-ids/1": "x"}`), good, missing("/oidc.circleci.com~1context-ids/1")},
		{"a pointer into text", bound(`{"/sub/0": "x"}`), good, missing("/sub/0")},

		{"user claim is missing", members{"user_claim": `"email"`}, good, `claim "email" not found in token`},
		{"user claim is a list", members{"user_claim": `"oidc.circleci.com/context-ids"`}, good, `claim "oidc.circleci.com/context-ids" could not be converted to string`},
		{"user claim is a pointer", members{"user_claim": `"/oidc.circleci.com~1context-ids/0"`, "user_claim_json_pointer": "true"}, good, ""},
		{"user claim is no pointer", members{"user_claim": `"/sub"`}, good, `claim "/sub" not found in token`},
		{"mapping of a list", members{"claim_mappings": `{"oidc.circleci.com/context-ids": "contexts"}`}, good, "error converting claim 'oidc.circleci.com/context-ids' to string"},
		{"mapping of a boolean", members{"claim_mappings": `{"oidc.circleci.com/ssh-rerun": "ssh"}`}, good, "error converting claim 'oidc.circleci.com/ssh-rerun' to string"},
		{"mapping of nothing", members{"claim_mappings": `{"email": "email"}`}, good, ""},
		{"the user before the claims", members{"user_claim": `"email"`, "bound_claims": `{"a": "x"}`}, good, `claim "email" not found in token`},
		{"groups", members{"groups_claim": `"oidc.circleci.com/context-ids"`}, good, ""},
		{"groups are missing", members{"groups_claim": `"groups"`}, good, `failed to fetch groups: "groups" claim not found in token`},
		{"groups are an object", members{"groups_claim": `"g"`}, token(ci.Variant{}, change{"g": map[string]any{}}), `"g" claim could not be converted to string list`},
		{"a group is a number", members{"groups_claim": `"g"`}, token(ci.Variant{}, change{"g": []any{1}}), `value 1 in groups claim could not be parsed as string`},
		{"an OIDC role", members{"role_type": `"oidc"`}, good, "role with oidc role_type is not allowed"},
		{"a role of no type", members{"role_type": ""}, good, "role with oidc role_type is not allowed"},
	} {
		if _, got := role(t, row.role).Login(row.token, orgConfig(), now); got != row.want {
			t.Errorf("%s:\ngot  %q\nwant %q", row.name, got, row.want)
		}
	}
}

// Without a bound issuer any is as good as the organisation's.
func TestLoginWithoutIssuer(t *testing.T) {
	token := token(ci.Variant{RootIssuer: true}, nil)
	for name, cfg := range map[string]*Config{"no configuration": nil, "no issuer": {JWKSURL: "https://oidc.circleci.com/x"}} {
		if _, got := role(t, nil).Login(token, cfg, now); got != "" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestLoginIdentity(t *testing.T) {
	r := role(t, map[string]string{
		"claim_mappings": `{"oidc.circleci.com/vcs-ref": "ref", "/oidc.circleci.com~1context-ids/0": "context", "email": "email"}`,
		"groups_claim":   `"oidc.circleci.com/context-ids"`,
	})
	login, refusal := r.Login(token(ci.Variant{}, map[string]any{policy.ClaimContexts: []string{ci.SampleContext, ""}}), nil, now)
	if refusal != "" || login.User != ci.SampleProject || len(login.Metadata) != 2 || login.Metadata["ref"] != "refs/heads/main" ||
		login.Metadata["context"] != ci.SampleContext || len(login.Groups) != 1 || login.Groups[0] != ci.SampleContext {
		t.Errorf("%+v %s", login, refusal)
	}
}

func TestGlob(t *testing.T) {
	for _, row := range []struct {
		pattern, text string
		want          bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"**", "a/b", true}, {"a*", "a", true}, {"a*", "ba", false},
		{"*a", "ba", true}, {"*a", "ab", false}, {"a*a", "a", false}, {"a*a", "aa", true}, {"ab*ba", "aba", false},
		{"a*b*c", "a/b/x/b/c", true}, {"a*b*c", "acb", false}, {"a?c", "abc", false}, {"a?c", "a?c", true}, {`a\*`, "a*", false},
		{"[a]", "a", false}, {"A", "a", false}, {"*b*", "abc", true}, {"a**c", "ac", true}, {"a*b*b", "ab", false}, {"*b*b*", "b", false}, {"*b*b*", "bb", true},
	} {
		if got := glob(row.pattern, row.text); got != row.want {
			t.Errorf("%q on %q: %v", row.pattern, row.text, got)
		}
	}
}

// The matcher agrees with a regular expression that is anchored at both ends.
func FuzzGlob(f *testing.F) {
	for _, s := range []string{"", "*", "a*b", "*a*", "a**b", "(.+)*", "\n*"} {
		f.Add(s, "a/b\nab")
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if !utf8.ValidString(pattern) || !utf8.ValidString(text) || len(pattern) > 200 {
			return
		}
		parts := strings.Split(pattern, "*")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		want := regexp.MustCompile(`(?s)^(?:` + strings.Join(parts, ".*") + `)$`).MatchString(text)
		if got := glob(pattern, text); got != want {
			t.Fatalf("%q on %q: %v", pattern, text, got)
		}
	})
}

// No role and no token makes Login panic, and no refusal comes with an
// identity.
func FuzzLogin(f *testing.F) {
	f.Add([]byte(wholeRole), []byte(`{"aud": "2a3b4c5d-1111-4222-8333-444455556666", "exp": 1}`))
	f.Add([]byte(`{"user_claim": "/a/0", "user_claim_json_pointer": true, "role_type": "jwt"}`), []byte(`{"a": ["x"], "exp": 9e99}`))
	f.Add([]byte(`{"user_claim": "a", "role_type": "jwt", "bound_claims_type": "glob", "bound_claims": {"/": [1, "*"]}}`), []byte(`{"": [{}, [[]], null], "a": "x", "iat": 1795000000}`))
	f.Fuzz(func(t *testing.T, role, token []byte) {
		r, err := ParseRole(role)
		if err != nil {
			return
		}
		c, err := policy.ParseClaims(token)
		if err != nil {
			return
		}
		login, refusal := r.Login(c, nil, now)
		if refusal != "" && (login.User != "" || login.Metadata != nil || login.Groups != nil) {
			t.Fatalf("%+v with %q", login, refusal)
		}
	})
}
