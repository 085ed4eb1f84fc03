package doctor

import (
	"slices"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/aws"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

func awsChecks() []check {
	return []check{
		{"aws-keys", "the variables with AWS keys are whole", awsKeys},
		{"aws-static-keys", "no long-lived AWS keys", awsStaticKeys},
		{"aws-shadowed", "no AWS credentials hide others", awsConflicts("aws-shadowed")},
		{"aws-security-token", "AWS_SECURITY_TOKEN is not set", awsSecurityToken},
		{"aws-expiration", "AWS_CREDENTIAL_EXPIRATION is not left from earlier", awsExpiration},
		{"aws-profile", "AWS_PROFILE names a profile that is there, and the one that is meant", awsConflicts("aws-profile")},
		{"aws-web-identity", "what the SDKs do with a web identity by themselves works", awsWebIdentity},
		{"aws-container", "no container credentials", awsContainer},
		{"aws-role", "AWS_ROLE_ARN is a role's ARN", awsRole},
		{"aws-region", "the region is known to every SDK", awsRegion},
		{"aws-endpoint", "AWS is called where it is", awsEndpoint},
		{"aws-ca-bundle", "AWS_CA_BUNDLE holds certificates", awsCABundle},
	}
}

// usesAWS says whether anything here is about AWS.
func (v *view) usesAWS() bool {
	some := v.set("AWS_ROLE_ARN", "AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL")
	return len(some) > 0 || len(v.aws().profiles) > 0
}

func awsKeys(v *view) []Finding {
	id, secret, session := v.get("AWS_ACCESS_KEY_ID"), v.get("AWS_SECRET_ACCESS_KEY"), v.get("AWS_SESSION_TOKEN")
	const unset = "unset all of AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, in the step, the context and the project's settings, and deliver them anew"
	switch {
	case id != "" && secret == "", id == "" && secret != "":
		there, lacks := "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"
		if id == "" {
			there, lacks = lacks, there
		}
		return []Finding{fails("%s is set and %s is not", there, lacks).
			because("the AWS CLI and boto3 refuse half a pair and look no further; Go programs pass it over and take other credentials").
			remedy(unset)}
	case id == "" && session != "":
		return []Finding{warns("AWS_SESSION_TOKEN is set without the keys that it belongs to").
			because("with keys that somebody sets later, AWS refuses both").
			remedy(unset)}
	case aws.KindOfKey(id) == aws.LongLived && session != "":
		return []Finding{fails("AWS_SESSION_TOKEN is set beside a long-lived AWS_ACCESS_KEY_ID (AKIA...)").
			because("they do not belong together: AWS refuses every call with InvalidClientTokenId").
			remedy(unset)}
	case aws.KindOfKey(id) == aws.Temporary && session == "":
		return []Finding{fails("AWS_ACCESS_KEY_ID is temporary (ASIA...), and AWS_SESSION_TOKEN is not set").
			because("AWS refuses every call with InvalidClientTokenId").
			remedy(unset)}
	}
	return nil
}

func awsStaticKeys(v *view) []Finding {
	var all []Finding
	const why = "they do not end by themselves, and whoever gets hold of them has them for good: that is what a job's token is for"
	if aws.KindOfKey(v.get("AWS_ACCESS_KEY_ID")) == aws.LongLived {
		all = append(all, warns("AWS_ACCESS_KEY_ID is long-lived (AKIA...)").because(why).
			remedy("take it out of the context or the project's settings, and use a role: oidc-broker aws"))
	}
	var names []string
	for _, p := range v.aws().profiles {
		if aws.KindOfKey(p.Value("aws_access_key_id")) == aws.LongLived {
			names = append(names, profileName(p.Name))
		}
	}
	if len(names) > 0 {
		all = append(all, warns("long-lived keys (AKIA...) in %s", fault.Names(names)).because(why).
			remedy("replace them with a role's: oidc-broker aws profile --profile NAME"))
	}
	return all
}

func awsSecurityToken(v *view) []Finding {
	old := v.get("AWS_SECURITY_TOKEN")
	if old == "" {
		return nil
	}
	f := warns("AWS_SECURITY_TOKEN is set").remedy("unset AWS_SECURITY_TOKEN; 'oidc-broker aws env' and 'exec' do")
	switch {
	case v.get("AWS_ACCESS_KEY_ID") == "":
		return []Finding{f.because("with the next keys in the environment, the AWS CLI and boto3 take it instead of AWS_SESSION_TOKEN, and AWS refuses them")}
	case old == v.get("AWS_SESSION_TOKEN"):
		f.Severity = Note
		return []Finding{f.because("it is the same as AWS_SESSION_TOKEN now; renewed keys would not go with it")}
	}
	f.Severity = Error
	return []Finding{f.because("the AWS CLI and boto3 take it instead of AWS_SESSION_TOKEN, and AWS refuses the keys; Go programs do not, so that one tool works and the other does not")}
}

func awsExpiration(v *view) []Finding {
	value := v.get("AWS_CREDENTIAL_EXPIRATION")
	if value == "" {
		return nil
	}
	const remedy = "get new ones (oidc-broker aws env), or unset AWS_CREDENTIAL_EXPIRATION with the keys"
	f := notes("AWS_CREDENTIAL_EXPIRATION is no time or over, and there are no keys in the environment").
		because("with the next keys there, the AWS CLI and boto3 would refuse those").remedy(remedy)
	keys := v.get("AWS_ACCESS_KEY_ID") != ""
	end, err := time.Parse(time.RFC3339, value)
	switch {
	case err != nil && keys:
		return []Finding{fails("AWS_CREDENTIAL_EXPIRATION is not a time").
			because("the AWS CLI and boto3 refuse the keys beside it").remedy(remedy)}
	case err != nil:
		return []Finding{f}
	case !end.After(v.Now) && keys:
		return []Finding{fails("AWS_CREDENTIAL_EXPIRATION was %s ago, at %s", v.Now.Sub(end).Round(time.Second), end.UTC().Format(time.RFC3339)).
			because("the AWS CLI and boto3 refuse the keys beside it, also where they are good ones; AWS refuses those that have ended").remedy(remedy)}
	case !end.After(v.Now):
		return []Finding{f}
	case end.Sub(v.Now) < soon && keys:
		return []Finding{warns("the keys in the environment end in %s", end.Sub(v.Now).Round(time.Second)).
			because("a step that takes longer fails halfway").
			remedy("get new ones (oidc-broker aws env) in the step that needs them, or use a profile that renews itself: oidc-broker aws --mode process")}
	}
	return nil
}

func awsWebIdentity(v *view) []Finding {
	path := v.get("AWS_WEB_IDENTITY_TOKEN_FILE")
	if path == "" {
		return nil
	}
	const unset = "unset AWS_WEB_IDENTITY_TOKEN_FILE and use oidc-broker aws"
	if v.get("AWS_ROLE_ARN") == "" {
		return awsConflicts("aws-web-identity")(v)
	}
	if f, bad := tokenFile(v, "AWS_WEB_IDENTITY_TOKEN_FILE names", path, nil); bad {
		return []Finding{f.because("every SDK takes the token from there before it looks at a profile, as it is").remedy(unset)}
	}
	return nil
}

func awsContainer(v *view) []Finding {
	some := v.set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
	if len(some) == 0 {
		return nil
	}
	if path := v.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); path != "" {
		if _, _, err := v.read(path, 1); err != nil {
			return []Finding{warns("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE names %s, which cannot be read: %v", v.place(path), err).
				because("SDKs that get as far as the container's credentials fail").
				remedy("unset it, and %s", strings.Join(some, " and "))}
		}
	}
	return []Finding{notes("%s is set", strings.Join(some, " and ")).
		because("where keys, web identity and profile all are missing, every SDK takes the container's role without a word").
		remedy("unset it in the steps that are to have the job's role; 'oidc-broker aws env' and 'exec' do")}
}

