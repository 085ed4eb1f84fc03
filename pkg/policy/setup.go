package policy

import (
	"regexp"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// A Job says for which of CircleCI's jobs a trust is made.
type Job struct {
	Org, Project string // UUIDs, in lower case
	// VCSOrigin is the repository that may be built, "github.com/my-org/app".
	// Empty: whatever the project builds.
	VCSOrigin string
	// VCSRef is the branch or tag, "refs/heads/main". Empty: any.
	VCSRef string
	// Audience is the tokens' aud. Empty: the organisation's id, CircleCI's own
	// default.
	Audience string
}

// A Setup is what New writes.
type Setup struct {
	Text []byte // of one file, or of a script
	// Notes say what this cloud cannot express, and what is left to do.
	Notes []string
}

// The forms of ids, repositories and refs, as regular expressions.
const (
	UUIDForm   = `^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`
	OriginForm = `^[a-z0-9.-]+(?:/[A-Za-z0-9_.-]+)+$`
	RefForm    = `^refs/(?:heads|tags)/[^\x00-\x20\x7f~^:?*\[\\'"` + "`" + `$]+$`
)

// Resolve checks the job, and fills in the audience. Errors are fault.Usage.
func (j Job) Resolve() (Job, error) {
	for _, id := range []struct{ option, value, where string }{
		{"--org", j.Org, "Organization Settings > Overview"},
		{"--project", j.Project, "Project Settings > Overview"},
	} {
		switch {
		case id.value == "":
			return j, fault.New(fault.Usage, "%s is missing", id.option).
				Hint("CircleCI shows the UUID at %s; within a job it is taken from the token", id.where)
		case !regexp.MustCompile(UUIDForm).MatchString(id.value):
			return j, fault.New(fault.Usage, "%s %q is not a UUID in lower case", id.option, id.value).
				Hint("CircleCI shows it at %s", id.where)
		}
	}
	if j.VCSOrigin != "" && !regexp.MustCompile(OriginForm).MatchString(j.VCSOrigin) {
		return j, fault.New(fault.Usage, "--vcs-origin %q is not of the form github.com/my-org/app", j.VCSOrigin).
			Hint("it is the repository's address without https:// and without .git")
	}
	if j.VCSRef != "" && (!regexp.MustCompile(RefForm).MatchString(j.VCSRef) || strings.Contains(j.VCSRef, "..")) {
		return j, fault.New(fault.Usage, "--vcs-ref %q is not of the form refs/heads/main or refs/tags/v1", j.VCSRef).
			Hint("it names one branch or tag, without wildcards")
	}
	if j.VCSRef != "" && j.VCSOrigin == "" {
		return j, fault.New(fault.Usage, "--vcs-ref needs --vcs-origin: a fork has branches of the same name")
	}
	if j.Audience == "" {
		j.Audience = j.Org
	}
	return j, nil
}

// Variant returns the token that the trust is made for.
func (j Job) Variant() ci.Variant {
	v := ci.Variant{Org: j.Org, Project: j.Project, Origin: j.VCSOrigin, Audience: j.Audience}
	if branch, ok := strings.CutPrefix(j.VCSRef, "refs/heads/"); ok {
		v.Branch = branch
	}
	if tag, ok := strings.CutPrefix(j.VCSRef, "refs/tags/"); ok {
		v.Tag = tag
	}
	return v
}
