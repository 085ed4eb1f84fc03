package cli

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
)

// TestAUserHearsOfALongWait: once, and not at the first attempt, which mends most;
// not with --quiet, and with --verbose every time.
func TestAUserHearsOfALongWait(t *testing.T) {
	for _, row := range []struct {
		name           string
		verbose, quiet bool
		failures, want int
	}{
		{"a short one is nobody's business", false, false, 3, 0},
		{"a long one is said once", false, false, 20, 1},
		{"but not to whom wants quiet", false, true, 20, 0},
		{"and all to whom wants all", true, false, 20, 20},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var said bytes.Buffer
				a := &app{World: World{Stderr: &said, Now: time.Now}, verbose: row.verbose, quiet: row.quiet, attempts: 50, timeout: time.Hour}
				n := 0
				err := a.client().Retry(t.Context(), func(context.Context) error {
					if n++; n > row.failures {
						return nil
					}
					return &remote.Failure{Host: "sts.example.com", Why: "answers 503", Again: true}
				})
				if err != nil {
					t.Fatal(err)
				}
				if got := strings.Count(said.String(), "sts.example.com answers 503; trying again in "); got != row.want {
					t.Errorf("said %d times, want %d:\n%s", got, row.want, &said)
				}
				if row.want == 1 && !strings.Contains(said.String(), "oidc-broker: note: ") {
					t.Errorf("no note: %s", &said)
				}
			})
		})
	}
}
