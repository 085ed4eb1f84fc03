package ci

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// FuzzMinted: whatever the minting program prints, on both streams.
func FuzzMinted(f *testing.F) {
	good := tokenOf("org/ORG/project/PROJECT/user/USER", time.Hour)
	for _, s := range []string{"", good, good + "\n", " \r\n" + good, good + "\n" + good, "warning: update\n" + good, "Error: unknown command \"oidc\"\x1b[31m\n", "{}", "\xff\xfe", good[:len(good)/2]} {
		f.Add(s, "", true)
		f.Add("", s, false)
	}
	f.Fuzz(func(t *testing.T, stdout, stderr string, exits0 bool) {
		var failed error
		if !exits0 {
			failed = errors.New("exit status 1")
		}
		got, err := minted("circleci", []byte(stdout), []byte(stderr), failed)
		if err == nil {
			if !exits0 || got.Raw.Reveal() != strings.TrimSpace(stdout) || got.Source != "circleci run oidc get" {
				t.Errorf("takes a token of %q from %q", got.Source, stdout)
			}
			return
		}
		if fault.KindOf(err) != fault.Token || !got.Raw.Empty() {
			t.Errorf("kind %d, %v", fault.KindOf(err), err)
		}
		text := err.Error()
		if len(text) > 1000 || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
			t.Errorf("the error is %.1000q", text)
		}
		for _, s := range []string{stdout, stderr} {
			for word := range strings.FieldsSeq(s) {
				if _, err := oidc.Parse(word, EnvV1); err == nil && strings.Contains(text, word) {
					t.Errorf("the error holds a token: %s", text)
				}
			}
		}
	})
}
