package sandbox

import (
	"errors"
	"fmt"
	"net/http"
)

// A googleRefusal is an error as Google answers it: the token service as OAuth
// has it, all others in the shape of Google's APIs. The texts are Google's own;
// where a text is not known from Google, the comment says so.
type googleRefusal struct {
	status int
	code   string
	body   any
	// why is for the sandbox's log alone: Google does not tell.
	why string
}

func (r *googleRefusal) Error() string { return r.code }

// because adds what the real Google keeps to itself.
func (r *googleRefusal) because(format string, args ...any) *googleRefusal {
	r.why = fmt.Sprintf(format, args...)
	return r
}

func asGoogleRefusal(err error) *googleRefusal {
	var no *googleRefusal
	if errors.As(err, &no) {
		return no
	}
	return apiRefusal(http.StatusInternalServerError, "INTERNAL", "Internal error encountered.")
}

// The shape of OAuth.

func oauthRefusal(code, format string, args ...any) *googleRefusal {
	return &googleRefusal{status: http.StatusBadRequest, code: code, body: struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{code, fmt.Sprintf(format, args...)}}
}

// missingParameter, wrongParameter and invalidScope hold texts that are the
// sandbox's guess, after those that are known for other parameters.
func missingParameter(name string) *googleRefusal {
	return oauthRefusal("invalid_request", "Missing required parameter: %s", name)
}

func wrongParameter(name string) *googleRefusal {
	return oauthRefusal("invalid_request", "Invalid value for %q.", name)
}

func invalidScope(scope string) *googleRefusal {
	return oauthRefusal("invalid_scope", "Some requested scopes were invalid. {valid=[], invalid=[%s]}", scope)
}

func wrongAudienceParameter() *googleRefusal {
	return oauthRefusal("invalid_request", "Invalid value for \"audience\". This value should be the full resource name of the Identity Provider. "+
		"See https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token for the list of possible formats.")
}

func invalidTarget() *googleRefusal {
	return oauthRefusal("invalid_target", "The target service indicated by the \"audience\" parameters is invalid. "+
		"This might either be because the pool or provider is disabled or deleted or because it doesn't exist.")
}

func invalidGrant(format string, args ...any) *googleRefusal {
	return oauthRefusal("invalid_grant", format, args...)
}

func unparsable() *googleRefusal { return invalidGrant("Unable to parse the ID Token.") }

// noIssuerKey is also what Google says where it cannot reach the issuer.
func noIssuerKey() *googleRefusal {
	return invalidGrant("Error connecting to the given credential's issuer.")
}

func wrongSignatureOfToken() *googleRefusal {
	return invalidGrant("Unable to verify the ID Token signature.")
}

// stale takes the claim iat as it is written.
func stale(issued string) *googleRefusal {
	return invalidGrant("ID Token issued at %s is stale to sign-in.", issued)
}

func rejectedByCondition() *googleRefusal {
	return oauthRefusal("unauthorized_client", "The given credential is rejected by the attribute condition.")
}

func noSubject() *googleRefusal {
	return oauthRefusal("unauthorized_client", "Could not obtain a value for google.subject from the given credential.")
}

func subjectTooLong() *googleRefusal {
	return oauthRefusal("invalid_request", "The size of mapped attribute google.subject exceeds the 127 bytes limit. "+
		"Either modify your attribute mapping or the incoming assertion to produce a mapped attribute that is less than 127 bytes.")
}

// The shape of Google's APIs.

type apiError struct {
	Error struct {
		Code    int           `json:"code"`
		Message string        `json:"message"`
		Status  string        `json:"status"`
		Details []errorDetail `json:"details,omitempty"`
	} `json:"error"`
}

type errorDetail struct {
	Type     string            `json:"@type"`
	Reason   string            `json:"reason"`
	Domain   string            `json:"domain"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

func apiRefusal(status int, code, message string, details ...errorDetail) *googleRefusal {
	var body apiError
	body.Error.Code, body.Error.Message, body.Error.Status, body.Error.Details = status, message, code, details
	return &googleRefusal{status: status, code: code, body: body}
}

func errorInfo(reason, domain string, metadata map[string]string) errorDetail {
	return errorDetail{Type: "type.googleapis.com/google.rpc.ErrorInfo", Reason: reason, Domain: domain, Metadata: metadata}
}

func methodNotFound() *googleRefusal {
	return apiRefusal(http.StatusNotFound, "NOT_FOUND", "Method not found.")
}

func invalidArgument(message string) *googleRefusal {
	return apiRefusal(http.StatusBadRequest, "INVALID_ARGUMENT", message)
}

func plainInvalidArgument() *googleRefusal {
	return invalidArgument("Request contains an invalid argument.")
}

func invalidJSON(detail string) *googleRefusal {
	return invalidArgument("Invalid JSON payload received. " + detail)
}

// payloadTooLarge is the sandbox's own: Google's text is not known.
func payloadTooLarge() *googleRefusal {
	return apiRefusal(http.StatusRequestEntityTooLarge, "INVALID_ARGUMENT", "Request payload size exceeds the limit.")
}

const expectedCredentials = "Expected OAuth 2 access token, login cookie or other valid authentication credential. " +
	"See https://developers.google.com/identity/sign-in/web/devconsole-project."

func missingCredentials() *googleRefusal {
	return apiRefusal(http.StatusUnauthorized, "UNAUTHENTICATED",
		"Request is missing required authentication credential. "+expectedCredentials,
		errorInfo("CREDENTIALS_MISSING", "googleapis.com", nil))
}

func wrongCredentials() *googleRefusal {
	return apiRefusal(http.StatusUnauthorized, "UNAUTHENTICATED",
		"Request had invalid authentication credentials. "+expectedCredentials)
}

func insufficientScopes() *googleRefusal {
	return apiRefusal(http.StatusForbidden, "PERMISSION_DENIED", "Request had insufficient authentication scopes.",
		errorInfo("ACCESS_TOKEN_SCOPE_INSUFFICIENT", "googleapis.com", nil))
}

// permissionDenied is all that a missing binding and a missing account say.
func permissionDenied(permission string) *googleRefusal {
	return apiRefusal(http.StatusForbidden, "PERMISSION_DENIED",
		"Permission '"+permission+"' denied on resource (or it may not exist).",
		errorInfo("IAM_PERMISSION_DENIED", "iam.googleapis.com", map[string]string{"permission": permission}))
}

func noGaiaID(email string) *googleRefusal {
	return apiRefusal(http.StatusNotFound, "NOT_FOUND", "Not found; Gaia id not found for email "+email)
}

func projectDenied() *googleRefusal {
	return apiRefusal(http.StatusForbidden, "PERMISSION_DENIED", "The caller does not have permission")
}
