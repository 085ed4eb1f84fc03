package aws

import (
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/ini"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
)

// Args returns the settled request as the options of a command line, so that it is
// the same wherever that runs. A policy that is no file has no place there.
func (x *Exchange) Args() ([]string, error) {
	args := []string{"--role-arn", x.roles[0].arn}
	for _, r := range x.roles[1:] {
		args = append(args, "--chain-role-arn", r.arn)
	}
	args = append(args, x.chained.args()...)
	args = append(args, "--role-session-name", x.session, "--session-duration", strconv.Itoa(int(x.duration/time.Second)))
	if x.Region != "" {
		args = append(args, "--region", x.Region)
	}
	if x.policy != "" && x.policyFile == "" {
		return nil, fault.New(fault.Usage, "%s is a document: a profile's credential_process can name a file alone", fault.Option("policy")).
			Hint("write it into a file that stays there, and give that: %s FILE", fault.Option("policy"))
	}
	if x.policyFile != "" {
		path, err := filepath.Abs(x.policyFile)
		if err != nil {
			return nil, fault.New(fault.Local, "cannot find the policy's file: %w", err)
		}
		if !files.Rereadable(path) {
			return nil, fault.New(fault.Usage, "%s %q cannot be read again: a profile's credential_process names a file that stays", fault.Option("policy"), path)
		}
		args = append(args, "--policy", path)
	}
	for _, arn := range x.policyARNs {
		args = append(args, "--policy-arn", arn)
	}
	for _, id := range x.accounts {
		args = append(args, "--allowed-account-id", id)
	}
	return args, nil
}

// FromFiles says whether the request depends on what files hold.
func (x *Exchange) FromFiles() bool {
	return x.policyFile != "" || x.regionFrom != "" || x.endpoint.caBundle != nil
}

// A Process is the command that a profile's credential_process names: the
// program's absolute path, and its arguments.
type Process []string

// Line returns the command as one line that every SDK takes apart into the same
// words, or a fault.Usage that says why there is none.
//
// botocore splits it by Python's shlex, without a shell; the other SDKs hand it to
// sh -c, those on Windows to cmd.exe /C. Before that, the readers of the file strip
// comments (Go, JavaScript: a # or ; after a space, within quotes too) and a pair
// of quotes around the whole (Go).
func (p Process) Line() (string, error) { return p.line(runtime.GOOS == "windows") }

func (p Process) line(windows bool) (string, error) {
	plain := isPlain
	if windows {
		plain = isPlainOnWindows
	}
	words := make([]string, len(p))
	for i, word := range p {
		switch why := unspeakable(word); {
		case why != "":
			return "", fault.New(fault.Usage, "credential_process cannot name %q: %s", word, why).
				Hint("%s", instead(i))
		case word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0:
			words[i] = word
		case windows:
			return "", fault.New(fault.Usage, "credential_process cannot name %q: the AWS CLI and cmd.exe understand quotes in different ways", word).
				Hint("%s", instead(i))
		default:
			// Within single quotes sh and shlex take everything as it is.
			words[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
	}
	line := strings.Join(words, " ")
	if n := len(line); n > 0 && line[0] == '\'' && line[n-1] == '\'' {
		return "", fault.New(fault.Internal, "a credential_process with quotes at both ends")
	}
	return line, nil
}

// instead is what to do about a word that no line can hold.
func instead(i int) fault.Message {
	if i == 0 {
		return fault.Messagef("install the program at a path without such characters, or use %s static", fault.Option("mode"))
	}
	return fault.Messagef("use a file or a value without such characters, or %s static", fault.Option("mode"))
}

// unspeakable says why no spelling of a word survives all readers.
func unspeakable(word string) string {
	if !utf8.ValidString(word) {
		return "it is not valid UTF-8"
	}
	for _, r := range word {
		if unicode.IsControl(r) {
			return "it holds a control character"
		}
	}
	space := false
	for _, r := range word {
		if space && (r == '#' || r == ';') {
			return "Go and JavaScript take # or ; after a space for a comment"
		}
		space = unicode.IsSpace(r)
	}
	return ""
}

// isPlain says that a character means itself, in sh, shlex and each file's reader.
func isPlain(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_@%+=:,./-", r)
}

// isPlainOnWindows is the same for cmd.exe and botocore's own splitting there.
func isPlainOnWindows(r rune) bool {
	return r == '\\' || isPlain(r) && r != '%'
}

// Profile returns the edits that make the command the profile's source of
// credentials, with the region beside it.
func (p Process) Profile(name string, to Files, region string) ([]files.Edit, error) {
	line, err := p.Line()
	if err != nil {
		return nil, err
	}
	credentials := ini.Change{Headers: []string{name}, Remove: append(append([]string{}, keyKeys...), otherKeys...)}
	config := ini.Change{
		Headers: configHeaders(name),
		Set:     []ini.Setting{{Key: processKey, Value: secret.New(line)}},
	}
	for _, key := range credentials.Remove {
		if key != processKey {
			config.Remove = append(config.Remove, key)
		}
	}
	if region != "" {
		credentials.Remove = append(credentials.Remove, "region")
		config.Set = append([]ini.Setting{{Key: "region", Value: secret.New(region)}}, config.Set...)
	}
	edits := []files.Edit{credentials.In(to.Credentials, false), config.In(to.Config, false)}
	if name == "default" && to.same() {
		return edits[1:], nil // one section in one file is for both
	}
	return edits, nil
}
