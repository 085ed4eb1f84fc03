// Package testenv says what a run of the tests may ask of its machine. Only tests
// import it.
package testenv

import (
	"os"
	"os/exec"
	"testing"
)

// Full is the variable that switches on what "go test ./..." leaves out. Without it
// a test needs nothing but Go, and skips with the reason where it needs more. With 1,
// which .ci/run sets, everything runs, and what is missing fails the test. With 2 the
// random tests also run as often as docs/reliability.md reports.
const Full = "OIDC_BROKER_FULL"

// IsFull reports whether everything runs.
func IsFull() bool { return os.Getenv(Full) != "" }

// IsProof reports whether the random tests run as often as docs/reliability.md reports.
func IsProof() bool { return os.Getenv(Full) == "2" }

// NeedFull skips a test that is long or depends on the machine, and says why.
func NeedFull(t testing.TB, why string) {
	t.Helper()
	if !IsFull() {
		t.Skipf("%s: runs with %s=1, as .ci/run does", why, Full)
	}
}

// Missing ends a test that lacks something: it skips, and fails in a full run.
func Missing(t testing.TB, what string) {
	t.Helper()
	if IsFull() {
		t.Fatalf("%s is missing, and %s is set", what, Full)
	}
	t.Skipf("%s is missing", what)
}

// Program returns the path of a program, or ends the test where there is none.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Missing(t, name)
	}
	return path
}

// Times returns how often something random is done: few times, or many in a proof.
func Times(few, many int) int {
	if IsProof() {
		return many
	}
	return few
}
