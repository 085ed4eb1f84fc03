package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/deliver"
	"github.com/oidc-broker/oidc-broker/pkg/fault"
	"github.com/oidc-broker/oidc-broker/pkg/remote"
	"github.com/oidc-broker/oidc-broker/pkg/secret"
)

// Secret is what the server gave for one path.
type Secret struct {
	Path   string  // as it was asked for, with ?version=N where that was
	Values []Value // those asked for, in the order asked; for *, by name
	Lease  *Lease  // nil: nothing hangs on the token
	// Version is a KV version 2 secret's, 0 for any other.
	Version int
}

// Value is one field of a secret.
type Value struct {
	Field    string
	Variable string // that it goes into
	JSON     secret.Value
	// fromAll says that * asked for it: nobody wrote the variable's name.
	fromAll bool
}

// Lease is the life of a dynamic secret.
type Lease struct {
	ID        string
	Duration  time.Duration
	Renewable bool
}

// concurrent is how many secrets are read at once.
const concurrent = 8

// Read reads all secrets, several at once; each path is called once. The first
// error, in the order asked, is the one returned.
func (s *Session) Read(ctx context.Context) ([]Secret, error) {
	wanted := s.server.Secrets
	type result struct {
		answer answer
		err    error
	}
	calls := map[string]*result{}
	var (
		wg    sync.WaitGroup
		slots = make(chan struct{}, concurrent)
	)
	for _, w := range wanted {
		key := w.api + "?" + strconv.Itoa(w.version)
		if calls[key] != nil {
			continue
		}
		r := &result{}
		calls[key] = r
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			r.answer, r.err = s.get(ctx, w)
		})
	}
	wg.Wait()
	all := make([]Secret, 0, len(wanted))
	for _, w := range wanted {
		r := calls[w.api+"?"+strconv.Itoa(w.version)]
		if r.err != nil {
			return nil, r.err
		}
		got, err := w.pick(r.answer, func(text string) string { return s.hide(text) })
		if err != nil {
			return nil, err
		}
		all = append(all, got)
	}
	return all, nil
}

// get reads, or writes, one path.
func (s *Session) get(ctx context.Context, w *Wanted) (answer, error) {
	r := remote.Request{Method: http.MethodGet, URL: s.server.Addr + "/v1/" + w.api, Header: header(s.server.Namespace)}
	if w.version > 0 {
		r.URL += "?version=" + strconv.Itoa(w.version)
	}
	if w.write != nil {
		r.Method, r.Body = http.MethodPost, w.body()
	}
	r.Header.Set("X-Vault-Token", s.Token.Reveal())
	if s.server.wrap != "" {
		r.Header.Set("X-Vault-Wrap-TTL", s.server.wrap)
	}
	a, err := s.call(ctx, about{step: read, path: w.place, wanted: w}, r)
	if err != nil || a.Wrap == nil {
		if err == nil && s.server.wrap != "" {
			return a, notVault(a.described, " without the wrapping that was asked for")
		}
		return a, err
	}
	return s.unwrap(ctx, w, a)
}

// unwrap opens a wrapped answer. Its creation path is looked at first: whoever
// opened it in between could have wrapped something else.
func (s *Session) unwrap(ctx context.Context, w *Wanted, wrapped answer) (answer, error) {
	if !usable(wrapped.Wrap.Token) {
		return answer{}, notVault(wrapped.described, " without a wrapping token")
	}
	token := secret.New(wrapped.Wrap.Token)
	in, err := json.Marshal(map[string]string{"token": token.Reveal()})
	if err != nil {
		return answer{}, fault.New(fault.Internal, "cannot write the request")
	}
	what := about{step: unwrapping, path: w.place, wanted: w, bearer: token}
	a, err := s.call(ctx, what, remote.Request{
		Method: http.MethodPost, URL: s.server.Addr + "/v1/sys/wrapping/lookup", Header: header(s.server.Namespace), Body: in,
	})
	if err != nil {
		return a, err
	}
	var made struct {
		CreationPath string `json:"creation_path"`
	}
	if json.Unmarshal(a.Data, &made) != nil || !s.server.names(made.CreationPath, w) {
		return a, fault.New(fault.Refused, "the wrapped answer for %s was made for another path", w.Path).
			Hint("somebody may have opened it and wrapped another in its place: tell who is responsible for the server")
	}
	h := header(s.server.Namespace)
	h.Set("X-Vault-Token", token.Reveal())
	return s.call(ctx, what, remote.Request{
		Method: http.MethodPost, URL: s.server.Addr + "/v1/sys/wrapping/unwrap", Header: h,
	})
}

