package cli

import (
	"errors"
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// TestSuggestions: what people type who know another tool, or whose fingers
// slipped, and the hint that brings them on.
func TestSuggestions(t *testing.T) {
	for _, row := range []struct {
		typed string
		want  string // the hints but the last, joined by |
	}{
		{"aws --role-anr x", "did you mean --role-arn?"},
		{"aws --rolearn=x", "did you mean --role-arn?"},
		{"aws --ROLE_ARN x", "did you mean --role-arn?"},
		{"aws --role x", "did you mean --role-arn?"},
		{"aws --role-to-assume x", "did you mean --role-arn?"},
		{"aws --profile_name x", "did you mean --profile?"},
		{"aws --session-name x", "did you mean --role-session-name?"},
		{"aws --duration-seconds 900", "did you mean --session-duration?"},
		{"aws --role-duration-seconds 900", "did you mean --session-duration?"},
		{"aws --aws-region x", "did you mean --region?"},
		{"aws --web-identity-token-file x", "did you mean --token-file?"},
		{"aws --prof x", "did you mean --profile?"},
		{"aws --verbos", "did you mean --verbose?"},
		{"aws -role-arn=x", "did you mean --role-arn?"},
		{"aws -p x", "options have long names here, with two dashes"},
		{"aws --shell sh", "--shell is an option of 'oidc-broker aws env'"},
		{"aws env --profile x", "--profile is an option of 'oidc-broker aws'"},
		{"--shell sh", "--shell is an option of 'oidc-broker aws env', 'oidc-broker gcp env', 'oidc-broker vault env'"},
		{"aws exec aws s3 ls --recursive", "the options of the command to run stand with it after --: oidc-broker aws exec -- COMMAND"},
		{"gcp --google_project_number 1", "did you mean --project-number?"},
		{"gcp --workload_identity_pool_id x", "did you mean --pool-id?"},
		{"gcp --workload_identity_pool_provider_id x", "did you mean --provider-id?"},
		{"gcp --service_account_email x", "did you mean --service-account?"},
		{"gcp --gcp_cred_config_file_path x", "did you mean --output-file?"},
		{"gcp --nothing-like-it", ""},
		{"gcp --" + strings.Repeat("project-id", 10000), ""},

		{"awss", "did you mean 'oidc-broker aws'?"},
		{"AWS", "did you mean 'oidc-broker aws'?"},
		{"doc", "did you mean 'oidc-broker doctor'?"},
		{"policy lnit", "did you mean 'oidc-broker policy lint'?"},
		{"policy lint gpc", "did you mean 'oidc-broker policy lint gcp'?"},
		{"whoami", "did you mean 'oidc-broker aws whoami'?"},
		{"exec", "did you mean 'oidc-broker aws exec'?|did you mean 'oidc-broker gcp exec'?|did you mean 'oidc-broker token exec'?"},
		{"login", "did you mean 'oidc-broker aws'?|did you mean 'oidc-broker gcp'?|did you mean 'oidc-broker vault'?"},
		{"aws login", "did you mean 'oidc-broker aws profile'?"},
		{"aws assume-role", "did you mean 'oidc-broker aws profile'?"},
		{"aws circleci-run", ""},
		{"azure", ""},
	} {
		a := &app{World: World{Args: strings.Fields(row.typed), Getenv: func(string) string { return "" }}}
		root := a.root()
		root.SetArgs(a.Args)
		err := root.Execute()
		var e *fault.Error
		if !errors.As(err, &e) || e.Kind() != fault.Usage {
			t.Errorf("%.40s: %v", row.typed, err)
			continue
		}
		hints := fault.Hints(err)
		if got := strings.Join(hints[:len(hints)-1], "|"); got != row.want {
			t.Errorf("%.40s: %s\nwant %s", row.typed, got, row.want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, row := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"", "abc", 3},
		{"abc", "", 3},
		{"region", "region", 0},
		{"regoin", "region", 1},
		{"reigon", "region", 1},
		{"rgion", "region", 1},
		{"reggion", "region", 1},
		{"legion", "region", 1},
		{"kitten", "sitting", 3},
	} {
		if got := distance(row.a, row.b); got != row.want {
			t.Errorf("distance(%q, %q) = %d, want %d", row.a, row.b, got, row.want)
		}
	}
}
