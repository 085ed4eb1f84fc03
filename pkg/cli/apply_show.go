package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/deliver"
)

// noteShadows says what in this job's environment wins over what was written. No
// variable is exported here, but one may be there.
func (p *plan) noteShadows() {
	var profiles, defaults, token bool
	for _, t := range p.targets {
		for _, f := range t.files {
			profiles = profiles || f.Section != ""
			defaults = defaults || f.Section == "default"
			token = token || t.kind == "vault" && strings.HasSuffix(f.Path, ".vault-token")
		}
	}
	set := func(names ...string) string {
		for _, n := range names {
			if strings.TrimSpace(p.Getenv(n)) != "" {
				return n
			}
		}
		return ""
	}
	if n := set("AWS_ACCESS_KEY_ID"); n != "" && profiles {
		p.note(n + " is set in this job: tools take it, and no profile, unless they are told one (--profile)")
	} else if n := set("AWS_WEB_IDENTITY_TOKEN_FILE"); n != "" && profiles && set("AWS_ROLE_ARN") != "" {
		p.note(n + " and AWS_ROLE_ARN are set in this job: tools take them, and no profile, unless they are told one (--profile)")
	}
	if profiles && deliver.HasBlock(p.Getenv("BASH_ENV"), "aws") {
		p.note("$BASH_ENV holds AWS credentials of 'aws env --bash-env': in later steps they win over the profiles")
	}
	if n := set("AWS_PROFILE", "AWS_DEFAULT_PROFILE"); n != "" && defaults && p.Getenv(n) != "default" {
		p.note(n + " is set in this job: tools take the profile that it names, and not default")
	}
	if n := set("BAO_TOKEN", "VAULT_TOKEN"); n != "" && token {
		p.note(n + " is set in this job: vault and bao take it, and not the file")
	}
}

// show says what would be done.
func (p *plan) show(format string) error {
	var shown []shownTarget
	for _, t := range p.targets {
		if t.needed {
			s := shownTarget{Kind: t.kind, Name: t.name, Calls: t.calls, Files: append([]written{}, t.files...)}
			if t.via != nil {
				s.Via = t.via.name
			}
			shown = append(shown, s)
		}
	}
	if format == "json" {
		return p.jsonResult(map[string]any{"targets": shown})
	}
	var b strings.Builder
	for _, s := range shown {
		title := s.Kind + " " + s.Name
		if s.Via != "" {
			title += " via " + s.Via
		}
		fmt.Fprintln(&b, printable(title))
		for _, c := range s.Calls {
			fmt.Fprintln(&b, "  call ", printable(c))
		}
		for _, f := range s.Files {
			fmt.Fprintln(&b, "  write", printable(f.String()))
		}
	}
	return p.result([]byte(b.String()))
}

// shownTarget is a target in JSON: what would be done, or what was.
type shownTarget struct {
	Kind    string    `json:"kind"`
	Name    string    `json:"name"`
	Via     string    `json:"via,omitempty"`
	Calls   []string  `json:"calls,omitempty"`
	Expires string    `json:"expires,omitempty"`
	Files   []written `json:"files"`
}

func (w written) String() string {
	if w.Section == "" {
		return fmt.Sprintf("%s into %q", w.Holds, w.Path)
	}
	return fmt.Sprintf("%s into [%s] of %q", w.Holds, w.Section, w.Path)
}

func (p *plan) showResults(results []*result) error {
	shown := make([]shownTarget, 0, len(results))
	for _, r := range results {
		if !r.target.chosen {
			continue
		}
		s := shownTarget{Kind: r.target.kind, Name: r.target.name, Files: r.files}
		if !r.expires.IsZero() {
			s.Expires = r.expires.UTC().Format(time.RFC3339)
		}
		shown = append(shown, s)
	}
	return p.jsonResult(map[string]any{"targets": shown})
}
