package vault

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/broker"
	"github.com/oidc-broker/oidc-broker/pkg/internal/shell"
)

// A Delivery is a token that a command delivers, and where the next tool will look: all
// that decides whether that tool uses the token, at the server that it is for.
type Delivery struct {
	// File is where the token is written; "": it goes into variables, from which
	// Environment takes what would hide them.
	File string
	Home string

	Addr, Namespace string  // of the server
	Options         Options // how the server was reached

	// Lookup reads the environment of this step, which is that of the next as far as
	// anybody can know here.
	Lookup func(string) (string, bool)
	// Block says that $BASH_ENV has a block of ours, and BlockToken is the VAULT_TOKEN
	// that it sets in later steps.
	Block      bool
	BlockToken string
	// BashEnv are the variables that other lines of $BASH_ENV set in later steps.
	BashEnv map[string]string

	Read func(path string) ([]byte, error)
}

// ReadBashEnv adds what $BASH_ENV, the file at path, sets in later steps.
func (d *Delivery) ReadBashEnv(path string) {
	if path == "" {
		return
	}
	d.Block = shell.HasBlock(path, "vault")
	d.BlockToken = shell.BlockValue(path, "vault", "VAULT_TOKEN").Reveal()
	d.BashEnv = shell.LaterVariables(path, "vault")
}

// A conflictRule finds what can keep the next tool from the token.
type conflictRule struct {
	check   string // of doctor's, that reports it; "": none, for it needs what a command was given
	applies delivered
	find    func(*Delivery) []broker.Conflict
}

// delivered says to what a rule applies.
type delivered int

const (
	toAny    delivered = iota
	toFile             // not to a token in variables
	toDoctor           // to no command: the one that delivers says it itself, or is not concerned
)

// conflictRules are all rules. One returns nothing where it does not apply.
var conflictRules = []conflictRule{
	{"", toFile, (*Delivery).block},
	{"vault-token", toAny, (*Delivery).otherToken},
	{"vault-token-file", toFile, (*Delivery).otherFile},
	{"vault-token-file", toFile, (*Delivery).helper},
	{"", toAny, (*Delivery).otherAddr},
	{"", toAny, (*Delivery).otherNamespace},
	{"vault-agent", toAny, (*Delivery).agent},
	{"", toAny, (*Delivery).connection},
	{"", toAny, (*Delivery).headers},
	{"vault-skip-verify", toAny, (*Delivery).settings},
	{"vault-skip-verify", toDoctor, (*Delivery).skipVerify},
	{"vault-bao", toDoctor, (*Delivery).differing},
}

// Conflicts are why the next tool would not use the token that is delivered.
func (d Delivery) Conflicts() []broker.Conflict {
	var all []broker.Conflict
	for _, rule := range conflictRules {
		if rule.applies == toAny || rule.applies == toFile && d.File != "" {
			all = append(all, rule.find(&d)...)
		}
	}
	return all
}

// ConflictsFor are those that one of doctor's checks reports.
func (d Delivery) ConflictsFor(check string) []broker.Conflict {
	var all []broker.Conflict
	for _, rule := range conflictRules {
		if rule.check == check {
			all = append(all, rule.find(&d)...)
		}
	}
	return all
}

// lookup returns a variable as later steps have it.
func (d *Delivery) lookup(name string) (string, bool) {
	if value, ok := d.BashEnv[name]; ok {
		return value, true
	}
	if d.File == "" {
		switch name {
		case envToken:
			return deliveredToken, true
		case envAddr:
			return d.Addr, true
		case envNamespace:
			return d.Namespace, true
		case "BAO_ADDR", "BAO_TOKEN", "BAO_NAMESPACE":
			return "", false
		}
	}
	return d.Lookup(name)
}

// deliveredToken is in the place of the token in variables; no server gives such a one.
const deliveredToken = "(delivered)" // #nosec G101 -- no token

// where says what sets a variable.
func (d *Delivery) where(name string) string {
	if _, ok := d.BashEnv[name]; ok {
		return "in $BASH_ENV"
	}
	return "in this job"
}

