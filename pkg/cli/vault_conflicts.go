package cli

import (
	"strconv"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/vault"
)

// unheeded says which variables of Vault's own are not heeded.
func (a *app) unheeded() []string {
	var notes []string
	for _, name := range []string{"BAO_SKIP_VERIFY", "VAULT_SKIP_VERIFY"} {
		if on, err := strconv.ParseBool(strings.TrimSpace(a.Getenv(name))); err == nil && on {
			notes = append(notes, name+" is not used: name the server's authority with VAULT_CACERT")
		}
	}
	return notes
}

// vaultDelivery is what decides whether the next tool uses a token in a file, or, where
// that is "", in variables. bashEnv is the file of later steps' variables.
func (a *app) vaultDelivery(s *vault.Server, o vault.Options, file, bashEnv string) vault.Delivery {
	home := a.Getenv("HOME")
	if home == "" {
		home = a.Getenv("USERPROFILE")
	}
	d := vault.Delivery{File: file, Home: home, Addr: s.Addr, Namespace: s.Namespace, Options: o, Lookup: a.lookup, Read: readConfiguration}
	d.ReadBashEnv(bashEnv)
	return d
}

// maxConfiguration bounds a tool's small file.
const maxConfiguration = 1 << 20

func readConfiguration(path string) ([]byte, error) { return files.Read(path, maxConfiguration) }
