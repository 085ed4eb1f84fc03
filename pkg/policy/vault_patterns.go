package policy

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// patterns looks for names that a pattern fits and that were not meant: a *
// crosses slashes, and a branch may be called nearly anything.
func (l *vaultLinter) patterns() {
	if l.role.BoundClaimsType != vaultMatchGlobs {
		return
	}
	for _, claim := range []struct {
		name  string
		judge func(pattern string) (id string, w Claims, message string)
	}{
		{"sub", l.subjectPattern}, {claimRef, l.refPattern}, {claimOrigin, l.originPattern},
	} {
		for name, values := range l.values(claim.name) {
			for _, pattern := range values {
				if !strings.Contains(pattern, "*") {
					continue
				}
				id, w, message := claim.judge(pattern)
				if w == nil {
					continue
				}
				f := Finding{ID: id, Severity: Critical, Where: fmt.Sprintf("bound_claims[%q]", name), Message: message, Witness: w, Fix: l.fix()}
				if id == "V13" {
					f.Severity = Medium
				}
				l.add(f, "bound_claims", name)
			}
		}
	}
}

// subjectPattern looks for a branch whose name holds what the pattern has
// behind its first *.
func (l *vaultLinter) subjectPattern(pattern string) (string, Claims, string) {
	_, rest, _ := strings.Cut(pattern, "*")
	if rest == "" || strings.Trim(rest, "*/") == "" {
		return "", nil, ""
	}
	var tries []oidc.Variant
	for _, lead := range []string{"x", "x/", ""} {
		branch := lead + strings.ReplaceAll(rest, "*", "x")
		if !vaultBranch(branch) {
			continue
		}
		own, fork := l.meant, l.meant
		own.Branch, own.Tag = branch, ""
		fork.Branch, fork.Tag, fork.Fork = branch, "", true
		if l.namesRef && own.Branch != l.meant.BuiltBranch() {
			tries = append(tries, own)
		}
		tries = append(tries, fork)
	}
	w := l.first(tries...)
	branch, _ := w.text(claimRef)
	return "V2", w, fmt.Sprintf("the * swallows what follows it: whoever can make a branch of the name %q gets in", strings.TrimPrefix(branch, "refs/heads/"))
}

func (l *vaultLinter) refPattern(pattern string) (string, Claims, string) {
	i := strings.LastIndex(pattern, "*")
	last := pattern[i+1:]
	switch {
	case pattern == "*", pattern == "refs/*", pattern == "refs/heads/*":
		return "", nil, "" // any branch is meant
	case last == "":
		ref := strings.ReplaceAll(pattern, "*", "anything")
		if strings.HasPrefix(pattern, "refs/*") {
			ref = "refs/heads/" + strings.ReplaceAll(pattern[len("refs/*"):], "*", "anything")
		}
		return "V13", l.withRef(ref), "whoever may push can make a branch or a tag that this fits"
	}
	// The shortest name that begins otherwise than was meant.
	ref := strings.ReplaceAll(pattern, "*", "x")
	if !strings.HasPrefix(ref, "refs/heads/") && !strings.HasPrefix(ref, "refs/tags/") {
		ref = "refs/heads/x" + last
	}
	return "V2", l.withRef(ref), fmt.Sprintf("the * crosses slashes: whoever can make %q gets in", ref)
}

func (l *vaultLinter) withRef(ref string) Claims {
	v := l.meant
	v.Branch, v.Tag = "", ""
	if branch, ok := strings.CutPrefix(ref, "refs/heads/"); ok && vaultBranch(branch) {
		v.Branch = branch
		return l.first(v)
	}
	if tag, ok := strings.CutPrefix(ref, "refs/tags/"); ok && vaultBranch(tag) {
		v.Tag = tag
		return l.first(v)
	}
	return nil
}

func (l *vaultLinter) originPattern(pattern string) (string, Claims, string) {
	first, rest, _ := strings.Cut(pattern, "*")
	if pattern == "*" {
		return "", nil, ""
	}
	v := l.meant
	if rest == "" && strings.HasSuffix(first, "/") && strings.Count(first, "/") > 1 {
		v.Origin = first + "anything"
		return "V13", l.first(v), "whoever may make a repository there can make one that this fits"
	}
	rest = strings.ReplaceAll(rest, "*", "x")
	switch {
	case first == "" && strings.HasPrefix(rest, "/"):
		v.Origin = "gitlab.com/stranger" + rest // a group may have groups
	case first == "":
		v.Origin = "github.com/stranger-" + rest
	case strings.HasSuffix(first, "/"):
		v.Origin = first + "stranger" + rest
	default:
		v.Origin = first + "-stranger" + rest
	}
	if strings.Count(v.Origin, "/") < 2 {
		v.Origin += "/app"
	}
	return "V2", l.first(v), fmt.Sprintf("the * is any text: %q gets in", v.Origin)
}

// vaultBranch says whether git takes a name, as far as names like these go.
func vaultBranch(name string) bool {
	if !regexp.MustCompile(refForm).MatchString("refs/heads/" + name) {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part[0] == '.' || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	return !strings.Contains(name, "..") && !strings.Contains(name, "@{") && name[0] != '-' && name[len(name)-1] != '.'
}
