package gcp

import (
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

func TestReadCredentials(t *testing.T) {
	const from = `{"type": "external_account", "token_url": "https://sts.googleapis.com/v1/token", "service_account_impersonation_url": "https://i/", "credential_source": `
	for _, row := range []struct {
		name, text string
		want       Credentials
		err        string
	}{
		{"a file", from + `{"file": "/t"}}`, Credentials{Type: "external_account", File: "/t"}, ""},
		{"a file of JSON", from + `{"file": "/t", "format": {"type": "json", "subject_token_field_name": "x"}}}`, Credentials{Type: "external_account", File: "/t", Field: "x"}, ""},
		{"a field without JSON", from + `{"file": "/t", "format": {"type": "text", "subject_token_field_name": "x"}}}`, Credentials{Type: "external_account", File: "/t"}, ""},
		{"a program", from + `{"executable": {"command": "/p x"}}}`, Credentials{Type: "external_account", Executable: "/p x"}, ""},
		{"a URL", from + `{"url": "http://x"}}`, Credentials{Type: "external_account", Elsewhere: "a URL"}, ""},
		{"AWS", from + `{"environment_id": "aws1", "url": "http://x"}}`, Credentials{Type: "external_account", Elsewhere: "the metadata of an AWS machine"}, ""},
		{"a certificate", from + `{"certificate": {}}}`, Credentials{Type: "external_account", Elsewhere: "a certificate"}, ""},
		{"a key", `{"type": "service_account", "private_key": "x"}`, Credentials{Type: "service_account", Key: true}, ""},
		{"a user's", `{"type": "authorized_user", "refresh_token": "x"}`, Credentials{Type: "authorized_user", Key: true}, ""},
		{"no JSON", "x", Credentials{}, "not the JSON of Google credentials"},
		{"no object", `["x"]`, Credentials{}, "not the JSON of Google credentials"},
		{"no type", `{}`, Credentials{}, `without a "type"`},
		{"a type that is none", `{"type": 1}`, Credentials{}, "not the JSON of Google credentials"},
	} {
		got, err := ReadCredentials([]byte(row.text))
		if row.err != "" {
			if fault.KindOf(err) != fault.Local || !strings.Contains(err.Error(), row.err) {
				t.Errorf("%s: %v", row.name, err)
			}
			continue
		}
		if strings.HasPrefix(row.text, from) != (got.URLs["service_account_impersonation_url"] == "https://i/" && got.URLs["token_url"] != "") {
			t.Errorf("%s: %v", row.name, got.URLs)
		}
		got.URLs = nil
		if err != nil || got.Type != row.want.Type || got.Key != row.want.Key || got.File != row.want.File || got.Field != row.want.Field || got.Executable != row.want.Executable || got.Elsewhere != row.want.Elsewhere {
			t.Errorf("%s: %+v, %v", row.name, got, err)
		}
	}
}

func TestSubject(t *testing.T) {
	for _, row := range []struct{ field, text, want, err string }{
		{"", " t\n", " t\n", ""},
		{"x", `{"x": "t"}`, "t", ""},
		{"x", `{"y": "t"}`, "", "lacks the field"},
		{"x", `{"x": 1}`, "", "lacks the field"},
		{"x", `{"x": ""}`, "", "lacks the field"},
		{"x", `t`, "", "not the JSON object"},
	} {
		got, err := Credentials{Field: row.field}.Subject([]byte(row.text))
		if got != row.want || (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
			t.Errorf("%q in %q: %q, %v", row.field, row.text, got, err)
		}
	}
}

// FuzzReadCredentials: no panic, and nothing of the text in an error.
func FuzzReadCredentials(f *testing.F) {
	for _, s := range []string{`{"type": "x"}`, `{"type": "external_account", "credential_source": {"file": "/t", "format": {"type": "json"}}}`, `{"credential_source": []}`, `null`, ``, `{"type":"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ReadCredentials(text)
		if (err == nil) != (c.Type != "") {
			t.Errorf("type %q, error %v", c.Type, err)
		}
		if err != nil && len(text) > 60 && strings.Contains(err.Error(), string(text)) {
			t.Error("the error shows the text")
		}
		_, _ = c.Subject(text)
	})
}
