package remote

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// marker stands for a token. It is in the path, the query, a header and the
// body of every request and answer of these tests, and in no error.
const marker = "hunter2"

// now is what every clock in these tests shows.
func now() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// a lab is a client with what it did between its attempts.
type lab struct {
	*Client
	t *testing.T

	mu     sync.Mutex
	logged []string
	pauses []time.Duration
}

func newLab(t *testing.T, rt http.RoundTripper) *lab {
	l := &lab{t: t}
	if rt == nil {
		tr := NewTransport(func(string) string { return "" })
		tr.Proxy = nil
		t.Cleanup(tr.CloseIdleConnections)
		rt = tr
	}
	l.Client = &Client{
		Transport: rt,
		Now:       now,
		Attempts:  3,
		Log: func(format string, args ...any) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.logged = append(l.logged, fmt.Sprintf(format, args...))
		},
		pause: func(ctx context.Context, d time.Duration) error {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.pauses = append(l.pauses, d)
			return ctx.Err()
		},
	}
	return l
}

// post calls a server with marker wherever a request can hold it, and checks
// that nothing the user gets to see repeats it.
func (l *lab) post(ctx context.Context, url string) (Answer, error) {
	l.t.Helper()
	a, err := l.Call(ctx, Request{
		Method: http.MethodPost,
		URL:    url + "/path-" + marker + "?query=" + marker,
		Header: http.Header{"Authorization": {"Bearer " + marker}},
		Body:   []byte("token=" + marker),
	})
	l.clean(err)
	return a, err
}

func (l *lab) clean(err error) {
	l.t.Helper()
	seen := append(fault.Hints(err), l.logged...)
	if err != nil {
		seen = append(seen, err.Error(), fmt.Sprintf("%+v", err))
	}
	for cause := err; cause != nil; cause = errors.Unwrap(cause) {
		seen = append(seen, cause.Error())
	}
	for _, text := range seen {
		if strings.Contains(text, marker) || strings.Contains(text, "path-") || strings.Contains(text, "query=") {
			l.t.Errorf("shows what it must not: %s", text)
		}
		if strings.ContainsAny(text, "\r\n") {
			l.t.Errorf("is more than a line: %q", text)
		}
	}
}

// fails checks a call's error: its kind, and words of its text.
func (l *lab) fails(err error, kind fault.Kind, words string) {
	l.t.Helper()
	if err == nil {
		l.t.Fatalf("no error, want one that says %q", words)
	}
	if got := fault.KindOf(err); got != kind {
		l.t.Errorf("kind %d of %v, want %d", got, err, kind)
	}
	if !strings.Contains(err.Error(), words) {
		l.t.Errorf("says %q, want the words %q", err, words)
	}
}

// serve runs an HTTP server on loopback and counts its requests.
func serve(t *testing.T, h http.HandlerFunc) (url string, requests *atomic.Int32) {
	requests = new(atomic.Int32)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		w.Header().Set("X-Secret", marker)
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL, requests
}

func TestAnswer(t *testing.T) {
	l := newLab(t, nil)
	url, requests := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Method", r.Method)
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, "%s %s %s", r.URL.RequestURI(), r.Header.Get("Authorization"), body)
	})
	a, err := l.post(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if want := "/path-hunter2?query=hunter2 Bearer hunter2 token=hunter2"; a.Status != 201 || string(a.Body) != want || a.Header.Get("X-Method") != "POST" {
		t.Errorf("answer %d %q %v", a.Status, a.Body, a.Header)
	}
	if _, err := l.Call(t.Context(), Request{URL: url}); err != nil {
		t.Errorf("a request without method, header and body: %v", err)
	}
	if requests.Load() != 2 || len(l.pauses) != 0 || len(l.logged) != 0 {
		t.Errorf("%d requests, %d pauses, %d lines logged", requests.Load(), len(l.pauses), len(l.logged))
	}
}

