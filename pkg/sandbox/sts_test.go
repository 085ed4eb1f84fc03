package sandbox

import (
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	deniedText = "Not authorized to perform sts:AssumeRoleWithWebIdentity"
	noKeyText  = "Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements"
	notJWTText = "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)"
	notOKText  = "The web identity token provided could not be validated. See the AssumeRoleWithWebIdentity documentation for requirements."
	policyText = `{"Version":"2012-10-17","Statement":[]}`
)

func TestTokenRefusals(t *testing.T) {
	l := newLab(t, Config{})
	good := l.v1(Variant{}, nil)
	stranger, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	unix := at.Unix()
	provider := "No OpenIDConnect provider found in your account for "
	for _, row := range []struct {
		name, token string
		status      int
		code, text  string
	}{
		{"no JWT", "none.at-all", 400, "InvalidIdentityToken", notJWTText},
		{"four parts", good + ".x", 400, "InvalidIdentityToken", notJWTText},
		{"header no object", "W10." + good[strings.IndexByte(good, '.')+1:], 400, "InvalidIdentityToken", notJWTText},
		{"payload no object", swap(good, 1, `"x"`), 400, "InvalidIdentityToken", notJWTText},
		{"payload null", swap(good, 1, `null`), 400, "InvalidIdentityToken", notJWTText},
		{"signature no base64", good + "!", 400, "InvalidIdentityToken", notJWTText},
		{"critical header", swap(good, 0, `{"alg":"RS256","crit":["x"]}`), 400, "InvalidIdentityToken", notJWTText},
		{"no iss", l.v1(Variant{}, map[string]any{"iss": nil}), 400, "InvalidIdentityToken", "Missing a required claim: iss"},
		{"null iss", l.v1(Variant{}, map[string]any{"iss": null()}), 400, "InvalidIdentityToken", "Missing a required claim: iss"},
		{"no sub", l.v1(Variant{}, map[string]any{"sub": nil}), 400, "InvalidIdentityToken", "Missing a required claim: sub"},
		{"no aud", l.v1(Variant{}, map[string]any{"aud": nil}), 400, "InvalidIdentityToken", "Missing a required claim: aud"},
		{"no iat", l.v1(Variant{}, map[string]any{"iat": nil}), 400, "InvalidIdentityToken", "Missing a required claim: iat"},
		{"no exp", l.v1(Variant{}, map[string]any{"exp": nil}), 400, "InvalidIdentityToken", "Missing a required claim: exp"},
		{"root issuer", l.v1(Variant{RootIssuer: true}, nil), 400, "InvalidIdentityToken", provider + "https://oidc.circleci.com"},
		{"another org", l.v1(Variant{}, map[string]any{"iss": "https://oidc.circleci.com/org/x"}), 400, "InvalidIdentityToken", provider + "https://oidc.circleci.com/org/x"},
		{"issuer with a slash", l.v1(Variant{}, map[string]any{"iss": orgIssuer + "/"}), 400, "InvalidIdentityToken", provider + orgIssuer + "/"},
		{"unknown key", swap(good, 0, `{"alg":"RS256","kid":"other"}`), 400, "InvalidIdentityToken", noKeyText},
		{"empty key id", swap(good, 0, `{"alg":"RS256","kid":""}`), 400, "InvalidIdentityToken", noKeyText},
		{"another's signature", l.forge(stranger.Key, l.key.KeyID), 400, "InvalidIdentityToken", notOKText},
		{"changed claims", swap(good, 1, strings.Replace(payload(t, good), "main", "evil", 1)), 400, "InvalidIdentityToken", notOKText},
		{"no signature", good[:strings.LastIndexByte(good, '.')+1], 400, "InvalidIdentityToken", notOKText},
		{"alg none", swap(good, 0, `{"alg":"none"}`), 400, "InvalidIdentityToken", notOKText},
		{"alg HS256", swap(good, 0, `{"alg":"HS256"}`), 400, "InvalidIdentityToken", notOKText},
		{"expired", l.v1(Variant{Expired: true}, nil), 400, "ExpiredTokenException",
			fmt.Sprintf("Token expired: current date/time %d must be before the expiration date/time %d", unix-300, unix-3600)},
		{"expired beyond the grace", l.v1(Variant{}, map[string]any{"exp": unix - 300}), 400, "ExpiredTokenException",
			fmt.Sprintf("Token expired: current date/time %d must be before the expiration date/time %d", unix-300, unix-300)},
		{"null exp", l.v1(Variant{}, map[string]any{"exp": null()}), 400, "InvalidIdentityToken", "Invalid timestamp in token claims."},
		{"fraction", l.v1(Variant{}, map[string]any{"iat": 1.5}), 400, "InvalidIdentityToken", "Invalid timestamp in token claims."},
		{"nbf text", l.v1(Variant{}, map[string]any{"nbf": "soon"}), 400, "InvalidIdentityToken", "Invalid timestamp in token claims."},
		{"future", l.v1(Variant{}, map[string]any{"iat": unix + 301}), 400, "InvalidIdentityToken", fmt.Sprintf("Token issued in the future: %d", unix+301)},
		{"not yet", l.v1(Variant{}, map[string]any{"nbf": unix + 301}), 400, "InvalidIdentityToken",
			fmt.Sprintf("Token not yet valid: current date/time %d must be after or equal to the not-before date/time %d", unix+300, unix+301)},
		{"another audience", l.v1(Variant{Audience: "sts.amazonaws.com"}, nil), 400, "InvalidIdentityToken", "Incorrect token audience"},
		{"empty audience", l.v1(Variant{}, map[string]any{"aud": ""}), 400, "InvalidIdentityToken", "Incorrect token audience"},
		{"audience is a number", l.v1(Variant{}, map[string]any{"aud": 1}), 400, "InvalidIdentityToken", "Incorrect token audience"},
		{"no audience in the list", l.v1(Variant{}, map[string]any{"aud": []string{}}), 400, "InvalidIdentityToken", "Claim is not allowed to be empty: aud"},
		{"two audiences", l.v1(Variant{}, map[string]any{"aud": []string{orgID, "x"}}), 400, "InvalidIdentityToken",
			"Token audience contains more than one audience while authorized party is not present"},
		{"azp wins", l.v1(Variant{}, map[string]any{"azp": "x"}), 400, "InvalidIdentityToken", "Incorrect token audience"},
		{"empty azp", l.v1(Variant{}, map[string]any{"azp": ""}), 400, "InvalidIdentityToken", "Incorrect token audience"},
		{"null subject", l.v1(Variant{}, map[string]any{"sub": null()}), 500, "InternalFailure", "Unknown error validating third-party token"},
		{"subject is a number", l.v1(Variant{}, map[string]any{"sub": 12}), 403, "AccessDenied", deniedText},
		{"another project", l.v1(Variant{}, map[string]any{"sub": "org/" + orgID + "/project/0/user/1"}), 403, "AccessDenied", deniedText},
		{"the audit log", l.v1(Variant{}, map[string]any{"sub": "org/" + orgID + "/file-streaming/audit-logs"}), 403, "AccessDenied", deniedText},
		{"a fork's V2", l.v2(Variant{Fork: true}), 403, "AccessDenied", deniedText},
		{"a branch that looks like ours", l.v2(Variant{Fork: true, Branch: "x/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main"}), 403, "AccessDenied", deniedText},
		{"an origin that begins like ours", l.v1(Variant{}, map[string]any{"sub": ownSubject + "/vcs-origin/github.com/my-org/application/vcs-ref/x"}), 403, "AccessDenied", deniedText},
		{"session tags", l.v1(Variant{}, map[string]any{tagsClaim: map[string]any{}}), 403, "AccessDenied", deniedText},
		{"source identity", l.v1(Variant{}, map[string]any{sourceIdentityClaim: "x"}), 403, "AccessDenied", deniedText},
	} {
		l.post(webIdentity(row.token, nil)).wantRefusal(t, row.name, row.status, row.code, row.text)
	}
}

