package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// planned settles a file in a directory of its own, which $DIR stands for, with the
// environment that is given as NAME=VALUE. ONLY is --only, TRUST=no leaves --trust-file
// out.
func planned(t *testing.T, text string, env ...string) (p *plan, dir string, err error) {
	t.Helper()
	dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "real"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	values := map[string]string{"HOME": dir}
	for _, e := range env {
		name, value, _ := strings.Cut(strings.ReplaceAll(e, "$DIR", dir), "=")
		values[name] = value
	}
	f, err := parseApply([]byte(strings.ReplaceAll(text, "$DIR", dir)))
	if err != nil {
		return nil, dir, err
	}
	a := &app{World: World{Getenv: func(name string) string { return values[name] }, Stderr: io.Discard}}
	p, err = a.newPlan(f, &applyRun{app: a, trustFile: values["TRUST"] != "no", file: filepath.Join(dir, "oidc-broker.yaml"), only: strings.Fields(values["ONLY"])})
	return p, dir, err
}

// TestPlanRefuses: everything that can be wrong in a file is said before a token is
// read, with its place.
func TestPlanRefuses(t *testing.T) {
	const second = "  - profile: b\n    role-arn: arn:aws:iam::222233334444:role/b\n"
	for _, row := range []struct{ name, text, want, hint string }{
		{"no role", "version: 1\naws:\n  - profile: a\n", `3:5: aws target "a": it has no role-arn`, "arn:aws:iam::111122223333:role/deploy"},
		{"no name", "version: 1\naws:\n  - role-arn: " + aRole + "\n", "3:5: an aws target has neither profile nor name", "name alone is for a role that others come via"},
		{"nothing to write", "version: 1\naws:\n  - name: a\n    role-arn: " + aRole + "\n", `3:5: aws target "a": it has no profile to write, and no other target comes via it`, ""},
		{"a role's name", "version: 1\naws:\n  - profile: a\n    role-arn: deploy\n", `4:15: aws target "a": role-arn "deploy" is not the ARN of a role`, "a name alone does not say in which account"},
		{"a region", anAWS + "    region: eu-central-1a\n", `5:13: aws target "a": "eu-central-1a" is not the name of a region`, "its region is eu-central-1"},
		{"a duration", anAWS + "    session-duration: 13h\n", `5:23: aws target "a": session-duration 13h is not within 15m and 12h`, ""},
		{"no duration", anAWS + "    session-duration: soon\n", `5:23: aws target "a": session-duration "soon" is not a duration`, "give seconds (1800)"},
		{"an account", anAWS + "    allowed-account-id: [111122223333, 12345]\n", `5:40: aws target "a": allowed-account-id "12345" does not have 12 digits`, "in YAML, put an account id in quotes"},
		{"an exponent", anAWS + "    allowed-account-id: 111122223333e0\n", `5:25: aws target "a": allowed-account-id "111122223333e0" does not have 12 digits`, ""},
		{"another account", anAWS + "    allowed-account-id:\n    - 222233334444\n", `6:7: aws target "a": the role is in account 111122223333, which allowed-account-id does not name (222233334444)`, ""},
		{"a chained role", anAWS + "    chain-role-arn:\n    - arn:aws:iam::222233334444:role/x\n    - y\n", `7:7: aws target "a": chain-role-arn "y" is not the ARN of a role`, ""},
		{"a policy", anAWS + "    policy-arn: [x]\n", `5:18: aws target "a": policy-arn "x" is not the ARN of a managed policy`, ""},
		{"a policy document", anAWS + "    policy: '[]'\n", `5:13: aws target "a": policy is not a JSON object`, ""},
		{"a policy's file", anAWS + "    policy: $DIR/none.json\n", `cannot read "`, ""},
		{"an external id without a chain", anAWS + "    external-id: x1\n", `5:18: aws target "a": external-id is for chained roles`, "add chain-role-arn"},
		{"a profile's name", "version: 1\naws:\n  - profile: 'a#b'\n    role-arn: " + aRole + "\n", `3:14: "a#b" cannot be a target's name`, "use letters, digits"},
		{"a profile's name beside another", "version: 1\naws:\n  - profile: 'a#b'\n    name: ab\n    role-arn: " + aRole + "\n", `3:14: aws target "ab": "a#b" cannot be a profile's name`, ""},
		{"the section of all", "version: 1\naws:\n  - profile: DEFAULT\n    role-arn: " + aRole + "\n", `3:14: aws target "DEFAULT": "DEFAULT" cannot be a profile's name`, ""},
		{"a partition", anAWS + "    region: cn-north-1\n", `4:15: aws target "a": the role ` + aRole + ` is in the partition aws, the region cn-north-1 is in aws-cn`, ""},

		{"a profile twice", anAWS + "  - name: x\n    profile: a\n    role-arn: " + aRole + "\n", `6:14: aws target "x": the profile "a" is written by aws target "a" too`, ""},
		{"a name twice", anAWS + "  - name: a\n    profile: b\n    role-arn: " + aRole + "\n", `5:11: two aws targets are called "a"`, "the other begins in line 3"},
		{"a gcp target without a name", "version: 1\ngcp:\n  - workload-identity-provider: " + provider + "\n", "3:5: a gcp target has no name", "call it by its name"},
		{"a vault target without a name", "version: 1\nvault:\n  - role: x\n", "3:5: a vault target has no name", ""},
		{"a name like a path out", "version: 1\nvault:\n  - name: ../x\n", `3:11: "../x" cannot be a target's name`, ""},

		{"via nobody", anAWS + "    via: c\n" + second, `5:10: aws target "a": via "c": there is no aws target of that name`, "there are a, b"},
		{"via itself", anAWS + "    via: a\n", `5:10: aws target "a": it comes via itself: a via a`, "one of them has to begin with the job's token"},
		{"in a circle", anAWS + "    via: c\n" + second + "    via: a\n  - profile: c\n    role-arn: " + aRole + "\n    via: b\n", `5:10: aws target "a": it comes via itself: a via c via b via a`, ""},
		{"into a circle", anAWS + "    via: b\n" + second + "    via: b\n", `8:10: aws target "b": it comes via itself: b via b`, ""},
		{"via with a token", anAWS + second + "    via: a\n    audience: x\n", `8:15: aws target "b": audience: it uses no token of its own, for it comes via "a"`, ""},
		{"via with a guard", anAWS + second + "    via: a\n    require-claim: [x=y]\n", `8:21: aws target "b": require-claim: it uses no token of its own`, ""},
		{"via too long", anAWS + second + "    via: a\n    session-duration: 2h\n", `8:23: aws target "b": session-duration 2h is too long: AWS limits a chained role's session to 1h`, ""},
		{"via over partitions", anAWS + "  - profile: b\n    role-arn: arn:aws-cn:iam::222233334444:role/b\n    region: cn-north-1\n    via: a\n", `8:10: aws target "b": via "a": that role is in the partition aws, and this one in aws-cn`, "take a role of aws-cn that trusts the job's token"},
		{"via for a program", anAWS + second + "    via: a\n    mode: process\n", `8:11: aws target "b": mode process: what renews by itself begins with the job's token, and not with "a"`, "list the roles: role-arn is the first of aws target \"a\", and chain-role-arn has the others"},
		{"a program for nobody", "version: 1\naws:\n  - name: a\n    role-arn: " + aRole + "\n    mode: process\n" + second + "    via: a\n", `5:11: aws target "a": mode: it has no profile to write`, ""},
		{"a program that reads stdin for AWS", anAWS + "    mode: process\n    token-file: '-'\n", `6:17: aws target "a": token-file - cannot be read again`, ""},
		{"via to gcp", aGCP + "    via: a\n", `5:5: a gcp target has no key "via"`, ""},

		{"no provider", "version: 1\ngcp:\n  - name: g\n", `3:5: gcp target "g": it has no workload-identity-provider`, ""},
		{"a name that the error quotes, too", "version: 1\naws:\n  - name: role\n    profile: role\n    role-arn: role\n", `5:15: aws target "role": role-arn "role" is not the ARN of a role`, ""},
		{"half a provider", "version: 1\ngcp:\n  - name: g\n    workload-identity-provider: projects/1\n", `4:33: gcp target "g": "projects/1" is not the name of a workload identity provider`, "it is not complete"},
		{"an account of Google's", aGCP + "    service-account: me@example.com\n", `5:22: gcp target "g": "me@example.com" is not the address of a service account`, ""},
		{"a delegate", aGCP + "    service-account: a@b.iam.gserviceaccount.com\n    delegate: [x, y]\n", `6:16: gcp target "g": "x" is not the address of a service account`, ""},
		{"a delegate to nobody", aGCP + "    delegate: [x]\n", `5:16: gcp target "g": delegate leads to a service account: give service-account`, ""},
		{"a lifetime", aGCP + "    service-account: a@b.iam.gserviceaccount.com\n    token-lifetime: 13h\n", `6:21: gcp target "g": token-lifetime 13h is not within 10m and 12h`, ""},
		{"an endpoint", aGCP + "    sts-endpoint: http://sts.example.com\n", `5:19: gcp target "g": sts-endpoint is an http:// URL`, ""},
		{"a gcloud configuration", aGCP + "    configuration: Prod\n", `5:20: gcp target "g": "Prod" cannot be the name of a gcloud configuration`, ""},
		{"a project for nobody", aGCP + "    project-id: p\n", `5:17: gcp target "g": project-id: it goes into a gcloud configuration, and none is named`, ""},
		{"a project's number", aGCP + "    configuration: prod\n    project-id: '123456789012'\n", `6:17: gcp target "g": project-id "123456789012" is not the id of a project`, ""},
		{"a program that reads stdin", aGCP + "    source: executable\n    token-file: '-'\n", `6:17: gcp target "g": token-file - cannot be read again`, ""},

		{"a server", "version: 1\nvault:\n  - name: v\n    vault-addr: vault.example.com\n", `4:17: vault target "v": vault-addr "vault.example.com" is not an address`, "https://vault.example.com:8200"},
		{"a server in the clear", "version: 1\nvault:\n  - name: v\n    vault-addr: http://vault.example.com\n", `4:17: vault target "v": vault-addr: http:// to vault.example.com would send the token unencrypted`, ""},
		{"no server", "version: 1\nvault:\n  - name: v\n", `3:5: vault target "v": vault-addr is missing`, "set VAULT_ADDR"},
		{"secrets without a file", aVault + "    secret: secret/data/x\n", `5:13: vault target "v": secret: there is no secrets-file to write it into`, ""},
		{"a file without secrets", aVault + "    secrets-file: x\n", `5:19: vault target "v": secrets-file: there is no secret to write into it`, "name one: secret:"},
		{"a format without a file", aVault + "    secrets-format: json\n", `5:21: vault target "v": secrets-format is that of a secrets-file`, ""},
		{"a secret's variable", aVault + "    secret: ['a b=c', 'x y=1z']\n    secrets-file: x\n", `5:23: vault target "v": secret x: "1z" cannot be the name of an environment variable`, ""},
		{"two secrets for a variable", aVault + "    secret: ['a b=X', 'c d=X']\n    secrets-file: x\n", `vault target "v": two secrets claim the name X: a and c`, "give one of them another"},
		{"a time", aVault + "    client-timeout: soon\n", `5:21: vault target "v": client-timeout "soon" is not a time`, ""},
		{"retries", aVault + "    max-retries: 1000\n", `5:18: vault target "v": max-retries "1000" is not a number from 0 to 100`, ""},
		{"a KV version", aVault + "    kv-version: 3\n", `5:17: vault target "v": `, ""},
		{"an authority", aVault + "    ca-cert: $DIR/none.pem\n", `5:14: vault target "v": ca-cert: cannot read "`, ""},

		{"two tokens", anAWS + "    audience: x\n    token-env: y\n", `6:16: aws target "a": token-env and audience each name the token: give one of them`, ""},
		{"two tokens for all", "version: 1\ntoken-file: x\naudience: y\naws: [{profile: a, role-arn: '" + aRole + "'}]\n", `2:13: the file: token-file and audience each name the token`, ""},
		{"a claim", anAWS + "    require-claim: [a=b, c]\n", `5:26: aws target "a": require-claim "c" is not NAME=VALUE`, ""},
		{"validity", anAWS + "    min-validity: soon\n", `5:19: aws target "a": min-validity "soon": give seconds`, ""},
		{"somebody's home", aVault + "    output-file: ~root/x\n", `5:18: vault target "v": "~root/x": only ~/ is expanded`, ""},

		{"one file for two tokens", aVault + "  - name: w\n    vault-addr: https://vault.example.com\n", `5:5: vault target "w": the file "$DIR/.vault-token" is also that of vault target "v"`, "give it another"},
		{"one file for both", aVault + "    output-file: x\n    secret: a b\n    secrets-file: ./y/../x\n", `7:19: vault target "v": the file "./y/../x" is also that of vault target "v"`, ""},
		{"one file of two kinds", aVault + "    output-file: $DIR/x\ngcp:\n  - name: g\n    workload-identity-provider: " + provider + "\n    output-file: $DIR/x\n", `9:18: gcp target "g": the file "$DIR/x" is also that of vault target "v"`, ""},
		{"by a symbolic link", aVault + "    output-file: $DIR/link/x\n  - name: w\n    vault-addr: https://vault.example.com\n    output-file: $DIR/real/x\n", `8:18: vault target "w": the file "$DIR/real/x" is also that of vault target "v"`, ""},
		{"AWS's own", anAWS + "vault:\n  - name: v\n    vault-addr: https://vault.example.com\n    output-file: ~/.aws/credentials\n", `8:18: vault target "v": the file "$DIR/.aws/credentials" is also that of aws target "a"`, ""},
		{"this file", aVault + "    output-file: $DIR/oidc-broker.yaml\n", `5:18: vault target "v": the file "$DIR/oidc-broker.yaml" is also that of this file`, ""},
		{"one gcloud configuration", aGCP + "    configuration: p\n  - name: h\n    workload-identity-provider: " + provider + "\n    configuration: p\n", `8:20: gcp target "h": the file "$DIR/.config/gcloud/configurations/config_p" is also that of gcp target "g"`, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, dir, err := planned(t, row.text)
			if err == nil {
				t.Fatal("it is taken")
			}
			text := err.Error()
			var m misplacement
			if errors.As(err, &m) {
				text = fmt.Sprintf("%d:%d: %s", m.at.line, m.at.column, m.text)
			}
			if want := strings.ReplaceAll(row.want, "$DIR", dir); !strings.Contains(text, want) {
				t.Errorf("%s\nwant %s", text, want)
			}
			if hints := strings.Join(fault.Hints(err), "\n"); !strings.Contains(hints, row.hint) {
				t.Errorf("hints %q, want %q", hints, row.hint)
			}
			if kind := fault.KindOf(err); kind != fault.Usage && !strings.Contains(text, "cannot read") {
				t.Errorf("kind %d", kind)
			}
		})
	}
}

