package cli

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/vault"
)

func vaultChecks() []check {
	return []check{
		{"vault-addr", "the Vault's address is there, and its other settings can be used", vaultAddr},
		{"vault-token", "no Vault token is left in the environment", vaultToken},
		{"vault-token-file", "nobody else can read the Vault token's file", vaultTokenFile},
		{"vault-skip-verify", "no tool passes over the Vault's certificate", vaultSkipVerify},
		{"vault-bao", "BAO_* and VAULT_* say the same", vaultBao},
		{"vault-agent", "the Vault CLI calls VAULT_ADDR", vaultAgent},
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
	return o, from
}

func vaultAddr(v *view) []finding {
	if !v.usesVault() {
		return nil
	}
	o, names := v.vaultOptions()
	if o.Addr == "" {
		return []finding{fails("%s is set, and neither VAULT_ADDR nor BAO_ADDR", strings.Join(names, ", ")).
			because("oidc-broker vault does not know the server, and the Vault CLI takes this machine for it").
			remedy("set VAULT_ADDR, like https://vault.example.com:8200")}
	}
	for _, p := range []*string{&o.CACert, &o.CAPath, &o.ClientCert, &o.ClientKey} {
		if *p != "" {
			// A FIFO would never be read to its end.
			if info, err := os.Stat(v.abs(*p)); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
				return []finding{fails("%s is neither a file nor a directory", v.place(*p)).remedy("name the PEM file itself")}
			}
			*p = v.abs(*p)
		}
	}
	if _, err := o.Settle(); err != nil {
		f := v.foreign(err, names...)
		f.Message = "what the environment says for 'oidc-broker vault': " + f.Message
		return []finding{f.because("it is taken where no option says otherwise: %s", strings.Join(names, ", "))}
	}
	return nil
}

func vaultToken(v *view) []finding {
	var all []finding
	for _, name := range v.set("BAO_TOKEN", "VAULT_TOKEN") {
		if v.ourValue("vault", name).Reveal() == v.get(name) {
			continue // 'oidc-broker vault env --bash-env' put it there
		}
		all = append(all, warns("%s is left in the environment", name).
			because("the vault and bao commands take it before the token of a login, whoever it was made for; one that was stored in a context does not end by itself").
			remedy("unset %s, and log in with the job's token: oidc-broker vault exec", name))
	}
	return all
}

func vaultTokenFile(v *view) []finding {
	path := v.vaultTokenFile()
	if path == "" {
		return nil
	}
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || !v.open(info) {
		return nil
	}
	return []finding{warns("%s holds a token, and its mode %#o lets others read it", v.place(path), info.Mode().Perm()).
		because("every process of every user on this machine can take it").
		remedy("chmod 600 %s", v.place(path))}
}

func vaultSkipVerify(v *view) []finding {
	var all []finding
	for _, name := range v.set("BAO_SKIP_VERIFY", "VAULT_SKIP_VERIFY") {
		skip, err := strconv.ParseBool(v.get(name))
		switch {
		case err != nil:
			all = append(all, warns("%s is neither true nor false", name).
				because("the vault and bao commands refuse to go on").remedy("unset it"))
		case skip:
			all = append(all, warns("%s is set", name).
				because("the vault and bao commands send tokens to whoever answers; oidc-broker does not heed it").
				remedy("unset it, and name the server's authority with VAULT_CACERT"))
		}
	}
	return all
}

func vaultBao(v *view) []finding {
	var names []string
	for name, value := range v.env {
		rest, bao := strings.CutPrefix(name, "BAO_")
		other, set := v.env["VAULT_"+rest]
		if bao && set && strings.TrimSpace(other) != "" && strings.TrimSpace(other) != strings.TrimSpace(value) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	return []finding{warns("%s differ from the variables of the same name with VAULT_", someOf(names)).
		because("oidc-broker and bao take BAO_..., the vault command knows VAULT_... alone").
		remedy("set one of the two, or both to the same")}
}

func vaultAgent(v *view) []finding {
	some := v.set("VAULT_AGENT_ADDR", "BAO_AGENT_ADDR", "VAULT_PROXY_ADDR", "BAO_PROXY_ADDR", "VAULT_HTTP_PROXY")
	if len(some) == 0 {
		return nil
	}
	return []finding{notes("%s: set", strings.Join(some, ", ")).
		because("the vault and bao commands call the agent or the proxy, oidc-broker calls VAULT_ADDR itself").
		remedy("unset it where it is not meant for this job")}
}
