package sandbox

import (
	"encoding/json"
	"encoding/xml"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
)

// The sample project, which is the sandbox's unless its token is of another.
const (
	orgID     = ci.SampleOrg
	projectID = ci.SampleProject
	ownOrigin = ci.SampleOrigin
	orgIssuer = rootIssuer + "/org/" + orgID
)

// at is the time of every test that needs no independent client.
var at = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// A lab is an issuer and its clouds without a network, at a standing clock.
type lab struct {
	t      testing.TB
	now    time.Time
	key    jose.JSONWebKey
	issuer *issuer
	sts    *sts
	google *google
	vault  *vault
	ledger *ledger
}

func newLab(t testing.TB, c Config) *lab {
	t.Helper()
	l := &lab{t: t, now: at, ledger: &ledger{}}
	c.Now = func() time.Time { return l.now }
	var err error
	if l.key, err = newKey(); err != nil {
		t.Fatal(err)
	}
	if l.issuer, err = newIssuer(l.key, c.Now, c.Token, l.ledger); err != nil {
		t.Fatal(err)
	}
	if l.sts, err = newSTS(c, l.issuer.public, l.ledger); err != nil {
		t.Fatal(err)
	}
	if l.google, err = newGoogle(c, l.issuer.public, l.ledger); err != nil {
		t.Fatal(err)
	}
	if l.vault, err = newVault(c, l.issuer.public, l.ledger); err != nil {
		t.Fatal(err)
	}
	return l
}

// v1 and v2 mint a variant's token, with its claims changed last. A nil value
// takes the claim out.
func (l *lab) v1(v Variant, change map[string]any) string {
	l.t.Helper()
	c, _ := v.Payload(l.now)
	return l.sign(c, change)
}

func (l *lab) v2(v Variant) string {
	l.t.Helper()
	_, c := v.Payload(l.now)
	return l.sign(c, nil)
}

func (l *lab) sign(claims, change map[string]any) string {
	l.t.Helper()
	for name, value := range change {
		claims[name] = value
		if value == nil {
			delete(claims, name)
		}
	}
	token, err := l.issuer.sign(claims)
	if err != nil {
		l.t.Fatal(err)
	}
	return token
}

// forge signs good claims with a key, under a key id or none.
func (l *lab) forge(key any, id string) string {
	l.t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	c, _ := Variant{}.Payload(l.now)
	payload, err := json.Marshal(c)
	if err != nil {
		l.t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		l.t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		l.t.Fatal(err)
	}
	return token
}

// An answer is what STS sent, read by types of the test's own.
type answer struct {
	status int
	header http.Header
	body   string
	root   string
	code   string
	text   string
	kind   string
}

// post sends a form unsigned.
func (l *lab) post(form url.Values) answer {
	l.t.Helper()
	r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:1/", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return l.do(r)
}

func (l *lab) do(r *http.Request) answer {
	l.t.Helper()
	w := httptest.NewRecorder()
	l.sts.serve(w, r)
	return readAnswer(l.t, w)
}

func readAnswer(t testing.TB, w *httptest.ResponseRecorder) answer {
	t.Helper()
	a := answer{status: w.Code, header: w.Header(), body: w.Body.String()}
	var x struct {
		XMLName xml.Name
		Error   struct{ Type, Code, Message string }
	}
	if err := xml.Unmarshal(w.Body.Bytes(), &x); err != nil {
		t.Fatalf("no XML: %v: %s", err, a.body)
	}
	if x.XMLName.Space != "https://sts.amazonaws.com/doc/2011-06-15/" {
		t.Errorf("namespace %q", x.XMLName.Space)
	}
	a.root, a.code, a.text, a.kind = x.XMLName.Local, x.Error.Code, x.Error.Message, x.Error.Type
	return a
}

// webIdentity is a good request with a token, changed last. An empty list
// takes a parameter out.
func webIdentity(token string, change url.Values) url.Values {
	form := url.Values{
		"Action":           {"AssumeRoleWithWebIdentity"},
		"Version":          {"2011-06-15"},
		"RoleArn":          {DefaultRole},
		"RoleSessionName":  {"build-1"},
		"WebIdentityToken": {token},
	}
	maps.Copy(form, change)
	for name, values := range change {
		if len(values) == 0 {
			form.Del(name)
		}
	}
	return form
}

// signed is a request signed with a session's credentials, by the code under
// test: where another signer is wanted, see the tests of clients.
func (l *lab) signed(s *session, form url.Values, change func(*http.Request)) *http.Request {
	l.t.Helper()
	body := form.Encode()
	r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:1/", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("X-Amz-Date", l.now.Format(sigTime))
	r.Header.Set("X-Amz-Security-Token", s.token.Reveal())
	l.authorize(r, s, body, []string{"content-type", "host", "x-amz-date", "x-amz-security-token"})
	if change != nil {
		change(r)
	}
	return r
}

func (l *lab) authorize(r *http.Request, s *session, body string, headers []string) {
	l.t.Helper()
	a := authorization{
		keyID: s.keyID, date: r.Header.Get("X-Amz-Date")[:8], region: "us-east-1", service: "sts",
		terminator: "aws4_request", headers: headers,
	}
	signature, err := a.sign(r, []byte(body), s.secretKey.Reveal())
	if err != nil {
		l.t.Fatal(err)
	}
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+strings.Join([]string{a.keyID, a.date, a.region, a.service, a.terminator}, "/")+
		", SignedHeaders="+strings.Join(headers, ";")+", Signature="+signature)
}

// session issues credentials as an exchange would.
func (l *lab) session() *session {
	return l.sts.sessions.issue(l.sts.roles[DefaultRole], "build-1", l.now.Add(time.Hour))
}

func callerIdentity() url.Values {
	return url.Values{"Action": {"GetCallerIdentity"}, "Version": {"2011-06-15"}}
}

func (a answer) wantRefusal(t testing.TB, name string, status int, code, text string) {
	t.Helper()
	if a.status != status || a.code != code || a.text != text || a.root != "ErrorResponse" {
		t.Errorf("%s:\ngot  %d %s %s %q\nwant %d ErrorResponse %s %q", name, a.status, a.root, a.code, a.text, status, code, text)
	}
}

func null() json.RawMessage { return json.RawMessage("null") }
