package gcp

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/child"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/ini"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// The names of our boto files, by which they are told from the user's in BOTO_PATH.
const (
	botoPrefix  = "gsutil-"
	botoSuffix  = ".oidc-broker.boto"
	statePrefix = "gsutil-state-" // of the directories that gsutil keeps
)

// botoEdit writes the file by which gsutil finds the configuration: it reads neither
// GOOGLE_APPLICATION_CREDENTIALS nor gcloud's credential_file_override, and without
// credentials it sends its requests anonymously.
func (x *Exchange) botoEdit(f Files, t oidc.Token) files.Edit {
	lines := []string{
		"# written by oidc-broker: gsutil reads this file last (BOTO_PATH)",
		"[Credentials]",
		"gs_external_account_file = " + botoText(f.Config),
		"gs_impersonate_service_account =", // of a file before this one
		"[GSUtil]",
		"state_dir = " + botoText(x.GsutilState(f, t)),
		// gsutil would start gcloud storage without credentials where gcloud has no account.
		"use_gcloud_storage = False",
		"",
	}
	return files.Edit{Path: f.Boto, Private: true, Apply: content([]byte(strings.Join(lines, "\n")))}
}

// GsutilState is the directory, which gsutil makes, of its access tokens and unfinished
// uploads. It caches tokens by the provider's name alone: without a directory for each
// identity, it would use the token of another service account or job.
func (x *Exchange) GsutilState(f Files, t oidc.Token) string {
	identity := digest(x.Provider.String(), x.ServiceAccount, x.sts, x.iam, f.Config, t.Issuer, t.Subject)
	return filepath.Join(filepath.Dir(f.Boto), statePrefix+identity)
}

// IsGsutilState says whether a directory is named as GsutilState has it.
func IsGsutilState(dir string) bool {
	return filepath.IsAbs(dir) && matches("^"+statePrefix+"[0-9a-f]{12}$", filepath.Base(dir))
}

// botoText is a value that Python's configparser reads as it is.
func botoText(value string) string { return strings.ReplaceAll(value, "%", "%%") }

// botoEnvironment returns the variables that make gsutil read our file after the
// user's: of two settings the last one counts.
func (m Machine) botoEnvironment(f Files) []child.Var {
	if !listable(f.Boto) {
		return nil
	}
	files := append(m.botoFiles(), f.Boto)
	return []child.Var{
		exported("BOTO_PATH", strings.Join(files, string(os.PathListSeparator))),
		// gcloud's gsutil would read the credentials of gcloud's active account last.
		exported("CLOUDSDK_CORE_PASS_CREDENTIALS_TO_GSUTIL", "false"),
	}
}

// botoFiles are the user's own, in the order in which gsutil reads them.
func (m Machine) botoFiles() []string {
	if file := m.getenv("BOTO_CONFIG"); file != "" {
		return []string{file}
	}
	if path := m.getenv("BOTO_PATH"); path != "" {
		return slices.DeleteFunc(filepath.SplitList(path), func(p string) bool { return p == "" || strings.HasSuffix(p, botoSuffix) })
	}
	files := []string{"/etc/boto.cfg"}
	if home := m.home(); home != "" {
		files = append(files, filepath.Join(home, ".boto"))
	}
	return files
}

// listable says whether a file can be an item of BOTO_PATH.
func listable(path string) bool {
	return path != "" && !strings.ContainsRune(path, os.PathListSeparator)
}

// expand replaces the ~ that boto takes for the home directory.
func (m Machine) expand(path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok && m.home() != "" {
		return filepath.Join(m.home(), rest)
	}
	return path
}

// botoCredentials returns the setting of a boto file that gsutil prefers to an external
// account; "" when there is none. Its presence alone counts.
func botoCredentials(text []byte) string {
	sections, err := ini.ReadINI(text)
	if err != nil && len(sections) == 0 {
		return ""
	}
	for _, s := range sections {
		for _, setting := range s.Settings {
			switch {
			case s.Name == "Credentials" && (setting.Key == "gs_oauth2_refresh_token" || setting.Key == "gs_service_key_file" || setting.Key == "gs_access_key_id"),
				s.Name == "GoogleCompute" && setting.Key == "service_account":
				return setting.Key
			}
		}
	}
	return ""
}
