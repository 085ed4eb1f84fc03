package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// The severities of findings.
const (
	severe  = "error"   // a command fails, or takes other credentials than it should
	warning = "warning" // some tools fail, or it works and should not be so
	remark  = "note"    // worth knowing
	fine    = "ok"      // nothing was found; shown with --verbose
)

// A finding is something that would go wrong, and what to do about it. No value
// of a variable is in it but paths, ARNs, hosts and the names of regions and
// profiles.
type finding struct {
	ID       string `json:"id"`
	Severity string `json:"severity"`
	Message  string `json:"message"`
	Why      string `json:"why,omitempty"`
	Remedy   string `json:"remedy,omitempty"`
	Group    string `json:"group"`

	kind fault.Kind // the exit code of a severe one; 0: its check's
}

func fails(format string, args ...any) finding {
	return finding{Severity: severe, Message: fmt.Sprintf(format, args...)}
}

func warns(format string, args ...any) finding {
	return finding{Severity: warning, Message: fmt.Sprintf(format, args...)}
}

func notes(format string, args ...any) finding {
	return finding{Severity: remark, Message: fmt.Sprintf(format, args...)}
}

func passes(format string, args ...any) finding {
	return finding{Severity: fine, Message: fmt.Sprintf(format, args...)}
}

// failed makes a finding of an error: its hints are the remedy.
func failed(err error) finding {
	return finding{
		Severity: severe, Message: err.Error(), Remedy: strings.Join(fault.Hints(err), "; "), kind: fault.KindOf(err),
	}
}

func (f finding) because(format string, args ...any) finding {
	f.Why = fmt.Sprintf(format, args...)
	return f
}

func (f finding) remedy(format string, args ...any) finding {
	f.Remedy = fmt.Sprintf(format, args...)
	return f
}

// orRemedy is for an error that came without a hint.
func (f finding) orRemedy(text string) finding {
	if f.Remedy == "" {
		f.Remedy = text
	}
	return f
}

// A check is a row of doctor's table: it looks at one thing that can be wrong.
type check struct {
	id    string
	title string // what is so when nothing is found
	look  func(*view) []finding
}

// A group is the checks of one subject. kind is the exit code of what fails there.
type group struct {
	name   string
	kind   fault.Kind
	checks []check
}

// groups returns all checks, in the order in which they are shown.
func groups(online bool) []group {
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
	return all
}

func (a *app) doctorCommand() *cobra.Command {
	var (
		t      tokenOptions
		files  trustFiles
		format string
		online bool
	)
	c := &cobra.Command{
		Use:        "doctor",
		SuggestFor: []string{"diagnose", "debug", "status"},
		Short:      "Look at this job, shell and machine, and say what would go wrong",
		Long: `Look at the job's token, the variables and files of the AWS, Google and Vault tools,
$BASH_ENV, this machine and the checkout, and say what would go wrong, why, and what to
do about it. Nothing is changed, no token is minted, no value of a variable is shown but
paths, ARNs, hosts and names. Without --online nothing is called either; with it, the
issuer and the clouds that the job uses are asked whether they are there. The documents
that the clouds judge by can be given: then the job's two tokens are held against them.

The exit code is 0 unless an error was found: then it is that of the first one, 3 for
the token, 4 for a document that refuses it, 6 for this machine, 5 for a cloud that is
not reached. Warnings and notes do not count. --verbose shows the checks that found
nothing too.`,
		Example: `  oidc-broker doctor
  oidc-broker doctor --online --verbose
  oidc-broker doctor --trust-policy trust.json
  oidc-broker doctor --format json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := a.finder(t).Check(); err != nil {
				return err
			}
			trusts, err := a.trusts(files, t)
			if err != nil {
				return err
			}
			return a.doctor(c.Context(), t, trusts, format, online)
		},
	}
	o := a.own(c)
	declareFormat(o, &format)
	o.switches(&online, "online", "OIDC_BROKER_ONLINE", "ask the issuer and the clouds too; nothing secret is sent")
	files.declare(o)
	t.declare(o)
	return c
}

// doctorStatus is how doctor ends that found an error: the result says it all.
type doctorStatus fault.Kind

func (doctorStatus) Error() string   { return "something would go wrong" }
func (d doctorStatus) ExitCode() int { return int(d) }

func (a *app) doctor(ctx context.Context, t tokenOptions, trusts []trust, format string, online bool) error {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	v, all := a.view(ctx, t), groups(online)
	if v.trusts = trusts; len(trusts) > 0 {
		all = append(all, policyGroup())
	}
	found := examine(v, all)
	if ctx.Err() == context.Canceled {
		return context.Canceled
	}
	var err error
	if format == "json" {
		err = a.jsonResult(found.object())
	} else {
		err = a.result(found.text(a.verbose))
	}
	if err == nil && found.status != 0 {
		return doctorStatus(found.status)
	}
	return err
}

// An examination is what all checks found.
type examination struct {
	all    []finding // the fine ones too
	ok     int       // checks that found nothing
	status fault.Kind
}

// examine makes all checks.
func examine(v *view, all []group) examination {
	var e examination
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
				if f.Severity == severe && e.status == 0 {
					e.status = f.kind
				}
				wrong = wrong || f.Severity != fine
				e.all = append(e.all, f)
			}
			if !wrong {
				e.ok++
			}
			if len(found) == 0 {
				e.all = append(e.all, finding{ID: c.id, Group: g.name, Severity: fine, Message: c.title})
			}
		}
	}
	return e
}

// object is the examination for programs.
func (e examination) object() any {
	out := struct {
		Findings []finding `json:"findings"`
		OK       int       `json:"ok"`
	}{[]finding{}, e.ok}
	for _, f := range e.all {
		if f.Severity != fine {
			out.Findings = append(out.Findings, f)
		}
	}
	return out
}

// text is the examination for people.
func (e examination) text(verbose bool) []byte {
	var b strings.Builder
	count := map[string]int{}
	last := ""
	for _, f := range e.all {
		count[f.Severity]++
		if f.Severity == fine && !verbose {
			continue
		}
		if f.Group != last {
			if last != "" {
				b.WriteByte('\n')
			}
			fmt.Fprintf(&b, "%s\n", f.Group)
			last = f.Group
		}
		fmt.Fprintf(&b, "  %-8s %s: %s\n", f.Severity, f.ID, clean(f.Message))
		if f.Why != "" {
			fmt.Fprintf(&b, "           why: %s\n", clean(f.Why))
		}
		if f.Remedy != "" {
			fmt.Fprintf(&b, "           remedy: %s\n", clean(f.Remedy))
		}
	}
	if last != "" {
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%s, %s, %s; %s found nothing\n", plural(count[severe], "error"), plural(count[warning], "warning"),
		plural(count[remark], "note"), plural(e.ok, "check"))
	return []byte(b.String())
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// MarshalJSON leaves the terminal's and other control characters to the printer,
// and takes tokens out that got here in spite of all.
func (f finding) MarshalJSON() ([]byte, error) {
	type plain finding
	f.Message, f.Why, f.Remedy = clean(f.Message), clean(f.Why), clean(f.Remedy)
	return json.Marshal(plain(f))
}
