package cli

import (
	"encoding/json"
	"fmt"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// version is set by the linker in a release (-X); a build by 'go install' takes
// its module's version.
var version string

func (a *app) versionCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Long: `Print the version, the commit it was built from, the version of Go it was built with, and
the platform it was built for. 'modified' means that there were changes besides.`,
		Args:    noArgs,
		Example: "  oidc-broker version --json | jq -r .version",
		RunE:    func(*cobra.Command, []string) error { return a.version(asJSON) },
	}
	a.own(c).switches(&asJSON, "json", "OIDC_BROKER_JSON", "print a JSON object")
	return c
}

func (a *app) version(asJSON bool) error {
	v := versionOf()
	if asJSON {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		return a.result(append(b, '\n'))
	}
	commit := v.Commit
	switch {
	case commit == "":
		commit = "commit unknown"
	case v.Modified:
		commit += " modified"
	}
	return a.result(fmt.Appendf(nil, "oidc-broker %s (%s, %s, %s)\n", v.Version, commit, v.Go, v.Platform))
}

// build says what was built. Commit is "" where nobody knows.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"`
	Modified bool   `json:"modified"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func versionOf() build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return buildOf(info, version)
}

// buildOf reads what the go command has put into the program. linked wins over its
// version.
func buildOf(info *debug.BuildInfo, linked string) build {
	b := build{Version: linked, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if b.Version == "" {
		b.Version = strings.TrimSuffix(info.Main.Version, "+dirty") // modified says that
	}
	if b.Version == "" || b.Version == "(devel)" {
		b.Version = "devel"
	}
	// 'go install' of a commit knows it from the version alone: v1.2.3-0.20060102150405-abcdef123456.
	if m := regexp.MustCompile(`[-.]\d{14}-([0-9a-f]{12})$`).FindStringSubmatch(b.Version); m != nil {
		b.Commit = m[1]
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value[:min(len(s.Value), 12)]
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}
