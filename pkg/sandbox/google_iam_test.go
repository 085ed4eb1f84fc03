package sandbox

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"
)

const (
	deniedTokenText   = "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist)."
	deniedIDTokenText = "Permission 'iam.serviceAccounts.getOpenIdToken' denied on resource (or it may not exist)."
	invalidText       = "Request contains an invalid argument."
	credentialsText   = " Expected OAuth 2 access token, login cookie or other valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."
	wrongBearerText   = "Request had invalid authentication credentials." + credentialsText
	noBearerText      = "Request is missing required authentication credential." + credentialsText
	goodScope         = `"scope":["` + cloudPlatform + `"]`
)

func TestGenerateAccessToken(t *testing.T) {
	l := newLab(t, Config{GCPServiceAccounts: []string{secondAccount, thirdAccount}})
	token := l.federated()
	number := l.google.account(secondAccount).id
	// Python's library reads no fraction and no other zone.
	l.now = at.Add(time.Millisecond).In(time.FixedZone("", 3600))
	for _, row := range []struct {
		name, account, body string
		life                time.Duration
	}{
		{"default", DefaultGCPServiceAccount, `{` + goodScope + `}`, time.Hour},
		{"Python's", DefaultGCPServiceAccount, `{"delegates": null, ` + goodScope + `, "lifetime": "3600s"}`, time.Hour},
		{"shorter", DefaultGCPServiceAccount, `{` + goodScope + `,"lifetime":"1s"}`, time.Second},
		{"an address in the URL's way", "deploy%40sandbox-project.iam.gserviceaccount.com", `{` + goodScope + `}`, time.Hour},
		{"further account", secondAccount, `{` + goodScope + `}`, time.Hour},
		{"by number", number, `{` + goodScope + `}`, time.Hour},
		{"delegates", thirdAccount, `{"delegates":["projects/-/serviceAccounts/` + DefaultGCPServiceAccount + `","projects/-/serviceAccounts/` + secondAccount + `"],` + goodScope + `}`, time.Hour},
		{"gcloud's delegates", thirdAccount, `{"delegates":["` + secondAccount + `"],` + goodScope + `}`, time.Hour},
	} {
		a := l.iam(token, row.account, "generateAccessToken", row.body)
		if a.status != 200 || !strings.HasPrefix(a.SAToken, "ya29.c.") || !slices.Contains(l.ledger.list(), a.SAToken) {
			t.Errorf("%s: %s", row.name, a.body)
		}
		if got, want := a.ExpireTime, at.Add(row.life).Format("2006-01-02T15:04:05Z"); got != want {
			t.Errorf("%s: ends %s, want %s", row.name, got, want)
		}
	}
}

// Each account may become the others, not itself.
func TestChain(t *testing.T) {
	l := newLab(t, Config{GCPServiceAccounts: []string{secondAccount, thirdAccount, secondAccount}})
	if n := len(l.google.accounts); n != 3 {
		t.Errorf("%d accounts", n)
	}
	first := l.impersonated(l.federated(), DefaultGCPServiceAccount)
	second := l.impersonated(first, secondAccount)
	l.impersonated(second, thirdAccount)
	for _, row := range []struct{ name, bearer, account, body string }{
		{"itself", second, secondAccount, `{` + goodScope + `}`},
		{"itself by number", second, l.google.account(secondAccount).id, `{` + goodScope + `}`},
		{"itself by a delegate", second, thirdAccount, `{"delegates":["` + secondAccount + `"],` + goodScope + `}`},
		{"a delegate twice", second, thirdAccount, `{"delegates":["` + thirdAccount + `"],` + goodScope + `}`},
		{"no such delegate", second, thirdAccount, `{"delegates":["nobody@sandbox-project.iam.gserviceaccount.com"],` + goodScope + `}`},
		{"delegate of a project", second, thirdAccount, `{"delegates":["projects/sandbox-project/serviceAccounts/` + DefaultGCPServiceAccount + `"],` + goodScope + `}`},
	} {
		a := l.iam(row.bearer, row.account, "generateAccessToken", row.body)
		if row.name == "delegate of a project" {
			a.wantAPI(t, row.name, 400, "INVALID_ARGUMENT", invalidText, "")
			continue
		}
		a.wantAPI(t, row.name, 403, "PERMISSION_DENIED", deniedTokenText, "IAM_PERMISSION_DENIED")
	}
}

