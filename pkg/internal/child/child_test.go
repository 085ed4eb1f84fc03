//go:build !windows

package child

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// sh is a child that runs a script.
func sh(script string, args ...string) Child {
	return Child{Argv: append([]string{"sh", "-c", script, "sh"}, args...), Env: []string{"PATH=" + os.Getenv("PATH")}}
}

// whileWeRun begins a loop of a script that would go on for ever if this
// process died before it ends it.
func whileWeRun() string { return fmt.Sprintf("while kill -0 %d 2>/dev/null", os.Getpid()) }

// appears waits for the file that a script writes a line to, and returns it.
func appears(t *testing.T, file string) string {
	t.Helper()
	for range 1000 {
		if text, _ := os.ReadFile(file); bytes.HasSuffix(text, []byte("\n")) {
			return string(text)
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s is not written", file)
	return ""
}

// gone waits until the process of the number that a script printed is no more.
func gone(t *testing.T, printed string) {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(printed))
	if err != nil {
		t.Fatal(err)
	}
	for range 500 {
		if !alive(pid) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	t.Errorf("process %d still runs", pid)
}

// alive says whether the process runs. One that ended stays until its parent
// asks for its status, which the first process of a container may never do.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	out, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return errors.Is(err, exec.ErrNotFound) // else it ended in between
	}
	return !strings.HasPrefix(strings.TrimSpace(string(out)), "Z")
}

// program writes an executable file and returns its directory and path.
func program(t *testing.T, name, text string, mode os.FileMode) (dir, path string) {
	t.Helper()
	dir = t.TempDir()
	path = filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return dir, path
}

func TestRunPassesStreamsAndEnvironment(t *testing.T) {
	c := sh(`cat; echo "$A:$HOME:$1" >&2`, "it's an argument")
	c.Env = append(c.Env, "A=value")
	var out, errs bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader("input"), &out, &errs
	if err := Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if out.String() != "input" || errs.String() != "value::it's an argument\n" {
		t.Errorf("stdout %q, stderr %q", &out, &errs)
	}
}

func TestRunWithoutEnvironmentGivesNone(t *testing.T) {
	env, err := exec.LookPath("env")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("LEAK", "s3cr3t")
	out, _, err := Output(t.Context(), Child{Argv: []string{env}}, 1000)
	if err != nil || len(out) != 0 {
		t.Errorf("%q, %v", out, err)
	}
}

func TestRunPassesTheStatus(t *testing.T) {
	for _, row := range []struct {
		script string
		want   int
	}{
		{"exit 0", 0}, {"exit 1", 1}, {"exit 3", 3}, {"exit 126", 126}, {"exit 255", 255},
		{"kill -TERM $$", 143}, {"kill -KILL $$", 137}, {"kill -INT $$", 130},
	} {
		if row.want == 130 && signal.Ignored(os.Interrupt) {
			t.Log("the tests run where SIGINT is ignored, and so do all that they start")
			continue
		}
		err := Run(t.Context(), sh(row.script))
		if row.want == 0 {
			if err != nil {
				t.Errorf("%s: %v", row.script, err)
			}
			continue
		}
		var e *ExitError
		if !errors.As(err, &e) || e.ExitCode() != row.want || e.Code != row.want {
			t.Errorf("%s: %v, want %d", row.script, err, row.want)
			continue
		}
		if e.Reason() != "" || e.Unwrap() != nil {
			t.Errorf("%s: the child ran, there is nothing to add: %q", row.script, e.Reason())
		}
		if want := fmt.Sprintf("exit status %d", row.want); e.Error() != want {
			t.Errorf("%s: %q, want %q", row.script, e, want)
		}
	}
}

