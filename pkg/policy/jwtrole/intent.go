package jwtrole

import (
	"encoding/json"
	"iter"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// intend reads from the documents which job the role is meant for. What a real
// token cannot have is left out, so that the job is refused for it.
func (l *linter) intend() {
	v := ci.Variant{Claims: map[string]json.RawMessage{}}
	uuid := regexp.MustCompile(policy.UUIDForm)
	if l.cfg != nil {
		l.intendIssuer(&v)
	}
	for _, s := range append([]string{l.role.BoundSubject}, l.texts("sub")...) {
		l.intendSubject(&v, s)
	}
	for claim, into := range map[string]*string{policy.ClaimOrg: &v.Org, policy.ClaimProject: &v.Project} {
		for _, s := range l.texts(claim) {
			if uuid.MatchString(s) && *into == "" {
				*into = s
			}
		}
	}
	if v.Org == "" && len(l.role.BoundAudiences) > 0 && uuid.MatchString(l.role.BoundAudiences[0]) {
		v.Org = l.role.BoundAudiences[0]
	}
	l.namesOrg, l.namesProject = v.Org != "", v.Project != ""
	for _, s := range l.texts(policy.ClaimOrigin) {
		l.intendOrigin(&v, s)
	}
	for _, s := range l.texts(policy.ClaimRef) {
		l.intendRef(&v, s)
	}
	for _, aud := range append(slices.Clone(l.role.BoundAudiences), l.texts("aud")...) {
		if v.Audience == "" {
			v.Audience = aud
		}
	}
	l.intendRest(&v)
	l.meant = v
	l.keep = map[string]any{}
	for name, want := range l.role.BoundClaims {
		switch name := fieldName(name); {
		case name == policy.ClaimOrg && l.namesOrg:
			l.keep[name] = v.Org
		case v.Claims[name] != nil:
			l.keep[name] = want
		}
	}
}

// intendIssuer takes the organisation from where the keys are. CircleCI's server
// has an issuer of the same form at another host.
func (l *linter) intendIssuer(v *ci.Variant) {
	of := regexp.MustCompile(`^https://[^/]+/org/([0-9a-f-]{36})$`)
	for _, url := range []string{l.cfg.BoundIssuer, l.cfg.OIDCDiscoveryURL, strings.TrimSuffix(l.cfg.JWKSURL, "/.well-known/jwks-pub.json")} {
		if m := of.FindStringSubmatch(strings.TrimSuffix(url, "/")); m != nil && v.Org == "" {
			v.Org = m[1]
		}
	}
	switch issuer := l.cfg.BoundIssuer; {
	case issuer == ci.RootIssuer:
		v.RootIssuer = true
	case of.MatchString(issuer):
		v.Claims["iss"] = rawJSON(issuer)
	}
}

// intendSubject takes a subject apart, or a pattern for one.
func (l *linter) intendSubject(v *ci.Variant, s string) {
	uuid := regexp.MustCompile(`^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	rest, ok := strings.CutPrefix(s, "org/")
	if !ok {
		return
	}
	rest, vcs, hasVCS := strings.Cut(rest, "/vcs-origin/")
	rest, user, _ := strings.Cut(rest, "/user/")
	org, project, _ := strings.Cut(rest, "/project/")
	for _, part := range []struct {
		text string
		into *string
	}{{org, &v.Org}, {project, &v.Project}, {user, &v.User}} {
		if id := uuid.FindString(part.text); *part.into == "" {
			*part.into = id
		}
	}
	if !hasVCS {
		return
	}
	origin, ref, hasRef := strings.Cut(vcs, "/vcs-ref/")
	l.intendOrigin(v, origin)
	if hasRef {
		l.intendRef(v, ref)
	}
}

func (l *linter) intendOrigin(v *ci.Variant, s string) {
	if s == "*" || v.Origin != "" {
		return
	}
	form := regexp.MustCompile(policy.OriginForm)
	for _, candidate := range []string{s, ci.SampleOrigin, strings.ReplaceAll(s, "*", "app"), strings.ReplaceAll(s, "*", "my-org/app"), strings.ReplaceAll(s, "*", "github.com/my-org")} {
		if l.matches(s, candidate) && form.MatchString(candidate) && !strings.HasSuffix(candidate, ".git") {
			v.Origin, l.namesOrigin = candidate, true
			return
		}
	}
}

func (l *linter) intendRef(v *ci.Variant, s string) {
	if s == "*" || v.Branch != "" || v.Tag != "" {
		return
	}
	for _, candidate := range []string{s, "refs/heads/main", "refs/heads/x", "refs/tags/v1", strings.ReplaceAll(s, "*", "x"), strings.ReplaceAll(s, "*", "heads/x")} {
		branch, isBranch := strings.CutPrefix(candidate, "refs/heads/")
		tag, isTag := strings.CutPrefix(candidate, "refs/tags/")
		switch {
		case !l.matches(s, candidate):
			continue
		case isBranch && isBranchName(branch):
			v.Branch = branch
		case isTag && isBranchName(tag):
			v.Tag = tag
		default:
			continue
		}
		l.namesRef = true
		return
	}
}

// intendRest sets what the job can have at will: contexts, and what it is a part
// of.
func (l *linter) intendRest(v *ci.Variant) {
	uuid := regexp.MustCompile(policy.UUIDForm)
	for name, want := range l.role.BoundClaims {
		wants, _ := list(want)
		if len(wants) == 0 {
			continue
		}
		id, _ := wants[0].(string)
		switch name := fieldName(name); name {
		case policy.ClaimContexts:
			if uuid.MatchString(id) {
				v.Claims[name] = rawJSON([]string{id})
			}
		case policy.ClaimPrefix + "job-id", policy.ClaimPrefix + "pipeline-id", policy.ClaimPrefix + "workflow-id", policy.ClaimPrefix + "pipeline-definition-id":
			if uuid.MatchString(id) {
				v.Claims[name] = rawJSON(id)
			}
		case policy.ClaimSSHRerun:
			v.SSHRerun = !slices.Contains(wants, any(false)) && slices.Contains(wants, any(true))
		}
	}
}

func (l *linter) matches(want, got string) bool {
	if l.role.BoundClaimsType == matchGlobs {
		return glob(want, got)
	}
	return want == got
}

// values are the texts that a claim is bound to, by the name it is bound under.
func (l *linter) values(claim string) iter.Seq2[string, []string] {
	return func(yield func(string, []string) bool) {
		for _, name := range slices.Sorted(maps.Keys(l.role.BoundClaims)) {
			if fieldName(name) != claim {
				continue
			}
			var texts []string
			wants, _ := list(l.role.BoundClaims[name])
			for _, want := range wants {
				if s, ok := want.(string); ok {
					texts = append(texts, s)
				}
			}
			if !yield(name, texts) {
				return
			}
		}
	}
}

func (l *linter) texts(claim string) []string {
	var all []string
	for _, texts := range l.values(claim) {
		all = append(all, texts...)
	}
	return all
}

// audience is the one that the job's token has.
func (l *linter) audience() string {
	switch {
	case l.meant.Audience != "":
		return l.meant.Audience
	case l.meant.Org != "":
		return l.meant.Org
	}
	return noOrg
}

// ref is the one that the job builds.
func (l *linter) ref() string {
	if l.meant.Tag != "" {
		return "refs/tags/" + l.meant.Tag
	}
	return "refs/heads/" + l.meant.BuiltBranch()
}

// fix is what the role should bind instead: each claim alone, and whole.
func (l *linter) fix() string {
	claims := maps.Clone(l.keep)
	claims[policy.ClaimProject] = noProject
	if l.namesProject {
		claims[policy.ClaimProject] = l.meant.Project
	}
	if l.namesOrigin || l.namesRef {
		claims[policy.ClaimOrigin] = l.meant.Origin
		if l.meant.Origin == "" {
			claims[policy.ClaimOrigin] = "github.com/<org>/<repository>"
		}
	}
	if l.namesRef {
		claims[policy.ClaimRef] = l.ref()
	}
	claims[policy.ClaimSSHRerun] = false
	return fix("bound_subject", "", "bound_claims_type", matchText, "bound_claims", claims)
}

// configFix is what the mount should have.
func (l *linter) configFix() string {
	org := noOrg
	if l.namesOrg {
		org = l.meant.Org
	}
	issuer := ci.OrgIssuer(org)
	if own := strings.TrimRight(l.cfg.BoundIssuer, "/"); own != "" && own != ci.RootIssuer {
		issuer = own
	}
	if l.cfg.JWKSPairs > 0 || strings.TrimRight(l.cfg.OIDCDiscoveryURL, "/") == ci.RootIssuer {
		return fix("oidc_discovery_url", issuer, "bound_issuer", issuer)
	}
	return fix("bound_issuer", issuer)
}

// fix writes an object of names and values.
func fix(pairs ...any) string {
	var members []string
	for i := 0; i+1 < len(pairs); i += 2 {
		members = append(members, shown(pairs[i])+": "+shown(pairs[i+1]))
	}
	return "{" + strings.Join(members, ", ") + "}"
}

func rawJSON(v any) json.RawMessage { return json.RawMessage(shown(v)) }

func unquoted(s string) string {
	plain, err := strconv.Unquote(s)
	if err != nil {
		return s
	}
	return plain
}