func awsRole(v *view) []Finding {
	arn := v.get("AWS_ROLE_ARN")
	if arn == "" {
		return nil
	}
	if err := aws.CheckRole("AWS_ROLE_ARN", arn, v.region()); err != nil {
		return []Finding{v.foreign(err, "AWS_ROLE_ARN").because("oidc-broker aws takes the role from there, and so does every SDK")}
	}
	return nil
}

func awsRegion(v *view) []Finding {
	one, two := v.get("AWS_REGION"), v.get("AWS_DEFAULT_REGION")
	var all []Finding
	for _, name := range v.set("AWS_REGION", "AWS_DEFAULT_REGION") {
		if err := aws.CheckRegion(v.get(name)); err != nil {
			f := v.foreign(err, name).because("calls go to a host that is not there")
			f.Message = name + ": " + f.Message
			all = append(all, f)
		}
	}
	if len(all) == 0 {
		all = awsConflicts("aws-region")(v)
	}
	configured := v.aws().effective().Value("region") != ""
	switch {
	case len(all) > 0 || configured || !v.usesAWS():
	case one == "" && two == "":
		all = append(all, warns("no region: AWS_REGION, AWS_DEFAULT_REGION and the profile name none").
			because("most calls of the AWS CLI and the SDKs refuse to go on, and STS's global endpoint gives credentials that newer regions do not take").
			remedy("give --region, or set AWS_REGION and AWS_DEFAULT_REGION"))
	case two == "":
		all = append(all, notes("AWS_REGION is set and AWS_DEFAULT_REGION is not").
			because("the AWS CLI v1 and boto3 read only AWS_DEFAULT_REGION, and have no region").
			remedy("set both"))
	case one == "":
		all = append(all, notes("AWS_DEFAULT_REGION is set and AWS_REGION is not").
			because("Node and Java programs read only AWS_REGION, and have no region").
			remedy("set both"))
	}
	return all
}

