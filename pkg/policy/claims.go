package policy

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// Claims are a token's payload. Values are of the types that JSON has: string,
// bool, json.Number, []any, map[string]any, nil.
type Claims map[string]any

// The names of the claims that CircleCI's tokens have beside iss, sub, aud, iat
// and exp.
const (
	claimPrefix = "oidc.circleci.com/"

	claimOrg      = claimPrefix + "org-id"
	claimProject  = claimPrefix + "project-id"
	claimOrigin   = claimPrefix + "vcs-origin"
	claimRef      = claimPrefix + "vcs-ref"
	claimSSHRerun = claimPrefix + "ssh-rerun"
	claimContexts = claimPrefix + "context-ids"
)

// ParseClaims reads a token's payload, alone or as 'oidc-broker token --format
// json' prints it, under "claims". An error is a fault.Usage with line and column.
func ParseClaims(b []byte) (Claims, error) {
	n, err := parseDocument(b)
	if err != nil {
		return nil, err
	}
	if n.kind != object {
		return nil, fault.New(fault.Usage, "%s: the claims are %s, not an object", n.at(), n.kind)
	}
	if inner := n.get("claims"); inner != nil && inner.kind == object && n.get("iss") == nil {
		n = inner
	}
	if d := n.duplicate(); d != nil {
		return nil, fault.New(fault.Usage, "%s: the claim %q is there twice", d.at(), d.name)
	}
	return Claims(n.any().(map[string]any)), nil
}

// ClaimsOf returns the payloads of the V1 and the V2 token of a job.
func ClaimsOf(v oidc.Variant, now time.Time) (v1, v2 Claims) {
	a, b := v.Payload(now)
	return plain(a), plain(b)
}

// plain turns Go's types into those that a token has.
func plain(m map[string]any) Claims {
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

// text returns a claim that is text.
func (c Claims) text(name string) (string, bool) {
	s, ok := c[name].(string)
	return s, ok
}
