package aws

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/broker"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/ini"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/pkg/internal/shell"
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
	// BashEnv are the variables that other lines of $BASH_ENV set in later steps, with
	// the value as it is written there. This step's environment may not have them yet.
	BashEnv map[string]string
	Files   Files
	// Config is what the files hold, with what is written into them. Unreadable says,
	// by file, why botocore refuses it.
	Config     Config
	Unreadable []error
}

// ReadBashEnv adds what $BASH_ENV, the file at path, sets in later steps.
func (d *Delivery) ReadBashEnv(path string) {
	if path == "" {
		return
	}
	d.Block = shell.HasBlock(path, "aws")
	d.BlockKey = shell.BlockValue(path, "aws", "AWS_ACCESS_KEY_ID").Reveal()
	d.BashEnv = shell.LaterVariables(path, "aws")
}

// A DeliveredProfile is a profile that a command writes.
type DeliveredProfile struct {
	Name    string
	Region  string // "" where none is known
	Process bool   // it calls this program
}

// lookup returns a variable as later steps have it.
func (d *Delivery) lookup(name string) (string, bool) {
	if value, ok := d.BashEnv[name]; ok {
		return value, true
	}
	return d.Lookup(name)
}

func (d *Delivery) get(name string) string {
	value, _ := d.lookup(name)
	return strings.TrimSpace(value)
}

// computed says that a value is known to the shell alone.
func (d *Delivery) computed(name string) bool {
	return strings.ContainsAny(d.BashEnv[name], "$`")
}

// where says what sets a variable.
func (d *Delivery) where(name string) string {
	if _, ok := d.BashEnv[name]; ok {
		return "in $BASH_ENV"
	}
	return "in this job"
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
	case n == 0:
		return "a profile"
	case n == 1:
		return "the profile " + names[0]
	case n > most:
		return fmt.Sprintf("the profiles %s and %d more", strings.Join(names[:most], ", "), n-most)
	}
	return "the profiles " + strings.Join(names, ", ")
}

// A conflictRule finds what can keep the next tool from what was delivered.
type conflictRule struct {
	name    string // shown by nobody: the tests demand that each rule is reached
	check   string // of doctor's, that reports it; "": one that finds it in every profile does
	applies delivered
	find    func(*Delivery) []broker.Conflict
}

// delivered says to what a rule applies.
type delivered int

const (
	toProfile     delivered = iota
	toEnvironment           // credentials in variables
	withoutAny              // to a profile, and to doctor where there is none
)

// conflictRules are all rules, in the order in which the SDKs look. A rule returns
// nothing where it does not apply.
var conflictRules = []conflictRule{
	{"inherited", "", toProfile, (*Delivery).inherited},
	{"keys", "aws-shadowed", toProfile, (*Delivery).keys},
	{"half a pair", "", toProfile, (*Delivery).halfPair},
	{"block", "aws-shadowed", toProfile, (*Delivery).block},
	{"web identity", "aws-shadowed", toProfile, (*Delivery).webIdentity},
	{"half a web identity", "aws-web-identity", withoutAny, (*Delivery).halfWebIdentity},
	{"named profile", "aws-profile", withoutAny, (*Delivery).namedProfile},
	{"region", "aws-region", withoutAny, (*Delivery).region},
	{"path", "aws-file-path", withoutAny, (*Delivery).path},
	{"file", "", toEnvironment, (*Delivery).file},
	{"default profile", "", toEnvironment, (*Delivery).defaultProfile},
	{"later lines", "", toEnvironment, (*Delivery).laterLines},
}

// Conflicts are why the next tool would not use what is delivered.
func (d Delivery) Conflicts() []broker.Conflict {
	var all []broker.Conflict
	for _, rule := range conflictRules {
		if (rule.applies == toEnvironment) == (len(d.Profiles) == 0) {
			all = append(all, rule.find(&d)...)
		}
	}
	return all
}

// ConflictsFor are those that one of doctor's checks reports.
func (d Delivery) ConflictsFor(check string) []broker.Conflict {
	var all []broker.Conflict
	for _, rule := range conflictRules {
		if rule.check == check && (rule.applies == withoutAny || len(d.Profiles) > 0) {
			all = append(all, rule.find(&d)...)
		}
	}
	return all
}

// ConflictChecks are the checks of doctor's that report conflicts.
func ConflictChecks() []string {
	var all []string
	for _, rule := range conflictRules {
		if rule.check != "" && !slices.Contains(all, rule.check) {
			all = append(all, rule.check)
		}
	}
	return all
}

