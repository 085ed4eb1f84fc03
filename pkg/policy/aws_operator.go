package policy

import (
	"encoding/base64"
	"math/big"
	"net/netip"
	"regexp"
	"strings"
	"time"
)

// An awsFamily is a way to compare.
type awsFamily string

const (
	awsString awsFamily = "text"
	awsLike   awsFamily = "a pattern"
	awsARN    awsFamily = "an ARN"
	awsNumber awsFamily = "a number"
	awsDate   awsFamily = "a date"
	awsBool   awsFamily = "true or false"
	awsBinary awsFamily = "base64"
	awsIP     awsFamily = "an address or a range of them"
	awsNull   awsFamily = "true or false for Null"
)

// An awsOperator is what joins a key and its values.
type awsOperator struct {
	name    string // as the document has it
	family  awsFamily
	negated bool           // holds where no value is matched
	fold    bool           // without letter case
	order   func(int) bool // of numbers and dates, compared as request to value

	all, some bool // ForAllValues:, ForAnyValue:
	ifExists  bool
}

// awsOperators returns the operators without their modifiers.
func awsOperators() map[string]awsOperator {
	equal := func(c int) bool { return c == 0 }
	less := func(c int) bool { return c < 0 }
	most := func(c int) bool { return c <= 0 }
	all := map[string]awsOperator{
		"StringEquals":              {family: awsString},
		"StringNotEquals":           {family: awsString, negated: true},
		"StringEqualsIgnoreCase":    {family: awsString, fold: true},
		"StringNotEqualsIgnoreCase": {family: awsString, fold: true, negated: true},
		"StringLike":                {family: awsLike},
		"StringNotLike":             {family: awsLike, negated: true},
		"ArnEquals":                 {family: awsARN},
		"ArnLike":                   {family: awsARN},
		"ArnNotEquals":              {family: awsARN, negated: true},
		"ArnNotLike":                {family: awsARN, negated: true},
		"Bool":                      {family: awsBool},
		"BinaryEquals":              {family: awsBinary},
		"IpAddress":                 {family: awsIP},
		"NotIpAddress":              {family: awsIP, negated: true},
		"Null":                      {family: awsNull},
	}
	for name, family := range map[string]awsFamily{"Numeric": awsNumber, "Date": awsDate} {
		all[name+"Equals"] = awsOperator{family: family, order: equal}
		all[name+"NotEquals"] = awsOperator{family: family, order: equal, negated: true}
		all[name+"LessThan"] = awsOperator{family: family, order: less}
		all[name+"LessThanEquals"] = awsOperator{family: family, order: most}
		all[name+"GreaterThan"] = awsOperator{family: family, order: func(c int) bool { return c > 0 }}
		all[name+"GreaterThanEquals"] = awsOperator{family: family, order: func(c int) bool { return c >= 0 }}
	}
	return all
}

// awsOperatorOf reads an operator with its modifiers. Names are compared
// exactly: whether AWS folds their case is not documented.
func awsOperatorOf(name string) (awsOperator, bool) {
	base := name
	set, rest, qualified := strings.Cut(name, ":")
	if qualified {
		base = rest
	}
	o, ok := awsOperators()[base]
	if !ok {
		var exists bool
		if base, exists = strings.CutSuffix(base, "IfExists"); exists {
			o, ok = awsOperators()[base]
			o.ifExists = true
		}
	}
	o.name, o.all, o.some = name, set == "ForAllValues" && qualified, set == "ForAnyValue" && qualified
	switch {
	case !ok, qualified && !o.all && !o.some:
		return awsOperator{}, false
	case o.family == awsNull && (qualified || o.ifExists):
		return awsOperator{}, false // Null is about existence already
	}
	return o, true
}

