package main

import (
	"os/exec"
	"runtime"
	"syscall"
	"testing"
)

// checkStart counts the page faults of a start.
func checkStart(t *testing.T, binary string) {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		return
	}
	cmd := exec.Command(binary, "version")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	used, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		t.Fatal("no resource usage")
	}
	t.Logf("%d page faults", used.Minflt)
	if used.Minflt > mostFaults {
		t.Errorf("a start has %d page faults; the bound is %d", used.Minflt, mostFaults)
	}
}
