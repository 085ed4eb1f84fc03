package oidc

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// The identifiers of CircleCI's documented example, and the hour in which its
// token is valid.
const (
	org     = "2a3b4c5d-1111-4222-8333-444455556666"
	project = "76543210-ba98-4edc-b210-edcba0987654"
	user    = "aaaa1111-bbbb-4222-8ccc-333344445555"
	issuer  = "https://oidc.circleci.com/org/" + org
	subject = "org/" + org + "/project/" + project + "/user/" + user
	issued  = 1763071432
	expires = 1763075032

	header = `{"alg":"RS256","kid":"c1d2e3f4-0000-4000-8000-000000000001","typ":"JWT"}`
	claims = `{"iss":"` + issuer + `","sub":"` + subject + `","aud":"` + org + `","iat":1763071432,"exp":1763075032}`
	// signature stands for one: nothing here but Verify looks at it.
	signature = "c2lnbmF0dXJlLW9mLXRoZS1leGFtcGxlLXRva2Vu"
)

// now is ten minutes after the token was issued.
func now() time.Time { return time.Unix(issued+600, 0).UTC() }

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// compact joins a header and a payload to a token.
func compact(header, payload string) string {
	return b64(header) + "." + b64(payload) + "." + signature
}

// with returns a token of the example's claims, one of them replaced; a value
// of "" leaves it out.
func with(claim, value string) string {
	all := []string{}
	for _, c := range [][2]string{{"iss", `"` + issuer + `"`}, {"sub", `"` + subject + `"`}, {"aud", `"` + org + `"`}, {"exp", "1763075032"}} {
		if c[0] == claim {
			c[1] = value
		}
		if c[1] != "" {
			all = append(all, fmt.Sprintf("%q:%s", c[0], c[1]))
		}
	}
	return compact(header, "{"+strings.Join(all, ",")+"}")
}

// leaks reports whether any of the texts shows 8 bytes of the token in a row.
func leaks(token string, texts ...string) (string, bool) {
	token = strings.TrimSpace(token)
	for _, text := range texts {
		for i := 0; i+8 <= len(token); i++ {
			if strings.Contains(text, token[i:i+8]) {
				return text, true
			}
		}
	}
	return "", false
}

// isTokenError checks an error's kind and words, and that it keeps the token
// to itself.
func isTokenError(t *testing.T, err error, token, words string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one that says %q", words)
	}
	if fault.KindOf(err) != fault.Token {
		t.Errorf("kind %d of %v, want %d", fault.KindOf(err), err, fault.Token)
	}
	if !strings.Contains(err.Error(), words) {
		t.Errorf("says %q, want the words %q", err, words)
	}
	if text, ok := leaks(token, append(fault.Hints(err), err.Error(), fmt.Sprintf("%+v", err))...); ok {
		t.Errorf("shows a part of the token: %s", text)
	}
}

