package ci

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// Finder finds the job's token: the options that choose it, and the world that
// it is found in.
type Finder struct {
	Env      string // --token-env: the variable to read; "" means by default
	File     string // --token-file: the file to read, "-" for Stdin
	Audience string // --audience: mint a token for this audience
	Version  string // --token-version: "v1", "v2" or ""
	CI       string // --ci: the system's name; "" means the one that is detected
	// DefaultAudience is what the receiver expects, for a system that has no default
	// of its own.
	DefaultAudience string
	// RootIssuer mints a token of CircleCI's issuer for all organisations, as PyPI wants.
	RootIssuer bool
	Guards     Guards

	Getenv func(string) string // nil: os.Getenv
	// Environ returns the environment as NAME=VALUE; nil: no variable is found by a
	// part of its name.
	Environ func() []string
	// Client returns the HTTP client with which a token is requested; nil: one of the
	// machine's.
	Client func() *remote.Client
	Stdin  io.Reader        // nil: empty
	Now    func() time.Time // nil: time.Now
	// Run runs a program and returns what it printed. An error that satisfies
	// errors.Is(err, fs.ErrNotExist) means that the program is not on PATH. Nil runs it.
	Run func(ctx context.Context, argv ...string) (stdout, stderr []byte, err error)
	// Note is told what the user did not ask for: that another token is used than the
	// job's; nil means nobody is.
	Note func(text string)
	// Found is told each token that Find and Renew return; nil means nobody is.
	Found func(secret.Value)
	// Log is told where the token came from; nil means nobody is.
	Log func(format string, args ...any)
}

// jwtStart is how any token begins: two JSON objects in base64.
const jwtStart = `eyJ[A-Za-z0-9_-]+\.eyJ`

// LooksLikeToken says whether a text holds what a token begins with.
func LooksLikeToken(s string) bool {
	return strings.Contains(s, "eyJ") && regexp.MustCompile(jwtStart).MatchString(s)
}

// Check reports options that contradict each other or have no such value, as a
// fault.Usage.
func (f Finder) Check() error {
	var given []fault.Option
	for _, o := range []struct {
		name  fault.Option
		value string
	}{{"token-env", f.Env}, {"token-file", f.File}, {"audience", f.Audience}, {"token-version", f.Version}} {
		if LooksLikeToken(o.value) {
			// --token-env "$TOKEN": messages quote names of
			// variables and files, and an audience goes into an argument.
			return fault.New(fault.Usage, "%s is given a token itself", o.name).
				Hint("give the name of the variable or file that holds it: %s %s", fault.Option("token-env"), f.example(EnvV1))
		}
		if o.value != "" && o.name != "token-version" {
			given = append(given, o.name)
		}
	}
	if len(given) > 1 {
		return fault.New(fault.Usage, "%s each name the token: give one of them", fault.List(" and ", given...))
	}
	if f.Version != "" && f.Version != "v1" && f.Version != "v2" {
		return fault.New(fault.Usage, "%s %q is neither v1 nor v2", fault.Option("token-version"), f.Version)
	}
	s, _ := f.System()
	switch {
	case f.CI != "" && s == nil:
		return fault.NotOneOf("ci", f.CI, Names())
	case s != nil && s.Audience != "" && f.Audience != "" && f.Audience != s.Audience:
		return fault.New(fault.Usage, "%s %q cannot be had: the tokens of %s are always for %s", fault.Option("audience"), f.Audience, s.Title, s.Audience).
			Hint("leave %s out, and let the receiver's trust expect that audience", fault.Option("audience"))
	}
	if f.RootIssuer && f.source().Name != "circleci" {
		return fault.New(fault.Usage, "%s is CircleCI's: %s has one issuer", fault.Option("root-issuer"), s.Title)
	}
	return f.Guards.settle()
}

// System returns the CI system that --ci names or the environment shows, and what
// shows it; nil where none does.
func (f Finder) System() (s *System, sign string) {
	if f.CI != "" {
		return Named(f.CI), "--ci"
	}
	if f.Getenv == nil {
		return nil, ""
	}
	return Detect(f.Getenv)
}

// source is the system that gives the token. Where none is detected it is CircleCI:
// its program mints also where a shell was given none of the job's variables.
func (f Finder) source() *System {
	if s, _ := f.System(); s != nil {
		return s
	}
	return circleCI()
}

// ByReceiver says that each receiver gets a token of its own: CircleCI's default is the
// organisation, for all of them.
func (f Finder) ByReceiver() bool {
	s, _ := f.System()
	return s != nil && s.Name != "circleci"
}

// Lasts says that no newer token than t can be had while the job runs, and why.
func (f Finder) Lasts(t oidc.Token) (why string, last bool) {
	s, _ := f.System()
	switch {
	case s == nil || s.Name == "circleci" || f.File != "" || len(s.Files) > 0:
		return "", false
	case f.Env != "":
		return fmt.Sprintf("the token in %s expires then, and --token-env names no other one", t.Source), true
	case !s.Mints:
		return fmt.Sprintf("the token in %s expires then, and %s makes no other one while the job runs", t.Source, s.Title), true
	}
	return "", false
}

// example is a variable that --token-env could name: CircleCI's, or any.
func (f Finder) example(circle string) string {
	if f.source().Name == "circleci" {
		return circle
	}
	return "NAME"
}

