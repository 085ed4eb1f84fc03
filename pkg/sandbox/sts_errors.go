package sandbox

import (
	"fmt"
	"net/http"
	"strings"
)

// A refusal is an error as AWS answers it. The codes, statuses and texts are
// AWS's own; where a text is not known from AWS, the comment says so.
type refusal struct {
	status  int
	code    string
	message string
	// why is for the sandbox's log alone: AWS does not tell.
	why string
}

func (r *refusal) Error() string { return r.code + ": " + r.message }

// because adds what the real AWS keeps to itself.
func (r *refusal) because(format string, args ...any) *refusal {
	r.why = fmt.Sprintf(format, args...)
	return r
}

func refuse(status int, code, format string, args ...any) *refusal {
	return &refusal{status: status, code: code, message: fmt.Sprintf(format, args...)}
}

// Requests that are not understood.

func invalidAction(action, version string) *refusal {
	if version == "" {
		version = "NO_VERSION_SPECIFIED"
	}
	return refuse(http.StatusBadRequest, "InvalidAction", "Could not find operation %s for version %s", action, version)
}

func missingAction() *refusal {
	return refuse(http.StatusBadRequest, "MissingAction", "The request is missing an action or a required parameter.")
}

func malformedQuery() *refusal {
	return refuse(http.StatusBadRequest, "MalformedQueryString", "The query string contains a syntax error.")
}

// tooLarge is the sandbox's own: AWS's text is not known.
func tooLarge() *refusal {
	return refuse(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "Request Entity Too Large")
}

// Parameters out of range.

// invalid joins the violated constraints as AWS does.
func invalid(constraints []string) *refusal {
	plural := "s"
	if len(constraints) == 1 {
		plural = ""
	}
	return validation("%d validation error%s detected: %s", len(constraints), plural, strings.Join(constraints, "; "))
}

func validation(format string, args ...any) *refusal {
	return refuse(http.StatusBadRequest, "ValidationError", format, args...)
}

func invalidARN() *refusal { return validation("Request ARN is invalid") }

// malformedInput answers a number that is none. AWS sends no text that is
// known.
func malformedInput() *refusal {
	return refuse(http.StatusBadRequest, "MalformedInput", "Invalid Argument")
}

func overMaxSession() *refusal {
	return validation("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
}

func overChaining() *refusal {
	return validation("The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
}

func malformedPolicy(message string) *refusal {
	return refuse(http.StatusBadRequest, "MalformedPolicyDocument", "%s", message)
}

func packedTooLarge(percent int) *refusal {
	return refuse(http.StatusBadRequest, "PackedPolicyTooLarge",
		"Packed policy consumes %d%% of allotted space, please use smaller policy.", percent)
}

// Tokens.

func invalidToken(format string, args ...any) *refusal {
	return refuse(http.StatusBadRequest, "InvalidIdentityToken", format, args...)
}

func notAJWT() *refusal {
	return invalidToken("The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)")
}

// notValidated is AWS's text for causes that it does not name. That a bad
// signature is one of them is a guess: no record of that answer was found.
func notValidated() *refusal {
	return invalidToken("The web identity token provided could not be validated. See the AssumeRoleWithWebIdentity documentation for requirements.")
}

// noKey has two spaces, as AWS's text has.
func noKey() *refusal {
	return invalidToken("Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements")
}

func expired(now, exp int64) *refusal {
	return refuse(http.StatusBadRequest, "ExpiredTokenException",
		"Token expired: current date/time %d must be before the expiration date/time %d", now, exp)
}

func internalFailure() *refusal {
	return refuse(http.StatusInternalServerError, "InternalFailure", "Unknown error validating third-party token")
}

// Permissions.

func accessDenied(format string, args ...any) *refusal {
	return refuse(http.StatusForbidden, "AccessDenied", format, args...)
}

// notAuthorized is all that a trust policy's refusal ever says.
func notAuthorized() *refusal {
	return accessDenied("Not authorized to perform sts:AssumeRoleWithWebIdentity")
}

func userNotAuthorized(user, action, resource string) *refusal {
	return accessDenied("User: %s is not authorized to perform: %s on resource: %s", user, action, resource)
}

// Signatures.

func missingAuthentication() *refusal {
	return refuse(http.StatusForbidden, "MissingAuthenticationToken", "Request is missing Authentication Token")
}

func unknownKey() *refusal {
	return refuse(http.StatusForbidden, "InvalidClientTokenId", "The security token included in the request is invalid.")
}

func expiredCredentials() *refusal {
	return refuse(http.StatusForbidden, "ExpiredToken", "The security token included in the request is expired")
}

func incompleteSignature(format string, args ...any) *refusal {
	return refuse(http.StatusForbidden, "IncompleteSignature", format, args...)
}

func wrongSignature(format string, args ...any) *refusal {
	return refuse(http.StatusForbidden, "SignatureDoesNotMatch", format, args...)
}

func signatureMismatch() *refusal {
	return wrongSignature("The request signature we calculated does not match the signature you provided. " +
		"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
}
