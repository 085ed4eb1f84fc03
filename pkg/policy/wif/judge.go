package wif

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/oidc-broker/oidc-broker/pkg/internal/document"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// A Judgement is what Google's Security Token Service makes of a token's
// claims: of one that is signed, of the provider's issuer, for one of its
// audiences and within its time.
type Judgement struct {
	// Attributes are what the mapping gives: google.subject and attribute.NAME
	// are a string, google.groups is a []string. What has no good value is not
	// in it.
	Attributes map[string]any
	// Admitted is whether the token is taken. Verdict says Undecided where that
	// is not known, and then it is not admitted.
	Admitted bool
	Verdict  policy.Verdict
	// Code and Text are the error and error_description of Google's answer to a
	// token that is not taken. Text is empty where Google's words are not known.
	Code, Text string
	// Why says what Google keeps to itself.
	Why string
}

// A refusal is an answer of Google's: OAuth's error, and its words.
type refusal struct{ code, text string }

// Google's words, as recorded from its service.
func rejected() refusal {
	return refusal{"unauthorized_client", "The given credential is rejected by the attribute condition."}
}

func noSubject() refusal {
	return refusal{"unauthorized_client", "Could not obtain a value for google.subject from the given credential."}
}

func subjectType() refusal {
	return refusal{"unauthorized_client", "The mapped attribute 'google.subject' must be of type STRING."}
}

func subjectSize() refusal {
	return refusal{"invalid_request", "The size of mapped attribute google.subject exceeds the 127 bytes limit. " +
		"Either modify your attribute mapping or the incoming assertion to produce a mapped attribute that is less than 127 bytes."}
}

func invalidTarget() refusal {
	return refusal{"invalid_target", `The target service indicated by the "audience" parameters is invalid. ` +
		"This might either be because the pool or provider is disabled or deleted or because it doesn't exist."}
}

func invalidGrant(format string, args ...any) refusal {
	return refusal{"invalid_grant", fmt.Sprintf(format, args...)}
}

// A result is one check, and what Google would answer where it fails.
type result struct {
	policy.Check
	why     string
	refusal refusal
}

func fails(name string, verdict policy.Verdict, refusal refusal, format string, args ...any) result {
	why := fmt.Sprintf(format, args...)
	reason := why
	if refusal.text != "" {
		reason += "; Google says: " + refusal.text
	}
	return result{policy.Check{Name: name, Verdict: verdict, Reason: reason}, why, refusal}
}

func (r result) with(wanted, got string, hints ...string) result {
	r.Wanted, r.Got, r.Hints = wanted, got, hints
	return r
}

