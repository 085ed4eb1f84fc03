package vault

import (
	"encoding/json"
	"errors"
	"io/fs"
	"strconv"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// settleSecrets reads --secret, --write and --kv-version.
func (o Options) settleSecrets(s *Server) error {
	versions, err := kvVersions(o.KVVersions)
	if err != nil {
		return err
	}
	writes, err := parameters(o.Writes, o.readValue)
	if err != nil {
		return err
	}
	for _, text := range o.Secrets {
		all, err := wantedSecrets(text, versions)
		if err != nil {
			return fault.About(err, "secret", text)
		}
		for _, w := range all {
			if p, ok := writes[w.Path]; ok {
				w.write = p
			}
		}
		s.Secrets = append(s.Secrets, all...)
	}
	for path := range writes {
		if !asked(s.Secrets, path) {
			return fault.New(fault.Usage, "%s %s: no %s takes a field of the answer", fault.Option("write"), path, fault.Option("secret")).
				Hint("add %s '%s FIELD=NAME'", fault.Option("secret"), path)
		}
	}
	return s.uniqueFiles()
}

// Variables are those that the fields go into which --secret names, but for optional ones.
// There are none where a field goes elsewhere, or where * stands for fields that nobody
// knows before they are read.
func (o Options) Variables() ([]string, error) {
	versions, err := kvVersions(o.KVVersions)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, text := range o.Secrets {
		all, err := wantedSecrets(text, versions)
		if err != nil {
			return nil, err
		}
		for _, w := range all {
			for _, f := range w.fields {
				switch {
				case f.all || f.variable == "":
					return nil, nil
				case !f.optional:
					names = append(names, f.variable)
				}
			}
		}
	}
	return names, nil
}

func asked(all []*Wanted, path string) bool {
	for _, w := range all {
		if w.Path == path {
			return true
		}
	}
	return false
}

// uniqueFiles refuses two fields that go into one file.
func (s *Server) uniqueFiles() error {
	from := map[string]string{}
	for _, w := range s.Secrets {
		for _, f := range w.fields {
			if other, there := from[f.file]; there && f.file != "" {
				return fault.New(fault.Usage, "%s: the fields %s and %s go into one file, %q", fault.Option("secret"), other, f.name, f.file)
			}
			from[f.file] = f.name
		}
	}
	return nil
}

// body is what is sent where the path is written.
func (w *Wanted) body() []byte {
	b, err := json.Marshal(w.write)
	if err != nil {
		return nil // a map of text always marshals
	}
	return b
}

// id tells one call from another: what is asked for twice is called once.
func (w *Wanted) id() string { return w.api + "?" + strconv.Itoa(w.version) }

// ofVersion names the version in a message, where there is one.
func (w *Wanted) ofVersion() string {
	if w == nil || w.version == 0 {
		return ""
	}
	return " in version " + strconv.Itoa(w.version)
}

// Files are the files that fields go into.
func (s *Server) Files() []string {
	var all []string
	for _, w := range s.Secrets {
		for _, f := range w.fields {
			if f.file != "" {
				all = append(all, f.file)
			}
		}
	}
	return all
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
