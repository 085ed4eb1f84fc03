package iam

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// key finds keys that no token of the provider's has (A8, A9).
func (sc *scene) key(d condition) {
	kind, claim := keyOf(d.key, sc.provider.name)
	right := likelyClaim(sc.provider.name, claim)
	f := policy.Finding{ID: "A9", Severity: policy.High, Where: d.path, Fix: sc.fix(keyFix{})}
	switch {
	case kind == foreign:
		f.ID = "A8"
		f.Message = fmt.Sprintf("the key is not of the provider %s", sc.provider.name)
	case kind == unmapped && right != "":
		f.Message = fmt.Sprintf("AWS calls this key %q", sc.provider.name+":"+right)
	case kind == unmapped:
		f.Message = fmt.Sprintf("AWS makes no condition key of the claim %q; of this provider's it has %s", claim, strings.Join(claims(sc.provider.name), ", "))
	case kind == mapped && (claim == "email" || claim == "amr"):
		f.Message = fmt.Sprintf("CircleCI's tokens have no claim %q", claim)
	default:
		return
	}
	holds := d.absent()
	switch {
	case sc.s.deny && holds == policy.Yes:
		f.Message += "; the condition always holds, so that it spares nobody"
	case sc.s.deny:
		f.Message += "; the condition never holds, so that the statement denies nobody"
	case holds == policy.Yes:
		f.Message += "; the condition always holds, so that it keeps nobody out"
	default:
		f.Message += "; the condition never holds, so that nobody gets in"
	}
	if sc.s.deny {
		f.Fix = "remove the condition, or let it be about " + strings.Join(claims(sc.provider.name), ", ")
	}
	// A condition without effect may keep out nobody of those that it is about.
	if kind == unmapped && sc.s.deny != (holds == policy.Yes) && len(sc.p.flaws) == 0 {
		if in, ok := sc.unseen(strings.TrimPrefix(claim, policy.ClaimPrefix)); ok && in.sure {
			f.Witness = in.claims
		}
	}
	sc.report(f, d.Position)
}

// unseen finds a job that a condition on an unmapped claim was to keep out. It
// looks in the statements that allow, whichever has the condition.
func (sc *scene) unseen(claim string) (intruder, bool) {
	for i, s := range sc.p.statements {
		if s.deny {
			continue
		}
		other := sc.scene(i, sc.provider)
		for _, r := range other.readings {
			job := other.own(r)
			switch claim {
			case "ssh-rerun":
				job.SSHRerun = true
			case "vcs-ref":
				job = building(job, "refs/heads/"+otherBranch)
			case "vcs-origin":
				job.Fork, job.Branch, job.Tag = true, "", ""
			default:
				continue
			}
			if in, ok := other.first(other.claims(job), nil); ok {
				return in, true
			}
		}
	}
	return intruder{}, false
}

// vacuous finds conditions that hold for a token without the claim (A6).
func (sc *scene) vacuous(d condition) {
	kind, claim := keyOf(d.key, sc.provider.name)
	o := d.operator
	if kind != mapped || claim != "sub" && claim != "aud" && claim != policy.ClaimProject {
		return
	}
	f := policy.Finding{ID: "A6", Severity: policy.High, Where: d.path, Fix: sc.fix(keyFix{})}
	switch {
	case o.family == nullFamily && d.absent() == policy.Yes && claim != policy.ClaimProject:
		f.Message = fmt.Sprintf("every token has %s, so that nobody gets in", claim)
	case o.all || o.ifExists || o.family == nullFamily && d.absent() == policy.Yes:
		f.Message = fmt.Sprintf("%s holds for a token without %s, so that it keeps out none that lacks it", o.name, claim)
	default:
		return
	}
	if claim == policy.ClaimProject && len(sc.p.flaws) == 0 {
		if in, ok := sc.admits(sc.auditLogs()); ok {
			f.Severity = policy.Critical
			f.Message += ", as that of the stream of audit logs"
			sc.admitting(f, in, d.Position)
			return
		}
	}
	sc.report(f, d.Position)
}

