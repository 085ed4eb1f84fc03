package sandbox

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// skew is what AWS's clock and an issuer's may differ by.
const skew = 5 * time.Minute

// The claims by which an issuer gives a session tags and a source identity.
const (
	tagsClaim           = "https://aws.amazon.com/tags"
	sourceIdentityClaim = "https://aws.amazon.com/source_identity"
)

// An identity is what a good token says of its bearer.
type identity struct {
	provider, subject, audience string
	tagged                      bool
	claims                      map[string]any // for a trust policy of the user's own
	session                     string         // the name that was asked for
}

// A provider is an IAM OpenID Connect provider of one account.
type provider struct {
	arn     string
	clients []string // the audiences it is registered for
}

// A jwt is a token taken apart, of which nothing is verified yet.
type jwt struct {
	raw    string
	alg    string
	kid    *string
	claims map[string]json.RawMessage // of members that occur twice, the last
}

// judge verifies a token in AWS's order: its form, the provider, the
// signature, the times, the audience.
func (s *sts) judge(raw string, partition, account string) (identity, error) {
	t, err := parseJWT(raw)
	if err != nil {
		return identity{}, err
	}
	for _, name := range []string{"iss", "sub", "aud", "iat", "exp"} {
		if _, there := t.claims[name]; !there {
			return identity{}, invalidToken("Missing a required claim: %s", name)
		}
	}
	issuer, ok := text(t.claims["iss"])
	if !ok {
		return identity{}, invalidToken("Missing a required claim: iss")
	}
	p := s.provider(issuer, partition, account)
	if p == nil {
		return identity{}, invalidToken("No OpenIDConnect provider found in your account for %s", issuer)
	}
	if err := s.verify(t); err != nil {
		return identity{}, err
	}
	if err := t.checkTimes(s.now()); err != nil {
		return identity{}, err
	}
	audience, err := t.audience(p.clients)
	if err != nil {
		return identity{}, err
	}
	subject, err := t.subject()
	if err != nil {
		return identity{}, err
	}
	return identity{provider: p.arn, subject: subject, audience: audience, tagged: t.has(tagsClaim) || t.has(sourceIdentityClaim), claims: t.plain()}, nil
}

// provider returns nil where an account has none for the issuer. Every account
// with a role has one for the organisation; nobody should have one for the
// root issuer, which signs for every customer of CircleCI.
func (s *sts) provider(issuer, partition, account string) *provider {
	if issuer != s.issuer {
		return nil
	}
	for _, r := range s.roles {
		if r.partition == partition && r.account == account {
			return &provider{
				arn:     "arn:" + partition + ":iam::" + account + ":oidc-provider/" + strings.TrimPrefix(issuer, "https://"),
				clients: s.clients,
			}
		}
	}
	return nil
}

func parseJWT(raw string) (jwt, error) {
	t := jwt{raw: raw}
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return t, notAJWT()
	}
	var header struct {
		Alg  string          `json:"alg"`
		Kid  *string         `json:"kid"`
		Crit json.RawMessage `json:"crit"`
	}
	if !decodeObject(parts[0], &header) || header.Alg == "" || header.Crit != nil {
		return t, notAJWT()
	}
	if !decodeObject(parts[1], &t.claims) {
		return t, notAJWT()
	}
	if _, err := base64.RawURLEncoding.DecodeString(parts[2]); err != nil {
		return t, notAJWT()
	}
	t.alg, t.kid = header.Alg, header.Kid
	return t, nil
}

// decodeObject reads a part of a token, which has to be a JSON object.
func decodeObject(part string, into any) bool {
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil || !bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte("{")) {
		return false
	}
	return json.Unmarshal(b, into) == nil
}

// verify checks the signature. A token without a key id is good where the
// issuer has one key only, which is so.
func (s *sts) verify(t jwt) error {
	if t.kid != nil && *t.kid != s.key.KeyID {
		return noKey()
	}
	algorithms := []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512}
	if !slices.Contains(algorithms, jose.SignatureAlgorithm(t.alg)) {
		return notValidated().because("the token's algorithm is not RS256, RS384 or RS512")
	}
	signed, err := jose.ParseSignedCompact(t.raw, algorithms)
	if err != nil {
		return notAJWT()
	}
	if _, err := signed.Verify(s.key.Key); err != nil {
		return notValidated().because("the token's signature is wrong")
	}
	return nil
}

func (t jwt) checkTimes(at time.Time) error {
	exp, ok1 := timestamp(t.claims["exp"])
	iat, ok2 := timestamp(t.claims["iat"])
	if !ok1 || !ok2 {
		return invalidToken("Invalid timestamp in token claims.")
	}
	// AWS prints the clocks that it compares with, grace included.
	if early := at.Add(-skew).Unix(); early >= exp {
		return expired(early, exp)
	}
	late := at.Add(skew).Unix()
	if iat > late {
		return invalidToken("Token issued in the future: %d", iat)
	}
	raw, there := t.claims["nbf"]
	if !there {
		return nil
	}
	nbf, ok := timestamp(raw)
	if !ok {
		return invalidToken("Invalid timestamp in token claims.")
	}
	if nbf > late {
		return invalidToken("Token not yet valid: current date/time %d must be after or equal to the not-before date/time %d", late, nbf)
	}
	return nil
}

// audience returns whom the token is for: the authorized party if there is
// one, else the single audience.
func (t jwt) audience(clients []string) (string, error) {
	var all []string
	if one, ok := text(t.claims["aud"]); ok {
		all = []string{one}
	} else if json.Unmarshal(t.claims["aud"], &all) != nil {
		return "", incorrectAudience()
	}
	if len(all) == 0 {
		return "", invalidToken("Claim is not allowed to be empty: aud")
	}
	audience := all[0]
	if raw, there := t.claims["azp"]; there {
		audience, _ = text(raw)
	} else if len(all) > 1 {
		return "", invalidToken("Token audience contains more than one audience while authorized party is not present")
	}
	if !slices.Contains(clients, audience) {
		return "", incorrectAudience()
	}
	return audience, nil
}

func incorrectAudience() *refusal { return invalidToken("Incorrect token audience") }

// subject may be a number, which counts as text. AWS fails on null.
func (t jwt) subject() (string, error) {
	if s, ok := text(t.claims["sub"]); ok {
		return s, nil
	}
	var n json.Number
	if raw := t.claims["sub"]; isNull(raw) || json.Unmarshal(raw, &n) != nil {
		return "", internalFailure()
	}
	return n.String(), nil
}

// plain returns the claims as values, numbers as json.Number.
func (t jwt) plain() map[string]any {
	all := make(map[string]any, len(t.claims))
	for name, raw := range t.claims {
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber()
		var v any
		if d.Decode(&v) == nil { // it was decoded once already
			all[name] = v
		}
	}
	return all
}

func (t jwt) has(name string) bool {
	raw, there := t.claims[name]
	return there && !isNull(raw)
}

func isNull(raw json.RawMessage) bool { return string(bytes.TrimSpace(raw)) == "null" }

func text(raw json.RawMessage) (string, bool) {
	var s *string
	if json.Unmarshal(raw, &s) != nil || s == nil {
		return "", false
	}
	return *s, true
}

// timestamp reads whole seconds, as a number or as text.
func timestamp(raw json.RawMessage) (int64, bool) {
	digits, ok := text(raw)
	if !ok {
		digits = string(bytes.TrimSpace(raw))
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	return n, err == nil
}
