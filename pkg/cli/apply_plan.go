package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/aws"
	"github.com/oidc-broker/oidc-broker/pkg/fault"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
	"github.com/oidc-broker/oidc-broker/pkg/secret"
	"github.com/oidc-broker/oidc-broker/pkg/vault"
)

// A plan is what 'apply' is going to do. When it is settled, nothing in it can be
// wrong any more that this machine could know.
type plan struct {
	*app
	path    string        // of the file, - for standard input
	token   tokenOptions  // for all targets
	server  vault.Options // how Vaults are reached, where their targets do not say
	targets []*target     // in the order of the file, by kind
	claimed map[string]claim
	notes   []string
}

// A target is one exchange, and what is written of it.
type target struct {
	kind, name string
	at         place
	via        *target // whose credentials take the token's place; nil: none
	viaName    entry
	ownToken   applyToken
	of         described // as the file has it

	chosen bool // to be written
	needed bool // chosen, or the source of one that is

	token tokenOptions
	calls []string  // in order, for --dry-run
	files []written // as far as they are known without a token
	// tokenFile is where the job's token itself would be written; nil: nowhere.
	tokenFile func(oidc.Token) (string, error)
	exchange  func(context.Context, material) (outcome, error)
}

// written is a file, or a section of one.
type written struct {
	Path    string `json:"path"`
	Section string `json:"section,omitempty"`
	Holds   string `json:"holds"`
}

// material is what a target is made from.
type material struct {
	token oidc.Token
	via   aws.Credentials
}

// outcome is what an exchange has given.
type outcome struct {
	credentials aws.Credentials // for those that come from it
	expires     time.Time       // zero: never, or not known
	edits       []secret.Edit
	files       []written

	session   *vault.Session // to be revoked when anything fails
	tokenPath string         // where its token is written; "": nowhere
	leases    bool           // that end with it
}

// String names a target in messages.
func (t *target) String() string { return fmt.Sprintf("%s target %q", t.kind, t.name) }

// wrong is an error about the target as it stands in the file.
func (t *target) wrong(at place, format string, args ...any) *fault.Error {
	return misplaced(at, "%s: %s", t, fmt.Sprintf(format, args...))
}

// located puts a provider's error where the file has what it is about.
func (t *target) located(err error) error { return located(err, t.String(), t.at, t.of) }

