package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/pkg/internal/shell"
)

// A step is what a call was for.
type step string

const (
	login      step = "the login"
	read       step = "the secret"
	unwrapping step = "the wrapped answer"
	renew      step = "the renewal"
	leases     step = "the lease"
	revoke     step = "the revocation"
)

// about is what a call was about, for explaining its failure.
type about struct {
	step   step
	path   string // of the API, without v1/
	wanted *Wanted
	bearer secret.Value // sent beside the two tokens
	of     string       // what the call is about, where its path does not say it
}

func (a about) name() string {
	if a.of != "" {
		return a.of
	}
	return a.path
}

// A refusal is a row of what the server answers, and what the user can do.
type refusal struct {
	step   step
	status int    // 0 is any
	text   string // a part of the server's text
	retry  retry
	// hints name {addr}, {path}, {mount}, {role}, {iss}, {aud}, {sub}, {claim}, {value},
	// {namespace}, {data}, {choice}.
	hints []string
}

// A retry says whether an answer asks for another attempt, against its status.
type retry int

const (
	asStatus retry = iota
	again          // although the status does not
	never          // although the status does
)

// refusals, the first that fits. Texts are the server's own.
var refusals = []refusal{
	{login, 400, "no audiences bound to the role", asStatus, []string{
		"the role has no bound_audiences, and the token an audience: vault write {mount}/role/{rolename} bound_audiences={aud}",
		explained}},
	{login, 400, "invalid audience (aud) claim", asStatus, []string{
		"the token's audience is {aud}: add it to the role's bound_audiences, or mint another with {--audience}",
		explained}},
	{login, 400, "invalid issuer (iss) claim", asStatus, []string{
		"the token's issuer is {iss}: set it as bound_issuer in {mount}/config",
		explained}},
	{login, 400, "does not match any associated bound claim values", asStatus, []string{
		"the token's {claim} is {value}; comparison is by letter case, and with bound_claims_type=string a * is only a *",
		explained}},
	{login, 400, "is missing", asStatus, []string{
		"the token has no {claim}: a pipeline that a custom webhook started has no vcs-origin and vcs-ref",
		explained}},
	{login, 400, "invalid subject (sub) claim", asStatus, []string{
		"the role's bound_subject is not the token's subject; a V1 and a V2 token differ in it ({--token-version})",
		explained}},
	{login, 400, "token is expired", asStatus, []string{
		"the token has expired: log in in an early step, or mint a new one with {--audience}"}},
	{login, 400, "token not yet valid", asStatus, []string{
		"the server's clock is behind the issuer's by more than a minute"}},
	{login, 400, "no issued at (iat)", asStatus, nil},
	// The server could not reach the issuer: in a moment it may.
	{login, 400, "fetching keys", again, keysHints},
	{login, 400, "error configuring token validator", again, keysHints},
	{login, 400, "no known key successfully validated", asStatus, signatureHints},
	{login, 400, "failed to verify id token signature", asStatus, signatureHints}, // where the keys are fetched
	{login, 400, "unexpected signature algorithm", asStatus, nil},
	{login, 400, "must have three parts", asStatus, nil},
	{login, 400, "missing token", asStatus, nil},
	{login, 400, "could not be found", asStatus, []string{
		"there is no role {role} at {mount}: vault list {mount}/role",
		"give another with {--role}, or another mount with {--auth-path}"}},
	{login, 400, "missing role", asStatus, []string{
		"{mount} has no default role: give {--role}"}},
	{login, 400, "role with oidc role_type is not allowed", asStatus, []string{
		"the role {role} is for people, who log in with a browser: vault write {mount}/role/{rolename} role_type=jwt",
		explained}},
	{login, 400, "fetch groups", asStatus, []string{
		"the role's groups_claim names {claim}, which the token does not have: clear it, or name a claim that holds a list of groups",
		explained}},
	{login, 400, "claim could not be converted to string list", asStatus, []string{
		"the role's groups_claim names {claim}, which is {kind} in the token ({value}): it has to be a list of texts",
		explained}},
	{login, 400, "not found in token", asStatus, []string{
		"the role's user_claim names the claim {claim}, which the token does not have; one that it has: {key}",
		explained}},
	{login, 400, "could not be converted to string", asStatus, []string{
		"the role's user_claim names {claim}, which is {kind} in the token ({value}): it has to be text, as {key} is",
		explained}},
	{login, 400, "error converting claim", asStatus, []string{
		"the role's claim_mappings name {claim}, which is {kind} in the token ({value}): a mapping takes text alone",
		explained}},
	{login, 0, "missing name in alias", never, []string{
		"the claim that the role's user_claim names is empty in the token: name another, such as {key}",
		explained}},
	{login, 400, "cannot create root tokens", asStatus, []string{
		"the role {role} gives the policy root, which no login can have: take it out of the role's token_policies"}},
	{login, 400, "error executing cel program", asStatus, []string{
		"the program of the CEL role {role} failed with this token's claims: look at them with oidc-broker token --format json{choice}",
		"its text: bao read {mount}/role/{rolename}"}},
	{login, 400, "could not load configuration", asStatus, []string{
		"{mount} was enabled and never configured: vault write {mount}/config ...; or it is not the mount meant: {--auth-path}, {--namespace}"}},
	{login, 403, "", asStatus, []string{
		"check the auth mount (sent: {mount}), the namespace (sent: {namespace}) and the address ({addr}); not the claims",
		"or the role's token_bound_cidrs leave this job's address out, or the identity entity of the token's user_claim is disabled"}},
	{login, 404, "namespace not found", asStatus, namespaceHints},
	{login, 404, "", asStatus, []string{"is {addr} the server's address, and {mount} its JWT auth mount?"}},
	{login, 405, "", asStatus, []string{"{mount} is no JWT auth mount: give another with {--auth-path}"}},

	{read, 404, "Invalid path for a versioned", asStatus, dataHints},
	{read, 404, "namespace not found", asStatus, namespaceHints},
	{read, 404, "", asStatus, []string{"there is no secret at {path}{version}; what there is: vault kv list, vault kv metadata get"}},
	{read, 405, "", asStatus, []string{"{path} is not read but written: add {--write} '{path} KEY=VALUE...'"}},
	{read, 400, "had one use left", asStatus, []string{
		"a dynamic secret needs a token with a use left for it: raise the role's token_num_uses, or set it to 0"}},
	{read, 403, "1 error occurred", asStatus, []string{
		"the role's policies do not grant it, or there is no such mount in the namespace {namespace}: the policy has to allow {path}",
		"{data}"}},
	{read, 403, "", asStatus, []string{"the server does not know the token any more: it was revoked, it has expired, or its uses (the role's token_num_uses) are spent"}},
	{unwrapping, 400, "wrapping token is not valid or does not exist", asStatus, []string{
		"another user may have opened it first: if nothing else explains it, treat the secret as known to them"}},
	{revoke, 400, "batch tokens cannot be revoked", asStatus, nil},
	{revoke, 403, "1 error occurred", asStatus, []string{"the role's policies have to grant update on auth/token/revoke-self (token_no_default_policy takes it away)"}},
	{renew, 403, "1 error occurred", asStatus, []string{"the role's policies have to grant update on auth/token/renew-self (token_no_default_policy takes it away)"}},
	{leases, 403, "1 error occurred", asStatus, []string{"the role's policies have to grant update on {path} in the namespace {namespace}"}},
	{"", 0, "past the max TTL", never, []string{"its maximum TTL is reached: a longer one is the role's token_max_ttl, or the secret engine's max_ttl"}},
	{"", 0, "failed to renew entry: role", never, []string{"the role was deleted or renamed after the login: a token of it cannot be renewed"}},

	{"", 503, "locked by an administrator", never, []string{"the namespace {namespace} is locked: who is responsible for the server has to unlock it (vault namespace unlock)"}},
	{"", 503, "sealed", asStatus, []string{"the server is sealed: who is responsible for it has to unseal it"}},
	{"", 412, "", again, nil}, // a standby that lags behind
	{"", 429, "rate limit quota exceeded", asStatus, []string{"the server limits how often this path may be called"}},
	{"", 400, "Client sent an HTTP request to an HTTPS server", asStatus, []string{"the server speaks TLS: give {--vault-addr} with https://"}},
}

