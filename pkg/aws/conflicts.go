package aws

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/deliver"
	"github.com/oidc-broker/oidc-broker/pkg/fault"
	"github.com/oidc-broker/oidc-broker/pkg/secret"
)

// A Delivery is what a command delivers, and where the next tool will look: all that
// decides whether that tool uses it.
type Delivery struct {
	// Profiles are those that are written; none where the credentials go into an
	// environment, from which Credentials.Environment takes what would hide them.
	Profiles []DeliveredProfile
	// Lookup reads the environment of this step, which is that of the next as far as
	// anybody can know here.
	Lookup func(string) (string, bool)
	// Block says that $BASH_ENV has a block of ours, and BlockKey is the
	// AWS_ACCESS_KEY_ID that it sets in later steps.
	Block    bool
	BlockKey string
	// BashEnv are variables that other lines of $BASH_ENV set in later steps.
	BashEnv []string
	Files   Files
	// Config is what the files hold, with what is written into them. Unreadable says,
	// by file, why botocore refuses it.
	Config     Config
	Unreadable []error
}

// A DeliveredProfile is a profile that a command writes.
type DeliveredProfile struct {
	Name    string
	Region  string // "" where none is known
	Process bool   // it calls this program
}

func (d *Delivery) get(name string) string {
	value, _ := d.Lookup(name)
	return strings.TrimSpace(value)
}

// profiles names those that are written.
func (d *Delivery) profiles() string {
	var names []string
	for _, p := range d.Profiles {
		names = append(names, strconv.Quote(p.Name))
	}
	return profilesNamed(names)
}

func profilesNamed(names []string) string {
	const most = 3
	switch n := len(names); {
	case n == 1:
		return "the profile " + names[0]
	case n > most:
		return fmt.Sprintf("the profiles %s and %d more", strings.Join(names[:most], ", "), n-most)
	}
	return "the profiles " + strings.Join(names, ", ")
}

// conflictRules are all that can keep the next tool from what was delivered, in the
// order in which the SDKs look. A rule returns nothing where it does not apply.
var conflictRules = []struct {
	// name is shown by nobody: the tests demand that each rule is reached.
	name    string
	profile bool // for profiles; false: for an environment
	find    func(*Delivery) []deliver.Conflict
}{
	{"inherited", true, (*Delivery).inherited},
	{"keys", true, (*Delivery).keys},
	{"block", true, (*Delivery).block},
	{"web identity", true, (*Delivery).webIdentity},
	{"named profile", true, (*Delivery).namedProfile},
	{"later lines", true, (*Delivery).laterLines},
	{"region", true, (*Delivery).region},
	{"path", true, (*Delivery).path},
	{"file", false, (*Delivery).file},
	{"default profile", false, (*Delivery).defaultProfile},
}

// Conflicts are why the next tool would not use what is delivered.
func (d Delivery) Conflicts() []deliver.Conflict {
	var all []deliver.Conflict
	for _, rule := range conflictRules {
		if rule.profile == (len(d.Profiles) > 0) {
			all = append(all, rule.find(&d)...)
		}
	}
	return all
}

// inherited refuses a profile that [DEFAULT] gives another way to credentials.
func (d *Delivery) inherited() []deliver.Conflict {
	python := d.Config.InPython()
	for _, p := range d.Profiles {
		want := byKeys
		if p.Process {
			want = byProcess
		}
		merged, ok := python.Find(p.Name)
		if !ok {
			continue // a file that could not be read
		}
		got, _ := python.Resolve(p.Name, d.get)
		if got.Way == want && (p.Process || !merged.has("aws_security_token")) {
			continue
		}
		for _, file := range []struct{ name, path string }{{"config", d.Files.Config}, {"credentials", d.Files.Credentials}} {
			if keys := d.Config.InheritedKeys(file.name); len(keys) > 0 {
				return []deliver.Conflict{{
					Message: fmt.Sprintf("the AWS CLI and boto3 would use %s of [DEFAULT] in the profile %q: %q", strings.Join(keys, ", "), p.Name, file.path),
					Remedy:  "name the section [default], in lower case, or remove " + strings.Join(keys, ", ") + " from it",
					Never:   fault.Local,
				}}
			}
		}
	}
	return nil
}

