package gcp

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

const (
	testProvider = "projects/123456789012/locations/global/workloadIdentityPools/circleci/providers/main"
	testAccount  = "deploy@my-project.iam.gserviceaccount.com"
	testSubject  = "org/ORG/project/PROJECT/user/USER"
	federated    = "ya29.d.FEDERATED"
)

func now() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

func testToken() oidc.Token {
	return oidc.Token{
		Raw:      secret.New("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJvcmcvT1JHIn0.c2lnbmF0dXJl"),
		Issuer:   "https://oidc.circleci.com/org/ORG",
		Subject:  testSubject,
		Audience: []string{"AUD"},
		Expiry:   now().Add(time.Hour),
		Claims:   map[string]any{"oidc.circleci.com/project-id": "PROJECT", "oidc.circleci.com/org-id": "ORG"},
	}
}

func settled(t *testing.T, o Options) *Exchange {
	t.Helper()
	if o.Provider == "" {
		o.Provider = testProvider
	}
	x, err := o.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// wantFault demands a kind, and words in the error or its hints.
func wantFault(t *testing.T, err error, kind fault.Kind, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if got := fault.KindOf(err); got != kind {
		t.Errorf("kind %d, want %d: %v", got, kind, err)
	}
	text := err.Error() + "\n" + strings.Join(append(fault.Hints(err), fault.Details(err)...), "\n")
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("nothing says %q:\n%s", w, text)
		}
	}
}

// An answer is what a recorder says to a call.
type answer struct {
	status int
	body   string
}

func ok(body string) answer { return answer{http.StatusOK, body} }

// A recorder stands for the network: it keeps each call, and answers by the
// end of the call's path, the last answer for ever.
type recorder struct {
	mu      sync.Mutex
	answers map[string][]answer
	calls   []call
}

type call struct {
	url    string
	header http.Header
	body   string
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	r.calls = append(r.calls, call{req.Method + " " + req.URL.String(), req.Header.Clone(), string(body)})
	a := answer{http.StatusNotFound, "nobody is here"}
	for path, list := range r.answers {
		if strings.HasSuffix(req.URL.Path, path) {
			a = list[0]
			if len(list) > 1 {
				r.answers[path] = list[1:]
			}
		}
	}
	return &http.Response{StatusCode: a.status, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader([]byte(a.body))), Request: req}, nil
}

func (r *recorder) client() *remote.Client {
	return &remote.Client{Transport: r, Now: now, Attempts: 1}
}

// google answers as Google does, but for what is said otherwise.
func google(other map[string][]answer) *recorder {
	r := &recorder{answers: map[string][]answer{
		"/v1/token":            {ok(`{"access_token":"` + federated + `","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":3599}`)},
		":generateAccessToken": {ok(`{"accessToken":"ya29.c.ACCOUNT","expireTime":"2026-03-01T13:00:00Z"}`)},
		":generateIdToken":     {ok(`{"token":"eyJ.ID.TOKEN"}`)},
		"/v1/introspect":       {ok(`{"active":false}`)},
	}}
	for path, list := range other {
		r.answers[path] = list
	}
	return r
}
