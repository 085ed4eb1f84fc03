package gcp

import (
	"encoding/json"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// Credentials is what a file says that GOOGLE_APPLICATION_CREDENTIALS names, as far
// as one needs to know it to tell where it leads. It holds no secret.
type Credentials struct {
	Type string // "external_account", "service_account", "authorized_user", ...
	// Key says that there is a private key or a refresh token in it, which does
	// not end by itself.
	Key bool
	// URLs are where its readers send tokens to, by the name of the member.
	URLs map[string]string

	// Of an external account, the source of the token: one of these.
	File       string // a file
	Field      string // of the JSON object in File; "": File holds the token alone
	Executable string // a command line
	Elsewhere  string // a source that asks a server, by its name
}

// MaxConfiguration bounds what is read of a credential configuration.
const MaxConfiguration = 1 << 20

// ReadCredentials reads such a file. What is no JSON object with a type is a
// fault.Local, which shows nothing of it.
func ReadCredentials(text []byte) (Credentials, error) {
	var f struct {
		Type         string          `json:"type"`
		PrivateKey   json.RawMessage `json:"private_key"`
		RefreshToken json.RawMessage `json:"refresh_token"`
		TokenURL     string          `json:"token_url"`
		TokenURI     string          `json:"token_uri"`
		Impersonate  string          `json:"service_account_impersonation_url"`
		Source       struct {
			File        string          `json:"file"`
			URL         string          `json:"url"`
			Environment string          `json:"environment_id"`
			Certificate json.RawMessage `json:"certificate"`
			Executable  struct {
				Command string `json:"command"`
			} `json:"executable"`
			Format struct {
				Type  string `json:"type"`
				Field string `json:"subject_token_field_name"`
			} `json:"format"`
		} `json:"credential_source"`
	}
	if json.Unmarshal(text, &f) != nil {
		return Credentials{}, fault.New(fault.Local, "not the JSON of Google credentials").
			Hint("it is a JSON object with a \"type\"; if the variable or the file was base64, decode it")
	}
	if f.Type == "" {
		return Credentials{}, fault.New(fault.Local, "JSON without a \"type\", so no Google credentials")
	}
	c := Credentials{
		Type: f.Type, Key: len(f.PrivateKey) > 0 || len(f.RefreshToken) > 0, URLs: map[string]string{},
		File: f.Source.File, Executable: f.Source.Executable.Command,
	}
	for name, url := range map[string]string{"token_url": f.TokenURL, "token_uri": f.TokenURI, "service_account_impersonation_url": f.Impersonate} {
		if url != "" {
			c.URLs[name] = url
		}
	}
	if strings.EqualFold(f.Source.Format.Type, "json") {
		c.Field = f.Source.Format.Field
	}
	switch {
	case f.Source.Environment != "":
		c.Elsewhere = "the metadata of an AWS machine"
	case f.Source.URL != "":
		c.Elsewhere = "a URL"
	case len(f.Source.Certificate) > 0:
		c.Elsewhere = "a certificate"
	}
	return c, nil
}

// Subject returns the token that a file holds that Credentials name, as Google's
// libraries take it from there: with what is around it. It is a fault.Local when
// there is none.
func (c Credentials) Subject(text []byte) (string, error) {
	if c.Field == "" {
		return string(text), nil
	}
	var members map[string]json.RawMessage
	var token string
	if json.Unmarshal(text, &members) != nil {
		return "", fault.New(fault.Local, "not the JSON object that the configuration says it is")
	}
	if json.Unmarshal(members[c.Field], &token) != nil || token == "" {
		return "", fault.New(fault.Local, "lacks the field that the configuration has the token in")
	}
	return token, nil
}

// CheckProjectNumber refuses what is no project's number, as a fault.Usage.
func CheckProjectNumber(number string) error { return checkNumber(number) }

// Endpoints are where the two services are that an exchange calls.
func (o Options) Endpoints() (sts, iamCredentials string, err error) {
	x := &Exchange{}
	err = o.settleEndpoints(x)
	return x.sts, x.iam, err
}
