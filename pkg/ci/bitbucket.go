package ci

import "strings"

// bitbucket is Bitbucket Pipelines: one token for a step, for all audiences that the step
// declares.
func bitbucket() *System {
	s := &System{
		Name: "bitbucket", Title: "Bitbucket Pipelines",
		Signs:     []string{"BITBUCKET_PIPELINE_UUID", "BITBUCKET_STEP_OIDC_TOKEN", "BITBUCKET_BUILD_NUMBER"},
		Job:       []string{"BITBUCKET_STEP_UUID", "BITBUCKET_PIPELINE_UUID", "BITBUCKET_REPO_UUID"},
		Variables: []string{"BITBUCKET_STEP_OIDC_TOKEN"},
		Issuer:    `https://api\.bitbucket\.org/2\.0/workspaces/[^/]+/pipelines-config/identity/oidc`,
		Example:   "https://api.bitbucket.org/2.0/workspaces/my-workspace/pipelines-config/identity/oidc",
		Lifetime:  "the step's time",
		Claims: []Claim{
			{"workspaceUuid", "text", ByPlatform}, {"repositoryUuid", "text", ByPlatform}, {"pipelineUuid", "text", ByPlatform}, {"stepUuid", "text", ByPlatform},
			{"branchName", "text", ByMember}, {"deploymentEnvironmentUuid", "text", ByMember},
		},
		Key: "repositoryUuid",
		Samples: []Sample{
			{"main", bitbucketSample("main")}, {"branch", bitbucketSample("dev")},
		},
		Subject: Grammar{"{repository}:{environment}:{step}", "{repository}:{step}"},
	}
	return declared(s, func(_ Finder, audience string) error {
		if audience != "" && strings.TrimSpace(audience) != "" {
			return s.unavailable(audience, "BITBUCKET_STEP_OIDC_TOKEN has none for it").
				Hint("in the step of bitbucket-pipelines.yml: oidc: { audiences: [%q] }", audience)
		}
		return s.unavailable("", "BITBUCKET_STEP_OIDC_TOKEN is not set").
			Hint("in the step of bitbucket-pipelines.yml: oidc: true")
	})
}

func bitbucketSample(branch string) map[string]any {
	return map[string]any{
		"iss":           "https://api.bitbucket.org/2.0/workspaces/my-workspace/pipelines-config/identity/oidc",
		"sub":           "{6a5b4c3d-1111-4222-8333-444455556666}:{7b6c5d4e-1111-4222-8333-444455556666}",
		"workspaceUuid": "{5f4e3d2c-1111-4222-8333-444455556666}", "repositoryUuid": "{6a5b4c3d-1111-4222-8333-444455556666}",
		"pipelineUuid": "{8c7d6e5f-1111-4222-8333-444455556666}", "stepUuid": "{7b6c5d4e-1111-4222-8333-444455556666}", "branchName": branch,
	}
}
