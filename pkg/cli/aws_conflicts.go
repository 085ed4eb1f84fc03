package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/aws"
	"github.com/oidc-broker/oidc-broker/pkg/internal/broker"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
)

// lookup reads a variable, and says whether it is set at all.
func (a *app) lookup(name string) (string, bool) {
	if value := a.Getenv(name); value != "" {
		return value, true
	}
	return "", slices.ContainsFunc(a.Environ(), func(v string) bool { return strings.HasPrefix(v, name+"=") })
}

// profileConflicts are why the next tool would not use profiles that edits write.
func (a *app) profileConflicts(found aws.Files, profiles []aws.DeliveredProfile, edits []files.Edit) []broker.Conflict {
	d := aws.Delivery{Profiles: profiles, Lookup: a.lookup, Files: found}
	d.ReadBashEnv(a.Getenv("BASH_ENV"))
	d.Config, d.Unreadable = found.ReadConfig(edits...)
	return d.Conflicts()
}

// environmentConflicts are why the next tool would not use credentials that are in its
// environment, with what our outputs take out of it. bashEnv is the file that they were
// written to, if any.
func (a *app) environmentConflicts(bashEnv string) []broker.Conflict {
	files, err := aws.FindFiles(a.Getenv)
	if err != nil {
		return nil // without a home directory the SDKs find none
	}
	d := aws.Delivery{Lookup: a.lookup, Files: files}
	d.ReadBashEnv(bashEnv)
	d.Config, d.Unreadable = files.ReadConfig()
	return d.Conflicts()
}

// regionOfProfiles gives a region that no option and no variable named: that of the
// first of the profiles, of the one that the environment names, or of default. The
// SDKs take it there.
func (a *app) regionOfProfiles(o *aws.Options, profiles ...string) {
	files, err := aws.FindFiles(a.Getenv)
	if o.Region != "" || err != nil {
		return
	}
	for _, name := range []string{"AWS_PROFILE", "AWS_DEFAULT_PROFILE"} {
		if named := strings.TrimSpace(a.Getenv(name)); named != "" {
			profiles = append(profiles, named)
			break
		}
	}
	config, _ := files.ReadConfig() // who writes it, or calls the AWS CLI, hears of a mistake in it
	region, profile := config.Region(append(profiles, "default")...)
	if region != "" {
		o.Region, o.RegionFrom = region, fmt.Sprintf("the profile %q in the AWS files", profile)
	}
}
