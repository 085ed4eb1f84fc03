package ini

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
)

func setting(key, value string) Setting { return Setting{Key: key, Value: secret.New(value)} }

// The sections that most tests edit: a profile in the config file, the default
// one there, and a profile in the credentials file.
var (
	deploy = Change{
		Headers: []string{"profile deploy"},
		Set:     []Setting{setting("region", "eu-west-1")},
		Remove:  []string{"role_arn", "credential_process"},
	}
	byDefault = Change{
		Headers: []string{"default", "profile default"},
		Set:     []Setting{setting("region", "eu-west-1")},
	}
	keys = Change{
		Headers: []string{"deploy"},
		Set: []Setting{
			setting("aws_access_key_id", "ASIAEXAMPLE"),
			setting("aws_secret_access_key", "abc/def+ghi=jkl"),
			setting("aws_session_token", "FwoGZXIvYXdzE///tok+en=="),
		},
		Remove: []string{"aws_security_token", "credential_process"},
	}
)

type row struct {
	name    string
	section Change
	old     string
	want    string
}

func rows() []row {
	wide := "[other]\nlong = " + strings.Repeat("x", 70000) + "\n"
	return []row{
		{"no file", deploy, "", "[profile deploy]\nregion = eu-west-1\n"},
		{"a new section goes to the end", deploy, "[default]\na = 1\n", "[default]\na = 1\n[profile deploy]\nregion = eu-west-1\n"},
		{"a missing final newline is added before it", deploy, "[default]\na = 1", "[default]\na = 1\n[profile deploy]\nregion = eu-west-1\n"},
		{"with the line ends of the file", deploy, "[default]\r\na = 1", "[default]\r\na = 1\r\n[profile deploy]\r\nregion = eu-west-1\r\n"},
		{"only comments so far", deploy, "# mine\n\n", "# mine\n\n[profile deploy]\nregion = eu-west-1\n"},
		{"in place", deploy, "[profile deploy]\nregion = old\noutput = json\n", "[profile deploy]\nregion = eu-west-1\noutput = json\n"},
		{"already so", deploy, "[profile deploy]\nregion = eu-west-1\n", "[profile deploy]\nregion = eu-west-1\n"},
		{"a new key follows the last one", deploy, "[profile deploy]\noutput = json\n\n# next\n[x]\n", "[profile deploy]\noutput = json\nregion = eu-west-1\n\n# next\n[x]\n"},
		{"an empty section", deploy, "[profile deploy]\n\n[x]\n", "[profile deploy]\nregion = eu-west-1\n\n[x]\n"},
		{"a header without a newline", deploy, "[profile deploy]", "[profile deploy]\nregion = eu-west-1\n"},
		{"a last key without a newline", deploy, "[profile deploy]\noutput = json", "[profile deploy]\noutput = json\nregion = eu-west-1\n"},
		{"other modes' keys go", deploy, "[profile deploy]\nrole_arn = r\nregion = x\ncredential_process = /bin/x\noutput = json\n", "[profile deploy]\nregion = eu-west-1\noutput = json\n"},
		{"in this section alone", deploy, "[profile deploy]\nregion = x\n[y]\nrole_arn = r\n", "[profile deploy]\nregion = eu-west-1\n[y]\nrole_arn = r\n"},
		{"the place of a removed key", deploy, "[profile deploy]\noutput = json\nrole_arn = r\n# c\n", "[profile deploy]\noutput = json\nregion = eu-west-1\n# c\n"},
		{"case and colon", keys, "[deploy]\nAWS_ACCESS_KEY_ID: x\nAws_Security_Token:y\n", "[deploy]\naws_access_key_id = ASIAEXAMPLE\naws_secret_access_key = abc/def+ghi=jkl\naws_session_token = FwoGZXIvYXdzE///tok+en==\n"},
		{"odd spacing of other keys stays", deploy, "[profile deploy]\n\n  ; c\noutput=json   \n\ncli_pager   :\n", "[profile deploy]\n\n  ; c\noutput=json   \n\ncli_pager   :\nregion = eu-west-1\n"},
		{"nested settings stay", deploy, "[profile deploy]\ns3 =\n    max_concurrent_requests = 5\n    # c\n    region = inner\n\n[x]\n", "[profile deploy]\ns3 =\n    max_concurrent_requests = 5\n    # c\n    region = inner\nregion = eu-west-1\n\n[x]\n"},
		{"a replaced key takes its value's other lines along", deploy, "[profile deploy]\nregion = a\n  b\n# c\n  d\noutput = json\n", "[profile deploy]\nregion = eu-west-1\n# c\noutput = json\n"},
		{"so does a removed one", deploy, "[profile deploy]\ncredential_process =\n  a = b\n\n  c = d\noutput = json\n", "[profile deploy]\n\noutput = json\nregion = eu-west-1\n"},
		{"CRLF", deploy, "[profile deploy]\r\nregion = x\r\nrole_arn = r\r\noutput = json\r\n", "[profile deploy]\r\nregion = eu-west-1\r\noutput = json\r\n"},
		{"CRLF of the line before a new key", deploy, "[a]\nb = c\n[profile deploy]\r\noutput = json\r\n[x]\n", "[a]\nb = c\n[profile deploy]\r\noutput = json\r\nregion = eu-west-1\r\n[x]\n"},
		{"a last line that is not ours keeps its missing newline", deploy, "[profile deploy]\nregion = x\n[x]\na = b", "[profile deploy]\nregion = eu-west-1\n[x]\na = b"},
		{"and so does a last line that is", deploy, "[profile deploy]\nregion = x", "[profile deploy]\nregion = eu-west-1"},
		{"a line of 70,000 bytes", deploy, wide + "[profile deploy]\nregion = x\n" + wide[:5] + "2]\n" + wide[8:], wide + "[profile deploy]\nregion = eu-west-1\n" + wide[:5] + "2]\n" + wide[8:]},
		{"indented keys keep their indent", deploy, "[profile deploy]\n  role_arn = r\n  region = x\n  output = json\n", "[profile deploy]\n  region = eu-west-1\n  output = json\n"},
		{"a nested key of a neighbour that Go programs do not see", deploy, "[profile deploy]\nregion = x\n[se;mi]\ns3 =\n  region = x\n", "[profile deploy]\nregion = eu-west-1\n[se;mi]\ns3 =\n  region = x\n"},
		{"a new key is as far in as the last", deploy, "[profile deploy]\n\ta = 1\n output = json\n [x]\n a = b\n", "[profile deploy]\n\ta = 1\n output = json\n region = eu-west-1\n [x]\n a = b\n"},
		{"an empty section before an indented one", deploy, "[profile deploy]\n  [x]\n  a = b\n", "[profile deploy]\n  region = eu-west-1\n  [x]\n  a = b\n"},
		{"the first key of a section may be further in than the header", deploy, "[x]\na = b\n[profile deploy]\n  region = x\n", "[x]\na = b\n[profile deploy]\n  region = eu-west-1\n"},
		{"an indent is counted in characters", deploy, "[profile deploy]\n a = b\n\u00a0region = x\n", "[profile deploy]\n a = b\n\u00a0region = eu-west-1\n"},
		{"a whole file that is indented", deploy, "  [profile deploy]\n  output = json\n  [x]\n  a = b\n", "  [profile deploy]\n  output = json\n  region = eu-west-1\n  [x]\n  a = b\n"},
		{"a comment after the header", deploy, "[profile deploy]  # ci\nregion = x\n", "[profile deploy]  # ci\nregion = eu-west-1\n"},
		{"a space after the header", deploy, "[profile deploy] \nregion = x\n", "[profile deploy] \nregion = eu-west-1\n"},
		{"two spaces in the header", deploy, "[profile  deploy]\nregion = x\n", "[profile  deploy]\nregion = eu-west-1\n"},
		{"a tab in the header", deploy, "[profile\tdeploy ]\nregion = x\n", "[profile\tdeploy ]\nregion = eu-west-1\n"},
		{"quotes, which Go programs do not see through", deploy, "[profile \"deploy\"] # c\nregion = x\n", "[profile deploy] # c\nregion = eu-west-1\n"},
		{"single quotes", deploy, "[profile 'deploy']\r\nregion = x\r\n", "[profile deploy]\r\nregion = eu-west-1\r\n"},
		{"a backslash", deploy, "[profile de\\ploy]\nregion = x\n", "[profile deploy]\nregion = eu-west-1\n"},
		{"a backslash within quotes stays", deploy, "[profile \"de\\ploy\"]\n", "[profile \"de\\ploy\"]\n[profile deploy]\nregion = eu-west-1\n"},
		{"an open quote", deploy, "[profile \"deploy]\n", "[profile \"deploy]\n[profile deploy]\nregion = eu-west-1\n"},
		{"padding, which the AWS CLI does not see through", deploy, "[ profile deploy ]\nregion = x\n", "[profile deploy]\nregion = eu-west-1\n"},
		{"padding in the credentials file", keys, "[ deploy ]\n", "[deploy]\naws_access_key_id = ASIAEXAMPLE\naws_secret_access_key = abc/def+ghi=jkl\naws_session_token = FwoGZXIvYXdzE///tok+en==\n"},
		{"names are case-sensitive", deploy, "[profile Deploy]\n", "[profile Deploy]\n[profile deploy]\nregion = eu-west-1\n"},
		{"a name that begins alike", deploy, "[profile deploy2]\n[profile dep]\n", "[profile deploy2]\n[profile dep]\n[profile deploy]\nregion = eu-west-1\n"},
		{"no profile of the config file", deploy, "[deploy]\nregion = x\n", "[deploy]\nregion = x\n[profile deploy]\nregion = eu-west-1\n"},
		{"quotes are a part of the name in the credentials file", keys, "[\"deploy\"]\n", "[\"deploy\"]\n[deploy]\naws_access_key_id = ASIAEXAMPLE\naws_secret_access_key = abc/def+ghi=jkl\naws_session_token = FwoGZXIvYXdzE///tok+en==\n"},
		{"default", byDefault, "[default]\nregion = x\n", "[default]\nregion = eu-west-1\n"},
		{"default, spelled as a profile", byDefault, "[profile default]\nregion = x\n", "[profile default]\nregion = eu-west-1\n"},
		{"default, new", byDefault, "[x]\n", "[x]\n[default]\nregion = eu-west-1\n"},
		{"a header in a comment", deploy, "# [profile deploy]\n; region = x\n", "# [profile deploy]\n; region = x\n[profile deploy]\nregion = eu-west-1\n"},
		{"the header stays when all keys go", Change{Headers: []string{"deploy"}, Remove: []string{"a"}}, "[deploy]\na = 1\n[x]\n", "[deploy]\n[x]\n"},
		{"nothing to set makes no section", Change{Headers: []string{"deploy"}, Remove: []string{"a"}}, "[x]\na = 1", "[x]\na = 1"},
		{"an empty value", Change{Headers: []string{"x"}, Set: []Setting{setting("region", "")}}, "[x]\nregion = a\n", "[x]\nregion =\n"},
		{"[DEFAULT] may be there twice", deploy, "[DEFAULT]\na = 1\n[x]\na = 1\n[DEFAULT]\nb = 1\n", "[DEFAULT]\na = 1\n[x]\na = 1\n[DEFAULT]\nb = 1\n[profile deploy]\nregion = eu-west-1\n"},
		{"a neighbour that Go programs do not see", deploy, "[profile deploy]\nregion = x\n[se;mi]\noutput = json\n[y]\nregion = z\n", "[profile deploy]\nregion = eu-west-1\n[se;mi]\noutput = json\n[y]\nregion = z\n"},
		{"a bracket in a neighbour's name", deploy, "[br]ack]\na = b\n", "[br]ack]\na = b\n[profile deploy]\nregion = eu-west-1\n"},
	}
}

