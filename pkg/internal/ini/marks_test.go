package ini

import (
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
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
	for _, row := range []struct{ name, text, want, err string }{
		{"as we wrote it", "[deploy]\n" + keys + "region = eu-west-1\n", "", ""},
		{"among others", "# top\n[a]\nx = 1\n[deploy]\n" + keys + "region = eu-west-1\n[b]\ny = 2\n", "# top\n[a]\nx = 1\n[b]\ny = 2\n", ""},
		{"as others write it", "[deploy]\nAWS_Access_Key_Id=ASIAOURS\naws_secret_access_key:our secret\r\nregion = eu-west-1  \n", "", ""},
		{"with a setting of theirs", "[deploy]\n" + keys + "output = json\n", "[deploy]\noutput = json\n", ""},
		{"theirs in between", "[deploy]\naws_access_key_id = ASIAOURS\noutput = json\naws_secret_access_key = our secret\n", "[deploy]\noutput = json\n", ""},
		{"with a comment of theirs", "[deploy]\n" + keys + "# keep\n", "[deploy]\n# keep\n", ""},
		{"a key that is theirs now", "[deploy]\naws_access_key_id = AKIATHEIRS\naws_secret_access_key = our secret\nregion = us-east-1\n", "[deploy]\naws_access_key_id = AKIATHEIRS\nregion = us-east-1\n", ""},
		{"a value that goes on", "[deploy]\naws_access_key_id = ASIAOURS\n  and theirs\nregion = eu-west-1\n", "[deploy]\naws_access_key_id = ASIAOURS\n  and theirs\n", ""},
		{"the same in another profile", "[other]\n" + keys, "[other]\n" + keys, ""},
		{"a header in another spelling", "[profile deploy]\nregion = eu-west-1\n", "", ""},
		{"a header that is theirs", "[deploy]\n\n[x]\n", "[deploy]\n\n[x]\n", ""},
		{"no such section", "[x]\ny = 1\n", "[x]\ny = 1\n", ""},
		{"a file that nobody reads", "[deploy]\n[deploy]\n" + keys, "", "line 2: this section is already on line 1"},
		{"nothing", "", "", ""},
	} {
		got, err := profileMarker{}.Remove(ourSection().mark().Values, []byte(row.text))
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
	for _, v := range ourSection().mark().Values {
		if strings.Contains(v, "ASIA") || strings.Contains(v, "secret") {
			t.Errorf("%q", v)
		}
	}
}

func TestWhetherAHeaderMayGo(t *testing.T) {
	for _, row := range []struct {
		ours, old, rest string
		fits            bool
	}{
		{"[a]\nx = 1\n", "", "", true},
		{"[a]\nx = 1\n", "", "[b]\n", true},
		{"[a]\nx = 1\n", "", "\n# comment\n ; another\n[b]\n", true},
		{"[a]\nx = 1\n", "", "output = json\n", false},
		{"[a]\nx = 1\n", "", "\n\noutput = json\n", false},
		{"[a]\nx = 1\n", "", "  nested = 1\n", false},
		{"[a]\nx = 1\n", "[ a ]\n", "output = json\n", true},
		{"x = 1\n", "", "output = json\n", true},
		{"x = 1\n", "y = 2\n", "output = json\n", true},
	} {
		if got := (profileMarker{}).Fits([]byte(row.ours), []byte(row.old), []byte(row.rest)); got != row.fits {
			t.Errorf("%q for %q before %q: %v", row.old, row.ours, row.rest, got)
		}
	}
}
