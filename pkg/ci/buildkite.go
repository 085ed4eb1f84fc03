package ci

import (
	"context"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// buildkite is Buildkite. Its agent mints, and redacts what it printed in the job's log.
func buildkite() *System {
	s := &System{
		Name: "buildkite", JobName: "BUILDKITE_STEP_KEY", Title: "Buildkite",
		Signs:    []string{"BUILDKITE=true"},
		Job:      []string{"BUILDKITE_JOB_ID", "BUILDKITE_BUILD_ID", "BUILDKITE_PIPELINE_ID"},
		Issuer:   `https://agent\.(?:[^/]+\.)?buildkite\.(?:com|dev|site)`,
		Example:  "https://agent.buildkite.com",
		Lifetime: "5m",
		Claims: []Claim{
			{"organization_slug", "text", ByPlatform}, {"organization_id", "text", ByPlatform}, {"pipeline_slug", "text", ByMember}, {"pipeline_id", "text", ByPlatform},
			{"build_number", "number", ByPlatform}, {"build_branch", "text", ByAnyone}, {"build_tag", "text", ByMember}, {"build_commit", "text", ByAnyone},
			{"step_key", "text", ByMember}, {"job_id", "text", ByPlatform}, {"agent_id", "text", ByPlatform}, {"build_id", "text", ByPlatform},
			{"cluster_id", "text", ByPlatform}, {"queue_id", "text", ByMember}, {"build_source", "text", ByPlatform}, {"runner_environment", "text", ByPlatform},
		},
		Key: "pipeline_id",
		Reads: [][2]string{
			{"BUILDKITE_AGENT_ENDPOINT, BUILDKITE_AGENT_ACCESS_TOKEN", "where the 'buildkite-agent' that the sandbox puts on PATH requests tokens"},
		},
		Subject: Grammar{
			"organization:{organization}:pipeline:{pipeline}:ref:refs/heads/{branch}:commit:{commit}:step:{step}",
			"organization:{organization}:pipeline:{pipeline}:ref:refs/tags/{tag}:commit:{commit}:step:{step}",
		},
		AWSKeys: []string{"organization_id", "organization_slug", "pipeline_id", "pipeline_slug", "cluster_id", "cluster_name", "build_branch"},
		Samples: []Sample{
			{"main", buildkiteSample("refs/heads/main", "main")},
			{"branch", buildkiteSample("refs/heads/dev", "dev")},
			{"tag", buildkiteSample("refs/tags/v1", "main")},
		},
	}
	return minting(s, func(ctx context.Context, f Finder, audience string) (oidc.Token, error) {
		argv := []string{"buildkite-agent", "oidc", "request-token"}
		if audience != "" {
			argv = append(argv, "--audience", audience)
		}
		return asked(ctx, f, argv, "buildkite-agent oidc request-token",
			fault.New(fault.Token, "no OpenID Connect token: buildkite-agent, which makes it, is not on this Buildkite job's PATH").
				Hint("in a container: the docker plugin's 'mount-buildkite-agent: true' gives it the agent and its variables"))
	})
}

func buildkiteSample(ref, branch string) map[string]any {
	const commit = "9f3182061f1e2cca4702c368cbc039b7dc9d4485"
	return map[string]any{
		"iss": "https://agent.buildkite.com", "sub": "organization:my-org:pipeline:app:" + "ref:" + ref + ":commit:" + commit + ":step:deploy",
		"organization_slug": "my-org", "pipeline_slug": "app", "build_number": 1, "build_branch": branch, "build_commit": commit, "step_key": "deploy",
		"job_id": "0184990a-477b-4fa8-9968-496074483cee", "agent_id": "0184990a-4782-42b5-afc1-16715b10b8ff", "build_source": "webhook", "runner_environment": "self-hosted",
	}
}
