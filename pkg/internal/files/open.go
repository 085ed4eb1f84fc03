// Package files opens the files that a user or the environment names. What is there
// under such a name may have been put there by another user: a named pipe that nobody
// writes to, a device, a socket. Nothing in this package waits for one of those.
package files

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// ErrSpecial is what the error of a file is that is not a regular one.
var ErrSpecial = errors.New("not a regular file")

// special is a file that is not a regular one: what it is instead.
type special string

func (s special) Error() string      { return "it is " + string(s) }
func (special) Is(target error) bool { return target == ErrSpecial }

// kind says what a file is that is not a regular one, and "" of a regular one.
func kind(mode fs.FileMode) special {
	switch {
	case mode.IsRegular():
		return ""
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeNamedPipe != 0:
		return "a pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "not a regular file"
}

// Read returns the content of a regular file of at most limit bytes, through links.
// The null device is an empty file. What cannot be read is a fault.Local that names
// the file.
func Read(path string, limit int64) ([]byte, error) {
	b, err := head(path, limit+1)
	if err != nil {
		return nil, Cannot("read", path, err)
	}
	return within(path, b, limit)
}

// Head is Read for the first limit bytes of a file that may be longer.
func Head(path string, limit int64) ([]byte, error) {
	b, err := head(path, limit)
	if err != nil {
		return nil, Cannot("read", path, err)
	}
	return b, nil
}

// late is the cause of what did not come before the context's deadline.
type late struct{}

func (late) Error() string        { return "its writer did not finish in time" }
func (late) Is(target error) bool { return target == context.DeadlineExceeded }

// ReadWithin is Read for what may be a pipe too, as a shell makes one of <(command).
// It waits for the pipe's writer until ctx ends.
func ReadWithin(ctx context.Context, path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil || info.Mode()&fs.ModeNamedPipe == 0 {
		return Read(path, limit)
	}
	return await(ctx, path, func() ([]byte, error) {
		// Without waiting for a writer, one that has not come yet looks like one that
		// has gone. So the goroutine waits, and is left behind.
		f, err := os.Open(path) // #nosec G304 -- the path is the user's own
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		if info, err := f.Stat(); err != nil || info.Mode()&fs.ModeNamedPipe == 0 {
			return nil, errors.New("it changed while it was opened")
		}
		return io.ReadAll(io.LimitReader(f, limit+1))
	}, limit)
}

// ReadStream reads a stream, such as standard input, up to limit bytes. It waits until
// ctx ends. name is for messages.
func ReadStream(ctx context.Context, name string, r io.Reader, limit int64) ([]byte, error) {
	return await(ctx, name, func() ([]byte, error) { return io.ReadAll(io.LimitReader(r, limit+1)) }, limit)
}

// await calls read, which no context ends, and leaves it behind when ctx ends.
func await(ctx context.Context, name string, read func() ([]byte, error), limit int64) ([]byte, error) {
	type result struct {
		b   []byte
		err error
	}
	done := make(chan result, 1)
	go func() {
		b, err := read()
		done <- result{b, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, Cannot("read", name, r.err)
		}
		return within(name, r.b, limit)
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil, ctx.Err()
		}
		return nil, fault.New(fault.Local, "cannot read %q: %w", name, late{}).
			Hint("%s is the time that a command waits for a pipe", fault.Option("timeout"))
	}
}

func within(path string, b []byte, limit int64) ([]byte, error) {
	if int64(len(b)) > limit {
		return nil, fault.New(fault.Local, "%q is larger than %d bytes", path, limit)
	}
	return b, nil
}

// head reads up to limit bytes of a regular file.
func head(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if none, err := os.Stat(os.DevNull); err == nil && os.SameFile(none, info) {
		return []byte{}, nil
	}
	// Before opening: a pipe would lose its writer, and some devices act.
	if k := kind(info.Mode()); k != "" {
		return nil, k
	}
	f, err := os.OpenFile(path, os.O_RDONLY|nonblocking, 0) // #nosec G304 -- the path is the user's own
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return regular(f, limit) // it may have been exchanged in between
}

// regular reads up to limit bytes of what was opened without waiting.
func regular(f *os.File, limit int64) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if k := kind(info.Mode()); k != "" {
		return nil, k
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// OpenOwn opens a file of this program's own, such as a lock or a record: through no
// link, and without waiting for whatever another user may have put in its place. flag
// is as for os.OpenFile; a file that is made is 0600.
func OpenOwn(path string, flag int) (*os.File, error) {
	return openOwn(path, flag)
}

// ReadOwn is Read for a file of this program's own.
func ReadOwn(path string, limit int64) ([]byte, error) {
	f, err := openOwn(path, os.O_RDONLY)
	if err != nil {
		return nil, Cannot("read", path, err)
	}
	defer func() { _ = f.Close() }()
	b, err := regular(f, limit+1)
	if err != nil {
		return nil, Cannot("read", path, err)
	}
	return within(path, b, limit)
}

// WriteNew makes a file of this program's own, 0600, that must not be there yet.
func WriteNew(path string, content []byte) error {
	f, err := openOwn(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return Cannot("write", path, err)
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = os.Remove(path)
		return Cannot("write", path, err)
	}
	return nil
}

// Cannot says what could not be done with which file, without the names of temporary
// files that the system's errors carry.
func Cannot(do, path string, err error) error {
	e := fault.New(fault.Local, "cannot %s %q: %w", do, path, Bare(err))
	switch {
	case errors.Is(err, fs.ErrPermission) && do == "read":
		e.Hint("the job's user needs read permission for the file and its directory")
	case errors.Is(err, fs.ErrPermission):
		e.Hint("the job's user needs write permission for the file and its directory")
	}
	return e
}

// Bare strips the operation and the path from a system error.
func Bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	var l *os.LinkError
	if errors.As(err, &l) {
		return l.Err
	}
	return err
}
