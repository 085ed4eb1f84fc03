package cli

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestEveryCommandExplainsItself: each has an example and fits the screen, and
// each option says which variable it can come from.
func TestEveryCommandExplainsItself(t *testing.T) {
	var out bytes.Buffer
	a := &app{World: World{Getenv: func(string) string { return "" }, Stdout: &out, Stderr: &out}}
	root := a.root()
	root.InitDefaultHelpCmd()
	commands := 0
	walk(root, func(c *cobra.Command) {
		if c.Hidden || c.Name() == "help" {
			return
		}
		commands++
		path := c.CommandPath()
		if c.Short == "" || c.Example == "" {
			t.Errorf("%s lacks a description or an example", path)
		}
		out.Reset()
		if err := c.Help(); err != nil {
			t.Error(err)
		}
		for _, line := range strings.Split(out.String(), "\n") {
			// A name that cannot be broken, and an example that is to be pasted, may be longer.
			if len(line) > helpWidth && !strings.Contains(line, "projects/NUMBER/") && !strings.Contains(line, "_IAMCREDENTIALS") && !strings.Contains(c.Example, line) {
				t.Errorf("%s --help: a line of %d columns: %s", path, len(line), line)
			}
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			switch {
			case f.Name == "help", f.Name == "version", f.Name == "claim":
			case path == "oidc-broker token exec" && slices.Contains([]string{"audience", "env", "file", "for"}, f.Name): // their order counts
			case c.Name() == "create-cred-config" && len(f.Annotations[envNote]) == 0: // gcloud's have none
			case len(f.Annotations[envNote]) == 0:
				t.Errorf("%s --%s has no variable", path, f.Name)
			case !strings.Contains(f.Usage, f.Annotations[envNote][0]):
				t.Errorf("%s --%s does not say its variable", path, f.Name)
			}
		})
	})
	if commands < 35 {
		t.Errorf("only %d commands seen", commands)
	}
}

func walk(c *cobra.Command, visit func(*cobra.Command)) {
	visit(c)
	for _, sub := range c.Commands() {
		walk(sub, visit)
	}
}

func TestItems(t *testing.T) {
	for _, row := range []struct {
		in   string
		want string // joined by |, or "error"
	}{
		{"a", "a"},
		{"a b\tc\nd", "a|b|c|d"},
		{"a,b", "a|b"},
		{"arn:aws:iam::1:role/a,b,arn:aws:iam::1:role/c", "arn:aws:iam::1:role/a,b|arn:aws:iam::1:role/c"},
		{",", "error"},
		{"a,", "error"},
		{",a", "error"},
		{"a, b", "a|b"},
		{" a ,\n b\n", "a|b"},
		{"a , b c", "a|b|c"},
		{"a, ,b", "error"},
		{"a ,", "error"},
		{", a", "error"},
		{"", "error"},
		{"a,\u00a0b", "a|b"},
		{"arn:aws:iam::1:role/a, arn:aws:iam::1:role/b,c", "arn:aws:iam::1:role/a|arn:aws:iam::1:role/b,c"},
		{"arn:aws:iam::1:role/a,\n  arn:aws:iam::1:role/b\n", "arn:aws:iam::1:role/a|arn:aws:iam::1:role/b"},
		{"arn:aws:iam::1:role/a,,arn:aws:iam::1:role/b", "error"},
		{"https://a.example/x,https://a.example/y", "https://a.example/x|https://a.example/y"},
		{"a,,b", "error"},
		{"arn:aws:iam::1:role/a,", "error"},
	} {
		got, err := items(row.in)
		joined := strings.Join(got, "|")
		if err != nil {
			joined = "error"
		}
		if joined != row.want {
			t.Errorf("items(%q) = %q, want %q", row.in, joined, row.want)
		}
	}
}

// TestClean: what others wrote becomes one line that a terminal shows as it is,
// and a token that got there in spite of all does not show.
func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain":              "plain",
		"two\nlines\tmore":   "two lines more",
		"\x1b[2Jred":         `\u001b[2Jred`,
		"c1 \u009b31m":       `c1 \u009b31m`,
		"bidi \u202egnihsif": `bidi \u202egnihsif`,
		"bad \xff":           `bad \ufffd`,
		"ümlaut ok":          "ümlaut ok",
		"x eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2kifQ.c2lnbmF0dXJl y": "x [secret] y",
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestChoices: an option that takes one of a few values names them in its help,
// takes each of them, and refuses any other.
func TestChoices(t *testing.T) {
	a := &app{World: World{Getenv: func(string) string { return "" }}}
	seen := 0
	walk(a.root(), func(c *cobra.Command) {
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			choices, ok := f.Annotations[oneOfNote]
			if !ok {
				return
			}
			seen++
			for _, v := range choices {
				if !regexp.MustCompile(`\b` + v + `\b`).MatchString(f.Usage) {
					t.Errorf("%s --%s does not say that there is %s", c.CommandPath(), f.Name, v)
				}
				for _, typed := range []string{v, strings.ToUpper(v)} {
					if err := settleOne(f, typed); err != nil || f.Value.String() != v {
						t.Errorf("%s --%s %s: %q, %v", c.CommandPath(), f.Name, typed, f.Value, err)
					}
				}
			}
			err := settleOne(f, choices[0]+"x")
			if err == nil {
				t.Errorf("%s --%s takes anything", c.CommandPath(), f.Name)
				return
			}
			said := strings.Join(append(fault.Hints(err), err.Error()), "\n")
			for _, v := range append([]string{choices[0] + `x"`}, choices...) {
				if !strings.Contains(said, v) || len(err.Error()) > 120 {
					t.Errorf("%s --%s does not name %s: %s", c.CommandPath(), f.Name, v, said)
				}
			}
		})
	})
	if seen < 10 {
		t.Errorf("only %d options seen", seen)
	}
}

// settleOne settles one option from its variable.
func settleOne(f *pflag.Flag, value string) error {
	return settle(pflag.NewFlagSet("", pflag.ContinueOnError), f, func(string) string { return value })
}
