package ini

import (
	"fmt"
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// written shows sections in one line.
func written(sections []Section) string {
	var b strings.Builder
	for _, s := range sections {
		fmt.Fprintf(&b, "%d[%s]", s.Line, s.Name)
		for _, set := range s.Settings {
			fmt.Fprintf(&b, " %d:%s=%s", set.Line, set.Key, set.Value.Reveal())
		}
		b.WriteString(";")
	}
	return b.String()
}

func TestReadINI(t *testing.T) {
	for _, row := range []struct{ name, text, want, err string }{
		{"empty", "", "", ""},
		{"two", "# c\n[a]\nX = 1\ny:2 # no comment\n\n[profile b]\n", "2[a] 3:x=1 4:y=2 # no comment;6[profile b];", ""},
		{"nested", "[a]\ns3 =\n  max = 1\nregion = x\n", "1[a] 2:s3= 4:region=x;", ""},
		{"CRLF", "[a]\r\nk = v\r\n", "1[a] 2:k=v;", ""},
		{"DEFAULT", "[DEFAULT]\nk = v\n[a]\n", "1[DEFAULT] 2:k=v;3[a];", ""},
		{"what is before the fault", "[a]\nk = v\n[a]\n", "1[a] 2:k=v;", "line 3"},
		{"no header", "k = v\n", "", "line 1: a line before the first section"},
		{"BOM", "\uFEFF[a]\n", "", "byte order mark"},
	} {
		got, err := ReadINI([]byte(row.text))
		if written(got) != row.want {
			t.Errorf("%s: %s, want %s", row.name, written(got), row.want)
		}
		if (err == nil) != (row.err == "") || err != nil && (!strings.Contains(err.Error(), row.err) || fault.KindOf(err) != fault.Local) {
			t.Errorf("%s: error %v, want %q", row.name, err, row.err)
		}
	}
}

func TestConfigProfile(t *testing.T) {
	for header, want := range map[string]string{
		"default": "default", "profile default": "default", "profile a": "a", "profile 'a b'": "a b", "profile\ta": "a",
		"a": "", "profile": "", "profile a b": "", "profile 'a": "", "sso-session x": "", "services x": "", "preview": "",
	} {
		got, ok := ConfigProfile(header)
		if got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v", header, got, ok)
		}
	}
}

// FuzzReadINI: nothing panics, and what is read stands in the file.
func FuzzReadINI(f *testing.F) {
	for _, s := range []string{"[a]\nk = v\n", "[a]\nk =\n n = v\n", "[profile 'a b']\r\nx:y", "[a", "\uFEFF", "[a]\n[a]\n", "[]\n", "[DEFAULT]\na=b\n[DEFAULT]\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		sections, _ := ReadINI(text)
		line := 0
		for _, s := range sections {
			if s.Line <= line || !strings.Contains(string(text), s.Name) {
				t.Errorf("section %q on line %d after %d", s.Name, s.Line, line)
			}
			line = s.Line
			for _, set := range s.Settings {
				if set.Line <= line || set.Key == "" || !strings.Contains(string(text), set.Value.Reveal()) {
					t.Errorf("key %q on line %d after %d", set.Key, set.Line, line)
				}
				line = set.Line
			}
			_, _ = ConfigProfile(s.Name)
		}
	})
}