// TestPlanEnvironment: what the file leaves out and the environment says.
func TestPlanEnvironment(t *testing.T) {
	for _, row := range []struct {
		name, text string
		env        []string
		want       string // a call or an error
	}{
		{"AWS_REGION", anAWS, []string{"AWS_REGION=eu-west-1", "AWS_DEFAULT_REGION=eu-west-2"}, "AssumeRoleWithWebIdentity " + aRole + " in eu-west-1"},
		{"AWS_DEFAULT_REGION", anAWS, []string{"AWS_DEFAULT_REGION=eu-west-2"}, "in eu-west-2"},
		{"the file's region", anAWS + "    region: eu-west-3\n", []string{"AWS_REGION=eu-west-1"}, "in eu-west-3"},
		{"a region left unexpanded", anAWS, []string{"AWS_REGION=$REGION"}, "the variable AWS_REGION holds the literal text $REGION"},
		{"no role of the environment", "version: 1\naws: [{profile: a}]\n", []string{"AWS_ROLE_ARN=" + aRole}, "it has no role-arn"},
		{"VAULT_ADDR", "version: 1\nvault: [{name: v}]\n", []string{"VAULT_ADDR=https://one.example.com"}, "login at https://one.example.com"},
		{"BAO_ADDR", "version: 1\nvault: [{name: v}]\n", []string{"VAULT_ADDR=https://one.example.com", "BAO_ADDR=https://two.example.com"}, "login at https://two.example.com"},
		{"the file's address", aVault, []string{"VAULT_ADDR=https://one.example.com"}, "login at https://vault.example.com"},
		{"a universe", aGCP + "    service-account: a@b.iam.gserviceaccount.com\n", []string{"GOOGLE_CLOUD_UNIVERSE_DOMAIN=not a domain"}, "GOOGLE_CLOUD_UNIVERSE_DOMAIN \"not a domain\" is not a domain"},
		{"no home", aVault, []string{"HOME="}, "there is no home directory"},
		{"no home for ~", aVault + "    output-file: ~/x\n", []string{"HOME="}, "no home directory for \"~/x\""},
		{"an unknown name", anAWS, []string{"ONLY=b"}, "only \"b\": there is no target of that name"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, _, err := planned(t, row.text, row.env...)
			got := fmt.Sprint(err)
			if err == nil {
				got = strings.Join(p.targets[0].calls, "\n")
			}
			if !strings.Contains(got, row.want) {
				t.Errorf("%s\nwant %s", got, row.want)
			}
		})
	}
}

