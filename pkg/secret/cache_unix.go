//go:build !windows

package secret

import (
	"io/fs"
	"os"
	"syscall"
)

// openNoFollow opens what is there under the name itself. A pipe does not keep it
// waiting for a writer.
func openNoFollow(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
}

// suspicious says why others could have read or written a file or directory; "":
// they could not.
func suspicious(info fs.FileInfo) string {
	switch {
	case !info.Mode().IsRegular() && !info.IsDir():
		return "no regular file"
	case !ours(info):
		return "another user's"
	case info.Mode().Perm()&0o077 != 0:
		return "open to other users"
	}
	return ""
}
