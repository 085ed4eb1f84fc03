package sandbox

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	conditionText = "The given credential is rejected by the attribute condition."
	noSubjectText = "Could not obtain a value for google.subject from the given credential."
	tooLongText   = "The size of mapped attribute google.subject exceeds the 127 bytes limit. Either modify your attribute mapping or the incoming assertion to produce a mapped attribute that is less than 127 bytes."
	audienceText  = `Invalid value for "audience". This value should be the full resource name of the Identity Provider. See https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token for the list of possible formats.`
	targetText    = `The target service indicated by the "audience" parameters is invalid. This might either be because the pool or provider is disabled or deleted or because it doesn't exist.`
	noIssuerText  = "Error connecting to the given credential's issuer."
	signatureText = "Unable to verify the ID Token signature."
	unparsedText  = "Unable to parse the ID Token."
)

func TestGoogleSubjectRefusals(t *testing.T) {
	l := newLab(t, Config{})
	good := l.v1(Variant{}, nil)
	stranger, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	unix := at.Unix()
	issuer := func(name string) string {
		return "The issuer in ID Token " + name + " does not match the expected ones: " + orgIssuer
	}
	aud := func(list string) string {
		return "The audience in ID Token [" + list + "] does not match the expected audience."
	}
	stale := func(iat any) string { return fmt.Sprintf("ID Token issued at %v is stale to sign-in.", iat) }
	type change = map[string]any
	const project = claimPrefix + "project-id"
	for _, row := range []struct{ name, token, code, text string }{
		{"no JWT", "none.at-all", "invalid_grant", unparsedText},
		{"four parts", good + ".x", "invalid_grant", unparsedText},
		{"payload no object", swap(good, 1, `"x"`), "invalid_grant", unparsedText},
		{"signature no base64", good + "!", "invalid_grant", unparsedText},
		{"space before", " " + good, "invalid_grant", unparsedText},
		{"two newlines", good + "\n\n", "invalid_grant", unparsedText},
		{"carriage return", good + "\r\n", "invalid_grant", unparsedText},
		{"critical header", swap(good, 0, `{"alg":"RS256","crit":["x"]}`), "invalid_grant", unparsedText},
		{"root issuer", l.v1(Variant{RootIssuer: true}, nil), "invalid_grant", issuer("https://oidc.circleci.com")},
		{"issuer with a slash", l.v1(Variant{}, change{"iss": orgIssuer + "/"}), "invalid_grant", issuer(orgIssuer + "/")},
		{"no iss", l.v1(Variant{}, change{"iss": nil}), "invalid_grant", issuer("null")},
		{"unknown key", swap(good, 0, `{"alg":"RS256","kid":"other"}`), "invalid_grant", noIssuerText},
		{"no key id", l.forge(l.key.Key, ""), "invalid_grant", noIssuerText},
		{"a key of another kind", swap(good, 0, `{"alg":"ES256","kid":"`+l.key.KeyID+`"}`), "invalid_grant", noIssuerText},
		{"another's signature", l.forge(stranger.Key, l.key.KeyID), "invalid_grant", signatureText},
		{"changed claims", swap(good, 1, strings.Replace(payload(t, good), "main", "evil", 1)), "invalid_grant", signatureText},
		{"no signature", good[:strings.LastIndexByte(good, '.')+1], "invalid_grant", signatureText},
		{"alg none", swap(good, 0, `{"alg":"none","kid":"`+l.key.KeyID+`"}`), "invalid_grant", signatureText},
		{"alg HS256", swap(good, 0, `{"alg":"HS256","kid":"`+l.key.KeyID+`"}`), "invalid_grant", signatureText},
		{"another audience", l.v1(Variant{Audience: "sts.amazonaws.com"}, nil), "invalid_grant", aud("sts.amazonaws.com")},
		{"two audiences", l.v1(Variant{}, change{"aud": []string{"x", "y"}}), "invalid_grant", aud("x, y")},
		{"no aud", l.v1(Variant{}, change{"aud": nil}), "invalid_grant", aud("")},
		{"aud is a number", l.v1(Variant{}, change{"aud": 1}), "invalid_grant", aud("")},
		{"the provider's audience over http", l.v1(Variant{Audience: "http://iam.googleapis.com/" + DefaultGCPProvider}, nil), "invalid_grant",
			aud("http://iam.googleapis.com/" + DefaultGCPProvider)},
		{"expired", l.v1(Variant{Expired: true}, nil), "invalid_grant", stale(unix - 7200)},
		{"over the grace", l.v1(Variant{}, change{"exp": unix - 60}), "invalid_grant", stale(unix)},
		{"future", l.v1(Variant{}, change{"iat": unix + 61}), "invalid_grant", stale(unix + 61)},
		{"older than a day", l.v1(Variant{}, change{"iat": unix - 86401}), "invalid_grant", stale(unix - 86401)},
		{"no iat", l.v1(Variant{}, change{"iat": nil}), "invalid_grant", stale("null")},
		{"no exp", l.v1(Variant{}, change{"exp": nil}), "invalid_grant", stale(unix)},
		{"exp no number", l.v1(Variant{}, change{"exp": []int{1}}), "invalid_grant", stale(unix)},
		{"no sub", l.v1(Variant{}, change{"sub": nil}), "unauthorized_client", noSubjectText},
		{"sub is a number", l.v1(Variant{}, change{"sub": 12}), "unauthorized_client", noSubjectText},
		{"empty sub", l.v1(Variant{}, change{"sub": ""}), "unauthorized_client", noSubjectText},
		{"128 bytes", l.v1(Variant{}, change{"sub": ownSubject + "x"}), "invalid_request", tooLongText},
		{"128 bytes of fewer letters", l.v1(Variant{}, change{"sub": strings.Repeat("é", 64)}), "invalid_request", tooLongText},
		{"too long, and rejected", l.v1(Variant{SSHRerun: true}, change{"sub": ownSubject + "x"}), "invalid_request", tooLongText},
		{"SSH rerun", l.v1(Variant{SSHRerun: true}, nil), "unauthorized_client", conditionText},
		{"no ssh-rerun", l.v1(Variant{}, change{claimPrefix + "ssh-rerun": nil}), "unauthorized_client", conditionText},
		{"null ssh-rerun", l.v1(Variant{}, change{claimPrefix + "ssh-rerun": null()}), "unauthorized_client", conditionText},
		{"ssh-rerun is text", l.v1(Variant{}, change{claimPrefix + "ssh-rerun": "false"}), "unauthorized_client", conditionText},
		{"another project", l.v1(Variant{}, change{project: "0"}), "unauthorized_client", conditionText},
		{"no project", l.v1(Variant{}, change{project: nil}), "unauthorized_client", conditionText},
		{"a fork's V1", l.v1(Variant{Fork: true}, nil), "unauthorized_client", conditionText},
		{"a fork's V2", l.v2(Variant{Fork: true}), "unauthorized_client", conditionText},
		{"an origin that begins like ours", l.v1(Variant{}, change{claimPrefix + "vcs-origin": ownOrigin + "x"}), "unauthorized_client", conditionText},
		{"null origin", l.v1(Variant{}, change{claimPrefix + "vcs-origin": null()}), "unauthorized_client", conditionText},
	} {
		a := l.googleForm("/v1/token", exchangeForm(row.token, nil))
		a.wantOAuth(t, row.name, 400, row.code, row.text)
		if len(a.note) > 200 || strings.Contains(a.note, row.token) {
			t.Errorf("%s: the log says %q", row.name, a.note)
		}
	}
}

