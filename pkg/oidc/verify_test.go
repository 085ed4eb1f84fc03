package oidc

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
)

// A publisher is an issuer on loopback: what it answers by path.
type publisher struct {
	url      string
	answers  map[string]string
	status   int
	requests atomic.Int32
}

const (
	configuration = "/.well-known/openid-configuration"
	keysPath      = "/keys"
)

func publish(t *testing.T, keys ...any) *publisher {
	p := &publisher{answers: map[string]string{}, status: http.StatusOK}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.requests.Add(1)
		body, ok := p.answers[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.WriteHeader(p.status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(s.Close)
	p.url = s.URL
	p.answers[configuration] = fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, p.url, p.url+keysPath)
	p.answers[keysPath] = jwks(t, keys...)
	return p
}

func jwks(t *testing.T, keys ...any) string {
	t.Helper()
	if keys == nil {
		keys = []any{}
	}
	b, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func client(t *testing.T) *remote.Client {
	tr := remote.NewTransport(func(string) string { return "" })
	t.Cleanup(tr.CloseIdleConnections)
	return &remote.Client{Transport: tr, Now: now, Attempts: 1}
}

// The keys of these tests are made once: RSA takes its time.
type pairs struct {
	rsa, stranger *rsa.PrivateKey
	ec            *ecdsa.PrivateKey
}

func makePairs(t *testing.T) pairs {
	t.Helper()
	var k pairs
	var err error
	for _, p := range []**rsa.PrivateKey{&k.rsa, &k.stranger} {
		if *p, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			t.Fatal(err)
		}
	}
	if k.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	return k
}

// public is the JWK of a key, as issuers publish it.
func public(kid string, key crypto.Signer) any {
	return jose.JSONWebKey{Key: key.Public(), KeyID: kid, Use: "sig"}
}

// sign makes a token of the issuer; a kid of "" stays out of the header.
func sign(t *testing.T, issuer string, alg jose.SignatureAlgorithm, kid string, key any) Token {
	t.Helper()
	o := (&jose.SignerOptions{}).WithType("JWT")
	if kid != "" {
		o = o.WithHeader("kid", kid)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, o)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(map[string]any{"iss": issuer, "sub": subject, "aud": org, "exp": expires})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := s.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return mustParse(t, raw, "TOKEN")
}

func TestVerify(t *testing.T) {
	k := makePairs(t)
	const unknown = `{"kty":"FUTURE","kid":"a","x":"AA"}`
	for _, row := range []struct {
		name string
		keys []any
		alg  jose.SignatureAlgorithm
		kid  string
		key  any
		want string // the key that it is found good by
	}{
		{"RS256", []any{public("a", k.rsa)}, jose.RS256, "a", k.rsa, "a"},
		{"RS512", []any{public("a", k.rsa)}, jose.RS512, "a", k.rsa, "a"},
		{"ES256", []any{public("a", k.ec)}, jose.ES256, "a", k.ec, "a"},
		{"the second key", []any{public("a", k.stranger), public("b", k.rsa)}, jose.RS256, "b", k.rsa, "b"},
		{"two keys of a name", []any{public("a", k.stranger), public("a", k.ec), public("a", k.rsa)}, jose.RS256, "a", k.rsa, "a"},
		{"no kid in the token", []any{public("a", k.stranger), public("b", k.rsa)}, jose.RS256, "", k.rsa, "b"},
		{"no kid on either side", []any{public("", k.rsa)}, jose.RS256, "", k.rsa, ""},
		{"beside a key of a type to come", []any{json.RawMessage(unknown), json.RawMessage(`{}`), json.RawMessage(`7`), public("a", k.rsa)}, jose.RS256, "a", k.rsa, "a"},
		{"beside a private key", []any{jose.JSONWebKey{Key: k.stranger, KeyID: "a"}, public("a", k.rsa)}, jose.RS256, "a", k.rsa, "a"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := publish(t, row.keys...)
			tok := sign(t, p.url, row.alg, row.kid, row.key)
			want := Verification{KeyID: row.want, Algorithm: string(row.alg), JWKS: p.url + keysPath}
			if got, err := tok.Verify(t.Context(), client(t), ""); err != nil || got != want {
				t.Errorf("%+v, %v", got, err)
			}
			if n := p.requests.Load(); n != 2 {
				t.Errorf("%d requests, want 2", n)
			}
			// With the keys' URL given, the issuer is not asked.
			delete(p.answers, configuration)
			if got, err := tok.Verify(t.Context(), client(t), p.url+keysPath); err != nil || got != want {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func TestVerifyRefuses(t *testing.T) {
	k := makePairs(t)
	der, err := x509.MarshalPKIXPublicKey(k.rsa.Public())
	if err != nil {
		t.Fatal(err)
	}
	asPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	resigned := func(header string) func(string) Token {
		return func(issuer string) Token {
			parts := strings.Split(sign(t, issuer, jose.RS256, "a", k.rsa).Raw.Reveal(), ".")
			return mustParse(t, b64(header)+"."+parts[1]+"."+parts[2], "TOKEN")
		}
	}
	signed := func(alg jose.SignatureAlgorithm, kid string, key any) func(string) Token {
		return func(issuer string) Token { return sign(t, issuer, alg, kid, key) }
	}
	good := []any{public("a", k.rsa)}
	for _, row := range []struct {
		name     string
		keys     []any
		token    func(issuer string) Token
		words    string
		requests int32
	}{
		{"another key of the same name", good, signed(jose.RS256, "a", k.stranger), "is not by its issuer", 2},
		{"another key, none named", good, signed(jose.RS256, "", k.stranger), "is not by its issuer", 2},
		{"unknown kid", good, signed(jose.RS256, "b", k.rsa), "does not publish the key of the token", 2},
		{"a kid that is a path", good, signed(jose.RS256, "../a", k.rsa), "does not publish the key of the token", 2},
		{"no keys", nil, signed(jose.RS256, "a", k.rsa), "does not publish the key of the token", 2},
		{"no keys, none named", nil, signed(jose.RS256, "", k.rsa), "does not publish the key of the token", 2},
		{"another type of key", []any{public("a", k.ec)}, signed(jose.RS256, "a", k.rsa), "is not by its issuer", 2},
		{"none", good, resigned(`{"alg":"none","kid":"a"}`), `is signed with "none", which no cloud accepts`, 0},
		{"no alg", good, resigned(`{"kid":"a"}`), "no cloud accepts", 0},
		{"alg in capitals", good, resigned(`{"alg":"NONE","kid":"a"}`), `is signed with "NONE"`, 0},
		{"HS256 with the public key", good, signed(jose.HS256, "a", asPEM), `is signed with "HS256", which no cloud accepts`, 0},
		{"HS256 with a published secret", []any{jose.JSONWebKey{Key: asPEM, KeyID: "a"}}, signed(jose.HS256, "a", asPEM), `is signed with "HS256"`, 0},
		{"PS256", good, signed(jose.PS256, "a", k.rsa), `is signed with "PS256"`, 0},
		{"critical extension", good, resigned(`{"alg":"RS256","kid":"a","crit":["x"],"x":1}`), "is not by its issuer", 2},
		{"changed header", good, resigned(`{"alg":"RS256","kid":"a"}`), "is not by its issuer", 2},
		{"private key alone", []any{jose.JSONWebKey{Key: k.rsa, KeyID: "a"}}, signed(jose.RS256, "a", k.rsa), "does not publish the key of the token", 2},
		{"changed payload", good, func(issuer string) Token {
			parts := strings.Split(sign(t, issuer, jose.RS256, "a", k.rsa).Raw.Reveal(), ".")
			return mustParse(t, parts[0]+"."+b64(fmt.Sprintf(`{"iss":%q,"sub":"other","aud":%q,"exp":%d}`, issuer, org, expires))+"."+parts[2], "TOKEN")
		}, "is not by its issuer", 2},
		{"a key of its own in the header", good, func(issuer string) Token {
			s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: k.stranger, KeyID: "a"}}, &jose.SignerOptions{EmbedJWK: true})
			if err != nil {
				t.Fatal(err)
			}
			signed, err := s.Sign([]byte(fmt.Sprintf(`{"iss":%q,"sub":"s","aud":"a","exp":%d}`, issuer, expires)))
			if err != nil {
				t.Fatal(err)
			}
			raw, _ := signed.CompactSerialize()
			return mustParse(t, raw, "TOKEN")
		}, "is not by its issuer", 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := publish(t, row.keys...)
			tok := row.token(p.url)
			got, err := tok.Verify(t.Context(), client(t), "")
			isTokenError(t, err, tok.Raw.Reveal(), row.words)
			if got != (Verification{}) {
				t.Errorf("verified: %+v", got)
			}
			if n := p.requests.Load(); n != row.requests {
				t.Errorf("%d requests, want %d", n, row.requests)
			}
		})
	}
}

func TestVerifyWithoutKeys(t *testing.T) {
	k := makePairs(t)
	const marker = "hunter2"
	for _, row := range []struct {
		name          string
		status        int
		config, keys  string // "": as it should be; URL stands for the issuer
		jwksURL       string
		kind          fault.Kind
		words, orElse string
	}{
		{"keys not found", 200, `{"issuer":"URL","jwks_uri":"URL/other"}`, "", "", fault.Unavailable, "cannot fetch the issuer's keys: the answer is 404", ""},
		{"issuer in trouble", 500, "", "", "", fault.Unavailable, "cannot fetch the issuer's configuration: ", "answers 500"},
		{"keys in trouble", 503, "", "", "URL/keys", fault.Unavailable, "cannot fetch the issuer's keys: ", "answers 503"},
		{"forbidden", 403, "", "", "", fault.Unavailable, "cannot fetch the issuer's configuration: the answer is 403", ""},
		{"no content", 204, "", "", "", fault.Unavailable, "the answer is 204", ""},
		{"redirect", 302, "", "", "", fault.Unavailable, "answers 302 and points elsewhere", ""},
		{"HTML", 200, "<html>" + marker, "", "", fault.Unavailable, "cannot fetch the issuer's configuration: the answer is not the JSON expected", ""},
		{"keys are HTML", 200, "", "<html>" + marker, "", fault.Unavailable, "cannot fetch the issuer's keys: the answer is not the JSON expected", ""},
		{"keys are empty", 200, "", " ", "", fault.Unavailable, "cannot fetch the issuer's keys: the answer is not the JSON expected", ""},
		{"keys are a list", 200, "", `["` + marker + `"]`, "", fault.Unavailable, "the answer is not the JSON expected", ""},
		{"keys are text", 200, "", `{"keys":"` + marker + `"}`, "", fault.Unavailable, "the answer is not the JSON expected", ""},
		{"keys are null", 200, "", `{"keys":null}`, "", fault.Token, "does not publish the key", ""},
		{"keys have no end", 200, "", `{"keys":["` + strings.Repeat(marker, 150000) + `"]}`, "", fault.Unavailable, "sent more than 1 MiB", ""},
		{"another issuer's configuration", 200, `{"issuer":"https://` + marker + `.test","jwks_uri":"URL/keys"}`, "", "", fault.Token, "is another issuer's", ""},
		{"a slash too many", 200, `{"issuer":"URL/","jwks_uri":"URL/keys"}`, "", "", fault.Token, "is another issuer's", ""},
		{"no issuer", 200, `{"jwks_uri":"URL/keys"}`, "", "", fault.Token, "is another issuer's", ""},
		{"keys nowhere", 200, `{"issuer":"URL"}`, "", "", fault.Token, "cannot fetch the issuer's keys: a URL without a host", ""},
		{"keys unencrypted", 200, `{"issuer":"URL","jwks_uri":"http://keys.test/"}`, "", "", fault.Token, "cannot fetch the issuer's keys: http:// to keys.test", ""},
		{"keys in a file", 200, `{"issuer":"URL","jwks_uri":"file:///etc/passwd"}`, "", "", fault.Token, "cannot fetch the issuer's keys: ", ""},
		{"--jwks-url unencrypted", 200, "", "", "http://keys.test/", fault.Usage, "cannot fetch the issuer's keys: http:// to keys.test", ""},
		{"--jwks-url no URL", 200, "", "", "keys.json", fault.Usage, "a URL without a host", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := publish(t, public("a", k.rsa))
			p.status = row.status
			here := func(s string) string { return strings.ReplaceAll(s, "URL", p.url) }
			if row.config != "" {
				p.answers[configuration] = here(row.config)
			}
			if row.keys != "" {
				p.answers[keysPath] = row.keys
			}
			tok := sign(t, p.url, jose.RS256, "a", k.rsa)
			_, err := tok.Verify(t.Context(), client(t), here(row.jwksURL))
			if err == nil || fault.KindOf(err) != row.kind || !strings.Contains(err.Error(), row.words) || !strings.Contains(err.Error(), row.orElse) {
				t.Fatalf("kind %d: %v; want kind %d and the words %q %q", fault.KindOf(err), err, row.kind, row.words, row.orElse)
			}
			text := fmt.Sprint(err, fault.Hints(err))
			if leaked, ok := leaks(tok.Raw.Reveal(), text); ok || strings.Contains(text, marker) || strings.Contains(text, "passwd") {
				t.Errorf("shows what it must not: %s%s", text, leaked)
			}
		})
	}
}

