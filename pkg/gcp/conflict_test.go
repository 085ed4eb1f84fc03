package gcp

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/internal/child"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// machine has these variables and files; HOME is /h.
func machine(env, files map[string]string) Machine {
	return Machine{
		Lookup: func(name string) (string, bool) {
			if value, set := env[name]; set || name != "HOME" {
				return value, set
			}
			return "/h", true
		},
		Read: func(path string) ([]byte, error) {
			text, there := files[path]
			if !there {
				return nil, errors.New("not there")
			}
			return []byte(text), nil
		},
	}
}

// effective is the environment of a command that gets e, from one that has env.
func effective(e child.Environment, env map[string]string) map[string]string {
	var environ []string
	for name, value := range env {
		environ = append(environ, name+"="+value)
	}
	got := map[string]string{}
	for _, v := range e.Apply(environ) {
		name, value, _ := strings.Cut(v, "=")
		got[name] = value
	}
	return got
}

const activeDefault = "/h/.config/gcloud/configurations/config_default"

// TestNothingTakesPrecedence: whatever is set, or in gcloud's configuration, no tool
// takes it before what the variables deliver.
func TestNothingTakesPrecedence(t *testing.T) {
	x := &Exchange{universe: googleUniverse, ProjectID: "my-project"}
	files := Files{Config: "/h/gcp.json", Token: "/h/token", Boto: "/h/oidc-broker/gcp/gsutil-1" + botoSuffix}
	all := map[string]string{"BOTO_CONFIG": "/h/own.boto", "GOOGLE_PROJECT": "stale", "GOOGLE_APPLICATION_CREDENTIALS": "/stale"}
	var properties strings.Builder
	for _, o := range overrides {
		all[o.variable] = "stale"
		if section, key, ok := strings.Cut(o.property, "/"); ok {
			properties.WriteString("[" + section + "]\n" + key + " = true\n")
		}
	}
	if strings.Count(properties.String(), "[auth]") < 3 {
		t.Fatal("no properties")
	}
	config := "[core]\naccount = me@example.com\n" + strings.ReplaceAll(properties.String(), "[auth]\n", "")
	config = strings.Replace(config, "access_token_file", "[auth]\naccess_token_file", 1)
	for _, row := range []struct {
		name string
		env  map[string]string
	}{{"nothing is set", nil}, {"everything is set", all}} {
		m := machine(row.env, map[string]string{activeDefault: config})
		got := effective(x.Environment(files, m), row.env)
		after := machine(got, map[string]string{activeDefault: config})
		if found := after.Overrides(); len(found) > 0 {
			t.Errorf("%s: %v", row.name, found)
		}
		if got["GOOGLE_PROJECT"] != "my-project" || got["BOTO_CONFIG"] != "" || got["CLOUDSDK_AUTH_DISABLE_CREDENTIALS"] != "false" {
			t.Errorf("%s: %v", row.name, got)
		}
		if row.env != nil {
			if found := m.Overrides(); len(found) != len(overrides) {
				t.Errorf("%d conflicts reported, want %d: %v", len(found), len(overrides), found)
			}
		}
	}
}

