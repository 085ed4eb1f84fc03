package doctor

import (
	"os"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/vault"
)

func vaultChecks() []check {
	return []check{
		{"vault-addr", "the Vault's address is there, and its other settings can be used", vaultAddr},
		{"vault-token", "no Vault token is left in the environment", vaultConflicts("vault-token")},
		{"vault-token-file", "the Vault token's file is the one that the tools read, and no other user can", vaultTokenFile},
		{"vault-skip-verify", "the tools check the Vault's certificate", vaultConflicts("vault-skip-verify")},
		{"vault-bao", "BAO_* and VAULT_* say the same", vaultConflicts("vault-bao")},
		{"vault-agent", "the Vault CLI calls VAULT_ADDR", vaultConflicts("vault-agent")},
	}
}

// vaultVariable returns VAULT_name, or BAO_name, which wins.
func (v *view) vaultVariable(name string) (value, from string) {
	return v.first("BAO_"+name, "VAULT_"+name)
}

// usesVault says whether anything here is about Vault.
func (v *view) usesVault() bool {
	return len(v.set("VAULT_ADDR", "BAO_ADDR", "VAULT_ROLE", "BAO_ROLE", "VAULT_AUTH_PATH", "BAO_AUTH_PATH", "OIDC_BROKER_VAULT_SECRET")) > 0
}

// variableOf names an option by the variable that gave it: no command's flags are
// looked at here.
func (v *view) variableOf(o fault.Option) string {
	part := strings.ToUpper(strings.ReplaceAll(strings.TrimPrefix(string(o), "vault-"), "-", "_"))
	if _, name := v.vaultVariable(part); name != "" {
		return name
	}
	return "--" + string(o)
}

// vaultOptions are the provider's options as the environment has them, and the
// variables that they are from.
func (v *view) vaultOptions() (vault.Options, []string) {
	var o vault.Options
	var from []string
	for _, p := range []struct {
		to   *string
		name string
	}{
		{&o.Addr, "ADDR"}, {&o.Role, "ROLE"}, {&o.AuthPath, "AUTH_PATH"}, {&o.Namespace, "NAMESPACE"}, {&o.AuthNamespace, "AUTH_NAMESPACE"},
		{&o.CACert, "CACERT"}, {&o.CACertBytes, "CACERT_BYTES"}, {&o.CAPath, "CAPATH"}, {&o.ClientCert, "CLIENT_CERT"}, {&o.ClientKey, "CLIENT_KEY"},
		{&o.TLSServerName, "TLS_SERVER_NAME"}, {&o.ClientTimeout, "CLIENT_TIMEOUT"}, {&o.MaxRetries, "MAX_RETRIES"},
	} {
		var name string
		if *p.to, name = v.vaultVariable(p.name); name != "" {
			from = append(from, name)
		}
	}
	var name string
	if o.Proxy, name = v.first("BAO_PROXY_ADDR", "VAULT_PROXY_ADDR", "BAO_HTTP_PROXY", "VAULT_HTTP_PROXY"); name != "" {
		from = append(from, name)
	}
	from = append(from, v.set("VAULT_HEADERS", "BAO_HEADERS", "OIDC_BROKER_VAULT_HEADER")...)
	o.Getenv = v.get
	o.Headers = v.VaultHeaders
	return o, from
}

func vaultAddr(v *view) []Finding {
	if !v.usesVault() {
		return nil
	}
	o, names := v.vaultOptions()
	if o.Addr == "" {
		return []Finding{fails("%s is set, and neither VAULT_ADDR nor BAO_ADDR", strings.Join(names, ", ")).
			because("oidc-broker vault does not know the server, and the Vault CLI takes this machine for it").
			remedy("set VAULT_ADDR, like https://vault.example.com:8200")}
	}
	for _, p := range []*string{&o.CACert, &o.CAPath, &o.ClientCert, &o.ClientKey} {
		if *p != "" {
			// A FIFO would never be read to its end.
			if info, err := os.Stat(v.abs(*p)); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
				return []Finding{fails("%s is neither a file nor a directory", v.place(*p)).remedy("name the PEM file itself")}
			}
			*p = v.abs(*p)
		}
	}
	if _, err := o.Resolve(); err != nil {
		f := v.foreign(err, names...)
		f.Message = "what the environment says for 'oidc-broker vault': " + f.Message
		return []Finding{f.because("it is taken where no option says otherwise: %s", strings.Join(names, ", "))}
	}
	return nil
}

func vaultTokenFile(v *view) []Finding {
	path := v.vaultTokenFile()
	if path == "" {
		return nil
	}
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	all := vaultConflicts("vault-token-file")(v)
	if !v.open(info) {
		return all
	}
	return append(all, warns("%s holds a token, and its mode %#o lets others read it", v.place(path), info.Mode().Perm()).
		because("every process of every user on this machine can take it").
		remedy("chmod 600 %s", v.place(path)))
}

// vaultConflicts reports what the notes of 'oidc-broker vault' say, by the same rules.
func vaultConflicts(check string) func(*view) []Finding {
	return func(v *view) []Finding {
		path := v.vaultTokenFile()
		if path == "" {
			path = ".vault-token"
		}
		d := vault.Delivery{
			File: v.abs(path), Home: v.home(), Read: readConfiguration,
			Lookup: func(name string) (string, bool) { value, set := v.env[name]; return value, set },
		}
		d.ReadBashEnv(v.abs(v.get("BASH_ENV")))
		o, _ := v.vaultOptions()
		d.Addr = strings.TrimRight(o.Addr, "/")
		var all []Finding
		for _, c := range d.ConflictsFor(check) {
			f := warns("%s", c.Message)
			if check == "vault-agent" { // which may be meant
				f = notes("%s", c.Message)
			}
			all = append(all, f.remedy("%s", c.Remedy))
		}
		return all
	}
}

// readConfiguration reads a tool's small file.
func readConfiguration(path string) ([]byte, error) { return files.Read(path, 1<<20) }
