package aws

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
)

// someCredentials are valid.
func someCredentials() Credentials {
	return Credentials{
		AccessKeyID: secret.New("ASIAID"), SecretAccessKey: secret.New("secret/+="), SessionToken: secret.New("token/+=="),
		Expiration: time.Date(2026, 3, 1, 13, 0, 0, 500, time.FixedZone("", 3600)), Account: "111122223333", Region: "eu-west-1",
	}
}

func served(t *testing.T, get func(context.Context) (Credentials, error)) *Endpoint {
	t.Helper()
	e, err := Serve(t.Context(), get)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func always(context.Context) (Credentials, error) { return someCredentials(), nil }

// dial sends raw bytes and returns the whole of what comes back.
func dial(t *testing.T, e *Endpoint, text string) string {
	t.Helper()
	c, err := net.Dial("tcp", e.host)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(c)
	return string(b)
}

// TestWhatTheEndpointAnswers is on the wire: requests as programs, proxies, pages
// in a browser and people with curl send them. Only one kind gets credentials.
func TestWhatTheEndpointAnswers(t *testing.T) {
	e := served(t, always)
	good := "Authorization: " + e.token.Reveal() + "\r\n"
	host := "Host: " + e.host + "\r\n"
	_, port, _ := net.SplitHostPort(e.host)
	const get = "GET /credentials HTTP/1.1\r\n"
	for _, row := range []struct {
		name, request string
		status        int
		words         string
	}{
		{"an SDK", get + host + good + "Accept: application/json\r\n", 200, "ASIAID"},
		{"Node's fetch, by itself", get + host + good + "sec-fetch-mode: cors\r\nUser-Agent: node\r\n", 200, "ASIAID"},
		{"another case of the name", get + "host: " + e.host + "\r\nauthorization: " + e.token.Reveal() + "\r\n", 200, "ASIAID"},
		{"with a body, which nobody reads", get + host + good + "Connection: close\r\nContent-Length: 2\r\n\r\n{}", 200, "ASIAID"},

		{"no token", get + host, 403, "does not hold AWS_CONTAINER_AUTHORIZATION_TOKEN"},
		{"an empty one", get + host + "Authorization: \r\n", 403, "does not hold"},
		{"a wrong one", get + host + "Authorization: " + strings.Repeat("A", len(e.token.Reveal())) + "\r\n", 403, "does not hold"},
		{"the start of it", get + host + "Authorization: " + e.token.Reveal()[:42] + "\r\n", 403, "does not hold"},
		{"more than it", get + host + "Authorization: " + e.token.Reveal() + "A\r\n", 403, "does not hold"},
		{"as a bearer's", get + host + "Authorization: Bearer " + e.token.Reveal() + "\r\n", 403, "does not hold"},
		{"two of them", get + host + good + good, 403, "does not hold"},
		{"a wrong one, and it", get + host + "Authorization: x\r\n" + good, 403, "does not hold"},
		{"in another case", get + host + "Authorization: " + strings.ToUpper(e.token.Reveal()) + "\r\n", 403, "does not hold"},
		{"in the query", "GET /credentials?token=" + e.token.Reveal() + " HTTP/1.1\r\n" + host, 403, "does not hold"},
		{"in a cookie", get + host + "Cookie: token=" + e.token.Reveal() + "\r\n", 403, "does not hold"},
		{"IMDS's header", get + host + "X-aws-ec2-metadata-token: " + e.token.Reveal() + "\r\n", 403, "does not hold"},

		{"a name that leads here", get + "Host: rebind.example:" + port + "\r\n" + good, 403, "no name of the endpoint"},
		{"localhost", get + "Host: localhost:" + port + "\r\n" + good, 403, "no name of the endpoint"},
		{"the address without the port", get + "Host: 127.0.0.1\r\n" + good, 403, "no name of the endpoint"},
		{"another port", get + "Host: 127.0.0.1:1\r\n" + good, 403, "no name of the endpoint"},
		{"another spelling of the address", get + "Host: 127.1:" + port + "\r\n" + good, 403, "no name of the endpoint"},
		{"with a user before it", get + "Host: x@" + e.host + "\r\n" + good, 400, ""},
		{"the name with a dot", get + "Host: 127.0.0.1.:" + port + "\r\n" + good, 403, "no name of the endpoint"},
		{"ECS's own address", get + "Host: 169.254.170.2\r\n" + good, 403, "no name of the endpoint"},
		{"no host", "GET /credentials HTTP/1.0\r\n" + good, 403, "no name of the endpoint"},
		{"an empty host", get + "Host: \r\n" + good, 403, "no name of the endpoint"},
		{"no host at all", get + good, 400, "missing required Host header"},
		{"two hosts", get + host + "Host: evil.example\r\n" + good, 400, ""},

		{"through a proxy", "GET http://" + e.host + "/credentials HTTP/1.1\r\n" + host + good, 403, "keep 127.0.0.1 from the proxy, with NO_PROXY"},
		{"through a proxy, of another name", "GET http://evil.example/credentials HTTP/1.1\r\n" + host + good, 403, "no name of the endpoint"},
		{"forwarded", get + host + good + "X-Forwarded-For: 10.0.0.1\r\n", 403, "comes from somewhere else"},
		{"forwarded, from here as it says", get + host + good + "X-Forwarded-For: 127.0.0.1\r\n", 403, "comes from somewhere else"},
		{"forwarded, of nobody", get + host + good + "x-forwarded-for:\r\n", 403, "comes from somewhere else"},
		{"forwarded by its standard", get + host + good + "Forwarded: for=10.0.0.1\r\n", 403, "comes from somewhere else"},
		{"by a named proxy", get + host + good + "Via: 1.1 squid\r\n", 403, "comes from somewhere else"},
		{"by an nginx", get + host + good + "X-Real-IP: 10.0.0.1\r\n", 403, "comes from somewhere else"},
		{"by an ingress", get + host + good + "X-Forwarded-Proto: https\r\n", 403, "comes from somewhere else"},
		{"meant for a proxy", get + host + good + "Proxy-Connection: keep-alive\r\n", 403, "comes from somewhere else"},
		{"a page in a browser", get + host + good + "Origin: https://evil.example\r\n", 403, "comes from somewhere else"},
		{"which asks first whether it may", "OPTIONS /credentials HTTP/1.1\r\n" + host + "Origin: null\r\nAccess-Control-Request-Headers: authorization\r\n", 403, "comes from somewhere else"},
		{"forwarded, without a token", get + host + "X-Forwarded-For: 10.0.0.1\r\n", 403, "comes from somewhere else"},

		{"another path", "GET / HTTP/1.1\r\n" + host + good, 404, "there is /credentials alone"},
		{"a path below", "GET /credentials/x HTTP/1.1\r\n" + host + good, 404, ""},
		{"with a slash", "GET /credentials/ HTTP/1.1\r\n" + host + good, 404, ""},
		{"a way around", "GET /x/../credentials HTTP/1.1\r\n" + host + good, 404, ""},
		{"two slashes", "GET //credentials HTTP/1.1\r\n" + host + good, 404, ""},
		{"an encoded path", "GET /%63redentials HTTP/1.1\r\n" + host + good, 404, ""},
		{"a query", "GET /credentials?x=1 HTTP/1.1\r\n" + host + good, 404, ""},
		{"another path, without a token", "GET /etc/passwd HTTP/1.1\r\n" + host, 403, "does not hold"},
		{"the server itself", "OPTIONS * HTTP/1.1\r\n" + host + good, 403, "comes from somewhere else"},
		{"a tunnel", "CONNECT 169.254.169.254:80 HTTP/1.1\r\n" + host + good, 403, ""},

		{"POST", "POST /credentials HTTP/1.1\r\n" + host + good + "Content-Length: 0\r\n", 405, "there is GET alone"},
		{"PUT", "PUT /credentials HTTP/1.1\r\n" + host + good + "Content-Length: 0\r\n", 405, ""},
		{"HEAD", "HEAD /credentials HTTP/1.1\r\n" + host + good, 405, ""},
		{"DELETE", "DELETE /credentials HTTP/1.1\r\n" + host + good, 405, ""},
		{"TRACE, which would show the token", "TRACE /credentials HTTP/1.1\r\n" + host + good, 405, ""},
		{"a method of one's own", "get /credentials HTTP/1.1\r\n" + host + good, 405, ""},
		{"POST, without a token", "POST /credentials HTTP/1.1\r\n" + host + "Content-Length: 0\r\n", 403, ""},

		{"no HTTP", "\x16\x03\x01\x02\x00\x01", 400, ""},
		{"a header that never ends", get + host + good + "X: " + strings.Repeat("x", 64<<10) + "\r\n", 431, ""},
		{"many headers", get + host + good + strings.Repeat("X: x\r\n", 16<<10), 431, ""},
		{"a long path", "GET /" + strings.Repeat("x", 64<<10) + " HTTP/1.1\r\n" + host + good, 431, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			request := row.request
			if !strings.Contains(request, "\r\n\r\n") {
				request += "Connection: close\r\n\r\n"
			}
			got := dial(t, e, request)
			if want := fmt.Sprintf("HTTP/1.1 %d ", row.status); !strings.HasPrefix(strings.Replace(got, "HTTP/1.0", "HTTP/1.1", 1), want) || !strings.Contains(got, row.words) {
				t.Errorf("%.400s, want %s and %s", got, want, row.words)
			}
			if row.status == 200 {
				return
			}
			for _, hidden := range []string{"ASIAID", "secret/", "token/+", e.token.Reveal()} {
				if strings.Contains(got, hidden) {
					t.Errorf("shows %s", hidden)
				}
			}
		})
	}
}

