package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/gcp"
)

// The variables that name a file with Google credentials: that of the client
// libraries, and that of gcloud.
const (
	adcVariable    = "GOOGLE_APPLICATION_CREDENTIALS"
	gcloudVariable = "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE"
)

// googleFile is a file that a variable names.
type googleFile struct {
	variable, path string
	gcp.Credentials
	keyOpen bool  // it holds a key that others can read
	err     error // of reading it
}

func (v *view) lookForGoogle() []googleFile {
	var all []googleFile
	for _, name := range v.set(adcVariable, gcloudVariable) {
		f := googleFile{variable: name, path: v.get(name)}
		text, info, err := v.read(f.path, gcp.MaxConfiguration)
		if err == nil {
			f.Credentials, err = gcp.ReadCredentials(text)
		}
		f.err = err
		f.keyOpen = f.Key && v.open(info)
		if len(all) == 0 || all[0].path != f.path {
			all = append(all, f)
		}
	}
	return all
}

func googleChecks() []check {
	return []check{
		{"google-credentials", "the file that " + adcVariable + " names is there", googleCredentials},
		{"google-token", "the token that Google's libraries take is there and valid", googleToken},
		{"google-executable", "the program that Google's libraries call is there and allowed", googleExecutable},
		{"google-key", "no long-lived Google key", googleKey},
		{"google-endpoint", "Google is called where it is", googleEndpoint},
		{"google-override", "nothing wins over the Google credentials", googleOverride},
		{"google-gcloud", "gcloud and the libraries take the same credentials", googleGcloud},
		{"google-project", "the libraries know their project", googleProject},
		{"google-options", "the names of pool, provider and service account are names", googleOptions},
	}
}

// usesGoogle says whether anything here is about Google Cloud.
func (v *view) usesGoogle() bool {
	return len(v.set(adcVariable, gcloudVariable, "CLOUDSDK_API_ENDPOINT_OVERRIDES_STS", "OIDC_BROKER_WORKLOAD_IDENTITY_PROVIDER",
		"GCP_WIP_ID", "OIDC_WIP_ID", "GCP_WORKLOAD_IDENTITY_POOL", "GCP_WIP_PROVIDER_ID", "OIDC_WIP_PROVIDER_ID", "GCP_WORKLOAD_IDENTITY_PROVIDER")) > 0
}

func googleCredentials(v *view) []Finding {
	const remedy = "write it (oidc-broker gcp login), or unset the variable"
	var all []Finding
	for _, f := range v.google() {
		switch {
		case strings.HasPrefix(f.path, "{"):
			all = append(all, fails("%s holds the credentials themselves, not the path of their file", f.variable).
				because("it is taken for a file's name, which tools print when they do not find it").
				remedy("keep the variable out of the context; "+remedy))
		case f.err != nil && strings.HasPrefix(f.path, "~"):
			all = append(all, fails("%s begins with ~, which Google's tools do not expand", f.variable).remedy("write the path in full"))
		case f.err != nil:
			all = append(all, fails("%s names %s, which is of no use: %v", f.variable, v.place(f.path), f.err).
				because("Google's libraries, Terraform and gcloud fail, and look nowhere else").remedy(remedy))
		case !filepath.IsAbs(f.path):
			all = append(all, warns("%s is not absolute", f.variable).
				because("it names another file in each working directory").remedy("write the path in full"))
		}
	}
	return all
}

func googleToken(v *view) []Finding {
	const renew = "write it anew (oidc-broker gcp login), or let the libraries call oidc-broker: --source executable"
	var all []Finding
	for _, f := range v.google() {
		if f.err != nil || f.File == "" {
			continue
		}
		extract := f.Subject
		if f.Field == "" {
			extract = nil
		}
		bad, is := tokenFile(v, "the credential configuration in "+f.variable+" takes the token from", f.File, extract)
		if is && bad.Severity == Warning {
			all = append(all, bad.because("Google's libraries for Python and Node send it along, and Google refuses it").remedy("write the token without a line break (printf %%s); 'oidc-broker gcp login' does"))
			continue
		}
		if is {
			all = append(all, bad.because("the libraries read it again for each new access token").remedy(renew))
			continue
		}
		if !filepath.IsAbs(f.File) {
			all = append(all, warns("the credential configuration in %s names the token's file by a path that is not absolute", f.variable).
				because("it is another file in each working directory").remedy(renew))
		}
		if _, info, err := v.read(f.File, 1); err == nil && v.open(info) {
			all = append(all, warns("%s holds the token, and its mode %#o lets others read it", v.place(f.File), info.Mode().Perm()).
				because("every process of every user on this machine can take it").remedy("chmod 600 %s", v.place(f.File)))
		}
	}
	return all
}

