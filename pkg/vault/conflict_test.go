package vault

import (
	"io/fs"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/internal/broker"
)

// conflictRow is an environment with files, and what the conflicts say.
type conflictRow struct {
	name, env string
	variables bool // the token is in variables, not in the file
	delivery  Delivery
	files     map[string]string // below the home directory
	want      []string          // a part of each, in order
}

const at = "VAULT_ADDR=https://vault.example.com:8200\n"

func conflictRows() []conflictRow {
	later := func(pairs ...string) Delivery {
		d := Delivery{BashEnv: map[string]string{}}
		for _, pair := range pairs {
			name, value, _ := strings.Cut(pair, "=")
			d.BashEnv[name] = value
		}
		return d
	}
	block := Delivery{Block: true, BlockToken: "hvs.block"}
	team := Delivery{Namespace: "team"}
	return []conflictRow{
		{name: "nothing", env: at},
		{name: "nothing for variables", variables: true},
		{name: "what is as good", env: "VAULT_ADDR=https://VAULT.example.com:8200/\nVAULT_NAMESPACE=root\nVAULT_TOKEN=\nVAULT_SKIP_VERIFY=0\nVAULT_FORMAT=json\nVAULT_ROLE=r"},
		{name: "bao alone", env: "BAO_ADDR=https://vault.example.com:8200"},

		{name: "a token", env: at + "VAULT_TOKEN=t", want: []string{"VAULT_TOKEN is set in this job, and vault and bao take it before the token in the file: unset VAULT_TOKEN"}},
		{name: "a token of bao's", env: at + "BAO_TOKEN=t", want: []string{"BAO_TOKEN is set in this job, and bao takes it before the token in the file"}},
		{name: "tokens of both", env: at + "BAO_TOKEN=t\nVAULT_TOKEN=u", want: []string{"VAULT_TOKEN is set in this job, and vault takes it", "BAO_TOKEN is set"}},
		{name: "an empty one, which bao takes", env: at + "BAO_TOKEN=\nVAULT_TOKEN=u", want: []string{"and vault takes it"}},
		{name: "a token in later steps", env: at, delivery: later("VAULT_TOKEN=$X"), want: []string{"VAULT_TOKEN is set in $BASH_ENV"}},
		{name: "our block", env: at, delivery: block, want: []string{"$BASH_ENV holds a token of 'vault env --bash-env'"}},
		{name: "our block, read already", env: at + "VAULT_TOKEN=hvs.block", delivery: block, want: []string{"$BASH_ENV holds"}},
		{name: "a token that the variables replace", env: "VAULT_TOKEN=t\nBAO_TOKEN=u\nVAULT_ADDR=https://x\nBAO_ADDR=https://y\nBAO_NAMESPACE=z", variables: true},
		{name: "a token behind the variables", variables: true, delivery: later("BAO_TOKEN=t"), want: []string{"BAO_TOKEN is set in $BASH_ENV, and bao takes it before the token that was delivered"}},
		{name: "the token itself behind the variables", variables: true, delivery: later("VAULT_TOKEN=$VAULT_TOKEN")},

		{name: "no address", want: []string{"VAULT_ADDR is not set in this job: vault and bao call https://127.0.0.1:8200: set VAULT_ADDR to https://vault.example.com:8200"}},
		{name: "another address", env: "VAULT_ADDR=https://user:secret@other.example.com", want: []string{"VAULT_ADDR names another server in this job, which vault and bao call"}},
		{name: "another address of bao's", env: at + "BAO_ADDR=https://other.example.com", want: []string{"BAO_ADDR names another server in this job, which bao calls"}},
		{name: "another address of vault's", env: "VAULT_ADDR=https://other.example.com\nBAO_ADDR=https://vault.example.com:8200", want: []string{"which vault calls"}},
		{name: "the API's address", env: "VAULT_ADDR=https://vault.example.com:8200/v1/", want: []string{"VAULT_ADDR ends in /v1 in this job, which vault and bao add once more"}},
		{name: "an address behind the variables", variables: true, delivery: later("VAULT_ADDR=https://other.example.com"), want: []string{"VAULT_ADDR names another server in $BASH_ENV"}},
		{name: "a computed address", env: at, delivery: later("VAULT_ADDR=$X")},

		{name: "no namespace", env: at, delivery: team, want: []string{"VAULT_NAMESPACE is not set in this job: vault and bao look in the root namespace: set VAULT_NAMESPACE to team"}},
		{name: "the namespace", env: at + "VAULT_NAMESPACE=team/", delivery: team},
		{name: "another namespace", env: at + "VAULT_NAMESPACE=other", delivery: team, want: []string{"VAULT_NAMESPACE is another in this job"}},
		{name: "a namespace for the root", env: at + "VAULT_NAMESPACE=other", want: []string{"VAULT_NAMESPACE is another in this job, in which vault and bao look: unset it"}},

		{name: "an agent", env: at + "VAULT_AGENT_ADDR=http://127.0.0.1:8100", want: []string{"vault and bao call the agent there"}},
		{name: "an agent, with variables", env: "BAO_AGENT_ADDR=http://127.0.0.1:8100", variables: true, want: []string{"BAO_AGENT_ADDR is set in this job: bao calls the agent there"}},
		{name: "the server as its own agent", env: at + "VAULT_AGENT_ADDR=https://vault.example.com:8200"},

		{name: "an authority", env: at, delivery: Delivery{Options: Options{CACert: "/ca.pem"}}, want: []string{"VAULT_CACERT is not what this command used"}},
		{name: "the same authority", env: at + "VAULT_CACERT=/./ca.pem", delivery: Delivery{Options: Options{CACert: "/ca.pem"}}},
		{name: "bao has another", env: at + "VAULT_CACERT=/ca.pem\nBAO_CACERT=/other.pem", delivery: Delivery{Options: Options{CACert: "/ca.pem"}}, want: []string{"BAO_CACERT is not what this command used: bao may"}},
		{name: "a certificate", variables: true, delivery: Delivery{Options: Options{ClientCert: "/c", ClientKey: "/k", TLSServerName: "n"}}, want: []string{"VAULT_CLIENT_CERT", "VAULT_CLIENT_KEY", "VAULT_TLS_SERVER_NAME"}},
		{name: "a proxy", env: at, delivery: Delivery{Options: Options{Proxy: "http://u:secret@p"}}, want: []string{"VAULT_PROXY_ADDR is not what this command used"}},
		{name: "the same proxy", env: at + "VAULT_PROXY_ADDR=http://u:secret@p", delivery: Delivery{Options: Options{Proxy: "http://u:secret@p"}}},
		{name: "the same proxy's older name", env: at + "VAULT_HTTP_PROXY=http://u:secret@p", delivery: Delivery{Options: Options{Proxy: "http://u:secret@p"}}},
		{name: "headers", env: at, delivery: Delivery{Options: Options{Headers: []string{"A=B"}}}, want: []string{"VAULT_HEADERS is not set"}},
		{name: "headers for vault too", env: at + "VAULT_HEADERS={}", delivery: Delivery{Options: Options{Headers: []string{"A=B"}}}},

		{name: "what the tools refuse", env: at + "VAULT_SKIP_VERIFY=yes\nBAO_SRV_LOOKUP=on\nVAULT_DISABLE_REDIRECTS=no", want: []string{
			"VAULT_SKIP_VERIFY is neither true nor false in this job: vault and bao refuse to start", "BAO_SRV_LOOKUP is neither", "VAULT_DISABLE_REDIRECTS is neither",
		}},

		{name: "another file of bao's", env: at + "VAULT_TOKEN_PATH=/t", want: []string{"VAULT_TOKEN_PATH names another file in this job, in which bao looks"}},
		{name: "the same file", env: at + "VAULT_TOKEN_PATH=HOME/.vault-token"},
		{name: "a file of bao's alone", env: at + "BAO_TOKEN_PATH=HOME/t", delivery: Delivery{File: "HOME/t"}},
		{name: "a file of bao's, and one of vault's", env: at + "BAO_TOKEN_PATH=HOME/t", delivery: Delivery{File: "HOME/t"}, files: map[string]string{".vault-token": "x"}, want: []string{"vault reads the token in"}},
		{name: "a helper", env: at, files: map[string]string{".vault": "# a comment\ntoken_helper = \"/h\"\n"}, want: []string{`.vault" has a token_helper, which vault asks`}},
		{name: "a helper elsewhere", env: at + "BAO_CONFIG_PATH=~/b", files: map[string]string{"b": "token_helper=\"/h\"", ".bao": "token_helper=\"/h\""}, want: []string{`has a token_helper, which bao asks`}},
		{name: "no helper", env: at, files: map[string]string{".vault": "# token_helper = \"/h\"\n"}},
		{name: "a helper, with variables", variables: true, files: map[string]string{".vault": "token_helper = \"/h\"\n"}},
	}
}

