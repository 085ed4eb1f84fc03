package aws

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/child"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/ini"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
)

// ConflictingVariables are those that would take precedence over the credentials delivered, or
// break them: an SDK that finds one of these uses it first, or fails on it.
// AWS_SECURITY_TOKEN beats AWS_SESSION_TOKEN in botocore. AWS_ROLE_ARN is none: alone
// it means nothing to an SDK, and the next invocation of this program needs it.
func ConflictingVariables() []string {
	return []string{
		"AWS_SECURITY_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE",
		"AWS_CREDENTIAL_FILE", "AWS_ACCOUNT_ID", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
	}
}

// Environment returns the variables that every SDK reads, and those that it
// must not see.
func (c Credentials) Environment() child.Environment {
	e := child.Environment{
		Set: []child.Var{
			{Name: "AWS_ACCESS_KEY_ID", Value: c.AccessKeyID},
			{Name: "AWS_SECRET_ACCESS_KEY", Value: c.SecretAccessKey},
			{Name: "AWS_SESSION_TOKEN", Value: c.SessionToken},
			// botocore refuses good keys when a stale one is left here.
			{Name: "AWS_CREDENTIAL_EXPIRATION", Value: secret.New(c.Expiration.Format(time.RFC3339))},
		},
		Unset: ConflictingVariables(),
	}
	e.Set = append(e.Set, regionVars(c.Region)...)
	return e
}

// regionVars are the variables of a region that is known. The AWS CLI v1 and boto3
// read the second alone.
func regionVars(region string) []child.Var {
	if region == "" {
		return nil
	}
	return []child.Var{
		{Name: "AWS_REGION", Value: secret.New(region)},
		{Name: "AWS_DEFAULT_REGION", Value: secret.New(region)},
	}
}

// Process returns the credentials as the SDKs' credential_process contract
// wants them: JSON, Version 1.
func (c Credentials) Process() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(struct { // #nosec G117 -- printing them is what it is for
		Version                                                int
		AccessKeyId, SecretAccessKey, SessionToken, Expiration string
	}{1, c.AccessKeyID.Reveal(), c.SecretAccessKey.Reveal(), c.SessionToken.Reveal(), c.Expiration.Format(time.RFC3339)})
	if err != nil {
		return nil, fault.New(fault.Internal, "cannot write the credentials as JSON")
	}
	return b.Bytes(), nil
}

// Files are the two files that profiles live in.
type Files struct {
	Credentials string // the shared credentials file: keys
	Config      string // the config file: everything else
}

// FindFiles returns where the SDKs look: what AWS_SHARED_CREDENTIALS_FILE and
// AWS_CONFIG_FILE name, else ~/.aws. It is a fault.Local when there is no home.
func FindFiles(getenv func(string) string) (Files, error) {
	home := getenv("HOME")
	if home == "" {
		home = getenv("USERPROFILE") // Windows
	}
	f := Files{Credentials: getenv("AWS_SHARED_CREDENTIALS_FILE"), Config: getenv("AWS_CONFIG_FILE")}
	for _, p := range []struct {
		path *string
		name string
	}{{&f.Credentials, "credentials"}, {&f.Config, "config"}} {
		rest, tilde := strings.CutPrefix(*p.path, "~/")
		switch {
		case *p.path != "" && !tilde:
			continue
		case home == "":
			return Files{}, fault.New(fault.Local, "no home directory: HOME is not set").
				Hint("set HOME, or AWS_SHARED_CREDENTIALS_FILE and AWS_CONFIG_FILE")
		case tilde: // as botocore does
			*p.path = filepath.Join(home, rest)
		default:
			*p.path = filepath.Join(home, ".aws", p.name)
		}
	}
	return f, nil
}

// same says whether both names lead to one file.
func (f Files) same() bool {
	if filepath.Clean(f.Credentials) == filepath.Clean(f.Config) {
		return true
	}
	a, err := os.Stat(f.Credentials)
	if err != nil {
		return false
	}
	b, err := os.Stat(f.Config)
	return err == nil && os.SameFile(a, b)
}

// The keys of a profile by which an SDK could find other credentials than ours.
// Which of two modes wins differs from SDK to SDK, and some pairs fail to load,
// so all others go, from both files.
var (
	keyKeys   = []string{"aws_access_key_id", "aws_secret_access_key", "aws_session_token"}
	otherKeys = []string{
		"aws_security_token", processKey, "credential_source", "role_arn", "source_profile", "web_identity_token_file",
		"role_session_name", "external_id", "mfa_serial", "duration_seconds", "login_session",
		"sso_session", "sso_start_url", "sso_region", "sso_account_id", "sso_role_name",
	}
)

const processKey = "credential_process"

// StaticProfile returns the edits that put the keys into the credentials file
// and the region into the config file, under the profile's name.
func (c Credentials) StaticProfile(name string, to Files) []files.Edit {
	credentials := ini.Change{
		Headers: []string{name},
		Set: []ini.Setting{
			{Key: "aws_access_key_id", Value: c.AccessKeyID},
			{Key: "aws_secret_access_key", Value: c.SecretAccessKey},
			{Key: "aws_session_token", Value: c.SessionToken},
		},
		Remove: otherKeys,
		End:    c.Expiration,
	}
	config := ini.Change{Headers: configHeaders(name), Remove: append(append([]string{}, keyKeys...), otherKeys...)}
	if name == "default" && to.same() {
		// One section in one file is for both: the keys just written stay.
		credentials.Headers, config.Remove = config.Headers, nil
	}
	if c.Region != "" {
		// In the Go SDK a region in the credentials file wins over this one.
		credentials.Remove = append(append([]string{}, otherKeys...), "region")
		config.Set = []ini.Setting{{Key: "region", Value: secret.New(c.Region)}}
	}
	return []files.Edit{credentials.In(to.Credentials, true), config.In(to.Config, false)}
}

// configHeaders are the header's spellings in the config file.
func configHeaders(name string) []string {
	if name == "default" {
		return []string{"default", "profile default"}
	}
	return []string{"profile " + name}
}