// wrongAction finds statements that are for a provider, and for none of the
// actions that a token can ask for (A19).
func (sc *scene) wrongAction() {
	for _, action := range []string{assume, tag, identify} {
		if sc.s.covers(action) {
			return
		}
	}
	sc.report(policy.Finding{ID: "A19", Severity: policy.High, Where: sc.s.path + ".Action",
		Message: "a provider's tokens ask for " + assume + ", and the statement is for other actions: nobody gets in",
		Fix:     quoteJSON(map[string]any{"Action": assume})}, sc.s.action)
}

// forms finds values that no token of CircleCI's has (A8, A11, A23), or that
// one user's have alone (A18).
func (sc *scene) forms(d condition, claim string) {
	for _, v := range d.values {
		if strings.Contains(v.text, "${") {
			continue
		}
		f := policy.Finding{Where: d.path, Fix: sc.fix(keyFix{})}
		switch {
		case claim == policy.ClaimProject && !wild(v.text) && !uUID(v.text):
			f.ID, f.Severity = "A23", policy.Medium
			f.Message = fmt.Sprintf("%q is not a project's id, which is a UUID in lower case: it never matches", clip(v.text))
		case claim == "sub":
			f = sc.subjectForm(d, v, f)
		}
		if f.ID != "" {
			sc.report(f, v.Position)
		}
	}
}

func (sc *scene) subjectForm(d condition, v value, f policy.Finding) policy.Finding {
	r := readSubject(v.text)
	for _, part := range []struct{ name, value string }{{"an organisation", r.org}, {"a project", r.project}, {"a user", r.user}} {
		if part.value != "" && !wild(part.value) && !uUID(part.value) && !d.operator.fold {
			f.ID, f.Severity = "A23", policy.Medium
			f.Message = fmt.Sprintf("%q is not the id of %s, which is a UUID in lower case: it never matches", clip(part.value), part.name)
			return f
		}
	}
	literal := d.operator.family == textFamily && wild(v.text)
	switch {
	case !sc.root && r.org != "" && !wild(r.org) && !strings.EqualFold(r.org, sc.org):
		f.ID, f.Severity = "A8", policy.High
		f.Message = fmt.Sprintf("the sub is of the organisation %s, the provider of %s: it never matches", r.org, sc.org)
	case !literal && !d.operator.fold && !sc.possible(v):
		f.ID, f.Severity = "A11", policy.High
		f.Message = fmt.Sprintf("no token of CircleCI's has a sub like %q: V1 is org/ORG/project/PROJECT/user/USER, V2 goes on with /vcs-origin/ORIGIN/vcs-ref/REF", clip(v.text))
	case !literal && uUID(r.user):
		f.ID, f.Severity = "A18", policy.Medium
		f.Message = fmt.Sprintf("only jobs that the user %s starts get in: not those of anybody else, nor of a schedule", r.user)
	}
	return f
}

// possible says whether any sub of CircleCI's matches the value.
func (sc *scene) possible(v value) bool {
	job := "org/" + mask + "/project/" + mask + "/user/" + mask
	for _, form := range []string{job, job + vcsOrigin + "?*" + vcsRef + "refs/?*/?*", "org/" + mask + "/file-streaming/audit-logs"} {
		tokens, _ := tokens(form, true, false)
		if _, ok := meet(open(v.tokens), tokens, '0'); ok {
			return true
		}
	}
	return false
}

// An keyFix says how the fixed condition differs from what the document means.
type keyFix struct {
	change      string // the pattern of which origin and ref become these
	drop        string // a sub: no pattern stays that admits it
	origin, ref string // of the only pattern, where none is left
}

