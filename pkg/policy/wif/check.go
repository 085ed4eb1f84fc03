package wif

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

const (
	// skew is what Google's clock and an issuer's may differ by, as measured,
	// and maxAge what Google's documents say of iat.
	skew   = time.Minute
	maxAge = 24 * time.Hour
)

// Check judges a token: whether Google takes it in exchange for a federated
// one, and with an IAM policy, whether the identity may then impersonate the
// service account. The checks stand in the order in which Google refuses.
func (p *Provider) Check(r Request) policy.Judgement {
	return p.check(r, newRun(r.Claims, maxCost))
}

func (p *Provider) check(r Request, run *run) policy.Judgement {
	results := []result{p.checkState(), p.checkIssuer(r.Claims), p.checkAudience(r.Claims)}
	if !r.Now.IsZero() {
		results = append(results, checkTimes(r.Claims, r.Now))
	}
	attributes, judged := p.evaluate(r.Claims, run)
	results = append(results, judged...)
	iamPolicy := r.IAM
	if iamPolicy == nil {
		iamPolicy = p.iam
	}
	if iamPolicy != nil {
		results = append(results, p.checkIAM(iamPolicy, attributes)...)
	}
	j := policy.Judgement{Verdict: policy.Allow, Attributes: attributes, Notes: p.notes(r, iamPolicy != nil)}
	if d := deciding(results); d != nil {
		j.Verdict, j.Reason = d.Verdict, d.Name+": "+d.Reason
	}
	for _, result := range results {
		j.Checks = append(j.Checks, result.Check)
	}
	// Without a subject there is no identity.
	if pool, ok := p.Pool(); ok && attributes[subject] != nil {
		for _, rest := range principals(attributes, p.mapping) {
			j.Principals = append(j.Principals, principalName(pool, rest))
		}
	}
	return j
}

func (p *Provider) notes(r Request, withIAM bool) []string {
	var all []string
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if r.Now.IsZero() {
		add("the token's times were not judged")
	}
	if p.uploadedKey {
		add("the provider verifies signatures with keys that were uploaded to it: once CircleCI changes its keys, every token is refused")
	}
	for _, name := range p.undocumented() {
		add("Google documents no function %s for providers; it was evaluated as cel-go has it", name)
	}
	if _, ok := p.Pool(); !ok {
		add("the document does not tell the number of the pool's project, so that the principals have no names")
	}
	if withIAM {
		add("roles that are granted on the service account's project or above it count as well, deny policies and principal access boundaries take away, and other providers of the pool bring in others: none of them is in these documents")
	} else {
		add("whether the identity may impersonate a service account, or has roles itself, was not judged: there is no IAM policy")
	}
	return all
}

func (p *Provider) checkState() result {
	name := "state"
	switch {
	case p.disabled:
		return fails("disabled", policy.Deny, invalidTarget(), "the provider is disabled").with("false", "true",
			"gcloud iam workload-identity-pools providers update-oidc ... --no-disabled enables it")
	case p.state == "DELETED":
		return fails(name, policy.Deny, invalidTarget(), "the provider is deleted").with("ACTIVE", p.state,
			"gcloud iam workload-identity-pools providers undelete brings it back within 30 days")
	case p.state != "" && p.state != "ACTIVE":
		return fails(name, policy.Undecided, refusal{}, "what Google does in the state %s is not known", p.state).with("ACTIVE", p.state)
	}
	return result{Check: policy.Check{Name: name, Verdict: policy.Allow, Wanted: "ACTIVE", Got: p.state}}
}

func (p *Provider) checkIssuer(c policy.Claims) result {
	name := p.word("oidc.issuerUri")
	got := printed(c, "iss")
	if s, ok := c.Text("iss"); ok && s == p.issuer {
		return result{Check: policy.Check{Name: name, Verdict: policy.Allow, Wanted: p.issuer, Got: got}}
	}
	return fails(name, policy.Deny, invalidGrant("The issuer in ID Token %s does not match the expected ones: %s", got, p.issuer),
		"the issuers differ").with(p.issuer, got, p.issuerHints(c)...)
}

// printed shows a claim as Google's messages do: text without quotes, else JSON.
func printed(c policy.Claims, name string) string {
	v, ok := c[name]
	if !ok {
		return "null"
	}
	if s, ok := v.(string); ok {
		return clip(s)
	}
	return show(v)
}

func (p *Provider) checkAudience(c policy.Claims) result {
	name := p.word("oidc.allowedAudiences")
	var got []string
	switch v := c["aud"].(type) {
	case string:
		got = []string{v}
	case []any:
		got, _ = texts(v)
	}
	allowed := p.Audiences()
	wanted := strings.Join(allowed, " or ")
	if slices.ContainsFunc(got, func(a string) bool { return slices.Contains(allowed, a) }) {
		return result{Check: policy.Check{Name: name, Verdict: policy.Allow, Wanted: wanted, Got: strings.Join(got, ", ")}}
	}
	if len(allowed) == 0 { // the default ones, of a provider whose project's number is not known
		wanted = host + "projects/NUMBER" + poolPath + p.pool + "/providers/" + p.id
		if slices.ContainsFunc(got, p.mayBeDefault) {
			return fails(name, policy.Undecided, refusal{}, "the document does not tell the number of the pool's project").
				with(wanted, strings.Join(got, ", "))
		}
	}
	return fails(name, policy.Deny, invalidGrant("The audience in ID Token [%s] does not match the expected audience.", clip(strings.Join(got, ", "))),
		"the token is for somebody else").with(wanted, clip(strings.Join(got, ", ")), p.audienceHints(c)...)
}