func TestSectionEdit(t *testing.T) {
	for _, row := range rows() {
		t.Run(row.name, func(t *testing.T) {
			got, err := row.section.Edit([]byte(row.old))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(row.want, string(got)); diff != "" {
				t.Errorf("first edit (-want +got):\n%s", diff)
			}
			again, err := row.section.Edit(got)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(got), string(again)); diff != "" {
				t.Errorf("second edit (-first +second):\n%s", diff)
			}
		})
	}
}

func TestSectionEditOfNoFileWithoutSettings(t *testing.T) {
	got, err := Change{Headers: []string{"x"}, Remove: []string{"a"}}.Edit(nil)
	if got != nil || err != nil {
		t.Errorf("got %q, %v: a file out of nothing", got, err)
	}
}

// refusedRow is a file that is left alone.
type refusedRow struct {
	name, old, want string
	onlyUs          bool // botocore accepts it: we refuse it for the SDK for Go
}

func refusedRows() []refusedRow {
	return []refusedRow{
		{"duplicate section", "[a]\nx = 1\n[b]\n[a]\n", "line 4: this section is already on line 1", false},
		{"duplicate key", "[a]\nx = 1\n# c\nx = 2\n", "line 4: this key is already on line 2 of the same section, and the AWS CLI refuses the whole file", false},
		{"duplicate key in another case", "[a]\nKey = 1\nkEY: 2\n", "line 3: this key is already on line 2 of the same section, and the AWS CLI refuses the whole file", false},
		{"duplicate key in our section", "[profile deploy]\nregion = 1\nREGION = 2\n", "line 3: this key is already on line 2 of the same section, and the AWS CLI refuses the whole file", false},
		{"duplicate key over two [DEFAULT]", "[DEFAULT]\nx = 1\n[a]\n[DEFAULT]\nx = 2\n", "line 5: this key is already on line 2 of the same section, and the AWS CLI refuses the whole file", false},
		{"unterminated header", "[a]\n[profile deploy\nregion = x\n", "line 2: a section header that is not closed", false},
		{"empty header", "[]\n", "line 1: a section header that is not closed, or empty", false},
		{"byte order mark", "\uFEFF[a]\n", "line 1: the file begins with a byte order mark", false},
		{"byte order mark alone", "\uFEFF", "line 1: the file begins with a byte order mark", false},
		{"not UTF-8", "[a]\n# caf\xe9\n", "line 2: not valid UTF-8", false},
		{"option before a header", "# c\nregion = x\n[a]\n", "line 2: a line before the first section", false},
		{"neither", "[a]\nx = 1\nregion\n", "line 3: neither a section, a setting nor a comment", false},
		{"no key", "[a]\n= x\n", "line 2: a setting without a key", false},
		{"nested without =", "[a]\ns3 =\n  x = 1\n  y: 2\n", "line 4: a nested setting without =", false},
		{"nested, indented by what only Python takes for space", "[a]\ns3 =\n\x1cy\n", "line 3: a nested setting without =", false},
		{"nested, cut by a form feed", "[a]\ns3 =\n  x = 1\fy\n", "line 3: a nested setting without =", false},
		{"both spellings of default", "[default]\n[profile default]\n", `line 2: the section "profile default" is there already on line 1`, true},
		{"two spellings", "[profile deploy]\n[x]\n[profile 'deploy']\n", `line 3: the section "profile deploy" is there already on line 1`, true},
		{"padded and plain", "[ profile deploy ]\n[profile deploy]\n", `line 2: the section "profile deploy" is there already on line 1`, true},
		{"unterminated, but with a =", "[a]\n[b = c\n", "line 2: a section header that is not closed", true},
		{"a carriage return alone", "[a]\rx = 1\n", "line 1: a carriage return within the line", true},
		{"a carriage return at the end", "[a]\r\nx = 1\r", "line 2: a carriage return within the line", true},
		{"an indented header", "[a]\nx = 1\n  [profile deploy]\n", "line 3: an indented section header", true},
		{"an indented key of ours", "[profile deploy]\nx = 1\n  role_arn = r\n", "line 3: an indented key", true},
		{"text after our header", "[profile deploy] x\n", "line 1: the SDKs read this section's header differently", true},
		{"a bracket in its comment", "[profile deploy] # [x]\n", "line 1: the SDKs read this section's header differently", true},
		{"a neighbour's keys that Go programs give to us", "[profile deploy]\n[se;mi]\nregion = x\n", "line 3: Go programs read this key as one of the profile on line 1", true},
		{"such a key, indented", "[profile deploy]\n[se;mi]\na = b\n  region = x\n", "line 4: Go programs read this key as one of the profile on line 1", true},
		{"indented below an empty key", "[profile deploy]\n  s3 =\n    a = b\n  region = x\n", "line 2: Go programs take the indented keys after this one for its value", true},
		{"indented below one that is", "[profile deploy]\n  s3 =\n  a = b\n  region = x\n", "line 2: Go programs take the indented keys after this one for its value", true},
		{"indented below a value that looks like one", "[profile deploy]\n a = b\n  s3 =\n region = x\n", "line 3: Go programs take the indented keys after this one for its value", true},
		{"to be indented below an empty key", "[profile deploy]\n  s3 =\n    a = b\n", "line 2: Go programs take the indented keys after this one for its value", true},
		{"two such neighbours", "[profile deploy]\n[se;mi]\n[ha#sh]\nregion = x\n", "line 4: Go programs read this key as one of the profile on line 1", true},
	}
}