// newPlan settles what the file asks for.
func (a *app) newPlan(f *applyFile, path string, only []string, token tokenOptions, server vault.Options) (*plan, error) {
	p := &plan{app: a, path: path, server: server, claimed: map[string]claim{}}
	if err := p.finder(token).Check(); err != nil {
		return nil, err
	}
	var err error
	if p.token, err = p.settleToken(f.Token, token, "token"); err != nil {
		return nil, err
	}
	for _, name := range []func(*applyFile) error{p.nameAWS, p.nameGCP, p.nameVault} {
		if err := name(f); err != nil {
			return nil, err
		}
	}
	for _, check := range []func() error{p.unique, p.resolveVia, func() error { return p.choose(only) }} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	if path != "-" {
		if err := p.claim(path, claim{"this file", place{}, false}); err != nil {
			return nil, err
		}
	}
	for _, t := range p.targets {
		if !t.needed {
			continue
		}
		if err := p.settle(t); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// settle checks one target and finds out what it takes.
func (p *plan) settle(t *target) error {
	var err error
	if t.token, err = p.settleToken(t.ownToken, p.token, t.String()); err != nil {
		return err
	}
	switch of := t.of.(type) {
	case *applyAWS:
		return p.settleAWS(t, of)
	case *applyGCP:
		return p.settleGCP(t, of)
	case *applyVault:
		return p.settleVault(t, of)
	}
	return nil
}

// settleToken puts a choice of the token over another. What guards demand is
// demanded of both.
func (p *plan) settleToken(t applyToken, over tokenOptions, whose string) (tokenOptions, error) {
	o := over
	if t.TokenEnv.given() || t.TokenFile.given() || t.Audience.given() {
		o.Env, o.Audience = t.TokenEnv.text, t.Audience.text
		var err error
		if o.File, err = p.place(t.TokenFile, whose); err != nil {
			return o, err
		}
	}
	if t.TokenVersion.given() {
		o.Version = t.TokenVersion.text
	}
	o.Claims = slices.Concat(over.Claims, texts(t.RequireClaim))
	o.RefuseSSHRerun = over.RefuseSSHRerun || t.RefuseSSHRerun.on
	if t.MinValidity.given() {
		var d duration
		if err := d.Set(t.MinValidity.text); err != nil {
			return o, misplaced(t.MinValidity.at, "%s: min-validity %q: %s", whose, t.MinValidity.text, err)
		}
		o.MinValidity = max(over.MinValidity, time.Duration(d))
	}
	if err := p.finder(o).Check(); err != nil {
		return o, located(err, whose, t.At, &t)
	}
	if o.File == "-" && p.path == "-" {
		return o, fault.New(fault.Usage, "standard input, -, is given for the file and for the token")
	}
	return o, nil
}

// named returns the name of a target that has to have one.
func named(kind string, at place, e entry) (string, error) {
	if !e.given() {
		return "", misplaced(at, "a %s target has no name", kind).Hint("give it one: messages and --only call it by its name")
	}
	return e.text, nil
}

// unique refuses two targets of one kind and name, and two AWS targets that write
// one profile.
func (p *plan) unique() error {
	names, profiles := map[[2]string]*target{}, map[string]*target{}
	for _, t := range p.targets {
		id := [2]string{t.kind, t.name}
		if names[id] != nil {
			return misplaced(t.at, "two %s targets are called %q", t.kind, t.name).
				Hint("the other begins in line %d", names[id].at.line)
		}
		names[id] = t
		c, ok := t.of.(*applyAWS)
		if !ok || !c.Profile.given() {
			continue
		}
		if other := profiles[c.Profile.text]; other != nil {
			return t.wrong(c.Profile.at, "the profile %q is written by %s too", c.Profile.text, other)
		}
		profiles[c.Profile.text] = t
	}
	return nil
}

// resolveVia finds the targets that others come from.
func (p *plan) resolveVia() error {
	for _, t := range p.targets {
		if !t.viaName.given() {
			continue
		}
		var known []string
		for _, other := range p.targets {
			if other.kind != t.kind {
				continue
			}
			if known = append(known, other.name); other.name == t.viaName.text {
				t.via = other
			}
		}
		if t.via == nil {
			return t.wrong(t.viaName.at, "via %q: there is no aws target of that name", t.viaName.text).
				Hint("there are %s", strings.Join(known, ", "))
		}
		if t.ownToken.At.line > 0 {
			return t.wrong(t.ownToken.At, "it has no token of its own: it comes via %q", t.viaName.text)
		}
	}
	for _, t := range p.targets {
		path := []string{t.name}
		for s := t.via; s != nil && len(path) <= len(p.targets); s = s.via {
			if path = append(path, s.name); s == t {
				return t.wrong(t.viaName.at, "it comes via itself: %s", strings.Join(path, " via ")).
					Hint("one of them has to begin with the job's token: without via")
			}
		}
	}
	return nil
}

// choose marks what is to be written, and what that needs.
func (p *plan) choose(only []string) error {
	for _, name := range only {
		if !slices.ContainsFunc(p.targets, func(t *target) bool { return t.name == name }) {
			return fault.New(fault.Usage, "--only %q: there is no target of that name", name).
				Hint("there are %s", strings.Join(p.names(), ", "))
		}
	}
	for _, t := range p.targets {
		t.chosen = len(only) == 0 || slices.Contains(only, t.name)
		if t.chosen {
			for s := t; s != nil; s = s.via {
				s.needed = true
			}
		}
	}
	return nil
}

func (p *plan) names() []string {
	var names []string
	for _, t := range p.targets {
		if !slices.Contains(names, t.name) {
			names = append(names, t.name)
		}
	}
	return names
}

// A claim is who writes a file, as a whole or, shared, sections of it.
type claim struct {
	by     string
	at     place
	shared bool
}

// claim refuses a file that something else writes, or that this very file is.
func (p *plan) claim(path string, c claim) error {
	id := realPath(path)
	other, taken := p.claimed[id]
	if taken && !(other.shared && c.shared) {
		return misplaced(c.at, "%s: the file %q is also that of %s", c.by, path, other.by).
			Hint("give it another; what a target writes takes a file's place")
	}
	p.claimed[id] = c
	return nil
}

// realPath is a path that is the same for two names of one file: absolute, and without
// symbolic links in what there is of it.
func realPath(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	for there, rest := abs, ""; ; there, rest = filepath.Dir(there), filepath.Join(filepath.Base(there), rest) {
		if target, err := filepath.EvalSymlinks(there); err == nil {
			return filepath.Join(target, rest)
		}
		if there == filepath.Dir(there) {
			return abs
		}
	}
}

// place is the path that an entry names. No shell has seen it: ~/ is replaced here.
func (p *plan) place(e entry, whose string) (string, error) {
	rest, tilde := strings.CutPrefix(e.text, "~")
	if !tilde {
		return e.text, nil
	}
	if rest != "" && rest[0] != '/' {
		return "", misplaced(e.at, "%s: %q: only ~/ is known as somebody's home", whose, e.text).Hint("write the path in full")
	}
	getenv, err := p.environment("HOME", "USERPROFILE")
	if err != nil {
		return "", err
	}
	for _, name := range []string{"HOME", "USERPROFILE"} {
		if home := getenv(name); home != "" {
			return filepath.Join(home, rest), nil
		}
	}
	return "", fault.New(fault.Local, "no home directory for %q: HOME is not set", e.text)
}

// first is the value of the first variable that has one.
func (p *plan) first(names ...string) (string, error) {
	for _, name := range names {
		if v, err := p.variable(name); err != nil || v != "" {
			return v, err
		}
	}
	return "", nil
}

// noteOnce tells the same thing about several targets once.
func (p *plan) noteOnce(text string) {
	if !slices.Contains(p.notes, text) {
		p.notes = append(p.notes, text)
	}
}
