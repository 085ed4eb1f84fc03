package job

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

func TestSubjects(t *testing.T) {
	const buildkite = "organization:my-org:pipeline:app:ref:"
	for _, row := range []struct {
		name string
		o    Options
		v    ci.Variant
		want string // the start of it
	}{
		{"github", Options{CI: "github"}, ci.Variant{}, "repo:my-org/app:ref:refs/heads/main"},
		{"a branch", Options{CI: "github"}, ci.Variant{Branch: "a/b"}, "repo:my-org/app:ref:refs/heads/a/b"},
		{"a tag", Options{CI: "github"}, ci.Variant{Tag: "v1"}, "repo:my-org/app:ref:refs/tags/v1"},
		{"a pull request", Options{CI: "github", PullRequest: true}, ci.Variant{}, "repo:my-org/app:pull_request"},
		{"an environment", Options{CI: "github", Environment: "a:b"}, ci.Variant{}, "repo:my-org/app:environment:a%3Ab"},
		{"before a pull request", Options{CI: "github", Environment: "e", PullRequest: true}, ci.Variant{}, "repo:my-org/app:environment:e"},
		{"immutable", Options{CI: "github", Immutable: true, PullRequest: true}, ci.Variant{Origin: "github.com/acme/site"}, "repo:acme@1001/site@2002:pull_request"},
		{"gitlab", Options{CI: "gitlab"}, ci.Variant{}, "project_path:my-group/app:ref_type:branch:ref:main"},
		{"a subgroup", Options{CI: "gitlab"}, ci.Variant{Origin: "gitlab.com/a/b/c", Tag: "v1"}, "project_path:a/b/c:ref_type:tag:ref:v1"},
		{"a merge request", Options{CI: "gitlab", PullRequest: true}, ci.Variant{}, "project_path:my-group/app:ref_type:branch:ref:patch-1"},
		{"of a fork", Options{CI: "gitlab"}, ci.Variant{Fork: true}, "project_path:stranger/app:ref_type:branch:ref:patch-1"},
		{"buildkite", Options{CI: "buildkite"}, ci.Variant{}, buildkite + "refs/heads/main:commit:"},
		{"a tag", Options{CI: "buildkite"}, ci.Variant{Tag: "v1"}, buildkite + "refs/tags/v1:commit:"},
		{"a fork", Options{CI: "buildkite"}, ci.Variant{Fork: true}, buildkite + "refs/heads/stranger:patch-1:commit:"},
		{"bitbucket", Options{CI: "bitbucket", Environment: "e"}, ci.Variant{}, "{6a5b4c3d-1111-4222-8333-444455556666}:{e}:{"},
	} {
		t.Run(row.o.CI+" "+row.name, func(t *testing.T) {
			j, err := New(row.o, row.v)
			if err != nil {
				t.Fatal(err)
			}
			if got := text(j.Token.Job, "sub"); !strings.HasPrefix(got, row.want) {
				t.Errorf("subject %q, want %q", got, row.want)
			}
			if (row.v.Fork || row.o.PullRequest && row.o.Environment == "") == (j.subject == text(j.Token.Job, "sub")) {
				t.Errorf("the clouds trust %q, the token is of %q", j.subject, text(j.Token.Job, "sub"))
			}
		})
	}
}

// TestSystems: the tokens of each are of that system by its own data, and its environment
// is that of one of its jobs, and of no other's.
func TestSystems(t *testing.T) {
	for _, name := range Names() {
		if name == "circleci" {
			continue
		}
		j, err := New(Options{CI: name}, ci.Variant{})
		if err != nil {
			t.Fatal(err)
		}
		s := ci.Named(name)
		if !regexp.MustCompile(`^(?:`+s.Issuer+`)$`).MatchString(j.Issuer()) || s.Subject.Parse(j.subject) == nil {
			t.Errorf("%s: issuer %q, subject %q", name, j.Issuer(), j.subject)
		}
		set := j.Environment()
		for variable := range j.Declared("p") {
			set[variable] = "t"
		}
		if j.File() != "" {
			set[j.File()] = "f"
		}
		got, _ := ci.Detect(func(name string) string { return set[name] })
		if got == nil || got.Name != name {
			t.Errorf("%s: the environment %v is one of %v", name, set, got)
		}
		for variable, value := range set {
			if value == "" {
				t.Errorf("%s: %s is empty", name, variable)
			}
		}
	}
}

