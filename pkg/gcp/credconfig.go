package gcp

import (
	"net"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// CredConfig is the command line of gcloud's create-cred-config, flag by flag,
// as text. "" is a flag that was not given, but for those where an empty value
// has consequences: they have a field that says whether they were given.
type CredConfig struct {
	Provider string // AUDIENCE, the argument

	ServiceAccount      string // --service-account
	ServiceAccountGiven bool
	TokenLifetime       string // --service-account-token-lifetime-seconds: 3600, 12h, 1h30m, PT1H
	SubjectTokenType    string // --subject-token-type

	SourceFile      string // --credential-source-file
	SourceFileGiven bool
	SourceURL       string // --credential-source-url
	SourceURLGiven  bool
	SourceHeaders   []string // --credential-source-headers, each time that it is given: the last one counts
	SourceType      string   // --credential-source-type
	SourceFieldName string   // --credential-source-field-name

	ExecutableCommand      string // --executable-command
	ExecutableCommandGiven bool
	ExecutableTimeout      string // --executable-timeout-millis: 30000, 30s, 2m
	ExecutableOutputFile   string // --executable-output-file

	AWS          bool   // --aws
	EnableIMDSv2 bool   // --enable-imdsv2
	Azure        bool   // --azure
	AppIDURI     string // --app-id-uri

	CertPath             string // --credential-cert-path
	CertPathGiven        bool
	CertKeyPath          string // --credential-cert-private-key-path
	CertTrustChainPath   string // --credential-cert-trust-chain-path
	CertConfigOutputFile string // --credential-cert-configuration-output-file
	// CertConfigDefault is where the certificate's configuration goes without
	// CertConfigOutputFile: see CertConfigDefaultPath. "" makes that an error.
	CertConfigDefault string

	UniverseDomain string // --universe-domain; "" is googleapis.com

	// Empty names flags that were given with an empty value, without the dashes.
	Empty []string

	// Not gcloud's: base URLs of other services, which the file then names.
	STSEndpoint            string
	IAMCredentialsEndpoint string
}

// File is a file to write.
type File struct {
	Path    string // "": the credential configuration itself
	Content []byte
}

// Files returns the credential configuration, byte for byte as gcloud writes it,
// and for a certificate the second file that gcloud writes. What gcloud refuses,
// crashes on, or fails at with exit code 0 is a fault.Usage, and so is what makes
// a file that no client could use.
func (c CredConfig) Files() ([]File, error) {
	p, err := ParseProvider(c.Provider)
	if err != nil {
		return nil, err
	}
	if err := c.checkText(); err != nil {
		return nil, err
	}
	s, err := c.source(p)
	if err != nil {
		return nil, err
	}
	hosts, err := c.hosts(s.mtls)
	if err != nil {
		return nil, err
	}
	account, err := c.account(hosts)
	if err != nil {
		return nil, err
	}
	config := object{
		{"universe_domain", hosts.universe},
		{"type", "external_account"},
		{"audience", p.Audience()},
		{"subject_token_type", s.tokenType},
		{"token_url", hosts.sts + "/v1/token"},
		{"credential_source", s.members},
	}
	files := []File{{Content: append(config, account...).encode()}}
	return append(files, s.files...), nil
}

// account returns the members for the impersonation, or for access without it.
func (c CredConfig) account(h hosts) (object, error) {
	if c.ServiceAccount == "" {
		switch {
		case c.ServiceAccountGiven:
			return nil, fault.New(fault.Usage, "%s is empty", fault.Option("service-account")).
				Hint("a variable may be unset; for direct access, leave the option out (gcloud writes a configuration for direct access, and says nothing)")
		case c.TokenLifetime != "":
			return nil, fault.New(fault.Usage, "%s is for a service account's token: give %s", fault.Option("service-account-token-lifetime-seconds"), fault.Option("service-account"))
		}
		return object{{"token_info_url", h.sts + "/v1/introspect"}}, nil
	}
	if err := ServiceAccount(c.ServiceAccount); err != nil {
		return nil, err
	}
	members := object{{"service_account_impersonation_url", h.iam + "/v1/projects/-/serviceAccounts/" + c.ServiceAccount + ":generateAccessToken"}}
	if c.TokenLifetime == "" {
		return members, nil
	}
	seconds, err := parseLifetime(c.TokenLifetime)
	return append(members, member{"service_account_impersonation", object{{"token_lifetime_seconds", seconds}}}), err
}

// googleUniverse is the domain of the APIs unless another is given.
const googleUniverse = "googleapis.com"

// hosts are the services that the file names: base URLs without a slash at
// the end.
type hosts struct {
	universe, sts, iam string
	from               map[string]any // the option that named a host
}

func (c CredConfig) hosts(mtls bool) (hosts, error) {
	h := hosts{universe: c.UniverseDomain, from: map[string]any{}}
	if h.universe == "" {
		h.universe = googleUniverse
	}
	if h.universe != googleUniverse && !matches(hostName, h.universe) || clipWord(h.universe) != h.universe {
		return hosts{}, fault.New(fault.Usage, "%s %s is not a domain", fault.Option("universe-domain"), show(h.universe)).
			Hint("it is like googleapis.com")
	}
	domain := "." + h.universe
	if mtls {
		domain = ".mtls" + domain
	}
	h.sts, h.iam = "https://sts"+domain, "https://iamcredentials"+domain
	for _, e := range []struct {
		to     *string
		option fault.Option
		value  string
	}{{&h.sts, "sts-endpoint", c.STSEndpoint}, {&h.iam, "iamcredentials-endpoint", c.IAMCredentialsEndpoint}} {
		if e.value == "" {
			continue
		}
		if err := checkBase(e.option, e.value); err != nil {
			return hosts{}, err
		}
		*e.to = strings.TrimRight(e.value, "/")
		if u, err := url.Parse(e.value); err == nil {
			h.from[u.Host] = e.option
		}
	}
	return h, nil
}

// checkBase refuses the URL of a method where that of the service belongs: the method's
// path is added to it.
func checkBase(option fault.Option, value string) error {
	if err := checkEndpoint(option, value); err != nil {
		return err
	}
	u, err := url.Parse(value)
	if err != nil {
		return fault.New(fault.Usage, "%s is not a URL", option)
	}
	for _, method := range []string{"/v1", "/v1beta", "/token", "/introspect"} {
		if at := strings.Index(u.Path+"/", method+"/"); at >= 0 {
			u.Path = u.Path[:at]
			return fault.New(fault.Usage, "%s has a method's path at its end: give the service alone", option).
				Hint("use %s", u)
		}
	}
	return nil
}

// checkEndpoint refuses what a path cannot be added to. Whoever reads the file
// sends the job's token there, so plain HTTP must not leave this machine.
func checkEndpoint(option fault.Option, value string) error {
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https":
		return fault.New(fault.Usage, "%s is not a URL", option)
	case u.User != nil || strings.ContainsAny(value, "?#"):
		return fault.New(fault.Usage, "%s holds more than a scheme, a host and a path", option)
	case u.Scheme == "http" && u.Hostname() != "localhost" && !net.ParseIP(u.Hostname()).IsLoopback():
		return fault.New(fault.Usage, "%s is an http:// URL: the token would travel unencrypted", option).
			Hint("use https://; http:// is for this machine's loopback address")
	}
	return nil
}

