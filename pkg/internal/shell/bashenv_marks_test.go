package shell

import (
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/internal/child"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/pkg/internal/undo"
)

func TestRemovingABlockByItsMark(t *testing.T) {
	edit := BashEnv("x", "aws", child.Environment{Set: []child.Var{{Name: "A", Value: secret.New("1")}}})
	text, err := edit.Apply([]byte("export MINE=1\n"))
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), "export A='1'\n", "export A='2'\nexport THEIRS=1\n", 1) + "export LATER=1\n"
	mark := edit.Mark.(undo.Mark)
	remove := func(text string) ([]byte, error) {
		got, _, err := BlockMarkers()[mark.Kind].Remove([]map[string]string{mark.Values}, []byte(text), nil)
		return got, err
	}
	got, err := remove(changed)
	if err != nil || string(got) != "export MINE=1\nexport LATER=1\n" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := remove(strings.Replace(changed, "# <<<", "#", 1)); err == nil {
		t.Error("a block without an end is taken out")
	}
}
