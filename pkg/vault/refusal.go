package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/deliver"
	"github.com/oidc-broker/oidc-broker/pkg/fault"
	"github.com/oidc-broker/oidc-broker/pkg/remote"
	"github.com/oidc-broker/oidc-broker/pkg/secret"
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
}

// A refusal is a row of what the server answers, and what the user can do.
type refusal struct {
	step   step
	status int    // 0 is any
	text   string // a part of the server's text
	// hints name {addr}, {path}, {mount}, {role}, {iss}, {aud}, {sub}, {claim}, {value},
	// {namespace}, {data}, {choice}.
	hints []string
}

// refusals, the first that fits. Texts are the server's own.
var refusals = []refusal{
	{login, 400, "no audiences bound to the role", []string{
		"the role has no bound_audiences, and the token an audience: vault write {mount}/role/{rolename} bound_audiences={aud}",
		explained}},
	{login, 400, "invalid audience (aud) claim", []string{
		"the token's audience is {aud}: add it to the role's bound_audiences, or mint another with --audience",
		explained}},
	{login, 400, "invalid issuer (iss) claim", []string{
		"the token's issuer is {iss}: set it as bound_issuer in {mount}/config",
		explained}},
	{login, 400, "does not match any associated bound claim values", []string{
		"the token's {claim} is {value}; comparison is by letter case, and with bound_claims_type=string a * is only a *",
		explained}},
	{login, 400, "is missing", []string{
		"the token has no {claim}: a pipeline that a custom webhook started has no vcs-origin and vcs-ref",
		explained}},
	{login, 400, "invalid subject (sub) claim", []string{
		"the role's bound_subject is not the token's subject; a V1 and a V2 token differ in it (--token-version)",
		explained}},
	{login, 400, "token is expired", []string{
		"the token has expired: log in in an early step, or mint a new one with --audience"}},
	{login, 400, "token not yet valid", []string{
		"the server's clock is behind the issuer's by more than a minute"}},
	{login, 400, "no issued at (iat)", nil},
	{login, 400, fetchingKeys, keysHints},
	{login, 400, configuringValidator, keysHints},
	{login, 400, "no known key successfully validated", signatureHints},
	{login, 400, "failed to verify id token signature", signatureHints}, // where the keys are fetched
	{login, 400, "unexpected signature algorithm", nil},
	{login, 400, "must have three parts", nil},
	{login, 400, "missing token", nil},
	{login, 400, "could not be found", []string{
		"there is no role {role} at {mount}: vault list {mount}/role",
		"give another with --role, or another mount with --auth-path"}},
	{login, 400, "missing role", []string{
		"{mount} has no default role: give --role"}},
	{login, 400, "role with oidc role_type is not allowed", []string{
		"the role {role} is for people, who log in with a browser: vault write {mount}/role/{rolename} role_type=jwt",
		explained}},
	{login, 400, "not found in token", []string{
		"the role's user_claim names the claim {claim}, which the token does not have; one that it has: oidc.circleci.com/project-id",
		explained}},
	{login, 400, "error converting claim", []string{
		"the role's claim_mappings name {claim}, which is a list: a mapping takes text alone",
		explained}},
	{login, 400, "could not load configuration", []string{
		"{mount} was enabled and never configured: vault write {mount}/config ...; or it is not the mount meant: --auth-path, --namespace"}},
	{login, 403, "", []string{
		"check the auth mount (sent: {mount}), the namespace (sent: {namespace}) and the address ({addr}); not the claims",
		"or the role's token_bound_cidrs leave this job's address out"}},
	{login, 404, "namespace not found", namespaceHints},
	{login, 404, "", []string{"is {addr} the server's address, and {mount} its JWT auth mount?"}},
	{login, 405, "", []string{"{mount} is no JWT auth mount: give another with --auth-path"}},

	{read, 404, "Invalid path for a versioned", dataHints},
	{read, 404, "namespace not found", namespaceHints},
	{read, 404, "", []string{"there is no secret at {path}, or not that version of it"}},
	{read, 405, "", []string{"{path} is not read but written: add --write '{path} KEY=VALUE...'"}},
	{read, 403, "1 error occurred", []string{
		"the role's policies do not grant it, or there is no such mount in the namespace {namespace}: the policy has to allow {path}",
		"{data}"}},
	{read, 403, "", []string{"the server does not know the token any more: its uses (token_num_uses) may be spent, or it was revoked"}},
	{unwrapping, 400, "wrapping token is not valid or does not exist", []string{
		"somebody else may have opened it first: if nothing else explains it, treat the secret as known to them"}},
	{revoke, 400, "batch tokens cannot be revoked", nil},
	{revoke, 403, "", revokeHints},
	{renew, 403, "", []string{"the role's policies have to grant update on auth/token/renew-self (token_no_default_policy takes it away)"}},

	{"", 503, "sealed", []string{"the server is sealed: who is responsible for it has to unseal it"}},
	{"", 429, "rate limit quota exceeded", []string{"the server limits how often this path may be called"}},
	{"", 400, "Client sent an HTTP request to an HTTPS server", []string{"the server speaks TLS: give --vault-addr with https://"}},
}

