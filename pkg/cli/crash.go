package cli

import (
	"fmt"
	"path"
	"runtime"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// mostFrames is how many calls of a crash are printed: the innermost say where.
const mostFrames = 24

// crashed reports a panic of the goroutine that runs the command. Go's own way out
// would be exit code 2, which says that the command line is wrong, and would print
// the value of the panic, which may be a text with a secret in it, and the words of
// memory that the functions were called with. Here are only their names and lines.
func (a *app) crashed(value any) int {
	status := a.report(fault.New(fault.Internal, "a bug ended the command: %s", crashText(value)).
		Hint("please report it with the lines below; they hold no secret"))
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for printed := 0; printed < mostFrames; {
		f, more := frames.Next()
		if f.Function != "" && !strings.HasPrefix(f.Function, "runtime.") {
			a.say("at", fmt.Sprintf("%s (%s:%d)", f.Function, path.Base(f.File), f.Line))
			printed++
		}
		if !more {
			break
		}
	}
	return status
}

// crashText is what may be said of a panic: the runtime's own errors hold numbers and
// names of types, anything else is somebody's text.
func crashText(value any) string {
	if own, ok := value.(runtime.Error); ok {
		return own.Error()
	}
	return fmt.Sprintf("a panic with a %T", value)
}
