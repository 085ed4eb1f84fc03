package ci

import (
	"errors"
	"net/url"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

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
		return fault.New(fault.Token, "no OpenID Connect token: this is not a CircleCI job").
			Hint("to try it without one: oidc-broker sandbox -- oidc-broker aws whoami --role-arn arn:aws:iam::111122223333:role/deploy").
			Hint("elsewhere, name the token with --token-env or --token-file")
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
