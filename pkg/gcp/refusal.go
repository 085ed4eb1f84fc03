package gcp

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/pkg/internal/shell"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// A refusal is a row of what Google answers: which code and text, and what the
// user can do about it.
type refusal struct {
	iam  bool   // of IAM Credentials alone: its hints speak of the service account
	code string // error (STS, RFC 6749 §5.2), or reason or status (IAM); "" is any
	text string // a part of the message
	// reason is what of the token can be the reason, and is printed.
	reason reason
	// hints name {iss}, {aud}, {subbytes}, {provider}, {number}, {pool}, {id},
	// {account}, {subject}, {scopes}, {member}, {api}, {owner}. The first says what to do.
	hints []string
	more  []string // for --verbose, after the token's claims
	// bySubject: the hints are about a subject of two forms. Tokens of other CI systems
	// have a claim that is the project's.
	bySubject bool
}

// A reason is what of the token can be the reason of a refusal.
type reason int

const (
	otherReason reason = iota // nothing of it
	issuer                    // the issuer and the audience
	condition                 // any claim: the provider's mapping and condition
	binding                   // the subject, whose principal the service account's policy names
)

// issuerUnreachable is the one refusal that another attempt can mend.
const issuerUnreachable = "Error connecting to the given credential's issuer"

// refusals, the first that fits. Texts are Google's own.
var refusals = []refusal{
	{text: "rejected by the attribute condition", reason: condition, hints: []string{
		"the provider's attribute condition is false for this token, or names a claim that it lacks; letter case counts"},
		more: []string{describe + " --format='value(attributeCondition)'"}},
	{text: "Could not obtain a value for google.subject", reason: condition, hints: []string{
		"map google.subject to a claim that every token has: google.subject=assertion.sub.split('/vcs-origin/')[0]"}, bySubject: true,
		more: []string{"the provider's mapping of google.subject names a claim that this token does not have", describe}},
	{text: "exceeds the 127 bytes limit", reason: condition, hints: []string{
		"the token's subject has {subbytes} bytes and google.subject takes 127: use the V1 token ({--token-version} v1),",
		"or map google.subject=assertion.sub.split('/vcs-origin/')[0], which is the V1 subject for both versions"}, bySubject: true,
		more: []string{describe}},
	{text: "does not match the expected audience", reason: issuer, hints: []string{
		"mint a token for an audience of the provider, by default https://iam.googleapis.com/ and its full name ({--audience})",
		"or add {aud} to the provider's allowed audiences"},
		more: []string{"{--audience} https://iam.googleapis.com/{provider}", update + " --allowed-audiences={aud}"}},
	{text: "The issuer in ID Token", reason: issuer, hints: []string{
		"set the provider's --issuer-uri to {iss}, without a slash at its end"},
		more: []string{update + " --issuer-uri={iss}"}},
	{text: issuerUnreachable, hints: []string{
		"Google could not fetch the keys of {iss}",
		"a {ci} server that Google cannot reach needs its keys uploaded to the provider (--jwk-json-path)"}},
	{text: "is stale to sign-in", hints: []string{
		"the token is too old: exchange it in an early step, or mint a new one with {--audience}",
		"if the token is fresh, this machine's clock is wrong"}},
	{text: `Invalid value for "audience"`, hints: []string{
		"check the provider's full name: the project's number (not its id), the pool and the provider",
		"it was read as {provider}"}},
	{code: "invalid_target", hints: []string{
		"the pool or the provider does not exist, is disabled or deleted, or the project's number is wrong: check its name"},
		more: []string{describe}},
	{code: "quota_exceeded", hints: throttled},
	{iam: true, code: "RESOURCE_EXHAUSTED", hints: throttled},
	{code: "UNAVAILABLE", hints: outage},
	{code: "INTERNAL", hints: outage},
	{iam: true, text: "iam.serviceAccounts.getAccessToken", reason: binding, hints: bindingHints, more: bindingMore},
	{iam: true, text: "iam.serviceAccounts.getOpenIdToken", reason: binding, hints: bindingHints, more: bindingMore},
	{iam: true, text: "iam.serviceAccounts.signJwt", reason: binding, hints: signHints, more: signMore},
	{iam: true, text: "The caller does not have permission", reason: binding, hints: bindingHints, more: bindingMore},
	{code: "SERVICE_DISABLED", hints: disabledHints},
	{text: "has not been used in project", hints: disabledHints},
	{iam: true, text: "Gaia id not found", hints: []string{"there is no service account {account}: check its address"}},
	{iam: true, code: "NOT_FOUND", hints: []string{"there is no service account {account}: check its address"}},
	{iam: true, text: "lifetime cannot exceed", hints: lifetimeHints},
	{text: "can not have lifetimes of more than 1 hour", hints: lifetimeHints},
	{code: "ACCESS_TOKEN_TYPE_UNSUPPORTED", hints: []string{
		"this API accepts no token of direct access: give {--service-account}"}},
	{code: "invalid_scope", hints: []string{"check {--scope}: Google knows no such scope"}},
	{code: "invalid_grant", reason: issuer, hints: []string{
		"compare the provider with the token; to check its signature: oidc-broker token --verify"}},
}

