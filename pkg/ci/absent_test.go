package ci

import "testing"

// TestHosted: 'circleci local execute' is told from a job by the variables that it sets
// (CircleCI-Public/circleci-cli#387).
func TestHosted(t *testing.T) {
	local := map[string]string{
		"CI": "true", "CIRCLECI": "true", "CIRCLE_BRANCH": "main", "CIRCLE_BUILD_NUM": "", "CIRCLE_JOB": "deploy", "CIRCLE_NODE_INDEX": "0",
		"CIRCLE_NODE_TOTAL": "1", "CIRCLE_REPOSITORY_URL": "git@github.com:o/r.git", "CIRCLE_SHA1": "1", "CIRCLE_WORKING_DIRECTORY": "~/project",
	}
	for _, row := range []struct {
		name, value string // added to those of local execute
		want        string
	}{
		{"CIRCLE_SHELL_ENV", "x", ""},
		{"CIRCLE_BUILD_NUM", "1", "CIRCLE_BUILD_NUM"},
		{"CIRCLE_BUILD_URL", "https://circleci.com/gh/o/r/1", "CIRCLE_BUILD_URL"},
		{"CIRCLE_WORKFLOW_ID", "w", "CIRCLE_WORKFLOW_ID"},
		{"CIRCLE_WORKFLOW_JOB_ID", "w", "CIRCLE_WORKFLOW_JOB_ID"},
		{"CIRCLE_PIPELINE_ID", "p", "CIRCLE_PIPELINE_ID"},
		{"CIRCLE_PR_USERNAME", "stranger", "CIRCLE_PR_USERNAME"},
		{"CIRCLE_PR_REPONAME", "app", "CIRCLE_PR_REPONAME"},
		{"CIRCLECI", "", "CI"},
		{"CI", "", ""},
		{"JENKINS_URL", "https://j", "JENKINS_URL"},
		{"TF_BUILD", "True", "TF_BUILD"},
		{"CODEBUILD_BUILD_ID", "1", "CODEBUILD_BUILD_ID"},
	} {
		f := Finder{Getenv: func(name string) string {
			if name == row.name {
				return row.value
			}
			return local[name]
		}}
		if got := f.Hosted(); got != row.want {
			t.Errorf("with %s=%q: %q, want %q", row.name, row.value, got, row.want)
		}
	}
	for _, ci := range []string{"", "false", "FALSE", "0"} {
		f := Finder{Getenv: func(name string) string { return map[string]string{"CI": ci}[name] }}
		if got := f.Hosted(); got != "" {
			t.Errorf("a laptop with CI=%q: %q", ci, got)
		}
	}
}
