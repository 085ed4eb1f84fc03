package aws

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/smithy-go"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/pkg/internal/shell"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// A refusal is a row of what STS answers: which code and text, whether another
// attempt can succeed, and what the user can do about it.
type refusal struct {
	code  string // AWS's error code, as on the wire
	text  string // a part of the message, where only that tells cases apart
	by    caller // whose call it answers
	again bool
	// reason is what of the token can be the reason, and is printed.
	reason reason
	// hints name {iss}, {aud}, {org}, {provider}, {role}, {name}, {account}, {by},
	// {duration}. The first says what to do.
	hints []string
	more  []string // for --verbose, after the token's claims
}

// A caller is who made a call: the job with its token, or a role with its
// credentials.
type caller int

const (
	anybody caller = iota
	job
	aRole
)

// A reason is what of the token can be the reason of a refusal.
type reason int

const (
	otherReason reason = iota // nothing of it
	issuer                    // the issuer and the audience, which the provider is compared with
	condition                 // any claim: the trust policy's conditions
)

const (
	providerWrong = "compare the issuer's provider in account {account} with the token; its signature: oidc-broker token --verify"
	chainTrust    = "the role {name}'s trust policy and the calling role's own policy must both allow sts:AssumeRole"
)

// refusals, the first that fits. Texts are AWS's own, as seen on the wire.
var refusals = []refusal{
	{code: "AccessDenied", text: "Unrecognized OAuth provider", by: job, hints: []string{
		"STS took the token for one of another kind of provider; check AWS_ENDPOINT_URL_STS"}},
	{code: "AccessDenied", text: "explicit deny in a resource-based policy", by: job, reason: condition, hints: []string{
		"a statement with \"Effect\": \"Deny\" in the trust policy of {role} applies to this token"}},
	{code: "AccessDenied", text: "explicit deny", hints: []string{
		"the organisation's policies (SCP, RCP) or a policy of the calling role deny it, not the role's trust policy",
		"ask the organisation's administrator which policy denies this call in account {account}"}},
	{code: "AccessDenied", text: "is not authorized to perform: sts:TagSession", by: aRole, hints: []string{
		"allow sts:TagSession in the trust policy of {role}", "the calling role needs the same permission: {by}"}},
	{code: "AccessDenied", text: "is not authorized to perform: sts:SetSourceIdentity", by: aRole, hints: []string{
		"allow sts:SetSourceIdentity in the trust policy of {role}", "the calling role needs the same permission: {by}"}},
	{code: "InvalidParameterValue", text: "transitive tag keys", by: aRole, hints: []string{
		"a role before {role} in the chain has set this tag as a transitive one: leave it out of {--session-tag}"}},
	{code: "AccessDenied", text: "is not authorized to perform: sts:AssumeRole on", by: aRole, hints: []string{
		chainTrust, "if its trust policy has a condition on sts:ExternalId, give {--external-id}"}},
	{code: "AccessDenied", by: aRole, hints: []string{chainTrust}},
	{code: "AccessDenied", by: job, reason: condition, hints: []string{
		"check that the role {name} exists in account {account} and that its trust policy allows this token"},
		more: []string{
			"AWS says the same when the role does not exist, when its trust policy names another provider, and when a condition does not match",
			"frequent causes: a V1 pattern for a V2 subject, * under StringEquals, letter case, a condition key without /org/{org}",
			"AWS sees only the claims {seen} of a {ci} token",
			"a new role or provider is known everywhere after about ten seconds"}},
	{code: "InvalidIdentityToken", by: job, text: "No OpenIDConnect provider found", reason: issuer, hints: []string{
		"account {account} has no identity provider for this issuer: check the account id in {--role-arn}, or make the provider",
		"the command for it: --verbose prints it, docs/setup.md explains it"}, more: []string{
		"aws iam create-open-id-connect-provider --url {iss} --client-id-list {org}"}},
	{code: "InvalidIdentityToken", by: job, text: "Incorrect token audience", hints: []string{
		"add the audience {aud} to the client ids of the provider in account {account}",
		"or mint a token for a client id that it has: {--audience}"}, more: []string{
		"aws iam add-client-id-to-open-id-connect-provider --client-id {aud} --open-id-connect-provider-arn PROVIDER_ARN"}},
	{code: "InvalidIdentityToken", by: job, text: "more than one audience", hints: []string{
		"mint a token with one audience: {--audience} {org}"}},
	{code: "InvalidIdentityToken", by: job, text: "retrieve verification key", again: true, hints: []string{
		"AWS could not fetch the keys of {iss}, or the token's key is not among them",
		"a {ci} server must serve /.well-known/ to the internet"}},
	{code: "InvalidIdentityToken", by: job, text: "thumbprint", hints: []string{
		"the issuer's certificate changed: update the thumbprint list of the provider {provider}"}},
	{code: "InvalidIdentityToken", by: job, text: "not a valid JWT", hints: []string{
		"what was sent is not an ID token; see 'oidc-broker token'"}},
	{code: "InvalidIdentityToken", by: job, text: "issued in the future", hints: []string{
		"the issuer's clock is more than 5 minutes ahead of AWS's"}},
	{code: "InvalidIdentityToken", by: job, text: "not yet valid", hints: []string{
		"the issuer's clock is more than 5 minutes ahead of AWS's"}},
	{code: "InvalidIdentityToken", by: job, text: "could not be validated", reason: issuer, hints: []string{
		"check that the audience {aud} is among the client ids of the provider in account {account}",
		"to check the signature: oidc-broker token --verify"}},
	{code: "InvalidIdentityToken", by: job, text: "claim", reason: issuer, hints: []string{
		"the issuer made a token that AWS does not accept; see 'oidc-broker token'"}},
	{code: "InvalidIdentityToken", by: job, reason: issuer, hints: []string{providerWrong}},
	{code: "ExpiredTokenException", by: job, text: "Token too old", hints: []string{
		"AWS limits a token's age whatever its exp is: mint a new one with {--audience} {org}"}},
	{code: "ExpiredTokenException", by: job, hints: []string{
		"exchange the token in an early step, or mint a new one with {--audience} {org}",
		"if the token is fresh, this machine's clock is wrong; the time that AWS prints is 5 minutes behind its clock"}},
	{code: "ExpiredToken", by: aRole, hints: []string{
		"the credentials of {by} expired before this call, by AWS's clock"}},
	{code: "IDPCommunicationError", by: job, again: true, hints: []string{
		"AWS could not reach the issuer {iss}",
		"a {ci} server must serve /.well-known/ to the internet"}},
	{code: "IDPRejectedClaim", by: job, reason: condition, hints: []string{
		"the issuer {iss} did not confirm the token to AWS"}},
	{code: "MalformedPolicyDocument", hints: []string{
		"AWS cannot read the document given with {--policy}; aws accessanalyzer validate-policy names the place"}},
	{code: "PackedPolicyTooLarge", hints: []string{
		"make the session policy smaller: shorter lists, wildcards, or {--policy-arn} instead of {--policy}"}},
	{code: "RegionDisabledException", hints: []string{
		"choose a region that account {account} has turned on ({--region}), or have its administrator activate STS in this one"}},
	{code: "ValidationError", text: "MaxSessionDuration", hints: []string{
		"give a {--session-duration} shorter than {duration}, or raise the MaxSessionDuration of the role {name}"}},
	{code: "ValidationError", text: "role chaining", hints: []string{
		"AWS limits the session of a chained role to 1h: give {--session-duration} 1h or less"}},
	{code: "ValidationError", text: "Request ARN is invalid", hints: []string{
		"AWS does not accept {role} as the ARN of a role"}},
	{code: "ValidationError", hints: []string{"AWS does not accept a value of the request; the options are in 'oidc-broker aws --help'"}},
	{code: "Throttling", again: true, hints: throttled},
	{code: "ThrottlingException", again: true, hints: throttled},
	{code: "RequestLimitExceeded", again: true, hints: throttled},
	{code: "ServiceUnavailable", again: true, hints: outage},
	{code: "InternalFailure", again: true, hints: outage},
	{code: "InternalError", again: true, hints: outage},
	{code: "InvalidClientTokenId", hints: []string{
		"credentials of the global endpoint are not valid in an opt-in region: give {--region}"}},
	{code: "SignatureDoesNotMatch", hints: []string{
		"a proxy changes the requests on their way to AWS, or this machine's clock is wrong"}},
	{code: "RequestExpired", hints: []string{"check this machine's clock"}},
}

