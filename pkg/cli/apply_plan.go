package cli

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/aws"
	"github.com/oidc-broker/oidc-broker/pkg/internal/broker"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
	"github.com/oidc-broker/oidc-broker/pkg/vault"
)

// A plan is what 'apply' is going to do. When it is settled, nothing in it can be
// wrong any more that this machine could know.
type plan struct {
	*app
	path    string        // of the file, - for standard input
	trusted bool          // everyone who can change the file is
	command tokenOptions  // on the command line
	token   tokenOptions  // for all targets
	server  vault.Options // how Vaults are reached, where their targets do not say
	targets []*target     // in the order of the file
	claimed map[string]claim
	taken   map[fault.Option]string // the variables that options which the file leaves out are from
	notes   []string

	profiles  []aws.DeliveredProfile // that are written
	awsEdits  []files.Edit           // as far as they are known before the exchange
	awsFiles  aws.Files
	conflicts []broker.Conflict
}

// An applySpec is a target as the file has it.
type applySpec interface {
	mapping
	// settle checks it and finds out what it takes.
	settle(*plan, *target) error
}

// A target is one exchange, and what is written of it.
type target struct {
	kind, name string
	spec       applySpec
	via        *target // whose credentials take the token's place; nil: none
	viaName    entry
	ownToken   *applyToken

	chosen bool // to be written
	needed bool // chosen, or the source of one that is

	// conflicts are what of this job takes precedence over what is written; it gets the
	// names of all gcloud configurations that are.
	conflicts func(configurations []string) []broker.Conflict

	token tokenOptions
	// receiver is the audience of the token where none is chosen.
	receiver string
	roles    []string  // of AWS, in order
	calls    []string  // in order, for --dry-run
	files    []written // as far as they are known without a token
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
	edits       []files.Edit
	identity    string // whose access it is, as the receiver names it
	files       []written

	session   *vault.Session // to be revoked when anything fails
	tokenPath string         // where its token is written; "": nowhere
	leases    bool           // that end with it
}

// String names a target in messages.
func (t *target) String() string { return fmt.Sprintf("%s target %q", t.kind, t.name) }

// at is where the target stands.
func (t *target) at() place { return *t.spec.place() }

// mistake is an error about the target as it stands in the file.
func (t *target) mistake(at place, format string, args ...any) *fault.Error {
	return misplaced(at, "%s: %s", t, fmt.Sprintf(format, args...))
}

// located puts a provider's error where the file has what it is about.
func (p *plan) located(t *target, err error) error { return p.locatedIn(t.spec, t.String(), err) }

// newPlan settles what the file asks for.
func (a *app) newPlan(f *applyFile, r *applyRun) (*plan, error) {
	p := &plan{app: a, path: r.file, command: r.token, server: r.vaults.options, trusted: r.trustFile, claimed: map[string]claim{}, taken: map[fault.Option]string{}}
	if err := p.finder(r.token).Check(); err != nil {
		return nil, err
	}
	var err error
	if err := p.untrusted(r, f, f.what()); err != nil {
		return nil, err
	}
	if p.token, err = p.settleToken(&f.applyToken, r.token, f.what(), f); err != nil {
		return nil, err
	}
	if err := p.collect(f); err != nil {
		return nil, err
	}
	for _, check := range []func() error{p.unique, func() error { return p.untrustedTargets(r) }, p.resolveVia, p.circular, func() error { return p.choose(r.only) }} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	if p.path != "-" {
		if err := p.claim(p.path, claim{by: "this file"}); err != nil {
			return nil, err
		}
	}
	for _, t := range p.targets {
		if !t.needed {
			continue
		}
		if t.token, err = p.settleToken(t.ownToken, p.token, t.String(), t.spec); err != nil {
			return nil, err
		}
		if err := t.spec.settle(p, t); err != nil {
			return nil, err
		}
	}
	return p, p.partitions()
}

// collect names the targets of the file, and puts them in its order.
func (p *plan) collect(f *applyFile) error {
	for i := range f.AWS {
		c := &f.AWS[i]
		t := &target{kind: "aws", name: c.Name.text, spec: c, viaName: c.Via, ownToken: &c.applyToken}
		if t.name == "" {
			t.name = c.Profile.text
		}
		if t.name == "" {
			return misplaced(c.at, "an aws target has neither profile nor name").
				Hint("profile is the one to write; name alone is for a role that others come via")
		}
		p.targets = append(p.targets, t)
	}
	for i := range f.GCP {
		c := &f.GCP[i]
		p.targets = append(p.targets, &target{kind: "gcp", name: c.Name.text, spec: c, ownToken: &c.applyToken})
	}
	for i := range f.Vault {
		c := &f.Vault[i]
		p.targets = append(p.targets, &target{kind: "vault", name: c.Name.text, spec: c, ownToken: &c.applyToken})
	}
	slices.SortStableFunc(p.targets, func(a, b *target) int {
		return cmp.Or(cmp.Compare(a.at().line, b.at().line), cmp.Compare(a.at().column, b.at().column))
	})
	return nil
}

// targetName is what targets can be called: a file may be named for one.
const targetName = `^[A-Za-z0-9][A-Za-z0-9_.@/+=,:%-]*$`

