package policy

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// gcpSkew is what Google's clock and an issuer's may differ by, as measured,
	// and gcpMaxAge what Google's documents say of iat.
	gcpSkew   = time.Minute
	gcpMaxAge = 24 * time.Hour
)

// Check judges a token: whether Google takes it in exchange for a federated
// one, and with an IAM policy, whether the identity may then impersonate the
// service account. The checks stand in the order in which Google refuses.
func (p *GCPProvider) Check(r GCPRequest) Judgement {
	return p.check(r, newGCPRun(r.Claims, gcpMaxCost))
}

func (p *GCPProvider) check(r GCPRequest, run *gcpRun) Judgement {
	results := []gcpResult{p.checkState(), p.checkIssuer(r.Claims), p.checkAudience(r.Claims)}
	if !r.Now.IsZero() {
		results = append(results, checkTimes(r.Claims, r.Now))
	}
	attributes, judged := p.evaluate(r.Claims, run)
	results = append(results, judged...)
	policy := r.IAM
	if policy == nil {
		policy = p.iam
	}
	if policy != nil {
		results = append(results, p.checkIAM(policy, attributes)...)
	}
	j := Judgement{Verdict: Allow, Attributes: attributes, Notes: p.notes(r, policy != nil)}
	if d := deciding(results); d != nil {
		j.Verdict, j.Reason = d.Verdict, d.Name+": "+d.Reason
	}
	for _, result := range results {
		j.Checks = append(j.Checks, result.Check)
	}
	// Without a subject there is no identity.
	if pool, ok := p.Pool(); ok && attributes[gcpSubject] != nil {
		for _, rest := range gcpPrincipals(attributes, p.mapping) {
			j.Principals = append(j.Principals, principalName(pool, rest))
		}
	}
	return j
}

