package ini

import (
	"bytes"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/oidc-broker/oidc-broker/pkg/internal/child"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
)

// Setting is one key of a section and the value to give it. The key is lower
// case; the value is UTF-8 without line breaks or surrounding space.
type Setting struct {
	Key   string
	Value secret.Value
}

// Change is a change of one section of an AWS INI file. Headers are the
// accepted spellings of what is between its brackets, of which the first is
// written when the section is new. Set is written as "key = value": in place
// of a line that has the key, else after the last one of the section. Remove
// names keys to take out, in lower case; they are found in any.
type Change struct {
	Headers []string
	Set     []Setting
	Remove  []string
	// End is when what is set expires, for the record; zero if it does not.
	End time.Time
}

// ProfileName returns nil for a name that every AWS SDK finds again in the
// files that Change.Edit writes, and a fault.Usage that says why for another.
func ProfileName(name string) error {
	bad := func(why string) error {
		return fault.New(fault.Usage, "%q cannot be a profile's name: %s", name, why).
			Hint("use letters, digits and _.@/+=,:%%-, and no - at the start")
	}
	switch {
	case name == "":
		return bad("it is empty")
	case name[0] == '-':
		return bad("tools would take it for a flag")
	case name == "DEFAULT":
		// Python's ini parser gives the keys of [DEFAULT] to every section.
		return bad("the AWS CLI would give its keys to every profile")
	}
	for _, r := range name {
		switch {
		case r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9':
		case strings.ContainsRune("_.@/+=,:%-", r):
		case r == '#' || r == ';':
			return bad("Terraform and other Go programs would add its keys to the profile above it")
		case r == '[' || r == ']':
			return bad("brackets end a section's header")
		case isSpace(r):
			return bad("the AWS CLI and Go programs write spaces in different ways")
		case r == '"' || r == '\'' || r == '\\':
			return bad("the AWS CLI takes quotes and backslashes away, Go programs do not")
		default:
			return bad("it has a character that not every AWS SDK accepts")
		}
	}
	return nil
}

// Edit returns old with the change made, and every byte that is not its own
// kept: comments, order, spacing, nested settings, line ends. A section that
// is missing is appended, if there is anything to set. Editing twice is
// editing once. A file that botocore, the strictest of the SDKs, refuses, or
// of which the SDKs would read our section differently, is a fault.Local that
// names the line. A key or value that no file can hold is a fault.Internal.
func (s Change) Edit(old []byte) ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	own, err := s.find(old)
	if err != nil {
		return nil, err
	}
	if own == nil {
		return s.append(old), nil
	}
	return s.rewrite(old, own)
}

// check judges what is to be written.
func (s Change) check() error {
	if len(s.Headers) == 0 {
		return fault.New(fault.Internal, "a section without a header")
	}
	seen := map[string]bool{}
	for _, set := range s.Set {
		if !child.IsName(set.Key) || set.Key != strings.ToLower(set.Key) || seen[set.Key] {
			return fault.New(fault.Internal, "%q cannot be a key to set", set.Key)
		}
		seen[set.Key] = true
		if why := refuseINI(set.Value.Reveal()); why != "" {
			// No user wrote it: callers hold regions and keys against what they
			// consist of.
			return fault.New(fault.Internal, "a profile cannot hold the value of %s: %s", set.Key, why)
		}
	}
	return nil
}

// refuseINI says which values the SDKs do not read as they were written.
func refuseINI(value string) string {
	if !utf8.ValidString(value) {
		return "it is not valid UTF-8"
	}
	if strings.TrimFunc(value, isSpace) != value {
		return "it starts or ends with a space"
	}
	for _, r := range value {
		switch {
		case r == '\n' || r == '\r':
			return "it contains a line break"
		case r < ' ' && r != '\t' || r == 0x7F:
			return "it contains a control character"
		}
	}
	for _, mark := range []string{" #", " ;", "\t#", "\t;"} {
		if strings.Contains(value, mark) {
			return "Go programs take # or ; after a space for a comment"
		}
	}
	if n := len(value); n > 0 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
		return "Go programs would take the quotes around it away"
	}
	return ""
}