// The issuer's name is the token's: it may hold anything.
func TestVerifyWithAnIssuerThatIsNoURL(t *testing.T) {
	k := makePairs(t)
	for issuer, words := range map[string]string{
		"http://issuer.test": "cannot fetch the issuer's configuration: ", "https://user:password@issuer.test": "cannot fetch the issuer's configuration: ",
		"ftp://issuer.test": "cannot fetch the issuer's configuration: ", "joe": "is not a URL", "https://": "is not a URL", "https:///": "is not a URL",
		"https://issuer.test?x=": "is not a URL", "https://issuer.test/#x": "is not a URL", "a\nb": "is not a URL", "https://a b": "is not a URL", "\x1b[31m": "is not a URL",
	} {
		tok := sign(t, issuer, jose.RS256, "a", k.rsa)
		_, err := tok.Verify(t.Context(), client(t), "")
		isTokenError(t, err, tok.Raw.Reveal(), words)
		if err != nil && strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("says %q", err)
		}
		p := publish(t)
		_, err = tok.Verify(t.Context(), client(t), p.url+keysPath)
		isTokenError(t, err, tok.Raw.Reveal(), "does not publish")
		if err != nil && strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("says %q", err)
		}
	}
}

func TestVerifyInterrupted(t *testing.T) {
	k := makePairs(t)
	p := publish(t, public("a", k.rsa))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := sign(t, p.url, jose.RS256, "a", k.rsa).Verify(ctx, client(t), "")
	if err == nil || fault.KindOf(err) != fault.Unavailable || p.requests.Load() != 0 {
		t.Errorf("%v after %d requests", err, p.requests.Load())
	}
}
