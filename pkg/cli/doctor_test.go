package cli

import (
	"strings"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/doctor"
)

// TestDoctorReport: what a finding quotes of a file changes no terminal.
func TestDoctorReport(t *testing.T) {
	r := doctor.Report{Passed: 2, Findings: []doctor.Finding{
		{ID: "a", Group: "one", Severity: doctor.Warning, Message: "x\x1b[31m", Why: "y\a", Remedy: "z\u202e"},
		{ID: "b", Group: "two", Severity: doctor.OK, Message: "fine"},
	}}
	text := string(reportText(r, false))
	want := "one\n  warning  a: x\\u001b[31m\n           why: y\\u0007\n           remedy: z\\u202e\n\n0 errors, 1 warning, 0 notes; 2 checks found nothing\n"
	if text != want {
		t.Errorf("got %q, want %q", text, want)
	}
	if text := string(reportText(r, true)); !strings.Contains(text, "two\n  ok       b: fine\n") {
		t.Errorf("got %q", text)
	}
}
