package cli

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/shell"
)

// options declares a command's options. Each is settled from its flag, else
// from the first of its environment variables that is set, else by default;
// --help names the variables.
type options struct {
	flags  *pflag.FlagSet
	getenv func(string) string
}

// The annotations of a flag: its environment variables, and that its value is
// taken as it is.
const (
	envNote   = "env"
	rawNote   = "raw"
	groupNote = "group"
	fromNote  = "from"  // the variable that its value came from
	oneOfNote = "oneof" // the values that there are
)

// options returns the declarer of options that c and its subcommands share.
func (a *app) options(c *cobra.Command) options { return declare(c.PersistentFlags(), a) }

// own returns the declarer of options that c alone has.
func (a *app) own(c *cobra.Command) options { return declare(c.Flags(), a) }

func declare(flags *pflag.FlagSet, a *app) options {
	flags.SortFlags = false
	return options{flags, a.Getenv}
}

// text declares an option of one value.
func (o options) text(p *string, name, env, usage string) {
	o.flags.StringVar(p, name, "", withEnv(usage, env))
	o.note(name, env)
}

// raw declares an option whose value may hold what looks like a variable.
func (o options) raw(p *string, name, env, usage string) {
	o.text(p, name, env, usage)
	o.flags.Lookup(name).Annotations[rawNote] = nil
}

// choice declares an option that takes one of a few values.
func (o options) choice(p *string, name, env string, choices []string, usage string) {
	o.text(p, name, env, usage)
	o.flags.Lookup(name).Annotations[oneOfNote] = choices
}

// list declares an option that can be repeated; wholeItems says how its values
// are split.
func (o options) list(p *[]string, name, env, usage string) {
	o.flags.StringArrayVar(p, name, nil, withEnv(usage, env))
	o.note(name, env)
}

// switches declares an option that is on or off.
func (o options) switches(p *bool, name, env, usage string) {
	o.flags.BoolVar(p, name, false, withEnv(usage, env))
	o.note(name, env)
}

func (o options) duration(p *time.Duration, name, env string, def time.Duration, usage string) {
	*p = def
	o.flags.Var((*duration)(p), name, withEnv(usage, env))
	o.note(name, env)
}

// duration is a flag's value: seconds (60), or a number with its unit (1m30s).
type duration time.Duration

func (d *duration) String() string { return time.Duration(*d).String() }
func (d *duration) Type() string   { return "duration" }

func (d *duration) Set(s string) error {
	if n, err := strconv.Atoi(s); err == nil && n >= 0 {
		*d = duration(time.Duration(min(n, 1<<30)) * time.Second)
		return nil
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return errors.New("give seconds (60), or a number with its unit (1m30s)")
	}
	*d = duration(v)
	return nil
}

// exclusive says that the options contradict each other, so that one given by
// its flag makes the variables of the others unheard.
func (o options) exclusive(names ...string) {
	for _, name := range names {
		o.flags.Lookup(name).Annotations[groupNote] = names
	}
}

func (o options) count(p *int, name, env string, def int, usage string) {
	o.flags.IntVar(p, name, def, withEnv(usage, env))
	o.note(name, env)
}

func (o options) note(name, env string) {
	f := o.flags.Lookup(name)
	f.Annotations = map[string][]string{}
	if env != "" {
		f.Annotations[envNote] = strings.Fields(env)
	}
}

func withEnv(usage, env string) string {
	if env == "" {
		return usage
	}
	return usage + " [" + strings.Join(strings.Fields(env), ", ") + "]"
}

// settle fills the options that were given no flag from the environment, and
// refuses values in which a variable was left unexpanded.
func (a *app) settle(c *cobra.Command) error {
	var first error
	fill := func(f *pflag.Flag) {
		getenv := a.Getenv
		if alone := c.Flags().Lookup(ignoreEnvironment); alone != nil && alone.Value.String() == "true" && c.Root().PersistentFlags().Lookup(f.Name) == nil {
			getenv = func(string) string { return "" }
		}
		if first == nil {
			first = settle(c.Flags(), f, getenv)
		}
	}
	if alone := c.Flags().Lookup(ignoreEnvironment); alone != nil {
		fill(alone) // before those that it is about
	}
	c.Flags().VisitAll(fill)
	if first != nil {
		return first
	}
	switch {
	case a.timeout <= 0:
		return fault.New(fault.Usage, "%s %s is not more than zero", fault.Option("timeout"), a.timeout)
	case a.attempts < 1:
		return fault.New(fault.Usage, "%s %d is less than 1", fault.Option("max-attempts"), a.attempts)
	}
	return nil
}

func settle(all *pflag.FlagSet, f *pflag.Flag, getenv func(string) string) error {
	from := "--" + f.Name
	if f.Changed {
		if empty(f) {
			// The classic: --role-arn "$ROLE" with ROLE not set.
			return fault.New(fault.Usage, "%s is empty", from).
				Hint("is the variable behind it set in this step? Leave the option out to take its default")
		}
		if list, ok := f.Value.(pflag.SliceValue); ok && separated(f.Name) {
			if err := fillList(list, f.Name, strings.Join(list.GetSlice(), "\n")); err != nil {
				return fault.New(fault.Usage, "%s: %w", from, err).
					Hint("is the variable behind it set in this step?")
			}
		}
		return checked(f, from)
	}
	for _, other := range f.Annotations[groupNote] {
		if all.Changed(other) {
			return nil
		}
	}
	for _, name := range f.Annotations[envNote] {
		v := strings.TrimSpace(getenv(name))
		if v == "" {
			continue
		}
		if err := fill(f, v); err != nil {
			return fault.New(fault.Usage, "the variable %s has no value that --%s takes: %w", name, f.Name, err)
		}
		f.Annotations[fromNote] = []string{name}
		return checked(f, "the variable "+name)
	}
	return nil
}

