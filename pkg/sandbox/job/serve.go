package job

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// maxRequest bounds what a request for a token says, and its answer.
const maxRequest = 64 << 10

// A Mint signs a token of the job: for an audience, and a time that is not zero where one
// is asked for.
type Mint func(audience string, ttl time.Duration) (string, error)

// Open returns how the system's service for tokens answers at base, and the variables that
// lead a job there. bearer authenticates the job.
func (j *Job) Open(base, bearer string, mint Mint) (func(http.ResponseWriter, *http.Request) string, map[string]string) {
	a := answers{bearer: bearer, mint: mint}
	switch j.system.Name {
	case "github":
		if j.Token.Fork {
			break // it is not given id-token: write
		}
		a.audience = "https://github.com/" + text(j.Token.Job, "repository_owner")
		return a.github, map[string]string{
			"ACTIONS_ID_TOKEN_REQUEST_URL": base + "/idtoken/1?api-version=2.0", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": bearer,
		}
	case "azure-devops":
		a.audience = j.Token.Audience
		return a.azureDevOps, map[string]string{"SYSTEM_OIDCREQUESTURI": base + "/oidctoken", "SYSTEM_ACCESSTOKEN": bearer}
	case "buildkite":
		a.audience = "https://buildkite.com/" + text(j.Token.Job, "organization_slug")
		a.path = "/v3/jobs/" + text(j.Token.Job, "job_id") + "/oidc/tokens"
		return a.buildkite, map[string]string{"BUILDKITE_AGENT_ENDPOINT": base + "/v3", "BUILDKITE_AGENT_ACCESS_TOKEN": bearer}
	case "google":
		return a.google, map[string]string{"GCE_METADATA_HOST": strings.TrimPrefix(base, "http://")}
	}
	return func(w http.ResponseWriter, _ *http.Request) string { return refuse(w, http.StatusNotFound) }, nil
}

type answers struct {
	bearer   string
	audience string // where none is asked for
	path     string
	mint     Mint
}

// authorized compares the request's credentials, whose scheme has no case.
func (a answers) authorized(r *http.Request, scheme string) bool {
	got, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.EqualFold(got, scheme) && subtle.ConstantTimeCompare([]byte(token), []byte(a.bearer)) == 1
}

func (a answers) github(w http.ResponseWriter, r *http.Request) string {
	switch {
	case r.URL.Path != "/idtoken/1":
		return refuse(w, http.StatusNotFound)
	case r.Method != http.MethodGet || r.URL.Query().Get("api-version") != "2.0" || !a.authorized(r, "Bearer"):
		return refuse(w, http.StatusForbidden)
	}
	return a.reply(w, r.URL.Query().Get("audience"), 0, func(token string) any {
		return map[string]any{"count": len(token), "value": token}
	})
}

func (a answers) azureDevOps(w http.ResponseWriter, r *http.Request) string {
	switch {
	case r.URL.Path != "/oidctoken":
		return refuse(w, http.StatusNotFound)
	case r.Method != http.MethodPost || !a.authorized(r, "Bearer"):
		return refuse(w, http.StatusUnauthorized)
	}
	return a.reply(w, "", 0, func(token string) any { return map[string]string{"oidcToken": token} })
}

// buildkite is the API that the agent calls.
func (a answers) buildkite(w http.ResponseWriter, r *http.Request) string {
	var ask agentRequest
	switch {
	case r.URL.Path != a.path || r.Method != http.MethodPost:
		return refuse(w, http.StatusNotFound)
	case !a.authorized(r, "Token"):
		return refuse(w, http.StatusUnauthorized)
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, maxRequest)).Decode(&ask); err != nil {
		return refuse(w, http.StatusBadRequest)
	}
	return a.reply(w, ask.Audience, time.Duration(ask.Lifetime)*time.Second, func(token string) any { return agentAnswer{token} })
}

func (a answers) google(w http.ResponseWriter, r *http.Request) string {
	audience := r.URL.Query().Get("audience")
	switch {
	case r.Header.Get("Metadata-Flavor") != "Google":
		return refuse(w, http.StatusForbidden)
	case r.URL.Path != "/computeMetadata/v1/instance/service-accounts/default/identity":
		return refuse(w, http.StatusNotFound)
	case audience == "":
		return refuse(w, http.StatusBadRequest)
	}
	token, err := a.mint(audience, 0)
	if err != nil {
		return refuse(w, http.StatusInternalServerError)
	}
	w.Header().Set("Metadata-Flavor", "Google")
	_, _ = io.WriteString(w, token) // a client that went away is not served
	return issued(audience)
}

func (a answers) reply(w http.ResponseWriter, audience string, ttl time.Duration, answer func(token string) any) string {
	if audience = or(audience, a.audience); audience == "" {
		return refuse(w, http.StatusBadRequest)
	}
	token, err := a.mint(audience, ttl)
	if err != nil {
		return refuse(w, http.StatusInternalServerError)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(answer(token)) // a client that went away is not served
	return issued(audience)
}

func issued(audience string) string { return fmt.Sprintf("token for %q: 200", audience) }

func refuse(w http.ResponseWriter, status int) string {
	http.Error(w, http.StatusText(status), status)
	return fmt.Sprintf("token: %d", status)
}
