package cli

import (
	"io"
	"os"

	"github.com/oidc-broker/oidc-broker/pkg/fault"
)

// maxDocument is one byte more than any document may have, so that the reader
// of a longer one sees that it is.
const maxDocument = 1<<20 + 1

// document reads the file that an option names; - is standard input.
func (a *app) document(option, path string) ([]byte, error) {
	r := a.Stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, fault.New(fault.Local, "cannot read %s %q: %w", option, path, unwrapPath(err))
		}
		defer func() { _ = f.Close() }()
		r = f
	}
	b, err := io.ReadAll(io.LimitReader(r, maxDocument))
	if err != nil {
		return nil, fault.New(fault.Local, "cannot read %s %q: %w", option, path, unwrapPath(err))
	}
	return b, nil
}
