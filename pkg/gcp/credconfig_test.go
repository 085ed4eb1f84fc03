package gcp

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// recording is what the real gcloud 528.0.0 did with a command line.
type recording struct {
	Env    map[string]string
	Pool   string
	Args   []string
	Exit   int
	Stderr string
	File   *string           // nil: none was written
	Files  map[string]string // what it wrote beside it
}

func recordings(t testing.TB, name string) []recording {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "testdata", "golden", name))
	if err != nil {
		t.Fatal(err)
	}
	var all []recording
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

const providerName = "projects/123456789012/locations/global/workloadIdentityPools/circleci/providers/circleci-oidc"

// flags returns the arguments without the provider, as a name for the case.
func (r recording) flags() string {
	name := strings.ReplaceAll(strings.Join(r.Args, " "), providerName, "")
	name = strings.ReplaceAll(name, "--credential-source-file=/home/circleci/oidc_token", "FILE")
	name = strings.ReplaceAll(name, "--credential-source-url=http://127.0.0.1:8080/token", "URL")
	name = strings.ReplaceAll(name, "--service-account=deployer@my-project.iam.gserviceaccount.com", "SA")
	return strings.TrimSpace(name)
}

// config reads the command line as a command-line parser does. CONFIG stands
// for gcloud's configuration directory.
func (r recording) config(t testing.TB) CredConfig {
	t.Helper()
	c := CredConfig{UniverseDomain: r.Env["CLOUDSDK_CORE_UNIVERSE_DOMAIN"], CertConfigDefault: "CONFIG/certificate_config.json"}
	text := map[string]*string{
		"service-account": &c.ServiceAccount, "service-account-token-lifetime-seconds": &c.TokenLifetime, "subject-token-type": &c.SubjectTokenType,
		"credential-source-file": &c.SourceFile, "credential-source-url": &c.SourceURL, "credential-source-type": &c.SourceType,
		"credential-source-field-name": &c.SourceFieldName, "executable-command": &c.ExecutableCommand,
		"executable-timeout-millis": &c.ExecutableTimeout, "executable-output-file": &c.ExecutableOutputFile, "app-id-uri": &c.AppIDURI,
		"credential-cert-path": &c.CertPath, "credential-cert-private-key-path": &c.CertKeyPath, "credential-cert-trust-chain-path": &c.CertTrustChainPath,
		"credential-cert-configuration-output-file": &c.CertConfigOutputFile, "universe-domain": &c.UniverseDomain,
	}
	given := map[string]*bool{
		"service-account": &c.ServiceAccountGiven, "credential-source-file": &c.SourceFileGiven, "credential-source-url": &c.SourceURLGiven,
		"executable-command": &c.ExecutableCommandGiven, "credential-cert-path": &c.CertPathGiven,
		"aws": &c.AWS, "azure": &c.Azure, "enable-imdsv2": &c.EnableIMDSv2,
	}
	for _, arg := range r.Args {
		flag, isFlag := strings.CutPrefix(arg, "--")
		if !isFlag {
			c.Provider = arg
			continue
		}
		name, value, hasValue := strings.Cut(flag, "=")
		known := false
		if name == "credential-source-headers" {
			c.SourceHeaders, known = append(c.SourceHeaders, value), true
		}
		if p := text[name]; p != nil && hasValue {
			*p, known = value, true
			if value == "" {
				c.Empty = append(c.Empty, name)
			}
		}
		if p := given[name]; p != nil {
			*p, known = true, true
		}
		if !known {
			t.Fatalf("the test does not know %s", arg)
		}
	}
	return c
}

