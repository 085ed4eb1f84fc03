package cli

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// applyRun is the command with its options; those of the targets are in the file.
type applyRun struct {
	*app
	file, format string
	only         []string
	dryRun       bool
	trustFile    bool
	flags        *pflag.FlagSet
	token        tokenOptions // for all targets
	vaults       vaultRun     // how Vaults are reached, where the file does not say
}

func (a *app) applyCommand() *cobra.Command {
	r := &applyRun{app: a, vaults: vaultRun{app: a}}
	c := &cobra.Command{
		Use:   "apply",
		Short: "Several AWS, Google Cloud and Vault targets from one file, at once",
		Long: `Read targets from a file, make all exchanges at once, and write what they give: AWS
profiles, Google Cloud credential configurations, Vault tokens and secrets. Everything is
written or, when one of them fails, nothing. An AWS target can come via another: its role
is assumed with the other's credentials.

The file is YAML: docs/configuration.md says what it holds. A target's options are in it
alone; the environment says where the clouds are, and what the options below name. No
variable is exported, and one that is there and would win over what was written is named.

Who can change the file, as by a pull request, need not be trusted: where tokens are sent
comes from the environment and the options alone, and paths stay in the working directory
and the tools' usual places, unless --trust-file says otherwise.`,
		Example: `  oidc-broker apply
  oidc-broker apply --dry-run
  oidc-broker apply --file deploy/oidc-broker.yaml --only staging --only production`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			err := r.apply(c.Context())
			return inFile(r.file, err)
		},
	}
	r.flags = c.Flags()
	o := a.own(c)
	o.text(&r.file, "file", "OIDC_BROKER_FILE", "`file` with the targets, - for standard input (default oidc-broker.yaml)")
	o.list(&r.only, "only", "OIDC_BROKER_ONLY", "`name` of a target to write; those that it comes via are used, and not written (repeatable)")
	o.switches(&r.dryRun, "dry-run", "OIDC_BROKER_DRY_RUN", "show what would be called and written; no token is read, and no call is made")
	o.switches(&r.trustFile, "trust-file", "OIDC_BROKER_TRUST_FILE", "let the file say where tokens are sent and name any path: all who can change it are trusted")
	declareFormat(o, &r.format)
	r.token.declare(o)
	r.vaults.connection(o)
	return c
}

func (r *applyRun) apply(ctx context.Context) error {
	if r.file == "" {
		r.file = "oidc-broker.yaml"
	}
	b, err := r.document("file", r.file)
	if err != nil {
		return err
	}
	f, err := parseApply(b)
	if err != nil {
		return err
	}
	together := *r.app // several targets have something to say at the same time
	together.Stderr = &oneByOne{w: r.Stderr}
	p, err := together.newPlan(f, r)
	if err != nil {
		return err
	}
	if len(p.profiles) > 0 {
		p.conflicts = p.profileConflicts(p.awsFiles, p.profiles, p.awsEdits)
	}
	if err := refuseNever(p.conflicts); err != nil {
		return err
	}
	for _, n := range p.notes {
		p.note(n)
	}
	if r.dryRun {
		p.noteEnvironment()
		return p.show(r.format)
	}
	return p.run(ctx, r.format)
}

// inFile adds the file's name to an error about a place in it.
func inFile(path string, err error) error {
	var m misplacement
	if !errors.As(err, &m) {
		return err
	}
	return fault.New(fault.KindOf(err), "%s: %w", document("file", path), err)
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
