package secret

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// foreignToken has the form of a CI job's token.
func foreignToken(r *rand.Rand) string {
	bytes := make([]byte, 480)
	for i := range bytes {
		bytes[i] = byte(r.IntN(256))
	}
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + encode(bytes[:200]) + "." + encode(bytes[200:])
}

// encoders are the ways in which a server could give a token back.
var encoders = map[string]func(string) string{
	"plain":     func(s string) string { return s },
	"base64":    func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64 +1": func(s string) string { return base64.StdEncoding.EncodeToString([]byte("x" + s)) },
	"base64 +2": func(s string) string { return base64.StdEncoding.EncodeToString([]byte("xy" + s)) },
	"base64url": func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
	"hex":       func(s string) string { return hex.EncodeToString([]byte(s)) },
	"HEX":       func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) },
	"percent":   func(s string) string { return each(s, "%%%02X") },
	"entities":  func(s string) string { return each(s, "&#%d;") },
	"escapes":   func(s string) string { return each(s, `\u%04x`) },
}

func each(s, format string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, format, s[i])
	}
	return b.String()
}

// separators are what can stand between pieces.
var separators = []string{"", "\u200b", "\u00ad", "\u0301", "\ufeff", "\u2060", "\n", "\r\n", " ", "\x00", "\x1b[0m", ".", ", ", "/", "\u3164", "ü", `","b":"`, "\u202e"}

func FuzzForeign(f *testing.F) {
	for i := range 60 {
		f.Add(uint64(i), i%20, "before ", " after")
	}
	f.Fuzz(func(t *testing.T, seed uint64, every int, before, after string) {
		r := rand.New(rand.NewPCG(seed, 1))
		token := foreignToken(r)
		for name, encode := range encoders {
			encoded := encode(token)
			separator := separators[r.IntN(len(separators))]
			var split strings.Builder
			for i := range len(encoded) {
				if every > 0 && i > 0 && i%every == 0 {
					split.WriteString(separator)
				}
				split.WriteByte(encoded[i])
			}
			got := Foreign(before+split.String()+after, New(token))
			if piece := survivor(got, before+after, encoded); piece != "" {
				t.Fatalf("%s, %q after every %d: %q of the token is in %q", name, separator, every, piece, got)
			}
			for _, c := range got {
				if c < ' ' || c > '~' {
					t.Fatalf("%q is in %q", c, got)
				}
			}
			if len(got) > longestForeign+3 {
				t.Fatalf("%d characters", len(got))
			}
		}
	})
}

// survivor returns a piece of the encoded token that is in the text and is not
// from around it.
func survivor(text, around, encoded string) string {
	text, around, encoded = alphanumeric(text), alphanumeric(around), alphanumeric(encoded)
	const enough = 24
	for i := 0; i+enough <= len(encoded); i++ {
		if p := encoded[i : i+enough]; strings.Contains(text, p) && !strings.Contains(around, p) {
			return p
		}
	}
	return ""
}

func TestForeignKeepsWords(t *testing.T) {
	token := New(foreignToken(rand.New(rand.NewPCG(1, 2))))
	for _, text := range []string{
		"Not authorized to perform sts:AssumeRoleWithWebIdentity",
		"User: arn:aws:sts::111122223333:assumed-role/first/circleci-deploy is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::111122223333:role/production-deploy-eu-west-1",
		"No OpenIDConnect provider found in your account for https://oidc.circleci.com/org/2a3b4c5d-1111-4222-8333-444455556666",
		"Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).",
		"Couldn't retrieve verification key from your identity provider, please reference AssumeRoleWithWebIdentity documentation for requirements",
		`error validating claims: claim "oidc.circleci.com/vcs-origin" does not match any associated bound claim values`,
		`The target service indicated by the "audience" parameters is invalid. This might either be because the pool or provider is disabled or deleted or because it doesn't exist.`,
		"Not found; Gaia id not found for email deploy@sandbox-project.iam.gserviceaccount.com",
	} {
		if got := Foreign(text, token); got != text {
			t.Errorf("%s\nis shown as\n%s", text, got)
		}
	}
	for _, row := range [][2]string{
		{"bad AKIAIOSFODNN7EXAMPLE key", "bad [secret] key"},
		{"hash 0123456789abcdef0123456789abcdef", "hash [secret]"},
		{"twice " + base64.StdEncoding.EncodeToString([]byte(hex.EncodeToString([]byte(token.Reveal())))), "twice [secret]"},
		{"two\r\n lines\x1b[31m", "two lines[31m"},
		{"given " + token.Reveal() + " here", "given [secret] here"},
	} {
		if got := Foreign(row[0], token); got != row[1] {
			t.Errorf("%q is shown as %q, want %q", row[0], got, row[1])
		}
	}
}
