package policy

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/document"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// Claims are a token's payload. Values are of the types that JSON has: string,
// bool, json.Number, []any, map[string]any, nil.
type Claims map[string]any

// The names of the claims that CircleCI's tokens have beside iss, sub, aud, iat
// and exp.
const (
	ClaimPrefix = ci.ClaimPrefix

	ClaimOrg      = ClaimPrefix + "org-id"
	ClaimProject  = ClaimPrefix + "project-id"
	ClaimOrigin   = ClaimPrefix + "vcs-origin"
	ClaimRef      = ClaimPrefix + "vcs-ref"
	ClaimSSHRerun = ClaimPrefix + "ssh-rerun"
	ClaimContexts = ClaimPrefix + "context-ids"
)

// ParseClaims reads a token's payload, alone or as 'oidc-broker token --format
// json' prints it, under "claims". An error is a fault.Usage with line and column.
func ParseClaims(b []byte) (Claims, error) {
	n, err := document.Parse(b)
	if err != nil {
		return nil, err
	}
	if n.Kind != document.Object {
		return nil, fault.New(fault.Usage, "%s: the claims are %s, not an object", n.At(), n.Kind)
	}
	if inner := n.Get("claims"); inner != nil && inner.Kind == document.Object && n.Get("iss") == nil {
		n = inner
	}
	if d := n.Duplicate(); d != nil {
		return nil, fault.New(fault.Usage, "%s: the claim %q is there twice", d.At(), d.Name)
	}
	return Claims(n.Any().(map[string]any)), nil
}

// ClaimsOf returns the payloads of the V1 and the V2 token of a job.
func ClaimsOf(v ci.Variant, now time.Time) (v1, v2 Claims) {
	a, b := v.Payload(now)
	return Plain(a), Plain(b)
}

// Plain turns Go's types into those that a token has.
func Plain(m map[string]any) Claims {
	b, err := json.Marshal(m)
	if err != nil {
		return nil // a variant's claims that Check would have refused
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var c Claims
	if d.Decode(&c) != nil {
		return nil
	}
	return c
}

// Text returns a claim that is text.
func (c Claims) Text(name string) (string, bool) {
	s, ok := c[name].(string)
	return s, ok
}
