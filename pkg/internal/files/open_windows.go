package files

import (
	"errors"
	"io/fs"
	"os"
)

const nonblocking = 0

func openOwn(path string, flag int) (*os.File, error) {
	named, err := os.Lstat(path)
	if err == nil && named.Mode()&fs.ModeSymlink != 0 {
		return nil, errors.New("it is a link")
	}
	f, ferr := os.OpenFile(path, flag, 0o600) // #nosec G304 -- a name of this program's own
	if ferr != nil {
		return nil, ferr
	}
	if opened, serr := f.Stat(); err == nil && (serr != nil || !os.SameFile(named, opened)) {
		_ = f.Close()
		return nil, errors.New("it is a link")
	}
	return f, nil
}
