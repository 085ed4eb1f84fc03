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

// A Kind says who must act after a failure. Its value is the exit code.
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
	message Message
	option  Option
	value   string
	hints   []Message
	details []Message
}

// New returns an error of the given kind. The text follows fmt.Errorf, %w
// included: lower case, no full stop, what could not be done and then why. The error is
// about the first Option among the arguments, unless Option says otherwise.
func New(kind Kind, format string, args ...any) *Error {
	m, first := Message{format, args}, Option("")
	m.each(func(arg any) {
		if o, ok := arg.(Option); ok && first == "" {
			first = o
		}
	})
	return &Error{kind: kind, err: fmt.Errorf(format, args...), message: m, option: first}
}

// Option says which option the error is about, by its name, and returns e.
func (e *Error) Option(name Option) *Error {
	e.option = name
	return e
}

// Value says which value of the option the error is about, where it is a list, and
// returns e.
func (e *Error) Value(value string) *Error {
	e.value = value
	return e
}

// Hint adds a line that says what to do next, and returns e.
func (e *Error) Hint(format string, args ...any) *Error {
	e.hints = append(e.hints, Message{format, args})
	return e
}

// Detail adds a line for --verbose: what is too long for the log of a failed job, as
// a whole command, or seldom needed. It returns e.
func (e *Error) Detail(format string, args ...any) *Error {
	e.details = append(e.details, Message{format, args})
	return e
}

// HintsOf adds the hints and the details of another error, and returns e.
func (e *Error) HintsOf(err error) *Error {
	walk(err, func(other *Error) {
		e.hints = append(e.hints, other.hints...)
		e.details = append(e.details, other.details...)
	})
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

// Named returns the text with options as names calls them.
func (e *Error) Named(names Naming) string { return e.message.Named(names) }

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

// OptionOf returns the option that err is about, and the value of it, where that is
// known: those of the outermost Error in its chain that has one.
func OptionOf(err error) (name Option, value string) {
	walk(err, func(e *Error) {
		if name == "" {
			name = e.option
		}
		if value == "" {
			value = e.value
		}
	})
	return name, value
}

// About says that err is about an option, and about this value of it ("": not known),
// unless it says so itself.
func About(err error, name Option, value string) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	if of, its := OptionOf(err); of == "" {
		e.option, e.value = name, value
	} else if of == name && its == "" {
		e.value = value
	}
	return err
}

// Hints returns the hints of every Error in err's chain, outermost first.
func Hints(err error) []string { return Naming(nil).Hints(err) }

// Details returns the details of every Error in err's chain, outermost first.
func Details(err error) []string { return Naming(nil).Details(err) }

// Arguments returns the strings that the texts of the Errors in err's chain were made
// of, such as paths, and the options that they name: what prints an error may know more
// about one.
func Arguments(err error) (values []string, options []Option) {
	walk(err, func(e *Error) {
		e.message.each(func(arg any) {
			switch v := arg.(type) {
			case string:
				values = append(values, v)
			case Option:
				options = append(options, v)
			}
		})
	})
	return values, options
}

// walk visits every Error in err's chain, outermost first.
func walk(err error, visit func(*Error)) {
	var e *Error
	for err != nil && errors.As(err, &e) {
		visit(e)
		err = e.Unwrap()
	}
}
