package vault

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
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
	testAddr    = "https://vault.example.com:8200"
	testSubject = "org/ORG/project/PROJECT/user/USER"
	testRaw     = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJvcmcvT1JHIn0.c2lnbmF0dXJl"
	given       = "hvs.TOKEN-OF-THE-SERVER"
)

func now() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

func testToken() oidc.Token {
	return oidc.Token{
		Raw:      secret.New(testRaw),
		Issuer:   "https://oidc.circleci.com/org/ORG",
		Subject:  testSubject,
		Audience: []string{"AUD"},
		Expiry:   now().Add(time.Hour),
		Claims: map[string]any{
			"oidc.circleci.com/project-id":  "PROJECT",
			"oidc.circleci.com/context-ids": []any{"CONTEXT"},
			"oidc.circleci.com/ssh-rerun":   false,
			"oidc.circleci.com/vcs-ref":     "refs/heads/it's",
		},
	}
}

// server settles options of which the address is known.
func server(t *testing.T, o Options) *Server {
	t.Helper()
	if o.Addr == "" {
		o.Addr = testAddr
	}
	s, err := o.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	return s
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
	text := err.Error() + "\n" + strings.Join(fault.Hints(err), "\n")
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("nothing says %q:\n%s", w, text)
		}
	}
	for _, s := range []string{testRaw, "eyJzdWIiOiJvcmcvT1JHIn0", given} {
		if strings.Contains(text, s) {
			t.Errorf("the error shows %q", s)
		}
	}
}

// A reply is what the network says to a call.
type reply struct {
	status int
	body   string
}

func ok(body string) reply { return reply{http.StatusOK, body} }

// refused is an error in the server's form.
func refused(status int, texts ...string) reply {
	if texts == nil {
		texts = []string{}
	}
	b, err := json.Marshal(map[string]any{"errors": texts})
	if err != nil {
		panic(err)
	}
	return reply{status, string(b)}
}

// A network answers by the call's path, the last reply for ever, and keeps each
// call.
type network struct {
	mu      sync.Mutex
	replies map[string][]reply
	calls   []call
}

type call struct {
	line   string // METHOD URL
	header http.Header
	body   string
}

func (n *network) RoundTrip(req *http.Request) (*http.Response, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	n.calls = append(n.calls, call{req.Method + " " + req.URL.String(), req.Header.Clone(), string(body)})
	a := refused(http.StatusForbidden, "permission denied")
	if list := n.replies[strings.TrimPrefix(req.URL.Path, "/v1/")]; len(list) > 0 {
		a = list[0]
		if len(list) > 1 {
			n.replies[strings.TrimPrefix(req.URL.Path, "/v1/")] = list[1:]
		}
	}
	return &http.Response{StatusCode: a.status, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader([]byte(a.body))), Request: req}, nil
}

func (n *network) client() *remote.Client {
	return &remote.Client{Transport: n, Now: now, Attempts: 1}
}

func (n *network) lines() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []string
	for _, c := range n.calls {
		all = append(all, c.line)
	}
	return all
}

// vault answers as Vault does, but for what is said otherwise.
func vault(other map[string][]reply) *network {
	n := &network{replies: map[string][]reply{
		"auth/jwt/login":         {ok(`{"auth":{"client_token":"` + given + `","lease_duration":900,"renewable":true,"token_type":"service","policies":["default","ci"]}}`)},
		"auth/token/revoke-self": {{http.StatusNoContent, ""}},
		"auth/token/renew-self":  {ok(`{"auth":{"client_token":"` + given + `","lease_duration":900,"renewable":true}}`)},
	}}
	for path, list := range other {
		n.replies[path] = list
	}
	return n
}

// session is a login at the network.
func session(t *testing.T, n *network, o Options) *Session {
	t.Helper()
	s, err := server(t, o).Login(t.Context(), n.client(), testToken())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// counting tells of each call.
type counting struct {
	n    *network
	tell func(line string)
}

func (c counting) RoundTrip(req *http.Request) (*http.Response, error) {
	c.tell(req.URL.String())
	return c.n.RoundTrip(req)
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
