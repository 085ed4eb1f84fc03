package iam

import (
	"fmt"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

const (
	vcsOrigin = "/vcs-origin/"
	vcsRef    = "/vcs-ref/"
)

// providerHints name the likely slip in a statement's provider.
func (c *context) providerHints(s statement) []string {
	var hints []string
	for _, w := range s.federated {
		a, ok := providerARN(w.text)
		switch {
		case !ok:
			continue
		case a.name == c.provider:
			hints = append(hints, fmt.Sprintf("the provider has to be in the role's account: arn:%s:iam::%s:...", c.role.partition, c.role.account))
		case strings.Contains(a.name, "://"):
			hints = append(hints, "a provider's ARN has the issuer without https://")
		case strings.TrimRight(a.name, "/") == strings.TrimRight(c.provider, "/"):
			hints = append(hints, "the issuer and the provider's ARN differ by a trailing slash")
		case strings.EqualFold(a.name, c.provider):
			hints = append(hints, "the issuer and the provider's ARN differ by letter case")
		default:
			hints = append(hints, c.organisationHint(a.name)...)
		}
	}
	return hints
}

// organisationHint is for a name of a provider that should be the token's.
func (c *context) organisationHint(name string) []string {
	theirs, ok := circleCI(name)
	ours, ok2 := circleCI(c.provider)
	switch {
	case !ok || !ok2 || name == c.provider:
		return nil
	case theirs == "":
		return []string{fmt.Sprintf("%q is the root issuer, which lacks /org/%s: the token is of the organisation's own", name, ours)}
	case ours == "":
		return []string{"the token is of the root issuer: mint it without --root-issuer"}
	}
	return []string{fmt.Sprintf("the document names the organisation %s, the token is of %s", theirs, ours)}
}

// keyHints name the likely slip in a key that the request does not have.
func (c *context) keyHints(key string) []string {
	if c.provider == "" {
		return nil
	}
	kind, claim := keyOf(key, c.provider)
	right := c.provider + ":" + likelyClaim(c.provider, claim)
	switch {
	case kind == unmapped && right != c.provider+":":
		return []string{fmt.Sprintf("the key that AWS has is %q", right)}
	case kind == unmapped:
		hints := []string{fmt.Sprintf("of this provider's tokens AWS has %s, and nothing else", strings.Join(claims(c.provider), ", "))}
		if name := strings.TrimPrefix(claim, policy.ClaimPrefix); name == "vcs-ref" || name == "vcs-origin" {
			hints = append(hints, "repository and branch are in the sub of a V2 token ($CIRCLE_OIDC_TOKEN_V2)")
		}
		return hints
	case kind != foreign:
		return nil
	}
	prefix := strings.TrimSuffix(key, ":"+claim)
	var hints []string
	switch bare := strings.TrimPrefix(prefix, "https://"); {
	case bare != prefix:
		hints = append(hints, "a condition key has the issuer without https://")
	case strings.TrimRight(bare, "/") == c.provider:
		hints = append(hints, "the key has a trailing slash that the issuer has not")
	default:
		hints = c.organisationHint(bare)
	}
	if right != c.provider+":" && len(hints) > 0 {
		hints = append(hints, fmt.Sprintf("the token's key is %q", right))
	}
	return hints
}

// likelyClaim is the mapped claim that a name stands for, or "".
func likelyClaim(provider, claim string) string {
	for _, name := range claims(provider) {
		if strings.EqualFold(strings.TrimPrefix(name, policy.ClaimPrefix), strings.TrimPrefix(claim, policy.ClaimPrefix)) {
			return name
		}
	}
	return ""
}

// valueHints name the likely slip between a value of a condition and the
// token's.
func (c *context) valueHints(d condition, wanted, got string) []string {
	var hints []string
	say := func(format string, args ...any) { hints = append(hints, fmt.Sprintf(format, args...)) }
	if d.operator.family == textFamily {
		tokens, _ := tokens(wanted, true, false)
		if ok, _ := match(tokens, []rune(got)); ok || wild(wanted) {
			say("%s takes * and ? for themselves; StringLike takes them for wildcards", d.operator.name)
			return hints
		}
	}
	if trimmed := strings.TrimSpace(wanted); trimmed != wanted {
		say("the document's value has white space around it")
	}
	lower, _ := tokens(strings.ToLower(strings.TrimSpace(wanted)), d.operator.family == like, false)
	if folded, _ := match(lower, []rune(strings.ToLower(got))); folded && !strings.Contains(wanted, "${") {
		if strings.ToLower(wanted) != wanted || strings.ToLower(got) != got {
			say("they differ by letter case")
		}
		return hints
	}
	_, claim := keyOf(d.key, c.provider)
	switch claim {
	case "sub":
		hints = append(hints, c.subjectHints(wanted, got)...)
	case "aud", "oaud":
		if org, ok := circleCI(c.provider); ok && got == org {
			say("the audience of CircleCI's tokens is the organisation's id, unless a job mints its own: circleci run oidc get --claims '{\"aud\": ...}'")
		}
	case policy.ClaimProject:
		say("the token is of another project")
	}
	if strings.TrimRight(wanted, "/") == strings.TrimRight(got, "/") {
		say("they differ by a trailing slash")
	}
	return hints
}

// subjectHints know the two forms of CircleCI's sub.
func (c *context) subjectHints(wanted, got string) []string {
	var hints []string
	say := func(format string, args ...any) { hints = append(hints, fmt.Sprintf(format, args...)) }
	origin, _ := c.claims.Text(policy.ClaimOrigin)
	ref, _ := c.claims.Text(policy.ClaimRef)
	v1, _, v2 := strings.Cut(got, vcsOrigin)
	wantsV2 := strings.Contains(wanted, vcsOrigin) || strings.Contains(wanted, vcsRef)
	switch {
	case v2 && !wantsV2 && glob(wanted, v1):
		say("the token is V2 ($CIRCLE_OIDC_TOKEN_V2), whose sub goes on with %s: give $CIRCLE_OIDC_TOKEN, or let the pattern go on", got[len(v1):])
		return hints
	case !v2 && wantsV2 && origin == "":
		say("the token knows no repository, as of a pipeline that a custom webhook started: its sub never has /vcs-origin/ and /vcs-ref/")
		return hints
	case !v2 && wantsV2:
		say("the token is V1 ($CIRCLE_OIDC_TOKEN), whose sub ends behind the user: give $CIRCLE_OIDC_TOKEN_V2")
		return hints
	}
	r := readSubject(wanted)
	org, _, _ := strings.Cut(strings.TrimPrefix(got, "org/"), "/")
	if r.org != "" && !wild(r.org) && r.org != org {
		say("the document names the organisation %s, the token is of %s", r.org, org)
	}
	if project, _ := c.claims.Text(policy.ClaimProject); r.project != "" && !wild(r.project) && r.project != project {
		say("the document names the project %s, the token is of %s", r.project, project)
	}
	if user := readSubject(got).user; r.user != "" && !wild(r.user) && r.user != user {
		say("the document names one user, %s, and the job is another's; ????????-????-????-????-???????????? stands for any", r.user)
	}
	switch {
	case strings.HasPrefix(r.origin, "https://"), strings.HasSuffix(r.origin, ".git"):
		say("a token's vcs-origin has no https:// and no .git: %s", origin)
	case r.origin != "" && v2 && !glob(r.origin, origin):
		say("the token is of the repository %s; a fork's build has the fork's", origin)
	}
	return append(hints, refHints(r.ref, ref)...)
}

func refHints(wanted, got string) []string {
	switch {
	case wanted == "" || got == "" || glob(wanted, got):
		return nil
	case strings.HasPrefix(wanted, "refs/heads/") && strings.HasPrefix(got, "refs/tags/"):
		return []string{"the document wants a branch (refs/heads/), the job builds a tag (refs/tags/)"}
	case strings.HasPrefix(wanted, "refs/tags/") && strings.HasPrefix(got, "refs/heads/"):
		return []string{"the document wants a tag (refs/tags/), the job builds a branch (refs/heads/)"}
	case !strings.HasPrefix(wanted, "refs/") && strings.HasSuffix(got, "/"+wanted):
		return []string{fmt.Sprintf("a token's vcs-ref is whole: %s", got)}
	}
	return []string{fmt.Sprintf("the job builds %s", got)}
}

// glob matches as StringLike does, without variables.
func glob(pattern, s string) bool {
	tokens, _ := tokens(pattern, true, false)
	ok, _ := match(tokens, []rune(s))
	return ok
}

// An subject is a pattern of a sub as its author reads it: each part
// reaches to the next name. What the pattern does not name is empty.
type subject struct {
	pattern                         string
	org, project, user, origin, ref string
}

// readSubject reads a pattern from left to right.
func readSubject(pattern string) subject {
	r := subject{pattern: pattern}
	head, _, _ := strings.Cut(pattern, vcsOrigin)
	head, _, _ = strings.Cut(head, vcsRef)
	rest := "/" + head
	for _, part := range []struct {
		name string
		to   *string
	}{{"/org/", &r.org}, {"/project/", &r.project}, {"/user/", &r.user}} {
		before, after, ok := strings.Cut(rest, part.name)
		if ok && (part.to != &r.org || before == "") {
			*part.to, _, _ = strings.Cut(after, "/")
			rest = "/" + after
		}
	}
	before, after, found := strings.Cut(pattern, vcsRef)
	if found {
		r.ref = after
	}
	if _, origin, ok := strings.Cut(before, vcsOrigin); ok {
		r.origin = origin
	}
	return r
}
