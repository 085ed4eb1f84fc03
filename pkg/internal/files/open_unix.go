//go:build !windows

package files

import (
	"os"
	"syscall"
)

// nonblocking keeps a pipe that took a file's place from waiting for a writer.
const nonblocking = syscall.O_NONBLOCK

func openOwn(path string, flag int) (*os.File, error) {
	return os.OpenFile(path, flag|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600) // #nosec G304 -- a name of this program's own
}
