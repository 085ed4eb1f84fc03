package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// exits says what the exit codes mean.
var exits = [...]string{
	"done",
	"internal: a bug of oidc-broker's",
	"the command line",
	"the token: missing, malformed, expired",
	"refused by the cloud or by a policy",
	"unavailable: tried again, in vain",
	"this machine: files, locks",
}

// Markdown returns the pages of the reference, by the names of their files.
func (m Manual) Markdown() map[string]string {
	pages := map[string]string{"README.md": m.index(), "environment.md": m.environment()}
	for _, sub := range m.Commands {
		var b strings.Builder
		sub.Walk(func(c Manual) { c.section(&b, c.Path == sub.Path) })
		b.WriteString("\n" + generated)
		pages[sub.name()+".md"] = b.String()
	}
	return pages
}

// generated ends each page.
const generated = "---\n\nGenerated from the commands themselves: `oidc-broker --help` says the same. [All commands](README.md) · [all variables](environment.md)\n"

// name is the last word of the command's path.
func (m Manual) name() string { return m.Path[strings.LastIndex(m.Path, " ")+1:] }

func (m Manual) index() string {
	var b strings.Builder
	b.WriteString("# Reference\n\n" + plain(m.Long) + "\n\n```text\n" + m.Usage + "\noidc-broker [command]\n```\n")
	for _, group := range m.Groups {
		fmt.Fprintf(&b, "\n## %s\n\n| command | |\n|---|---|\n", group)
		for _, top := range m.Commands {
			if top.Group != group {
				continue
			}
			top.Walk(func(c Manual) {
				fmt.Fprintf(&b, "| [`%s`](%s.md%s) | %s |\n", c.Path, top.name(), c.anchor(), cell(c.Short))
			})
		}
	}
	b.WriteString("\n## Options of every command\n\n")
	b.WriteString(optionTable(m.Everywhere))
	b.WriteString("\n## Exit codes\n\n| code | whose move it is |\n|---|---|\n")
	for code, meaning := range exits {
		fmt.Fprintf(&b, "| %d | %s |\n", code, meaning)
	}
	b.WriteString("\n`exec` and `sandbox` end with the code of the command that they ran; 126 and 127 are as in a shell. Every error is in\n[troubleshooting](../troubleshooting.md).\n")
	b.WriteString("\n" + strings.Replace(generated, "[All commands](README.md) · [all variables]", "[All variables]", 1))
	return b.String()
}

func (m Manual) anchor() string { return "#" + strings.ReplaceAll(m.Path, " ", "-") }

// section writes what is to say about one command.
func (m Manual) section(b *strings.Builder, first bool) {
	heading := "\n## "
	if first {
		heading = "# "
	}
	fmt.Fprintf(b, "%s%s\n\n%s.\n\n```text\n%s\n```\n", heading, m.Path, plain(m.Short), m.Usage)
	if m.Long != "" {
		b.WriteString("\n" + plain(m.Long) + "\n")
	}
	if m.Example != "" {
		b.WriteString("\n```sh\n" + unindent(m.Example) + "\n```\n")
	}
	if len(m.Commands) > 0 {
		b.WriteString("\n| command | |\n|---|---|\n")
		for _, sub := range m.Commands {
			fmt.Fprintf(b, "| [`%s`](%s) | %s |\n", sub.Path, sub.anchor(), cell(sub.Short))
		}
	}
	if len(m.Options) > 0 {
		b.WriteString("\n" + optionTable(m.Options))
	}
	and := "[those of every command](README.md#options-of-every-command)"
	if parent := m.Path[:strings.LastIndex(m.Path, " ")]; len(m.Inherited) > 0 {
		and = fmt.Sprintf("those of [`%s`](#%s) and %s", parent, strings.ReplaceAll(parent, " ", "-"), and)
	}
	fmt.Fprintf(b, "\nBesides: %s.\n", and)
}

func optionTable(options []Option) string {
	var b strings.Builder
	b.WriteString("| option | variable | |\n|---|---|---|\n")
	for _, o := range options {
		var names []string
		for _, v := range o.Variables {
			names = append(names, "`"+v+"`")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", o.spelling(), strings.Join(names, ", "), cell(o.Usage))
	}
	return b.String()
}

func (o Option) spelling() string { return strings.TrimSpace("--" + o.Name + " " + o.Value) }

// environment lists the variables.
func (m Manual) environment() string {
	type use struct{ options, commands []string }
	uses := map[string]*use{}
	for _, top := range append([]Manual{{Path: m.Path, Options: m.Everywhere}}, m.Commands...) {
		top.Walk(func(c Manual) {
			for _, o := range c.Options {
				for _, v := range o.Variables {
					if uses[v] == nil {
						uses[v] = &use{}
					}
					uses[v].options = append(uses[v].options, "`--"+o.Name+"`")
					command := "[" + top.name() + "](" + top.name() + ".md)"
					if top.Path == m.Path {
						command = "[every command](README.md#options-of-every-command)"
					}
					uses[v].commands = append(uses[v].commands, command)
				}
			}
		})
	}
	var b strings.Builder
	b.WriteString(`# Environment variables

An option takes its value from its flag, else from the first of its variables that is set, else by default. Values are trimmed. A switch
takes true, yes, on or 1, and false, no, off or 0. A list is parted by white space or commas.

## Of options

| variable | option | of |
|---|---|---|
`)
	for _, v := range slices.Sorted(maps.Keys(uses)) {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", v, unique(uses[v].options), unique(uses[v].commands))
	}
	b.WriteString("\n## Others that are read\n\nWhat only `oidc-broker doctor` looks at is in [its page](../doctor.md).\n\n| variable | what it does |\n|---|---|\n")
	for _, v := range Variables() {
		fmt.Fprintf(&b, "| `%s` | %s |\n", strings.ReplaceAll(v.Name, ", ", "`, `"), cell(v.Meaning))
	}
	b.WriteString("\n" + strings.Replace(generated, " · [all variables](environment.md)", "", 1))
	return b.String()
}

func unique(all []string) string {
	all = slices.Clone(all)
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ", ")
}

// plain keeps a text from meaning anything in Markdown.
func plain(text string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "<", `\<`, "[", `\[`, "`", "\\`", "$", `\$`).Replace(text)
}

// cell is plain for a table.
func cell(text string) string { return strings.ReplaceAll(plain(text), "|", `\|`) }

// unindent takes away what all lines begin with.
func unindent(text string) string {
	lines := strings.Split(text, "\n")
	least := len(text)
	for _, l := range lines {
		if l != "" {
			least = min(least, len(l)-len(strings.TrimLeft(l, " ")))
		}
	}
	for i, l := range lines {
		lines[i] = l[min(least, len(l)):]
	}
	return cmp.Or(strings.Join(lines, "\n"), text)
}
