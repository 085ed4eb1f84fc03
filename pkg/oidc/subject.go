package oidc

import "strings"

// Subject is CircleCI's sub claim split into its parts:
//
//	org/<uuid>/project/<uuid>/user/<uuid>                                    V1
//	org/<uuid>/project/<uuid>/user/<uuid>/vcs-origin/<host/owner/repo>/vcs-ref/<ref>   V2
type Subject struct {
	Org, Project, User string // UUIDs
	VCSOrigin          string // e.g. "github.com/my-org/app"; "" in V1
	VCSRef             string // e.g. "refs/heads/main"; "" in V1
}

// Parts splits the subject. It returns false when sub is not of CircleCI's
// form.
func (t Token) Parts() (Subject, bool) {
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
	if origin, ref := t.Text(claimPrefix+"vcs-origin"), t.Text(claimPrefix+"vcs-ref"); rest == origin+"/vcs-ref/"+ref {
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
func (t Token) Version() string {
	s, ok := t.Parts()
	switch {
	case !ok:
		return ""
	case s.VCSOrigin != "":
		return "V2"
	case t.CircleCI("vcs-origin") != nil:
		return "V1" // wherever it was found: a V2 subject would have the claim in it
	case t.Source == EnvV2:
		return "V2"
	case t.Source == EnvV1:
		return "V1"
	}
	return "V1 or V2"
}
