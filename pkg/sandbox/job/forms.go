package job

import (
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// A form is what a system's jobs are like.
type form struct {
	// takes are the options that change the token.
	takes []fault.Option
	// change puts them into the claims.
	change func(claims map[string]any, o Options, v ci.Variant)
	// declares are the variables with a token, and its audience: empty, the job's own.
	declares map[string]string
	// file is a variable that names a file with the token.
	file string
	// set are the variables of a job; {claim} is one of its token's.
	set map[string]string
}

// forGoogle stands for the audience of the Google provider.
const forGoogle = "google"

// forms are the systems that the sandbox can run as. CircleCI's is here for its options.
var forms = map[string]form{
	"circleci": {takes: []fault.Option{"org", "project", "vcs-origin", "branch", "tag", "fork", "webhook", "ssh-rerun", "expired", "root-issuer"}},
	"github": {
		takes:  []fault.Option{"vcs-origin", "branch", "tag", "environment", "fork", "pull-request", "immutable-subject"},
		change: github,
		set: map[string]string{
			"CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_JOB": "deploy", "GITHUB_SERVER_URL": "https://github.com",
			"GITHUB_REPOSITORY": "{repository}", "GITHUB_REPOSITORY_OWNER": "{repository_owner}", "GITHUB_REF": "{ref}", "GITHUB_EVENT_NAME": "{event_name}",
			"GITHUB_ACTOR": "{actor}", "GITHUB_WORKFLOW": "{workflow}", "GITHUB_RUN_ID": "{run_id}", "GITHUB_RUN_ATTEMPT": "{run_attempt}",
		},
	},
	"gitlab": {
		takes:    []fault.Option{"vcs-origin", "branch", "tag", "environment", "fork", "pull-request", "expired"},
		change:   gitlab,
		declares: map[string]string{"AWS_ID_TOKEN": "", "GOOGLE_ID_TOKEN": forGoogle, "VAULT_ID_TOKEN": VaultAudience},
		set: map[string]string{
			"CI": "true", "GITLAB_CI": "true", "CI_SERVER_URL": "https://gitlab.com", "CI_JOB_ID": "302", "CI_JOB_NAME": "deploy",
			"CI_PROJECT_ID": "{project_id}", "CI_PROJECT_PATH": "{project_path}", "CI_COMMIT_REF_NAME": "{ref}", "CI_PIPELINE_SOURCE": "{pipeline_source}",
		},
	},
	"buildkite": {
		takes:  []fault.Option{"branch", "tag", "fork"},
		change: buildkite,
		set: map[string]string{
			"CI": "true", "BUILDKITE": "true", "BUILDKITE_JOB_ID": "{job_id}", "BUILDKITE_STEP_KEY": "{step_key}", "BUILDKITE_BRANCH": "{build_branch}",
			"BUILDKITE_ORGANIZATION_SLUG": "{organization_slug}", "BUILDKITE_PIPELINE_SLUG": "{pipeline_slug}", "BUILDKITE_COMMIT": "{build_commit}",
		},
	},
	"bitbucket": {
		takes:    []fault.Option{"branch", "environment", "expired"},
		change:   bitbucket,
		declares: map[string]string{"BITBUCKET_STEP_OIDC_TOKEN": ""},
		set: map[string]string{
			"CI": "true", "BITBUCKET_BUILD_NUMBER": "1", "BITBUCKET_BRANCH": "{branchName}",
			"BITBUCKET_PIPELINE_UUID": "{pipelineUuid}", "BITBUCKET_STEP_UUID": "{stepUuid}", "BITBUCKET_REPO_UUID": "{repositoryUuid}",
		},
	},
	"azure-devops": {set: map[string]string{"TF_BUILD": "True", "SYSTEM_JOBNAME": "deploy", "SYSTEM_JOBID": "12f1170f-54f2-53f3-20dd-22fc7dff55f9"}},
	"hcp-terraform": {
		takes: []fault.Option{"expired"},
		declares: map[string]string{
			"TFC_WORKLOAD_IDENTITY_TOKEN_AWS": "", "TFC_WORKLOAD_IDENTITY_TOKEN_GCP": forGoogle, "TFC_WORKLOAD_IDENTITY_TOKEN_VAULT": VaultAudience,
		},
		set: map[string]string{"TFC_RUN_ID": "{terraform_run_id}", "TFC_WORKSPACE_NAME": "{terraform_workspace_name}", "TFC_PROJECT_NAME": "{terraform_project_name}"},
	},
	"google":     {set: map[string]string{"BUILDER_OUTPUT": "/builder/outputs"}},
	"jenkins":    {takes: []fault.Option{"expired"}, declares: map[string]string{"OIDC_BROKER_ID_TOKEN": ""}, set: map[string]string{"JENKINS_URL": "https://jenkins.example.com/"}},
	"semaphore":  variable("SEMAPHORE_OIDC_TOKEN"),
	"spacelift":  variable("SPACELIFT_OIDC_TOKEN"),
	"env0":       variable("ENV0_OIDC_TOKEN"),
	"vercel":     variable("VERCEL_OIDC_TOKEN"),
	"kubernetes": {takes: []fault.Option{"expired"}, file: "AWS_WEB_IDENTITY_TOKEN_FILE"},
}

// variable is the form of a system that sets a variable, and no more.
func variable(name string) form {
	return form{takes: []fault.Option{"expired"}, declares: map[string]string{name: ""}}
}

// repository returns the owner and name of the project's own repository, or the sample's.
func repository(c map[string]any, claim string, v ci.Variant) (owner, name string) {
	path := text(c, claim)
	if _, own, found := strings.Cut(v.Origin, "/"); found {
		path = own
	}
	owner, name, _ = strings.Cut(path, "/")
	return owner, name
}

func github(c map[string]any, o Options, v ci.Variant) {
	owner, name := repository(c, "repository", v)
	ref, event := v.Ref(), "push"
	context := "ref:" + ref
	if o.PullRequest || v.Fork {
		ref, event, context = "refs/pull/1/merge", "pull_request", "pull_request"
		c["head_ref"], c["base_ref"] = or(v.Branch, "patch-1"), "main"
	}
	if o.Environment != "" {
		c["environment"], context = o.Environment, "environment:"+strings.ReplaceAll(o.Environment, ":", "%3A")
	}
	c["repository"], c["repository_owner"], c["ref"], c["event_name"] = owner+"/"+name, owner, ref, event
	c["job_workflow_ref"] = owner + "/" + name + "/.github/workflows/deploy.yml@" + ref
	if o.Immutable {
		owner, name = owner+"@"+text(c, "repository_owner_id"), name+"@"+text(c, "repository_id")
	}
	c["sub"] = "repo:" + owner + "/" + name + ":" + context
}

func gitlab(c map[string]any, o Options, v ci.Variant) {
	group, name := repository(c, "project_path", v)
	kind, ref, source := "branch", v.BuiltBranch(), "push"
	if v.Tag != "" {
		kind, ref = "tag", v.Tag
	}
	if o.PullRequest || v.Fork {
		kind, ref, source = "branch", or(v.Branch, "patch-1"), "merge_request_event"
	}
	if v.Fork {
		group, c["namespace_id"], c["project_id"], c["user_login"] = "stranger", "73", "23", "stranger"
	}
	project := group + "/" + name
	c["namespace_path"], c["project_path"], c["ref"], c["ref_type"], c["pipeline_source"] = group, project, ref, kind, source
	c["ref_path"] = map[string]string{"branch": "refs/heads/", "tag": "refs/tags/"}[kind] + ref
	if kind != "branch" || ref != "main" || v.Fork {
		c["ref_protected"] = "false"
	}
	c["ci_config_ref_uri"] = "gitlab.com/" + project + "//.gitlab-ci.yml@" + text(c, "ref_path")
	if o.Environment != "" {
		c["environment"], c["environment_protected"], c["environment_action"] = o.Environment, "false", "start"
	}
	c["sub"] = "project_path:" + project + ":ref_type:" + kind + ":ref:" + ref
}

func buildkite(c map[string]any, _ Options, v ci.Variant) {
	ref, branch := v.Ref(), v.BuiltBranch()
	switch {
	case v.Fork:
		// The prefix is a setting of the pipeline, which is on by default.
		branch = "stranger:" + or(v.Branch, "patch-1")
		ref = "refs/heads/" + branch
	case v.Tag != "":
		branch, c["build_tag"] = "main", v.Tag
	}
	c["build_branch"] = branch
	c["sub"] = "organization:" + text(c, "organization_slug") + ":pipeline:" + text(c, "pipeline_slug") +
		":ref:" + ref + ":commit:" + text(c, "build_commit") + ":step:" + text(c, "step_key")
}

func bitbucket(c map[string]any, o Options, v ci.Variant) {
	c["branchName"] = v.BuiltBranch()
	if o.Environment != "" {
		environment := "{" + strings.Trim(o.Environment, "{}") + "}"
		c["deploymentEnvironmentUuid"] = environment
		c["sub"] = text(c, "repositoryUuid") + ":" + environment + ":" + text(c, "stepUuid")
	}
}

func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}