// fix writes the condition that the statement should have: what it says of the
// request stays, what it says of the token is written anew. Names in capitals
// have to be filled in.
func (sc *scene) fix(with keyFix) string {
	condition := map[string]map[string]any{}
	put := func(operator, key string, values []string) {
		if condition[operator] == nil {
			condition[operator] = map[string]any{}
		}
		condition[operator][key] = values
		if len(values) == 1 {
			condition[operator][key] = values[0]
		}
	}
	for _, d := range sc.s.conditions {
		if kind, _ := keyOf(d.key, sc.provider.name); kind == global {
			var values []string
			for _, v := range d.values {
				values = append(values, v.text)
			}
			put(d.operator.name, d.key, values)
		}
	}
	name, org := sc.provider.name, sc.org
	whole := map[string]any{"Condition": condition}
	if sc.root {
		if org == ci.SampleOrg {
			org = "ORG-ID"
		}
		name += "/org/" + org
		whole["Principal"] = map[string]any{"Federated": arnParts{sc.provider.partition, sc.provider.account, name}.String()}
	}
	put("StringEquals", name+":aud", sc.safeAudiences(org))
	projects, subs := sc.safe(with, org)
	key := likelyClaim(name, policy.ClaimProject) // none at CircleCI Server
	switch {
	case key != "" && len(projects) > 0:
		put("StringEquals", name+":"+key, projects)
	case len(subs) == 0:
		for _, p := range projects {
			subs = append(subs, "org/"+org+"/project/"+p+"/*")
		}
	}
	if len(subs) > 0 {
		put("StringLike", name+":sub", subs)
	}
	return quoteJSON(whole)
}

func (sc *scene) safeAudiences(org string) []string {
	var auds []string
	for _, aud := range sc.auds {
		if sc.root && aud == ci.SampleOrg {
			aud = org
		}
		if !wild(aud) && !slices.Contains(auds, aud) {
			auds = append(auds, aud)
		}
	}
	return auds
}

// safe returns the projects and the subs of the fixed condition. Where all that
// comes before a * is fixed, or as long as CircleCI makes it, no name can be
// crafted to fill it.
func (sc *scene) safe(with keyFix, org string) (projects, subs []string) {
	every := false // project of the organisation that builds the repository
	for _, p := range sc.projects {
		if uUID(p) && !slices.Contains(projects, p) {
			projects = append(projects, p)
		}
	}
	for _, r := range sc.readings {
		if uUID(r.project) && !slices.Contains(projects, r.project) {
			projects = append(projects, r.project)
		}
		every = every || r.origin != "" && !uUID(r.project) && len(sc.projects) == 0
	}
	switch {
	case every:
		projects = nil
	case len(projects) == 0:
		projects = []string{"PROJECT-ID"}
	}
	add := func(project, origin, ref string) {
		if !uUID(project) {
			project = mask
			if len(projects) == 1 {
				project = projects[0]
			}
		}
		sub := "org/" + org + "/project/" + project + "/user/" + mask + vcsOrigin + origin + vcsRef + cmp.Or(ref, "*")
		if !slices.Contains(subs, sub) {
			subs = append(subs, sub)
		}
	}
	for _, r := range sc.readings {
		switch {
		case r.origin == "" && r.ref == "", with.drop != "" && glob(r.pattern, with.drop):
		case r.pattern == with.change:
			add(r.project, cmp.Or(with.origin, r.safeOrigin()), cmp.Or(with.ref, r.ref))
		default:
			add(r.project, r.safeOrigin(), r.ref)
		}
	}
	if len(subs) == 0 && with.origin != "" {
		add("", with.origin, with.ref)
	}
	return projects, subs
}

// safeOrigin is the repository, without a *: that would take in the ref.
func (r subject) safeOrigin() string {
	switch origin := r.origin; {
	case origin == "":
		return "VCS-ORIGIN"
	case r.ref == "":
		return strings.ReplaceAll(strings.TrimSuffix(strings.TrimSuffix(origin, "*"), "/"), "*", "REPOSITORY")
	default:
		return strings.ReplaceAll(origin, "*", "REPOSITORY")
	}
}