// What may be called at all. The transport fails the test if it is reached.
func TestRefusedURLs(t *testing.T) {
	for _, row := range []struct{ url, words string }{
		{"http://sts.amazonaws.com", "would send the token unencrypted"},
		{"HTTP://sts.amazonaws.com", "would send the token unencrypted"},
		{"http://169.254.169.254", "would send the token unencrypted"},
		{"http://0.0.0.0", "would send the token unencrypted"},
		{"http://127.0.0.1.evil.test", "would send the token unencrypted"},
		{"http://localhost.evil.test", "would send the token unencrypted"},
		{"http://127.1", "would send the token unencrypted"},
		{"http://2130706433", "would send the token unencrypted"},
		{"http://[fe80::1]", "would send the token unencrypted"},
		{"http://user:hunter2@127.0.0.1", "a user name or password"},
		{"https://hunter2@sts.amazonaws.com", "a user name or password"},
		{"http://127.0.0.1@evil.test", "a user name or password"},
		{"https://", "without a host"},
		{"https://:443", "without a host"},
		{"https:sts.amazonaws.com", "without a host"},
		{"sts.amazonaws.com", "without a host"},
		{"", "without a host"},
		{"ftp://sts.amazonaws.com", "only https:// is called"},
		{"file://localhost", "only https:// is called"},
		{"unix://localhost", "only https:// is called"},
		{"https://[::1", "not a URL"},
		{"https://a b", "not a URL"},
		{"https://h\n", "not a URL"},
		{"://", "not a URL"},
	} {
		t.Run(row.url, func(t *testing.T) {
			l := newLab(t, roundTrip(func(r *http.Request) (*http.Response, error) {
				t.Errorf("connects to %s", r.URL.Host)
				return nil, io.EOF
			}))
			_, err := l.post(t.Context(), row.url)
			l.fails(err, fault.Usage, row.words)
			if len(l.pauses) != 0 {
				t.Error("tried again")
			}
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestAllowedURLs(t *testing.T) {
	for _, url := range []string{
		"https://sts.amazonaws.com", "HTTPS://sts.amazonaws.com:8443", "http://127.0.0.1:1", "http://127.9.9.9",
		"http://localhost:8080", "http://[::1]:80", "http://[::ffff:127.0.0.1]",
	} {
		t.Run(url, func(t *testing.T) {
			l := newLab(t, roundTrip(func(r *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader("ok")), Request: r}, nil
			}))
			if _, err := l.post(t.Context(), url); err != nil {
				t.Error(err)
			}
		})
	}
}

// The other host must see nothing: the token would go with the request.
func TestRedirectsAreNotFollowed(t *testing.T) {
	for _, status := range []int{300, 301, 302, 303, 304, 305, 307, 308} {
		for _, scheme := range []string{"other host", "same host", "https", "no location", "bad location"} {
			t.Run(fmt.Sprint(status, " ", scheme), func(t *testing.T) {
				l := newLab(t, nil)
				other, others := serve(t, func(http.ResponseWriter, *http.Request) {})
				url, requests := serve(t, func(w http.ResponseWriter, r *http.Request) {
					switch scheme {
					case "other host":
						w.Header().Set("Location", other+"/"+marker)
					case "same host":
						w.Header().Set("Location", "/"+marker)
					case "https":
						w.Header().Set("Location", strings.Replace(other, "http:", "https:", 1))
					case "bad location":
						w.Header().Set("Location", "http://[::1/"+marker)
					}
					w.WriteHeader(status)
				})
				_, err := l.post(t.Context(), url)
				l.fails(err, fault.Unavailable, fmt.Sprintf("answers %d and points elsewhere, which is not followed", status))
				if others.Load() != 0 || requests.Load() != 1 {
					t.Errorf("%d requests to the first host, %d to the other", requests.Load(), others.Load())
				}
			})
		}
	}
}

func TestAnswersAreBounded(t *testing.T) {
	long := bytes.Repeat([]byte(marker), maxAnswer/len(marker)+1)
	zip := func(b []byte) []byte {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		_, _ = z.Write(b)
		_ = z.Close()
		return out.Bytes()
	}
	for _, row := range []struct {
		name, encoding string
		body           []byte
		words          string
	}{
		{"just fits", "", long[:maxAnswer], ""},
		{"a byte too much", "", long[:maxAnswer+1], "sent more than 1 MiB"},
		{"fits when unpacked", "gzip", zip(long[:maxAnswer]), ""},
		{"a bomb", "gzip", zip(make([]byte, 4<<20)), "sent more than 1 MiB"},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := newLab(t, nil)
			url, requests := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				if row.encoding != "" {
					w.Header().Set("Content-Encoding", row.encoding)
				}
				_, _ = w.Write(row.body)
			})
			a, err := l.post(t.Context(), url)
			if requests.Load() != 1 {
				t.Errorf("%d requests, want 1", requests.Load())
			}
			if row.words != "" {
				l.fails(err, fault.Unavailable, row.words)
				return
			}
			if err != nil || len(a.Body) != maxAnswer {
				t.Errorf("%d bytes, %v", len(a.Body), err)
			}
		})
	}
}