func TestTokensAccepted(t *testing.T) {
	l := newLab(t, Config{})
	unix := at.Unix()
	good := l.v1(Variant{}, nil)
	for _, row := range []struct{ name, token, audience string }{
		{"V1", good, orgID},
		{"V2", l.v2(Variant{}), orgID},
		{"a fork's V1 is the project's own", l.v1(Variant{Fork: true}, nil), orgID},
		{"a tag", l.v2(Variant{Tag: "v1"}), orgID},
		{"a webhook", l.v2(Variant{Webhook: true}), orgID},
		{"in the grace", l.v1(Variant{}, map[string]any{"exp": unix - 299}), orgID},
		{"a clock ahead", l.v1(Variant{}, map[string]any{"iat": unix + 300, "nbf": unix + 300}), orgID},
		{"times as text", l.v1(Variant{}, map[string]any{"exp": fmt.Sprint(unix + 60)}), orgID},
		{"one audience in a list", l.v1(Variant{}, map[string]any{"aud": []string{orgID}}), orgID},
		{"azp of two", l.v1(Variant{}, map[string]any{"aud": []string{"x", "y"}, "azp": orgID}), orgID},
		{"no key id", l.forge(l.key.Key, ""), orgID},
	} {
		a := l.post(webIdentity(row.token, nil))
		if a.status != 200 || a.root != "AssumeRoleWithWebIdentityResponse" {
			t.Errorf("%s: %d %s %s", row.name, a.status, a.code, a.text)
		}
	}
}

