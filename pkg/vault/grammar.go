package vault

import (
	"strconv"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/shell"
)

// The grammar of --secret, of which any character can be quoted as for a shell, and
// then means itself:
//
//	SECRET  = PATH ["?version=" N] FIELD...
//	FIELD   = SOURCE [":base64"] ["?" [DEFAULT]] ["=" TARGET]
//	        | "*" ["?"] ["=" PREFIX "*"]
//	SOURCE  = the field's name | "/" a JSON pointer into the secret (RFC 6901)
//	TARGET  = NAME | NAME "@" FILE | "@" FILE

// Wanted is one secret to read.
type Wanted struct {
	Path string // as the user wrote it, without slashes around it

	fields  []field
	place   string            // the path to call
	api     string            // the same, escaped for a URL
	kv      int               // 1 or 2; 0: as the answer looks
	version int               // of a KV version 2 secret; 0: the newest
	write   map[string]string // the parameters to write to the path; nil: it is read
}

// field is what was asked for, and where it goes.
type field struct {
	name    string // for all: ""
	pointer bool   // name is a JSON pointer
	all     bool   // every field that has no word of its own

	base64   bool    // its text is base64, and what that stands for is wanted
	optional bool    // it may be missing
	fallback *string // what it is then; nil: it is left out

	variable string // "": none
	named    bool   // the user wrote variable, or for all the prefix
	prefix   string // of the variables, for all
	file     string // "": none
}

const (
	decoded   = ":base64"
	versionIs = "version="
)

// wantedSecrets reads one --secret, which may hold several.
func wantedSecrets(text string, versions map[string]int) ([]*Wanted, error) {
	statements, err := shell.Statements(text, false)
	if err != nil {
		return nil, fault.New(fault.Usage, "%s %q: %w", fault.Option("secret"), clip(text), err).Hint("quotes are read as by a shell; a quote that is meant is written \\' or \"'\"")
	}
	if len(statements) == 0 {
		return nil, fault.New(fault.Usage, "%s is empty", fault.Option("secret"))
	}
	var all []*Wanted
	for _, words := range statements {
		w, err := wanted(words, versions)
		if err != nil {
			return nil, err
		}
		all = append(all, w)
	}
	return all, nil
}

func wanted(words []shell.Lexeme, versions map[string]int) (*Wanted, error) {
	if err := refuseAction(words); err != nil {
		return nil, err
	}
	path, query, hasQuery := words[0].Cut('?')
	w := &Wanted{Path: trimPath(path.String())}
	if hasQuery {
		number, is := strings.CutPrefix(query.String(), versionIs)
		n, err := strconv.Atoi(number)
		if !is || err != nil || n < 1 {
			return nil, fault.New(fault.Usage, "%s %s: %q is not a version", fault.Option("secret"), w.Path, query.String()).
				Hint("write it as secret/data/ci/app?version=3; a ? that is a part of the path is quoted: '%s'", `"a?b"`)
		}
		w.version = n
	}
	w.settlePlace(versions)
	var err error
	if w.api, err = apiPath("secret", w.place); err != nil {
		return nil, err
	}
	for _, word := range words[1:] {
		f, err := w.field(word)
		if err != nil {
			return nil, err
		}
		w.fields = append(w.fields, f)
	}
	if len(w.fields) == 0 {
		w.fields = []field{{all: true}}
	}
	return w, nil
}

// refuseAction refuses what hashicorp/vault-action reads, with the same in our words.
func refuseAction(words []shell.Lexeme) error {
	for i, word := range words {
		before, after, found := word.Cut('|')
		if !found || i == 0 {
			continue
		}
		if len(before) == 0 {
			before = words[i-1]
		}
		if len(after) == 0 && i+1 < len(words) {
			after = words[i+1]
		}
		source, target := before.String(), after.String()
		if strings.Trim(source, "*") == "" {
			source, target = "*", target+"*"
		}
		e := fault.New(fault.Usage, "%s %s: the | is how vault-action renames a field", fault.Option("secret"), words[0])
		if i == 1 && len(before) > 0 && before.String() == words[0].String() {
			return e.Hint("here it is PATH FIELD=NAME; a | that is a part of a name is quoted")
		}
		return e.Hint("here it is: %s %s; a | that is a part of a name is quoted", fault.Option("secret"), shell.Word(words[0].Quote()+" "+source+"="+target))
	}
	return nil
}

