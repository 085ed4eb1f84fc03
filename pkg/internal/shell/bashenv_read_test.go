package shell

import (
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/internal/child"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
)

func TestBlocks(t *testing.T) {
	const a, b = "# >>> oidc-broker aws >>>\nx\n# <<< oidc-broker aws <<<\n", "# >>> oidc-broker vault >>>\ny\n# <<< oidc-broker vault <<<\n"
	for _, row := range []struct{ name, text, want, err string }{
		{"none", "export A=1\n", "", ""},
		{"two", "x\n" + a + "y\n" + b, "aws vault", ""},
		{"CRLF", strings.ReplaceAll(a, "\n", "\r\n"), "aws", ""},
		{"no end", "# >>> oidc-broker aws >>>\nx\n", "aws", `block "aws" has no end`},
		{"twice", a + a, "aws aws", "begins a second time"},
		{"one within another", "# >>> oidc-broker aws >>>\n" + b, "aws vault", "begins within"},
	} {
		got, err := Blocks([]byte(row.text))
		if strings.Join(got, " ") != row.want || (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
			t.Errorf("%s: %q, %v", row.name, got, err)
		}
	}
}

func TestExported(t *testing.T) {
	const block = "# >>> oidc-broker aws >>>\nexport IN='x'\n# <<< oidc-broker aws <<<\n"
	got := Exported([]byte("export A=1\n B = 2\n  C=3\nexport D\nE+=4\n" + block + "export A=5\nexport  F='x=y'\n# G=1\nif x; then H=1\nexport I=\"$J\"; # x\nexport K=1\nunset L K\nM=\nexport N=1 O='2' && P=3; # Q=4\nR=1 S=2\nT=1 run\ndeclare -x U='a\nb'\necho V=1\n"))
	want := map[string]Export{"A": {9, true, secret.New("5")}, "C": {3, false, secret.New("3")}, "F": {10, true, secret.New("x=y")}, "I": {13, true, secret.New("$J")}, "M": {Line: 16, AfterBlock: true},
		"N": {17, true, secret.New("1")}, "O": {17, true, secret.New("2")}, "P": {17, true, secret.New("3")},
		"R": {18, true, secret.New("1")}, "S": {18, true, secret.New("2")}, "U": {Line: 20, AfterBlock: true}}
	if len(got) != len(want) {
		t.Errorf("%v", got)
	}
	for name, e := range want {
		if g := got[name]; g.Line != e.Line || g.AfterBlock != e.AfterBlock || g.Value.Reveal() != e.Value.Reveal() {
			t.Errorf("%s: %v %q, want %v %q", name, g, g.Value.Reveal(), e, e.Value.Reveal())
		}
	}
}

func FuzzBlocks(f *testing.F) {
	for _, s := range []string{"# >>> oidc-broker aws >>>\nexport A='b'\n# <<< oidc-broker aws <<<\n", "# <<< oidc-broker x <<<", "# >>> oidc-broker  >>>\n", "export =\nexport A=\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		names, err := Blocks(text)
		for _, name := range names {
			if err == nil && !isBlockName(name) {
				t.Errorf("a block %q", name)
			}
		}
		for name, e := range Exported(text) {
			if !child.IsName(name) || e.Line < 1 {
				t.Errorf("%q: %v", name, e)
			}
		}
	})
}