var (
	throttled = []string{"too many calls at once in this account and region; to retry for longer: {--timeout} 5m {--max-attempts} 10"}
	outage    = []string{"run the job again; to retry for longer: {--timeout} 5m {--max-attempts} 10; outages: https://health.aws.amazon.com"}
)

// refusalOf is what a call was about, for explaining its failure.
type refusalOf struct {
	role     role
	token    *oidc.Token // nil for a call that credentials signed
	by       string      // the ARN that signed it
	with     *Credentials
	duration time.Duration
}

// explain turns the SDK's error into ours. What another attempt can mend comes
// with a *remote.Failure in the chain.
func (a refusalOf) explain(ctx context.Context, err error, seen *wire, now time.Time) error {
	var api smithy.APIError
	switch {
	case seen.err != nil:
		return seen.err
	case ctx.Err() != nil:
		return ctx.Err()
	case seen.res == nil:
		return fault.New(fault.Usage, "AWS's SDK cannot make the call: %s", a.redact(err.Error()))
	case errors.As(err, &api) && api.ErrorCode() != "" && api.ErrorCode() != "UnknownError":
		return a.refused(api, seen.res, now)
	case remote.Transient(seen.res.StatusCode):
		return &remote.Failure{Host: seen.host, Why: fmt.Sprintf("answers %d", seen.res.StatusCode), Again: true, After: remote.After(seen.res, now)}
	}
	return notAWS(seen.describe(a.redact))
}

