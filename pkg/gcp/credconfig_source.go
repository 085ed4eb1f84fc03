package gcp

import (
	"path/filepath"
	"runtime"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// The subject token's types, and the address of a cloud machine's metadata.
const (
	subjectJWT  = "urn:ietf:params:oauth:token-type:jwt"
	subjectAWS  = "urn:ietf:params:aws:token-type:aws4_request"
	subjectMTLS = "urn:ietf:params:oauth:token-type:mtls"
	metadata    = "http://169.254.169.254"
)

// source is where the clients get the subject token from.
type source struct {
	tokenType string
	members   object
	mtls      bool
	files     []File
}

// source returns the one that is given.
func (c CredConfig) source(p Provider) (source, error) {
	flag, err := c.given()
	if err != nil {
		return source{}, err
	}
	if err := c.checkBeside(flag); err != nil {
		return source{}, err
	}
	headers, timeout, err := c.parse()
	if err != nil {
		return source{}, err
	}
	s := source{tokenType: c.SubjectTokenType}
	if s.tokenType == "" {
		s.tokenType = subjectJWT
	}
	switch flag {
	case "aws":
		return source{tokenType: subjectAWS, members: c.aws()}, nil
	case "azure":
		return source{tokenType: subjectJWT, members: c.azure(p)}, nil
	case "credential-cert-path":
		return c.certificate()
	case "executable-command":
		s.members = c.executable(timeout)
		return s, nil
	case "credential-source-url":
		s.members = object{{"url", c.SourceURL}}
		if len(headers) > 0 {
			s.members = append(s.members, member{"headers", headers})
		}
	default:
		s.members = object{{"file", c.SourceFile}}
	}
	format, err := c.format()
	if format != nil {
		s.members = append(s.members, member{"format", format})
	}
	return s, err
}

// parse reads what gcloud reads whatever the source is.
func (c CredConfig) parse() (headers object, timeout int, err error) {
	for _, h := range c.SourceHeaders { // each must be right, the last one counts
		if headers, err = parseHeaders(h); err != nil {
			return nil, 0, err
		}
	}
	timeout = 30000
	if c.ExecutableTimeout != "" {
		timeout, err = parseTimeout(c.ExecutableTimeout)
	}
	return headers, timeout, err
}

// given returns the flag of the one source.
func (c CredConfig) given() (fault.Option, error) {
	var given []fault.Option
	for _, s := range []struct {
		flag         fault.Option
		given, empty bool
	}{
		{"aws", c.AWS, false},
		{"azure", c.Azure, false},
		{"credential-cert-path", c.CertPathGiven || c.CertPath != "", c.CertPath == ""},
		{"credential-source-file", c.SourceFileGiven || c.SourceFile != "", c.SourceFile == ""},
		{"credential-source-url", c.SourceURLGiven || c.SourceURL != "", c.SourceURL == ""},
		{"executable-command", c.ExecutableCommandGiven || c.ExecutableCommand != "", strings.TrimSpace(c.ExecutableCommand) == ""},
	} {
		if s.given && s.empty {
			return "", fault.New(fault.Usage, "%s is empty", s.flag).Hint("a variable may be unset")
		}
		if s.given {
			given = append(given, s.flag)
		}
	}
	switch len(given) {
	case 0:
		return "", fault.New(fault.Usage, "no source of the token: give one of %s, %s, %s, %s, %s and %s", fault.Option("credential-source-file"), fault.Option("credential-source-url"), fault.Option("executable-command"), fault.Option("aws"), fault.Option("azure"), fault.Option("credential-cert-path"))
	case 1:
		return given[0], nil
	}
	return "", fault.New(fault.Usage, "%s are sources of the token: give one of them", fault.List(" and ", given...))
}

// checkBeside refuses what gcloud refuses beside the source.
func (c CredConfig) checkBeside(flag fault.Option) error {
	const certificate = fault.Option("credential-cert-path")
	for _, is := range []struct {
		wrong bool
		text  string
	}{
		{c.EnableIMDSv2 && !c.AWS, "{--enable-imdsv2} is for {--aws} alone"},
		{c.SourceType != "" && (c.AWS || c.Azure), "{--credential-source-type} does not go with {--" + string(flag) + "}, whose format is known"},
		{c.CertKeyPath == "" && flag == certificate, "{--credential-cert-path} needs the certificate's key: give {--credential-cert-private-key-path}"},
		{c.CertKeyPath != "" && flag != certificate, "{--credential-cert-private-key-path} is for {--credential-cert-path} alone"},
		{c.CertTrustChainPath != "" && flag != certificate, "{--credential-cert-trust-chain-path} is for {--credential-cert-path} alone"},
		{c.CertConfigOutputFile != "" && flag != certificate, "{--credential-cert-configuration-output-file} is for {--credential-cert-path} alone"},
	} {
		if is.wrong {
			return fault.New(fault.Usage, "%s", fault.Fill(is.text, nil))
		}
	}
	for _, name := range c.Empty {
		switch name {
		case "service-account-token-lifetime-seconds", "executable-timeout-millis",
			"credential-cert-trust-chain-path", "credential-cert-configuration-output-file":
			return fault.New(fault.Usage, "--%s is empty", name).Hint("a variable may be unset")
		}
	}
	return nil
}

// format says how the token lies in the file or the answer; nil: nobody said.
func (c CredConfig) format() (object, error) {
	switch strings.ToLower(c.SourceType) {
	case "":
		return nil, nil
	case "text":
		return object{{"type", "text"}}, nil
	case "json":
		if c.SourceFieldName == "" {
			return nil, fault.New(fault.Usage, "%s json needs the field that holds the token: give %s", fault.Option("credential-source-type"), fault.Option("credential-source-field-name"))
		}
		return object{{"type", "json"}, {"subject_token_field_name", c.SourceFieldName}}, nil
	}
	return nil, fault.New(fault.Usage, "%s %s is neither json nor text", fault.Option("credential-source-type"), show(c.SourceType))
}

func (c CredConfig) executable(timeout int) object {
	command := object{{"command", c.ExecutableCommand}, {"timeout_millis", timeout}}
	if c.ExecutableOutputFile != "" {
		command = append(command, member{"output_file", c.ExecutableOutputFile})
	}
	return object{{"executable", command}}
}

func (c CredConfig) aws() object {
	members := object{
		{"environment_id", "aws1"},
		{"region_url", metadata + "/latest/meta-data/placement/availability-zone"},
		{"url", metadata + "/latest/meta-data/iam/security-credentials"},
		{"regional_cred_verification_url", "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15"},
	}
	if c.EnableIMDSv2 {
		members = append(members, member{"imdsv2_session_token_url", metadata + "/latest/api/token"})
	}
	return members
}

func (c CredConfig) azure(p Provider) object {
	resource := c.AppIDURI
	if resource == "" {
		resource = "https://iam.googleapis.com/" + p.String()
	}
	return object{
		{"url", metadata + "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=" + resource},
		{"headers", object{{"Metadata", "True"}}},
		{"format", object{{"type", "json"}, {"subject_token_field_name", "access_token"}}},
	}
}

// certificate names the certificate in a file of its own, which gcloud puts
// where the clients look when the configuration names no other place.
func (c CredConfig) certificate() (source, error) {
	path, location := c.CertConfigOutputFile, member{"certificate_config_location", c.CertConfigOutputFile}
	if path == "" {
		path, location = c.CertConfigDefault, member{"use_default_certificate_config", true}
	}
	if path == "" {
		return source{}, fault.New(fault.Usage, "no place for the certificate's configuration: give %s", fault.Option("credential-cert-configuration-output-file"))
	}
	members := object{location}
	if c.CertTrustChainPath != "" {
		members = append(members, member{"trust_chain_path", c.CertTrustChainPath})
	}
	workload := object{{"cert_path", c.CertPath}, {"key_path", c.CertKeyPath}}
	return source{
		tokenType: subjectMTLS,
		members:   object{{"certificate", members}},
		mtls:      true,
		files:     []File{{Path: path, Content: object{{"cert_configs", object{{"workload", workload}}}}.encode()}},
	}, nil
}

// CertConfigDefaultPath returns where gcloud and the clients have the
// certificate's configuration that no file names; "" when there is no home.
func CertConfigDefaultPath(getenv func(string) string) string {
	dir := gcloudDir(getenv)
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, "certificate_config.json")
}

