package sandbox

import (
	"encoding/json"
	"maps"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/fault"
)

// The job that every token of the sandbox speaks of.
const (
	orgID                = "2a3b4c5d-1111-4222-8333-444455556666"
	projectID            = "76543210-ba98-4edc-b210-edcba0987654"
	userID               = "aaaa1111-bbbb-4222-8ccc-333344445555"
	contextID            = "0f0f0f0f-1212-4343-9494-565656565656"
	jobID                = "d1d1d1d1-2222-4333-8444-555566667777"
	pipelineID           = "b2b2b2b2-3333-4444-8555-666677778888"
	pipelineDefinitionID = "5e5e5e5e-6666-5777-8888-999900001111"
	workflowID           = "c3c3c3c3-4444-4555-8666-777788889999"
	commit               = "3f786850e387550fdab836ed7e6dc881de23001b"

	ownOrigin      = "github.com/my-org/app"
	strangerOrigin = "github.com/stranger/app"
	forkBranch     = "pull/123"

	// rootIssuer signs for every organisation at once.
	rootIssuer = "https://oidc.circleci.com"
	orgIssuer  = rootIssuer + "/org/" + orgID

	// claimPrefix leads every claim that is CircleCI's own.
	claimPrefix = "oidc.circleci.com/"

	defaultTTL = time.Hour
	// expiredFor is how long the expired variant is over: far beyond the five
	// minutes of grace that AWS gives.
	expiredFor = time.Hour
)

// Variant is what a job's token says. The zero value is a build of the
// project's own branch main.
type Variant struct {
	Branch, Tag string // without either, the branch is main; a tag wins
	Fork        bool   // a pull request from somebody else's repository
	Webhook     bool   // started by a custom webhook: the token knows no repository
	SSHRerun    bool   // somebody may be logged in to the job
	Expired     bool   // ended an hour ago
	RootIssuer  bool   // https://oidc.circleci.com instead of the organisation's issuer
	Audience    string // empty: the organisation's id
	TTL         time.Duration
	// Claims are set last, over all others. A nil or null value is a claim
	// that is null.
	Claims map[string]json.RawMessage
}

func (v Variant) check() error {
	if v.TTL < 0 {
		return fault.New(fault.Usage, "a token cannot live for %s", v.TTL).
			Hint("for a token that is over, ask for an expired one")
	}
	if v.Fork && v.Webhook {
		return fault.New(fault.Usage, "a token is of a fork or of a webhook, not both").
			Hint("a webhook's token names no repository")
	}
	for name, value := range v.Claims {
		if len(value) > 0 && !json.Valid(value) {
			return fault.New(fault.Usage, "claim %q is not JSON", name).
				Hint(`text needs quotes of its own: --claim 'aud="vault"'`)
		}
	}
	return nil
}

// branch is empty where the job has none.
func (v Variant) branch() string {
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

func (v Variant) ref() string {
	if v.Tag != "" {
		return "refs/tags/" + v.Tag
	}
	return "refs/heads/" + v.branch()
}

func (v Variant) origin() string {
	if v.Fork {
		return strangerOrigin
	}
	return ownOrigin
}

func (v Variant) issuer() string {
	if v.RootIssuer {
		return rootIssuer
	}
	return orgIssuer
}

func (v Variant) audience() string {
	if v.Audience == "" {
		return orgID
	}
	return v.Audience
}

// subjects returns the subject of a V1 and of a V2 token. They differ by what
// the token knows of the repository, which for a webhook is nothing.
func (v Variant) subjects() (v1, v2 string) { //nolint:unparam // v1 is the same for all, and is named once
	v1 = "org/" + orgID + "/project/" + projectID + "/user/" + userID
	if v.Webhook {
		return v1, v1
	}
	return v1, v1 + "/vcs-origin/" + v.origin() + "/vcs-ref/" + v.ref()
}

// claims returns what the V1 and the V2 token say.
func (v Variant) claims(now time.Time) (v1, v2 map[string]any) {
	ttl := v.TTL
	if ttl == 0 {
		ttl = defaultTTL
	}
	issued := now
	if v.Expired {
		issued = now.Add(-expiredFor - ttl)
	}
	sub1, sub2 := v.subjects()
	v1 = map[string]any{
		"iss":                                  v.issuer(),
		"sub":                                  sub1,
		"aud":                                  v.audience(),
		"iat":                                  issued.Unix(),
		"exp":                                  issued.Add(ttl).Unix(),
		claimPrefix + "context-ids":            []string{contextID},
		claimPrefix + "job-id":                 jobID,
		claimPrefix + "org-id":                 orgID,
		claimPrefix + "pipeline-definition-id": pipelineDefinitionID,
		claimPrefix + "pipeline-id":            pipelineID,
		claimPrefix + "project-id":             projectID,
		claimPrefix + "ssh-rerun":              v.SSHRerun,
		claimPrefix + "workflow-id":            workflowID,
	}
	if !v.Webhook {
		v1[claimPrefix+"vcs-origin"] = v.origin()
		v1[claimPrefix+"vcs-ref"] = v.ref()
	}
	v2 = maps.Clone(v1)
	v2["sub"] = sub2
	for name, value := range v.Claims {
		v1[name], v2[name] = value, value
	}
	return v1, v2
}

// minted is the variant of a token that the job asks for while it runs: of the
// same job, but fresh, and for the audience and issuer asked for.
func (v Variant) minted(audience string, root bool) Variant {
	v.Expired, v.RootIssuer = false, root
	v.Claims = maps.Clone(v.Claims)
	for _, name := range []string{"iss", "iat", "exp", "nbf"} {
		delete(v.Claims, name)
	}
	if audience != "" {
		v.Audience = audience
		delete(v.Claims, "aud")
	}
	return v
}
