package fault

import (
	"fmt"
	"strings"
)

// Names lists names in a message, the first eight of many.
func Names(names []string) string {
	const most = 8
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// NotOneOf is the error for a value that is none of an option's choices. Where these
// are too many for the first line, hints have them.
func NotOneOf(option Option, value string, choices []string) *Error {
	if all := strings.Join(choices, ", "); len(all) <= 80 {
		return New(Usage, "%s %q is none of %s", option, value, all)
	}
	e := New(Usage, "%s %q is not known", option, value)
	line := ""
	for i, c := range choices {
		if len(line)+len(c) > 110 {
			e.Hint("%s", "one of "+strings.TrimSuffix(line, ", ")+", or")
			line = ""
		}
		if line += c; i < len(choices)-1 {
			line += ", "
		}
	}
	return e.Hint("%s", "one of "+line)
}