func googleExecutable(v *view) []Finding {
	var all []Finding
	for _, f := range v.google() {
		if f.err != nil || f.Executable == "" {
			continue
		}
		if v.get("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES") != "1" {
			all = append(all, fails("the credential configuration in %s calls a program, and GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES is not 1", f.variable).
				because("Google's libraries run none that was not allowed").
				remedy("export GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=1; 'oidc-broker gcp env' does"))
		}
		program := strings.Fields(f.Executable)[:min(1, len(strings.Fields(f.Executable)))]
		switch {
		case len(program) == 0:
			all = append(all, fails("the credential configuration in %s names an empty program", f.variable).remedy("write it anew: oidc-broker gcp login --source executable"))
		case strings.ContainsAny(f.Executable, `"'\`):
			all = append(all, warns("the command in the credential configuration in %s has quotes or backslashes in it", f.variable).
				because("the libraries for Python and Go split it at spaces and know no quotes").
				remedy("use a path and options without spaces"))
		case !filepath.IsAbs(program[0]):
			all = append(all, warns("the credential configuration in %s names a program by a path that is not absolute", f.variable).
				because("Google's protocol demands an absolute one").remedy("write it anew: oidc-broker gcp login --source executable"))
		default:
			if _, err := v.lookPath(program[0]); err != nil {
				all = append(all, fails("the credential configuration in %s: %s is no program that can be run: %v", f.variable, v.place(program[0]), unwrapped(err)).
					because("the libraries get no token").remedy("write it anew: oidc-broker gcp login --source executable"))
			}
		}
	}
	return all
}

func googleKey(v *view) []Finding {
	var all []Finding
	for _, f := range v.google() {
		if f.err != nil || !f.Key {
			continue
		}
		bad := warns("%s names %s, which holds a key that does not end by itself", f.variable, v.place(f.path)).
			because("whoever gets hold of it has it for good: that is what a job's token is for").
			remedy("use workload identity federation (oidc-broker gcp login), and delete the key")
		if f.keyOpen {
			bad.Message += ", and its mode lets others read it"
		}
		all = append(all, bad)
	}
	return all
}

func googleEndpoint(v *view) []Finding {
	var all []Finding
	seen := map[string]bool{}
	odd := func(what, value string, hosts ...string) {
		h := host(value)
		if seen[what+h] || slices.Contains(hosts, h) || v.sandboxed() && loopback(value) {
			return
		}
		seen[what+h] = true
		all = append(all, warns("%s leads to %s", what, h).
			because("whoever answers there gets the job's token, and its access tokens are no good elsewhere").
			remedy("write the configuration anew (oidc-broker gcp login), and unset what moves the endpoints unless it is meant"))
	}
	for _, name := range v.set("CLOUDSDK_API_ENDPOINT_OVERRIDES_STS", "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS") {
		odd(name, v.get(name))
	}
	for _, name := range v.set("CLOUDSDK_AUTH_TOKEN_HOST", "CLOUDSDK_AUTH_TOKEN_INTROSPECTION_ENDPOINT") {
		odd(name, v.get(name), "oauth2.googleapis.com", "sts.googleapis.com")
	}
	universe, _ := v.first("CLOUDSDK_CORE_UNIVERSE_DOMAIN", "GOOGLE_CLOUD_UNIVERSE_DOMAIN")
	if universe == "" {
		universe = "googleapis.com"
	}
	for _, f := range v.google() {
		if f.err != nil || f.Type != "external_account" {
			continue
		}
		odd("the token_url in "+f.variable, f.URLs["token_url"], "sts."+universe, "sts.mtls."+universe)
		if url := f.URLs["service_account_impersonation_url"]; url != "" {
			odd("the service_account_impersonation_url in "+f.variable, url, "iamcredentials."+universe, "iamcredentials.mtls."+universe)
		}
	}
	return all
}

func googleOverride(v *view) []Finding {
	var all []Finding
	for _, c := range v.googleMachine().Overrides() {
		all = append(all, warns("%s", c.Message).
			because("it acts as another identity than the configuration's").
			remedy("%s; 'oidc-broker gcp env' and 'exec' do without it", c.Remedy))
	}
	return all
}

func (v *view) googleMachine() gcp.Machine {
	return gcp.Machine{
		Lookup: func(name string) (string, bool) { value, set := v.env[name]; return value, set },
		Read: func(path string) ([]byte, error) {
			if len(v.google()) == 0 {
				return nil, fs.ErrNotExist // gcloud's settings conflict with nothing
			}
			b, _, err := v.read(path, gcp.MaxConfiguration)
			return b, err
		},
	}
}

func googleGcloud(v *view) []Finding {
	adc, gcloud := v.get(adcVariable), v.get(gcloudVariable)
	switch {
	case adc != "" && gcloud != "" && v.abs(adc) != v.abs(gcloud):
		return []Finding{warns("%s and %s name different files", adcVariable, gcloudVariable).
			because("gcloud and gsutil act as somebody else than Terraform and the libraries").
			remedy("set both to the same file; 'oidc-broker gcp env' does")}
	case adc != "" && gcloud == "":
		return []Finding{notes("%s is set and %s is not", adcVariable, gcloudVariable).
			because("gcloud and gsutil do not read the first, and act as whoever logged in with gcloud").
			remedy("export %s=\"$%s\"; 'oidc-broker gcp env' does", gcloudVariable, adcVariable)}
	}
	return nil
}

func googleProject(v *view) []Finding {
	external := slices.ContainsFunc(v.google(), func(f googleFile) bool { return f.Type == "external_account" })
	if !external || len(v.set("GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT")) > 0 {
		return nil
	}
	return []Finding{notes("GOOGLE_CLOUD_PROJECT is not set").
		because("the libraries for Python and Node ask cloudresourcemanager.googleapis.com for the project then, and fail where that is not reached").
		remedy("give --project-id to 'oidc-broker gcp env', or export GOOGLE_CLOUD_PROJECT=ID")}
}

func googleOptions(v *view) []Finding {
	var all []Finding
	for _, name := range v.set("GOOGLE_PROJECT_NUMBER", "GCP_PROJECT_ID") {
		err := gcp.CheckProjectNumber(v.get(name))
		if err == nil {
			continue
		}
		f := v.foreign(err, name)
		if name == "GCP_PROJECT_ID" && !strings.Contains(f.Remedy, "YAML") {
			// CircleCI's documentation has the number there, everybody else the id.
			f.Severity = Note
		}
		f.Message = fmt.Sprintf("%s: %s", name, f.Message)
		all = append(all, f.because("oidc-broker takes the number of the pool's project from there, as CircleCI's documentation has it"))
	}
	o, names := v.googleOptions()
	if len(all) > 0 || o.Provider == "" && o.PoolID == "" && o.ProviderID == "" {
		return all
	}
	if _, err := o.Resolve(); err != nil {
		f := v.foreign(err, names...)
		f.Message = "what the environment says for 'oidc-broker gcp': " + f.Message
		if errors.Is(err, gcp.ErrIncomplete) {
			f.Severity = Note
		}
		all = append(all, f.because("it is taken where no option says otherwise: %s", strings.Join(names, ", ")))
	}
	return all
}

// googleOptions are the provider's options as the environment has them, and the
// variables that they are from.
func (v *view) googleOptions() (gcp.Options, []string) {
	var o gcp.Options
	var from []string
	for _, p := range []struct {
		to    *string
		names []string
	}{
		{&o.Provider, []string{"OIDC_BROKER_WORKLOAD_IDENTITY_PROVIDER"}},
		{&o.ProjectNumber, []string{"GOOGLE_PROJECT_NUMBER", "GCP_PROJECT_ID"}},
		{&o.PoolID, []string{"GCP_WIP_ID", "OIDC_WIP_ID", "GCP_WORKLOAD_IDENTITY_POOL"}},
		{&o.ProviderID, []string{"GCP_WIP_PROVIDER_ID", "OIDC_WIP_PROVIDER_ID", "GCP_WORKLOAD_IDENTITY_PROVIDER"}},
		{&o.ServiceAccount, []string{"GCP_SERVICE_ACCOUNT_EMAIL", "OIDC_SERVICE_ACCOUNT_EMAIL", "GCP_OIDC_SERVICE_ACCOUNT"}},
		{&o.UniverseDomain, []string{"CLOUDSDK_CORE_UNIVERSE_DOMAIN", "GOOGLE_CLOUD_UNIVERSE_DOMAIN"}},
		{&o.STSEndpoint, []string{"CLOUDSDK_API_ENDPOINT_OVERRIDES_STS"}},
		{&o.IAMCredentialsEndpoint, []string{"CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS"}},
	} {
		var name string
		if *p.to, name = v.first(p.names...); name != "" {
			from = append(from, name)
		}
	}
	return o, from
}
