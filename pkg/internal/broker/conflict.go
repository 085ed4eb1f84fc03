package broker

import (
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// A Conflict is why the next tool will not use what was delivered: something in its
// environment or in a file of the user's that takes precedence, or that is missing.
// Every provider reports its own; the commands and doctor print them.
type Conflict struct {
	Message string // what takes precedence over what: "AWS_ACCESS_KEY_ID is set and ..."
	Remedy  string // what to do, as a command to the reader: "unset AWS_ACCESS_KEY_ID"

	Stops bool // tools end with an error, and do not only take something else

	// Never is not zero where no tool could ever use what would be delivered: the
	// command refuses, with this kind.
	Never fault.Kind
}

// String is the conflict in one line.
func (c Conflict) String() string {
	if c.Remedy == "" {
		return c.Message
	}
	return c.Message + ": " + c.Remedy
}
