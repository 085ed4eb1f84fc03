package cli

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/shell"
)

const (
	aRole    = "arn:aws:iam::111122223333:role/ci"
	anAWS    = "version: 1\naws:\n  - profile: a\n    role-arn: " + aRole + "\n"
	aVault   = "version: 1\nvault:\n  - name: v\n    vault-addr: https://vault.example.com\n"
	provider = "projects/123456789012/locations/global/workloadIdentityPools/circleci/providers/circleci"
	aGCP     = "version: 1\ngcp:\n  - name: g\n    workload-identity-provider: " + provider + "\n"
)

// TestParseApplyKeepsText: what is written is what is taken, whatever YAML thinks
// it could be.
func TestParseApplyKeepsText(t *testing.T) {
	for _, row := range []struct{ written, want string }{
		{"012345670123", "012345670123"},
		{"'012345670123'", "012345670123"},
		{`"012345670123"`, "012345670123"},
		{"000000000001", "000000000001"},
		{"999999999999999999999999", "999999999999999999999999"},
		{"0o17", "0o17"},
		{"0x1F", "0x1F"},
		{"111_122_223_333", "111_122_223_333"},
		{"+12", "+12"},
		{"111122223333e0", "111122223333e0"},
		{"111122223333 # staging", "111122223333"},
		{"!", "error"},
	} {
		f, err := parseApply([]byte(anAWS + "    allowed-account-id: " + row.written + "\n"))
		got := "error"
		if err == nil {
			got = f.AWS[0].AllowedAccountID[0].text
		}
		if got != row.want {
			t.Errorf("%s is read as %s, want %s", row.written, got, row.want)
		}
	}
}