// TestGcloudSettings: which configuration is active, and what it says.
func TestGcloudSettings(t *testing.T) {
	const impersonates = "[auth]\nimpersonate_service_account = a@b.iam.gserviceaccount.com\n"
	for _, row := range []struct {
		name       string
		env, files map[string]string
		want       string // part of the one conflict; "": none
	}{
		{"none", nil, nil, ""},
		{"default", nil, map[string]string{activeDefault: impersonates}, `configuration "default" sets auth/impersonate_service_account`},
		{"by a file", nil, map[string]string{"/h/.config/gcloud/active_config": "prod", "/h/.config/gcloud/configurations/config_prod": impersonates}, `configuration "prod"`},
		{"by a variable", map[string]string{"CLOUDSDK_ACTIVE_CONFIG_NAME": "dev"}, map[string]string{"/h/.config/gcloud/active_config": "prod", "/h/.config/gcloud/configurations/config_prod": impersonates}, ""},
		{"NONE", map[string]string{"CLOUDSDK_ACTIVE_CONFIG_NAME": "NONE"}, map[string]string{activeDefault: impersonates}, ""},
		{"elsewhere", map[string]string{"CLOUDSDK_CONFIG": "/g"}, map[string]string{activeDefault: impersonates}, ""},
		{"elsewhere, too", map[string]string{"CLOUDSDK_CONFIG": "/g"}, map[string]string{"/g/configurations/config_default": impersonates}, `sets auth/impersonate_service_account`},
		{"from DEFAULT", nil, map[string]string{activeDefault: "[DEFAULT]\naccess_token_file = /t\n[auth]\n"}, "auth/access_token_file"},
		{"DEFAULT alone", nil, map[string]string{activeDefault: "[DEFAULT]\naccess_token_file = /t\n"}, ""},
		{"credentials off", nil, map[string]string{activeDefault: "[auth]\ndisable_credentials = True\n"}, "auth/disable_credentials"},
		{"credentials not off", nil, map[string]string{activeDefault: "[auth]\ndisable_credentials = False\n"}, ""},
		{"an empty variable overrides it", map[string]string{"CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT": ""}, map[string]string{activeDefault: impersonates}, ""},
		{"what concerns nobody else", map[string]string{"CLOUDSDK_COMPUTE_REGION": "x", "GOOGLE_CLOUD_QUOTA_PROJECT": "x"}, map[string]string{activeDefault: "[compute]\nregion = x\n"}, ""},
	} {
		got := machine(row.env, row.files).Overrides()
		if row.want == "" && len(got) > 0 || row.want != "" && (len(got) != 1 || !strings.Contains(got[0].Message, row.want)) {
			t.Errorf("%s: %v, want %q", row.name, got, row.want)
		}
	}
}

// TestUniverse: a universe that is not Google's own is exported, and one that the
// environment or gcloud's configuration has beside it is overridden.
func TestUniverse(t *testing.T) {
	for _, row := range []struct {
		universe string
		env      map[string]string
		config   string
		want     string
	}{
		{googleUniverse, nil, "", ""},
		{"example.goog", nil, "", "example.goog"},
		{"example.goog", map[string]string{"CLOUDSDK_CORE_UNIVERSE_DOMAIN": "example.goog"}, "", "example.goog"},
		{googleUniverse, map[string]string{"GOOGLE_CLOUD_UNIVERSE_DOMAIN": "other.goog"}, "", googleUniverse},
		{googleUniverse, nil, "[core]\nuniverse_domain = other.goog\n", googleUniverse},
		{googleUniverse, nil, "[core]\nuniverse_domain = googleapis.com\n", ""},
	} {
		m := machine(row.env, map[string]string{activeDefault: row.config})
		got := effective((&Exchange{universe: row.universe}).Environment(Files{Config: "/x"}, m), row.env)
		if got["CLOUDSDK_CORE_UNIVERSE_DOMAIN"] != row.want || got["GOOGLE_CLOUD_UNIVERSE_DOMAIN"] != row.want {
			t.Errorf("%s with %v and %q: %v", row.universe, row.env, row.config, got)
		}
	}
}