func TestParameterRefusals(t *testing.T) {
	const second = "arn:aws:iam::444455556666:role/other"
	l := newLab(t, Config{Roles: []string{DefaultRole, second}})
	token := l.v1(Variant{}, nil)
	one := "1 validation error detected: "
	unmet := " failed to satisfy constraint: Member must "
	type change = url.Values
	for _, row := range []struct {
		name       string
		change     change
		status     int
		code, text string
	}{
		{"no action", change{"Action": nil}, 400, "MissingAction", "The request is missing an action or a required parameter."},
		{"unknown action", change{"Action": {"GetSessionToken"}}, 400, "InvalidAction", "Could not find operation GetSessionToken for version 2011-06-15"},
		{"no version", change{"Version": nil}, 400, "InvalidAction", "Could not find operation AssumeRoleWithWebIdentity for version NO_VERSION_SPECIFIED"},
		{"old version", change{"Version": {"2010-05-08"}}, 400, "InvalidAction", "Could not find operation AssumeRoleWithWebIdentity for version 2010-05-08"},
		{"name too long", change{"RoleSessionName": {strings.Repeat("n", 65)}}, 400, "ValidationError",
			one + "Value '" + strings.Repeat("n", 65) + "' at 'roleSessionName'" + unmet + "have length less than or equal to 64"},
		{"name too short", change{"RoleSessionName": {"n"}}, 400, "ValidationError", one + "Value 'n' at 'roleSessionName'" + unmet + "have length greater than or equal to 2"},
		{"name with a space", change{"RoleSessionName": {"a b"}}, 400, "ValidationError", one + `Value 'a b' at 'roleSessionName'` + unmet + `satisfy regular expression pattern: [\w+=,.@-]*`},
		{"name with a newline", change{"RoleSessionName": {"ab\n"}}, 400, "ValidationError", one + "Value 'ab\n' at 'roleSessionName'" + unmet + `satisfy regular expression pattern: [\w+=,.@-]*`},
		{"no name", change{"RoleSessionName": nil}, 400, "ValidationError", one + "Value null at 'roleSessionName'" + unmet + "not be null"},
		{"too short a session", change{"DurationSeconds": {"899"}}, 400, "ValidationError", one + "Value '899' at 'durationSeconds'" + unmet + "have value greater than or equal to 900"},
		{"too long a session", change{"DurationSeconds": {"43201"}}, 400, "ValidationError", one + "Value '43201' at 'durationSeconds'" + unmet + "have value less than or equal to 43200"},
		{"no number", change{"DurationSeconds": {"1h"}}, 400, "MalformedInput", "Invalid Argument"},
		{"over the role's maximum", change{"DurationSeconds": {"3601"}}, 400, "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."},
		{"short ARN", change{"RoleArn": {"${ROLE}"}}, 400, "ValidationError", one + "Value '${ROLE}' at 'roleArn'" + unmet + "have length greater than or equal to 20"},
		{"variable in the ARN", change{"RoleArn": {"arn:aws:iam::${ACCOUNT}:role/deploy"}}, 400, "ValidationError", "Request ARN is invalid"},
		{"ARN of a user", change{"RoleArn": {"arn:aws:iam::111122223333:user/deploy"}}, 400, "ValidationError", "Request ARN is invalid"},
		{"short token", change{"WebIdentityToken": {"abc"}}, 400, "ValidationError", one + "Value at 'webIdentityToken'" + unmet + "have length greater than or equal to 4"},
		{"long token", change{"WebIdentityToken": {strings.Repeat("t", 20001)}}, 400, "ValidationError", one + "Value at 'webIdentityToken'" + unmet + "have length less than or equal to 20000"},
		{"two at once", change{"RoleSessionName": {"n"}, "DurationSeconds": {"1"}}, 400, "ValidationError",
			"2 validation errors detected: Value 'n' at 'roleSessionName'" + unmet + "have length greater than or equal to 2; Value '1' at 'durationSeconds'" + unmet + "have value greater than or equal to 900"},
		{"policy no JSON", change{"Policy": {"{"}}, 400, "MalformedPolicyDocument", "This policy contains invalid Json"},
		{"policy no policy", change{"Policy": {"[]"}}, 400, "MalformedPolicyDocument", "Syntax errors in policy."},
		{"policy too large", change{"Policy": {policyText + strings.Repeat(" ", 2010)}}, 400, "PackedPolicyTooLarge", "Packed policy consumes 101% of allotted space, please use smaller policy."},
		{"eleven policy ARNs", policyARNs(11), 400, "PackedPolicyTooLarge", "Packed policy consumes 110% of allotted space, please use smaller policy."},
		{"policy ARN", change{"PolicyArns.member.1.arn": {"ReadOnlyAccess"}}, 400, "ValidationError", "Request ARN is invalid"},
		{"provider id", change{"ProviderId": {"oidc.circleci.com"}}, 403, "AccessDenied", "Unrecognized OAuth provider. Do not include a provider parameter when submitting OpenIDConnect ID tokens"},
		{"no such account", change{"RoleArn": {"arn:aws:iam::999999999999:role/deploy"}}, 400, "InvalidIdentityToken", "No OpenIDConnect provider found in your account for " + orgIssuer},
		{"another partition", change{"RoleArn": {"arn:aws-cn:iam::111122223333:role/deploy"}}, 400, "InvalidIdentityToken", "No OpenIDConnect provider found in your account for " + orgIssuer},
		{"no such role", change{"RoleArn": {"arn:aws:iam::111122223333:role/nobody"}}, 403, "AccessDenied", deniedText},
	} {
		l.post(webIdentity(token, row.change)).wantRefusal(t, row.name, row.status, row.code, row.text)
	}
	// The longest session that the model allows is still too long for the role.
	l.post(webIdentity(token, change{"DurationSeconds": {"43200"}})).wantRefusal(t, "the model's maximum", 400, "ValidationError",
		"The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	// What is out of range is said before the token is looked at.
	l.post(webIdentity("none", change{"RoleSessionName": {"n"}})).wantRefusal(t, "order", 400, "ValidationError",
		one+"Value 'n' at 'roleSessionName'"+unmet+"have length greater than or equal to 2")
}

func TestParametersAccepted(t *testing.T) {
	l := newLab(t, Config{})
	token := l.v1(Variant{}, nil)
	for _, row := range []struct {
		name   string
		change url.Values
	}{
		{"shortest name", url.Values{"RoleSessionName": {"ab"}}},
		{"longest name", url.Values{"RoleSessionName": {strings.Repeat("n", 64)}}},
		{"every character of a name", url.Values{"RoleSessionName": {"aZ0_+=,.@-"}}},
		{"shortest session", url.Values{"DurationSeconds": {"900"}}},
		{"longest session", url.Values{"DurationSeconds": {"3600"}}},
		{"largest policy", url.Values{"Policy": {policyText + strings.Repeat(" ", maxPolicyChars-len(policyText))}}},
		{"ten policy ARNs", policyARNs(10)},
	} {
		if a := l.post(webIdentity(token, row.change)); a.status != 200 {
			t.Errorf("%s: %d %s %s", row.name, a.status, a.code, a.text)
		}
	}
}

func TestRequestRefusals(t *testing.T) {
	l := newLab(t, Config{})
	token := l.v1(Variant{}, nil)
	form := webIdentity(token, nil).Encode()
	request := func(method, target, body string, header ...string) *http.Request {
		r := httptest.NewRequest(method, target, strings.NewReader(body))
		for pair := range slices.Chunk(header, 2) {
			r.Header.Set(pair[0], pair[1])
		}
		return r
	}
	for _, row := range []struct {
		name       string
		r          *http.Request
		status     int
		code, text string
	}{
		{"nothing", request("POST", "/", ""), 400, "MissingAction", "The request is missing an action or a required parameter."},
		{"no form", request("POST", "/", "%zz"), 400, "MalformedQueryString", "The query string contains a syntax error."},
		{"too much", request("POST", "/", form+strings.Repeat("&", 1<<20)), 413, "RequestEntityTooLarge", "Request Entity Too Large"},
		{"the token in the URL", request("GET", "/?"+form, ""), 403, "MissingAuthenticationToken", "Request is missing Authentication Token"},
		{"parameters in the URL of a POST", request("POST", "/?"+form, ""), 400, "MissingAction", "The request is missing an action or a required parameter."},
		{"identity of nobody", request("GET", "/?"+callerIdentity().Encode(), ""), 403, "MissingAuthenticationToken", "Request is missing Authentication Token"},
		{"signed", request("POST", "/", form, "Authorization", "AWS4-HMAC-SHA256 x"), 400, "InvalidIdentityToken", noKeyText},
		{"with a session's token", request("POST", "/", form, "X-Amz-Security-Token", "x"), 400, "InvalidIdentityToken", noKeyText},
	} {
		l.do(row.r).wantRefusal(t, row.name, row.status, row.code, row.text)
	}
}

func TestWebIdentityAnswer(t *testing.T) {
	l := newLab(t, Config{Roles: []string{"arn:aws:iam::111122223333:role/teams/web/deploy"}})
	l.now = at.Add(time.Second / 2) // AWS sends whole seconds
	a := l.post(webIdentity(l.v2(Variant{}), url.Values{
		"RoleArn": {"arn:aws:iam::111122223333:role/teams/web/deploy"}, "DurationSeconds": {"900"}, "Policy": {policyText},
	}))
	var x struct {
		Result struct {
			Subject, Audience, Provider string
			PackedPolicySize            int
			User                        struct{ AssumedRoleId, Arn string }
			Credentials                 struct{ AccessKeyId, SecretAccessKey, SessionToken, Expiration string }
		}
		RequestID string `xml:"ResponseMetadata>RequestId"`
	}
	body := strings.NewReplacer(
		"AssumeRoleWithWebIdentityResult", "Result", "SubjectFromWebIdentityToken", "Subject", "AssumedRoleUser", "User",
	).Replace(a.body)
	if err := xml.Unmarshal([]byte(body), &x); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ name, got, pattern string }{
		{"root", a.root, `AssumeRoleWithWebIdentityResponse`},
		{"type", a.header.Get("Content-Type"), `text/xml`},
		{"request id", x.RequestID, regexp.QuoteMeta(a.header.Get("X-Amzn-Requestid"))},
		{"request id", x.RequestID, `[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`},
		{"subject", x.Result.Subject, regexp.QuoteMeta(ownSubject + "/vcs-origin/github.com/my-org/app/vcs-ref/refs/heads/main")},
		{"audience", x.Result.Audience, orgID},
		{"provider", x.Result.Provider, `arn:aws:iam::111122223333:oidc-provider/oidc\.circleci\.com/org/` + orgID},
		{"packed size", fmt.Sprint(x.Result.PackedPolicySize), `2`},
		{"role id", x.Result.User.AssumedRoleId, `AROA[A-Z2-7]{17}:build-1`},
		{"arn, without the role's path", x.Result.User.Arn, `arn:aws:sts::111122223333:assumed-role/deploy/build-1`},
		{"key id", x.Result.Credentials.AccessKeyId, `ASIA[A-Z2-7]{16}`},
		{"secret key", x.Result.Credentials.SecretAccessKey, `[A-Za-z0-9/+]{40}`},
		{"session token", x.Result.Credentials.SessionToken, `IQoJb3JpZ2lu[A-Za-z0-9/+]{500,}=+`},
		{"expiry", x.Result.Credentials.Expiration, `2026-11-22T12:15:00Z`},
	} {
		if !regexp.MustCompile(`^(?:` + row.pattern + `)$`).MatchString(row.got) {
			t.Errorf("%s is %q, want %s", row.name, row.got, row.pattern)
		}
	}
	if !strings.Contains(a.body, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">`) {
		t.Errorf("root element: %.120s", a.body)
	}
	for _, secret := range []string{x.Result.Credentials.SecretAccessKey, x.Result.Credentials.SessionToken} {
		if !strings.ContainsRune(secret, '/') || !strings.ContainsRune(secret, '+') {
			t.Error("a secret without / and + does not try the client's quoting")
		}
		if !slices.Contains(l.ledger.list(), secret) {
			t.Error("a secret handed out is not among those issued")
		}
	}
}

