package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/child"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/pkg/internal/shell"
)

const (
	// bashTime bounds how long bash looks at it.
	bashTime = 5 * time.Second
)

// bashEnvFile is the file that bash reads before each step.
type bashEnvFile struct {
	path   string // "": BASH_ENV is not set
	text   []byte
	info   fs.FileInfo // nil: it is not there
	err    error       // of reading it
	blocks []string
	broken error // of our blocks in it
}

func (v *view) lookForBashEnv() bashEnvFile {
	f := bashEnvFile{path: v.get("BASH_ENV")}
	if f.path == "" {
		return f
	}
	f.text, f.info, f.err = v.read(f.path, shell.MaxBashEnv)
	if errors.Is(f.err, fs.ErrNotExist) {
		f.err = nil // who writes it first makes it
	}
	f.blocks, f.broken = shell.Blocks(f.text)
	return f
}

func shellChecks() []check {
	return []check{
		{"bash-env", "$BASH_ENV is set and can be read", bashEnvSet},
		{"bash-missing", "the steps' shell reads $BASH_ENV", bashMissing},
		{"bash-env-syntax", "bash takes $BASH_ENV without an error", bashEnvSyntax},
		{"bash-env-exit", "$BASH_ENV ends no step", bashEnvExit},
		{"bash-env-mode", "nobody else can read the credentials in $BASH_ENV", bashEnvMode},
		{"bash-env-block", "our blocks in $BASH_ENV are whole, and their credentials have not ended", bashEnvBlocks},
		{"bash-env-shadowed", "nothing in $BASH_ENV comes after our blocks and wins", bashEnvShadowed},
		{"unexpanded", "no variable holds another one's name where its value should be", unexpandedVariables},
	}
}

func bashEnvSet(v *view) []Finding {
	f := v.bashEnv()
	switch {
	case f.path == "" && v.inJob() && v.goos != "windows":
		return []Finding{warns("BASH_ENV is not set, as it is in every CircleCI job").
			because("what a step exports is gone in the next one, and --bash-env has no file to write to; docker run, sudo and env -i leave it behind").
			remedy("pass BASH_ENV on, or deliver by a profile: oidc-broker aws profile")}
	case f.err != nil:
		return []Finding{fails("BASH_ENV names %s, which cannot be read: %v", v.place(f.path), f.err).
			because("bash says nothing, and every step goes on without what is in there").
			remedy("make it a file that this user can read, or name another one")}
	}
	return nil
}

func bashMissing(v *view) []Finding {
	if !v.inJob() {
		return nil
	}
	if v.goos == "windows" {
		return []Finding{notes("the steps of Windows jobs run in PowerShell, unless 'shell: bash.exe' says otherwise").
			because("it does not read $BASH_ENV").
			remedy("deliver by a profile (oidc-broker aws profile, gcp login), or around a command (exec)")}
	}
	if _, err := v.lookPath("bash"); err != nil {
		return []Finding{warns("there is no bash on PATH").
			because("CircleCI runs the steps in sh then, as in Alpine images, and sh does not read $BASH_ENV: what is exported there never arrives, and nothing fails").
			remedy("install bash, begin steps with . \"$BASH_ENV\", or deliver by a profile: oidc-broker aws profile")}
	}
	return nil
}

// bashEnvSyntax has bash read the file without running it. Its words are not
// shown, for they quote the line.
func bashEnvSyntax(v *view) []Finding {
	f := v.bashEnv()
	bash, err := v.lookPath("bash")
	if f.err != nil || len(f.text) == 0 || err != nil || v.goos == "windows" {
		return nil
	}
	ctx, cancel := context.WithTimeout(v.ctx, bashTime)
	defer cancel()
	stderr, err := v.run(ctx, bash, "--norc", "--noprofile", "-n", v.abs(f.path))
	var ended *child.ExitError
	if err == nil || ctx.Err() != nil || !errors.As(err, &ended) || len(stderr) == 0 {
		return nil
	}
	where := ""
	if m := regexp.MustCompile(`line ([0-9]+):`).FindSubmatch(stderr); m != nil {
		where = " on line " + string(m[1])
	}
	return []Finding{fails("bash finds a syntax error in %s%s", v.place(f.path), where).
		because("every step goes on with exit code 0, without what is exported from there on").
		remedy("look at that line: a value with quotes, spaces or $ in it has to be in single quotes; 'oidc-broker ... env --bash-env' writes them so")}
}