// refused are the recordings that we answer with an error, by its words.
func refused() map[string][]string {
	const lifetime, timeout = "FILE SA --service-account-token-lifetime-seconds=", "--executable-command=/bin/x --executable-timeout-millis="
	const certificate = "--credential-cert-path=c.pem --credential-cert-private-key-path=k.pem"
	return map[string][]string{
		// gcloud has an error too, but for those that it exits 0 or crashes on.
		"no source of the token":                   {""},
		"--aws and --credential-source-file are":   {"FILE --aws"},
		"--aws and --azure are":                    {"--aws --azure"},
		`"xml" is neither json nor text`:           {"FILE --credential-source-type=xml"},
		"give --credential-source-field-name":      {"FILE --credential-source-type=json --credential-source-field-name="},
		"does not go with --aws":                   {"--aws --credential-source-type=json --credential-source-field-name=x"},
		"--enable-imdsv2 is for --aws":             {"--azure --enable-imdsv2"},
		"seconds is for a service account's token": {"FILE --service-account-token-lifetime-seconds=3600"},
		"is not within 600s and 43200s":            {lifetime + "43201", lifetime + "43200.4s", lifetime + "PT"},
		"is not within 5s and 120s":                {timeout + "4999", timeout + "120001"},
		"seconds \"3600.0\" is not a duration":     {lifetime + "3600.0"},
		"a number alone is in ms":                  {timeout + "0x1388"},
		"lifetime-seconds is empty":                {lifetime},
		"timeout-millis is empty":                  {timeout},
		"headers: entry 1 is not KEY=VALUE":        {"URL --credential-source-headers=A", "URL --credential-source-headers==x", "FILE --credential-source-headers=A"},
		"headers: entry 2 is not KEY=VALUE":        {"URL --credential-source-headers=A=1,,B=2"},
		"headers begins with ^^":                   {"URL --credential-source-headers=^^A=1"},
		"--credential-source-file is empty":        {"--credential-source-file=", "--credential-source-file= --aws"},
		"--credential-source-url is empty":         {"--credential-source-url="},
		"--executable-command is empty":            {"--executable-command="},
		"--credential-cert-path is empty":          {"--credential-cert-path= --credential-cert-private-key-path=k"},
		"needs the certificate's key":              {"--credential-cert-path=c.pem", "--credential-cert-path=c --credential-cert-private-key-path="},
		"key-path is for --credential-cert-path":   {"FILE --credential-cert-private-key-path=k"},
		"chain-path is for --credential-cert-path": {"FILE --credential-cert-trust-chain-path=k"},
		// gcloud writes a file that is no good.
		"it is in a workforce pool":                 {"locations/global/workforcePools/acme/providers/idp FILE --workforce-pool-user-project=999"},
		`"not-an-email" is not the address`:         {"FILE --service-account=not-an-email"},
		`"my-project-id" is not the project number`: {"projects/my-project-id/locations/global/workloadIdentityPools/circleci/providers/circleci-oidc FILE"},
		"--service-account is empty":                {"FILE --service-account=", "FILE --service-account= --service-account-token-lifetime-seconds=3600"},
		"is not in whole seconds":                   {lifetime + "600.5s", lifetime + "1h0.5s"},
		"configuration-output-file is empty":        {certificate + " --credential-cert-configuration-output-file= --credential-cert-trust-chain-path="},
	}
}

func TestGolden(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range []string{"gcloud-create-cred-config.json", "gcloud-create-cred-config-more.json"} {
		for _, r := range recordings(t, name) {
			seen[r.flags()] = true
			t.Run(r.flags(), func(t *testing.T) { r.check(t) })
		}
	}
	for _, all := range refused() {
		for _, flags := range all {
			if !seen[flags] {
				t.Errorf("no recording has the flags %q", flags)
			}
		}
	}
}

// words returns what our error must say; false: there is none.
func (r recording) words() (string, bool) {
	for words, all := range refused() {
		if slices.Contains(all, r.flags()) {
			return words, true
		}
	}
	return "", false
}

func (r recording) check(t *testing.T) {
	words, wantError := r.words()
	if r.Pool == "workforce-pools" {
		r.Args = r.Args[:len(r.Args)-1]
	}
	made, err := r.config(t).Files()
	if wantError {
		if text := explain(err); fault.KindOf(err) != fault.Usage || !strings.Contains(text, words) {
			t.Errorf("error %q, want a usage error with %q", text, words)
		}
		return
	}
	if err != nil || r.File == nil {
		t.Fatalf("error %v; gcloud exited %d: %s", explain(err), r.Exit, r.Stderr)
	}
	want := []File{{Content: []byte(*r.File)}}
	for path, content := range r.Files {
		want = append(want, File{Path: path, Content: []byte(content)})
	}
	if diff := cmp.Diff(want, made); diff != "" {
		t.Errorf("unlike gcloud's (-want +got):\n%s", diff)
	}
}

// explain is an error as the user sees it.
func explain(err error) string {
	if err == nil {
		return "none"
	}
	flags := fault.Naming(func(o fault.Option) string { return "--" + string(o) })
	return strings.Join(append([]string{flags.Text(err)}, flags.Hints(err)...), "; ")
}

