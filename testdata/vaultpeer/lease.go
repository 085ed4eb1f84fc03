package main

import (
	"crypto/rand"
	"errors"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// A lease ends with the token that asked for it.
type lease struct {
	id, path string
	token    *token
	secret   *logical.Secret
	issued   time.Time
	renewed  time.Time
	expires  time.Time
}

// lend makes a lease of what an engine returned.
func (p *peer) lend(m *mount, path string, t *token, resp *logical.Response) error {
	s := resp.Secret
	ttl, warnings, err := framework.CalculateTTL(view, 0, s.TTL, 0, s.MaxTTL, 0, time.Time{})
	if err != nil {
		return err
	}
	for _, w := range warnings {
		resp.AddWarning(w)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s.TTL, s.LeaseID = ttl, path+"/"+rand.Text()+m.space.id
	if t.batch {
		s.Renewable = false
	}
	now := time.Now()
	p.leases[s.LeaseID] = &lease{id: s.LeaseID, path: path, token: t, secret: s, issued: now, expires: now.Add(ttl)}
	if password, ok := resp.Data["password"].(string); ok {
		p.issued = append(p.issued, password)
	}
	return nil
}

func (p *peer) lookLease(id string) *lease {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sweep()
	return p.leases[id]
}

func (p *peer) revokeLease(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.leases, id)
}

func (p *peer) renewLease(id string, increment time.Duration) (*logical.Response, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sweep()
	l := p.leases[id]
	if l == nil {
		return nil, errors.New("lease not found")
	}
	if !l.secret.Renewable {
		return nil, errors.New("lease is not renewable")
	}
	ttl, warnings, err := framework.CalculateTTL(view, increment, l.secret.TTL, 0, l.secret.MaxTTL, 0, l.issued)
	if err != nil {
		return nil, err
	}
	l.renewed, l.expires = time.Now(), time.Now().Add(ttl)
	s := *l.secret
	s.TTL = ttl
	return &logical.Response{Secret: &s, Warnings: warnings}, nil
}

// describe is the answer of a lookup.
func (l *lease) describe() *logical.Response {
	d := map[string]any{
		"id": l.id, "path": l.path, "issue_time": l.issued, "expire_time": l.expires, "last_renewal": nil,
		"ttl": int64(time.Until(l.expires).Round(time.Second).Seconds()), "renewable": l.secret.Renewable,
	}
	if !l.renewed.IsZero() {
		d["last_renewal"] = l.renewed
	}
	return &logical.Response{Data: d}
}
