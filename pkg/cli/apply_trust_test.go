package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// What a key of the file is to an author who is not trusted.
const (
	free    = "free"    // it asks for access, which the trust policies decide about
	decided = "decided" // by the job alone
	read    = "read"    // it names a file to read
	write   = "write"   // it names a file to write
)

// keyTrust has every key. A new one belongs in here: does it say who receives the
// token, which token it is, or what is read or written?
var keyTrust = map[string]string{
	"version": free, "aws": free, "gcp": free, "vault": free, "name": free,
	"token-env": decided, "token-file": decided, "audience": decided,
	"token-version": free, "require-claim": free, "refuse-ssh-rerun": free, "min-validity": free,

	"profile": free, "mode": free, "role-arn": free, "via": free, "region": free, "session-duration": free, "role-session-name": free,
	"policy": read, "policy-arn": free, "chain-role-arn": free, "external-id": free, "session-tag": free, "transitive-tag-key": free,
	"source-identity": free, "allowed-account-id": free,

	"workload-identity-provider": free, "service-account": free, "delegate": free, "scope": free, "token-lifetime": free,
	"universe-domain": decided, "sts-endpoint": decided, "iamcredentials-endpoint": decided,
	"source": free, "output-file": write, "configuration": free, "project-id": free,

	"vault-addr": decided, "role": free, "auth-path": free, "namespace": free, "auth-namespace": free,
	"ca-cert": decided, "ca-path": decided, "client-cert": decided, "client-key": decided, "tls-server-name": decided,
	"client-timeout": free, "max-retries": free, "secret": free, "write": read, "kv-version": free, "wrap-ttl": free,
	"secrets-file": write, "secrets-format": free,
}

