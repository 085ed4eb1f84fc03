package aws

import (
	"encoding/json"
	"os"
	"os/exec"
	"testing"

	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// askBotocore prints how botocore finds the credentials of each profile, or why not.
const askBotocore = `
import json, sys
import botocore.session
out = {}
for name in sys.argv[1:]:
    try:
        found = botocore.session.Session(profile=name).get_credentials()
        out[name] = found.method if found else ""
    except Exception as e:
        out[name] = "refused"
print(json.dumps(out))
`

// TestBotocoreResolvesAsWeDo asks botocore itself about the model.
func TestBotocoreResolvesAsWeDo(t *testing.T) {
	testenv.NeedFull(t, "starts Python")
	if err := exec.Command("python3", "-c", "import botocore.session").Run(); err != nil {
		testenv.Missing(t, "botocore")
	}
	const keys = "aws_access_key_id = a\naws_secret_access_key = b\n"
	f := writeFiles(t, "[default]\n[keys]\n"+keys+"[self]\n"+keys+"[half]\naws_access_key_id = a\n[inherits]\n[DEFAULT]\naws_session_token = x\n",
		"[DEFAULT]\nregion = eu-west-1\n[profile config]\n"+keys+
			"[profile chain]\nrole_arn = r\nsource_profile = middle\n[profile middle]\nrole_arn = r\nsource_profile = keys\n"+
			"[profile self]\nrole_arn = r\nsource_profile = self\n[profile loop]\nrole_arn = r\nsource_profile = back\n[profile back]\nrole_arn = r\nsource_profile = loop\n"+
			"[profile gone]\nrole_arn = r\nsource_profile = none\n[profile empty]\nrole_arn = r\nsource_profile = nothing\n[profile nothing]\noutput = json\n"+
			"[profile alone]\nrole_arn = r\n[profile both]\nrole_arn = r\nsource_profile = keys\ncredential_source = Environment\n"+
			"[profile lower]\nrole_arn = r\ncredential_source = environment\n[profile web]\nrole_arn = r\nweb_identity_token_file = /t\n"+
			"[profile webless]\nweb_identity_token_file = /t\n[profile ignored]\nsource_profile = keys\n[profile half]\naws_secret_access_key = b\n")
	methods := map[string]string{
		byRole: "assume-role", byWebIdentity: "assume-role-with-web-identity", byKeys: "shared-credentials-file", byConfigKeys: "config-file", "": "",
	}
	config, refused := f.ReadConfig()
	if len(refused) > 0 {
		t.Fatal(refused)
	}
	python := config.InPython()
	var names []string
	for _, p := range python.Profiles {
		names = append(names, p.Name)
	}
	cmd := exec.Command("python3", append([]string{"-c", askBotocore}, names...)...)
	cmd.Env = append(os.Environ(), "AWS_SHARED_CREDENTIALS_FILE="+f.Credentials, "AWS_CONFIG_FILE="+f.Config, "AWS_EC2_METADATA_DISABLED=true", "BOTO_CONFIG=/dev/null")
	b, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var says map[string]string
	if err := json.Unmarshal(b, &says); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		got, problem := python.Resolve(name, func(string) string { return "" })
		ours := methods[got.Way]
		if problem != nil {
			ours = "refused"
		}
		if ours != says[name] {
			t.Errorf("%s: botocore %q, the model %q", name, says[name], ours)
		}
	}
}