// names says whether a creation path is that of w. Some servers put the namespace
// in front.
func (s *Server) names(path string, w *Wanted) bool {
	path = trimPath(path)
	return path == w.place || path == s.Namespace+"/"+w.place
}

// kv2 is the data of a KV version 2 secret.
type kv2 struct {
	Data     json.RawMessage `json:"data"`
	Metadata struct {
		Version      int    `json:"version"`
		CreatedTime  string `json:"created_time"`
		DeletionTime string `json:"deletion_time"`
		Destroyed    bool   `json:"destroyed"`
	} `json:"metadata"`
}

// versioned returns the KV version 2 secret in an answer's data, or nil. A
// secret of version 1 may have a field of the name data: so the whole form
// counts, and what --kv-version says.
func (w *Wanted) versioned(data json.RawMessage) *kv2 {
	if w.kv == 1 || w.kv == 0 && !strings.Contains(w.place, "/data/") {
		return nil
	}
	var members map[string]json.RawMessage
	var v kv2
	if json.Unmarshal(data, &members) != nil || json.Unmarshal(data, &v) != nil ||
		len(members) != 2 || members["data"] == nil || members["metadata"] == nil ||
		v.Metadata.Version == 0 || v.Metadata.CreatedTime == "" {
		return nil
	}
	return &v
}

// pick takes what was asked for out of an answer. hide goes over what an error
// shows of it.
func (w *Wanted) pick(a answer, hide func(string) string) (Secret, error) {
	got := Secret{Path: w.Path}
	if w.version > 0 {
		got.Path += "?version=" + strconv.Itoa(w.version)
	}
	data := a.Data
	if v := w.versioned(data); v != nil {
		got.Version = v.Metadata.Version
		switch {
		case v.Metadata.Destroyed:
			return got, fault.New(fault.Refused, "version %d of %s was destroyed", got.Version, w.Path)
		case v.Metadata.DeletionTime != "":
			return got, w.deleted(v, hide)
		}
		data = v.Data
	} else if a.LeaseID != "" {
		got.Lease = &Lease{a.LeaseID, leaseTime(a.LeaseDuration), a.Renewable}
	}
	d := json.NewDecoder(bytes.NewReader(data))
	var fields map[string]json.RawMessage
	if d.Decode(&fields) != nil || fields == nil {
		return got, fault.New(fault.Unavailable, "the secret %s has no fields: %s", w.Path, a.described)
	}
	named := map[string]bool{}
	for _, f := range w.fields {
		raw, ok := fields[f.name]
		if !ok {
			return got, fault.New(fault.Refused, "the secret %s has no field %q", w.Path, f.name).
				Hint("it has: %s", remote.Clip(hide(strings.Join(keys(fields), ", "))))
		}
		named[f.name] = true
		got.Values = append(got.Values, Value{Field: f.name, Variable: f.variable, JSON: secret.New(string(raw))})
	}
	if w.all {
		for _, name := range keys(fields) {
			if !named[name] {
				got.Values = append(got.Values, Value{Field: name, Variable: name, JSON: secret.New(string(fields[name])), fromAll: true})
			}
		}
	}
	return got, nil
}

func (w *Wanted) deleted(v *kv2, hide func(string) string) error {
	e := fault.New(fault.Refused, "version %d of %s was deleted at %s", v.Metadata.Version, w.Path, clip(hide(v.Metadata.DeletionTime)))
	mount, rest, _ := strings.Cut(w.place, "/data/")
	return e.Hint("to have it back: vault kv undelete -mount=%s -versions=%d %s", deliver.Word(mount), v.Metadata.Version, deliver.Word(rest))
}

func keys(m map[string]json.RawMessage) []string {
	all := make([]string, 0, len(m))
	for k := range m {
		all = append(all, k)
	}
	sort.Strings(all)
	return all
}

// Leases returns the leases of all secrets.
func Leases(all []Secret) []Lease {
	var leases []Lease
	for _, s := range all {
		if s.Lease != nil {
			leases = append(leases, *s.Lease)
		}
	}
	return leases
}
