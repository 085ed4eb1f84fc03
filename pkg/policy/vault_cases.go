package policy

import "time"

// VaultLanguage is the roles of Vault and OpenBao, for RunCases.
func VaultLanguage() Language {
	return Language{Name: "vault", Options: []string{"config"}, Open: openVaultCase}
}

func openVaultCase(d CaseDocument, read Reader, now time.Time) (func(Claims) Judgement, error) {
	var config *VaultConfig
	role, err := ReadDocument(read, d.Vault, func(b []byte) (role *VaultRole, err error) {
		role, config, err = ParseVault(b)
		return role, err
	})
	if err == nil && d.Config != "" {
		config, err = ReadDocument(read, d.Config, ParseVaultConfig)
	}
	if err != nil {
		return nil, err
	}
	return func(c Claims) Judgement { return role.Check(VaultRequest{Claims: c, Config: config, Now: now}) }, nil
}