// explained stands for the token's claims, and the two steps that compare them with
// the role: the job has no token to read it, a laptop has no claims.
const explained = "on a laptop: vault read -format=json {mount}/role/{rolename} | oidc-broker policy check vault - --claims claims.json"

var (
	keysHints      = []string{"the server could not fetch the keys of {iss}: does it reach the issuer through its network and proxies?"}
	signatureHints = []string{
		"the keys of {mount} are not those of {iss}: compare its jwks_url or oidc_discovery_url",
		"to check the signature here: oidc-broker token --verify"}
	namespaceHints = []string{"there is no namespace {namespace} at {addr}: check {--namespace} and {--auth-namespace}"}
	dataHints      = []string{"{data}"}
)

// retries returns what the table says of another attempt after an answer.
func (s step) retries(a remote.Answer) retry { return find(s, a.Status, wordsOf(a.Body)).retry }

// errGone says that the server does not know the token: it has expired, its uses are
// spent, or it was revoked.
var errGone = errors.New("the token no longer exists")

// Gone says that an error is about a token that no longer exists.
func Gone(err error) bool { return errors.Is(err, errGone) }

// gone tells a token that no longer exists from a policy that does not allow: OpenBao
// and Vault answer both with 403, and the first with these texts.
func (a answer) gone(status int) bool {
	if status != http.StatusForbidden {
		return false
	}
	for _, e := range a.Errors {
		if strings.Contains(e, "invalid token") || strings.Contains(e, "bad token") {
			return true
		}
	}
	return len(a.Errors) == 1 && strings.TrimSpace(a.Errors[0]) == "permission denied"
}

