package iam

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/document"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// judge applies the rules that are about one statement and one provider.
func (l *linter) judge(sc *scene) {
	for _, d := range sc.s.conditions {
		sc.key(d)
	}
	if sc.s.deny {
		return
	}
	sc.wrongAction()
	for _, d := range sc.s.conditions {
		sc.vacuous(d)
		if kind, claim := keyOf(d.key, sc.provider.name); kind == mapped && !d.operator.negated && d.operator.text() {
			sc.forms(d, claim)
		}
	}
	if len(l.p.flaws) > 0 {
		return // Check decides nothing, so there is nobody to find
	}
	everybody := sc.everybody()
	sc.swallowed()
	sc.anyAudience()
	for _, d := range sc.subs {
		for _, v := range d.values {
			sc.trap(d, v)
		}
	}
	if !everybody {
		sc.anyBranch()
		sc.repositoryUnseen()
	}
	sc.widest()
}

// admitting reports a finding that is about somebody who gets in.
func (sc *scene) admitting(f policy.Finding, in intruder, at document.Position) {
	if in.sure {
		f.Witness = in.claims
		if in.session != sc.sessions[0] {
			f.Message += fmt.Sprintf("; the caller names its session %q", in.session)
		}
	} else {
		if f.Severity == policy.Critical {
			f.Severity = policy.High
		}
		f.Message += "; this is so unless " + in.unless + " keeps the job out, which cannot be decided"
	}
	sc.report(f, at)
}

// outsiders are jobs that have nothing to do with what the policy is for.
func (sc *scene) outsiders() []policy.Claims {
	var all []policy.Claims
	for _, project := range sc.otherProjects() {
		stranger := ci.Variant{Project: project, Origin: otherOrigin}
		tagged, hooked := stranger, stranger
		tagged.Tag, hooked.Webhook = "v1.2.3", true
		for _, v := range []ci.Variant{stranger, tagged, hooked} {
			all = append(all, sc.claims(v)...)
		}
		for _, d := range sc.subs {
			for _, v := range d.values {
				all = append(all, sc.crafted(stranger, v)...)
			}
		}
	}
	return all
}

// everybody finds statements that mean a job and take anybody's: A10 for all
// of CircleCI's customers, A1, A4 and A7 for an organisation.
func (sc *scene) everybody() bool {
	if sc.root {
		customer := *sc
		customer.org = otherOrg
		if in, ok := customer.first(customer.outsiders(), nil); ok {
			sc.admitting(policy.Finding{ID: "A10", Severity: policy.Critical, Where: sc.s.path + ".Principal.Federated", Fix: sc.fix(keyFix{}),
				Message: "https://oidc.circleci.com signs for every organisation, and this statement admits a job of another customer's: any job can mint such a token, with the audience it likes"},
				in, sc.s.principal)
			return true
		}
	}
	in, ok := sc.first(sc.outsiders(), sc.means)
	if !ok {
		return sc.auditor()
	}
	f := policy.Finding{ID: "A1", Severity: policy.Critical, Where: sc.s.path, Fix: sc.fix(keyFix{}),
		Message: "no condition on sub or on project-id: every project of the organisation gets in, also one that a member sets up today, and so does whatever else has its issuer, as the stream of audit logs"}
	at := sc.s.Position
	for _, d := range sc.s.conditions {
		kind, claim := keyOf(d.key, sc.provider.name)
		if kind != mapped || claim != "sub" && claim != policy.ClaimProject || !d.operator.text() {
			continue
		}
		switch {
		case d.operator.negated && f.ID == "A1":
			f.ID, f.Where, at = "A7", d.path, d.Position
			f.Message = "only what is named is kept out: every other project of the organisation gets in, also one that a member sets up today"
		case !d.operator.negated && f.ID != "A4":
			f.ID, f.Where, at = "A4", d.path, d.Position
			f.Message = "the pattern admits every project of the organisation, also one that a member sets up today"
		}
	}
	sc.admitting(f, in, at)
	return true
}

