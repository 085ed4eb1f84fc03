package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/ini"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/pkg/internal/undo"
)

func awsProfileVisits() []visit {
	const role = "role_arn = arn:aws:iam::111122223333:role/x\n"
	return []visit{
		{check: "aws-profile-broken", name: "a chain", files: credentials + "[base]\n" + keysLines + config + "[profile a]\n" + role + "source_profile = b\n[profile b]\n" + role + "source_profile = base\n"},
		{check: "aws-profile-broken", name: "its own keys", files: credentials + "[a]\n" + keysLines + config + "[profile a]\n" + role + "source_profile = a\n"},
		{check: "aws-profile-broken", name: "a source that is missing", files: config + "[profile a]\n" + role + "source_profile = gone\n", want: `error the profile "a" has a source_profile that is in neither AWS file: "gone"`},
		{check: "aws-profile-broken", name: "a source without credentials", files: config + "[profile a]\n" + role + "source_profile = b\n[profile b]\nregion = x\n", want: `error the profile "a" has a source_profile without credentials: "b"`},
		{check: "aws-profile-broken", name: "a loop", files: config + "[profile a]\n" + role + "source_profile = b\n[profile b]\n" + role + "source_profile = a\n", want: "error loop of source_profile\nerror loop of source_profile"},
		{check: "aws-profile-broken", name: "a loop of one", files: config + "[profile a]\n" + role + "source_profile = a\n", want: "error loop of source_profile"},
		{check: "aws-profile-broken", name: "a role alone", files: config + "[profile a]\n" + role, want: "error has role_arn, and neither source_profile nor credential_source"},
		{check: "aws-profile-broken", name: "two sources", files: config + "[profile a]\n" + role + "source_profile = b\ncredential_source = Environment\n[profile b]\n" + keysLines, want: "error has source_profile and credential_source"},
		{check: "aws-profile-broken", name: "a source without a role", files: config + "[profile a]\nsource_profile = b\n[profile b]\n" + keysLines, want: "error has source_profile without role_arn"},
		{check: "aws-profile-broken", name: "lower case", files: config + "[profile a]\n" + role + "credential_source = environment\n", want: "error has a credential_source that is none of"},
		{check: "aws-profile-broken", name: "an environment without keys", files: config + "[profile a]\n" + role + "credential_source = Environment\n", want: "error has credential_source = Environment, and AWS_ACCESS_KEY_ID is not set"},
		{check: "aws-profile-broken", name: "an environment with keys", env: temp, files: config + "[profile a]\n" + role + "credential_source = Environment\n"},
		{check: "aws-profile-broken", name: "an instance", files: config + "[profile a]\n" + role + "credential_source = Ec2InstanceMetadata\n"},
		{check: "aws-profile-broken", name: "a web identity without a role", files: config + "[profile a]\nweb_identity_token_file = $DIR/t\n-- t --\nx\n", want: "error has web_identity_token_file without role_arn"},
		{check: "aws-profile-broken", name: "a web identity without its file", files: config + "[profile a]\n" + role + "web_identity_token_file = $DIR/none\n", want: "error that cannot be read: no such file"},
		{check: "aws-profile-broken", name: "a web identity", files: config + "[profile a]\n" + role + "web_identity_token_file = $DIR/t\n-- t --\nx\n"},
		{check: "aws-profile-broken", name: "a session of no section", files: config + "[profile a]\nsso_session = s\n", want: `error has an sso_session of which the config file has no section: "s"`},
		{check: "aws-profile-broken", name: "a session", files: config + "[profile a]\nsso_session = s\n[sso-session s]\nsso_region = x\n"},
		{check: "aws-profile-broken", name: "half a pair", files: credentials + "[a]\naws_access_key_id = x\n", want: "error without aws_secret_access_key"},
		{check: "aws-profile-broken", name: "two halves in two files", files: credentials + "[a]\naws_access_key_id = x\n" + config + "[profile a]\naws_secret_access_key = x\n", want: "error in the same file"},

		{check: "aws-section", name: "what there may be", files: credentials + "[a]\n" + keysLines + config + "[default]\n[profile a]\n[sso-session s]\nsso_region = x\n[services s]\n[preview]\ncloudfront = true\n[plugins]\nx = y\n"},
		{check: "aws-section", name: "without its word", files: config + "[deploy]\nregion = x\n", want: "warning [deploy] on line 1 of the config file"},
		{check: "aws-section", name: "with its word in the other file", files: credentials + "[profile deploy]\n" + keysLines, want: "warning [profile deploy] on line 1 of the credentials file"},
		{check: "aws-section", name: "upper case", files: config + "[Profile deploy]\nregion = x\n[Default]\nregion = x\n", want: "warning write [profile deploy]\nwarning write [default]"},
		{check: "aws-section", name: "three words", files: config + "[profile my deploy]\nregion = x\n", want: "warning line 1 of the config file"},
		{check: "aws-section", name: "two defaults", files: config + "[default]\nregion = x\n[profile default]\nregion = y\n", want: "error has [default] and [profile default]"},

		{check: "aws-default-section", name: "lower case", files: config + "[default]\nregion = x\n"},
		{check: "aws-default-section", name: "settings", files: config + "[DEFAULT]\nregion = x\n", want: "warning the config file has a section [DEFAULT]"},
		{check: "aws-default-section", name: "a role", files: config + "[DEFAULT]\n" + role + "source_profile = x\n", want: "error with role_arn, source_profile"},
		{check: "aws-default-section", name: "keys", files: credentials + "[DEFAULT]\n" + keysLines, want: "error the credentials file"},

		{check: "aws-comment", name: "on its own line", files: config + "[default]\n# Ireland\nregion = eu-west-1\n"},
		{check: "aws-comment", name: "behind a value", files: config + "[default]\nregion = eu-west-1 # Ireland\n", want: `error the profile "default" has a comment behind the value of region`},
		{check: "aws-comment", name: "the other mark", files: config + "[profile a]\nrole_arn = x ; y\nsource_profile = b#c\n", want: "error behind the value of role_arn"},

		{check: "aws-expired", name: "not ours", files: credentials + "[default]\n" + keysLines, set: recordedProfile("default", "another", -time.Hour)},
		{check: "aws-expired", name: "ours, for another hour", files: credentials + "[default]\n" + keysLines, set: recordedProfile("default", "", time.Hour)},
		{check: "aws-expired", name: "ours, an hour ago", files: credentials + "[default]\n" + keysLines, set: recordedProfile("default", "", -time.Hour), want: "error that expired at 2026-11-22T11:00:00Z, 1h0m0s ago"},

		{check: "aws-file-writable", name: "a file", files: config + "[default]\nregion = x\n"},
		{check: "aws-file-writable", name: "none yet"},
		{check: "aws-file-writable", name: "a mount", files: config + "[default]\nregion = x\n", set: func(v *view) { v.mounted = func(path string) bool { return filepath.Base(path) == "config" } }, want: "note is mounted as a single file"},
		{check: "aws-file-writable", name: "a directory that cannot be written to", env: "AWS_CONFIG_FILE=$DIR/home/f/config", files: "-- home/f --\nx\n", want: "warning cannot be written to"},
	}
}

// recordedProfile writes a profile over the one that is there, as 'aws profile' does, with
// the keys that the tests have or another one.
func recordedProfile(name, key string, ends time.Duration) func(*view) {
	return func(v *view) {
		path := filepath.Join(v.home(), ".aws", "credentials")
		v.Journal = undo.NewJournal(filepath.Join(v.home(), "record"))
		v.Journal.Markers = ini.Markers()
		if key == "" {
			text, _ := os.ReadFile(path)
			_, rest, _ := strings.Cut(string(text), "aws_secret_access_key")
			key = strings.Trim(strings.SplitN(rest, "\n", 2)[0], " =")
		}
		edit := ini.Change{
			Headers: []string{name}, End: v.Now.Add(ends),
			Set: []ini.Setting{{Key: "aws_secret_access_key", Value: secret.New(key)}},
		}.In(path, true)
		was, _ := os.ReadFile(path)
		_ = os.WriteFile(path, []byte("["+name+"]\n"), 0o600)
		if err := v.Journal.Commit(v.ctx, edit); err != nil {
			panic(err) // a test's own mistake
		}
		_ = os.WriteFile(path, was, 0o600)
		v.prepared()
	}
}
