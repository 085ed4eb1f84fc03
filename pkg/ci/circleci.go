package ci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// The variables that CircleCI puts the job's tokens into.
const (
	EnvV1 = "CIRCLE_OIDC_TOKEN"
	EnvV2 = "CIRCLE_OIDC_TOKEN_V2"
)

// circleCI is CircleCI: two tokens are in each job's environment, and others are minted.
func circleCI() *System {
	return &System{
		Name: "circleci", JobName: "CIRCLE_JOB", Title: "CircleCI",
		// Where a container is given the token alone, it is CircleCI's as well.
		Signs:     []string{"CIRCLECI=true", EnvV1, EnvV2},
		Job:       jobVariables(),
		Mints:     true,
		Token:     circleCIToken,
		Look:      lookCircleCI,
		Variables: []string{EnvV1, EnvV2},
		Issuer:    `https://oidc\.circleci\.com(?:/org/[^/]+)?`,
		Example:   OrgIssuer(SampleOrg),
		Lifetime:  "1h to 10h",
		Expired:   "CircleCI makes the token before the job starts: exchange it in an early step, or mint a new one with {--audience}",
		Claims: []Claim{
			{ClaimPrefix + "org-id", "text", ByPlatform}, {ClaimPrefix + "project-id", "text", ByPlatform},
			{ClaimPrefix + "vcs-origin", "text", ByAnyone}, {ClaimPrefix + "vcs-ref", "text", ByAnyone}, {ClaimPrefix + "ssh-rerun", "boolean", ByMember},
			{ClaimPrefix + "context-ids", "list", ByMember}, {ClaimPrefix + "job-id", "text", ByPlatform}, {ClaimPrefix + "workflow-id", "text", ByPlatform},
			{ClaimPrefix + "pipeline-id", "text", ByPlatform}, {ClaimPrefix + "pipeline-definition-id", "text", ByPlatform},
		},
		Key: ClaimPrefix + "project-id",
		Reads: [][2]string{
			{"CIRCLECI, CIRCLE_BUILD_URL, CIRCLE_PR_REPONAME, CIRCLE_PR_USERNAME", "tell why a job has no token"},
			{"CI, CIRCLE_BUILD_NUM, CIRCLE_WORKFLOW_ID, CODEBUILD_BUILD_ID, JENKINS_URL, TF_BUILD", "tell a CI job, to which --if-no-token does not apply"},
			{"CIRCLE_OIDC_SANDBOX_URL", "set by the sandbox, for the 'circleci' that it puts on PATH"},
			{"CIRCLE_ORGANIZATION_ID", "the audience of a token that is minted, where none is asked for"},
		},
		Subject: Grammar{
			"org/{org}/project/{project}/user/{user}/vcs-origin/{vcs_origin}/vcs-ref/{vcs_ref}",
			"org/{org}/project/{project}/user/{user}",
		},
		AWSKeys: []string{ClaimPrefix + "project-id"},
		Samples: circleCISamples(),
	}
}

func circleCISamples() []Sample {
	var all []Sample
	for _, row := range []struct {
		name string
		Variant
	}{{"main", Variant{}}, {"branch", Variant{Branch: "dev"}}, {"tag", Variant{Tag: "v1"}}, {"fork", Variant{Fork: true}}, {"webhook", Variant{Webhook: true}}} {
		_, v2 := row.Payload(time.Unix(0, 0))
		for _, name := range []string{"aud", "iat", "exp"} {
			delete(v2, name)
		}
		all = append(all, Sample{row.name, v2})
	}
	return all
}

func circleCIToken(ctx context.Context, f Finder, w Want) (oidc.Token, error) {
	if w.Demanded || w.New {
		return f.mint(ctx, w.Audience)
	}
	return f.byDefault(ctx)
}

func lookCircleCI(_ context.Context, f Finder) (oidc.Token, bool, error) {
	for _, name := range f.names() {
		if v := strings.TrimSpace(f.Getenv(name)); v != "" {
			t, err := oidc.Parse(v, name)
			return t, err == nil, err
		}
	}
	return oidc.Token{}, false, nil
}

// names are the variables to look into, in this order.
func (f Finder) names() []string {
	if f.Version == "v2" {
		return []string{EnvV2, EnvV1}
	}
	return []string{EnvV1, EnvV2}
}