func TestGoogleTokensAccepted(t *testing.T) {
	l := newLab(t, Config{})
	unix := at.Unix()
	type change = map[string]any
	for _, row := range []struct {
		name, token string
		expiresIn   int
	}{
		{"V1", l.v1(Variant{}, nil), 3600},
		{"V2 is the same", l.v2(Variant{}), 3600},
		{"a tag", l.v2(Variant{Tag: "v1"}), 3600},
		{"a webhook", l.v2(Variant{Webhook: true}), 3600},
		{"Google's audience", l.v1(Variant{Audience: "https://iam.googleapis.com/" + DefaultGCPProvider}, nil), 3600},
		{"Google's audience without scheme", l.v1(Variant{Audience: "//iam.googleapis.com/" + DefaultGCPProvider}, nil), 3600},
		{"one audience of two", l.v1(Variant{}, change{"aud": []string{"x", orgID}}), 3600},
		{"half an hour left", l.v1(Variant{TTL: 30 * time.Minute}, nil), 1800},
		{"a day left", l.v1(Variant{TTL: 24 * time.Hour}, nil), 3600},
		{"a day old", l.v1(Variant{}, change{"iat": unix - 86400}), 3600},
		{"in the grace", l.v1(Variant{}, change{"exp": unix - 59}), 59},
		{"just over", l.v1(Variant{}, change{"exp": unix}), 1},
		{"a clock ahead", l.v1(Variant{}, change{"iat": unix + 60}), 3600},
		{"nbf is not looked at", l.v1(Variant{}, change{"nbf": unix + 600}), 3600},
		{"a newline after it", l.v1(Variant{}, nil) + "\n", 3600},
	} {
		a := l.googleForm("/v1/token", exchangeForm(row.token, nil))
		if a.status != 200 || a.ExpiresIn != row.expiresIn {
			t.Errorf("%s: %s", row.name, a.body)
			continue
		}
		var got map[string]any
		if err := json.Unmarshal([]byte(a.body), &got); err != nil {
			t.Fatal(err)
		}
		want := map[string]any{
			"access_token": a.AccessToken, "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
			"token_type": "Bearer", "expires_in": float64(row.expiresIn),
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", row.name, diff)
		}
		if !strings.HasPrefix(a.AccessToken, "ya29.d.") || !slices.Contains(l.ledger.list(), a.AccessToken) {
			t.Errorf("%s: %q is no access token, or not in the ledger", row.name, a.AccessToken)
		}
		if i := l.googleForm("/v1/introspect", url.Values{"token": {a.AccessToken}}); !strings.Contains(i.body, `"`+ownPrincipal+`"`) {
			t.Errorf("%s: the principal is another: %s", row.name, i.body)
		}
	}
}

