package main

import (
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/cli"
)

// panicAt has the program panic as if it had a bug, once a cloud has answered it with
// credentials:
//
//	answer   where it has read the last of the answer, an index is out of range
//	clock    where it looks at the clock next, a value is of another type
//	stdout   where it prints, with a text that holds what it prints
//	stderr   the same
func panicAt(w *cli.World, point string) {
	var held atomic.Bool
	next := w.Transport
	w.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		answer, err := next.RoundTrip(r)
		if err == nil && answer.StatusCode == http.StatusOK {
			answer.Body = &watchedBody{ReadCloser: answer.Body, end: func(read []byte) {
				held.Store(true)
				if point == "answer" {
					_ = read[len(read)]
				}
			}}
		}
		return answer, err
	})
	now := w.Now
	w.Now = func() time.Time {
		if held.Load() && point == "clock" {
			var hands any = "none"
			return hands.(time.Time)
		}
		return now()
	}
	w.Stdout = &breaking{Writer: w.Stdout, held: &held, breaks: point == "stdout"}
	w.Stderr = &breaking{Writer: w.Stderr, held: &held, breaks: point == "stderr"}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A watchedBody tells when it was read to its end.
type watchedBody struct {
	io.ReadCloser
	read []byte
	end  func(read []byte)
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read = append(b.read, p[:n]...)
	if err == io.EOF {
		b.end(b.read)
	}
	return n, err
}

// A breaking stream panics once, with what it was to write.
type breaking struct {
	io.Writer
	held   *atomic.Bool
	breaks bool
}

func (b *breaking) Write(p []byte) (int, error) {
	if b.breaks && b.held.Load() {
		b.breaks = false
		panic(fmt.Errorf("cannot write %s", p))
	}
	return b.Writer.Write(p)
}
