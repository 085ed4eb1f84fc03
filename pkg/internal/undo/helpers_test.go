package undo

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// needs skips a test that may not do what it must; a full run fails.
func needs(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	testenv.Missing(t, fmt.Sprintf("%s (%v)", what, err))
}

func root(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		needs(t, "root is needed", errors.New("not root"))
	}
}
