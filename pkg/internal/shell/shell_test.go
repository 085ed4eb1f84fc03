package shell

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/pkg/internal/child"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

func variable(name, value string) child.Var { return child.Var{Name: name, Value: secret.New(value)} }

// nasty are values that one shell or another is known to change.
func nasty() []string {
	var all strings.Builder
	for c := 1; c < 256; c++ {
		all.WriteByte(byte(c))
	}
	return []string{
		"", "plain", "with space", " leading", "trailing ", "\ttab\t", "'", "''", `'\''`, `"`, `\`, `\\`, `\'`, `a\`, `'a'b'`,
		"$HOME", "$(touch pwned)", "`touch pwned`", "${x:-y}", "$'x'", `$"x"`, "!", "!!", "!event", "~", "~root", "*", "?", "[a-z]", "{a,b}",
		"a;b", "a|b", "a&b", "a>b", "a<b", "(a)", "#a", "a #b", "a\n#b", "=", "==a", "a=b", "%PATH%", "%d", "^", "-n", "-e \\n", "\\n", "\\x41", "\\u0041",
		"\n", "a\nb", "a\n", "a\n\n\n", "\n\na", "\r", "a\r\nb", "a\rb", "a\x1b[31mb", "\x01", "\x1a", "\x7f",
		"caf\u00e9", "\u2018\u2019\u201a\u201b", "\u201c\u201d", "\U0001f511", "\u2028", "\ufeffx", "\xff", "\xc3", "a\xe9'b", "\xed\xa0\x80", "\xf6\x80",
		"# >>> oidc-broker aws >>>", "x\n# <<< oidc-broker aws <<<\ny", "EOF", all.String(), strings.Repeat("long ' ", 10000),
	}
}

// readers are the real shells that read what Render wrote, by the name that
// it is written for. print, run in the shell afterwards, must print the value
// of each variable followed by a NUL byte; a child process of the shell does
// so, since that is who the values are for.
func readers() []struct {
	name, shell string
	argv        []string
	required    bool
} {
	return []struct {
		name, shell string
		argv        []string
		required    bool
	}{
		{"sh", "sh", []string{"sh", "-eu"}, true},
		{"bash", "sh", []string{"bash", "-eu", "-o", "pipefail"}, true},
		{"bash --posix", "sh", []string{"bash", "--posix", "-eu"}, true},
		{"dash", "sh", []string{"dash", "-eu"}, true},
		{"zsh", "sh", []string{"zsh", "-f", "-eu"}, false},
		{"busybox sh", "sh", []string{"busybox", "sh", "-eu"}, false},
		{"fish", "fish", []string{"fish", "--no-config"}, true},
		{"pwsh", "powershell", []string{"pwsh", "-NoProfile", "-NonInteractive", "-File"}, false},
	}
}

// readBack lets the shell run the script and returns what a child of it then
// has in V0, V1, ...
func readBack(t testing.TB, argv []string, script []byte, n int) []string {
	t.Helper()
	dir := t.TempDir()
	ext := ""
	if argv[0] == "pwsh" {
		ext = ".ps1"
	}
	file := filepath.Join(dir, "script"+ext)
	// The test itself, run as printer, prints the variables.
	script = append(bytes.Clone(script), fmt.Sprintf("\n%s%s -test.run=TestPrintVariables -test.count=1\n", map[bool]string{true: "& "}[ext != ""], os.Args[0])...)
	if err := os.WriteFile(file, script, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(argv[0], append(argv[1:len(argv):len(argv)], file)...)
	out := filepath.Join(dir, "out")
	cmd.Dir = dir
	cmd.Env = append(child.Environment{Unset: []string{"BASH_ENV", "ENV"}}.Apply(os.Environ()), "DELIVER_PRINT="+fmt.Sprint(n), "DELIVER_TO="+out, "GONE=still here", "HOME="+dir)
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%.2000s", argv, err, msg)
	} else if strings.TrimSpace(string(msg)) != "PASS" {
		t.Fatalf("%v says %.2000q", argv, msg)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "pwned*")); left != nil {
		t.Fatalf("%v: a value was run as a command", argv)
	}
	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(got), "\x00"), "\x00")
}

// TestPrintVariables is no test of its own: see readBack.
func TestPrintVariables(t *testing.T) {
	var n int
	if _, err := fmt.Sscan(os.Getenv("DELIVER_PRINT"), &n); err != nil {
		t.Skip("run by the tests of Render")
	}
	var out bytes.Buffer
	for i := range n {
		out.WriteString(os.Getenv(fmt.Sprintf("V%d", i)) + "\x00")
	}
	if gone, there := os.LookupEnv("GONE"); there {
		fmt.Fprintf(&out, "GONE is %s\x00", gone)
	}
	if err := os.WriteFile(os.Getenv("DELIVER_TO"), out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// numbered names the values V0, V1, ...
func numbered(values []string) child.Environment {
	e := child.Environment{Unset: []string{"GONE", "NEVER_WAS"}}
	for i, v := range values {
		e.Set = append(e.Set, variable(fmt.Sprintf("V%d", i), v))
	}
	return e
}

func TestRealShellsReadBackTheSameBytes(t *testing.T) {
	for _, r := range readers() {
		t.Run(r.name, func(t *testing.T) {
			if _, err := exec.LookPath(r.argv[0]); err != nil {
				if r.required {
					testenv.Missing(t, r.argv[0])
				}
				t.Skip("not installed")
			}
			var values []string
			for _, v := range nasty() {
				if _, err := Render(r.shell, numbered([]string{v})); err == nil {
					values = append(values, v)
				} else if r.shell != "powershell" {
					t.Errorf("%q is refused: %v", v, err)
				}
			}
			script, err := Render(r.shell, numbered(values))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(values, readBack(t, r.argv, script, len(values))); diff != "" {
				t.Errorf("(-written +read)\n%s", diff)
			}
		})
	}
}

// The way in which users run it: eval takes the output from a command
// substitution, which cuts newlines at its end.
func TestEvalOfACommandSubstitution(t *testing.T) {
	values := nasty()
	script, err := Render("sh", numbered(values))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "output")
	if err := os.WriteFile(file, script, 0o600); err != nil {
		t.Fatal(err)
	}
	eval := []byte(`eval "$(cat ` + file + `)"`)
	for _, shell := range []string{"sh", "bash"} {
		if _, err := exec.LookPath(shell); err != nil {
			testenv.Missing(t, shell)
		}
		if diff := cmp.Diff(values, readBack(t, []string{shell, "-eu"}, eval, len(values))); diff != "" {
			t.Errorf("%s (-written +read)\n%s", shell, diff)
		}
	}
}

// fish keeps universal variables for all sessions: ours must not take one
// away, and the children of this session must not see its value.
func TestFishKeepsUniversalVariables(t *testing.T) {
	if _, err := exec.LookPath("fish"); err != nil {
		testenv.Missing(t, "fish")
	}
	unset, err := Render("fish", child.Environment{Unset: []string{"NAME"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, universal, before, inherited string
		child, later                       string // what a child prints then, and what the next session has
	}{
		{name: "never set"},
		{name: "inherited", inherited: "NAME=i"},
		{name: "global", before: "set -gx NAME g"},
		{name: "global, not exported", before: "set -g NAME g"},
		{"universal", "set -Ux NAME u", "", "", "NAME=\n", "u exported\n"},
		{"universal and inherited", "set -Ux NAME u", "", "NAME=i", "NAME=\n", "u exported\n"},
		{"universal and global", "set -Ux NAME u", "set -gx NAME g", "", "NAME=\n", "u exported\n"},
		{"universal, and a global one that is not exported", "set -Ux NAME u", "set -g NAME g", "", "NAME=\n", "u exported\n"},
		{"universal, not exported", "set -U NAME u", "", "NAME=i", "", "u\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			home := t.TempDir()
			fish := func(script string, env ...string) string {
				cmd := exec.Command("fish", "-c", script)
				cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "XDG_CONFIG_HOME=" + home, "XDG_DATA_HOME=" + home}, env...)
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("%s: %v\n%s", script, err, out)
				}
				return string(out)
			}
			const show = "env | string match 'NAME=*'; or true"
			if row.universal != "" {
				fish(row.universal)
			}
			// Twice, as a session may get new credentials.
			got := fish(row.before+"\n"+strings.Repeat(string(unset)+"or exit 1\n", 2)+show, row.inherited)
			if got != row.child {
				t.Errorf("a child prints %q, want %q", got, row.child)
			}
			later := fish("set -qU NAME; and echo $NAME (set -qUx NAME; and echo exported); or true")
			if later != row.later {
				t.Errorf("the next session prints %q, want %q", later, row.later)
			}
		})
	}
}

func FuzzShReadsBackTheSameBytes(f *testing.F) {
	for i, v := range nasty() {
		if len(v) < 1000 {
			f.Add(v, nasty()[(i+7)%64], "x"+v)
		}
	}
	f.Fuzz(func(t *testing.T, a, b, c string) {
		values := []string{a, b, c, a + b, "'" + c, a + "\n" + b}
		for i, v := range values {
			values[i] = strings.ReplaceAll(v, "\x00", "")
		}
		script, err := Render("sh", numbered(values))
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("sh", "-eu")
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
		cmd.Stdin = bytes.NewReader(append(script, `printf '%s\0' "$V0" "$V1" "$V2" "$V3" "$V4" "$V5"`...))
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.Join(values, "\x00")+"\x00", string(out)); diff != "" {
			t.Errorf("(-written +read)\n%s", diff)
		}
	})
}

func TestRender(t *testing.T) {
	for _, row := range []struct {
		shell string
		e     child.Environment
		want  string
	}{
		{"sh", child.Environment{Set: []child.Var{variable("A", "it's"), variable("B", "")}, Unset: []string{"C"}}, "unset C\nexport A='it'\\''s'\nexport B=''\n"},
		{"sh", child.Environment{}, ""},
		{"sh", child.Environment{Set: []child.Var{variable("A", "1"), variable("B", "2"), variable("A", "3")}, Unset: []string{"B", "C", "C"}}, "unset C\nexport A='3'\nexport B='2'\n"},
		{"fish", child.Environment{Set: []child.Var{variable("A", `it's \n`)}, Unset: []string{"C"}}, "if set -qUx C; set -gx C ''; else if set -qg C; set -eg C; end\nset -gx A 'it\\'s \\\\n'\n"},
		{"powershell", child.Environment{Set: []child.Var{variable("A", "it's $x `n")}, Unset: []string{"C"}}, "Remove-Item Env:C -ErrorAction SilentlyContinue\n$Env:A = 'it''s $x `n'\n"},
		{"powershell", child.Environment{Set: []child.Var{variable("A", "a\r\nb")}}, "$Env:A = 'a' + [char]13 + [char]10 + 'b'\n"},
		{"powershell", child.Environment{Set: []child.Var{variable("A", "\u2018'\U0001f511")}}, "$Env:A = '' + [char]8216 + '''' + [char]55357 + [char]56593\n"},
		{"cmd", child.Environment{Set: []child.Var{variable("A", "a&b|c<d>e^f(g) '#=")}, Unset: []string{"C"}}, "set \"C=\"\nset \"A=a&b|c<d>e^f(g) '#=\"\n"},
		{"dotenv", child.Environment{Set: []child.Var{variable("A", "arn:aws:iam::1:role/x+=@,%._-"), variable("B", "")}, Unset: []string{"C"}}, "A=arn:aws:iam::1:role/x+=@,%._-\nB=\n"},
		{"json", child.Environment{Set: []child.Var{variable("B", "<&>\"\n\u2028"), variable("A", "")}, Unset: []string{"C"}}, "{\n  \"B\": \"<&>\\\"\\n\\u2028\",\n  \"A\": \"\"\n}\n"},
		{"json", child.Environment{Unset: []string{"C"}}, "{}\n"},
	} {
		got, err := Render(row.shell, row.e)
		if err != nil {
			t.Errorf("%s: %v", row.shell, err)
		}
		if diff := cmp.Diff(row.want, string(got)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", row.shell, diff)
		}
	}
}