func TestRunOfWhatCannotRun(t *testing.T) {
	plainDir, plain := program(t, "plain", "#!/bin/sh\n", 0o600)
	_, shebang := program(t, "bad", "#!/no/such/interpreter\n", 0o700)
	_, garbage := program(t, "garbage", "\x01\x00\x02", 0o700)
	for _, row := range []struct {
		name string
		argv []string
		code int
		want string
		hint string
	}{
		{"not in PATH", []string{"no-such-program"}, 127, `cannot run "no-such-program": executable file not found in $PATH`, "check its spelling"},
		{"no such file", []string{"./no/such"}, 127, `cannot run "./no/such": file does not exist`, ""},
		{"not executable", []string{plain}, 126, "permission denied", "chmod +x"},
		{"not executable, in PATH", []string{"plain"}, 126, `cannot run "plain": permission denied`, "chmod +x"},
		{"a directory", []string{plainDir}, 126, "is a directory", ""},
		{"no interpreter", []string{shebang}, 127, "no such file", "#! line names"},
		{"no program", []string{garbage}, 126, "exec format error", "it is not a program for this machine"},
	} {
		err := Run(t.Context(), Child{Argv: row.argv, Env: []string{"PATH=" + plainDir}})
		var e *ExitError
		if !errors.As(err, &e) || e.Code != row.code {
			t.Errorf("%s: %v, want status %d", row.name, err, row.code)
			continue
		}
		if !strings.Contains(e.Reason(), row.want) || e.Error() != e.Reason() || fault.KindOf(err) != fault.Local {
			t.Errorf("%s: kind %d, %q\nwant %q", row.name, fault.KindOf(err), e.Reason(), row.want)
		}
		if hints := strings.Join(fault.Hints(err), "\n"); !strings.Contains(hints, row.hint) {
			t.Errorf("%s: hints %q, want %q", row.name, hints, row.hint)
		}
	}
	for _, argv := range [][]string{nil, {""}} {
		if err := Run(t.Context(), Child{Argv: argv}); fault.KindOf(err) != fault.Usage {
			t.Errorf("%q: %v", argv, err)
		}
	}
}

// TestRunForwardsSignals sends them to this process, as a CI runner that
// cancels a job does. There is no terminal that would deliver them too.
func TestRunForwardsSignals(t *testing.T) {
	if tty, err := os.Open("/dev/tty"); err == nil {
		_ = tty.Close()
		t.Skip("a terminal delivers some of them itself")
	}
	for _, s := range []struct {
		name   string
		signal syscall.Signal
	}{
		{"INT", syscall.SIGINT}, {"TERM", syscall.SIGTERM}, {"HUP", syscall.SIGHUP}, {"QUIT", syscall.SIGQUIT},
		{"USR1", syscall.SIGUSR1}, {"USR2", syscall.SIGUSR2}, {"WINCH", syscall.SIGWINCH},
	} {
		t.Run(s.name, func(t *testing.T) {
			// Should it not be caught, the test must not die of it.
			guard := make(chan os.Signal, 1)
			signal.Notify(guard, s.signal)
			defer signal.Stop(guard)
			ready, says := io.Pipe()
			c := sh(`trap 'exit 42' ` + s.name + `; echo ready; ` + whileWeRun() + `; do read x </dev/null; sleep 0.01; done`)
			c.Stdout = says
			done := make(chan error, 1)
			go func() { done <- Run(context.Background(), c) }()
			if _, err := io.ReadFull(ready, make([]byte, len("ready\n"))); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(os.Getpid(), s.signal); err != nil {
				t.Fatal(err)
			}
			var e *ExitError
			if err := <-done; !errors.As(err, &e) || e.Code != 42 {
				t.Errorf("%v, want status 42", err)
			}
		})
	}
}

