package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
	"github.com/oidc-broker/oidc-broker/pkg/policy/iam"
	"github.com/oidc-broker/oidc-broker/pkg/policy/jwtrole"
	"github.com/oidc-broker/oidc-broker/pkg/policy/wif"
)

func (a *app) policyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:        "policy",
		SuggestFor: []string{"trust", "iam"},
		Short:      "The trust on the cloud's side: write it, check it, find its holes",
		Long: `Work on the documents by which a cloud trusts the CI's tokens: the trust policy of an AWS
role, a provider of a Google Cloud workload identity pool, a Vault role. Nothing is sent
anywhere: a verdict is made from the documents and the token's claims, and what they
cannot decide is called undecided.`,
		Example: `  oidc-broker policy new aws --org ORG_UUID --project PROJECT_UUID --account-id 111122223333 --role-name deploy
  oidc-broker policy lint aws trust.json
  oidc-broker policy check aws trust.json --role-arn arn:aws:iam::111122223333:role/deploy`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.policyNewCommand(), a.policyLintCommand(), a.policyCheckCommand(), a.policyTestCommand())
	return c
}

// oneFile demands the document's file.
func oneFile(c *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fault.New(fault.Usage, "%s takes one file, got %d", c.CommandPath(), len(args)).
			Hint("- is standard input; see '%s --help'", c.CommandPath())
	}
	if strings.TrimSpace(args[0]) == "" {
		return fault.New(fault.Usage, "%s: the name of the file is empty", c.CommandPath()).
			Hint("is the variable behind it set in this step?")
	}
	return nil
}

// policyDocuments are the files of one judgement.
type policyDocuments struct {
	cloud  string
	second string // --iam-policy, --config

	roleARN, sessionName string
}

func (d *policyDocuments) declare(o options) {
	switch d.cloud {
	case "gcp":
		o.text(&d.second, "iam-policy", "OIDC_BROKER_IAM_POLICY", "`file` of the service account's policy, as 'gcloud iam service-accounts get-iam-policy --format=json' prints it")
	case "vault":
		o.text(&d.second, "config", "OIDC_BROKER_VAULT_CONFIG", "`file` of the auth mount's configuration, as 'vault read -format=json auth/jwt/config' prints it")
	}
}

// kinds says what each cloud's file is.
func policyFile(cloud string) string {
	switch cloud {
	case "aws":
		return "the trust policy of an AWS role, alone or as 'aws iam get-role' prints it"
	case "gcp":
		return "a provider of a workload identity pool, as 'gcloud iam workload-identity-pools\nproviders describe --format=json' prints it, or with Terraform's attributes"
	}
	return "a role of the JWT auth method, as 'vault read -format=json auth/jwt/role/NAME'\nprints it"
}

// policyClouds returns a subcommand for each cloud.
func policyClouds(parent *cobra.Command, make func(cloud string) *cobra.Command) *cobra.Command {
	parent.Args = noArgs
	parent.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	for _, cloud := range []string{"aws", "gcp", "vault"} {
		parent.AddCommand(make(cloud))
	}
	return parent
}

func cloudName(cloud string) string {
	return map[string]string{"aws": "AWS", "gcp": "Google Cloud", "vault": "Vault"}[cloud]
}

func (a *app) policyLintCommand() *cobra.Command {
	return policyClouds(&cobra.Command{
		Use:   "lint",
		Short: "Find who else gets in, and show a token that proves it",
		Long: `Look for conditions that let in more than they seem to, or nobody. Each finding names
its rule, a severity, a witness (a token's claims that get in and should not; the
evaluator itself has let it in) and what to write instead. Every rule is in
docs/policy.md.`,
		Example: "  oidc-broker policy lint aws trust.json",
	}, a.lintCommand)
}

func (a *app) lintCommand(cloud string) *cobra.Command {
	var format, failOn string
	d := policyDocuments{cloud: cloud}
	c := &cobra.Command{
		Use:     cloud + " FILE",
		Short:   "Find the holes of a trust at " + cloudName(cloud),
		Long:    "FILE is " + policyFile(cloud) + ".\nThe exit code is 4 when a finding is as severe as --fail-on says.",
		Example: "  oidc-broker policy lint " + cloud + " trust.json --format sarif",
		Args:    oneFile,
		RunE: func(_ *cobra.Command, args []string) error {
			if format == "" {
				format = "text"
			}
			if failOn == "" {
				failOn = string(policy.High)
			}
			findings, err := a.lint(d, args[0])
			if err != nil {
				return err
			}
			return a.showFindings(findings, args[0], format, failOn)
		},
	}
	o := a.own(c)
	d.declare(o)
	o.choice(&format, "format", "OIDC_BROKER_FORMAT", []string{"text", "json", "sarif"}, "`form` of the output: text, json, sarif (default text)")
	levels := []string{"none"}
	for _, s := range policy.Severities() {
		levels = append(levels, string(s))
	}
	o.choice(&failOn, "fail-on", "OIDC_BROKER_FAIL_ON", levels, "`severity` from which the exit code is 4: critical, high, medium, info, none (default high)")
	return c
}

