package shell

import (
	"bytes"
	"slices"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/child"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/ini"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/pkg/internal/undo"
)

// The first and the last line of a block are these around its name.
const (
	beginMark, beginEnd = "# >>> oidc-broker ", " >>>"
	endMark, endEnd     = "# <<< oidc-broker ", " <<<"
)

// BashEnv returns the edit that makes e the content of the named block of the
// file, which bash reads before each script: replaced where it stands, else
// appended. An Environment without anything in it takes the block out. All
// other bytes are kept. block is printable ASCII, such as "aws" or "aws deploy".
// Applying it, a block without its end, two of the same name or one within
// another is a fault.Local that names the line.
func BashEnv(path, block string, e child.Environment) files.Edit {
	var secrets []secret.Value
	for _, v := range e.Set {
		secrets = append(secrets, v.Value)
	}
	return files.Edit{
		Path:    path,
		Private: true,
		Mark:    undo.Mark{Note: undo.Note{Kind: blockMark, Values: map[string]string{"name": block}}, Secrets: undo.Digests(secrets...)},
		Apply:   func(old []byte) ([]byte, error) { return editBlock(old, block, e) },
	}
}

func editBlock(old []byte, block string, e child.Environment) ([]byte, error) {
	if !isBlockName(block) {
		return nil, fault.New(fault.Internal, "%q cannot be the name of a block", block)
	}
	body, err := Render("sh", e)
	if err != nil {
		return nil, err
	}
	if len(body) > 0 {
		// bash takes the CR of a CRLF line for a part of the value, so a block
		// has plain newlines whatever its neighbours have.
		body = []byte(beginMark + block + beginEnd + "\n" + string(body) + endMark + block + endEnd + "\n")
	}
	start, end, err := findBlock(old, block)
	if err != nil {
		return nil, err
	}
	if start < 0 {
		if len(body) == 0 {
			return old, nil
		}
		start, end = len(old), len(old)
		if len(old) > 0 && old[len(old)-1] != '\n' {
			body = append([]byte("\n"), body...)
		}
	}
	out := make([]byte, 0, len(old)+len(body))
	out = append(out, old[:start]...)
	out = append(out, body...)
	return append(out, old[end:]...), nil
}

// findBlock returns where the named block lies in text, its markers included;
// start is -1 if it is not there. The markers of other blocks are checked too:
// writing in between them would hand our block to whoever replaces theirs.
func findBlock(text []byte, block string) (start, end int, err error) {
	start = -1
	var open string // the block that we are in
	openLine, openAt := 0, 0
	for at, number := 0, 1; at < len(text); number++ {
		next := len(text)
		if i := bytes.IndexByte(text[at:], '\n'); i >= 0 {
			next = at + i + 1
		}
		line := bytes.TrimRight(text[at:next], "\r\n")
		if name, ok := marked(line, beginMark, beginEnd); ok {
			if open != "" {
				return 0, 0, badBlock(number, "block %q begins within block %q, which began on line %d", name, open, openLine)
			}
			if name == block && start >= 0 {
				return 0, 0, badBlock(number, "block %q begins a second time", name)
			}
			open, openLine, openAt = name, number, at
		} else if name, ok := marked(line, endMark, endEnd); ok {
			if name != open {
				return 0, 0, fault.New(fault.Local, "line %d: block %q ends without having begun", number, name).
					Hint("remove line %d and the 'export' and 'unset' lines of the block above it, and run the command again", number)
			}
			if name == block {
				start, end = openAt, next
			}
			open = ""
		}
		at = next
	}
	if open != "" {
		return 0, 0, fault.New(fault.Local, "line %d: block %q has no end", openLine, open).
			Hint("remove line %d and the 'export' and 'unset' lines of the block below it, and run the command again", openLine)
	}
	return start, end, nil
}

// maxBashEnv bounds what HasBlock reads; a file that BashEnv edits is no larger.
const maxBashEnv = 64 << 20

// HasBlock reports whether the file holds a block of ours with that name, ""
// for one of any name. What is missing or cannot be read has none.
func HasBlock(path, block string) bool {
	text, err := files.Read(path, maxBashEnv)
	if err != nil {
		return false
	}
	// The first line is enough: bash runs a block that has lost its end, too.
	for line := range bytes.Lines(text) {
		name, ok := marked(bytes.TrimRight(line, "\r\n"), beginMark, beginEnd)
		if ok && (block == "" || name == block) {
			return true
		}
	}
	return false
}

// BlockValue returns a variable's value from a block that BashEnv wrote, or an
// empty one where it is not there, or is of more than one line.
func BlockValue(path, block, name string) secret.Value {
	if !HasBlock(path, block) {
		return secret.Value{}
	}
	text, err := files.Read(path, maxBashEnv)
	if err != nil {
		return secret.Value{}
	}
	start, end, err := findBlock(text, block)
	if err != nil || start < 0 {
		return secret.Value{}
	}
	for line := range bytes.Lines(text[start:end]) {
		rest, ok := bytes.CutPrefix(line, []byte("export "+name+"='"))
		if !ok {
			continue
		}
		if value, ok := bytes.CutSuffix(rest, []byte("'\n")); ok && bytes.IndexByte(value, '\'') < 0 {
			return secret.New(string(value))
		}
	}
	return secret.Value{}
}

