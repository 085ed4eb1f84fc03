package cli

import (
	"fmt"
	"strings"
	"time"
)

// shownTarget is a target in JSON: what would be done, or what was.
type shownTarget struct {
	Kind     string    `json:"kind"`
	Name     string    `json:"name"`
	Via      string    `json:"via,omitempty"`
	Calls    []string  `json:"calls,omitempty"`    // that would be made
	Identity string    `json:"identity,omitempty"` // whose access was written
	Expires  string    `json:"expires,omitempty"`  // of what was written
	Files    []written `json:"files"`
}

func (w written) String() string {
	if w.Section == "" {
		return fmt.Sprintf("%s to %q", w.Holds, w.Path)
	}
	return fmt.Sprintf("%s to [%s] of %q", w.Holds, w.Section, w.Path)
}

// show says what would be done.
func (p *plan) show(format string) error {
	var shown []shownTarget
	for _, t := range p.targets {
		if !t.needed {
			continue
		}
		s := shownTarget{Kind: t.kind, Name: t.name, Calls: t.calls, Files: append([]written{}, t.files...)}
		if t.via != nil {
			s.Via = t.via.name
		}
		shown = append(shown, s)
	}
	return p.print(shown, format, func(s shownTarget) (title string, lines []string) {
		if title = s.Kind + " " + s.Name; s.Via != "" {
			title += " via " + s.Via
		}
		for _, c := range s.Calls {
			lines = append(lines, "would call "+c)
		}
		for _, f := range s.Files {
			lines = append(lines, "would write "+f.String())
		}
		return title, lines
	})
}

// showResults says what was done.
func (p *plan) showResults(results []*result, format string) error {
	var shown []shownTarget
	ends := map[string]string{}
	for _, r := range results {
		if !r.target.chosen || len(r.files) == 0 {
			continue
		}
		s := shownTarget{Kind: r.target.kind, Name: r.target.name, Identity: r.identity, Files: r.files}
		if !r.expires.IsZero() {
			s.Expires = r.expires.UTC().Format(time.RFC3339)
			ends[s.Expires] = p.until(r.expires)
		}
		shown = append(shown, s)
	}
	return p.print(shown, format, func(s shownTarget) (title string, lines []string) {
		if title = s.Kind + " " + s.Name; s.Expires != "" {
			title += " until " + ends[s.Expires]
		}
		for _, f := range s.Files {
			lines = append(lines, "wrote "+f.String())
		}
		lines = append(lines, "as "+s.Identity)
		return title, lines
	})
}

// print prints targets as JSON or as text.
func (p *plan) print(shown []shownTarget, format string, text func(shownTarget) (string, []string)) error {
	if format == "json" {
		return p.jsonResult(map[string]any{"targets": shown})
	}
	var b strings.Builder
	for _, s := range shown {
		title, lines := text(s)
		fmt.Fprintln(&b, printable(title))
		for _, l := range lines {
			fmt.Fprintln(&b, "  "+printable(l))
		}
	}
	return p.result([]byte(b.String()))
}

// noteEnvironment says what in this job's environment wins over what was written,
// or is missing for it. No variable is exported here, but one may be there.
func (p *plan) noteEnvironment() {
	var executable bool
	var configurations []string // of gcloud
	for _, t := range p.targets {
		if !t.chosen {
			continue
		}
		if c, ok := t.spec.(*applyGCP); ok {
			if c.Configuration.given() {
				configurations = append(configurations, c.Configuration.text)
			}
			executable = executable || c.Source.text == "executable"
		}
	}
	conflicts := p.conflicts
	for _, t := range p.targets {
		if t.chosen && t.conflicts != nil {
			conflicts = append(conflicts, t.conflicts(configurations)...)
		}
	}
	p.noteConflicts(conflicts)
	if executable && p.set("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES") == "" {
		p.note("source executable: Google's tools run no program unless GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES is 1 in the step that uses the configuration")
	}
}

// set is the first of the variables that has a value.
func (p *plan) set(names ...string) string {
	for _, n := range names {
		if strings.TrimSpace(p.Getenv(n)) != "" {
			return n
		}
	}
	return ""
}
