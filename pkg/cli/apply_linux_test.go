package cli

import (
	"context"
	"strings"
	"syscall"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// TestApplyOnAFullDisk: some files fit, one does not, and none is there.
func TestApplyOnAFullDisk(t *testing.T) {
	j := newApplyJob(t, 60)
	j.env["XDG_STATE_HOME"] = t.TempDir() // the record is elsewhere
	if err := syscall.Mount("tmpfs", j.dir, "tmpfs", 0, "size=64k"); err != nil {
		testenv.Missing(t, "the right to mount a tmpfs")
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(j.dir, 0); err != nil {
			t.Error(err)
		}
	})
	file := manyRoles(60) + "vault: [{name: v, role: deploy}]\n"
	status, stdout, stderr := j.run(context.Background(), file, "--verbose", "apply", "--file", "-")
	if status != int(fault.Local) || stdout != "" {
		t.Errorf("exit %d\n%s", status, stdout)
	}
	for _, want := range []string{"error: nothing was written: cannot write", "no space left on device", "revoked the token"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("stderr lacks %q:\n%s", want, stderr)
		}
	}
	if files := j.files(); len(files) > 0 {
		t.Errorf("left behind: %v", files)
	}
}
