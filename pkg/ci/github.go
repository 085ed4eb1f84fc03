package ci

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

const (
	githubURL   = "ACTIONS_ID_TOKEN_REQUEST_URL"
	githubToken = "ACTIONS_ID_TOKEN_REQUEST_TOKEN" // #nosec G101 -- a variable's name
)

// github is GitHub Actions, on github.com and on an Enterprise Server, and what is
// compatible with it: Forgejo, Depot.
func github() *System {
	s := &System{
		Name: "github", JobName: "GITHUB_JOB", Title: "GitHub Actions",
		Signs: []string{"GITHUB_ACTIONS=true"},
		// The request URL is another one for each job, also for those of a matrix.
		Job: []string{githubURL, "GITHUB_REPOSITORY", "GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT", "GITHUB_JOB"},
		Issuer: `https://token\.actions\.(?:githubusercontent\.com|[a-z0-9-]+\.ghe\.com)(?:/[A-Za-z0-9-]+)?|` +
			`https://github\.com/enterprises/[^/]+|https://[^/]+/_services/token|https://[^/]+/api/actions`,
		Example:  "https://token.actions.githubusercontent.com",
		Lifetime: "5m",
		Claims: []Claim{
			{"repository", "text", ByPlatform}, {"repository_id", "text", ByPlatform},
			{"repository_owner", "text", ByPlatform}, {"repository_owner_id", "text", ByPlatform},
			{"repository_visibility", "text", ByPlatform}, {"enterprise", "text", ByPlatform}, {"enterprise_id", "text", ByPlatform},
			{"environment", "text", ByMember}, {"ref", "text", ByMember}, {"ref_type", "text", ByMember},
			{"event_name", "text", ByPlatform}, {"workflow", "text", ByMember}, {"workflow_ref", "text", ByMember},
			{"workflow_sha", "text", ByMember}, {"job_workflow_ref", "text", ByMember}, {"job_workflow_sha", "text", ByMember},
			{"actor", "text", ByAnyone}, {"actor_id", "text", ByAnyone}, {"head_ref", "text", ByAnyone}, {"base_ref", "text", ByAnyone},
			{"sha", "text", ByMember}, {"run_id", "text", ByPlatform}, {"run_number", "text", ByPlatform}, {"run_attempt", "text", ByPlatform},
			{"check_run_id", "text", ByPlatform}, {"runner_environment", "text", ByMember},
		},
		Key:      "repository_id",
		Requests: []string{githubURL, githubToken},
		Mask:     "::add-mask::{}",
		Reads: [][2]string{
			{"ACTIONS_ID_TOKEN_REQUEST_URL, ACTIONS_ID_TOKEN_REQUEST_TOKEN", "where a GitHub Actions job requests its token"},
			{"GITHUB_EVENT_NAME, FORGEJO_ACTIONS", "tell why a job has no token"},
		},
		Subject: Grammar{
			"repo:{owner}/{repo}:environment:{environment}", "repo:{owner}/{repo}:ref:refs/heads/{branch}",
			"repo:{owner}/{repo}:ref:refs/tags/{tag}", "repo:{owner}/{repo}:{event}",
		},
		AWSKeys: []string{"actor", "actor_id", "job_workflow_ref", "repository", "repository_id", "repository_owner_id",
			"workflow", "ref", "environment", "enterprise_id"},
		Samples: []Sample{
			{"main", githubSample("repo:my-org/app:ref:refs/heads/main", "refs/heads/main", "push")},
			{"branch", githubSample("repo:my-org/app:ref:refs/heads/dev", "refs/heads/dev", "push")},
			{"tag", githubSample("repo:my-org/app:ref:refs/tags/v1", "refs/tags/v1", "push")},
			{"pull-request", githubSample("repo:my-org/app:pull_request", "refs/pull/1/merge", "pull_request")},
			{"environment", githubSample("repo:my-org/app:environment:production", "refs/heads/main", "push")},
			// Repositories created, renamed or transferred after 2026-07-15.
			{"immutable", githubSample("repo:my-org@1001/app@2002:ref:refs/heads/main", "refs/heads/main", "push")},
		},
	}
	s.Missing = func(f Finder, _ string) error {
		if f.Getenv(githubURL) == "" || f.Getenv(githubToken) == "" {
			return missingGitHub(f)
		}
		return nil
	}
	return minting(s, mintGitHub)
}

func githubSample(subject, ref, event string) map[string]any {
	c := map[string]any{
		"iss": "https://token.actions.githubusercontent.com", "sub": subject, "ref": ref, "event_name": event,
		"repository": "my-org/app", "repository_id": "2002", "repository_owner": "my-org", "repository_owner_id": "1001",
		"repository_visibility": "private", "actor": "octocat", "actor_id": "583231", "workflow": "deploy",
		"job_workflow_ref": "my-org/app/.github/workflows/deploy.yml@" + ref, "run_id": "1", "run_attempt": "1", "runner_environment": "github-hosted",
	}
	if _, environment, ok := strings.Cut(subject, ":environment:"); ok {
		c["environment"] = environment
	}
	return c
}

func mintGitHub(ctx context.Context, f Finder, audience string) (oidc.Token, error) {
	address, bearer := strings.TrimSpace(f.Getenv(githubURL)), strings.TrimSpace(f.Getenv(githubToken))
	if address == "" || bearer == "" {
		return oidc.Token{}, missingGitHub(f)
	}
	if u, err := url.Parse(address); err != nil || u.Host == "" {
		return oidc.Token{}, fault.New(fault.Token, "%s is not a URL", githubURL)
	}
	if audience != "" {
		// The URL has a query of its own, which stays as it is.
		separator := "?"
		if strings.Contains(address, "?") {
			separator = "&"
		}
		address += separator + "audience=" + url.QueryEscape(audience)
	}
	return endpoint{
		source: githubURL, field: "value",
		request: remote.Request{URL: address, Header: http.Header{"Authorization": {"bearer " + bearer}, "Accept": {"application/json"}}},
		refused: []string{"give the job 'permissions: id-token: write'; a token can be requested only while the job runs"},
	}.ask(ctx, f.Client())
}

// missingGitHub says why the request's variables are not there: without the permission
// they are not set.
func missingGitHub(f Finder) error {
	if f.Getenv("FORGEJO_ACTIONS") != "" {
		return fault.New(fault.Token, "no OpenID Connect token: this Forgejo job has no %s", githubURL).
			Hint("in the workflow or its job: enable-openid-connect: true")
	}
	unset := githubURL
	if f.Getenv(githubURL) != "" {
		unset = githubToken
	}
	e := fault.New(fault.Token, "no OpenID Connect token: this GitHub Actions job has no permission id-token: write (%s is not set)", unset).
		Hint("in the workflow or its job: permissions: { id-token: write, contents: read }").
		Hint("a called workflow gets no more than its caller has: the caller's job needs the permission as well")
	if strings.HasPrefix(f.Getenv("GITHUB_EVENT_NAME"), "pull_request") {
		e = e.Hint("a pull request from a fork gets no id-token: write, whatever the workflow says")
	}
	return e.Hint("docker run, sudo and ssh do not pass the job's variables on: exchange the token outside")
}