func TestErrorAnswer(t *testing.T) {
	l := newLab(t, Config{})
	a := l.post(webIdentity("a.b", nil))
	want := regexp.MustCompile(`^<ErrorResponse xmlns="https://sts\.amazonaws\.com/doc/2011-06-15/">
  <Error>
    <Type>Sender</Type>
    <Code>ValidationError</Code>
    <Message>1 validation error detected: Value at &#39;webIdentityToken&#39; failed to satisfy constraint: Member must have length greater than or equal to 4</Message>
  </Error>
  <RequestId>` + a.header.Get("X-Amzn-Requestid") + `</RequestId>
</ErrorResponse>
$`)
	if !want.MatchString(a.body) || a.header.Get("Content-Type") != "text/xml" {
		t.Errorf("answer: %s", a.body)
	}
	if a := l.post(webIdentity(l.v1(Variant{}, map[string]any{"sub": null()}), nil)); a.kind != "Receiver" {
		t.Errorf("a failure of the server is blamed on the %q", a.kind)
	}
}

func TestAssumeRole(t *testing.T) {
	const (
		plain   = "arn:aws:iam::444455556666:role/team/release"
		guarded = "arn:aws:iam::444455556666:role/guarded"
		caller  = "arn:aws:sts::111122223333:assumed-role/deploy/build-1"
	)
	l := newLab(t, Config{Roles: []string{DefaultRole, plain, guarded}, ExternalIDs: map[string]string{guarded: "x-1"}, Untagged: []string{plain}})
	first := l.session()
	assume := func(role string, more ...string) url.Values {
		form := url.Values{"Action": {"AssumeRole"}, "Version": {"2011-06-15"}, "RoleArn": {role}, "RoleSessionName": {"build-2"}}
		for pair := range slices.Chunk(more, 2) {
			form.Set(pair[0], pair[1])
		}
		return form
	}
	no := "User: " + caller + " is not authorized to perform: sts:AssumeRole on resource: "
	for _, row := range []struct {
		name       string
		form       url.Values
		status     int
		code, text string
	}{
		{"over an hour", assume(plain, "DurationSeconds", "3601"), 400, "ValidationError",
			"The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining."},
		{"no such role", assume("arn:aws:iam::444455556666:role/nobody"), 403, "AccessDenied", no + "arn:aws:iam::444455556666:role/nobody"},
		{"itself", assume(DefaultRole), 403, "AccessDenied", no + DefaultRole},
		{"no external id", assume(guarded), 403, "AccessDenied", no + guarded},
		{"another external id", assume(guarded, "ExternalId", "x-2"), 403, "AccessDenied", no + guarded},
		{"bad external id", assume(guarded, "ExternalId", "x y"), 400, "ValidationError",
			`1 validation error detected: Value 'x y' at 'externalId' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w+=,.@:\/-]*`},
		{"tags", assume(plain, "Tags.member.1.Key", "k", "Tags.member.1.Value", "v"), 403, "AccessDenied",
			"User: " + caller + " is not authorized to perform: sts:TagSession on resource: " + plain},
		{"bad name", assume(plain, "RoleSessionName", "n"), 400, "ValidationError",
			"1 validation error detected: Value 'n' at 'roleSessionName' failed to satisfy constraint: Member must have length greater than or equal to 2"},
	} {
		l.do(l.signed(first, row.form, nil)).wantRefusal(t, row.name, row.status, row.code, row.text)
	}
	for _, form := range []url.Values{assume(plain), assume(guarded, "ExternalId", "x-1", "DurationSeconds", "3600")} {
		if a := l.do(l.signed(first, form, nil)); a.status != 200 || a.root != "AssumeRoleResponse" {
			t.Errorf("refused: %d %s %s", a.status, a.code, a.text)
		}
	}
	l.post(assume(plain)).wantRefusal(t, "unsigned", 403, "MissingAuthenticationToken", "Request is missing Authentication Token")
}

