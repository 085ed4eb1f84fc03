package iam

import (
	"cmp"
	"slices"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// Whoever should not get in.
const (
	otherOrg      = "99990000-aaaa-4bbb-8ccc-ddddeeeeffff"
	otherProject  = "5ca1ab1e-0000-4000-8000-00000badf00d"
	otherOrigin   = "github.com/stranger/app"
	otherAudience = "https://vault.example.com"
	otherBranch   = "somebodys-branch"

	mask = "????????-????-????-????-????????????"
)

// An scene is a statement as it looks to one provider's tokens.
type scene struct {
	*linter
	index    int
	s        statement
	provider arnParts
	org      string
	root     bool // the provider signs for all organisations
	// What the statement says of tokens by conditions that keep others out.
	subs     []condition
	projects []string
	auds     []string
	readings []subject // of subs' values, or of none
}

func (l *linter) scene(index int, provider arnParts) *scene {
	sc := &scene{linter: l, index: index, s: l.p.statements[index], provider: provider}
	org, _ := circleCI(provider.name)
	sc.org, sc.root = org, org == ""
	for _, d := range sc.s.conditions {
		kind, claim := keyOf(d.key, provider.name)
		if kind != mapped || d.operator.negated || !d.operator.text() {
			continue
		}
		for _, v := range d.values {
			switch claim {
			case "aud":
				if aud, ok := meet(open(v.tokens), anyToken(), 'x'); ok && len(sc.auds) < 4 {
					sc.auds = append(sc.auds, aud)
				}
			case policy.ClaimProject:
				sc.projects = append(sc.projects, v.text)
			case "sub":
				sc.readings = append(sc.readings, readSubject(v.text))
			}
		}
		if claim == "sub" {
			sc.subs = append(sc.subs, d)
		}
	}
	if len(sc.readings) == 0 {
		sc.readings = []subject{{}} // any
	}
	for _, r := range sc.readings {
		if sc.root && r.org != "" && !wild(r.org) {
			sc.org = r.org
		}
	}
	sc.org = cmp.Or(sc.org, ci.SampleOrg)
	if len(sc.auds) == 0 {
		sc.auds = []string{""}
	}
	for i, aud := range sc.auds {
		sc.auds[i] = cmp.Or(aud, sc.org)
	}
	return sc
}

func anyToken() []token { return []token{{kind: anyText}} }

// uUID says whether a text is one as CircleCI writes them.
func uUID(s string) bool {
	return len(s) == len(mask) && glob(mask, s) && strings.Trim(s, "0123456789abcdef-") == ""
}

// claims returns the job's V1 and V2 tokens, for each audience.
func (sc *scene) claims(v ci.Variant) []policy.Claims {
	auds := sc.auds
	if v.Audience != "" {
		auds = []string{v.Audience}
	}
	v.Org, v.RootIssuer = cmp.Or(v.Org, sc.org), sc.root
	var all []policy.Claims
	for _, aud := range auds {
		v.Audience = aud
		v1, v2 := policy.ClaimsOf(v, sc.now)
		for _, c := range []policy.Claims{v1, v2} {
			c["iss"] = "https://" + sc.provider.name // CircleCI Server has another
			all = append(all, c)
		}
	}
	return all
}

// auditLogs is the principal that streams an organisation's audit logs: it has
// the organisation's issuer, and no job.
func (sc *scene) auditLogs() policy.Claims {
	c := sc.claims(ci.Variant{})[0]
	for name := range c {
		if strings.HasPrefix(name, policy.ClaimPrefix) && name != policy.ClaimOrg {
			delete(c, name)
		}
	}
	c["sub"] = "org/" + sc.org + "/file-streaming/audit-logs"
	return c
}

// An intruder is a token that the policy admits by this statement, or may
// admit.
type intruder struct {
	claims  policy.Claims
	session string
	sure    bool
	unless  string // the condition that could not be decided
}

func (in intruder) sub() string {
	sub, _ := in.claims.Text("sub")
	return sub
}

// admits says whether the value's pattern has the token's sub in it.
func (v value) admits(c policy.Claims) bool {
	sub, _ := c.Text("sub")
	ok, _ := match(open(v.tokens), []rune(sub))
	return ok
}

// admits asks the policy, and whether it is this statement that lets in.
func (sc *scene) admits(c policy.Claims) (intruder, bool) {
	best := intruder{claims: c}
	found := false
	for _, session := range sc.sessions {
		r := sc.request(c, session)
		context := sc.p.context(r)
		o := sc.p.evaluate(context)
		switch o.result.And(o.statements[sc.index].applies(0)) {
		case policy.Yes:
			if sc.p.Check(r).Verdict == policy.Allow {
				return intruder{claims: c, session: session, sure: true}, true
			}
		case policy.Unknown:
			if !found {
				best.session, best.unless, found = session, sc.undecidedIn(context, o), true
			}
		}
	}
	return best, found
}

func (sc *scene) request(c policy.Claims, session string) Request {
	r := Request{Claims: c, RoleSessionName: session, Now: sc.now}
	if sc.p.roleARN == "" && sc.provider.whole() {
		r.RoleARN = "arn:" + sc.provider.partition + ":iam::" + sc.provider.account + ":role/role"
	}
	return r
}

// undecidedIn names the first condition of the request that is.
func (sc *scene) undecidedIn(c *context, o outcome) string {
	name, _, _ := strings.Cut(sc.p.explain(c, o).undecided(), ": ")
	return name
}

// first returns the first token that the policy admits; those that it may
// admit count when there is no other.
func (sc *scene) first(tokens []policy.Claims, wanted func(policy.Claims) bool) (intruder, bool) {
	var maybe intruder
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
func (sc *scene) means(c policy.Claims) bool {
	for _, d := range sc.subs {
		meant := slices.ContainsFunc(d.values, func(v value) bool { return readSubject(v.text).means(c) })
		if !meant {
			return false
		}
	}
	return true
}

func (r subject) means(c policy.Claims) bool {
	sub, _ := c.Text("sub")
	origin, _ := c.Text(policy.ClaimOrigin)
	ref, _ := c.Text(policy.ClaimRef)
	project, _ := c.Text(policy.ClaimProject)
	org, _ := c.Text(policy.ClaimOrg)
	for _, part := range []struct{ pattern, got string }{
		{r.org, org}, {r.project, project}, {r.user, readSubject(sub).user}, {r.ref, ref},
	} {
		if part.pattern != "" && !strings.Contains(part.pattern, "${") && !glob(part.pattern, part.got) {
			return false
		}
	}
	switch {
	case r.origin == "", strings.Contains(r.origin, "${"):
		return true
	case r.ref == "": // the pattern goes on into the ref
		return glob(r.origin, origin+vcsRef+ref)
	}
	return glob(r.origin, origin)
}

// otherProjects returns projects that nobody can have meant. Where the document has
// patterns of projects, they are derived from these: one that fits each pattern, and
// one for each first letter, for a pattern may keep out the usual stranger alone.
func (sc *scene) otherProjects() []string {
	all := []string{otherProject}
	add := func(project string) {
		if project != ci.SampleProject && !slices.Contains(all, project) && !slices.Contains(sc.projects, project) && len(all) < 64 {
			all = append(all, project)
		}
	}
	found := false
	for _, s := range sc.p.statements {
		for _, d := range s.conditions {
			kind, claim := keyOf(d.key, sc.provider.name)
			if kind != mapped || !d.operator.text() {
				continue
			}
			for _, v := range d.values {
				pattern := v.text
				if claim == "sub" {
					pattern = readSubject(v.text).project
				}
				if claim != "sub" && claim != policy.ClaimProject || !partly(pattern) {
					continue
				}
				found = true
				add(otherUUID(pattern))
			}
		}
	}
	if found {
		for _, letter := range "0123456789abcdef" {
			add(string(letter) + otherProject[1:])
		}
	}
	return all
}

// partly says whether a pattern leaves a part of a UUID open, and not all of it.
func partly(pattern string) bool {
	return wild(pattern) && strings.ContainsAny(pattern, "0123456789abcdef")
}

// otherUUID returns a UUID that fits the pattern and is none of a sample.
func otherUUID(pattern string) string {
	a, _ := tokens(pattern, true, false)
	b, _ := tokens(mask, true, false)
	if s, ok := meet(a, b, 'd'); ok {
		return s
	}
	return otherProject
}

// own returns a job that the author of a reading means.
func (sc *scene) own(r subject) ci.Variant {
	v := ci.Variant{
		Org:     sc.org,
		Project: like36(r.project, ci.SampleProject),
		User:    like36(r.user, ci.SampleUser),
		Origin:  ci.SampleOrigin,
	}
	if r.project == "" || wild(r.project) {
		for _, p := range sc.projects {
			v.Project = like36(p, ci.SampleProject)
		}
	}
	if r.origin != "" {
		pattern := r.origin
		if r.ref == "" { // a * at the end stands for the ref
			pattern = strings.TrimSuffix(strings.TrimSuffix(pattern, "*"), "/")
		}
		v.Origin = example(pattern, "?*", ci.SampleOrigin)
	}
	return building(v, example(r.ref, "refs/heads/?*", "refs/heads/main", "refs/tags/v1.2.3"))
}

// building sets what the job builds.
func building(v ci.Variant, ref string) ci.Variant {
	v.Branch, v.Tag = "", ""
	if tag, ok := strings.CutPrefix(ref, "refs/tags/"); ok {
		v.Tag = tag
	} else {
		v.Branch = strings.TrimPrefix(ref, "refs/heads/")
	}
	return v
}

// like36 returns a UUID that fits the pattern: the sample, if it does.
func like36(pattern, sample string) string {
	if pattern != "" && !wild(pattern) {
		return pattern
	}
	return example(pattern, mask, sample)
}

// example returns the first sample that fits the pattern, or else a text
// that fits both the pattern and the form.
func example(pattern, form string, samples ...string) string {
	for _, sample := range samples {
		if pattern == "" || glob(pattern, sample) {
			return sample
		}
	}
	a, _ := tokens(pattern, true, false)
	b, _ := tokens(form, true, false)
	for _, tokens := range [][]token{filled(a), a} {
		if s, ok := meet(tokens, b, '0'); ok {
			return s
		}
	}
	return samples[0]
}

// filled has every * stand for at least one character.
func filled(tokens []token) []token {
	var out []token
	for _, t := range tokens {
		if t.kind == anyText {
			out = append(out, token{kind: anyChar})
		}
		out = append(out, t)
	}
	return out
}

// crafted returns tokens of jobs like v, but of a branch or tag whose name
// makes the whole sub fit the value.
func (sc *scene) crafted(v ci.Variant, value value) []policy.Claims {
	var all []policy.Claims
	for _, kind := range []string{"refs/heads/", "refs/tags/"} {
		job := building(v, kind+"x")
		v2 := sc.claims(job)[1]
		sub, _ := v2.Text("sub")
		before, _ := tokens(strings.TrimSuffix(sub, "x"), false, false)
		for _, start := range []string{"x*", "*"} {
			name, _ := tokens(start, true, false)
			for _, pattern := range [][]token{open(value.tokens), filled(open(value.tokens))} {
				text, ok := meet(pattern, slices.Concat(before, name), 'x')
				if ref := strings.TrimPrefix(text, strings.TrimSuffix(sub, "x")); ok && refName(ref) {
					for i, c := range sc.claims(building(v, kind+ref)) {
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

// refName says whether git takes the name for a branch (git-check-ref-format).
func refName(s string) bool {
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
