package shell

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/oidc-broker/oidc-broker/pkg/internal/child"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// A dialect is how one shell writes a variable so that it reads it back
// unchanged.
type dialect struct {
	set    func(name, value string) string
	unset  func(name string) string  // nil: the form has no such thing
	refuse func(value string) string // why the shell cannot hold the value, or ""
}

// Shells returns the names that Render knows.
func Shells() []string {
	return []string{"sh", "fish", "powershell", "cmd", "dotenv", "json"}
}

// otherShells are the names of shells that read what another one reads.
var otherShells = map[string]string{
	"bash": "sh", "zsh": "sh", "dash": "sh", "ksh": "sh", "ksh93": "sh", "mksh": "sh", "ash": "sh", "busybox": "sh", "posix": "sh",
	"pwsh": "powershell",
}

// Named returns which of Shells a name means, as people write it: bash,
// /bin/zsh, PowerShell, pwsh.exe. A name that is unknown is returned as it is.
func Named(name string) string {
	base := name[strings.LastIndexAny(name, `/\`)+1:]
	base = strings.TrimSuffix(strings.ToLower(strings.TrimSpace(base)), ".exe")
	if same, ok := otherShells[base]; ok {
		return same
	}
	if slices.Contains(Shells(), base) {
		return base
	}
	return name
}

// Render returns the statements that make the change in the named shell, for
// it to evaluate: read back, every value is the same bytes. It ends in a
// newline unless there is nothing to say. An unknown shell, a malformed name
// or a value that the shell cannot hold is a fault.Usage, which names the
// variable.
func Render(shell string, e child.Environment) ([]byte, error) {
	e, err := e.Settled()
	if err != nil {
		return nil, err
	}
	if shell == "json" {
		return renderJSON(e)
	}
	d, ok := dialectOf(shell)
	if !ok {
		return nil, fault.New(fault.Usage, "unknown shell %q", shell).
			Hint("known are %s", strings.Join(Shells(), ", "))
	}
	var out bytes.Buffer
	if d.unset != nil {
		for _, name := range e.Unset {
			out.WriteString(d.unset(name) + "\n")
		}
	}
	for _, v := range e.Set {
		value := v.Value.Reveal()
		if why := d.refuse(value); why != "" {
			return nil, cannotHold(shell, v.Name, why)
		}
		out.WriteString(d.set(v.Name, value) + "\n")
	}
	return out.Bytes(), nil
}

func dialectOf(shell string) (dialect, bool) {
	switch shell {
	case "sh":
		return dialect{
			set:    func(name, value string) string { return "export " + name + "=" + quoteSh(value) },
			unset:  func(name string) string { return "unset " + name },
			refuse: func(string) string { return "" },
		}, true
	case "fish":
		return dialect{
			set:    func(name, value string) string { return "set -gx " + name + " " + quoteFish(value) },
			unset:  unsetFish,
			refuse: func(string) string { return "" },
		}, true
	case "powershell":
		return dialect{
			set:    func(name, value string) string { return "$Env:" + name + " = " + quotePowerShell(value) },
			unset:  func(name string) string { return "Remove-Item Env:" + name + " -ErrorAction SilentlyContinue" },
			refuse: refusePowerShell,
		}, true
	case "cmd":
		return dialect{
			set:    func(name, value string) string { return `set "` + name + "=" + value + `"` },
			unset:  func(name string) string { return `set "` + name + `="` },
			refuse: refuseCmd,
		}, true
	case "dotenv":
		// A file of settings cannot take a variable away. Its readers start
		// from nothing (docker) or let the real environment win.
		return dialect{
			set:    func(name, value string) string { return name + "=" + value },
			refuse: refuseDotenv,
		}, true
	}
	return dialect{}, false
}

func cannotHold(shell, name, why string) error {
	return fault.New(fault.Usage, "%s cannot hold the value of %s unchanged: %s", shell, name, why).
		Hint("use another %s, or `exec`, which needs no shell at all", fault.Option("shell"))
}

// quoteSh quotes for POSIX shells: within single quotes nothing is special but
// the quote itself.
func quoteSh(s string) string {
	s = strings.ReplaceAll(s, `'`, `'\''`)
	// No line of a value may look like the marker of a block in $BASH_ENV,
	// which is a comment in the first column.
	s = strings.ReplaceAll(s, "\n#", "\n''#")
	return "'" + s + "'"
}

// quoteFish quotes for fish, whose single quotes know two escapes.
func quoteFish(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// unsetFish takes the variable from this session alone. A plain set -e would
// erase a universal one, which is the user's for all sessions to come; and
// nothing hides an exported one from children but a value of this session, so
// there it is empty. Both leave status 0 where there is none.
func unsetFish(name string) string {
	return "if set -qUx " + name + "; set -gx " + name + " ''; else if set -qg " + name + "; set -eg " + name + "; end"
}

// quotePowerShell quotes for PowerShell, in printable ASCII alone. All else is
// spelled [char]n: the output of a program reaches PowerShell through a code
// page and cut into lines, which Out-String joins with CR LF again. That also
// keeps out U+2018 to U+201B, which PowerShell takes for single quotes.
func quotePowerShell(s string) string {
	var parts []string
	for s != "" {
		n := 0
		for n < len(s) && s[n] >= ' ' && s[n] <= '~' {
			n++
		}
		if n > 0 {
			parts = append(parts, "'"+strings.ReplaceAll(s[:n], "'", "''")+"'")
			s = s[n:]
			continue
		}
		r, size := utf8.DecodeRuneInString(s)
		s = s[size:]
		if len(parts) == 0 {
			parts = append(parts, "''") // the first operand decides that + joins strings
		}
		if r > 0xFFFF { // a char is half of such a pair
			r -= 0x10000
			parts = append(parts, fmt.Sprintf("[char]%d", 0xD800+r>>10))
			r = 0xDC00 + r&0x3FF
		}
		parts = append(parts, fmt.Sprintf("[char]%d", r))
	}
	return strings.Join(parts, " + ")
}

func refusePowerShell(value string) string {
	switch {
	case value == "":
		return "assigning an empty value removes the variable"
	case !utf8.ValidString(value):
		return "it is not valid UTF-8"
	}
	return ""
}

// refuseCmd says what cmd.exe would change. Its lines are run from a batch
// file or from `for /f`, and these differ: % is %% in the one and % in the
// other. ! is taken by delayed expansion where that is on. A quote ends the
// quoting, and what follows could be a command. There is no way to write a
// line break; 0x1A ends a batch file; bytes beyond ASCII go through a code
// page. `set "NAME="` removes the variable, and a longer line is cut.
func refuseCmd(value string) string {
	if value == "" {
		return "an empty value removes the variable"
	}
	const longest = 8191 - len(`set "="`) - 255 // of a line; 255 for the name
	if len(value) > longest {
		return fmt.Sprintf("it is longer than %d bytes", longest)
	}
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '\n' || c == '\r':
			return "it contains a line break"
		case c == '"':
			return "it contains a double quote"
		case c == '%':
			return "it contains a percent sign"
		case c == '!':
			return "it contains an exclamation mark"
		case c < ' ' && c != '\t' || c == 0x7F:
			return "it contains a control character"
		case c > 0x7F:
			return "it contains a character beyond ASCII"
		}
	}
	return ""
}

// refuseDotenv says where the readers of such files part ways. docker
// --env-file takes all after the first = as it is, quotes included, so there
// must be none; and without them a shell that sources the file, docker
// compose, and the dotenv libraries read $, \, #, spaces, ~ and the shell's
// operators each in their own way.
func refuseDotenv(value string) string {
	if strings.HasPrefix(value, "=") {
		return "it starts with =, which zsh expands"
	}
	for i := 0; i < len(value); i++ {
		c := value[i]
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9':
		case strings.IndexByte("_-./+=:,@%", c) >= 0:
		case c == '\n' || c == '\r':
			return "it contains a line break"
		default:
			return "it contains a character that the readers of such files treat differently (safe are letters, digits and _-./+=:,@%)"
		}
	}
	return ""
}

// renderJSON writes an object of the Set variables in their order.
func renderJSON(e child.Environment) ([]byte, error) {
	if len(e.Set) == 0 {
		return []byte("{}\n"), nil
	}
	var out bytes.Buffer
	before := "{\n"
	for _, v := range e.Set {
		value := v.Value.Reveal()
		if !utf8.ValidString(value) {
			// The encoder would put U+FFFD in place of the bytes.
			return nil, cannotHold("json", v.Name, "it is not valid UTF-8")
		}
		out.WriteString(before + `  "` + v.Name + `": `)
		before = ",\n"
		enc := json.NewEncoder(&out)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(value); err != nil {
			return nil, fault.New(fault.Internal, "cannot encode the value of %s", v.Name)
		}
		out.Truncate(out.Len() - 1) // the encoder's newline
	}
	out.WriteString("\n}\n")
	return out.Bytes(), nil
}

// Word returns s as one word of a shell's command line: as it is when it holds
// nothing but letters, digits and _@%+=:,./-, else single-quoted. It is for
// commands that a message shows to be pasted.
func Word(s string) string {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("_@%+=:,./-", rune(c)) {
			return quoteSh(s)
		}
	}
	if s == "" {
		return "''"
	}
	return s
}
