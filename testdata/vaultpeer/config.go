package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/hashicorp/vault/sdk/logical"
)

// config is what the peer starts with: the root namespace, and others by path.
type config struct {
	namespace
	Namespaces map[string]namespace `json:"namespaces"`
}

// namespace has engines of its own: kv version 2 at secret/, version 1 at
// kv1/, and the dynamic one at dyn/.
type namespace struct {
	Auth     map[string]authMount       `json:"auth"`     // by path, without auth/
	Policies map[string]rules           `json:"policies"` // by name
	KV1      map[string]map[string]any  `json:"kv1"`      // by path
	KV2      map[string]json.RawMessage `json:"kv2"`      // by path: fields, or a list of versions in which null deletes the newest
}

// authMount is a mount of the jwt auth method. Without a config it is enabled
// and never configured.
type authMount struct {
	Config map[string]any            `json:"config"`
	Roles  map[string]map[string]any `json:"roles"`
	// Unchecked puts the config past the plugin's check that the issuer answers:
	// it did when the operator wrote it, and does not any more.
	Unchecked bool `json:"unchecked"`
}

func readConfig(file string) (config, error) {
	var c config
	if file == "" {
		return c, nil
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return c, err
	}
	return c, decode(raw, &c)
}

// decode keeps numbers as they are written, which the engines do too.
func decode(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// add makes a namespace with its mounts and what they hold.
func (p *peer) add(ctx context.Context, path string, n namespace) error {
	s := newSpace(path, n.Policies)
	p.spaces[s.path] = s
	for at, factory := range engines {
		if err := p.mount(ctx, s, at, factory); err != nil {
			return err
		}
	}
	for at, a := range n.Auth {
		if err := p.addAuth(ctx, s, "auth/"+strings.Trim(at, "/")+"/", a); err != nil {
			return fmt.Errorf("auth mount %q: %w", at, err)
		}
	}
	for at, fields := range n.KV1 {
		if err := p.write(ctx, s, logical.CreateOperation, "kv1/"+at, fields); err != nil {
			return fmt.Errorf("kv1 secret %q: %w", at, err)
		}
	}
	for at, raw := range n.KV2 {
		if err := p.addVersions(ctx, s, "secret/data/"+at, raw); err != nil {
			return fmt.Errorf("kv2 secret %q: %w", at, err)
		}
	}
	return nil
}

func (p *peer) addAuth(ctx context.Context, s *space, at string, a authMount) error {
	if err := p.mount(ctx, s, at, jwtMethod); err != nil {
		return err
	}
	switch {
	case a.Config == nil:
	case a.Unchecked:
		entry, err := logical.StorageEntryJSON("config", a.Config)
		if err != nil {
			return err
		}
		if err := p.mounts[s.path+at].storage.Put(ctx, entry); err != nil {
			return err
		}
	default:
		if err := p.write(ctx, s, logical.UpdateOperation, at+"config", a.Config); err != nil {
			return err
		}
	}
	for name, role := range a.Roles {
		if err := p.write(ctx, s, logical.CreateOperation, at+"role/"+name, role); err != nil {
			return fmt.Errorf("role %q: %w", name, err)
		}
	}
	return nil
}

func (p *peer) addVersions(ctx context.Context, s *space, at string, raw json.RawMessage) error {
	if !bytes.HasPrefix(bytes.TrimSpace(raw), []byte("[")) {
		raw = append(append(json.RawMessage("["), raw...), ']')
	}
	var versions []map[string]any
	if err := decode(raw, &versions); err != nil {
		return err
	}
	for _, fields := range versions {
		op, body := logical.CreateOperation, map[string]any{"data": fields}
		if fields == nil {
			op, body = logical.DeleteOperation, nil
		}
		if err := p.write(ctx, s, op, at, body); err != nil {
			return err
		}
	}
	return nil
}

// write is the operator's hand.
func (p *peer) write(ctx context.Context, s *space, op logical.Operation, path string, body map[string]any) error {
	m := p.find(s.path + path)
	if m == nil {
		return errors.New("no such mount")
	}
	resp, err := m.handle(ctx, s.path+path, &logical.Request{Operation: op, Data: body})
	if err == nil && resp.IsError() {
		err = resp.Error()
	}
	return err
}
