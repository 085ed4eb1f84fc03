package iam

import (
	"encoding/base64"
	"math/big"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/document"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

// An family is a way to compare.
type family string

const (
	textFamily family = "text"
	like       family = "a pattern"
	arnFamily  family = "an ARN"
	number     family = "a number"
	date       family = "a date"
	boolFamily family = "true or false"
	binary     family = "base64"
	iP         family = "an address or a range of them"
	nullFamily family = "true or false for Null"
)

// An operator is what joins a key and its values.
type operator struct {
	name    string // as the document has it
	family  family
	negated bool           // holds where no value is matched
	fold    bool           // without letter case
	order   func(int) bool // of numbers and dates, compared as request to value

	all, some bool // ForAllValues:, ForAnyValue:
	ifExists  bool
}

// operators returns the operators without their modifiers.
func operators() map[string]operator {
	equal := func(c int) bool { return c == 0 }
	less := func(c int) bool { return c < 0 }
	most := func(c int) bool { return c <= 0 }
	all := map[string]operator{
		"StringEquals":              {family: textFamily},
		"StringNotEquals":           {family: textFamily, negated: true},
		"StringEqualsIgnoreCase":    {family: textFamily, fold: true},
		"StringNotEqualsIgnoreCase": {family: textFamily, fold: true, negated: true},
		"StringLike":                {family: like},
		"StringNotLike":             {family: like, negated: true},
		"ArnEquals":                 {family: arnFamily},
		"ArnLike":                   {family: arnFamily},
		"ArnNotEquals":              {family: arnFamily, negated: true},
		"ArnNotLike":                {family: arnFamily, negated: true},
		"Bool":                      {family: boolFamily},
		"BinaryEquals":              {family: binary},
		"IpAddress":                 {family: iP},
		"NotIpAddress":              {family: iP, negated: true},
		"Null":                      {family: nullFamily},
	}
	for name, family := range map[string]family{"Numeric": number, "Date": date} {
		all[name+"Equals"] = operator{family: family, order: equal}
		all[name+"NotEquals"] = operator{family: family, order: equal, negated: true}
		all[name+"LessThan"] = operator{family: family, order: less}
		all[name+"LessThanEquals"] = operator{family: family, order: most}
		all[name+"GreaterThan"] = operator{family: family, order: func(c int) bool { return c > 0 }}
		all[name+"GreaterThanEquals"] = operator{family: family, order: func(c int) bool { return c >= 0 }}
	}
	return all
}

// operatorOf reads an operator with its modifiers. Names are compared
// exactly: whether AWS folds their case is not documented.
func operatorOf(name string) (operator, bool) {
	base := name
	set, rest, qualified := strings.Cut(name, ":")
	if qualified {
		base = rest
	}
	o, ok := operators()[base]
	if !ok {
		var exists bool
		if base, exists = strings.CutSuffix(base, "IfExists"); exists {
			o, ok = operators()[base]
			o.ifExists = true
		}
	}
	o.name, o.all, o.some = name, set == "ForAllValues" && qualified, set == "ForAnyValue" && qualified
	switch {
	case !ok, qualified && !o.all && !o.some:
		return operator{}, false
	case o.family == nullFamily && (qualified || o.ifExists):
		return operator{}, false // Null is about existence already
	}
	return o, true
}

// meant says which operator a name is nearly that of.
func meant(name string) string {
	for _, set := range []string{"", "ForAllValues:", "ForAnyValue:"} {
		for base := range operators() {
			for _, suffix := range []string{"", "IfExists"} {
				if meant := set + base + suffix; strings.EqualFold(meant, strings.TrimSpace(name)) {
					return "; it is written \"" + meant + "\""
				}
			}
		}
	}
	return ""
}

// text says whether the operator compares the text of a token as it is.
func (o operator) text() bool { return o.family == textFamily || o.family == like }

// absent is what the operator makes of a key that the request does not have.
func (o operator) absent() policy.Truth {
	switch {
	case o.ifExists, o.all:
		return policy.Yes
	case o.some:
		return policy.No
	}
	return policy.TruthOf(o.negated)
}

// An value is a value of a condition, read for its operator.
type value struct {
	text   string
	tokens []token // of text, patterns and ARNs
	document.Position
}

// valueOf reads a value, and says what is wrong with it otherwise.
func valueOf(o operator, s string, variables bool) (v value, problem string) {
	v.text = s
	var ok bool
	switch o.family {
	case textFamily, like, arnFamily:
		v.tokens, problem = tokens(s, o.family != textFamily, variables)
		return v, problem
	case number:
		_, ok = numberOf(s)
	case date:
		_, ok = dateOf(s)
	case boolFamily, nullFamily:
		ok = s == "true" || s == "false"
	case binary:
		_, err := base64.StdEncoding.DecodeString(s)
		ok = err == nil
	case iP:
		_, ok = rangeX(s)
	}
	if !ok {
		problem = "is not " + string(o.family)
	}
	return v, problem
}

// matches compares one value of the request with one of the policy's.
func (c *context) matches(o operator, v value, got string) policy.Truth {
	switch o.family {
	case textFamily, like:
		tokens, known := c.expand(v.tokens, o.family == like)
		switch {
		case known != policy.Yes:
			return known
		case o.fold:
			return policy.TruthOf(strings.EqualFold(plain(tokens), got))
		}
		ok, _ := match(tokens, []rune(got))
		return policy.TruthOf(ok)
	case arnFamily:
		return c.matchARN(v.tokens, got)
	case boolFamily:
		if got != "true" && got != "false" {
			return policy.Unknown
		}
		return policy.TruthOf(got == v.text)
	case binary:
		b, err := base64.StdEncoding.DecodeString(v.text)
		return policy.TruthOf(err == nil && string(b) == got)
	case iP:
		in, err := netip.ParseAddr(got)
		prefix, ok := rangeX(v.text)
		if err != nil || !ok {
			return policy.Unknown
		}
		return policy.TruthOf(prefix.Contains(in.Unmap()))
	}
	return o.compare(v.text, got)
}

// compare is for what has an order.
func (o operator) compare(want, got string) policy.Truth {
	if o.family == number {
		w, ok := numberOf(want)
		g, ok2 := numberOf(got)
		if !ok || !ok2 {
			return policy.Unknown
		}
		return policy.TruthOf(o.order(g.Cmp(w)))
	}
	w, ok := dateOf(want)
	g, ok2 := dateOf(got)
	if !ok || !ok2 {
		return policy.Unknown
	}
	return policy.TruthOf(o.order(g.Compare(w)))
}

// numberOf takes no exponents: with a big one, arithmetic never ends.
func numberOf(s string) (*big.Rat, bool) {
	if len(s) > 40 || !regexp.MustCompile(`^-?[0-9]+(?:\.[0-9]+)?$`).MatchString(s) {
		return nil, false
	}
	return new(big.Rat).SetString(s)
}

// dateOf reads the forms of ISO 8601 that AWS takes, and seconds since 1970.
func dateOf(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z07:00", "2006-01-02", "2006-01"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	if n, ok := numberOf(s); ok && n.IsInt() && n.Num().IsInt64() && len(s) > 4 {
		return time.Unix(n.Num().Int64(), 0), true
	}
	return time.Time{}, false
}

// rangeX reads a CIDR block; an address alone is a block of itself.
func rangeX(s string) (netip.Prefix, bool) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, false
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	prefix, err := netip.ParsePrefix(s)
	return prefix.Masked(), err == nil
}

// matchARN compares two ARNs part by part: a * does not reach over a colon, but
// in the last part.
func (c *context) matchARN(pattern []token, got string) policy.Truth {
	if len(pattern) == 1 && pattern[0].kind == anyText {
		return policy.Yes
	}
	want := split(pattern, ':', 6)
	parts := strings.SplitN(got, ":", 6)
	if len(want) < 6 || len(parts) < 6 {
		return policy.Unknown // what AWS makes of what is no ARN is not documented
	}
	result := policy.Yes
	for i, part := range want {
		tokens, known := c.expand(part, true)
		if known == policy.Yes {
			ok, _ := match(tokens, []rune(parts[i]))
			known = policy.TruthOf(ok)
		}
		result = result.And(known)
	}
	return result
}