func TestParse(t *testing.T) {
	good := compact(header, claims)
	for name, raw := range map[string]string{
		"as it is": good, "new line after": good + "\n", "CRLF after": good + "\r\n", "white space around": " \t\n" + good + " \n\n",
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(raw, "TOKEN")
			if err != nil {
				t.Fatal(err)
			}
			if got.Raw.Reveal() != good {
				t.Error("the token is not what was read")
			}
			if got.Algorithm != "RS256" || got.KeyID != "c1d2e3f4-0000-4000-8000-000000000001" || got.Issuer != issuer || got.Subject != subject || got.Source != "TOKEN" {
				t.Errorf("read %+v", got)
			}
			if diff := cmp.Diff([]string{org}, got.Audience); diff != "" {
				t.Error(diff)
			}
			if got.IssuedAt.Unix() != issued || got.Expiry.Unix() != expires {
				t.Errorf("issued %s, expires %s", got.IssuedAt, got.Expiry)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	good := compact(header, claims)
	parts := strings.Split(good, ".")
	for _, row := range []struct{ name, raw, words string }{
		{"nothing", "", "is empty"},
		{"white space", " \r\n\t", "is empty"},
		{"a variable's name", "$CIRCLE_OIDC_TOKEN", "is the literal text $CIRCLE_OIDC_TOKEN"},
		{"a variable's name in braces", "${X}\n", "is the literal text ${X}"},
		{"one part", parts[0], "has 1 part,"},
		{"two parts", parts[0] + "." + parts[1], "has 2 parts"},
		{"four parts", good + ".x", "has 4 parts"},
		{"two tokens in a file", good + "\n" + good + "\n", "has 5 parts"},
		{"a JWE", good + "." + parts[0] + "." + parts[1], "has 5 parts"},
		{"header padded", parts[0] + "=." + parts[1] + "." + parts[2], "a header that is not base64url"},
		{"payload padded", parts[0] + "." + b64(`{"a":"b"} `) + "==." + parts[2], "a payload that is not base64url"},
		{"signature padded", good + "=", "a signature that is not base64url"},
		{"standard base64", parts[0] + "." + parts[1] + ".+/+/", "a signature that is not base64url"},
		{"loose last bits", parts[0] + "." + parts[1] + ".QUJ", "a signature that is not base64url"},
		{"no signature", parts[0] + "." + parts[1] + ".", "a signature that is not base64url"},
		{"no header", "." + parts[1] + "." + parts[2], "a header that is not a JSON object"},
		{"no payload", parts[0] + ".." + parts[2], "a payload that is not a JSON object"},
		{"space inside", parts[0] + ". " + parts[1] + "." + parts[2], "a payload that is not base64url"},
		{"new line in the header", parts[0][:40] + "\n" + parts[0][40:] + "." + parts[1] + "." + parts[2], "a header that is not base64url"},
		{"new line in the payload", parts[0] + "." + parts[1][:76] + "\n" + parts[1][76:] + "." + parts[2], "a payload that is not base64url"},
		{"CRLF in the signature", parts[0] + "." + parts[1] + "." + parts[2][:8] + "\r\n" + parts[2][8:], "a signature that is not base64url"},
		{"a signature of line breaks", parts[0] + "." + parts[1] + ".\n\nA", "a signature that is not base64url"},
		{"a brace too many", compact(header, claims+"}"), "a payload that is not a JSON object"},
		{"a bracket too many", compact(header, claims+"]"), "a payload that is not a JSON object"},
		{"noise behind", compact(header, claims+" x"), "a payload that is not a JSON object"},
		{"deep", compact(header, strings.Repeat(`{"a":`, 2000)), "a payload that is not a JSON object"},
		{"an array", compact(header, `["a"]`), "a payload that is not a JSON object"},
		{"null", compact(header, `null`), "a payload that is not a JSON object"},
		{"text", compact(header, `"text of the payload"`), "a payload that is not a JSON object"},
		{"cut JSON", compact(header, claims[:60]), "a payload that is not a JSON object"},
		{"a second object", compact(header, claims+claims), "a payload that is not a JSON object"},
		{"the header an array", compact(`[]`, claims), "a header that is not a JSON object"},
		{"no iss", with("iss", ""), "lacks the claim iss"},
		{"empty iss", with("iss", `""`), "lacks the claim iss"},
		{"iss a number", with("iss", `12345678`), "lacks the claim iss"},
		{"no sub", with("sub", ""), "lacks the claim sub"},
		{"empty sub", with("sub", `""`), "lacks the claim sub"},
		{"sub a list", with("sub", `["org"]`), "lacks the claim sub"},
		{"no aud", with("aud", ""), "lacks the claim aud"},
		{"empty aud", with("aud", `""`), "lacks the claim aud"},
		{"aud a number", with("aud", `12345678`), "lacks the claim aud"},
		{"aud null", with("aud", `null`), "lacks the claim aud"},
		{"aud an empty list", with("aud", `[]`), "lacks the claim aud"},
		{"aud a list of nothing", with("aud", `[""]`), "lacks the claim aud"},
		{"aud a list of numbers", with("aud", `["audience",12345678]`), "an aud that is not text"},
		{"no exp", with("exp", ""), "lacks the claim exp"},
		{"exp null", with("exp", `null`), "lacks the claim exp"},
		{"exp as text", with("exp", `"1763075032"`), "lacks the claim exp"},
		{"exp negative", with("exp", `-1763075032`), "lacks the claim exp"},
		{"exp zero", with("exp", `0`), "lacks the claim exp"},
		{"exp huge", with("exp", `1763075032000000`), "lacks the claim exp"},
		{"exp beyond floats", with("exp", `1e999`), "lacks the claim exp"},
		{"a long variable's name", "$" + strings.Repeat("A", 30000), "has 30001 bytes"},
		{"20,001 bytes", good + strings.Repeat("A", 20001-len(good)), "has 20001 bytes, more than the 20000"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := Parse(row.raw, "SOME_TOKEN")
			secret := row.raw
			if strings.HasPrefix(secret, "$") {
				secret = ""
			}
			isTokenError(t, err, secret, row.words)
			if err != nil && !strings.Contains(err.Error(), "the token in SOME_TOKEN ") {
				t.Errorf("does not name the source: %v", err)
			}
		})
	}
}

func TestParseAccepts(t *testing.T) {
	for _, row := range []struct {
		name, raw string
		want      func(Token) bool
	}{
		{"20,000 bytes", func() string {
			s := compact(header, claims)
			return s + strings.Repeat("A", 20000-len(s)-len(s)%4) + strings.Repeat("A", len(s)%4)
		}(), func(t Token) bool { return len(t.Raw.Reveal()) == 20000 }},
		{"aud a list", with("aud", `["a","b"]`), func(t Token) bool { return cmp.Equal(t.Audience, []string{"a", "b"}) }},
		{"exp a fraction", with("exp", "1763075032.9"), func(t Token) bool { return t.Expiry.Unix() == expires }},
		{"exp with an exponent", with("exp", "1.763075032e9"), func(t Token) bool { return t.Expiry.Unix() == expires }},
		{"no iat", with("", ""), func(t Token) bool { return t.IssuedAt.IsZero() }},
		{"white space in the JSON", compact(" "+header+"\n", "\t"+claims+"\r\n"), func(t Token) bool { return t.Subject == subject }},
		// RFC 7519 §4: the last one counts.
		{"a claim twice", compact(header, `{"sub":"first",`+claims[1:]), func(t Token) bool { return t.Subject == subject }},
		{"names told apart by case", compact(`{"ALG":"none","alg":"RS256","Alg":"none"}`, claims[:len(claims)-1]+`,"SUB":"other","Exp":1}`),
			func(t Token) bool {
				return t.Algorithm == "RS256" && t.Subject == subject && t.Expiry.Unix() == expires
			}},
		{"no kid", compact(`{"alg":"RS256"}`, claims), func(t Token) bool { return t.KeyID == "" }},
		{"kid a number", compact(`{"alg":"RS256","kid":1}`, claims), func(t Token) bool { return t.KeyID == "" }},
		{"unknown claims, null contexts", compact(header, claims[:len(claims)-1]+`,"oidc.circleci.com/context-ids":null,"oidc.circleci.com/ssh-rerun":true,"x":{"y":[12345678901234567890]}}`),
			func(t Token) bool {
				return t.Claims["oidc.circleci.com/ssh-rerun"] == true && t.Claims["oidc.circleci.com/context-ids"] == nil && fmt.Sprint(t.Claims["x"]) == "map[y:[12345678901234567890]]"
			}},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := Parse(row.raw, "TOKEN")
			if err != nil {
				t.Fatal(err)
			}
			if !row.want(got) {
				t.Errorf("read %+v", got)
			}
		})
	}
}

