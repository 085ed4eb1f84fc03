package aws

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// A stsAnswer is an answer of STS, and what the error for it says.
type stsAnswer struct {
	status        int
	code, message string
	kind          fault.Kind
	hint          string
}

// stsAnswers has a row for every answer that STS is known to give to the job's token.
func stsAnswers() []stsAnswer {
	return []stsAnswer{
		{403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity", fault.Refused, "AWS says the same when the role does not exist"},
		{403, "AccessDenied", "Unrecognized OAuth provider. Do not include a provider parameter when submitting OpenIDConnect ID tokens", fault.Refused, "another kind of provider"},
		{400, "InvalidIdentityToken", "No OpenIDConnect provider found in your account for https://oidc.circleci.com/org/ORG", fault.Refused, "aws iam create-open-id-connect-provider --url https://oidc.circleci.com/org/ORG --client-id-list ORG"},
		{400, "InvalidIdentityToken", "Incorrect token audience", fault.Refused, "add the audience AUD to the client ids of the provider in account 111122223333"},
		{400, "InvalidIdentityToken", "The web identity token provided could not be validated. See the AssumeRoleWithWebIdentity documentation for requirements.", fault.Refused, "check that the audience AUD is among the client ids"},
		{400, "InvalidIdentityToken", "Token audience contains more than one audience while authorized party is not present", fault.Refused, "mint a token with one audience: audience ORG"},
		{400, "InvalidIdentityToken", "Missing a required claim: iat", fault.Refused, "a token that AWS does not accept"},
		{400, "InvalidIdentityToken", "Claim is not allowed to be empty: aud", fault.Refused, "compare the issuer's provider in account 111122223333"},
		{400, "InvalidIdentityToken", "Invalid timestamp in token claims.", fault.Refused, "a token that AWS does not accept"},
		{400, "InvalidIdentityToken", "Token issued in the future: 1763075032", fault.Refused, "clock is more than 5 minutes ahead"},
		{400, "InvalidIdentityToken", "Token not yet valid: current date/time 1 must be after or equal to the not-before date/time 2", fault.Refused, "clock is more than 5 minutes ahead"},
		{400, "InvalidIdentityToken", "Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements", fault.Unavailable, "must serve /.well-known/ to the internet"},
		{400, "InvalidIdentityToken", "OpenIDConnect provider's HTTPS certificate doesn't match configured thumbprint", fault.Refused, "update the thumbprint list of the provider oidc.circleci.com/org/ORG"},
		{400, "InvalidIdentityToken", "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)", fault.Refused, "see 'oidc-broker token'"},
		{400, "InvalidIdentityToken", "principal_tags passed in claim is not in correct format.", fault.Refused, "a token that AWS does not accept"},
		{400, "InvalidIdentityToken", "something new", fault.Refused, "compare the issuer's provider in account 111122223333"},
		{400, "ExpiredTokenException", "Token expired: current date/time 1689326185 must be before the expiration date/time 1689284727", fault.Refused, "exchange the token in an early step"},
		{400, "ExpiredTokenException", "Token too old: 441398", fault.Refused, "AWS limits a token's age"},
		{400, "IDPCommunicationError", "could not be reached", fault.Unavailable, "AWS could not reach the issuer https://oidc.circleci.com/org/ORG"},
		{403, "IDPRejectedClaim", "rejected", fault.Refused, "did not confirm the token"},
		{400, "MalformedPolicyDocument", "This policy contains invalid Json", fault.Refused, "AWS cannot read the document given with policy"},
		{400, "PackedPolicyTooLarge", "Packed size of session tags consumes 142% of allotted space.", fault.Refused, "make the session policy smaller"},
		{403, "RegionDisabledException", "STS is not activated in this region for account:111122223333.", fault.Refused, "choose a region that account 111122223333 has turned on"},
		{400, "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.", fault.Refused, "shorter than 1h0m0s, or raise the MaxSessionDuration of the role"},
		{400, "ValidationError", "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.", fault.Refused, "session-duration 1h or less"},
		{400, "ValidationError", "Request ARN is invalid", fault.Refused, "AWS does not accept " + testRole},
		{400, "ValidationError", "1 validation error detected: Value 'x' at 'roleSessionName' failed to satisfy constraint", fault.Refused, "does not accept a value of the request"},
		{400, "Throttling", "Rate exceeded", fault.Unavailable, "too many calls at once"},
		{500, "InternalFailure", "Unknown error validating third-party token", fault.Unavailable, "run the job again"},
		{503, "ServiceUnavailable", "", fault.Unavailable, "run the job again"},
		{403, "InvalidClientTokenId", "The security token included in the request is invalid", fault.Refused, "give region"},
		{418, "SomethingNew", "of tomorrow", fault.Refused, "the token's subject is"},
	}
}

// xml is the answer as it is on the wire.
func (a stsAnswer) xml() string {
	return fmt.Sprintf(`<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>r</RequestId></ErrorResponse>`, a.code, a.message)
}

// TestRefusals: the error says AWS's words and our claims, and one hint has the
// words of the remedy.
func TestRefusals(t *testing.T) {
	for _, row := range stsAnswers() {
		t.Run(row.code+" "+row.message, func(t *testing.T) {
			net := &recorder{status: row.status, body: row.xml()}
			_, err := settled(t, Options{RoleARN: testRole}, env()).AssumeRole(context.Background(), net.client(), testToken())
			wantFault(t, err, row.kind, row.code)
			wantFault(t, err, row.kind, strings.Join(strings.Fields(row.message), " "))
			hints := strings.Join(append(fault.Hints(err), fault.Details(err)...), "\n")
			if !strings.Contains(hints, row.hint) {
				t.Errorf("no hint says %q:\n%s", row.hint, hints)
			}
			if strings.ContainsAny(hints, "{}") {
				t.Errorf("a hint has an unfilled place:\n%s", hints)
			}
		})
	}
}

// A lastRefuses is an STS that grants every call but the last.
type lastRefuses struct {
	grants int
	answer stsAnswer
}

func (l *lastRefuses) RoundTrip(req *http.Request) (*http.Response, error) {
	r := &recorder{status: l.answer.status, body: l.answer.xml()}
	if l.grants--; l.grants >= 0 {
		r = &recorder{status: 200, body: granted("arn:aws:sts::111122223333:assumed-role/deploy/s")}
	}
	return r.RoundTrip(req)
}

// TestEveryRefusalIsReached: each row of the table explains an answer to the job's
// token, or to a chained role. A row that no answer produces fails.
func TestEveryRefusalIsReached(t *testing.T) {
	answers := append(stsAnswers(),
		stsAnswer{status: 403, code: "AccessDenied", message: "User: arn:aws:sts::111122223333:assumed-role/deploy/s is not authorized to perform: sts:AssumeRole on resource: " + testRole},
		stsAnswer{status: 403, code: "AccessDenied", message: "User: x is not authorized to perform: sts:AssumeRoleWithWebIdentity on resource: y with an explicit deny in a resource-based policy"},
		stsAnswer{status: 403, code: "AccessDenied", message: "User: x is not authorized to perform: sts:AssumeRoleWithWebIdentity on resource: y with an explicit deny in a service control policy"},
		stsAnswer{status: 403, code: "AccessDenied", message: "User: x is not authorized to perform: sts:TagSession on resource: y"},
		stsAnswer{status: 403, code: "AccessDenied", message: "User: x is not authorized to perform: sts:SetSourceIdentity on resource: y"},
		stsAnswer{status: 400, code: "InvalidParameterValue", message: "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session."},
		stsAnswer{status: 403, code: "ExpiredToken", message: "The security token included in the request is expired"},
		stsAnswer{status: 400, code: "ThrottlingException", message: "Rate exceeded"},
		stsAnswer{status: 503, code: "RequestLimitExceeded", message: "Request limit exceeded."},
		stsAnswer{status: 500, code: "InternalError", message: "An internal error has occurred"},
		stsAnswer{status: 403, code: "SignatureDoesNotMatch", message: "The request signature we calculated does not match"},
		stsAnswer{status: 400, code: "RequestExpired", message: "Request has expired."},
	)
	// The hint of each row is its number: what the error then shows is the row.
	known := refusals
	t.Cleanup(func() { refusals = known })
	refusals = slices.Clone(known)
	for i := range refusals {
		refusals[i].hints = []string{fmt.Sprintf("row %d", i)}
	}
	reached := map[string]bool{}
	for _, answer := range answers {
		for grants, o := range []Options{{RoleARN: testRole}, {RoleARN: testRole, ChainRoleARNs: []string{testRole}}} {
			c := (&recorder{}).client()
			c.Transport = &lastRefuses{grants, answer}
			_, err := settled(t, o, env()).AssumeRole(t.Context(), c, testToken())
			if err == nil {
				t.Fatalf("%s %q: no error", answer.code, answer.message)
			}
			for _, hint := range append(fault.Hints(err), fault.Details(err)...) {
				reached[hint] = true
			}
		}
	}
	for i, r := range known {
		if !reached[fmt.Sprintf("row %d", i)] {
			t.Errorf("no answer reaches %s %q (by %d)", r.code, r.text, r.by)
		}
	}
}

func TestRefusalShowsNoToken(t *testing.T) {
	raw := testToken().Raw.Reveal()
	net := &recorder{status: 403, body: `<ErrorResponse><Error><Code>AccessDenied</Code><Message>bad ` + raw + strings.Repeat(" long", 300) + `</Message></Error></ErrorResponse>`}
	_, err := settled(t, Options{RoleARN: testRole}, env()).AssumeRole(context.Background(), net.client(), testToken())
	text := err.Error() + strings.Join(fault.Hints(err), "")
	for _, part := range append(strings.Split(raw, "."), raw) {
		if strings.Contains(text, part) {
			t.Errorf("the error shows %q", part)
		}
	}
	if len(err.Error()) > 800 {
		t.Errorf("the server's words are not bounded: %d bytes", len(err.Error()))
	}
}
