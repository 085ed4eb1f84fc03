package ci

import (
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// ClaimPrefix is how the names of CircleCI's own claims begin.
const ClaimPrefix = "oidc.circleci.com/"

// CircleCIClaim returns one of CircleCI's own claims by its name after
// "oidc.circleci.com/", or nil.
func CircleCIClaim(t oidc.Token, name string) any { return t.Claims[ClaimPrefix+name] }

// ProjectID returns the claim oidc.circleci.com/project-id, or "".
func ProjectID(t oidc.Token) string { return t.Text(ClaimPrefix + "project-id") }

// OrgID returns the claim oidc.circleci.com/org-id, or "".
func OrgID(t oidc.Token) string { return t.Text(ClaimPrefix + "org-id") }

// Choice is what a command line needs beside the defaults to find this token
// again, with a space in front: " --token-version v2", or nothing.
func Choice(t oidc.Token) string {
	if t.Source == EnvV2 {
		return " --token-version v2"
	}
	return ""
}

// ClaimsHint is the first of the two steps that compare the token with a trust
// document: the job has the token, and mostly no right to read the document.
func ClaimsHint(t oidc.Token) string {
	return "in the job: oidc-broker token" + Choice(t) + " --format json > claims.json"
}

// Subject is CircleCI's sub claim split into its parts:
//
//	org/<uuid>/project/<uuid>/user/<uuid>                                    V1
//	org/<uuid>/project/<uuid>/user/<uuid>/vcs-origin/<host/owner/repo>/vcs-ref/<ref>   V2
type Subject struct {
	Org, Project, User string // UUIDs
	VCSOrigin          string // e.g. "github.com/my-org/app"; "" in V1
	VCSRef             string // e.g. "refs/heads/main"; "" in V1
}

// ParseSubject splits the token's subject. It returns false when sub is not of CircleCI's
// form.
func ParseSubject(t oidc.Token) (Subject, bool) {
	p := strings.SplitN(t.Subject, "/", 7)
	if len(p) < 6 || p[0] != "org" || p[2] != "project" || p[4] != "user" {
		return Subject{}, false
	}
	s := Subject{Org: p[1], Project: p[3], User: p[5]}
	if len(p) == 6 {
		return s, true
	}
	rest, ok := strings.CutPrefix(p[6], "vcs-origin/")
	if !ok {
		return Subject{}, false
	}
	// A branch may be named "x/vcs-ref/refs/heads/main", an owner "vcs-ref":
	// only the claims tell for certain where the origin ends.
	if origin, ref := t.Text(ClaimPrefix+"vcs-origin"), t.Text(ClaimPrefix+"vcs-ref"); rest == origin+"/vcs-ref/"+ref {
		s.VCSOrigin, s.VCSRef = origin, ref
		return s, true
	}
	if s.VCSOrigin, s.VCSRef, ok = strings.Cut(rest, "/vcs-ref/"); !ok {
		return Subject{}, false
	}
	return s, true
}

// Version returns "V1" or "V2", by the form of the subject. A pipeline without
// a repository (a custom webhook) has the same subject in both; then the
// variable that the token came from decides, and "V1 or V2" is what is left.
func Version(t oidc.Token) string {
	s, ok := ParseSubject(t)
	switch {
	case !ok:
		return ""
	case s.VCSOrigin != "":
		return "V2"
	case CircleCIClaim(t, "vcs-origin") != nil:
		return "V1" // wherever it was found: a V2 subject would have the claim in it
	case t.Source == EnvV2:
		return "V2"
	case t.Source == EnvV1:
		return "V1"
	}
	return "V1 or V2"
}