func TestOptionsOfOthers(t *testing.T) {
	for _, row := range []struct {
		o    Options
		v    ci.Variant
		want string
	}{
		{Options{CI: "travis"}, ci.Variant{}, "ci"},
		{Options{CI: "github"}, ci.Variant{Expired: true}, "expired"},
		{Options{CI: "azure-devops"}, ci.Variant{Branch: "b"}, "branch"},
		{Options{CI: "gitlab", Immutable: true}, ci.Variant{}, "immutable-subject"},
		{Options{PullRequest: true}, ci.Variant{}, "pull-request"},
	} {
		_, err := New(row.o, row.v)
		if err == nil || !strings.HasPrefix(err.Error(), row.want+" ") || fault.KindOf(err) != fault.Usage {
			t.Errorf("%+v %+v: %v", row.o, row.v, err)
		}
	}
}

func TestAnswers(t *testing.T) {
	const agent = "/v3/jobs/0184990a-477b-4fa8-9968-496074483cee/oidc/tokens"
	const identity = "/computeMetadata/v1/instance/service-accounts/default/identity"
	for _, row := range []struct {
		ci, method, path, header, value, body string
		status                                int
		want                                  string
	}{
		{"github", "GET", "/idtoken/1?api-version=2.0&audience=a", "Authorization", "Bearer b", "", 200, `"value":"a 0s"`},
		{"github", "GET", "/idtoken/1?api-version=2.0", "Authorization", "bearer b", "", 200, `"value":"https://github.com/my-org 0s"`},
		{"github", "GET", "/idtoken/1?api-version=2.0", "Authorization", "Bearer other", "", 403, ""},
		{"github", "GET", "/idtoken/1", "Authorization", "Bearer b", "", 403, ""},
		{"github", "POST", "/idtoken/1?api-version=2.0", "Authorization", "Bearer b", "", 403, ""},
		{"github", "GET", "/", "Authorization", "Bearer b", "", 404, ""},
		{"azure-devops", "POST", "/oidctoken?api-version=7.1", "Authorization", "Bearer b", "", 200, `"oidcToken":"api://AzureADTokenExchange 0s"`},
		{"azure-devops", "GET", "/oidctoken", "Authorization", "Bearer b", "", 401, ""},
		{"buildkite", "POST", agent, "Authorization", "Token b", `{"audience":"a","lifetime":60}`, 200, `"token":"a 1m0s"`},
		{"buildkite", "POST", agent, "Authorization", "Token b", `{}`, 200, `"token":"https://buildkite.com/my-org 0s"`},
		{"buildkite", "POST", agent, "Authorization", "Bearer b", `{}`, 401, ""},
		{"buildkite", "POST", agent, "Authorization", "Token b", `no`, 400, ""},
		{"buildkite", "POST", "/v3/jobs/x/oidc/tokens", "Authorization", "Token b", `{}`, 404, ""},
		{"google", "GET", identity + "?audience=a&format=full", "Metadata-Flavor", "Google", "", 200, "a 0s"},
		{"google", "GET", identity + "?audience=a", "Metadata-Flavor", "", "", 403, ""},
		{"google", "GET", identity, "Metadata-Flavor", "Google", "", 400, ""},
		{"gitlab", "GET", "/", "Authorization", "Bearer b", "", 404, ""},
	} {
		j, err := New(Options{CI: row.ci}, ci.Variant{})
		if err != nil {
			t.Fatal(err)
		}
		answer, _ := j.Open("http://127.0.0.1:1", "b", func(audience string, ttl time.Duration) (string, error) {
			return audience + " " + ttl.String(), nil
		})
		r := httptest.NewRequest(row.method, row.path, strings.NewReader(row.body))
		r.Header.Set(row.header, row.value)
		w := httptest.NewRecorder()
		answer(w, r)
		if w.Code != row.status || row.status == http.StatusOK && !strings.Contains(w.Body.String(), row.want) {
			t.Errorf("%s %s %s: %d %s", row.ci, row.method, row.path, w.Code, w.Body)
		}
	}
}

func TestBatchScript(t *testing.T) {
	if got, want := batchScript(`C:\100% new\oidc-broker.exe`, "sandbox circleci-run"), "@\"C:\\100%% new\\oidc-broker.exe\" sandbox circleci-run %*\r\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
