package sandbox

import (
	"slices"

	"github.com/oidc-broker/oidc-broker/pkg/sandbox/job"
)

// jobEnvironment is what CircleCI sets in the job that a token speaks of.
func jobEnvironment(v Variant) map[string]string {
	env := map[string]string{
		"CI":                      "true",
		"CIRCLECI":                "true",
		"CIRCLE_BUILD_NUM":        "42",
		"CIRCLE_JOB":              "deploy",
		"CIRCLE_NODE_INDEX":       "0",
		"CIRCLE_NODE_TOTAL":       "1",
		"CIRCLE_ORGANIZATION_ID":  v.OrgID(),
		"CIRCLE_PIPELINE_ID":      pipelineID,
		"CIRCLE_PROJECT_ID":       v.ProjectID(),
		"CIRCLE_PROJECT_REPONAME": "app",
		"CIRCLE_PROJECT_USERNAME": "my-org",
		"CIRCLE_REPOSITORY_URL":   "https://" + v.OwnOrigin(),
		"CIRCLE_SHA1":             commit,
		"CIRCLE_USERNAME":         "octocat",
		"CIRCLE_WORKFLOW_ID":      workflowID,
		"CIRCLE_WORKFLOW_JOB_ID":  jobID,
	}
	if v.Tag != "" && !v.Webhook {
		env["CIRCLE_TAG"] = v.Tag
	}
	if branch := v.BuiltBranch(); branch != "" {
		env["CIRCLE_BRANCH"] = branch
	}
	if v.Fork {
		env["CIRCLE_PR_NUMBER"] = "123"
		env["CIRCLE_PR_USERNAME"] = "stranger"
		env["CIRCLE_PR_REPONAME"] = "app"
	}
	return env
}

// shadows returns the variables of a laptop or of another job that would win
// over those that are set.
func shadows(set map[string]string, j *job.Job) []string {
	all := []string{
		"CIRCLE_BRANCH", "CIRCLE_TAG",
		"CIRCLE_PR_NUMBER", "CIRCLE_PR_USERNAME", "CIRCLE_PR_REPONAME",
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN",
		"AWS_CREDENTIAL_EXPIRATION",
		"AWS_PROFILE", "AWS_DEFAULT_PROFILE",
		"AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
		"AWS_ENDPOINT_URL", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
		"AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT",
		"AWS_CA_BUNDLE",
		"GOOGLE_APPLICATION_CREDENTIALS",
		"GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "GCP_PROJECT", "CLOUDSDK_CORE_PROJECT", "CLOUDSDK_PROJECT",
		"GOOGLE_CLOUD_QUOTA_PROJECT", "CLOUDSDK_BILLING_QUOTA_PROJECT",
		"GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES",
		"GOOGLE_CLOUD_UNIVERSE_DOMAIN", "CLOUDSDK_CORE_UNIVERSE_DOMAIN",
		"CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE", "CLOUDSDK_AUTH_ACCESS_TOKEN", "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE",
		"CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT", "CLOUDSDK_AUTH_TOKEN_INTROSPECTION_ENDPOINT",
		"CLOUDSDK_CORE_ACCOUNT", "CLOUDSDK_ACTIVE_CONFIG_NAME",
		// The names under which this program takes its options for Google.
		"GCP_PROJECT_ID", "GCP_WIP_ID", "GCP_WIP_PROVIDER_ID", "GCP_SERVICE_ACCOUNT_EMAIL",
		"GOOGLE_PROJECT_ID", "GOOGLE_PROJECT_NUMBER", "OIDC_WIP_ID", "OIDC_WIP_PROVIDER_ID", "OIDC_SERVICE_ACCOUNT_EMAIL",
		"GCP_WORKLOAD_IDENTITY_POOL", "GCP_WORKLOAD_IDENTITY_PROVIDER", "GCP_OIDC_SERVICE_ACCOUNT",
	}
	all = append(all, vaultShadows()...)
	if j != nil {
		all = append(append(all, "BASH_ENV"), j.Foreign()...)
	}
	return slices.DeleteFunc(all, func(name string) bool {
		_, isSet := set[name]
		return isSet
	})
}
