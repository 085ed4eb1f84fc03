package cli

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// placeVariables name files and directories that no option of ours names.
var placeVariables = []string{
	"AWS_CA_BUNDLE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "BAO_TOKEN_PATH", "BASH_ENV", "BOTO_CONFIG",
	"CLOUDSDK_CONFIG", "SSL_CERT_DIR", "SSL_CERT_FILE", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME",
	"APPDATA", "LOCALAPPDATA",
}

// homeVariables are where most files are, by default.
var homeVariables = []string{"HOME", "USERPROFILE"}

// hints are an error's hints, and with --verbose its details. Before them comes which
// variable or option a file has its path from: the user may never have typed it.
func (a *app) hints(err error) []string {
	hints := asFlags.Hints(err)
	if a.verbose {
		hints = append(hints, asFlags.Details(err)...)
	}
	if from := a.pathOrigin(err); from != "" {
		hints = append([]string{"the path comes from " + from}, hints...)
	}
	return hints
}

// pathOrigin returns the variable or option that names a file of err, or the nearest
// directory that it is in, and "" if there is none, or err names it itself. The home directory counts when the
// system refused: what is wrong in a file there is not the variable's fault.
func (a *app) pathOrigin(err error) string {
	if fault.KindOf(err) != fault.Local {
		return ""
	}
	named, options := fault.Arguments(err)
	longest, from := 0, ""
	offer := func(name, place string) {
		if len(place) > longest && slices.ContainsFunc(named, func(path string) bool { return isWithin(path, place) }) {
			longest, from = len(place), name
		}
	}
	if a.flags != nil {
		a.flags.VisitAll(func(f *pflag.Flag) {
			variable, given := f.Annotations[fromNote]
			if kind, _ := pflag.UnquoteUsage(f); !f.Changed && !given || kind != "file" && kind != "path" && kind != "directory" {
				return
			}
			name := "--" + f.Name
			if given {
				name = variable[0]
			}
			for _, v := range values(f) {
				offer(name, v)
			}
		})
	}
	variables := placeVariables
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		variables = slices.Concat(variables, homeVariables)
	}
	for _, name := range variables {
		for _, v := range filepath.SplitList(strings.TrimSpace(a.Getenv(name))) {
			offer(name, v)
		}
	}
	told := func(o fault.Option) bool { return a.given(o) == from }
	if slices.Contains(named, from) || slices.ContainsFunc(options, told) {
		return ""
	}
	return from
}

// isWithin says whether path is place or in it. A name without a directory, which may
// be that of anything, is no path.
func isWithin(path, place string) bool {
	if path == place || !strings.ContainsAny(path, `/\`) {
		return path == place
	}
	path, place = absolute(path), absolute(place)
	return path == place || strings.HasPrefix(path, strings.TrimSuffix(place, string(filepath.Separator))+string(filepath.Separator))
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// asFlags names options as a command line gives them.
var asFlags fault.Naming = func(o fault.Option) string { return "--" + string(o) }

// given names an option as it was given: by the variable that its value is from, else
// by its flag.
func (a *app) given(o fault.Option) string {
	if a.flags != nil {
		if f := a.flags.Lookup(string(o)); f != nil && len(f.Annotations[fromNote]) > 0 {
			return f.Annotations[fromNote][0]
		}
	}
	return asFlags(o)
}

// text is what an error says, in terms of what was given.
func (a *app) text(err error) string { return fault.Naming(a.given).Text(err) }