func bashEnvExit(v *view) []Finding {
	f := v.bashEnv()
	number := 0
	for line := range strings.Lines(string(f.text)) {
		number++
		if regexp.MustCompile(`^exit(?:[ \t]+[0-9]+)?[ \t]*(?:[;#].*)?\r?\n?$`).MatchString(line) {
			return []Finding{warns("line %d of %s is exit", number, v.place(f.path)).
				because("bash runs the file in the step's own shell: every step ends there, with that code").
				remedy("take the line out; within a function or a heredoc it is harmless")}
		}
	}
	return nil
}

func bashEnvMode(v *view) []Finding {
	f := v.bashEnv()
	if !v.open(f.info) || f.err != nil {
		return nil
	}
	exported := shell.Exported(f.text)
	secrets := slices.ContainsFunc(secretVariables(), func(name string) bool { _, there := exported[name]; return there })
	if len(f.blocks) == 0 && !secrets && !secret.HasCredentials(string(f.text)) {
		return nil
	}
	return []Finding{warns("%s holds credentials, and its mode %#o lets others read it", v.place(f.path), f.info.Mode().Perm()).
		because("every process of every user on this machine can take them").
		remedy("chmod 600 %s", v.place(f.path))}
}

func bashEnvBlocks(v *view) []Finding {
	f := v.bashEnv()
	if f.broken != nil {
		bad := failed(f.broken)
		bad.Message = fmt.Sprintf("%s: %s", v.place(f.path), bad.Message)
		return []Finding{bad.because("no --bash-env can change the file any more")}
	}
	var all []Finding
	for _, block := range f.blocks {
		value := shell.BlockValue(v.abs(f.path), block, "AWS_CREDENTIAL_EXPIRATION").Reveal()
		end, err := time.Parse(time.RFC3339, value)
		if value == "" || err != nil || end.After(v.Now) {
			continue
		}
		all = append(all, fails("the AWS credentials in the block %q of %s ended %s ago", block, v.place(f.path), v.Now.Sub(end).Round(time.Second)).
			because("every step that runs in bash has them in its environment, where they win over every profile").
			remedy("get new ones (oidc-broker aws env --bash-env), or take the block out (oidc-broker cleanup)"))
	}
	return all
}

func bashEnvShadowed(v *view) []Finding {
	f := v.bashEnv()
	if len(f.blocks) == 0 {
		return nil
	}
	var names []string
	for name, e := range shell.Exported(f.text) {
		if e.AfterBlock && slices.Contains([]string{
			"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", adcVariable, gcloudVariable, "VAULT_TOKEN", "VAULT_ADDR",
		}, name) {
			names = append(names, fmt.Sprintf("%s on line %d", name, e.Line))
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	return []Finding{warns("%s sets %s, after a block of oidc-broker's", v.place(f.path), strings.Join(names, ", ")).
		because("the last one wins: orbs and scripts append to the file").
		remedy("let one of them write credentials; steps that need others use profiles, or exec")}
}

// plainVariables are those that name things, so that a $NAME in them was meant to
// be another variable's value.
func plainVariables() []string {
	return []string{
		"AWS_ROLE_ARN", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE",
		"AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "AWS_CA_BUNDLE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS", "BASH_ENV",
		adcVariable, gcloudVariable, "GOOGLE_PROJECT_NUMBER", "GCP_PROJECT_ID", "GOOGLE_PROJECT_ID", "GOOGLE_CLOUD_PROJECT",
		"GCP_WIP_ID", "OIDC_WIP_ID", "GCP_WORKLOAD_IDENTITY_POOL", "GCP_WIP_PROVIDER_ID", "OIDC_WIP_PROVIDER_ID", "GCP_WORKLOAD_IDENTITY_PROVIDER",
		"GCP_SERVICE_ACCOUNT_EMAIL", "OIDC_SERVICE_ACCOUNT_EMAIL", "GCP_OIDC_SERVICE_ACCOUNT",
		"VAULT_ADDR", "BAO_ADDR", "VAULT_ROLE", "BAO_ROLE", "VAULT_NAMESPACE", "BAO_NAMESPACE", "VAULT_CACERT", "BAO_CACERT", "VAULT_AUTH_PATH", "BAO_AUTH_PATH",
	}
}

func unexpandedVariables(v *view) []Finding {
	var names []string
	for _, name := range plainVariables() {
		if shell.Unexpanded(v.get(name)) != "" {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return []Finding{fails("%s: a variable in the value was not expanded", fault.Names(names)).
		because("CircleCI does not interpolate variables in 'environment:', and the shell not within single quotes: tools take $NAME literally").
		remedy("set it in a step: echo 'export NAME=\"$OTHER\"' >> \"$BASH_ENV\"; or write the value in full")}
}
