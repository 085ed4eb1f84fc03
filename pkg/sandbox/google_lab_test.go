package sandbox

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

const (
	secondAccount = "release@other-project.iam.gserviceaccount.com"
	thirdAccount  = "123456789012-compute@developer.gserviceaccount.com"
	cloudPlatform = "https://www.googleapis.com/auth/cloud-platform"

	// ownPrincipal is whom every good token of the sandbox becomes.
	ownPrincipal = "principal://iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/circleci/subject/" + ownSubject
)

// A googleAnswer is what one of Google's services sent, read by types of the
// test's own.
type googleAnswer struct {
	status int
	header http.Header
	body   string
	note   string

	AccessToken string `json:"access_token"`
	ExpiresIn   int    `json:"expires_in"`
	SAToken     string `json:"accessToken"`
	ExpireTime  string `json:"expireTime"`
	IDToken     string `json:"token"`

	Error       json.RawMessage `json:"error"`
	Description string          `json:"error_description"`
	api         struct {
		Code    int
		Message string
		Status  string
		Details []map[string]any
	}
}

func (l *lab) askGoogle(serve endpoint, r *http.Request) googleAnswer {
	l.t.Helper()
	w := httptest.NewRecorder()
	note := serve(w, r)
	a := readGoogle(l.t, w)
	a.note = note
	return a
}

func readGoogle(t testing.TB, w *httptest.ResponseRecorder) googleAnswer {
	t.Helper()
	a := googleAnswer{status: w.Code, header: w.Header(), body: w.Body.String()}
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		t.Errorf("no JSON: %v: %s", err, a.body)
	}
	if strings.HasPrefix(string(a.Error), "{") {
		if err := json.Unmarshal(a.Error, &a.api); err != nil {
			t.Error(err)
		}
	}
	return a
}

func (l *lab) googleForm(path string, form url.Values) googleAnswer {
	l.t.Helper()
	r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:1"+path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return l.askGoogle(l.google.serveSTS, r)
}

func (l *lab) googleJSON(path, body string) googleAnswer {
	l.t.Helper()
	r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:1"+path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json; charset=UTF-8")
	return l.askGoogle(l.google.serveSTS, r)
}

// iam asks the service account credentials API.
func (l *lab) iam(bearer, account, method, body string) googleAnswer {
	l.t.Helper()
	r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:1/v1/projects/-/serviceAccounts/"+account+":"+method+"?alt=json&prettyPrint=false", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	return l.askGoogle(l.google.serveIAM, r)
}

// exchangeForm is a good request with a token, changed last. An empty list
// takes a parameter out.
func exchangeForm(token string, change url.Values) url.Values {
	form := url.Values{
		"grant_type":           {"urn:ietf:params:oauth:grant-type:token-exchange"},
		"audience":             {"//iam.googleapis.com/" + DefaultGCPProvider},
		"scope":                {cloudPlatform},
		"requested_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
		"subject_token_type":   {"urn:ietf:params:oauth:token-type:jwt"},
		"subject_token":        {token},
	}
	maps.Copy(form, change)
	for name, values := range change {
		if len(values) == 0 {
			form.Del(name)
		}
	}
	return form
}

// federated exchanges a good token.
func (l *lab) federated(scopes ...string) string {
	l.t.Helper()
	change := url.Values{}
	if len(scopes) > 0 {
		change.Set("scope", strings.Join(scopes, " "))
	}
	a := l.googleForm("/v1/token", exchangeForm(l.v1(Variant{}, nil), change))
	if a.status != 200 {
		l.t.Fatalf("no token: %s", a.body)
	}
	return a.AccessToken
}

// impersonated goes on to a service account.
func (l *lab) impersonated(bearer, account string) string {
	l.t.Helper()
	a := l.iam(bearer, account, "generateAccessToken", `{"scope":["`+cloudPlatform+`"]}`)
	if a.status != 200 {
		l.t.Fatalf("no access to %s: %s", account, a.body)
	}
	return a.SAToken
}

func (a googleAnswer) wantOAuth(t testing.TB, name string, status int, code, text string) {
	t.Helper()
	if got := strings.Trim(string(a.Error), `"`); a.status != status || got != code || a.Description != text {
		t.Errorf("%s:\ngot  %d %s %q\nwant %d %s %q", name, a.status, got, a.Description, status, code, text)
	}
}

func (a googleAnswer) wantAPI(t testing.TB, name string, status int, code, text, reason string) {
	t.Helper()
	got := ""
	if len(a.api.Details) > 0 {
		got, _ = a.api.Details[0]["reason"].(string)
	}
	if a.status != status || a.api.Code != status || a.api.Status != code || a.api.Message != text || got != reason {
		t.Errorf("%s:\ngot  %d %s %q %q\nwant %d %s %q %q", name, a.status, a.api.Status, a.api.Message, got, status, code, text, reason)
	}
}

func (l *lab) later(d time.Duration) { l.now = l.now.Add(d) }
