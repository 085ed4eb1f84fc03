package sandbox

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// maxRequest bounds the body of a request to a cloud.
const maxRequest = 1 << 20

// An sts is AWS's Security Token Service.
type sts struct {
	now      func() time.Time
	key      jose.JSONWebKey // of the issuer, as its published keys have it
	roles    map[string]*role
	issuer   string   // that every account with a role has as a provider
	clients  []string // of that provider
	life     func(asked time.Duration) time.Duration
	sessions *sessions
}

func newSTS(c Config, key jose.JSONWebKey, l *ledger) (*sts, error) {
	roles, err := newRoles(c.Roles, c.ExternalIDs, c.Token)
	if err != nil {
		return nil, err
	}
	for _, arn := range c.Untagged {
		if roles[arn] != nil {
			roles[arn].noTags = true
		}
	}
	if c.TrustPolicy != nil {
		for arn, r := range roles {
			r.trust = documentTrust(c.TrustPolicy, arn, c.Now, c.Explain)
		}
	}
	return &sts{now: c.Now, key: key, roles: roles, issuer: c.issuer(), clients: c.clients(), life: c.life, sessions: &sessions{byKey: map[string]*session{}, ledger: l}}, nil
}

func (s *sts) open(base string) (endpoint, map[string]string) {
	return s.serve, map[string]string{
		"AWS_ENDPOINT_URL_STS": base,
		"AWS_REGION":           "us-east-1",
		"AWS_DEFAULT_REGION":   "us-east-1",
		// A client without credentials asks the machine's metadata service,
		// which is not here but may well be there.
		"AWS_EC2_METADATA_DISABLED": "true",
	}
}

func (s *sts) serve(w http.ResponseWriter, r *http.Request) string {
	action, result, err := s.answer(r)
	if err == nil {
		writeResult(w, action, result)
		if made, ok := result.(xmlAssumeRoleResult); ok {
			return action + ": 200" + made.Tags.String()
		}
		return action + ": 200"
	}
	var no *refusal
	if !errors.As(err, &no) {
		no = internalFailure()
	}
	writeRefusal(w, no)
	note := fmt.Sprintf("%s: %d %s", action, no.status, no.code)
	if no.why != "" {
		note += " (" + no.why + ")"
	}
	return note
}

// answer returns the name of the action too, for the answer and for the log;
// of a request that names none that exists, it is "request".
func (s *sts) answer(r *http.Request) (action string, result any, err error) {
	const unknown = "request"
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequest+1))
	if err != nil {
		return unknown, nil, malformedQuery()
	}
	if len(body) > maxRequest {
		return unknown, nil, tooLarge()
	}
	encoded := string(body)
	if r.Method == http.MethodGet {
		encoded = r.URL.RawQuery
	}
	form, err := url.ParseQuery(encoded)
	if err != nil {
		return unknown, nil, malformedQuery()
	}
	action = form.Get("Action")
	if action == "" {
		return unknown, nil, missingAction()
	}
	run := map[string]func(*http.Request, []byte, url.Values) (any, error){
		"AssumeRoleWithWebIdentity": s.assumeRoleWithWebIdentity,
		"AssumeRole":                s.assumeRole,
		"GetCallerIdentity":         s.getCallerIdentity,
	}[action]
	if run == nil || form.Get("Version") != stsVersion {
		return unknown, nil, invalidAction(action, form.Get("Version"))
	}
	result, err = run(r, body, form)
	return action, result, err
}

// assumeRoleWithWebIdentity exchanges a token for a session. Nobody signs this
// request: the token is the proof.
func (s *sts) assumeRoleWithWebIdentity(r *http.Request, _ []byte, form url.Values) (any, error) {
	if r.Method != http.MethodPost {
		// AWS would take the token from a URL. A client that puts it there
		// shows it to every proxy on the way, so here it learns of it.
		return nil, missingAuthentication().because("the token was sent in the URL")
	}
	ask, err := readWebIdentity(form)
	if err != nil {
		return nil, err
	}
	if form.Has("ProviderId") {
		return nil, accessDenied("Unrecognized OAuth provider. Do not include a provider parameter when submitting OpenIDConnect ID tokens")
	}
	if r.Header.Get("Authorization") != "" || r.Header.Get("X-Amz-Security-Token") != "" {
		return nil, noKey().because("the request is signed, which this action must not be")
	}
	id, err := s.judge(ask.token, ask.partition, ask.account)
	if err != nil {
		return nil, err
	}
	found := s.roles[ask.roleARN]
	if found == nil {
		return nil, notAuthorized().because("there is no such role")
	}
	id.session = ask.sessionName
	if admitted, why := found.trust(id); !admitted {
		return nil, notAuthorized().because("%s", why)
	}
	if ask.duration > maxSession {
		return nil, overMaxSession()
	}
	made := s.sessions.issue(found, ask.sessionName, s.now().Add(s.life(ask.duration)))
	return xmlWebIdentityResult{
		Subject:          id.subject,
		Audience:         id.audience,
		AssumedRoleUser:  made.userXML(),
		Credentials:      made.credentialsXML(),
		Provider:         id.provider,
		PackedPolicySize: ask.packedSize,
	}, nil
}

// assumeRole passes from one role to another: every caller is a role already,
// so it is always chaining.
func (s *sts) assumeRole(r *http.Request, body []byte, form url.Values) (any, error) {
	caller, err := s.authenticate(r, body)
	if err != nil {
		return nil, err
	}
	ask, err := readAssumeRole(form)
	if err != nil {
		return nil, err
	}
	if ask.duration > maxSession {
		return nil, overChaining()
	}
	found := s.roles[ask.roleARN]
	switch {
	case found == nil:
		return nil, userNotAuthorized(caller.arn(), "sts:AssumeRole", ask.roleARN).because("there is no such role")
	case found == caller.role:
		// Since 2022 a role does not trust itself unless its policy says so.
		return nil, userNotAuthorized(caller.arn(), "sts:AssumeRole", ask.roleARN).because("it is the caller's own role")
	case found.externalID != "" && form.Get("ExternalId") != found.externalID:
		return nil, userNotAuthorized(caller.arn(), "sts:AssumeRole", ask.roleARN).because("the external id is missing or wrong")
	}
	tags, err := ask.tags.after(caller, ask.roleARN)
	if err != nil {
		return nil, err
	}
	if found.noTags && len(tags.values) > 0 {
		return nil, userNotAuthorized(caller.arn(), "sts:TagSession", ask.roleARN).because("its trust policy does not allow it")
	}
	made := s.sessions.issue(found, ask.sessionName, s.now().Add(s.life(ask.duration)))
	made.tags = tags
	return xmlAssumeRoleResult{
		SourceIdentity:   tags.sourceIdentity,
		Tags:             tags,
		AssumedRoleUser:  made.userXML(),
		Credentials:      made.credentialsXML(),
		PackedPolicySize: ask.packedSize,
	}, nil
}

func (s *sts) getCallerIdentity(r *http.Request, body []byte, _ url.Values) (any, error) {
	caller, err := s.authenticate(r, body)
	if err != nil {
		return nil, err
	}
	return xmlCallerIdentityResult{ARN: caller.arn(), UserID: caller.userID(), Account: caller.role.account}, nil
}
