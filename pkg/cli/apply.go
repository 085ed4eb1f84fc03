package cli

import (
	"context"
	"io"
	"sync"

	"github.com/spf13/cobra"
)

// applyOptions are those of the command; those of the targets are in the file.
type applyOptions struct {
	file, format string
	only         []string
	dryRun       bool
	vaultRun     // the token, and how Vaults are reached, where the file does not say
}

func (a *app) applyCommand() *cobra.Command {
	o := applyOptions{vaultRun: vaultRun{app: a}}
	c := &cobra.Command{
		Use:   "apply",
		Short: "Several AWS, Google Cloud and Vault targets from one file, at once",
		Long: `Read targets from a file, make all exchanges at once, and write what they give: AWS
profiles, Google Cloud credential configurations, Vault tokens and secrets. Everything is
written or, when one of them fails, nothing. An AWS target can come via another: its role
is assumed with the other's credentials.

The file is YAML: docs/configuration.md says what it holds. A target's options are in it
alone; the environment says where the clouds are, and what --help names. No variable is
exported.`,
		Example: `  oidc-broker apply
  oidc-broker apply --file deploy/oidc-broker.yaml --only prod
  oidc-broker apply --dry-run`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.apply(c.Context(), &o) },
	}
	own := a.own(c)
	own.text(&o.file, "file", "OIDC_BROKER_FILE", "`file` with the targets, - for standard input (default oidc-broker.yaml)")
	own.list(&o.only, "only", "OIDC_BROKER_ONLY", "`name` of the targets to write; those that they come via are used, and not written (repeatable)")
	own.switches(&o.dryRun, "dry-run", "OIDC_BROKER_DRY_RUN", "show what would be called and written; no token is read, and no call is made")
	declareFormat(own, &o.format)
	o.token.declare(own)
	o.connection(own)
	return c
}

func (a *app) apply(ctx context.Context, o *applyOptions) error {
	if err := formatOption(o.format); err != nil {
		return err
	}
	if o.file == "" {
		o.file = "oidc-broker.yaml"
	}
	b, err := a.document("--file", o.file)
	if err != nil {
		return err
	}
	f, err := parseApply(b)
	if err != nil {
		return err
	}
	together := *a // several targets have something to say at the same time
	together.Stderr = &oneByOne{w: a.Stderr}
	p, err := together.newPlan(f, o.file, o.only, o.token, o.options)
	if err != nil {
		return err
	}
	if o.dryRun {
		return p.show(o.format)
	}
	for _, n := range p.notes {
		p.note(n)
	}
	return p.run(ctx, o.format)
}

// oneByOne lets one write at a time through.
type oneByOne struct {
	mu sync.Mutex
	w  io.Writer
}

func (o *oneByOne) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Write(b)
}
