package cli

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker in a release (-X); a build by 'go install' takes
// its module's version.
var version string

func (a *app) versionCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Args:    noArgs,
		Example: "  oidc-broker version --json",
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
	return a.result(fmt.Appendf(nil, "oidc-broker %s (%s, %s, %s)\n", v.Version, v.Commit, v.Go, v.Platform))
}

// build says what was built.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func versionOf() build {
	b := build{Version: version, Commit: "commit unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	if b.Version == "" {
		b.Version = info.Main.Version
	}
	if b.Version == "" || b.Version == "(devel)" {
		b.Version = "devel"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b.Commit = s.Value[:min(len(s.Value), 12)]
		}
	}
	return b
}