// keys are the first that every SDK takes, unless a profile is named on the command
// line or in the program.
func (d *Delivery) keys() []deliver.Conflict {
	id := d.get("AWS_ACCESS_KEY_ID")
	switch {
	case id == "" && d.get("AWS_ACCESS_KEY") != "" && (d.get("AWS_SECRET_KEY") != "" || d.get("AWS_SECRET_ACCESS_KEY") != ""):
		return []deliver.Conflict{{
			Message: "AWS_ACCESS_KEY is set in this job: Go programs and Terraform take it before " + d.profiles(),
			Remedy:  "unset AWS_ACCESS_KEY and AWS_SECRET_KEY",
		}}
	case id == "" || d.Block && id == d.BlockKey: // the block's own rule
		return nil
	case d.get("AWS_SECRET_ACCESS_KEY") == "":
		return []deliver.Conflict{{
			Message: "AWS_ACCESS_KEY_ID is set in this job without AWS_SECRET_ACCESS_KEY: the AWS CLI and boto3 refuse to read " + d.profiles(),
			Remedy:  "unset AWS_ACCESS_KEY_ID",
		}}
	}
	return []deliver.Conflict{{
		Message: "AWS_ACCESS_KEY_ID is set in this job and takes precedence over " + d.profiles(),
		Remedy:  "unset it, or name the profile in each command (--profile)",
	}}
}

func (d *Delivery) block() []deliver.Conflict {
	if !d.Block {
		return nil
	}
	return []deliver.Conflict{{
		Message: "$BASH_ENV holds credentials of 'aws env --bash-env', which take precedence over " + d.profiles() + " in later steps",
		Remedy:  "use one of the two, or name the profile (--profile)",
	}}
}

func (d *Delivery) webIdentity() []deliver.Conflict {
	if d.get("AWS_WEB_IDENTITY_TOKEN_FILE") == "" {
		return nil
	}
	c := deliver.Conflict{
		Message: "AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN are set in this job: the SDKs assume that role before they read " + d.profiles(),
		Remedy:  "unset the first, or name the profile (--profile)",
	}
	if d.get("AWS_ROLE_ARN") == "" {
		c.Message = "AWS_WEB_IDENTITY_TOKEN_FILE is set in this job without AWS_ROLE_ARN: the SDKs refuse to read " + d.profiles()
		c.Remedy = "unset it"
	}
	return []deliver.Conflict{c}
}

// namedProfile are the variables that name another profile than one that is written
// or that takes its credentials from one.
func (d *Delivery) namedProfile() []deliver.Conflict {
	var all []deliver.Conflict
	for _, name := range []string{"AWS_PROFILE", "AWS_DEFAULT_PROFILE"} {
		value, set := d.Lookup(name)
		switch {
		case !set:
		case value == "":
			if _, other := d.Lookup("AWS_DEFAULT_PROFILE"); name == "AWS_PROFILE" && other {
				continue // botocore reads that one first
			}
			all = append(all, deliver.Conflict{
				Message: name + " is set and empty in this job: the AWS CLI and boto3 look for a profile without a name",
				Remedy:  "unset " + name,
			})
		case !d.leadsToDelivered(strings.TrimSpace(value)):
			all = append(all, deliver.Conflict{
				Message: fmt.Sprintf("%s is %q in this job: the AWS CLI and the SDKs use that profile and not %s", name, value, d.profiles()),
				Remedy:  "unset it, or set it to the profile",
			})
		}
	}
	return all
}

// leadsToDelivered says whether a profile is one that is written, or assumes a role
// with the credentials of one.
func (d *Delivery) leadsToDelivered(name string) bool {
	got, problem := d.Config.Resolve(name, d.get)
	last := got.Profiles[len(got.Profiles)-1]
	return problem == nil && slices.ContainsFunc(d.Profiles, func(p DeliveredProfile) bool { return p.Name == last })
}

// laterVariables are those by which a line in $BASH_ENV hides a profile.
func laterVariables() []string {
	return []string{"AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"}
}

