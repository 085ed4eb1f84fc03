package ci

import (
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// gitlab is GitLab CI. Its tokens are declared: each is in the variable that id_tokens
// names.
func gitlab() *System {
	s := &System{
		Name: "gitlab", JobName: "CI_JOB_NAME", Title: "GitLab CI",
		Signs:     []string{"GITLAB_CI=true"},
		Job:       []string{"CI_JOB_ID", "CI_PROJECT_ID", "CI_SERVER_URL"},
		Variables: []string{"OIDC_BROKER_ID_TOKEN", "*_ID_TOKEN", "ID_TOKEN*", "*OIDC_TOKEN*", "*_JWT"},
		Issuer:    `https://gitlab\.com`,
		Example:   "https://gitlab.com",
		Lifetime:  "the job's timeout, or 5m",
		Expired:   "GitLab CI makes the token when the job starts, and it is valid for the job's timeout, or 5 minutes without one: set 'timeout' in the job",
		Claims: []Claim{
			{"namespace_id", "text", ByPlatform}, {"namespace_path", "text", ByPlatform}, {"project_id", "text", ByPlatform}, {"project_path", "text", ByPlatform},
			{"user_id", "text", ByPlatform}, {"user_login", "text", ByPlatform}, {"user_email", "text", ByMember}, {"user_identities", "list", ByMember},
			{"pipeline_id", "text", ByPlatform}, {"pipeline_source", "text", ByPlatform}, {"job_id", "text", ByPlatform},
			{"ref", "text", ByMember}, {"ref_type", "text", ByMember}, {"ref_path", "text", ByMember}, {"ref_protected", "text", ByPlatform},
			{"groups_direct", "list", ByPlatform}, {"environment", "text", ByMember}, {"environment_protected", "text", ByPlatform},
			{"deployment_tier", "text", ByMember}, {"environment_action", "text", ByMember}, {"runner_id", "number", ByPlatform},
			{"runner_environment", "text", ByPlatform}, {"sha", "text", ByMember}, {"project_visibility", "text", ByPlatform},
			{"ci_config_ref_uri", "text", ByMember}, {"ci_config_sha", "text", ByMember},
		},
		Key:     "project_id",
		Subject: Grammar{"project_path:{project_path}:ref_type:{ref_type}:ref:{ref}"},
		AWSKeys: []string{
			"namespace_id", "project_id", "user_id", "user_login", "user_email", "user_access_level", "ref_protected", "pipeline_source", "runner_environment",
		},
		Samples: []Sample{
			{"main", gitlabSample("my-group/app", "branch", "main", "true")},
			{"branch", gitlabSample("my-group/app", "branch", "dev", "false")},
			{"tag", gitlabSample("my-group/app", "tag", "v1", "false")},
			{"other-project", gitlabSample("other-group/app", "branch", "main", "true")},
		},
	}
	return declared(s, func(_ Finder, audience string) error {
		name, aud := "OIDC_BROKER_ID_TOKEN", audience
		switch {
		case aud == "":
			aud = "AUDIENCE"
		case aud == "sts.amazonaws.com":
			name = "AWS_ID_TOKEN"
		case strings.HasPrefix(aud, "https://iam.googleapis.com/"):
			name = "GOOGLE_ID_TOKEN"
		}
		return s.unavailable(audience, "no variable has one").
			Hint("in the job of .gitlab-ci.yml: id_tokens: { %s: { aud: %q } }", name, aud).
			Hint("the variable is found by itself; one with a name that does not end in _ID_TOKEN is given with %s", fault.Option("token-env"))
	})
}

func gitlabSample(project, kind, ref, protected string) map[string]any {
	path := "refs/heads/" + ref
	if kind == "tag" {
		path = "refs/tags/" + ref
	}
	group, _, _ := strings.Cut(project, "/")
	return map[string]any{
		"iss": "https://gitlab.com", "sub": "project_path:" + project + ":ref_type:" + kind + ":ref:" + ref,
		"namespace_path": group, "namespace_id": "72", "project_path": project, "project_id": "22", "ref": ref, "ref_type": kind, "ref_path": path,
		"ref_protected": protected, "pipeline_source": "push", "runner_environment": "gitlab-hosted", "user_login": "alice",
		"ci_config_ref_uri": "gitlab.com/" + project + "//.gitlab-ci.yml@" + path,
	}
}