func TestSectionEditLeavesAlone(t *testing.T) {
	for _, row := range refusedRows() {
		t.Run(row.name, func(t *testing.T) {
			s := deploy
			if strings.Contains(row.name, "default") {
				s = byDefault
			}
			got, err := s.Edit([]byte(row.old))
			if err == nil {
				t.Fatalf("accepted, as %q", got)
			}
			if fault.KindOf(err) != fault.Local || !strings.Contains(err.Error(), row.want) {
				t.Errorf("kind %d, %q\nwant %q", fault.KindOf(err), err, row.want)
			}
			if len(fault.Hints(err)) == 0 {
				t.Error("no hint on how to repair it")
			}
		})
	}
}

func TestSectionEditRefusesValues(t *testing.T) {
	const canary = "s3cr3t"
	for _, row := range []struct{ name, value, want string }{
		{"newline", canary + "\nx = y", "it contains a line break"},
		{"carriage return", canary + "\rx", "it contains a line break"},
		{"NUL", canary + "\x00", "it contains a control character"},
		{"leading space", " " + canary, "it starts or ends with a space"},
		{"trailing space", canary + "\u00a0", "it starts or ends with a space"},
		{"not UTF-8", canary + "\xff", "it is not valid UTF-8"},
		{"comment", canary + " # x", "for a comment"},
		{"comment after a tab", canary + "\t;x", "for a comment"},
		{"quoted", `"` + canary + `"`, "the quotes around it"},
	} {
		_, err := Change{Headers: []string{"x"}, Set: []Setting{setting("key", row.value)}}.Edit(nil)
		if fault.KindOf(err) != fault.Internal || !strings.Contains(fmt.Sprint(err), row.want) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
		if strings.Contains(fmt.Sprint(err), canary) {
			t.Errorf("%s: the error shows the value: %v", row.name, err)
		}
	}
	for _, s := range []Change{{}, {Headers: []string{"x"}, Set: []Setting{setting("Key", "v")}}, {Headers: []string{"x"}, Set: []Setting{setting("a", "1"), setting("a", "2")}}} {
		if _, err := s.Edit(nil); fault.KindOf(err) != fault.Internal || err == nil {
			t.Errorf("%v: %v, want an internal error", s, err)
		}
	}
}

