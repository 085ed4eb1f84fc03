package child

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
)

const (
	// grace is how long a child may take to end after it was asked to.
	grace = 10 * time.Second
	// outputGrace is that for a child whose output is captured, and how long
	// processes it left behind may hold its pipes.
	outputGrace = time.Second

	// What shells return for a command that they cannot run.
	notExecutable = 126
	notFound      = 127
	// A child that died of signal n has this status plus n.
	signalled = 128
)

// Child is a process to run. Argv[0] is looked up in the PATH of Env; Env is
// all of its environment, nil is an empty one. The three streams are passed
// on as exec.Cmd does: an *os.File as it is, nil as the null device.
type Child struct {
	Argv           []string
	Env            []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// ExitError is how a child ended that did not end well. Code is its exit
// status, 128+n after signal n, 127 if it or its interpreter was not found and
// 126 if it could not be executed.
type ExitError struct {
	Code   int
	reason error
}

// Error returns the reason, or the status of a child that ran.
func (e *ExitError) Error() string {
	if e.reason != nil {
		return e.reason.Error()
	}
	return fmt.Sprintf("exit status %d", e.Code)
}

// ExitCode returns Code.
func (e *ExitError) ExitCode() int { return e.Code }

// Reason returns what is to be printed about a child that could not be run,
// and "" for one that ran: that one has said itself what it had to say.
func (e *ExitError) Reason() string {
	if e.reason == nil {
		return ""
	}
	return e.reason.Error()
}

// Unwrap returns the fault.Local of a child that could not be run, else nil.
func (e *ExitError) Unwrap() error { return e.reason }

// Run runs the child to its end and forwards the signals that this process
// gets meanwhile. If ctx ends, the child is asked to terminate, and killed 10
// seconds later; so ctx must not be one that ends by a signal. An end other
// than status 0 is an *ExitError.
func Run(ctx context.Context, c Child) error { return run(ctx, c, grace) }

func run(ctx context.Context, c Child, grace time.Duration) error {
	cmd, err := c.command(ctx, grace)
	if err != nil {
		return err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, c.Stderr

	// From before the start, so that none is lost in between.
	signals := make(chan os.Signal, 16)
	for _, s := range forwarded() {
		// To catch a signal that we were told to ignore (nohup) would also
		// make the child heed it.
		if !signal.Ignored(s) {
			signal.Notify(signals, s)
		}
	}
	defer signal.Stop(signals)

	if cmd, err = start(ctx, cmd); err != nil {
		return cannotRun(c.Argv[0], err)
	}
	ended := make(chan struct{})
	forwarding := make(chan struct{})
	go func() {
		defer close(forwarding)
		for {
			select {
			case s := <-signals:
				if !deliveredByTerminal(s) {
					_ = cmd.Process.Signal(s) // it may just have ended
				}
			case <-ended:
				return
			}
		}
	}()
	err = cmd.Wait()
	close(ended)
	<-forwarding
	return status(cmd, err)
}

// Output runs the child and returns what it printed, with Stdin passed on and
// Stdout and Stderr of c unused. More than limit bytes on either stream is a
// fault.Local; an end other than status 0 is an *ExitError, returned with the
// output; the end of ctx is a fault.Unavailable. Processes that the child
// leaves behind are not waited for; but if ctx ends or the limit is passed,
// they end with it (on unix, where the child leads a process group: if it asks
// at the terminal, it stops).
func Output(ctx context.Context, c Child, limit int64) (stdout, stderr []byte, err error) {
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd, err := c.command(running, outputGrace)
	if err != nil {
		return nil, nil, err
	}
	group := ownGroup(cmd)
	out, errs := &bounded{limit: limit, over: cancel}, &bounded{limit: limit, over: cancel}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, out, errs
	if err := cmd.Start(); err != nil {
		return nil, nil, cannotRun(c.Argv[0], err)
	}
	err = cmd.Wait()
	if running.Err() != nil {
		group.end(outputGrace)
	}
	switch {
	case out.full || errs.full:
		return nil, nil, fault.New(fault.Local, "%q printed more than %d bytes", c.Argv[0], limit)
	case ctx.Err() != nil:
		return nil, nil, fault.New(fault.Unavailable, "%q did not end in time: %w", c.Argv[0], ctx.Err())
	}
	return out.text.Bytes(), errs.text.Bytes(), status(cmd, err)
}

// command prepares the process. Once ctx ends it is asked to terminate; wait
// later it is killed.
func (c Child) command(ctx context.Context, wait time.Duration) (*exec.Cmd, error) {
	if len(c.Argv) == 0 || c.Argv[0] == "" {
		return nil, fault.New(fault.Usage, "no command to run")
	}
	if err := ctx.Err(); err != nil {
		return nil, fault.New(fault.Unavailable, "%q was not started: %w", c.Argv[0], err)
	}
	path, err := LookPath(c.Argv[0], c.Env)
	if err != nil {
		return nil, unrunnable(err)
	}
	cmd := exec.CommandContext(ctx, path) // #nosec G204 -- running the user's command is the purpose
	cmd.Args = c.Argv
	cmd.Env = append([]string{}, c.Env...) // nil would be our own environment
	cmd.Cancel = func() error { return terminate(cmd.Process) }
	cmd.WaitDelay = wait
	return cmd, nil
}

// start starts the command; a text without a #! line by the shell, as shells and
// execvp do (POSIX.1-2024, XCU 2.9.1.6).
func start(ctx context.Context, cmd *exec.Cmd) (*exec.Cmd, error) {
	err := cmd.Start()
	if !isFormatError(err) || runtime.GOOS == "windows" || !isText(cmd.Path) {
		return cmd, err
	}
	sh := exec.CommandContext(ctx, "/bin/sh", append([]string{cmd.Path}, cmd.Args[1:]...)...) // #nosec G204 -- the user's command
	sh.Env, sh.Stdin, sh.Stdout, sh.Stderr, sh.WaitDelay = cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.WaitDelay
	sh.Cancel = func() error { return terminate(sh.Process) }
	return sh, sh.Start()
}

// isText says whether a file could be a shell's script: as in bash, its first line
// holds no NUL.
func isText(path string) bool {
	b, err := files.Head(path, 128)
	line, _, _ := bytes.Cut(b, []byte("\n"))
	return err == nil && !bytes.Contains(line, []byte{0})
}

// status turns the end of a started child into an error.
func status(cmd *exec.Cmd, err error) error {
	state := cmd.ProcessState
	if state == nil {
		return fault.New(fault.Local, "cannot wait for %q: %w", cmd.Args[0], err)
	}
	if code := exitCode(state); code != 0 {
		return &ExitError{Code: code}
	}
	// What remains of err is about copying its streams, and of it: a
	// background process still holds them, the reader of its output is gone,
	// or it did not read all of its input. None of this makes it fail.
	return nil
}

func cannotRun(name string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	e := fault.New(fault.Local, "cannot run %q: %w", name, err)
	if isFormatError(err) {
		e.Hint("it is not a program for this machine")
	}
	if errors.Is(err, fs.ErrNotExist) { // the file is there: LookPath saw it
		e.Hint("the interpreter that its #! line names, or its loader, does not exist")
		return &ExitError{Code: notFound, reason: e}
	}
	return &ExitError{Code: notExecutable, reason: e}
}

// unrunnable gives LookPath's error the status that shells return.
func unrunnable(err error) error {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return &ExitError{Code: notFound, reason: err}
	}
	return &ExitError{Code: notExecutable, reason: err}
}

// bounded is a buffer that calls over when it is given more than limit bytes.
type bounded struct {
	text  bytes.Buffer // not embedded: io.Copy would go around Write, to its ReadFrom
	limit int64
	full  bool
	over  func()
}

func (b *bounded) Write(p []byte) (int, error) {
	if int64(b.text.Len()+len(p)) > b.limit {
		b.full = true
		b.over()
		return 0, io.ErrShortBuffer
	}
	return b.text.Write(p)
}
