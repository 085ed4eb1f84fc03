package sandbox

import (
	"strings"
	"testing"
)

// The flow that a job goes through: log in, read, revoke, and nothing is left.
func TestVaultFlow(t *testing.T) {
	l := newLab(t, Config{})
	a := l.vaultLogin(DefaultVaultRole, l.v2(Variant{}))
	if a.status != 200 || a.Auth.LeaseDuration != 900 || !a.Auth.Renewable || a.Auth.TokenType != "service" || a.Auth.Metadata["role"] != DefaultVaultRole {
		t.Fatalf("login: %d %s", a.status, a.body)
	}
	token := a.Auth.ClientToken
	if !strings.HasPrefix(token, "hvs.") || strings.Join(a.Auth.Policies, " ") != "ci default" {
		t.Errorf("login: %s", a.body)
	}
	a = l.vaultAsk("GET", "/v1/secret/data/ci/app", token, "")
	data, _ := a.Data["data"].(map[string]any)
	if a.status != 200 || data["username"] != "ci-app" {
		t.Errorf("read: %d %s", a.status, a.body)
	}
	a = l.vaultAsk("GET", "/v1/auth/token/lookup-self", token, "")
	if a.status != 200 || a.Data["id"] != token {
		t.Errorf("lookup: %d %s", a.status, a.body)
	}
	if a = l.vaultAsk("POST", "/v1/auth/token/revoke-self", token, ""); a.status != 204 || a.body != "" {
		t.Errorf("revoke: %d %s", a.status, a.body)
	}
	l.vaultAsk("GET", "/v1/secret/data/ci/app", token, "").want(t, "after", 403, "permission denied")
	l.vaultAsk("POST", "/v1/auth/token/lookup", l.vault.root, `{"token":"`+token+`"}`).want(t, "root's lookup", 403, "bad token")
}