// An ignored signal stays ignored in the child: nohup must work.
func TestRunLeavesIgnoredSignalsIgnored(t *testing.T) {
	signal.Ignore(syscall.SIGHUP)
	defer signal.Reset(syscall.SIGHUP)
	if err := Run(t.Context(), sh(`kill -HUP $$; exit 0`)); err != nil {
		t.Errorf("the child died of a signal that was ignored: %v", err)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	for _, row := range []struct {
		name, script string
		grace        time.Duration // long, but where it has to pass: a loaded machine takes its time
		want         int
	}{
		{"asked to terminate", `echo ready; exec sleep 60`, time.Minute, 143},
		{"may clean up", `trap 'exit 7' TERM; echo ready; ` + whileWeRun() + `; do sleep 0.01; done`, time.Minute, 7},
		{"killed after the grace period", `trap '' TERM; echo ready; ` + whileWeRun() + `; do sleep 0.01; done`, 100 * time.Millisecond, 137},
	} {
		t.Run(row.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			ready, says := io.Pipe()
			c := sh(row.script)
			c.Stdout = says
			done := make(chan error, 1)
			go func() { done <- run(ctx, c, row.grace) }()
			if _, err := io.ReadFull(ready, make([]byte, len("ready\n"))); err != nil {
				t.Fatal(err)
			}
			cancel()
			var e *ExitError
			if err := <-done; !errors.As(err, &e) || e.Code != row.want {
				t.Errorf("%v, want status %d", err, row.want)
			}
		})
	}
}

func TestOutput(t *testing.T) {
	c := sh(`cat; echo err >&2; exit 3`)
	c.Stdin = strings.NewReader("in")
	out, errs, err := Output(t.Context(), c, 10)
	var e *ExitError
	if string(out) != "in" || string(errs) != "err\n" || !errors.As(err, &e) || e.Code != 3 {
		t.Errorf("%q, %q, %v", out, errs, err)
	}
	if out, _, err := Output(t.Context(), sh(`printf 1234567890`), 10); err != nil || string(out) != "1234567890" {
		t.Errorf("exactly the limit: %q, %v", out, err)
	}
	if _, _, err := Output(t.Context(), Child{Argv: []string{"no-such"}}, 10); !errors.As(err, &e) || e.Code != 127 {
		t.Errorf("not found: %v", err)
	}
}

func TestOutputIsBounded(t *testing.T) {
	for _, script := range []string{`printf 12345678901`, `printf 12345678901 >&2`, `yes`, `yes >&2; exit 0`, `trap '' PIPE TERM; ` + whileWeRun() + `; do echo x; done 2>/dev/null`} {
		out, errs, err := Output(t.Context(), sh(script), 10)
		if out != nil || errs != nil || fault.KindOf(err) != fault.Local || !strings.Contains(fmt.Sprint(err), `"sh" printed more than 10 bytes`) {
			t.Errorf("%s: %q, %q, %v", script, out, errs, err)
		}
	}
}

func TestOutputDoesNotWaitForTheBackground(t *testing.T) {
	start := time.Now()
	out, _, err := Output(t.Context(), sh(`sleep 60 & echo $!`), 100)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("waited %s", took)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("the background did not outlive the child: %v", err)
	}
}

func TestOutputEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, _, err := Output(ctx, sh(`sleep 60; echo late`), 100)
	if fault.KindOf(err) != fault.Unavailable || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), `"sh" did not end in time`) {
		t.Errorf("kind %d, %v", fault.KindOf(err), err)
	}
}

// What a script started ends with it, whether it heeds SIGTERM or not, and
// whether the script is still there or not.
func TestOutputEndsTheWholeGroup(t *testing.T) {
	for _, row := range []struct{ name, script string }{
		{"in the background", `sleep 77 & echo $! >"$1"; sleep 78`},
		{"that ignores SIGTERM", `sh -c 'trap "" TERM; echo $$ >"$1"; ` + whileWeRun() + `; do sleep 0.01; done' sh "$1" & wait`},
		{"that holds no pipe", `sh -c 'trap "" TERM; echo $$ >"$1"; ` + whileWeRun() + `; do sleep 0.01; done' sh "$1" >/dev/null 2>&1 & wait`},
		{"a script that ignores SIGTERM", `trap '' TERM; sleep 77 & echo $! >"$1"; ` + whileWeRun() + `; do sleep 0.01; done`},
		{"a script that is gone", `sleep 77 & echo $! >"$1"`},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			file := filepath.Join(t.TempDir(), "pid")
			done := make(chan error, 1)
			go func() {
				_, _, err := Output(ctx, sh(row.script, file), 100)
				done <- err
			}()
			pid := appears(t, file)
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want the context's end", err)
			}
			gone(t, pid)
		})
	}
}

