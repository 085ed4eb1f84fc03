package gcp

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// arguments are texts and what gcloud's own parsers make of them; null is an
// error.
type arguments struct {
	Durations []struct {
		Text     string
		Lifetime *float64
		Timeout  *int
	}
	Headers []struct {
		Text    string
		Headers *[][2]string
	}
}

func TestArgumentsAsGcloudParsesThem(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "testdata", "golden", "gcloud-arguments.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all arguments
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	for _, d := range all.Durations {
		lifetime := d.Lifetime
		if lifetime != nil && *lifetime != float64(int(*lifetime)) {
			lifetime = nil // gcloud writes a fraction, we refuse it
		}
		got, err := parseLifetime(d.Text)
		if (err == nil) != (lifetime != nil) || lifetime != nil && *lifetime != float64(got) {
			t.Errorf("lifetime %q: %d, %v; gcloud has %s", d.Text, got, err, number(d.Lifetime))
		}
		got, err = parseTimeout(d.Text)
		if (err == nil) != (d.Timeout != nil) || d.Timeout != nil && *d.Timeout != got {
			t.Errorf("timeout %q: %d, %v; gcloud has %s", d.Text, got, err, number(d.Timeout))
		}
	}
	for _, h := range all.Headers {
		got, err := parseHeaders(h.Text)
		if (err == nil) != (h.Headers != nil) {
			t.Errorf("headers %q: %v", h.Text, err)
			continue
		}
		if err == nil {
			want := object{}
			for _, kv := range *h.Headers {
				want = append(want, member{kv[0], kv[1]})
			}
			if !bytes.Equal(want.encode(), got.encode()) {
				t.Errorf("headers %q: %s, gcloud has %s", h.Text, got.encode(), want.encode())
			}
		}
	}
}

func number(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// TestTextAsPythonWritesIt compares every character below U+3000, and some
// beyond, with json.dumps.
func TestTextAsPythonWritesIt(t *testing.T) {
	testenv.NeedFull(t, "starts Python")
	python := testenv.Program(t, "python3")
	var all strings.Builder
	for r := rune(0); r < 0x3000; r++ {
		all.WriteRune(r)
	}
	all.WriteString("\ud7ff\ue000\ufffd\uffff\U00010000\U0001f600\U0010ffff</script>&'")
	c := exec.Command(python, "-c", "import json,sys; sys.stdout.write(json.dumps({'a': {'b': sys.stdin.buffer.read().decode(), 'n': 1, 't': True}}, indent=2))")
	c.Stdin = strings.NewReader(all.String())
	want, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	got := object{{"a", object{{"b", all.String()}, {"n", 1}, {"t", true}}}}.encode()
	if !bytes.Equal(got, want) {
		t.Errorf("unlike python's:\n%s\n%s", got, want)
	}
}

func FuzzFiles(f *testing.F) {
	f.Add(providerName, "/home/circleci/oidc_token", "A=1,B=\u00f8", "json", "id_token", "deployer@my-project.iam.gserviceaccount.com", "3600", "10s", byte(0))
	f.Add("//iam.googleapis.com/"+providerName, "\x00\x7f\u2028\U0001f600<>&\"\\", "^;^A=1,2;B==", "TEXT", "", "", "", "", byte(1))
	f.Add(providerName, "a\nb", "^^", "", "", "", "", "5s", byte(2))
	f.Add(providerName, "\xff\xed\xa0\x80", "", "", "", "", "", "", byte(3))
	f.Fuzz(func(t *testing.T, provider, source, headers, kind, field, account, lifetime, timeout string, which byte) {
		c := CredConfig{
			Provider: provider, ServiceAccount: account, TokenLifetime: lifetime, SubjectTokenType: field, SourceType: kind, SourceFieldName: field,
			SourceHeaders: []string{headers}, ExecutableTimeout: timeout, CertConfigDefault: "c",
		}
		to := [][]string{
			{"credential_source", "file"}, {"credential_source", "url"}, {"credential_source", "executable", "command"}, {"cert_configs", "workload", "cert_path"},
		}[which%4]
		switch which % 4 {
		case 0:
			c.SourceFile = source
		case 1:
			c.SourceURL = source
		case 2:
			c.ExecutableCommand = source
		case 3:
			c.CertPath, c.CertKeyPath = source, source
		}
		c.Notes()
		files, err := c.Files()
		if err != nil {
			if fault.KindOf(err) != fault.Usage || files != nil {
				t.Errorf("%v is no usage error, or there are files", err)
			}
			return
		}
		last := readBack(t, files)
		if got := at(last, to); got != source {
			t.Errorf("%q came back as %q", source, got)
		}
		if got := at(readBack(t, files[:1]), []string{"audience"}); got != "//iam.googleapis.com/"+providerName && !strings.HasSuffix(provider, strings.TrimPrefix(got.(string), "//iam.googleapis.com/")) {
			t.Errorf("the audience is %q", got)
		}
		if which%4 == 1 {
			want, _ := parseHeaders(headers)
			for _, h := range want {
				if got := at(last, []string{"credential_source", "headers", h.key}); got != h.value {
					t.Errorf("header %q came back as %q", h.value, got)
				}
			}
		}
	})
}

// readBack reads the last file, and looks at the bytes of all.
func readBack(t *testing.T, files []File) (last map[string]any) {
	t.Helper()
	for _, f := range files {
		if i := bytes.IndexFunc(f.Content, func(r rune) bool { return r != '\n' && (r < ' ' || r > '~') }); i >= 0 {
			t.Errorf("byte %d is not plain ASCII: %q", i, f.Content)
		}
		last = nil
		if err := json.Unmarshal(f.Content, &last); err != nil {
			t.Errorf("not JSON: %v", err)
		}
	}
	return last
}

func at(v any, path []string) any {
	for _, key := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[key]
	}
	return v
}
