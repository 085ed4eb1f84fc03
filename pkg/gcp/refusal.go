package gcp

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/deliver"
	"github.com/oidc-broker/oidc-broker/pkg/fault"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
	"github.com/oidc-broker/oidc-broker/pkg/remote"
	"github.com/oidc-broker/oidc-broker/pkg/secret"
)

// A refusal is a row of what Google answers: which code and text, and what the
// user can do about it.
type refusal struct {
	iam  bool   // of IAM Credentials alone: its hints speak of the service account
	code string // error (STS, RFC 6749 §5.2), or reason or status (IAM); "" is any
	text string // a part of the message
	// hints name {iss}, {aud}, {subbytes}, {provider}, {number}, {pool}, {id},
	// {account}, {member}, {api}, {owner}, {choice}.
	hints []string
}

// issuerUnreachable is the one refusal that another attempt can mend.
const issuerUnreachable = "Error connecting to the given credential's issuer"

// refusals, the first that fits. Texts are Google's own.
var refusals = []refusal{
	{text: "rejected by the attribute condition", hints: []string{
		"the provider's attribute condition is false for this token, or names a claim that it does not have; comparison is by letter case",
		"to see the condition: gcloud iam workload-identity-pools providers describe {id} --workload-identity-pool={pool} --location=global --project={number} --format='value(attributeCondition)'",
		explained}},
	{text: "Could not obtain a value for google.subject", hints: []string{
		"the provider's mapping of google.subject names a claim that this token does not have; a mapping that always fits: google.subject=assertion.sub.split('/vcs-origin/')[0]",
		explained}},
	{text: "exceeds the 127 bytes limit", hints: []string{
		"the token's subject has {subbytes} bytes, and google.subject takes 127: a V2 subject never fits; use the V1 token (--token-version v1)",
		"or map less of it: google.subject=assertion.sub.split('/vcs-origin/')[0], which is the V1 subject for both",
		explained}},
	{text: "does not match the expected audience", hints: []string{
		"the provider expects another audience than {aud}: gcloud iam workload-identity-pools providers update-oidc {id} --workload-identity-pool={pool} --location=global --project={number} --allowed-audiences={aud}",
		"or mint a token for the one it expects: --audience https://iam.googleapis.com/{provider}",
		explained}},
	{text: "The issuer in ID Token", hints: []string{
		"the provider expects another issuer than {iss}: is it for this organisation, and without a slash at its end?",
		explained}},
	{text: issuerUnreachable, hints: []string{
		"Google could not fetch the keys of {iss}; a CircleCI server that Google cannot reach needs its keys uploaded (--jwk-json-path)"}},
	{text: "is stale to sign-in", hints: []string{
		"the token is too old: exchange it in an early step, or mint a new one with --audience; if it is fresh, this machine's clock is wrong"}},
	{text: `Invalid value for "audience"`, hints: []string{
		"the provider was read as {provider}: the project's number (not its id), the pool and the provider must be those of the provider's full name"}},
	{code: "invalid_target", hints: []string{
		"the pool or the provider does not exist, is disabled or was deleted, or the project's number is another's",
		"to see it: gcloud iam workload-identity-pools providers describe {id} --workload-identity-pool={pool} --location=global --project={number}"}},
	{code: "quota_exceeded"},
	{iam: true, text: "iam.serviceAccounts.getAccessToken", hints: bindingHints},
	{iam: true, text: "iam.serviceAccounts.getOpenIdToken", hints: bindingHints},
	{iam: true, text: "The caller does not have permission", hints: bindingHints},
	{code: "SERVICE_DISABLED", hints: disabledHints},
	{text: "has not been used in project", hints: disabledHints},
	{iam: true, text: "Gaia id not found", hints: []string{"there is no service account {account}: check its address"}},
	{iam: true, code: "NOT_FOUND", hints: []string{"there is no service account {account}: check its address"}},
	{iam: true, text: "lifetime cannot exceed", hints: lifetimeHints},
	{text: "can not have lifetimes of more than 1 hour", hints: lifetimeHints},
	{code: "ACCESS_TOKEN_TYPE_UNSUPPORTED", hints: []string{
		"this API takes no token of direct access: give --service-account"}},
	{code: "invalid_grant", hints: []string{
		"compare the provider with the claims above; to check the signature: oidc-broker token --verify"}},
}

// explained is the command that says which part of the provider it is.
const explained = "to see which part of it: gcloud iam workload-identity-pools providers describe {id} --workload-identity-pool={pool} --location=global --project={number} --format=json | oidc-broker policy check gcp -{choice}"

