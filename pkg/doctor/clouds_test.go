package doctor

import (
	"encoding/json"
	"testing"
)

// external is a credential configuration whose token comes from source.
func external(source string) string {
	b, err := json.Marshal(map[string]any{
		"type": "external_account", "audience": "//iam.googleapis.com/x", "token_url": "https://sts.googleapis.com/v1/token",
		"service_account_impersonation_url": "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/x:generateAccessToken",
		"credential_source":                 json.RawMessage(source),
	})
	if err != nil {
		panic(err)
	}
	return string(b) + "\n"
}

const (
	adc        = "GOOGLE_APPLICATION_CREDENTIALS=$DIR/adc.json\n"
	allowed    = "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=1\n"
	serviceKey = "-- adc.json --\n" + `{"type": "service_account", "private_key": "-----BEGIN PRIVATE KEY-----\nAAAA", "token_uri": "https://oauth2.googleapis.com/token"}` + "\n"
)

func fromFile(more string) string {
	return "-- adc.json --\n" + external(`{"file": "$DIR/token"}`) + more
}

func fromProgram(command string) string {
	return "-- adc.json --\n" + external(`{"executable": {"command": "`+command+`"}}`)
}

func TestDoctorGoogle(t *testing.T) {
	const pool = "GCP_WIP_ID=circleci\nGCP_WIP_PROVIDER_ID=circleci\n"
	visits(t, "google", []visit{
		{check: "google-credentials", name: "none"},
		{check: "google-credentials", name: "a configuration", env: adc, files: fromFile("")},
		{check: "google-credentials", name: "missing", env: adc, want: "error GOOGLE_APPLICATION_CREDENTIALS names"},
		{check: "google-credentials", name: "both missing", env: adc + "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE=$DIR/other", want: "error GOOGLE_APPLICATION_CREDENTIALS\nerror CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE"},
		{check: "google-credentials", name: "base64", env: adc, files: "-- adc.json --\neyJ0eXBlIjoiYSJ9\n", want: "error not the JSON of Google credentials"},
		{check: "google-credentials", name: "no type", env: adc, files: "-- adc.json --\n{}\n", want: `error JSON without a "type"`},
		{check: "google-credentials", name: "the JSON itself", env: `GOOGLE_APPLICATION_CREDENTIALS={"type": "service_account"}`, want: "error holds the credentials themselves"},
		{check: "google-credentials", name: "a tilde", env: "GOOGLE_APPLICATION_CREDENTIALS=~/adc.json", want: "error begins with ~"},
		{check: "google-credentials", name: "relative", env: "GOOGLE_APPLICATION_CREDENTIALS=adc.json", files: "-- work/adc.json --\n" + external(`{"file": "/x"}`), want: "warning is not absolute"},

		{check: "google-token", name: "none", env: adc, files: serviceKey},
		{check: "google-token", name: "valid", env: adc, files: fromFile("-- token bare --\n{token v1}\n")},
		{check: "google-token", name: "missing", env: adc, files: fromFile(""), want: "error cannot be read: no such file"},
		{check: "google-token", name: "empty", env: adc, files: fromFile("-- token --\n\n"), want: "error which is empty"},
		{check: "google-token", name: "expired", env: adc, files: fromFile("-- token bare --\n{token v1 expired}\n"), want: "error holds a token that expired"},
		{check: "google-token", name: "a line break", env: adc, files: fromFile("-- token --\n{token v1}\n"), want: "warning send it along"},
		{check: "google-token", name: "open", env: adc, files: fromFile("-- token bare 644 --\n{token v1}\n"), want: "warning its mode 0644"},
		{check: "google-token", name: "relative", env: adc, files: "-- adc.json --\n" + external(`{"file": "token"}`) + "-- work/token bare --\n{token v1}\n", want: "warning by a path that is not absolute"},
		{check: "google-token", name: "JSON", env: adc, files: "-- adc.json --\n" + external(`{"file": "$DIR/token", "format": {"type": "json", "subject_token_field_name": "t"}}`) + "-- token --\n{\"t\": \"{token v1}\"}\n"},
		{check: "google-token", name: "JSON without the field", env: adc, files: "-- adc.json --\n" + external(`{"file": "$DIR/token", "format": {"type": "json", "subject_token_field_name": "t"}}`) + "-- token --\n{}\n", want: "error lacks the field"},

		{check: "google-executable", name: "none", env: adc, files: fromFile("")},
		{check: "google-executable", name: "allowed", env: adc + allowed, files: fromProgram("$DIR/bin/p x") + "-- bin/p 755 --\n"},
		{check: "google-executable", name: "not allowed", env: adc, files: fromProgram("$DIR/bin/p x") + "-- bin/p 755 --\n", want: "error GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES is not 1"},
		{check: "google-executable", name: "true is not 1", env: adc + "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=true", files: fromProgram("$DIR/bin/p x") + "-- bin/p 755 --\n", want: "error is not 1"},
		{check: "google-executable", name: "missing", env: adc + allowed, files: fromProgram("/no/such/p x"), want: `error "/no/such/p" is no program`},
		{check: "google-executable", name: "relative", env: adc + allowed, files: fromProgram("./p"), want: "warning by a path that is not absolute"},
		{check: "google-executable", name: "quotes", env: adc + allowed, files: fromProgram(`'/a b' x`), want: "warning know no quotes"},
		{check: "google-executable", name: "blank", env: adc + allowed, files: fromProgram("  "), want: "error names an empty program"},

		{check: "google-key", name: "none", env: adc, files: fromFile("")},
		{check: "google-key", name: "a key", env: adc, files: serviceKey, want: "warning holds a key that does not end by itself"},
		{check: "google-key", name: "a user's", env: adc, files: "-- adc.json --\n{\"type\": \"authorized_user\", \"refresh_token\": \"x\"}\n", want: "warning does not end by itself"},
		{check: "google-key", name: "an open key", env: "GOOGLE_APPLICATION_CREDENTIALS=$DIR/k", files: "-- k 644 --\n{\"type\": \"x\", \"private_key\": \"x\"}\n", want: "warning and its mode lets others read it"},

		{check: "google-endpoint", name: "Google's", env: adc, files: fromFile("")},
		{check: "google-endpoint", name: "another universe's", env: adc + "CLOUDSDK_CORE_UNIVERSE_DOMAIN=example.org", files: "-- adc.json --\n" + `{"type": "external_account", "token_url": "https://sts.example.org/v1/token"}` + "\n"},
		{check: "google-endpoint", name: "somebody's", env: adc, files: "-- adc.json --\n" + `{"type": "external_account", "token_url": "https://evil.example/v1/token", "service_account_impersonation_url": "https://evil.example/"}` + "\n", want: "warning the token_url in GOOGLE_APPLICATION_CREDENTIALS leads to evil.example\nwarning the service_account_impersonation_url"},
		{check: "google-endpoint", name: "moved", env: "CLOUDSDK_API_ENDPOINT_OVERRIDES_STS=http://127.0.0.1:8080", want: "warning CLOUDSDK_API_ENDPOINT_OVERRIDES_STS leads to 127.0.0.1:8080"},
		{check: "google-endpoint", name: "the sandbox's", env: "CLOUDSDK_API_ENDPOINT_OVERRIDES_STS=http://127.0.0.1:8080\nCIRCLE_OIDC_SANDBOX_URL=x"},

		{check: "google-override", name: "none", env: adc},
		{check: "google-override", name: "a token and an account", env: "CLOUDSDK_AUTH_ACCESS_TOKEN=x\nCLOUDSDK_CORE_ACCOUNT=y", want: "warning CLOUDSDK_AUTH_ACCESS_TOKEN is set, and gcloud, bq and docker-credential-gcloud take it first\nwarning CLOUDSDK_CORE_ACCOUNT is set, and gsutil takes it first"},

		{check: "google-gcloud", name: "none"},
		{check: "google-gcloud", name: "the same", env: adc + "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE=$DIR/./adc.json"},
		{check: "google-gcloud", name: "different", env: adc + "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE=$DIR/other", want: "warning name different files"},
		{check: "google-gcloud", name: "one", env: adc, want: "note gcloud and gsutil do not read the first"},

		{check: "google-project", name: "known", env: adc + "GOOGLE_CLOUD_PROJECT=x", files: fromFile("")},
		{check: "google-project", name: "a key knows its own", env: adc, files: serviceKey},
		{check: "google-project", name: "not known", env: adc, files: fromFile(""), want: "note GOOGLE_CLOUD_PROJECT is not set"},

		{check: "google-options", name: "none"},
		{check: "google-options", name: "all", env: pool + "GOOGLE_PROJECT_NUMBER=123456789012\nGCP_SERVICE_ACCOUNT_EMAIL=deploy@my-project.iam.gserviceaccount.com"},
		{check: "google-options", name: "YAML's number", env: "GCP_PROJECT_ID=1.23456789012e+11", want: "error GCP_PROJECT_ID: its value is not the project number"},
		{check: "google-options", name: "an id", env: "GCP_PROJECT_ID=my-project", want: "note GCP_PROJECT_ID"},
		{check: "google-options", name: "an id where the number belongs", env: "GOOGLE_PROJECT_NUMBER=my-project", want: "error GOOGLE_PROJECT_NUMBER"},
		{check: "google-options", name: "not complete", env: "GCP_WIP_ID=circleci", want: "note is not complete: give --project-number and --provider-id too"},
		{check: "google-options", name: "no pool's name", env: "GCP_WIP_ID=NO\nGCP_WIP_PROVIDER_ID=circleci\nGOOGLE_PROJECT_NUMBER=123456789012", want: "error is not the id of a workload identity pool"},
		{check: "google-options", name: "no account", env: pool + "GOOGLE_PROJECT_NUMBER=123456789012\nGCP_SERVICE_ACCOUNT_EMAIL=me@example.com", want: "error GCP_SERVICE_ACCOUNT_EMAIL"},
	})
}