// field reads the word of one field.
func (w *Wanted) field(word shell.Lexeme) (field, error) {
	source, target, hasTarget := word.CutLast('=')
	source, fallback, optional := source.Cut('?')
	f := field{optional: optional}
	if len(fallback) > 0 {
		text := fallback.String()
		f.fallback = &text
	}
	source, f.base64 = source.CutSuffix(decoded)
	f.name = source.String()
	switch {
	case source.Is("*") || source.Is("**"):
		return w.every(f, word, target, hasTarget)
	case f.name == "":
		return f, w.wrongWord(word, "it names no field")
	case !source[0].Quoted && source[0].Byte == '/':
		if _, err := pointerSteps(f.name); err != nil {
			return f, w.wrongWord(word, err.Error())
		}
		f.pointer = true
	}
	f.variable = f.name
	if !hasTarget {
		return f, nil
	}
	name, file, hasFile := target.Cut('@')
	f.variable, f.named, f.file = name.String(), true, file.String()
	switch {
	case hasFile && f.file == "":
		return f, w.wrongWord(word, "no file follows the @")
	case hasFile && f.variable == "":
		f.named = false
	case !isVariable(f.variable):
		return f, fault.New(fault.Usage, "%s %s: %q cannot be the name of an environment variable", fault.Option("secret"), w.Path, f.variable).
			Hint("use letters, digits and underscores, and no digit at the start: %s", w.suggest(source.Quote()+"=NAME"))
	}
	return f, nil
}

// every is the word that asks for all fields.
func (w *Wanted) every(f field, word, target shell.Lexeme, hasTarget bool) (field, error) {
	prefix, star := target.CutSuffix("*")
	f.name, f.all, f.named, f.prefix = "", true, hasTarget, prefix.String()
	switch {
	case f.base64 || f.fallback != nil:
		return f, w.wrongWord(word, "all fields have no default and no encoding in common")
	case hasTarget && (!star || f.prefix != "" && !isVariable(f.prefix)):
		return f, w.wrongWord(word, "the variables of all fields are a prefix and a *").Hint("%s", w.suggest("*=APP_*"))
	}
	return f, nil
}

func (w *Wanted) wrongWord(word shell.Lexeme, why string) *fault.Error {
	return fault.New(fault.Usage, "%s %s: %q is not FIELD=NAME: %s", fault.Option("secret"), w.Path, word.String(), why)
}

// suggest is the option for the same path and other fields, ready for a shell.
func (w *Wanted) suggest(fields string) fault.Message {
	return fault.Messagef("%s %s", fault.Option("secret"), shell.Word(w.head()+" "+fields))
}

func (w *Wanted) head() string {
	path := shell.Literal(w.Path).Quote()
	if w.version > 0 {
		path += "?" + versionIs + strconv.Itoa(w.version)
	}
	return path
}

// String writes a secret as --secret takes it.
func (w *Wanted) String() string {
	words := []string{w.head()}
	for _, f := range w.fields {
		words = append(words, f.String())
	}
	return strings.Join(words, " ")
}

func (f field) String() string {
	var b strings.Builder
	switch {
	case f.all:
		b.WriteByte('*')
	case f.pointer:
		b.WriteString("/" + literal(f.name[1:]))
	default:
		name := shell.Literal(f.name)
		if f.name[0] == '/' {
			name[0].Quoted = true
		}
		b.WriteString(name.Quote())
	}
	if f.base64 {
		b.WriteString(decoded)
	}
	if f.optional {
		b.WriteByte('?')
	}
	if f.fallback != nil {
		b.WriteString(literal(*f.fallback))
	}
	switch {
	case f.all && f.named:
		b.WriteString("=" + f.prefix + "*")
	case f.named:
		b.WriteString("=" + f.variable)
	case f.file != "":
		b.WriteByte('=')
	}
	if f.file != "" {
		b.WriteString("@" + literal(f.file))
	}
	return b.String()
}

