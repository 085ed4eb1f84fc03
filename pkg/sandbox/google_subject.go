package sandbox

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// googleSkew is what Google's clock and an issuer's may differ by, as
	// measured against the real one, and maxTokenAge what its documents say.
	googleSkew  = time.Minute
	maxTokenAge = 24 * time.Hour

	maxFederated = time.Hour
)

// exchange judges a subject token and makes the access token for it. Which of
// several faults Google names first is not known: here it is the token's form,
// issuer, signature, audience and times, then the mapping, then the condition.
func (g *google) exchange(p *workloadProvider, raw string, scopes []string) (*googleToken, error) {
	t, err := parseJWT(raw)
	// Go's decoder of base64 reads past the ends of lines.
	if err != nil || strings.ContainsAny(raw, "\r\n") {
		return nil, unparsable()
	}
	if issuer, ok := text(t.claims["iss"]); !ok || issuer != p.issuer {
		return nil, invalidGrant("The issuer in ID Token %s does not match the expected ones: %s", printed(t.claims["iss"]), p.issuer)
	}
	if err := g.verify(t); err != nil {
		return nil, err
	}
	if err := t.checkAudience(p.audiences); err != nil {
		return nil, err
	}
	expires, err := t.lifetime(g.now())
	if err != nil {
		return nil, err
	}
	j := p.judge(t.claims)
	subject, there := j.attributes[googleSubject]
	switch {
	case j.refusal != nil:
		return nil, j.refusal
	case !there || subject == "":
		return nil, noSubject()
	case len(subject) > maxGoogleSubject:
		return nil, subjectTooLong().because("google.subject has %d bytes", len(subject))
	case !j.admitted:
		return nil, rejectedByCondition().because("%s", j.why)
	}
	now := g.now()
	return &googleToken{pool: p.pool, attributes: j.attributes, scopes: scopes, issued: now, expires: now.Add(g.life(expires.Sub(now)))}, nil
}

// verify checks the signature with the issuer's key.
func (g *google) verify(t jwt) error {
	algorithms := []jose.SignatureAlgorithm{jose.RS256, jose.ES256}
	switch {
	case t.kid == nil:
		return noIssuerKey().because("the token's header has no kid")
	case *t.kid != g.key.KeyID:
		return noIssuerKey().because("the issuer has no such key")
	case !slices.Contains(algorithms, jose.SignatureAlgorithm(t.alg)):
		return wrongSignatureOfToken().because("the token's algorithm is not RS256 or ES256")
	case t.alg != g.key.Algorithm:
		return noIssuerKey().because("the issuer's key is for another algorithm")
	}
	signed, err := jose.ParseSignedCompact(t.raw, algorithms)
	if err != nil {
		return unparsable()
	}
	if _, err := signed.Verify(g.key.Key); err != nil {
		return wrongSignatureOfToken()
	}
	return nil
}

// checkAudience takes a token that one of the audiences is among those of.
func (t jwt) checkAudience(allowed []string) error {
	var all []string
	if one, ok := text(t.claims["aud"]); ok {
		all = []string{one}
	} else if json.Unmarshal(t.claims["aud"], &all) != nil {
		all = nil
	}
	if slices.ContainsFunc(all, func(a string) bool { return slices.Contains(allowed, a) }) {
		return nil
	}
	return invalidGrant("The audience in ID Token [%s] does not match the expected audience.", strings.Join(all, ", "))
}

// lifetime returns when an access token for this token ends: with it, but
// after an hour at the latest. For a token that is over, but within the grace,
// Google counts the seconds since.
func (t jwt) lifetime(now time.Time) (time.Time, error) {
	issued := printed(t.claims["iat"])
	iat, ok1 := timestamp(t.claims["iat"])
	exp, ok2 := timestamp(t.claims["exp"])
	if !ok1 || !ok2 {
		return time.Time{}, stale(issued).because("the token has no good iat and exp")
	}
	switch {
	case time.Unix(iat, 0).After(now.Add(googleSkew)):
		return time.Time{}, stale(issued).because("the token is from the future")
	case time.Unix(iat, 0).Before(now.Add(-maxTokenAge)):
		return time.Time{}, stale(issued).because("the token is more than a day old")
	case !time.Unix(exp, 0).After(now.Add(-googleSkew)):
		return time.Time{}, stale(issued).because("the token has expired")
	}
	left := min(max(time.Unix(exp, 0).Sub(now).Abs(), time.Second), maxFederated)
	return now.Add(left), nil
}

// printed shows a claim as Google does: text without quotes, else its JSON.
func printed(raw json.RawMessage) string {
	if s, ok := text(raw); ok {
		return s
	}
	if raw == nil {
		return "null"
	}
	return string(bytes.TrimSpace(raw))
}