func TestGoogleExchangeRefusals(t *testing.T) {
	l := newLab(t, Config{})
	token := l.v1(Variant{}, nil)
	provider := "//iam.googleapis.com/" + DefaultGCPProvider
	type change = url.Values
	for _, row := range []struct {
		name       string
		change     change
		code, text string
	}{
		{"no grant_type", change{"grant_type": nil}, "invalid_request", "Missing required parameter: grant_type"},
		{"another grant", change{"grant_type": {"client_credentials"}}, "unsupported_grant_type", `Invalid value for "grant_type".`},
		{"no audience", change{"audience": nil}, "invalid_request", "Missing required parameter: audience"},
		{"empty audience", change{"audience": {""}}, "invalid_request", "Missing required parameter: audience"},
		{"no prefix", change{"audience": {DefaultGCPProvider}}, "invalid_request", audienceText},
		{"https", change{"audience": {"https:" + provider}}, "invalid_request", audienceText},
		{"prefix twice", change{"audience": {"//iam.googleapis.com/" + provider}}, "invalid_request", audienceText},
		{"a pool", change{"audience": {"//iam.googleapis.com/" + defaultPool}}, "invalid_request", audienceText},
		{"project id", change{"audience": {strings.Replace(provider, "123456789012", "sandbox-project", 1)}}, "invalid_request", audienceText},
		{"a mangled number", change{"audience": {strings.Replace(provider, "123456789012", "1.23457e+11", 1)}}, "invalid_request", audienceText},
		{"newline", change{"audience": {provider + "\n"}}, "invalid_request", audienceText},
		{"slash", change{"audience": {provider + "/"}}, "invalid_request", audienceText},
		{"another universe", change{"audience": {strings.Replace(provider, "googleapis.com", "example.com", 1)}}, "invalid_request", audienceText},
		{"another number", change{"audience": {strings.Replace(provider, "123456789012", "123456789013", 1)}}, "invalid_target", targetText},
		{"another pool", change{"audience": {strings.Replace(provider, "circleci/", "circle/", 1)}}, "invalid_target", targetText},
		{"another provider", change{"audience": {provider + "2"}}, "invalid_target", targetText},
		{"a workforce", change{"audience": {"//iam.googleapis.com/locations/global/workforcePools/people/providers/okta"}}, "invalid_target", targetText},
		{"no requested type", change{"requested_token_type": nil}, "invalid_request", "Missing required parameter: requested_token_type"},
		{"another requested type", change{"requested_token_type": {"urn:ietf:params:oauth:token-type:jwt"}}, "invalid_request", `Invalid value for "requested_token_type".`},
		{"no subject type", change{"subject_token_type": nil}, "invalid_request", "Missing required parameter: subject_token_type"},
		{"another subject type", change{"subject_token_type": {"urn:ietf:params:oauth:token-type:saml2"}}, "invalid_request", `Invalid value for "subject_token_type".`},
		{"no subject", change{"subject_token": nil}, "invalid_request", "Missing required parameter: subject_token"},
		{"no scope", change{"scope": nil}, "invalid_request", "Missing required parameter: scope"},
		{"blank scope", change{"scope": {" "}}, "invalid_request", "Missing required parameter: scope"},
		{"no scope of Google's", change{"scope": {cloudPlatform + " cloud-platform"}}, "invalid_scope",
			"Some requested scopes were invalid. {valid=[], invalid=[cloud-platform]}"},
		{"twice", change{"scope": {cloudPlatform, cloudPlatform}}, "invalid_request", "The request has a parameter more than once."},
	} {
		l.googleForm("/v1/token", exchangeForm(token, row.change)).wantOAuth(t, row.name, 400, row.code, row.text)
	}
	if n := len(l.google.tokens.byText); n != 0 {
		t.Errorf("%d tokens issued", n)
	}
	a := l.googleForm("/v1/token?subject_token="+token, exchangeForm(token, change{"subject_token": nil}))
	a.wantOAuth(t, "token in the URL", 400, "invalid_request", "Missing required parameter: subject_token")
	if !strings.HasSuffix(a.note, "(the token was sent in the URL)") {
		t.Errorf("token in the URL: the log says %q", a.note)
	}
	for _, kind := range []string{"jwt", "id_token"} {
		a := l.googleForm("/v1/token", exchangeForm(token, change{"subject_token_type": {"urn:ietf:params:oauth:token-type:" + kind}, "client_id": {"x"}}))
		if a.status != 200 {
			t.Errorf("%s: %s", kind, a.body)
		}
	}
}

