package secret

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

const (
	// longestForeign bounds what is shown of a text that a server wrote.
	longestForeign = 300
	// runLength is how many characters of a token's alphabet in a row are not shown,
	// whosever they are: no word of an error text is as long and has digits in it.
	runLength = 20
)

// Foreign makes a text that a server wrote fit to be printed: one line of at most
// 300 characters, in ASCII, without what was sent to it and without anything that
// looks like a token. A text that holds what was sent in an encoding (base64,
// base32, hex, percent, decimal), or in pieces, is not shown at all.
func Foreign(text string, sent ...Value) string {
	text = plain(text)
	for _, v := range sent {
		text = v.Redact(text)
	}
	for _, v := range sent {
		if v.encodedIn(text) {
			return "[a text that holds the token]"
		}
	}
	text = regexp.MustCompile(`[A-Za-z0-9+_=%~-]{`+fmt.Sprint(runLength)+`,}`).ReplaceAllStringFunc(text, func(run string) string {
		if random(run) {
			return redacted
		}
		return run
	})
	if len(text) > longestForeign {
		return text[:longestForeign] + "..."
	}
	return text
}

// plain drops what a terminal does not show and what splits a word invisibly:
// control, format and combining characters. White space is one space, other
// characters beyond ASCII are a question mark, for some look like letters.
func plain(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r >= ' ' && r <= '~':
			return r
		case r <= 0x7f, unicode.In(r, unicode.Cc, unicode.Cf, unicode.Mn, unicode.Me), r >= 0x80 && !unicode.IsPrint(r):
			return -1
		}
		return '?'
	}, text)
	return strings.Join(strings.Fields(text), " ")
}

// random says whether a run looks like a key or a token: a part of it without -
// and _ is long, and has letters and digits, or digits alone. A UUID and a name of
// several words have no such part.
func random(run string) bool {
	for _, part := range strings.FieldsFunc(run, func(r rune) bool { return r == '-' || r == '_' }) {
		if len(part) >= runLength && strings.ContainsAny(part, "0123456789") {
			return true
		}
	}
	return false
}

// encodedIn says whether the text holds 16 characters of the secret, or of one of
// its encodings, in a row, whatever stands between them that is no letter or digit.
func (v Value) encodedIn(text string) bool {
	s := v.Reveal()
	if len(s) < piece {
		return false
	}
	text = alphanumeric(text)
	for _, form := range encodings(s) {
		form = alphanumeric(form)
		for i := 0; i+piece <= len(text); i++ {
			if strings.Contains(form, text[i:i+piece]) {
				return true
			}
		}
	}
	return false
}

// encodings are a secret in the forms in which a server could return it. Base64
// and base32 have three and five, by where the secret begins in what is encoded.
func encodings(s string) []string {
	decimal, escapes := "", ""
	for i := range len(s) {
		decimal += fmt.Sprint(s[i])
		escapes += fmt.Sprintf("u%04x", s[i])
	}
	reversed := []byte(s)
	slices.Reverse(reversed)
	all := []string{s, string(reversed), hex.EncodeToString([]byte(s)), decimal, escapes}
	for i := range 3 {
		all = append(all, base64.StdEncoding.EncodeToString([]byte(s[i:])))
	}
	for i := range 5 {
		all = append(all, base32.StdEncoding.EncodeToString([]byte(s[i:])))
	}
	return all
}

// alphanumeric are a text's letters and digits, in lower case.
func alphanumeric(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return -1
	}, text)
}
