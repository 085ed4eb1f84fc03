package ci

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

func TestNoexec(t *testing.T) {
	dir := t.TempDir()
	if noexec(dir) {
		t.Errorf("%s is noexec", dir)
	}
	if noexec(dir + "/none") {
		t.Error("what is not there is noexec")
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOEXEC, "size=64k"); err != nil {
		testenv.Missing(t, "the right to mount a tmpfs")
	}
	defer func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	env := map[string]string{"CIRCLECI": "true", "TMPDIR": dir}
	for name, path := range map[string]map[string]said{"no minter": nil, "minting fails": {"circleci-agent": {stderr: "permission denied", err: errExit1}}} {
		t.Run(name, func(t *testing.T) {
			_, err := newWorld(env, path).Find(t.Context())
			isTokenError(t, err, "", "cannot run programs (noexec)")
		})
	}
}
