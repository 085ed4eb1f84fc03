package doctor

import (
	"context"
	"debug/buildinfo"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/aws"
	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/child"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/ini"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/pkg/internal/undo"
)

// Options are what doctor looks at, and what it looks with.
type Options struct {
	Environ []string // NAME=VALUE, the empty ones too
	Now     time.Time
	TempDir string // where temporary files go without TMPDIR
	WorkDir string // "" when it cannot be known
	Version string // of this program
	// VaultHeaders are further headers for the Vault, NAME=VALUE.
	VaultHeaders []string

	Finder  ci.Finder
	Journal *undo.Journal // nil: there is no place for one
	Client  *remote.Client
	Online  bool    // ask the issuer and the receivers whether they are reached
	Trusts  []Trust // documents to check the token against
}

// A view is what doctor's checks see of the world.
type view struct {
	Options
	ctx  context.Context
	env  map[string]string
	goos string
	// lookPath returns the file that a command's name stands for.
	lookPath func(name string) (string, error)
	// localCLI says whether a program is CircleCI's command line tool for people.
	localCLI func(path string) bool
	// noexec says whether programs below a directory cannot be run.
	noexec func(dir string) bool
	// mounted says whether a path is where something is mounted.
	mounted func(path string) bool
	// run runs a program in a bare environment and returns what it wrote to stderr.
	run func(ctx context.Context, argv ...string) (stderr []byte, err error)

	// What several checks need is looked for once.
	job     func() jobToken
	aws     func() awsState
	google  func() []googleFile
	bashEnv func() bashEnvFile
	reached func() []reachedServer
}

func newView(ctx context.Context, o Options) *view {
	v := &view{
		Options: o, ctx: ctx, env: map[string]string{}, goos: runtime.GOOS, localCLI: localCLI, noexec: ci.NoExec, mounted: mountPoint,
		lookPath: func(name string) (string, error) { return child.LookPath(name, o.Environ) },
		run: func(ctx context.Context, argv ...string) ([]byte, error) {
			// With BASH_ENV or SHELLOPTS in its environment, bash would run what it is to look at.
			_, stderr, err := child.Output(ctx, child.Child{Argv: argv, Env: []string{"LC_ALL=C"}}, 1<<20)
			return stderr, err
		},
	}
	for _, e := range o.Environ {
		if name, value, ok := strings.Cut(e, "="); ok && name != "" {
			v.env[name] = value
		}
	}
	v.Finder.Note = nil // what it would say is a finding
	return v.prepared()
}

// prepared sets what is looked for once.
func (v *view) prepared() *view {
	v.job = sync.OnceValue(v.lookForToken)
	v.aws = sync.OnceValue(v.lookForAWS)
	v.google = sync.OnceValue(v.lookForGoogle)
	v.bashEnv = sync.OnceValue(v.lookForBashEnv)
	v.reached = sync.OnceValue(v.reach)
	return v
}

// get returns a variable as the program takes it: trimmed.
func (v *view) get(name string) string { return strings.TrimSpace(v.env[name]) }

// first returns the first of the variables that says something, and its name.
func (v *view) first(names ...string) (value, name string) {
	for _, name := range names {
		if value := v.get(name); value != "" {
			return value, name
		}
	}
	return "", ""
}

// set returns those of the variables that say something.
func (v *view) set(names ...string) []string {
	var some []string
	for _, name := range names {
		if v.get(name) != "" {
			some = append(some, name)
		}
	}
	return some
}

// inJob says whether this is a CircleCI job.
func (v *view) inJob() bool { return v.get("CIRCLECI") == "true" }

// sandboxed says whether this is a job of 'oidc-broker sandbox', where everything
// points at loopback on purpose.
func (v *view) sandboxed() bool { return v.get("CIRCLE_OIDC_SANDBOX_URL") != "" }

func (v *view) home() string {
	home, _ := v.first("HOME", "USERPROFILE")
	return home
}

// expand replaces the ~ that CircleCI and botocore take for the home directory.
func (v *view) expand(path string) string {
	if rest, ok := strings.CutPrefix(path, "~"); ok && (rest == "" || rest[0] == '/') && v.home() != "" {
		return filepath.Join(v.home(), rest)
	}
	return path
}

// abs makes a path absolute by the working directory.
func (v *view) abs(path string) string {
	if path == "" || filepath.IsAbs(path) || v.WorkDir == "" {
		return filepath.Clean(path)
	}
	return filepath.Join(v.WorkDir, path)
}

// checkout is the directory that the job's code is in.
func (v *view) checkout() string {
	if dir := v.expand(v.get("CIRCLE_WORKING_DIRECTORY")); dir != "" {
		if info, err := os.Stat(v.abs(dir)); err == nil && info.IsDir() {
			return v.abs(dir)
		}
	}
	return v.WorkDir
}

