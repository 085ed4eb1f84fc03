package aws

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/smithy-go"

	"github.com/oidc-broker/oidc-broker/pkg/deliver"
	"github.com/oidc-broker/oidc-broker/pkg/fault"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
	"github.com/oidc-broker/oidc-broker/pkg/remote"
	"github.com/oidc-broker/oidc-broker/pkg/secret"
)

// A refusal is a row of what STS answers: which code and text, whether another
// attempt can succeed, and what the user can do about it.
type refusal struct {
	code  string // AWS's error code, as on the wire
	text  string // a part of the message, where only that tells cases apart
	by    caller // whose call it answers
	again bool
	// hints name {iss}, {aud}, {sub}, {project}, {org}, {provider}, {role},
	// {name}, {account}, {by}, {duration}, {choice}.
	hints []string
}

// A caller is who made a call: the job with its token, or a role with its
// credentials.
type caller int

const (
	anybody caller = iota
	job
	aRole
)

// refusals, the first that fits. Texts are AWS's own, as seen on the wire.
var refusals = []refusal{
	{code: "AccessDenied", text: "Unrecognized OAuth provider", by: job, hints: []string{
		"STS took the token for one of another kind of provider; is AWS_ENDPOINT_URL_STS what it should be?"}},
	{code: "AccessDenied", text: "is not authorized to perform: sts:AssumeRole", by: aRole, hints: []string{
		"the trust policy of {role} must allow sts:AssumeRole to {by}, and that role's own policy must allow it too",
		"if its trust policy has a condition on sts:ExternalId, give --external-id"}},
	{code: "AccessDenied", by: aRole, hints: []string{
		"the trust policy of {role} must allow sts:AssumeRole to {by}, and that role's own policy must allow it too"}},
	{code: "AccessDenied", by: job, hints: []string{
		"AWS says the same when the role does not exist, when its trust policy names another provider, and when a condition does not match; compare each condition of {role} with the claims above",
		"the usual slips: a V1 subject pattern for a V2 token or the reverse, * under StringEquals, letter case, a condition key without /org/{org}, conditions on claims that AWS does not see (only aud, sub and project-id)",
		"a role or provider that was made in the last ten seconds is not known everywhere yet",
		"to see which condition it is: aws iam get-role --role-name {name} | oidc-broker policy check aws - --role-arn {role}{choice}"}},
	{code: "InvalidIdentityToken", by: job, text: "No OpenIDConnect provider found", hints: []string{
		"the account {account} of the role has no identity provider for {iss}; is the account id in the role's ARN right?",
		"to make it: aws iam create-open-id-connect-provider --url {iss} --client-id-list {org}"}},
	{code: "InvalidIdentityToken", by: job, text: "Incorrect token audience", hints: []string{
		"the audience {aud} is not among the client ids of the provider {provider} in account {account}: add it there, or mint a token for one that is, with --audience"}},
	{code: "InvalidIdentityToken", by: job, text: "more than one audience", hints: []string{
		"mint a token with one audience: --audience {org}"}},
	{code: "InvalidIdentityToken", by: job, text: "retrieve verification key", again: true, hints: []string{
		"AWS could not fetch the issuer's keys, or the token's key is not among them; for a CircleCI server, its /.well-known/ must be reachable from the internet"}},
	{code: "InvalidIdentityToken", by: job, text: "thumbprint", hints: []string{
		"the issuer's certificate changed: update the thumbprint list of the provider {provider} in account {account}"}},
	{code: "InvalidIdentityToken", by: job, text: "not a valid JWT", hints: []string{
		"what was sent is no ID token; see 'oidc-broker token'"}},
	{code: "InvalidIdentityToken", by: job, text: "issued in the future", hints: []string{
		"the issuer's clock is more than 5 minutes ahead of AWS's"}},
	{code: "InvalidIdentityToken", by: job, text: "not yet valid", hints: []string{
		"the issuer's clock is more than 5 minutes ahead of AWS's"}},
	{code: "InvalidIdentityToken", by: job, text: "could not be validated", hints: []string{
		"usually the audience: {aud} must be among the client ids of the provider {provider} in account {account}; to check the signature: oidc-broker token --verify"}},
	{code: "InvalidIdentityToken", by: job, text: "claim", hints: []string{
		"the issuer made a token that AWS does not take; see 'oidc-broker token'"}},
	{code: "InvalidIdentityToken", by: job, hints: []string{
		"compare the provider {provider} in account {account} with the claims above; to check the signature: oidc-broker token --verify"}},
	{code: "ExpiredTokenException", by: job, text: "Token too old", hints: []string{
		"AWS limits a token's age whatever its exp says: mint a new one with --audience {org}"}},
	{code: "ExpiredTokenException", by: job, hints: []string{
		"CircleCI makes the token shortly before the job starts: exchange it in an early step, or mint a new one with --audience {org}",
		"the time that AWS prints is 5 minutes behind its clock; if the token is fresh, this machine's clock is wrong"}},
	{code: "ExpiredToken", by: aRole, hints: []string{
		"the credentials of {by} have ended before this call, by AWS's clock"}},
	{code: "IDPCommunicationError", by: job, again: true, hints: []string{
		"AWS could not reach the issuer {iss}; a CircleCI server must serve /.well-known/ to the internet"}},
	{code: "IDPRejectedClaim", by: job, hints: []string{
		"the issuer {iss} did not confirm the token to AWS"}},
	{code: "MalformedPolicyDocument", hints: []string{
		"the document given with --policy is no policy that AWS can read; Access Analyzer's validate-policy names the place"}},
	{code: "PackedPolicyTooLarge", hints: []string{
		"make the session policy smaller: shorter lists, wildcards, or --policy-arn instead of --policy"}},
	{code: "RegionDisabledException", hints: []string{
		"choose a region that account {account} has turned on, or have its administrator activate STS in this one"}},
	{code: "ValidationError", text: "MaxSessionDuration", hints: []string{
		"{duration} is more than the maximum session duration of {role}: give a shorter --session-duration, or raise the role's MaxSessionDuration"}},
	{code: "ValidationError", text: "role chaining", hints: []string{
		"AWS limits the session of a chained role to 1h: give --session-duration 1h or less"}},
	{code: "ValidationError", text: "Request ARN is invalid", hints: []string{
		"AWS does not take {role} for the ARN of a role"}},
	{code: "ValidationError"},
	{code: "Throttling", again: true},
	{code: "ThrottlingException", again: true},
	{code: "RequestLimitExceeded", again: true},
	{code: "ServiceUnavailable", again: true},
	{code: "InternalFailure", again: true},
	{code: "InternalError", again: true},
	{code: "InvalidClientTokenId", hints: []string{
		"credentials of the global endpoint are not valid in a region that must be opted into: give --region"}},
	{code: "SignatureDoesNotMatch", hints: []string{
		"something between here and AWS changes requests, or this machine's clock is wrong"}},
	{code: "RequestExpired", hints: []string{"is this machine's clock right?"}},
}

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
		return fault.New(fault.Usage, "AWS's SDK cannot make the call: %s", remote.Clip(a.redact(err.Error())))
	case errors.As(err, &api) && api.ErrorCode() != "" && api.ErrorCode() != "UnknownError":
		return a.refused(api, seen.res, now)
	case remote.Transient(seen.res.StatusCode):
		return &remote.Failure{Host: "AWS STS", Why: fmt.Sprintf("answers %d", seen.res.StatusCode), Again: true, After: remote.After(seen.res, now)}
	case seen.res.StatusCode != http.StatusOK:
		return notAWS(fmt.Sprintf("the answer with status %d", seen.res.StatusCode), nil)
	}
	return notAWS("the answer", nil)
}