func TestCallerIdentityAnswer(t *testing.T) {
	l := newLab(t, Config{})
	s := l.session()
	a := l.do(l.signed(s, callerIdentity(), nil))
	var x struct {
		Result struct{ Arn, UserId, Account string } `xml:"GetCallerIdentityResult"`
	}
	if err := xml.Unmarshal([]byte(a.body), &x); err != nil {
		t.Fatal(err)
	}
	want := struct{ Arn, UserId, Account string }{
		"arn:aws:sts::111122223333:assumed-role/deploy/build-1", s.role.id + ":build-1", "111122223333",
	}
	if diff := cmp.Diff(want, x.Result); diff != "" || a.root != "GetCallerIdentityResponse" {
		t.Errorf("%s %s", a.root, diff)
	}
}

// The log tells what AWS keeps to itself, and no secret.
func TestNotes(t *testing.T) {
	l := newLab(t, Config{})
	note := func(form url.Values) string {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(form.Encode()))
		return l.sts.serve(httptest.NewRecorder(), r)
	}
	token := l.v2(Variant{Fork: true})
	for _, row := range []struct{ got, want string }{
		{note(webIdentity(l.v2(Variant{}), nil)), "AssumeRoleWithWebIdentity: 200"},
		{note(webIdentity(token, nil)), "AssumeRoleWithWebIdentity: 403 AccessDenied (the subject's vcs-origin is not github.com/my-org/app)"},
		{note(webIdentity(token, url.Values{"RoleArn": {"arn:aws:iam::111122223333:role/nobody"}})), "AssumeRoleWithWebIdentity: 403 AccessDenied (there is no such role)"},
		{note(url.Values{"Action": {token}}), "request: 400 InvalidAction"},
	} {
		if row.got != row.want {
			t.Errorf("note %q, want %q", row.got, row.want)
		}
	}
}

