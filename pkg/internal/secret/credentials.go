package secret

import (
	"regexp"
	"strings"
)

// A form is what credentials of one kind look like. hint is in every one of them:
// looking for it is far cheaper than the pattern.
type form struct{ hint, pattern string }

func forms() []form {
	return []form{
		{"AKIA", `\bAKIA[A-Z0-9]{16}\b`},
		{"ASIA", `\bASIA[A-Z0-9]{16}\b`},
		{"eyJ", `\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}`},
		{"hvs.", `\bhvs\.[A-Za-z0-9_-]{20,}`},
		{"hvb.", `\bhvb\.[A-Za-z0-9_-]{20,}`},
		{"ya29.", `\bya29\.[A-Za-z0-9_.-]{20,}`},
		{"PRIVATE KEY-----", `-----BEGIN [A-Z ]*PRIVATE KEY-----(?:\\n|[A-Za-z0-9+/=\s])*`},
	}
}

// WithoutCredentials removes from a text what has the form of credentials.
func WithoutCredentials(text string) string {
	for _, f := range forms() {
		if strings.Contains(text, f.hint) {
			text = regexp.MustCompile(f.pattern).ReplaceAllString(text, redacted)
		}
	}
	return text
}

// HasCredentials says whether a part of a text has the form of credentials.
func HasCredentials(text string) bool { return WithoutCredentials(text) != text }