// unique refuses targets without a name of their own, and two that write one AWS
// profile.
func (p *plan) unique() error {
	names, profiles := map[[2]string]*target{}, map[string]*target{}
	valid := regexp.MustCompile(targetName)
	for _, t := range p.targets {
		at := t.at()
		for _, e := range entriesOf(t.spec) {
			if e.text == t.name && (e.name == "name" || e.name == "profile") {
				at = e.at
				break
			}
		}
		id := [2]string{t.kind, t.name}
		switch other := names[id]; {
		case t.name == "":
			return misplaced(at, "a %s target has no name", t.kind).Hint("give it one: messages and --only call it by its name")
		case !valid.MatchString(t.name):
			return misplaced(at, "%q cannot be a target's name", t.name).Hint("use letters, digits and _.@/+=,:%%-, and begin with one of the first two")
		case other != nil:
			return misplaced(at, "two %s targets are called %q", t.kind, t.name).Hint("the other begins in line %d", other.at().line)
		}
		names[id] = t
		c, ok := t.spec.(*applyAWS)
		if !ok || !c.Profile.given() {
			continue
		}
		if other := profiles[c.Profile.text]; other != nil {
			return t.mistake(c.Profile.at, "the profile %q is written by %s too", c.Profile.text, other)
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
			return t.mistake(t.viaName.at, "via %q: there is no %s target of that name", t.viaName.text, t.kind).
				Hint("there are %s", strings.Join(known, ", "))
		}
		for _, e := range entriesOf(t.spec) {
			if isTokenKey(e.name) {
				return t.mistake(e.at, "%s: it uses no token of its own, for it comes via %q", e.name, t.viaName.text)
			}
		}
	}
	return nil
}

// isTokenKey says whether a key is about the job's token.
func isTokenKey(key string) bool {
	switch key {
	case "token-env", "token-file", "audience", "token-version", "require-claim", "refuse-ssh-rerun", "min-validity":
		return true
	}
	return false
}

// circular refuses targets that come via themselves.
func (p *plan) circular() error {
	for _, t := range p.targets {
		path := []string{t.name}
		for s := t.via; s != nil && len(path) <= len(p.targets); s = s.via {
			if path = append(path, s.name); s == t {
				return t.mistake(t.viaName.at, "it comes via itself: %s", strings.Join(path, " via ")).
					Hint("one of them has to begin with the job's token: without via")
			}
		}
	}
	return nil
}

// partitions refuses a way from one of AWS's partitions into another.
func (p *plan) partitions() error {
	partition := func(arn string) string { return strings.SplitN(arn, ":", 3)[1] }
	for _, t := range p.targets {
		if !t.needed || t.via == nil {
			continue
		}
		from, to := partition(t.via.roles[0]), partition(t.roles[0])
		if from != to {
			return t.mistake(t.viaName.at, "via %q: that role is in the partition %s, and this one in %s", t.via.name, from, to).
				Hint("no role of one partition can be assumed from another: take a role of %s that trusts the job's token", to)
		}
	}
	return nil
}

// choose marks what is to be written, and what that needs.
func (p *plan) choose(only []string) error {
	for _, name := range only {
		if !slices.ContainsFunc(p.targets, func(t *target) bool { return t.name == name }) {
			return fault.New(fault.Usage, "%s %q: there is no target of that name", fault.Option("only"), name).
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

// settleToken puts a choice of the token over another. What guards demand is
// demanded of both.
func (p *plan) settleToken(t *applyToken, over tokenOptions, whose string, of mapping) (tokenOptions, error) {
	o := over
	if t.TokenEnv.given() || t.TokenFile.given() || t.Audience.given() {
		o.Env, o.Audience = t.TokenEnv.text, t.Audience.text
		var err error
		if o.File, err = p.filePath(t.TokenFile, whose); err != nil {
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
		return o, p.locatedIn(of, whose, err)
	}
	if o.File == "-" && p.path == "-" {
		return o, fault.New(fault.Usage, "standard input, -, is given for the file and for the token")
	}
	return o, nil
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

// writes notes a file that the target writes as a whole.
func (p *plan) writes(t *target, path, holds string, at place) error {
	shown := path
	if abs, err := filepath.Abs(path); err == nil {
		shown = abs
	}
	t.files = append(t.files, written{Path: shown, Holds: holds})
	return p.claim(path, claim{t.String(), at, false})
}

// realPath is a path that is the same for two names of one file: absolute, and
// without symbolic links in what there is of it.
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

// filePath is the path that an entry names. No shell has seen it: ~/ is replaced
// here.
func (p *plan) filePath(e entry, whose string) (string, error) {
	rest, tilde := strings.CutPrefix(e.text, "~")
	if !tilde {
		return e.text, nil
	}
	if rest != "" && rest[0] != '/' {
		return "", misplaced(e.at, "%s: %q: only ~/ is expanded", whose, e.text).Hint("write the path in full")
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

// fromEnvironment gives an option that the file leaves out its variable's value.
func (p *plan) fromEnvironment(option fault.Option, to *string, names ...string) error {
	for _, name := range names {
		if *to != "" {
			return nil
		}
		v, err := p.variable(name)
		if err != nil {
			return err
		}
		if *to = v; v != "" {
			p.taken[option] = name
		}
	}
	return nil
}

// noteOnce tells the same thing about several targets once.
func (p *plan) noteOnce(text string) {
	if !slices.Contains(p.notes, text) {
		p.notes = append(p.notes, text)
	}
}
