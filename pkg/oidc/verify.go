package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
)

// Algorithms are those that the clouds accept. A symmetric one, or none, would let
// anybody who knows the public key sign.
var Algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512}

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
	// Before the network: nothing that comes from there can mend it.
	signed, err := jose.ParseSignedCompact(t.Raw.Reveal(), Algorithms)
	var algorithm *jose.ErrUnexpectedSignatureAlgorithm
	switch {
	case errors.As(err, &algorithm):
		return Verification{}, fault.New(fault.Token, "the token in %s is signed with %q, which no cloud accepts", t.Source, t.Algorithm)
	case err != nil:
		return Verification{}, fault.New(fault.Token, "the token in %s has a header that no cloud accepts", t.Source)
	}
	refused := fault.Usage // jwksURL is the user's
	if jwksURL == "" {
		refused = fault.Token
		if jwksURL, err = discover(ctx, c, t.Issuer); err != nil {
			return Verification{}, err
		}
	}
	var published struct{ Keys []json.RawMessage }
	if err := fetch(ctx, c, jwksURL, "the issuer's keys", refused, &published); err != nil {
		return Verification{}, err
	}
	keys := usable(published.Keys)
	candidates := keys.Key(t.KeyID)
	if t.KeyID == "" {
		candidates = keys.Keys
	}
	if len(candidates) == 0 {
		return Verification{}, fault.New(fault.Token, "the issuer %q does not publish the key of the token in %s", t.Issuer, t.Source).
			Hint("the token names the key %q: it is not from this issuer, or the issuer changed its keys", t.KeyID)
	}
	for _, key := range candidates {
		if _, err := signed.Verify(key); err == nil {
			return Verification{KeyID: key.KeyID, Algorithm: t.Algorithm, JWKS: jwksURL}, nil
		}
	}
	return Verification{}, fault.New(fault.Token, "the signature of the token in %s is not by its issuer %q", t.Source, t.Issuer).
		Hint("the token was changed on its way, or it is not from this issuer")
}

// usable are the public keys of a set. Others are passed over: RFC 7517 §5 asks
// so for types one does not know, and a private or symmetric key that is
// published proves nothing.
func usable(published []json.RawMessage) jose.JSONWebKeySet {
	var set jose.JSONWebKeySet
	for _, raw := range published {
		var key jose.JSONWebKey
		if json.Unmarshal(raw, &key) == nil && key.Valid() && key.IsPublic() {
			set.Keys = append(set.Keys, key)
		}
	}
	return set
}

// discover returns the jwks_uri of an issuer.
func discover(ctx context.Context, c *remote.Client, issuer string) (string, error) {
	var doc struct {
		Issuer string `json:"issuer"`
		JWKS   string `json:"jwks_uri"`
	}
	// Discovery §3. "https://" alone would have ".well-known" for its host.
	if u, err := url.Parse(issuer); err != nil || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" {
		return "", fault.New(fault.Token, "the issuer %q is not a URL that can be asked for its keys", issuer)
	}
	if err := fetch(ctx, c, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration", "the issuer's configuration", fault.Token, &doc); err != nil {
		return "", err
	}
	// OpenID Connect Discovery §4.3: otherwise one issuer could speak for
	// another.
	if doc.Issuer != issuer {
		return "", fault.New(fault.Token, "the configuration of the issuer %q is another issuer's", issuer)
	}
	return doc.JWKS, nil
}

// fetch reads a JSON document of the issuer's. A URL that may not be called is
// the fault of whoever named it: the kind is refused.
func fetch(ctx context.Context, c *remote.Client, url, what string, refused fault.Kind, into any) error {
	a, err := c.Call(ctx, remote.Request{URL: url, Header: http.Header{"Accept": {"application/json"}}})
	switch {
	case fault.KindOf(err) == fault.Usage:
		return fault.New(refused, "cannot fetch %s: %w", what, err)
	case err != nil:
		return fault.New(fault.KindOf(err), "cannot fetch %s: %w", what, err)
	case a.Status != http.StatusOK:
		return fault.New(fault.Unavailable, "cannot fetch %s: the answer is %d", what, a.Status)
	case json.Unmarshal(a.Body, into) != nil:
		return fault.New(fault.Unavailable, "cannot fetch %s: the answer is not the JSON expected", what)
	}
	return nil
}
