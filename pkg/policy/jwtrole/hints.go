package jwtrole

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// What CircleCI's tokens have.
func knownClaims() []string {
	return ci.Named("circleci").ClaimNames()
}

// pointer is a claim's name as a JSON pointer.
func pointer(name string) string {
	return "/" + strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
}

// fieldName is the claim that a name stands for: a pointer to a whole claim is
// another way to write its name.
func fieldName(name string) string {
	rest, ok := strings.CutPrefix(name, "/")
	if !ok || strings.Contains(rest, "/") {
		return name
	}
	return strings.ReplaceAll(strings.ReplaceAll(rest, "~1", "/"), "~0", "~")
}

// nameHints are for a claim that is not there.
func (k *checker) nameHints(name string) []string {
	plain := fieldName(name)
	rest := strings.TrimPrefix(name, "/")
	for _, known := range knownClaims() {
		switch {
		case name != plain && plain == known && k.all[known] != nil:
			return []string{fmt.Sprintf("here no pointer is read: write %q", known)}
		case strings.HasPrefix(name, "/") && rest == known:
			return []string{fmt.Sprintf("a slash in front makes a JSON pointer of it: write %q", known)}
		case plain != known && strings.EqualFold(plain, known):
			return []string{fmt.Sprintf("letter case counts: write %q", known)}
		case policy.ClaimPrefix+strings.ReplaceAll(plain, "_", "-") == known, strings.ReplaceAll(plain, "_", "-") == known && plain != known:
			return []string{fmt.Sprintf("the claim is called %q", known)}
		}
	}
	switch plain {
	case policy.ClaimOrigin, policy.ClaimRef:
		return []string{"the token of a pipeline that a custom webhook started names no repository: such pipelines need a role of their own"}
	case policy.ClaimContexts:
		return []string{"the job uses no context"}
	}
	return nil
}

// valueHints are for a claim whose value is another.
func (k *checker) valueHints(name string, wants []any, got any) []string {
	var hints []string
	text, isText := got.(string)
	for _, want := range wants {
		w, ok := want.(string)
		switch {
		case ok && !isText && w == fmt.Sprint(got):
			hints = append(hints,
				fmt.Sprintf("%s as text is never %s itself: write it without quotes", shown(w), shown(got)),
				"Terraform's vault_jwt_auth_backend_role makes text of every value: write the role with vault_generic_endpoint")
		case ok && !isText && strings.Contains(w, "*"):
			hints = append(hints, "patterns match text alone, and the claim is "+shown(got))
		case !ok && k.role.BoundClaimsType == matchGlobs:
			hints = append(hints, `with bound_claims_type glob all values are patterns: write "bound_claims_type": "string"`)
		case ok && isText:
			hints = append(hints, k.textHints(fieldName(name), w, text)...)
		}
	}
	if fieldName(name) == policy.ClaimSSHRerun && got == true {
		hints = append(hints, "the job was rerun with SSH, so that somebody may be logged in to it")
	}
	slices.Sort(hints)
	return slices.Compact(hints)
}

func (k *checker) textHints(name, want, got string) []string {
	var hints []string
	add := func(format string, args ...any) { hints = append(hints, fmt.Sprintf(format, args...)) }
	globs := k.role.BoundClaimsType == matchGlobs
	switch {
	case strings.EqualFold(want, got):
		add("letter case counts")
	case !globs && strings.Contains(want, "*") && glob(want, got):
		add(`* is a wildcard with "bound_claims_type": "glob" alone`)
	case globs && strings.ContainsAny(want, "?[") && !strings.Contains(want, "*"):
		add("of all wildcards there is * alone")
	case strings.Contains(want, ",") && slices.Contains(strings.Split(strings.ReplaceAll(want, " ", ""), ","), got):
		add("a comma separates nothing here: write a list")
	}
	switch name {
	case "sub":
		hints = append(hints, subjectHints(want, got)...)
	case policy.ClaimOrigin:
		plain := strings.TrimSuffix(want[strings.Index(want, "://")+1:], ".git")
		if strings.TrimLeft(plain, "/") == got && plain != want {
			add("an origin has no https:// and no .git: write %q", got)
		}
	case policy.ClaimRef:
		if !strings.HasPrefix(want, "refs/") && (got == "refs/heads/"+want || got == "refs/tags/"+want) {
			add("a ref has its whole name: write %q", got)
		}
		if strings.HasPrefix(got, "refs/heads/pull/") {
			add("the job builds a pull request of a fork")
		}
	case policy.ClaimOrg, policy.ClaimProject:
		if strings.Contains(want, "/") {
			add("the claim is a UUID, as Organization Settings > Overview and Project Settings > Overview show it")
		}
	}
	return hints
}

// subjectHints know the two forms of a subject.
func subjectHints(want, got string) []string {
	const vcs = "/vcs-origin/"
	wantV1, _, wantsV2 := strings.Cut(want, vcs)
	gotV1, _, isV2 := strings.Cut(got, vcs)
	switch {
	case isV2 && !wantsV2 && (want == gotV1 || strings.HasSuffix(want, "*")):
		return []string{"the token is a V2 token, whose subject goes on with the repository: log in with CIRCLE_OIDC_TOKEN, or bind the single claims"}
	case !isV2 && wantsV2 && (strings.HasPrefix(wantV1, "org/") || wantV1 == gotV1):
		return []string{"the token is a V1 token, or one of a webhook's pipeline, whose subject knows no repository: log in with CIRCLE_OIDC_TOKEN_V2, or bind the single claims"}
	}
	const user = "/user/"
	wantProject, _, _ := strings.Cut(want, user)
	gotProject, _, ok := strings.Cut(got, user)
	if ok && wantProject == gotProject && strings.Contains(want, user) && !strings.Contains(want, "*") {
		return []string{"the subject names the user who started the pipeline, too: bind the single claims"}
	}
	return nil
}

func issuerHints(want, got string) []string {
	switch {
	case strings.TrimSuffix(want, "/") == strings.TrimSuffix(got, "/"):
		return []string{"the slash at the end counts: CircleCI's issuers have none"}
	case got == ci.RootIssuer:
		return []string{"the token was minted with --root-issuer"}
	case want == ci.RootIssuer:
		return []string{"a job's own token is of its organisation's issuer: bind that one"}
	case strings.HasPrefix(got, ci.RootIssuer+"/org/"):
		return []string{"every organisation has an issuer, and needs a mount, of its own"}
	}
	return nil
}
