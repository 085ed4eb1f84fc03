package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/gcp"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
)

// The file of apply comes from a checkout, and in a job for a fork's pull request a
// stranger wrote it, where the job's commands are still the project's own. So it may
// say which access it wants, which the trust policies decide about, but neither who
// receives the job's token nor what is read and replaced elsewhere on the machine.
// --trust-file lifts all of it.

// trustFileHint is for who trusts the file's author.
const trustFileHint = "if you trust all who can change the file: --trust-file, or OIDC_BROKER_TRUST_FILE=true, accepts it as it is"

// untrusted refuses what the author of the file may not decide. The value that the
// job itself gives is no decision of the file's.
func (p *plan) untrusted(r *applyRun, m mapping, whose string) error {
	if p.trusted {
		return nil
	}
	for _, k := range entriesOf(m) {
		if k.decides == "" || slices.Contains(harmless[k.name], k.text) {
			continue
		}
		given, how, err := p.elsewhere(r, k.from)
		if err != nil {
			return err
		}
		if !slices.Contains(given, k.text) {
			return misplaced(k.at, "%s may not set %s (%s)", whose, k.name, k.decides).
				Hint("%s, and leave it out of the file or give the same value in both", how).
				Hint(trustFileHint)
		}
	}
	return nil
}

func (p *plan) untrustedTargets(r *applyRun) error {
	for _, t := range p.targets {
		if err := p.untrusted(r, t.spec, t.String()); err != nil {
			return err
		}
	}
	return nil
}

// harmless are values that decide nothing: the job's own tokens, which a command
// without options takes, too, and what the job's command itself gives on standard
// input.
var harmless = map[string][]string{
	"token-env":  {ci.EnvV1, ci.EnvV2},
	"token-file": {"-"},
}

// elsewhere returns the values that the job gives for an option or a variable, and
// how it does.
func (p *plan) elsewhere(r *applyRun, from []string) (given []string, how string, err error) {
	name, option := strings.CutPrefix(from[0], "--")
	if !option {
		value, err := p.first(from...)
		return []string{value}, "set " + strings.Join(from, " or "), err
	}
	how = "give " + from[0]
	if r.flags == nil {
		return nil, how, nil
	}
	f := r.flags.Lookup(name)
	if variables := f.Annotations[envNote]; len(variables) > 0 {
		how += ", or set " + strings.Join(variables, " or ")
	}
	return values(f), how, nil
}

// toolPlaces are where a tool looks for a file of a kind, and how one is known.
type toolPlaces struct {
	kind        string
	dirs, paths []string
	is          func([]byte) bool
}

func (p *plan) googlePlaces() (toolPlaces, error) {
	known := toolPlaces{kind: "a Google credential file", is: isGoogleCredential}
	getenv, err := p.environment("CLOUDSDK_CONFIG", "HOME", "APPDATA", "GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE")
	if err != nil {
		return known, err
	}
	known.dirs = []string{gcp.ConfigurationDir(getenv)}
	known.paths = []string{getenv("GOOGLE_APPLICATION_CREDENTIALS"), getenv("CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE")}
	return known, nil
}

func (p *plan) vaultPlaces() (toolPlaces, error) {
	path, err := (&vaultRun{app: p.app}).tokenPath()
	known := toolPlaces{kind: "a Vault token", is: isVaultToken, paths: []string{path}}
	if home, err := p.home(); err == nil && home != "" {
		known.paths = append(known.paths, filepath.Join(home, ".vault-token"))
	}
	return known, err
}

// noPlaces are those of a file that no tool looks for.
func noPlaces() (toolPlaces, error) { return toolPlaces{}, nil }

// isGoogleCredential says whether a file is one that Google's libraries read.
func isGoogleCredential(b []byte) bool {
	var f struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(b, &f) != nil {
		return false
	}
	return slices.Contains([]string{"external_account", "external_account_authorized_user", "impersonated_service_account",
		"service_account", "authorized_user"}, f.Type)
}

// isVaultToken says whether a file is one of the Vault CLI's: a token and nothing else.
func isVaultToken(b []byte) bool {
	return regexp.MustCompile(`^(?:hv[sbr]|[sbr])\.[A-Za-z0-9_.=-]+\n?$`).Match(b)
}

// outputPath is the path of an output that the file names.
func (p *plan) outputPath(e entry, t *target, places func() (toolPlaces, error)) (string, error) {
	path, err := p.filePath(e, t.String())
	if err != nil || path == "" || p.trusted {
		return path, err
	}
	known, err := places()
	if err != nil {
		return "", err
	}
	why, err := p.mayNotWrite(path, known)
	if err == nil && why != "" {
		err = t.mistake(e.at, "%q %s", e.text, why).
			Hint("the file may name new files and those of oidc-broker, in the working directory or the tools' usual places").
			Hint(trustFileHint)
	}
	return path, err
}