// auditor finds statements that keep out all jobs but their own, and let the
// principal in that streams audit logs.
func (sc *scene) auditor() bool {
	for _, d := range sc.s.conditions {
		_, claim := keyOf(d.key, sc.provider.name)
		if claim == policy.ClaimProject && d.absent() == policy.Yes {
			return false // A6 says it
		}
		for _, v := range d.values {
			if strings.Contains(v.text, "file-streaming") {
				return false // meant
			}
		}
	}
	in, ok := sc.admits(sc.auditLogs())
	if !ok {
		return false
	}
	f := policy.Finding{ID: "A4", Severity: policy.Critical, Where: sc.s.path, Fix: sc.fix(keyFix{}),
		Message: "whatever has the organisation's issuer and is no job gets in, as the stream of audit logs does"}
	at := sc.s.Position
	for _, d := range sc.subs {
		f.Where, at = d.path, d.Position
	}
	sc.admitting(f, in, at)
	return false
}

// swallowed finds patterns with a * before the last part they fix: it takes in
// the names of the parts as well, and a branch may be called like them (A3).
func (sc *scene) swallowed() {
	for _, d := range sc.subs {
		for _, v := range d.values {
			if !wild(v.text) {
				continue
			}
			r := readSubject(v.text)
			own := sc.own(r)
			fork, other, guest := own, own, own
			fork.Origin, guest.User = otherOrigin, "bbbb2222-cccc-4333-8ddd-444455556666"
			other.Origin, other.Project = otherOrigin, otherProject
			var tokens []policy.Claims
			for _, job := range []ci.Variant{own, fork, other, guest} {
				tokens = append(tokens, sc.crafted(job, v)...)
			}
			in, ok := sc.first(tokens, func(c policy.Claims) bool { return v.admits(c) && !sc.means(c) })
			if !ok {
				continue
			}
			origin, _ := in.claims.Text(policy.ClaimOrigin)
			ref, _ := in.claims.Text(policy.ClaimRef)
			sc.admitting(policy.Finding{ID: "A3", Severity: policy.Critical, Where: d.path, Fix: sc.fix(keyFix{}),
				Message: fmt.Sprintf("the pattern admits %q of %s, which it does not mean: a * takes in slashes, and a branch or tag may be called like the parts behind it", ref, origin)},
				in, v.Position)
		}
	}
}

// anyAudience finds statements that take tokens meant for others (A2).
func (sc *scene) anyAudience() {
	var tokens []policy.Claims
	for _, r := range sc.readings {
		v := sc.own(r)
		v.Audience = otherAudience
		tokens = append(tokens, sc.claims(v)...)
	}
	logs := sc.auditLogs()
	logs["aud"] = otherAudience
	if in, ok := sc.first(append(tokens, logs), nil); ok {
		sc.admitting(policy.Finding{ID: "A2", Severity: policy.Medium, Where: sc.s.path, Fix: sc.fix(keyFix{}),
			Message: "no condition on aud: a token that a job minted for another service gets in, if the provider in IAM lists that audience"},
			in, sc.s.Position)
	}
}

// trap finds patterns that end amid a name (A13): anybody can think of a longer
// one, and of a tag.
func (sc *scene) trap(d condition, v value) {
	r := readSubject(v.text)
	job := sc.own(r)
	f := policy.Finding{ID: "A13", Severity: policy.Medium, Where: d.path}
	repository := strings.TrimRight(r.origin, "*")
	branch, isBranch := strings.CutPrefix(r.ref, "refs/heads/")
	tag, isTag := strings.CutPrefix(r.ref, "refs/tags/")
	var jobs []ci.Variant
	switch {
	case repository != r.origin && repository != "" && !strings.HasSuffix(repository, "/"):
		job.Origin = example(r.origin, "*-evil", job.Origin+"-evil")
		jobs = []ci.Variant{job}
		f.Severity, f.Fix = policy.High, sc.fix(keyFix{change: v.text, origin: repository})
		f.Message = fmt.Sprintf("%q ends amid a name: it admits the repository %s as well", r.origin, job.Origin)
	case isTag && wild(tag):
		jobs = named(job, "refs/tags/", r.ref)
		f.Message = "whoever may push a tag gets in, and a tag may be of any commit"
		f.Fix = sc.fix(keyFix{change: v.text, ref: "refs/tags/TAG"})
	case isBranch && wild(strings.TrimSuffix("/"+branch, "/*")):
		jobs = named(job, "refs/heads/", r.ref)
		f.Message = fmt.Sprintf("%q ends amid a name: anybody who may push can think of another branch that fits", r.ref)
		f.Fix = sc.fix(keyFix{change: v.text, ref: strings.Trim(strings.NewReplacer("*", "", "?", "").Replace(r.ref), "-_./")})
	}
	for _, job := range jobs {
		if in, ok := sc.first(sc.claims(job), v.admits); ok {
			sc.admitting(f, in, v.Position)
			return
		}
	}
}

