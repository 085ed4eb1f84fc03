package child

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// terminal opens a pseudo-terminal: what is written to master is typed.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		testenv.Missing(t, "/dev/ptmx")
	}
	t.Cleanup(func() { _ = master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// TestAKeyPressInterruptsTheChildOnce: the terminal has signalled the child
// when it signals us, and many programs give up at once at the second.
func TestAKeyPressInterruptsTheChildOnce(t *testing.T) {
	switch os.Getenv("DELIVER_ROLE") {
	case "parent":
		c := Child{Argv: os.Args, Env: append(os.Environ(), "DELIVER_ROLE=child"), Stdout: os.Stdout}
		if err := Run(context.Background(), c); err != nil {
			t.Fatal(err)
		}
		return
	case "child":
		got := make(chan os.Signal, 10)
		signal.Notify(got, syscall.SIGINT, syscall.SIGUSR1)
		fmt.Println("ready")
		interrupts := 0
		for s := range got {
			if s == syscall.SIGUSR1 {
				break
			}
			interrupts++
			fmt.Println("interrupted")
		}
		fmt.Printf("interrupts: %d.\n", interrupts)
		return
	}
	master, slave := terminal(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestAKeyPressInterruptsTheChildOnce$")
	cmd.Env = append(os.Environ(), "DELIVER_ROLE=parent")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = slave.Close()
	for lines := bufio.NewScanner(master); lines.Scan(); {
		switch line := strings.TrimSpace(lines.Text()); {
		case line == "ready":
			if _, err := master.Write([]byte{3}); err != nil { // Ctrl-C
				t.Fatal(err)
			}
		case strings.HasSuffix(line, "interrupted"): // after the echo of ^C
			// Forwarded after what was forwarded before, so nothing is missed.
			if err := cmd.Process.Signal(syscall.SIGUSR1); err != nil {
				t.Fatal(err)
			}
		case strings.HasPrefix(line, "interrupts: "):
			if line != "interrupts: 1." {
				t.Error(line)
			}
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