// byDefault takes the environment's token, and mints one where there is none or
// where it is about to expire.
func (f Finder) byDefault(ctx context.Context) (oidc.Token, error) {
	for _, name := range f.names() {
		v := strings.TrimSpace(f.Getenv(name))
		if v == "" {
			continue
		}
		t, err := oidc.Parse(v, name)
		if err != nil {
			return oidc.Token{}, err
		}
		if t.Expiry.Sub(f.Now()) >= max(oidc.Slack, f.Guards.MinValidity) {
			return t, nil
		}
		minted, err := f.mint(ctx, t.Audience[0])
		if err == nil {
			f.noteMinted(t, minted)
			return minted, nil
		}
		if errors.Is(err, context.Canceled) {
			return oidc.Token{}, err
		}
		if !t.Expired(f.Now()) {
			return t, nil
		}
		return oidc.Token{}, f.expiredAnd(t, err)
	}
	t, err := f.mint(ctx, f.Getenv("CIRCLE_ORGANIZATION_ID"))
	if err == nil || errors.Is(err, context.Canceled) {
		return t, err
	}
	return oidc.Token{}, f.missing(err)
}

// noteMinted says that a found token was replaced: a job that works because of it
// would fail where no token can be minted.
func (f Finder) noteMinted(found, minted oidc.Token) {
	if f.Note == nil || f.Guards.check(minted, f.Now()) != nil {
		return // what is wrong with the new one is the error
	}
	left := found.Expiry.Sub(f.Now()).Round(time.Second)
	why := fmt.Sprintf("is still valid for %s only", left)
	if left <= 0 {
		why = fmt.Sprintf("expired %s ago", -left)
	}
	f.Note(fmt.Sprintf("the token in %s %s: '%s' minted a new one, which is used instead", found.Source, why, minted.Source))
}

func (f Finder) expiredAnd(t oidc.Token, minting error) error {
	ago := f.Now().Sub(t.Expiry).Round(time.Second)
	e := fault.New(fault.Token, "the token in %s expired %s ago: %w", t.Source, ago, minting)
	if errors.Is(minting, errNoMinter) {
		e.Hint("CircleCI puts circleci or circleci-agent, which mint tokens, on a job's PATH; neither is there")
	}
	return e.Hint("CircleCI makes the token shortly before the job starts: exchange it in an early step")
}

// minters are the programs that mint a token, in this order. The second is what
// self-hosted runners have.
func minters() []string { return []string{"circleci", "circleci-agent"} }

// errNoMinter means that neither program is on PATH.
var errNoMinter = errors.New("neither circleci nor circleci-agent is on PATH")

// mint has a token made for the audience; "" leaves CircleCI's default. If the
// first program fails, the second is asked: a circleci of the user's own (the
// local CLI) can stand before CircleCI's on PATH and knows nothing of tokens.
func (f Finder) mint(ctx context.Context, audience string) (oidc.Token, error) {
	args := []string{"run", "oidc", "get"}
	if audience != "" {
		claims, err := json.Marshal(map[string]string{"aud": audience})
		if err != nil {
			return oidc.Token{}, fault.New(fault.Internal, "cannot write the claims: %w", err)
		}
		args = append(args, "--claims", string(claims))
	}
	if f.RootIssuer {
		args = append(args, "--root-issuer")
	}
	var failed error
	for _, program := range minters() {
		t, err := f.mintWith(ctx, program, args)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if ctx.Err() == context.Canceled {
			return oidc.Token{}, context.Canceled
		}
		if err == nil {
			return t, nil
		}
		if failed == nil {
			failed = err
		}
	}
	if failed == nil {
		return oidc.Token{}, fault.New(fault.Token, "cannot mint a token: %w", errNoMinter).
			Hint("CircleCI puts one of them on the PATH of its jobs; for what else is needed, see 'oidc-broker token --help'")
	}
	return oidc.Token{}, failed
}

// mintWith asks one program.
func (f Finder) mintWith(ctx context.Context, program string, args []string) (oidc.Token, error) {
	// One that hangs must leave time for the other, and for the exchange.
	ctx, cancel := context.WithTimeout(ctx, mintTime)
	defer cancel()
	stdout, stderr, err := f.Run(ctx, append([]string{program}, args...)...)
	if errors.Is(err, fs.ErrNotExist) {
		return oidc.Token{}, err
	}
	if ctx.Err() != nil {
		return oidc.Token{}, fault.New(fault.Token, "%s run oidc get did not end in time", program)
	}
	t, err := minted(program, stdout, stderr, err)
	if err == nil && t.Expired(f.Now()) {
		return oidc.Token{}, fault.New(fault.Token, "%s run oidc get made a token that expired at %s", program, t.Expiry.Format(time.RFC3339)).
			Hint("is this machine's clock right?")
	}
	return t, err
}

