package ini

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// What a line of an INI file is.
const (
	blank = iota // or a comment
	header
	option
	continuation // of an option's value
)

// line is one line of an INI file.
type textLine struct {
	kind       int
	number     int    // from 1
	start, end int    // in the file, line end included
	indent     string // the space before content
	content    string // without space around it
	name       string // of a header: what is between the brackets
	empty      bool   // it ends in the = or : after a key
}

// key returns what is before the first = or :, in lower case; "" if there is
// neither.
func (l textLine) key() string {
	i := strings.IndexAny(l.content, "=:")
	if i < 0 {
		return ""
	}
	return strings.ToLower(strings.TrimRightFunc(l.content[:i], isSpace))
}

// reader reads an INI file as botocore does, which is Python's
// configparser.RawConfigParser in strict mode, then botocore's own reading of
// nested settings. It refuses what they refuse, and what they and the SDK for
// Go would split into lines or sections differently.
type reader struct {
	text   string
	at     int
	number int

	sections map[string]int // by name, the line
	keys     map[string]int // of this section
	defaults map[string]int // of [DEFAULT], which may be there more than once
	current  map[string]int // keys or defaults; nil before the first header

	indent int  // of the last header or option
	option bool // a continuation has something to continue
	nested bool // the option's value is on the lines that follow
}

// next returns the next line; ok is false after the last.
func (r *reader) next() (line textLine, ok bool, err error) {
	if r.at == 0 {
		if err := r.begin(); err != nil {
			return line, false, err
		}
	}
	if r.at >= len(r.text) {
		return line, false, nil
	}
	r.number++
	line = textLine{number: r.number, start: r.at, end: len(r.text)}
	if i := strings.IndexByte(r.text[r.at:], '\n'); i >= 0 {
		line.end = r.at + i + 1
	}
	r.at = line.end
	text, ended := strings.CutSuffix(r.text[line.start:line.end], "\n")
	if ended {
		text = strings.TrimSuffix(text, "\r")
	}
	if strings.IndexByte(text, '\r') >= 0 {
		return line, false, badLine(line.number, "a carriage return within the line, which ends it for the AWS CLI alone").
			Hint("let every line end in LF or CR LF")
	}
	line.indent, line.content = cutIndent(text)
	if len(line.content) == 0 || line.content[0] == '#' || line.content[0] == ';' {
		return line, true, nil
	}
	return line, true, r.judge(&line)
}

// cutIndent splits a line into the space that it begins with and the rest,
// without the space at its end.
func cutIndent(text string) (indent, content string) {
	from, to := 0, len(text)
	for from < to && (text[from] == ' ' || text[from] == '\t') {
		from++
	}
	for to > from && (text[to-1] == ' ' || text[to-1] == '\t') {
		to--
	}
	// Letters and punctuation at both ends, as nearly always: no Unicode needed.
	if from < to && plain(text[from]) && plain(text[to-1]) {
		return text[:from], text[from:to]
	}
	right := strings.TrimLeftFunc(text, isSpace)
	return text[:len(text)-len(right)], strings.TrimRightFunc(right, isSpace)
}

func plain(c byte) bool { return c > ' ' && c < 0x7F }

// begin checks what concerns the file as a whole.
func (r *reader) begin() error {
	r.sections, r.keys, r.defaults = map[string]int{}, map[string]int{}, map[string]int{}
	if strings.HasPrefix(r.text, "\uFEFF") {
		return badLine(1, "the file begins with a byte order mark").
			Hint("save it as UTF-8 without one")
	}
	if !utf8.ValidString(r.text) {
		line := 1
		for rest := r.text; len(rest) > 0; {
			c, size := utf8.DecodeRuneInString(rest)
			if c == utf8.RuneError && size == 1 {
				break
			}
			if c == '\n' {
				line++
			}
			rest = rest[size:]
		}
		return badLine(line, "not valid UTF-8").Hint("save the file as UTF-8")
	}
	return nil
}

// judge says what a line is that is neither blank nor a comment.
func (r *reader) judge(line *textLine) error {
	indent := utf8.RuneCountInString(line.indent)
	line.empty = strings.IndexAny(line.content, "=:") == len(line.content)-1
	if r.option && indent > r.indent {
		line.kind = continuation
		return r.continuation(line)
	}
	r.indent = indent
	if line.content[0] == '[' {
		line.kind = header
		return r.header(line)
	}
	line.kind = option
	return r.optionLine(line)
}

func (r *reader) continuation(line *textLine) error {
	if goSees(line.content) {
		return badLine(line.number, "an indented section header: the AWS CLI takes the line for a part of the value before it, Go programs do not").
			Hint("remove the spaces at the start of line %d", line.number)
	}
	if !r.nested {
		return nil
	}
	for _, part := range strings.FieldsFunc(line.content, splitsLines) {
		if len(strings.TrimFunc(part, isSpace)) > 0 && strings.IndexByte(part, '=') < 0 {
			return badLine(line.number, "a nested setting without =").
				Hint("write it as `key = value`, or remove the line")
		}
	}
	return nil
}

