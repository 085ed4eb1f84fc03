package aws

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// TestUnshadowed: the copies lack the default profile's ways to credentials, and
// have everything else, byte by byte. Where there is no such way there is no copy.
func TestUnshadowed(t *testing.T) {
	const other = "[other]\naws_access_key_id = AKIAOTHER\naws_secret_access_key = x\n"
	for _, row := range []struct {
		name, credentials, config string
		want                      map[string]string
	}{
		{"nothing there", "", "", nil},
		{"no default profile", other, "[profile other]\nregion = eu-west-1\n", nil},
		{"settings alone", "[default]\nregion = eu-west-1\n", "[default]\nregion = eu-west-1\noutput = json\ns3 =\n    max_concurrent_requests = 5\n", nil},
		{"keys", "# mine\n[default]\naws_access_key_id = AKIAMINE\naws_secret_access_key = x\naws_session_token=y\nregion = eu-west-1\n\n" + other, "[default]\noutput = json\n",
			map[string]string{"credentials": "# mine\n[default]\nregion = eu-west-1\n\n" + other}},
		{"a half of them", "[default]\nAWS_ACCESS_KEY_ID: AKIAMINE\r\n", "", map[string]string{"credentials": "[default]\n"}},
		{"keys in the config file", "", "[default]\naws_access_key_id = AKIAMINE\naws_secret_access_key = x\noutput = json\n[profile p]\nrole_arn = r\n",
			map[string]string{"config": "[default]\noutput = json\n[profile p]\nrole_arn = r\n"}},
		{"under the other header", "", "[profile default]\ncredential_process = /bin/true\n", map[string]string{"config": "[profile default]\n"}},
		{"a process of ours, from a step before", "[default]\n", "[default]\nregion = eu-west-1\ncredential_process = /usr/bin/oidc-broker aws credential-process\n",
			map[string]string{"config": "[default]\nregion = eu-west-1\n"}},
		{"single sign-on", "", "[default]\nsso_session = s\nsso_account_id = 1\nsso_role_name = r\n[sso-session s]\nsso_region = us-east-1\n",
			map[string]string{"config": "[default]\n[sso-session s]\nsso_region = us-east-1\n"}},
		{"a role, by the endpoint", "", "[default]\nrole_arn = arn:aws:iam::111122223333:role/x\ncredential_source = EcsContainer\n", map[string]string{"config": "[default]\n"}},
		{"a web identity", "", "[default]\nrole_arn = r\nweb_identity_token_file = /t\nregion = x\n", map[string]string{"config": "[default]\nregion = x\n"}},
		{"both", "[default]\naws_access_key_id = AKIAMINE\naws_secret_access_key = x\n", "[default]\nsource_profile = other\nrole_arn = r\n",
			map[string]string{"credentials": "[default]\n", "config": "[default]\n"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := writeFiles(t, row.credentials, row.config)
			copies, err := f.Unshadowed()
			if err != nil {
				t.Fatal(err)
			}
			var got map[string]string
			for _, c := range copies {
				if got == nil {
					got = map[string]string{}
				}
				got[c.Name] = string(c.Content)
				if variable, of := map[string]string{"credentials": "AWS_SHARED_CREDENTIALS_FILE", "config": "AWS_CONFIG_FILE"}[c.Name], map[string]string{"credentials": f.Credentials, "config": f.Config}[c.Name]; c.Variable != variable || c.Of != of {
					t.Errorf("%s is named by %s, and is of %s", c.Name, c.Variable, c.Of)
				}
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Error(diff)
			}
			for path, text := range map[string]string{f.Credentials: row.credentials, f.Config: row.config} {
				if b, _ := os.ReadFile(path); string(b) != text {
					t.Errorf("%s was changed", path)
				}
			}
		})
	}
}

// writeFiles writes the two, unless they are empty.
func writeFiles(t *testing.T, credentials, config string) Files {
	t.Helper()
	dir := t.TempDir()
	f := Files{Credentials: filepath.Join(dir, "c"), Config: filepath.Join(dir, "f")}
	for path, text := range map[string]string{f.Credentials: credentials, f.Config: config} {
		if text == "" {
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// Files that botocore refuses might hold anything; what is no file is left alone.
func TestUnshadowedRefuses(t *testing.T) {
	for _, row := range []struct{ name, credentials, config, words string }{
		{"a duplicate section", "[default]\na = b\n[default]\n", "", "credentials"},
		{"a duplicate key", "", "[default]\nregion = a\nregion = b\n", "AWS_CONFIG_FILE="},
		{"no header", "aws_access_key_id = AKIASECRET\n", "", "AWS_SHARED_CREDENTIALS_FILE="},
		{"two spellings", "", "[default]\n[profile default]\n", "in another spelling"},
	} {
		_, err := writeFiles(t, row.credentials, row.config).Unshadowed()
		text := ""
		if err != nil {
			text = err.Error() + "\n" + strings.Join(fault.Hints(err), "\n")
		}
		if fault.KindOf(err) != fault.Local || !strings.Contains(text, row.words) || !strings.Contains(text, "line ") || !strings.Contains(text, os.DevNull) || strings.Contains(text, "AKIASECRET") {
			t.Errorf("%s: kind %d, %s", row.name, fault.KindOf(err), text)
		}
	}
	for _, path := range []string{os.DevNull, t.TempDir(), "/nonexistent/x"} {
		if copies, err := (Files{Credentials: path, Config: path}).Unshadowed(); err != nil || copies != nil {
			t.Errorf("%s: %v, %v", path, copies, err)
		}
	}
}

func TestBotoKeys(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	keys := write(".boto", "[Credentials]\naws_access_key_id = AKIAMINE\naws_secret_access_key = x\n")
	google := write("gs", "[Credentials]\ngs_access_key_id = GOOG\n[Boto]\nproxy = p\n")
	for _, row := range []struct {
		name string
		env  []string
		want string
	}{
		{"in the home directory", []string{"HOME", dir}, keys},
		{"named", []string{"BOTO_CONFIG", keys}, keys},
		{"another named", []string{"HOME", dir, "BOTO_CONFIG", google}, ""},
		{"none named", []string{"HOME", dir, "BOTO_CONFIG", os.DevNull}, ""},
		{"none", []string{"HOME", t.TempDir()}, ""},
		{"gsutil's", []string{"BOTO_CONFIG", google}, ""},
	} {
		if got := BotoKeys(env(row.env...)); got != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}