func TestIAMRefusals(t *testing.T) {
	l := newLab(t, Config{})
	bad := l.federated(googleScopes + "devstorage.read_only")
	late := l.federated()
	l.later(time.Hour)
	token := l.federated("https://www.googleapis.com/auth/iam")
	const access, id = "generateAccessToken", "generateIdToken"
	account := DefaultGCPServiceAccount
	for _, row := range []struct {
		name, bearer, account, method, body string
		status                              int
		code, text, reason                  string
	}{
		{"no token", "", account, access, `{` + goodScope + `}`, 401, "UNAUTHENTICATED", noBearerText, "CREDENTIALS_MISSING"},
		{"the job's token", l.v1(Variant{}, nil), account, access, `{` + goodScope + `}`, 401, "UNAUTHENTICATED", wrongBearerText, ""},
		{"invented", "ya29.d.x", account, access, `{` + goodScope + `}`, 401, "UNAUTHENTICATED", wrongBearerText, ""},
		{"expired", late, account, access, `{` + goodScope + `}`, 401, "UNAUTHENTICATED", wrongBearerText, ""},
		{"expired, for an id token", late, account, id, `{"audience":"x"}`, 401, "UNAUTHENTICATED", wrongBearerText, ""},
		{"no such account", token, "deplyo@sandbox-project.iam.gserviceaccount.com", access, `{` + goodScope + `}`, 403, "PERMISSION_DENIED", deniedTokenText, "IAM_PERMISSION_DENIED"},
		{"no such account, for an id token", token, "deplyo@sandbox-project.iam.gserviceaccount.com", id, `{"audience":"x"}`, 403, "PERMISSION_DENIED", deniedIDTokenText, "IAM_PERMISSION_DENIED"},
		{"no such number", token, "123", access, `{` + goodScope + `}`, 403, "PERMISSION_DENIED", deniedTokenText, "IAM_PERMISSION_DENIED"},
		{"no account's address", token, "me@example.com", access, `{` + goodScope + `}`, 404, "NOT_FOUND", "Not found; Gaia id not found for email me@example.com", ""},
		{"no scope", token, account, access, `{}`, 400, "INVALID_ARGUMENT", invalidText, ""},
		{"no body", token, account, access, ``, 400, "INVALID_ARGUMENT", invalidText, ""},
		{"empty scope", token, account, access, `{"scope":[]}`, 400, "INVALID_ARGUMENT", invalidText, ""},
		{"bogus scope", token, account, access, `{"scope":["x"]}`, 400, "INVALID_ARGUMENT", invalidText, ""},
		{"scope is text", token, account, access, `{"scope":"x"}`, 400, "INVALID_ARGUMENT", invalidText, ""},
		{"longer than an hour", token, account, access, `{` + goodScope + `,"lifetime":"3601s"}`, 400, "INVALID_ARGUMENT", "The access token lifetime cannot exceed 3600 seconds.", ""},
		{"a bit longer", token, account, access, `{` + goodScope + `,"lifetime":"3600.1s"}`, 400, "INVALID_ARGUMENT", "The access token lifetime cannot exceed 3600 seconds.", ""},
		{"no time", token, account, access, `{` + goodScope + `,"lifetime":"0s"}`, 400, "INVALID_ARGUMENT", "Lifetime of access token must be larger then zero.", ""},
		{"no duration", token, account, access, `{` + goodScope + `,"lifetime":"1h"}`, 400, "INVALID_ARGUMENT",
			"Invalid value at 'lifetime' (type.googleapis.com/google.protobuf.Duration), Field 'lifetime', Invalid duration format", ""},
		{"a number", token, account, access, `{` + goodScope + `,"lifetime":3600}`, 400, "INVALID_ARGUMENT", invalidText, ""},
		{"unknown name", token, account, access, `{"scopes":["x"]}`, 400, "INVALID_ARGUMENT", `Invalid JSON payload received. Unknown name "scopes": Cannot find field.`, ""},
		{"no JSON", token, account, access, `scope=x`, 400, "INVALID_ARGUMENT", `Invalid JSON payload received. Parsing terminated before end of input.`, ""},
		{"too large", token, account, access, strings.Repeat(" ", 1<<20+1), 413, "INVALID_ARGUMENT", "Request payload size exceeds the limit.", ""},
		{"no audience", token, account, id, `{"includeEmail":true}`, 400, "INVALID_ARGUMENT", invalidText, ""},
		{"no such method", token, account, "signXml", `{}`, 404, "NOT_FOUND", "Method not found.", ""},
	} {
		a := l.iam(row.bearer, row.account, row.method, row.body)
		a.wantAPI(t, row.name, row.status, row.code, row.text, row.reason)
		if row.status == 401 && a.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: no WWW-Authenticate", row.name)
		}
	}
	l.iam(bad, account, access, `{`+goodScope+`}`).wantAPI(t, "expired first", 401, "UNAUTHENTICATED", wrongBearerText, "")
	bad = l.federated(googleScopes + "devstorage.read_only")
	l.iam(bad, account, access, `{`+goodScope+`}`).wantAPI(t, "scopes", 403, "PERMISSION_DENIED", "Request had insufficient authentication scopes.", "ACCESS_TOKEN_SCOPE_INSUFFICIENT")
	for name, change := range map[string]func(*http.Request){
		"basic":          func(r *http.Request) { r.SetBasicAuth("x", token) },
		"another scheme": func(r *http.Request) { r.Header.Set("Authorization", "Token "+token) },
		"token alone":    func(r *http.Request) { r.Header.Set("Authorization", token) },
		"token in URL":   func(r *http.Request) { r.URL.RawQuery = "access_token=" + token },
	} {
		r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:1"+accountsPath+account+":generateAccessToken", strings.NewReader(`{`+goodScope+`}`))
		change(r)
		if a := l.askGoogle(l.google.serveIAM, r); a.status != 401 {
			t.Errorf("%s: %s", name, a.body)
		}
	}
	for _, path := range []string{"/", "/v1/projects/sandbox-project/serviceAccounts/" + account + ":generateAccessToken", accountsPath + ":generateAccessToken", accountsPath + account,
		accountsPath + "x/" + account + ":generateAccessToken", "GET " + accountsPath + account + ":generateAccessToken"} {
		method, path := http.MethodPost, path
		if rest, get := strings.CutPrefix(path, "GET "); get {
			method, path = http.MethodGet, rest
		}
		r := httptest.NewRequest(method, "http://127.0.0.1:1"+path, strings.NewReader(`{`+goodScope+`}`))
		r.Header.Set("Authorization", "Bearer "+token)
		l.askGoogle(l.google.serveIAM, r).wantAPI(t, path, 404, "NOT_FOUND", "Method not found.", "")
	}
}