// TestBotoPath: gsutil reads the user's files and then ours, whichever way the user
// names them, and ours once.
func TestBotoPath(t *testing.T) {
	const ours = "/x/oidc-broker/gcp/gsutil-2" + botoSuffix
	for _, row := range []struct {
		env  map[string]string
		want string
	}{
		{nil, "/etc/boto.cfg:/h/.boto:" + ours},
		{map[string]string{"BOTO_CONFIG": "~/my.boto"}, "~/my.boto:" + ours},
		{map[string]string{"BOTO_CONFIG": "/a", "BOTO_PATH": "/b"}, "/a:" + ours}, // as boto has it
		{map[string]string{"BOTO_PATH": "/a:/b"}, "/a:/b:" + ours},
		{map[string]string{"BOTO_PATH": "/a:/y/gsutil-1" + botoSuffix}, "/a:" + ours},
		{map[string]string{"BOTO_PATH": ""}, "/etc/boto.cfg:/h/.boto:" + ours},
	} {
		got := effective((&Exchange{}).Environment(Files{Config: "/x", Boto: ours}, machine(row.env, nil)), row.env)
		if strings.ReplaceAll(got["BOTO_PATH"], ";", ":") != row.want || got["BOTO_CONFIG"] != "" || got["CLOUDSDK_CORE_PASS_CREDENTIALS_TO_GSUTIL"] != "false" {
			t.Errorf("%v: %q", row.env, got["BOTO_PATH"])
		}
	}
}

// TestBotoCredentials: what gsutil prefers to our file is reported, and nothing else.
func TestBotoCredentials(t *testing.T) {
	f := Files{Config: "/x", Boto: "/x/gsutil-1" + botoSuffix}
	for _, row := range []struct{ text, want string }{
		{"[Credentials]\ngs_oauth2_refresh_token = 1//x\n", "gs_oauth2_refresh_token"},
		{"[Credentials]\ngs_service_key_file = /k\n", "gs_service_key_file"},
		{"[Credentials]\ngs_access_key_id = GOOG\ngs_secret_access_key = x\n", "gs_access_key_id"},
		{"[GoogleCompute]\nservice_account = default\n", "service_account"},
		{"[Credentials]\naws_access_key_id = AKIA\n[Boto]\nproxy = p\n", ""},
		{"[Credentials]\ngs_external_account_file = /other\ngs_impersonate_service_account = a@b\n", ""}, // ours is read later
	} {
		got := machine(nil, map[string]string{"/h/.boto": row.text}).EnvironmentConflicts(f)
		if (row.want == "") != (len(got) == 0) || row.want != "" && !strings.Contains(got[0].Message, row.want) {
			t.Errorf("%q: %v", row.text, got)
		}
	}
	f.Boto = "/a:b/gsutil-1" + botoSuffix
	if got := machine(nil, nil).EnvironmentConflicts(f); len(got) != 1 {
		t.Errorf("a directory that BOTO_PATH cannot hold: %v", got)
	}
}

// TestFileConflicts: where no variable is exported, what the tools use instead.
func TestFileConflicts(t *testing.T) {
	for _, row := range []struct {
		env    map[string]string
		config string
		want   []string
	}{
		{nil, "", nil},
		{map[string]string{"GOOGLE_APPLICATION_CREDENTIALS": "/x", "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE": "/x"}, "[core]\naccount = me\n", nil},
		{map[string]string{"GOOGLE_APPLICATION_CREDENTIALS": "/key.json"}, "", []string{"GOOGLE_APPLICATION_CREDENTIALS names another file"}},
		{map[string]string{"CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE": "/key.json"}, "", []string{"gcloud and bq use"}},
		{map[string]string{"GOOGLE_BACKEND_CREDENTIALS": "{}"}, "", []string{"Terraform's gcs backend takes it"}},
		{nil, "[core]\naccount = me@example.com\n", []string{`gcloud uses the account "me@example.com"`}},
		{nil, "[auth]\ncredential_file_override = /old\n", []string{"credential_file_override"}},
		{nil, "[auth]\ncredential_file_override = /x\n[core]\naccount = me\n", nil},
	} {
		got := machine(row.env, map[string]string{activeDefault: row.config}).FileConflicts("/x")
		if len(got) != len(row.want) {
			t.Errorf("%v and %q: %v", row.env, row.config, got)
			continue
		}
		for i, c := range got {
			if !strings.Contains(c.String(), row.want[i]) || len(c.String()) > 160 {
				t.Errorf("%v and %q: %q", row.env, row.config, c)
			}
		}
	}
}

