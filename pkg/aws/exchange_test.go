package aws

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

const testRole = "arn:aws:iam::111122223333:role/deploy"

// A recorder is the network: it keeps the requests and answers each alike.
type recorder struct {
	status   int
	body     string
	requests []*http.Request
	forms    []url.Values
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	b, _ := io.ReadAll(req.Body)
	form, _ := url.ParseQuery(string(b))
	r.requests, r.forms = append(r.requests, req), append(r.forms, form)
	return &http.Response{StatusCode: r.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(r.body)), Request: req}, nil
}

func (r *recorder) client() *remote.Client {
	return &remote.Client{Transport: r, Now: func() time.Time { return time.Unix(1763072000, 0) }, Attempts: 1}
}

func testToken() oidc.Token {
	return oidc.Token{
		Raw:     secret.New("eyJoZWFkZXIi.eyJwYXlsb2FkIi.c2lnbmF0dXJl"),
		Issuer:  "https://oidc.circleci.com/org/ORG",
		Subject: "org/ORG/project/PROJECT/user/USER", Audience: []string{"AUD"},
		Claims: map[string]any{"oidc.circleci.com/project-id": "PROJECT", "oidc.circleci.com/org-id": "ORG"},
	}
}

func env(pairs ...string) func(string) string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return m[name] }
}

