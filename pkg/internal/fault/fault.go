// Package fault names the kinds of failure the program tells apart, which are
// its exit codes, and carries the hints that say what to do next.
//
// An error is made where the cause is known and travels untouched to the one
// place that prints it.
package fault

import (
	"context"
	"errors"
	"fmt"
)

// A Kind says whose move it is after a failure. Its value is the exit code.
type Kind int

// The kinds, by exit code. 0 is success and no kind.
const (
	Internal    Kind = 1 // a bug of ours
	Usage       Kind = 2 // the command line or its environment
	Token       Kind = 3 // the OpenID Connect token is missing, malformed or expired
	Refused     Kind = 4 // a cloud or a policy said no
	Unavailable Kind = 5 // tried again, in vain
	Local       Kind = 6 // this machine: files, locks, child processes
)

// Error is a failure with its kind and the hints that go with it. Functions
// return it as error, never as *Error: a typed nil is not nil.
type Error struct {
	kind    Kind
	err     error
	cause   error // beside what err wraps
	args    []any
	hints   []string
	details []string
}

// New returns an error of the given kind. The text follows fmt.Errorf, %w
// included: lower case, no full stop, what could not be done and then why.
func New(kind Kind, format string, args ...any) *Error {
	return &Error{kind: kind, err: fmt.Errorf(format, args...), args: args}
}

// Hint adds a line that says what to do next, and returns e.
func (e *Error) Hint(format string, args ...any) *Error {
	e.hints = append(e.hints, fmt.Sprintf(format, args...))
	return e
}

// Detail adds a line for --verbose: what is too long for the log of a failed job, as
// a whole command, or seldom needed. It returns e.
func (e *Error) Detail(format string, args ...any) *Error {
	e.details = append(e.details, fmt.Sprintf(format, args...))
	return e
}

// Error returns the text without the hints.
func (e *Error) Error() string { return e.err.Error() }

// Cause adds what errors.As is to find, such as the error of a client library that a
// Go program knows, and returns e. Its text is not printed.
func (e *Error) Cause(err error) *Error {
	e.cause = err
	return e
}

// Unwrap returns the wrapped cause, if the text named one with %w, and that of Cause.
func (e *Error) Unwrap() error {
	wrapped := errors.Unwrap(e.err)
	if e.cause == nil {
		return wrapped
	}
	return errors.Join(wrapped, e.cause)
}

// Status returns what the program ends with after this error. Go programs
// that use the packages tell failures apart by it.
func (e *Error) Status() int { return int(e.kind) }

// Hints returns what to do next, for the same programs.
func (e *Error) Hints() []string { return Hints(e) }

// Kind returns the kind of failure.
func (e *Error) Kind() Kind { return e.kind }

// KindOf returns the kind of the outermost Error in err's chain. An error
// without one is Internal, but for a deadline that passed or an interrupt:
// those are Unavailable.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.kind
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return Unavailable
	}
	return Internal
}

// Hints returns the hints of every Error in err's chain, outermost first.
func Hints(err error) []string {
	return collect(err, func(e *Error) []string { return e.hints })
}

// Arguments returns the strings that the texts of the Errors in err's chain were made
// of, such as paths: what prints an error may know more about one.
func Arguments(err error) []string {
	return collect(err, func(e *Error) []string {
		var named []string
		for _, arg := range e.args {
			if s, ok := arg.(string); ok {
				named = append(named, s)
			}
		}
		return named
	})
}

// Details returns the details of every Error in err's chain, outermost first.
func Details(err error) []string {
	return collect(err, func(e *Error) []string { return e.details })
}

func collect(err error, of func(*Error) []string) []string {
	var all []string
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			return all
		}
		all = append(all, of(e)...)
		err = e.Unwrap()
	}
	return all
}
