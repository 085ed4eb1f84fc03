package doctor

import (
	"slices"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/aws"
	"github.com/oidc-broker/oidc-broker/pkg/internal/ini"
)

// awsConflicts reports what the notes of 'oidc-broker aws' say, by the same rules.
func awsConflicts(check string) func(*view) []Finding {
	return func(v *view) []Finding {
		var all []Finding
		for _, c := range v.delivery().ConflictsFor(check) {
			f := warns("%s", c.Message)
			if c.Stops {
				f.Severity = Error
			}
			all = append(all, f.remedy("%s", c.Remedy))
		}
		return all
	}
}

// delivery is what the SDKs are meant to use here: the profiles that this program wrote,
// else the one that the SDKs take, else the one that 'oidc-broker aws' would write.
func (v *view) delivery() aws.Delivery {
	state := v.aws()
	d := aws.Delivery{Lookup: v.shownValue, Config: state.config}
	d.ReadBashEnv(v.abs(v.get("BASH_ENV")))
	for name, value := range d.BashEnv {
		d.BashEnv[name] = v.withoutSecret(name, value)
	}
	for _, f := range state.files {
		if f.err != nil {
			d.Unreadable = append(d.Unreadable, f.err)
		}
	}
	for _, p := range state.profiles {
		if v.wrote(p) {
			d.Profiles = append(d.Profiles, deliveredProfile(p))
		}
	}
	used := state.effective()
	switch id := v.get("AWS_ACCESS_KEY_ID"); {
	case len(d.Profiles) > 0:
	case len(used.CredentialSources()) > 0 && ini.LikelyProfile(used.Name):
		d.Profiles = []aws.DeliveredProfile{deliveredProfile(used)}
	case v.get("AWS_ROLE_ARN") != "" && !(d.Block && (id == "" || id == d.BlockKey)):
		name := v.get("OIDC_BROKER_PROFILE")
		if !ini.LikelyProfile(name) {
			name = "default"
		}
		d.Profiles = []aws.DeliveredProfile{{Name: name, Region: v.region()}}
	}
	// Beside a profile that each command names, our block is what a job may want.
	d.Block = d.Block && slices.ContainsFunc(d.Profiles, func(p aws.DeliveredProfile) bool { return p.Name == state.profile })
	return d
}

func deliveredProfile(p aws.Profile) aws.DeliveredProfile {
	region := p.Value("region")
	if aws.CheckRegion(region) != nil {
		region = ""
	}
	return aws.DeliveredProfile{Name: p.Name, Region: region}
}

// wrote says whether a profile's credentials are those that this program wrote.
func (v *view) wrote(p aws.Profile) bool {
	if !ini.LikelyProfile(p.Name) {
		return false
	}
	if words, ok := ini.Words(p.Value("credential_process")); ok && len(words) > 2 {
		return slices.Contains(words, "credential-process") && slices.Contains(words, "aws")
	}
	if v.Journal == nil || len(v.aws().files) == 0 {
		return false
	}
	marks, err := v.Journal.Marks(v.aws().files[0].path)
	return err == nil && !ini.ProfileEnd(marks, p.Name, p.Credentials["aws_secret_access_key"]).IsZero()
}

// shownValue is a variable for what is printed.
func (v *view) shownValue(name string) (string, bool) {
	value, set := v.env[name]
	return v.withoutSecret(name, value), set
}

// withoutSecret replaces what may be a secret that somebody took for a name.
func (v *view) withoutSecret(name, value string) string {
	trimmed := strings.TrimSpace(value)
	switch name {
	case "AWS_PROFILE", "AWS_DEFAULT_PROFILE":
		if trimmed != "" && !ini.LikelyProfile(trimmed) {
			return "(not shown)"
		}
	case "AWS_REGION", "AWS_DEFAULT_REGION":
		if aws.CheckRegion(trimmed) != nil {
			return ""
		}
	}
	return value
}
