// Package oidc reads OpenID Connect tokens: what one says, and whether its signature is
// the issuer's. It knows no CI system.
package oidc

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
)

const (
	// MaxToken is the longest token AWS STS takes; those of CI systems have 1.5 KB.
	MaxToken = 20000
	// Slack is how far the clocks of this machine and of the issuer may be
	// apart: a token counts as expired this long after its exp, and one that
	// has less than this left is minted anew where that is possible.
	Slack = 60 * time.Second
)

// Token is a JSON Web Token (RFC 7519) that was read but not verified.
type Token struct {
	Raw       secret.Value
	Algorithm string // header alg, e.g. "RS256"
	KeyID     string // header kid
	Issuer    string // iss, e.g. "https://gitlab.com"
	Subject   string // sub
	Audience  []string
	IssuedAt  time.Time // iat; zero if the token has none
	Expiry    time.Time // exp
	// Claims are all claims by name, numbers as json.Number.
	Claims map[string]any
	// Source says where the token was found, e.g. a variable.
	Source string
}

// unexpanded is a variable's name where its value should be.
const unexpanded = `^\$(?:[A-Za-z_][A-Za-z0-9_]{0,99}|\{[A-Za-z_][A-Za-z0-9_]{0,99}\})$`

// Parse reads a token in its compact serialization (RFC 7515 §7.1). White space
// around it is dropped. source names where it came from. Any error is a
// fault.Token and never shows a part of the token.
func Parse(raw, source string) (Token, error) {
	raw = strings.TrimSpace(raw)
	t := Token{Raw: secret.New(raw), Source: source}
	switch {
	case raw == "":
		return Token{}, malformed(source, "is empty")
	case raw[0] == '$' && regexp.MustCompile(unexpanded).MatchString(raw):
		return Token{}, malformed(source, "is the literal text %s, not the value of that variable", raw)
	case len(raw) > MaxToken:
		return Token{}, malformed(source, "has %d bytes, more than the %d of a token", len(raw), MaxToken)
	}
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return Token{}, malformed(source, "has %s, a JWT has 3 parts separated by dots", counted(len(parts), "part"))
	}
	header, err := object(parts[0])
	if err != nil {
		return Token{}, malformed(source, "has a header that is %w", err)
	}
	t.Algorithm, _ = header["alg"].(string)
	t.KeyID, _ = header["kid"].(string)
	if t.Claims, err = object(parts[1]); err != nil {
		return Token{}, malformed(source, "has a payload that is %w", err)
	}
	if b, err := decode(parts[2]); err != nil || len(b) == 0 {
		return Token{}, malformed(source, "has a signature that is %w", errNotBase64)
	}
	if err := t.registered(); err != nil {
		return Token{}, err
	}
	return t, nil
}

// registered reads the claims that every exchange needs (RFC 7519 §4.1).
func (t *Token) registered() error {
	var ok bool
	if t.Issuer, ok = t.Claims["iss"].(string); !ok || t.Issuer == "" {
		return malformed(t.Source, "lacks the claim iss")
	}
	if t.Subject, ok = t.Claims["sub"].(string); !ok || t.Subject == "" {
		return malformed(t.Source, "lacks the claim sub")
	}
	switch aud := t.Claims["aud"].(type) {
	case string:
		t.Audience = []string{aud}
	case []any:
		for _, a := range aud {
			s, ok := a.(string)
			if !ok {
				return malformed(t.Source, "has an aud that is not text")
			}
			t.Audience = append(t.Audience, s)
		}
	}
	if len(t.Audience) == 0 || t.Audience[0] == "" {
		return malformed(t.Source, "lacks the claim aud")
	}
	if t.Expiry, ok = numericDate(t.Claims["exp"]); !ok {
		return malformed(t.Source, "lacks the claim exp, or its value is not a time")
	}
	t.IssuedAt, _ = numericDate(t.Claims["iat"])
	return nil
}

// Expired says whether the token has expired by the clock now, Slack included.
func (t Token) Expired(now time.Time) bool { return now.After(t.Expiry.Add(Slack)) }

// Text returns a claim that is text, or "".
func (t Token) Text(claim string) string {
	s, _ := t.Claims[claim].(string)
	return s
}

// The lines about a token that providers put under a refusal. Each fits into a
// line of a job's log.

// SubjectHint names the token's subject.
func (t Token) SubjectHint() string { return fmt.Sprintf("the token's subject is %q", t.Subject) }

// IssuerHint names the token's issuer and audience.
func (t Token) IssuerHint() string {
	return fmt.Sprintf("the token's issuer is %s, audience %s", t.Issuer, strings.Join(t.Audience, ", "))
}

// Redact replaces the token, and each piece of it that could be used or matched,
// in a text that somebody else wrote.
func (t Token) Redact(text string) string { return t.Raw.Redact(text) }

// What can be wrong with one part. The decoders' own errors are not passed on:
// they quote what they read.
var (
	errNotBase64 = errors.New("not base64url")
	errNotObject = errors.New("not a JSON object")
)

// decode reads base64url without padding (RFC 7515 §2). The decoder would skip
// line breaks, and a token with one inside would be sent on as it is.
func decode(part string) ([]byte, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil || strings.ContainsAny(part, "\r\n") {
		return nil, errNotBase64
	}
	return b, nil
}

// object reads one part that is a JSON object. Of members of the same name the
// last one counts (RFC 7519 §4), names are told apart by case: a struct would
// take "ALG" for "alg".
func object(part string) (map[string]any, error) {
	b, err := decode(part)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var o map[string]any
	if d.Decode(&o) != nil || o == nil {
		return nil, errNotObject
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errNotObject
	}
	return o, nil
}

// numericDate reads a NumericDate (RFC 7519 §2): seconds since 1970.
func numericDate(v any) (time.Time, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return time.Time{}, false
	}
	f, err := n.Float64()
	if err != nil || f <= 0 || f > 1<<40 {
		return time.Time{}, false
	}
	return time.Unix(int64(f), 0).UTC(), true
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func malformed(source, format string, args ...any) error {
	return fault.New(fault.Token, "the token in "+strings.ReplaceAll(source, "%", "%%")+" "+format, args...).
		Hint("it is a JSON Web Token of three parts, as the CI system gives it to the job")
}