// named returns jobs that build what a pattern of refs did not think of.
func named(job ci.Variant, kind, pattern string) []ci.Variant {
	want, _ := tokens(pattern, true, false)
	var jobs []ci.Variant
	for _, form := range []string{"?*-evil", "evil*", "?*"} {
		tokens, _ := tokens(kind+form, true, false)
		ref, ok := meet(want, tokens, 'x')
		if ok && refName(strings.TrimPrefix(ref, kind)) {
			jobs = append(jobs, building(job, ref))
		}
	}
	return jobs
}

// anyBranch finds roles that are called after a deployment, and take every
// branch of their project (A12). Only what get-role prints has the name.
func (sc *scene) anyBranch() {
	name := sc.p.roleARN[strings.LastIndex(sc.p.roleARN, "/")+1:]
	if !regexp.MustCompile(`(?i)deploy|release|prod|publish`).MatchString(name) {
		return
	}
	for _, r := range sc.readings {
		if r.ref != "" && r.ref != "refs/heads/*" && r.ref != "*" && r.ref != "refs/*" {
			continue
		}
		job := sc.own(r)
		in, ok := sc.first(sc.claims(building(job, "refs/heads/"+otherBranch)), nil)
		if ok {
			sc.admitting(policy.Finding{ID: "A12", Severity: policy.Medium, Where: sc.s.path,
				Fix:     sc.fix(keyFix{drop: in.sub(), origin: r.safeOrigin(), ref: "refs/heads/main"}),
				Message: fmt.Sprintf("the role is called %s, and every branch of the project gets in: whoever may push can use it", name)},
				in, sc.s.Position)
			return
		}
	}
}

// An narrow is a value that names a repository, of any statement.
type narrow struct {
	subject
	value value
	job   ci.Variant
}

// narrow returns the values by which the policy says what it means.
func (sc *scene) narrow() []narrow {
	var all []narrow
	for i, s := range sc.p.statements {
		if s.deny {
			continue
		}
		other := sc.scene(i, sc.provider)
		for _, d := range other.subs {
			for _, v := range d.values {
				if r := readSubject(v.text); r.origin != "" && len(all) < 64 {
					all = append(all, narrow{r, v, other.own(r)})
				}
			}
		}
	}
	return all
}

// repositoryUnseen finds statements that take V1 tokens where the policy means
// one repository: the sub of a fork's V1 token is the project's own (A14).
func (sc *scene) repositoryUnseen() {
	for _, n := range sc.narrow() {
		fork := n.job
		fork.Fork, fork.Branch, fork.Tag = true, "", ""
		in, ok := sc.first(sc.claims(fork)[:1], nil)
		if ok {
			sc.admitting(policy.Finding{ID: "A14", Severity: policy.High, Where: sc.s.path, Fix: sc.fix(keyFix{drop: in.sub(), origin: n.safeOrigin(), ref: n.ref}),
				Message: fmt.Sprintf("the policy names the repository %s, and takes V1 tokens, whose sub names none: if secrets are passed to forks, a pull request of anybody's gets in", n.job.Origin)},
				in, sc.s.Position)
			return
		}
	}
}

// widest finds statements that admit what another statement or value keeps
// out: together they are as wide as the widest (A22).
func (sc *scene) widest() {
	for _, n := range sc.narrow() {
		if n.ref == "" || n.ref == "*" {
			continue
		}
		job := building(n.job, "refs/heads/"+otherBranch)
		in, ok := sc.first(sc.claims(job), func(c policy.Claims) bool {
			sub, _ := c.Text("sub")
			return strings.Contains(sub, vcsRef) && !n.value.admits(c)
		})
		if ok {
			sc.admitting(policy.Finding{ID: "A22", Severity: policy.High, Where: sc.s.path, Fix: sc.fix(keyFix{drop: in.sub(), origin: n.safeOrigin(), ref: n.ref}),
				Message: fmt.Sprintf("the value at %s means %s alone, and this statement admits every branch: alternatives are as wide as the widest", n.value.At(), n.ref)},
				in, sc.s.Position)
			return
		}
	}
}
