package wif

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// A pattern looks for a text within a claim that a job has a hand in.
type pattern struct {
	x       *celExpression
	method  string
	literal string
	claims  []string
	shape   *syntax.Regexp // of matches
	// asked says that the token gets in where the pattern finds something, as
	// far as its operand tells.
	asked bool
}

// patternsOf returns the patterns on sub, vcs-ref and vcs-origin.
func (p *Provider) patternsOf(x *celExpression) []pattern {
	var all []pattern
	ast.PostOrderVisit(x.root, ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind {
			return
		}
		c := e.AsCall()
		if !slices.Contains([]string{"contains", "startsWith", "endsWith", "matches"}, c.FunctionName()) {
			return
		}
		args := c.Args()
		if c.IsMemberFunction() {
			args = append([]ast.Expr{c.Target()}, args...)
		}
		if len(args) != 2 {
			return
		}
		literal, ok := literal(args[1])
		q := pattern{x: x, method: c.FunctionName(), literal: literal, claims: p.claims(refs(args[0]))}
		if !ok || !slices.ContainsFunc(q.claims, func(c string) bool { return c == "sub" || c == policy.ClaimRef || c == policy.ClaimOrigin }) {
			return
		}
		if q.method == "matches" {
			shape, err := syntax.Parse(literal, syntax.Perl)
			if err != nil {
				return
			}
			q.shape = shape
		}
		all = append(all, q)
	}))
	return all
}

// allPatterns returns those of all expressions, those that are asked for first.
func (l *linter) allPatterns() []pattern {
	var all []pattern
	for _, m := range l.p.mapping {
		all = append(all, l.p.patternsOf(m.celExpression)...)
	}
	if l.p.condition != nil {
		for _, o := range l.p.condition.operands {
			for _, q := range l.p.patternsOf(o) {
				q.x, q.asked = l.p.condition, positive(o.root)
				all = append(all, q)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b pattern) int {
		switch {
		case a.asked == b.asked:
			return 0
		case a.asked:
			return -1
		}
		return 1
	})
	return all
}

// samples returns texts that the pattern was written for.
func (q pattern) samples() []string {
	if q.shape == nil {
		return []string{q.literal}
	}
	return samples(q.shape, ".")
}

// samples returns a few texts that a regular expression matches, with dot
// for what matches any character.
func samples(re *syntax.Regexp, dot string) []string {
	switch re.Op {
	case syntax.OpLiteral:
		return []string{string(re.Rune)}
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return []string{dot}
	case syntax.OpCharClass:
		return []string{sampleOf(re.Rune)}
	case syntax.OpCapture, syntax.OpPlus:
		return samples(re.Sub[0], dot)
	case syntax.OpRepeat:
		once := samples(re.Sub[0], dot)
		return []string{strings.Repeat(once[0], min(re.Min, 64))}
	case syntax.OpAlternate:
		var all []string
		for _, sub := range re.Sub {
			for _, s := range samples(sub, dot) {
				if len(all) < 4 {
					all = append(all, s)
				}
			}
		}
		return all
	case syntax.OpConcat:
		all := []string{""}
		for _, sub := range re.Sub {
			var longer []string
			for _, before := range all {
				for _, s := range samples(sub, dot) {
					if len(longer) < 4 && len(before)+len(s) < 1000 {
						longer = append(longer, before+s)
					}
				}
			}
			if all = longer; len(all) == 0 {
				return []string{""}
			}
		}
		return all
	}
	return []string{""} // anchors, and what may be left out
}

func sampleOf(ranges []rune) string {
	for _, want := range "xa0-_." {
		for i := 0; i+1 < len(ranges); i += 2 {
			if ranges[i] <= want && want <= ranges[i+1] {
				return string(want)
			}
		}
	}
	if len(ranges) == 0 {
		return ""
	}
	return string(ranges[0])
}

// open says at which ends a regular expression lets anything stand. At the
// end, .* says that this is meant; at the beginning, it is the same slip as
// leaving ^ out.
func (q pattern) open() (start, end bool) {
	switch q.method {
	case "contains":
		return true, true
	case "endsWith":
		return true, false
	case "startsWith":
		last := q.literal[max(0, len(q.literal)-1):]
		return false, regexp.MustCompile(`^[A-Za-z0-9]$`).MatchString(last)
	}
	return openStart(q.shape), openEnd(q.shape)
}

func openStart(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpBeginText:
		return false
	case syntax.OpCapture:
		return openStart(re.Sub[0])
	case syntax.OpAlternate:
		return slices.ContainsFunc(re.Sub, openStart)
	case syntax.OpConcat:
		return openStart(re.Sub[0]) || len(re.Sub) > 1 && anything(re.Sub[1])
	}
	return true
}

