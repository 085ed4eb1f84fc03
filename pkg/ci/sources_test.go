package ci

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
)

// audienceToken returns a token for an audience that is valid for an hour.
func audienceToken(audience string) string {
	return compact(header, fmt.Sprintf(`{"iss":"https://issuer.example","sub":"job","aud":[%q],"exp":%d}`, audience, now().Add(time.Hour).Unix()))
}

// in returns the job of a CI system, whose Finder has the variables and makes calls.
func in(env map[string]string, path map[string]said) *world {
	w := newWorld(env, path)
	w.Environ = func() []string {
		var all []string
		for _, name := range slices.Sorted(maps.Keys(env)) {
			all = append(all, name+"="+env[name])
		}
		return all
	}
	w.Client = func() *remote.Client {
		return &remote.Client{Transport: remote.NewTransport(w.Getenv), Now: now, Attempts: 1}
	}
	return w
}

// TestDeclared: the tokens that a system's configuration declares, by its variables.
func TestDeclared(t *testing.T) {
	aws, other := audienceToken("sts.amazonaws.com"), audienceToken("https://other.example")
	signs := map[string]map[string]string{
		"gitlab":        {"GITLAB_CI": "true", "AWS_ID_TOKEN": aws},
		"bitbucket":     {"BITBUCKET_BUILD_NUMBER": "7", "BITBUCKET_STEP_OIDC_TOKEN": aws},
		"hcp-terraform": {"TFC_RUN_ID": "run-1", "TFC_WORKLOAD_IDENTITY_TOKEN_AWS": aws},
		"jenkins":       {"JENKINS_URL": "https://jenkins.example/", "OIDC_BROKER_ID_TOKEN": aws},
		"semaphore":     {"SEMAPHORE": "true", "SEMAPHORE_OIDC_TOKEN": aws},
		"spacelift":     {"SPACELIFT_OIDC_TOKEN": aws},
		"env0":          {"ENV0_OIDC_TOKEN": aws},
		"vercel":        {"VERCEL": "1", "VERCEL_OIDC_TOKEN": aws},
	}
	for name, env := range signs {
		t.Run(name, func(t *testing.T) {
			w := in(env, nil)
			if s, _ := w.System(); s == nil || s.Name != name {
				t.Fatalf("detected %v", s)
			}
			w.DefaultAudience = "sts.amazonaws.com"
			tok, err := w.Find(t.Context())
			if err != nil || tok.Audience[0] != "sts.amazonaws.com" {
				t.Fatalf("%v, %v", tok.Audience, err)
			}
			// Another audience is not had by taking this one's token.
			w.Audience = "https://else.example"
			_, err = w.Find(t.Context())
			isTokenError(t, err, aws, "no OpenID Connect token")
			if len(fault.Hints(err)) == 0 {
				t.Errorf("no hint: %v", err)
			}
			// None newer can be had.
			w.Audience = ""
			_, err = w.Renew(t.Context(), tok)
			isTokenError(t, err, aws, "there is no newer token")
			// And without any token the hint is what to declare.
			for variable, v := range env {
				if v == aws && name != "spacelift" && name != "env0" {
					env[variable] = ""
				}
			}
			if name == "spacelift" || name == "env0" {
				return // the token is what shows it
			}
			_, err = w.Find(t.Context())
			isTokenError(t, err, "", w.source().Title)
		})
	}
	for _, row := range []struct {
		name, audience, want, words string
		env                         map[string]string
	}{
		{"by audience", "", "AWS_ID_TOKEN", "", map[string]string{"A_ID_TOKEN": other, "AWS_ID_TOKEN": aws}},
		{"demanded", "https://other.example", "A_ID_TOKEN", "", map[string]string{"A_ID_TOKEN": other, "AWS_ID_TOKEN": aws}},
		{"the only one, whose trust has its audience", "", "GITLAB_OIDC_TOKEN", "", map[string]string{"GITLAB_OIDC_TOKEN": other}},
		{"one for another receiver by its name", "", "", "no variable has one", map[string]string{"SIGSTORE_ID_TOKEN": audienceToken("sigstore")}},
		{"several that do not fit", "", "", "several variables hold a token, none of them for sts.amazonaws.com: A_ID_TOKEN, B_ID_TOKEN",
			map[string]string{"A_ID_TOKEN": other, "B_ID_TOKEN": audienceToken("b.example")}},
		{"no token in it", "", "", "no variable has one", map[string]string{"AWS_ID_TOKEN": "secret"}},
		{"unexpanded", "", "", "", map[string]string{"OIDC_BROKER_ID_TOKEN": "$AWS_ID_TOKEN"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.env["GITLAB_CI"] = "true"
			w := in(row.env, nil)
			w.Audience, w.DefaultAudience = row.audience, "sts.amazonaws.com"
			tok, err := w.Find(t.Context())
			if row.want == "" {
				isTokenError(t, err, aws, row.words)
				return
			}
			if err != nil || tok.Source != row.want {
				t.Errorf("from %q, %v", tok.Source, err)
			}
		})
	}
}

