package policy

import (
	"strings"
	"unicode/utf8"
)

type awsTokenKind int8

const (
	awsChar     awsTokenKind = iota // itself
	awsAnyText                      // *
	awsAnyChar                      // ?
	awsVariable                     // ${key} or ${key, 'fallback'}
)

// An awsToken is a piece of a value: a character, a wildcard or a variable.
type awsToken struct {
	kind     awsTokenKind
	char     rune
	key      string // of a variable
	fallback string
	settled  bool // the variable has a fallback
}

// awsTokens takes a value apart, and says what is wrong with it otherwise.
// Where wild is false, * and ? mean themselves.
func awsTokens(s string, wild, variables bool) (tokens []awsToken, problem string) {
	for s != "" {
		if variables && strings.HasPrefix(s, "${") {
			t, rest, problem := awsVariableOf(s)
			if problem != "" {
				return nil, problem
			}
			tokens, s = append(tokens, t), rest
			continue
		}
		r, size := utf8.DecodeRuneInString(s)
		s = s[size:]
		switch {
		case wild && r == '*':
			tokens = append(tokens, awsToken{kind: awsAnyText})
		case wild && r == '?':
			tokens = append(tokens, awsToken{kind: awsAnyChar})
		default:
			tokens = append(tokens, awsToken{char: r})
		}
	}
	return tokens, ""
}

// awsVariableOf reads the variable at the start of s. ${*}, ${?} and ${$} are
// these characters themselves.
func awsVariableOf(s string) (t awsToken, rest, problem string) {
	inside := s[2:]
	end, quoted := -1, false
	for i := 0; i < len(inside) && end < 0; i++ {
		switch {
		case inside[i] == '\'':
			quoted = !quoted
		case inside[i] == '}' && !quoted:
			end = i
		}
	}
	if end < 0 {
		return t, "", "has a ${ without its }"
	}
	inside, rest = inside[:end], inside[end+1:]
	if inside == "*" || inside == "?" || inside == "$" {
		return awsToken{char: rune(inside[0])}, rest, ""
	}
	key, fallback, settled := strings.Cut(inside, ",")
	t = awsToken{kind: awsVariable, key: strings.TrimSpace(key), settled: settled}
	if strings.Index(t.key, ":") < 1 || strings.ContainsAny(t.key, "'{}") {
		return t, "", "has a variable whose name is no condition key"
	}
	if settled {
		fallback = strings.TrimSpace(fallback)
		if len(fallback) < 2 || fallback[0] != '\'' || strings.Index(fallback[1:], "'") != len(fallback)-2 {
			return t, "", "has a variable whose default is not in single quotes"
		}
		t.fallback = fallback[1 : len(fallback)-1]
	}
	return t, rest, ""
}

// expand puts the request's values in the place of variables: no where one has
// no value, so that nothing matches, and unknown where nobody can say. What a
// variable brings along is no pattern.
func (c *awsContext) expand(tokens []awsToken, wild bool) ([]awsToken, truth) {
	var out []awsToken
	for i, t := range tokens {
		if t.kind != awsVariable {
			if out != nil {
				out = append(out, t)
			}
			continue
		}
		if out == nil {
			out = append(make([]awsToken, 0, len(tokens)), tokens[:i]...)
		}
		value, known := c.variable(t)
		if known != yes {
			return nil, known
		}
		if wild && value == t.fallback && strings.ContainsAny(value, "*?") {
			return nil, unknown // whether a default is a pattern is not documented
		}
		for _, r := range value {
			out = append(out, awsToken{char: r})
		}
	}
	if out == nil {
		return tokens, yes
	}
	return out, yes
}

func (c *awsContext) variable(t awsToken) (string, truth) {
	a := c.get(t.key)
	switch {
	case a.unknown != "", a.multi, len(a.values) == 1 && a.values[0] == "":
		return "", unknown
	case len(a.values) == 1:
		return a.values[0], yes
	case t.settled:
		return t.fallback, yes
	}
	return "", no
}

// awsPlace is how far a pattern got: the next of its tokens, and the character
// that was not taken.
type awsPlace struct{ token, char int }

