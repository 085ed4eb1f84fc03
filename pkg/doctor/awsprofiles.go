package doctor

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/ini"
)

// awsProfileChecks look at what the SDKs make of the profiles, by the same model as the
// notes of 'aws profile' and 'apply'.
func awsProfileChecks() []check {
	return []check{
		{"aws-profile-broken", "every profile leads to credentials", awsBrokenProfiles},
		{"aws-section", "every section that looks like a profile is one", awsSections},
		{"aws-default-section", "no [DEFAULT] changes every profile", awsDefaultSection},
		{"aws-comment", "no value of a profile ends in a comment", awsComments},
		{"aws-expired", "no profile holds keys of ours that have expired", awsExpired},
		{"aws-file-writable", "the AWS files can be replaced", awsFilesWritable},
	}
}

const mostFindings = 8

func awsBrokenProfiles(v *view) []Finding {
	var all []Finding
	for _, p := range v.aws().config.Problems(v.get) {
		f := fails("%s %s", profileName(p.Profile), p.Message)
		if p.Other != "" {
			f.Message += " " + strings.TrimPrefix(profileName(p.Other), "the profile ")
		}
		all = append(all, f.because("%s", p.Why).remedy("%s", p.Remedy))
	}
	for _, p := range v.aws().profiles {
		path := p.Value("web_identity_token_file")
		if path == "" || p.Value("role_arn") == "" {
			continue
		}
		if _, _, err := v.read(v.expand(path), 1); err != nil {
			all = append(all, fails("%s has a web_identity_token_file, %s, that cannot be read: %v", profileName(p.Name), v.place(path), err).
				because("the AWS CLI and the SDKs refuse the profile").
				remedy("write the token there, or the profile with 'oidc-broker aws profile'"))
		}
	}
	return all[:min(len(all), mostFindings)]
}

func awsSections(v *view) []Finding {
	var all []Finding
	config := v.aws().config
	for _, s := range config.Unread {
		name := "a section"
		if ini.LikelyProfile(strings.ReplaceAll(s.Header, " ", "-")) {
			name = "[" + s.Header + "]"
		}
		meant := "write [" + s.Meant + "]"
		if name == "a section" {
			meant = "write [profile NAME] in the config file, [NAME] in the credentials file"
		}
		all = append(all, warns("%s on line %d of the %s file is not the profile that it looks like", name, s.Line, s.File).
			because("the AWS CLI and the SDKs do not find the profile; the config file wants the word profile, the credentials file does not").
			remedy("%s", meant))
	}
	if config.TwoDefaults {
		all = append(all, fails("the config file has [default] and [profile default]").
			because("the AWS CLI and boto3 take the later one of the two, Go programs the second spelling").
			remedy("merge them into [default]"))
	}
	return all[:min(len(all), mostFindings)]
}

func awsDefaultSection(v *view) []Finding {
	var all []Finding
	config := v.aws().config
	for i, file := range []string{"credentials", "config"} {
		inherited := config.Inherited.Credentials
		if i == 1 {
			inherited = config.Inherited.Config
		}
		if len(inherited) == 0 {
			continue
		}
		f := warns("the %s file has a section [DEFAULT] in upper case", file)
		if keys := config.InheritedKeys(file); len(keys) > 0 {
			f = fails("the %s file has a section [DEFAULT] in upper case, with %s", file, strings.Join(keys, ", "))
		}
		all = append(all, f.because("the AWS CLI and boto3 give its keys to every profile of the file; programs in other languages do not").
			remedy("name it [default], in lower case, or move its keys into the profiles that need them"))
	}
	return all
}

func awsComments(v *view) []Finding {
	var all []Finding
	for _, p := range v.aws().profiles {
		if keys := p.Commented(); len(keys) > 0 && len(all) < mostFindings {
			all = append(all, fails("%s has a comment behind the value of %s", profileName(p.Name), fault.Names(keys)).
				because("the AWS CLI and boto3 take it for a part of the value, Go and JavaScript programs do not").
				remedy("write the comment on a line of its own"))
		}
	}
	return all
}

func awsExpired(v *view) []Finding {
	state := v.aws()
	if v.Journal == nil || len(state.files) == 0 {
		return nil
	}
	marks, err := v.Journal.Marks(state.files[0].path)
	if err != nil {
		return nil // the record's own check
	}
	var all []Finding
	for _, p := range state.profiles {
		end := ini.ProfileEnd(marks, p.Name, p.Credentials["aws_secret_access_key"])
		if end.IsZero() || end.After(v.Now) || len(all) == mostFindings {
			continue
		}
		all = append(all, fails("%s holds keys that oidc-broker wrote, and that expired at %s, %s ago", profileName(p.Name), end.UTC().Format(time.RFC3339), v.Now.Sub(end).Round(time.Second)).
			because("AWS refuses every call with ExpiredToken").
			remedy("write it again: oidc-broker aws profile --profile NAME; --mode process renews by itself"))
	}
	return all
}

func awsFilesWritable(v *view) []Finding {
	var all []Finding
	seen := map[string]bool{}
	for _, f := range v.aws().files {
		path := v.abs(f.path)
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real
		}
		if f.info != nil && v.mounted(path) {
			all = append(all, notes("%s is mounted as a single file", v.place(f.path)).
				because("it cannot be replaced at once: a tool that reads it during a write finds half of it").
				remedy("mount the directory that it is in, or name another file with AWS_SHARED_CREDENTIALS_FILE or AWS_CONFIG_FILE"))
			continue
		}
		dir := filepath.Dir(path)
		if seen[dir] {
			continue
		}
		seen[dir] = true
		if err := writable(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			all = append(all, warns("%s cannot be written to: %v", v.place(filepath.Dir(f.path)), unwrapped(err)).
				because("'oidc-broker aws profile' and 'aws configure' fail; the AWS CLI keeps its cache there, too").
				remedy("mount it writable, or name files elsewhere with AWS_SHARED_CREDENTIALS_FILE and AWS_CONFIG_FILE; env and exec work without"))
		}
	}
	return all
}

// mountPoint says whether a path is where something is mounted (Linux).
func mountPoint(path string) bool {
	b, err := files.Read("/proc/self/mountinfo", 4<<20)
	if err != nil {
		return false
	}
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for line := range strings.Lines(string(b)) {
		if words := strings.Fields(line); len(words) > 4 && unescape.Replace(words[4]) == path {
			return true
		}
	}
	return false
}
