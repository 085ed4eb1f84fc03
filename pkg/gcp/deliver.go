package gcp

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/child"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/pkg/internal/undo"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// Files are what Google's tools read: the credential configuration, and the
// token that it names.
type Files struct {
	Config string // absolute
	Token  string // absolute; "" when a program is the token's source
	// Boto is what makes gsutil use the configuration; absolute, "" for outputs that
	// export no variables.
	Boto string
}

// FindFiles returns where the files go: the configuration where output says,
// else into the directory of this program's files; the token always into that
// directory, so that it never lies in a checkout. Two providers or audiences
// have two tokens. It is a fault.Local when there is no home.
func FindFiles(getenv func(string) string, output, provider string, t oidc.Token) (Files, error) {
	dir := getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(dir) { // as the XDG base directory specification has it
		home := getenv("HOME")
		if home == "" {
			home = getenv("USERPROFILE") // Windows
		}
		if home == "" {
			return Files{}, fault.New(fault.Local, "no home directory: HOME is not set").Hint("set HOME or XDG_CONFIG_HOME")
		}
		dir = filepath.Join(home, ".config")
	}
	dir = filepath.Join(dir, "oidc-broker", "gcp")
	f := Files{Config: output, Token: filepath.Join(dir, "token-"+digest(append([]string{provider}, t.Audience...)...))}
	if f.Config == "" {
		f.Config = filepath.Join(dir, "credentials.json")
	}
	f.Boto = filepath.Join(dir, botoPrefix+digest(f.Config)+botoSuffix)
	for _, p := range []*string{&f.Config, &f.Token, &f.Boto} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return Files{}, fault.New(fault.Local, "cannot find %q: %w", *p, err)
		}
		*p = abs
	}
	return f, nil
}

// digest is a name for what the words say.
func digest(words ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(words, "\x00")))
	return hex.EncodeToString(sum[:6])
}

// An Executable is the program that a credential configuration names as the
// token's source: this one.
type Executable struct {
	Path string   // absolute
	Args []string // without the program
}

// command is the line for the configuration. The clients split it at white
// space and know no quotes.
func (e Executable) command() (string, error) {
	for _, word := range append([]string{e.Path}, e.Args...) {
		if word == "" || strings.ContainsAny(word, " \t\r\n\"'\\") {
			return "", fault.New(fault.Usage, "%q cannot stand in a credential configuration: Google's libraries split the line at spaces and know no quotes", word).
				Hint("use %s file, or a path without them", fault.Option("source"))
		}
	}
	return strings.Join(append([]string{e.Path}, e.Args...), " "), nil
}

// Write returns the edits that put the configuration there, and with it the
// token's file, unless by is the token's source.
func (x *Exchange) Write(f Files, t oidc.Token, by *Executable) ([]files.Edit, error) {
	c := CredConfig{Provider: x.Provider.String(), ServiceAccount: x.ServiceAccount, ServiceAccountGiven: x.ServiceAccount != "", UniverseDomain: x.universe}
	if x.lifetime > 0 {
		c.TokenLifetime = strconv.Itoa(int(x.lifetime / time.Second))
	}
	if x.custom {
		c.STSEndpoint, c.IAMCredentialsEndpoint = x.sts, x.iam
	}
	edits, err := c.WithSource(f, t, by)
	if err == nil && f.Boto != "" {
		edits = append(edits, x.botoEdit(f, t))
	}
	return edits, err
}

// Edits returns the edits that put a configuration there that is described
// wholly by gcloud's flags.
func (c CredConfig) Edits(f Files) ([]files.Edit, error) {
	made, err := c.Files()
	if err != nil {
		return nil, err
	}
	var edits []files.Edit
	for _, m := range made {
		path := m.Path
		switch {
		case path == "":
			path = f.Config
		case filepath.Clean(path) == filepath.Clean(f.Config):
			return nil, fault.New(fault.Usage, "%s and %s name the same file", fault.Option("credential-cert-configuration-output-file"), fault.Option("output-file"))
		}
		edits = append(edits, files.Edit{Path: path, Private: true, Apply: content(m.Content)})
	}
	return edits, nil
}

