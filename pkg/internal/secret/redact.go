package secret

import (
	"strings"
	"unicode/utf8"
)

const (
	// shortest is the secret that Redact looks for: a shorter one would be
	// found in harmless words, and so be guessed from what is missing.
	shortest = 8
	// piece is the part of a secret that gives it away. Fewer characters of a
	// token are not worth guessing the rest, and occur by chance.
	piece = 16
)

// Redact replaces the secret in a text that somebody else wrote, who may have
// cut it, wrapped it over lines or put words around it: with 16 characters of
// it in a row, all letters, digits and +/=_.~- around them go too. A secret of
// 8 to 15 characters is replaced where it stands as a whole, a shorter one is
// not.
func (v Value) Redact(text string) string {
	s := v.Reveal()
	if len(s) < shortest || len(text) < min(len(s), piece) {
		return text
	}
	if len(s) < piece {
		return strings.ReplaceAll(text, s, redacted)
	}
	pieces := make(map[string]struct{}, len(s)-piece+1)
	for i := range len(s) - piece + 1 {
		pieces[s[i:i+piece]] = struct{}{}
	}
	// Again until there is none: the brackets of [secret] make a piece with
	// what is beside them if the secret has brackets, as JSON does. It ends:
	// what takes the place of a piece is shorter.
	for {
		next := replacePieces(text, pieces)
		if next == text {
			return text
		}
		text = next
	}
}

func replacePieces(text string, pieces map[string]struct{}) string {
	at := func(i int) bool {
		if i+piece > len(text) {
			return false
		}
		_, found := pieces[text[i:i+piece]]
		return found
	}
	var out strings.Builder
	kept := 0 // what is before it is written
	for i := 0; i < len(text); i++ {
		if !at(i) {
			continue
		}
		start, end := i, i
		for start > kept && together(text, start) {
			start--
		}
		for ; i <= end; i++ { // pieces that overlap or touch
			if !at(i) {
				continue
			}
			for end = max(end, i+piece); end < len(text) && together(text, end); {
				end++
			}
		}
		out.WriteString(text[kept:start] + redacted)
		kept = end
		i-- // not looked at yet
	}
	return out.String() + text[kept:]
}

// together says that the byte before i and the one at i are both of a token,
// or of one character.
func together(text string, i int) bool {
	return ofToken(text[i-1]) && ofToken(text[i]) || !utf8.RuneStart(text[i])
}

func ofToken(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("+/=_.~-", c) >= 0
}