const (
	describe = "gcloud iam workload-identity-pools providers describe {id} --workload-identity-pool={pool} --location=global --project={number}"
	update   = "gcloud iam workload-identity-pools providers update-oidc {id} --workload-identity-pool={pool} --location=global --project={number}"
)

var lifetimeHints = []string{
	"give {--token-lifetime} 1h or less; more needs the organisation policy",
	"constraints/iam.allowServiceAccountCredentialLifetimeExtension for {account}",
}

var bindingHints = []string{
	"give this token's principal roles/iam.workloadIdentityUser on {account}; --verbose prints the command",
}

var bindingMore = []string{
	"gcloud iam service-accounts add-iam-policy-binding {account} --role=roles/iam.workloadIdentityUser --member='{member}'",
	"to see whether it is bound: gcloud iam service-accounts get-iam-policy {account} --format=json > iam.json; " + describe +
		" --format=json | oidc-broker policy check gcp - --iam-policy iam.json --claims claims.json",
}

var (
	disabledHints = []string{"turn the API on in the project of {owner}: gcloud services enable {api}.googleapis.com"}
	throttled     = []string{"too many calls at once; to retry for longer: {--timeout} 5m {--max-attempts} 10"}
	outage        = []string{"run the job again; to retry for longer: {--timeout} 5m {--max-attempts} 10; outages: https://status.cloud.google.com"}
)

// refusalOf is what a call was about, for explaining its failure.
type refusalOf struct {
	x      *Exchange
	client *remote.Client
	token  oidc.Token
	method string        // of IAM Credentials; "" for STS
	bearer secret.Value  // the token that the call was made with, beside the job's
	member func() string // the principal that Google sees; nil or "": not known
}

func (x *Exchange) refusalOf(c *remote.Client, t oidc.Token) refusalOf {
	return refusalOf{x: x, client: c, token: t}
}

func (r refusalOf) as(member func() string) refusalOf {
	r.member = member
	return r
}

// mends says whether an answer is the refusal that another attempt can mend.
func mends(a remote.Answer) bool {
	w, ok := read(a.Body)
	return ok && strings.Contains(w.message, issuerUnreachable)
}

// explain turns an answer that is not 200 into the command's error. unavailable
// is the error of the attempts, where the answer asked for another one.
func (r refusalOf) explain(a remote.Answer, unavailable error) error {
	w, ok := read(a.Body)
	if !ok {
		if unavailable != nil {
			return unavailable
		}
		return r.notGoogle(a, "")
	}
	message := w.code
	if w.message != "" {
		message += ": " + w.message
	}
	message = r.redact(message)
	what := "Google refused the token"
	if r.method != "" {
		what = "Google refused " + r.x.ServiceAccount
	}
	e := fault.New(fault.Refused, "%s: %s", what, message)
	row := r.find(w)
	switch {
	case unavailable != nil:
		e = fault.New(fault.KindOf(unavailable), "%w: %s", unavailable, message)
		row.reason = otherReason
	case r.method == oauthToken:
		e = fault.New(fault.Refused, "%s may not act as %s: %s", r.x.ServiceAccount, r.x.subject, message)
	case a.Status == http.StatusUnauthorized && r.method != "":
		e = fault.New(fault.Refused, "Google does not take the federated token: %s", message)
	}
	e.Cause(w.cause(a, r.redact))
	for _, h := range r.hints(row) {
		e.Hint("%s", h)
	}
	for _, d := range row.more {
		e.Detail("%s", r.fill(d))
	}
	return e
}

