package vault

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/deliver"
	"github.com/oidc-broker/oidc-broker/pkg/fault"
	"github.com/oidc-broker/oidc-broker/pkg/secret"
)

// The variables that this package sets itself, and those of OpenBao that would
// win over them.
const (
	envAddr      = "VAULT_ADDR"
	envToken     = "VAULT_TOKEN" // #nosec G101 -- a variable's name
	envNamespace = "VAULT_NAMESPACE"
)

func own() []string {
	return []string{envAddr, envToken, envNamespace, "BAO_ADDR", "BAO_TOKEN", "BAO_NAMESPACE"}
}

// Environment returns the secrets as variables; with token also what vault and
// bao need, else what they would find is taken away. Errors are fault.Usage.
func (s *Session) Environment(all []Secret, token bool) (deliver.Environment, error) {
	vars, err := variables(all)
	if err != nil {
		return deliver.Environment{}, err
	}
	if !token {
		return deliver.Environment{Set: vars, Unset: []string{envToken, "BAO_TOKEN"}}, nil
	}
	env := deliver.Environment{Unset: own()}
	env.Set = append(env.Set, deliver.Var{Name: envAddr, Value: secret.New(s.server.Addr)}, deliver.Var{Name: envToken, Value: s.Token})
	if s.server.Namespace != "" {
		env.Set = append(env.Set, deliver.Var{Name: envNamespace, Value: secret.New(s.server.Namespace)})
	}
	env.Set = append(env.Set, vars...)
	return env, nil
}

// entry is a secret as read prints it.
type entry struct {
	Data          map[string]json.RawMessage `json:"data"`
	Version       int                        `json:"version,omitempty"`
	LeaseID       string                     `json:"lease_id,omitempty"`
	LeaseDuration int64                      `json:"lease_duration,omitempty"` // seconds
	Renewable     *bool                      `json:"renewable,omitempty"`
}

// JSON returns the secrets as a JSON object, by path: the fields under their own
// or their new names, each as the server sent it.
func JSON(all []Secret) ([]byte, error) {
	entries := map[string]*entry{}
	for _, s := range all {
		e := entries[s.Path]
		if e == nil {
			e = &entry{Data: map[string]json.RawMessage{}, Version: s.Version}
			entries[s.Path] = e
		}
		if l := s.Lease; l != nil {
			e.LeaseID, e.LeaseDuration, e.Renewable = l.ID, int64(l.Duration.Seconds()), &l.Renewable
		}
		for _, v := range s.Values {
			e.Data[v.Variable] = json.RawMessage(v.JSON.Reveal())
		}
	}
	var b bytes.Buffer
	d := json.NewEncoder(&b)
	d.SetEscapeHTML(false) // as the server sent it
	d.SetIndent("", "  ")
	if err := d.Encode(entries); err != nil {
		return nil, fault.New(fault.Internal, "cannot write JSON")
	}
	return b.Bytes(), nil
}

// variables returns the values as environment variables. Errors are fault.Usage.
func variables(all []Secret) ([]deliver.Var, error) {
	var vars []deliver.Var
	from := map[string]string{}
	for _, s := range all {
		for _, v := range s.Values {
			switch other, there := from[v.Variable]; {
			case !isVariable(v.Variable):
				return nil, fault.New(fault.Usage, "the field %q of %s cannot be the name of an environment variable", v.Field, s.Path).
					Hint("name it: --secret '%s %s=NAME'", s.Path, v.Field)
			case v.fromAll && takesOver(v.Variable):
				return nil, fault.New(fault.Usage, "the field %q of %s would be a variable that decides how programs run", v.Field, s.Path).
					Hint("whoever can write the secret could run code in this job; if it is meant, name it: --secret '%s %s=%s'", s.Path, v.Field, v.Variable)
			case slices.Contains(own(), v.Variable):
				return nil, fault.New(fault.Usage, "the field %q of %s claims the name %s, which this command sets itself", v.Field, s.Path, v.Variable).
					Hint("give it another: --secret '%s %s=OTHER_NAME'", s.Path, v.Field)
			case there:
				return nil, fault.New(fault.Usage, "two secrets claim the name %s: %s and %s", v.Variable, other, s.Path).
					Hint("give one of them another: --secret '%s %s=OTHER_NAME'", s.Path, v.Field)
			}
			from[v.Variable] = s.Path
			vars = append(vars, deliver.Var{Name: v.Variable, Value: v.Text()})
		}
	}
	return vars, nil
}

// Text returns the value as a variable holds it: text as it is, null as nothing,
// anything else as the JSON that the server sent, so that no number loses a
// digit.
func (v Value) Text() secret.Value {
	raw := v.JSON.Reveal()
	var text *string
	if json.Unmarshal([]byte(raw), &text) == nil {
		if text == nil {
			return secret.New("")
		}
		return secret.New(*text)
	}
	var compact bytes.Buffer
	if json.Compact(&compact, []byte(raw)) != nil {
		return v.JSON
	}
	return secret.New(compact.String())
}

// takesOver says that a variable makes programs load or run something: not what
// a secret should do whose fields nobody named.
func takesOver(name string) bool {
	switch name {
	case "PATH", "HOME", "SHELL", "IFS", "ENV", "BASH_ENV", "PROMPT_COMMAND", "PS4", "EDITOR", "PAGER",
		"NODE_OPTIONS", "NODE_PATH", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PERL5LIB", "PERL5OPT",
		"RUBYLIB", "RUBYOPT", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH", "HTTP_PROXY", "HTTPS_PROXY",
		"http_proxy", "https_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR":
		return true
	}
	for _, prefix := range []string{"LD_", "DYLD_", "BASH_FUNC_", "GIT_", "VAULT_", "BAO_", "CIRCLE_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