func awsEndpoint(v *view) []Finding {
	var names []string
	for name, value := range v.env {
		if strings.HasPrefix(name, "AWS_ENDPOINT_URL") && strings.TrimSpace(value) != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var all []Finding
	if err := aws.CheckEndpoint(v.getenvBut("AWS_CA_BUNDLE")); err != nil {
		all = append(all, v.foreign(err, names...).remedy("set it to an https:// URL, or unset it").because("oidc-broker aws refuses to call it"))
	}
	for _, name := range names {
		value := v.get(name)
		if v.sandboxed() && loopback(value) {
			continue
		}
		f := warns("%s is set: calls go to %s", name, host(value)).
			because("whoever answers there gets the token and the requests, and its credentials are no good elsewhere").
			remedy("unset %s unless it is meant", name)
		if strings.EqualFold(v.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"), "true") {
			f.Severity = Note
			f.Message += ", but for AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"
		}
		all = append(all, f)
	}
	return all
}

// getenvBut is the environment without some variables.
func (v *view) getenvBut(names ...string) func(string) string {
	return func(name string) string {
		if slices.Contains(names, name) {
			return ""
		}
		return v.get(name)
	}
}

func awsCABundle(v *view) []Finding {
	path := v.get("AWS_CA_BUNDLE")
	if path == "" {
		return nil
	}
	only := func(name string) string {
		if name == "AWS_CA_BUNDLE" {
			return v.abs(path)
		}
		return ""
	}
	why := "it holds no PEM certificate"
	if _, _, err := v.read(path, 1); err != nil {
		why = err.Error()
	} else if aws.CheckEndpoint(only) == nil {
		return nil
	}
	return []Finding{fails("AWS_CA_BUNDLE names %s, which is of no use: %s", v.place(path), why).
		because("every AWS SDK and oidc-broker trust nobody but what stands in there, so that no call is made").
		remedy("name a PEM file of the authorities, or unset AWS_CA_BUNDLE to trust the system's")}
}