func FuzzSTS(f *testing.F) {
	l := newLab(f, Config{})
	token := l.v1(Variant{}, nil)
	f.Add("POST", webIdentity(token, nil).Encode(), "")
	f.Add("POST", callerIdentity().Encode(), "AWS4-HMAC-SHA256 Credential=a/b/c/sts/aws4_request, SignedHeaders=host, Signature=0")
	f.Add("GET", "Action=AssumeRole&Version=2011-06-15&%zz", "x")
	f.Add("POST", "Action=AssumeRole&Version=2011-06-15&RoleSessionName=%00\xff", "")
	f.Add("POST", webIdentity("e30.e30.", url.Values{"PolicyArns.member.1.arn": {""}, "Policy": {"{}"}}).Encode(), "")
	f.Fuzz(func(t *testing.T, method, form, header string) {
		r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:1/", strings.NewReader(form))
		r.Method = method
		r.URL.RawQuery = form
		r.Header.Set("X-Amz-Date", at.Format(sigTime))
		if header != "" {
			r.Header.Set("Authorization", header)
		}
		w := httptest.NewRecorder()
		l.sts.serve(w, r)
		a := readAnswer(t, w)
		if (a.status == 200) == (a.root == "ErrorResponse") || a.root == "ErrorResponse" && a.code == "" {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
}

// swap replaces a part of a token by other JSON and keeps its signature.
func swap(token string, part int, json string) string {
	parts := strings.Split(token, ".")
	parts[part] = base64.RawURLEncoding.EncodeToString([]byte(json))
	return strings.Join(parts, ".")
}

func payload(t *testing.T, token string) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func policyARNs(n int) url.Values {
	v := url.Values{}
	for i := range n {
		v.Set(fmt.Sprintf("PolicyArns.member.%d.arn", i+1), "arn:aws:iam::aws:policy/ReadOnlyAccess")
	}
	return v
}
