package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/undo"
)

const (
	bashEnvOf = "BASH_ENV=$DIR/bash_env\n"
	bashEnvAt = "-- bash_env --\n"
	ourBlock  = "# >>> oidc-broker aws >>>\nexport AWS_ACCESS_KEY_ID='x'\nexport AWS_CREDENTIAL_EXPIRATION='2026-11-22T12:30:00Z'\n# <<< oidc-broker aws <<<\n"
)

func TestDoctorShell(t *testing.T) {
	bash := realBash(t)
	old := strings.ReplaceAll(ourBlock, "12:30", "11:30")
	visits(t, "shell", []visit{
		{check: "bash-env", name: "no job"},
		{check: "bash-env", name: "there", env: jobEnv + bashEnvOf, files: bashEnvAt},
		{check: "bash-env", name: "not written yet", env: jobEnv + bashEnvOf},
		{check: "bash-env", name: "not set", env: jobEnv, want: "warning BASH_ENV is not set"},
		{check: "bash-env", name: "not set on Windows", env: jobEnv, set: func(v *view) { v.goos = "windows" }},
		{check: "bash-env", name: "a directory", env: "BASH_ENV=$DIR/home", want: "error cannot be read: it is a directory"},

		{check: "bash-missing", name: "no job"},
		{check: "bash-missing", name: "there", env: jobEnv, files: "-- bin/bash 755 --\n"},
		{check: "bash-missing", name: "Alpine", env: jobEnv, files: "-- bin/sh 755 --\n", want: "warning there is no bash on PATH"},
		{check: "bash-missing", name: "Windows", env: jobEnv, set: func(v *view) { v.goos = "windows" }, want: "note PowerShell"},

		{check: "bash-env-syntax", name: "fine", env: bashEnvOf, files: bashEnvAt + "export A='b c'\n" + ourBlock, set: bash},
		{check: "bash-env-syntax", name: "empty", env: bashEnvOf, files: bashEnvAt, set: bash},
		{check: "bash-env-syntax", name: "an error", env: bashEnvOf, files: bashEnvAt + "export A=1\nexport CANARY=(\n", set: bash, want: `error bash finds a syntax error in "`},
		{check: "bash-env-syntax", name: "an open quote", env: bashEnvOf, files: bashEnvAt + "export A='1\nexport B=2\n", set: bash, want: `error on line `},
		{check: "bash-env-syntax", name: "no bash", env: bashEnvOf, files: bashEnvAt + "export A='1\n"},

		{check: "bash-env-exit", name: "none", env: bashEnvOf, files: bashEnvAt + "  exit 1\nexited=1\n"},
		{check: "bash-env-exit", name: "exit", env: bashEnvOf, files: bashEnvAt + "export A=1\nexit 0\n", want: "warning line 2 of"},

		{check: "bash-env-mode", name: "private", env: bashEnvOf, files: bashEnvAt + ourBlock},
		{check: "bash-env-mode", name: "open, nothing in it", env: bashEnvOf, files: "-- bash_env 644 --\nexport PATH=$PATH:/x\n"},
		{check: "bash-env-mode", name: "our block", env: bashEnvOf, files: "-- bash_env 644 --\n" + ourBlock, want: "warning its mode 0644"},
		{check: "bash-env-mode", name: "somebody's keys", env: bashEnvOf, files: "-- bash_env 644 --\nexport AWS_SECRET_ACCESS_KEY=x\n", want: "warning its mode 0644"},
		{check: "bash-env-mode", name: "a token under another name", env: bashEnvOf, files: "-- bash_env 644 --\nexport MINE={token v1}\n", want: "warning its mode 0644"},

		{check: "bash-env-block", name: "good", env: bashEnvOf, files: bashEnvAt + ourBlock},
		{check: "bash-env-block", name: "ended", env: bashEnvOf, files: bashEnvAt + old, want: `error the AWS credentials in the block "aws" of`},
		{check: "bash-env-block", name: "another one ended", env: bashEnvOf, files: bashEnvAt + ourBlock + strings.ReplaceAll(old, "oidc-broker aws", "oidc-broker aws prod"), want: `error in the block "aws prod"`},
		{check: "bash-env-block", name: "broken", env: bashEnvOf, files: bashEnvAt + "# >>> oidc-broker aws >>>\nx\n", want: `error block "aws" has no end`},

		{check: "bash-env-shadowed", name: "before it", env: bashEnvOf, files: bashEnvAt + "export AWS_ACCESS_KEY_ID=x\n" + ourBlock + "export A=1\n"},
		{check: "bash-env-shadowed", name: "after it", env: bashEnvOf, files: bashEnvAt + ourBlock + "export AWS_ACCESS_KEY_ID=x\nAWS_PROFILE=y\n", want: "warning AWS_ACCESS_KEY_ID on line 5, AWS_PROFILE on line 6"},
		{check: "bash-env-shadowed", name: "no block", env: bashEnvOf, files: bashEnvAt + "export AWS_ACCESS_KEY_ID=x\n"},

		{check: "unexpanded", name: "none", env: "AWS_REGION=eu-central-1"},
		{check: "unexpanded", name: "a variable", env: "AWS_ROLE_ARN=$ROLE\nVAULT_ADDR=${X}\nAWS_PROFILE=<< parameters.p >>", want: "error AWS_ROLE_ARN, AWS_PROFILE, VAULT_ADDR: a variable in the value was not expanded"},
		{check: "unexpanded", name: "a dollar", env: "AWS_ROLE_ARN=a$"},
	})
}

