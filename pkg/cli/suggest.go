package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// otherNames are what other tools call options of ours, where no likeness tells.
var otherNames = map[string]string{
	"workload-identity-pool-id":          "pool-id",
	"workload-identity-pool-provider-id": "provider-id",
	"role-to-assume":                     "role-arn",
	"role-duration-seconds":              "session-duration",
	"managed-session-policies":           "policy-arn",
	"gcp-cred-config-file-path":          "output-file",
	"web-identity-token-file":            "token-file",
}

const (
	mostSuggestions = 3  // more are not worth reading
	longestName     = 64 // what is longer is no name of an option
)

// flagError is what a command line says whose options cannot be read.
func flagError(c *cobra.Command, err error) error {
	e := fault.New(fault.Usage, "%s", lowerFirst(err.Error()))
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		hintFlag(c, e, unknown)
	}
	return e.Hint("see '%s --help'", c.CommandPath())
}

// hintFlag says which option was meant: one of the command's, or another
// command's of that name.
func hintFlag(c *cobra.Command, e *fault.Error, unknown *pflag.NotExistError) {
	name := unknown.GetSpecifiedName()
	if short := unknown.GetSpecifiedShortnames(); short != "" {
		name, _, _ = strings.Cut(short, "=")
		if len(name) == 1 {
			e.Hint("options have long names here, with two dashes")
			return
		}
	}
	if near := nearestFlags(c, name); len(near) > 0 {
		e.Hint("did you mean %s?", strings.Join(near, ", or "))
		return
	}
	if strings.Contains(c.Use, "-- COMMAND") {
		e.Hint("the options of the command to run stand with it after --: %s -- COMMAND", c.CommandPath())
	}
	if others := commandsWith(c, name); len(others) > 0 {
		e.Hint("--%s is an option of %s", name, quoted(others))
	}
}

// nearestFlags are the options of c that are most like name.
func nearestFlags(c *cobra.Command, name string) []string {
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	if own, ok := otherNames[name]; ok && c.Flags().Lookup(own) != nil {
		return []string{"--" + own}
	}
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	near := nearest(name, names)
	for i := range near {
		near[i] = "--" + near[i]
	}
	return near
}

// nearest returns the names that are most like name, if any is like it at all.
func nearest(name string, names []string) []string {
	var (
		found []string
		most  float64
	)
	for _, n := range names {
		l := likeness(name, n)
		if l == 0 || l < most {
			continue
		}
		if l > most {
			most, found = l, nil
		}
		found = append(found, n)
	}
	return found[:min(len(found), mostSuggestions)]
}

// likeness is 1 for equal names and 0 for names that have nothing to do with
// each other: a slip of the fingers changes few letters, and other tools put
// other words around the one that matters.
func likeness(a, b string) float64 {
	if len(a) > longestName {
		return 0
	}
	letters := 1 - float64(distance(a, b))/float64(max(len(a), len(b)))
	switch {
	case letters >= 0.65:
	case len(a) > 2 && strings.HasPrefix(b, a):
		letters = 0.65
	default:
		letters = 0
	}
	inA, inB := strings.Split(a, "-"), strings.Split(b, "-")
	shared := 0
	for _, w := range inA {
		if slices.Contains(inB, w) {
			shared++
		}
	}
	words := 2 * float64(shared) / float64(len(inA)+len(inB))
	if words < 0.5 {
		words = 0
	}
	return max(letters, words)
}

// distance is how many letters have to be changed, added, taken away or swapped
// with their neighbour to make b of a.
func distance(a, b string) int {
	before, last := []int(nil), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}

// commandsWith are the commands that have an option of this name: those of the
// same provider, if there are any, and of them the ones that are reached first.
func commandsWith(c *cobra.Command, name string) []string {
	top := c
	for top.HasParent() && top.Parent().HasParent() {
		top = top.Parent()
	}
	for _, from := range []*cobra.Command{top, c.Root()} {
		if found := reachedFirst(from, func(sub *cobra.Command) bool {
			return sub.NonInheritedFlags().Lookup(name) != nil
		}); len(found) > 0 {
			return found
		}
	}
	return nil
}

// reachedFirst are the paths of the available commands below c that have it,
// those with the fewest words only.
func reachedFirst(c *cobra.Command, has func(*cobra.Command) bool) []string {
	for level := []*cobra.Command{c}; len(level) > 0; {
		var found []string
		var below []*cobra.Command
		for _, sub := range level {
			if has(sub) {
				found = append(found, sub.CommandPath())
			}
			for _, s := range sub.Commands() {
				if s.IsAvailableCommand() {
					below = append(below, s)
				}
			}
		}
		if len(found) > 0 {
			return found[:min(len(found), mostSuggestions)]
		}
		level = below
	}
	return nil
}

// nearestCommands are the commands below c that name may have meant: one
// beside it that is spelled like it, else one of that name further down.
func nearestCommands(c *cobra.Command, name string) []string {
	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	name = strings.ToLower(name)
	near := nearest(name, names)
	for i := range near {
		near[i] = c.CommandPath() + " " + near[i]
	}
	if len(near) > 0 {
		return near
	}
	return reachedFirst(c, func(sub *cobra.Command) bool {
		return sub != c && (sub.Name() == name || slices.Contains(sub.SuggestFor, name))
	})
}

func quoted(all []string) string {
	out := make([]string, len(all))
	for i, s := range all {
		out[i] = fmt.Sprintf("'%s'", s)
	}
	return strings.Join(out, ", ")
}
