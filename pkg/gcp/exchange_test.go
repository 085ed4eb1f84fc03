package gcp

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
)

const cloudPlatform = "https://www.googleapis.com/auth/cloud-platform"

// What is asked of STS, to the letter (RFC 8693 §2.1): no field more, no
// Authorization, and the token in the body alone.
func TestFederateRequest(t *testing.T) {
	for name, row := range map[string]struct {
		o     Options
		url   string
		scope string
	}{
		"direct":    {Options{}, "https://sts.googleapis.com/v1/token", cloudPlatform},
		"scopes":    {Options{Scopes: []string{"openid", cloudPlatform}}, "https://sts.googleapis.com/v1/token", "openid " + cloudPlatform},
		"account":   {Options{ServiceAccount: testAccount, Scopes: []string{"openid"}}, "https://sts.googleapis.com/v1/token", cloudPlatform},
		"universe":  {Options{UniverseDomain: "example.goog"}, "https://sts.example.goog/v1/token", cloudPlatform},
		"elsewhere": {Options{STSEndpoint: "http://127.0.0.1:1/base/"}, "http://127.0.0.1:1/base/v1/token", cloudPlatform},
	} {
		t.Run(name, func(t *testing.T) {
			net := google(nil)
			if _, err := settled(t, row.o).Run(t.Context(), net.client(), testToken()); err != nil {
				t.Fatal(err)
			}
			got := net.calls[0]
			form, err := url.ParseQuery(got.body)
			if err != nil {
				t.Fatal(err)
			}
			want := url.Values{
				"grant_type":           {"urn:ietf:params:oauth:grant-type:token-exchange"},
				"audience":             {"//iam.googleapis.com/" + testProvider},
				"scope":                {row.scope},
				"requested_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
				"subject_token_type":   {"urn:ietf:params:oauth:token-type:jwt"},
				"subject_token":        {testToken().Raw.Reveal()},
			}
			if diff := cmp.Diff(want, form); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(call{"POST " + row.url, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, got.body}, got, cmp.AllowUnexported(call{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestIAMRequest(t *testing.T) {
	const base = "POST https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/" + testAccount
	full := Options{
		ServiceAccount: testAccount, Delegates: []string{"a@p.iam.gserviceaccount.com", "b@p.iam.gserviceaccount.com"},
		Scopes: []string{"openid", cloudPlatform}, TokenLifetime: "30m",
	}
	const delegates = `"delegates":["projects/-/serviceAccounts/a@p.iam.gserviceaccount.com","projects/-/serviceAccounts/b@p.iam.gserviceaccount.com"]`
	for name, row := range map[string]struct {
		o         Options
		id, email bool
		url, body string
	}{
		"access token":       {o: Options{ServiceAccount: testAccount}, url: base + ":generateAccessToken", body: `{"scope":["` + cloudPlatform + `"]}`},
		"access token, full": {o: full, url: base + ":generateAccessToken", body: `{` + delegates + `,"lifetime":"1800s","scope":["openid","` + cloudPlatform + `"]}`},
		"id token":           {o: Options{ServiceAccount: testAccount}, id: true, url: base + ":generateIdToken", body: `{"audience":"https://x","includeEmail":false}`},
		"id token, full":     {o: full, id: true, email: true, url: base + ":generateIdToken", body: `{"audience":"https://x",` + delegates + `,"includeEmail":true}`},
		"elsewhere": {
			o:   Options{ServiceAccount: testAccount, IAMCredentialsEndpoint: "http://127.0.0.1:1/"},
			url: "POST http://127.0.0.1:1/v1/projects/-/serviceAccounts/" + testAccount + ":generateAccessToken", body: `{"scope":["` + cloudPlatform + `"]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			net := google(nil)
			x := settled(t, row.o)
			var err error
			if row.id {
				_, err = x.IDToken(t.Context(), net.client(), testToken(), "https://x", row.email)
			} else {
				_, err = x.Run(t.Context(), net.client(), testToken())
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(net.calls) != 2 {
				t.Fatalf("%d calls, want 2", len(net.calls))
			}
			want := call{row.url, http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + federated}}, row.body}
			if diff := cmp.Diff(want, net.calls[1], cmp.AllowUnexported(call{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The job's token is in one body of one call, whatever is asked and refused.
func TestTokenTravelsOnce(t *testing.T) {
	net := google(map[string][]answer{atIAM: {{403, api("PERMISSION_DENIED", denied, "")}}})
	_, err := settled(t, Options{ServiceAccount: testAccount}).Run(t.Context(), net.client(), testToken())
	wantFault(t, err, fault.Refused)
	if len(net.calls) != 3 { // token, generateAccessToken, introspect
		t.Fatalf("%d calls", len(net.calls))
	}
	raw := testToken().Raw.Reveal()
	for i, c := range net.calls {
		if strings.Contains(c.url, raw) || strings.Contains(strings.Join(c.header["Authorization"], ""), raw) || strings.Contains(c.body, raw) != (i == 0) {
			t.Errorf("call %d carries the job's token where it must not, or does not where it must", i)
		}
		if strings.Contains(c.url, federated) {
			t.Errorf("call %d has the federated token in its URL", i)
		}
	}
	if got := net.calls[2]; got.body != "token="+federated+"&token_type_hint=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token" || got.header.Get("Authorization") != "" {
		t.Errorf("it introspects with %q", got.body)
	}
}

func TestAnswers(t *testing.T) {
	const held = `{"accessToken":"ya29.c.T","expireTime":"`
	for name, row := range map[string]struct {
		at     string
		body   string
		words  string // of the error; "": none
		expiry time.Time
	}{
		"whole seconds":       {atIAM, held + `2026-03-01T13:00:00Z"}`, "", now().Add(time.Hour)},
		"nanoseconds":         {atIAM, held + `2026-03-01T12:30:00.123456789Z"}`, "", now().Add(30*time.Minute + 123456789)},
		"another zone":        {atIAM, held + `2026-03-01T14:00:00+01:00"}`, "", now().Add(time.Hour)},
		"more fields":         {atIAM, `{"new":1,"accessToken":"ya29.c.T","expireTime":"2026-03-01T13:00:00Z"}`, "", now().Add(time.Hour)},
		"no expireTime":       {atIAM, `{"accessToken":"ya29.c.T"}`, "without the token's lifetime", time.Time{}},
		"null expireTime":     {atIAM, `{"accessToken":"ya29.c.T","expireTime":null}`, "without the token's lifetime", time.Time{}},
		"expireTime in words": {atIAM, held + `soon"}`, " answers 200", time.Time{}},
		"expireTime a number": {atIAM, `{"accessToken":"ya29.c.T","expireTime":1772370000}`, " answers 200", time.Time{}},
		"no token":            {atIAM, `{"expireTime":"2026-03-01T13:00:00Z"}`, "without an access token", time.Time{}},
		"a newline":           {atIAM, `{"accessToken":"ya29\nevil","expireTime":"2026-03-01T13:00:00Z"}`, "without an access token", time.Time{}},
		"empty":               {atIAM, ``, " answers 200", time.Time{}},
		"html":                {atIAM, `<html>`, " answers 200", time.Time{}},

		"sts empty":          {atSTS, ``, " answers 200", time.Time{}},
		"sts html":           {atSTS, `<html>`, " answers 200", time.Time{}},
		"sts null":           {atSTS, `null`, "without an access token", time.Time{}},
		"sts no token":       {atSTS, `{"expires_in":3600}`, "without an access token", time.Time{}},
		"sts newline":        {atSTS, `{"access_token":"ya29\r\nX: y","expires_in":3600}`, "without an access token", time.Time{}},
		"sts space":          {atSTS, `{"access_token":"ya29 x","expires_in":3600}`, "without an access token", time.Time{}},
		"sts not ASCII":      {atSTS, `{"access_token":"ya29ø","expires_in":3600}`, "without an access token", time.Time{}},
		"sts no expires_in":  {atSTS, `{"access_token":"ya29.d.T"}`, "without the token's lifetime", time.Time{}},
		"sts zero":           {atSTS, `{"access_token":"ya29.d.T","expires_in":0}`, "without the token's lifetime", time.Time{}},
		"sts negative":       {atSTS, `{"access_token":"ya29.d.T","expires_in":-1}`, "without the token's lifetime", time.Time{}},
		"sts fraction":       {atSTS, `{"access_token":"ya29.d.T","expires_in":1.5}`, "without the token's lifetime", time.Time{}},
		"sts huge":           {atSTS, `{"access_token":"ya29.d.T","expires_in":9223372036854775807}`, "without the token's lifetime", time.Time{}},
		"sts in words":       {atSTS, `{"access_token":"ya29.d.T","expires_in":"soon"}`, " answers 200", time.Time{}},
		"sts a year":         {atSTS, `{"access_token":"ya29.d.T","expires_in":31536000}`, "", now().Add(time.Hour)},
		"iam in 2099":        {atIAM, `{"accessToken":"ya29.c.T","expireTime":"2099-01-02T03:04:05Z"}`, "", now().Add(time.Hour)},
		"sts number as text": {atSTS, `{"access_token":"ya29.d.T","expires_in":"3600"}`, "", now().Add(time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			net := google(map[string][]answer{row.at: {ok(row.body)}})
			o := Options{}
			if row.at == atIAM {
				o.ServiceAccount = testAccount
			}
			got, err := settled(t, o).Run(t.Context(), net.client(), testToken())
			if row.words != "" {
				wantFault(t, err, fault.Unavailable, "which is not an answer of Google's", row.words)
				if strings.Contains(err.Error(), "ya29") {
					t.Errorf("the error holds the answer: %v", err)
				}
				return
			}
			if err != nil || !got.Expiry.Equal(row.expiry) || got.Expiry.Location() != time.UTC || got.Token.Empty() {
				t.Errorf("until %s, want %s: %v", got.Expiry, row.expiry, err)
			}
		})
	}
}

func TestIDToken(t *testing.T) {
	net := google(nil)
	got, err := settled(t, Options{ServiceAccount: testAccount}).IDToken(t.Context(), net.client(), testToken(), "https://x", false)
	if err != nil || !got.Equal(secret.New("eyJ.ID.TOKEN")) {
		t.Errorf("not the token: %v", err)
	}
	for name, body := range map[string]string{"none": `{}`, "newline": `{"token":"a\nb"}`} {
		net := google(map[string][]answer{":generateIdToken": {ok(body)}})
		_, err := settled(t, Options{ServiceAccount: testAccount}).IDToken(t.Context(), net.client(), testToken(), "https://x", false)
		t.Run(name, func(t *testing.T) { wantFault(t, err, fault.Unavailable, "without an ID token") })
	}
	_, err = settled(t, Options{}).IDToken(t.Context(), google(nil).client(), testToken(), "https://x", false)
	wantFault(t, err, fault.Usage, "give service-account")
}
