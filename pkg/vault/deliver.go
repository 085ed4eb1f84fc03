package vault

import (
	"bytes"
	"encoding/json"

	"github.com/oidc-broker/oidc-broker/pkg/internal/child"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
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
func (s *Session) Environment(all []Secret, token bool) (child.Environment, error) {
	vars, err := variables(all)
	if err != nil {
		return child.Environment{}, err
	}
	if !token {
		return child.Environment{Set: vars, Unset: []string{envToken, "BAO_TOKEN"}}, nil
	}
	env := child.Environment{Unset: own()}
	env.Set = append(env.Set, child.Var{Name: envAddr, Value: secret.New(s.server.Addr)}, child.Var{Name: envToken, Value: s.Token})
	if s.server.Namespace != "" {
		env.Set = append(env.Set, child.Var{Name: envNamespace, Value: secret.New(s.server.Namespace)})
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
			if v.File != "" {
				continue // it is there
			}
			raw, err := v.json()
			if err != nil {
				return nil, err
			}
			e.Data[v.Variable] = raw
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

// A File is one that a field goes into.
type File struct {
	Path    string
	Content secret.Value
}

// Files returns what the secrets' files hold.
func Files(all []Secret) []File {
	var files []File
	for _, s := range all {
		for _, v := range s.Values {
			if v.File != "" {
				files = append(files, File{v.File, v.Text()})
			}
		}
	}
	return files
}