func (p *GCPProvider) notes(r GCPRequest, withIAM bool) []string {
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

func (p *GCPProvider) checkState() gcpResult {
	name := "state"
	switch {
	case p.disabled:
		return gcpFails("disabled", Deny, gcpInvalidTarget(), "the provider is disabled").with("false", "true",
			"gcloud iam workload-identity-pools providers update-oidc ... --no-disabled enables it")
	case p.state == "DELETED":
		return gcpFails(name, Deny, gcpInvalidTarget(), "the provider is deleted").with("ACTIVE", p.state,
			"gcloud iam workload-identity-pools providers undelete brings it back within 30 days")
	case p.state != "" && p.state != "ACTIVE":
		return gcpFails(name, Undecided, gcpRefusal{}, "what Google does in the state %s is not known", p.state).with("ACTIVE", p.state)
	}
	return gcpResult{Check: Check{Name: name, Verdict: Allow, Wanted: "ACTIVE", Got: p.state}}
}

func (p *GCPProvider) checkIssuer(c Claims) gcpResult {
	name := p.word("oidc.issuerUri")
	got := gcpPrinted(c, "iss")
	if s, ok := c.text("iss"); ok && s == p.issuer {
		return gcpResult{Check: Check{Name: name, Verdict: Allow, Wanted: p.issuer, Got: got}}
	}
	return gcpFails(name, Deny, gcpInvalidGrant("The issuer in ID Token %s does not match the expected ones: %s", got, p.issuer),
		"the issuers differ").with(p.issuer, got, p.issuerHints(c)...)
}

// gcpPrinted shows a claim as Google's messages do: text without quotes, else JSON.
func gcpPrinted(c Claims, name string) string {
	v, ok := c[name]
	if !ok {
		return "null"
	}
	if s, ok := v.(string); ok {
		return gcpClip(s)
	}
	return gcpShow(v)
}

func (p *GCPProvider) checkAudience(c Claims) gcpResult {
	name := p.word("oidc.allowedAudiences")
	var got []string
	switch v := c["aud"].(type) {
	case string:
		got = []string{v}
	case []any:
		got, _ = gcpTexts(v)
	}
	allowed := p.Audiences()
	wanted := strings.Join(allowed, " or ")
	if slices.ContainsFunc(got, func(a string) bool { return slices.Contains(allowed, a) }) {
		return gcpResult{Check: Check{Name: name, Verdict: Allow, Wanted: wanted, Got: strings.Join(got, ", ")}}
	}
	if len(allowed) == 0 { // the default ones, of a provider whose project's number is not known
		wanted = gcpHost + "projects/NUMBER" + gcpPoolPath + p.pool + "/providers/" + p.id
		if slices.ContainsFunc(got, p.mayBeDefault) {
			return gcpFails(name, Undecided, gcpRefusal{}, "the document does not tell the number of the pool's project").
				with(wanted, strings.Join(got, ", "))
		}
	}
	return gcpFails(name, Deny, gcpInvalidGrant("The audience in ID Token [%s] does not match the expected audience.", gcpClip(strings.Join(got, ", "))),
		"the token is for somebody else").with(wanted, gcpClip(strings.Join(got, ", ")), p.audienceHints(c)...)
}

func (p *GCPProvider) mayBeDefault(audience string) bool {
	rest, ok := strings.CutPrefix(strings.TrimPrefix(audience, "https:"), gcpHost)
	part := regexp.MustCompile(gcpProviderName).FindStringSubmatch(rest)
	return ok && part != nil && part[2] == p.pool && part[3] == p.id
}

// checkTimes judges iat and exp. Google names one cause for all of it.
func checkTimes(c Claims, now time.Time) gcpResult {
	const name = "iat and exp"
	issued, ok1 := gcpTime(c["iat"])
	expires, ok2 := gcpTime(c["exp"])
	stale := gcpInvalidGrant("ID Token issued at %s is stale to sign-in.", gcpPrinted(c, "iat"))
	got := fmt.Sprintf("iat %s, exp %s", gcpPrinted(c, "iat"), gcpPrinted(c, "exp"))
	wanted := "iat of the last 24 hours and exp to come, at " + strconv.FormatInt(now.Unix(), 10)
	var why string
	switch {
	case !ok1 || !ok2:
		why = "the token has no good iat and exp"
	case issued.After(now.Add(gcpSkew)):
		why = fmt.Sprintf("the token begins in %s", issued.Sub(now).Round(time.Second))
	case issued.Before(now.Add(-gcpMaxAge)):
		why = fmt.Sprintf("the token is %s old", now.Sub(issued).Round(time.Second))
	case !expires.After(now.Add(-gcpSkew)):
		why = fmt.Sprintf("the token has expired %s ago", now.Sub(expires).Round(time.Second))
	default:
		return gcpResult{Check: Check{Name: name, Verdict: Allow, Wanted: wanted, Got: got}}
	}
	return gcpFails(name, Deny, stale, "%s", why).with(wanted, got, "a job's token ends an hour after it was made: mint a fresh one")
}

// gcpTime reads seconds since 1970.
func gcpTime(v any) (time.Time, bool) {
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
func (p *GCPProvider) checkIAM(policy *IAMPolicy, attributes map[string]any) []gcpResult {
	principals := gcpPrincipals(attributes, p.mapping)
	overall, found := no, []gcpResult{}
	for i, b := range policy.bindings {
		for k, m := range b.members {
			t, why := p.bound(b, m, principals)
			if t == no {
				continue
			}
			overall = overall.or(t)
			name := fmt.Sprintf("%sbindings[%d].members[%d]", policy.prefix, i, k)
			if t == yes {
				return []gcpResult{{Check: Check{Name: name, Verdict: Allow, Wanted: m.name, Got: b.role}}}
			}
			found = append(found, gcpFails(name, Undecided, gcpRefusal{}, "%s", why).with(m.name, b.role))
		}
	}
	if overall == unknown {
		return found
	}
	denied := gcpRefusal{"PERMISSION_DENIED", "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist)."}
	pool, known := p.Pool()
	got := make([]string, len(principals))
	for i, rest := range principals {
		got[i] = rest
		if known {
			got[i] = principalName(pool, rest)
		}
	}
	return []gcpResult{gcpFails(policy.prefix+"bindings", Deny, denied, "no binding lets one of the token's principals impersonate the service account").
		with(gcpUserRole+" for one of its principals", strings.Join(got, ", "), p.iamHints(policy, attributes)...)}
}

// bound says whether a member of a binding is one of the principals, and has
// the permission by it.
func (p *GCPProvider) bound(b gcpBinding, m gcpMember, principals []string) (truth, string) {
	t, why := p.isPrincipal(m, principals)
	if t == no {
		return no, ""
	}
	switch impersonates(b.role) {
	case no:
		return no, ""
	case unknown:
		if why == "" {
			why = fmt.Sprintf("whether %s has the permission iam.serviceAccounts.getAccessToken is not in the document", b.role)
		}
		return unknown, why
	}
	if b.conditional && why == "" {
		return unknown, fmt.Sprintf("the binding has a condition that was not evaluated: %s", gcpClip(b.condition))
	}
	return t, why
}

func (p *GCPProvider) isPrincipal(m gcpMember, principals []string) (truth, string) {
	if m.name == "allUsers" {
		return yes, ""
	}
	g, ok := parsePrincipal(m.name)
	if !ok {
		if strings.HasPrefix(m.name, "principalSet:") && !strings.HasPrefix(m.name, "principalSet:"+gcpHost) {
			return unknown, "who belongs to that principal set is not in the document"
		}
		return no, ""
	}
	if g.pool != p.pool || !slices.Contains(principals, g.rest) {
		return no, ""
	}
	switch {
	case p.number == "":
		return unknown, "the document of the provider does not tell the number of the pool's project"
	case g.project != p.number:
		return no, ""
	}
	return yes, ""
}
