package doctor

import (
	"slices"
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/aws"
)

const (
	idLong  = "AWS_ACCESS_KEY_ID=AKIAABCDEFGHIJKLMNOP\n"
	idTemp  = "AWS_ACCESS_KEY_ID=ASIAABCDEFGHIJKLMNOP\n"
	key     = "AWS_SECRET_ACCESS_KEY=zzzzzzzzzzzzzzzzzzzz\n"
	session = "AWS_SESSION_TOKEN=yyyyyyyyyyyyyyyyyyyy\n"
	temp    = idTemp + key + session

	credentials = "-- home/.aws/credentials --\n"
	config      = "-- home/.aws/config --\n"
	keysLines   = "aws_access_key_id = ASIAABCDEFGHIJKLMNOP\naws_secret_access_key = zzzz\naws_session_token = y\n"
)

const awsBlock = "# >>> oidc-broker aws >>>\nexport AWS_ACCESS_KEY_ID='ASIAABCDEFGHIJKLMNOP'\n# <<< oidc-broker aws <<<\n"

// TestConflictChecks: what the conflicts name are checks of doctor's.
func TestConflictChecks(t *testing.T) {
	for _, id := range aws.ConflictChecks() {
		only(t, id)
	}
}

func TestDoctorAWS(t *testing.T) {
	visits(t, "aws", slices.Concat(awsEnvironmentVisits(), awsFileVisits(), awsProfileVisits()))
}

