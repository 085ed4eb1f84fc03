package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/aws"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/ini"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
)

// maxINI bounds what is read of an AWS file.
const maxINI = 16 << 20

// awsState is what the two AWS files say.
type awsState struct {
	files    []awsFile // credentials, config
	config   aws.Config
	profiles []aws.Profile // of config
	profile  string        // the one that an SDK takes without being told
}

// awsFile is one of the two files.
type awsFile struct {
	path string
	info fs.FileInfo // nil: it is not there
	err  error       // of reading it, or of what is in it
	keys bool        // there are keys in it
}

// effective is the profile that an SDK takes without being told.
func (s awsState) effective() aws.Profile {
	for _, p := range s.profiles {
		if p.Name == s.profile {
			return p
		}
	}
	return aws.Profile{}
}

func (v *view) lookForAWS() awsState {
	s := awsState{profile: "default"}
	if p, _ := v.first("AWS_PROFILE", "AWS_DEFAULT_PROFILE"); p != "" {
		s.profile = p
	}
	files, err := aws.FindFiles(v.get)
	if err != nil {
		return s // no home: machine's complaint
	}
	var sections [2][]ini.Section
	for i, path := range []string{files.Credentials, files.Config} {
		f := awsFile{path: path}
		var text []byte
		text, f.info, f.err = v.read(path, maxINI)
		if errors.Is(f.err, fs.ErrNotExist) {
			f.err = nil
		}
		if f.err == nil {
			sections[i], f.err = ini.ReadINI(text)
		}
		for _, section := range sections[i] {
			for _, setting := range section.Settings {
				f.keys = f.keys || setting.Key == "aws_secret_access_key"
			}
		}
		s.files = append(s.files, f)
	}
	s.config = aws.NewConfig(sections[0], sections[1])
	s.profiles = s.config.Profiles
	return s
}

func awsFileChecks() []check {
	return []check{
		{"aws-file", "the AWS files can be read by every SDK", awsFiles},
		{"aws-file-path", "the variables that name the AWS files mean the same to every SDK", awsConflicts("aws-file-path")},
		{"aws-file-mode", "nobody else can read the keys in the AWS files", awsFileModes},
		{"aws-profile-name", "every SDK finds the profiles by their names", awsProfileNames},
		{"aws-profile-mixed", "no profile has two ways to credentials", awsProfilesMixed},
		{"aws-credential-process", "the programs that credential_process names are there", awsProcesses},
	}
}

func awsFiles(v *view) []Finding {
	var all []Finding
	for _, f := range v.aws().files {
		if f.err == nil {
			continue
		}
		bad := fails("%s: %v", v.place(f.path), f.err)
		if hints := fault.Hints(f.err); len(hints) > 0 {
			bad.Remedy = strings.Join(hints, "; ")
		} else {
			bad.Remedy = "make it a file that this user can read, or name another one with AWS_SHARED_CREDENTIALS_FILE or AWS_CONFIG_FILE"
		}
		all = append(all, bad.because("the AWS CLI and boto3 refuse the whole file, or the SDKs read it differently; 'oidc-broker aws profile' leaves it alone"))
	}
	return all
}

func awsFileModes(v *view) []Finding {
	var all []Finding
	for _, f := range v.aws().files {
		if f.keys && v.open(f.info) {
			all = append(all, warns("%s holds keys, and its mode %#o lets others read it", v.place(f.path), f.info.Mode().Perm()).
				because("every process of every user on this machine can take them").
				remedy("chmod 600 %s", v.place(f.path)))
		}
	}
	return all
}

func awsProfileNames(v *view) []Finding {
	var all []Finding
	for _, p := range v.aws().profiles {
		if err := ini.ProfileName(p.Name); err != nil && len(all) < 8 {
			all = append(all, v.unportable(p.Name, err))
		}
	}
	return all
}

func (v *view) unportable(name string, err error) Finding {
	f := failed(err)
	f.Severity = Warning
	// "X" cannot be a profile's name: WHY
	_, why, _ := strings.Cut(f.Message, "cannot be a profile's name: ")
	f.Message = "a profile has a name that not every SDK finds: " + why
	if !secret.HasCredentials(name) && len(name) <= 40 {
		f.Message = fmt.Sprintf("the profile %q has a name that not every SDK finds: %s", name, why)
	}
	return f.because("one tool works with it, another takes other credentials or none")
}

func awsProfilesMixed(v *view) []Finding {
	var all []Finding
	for _, p := range v.aws().profiles {
		ways := p.CredentialSources()
		if len(ways) < 2 || len(all) == 8 {
			continue
		}
		all = append(all, warns("%s has %s", profileName(p.Name), strings.Join(ways, " and ")).
			because("which of them wins differs between the AWS CLI, boto3 and Go programs; web_identity_token_file with credential_process does not load in Go at all").
			remedy("keep one of them, in both files; 'oidc-broker aws profile' removes the others"))
	}
	return all
}

func awsProcesses(v *view) []Finding {
	var all []Finding
	for _, p := range v.aws().profiles {
		if line := p.Value("credential_process"); line != "" && len(all) < 8 {
			all = append(all, v.process(profileName(p.Name), line)...)
		}
	}
	return all
}

// process looks at one credential_process. Its line is not shown but for the
// program: what follows may be a password.
func (v *view) process(profile, line string) []Finding {
	words, ok := ini.Words(line)
	if !ok || len(words) == 0 || words[0] == "" {
		return []Finding{fails("credential_process of %s cannot be split into words: a quote in it is open, or it is empty", profile).
			remedy("write the program's absolute path and its options, without quotes around the line")}
	}
	program := words[0]
	var f Finding
	switch named := v.place(program); {
	case strings.HasPrefix(program, "~") || strings.HasPrefix(program, "$"):
		f = fails("credential_process of %s names its program by ~ or a variable", profile).
			because("Go programs expand it, the AWS CLI and boto3 do not, and find no such file")
	case filepath.IsAbs(program):
		_, err := v.lookPath(program)
		if err == nil {
			return nil
		}
		f = fails("credential_process of %s: %s is no program that can be run: %v", profile, named, unwrapped(err)).
			because("every SDK fails with this profile")
	case strings.ContainsAny(program, `/\`):
		f = warns("credential_process of %s names %s, a path that is not absolute", profile, named).
			because("it is another program in each working directory, or none")
	default:
		path, err := v.lookPath(program)
		if err == nil {
			return []Finding{passes("credential_process of %s is found on PATH, at %s", profile, v.place(path))}
		}
		f = fails("credential_process of %s: its program is not on PATH", profile).
			because("every SDK fails with this profile")
	}
	return []Finding{f.remedy("write the program's absolute path; 'oidc-broker aws profile --mode process' does")}
}

// unwrapped is the cause of an error whose text quotes the path again.
func unwrapped(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

// vaultTokenFile is where the Vault CLI keeps a login's token.
func (v *view) vaultTokenFile() string {
	if path := v.get("BAO_TOKEN_PATH"); path != "" {
		return path
	}
	if v.home() == "" {
		return ""
	}
	return filepath.Join(v.home(), ".vault-token")
}
