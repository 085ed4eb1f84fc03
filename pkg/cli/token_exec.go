package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/gcp"
	"github.com/oidc-broker/oidc-broker/pkg/internal/child"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// A tokenPlace is a variable in which a command finds a token, or the path of its file.
type tokenPlace struct {
	ci.Receiver
	file bool
}

// tokenPlaces is the value of --env and of --file, which share their order.
type tokenPlaces struct {
	all  *[]tokenPlace
	file bool
}

func (p tokenPlaces) Set(name string) error {
	if !child.IsName(name) {
		return errors.New("it is no name of an environment variable")
	}
	*p.all = append(*p.all, tokenPlace{Receiver: ci.Receiver{Variable: name}, file: p.file})
	return nil
}

func (p tokenPlaces) String() string {
	var names []string
	if p.all != nil {
		for _, place := range *p.all {
			if place.file == p.file {
				names = append(names, place.Variable)
			}
		}
	}
	return strings.Join(names, ",")
}

func (tokenPlaces) Type() string { return "stringArray" }

// tokenExec are the options of token exec.
type tokenExec struct {
	*app
	token               tokenOptions
	audiences, receiver []string
	places              []tokenPlace
}

func (a *app) tokenExecCommand() *cobra.Command {
	e := &tokenExec{app: a}
	c := &cobra.Command{
		Use:   "exec -- COMMAND [ARG...]",
		Short: "Run a command with a fresh token in a variable or a file",
		Long: `Run a command with a fresh token for each --audience: in the variable of the --env, or in
a private file whose path is in the variable of the --file, in the same order. A file's
token is renewed while the command runs, where the CI system mints, and removed when it
ends. --for knows the audience and the variable of npm, pypi and cosign.

The job's own tokens are not in the command's environment, nor is what only requests
tokens; --keep-ci-token leaves both. The command's exit code and the signals for it pass
through.`,
		Example: `  oidc-broker token exec --for npm -- npm publish
  oidc-broker token exec --audience https://api.example.com --env API_TOKEN -- ./deploy.sh
  oidc-broker token exec --audience api://AzureADTokenExchange --file AZURE_FEDERATED_TOKEN_FILE -- terraform apply`,
		Args: commandArgs,
		RunE: func(c *cobra.Command, args []string) error {
			places, err := e.settle()
			if err != nil {
				return err
			}
			return e.exec(c.Context(), places, args)
		},
	}
	var names []string
	for _, r := range ci.Receivers() {
		names = append(names, r.Name)
	}
	o := a.own(c)
	// From the command line alone: the order counts, and a job's variable is about all commands.
	o.list(&e.audiences, "audience", "", "`audience` of a token (repeatable)")
	o.places(&e.places, false, "env", "`variable` that holds the token (repeatable, in the order of --audience)")
	o.places(&e.places, true, "file", "`variable` that holds the path of a file with the token (repeatable, in the order of --audience)")
	o.list(&e.receiver, "for", "", "`receiver` whose audience and variable to use: "+strings.Join(names, ", ")+" (repeatable)")
	e.token.declareRootIssuer(o)
	e.token.declareKeep(o)
	e.token.declareCI(o)
	e.token.declareGuards(o)
	return c
}

func (o options) places(all *[]tokenPlace, file bool, name, usage string) {
	o.flags.Var(tokenPlaces{all, file}, name, usage)
	o.note(name, "")
}

