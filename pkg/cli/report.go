package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/oidc-broker/oidc-broker/pkg/internal/child"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// childEnded prints why a child could not be run, if that is what happened,
// and returns its status. What the child itself had to say it has said.
func (a *app) childEnded(err error, ended *child.ExitError) int {
	if reason := ended.Reason(); reason != "" {
		a.failed(reason, a.hints(err), map[string]bool{})
	}
	return ended.Code
}

// failed prints an error and its first hints, --verbose all of them. printed are
// the hints that were printed before: several targets fail for one reason.
func (a *app) failed(text string, hints []string, printed map[string]bool) {
	a.say("error", text)
	n := 0
	for _, h := range hints {
		if printed[h] {
			continue
		}
		if n++; n > mostHints && !a.verbose {
			return
		}
		printed[h] = true
		a.say("hint", h)
	}
}

// note tells what was changed on the user's behalf.
func (a *app) note(text string) {
	if !a.quiet {
		a.say("note", text)
	}
}

// noteOnce tells it once, however often it comes up.
func (a *app) noteOnce(text string) {
	if a.noted[text] {
		return
	}
	if a.noted == nil {
		a.noted = map[string]bool{}
	}
	a.noted[text] = true
	a.note(text)
}

// progress tells what is done, with --verbose.
func (a *app) progress(format string, args ...any) {
	if a.verbose && !a.quiet {
		for i, arg := range args {
			if err, ok := arg.(error); ok {
				args[i] = a.text(err)
			}
		}
		_, _ = fmt.Fprintf(a.Stderr, "oidc-broker: %s\n", clean(fmt.Sprintf(format, args...)))
	}
}

// say prints one line. That of an error or a hint is short, but with --verbose. A stderr that cannot be written
// leaves no place to report it.
func (a *app) say(noun, text string) {
	line := "oidc-broker: " + noun + ": " + clean(text)
	if !a.verbose && noun != "note" {
		line = fit(line)
	}
	_, _ = fmt.Fprintln(a.Stderr, line)
}

// jwtLike is a token that found its way into a text in spite of all: the
// places that make the texts take it out, this is the last one that can.
const jwtLike = `eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?`

// clean makes a text one line that a terminal shows as it is: servers, branch
// names and file names may hold escape sequences.
func clean(text string) string {
	if strings.Contains(text, "eyJ") {
		text = regexp.MustCompile(jwtLike).ReplaceAllString(text, "[secret]")
	}
	return printable(text)
}

func printable(text string) string {
	plain := true
	for _, r := range text {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			plain = false
			break
		}
	}
	if plain {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\n', r == '\t':
			b.WriteByte(' ')
		case unicode.IsPrint(r) && r != utf8.RuneError:
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// result prints a command's whole output.
func (a *app) result(b []byte) error {
	if _, err := a.Stdout.Write(b); err != nil {
		return fault.New(fault.Local, "cannot write to standard output: %w", unwrapPath(err))
	}
	return nil
}

// jsonResult prints a value as JSON in ASCII: a branch's name may hold what a
// terminal obeys, and JSON leaves the control characters beyond ASCII as they are.
func (a *app) jsonResult(v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fault.New(fault.Internal, "cannot write JSON")
	}
	var ascii strings.Builder
	for _, r := range string(b) {
		if r < 0x7f {
			ascii.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&ascii, `\u%04x`, unit)
		}
	}
	ascii.WriteByte('\n')
	return a.result([]byte(ascii.String()))
}

// refuseTerminal keeps secrets off a terminal: there they would stay on the
// screen, in the scrollback and in a recording. instead says what to do.
func (a *app) refuseTerminal(toTerminal bool, instead ...string) error {
	if toTerminal || !terminal(a.Stdout) {
		return nil
	}
	e := fault.New(fault.Usage, "the output holds secrets, and standard output is a terminal")
	for _, h := range instead {
		e.Hint("%s", h)
	}
	return e.Hint("to print them anyway: --print-to-terminal")
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func unwrapPath(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

func lowerFirst(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToLower(r)) + s[n:]
}