// deciding returns the result that decides: the first refusal, else the first
// that could not be decided, else nil. All have to hold, in this order.
func deciding(all []result) *result {
	for _, v := range []policy.Verdict{policy.Deny, policy.Undecided} {
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
func (p *Provider) Judge(c policy.Claims) Judgement {
	attributes, results := p.evaluate(c, newRun(c, maxCost))
	j := Judgement{Attributes: attributes, Verdict: policy.Allow, Admitted: true}
	if d := deciding(results); d != nil {
		j.Verdict, j.Admitted = d.Verdict, false
		j.Code, j.Text, j.Why = d.refusal.code, d.refusal.text, d.Name+": "+d.why
	}
	return j
}

// evaluate returns the mapped attributes, and a result for each thing that was
// judged in the order in which Google judges.
func (p *Provider) evaluate(c policy.Claims, run *run) (map[string]any, []result) {
	results := p.limits()
	attributes := map[string]any{}
	open := map[string]bool{} // attributes of which Google's value is not known
	for _, m := range p.mapping {
		value, r := m.result(c, run)
		switch {
		case value != nil:
			attributes[m.key] = value
		case r.Verdict == policy.Undecided:
			open[m.key] = true
		}
		results = append(results, r)
	}
	if p.mapped(subject) == nil {
		results = append(results, fails(p.word("attributeMapping"), policy.Deny, noSubject(), "there is no mapping for google.subject").
			with("a mapping for google.subject", ""))
	}
	if r, tooMuch := p.size(attributes); tooMuch {
		results = append(results, r)
	}
	run.know(attributes)
	return attributes, append(results, p.admit(c, attributes, open, run)...)
}

// limits finds what Google would not have let anybody create.
func (p *Provider) limits() []result {
	var all []result
	for _, l := range p.overLimits() {
		all = append(all, fails(l.where, policy.Deny, refusal{}, "Google takes no such provider: %s", l.what))
	}
	return all
}

type overLimit struct {
	where, what string
	document.Position
}

func (p *Provider) overLimits() []overLimit {
	var all []overLimit
	custom := 0
	for _, m := range p.mapping {
		if n := m.length(); n > maxMapping {
			all = append(all, overLimit{m.where, fmt.Sprintf("the expression has %d characters, more than %d", n, maxMapping), m.Position})
		}
		name, isCustom := strings.CutPrefix(m.key, attributePrefix)
		if !isCustom {
			continue
		}
		custom++
		switch {
		case len(name) > maxKey:
			all = append(all, overLimit{m.where, fmt.Sprintf("the attribute's name has %d characters, more than %d", len(name), maxKey), m.keyPlace})
		case !regexp.MustCompile(attributeName).MatchString(name):
			all = append(all, overLimit{m.where, "an attribute's name has a-z, 0-9 and _ in it, nothing else", m.keyPlace})
		}
	}
	if custom > maxAttributes {
		all = append(all, overLimit{p.word("attributeMapping"), fmt.Sprintf("there are %d custom attributes, more than %d", custom, maxAttributes), p.mappingPlace})
	}
	if p.condition != nil && p.condition.length() > maxCondition {
		all = append(all, overLimit{p.condition.where, fmt.Sprintf("the expression has %d characters, more than %d", p.condition.length(), maxCondition), p.condition.Position})
	}
	if n := len(p.audiences); n > maxAudiences {
		all = append(all, overLimit{p.word("oidc.allowedAudiences"), fmt.Sprintf("there are %d audiences, more than %d", n, maxAudiences), p.oidcPlace})
	}
	for _, a := range p.audiences {
		if n := utf8.RuneCountInString(a); n > maxAudience {
			all = append(all, overLimit{p.word("oidc.allowedAudiences"), fmt.Sprintf("an audience has %d characters, more than %d", n, maxAudience), p.oidcPlace})
		}
	}
	return all
}

// result evaluates a mapping. The value is nil where there is none.
func (m *mapping) result(c policy.Claims, run *run) (any, result) {
	o := run.eval(m.celExpression)
	got := m.mentions(c, nil)
	hints := m.hints(c, nil, o)
	switch {
	case o.gaveUp:
		return nil, fails(m.where, policy.Undecided, refusal{}, "%s", o.err).with(m.text, got)
	case m.key == subject:
		return m.subject(c, o)
	case o.err != "":
		return nil, fails(m.where, policy.Undecided, refusal{},
			"it has no value for this token (%s), and what Google makes of that is not documented", o.err).with(m.text, got, hints...)
	}
	if m.key == groups {
		if groups, ok := texts(o.value); ok {
			return groups, m.gives(o.value)
		}
		return nil, fails(m.where, policy.Undecided, refusal{},
			"google.groups is %s, not a list of texts, and what Google makes of that is not documented", typeName(o.value)).with(m.text, got)
	}
	if s, ok := o.value.(string); ok {
		return s, m.gives(s)
	}
	return nil, fails(m.where, policy.Undecided, refusal{},
		"the attribute is %s, not text, and what Google makes of that is not documented", typeName(o.value)).
		with(m.text, got, "string(...) makes text of true, false and numbers")
}

func (m *mapping) gives(value any) result {
	return result{Check: policy.Check{Name: m.where, Verdict: policy.Allow, Wanted: m.text, Got: show(value)}}
}

// subject judges the one attribute that Google insists on.
func (m *mapping) subject(c policy.Claims, o outcome) (any, result) {
	got := m.mentions(c, nil)
	if o.err != "" {
		return nil, fails(m.where, policy.Deny, noSubject(), "%s", o.err).with(m.text, got, m.hints(c, nil, o)...)
	}
	if o.value == nil {
		return nil, fails(m.where, policy.Deny, noSubject(), "it is null").with(m.text, got)
	}
	s, ok := o.value.(string)
	switch {
	case !ok:
		return nil, fails(m.where, policy.Deny, subjectType(), "it is %s", typeName(o.value)).with(m.text, got,
			"a comparison belongs into the condition; google.subject is who the token is for")
	case s == "":
		return nil, fails(m.where, policy.Deny, noSubject(), "it is empty").with(m.text, got, m.hints(c, nil, o)...)
	case len(s) > maxSubject:
		return nil, fails(m.where, policy.Deny, subjectSize(), "it has %d bytes, %d more than there is room for", len(s), len(s)-maxSubject).
			with(m.text, show(s), shorterSubject(s)...)
	}
	return s, m.gives(s)
}

// size judges the room that all mapped values share. Whether Google counts the
// names too is not known.
func (p *Provider) size(attributes map[string]any) (result, bool) {
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
	wanted := fmt.Sprintf("at most %d bytes of mapped values", maxMapped)
	got := fmt.Sprintf("%d bytes", values)
	switch {
	case values > maxMapped:
		return fails(p.word("attributeMapping"), policy.Deny, refusal{}, "the mapped values have %d bytes, more than the %d that Google takes", values, maxMapped).with(wanted, got), true
	case values+names > maxMapped:
		return fails(p.word("attributeMapping"), policy.Undecided, refusal{},
			"the mapped values have %d bytes and their names %d: whether Google counts both against its %d is not documented", values, names, maxMapped).with(wanted, got), true
	}
	return result{}, false
}

// admit evaluates the condition, operand by operand: CEL's && is true where all
// of them are, and false or an error otherwise, which Google takes alike.
func (p *Provider) admit(c policy.Claims, attributes map[string]any, open map[string]bool, run *run) []result {
	if p.condition == nil {
		return nil
	}
	var all []result
	for _, x := range p.condition.operands {
		all = append(all, x.holds(c, attributes, open, run))
	}
	return all
}

func (x *celExpression) holds(c policy.Claims, attributes map[string]any, open map[string]bool, run *run) result {
	o := run.eval(x)
	got, hints := x.mentions(c, attributes), x.hints(c, attributes, o)
	for _, r := range x.refs {
		if open[r.key()] {
			return fails(x.where, policy.Undecided, refusal{}, "it asks for %s, whose value is not known", r.key()).with(x.text, got)
		}
	}
	switch value := o.value.(type) {
	case bool:
		if value {
			return result{Check: policy.Check{Name: x.where, Verdict: policy.Allow, Wanted: x.text, Got: got}}
		}
		why := "it is false"
		if where := x.differ(c, attributes); where != "" {
			why += ": " + where
		}
		return fails(x.where, policy.Deny, rejected(), "%s", why).with(x.text, got, hints...)
	}
	switch {
	case o.gaveUp:
		return fails(x.where, policy.Undecided, refusal{}, "%s", o.err).with(x.text, got)
	case o.err != "":
		return fails(x.where, policy.Deny, rejected(), "it cannot be evaluated: %s", o.err).with(x.text, got, hints...)
	}
	return fails(x.where, policy.Deny, rejected(), "it is %s, not true or false", typeName(o.value)).with(x.text, got, hints...)
}

func texts(v any) ([]string, bool) {
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

// show writes a value in a message, cut where it is long.
func show(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return typeName(v)
	}
	return clip(strings.TrimSpace(b.String()))
}

func clip(s string) string {
	if len(s) > 300 {
		return strings.ToValidUTF8(s[:300], "") + "..."
	}
	return s
}
