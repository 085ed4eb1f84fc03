package doctor

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
)

// FuzzCredentials: what has the form of credentials is taken out of every text.
func FuzzCredentials(f *testing.F) {
	for _, s := range []string{
		"AKIAABCDEFGHIJKLMNOP", "xASIAABCDEFGHIJKLMNOP ", "hvs.ABCDEFGHIJKLMNOPQRSTUVWX", "ya29.abcdefghijklmnopqrstuvwxyz",
		"-----BEGIN RSA PRIVATE KEY-----\nAAAA\\nBBBB", "eyJhbGciOiJub25lIn0.eyJpc3MiOiJhIn0.YWFhYWFhYWE", "AKIAIOSFODNN7EXAMPLE",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if left := secret.WithoutCredentials(text); secret.HasCredentials(left) {
			t.Errorf("%q still holds credentials", left)
		}
	})
}

// FuzzDoctor: every file that is read may hold anything, every variable too.
func FuzzDoctor(f *testing.F) {
	for _, s := range []string{
		"[a]\ncredential_process = 'x\n", "{\"type\":\"external_account\",\"credential_source\":{\"executable\":{\"command\":\"\\u0000\"}}}",
		"# >>> oidc-broker aws >>>\nexport AWS_CREDENTIAL_EXPIRATION='2000-01-01T00:00:00Z'\n# <<< oidc-broker aws <<<\nexit 1\n",
		"~", "\x1b[31m", "arn:aws:iam::1:role/x", "$X", "https://u:p@h/", "http://[::1", "\xff\xfe",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r := visit{env: "AWS_SHARED_CREDENTIALS_FILE=$DIR/work/f\nAWS_CONFIG_FILE=$DIR/work/f\nBASH_ENV=$DIR/work/f\n" + adc + "CIRCLECI=true\n"}
		v := r.view(t)
		v.Client.Transport = answering{}
		dir := filepath.Dir(v.WorkDir)
		for _, name := range []string{"work/f", "adc.json"} {
			if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for i, name := range plainVariables() {
			if i%3 == len(text)%3 && v.env[name] == "" {
				v.env[name] = text
			}
		}
		v.env["AWS_SECRET_ACCESS_KEY"] = "CANARY" + text + "CANARYCANARY"
		v.Finder.Env = "MINE"
		v.env["MINE"] = text + "CANARYCANARYCANARY"
		e := examine(v.prepared(), groups(true, nil))
		shown := fmt.Sprintf("%+v", e)
		if strings.Contains(shown, "CANARYCANARY") && !strings.Contains(text, "CANARY") {
			t.Error("a secret is shown")
		}
		if _, err := json.Marshal(e.Findings); err != nil {
			t.Error(err)
		}
	})
}