// TestApplyKeysAreClassified: every key of the file is free, or an untrusted author
// is refused it where it stands.
func TestApplyKeysAreClassified(t *testing.T) {
	hostile := map[string]string{
		read:  filepath.Join(t.TempDir(), "secret.json"),
		write: filepath.Join(t.TempDir(), "there"),
	}
	for _, path := range hostile {
		if err := os.WriteFile(path, []byte("{}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const vaultFile = "version: 1\nvault:\n  - name: v\n    secret: cubbyhole/x y=Y\n"
	bases := map[string]string{"an aws target": anAWS, "a gcp target": aGCP, "a vault target": vaultFile}
	seen := map[string]bool{}
	for _, m := range []mapping{&applyFile{}, &applyAWS{}, &applyGCP{}, &applyVault{}} {
		eachKey(reflect.ValueOf(m).Elem(), func(k slot) {
			seen[k.name] = true
			class, known := keyTrust[k.name]
			if !known {
				t.Errorf("%s of %s is not classified: may an untrusted author set it?", k.name, m.what())
				return
			}
			if (class == decided) != (k.decides != "") || (k.decides == "") != (len(k.from) == 0) {
				t.Errorf("%s of %s is %s, and the file's type says %q from %q", k.name, m.what(), class, k.decides, k.from)
			}
			if class == free {
				return
			}
			value, base := hostile[class], bases[m.what()]
			switch {
			case class == decided:
				value = "https://evil.example.com"
			case k.name == "write":
				value = "cubbyhole/x value=@" + value
			}
			file := base + "    " + k.name + ": " + value + "\n"
			if base == "" {
				file = k.name + ": " + value + "\n" + anAWS
			}
			if base == vaultFile && k.name != "secrets-file" {
				file += "    secrets-file: new.env\n"
			}
			_, _, err := planned(t, file, "TRUST=no", "VAULT_ADDR=https://vault.example.com")
			var at misplacement
			if !errors.As(err, &at) || fault.KindOf(err) != fault.Usage || at.at.line == 0 {
				t.Fatalf("%s of %s: %v, want a refusal at a place", k.name, m.what(), err)
			}
			want := map[string]string{decided: "may not set " + k.name + " (" + k.decides + ")", read: "is outside the working directory", write: "is outside the working directory"}[class]
			if !strings.Contains(at.text, want) {
				t.Errorf("%s of %s: %s, want %q", k.name, m.what(), at.text, want)
			}
			hints := fault.Hints(err)
			if !slices.Contains(hints, trustFileHint) {
				t.Errorf("%s of %s: hints %q", k.name, m.what(), hints)
			}
		})
	}
	for name := range keyTrust {
		if !seen[name] {
			t.Errorf("there is no key %s", name)
		}
	}
}

// TestApplyOptionsThatDecide: what a key's tag names is an option of apply, or a
// variable.
func TestApplyOptionsThatDecide(t *testing.T) {
	a := &app{World: World{Getenv: func(string) string { return "" }}}
	flags := a.applyCommand().Flags()
	for _, m := range []mapping{&applyFile{}, &applyAWS{}, &applyGCP{}, &applyVault{}} {
		eachKey(reflect.ValueOf(m).Elem(), func(k slot) {
			for _, from := range k.from {
				name, option := strings.CutPrefix(from, "--")
				if option && (len(k.from) > 1 || flags.Lookup(name) == nil) || !option && strings.ToUpper(from) != from {
					t.Errorf("%s is from %q", k.name, k.from)
				}
			}
		})
	}
}

// TestMayNotWrite: where a file may have something written, in a checkout below the
// home directory, in one that is the home directory, and where the home directory is
// in the working directory.
func TestMayNotWrite(t *testing.T) {
	root := realPath(t.TempDir())
	home := filepath.Join(root, "home")
	checkout := filepath.Join(home, "project")
	for path, content := range map[string]string{
		"home/.vault-token": "hvs.CAESIJabcdefghij", "home/.bashrc": "x", "home/.config/gcloud/adc.json": `{"type": "authorized_user"}`,
		"home/.config/gcloud/properties": "[core]", "home/project/Makefile": "x", "home/project/empty": "",
		"home/project/token": "hvs.CAESIJabcdefghij\n", "home/project/two": "hvs.CAESIJabcdefghij\nhvs.b", "home/project/key.json": `{"type": "service_account"}`,
		"home/project/other.json": `{"type": "module"}`, "elsewhere/x": "x",
	} {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{"out": root + "/elsewhere", "in": "sub", "rc": "../.bashrc", "none": "nowhere"} {
		if err := os.Symlink(to, filepath.Join(checkout, name)); err != nil {
			t.Skip("no symbolic links here:", err)
		}
	}
	p := &plan{app: &app{World: World{Getenv: func(name string) string {
		return map[string]string{"HOME": home, "BASH_ENV": filepath.Join(checkout, "env")}[name]
	}}}}
	const outside, there, dot = "outside the working directory", "oidc-broker did not write it", "begins with a dot"
	for _, row := range []struct {
		dir, path string
		places    func() (toolPlaces, error)
		want      string
	}{
		{checkout, "x", noPlaces, ""}, {checkout, "sub/x", noPlaces, ""}, {checkout, ".env", noPlaces, ""}, {checkout, "a/.env.ci", noPlaces, ""},
		{checkout, checkout + "/x", noPlaces, ""}, {checkout, "empty", noPlaces, ""}, {checkout, "in/x", noPlaces, "leads nowhere"},
		{checkout, "Makefile", noPlaces, there}, {checkout, "token", noPlaces, there}, {checkout, "token", p.vaultPlaces, ""},
		{checkout, "two", p.vaultPlaces, there}, {checkout, "key.json", p.googlePlaces, ""}, {checkout, "other.json", p.googlePlaces, there},
		{checkout, "token", p.googlePlaces, there}, {checkout, ".envrc", noPlaces, dot}, {checkout, ".env/x", noPlaces, dot},
		{checkout, ".git/config", noPlaces, dot}, {checkout, ".Git/x", noPlaces, dot}, {checkout, "sub/.npmrc", noPlaces, dot},
		{checkout, "env", noPlaces, "BASH_ENV"}, {checkout, "ENV", noPlaces, "BASH_ENV"},
		{checkout, "out/x", noPlaces, outside}, {checkout, "out/y", noPlaces, outside}, {checkout, "rc", noPlaces, outside}, {checkout, "none", noPlaces, "leads nowhere"},
		{checkout, "none/x", noPlaces, "leads nowhere"}, {checkout, "out/../x", noPlaces, "holds"}, {checkout, "../x", noPlaces, outside},
		{checkout, "/etc/x", noPlaces, outside}, {checkout, home + "/x", noPlaces, outside}, {checkout, home + "/project2/x", noPlaces, outside},
		{checkout, home + "/.vault-token", p.vaultPlaces, ""}, {checkout, home + "/.vault-token", noPlaces, outside}, {checkout, home + "/.vault-token", p.googlePlaces, outside},
		{checkout, home + "/.config/gcloud/adc.json", p.googlePlaces, ""}, {checkout, home + "/.config/gcloud/new.json", p.googlePlaces, ""},
		{checkout, home + "/.config/gcloud/properties", p.googlePlaces, there}, {checkout, home + "/.config/gcloud/x", noPlaces, outside},
		{checkout, home + "/.config/oidc-broker/x", noPlaces, ""}, {checkout, home + "/.aws/credentials", noPlaces, outside},
		{home, ".bashrc", noPlaces, dot}, {home, ".ssh/x", noPlaces, dot}, {home, "x", noPlaces, ""}, {home, ".vault-token", p.vaultPlaces, ""},
		{root, "x", noPlaces, ""}, {root, "home/x", noPlaces, "home directory"}, {root, "home/.bashrc", noPlaces, "home directory"},
		{string(filepath.Separator), "new-file", noPlaces, outside},
	} {
		t.Run(fmt.Sprintf("%s in %s", row.path, strings.TrimPrefix(row.dir, root)), func(t *testing.T) {
			t.Chdir(row.dir)
			known, err := row.places()
			if err != nil {
				t.Fatal(err)
			}
			why, err := p.mayNotWrite(row.path, known)
			if err != nil || (why == "") != (row.want == "") || !strings.Contains(why, row.want) {
				t.Errorf("%q, %v, want %q", why, err, row.want)
			}
		})
	}
}
