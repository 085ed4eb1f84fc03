package gcp

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFindConfiguration(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("gcloud's directory is another there")
	}
	for _, row := range []struct{ name, config, home, want string }{
		{"prod", "", "/home/me", "/home/me/.config/gcloud/configurations/config_prod"},
		{"prod-2", "/etc/gcloud", "/home/me", "/etc/gcloud/configurations/config_prod-2"},
		{"default", "", "/home/me", "/home/me/.config/gcloud/configurations/config_default"},
		{"prod", "", "", "no home directory"},
		{"", "", "/home/me", "cannot be the name"},
		{"NONE", "", "/home/me", "cannot be the name"},
		{"2prod", "", "/home/me", "cannot be the name"},
		{"../x", "", "/home/me", "cannot be the name"},
		{"a b", "", "/home/me", "cannot be the name"},
	} {
		env := map[string]string{"CLOUDSDK_CONFIG": row.config, "HOME": row.home}
		got, err := FindConfiguration(func(name string) string { return env[name] }, row.name)
		if !strings.Contains(fmt.Sprint(filepath.ToSlash(got), err), row.want) {
			t.Errorf("%+v: %q, %v", row, got, err)
		}
	}
}

func TestConfiguration(t *testing.T) {
	x := &Exchange{ProjectID: "my-project", universe: googleUniverse}
	other := &Exchange{universe: "example.org"}
	for _, row := range []struct {
		name      string
		x         *Exchange
		old, want string
	}{
		{"a new one", x, "", "[auth]\ncredential_file_override = /a%%b.json\n[core]\nproject = my-project\n"},
		{"the rest stays", x, "[core]\naccount = me@example.com\nproject = old\nverbosity = debug\n[compute]\nzone = a\n",
			"[core]\nproject = my-project\nverbosity = debug\n[compute]\nzone = a\n[auth]\ncredential_file_override = /a%%b.json\n"},
		{"other credentials go", x, "[auth]\naccess_token_file = x\nimpersonate_service_account = y\ndisable_credentials = true\n[core]\nuniverse_domain = z\n",
			"[auth]\ncredential_file_override = /a%%b.json\n[core]\nproject = my-project\n"},
		{"no project", other, "[core]\nproject = old\n", "[core]\nproject = old\nuniverse_domain = example.org\n[auth]\ncredential_file_override = /a%%b.json\n"},
	} {
		text := []byte(row.old)
		if row.old == "" {
			text = nil
		}
		for range 2 { // the second time changes nothing
			for _, e := range row.x.Configuration("/config", Files{Config: "/a%b.json"}) {
				var err error
				if text, err = e.Apply(text); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(row.want, string(text)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", row.name, diff)
			}
		}
	}
}
