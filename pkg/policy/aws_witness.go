package policy

import (
	"cmp"
	"slices"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// Whoever should not get in.
const (
	awsOtherOrg      = "99990000-aaaa-4bbb-8ccc-ddddeeeeffff"
	awsOtherProject  = "5ca1ab1e-0000-4000-8000-00000badf00d"
	awsOtherOrigin   = "github.com/stranger/app"
	awsOtherAudience = "https://vault.example.com"
	awsOtherBranch   = "somebodys-branch"

	awsMask = "????????-????-????-????-????????????"
)

// An awsScene is a statement as it looks to one provider's tokens.
type awsScene struct {
	*awsLinter
	index    int
	s        awsStatement
	provider awsArn
	org      string
	root     bool // the provider signs for all organisations
	// What the statement says of tokens by conditions that keep others out.
	subs     []awsCondition
	projects []string
	auds     []string
	readings []awsSubject // of subs' values, or of none
}

func (l *awsLinter) scene(index int, provider awsArn) *awsScene {
	sc := &awsScene{awsLinter: l, index: index, s: l.p.statements[index], provider: provider}
	org, _ := awsCircleCI(provider.name)
	sc.org, sc.root = org, org == ""
	for _, d := range sc.s.conditions {
		kind, claim := awsKeyOf(d.key, provider.name)
		if kind != awsMapped || d.operator.negated || !d.operator.text() {
			continue
		}
		for _, v := range d.values {
			switch claim {
			case "aud":
				if aud, ok := awsMeet(awsOpen(v.tokens), awsAny(), 'x'); ok && len(sc.auds) < 4 {
					sc.auds = append(sc.auds, aud)
				}
			case claimProject:
				sc.projects = append(sc.projects, v.text)
			case "sub":
				sc.readings = append(sc.readings, awsReadSubject(v.text))
			}
		}
		if claim == "sub" {
			sc.subs = append(sc.subs, d)
		}
	}
	if len(sc.readings) == 0 {
		sc.readings = []awsSubject{{}} // any
	}
	for _, r := range sc.readings {
		if sc.root && r.org != "" && !awsWild(r.org) {
			sc.org = r.org
		}
	}
	sc.org = cmp.Or(sc.org, oidc.SampleOrg)
	if len(sc.auds) == 0 {
		sc.auds = []string{""}
	}
	for i, aud := range sc.auds {
		sc.auds[i] = cmp.Or(aud, sc.org)
	}
	return sc
}

func awsAny() []awsToken { return []awsToken{{kind: awsAnyText}} }

// awsUUID says whether a text is one as CircleCI writes them.
func awsUUID(s string) bool {
	return len(s) == len(awsMask) && awsGlob(awsMask, s) && strings.Trim(s, "0123456789abcdef-") == ""
}

// claims returns the job's V1 and V2 tokens, for each audience.
func (sc *awsScene) claims(v oidc.Variant) []Claims {
	auds := sc.auds
	if v.Audience != "" {
		auds = []string{v.Audience}
	}
	v.Org, v.RootIssuer = cmp.Or(v.Org, sc.org), sc.root
	var all []Claims
	for _, aud := range auds {
		v.Audience = aud
		v1, v2 := ClaimsOf(v, sc.now)
		for _, c := range []Claims{v1, v2} {
			c["iss"] = "https://" + sc.provider.name // CircleCI Server has another
			all = append(all, c)
		}
	}
	return all
}

// auditLogs is the principal that streams an organisation's audit logs: it has
// the organisation's issuer, and no job.
func (sc *awsScene) auditLogs() Claims {
	c := sc.claims(oidc.Variant{})[0]
	for name := range c {
		if strings.HasPrefix(name, claimPrefix) && name != claimOrg {
			delete(c, name)
		}
	}
	c["sub"] = "org/" + sc.org + "/file-streaming/audit-logs"
	return c
}

// An awsIntruder is a token that the policy admits by this statement, or may
// admit.
type awsIntruder struct {
	claims  Claims
	session string
	sure    bool
	unless  string // the condition that could not be decided
}

func (in awsIntruder) sub() string {
	sub, _ := in.claims.text("sub")
	return sub
}

// admits says whether the value's pattern has the token's sub in it.
func (v awsValue) admits(c Claims) bool {
	sub, _ := c.text("sub")
	ok, _ := awsMatch(awsOpen(v.tokens), []rune(sub))
	return ok
}

// admits asks the policy, and whether it is this statement that lets in.
func (sc *awsScene) admits(c Claims) (awsIntruder, bool) {
	best := awsIntruder{claims: c}
	found := false
	for _, session := range sc.sessions {
		r := sc.request(c, session)
		context := sc.p.context(r)
		o := sc.p.evaluate(context)
		switch o.result.and(o.statements[sc.index].applies(0)) {
		case yes:
			if sc.p.Check(r).Verdict == Allow {
				return awsIntruder{claims: c, session: session, sure: true}, true
			}
		case unknown:
			if !found {
				best.session, best.unless, found = session, sc.undecidedIn(context, o), true
			}
		}
	}
	return best, found
}

func (sc *awsScene) request(c Claims, session string) AWSRequest {
	r := AWSRequest{Claims: c, RoleSessionName: session, Now: sc.now}
	if sc.p.roleARN == "" && sc.provider.whole() {
		r.RoleARN = "arn:" + sc.provider.partition + ":iam::" + sc.provider.account + ":role/role"
	}
	return r
}

// undecidedIn names the first condition of the request that is.
func (sc *awsScene) undecidedIn(c *awsContext, o awsOutcome) string {
	name, _, _ := strings.Cut(sc.p.explain(c, o).undecided(), ": ")
	return name
}

// first returns the first token that the policy admits; those that it may
// admit count when there is no other.
func (sc *awsScene) first(tokens []Claims, wanted func(Claims) bool) (awsIntruder, bool) {
	var maybe awsIntruder
	found := false
	for _, c := range tokens {
		if wanted != nil && !wanted(c) {
			continue
		}
		in, ok := sc.admits(c)
		if ok && in.sure {
			return in, true
		}
		if ok && !found {
			maybe, found = in, true
		}
	}
	return maybe, found
}

// means says whether the statement's author can have meant the token: what it
// says of itself in its claims fits the parts of a pattern, each by itself.
// A sub joins those parts, and a * does not stop at the next one's name.
func (sc *awsScene) means(c Claims) bool {
	for _, d := range sc.subs {
		meant := slices.ContainsFunc(d.values, func(v awsValue) bool { return awsReadSubject(v.text).means(c) })
		if !meant {
			return false
		}
	}
	return true
}

func (r awsSubject) means(c Claims) bool {
	sub, _ := c.text("sub")
	origin, _ := c.text(claimOrigin)
	ref, _ := c.text(claimRef)
	project, _ := c.text(claimProject)
	org, _ := c.text(claimOrg)
	for _, part := range []struct{ pattern, got string }{
		{r.org, org}, {r.project, project}, {r.user, awsReadSubject(sub).user}, {r.ref, ref},
	} {
		if part.pattern != "" && !strings.Contains(part.pattern, "${") && !awsGlob(part.pattern, part.got) {
			return false
		}
	}
	switch {
	case r.origin == "", strings.Contains(r.origin, "${"):
		return true
	case r.ref == "": // the pattern goes on into the ref
		return awsGlob(r.origin, origin+vcsRef+ref)
	}
	return awsGlob(r.origin, origin)
}

// own returns a job that the author of a reading means.
func (sc *awsScene) own(r awsSubject) oidc.Variant {
	v := oidc.Variant{
		Org:     sc.org,
		Project: awsLike36(r.project, oidc.SampleProject),
		User:    awsLike36(r.user, oidc.SampleUser),
		Origin:  oidc.SampleOrigin,
	}
	if r.project == "" || awsWild(r.project) {
		for _, p := range sc.projects {
			v.Project = awsLike36(p, oidc.SampleProject)
		}
	}
	if r.origin != "" {
		pattern := r.origin
		if r.ref == "" { // a * at the end stands for the ref
			pattern = strings.TrimSuffix(strings.TrimSuffix(pattern, "*"), "/")
		}
		v.Origin = awsExample(pattern, "?*", oidc.SampleOrigin)
	}
	return awsBuilding(v, awsExample(r.ref, "refs/heads/?*", "refs/heads/main", "refs/tags/v1.2.3"))
}

// awsBuilding sets what the job builds.
func awsBuilding(v oidc.Variant, ref string) oidc.Variant {
	v.Branch, v.Tag = "", ""
	if tag, ok := strings.CutPrefix(ref, "refs/tags/"); ok {
		v.Tag = tag
	} else {
		v.Branch = strings.TrimPrefix(ref, "refs/heads/")
	}
	return v
}

// awsLike36 returns a UUID that fits the pattern: the sample, if it does.
func awsLike36(pattern, sample string) string {
	if pattern != "" && !awsWild(pattern) {
		return pattern
	}
	return awsExample(pattern, awsMask, sample)
}

// awsExample returns the first sample that fits the pattern, or else a text
// that fits both the pattern and the form.
func awsExample(pattern, form string, samples ...string) string {
	for _, sample := range samples {
		if pattern == "" || awsGlob(pattern, sample) {
			return sample
		}
	}
	a, _ := awsTokens(pattern, true, false)
	b, _ := awsTokens(form, true, false)
	for _, tokens := range [][]awsToken{awsFilled(a), a} {
		if s, ok := awsMeet(tokens, b, '0'); ok {
			return s
		}
	}
	return samples[0]
}

// awsFilled has every * stand for at least one character.
func awsFilled(tokens []awsToken) []awsToken {
	var out []awsToken
	for _, t := range tokens {
		if t.kind == awsAnyText {
			out = append(out, awsToken{kind: awsAnyChar})
		}
		out = append(out, t)
	}
	return out
}

// crafted returns tokens of jobs like v, but of a branch or tag whose name
// makes the whole sub fit the value.
func (sc *awsScene) crafted(v oidc.Variant, value awsValue) []Claims {
	var all []Claims
	for _, kind := range []string{"refs/heads/", "refs/tags/"} {
		job := awsBuilding(v, kind+"x")
		v2 := sc.claims(job)[1]
		sub, _ := v2.text("sub")
		before, _ := awsTokens(strings.TrimSuffix(sub, "x"), false, false)
		for _, start := range []string{"x*", "*"} {
			name, _ := awsTokens(start, true, false)
			for _, pattern := range [][]awsToken{awsOpen(value.tokens), awsFilled(awsOpen(value.tokens))} {
				text, ok := awsMeet(pattern, slices.Concat(before, name), 'x')
				if ref := strings.TrimPrefix(text, strings.TrimSuffix(sub, "x")); ok && awsRefName(ref) {
					for i, c := range sc.claims(awsBuilding(v, kind+ref)) {
						if i%2 == 1 { // V2
							all = append(all, c)
						}
					}
				}
			}
		}
	}
	return all
}

// awsRefName says whether git takes the name for a branch (git-check-ref-format).
func awsRefName(s string) bool {
	if s == "" || s == "@" || s == "HEAD" || strings.HasPrefix(s, "-") || strings.HasSuffix(s, ".") ||
		strings.Contains(s, "..") || strings.Contains(s, "@{") || strings.ContainsAny(s, " ~^:?*[\\\x7f") {
		return false
	}
	for _, part := range strings.Split(s, "/") {
		if part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' })
}