func TestConflicts(t *testing.T) {
	const home = "/home/ci"
	for _, row := range conflictRows() {
		t.Run(row.name, func(t *testing.T) {
			all := row.in(home).Conflicts()
			if len(all) != len(row.want) {
				t.Fatalf("got %q, want %q", all, row.want)
			}
			for i, c := range all {
				if !strings.Contains(c.String(), row.want[i]) {
					t.Errorf("got %q, want %q", c, row.want[i])
				}
				if strings.Contains(c.String(), "secret") || len(c.Remedy) == 0 || len(c.String()) > 160 {
					t.Errorf("%q", c)
				}
			}
		})
	}
}

// in is the delivery of a row with that home directory.
func (r conflictRow) in(home string) Delivery {
	d := r.delivery
	d.Home, d.Addr = home, "https://vault.example.com:8200"
	switch {
	case r.variables:
	case d.File == "":
		d.File = filepath.Join(home, ".vault-token")
	default:
		d.File = strings.Replace(d.File, "HOME", home, 1)
	}
	env := map[string]string{}
	for line := range strings.Lines(strings.ReplaceAll(r.env, "HOME/", home+"/")) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		env[name] = value
	}
	d.Lookup = func(name string) (string, bool) { value, ok := env[name]; return value, ok }
	d.Read = func(path string) ([]byte, error) {
		if rel, err := filepath.Rel(home, path); err == nil {
			if text, ok := r.files[rel]; ok {
				return []byte(text), nil
			}
		}
		return nil, fs.ErrNotExist
	}
	return d
}

// Each rule is reached by a row, so that none can be removed unseen.
func TestEveryConflictRuleIsReached(t *testing.T) {
	for _, rule := range conflictRules {
		if rule.applies == toDoctor {
			continue // its own tests are doctor's
		}
		reached := false
		for _, row := range conflictRows() {
			d := row.in("/home/ci")
			var found []broker.Conflict
			if rule.applies == toAny || d.File != "" {
				found = rule.find(&d)
			}
			reached = reached || len(found) > 0
		}
		if !reached {
			t.Errorf("no row reaches rule %v", reflect.ValueOf(rule.find))
		}
	}
}
