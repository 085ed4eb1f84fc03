// Package doctor looks at a job's token, the variables and files of the tools that take
// its credentials, and the machine, and says what would go wrong. It changes nothing.
package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// The severities of findings.
const (
	Error   = "error"   // a command fails, or takes other credentials than it should
	Warning = "warning" // some tools fail, or it works and should not be so
	Note    = "note"    // worth knowing
	OK      = "ok"      // nothing was found
)

// A Finding is something that would go wrong, and what to do about it. No value
// of a variable is in it but paths, ARNs, hosts and the names of regions and
// profiles.
type Finding struct {
	ID       string `json:"id"`
	Severity string `json:"severity"`
	Message  string `json:"message"`
	Why      string `json:"why,omitempty"`
	Remedy   string `json:"remedy,omitempty"`
	Group    string `json:"group"`

	kind fault.Kind // the exit code of a severe one; 0: its check's
}

func fails(format string, args ...any) Finding {
	return Finding{Severity: Error, Message: fmt.Sprintf(format, args...)}
}

func warns(format string, args ...any) Finding {
	return Finding{Severity: Warning, Message: fmt.Sprintf(format, args...)}
}

func notes(format string, args ...any) Finding {
	return Finding{Severity: Note, Message: fmt.Sprintf(format, args...)}
}

func passes(format string, args ...any) Finding {
	return Finding{Severity: OK, Message: fmt.Sprintf(format, args...)}
}

// failed makes a finding of an error: its hints are the remedy.
func failed(err error) Finding {
	flags := fault.Naming(func(o fault.Option) string { return "--" + string(o) })
	return Finding{
		Severity: Error, Message: flags.Text(err), Remedy: strings.Join(flags.Hints(err), "; "), kind: fault.KindOf(err),
	}
}

func (f Finding) because(format string, args ...any) Finding {
	f.Why = fmt.Sprintf(format, args...)
	return f
}

func (f Finding) remedy(format string, args ...any) Finding {
	f.Remedy = fmt.Sprintf(format, args...)
	return f
}

// orRemedy is for an error that came without a hint.
func (f Finding) orRemedy(text string) Finding {
	if f.Remedy == "" {
		f.Remedy = text
	}
	return f
}

// A check is a row of doctor's table: it looks at one thing that can be wrong.
type check struct {
	id    string
	title string // what is so when nothing is found
	look  func(*view) []Finding
}

// A group is the checks of one subject. kind is the exit code of what fails there.
type group struct {
	name   string
	kind   fault.Kind
	checks []check
}

// groups returns all checks, in the order in which they are shown.
func groups(online bool, trusts []Trust) []group {
	all := []group{
		{"token", fault.Token, tokenChecks()},
		{"aws", fault.Local, append(awsChecks(), append(awsFileChecks(), awsProfileChecks()...)...)},
		{"google", fault.Local, googleChecks()},
		{"vault", fault.Local, vaultChecks()},
		{"shell", fault.Local, shellChecks()},
		{"machine", fault.Local, machineChecks()},
		{"leaks", fault.Local, checkoutChecks()},
	}
	if online {
		all = append(all, group{"online", fault.Unavailable, onlineChecks()})
	}
	if len(trusts) > 0 {
		all = append(all, policyGroup())
	}
	return all
}

// A Report is what all checks found.
type Report struct {
	Findings []Finding  // those of checks that found nothing, too
	Passed   int        // checks that found nothing
	Kind     fault.Kind // of the first error; 0: none was found
}

// Examine makes all checks.
func Examine(ctx context.Context, o Options) Report {
	return examine(newView(ctx, o), groups(o.Online, o.Trusts))
}

func examine(v *view, all []group) Report {
	var e Report
	for _, g := range all {
		for _, c := range g.checks {
			wrong := false
			found := c.look(v)
			for _, f := range found {
				f.ID, f.Group = c.id, g.name
				// The last line: no check quotes what could be a secret.
				f.Message, f.Why, f.Remedy = v.scrub(f.Message), v.scrub(f.Why), v.scrub(f.Remedy)
				if f.kind == 0 || f.kind == fault.Usage || f.kind == fault.Internal {
					f.kind = g.kind // what is no option here is this machine's
				}
				if f.Severity == Error && e.Kind == 0 {
					e.Kind = f.kind
				}
				wrong = wrong || f.Severity != OK
				e.Findings = append(e.Findings, f)
			}
			if !wrong {
				e.Passed++
			}
			if len(found) == 0 {
				e.Findings = append(e.Findings, Finding{ID: c.id, Group: g.name, Severity: OK, Message: c.title})
			}
		}
	}
	return e
}
