package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ManPages returns a manual page for each command, by the names of their files.
// version and date stand at the foot of each.
func (m Manual) ManPages(version, date string) map[string]string {
	pages := map[string]string{}
	parents := map[string]string{}
	m.Walk(func(c Manual) {
		for _, sub := range c.Commands {
			parents[sub.Path] = c.Path
		}
		p := manPage{command: c}
		p.line(".TH %s 1 %s %s %s", quoteRoff(strings.ToUpper(manName(c.Path))), date, quoteRoff("oidc-broker "+version), quoteRoff("oidc-broker manual"))
		p.body(parents[c.Path])
		pages[manName(c.Path)+".1"] = p.text.String()
	})
	return pages
}

func manName(path string) string { return strings.ReplaceAll(path, " ", "-") }

// manPage writes one page in the language of man(7).
type manPage struct {
	command Manual
	text    strings.Builder
}

func (p *manPage) line(format string, args ...any) {
	fmt.Fprintf(&p.text, format+"\n", args...)
}

func (p *manPage) section(title string) { p.line(".SH %s", quoteRoff(strings.ToUpper(title))) }

func (p *manPage) body(parent string) {
	c := p.command
	p.section("Name")
	p.line("%s \\- %s", roff(manName(c.Path)), roff(c.Short))
	p.section("Synopsis")
	p.line(".B %s", roff(c.Usage))
	if len(c.Commands) > 0 {
		p.line(".br\n.B %s", roff(c.Path+" [command] ..."))
	}
	p.section("Description")
	p.paragraphs(cmp.Or(c.Long, c.Short+"."))
	if len(c.Commands) > 0 {
		p.section("Commands")
		for _, sub := range c.Commands {
			p.item(`\fB`+roff(manName(sub.Path))+`\fR(1)`, sub.Short)
		}
	}
	p.options("Options", c.Options)
	p.options("Options of every "+parent+" command", c.Inherited)
	p.options("Options of every command", c.Everywhere)
	if c.Example != "" {
		p.section("Examples")
		p.line(".nf\n%s\n.fi", roff(unindent(c.Example)))
	}
	p.variables()
	p.section("Exit status")
	for code, meaning := range exits {
		p.item(fmt.Sprintf(`\fB%d\fR`, code), meaning)
	}
	p.seeAlso(parent)
}

// paragraphs writes text, and what is indented in it as it is.
func (p *manPage) paragraphs(text string) {
	for i, paragraph := range strings.Split(strings.TrimSpace(text), "\n\n") {
		if i > 0 {
			p.line(".PP")
		}
		if strings.HasPrefix(paragraph, " ") {
			paragraph = ".nf\n" + roff(paragraph) + "\n.fi"
		} else {
			paragraph = roff(paragraph)
		}
		p.line("%s", paragraph)
	}
}

func (p *manPage) item(tag, text string) { p.line(".TP\n%s\n%s", tag, roff(text)) }

func (p *manPage) options(title string, options []Option) {
	if len(options) == 0 {
		return
	}
	p.section(title)
	for _, o := range options {
		tag := `\fB` + roff("--"+o.Name) + `\fR`
		if o.Value != "" {
			tag += ` \fI` + roff(o.Value) + `\fR`
		}
		p.item(tag, o.Usage)
	}
}

// variables lists those of the options. The page of the program itself has the
// others.
func (p *manPage) variables() {
	of := map[string][]string{}
	for _, o := range slices.Concat(p.command.Options, p.command.Inherited, p.command.Everywhere) {
		for _, v := range o.Variables {
			of[v] = append(of[v], "--"+o.Name)
		}
	}
	var others []Variable
	if !strings.Contains(p.command.Path, " ") {
		others = Variables()
	}
	if len(of)+len(others) == 0 {
		return
	}
	p.section("Environment")
	for _, v := range slices.Sorted(maps.Keys(of)) {
		p.item(`\fB`+roff(v)+`\fR`, strings.Join(of[v], ", "))
	}
	for _, v := range others {
		p.item(`\fB`+roff(v.Name)+`\fR`, v.Meaning)
	}
}

func (p *manPage) seeAlso(parent string) {
	var names []string
	if parent != "" {
		names = append(names, parent)
	}
	for _, sub := range p.command.Commands {
		names = append(names, sub.Path)
	}
	p.section("See also")
	for i, name := range names {
		comma := ","
		if i == len(names)-1 {
			comma = ""
		}
		p.line(`.BR %s (1)%s`, roff(manName(name)), comma)
	}
}

// roff keeps a text from meaning anything to roff: its escapes, the minus that
// would become a hyphen, and a control line's first character.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}

// quoteRoff makes one argument of a macro.
func quoteRoff(text string) string { return `"` + strings.ReplaceAll(roff(text), `"`, `\(dq`) + `"` }
