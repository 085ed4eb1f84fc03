package cli

import (
	"reflect"
	"slices"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// The file of 'oidc-broker apply'. docs/apply.schema.json says the same to
// editors, and a test holds the two together. Keys are the names of options. The
// tag leave is for values that may hold what looks like a variable, oneof for those
// of which there are a few. The tags decides and from are for what an author who is
// not trusted may not say (apply_trust.go): what it decides, and the option or the
// variables by which the job says it.

// applyFile is the whole of it.
type applyFile struct {
	standing
	Version    number       `yaml:"version"`
	applyToken              // for all targets
	AWS        []applyAWS   `yaml:"aws"`
	GCP        []applyGCP   `yaml:"gcp"`
	Vault      []applyVault `yaml:"vault"`
}

// applyVersion is the one version of the file that there is.
const applyVersion = "1"

// applyToken chooses the job's token. What a target says goes over what the file
// says.
type applyToken struct {
	TokenEnv       entry   `yaml:"token-env" decides:"which token is sent" from:"--token-env"`
	TokenFile      entry   `yaml:"token-file" decides:"which token is sent" from:"--token-file"`
	Audience       entry   `yaml:"audience" decides:"the token's audience" from:"--audience"`
	TokenVersion   entry   `yaml:"token-version" oneof:"v1 v2"`
	RequireClaim   []entry `yaml:"require-claim"`
	RefuseSSHRerun toggle  `yaml:"refuse-ssh-rerun"`
	MinValidity    number  `yaml:"min-validity"`
}

type applyAWS struct {
	standing
	Name             entry    `yaml:"name"`
	Profile          entry    `yaml:"profile"`
	Mode             entry    `yaml:"mode" oneof:"static process"`
	RoleARN          entry    `yaml:"role-arn"`
	Via              entry    `yaml:"via"`
	Region           entry    `yaml:"region"`
	SessionDuration  number   `yaml:"session-duration"`
	RoleSessionName  entry    `yaml:"role-session-name"`
	Policy           entry    `yaml:"policy" leave:"yes"` // ${aws:username}
	PolicyARN        []entry  `yaml:"policy-arn"`
	ChainRoleARN     []entry  `yaml:"chain-role-arn"`
	ExternalID       []entry  `yaml:"external-id"`
	SessionTag       []entry  `yaml:"session-tag"`
	TransitiveTagKey []entry  `yaml:"transitive-tag-key"`
	SourceIdentity   entry    `yaml:"source-identity"`
	AllowedAccountID []number `yaml:"allowed-account-id"`
	applyToken
}

type applyGCP struct {
	standing
	Name                     entry   `yaml:"name"`
	WorkloadIdentityProvider entry   `yaml:"workload-identity-provider"`
	ServiceAccount           entry   `yaml:"service-account"`
	Delegate                 []entry `yaml:"delegate"`
	Scope                    []entry `yaml:"scope"`
	TokenLifetime            number  `yaml:"token-lifetime"`
	UniverseDomain           entry   `yaml:"universe-domain" decides:"who receives the token" from:"CLOUDSDK_CORE_UNIVERSE_DOMAIN GOOGLE_CLOUD_UNIVERSE_DOMAIN"`
	STSEndpoint              entry   `yaml:"sts-endpoint" decides:"who receives the token" from:"CLOUDSDK_API_ENDPOINT_OVERRIDES_STS"`
	IAMCredentialsEndpoint   entry   `yaml:"iamcredentials-endpoint" decides:"who receives the token" from:"CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS"`
	Source                   entry   `yaml:"source" oneof:"file executable"`
	OutputFile               entry   `yaml:"output-file"`
	Configuration            entry   `yaml:"configuration"` // of gcloud
	ProjectID                entry   `yaml:"project-id"`
	applyToken
}

type applyVault struct {
	standing
	Name          entry    `yaml:"name"`
	VaultAddr     entry    `yaml:"vault-addr" decides:"who receives the token" from:"BAO_ADDR VAULT_ADDR"`
	Role          entry    `yaml:"role"`
	AuthPath      entry    `yaml:"auth-path"`
	Namespace     entry    `yaml:"namespace"`
	AuthNamespace entry    `yaml:"auth-namespace"`
	CACert        entry    `yaml:"ca-cert" decides:"who receives the token" from:"--ca-cert"`
	CAPath        entry    `yaml:"ca-path" decides:"who receives the token" from:"--ca-path"`
	ClientCert    entry    `yaml:"client-cert" decides:"the client's identity" from:"--client-cert"`
	ClientKey     entry    `yaml:"client-key" decides:"the client's identity" from:"--client-key"`
	TLSServerName entry    `yaml:"tls-server-name" decides:"who receives the token" from:"--tls-server-name"`
	ClientTimeout number   `yaml:"client-timeout"`
	MaxRetries    number   `yaml:"max-retries"`
	Secret        []entry  `yaml:"secret"`
	Write         []entry  `yaml:"write"`
	KVVersion     []number `yaml:"kv-version"`
	WrapTTL       number   `yaml:"wrap-ttl"`
	OutputFile    entry    `yaml:"output-file"`                                               // of the token
	SecretsFile   entry    `yaml:"secrets-file"`                                              // of the secrets
	SecretsFormat entry    `yaml:"secrets-format" oneof:"sh fish powershell cmd dotenv json"` // of that file
	applyToken
}

func (*applyFile) what() string  { return "the file" }
func (*applyAWS) what() string   { return "an aws target" }
func (*applyGCP) what() string   { return "a gcp target" }
func (*applyVault) what() string { return "a vault target" }

// parseApply reads the file. Errors are fault.Usage, with line and column.
func parseApply(b []byte) (*applyFile, error) {
	var f applyFile
	if err := readYAML(b, &f); err != nil {
		return nil, err
	}
	switch {
	case !f.Version.given():
		return nil, misplaced(f.at, "the file does not say its version").Hint("begin it with version: %s", applyVersion)
	case f.Version.text != applyVersion:
		return nil, misplaced(f.Version.at, "version %q of the file is not known", f.Version.text).Hint("this oidc-broker knows version %s", applyVersion)
	case len(f.AWS)+len(f.GCP)+len(f.Vault) == 0:
		return nil, misplaced(f.at, "the file has no target").Hint("targets are lists under aws, gcp and vault: see docs/configuration.md")
	}
	return &f, nil
}

func texts[E interface{ content() entry }](all []E) []string {
	var values []string
	for _, e := range all {
		values = append(values, e.content().text)
	}
	return values
}

// A keyed is an entry with its key.
type keyed struct {
	slot
	entry
}

// entriesOf are the entries of a mapping, each of a list for itself, in the order
// of its struct.
func entriesOf(m mapping) []keyed {
	var all []keyed
	eachKey(reflect.ValueOf(m).Elem(), func(s slot) {
		values := []reflect.Value{s.Value}
		if s.Kind() == reflect.Slice {
			values = nil
			for i := range s.Len() {
				values = append(values, s.Index(i))
			}
		}
		for _, v := range values {
			if e, ok := v.Interface().(interface{ content() entry }); ok && e.content().given() {
				all = append(all, keyed{s, e.content()})
			}
		}
	})
	return all
}

// optionNames is how the options of a mapping are called: by their keys, unless a variable
// gave the value. What is no key of it is an option of the command, as all are of nil.
func (p *plan) optionNames(m mapping) fault.Naming {
	return func(o fault.Option) string {
		if m == nil {
			return p.given(o)
		}
		switch variable := p.taken[o]; {
		case variable != "" && !slices.ContainsFunc(entriesOf(m), func(k keyed) bool { return k.name == string(o) }):
			return variable
		case hasKey(m, o):
			return string(o)
		}
		return p.given(o)
	}
}

// keys is how hints call them, about what is still to be given.
func keys(m mapping) fault.Naming {
	return func(o fault.Option) string {
		if hasKey(m, o) {
			return string(o)
		}
		return asFlags(o)
	}
}

func hasKey(m mapping, o fault.Option) bool {
	found := false
	if m == nil {
		return false
	}
	eachKey(reflect.ValueOf(m).Elem(), func(s slot) { found = found || s.name == string(o) })
	return found
}

// inTermsOf is an error about a mapping in its keys. What it begins with is not the
// error's own. The first of several says that nothing was written.
func (p *plan) inTermsOf(m mapping, subject string, err error, first bool) *fault.Error {
	e := fault.New(fault.KindOf(err), "%s%s", subject, p.optionNames(m).Text(err))
	if first {
		e.Hint("%s", nothingWritten)
	}
	return withHints(e, m, err)
}

const nothingWritten = "nothing was written"

func withHints(e *fault.Error, m mapping, err error) *fault.Error {
	for _, h := range keys(m).Hints(err) {
		e.Hint("%s", h)
	}
	for _, d := range keys(m).Details(err) {
		e.Detail("%s", d)
	}
	return e
}

// locatedIn puts an error about a mapping's options where the file has them.
func (p *plan) locatedIn(m mapping, whose string, err error) error {
	text := whose + ": " + p.optionNames(m).Text(err)
	return withHints(fault.New(fault.KindOf(err), "%w", misplacement{placeFor(m, err), text}), m, err)
}

// placeFor is where the value stands that an error is about: the option's, and of a
// list the value that the error names. Else it is where the mapping begins.
func placeFor(m mapping, err error) place {
	option, value := fault.OptionOf(err)
	quoted, _ := fault.Arguments(err)
	at := *m.place()
	found := false
	for _, e := range entriesOf(m) {
		switch {
		case e.name != string(option):
		case e.text == value || value == "" && slices.Contains(quoted, e.text):
			return e.at
		case !found:
			at, found = e.at, true
		}
	}
	return at
}
