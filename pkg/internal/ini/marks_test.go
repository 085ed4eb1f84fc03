package ini

import (
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/pkg/internal/undo"
)

func ourSection() Change {
	return Change{Headers: []string{"deploy", "profile deploy"}, Set: []Setting{
		{Key: "aws_access_key_id", Value: secret.New("ASIAOURS")},
		{Key: "aws_secret_access_key", Value: secret.New("our secret")},
		{Key: "region", Value: secret.New("eu-west-1")},
	}}
}

func TestRemovingAProfileByItsMark(t *testing.T) {
	const keys = "aws_access_key_id = ASIAOURS\naws_secret_access_key = our secret\n"
	mark := ourSection().In("credentials", true).Mark.(undo.Mark)
	for _, row := range []struct{ name, text, want, err string }{
		{"as we wrote it", "[deploy]\n" + keys + "region = eu-west-1\n", "", ""},
		{"among others", "# top\n[a]\nx = 1\n[deploy]\n" + keys + "region = eu-west-1\n[b]\ny = 2\n", "# top\n[a]\nx = 1\n[b]\ny = 2\n", ""},
		{"as others write it", "[deploy]\nAWS_Access_Key_Id=ASIAOURS\naws_secret_access_key:our secret\r\nregion = eu-west-1  \n", "", ""},
		{"with a setting of theirs", "[deploy]\n" + keys + "output = json\n", "[deploy]\noutput = json\n", ""},
		{"theirs in between", "[deploy]\naws_access_key_id = ASIAOURS\noutput = json\naws_secret_access_key = our secret\n", "[deploy]\noutput = json\n", ""},
		{"with a comment of theirs", "[deploy]\n" + keys + "# keep\n", "[deploy]\n# keep\n", ""},
		{"a key that is theirs now", "[deploy]\naws_access_key_id = AKIATHEIRS\naws_secret_access_key = our secret\nregion = us-east-1\n", "[deploy]\naws_access_key_id = AKIATHEIRS\nregion = us-east-1\n", ""},
		{"a value that goes on", "[deploy]\naws_access_key_id = ASIAOURS\n  and theirs\nregion = eu-west-1\n", "", ""},
		{"the same in another profile", "[other]\n" + keys, "[other]\n" + keys, ""},
		{"a header in another spelling", "[profile deploy]\nregion = eu-west-1\n", "", ""},
		{"a header that is theirs", "[deploy]\n\n[x]\n", "[deploy]\n\n[x]\n", ""},
		{"no such section", "[x]\ny = 1\n", "[x]\ny = 1\n", ""},
		{"a file that nobody reads", "[deploy]\n[deploy]\n" + keys, "", "line 2: this section is already on line 1"},
		{"nothing", "", "", ""},
	} {
		got, _, err := profileMarker{}.Remove([]map[string]string{mark.Values}, []byte(row.text), nil)
		switch {
		case row.err != "":
			if err == nil || !strings.Contains(err.Error(), row.err) {
				t.Errorf("%s: %v, want %q", row.name, err, row.err)
			}
		case err != nil || string(got) != row.want:
			t.Errorf("%s: %q, %v\nwant %q", row.name, got, err, row.want)
		}
	}
}

func TestAMarkHoldsNoSecret(t *testing.T) {
	for _, v := range ourSection().In("credentials", true).Mark.(undo.Mark).Values {
		if strings.Contains(v, "ASIA") || strings.Contains(v, "secret") {
			t.Errorf("%q", v)
		}
	}
}

// What our settings replaced is restored as long as all of ours are still there; and a
// secret of ours goes, whatever was made of its line.
func TestWhatAProfileWasIsRestored(t *testing.T) {
	const was = "[deploy]\naws_access_key_id = AKIAOLD\naws_secret_access_key = old\ncredential_process = x\n# mine\n"
	change := Change{Headers: []string{"deploy"}, Remove: []string{"credential_process"}, Set: []Setting{
		{Key: "aws_access_key_id", Value: secret.New("ASIAOURSOURSOURSOURS")},
		{Key: "aws_secret_access_key", Value: secret.New("0123456789/our+secret/0123456789")},
	}}
	edit := change.In("credentials", true)
	ours, err := edit.Apply([]byte(was))
	if err != nil {
		t.Fatal(err)
	}
	mark := edit.Mark.(undo.Mark)
	for _, row := range []struct {
		name, old, new, want string
		whole                bool
	}{
		{"changed elsewhere", "# mine\n", "# mine\n[b]\nx = 1\n", was + "[b]\nx = 1\n", true},
		{"a setting of theirs", "# mine\n", "# mine\noutput = json\n", was + "output = json\n", true},
		{"one of ours is theirs now", "ASIAOURSOURSOURSOURS", "AKIATHEIRS", "[deploy]\naws_access_key_id = AKIATHEIRS\n# mine\n", false},
		{"a comment behind the secret", "0123456789\n", "0123456789 ; edited\n", "[deploy]\n# mine\n", false},
		{"the secret as a comment", "aws_secret_access_key", "#aws_secret_access_key", "[deploy]\n# mine\n", false},
		{"the secret elsewhere", "# mine\n", "# mine\n[b]\nk: 0123456789/our+secret/0123456789\n", was + "[b]\n", true},
	} {
		text := strings.Replace(string(ours), row.old, row.new, 1)
		got, whole, err := profileMarker{}.Remove([]map[string]string{mark.Values}, []byte(text), []byte(was))
		if err != nil || string(got) != row.want || whole != row.whole {
			t.Errorf("%s: %q, %v, %v\nwant %q", row.name, got, whole, err, row.want)
		}
	}
}
