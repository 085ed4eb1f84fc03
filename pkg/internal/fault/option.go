package fault

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// An Option is the name of an option in the arguments of a text: "role-arn". How the user
// gives it (a flag, a variable, a key of a file) is known to what read it alone, and that
// says so with Naming when it prints the text.
type Option string

// Naming is how options are called: given "role-arn", it returns "--role-arn", or
// AWS_ROLE_ARN. Nil: as they are.
type Naming func(Option) string

// Text returns the text of err.
func (n Naming) Text(err error) string {
	if named, ok := err.(interface{ Named(Naming) string }); ok { //nolint:errorlint // not what it wraps: that is a part of the text
		return named.Named(n)
	}
	return err.Error()
}

// Hints returns the hints of every Error in err's chain, outermost first.
func (n Naming) Hints(err error) []string {
	var all []string
	walk(err, func(e *Error) { all = n.add(all, e.hints) })
	return all
}

// Details returns the details of every Error in err's chain, outermost first.
func (n Naming) Details(err error) []string {
	var all []string
	walk(err, func(e *Error) { all = n.add(all, e.details) })
	return all
}

func (n Naming) add(all []string, messages []Message) []string {
	for _, m := range messages {
		all = append(all, m.Named(n))
	}
	return all
}

// A Message is a text that names options.
type Message struct {
	format string
	args   []any
}

// Messagef returns the message of a format and its arguments.
func Messagef(format string, args ...any) Message { return Message{format, args} }

// Fill returns the message of a template that a table holds: {--role-arn} in it is an
// option, and replace, where there is one, puts values into the rest.
func Fill(template string, replace *strings.Replacer) Message {
	put := func(text string) string { return text }
	if replace != nil {
		put = replace.Replace
	}
	var m Message
	from := 0
	for _, at := range regexp.MustCompile(`\{--([a-z0-9-]+)\}`).FindAllStringSubmatchIndex(template, -1) {
		m.format += "%s%s"
		m.args = append(m.args, put(template[from:at[0]]), Option(template[at[2]:at[3]]))
		from = at[1]
	}
	m.format += "%s"
	m.args = append(m.args, put(template[from:]))
	return m
}

// List returns options with a separator between them.
func List(separator string, options ...Option) Message {
	m := Message{format: strings.TrimPrefix(strings.Repeat(separator+"%s", len(options)), separator)}
	for _, o := range options {
		m.args = append(m.args, o)
	}
	return m
}

// each visits the arguments of the message, and of those that it is made of.
func (m Message) each(visit func(any)) {
	for _, arg := range m.args {
		if inner, ok := arg.(Message); ok {
			inner.each(visit)
			continue
		}
		visit(arg)
	}
}

// String returns the text with options by their names.
func (m Message) String() string { return m.Named(nil) }

// Named returns the text with options as names calls them.
func (m Message) Named(names Naming) string {
	args := make([]any, len(m.args))
	for i, arg := range m.args {
		switch v := arg.(type) {
		case Option:
			if names != nil {
				arg = names(v)
			}
		case interface {
			error
			Named(Naming) string
		}:
			arg = errors.New(v.Named(names))
		case interface{ Named(Naming) string }:
			arg = v.Named(names)
		}
		args[i] = arg
	}
	return fmt.Errorf(m.format, args...).Error()
}
