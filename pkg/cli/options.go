package cli

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/oidc-broker/oidc-broker/pkg/fault"
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
	envNote = "env"
	rawNote = "raw"
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

// list declares an option that can be repeated. In the environment, white
// space and commas separate the values.
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
	o.flags.DurationVar(p, name, def, withEnv(usage, env))
	o.note(name, env)
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
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if first == nil {
			first = settle(f, a.Getenv)
		}
	})
	if first != nil {
		return first
	}
	switch {
	case a.timeout <= 0:
		return fault.New(fault.Usage, "--timeout %s is not more than zero", a.timeout)
	case a.attempts < 1:
		return fault.New(fault.Usage, "--max-attempts %d is less than 1", a.attempts)
	}
	return nil
}

func settle(f *pflag.Flag, getenv func(string) string) error {
	from := "--" + f.Name
	if f.Changed {
		if empty(f) {
			// The classic: --role-arn "$ROLE" with ROLE not set.
			return fault.New(fault.Usage, "%s is empty", from).
				Hint("is the variable behind it set in this step? Leave the option out to take its default")
		}
		return expanded(f, from)
	}
	for _, name := range f.Annotations[envNote] {
		v := strings.TrimSpace(getenv(name))
		if v == "" {
			continue
		}
		if err := fill(f, v); err != nil {
			return fault.New(fault.Usage, "the variable %s has no value that --%s takes", name, f.Name)
		}
		return expanded(f, "the variable "+name)
	}
	return nil
}

// fill sets a flag from a variable's value.
func fill(f *pflag.Flag, v string) error {
	if list, ok := f.Value.(pflag.SliceValue); ok {
		return list.Replace(strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' || r == '\r' }))
	}
	return f.Value.Set(v)
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

// leftover is what an interpolation that did not happen leaves: $NAME, ${NAME}
// of a shell or << x >> of CircleCI's configuration.
const leftover = `\$[A-Za-z_][A-Za-z0-9_]*|\$\{[^}]*\}|<<[^>]*>>`

func expanded(f *pflag.Flag, from string) error {
	if _, raw := f.Annotations[rawNote]; raw {
		return nil
	}
	for _, v := range values(f) {
		if !strings.ContainsAny(v, "$<") {
			continue
		}
		if name := regexp.MustCompile(leftover).FindString(v); name != "" {
			return fault.New(fault.Usage, "%s holds the literal text %s", from, name).
				Hint("nothing expanded it: CircleCI does not interpolate variables in 'environment:', and the shell not within single quotes")
		}
	}
	return nil
}

// oneOf refuses a value that is none of the choices.
func oneOf(option, value string, choices []string) error {
	for _, c := range choices {
		if value == c {
			return nil
		}
	}
	return fault.New(fault.Usage, "--%s %s is none of %s", option, strconv.Quote(value), strings.Join(choices, ", "))
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
