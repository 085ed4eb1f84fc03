package cli

import (
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/fault"
)

// The file of 'oidc-broker apply'. docs/apply.schema.json says the same to
// editors, and a test holds the two together. Keys are the names of options. The
// tag leave is for values that may hold what looks like a variable.

// applyFile is the whole of it.
type applyFile struct {
	At      place
	Version number       `yaml:"version"`
	Token   applyToken   `yaml:"token"` // for all targets
	AWS     []applyAWS   `yaml:"aws"`
	GCP     []applyGCP   `yaml:"gcp"`
	Vault   []applyVault `yaml:"vault"`
}

// applyVersion is the one version of the file that there is.
const applyVersion = "1"

// applyToken chooses the job's token. A target's own goes over the file's.
type applyToken struct {
	At             place
	TokenEnv       entry   `yaml:"token-env"`
	TokenFile      entry   `yaml:"token-file"`
	Audience       entry   `yaml:"audience"`
	TokenVersion   entry   `yaml:"token-version"`
	RequireClaim   []entry `yaml:"require-claim"`
	RefuseSSHRerun toggle  `yaml:"refuse-ssh-rerun"`
	MinValidity    number  `yaml:"min-validity"`
}

type applyAWS struct {
	At               place
	Name             entry      `yaml:"name"`
	Profile          entry      `yaml:"profile"`
	Mode             entry      `yaml:"mode"`
	RoleARN          entry      `yaml:"role-arn"`
	Via              entry      `yaml:"via"`
	Region           entry      `yaml:"region"`
	SessionDuration  number     `yaml:"session-duration"`
	RoleSessionName  entry      `yaml:"role-session-name"`
	Policy           entry      `yaml:"policy" leave:"yes"` // ${aws:username}
	PolicyARN        []entry    `yaml:"policy-arn"`
	ChainRoleARN     []entry    `yaml:"chain-role-arn"`
	ExternalID       entry      `yaml:"external-id"`
	AllowedAccountID []number   `yaml:"allowed-account-id"`
	Token            applyToken `yaml:"token"`
}

type applyGCP struct {
	At                       place
	Name                     entry      `yaml:"name"`
	WorkloadIdentityProvider entry      `yaml:"workload-identity-provider"`
	ServiceAccount           entry      `yaml:"service-account"`
	Delegate                 []entry    `yaml:"delegate"`
	Scope                    []entry    `yaml:"scope"`
	TokenLifetime            number     `yaml:"token-lifetime"`
	UniverseDomain           entry      `yaml:"universe-domain"`
	STSEndpoint              entry      `yaml:"sts-endpoint"`
	IAMCredentialsEndpoint   entry      `yaml:"iamcredentials-endpoint"`
	Source                   entry      `yaml:"source"`
	OutputFile               entry      `yaml:"output-file"`
	Token                    applyToken `yaml:"token"`
}

type applyVault struct {
	At            place
	Name          entry      `yaml:"name"`
	VaultAddr     entry      `yaml:"vault-addr"`
	Role          entry      `yaml:"role"`
	AuthPath      entry      `yaml:"auth-path"`
	Namespace     entry      `yaml:"namespace"`
	AuthNamespace entry      `yaml:"auth-namespace"`
	CACert        entry      `yaml:"ca-cert"`
	CAPath        entry      `yaml:"ca-path"`
	ClientCert    entry      `yaml:"client-cert"`
	ClientKey     entry      `yaml:"client-key"`
	TLSServerName entry      `yaml:"tls-server-name"`
	ClientTimeout number     `yaml:"client-timeout"`
	MaxRetries    number     `yaml:"max-retries"`
	Secret        []entry    `yaml:"secret"`
	Write         []entry    `yaml:"write"`
	KVVersion     []number   `yaml:"kv-version"`
	WrapTTL       number     `yaml:"wrap-ttl"`
	OutputFile    entry      `yaml:"output-file"`    // of the token
	SecretsFile   entry      `yaml:"secrets-file"`   // of the secrets
	SecretsFormat entry      `yaml:"secrets-format"` // of that file
	Token         applyToken `yaml:"token"`
}

func (*applyFile) what() string  { return "the file" }
func (*applyToken) what() string { return "token" }
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
	case f.Version.text == "":
		return nil, misplaced(f.At, "the file does not say its version").Hint("begin it with version: %s", applyVersion)
	case f.Version.text != applyVersion:
		return nil, misplaced(f.Version.at, "version %q of the file is not known", f.Version.text).Hint("this oidc-broker knows version %s", applyVersion)
	case len(f.AWS)+len(f.GCP)+len(f.Vault) == 0:
		return nil, misplaced(f.At, "the file has no target").Hint("targets are lists under aws, gcp and vault: see docs/configuration.md")
	}
	return &f, nil
}

// given says that the file has a value for the key.
func (e entry) given() bool { return e.at.line > 0 }

func (e entry) content() entry { return e }

func texts[E interface{ content() entry }](all []E) []string {
	var values []string
	for _, e := range all {
		values = append(values, e.content().text)
	}
	return values
}

// placesOf says where the values of a mapping's keys stand, the first of each.
func placesOf(v described) map[string]place {
	all := map[string]place{}
	s := reflect.ValueOf(v).Elem()
	for i := range s.NumField() {
		name := s.Type().Field(i).Tag.Get("yaml")
		f := s.Field(i)
		if f.Kind() == reflect.Slice && f.Len() > 0 {
			f = f.Index(0)
		}
		if e, ok := f.Interface().(interface{ content() entry }); ok && name != "" && e.content().given() {
			all[name] = e.content().at
		}
	}
	return all
}

// flagLike is how the providers name an option.
const flagLike = `--[a-z][a-z-]*[a-z]`

// located puts an error about options where the file has them: the providers speak
// of flags, of which there is none here. The first that the error names and the
// mapping has is the one that is wrong; else the whole target is.
func located(err error, whose string, at place, of ...described) error {
	var keys []string
	where := map[string]place{}
	for _, v := range of {
		keys = append(keys, keysOf(reflect.TypeOf(v).Elem())...)
		maps.Copy(where, placesOf(v))
	}
	flags := regexp.MustCompile(flagLike)
	found := false
	key := func(flag string) string {
		name := strings.TrimPrefix(flag, "--")
		if !slices.Contains(keys, name) {
			return flag
		}
		if p, ok := where[name]; ok && !found {
			at, found = p, true
		}
		return name
	}
	text := flags.ReplaceAllStringFunc(err.Error(), key)
	e := fault.New(fault.KindOf(err), "line %d, column %d: %s: %s", at.line, at.column, whose, text)
	for _, h := range fault.Hints(err) {
		_ = e.Hint("%s", flags.ReplaceAllStringFunc(h, key))
	}
	return e
}