// laterLines are what this step does not see yet: a line in $BASH_ENV that an earlier
// command of this step added, or that this step's shell did not read.
func (d *Delivery) laterLines() []deliver.Conflict {
	var names []string
	for _, name := range d.BashEnv {
		if _, set := d.Lookup(name); !set && slices.Contains(laterVariables(), name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return []deliver.Conflict{{
		Message: fmt.Sprintf("$BASH_ENV sets %s, which takes precedence over %s in later steps", strings.Join(names, ", "), d.profiles()),
		Remedy:  "remove the line, or name the profile (--profile)",
	}}
}

// region are the variables that take precedence over a profile's region. The AWS CLI
// v1 and boto3 read AWS_DEFAULT_REGION alone, Node and Java AWS_REGION alone.
func (d *Delivery) region() []deliver.Conflict {
	one, two := d.get("AWS_REGION"), d.get("AWS_DEFAULT_REGION")
	if one != two {
		return append(d.regionOf("AWS_REGION is %s", "it", one), d.regionOf("AWS_DEFAULT_REGION is %s", "it", two)...)
	}
	return d.regionOf("AWS_REGION and AWS_DEFAULT_REGION are %s", "them", one)
}

// regionOf is what variables with a value do to the profiles that have another region.
func (d *Delivery) regionOf(are, them, value string) []deliver.Conflict {
	var differ []string
	region := ""
	for _, p := range d.Profiles {
		if value != "" && p.Region != "" && p.Region != value {
			differ = append(differ, strconv.Quote(p.Name))
			region = p.Region
		}
	}
	if len(differ) == 0 {
		return nil
	}
	return []deliver.Conflict{{
		Message: fmt.Sprintf(are+" in this job, and override%s the region of %s", value, map[string]string{"it": "s"}[them], profilesNamed(differ)),
		Remedy:  fmt.Sprintf("unset %s, or set %[1]s to %s", them, region),
	}}
}

// path are variables that name the files to the next tool in another way.
func (d *Delivery) path() []deliver.Conflict {
	var all []deliver.Conflict
	for _, name := range []string{"AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"} {
		switch value := d.get(name); {
		case value == "":
		case strings.HasPrefix(value, "~"):
			all = append(all, deliver.Conflict{
				Message: name + " begins with ~, which Go programs and Terraform do not expand: they look in another place",
				Remedy:  "set it to the path in full",
			})
		case !filepath.IsAbs(value):
			all = append(all, deliver.Conflict{
				Message: name + " is a relative path: a tool in another directory looks in another place",
				Remedy:  "set it to the path in full",
			})
		}
	}
	return all
}

// file are the files that botocore refuses, before it looks at the keys in the
// environment.
func (d *Delivery) file() []deliver.Conflict {
	var all []deliver.Conflict
	for _, err := range d.Unreadable {
		c := deliver.Conflict{Message: fmt.Sprintf("the AWS CLI and boto3 refuse to start, even with keys in the environment: %v", err)}
		if hints := fault.Hints(err); len(hints) > 0 {
			c.Remedy = hints[0]
		}
		all = append(all, c)
	}
	return all
}

// defaultProfile is a default profile that Go programs refuse, before they look at the
// keys in the environment.
func (d *Delivery) defaultProfile() []deliver.Conflict {
	for _, p := range d.Config.Problems(d.get) {
		got, _ := d.Config.Resolve("default", d.get)
		if p.AlsoUnused && slices.Contains(got.Profiles, p.Profile) {
			c := deliver.Conflict{Message: fmt.Sprintf("Go programs refuse to start, even with keys in the environment: the profile %q %s", p.Profile, p.Message), Remedy: p.Remedy}
			if p.Other != "" {
				c.Message += " " + strconv.Quote(p.Other)
			}
			return []deliver.Conflict{c}
		}
	}
	return nil
}

// ReadConfig reads both files as they will be after edits, in their order. A file that
// botocore refuses, or that cannot be read, is among the errors, and what is before the
// mistake in the Config.
func (f Files) ReadConfig(edits ...secret.Edit) (Config, []error) {
	var sections [2][]deliver.INISection
	var refused []error
	for i, path := range []string{f.Credentials, f.Config} {
		text, err := readRegular(path)
		if err != nil {
			refused = append(refused, err)
			continue
		}
		for _, e := range edits {
			if e.Path != path {
				continue
			}
			if after, err := e.Apply(text); err == nil { // else writing it says so
				text = after
			}
		}
		if sections[i], err = deliver.ReadINI(text); err != nil {
			bad := fault.New(fault.Local, "%q: %w", path, err)
			for _, h := range fault.Hints(err) {
				_ = bad.Hint("%s", h)
			}
			refused = append(refused, bad)
		}
	}
	return NewConfig(sections[0], sections[1]), refused
}

// RegionToWrite is the region that a profile is to get: none where its own section
// names it already, and no option gave another.
func (x *Exchange) RegionToWrite(files Files, profile string) string {
	if x.regionFrom == "" {
		return x.Region
	}
	config, _ := files.ReadConfig()
	if p, _ := config.Find(profile); p.Value("region") == x.Region {
		return ""
	}
	return x.Region
}

// Preview are the edits of StaticProfile with credentials that are not there yet.
func (x *Exchange) Preview(name string, files Files) []secret.Edit {
	any := secret.New("x")
	return Credentials{AccessKeyID: any, SecretAccessKey: any, SessionToken: any, Region: x.RegionToWrite(files, name)}.StaticProfile(name, files)
}
