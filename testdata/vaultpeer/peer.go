package main

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-uuid"
	jwtauth "github.com/hashicorp/vault-plugin-auth-jwt"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/sdk/logical"
)

// A peer is a small Vault.
type peer struct {
	root   string
	spaces map[string]*space // by path
	mounts map[string]*mount // by whole path, which ends with a slash

	mu       sync.Mutex
	tokens   map[string]*token // by id
	leases   map[string]*lease // by id
	entities map[string]string // by mount and user
	issued   []string          // every secret ever made, for those who look where it may not be
	seen     []string          // every request with its status
	faults   []*fault
}

// A space is a namespace. The root's path and id are empty.
type space struct {
	path     string // ends with a slash
	id       string // what its tokens, accessors, leases and entities end with
	policies map[string]rules
}

func newSpace(path string, policies map[string]rules) *space {
	s := &space{policies: policies}
	if path = strings.Trim(path, "/"); path != "" {
		s.path, s.id = path+"/", "."+rand.Text()[:6]
	}
	return s
}

// A mount is a plugin with its storage.
type mount struct {
	space    *space
	path     string // the whole one
	kind     kind
	accessor string
	backend  logical.Backend
	storage  logical.Storage
}

type kind struct {
	name    string
	version string // of a key/value engine
	leased  bool   // what it returns is a lease of the core's
	factory logical.Factory
}

var (
	jwtMethod = kind{name: "jwt", factory: jwtauth.Factory}
	engines   = map[string]kind{
		"secret/": {name: "kv", version: "2", factory: kv.VersionedKVFactory},
		"kv1/":    {name: "kv", version: "1", factory: kv.PassthroughBackendFactory},
		"dyn/":    {name: "dyn", leased: true, factory: dynamicFactory},
	}
	// view is what the core tells plugins: whatever is lent, for 32 days at most.
	view = logical.StaticSystemView{DefaultLeaseTTLVal: 768 * time.Hour, MaxLeaseTTLVal: 768 * time.Hour}
)

func newPeer(ctx context.Context, c config) (*peer, error) {
	p := &peer{
		spaces: map[string]*space{}, mounts: map[string]*mount{},
		tokens: map[string]*token{}, leases: map[string]*lease{}, entities: map[string]string{},
	}
	if err := p.add(ctx, "", c.namespace); err != nil {
		return nil, err
	}
	for path, n := range c.Namespaces {
		if err := p.add(ctx, path, n); err != nil {
			return nil, err
		}
	}
	p.root = p.keep(&token{space: p.spaces[""], auth: &logical.Auth{
		Policies: []string{"root"}, DisplayName: "root", TokenType: logical.TokenTypeService,
	}, path: "auth/token/root"}).id
	return p, nil
}

func (p *peer) mount(ctx context.Context, s *space, path string, k kind) error {
	m := &mount{space: s, path: s.path + path, kind: k, accessor: k.name + "_" + rand.Text()[:8] + s.id, storage: &logical.InmemStorage{}}
	var err error
	m.backend, err = k.factory(ctx, &logical.BackendConfig{
		StorageView: m.storage, System: view, Logger: hclog.NewNullLogger(), BackendUUID: newUUID(),
	})
	p.mounts[m.path] = m
	return err
}

// find returns the mount that serves a whole path, or nil.
func (p *peer) find(path string) *mount {
	var best *mount
	for at, m := range p.mounts {
		if strings.HasPrefix(path, at) && (best == nil || len(at) > len(best.path)) {
			best = m
		}
	}
	return best
}

// handle asks the plugin, which sees the path below its mount only.
func (m *mount) handle(ctx context.Context, path string, r *logical.Request) (*logical.Response, error) {
	resp, err := m.backend.HandleRequest(ctx, m.inner(path, r))
	if resp != nil {
		resp.MountType = m.kind.name
	}
	return resp, err
}

func (m *mount) inner(path string, r *logical.Request) *logical.Request {
	inner := *r
	inner.Path, inner.Storage = strings.TrimPrefix(path, m.path), m.storage
	inner.MountPoint, inner.MountType, inner.MountAccessor, inner.ClientToken = m.path, m.kind.name, m.accessor, ""
	return &inner
}

// open says whether the plugin serves a path to who has no token.
func (m *mount) open(path string) bool {
	special := m.backend.SpecialPaths()
	if special == nil {
		return false
	}
	for _, pattern := range special.Unauthenticated {
		if matches(pattern, strings.TrimPrefix(path, m.path)) {
			return true
		}
	}
	return false
}

func newUUID() string {
	id, err := uuid.GenerateUUID()
	if err != nil {
		panic(err) // there is no randomness: nothing here can go on
	}
	return id
}