func wordsOf(body []byte) string {
	var a answer
	if json.Unmarshal(body, &a) != nil {
		return ""
	}
	return a.words()
}

// words is what the server says of an error.
func (a answer) words() string {
	return strings.Join(append(append([]string{}, a.Errors...), a.Warnings...), "; ")
}

// explain turns what is no success into the command's error. unavailable is the
// error of the attempts, where the answer asked for another one.
func (s *Session) explain(what about, got remote.Answer, a answer, ours bool, unavailable error) error {
	if errors.Is(unavailable, context.Canceled) {
		return unavailable
	}
	if got.Status == 0 {
		return s.unreachable(unavailable)
	}
	// Before anything is taken out of it: hints repeat the claim that it names.
	hide := func(text string) string { return s.hide(text, what.bearer) }
	text := hide(a.words())
	if !ours || a.Errors == nil && text == "" {
		// The HTTPS port answers plain HTTP in plain words.
		if plain := string(got.Body); got.Status == http.StatusBadRequest && strings.Contains(plain, "HTTP request to an HTTPS server") {
			text = hide(plain)
		} else if unavailable != nil {
			return unavailable
		} else if got.Status != http.StatusNotFound {
			return notVault(s.describe(got), "")
		}
	}
	said := text
	if said == "" {
		said = fmt.Sprintf("status %d", got.Status)
	}
	absent := got.Status == http.StatusNotFound && what.step == read && text == ""
	e := fault.New(fault.Refused, "Vault refused %s %s: %s", what.step, what.name(), said)
	switch {
	case what.bearer.Empty() && what.step != login && a.gone(got.Status):
		e = fault.New(fault.Refused, "Vault refused %s %s: %s: %w", what.step, what.name(), said, errGone)
	case absent:
		e = fault.New(fault.Refused, "Vault has no secret %s%s", what.path, what.wanted.ofVersion())
	}
	if unavailable != nil {
		e = fault.New(fault.KindOf(unavailable), "%w: %s", unavailable, said)
	}
	row := find(what.step, got.Status, text)
	for _, h := range row.hints {
		filled := s.fill(h, what, text)
		switch {
		case h == explained:
			e.Hint("%s", s.job.SubjectHint()).Hint("%s", ci.ClaimsHint(s.job)).Hint("%s", filled).Hint("%s", s.job.IssuerHint())
		case filled.String() != "":
			e.Hint("%s", filled)
		}
	}
	if row.hints == nil && what.step == login && got.Status == http.StatusBadRequest {
		e.Hint("%s", s.job.SubjectHint()).Hint("%s", s.job.IssuerHint())
	}
	if absent {
		return missing{e}
	}
	return e
}

