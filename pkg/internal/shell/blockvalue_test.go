package shell

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/internal/child"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
)

func TestBlockValue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bash_env")
	if got := BlockValue(path, "vault", "VAULT_TOKEN"); !got.Empty() {
		t.Error("a value from no file")
	}
	err := files.Commit(t.Context(),
		BashEnv(path, "aws", child.Environment{Set: []child.Var{{Name: "VAULT_TOKEN", Value: secret.New("another block's")}}}),
		BashEnv(path, "vault", child.Environment{Set: []child.Var{
			{Name: "VAULT_TOKEN", Value: secret.New("hvs.x-Y_z")}, {Name: "LINES", Value: secret.New("a\nexport VAULT_TOKEN='b'\n")}, {Name: "QUOTE", Value: secret.New("it's")},
		}}))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"VAULT_TOKEN": "hvs.x-Y_z", "LINES": "", "QUOTE": "", "MISSING": ""} {
		if got := BlockValue(path, "vault", name).Reveal(); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if err := os.WriteFile(path, []byte(beginMark+"vault"+beginEnd+"\nexport VAULT_TOKEN='cut off'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !BlockValue(path, "vault", "VAULT_TOKEN").Empty() {
		t.Error("a value from a block without its end")
	}
}