func TestDoctorMachine(t *testing.T) {
	visits(t, "machine", []visit{
		{check: "ca-roots", name: "a bundle", env: "SSL_CERT_FILE=$DIR/ca", files: "-- ca --\n" + testCertificate},
		{check: "ca-roots", name: "a directory", env: "SSL_CERT_FILE=$DIR/ca\nSSL_CERT_DIR=$DIR/x:$DIR/certs", files: "-- ca --\n-- certs/one --\n" + testCertificate},
		{check: "ca-roots", name: "none", env: "SSL_CERT_FILE=$DIR/ca\nSSL_CERT_DIR=$DIR/home", want: "error SSL_CERT_FILE, SSL_CERT_DIR: name what is there"},
		{check: "ca-roots", name: "a directory alone", env: "SSL_CERT_FILE=$DIR/ca\nSSL_CERT_DIR=$DIR/certs", files: "-- certs/one --\n" + testCertificate, want: "warning SSL_CERT_FILE names"},
		{check: "ca-roots", name: "macOS has its own", env: "SSL_CERT_DIR=$DIR", set: func(v *view) { v.goos = "darwin" }},

		{check: "temp-dir", name: "fine"},
		{check: "temp-dir", name: "missing", env: "TMPDIR=$DIR/none", want: "error cannot be written to: no such file"},
		{check: "temp-dir", name: "noexec", set: func(v *view) { v.noexec = func(string) bool { return true } }, want: "warning is mounted noexec"},

		{check: "home", name: "fine"},
		{check: "home", name: "not set", env: "HOME=", want: "warning HOME is not set"},
		{check: "home", name: "missing", env: "HOME=/nonexistent", want: `warning the home directory "/nonexistent" cannot be written to: no such file`},
		{check: "home", name: "a file", env: "HOME=$DIR/f", files: "-- f --\n", want: "warning it is not a directory"},

		{check: "proxy", name: "none"},
		{check: "proxy", name: "all", env: "HTTPS_PROXY=http://p:3128\nNO_PROXY=127.0.0.1, localhost"},
		{check: "proxy", name: "nobody by it", env: "https_proxy=http://p:3128\nno_proxy=*"},
		{check: "proxy", name: "loopback", env: "HTTPS_PROXY=http://p:3128\nNO_PROXY=127.0.0.1", want: "note NO_PROXY lacks 127.0.0.1 or localhost"},
		{check: "proxy", name: "no URL", env: "HTTPS_PROXY=p:3128\nNO_PROXY=*", want: "warning HTTPS_PROXY is no URL of a proxy"},
		{check: "proxy", name: "differ", env: "HTTPS_PROXY=http://p:3128\nhttps_proxy=http://q:3128\nNO_PROXY=*", want: "warning HTTPS_PROXY and https_proxy differ"},

		{check: "clock", name: "no token"},
		{check: "clock", name: "agrees", env: withV1},
		{check: "clock", name: "a little", env: "CIRCLE_OIDC_TOKEN={token v1 issued=59s}"},
		{check: "clock", name: "behind", env: "CIRCLE_OIDC_TOKEN={token v1 issued=2m}", want: "warning issued 2m0s from now"},
		{check: "clock", name: "far behind", env: "CIRCLE_OIDC_TOKEN={token v1 issued=1h}", want: "error issued 1h0m0s from now"},
		{check: "clock", name: "not said", env: "CIRCLE_OIDC_TOKEN={token v1 claim=iat:null}"},

		{check: "leftovers", name: "no place for a record"},
		{check: "leftovers", name: "no record", set: func(v *view) { v.Journal = undo.NewJournal(filepath.Join(v.home(), "none")) }},
		{check: "leftovers", name: "this job's own", set: leftBy(t, "one", "one")},
		{check: "leftovers", name: "outside of a job", set: leftBy(t, "one", "")},
		{check: "leftovers", name: "another job's", set: leftBy(t, "one", "two"), want: `warning an earlier job on this machine has left its credentials: "`},
		{check: "leftovers", name: "damaged", set: func(v *view) {
			leftBy(t, "one", "two")(v)
			if err := os.WriteFile(filepath.Join(v.Journal.Dir, "journal.json"), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, want: "warning is damaged"},

		{check: "version", name: "this one"},
	})
}

// leftBy has a job write a file, and another one look.
func leftBy(t *testing.T, then, now string) func(*view) {
	return func(v *view) {
		j := undo.NewJournal(filepath.Join(v.home(), "state"))
		j.Job = then
		err := j.Commit(t.Context(), files.Edit{Path: filepath.Join(v.home(), "f"), Apply: func([]byte) ([]byte, error) { return []byte("x"), nil }})
		if err != nil {
			t.Fatal(err)
		}
		v.Journal = undo.NewJournal(j.Dir)
		v.Journal.Job = now
	}
}

func TestDoctorCheckout(t *testing.T) {
	visits(t, "leaks", []visit{
		{check: "leak-path", name: "outside", env: "AWS_SHARED_CREDENTIALS_FILE=$DIR/c", files: "-- c --\nx\n"},
		{check: "leak-path", name: "nothing there yet", env: "AWS_SHARED_CREDENTIALS_FILE=$DIR/work/c"},
		{check: "leak-path", name: "a profile", env: "AWS_SHARED_CREDENTIALS_FILE=$DIR/work/c", files: "-- work/c --\nx\n", want: `warning AWS_SHARED_CREDENTIALS_FILE names "c", in the checkout`},
		{check: "leak-path", name: "a token", token: ci.Finder{File: "t"}, files: "-- work/t --\n{token v1}\n", want: `warning --token-file names "t"`},
		{check: "leak-path", name: "Google's", env: "GOOGLE_APPLICATION_CREDENTIALS=$DIR/adc.json", files: "-- adc.json --\n" + external(`{"file": "$DIR/work/sub/token"}`) + "-- work/sub/token --\nx\n", want: `warning the credential configuration names "sub/token"`},
		{check: "leak-path", name: "beside the checkout", env: "BASH_ENV=$DIR/work2", files: "-- work2 --\nx\n"},
		{check: "leak-path", name: "a home in the checkout", env: "HOME=$DIR/work\nAWS_CONFIG_FILE=$DIR/work/.aws/config\nAWS_SHARED_CREDENTIALS_FILE=$DIR/work/.aws/credentials", files: "-- work/.aws/credentials --\nx\n"},
	})
}