// hide makes a text that the server wrote fit to be printed.
func (s *Session) hide(text string, sent ...secret.Value) string {
	sent = append(sent, s.Token, s.job.Raw)
	for _, v := range s.server.headers {
		sent = append(sent, v)
	}
	return secret.Foreign(text, sent...)
}

// describe says who answered what.
func (s *Session) describe(a remote.Answer) string {
	return s.client.Describe(a.Host, a.Status, a.Header, a.Body, func(text string) string { return s.hide(text) })
}

// unreachable adds to a failed connection what helps with this server's TLS.
func (s *Session) unreachable(err error) error {
	var e *fault.Error
	if errors.As(err, &e) && errors.Is(err, remote.ErrTLSAlert) && s.server.tls.Certificate == nil {
		return e.Hint("if the server wants a certificate of its clients: %s and %s", fault.Option("client-cert"), fault.Option("client-key"))
	}
	return err
}

func find(step step, status int, text string) refusal {
	for _, row := range refusals {
		if (row.step == "" || row.step == step) && (row.status == 0 || row.status == status) && strings.Contains(text, row.text) {
			return row
		}
	}
	return refusal{}
}

// fill puts what is known into a hint.
func (s *Session) fill(hint string, what about, text string) fault.Message {
	t, server := s.job, s.server
	namespace := server.Namespace
	if what.step == login {
		namespace = server.authNamespace
	}
	if namespace == "" {
		namespace = "none"
	}
	role := fmt.Sprintf("%q", server.role)
	if server.role == "" {
		role = "that is the default"
	}
	named := server.role
	if named == "" {
		named = "ROLE"
	}
	claim := quoted(text)
	value, err := json.Marshal(t.Claims[claim])
	if err != nil {
		value = []byte("unknown")
	}
	return fault.Fill(strings.Replace(hint, "{data}", dataHint(what.wanted), 1), strings.NewReplacer(
		"{addr}", server.Addr, "{path}", what.path, "{mount}", "auth/"+unescaped(server.authPath),
		"{rolename}", shell.Word(named), "{role}", role, "{namespace}", namespace,
		"{iss}", t.Issuer, "{sub}", t.Subject, "{aud}", shell.Word(strings.Join(t.Audience, ",")),
		"{choice}", ci.Choice(t), "{key}", ci.KeyOf(t), "{claim}", remote.Clip(claim), "{kind}", kindOf(t.Claims, claim), "{value}", remote.Clip(string(value)),
		"{version}", what.wanted.ofVersion(),
	))
}

// kindOf names what a claim is, in the server's sense.
func kindOf(claims map[string]any, claim string) string {
	switch claims[claim].(type) {
	case nil:
		return "not there"
	case string:
		return "text"
	case bool:
		return "a boolean"
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	}
	return "a number"
}

// dataHint says how a path of KV version 2 is written, where it could be one.
func dataHint(w *Wanted) string {
	if w == nil || strings.Contains(w.place, "/data/") || w.write != nil {
		return ""
	}
	mount, rest, ok := strings.Cut(w.Path, "/")
	if !ok {
		return ""
	}
	// What else the mount of version 2 has: the metadata is no secret.
	for _, other := range []string{"metadata/", "subkeys/", "delete/", "undelete/", "destroy/"} {
		if name, ok := strings.CutPrefix(rest, other); ok && name != "" {
			return fmt.Sprintf("%s/%s is no secret's path: its data are at %s/data/%s", mount, strings.TrimSuffix(other, "/"), mount, name)
		}
	}
	return fmt.Sprintf("in a mount of KV version 2 it is %s/data/%s; or say so with {--kv-version} %s=2", mount, rest, mount)
}

// quoted returns what a text has between its first quotes: the server's texts
// name a claim so.
func quoted(text string) string {
	for _, q := range []string{`"`, `'`} {
		if _, rest, ok := strings.Cut(text, q); ok {
			if name, _, ok := strings.Cut(rest, q); ok {
				return name
			}
		}
	}
	return ""
}

func unescaped(path string) string {
	if p, err := url.PathUnescape(path); err == nil {
		return p
	}
	return path
}