// refused explains an answer in AWS's error format.
func (a refusalOf) refused(api smithy.APIError, res *http.Response, now time.Time) error {
	row := a.find(api)
	said := api.ErrorCode()
	if m := api.ErrorMessage(); m != "" && m != api.ErrorCode() {
		said += ": " + m
	}
	said = remote.Clip(a.redact(said)) // the code too: it is not always AWS that answers
	what := "AWS refused the token for " + a.role.arn
	if a.token == nil {
		what = "AWS refused " + a.by + " the role " + a.role.arn
		if row.by != aRole || row.code != "AccessDenied" {
			what = "AWS refused the credentials of " + a.by
		}
	}
	var e *fault.Error
	if row.again || remote.Transient(res.StatusCode) {
		e = fault.New(fault.Unavailable, "%w", &remote.Failure{Host: "AWS", Why: "cannot say yes or no: " + said, Again: true, After: remote.After(res, now)})
	} else {
		e = fault.New(fault.Refused, "%s: %s", what, said)
	}
	a.claims(e)
	for _, h := range row.hints {
		_ = e.Hint("%s", a.fill(h))
	}
	return e
}

// find returns the first row that fits, or an empty one.
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
	return refusal{}
}

// claims adds what the trust policy was compared with.
func (a refusalOf) claims(e *fault.Error) {
	if a.token == nil {
		return
	}
	t := a.token
	_ = e.Hint("the token's subject is %q", t.Subject)
	_ = e.Hint("the token's issuer is %q, its audience %q, its project-id %q", t.Issuer, strings.Join(t.Audience, ", "), t.ProjectID())
}

// fill puts what is known into a hint.
func (a refusalOf) fill(hint string) string {
	pairs := []string{"{role}", a.role.arn, "{account}", a.role.account, "{by}", a.by, "{duration}", a.duration.String()}
	if t := a.token; t != nil {
		org := t.OrgID()
		if org == "" {
			org = t.Audience[0]
		}
		// Some hints are commands to be pasted, and a job chooses its audience.
		org = deliver.Word(org)
		pairs = append(pairs, "{iss}", deliver.Word(t.Issuer), "{aud}", strings.Join(t.Audience, ", "), "{sub}", t.Subject, "{project}", t.ProjectID(),
			"{org}", org, "{provider}", strings.TrimPrefix(t.Issuer, "https://"),
			"{name}", deliver.Word(a.role.name), "{choice}", t.Choice())
	}
	return strings.NewReplacer(pairs...).Replace(hint)
}

// redact takes what we sent out of words that the server wrote: AWS shows the
// canonical request, session token included, when a signature does not match.
func (a refusalOf) redact(text string) string {
	if a.token != nil {
		text = a.token.Redact(text)
	}
	if a.with != nil {
		for _, v := range []secret.Value{a.with.SecretAccessKey, a.with.SessionToken} {
			text = v.Redact(text)
		}
	}
	return text
}

// notAWS is an answer that AWS would not give. It never shows the answer.
func notAWS(what string, cause error) error {
	e := fault.New(fault.Unavailable, "%s is not one of AWS STS", what)
	if cause != nil {
		e = fault.New(fault.Unavailable, "%s is not one of AWS STS: %w", what, cause)
	}
	return e.Hint("a proxy, a login page or a wrong AWS_ENDPOINT_URL_STS answers in its place")
}