// fill sets a flag from a variable's value. Its error never holds the value.
func fill(f *pflag.Flag, v string) error {
	if list, ok := f.Value.(pflag.SliceValue); ok {
		return fillList(list, f.Name, v)
	}
	switch f.Value.Type() {
	case "bool":
		switch strings.ToLower(v) {
		case "1", "true", "yes", "on":
			v = "true"
		case "0", "false", "no", "off":
			v = "false"
		default:
			return errors.New("give true or false")
		}
	case "int":
		if _, err := strconv.Atoi(v); err != nil {
			return errors.New("give a number")
		}
	}
	return f.Value.Set(v)
}

// fillList sets a list from the text that has its items.
func fillList(list pflag.SliceValue, option, v string) error {
	switch {
	case shellLike(option):
		all, err := statements(v)
		if err != nil {
			return err
		}
		return list.Replace(all)
	case !separated(option):
		return list.Replace(lineItems(v))
	}
	all, err := items(v)
	if err != nil {
		return err
	}
	return list.Replace(all)
}

// variable returns a variable that names a file or a place, trimmed. A value
// in which another variable was left is a fault.Usage: tools disagree about
// expanding it.
func (a *app) variable(name string) (string, error) {
	v := strings.TrimSpace(a.Getenv(name))
	if left := shell.Unexpanded(v); left != "" {
		return "", fault.New(fault.Usage, "the variable %s holds the literal text %s", name, left).
			Hint("nothing expanded it: write the path in full")
	}
	if v == "" || filepath.IsAbs(v) {
		return v, nil
	}
	switch {
	case slices.Contains(directoryVariables, name):
		return "", fault.New(fault.Usage, "the variable %s is %q, which is not an absolute path", name, v).
			Hint("keys would go into the working directory, which may be a checkout: write the path in full")
	case slices.Contains(fileVariables, name) && v[0] != '~':
		a.noteOnce(fmt.Sprintf("%s is the relative path %q: a tool that runs in another directory finds another file", name, v))
	}
	return v, nil
}

// What a relative path in a variable means: below a directory there would be keys
// in whatever directory a command runs in; a file was named for that very purpose.
// The XDG variables are in neither list: their specification has programs ignore
// a relative path.
var (
	directoryVariables = []string{"HOME", "USERPROFILE", "LOCALAPPDATA", "APPDATA", "CLOUDSDK_CONFIG", "TMPDIR"}
	fileVariables      = []string{"AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "BASH_ENV", "BAO_TOKEN_PATH"}
)

// tempDir is where directories that end with a command are made.
func (a *app) tempDir() (string, error) {
	if dir, err := a.variable("TMPDIR"); err != nil || dir != "" {
		return dir, err
	}
	return a.TempDir(), nil
}

// environment returns Getenv for a provider that reads the named variables
// itself: trimmed, and refused where one was left unexpanded.
func (a *app) environment(names ...string) (func(string) string, error) {
	read := map[string]string{}
	for _, name := range names {
		v, err := a.variable(name)
		if err != nil {
			return nil, err
		}
		read[name] = v
	}
	return func(name string) string {
		if v, ok := read[name]; ok {
			return v
		}
		return a.Getenv(name)
	}, nil
}

// values are a flag's values.
func values(f *pflag.Flag) []string {
	if list, ok := f.Value.(pflag.SliceValue); ok {
		return list.GetSlice()
	}
	return []string{f.Value.String()}
}

func empty(f *pflag.Flag) bool {
	for _, v := range values(f) {
		if strings.TrimSpace(v) == "" {
			return true
		}
	}
	return false
}

// checked refuses a value in which a variable was left, and one that is none of
// those that there are.
func checked(f *pflag.Flag, from string) error {
	if err := expanded(f, from); err != nil {
		return err
	}
	choices, ok := f.Annotations[oneOfNote]
	if !ok {
		return nil
	}
	v := f.Value.String()
	choice, ok := chosen(choices, v)
	if !ok {
		return fault.NotOneOf(fault.Option(f.Name), v, choices)
	}
	return f.Value.Set(choice)
}

func expanded(f *pflag.Flag, from string) error {
	for _, v := range values(f) {
		if ci.LooksLikeToken(v) {
			// It would end up in a message, a file's name or the cloud's logs.
			return fault.New(fault.Usage, "%s is given a token itself", from).
				Hint("give the token with %s NAME or %s PATH", fault.Option("token-env"), fault.Option("token-file"))
		}
	}
	if _, raw := f.Annotations[rawNote]; raw {
		return nil
	}
	for _, v := range values(f) {
		if name := shell.Unexpanded(v); name != "" {
			return fault.New(fault.Usage, "%s holds the literal text %s", from, name).
				Hint("nothing expanded it: a CI system interpolates variables in a part of its configuration alone, and the shell not within single quotes")
		}
	}
	return nil
}

// table prints rows of two columns.
func table(rows [][2]string) []byte {
	width := 0
	for _, r := range rows {
		width = max(width, len(r[0]))
	}
	var b strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&b, "%-*s  %s\n", width, r[0], printable(r[1]))
	}
	return []byte(b.String())
}
