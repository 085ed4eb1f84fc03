package job

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
)

// WriteStandIn puts a program of that name into bin, which hands its arguments to
// `executable sandbox NAME-run`.
func WriteStandIn(bin, name, executable string) error {
	program, err := filepath.Abs(executable)
	if err != nil {
		return fault.New(fault.Local, "cannot find %q: %w", executable, err)
	}
	command := "sandbox " + name + "-run"
	scripts := map[string]string{name: shellScript(program, command)}
	if runtime.GOOS == "windows" {
		// The shell script stays for Git's bash, which knows no .cmd.
		scripts[name+".cmd"] = batchScript(program, command)
	}
	for file, text := range scripts {
		path := filepath.Join(bin, file)
		err := files.WriteNew(path, []byte(text))
		if err == nil {
			err = os.Chmod(path, 0o700) // #nosec G302 -- a program
		}
		if err != nil {
			return fault.New(fault.Local, "cannot write the %s stand-in: %w", name, err)
		}
	}
	return nil
}

// shellScript runs executable whatever bytes its path has.
func shellScript(executable, command string) string {
	quoted := "'" + strings.ReplaceAll(executable, "'", `'\''`) + "'"
	return "#!/bin/sh\nexec " + quoted + " " + command + ` "$@"` + "\n"
}

// batchScript does the same for cmd.exe. A path there holds no quotes.
func batchScript(executable, command string) string {
	return `@"` + strings.ReplaceAll(executable, "%", "%%") + `" ` + command + ` %*` + "\r\n"
}