func awsEnvironmentVisits() []visit {
	return []visit{
		{check: "aws-keys", name: "none"},
		{check: "aws-keys", name: "temporary", env: temp},
		{check: "aws-keys", name: "long-lived", env: idLong + key},
		{check: "aws-keys", name: "id alone", env: idLong, want: "error AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not"},
		{check: "aws-keys", name: "key alone", env: key + session, want: "error AWS_SECRET_ACCESS_KEY is set and AWS_ACCESS_KEY_ID is not"},
		{check: "aws-keys", name: "session alone", env: session, want: "warning AWS_SESSION_TOKEN is set without the keys"},
		{check: "aws-keys", name: "temporary without session", env: idTemp + key, want: "error is temporary (ASIA...), and AWS_SESSION_TOKEN is not set"},
		{check: "aws-keys", name: "long-lived with session", env: idLong + key + session, want: "error InvalidClientTokenId"},

		{check: "aws-static-keys", name: "none", env: temp},
		{check: "aws-static-keys", name: "in the environment", env: idLong + key, want: "warning AWS_ACCESS_KEY_ID is long-lived"},
		{check: "aws-static-keys", name: "in a file", files: credentials + "[default]\naws_access_key_id = AKIAABCDEFGHIJKLMNOP\n", want: `warning long-lived keys (AKIA...) in the profile "default"`},

		{check: "aws-shadowed", name: "keys alone", env: temp},
		{check: "aws-shadowed", name: "role alone", env: "AWS_ROLE_ARN=arn:aws:iam::111122223333:role/x"},
		{check: "aws-shadowed", name: "keys in a job with a role", env: temp + "AWS_ROLE_ARN=arn:aws:iam::111122223333:role/x", want: `warning AWS_ACCESS_KEY_ID is set in this job and takes precedence over the profile "default"`},
		{check: "aws-shadowed", name: "keys in a job that names the profile", env: temp + "AWS_ROLE_ARN=x\nOIDC_BROKER_PROFILE=p", want: `warning over the profile "p"`},
		{check: "aws-shadowed", name: "keys over AWS_PROFILE", env: temp + "AWS_PROFILE=x", files: credentials + "[x]\n" + keysLines, want: `warning AWS_ACCESS_KEY_ID is set in this job and takes precedence over the profile "x"`},
		{check: "aws-shadowed", name: "keys over the default profile", env: temp, files: credentials + "[default]\n" + keysLines, want: `warning takes precedence over the profile "default"`},
		{check: "aws-shadowed", name: "keys over the profile of ours", env: temp, files: config + "[profile p]\ncredential_process = /x/oidc-broker aws credential-process --x y\n[default]\nregion = x\n", want: `warning takes precedence over the profile "p"`},
		{check: "aws-shadowed", name: "keys of our block alone", env: bashEnvOf + temp + "AWS_ROLE_ARN=x", files: bashEnvAt + awsBlock},
		{check: "aws-shadowed", name: "keys of our block over a profile", env: bashEnvOf + temp, files: bashEnvAt + awsBlock + credentials + "[default]\n" + keysLines, want: "warning $BASH_ENV holds credentials of"},
		{check: "aws-shadowed", name: "keys in later steps", env: bashEnvOf, files: bashEnvAt + "export AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x\n" + credentials + "[default]\n" + keysLines, want: "warning AWS_ACCESS_KEY_ID is set in $BASH_ENV and takes precedence"},
		{check: "aws-shadowed", name: "a profile with a region alone", env: temp, files: config + "[default]\nregion = eu-west-1\n"},
		{check: "aws-shadowed", name: "web identity over the profile to write", env: "AWS_ROLE_ARN=x\nAWS_WEB_IDENTITY_TOKEN_FILE=y", want: `warning the SDKs assume that role before they read the profile "default"`},
		{check: "aws-shadowed", name: "web identity over a profile", env: "AWS_PROFILE=x\nAWS_ROLE_ARN=x\nAWS_WEB_IDENTITY_TOKEN_FILE=y", files: credentials + "[x]\n" + keysLines, want: `warning they read the profile "x"`},

		{check: "aws-security-token", name: "none", env: temp},
		{check: "aws-security-token", name: "another one", env: temp + "AWS_SECURITY_TOKEN=old", want: "error instead of AWS_SESSION_TOKEN"},
		{check: "aws-security-token", name: "the same", env: temp + "AWS_SECURITY_TOKEN=yyyyyyyyyyyyyyyyyyyy", want: "note AWS_SECURITY_TOKEN is set"},
		{check: "aws-security-token", name: "without keys", env: "AWS_SECURITY_TOKEN=old", want: "warning AWS_SECURITY_TOKEN is set"},

		{check: "aws-expiration", name: "none", env: temp},
		{check: "aws-expiration", name: "later", env: temp + "AWS_CREDENTIAL_EXPIRATION=2026-11-22T13:00:00Z"},
		{check: "aws-expiration", name: "soon", env: temp + "AWS_CREDENTIAL_EXPIRATION=2026-11-22T12:03:00Z", want: "warning the keys in the environment end in 3m0s"},
		{check: "aws-expiration", name: "over", env: temp + "AWS_CREDENTIAL_EXPIRATION=2026-11-22T11:00:00Z", want: "error AWS_CREDENTIAL_EXPIRATION was 1h0m0s ago"},
		{check: "aws-expiration", name: "now", env: temp + "AWS_CREDENTIAL_EXPIRATION=2026-11-22T12:00:00Z", want: "error AWS_CREDENTIAL_EXPIRATION was 0s ago"},
		{check: "aws-expiration", name: "no time", env: temp + "AWS_CREDENTIAL_EXPIRATION=tomorrow", want: "error is not a time"},
		{check: "aws-expiration", name: "over, without keys", env: "AWS_CREDENTIAL_EXPIRATION=2026-11-22T11:00:00Z", want: "note there are no keys"},
		{check: "aws-expiration", name: "no time, without keys", env: "AWS_CREDENTIAL_EXPIRATION=x", want: "note there are no keys"},

		{check: "aws-profile", name: "none"},
		{check: "aws-profile", name: "there", env: "AWS_PROFILE=deploy", files: credentials + "[deploy]\n" + keysLines},
		{check: "aws-profile", name: "there in the config file", env: "AWS_PROFILE=deploy", files: config + "[profile deploy]\nregion=x\n"},
		{check: "aws-profile", name: "in the config file without its word", env: "AWS_PROFILE=deploy", files: config + "[deploy]\nregion=x\n", want: `error AWS_PROFILE is "deploy" in this job, which no AWS file has`},
		{check: "aws-profile", name: "with its word in the credentials file", env: "AWS_PROFILE=deploy", files: credentials + "[profile deploy]\n" + keysLines, want: "error which no AWS file has"},
		{check: "aws-profile", name: "missing", env: "AWS_DEFAULT_PROFILE=deploy", want: `error AWS_DEFAULT_PROFILE is "deploy"`},
		{check: "aws-profile", name: "empty", env: "AWS_PROFILE=", want: "error AWS_PROFILE is set and empty"},
		{check: "aws-profile", name: "not known, for the file is broken", env: "AWS_PROFILE=deploy", files: credentials + "[x\n"},

		{check: "aws-profile", name: "two profiles", env: "AWS_PROFILE=x\nAWS_DEFAULT_PROFILE=y", files: credentials + "[x]\n" + keysLines + "[y]\n" + keysLines, want: `warning AWS_DEFAULT_PROFILE is "y" in this job: the AWS CLI and the SDKs use that profile and not the profile "x"`},
		{check: "aws-profile", name: "one profile twice", env: "AWS_PROFILE=x\nAWS_DEFAULT_PROFILE=x", files: credentials + "[x]\n" + keysLines},
		{check: "aws-profile", name: "not the one of ours", env: "AWS_PROFILE=x", files: credentials + "[x]\n" + keysLines + config + "[profile p]\ncredential_process = /x/oidc-broker aws credential-process\n", want: `warning and not the profile "p"`},
		{check: "aws-profile", name: "what may be a secret", env: "AWS_PROFILE=ASIAABCDEFGHIJKLMNOP", want: `error AWS_PROFILE is "(not shown)"`},

		{check: "aws-web-identity", name: "none", env: "AWS_ROLE_ARN=x"},
		{check: "aws-web-identity", name: "whole", env: "AWS_ROLE_ARN=x\nAWS_WEB_IDENTITY_TOKEN_FILE=$DIR/t", files: "-- t bare --\n{token v1}\n"},
		{check: "aws-web-identity", name: "empty", env: "AWS_ROLE_ARN=x\nAWS_WEB_IDENTITY_TOKEN_FILE=$DIR/t", files: "-- t --\n\n", want: "error which is empty"},
		{check: "aws-web-identity", name: "without a role", env: "AWS_WEB_IDENTITY_TOKEN_FILE=$DIR/t", want: "error without AWS_ROLE_ARN"},
		{check: "aws-web-identity", name: "missing", env: "AWS_ROLE_ARN=x\nAWS_WEB_IDENTITY_TOKEN_FILE=$DIR/none", want: "error cannot be read: no such file"},
		{check: "aws-web-identity", name: "expired", env: "AWS_ROLE_ARN=x\nAWS_WEB_IDENTITY_TOKEN_FILE=$DIR/t", files: "-- t --\n{token v1 expired}\n", want: "error holds a token that expired 1h1m0s ago"},
		{check: "aws-web-identity", name: "a line break", env: "AWS_ROLE_ARN=x\nAWS_WEB_IDENTITY_TOKEN_FILE=$DIR/t", files: "-- t --\n{token v1}\n", want: "warning white space around the token"},
		{check: "aws-web-identity", name: "no token", env: "AWS_ROLE_ARN=x\nAWS_WEB_IDENTITY_TOKEN_FILE=$DIR/t", files: "-- t --\nhello\n", want: "error holds no token"},

		{check: "aws-container", name: "none"},
		{check: "aws-container", name: "ECS", env: "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/x", want: "note takes the container's role without a word"},
		{check: "aws-container", name: "its token is missing", env: "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://localhost/x\nAWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=$DIR/none", want: "warning cannot be read"},

		{check: "aws-role", name: "none"},
		{check: "aws-role", name: "an ARN", env: "AWS_ROLE_ARN=arn:aws:iam::111122223333:role/deploy\nAWS_REGION=eu-central-1"},
		{check: "aws-role", name: "a name", env: "AWS_ROLE_ARN=deploy", want: "error a name alone does not say in which account"},
		{check: "aws-role", name: "YAML's number", env: "AWS_ROLE_ARN=arn:aws:iam::1.11122223333e+11:role/deploy", want: "error put it in quotes"},
		{check: "aws-role", name: "another partition", env: "AWS_ROLE_ARN=arn:aws-cn:iam::111122223333:role/deploy\nAWS_REGION=eu-central-1", want: "error is in the partition aws-cn"},

		{check: "aws-region", name: "not about AWS"},
		{check: "aws-region", name: "both", env: temp + "AWS_REGION=eu-central-1\nAWS_DEFAULT_REGION=eu-central-1"},
		{check: "aws-region", name: "of the profile", env: "AWS_PROFILE=x", files: config + "[profile x]\nregion = eu-central-1\n"},
		{check: "aws-region", name: "of another profile", env: "AWS_PROFILE=y", files: config + "[profile x]\nregion = eu-central-1\n", want: "warning no region"},
		{check: "aws-region", name: "none", env: temp, want: "warning no region"},
		{check: "aws-region", name: "differ", env: "AWS_REGION=eu-central-1\nAWS_DEFAULT_REGION=us-east-1", want: "warning AWS_REGION is eu-central-1 and AWS_DEFAULT_REGION is us-east-1"},
		{check: "aws-region", name: "the first", env: temp + "AWS_REGION=eu-central-1", want: "note read only AWS_DEFAULT_REGION"},
		{check: "aws-region", name: "the second", env: temp + "AWS_DEFAULT_REGION=eu-central-1", want: "note read only AWS_REGION"},
		{check: "aws-region", name: "differs from the profile's", env: "AWS_REGION=us-east-1\nAWS_DEFAULT_REGION=us-east-1", files: credentials + "[default]\n" + keysLines + "region = eu-west-1\n", want: "warning AWS_REGION and AWS_DEFAULT_REGION are us-east-1 in this job, and override the region of"},
		{check: "aws-region", name: "one differs from the profile's", env: "AWS_REGION=us-east-1", files: credentials + "[default]\n" + keysLines + "region = eu-west-1\n", want: "warning AWS_REGION is us-east-1 in this job, and overrides the region of"},
		{check: "aws-region", name: "a zone", env: "AWS_REGION=eu-central-1a", want: "error AWS_REGION: its value is not the name of a region"},

		{check: "aws-endpoint", name: "none"},
		{check: "aws-endpoint", name: "left set", env: "AWS_ENDPOINT_URL=http://localhost:4566", want: "warning AWS_ENDPOINT_URL is set: calls go to localhost:4566"},
		{check: "aws-endpoint", name: "of a service", env: "AWS_ENDPOINT_URL_S3=https://s3.example.com", want: "warning AWS_ENDPOINT_URL_S3 is set: calls go to s3.example.com"},
		{check: "aws-endpoint", name: "not heeded", env: "AWS_ENDPOINT_URL_S3=https://s3.example.com\nAWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true", want: "note but for AWS_IGNORE"},
		{check: "aws-endpoint", name: "in the clear", env: "AWS_ENDPOINT_URL_STS=http://example.com", want: "error would send the token unencrypted\nwarning AWS_ENDPOINT_URL_STS"},
		{check: "aws-endpoint", name: "the sandbox's", env: "AWS_ENDPOINT_URL_STS=http://127.0.0.1:1\nCIRCLE_OIDC_SANDBOX_URL=http://127.0.0.1:2"},
		{check: "aws-endpoint", name: "no boolean", env: "AWS_USE_FIPS_ENDPOINT=yes", want: "error AWS_USE_FIPS_ENDPOINT is neither true nor false"},

		{check: "aws-ca-bundle", name: "none"},
		{check: "aws-ca-bundle", name: "certificates", env: "AWS_CA_BUNDLE=$DIR/ca", files: "-- ca --\n" + testCertificate},
		{check: "aws-ca-bundle", name: "missing", env: "AWS_CA_BUNDLE=$DIR/none", want: "error no such file"},
		{check: "aws-ca-bundle", name: "no certificate", env: "AWS_CA_BUNDLE=$DIR/ca", files: "-- ca --\nhello\n", want: "error it holds no PEM certificate"},
	}
}