func (r *reader) header(line *textLine) error {
	end := strings.LastIndexByte(line.content, ']')
	if end < 2 {
		return badLine(line.number, "a section header that is not closed, or empty").
			Hint("write it as [name]")
	}
	line.name = line.content[1:end]
	r.option = false
	if line.name == "DEFAULT" {
		r.current = r.defaults
		return nil
	}
	if first, ok := r.sections[line.name]; ok {
		return badLine(line.number, "this section is already on line %d, and the AWS CLI refuses the whole file", first).
			Hint("merge the two sections into one")
	}
	r.sections[line.name] = line.number
	clear(r.keys)
	r.current = r.keys
	return nil
}

func (r *reader) optionLine(line *textLine) error {
	if r.current == nil {
		return badLine(line.number, "a line before the first section").
			Hint("put a header such as [default] above it, or remove it")
	}
	sep := strings.IndexAny(line.content, "=:")
	if sep < 0 {
		return badLine(line.number, "neither a section, a setting nor a comment").
			Hint("write it as `key = value`, or put a # before it")
	}
	key := line.key()
	if key == "" {
		return badLine(line.number, "a setting without a key").
			Hint("write it as `key = value`, or remove the line")
	}
	if first, ok := r.current[key]; ok {
		return badLine(line.number, "this key is already on line %d of the same section, and the AWS CLI refuses the whole file", first).
			Hint("remove one of the two lines")
	}
	r.current[key] = line.number
	r.option = true
	r.nested = line.empty
	return nil
}

func badLine(number int, format string, args ...any) *fault.Error {
	return fault.New(fault.Local, "line %d: "+format, append([]any{number}, args...)...)
}

// isSpace is Python's str.isspace, which is Go's and four separators.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1C && r <= 0x1F }

// splitsLines says where Python's str.splitlines cuts, which botocore uses on
// nested settings.
func splitsLines(r rune) bool {
	switch r {
	case '\n', '\v', '\f', '\r', 0x1C, 0x1D, 0x1E, 0x85, 0x2028, 0x2029:
		return true
	}
	return false
}

// pythonReads says whether botocore takes a header for the wanted section. It
// splits those that begin with "profile" into words as a shell does, and takes
// the second for the name.
func pythonReads(name, want string) bool {
	if name == want {
		return true
	}
	profile, ok := strings.CutPrefix(want, "profile ")
	if !ok || !strings.HasPrefix(name, "profile") {
		return false
	}
	if !strings.Contains(name, profile) && !strings.ContainsAny(name, "\"'\\") {
		return false // nearly every one of thousands
	}
	words, ok := shellWords(name)
	return ok && len(words) == 2 && words[1] == profile
}

// shellWords is Python's shlex.split; ok is false for an open quote.
func shellWords(s string) (words []string, ok bool) {
	var word strings.Builder
	begun := false
	var quote byte
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quote == 0 && strings.IndexByte(" \t\r\n", c) >= 0:
			if begun {
				words = append(words, word.String())
				word.Reset()
				begun = false
			}
		case quote == 0 && (c == '"' || c == '\''):
			quote, begun = c, true
		case quote != 0 && c == quote:
			quote = 0
		case c == '\\' && quote != '\'':
			i++
			if i == len(s) {
				return nil, false
			}
			if quote == '"' && s[i] != '"' && s[i] != '\\' {
				word.WriteByte('\\')
			}
			word.WriteByte(s[i])
			begun = true
		default:
			word.WriteByte(c)
			begun = true
		}
	}
	if begun {
		words = append(words, word.String())
	}
	return words, quote == 0
}

// goHeader returns the two words of the section that the SDK for Go takes a
// line for, the first empty if there is only one: it cuts a comment off
// wherever it begins, and trims what is between the brackets.
func goHeader(content string) (kind, name string, ok bool) {
	if len(content) == 0 || content[0] != '[' {
		return "", "", false
	}
	for i, c := range content {
		if c == '#' || c == ';' {
			content = strings.TrimSpace(content[:i])
			break
		}
	}
	if content[len(content)-1] != ']' {
		return "", "", false
	}
	name = strings.TrimSpace(content[1 : len(content)-1])
	if i := strings.IndexAny(name, " \t"); i >= 0 {
		return name[:i], strings.TrimLeft(name[i:], " \t"), true
	}
	return "", name, true
}

func goSees(content string) bool {
	_, _, ok := goHeader(content)
	return ok
}

func goReads(content, want string) bool {
	kind, name, ok := goHeader(content)
	before, after, two := strings.Cut(want, " ")
	if !two {
		return ok && kind == "" && name == want
	}
	return ok && kind == before && name == after
}