// TestGsutilState: gsutil's cache of access tokens is the identity's own.
func TestGsutilState(t *testing.T) {
	f := Files{Config: "/x/credentials.json", Boto: "/x/gsutil-1" + botoSuffix}
	state := func(x Exchange, subject string) string {
		text, err := x.botoEdit(f, oidc.Token{Subject: subject}).Apply(nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(text), "\n") {
			if strings.HasPrefix(line, "state_dir") {
				return line
			}
		}
		t.Fatalf("no state_dir in %q", text)
		return ""
	}
	all := []string{state(Exchange{}, "a"), state(Exchange{ServiceAccount: "a@b"}, "a"), state(Exchange{ServiceAccount: "c@b"}, "a"), state(Exchange{}, "b")}
	slices.Sort(all)
	if len(slices.Compact(slices.Clone(all))) != len(all) {
		t.Errorf("two identities share a directory: %v", all)
	}
}

// TestConfigurationConflicts: what gcloud, or gsutil, takes instead of a gcloud
// configuration that was written.
func TestConfigurationConflicts(t *testing.T) {
	const gsutil = "gsutil finds no credentials in a gcloud configuration, and sends none"
	f := Files{Config: "/x"}
	own := map[string]string{"/h/.boto": "[Credentials]\ngs_external_account_file = /x\n"}
	for _, row := range []struct {
		name       string
		env, files map[string]string
		want       []string
	}{
		{"nothing is set", nil, nil, []string{gsutil}},
		{"gsutil has a file", nil, own, nil},
		{"ours", map[string]string{"BOTO_PATH": "/o/gsutil-1" + botoSuffix}, map[string]string{"/o/gsutil-1" + botoSuffix: own["/h/.boto"]}, nil},
		{"credentials of its own", nil, map[string]string{"/h/.boto": "[Credentials]\ngs_access_key_id = x\n"}, nil},
		{"another file", map[string]string{"CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE": "/y"}, own, []string{"CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE names another file"}},
		{"the same file", map[string]string{"CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE": "/x"}, own, nil},
		{"another project", map[string]string{"CLOUDSDK_CORE_PROJECT": "other"}, own, []string{"CLOUDSDK_CORE_PROJECT is set"}},
		{"the same project", map[string]string{"CLOUDSDK_CORE_PROJECT": "my-project"}, own, nil},
		{"another configuration", map[string]string{"CLOUDSDK_ACTIVE_CONFIG_NAME": "prod"}, own, []string{`CLOUDSDK_ACTIVE_CONFIG_NAME is "prod"`}},
		{"none", map[string]string{"CLOUDSDK_ACTIVE_CONFIG_NAME": "NONE"}, own, []string{`CLOUDSDK_ACTIVE_CONFIG_NAME is "NONE"`}},
		{"one of them", map[string]string{"CLOUDSDK_ACTIVE_CONFIG_NAME": "two"}, own, nil},
		{"a token", map[string]string{"CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": "/t"}, own, []string{"CLOUDSDK_AUTH_ACCESS_TOKEN_FILE is set"}},
		{"what was taken out of the configuration", nil, map[string]string{"/h/.boto": own["/h/.boto"], activeDefault: "[auth]\naccess_token_file = /t\n"}, nil},
	} {
		got := machine(row.env, row.files).ConfigurationConflicts(&Exchange{ProjectID: "my-project"}, f, []string{"one", "two"})
		same := len(got) == len(row.want)
		for i := range row.want {
			same = same && strings.HasPrefix(got[i].Message, row.want[i]) && got[i].Remedy != "" && len(got[i].String()) <= 141
		}
		if !same {
			t.Errorf("%s: %v, want %q", row.name, got, row.want)
		}
	}
}
