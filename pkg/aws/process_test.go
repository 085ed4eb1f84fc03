package aws

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/testdata/testenv"

	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/ini"
)

// speakable are words that must come out of any SDK's reader as they went in.
func speakable() []string {
	return []string{
		"/usr/local/bin/oidc-broker", "/my tools/x", "it's", "''", `say "hi"`, `"both"`, "a#b", "#a", ";", "a;b", "%s%PATH%", "$HOME", "${HOME}", "$(id)", "`id`",
		`back\slash`, `\`, "*", "?", "~", "~/x", "a&&b", "|", ">x", "<x", "(a)", "{a,b}", "!", "^", "a=b", "=", "-", "ümlaut", "日本", "a  b", " ", "NAME=VALUE", "[x]",
	}
}

// TestLineIsReadAlike: by botocore's splitting and by sh -c, as other SDKs do it.
func TestLineIsReadAlike(t *testing.T) {
	words := append(append(Process{"/bin/x"}, speakable()...), "--end")
	line, err := words.line(false)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := ini.Words(line); !ok {
		t.Errorf("an open quote: %s", line)
	} else if diff := cmp.Diff([]string(words), got); diff != "" {
		t.Errorf("botocore:\n%s", diff)
	}
	sh := testenv.Program(t, "sh")
	c := exec.Command(sh, "-c", `x() { printf '%s\0' "$@"; }; x `+line)
	c.Dir = t.TempDir()
	out, err := c.Output()
	if diff := cmp.Diff([]string(words), strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")); diff != "" || err != nil {
		t.Errorf("sh: %v\n%s", err, diff)
	}
}

func FuzzLine(f *testing.F) {
	for _, w := range speakable() {
		f.Add(w, "x")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		words := Process{"/bin/x", a, b, "--end"}
		line, err := words.line(false)
		if err != nil {
			if fault.KindOf(err) != fault.Usage {
				t.Error(err)
			}
			return
		}
		got, ok := ini.Words(line)
		if diff := cmp.Diff([]string(words), got); !ok || diff != "" || strings.ContainsAny(line, "\r\n") {
			t.Errorf("%s:\n%s", line, diff)
		}
		// The reader of the file has to take it as it is.
		edits, err := words.Profile("p", Files{Credentials: "/c", Config: "/f"}, "eu-west-1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := edits[1].Apply(nil); err != nil {
			t.Error(err)
		}
	})
}

func TestLineThatCannotBe(t *testing.T) {
	for _, row := range []struct {
		word    string
		windows bool
		want    string
	}{
		{"a #b", false, "for a comment"},
		{"a ;b", false, "for a comment"},
		{"a\u00a0#b", false, "for a comment"},
		{"a\nb", false, "control character"},
		{"a\tb", false, "control character"},
		{"\x00", false, "control character"},
		{"\xff", false, "not valid UTF-8"},
		{`C:\Program Files\x`, true, "quotes in different ways"},
		{"%PATH%", true, "quotes in different ways"},
		{`"`, true, "quotes in different ways"},
		{"a&b", true, "quotes in different ways"},
	} {
		for i, p := range []Process{{row.word, "x"}, {"/bin/x", row.word, "x"}} {
			_, err := p.line(row.windows)
			if fault.KindOf(err) != fault.Usage || !strings.Contains(err.Error(), row.want) || len(fault.Hints(err)) != 1 {
				t.Errorf("%d %q: %v, %q", i, row.word, err, fault.Hints(err))
			}
		}
	}
	if line, err := (Process{`C:\bin\x.exe`, "aws", "--role-arn", testRole, "a=b"}).line(true); err != nil || line != `C:\bin\x.exe aws --role-arn `+testRole+" a=b" {
		t.Errorf("%s, %v", line, err)
	}
	if _, err := (Process{"/a b", "c d"}).line(false); fault.KindOf(err) != fault.Internal {
		t.Errorf("quotes at both ends: %v", err)
	}
}

// TestArgsAreTheRequest: settled from them, a request is the same.
func TestArgsAreTheRequest(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("policy.json", []byte(`{"Version":"2012-10-17","Statement":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	second := "arn:aws:iam::222233334444:role/path/second"
	x := settled(t, Options{
		RoleARN: testRole, Duration: "30m", Region: "eu-west-1", Policy: "policy.json", PolicyARNs: []string{"arn:aws:iam::aws:policy/A", "arn:aws:iam::aws:policy/B"},
		ChainRoleARNs: []string{second}, ExternalIDs: []string{"id"}, AllowedAccounts: []string{"222233334444"},
	}, env("CIRCLE_JOB", "a job"))
	got, err := x.Args()
	if err != nil {
		t.Fatal(err)
	}
	abs, _ := filepath.Abs("policy.json")
	want := []string{
		"--role-arn", testRole, "--chain-role-arn", second, "--external-id", "id", "--role-session-name", "a-job", "--session-duration", "1800", "--region", "eu-west-1",
		"--policy", abs, "--policy-arn", "arn:aws:iam::aws:policy/A", "--policy-arn", "arn:aws:iam::aws:policy/B", "--allowed-account-id", "222233334444",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	again := settled(t, Options{
		RoleARN: testRole, ChainRoleARNs: []string{second}, ExternalIDs: []string{"id"}, SessionName: "a-job", Duration: "1800", Region: "eu-west-1",
		Policy: abs, PolicyARNs: []string{"arn:aws:iam::aws:policy/A", "arn:aws:iam::aws:policy/B"}, AllowedAccounts: []string{"222233334444"},
	}, env())
	if again.Key() != x.Key() {
		t.Error("another request")
	}
	for _, policy := range []string{`{"Statement":[]}`, "/dev/stdin"} {
		o := Options{RoleARN: testRole, Policy: policy}
		if y, err := o.Resolve(env()); err == nil {
			if _, err := y.Args(); fault.KindOf(err) != fault.Usage {
				t.Errorf("%s: %v", policy, err)
			}
		}
	}
}