// JSON names are in camel case, or with underscores.
func TestGoogleExchangeJSON(t *testing.T) {
	l := newLab(t, Config{})
	body := func(change map[string]any) string {
		m := map[string]any{
			"grantType": exchangeGrant, "audience": "//iam.googleapis.com/" + DefaultGCPProvider, "scope": cloudPlatform,
			"requestedTokenType": accessTokenType, "subjectTokenType": tokenTypes + "jwt", "subjectToken": l.v1(Variant{}, nil),
		}
		for name, value := range change {
			m[name] = value
			if value == nil {
				delete(m, name)
			}
		}
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for name, good := range map[string]string{
		"camel case":  body(nil),
		"underscores": body(map[string]any{"grantType": nil, "grant_type": exchangeGrant}),
		"null":        body(map[string]any{"options": null()}),
	} {
		if a := l.googleJSON("/v1/token?alt=json&prettyPrint=false", good); a.status != 200 || a.AccessToken == "" || a.ExpiresIn != 3600 {
			t.Errorf("%s: %s", name, a.body)
		}
	}
	l.googleJSON("/v1/token", body(map[string]any{"subjectToken": "x"})).wantOAuth(t, "bad token", 400, "invalid_grant", unparsedText)
	l.googleJSON("/v1/token", ``).wantOAuth(t, "empty", 400, "invalid_request", "Missing required parameter: grant_type")
	const payload = "Invalid JSON payload received. "
	for _, row := range []struct{ name, body, text string }{
		{"unknown name", body(map[string]any{"lifetime": "60s"}), payload + `Unknown name "lifetime": Cannot find field.`},
		{"a long name", body(map[string]any{strings.Repeat("n", 41): ""}), payload + `Unknown name "` + strings.Repeat("n", 40) + `...": Cannot find field.`},
		{"no object", `[]`, payload + "Parsing terminated before end of input."},
		{"cut off", `{"grantType":`, payload + "Parsing terminated before end of input."},
		{"a number", body(map[string]any{"scope": 1}), "Invalid value at 'scope' (TYPE_STRING)"},
	} {
		l.googleJSON("/v1/token", row.body).wantAPI(t, row.name, 400, "INVALID_ARGUMENT", row.text, "")
	}
}

func TestGoogleSTSRequests(t *testing.T) {
	l := newLab(t, Config{})
	form := exchangeForm(l.v1(Variant{}, nil), nil).Encode()
	for _, row := range []struct {
		name, method, path, media, body string
		status                          int
		code, text                      string
	}{
		{"GET", "GET", "/v1/token?" + form, "", "", 404, "NOT_FOUND", "Method not found."},
		{"another path", "POST", "/v1/tokens", "application/x-www-form-urlencoded", form, 404, "NOT_FOUND", "Method not found."},
		{"root", "POST", "/", "application/x-www-form-urlencoded", form, 404, "NOT_FOUND", "Method not found."},
		{"no type", "POST", "/v1/token", "", form, 400, "INVALID_ARGUMENT", "The request's Content-Type is neither a form nor JSON."},
		{"text", "POST", "/v1/token", "text/plain", form, 400, "INVALID_ARGUMENT", "The request's Content-Type is neither a form nor JSON."},
		{"too large", "POST", "/v1/token", "application/x-www-form-urlencoded", form + "&x=" + strings.Repeat("x", 1<<20), 413, "INVALID_ARGUMENT", "Request payload size exceeds the limit."},
	} {
		r := httptest.NewRequest(row.method, "http://127.0.0.1:1"+row.path, strings.NewReader(row.body))
		r.Header.Set("Content-Type", row.media)
		l.askGoogle(l.google.serveSTS, r).wantAPI(t, row.name, row.status, row.code, row.text, "")
	}
	l.googleForm("/v1/token", url.Values{}).wantOAuth(t, "empty form", 400, "invalid_request", "Missing required parameter: grant_type")
	r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:1/v1/token", strings.NewReader("a=%zz"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	l.askGoogle(l.google.serveSTS, r).wantOAuth(t, "no form", 400, "invalid_request", "The request's body is not a form.")
}

func TestIntrospect(t *testing.T) {
	l := newLab(t, Config{})
	token := l.federated(cloudPlatform, "openid")
	account := l.impersonated(token, DefaultGCPServiceAccount)
	ask := func(token string) googleAnswer {
		r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:1/v1/introspect", strings.NewReader(
			url.Values{"token": {token}, "token_type_hint": {"urn:ietf:params:oauth:token-type:access_token"}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetBasicAuth("32555940559.apps.googleusercontent.com", "x")
		return l.askGoogle(l.google.serveSTS, r)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(ask(token).body), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{
		"active": true, "username": ownPrincipal, "scope": cloudPlatform + " openid",
		"iat": float64(at.Unix()), "exp": float64(at.Unix() + 3600), "iss": "https://sts.googleapis.com/",
	}, got); diff != "" {
		t.Error(diff)
	}
	inactive := func(name, token string) {
		t.Helper()
		if a := ask(token); a.status != 200 || a.body != `{"active":false}`+"\n" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	inactive("invented", "ya29.d.x")
	inactive("the job's token", l.v1(Variant{}, nil))
	inactive("a service account's", account)
	if a := l.googleJSON("/v1/introspect", `{"token":"`+token+`","tokenTypeHint":"urn:ietf:params:oauth:token-type:access_token"}`); !strings.Contains(a.body, ownPrincipal) {
		t.Errorf("JSON: %s", a.body)
	}
	l.later(time.Hour)
	inactive("expired", token)
	l.googleForm("/v1/introspect", url.Values{}).wantOAuth(t, "no token", 400, "invalid_request", "Missing required parameter: token")
	l.googleForm("/v1/introspect", url.Values{"token": {token}, "token_type_hint": {"refresh_token"}}).
		wantOAuth(t, "hint", 400, "invalid_request", `Invalid value for "token_type_hint".`)
}

// A mapping or condition of somebody's own takes the place of ours.
func TestProviderJudge(t *testing.T) {
	l := newLab(t, Config{})
	l.google.provider.judge = func(claims map[string]json.RawMessage) judgement {
		sub, _ := text(claims["sub"])
		return judgement{attributes: map[string]string{"google.subject": sub, "attribute.project": projectID}, admitted: true}
	}
	l.googleForm("/v1/token", exchangeForm(l.v2(Variant{}), nil)).wantOAuth(t, "V2", 400, "invalid_request", tooLongText)
	l.impersonated(l.googleForm("/v1/token", exchangeForm(l.v1(Variant{Fork: true}, nil), nil)).AccessToken, DefaultGCPServiceAccount)
	l.google.provider.judge = func(map[string]json.RawMessage) judgement {
		return judgement{attributes: map[string]string{"google.subject": "x"}, admitted: true}
	}
	stranger := l.federated()
	l.iam(stranger, DefaultGCPServiceAccount, "generateAccessToken", `{"scope":["`+cloudPlatform+`"]}`).
		wantAPI(t, "not bound", 403, "PERMISSION_DENIED", deniedTokenText, "IAM_PERMISSION_DENIED")
}

func TestMembers(t *testing.T) {
	const pool = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p"
	token := &googleToken{pool: strings.TrimPrefix(pool, googleAPIs), attributes: map[string]string{"google.subject": "a/b", "attribute.project": "x/y"}}
	for member, want := range map[string]bool{
		"principal:" + pool + "/subject/a/b":                    true,
		"principal:" + pool + "/subject/a":                      false,
		"principal:" + pool + "/subject/a/b/":                   false,
		"principal:" + pool + "2/subject/a/b":                   false,
		"principalSet:" + pool + "/subject/a/b":                 false,
		"principalSet:" + pool + "/attribute.project/x/y":       true,
		"principalSet:" + pool + "/attribute.project/x":         false,
		"principalSet:" + pool + "/attribute.project/":          false,
		"principalSet:" + pool + "/attribute.other/":            false,
		"principalSet:" + pool + "/google.subject/a/b":          false,
		"principalSet:" + pool + "/*":                           true,
		"principalSet:" + pool + "2/*":                          false,
		"principal:" + pool + "/attribute.project/x/y":          false,
		"serviceAccount:deploy@sandbox-project.iam.example.com": false,
	} {
		if got := token.is(member); got != want {
			t.Errorf("%s: %v", member, got)
		}
	}
}