// A setting is a variable as a tool reads it.
type setting struct {
	variable, value string
	tools           []string
}

func (s setting) named() string { return strings.Join(s.tools, " and ") }

// verb is a verb of the tools: "call" or "calls".
func (s setting) verb(verb string) string {
	if len(s.tools) > 1 {
		return verb
	}
	return verb + "s"
}

// read returns what the tools read of the variables that have a name behind VAULT_
// and BAO_. vault knows the first; bao takes the second also where it is empty. Where
// only BAO_ADDR is set, nobody uses vault.
func (d *Delivery) read(name string) []setting {
	vault := setting{variable: "VAULT_" + name, tools: []string{"vault"}}
	bao := setting{variable: "BAO_" + name, tools: []string{"bao"}}
	vault.value, _ = d.lookup(vault.variable)
	value, set := d.lookup(bao.variable)
	if !set {
		vault.tools = append(vault.tools, "bao")
		return []setting{vault}
	}
	bao.value = value
	if addr, _ := d.lookup(envAddr); strings.TrimSpace(addr) == "" {
		if addr, _ := d.lookup("BAO_ADDR"); strings.TrimSpace(addr) != "" {
			return []setting{bao}
		}
	}
	return []setting{vault, bao}
}

func (d *Delivery) block() []broker.Conflict {
	if !d.Block {
		return nil
	}
	return []broker.Conflict{{
		Message: "$BASH_ENV holds a token of 'vault env --bash-env', which vault and bao take in later steps before the file",
		Remedy:  "use one of the two",
	}}
}

// otherToken is a variable with another token, which the tools take first.
func (d *Delivery) otherToken() []broker.Conflict {
	var all []broker.Conflict
	for _, s := range d.read("TOKEN") {
		switch value := strings.TrimSpace(s.value); {
		case value == "", value == deliveredToken, value == d.BlockToken, strings.Contains(value, "$"+s.variable):
			continue
		}
		all = append(all, broker.Conflict{
			Message: fmt.Sprintf("%s is set %s, and %s %s it before %s", s.variable, d.where(s.variable), s.named(), s.verb("take"), d.token()),
			Remedy:  "unset " + s.variable,
		})
	}
	return all
}

func (d *Delivery) token() string {
	if d.File != "" {
		return "the token in the file"
	}
	return "the token that was delivered"
}

// otherFile are the places where a tool looks for the file. vault knows one place;
// bao's has two names, and we write to that of the first.
func (d *Delivery) otherFile() []broker.Conflict {
	var all []broker.Conflict
	usual := filepath.Join(d.Home, ".vault-token")
	if d.Home != "" && !sameFile(d.File, usual) {
		if text, err := d.Read(usual); err == nil && len(bytes.TrimSpace(text)) > 0 {
			all = append(all, broker.Conflict{
				Message: fmt.Sprintf("vault reads the token in %q, and not in %q", usual, d.File),
				Remedy:  "unset BAO_TOKEN_PATH, or remove that file",
			})
		}
	}
	for _, s := range d.read("TOKEN_PATH") {
		if s.tools[len(s.tools)-1] == "bao" && s.value != "" && !sameFile(s.value, d.File) {
			all = append(all, broker.Conflict{
				Message: fmt.Sprintf("%s names another file %s, in which bao looks for the token", s.variable, d.where(s.variable)),
				Remedy:  "unset it, or set BAO_TOKEN_PATH to the same",
			})
		}
	}
	return all
}

