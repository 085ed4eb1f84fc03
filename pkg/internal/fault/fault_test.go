package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestKindOf(t *testing.T) {
	inner := New(Refused, "the cloud said no")
	for _, row := range []struct {
		name string
		err  error
		want Kind
	}{
		{"plain errors are ours to explain", io.EOF, Internal},
		{"own kind", inner, Refused},
		{"found through a wrapper", fmt.Errorf("while asking: %w", inner), Refused},
		{"the outermost wins", New(Local, "cannot write: %w", inner), Local},
		{"a deadline is nobody's refusal", fmt.Errorf("asking: %w", context.DeadlineExceeded), Unavailable},
		{"an interrupt", context.Canceled, Unavailable},
	} {
		if got := KindOf(row.err); got != row.want {
			t.Errorf("%s: kind %d, want %d", row.name, got, row.want)
		}
	}
}

func TestHintsOutermostFirst(t *testing.T) {
	inner := New(Refused, "no").Hint("show %s", "claims")
	outer := New(Refused, "refused: %w", inner).Hint("first").Hint("second")
	want := []string{"first", "second", "show claims"}
	if diff := cmp.Diff(want, Hints(fmt.Errorf("x: %w", outer))); diff != "" {
		t.Error(diff)
	}
	if got := Hints(io.EOF); got != nil {
		t.Errorf("hints of a plain error: %v", got)
	}
}

func TestErrorKeepsItsCause(t *testing.T) {
	err := error(New(Local, "cannot read %q: %w", "f", io.ErrUnexpectedEOF))
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error("cause lost")
	}
	if got, want := err.Error(), `cannot read "f": unexpected EOF`; got != want {
		t.Errorf("text %q, want %q", got, want)
	}
}

// TestCause: the cause of a library is found beside the one in the text, and is not
// printed. Hints are those of both.
func TestCause(t *testing.T) {
	inner := New(Unavailable, "STS is unreachable").Hint("try later")
	err := error(New(Unavailable, "%w: quota", inner).Cause(io.ErrUnexpectedEOF).Hint("first"))
	if !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(err, inner) {
		t.Error("a cause is lost")
	}
	if got, want := err.Error(), "STS is unreachable: quota"; got != want {
		t.Errorf("text %q, want %q", got, want)
	}
	var outside interface {
		Status() int
		Hints() []string
	}
	if !errors.As(err, &outside) || outside.Status() != 5 {
		t.Error("no status")
	}
	if diff := cmp.Diff([]string{"first", "try later"}, outside.Hints()); diff != "" {
		t.Error(diff)
	}
}
