package cli

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestVersion(t *testing.T) {
	vcs := func(revision, modified string) []debug.BuildSetting {
		return []debug.BuildSetting{{Key: "vcs.revision", Value: revision}, {Key: "vcs.modified", Value: modified}}
	}
	const commit = "0123456789abcdef0123456789abcdef01234567"
	for _, row := range []struct {
		name     string
		main     string
		settings []debug.BuildSetting
		linked   string
		want     build
	}{
		{"nothing known", "", nil, "", build{Version: "devel"}},
		{"go build of an export", "(devel)", nil, "", build{Version: "devel"}},
		{"go build of a checkout", "v1.3.0-0.20261128101112-0123456789ab", vcs(commit, "false"), "", build{Version: "v1.3.0-0.20261128101112-0123456789ab", Commit: "0123456789ab"}},
		{"of one with changes", "v1.2.0+dirty", vcs(commit, "true"), "", build{Version: "v1.2.0", Commit: "0123456789ab", Modified: true}},
		{"go install of a release", "v1.2.0", nil, "", build{Version: "v1.2.0"}},
		{"go install of a commit", "v1.2.1-0.20261128101112-abcdefabcdef", nil, "", build{Version: "v1.2.1-0.20261128101112-abcdefabcdef", Commit: "abcdefabcdef"}},
		{"of one before all releases", "v0.0.0-20261128101112-abcdefabcdef", nil, "", build{Version: "v0.0.0-20261128101112-abcdefabcdef", Commit: "abcdefabcdef"}},
		{"of a prerelease's successor", "v1.2.0-rc.1.0.20261128101112-abcdefabcdef", nil, "", build{Version: "v1.2.0-rc.1.0.20261128101112-abcdefabcdef", Commit: "abcdefabcdef"}},
		{"a release", "v1.2.0", vcs(commit, "false"), "v1.2.0", build{Version: "v1.2.0", Commit: "0123456789ab"}},
		{"a short revision", "", vcs("77", "false"), "v1.2.0", build{Version: "v1.2.0", Commit: "77"}},
	} {
		row.want.Go, row.want.Platform = runtime.Version(), runtime.GOOS+"/"+runtime.GOARCH
		got := buildOf(&debug.BuildInfo{Main: debug.Module{Version: row.main}, Settings: row.settings}, row.linked)
		if got != row.want {
			t.Errorf("%s: %+v, want %+v", row.name, got, row.want)
		}
	}
}