var lifetimeHints = []string{
	"give --token-lifetime 1h or less; more needs the organisation policy constraints/iam.allowServiceAccountCredentialLifetimeExtension for {account}",
}

var bindingHints = []string{
	"let it impersonate the account: gcloud iam service-accounts add-iam-policy-binding {account} --role=roles/iam.workloadIdentityUser --member='{member}'",
	"Google says the same when the account does not exist; a binding that was just made takes up to 5 minutes",
	"to see whether it is bound: gcloud iam service-accounts get-iam-policy {account} --format=json > iam.json; gcloud iam workload-identity-pools providers describe {id} --workload-identity-pool={pool} --location=global --project={number} --format=json | oidc-broker policy check gcp - --iam-policy iam.json{choice}",
}

var disabledHints = []string{"turn the API on in the project of {owner}: gcloud services enable {api}.googleapis.com"}

// refusalOf is what a call was about, for explaining its failure.
type refusalOf struct {
	x      *Exchange
	token  oidc.Token
	method string        // of IAM Credentials; "" for STS
	bearer secret.Value  // the token that the call was made with, beside the job's
	member func() string // the principal that Google sees; nil or "": not known
}

func (x *Exchange) refusalOf(t oidc.Token) refusalOf { return refusalOf{x: x, token: t} }

func (r refusalOf) as(member func() string) refusalOf {
	r.member = member
	return r
}

// words are an answer's error, in either of Google's two forms.
type words struct {
	code    string // error, or the first reason, else the status
	message string
}

func read(body []byte) (words, bool) {
	var oauth struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if json.Unmarshal(body, &oauth) == nil && oauth.Error != "" {
		return words{oauth.Error, oauth.Description}, true
	}
	var api struct {
		Error struct {
			Message string `json:"message"`
			Status  string `json:"status"`
			Details []struct {
				Reason string `json:"reason"`
			} `json:"details"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &api) != nil || api.Error.Message == "" && api.Error.Status == "" {
		return words{}, false
	}
	w := words{api.Error.Status, api.Error.Message}
	for _, d := range api.Error.Details {
		if d.Reason != "" {
			w.code = d.Reason
			break
		}
	}
	return w, true
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
		return notGoogle(fmt.Sprintf("the answer with status %d is not Google's", a.Status))
	}
	said := w.code
	if w.message != "" {
		said += ": " + w.message
	}
	said = remote.Clip(r.bearer.Redact(r.token.Redact(said)))
	what := "Google refused the token for " + r.x.Provider.String()
	if r.method != "" {
		what = "Google refused the service account " + r.x.ServiceAccount
	}
	e := fault.New(fault.Refused, "%s: %s", what, said)
	switch {
	case unavailable != nil:
		e = fault.New(fault.KindOf(unavailable), "%w: %s", unavailable, said)
	case a.Status == http.StatusUnauthorized && r.method != "":
		e = fault.New(fault.Refused, "Google does not take the federated token: %s", said)
	}
	_ = e.Hint("the token's subject is %q", r.token.Subject)
	_ = e.Hint("the token's issuer is %q, its audience %q, its project-id %q", r.token.Issuer, strings.Join(r.token.Audience, ", "), r.token.ProjectID())
	for _, h := range r.find(w).hints {
		_ = e.Hint("%s", r.fill(h))
	}
	return e
}

func (r refusalOf) find(w words) refusal {
	for _, row := range refusals {
		if (!row.iam || r.method != "") && (row.code == "" || row.code == w.code) && strings.Contains(w.message, row.text) {
			return row
		}
	}
	return refusal{}
}

// fill puts what is known into a hint.
func (r refusalOf) fill(hint string) string {
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
	return strings.NewReplacer(
		"{api}", api, "{owner}", owner,
		"{choice}", t.Choice(), "{iss}", t.Issuer, "{subbytes}", fmt.Sprint(len(t.Subject)),
		// As gcloud's lists are; a job chooses its audience, and the line is pasted.
		"{aud}", deliver.Word(strings.Join(t.Audience, ",")),
		"{provider}", p.String(), "{number}", p.ProjectNumber, "{pool}", p.Pool, "{id}", p.ID, "{account}", r.x.ServiceAccount,
		// A branch's name may hold a quote, and this line is there to be pasted.
		"{member}", strings.ReplaceAll(member, "'", `'\''`),
	).Replace(hint)
}
