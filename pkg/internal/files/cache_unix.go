//go:build !windows

package files

import (
	"io/fs"
)

// suspicious says why others could have read or written a file or directory; "":
// they could not.
func suspicious(info fs.FileInfo) string {
	switch {
	case !info.Mode().IsRegular() && !info.IsDir():
		return "no regular file"
	case !Ours(info):
		return "another user's"
	case info.Mode().Perm()&0o077 != 0:
		return "open to other users"
	}
	return ""
}
