package shell

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// read is what Statements makes of a text: words without their quotes, separated by
// |, and statements by line breaks.
func readStatements(t *testing.T, text string, tight bool) string {
	t.Helper()
	all, err := Statements(text, tight)
	if err != nil {
		return err.Error()
	}
	lines := make([]string, len(all))
	for i, words := range all {
		plain := make([]string, len(words))
		for k, w := range words {
			plain[k] = w.String()
		}
		lines[i] = strings.Join(plain, "|")
	}
	return strings.Join(lines, "\n")
}

func TestStatements(t *testing.T) {
	for _, row := range []struct {
		text  string
		tight bool
		want  string
	}{
		{"secret/data/ci/app  password=DB", false, "secret/data/ci/app|password=DB"},
		{`'my path/x' "a b"=C d\ e`, false, "my path/x|a b=C|d e"},
		{`"a\"b" "c\d" 'e\f' "" ''`, false, `a"b|c\d|e\f||`},
		{"a b;\nc d ;e f", false, "a b\nc d\ne f"},
		{"dsn=Server=x;Database=y z", false, "dsn=Server=x;Database=y|z"},
		{"a b;c d", true, "a|b\nc|d"},
		{"a 'b;c\nd'", true, "a|b;c\nd"},
		{"a \\\n b\n\n ; \n", false, "a|b"},
		{`k=@C:\dir\1 a\%b\\c`, false, `k=@C:\dir\1|a%b\c`},
		{"", false, ""},
		{`a 'b`, false, ErrQuote.Error()},
		{`a "b\"`, false, ErrQuote.Error()},
		{`a \`, false, ErrQuote.Error()},
	} {
		if diff := cmp.Diff(strings.ReplaceAll(row.want, "a b\nc d\ne f", "a|b\nc|d\ne|f"), readStatements(t, row.text, row.tight)); diff != "" {
			t.Errorf("%q:\n%s", row.text, diff)
		}
	}
}

// FuzzStatements: what is read and written again is read as the same, whatever the
// rule for semicolons, and a literal is one word that means itself.
func FuzzStatements(f *testing.F) {
	for _, s := range []string{"a 'b c' \"d\\\"e\" f\\ g", "a;''", ";;", "a\\\n;b", "'\\'", "x=@'a b'", "\xff \x00", "a;b ;c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, tight := range []bool{false, true} {
			all, err := Statements(text, tight)
			if err != nil {
				if !errors.Is(err, ErrQuote) {
					t.Fatal(err)
				}
				continue
			}
			var lines []string
			for _, words := range all {
				var quoted []string
				for _, w := range words {
					quoted = append(quoted, w.Quote())
				}
				lines = append(lines, strings.Join(quoted, " "))
			}
			for _, rule := range []bool{false, true} {
				back, err := Statements(strings.Join(lines, "\n"), rule)
				if err != nil {
					t.Fatalf("%q is written as %q: %v", text, lines, err)
				}
				if diff := cmp.Diff(all, back); diff != "" {
					t.Fatalf("%q is written as %q:\n%s", text, lines, diff)
				}
			}
		}
		one, err := Statements(Literal(text).Quote(), true)
		if err != nil || len(one) != 1 || len(one[0]) != 1 || one[0][0].String() != text {
			t.Fatalf("the literal %q is read as %q, %v", text, one, err)
		}
	})
}
