package cli

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpWidth is the column at which descriptions of options are wrapped.
const helpWidth = 100

// usage prints a command's usage. It is cobra's own layout with wrapped
// options; a template of cobra's would do the same, but text/template makes the
// linker keep every method there is: 2.6 MB.
func usage(c *cobra.Command) error {
	var b strings.Builder
	b.WriteString("Usage:\n")
	if c.Runnable() {
		fmt.Fprintf(&b, "  %s\n", useLine(c))
	}
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "  %s [command]\n", c.CommandPath())
	}
	if c.HasExample() {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", c.Example)
	}
	writeCommands(&b, c)
	if c.HasAvailableLocalFlags() {
		fmt.Fprintf(&b, "\nOptions:\n%s", localFlags(c).FlagUsagesWrapped(helpWidth))
	}
	if c.HasAvailableInheritedFlags() {
		fmt.Fprintf(&b, "\nOptions of every %s:\n%s", strings.TrimSuffix(c.Parent().CommandPath()+" command", " "), inheritedFlags(c).FlagUsagesWrapped(helpWidth))
	}
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\n'%s [command] --help' says more about a command.\n", c.CommandPath())
	}
	_, err := fmt.Fprint(c.OutOrStderr(), b.String())
	return err
}

// useLine is how a command is called. Options stand before its arguments, for
// some of these are a command of their own.
func useLine(c *cobra.Command) string {
	_, arguments, _ := strings.Cut(c.Use, " ")
	return strings.TrimSpace(c.CommandPath() + " [options] " + arguments)
}

// localFlags and inheritedFlags keep the order in which options are declared: what
// matters most comes first.
func localFlags(c *cobra.Command) *pflag.FlagSet {
	c.Flags().SortFlags = false
	f := c.LocalFlags()
	f.SortFlags = false
	return f
}

func inheritedFlags(c *cobra.Command) *pflag.FlagSet {
	f := c.InheritedFlags()
	f.SortFlags = false
	return f
}

// writeCommands lists a command's subcommands, by groups where there are some.
func writeCommands(b *strings.Builder, c *cobra.Command) {
	if !c.HasAvailableSubCommands() {
		return
	}
	titles := []string{""}
	if groups := c.Groups(); len(groups) > 0 {
		titles = nil
		for _, g := range groups {
			titles = append(titles, g.ID)
		}
	}
	for _, title := range titles {
		fmt.Fprintf(b, "\n%s:\n", cmp.Or(title, "Commands"))
		for _, sub := range c.Commands() {
			if sub.GroupID == title && (sub.IsAvailableCommand() || sub.Name() == "help") {
				fmt.Fprintf(b, "  %-*s %s\n", c.NamePadding(), sub.Name(), sub.Short)
			}
		}
	}
}
