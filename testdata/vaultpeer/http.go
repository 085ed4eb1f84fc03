package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/go-secure-stdlib/parseutil"
	"github.com/hashicorp/vault/sdk/helper/jsonutil"
	"github.com/hashicorp/vault/sdk/logical"
)

// handler serves Vault's API below /v1/ and, beside it, what the tests ask the
// peer itself: faults to come, secrets made, requests seen. The multiplexer
// sends paths with a doubled slash to the clean one by 307, as Vault's does.
func (p *peer) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/", p.serve)
	mux.HandleFunc("POST /fault", p.addFault)
	mux.HandleFunc("GET /issued", func(w http.ResponseWriter, _ *http.Request) { p.list(w, &p.issued) })
	mux.HandleFunc("GET /requests", func(w http.ResponseWriter, _ *http.Request) { p.list(w, &p.seen) })
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { logical.RespondError(w, http.StatusNotFound, nil) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, api := strings.CutPrefix(r.URL.Path, "/v1/")
		if !api {
			mux.ServeHTTP(w, r)
			return
		}
		if f := p.due(path); f != nil {
			p.note(r, "fault "+f.Kind)
			f.play(w, r, mux)
			return
		}
		s := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		mux.ServeHTTP(s, r)
		p.note(r, fmt.Sprint(s.status))
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (s *statusWriter) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

func (p *peer) note(r *http.Request, outcome string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, r.Method+" "+r.URL.Path+" "+outcome)
}

func (p *peer) list(w http.ResponseWriter, all *[]string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = json.NewEncoder(w).Encode(append([]string{}, *all...))
}

func (p *peer) serve(w http.ResponseWriter, hr *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json")
	if ns := hr.Header.Get("X-Vault-Namespace"); ns != "" {
		w.Header().Set("X-Vault-Namespace", strings.Trim(ns, "/")+"/")
	}
	r, status, err := p.read(hr)
	if status != 0 {
		logical.RespondError(w, status, err)
		return
	}
	resp, err := p.do(hr.Context(), r)
	if status, err := logical.RespondErrorCommon(r.Request, resp, err); status != 0 || err != nil {
		logical.RespondError(w, status, err)
		return
	}
	switch {
	case resp == nil:
		w.WriteHeader(http.StatusNoContent)
	case resp.Data[logical.HTTPStatusCode] != nil:
		answerRaw(w, resp)
	case resp.WrapInfo != nil:
		i := resp.WrapInfo
		answer(w, &logical.HTTPResponse{WrapInfo: &logical.HTTPWrapInfo{
			Token: i.Token, Accessor: i.Accessor, TTL: int(i.TTL.Seconds()), CreationTime: i.CreationTime.Format(time.RFC3339Nano),
			CreationPath: i.CreationPath, WrappedAccessor: i.WrappedAccessor,
		}})
	default:
		out := logical.LogicalResponseToHTTPResponse(resp)
		out.RequestID = r.ID
		answer(w, out)
	}
}

func answer(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }

// answerRaw sends what a plugin made itself, with a status of its own.
func answerRaw(w http.ResponseWriter, resp *logical.Response) {
	w.WriteHeader(resp.Data[logical.HTTPStatusCode].(int))
	switch body := resp.Data[logical.HTTPRawBody].(type) {
	case string:
		_, _ = io.WriteString(w, body)
	case []byte:
		_, _ = w.Write(body)
	}
}

// read turns a request into what plugins take, or says why it is none.
func (p *peer) read(hr *http.Request) (*request, int, error) {
	r := &request{Request: &logical.Request{
		ID: newUUID(), Path: strings.TrimPrefix(hr.URL.Path, "/v1/"), Headers: hr.Header, Data: map[string]any{},
		ClientToken: hr.Header.Get("X-Vault-Token"), Connection: &logical.Connection{RemoteAddr: host(hr.RemoteAddr)},
	}}
	if bearer, ok := strings.CutPrefix(hr.Header.Get("Authorization"), "Bearer "); ok && r.ClientToken == "" {
		r.ClientToken = strings.TrimSpace(bearer)
	}
	if status, err := operation(r, hr); status != 0 {
		return nil, status, err
	}
	if ttl := hr.Header.Get("X-Vault-Wrap-TTL"); ttl != "" {
		var err error
		if r.wrap, err = parseutil.ParseDurationSecond(ttl); err == nil && r.wrap < 0 {
			err = errors.New("requested wrap ttl cannot be negative")
		}
		if err != nil {
			return nil, http.StatusBadRequest, fmt.Errorf("error parsing X-Vault-Wrap-TTL header: %w", err)
		}
	}
	return p.inSpace(r, hr.Header.Get("X-Vault-Namespace"))
}

// operation reads the method, and the fields it comes with.
func operation(r *request, hr *http.Request) (int, error) {
	q := hr.URL.Query()
	method := hr.Method
	if listed, _ := parseutil.ParseBool(q.Get("list")); listed && method == http.MethodGet {
		method = "LIST"
		q.Del("list")
	}
	switch method {
	case http.MethodGet, "LIST", http.MethodDelete:
		r.Operation = map[string]logical.Operation{"GET": logical.ReadOperation, "LIST": logical.ListOperation, "DELETE": logical.DeleteOperation}[method]
		if method == "LIST" && !strings.HasSuffix(r.Path, "/") {
			r.Path += "/"
		}
		for name, values := range q {
			r.Data[name] = values[0]
		}
	case http.MethodPost, http.MethodPut:
		r.Operation = logical.UpdateOperation
		if err := jsonutil.DecodeJSONFromReader(hr.Body, &r.Data); err != nil && !errors.Is(err, io.EOF) {
			return http.StatusBadRequest, fmt.Errorf("failed to decode JSON input: %w", err)
		}
	default:
		return http.StatusMethodNotAllowed, nil
	}
	return 0, nil
}

// inSpace finds the namespace, which the header names, the path, or both.
func (p *peer) inSpace(r *request, header string) (*request, int, error) {
	at := ""
	if header = strings.Trim(header, "/"); header != "" && header != "root" {
		at = header + "/"
	}
	if r.space = p.spaces[at]; r.space == nil {
		return nil, http.StatusNotFound, errors.New("namespace not found")
	}
	for {
		first, rest, ok := strings.Cut(r.Path, "/")
		inner := p.spaces[r.space.path+first+"/"]
		if !ok || inner == nil {
			return r, 0, nil
		}
		r.space, r.Path = inner, rest
	}
}

func host(address string) string {
	i := strings.LastIndexByte(address, ':')
	return strings.Trim(address[:i], "[]")
}