// read returns a file's content, at most limit bytes of it.
func (v *view) read(path string, limit int64) ([]byte, fs.FileInfo, error) {
	info, err := os.Stat(v.abs(path))
	if err != nil {
		return nil, nil, unwrapped(err)
	}
	b, err := files.Head(v.abs(path), limit)
	return b, info, errors.Unwrap(err)
}

// open says whether a file's mode lets others read it. Windows has other means.
func (v *view) open(info fs.FileInfo) bool {
	return v.goos != "windows" && info != nil && info.Mode().Perm()&0o077 != 0
}

// What is said instead of a value that is not what it should be.
const (
	noPath = "what is no path"
	noURL  = "what is no URL"
)

// place shows a path. What a variable holds that is none is not shown: it may be
// the secret itself, given where the path of its file belongs.
func (v *view) place(path string) string {
	_, err := os.Stat(v.abs(path))
	likely := filepath.IsAbs(path) || strings.HasPrefix(path, "~") || strings.HasPrefix(path, ".") || err == nil
	if !likely || len(path) > 1000 || strings.ContainsAny(path, "{}\r\n") || secret.HasCredentials(path) {
		return noPath
	}
	return strconv.Quote(path)
}

// profileName shows a profile's name, for what it holds may be no name.
func profileName(name string) string {
	if !ini.LikelyProfile(name) {
		return "a profile"
	}
	return "the profile " + strconv.Quote(name)
}

// host shows where a URL leads, or says that it is none.
func host(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" || !regexp.MustCompile(`^[A-Za-z0-9.:\[\]-]{1,255}$`).MatchString(u.Host) {
		return noURL
	}
	return u.Host
}

// loopback says whether a URL leads to this machine.
func loopback(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && u.Scheme == "http" && u.Hostname() != "" && remote.Allowed(u) == nil
}

// foreign makes a finding of an error that quotes variables: what they hold is
// taken out of it, unless it may be shown.
func (v *view) foreign(err error, names ...string) Finding {
	f := failed(err).orRemedy("look at what sets it: the job's 'environment:', a context, the project's settings, $BASH_ENV")
	if f.kind == fault.Usage {
		f.kind = 0
	}
	for _, name := range names {
		value := v.get(name)
		if value == "" || v.harmless(value) {
			continue
		}
		for _, text := range []*string{&f.Message, &f.Remedy} {
			*text = strings.ReplaceAll(*text, strconv.Quote(value), "its value")
			if len(value) >= 8 && host(value) == noURL {
				*text = secret.New(value).Redact(strings.ReplaceAll(*text, value, "its value"))
			}
		}
	}
	return f
}

// harmless says whether a value is an ARN or an absolute path: those are shown.
func (v *view) harmless(value string) bool {
	return regexp.MustCompile(`^arn:[a-z-]+:[a-z]+:[a-z0-9-]*:[0-9.e+]*:[!-~]{1,200}$`).MatchString(value) ||
		filepath.IsAbs(value) && v.place(value) != noPath
}

// secretVariables hold what is never shown, wherever it turns up.
func secretVariables() []string {
	return []string{
		ci.EnvV1, ci.EnvV2, "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_CONTAINER_AUTHORIZATION_TOKEN",
		"CLOUDSDK_AUTH_ACCESS_TOKEN", "GOOGLE_CREDENTIALS", "GOOGLE_OAUTH_ACCESS_TOKEN", "GOOGLE_CLOUD_KEYFILE_JSON", "GCLOUD_KEYFILE_JSON",
		"VAULT_TOKEN", "BAO_TOKEN", "VAULT_HEADERS", "BAO_HEADERS",
	}
}

// scrub takes out of a text what is a secret by its variable or by its form. No
// check writes one there; this is for the one that will.
func (v *view) scrub(text string) string {
	for _, name := range append(secretVariables(), v.Finder.Env) {
		if value := v.get(name); len(value) >= 8 {
			text = secret.New(value).Redact(text)
		}
	}
	return secret.WithoutCredentials(text)
}

// localCLI says whether a program is CircleCI's command line tool for people, which
// has the name of the one that CircleCI puts on a job's PATH, and mints nothing. It
// is not run: Go writes into each program which module it is of.
func localCLI(path string) bool {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return false
	}
	b, err := buildinfo.ReadFile(path)
	return err == nil && strings.HasPrefix(strings.ToLower(b.Main.Path)+"/", "github.com/circleci-public/circleci-cli/")
}

// region returns the region that the AWS SDKs take, by the environment, else by the
// profile.
func (v *view) region() string {
	r, _ := v.first("AWS_REGION", "AWS_DEFAULT_REGION")
	if r == "" {
		r = v.aws().effective().Value("region")
	}
	if aws.CheckRegion(r) != nil {
		return ""
	}
	return r
}