// settle returns what the command is to be given.
func (e *tokenExec) settle() ([]tokenPlace, error) {
	var all []tokenPlace
	for _, name := range e.receiver {
		i := slices.IndexFunc(ci.Receivers(), func(r ci.Receiver) bool { return strings.EqualFold(r.Name, name) })
		if i < 0 {
			return nil, fault.New(fault.Usage, "%s %q is not known", fault.Option("for"), name).
				Hint("give its audience and variable: %s AUDIENCE %s NAME", fault.Option("audience"), fault.Option("env"))
		}
		r := ci.Receivers()[i]
		if s, _ := e.finder(e.token).System(); s != nil && s.Audience != "" && s.Audience != r.Audience {
			return nil, fault.New(fault.Usage, "%s %s cannot be had: the tokens of %s are always for %s", fault.Option("for"), r.Name, s.Title, s.Audience)
		}
		all = append(all, tokenPlace{Receiver: r})
	}
	switch {
	case len(e.audiences) < len(e.places):
		return nil, fault.New(fault.Usage, "no audience is given for the token in %s: each %s and %s needs an %s",
			e.places[len(e.audiences)].Variable, fault.Option("env"), fault.Option("file"), fault.Option("audience"))
	case len(e.audiences) > len(e.places):
		return nil, fault.New(fault.Usage, "no variable is given for the token with the audience %q: each %s needs an %s or a %s",
			e.audiences[len(e.places)], fault.Option("audience"), fault.Option("env"), fault.Option("file"))
	case len(e.places)+len(all) == 0:
		return nil, fault.New(fault.Usage, "no token is asked for: give %s and %s, or %s", fault.Option("audience"), fault.Option("env"), fault.Option("for"))
	}
	for i, p := range e.places {
		p.Audience = e.audiences[i]
		all = append(all, p)
	}
	seen := map[string]bool{}
	for _, p := range all {
		if seen[p.Variable] {
			return nil, fault.New(fault.Usage, "two tokens would be in the variable %s", p.Variable)
		}
		seen[p.Variable] = true
		if err := e.finder(e.token).For(p.Receiver).Check(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (e *tokenExec) exec(ctx context.Context, places []tokenPlace, argv []string) error {
	tokens, err := e.find(ctx, places)
	if err != nil {
		return err
	}
	var env child.Environment
	var dir string
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	var kept sync.WaitGroup
	for i, p := range places {
		value := tokens[i].Raw
		if p.file {
			if dir == "" {
				var done func()
				// Recorded until it is gone: what this process leaves when it is killed, cleanup removes.
				if dir, done, err = e.privateDir(ctx); err != nil {
					end()
					return err
				}
				defer done()
			}
			path := filepath.Join(dir, p.Variable)
			if err := files.WriteNew(path, []byte(value.Reveal())); err != nil {
				end()
				kept.Wait()
				return fault.New(fault.Local, "cannot write the token's file: %w", errors.Unwrap(err))
			}
			value = secret.New(path)
			kept.Go(func() { e.keepFile(life, path, p, tokens[i]) })
		}
		env.Set = append(env.Set, child.Var{Name: p.Variable, Value: value})
	}
	defer func() { end(); kept.Wait() }() // before the directory goes
	if err := ctx.Err(); err != nil {     // an interrupt that came while the last answer did
		return err
	}
	return e.child(ctx, argv, env, e.token)
}

// find returns a token for each place.
func (e *tokenExec) find(ctx context.Context, places []tokenPlace) ([]oidc.Token, error) {
	ctx, cancel := e.bounded(ctx)
	defer cancel()
	var all []oidc.Token
	for _, p := range places {
		f := e.finder(e.token).For(p.Receiver)
		t, err := f.Find(ctx)
		if err != nil {
			return nil, err
		}
		if why, last := f.Lasts(t); last && p.file {
			e.note(fmt.Sprintf("the token in the file of %s is not renewed after %s: %s", p.Variable, t.Expiry.Format(time.RFC3339), why))
		}
		all = append(all, t)
	}
	return all, nil
}

// keepFile keeps a token's file fresh until ctx ends.
func (e *tokenExec) keepFile(ctx context.Context, path string, p tokenPlace, t oidc.Token) {
	f := e.finder(e.token).For(p.Receiver)
	renew := func(ctx context.Context, old oidc.Token) (oidc.Token, error) {
		ctx, cancel := e.bounded(ctx)
		defer cancel()
		return f.Renew(ctx, old)
	}
	gcp.KeepToken(ctx, path, t, renew, e.Now, func(end time.Time, err error) {
		e.note(fmt.Sprintf("the token in the file of %s expires at %s, and no newer one is available: %s", p.Variable, end.UTC().Format(time.RFC3339), e.text(err)))
	})
}
