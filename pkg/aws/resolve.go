package aws

import "slices"

// The ways by which a profile's credentials are found, in botocore's order.
const (
	byRole        = "role_arn"
	byWebIdentity = "web_identity_token_file"
	bySSO         = "sso"
	byKeys        = "aws_access_key_id in the credentials file"
	byLogin       = "login_session"
	byProcess     = processKey
	byConfigKeys  = "aws_access_key_id in the config file"
)

// A Resolution is how botocore finds a profile's credentials.
type Resolution struct {
	Way      string   // "": the profile has no credentials
	Profiles []string // the profile, and those that source_profile leads to
}

// A Problem is why an SDK refuses a profile.
type Problem struct {
	Profile string // whose settings are wrong
	Message string // what is wrong with it: "has role_arn, and neither ..."
	Other   string // the profile, or the sso-session, that Message ends with; "" if none
	Why     string
	Remedy  string
	// AlsoUnused says that Go programs refuse to start where this is the default
	// profile, also with keys in the environment.
	AlsoUnused bool
}

// resolver follows source_profile, as botocore.credentials.AssumeRoleProvider does.
type resolver struct {
	config  Config
	getenv  func(string) string
	visited []string
}

// Resolve finds out how botocore finds a profile's credentials in the files, without
// what is in the environment; a problem is why it refuses to.
func (c Config) Resolve(profile string, getenv func(string) string) (Resolution, *Problem) {
	r := resolver{config: c, getenv: getenv, visited: []string{profile}}
	way, problem := r.top(profile)
	return Resolution{Way: way, Profiles: r.visited}, problem
}

func (r *resolver) top(profile string) (string, *Problem) {
	p, _ := r.config.Find(profile)
	if p.assumesRole() {
		return byRole, r.role(p)
	}
	return r.own(p)
}

// assumesRole is botocore's _has_assume_role_config_vars.
func (p Profile) assumesRole() bool { return p.has("role_arn") && !p.has("web_identity_token_file") }

// hasKeys is botocore's _has_static_credentials: one of the two is enough.
func (p Profile) hasKeys() bool { return p.has("aws_access_key_id") || p.has("aws_secret_access_key") }

func (p Profile) has(key string) bool {
	_, inCredentials := p.Credentials[key]
	_, inConfig := p.Config[key]
	return inCredentials || inConfig
}

// role follows a profile that assumes a role.
func (r *resolver) role(p Profile) *Problem {
	source, named := p.Value("source_profile"), p.has("source_profile")
	bad := func(message, other, remedy string) *Problem {
		return &Problem{Profile: p.Name, Message: message, Other: other, Why: "the AWS CLI and the SDKs refuse the profile", Remedy: remedy, AlsoUnused: named}
	}
	switch {
	case named && p.has("credential_source"):
		return bad("has source_profile and credential_source", "", "keep one of them")
	case p.has("credential_source"):
		return r.credentialSource(p)
	case !named:
		f := bad("has role_arn, and neither source_profile nor credential_source", "", "name the profile that assumes the role (source_profile = NAME), or remove role_arn")
		f.Why = "the AWS CLI and boto3 refuse the profile; Go programs take other credentials, or none"
		return f
	}
	from, ok := r.config.Find(source)
	switch {
	case !ok:
		return bad("has a source_profile that is in neither AWS file:", source, "correct the name, or write that profile")
	case slices.Contains(r.visited, source) && (source != p.Name || !from.hasKeys()):
		return bad("is in a loop of source_profile, which leads back to", source, "end it in a profile that has credentials itself")
	}
	again := source == p.Name
	if !again {
		r.visited = append(r.visited, source)
	}
	if !again && !from.hasKeys() && from.assumesRole() {
		return r.role(from)
	}
	way, problem := r.own(from)
	if problem != nil || way != "" {
		return problem
	}
	return bad("has a source_profile without credentials:", source, "write credentials into it, or name another")
}