// TestProjectedFile: a pod's token is read anew for each exchange, through the links that
// move when it is replaced; what is no token is refused.
func TestProjectedFile(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "token")
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(link)
		if err := os.Symlink(name, link); err != nil {
			t.Skip("no symbolic links here")
		}
	}
	w := in(map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": link}, nil)
	if s, _ := w.System(); s == nil || s.Name != "kubernetes" {
		t.Fatalf("detected %v", s)
	}
	write("first", audienceToken("sts.amazonaws.com")+"\n")
	old, err := w.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	write("second", compact(header, fmt.Sprintf(`{"iss":"https://i.example","sub":"job","aud":"a","exp":%d}`, now().Add(2*time.Hour).Unix())))
	if renewed, err := w.Renew(t.Context(), old); err != nil || !renewed.Expiry.After(old.Expiry) {
		t.Errorf("%v, %v", renewed.Expiry, err)
	}
	write("empty", "")
	_, err = w.Find(t.Context())
	isTokenError(t, err, "", "is empty")
	w.env["AWS_WEB_IDENTITY_TOKEN_FILE"] = filepath.Join(dir, "none")
	_, err = w.Find(t.Context())
	isTokenError(t, err, "", "does not exist")
	w.env["AWS_WEB_IDENTITY_TOKEN_FILE"] = dir
	if _, err = w.Find(t.Context()); fault.KindOf(err) != fault.Local || !strings.Contains(err.Error(), "a directory") {
		t.Errorf("a directory: %v", err)
	}
}

// TestJobCountsBeforeItsMachine: a runner in a pod, or in Google Cloud, is the CI system's.
func TestJobCountsBeforeItsMachine(t *testing.T) {
	machine := map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": "/no/such/file", "BUILDER_OUTPUT": "/builder/outputs", "FLY_MACHINE_ID": "1"}
	for sign, want := range map[string]string{"GITHUB_ACTIONS=true": "github", "GITLAB_CI=true": "gitlab", "BUILDKITE=true": "buildkite", "TF_BUILD=True": "azure-devops", "CIRCLECI=true": "circleci", "JENKINS_URL=x": "jenkins"} {
		env := maps.Clone(machine)
		name, value, _ := strings.Cut(sign, "=")
		env[name] = value
		w := in(env, nil)
		if s, by := w.System(); s == nil || s.Name != want || by != name {
			t.Errorf("%s: detected %v by %s", sign, s, by)
		}
		_, err := w.Find(t.Context())
		isTokenError(t, err, "", "no OpenID Connect token")
	}
	if s, _ := in(map[string]string{"HOME": "/"}, nil).System(); s != nil {
		t.Errorf("a laptop is a job of %s", s.Name)
	}
}

