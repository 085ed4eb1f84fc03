package iam

import (
	"strings"
	"unicode/utf8"

	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

type tokenKind int8

const (
	char     tokenKind = iota // itself
	anyText                   // *
	anyChar                   // ?
	variable                  // ${key} or ${key, 'fallback'}
)

// An token is a piece of a value: a character, a wildcard or a variable.
type token struct {
	kind     tokenKind
	char     rune
	key      string // of a variable
	fallback string
	settled  bool // the variable has a fallback
}

// tokens takes a value apart, and says what is wrong with it otherwise.
// Where wild is false, * and ? mean themselves.
func tokens(s string, wild, variables bool) (tokens []token, problem string) {
	for s != "" {
		if variables && strings.HasPrefix(s, "${") {
			t, rest, problem := variableOf(s)
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
			tokens = append(tokens, token{kind: anyText})
		case wild && r == '?':
			tokens = append(tokens, token{kind: anyChar})
		default:
			tokens = append(tokens, token{char: r})
		}
	}
	return tokens, ""
}

// variableOf reads the variable at the start of s. ${*}, ${?} and ${$} are
// these characters themselves.
func variableOf(s string) (t token, rest, problem string) {
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
		return token{char: rune(inside[0])}, rest, ""
	}
	key, fallback, settled := strings.Cut(inside, ",")
	t = token{kind: variable, key: strings.TrimSpace(key), settled: settled}
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
func (c *context) expand(tokens []token, wild bool) ([]token, policy.Truth) {
	var out []token
	for i, t := range tokens {
		if t.kind != variable {
			if out != nil {
				out = append(out, t)
			}
			continue
		}
		if out == nil {
			out = append(make([]token, 0, len(tokens)), tokens[:i]...)
		}
		value, known := c.variable(t)
		if known != policy.Yes {
			return nil, known
		}
		if wild && value == t.fallback && strings.ContainsAny(value, "*?") {
			return nil, policy.Unknown // whether a default is a pattern is not documented
		}
		for _, r := range value {
			out = append(out, token{char: r})
		}
	}
	if out == nil {
		return tokens, policy.Yes
	}
	return out, policy.Yes
}

func (c *context) variable(t token) (string, policy.Truth) {
	a := c.get(t.key)
	switch {
	case a.unknown != "", a.multi, len(a.values) == 1 && a.values[0] == "":
		return "", policy.Unknown
	case len(a.values) == 1:
		return a.values[0], policy.Yes
	case t.settled:
		return t.fallback, policy.Yes
	}
	return "", policy.No
}

// place is how far a pattern got: the next of its tokens, and the character
// that was not taken.
type place struct{ token, char int }

// match matches the whole text, and tells the place that it got to. It goes
// back to the last * only, so it never takes longer than the product of both.
func match(pattern []token, text []rune) (ok bool, reached place) {
	star, resume := -1, 0
	i, j := 0, 0
	for i < len(text) {
		if j > reached.token {
			reached = place{j, i}
		}
		switch {
		case j < len(pattern) && pattern[j].kind == anyText:
			star, resume = j, i
			j++
		case j < len(pattern) && (pattern[j].kind == anyChar || pattern[j].char == text[i]):
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
		reached = place{j, i}
	}
	for j < len(pattern) && pattern[j].kind == anyText {
		j++
	}
	return j == len(pattern), reached
}

// split cuts a pattern at a character into at most n parts.
func split(tokens []token, at rune, n int) [][]token {
	var parts [][]token
	start := 0
	for i, t := range tokens {
		if len(parts) < n-1 && t.kind == char && t.char == at {
			parts = append(parts, tokens[start:i])
			start = i + 1
		}
	}
	return append(parts, tokens[start:])
}

// plain writes tokens as the document has them.
func plain(tokens []token) string {
	var b strings.Builder
	for _, t := range tokens {
		switch t.kind {
		case char:
			b.WriteRune(t.char)
		case anyText:
			b.WriteByte('*')
		case anyChar:
			b.WriteByte('?')
		case variable:
			b.WriteString("${" + t.key + "}")
		}
	}
	return b.String()
}

// wild says whether a text has wildcards of a pattern.
func wild(s string) bool { return strings.ContainsAny(s, "*?") }

// meet finds a shortest text that two patterns both match. Where both leave
// a character free it is fill.
func meet(a, b []token, fill rune) (string, bool) {
	left, wide := meeting(a, b), len(b)+1
	if left[0] >= never {
		return "", false
	}
	var text strings.Builder
	for i, j := 0, 0; i < len(a) || j < len(b); {
		at := i*wide + j
		switch {
		case i < len(a) && a[i].kind == anyText && left[at] == left[at+wide]:
			i++
		case i < len(a) && a[i].kind == anyText:
			if b[j].kind != anyText {
				text.WriteRune(b[j].example(fill))
			}
			j++
		case b[j].kind == anyText && left[at] == left[at+1]:
			j++
		case b[j].kind == anyText:
			text.WriteRune(a[i].example(fill))
			i++
		default:
			text.WriteRune(a[i].example(b[j].example(fill)))
			i, j = i+1, j+1
		}
	}
	return text.String(), true
}

const never = 1 << 30

// meeting returns, at i*(len(b)+1)+j, how long the shortest text is that
// a[i:] and b[j:] both match.
func meeting(a, b []token) []int32 {
	wide := len(b) + 1
	left := make([]int32, (len(a)+1)*wide)
	for i := len(a); i >= 0; i-- {
		for j := len(b); j >= 0; j-- {
			at := i*wide + j
			left[at] = never
			switch {
			case i == len(a) && j == len(b):
				left[at] = 0
			case i < len(a) && a[i].kind == anyText:
				left[at] = left[at+wide]
				if j < len(b) {
					left[at] = min(left[at], left[at+1]+b[j].length())
				}
			case j < len(b) && b[j].kind == anyText:
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
func (t token) length() int32 {
	if t.kind == anyText {
		return 0
	}
	return 1
}

func (t token) meets(u token) bool {
	return t.kind != char || u.kind != char || t.char == u.char
}

// example is the token's character, or else fill.
func (t token) example(fill rune) rune {
	if t.kind == char {
		return t.char
	}
	return fill
}