func TestWhichStatusIsTriedAgain(t *testing.T) {
	for status, want := range map[int]int32{
		200: 1, 204: 1, 400: 1, 401: 1, 403: 1, 404: 1, 409: 1, 425: 1, 501: 1,
		408: 3, 429: 3, 500: 3, 502: 3, 503: 3, 504: 3, 520: 3, 599: 3,
	} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			l := newLab(t, nil)
			url, requests := serve(t, func(w http.ResponseWriter, r *http.Request) {
				// Each attempt has the whole request.
				if body, err := io.ReadAll(r.Body); err != nil || string(body) != "token="+marker || r.Header.Get("Authorization") != "Bearer "+marker {
					t.Errorf("body %q, header %q, %v", body, r.Header.Get("Authorization"), err)
				}
				w.WriteHeader(status)
				if status != 204 {
					_, _ = fmt.Fprint(w, marker)
				}
			})
			a, err := l.post(t.Context(), url)
			if requests.Load() != want || len(l.pauses) != int(want)-1 || len(l.logged) != int(want)-1 {
				t.Errorf("%d requests, want %d; %d pauses, %d logged", requests.Load(), want, len(l.pauses), len(l.logged))
			}
			// The answer is there, whatever its status.
			if a.Status != status || status != 204 && string(a.Body) != marker {
				t.Errorf("answer %d %q", a.Status, a.Body)
			}
			if want == 1 && err != nil {
				t.Error(err)
			}
			if want > 1 {
				l.fails(err, fault.Unavailable, fmt.Sprintf(" answers %d (tried 3 times)", status))
			}
		})
	}
}