// awsMatch matches the whole text, and tells the place that it got to. It goes
// back to the last * only, so it never takes longer than the product of both.
func awsMatch(pattern []awsToken, text []rune) (ok bool, reached awsPlace) {
	star, resume := -1, 0
	i, j := 0, 0
	for i < len(text) {
		if j > reached.token {
			reached = awsPlace{j, i}
		}
		switch {
		case j < len(pattern) && pattern[j].kind == awsAnyText:
			star, resume = j, i
			j++
		case j < len(pattern) && (pattern[j].kind == awsAnyChar || pattern[j].char == text[i]):
			i++
			j++
		case star >= 0:
			resume++
			i, j = resume, star+1
		default:
			return false, reached
		}
	}
	if j > reached.token {
		reached = awsPlace{j, i}
	}
	for j < len(pattern) && pattern[j].kind == awsAnyText {
		j++
	}
	return j == len(pattern), reached
}

// awsSplit cuts a pattern at a character into at most n parts.
func awsSplit(tokens []awsToken, at rune, n int) [][]awsToken {
	var parts [][]awsToken
	start := 0
	for i, t := range tokens {
		if len(parts) < n-1 && t.kind == awsChar && t.char == at {
			parts = append(parts, tokens[start:i])
			start = i + 1
		}
	}
	return append(parts, tokens[start:])
}

// awsPlain writes tokens as the document has them.
func awsPlain(tokens []awsToken) string {
	var b strings.Builder
	for _, t := range tokens {
		switch t.kind {
		case awsChar:
			b.WriteRune(t.char)
		case awsAnyText:
			b.WriteByte('*')
		case awsAnyChar:
			b.WriteByte('?')
		case awsVariable:
			b.WriteString("${" + t.key + "}")
		}
	}
	return b.String()
}

// awsWild says whether a text has wildcards of a pattern.
func awsWild(s string) bool { return strings.ContainsAny(s, "*?") }

// awsMeet finds a shortest text that two patterns both match. Where both leave
// a character free it is fill.
func awsMeet(a, b []awsToken, fill rune) (string, bool) {
	left, wide := awsMeeting(a, b), len(b)+1
	if left[0] >= awsNever {
		return "", false
	}
	var text strings.Builder
	for i, j := 0, 0; i < len(a) || j < len(b); {
		at := i*wide + j
		switch {
		case i < len(a) && a[i].kind == awsAnyText && left[at] == left[at+wide]:
			i++
		case i < len(a) && a[i].kind == awsAnyText:
			if b[j].kind != awsAnyText {
				text.WriteRune(b[j].example(fill))
			}
			j++
		case b[j].kind == awsAnyText && left[at] == left[at+1]:
			j++
		case b[j].kind == awsAnyText:
			text.WriteRune(a[i].example(fill))
			i++
		default:
			text.WriteRune(a[i].example(b[j].example(fill)))
			i, j = i+1, j+1
		}
	}
	return text.String(), true
}

const awsNever = 1 << 30

// awsMeeting returns, at i*(len(b)+1)+j, how long the shortest text is that
// a[i:] and b[j:] both match.
func awsMeeting(a, b []awsToken) []int32 {
	wide := len(b) + 1
	left := make([]int32, (len(a)+1)*wide)
	for i := len(a); i >= 0; i-- {
		for j := len(b); j >= 0; j-- {
			at := i*wide + j
			left[at] = awsNever
			switch {
			case i == len(a) && j == len(b):
				left[at] = 0
			case i < len(a) && a[i].kind == awsAnyText:
				left[at] = left[at+wide]
				if j < len(b) {
					left[at] = min(left[at], left[at+1]+b[j].length())
				}
			case j < len(b) && b[j].kind == awsAnyText:
				left[at] = left[at+1]
				if i < len(a) {
					left[at] = min(left[at], left[at+wide]+1)
				}
			case i < len(a) && j < len(b) && a[i].meets(b[j]):
				left[at] = left[at+wide+1] + 1
			}
		}
	}
	return left
}

// length is the least that the token takes.
func (t awsToken) length() int32 {
	if t.kind == awsAnyText {
		return 0
	}
	return 1
}

func (t awsToken) meets(u awsToken) bool {
	return t.kind != awsChar || u.kind != awsChar || t.char == u.char
}

// example is the token's character, or else fill.
func (t awsToken) example(fill rune) rune {
	if t.kind == awsChar {
		return t.char
	}
	return fill
}
