package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
)

// A fault replaces the answers of some requests to come.
type fault struct {
	Kind  string `json:"kind"`
	Times int    `json:"times"` // 1 if not given
	Path  string `json:"path"`  // what the path begins with, without /v1/
}

// marker stands in every answer that is not Vault's. It may never show.
const marker = "MARKER-9f8e7d6c"

var faults = map[string]func(w http.ResponseWriter, r *http.Request, next http.Handler){
	"429-wait": func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		w.Header().Set("Retry-After", "1")
		refuse(w, r, http.StatusTooManyRequests)
	},
	// The one refusal that mends itself although its status says it will not.
	"keys": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		logical.RespondError(w, http.StatusBadRequest, fmt.Errorf("error validating token: error verifying token signature: "+
			`fetching keys oidc: get keys failed Get "http://127.0.0.1:1/keys": dial tcp 127.0.0.1:1: connect: connection refused`))
	},
	"slow": func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		select {
		case <-time.After(2 * time.Second):
			next.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	},
	// The request does its work, and half of the answer arrives.
	"cut": func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		whole := httptest.NewRecorder()
		next.ServeHTTP(whole, r)
		body := whole.Body.Bytes()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)+2))
		w.WriteHeader(whole.Code)
		_, _ = w.Write(body[:len(body)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	},
	"close": func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) },
	"html": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!doctype html><html><body>Please log in "+marker+"</body></html>")
	},
	"big": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"data":{"data":{"password":"`+strings.Repeat(marker+" ", 3<<20/len(marker+" "))+`"}}}`)
	},
	"redirect": func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		http.Redirect(w, r, "/v1/elsewhere/"+marker, http.StatusTemporaryRedirect)
	},
}

// refuse answers with a status and what Vault says with it.
func refuse(w http.ResponseWriter, r *http.Request, status int) {
	err := map[int]error{
		http.StatusTooManyRequests:     fmt.Errorf("request path %q: %w", strings.TrimPrefix(r.URL.Path, "/v1/"), logical.ErrRateLimitQuotaExceeded),
		http.StatusPreconditionFailed:  logical.ErrMissingRequiredState,
		http.StatusInternalServerError: fmt.Errorf("internal error"),
		http.StatusServiceUnavailable:  consts.ErrSealed,
	}[status]
	logical.RespondError(w, status, err)
}

// play does what the fault is named for: a name of the table above, or a status.
func (f *fault) play(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if do := faults[f.Kind]; do != nil {
		do(w, r, next)
		return
	}
	status, _ := strconv.Atoi(f.Kind)
	refuse(w, r, status)
}

func (p *peer) addFault(w http.ResponseWriter, r *http.Request) {
	f := &fault{Times: 1}
	if err := json.NewDecoder(r.Body).Decode(f); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if status, err := strconv.Atoi(f.Kind); faults[f.Kind] == nil && (err != nil || status < 400 || status > 599) {
		http.Error(w, "no such kind of fault", http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, f)
}

// due takes the first fault that a path is in for, or nil.
func (p *peer) due(path string) *fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.faults {
		if f.Times > 0 && strings.HasPrefix(path, f.Path) {
			f.Times--
			return f
		}
	}
	return nil
}
