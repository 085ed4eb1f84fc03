// Package cli is the command line: the only user of cobra, the only printer,
// and the only place that turns errors into exit codes.
//
// What goes where:
//
//	stdout   the result, whole, or nothing
//	stderr   "oidc-broker: error: ..." and then "oidc-broker: hint: ...", a line each, at
//	         most four hints and 160 characters a line, with --verbose all of it;
//	         "oidc-broker: note: ..." for what was changed on the user's behalf;
//	         "oidc-broker: at: ..." for the calls that a bug of ours was in;
//	         a line without a noun for each thing that was written for later steps;
//	         more such lines, of what is done meanwhile, with --verbose
//
// Messages begin in lower case and end without a full stop.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/oidc-broker/oidc-broker/pkg/internal/child"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
)

// World is everything outside the program. main fills it once.
type World struct {
	Args           []string // without the program's name
	Getenv         func(string) string
	Environ        func() []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Now            func() time.Time
	Transport      http.RoundTripper // nil is NewTransport(Getenv)
	// Executable is this program's own file, and TempDirs are the directories whose
	// files may be gone by the next step.
	Executable func() (string, error)
	TempDirs   []string
	TempDir    func() string // where temporary files go
	WorkDir    func() (string, error)
}

// NewTransport returns the program's own transport. getenv is asked for the variables
// that name proxies and authorities.
func NewTransport(getenv func(string) string) *http.Transport { return remote.NewTransport(getenv) }

// Main runs the program and returns its exit code: 0, a fault.Kind, or the
// status of the command that exec or sandbox ran.
func Main(ctx context.Context, w World) (status int) {
	if w.Transport == nil {
		w.Transport = NewTransport(w.Getenv)
	}
	a := &app{World: w, found: &foundTokens{}}
	defer func() {
		if value := recover(); value != nil {
			status = a.crashed(value)
		}
	}()
	if status, done := a.shortcut(ctx); done {
		return status
	}
	root := a.root()
	root.SetArgs(w.Args)
	if completing(w.Args) {
		if err := a.complete(root); err != nil {
			return a.report(err)
		}
	}
	command, err := root.ExecuteContextC(ctx)
	if a.answered(command, err) {
		return 0
	}
	return a.report(err)
}

const (
	defaultTimeout  = time.Minute
	defaultAttempts = 5
)

// app is one run of the program.
type app struct {
	World
	verbose, quiet bool
	timeout        time.Duration
	attempts       int
	reading        context.Context // of the command, in which files and standard input are read
	noted          map[string]bool // see noteOnce
	flags          *pflag.FlagSet  // of the command; nil before it is known
	unrecorded     bool            // what is written is not for cleanup
	addOthers      func()          // the commands that were not made; nil: all were
	found          *foundTokens    // the job's tokens, which exec takes out of the environment
}

// aboutGroup is the group of cobra's own help command, too.
const aboutGroup = "About oidc-broker"

// commands adds the commands: the one that the command line begins with, else all.
// Making all of them is a tenth of a start. A new provider is a line here.
func (a *app) commands(root *cobra.Command) {
	type command struct {
		name string
		make func() *cobra.Command
	}
	groups := []struct {
		title    string
		commands []command
	}{
		{"Credentials for the job", []command{
			{"aws", a.awsCommand},
			{"gcp", a.gcpCommand},
			{"vault", a.vaultCommand},
			{"apply", a.applyCommand},
		}},
		{"The trust behind them", []command{
			{"token", a.tokenCommand},
			{"policy", a.policyCommand},
		}},
		{"This job and this machine", []command{
			{"sandbox", a.sandboxCommand},
			{"doctor", a.doctorCommand},
			{"cleanup", a.cleanupCommand},
		}},
		{aboutGroup, []command{
			{"completion", a.completionCommand},
			{"version", a.versionCommand},
		}},
	}
	for _, group := range groups {
		for _, c := range group.commands {
			if len(a.Args) > 0 && a.Args[0] == c.name {
				root.AddCommand(c.make())
				a.addOthers = func() {
					for _, group := range groups {
						for _, other := range group.commands {
							if other.name != c.name {
								root.AddCommand(other.make())
							}
						}
					}
				}
				return
			}
		}
	}
	for _, group := range groups {
		root.AddGroup(&cobra.Group{ID: group.title, Title: group.title})
		for _, c := range group.commands {
			made := c.make()
			made.GroupID = group.title
			root.AddCommand(made)
		}
	}
	root.SetHelpCommandGroupID(aboutGroup)
}

