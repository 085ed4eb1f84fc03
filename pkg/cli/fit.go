package cli

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

const (
	// longestLine is what a CI system's log shows without wrapping, prefix included.
	longestLine = 160
	// mostHints are printed after an error: it is read in the log of a failed job.
	mostHints = 4
	// shortestWord is as far as a word is shortened while the line is too long.
	shortestWord = 32
	ellipsis     = "..."
)

// What a word is decides when it is shortened: a subject, a path or a URL first; a
// name that somebody has to type somewhere (an address, an ARN, a permission) never,
// unless it is longer than any name is.
const (
	nameLike       = `^[^A-Za-z0-9]*(?:arn:[a-z-]+:.*|[^/]+@[^/]+|[A-Za-z]\w*(?:\.[A-Za-z]\w*)+|[a-z]+[/:][A-Za-z.]+)[^A-Za-z0-9]*$`
	longestSpelled = 100
)

// fit shortens a line to longestLine characters: first its longest paths, subjects
// and URLs in the middle, then its other long words but names, then the line at its
// end, between two words.
func fit(line string) string {
	if utf8.RuneCountInString(line) <= longestLine {
		return line
	}
	words := strings.Split(line, " ")
	names := regexp.MustCompile(nameLike) // here, for the start is no slower by it
	isName := func(word string) bool {
		return utf8.RuneCountInString(word) <= longestSpelled && names.MatchString(word)
	}
	shortenWords(words, func(word string) bool { return strings.Count(word, "/") > 1 && !isName(word) })
	shortenWords(words, func(word string) bool { return !isName(word) })
	line = strings.Join(words, " ")
	r := []rune(line)
	if len(r) <= longestLine {
		return line
	}
	head := string(r[:longestLine-len(ellipsis)])
	if end := strings.LastIndexByte(head, ' '); end > longestLine/2 {
		return head[:end+1] + ellipsis
	}
	return head + ellipsis
}

// shortenWords shortens those words that may be, the longest first, until the line fits.
func shortenWords(words []string, may func(string) bool) {
	excess := utf8.RuneCountInString(strings.Join(words, " ")) - longestLine
	for excess > 0 {
		longest, length := 0, 0
		for i, word := range words {
			if n := utf8.RuneCountInString(word); n > length && may(word) {
				longest, length = i, n
			}
		}
		if length <= shortestWord {
			return
		}
		limit := max(shortestWord, length-excess)
		words[longest] = middle(words[longest], limit)
		excess -= length - limit
	}
}

// middle takes out the middle of a text that has more than limit characters. Three
// quarters of what stays are its beginning, a subject's organisation and project,
// but enough of the end that a file's name is whole.
func middle(text string, limit int) string {
	r := []rune(text)
	if len(r) <= limit {
		return text
	}
	keep := limit - len(ellipsis)
	head := keep - max(keep/4, min(24, keep/2))
	return string(r[:head]) + ellipsis + string(r[len(r)-(keep-head):])
}
