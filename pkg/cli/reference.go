package cli

import (
	"cmp"
	"slices"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Manual is what a command says of itself. The reference and the man pages are
// made of it, by programs that are no part of this one: nothing that it reaches
// calls Reference, so that the linker leaves it all out.
type Manual struct {
	Path                 string   // "oidc-broker aws env"
	Usage                string   // how it is called
	Group                string   // of the ones that the program's own command has
	Groups               []string // in their order
	Short, Long, Example string
	Options              []Option // its own
	Inherited            []Option // those that it shares with its provider's other outputs
	Everywhere           []Option // those that all commands have
	Commands             []Manual
}

// Option is one of a command's options.
type Option struct {
	Name      string // without dashes
	Value     string // what its value is called; "" for a switch
	Usage     string
	Variables []string // that it can come from
}

// Variable is one that is read and belongs to no option.
type Variable struct{ Name, Meaning string }

// Reference describes all commands but the hidden ones.
func Reference() Manual {
	a := &app{World: World{Getenv: func(string) string { return "" }}}
	root := a.root()
	root.InitDefaultHelpCmd()
	return manual(root)
}

func manual(c *cobra.Command) Manual {
	shared := c.Root().PersistentFlags()
	everywhere := func(o Option) bool { return shared.Lookup(o.Name) != nil }
	m := Manual{
		Path: c.CommandPath(), Usage: useLine(c), Group: c.GroupID, Short: c.Short, Long: c.Long, Example: c.Example,
		Options:    slices.DeleteFunc(optionsIn(localFlags(c)), everywhere),
		Inherited:  slices.DeleteFunc(optionsIn(inheritedFlags(c)), everywhere),
		Everywhere: optionsIn(shared),
	}
	for _, g := range c.Groups() {
		m.Groups = append(m.Groups, g.ID)
	}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			m.Commands = append(m.Commands, manual(sub))
		}
	}
	return m
}

func optionsIn(flags *pflag.FlagSet) []Option {
	var all []Option
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		usage = strings.TrimSuffix(usage, withEnv("", strings.Join(f.Annotations[envNote], " ")))
		switch f.DefValue {
		case "", "false", "[]", "0s":
		default:
			usage += " (default " + strings.TrimSuffix(f.DefValue, "0s") + ")"
		}
		all = append(all, Option{Name: f.Name, Value: value, Usage: usage, Variables: f.Annotations[envNote]})
	})
	return all
}

// Walk calls visit for the command and all below it, in the order of the help.
func (m Manual) Walk(visit func(Manual)) {
	visit(m)
	for _, sub := range m.Commands {
		sub.Walk(visit)
	}
}

// Variables are those that belong to no option, in the order of their names.
// Those that only doctor looks at are not among them.
func Variables() []Variable {
	all := []Variable{
		{"AWS_CA_BUNDLE", "file of the authorities to trust at AWS, instead of the system's"},
		{"AWS_CONFIG_FILE", "the AWS config file, instead of ~/.aws/config"},
		{"AWS_ENDPOINT_URL", "another address of AWS's services"},
		{"AWS_ENDPOINT_URL_STS", "another address of AWS's STS, before AWS_ENDPOINT_URL"},
		{"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "the two above are not heeded"},
		{"AWS_SHARED_CREDENTIALS_FILE", "the AWS credentials file, instead of ~/.aws/credentials"},
		{"AWS_USE_DUALSTACK_ENDPOINT", "AWS's endpoints with IPv6"},
		{"AWS_USE_FIPS_ENDPOINT", "AWS's FIPS endpoints"},
		{"AWS_WEB_IDENTITY_TOKEN_FILE", "the file with a pod's token, with --ci kubernetes or where no CI job is detected"},
		{"BAO_TOKEN_PATH", "where vault login writes the token, instead of ~/.vault-token"},
		{"BOTO_CONFIG, BOTO_PATH", "files of boto's: aws exec --refresh refuses keys in the first; gcp env and exec add gsutil's settings to them"},
		{"BASH_ENV", "the file that --bash-env writes"},
		{"CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE", "a file that gcloud takes before the one that is delivered: a note says so"},
		{"CLOUDSDK_ACTIVE_CONFIG_NAME", "gcloud's configuration whose settings would override what is delivered"},
		{"CLOUDSDK_CONFIG, APPDATA", "gcloud's directory, for create-cred-config with a client certificate"},
		{"GOOGLE_APPLICATION_CREDENTIALS", "the file that Google's tools use already, for --if-no-token"},
		{"GOOGLE_EXTERNAL_ACCOUNT_AUDIENCE", "set by Google's libraries, for executable-source"},
		{"GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE", "set by Google's libraries, for executable-source"},
		{"HOME, USERPROFILE, LOCALAPPDATA, XDG_CONFIG_HOME, XDG_STATE_HOME, XDG_CACHE_HOME", "where this program's own files and those of the tools are"},
		{"HTTPS_PROXY, HTTP_PROXY, NO_PROXY", "the proxy, also in lower case"},
		{"OIDC_BROKER_COMPLETION_DESCRIPTIONS", "false: completions come without descriptions"},
		{"CLOUDSDK_CORE_PROJECT", "gcloud's own project: apply says when it overrides a target's project-id"},
		{"PATH", "where the CI system's program that mints, and the commands to run, are"},
		{"SSL_CERT_FILE, SSL_CERT_DIR", "the authorities to trust, instead of the system's"},
		{"TMPDIR", "where a command's private directory goes when there is no usable home directory"},
	}
	for _, s := range ci.Systems() {
		var names []string
		for _, sign := range s.Signs {
			name, _, _ := strings.Cut(sign, "=")
			names = append(names, name)
		}
		all = append(all, Variable{strings.Join(names, ", "), "shows that a job of " + s.Title + " runs"})
		if s.JobName != "" {
			all = append(all, Variable{s.JobName, "the default of --role-session-name in a job of " + s.Title})
		}
		if len(s.Variables) > 0 {
			all = append(all, Variable{strings.Join(s.Variables, ", "), "the token of a job of " + s.Title})
		}
		if len(s.Job) > 0 {
			all = append(all, Variable{strings.Join(s.Job, ", "), "tell whose job's keys are in the cache, where it has no token yet"})
		}
		for _, r := range s.Reads {
			all = append(all, Variable{r[0], r[1]})
		}
	}
	slices.SortFunc(all, func(a, b Variable) int { return cmp.Compare(a.Name, b.Name) })
	return all
}
