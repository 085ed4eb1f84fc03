package aws

import (
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
)

// longRole is the ARN of a role, of that many characters.
func longRole(length int) string {
	const before, after = "arn:aws:iam::111122223333:role/", "/deploy"
	return before + strings.Repeat("p", length-len(before)-len(after)) + after
}

// longPolicy is a session policy of that many characters: two bytes each where
// that can be.
func longPolicy(length int) string {
	const before, after = `{"Statement":[{"Sid":"`, `"}]}`
	return before + strings.Repeat("é", length-len(before)-len(after)) + after
}

func TestLimits(t *testing.T) {
	const arn = "arn:aws:iam::aws:policy/ReadOnlyAccess"
	for _, row := range []struct {
		name    string
		options Options
		words   string // of the refusal; none if it is taken
	}{
		{"a role ARN of 2048 characters", Options{RoleARN: longRole(2048)}, ""},
		{"of 2049", Options{RoleARN: longRole(2049)}, "is not the ARN of a role"},
		{"a chained one of 2049", Options{RoleARN: testRole, ChainRoleARNs: []string{longRole(2049)}}, "chain-role-arn"},
		{"the global region", Options{RoleARN: testRole, Region: "aws-global"}, ""},
		{"a region that ends like it", Options{RoleARN: testRole, Region: "eu-global"}, "is not the name of a region"},
		{"a policy of 2048 characters", Options{RoleARN: testRole, Policy: longPolicy(2048)}, ""},
		{"of 2049", Options{RoleARN: testRole, Policy: longPolicy(2049)}, "have 2049 characters together, AWS takes 2048"},
		{"2048 with its ARNs", Options{RoleARN: testRole, Policy: longPolicy(2048 - 2*len(arn)), PolicyARNs: []string{arn, arn}}, ""},
		{"2049 with its ARNs", Options{RoleARN: testRole, Policy: longPolicy(2049 - 2*len(arn)), PolicyARNs: []string{arn, arn}}, "have 2049 characters together"},
		{"white space does not count", Options{RoleARN: testRole, Policy: strings.Replace(longPolicy(2048), ":", " :\n\t", 1)}, ""},
		{"the last character that AWS takes", Options{RoleARN: testRole, Policy: `{"Statement":[{"Sid":"ÿ"}]}`}, ""},
		{"the first that it does not", Options{RoleARN: testRole, Policy: `{"Statement":[{"Sid":"Ā"}]}`}, "holds the character 'Ā', AWS takes none beyond U+00FF"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := row.options.Resolve(env())
			if row.words != "" {
				wantFault(t, err, fault.Usage, row.words)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTheGlobalRegionIsTheGlobalEndpoint(t *testing.T) {
	net := &recorder{status: 200, body: granted("arn:aws:sts::111122223333:assumed-role/deploy/s")}
	x := settled(t, Options{RoleARN: testRole, Region: "aws-global"}, env())
	if _, err := x.AssumeRole(t.Context(), net.client(), testToken()); err != nil {
		t.Fatal(err)
	}
	if got := net.requests[0].URL.String(); got != "https://sts.amazonaws.com/" {
		t.Errorf("called %s", got)
	}
}

// A roleNet is the network: it grants whatever role it is asked for, with keys
// that name it.
type roleNet struct{ calls []roleCall }

type roleCall struct {
	form   url.Values
	signed string // the Authorization header
}

func (n *roleNet) RoundTrip(req *http.Request) (*http.Response, error) {
	b, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(b))
	if err != nil {
		return nil, err
	}
	n.calls = append(n.calls, roleCall{form, req.Header.Get("Authorization")})
	r, err := parseRole("RoleArn", form.Get("RoleArn"))
	if err != nil {
		return nil, err
	}
	body := granted("arn:aws:sts::" + r.account + ":assumed-role/" + r.name + "/s")
	body = strings.ReplaceAll(body, "AssumeRoleWithWebIdentity", form.Get("Action"))
	body = strings.Replace(body, "ASIAID", "ASIA"+strings.ToUpper(r.name), 1)
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
}

// TestThreeRoles: each role is asked for with the keys of the one before it,
// and the session policies limit the last one alone, whose keys are returned.
func TestThreeRoles(t *testing.T) {
	const second, third = "arn:aws:iam::111122223333:role/hub", "arn:aws:iam::444455556666:role/path/spoke"
	net := &roleNet{}
	c := (&recorder{}).client()
	c.Transport = net
	x := settled(t, Options{
		RoleARN: testRole, ChainRoleARNs: []string{second, third}, ExternalIDs: []string{"ext"}, SessionName: "job",
		Policy: `{"Statement":[]}`, PolicyARNs: []string{"arn:aws:iam::aws:policy/A"},
	}, env())
	got, err := x.AssumeRole(t.Context(), c, testToken())
	if err != nil {
		t.Fatal(err)
	}
	ask := func(action, arn string, more ...string) url.Values {
		v := url.Values{"Action": {action}, "Version": {"2011-06-15"}, "RoleArn": {arn}, "RoleSessionName": {"job"}, "DurationSeconds": {"3600"}}
		for i := 0; i < len(more); i += 2 {
			v.Set(more[i], more[i+1])
		}
		return v
	}
	want := []url.Values{
		ask("AssumeRoleWithWebIdentity", testRole, "WebIdentityToken", testToken().Raw.Reveal()),
		ask("AssumeRole", second, "ExternalId", "ext"),
		ask("AssumeRole", third, "ExternalId", "ext", "Policy", `{"Statement":[]}`, "PolicyArns.member.1.arn", "arn:aws:iam::aws:policy/A"),
	}
	var forms []url.Values
	for i, call := range net.calls {
		forms = append(forms, call.form)
		signer := []string{"", "ASIADEPLOY", "ASIAHUB"}[min(i, 2)]
		if prefix := "AWS4-HMAC-SHA256 Credential=" + signer + "/"; (signer == "") != (call.signed == "") || signer != "" && !strings.HasPrefix(call.signed, prefix) {
			t.Errorf("call %d is not signed by %q", i+1, signer)
		}
	}
	if diff := cmp.Diff(want, forms); diff != "" {
		t.Error(diff)
	}
	if got.AccessKeyID.Reveal() != "ASIASPOKE" || got.Account != "444455556666" || got.ARN != "arn:aws:sts::444455556666:assumed-role/spoke/s" {
		t.Errorf("the credentials of %s are returned", got.ARN)
	}
}

// TestAnUnknownCode: where AWS has a code that we do not know, its status says
// whether another attempt can help.
func TestAnUnknownCode(t *testing.T) {
	for _, row := range []struct {
		status, calls int
		kind          fault.Kind
	}{
		{503, 2, fault.Unavailable},
		{500, 2, fault.Unavailable},
		{429, 2, fault.Unavailable},
		{400, 1, fault.Refused},
		{501, 1, fault.Refused},
	} {
		net := &recorder{status: row.status, body: `<ErrorResponse><Error><Type>Receiver</Type><Code>OfTomorrow</Code><Message>please wait</Message></Error></ErrorResponse>`}
		c := net.client()
		c.Attempts = 2
		_, err := settled(t, Options{RoleARN: testRole}, env()).AssumeRole(t.Context(), c, testToken())
		wantFault(t, err, row.kind, "OfTomorrow: please wait")
		if len(net.requests) != row.calls {
			t.Errorf("status %d: %d calls, want %d", row.status, len(net.requests), row.calls)
		}
	}
}

// shadowing are the variables by which an SDK finds other credentials than
// those delivered.
func shadowing() []string {
	return []string{
		"AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SECURITY_TOKEN", "AWS_CREDENTIAL_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
	}
}

func TestNothingShadows(t *testing.T) {
	unset := Credentials{}.Environment().Unset
	for _, name := range shadowing() {
		if !slices.Contains(ConflictingVariables(), name) || !slices.Contains(unset, name) {
			t.Errorf("%s is left in the environment", name)
		}
	}
	// Alone they mean nothing to an SDK, and our next invocation reads them.
	for _, name := range []string{"AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME"} {
		if slices.Contains(unset, name) {
			t.Errorf("%s is taken from the next invocation", name)
		}
	}
}

// handedOut are credentials of the characters that AWS's have.
func handedOut(region string) Credentials {
	return Credentials{
		AccessKeyID: secret.New("ASIAID"), SecretAccessKey: secret.New("key/+="), SessionToken: secret.New("token+/=="),
		Expiration: time.Date(2026, 11, 22, 10, 0, 0, 5, time.UTC), Region: region,
	}
}

// TestProcess: a reader that is no JSON parser, such as sed, finds the keys as
// they are.
func TestProcess(t *testing.T) {
	c := handedOut("")
	c.SessionToken = secret.New("token+/==&<>")
	got, err := c.Process()
	if err != nil {
		t.Fatal(err)
	}
	want := `{
  "Version": 1,
  "AccessKeyId": "ASIAID",
  "SecretAccessKey": "key/+=",
  "SessionToken": "token+/==&<>",
  "Expiration": "2026-11-22T10:00:00Z"
}
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

// profile applies the edits of a profile to the two files' texts.
func profile(t *testing.T, c Credentials, name, credentials, config string) (newCredentials, newConfig string) {
	t.Helper()
	dir := t.TempDir()
	files := Files{Credentials: filepath.Join(dir, "credentials"), Config: filepath.Join(dir, "config")}
	texts := map[string]string{files.Credentials: credentials, files.Config: config}
	for _, e := range c.StaticProfile(name, files) {
		b, err := e.Apply([]byte(texts[e.Path]))
		if err != nil {
			t.Fatal(err)
		}
		if e.Path == files.Credentials && !e.Private {
			t.Error("the credentials file need not be private")
		}
		texts[e.Path] = string(b)
	}
	return texts[files.Credentials], texts[files.Config]
}

const keysWritten = "aws_access_key_id = ASIAID\naws_secret_access_key = key/+=\naws_session_token = token+/==\n"

// TestStaticProfileLeavesNoOtherMode: whatever else would lead an SDK to
// credentials goes from both files, from this profile alone.
func TestStaticProfileLeavesNoOtherMode(t *testing.T) {
	modes := []string{
		"aws_security_token", "credential_process", "credential_source", "role_arn", "source_profile", "web_identity_token_file",
		"role_session_name", "external_id", "mfa_serial", "duration_seconds", "login_session",
		"sso_session", "sso_start_url", "sso_region", "sso_account_id", "sso_role_name",
	}
	keys := []string{"aws_access_key_id", "aws_secret_access_key", "aws_session_token"}
	for _, key := range append(modes, keys...) {
		for _, spelled := range []string{key, strings.ToUpper(key)} {
			old := spelled + " = old\noutput = json\n"
			credentials, config := profile(t, handedOut("eu-west-1"), "deploy",
				"[other]\n"+old+"[deploy]\n"+old, "[profile other]\n"+old+"[profile deploy]\n"+old)
			ours, is := strings.CutPrefix(credentials, "[other]\n"+old+"[deploy]\n")
			if !is || strings.Contains(ours, "old") || strings.Count(strings.ToLower(ours), key) > strings.Count(keysWritten, key) {
				t.Errorf("%s: the credentials file is\n%s", spelled, credentials)
			}
			if want := "[profile other]\n" + old + "[profile deploy]\noutput = json\nregion = eu-west-1\n"; config != want {
				t.Errorf("%s in the config file (-want +got)\n%s", spelled, cmp.Diff(want, config))
			}
		}
	}
}

func TestStaticProfile(t *testing.T) {
	for _, row := range []struct {
		name, profile, region   string
		credentials, config     string // before
		wantCreds, wantSettings string // after
	}{
		{"new", "deploy", "eu-west-1", "", "", "[deploy]\n" + keysWritten, "[profile deploy]\nregion = eu-west-1\n"},
		{"new default", "default", "eu-west-1", "", "", "[default]\n" + keysWritten, "[default]\nregion = eu-west-1\n"},
		{"default", "default", "eu-west-1", "[default]\n", "[default]\nregion = old\n", "[default]\n" + keysWritten, "[default]\nregion = eu-west-1\n"},
		{"default, spelled as a profile", "default", "eu-west-1", "", "[profile default]\nregion = old\nrole_arn = r\n", "[default]\n" + keysWritten, "[profile default]\nregion = eu-west-1\n"},
		{"a region in the credentials file", "deploy", "eu-west-1", "[deploy]\nregion = old\n", "", "[deploy]\n" + keysWritten, "[profile deploy]\nregion = eu-west-1\n"},
		{"no region known", "deploy", "", "[deploy]\nregion = old\n", "[profile deploy]\nregion = old\n", "[deploy]\nregion = old\n" + keysWritten, "[profile deploy]\nregion = old\n"},
		{"no region known, no config file", "deploy", "", "", "", "[deploy]\n" + keysWritten, ""},
	} {
		credentials, config := profile(t, handedOut(row.region), row.profile, row.credentials, row.config)
		if diff := cmp.Diff(row.wantCreds, credentials); diff != "" {
			t.Errorf("%s: credentials (-want +got)\n%s", row.name, diff)
		}
		if diff := cmp.Diff(row.wantSettings, config); diff != "" {
			t.Errorf("%s: config (-want +got)\n%s", row.name, diff)
		}
	}
}
