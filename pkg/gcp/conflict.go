package gcp

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/broker"
	"github.com/oidc-broker/oidc-broker/pkg/internal/child"
	"github.com/oidc-broker/oidc-broker/pkg/internal/ini"
	"github.com/oidc-broker/oidc-broker/pkg/internal/shell"
)

// What reads the variables and settings that take precedence.
const (
	readByGcloud    = "gcloud, bq and docker-credential-gcloud"
	readByGsutil    = "gsutil"
	readByTerraform = "Terraform"
	readByBackend   = "Terraform's gcs backend"
)

// An override is a setting that a tool takes before the credential configuration, or
// by which it acts as another identity than the configuration's.
type override struct {
	variable string
	property string // of gcloud's configuration, as section/name, where it has one
	tool     string
	// neutral is the variable's value that makes gcloud pass over the property; a
	// variable that is not set leaves it in force.
	neutral string
}

// overrides is the one list of them: the outputs that export variables take them out
// of the way, the others and doctor report them.
var overrides = []override{
	{variable: "CLOUDSDK_AUTH_ACCESS_TOKEN", tool: readByGcloud},
	{variable: "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", property: "auth/access_token_file", tool: readByGcloud},
	{variable: "CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT", property: "auth/impersonate_service_account", tool: readByGcloud},
	{variable: "CLOUDSDK_AUTH_DISABLE_CREDENTIALS", property: "auth/disable_credentials", tool: readByGcloud, neutral: "false"},
	{variable: "CLOUDSDK_CORE_ACCOUNT", tool: readByGsutil},
	{variable: "GOOGLE_CREDENTIALS", tool: readByTerraform},
	{variable: "GOOGLE_OAUTH_ACCESS_TOKEN", tool: readByTerraform},
	{variable: "GOOGLE_IMPERSONATE_SERVICE_ACCOUNT", tool: readByTerraform},
	{variable: "GOOGLE_CLOUD_KEYFILE_JSON", tool: readByTerraform},
	{variable: "GCLOUD_KEYFILE_JSON", tool: readByTerraform},
	{variable: "GOOGLE_BACKEND_CREDENTIALS", tool: readByBackend},
	{variable: "GOOGLE_BACKEND_IMPERSONATE_SERVICE_ACCOUNT", tool: readByBackend},
}

// ConflictingVariables are the variables that take precedence over the credential
// configuration.
func ConflictingVariables() []string {
	var names []string
	for _, o := range overrides {
		names = append(names, o.variable)
	}
	return names
}

// A Machine is where tools look for credentials beside what is delivered.
type Machine struct {
	Lookup func(variable string) (value string, set bool)
	Read   func(path string) ([]byte, error)
}

func (m Machine) getenv(name string) string {
	value, _ := m.Lookup(name)
	return value
}

func (m Machine) home() string {
	if home := m.getenv("HOME"); home != "" {
		return home
	}
	return m.getenv("USERPROFILE") // Windows
}

// gcloudSettings are the properties of gcloud's active configuration.
type gcloudSettings struct {
	name     string // of the configuration
	sections []ini.Section
}

// activeConfiguration reads the configuration that gcloud takes. One that is missing
// or that gcloud itself refuses has no properties.
func (m Machine) activeConfiguration() gcloudSettings {
	dir := gcloudDir(m.getenv)
	if dir == "" {
		return gcloudSettings{}
	}
	name := m.getenv("CLOUDSDK_ACTIVE_CONFIG_NAME")
	if name == "" {
		active, _ := m.Read(filepath.Join(dir, "active_config"))
		name = string(active)
	}
	if name == "" {
		name = "default"
	}
	if !matches(configurationName, name) { // NONE, or what gcloud refuses
		return gcloudSettings{}
	}
	text, err := m.Read(filepath.Join(dir, "configurations", "config_"+name))
	if err != nil {
		return gcloudSettings{name: name}
	}
	sections, _ := ini.ReadINI(text) // what is read of a broken file is as good as nothing
	return gcloudSettings{name: name, sections: sections}
}

