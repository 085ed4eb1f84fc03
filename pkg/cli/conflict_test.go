package cli

import (
	"bytes"
	"testing"

	"github.com/oidc-broker/oidc-broker/pkg/internal/broker"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

func TestConflictsArePrintedOnceAndRefusedWhereNothingCanWork(t *testing.T) {
	all := []broker.Conflict{
		{Message: "X is set", Remedy: "unset X"},
		{Message: "X is set", Remedy: "unset X"},
		{Message: "Y is set"},
		{Message: "no tool reads Z", Remedy: "write it elsewhere", Never: fault.Local},
	}
	var stderr bytes.Buffer
	a := &app{World: World{Stderr: &stderr}}
	a.noteConflicts(all)
	if got, want := stderr.String(), "oidc-broker: note: X is set: unset X\noidc-broker: note: Y is set\n"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
	err := refuseNever(all)
	if err == nil || fault.KindOf(err) != fault.Local || err.Error() != "no tool reads Z" || len(fault.Hints(err)) != 1 {
		t.Errorf("refused with %v, hints %q", err, fault.Hints(err))
	}
	if err := refuseNever(all[:3]); err != nil {
		t.Errorf("refused %v", err)
	}
}
