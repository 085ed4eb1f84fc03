package cli

import (
	"bytes"
	"context"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A typist runs the program with values that people type by mistake.
type typist struct {
	t      *testing.T
	home   string
	stdin  string
	values map[string]string // what is wrong with a value, by its name
}

func newTypist(t *testing.T) *typist {
	home := t.TempDir()
	t.Chdir(home)
	document := filepath.Join(home, "document")
	if err := os.WriteFile(document, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &typist{t, home, "", map[string]string{
		"empty": "", "a space": " ", "a newline": "\n", "a dash": "-", "a directory": home,
		"a missing file": filepath.Join(home, "missing"), "NUL": "a\x00b", "not UTF-8": "\xff",
		"long": strings.Repeat("a", 200_000), "a comma": ",", "an option": "--help=", "a document": document,
		"brackets": strings.Repeat("[", 5000), "a number": "99999999999999999999",
	}}
}

// run returns the exit code and what was printed on standard error.
func (y *typist) run(args []string, variable, value string) (int, string) {
	var out, errs bytes.Buffer
	env := map[string]string{
		"HOME": y.home, "OIDC_BROKER_MAX_ATTEMPTS": "1",
		"AWS_ROLE_ARN": "arn:aws:iam::111122223333:role/deploy", "OIDC_BROKER_CHAIN_ROLE_ARN": "arn:aws:iam::111122223333:role/next",
		"VAULT_ADDR": "https://vault.example.com", "VAULT_ROLE": "ci", "VAULT_AUTH_PATH": "jwt",
		"GCP_SERVICE_ACCOUNT_EMAIL": "deploy@my-project.iam.gserviceaccount.com", "GOOGLE_PROJECT_NUMBER": "123456789012",
		"GCP_WIP_ID": "circleci", "GCP_WIP_PROVIDER_ID": "main",
	}
	if variable != "" {
		env[variable] = value
	}
	ctx := y.t.Context()
	if args[0] == "sandbox" { // it would serve until it is ended
		cancelled, cancel := context.WithCancel(ctx)
		cancel()
		ctx = cancelled
	}
	status := Main(ctx, World{
		Args: args, Stdin: strings.NewReader(y.stdin), Stdout: &out, Stderr: &errs, Now: time.Now, Transport: offline{y.t},
		Executable: os.Executable, WorkDir: os.Getwd, TempDir: os.TempDir,
		Getenv: func(name string) string { return env[name] },
		Environ: func() []string {
			var all []string
			for name, v := range env {
				all = append(all, name+"="+v)
			}
			return all
		},
	})
	return status, errs.String()
}

// check fails for an internal error.
func (y *typist) check(args []string, variable, value, what string) {
	y.t.Helper()
	status, errs := y.run(args, variable, value)
	if status != 1 && !strings.Contains(errs, "oidc-broker: at:") {
		return
	}
	if len(errs) > 500 {
		errs = errs[:500]
	}
	for i := range args {
		args[i] = args[i][:min(len(args[i]), 60)]
	}
	y.t.Errorf("%s in %q (variable %q): exit %d\n%s", what, args, variable, status, errs)
}

// argumentsOf are those that make a command run as far as it can.
func argumentsOf(c *cobra.Command, file string) []string {
	switch {
	case strings.Contains(c.Use, "-- COMMAND"):
		return []string{"--", "true"}
	case strings.Contains(c.Use, " "):
		return []string{file}
	}
	return nil
}

// TestWhateverIsTyped: no value of any argument, option or variable of any
// command is an internal error.
func TestWhateverIsTyped(t *testing.T) {
	y := newTypist(t)
	a := &app{World: World{Getenv: func(string) string { return "" }, Stdout: io.Discard, Stderr: io.Discard}}
	options, names := 0, slices.Sorted(maps.Keys(y.values))
	walk(a.root(), func(c *cobra.Command) {
		path := strings.Fields(c.CommandPath())[1:]
		if len(path) == 0 {
			return
		}
		rest := argumentsOf(c, y.values["a document"])
		for what, v := range y.values {
			y.check(slices.Concat(path, []string{v}), "", "", what+" as the argument")
			y.check(slices.Concat(path, []string{"--", v}), "", "", what+" after --")
			y.check(slices.Concat(path, []string{v, v}), "", "", what+" twice")
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			options++
			// Each option meets some of the values; all options together meet all.
			for i, what := range names {
				v := y.values[what]
				if what != "empty" && (i+options)%4 != 0 {
					continue
				}
				y.check(slices.Concat(path, []string{"--" + f.Name + "=" + v}, rest), "", "", what+" as --"+f.Name)
				for _, name := range f.Annotations[envNote] {
					if !strings.Contains(v, "\x00") && len(v) < 100_000 { // which no environment holds
						y.check(slices.Concat(path, rest), name, v, what+" as "+name)
					}
				}
			}
		})
	})
	if options < 150 {
		t.Errorf("only %d options seen", options)
	}
}
