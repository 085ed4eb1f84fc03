package aws

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/ini"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
)

func sections(t *testing.T, text string) []ini.Section {
	t.Helper()
	s, err := ini.ReadINI([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestProfiles(t *testing.T) {
	got := Profiles(
		sections(t, "[default]\naws_access_key_id = a\n[two]\nregion = creds\n[profile x]\n"),
		sections(t, "[default]\nregion = r\n[profile two]\nregion = config\ncredential_process = p\n[two]\n[profile default]\noutput = o\n[sso-session s]\n"))
	var names []string
	for _, p := range got {
		names = append(names, p.Name)
	}
	if strings.Join(names, ",") != "default,two,profile x" {
		t.Fatalf("%v", names)
	}
	for _, row := range []struct{ of, key, want string }{
		{"default", "aws_access_key_id", "a"}, {"default", "region", "r"}, {"default", "output", "o"},
		{"two", "region", "creds"}, {"two", "credential_process", "p"}, {"two", "none", ""},
	} {
		for _, p := range got {
			if p.Name == row.of && p.Value(row.key) != row.want {
				t.Errorf("%s of %s: %q", row.key, row.of, p.Value(row.key))
			}
		}
	}
	if got[2].Config != nil || got[2].Credentials == nil {
		t.Errorf("[profile x] of the credentials file: %+v", got[2])
	}
}

func TestWays(t *testing.T) {
	for _, row := range []struct{ credentials, config, want string }{
		{"", "", ""},
		{"aws_access_key_id=a", "", "aws_access_key_id in the credentials file"},
		{"", "aws_access_key_id=a", "aws_access_key_id in the config file"},
		{"aws_access_key_id=a", "aws_access_key_id=b", "aws_access_key_id in the credentials file"},
		{"aws_access_key_id=", "credential_process=x", "credential_process"},
		{"aws_access_key_id=a", "credential_process=x", "aws_access_key_id in the credentials file, credential_process"},
		{"aws_access_key_id=a", "role_arn=r\nsource_profile=p", "source_profile"},
		{"aws_access_key_id=a", "role_arn=r\nsource_profile=q", "source_profile, aws_access_key_id in the credentials file"},
		{"", "role_arn=r\nweb_identity_token_file=t\nsso_session=s\nlogin_session=l\ncredential_source=Environment", "credential_source, web_identity_token_file, sso, login_session"},
	} {
		got := Profiles(sections(t, "[p]\n"+row.credentials+"\n"), sections(t, "[profile p]\n"+row.config+"\n"))[0].CredentialSources()
		if strings.Join(got, ", ") != row.want {
			t.Errorf("%q and %q: %v", row.credentials, row.config, got)
		}
	}
}

type answers struct{ hosts []string }

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	a.hosts = append(a.hosts, r.URL.Host)
	return &http.Response{StatusCode: 302, Header: http.Header{}, Body: http.NoBody}, nil
}

// TestReach: STS is looked for where the SDKs look.
func TestReach(t *testing.T) {
	for _, row := range []struct{ region, env, want string }{
		{"", "", "sts.amazonaws.com"},
		{"eu-central-1", "", "sts.eu-central-1.amazonaws.com"},
		{"cn-north-1", "", "sts.cn-north-1.amazonaws.com.cn"},
		{"us-gov-west-1", "AWS_USE_FIPS_ENDPOINT=true", "sts.us-gov-west-1.amazonaws.com"},
		{"eu-central-1", "AWS_ENDPOINT_URL_STS=https://sts.example.com", "sts.example.com"},
		{"eu-central-1", "AWS_ENDPOINT_URL_STS=http://sts.example.com", "error"},
	} {
		a := &answers{}
		c := &remote.Client{Transport: a, Now: time.Now}
		_, err := Probe(t.Context(), c, row.region, func(name string) string {
			v, ok := strings.CutPrefix(row.env, name+"=")
			if !ok {
				return ""
			}
			return v
		})
		got := strings.Join(a.hosts, ",")
		if err != nil {
			got = "error"
			if fault.KindOf(err) != fault.Usage {
				t.Errorf("%+v: %v", row, err)
			}
		}
		if got != row.want {
			t.Errorf("%+v: %s", row, got)
		}
	}
}

func TestCheckRole(t *testing.T) {
	for _, row := range []struct {
		arn, region string
		ok          bool
	}{
		{"arn:aws:iam::111122223333:role/x", "", true},
		{"arn:aws:iam::111122223333:role/x", "eu-central-1", true},
		{"arn:aws:iam::111122223333:role/x", "no region", true},
		{"arn:aws:iam::111122223333:role/x", "cn-north-1", false},
		{"x", "", false},
	} {
		if err := CheckRole("AWS_ROLE_ARN", row.arn, row.region); (err == nil) != row.ok {
			t.Errorf("%+v: %v", row, err)
		}
	}
}
