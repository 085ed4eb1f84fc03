//go:build !windows

package deliver

import (
	"errors"
	"os"
	"syscall"

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

func exitCode(state *os.ProcessState) int {
	if w, ok := state.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return signalled + int(w.Signal())
	}
	return state.ExitCode()
}

func isFormatError(err error) bool { return errors.Is(err, syscall.ENOEXEC) }

// executables returns the file names that a command name stands for.
func executables(name string, _ []string) []string { return []string{name} }