// lint reads the documents and returns the findings.
func (a *app) lint(d policyDocuments, path string) ([]policy.Finding, error) {
	if err := oneStdin(path, d.second); err != nil {
		return nil, err
	}
	switch d.cloud {
	case "aws":
		p, err := parsed(a, "", path, iam.Parse)
		if err != nil {
			return nil, err
		}
		return p.Lint(a.Now()), nil
	case "gcp":
		p, err := parsed(a, "", path, wif.Parse)
		if err != nil {
			return nil, err
		}
		iam, err := optional(a, "iam-policy", d.second, wif.ParseIAMPolicy)
		if err != nil {
			return nil, err
		}
		return p.Lint(iam, a.Now()), nil
	}
	v, err := a.vaultDocuments(d, path)
	if err != nil {
		return nil, err
	}
	return v.role.Lint(v.config, a.Now()), nil
}

// vaultDocuments reads the role, and the mount's configuration from a file of its
// own, or from the role's.
func (a *app) vaultDocuments(d policyDocuments, path string) (*vaultPolicy, error) {
	both, err := parsed(a, "", path, parseVault)
	if err != nil || d.second == "" {
		return both, err
	}
	both.config, err = optional(a, "config", d.second, jwtrole.ParseConfig)
	return both, err
}

func (a *app) showFindings(findings []policy.Finding, path, format, failOn string) error {
	var err error
	switch format {
	case "json":
		if findings == nil {
			findings = []policy.Finding{}
		}
		err = a.jsonResult(struct {
			Findings []policy.Finding `json:"findings"`
		}{findings})
	case "sarif":
		var b []byte
		if b, err = policy.SARIF(findings, filepath.ToSlash(path), versionOf().Version); err == nil {
			err = a.result(b)
		}
	default:
		err = a.result(findingsText(findings, path))
	}
	if err != nil {
		return err
	}
	for _, f := range findings {
		if failOn != "none" && f.Severity.AtLeast(policy.Severity(failOn)) {
			return resultStatus(fault.Refused)
		}
	}
	return nil
}

func findingsText(findings []policy.Finding, path string) []byte {
	var b strings.Builder
	if len(findings) == 0 {
		fmt.Fprintf(&b, "%s: nothing found\n", printable(path))
	}
	for _, f := range findings {
		place := printable(path)
		if f.Line > 0 {
			place += fmt.Sprintf(":%d:%d", f.Line, f.Column)
		}
		fmt.Fprintf(&b, "%s: %s %s: %s\n", place, f.Severity, f.ID, printable(f.Message))
		if f.Where != "" {
			fmt.Fprintf(&b, "    at       %s\n", printable(f.Where))
		}
		if f.Witness != nil {
			for i, line := range witnessLines(f.Witness) {
				label := ""
				if i == 0 {
					label = "let in"
				}
				fmt.Fprintf(&b, "    %-8s %s\n", label, printable(line))
			}
		}
		for i, line := range strings.Split(strings.TrimSpace(f.Fix), "\n") {
			label := ""
			if i == 0 {
				label = "fix"
			}
			fmt.Fprintf(&b, "    %-8s %s\n", label, printable(line))
		}
	}
	return []byte(b.String())
}

// witnessLines are the claims that tell who somebody is, of a token that is
// there whole in the other formats.
func witnessLines(c policy.Claims) []string {
	var lines []string
	for _, name := range []string{"iss", "sub", "aud", policy.ClaimProject, policy.ClaimOrigin, policy.ClaimRef, policy.ClaimSSHRerun, policy.ClaimContexts} {
		v, there := c[name]
		if !there {
			continue
		}
		b, err := json.Marshal(v)
		if err != nil {
			continue
		}
		lines = append(lines, fmt.Sprintf("%s = %s", name, b))
	}
	return lines
}

func (a *app) policyCheckCommand() *cobra.Command {
	return policyClouds(&cobra.Command{
		Use:   "check",
		Short: "Judge the job's token by a document, and explain every condition",
		Long: `Judge the job's token, or the claims in --claims FILE, as the cloud would, and explain
every condition: what was wanted, what the token has, where they first differ, and the
likely slip. The exit code is 0 for allow and 4 for deny and undecided.`,
		Example: "  oidc-broker policy check aws trust.json",
	}, a.checkCommand)
}

