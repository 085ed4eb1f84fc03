// Package deliver takes results to where the next tool looks for them: shell
// statements, a marked block in $BASH_ENV, a profile in an INI file, the
// environment of a child process.
package child

import (
	"runtime"
	"slices"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
)

// Var is one environment variable. Its name is [A-Za-z_][A-Za-z0-9_]*; its
// value is any bytes but NUL.
type Var struct {
	Name  string
	Value secret.Value
}

// Environment is a change of environment variables: Set in order, the last of
// a name wins; Unset names what would shadow them. A name in both is set.
type Environment struct {
	Set   []Var
	Unset []string
}

// Apply returns a child's environment, in the form of os.Environ: environ
// without the Unset names, and with the Set ones. No name appears twice; of
// several in environ the last wins. On Windows names that differ in case alone
// are the same.
func (e Environment) Apply(environ []string) []string {
	return e.ApplyFold(environ, runtime.GOOS == "windows")
}

// ApplyFold is Apply; where foldCase is true, names that differ in case alone are the
// same.
func (e Environment) ApplyFold(environ []string, foldCase bool) []string {
	key := func(name string) string {
		if foldCase {
			return strings.ToUpper(name)
		}
		return name
	}
	gone := make(map[string]bool, len(e.Set)+len(e.Unset)+len(environ))
	for _, name := range e.Unset {
		gone[key(name)] = true
	}
	added := make([]string, 0, len(e.Set))
	seen := make(map[string]bool, len(e.Set))
	for i := len(e.Set) - 1; i >= 0; i-- { // from the end: the last wins
		v := e.Set[i]
		if k := key(v.Name); !seen[k] {
			seen[k], gone[k] = true, true
			added = append(added, v.Name+"="+v.Value.Reveal())
		}
	}
	kept := make([]string, 0, len(environ)+len(added))
	for i := len(environ) - 1; i >= 0; i-- {
		if k := key(nameOf(environ[i])); !gone[k] {
			gone[k] = true
			kept = append(kept, environ[i])
		}
	}
	reverse(kept)
	reverse(added)
	return append(kept, added...)
}

// nameOf returns the name of a NAME=value entry. Windows keeps the current
// directory of each drive in entries such as "=C:=C:\dir".
func nameOf(entry string) string {
	if i := strings.IndexByte(entry[min(1, len(entry)):], '='); i >= 0 {
		return entry[:i+1]
	}
	return entry
}

func reverse(s []string) {
	for i, j := 0, len(s)-1; i < j; i, j = i+1, j-1 {
		s[i], s[j] = s[j], s[i]
	}
}

// Settled checks names and values against what every shell demands, and
// leaves one entry for each name.
func (e Environment) Settled() (Environment, error) {
	var out Environment
	at := make(map[string]int, len(e.Set))
	for _, v := range e.Set {
		if !IsName(v.Name) {
			return out, badName(v.Name)
		}
		if strings.IndexByte(v.Value.Reveal(), 0) >= 0 {
			return out, fault.New(fault.Usage, "the value of %s contains a NUL byte, which no environment can hold", v.Name)
		}
		if i, ok := at[v.Name]; ok {
			out.Set[i] = v
			continue
		}
		at[v.Name] = len(out.Set)
		out.Set = append(out.Set, v)
	}
	gone := make(map[string]bool, len(e.Unset))
	for _, name := range e.Unset {
		if !IsName(name) {
			return out, badName(name)
		}
		if _, set := at[name]; !set && !gone[name] {
			gone[name] = true
			out.Unset = append(out.Unset, name)
		}
	}
	return out, nil
}

func badName(name string) error {
	return fault.New(fault.Usage, "%q cannot be the name of an environment variable", name).
		Hint("use letters, digits and underscores, and no digit at the start")
}

// IsName says whether a text can be the name of a variable.
func IsName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
		case c >= '0' && c <= '9' && i > 0:
		default:
			return false
		}
	}
	return s != ""
}

// NoProxy returns the variables that keep a host from the proxy, with the hosts
// that they keep from it already: Python's and Node's libraries send loopback
// through HTTP_PROXY too. Which of the two spellings wins differs from tool to
// tool, so each gets what both had.
func NoProxy(getenv func(string) string, host string) []Var {
	var all []string
	for _, name := range []string{"NO_PROXY", "no_proxy"} {
		for _, item := range strings.Split(getenv(name), ",") {
			if item = strings.TrimSpace(item); item != "" && !slices.Contains(all, item) {
				all = append(all, item)
			}
		}
	}
	if slices.Contains(all, "*") { // which is no item to all of them, beside others
		all = []string{"*"}
	} else if !slices.Contains(all, host) {
		all = append(all, host)
	}
	value := secret.New(strings.Join(all, ","))
	return []Var{{Name: "NO_PROXY", Value: value}, {Name: "no_proxy", Value: value}}
}
