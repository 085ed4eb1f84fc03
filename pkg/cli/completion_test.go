package cli

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// offline is a network that nobody may use.
type offline struct{ t *testing.T }

func (o offline) RoundTrip(r *http.Request) (*http.Response, error) {
	o.t.Errorf("a completion calls %s", r.URL.Host)
	return nil, errors.New("offline")
}

// asked returns what a shell is told, without descriptions.
func asked(t *testing.T, env map[string]string, args ...string) []string {
	t.Helper()
	var out, errs bytes.Buffer
	w := World{
		Args:   append([]string{cobra.ShellCompNoDescRequestCmd}, args...),
		Getenv: func(name string) string { return env[name] },
		Environ: func() (all []string) {
			for name, v := range env {
				all = append(all, name+"="+v)
			}
			return all
		},
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs,
		Now: time.Now, Transport: offline{t},
		Executable: os.Executable, WorkDir: os.Getwd, TempDir: os.TempDir,
	}
	if status := Main(context.Background(), w); status != 0 {
		t.Errorf("%q: status %d: %s", args, status, errs.String())
	}
	for _, hidden := range []string{"c2VjcmV0", "wJalr"} {
		if strings.Contains(out.String()+errs.String(), hidden) {
			t.Errorf("%q shows a secret", args)
		}
	}
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
}

// TestCompletions asks for the values of every option of every command: none makes
// a call, shows a secret or fails; and what an option of a few values takes is
// offered, and nothing else.
func TestCompletions(t *testing.T) {
	dir := t.TempDir()
	credentials := filepath.Join(dir, "credentials")
	if err := os.WriteFile(credentials, []byte("[deploy]\naws_secret_access_key = wJalrXUtnFEMI\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{
		"HOME": dir, "AWS_SHARED_CREDENTIALS_FILE": credentials, "OIDC_BROKER_TIMEOUT": "never",
		"CIRCLE_OIDC_TOKEN": "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2kifQ.c2VjcmV0",
	}
	seen := map[string]bool{}
	a := &app{World: World{Getenv: func(string) string { return "" }}}
	walk(a.root(), func(c *cobra.Command) {
		words := strings.Fields(c.CommandPath())[1:]
		if c.Hidden {
			return
		}
		asked(t, env, append(slices.Clone(words), "")...)
		flags := asked(t, env, append(slices.Clone(words), "--")...)
		c.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
			if f.Hidden {
				return
			}
			if !slices.Contains(flags, "--"+f.Name) {
				t.Errorf("%s does not offer --%s", c.CommandPath(), f.Name)
			}
			want := f.Annotations[oneOfNote]
			option := f.Name + " " + strings.Join(want, " ")
			if seen[option] || f.NoOptDefVal != "" {
				return
			}
			seen[option] = true
			got := asked(t, env, append(slices.Clone(words), "--"+f.Name, "")...)
			switch f.Name {
			case "profile":
				want = []string{"deploy"}
			case "token-env":
				want = []string{"CIRCLE_OIDC_TOKEN"}
			case "region", "partition", "kv-version":
				return
			}
			if !slices.Equal(got[:len(got)-1], want) {
				t.Errorf("%s --%s offers %q, want %q", c.CommandPath(), f.Name, got, want)
			}
		})
	})
	if len(seen) < 80 {
		t.Errorf("only %d options seen", len(seen))
	}
}

func TestCompletionOfPrograms(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"zz-run.exe": 0o700, "zz-read": 0o600, "zz-\x1b.exe": 0o700} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, mode); err != nil {
			t.Log(err) // Windows has no such name
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "zz-dir.exe"), 0o700); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"PATH": strings.Join([]string{dir, filepath.Join(dir, "none"), "", ".", dir}, string(filepath.ListSeparator))}
	for _, row := range []struct {
		args, want string
	}{
		{"aws exec |", "--|:4"},
		{"aws exec --role-arn x |", "--|:4"},
		{"aws exec -- |", ":0"},
		{"aws exec -- |zz-", "zz-run.exe|:0"},
		{"sandbox -- |zz-", "zz-run.exe|:0"},
		{"aws exec -- zz-run.exe |zz-", ":0"},
		{"aws exec -- |./zz-", ":0"},
		{"aws whoami |zz-", ":4"},
		{"policy lint aws |zz-", ":0"},
	} {
		words, typed, _ := strings.Cut(row.args, "|")
		if got := strings.Join(asked(t, env, append(strings.Fields(words), typed)...), "|"); got != row.want {
			t.Errorf("%s: %s, want %s", row.args, got, row.want)
		}
	}
}