func TestAttempts(t *testing.T) {
	for _, row := range []struct {
		attempts, good int // good: the first attempt that succeeds; 0: none
		want           int32
	}{{-1, 0, 1}, {0, 0, 1}, {1, 0, 1}, {1, 2, 1}, {2, 2, 2}, {5, 0, 5}, {5, 3, 3}, {5, 5, 5}, {70, 0, 70}} {
		t.Run(fmt.Sprint(row), func(t *testing.T) {
			l := newLab(t, nil)
			l.Attempts = row.attempts
			n := 0
			url, requests := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				if n++; n != row.good {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
			})
			_, err := l.post(t.Context(), url)
			if (err == nil) != (row.good == int(row.want)) || requests.Load() != row.want {
				t.Errorf("%d requests, want %d; %v", requests.Load(), row.want, err)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	const soon, never = firstPause, -1
	for _, row := range []struct {
		header string
		want   time.Duration // soon: by jitter alone; never: gives up
		words  string
	}{
		{"3", 3 * time.Second, ""},
		{"58", 58 * time.Second, ""}, // and a second of jitter
		{"61", never, "; it asks to wait 1m1s"},
		{"86400", never, "; it asks to wait 1h0m0s"},
		{"99999999999999999999", soon, ""},
		{"Sun, 01 Mar 2026 12:00:07 GMT", 7 * time.Second, ""},
		{"Sunday, 01-Mar-26 12:00:07 GMT", 7 * time.Second, ""},
		{"Sun, 01 Mar 2026 12:10:00 GMT", never, "; it asks to wait 10m0s"},
		{"Mon, 01 Mar 2027 12:00:00 GMT", never, "; it asks to wait 1h0m0s"},
		{"Sun, 01 Mar 2026 11:59:59 GMT", soon, ""},
		{"0", soon, ""},
		{"-5", soon, ""},
		{"1.5", soon, ""},
		{marker, soon, ""},
		{"", soon, ""},
	} {
		t.Run(row.header, func(t *testing.T) {
			l := newLab(t, nil)
			l.Attempts = 2
			url, requests := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", row.header)
				w.WriteHeader(http.StatusTooManyRequests)
			})
			// Between the longest pause above that fits and the end there is a
			// second, so this test may take that long.
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := l.post(ctx, url)
			l.fails(err, fault.Unavailable, " answers 429")
			l.fails(err, fault.Unavailable, row.words)
			switch {
			case row.want == never:
				if requests.Load() != 1 || len(l.pauses) != 0 {
					t.Errorf("%d requests, pauses %v: want it to give up", requests.Load(), l.pauses)
				}
			case requests.Load() != 2 || len(l.pauses) != 1:
				t.Errorf("%d requests, pauses %v", requests.Load(), l.pauses)
			case row.want == soon && l.pauses[0] >= soon, row.want != soon && !justOver(l.pauses[0], row.want):
				t.Errorf("pause %s, want %s", l.pauses[0], row.want)
			}
		})
	}
}

func TestRetryAfterIsLongWithoutADeadline(t *testing.T) {
	l := newLab(t, nil)
	err := l.Retry(t.Context(), func(context.Context) error {
		return &Failure{Host: "h", Why: "answers 503", Again: true, After: time.Hour}
	})
	l.fails(err, fault.Unavailable, "h answers 503 (tried 3 times); it asks to wait 1h0m0s")
	for _, p := range l.pauses {
		if !justOver(p, time.Hour) {
			t.Errorf("pauses %v", l.pauses)
		}
	}
	if len(l.pauses) != 2 || l.pauses[0] == l.pauses[1] {
		t.Errorf("pauses %v: want two, spread", l.pauses)
	}
}

// justOver says that a pause is what the server asked for and a little more.
func justOver(pause, asked time.Duration) bool { return pause >= asked && pause < asked+maxPause }

// Every pause is within its bound, and some are near either end of it.
func TestFullJitter(t *testing.T) {
	bounds := []time.Duration{1000, 2000, 4000, 8000, 16000, 20000, 20000, 20000, 20000, 20000, 20000, 20000, 20000, 20000}
	least, most := make([]time.Duration, len(bounds)), make([]time.Duration, len(bounds))
	for run := range 300 {
		l := newLab(t, nil)
		l.Attempts = len(bounds) + 1
		_ = l.Retry(t.Context(), func(context.Context) error { return &Failure{Again: true} })
		if len(l.pauses) != len(bounds) {
			t.Fatalf("%d pauses", len(l.pauses))
		}
		for i, p := range l.pauses {
			if p < 0 || p >= bounds[i]*time.Millisecond {
				t.Fatalf("pause %d is %s, want less than %d ms", i, p, bounds[i])
			}
			if run == 0 {
				least[i] = p
			}
			least[i], most[i] = min(least[i], p), max(most[i], p)
		}
	}
	for i, b := range bounds {
		// 300 draws miss a quarter of the range once in 10³⁷.
		if least[i] > b*time.Millisecond/4 || most[i] < b*time.Millisecond*3/4 {
			t.Errorf("pause %d is from %s to %s, want all of %d ms", i, least[i], most[i], b)
		}
	}
}

func TestRetryReturnsOtherErrorsAsTheyAre(t *testing.T) {
	l := newLab(t, nil)
	for _, want := range []error{nil, io.EOF, fault.New(fault.Refused, "no"), context.DeadlineExceeded} {
		n := 0
		if got := l.Retry(t.Context(), func(context.Context) error { n++; return want }); got != want || n != 1 {
			t.Errorf("%v after %d attempts, want %v after 1", got, n, want)
		}
	}
}

// What an attempt wraps around its *Failure is the text, the hints of both are
// kept, and a Failure that is not to be repeated is not.
func TestRetryKeepsTextAndHints(t *testing.T) {
	for _, again := range []bool{true, false} {
		l := newLab(t, nil)
		n := 0
		err := l.Retry(t.Context(), func(context.Context) error {
			n++
			return fault.New(fault.Internal, "asking: %w", &Failure{Host: "h", Why: "answers 500", Again: again, Hint: "second"}).Hint("first")
		})
		words, want := "asking: h answers 500 (tried 3 times)", 3
		if !again {
			words, want = "asking: h answers 500", 1
		}
		l.fails(err, fault.Unavailable, words)
		if hints := fmt.Sprint(fault.Hints(err)); err.Error() != words || n != want || hints != "[first second]" {
			t.Errorf("%q after %d attempts, hints %s", err, n, hints)
		}
	}
}

func TestInterrupt(t *testing.T) {
	t.Run("before the first attempt", func(t *testing.T) {
		l := newLab(t, nil)
		url, requests := serve(t, func(http.ResponseWriter, *http.Request) {})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := l.post(ctx, url); err != context.Canceled || requests.Load() != 0 {
			t.Errorf("%v after %d requests", err, requests.Load())
		}
	})
	t.Run("while the server thinks", func(t *testing.T) {
		l := newLab(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		url, requests := serve(t, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body)
			cancel()
			<-r.Context().Done()
		})
		if _, err := l.post(ctx, url); err != context.Canceled || requests.Load() != 1 {
			t.Errorf("%v after %d requests", err, requests.Load())
		}
	})
	t.Run("while the body comes", func(t *testing.T) {
		l := newLab(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		url, requests := serve(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body)
			_, _ = io.WriteString(w, marker)
			_ = http.NewResponseController(w).Flush()
			cancel()
			<-r.Context().Done()
		})
		if _, err := l.post(ctx, url); err != context.Canceled || requests.Load() != 1 {
			t.Errorf("%v after %d requests", err, requests.Load())
		}
	})
	t.Run("after a failed attempt", func(t *testing.T) {
		l := newLab(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		err := l.Retry(ctx, func(context.Context) error { cancel(); return &Failure{Again: true} })
		if err != context.Canceled || len(l.pauses) != 0 {
			t.Errorf("%v after pauses %v", err, l.pauses)
		}
	})
	t.Run("during the pause", func(t *testing.T) {
		l := newLab(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		l.pause = nil // the real one
		l.Log = func(string, ...any) { cancel() }
		n := 0
		err := l.Retry(ctx, func(context.Context) error { n++; return &Failure{Again: true, After: time.Hour} })
		if err != context.Canceled || n != 1 {
			t.Errorf("%v after %d attempts", err, n)
		}
	})
}

// The deadline of the whole command ends a pause and an attempt. The last
// server's failure is what the user hears, not that time is up.
func TestDeadline(t *testing.T) {
	t.Run("during the pause", func(t *testing.T) {
		l := newLab(t, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		n := 0
		l.draw = func(time.Duration) time.Duration { return 0 }
		l.pause = func(ctx context.Context, _ time.Duration) error { <-ctx.Done(); return ctx.Err() }
		err := l.Retry(ctx, func(context.Context) error {
			n++
			return &Failure{Host: "h", Why: "answers 503", Again: true}
		})
		l.fails(err, fault.Unavailable, "h answers 503")
		if n != 1 || strings.Contains(err.Error(), "tried") {
			t.Errorf("%d attempts: %v", n, err)
		}
	})
	t.Run("before the pause would end", func(t *testing.T) {
		l := newLab(t, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		l.draw = func(time.Duration) time.Duration { return time.Hour }
		err := l.Retry(ctx, func(context.Context) error { return &Failure{Host: "h", Why: "answers 503", Again: true} })
		l.fails(err, fault.Unavailable, "h answers 503")
		if len(l.pauses) != 0 {
			t.Error("it waits, although nothing can come of it")
		}
	})
	t.Run("during an attempt", func(t *testing.T) {
		l := newLab(t, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		url, requests := serve(t, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body)
			<-r.Context().Done()
		})
		_, err := l.post(ctx, url)
		l.fails(err, fault.Unavailable, "did not answer in time")
		if requests.Load() != 1 || len(l.pauses) != 0 {
			t.Errorf("%d requests, pauses %v", requests.Load(), l.pauses)
		}
	})
	t.Run("before the first attempt", func(t *testing.T) {
		l := newLab(t, nil)
		ctx, cancel := context.WithTimeout(t.Context(), -1)
		defer cancel()
		url, requests := serve(t, func(http.ResponseWriter, *http.Request) {})
		_, err := l.post(ctx, url)
		l.fails(err, fault.Unavailable, "did not answer in time")
		if requests.Load() != 0 {
			t.Errorf("%d requests", requests.Load())
		}
	})
}

// The pause by the clock ends by itself.
func TestPause(t *testing.T) {
	if err := (&Client{}).sleep(t.Context(), time.Nanosecond); err != nil {
		t.Error(err)
	}
}

// An SDK that is given Do gets a whole response, or a *Failure to hand to Retry.
func TestDo(t *testing.T) {
	l := newLab(t, nil)
	url, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/moved" {
			w.Header().Set("Location", "/")
			w.WriteHeader(http.StatusFound)
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, marker)
	})
	get := func(path string) (*http.Response, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		return l.Do(req)
	}
	res, err := get("/")
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != marker || res.StatusCode != 503 {
		t.Errorf("%d %q %v", res.StatusCode, body, err)
	}
	_, err = get("/moved")
	var f *Failure
	if !errors.As(err, &f) || f.Again || f.Host == "" {
		t.Errorf("%#v, want a *Failure that is final", err)
	}
}
