package gcp

import (
	"path/filepath"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/ini"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
)

// configurationName is what gcloud accepts. It has a meaning of its own for NONE,
// which this leaves out too.
const configurationName = `^[a-z][-a-z0-9]*$`

// FindConfiguration returns the file of one of gcloud's named configurations, which
// 'gcloud --configuration NAME' and CLOUDSDK_ACTIVE_CONFIG_NAME choose. It is a
// fault.Usage for what is no such name, a fault.Local when there is no home.
func FindConfiguration(getenv func(string) string, name string) (string, error) {
	if !matches(configurationName, name) {
		return "", fault.New(fault.Usage, "%s cannot be the name of a gcloud configuration", show(name)).
			Hint("use a-z, 0-9 and -, and begin with a letter")
	}
	dir := gcloudDir(getenv)
	if dir == "" {
		return "", fault.New(fault.Local, "no home directory: HOME is not set").Hint("set HOME or CLOUDSDK_CONFIG")
	}
	path, err := filepath.Abs(filepath.Join(dir, "configurations", "config_"+name))
	if err != nil {
		return "", fault.New(fault.Local, "cannot find %q: %w", dir, err)
	}
	return path, nil
}

// ConfigurationDir is where gcloud keeps its files; "" when there is no home.
func ConfigurationDir(getenv func(string) string) string { return gcloudDir(getenv) }

// Configuration returns the edits that make a gcloud configuration use the files:
// gcloud needs no login and no variable then. What it held for finding other
// credentials is taken out, the rest of it stays.
func (x *Exchange) Configuration(path string, f Files) []files.Edit {
	auth := ini.Change{
		Headers: []string{"auth"},
		Set:     []ini.Setting{property("credential_file_override", f.Config)},
		Remove:  []string{"access_token_file", "impersonate_service_account", "disable_credentials"},
	}
	core := ini.Change{Headers: []string{"core"}, Remove: []string{"account"}}
	if x.ProjectID != "" {
		core.Set = append(core.Set, property("project", x.ProjectID))
	}
	if x.universe != googleUniverse {
		core.Set = append(core.Set, property("universe_domain", x.universe))
	} else {
		core.Remove = append(core.Remove, "universe_domain")
	}
	return []files.Edit{auth.In(path, false), core.In(path, false)}
}

// property is a line of the file. gcloud reads it with Python's interpolation, to
// which a % is the beginning of something.
func property(key, value string) ini.Setting {
	return ini.Setting{Key: key, Value: secret.New(strings.ReplaceAll(value, "%", "%%"))}
}