// WithSource returns the edits for a configuration that gcloud's flags describe
// but for its source: the program, or the token's file, which is written too. The
// token has no newline at its end, as some clients would send it along.
func (c CredConfig) WithSource(f Files, t oidc.Token, by *Executable) ([]files.Edit, error) {
	var edits []files.Edit
	if by != nil {
		command, err := by.command()
		if err != nil {
			return nil, err
		}
		c.ExecutableCommand, c.ExecutableCommandGiven = command, true
	} else {
		c.SourceFile, c.SourceFileGiven = f.Token, true
		edits = append(edits, files.Edit{
			Path: f.Token, Private: true, Apply: content([]byte(t.Raw.Reveal())),
			Mark: undo.Mark{Secrets: undo.Digests(t.Raw)},
		})
	}
	config, err := c.Edits(f)
	return append(edits, config...), err
}

func content(b []byte) func([]byte) ([]byte, error) {
	return func([]byte) ([]byte, error) { return b, nil }
}

// Environment returns the variables by which gcloud, gsutil, Terraform and every client
// library find the configuration, with no 'gcloud auth login', and those that would
// take precedence over it.
func (x *Exchange) Environment(f Files, m Machine) child.Environment {
	e := child.Environment{
		Set: []child.Var{
			exported("GOOGLE_APPLICATION_CREDENTIALS", f.Config),
			exported("CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE", f.Config),
		},
		Unset: append(ConflictingVariables(), "BOTO_CONFIG"),
	}
	if f.Token == "" {
		// The libraries run no program that is not allowed expressly.
		e.Set = append(e.Set, exported("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES", "1"))
	}
	if x.ProjectID != "" {
		for _, name := range projectVariables {
			e.Set = append(e.Set, exported(name, x.ProjectID))
		}
	}
	e.Set = append(e.Set, m.botoEnvironment(f)...)
	e.Set = append(e.Set, x.neutralized(m)...)
	return e
}

// projectVariables are what the tools take their project from: GOOGLE_PROJECT is
// Terraform's first choice.
var projectVariables = []string{"GOOGLE_CLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT", "CLOUDSDK_PROJECT", "GCLOUD_PROJECT", "GCP_PROJECT", "GOOGLE_PROJECT"}

// HasProject says whether the environment names a project to the tools.
func (m Machine) HasProject() bool {
	return slices.ContainsFunc(projectVariables, func(name string) bool { return m.getenv(name) != "" })
}

func exported(name, value string) child.Var {
	return child.Var{Name: name, Value: secret.New(value)}
}

// ExecutableAnswer is what an executable source prints (AIP-4117): the token,
// of the type that was asked for in GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE.
func ExecutableAnswer(t oidc.Token, asked string) ([]byte, error) {
	if asked == "" {
		asked = subjectJWT
	}
	return json.Marshal(map[string]any{
		"version": 1, "success": true, "token_type": asked, "id_token": t.Raw.Reveal(), "expiration_time": t.Expiry.Unix(),
	})
}

// ExecutableRefusal is what it prints when there is no token: the clients read
// the text from here alone, and log it, so clean is asked what of it may be seen. The
// code is text by the protocol.
func ExecutableRefusal(message string, hints []string, kind fault.Kind, clean func(string) string) []byte {
	if len(hints) > 0 {
		message += " (" + strings.Join(hints, "; ") + ")"
	}
	b, merr := json.Marshal(map[string]any{"version": 1, "success": false, "code": strconv.Itoa(int(kind)), "message": clean(message)})
	if merr != nil { // it holds text alone
		return []byte(`{"version":1,"success":false,"code":"1","message":"internal"}`)
	}
	return b
}