// TestPlanChooses: a target that is chosen needs what it comes via, and that is not
// written. The order is that of the file.
func TestPlanChooses(t *testing.T) {
	const text = `version: 1
vault: [{name: v, vault-addr: https://vault.example.com}]
aws:
  - {profile: c, role-arn: arn:aws:iam::333344445555:role/c, via: b}
  - {profile: b, role-arn: arn:aws:iam::222233334444:role/b, via: a}
  - {name: a, role-arn: arn:aws:iam::111122223333:role/a}
  - {profile: d, role-arn: arn:aws:iam::444455556666:role/d, via: a}
`
	for only, want := range map[string]string{
		"":    "vault v: 1 files, aws c: 1 files, aws b: 1 files, aws a: 0 files, aws d: 1 files",
		"c":   "aws c: 1 files, aws b: 0 files, aws a: 0 files",
		"b v": "vault v: 1 files, aws b: 1 files, aws a: 0 files",
		"a":   "aws a: 0 files",
	} {
		p, _, err := planned(t, text, "ONLY="+only)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, target := range p.targets {
			if target.needed {
				got = append(got, fmt.Sprintf("%s %s: %d files", target.kind, target.name, len(target.files)))
			}
		}
		if s := strings.Join(got, ", "); s != want {
			t.Errorf("--only %q: %s, want %s", only, s, want)
		}
	}
}

// TestPlanTokens: what a target says of the token goes over what the file says, and
// that over the command line; guards are demanded together.
func TestPlanTokens(t *testing.T) {
	p, _, err := planned(t, `version: 1
audience: for-all
token-version: v2
require-claim: [a=1]
min-validity: 600
aws:
  - {profile: a, role-arn: "`+aRole+`"}
  - {profile: b, role-arn: "`+aRole+`", token-env: MINE, require-claim: b=2, min-validity: 5m, refuse-ssh-rerun: true}
`)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{
		"{ for-all v2 [a=1] false 10m0s}",
		"{MINE  v2 [a=1 b=2] true 10m0s}",
	} {
		o := p.targets[i].token
		if got := fmt.Sprint("{", o.Env, o.File, " ", o.Audience, " ", o.Version, " ", o.Claims, " ", o.RefuseSSHRerun, " ", o.MinValidity, "}"); got != want {
			t.Errorf("target %d: %s, want %s", i, got, want)
		}
	}
	if n := len(p.choices()); n != 2 {
		t.Errorf("%d tokens are looked for, want 2", n)
	}
}
