// Package ci knows the CI systems: how a job of each is recognised, where its token
// is or how one is minted, why there may be none, and what its claims mean. A system is
// a file, and a line in Systems.
package ci

import (
	"context"
	"crypto/sha256"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// A System is a CI system: everything that is specific to it.
type System struct {
	Name, Title string
	// Signs are the variables that show that a job of it runs: NAME, or NAME=VALUE.
	Signs []string
	// Job are the variables that tell two of its jobs apart; without the first one,
	// nothing does.
	Job []string
	// JobName is the variable with the job's name.
	JobName string
	// Mints says that another token can be had while the job runs.
	Mints bool
	// Token finds or mints a token.
	Token func(ctx context.Context, f Finder, w Want) (oidc.Token, error)
	// Look returns the token that Token begins with where it is in the environment.
	Look func(ctx context.Context, f Finder) (t oidc.Token, found bool, err error)
	// Missing says why no token can be had, by the environment alone, and what to
	// declare, ready to paste; nil, and nil of it: no reason is known.
	Missing func(f Finder, audience string) error
	// Variables are the names of the variables that its token may be in, * for any text.
	Variables []string
	// Files are the variables that name a file with the token.
	Files []string
	// Requests are the variables that serve to request a token, and for nothing else.
	Requests []string
	// Mask is the line that keeps a value out of the job's log, {} for the value. The
	// system reads it on standard error as well; empty: it reads none.
	Mask string
	// Audience is the only one that its tokens have; empty: any can be had.
	Audience string
	// Expired is what to do about a token that has expired.
	Expired string
	// Issuer is the pattern of its tokens' iss, Example one that it matches.
	Issuer, Example string
	// Lifetime says how long a token is valid by default. No code relies on it.
	Lifetime string
	// Claims are those beside iss, sub, aud and the times, with who controls each.
	Claims []Claim
	// Key is the claim that tells its projects apart, by an id that is never another's.
	Key string
	// Reads are further variables that are read, and what for.
	Reads [][2]string
	// Subject are the forms of sub: a name in braces for each part that varies.
	Subject Grammar
	// AWSKeys are the claims that AWS can test beside aud and sub.
	AWSKeys []string
	// Samples are payloads of tokens of different jobs; times and aud are left out.
	Samples []Sample
}

// A Want is what a token is for.
type Want struct {
	Audience string // empty: the system's own default
	Demanded bool   // the user asked for the audience: no other one will do
	New      bool   // the one that the environment has is no longer of use
}

// Control says who decides what a claim says.
type Control string

// From the least that a policy may rely on to the most.
const (
	ByAnyone   Control = "anyone who opens a pull request"
	ByMember   Control = "a member who can push or change the pipeline"
	ByPlatform Control = "the platform"
)

// A Claim is one that a system's tokens have.
type Claim struct {
	Name    string
	Kind    string // text, number, boolean, list, object
	Control Control
}

// A Sample is the payload of one kind of job.
type Sample struct {
	Name   string
	Claims map[string]any
}

// Systems are the CI systems, in the order in which they are looked for. A runner often
// is a machine or a pod of a cloud: that cloud's own identity comes last.
func Systems() []*System {
	return []*System{
		circleCI(), github(), gitlab(), buildkite(), bitbucket(), azureDevOps(), hcpTerraform(),
		jenkins(), semaphore(), spacelift(), env0(), vercel(),
		google(), fly(), kubernetes(),
	}
}

// Names are the systems' names, as --ci has them.
func Names() []string {
	var all []string
	for _, s := range Systems() {
		all = append(all, s.Name)
	}
	return all
}

// Named returns the system of that name, or nil.
func Named(name string) *System {
	for _, s := range Systems() {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// Detect returns the system whose job this is, and the variable that shows it; nil
// where none does. It looks at the environment alone.
func Detect(getenv func(string) string) (s *System, sign string) {
	for _, s := range Systems() {
		if sign := s.Shown(getenv); sign != "" {
			return s, sign
		}
	}
	return nil, ""
}

// Shown returns the variable that shows that this is a job of the system, or "".
func (s *System) Shown(getenv func(string) string) string {
	for _, sign := range s.Signs {
		name, want, exact := strings.Cut(sign, "=")
		if got := strings.TrimSpace(getenv(name)); got != "" && (!exact || strings.EqualFold(got, want)) {
			return name
		}
	}
	return ""
}

// ClaimNames are the claims that the system's tokens can have, the registered ones first.
func (s *System) ClaimNames() []string {
	all := []string{"iss", "sub", "aud", "iat", "exp"}
	for _, c := range s.Claims {
		all = append(all, c.Name)
	}
	return all
}

// Issuing returns the system whose tokens have this issuer, or nil for one that any
// system's could be.
func Issuing(issuer string) *System {
	for _, i := range issuers() {
		if i.form.MatchString(issuer) {
			return i.system
		}
	}
	return nil
}

// issuers are the forms of the systems' issuers, compiled when one is first looked for.
var issuers = sync.OnceValue(func() (all []issuing) {
	for _, s := range Systems() {
		if s.Issuer != "" {
			all = append(all, issuing{s, regexp.MustCompile(`^(?:` + s.Issuer + `)$`)})
		}
	}
	return all
})

type issuing struct {
	system *System
	form   *regexp.Regexp
}

// Of returns the system that a token is of, by its issuer or its claims: a server in a
// company's own network has an issuer of its own. nil: any system's.
func Of(t oidc.Token) *System {
	for name := range t.Claims {
		if strings.HasPrefix(name, ClaimPrefix) {
			return circleCI()
		}
	}
	return Issuing(t.Issuer)
}

// TitleOf is the name of the system that a token is of, for messages.
func TitleOf(t oidc.Token) string {
	if s := Of(t); s != nil {
		return s.Title
	}
	return "CI"
}

// SeenByAWS are the claims of a token that AWS can test, for messages.
func SeenByAWS(t oidc.Token) string {
	all := []string{"aud", "sub"}
	if s := Of(t); s != nil {
		for _, key := range s.AWSKeys {
			all = append(all, strings.TrimPrefix(key, ClaimPrefix))
		}
	}
	last := len(all) - 1
	return strings.Join(all[:last], ", ") + " and " + all[last]
}

// KeyOf is the claim that tells the projects of a token's system apart, for messages.
func KeyOf(t oidc.Token) string {
	if s := Of(t); s != nil && s.Key != "" {
		return s.Key
	}
	return "sub"
}

// JobID returns what tells a job from all others, or "": for what one job leaves behind
// on a machine, and another does not clean up.
func JobID(getenv func(string) string) string {
	s, _ := Detect(getenv)
	if s == nil {
		s = circleCI() // whose variables may be there without those that show it
	}
	if len(s.Job) == 0 || getenv(s.Job[0]) == "" {
		return ""
	}
	if s.Name == "circleci" {
		return strings.TrimSpace(getenv(s.Job[0]))
	}
	// One of them may be an address, which has no place in a file.
	all := sha256.New()
	for _, name := range s.Job {
		_, _ = fmt.Fprintf(all, "%s=%s\n", name, getenv(name))
	}
	return fmt.Sprintf("%s-%x", s.Name, all.Sum(nil)[:16])
}

// JobName returns the job's name, and the variable that holds it.
func JobName(getenv func(string) string) (name, variable string) {
	s, _ := Detect(getenv)
	if s == nil {
		s = circleCI() // whose variables may be there without those that show it
	}
	if s.JobName == "" {
		return "", ""
	}
	return getenv(s.JobName), s.JobName
}

// A Grammar is the forms of a subject, the one with the most parts first:
// repo:{owner}/{repo}:ref:{ref}.
type Grammar []string

// Other returns a subject with another first part: another organisation's, repository's
// or project's, whatever the system tells apart first.
func (g Grammar) Other(subject, first string) string {
	parts := g.Parse(subject)
	if len(parts) == 0 {
		return first
	}
	return strings.Replace(subject, parts[0].Value, first, 1)
}

// A Part is a part of a subject.
type Part struct{ Name, Value string }

// Parse returns the parts of a subject, by the first form that it has; none where it
// has no form.
func (g Grammar) Parse(subject string) []Part {
	names := regexp.MustCompile(`\\\{([a-z_]+)\\\}`)
	for _, form := range g {
		quoted := regexp.QuoteMeta(form)
		fields := names.FindAllStringSubmatch(quoted, -1)
		pattern := names.ReplaceAllString(quoted, `(.+?)`)
		values := regexp.MustCompile(`^` + pattern + `$`).FindStringSubmatch(subject)
		if values == nil {
			continue
		}
		var parts []Part
		for i, f := range fields {
			parts = append(parts, Part{f[1], values[i+1]})
		}
		return parts
	}
	return nil
}