// Each process of the group is asked first, and has time to clean up.
func TestOutputLetsTheGroupCleanUp(t *testing.T) {
	worker := `sh -c 'trap "sleep 0.1; echo >\"$1/clean\"; exit" TERM; echo >"$1/ready"; ` + whileWeRun() + `; do sleep 0.01; done' sh "$1"`
	for _, row := range []struct{ name, script string }{
		{"a script in the midst of a command", `trap 'echo >"$1/clean"; exit' TERM; echo >"$1/ready"; ` + whileWeRun() + `; do sleep 0.01; done`},
		{"what a script that ends at once has started", worker + ` >/dev/null 2>&1 & wait`},
		{"what a script that has ended has started", worker + ` 2>/dev/null &`},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			dir := t.TempDir()
			done := make(chan error, 1)
			go func() {
				_, _, err := Output(ctx, sh(row.script, dir), 100)
				done <- err
			}()
			appears(t, filepath.Join(dir, "ready"))
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want the context's end", err)
			}
			if _, err := os.Stat(filepath.Join(dir, "clean")); err != nil {
				t.Errorf("it could not: %v", err)
			}
		})
	}
}

// Passing the limit ends the group, too.
func TestOutputBeyondItsLimitEndsTheWholeGroup(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	_, _, err := Output(t.Context(), sh(`sleep 77 & echo $! >"$1"; echo more than ten; wait`, file), 10)
	if fault.KindOf(err) != fault.Local {
		t.Errorf("%v", err)
	}
	pid, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	gone(t, string(pid))
}

func TestNothingStartsAfterTheEndOfTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := Output(ctx, sh(`echo late`), 100)
	for _, err := range []error{err, Run(ctx, sh(`exit 3`))} {
		if fault.KindOf(err) != fault.Unavailable || !strings.Contains(fmt.Sprint(err), `"sh" was not started: context canceled`) {
			t.Errorf("kind %d, %v", fault.KindOf(err), err)
		}
	}
}

func TestLookPath(t *testing.T) {
	first, firstTool := program(t, "tool", "", 0o700)
	second, _ := program(t, "tool", "", 0o700)
	locked, _ := program(t, "tool", "", 0o600)
	empty := t.TempDir()
	asDir := t.TempDir()
	if err := os.Mkdir(filepath.Join(asDir, "tool"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(second) // which must not be searched
	path := func(dirs ...string) []string { return []string{"PATH=" + strings.Join(dirs, ":")} }
	for _, row := range []struct {
		name, file string
		environ    []string
		want       string // the path, or words of the error
	}{
		{"the first that has it", "tool", path(empty, first, second), firstTool},
		{"past one that is not executable", "tool", path(locked, first), firstTool},
		{"past a directory", "tool", path(asDir, first), firstTool},
		{"the last PATH counts", "tool", append(path(locked), path(first)...), firstTool},
		{"a path is taken as it is", firstTool, nil, firstTool},
		{"not the current directory", "tool", path("", empty), "not found"},
		{"nor without PATH", "tool", []string{"path=" + first}, "not found"},
		{"unless PATH names it", "tool", path("."), filepath.Join(second, "tool")},
		{"only one that is not executable", "tool", path(empty, locked), "permission denied"},
	} {
		got, err := LookPath(row.file, row.environ)
		if err != nil {
			got = err.Error()
			if fault.KindOf(err) != fault.Local || errors.Is(err, exec.ErrNotFound) != (row.want == "not found") {
				t.Errorf("%s: %v", row.name, err)
			}
		}
		if !strings.Contains(got, row.want) || err == nil && got != row.want {
			t.Errorf("%s: %s", row.name, cmp.Diff(row.want, got))
		}
	}
}
