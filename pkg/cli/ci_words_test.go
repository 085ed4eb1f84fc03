package cli

import (
	"regexp"
	"strings"
	"testing"
)

// circleCIWords are the places outside of pkg/ci that name CircleCI, each with its reason.
// A file of a directory that ends in / may do so as well.
var circleCIWords = map[string]string{
	"pkg/ci/":               "its system",
	"pkg/sandbox/":          "the sandbox's stand-ins",
	"pkg/cli/sandbox.go":    "the sandbox's commands",
	"pkg/policy/":           "documents are written for, and judged by, the claims that CircleCI's tokens have",
	"pkg/cli/policy_new.go": "a trust is made for a project of CircleCI's",
	"pkg/doctor/":           "doctor checks what a job of CircleCI's has",
	"pkg/cli/deliver.go":    "BASH_ENV is CircleCI's",
	"pkg/cli/aws.go":        "BASH_ENV is CircleCI's",
	"pkg/cli/vault.go":      "BASH_ENV is CircleCI's",
	"pkg/cli/cleanup.go":    "the last step of a job, for the reader of --help",
	"pkg/cli/existing.go":   "'circleci local execute' runs a job without a token",
	"pkg/cli/token.go":      "the rows of 'token' are those of CircleCI's claims; --jwks-url has its variable",
	"pkg/cli/apply_yaml.go": "the command that expands variables in a file",
	"pkg/cli/gcp_config.go": "the name of a pool in an example",
	"pkg/gcp/options.go":    "three variables of CircleCI's documentation",
}

// TestCircleCIIsAFile: what is specific to a CI system is in its file of pkg/ci. What else
// names CircleCI has a reason, and no reason is left over.
func TestCircleCIIsAFile(t *testing.T) {
	words := regexp.MustCompile(`CircleCI|CIRCLE_|circleci`)
	used := map[string]bool{}
	sources(t, func(path, _ string, text []byte) {
		if !words.Match(text) {
			return
		}
		for place := range circleCIWords {
			if path == place || strings.HasPrefix(path, place) {
				used[place] = true
				return
			}
		}
		t.Errorf("%s names CircleCI: what it needs is data of pkg/ci, or has a reason here", path)
	})
	for place := range circleCIWords {
		if !used[place] {
			t.Errorf("%s names CircleCI no more: take it out of the list", place)
		}
	}
}
