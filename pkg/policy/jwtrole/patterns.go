package jwtrole

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// patterns looks for names that a pattern fits and that were not meant: a *
// crosses slashes, and a branch may be called nearly anything.
func (l *linter) patterns() {
	if l.role.BoundClaimsType != matchGlobs {
		return
	}
	for _, claim := range []struct {
		name  string
		judge func(pattern string) (id string, w policy.Claims, message string)
	}{
		{"sub", l.subjectPattern}, {policy.ClaimRef, l.refPattern}, {policy.ClaimOrigin, l.originPattern},
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
				f := policy.Finding{ID: id, Severity: policy.Critical, Where: fmt.Sprintf("bound_claims[%q]", name), Message: message, Witness: w, Fix: l.fix()}
				if id == "V13" {
					f.Severity = policy.Medium
				}
				l.add(f, "bound_claims", name)
			}
		}
	}
}

// subjectPattern looks for a branch whose name holds what the pattern has
// behind its first *.
func (l *linter) subjectPattern(pattern string) (string, policy.Claims, string) {
	_, rest, _ := strings.Cut(pattern, "*")
	if rest == "" || strings.Trim(rest, "*/") == "" {
		return "", nil, ""
	}
	var tries []ci.Variant
	for _, lead := range []string{"x", "x/", ""} {
		branch := lead + strings.ReplaceAll(rest, "*", "x")
		if !isBranchName(branch) {
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
	branch, _ := w.Text(policy.ClaimRef)
	return "V2", w, fmt.Sprintf("the * swallows what follows it: whoever can make a branch of the name %q gets in", strings.TrimPrefix(branch, "refs/heads/"))
}

func (l *linter) refPattern(pattern string) (string, policy.Claims, string) {
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

func (l *linter) withRef(ref string) policy.Claims {
	v := l.meant
	v.Branch, v.Tag = "", ""
	if branch, ok := strings.CutPrefix(ref, "refs/heads/"); ok && isBranchName(branch) {
		v.Branch = branch
		return l.first(v)
	}
	if tag, ok := strings.CutPrefix(ref, "refs/tags/"); ok && isBranchName(tag) {
		v.Tag = tag
		return l.first(v)
	}
	return nil
}

func (l *linter) originPattern(pattern string) (string, policy.Claims, string) {
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

// isBranchName says whether git takes a name, as far as names like these go.
func isBranchName(name string) bool {
	if !regexp.MustCompile(policy.RefForm).MatchString("refs/heads/" + name) {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part[0] == '.' || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	return !strings.Contains(name, "..") && !strings.Contains(name, "@{") && name[0] != '-' && name[len(name)-1] != '.'
}