func TestEndpointsMoveEveryURL(t *testing.T) {
	c := CredConfig{
		Provider: providerName, SourceFile: "/t", ServiceAccount: "deployer@my-project.iam.gserviceaccount.com",
		STSEndpoint: "http://127.0.0.1:8080/", IAMCredentialsEndpoint: "http://[::1]:8081/iam",
	}
	files, err := c.Files()
	if err != nil {
		t.Fatal(explain(err))
	}
	for _, want := range []string{
		`"token_url": "http://127.0.0.1:8080/v1/token"`,
		`"http://[::1]:8081/iam/v1/projects/-/serviceAccounts/deployer@my-project.iam.gserviceaccount.com:generateAccessToken"`,
	} {
		if !strings.Contains(string(files[0].Content), want) {
			t.Errorf("no %s in %s", want, files[0].Content)
		}
	}
	c.ServiceAccount, c.STSEndpoint = "", "https://sts.example.com"
	if files, err = c.Files(); err != nil || !strings.Contains(string(files[0].Content), `"token_info_url": "https://sts.example.com/v1/introspect"`) {
		t.Errorf("%s, %v", files, explain(err))
	}
}

func TestFilesRefuse(t *testing.T) {
	for _, row := range []struct {
		set   func(*CredConfig)
		words string
	}{
		{func(c *CredConfig) { c.STSEndpoint = "http://sts.example.com" }, "unencrypted"},
		{func(c *CredConfig) { c.STSEndpoint = "sts.example.com" }, "--sts-endpoint is not a URL"},
		{func(c *CredConfig) { c.STSEndpoint = "https://sts.example.com?a=b" }, "more than a scheme"},
		{func(c *CredConfig) { c.IAMCredentialsEndpoint = "https://u@example.com" }, "--iamcredentials-endpoint holds more"},
		{func(c *CredConfig) { c.UniverseDomain = "https://my.goog" }, `"https://my.goog" is not a domain`},
		{func(c *CredConfig) { c.UniverseDomain = "my.goog/x" }, "is not a domain"},
		{func(c *CredConfig) { c.SourceFile = "/a\xff" }, "--credential-source-file is not UTF-8"},
		{func(c *CredConfig) { c.SourceFile, c.ExecutableCommand = "", " \t" }, "--executable-command is empty"},
		{func(c *CredConfig) { c.SourceFile, c.CertPath, c.CertKeyPath = "", "c", "k" }, "no place for the certificate's configuration"},
		{func(c *CredConfig) { c.CertConfigOutputFile = "f" }, "configuration-output-file is for --credential-cert-path"},
	} {
		c := CredConfig{Provider: providerName, SourceFile: "/t"}
		row.set(&c)
		files, err := c.Files()
		if text := explain(err); files != nil || fault.KindOf(err) != fault.Usage || !strings.Contains(text, row.words) {
			t.Errorf("error %q, want a usage error with %q", text, row.words)
		}
	}
}

func TestNotesNameWhatIsIgnored(t *testing.T) {
	for _, row := range []struct {
		c    CredConfig
		want []string
	}{
		{CredConfig{SourceURL: "u", SourceHeaders: []string{"A=1"}, SourceType: "JSON", SourceFieldName: "f", SubjectTokenType: "t"}, nil},
		{CredConfig{ExecutableCommand: "x", ExecutableTimeout: "5s", ExecutableOutputFile: "o"}, nil},
		{CredConfig{Azure: true, AppIDURI: "a"}, nil},
		{CredConfig{SourceURL: "u", SourceHeaders: []string{"A=1", "B=2"}}, []string{"given more than once"}},
		{CredConfig{SourceFile: "f", SourceHeaders: []string{"A=1"}, SourceFieldName: "f", AppIDURI: "a", ExecutableTimeout: "5s", ExecutableOutputFile: "o"},
			[]string{"source-headers is ignored", "field-name is ignored", "app-id-uri is ignored", "timeout-millis is ignored", "output-file is ignored"}},
		{CredConfig{ExecutableCommand: "x", SourceType: "json", SourceFieldName: "f"}, []string{"source-type is ignored", "field-name is ignored"}},
		{CredConfig{AWS: true, SubjectTokenType: "t"}, []string{"subject-token-type is ignored"}},
	} {
		notes := row.c.Notes()
		if len(notes) != len(row.want) {
			t.Errorf("notes %q, want %q", notes, row.want)
			continue
		}
		for i, words := range row.want {
			if !strings.Contains(notes[i].String(), words) {
				t.Errorf("note %q, want %q", notes[i], words)
			}
		}
	}
}

func TestCertConfigDefaultPath(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("other paths")
	}
	for _, row := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"CLOUDSDK_CONFIG": "/c", "HOME": "/h"}, "/c/certificate_config.json"},
		{map[string]string{"HOME": "/h"}, "/h/.config/gcloud/certificate_config.json"},
		{nil, ""},
	} {
		if got := CertConfigDefaultPath(func(name string) string { return row.env[name] }); got != row.want {
			t.Errorf("%v: %q, want %q", row.env, got, row.want)
		}
	}
}