// helper is a program that keeps the tools' tokens in the file's place.
func (d *Delivery) helper() []broker.Conflict {
	var all []broker.Conflict
	for _, tool := range []struct{ name, variable, file string }{{"vault", "VAULT_CONFIG_PATH", ".vault"}, {"bao", "BAO_CONFIG_PATH", ".bao"}} {
		path, _ := d.lookup(tool.variable)
		if rest, ok := strings.CutPrefix(path, "~/"); ok || path == "" && d.Home != "" {
			path = filepath.Join(d.Home, rest)
			if rest == "" {
				path = filepath.Join(d.Home, tool.file)
			}
		}
		if path == "" {
			continue
		}
		text, err := d.Read(path)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			key, _, ok := strings.Cut(line, "=")
			if ok && strings.Trim(strings.TrimSpace(key), `"`) == "token_helper" {
				all = append(all, broker.Conflict{
					Message: fmt.Sprintf("%q has a token_helper, which %s asks for the token in place of the file", path, tool.name),
					Remedy:  "use 'oidc-broker vault env', or remove the line",
				})
				break
			}
		}
	}
	return all
}

func (d *Delivery) otherAddr() []broker.Conflict {
	var all []broker.Conflict
	for _, s := range d.read("ADDR") {
		c := broker.Conflict{Remedy: fmt.Sprintf("set %s to %s", s.variable, shell.Word(d.Addr))}
		addr := strings.TrimRight(strings.TrimSpace(s.value), "/")
		doubled, isAPI := strings.CutSuffix(addr, "/v1")
		switch {
		case strings.EqualFold(addr, d.Addr), strings.ContainsAny(s.value, "$`"):
			continue
		case addr == "":
			c.Message = fmt.Sprintf("%s is not set in this job: %s %s https://127.0.0.1:8200", s.variable, s.named(), s.verb("call"))
		case isAPI && strings.EqualFold(doubled, d.Addr):
			c.Message = fmt.Sprintf("%s ends in /v1 %s, which %s %s once more", s.variable, d.where(s.variable), s.named(), s.verb("add"))
		default:
			c.Message = fmt.Sprintf("%s names another server %s, which %s %s", s.variable, d.where(s.variable), s.named(), s.verb("call"))
		}
		all = append(all, c)
	}
	return all
}

func (d *Delivery) otherNamespace() []broker.Conflict {
	var all []broker.Conflict
	for _, s := range d.read("NAMESPACE") {
		got := strings.Trim(strings.TrimSpace(s.value), "/")
		if got == "root" {
			got = ""
		}
		if got == d.Namespace || strings.ContainsAny(got, "$`") {
			continue
		}
		c := broker.Conflict{Remedy: fmt.Sprintf("set %s to %s", s.variable, shell.Word(d.Namespace))}
		c.Message = fmt.Sprintf("%s is another %s, in which %s %s", s.variable, d.where(s.variable), s.named(), s.verb("look"))
		switch {
		case got == "":
			c.Message = fmt.Sprintf("%s is not set in this job: %s %s in the root namespace", s.variable, s.named(), s.verb("look"))
		case d.Namespace == "":
			c.Remedy = "unset it"
		}
		all = append(all, c)
	}
	return all
}

// agent is a server that the tools call in place of the address.
func (d *Delivery) agent() []broker.Conflict {
	var all []broker.Conflict
	for _, s := range d.read("AGENT_ADDR") {
		if addr := strings.TrimRight(strings.TrimSpace(s.value), "/"); addr != "" && !strings.EqualFold(addr, d.Addr) {
			all = append(all, broker.Conflict{
				Message: fmt.Sprintf("%s is set %s: %s %s the agent there, and oidc-broker calls VAULT_ADDR itself", s.variable, d.where(s.variable), s.named(), s.verb("call")),
				Remedy:  "unset it where it is not meant for this job",
			})
		}
	}
	return all
}

