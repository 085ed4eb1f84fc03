package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

func (a *app) tokenGetCommand() *cobra.Command {
	var t tokenOptions
	c := &cobra.Command{
		Use:   "get",
		Short: "Print a token for an audience, and nothing else",
		Long: `Print a token for an audience, for a program that takes the CI system's token itself.
It is never printed to a terminal. Where the CI system has a command that keeps a value
out of the job's log, that goes to standard error first.`,
		Example: `  token="$(oidc-broker token get --audience sigstore)"`,
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.tokenGet(c.Context(), t)
		},
	}
	o := a.own(c)
	o.text(&t.Audience, "audience", "OIDC_BROKER_AUDIENCE", "`audience` of the token")
	t.declareRootIssuer(o)
	t.declareCI(o)
	t.declareGuards(o)
	return c
}

func (t *tokenOptions) declareRootIssuer(o options) {
	o.switches(&t.root, "root-issuer", "OIDC_BROKER_ROOT_ISSUER", "with the issuer of all organisations of a CI system that has one for each, too, as PyPI wants")
}

func (a *app) tokenGet(ctx context.Context, o tokenOptions) error {
	f := a.finder(o)
	if err := f.Check(); err != nil {
		return err
	}
	if o.Audience == "" {
		return fault.New(fault.Usage, "no audience is given for the token: %s", fault.Option("audience")).
			Hint("it is the receiver's choice: sigstore for cosign, npm:registry.npmjs.org for npm, pypi for PyPI")
	}
	if terminal(a.Stdout) {
		return fault.New(fault.Usage, "the output is a token, and standard output is a terminal").
			Hint("in a script: token=\"$(oidc-broker token get --audience AUDIENCE)\"").
			Hint("for one command: oidc-broker token exec --audience AUDIENCE --env NAME -- COMMAND")
	}
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	t, err := f.Find(ctx)
	if err != nil {
		return err
	}
	// A mask that a terminal shows would show the token.
	if line := f.Masked(t.Raw.Reveal()); line != "" && !terminal(a.Stderr) {
		_, _ = fmt.Fprintln(a.Stderr, line)
	}
	return a.result(fmt.Appendln(nil, t.Raw.Reveal()))
}
