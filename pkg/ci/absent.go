package ci

import (
	"context"
	"strings"
)

// hostedVariables are set in every job that a CI system runs. Of CircleCI's,
// 'circleci local execute' sets none, but for CIRCLECI and an empty CIRCLE_BUILD_NUM.
// The last three are systems that do not set CI.
var hostedVariables = []string{
	"CIRCLE_BUILD_NUM", "CIRCLE_BUILD_URL", "CIRCLE_PIPELINE_ID", "CIRCLE_WORKFLOW_ID", "CIRCLE_WORKFLOW_JOB_ID",
	"CIRCLE_PR_REPONAME", "CIRCLE_PR_USERNAME", "CODEBUILD_BUILD_ID", "JENKINS_URL", "TF_BUILD",
}

// Hosted returns the variable that shows that a CI system runs this job, or "" on
// a laptop and below 'circleci local execute'.
func (f Finder) Hosted() string {
	for _, name := range hostedVariables {
		if f.Getenv(name) != "" {
			return name
		}
	}
	if s, sign := Detect(f.Getenv); s != nil && s.Name != "circleci" {
		return sign
	}
	if ci := strings.ToLower(f.Getenv("CI")); ci != "" && ci != "false" && ci != "0" && f.Getenv("CIRCLECI") != "true" {
		return "CI"
	}
	return ""
}

// Absent says that no variable holds a token, and that no file is named for one. A
// token that is there is not absent, whatever is wrong with it.
func (f Finder) Absent() bool {
	var names []string
	switch s := f.source(); {
	case f.Env != "":
		names = []string{f.Env}
	default:
		for _, pattern := range s.Variables {
			names = append(names, f.matching(pattern)...)
		}
		names = append(names, s.Files...)
	}
	for _, name := range names {
		if strings.TrimSpace(f.Getenv(name)) != "" {
			return false
		}
	}
	return f.File == "" && f.Check() == nil
}

// Unobtainable returns why no token can be had where one is Absent: none can be minted,
// either. It is nil where one was, or where ctx ended.
func (f Finder) Unobtainable(ctx context.Context) error {
	_, err := f.find(ctx)
	if ctx.Err() == nil {
		return err
	}
	return nil
}