func TestParseNamesAnySource(t *testing.T) {
	_, err := Parse("x", `"100%d of %s"`)
	isTokenError(t, err, "", `the token in "100%d of %s" has 1 part,`)
}

// No printer shows a token that was parsed.
func TestTokenPrintsNoSecret(t *testing.T) {
	raw := compact(header, claims)
	tok := mustParse(t, raw, "TOKEN")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		// The claims are for showing, the three parts in base64 are not.
		if text, ok := leaks(raw, fmt.Sprintf(verb, tok), fmt.Sprintf(verb, &tok)); ok {
			t.Errorf("%s shows %s", verb, text)
		}
	}
}

func mustParse(t *testing.T, raw, source string) Token {
	t.Helper()
	tok, err := Parse(raw, source)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestExpired(t *testing.T) {
	tok := mustParse(t, compact(header, claims), "TOKEN")
	for after, want := range map[time.Duration]bool{
		-time.Hour: false, 0: false, Slack - 1: false, Slack: false, Slack + 1: true, time.Hour: true,
	} {
		if got := tok.Expired(tok.Expiry.Add(after)); got != want {
			t.Errorf("%s after exp: expired is %t", after, got)
		}
	}
}

func TestRedact(t *testing.T) {
	raw := compact(header, claims)
	parts := strings.Split(raw, ".")
	tok := mustParse(t, raw, "TOKEN")
	for _, row := range []struct{ text, want string }{
		{"nothing in it", "nothing in it"},
		{"", ""},
		{"before " + raw + " after", "before [secret] after"},
		{raw + raw, "[secret]"},
		{"payload " + parts[1] + "!", "payload [secret]!"},
		{"cut " + parts[1] + "." + parts[2], "cut [secret]"},
		{"signature=" + parts[2] + "\n", "[secret]\n"},
		{"wrapped\n" + raw[:40] + "\n" + raw[40:90], "wrapped\n[secret]\n[secret]"},
	} {
		if got := tok.Redact(row.text); got != row.want {
			t.Errorf("%q becomes %q, want %q", row.text, got, row.want)
		}
	}
	if got := (Token{}).Redact("as it is"); got != "as it is" {
		t.Errorf("no token redacts to %q", got)
	}
}

// Whatever is read: no panic, token errors alone, and what was parsed has the
// claims that every exchange needs.
func FuzzParse(f *testing.F) {
	f.Add(compact(header, claims))
	f.Add(compact(header, claims) + "\n")
	f.Add(with("aud", `["a","b"]`))
	f.Add(with("aud", `[""]`))
	f.Add(with("exp", `-1`))
	f.Add(with("exp", `1e400`))
	f.Add(with("sub", ""))
	f.Add(compact(`{"alg":"none"}`, claims))
	f.Add(compact(header, claims+"}"))
	f.Add("$CIRCLE_OIDC_TOKEN")
	f.Add("${X}")
	f.Add("a.b.c")
	f.Add("..")
	f.Fuzz(func(t *testing.T, raw string) {
		check := func(raw string) {
			tok, err := Parse(raw, "TOKEN")
			if err != nil {
				if fault.KindOf(err) != fault.Token {
					t.Errorf("kind %d of %v", fault.KindOf(err), err)
				}
				return
			}
			if tok.Issuer == "" || tok.Subject == "" || len(tok.Audience) == 0 || tok.Audience[0] == "" || tok.Expiry.Unix() <= 0 {
				t.Errorf("parsed without its claims: %+v", tok)
			}
			if s := tok.Raw.Reveal(); strings.ContainsAny(s, " \t\r\n\x00") || len(s) > MaxToken || strings.Count(s, ".") != 2 {
				t.Errorf("takes %q for a token", s)
			}
			if text := tok.Redact(raw); strings.Contains(text, tok.Raw.Reveal()) {
				t.Errorf("redacts to %q", text)
			}
		}
		check(raw)
		check(compact(header, raw)) // what it makes of the JSON
	})
}
