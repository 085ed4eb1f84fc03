package main

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// testClock is the clock that TEST_NOW says: it stands at a time, or is apart from
// the machine's by a duration.
func testClock(set string) (func() time.Time, bool) {
	if fixed, err := time.Parse(time.RFC3339, set); err == nil {
		return func() time.Time { return fixed }, true
	}
	apart, err := time.ParseDuration(set)
	return func() time.Time { return time.Now().Add(apart) }, err == nil
}

type watchKey struct{}

// A watch is a script's time, and what its clouds were asked in it.
type watch struct {
	mu    sync.Mutex
	apart time.Duration // from the machine's clock
	asked []string      // lines of the sandbox's log since the last calls
}

func watchOf(ts *testscript.TestScript) *watch { return ts.Value(watchKey{}).(*watch) }

func (w *watch) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.apart)
}

func (w *watch) log(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, fmt.Sprintf(format, args...))
}

// setClock moves the clocks of the program and of the sandbox.
func setClock(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: clock DURATION")
	}
	apart, err := time.ParseDuration(args[0])
	ts.Check(err)
	w := watchOf(ts)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.apart = apart
	ts.Setenv("TEST_NOW", args[0])
}

// calls demands how often the sandbox was asked something since the last calls.
func calls(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: calls N TEXT")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	w := watchOf(ts)
	w.mu.Lock()
	defer w.mu.Unlock()
	got := 0
	for _, line := range w.asked {
		if strings.Contains(line, args[1]) {
			got++
		}
	}
	if got != want {
		ts.Fatalf("asked %d times for %q, want %d:\n%s", got, args[1], want, strings.Join(w.asked, "\n"))
	}
	w.asked = nil
}