// refused explains an answer in AWS's error format.
func (a refusalOf) refused(api smithy.APIError, res *http.Response, now time.Time) error {
	row := a.find(api)
	message := api.ErrorCode()
	if m := api.ErrorMessage(); m != "" && m != api.ErrorCode() {
		message += ": " + m
	}
	message = a.redact(message) // the code too: it is not always AWS that answers
	what := "AWS refused the token for " + a.role.arn
	if a.token == nil {
		what = "AWS refused " + a.by + " the role " + a.role.arn
		if row.by != aRole || row.code != "AccessDenied" {
			what = "AWS refused the credentials of " + a.by
		}
	}
	e := fault.New(fault.Refused, "%s: %s", what, message)
	if row.again || remote.Transient(res.StatusCode) {
		e = fault.New(fault.Unavailable, "%w", &remote.Failure{Host: "AWS STS", Why: "cannot answer now: " + message, Again: true, After: remote.After(res, now)})
	}
	// As the SDK's callers know it, without what the message may repeat of the request.
	e.Cause(&smithy.GenericAPIError{Code: a.redact(api.ErrorCode()), Message: a.redact(api.ErrorMessage()), Fault: api.ErrorFault()})
	for _, h := range a.hints(row) {
		e.Hint("%s", h)
	}
	for _, d := range row.more {
		e.Detail("%s", a.fill(d))
	}
	return e
}

// find returns the first row that fits; what is in none may be for any reason.
func (a refusalOf) find(api smithy.APIError) refusal {
	by := job
	if a.token == nil {
		by = aRole
	}
	for _, r := range refusals {
		if r.code == api.ErrorCode() && strings.Contains(api.ErrorMessage(), r.text) && (r.by == anybody || r.by == by) {
			return r
		}
	}
	return refusal{reason: condition}
}

// hints says what to do, which claims AWS saw, and how to compare them with the
// trust policy: the job has no credentials to read it, a laptop has no token.
func (a refusalOf) hints(row refusal) []any {
	var all []any
	for _, h := range row.hints {
		all = append(all, a.fill(h))
	}
	if t := a.token; t != nil && row.reason != otherReason {
		if row.reason == condition {
			all = append(all, t.SubjectHint(), ci.ClaimsHint(*t),
				"on a laptop: aws iam get-role --role-name "+shortName(a.role.name)+" | oidc-broker policy check aws - --claims claims.json")
		}
		all = append(all, t.IssuerHint())
	}
	return all
}

// shortName is a role's name in a command that must fit into a line; one that
// does not fit is in the error's first line.
func shortName(name string) string {
	if len(name) > 40 {
		return "ROLE_NAME"
	}
	return shell.Word(name)
}

// fill puts what is known into a hint.
func (a refusalOf) fill(hint string) fault.Message {
	pairs := []string{"{role}", a.role.arn, "{account}", a.role.account, "{name}", a.role.name, "{by}", a.by, "{duration}", a.duration.String()}
	if t := a.token; t != nil {
		org := ci.OrgID(*t)
		if org == "" {
			org = t.Audience[0]
		}
		// Some hints are commands to be pasted, and a job chooses its audience.
		org = shell.Word(org)
		pairs = append(pairs, "{iss}", shell.Word(t.Issuer), "{aud}", shell.Word(strings.Join(t.Audience, ",")),
			"{org}", org, "{ci}", ci.TitleOf(*t), "{seen}", ci.SeenByAWS(*t), "{provider}", strings.TrimPrefix(t.Issuer, "https://"))
	}
	return fault.Fill(hint, strings.NewReplacer(pairs...))
}

// redact takes what we sent out of words that the server wrote: AWS shows the
// canonical request, session token included, when a signature does not match.
func (a refusalOf) redact(text string) string {
	var sent []secret.Value
	if a.token != nil {
		sent = append(sent, a.token.Raw)
	}
	if a.with != nil {
		sent = append(sent, a.with.SecretAccessKey, a.with.SessionToken)
	}
	return secret.Foreign(text, sent...)
}

// notAWS is an answer that AWS would not give. It never shows the answer.
func notAWS(answer string) error {
	return fault.New(fault.Unavailable, "%s, which is not an answer of AWS STS", answer).
		Hint("a proxy, a login page or a wrong AWS_ENDPOINT_URL_STS answers in its place")
}
