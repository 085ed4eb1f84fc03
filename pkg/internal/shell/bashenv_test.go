package shell

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/pkg/internal/child"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

func TestBashEnv(t *testing.T) {
	e := child.Environment{Set: []child.Var{variable("A", "new")}, Unset: []string{"B"}}
	const block = "# >>> oidc-broker aws >>>\nunset B\nexport A='new'\n# <<< oidc-broker aws <<<\n"
	const stale = "# >>> oidc-broker aws >>>\nexport OLD='x'\n# <<< oidc-broker aws <<<\n"
	const vault = "# >>> oidc-broker vault >>>\nexport V='x'\n# <<< oidc-broker vault <<<\n"
	const named = "# >>> oidc-broker aws deploy >>>\nexport V='x'\n# <<< oidc-broker aws deploy <<<\n"
	for _, row := range []struct {
		name, old string
		e         child.Environment
		want      string
	}{
		{"no file", "", e, block},
		{"appended", "export X=1\n", e, "export X=1\n" + block},
		{"after a missing final newline", "export X=1", e, "export X=1\n" + block},
		{"replaced where it stands", "export X=1\n\n" + stale + "export Y=2", e, "export X=1\n\n" + block + "export Y=2"},
		{"already so", "a\n" + block + "b\n", e, "a\n" + block + "b\n"},
		{"other blocks are kept", vault + stale + named, e, vault + block + named},
		{"a block of a longer name is another", named, e, named + block},
		{"CRLF neighbours", "export X=1\r\n" + stale + "export Y=2\r\n", e, "export X=1\r\n" + block + "export Y=2\r\n"},
		{"a block that became CRLF", "a\r\n" + strings.ReplaceAll(stale, "\n", "\r\n") + "b\r\n", e, "a\r\n" + block + "b\r\n"},
		{"an end without newline", stale[:len(stale)-1], e, block},
		{"bytes that are no text", "\xff\x00\n" + stale + "\xfe", e, "\xff\x00\n" + block + "\xfe"},
		{"no marker: indented, or not alone on its line", " # >>> oidc-broker aws >>>\n# >>> oidc-broker aws >>> x\n", e, " # >>> oidc-broker aws >>>\n# >>> oidc-broker aws >>> x\n" + block},
		{"nothing to say takes the block out", "a\n" + stale + "b\n", child.Environment{}, "a\nb\n"},
		{"nothing to say, nothing there", "a", child.Environment{}, "a"},
	} {
		t.Run(row.name, func(t *testing.T) {
			edit := BashEnv("/x/bash_env", "aws", row.e)
			if edit.Path != "/x/bash_env" || !edit.Private {
				t.Errorf("path %q, private %v", edit.Path, edit.Private)
			}
			got, err := edit.Apply([]byte(row.old))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(row.want, string(got)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if again, err := edit.Apply(got); err != nil || !bytes.Equal(got, again) {
				t.Errorf("a second time: %v, %q", err, again)
			}
		})
	}
}

func TestBashEnvLeavesAlone(t *testing.T) {
	const canary = "s3cr3t"
	begin, end := "# >>> oidc-broker aws >>>\n", "# <<< oidc-broker aws <<<\n"
	for _, row := range []struct{ name, old, want string }{
		{"no end", "a\n" + begin + canary + "\n", `line 2: block "aws" has no end`},
		{"no begin", "a\n" + end, `line 2: block "aws" ends without having begun`},
		{"two", begin + end + canary + "\n" + begin + end, `line 4: block "aws" begins a second time`},
		{"nested in itself", begin + canary + "\n" + begin + end + end, `line 3: block "aws" begins within block "aws", which began on line 1`},
		{"nested in another", "# >>> oidc-broker gcp >>>\n" + begin + end + "# <<< oidc-broker gcp <<<\n", `line 2: block "aws" begins within block "gcp"`},
		{"another in ours", begin + "# >>> oidc-broker gcp >>>\n# <<< oidc-broker gcp <<<\n" + end, `line 2: block "gcp" begins within block "aws"`},
		{"another's end", begin + "# <<< oidc-broker gcp <<<\n", `line 2: block "gcp" ends without having begun`},
		{"another without end", "# >>> oidc-broker gcp >>>\n", `line 1: block "gcp" has no end`},
	} {
		got, err := BashEnv("f", "aws", child.Environment{Set: []child.Var{variable("A", "1")}}).Apply([]byte(row.old))
		if got != nil || fault.KindOf(err) != fault.Local || !strings.Contains(fmt.Sprint(err), row.want) {
			t.Errorf("%s: %q, %v\nwant %q", row.name, got, err, row.want)
		}
		if len(fault.Hints(err)) == 0 || strings.Contains(fmt.Sprint(err), canary) {
			t.Errorf("%s: no hint, or a line of the file is shown: %v", row.name, err)
		}
	}
	if _, err := BashEnv("f", "aws", child.Environment{Set: []child.Var{variable("1", "")}}).Apply(nil); fault.KindOf(err) != fault.Usage {
		t.Errorf("a bad name: %v", err)
	}
	for _, block := range []string{"", "a\nb", "a\x00", "caf\u00e9"} {
		if _, err := BashEnv("f", block, child.Environment{}).Apply(nil); err == nil || fault.KindOf(err) != fault.Internal {
			t.Errorf("block %q: %v", block, err)
		}
	}
}

// Whatever the values, the file is replaced, never appended to, and bash
// reads them back from it.
func TestBashReadsTheValuesFromBashEnv(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		testenv.Missing(t, "bash")
	}
	values := nasty()
	file := filepath.Join(t.TempDir(), "bash_env")
	if err := os.WriteFile(file, []byte("export OTHER=1"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := files.Commit(t.Context(), BashEnv(file, "aws", numbered(values))); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	out := readBack(t, []string{"env", "BASH_ENV=" + file, "bash"}, []byte(`test "$OTHER" = 1`), len(values))
	if diff := cmp.Diff(values, out); diff != "" {
		t.Errorf("(-written +read)\n%s", diff)
	}
	if text, err := os.ReadFile(file); err != nil || bytes.Count(text, []byte("export V0=")) != 1 {
		t.Errorf("appended: %v", err)
	}
}

// FuzzBashEnv: what is outside of the block stays the same bytes, and a second
// edit changes nothing, whatever is in the file and in the value.
func FuzzBashEnv(f *testing.F) {
	for _, v := range nasty() {
		f.Add([]byte(v), v)
	}
	f.Add([]byte("a\n# >>> oidc-broker aws >>>\nx\n# <<< oidc-broker aws <<<\nb"), "\n# <<< oidc-broker aws <<<")
	f.Fuzz(func(t *testing.T, old []byte, value string) {
		edit := BashEnv("f", "aws", child.Environment{Set: []child.Var{variable("A", strings.ReplaceAll(value, "\x00", ""))}})
		got, err := edit.Apply(old)
		if err != nil {
			return
		}
		again, err := edit.Apply(got)
		if err != nil || !bytes.Equal(got, again) {
			t.Fatalf("a second time: %v\nold %q\ngot %q\nnow %q", err, old, got, again)
		}
		gone, err := BashEnv("f", "aws", child.Environment{}).Apply(got)
		if err != nil {
			t.Fatal(err)
		}
		rest, err := BashEnv("f", "aws", child.Environment{}).Apply(old)
		if err != nil {
			t.Fatal(err)
		}
		if string(gone) != string(rest) && string(gone) != string(rest)+"\n" {
			t.Fatalf("other bytes changed\nold %q\ngot %q", old, got)
		}
	})
}

func TestHasBlock(t *testing.T) {
	dir := t.TempDir()
	ours := "export X=1\n# >>> oidc-broker aws deploy >>>\nexport A='1'\n# <<< oidc-broker aws deploy <<<\nexport Y=2\n"
	for _, row := range []struct {
		name, text, block string
		want              bool
	}{
		{"its name", ours, "aws deploy", true},
		{"any name", ours, "", true},
		{"the beginning of its name", ours, "aws", false},
		{"another name", ours, "gcp", false},
		{"the second of two", strings.ReplaceAll(ours, "aws deploy", "gcp") + ours, "aws deploy", true},
		{"CRLF", strings.ReplaceAll(ours, "\n", "\r\n"), "aws deploy", true},
		{"without its end, bash runs it all the same", "# >>> oidc-broker aws >>>", "aws", true},
		{"an end alone", "# <<< oidc-broker aws <<<\n", "", false},
		{"indented", " " + ours[len("export X=1\n"):], "", false},
		{"in a line", "export X='# >>> oidc-broker aws >>>\n", "", false},
		{"an empty file", "", "", false},
	} {
		path := filepath.Join(dir, "f")
		if err := os.WriteFile(path, []byte(row.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := HasBlock(path, row.block); got != row.want {
			t.Errorf("%s: %v", row.name, got)
		}
	}
	for _, path := range []string{"", dir, os.DevNull, filepath.Join(dir, "missing"), filepath.Join(dir, "no", "file")} {
		if HasBlock(path, "") {
			t.Errorf("%q has none", path)
		}
	}
	large, err := os.Create(filepath.Join(dir, "large"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = large.Close() }()
	if _, err := large.WriteString(ours); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		size int64
		want bool
	}{{maxBashEnv, true}, {maxBashEnv + 1, false}} {
		if err := large.Truncate(row.size); err != nil {
			t.Fatal(err)
		}
		if got := HasBlock(large.Name(), ""); got != row.want {
			t.Errorf("of %d bytes: %v", row.size, got)
		}
	}
}
