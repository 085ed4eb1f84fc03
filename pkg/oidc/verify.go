package oidc

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidc-broker/oidc-broker/pkg/fault"
	"github.com/oidc-broker/oidc-broker/pkg/remote"
)

// The algorithms that the clouds accept. A symmetric one, or none, would let
// anybody who knows the public key sign.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512}

// Verification is a signature that was found good.
type Verification struct {
	KeyID     string
	Algorithm string
	JWKS      string // the URL that the keys came from
}

// Verify checks the token's signature against its issuer's published keys
// (OpenID Connect Discovery 1.0 §4; RFC 7517). jwksURL names the keys directly;
// "" asks the issuer. A bad signature is a fault.Token, keys that cannot be had
// are a fault.Unavailable. It says that the issuer in the token signed it, not
// that the issuer is one to trust.
func (t Token) Verify(ctx context.Context, c *remote.Client, jwksURL string) (Verification, error) {
	if jwksURL == "" {
		var err error
		if jwksURL, err = discover(ctx, c, t.Issuer); err != nil {
			return Verification{}, err
		}
	}
	var keys jose.JSONWebKeySet
	if err := fetch(ctx, c, jwksURL, "the issuer's keys", &keys); err != nil {
		return Verification{}, err
	}
	signed, err := jose.ParseSignedCompact(t.Raw.Reveal(), algorithms)
	if err != nil {
		return Verification{}, fault.New(fault.Token, "the token in %s is signed with %q, which no cloud accepts", t.Source, t.Algorithm)
	}
	candidates := keys.Key(t.KeyID)
	if t.KeyID == "" {
		candidates = keys.Keys
	}
	if len(candidates) == 0 {
		return Verification{}, fault.New(fault.Token, "the token in %s names the key %q, which its issuer %s does not publish", t.Source, t.KeyID, t.Issuer).
			Hint("the token is not from this issuer, or the issuer has changed its keys since")
	}
	for _, key := range candidates {
		if key.Valid() && key.IsPublic() {
			if _, err := signed.Verify(key); err == nil {
				return Verification{KeyID: t.KeyID, Algorithm: t.Algorithm, JWKS: jwksURL}, nil
			}
		}
	}
	return Verification{}, fault.New(fault.Token, "the signature of the token in %s is not by its issuer %s", t.Source, t.Issuer).
		Hint("the token was changed on its way, or it is not from this issuer")
}

// discover returns the jwks_uri of an issuer.
func discover(ctx context.Context, c *remote.Client, issuer string) (string, error) {
	var doc struct {
		Issuer string `json:"issuer"`
		JWKS   string `json:"jwks_uri"`
	}
	if err := fetch(ctx, c, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration", "the issuer's configuration", &doc); err != nil {
		return "", err
	}
	// OpenID Connect Discovery §4.3: otherwise one issuer could speak for
	// another.
	if doc.Issuer != issuer {
		return "", fault.New(fault.Token, "the issuer %s says that its name is %q", issuer, doc.Issuer)
	}
	return doc.JWKS, nil
}

// fetch reads a JSON document of the issuer's.
func fetch(ctx context.Context, c *remote.Client, url, what string, into any) error {
	a, err := c.Call(ctx, remote.Request{URL: url, Header: http.Header{"Accept": {"application/json"}}})
	switch {
	case err != nil:
		return fault.New(fault.KindOf(err), "cannot fetch %s: %w", what, err)
	case a.Status != http.StatusOK:
		return fault.New(fault.Unavailable, "cannot fetch %s: the answer is %d", what, a.Status)
	case json.Unmarshal(a.Body, into) != nil:
		return fault.New(fault.Unavailable, "cannot fetch %s: the answer is not the JSON expected", what)
	}
	return nil
}
