package wif

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/shell"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// claims are those that CircleCI's tokens can have.
func claims() []string {
	return append(ci.Named("circleci").ClaimNames(), "nbf", "jti", policy.ClaimPrefix+"vcs-sha")
}

// meant returns the claim of CircleCI's that a wrong name probably means:
// org_id, circleci.com/org-id, Org-ID.
func meant(name string) (string, bool) {
	if slices.Contains(claims(), name) {
		return "", false
	}
	bare := func(s string) string {
		s = s[strings.LastIndexByte(s, '/')+1:]
		return strings.ReplaceAll(strings.ToLower(s), "_", "-")
	}
	for _, claim := range claims() {
		if bare(claim) == bare(name) {
			return claim, true
		}
	}
	return "", false
}

// written returns how a claim is written in an expression.
func written(claim string) string {
	if regexp.MustCompile(`^[a-z_]+$`).MatchString(claim) {
		return assertion + "." + claim
	}
	return assertion + "['" + claim + "']"
}

// hints names the likely slips of an expression that did not give what its
// author hoped for.
func (x *celExpression) hints(c policy.Claims, attributes map[string]any, o outcome) []string {
	if o.value == true {
		return nil
	}
	var all []string
	add := func(format string, args ...any) {
		if s := fmt.Sprintf(format, args...); !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	for _, r := range x.refs {
		if _, there := r.lookup(c, attributes); !there && r.variable == assertion {
			add("%s", absent(r.name))
		} else if !there && !r.presence {
			add("the mapping gives no %s for this token", r.key())
		}
		if v, there := r.lookup(c, attributes); there && v == nil && r.name == policy.ClaimContexts {
			add("a job without contexts may have null there: ask for %s != null first", written(r.name))
		}
	}
	for _, cmp := range x.comparisons() {
		if h := cmp.hint(c, attributes); h != "" {
			add("%s", h)
		}
	}
	if strings.Contains(x.text, "extract(") && o.err == "" {
		if s, ok := o.value.(string); ok && (s == "" || strings.HasSuffix(s, "/")) {
			add("extract gives an empty text where it does not find what stands around {name}: assertion.sub.split('/')[5] is the user's id in every subject")
		}
	}
	return all
}

// absent says why a token may lack a claim.
func absent(name string) string {
	meant, known := meant(name)
	switch {
	case name == policy.ClaimOrigin || name == policy.ClaimRef:
		return fmt.Sprintf("the token of a pipeline that a webhook started has no %s: begin with '%s' in assertion && ...", name, name)
	case name == "oidc":
		return "a claim with . and / in its name is written assertion['oidc.circleci.com/project-id']"
	case strings.Contains(name, "${"), strings.Contains(name, "$("):
		return fmt.Sprintf("a variable was not expanded in %q", name)
	case known:
		return fmt.Sprintf("there is no claim %s: it is %s", name, written(meant))
	case slices.Contains(claims(), name):
		return fmt.Sprintf("this token has no claim %s", name)
	}
	return fmt.Sprintf("CircleCI's tokens have no claim %s", name)
}

// hint says why a comparison can never be what it looks like.
func (cmp comparison) hint(c policy.Claims, attributes map[string]any) string {
	v, there := cmp.ref.lookup(c, attributes)
	if !there {
		return ""
	}
	key := cmp.ref.key()
	s, isText := v.(string)
	if !isText {
		if _, isBool := v.(bool); isBool {
			return fmt.Sprintf("%s is a boolean: compare it with true or false, without quotes, for it never equals a text", key)
		}
		return fmt.Sprintf("%s is %s, which never equals a text", key, typeName(plainJSON(v)))
	}
	uuid := regexp.MustCompile(policy.UUIDForm)
	switch {
	case s == cmp.text:
		return ""
	case strings.EqualFold(s, cmp.text):
		return fmt.Sprintf("the two differ in upper and lower case alone: the token has %s", show(s))
	case strings.TrimSpace(cmp.text) == s:
		return "there is white space around the text in the expression"
	case uuid.MatchString(s) && !uuid.MatchString(cmp.text):
		return fmt.Sprintf("%s is a UUID, not a name", key)
	case strings.TrimSuffix(strings.TrimPrefix(cmp.text, "https://"), ".git") == s:
		return fmt.Sprintf("%s has no https:// and no .git", key)
	case "refs/heads/"+cmp.text == s, "refs/tags/"+cmp.text == s:
		return fmt.Sprintf("%s is the whole ref: %s", key, show(s))
	case key == "sub":
		return "the subjects of V1 and of V2 differ, and both have the user's id in them: compare the claims instead"
	}
	return ""
}

// shorterSubject says how a subject that is too long gets into the room.
func shorterSubject(subject string) []string {
	if strings.Contains(subject, "/vcs-origin/") {
		return []string{
			"it is a V2 subject, which never fits: use the V1 token, $CIRCLE_OIDC_TOKEN",
			"or map google.subject to assertion.sub.split('/vcs-origin/')[0], which is the V1 subject in both",
		}
	}
	return []string{"map google.subject to 'project/' + assertion['oidc.circleci.com/project-id'] + '/user/' + assertion.sub.split('/')[5], which has 86 bytes"}
}

func (p *Provider) issuerHints(c policy.Claims) []string {
	got, _ := c.Text("iss")
	switch {
	case got == "":
		return []string{"the token has no issuer"}
	case strings.TrimSuffix(p.issuer, "/") == strings.TrimSuffix(got, "/"):
		return []string{"they differ in the / at the end alone"}
	case strings.EqualFold(p.issuer, got):
		return []string{"they differ in upper and lower case alone"}
	case got == ci.RootIssuer:
		return []string{"the token was minted with --root-issuer: mint it without"}
	case p.issuer == ci.RootIssuer:
		return []string{"the provider trusts every organisation of CircleCI's: set its issuer to " + got}
	case strings.HasPrefix(got, ci.OrgIssuer("")) && strings.HasPrefix(p.issuer, ci.OrgIssuer("")):
		return []string{fmt.Sprintf("the token is of the organisation %s, the provider is for %s",
			strings.TrimPrefix(got, ci.OrgIssuer("")), strings.TrimPrefix(p.issuer, ci.OrgIssuer("")))}
	case strings.TrimPrefix(p.issuer, "http://") == strings.TrimPrefix(got, "https://"), "https://"+p.issuer == got:
		return []string{"an issuer begins with https://"}
	}
	return nil
}

func (p *Provider) audienceHints(c policy.Claims) []string {
	got, _ := c.Text("aud")
	var all []string
	for _, a := range p.Audiences() {
		switch {
		case strings.EqualFold(a, got):
			all = append(all, "they differ in upper and lower case alone")
		case strings.TrimSuffix(a, "/") == strings.TrimSuffix(got, "/"):
			all = append(all, "they differ in the / at the end alone")
		}
	}
	if len(p.audiences) == 0 {
		all = append(all, "the provider lists no audience, so that only its own name is one; CircleCI's default is the organisation's id")
	}
	if regexp.MustCompile(policy.UUIDForm).MatchString(got) {
		all = append(all, fmt.Sprintf("either add it: gcloud iam workload-identity-pools providers update-oidc ... --allowed-audiences=%s", got))
		if a := p.Audiences(); len(a) > 0 {
			all = append(all, fmt.Sprintf("or mint a token for the provider: --audience %s", shell.Word(a[0])))
		}
	}
	return all
}

// iamHints looks for the binding that was meant.
func (p *Provider) iamHints(iamPolicy *IAMPolicy, attributes map[string]any) []string {
	principals := principals(attributes, p.mapping)
	var all []string
	add := func(format string, args ...any) {
		if s := fmt.Sprintf(format, args...); !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	for _, b := range iamPolicy.bindings {
		for _, m := range b.members {
			g, ok := parsePrincipal(m.name)
			if !ok {
				if rest, found := strings.CutPrefix(m.name, "principal"); found && strings.Contains(rest, poolPath) {
					add("%q is no principal's name: principal: goes with subject/, principalSet: with group/, attribute.NAME/ and *", m.name)
				}
				continue
			}
			for _, rest := range principals {
				near := g.rest != rest && strings.EqualFold(g.rest, rest)
				switch {
				case g.pool == p.pool && near:
					add("%q differs from the token's %s in upper and lower case alone", m.name, rest)
				case g.rest == rest && g.pool == p.pool && g.project != p.number && !regexp.MustCompile(number).MatchString(g.project):
					add("%q has the project's id, and its number %s belongs there", m.name, p.number)
				case g.rest == rest && rest != "*" && (g.pool != p.pool || g.project != p.number):
					add("%q is of another pool", m.name)
				case g.rest == rest && g.pool == p.pool && impersonates(b.role) == policy.No:
					add("%q has %s, which does not let it impersonate: it takes %s", m.name, b.role, userRole)
				}
			}
			if name, value, ok := g.attribute(); ok && g.pool == p.pool {
				switch {
				case p.mapped(attributePrefix+name) == nil:
					add("%q asks for attribute.%s, which the mapping does not give", m.name, name)
				case strings.Contains(value, "/"+attributePrefix):
					add("%q names two attributes, and a principal set has one: map both into one attribute", m.name)
				}
			}
			if subject, ok := strings.CutPrefix(g.rest, "subject/"); ok && strings.Contains(subject, "/vcs-origin/") {
				add("%q is a V2 subject, which never fits into google.subject", m.name)
			}
		}
	}
	if pool, ok := p.Pool(); ok && len(all) == 0 {
		add("grant %s to a principal of the token's, for example %s", userRole, principalName(pool, principals[max(0, len(principals)-2)]))
	}
	return all
}

// undocumented returns the functions in the provider's expressions that
// Google's documents do not name.
func (p *Provider) undocumented() []string {
	var all []string
	look := func(x *celExpression) {
		for _, name := range x.functions() {
			if undocumented(name) && !slices.Contains(all, name) {
				all = append(all, name)
			}
		}
	}
	for _, m := range p.mapping {
		look(m.celExpression)
	}
	if p.condition != nil {
		look(p.condition)
	}
	return all
}

// undocumented names what cel-go's strings have beyond what Google's
// documents mention, and timestamp and duration, which users found missing.
func undocumented(name string) bool {
	return slices.Contains([]string{"charAt", "format", "indexOf", "lastIndexOf", "quote", "strings.quote", "replace", "reverse",
		"substring", "trim", "upperAscii", "timestamp", "duration"}, name)
}