// TestTheEndpointsForm: what the SDKs read, and nobody may keep.
func TestTheEndpointsForm(t *testing.T) {
	e := served(t, always)
	res, body := ask(t, e, nil)
	var got map[string]string
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"AccessKeyId": "ASIAID", "SecretAccessKey": "secret/+=", "Token": "token/+==",
		"Expiration": "2026-03-01T12:00:00Z", "AccountId": "111122223333",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if res.Header.Get("Content-Type") != "application/json" || res.Header.Get("Cache-Control") != "no-store" || res.ContentLength != int64(len(body)) {
		t.Errorf("headers %v", res.Header)
	}
}

// ask asks as an SDK does.
func ask(t *testing.T, e *Endpoint, client *http.Client) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+e.host+endpointPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", e.token.Reveal())
	if client == nil {
		client = &http.Client{Transport: &http.Transport{}}
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, body
}

// TestTheEndpointsErrors: the SDK for Go shows code and message, and asks 5xx
// again; botocore shows all.
func TestTheEndpointsErrors(t *testing.T) {
	for _, row := range []struct {
		name   string
		err    error
		status int
		want   map[string]string
	}{
		{"over", errors.New(`it ended "then", <and> \ so on`), 400, map[string]string{"code": "CredentialsExpired", "message": `it ended "then", <and> \ so on`}},
		{"nobody has waited", context.Canceled, 400, map[string]string{"code": "CredentialsExpired", "message": "context canceled"}},
	} {
		e := served(t, func(context.Context) (Credentials, error) { return Credentials{}, row.err })
		res, body := ask(t, e, nil)
		var got map[string]string
		if err := json.Unmarshal(body, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(row.want, got); diff != "" || res.StatusCode != row.status {
			t.Errorf("%s: %d %s", row.name, res.StatusCode, diff)
		}
	}
	// A renewal that takes longer than anybody waits is one to ask for again.
	e := &Endpoint{host: "h", token: secret.New("t"), get: func(ctx context.Context) (Credentials, error) {
		return Credentials{}, ctx.Err()
	}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, endpointPath, nil)
	r.Host = "h"
	r.Header.Set("Authorization", "t")
	w := httptest.NewRecorder()
	e.serve(w, r)
	if w.Code != 503 || !strings.Contains(w.Body.String(), `"the credentials are being renewed"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestTheEndpointListens on loopback alone, by a name and a token of its own, and
// not any more when it was closed, whoever is still connected.
func TestTheEndpointListens(t *testing.T) {
	waiting := make(chan struct{})
	e, err := Serve(t.Context(), func(ctx context.Context) (Credentials, error) {
		close(waiting)
		<-ctx.Done() // a renewal that takes its time
		return Credentials{}, ctx.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	other := served(t, always)
	ip, _, _ := net.SplitHostPort(e.host)
	if ip != "127.0.0.1" {
		t.Errorf("listens on %s", e.host)
	}
	if len(e.token.Reveal()) != 43 || e.token.Reveal() == other.token.Reveal() || e.host == other.host {
		t.Error("the token is short, or the same as another's")
	}
	idle, err := net.Dial("tcp", e.host)
	if err != nil {
		t.Fatal(err)
	}
	asks, err := net.Dial("tcp", e.host)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = fmt.Fprintf(asks, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\n\r\n", endpointPath, e.host, e.token.Reveal())
	<-waiting
	e.Close()
	for name, c := range map[string]net.Conn{"idle": idle, "waiting": asks} {
		if b, _ := io.ReadAll(c); len(b) != 0 {
			t.Errorf("%s: got %s", name, b)
		}
	}
	if c, err := net.Dial("tcp", e.host); err == nil {
		_ = c.Close()
		t.Error("it listens yet")
	}
	e.Close() // twice is once
}

// TestTheEndpointsAskers come many at a time, keep their connections, and one of
// them never reads.
func TestTheEndpointsAskers(t *testing.T) {
	var asked atomic.Int32
	e := served(t, func(context.Context) (Credentials, error) {
		asked.Add(1)
		return someCredentials(), nil
	})
	slow, err := net.Dial("tcp", e.host)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = slow.Close() }()
	_, _ = fmt.Fprintf(slow, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\n\r\n", endpointPath, e.host, e.token.Reveal())
	half, err := net.Dial("tcp", e.host)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = half.Close() }()
	_, _ = io.WriteString(half, "GET /cred")
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	defer client.CloseIdleConnections()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				if res, body := ask(t, e, client); res.StatusCode != 200 || !strings.Contains(string(body), "ASIAID") {
					t.Errorf("%d %s", res.StatusCode, body)
				}
			}
		})
	}
	all.Wait()
	// Only now, the answer that has been lying there all the time.
	if res, err := http.ReadResponse(bufio.NewReader(slow), nil); err != nil || res.StatusCode != 200 {
		t.Errorf("%v", err)
	}
	if n := asked.Load(); n != 161 {
		t.Errorf("asked %d times", n)
	}
}

// TestTheEndpointsEnvironment: what leads to it is set, and what would win over it
// gone, in the environment of a child.
func TestTheEndpointsEnvironment(t *testing.T) {
	e := &Endpoint{host: "127.0.0.1:4711", token: secret.New("the-token")}
	was := []string{
		"PATH=/bin", "AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=a", "AWS_SESSION_TOKEN=a", "AWS_SECURITY_TOKEN=a", "AWS_CREDENTIAL_EXPIRATION=a",
		"AWS_ACCESS_KEY=a", "AWS_SECRET_KEY=a", "AWS_PROFILE=a", "AWS_DEFAULT_PROFILE=a", "AWS_ROLE_ARN=a", "AWS_WEB_IDENTITY_TOKEN_FILE=a", "AWS_CREDENTIAL_FILE=a",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/a", "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://169.254.170.23/a",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN=a", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=/a", "AWS_ACCOUNT_ID=a",
		"AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true", "AWS_CA_BUNDLE=/ca", "no_proxy=internal",
	}
	got := e.Environment("eu-west-1", env("no_proxy", "internal")).Apply(was)
	want := []string{
		"PATH=/bin", "AWS_ROLE_ARN=a", "AWS_EC2_METADATA_DISABLED=true", "AWS_CA_BUNDLE=/ca",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:4711/credentials", "AWS_CONTAINER_AUTHORIZATION_TOKEN=the-token",
		"AWS_REGION=eu-west-1", "AWS_DEFAULT_REGION=eu-west-1", "NO_PROXY=internal,127.0.0.1", "no_proxy=internal,127.0.0.1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := e.Environment("", env()).Apply([]string{"AWS_REGION=us-east-1"}); got[0] != "AWS_REGION=us-east-1" {
		t.Errorf("without a region, the command's own stays: %q", got)
	}
}

// FuzzEndpoint: whatever is sent, there are credentials only for GET of the one
// path, under the one name, with the token once, from nobody else.
func FuzzEndpoint(f *testing.F) {
	for _, seed := range []string{
		"GET /credentials HTTP/1.1\r\nHost: 127.0.0.1:4711\r\nAuthorization: the-token\r\n\r\n",
		"GET /credentials HTTP/1.1\r\nHost: 127.0.0.1:4711\r\nAuthorization: the-token\r\nVia: x\r\n\r\n",
		"GET http://127.0.0.1:4711/credentials HTTP/1.1\r\nHost: 127.0.0.1:4711\r\nAuthorization: the-token\r\n\r\n",
		"POST /credentials HTTP/1.1\r\nHost: 127.0.0.1:4711\r\nAuthorization: the-token\r\n\r\n",
		"GET /credentials?a HTTP/1.1\r\nHost: evil:4711\r\nAuthorization: the-tokem\r\nX-Forwarded-For: a\r\n\r\n",
	} {
		f.Add(seed)
	}
	e := &Endpoint{host: "127.0.0.1:4711", token: secret.New("the-token"), get: always}
	f.Fuzz(func(t *testing.T, raw string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
		if err != nil {
			return
		}
		w := httptest.NewRecorder()
		e.serve(w, r)
		if !json.Valid(w.Body.Bytes()) {
			t.Errorf("no JSON: %s", w.Body)
		}
		if w.Code != http.StatusOK {
			if strings.Contains(w.Body.String(), "ASIAID") {
				t.Error("credentials in a refusal")
			}
			return
		}
		first, rest, _ := strings.Cut(raw, "\n")
		if words := strings.Fields(first); len(words) != 3 || words[0] != "GET" || words[1] != "/credentials" {
			t.Errorf("credentials for %q", first)
		}
		hosts, tokens := 0, 0
		for _, line := range strings.Split(rest, "\n") {
			if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
				continue // it belongs to the line before
			}
			name, value, _ := strings.Cut(line, ":")
			switch name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value); {
			case name == "":
				if hosts == 0 || tokens != 1 {
					t.Errorf("credentials for %q", raw)
				}
				return
			case name == "host" && value == "127.0.0.1:4711":
				hosts++
			case name == "authorization":
				tokens++
			case name == "via" || name == "forwarded" || name == "origin" || strings.HasPrefix(name, "x-forwarded-") || strings.HasPrefix(name, "proxy-"):
				t.Errorf("credentials for somebody else: %q", line)
			}
		}
	})
}