func TestDoctorVault(t *testing.T) {
	const addr = "VAULT_ADDR=https://vault.example.com\n"
	visits(t, "vault", []visit{
		{check: "vault-addr", name: "not about Vault"},
		{check: "vault-addr", name: "all", env: addr + "VAULT_ROLE=x"},
		{check: "vault-addr", name: "missing", env: "VAULT_ROLE=x", want: "error VAULT_ROLE is set, and neither VAULT_ADDR nor BAO_ADDR"},
		{check: "vault-addr", name: "in the clear", env: "VAULT_ADDR=http://vault.example.com", want: "error http:// to vault.example.com would send the token unencrypted"},
		{check: "vault-addr", name: "on this machine", env: "VAULT_ADDR=http://127.0.0.1:8200"},
		{check: "vault-addr", name: "no URL", env: "VAULT_ADDR=vault.example.com", want: "error is not an address"},
		{check: "vault-addr", name: "BAO first", env: addr + "BAO_ADDR=http://vault.example.com", want: "error BAO_ADDR"},
		{check: "vault-addr", name: "authority missing", env: addr + "VAULT_CACERT=$DIR/none", want: "error no such file"},
		{check: "vault-addr", name: "authority", env: addr + "VAULT_CACERT=$DIR/ca", files: "-- ca --\n" + testCertificate},
		{check: "vault-addr", name: "a timeout", env: addr + "VAULT_CLIENT_TIMEOUT=soon", want: "error --client-timeout its value is not a time"},

		{check: "vault-token", name: "none"},
		{check: "vault-token", name: "left", env: "VAULT_TOKEN=hvs.x", want: "warning VAULT_TOKEN is set in this job, and vault and bao take it before the token in the file"},
		{check: "vault-token", name: "our own", env: "VAULT_TOKEN=hvs.x\nBASH_ENV=$DIR/b", files: "-- b --\n# >>> oidc-broker vault >>>\nexport VAULT_TOKEN='hvs.x'\n# <<< oidc-broker vault <<<\n"},
		{check: "vault-token", name: "another than our own", env: "VAULT_TOKEN=hvs.y\nBASH_ENV=$DIR/b", files: "-- b --\n# >>> oidc-broker vault >>>\nexport VAULT_TOKEN='hvs.x'\n# <<< oidc-broker vault <<<\n", want: "warning VAULT_TOKEN is set in this job"},

		{check: "vault-token-file", name: "none"},
		{check: "vault-token-file", name: "private", files: "-- home/.vault-token --\nx\n"},
		{check: "vault-token-file", name: "open", files: "-- home/.vault-token 644 --\nx\n", want: "warning its mode 0644"},
		{check: "vault-token-file", name: "open, elsewhere", env: "BAO_TOKEN_PATH=$DIR/t", files: "-- t 644 --\nx\n", want: "warning its mode 0644"},
		{check: "vault-token-file", name: "of one tool alone", env: "BAO_TOKEN_PATH=$DIR/t", files: "-- t --\nx\n-- home/.vault-token --\ny\n", want: "warning vault reads the token in"},

		{check: "vault-skip-verify", name: "no", env: "VAULT_SKIP_VERIFY=false"},
		{check: "vault-skip-verify", name: "yes", env: "VAULT_SKIP_VERIFY=1", want: "warning VAULT_SKIP_VERIFY is set: vault and bao send tokens to any server that answers; oidc-broker does not use it"},
		{check: "vault-skip-verify", name: "perhaps", env: "BAO_SKIP_VERIFY=yes", want: "warning BAO_SKIP_VERIFY is neither true nor false"},

		{check: "vault-bao", name: "the same", env: "BAO_ADDR=x\nVAULT_ADDR=x"},
		{check: "vault-bao", name: "one", env: "BAO_ADDR=x"},
		{check: "vault-bao", name: "different", env: "BAO_ADDR=x\nVAULT_ADDR=y\nBAO_ROLE=\nVAULT_ROLE=z", want: "warning BAO_ADDR, BAO_ROLE differ"},

		{check: "vault-agent", name: "none", env: addr},
		{check: "vault-agent", name: "an agent", env: "VAULT_AGENT_ADDR=http://127.0.0.1:8100", want: "note VAULT_AGENT_ADDR is set in this job: vault and bao call the agent there, and oidc-broker calls VAULT_ADDR itself"},
		{check: "vault-agent", name: "the server itself", env: addr + "VAULT_AGENT_ADDR=https://vault.example.com/"},
		{check: "vault-agent", name: "a proxy, which oidc-broker uses too", env: addr + "VAULT_PROXY_ADDR=http://proxy.example.com:3128"},
		{check: "vault-addr", name: "a proxy", env: addr + "VAULT_PROXY_ADDR=http://proxy.example.com:3128\nVAULT_HTTP_PROXY=http://other.example.com:3128"},
		{check: "vault-addr", name: "no proxy", env: addr + "VAULT_HTTP_PROXY=ldap://proxy.example.com", want: "error --proxy-addr is not the URL of a proxy"},
		{check: "vault-addr", name: "headers", env: addr + `VAULT_HEADERS={"CF-Access-Client-Id": "id"}`},
		{check: "vault-addr", name: "no headers", env: addr + "VAULT_HEADERS=x: y", want: "error VAULT_HEADERS"},
		{check: "vault-addr", name: "a header of a variable", env: addr + "OIDC_BROKER_VAULT_HEADER=A=B, C=D\nB=b\nD=d"},
		{check: "vault-addr", name: "a header of none", env: addr + "OIDC_BROKER_VAULT_HEADER=A=B", want: "error OIDC_BROKER_VAULT_HEADER"},
	})
}
