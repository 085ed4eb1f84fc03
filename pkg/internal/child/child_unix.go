//go:build !windows

package child

import (
	"errors"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func forwarded() []os.Signal {
	return []os.Signal{
		syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH,
	}
}

// deliveredByTerminal says that the child has the signal already: a key press
// signals every process of the terminal's foreground group, which is ours and
// so the child's. A second interrupt would make many programs give up at once.
func deliveredByTerminal(s os.Signal) bool {
	if s != syscall.SIGINT && s != syscall.SIGQUIT {
		return false
	}
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false // no terminal controls us
	}
	defer func() { _ = tty.Close() }()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

// A group is the process group that a child leads: the child and what it
// started. A script that is killed alone leaves its commands running.
type group struct {
	child *exec.Cmd
	asked atomic.Bool // to terminate
}

// ownGroup makes a child that is not started yet lead a group, which the end
// of its context then terminates as a whole.
func ownGroup(child *exec.Cmd) *group {
	g := &group{child: child}
	child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	child.Cancel = g.terminate
	return g
}

func (g *group) terminate() error {
	g.asked.Store(true)
	return g.signal(syscall.SIGTERM)
}

// end kills what is left of the group of a child that ended, once that had as
// long as grace to terminate.
func (g *group) end(grace time.Duration) {
	if !g.asked.Load() {
		_ = g.terminate() // the child was faster than its context
	}
	for range grace / groupPoll {
		if g.signal(0) != nil {
			break
		}
		time.Sleep(groupPoll) // they are not our children: nothing else tells
	}
	_ = g.signal(syscall.SIGKILL)
}

const groupPoll = 10 * time.Millisecond

func (g *group) signal(s syscall.Signal) error {
	err := syscall.Kill(-g.child.Process.Pid, s)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

func exitCode(state *os.ProcessState) int {
	if w, ok := state.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return signalled + int(w.Signal())
	}
	return state.ExitCode()
}

func isFormatError(err error) bool { return errors.Is(err, syscall.ENOEXEC) }

// executables returns the file names that a command name stands for.
func executables(name string, _ []string) []string { return []string{name} }
