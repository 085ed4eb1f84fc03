package secret

import (
	"encoding/base64"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// jwt has the three parts of a token.
const jwt = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL29pZGMuZXhhbXBsZSJ9.c2lnbmF0dXJl_LW9mLTEyMw"

func TestRedact(t *testing.T) {
	parts := strings.Split(jwt, ".")
	for _, row := range []struct{ name, secret, text, want string }{
		{"nothing in it", jwt, "not authorized to perform sts:AssumeRole", "not authorized to perform sts:AssumeRole"},
		{"no text", jwt, "", ""},
		{"the secret alone", jwt, jwt, "[secret]"},
		{"among words", jwt, "bad token " + jwt + " given", "bad token [secret] given"},
		{"a part of it", jwt, "payload " + parts[1] + " is bad", "payload [secret] is bad"},
		{"cut in front", jwt, "..." + jwt[10:], "[secret]"},
		{"cut behind", jwt, jwt[:40] + " [truncated]", "[secret] [truncated]"},
		{"cut to 16 characters", jwt, "of " + jwt[20:36] + " it", "of [secret] it"},
		{"15 characters are no secret", jwt, "of " + jwt[20:35] + " it", "of " + jwt[20:35] + " it"},
		{"wrapped", jwt, jwt[:30] + "\n" + jwt[30:60] + "\r\n\t" + jwt[60:], "[secret]\n[secret]\r\n\t[secret]"},
		{"doubled", jwt, jwt + jwt, "[secret]"},
		{"twice", jwt, jwt + " " + jwt, "[secret] [secret]"},
		{"in quotes", jwt, `{"token":"` + jwt + `"}`, `{"token":"[secret]"}`},
		{"in brackets", jwt, "(<[" + jwt + "]>)", "(<[[secret]]>)"},
		{"a comma after it", jwt, jwt + ", and more", "[secret], and more"},
		{"a full stop goes with it", jwt, "It was " + jwt + ". Sorry.", "It was [secret] Sorry."},
		{"so does what is joined to it", jwt, "?web_token=" + jwt + "&x=y", "?[secret]&x=y"},
		{"escapes within it", "abcdefghijklmnopqrst/uvwxyz0123456789+", "abcdefghijklmnopqrst%2Fuvwxyz0123456789%2B", "[secret]%[secret]%2B"},
		{"letters beyond ASCII beside it", jwt, "é" + jwt + "é", "é[secret]é"},
		{"text that is no UTF-8", jwt, "\xff" + jwt + "\xc3", "\xff[secret]\xc3"},
		{"a secret beyond ASCII", "ééééééééé", "xx ééééééééé yy", "xx [secret] yy"},
		{"whose bytes occur in other characters", "ééééééééé", "éééééééé \u0129éééééééé", "[secret] [secret]"},
		{"a secret with spaces", "correct horse battery staple", "is correct horse battery staple, not", "is [secret], not"},
		{"one of several lines", "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\n-----END KEY-----\n", "k=\n-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\n-----END KEY-----\nend", "k=\n[secret]end"},
		{"brackets do not make it anew", "0123456789abcdef],\"three four 5", "0123456789abcdef,\"three four ", "[secret],\"three four "},
		{"exactly 16", "0123456789abcdef", "x-0123456789abcdef!", "[secret]!"},
		{"15, as a whole", "0123456789abcde", "x-0123456789abcde!", "x-[secret]!"},
		{"15, not in part", "0123456789abcde", "0123456789abcd", "0123456789abcd"},
		{"8", "hunter22", "hunter22hunter22 hunter2", "[secret][secret] hunter2"},
		{"7 are too few", "hunter2", "hunter2", "hunter2"},
		{"an empty secret", "", "as it is", "as it is"},
	} {
		if got := New(row.secret).Redact(row.text); got != row.want {
			t.Errorf("%s: %q becomes %q, want %q", row.name, row.text, got, row.want)
		}
	}
	if got := (Value{}).Redact("as it is"); got != "as it is" {
		t.Errorf("no secret makes %q", got)
	}
}

func TestRedactIsFast(t *testing.T) {
	random := rand.NewChaCha8([32]byte{})
	noise := make([]byte, 15000)
	_, _ = random.Read(noise)
	token := base64.RawURLEncoding.EncodeToString(noise)
	for _, row := range []struct{ name, text string }{
		{"one long word", strings.Repeat("a", 1<<20)},
		{"many tokens", strings.Repeat(token+"\n", 52)},
		{"many pieces", strings.Repeat(token[100:116]+" ", 1<<20/17)},
		{"nearly pieces", strings.Repeat(token[100:115]+" ", 1<<20/16)},
	} {
		start := time.Now()
		got := New(token).Redact(row.text)
		if took := time.Since(start); took > 2*time.Second { // 0.1 s, without the race detector
			t.Errorf("%s: took %s", row.name, took)
		}
		if strings.Contains(got, token[100:116]) {
			t.Errorf("%s: the secret is still there", row.name)
		}
	}
}

func FuzzRedact(f *testing.F) {
	f.Add(jwt, jwt[:30]+"\n"+jwt[30:60]+" "+jwt[60:])
	f.Add("0123456789abcdef],\"three four 5", "0123456789abcdef,\"three four ")
	f.Add("[secret][secret][secret]", "[secret][secret][secret][secret]")
	f.Add("]]]]]]]]]]]]]]]]][[[[[[[[[[[[[[[[[", "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]][[[[[[[[[[[[[[[[[[[")
	f.Add("ééééééééé", "éééééééé \u0129éééééééé")
	f.Fuzz(func(t *testing.T, s, text string) {
		for _, text := range []string{text, s + text, text + s + text, text + s[len(s)/3:] + "\n" + s[:len(s)/2]} {
			got := New(s).Redact(text)
			for i := 0; i+16 <= len(s); i++ {
				if strings.Contains(got, s[i:i+16]) {
					t.Fatalf("%q with the secret %q becomes %q, which holds %q", text, s, got, s[i:i+16])
				}
			}
			if len(s) > 8 && len(s) < 16 && strings.Count(got, s) > 0 && !strings.ContainsAny(s, "[]") {
				t.Fatalf("%q with the secret %q becomes %q", text, s, got)
			}
			if utf8.ValidString(text) && utf8.ValidString(s) && !utf8.ValidString(got) {
				t.Fatalf("%q with the secret %q becomes %q: half a character is left", text, s, got)
			}
		}
	})
}