// get returns a property, given as section/name. Python's configparser gives each
// section the settings of [DEFAULT].
func (g gcloudSettings) get(property string) string {
	section, key, _ := strings.Cut(property, "/")
	return iniValue(g.sections, section, key)
}

func iniValue(sections []ini.Section, section, key string) string {
	value, own, present := "", "", false
	for _, s := range sections {
		for _, setting := range s.Settings {
			switch {
			case setting.Key != key:
			case s.Name == section:
				own = setting.Value.Reveal()
			case s.Name == "DEFAULT":
				value = setting.Value.Reveal()
			}
		}
		present = present || s.Name == section
	}
	switch {
	case own != "":
		return own
	case !present:
		return ""
	}
	return value
}

// harmless says whether a property's value changes nothing.
func harmless(value string) bool {
	switch strings.ToLower(strings.TrimSpace(value)) {
	case "", "false", "0", "no", "off", "n", "none":
		return true
	}
	return false
}

// neutralized are the variables that take gcloud's own properties out of force, and
// the variables of other universes.
func (x *Exchange) neutralized(m Machine) []child.Var {
	active := m.activeConfiguration()
	var all []child.Var
	for _, o := range overrides {
		if o.property != "" && !harmless(active.get(o.property)) {
			all = append(all, exported(o.variable, o.neutral))
		}
	}
	other := x.universe != googleUniverse
	for _, value := range []string{m.getenv("CLOUDSDK_CORE_UNIVERSE_DOMAIN"), m.getenv("GOOGLE_CLOUD_UNIVERSE_DOMAIN"), active.get("core/universe_domain")} {
		other = other || value != "" && value != x.universe
	}
	if other {
		all = append(all, exported("CLOUDSDK_CORE_UNIVERSE_DOMAIN", x.universe), exported("GOOGLE_CLOUD_UNIVERSE_DOMAIN", x.universe))
	}
	return all
}

// EnvironmentConflicts are what takes precedence in spite of the variables of
// Environment.
func (m Machine) EnvironmentConflicts(f Files) []broker.Conflict {
	var all []broker.Conflict
	if !listable(f.Boto) {
		return []broker.Conflict{{
			Message: fmt.Sprintf("gsutil has no credentials: BOTO_PATH cannot hold %s", strconv.Quote(f.Boto)),
			Remedy:  fmt.Sprintf("use gcloud storage, or set XDG_CONFIG_HOME to a directory without %q in its name", os.PathListSeparator),
		}}
	}
	for _, path := range m.botoFiles() {
		text, err := m.Read(m.expand(path))
		if err != nil {
			continue
		}
		if key := botoCredentials(text); key != "" {
			all = append(all, broker.Conflict{
				Message: fmt.Sprintf("gsutil uses the credentials in %s (%s), not the ones that were delivered", strconv.Quote(path), key),
				Remedy:  "remove them from that file, or use gcloud storage",
			})
		}
	}
	return all
}

// FileConflicts are why the tools would not use a credential configuration at path,
// in an environment that was not changed.
func (m Machine) FileConflicts(path string) []broker.Conflict {
	all := m.Overrides()
	for _, v := range []struct{ variable, tools string }{
		{"GOOGLE_APPLICATION_CREDENTIALS", "Terraform and the client libraries use"},
		{"CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE", "gcloud and bq use"},
	} {
		if other := m.getenv(v.variable); other != "" && !sameFile(other, path) {
			all = append(all, broker.Conflict{
				Message: fmt.Sprintf("%s names another file, which %s", v.variable, v.tools),
				Remedy:  "use 'oidc-broker gcp env', or set it to " + shell.Word(path),
			})
		}
	}
	if m.getenv("CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE") != "" {
		return all
	}
	active := m.activeConfiguration()
	if other := active.get("auth/credential_file_override"); other != "" && !sameFile(other, path) {
		all = append(all, broker.Conflict{
			Message: fmt.Sprintf("gcloud uses the credential_file_override of its configuration %q", active.name),
			Remedy:  "use 'oidc-broker gcp env', or set CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE to " + shell.Word(path),
		})
	} else if account := active.get("core/account"); account != "" && other == "" {
		all = append(all, broker.Conflict{
			Message: fmt.Sprintf("gcloud uses the account %q of its configuration %q", shorten(account), active.name),
			Remedy:  "use 'oidc-broker gcp env', or set CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE to " + shell.Word(path),
		})
	}
	return all
}

