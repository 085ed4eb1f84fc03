package aws

import (
	"slices"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/ini"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
)

// Config is what the SDKs read in the two AWS files. It is one model for all who ask
// what an SDK would do: the conflicts, the region and doctor.
type Config struct {
	// Profiles are those that botocore finds, in the order in which they are written,
	// with what their own sections hold.
	Profiles []Profile
	// Unread are headers in which no SDK, or not every one, finds the profile that
	// somebody meant.
	Unread []UnreadSection
	// Inherited are the keys of upper-case [DEFAULT], which Python's parser gives to
	// every section of the same file; the SDKs of other languages do not.
	Inherited struct{ Credentials, Config map[string]secret.Value }
	// TwoDefaults says that the config file has [default] and [profile default].
	TwoDefaults bool

	ssoSessions map[string]bool
}

// An UnreadSection is a section that looks like a profile and is none.
type UnreadSection struct {
	Header string // between the brackets
	Line   int
	File   string // credentials, config
	Meant  string // the header to write
}

const inheritedSection = "DEFAULT"

// NewConfig takes the sections of the two files for what botocore takes them for.
func NewConfig(credentials, config []ini.Section) Config {
	c := Config{ssoSessions: map[string]bool{}}
	at := map[string]int{}
	of := func(name string) *Profile {
		i, ok := at[name]
		if !ok {
			i = len(c.Profiles)
			at[name] = i
			c.Profiles = append(c.Profiles, Profile{Name: name})
		}
		return &c.Profiles[i]
	}
	for _, s := range credentials {
		if s.Name == inheritedSection {
			c.Inherited.Credentials = add(c.Inherited.Credentials, s.Settings)
			continue
		}
		if name, ok := strings.CutPrefix(s.Name, "profile "); ok {
			c.Unread = append(c.Unread, UnreadSection{s.Name, s.Line, "credentials", strings.TrimSpace(name)})
		} else if trimmed := strings.TrimSpace(s.Name); trimmed != s.Name || s.Name != "default" && strings.EqualFold(s.Name, "default") {
			c.Unread = append(c.Unread, UnreadSection{s.Name, s.Line, "credentials", meantName(trimmed)})
		}
		p := of(s.Name)
		p.Credentials = add(p.Credentials, s.Settings)
	}
	defaults := map[string]bool{}
	for _, s := range config {
		if s.Name == inheritedSection {
			c.Inherited.Config = add(c.Inherited.Config, s.Settings)
			continue
		}
		name, ok := ini.ConfigProfile(s.Name)
		if !ok {
			c.other(s)
			continue
		}
		defaults[s.Name] = name == "default"
		p := of(name)
		p.Config = add(p.Config, s.Settings)
	}
	both := 0
	for _, isDefault := range defaults {
		if isDefault {
			both++
		}
	}
	c.TwoDefaults = both > 1
	return c
}

// other looks at a section of the config file that is no profile.
func (c *Config) other(s ini.Section) {
	words := strings.Fields(s.Name)
	switch first := words[:min(1, len(words))]; {
	case len(words) == 0:
	case first[0] == "sso-session":
		if len(words) == 2 {
			c.ssoSessions[strings.Trim(words[1], `"'`)] = true
		}
	case first[0] == "services", first[0] == "preview", first[0] == "plugins", first[0] == "toplevel":
	case strings.EqualFold(first[0], "profile") && len(words) == 2:
		c.Unread = append(c.Unread, UnreadSection{s.Name, s.Line, "config", "profile " + words[1]})
	case strings.HasPrefix(strings.ToLower(first[0]), "profile"), strings.EqualFold(strings.TrimSpace(s.Name), "default"):
		c.Unread = append(c.Unread, UnreadSection{s.Name, s.Line, "config", meantHeader(s.Name)})
	default:
		if slices.ContainsFunc(s.Settings, func(set ini.Entry) bool { return profileKey(set.Key) }) {
			c.Unread = append(c.Unread, UnreadSection{s.Name, s.Line, "config", "profile " + s.Name})
		}
	}
}

func meantName(name string) string {
	if strings.EqualFold(name, "default") {
		return "default"
	}
	return name
}

func meantHeader(header string) string {
	header = strings.TrimSpace(header)
	if strings.EqualFold(header, "default") {
		return "default"
	}
	return `profile NAME`
}

// profileKey says whether a key is one that only a profile has.
func profileKey(key string) bool {
	return key == "region" || key == "output" || slices.Contains(keyKeys, key) || slices.Contains(otherKeys, key)
}

// Profiles are the profiles that botocore finds in the sections of the two files.
func Profiles(credentials, config []ini.Section) []Profile {
	return NewConfig(credentials, config).Profiles
}

// Find returns a profile by its name.
func (c Config) Find(name string) (Profile, bool) {
	for _, p := range c.Profiles {
		if p.Name == name {
			return p, true
		}
	}
	return Profile{Name: name}, false
}

// InPython returns the files as botocore sees them, with what [DEFAULT] adds.
func (c Config) InPython() Config {
	merged := c
	merged.Profiles = make([]Profile, len(c.Profiles))
	for i, p := range c.Profiles {
		merged.Profiles[i] = Profile{
			Name:        p.Name,
			Credentials: inherit(p.Credentials, c.Inherited.Credentials),
			Config:      inherit(p.Config, c.Inherited.Config),
		}
	}
	return merged
}

func inherit(own, inherited map[string]secret.Value) map[string]secret.Value {
	if own == nil || len(inherited) == 0 {
		return own
	}
	all := make(map[string]secret.Value, len(own)+len(inherited))
	for _, from := range []map[string]secret.Value{inherited, own} {
		for key, value := range from {
			all[key] = value
		}
	}
	return all
}

// InheritedKeys are the keys of [DEFAULT] in one of the files by which botocore would
// find other credentials, in the order in which a profile's are removed.
func (c Config) InheritedKeys(file string) []string {
	from := c.Inherited.Config
	if file == "credentials" {
		from = c.Inherited.Credentials
	}
	var keys []string
	for _, key := range slices.Concat(keyKeys, otherKeys) {
		if _, ok := from[key]; ok {
			keys = append(keys, key)
		}
	}
	return keys
}

// Region returns the region of the first of the profiles that has one, as the SDKs
// take it, and which profile that is. A comment behind it, which only some of them
// take away, is not a part of it.
func (c Config) Region(profiles ...string) (region, profile string) {
	python := c.InPython()
	for _, name := range profiles {
		p, _ := python.Find(name)
		if region, _ = withoutComment(p.Value("region")); region != "" {
			return region, name
		}
	}
	return "", ""
}

// withoutComment returns a value as Go and JavaScript programs read it: what follows
// a space and # or ; is a comment to them, and a part of the value to the AWS CLI.
func withoutComment(value string) (plain string, commented bool) {
	for _, mark := range []string{" #", " ;", "\t#", "\t;"} {
		if i := strings.Index(value, mark); i >= 0 {
			value, commented = value[:i], true
		}
	}
	return strings.TrimSpace(value), commented
}

// Commented are the keys of a profile whose value ends in what only some SDKs take
// for a comment, sorted.
func (p Profile) Commented() []string {
	var keys []string
	for _, from := range []map[string]secret.Value{p.Credentials, p.Config} {
		for key, value := range from {
			if _, commented := withoutComment(value.Reveal()); commented && !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
	}
	slices.Sort(keys)
	return keys
}