// sources are the values of credential_source, and the variables that each needs.
// Their case counts.
var sources = []struct {
	name string
	any  []string
}{
	{"Environment", []string{"AWS_ACCESS_KEY_ID"}},
	{"EcsContainer", []string{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"}},
	{"Ec2InstanceMetadata", nil},
}

func (r *resolver) credentialSource(p Profile) *Problem {
	value := p.Value("credential_source")
	for _, s := range sources {
		if s.name != value {
			continue
		}
		if len(s.any) == 0 || slices.ContainsFunc(s.any, func(name string) bool { return r.getenv(name) != "" }) {
			return nil
		}
		return &Problem{
			Profile: p.Name, Message: "has credential_source = " + s.name + ", and " + s.any[0] + " is not set",
			Why: "the AWS CLI and the SDKs refuse the profile in this environment", Remedy: "set the variables in the step that uses the profile, or name a source_profile",
		}
	}
	return &Problem{
		Profile: p.Name, Message: "has a credential_source that is none of Environment, EcsContainer and Ec2InstanceMetadata (upper and lower case count)",
		Why: "the AWS CLI and the SDKs refuse the profile", Remedy: "write one of the three as it is here",
	}
}

// own finds the credentials that a profile has without a role.
func (r *resolver) own(p Profile) (string, *Problem) {
	half := func(from map[string]bool) *Problem {
		if from["aws_access_key_id"] && !from["aws_secret_access_key"] {
			return &Problem{
				Profile: p.Name, Message: "has aws_access_key_id without aws_secret_access_key in the same file",
				Why: "the AWS CLI and boto3 refuse the profile; Go programs take other credentials, or none", Remedy: "write both, or remove the first",
			}
		}
		return nil
	}
	switch session := p.Value("sso_session"); {
	case p.Value("web_identity_token_file") != "":
		if p.Value("role_arn") == "" {
			return "", &Problem{
				Profile: p.Name, Message: "has web_identity_token_file without role_arn",
				Why: "the AWS CLI and the SDKs refuse the profile", Remedy: "add role_arn, or write the profile with oidc-broker aws profile", AlsoUnused: true,
			}
		}
		return byWebIdentity, nil
	case session != "" && !r.config.ssoSessions[session]:
		return "", &Problem{
			Profile: p.Name, Message: "has an sso_session of which the config file has no section:", Other: session,
			Why: "the AWS CLI and the SDKs refuse the profile", Remedy: "add [sso-session NAME] with sso_start_url and sso_region (aws configure sso), or remove sso_session", AlsoUnused: true,
		}
	case session != "", p.has("sso_start_url"), p.has("sso_account_id"):
		return bySSO, nil
	}
	keys := func(in Profile) map[string]bool {
		return map[string]bool{"aws_access_key_id": in.has("aws_access_key_id"), "aws_secret_access_key": in.has("aws_secret_access_key")}
	}
	if there := keys(Profile{Credentials: p.Credentials}); there["aws_access_key_id"] {
		return byKeys, half(there)
	}
	switch {
	case p.has("login_session"):
		return byLogin, nil
	case p.has(processKey):
		return byProcess, nil
	}
	if there := keys(Profile{Config: p.Config}); there["aws_access_key_id"] {
		return byConfigKeys, half(there)
	}
	return "", nil
}

// Problems are those of all profiles, each once.
func (c Config) Problems(getenv func(string) string) []Problem {
	var all []Problem
	report := func(p *Problem) {
		if p != nil && !slices.ContainsFunc(all, func(q Problem) bool { return q.Profile == p.Profile && q.Message == p.Message }) {
			all = append(all, *p)
		}
	}
	for _, p := range c.Profiles {
		_, problem := c.Resolve(p.Name, getenv)
		report(problem)
		report(p.sourceWithoutRole())
	}
	return all
}

// sourceWithoutRole is what Go programs alone refuse.
func (p Profile) sourceWithoutRole() *Problem {
	if p.has("role_arn") {
		return nil
	}
	for _, key := range []string{"source_profile", "credential_source"} {
		if p.Value(key) != "" {
			return &Problem{
				Profile: p.Name, Message: "has " + key + " without role_arn",
				Why: "Go programs refuse the profile; the AWS CLI and boto3 ignore " + key, Remedy: "add role_arn, or remove " + key, AlsoUnused: true,
			}
		}
	}
	return nil
}