// checkText refuses what JSON cannot hold: for a byte that is not UTF-8 gcloud
// writes a lone surrogate, and the clients then read another name.
func (c CredConfig) checkText() error {
	for _, f := range []struct {
		option fault.Option
		value  string
	}{
		{"subject-token-type", c.SubjectTokenType},
		{"credential-source-file", c.SourceFile},
		{"credential-source-url", c.SourceURL},
		{"credential-source-headers", strings.Join(c.SourceHeaders, "")},
		{"credential-source-field-name", c.SourceFieldName},
		{"executable-command", c.ExecutableCommand},
		{"executable-output-file", c.ExecutableOutputFile},
		{"app-id-uri", c.AppIDURI},
		{"credential-cert-path", c.CertPath},
		{"credential-cert-private-key-path", c.CertKeyPath},
		{"credential-cert-trust-chain-path", c.CertTrustChainPath},
		{"credential-cert-configuration-output-file", c.CertConfigOutputFile},
		{"sts-endpoint", c.STSEndpoint},
		{"iamcredentials-endpoint", c.IAMCredentialsEndpoint},
	} {
		if !utf8.ValidString(f.value) {
			return fault.New(fault.Usage, "%s is not UTF-8, and JSON holds nothing else", f.option)
		}
	}
	return nil
}
