package cli

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
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
		fmt.Fprintf(&b, "  %s\n", c.UseLine())
	}
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "  %s [command]\n", c.CommandPath())
	}
	if c.HasExample() {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", c.Example)
	}
	writeCommands(&b, c)
	if c.HasAvailableLocalFlags() {
		fmt.Fprintf(&b, "\nOptions:\n%s", c.LocalFlags().FlagUsagesWrapped(helpWidth))
	}
	if c.HasAvailableInheritedFlags() {
		fmt.Fprintf(&b, "\nOptions of every %s:\n%s", strings.TrimSuffix(c.Parent().CommandPath()+" command", " "), c.InheritedFlags().FlagUsagesWrapped(helpWidth))
	}
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\n'%s [command] --help' says more about a command.\n", c.CommandPath())
	}
	_, err := fmt.Fprint(c.OutOrStderr(), b.String())
	return err
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