// mayNotWrite says why an untrusted author may not have a file written; "": he may.
func (p *plan) mayNotWrite(path string, known toolPlaces) (why string, err error) {
	real, err := followed(path)
	if err != nil {
		return err.Error(), nil //nolint:nilerr // where it leads is the reason to refuse it
	}
	config, err := p.userDir("XDG_CONFIG_HOME", ".config")
	if err != nil {
		return "", err
	}
	usual := slices.ContainsFunc(append(known.dirs, config), func(dir string) bool { return dir != "" && within(realPath(dir), real) }) ||
		slices.ContainsFunc(known.paths, func(path string) bool { return path != "" && realPath(path) == real })
	if !usual {
		if why, err := p.outside(real); why != "" || err != nil {
			return why, err
		}
		if hidden := hiddenPart(real); hidden != "" {
			return fmt.Sprintf("begins with a dot (%s): other programs obey it", hidden), nil
		}
	}
	return p.notReplaceable(real, known)
}

// notReplaceable says why a file that is there may not be replaced.
func (p *plan) notReplaceable(real string, known toolPlaces) (string, error) {
	for _, name := range shellFiles {
		if path := strings.TrimSpace(p.Getenv(name)); path != "" && sameFile(path, real) {
			return "is run by the shell: it is in the variable " + name, nil
		}
	}
	info, err := os.Lstat(real)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode().IsRegular() && info.Size() == 0 {
		return "", nil
	}
	if j := p.journal(); j != nil && j.Wrote(real) {
		return "", nil
	}
	b, err := files.Read(real, maxDocument)
	if err == nil && known.is != nil && known.is(b) {
		return "", nil
	}
	why := "exists, and oidc-broker did not write it"
	if known.kind != "" {
		why += ", nor is it " + known.kind
	}
	return why, nil
}

// shellFiles are the variables that name what a shell runs when it starts.
var shellFiles = []string{"BASH_ENV", "ENV"}

// mayRead refuses a file whose content an untrusted author may not have sent.
func (p *plan) mayRead(path string) error {
	if p.trusted {
		return nil
	}
	var why string
	real, err := followed(path)
	if err != nil {
		why = err.Error()
	} else if why, err = p.outside(real); err != nil {
		return err
	}
	switch {
	case why != "":
	case hiddenPart(real) != "":
		why = fmt.Sprintf("begins with a dot (%s): it can hold credentials", hiddenPart(real))
	case slices.ContainsFunc(shellFiles, func(name string) bool { return sameFile(strings.TrimSpace(p.Getenv(name)), real) }):
		why = "is run by the shell"
	case p.journal() != nil && p.journal().Wrote(real):
		why = "holds credentials that oidc-broker wrote"
	}
	if why == "" {
		return nil
	}
	return fault.New(fault.Usage, "%q %s", path, why).
		Hint("the file may name files of the working directory, which hold no credentials").
		Hint(trustFileHint)
}

// outside says why a path is not in the checkout; "": it is. Where the working
// directory holds the home directory, that is not a part of the checkout, and / is
// none at all.
func (p *plan) outside(real string) (why string, err error) {
	checkout := realPath(".")
	if !within(checkout, real) || checkout == filepath.Dir(checkout) {
		return "is outside the working directory", nil
	}
	home, err := p.home()
	if err != nil || home == "" {
		return "", err
	}
	if home = realPath(home); home != checkout && within(checkout, home) && within(home, real) {
		return "is in the home directory", nil
	}
	return "", nil
}

// home is the user's home directory; "": there is none.
func (p *plan) home() (string, error) {
	return p.first("HOME", "USERPROFILE")
}

// hiddenPart is the first part of a path in the working directory that begins with a
// dot, but for .env and .env.NAME, which tools of the project itself read.
func hiddenPart(real string) string {
	rest, err := filepath.Rel(realPath("."), real)
	if err != nil {
		return ""
	}
	parts := strings.Split(filepath.ToSlash(rest), "/")
	for i, part := range parts {
		environment := i == len(parts)-1 && (part == ".env" || strings.HasPrefix(part, ".env."))
		if strings.HasPrefix(part, ".") && !environment {
			return part
		}
	}
	return ""
}

// within says whether a path is below a directory. Both are real ones.
func within(dir, path string) bool {
	rest, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rest) && rest != "."
}

// followed is the path that a name leads to. A link to nothing would be followed by
// whoever writes.
func followed(path string) (string, error) {
	switch {
	case !filepath.IsAbs(path) && !filepath.IsLocal(path):
		return "", errors.New("is outside the working directory")
	case slices.Contains(strings.Split(filepath.ToSlash(path), "/"), ".."):
		// The system follows link/.. to where the link leads, and back from there.
		return "", errors.New(`holds "..", which a link can lead elsewhere`)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", errors.New("its place cannot be found")
	}
	for there := abs; there != filepath.Dir(there); there = filepath.Dir(there) {
		if _, err := filepath.EvalSymlinks(there); err == nil {
			break
		}
		if _, err := os.Lstat(there); err == nil {
			return "", errors.New("is, or is below, a link that leads nowhere")
		}
	}
	return realPath(abs), nil
}

// sameFile says whether two names are of one file, also where case does not matter.
func sameFile(a, b string) bool {
	if a == "" {
		return false
	}
	if a = realPath(a); strings.EqualFold(a, b) {
		return true
	}
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	two, err := os.Stat(b)
	return err == nil && os.SameFile(one, two)
}
