package vault

import (
	"encoding/json"
	"errors"
	"io/fs"
	"strconv"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/fault"
)

// Wanted is one secret to read: 'PATH [FIELD[=NAME]]...'.
type Wanted struct {
	Path string // as the user wrote it, without slashes around it

	fields  []field
	all     bool              // * or no field at all: every field that the secret has
	place   string            // the path to call
	api     string            // the same, escaped for a URL
	kv      int               // 1 or 2; 0: as the answer looks
	version int               // of a KV version 2 secret; 0: the newest
	write   map[string]string // the parameters to write to the path; nil: it is read
}

// field is one that was asked for, and the variable it goes into.
type field struct{ name, variable string }

// maxParameter bounds a file that is a parameter's value: a public key, a CSR.
const maxParameter = 1 << 20

// settleSecrets reads --secret, --write and --kv-version.
func (o Options) settleSecrets(s *Server) error {
	versions, err := kvVersions(o.KVVersions)
	if err != nil {
		return err
	}
	writes, err := parameters(o.Writes, o.read)
	if err != nil {
		return err
	}
	for _, text := range o.Secrets {
		w, err := wanted(text, versions)
		if err != nil {
			return err
		}
		if p, ok := writes[w.Path]; ok {
			w.write = p
		}
		s.Secrets = append(s.Secrets, w)
	}
	for path := range writes {
		if !asked(s.Secrets, path) {
			return fault.New(fault.Usage, "--write %s: no --secret takes a field of the answer", path).
				Hint("add --secret '%s FIELD=NAME'", path)
		}
	}
	return nil
}

// CheckVariables returns a fault.Usage where the fields that were named cannot all
// be environment variables. What * brings is known only when it is read.
func (s *Server) CheckVariables() error {
	var named []Secret
	for _, w := range s.Secrets {
		got := Secret{Path: w.Path}
		for _, f := range w.fields {
			got.Values = append(got.Values, Value{Field: f.name, Variable: f.variable})
		}
		named = append(named, got)
	}
	_, err := variables(named)
	return err
}

func asked(all []*Wanted, path string) bool {
	for _, w := range all {
		if w.Path == path {
			return true
		}
	}
	return false
}

// wanted reads one --secret.
func wanted(text string, versions map[string]int) (*Wanted, error) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return nil, fault.New(fault.Usage, "--secret is empty")
	}
	path, query, hasQuery := strings.Cut(words[0], "?")
	w := &Wanted{Path: trimPath(path), all: len(words) == 1}
	if hasQuery {
		n, err := strconv.Atoi(strings.TrimPrefix(query, "version="))
		if err != nil || n < 1 || !strings.HasPrefix(query, "version=") {
			return nil, fault.New(fault.Usage, "--secret %q: %q is not a version", text, query).
				Hint("write it as secret/data/ci/app?version=3")
		}
		w.version = n
	}
	var err error
	w.settlePlace(versions)
	if w.api, err = apiPath("--secret", w.place); err != nil {
		return nil, err
	}
	for _, word := range words[1:] {
		if word == "*" {
			w.all = true
			continue
		}
		f := field{word, word}
		// At the last one: a field's name may hold any character, a variable's not.
		if i := strings.LastIndexByte(word, '='); i >= 0 {
			f = field{word[:i], word[i+1:]}
		}
		if f.name == "" || f.name == "*" {
			return nil, fault.New(fault.Usage, "--secret %q: %q is not FIELD=NAME", text, word)
		}
		// A field alone may have any name: for read, it is no variable.
		if f.name != f.variable && !isVariable(f.variable) {
			return nil, fault.New(fault.Usage, "--secret: %q cannot be the name of an environment variable", f.variable).
				Hint("use letters, digits and underscores, and no digit at the start: '%s %s=NAME'", w.Path, f.name)
		}
		w.fields = append(w.fields, f)
	}
	return w, nil
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
			return nil, fault.New(fault.Usage, "--kv-version %q is not 1 or 2", v).
				Hint("for one mount: --kv-version secret=2")
		}
		versions[mount] = int(number[0] - '0')
	}
	return versions, nil
}

// parameters reads --write: 'PATH KEY=VALUE...', a value from a file as KEY=@FILE.
func parameters(all []string, read func(string, int64) ([]byte, error)) (map[string]map[string]string, error) {
	writes := map[string]map[string]string{}
	for _, text := range all {
		words := strings.Fields(text)
		if len(words) == 0 {
			return nil, fault.New(fault.Usage, "--write is empty")
		}
		path := trimPath(words[0])
		if writes[path] != nil {
			return nil, fault.New(fault.Usage, "--write: the path %s is there twice", path)
		}
		p := map[string]string{}
		for _, word := range words[1:] {
			key, value, ok := strings.Cut(word, "=")
			if !ok || key == "" {
				return nil, fault.New(fault.Usage, "--write %q: %q is not KEY=VALUE", text, word).
					Hint("as in --write 'pki/issue/ci common_name=app.internal ttl=10m'")
			}
			if file, ok := strings.CutPrefix(value, "@"); ok {
				b, err := read(file, maxParameter)
				if err != nil {
					return nil, fault.New(fault.KindOf(err), "--write: %w", err)
				}
				value = string(b)
			}
			p[key] = value
		}
		writes[path] = p
	}
	return writes, nil
}

// body is what is sent where the path is written.
func (w *Wanted) body() []byte {
	b, err := json.Marshal(w.write)
	if err != nil {
		return nil // a map of text always marshals
	}
	return b
}

func trimPath(p string) string {
	return strings.TrimPrefix(strings.Trim(p, "/"), "v1/")
}

func isVariable(s string) bool {
	for i, r := range s {
		if r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9' || i == 0) {
			return false
		}
	}
	return s != ""
}

func unwrap(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