// ConfigurationConflicts are why gcloud would not use what was written into one of its
// configurations, of which names are all, or what else does not find it there.
func (m Machine) ConfigurationConflicts(x *Exchange, f Files, names []string) []broker.Conflict {
	all := m.overrides(gcloudSettings{}) // the properties are taken out of the configuration
	if other := m.getenv("CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE"); other != "" && !sameFile(other, f.Config) {
		all = append(all, broker.Conflict{
			Message: "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE names another file, and gcloud takes it before its configuration", Remedy: "unset it"})
	}
	if other := m.getenv("CLOUDSDK_CORE_PROJECT"); other != "" && x.ProjectID != "" && other != x.ProjectID {
		all = append(all, broker.Conflict{
			Message: fmt.Sprintf("CLOUDSDK_CORE_PROJECT is set, and gcloud takes it before the project %s of its configuration", x.ProjectID), Remedy: "unset it"})
	}
	if other := m.getenv("CLOUDSDK_ACTIVE_CONFIG_NAME"); other != "" && !slices.Contains(names, other) {
		all = append(all, broker.Conflict{
			Message: fmt.Sprintf("CLOUDSDK_ACTIVE_CONFIG_NAME is %s, another configuration than was written", strconv.Quote(shorten(other))),
			Remedy:  "set it to " + names[0] + ", or give gcloud --configuration",
		})
	}
	if !m.gsutilHasCredentials() {
		all = append(all, broker.Conflict{
			Message: "gsutil finds no credentials in a gcloud configuration, and sends none",
			Remedy:  "use gcloud storage, or 'oidc-broker gcp exec -- gsutil'",
		})
	}
	return all
}

// gsutilHasCredentials says whether a boto file of the user's, or of ours, has some.
func (m Machine) gsutilHasCredentials() bool {
	for _, path := range append(m.botoFiles(), filepath.SplitList(m.getenv("BOTO_PATH"))...) {
		text, err := m.Read(m.expand(path))
		if err != nil {
			continue
		}
		sections, _ := ini.ReadINI(text)
		if botoCredentials(text) != "" || iniValue(sections, "Credentials", "gs_external_account_file") != "" {
			return true
		}
	}
	return false
}

// Overrides are the variables that are set, and the properties of gcloud's active
// configuration, that take precedence over a credential configuration.
func (m Machine) Overrides() []broker.Conflict { return m.overrides(m.activeConfiguration()) }

func (m Machine) overrides(active gcloudSettings) []broker.Conflict {
	var all []broker.Conflict
	for _, o := range overrides {
		value, set := m.Lookup(o.variable)
		value = strings.TrimSpace(value)
		if o.neutral != "" && harmless(value) {
			value = ""
		}
		switch {
		case value != "":
			all = append(all, broker.Conflict{
				Message: fmt.Sprintf("%s is set, and %s %s it first", o.variable, o.tool, takes(o.tool)),
				Remedy:  "unset it",
			})
		case !set && o.property != "" && !harmless(active.get(o.property)):
			all = append(all, broker.Conflict{
				Message: fmt.Sprintf("gcloud's configuration %q sets %s, and takes it first", active.name, o.property),
				Remedy:  "gcloud config unset " + o.property,
			})
		}
	}
	return all
}

func takes(tools string) string {
	if strings.Contains(tools, " and ") {
		return "take"
	}
	return "takes"
}

// sameFile compares two names of files as they are written: no link is followed.
func sameFile(a, b string) bool {
	a, err := filepath.Abs(a)
	return err == nil && filepath.Clean(a) == filepath.Clean(b)
}

// shorten bounds a name from a file that the program did not write.
func shorten(name string) string {
	if len(name) > 100 {
		return name[:100] + "..."
	}
	return name
}