func (a *app) root() *cobra.Command {
	var showVersion bool
	root := &cobra.Command{
		Use:   "oidc-broker",
		Short: "Exchange a CI job's OpenID Connect token for short-lived cloud credentials",
		Long: `oidc-broker reads the CI job's OpenID Connect token, exchanges it at a cloud, and
delivers short-lived credentials in the form that the next tool understands.

Every option can come from the environment; --help names its variables. The exit code
says who must act: 0 done, 2 the command line, 3 the token, 4 refused by the cloud or
a policy, 5 unavailable, 6 this machine.`,
		Example: `  # a profile for the steps that follow
  oidc-broker aws --role-arn arn:aws:iam::111122223333:role/deploy --profile deploy

  # one command with credentials, and nothing left behind
  oidc-broker aws exec --role-arn arn:aws:iam::111122223333:role/deploy -- aws s3 ls

  # try it without CI and without a cloud
  oidc-broker sandbox -- oidc-broker aws whoami --role-arn arn:aws:iam::111122223333:role/deploy`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if showVersion {
				return a.version(false)
			}
			return c.Help()
		},
	}
	root.Flags().BoolVar(&showVersion, "version", false, "print the version")
	root.SetUsageFunc(usage)
	root.SetIn(a.Stdin)
	root.SetOut(a.Stdout)
	root.SetErr(a.Stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		if a.addOthers != nil { // the option may be one of theirs
			a.addOthers()
		}
		return flagError(c, err)
	})
	f := root.PersistentFlags()
	f.SortFlags, root.Flags().SortFlags = false, false
	o := a.options(root)
	o.switches(&a.verbose, "verbose", "OIDC_BROKER_VERBOSE", "say on stderr what is done")
	o.switches(&a.quiet, "quiet", "OIDC_BROKER_QUIET", "say nothing but errors")
	o.duration(&a.timeout, "timeout", "OIDC_BROKER_TIMEOUT", defaultTimeout, "`time` that the whole command's calls may take")
	o.count(&a.attempts, "max-attempts", "OIDC_BROKER_MAX_ATTEMPTS", defaultAttempts, "`number` of times a call is made at most")
	root.PersistentPreRunE = func(c *cobra.Command, _ []string) error {
		if completing(a.Args) {
			return nil // a variable that is wrong is said when the command runs
		}
		a.flags = c.Flags()
		if err := a.settle(c); err != nil {
			return err
		}
		if dir, err := a.cacheDir(); err == nil && dir != "" {
			c.SetContext(files.WithLocks(c.Context(), filepath.Join(dir, "locks")))
		}
		// For the rest of the process: what reads options has no context of its own.
		a.reading, _ = a.bounded(c.Context()) //nolint:govet // released with the process
		return nil
	}
	a.commands(root)
	return root
}

// quietAttempts is how many attempts may fail before a user who did not ask for
// --verbose hears of it: by then some seconds have passed.
const quietAttempts = 4

// client returns the HTTP client for one command.
func (a *app) client() *remote.Client {
	var failed atomic.Int32
	return &remote.Client{Transport: a.Transport, Now: a.Now, Attempts: a.attempts, Origin: a.given, Log: func(format string, args ...any) {
		a.progress(format, args...)
		if failed.Add(1) == quietAttempts && !a.verbose {
			a.note(fmt.Sprintf(format, args...) + fmt.Sprintf(", for %s in all (--timeout)", a.timeout))
		}
	}}
}

// bounded limits a command's calls in time. What runs a child does not use it:
// the child takes as long as it takes.
func (a *app) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, a.timeout)
}

// noArgs refuses arguments, and takes a misspelled command for what it is.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if !c.HasSubCommands() {
		return fault.New(fault.Usage, "%s takes no argument, got %q", c.CommandPath(), args[0]).Hint("see '%s --help'", c.CommandPath())
	}
	e := fault.New(fault.Usage, "%s has no command %q", c.CommandPath(), args[0])
	for _, s := range nearestCommands(c, args[0]) {
		e.Hint("did you mean '%s'?", s)
	}
	return e.Hint("see '%s --help'", c.CommandPath())
}

// resultStatus is how a command ends whose result says what is wrong: nothing more is
// printed.
type resultStatus fault.Kind

func (resultStatus) Error() string { return "the result says what is wrong" }

// report prints an error and returns the exit code.
func (a *app) report(err error) int {
	var (
		status resultStatus
		ended  *child.ExitError
	)
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &ended):
		return a.childEnded(err, ended)
	case errors.Is(err, context.Canceled):
		err = fault.New(fault.Unavailable, "interrupted")
	}
	all := []error{err}
	if several := (failures)(nil); errors.As(err, &several) {
		all = several
	}
	printed := map[string]bool{}
	for _, err := range all {
		a.failed(a.text(err), a.hints(err), printed)
	}
	return int(fault.KindOf(err))
}