func awsFileVisits() []visit {
	return []visit{
		{check: "aws-file", name: "none"},
		{check: "aws-file", name: "fine", files: credentials + "[default]\n" + keysLines + config + "[default]\nregion = x\n"},
		{check: "aws-file", name: "a section twice", files: credentials + "[a]\nx = 1\n[a]\n", want: "error line 3: this section is already on line 1"},
		{check: "aws-file", name: "a key twice", files: config + "[a]\nx = 1\nX = 2\n", want: "error line 3: this key is already on line 2"},
		{check: "aws-file", name: "an open header", files: credentials + "[a\n", want: "error line 1: a section header that is not closed"},
		{check: "aws-file", name: "a byte order mark", files: credentials + "\uFEFF[a]\n", want: "error byte order mark"},
		{check: "aws-file", name: "both", files: credentials + "[a\n" + config + "x\n", want: "error line 1\nerror line 1: a line before the first section"},
		{check: "aws-file", name: "a directory", env: "AWS_CONFIG_FILE=$DIR/home", want: "error it is a directory"},

		{check: "aws-file-path", name: "none"},
		{check: "aws-file-path", name: "absolute", env: "AWS_CONFIG_FILE=$DIR/x"},
		{check: "aws-file-path", name: "a tilde", env: "AWS_CONFIG_FILE=~/x", want: "warning AWS_CONFIG_FILE begins with ~"},
		{check: "aws-file-path", name: "relative", env: "AWS_SHARED_CREDENTIALS_FILE=x", want: "warning AWS_SHARED_CREDENTIALS_FILE is a relative path"},

		{check: "aws-file-mode", name: "private", files: credentials + "[default]\n" + keysLines},
		{check: "aws-file-mode", name: "no keys", files: "-- home/.aws/config 644 --\n[default]\nregion = x\n"},
		{check: "aws-file-mode", name: "open", files: "-- home/.aws/credentials 644 --\n[default]\n" + keysLines, want: "warning its mode 0644 lets others read it"},
		{check: "aws-file-mode", name: "open for the group", files: "-- home/.aws/config 640 --\n[default]\n" + keysLines, want: "warning its mode 0640"},
		{check: "aws-file-mode", name: "Windows has other means", files: "-- home/.aws/credentials 644 --\n[default]\n" + keysLines, set: func(v *view) { v.goos = "windows" }},

		{check: "aws-profile-name", name: "plain", files: credentials + "[a.b@c]\n" + keysLines},
		{check: "aws-profile-name", name: "a hash", files: credentials + "[a#b]\n" + keysLines, want: `warning the profile "a#b" has a name that not every SDK finds: Terraform`},
		{check: "aws-profile-name", name: "spaces", files: config + "[profile 'my prof']\nregion = x\n", want: `warning "my prof"`},
		{check: "aws-profile-name", name: "of other sections nothing", files: config + "[sso-session my sso]\nx = y\n[services s]\nx = y\n"},

		{check: "aws-profile-mixed", name: "one way", files: credentials + "[a]\n" + keysLines + config + "[profile a]\nregion = x\n[profile b]\ncredential_process = /x\n"},
		{check: "aws-profile-mixed", name: "keys and a process, in two files", files: credentials + "[a]\n" + keysLines + config + "[profile a]\ncredential_process = /x\n", want: `warning the profile "a" has aws_access_key_id in the credentials file and credential_process`},
		{check: "aws-profile-mixed", name: "web identity and a process", files: config + "[profile a]\nrole_arn = x\nweb_identity_token_file = y\ncredential_process = /x\n", want: "warning web_identity_token_file and credential_process"},
		{check: "aws-profile-mixed", name: "its own keys are what the role is assumed with", files: credentials + "[a]\n" + keysLines + config + "[profile a]\nrole_arn = x\nsource_profile = a\n"},
		{check: "aws-profile-mixed", name: "keys in both files", files: credentials + "[a]\n" + keysLines + config + "[profile a]\n" + keysLines},
		{check: "aws-profile-mixed", name: "sso and keys", files: config + "[profile a]\nsso_session = x\n" + keysLines, want: "warning sso and aws_access_key_id in the config file"},
		{check: "aws-profile-mixed", name: "many", files: config + strings.Join(manyProfiles(), ""), want: strings.Repeat("warning credential_process\n", 8)},

		{check: "aws-credential-process", name: "none"},
		{check: "aws-credential-process", name: "absolute", files: config + "[profile a]\ncredential_process = $DIR/bin/p --x y\n-- bin/p 755 --\n"},
		{check: "aws-credential-process", name: "on PATH", files: config + "[profile a]\ncredential_process = p --x y\n-- bin/p 755 --\n"},
		{check: "aws-credential-process", name: "quoted as a word", files: config + "[profile a]\ncredential_process = \"$DIR/bin/p\" --x\n-- bin/p 755 --\n"},
		{check: "aws-credential-process", name: "missing", files: config + "[profile a]\ncredential_process = /no/such/p --password hunter2\n", want: `error credential_process of the profile "a": "/no/such/p" is no program that can be run`},
		{check: "aws-credential-process", name: "not executable", files: config + "[profile a]\ncredential_process = $DIR/bin/p\n-- bin/p 644 --\n", want: "error is no program that can be run: permission denied"},
		{check: "aws-credential-process", name: "not on PATH", files: config + "[profile a]\ncredential_process = p\n", want: "error its program is not on PATH"},
		{check: "aws-credential-process", name: "relative", files: config + "[profile a]\ncredential_process = ./p\n", want: `warning names "./p", a path that is not absolute`},
		{check: "aws-credential-process", name: "a tilde", files: config + "[profile a]\ncredential_process = ~/p\n", want: "error names its program by ~ or a variable"},
		{check: "aws-credential-process", name: "an open quote", files: config + "[profile a]\ncredential_process = \"/x y\n", want: "error a quote in it is open"},
		{check: "aws-credential-process", name: "quotes around it all", files: config + "[profile a]\ncredential_process = \"$DIR/bin/p --x\"\n-- bin/p 755 --\n", want: "error is no program that can be run"},
		{check: "aws-credential-process", name: "in the credentials file", files: credentials + "[a]\ncredential_process = /no/such/p\n", want: "error is no program"},
	}
}

func manyProfiles() []string {
	var all []string
	for _, name := range strings.Fields("a b c d e f g h i j k") {
		all = append(all, "[profile "+name+"]\nsso_session = x\ncredential_process = x\n")
	}
	return all
}