// awsMeant says which operator a name is nearly that of.
func awsMeant(name string) string {
	for _, set := range []string{"", "ForAllValues:", "ForAnyValue:"} {
		for base := range awsOperators() {
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
func (o awsOperator) text() bool { return o.family == awsString || o.family == awsLike }

// absent is what the operator makes of a key that the request does not have.
func (o awsOperator) absent() truth {
	switch {
	case o.ifExists, o.all:
		return yes
	case o.some:
		return no
	}
	return truthOf(o.negated)
}

// An awsValue is a value of a condition, read for its operator.
type awsValue struct {
	text   string
	tokens []awsToken // of text, patterns and ARNs
	position
}

// awsValueOf reads a value, and says what is wrong with it otherwise.
func awsValueOf(o awsOperator, s string, variables bool) (v awsValue, problem string) {
	v.text = s
	var ok bool
	switch o.family {
	case awsString, awsLike, awsARN:
		v.tokens, problem = awsTokens(s, o.family != awsString, variables)
		return v, problem
	case awsNumber:
		_, ok = awsNumberOf(s)
	case awsDate:
		_, ok = awsDateOf(s)
	case awsBool, awsNull:
		ok = s == "true" || s == "false"
	case awsBinary:
		_, err := base64.StdEncoding.DecodeString(s)
		ok = err == nil
	case awsIP:
		_, ok = awsRange(s)
	}
	if !ok {
		problem = "is not " + string(o.family)
	}
	return v, problem
}

// matches compares one value of the request with one of the policy's.
func (c *awsContext) matches(o awsOperator, v awsValue, got string) truth {
	switch o.family {
	case awsString, awsLike:
		tokens, known := c.expand(v.tokens, o.family == awsLike)
		switch {
		case known != yes:
			return known
		case o.fold:
			return truthOf(strings.EqualFold(awsPlain(tokens), got))
		}
		ok, _ := awsMatch(tokens, []rune(got))
		return truthOf(ok)
	case awsARN:
		return c.matchARN(v.tokens, got)
	case awsBool:
		if got != "true" && got != "false" {
			return unknown
		}
		return truthOf(got == v.text)
	case awsBinary:
		b, err := base64.StdEncoding.DecodeString(v.text)
		return truthOf(err == nil && string(b) == got)
	case awsIP:
		in, err := netip.ParseAddr(got)
		prefix, ok := awsRange(v.text)
		if err != nil || !ok {
			return unknown
		}
		return truthOf(prefix.Contains(in.Unmap()))
	}
	return o.compare(v.text, got)
}

// compare is for what has an order.
func (o awsOperator) compare(want, got string) truth {
	if o.family == awsNumber {
		w, ok := awsNumberOf(want)
		g, ok2 := awsNumberOf(got)
		if !ok || !ok2 {
			return unknown
		}
		return truthOf(o.order(g.Cmp(w)))
	}
	w, ok := awsDateOf(want)
	g, ok2 := awsDateOf(got)
	if !ok || !ok2 {
		return unknown
	}
	return truthOf(o.order(g.Compare(w)))
}

// awsNumberOf takes no exponents: with a big one, arithmetic never ends.
func awsNumberOf(s string) (*big.Rat, bool) {
	if len(s) > 40 || !regexp.MustCompile(`^-?[0-9]+(?:\.[0-9]+)?$`).MatchString(s) {
		return nil, false
	}
	return new(big.Rat).SetString(s)
}

// awsDateOf reads the forms of ISO 8601 that AWS takes, and seconds since 1970.
func awsDateOf(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z07:00", "2006-01-02", "2006-01"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	if n, ok := awsNumberOf(s); ok && n.IsInt() && n.Num().IsInt64() && len(s) > 4 {
		return time.Unix(n.Num().Int64(), 0), true
	}
	return time.Time{}, false
}

// awsRange reads a CIDR block; an address alone is a block of itself.
func awsRange(s string) (netip.Prefix, bool) {
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
func (c *awsContext) matchARN(pattern []awsToken, got string) truth {
	if len(pattern) == 1 && pattern[0].kind == awsAnyText {
		return yes
	}
	want := awsSplit(pattern, ':', 6)
	parts := strings.SplitN(got, ":", 6)
	if len(want) < 6 || len(parts) < 6 {
		return unknown // what AWS makes of what is no ARN is not documented
	}
	result := yes
	for i, part := range want {
		tokens, known := c.expand(part, true)
		if known == yes {
			ok, _ := awsMatch(tokens, []rune(parts[i]))
			known = truthOf(ok)
		}
		result = result.and(known)
	}
	return result
}
