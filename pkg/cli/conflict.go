package cli

import (
	"github.com/oidc-broker/oidc-broker/pkg/internal/broker"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// refuseNever refuses the first conflict in spite of which nothing
// could work. It comes before the exchange.
func refuseNever(all []broker.Conflict) error {
	for _, c := range all {
		if c.Never != 0 {
			e := fault.New(c.Never, "%s", c.Message)
			if c.Remedy != "" {
				e.Hint("%s", c.Remedy)
			}
			return e
		}
	}
	return nil
}

// noteConflicts prints a note for each conflict: after what was delivered is there, or
// before the command that gets it runs.
func (a *app) noteConflicts(all []broker.Conflict) {
	said := map[string]bool{}
	for _, c := range all {
		if text := c.String(); c.Never == 0 && !said[text] {
			said[text] = true
			a.note(text)
		}
	}
}