// TestRequested: the systems whose endpoint issues a token for each audience.
func TestRequested(t *testing.T) {
	type answer struct {
		status int
		body   string
		header http.Header
	}
	var request *http.Request
	var reply answer
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request = r
		maps.Copy(w.Header(), reply.header)
		w.WriteHeader(reply.status)
		_, _ = w.Write([]byte(reply.body))
	}))
	defer server.Close()
	token := audienceToken("a")
	google := http.Header{"Metadata-Flavor": {"Google"}}
	for _, s := range []struct {
		name, field, want string
		env               map[string]string
	}{
		{"github", "value", "GET /x?api-version=2.0&audience=a%26b bearer t", map[string]string{"GITHUB_ACTIONS": "true",
			"ACTIONS_ID_TOKEN_REQUEST_URL": server.URL + "/x?api-version=2.0", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "t"}},
		{"github", "value", "GET /x?audience=a%26b bearer t", map[string]string{"GITHUB_ACTIONS": "true", "FORGEJO_ACTIONS": "true",
			"ACTIONS_ID_TOKEN_REQUEST_URL": server.URL + "/x", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "t"}},
		{"azure-devops", "oidcToken", "POST /o?api-version=7.1&serviceConnectionId=c%2F1 Bearer t", map[string]string{"TF_BUILD": "True",
			"SYSTEM_OIDCREQUESTURI": server.URL + "/o", "SYSTEM_ACCESSTOKEN": "t", "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID": "c/1"}},
		{"google", "", "GET /computeMetadata/v1/instance/service-accounts/default/identity?audience=a%26b&format=full ", map[string]string{
			"BUILDER_OUTPUT": "/builder/outputs", "GCE_METADATA_HOST": strings.TrimPrefix(server.URL, "http://")}},
	} {
		t.Run(s.name, func(t *testing.T) {
			w := in(s.env, nil)
			w.DefaultAudience = "a&b"
			body := token
			if s.field != "" {
				b, err := json.Marshal(map[string]string{s.field: token})
				if err != nil {
					t.Fatal(err)
				}
				body = string(b)
			}
			reply = answer{200, body, google}
			tok, err := w.Find(t.Context())
			if err != nil || tok.Raw.Reveal() != token {
				t.Fatalf("%v", err)
			}
			if got := request.Method + " " + request.URL.String() + " " + request.Header.Get("Authorization"); got != s.want {
				t.Errorf("asks %s\nwant %s", got, s.want)
			}
			for _, bad := range []struct {
				answer
				kind  fault.Kind
				words string
			}{
				{answer{403, "forbidden", google}, fault.Token, "answers 403"},
				{answer{302, "", http.Header{"Location": {server.URL + "/stolen"}, "Metadata-Flavor": {"Google"}}}, fault.Unavailable, "points elsewhere"},
				{answer{500, "", google}, fault.Unavailable, "answers 500"},
				{answer{200, "", google}, fault.Token, "issues no token"},
				{answer{200, "<html>" + strings.Repeat("x", 100), google}, fault.Token, ""},
				{answer{200, `{"value": 1, "oidcToken": {}}`, google}, fault.Token, ""},
				{answer{200, strings.Repeat("x", 2<<20), google}, fault.Unavailable, "more than 1 MiB"},
			} {
				reply = bad.answer
				_, err := w.Find(t.Context())
				if fault.KindOf(err) != bad.kind || !strings.Contains(err.Error(), bad.words) {
					t.Errorf("%d %.20q: kind %d of %v, want %d with %q", bad.status, bad.body, fault.KindOf(err), err, bad.kind, bad.words)
				}
				if strings.Contains(fmt.Sprint(err, fault.Hints(err)), server.URL) || strings.Contains(request.URL.Path, "stolen") {
					t.Errorf("shows the URL, or follows: %v", err)
				}
			}
		})
	}
}

// TestRequestIsNotSentInTheClear: plain HTTP is for loopback, and a variable with
// something else is no URL.
func TestRequestIsNotSentInTheClear(t *testing.T) {
	for _, address := range []string{"http://runner.example/x", "ftp://runner.example", "no URL", "https://user:pass@runner.example/"} {
		w := in(map[string]string{"GITHUB_ACTIONS": "true", "ACTIONS_ID_TOKEN_REQUEST_URL": address, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "t"}, nil)
		_, err := w.Find(t.Context())
		isTokenError(t, err, "", "ACTIONS_ID_TOKEN_REQUEST_URL")
	}
}

// TestAnotherMetadataServer: what does not call itself Google's is none.
func TestAnotherMetadataServer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(audienceToken("a"))) }))
	defer server.Close()
	w := in(map[string]string{"GCE_METADATA_HOST": strings.TrimPrefix(server.URL, "http://")}, nil)
	w.CI, w.Audience = "google", "a"
	_, err := w.Find(t.Context())
	isTokenError(t, err, audienceToken("a"), "refuses to issue a token")
	w.Audience = ""
	_, err = w.Find(t.Context())
	isTokenError(t, err, "", "without an audience")
}

// TestAzureAudience: it is always the same, and another one is a usage error.
func TestAzureAudience(t *testing.T) {
	w := in(map[string]string{"TF_BUILD": "True"}, nil)
	w.Audience = "sts.amazonaws.com"
	if err := w.Check(); fault.KindOf(err) != fault.Usage {
		t.Errorf("%v", err)
	}
	w.Audience = "api://AzureADTokenExchange"
	if err := w.Check(); err != nil {
		t.Error(err)
	}
	w.env["SYSTEM_ACCESSTOKEN"] = "$(System.AccessToken)"
	_, err := w.Find(t.Context())
	isTokenError(t, err, "", "SYSTEM_ACCESSTOKEN is not set")
}

