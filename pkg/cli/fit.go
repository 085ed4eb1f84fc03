package cli

import (
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

// fit shortens a line to longestLine characters: first its longest words, a
// subject or a path, in the middle, then the line at its end.
func fit(line string) string {
	excess := utf8.RuneCountInString(line) - longestLine
	if excess <= 0 {
		return line
	}
	words := strings.Split(line, " ")
	for excess > 0 {
		longest, length := 0, 0
		for i, word := range words {
			if n := utf8.RuneCountInString(word); n > length {
				longest, length = i, n
			}
		}
		if length <= shortestWord {
			break
		}
		words[longest] = middle(words[longest], max(shortestWord, length-excess))
		excess -= length - max(shortestWord, length-excess)
	}
	r := []rune(strings.Join(words, " "))
	if len(r) <= longestLine {
		return string(r)
	}
	return string(r[:longestLine-len(ellipsis)]) + ellipsis
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