// The 403 that everybody knows, to the letter.
func TestDeniedBody(t *testing.T) {
	l := newLab(t, Config{})
	a := l.iam(l.federated(), "x@y-z.iam.gserviceaccount.com", "generateAccessToken", `{`+goodScope+`}`)
	var got any
	if err := json.Unmarshal([]byte(a.body), &got); err != nil {
		t.Fatal(err)
	}
	var want any
	if err := json.Unmarshal([]byte(`{"error":{"code":403,
		"message":"Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).",
		"status":"PERMISSION_DENIED",
		"details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"IAM_PERMISSION_DENIED","domain":"iam.googleapis.com",
			"metadata":{"permission":"iam.serviceAccounts.getAccessToken"}}]}}`), &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestGenerateIDToken(t *testing.T) {
	l := newLab(t, Config{GCPServiceAccounts: []string{secondAccount}})
	token := l.federated()
	for _, row := range []struct {
		name, body string
		more       map[string]any
	}{
		{"plain", `{"audience":"https://run.example"}`, nil},
		{"email", `{"audience":"https://run.example","includeEmail":true}`, map[string]any{"email": secondAccount, "email_verified": true}},
		{"delegates", `{"audience":"https://run.example","delegates":["projects/-/serviceAccounts/` + DefaultGCPServiceAccount + `"],"organizationNumberIncluded":true}`, nil},
	} {
		a := l.iam(token, secondAccount, "generateIdToken", row.body)
		if a.status != 200 || !slices.Contains(l.ledger.list(), a.IDToken) {
			t.Fatalf("%s: %s", row.name, a.body)
		}
		parsed, err := josejwt.ParseSigned(a.IDToken, []jose.SignatureAlgorithm{jose.RS256})
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := parsed.Claims(l.certs(), &got); err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		id := l.google.account(secondAccount).id
		want := map[string]any{
			"iss": "https://accounts.google.com", "aud": "https://run.example", "azp": id, "sub": id,
			"iat": float64(at.Unix()), "exp": float64(at.Unix() + 3600),
		}
		for name, value := range row.more {
			want[name] = value
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", row.name, diff)
		}
		if err := parsed.Claims(l.issuer.public, &got); err == nil {
			t.Errorf("%s: CircleCI's key signed it", row.name)
		}
	}
	if id := l.google.account(secondAccount).id; len(id) != 21 || strings.Trim(id, "0123456789") != "" {
		t.Errorf("the account's id is %q", id)
	}
}

// certs reads the keys that the service publishes.
func (l *lab) certs() *jose.JSONWebKeySet {
	l.t.Helper()
	w := httptest.NewRecorder()
	l.google.serveIAM(w, httptest.NewRequest(http.MethodGet, "/oauth2/v3/certs", nil))
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal(w.Body.Bytes(), &keys); err != nil || len(keys.Keys) != 1 || !keys.Keys[0].IsPublic() {
		l.t.Fatalf("%v: %d keys, or a private one", err, len(keys.Keys))
	}
	return &keys
}

func TestProject(t *testing.T) {
	l := newLab(t, Config{GCPProjectID: "my-project"})
	token := l.federated()
	account := l.impersonated(token, DefaultGCPServiceAccount)
	get := func(method, path, bearer string) googleAnswer {
		r := httptest.NewRequest(method, "http://127.0.0.1:1"+path, nil)
		if bearer != "" {
			r.Header.Set("Authorization", "Bearer "+bearer)
		}
		return l.askGoogle(l.google.serveCRM, r)
	}
	for _, bearer := range []string{token, account, l.federated(cloudPlatform + ".read-only"), l.federated("https://www.googleapis.com/auth/cloudplatformprojects.readonly")} {
		for _, name := range []string{"123456789012", "my-project"} {
			a := get("GET", "/v1/projects/"+name+"?alt=json", bearer)
			if want := `{"projectNumber":"123456789012","projectId":"my-project","lifecycleState":"ACTIVE","name":"my-project"}` + "\n"; a.status != 200 || a.body != want {
				t.Errorf("%s: %d %s", name, a.status, a.body)
			}
		}
	}
	get("GET", "/v1/projects/123456789012", "").wantAPI(t, "no token", 401, "UNAUTHENTICATED", noBearerText, "CREDENTIALS_MISSING")
	get("GET", "/v1/projects/123456789012", "x").wantAPI(t, "invented", 401, "UNAUTHENTICATED", wrongBearerText, "")
	get("GET", "/v1/projects/sandbox-project", token).wantAPI(t, "another", 403, "PERMISSION_DENIED", "The caller does not have permission", "")
	get("GET", "/v1/projects/123456789012", l.federated(iamScope)).
		wantAPI(t, "scopes", 403, "PERMISSION_DENIED", "Request had insufficient authentication scopes.", "ACCESS_TOKEN_SCOPE_INSUFFICIENT")
	for _, path := range []string{"/", "/v1/projects/", "/v1/projects/my-project:getIamPolicy", "/v1/projects/a/b"} {
		get("GET", path, token).wantAPI(t, path, 404, "NOT_FOUND", "Method not found.", "")
	}
	get("POST", "/v1/projects/my-project", token).wantAPI(t, "POST", 404, "NOT_FOUND", "Method not found.", "")
}
