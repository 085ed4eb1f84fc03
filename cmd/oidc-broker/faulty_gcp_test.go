package main

import (
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// googleFaults are how Google's services misbehave, beside the faults that are
// nobody's in particular.
var googleFaults = map[string]faulty{
	// STS.
	"no-expires-in":      says(`{"access_token":"` + marker + `","token_type":"Bearer"}`),
	"expires-in-zero":    says(`{"access_token":"` + marker + `","token_type":"Bearer","expires_in":0}`),
	"expires-in-text":    says(`{"access_token":"` + marker + `","token_type":"Bearer","expires_in":"soon"}`),
	"newline-in-token":   says(`{"access_token":"` + marker + `\nexport PATH=/evil","token_type":"Bearer","expires_in":3599}`),
	"no-token":           says(`{"expires_in":3599,"hint":"` + marker + `"}`),
	"issuer-unreachable": refusesOAuth(http.StatusBadRequest, "invalid_grant", "Error connecting to the given credential's issuer."),
	"quota":              refusesOAuth(http.StatusTooManyRequests, "quota_exceeded", "The request was throttled due to rate limit: sts.googleapis.com/requests. Try again later."),
	"invalid-target":     refusesOAuth(http.StatusBadRequest, "invalid_target", `The target service indicated by the "audience" parameters is invalid. This might either be because the pool or provider is disabled or deleted or because it doesn't exist.`),
	"tomorrow":           refusesOAuth(http.StatusBadRequest, "something_new", "of tomorrow"),
	"sts-disabled":       refusesAPI(http.StatusForbidden, "PERMISSION_DENIED", "Security Token Service API has not been used in project 123456789012 before or it is disabled.", "SERVICE_DISABLED"),
	"echo-token": func(w http.ResponseWriter, r *http.Request, n int32) {
		refusesOAuth(http.StatusBadRequest, "invalid_grant", "cannot take "+r.FormValue("subject_token")+" \x1b[31mred")(w, r, n)
	},

	// The OAuth token endpoint.
	"echo-assertion": func(w http.ResponseWriter, r *http.Request, n int32) {
		refusesOAuth(http.StatusBadRequest, "invalid_grant", "cannot take "+r.FormValue("assertion"))(w, r, n)
	},

	// IAM Credentials.
	"sign-denied":           refusesAPI(http.StatusForbidden, "PERMISSION_DENIED", "Permission 'iam.serviceAccounts.signJwt' denied on resource (or it may not exist).", "IAM_PERMISSION_DENIED"),
	"no-expire-time":        says(`{"accessToken":"` + marker + `"}`),
	"expire-time-past":      says(`{"accessToken":"` + marker + `","expireTime":"2001-02-03T04:05:06Z"}`),
	"expire-time-text":      says(`{"accessToken":"` + marker + `","expireTime":"soon"}`),
	"expire-time-fractions": says(`{"accessToken":"ya29.c.fractions","expireTime":"2099-01-02T03:04:05.678901Z"}`),
	"newline-in-sa-token":   says(`{"accessToken":"` + marker + `\nexport PATH=/evil","expireTime":"2099-01-02T03:04:05Z"}`),
	"newline-in-id-token":   says(`{"token":"` + marker + `\nx"}`),
	"iam-disabled":          refusesAPI(http.StatusForbidden, "PERMISSION_DENIED", "IAM Service Account Credentials API has not been used in project 123456789012 before or it is disabled. Enable it by visiting https://console.developers.google.com/apis/api/iamcredentials.googleapis.com/overview?project=123456789012 then retry.", "SERVICE_DISABLED"),
	"no-gaia":               refusesAPI(http.StatusNotFound, "NOT_FOUND", "Not found; Gaia id not found for email deploy@sandbox-project.iam.gserviceaccount.com", ""),
	"lifetime":              refusesAPI(http.StatusBadRequest, "INVALID_ARGUMENT", "The access token lifetime cannot exceed 3600 seconds.", ""),
	"no-open-id":            refusesAPI(http.StatusForbidden, "PERMISSION_DENIED", "Permission 'iam.serviceAccounts.getOpenIdToken' denied on resource (or it may not exist).", "IAM_PERMISSION_DENIED"),
	"caller":                refusesAPI(http.StatusForbidden, "PERMISSION_DENIED", "The caller does not have permission", ""),
	"federated":             refusesAPI(http.StatusUnauthorized, "UNAUTHENTICATED", "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.", ""),
	"echo-bearer": func(w http.ResponseWriter, r *http.Request, n int32) {
		refusesAPI(http.StatusForbidden, "PERMISSION_DENIED", "cannot take "+r.Header.Get("Authorization"), "")(w, r, n)
	},

	// Both.
	"unavailable": refusesAPI(http.StatusServiceUnavailable, "UNAVAILABLE", "The service is currently unavailable.", ""),
}

// mended are what is wrong with the first answer alone.
var mended = map[string]faulty{
	"503-once":    faults["503"],
	"502-once":    faults["html-502"],
	"issuer-once": googleFaults["issuer-unreachable"],
	"429-once": func(w http.ResponseWriter, _ *http.Request, _ int32) {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	},
}

func says(body string) faulty {
	return func(w http.ResponseWriter, _ *http.Request, _ int32) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, body)
	}
}

func refusesOAuth(status int, code, description string) faulty {
	return func(w http.ResponseWriter, r *http.Request, n int32) {
		w.WriteHeader(status)
		says(`{"error":`+quoted(code)+`,"error_description":`+quoted(description)+`}`)(w, r, n)
	}
}

func refusesAPI(status int, code, message, reason string) faulty {
	details := ""
	if reason != "" {
		details = `,"details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":` + quoted(reason) + `,"domain":"iam.googleapis.com"}]`
	}
	return func(w http.ResponseWriter, r *http.Request, n int32) {
		w.WriteHeader(status)
		says(`{"error":{"code":`+strconv.Itoa(status)+`,"message":`+quoted(message)+`,"status":`+quoted(code)+details+`}}`)(w, r, n)
	}
}

// quoted is text in JSON.
func quoted(text string) string {
	return strings.ReplaceAll(strconv.QuoteToASCII(text), `\x`, `\u00`)
}

// googleServices are the variables that lead to what may be made faulty.
var googleServices = map[string]string{
	"sts": "CLOUDSDK_API_ENDPOINT_OVERRIDES_STS", "oauth": "CLOUDSDK_AUTH_TOKEN_HOST",
	"iam": "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS",
}

// faultyGoogle finds a fault for one of Google's services, or returns nil. What
// mends itself is the sandbox's own service afterwards.
func faultyGoogle(ts *testscript.TestScript, kind, service string) faulty {
	first := mended[kind]
	if first == nil {
		if fault := googleFaults[kind]; fault != nil {
			return fault
		}
		return faults[kind]
	}
	// In a second call of the command it would be another faulty server.
	own := ts.Getenv("SANDBOX_" + service)
	if own == "" {
		ts.Fatalf("%s needs a sandbox", kind)
	}
	u, err := url.Parse(own)
	ts.Check(err)
	onward := httputil.NewSingleHostReverseProxy(u)
	return func(w http.ResponseWriter, r *http.Request, n int32) {
		if n == 1 {
			first(w, r, n)
			return
		}
		onward.ServeHTTP(w, r)
	}
}
