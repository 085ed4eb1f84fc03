package sandbox

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

const (
	discoveryPath = "/.well-known/openid-configuration"
	keysPath      = "/.well-known/jwks-pub.json"
	mintPath      = "/run/oidc/get"

	// mintURLEnv tells the circleci stand-in where tokens are minted.
	mintURLEnv = "CIRCLE_OIDC_SANDBOX_URL"

	// maxMint bounds what the mint endpoint reads and what its client reads.
	maxMint = 64 << 10
)

// An issuer is CircleCI as far as tokens go. It signs under CircleCI's real
// name, so that real policy documents apply unchanged, with a key that only
// this process knows and that it publishes on loopback.
type issuer struct {
	now    func() time.Time
	token  Variant
	signer jose.Signer
	public jose.JSONWebKey
	ledger *ledger
}

// newKey returns what CircleCI has too: an RSA key of 2048 bits, under an opaque
// id.
func newKey() (jose.JSONWebKey, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return jose.JSONWebKey{}, fault.New(fault.Local, "cannot make the issuer's key: %w", err)
	}
	return jose.JSONWebKey{Key: key, KeyID: newUUID(), Algorithm: string(jose.RS256), Use: "sig"}, nil
}

func newIssuer(key jose.JSONWebKey, now func() time.Time, token Variant, l *ledger) (*issuer, error) {
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.RS256, Key: key},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, fmt.Errorf("make the issuer's signer: %w", err)
	}
	return &issuer{now: now, token: token, signer: signer, public: key.Public(), ledger: l}, nil
}

// mint signs the V1 and the V2 token of a variant.
func (i *issuer) mint(v Variant) (v1, v2 string, err error) {
	if err := v.Check(); err != nil {
		return "", "", err
	}
	c1, c2 := v.Payload(i.now())
	if v1, err = i.sign(c1); err != nil {
		return "", "", err
	}
	if v2, err = i.sign(c2); err != nil {
		return "", "", err
	}
	return v1, v2, nil
}

func (i *issuer) sign(claims map[string]any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encode the token's claims: %w", err)
	}
	signed, err := i.signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("sign the token: %w", err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		return "", fmt.Errorf("encode the token: %w", err)
	}
	i.ledger.add(token)
	return token, nil
}

// open returns the issuer's endpoint, once it is known where it will be.
func (i *issuer) open(base string) (endpoint, map[string]string) {
	orgPath := "/org/" + i.token.OrgID()
	serve := func(w http.ResponseWriter, r *http.Request) string {
		switch r.URL.Path {
		case discoveryPath:
			return reply(w, "discovery", http.StatusOK, discovery(rootIssuer, base))
		case orgPath + discoveryPath:
			return reply(w, "discovery", http.StatusOK, discovery(ci.OrgIssuer(i.token.OrgID()), base+orgPath))
		case keysPath, orgPath + keysPath:
			return reply(w, "keys", http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{i.public}})
		case mintPath:
			return i.serveMint(w, r)
		}
		return reply(w, "request", http.StatusNotFound, map[string]string{"error": "not found"})
	}
	return serve, map[string]string{
		"CIRCLE_OIDC_JWKS_URL": base + orgPath + keysPath,
		mintURLEnv:             base + mintPath,
	}
}

// discovery is CircleCI's document, but for where the keys are.
func discovery(name, base string) map[string]any {
	return map[string]any{
		"claims_supported":                      []string{"aud", "sub", "iss", "iat", "exp", claimPrefix + "project-id", claimPrefix + "context-ids"},
		"subject_types_supported":               []string{"public", "pairwise"},
		"scopes_supported":                      []string{"openid"},
		"response_types_supported":              []string{"id_token"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"request_uri_parameter_supported":       false,
		"issuer":                                name,
		"jwks_uri":                              base + keysPath,
		"service_documentation":                 "https://circleci.com/docs/2.0/openid-connect-tokens/",
	}
}

// A mintRequest is what the circleci stand-in asks for.
type mintRequest struct {
	Audience   string `json:"aud,omitempty"`
	RootIssuer bool   `json:"root_issuer,omitempty"`
}

type mintAnswer struct {
	Token string `json:"token"`
}

func (i *issuer) serveMint(w http.ResponseWriter, r *http.Request) string {
	const what = "circleci run oidc get"
	if r.Method != http.MethodPost {
		return reply(w, what, http.StatusMethodNotAllowed, map[string]string{"error": "POST only"})
	}
	// A browser sends this type to another origin only after asking, so that
	// no web page can mint tokens here.
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return reply(w, what, http.StatusUnsupportedMediaType, map[string]string{"error": "JSON only"})
	}
	var ask mintRequest
	d := json.NewDecoder(io.LimitReader(r.Body, maxMint))
	d.DisallowUnknownFields()
	if err := d.Decode(&ask); err != nil {
		return reply(w, what, http.StatusBadRequest, map[string]string{"error": "not the JSON expected"})
	}
	_, token, err := i.mint(minted(i.token, ask.Audience, ask.RootIssuer))
	if err != nil {
		return reply(w, what, http.StatusInternalServerError, map[string]string{"error": "cannot mint"})
	}
	return reply(w, what, http.StatusOK, mintAnswer{Token: token})
}

// reply writes v as JSON and returns the line for the log.
func reply(w http.ResponseWriter, what string, status int, v any) string {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that went away is not served
	return fmt.Sprintf("%s: %d", what, status)
}
