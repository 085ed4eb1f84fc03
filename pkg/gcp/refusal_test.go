package gcp

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/oauth2"
	"google.golang.org/api/googleapi"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
)

// oauth is an error of Google's STS.
func oauth(code, message string) string {
	return `{"error":` + strconv.Quote(code) + `,"error_description":` + strconv.Quote(message) + `}`
}

// api is an error of Google's other services.
func api(status, message, reason string) string {
	details := ""
	if reason != "" {
		details = `,"details":[{"@type":"type.googleapis.com/google.rpc.Help","links":[]},{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"` + reason + `","domain":"iam.googleapis.com"}]`
	}
	return `{"error":{"code":400,"message":` + strconv.Quote(message) + `,"status":"` + status + `"` + details + `}}`
}

const (
	atSTS  = "/v1/token"
	atIAM  = ":generateAccessToken"
	denied = "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist)."
)

// A googleAnswer is an answer of Google, and what the error for it says.
type googleAnswer struct {
	at            string
	status        int
	code, message string // as the error shows them
	body          string
	kind          fault.Kind
	hint          string // "": claims alone
}

// googleAnswers has a row for every answer that Google is known to give.
func googleAnswers() []googleAnswer {
	const (
		describe = "gcloud iam workload-identity-pools providers describe main --workload-identity-pool=circleci --location=global --project=123456789012"
		binding  = "gcloud iam service-accounts add-iam-policy-binding " + testAccount + " --role=roles/iam.workloadIdentityUser --member='principal://iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/circleci/subject/" + testSubject + "'"
	)
	return []googleAnswer{
		{atSTS, 400, "unauthorized_client", "The given credential is rejected by the attribute condition.", "", fault.Refused, describe + " --format='value(attributeCondition)'"},
		{atSTS, 400, "unauthorized_client", "Could not obtain a value for google.subject from the given credential.", "", fault.Refused, "map google.subject to a claim that every token has"},
		{atSTS, 400, "invalid_request", "The size of mapped attribute google.subject exceeds the 127 bytes limit. Either modify your attribute mapping or the incoming assertion", "", fault.Refused, "the token's subject has 33 bytes"},
		{atSTS, 400, "invalid_grant", "The audience in ID Token [AUD] does not match the expected audience.", "", fault.Refused, "providers update-oidc main --workload-identity-pool=circleci --location=global --project=123456789012 --allowed-audiences=AUD"},
		{atSTS, 400, "invalid_grant", "The issuer in ID Token https://a does not match the expected ones: https://b", "", fault.Refused, "--issuer-uri to https://oidc.circleci.com/org/ORG"},
		{atSTS, 400, "invalid_grant", "Error connecting to the given credential's issuer.", "", fault.Unavailable, "could not fetch the keys of https://oidc.circleci.com/org/ORG"},
		{atSTS, 400, "invalid_grant", "ID Token issued at 1763075032 is stale to sign-in.", "", fault.Refused, "mint a new one with audience"},
		{atSTS, 400, "invalid_request", `Invalid value for "audience". This value should be the full resource name of the Identity Provider.`, "", fault.Refused, "it was read as " + testProvider},
		{atSTS, 400, "invalid_target", `The target service indicated by the "audience" parameters is invalid.`, "", fault.Refused, describe},
		{atSTS, 429, "quota_exceeded", "The request was throttled due to rate limit: sts.googleapis.com/requests", "", fault.Unavailable, ""},
		{atSTS, 400, "invalid_grant", "Unable to parse the ID Token.", "", fault.Refused, "oidc-broker token --verify"},
		{atSTS, 400, "invalid_scope", "Some requested scopes were invalid.", "", fault.Refused, ""},
		{atSTS, 403, "SERVICE_DISABLED", "Security Token Service API has not been used in project 1 before or it is disabled.", api("PERMISSION_DENIED", "Security Token Service API has not been used in project 1 before or it is disabled.", "SERVICE_DISABLED"), fault.Refused, "in the project of the pool: gcloud services enable sts.googleapis.com"},
		{atSTS, 404, "NOT_FOUND", "Method not found.", api("NOT_FOUND", "Method not found.", ""), fault.Refused, ""},
		{atSTS, 500, "INTERNAL", "Internal error encountered.", api("INTERNAL", "Internal error encountered.", ""), fault.Unavailable, ""},
		{atIAM, 403, "IAM_PERMISSION_DENIED", denied, api("PERMISSION_DENIED", denied, "IAM_PERMISSION_DENIED"), fault.Refused, binding},
		{atIAM, 403, "IAM_PERMISSION_DENIED", "Permission 'iam.serviceAccounts.getOpenIdToken' denied on resource (or it may not exist).", api("PERMISSION_DENIED", "Permission 'iam.serviceAccounts.getOpenIdToken' denied on resource (or it may not exist).", "IAM_PERMISSION_DENIED"), fault.Refused, binding},
		{atIAM, 403, "PERMISSION_DENIED", "The caller does not have permission", api("PERMISSION_DENIED", "The caller does not have permission", ""), fault.Refused, binding},
		{atIAM, 403, "SERVICE_DISABLED", "IAM Service Account Credentials API has not been used in project 1 before or it is disabled.", api("PERMISSION_DENIED", "IAM Service Account Credentials API has not been used in project 1 before or it is disabled.", "SERVICE_DISABLED"), fault.Refused, "in the project of the service account: gcloud services enable iamcredentials.googleapis.com"},
		{atIAM, 403, "PERMISSION_DENIED", "IAM Service Account Credentials API has not been used in project 1 before or it is disabled.", api("PERMISSION_DENIED", "IAM Service Account Credentials API has not been used in project 1 before or it is disabled.", ""), fault.Refused, "gcloud services enable iamcredentials.googleapis.com"},
		{atIAM, 404, "NOT_FOUND", "Not found; Gaia id not found for email " + testAccount, api("NOT_FOUND", "Not found; Gaia id not found for email "+testAccount, ""), fault.Refused, "there is no service account " + testAccount},
		{atIAM, 400, "INVALID_ARGUMENT", "Gaia id not found for email " + testAccount, api("INVALID_ARGUMENT", "Gaia id not found for email "+testAccount, ""), fault.Refused, "there is no service account " + testAccount},
		{atIAM, 404, "NOT_FOUND", "Requested entity was not found.", api("NOT_FOUND", "Requested entity was not found.", ""), fault.Refused, "there is no service account " + testAccount},
		{atIAM, 400, "INVALID_ARGUMENT", "The access token lifetime cannot exceed 3600 seconds.", api("INVALID_ARGUMENT", "The access token lifetime cannot exceed 3600 seconds.", ""), fault.Refused, "iam.allowServiceAccountCredentialLifetimeExtension for " + testAccount},
		{atIAM, 401, "ACCESS_TOKEN_TYPE_UNSUPPORTED", "Request had invalid authentication credentials.", api("UNAUTHENTICATED", "Request had invalid authentication credentials.", "ACCESS_TOKEN_TYPE_UNSUPPORTED"), fault.Refused, "no token of direct access"},
		{atIAM, 429, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric", api("RESOURCE_EXHAUSTED", "Quota exceeded for quota metric", ""), fault.Unavailable, ""},
		{atIAM, 503, "UNAVAILABLE", "The service is currently unavailable.", api("UNAVAILABLE", "The service is currently unavailable.", ""), fault.Unavailable, ""},
		{atIAM, 400, "FAILED_PRECONDITION", "something new", api("FAILED_PRECONDITION", "something new", ""), fault.Refused, ""},
		{atSTS, 418, "something_new", "of tomorrow", "", fault.Refused, ""},
	}
}

// network answers every call well but the one that the answer is for.
func (a googleAnswer) network() *recorder {
	body := a.body
	if body == "" {
		body = oauth(a.code, a.message)
	}
	return google(map[string][]answer{a.at: {{a.status, body}}})
}

// TestRefusals: the error says Google's words and our claims, and one hint has the
// words of the remedy.
func TestRefusals(t *testing.T) {
	for _, row := range googleAnswers() {
		t.Run(row.code+" "+row.message, func(t *testing.T) {
			_, err := settled(t, Options{ServiceAccount: testAccount}).Run(t.Context(), row.network().client(), testToken())
			wantFault(t, err, row.kind, row.code+": "+row.message, row.hint)
			hints := append(fault.Hints(err), fault.Details(err)...)
			if strings.ContainsAny(strings.Join(hints, ""), "{}") {
				t.Errorf("a hint has an unfilled place:\n%s", hints)
			}
		})
	}
}

// TestEveryRefusalIsReached: each row of the table explains an answer of Google. A row
// that no answer produces fails.
func TestEveryRefusalIsReached(t *testing.T) {
	const hour = "The requested service account can not have lifetimes of more than 1 hour"
	answers := append(googleAnswers(),
		googleAnswer{at: atIAM, status: 400, body: api("INVALID_ARGUMENT", hour, "")},
		googleAnswer{at: atIAM, status: 403, body: api("PERMISSION_DENIED", "Permission 'iam.serviceAccounts.signJwt' denied on resource (or it may not exist).", "IAM_PERMISSION_DENIED")},
	)
	// The hint of each row is its number: what the error then shows is the row.
	known := refusals
	t.Cleanup(func() { refusals = known })
	refusals = slices.Clone(known)
	for i := range refusals {
		refusals[i].hints = []string{fmt.Sprintf("row %d", i)}
	}
	reached := map[string]bool{}
	for _, a := range answers {
		_, err := settled(t, Options{ServiceAccount: testAccount}).Run(t.Context(), a.network().client(), testToken())
		if err == nil {
			t.Fatalf("%s %q: no error", a.code, a.message)
		}
		for _, hint := range append(fault.Hints(err), fault.Details(err)...) {
			reached[hint] = true
		}
	}
	for i, r := range known {
		if !reached[fmt.Sprintf("row %d", i)] {
			t.Errorf("no answer reaches %q %q (of IAM alone: %v)", r.code, r.text, r.iam)
		}
	}
}

// A row's places are all filled, whatever row an answer finds.
func TestHintsAreFilled(t *testing.T) {
	for _, method := range []string{"", "generateAccessToken"} {
		about := settled(t, Options{ServiceAccount: testAccount}).refusalOf(nil, testToken())
		about.method = method
		for _, row := range refusals {
			for _, h := range append(row.hints, row.more...) {
				if filled := about.fill(h); strings.ContainsAny(filled.String(), "{}") {
					t.Errorf("unfilled: %s", filled)
				}
			}
		}
	}
}

func TestNotGoogle(t *testing.T) {
	for name, a := range map[string]answer{
		"html":            {403, "<html>MARKER</html>"},
		"no body":         {404, ""},
		"text":            {400, "MARKER"},
		"a list":          {400, `["MARKER"]`},
		"another's JSON":  {400, `{"message":"MARKER"}`},
		"an empty error":  {400, `{"error":{}}`},
		"error is a list": {400, `{"error":["MARKER"]}`},
		"no content":      {204, ""},
		"proxy":           {407, "MARKER"},
	} {
		for _, at := range []string{atSTS, atIAM} {
			t.Run(name+at, func(t *testing.T) {
				net := google(map[string][]answer{at: {a}})
				_, err := settled(t, Options{ServiceAccount: testAccount}).Run(t.Context(), net.client(), testToken())
				wantFault(t, err, fault.Unavailable, fmt.Sprintf("answers %d", a.status), "which is not an answer of Google's", "a proxy, a login page")
				if strings.Contains(err.Error(), "MARKER") {
					t.Errorf("the error holds the answer: %v", err)
				}
			})
		}
	}
}

// Both shapes, and halves of them.
func TestRead(t *testing.T) {
	for body, want := range map[string]words{
		`{"error":"invalid_grant"}`:                                                         {code: "invalid_grant"},
		`{"error":"invalid_grant","error_description":"x","error_uri":"y"}`:                 {code: "invalid_grant", message: "x"},
		`{"error":{"status":"NOT_FOUND"}}`:                                                  {code: "NOT_FOUND", api: true},
		`{"error":{"message":"x"}}`:                                                         {message: "x", api: true},
		`{"error":{"code":403,"message":"x","status":"S","details":[]}}`:                    {code: "S", message: "x", api: true},
		`{"error":{"message":"x","status":"S","details":[{},{"reason":"R","domain":"D"}]}}`: {code: "R", message: "x", api: true, domain: "D"},
		`{"error":{"message":"x","status":"S","errors":[{"reason":"forbidden"}]}}`:          {code: "S", message: "x", api: true},
	} {
		if got, ok := read([]byte(body)); !ok || got != want {
			t.Errorf("%s: %+v, %v", body, got, ok)
		}
	}
}

// TestEcosystemErrors: a refusal is found as the error of Google's own clients, without
// what the answer repeats of the token.
func TestEcosystemErrors(t *testing.T) {
	t.Run("oauth", func(t *testing.T) {
		raw := testToken().Raw.Reveal()
		net := google(map[string][]answer{atSTS: {{400, oauth("invalid_target", "no provider for "+raw)}}})
		_, err := settled(t, Options{ServiceAccount: testAccount}).Run(t.Context(), net.client(), testToken())
		var got *oauth2.RetrieveError
		if !errors.As(err, &got) || got.ErrorCode != "invalid_target" || got.Response.StatusCode != 400 || strings.Contains(got.Error()+got.ErrorDescription, raw) {
			t.Errorf("%+v of %v", got, err)
		}
	})
	t.Run("api", func(t *testing.T) {
		net := google(map[string][]answer{atIAM: {{403, api("PERMISSION_DENIED", denied, "IAM_PERMISSION_DENIED")}}})
		_, err := settled(t, Options{ServiceAccount: testAccount}).Run(t.Context(), net.client(), testToken())
		var got *googleapi.Error
		if !errors.As(err, &got) || got.Code != 403 || got.Errors[0].Reason != "IAM_PERMISSION_DENIED" || got.Body != "" {
			t.Errorf("%+v of %v", got, err)
		}
	})
	t.Run("after the last attempt", func(t *testing.T) {
		net := google(map[string][]answer{atIAM: {{503, api("UNAVAILABLE", "try later", "")}}})
		_, err := settled(t, Options{ServiceAccount: testAccount}).Run(t.Context(), net.client(), testToken())
		var got *googleapi.Error
		if !errors.As(err, &got) || got.Code != 503 || fault.KindOf(err) != fault.Unavailable {
			t.Errorf("%+v of %v", got, err)
		}
	})
}

// The hint's binding is for the principal that Google sees: with another
// mapping it is not the subject.
func TestBindingNamesThePrincipal(t *testing.T) {
	refused := []answer{{403, api("PERMISSION_DENIED", denied, "IAM_PERMISSION_DENIED")}}
	const pool = "principal://iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/circleci/subject/"
	for name, row := range map[string]struct {
		introspect answer
		member     string
	}{
		"as mapped":    {ok(`{"active":true,"username":"` + pool + `project/P"}`), `'` + pool + `project/P'`},
		"a quote":      {ok(`{"active":true,"username":"` + pool + `it's"}`), `'` + pool + `it'\''s'`},
		"no answer":    {answer{503, ""}, `'` + pool + testSubject + `'`},
		"not active":   {ok(`{"active":false,"username":"` + pool + `x"}`), `'` + pool + testSubject + `'`},
		"no principal": {ok(`{"active":true,"username":"$(evil)"}`), `'` + pool + testSubject + `'`},
		"no JSON":      {ok(`<html>`), `'` + pool + testSubject + `'`},
	} {
		t.Run(name, func(t *testing.T) {
			net := google(map[string][]answer{atIAM: refused, "/v1/introspect": {row.introspect}})
			_, err := settled(t, Options{ServiceAccount: testAccount}).Run(t.Context(), net.client(), testToken())
			wantFault(t, err, fault.Refused, "--member="+row.member)
		})
	}
}

// Google's words are bounded, and hold neither the job's token nor the one that
// the call was made with.
func TestRefusalShowsNoToken(t *testing.T) {
	raw := testToken().Raw.Reveal()
	long := strings.Repeat(" long", 300)
	for name, r := range map[string]*recorder{
		"sts":      google(map[string][]answer{atSTS: {{400, oauth("invalid_grant", "bad "+raw+long)}}}),
		"sts code": google(map[string][]answer{atSTS: {{400, oauth(raw+long, "")}}}),
		"iam":      google(map[string][]answer{atIAM: {{403, api("PERMISSION_DENIED", "bad "+federated+" "+raw+long, "")}}}),
		"iam 503":  google(map[string][]answer{atIAM: {{503, api("PERMISSION_DENIED", "bad "+federated+" "+raw+long, "")}}}),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := settled(t, Options{ServiceAccount: testAccount}).Run(t.Context(), r.client(), testToken())
			if err == nil {
				t.Fatal("no error")
			}
			text := err.Error() + strings.Join(fault.Hints(err), "")
			for _, part := range append(strings.Split(raw, ".")[1:], raw, federated) {
				if strings.Contains(text, part) {
					t.Errorf("the error shows %q: %s", part, text)
				}
			}
			if len(err.Error()) > 800 {
				t.Errorf("the server's words are not bounded: %d bytes", len(err.Error()))
			}
		})
	}
}