func (a *app) checkCommand(cloud string) *cobra.Command {
	var (
		format, claims string
		t              tokenOptions
	)
	d := policyDocuments{cloud: cloud}
	c := &cobra.Command{
		Use:     cloud + " FILE",
		Short:   "Judge a token by a trust at " + cloudName(cloud),
		Long:    "FILE is " + policyFile(cloud) + ".\nThe token is the job's, or one whose claims a file holds as JSON.",
		Example: "  oidc-broker policy check " + cloud + " trust.json --claims claims.json",
		Args:    oneFile,
		RunE: func(c *cobra.Command, args []string) error {
			if err := oneStdin(args[0], d.second, claims, t.File); err != nil {
				return err
			}
			j, err := a.check(c.Context(), d, args[0], claims, t)
			if err != nil {
				return err
			}
			return a.showJudgement(j, format)
		},
	}
	o := a.own(c)
	o.text(&claims, "claims", "OIDC_BROKER_CLAIMS", "`file` of a token's claims as JSON, instead of the job's token")
	if cloud == "aws" {
		o.text(&d.roleARN, "role-arn", "AWS_ROLE_ARN", "`ARN` of the role whose policy it is: it tells account and partition")
		o.text(&d.sessionName, "role-session-name", "AWS_ROLE_SESSION_NAME", "`name` of the session, where the policy looks at it")
	}
	d.declare(o)
	declareFormat(o, &format)
	t.declare(o)
	return c
}

func (a *app) check(ctx context.Context, d policyDocuments, path, claimsFile string, t tokenOptions) (policy.Judgement, error) {
	// The document first: what is wrong with it needs no token.
	judge, err := a.judge(d, path)
	if err != nil {
		return policy.Judgement{}, err
	}
	if claimsFile != "" {
		c, err := parsed(a, "claims", claimsFile, parseClaimsFile)
		if err != nil {
			return policy.Judgement{}, err
		}
		return judge(*c), nil
	}
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	token, err := a.finder(t).Find(ctx)
	if err != nil {
		return policy.Judgement{}, err
	}
	return judge(policy.Claims(token.Claims)), nil
}

// judge reads the documents and returns who judges by them.
func (a *app) judge(d policyDocuments, path string) (func(policy.Claims) policy.Judgement, error) {
	now := a.Now()
	switch d.cloud {
	case "aws":
		p, err := parsed(a, "", path, iam.Parse)
		return func(c policy.Claims) policy.Judgement {
			return p.Check(iam.Request{Claims: c, RoleARN: d.roleARN, RoleSessionName: d.sessionName, Now: now})
		}, err
	case "gcp":
		p, err := parsed(a, "", path, wif.Parse)
		if err != nil {
			return nil, err
		}
		iam, err := optional(a, "iam-policy", d.second, wif.ParseIAMPolicy)
		return func(c policy.Claims) policy.Judgement {
			return p.Check(wif.Request{Claims: c, IAM: iam, Now: now})
		}, err
	}
	v, err := a.vaultDocuments(d, path)
	return func(c policy.Claims) policy.Judgement {
		return v.role.Check(jwtrole.Request{Claims: c, Config: v.config, Now: now})
	}, err
}

func (a *app) showJudgement(j policy.Judgement, format string) error {
	var err error
	if format == "json" {
		err = a.jsonResult(j)
	} else {
		err = a.result(judgementText(j))
	}
	if err == nil && j.Verdict != policy.Allow {
		return resultStatus(fault.Refused)
	}
	return err
}

func judgementText(j policy.Judgement) []byte {
	var b strings.Builder
	line := func(indent, label, text string) {
		if text != "" {
			fmt.Fprintf(&b, "%s%-11s%s\n", indent, label, printable(text))
		}
	}
	fmt.Fprintf(&b, "%s", j.Verdict)
	if j.Reason != "" {
		fmt.Fprintf(&b, ": %s", printable(j.Reason))
	}
	b.WriteString("\n\n")
	for _, c := range j.Checks {
		line("", string(c.Verdict), c.Name)
		line("    ", "wanted", c.Wanted)
		line("    ", "got", c.Got)
		line("    ", "because", c.Reason)
		for _, h := range c.Hints {
			line("    ", "hint", h)
		}
	}
	if len(j.Attributes) > 0 {
		b.WriteString("\nattributes\n")
		var rows [][2]string
		for _, name := range slices.Sorted(maps.Keys(j.Attributes)) {
			rows = append(rows, [2]string{"    " + name, fmt.Sprint(j.Attributes[name])})
		}
		b.Write(table(rows))
	}
	if len(j.Principals) > 0 {
		b.WriteString("\nprincipals\n")
		for _, p := range j.Principals {
			line("    ", "", p)
		}
	}
	for _, n := range j.Notes {
		line("", "note", n)
	}
	return []byte(b.String())
}