// explained stands for the token's claims, and the two steps that compare them with
// the role: the job has no token to read it, a laptop has no claims.
const explained = "on a laptop: vault read -format=json {mount}/role/{rolename} | oidc-broker policy check vault - --claims claims.json"

const (
	// The two texts of a 400 that another attempt can mend: the server could not
	// reach the issuer.
	fetchingKeys         = "fetching keys"
	configuringValidator = "error configuring token validator"
)

var (
	keysHints      = []string{"the server could not fetch the keys of {iss}: does it reach the issuer through its network and proxies?"}
	signatureHints = []string{
		"the keys of {mount} are not those of {iss}: compare its jwks_url or oidc_discovery_url",
		"to check the signature here: oidc-broker token --verify"}
	namespaceHints = []string{"there is no namespace {namespace} at {addr}: check --namespace and --auth-namespace"}
	dataHints      = []string{"{data}"}
	revokeHints    = []string{"the role's policies have to grant update on auth/token/revoke-self (token_no_default_policy takes it away)"}
)

// mends says whether an answer is one that another attempt can mend, beside
// those whose status says so.
func mends(a remote.Answer) bool {
	if a.Status == http.StatusPreconditionFailed { // a standby that lags behind
		return true
	}
	text := wordsOf(a.Body)
	return a.Status == http.StatusBadRequest && (strings.Contains(text, fetchingKeys) || strings.Contains(text, configuringValidator))
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
	e := fault.New(fault.Refused, "Vault refused %s %s: %s", what.step, what.path, said)
	if got.Status == http.StatusNotFound && what.step == read && text == "" {
		e = fault.New(fault.Refused, "Vault has no secret %s", what.path)
	}
	if unavailable != nil {
		e = fault.New(fault.KindOf(unavailable), "%w: %s", unavailable, said)
	}
	hints := find(what.step, got.Status, text)
	for _, h := range hints {
		filled := s.fill(h, what, text)
		switch {
		case h == explained:
			_ = e.Hint("%s", s.job.SubjectHint()).Hint("%s", s.job.ClaimsHint()).Hint("%s", filled).Hint("%s", s.job.IssuerHint())
		case filled != "":
			_ = e.Hint("%s", filled)
		}
	}
	if hints == nil && what.step == login && got.Status == http.StatusBadRequest {
		_ = e.Hint("%s", s.job.SubjectHint()).Hint("%s", s.job.IssuerHint())
	}
	return e
}

// hide makes a text that the server wrote fit to be printed.
func (s *Session) hide(text string, sent ...secret.Value) string {
	return secret.Foreign(text, append(sent, s.Token, s.job.Raw)...)
}

// describe says who answered what.
func (s *Session) describe(a remote.Answer) string {
	return s.client.Describe(a.Host, a.Status, a.Header, a.Body, func(text string) string { return s.hide(text) })
}

// unreachable adds to a failed connection what helps with this server's TLS.
func (s *Session) unreachable(err error) error {
	var e *fault.Error
	if errors.As(err, &e) && strings.Contains(err.Error(), "refuses the TLS connection") && s.server.tls.Certificate == nil {
		return e.Hint("if the server wants a certificate of its clients: --client-cert and --client-key")
	}
	return err
}

func find(step step, status int, text string) []string {
	for _, row := range refusals {
		if (row.step == "" || row.step == step) && (row.status == 0 || row.status == status) && strings.Contains(text, row.text) {
			return row.hints
		}
	}
	return nil
}

// fill puts what is known into a hint.
func (s *Session) fill(hint string, what about, text string) string {
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
	filled := strings.NewReplacer(
		"{addr}", server.Addr, "{path}", what.path, "{mount}", "auth/"+unescaped(server.authPath),
		"{rolename}", deliver.Word(named), "{role}", role, "{namespace}", namespace,
		"{iss}", t.Issuer, "{sub}", t.Subject, "{aud}", deliver.Word(strings.Join(t.Audience, ",")),
		"{choice}", t.Choice(), "{claim}", remote.Clip(claim), "{value}", remote.Clip(string(value)), "{data}", dataHint(what.wanted),
	).Replace(hint)
	return filled
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
	return fmt.Sprintf("in a mount of KV version 2 it is %s/data/%s; or say so with --kv-version %s=2", mount, rest, mount)
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
