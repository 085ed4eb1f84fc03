package undo

import (
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// What a process asks of the kernel that changes files.
var changing = []uint64{
	syscall.SYS_WRITE, syscall.SYS_FSYNC, syscall.SYS_FLOCK, syscall.SYS_FTRUNCATE, syscall.SYS_FCHMOD, syscall.SYS_FCHMODAT, syscall.SYS_FCHOWN,
	syscall.SYS_OPENAT, syscall.SYS_MKDIRAT, syscall.SYS_UNLINKAT, syscall.SYS_RENAMEAT,
}

// killedAt runs a command and kills it at the nth of the system calls that change
// files, before that is made. ended says that it never got there.
func killedAt(t *testing.T, n int, cmd *exec.Cmd) (ended bool) {
	t.Helper()
	runtime.LockOSThread() // the one that traces
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	err := cmd.Start()
	needs(t, "tracing a process", err)
	pid := cmd.Process.Pid
	const exitKill, sysGood = 0x100000, 1
	entered := 0
	begun := false
	for {
		var status syscall.WaitStatus
		tid, err := syscall.Wait4(-1, &status, syscall.WALL, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			t.Fatal(err)
		case tid == pid && (status.Exited() || status.Signaled()):
			_ = cmd.Process.Release()
			if status.Exited() && status.ExitStatus() != 0 {
				t.Fatalf("the command failed: %d", status.ExitStatus())
			}
			return status.Exited()
		case !status.Stopped():
			continue // another thread's end
		}
		if !begun {
			begun = true
			needs(t, "tracing a process", syscall.PtraceSetOptions(pid, exitKill|sysGood|syscall.PTRACE_O_TRACECLONE))
		}
		deliver := 0
		switch sig := status.StopSignal(); sig {
		case syscall.SIGTRAP | 0x80:
			if changesFiles(t, tid) {
				if entered++; entered == n {
					if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
						t.Fatal(err)
					}
					continue
				}
			}
		case syscall.SIGTRAP, syscall.SIGSTOP: // a new thread
		default:
			deliver = int(sig)
		}
		if err := syscall.PtraceSyscall(tid, deliver); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err)
		}
	}
}

// changesFiles says whether a thread is about to make such a call.
func changesFiles(t *testing.T, tid int) bool {
	t.Helper()
	const getSyscallInfo = 0x420e
	var info [88]byte // struct ptrace_syscall_info: op, the call's number at 24, its arguments from 32 on
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PTRACE, getSyscallInfo, uintptr(tid), uintptr(len(info)), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno == syscall.ESRCH {
		return false
	}
	if errno != 0 {
		needs(t, "PTRACE_GET_SYSCALL_INFO", errno)
	}
	call := binary.NativeEndian.Uint64(info[24:])
	if call == syscall.SYS_OPENAT && binary.NativeEndian.Uint64(info[48:])&syscall.O_CREAT == 0 {
		return false
	}
	return info[0] == 1 && slices.Contains(changing, call)
}

// crashing is what the killed process does in a home.
func crashing(t *testing.T, dir, what string) {
	t.Helper()
	j := journalIn(dir)
	note := Note{"vault", map[string]string{"addr": "https://v"}}
	if what == "undo" {
		undoAll(t, j)
		return
	}
	if err := j.Note(t.Context(), note); err != nil {
		t.Fatal(err)
	}
	if err := j.Keep(t.Context(), note, secret.New("kept")); err != nil {
		t.Fatal(err)
	}
	tmp, _, err := j.TempDir(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	testenv.Given(t, filepath.Join(tmp, "token"), "x", 0o600)
	for _, text := range []string{"OURS 1\n", "OURS 2\n"} {
		if err := j.Commit(t.Context(), set(filepath.Join(dir, "deep", "er", "made"), text), replace(filepath.Join(dir, "there"), "two", "2")); err != nil {
			t.Fatal(err)
		}
	}
}

func journalIn(dir string) *Journal {
	j := NewJournal(filepath.Join(dir, ".local", "state", "oidc-broker"))
	j.Levels = 3
	return j
}

func undoAll(t *testing.T, j *Journal) {
	t.Helper()
	notes, err := j.Notes()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.Undo(t.Context(), notes); err != nil {
		t.Fatal(err)
	}
}

// Killed before each of its system calls in turn, whatever a command or a cleanup
// was at: two cleanups later everything is as it was. OIDC_BROKER_FULL=2 takes each
// of them; else it is every fifth.
func TestKilledAnywhere(t *testing.T) {
	if dir := os.Getenv("SECRET_TEST_CRASH"); dir != "" {
		crashing(t, dir, os.Getenv("SECRET_TEST_WHAT"))
		return
	}
	testenv.NeedFull(t, "it kills a process at every fifth call")
	step := 5
	if testenv.IsProof() {
		step = 1
	}
	for _, what := range []string{"commit", "undo"} {
		t.Run(what, func(t *testing.T) {
			kills := 0
			for n, ended := 1, false; !ended; n += step {
				// In memory where there is such a place: the disk is not what this is about.
				dir, err := os.MkdirTemp(memory(), "killed-")
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = os.RemoveAll(dir) }()
				testenv.Given(t, filepath.Join(dir, "there"), "one\r\ntwo\r\nno end", 0o644)
				before := testenv.Tree(t, dir)
				if what == "undo" {
					if out, err := crash(dir, "commit").CombinedOutput(); err != nil {
						t.Fatalf("%v\n%s", err, out)
					}
				}
				if ended = killedAt(t, n, crash(dir, what)); !ended {
					kills++
				}
				for range 2 {
					undoAll(t, journalIn(dir))
				}
				if diff := cmp.Diff(before, testenv.Tree(t, dir)); diff != "" {
					t.Fatalf("killed at %d, left:\n%s", n, diff)
				}
			}
			if kills < 10 {
				t.Errorf("it was killed %d times only", kills)
			}
			t.Logf("killed %d times", kills)
		})
	}
}

// crash is the process that does something in a home.
func crash(dir, what string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledAnywhere$", "-test.count=1")
	cmd.Env = append(os.Environ(), "SECRET_TEST_CRASH="+dir, "SECRET_TEST_WHAT="+what)
	return cmd
}

func memory() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return ""
}