func openEnd(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpEndText:
		return false
	case syntax.OpCapture:
		return openEnd(re.Sub[0])
	case syntax.OpAlternate:
		return slices.ContainsFunc(re.Sub, openEnd)
	case syntax.OpConcat:
		return openEnd(re.Sub[len(re.Sub)-1])
	}
	return !anything(re)
}

func anything(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpCapture:
		return anything(re.Sub[0])
	case syntax.OpStar, syntax.OpPlus:
		return re.Sub[0].Op == syntax.OpAnyChar || re.Sub[0].Op == syntax.OpAnyCharNotNL
	}
	return false
}

// weak says whether something may stand around or within the text that is not
// meant, which a pattern on whole claims with fixed ends is not.
func (q pattern) weak() bool {
	start, end := q.open()
	return start || end || q.shape != nil && loose(q.shape, true)
}

// loose finds a dot that stands for any character, but for .* at the end.
func loose(re *syntax.Regexp, last bool) bool {
	if last && anything(re) {
		return false
	}
	if re.Op == syntax.OpAnyChar || re.Op == syntax.OpAnyCharNotNL {
		return true
	}
	end := len(re.Sub) - 1
	if re.Op == syntax.OpConcat && re.Sub[end].Op == syntax.OpEndText {
		end-- // .*$ is .*
	}
	for i, sub := range re.Sub {
		atEnd := last && (re.Op != syntax.OpConcat || i == end)
		if loose(sub, atEnd) {
			return true
		}
	}
	return false
}

// crafted returns branches whose names have in them what the pattern looks for.
func (q pattern) crafted() []string {
	start, end := q.open()
	texts := q.samples()
	var all []string
	if q.shape != nil && loose(q.shape, true) {
		for _, s := range samples(q.shape, "x") { // a . that nobody escaped
			all = append(all, strings.TrimPrefix(s, "refs/heads/"))
		}
	}
	for _, s := range texts {
		bare := strings.TrimPrefix(strings.Trim(s, "/"), "refs/heads/")
		whole := strings.Trim(s, "/")
		if end {
			all = append(all, bare+"-x", bare+"/x")
		}
		if start {
			all = append(all, "x/"+whole, "x"+whole)
		}
		if start && end {
			all = append(all, "x/"+whole+"/x", "x/"+whole+"-x")
		}
	}
	return all
}

// branches returns all branches with which somebody who may push to the
// repository could try it.
func (l *linter) branches(patterns []pattern) []string {
	var all []string
	add := func(name string) {
		if branch(name) && !slices.Contains(all, name) && !slices.Contains(l.refs, "refs/heads/"+name) && len(all) < 60 {
			all = append(all, name)
		}
	}
	for _, ref := range orSample(l.refs, "refs/heads/main") {
		add("x/vcs-ref/" + ref)
		for _, origin := range orSample(l.origins, ci.SampleOrigin) {
			add("x/vcs-origin/" + origin + "/vcs-ref/" + ref)
		}
		add("x/" + ref)
	}
	for _, q := range patterns {
		for _, name := range q.crafted() {
			add(name)
		}
	}
	return all
}

// branch says whether git takes the name (git check-ref-format).
func branch(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	return !strings.Contains(name, "..") && !strings.Contains(name, "@{") && !strings.HasSuffix(name, ".") && !strings.HasPrefix(name, "-") &&
		name != "@" && len(name) <= 200 && regexp.MustCompile(`^[^\x00-\x20\x7f~^:?*[\\]+$`).MatchString(name)
}

