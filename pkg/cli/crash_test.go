package cli

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A panic is a bug of ours: exit code 1, where it happened, and nothing of the text
// that it was thrown with. A command that works would not get that far.
func TestAPanicIsABugOfOurs(t *testing.T) {
	var none []int
	for _, row := range []struct {
		name  string
		panic func()
		says  string
	}{
		{"a text", func() { panic("cannot take TOKEN-0123456789") }, "a panic with a string"},
		{"an error", func() { panic(fmt.Errorf("around: %w", errors.New("TOKEN-0123456789"))) }, "a panic with a *fmt.wrapError"},
		{"an error around one of the runtime's", func() {
			defer func() { panic(fmt.Errorf("TOKEN-0123456789: %w", recover().(error))) }()
			_ = none[len(none)]
		}, "a panic with a *fmt.wrapError"},
		{"one of the runtime's", func() { _ = none[len(none)] }, "index out of range [0] with length 0"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			got := Main(t.Context(), World{
				Args:    []string{"version"},
				Getenv:  func(string) string { row.panic(); return "" },
				Environ: func() []string { return nil },
				Stdin:   strings.NewReader(""), Stdout: &stdout, Stderr: &stderr,
				Now: time.Now, Transport: http.DefaultTransport,
			})
			if got != 1 || stdout.Len() > 0 {
				t.Errorf("exit code %d, stdout %q; want 1 and nothing", got, &stdout)
			}
			first, rest, _ := strings.Cut(stderr.String(), "\n")
			if !strings.HasPrefix(first, "oidc-broker: error: a bug ended the command: ") || !strings.HasSuffix(first, row.says) {
				t.Errorf("it says %q, want %q", first, row.says)
			}
			if strings.Contains(stderr.String(), "TOKEN-") || !strings.Contains(rest, "pkg/cli.TestAPanicIsABugOfOurs") || !strings.Contains(rest, "(crash_test.go:") {
				t.Errorf("want where it happened, and no text of the panic's:\n%s", &stderr)
			}
			for line := range strings.Lines(rest) {
				if !strings.HasPrefix(line, "oidc-broker: hint: ") && !strings.HasPrefix(line, "oidc-broker: at: ") {
					t.Errorf("a line with no noun of ours: %q", line)
				}
			}
		})
	}
}
