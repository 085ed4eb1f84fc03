package main

import (
	"maps"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/oidc-broker/oidc-broker/pkg/sandbox"
	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// TestOrbExamples runs each job of the orb's own examples, with the real AWS CLI
// and gcloud.
func TestOrbExamples(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the commands are for bash")
	}
	testenv.NeedFull(t, "starts the AWS CLI and gcloud")
	for _, name := range []string{"bash", "aws", "gcloud"} {
		testenv.Program(t, name)
	}
	packed, err := readYAML(orbPacked)
	if err != nil {
		t.Fatal(err)
	}
	m := newMotos(t)
	examples := section(packed, "examples")
	for _, name := range slices.Sorted(maps.Keys(examples)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			usage, err := yaml.Marshal(section(examples, name)["usage"])
			if err != nil {
				t.Fatal(err)
			}
			text := strings.ReplaceAll(string(usage), "https://vault.example.com:8200", "$VAULT_ADDR")
			text = regexp.MustCompile(`<< pipeline\.parameters\.\w+ >>`).ReplaceAllString(text, `""`)
			j := newJob(t)
			j.useReal(t, m, text)
			j.env = append(j.env, "GOOGLE_PROJECT_ID=sandbox-project", "OIDC_WIP_ID=circleci", "OIDC_WIP_PROVIDER_ID=circleci",
				"OIDC_SERVICE_ACCOUNT_EMAIL="+sandbox.DefaultGCPServiceAccount)
			j.config(t, name, text, 0)
		})
	}
}