// hints says what to do, which claims can be the reason, and how to compare them
// with the provider: the job has no credentials to read it, a laptop has no token.
func (r refusalOf) hints(row refusal) []any {
	var all []any
	hints := row.hints
	if s := ci.Of(r.token); row.bySubject && s != nil && s.Key != "" && !strings.HasPrefix(s.Key, ci.ClaimPrefix) {
		hints = []string{"google.subject takes 127 bytes of a claim that every token has, and this token's subject has {subbytes}: map google.subject=assertion." + s.Key}
	}
	for _, h := range hints {
		all = append(all, r.fill(h))
	}
	switch row.reason {
	case condition:
		all = append(all, r.token.SubjectHint(), ci.ClaimsHint(r.token), checkStep, r.token.IssuerHint())
	case issuer:
		all = append(all, r.token.IssuerHint(), r.token.SubjectHint())
	case binding:
		all = append(all, r.token.SubjectHint(),
			"Google answers the same when the account does not exist; a new binding takes up to 5 minutes")
	}
	if r.method == "" {
		all = append(all, "the provider is "+r.x.Provider.String())
	}
	return all
}

// checkStep compares the claims with the provider, whose full NAME is in another
// hint: with it in its place the line would be too long for a log.
const checkStep = "on a laptop: gcloud iam workload-identity-pools providers describe NAME --format=json | oidc-broker policy check gcp - --claims claims.json"

// redact makes a text of Google's fit to be printed.
func (r refusalOf) redact(text string) string { return secret.Foreign(text, r.token.Raw, r.bearer) }

// notGoogle is an answer that Google would not give, or one without what was asked
// for. It never shows the answer.
func (r refusalOf) notGoogle(a remote.Answer, lack string) error {
	return fault.New(fault.Unavailable, "%s%s, which is not an answer of Google's", r.client.Describe(a.Host, a.Status, a.Header, a.Body, r.redact), lack).
		Hint("a proxy, a login page or a wrong endpoint answers in its place")
}

// find returns the first row that fits; what is in none may be for any reason.
func (r refusalOf) find(w words) refusal {
	known := refusals
	if r.method == oauthToken {
		known = subjectRefusals
	}
	for _, row := range known {
		if (!row.iam || r.method != "") && (row.code == "" || row.code == w.code) && strings.Contains(w.message, row.text) {
			return row
		}
	}
	return refusal{reason: condition}
}

// fill puts what is known into a hint.
func (r refusalOf) fill(hint string) fault.Message {
	t, p := r.token, r.x.Provider
	member := ""
	if strings.Contains(hint, "{member}") && r.member != nil {
		member = r.member()
	}
	if member == "" {
		// As the mapping google.subject=assertion.sub has it.
		member = "principal://iam.googleapis.com/projects/" + p.ProjectNumber + "/locations/global/workloadIdentityPools/" + p.Pool + "/subject/" + t.Subject
	}
	api, owner := "sts", "the pool"
	if r.method != "" {
		api, owner = "iamcredentials", "the service account"
	}
	return fault.Fill(hint, strings.NewReplacer(
		"{api}", api, "{owner}", owner,
		"{ci}", ci.TitleOf(t), "{iss}", t.Issuer, "{subbytes}", fmt.Sprint(len(t.Subject)),
		// As gcloud's lists are; a job chooses its audience, and the line is pasted.
		"{aud}", shell.Word(strings.Join(t.Audience, ",")),
		"{provider}", p.String(), "{number}", p.ProjectNumber, "{pool}", p.Pool, "{id}", p.ID, "{account}", r.x.ServiceAccount,
		"{subject}", r.x.subject, "{scopes}", strings.Join(r.x.scopes, ","),
		// A branch's name may hold a quote, and this line is there to be pasted.
		"{member}", strings.ReplaceAll(member, "'", `'\''`),
	))
}