func badBlock(line int, format string, args ...any) error {
	return fault.New(fault.Local, "line %d: "+format, append([]any{line}, args...)...).
		Hint("remove the lines from `%sNAME%s` to `%sNAME%s`, and run the command again", beginMark, beginEnd, endMark, endEnd)
}

// marked returns the name between the two halves of a marker.
func marked(line []byte, before, after string) (string, bool) {
	rest, ok := bytes.CutPrefix(line, []byte(before))
	if !ok {
		return "", false
	}
	rest, ok = bytes.CutSuffix(rest, []byte(after))
	name := string(rest)
	return name, ok && isBlockName(name)
}

func isBlockName(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}

// Blocks returns the names of our blocks in the text of a $BASH_ENV, in order. A
// block that lost its end, or is there twice, is a fault.Local that names the line:
// no command would change the file any more.
func Blocks(text []byte) ([]string, error) {
	var names []string
	for line := range bytes.Lines(text) {
		if name, ok := marked(bytes.TrimRight(line, "\r\n"), beginMark, beginEnd); ok {
			names = append(names, name)
		}
	}
	for _, name := range names {
		if _, _, err := findBlock(text, name); err != nil {
			return names, err
		}
	}
	return names, nil
}

// MaxBashEnv bounds what is read of $BASH_ENV.
const MaxBashEnv = 8 << 20

// LaterVariables returns the variables that lines of $BASH_ENV outside of our blocks set
// in later steps; where it has the block, those behind it.
func LaterVariables(path, block string) map[string]string {
	text, err := files.Head(path, MaxBashEnv)
	if err != nil {
		return nil // bash reads nothing, either
	}
	has := HasBlock(path, block)
	lines := map[string]string{}
	for name, e := range Exported(text) {
		if e.AfterBlock || !has {
			lines[name] = e.Value.Reveal()
		}
	}
	return lines
}

// Exported returns the variables that lines of a $BASH_ENV outside of our blocks
// export or assign, and that no later line unsets. It is a look, not a shell: what is
// computed or within quotes over several lines it may take for what it is not.
func Exported(text []byte) map[string]Export {
	all := map[string]Export{}
	inside, after, number := false, false, 0
	for line := range bytes.Lines(text) {
		number++
		line = bytes.TrimRight(line, "\r\n")
		if _, ok := marked(line, beginMark, beginEnd); ok {
			inside = true
		} else if _, ok := marked(line, endMark, endEnd); ok {
			inside, after = false, true
		}
		if inside {
			continue
		}
		for _, command := range commands(string(line)) {
			unset := command[0] == "unset"
			for _, word := range command {
				name, value, assigned := strings.Cut(word, "=")
				switch {
				case !child.IsName(name):
				case unset:
					delete(all, name)
				case assigned:
					all[name] = Export{Line: number, AfterBlock: after, Value: secret.New(value)}
				}
			}
		}
	}
	return all
}

// commands are the words of those commands in a line that set or unset variables.
func commands(line string) [][]string {
	words, ok := ini.Words(line)
	if !ok { // a quote that a later line closes
		line, _, _ = strings.Cut(line, "=")
		words = strings.Fields(line + "=")
	}
	var all [][]string
	var command []string
	end := func() {
		if sets(command) {
			all = append(all, command)
		}
		command = nil
	}
	for _, word := range words {
		if strings.HasPrefix(word, "#") {
			break
		}
		before, ends := strings.CutSuffix(word, ";")
		if ends = ends || word == "&&" || word == "||"; !ends || before != word {
			command = append(command, before)
		}
		if ends {
			end()
		}
	}
	end()
	return all
}

// sets says whether a command sets or unsets variables of the shell.
func sets(command []string) bool {
	if len(command) == 0 {
		return false
	}
	return slices.Contains([]string{"export", "declare", "typeset", "unset"}, command[0]) ||
		!slices.ContainsFunc(command, func(word string) bool {
			name, _, assigned := strings.Cut(word, "=")
			return !assigned || !child.IsName(name)
		})
}

// Export is where a variable is set.
type Export struct {
	Line       int          // the last that sets it
	AfterBlock bool         // a block of ours ends before it
	Value      secret.Value // as it is written: what the shell computes is not known here
}

// The kind of a block's mark in the record for cleanup.
const blockMark = "block"

// BlockMarkers returns what knows the marks of blocks.
func BlockMarkers() map[string]undo.Marker {
	return map[string]undo.Marker{blockMark: blockMarker{}}
}

// blockMarker knows the blocks in $BASH_ENV. What is between our markers is ours,
// whatever it is.
type blockMarker struct{}

func (blockMarker) Remove(marks []map[string]string, text, _ []byte) (got []byte, whole bool, err error) {
	for _, m := range marks {
		if text, err = editBlock(text, m["name"], child.Environment{}); err != nil {
			return nil, false, err
		}
	}
	return text, true, nil
}