// A block is our section as it is in the file.
type block struct {
	header  textLine
	lines   []textLine // what follows the header, up to the next one
	end     int        // where the next section begins
	indent  string     // of the line that begins it
	rewrite string     // what the header must say instead, if it must
}

// find reads the whole file strictly, and returns our section or nil.
func (s Change) find(text []byte) (*block, error) {
	var own *block
	inside, leaking := false, false
	r := reader{text: string(text)}
	for {
		line, ok, err := r.next()
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		switch {
		case line.kind == header:
			leaking = (inside || leaking) && !goSees(line.content)
			if inside {
				own.end, own.indent = line.start, line.indent
			}
			spelling, both := s.match(line)
			inside = spelling != ""
			if !inside {
				continue
			}
			if own != nil {
				return nil, badLine(line.number, "the section %q is there already on line %d, in another spelling", spelling, own.header.number).
					Hint("merge the two sections into one")
			}
			own = &block{header: line, end: len(text)}
			if !both {
				own.rewrite = spelling
			}
		case inside:
			if err := s.readAlike(line, r.nested); err != nil {
				return nil, err
			}
			own.lines = append(own.lines, line)
		case leaking && line.kind != blank && !(line.kind == continuation && r.nested) && s.owns(line.key()):
			return nil, badLine(line.number, "Go programs read this key as one of the profile on line %d, since they do not accept the header before it", own.header.number).
				Hint("give the section above line %d a name without # ; or text after its bracket, or move it to the start of the file", line.number)
		}
	}
	return own, nil
}

// readAlike refuses a line of our section that is a key of ours to one SDK and
// a part of another key's value to the other.
func (s Change) readAlike(line textLine, nested bool) error {
	if line.kind == continuation && !nested && s.owns(line.key()) {
		return badLine(line.number, "an indented key: the AWS CLI takes the line for a part of the value before it, Go programs do not").
			Hint("remove the spaces at the start of line %d", line.number)
	}
	return nil
}

// owns says whether the key is one that the edit sets or removes.
func (s Change) owns(key string) bool { return s.setting(key) >= 0 || s.removes(key) }

func (s Change) setting(key string) int {
	for i := range s.Set {
		if s.Set[i].Key == key {
			return i
		}
	}
	return -1
}

func (s Change) removes(key string) bool { return slices.Contains(s.Remove, key) }

// match returns the accepted spelling that either SDK takes the header for,
// and whether both do. Only the AWS CLI sees [profile "x"] as x, and only Go
// programs see [ x ] as x.
func (s Change) match(line textLine) (spelling string, both bool) {
	for _, want := range s.Headers {
		python, golang := pythonReads(line.name, want), goReads(line.content, want)
		if python || golang {
			return want, python && golang
		}
	}
	return "", false
}

// append adds a new section at the end.
func (s Change) append(old []byte) []byte {
	if len(s.Set) == 0 {
		return old
	}
	eol := eolOf(old)
	out := make([]byte, 0, len(old)+1024)
	out = append(out, old...)
	if len(out) > 0 && out[len(out)-1] != '\n' {
		out = append(out, eol...)
	}
	out = append(out, "["+s.Headers[0]+"]"+eol...)
	for _, set := range s.Set {
		out = append(out, set.line("", eol)...)
	}
	return out
}

// line returns the setting as it is written.
func (s Setting) line(indent, eol string) string {
	line := indent + s.Key + " = " + s.Value.Reveal()
	return strings.TrimRight(line, " ") + eol // an empty value leaves no space at the end
}

