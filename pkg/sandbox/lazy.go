package sandbox

import (
	"regexp"
	"sync"
)

// lazy compiles a pattern at its first use. Every command of the program would
// otherwise pay for the sandbox's patterns at its start.
func lazy(pattern string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) })
}
