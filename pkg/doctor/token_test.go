package doctor

import (
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
)

const (
	jobEnv   = "CIRCLECI=true\nCIRCLE_ORGANIZATION_ID=" + ci.SampleOrg + "\nCIRCLE_PROJECT_ID=" + ci.SampleProject + "\nCIRCLE_REPOSITORY_URL=git@github.com:my-org/app.git\n"
	withV1   = jobEnv + "CIRCLE_OIDC_TOKEN={token v1}\n"
	withBoth = withV1 + "CIRCLE_OIDC_TOKEN_V2={token v2}\n"

	mints  = "-- bin/circleci 755 --\n#!/bin/sh\n"
	agent  = "-- bin/circleci-agent 755 --\n#!/bin/sh\n"
	hidden = "-- bin/circleci 755 --\nlocal command line tool\n"
)

func TestDoctorToken(t *testing.T) {
	visits(t, "token", []visit{
		{check: "token-missing", name: "it is there", env: withV1},
		{check: "token-missing", name: "malformed is not missing", env: "CIRCLE_OIDC_TOKEN=x"},
		{check: "token-missing", name: "no job", want: "error no CI job is detected"},
		{check: "token-missing", name: "no job, which has a circleci", files: mints, want: "error no CI job is detected"},
		{check: "token-missing", name: "a fork", env: jobEnv + "CIRCLE_PR_REPONAME=app", files: mints, want: "error Pass secrets to builds from forked"},
		{check: "token-missing", name: "a server", env: jobEnv + "CIRCLE_BUILD_URL=https://ci.example.com/1", want: "error a server issues tokens from version 4.4 on"},
		{check: "token-missing", name: "no known reason", env: jobEnv, want: "error nor CIRCLE_OIDC_TOKEN_V2 is set, and no circleci"},
		{check: "token-missing", name: "what is there cannot mint", env: jobEnv, files: hidden, want: "error nor CIRCLE_OIDC_TOKEN_V2 is set"},
		{check: "token-missing", name: "it is minted", env: jobEnv, files: mints, want: "warning each command mints a token of its own"},
		{check: "token-missing", name: "it is minted on a runner", env: jobEnv, files: agent, want: "warning each command mints a token of its own"},
		{check: "token-missing", name: "--audience", env: jobEnv, files: mints, token: ci.Finder{Audience: "x"}},
		{check: "token-missing", name: "--audience without a minter", env: withV1, token: ci.Finder{Audience: "x"}, want: "error --audience has a token minted, and no program on PATH mints"},
		{check: "token-missing", name: "a variable that is not set", token: ci.Finder{Env: "MINE"}},

		{check: "token-malformed", name: "well formed", env: withV1},
		{check: "token-malformed", name: "two parts", env: "CIRCLE_OIDC_TOKEN=a.b", want: "error the token in CIRCLE_OIDC_TOKEN has 2 parts"},
		{check: "token-malformed", name: "not expanded", env: "CIRCLE_OIDC_TOKEN=$TOKEN", want: "error is the literal text $TOKEN"},
		{check: "token-malformed", name: "the second variable", env: "CIRCLE_OIDC_TOKEN_V2=a.b.c", want: "error the token in CIRCLE_OIDC_TOKEN_V2 has a header"},
		{check: "token-malformed", name: "v2 preferred", env: withV1 + "CIRCLE_OIDC_TOKEN_V2=x", token: ci.Finder{Version: "v2"}, want: "error CIRCLE_OIDC_TOKEN_V2 has 1 part,"},
		{check: "token-malformed", name: "a variable that is not set", token: ci.Finder{Env: "MINE"}, want: `error the variable "MINE", which --token-env names, is not set`},
		{check: "token-malformed", name: "a file that is not there", token: ci.Finder{File: "/no/such/file"}, want: `error cannot read "/no/such/file"`},
		{check: "token-malformed", name: "anybody could have signed it", env: "CIRCLE_OIDC_TOKEN=eyJhbGciOiJub25lIn0.eyJpc3MiOiJhIiwic3ViIjoiYiIsImF1ZCI6ImMiLCJleHAiOjE5MDAwMDAwMDB9.YQ", want: `error is signed with "none", which no cloud accepts`},

		{check: "token-expired", name: "valid", env: withV1},
		{check: "token-expired", name: "no token", env: jobEnv},
		{check: "token-expired", name: "nothing mints", env: "CIRCLE_OIDC_TOKEN={token v1 expired}", want: "error the token in CIRCLE_OIDC_TOKEN expired 1h1m0s ago"},
		{check: "token-expired", name: "what is there cannot mint", env: "CIRCLE_OIDC_TOKEN={token v1 expired}", files: hidden, want: "error nothing can mint another one here"},
		{check: "token-expired", name: "another is minted", env: "CIRCLE_OIDC_TOKEN={token v1 expired}", files: mints, want: "warning oidc-broker mints another one"},
		{check: "token-expired", name: "not for a variable that is named", env: "MINE={token v1 expired}", files: mints, token: ci.Finder{Env: "MINE"}, want: "error the token in MINE expired"},
		{check: "token-expired", name: "within the slack", env: "CIRCLE_OIDC_TOKEN={token v1 issued=-90s ttl=60s}"},

		{check: "token-expiring", name: "an hour", env: withV1},
		{check: "token-expiring", name: "expired is not expiring", env: "CIRCLE_OIDC_TOKEN={token v1 expired}"},
		{check: "token-expiring", name: "nothing mints", env: "CIRCLE_OIDC_TOKEN={token v1 ttl=5m}", want: "warning ends in 4m0s, at 2026-11-22T12:04:00Z"},
		{check: "token-expiring", name: "another is minted", env: "CIRCLE_OIDC_TOKEN={token v1 ttl=2m}", files: agent, want: "note ends in 1m0s"},

		{check: "token-guards", name: "none", env: withV1},
		{check: "token-guards", name: "met", env: withV1, token: ci.Finder{Guards: ci.Guards{Claims: []string{"vcs-ref=refs/heads/main"}, RefuseSSHRerun: true, MinValidity: time.Minute}}},
		{check: "token-guards", name: "a claim", env: withV1, token: ci.Finder{Guards: ci.Guards{Claims: []string{"vcs-ref=refs/heads/x"}}}, want: `error --require-claim: the token's vcs-ref is "refs/heads/main"`},
		{check: "token-guards", name: "ends too soon", env: withV1, token: ci.Finder{Guards: ci.Guards{MinValidity: 2 * time.Hour}}, want: "error --min-validity: the token from CIRCLE_OIDC_TOKEN is still valid for 59m0s, less than 2h0m0s"},
		{check: "token-guards", name: "ends too soon, and another is minted", env: withV1, files: mints, token: ci.Finder{Guards: ci.Guards{MinValidity: 2 * time.Hour}}, want: "note another one is minted"},

		{check: "token-minter", name: "circleci", env: withV1, files: mints},
		{check: "token-minter", name: "circleci-agent", env: withV1, files: agent},
		{check: "token-minter", name: "no job", files: hidden},
		{check: "token-minter", name: "none", env: withV1, want: "note neither circleci nor circleci-agent is on PATH"},
		{check: "token-minter", name: "the local tool", env: withV1, files: hidden, want: "warning circleci on PATH is CircleCI's local command line tool, at"},
		{check: "token-minter", name: "the local tool, and an agent", env: withV1, files: hidden + agent, want: "note circleci-agent is asked instead"},

		{check: "token-variables", name: "both", env: withBoth},
		{check: "token-variables", name: "none", env: jobEnv},
		{check: "token-variables", name: "one on a laptop", env: "CIRCLE_OIDC_TOKEN={token v1}"},
		{check: "token-variables", name: "another is named", env: withV1 + "MINE={token v1}", token: ci.Finder{Env: "MINE"}},
		{check: "token-variables", name: "one", env: withV1, want: "note CIRCLE_OIDC_TOKEN is set, CIRCLE_OIDC_TOKEN_V2 is not"},
		{check: "token-variables", name: "the other", env: jobEnv + "CIRCLE_OIDC_TOKEN_V2={token v2}", want: "note CIRCLE_OIDC_TOKEN_V2 is set, CIRCLE_OIDC_TOKEN is not"},
		{check: "token-variables", name: "V2 in V1's", env: jobEnv + "CIRCLE_OIDC_TOKEN={token v2}\nCIRCLE_OIDC_TOKEN_V2={token v2}", want: "warning CIRCLE_OIDC_TOKEN holds a token with a V2 subject"},
		{check: "token-variables", name: "V1 in V2's", env: withV1 + "CIRCLE_OIDC_TOKEN_V2={token v1}", want: "warning CIRCLE_OIDC_TOKEN_V2 holds a token with a V1 subject"},
		{check: "token-variables", name: "a webhook's subject is of both", env: jobEnv + "CIRCLE_OIDC_TOKEN={token v1 webhook}\nCIRCLE_OIDC_TOKEN_V2={token v2 webhook}"},
		{check: "token-variables", name: "one was minted", env: withV1 + "CIRCLE_OIDC_TOKEN_V2={token v2 aud=x}", want: "warning the claim aud differs"},
		{check: "token-variables", name: "one is malformed", env: withV1 + "CIRCLE_OIDC_TOKEN_V2=x", want: "warning the token in CIRCLE_OIDC_TOKEN_V2 has 1 part,\nnote CIRCLE_OIDC_TOKEN is set"},

		{check: "token-audience", name: "the organisation", env: withV1},
		{check: "token-audience", name: "none", env: jobEnv},
		{check: "token-audience", name: "AWS", env: "CIRCLE_OIDC_TOKEN={token v1 aud=sts.amazonaws.com}"},
		{check: "token-audience", name: "Google", env: "CIRCLE_OIDC_TOKEN={token v1 aud=https://iam.googleapis.com/projects/1/x}"},
		{check: "token-audience", name: "one's own", env: "CIRCLE_OIDC_TOKEN={token v1 aud=vault.example.com}", want: "note neither the organisation's id nor a cloud's own name"},
		{check: "token-audience", name: "two", env: `CIRCLE_OIDC_TOKEN={token v1 claim=aud:["a","b"]}`, want: "note the token has 2 audiences"},

		{check: "token-issuer", name: "the organisation's", env: withV1},
		{check: "token-issuer", name: "none", env: jobEnv},
		{check: "token-issuer", name: "the root", env: "CIRCLE_OIDC_TOKEN={token v1 root}", want: "warning which signs for every organisation"},
		{check: "token-issuer", name: "another organisation's", env: `CIRCLE_OIDC_TOKEN={token v1 claim=iss:"https://oidc.circleci.com/org/other"}`, want: "warning another organisation's"},
		{check: "token-issuer", name: "a slash more", env: `CIRCLE_OIDC_TOKEN={token v1 claim=iss:"https://oidc.circleci.com/org/` + ci.SampleOrg + `/"}`, want: "warning another organisation's"},
		{check: "token-issuer", name: "a server's", env: jobEnv + `CIRCLE_OIDC_TOKEN={token v1 claim=iss:"https://ci.example.com/org/x"}`, want: "note the issuer is ci.example.com"},
		{check: "token-issuer", name: "anybody's outside of a job", env: `CIRCLE_OIDC_TOKEN={token v1 claim=iss:"https://token.actions.githubusercontent.com"}`},

		{check: "token-project", name: "this one's", env: withV1},
		{check: "token-project", name: "another one's", env: withV1 + "CIRCLE_PROJECT_ID=11111111-2222-4333-8444-555555555555", want: "warning the token's project-id is not the one in CIRCLE_PROJECT_ID"},
		{check: "token-project", name: "another organisation's", env: withV1 + "CIRCLE_ORGANIZATION_ID=x", want: "warning the token's org-id is not the one in CIRCLE_ORGANIZATION_ID"},

		{check: "token-ssh-rerun", name: "no", env: withV1},
		{check: "token-ssh-rerun", name: "yes", env: "CIRCLE_OIDC_TOKEN={token v1 ssh}", want: "warning rerun with SSH"},
		{check: "token-ssh-rerun", name: "not known", env: "CIRCLE_OIDC_TOKEN={token v1 claim=oidc.circleci.com/ssh-rerun:null}"},

		{check: "token-fork", name: "one's own", env: withV1},
		{check: "token-fork", name: "one's own, by https", env: withV1 + "CIRCLE_REPOSITORY_URL=https://GitHub.com/my-org/app/"},
		{check: "token-fork", name: "a fork by its token", env: jobEnv + "CIRCLE_OIDC_TOKEN={token v1 fork}", want: "warning this builds a fork"},
		{check: "token-fork", name: "a fork by its variables", env: withV1 + "CIRCLE_PR_USERNAME=stranger", want: "warning this builds a fork"},
		{check: "token-fork", name: "no repository", env: jobEnv + "CIRCLE_OIDC_TOKEN={token v1 webhook}"},
		{check: "token-fork", name: "no URL", env: "CIRCLE_OIDC_TOKEN={token v1}"},

		{check: "token-webhook", name: "a branch's", env: withV1},
		{check: "token-webhook", name: "a webhook's", env: "CIRCLE_OIDC_TOKEN_V2={token v2 webhook}", want: "note a custom webhook started"},
		{check: "token-webhook", name: "another CI's", env: `CIRCLE_OIDC_TOKEN={token v1 webhook claim=sub:"repo:x/y"}`},
	})
}