// rewrite returns the file with our section changed.
func (s Change) rewrite(old []byte, own *block) ([]byte, error) {
	out := make([]byte, 0, len(old)+1024)
	out = append(out, old[:own.header.start]...)
	header, err := s.header(old, own)
	if err != nil {
		return nil, err
	}
	out = append(out, header...)

	// Where new keys go, and how far in: as far as the last key, or, where
	// there is none, as the header that follows. Python takes a line that is
	// further in than the one before for a part of its value.
	at, indent := len(out), own.indent
	written := make([]bool, len(s.Set))
	dropping := false // the value of a key that is gone goes with it
	var last textLine // the key before for Go programs, of those that stay
	for _, line := range own.lines {
		raw := old[line.start:line.end]
		switch line.kind {
		case option:
			indent = line.indent
			i := s.setting(line.key())
			dropping = i >= 0 || s.removes(line.key())
			if i >= 0 {
				if err := nestedForGo(last, indent); err != nil {
					return nil, err
				}
				written[i] = true
				out = append(out, s.Set[i].line(line.indent, eolAt(raw))...)
			} else if !dropping {
				out = append(out, raw...)
				if !last.empty || len(line.indent) == 0 {
					last = line
				}
			}
			at = len(out)
		case continuation:
			if !dropping {
				out = append(out, raw...)
				if !last.empty {
					last = line
				}
			}
			at = len(out)
		default:
			out = append(out, raw...)
		}
	}
	if slices.Contains(written, false) {
		if err := nestedForGo(last, indent); err != nil {
			return nil, err
		}
	}
	return append(s.insert(out, at, indent, written), old[own.end:]...), nil
}

// nestedForGo refuses to write an indented key after one without a value:
// Go programs take it for a part of that value, however far in it is.
func nestedForGo(last textLine, indent string) error {
	if !last.empty || len(indent) == 0 {
		return nil
	}
	return badLine(last.number, "Go programs take the indented keys after this one for its value").
		Hint("remove the spaces at the start of the section's keys, but for nested ones")
}

// insert adds the settings that are not written yet.
func (s Change) insert(out []byte, at int, indent string, written []bool) []byte {
	eol := eolOf(out[:at])
	var add []byte
	for i, set := range s.Set {
		if !written[i] {
			add = append(add, set.line(indent, eol)...)
		}
	}
	if len(add) > 0 && out[at-1] != '\n' {
		add = append([]byte(eol), add...)
	}
	rest := append([]byte(nil), out[at:]...)
	return append(append(out[:at], add...), rest...)
}

// header returns the section's first line. Where only one of the SDKs would
// find the profile, what is between the brackets is written anew.
func (s Change) header(old []byte, own *block) ([]byte, error) {
	h := own.header
	raw := old[h.start:h.end]
	if own.rewrite == "" {
		return raw, nil
	}
	inner := len(h.indent) + len("[")
	fresh := []byte(string(raw[:inner]) + own.rewrite + string(raw[inner+len(h.name):]))
	r := reader{text: string(fresh)}
	line, _, err := r.next()
	// A bracket within: a comment that Python takes for a part of the name.
	if err == nil && strings.IndexByte(h.name, ']') < 0 {
		if _, both := s.match(line); both {
			return fresh, nil
		}
	}
	return nil, badLine(h.number, "the SDKs read this section's header differently").
		Hint("write it as [%s], with nothing after the bracket", own.rewrite)
}

// eolOf returns the line end that text ends with or, if its last line has
// none, that of the line before.
func eolOf(text []byte) string {
	return eolAt(text[:bytes.LastIndexByte(text, '\n')+1])
}

func eolAt(line []byte) string {
	switch {
	case bytes.HasSuffix(line, []byte("\r\n")):
		return "\r\n"
	case len(line) > 0 && line[len(line)-1] != '\n':
		return ""
	}
	return "\n"
}

// LikelyProfile is false for what is no profile's name, and for what may be a key that
// somebody took for one: those are not shown.
func LikelyProfile(name string) bool {
	return ProfileName(name) == nil && len(name) <= 36 && !secret.HasCredentials(name)
}
