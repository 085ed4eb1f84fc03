package cli

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/oidc-broker/oidc-broker/pkg/aws"
	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/ini"
)

func (a *app) completionCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "completion",
		Short: "Print the completions for a shell",
		Long: `Print a script that teaches a shell to complete commands, options and their values: the
profiles of the AWS files, regions, formats, programs to run. The packages and archives
of a release have these scripts in place already.

A completion makes no call and reads no token. It asks this program for the candidates;
the variable OIDC_BROKER_COMPLETION_DESCRIPTIONS=false leaves their descriptions out.`,
		Example: `  source <(oidc-broker completion bash)`,
		Args:    noArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	for _, shell := range []struct {
		name, title, long, example string
		write                      func(*cobra.Command, io.Writer) error
	}{
		{
			"bash", "bash",
			"The script needs the package bash-completion, of any version that is still in use.",
			`  # in this shell
  source <(oidc-broker completion bash)

  # in every new one
  mkdir -p ~/.local/share/bash-completion/completions
  oidc-broker completion bash > ~/.local/share/bash-completion/completions/oidc-broker`,
			func(root *cobra.Command, w io.Writer) error { return root.GenBashCompletionV2(w, true) },
		},
		{
			"zsh", "zsh",
			"The completions have to be on, which 'autoload -U compinit; compinit' in ~/.zshrc does, and\nbefore it 'fpath=(~/.zsh/completions $fpath)'.",
			`  # in this shell
  source <(oidc-broker completion zsh)

  # in every new one
  mkdir -p ~/.zsh/completions
  oidc-broker completion zsh > ~/.zsh/completions/_oidc-broker`,
			(*cobra.Command).GenZshCompletion,
		},
		{
			"fish", "fish",
			"",
			`  # in this shell
  oidc-broker completion fish | source

  # in every new one
  mkdir -p ~/.config/fish/completions
  oidc-broker completion fish > ~/.config/fish/completions/oidc-broker.fish`,
			func(root *cobra.Command, w io.Writer) error { return root.GenFishCompletion(w, true) },
		},
		{
			"powershell", "PowerShell",
			"",
			`  # in this shell; for every new one, in the file $PROFILE
  oidc-broker completion powershell | Out-String | Invoke-Expression`,
			(*cobra.Command).GenPowerShellCompletionWithDesc,
		},
	} {
		c.AddCommand(&cobra.Command{
			Use:     shell.name,
			Short:   "Print the completions for " + shell.title,
			Long:    shell.long,
			Example: shell.example,
			Args:    noArgs,
			RunE: func(c *cobra.Command, _ []string) error {
				var b strings.Builder
				if err := shell.write(c.Root(), &b); err != nil {
					return err
				}
				return a.result([]byte(b.String()))
			},
		})
	}
	return c
}

// completing says whether a shell asks for candidates.
func completing(args []string) bool {
	return len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd)
}

// complete tells cobra what the arguments and the values of options can be. It is
// done only when a shell asks, for every start would pay for it.
func (a *app) complete(c *cobra.Command) error {
	switch {
	case strings.Contains(c.Use, "-- COMMAND"):
		c.ValidArgsFunction = a.completeCommand
	case !strings.Contains(c.Use, "FILE"):
		c.ValidArgsFunction = cobra.NoFileCompletions
	}
	var failed error
	c.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
		value, usage := pflag.UnquoteUsage(f)
		f.Usage = strings.TrimSuffix(usage, withEnv("", strings.Join(f.Annotations[envNote], " ")))
		if from := a.candidates(f, value); from != nil && failed == nil {
			failed = c.RegisterFlagCompletionFunc(f.Name, from)
		}
	})
	for _, sub := range c.Commands() {
		if failed == nil {
			failed = a.complete(sub)
		}
	}
	return failed
}

// candidates says where the values of an option come from; nil means files.
func (a *app) candidates(f *pflag.Flag, value string) cobra.CompletionFunc {
	if choices, ok := f.Annotations[oneOfNote]; ok {
		return from(func() []string { return choices })
	}
	switch f.Name {
	case "profile":
		return from(a.profileNames)
	case "region":
		return from(aws.Regions)
	case "token-env":
		return from(a.tokenVariables)
	case "partition":
		return from(func() []string { return []string{"aws", "aws-cn", "aws-us-gov", "aws-eusc"} })
	case "kv-version":
		return from(func() []string { return []string{"1", "2"} })
	}
	switch value {
	case "file", "command":
		return nil
	case "directory":
		return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		}
	}
	return cobra.NoFileCompletions
}

// from makes a completion of what get returns.
func from(get func() []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		var all []string
		for _, v := range get() {
			if strings.HasPrefix(v, typed) {
				all = append(all, v)
			}
		}
		return all, cobra.ShellCompDirectiveNoFileComp
	}
}

// profileNames are the names of the profiles in the AWS files, as far as the files
// can be read.
func (a *app) profileNames() []string {
	files, err := aws.FindFiles(a.Getenv)
	if err != nil {
		return nil
	}
	var names []string
	for _, p := range aws.Profiles(sectionsOf(files.Credentials), sectionsOf(files.Config)) {
		if ini.LikelyProfile(p.Name) {
			names = append(names, p.Name)
		}
	}
	slices.Sort(names)
	return names
}

// sectionsOf reads an AWS file up to the first mistake in it.
func sectionsOf(path string) []ini.Section {
	b, err := files.Head(path, maxDocument)
	if err != nil {
		return nil
	}
	sections, _ := ini.ReadINI(b)
	return sections
}

// tokenVariables are the names of the variables that hold a token.
func (a *app) tokenVariables() []string {
	var names []string
	for _, v := range a.Environ() {
		if name, value, _ := strings.Cut(v, "="); ci.LooksLikeToken(value) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// completeCommand completes what stands after --: a program, then files.
func (a *app) completeCommand(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	switch {
	case !slices.Contains(a.Args[:len(a.Args)-1], "--"):
		return []string{"--\tthe command to run follows"}, cobra.ShellCompDirectiveNoFileComp
	case len(args) > 0 || typed == "" || strings.ContainsAny(typed, `/\`):
		return nil, cobra.ShellCompDirectiveDefault
	}
	return a.programs(typed), cobra.ShellCompDirectiveDefault
}

// programs are the names on PATH that begin with what was typed.
func (a *app) programs(typed string) []string {
	var names []string
	for _, dir := range filepath.SplitList(a.Getenv("PATH")) {
		entries, err := os.ReadDir(dir)
		if err != nil || !filepath.IsAbs(dir) {
			continue
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), typed) && runnable(filepath.Join(dir, e.Name())) && clean(e.Name()) == e.Name() {
				names = append(names, e.Name())
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func runnable(path string) bool {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	if runtime.GOOS == "windows" {
		return strings.EqualFold(filepath.Ext(path), ".exe")
	}
	return info.Mode()&0o111 != 0
}