// literal is a part of a word that means itself; nothing is nothing.
func literal(text string) string {
	if text == "" {
		return ""
	}
	return shell.Literal(text).Quote()
}

// settlePlace finds the path to call, and the version of KV. Where the mount is
// said to be of version 2, a path is as the Vault CLI has it, without data.
func (w *Wanted) settlePlace(versions map[string]int) {
	mount := ""
	for m := range versions {
		if strings.HasPrefix(w.Path+"/", m+"/") && len(m) > len(mount) {
			mount = m
		}
	}
	w.kv, w.place = versions[mount], w.Path
	if mount == "" { // as said of all mounts, which then have one word
		mount, _, _ = strings.Cut(w.Path, "/")
	}
	rest, inMount := strings.CutPrefix(w.Path, mount+"/")
	if w.kv == 2 && inMount && !strings.HasPrefix(rest, "data/") {
		w.place = mount + "/data/" + rest
	}
}

// kvVersions reads --kv-version: a number for all mounts, or MOUNT=NUMBER.
func kvVersions(all []string) (map[string]int, error) {
	versions := map[string]int{}
	for _, v := range all {
		mount, number := "", v
		if i := strings.LastIndexByte(v, '='); i >= 0 {
			mount, number = trimPath(v[:i]), v[i+1:]
		}
		if number != "1" && number != "2" {
			return nil, fault.New(fault.Usage, "%s %q is not 1 or 2", fault.Option("kv-version"), v).
				Hint("for one mount: %s secret=2", fault.Option("kv-version"))
		}
		versions[mount] = int(number[0] - '0')
	}
	return versions, nil
}

// readFile reads a file of at most so many bytes.
type readFile func(path string, limit int64) ([]byte, error)

// maxParameter bounds a file that is a parameter's value: a public key, a CSR.
const maxParameter = 1 << 20

// parameters reads --write: 'PATH KEY=VALUE...', a value from a file as KEY=@FILE.
func parameters(all []string, read readFile) (map[string]map[string]string, error) {
	writes := map[string]map[string]string{}
	for _, text := range all {
		statements, err := shell.Statements(text, false)
		if err != nil {
			return nil, fault.New(fault.Usage, "%s: %w", fault.Option("write"), err).Hint("quotes are read as by a shell; a quote that is meant is written \\' or \"'\"")
		}
		if len(statements) == 0 {
			return nil, fault.New(fault.Usage, "%s is empty", fault.Option("write"))
		}
		for _, words := range statements {
			path := trimPath(words[0].String())
			if writes[path] != nil {
				return nil, fault.New(fault.Usage, "%s: the path %s is there twice", fault.Option("write"), path)
			}
			writes[path] = map[string]string{}
			for _, word := range words[1:] {
				if err := parameter(writes[path], path, word, read); err != nil {
					return nil, err
				}
			}
		}
	}
	return writes, nil
}

// parameter reads one KEY=VALUE. An error does not hold the value, which may be a
// password.
func parameter(into map[string]string, path string, word shell.Lexeme, read readFile) error {
	key, value, ok := word.Cut('=')
	if !ok || len(key) == 0 {
		return fault.New(fault.Usage, "%s %s: a word is not KEY=VALUE", fault.Option("write"), path).
			Hint("as in %s 'pki/issue/ci common_name=app.internal ttl=10m'; a value with spaces is quoted: alt_names=\"a, b\"", fault.Option("write"))
	}
	if len(value) > 0 && value[0] == (shell.Letter{Byte: '@'}) {
		b, err := read(value[1:].String(), maxParameter)
		if err != nil {
			return fault.New(fault.KindOf(err), "%s: %w", fault.Option("write"), err)
		}
		into[key.String()] = string(b)
		return nil
	}
	into[key.String()] = value.String()
	return nil
}