// TestBuildkite: what the agent is asked, and what it prints.
func TestBuildkite(t *testing.T) {
	token := audienceToken("a")
	w := in(map[string]string{"BUILDKITE": "true"}, map[string]said{"buildkite-agent": {stdout: token + "\n"}})
	w.DefaultAudience = "a"
	if tok, err := w.Find(t.Context()); err != nil || tok.Audience[0] != "a" || strings.Join(w.argv[0], " ") != "buildkite-agent oidc request-token --audience a" {
		t.Errorf("%v, %v", w.argv, err)
	}
	for words, does := range map[string]said{"it printed nothing": {}, "fatal: no": {stderr: "fatal: no\n", err: errExit1}, "has 1 part": {stdout: "no token"}} {
		w.path["buildkite-agent"] = does
		_, err := w.Find(t.Context())
		isTokenError(t, err, token, words)
	}
	delete(w.path, "buildkite-agent")
	_, err := w.Find(t.Context())
	isTokenError(t, err, "", "not on this Buildkite job's PATH")
}

// TestFly: the machine's socket.
func TestFly(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("for Unix")
	}
	dir, err := os.MkdirTemp("", "fly") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	socket := filepath.Join(dir, "api")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var ask struct{ Aud string }
		if r.Method != http.MethodPost || r.URL.Path != "/v1/tokens/oidc" || json.NewDecoder(r.Body).Decode(&ask) != nil {
			w.WriteHeader(http.StatusBadRequest)
		}
		_, _ = w.Write([]byte(audienceToken(ask.Aud)))
	})}
	go func() { _ = server.Serve(l) }()
	defer func() { _ = server.Close() }()
	w := in(map[string]string{"FLY_MACHINE_ID": "1"}, nil)
	if tok, err := mintFly(t.Context(), w.Finder, "sts.amazonaws.com", socket); err != nil || tok.Audience[0] != "sts.amazonaws.com" {
		t.Errorf("%v, %v", tok.Audience, err)
	}
	_, err = mintFly(t.Context(), w.Finder, "a", filepath.Join(dir, "none"))
	if fault.KindOf(err) != fault.Unavailable {
		t.Errorf("%v", err)
	}
}

// TestRenewMints: a new token is for the same audience, whoever received it.
func TestRenewMints(t *testing.T) {
	w := in(map[string]string{"BUILDKITE": "true"}, map[string]said{"buildkite-agent": {stdout: audienceToken("a")}})
	w.DefaultAudience = "a"
	old, err := w.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	later := compact(header, fmt.Sprintf(`{"iss":"https://i.example","sub":"job","aud":"a","exp":%d}`, now().Add(2*time.Hour).Unix()))
	w.path["buildkite-agent"] = said{stdout: later}
	if got, err := w.Renew(t.Context(), old); err != nil || got.Raw.Reveal() != later || len(w.argv) != 2 || strings.Join(w.argv[1], " ") != "buildkite-agent oidc request-token --audience a" {
		t.Errorf("%v, %v", w.argv, err)
	}
}

// TestIdentityOfAJob: keys of one job are not another's; where nothing tells, none are kept.
func TestIdentityOfAJob(t *testing.T) {
	id := func(env map[string]string) string {
		got, err := in(env, nil).Identity(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(got, "\n")
	}
	first := id(map[string]string{"GITHUB_ACTIONS": "true", "ACTIONS_ID_TOKEN_REQUEST_URL": "https://a.example/1", "GITHUB_RUN_ID": "1"})
	if first == "" || first == id(map[string]string{"GITHUB_ACTIONS": "true", "ACTIONS_ID_TOKEN_REQUEST_URL": "https://a.example/2", "GITHUB_RUN_ID": "1"}) {
		t.Errorf("%q is the identity of two jobs of a matrix", first)
	}
	if got := id(map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "1"}); got != "" {
		t.Errorf("%q", got)
	}
	if got := id(map[string]string{"BUILDER_OUTPUT": "/builder/outputs"}); got != "" {
		t.Errorf("%q is the identity of any build", got)
	}
}
