package job

import (
	"path"
	"slices"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
)

// Declared are the variables of the job that hold a token, with its audience; provider is
// the name of Google's.
func (j *Job) Declared(provider string) map[string]string {
	all := map[string]string{}
	for name, audience := range j.form.declares {
		switch audience {
		case "":
			audience = j.Token.Audience
		case forGoogle:
			audience = googleAudience(provider)
		}
		all[name] = audience
	}
	return all
}

// File is the variable that names a file with the job's token, or "".
func (j *Job) File() string { return j.form.file }

// Environment are the job's other variables.
func (j *Job) Environment() map[string]string {
	set := map[string]string{}
	for name, value := range j.form.set {
		if claim, ok := strings.CutPrefix(value, "{"); ok {
			value = text(j.Token.Job, strings.TrimSuffix(claim, "}"))
		}
		set[name] = value
	}
	return set
}

// Foreign are the variables that show a job of another system, or lead to a token of one.
func (j *Job) Foreign() (names []string) {
	for _, s := range ci.Systems() {
		for _, sign := range s.Signs {
			name, _, _ := strings.Cut(sign, "=")
			names = append(names, name)
		}
		names = append(names, s.Job...)
		names = append(names, s.Variables...)
		names = append(names, s.Files...)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return strings.Contains(name, "*") })
	return append(names, "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "SYSTEM_OIDCREQUESTURI", "SYSTEM_ACCESSTOKEN", "GCE_METADATA_HOST")
}

// TokenVariable says whether the system finds a token in a variable of this name.
func (j *Job) TokenVariable(name string) bool {
	for _, pattern := range j.system.Variables {
		if ok, _ := path.Match(pattern, name); ok {
			return true
		}
	}
	return false
}
