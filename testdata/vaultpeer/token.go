package main

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/policyutil"
	"github.com/hashicorp/vault/sdk/logical"
)

// A token is what a login, a wrapping or the start made.
type token struct {
	id      string
	space   *space
	mount   *mount // whose login made it, or nil
	path    string
	wrapped *wrapped
	created time.Time
	lasts   time.Duration // at first

	batch    bool
	policies []string
	auth     *logical.Auth // the plugin's answer, which renewing replaces
	renewed  time.Time
	expires  time.Time // zero: never
	left     int       // uses; 0 is no limit
	spent    bool      // its last use is under way
}

// keep gives a token its id and accessor and stores it.
func (p *peer) keep(t *token) *token {
	prefix := "hvs."
	if t.batch = t.auth.TokenType == logical.TokenTypeBatch; t.batch {
		prefix = "hvb."
	} else {
		t.auth.Accessor = rand.Text() + t.space.id
	}
	t.id = prefix + rand.Text() + rand.Text() + rand.Text() + t.space.id
	t.auth.ClientToken, t.policies, t.left = t.id, t.auth.Policies, t.auth.NumUses
	t.created, t.lasts = time.Now(), t.auth.TTL
	if t.lasts > 0 {
		t.expires = t.created.Add(t.lasts)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tokens[t.id] = t
	p.issued = append(p.issued, t.id)
	return t
}

// login makes a token of what the plugin returned.
func (p *peer) login(m *mount, path string, resp *logical.Response) (*logical.Response, error) {
	auth := resp.Auth
	ttl, warnings, err := framework.CalculateTTL(view, 0, auth.TTL, auth.Period, auth.MaxTTL, auth.ExplicitMaxTTL, time.Time{})
	if err != nil {
		return nil, err
	}
	for _, w := range warnings {
		resp.AddWarning(w)
	}
	auth.TTL = ttl
	auth.Policies = policyutil.SanitizePolicies(auth.Policies, !auth.NoDefaultPolicy)
	auth.TokenPolicies = auth.Policies
	if slices.Contains(auth.Policies, "root") {
		return logical.ErrorResponse("auth methods cannot create root tokens"), logical.ErrInvalidRequest
	}
	if auth.TokenType != logical.TokenTypeBatch {
		auth.TokenType = logical.TokenTypeService
	} else {
		auth.Renewable = false
	}
	auth.DisplayName = strings.ReplaceAll(strings.TrimPrefix(m.path, m.space.path+"auth/"), "/", "-") + auth.DisplayName
	auth.EntityID = p.entity(m, auth.Alias)
	auth.Orphan = true
	p.keep(&token{space: m.space, mount: m, auth: auth, path: path})
	return resp, nil
}

// entity is the same for a user of a mount at each login.
func (p *peer) entity(m *mount, alias *logical.Alias) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := m.accessor + "/" + alias.Name
	if p.entities[key] == "" {
		p.entities[key] = newUUID() + m.space.id
	}
	return p.entities[key]
}

// sweep forgets what is over. The lock is held.
func (p *peer) sweep() {
	for _, t := range p.tokens {
		if !t.expires.IsZero() && !time.Now().Before(t.expires) {
			p.drop(t)
		}
	}
	for id, l := range p.leases {
		if !time.Now().Before(l.expires) {
			delete(p.leases, id)
		}
	}
}

// drop revokes a token, and its leases with it. The lock is held.
func (p *peer) drop(t *token) {
	delete(p.tokens, t.id)
	for id, l := range p.leases {
		if l.token == t {
			delete(p.leases, id)
		}
	}
}

func (p *peer) revoke(t *token) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop(t)
}

// look finds a token that is alive, or nil.
func (p *peer) look(id string) *token {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sweep()
	return p.tokens[id]
}

// use finds a token for a request and counts it; nil when it is none, or was
// used up. After the last use it is spent, and to be revoked once that is over.
func (p *peer) use(id string) *token {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sweep()
	t := p.tokens[id]
	if t == nil || t.spent {
		return nil
	}
	if t.left > 0 {
		t.left--
		t.spent = t.left == 0
	}
	return t
}

// renew asks the plugin whether a token's user may still, and how long.
func (p *peer) renew(ctx context.Context, t *token, increment time.Duration) (*logical.Response, error) {
	if t.batch {
		return logical.ErrorResponse("batch tokens cannot be renewed"), nil
	}
	p.mu.Lock()
	asked := *t.auth
	p.mu.Unlock()
	if !asked.Renewable || t.mount == nil {
		return logical.ErrorResponse("lease is not renewable"), logical.ErrInvalidRequest
	}
	asked.Increment, asked.IssueTime = increment, t.created
	resp, err := t.mount.handle(ctx, t.mount.path+"login", &logical.Request{Operation: logical.RenewOperation, Auth: &asked})
	if err != nil || resp.IsError() {
		return resp, err
	}
	if resp == nil || resp.Auth == nil {
		return nil, errors.New("the plugin renews nothing")
	}
	a := resp.Auth
	ttl, warnings, err := framework.CalculateTTL(view, increment, a.TTL, a.Period, a.MaxTTL, a.ExplicitMaxTTL, t.created)
	if err != nil {
		return nil, err
	}
	a.TTL = ttl
	p.mu.Lock()
	t.auth, t.renewed, t.expires = a, time.Now(), time.Now().Add(ttl)
	p.mu.Unlock()
	return &logical.Response{Auth: a, Warnings: warnings}, nil
}

// describe is the answer of a lookup.
func (p *peer) describe(t *token) *logical.Response {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := map[string]any{
		"id": t.id, "accessor": t.auth.Accessor, "policies": t.policies, "path": t.path,
		"meta": t.auth.Metadata, "display_name": t.auth.DisplayName, "num_uses": t.left, "orphan": true,
		"creation_time": t.created.Unix(), "creation_ttl": int64(t.lasts.Seconds()), "expire_time": nil, "ttl": int64(0),
		"explicit_max_ttl": int64(t.auth.ExplicitMaxTTL.Seconds()), "entity_id": t.auth.EntityID, "type": t.auth.TokenType.String(),
	}
	if !t.expires.IsZero() {
		d["expire_time"], d["issue_time"] = t.expires, t.created
		d["ttl"], d["renewable"] = int64(time.Until(t.expires).Round(time.Second).Seconds()), t.auth.Renewable
	}
	if !t.renewed.IsZero() {
		d["last_renewal"], d["last_renewal_time"] = t.renewed, t.renewed.Unix()
	}
	if t.auth.Period > 0 {
		d["period"] = int64(t.auth.Period.Seconds())
	}
	if t.space.path != "" {
		d["namespace_path"] = t.space.path
	}
	return &logical.Response{Data: d, MountType: "token"}
}
