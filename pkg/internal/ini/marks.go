package ini

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
)

// The kind of the marks that our edits leave in the record for cleanup, by which they
// are found again in a file that was changed since.
const profileMark = "profile"

// The values of a profile's mark: its header's spellings, and for each key, behind
// a prefix, the digest of what it was set to.
const (
	markHeaders = "headers"
	markKey     = "key "
	markEnd     = "end"
)

// mark says what Edit writes.
func (s Change) mark() files.Note {
	values := map[string]string{markHeaders: strings.Join(s.Headers, "\n")}
	for _, set := range s.Set {
		values[markKey+set.Key] = valueDigest(set.Value.Reveal())
	}
	if !s.End.IsZero() {
		values[markEnd] = s.End.UTC().Format(time.RFC3339)
	}
	return files.Note{Kind: profileMark, Values: values}
}

// ProfileEnd returns when the secret key that a profile of the credentials file holds
// expires, by the marks of that file; zero where it is not one that we wrote.
func ProfileEnd(marks []files.Note, profile string, key secret.Value) time.Time {
	for _, m := range marks {
		headers := strings.Split(m.Values[markHeaders], "\n")
		if m.Kind == profileMark && slices.Contains(headers, profile) && m.Values[markKey+"aws_secret_access_key"] == valueDigest(key.Reveal()) {
			end, _ := time.Parse(time.RFC3339, m.Values[markEnd])
			return end
		}
	}
	return time.Time{}
}

// In returns the edit of a file that makes the change. A private one is to hold
// secrets.
func (s Change) In(path string, private bool) files.Edit {
	return files.Edit{Path: path, Private: private, Apply: s.Edit, Mark: s.mark()}
}

func valueDigest(value string) string {
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:])
}

// profileMarker knows the sections of AWS files.
type profileMarker struct{}

// Fits refuses to take a header away from settings that somebody else has put below
// it: they would fall to the profile above, or make the file unreadable.
func (profileMarker) Fits(ours, old, rest []byte) bool {
	return lastHeader(ours) == "" || lastHeader(old) != "" || !beginsWithSetting(rest)
}

func lastHeader(text []byte) string {
	header := ""
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); bytes.HasPrefix(line, []byte("[")) {
			header = string(line)
		}
	}
	return header
}

func beginsWithSetting(text []byte) bool {
	for line := range bytes.Lines(text) {
		switch line = bytes.TrimSpace(line); {
		case len(line) == 0 || line[0] == '#' || line[0] == ';':
			continue
		default:
			return line[0] != '['
		}
	}
	return false
}

// Remove takes out the settings that have the values we gave them, and a header
// below which nothing is left.
func (profileMarker) Remove(values map[string]string, text []byte) ([]byte, error) {
	s := Change{Headers: strings.Split(values[markHeaders], "\n")}
	own, err := s.find(text)
	if err != nil || own == nil {
		return text, err
	}
	var drop []textLine
	left := false
	for i, line := range own.lines {
		goesOn := i+1 < len(own.lines) && own.lines[i+1].kind == continuation
		if line.kind == option && !goesOn && values[markKey+line.key()] == valueDigest(line.value()) {
			drop = append(drop, line)
		} else if len(line.content) > 0 {
			left = true
		}
	}
	if len(drop) > 0 && !left {
		drop = append([]textLine{own.header}, drop...)
	}
	var out []byte
	at := 0
	for _, line := range drop {
		out = append(out, text[at:line.start]...)
		at = line.end
	}
	return append(out, text[at:]...), nil
}

// value returns what is behind the first = or :, as far as the line goes.
func (l textLine) value() string {
	return strings.TrimFunc(l.content[strings.IndexAny(l.content, "=:")+1:], isSpace)
}

// Markers returns what knows the marks of a profile.
func Markers() map[string]files.Marker {
	return map[string]files.Marker{profileMark: profileMarker{}}
}