// TestParseApplyForms: one content in all the forms that YAML has for it.
func TestParseApplyForms(t *testing.T) {
	want, err := parseApply([]byte(anAWS + "    policy-arn: [x, y]\n    session-duration: 30m\n  - profile: b\n    role-arn: z\n    refuse-ssh-rerun: true\n"))
	if err != nil {
		t.Fatal(err)
	}
	role := " role-arn: " + aRole
	for name, text := range map[string]string{
		"flow":          `{version: 1, aws: [{profile: a, role-arn: "` + aRole + `", policy-arn: [x, y], session-duration: 30m}, {profile: b, role-arn: z, refuse-ssh-rerun: true}]}`,
		"JSON":          `{"version": "1", "aws": [{"profile": "a", "role-arn": "` + aRole + `", "policy-arn": ["x", "y"], "session-duration": "30m"}, {"profile": "b", "role-arn": "z", "refuse-ssh-rerun": true}]}`,
		"anchors":       "version: 1\naws:\n  - &a\n    profile: a\n   " + role + "\n    policy-arn: &p\n      - x\n      - y\n    session-duration: &s 30m\n  - profile: b\n    role-arn: z\n    refuse-ssh-rerun: true\n",
		"aliases":       "version: 1\naws:\n  - session-duration: &s 30m\n    policy-arn: &p [x, y]\n    profile: &a a\n   " + role + "\n  - {profile: b, role-arn: z, refuse-ssh-rerun: true}\n",
		"merged":        "version: 1\naws:\n  - &one\n    profile: a\n   " + role + "\n    policy-arn: [x, y]\n    session-duration: 30m\n  - profile: b\n    role-arn: z\n    refuse-ssh-rerun: true\n",
		"block scalars": "version: 1\naws:\n  - profile: |\n      a\n    role-arn: >-\n      " + aRole + "\n    policy-arn:\n    - x\n    - y\n    session-duration: 30m\n  - profile: b\n    role-arn: z\n    refuse-ssh-rerun: true\n",
		"a directive":   "%YAML 1.2\n---\n" + anAWS + "    policy-arn: [x, y]\n    session-duration: 30m\n  - profile: b\n    role-arn: z\n    refuse-ssh-rerun: true\n...\n",
		"comments":      "# yaml-language-server: $schema=x\n---\n" + anAWS + "    # two\n    policy-arn: [x, y] # of them\n    session-duration: 30m\n  - profile: b\n    role-arn: z\n    refuse-ssh-rerun: true\n",
		"a BOM":         "\ufeff" + anAWS + "    policy-arn: [x, y]\n    session-duration: 30m\n  - profile: b\n    role-arn: z\n    refuse-ssh-rerun: true\n",
		"CRLF":          strings.ReplaceAll(anAWS+"    policy-arn: [x, y]\n    session-duration: 30m\n  - profile: b\n    role-arn: z\n    refuse-ssh-rerun: true\n", "\n", "\r\n"),
		"tabs":          strings.ReplaceAll(anAWS, ": ", ":\t") + "    policy-arn:\t[x,\ty]\n    session-duration: 30m\t# half an hour\n  - profile: b\n    role-arn: z\n    refuse-ssh-rerun: true\t\n",
	} {
		got, err := parseApply([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(contents(want), contents(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// contents is what a file says, without the places.
func contents(f *applyFile) []string {
	var all []string
	add := func(kind string, m mapping) {
		for _, e := range entriesOf(m) {
			all = append(all, kind+" "+e.name+"="+e.text)
		}
	}
	add("file", f)
	for i := range f.AWS {
		add(fmt.Sprint("aws ", i), &f.AWS[i])
	}
	for i := range f.GCP {
		add(fmt.Sprint("gcp ", i), &f.GCP[i])
	}
	for i := range f.Vault {
		add(fmt.Sprint("vault ", i), &f.Vault[i])
	}
	return all
}

// TestParseApplyMerges: a mapping's own keys go over those that it merges, and of
// several that it merges, the first.
func TestParseApplyMerges(t *testing.T) {
	f, err := parseApply([]byte(`version: 1
aws:
  - &one {profile: a, role-arn: r, region: eu-west-1}
  - &two
    <<: *one
    profile: b
    external-id: x
  - <<: [*two, *one]
    profile: c
    region: eu-west-2
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"file version=1",
		"aws 0 profile=a", "aws 0 role-arn=r", "aws 0 region=eu-west-1",
		"aws 1 profile=b", "aws 1 role-arn=r", "aws 1 region=eu-west-1", "aws 1 external-id=x",
		"aws 2 profile=c", "aws 2 role-arn=r", "aws 2 region=eu-west-2", "aws 2 external-id=x",
	}
	if diff := cmp.Diff(want, contents(f)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseApplyRefuses(t *testing.T) {
	deep := strings.Repeat
	for _, row := range []struct{ name, text, want, hint string }{
		{"empty", "", "1:1: the file is empty", "begins with version: 1"},
		{"a comment alone", "# nothing\n", "1:1: the file is empty", ""},
		{"null", "null\n", "1:1: the file is a mapping", ""},
		{"a list", "- a\n", "1:1: the file is a mapping: lines KEY: VALUE", ""},
		{"no version", "aws:\n- profile: a\n", "1:1: the file does not say its version", "begin it with version: 1"},
		{"another version", "version: 2\naws:\n- profile: a\n", `1:10: version "2" of the file is not known`, "knows version 1"},
		{"a version with a point", "version: 1.0\n", "1:10: version has to be text or a whole number", "put it in quotes"},
		{"no target", "version: 1\n", "1:1: the file has no target", "aws, gcp and vault"},
		{"no target but a list", "version: 1\naws: []\n", "2:6: aws is an empty list", "leave it out"},

		{"a misspelled key", "version: 1\naws:\n  - profile: a\n    regoin: x\n", `4:5: an aws target has no key "regoin"`, "did you mean region?"},
		{"an underscore", anAWS + "    role_arn: x\n", `5:5: an aws target has no key "role_arn"`, "did you mean role-arn?"},
		{"a capital", anAWS + "    Region: x\n", `5:5: an aws target has no key "Region"`, "did you mean region?"},
		{"half a key", anAWS + "    duration: x\n", `5:5: an aws target has no key "duration"`, "did you mean session-duration?"},
		{"a plural", anAWS + "    allowed-account-ids: x\n", `5:5: an aws target has no key "allowed-account-ids"`, "did you mean allowed-account-id?"},
		{"a key like none", anAWS + "    zzz: x\n", `5:5: an aws target has no key "zzz"`, "its keys are name, profile, mode, role-arn"},
		{"a key of another kind", anAWS + "    service-account: x\n", `5:5: an aws target has no key "service-account"`, ""},
		{"a key of the file", "version: 1\nazure:\n  - name: x\n", `2:1: the file has no key "azure"`, "its keys are version, token-env"},
		{"a number for a key", "1: x\n", `1:1: the file has no key "1"`, ""},
		{"a list for a key", "? [a]\n: b\n", "2:1: found an invalid key for this map", ""},
		{"an anchored key", "&a version: 1\n", `1:1: the file has no key "&"`, ""},
		{"no key", ": x\n", "1:1: unexpected key name", ""},

		{"a key twice", "version: 1\nversion: 1\n", `2:1: mapping key "version" already defined at [1:1]`, ""},
		{"a target's key twice", anAWS + "    profile: b\n", `5:5: mapping key "profile" already defined at [3:5]`, ""},
		{"a quoted key twice", anAWS + "    \"profile\": b\n", `5:5: mapping key "profile" already defined at [3:5]`, ""},
		{"in one line", "{version: 1, aws: [{profile: a, profile: b}]}\n", `1:33: mapping key "profile" already defined at [1:21]`, ""},

		{"nothing", anAWS + "    region:\n", "5:13: region is empty", "leave it out to take its default"},
		{"a tilde", anAWS + "    region: ~\n", "5:13: region is empty", ""},
		{"quotes alone", anAWS + "    region: \"\"\n", "5:13: region is empty", ""},
		{"white space", anAWS + "    region: '  '\n", "5:13: region is empty", ""},
		{"an empty item", anAWS + "    policy-arn: [x, '']\n", "5:21: policy-arn is empty", ""},
		{"a number for text", anAWS + "    region: 12\n", "5:13: region has to be text", "put it in quotes: YAML takes 12 for something else"},
		{"a boolean for text", anAWS + "    region: true\n", "5:13: region has to be text", "put it in quotes"},
		{"a list for text", anAWS + "    region: [a]\n", "5:13: region has to be text", ""},
		{"a mapping for text", anAWS + "    region: {a: b}\n", "5:13: region has to be text", ""},
		{"a list in a list", anAWS + "    policy-arn: [[x]]\n", "5:18: policy-arn has to be text", ""},
		{"an exponent", anAWS + "    allowed-account-id: 1.11122223333e+11\n", "5:25: allowed-account-id has to be text or a whole number", "put it in quotes"},
		{"a second exponent", anAWS + "    allowed-account-id: ['111122223333', 1.11122223333e+11]\n", "5:42: allowed-account-id has to be text or a whole number", ""},
		{"infinity", anAWS + "    allowed-account-id: .inf\n", "5:25: allowed-account-id has to be text or a whole number", ""},
		{"a duration that is no number", anAWS + "    session-duration: 1.5\n", "5:23: session-duration has to be text or a whole number", ""},
		{"yes", anAWS + "    refuse-ssh-rerun: yes\n", "5:23: refuse-ssh-rerun has to be true or false", ""},
		{"true in quotes", anAWS + "    refuse-ssh-rerun: 'true'\n", "5:23: refuse-ssh-rerun has to be true or false", ""},
		{"a mapping for a list", "version: 1\naws:\n  profile: a\n", "3:3: aws: a list is wanted", "each of its items begins with -"},
		{"text for a list", "version: 1\naws: a\n", "2:6: aws: a list is wanted", ""},
		{"text for a target", "version: 1\naws:\n- a\n", "3:3: an aws target is a mapping", ""},
		{"a choice", anAWS + "    mode: dynamic\n", `5:11: mode "dynamic" is none of static, process`, ""},
		{"a source", aGCP + "    source: url\n", `5:13: source "url" is none of file, executable`, ""},
		{"a format", aVault + "    secrets-format: yaml\n", `5:21: secrets-format "yaml" is none of sh, fish`, ""},
		{"a token's version", anAWS + "    token-version: 2\n", "5:20: token-version has to be text", ""},

		{"a variable", "version: 1\naws:\n- profile: a\n  role-arn: $ROLE\n", "4:13: role-arn holds the literal text $ROLE", "nothing is expanded in this file"},
		{"a variable within", "version: 1\naws:\n- profile: a\n  role-arn: arn:aws:iam::${ACCOUNT}:role/x\n", "4:13: role-arn holds the literal text ${ACCOUNT}", ""},
		{"a parameter", "version: 1\naws:\n- profile: << parameters.x >>\n", "3:12: profile holds the literal text << parameters.x >>", ""},
		{"a token", anAWS + "    external-id: eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2kifQ.c2lnbmF0dXJl\n", "5:18: external-id is given a token itself", "token-env and token-file"},
		{"a token for a policy", anAWS + "    policy: eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2kifQ.c2lnbmF0dXJl\n", "5:13: policy is given a token itself", ""},

		{"NUL", "version: 1\naws:\n- profile: a\x00b\n", "3:13: the character U+0000, which YAML allows in no file", ""},
		{"NUL in a comment", "version: 1\n# \x00\n", "2:3: the character U+0000", ""},
		{"NUL by an escape", anAWS + "    external-id: \"a\\0b\"\n", "5:18: external-id holds the character U+0000", "one line of text"},
		{"an escape sequence", "version: 1\naws:\n- profile: \"\\e[31m\"\n", "3:12: profile holds the character U+001B", ""},
		{"a bare escape", "version: 1\r\naws:\r\n- profile: \x1b[31m\n", "3:12: the character U+001B", ""},
		{"two lines", anAWS + "    role-session-name: |\n      a\n      b\n", "5:24: role-session-name holds the character U+000A", "one line of text"},
		{"right to left", anAWS + "    external-id: \"a\u202eb\"\n", "5:18: external-id holds the character U+202E", ""},
		{"not UTF-8", "version: 1\naws:\n- profile: \"\xe9\"\n", "3:13: a byte that is not UTF-8", "save the file as UTF-8"},
		{"UTF-16", "\xff\xfev\x00e\x00", "1:1: a byte that is not UTF-8", ""},
		{"a BOM in between", "version: 1\n\ufeffaws: x\n", "2:1: the character U+FEFF", ""},
		{"a tab", "version: 1\naws:\n\t- profile: a\n", "3:1: a tab indents this line, which YAML does not allow", "spaces"},

		{"a tag", "version: 1\naws:\n- profile: !!str 5\n", "3:12: the tag !!str is not taken", "in quotes where it is text"},
		{"a tag on a target", "version: 1\naws:\n- !x\n  profile: a\n", "3:3: the tag !x is not taken", ""},
		{"two documents", "version: 1\n---\nversion: 1\n", "3:1: a second document begins", "take out the line ---"},
		{"no anchor", "version: 1\naws: *a\n", "2:6: there is no anchor &a before it", ""},
		{"an anchor after it", "version: 1\naws: [*a, &a {profile: x}]\n", "2:7: there is no anchor &a before it", ""},
		{"itself", "version: 1\naws:\n- &a\n  <<: *a\n", "aliases (*) make it too large", ""},
		{"itself in a list", "version: 1\naws: &a [*a]\n", "2:9: an aws target is a mapping", ""},
		{"not closed", "version: 1\naws: [\n", "2:6: sequence end token ']' not found", ""},
		{"a quote not closed", "version: \"1\n", "1:10: could not find end character of double-quoted text", ""},
		{"a colon too many", "version: 1: 2\n", "1:10: mapping value is not allowed in this context", ""},

		{"too large", "version: 1 #" + deep("x", maxYAML), "1:1: the file has more than the 262144 bytes", ""},
		{"2 MiB", deep("# 2 MiB\n", 1<<18), "1:1: the file has more than the 262144 bytes", ""},
		{"too many words", deep("- ", maxYAML/2), "1:40001: the file has more words and signs of YAML than the 20000", ""},
		{"too deep", "version: " + deep("[", 100), "nested more than 32 deep", ""},
		{"too deep by mappings", "version: " + deep("{a: ", 100), "nested more than 32 deep", ""},
		{"too deep by dashes", deep("- ", 100) + "x\n", "nested more than 32 deep", ""},
		{"too deep by question marks", deep("? ", 100) + "x\n", "nested more than 32 deep", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := parseApply([]byte(row.text))
			if err == nil {
				t.Fatal("it is read")
			}
			var m misplacement
			if !errors.As(err, &m) || m.at.line < 1 || m.at.column < 1 {
				t.Errorf("the error has no place: %v", err)
			}
			if got := fmt.Sprintf("%d:%d: %s", m.at.line, m.at.column, m.text); !strings.Contains(got, row.want) {
				t.Errorf("%s\nwant %s", got, row.want)
			}
			if hints := strings.Join(fault.Hints(err), "\n"); !strings.Contains(hints, row.hint) {
				t.Errorf("hints %q, want %q", hints, row.hint)
			}
			if fault.KindOf(err) != fault.Usage {
				t.Errorf("kind %d", fault.KindOf(err))
			}
		})
	}
}

// TestParseApplyBombs: aliases that grow, wherever they are looked into.
func TestParseApplyBombs(t *testing.T) {
	var b strings.Builder
	b.WriteString("version: 1\naws:\n  - &a0 {profile: a, role-arn: b}\n")
	for i := 1; i <= 40; i++ {
		fmt.Fprintf(&b, "  - &a%d\n    <<: [*a%d, *a%d]\n", i, i-1, i-1)
	}
	if _, err := parseApply([]byte(b.String())); err == nil || !strings.Contains(err.Error(), "make it too large") {
		t.Errorf("doubling merges: %v", err)
	}
	b.Reset()
	b.WriteString("version: 1\naws:\n  - profile: a\n    policy-arn: &l [" + strings.Repeat("x, ", 999) + "x]\n")
	for range 100 {
		b.WriteString("  - profile: a\n    policy-arn: *l\n")
	}
	if _, err := parseApply([]byte(b.String())); err == nil || !strings.Contains(err.Error(), "make it too large") {
		t.Errorf("a long list many times: %v", err)
	}
}

// TestApplyChoices: the formats are those that there are.
func TestApplyChoices(t *testing.T) {
	eachKey(reflect.ValueOf(&applyVault{}).Elem(), func(s slot) {
		if diff := cmp.Diff(shell.Shells(), s.choices); s.name == "secrets-format" && diff != "" {
			t.Errorf("secrets-format (-deliver +tag):\n%s", diff)
		}
	})
}

func FuzzParseApply(f *testing.F) {
	for _, seed := range []string{
		anAWS, aGCP, aVault, "version: 1\naws:\n- &a {profile: a}\n- <<: *a\n  via: \"\\u0061\"\n", "%YAML 1.2\n---\nversion: 1\n", "0\r0\r#\r\n0",
		"version: 1\nvault:\n- name: |\n    x\n  secret: [>-\n   y]\n", "{version: '1', gcp: [{? name : 012, !!x y: *z}]}", "version: 0x1\r\naws:\r\n\t- a\r", "\ufeff- ? [a, {b: c}]\n: &x *x\n",
	} {
		f.Add([]byte(seed))
	}
	schema := readSchema(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parseApply(b)
		if err != nil {
			var m misplacement
			if !errors.As(err, &m) || fault.KindOf(err) != fault.Usage {
				t.Fatalf("an error without a place: %v", err)
			}
			lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(b)), "\n")
			if m.at.line < 1 || m.at.line > len(lines) || m.at.column < 1 {
				t.Fatalf("%v in %d lines", err, len(lines))
			}
			return
		}
		for _, e := range contents(got) {
			if !strings.Contains(e, " policy=") && printable(e) != e {
				t.Fatalf("%q is taken", e)
			}
		}
		// What is taken here, editors do not underline; what is missing, and which
		// names there are, is settled later.
		if problem := schema.of(b); problem != "" && !strings.Contains(problem, " lacks ") && !strings.Contains(problem, " does not match") {
			t.Fatalf("the schema refuses it: %s", problem)
		}
		again, err := parseApply([]byte(strings.ReplaceAll(strings.ReplaceAll(string(b), "\r\n", "\n"), "\n", "\r\n")))
		if err != nil || cmp.Diff(contents(got), contents(again)) != "" {
			t.Fatalf("with CRLF it is another: %v\n%s", err, cmp.Diff(contents(got), contents(again)))
		}
	})
}
