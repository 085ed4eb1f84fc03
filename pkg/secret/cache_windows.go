package secret

import (
	"errors"
	"io/fs"
	"os"
)

// openNoFollow opens what is there under the name itself.
func openNoFollow(path string) (*os.File, error) {
	named, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path) // #nosec G304 -- the path is the cache's own
	if err != nil {
		return nil, err
	}
	if opened, err := f.Stat(); err != nil || !os.SameFile(named, opened) {
		_ = f.Close()
		return nil, errors.New("it is a link")
	}
	return f, nil
}

// suspicious says what is no file or directory.
func suspicious(info fs.FileInfo) string {
	if !info.Mode().IsRegular() && !info.IsDir() {
		return "no regular file"
	}
	return ""
}
