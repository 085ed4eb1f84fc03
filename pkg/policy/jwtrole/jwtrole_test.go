package jwtrole

import (
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// wholeRole is what a Vault server prints of a role, every member included.
const wholeRole = `{
  "request_id": "5d0ad7b1-9a6c-4b2c-3f0b-f0c9b1d1f0aa",
  "lease_id": "",
  "lease_duration": 0,
  "renewable": false,
  "data": {
    "alias_metadata": {},
    "allowed_redirect_uris": null,
    "bound_audiences": ["2a3b4c5d-1111-4222-8333-444455556666"],
    "bound_claims": {
      "oidc.circleci.com/project-id": "76543210-ba98-4edc-b210-edcba0987654",
      "oidc.circleci.com/ssh-rerun": false
    },
    "bound_claims_type": "string",
    "bound_subject": "",
    "claim_mappings": {"oidc.circleci.com/vcs-ref": "ref"},
    "clock_skew_leeway": 0,
    "expiration_leeway": 0,
    "groups_claim": "",
    "max_age": 0,
    "not_before_leeway": 0,
    "oidc_scopes": null,
    "role_type": "jwt",
    "token_bound_cidrs": [],
    "token_explicit_max_ttl": 0,
    "token_max_ttl": 3600,
    "token_no_default_policy": false,
    "token_num_uses": 0,
    "token_period": 0,
    "token_policies": ["ci"],
    "token_ttl": 900,
    "token_type": "default",
    "user_claim": "oidc.circleci.com/project-id",
    "user_claim_json_pointer": false,
    "verbose_oidc_logging": false
  },
  "warnings": null,
  "mount_type": "jwt"
}`

func TestRoleForms(t *testing.T) {
	inner := wholeRole[strings.Index(wholeRole, `"data": `)+len(`"data": `):]
	inner = inner[:strings.LastIndex(inner, "  },")+3]
	for name, text := range map[string]string{
		"as vault read prints it": wholeRole,
		"the data alone":          inner,
		"as setup writes it":      `{"config": {"jwks_url": "x"}, "role": ` + inner + `}`,
	} {
		r, err := ParseRole([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if r.RoleType != "jwt" || r.TokenTTL.Minutes() != 15 || r.TokenMaxTTL.Hours() != 1 || r.BoundClaims[policy.ClaimSSHRerun] != false ||
			r.ClaimMappings[policy.ClaimRef] != "ref" || r.UserClaim != policy.ClaimProject || strings.Join(r.TokenPolicies, " ") != "ci" ||
			strings.Join(r.BoundAudiences, " ") != "2a3b4c5d-1111-4222-8333-444455556666" {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestParse(t *testing.T) {
	const role = `"role": {"user_claim": "sub"}`
	for _, row := range []struct {
		text, issuer, err string
	}{
		{`{"user_claim": "sub"}`, "none", ""},
		{wholeRole, "none", ""},
		{`{` + role + `}`, "none", ""},
		{"\ufeff" + `{"config": {"jwks_url": "x", "bound_issuer": "y"}, ` + role + `}`, "y", ""},
		{`{"config": {"bound_issuer": "y"}, ` + role + `}`, "", "line 1, column 12: the server takes exactly one of"},
		{`{"config": {"jwks_url": "x"}}`, "", `the document has no "role"`},
		{`{`, "", "it ends too early"},
	} {
		r, c, err := Parse([]byte(row.text))
		switch {
		case row.err != "":
			if err == nil || !strings.Contains(err.Error(), row.err) || fault.KindOf(err) != fault.Usage {
				t.Errorf("%s: %v", row.text, err)
			}
		case err != nil || r == nil || (c == nil) != (row.issuer == "none") || c != nil && c.BoundIssuer != row.issuer:
			t.Errorf("%s: %+v %+v %v", row.text, r, c, err)
		}
	}
}

func TestRoleErrors(t *testing.T) {
	role := func(members string) string { return "{\"user_claim\": \"sub\",\n " + members + "}" }
	for _, row := range []struct{ name, text, want string }{
		{"no object", `["x"]`, "line 1, column 1: the document is a list, not an object"},
		{"twice", role(`"user_claim": "x"`), `line 2, column 2: "user_claim" is there twice`},
		{"twice within", role(`"bound_claims": {"a": "1", "a": "2"}`), `line 2, column 29: "a" is there twice`},
		{"unknown member", role(`"bound_claim": {}`), `line 2, column 2: a role has no member "bound_claim"`},
		{"unknown beside data", `{"data": {}, "role_type": "jwt"}`, `line 1, column 14: beside "data", "role_type" means nothing`},
		{"data is text", `{"data": "x"}`, `line 1, column 10: "data" is text, not an object`},
		{"configuration alone", `{"config": {}}`, `line 1, column 1: the document has no "role"`},
		{"no user claim", `{"role_type": "jwt"}`, "line 1, column 1: the role has no user_claim, without which the server stores none"},
		{"role type", role(`"role_type": "kubernetes"`), `line 2, column 15: role_type is "kubernetes", not jwt or oidc`},
		{"claims type", role(`"bound_claims_type": "regex"`), `line 2, column 23: bound_claims_type is "regex", not string or glob`},
		{"claims as text", role(`"bound_claims": "a=b"`), `line 2, column 18: bound_claims is "a=b", not an object`},
		{"claim is an object", role(`"bound_claims": {"a": {}}`), `line 2, column 24: bound_claims["a"] is an object, not text, true or false, a number, or a list of these`},
		{"claim is null", role(`"bound_claims": {"a": null}`), `line 2, column 24: bound_claims["a"] is null, not text, true or false, a number, or a list of these`},
		{"claim is a list of lists", role(`"bound_claims": {"a": [["x"]]}`), `line 2, column 25: bound_claims["a"] is a list, not text, true or false, a number, or a list of these`},
		{"audience is a number", role(`"bound_audiences": 1`), "line 2, column 21: bound_audiences is a number, not a list of texts"},
		{"audiences with a number", role(`"bound_audiences": ["x", 1]`), "line 2, column 27: an item of bound_audiences is a number, not text"},
		{"duration", role(`"token_ttl": "soon"`), `line 2, column 15: token_ttl is "soon", not a duration, in seconds or as 15m`},
		{"too long", role(`"token_ttl": 99999999999999`), `line 2, column 15: token_ttl is a number, not a duration, in seconds or as 15m`},
		{"less than nothing", role(`"token_ttl": -1`), `line 2, column 15: token_ttl is less than zero`},
		{"more than the most", role(`"token_ttl": "2h", "token_max_ttl": 3600`), "line 2, column 15: token_ttl is more than token_max_ttl, which the server does not store"},
		{"uses", role(`"token_num_uses": 1.5`), "line 2, column 20: token_num_uses is a number, not a number of times"},
		{"boolean", role(`"token_no_default_policy": "maybe"`), `line 2, column 29: token_no_default_policy is "maybe", not true or false`},
		{"mapping", role(`"claim_mappings": {"a": 1}`), `line 2, column 26: claim_mappings["a"] is a number, not text`},
		{"mapping to role", role(`"claim_mappings": {"a": "role"}`), `line 2, column 26: the metadata "role" in claim_mappings is taken, so that the server does not store the role`},
		{"two mappings", role(`"claim_mappings": {"a": "x", "b": "x"}`), `line 2, column 36: the metadata "x" in claim_mappings is taken, so that the server does not store the role`},
		{"addresses", role(`"token_bound_cidrs": ["10.0.0.0/33"]`), `line 2, column 23: "10.0.0.0/33" in token_bound_cidrs is no block of addresses`},
		{"batch with uses", role(`"token_type": "batch", "token_num_uses": 3`), "line 2, column 16: batch tokens have no period and no number of uses, so that the server does not store the role"},
		{"not JSON", `path "x" {}`, "line 1, column 1: not JSON: invalid character 'p' looking for beginning of value"},
	} {
		_, err := ParseRole([]byte(row.text))
		if err == nil || err.Error() != row.want || fault.KindOf(err) != fault.Usage {
			t.Errorf("%s:\ngot  %v\nwant %s", row.name, err, row.want)
		}
	}
}

func TestConfigErrors(t *testing.T) {
	for _, row := range []struct{ name, text, want string }{
		{"no keys", `{"bound_issuer": "x"}`, "line 1, column 1: the server takes exactly one of oidc_discovery_url, jwks_url, jwks_pairs and jwt_validation_pubkeys, and here are 0"},
		{"two", `{"jwks_url": "x", "oidc_discovery_url": "y"}`, "line 1, column 1: the server takes exactly one of oidc_discovery_url, jwks_url, jwks_pairs and jwt_validation_pubkeys, and here are 2"},
		{"pairs and issuer", `{"jwks_pairs": [{}], "bound_issuer": "x"}`, "line 1, column 38: the server takes no bound_issuer beside jwks_pairs"},
		{"a role", wholeRole, "line 6, column 11: the server takes exactly one of oidc_discovery_url, jwks_url, jwks_pairs and jwt_validation_pubkeys, and here are 0"},
		{"role alone", `{"role": {}}`, `line 1, column 1: the document has no "config"`},
	} {
		_, err := ParseConfig([]byte(row.text))
		if err == nil || err.Error() != row.want || fault.KindOf(err) != fault.Usage {
			t.Errorf("%s:\ngot  %v\nwant %s", row.name, err, row.want)
		}
	}
	c, err := ParseConfig([]byte(`{"data": {"oidc_discovery_url": "https://oidc.circleci.com/org/x", "bound_issuer": "https://oidc.circleci.com/org/x",
		"jwt_supported_algs": "RS256,RS512", "default_role": "deploy", "namespace_in_state": true, "jwks_pairs": null, "provider_config": {}}}`))
	served, servedErr := ParseConfig([]byte(`{"request_id": "r", "wrap_info": null, "data": {"jwks_url": "https://x", "status": "valid", "new_one": true}, "tomorrow": 1}`))
	if servedErr != nil || len(served.Unknown) != 1 || served.Unknown[0] != "new_one" {
		t.Errorf("%+v, %v", served, servedErr)
	}
	if err != nil || c.BoundIssuer != "https://oidc.circleci.com/org/x" || len(c.JWTSupportedAlgs) != 2 || c.DefaultRole != "deploy" {
		t.Errorf("%+v, %v", c, err)
	}
}
