package cli

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"github.com/oidc-broker/oidc-broker/pkg/internal/shell"
)

// chosen returns which of an option's few values a text means: letter case does
// not matter, and a shell may be called by its own name.
func chosen(choices []string, text string) (string, bool) {
	for _, c := range choices {
		if strings.EqualFold(c, text) {
			return c, true
		}
	}
	if shell := shell.Named(text); slices.Contains(choices, shell) {
		return shell, true
	}
	return "", false
}

// wholeItems are the lists whose items may hold commas and white space. A flag
// and an item in YAML is one item, and line breaks and semicolons separate the
// items in a variable. All other lists are comma- or space-separated, in flags,
// variables and YAML alike.
var wholeItems = []string{"require-claim", "secret", "write", "external-id", "session-tag", "transitive-tag-key", "audience"}

// shellLike says whether the items of a list are words that can be quoted as for a shell:
// what is within quotes separates nothing.
func shellLike(option string) bool { return option == "secret" || option == "write" }

// statements splits a list of such items at line breaks and semicolons.
func statements(v string) ([]string, error) {
	read, err := shell.Statements(v, true)
	if err != nil {
		return nil, err
	}
	all := make([]string, len(read))
	for i, words := range read {
		for _, w := range words {
			all[i] += " " + w.Quote()
		}
		all[i] = strings.TrimPrefix(all[i], " ")
	}
	return all, nil
}

// separated says whether commas and white space separate the items of a list.
func separated(option string) bool { return !slices.Contains(wholeItems, option) }

// items splits a list at commas and white space. The names in an ARN may hold a
// comma, so that ARNs are separated by one only where the next begins. "$A,$B" of
// which one is not set is an error: one item less may be one guard less.
func items(v string) ([]string, error) {
	var all []string
	wanted := true // an item must come before the next comma, and before the end
	for _, part := range commas(v) {
		switch {
		case part == "," && wanted:
			return nil, errEmptyItem
		case part == ",":
			wanted = true
		default:
			all, wanted = append(all, part), false
		}
	}
	if wanted {
		return nil, errEmptyItem
	}
	return all, nil
}

var errEmptyItem = errors.New("an item of its list is empty")

// commas returns the items of a list, and the commas around them.
func commas(v string) []string {
	var all []string
	for _, word := range strings.FieldsFunc(v, unicode.IsSpace) {
		between := ","
		if strings.Contains(word, "arn:") {
			between = ",arn:"
		}
		for i, part := range strings.Split(word, between) {
			if i > 0 {
				all = append(all, ",")
				part = between[1:] + part
			}
			item := strings.TrimLeft(part, ",")
			before := len(part) - len(item)
			item = strings.TrimRight(item, ",")
			all = append(all, slices.Repeat([]string{","}, before)...)
			if item != "" {
				all = append(all, item)
			}
			all = append(all, slices.Repeat([]string{","}, len(part)-before-len(item))...)
		}
	}
	return all
}

// lineItems splits a list at line breaks and semicolons.
func lineItems(v string) []string { return lines(strings.ReplaceAll(v, ";", "\n")) }

// lines returns the lines that are not empty, trimmed.
func lines(v string) []string {
	var all []string
	for _, item := range strings.Split(v, "\n") {
		if item = strings.TrimSpace(item); item != "" {
			all = append(all, item)
		}
	}
	return all
}

// appendTo appends what was read for an item of a list in YAML: one item, or
// several where its text is a list itself.
func (s slot) appendTo(list reflect.Value) error {
	e, text := s.Addr().Interface().(interface{ itself() *entry })
	if !text {
		list.Set(reflect.Append(list, s.Value))
		return nil
	}
	all := lines(e.itself().text)
	switch {
	case shellLike(s.name):
		all = []string{e.itself().text}
	case separated(s.name):
		var err error
		if all, err = items(e.itself().text); err != nil {
			return misplaced(e.itself().at, "%s: %s", s.name, err)
		}
	}
	for _, one := range all {
		e.itself().text = one
		list.Set(reflect.Append(list, s.Value))
	}
	return nil
}

func (e *entry) itself() *entry { return e }
