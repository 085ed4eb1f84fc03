package jwtrole

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/policy"
)

const (
	setupTTL    = 900  // seconds: time for a job's first requests; it can be renewed
	setupMaxTTL = 3600 // seconds

	pathForm = `^[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$`
	nameForm = `^[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?$`
)

// A Setup is the trust of a Vault or OpenBao server in a job's tokens.
type Setup struct {
	policy.Job
	AuthPath string // of the JWT auth mount; empty: jwt
	Role     string // empty: deploy
	Policy   string // of the role's tokens; empty: as the role is called
}

// Formats returns the formats that Write knows.
func Formats() []string { return []string{"json", "terraform", "cli"} }

// Write returns the set-up in a format: for Vault's API (json: an object with
// the mount's configuration and the role), Terraform, or the Vault CLI.
func (s Setup) Write(format string) (policy.Setup, error) {
	s, err := s.settle()
	if err != nil {
		return policy.Setup{}, err
	}
	write := map[string]func(Setup) []byte{"json": Setup.json, "terraform": Setup.terraform, "cli": Setup.cli}[format]
	if write == nil {
		return policy.Setup{}, fault.New(fault.Usage, "unknown format %q", format).Hint("known are %s", strings.Join(Formats(), ", "))
	}
	return policy.Setup{Text: write(s), Notes: s.notes(format)}, nil
}

func (s Setup) settle() (Setup, error) {
	var err error
	if s.Job, err = s.Resolve(); err != nil {
		return s, err
	}
	s.AuthPath = strings.TrimSuffix(s.AuthPath, "/")
	for _, f := range []struct {
		value             *string
		byDefault, option string
		form, hint        string
	}{
		{&s.AuthPath, "jwt", "--auth-path", pathForm, "it is the path of the mount, as vault auth list shows it"},
		{&s.Role, "deploy", "--role", nameForm, "the server keeps the names of roles in lower case"},
		{&s.Policy, "", "--policy", nameForm, "the server keeps the names of policies in lower case"},
	} {
		if *f.value == "" {
			*f.value = f.byDefault
		}
		if *f.value == "" {
			*f.value = s.Role
		}
		if !regexp.MustCompile(f.form).MatchString(*f.value) {
			return s, fault.New(fault.Usage, "%s %q is no name that Vault takes", f.option, *f.value).Hint("%s", f.hint)
		}
	}
	switch {
	case strings.TrimSpace(s.Audience) != s.Audience:
		return s, fault.New(fault.Usage, "--audience %q has white space at an end, which Vault takes away", s.Audience)
	case s.AuthPath == "auth" || strings.HasPrefix(s.AuthPath, "auth/"):
		return s, fault.New(fault.Usage, "--auth-path %q begins with auth/, which is in front of every mount's path", s.AuthPath).
			Hint("leave auth/ out")
	case s.AuthPath == "token" || strings.HasPrefix(s.AuthPath, "token/"):
		return s, fault.New(fault.Usage, "--auth-path %q is where the server's tokens are", s.AuthPath)
	case s.Policy == "root" || s.Policy == "response-wrapping":
		return s, fault.New(fault.Usage, "--policy %q: the server gives no job a token with this policy", s.Policy)
	}
	return s, nil
}

func (s Setup) issuer() string { return ci.OrgIssuer(s.Org) }

// A member is a member of an object, in the order in which it is written.
type member struct {
	name  string
	value any // string, int, bool, []string, []member
}

func (s Setup) config() []member {
	return []member{
		{"oidc_discovery_url", s.issuer()},
		// One key signs for all organisations: without this, their jobs get in.
		{"bound_issuer", s.issuer()},
		{"jwt_supported_algs", []string{"RS256"}},
	}
}

// role binds the single claims, never the subject, in which a branch's name can
// hold whatever follows.
func (s Setup) role() []member {
	claims := []member{{policy.ClaimProject, s.Project}}
	if s.VCSOrigin != "" {
		claims = append(claims, member{policy.ClaimOrigin, s.VCSOrigin})
	}
	if s.VCSRef != "" {
		claims = append(claims, member{policy.ClaimRef, s.VCSRef})
	}
	claims = append(claims, member{policy.ClaimSSHRerun, false})
	return []member{
		{"role_type", typeJWT},
		{"bound_audiences", []string{s.Audience}},
		{"bound_claims_type", matchText},
		{"bound_claims", claims},
		{"user_claim", policy.ClaimProject},
		{"token_policies", []string{s.Policy}},
		{"token_ttl", setupTTL},
		{"token_max_ttl", setupMaxTTL},
		// A batch token, which a mount may give by default, cannot be revoked.
		{"token_type", "service"},
	}
}

