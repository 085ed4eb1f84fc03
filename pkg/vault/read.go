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

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/pkg/internal/shell"
)

// Secret is what the server gave for one path.
type Secret struct {
	Path   string  // as it was asked for, with ?version=N where that was
	Values []Value // those asked for, in the order asked; for *, by name
	Lease  *Lease  // nil: nothing hangs on the token
	// Version is a KV version 2 secret's, 0 for any other.
	Version int

	wanted *Wanted
}

// Lease is the life of a dynamic secret.
type Lease struct {
	ID        string
	Duration  time.Duration
	Renewable bool
	Since     time.Time // of Duration
	Path      string    // of the secret
}

// Expiry is when the lease ends unless it is renewed.
func (l *Lease) Expiry() time.Time { return l.Since.Add(l.Duration) }

// concurrent is how many secrets are read at once.
const concurrent = 8

// Read reads all secrets, several at once; each path is called once. The first
// error, in the order asked, is the one returned.
func (s *Session) Read(ctx context.Context) ([]Secret, error) {
	wanted := s.server.Secrets
	type result struct {
		answer answer
		err    error
		lease  *Lease
		since  time.Time
	}
	calls := map[string]*result{}
	var order []*result
	var (
		wg    sync.WaitGroup
		slots = make(chan struct{}, concurrent)
	)
	for _, w := range wanted {
		if calls[w.id()] != nil {
			continue
		}
		r := &result{}
		calls[w.id()], order = r, append(order, r)
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			r.since = s.client.Now() // the server counts from then at the earliest
			r.answer, r.err = s.get(ctx, w)
			if a := r.answer; r.err == nil && a.LeaseID != "" {
				r.lease = &Lease{ID: a.LeaseID, Duration: leaseTime(a.LeaseDuration), Renewable: a.Renewable, Since: r.since, Path: w.Path}
				s.change(func() { s.leases = append(s.leases, r.lease) })
			}
		})
	}
	wg.Wait()
	var leases []*Lease // in the order asked
	for _, r := range order {
		s.warned(r.answer)
		if r.lease != nil {
			leases = append(leases, r.lease)
		}
	}
	s.change(func() { s.leases, s.read = leases, true })
	all := make([]Secret, 0, len(wanted))
	for _, w := range wanted {
		r := calls[w.id()]
		var got Secret
		err := r.err
		if err == nil {
			got, err = w.pick(r.answer, func(text string) string { return s.hide(text) })
			got.Lease = r.lease
		}
		if isMissing(err) {
			got, err = w.absent(err)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, got)
	}
	return all, nil
}

// get reads, or writes, one path.
func (s *Session) get(ctx context.Context, w *Wanted) (answer, error) {
	r := remote.Request{Method: http.MethodGet, URL: s.server.Addr + "/v1/" + w.api, Header: s.server.header(s.server.Namespace)}
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
		Method: http.MethodPost, URL: s.server.Addr + "/v1/sys/wrapping/lookup", Header: s.server.header(s.server.Namespace), Body: in,
	})
	if err != nil {
		return a, err
	}
	var made struct {
		CreationPath string `json:"creation_path"`
	}
	if json.Unmarshal(a.Data, &made) != nil || !s.server.names(made.CreationPath, w, wrapped.Wrap.CreationPath) {
		return a, fault.New(fault.Refused, "the wrapped answer for %s was made for another path", w.Path).
			Hint("another client may have unwrapped it and put another in its place: report it to the server's administrators")
	}
	h := s.server.header(s.server.Namespace)
	h.Set("X-Vault-Token", token.Reveal())
	return s.call(ctx, what, remote.Request{
		Method: http.MethodPost, URL: s.server.Addr + "/v1/sys/wrapping/unwrap", Header: h,
	})
}

// names says whether a creation path is that of w, and the one that came with the
// wrapping token. Some servers put the namespace in front, others leave out those
// that a path begins with.
func (s *Server) names(path string, w *Wanted, came string) bool {
	path = trimPath(path)
	return path == w.place || path == s.Namespace+"/"+w.place ||
		path != "" && path == trimPath(came) && strings.HasSuffix(w.place, "/"+path)
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
	got := w.empty()
	data := a.Data
	if v := w.versioned(data); v != nil {
		got.Version = v.Metadata.Version
		// The time of a deletion may lie in the future: deleted is what has no data.
		switch gone := string(v.Data) == "null"; {
		case gone && v.Metadata.Destroyed:
			return got, missing{fault.New(fault.Refused, "version %d of %s was destroyed", got.Version, w.Path)}
		case gone:
			return got, w.deleted(v, hide)
		}
		data = v.Data
	}
	d := json.NewDecoder(bytes.NewReader(data))
	var fields map[string]json.RawMessage
	if d.Decode(&fields) != nil || fields == nil {
		return got, fault.New(fault.Unavailable, "the secret %s has no fields: %s", w.Path, a.described)
	}
	var err error
	got.Values, err = w.values(fields, hide)
	return got, err
}

func (w *Wanted) deleted(v *kv2, hide func(string) string) error {
	e := fault.New(fault.Refused, "version %d of %s was deleted at %s", v.Metadata.Version, w.Path, clip(hide(v.Metadata.DeletionTime)))
	mount, rest, _ := strings.Cut(w.place, "/data/")
	return missing{e.Hint("to have it back: vault kv undelete -mount=%s -versions=%d %s", shell.Word(mount), v.Metadata.Version, shell.Word(rest))}
}

func keys(m map[string]json.RawMessage) []string {
	all := make([]string, 0, len(m))
	for k := range m {
		all = append(all, k)
	}
	sort.Strings(all)
	return all
}
