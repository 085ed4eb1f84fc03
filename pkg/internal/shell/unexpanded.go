package shell

import (
	"regexp"
	"strings"
)

// leftover is what an interpolation that did not happen leaves: $NAME, ${NAME}
// of a shell or << x >> of an orb.
const leftover = `\$[A-Za-z_][A-Za-z0-9_]*|\$\{[^}]*\}|<<[^>]*>>`

// Unexpanded returns the first of them in a value, or "".
func Unexpanded(value string) string {
	if !strings.ContainsAny(value, "$<") {
		return "" // without a pattern that would have to be compiled
	}
	return regexp.MustCompile(leftover).FindString(value)
}
