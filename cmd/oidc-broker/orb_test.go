package main

import (
	"bytes"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// The orb's source, and what is published of it.
var (
	orbSource = filepath.Join("..", "..", "docs", "circleci", "orb", "src")
	orbPacked = filepath.Join("..", "..", "docs", "circleci", "orb", "orb.yml")
)

// orbVersion is the version of oidc-broker that the orb installs, and the orb's own.
const orbVersion = "0.1.0"

func TestOrbIsPacked(t *testing.T) {
	want, err := packOrb(orbSource)
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("UPDATE") == "1" {
		if err := os.WriteFile(orbPacked, want, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(orbPacked)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatal("docs/circleci/orb/orb.yml is not what src packs to: UPDATE=1 go test ./cmd/oidc-broker -run TestOrbIsPacked")
	}
}

// TestOrbReview holds the orb to the rules by which CircleCI's orb-tools review
// one, under their names. Of the two about addresses (RC006, RC007) it asks what
// can be known without a network.
func TestOrbReview(t *testing.T) {
	top, err := readYAML(filepath.Join(orbSource, "@orb.yml"))
	if err != nil {
		t.Fatal(err)
	}
	rule := func(ok bool, name, format string, args ...any) {
		t.Helper()
		if !ok {
			t.Errorf(name+": "+format, args...)
		}
	}
	display := section(top, "display")
	rule(display["source_url"] != nil, "RC001", "@orb.yml has no source_url")
	for name, key := range map[string]string{"RC006": "source_url", "RC007": "home_url"} {
		address, _ := display[key].(string)
		u, err := url.Parse(address)
		rule(err == nil && u.Scheme == "https" && u.Host != "", name, "%s %q", key, address)
	}
	description, _ := top["description"].(string)
	rule(len(description) >= 64, "RC005", "the description is short: %q", description)

	parts := map[string]int{}
	for _, kind := range []string{"commands", "jobs", "executors", "examples"} {
		files, err := filepath.Glob(filepath.Join(orbSource, kind, "*.yml"))
		if err != nil {
			t.Fatal(err)
		}
		parts[kind] = len(files)
		for _, file := range files {
			part, err := readYAML(file)
			if err != nil {
				t.Fatal(err)
			}
			name := strings.TrimSuffix(filepath.Base(file), ".yml")
			description, _ := part["description"].(string)
			rule(strings.TrimSpace(description) != "", "RC002", "%s %s has no description", kind, name)
			if kind == "examples" {
				rule(!strings.Contains(name, "example"), "RC004", "%s says nothing", name)
				reference, _ := section(section(part, "usage"), "orbs")["oidc-broker"].(string)
				rule(reference == "oidc-broker/oidc-broker@"+orbVersion, "RC011", "%s uses %q", name, reference)
				continue
			}
			snake := regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
			rule(snake.MatchString(name), "RC010", "%s %s is not in snake_case", kind, name)
			for parameter, declared := range section(part, "parameters") {
				d, _ := declared.(map[string]any)
				description, _ := d["description"].(string)
				rule(snake.MatchString(parameter), "RC010", "%s: %s is not in snake_case", name, parameter)
				rule(description != "", "RC002", "%s: %s has no description", name, parameter)
				value, _ := d["default"].(string)
				rule(!strings.Contains(value, "$"), "RC012", "%s: %s is by default %q, which no shell expands", name, parameter, value)
			}
			for _, step := range runSteps(part["steps"]) {
				m, ok := step.(map[string]any)
				title, _ := m["name"].(string)
				rule(ok && title != "", "RC008", "%s %s has a run step without a name", kind, name)
				command, _ := m["command"].(string)
				rule(len(command) <= 64 || strings.HasPrefix(command, "<<include("), "RC009", "%s %s has a long command: %q", kind, name, command)
				// Ours: a parameter within a command would be run.
				rule(!strings.Contains(command, "parameters."), "interpolation", "%s %s: %q", kind, name, command)
			}
		}
	}
	rule(parts["examples"] > 0, "RC003", "there is no example")
	if parts["commands"] == 0 || parts["jobs"] == 0 || parts["executors"] == 0 {
		t.Fatalf("the files are not where they are looked for: %v", parts)
	}
}

// runSteps returns the bodies of all run steps in a tree.
func runSteps(tree any) []any {
	var all []any
	switch v := tree.(type) {
	case []any:
		for _, item := range v {
			all = append(all, runSteps(item)...)
		}
	case map[string]any:
		for key, value := range v {
			if key == "run" {
				all = append(all, value)
			} else {
				all = append(all, runSteps(value)...)
			}
		}
	}
	return all
}

// TestOrbSaysOneVersion holds the places together that name the version of the
// program.
func TestOrbSaysOneVersion(t *testing.T) {
	packed, err := readYAML(orbPacked)
	if err != nil {
		t.Fatal(err)
	}
	defaults := 0
	for _, kind := range []string{"commands", "jobs"} {
		for name := range section(packed, kind) {
			for parameter, declared := range section(section(section(packed, kind), name), "parameters") {
				d, _ := declared.(map[string]any)
				if parameter != "broker_version" && (name != "install" || parameter != "version") {
					continue
				}
				defaults++
				if d["default"] != orbVersion {
					t.Errorf("%s %s: %s is %v, want %s", kind, name, parameter, d["default"], orbVersion)
				}
			}
		}
	}
	if defaults < 6 {
		t.Errorf("%d defaults of the version, want all", defaults)
	}
}

// others are the parameters of the commands `setup` of circleci/aws-cli 5 and
// circleci/gcp-cli 3: their types, and their defaults where ours mean the same by
// another text.
var others = map[string]map[string]struct {
	kind string
	def  any
	ours any // nil: the same
}{
	"aws": {
		"version":                  {"string", "latest", nil},
		"override_installed":       {"boolean", false, nil},
		"disable_aws_pager":        {"boolean", true, nil},
		"install_dir":              {"string", "/usr/local/aws-cli", nil},
		"binary_dir":               {"string", "/usr/local/bin", nil},
		"profile_name":             {"string", "default", nil},
		"aws_access_key_id":        {"string", "$AWS_ACCESS_KEY_ID", ""},
		"aws_secret_access_key":    {"string", "$AWS_SECRET_ACCESS_KEY", ""},
		"region":                   {"string", "${AWS_DEFAULT_REGION}", ""}, // oidc-broker reads it
		"configure_default_region": {"boolean", true, nil},
		"configure_profile_region": {"boolean", true, nil},
		"role_arn":                 {"string", "", nil},
		"role_session_name":        {"string", "${CIRCLE_JOB}", ""}, // oidc-broker reads it
		"session_duration":         {"string", "3600", nil},
		"set_aws_env_vars":         {"boolean", true, nil},
		"use_brew":                 {"boolean", false, nil},
		"disable_aws_install":      {"boolean", false, nil},
		"when":                     {"enum", "on_success", nil},
	},
	"gcp": {
		"version":                            {"string", "latest", nil},
		"skip_install":                       {"boolean", false, nil},
		"components":                         {"string", "", nil},
		"gcloud_service_key":                 {"env_var_name", "GCLOUD_SERVICE_KEY", nil},
		"google_project_id":                  {"env_var_name", "GOOGLE_PROJECT_ID", nil},
		"google_compute_zone":                {"env_var_name", "GOOGLE_COMPUTE_ZONE", nil},
		"google_compute_region":              {"env_var_name", "GOOGLE_COMPUTE_REGION", nil},
		"use_oidc":                           {"boolean", false, true}, // there is nothing else here
		"google_project_number":              {"env_var_name", "GOOGLE_PROJECT_NUMBER", nil},
		"workload_identity_pool_id":          {"env_var_name", "OIDC_WIP_ID", nil},
		"workload_identity_pool_provider_id": {"env_var_name", "OIDC_WIP_PROVIDER_ID", nil},
		"service_account_email":              {"env_var_name", "OIDC_SERVICE_ACCOUNT_EMAIL", nil},
		"gcp_cred_config_file_path":          {"string", "~/gcp_cred_config.json", nil},
	},
}

// TestOrbTakesWhatOthersTake: whoever changes the name of the command has nothing
// else to change.
func TestOrbTakesWhatOthersTake(t *testing.T) {
	packed, err := readYAML(orbPacked)
	if err != nil {
		t.Fatal(err)
	}
	for command, parameters := range others {
		ours := parametersOf(packed, command)
		for name, theirs := range parameters {
			want := theirs.def
			if theirs.ours != nil {
				want = theirs.ours
			}
			if got := ours[name]; got["type"] != theirs.kind || got["default"] != want {
				t.Errorf("%s: %s is %v by default %v, want %s by default %v", command, name, got["type"], got["default"], theirs.kind, want)
			}
		}
	}
}

func TestOrbScripts(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the shells are those of Unix")
	}
	scripts, err := filepath.Glob(filepath.Join(orbSource, "scripts", "*.sh"))
	if err != nil || len(scripts) < 7 {
		t.Fatal(scripts, err)
	}
	for _, check := range [][]string{{"shellcheck", "--severity=style"}, {"dash", "-n"}, {"busybox", "ash", "-n"}, {"bash", "-n"}, {"bash", "--posix", "-n"}} {
		if missing, err := condition("missing:" + check[0]); err != nil {
			t.Error(err)
			continue
		} else if missing {
			continue
		}
		for _, script := range scripts {
			if said, err := exec.Command(check[0], slices.Concat(check[1:], []string{script})...).CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", strings.Join(check, " "), err, said)
			}
		}
	}
}

// TestOrbUsesItsParameters: each parameter of a command or job is looked at by a
// step of it.
func TestOrbUsesItsParameters(t *testing.T) {
	packed, err := readYAML(orbPacked)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"commands", "jobs", "executors"} {
		for _, name := range slices.Sorted(maps.Keys(section(packed, kind))) {
			part := section(section(packed, kind), name)
			used := map[string]bool{}
			_, _ = walk(without(part, "parameters", "description"), func(text string) (any, error) {
				for _, m := range regexp.MustCompile(`<<\s*parameters\.(\w+)\s*>>`).FindAllStringSubmatch(text, -1) {
					used[m[1]] = true
				}
				return text, nil
			})
			for parameter := range section(part, "parameters") {
				if !used[parameter] {
					t.Errorf("%s %s: nothing uses the parameter %s", kind, name, parameter)
				}
			}
		}
	}
}