// connection are the settings without which the tools reach no server, or refuse its
// certificate, and that this command alone was given.
func (d *Delivery) connection() []broker.Conflict {
	var all []broker.Conflict
	o := d.Options
	for _, used := range []struct{ value, name string }{
		{o.CACert, "CACERT"}, {o.CACertBytes, "CACERT_BYTES"}, {o.CAPath, "CAPATH"}, {o.ClientCert, "CLIENT_CERT"}, {o.ClientKey, "CLIENT_KEY"},
		{o.TLSServerName, "TLS_SERVER_NAME"}, {o.Proxy, "PROXY_ADDR"},
	} {
		if used.value == "" {
			continue
		}
		for _, s := range d.read(used.name) {
			if used.name == "PROXY_ADDR" && s.value == "" {
				older := d.read("HTTP_PROXY")
				if s.value = older[0].value; s.tools[0] == "bao" {
					s.value = older[len(older)-1].value
				}
			}
			if s.value != used.value && !sameFile(s.value, used.value) {
				all = append(all, broker.Conflict{
					Message: fmt.Sprintf("%s is not what this command used: %s may not reach the server", s.variable, s.named()),
					Remedy:  "set it for the next steps too",
				})
			}
		}
	}
	return all
}

func (d *Delivery) headers() []broker.Conflict {
	value, _ := d.lookup("VAULT_HEADERS")
	if len(d.Options.Headers) == 0 || strings.TrimSpace(value) != "" {
		return nil
	}
	return []broker.Conflict{{
		Message: "VAULT_HEADERS is not set: vault does not send the headers that this command sent",
		Remedy:  "set it to their names and values as JSON, or use 'oidc-broker vault read'",
	}}
}

// settings are values that the tools refuse.
func (d *Delivery) settings() []broker.Conflict {
	var all []broker.Conflict
	for _, name := range []string{"SKIP_VERIFY", "SRV_LOOKUP", "DISABLE_REDIRECTS"} {
		for _, s := range d.read(name) {
			if _, err := strconv.ParseBool(s.value); err != nil && s.value != "" && !strings.ContainsAny(s.value, "$`") {
				all = append(all, broker.Conflict{
					Message: fmt.Sprintf("%s is neither true nor false %s: %s %s to start", s.variable, d.where(s.variable), s.named(), s.verb("refuse")),
					Remedy:  "unset it", Stops: true,
				})
			}
		}
	}
	return all
}

// skipVerify says that the tools send tokens to any server, which no command of ours
// does.
func (d *Delivery) skipVerify() []broker.Conflict {
	var all []broker.Conflict
	for _, s := range d.read("SKIP_VERIFY") {
		if skip, err := strconv.ParseBool(strings.TrimSpace(s.value)); err == nil && skip {
			all = append(all, broker.Conflict{
				Message: fmt.Sprintf("%s is set: %s %s tokens to any server that answers; oidc-broker does not use it", s.variable, s.named(), s.verb("send")),
				Remedy:  "unset it, and name the server's authority with VAULT_CACERT",
			})
		}
	}
	return all
}

// differing are variables whose BAO_... says something else than their VAULT_...
func (d *Delivery) differing() []broker.Conflict {
	var names []string
	for _, name := range strings.Fields(`ADDR AGENT_ADDR AUTH_NAMESPACE AUTH_PATH CACERT CACERT_BYTES CAPATH CLIENT_CERT CLIENT_KEY CLIENT_TIMEOUT
		HTTP_PROXY MAX_RETRIES NAMESPACE PROXY_ADDR ROLE SKIP_VERIFY TLS_SERVER_NAME TOKEN WRAP_TTL`) {
		bao, set := d.lookup("BAO_" + name)
		vault, _ := d.lookup("VAULT_" + name)
		if vault = strings.TrimSpace(vault); set && vault != "" && vault != strings.TrimSpace(bao) {
			names = append(names, "BAO_"+name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	const most = 4
	text := strings.Join(names[:min(most, len(names))], ", ")
	if len(names) > most {
		text += fmt.Sprintf(" and %d more", len(names)-most)
	}
	return []broker.Conflict{{
		Message: text + " differ from the variables of the same name with VAULT_, which vault alone takes; oidc-broker and bao take BAO_",
		Remedy:  "set one of the two, or both to the same",
	}}
}

// sameFile compares two names of files as they are written: no link is followed.
func sameFile(a, b string) bool {
	one, err := filepath.Abs(a)
	two, other := filepath.Abs(b)
	return a != "" && b != "" && err == nil && other == nil && one == two
}
