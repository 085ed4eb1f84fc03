package ci

import (
	"encoding/json"
	"maps"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// The job that a Variant speaks of where it names no other. None of these
// exists at CircleCI.
const (
	SampleOrg     = "2a3b4c5d-1111-4222-8333-444455556666"
	SampleProject = "76543210-ba98-4edc-b210-edcba0987654"
	SampleUser    = "aaaa1111-bbbb-4222-8ccc-333344445555"
	SampleOrigin  = "github.com/my-org/app"
	SampleContext = "0f0f0f0f-1212-4343-9494-565656565656"

	SampleJob                = "d1d1d1d1-2222-4333-8444-555566667777"
	SamplePipeline           = "b2b2b2b2-3333-4444-8555-666677778888"
	SamplePipelineDefinition = "5e5e5e5e-6666-5777-8888-999900001111"
	SampleWorkflow           = "c3c3c3c3-4444-4555-8666-777788889999"

	// RootIssuer signs for every organisation at once.
	RootIssuer = "https://oidc.circleci.com"

	strangerOrigin = "github.com/stranger/app"
	forkBranch     = "pull/123"

	defaultTTL = time.Hour
	// expiredFor is how long the expired variant is over: far beyond the five
	// minutes of grace that AWS gives.
	expiredFor = time.Hour
)

// OrgIssuer returns the issuer of an organisation's tokens.
func OrgIssuer(org string) string { return RootIssuer + "/org/" + org }

// Variant is what a job's token says. The zero value is a build of the sample
// project's own branch main.
type Variant struct {
	Org, Project, User string // UUIDs; empty: the sample's
	Origin             string // of the project, "github.com/my-org/app"; empty: the sample's
	Branch, Tag        string // without either, the branch is main; a tag wins
	Fork               bool   // a pull request from somebody else's repository
	Webhook            bool   // started by a custom webhook: the token knows no repository
	SSHRerun           bool   // somebody may be logged in to the job
	Expired            bool   // ended an hour ago
	RootIssuer         bool   // https://oidc.circleci.com instead of the organisation's issuer
	Audience           string // empty: the organisation's id
	// Job is the payload of another CI system's job, a Sample's; all that is about
	// CircleCI's is left out then.
	Job map[string]any
	TTL time.Duration
	// Claims are set last, over all others. A nil or null value is a claim
	// that is null.
	Claims map[string]json.RawMessage
}

// Check returns a fault.Usage where the variant contradicts itself.
func (v Variant) Check() error {
	if v.TTL < 0 {
		return fault.New(fault.Usage, "a token cannot live for %s", v.TTL).
			Hint("for an expired token, ask for the variant expired")
	}
	if v.Fork && v.Webhook {
		return fault.New(fault.Usage, "a token is of a fork or of a webhook, not both").
			Hint("a webhook's token names no repository")
	}
	for name, value := range v.Claims {
		if len(value) > 0 && !json.Valid(value) {
			return fault.New(fault.Usage, "claim %q is not JSON", name).
				Hint(`text needs quotes of its own: %s 'aud="vault"'`, fault.Option("claim"))
		}
	}
	return nil
}

// OrgID returns the organisation's UUID.
func (v Variant) OrgID() string { return or(v.Org, SampleOrg) }

// ProjectID returns the project's UUID.
func (v Variant) ProjectID() string { return or(v.Project, SampleProject) }

// OwnOrigin returns the project's own repository, whichever one the job builds.
func (v Variant) OwnOrigin() string { return or(v.Origin, SampleOrigin) }

// BuiltBranch is the branch that the job builds: empty where it has none.
func (v Variant) BuiltBranch() string {
	switch {
	case v.Webhook, v.Tag != "":
		return ""
	case v.Branch != "":
		return v.Branch
	case v.Fork:
		return forkBranch
	}
	return "main"
}

// Ref is what the job builds, as Git names it.
func (v Variant) Ref() string {
	if v.Tag != "" {
		return "refs/tags/" + v.Tag
	}
	return "refs/heads/" + v.BuiltBranch()
}

func (v Variant) origin() string {
	if v.Fork {
		return strangerOrigin
	}
	return v.OwnOrigin()
}

func (v Variant) issuer() string {
	if v.RootIssuer {
		return RootIssuer
	}
	return OrgIssuer(v.OrgID())
}

// subjects returns the subject of a V1 and of a V2 token. They differ by what
// the token knows of the repository, which for a webhook is nothing.
func (v Variant) subjects() (v1, v2 string) {
	v1 = "org/" + v.OrgID() + "/project/" + v.ProjectID() + "/user/" + or(v.User, SampleUser)
	if v.Webhook {
		return v1, v1
	}
	return v1, v1 + "/vcs-origin/" + v.origin() + "/vcs-ref/" + v.Ref()
}

// Payload returns what the V1 and the V2 token say that are made at now.
func (v Variant) Payload(now time.Time) (v1, v2 map[string]any) {
	ttl := v.TTL
	if ttl == 0 {
		ttl = defaultTTL
	}
	issued := now
	if v.Expired {
		issued = now.Add(-expiredFor - ttl)
	}
	if v.Job != nil {
		v1 = maps.Clone(v.Job)
		v1["aud"], v1["iat"], v1["exp"] = or(v.Audience, v.OrgID()), issued.Unix(), issued.Add(ttl).Unix()
		for name, value := range v.Claims {
			v1[name] = value
		}
		return v1, v1
	}
	sub1, sub2 := v.subjects()
	v1 = map[string]any{
		"iss":                                  v.issuer(),
		"sub":                                  sub1,
		"aud":                                  or(v.Audience, v.OrgID()),
		"iat":                                  issued.Unix(),
		"exp":                                  issued.Add(ttl).Unix(),
		ClaimPrefix + "context-ids":            []string{SampleContext},
		ClaimPrefix + "job-id":                 SampleJob,
		ClaimPrefix + "org-id":                 v.OrgID(),
		ClaimPrefix + "pipeline-definition-id": SamplePipelineDefinition,
		ClaimPrefix + "pipeline-id":            SamplePipeline,
		ClaimPrefix + "project-id":             v.ProjectID(),
		ClaimPrefix + "ssh-rerun":              v.SSHRerun,
		ClaimPrefix + "workflow-id":            SampleWorkflow,
	}
	if !v.Webhook {
		v1[ClaimPrefix+"vcs-origin"] = v.origin()
		v1[ClaimPrefix+"vcs-ref"] = v.Ref()
	}
	v2 = maps.Clone(v1)
	v2["sub"] = sub2
	for name, value := range v.Claims {
		v1[name], v2[name] = value, value
	}
	return v1, v2
}

func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}
