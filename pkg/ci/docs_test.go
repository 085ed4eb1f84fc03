package ci

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDocs: the table of docs/ci.md is made of the data. UPDATE=1 rewrites it.
func TestDocs(t *testing.T) {
	var table strings.Builder
	table.WriteString("| `--ci` | system | shown by | token | valid for | issuer |\n|---|---|---|---|---|---|\n")
	for _, s := range Systems() {
		from := "requested for each audience"
		var names []string
		for _, v := range append(s.Variables, s.Files...) {
			names = append(names, "`"+v+"`")
		}
		if len(names) > 0 {
			from = strings.Join(names, ", ")
		}
		if s.Mints && len(names) > 0 {
			from += ", else minted"
		}
		fmt.Fprintf(&table, "| `%s` | %s | `%s` | %s | %s | `%s` |\n", s.Name, s.Title, strings.Join(s.Signs, "`, `"), from, s.Lifetime, s.Example)
	}
	path := filepath.Join("..", "..", "docs", "ci.md")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := strings.ReplaceAll(string(b), "\r\n", "\n")
	const mark = "<!-- systems -->\n"
	before, rest, ok := strings.Cut(page, mark)
	if !ok {
		t.Fatalf("%s has no %s", path, mark)
	}
	_, after, _ := strings.Cut(strings.TrimPrefix(rest, "\n"), "\n\n")
	if strings.HasPrefix(strings.TrimPrefix(rest, "\n"), "A self-hosted") {
		after = strings.TrimPrefix(rest, "\n")
	}
	want := before + mark + "\n" + table.String() + "\n" + after
	if os.Getenv("UPDATE") == "1" {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if page != want {
		t.Errorf("stale: UPDATE=1 go test ./pkg/ci -run TestDocs rewrites the table of docs/ci.md")
	}
}

// TestSystems: each is complete, and its samples are of its issuer and grammar.
func TestSystems(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Systems() {
		if s.Name == "" || s.Title == "" || len(s.Signs) == 0 || s.Token == nil || s.Look == nil || s.Lifetime == "" || len(s.Samples) == 0 || seen[s.Name] {
			t.Errorf("%q is not complete, or twice there", s.Name)
		}
		seen[s.Name] = true
		if got := Issuing(s.Example); got == nil || got.Name != s.Name {
			t.Errorf("the issuer %q is of %v, want %s", s.Example, got, s.Name)
		}
		for _, sample := range s.Samples {
			if got := Issuing(sample.Claims["iss"].(string)); got == nil || got.Name != s.Name {
				t.Errorf("%s: the sample %s has the issuer of another", s.Name, sample.Name)
			}
			if s.Subject.Parse(sample.Claims["sub"].(string)) == nil {
				t.Errorf("%s: the sample %s has no subject of the grammar: %s", s.Name, sample.Name, sample.Claims["sub"])
			}
		}
		for _, c := range s.Claims {
			if c.Control != ByAnyone && c.Control != ByMember && c.Control != ByPlatform {
				t.Errorf("%s: who controls %s?", s.Name, c.Name)
			}
		}
	}
}