func (p *Provider) mayBeDefault(audience string) bool {
	rest, ok := strings.CutPrefix(strings.TrimPrefix(audience, "https:"), host)
	part := regexp.MustCompile(providerName).FindStringSubmatch(rest)
	return ok && part != nil && part[2] == p.pool && part[3] == p.id
}

// checkTimes judges iat and exp. Google names one cause for all of it.
func checkTimes(c policy.Claims, now time.Time) result {
	const name = "iat and exp"
	issued, ok1 := timeOf(c["iat"])
	expires, ok2 := timeOf(c["exp"])
	stale := invalidGrant("ID Token issued at %s is stale to sign-in.", printed(c, "iat"))
	got := fmt.Sprintf("iat %s, exp %s", printed(c, "iat"), printed(c, "exp"))
	wanted := "iat of the last 24 hours and exp to come, at " + strconv.FormatInt(now.Unix(), 10)
	var why string
	switch {
	case !ok1 || !ok2:
		why = "the token has no good iat and exp"
	case issued.After(now.Add(skew)):
		why = fmt.Sprintf("the token begins in %s", issued.Sub(now).Round(time.Second))
	case issued.Before(now.Add(-maxAge)):
		why = fmt.Sprintf("the token is %s old", now.Sub(issued).Round(time.Second))
	case !expires.After(now.Add(-skew)):
		why = fmt.Sprintf("the token has expired %s ago", now.Sub(expires).Round(time.Second))
	default:
		return result{Check: policy.Check{Name: name, Verdict: policy.Allow, Wanted: wanted, Got: got}}
	}
	return fails(name, policy.Deny, stale, "%s", why).with(wanted, got, "a job's token ends an hour after it was made: mint a fresh one")
}

// timeOf reads seconds since 1970.
func timeOf(v any) (time.Time, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return time.Time{}, false
	}
	f, err := strconv.ParseFloat(n.String(), 64)
	if err != nil || math.Abs(f) > 1e12 {
		return time.Time{}, false
	}
	return time.Unix(int64(math.Floor(f)), 0), true
}

// checkIAM judges whether one of the identity's principals may get access
// tokens of the service account.
func (p *Provider) checkIAM(iamPolicy *IAMPolicy, attributes map[string]any) []result {
	principals := principals(attributes, p.mapping)
	overall, found := policy.No, []result{}
	for i, b := range iamPolicy.bindings {
		for k, m := range b.members {
			t, why := p.bound(b, m, principals)
			if t == policy.No {
				continue
			}
			overall = overall.Or(t)
			name := fmt.Sprintf("%sbindings[%d].members[%d]", iamPolicy.prefix, i, k)
			if t == policy.Yes {
				return []result{{Check: policy.Check{Name: name, Verdict: policy.Allow, Wanted: m.name, Got: b.role}}}
			}
			found = append(found, fails(name, policy.Undecided, refusal{}, "%s", why).with(m.name, b.role))
		}
	}
	if overall == policy.Unknown {
		return found
	}
	denied := refusal{"PERMISSION_DENIED", "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist)."}
	pool, known := p.Pool()
	got := make([]string, len(principals))
	for i, rest := range principals {
		got[i] = rest
		if known {
			got[i] = principalName(pool, rest)
		}
	}
	return []result{fails(iamPolicy.prefix+"bindings", policy.Deny, denied, "no binding lets one of the token's principals impersonate the service account").
		with(userRole+" for one of its principals", strings.Join(got, ", "), p.iamHints(iamPolicy, attributes)...)}
}

// bound says whether a member of a binding is one of the principals, and has
// the permission by it.
func (p *Provider) bound(b binding, m member, principals []string) (policy.Truth, string) {
	t, why := p.isPrincipal(m, principals)
	if t == policy.No {
		return policy.No, ""
	}
	switch impersonates(b.role) {
	case policy.No:
		return policy.No, ""
	case policy.Unknown:
		if why == "" {
			why = fmt.Sprintf("whether %s has the permission iam.serviceAccounts.getAccessToken is not in the document", b.role)
		}
		return policy.Unknown, why
	}
	if b.conditional && why == "" {
		return policy.Unknown, fmt.Sprintf("the binding has a condition that was not evaluated: %s", clip(b.condition))
	}
	return t, why
}

func (p *Provider) isPrincipal(m member, principals []string) (policy.Truth, string) {
	if m.name == "allUsers" {
		return policy.Yes, ""
	}
	g, ok := parsePrincipal(m.name)
	if !ok {
		if strings.HasPrefix(m.name, "principalSet:") && !strings.HasPrefix(m.name, "principalSet:"+host) {
			return policy.Unknown, "who belongs to that principal set is not in the document"
		}
		return policy.No, ""
	}
	if g.pool != p.pool || !slices.Contains(principals, g.rest) {
		return policy.No, ""
	}
	switch {
	case p.number == "":
		return policy.Unknown, "the document of the provider does not tell the number of the pool's project"
	case g.project != p.number:
		return policy.No, ""
	}
	return policy.Yes, ""
}