// repositories returns those whose owners could try a pull request from them.
func (q pattern) repositories() []string {
	start, end := q.open()
	var all []string
	for _, s := range q.samples() {
		if slices.Contains(q.claims, "sub") {
			_, rest, found := strings.Cut(s, "vcs-origin/")
			s, _, _ = strings.Cut(rest, "/vcs-ref/")
			if !found || s == "" {
				continue
			}
		}
		bare := strings.Trim(s, "/")
		if start {
			all = append(all, "gitlab.com/stranger/"+bare)
			if bare == s && strings.Count(bare, "/") == 1 {
				all = append(all, "github.com/x-"+bare)
			}
		}
		if end {
			all = append(all, originLike(bare+"-x"))
		}
		if start && end {
			all = append(all, "gitlab.com/stranger/"+bare+"-x")
		}
	}
	if q.shape != nil && loose(q.shape, true) {
		for _, s := range samples(q.shape, "x") {
			all = append(all, originLike(s))
		}
	}
	return all
}

// patterns is G8.
func (l *linter) patterns() {
	patterns := l.allPatterns()
	if len(patterns) == 0 {
		return
	}
	branches := l.branches(patterns)
	on := func(claims ...string) *pattern {
		for i, q := range patterns {
			if q.weak() && slices.ContainsFunc(claims, func(c string) bool { return slices.Contains(q.claims, c) }) {
				return &patterns[i]
			}
		}
		return nil
	}
	if q := on(policy.ClaimRef, "sub"); q != nil {
		l.craftedBranch(*q, branches)
	}
	if q := on("sub"); q != nil {
		l.craftedProject(*q, branches)
	}
	for _, q := range patterns {
		ofSubject := slices.Contains(q.claims, "sub") && strings.Contains(q.literal, "vcs-origin")
		if q.weak() && (slices.Contains(q.claims, policy.ClaimOrigin) || ofSubject) {
			l.craftedRepository(q)
			return
		}
	}
}

// craftedBranch: of the same project, where a branch of any name does not do.
func (l *linter) craftedBranch(q pattern, branches []string) {
	if w, _ := l.admitted(l.iam, l.branch(strangerBranch)); w != nil {
		return
	}
	var all []candidate
	for _, name := range branches {
		all = append(all, l.branch(name))
	}
	if w, c := l.admitted(l.iam, all...); w != nil {
		l.crafted(q, w, fmt.Sprintf("the branch %q gets in", c.variant.Branch))
	}
}

func (l *linter) branch(name string) candidate {
	c := l.insider
	c.variant.Branch, c.variant.Tag = name, ""
	return c
}

// craftedProject: another project whose branch has this project's id in it.
func (l *linter) craftedProject(q pattern, branches []string) {
	if w, _ := l.admitted(l.iam, l.otherProjects()...); w != nil {
		return // it needs no craft, which is G1
	}
	var all []candidate
	for _, name := range branches {
		c := l.branch(name)
		c.variant.Project, c.variant.User = strangerProject, strangerUser
		c.variant.Origin = otherRepository(c.variant.Origin)
		all = append(all, c)
	}
	if w, c := l.admitted(l.iam, all...); w != nil {
		l.crafted(q, w, fmt.Sprintf("another project's branch %q gets in", c.variant.Branch))
	}
}

// craftedRepository: a pull request from a repository that looks alike.
func (l *linter) craftedRepository(q pattern) {
	fork := l.insider
	fork.variant.Fork, fork.variant.Branch, fork.variant.Tag = true, "", ""
	all := []candidate{fork}
	for _, origin := range q.repositories() {
		if slices.Contains(l.origins, origin) {
			continue
		}
		c := l.branch("pull/123")
		c.variant.Origin = origin
		all = append(all, c)
	}
	if w, _ := l.admitted(l.iam, all...); w != nil {
		l.crafted(q, w, fmt.Sprintf("a pull request from %v gets in", w[policy.ClaimOrigin]))
	}
}

func (l *linter) crafted(q pattern, w policy.Claims, who string) {
	f := policy.Finding{ID: "G8", Severity: policy.Critical, Where: q.x.where, Witness: w,
		Message: fmt.Sprintf("%s: %s(%s) is satisfied by what a job can choose", who, q.method, show(q.literal))}.At(q.x.Position)
	if q.method == "startsWith" {
		f.Severity = policy.Medium
	}
	if q.x != l.p.condition {
		f.Fix = l.remapped(q)
	}
	if f.Fix == "" { // the condition's, which is written at the end
		l.repair.patterns = true
		f.Where = l.p.word("attributeCondition")
		f = f.At(l.place())
	}
	l.add(f)
}
