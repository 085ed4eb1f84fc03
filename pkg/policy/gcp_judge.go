package policy

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// A GCPJudgement is what Google's Security Token Service makes of a token's
// claims: of one that is signed, of the provider's issuer, for one of its
// audiences and within its time.
type GCPJudgement struct {
	// Attributes are what the mapping gives: google.subject and attribute.NAME
	// are a string, google.groups is a []string. What has no good value is not
	// in it.
	Attributes map[string]any
	// Admitted is whether the token is taken. Verdict says Undecided where that
	// is not known, and then it is not admitted.
	Admitted bool
	Verdict  Verdict
	// Code and Text are the error and error_description of Google's answer to a
	// token that is not taken. Text is empty where Google's words are not known.
	Code, Text string
	// Why says what Google keeps to itself.
	Why string
}

// A gcpRefusal is an answer of Google's: OAuth's error, and its words.
type gcpRefusal struct{ code, text string }

// Google's words, as recorded from its service.
func gcpRejected() gcpRefusal {
	return gcpRefusal{"unauthorized_client", "The given credential is rejected by the attribute condition."}
}

func gcpNoSubject() gcpRefusal {
	return gcpRefusal{"unauthorized_client", "Could not obtain a value for google.subject from the given credential."}
}

func gcpSubjectType() gcpRefusal {
	return gcpRefusal{"unauthorized_client", "The mapped attribute 'google.subject' must be of type STRING."}
}

func gcpSubjectSize() gcpRefusal {
	return gcpRefusal{"invalid_request", "The size of mapped attribute google.subject exceeds the 127 bytes limit. " +
		"Either modify your attribute mapping or the incoming assertion to produce a mapped attribute that is less than 127 bytes."}
}

func gcpInvalidTarget() gcpRefusal {
	return gcpRefusal{"invalid_target", `The target service indicated by the "audience" parameters is invalid. ` +
		"This might either be because the pool or provider is disabled or deleted or because it doesn't exist."}
}

func gcpInvalidGrant(format string, args ...any) gcpRefusal {
	return gcpRefusal{"invalid_grant", fmt.Sprintf(format, args...)}
}

// A gcpResult is one check, and what Google would answer where it fails.
type gcpResult struct {
	Check
	why     string
	refusal gcpRefusal
}

func gcpFails(name string, verdict Verdict, refusal gcpRefusal, format string, args ...any) gcpResult {
	why := fmt.Sprintf(format, args...)
	reason := why
	if refusal.text != "" {
		reason += "; Google says: " + refusal.text
	}
	return gcpResult{Check{Name: name, Verdict: verdict, Reason: reason}, why, refusal}
}

func (r gcpResult) with(wanted, got string, hints ...string) gcpResult {
	r.Wanted, r.Got, r.Hints = wanted, got, hints
	return r
}

// deciding returns the result that decides: the first refusal, else the first
// that could not be decided, else nil. All have to hold, in this order.
func deciding(all []gcpResult) *gcpResult {
	for _, v := range []Verdict{Deny, Undecided} {
		for i := range all {
			if all[i].Verdict == v {
				return &all[i]
			}
		}
	}
	return nil
}

// Judge maps the claims and evaluates the condition, which is the one place
// where that is done.
func (p *GCPProvider) Judge(c Claims) GCPJudgement {
	attributes, results := p.evaluate(c, newGCPRun(c, gcpMaxCost))
	j := GCPJudgement{Attributes: attributes, Verdict: Allow, Admitted: true}
	if d := deciding(results); d != nil {
		j.Verdict, j.Admitted = d.Verdict, false
		j.Code, j.Text, j.Why = d.refusal.code, d.refusal.text, d.Name+": "+d.why
	}
	return j
}

// evaluate returns the mapped attributes, and a result for each thing that was
// judged in the order in which Google judges.
func (p *GCPProvider) evaluate(c Claims, run *gcpRun) (map[string]any, []gcpResult) {
	results := p.limits()
	attributes := map[string]any{}
	open := map[string]bool{} // attributes of which Google's value is not known
	for _, m := range p.mapping {
		value, r := m.result(c, run)
		switch {
		case value != nil:
			attributes[m.key] = value
		case r.Verdict == Undecided:
			open[m.key] = true
		}
		results = append(results, r)
	}
	if p.mapped(gcpSubject) == nil {
		results = append(results, gcpFails(p.word("attributeMapping"), Deny, gcpNoSubject(), "there is no mapping for google.subject").
			with("a mapping for google.subject", ""))
	}
	if r, tooMuch := p.size(attributes); tooMuch {
		results = append(results, r)
	}
	run.know(attributes)
	return attributes, append(results, p.admit(c, attributes, open, run)...)
}