func settled(t *testing.T, o Options, getenv func(string) string) *Exchange {
	t.Helper()
	x, err := o.Resolve(getenv)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func granted(role string) string {
	return `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>` +
		`<AccessKeyId>ASIAID</AccessKeyId><SecretAccessKey>key/+=</SecretAccessKey><SessionToken>token==</SessionToken><Expiration>2026-11-22T10:00:00.123456Z</Expiration>` +
		`</Credentials><AssumedRoleUser><AssumedRoleId>AROA:s</AssumedRoleId><Arn>` + role + `</Arn></AssumedRoleUser></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`
}

// TestExpiredCredentials: what ended before now by this machine's clock is no success,
// for the next command would have nothing. One that ends a second later is good.
func TestExpiredCredentials(t *testing.T) {
	now := (&recorder{}).client().Now()
	for _, row := range []struct {
		name    string
		end     time.Time
		refused bool
	}{
		{"ended long ago", now.Add(-time.Hour), true},
		{"ended a second ago", now.Add(-time.Second), true},
		{"ends now", now, true},
		{"ends in a second", now.Add(time.Second), false},
	} {
		body := strings.ReplaceAll(granted("arn:aws:sts::111122223333:assumed-role/deploy/s"), "2026-11-22T10:00:00.123456Z", row.end.UTC().Format(time.RFC3339))
		_, err := settled(t, Options{RoleARN: testRole}, env()).AssumeRole(t.Context(), (&recorder{status: 200, body: body}).client(), testToken())
		if !row.refused {
			if err != nil {
				t.Errorf("%s: %v", row.name, err)
			}
			continue
		}
		wantFault(t, err, fault.Unavailable, row.end.UTC().Format(time.RFC3339))
		if hints := strings.Join(fault.Hints(err), ""); !strings.Contains(hints, "machine's clock") {
			t.Errorf("%s: no hint names the clock: %s", row.name, hints)
		}
	}
}

func TestWhereSTSIsCalled(t *testing.T) {
	for _, row := range []struct {
		name, role, region string
		env                []string
		want               string
	}{
		{"no region", testRole, "", nil, "https://sts.amazonaws.com/"},
		{"a region's own endpoint", testRole, "us-east-1", nil, "https://sts.us-east-1.amazonaws.com/"},
		{"opt-in region", testRole, "me-central-1", nil, "https://sts.me-central-1.amazonaws.com/"},
		{"a region of tomorrow", testRole, "eu-north-7", nil, "https://sts.eu-north-7.amazonaws.com/"},
		{"FIPS", testRole, "us-east-1", []string{"AWS_USE_FIPS_ENDPOINT", "true"}, "https://sts-fips.us-east-1.amazonaws.com/"},
		{"dual stack", testRole, "eu-west-1", []string{"AWS_USE_DUALSTACK_ENDPOINT", "TRUE"}, "https://sts.eu-west-1.api.aws/"},
		{"China", "arn:aws-cn:iam::111122223333:role/deploy", "cn-north-1", nil, "https://sts.cn-north-1.amazonaws.com.cn/"},
		{"GovCloud", "arn:aws-us-gov:iam::111122223333:role/deploy", "us-gov-west-1", nil, "https://sts.us-gov-west-1.amazonaws.com/"},
		{"the European sovereign cloud", "arn:aws-eusc:iam::111122223333:role/deploy", "eusc-de-east-1", nil, "https://sts.eusc-de-east-1.amazonaws.eu/"},
		{"isolated", "arn:aws-iso:iam::111122223333:role/deploy", "us-iso-east-1", nil, "https://sts.us-iso-east-1.c2s.ic.gov/"},
		{"an endpoint of one's own", testRole, "us-east-1", []string{"AWS_ENDPOINT_URL", "https://proxy.example/aws"}, "https://proxy.example/aws"},
		{"that for STS wins", testRole, "us-east-1", []string{"AWS_ENDPOINT_URL", "https://a.example", "AWS_ENDPOINT_URL_STS", "https://b.example"}, "https://b.example/"},
		{"and wins over FIPS", testRole, "us-east-1", []string{"AWS_USE_FIPS_ENDPOINT", "true", "AWS_ENDPOINT_URL_STS", "https://b.example"}, "https://b.example/"},
		{"unless ignored", testRole, "us-east-1", []string{"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true", "AWS_ENDPOINT_URL_STS", "https://b.example"}, "https://sts.us-east-1.amazonaws.com/"},
	} {
		t.Run(row.name, func(t *testing.T) {
			net := &recorder{status: 200, body: granted("arn:aws:sts::111122223333:assumed-role/deploy/s")}
			x := settled(t, Options{RoleARN: row.role, Region: row.region}, env(row.env...))
			if _, err := x.AssumeRole(context.Background(), net.client(), testToken()); err != nil {
				t.Fatal(err)
			}
			if got := net.requests[0].URL.String(); got != row.want {
				t.Errorf("called %s, want %s", got, row.want)
			}
		})
	}
}

// TestWhatSTSIsAsked holds the request against AWS's API reference, and that it
// carries the token in its body alone, unsigned.
func TestWhatSTSIsAsked(t *testing.T) {
	// Within the half hour that is asked for: what is beyond is not believed.
	net := &recorder{status: 200, body: strings.Replace(granted("arn:aws:sts::111122223333:assumed-role/deploy/s"), "2026-11-22T10:00:00", "2025-11-13T22:43:20", 1)}
	x := settled(t, Options{
		RoleARN: testRole, SessionName: "a b", Duration: "30m", Region: "eu-west-1",
		Policy: `{ "Version": "2012-10-17", "Statement": [ ] }`, PolicyARNs: []string{"arn:aws:iam::aws:policy/A", "arn:aws:iam::111122223333:policy/p/B"},
	}, env())
	got, err := x.AssumeRole(context.Background(), net.client(), testToken())
	if err != nil {
		t.Fatal(err)
	}
	want := url.Values{
		"Action": {"AssumeRoleWithWebIdentity"}, "Version": {"2011-06-15"}, "RoleArn": {testRole}, "RoleSessionName": {"a-b"},
		"DurationSeconds": {"1800"}, "WebIdentityToken": {testToken().Raw.Reveal()}, "Policy": {`{"Version":"2012-10-17","Statement":[]}`},
		"PolicyArns.member.1.arn": {"arn:aws:iam::aws:policy/A"}, "PolicyArns.member.2.arn": {"arn:aws:iam::111122223333:policy/p/B"},
	}
	if diff := cmp.Diff(want, net.forms[0]); diff != "" {
		t.Error(diff)
	}
	req := net.requests[0]
	if req.Method != http.MethodPost || req.URL.RawQuery != "" {
		t.Errorf("%s %s", req.Method, req.URL)
	}
	for name, values := range req.Header {
		if name == "Authorization" || strings.Contains(strings.Join(values, " "), "eyJ") {
			t.Errorf("header %s is sent", name)
		}
	}
	if !strings.Contains(req.Header.Get("User-Agent"), "oidc-broker") {
		t.Errorf("user agent %q", req.Header.Get("User-Agent"))
	}
	if got.Account != "111122223333" || got.Region != "eu-west-1" || got.Expiration.Format(time.RFC3339Nano) != "2025-11-13T22:43:20.123456Z" {
		t.Errorf("got %+v", got)
	}
}

// TestChainLimits: the session policy is for the last role, the external id for
// the chained ones.
func TestChainLimits(t *testing.T) {
	net := &recorder{status: 200, body: granted("arn:aws:sts::111122223333:assumed-role/deploy/s")}
	second := "arn:aws:iam::111122223333:role/deploy" // the recorder answers for one role
	x := settled(t, Options{RoleARN: testRole, ChainRoleARNs: []string{second}, ExternalIDs: []string{"ext"}, Policy: `{"Statement":[]}`}, env())
	_, err := x.AssumeRole(context.Background(), net.client(), testToken())
	if len(net.forms) != 2 {
		t.Fatalf("%d calls, want 2 (%v)", len(net.forms), err)
	}
	first, chained := net.forms[0], net.forms[1]
	if first.Has("Policy") || first.Has("ExternalId") || !chained.Has("Policy") || chained.Get("ExternalId") != "ext" {
		t.Errorf("first %v, chained %v", first, chained)
	}
	if chained.Has("WebIdentityToken") || !strings.HasPrefix(net.requests[1].Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=ASIAID/") {
		t.Error("the chained call is not signed with the first role's keys")
	}
}

func TestSessionName(t *testing.T) {
	for in, want := range map[string]string{
		"deploy":                     "deploy",
		"deploy to prod":             "deploy-to-prod",
		"a+b=c,d.e@f_g-h":            "a+b=c,d.e@f_g-h",
		"dependabot[bot]":            "dependabot-bot-",
		"é-job":                      "--job",
		"x":                          "oidc-broker-x",
		"é":                          "oidc-broker",
		"  ":                         "oidc-broker",
		"a\nb":                       "a-b",
		strings.Repeat("a", 65):      strings.Repeat("a", 64),
		strings.Repeat("é", 3) + "b": "-b",
	} {
		if got := sessionName(in); got != want {
			t.Errorf("sessionName(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzSessionName(f *testing.F) {
	for _, s := range []string{"", "a", "deploy to prod", "é", "[x]", strings.Repeat("-", 70)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := sessionName(s)
		if !matches(`^[A-Za-z0-9_+=,.@-]{2,64}$`, got) {
			t.Errorf("sessionName(%q) = %q", s, got)
		}
		if matches(`^[A-Za-z0-9_+=,.@-]{2,64}$`, s) && strings.Trim(s, "-") != "" && got != s {
			t.Errorf("%q was fine, and became %q", s, got)
		}
	})
}

func TestAnswersThatAreNotUsed(t *testing.T) {
	for _, row := range []struct {
		name, body string
		kind       fault.Kind
		words      string
	}{
		{"nothing", "", fault.Unavailable, "is not an answer of AWS STS"},
		{"another document", "<ListAllMyBucketsResult/>", fault.Unavailable, "is not an answer of AWS STS"},
		{"another role", granted("arn:aws:sts::111122223333:assumed-role/admin/s"), fault.Refused, "got credentials of arn:aws:sts::111122223333:assumed-role/admin/s"},
		{"another account", granted("arn:aws:sts::999999999999:assumed-role/deploy/s"), fault.Refused, "got credentials of"},
		{"no role", granted("nonsense"), fault.Unavailable, "without the assumed role"},
		{"no token", strings.Replace(granted("arn:aws:sts::111122223333:assumed-role/deploy/s"), "token==", "", 1), fault.Unavailable, "without usable credentials"},
		{"a space in a key", strings.Replace(granted("arn:aws:sts::111122223333:assumed-role/deploy/s"), "key/+=", "key x", 1), fault.Unavailable, "without usable credentials"},
		{"an escape in a key", strings.Replace(granted("arn:aws:sts::111122223333:assumed-role/deploy/s"), "ASIAID", "ASIA&#x9;", 1), fault.Unavailable, "without usable credentials"},
		{"no expiration", strings.Replace(granted("arn:aws:sts::111122223333:assumed-role/deploy/s"), "<Expiration>2026-11-22T10:00:00.123456Z</Expiration>", "", 1), fault.Unavailable, "without credentials"},
	} {
		t.Run(row.name, func(t *testing.T) {
			net := &recorder{status: 200, body: row.body}
			_, err := settled(t, Options{RoleARN: testRole}, env()).AssumeRole(context.Background(), net.client(), testToken())
			wantFault(t, err, row.kind, row.words)
		})
	}
}

func wantFault(t *testing.T, err error, kind fault.Kind, words string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one that says %q", words)
	}
	if got := fault.KindOf(err); got != kind || !strings.Contains(err.Error(), words) {
		t.Errorf("kind %d, %q\nwant kind %d and %q", got, err, kind, words)
	}
}

// No answer makes a session longer than the one that was asked for.
func TestTheExpiryIsLimitedToWhatWasRequested(t *testing.T) {
	for asked, life := range map[string]time.Duration{"": time.Hour, "30m": 30 * time.Minute} {
		net := &recorder{status: 200, body: strings.Replace(granted("arn:aws:sts::111122223333:assumed-role/deploy/s"), "2026-11-22T10:00:00.123456Z", "2099-01-01T00:00:00Z", 1)}
		x := settled(t, Options{RoleARN: testRole, Duration: asked}, env())
		c := net.client()
		got, err := x.AssumeRole(context.Background(), c, testToken())
		if err != nil || !got.Expiration.Equal(c.Now().Add(life)) {
			t.Errorf("%q: until %s (%v), want %s", asked, got.Expiration, err, c.Now().Add(life))
		}
	}
}
