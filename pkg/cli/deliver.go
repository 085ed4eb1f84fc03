package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/oidc-broker/oidc-broker/pkg/internal/child"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/pkg/internal/shell"
)

// envOutput is the env output of any provider.
type envOutput struct {
	*app
	block   string // the name of its block in $BASH_ENV
	command string // for hints
	plain   bool   // it holds no secrets

	shell               string
	bashEnv, toTerminal bool
	path                string // of $BASH_ENV
}

func (e *envOutput) declare(o options) {
	o.choice(&e.shell, "shell", "OIDC_BROKER_SHELL", shell.Shells(), "`shell` to print for: "+strings.Join(shell.Shells(), ", ")+" (default sh, which is also bash's and zsh's)")
	defer func() { o.exclusive("shell", "bash-env") }()
	o.switches(&e.bashEnv, "bash-env", "OIDC_BROKER_BASH_ENV", "write to the file $BASH_ENV instead of standard output")
	if !e.plain {
		printToTerminal(o, &e.toTerminal)
	}
}

func printToTerminal(o options, p *bool) {
	o.switches(p, "print-to-terminal", "OIDC_BROKER_PRINT_TO_TERMINAL", "print secrets even when standard output is a terminal")
}

// settle checks everything about the output that can be wrong before there are
// credentials.
func (e *envOutput) settle() error {
	if e.bashEnv && e.shell != "" {
		return fault.New(fault.Usage, "%s writes for bash: it does not go with %s", fault.Option("bash-env"), fault.Option("shell"))
	}
	if e.shell == "" {
		e.shell = "sh"
	}
	if !e.bashEnv && e.plain {
		return nil
	}
	if !e.bashEnv {
		return e.refuseTerminal(e.toTerminal, e.load(),
			"for the following steps: --bash-env", "for one command: oidc-broker "+e.block+" exec -- COMMAND")
	}
	var err error
	if e.path, err = e.variable("BASH_ENV"); err != nil {
		return err
	}
	if e.path == "" {
		return fault.New(fault.Local, "%s: the variable BASH_ENV is not set", fault.Option("bash-env")).
			Hint("CircleCI sets it in every job; elsewhere name a file: export BASH_ENV=$HOME/.bash_env")
	}
	return nil
}

// load is how a script of the shell takes the variables over.
func (e *envOutput) load() string {
	switch e.shell {
	case "fish":
		return fmt.Sprintf(`in a script: set x (%s --shell fish); or exit; printf '%%s\n' $x | source`, e.command)
	case "powershell":
		return fmt.Sprintf("in a script: $x = %s --shell powershell; if ($LASTEXITCODE) { exit $LASTEXITCODE }; $x | Out-String | Invoke-Expression", e.command)
	case "cmd", "dotenv", "json":
		return "write it to a file or a pipe"
	}
	return fmt.Sprintf(`in a script: x="$(%s)" && eval "$x"`, e.command)
}

// deliver prints the variables, or writes them to $BASH_ENV, which d describes.
func (e *envOutput) deliver(ctx context.Context, env child.Environment, d delivery) error {
	if e.bashEnv {
		// The file's commands see the job's environment, but for its tokens.
		environ := child.Environment{Unset: e.tokenHolders(tokenOptions{})}.Apply(e.Environ())
		if err := e.commit(ctx, shell.EffectiveBashEnv(ctx, environ, e.path, e.block, env)); err != nil {
			return fault.New(fault.KindOf(err), "cannot write $BASH_ENV: %w", err)
		}
		e.progress("$BASH_ENV is %q", e.path)
		d.where = "$BASH_ENV"
		e.delivered(d)
		return nil
	}
	b, err := shell.Render(e.shell, env)
	if err != nil {
		return err
	}
	return e.result(b)
}

// foundTokens are the tokens that this process has read or minted.
type foundTokens struct {
	mu     sync.Mutex
	tokens []secret.Value
}

func (f *foundTokens) add(token secret.Value) {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tokens = append(f.tokens, token)
}

func (f *foundTokens) all() []secret.Value {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.tokens)
}

// child runs the command with env. The job's tokens, and what requests some, are taken
// out of its environment, whatever variables hold them: what the command needs is the
// credentials.
func (a *app) child(ctx context.Context, argv []string, env child.Environment, o tokenOptions) error {
	if !o.keep && !o.keepJob {
		env.Unset = slices.Concat(env.Unset, a.tokenHolders(o))
	}
	return a.run(ctx, argv, a.overBashEnv(env))
}

// tokenHolders are the variables that hold or request the job's tokens.
func (a *app) tokenHolders(o tokenOptions) []string {
	names, requests := a.finder(o).TokenVariables()
	return slices.Concat(names, requests, holding(a.Environ(), names, a.found.all()))
}

// holding returns the names of the variables whose values hold what one of the named
// ones holds, or a token: TF_VAR_token, or a token within JSON.
func holding(environ, names []string, known []secret.Value) []string {
	const shortest = 20 // a shorter value is no token, and is found in others by chance
	var tokens, all []string
	for _, token := range known {
		tokens = append(tokens, token.Reveal())
	}
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		if value = strings.TrimSpace(value); slices.Contains(names, name) && len(value) >= shortest {
			tokens = append(tokens, value)
		}
	}
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		if name != "" && slices.ContainsFunc(tokens, func(token string) bool { return strings.Contains(value, token) }) {
			all = append(all, name)
		}
	}
	return all
}

// overBashEnv keeps a bash that the command starts from reading $BASH_ENV where
// a block of ours in it would put older credentials over these.
func (a *app) overBashEnv(env child.Environment) child.Environment {
	if shell.HasBlock(a.Getenv("BASH_ENV"), "") {
		env.Unset = append(env.Unset, "BASH_ENV")
	}
	return env
}

// run runs a command with env. An interrupt does not end it from here: it gets
// the signal itself and decides.
func (a *app) run(ctx context.Context, argv []string, env child.Environment) error {
	return child.Run(context.WithoutCancel(ctx), child.Child{
		Argv: argv, Env: env.Apply(a.Environ()),
		Stdin: a.Stdin, Stdout: a.Stdout, Stderr: a.Stderr,
	})
}

// commandArgs demands a command to run.
func commandArgs(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return fault.New(fault.Usage, "%s has no command to run", c.CommandPath()).
			Hint("give it after --, like: %s -- aws s3 ls", c.CommandPath())
	}
	if c.ArgsLenAtDash() != 0 {
		return fault.New(fault.Usage, "%s: the command to run stands after --", c.CommandPath()).
			Hint("without -- oidc-broker takes the command's options for its own")
	}
	return nil
}

func declareFormat(o options, p *string) {
	o.choice(p, "format", "OIDC_BROKER_FORMAT", []string{"text", "json"}, "`form` of the output: text, json (default text)")
}

// until says when something ends and how long that is from now.
func (a *app) until(t time.Time) string {
	left := t.Sub(a.Now()).Round(time.Second)
	if left < 0 {
		return fmt.Sprintf("%s (%s ago)", t.UTC().Format(time.RFC3339), -left)
	}
	return fmt.Sprintf("%s (in %s)", t.UTC().Format(time.RFC3339), left)
}