// limits finds what Google would not have let anybody create.
func (p *GCPProvider) limits() []gcpResult {
	var all []gcpResult
	for _, l := range p.overLimits() {
		all = append(all, gcpFails(l.where, Deny, gcpRefusal{}, "Google takes no such provider: %s", l.what))
	}
	return all
}

type gcpOverLimit struct {
	where, what string
	position
}

func (p *GCPProvider) overLimits() []gcpOverLimit {
	var all []gcpOverLimit
	custom := 0
	for _, m := range p.mapping {
		if n := m.length(); n > gcpMaxMapping {
			all = append(all, gcpOverLimit{m.where, fmt.Sprintf("the expression has %d characters, more than %d", n, gcpMaxMapping), m.position})
		}
		name, isCustom := strings.CutPrefix(m.key, gcpAttributePrefix)
		if !isCustom {
			continue
		}
		custom++
		switch {
		case len(name) > gcpMaxKey:
			all = append(all, gcpOverLimit{m.where, fmt.Sprintf("the attribute's name has %d characters, more than %d", len(name), gcpMaxKey), m.keyPlace})
		case !regexp.MustCompile(gcpAttributeName).MatchString(name):
			all = append(all, gcpOverLimit{m.where, "an attribute's name has a-z, 0-9 and _ in it, nothing else", m.keyPlace})
		}
	}
	if custom > gcpMaxAttributes {
		all = append(all, gcpOverLimit{p.word("attributeMapping"), fmt.Sprintf("there are %d custom attributes, more than %d", custom, gcpMaxAttributes), p.mappingPlace})
	}
	if p.condition != nil && p.condition.length() > gcpMaxCondition {
		all = append(all, gcpOverLimit{p.condition.where, fmt.Sprintf("the expression has %d characters, more than %d", p.condition.length(), gcpMaxCondition), p.condition.position})
	}
	if n := len(p.audiences); n > gcpMaxAudiences {
		all = append(all, gcpOverLimit{p.word("oidc.allowedAudiences"), fmt.Sprintf("there are %d audiences, more than %d", n, gcpMaxAudiences), p.oidcPlace})
	}
	for _, a := range p.audiences {
		if n := utf8.RuneCountInString(a); n > gcpMaxAudience {
			all = append(all, gcpOverLimit{p.word("oidc.allowedAudiences"), fmt.Sprintf("an audience has %d characters, more than %d", n, gcpMaxAudience), p.oidcPlace})
		}
	}
	return all
}

// result evaluates a mapping. The value is nil where there is none.
func (m *gcpMapping) result(c Claims, run *gcpRun) (any, gcpResult) {
	o := run.eval(m.gcpExpression)
	got := m.mentions(c, nil)
	hints := m.hints(c, nil, o)
	switch {
	case o.gaveUp:
		return nil, gcpFails(m.where, Undecided, gcpRefusal{}, "%s", o.err).with(m.text, got)
	case m.key == gcpSubject:
		return m.subject(c, o)
	case o.err != "":
		return nil, gcpFails(m.where, Undecided, gcpRefusal{},
			"it has no value for this token (%s), and what Google makes of that is not documented", o.err).with(m.text, got, hints...)
	}
	if m.key == gcpGroups {
		if groups, ok := gcpTexts(o.value); ok {
			return groups, m.gives(o.value)
		}
		return nil, gcpFails(m.where, Undecided, gcpRefusal{},
			"google.groups is %s, not a list of texts, and what Google makes of that is not documented", gcpTypeName(o.value)).with(m.text, got)
	}
	if s, ok := o.value.(string); ok {
		return s, m.gives(s)
	}
	return nil, gcpFails(m.where, Undecided, gcpRefusal{},
		"the attribute is %s, not text, and what Google makes of that is not documented", gcpTypeName(o.value)).
		with(m.text, got, "string(...) makes text of true, false and numbers")
}

func (m *gcpMapping) gives(value any) gcpResult {
	return gcpResult{Check: Check{Name: m.where, Verdict: Allow, Wanted: m.text, Got: gcpShow(value)}}
}

