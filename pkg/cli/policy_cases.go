package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
	"github.com/oidc-broker/oidc-broker/pkg/policy/iam"
	"github.com/oidc-broker/oidc-broker/pkg/policy/jwtrole"
	"github.com/oidc-broker/oidc-broker/pkg/policy/wif"
)

func (a *app) policyTestCommand() *cobra.Command {
	var junit, format string
	c := &cobra.Command{
		Use:   "test FILE",
		Short: "Run a table of tokens that have to get in, or not",
		Long: `Run the cases of a YAML file: documents of any cloud, and for each of them tokens with
the verdict that is expected. It belongs into the CI of the repository that holds the
documents. The form of the file is in docs/policy.md. The exit code is 4 when a case is
not as expected.`,
		Example: "  oidc-broker policy test trust-cases.yaml --junit results.xml",
		Args:    oneFile,
		RunE: func(c *cobra.Command, args []string) error {
			return a.policyTest(c.Context(), args[0], junit, format)
		},
	}
	o := a.own(c)
	o.text(&junit, "junit", "OIDC_BROKER_JUNIT", "`file` for the results as JUnit XML")
	declareFormat(o, &format)
	return c
}

func (a *app) policyTest(ctx context.Context, path, junit, format string) error {
	b, err := a.document("", path)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path) // of standard input, "."
	results, err := policy.RunCases(b, func(name string) ([]byte, error) {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return a.document("", name)
	}, a.Now(), iam.Language(), wif.Language(), jwtrole.Language())
	if err != nil {
		return fault.New(fault.KindOf(err), "%s: %w", document("", path), err)
	}
	if junit != "" {
		x, err := policy.JUnit(results)
		if err != nil {
			return err
		}
		edit := files.Edit{Path: junit, Apply: func([]byte) ([]byte, error) { return x, nil }}
		if err := files.Commit(ctx, edit); err != nil {
			return fault.New(fault.KindOf(err), "cannot write the results: %w", err)
		}
	}
	failed := 0
	for _, r := range results {
		if r.Failure != "" {
			failed++
		}
	}
	if format == "json" {
		err = a.jsonResult(struct {
			Cases  []policy.CaseResult `json:"cases"`
			Failed int                 `json:"failed"`
		}{results, failed})
	} else {
		err = a.result(casesText(results, failed))
	}
	if err == nil && failed > 0 {
		return resultStatus(fault.Refused)
	}
	return err
}

func casesText(results []policy.CaseResult, failed int) []byte {
	var b strings.Builder
	document := ""
	for _, r := range results {
		if r.Document != document {
			document = r.Document
			fmt.Fprintf(&b, "%s\n", printable(document))
		}
		if r.Failure == "" {
			fmt.Fprintf(&b, "  ok    %s: %s\n", printable(r.Title()), r.Got)
			continue
		}
		fmt.Fprintf(&b, "  FAIL  %s: %s\n", printable(r.Title()), printable(r.Failure))
		if r.Reason != "" {
			fmt.Fprintf(&b, "        %s\n", printable(r.Reason))
		}
	}
	fmt.Fprintf(&b, "%d cases, %d failed\n", len(results), failed)
	return []byte(b.String())
}