// minted judges what a program printed. It is not trusted to say by its exit
// code whether it worked: some versions exit 0 with nothing printed.
func minted(program string, stdout, stderr []byte, err error) (oidc.Token, error) {
	source := "the output of '" + program + " run oidc get'"
	if err == nil {
		t, perr := oidc.Parse(string(stdout), source)
		if perr == nil {
			t.Source = program + " run oidc get"
			return t, nil
		}
		if strings.TrimSpace(string(stdout)) != "" {
			return oidc.Token{}, perr
		}
	}
	why := "it printed nothing"
	if err != nil {
		why = err.Error()
	}
	if said := firstLine(stderr); said != "" {
		why = said
	}
	return oidc.Token{}, fault.New(fault.Token, "%s run oidc get made no token: %s", program, why).
		Hint("is %s the one that CircleCI provides? The local CLI of the same name cannot mint", program)
}

// missing says which of the known reasons fits this job, in which none could be
// minted either. The reasons are CircleCI's documented ones; the first that
// shows itself wins. They win over what the minting program said, too: a fork's
// job has that program, and it knows only that it failed.
func (f Finder) missing(minting error) error {
	e := f.reason()
	if errors.Is(minting, errNoMinter) {
		if e == nil {
			e = fault.New(fault.Token, "no OpenID Connect token: neither %s nor %s is set, and no circleci or circleci-agent is on PATH to mint one", EnvV1, EnvV2).
				Hint("docker run, sudo and ssh do not pass the job's variables on: exchange the token outside, or pass CIRCLE_OIDC_TOKEN").
				Hint("on a self-hosted runner: its temporary directory must be writable and not mounted noexec")
		}
		return e
	}
	if e == nil {
		return minting
	}
	return e.Hint("minting one failed as well: %v", minting)
}

func (f Finder) reason() *fault.Error {
	switch {
	case f.Getenv("CIRCLECI") != "true":
		e := fault.New(fault.Token, "no OpenID Connect token: this is not a CircleCI job")
		if s, _ := f.System(); s == nil {
			e = fault.New(fault.Token, "no OpenID Connect token: no CI job is detected")
		}
		return e.
			Hint("to try it without one: oidc-broker sandbox -- oidc-broker aws whoami --role-arn arn:aws:iam::111122223333:role/deploy").
			Hint("elsewhere, name the token with %s or %s", fault.Option("token-env"), fault.Option("token-file"))
	case f.fork():
		return fault.New(fault.Token, "no OpenID Connect token: this is a build of a forked pull request, which gets no secrets").
			Hint("a project administrator can turn on 'Pass secrets to builds from forked pull requests'").
			Hint("then every trust policy must check oidc.circleci.com/vcs-origin, for the fork's author chooses what runs")
	case f.server() != "":
		return fault.New(fault.Token, "no OpenID Connect token: %s is a CircleCI server that issues none", f.server()).
			Hint("a server issues tokens from version 4.4 on, when its administrator has set oidc_service.base_url and json_web_keys")
	case noexec(f.tempDir()):
		return fault.New(fault.Token, "no OpenID Connect token: the temporary directory %q cannot run programs (noexec)", f.tempDir()).
			Hint("the runner makes the token with a program that it unpacks there: mount it exec, or set TMPDIR for the runner")
	}
	return nil
}

// fork says whether this builds a forked pull request: CircleCI sets these
// variables for no other build.
func (f Finder) fork() bool {
	return f.Getenv("CIRCLE_PR_REPONAME") != "" || f.Getenv("CIRCLE_PR_USERNAME") != ""
}

// server returns the host of a CircleCI server installation, or "" on
// circleci.com.
func (f Finder) server() string {
	u, err := url.Parse(f.Getenv("CIRCLE_BUILD_URL"))
	if err != nil || u.Hostname() == "" || u.Hostname() == "circleci.com" || strings.HasSuffix(u.Hostname(), ".circleci.com") {
		return ""
	}
	return u.Hostname()
}

func (f Finder) tempDir() string {
	if dir := f.Getenv("TMPDIR"); dir != "" {
		return dir
	}
	return "/tmp"
}

// jobVariables are CircleCI's variables that say what its minted token will say.
func jobVariables() []string {
	return []string{
		"CIRCLE_WORKFLOW_JOB_ID", "CIRCLE_ORGANIZATION_ID", "CIRCLE_PROJECT_ID", "CIRCLE_PIPELINE_ID", "CIRCLE_WORKFLOW_ID",
		"CIRCLE_BUILD_URL", "CIRCLE_REPOSITORY_URL", "CIRCLE_BRANCH", "CIRCLE_TAG",
	}
}