// gcloudDir is where gcloud keeps its files; "" when there is no home.
func gcloudDir(getenv func(string) string) string {
	if dir := getenv("CLOUDSDK_CONFIG"); dir != "" {
		return dir
	}
	parent := filepath.Join(getenv("HOME"), ".config")
	if runtime.GOOS == "windows" {
		parent = getenv("APPDATA")
	}
	if !filepath.IsAbs(parent) {
		return ""
	}
	return filepath.Join(parent, "gcloud")
}

// Notes say which flags gcloud takes and ignores, and this program with it, for
// the file is the same.
func (c CredConfig) Notes() []fault.Message {
	read := c.SourceFile != "" || c.SourceURL != ""
	machine := c.AWS || c.Azure || c.CertPath != ""
	var notes []fault.Message
	for _, n := range []struct {
		ignored bool
		text    string
	}{
		{len(c.SourceHeaders) > 1, "{--credential-source-headers} is given more than once: as with gcloud, the last one counts"},
		{len(c.SourceHeaders) > 0 && c.SourceURL == "", "{--credential-source-headers} is ignored: it is for {--credential-source-url}"},
		{c.SourceType != "" && !read, "{--credential-source-type} is ignored: it is for {--credential-source-file} and {--credential-source-url}"},
		{c.SourceFieldName != "" && (!read || !strings.EqualFold(c.SourceType, "json")), "{--credential-source-field-name} is ignored: it is for {--credential-source-type} json"},
		{c.SubjectTokenType != "" && machine, "{--subject-token-type} is ignored: the source has a type of its own"},
		{c.AppIDURI != "" && !c.Azure, "{--app-id-uri} is ignored: it is for {--azure}"},
		{c.ExecutableTimeout != "" && c.ExecutableCommand == "", "{--executable-timeout-millis} is ignored: it is for {--executable-command}"},
		{c.ExecutableOutputFile != "" && c.ExecutableCommand == "", "{--executable-output-file} is ignored: it is for {--executable-command}"},
	} {
		if n.ignored {
			notes = append(notes, fault.Fill(n.text, nil))
		}
	}
	return notes
}
