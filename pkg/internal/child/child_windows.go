package child

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/windows"
)

func forwarded() []os.Signal { return []os.Signal{os.Interrupt} }

// deliveredByTerminal is always true: the console interrupts every process
// that is attached to it, and there is no other interrupt.
func deliveredByTerminal(os.Signal) bool { return true }

// terminate kills: Windows has no way to ask.
func terminate(p *os.Process) error { return p.Kill() }

// group does nothing: Windows has no process groups.
type group struct{}

func ownGroup(*exec.Cmd) *group { return nil }

func (*group) end(time.Duration) {}

func exitCode(state *os.ProcessState) int { return state.ExitCode() }

func isFormatError(err error) bool { return errors.Is(err, windows.ERROR_BAD_EXE_FORMAT) }

// executables returns the file names that a command name stands for.
func executables(name string, environ []string) []string {
	exts := valueOf("PATHEXT", environ, true)
	if exts == "" {
		exts = ".COM;.EXE;.BAT;.CMD"
	}
	var names []string
	for _, ext := range strings.Split(exts, ";") {
		if ext == "" {
			continue
		}
		if strings.HasSuffix(strings.ToUpper(name), strings.ToUpper(ext)) {
			return []string{name}
		}
		names = append(names, name+ext)
	}
	return names
}