func (s Setup) notes(format string) []string {
	notes := []string{
		fmt.Sprintf("the policy %q has to exist, and to allow what the job reads: for KV version 2 that is path \"secret/data/...\" { capabilities = [\"read\"] }", s.Policy),
		fmt.Sprintf("the job's token can be renewed for %d minutes: raise token_max_ttl for jobs that need it longer", setupMaxTTL/60),
	}
	if s.VCSOrigin == "" {
		notes = append(notes, "whatever the project builds gets in, the pull requests of forks among it where CircleCI passes secrets to them: --vcs-origin keeps them out")
	} else {
		notes = append(notes, "a pipeline that a custom webhook started is refused, since its token names no repository")
	}
	if s.Audience != s.Org {
		notes = append(notes, fmt.Sprintf("the job has to ask for a token with the audience %q", s.Audience))
	}
	switch format {
	case "terraform":
		notes = append(notes, "the role is a vault_generic_endpoint: vault_jwt_auth_backend_role makes text of every claim's value, and ssh-rerun is never the text \"false\"")
	default:
		notes = append(notes, "writing a role that exists keeps the members that are not written: delete it before")
	}
	return notes
}

func (s Setup) json() []byte {
	return object([]member{{"config", s.config()}, {"role", s.role()}})
}

// object writes JSON, indented, its members in order.
func object(members []member) []byte {
	var b bytes.Buffer
	writeJSON(&b, members, "")
	b.WriteByte('\n')
	return b.Bytes()
}

func writeJSON(b *bytes.Buffer, v any, indent string) {
	members, ok := v.([]member)
	if !ok {
		b.WriteString(shown(v))
		return
	}
	b.WriteString("{\n")
	for i, m := range members {
		b.WriteString(indent + "  " + shown(m.name) + ": ")
		writeJSON(b, m.value, indent+"  ")
		if i < len(members)-1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
	b.WriteString(indent + "}")
}

// cli is a script for sh. What is written goes through a quoted here-document,
// in which nothing is special: a line of JSON is never its end.
func (s Setup) cli() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "#!/bin/sh\nset -eu\n\n")
	fmt.Fprintf(&b, "vault auth enable -path='%s' jwt\n\n", s.AuthPath)
	fmt.Fprintf(&b, "vault write 'auth/%s/config' - <<'EOF'\n%sEOF\n\n", s.AuthPath, object(s.config()))
	fmt.Fprintf(&b, "vault write 'auth/%s/role/%s' - <<'EOF'\n%sEOF\n", s.AuthPath, s.Role, object(s.role()))
	return b.Bytes()
}

func (s Setup) terraform() []byte {
	label := regexp.MustCompile(`[^a-z0-9_]`).ReplaceAllString(s.Role, "_")
	if label[0] >= '0' && label[0] <= '9' {
		label = "_" + label
	}
	var b bytes.Buffer
	b.WriteString("resource \"vault_jwt_auth_backend\" \"circleci\" {\n")
	config := append([]member{{"path", s.AuthPath}, {"type", typeJWT}, {"description", "CircleCI's jobs"}}, s.config()...)
	hCLMembers(&b, config, "  ", false)
	b.WriteString("}\n\n")
	b.WriteString("# vault_jwt_auth_backend_role makes text of every claim's value, and ssh-rerun\n# is a boolean.\n")
	fmt.Fprintf(&b, "resource \"vault_generic_endpoint\" \"%s\" {\n", label)
	fmt.Fprintf(&b, "  path                 = \"auth/${vault_jwt_auth_backend.circleci.path}/role/%s\"\n", s.Role)
	b.WriteString("  ignore_absent_fields = true\n\n  data_json = jsonencode({\n")
	hCLMembers(&b, s.role(), "    ", true)
	b.WriteString("  })\n}\n")
	return b.Bytes()
}

// hCLMembers writes members as terraform fmt does: neighbours of one line
// each have their = below each other.
func hCLMembers(b *bytes.Buffer, members []member, indent string, quoted bool) {
	key := func(m member) string {
		if quoted && !regexp.MustCompile(`^[a-z_]+$`).MatchString(m.name) {
			return hCL(m.name)
		}
		return m.name
	}
	for i := 0; i < len(members); {
		width, end := 0, i
		for end < len(members) && (end == i || !isObject(members[end])) {
			width = max(width, len(key(members[end])))
			if isObject(members[end]) {
				break
			}
			end++
		}
		if end == i { // an object: it stands alone
			b.WriteString(indent + key(members[i]) + " = {\n")
			hCLMembers(b, members[i].value.([]member), indent+"  ", quoted)
			b.WriteString(indent + "}\n")
			i++
			continue
		}
		for ; i < end; i++ {
			fmt.Fprintf(b, "%s%-*s = %s\n", indent, width, key(members[i]), hCLValue(members[i].value))
		}
	}
}

func isObject(m member) bool {
	_, ok := m.value.([]member)
	return ok
}

func hCLValue(v any) string {
	switch v := v.(type) {
	case string:
		return hCL(v)
	case []string:
		var all []string
		for _, s := range v {
			all = append(all, hCL(s))
		}
		return "[" + strings.Join(all, ", ") + "]"
	}
	return fmt.Sprint(v)
}

// hCL quotes text. ${ and %{ would begin a template.
func hCL(s string) string {
	quoted, err := json.Marshal(s) // HCL knows JSON's escapes, \u0026 among them
	if err != nil {
		return `""`
	}
	return strings.NewReplacer("${", "$${", "%{", "%%{", `\b`, `\u0008`, `\f`, `\u000c`, `\\`, `\\`).Replace(string(quoted))
}