// wanted is what a token is requested for where the user chose none.
func (f Finder) wanted() Want {
	s := f.source()
	audience := f.DefaultAudience
	if s.Audience != "" {
		audience = s.Audience
	}
	if f.Audience != "" {
		return Want{Audience: f.Audience, Demanded: true}
	}
	return Want{Audience: audience}
}

// Find returns the token: the one that the options name, else the one that the CI system
// has put into the job's environment, else a minted one. It is parsed and
// has not expired, and has what the Guards demand (else fault.Refused). Every other
// error is a fault.Token, but for a file that cannot be read (fault.Local),
// options that Check refuses, and context.Canceled.
func (f Finder) Find(ctx context.Context) (oidc.Token, error) {
	f = f.orReal()
	return f.judged(f.find(ctx))
}

// Renew returns a token that ends later than old, which Find returned: a minted
// one for the same audience, or what the file of --token-file holds by now. Errors
// are as those of Find.
func (f Finder) Renew(ctx context.Context, old oidc.Token) (oidc.Token, error) {
	f = f.orReal()
	if err := f.Check(); err != nil {
		return oidc.Token{}, err
	}
	var t oidc.Token
	var err error
	switch {
	case f.Env != "":
		return oidc.Token{}, fault.New(fault.Token, "the variable %q, which %s names, gets no newer token", f.Env, fault.Option("token-env")).
			Hint("without %s, or with %s, a new one is minted", fault.Option("token-env"), fault.Option("audience"))
	case f.File == "-":
		return oidc.Token{}, fault.New(fault.Token, "standard input gives no second token").
			Hint("without %s a new one is minted", fault.Option("token-file"))
	case f.File != "":
		t, err = f.read(ctx)
	default:
		w := f.wanted()
		w.New = true
		if w.Audience == "" || f.source().Name == "circleci" && !w.Demanded {
			w.Audience = old.Audience[0]
		}
		t, err = f.source().Token(ctx, f, w)
	}
	if t, err = f.judged(t, err); err != nil {
		return oidc.Token{}, err
	}
	if !t.Expiry.After(old.Expiry) {
		e := fault.New(fault.Token, "there is no newer token in %s than the one that ends at %s", t.Source, old.Expiry.Format(time.RFC3339))
		if s := f.source(); f.File == "" && !s.Mints && len(s.Files) == 0 {
			e = e.Hint("%s makes one token for each audience when the job starts: what it gives is valid until then", s.Title)
		}
		return oidc.Token{}, e
	}
	return t, nil
}

// judged lets a token pass that is of use.
func (f Finder) judged(t oidc.Token, err error) (oidc.Token, error) {
	if err != nil {
		return oidc.Token{}, err
	}
	if t.Expired(f.Now()) {
		return oidc.Token{}, f.expired(t)
	}
	if err := f.Guards.check(t, f.Now()); err != nil {
		return oidc.Token{}, err
	}
	if s, _ := f.System(); s != nil && f.Note != nil && (f.Env != "" || f.File != "") {
		if of := Of(t); of != nil && of != s && of.Name != s.Name {
			f.Note(fmt.Sprintf("the token in %s is of %s, by its issuer, and this is a job of %s", t.Source, of.Title, s.Title))
		}
	}
	if f.Found != nil {
		f.Found(t.Raw)
	}
	if f.Log != nil {
		f.Log("token from %s, %s, valid until %s", t.Source, cmp.Or(Version(t), f.source().Title), t.Expiry.Format(time.RFC3339))
	}
	return t, nil
}

func (f Finder) find(ctx context.Context) (oidc.Token, error) {
	if err := f.Check(); err != nil {
		return oidc.Token{}, err
	}
	switch {
	case f.Env != "":
		v := strings.TrimSpace(f.Getenv(f.Env))
		if v == "" {
			return oidc.Token{}, fault.New(fault.Token, "the variable %q, which %s names, is not set", f.Env, fault.Option("token-env")).
				Hint("give the variable's name, without $: %s %s", fault.Option("token-env"), f.example(EnvV2))
		}
		return oidc.Parse(v, f.Env)
	case f.File != "":
		return f.read(ctx)
	}
	return f.source().Token(ctx, f, f.wanted())
}

// read reads the file, or standard input, until ctx ends: a pipe may never say
// anything.
func (f Finder) read(ctx context.Context) (oidc.Token, error) {
	source := "standard input"
	var b []byte
	var err error
	if f.File == "-" {
		b, err = files.ReadStream(ctx, source, io.LimitReader(f.Stdin, oidc.MaxToken+2), oidc.MaxToken+2)
	} else {
		source = fmt.Sprintf("%q", f.File)
		b, err = files.ReadWithin(ctx, f.File, oidc.MaxToken+2)
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return oidc.Token{}, fault.New(fault.Token, "no token came from %s in time", source)
	case f.File == "-" && err != nil && !errors.Is(err, context.Canceled):
		return oidc.Token{}, fault.New(fault.Local, "cannot read the token from standard input")
	case err != nil:
		return oidc.Token{}, err
	}
	return oidc.Parse(string(b), source)
}

func (f Finder) expired(t oidc.Token) error {
	ago := f.Now().Sub(t.Expiry).Round(time.Second)
	e := fault.New(fault.Token, "the token in %s expired %s ago, at %s", t.Source, ago, t.Expiry.Format(time.RFC3339))
	if hint := f.source().Expired; hint != "" {
		return e.Hint("%s", fault.Fill(hint, nil))
	}
	return e.Hint("exchange it in an early step, while it is valid")
}