// subject judges the one attribute that Google insists on.
func (m *gcpMapping) subject(c Claims, o gcpOutcome) (any, gcpResult) {
	got := m.mentions(c, nil)
	if o.err != "" {
		return nil, gcpFails(m.where, Deny, gcpNoSubject(), "%s", o.err).with(m.text, got, m.hints(c, nil, o)...)
	}
	if o.value == nil {
		return nil, gcpFails(m.where, Deny, gcpNoSubject(), "it is null").with(m.text, got)
	}
	s, ok := o.value.(string)
	switch {
	case !ok:
		return nil, gcpFails(m.where, Deny, gcpSubjectType(), "it is %s", gcpTypeName(o.value)).with(m.text, got,
			"a comparison belongs into the condition; google.subject is who the token is for")
	case s == "":
		return nil, gcpFails(m.where, Deny, gcpNoSubject(), "it is empty").with(m.text, got, m.hints(c, nil, o)...)
	case len(s) > gcpMaxSubject:
		return nil, gcpFails(m.where, Deny, gcpSubjectSize(), "it has %d bytes, %d more than there is room for", len(s), len(s)-gcpMaxSubject).
			with(m.text, gcpShow(s), gcpShorterSubject(s)...)
	}
	return s, m.gives(s)
}

// size judges the room that all mapped values share. Whether Google counts the
// names too is not known.
func (p *GCPProvider) size(attributes map[string]any) (gcpResult, bool) {
	values, names := 0, 0
	for key, v := range attributes {
		names += len(key)
		switch v := v.(type) {
		case string:
			values += len(v)
		case []string:
			for _, s := range v {
				values += len(s)
			}
		}
	}
	wanted := fmt.Sprintf("at most %d bytes of mapped values", gcpMaxMapped)
	got := fmt.Sprintf("%d bytes", values)
	switch {
	case values > gcpMaxMapped:
		return gcpFails(p.word("attributeMapping"), Deny, gcpRefusal{}, "the mapped values have %d bytes, more than the %d that Google takes", values, gcpMaxMapped).with(wanted, got), true
	case values+names > gcpMaxMapped:
		return gcpFails(p.word("attributeMapping"), Undecided, gcpRefusal{},
			"the mapped values have %d bytes and their names %d: whether Google counts both against its %d is not documented", values, names, gcpMaxMapped).with(wanted, got), true
	}
	return gcpResult{}, false
}

// admit evaluates the condition, operand by operand: CEL's && is true where all
// of them are, and false or an error otherwise, which Google takes alike.
func (p *GCPProvider) admit(c Claims, attributes map[string]any, open map[string]bool, run *gcpRun) []gcpResult {
	if p.condition == nil {
		return nil
	}
	var all []gcpResult
	for _, x := range p.condition.operands {
		all = append(all, x.holds(c, attributes, open, run))
	}
	return all
}

func (x *gcpExpression) holds(c Claims, attributes map[string]any, open map[string]bool, run *gcpRun) gcpResult {
	o := run.eval(x)
	got, hints := x.mentions(c, attributes), x.hints(c, attributes, o)
	for _, r := range x.refs {
		if open[r.key()] {
			return gcpFails(x.where, Undecided, gcpRefusal{}, "it asks for %s, whose value is not known", r.key()).with(x.text, got)
		}
	}
	switch value := o.value.(type) {
	case bool:
		if value {
			return gcpResult{Check: Check{Name: x.where, Verdict: Allow, Wanted: x.text, Got: got}}
		}
		why := "it is false"
		if where := x.differ(c, attributes); where != "" {
			why += ": " + where
		}
		return gcpFails(x.where, Deny, gcpRejected(), "%s", why).with(x.text, got, hints...)
	}
	switch {
	case o.gaveUp:
		return gcpFails(x.where, Undecided, gcpRefusal{}, "%s", o.err).with(x.text, got)
	case o.err != "":
		return gcpFails(x.where, Deny, gcpRejected(), "it cannot be evaluated: %s", o.err).with(x.text, got, hints...)
	}
	return gcpFails(x.where, Deny, gcpRejected(), "it is %s, not true or false", gcpTypeName(o.value)).with(x.text, got, hints...)
}

func gcpTexts(v any) ([]string, bool) {
	list, ok := v.([]any)
	if !ok {
		return nil, false
	}
	all := make([]string, len(list))
	for i, item := range list {
		if all[i], ok = item.(string); !ok {
			return nil, false
		}
	}
	return all, true
}

// gcpShow writes a value in a message, cut where it is long.
func gcpShow(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return gcpTypeName(v)
	}
	return gcpClip(strings.TrimSpace(b.String()))
}

func gcpClip(s string) string {
	if len(s) > 300 {
		return strings.ToValidUTF8(s[:300], "") + "..."
	}
	return s
}
