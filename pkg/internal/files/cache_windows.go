package files

import (
	"io/fs"
)

// suspicious says what is no file or directory.
func suspicious(info fs.FileInfo) string {
	if !info.Mode().IsRegular() && !info.IsDir() {
		return "no regular file"
	}
	return ""
}