// inherited refuses a profile that [DEFAULT] gives another way to credentials.
func (d *Delivery) inherited() []broker.Conflict {
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
				return []broker.Conflict{{
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
func (d *Delivery) keys() []broker.Conflict {
	id := d.get("AWS_ACCESS_KEY_ID")
	switch {
	case id == "" && d.get("AWS_ACCESS_KEY") != "" && (d.get("AWS_SECRET_KEY") != "" || d.get("AWS_SECRET_ACCESS_KEY") != ""):
		return []broker.Conflict{{
			Message: fmt.Sprintf("AWS_ACCESS_KEY is set %s: Go programs and Terraform take it before %s", d.where("AWS_ACCESS_KEY"), d.profiles()),
			Remedy:  "unset AWS_ACCESS_KEY and AWS_SECRET_KEY",
		}}
	case id == "", d.get("AWS_SECRET_ACCESS_KEY") == "", id == d.BlockKey: // the block's own rule
		return nil
	}
	return []broker.Conflict{{
		Message: fmt.Sprintf("AWS_ACCESS_KEY_ID is set %s and takes precedence over %s", d.where("AWS_ACCESS_KEY_ID"), d.profiles()),
		Remedy:  "unset it, or name the profile in each command (--profile)",
	}}
}

func (d *Delivery) halfPair() []broker.Conflict {
	if d.get("AWS_ACCESS_KEY_ID") == "" || d.get("AWS_SECRET_ACCESS_KEY") != "" {
		return nil
	}
	return []broker.Conflict{{
		Message: fmt.Sprintf("AWS_ACCESS_KEY_ID is set %s without AWS_SECRET_ACCESS_KEY: the AWS CLI and boto3 refuse to read %s", d.where("AWS_ACCESS_KEY_ID"), d.profiles()),
		Remedy:  "unset AWS_ACCESS_KEY_ID", Stops: true,
	}}
}

func (d *Delivery) block() []broker.Conflict {
	if !d.Block {
		return nil
	}
	return []broker.Conflict{{
		Message: "$BASH_ENV holds credentials of 'aws env --bash-env', which take precedence over " + d.profiles() + " in later steps",
		Remedy:  "use one of the two, or name the profile (--profile)",
	}}
}

func (d *Delivery) webIdentity() []broker.Conflict {
	const name = "AWS_WEB_IDENTITY_TOKEN_FILE"
	if d.get(name) == "" || d.get("AWS_ROLE_ARN") == "" {
		return nil
	}
	return []broker.Conflict{{
		Message: fmt.Sprintf("%s and AWS_ROLE_ARN are set %s: the SDKs assume that role before they read %s", name, d.where(name), d.profiles()),
		Remedy:  "unset the first, or name the profile (--profile)",
	}}
}

func (d *Delivery) halfWebIdentity() []broker.Conflict {
	const name = "AWS_WEB_IDENTITY_TOKEN_FILE"
	if d.get(name) == "" || d.get("AWS_ROLE_ARN") != "" {
		return nil
	}
	return []broker.Conflict{{
		Message: fmt.Sprintf("%s is set %s without AWS_ROLE_ARN: the SDKs refuse to read %s", name, d.where(name), d.profiles()),
		Remedy:  "unset it", Stops: true,
	}}
}

// namedProfile are the variables that name another profile than one that is written
// or that takes its credentials from one, or one that is not there.
func (d *Delivery) namedProfile() []broker.Conflict {
	var all []broker.Conflict
	for _, name := range []string{"AWS_PROFILE", "AWS_DEFAULT_PROFILE"} {
		value, set := d.lookup(name)
		_, found := d.Config.Find(strings.TrimSpace(value))
		switch {
		case !set, d.computed(name):
		case value == "":
			if _, other := d.lookup("AWS_DEFAULT_PROFILE"); name == "AWS_PROFILE" && other {
				continue // botocore reads that one first
			}
			all = append(all, broker.Conflict{
				Message: fmt.Sprintf("%s is set and empty %s: the AWS CLI and boto3 look for a profile without a name", name, d.where(name)),
				Remedy:  "unset " + name, Stops: true,
			})
		case !found && len(d.Unreadable) == 0:
			all = append(all, broker.Conflict{
				Message: fmt.Sprintf("%s is %q %s, which no AWS file has: the AWS CLI and the SDKs refuse to start", name, value, d.where(name)),
				Remedy:  "unset it, or set it to the profile", Stops: true,
			})
		case len(d.Profiles) > 0 && !d.leadsToDelivered(strings.TrimSpace(value)):
			all = append(all, broker.Conflict{
				Message: fmt.Sprintf("%s is %q %s: the AWS CLI and the SDKs use that profile and not %s", name, value, d.where(name), d.profiles()),
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

// region are the variables that take precedence over a profile's region. The AWS CLI
// v1 and boto3 read AWS_DEFAULT_REGION alone, Node and Java AWS_REGION alone.
func (d *Delivery) region() []broker.Conflict {
	const first, second = "AWS_REGION", "AWS_DEFAULT_REGION"
	one, two := d.get(first), d.get(second)
	if one == two && one != "" {
		return d.regionOf(one, first, second)
	}
	all := append(d.regionOf(one, first), d.regionOf(two, second)...)
	if len(all) == 0 && one != "" && two != "" && !d.computed(first) && !d.computed(second) {
		return []broker.Conflict{{
			Message: fmt.Sprintf("AWS_REGION is %s and AWS_DEFAULT_REGION is %s: boto3 and the AWS CLI v1 take the second, other programs the first", one, two),
			Remedy:  "set both to the same region; 'oidc-broker aws env --region' does",
		}}
	}
	return all
}

// regionOf is what variables with a value do to the profiles that have another region.
func (d *Delivery) regionOf(value string, names ...string) []broker.Conflict {
	var differ []string
	region := ""
	for _, p := range d.Profiles {
		if value != "" && p.Region != "" && p.Region != value && !d.computed(names[0]) {
			differ = append(differ, strconv.Quote(p.Name))
			region = p.Region
		}
	}
	if len(differ) == 0 {
		return nil
	}
	is, overrides, it := "is", "overrides", "it"
	if len(names) > 1 {
		is, overrides, it = "are", "override", "them"
	}
	return []broker.Conflict{{
		Message: fmt.Sprintf("%s %s %s %s, and %s the region of %s", strings.Join(names, " and "), is, value, d.where(names[0]), overrides, profilesNamed(differ)),
		Remedy:  fmt.Sprintf("unset %s, or set %[1]s to %s", it, region),
	}}
}

// path are variables that name the files to the next tool in another way.
func (d *Delivery) path() []broker.Conflict {
	var all []broker.Conflict
	for _, name := range []string{"AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"} {
		switch value := d.get(name); {
		case value == "":
		case strings.HasPrefix(value, "~"):
			all = append(all, broker.Conflict{
				Message: name + " begins with ~, which Go programs and Terraform do not expand: they look in another place",
				Remedy:  "set it to the path in full",
			})
		case !filepath.IsAbs(value):
			all = append(all, broker.Conflict{
				Message: name + " is a relative path: a tool in another directory looks in another place",
				Remedy:  "set it to the path in full",
			})
		}
	}
	return all
}

// file are the files that botocore refuses, before it looks at the keys in the
// environment.
func (d *Delivery) file() []broker.Conflict {
	var all []broker.Conflict
	for _, err := range d.Unreadable {
		c := broker.Conflict{Message: fmt.Sprintf("the AWS CLI and boto3 refuse to start, even with keys in the environment: %v", err)}
		if hints := fault.Hints(err); len(hints) > 0 {
			c.Remedy = hints[0]
		}
		all = append(all, c)
	}
	return all
}

// defaultProfile is a default profile that Go programs refuse, before they look at the
// keys in the environment.
func (d *Delivery) defaultProfile() []broker.Conflict {
	for _, p := range d.Config.Problems(d.get) {
		got, _ := d.Config.Resolve("default", d.get)
		if p.AlsoUnused && slices.Contains(got.Profiles, p.Profile) {
			c := broker.Conflict{Message: fmt.Sprintf("Go programs refuse to start, even with keys in the environment: the profile %q %s", p.Profile, p.Message), Remedy: p.Remedy}
			if p.Other != "" {
				c.Message += " " + strconv.Quote(p.Other)
			}
			return []broker.Conflict{c}
		}
	}
	return nil
}

// laterLines are lines of $BASH_ENV behind our block that break the keys in it, which
// the SDKs take before a profile that is there.
func (d *Delivery) laterLines() []broker.Conflict {
	later := Delivery{BashEnv: d.BashEnv, Config: d.Config, Unreadable: d.Unreadable, Lookup: func(string) (string, bool) { return "", false }}
	all := later.namedProfile()
	if later.get("AWS_SECURITY_TOKEN") != "" {
		all = append(all, broker.Conflict{
			Message: "AWS_SECURITY_TOKEN is set in $BASH_ENV: the AWS CLI and boto3 take it in place of AWS_SESSION_TOKEN, and AWS refuses the keys",
			Remedy:  "remove the line", Stops: true,
		})
	}
	return all
}

// ReadConfig reads both files as they will be after edits, in their order. A file that
// botocore refuses, or that cannot be read, is among the errors, and what is before the
// mistake in the Config.
func (f Files) ReadConfig(edits ...files.Edit) (Config, []error) {
	var sections [2][]ini.Section
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
		if sections[i], err = ini.ReadINI(text); err != nil {
			bad := fault.New(fault.Local, "%q: %w", path, err)
			for _, h := range fault.Hints(err) {
				bad.Hint("%s", h)
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
func (x *Exchange) Preview(name string, files Files) []files.Edit {
	any := secret.New("x")
	return Credentials{AccessKeyID: any, SecretAccessKey: any, SessionToken: any, Region: x.RegionToWrite(files, name)}.StaticProfile(name, files)
}