func TestRenderRefuses(t *testing.T) {
	const canary = "s3cr3t"
	all := Shells()
	for _, row := range []struct {
		shells      []string
		name, value string
		want        string
	}{
		{all, "A", canary + "\x00", "the value of A contains a NUL byte"},
		{all, "1A", canary, `"1A" cannot be the name`},
		{all, "", canary, `"" cannot be the name`},
		{all, "A-B", canary, `"A-B" cannot be the name`},
		{all, "A=B", canary, `"A=B" cannot be the name`},
		{all, "A\nB", canary, `"A\nB" cannot be the name`},
		{all, "\u00c4", canary, `cannot be the name`},
		{[]string{"zsh", "", "SH"}, "A", canary, "unknown shell"},
		{[]string{"powershell"}, "A", "", "powershell cannot hold the value of A unchanged: assigning an empty value removes"},
		{[]string{"powershell", "json"}, "A", canary + "\xff", "it is not valid UTF-8"},
		{[]string{"cmd"}, "A", "", "an empty value removes"},
		{[]string{"cmd", "dotenv"}, "A", canary + "\n", "it contains a line break"},
		{[]string{"cmd", "dotenv"}, "A", canary + "\rx", "it contains a line break"},
		{[]string{"cmd"}, "A", canary + `"`, "it contains a double quote"},
		{[]string{"cmd"}, "A", canary + "%", "it contains a percent sign"},
		{[]string{"cmd"}, "A", canary + "!", "it contains an exclamation mark"},
		{[]string{"cmd"}, "A", canary + "\x1a", "it contains a control character"},
		{[]string{"cmd"}, "A", canary + "\u00e9", "it contains a character beyond ASCII"},
		{[]string{"cmd"}, "A", strings.Repeat(canary, 2000), "it is longer than"},
		{[]string{"dotenv"}, "A", "=" + canary, "it starts with ="},
		{[]string{"dotenv"}, "A", canary + " x", "treat differently"},
		{[]string{"dotenv"}, "A", `"` + canary + `"`, "treat differently"},
		{[]string{"dotenv"}, "A", canary + "$x", "treat differently"},
		{[]string{"dotenv"}, "A", canary + "#", "treat differently"},
		{[]string{"dotenv"}, "A", `\` + canary, "treat differently"},
		{[]string{"dotenv"}, "A", "a:~" + canary, "treat differently"},
		{[]string{"dotenv"}, "A", canary + "\u00e9", "treat differently"},
	} {
		for _, shell := range row.shells {
			out, err := Render(shell, child.Environment{Set: []child.Var{variable("FIRST", "x"), variable(row.name, row.value)}})
			if fault.KindOf(err) != fault.Usage || !strings.Contains(fmt.Sprint(err), row.want) {
				t.Errorf("%s, %q: %v, want %q", shell, row.name, err, row.want)
			}
			if out != nil || strings.Contains(fmt.Sprint(err, fault.Hints(err)), canary) {
				t.Errorf("%s: output %q, error %v: shows the value", shell, out, err)
			}
		}
		if _, err := Render(row.shells[0], child.Environment{Unset: []string{row.name}}); !child.IsName(row.name) && fault.KindOf(err) != fault.Usage {
			t.Errorf("unset of %q: %v", row.name, err)
		}
	}
}

func TestJSONIsReadBack(t *testing.T) {
	var values []string
	for _, v := range nasty() {
		if _, err := Render("json", numbered([]string{v})); err == nil {
			values = append(values, v)
		}
	}
	out, err := Render("json", numbered(values))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	for i, v := range values {
		if got[fmt.Sprintf("V%d", i)] != v {
			t.Errorf("%q came back as %q", v, got[fmt.Sprintf("V%d", i)])
		}
	}
}

// What the dotenv form accepts a shell that sources the file must read alike.
func TestDotenvIsReadBackByShells(t *testing.T) {
	var values []string
	for _, v := range append(nasty(), "abc/def+ghi=jkl==", "2099-01-02T03:04:05+00:00", "arn:aws:iam::1:role/x", "a%2Fb@c,d:/e") {
		if _, err := Render("dotenv", numbered([]string{v})); err == nil {
			values = append(values, v)
		}
	}
	script, err := Render("dotenv", numbered(values))
	if err != nil {
		t.Fatal(err)
	}
	script = append([]byte("unset GONE; set -a\n"), script...)
	for _, argv := range [][]string{{"sh"}, {"bash"}, {"zsh", "-f"}, {"busybox", "sh"}} {
		if _, err := exec.LookPath(argv[0]); err != nil {
			continue
		}
		if diff := cmp.Diff(values, readBack(t, argv, script, len(values))); diff != "" {
			t.Errorf("%v (-written +read)\n%s", argv, diff)
		}
	}
}

func TestApply(t *testing.T) {
	e := child.Environment{Set: []child.Var{variable("A", "1"), variable("B", "2"), variable("A", "3"), variable("Both", "x")}, Unset: []string{"C", "Both"}}
	environ := []string{"X=1", "C=c", "A=old", "=C:=C:\\", "X=2", "a=lower", "EMPTY=", "B=", "y=1", "Y=2"}
	for _, row := range []struct {
		name     string
		foldCase bool
		want     []string
	}{
		{"unix", false, []string{"=C:=C:\\", "X=2", "a=lower", "EMPTY=", "y=1", "Y=2", "B=2", "A=3", "Both=x"}},
		{"windows", true, []string{"=C:=C:\\", "X=2", "EMPTY=", "Y=2", "B=2", "A=3", "Both=x"}},
	} {
		if diff := cmp.Diff(row.want, e.ApplyFold(environ, row.foldCase)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", row.name, diff)
		}
	}
	if got := (child.Environment{}).Apply(nil); len(got) != 0 {
		t.Errorf("nothing applied to nothing: %q", got)
	}
}

func TestWord(t *testing.T) {
	for in, want := range map[string]string{
		"": "''", "https://oidc.circleci.com/org/a-b": "https://oidc.circleci.com/org/a-b", "a,b": "a,b",
		"x;id": "'x;id'", "$(id)": "'$(id)'", "it's": `'it'\''s'`, "a b": "'a b'", "~": "'~'", "é": "'é'", "a\nb": "'a\nb'",
	} {
		if got := Word(in); got != want {
			t.Errorf("Word(%q) = %s, want %s", in, got, want)
		}
	}
}

// TestShellNamed: people name the shell that they have.
func TestShellNamed(t *testing.T) {
	for name, want := range map[string]string{
		"bash": "sh", "zsh": "sh", "dash": "sh", "ksh": "sh", "ash": "sh", "busybox": "sh", "/bin/bash": "sh", "/usr/local/bin/fish": "fish",
		"Bash": "sh", "pwsh": "powershell", "PowerShell": "powershell", `C:\Program Files\PowerShell\7\pwsh.exe`: "powershell", "cmd.exe": "cmd",
		"sh": "sh", "json": "json", "tcsh": "tcsh", "csh": "csh", "nu": "nu", "": "", "/": "/",
	} {
		if got := Named(name); got != want {
			t.Errorf("ShellNamed(%q) = %q, want %q", name, got, want)
		}
	}
}
