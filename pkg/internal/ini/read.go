package ini

import (
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
)

// Section is one section of an AWS file.
type Section struct {
	Name     string // between the brackets
	Line     int
	Settings []Entry
}

// Entry is one of its settings. A value that goes on over further lines, as
// nested settings do, is here as far as its first line goes.
type Entry struct {
	Key   string // in lower case
	Value secret.Value
	Line  int
}

// ReadINI reads an AWS file as botocore, the strictest of the SDKs, does. One
// that it refuses, or that the SDKs would take apart differently, is a fault.Local
// that names the line; the sections before it come with it.
func ReadINI(text []byte) ([]Section, error) {
	var all []Section
	r := reader{text: string(text)}
	for {
		line, ok, err := r.next()
		if err != nil || !ok {
			return all, err
		}
		switch line.kind {
		case header:
			all = append(all, Section{Name: line.name, Line: line.number})
		case option:
			last := &all[len(all)-1] // the reader refuses an option before the first header
			last.Settings = append(last.Settings, Entry{Key: line.key(), Value: secret.New(line.value()), Line: line.number})
		}
	}
}

// ConfigProfile returns the profile that botocore takes a header of the config
// file for; ok is false for a section that is none.
func ConfigProfile(header string) (name string, ok bool) {
	if header == "default" {
		return header, true
	}
	if !strings.HasPrefix(header, "profile") {
		return "", false
	}
	words, ok := shellWords(header)
	if !ok || len(words) != 2 {
		return "", false
	}
	return words[1], true
}

// Words splits a command line as botocore does, which runs credential_process
// without a shell; ok is false for an open quote.
func Words(line string) (words []string, ok bool) { return shellWords(line) }
