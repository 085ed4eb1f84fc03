package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oidc-broker/oidc-broker/pkg/doctor"
)

func (a *app) doctorCommand() *cobra.Command {
	var (
		t      tokenOptions
		files  trustFiles
		format string
		online bool
	)
	c := &cobra.Command{
		Use:        "doctor",
		SuggestFor: []string{"diagnose", "debug", "status"},
		Short:      "Look at this job, shell and machine, and say what would go wrong",
		Long: `Look at the job's token, the variables and files of the AWS, Google and Vault tools,
$BASH_ENV, this machine and the checkout, and say what would go wrong, why, and what to
do about it. Nothing is changed, no token is minted, no value of a variable is shown but
paths, ARNs, hosts and names. Without --online nothing is called either; with it, the
issuer and the clouds that the job uses are asked whether they are there. The documents
that the clouds judge by can be given: then the job's two tokens are held against them.

The exit code is 0 unless an error was found: then it is that of the first one, 3 for
the token, 4 for a document that refuses it, 6 for this machine, 5 for a cloud that is
not reached. Warnings and notes do not count. --verbose shows the checks that found
nothing too.`,
		Example: `  oidc-broker doctor
  oidc-broker doctor --online --verbose
  oidc-broker doctor --trust-policy trust.json
  oidc-broker doctor --format json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := a.finder(t).Check(); err != nil {
				return err
			}
			trusts, err := a.trusts(files, t)
			if err != nil {
				return err
			}
			return a.doctor(c.Context(), t, trusts, format, online)
		},
	}
	o := a.own(c)
	declareFormat(o, &format)
	o.switches(&online, "online", "OIDC_BROKER_ONLINE", "ask the issuer and the clouds too; nothing secret is sent")
	files.declare(o)
	t.declare(o)
	return c
}

func (a *app) doctor(ctx context.Context, t tokenOptions, trusts []doctor.Trust, format string, online bool) error {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	o := doctor.Options{
		Environ: a.Environ(), Now: a.Now(), TempDir: a.TempDir(), Version: versionOf().Version,
		Finder: a.finder(t), Journal: a.journal(), Client: a.client(), Online: online, Trusts: trusts,
	}
	o.WorkDir, _ = a.WorkDir()
	o.VaultHeaders, _ = items(a.Getenv("OIDC_BROKER_VAULT_HEADER")) // of a list with a mistake, none
	report := doctor.Examine(ctx, o)
	if ctx.Err() == context.Canceled {
		return context.Canceled
	}
	var err error
	if format == "json" {
		err = a.jsonResult(reportObject(report))
	} else {
		err = a.result(reportText(report, a.verbose))
	}
	if err == nil && report.Kind != 0 {
		return resultStatus(report.Kind)
	}
	return err
}

// reportObject is the report for programs.
func reportObject(r doctor.Report) any {
	out := struct {
		Findings []doctor.Finding `json:"findings"`
		OK       int              `json:"ok"`
	}{[]doctor.Finding{}, r.Passed}
	for _, f := range r.Findings {
		if f.Severity != doctor.OK {
			f.Message, f.Why, f.Remedy = clean(f.Message), clean(f.Why), clean(f.Remedy)
			out.Findings = append(out.Findings, f)
		}
	}
	return out
}

// reportText is the report for people.
func reportText(r doctor.Report, verbose bool) []byte {
	var b strings.Builder
	count := map[string]int{}
	last := ""
	for _, f := range r.Findings {
		count[f.Severity]++
		if f.Severity == doctor.OK && !verbose {
			continue
		}
		if f.Group != last {
			if last != "" {
				b.WriteByte('\n')
			}
			fmt.Fprintf(&b, "%s\n", f.Group)
			last = f.Group
		}
		fmt.Fprintf(&b, "  %-8s %s: %s\n", f.Severity, f.ID, clean(f.Message))
		if f.Why != "" {
			fmt.Fprintf(&b, "           why: %s\n", clean(f.Why))
		}
		if f.Remedy != "" {
			fmt.Fprintf(&b, "           remedy: %s\n", clean(f.Remedy))
		}
	}
	if last != "" {
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%s, %s, %s; %s found nothing\n", plural(count[doctor.Error], "error"), plural(count[doctor.Warning], "warning"),
		plural(count[doctor.Note], "note"), plural(r.Passed, "check"))
	return []byte(b.String())
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// trustFiles are the documents by which the clouds judge, as the sandbox takes them.
type trustFiles struct {
	aws, gcp, vault string
}

func (t *trustFiles) declare(o options) {
	o.text(&t.aws, "trust-policy", "OIDC_BROKER_TRUST_POLICY", "`file` with the trust policy of the AWS role, as for 'policy check aws': would it let the job's token in?")
	o.text(&t.gcp, "gcp-provider", "OIDC_BROKER_GCP_PROVIDER", "`file` with the workload identity provider, as for 'policy check gcp'")
	o.text(&t.vault, "vault-role", "OIDC_BROKER_VAULT_ROLE", "`file` with the Vault role, as for 'policy check vault'")
}

// trusts reads the documents. One that cannot be read is no finding: it was named.
func (a *app) trusts(files trustFiles, t tokenOptions) ([]doctor.Trust, error) {
	if err := oneStdin(files.aws, files.gcp, files.vault, t.File); err != nil {
		return nil, err
	}
	var all []doctor.Trust
	for _, f := range []doctor.Trust{{Cloud: "aws", Path: files.aws}, {Cloud: "gcp", Path: files.gcp}, {Cloud: "vault", Path: files.vault}} {
		if f.Path == "" {
			continue
		}
		d := policyDocuments{cloud: f.Cloud}
		if f.Cloud == "aws" {
			var err error
			if d.roleARN, err = a.variable("AWS_ROLE_ARN"); err != nil {
				return nil, err
			}
		}
		var err error
		if f.Judge, err = a.judge(d, f.Path); err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	return all, nil
}