func TestSectionEditDoesNotWriteIntoItsInput(t *testing.T) {
	old := append(make([]byte, 0, 4096), "[profile deploy]\nrole_arn = x\noutput = json\n[x]\n"...)
	kept := bytes.Clone(old[:cap(old)])
	if _, err := deploy.Edit(old); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(kept, old[:cap(old)]) {
		t.Error("the old content was changed")
	}
}

func TestProfileName(t *testing.T) {
	for _, name := range []string{"default", "deploy", "a.b_c@d/e+f=g,h:i%j-k", "1", "profile"} {
		if err := ProfileName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, row := range []struct{ name, want string }{
		{"", "it is empty"},
		{"-x", "for a flag"},
		{"DEFAULT", "to every profile"},
		{"ha#sh", "to the profile above it"},
		{"se;mi", "to the profile above it"},
		{"my prof", "spaces in different ways"},
		{"a\nb", "spaces in different ways"},
		{"br]ack", "brackets"},
		{"br[ack", "brackets"},
		{`dq"`, "quotes and backslashes"},
		{`a\b`, "quotes and backslashes"},
		{"caf\u00e9", "not every AWS SDK accepts"},
		{"$HOME", "not every AWS SDK accepts"},
		{"a\x00", "not every AWS SDK accepts"},
	} {
		err := ProfileName(row.name)
		if fault.KindOf(err) != fault.Usage || !strings.Contains(fmt.Sprint(err), row.want) {
			t.Errorf("%q: %v, want %q", row.name, err, row.want)
		}
	}
}

// FuzzSectionEdit: whatever is accepted comes out with every other section the
// same bytes, is accepted again, and a second edit changes nothing.
func FuzzSectionEdit(f *testing.F) {
	for _, row := range rows() {
		if len(row.old) < 1000 {
			f.Add([]byte(row.old))
		}
	}
	for _, row := range refusedRows() {
		f.Add([]byte(row.old))
	}
	f.Fuzz(func(t *testing.T, old []byte) {
		for _, s := range []Change{deploy, byDefault, keys} {
			checkEdit(t, s, old)
		}
	})
}

func checkEdit(t *testing.T, s Change, old []byte) {
	got, err := s.Edit(old)
	if err != nil {
		return
	}
	again, err := s.Edit(got)
	if err != nil {
		t.Fatalf("refuses its own output: %v\nold %q\ngot %q", err, old, got)
	}
	if !bytes.Equal(got, again) {
		t.Fatalf("the second edit changes it\nold %q\ngot %q\nnow %q", old, got, again)
	}
	own, err := s.find(got)
	if err != nil || own == nil {
		t.Fatalf("our section is gone: %v\nold %q\ngot %q", err, old, got)
	}
	before, after := old, []byte(nil)
	was, err := s.find(old)
	if err != nil {
		t.Fatal(err)
	}
	if was != nil {
		before, after = old[:was.header.start], old[was.end:]
	}
	if !bytes.HasPrefix(got, before) || !bytes.HasSuffix(got, after) {
		t.Fatalf("other sections changed\nold %q\ngot %q", old, got)
	}
	if !bytes.Equal(got[own.end:], after) {
		t.Fatalf("another section begins elsewhere\nold %q\ngot %q", old, got)
	}
	have := map[string]string{}
	for _, line := range own.lines {
		if line.kind == option {
			have[line.key()] = strings.TrimSpace(line.content[strings.IndexAny(line.content, "=:")+1:])
		}
	}
	for _, set := range s.Set {
		if have[set.Key] != set.Value.Reveal() {
			t.Fatalf("%s is %q\nold %q\ngot %q", set.Key, have[set.Key], old, got)
		}
	}
	for _, key := range s.Remove {
		if _, there := have[key]; there {
			t.Fatalf("%s is still there\nold %q\ngot %q", key, old, got)
		}
	}
	keptOthers(t, was, own, old, got, s)
}

// keptOthers checks that in our section every line but those of our own keys
// is the same bytes, in the same order.
func keptOthers(t *testing.T, was, own *block, old, got []byte, s Change) {
	others := func(b *block, text []byte) (lines []string) {
		if b == nil {
			return nil
		}
		ours := false
		for _, line := range b.lines {
			if line.kind == option {
				ours = s.owns(line.key())
			}
			if line.kind == blank || !ours {
				lines = append(lines, strings.TrimRight(string(text[line.start:line.end]), "\r\n"))
			}
		}
		return lines
	}
	if diff := cmp.Diff(others(was, old), others(own, got)); diff != "" {
		t.Fatalf("other lines of the section changed:\n%s\nold %q\ngot %q", diff, old, got)
	}
}

func BenchmarkSectionEdit10000Profiles(b *testing.B) {
	var file bytes.Buffer
	for i := range 10000 {
		fmt.Fprintf(&file, "[profile team-%d]\n# owner: %d\nregion = eu-west-1\nrole_arn = arn:aws:iam::111122223333:role/team-%d\ns3 =\n    max_concurrent_requests = 5\n\n", i, i, i)
	}
	file.WriteString("[profile deploy]\nregion = x\n")
	b.SetBytes(int64(file.Len()))
	for b.Loop() {
		if _, err := deploy.Edit(file.Bytes()); err != nil {
			b.Fatal(err)
		}
	}
}
