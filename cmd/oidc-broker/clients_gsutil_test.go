package main

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// startStorage is Google's Cloud Storage, as far as gsutil asks it for buckets: it
// writes whose request it was to the file requests: account, direct or anonymous, and
// a digest of the token. The arguments name boto files that lead there.
func startStorage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: storage BOTO...")
	}
	var mu sync.Mutex
	log := ts.MkAbs("requests")
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		f, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err == nil {
			_, _ = fmt.Fprintln(f, requester(r.Header.Get("Authorization")))
			_ = f.Close()
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, `{"kind":"storage#buckets"}`)
	}))
	ts.Defer(s.Close)
	u, err := url.Parse(s.URL)
	ts.Check(err)
	for _, name := range args {
		text := "[Boto]\nhttps_validate_certificates = False\nnum_retries = 0\n[Credentials]\ngs_json_host = " + u.Hostname() + "\ngs_json_port = " + u.Port() + "\n"
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o600))
	}
}

func requester(authorization string) string {
	token, ok := strings.CutPrefix(authorization, "Bearer ")
	for kind, prefix := range kinds {
		if ok && strings.HasPrefix(token, prefix) {
			return fmt.Sprintf("%s %x", kind, sha256.Sum256([]byte(token)))
		}
	}
	if authorization == "" {
		return "anonymous"
	}
	return "another"
}