// An answer that asks for another attempt gets one; a refusal does not.
func TestAttempts(t *testing.T) {
	for name, row := range map[string]struct {
		at    string
		first answer
		tries int
	}{
		"issuer unreachable": {atSTS, answer{400, oauth("invalid_grant", issuerUnreachable+".")}, 2},
		"sts 503":            {atSTS, answer{503, ""}, 2},
		"iam 500":            {atIAM, answer{500, api("INTERNAL", "x", "")}, 2},
		"refused":            {atSTS, answer{400, oauth("invalid_grant", "x")}, 1},
		"no binding":         {atIAM, answer{403, api("PERMISSION_DENIED", denied, "")}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			net := google(nil)
			net.answers[row.at] = []answer{row.first, net.answers[row.at][0]}
			c := &remote.Client{Transport: net, Now: now, Attempts: 2}
			_, err := settled(t, Options{ServiceAccount: testAccount}).Run(t.Context(), c, testToken())
			tries := 0
			for _, call := range net.calls {
				if strings.HasSuffix(call.url, row.at) {
					tries++
				}
			}
			if tries != row.tries || (err == nil) != (row.tries == 2) {
				t.Errorf("tried %d times, want %d: %v", tries, row.tries, err)
			}
		})
	}
}

// What the provider or the account's policy decides ends with the command that
// explains it.
func TestAHintIsTheCheck(t *testing.T) {
	for _, row := range []struct{ at, code, text string }{
		{atSTS, "unauthorized_client", "The given credential is rejected by the attribute condition."},
		{atSTS, "unauthorized_client", "Could not obtain a value for google.subject from the given credential."},
		{atSTS, "invalid_request", "The size of mapped attribute google.subject exceeds the 127 bytes limit."},
		{atIAM, "PERMISSION_DENIED", denied},
	} {
		body := oauth(row.code, row.text)
		if row.at == atIAM {
			body = api(row.code, row.text, "")
		}
		net := google(map[string][]answer{row.at: {{400, body}}})
		_, err := settled(t, Options{ServiceAccount: testAccount}).Run(t.Context(), net.client(), testToken())
		hints := append(fault.Hints(err), fault.Details(err)...)
		if !slices.ContainsFunc(hints, func(h string) bool {
			return strings.Contains(h, "--format=json | oidc-broker policy check gcp - --")
		}) {
			t.Errorf("%s: no hint has the check: %q", row.text, hints)
		}
	}
}
