package ini

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/pkg/internal/undo"
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
	markSecrets = "secrets" // digests of its secrets' words
)

// mark says what Edit writes.
func (s Change) mark() undo.Note {
	values := map[string]string{markHeaders: strings.Join(s.Headers, "\n")}
	for _, set := range s.Set {
		values[markKey+set.Key] = valueDigest(set.Value.Reveal())
	}
	if !s.End.IsZero() {
		values[markEnd] = s.End.UTC().Format(time.RFC3339)
	}
	return undo.Note{Kind: profileMark, Values: values}
}

// ProfileEnd returns when the secret key that a profile of the credentials file holds
// expires, by the marks of that file; zero where it is not one that we wrote.
func ProfileEnd(marks []undo.Note, profile string, key secret.Value) time.Time {
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
	m := undo.Mark{Note: s.mark()}
	if private {
		for _, set := range s.Set {
			m.Secrets = append(m.Secrets, undo.Digests(set.Value)...)
		}
		m.Values[markSecrets] = strings.Join(m.Secrets, " ")
	}
	return files.Edit{Path: path, Private: private, Apply: s.Edit, Mark: m}
}

func valueDigest(value string) string {
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:])
}

// profileMarker knows the sections of AWS files.
type profileMarker struct{}

// Remove takes out the settings that have the values we gave them, and a header below
// which nothing is left. Where all settings of a mark are still there, those that the
// section had before take their place: half of a pair of keys would be none.
func (profileMarker) Remove(marks []map[string]string, text, backup []byte) (got []byte, whole bool, err error) {
	bySection := map[string][]map[string]string{}
	for _, m := range marks {
		bySection[m[markHeaders]] = append(bySection[m[markHeaders]], m)
	}
	got, whole = text, true
	for _, headers := range slices.Sorted(maps.Keys(bySection)) {
		s := Change{Headers: strings.Split(headers, "\n")}
		was, err := s.find(backup)
		if err != nil {
			return nil, false, err
		}
		var all bool
		if got, all, err = s.restore(bySection[headers], got, backup, was); err != nil {
			return nil, false, err
		}
		whole = whole && (all || was == nil)
		for _, m := range bySection[headers] {
			got = undo.WithoutLines(got, strings.Fields(m[markSecrets])) // edited, or a comment
		}
	}
	return got, whole, nil
}

// restore is Remove for one section, which the backup may have too.
func (s Change) restore(marks []map[string]string, text, backup []byte, was *block) (got []byte, whole bool, err error) {
	own, err := s.find(text)
	if err != nil || own == nil {
		return text, was == nil, err
	}
	values := map[string]string{}
	for _, line := range own.lines {
		if line.kind == option {
			values[markKey+line.key()] = valueDigest(line.value())
		}
	}
	var stay []textLine
	kept, drop := map[string]bool{}, false
	at := -1 // where our first setting is
	for _, line := range own.lines {
		if line.kind == option {
			name := markKey + line.key()
			drop = slices.ContainsFunc(marks, func(m map[string]string) bool { return m[name] == values[name] })
			kept[line.key()] = !drop
		}
		if drop && line.kind != blank {
			if at < 0 {
				at = len(stay)
			}
			continue
		}
		stay = append(stay, line)
	}
	if at < 0 {
		return text, was == nil, nil
	}
	whole = slices.ContainsFunc(marks, func(m map[string]string) bool {
		for name, value := range m {
			if strings.HasPrefix(name, markKey) && values[name] != value {
				return false
			}
		}
		return true
	})
	var back []byte
	if was != nil && whole {
		back = was.settings(backup, kept)
	}
	got = append(got, text[:own.header.start]...)
	if len(back) > 0 || slices.ContainsFunc(stay, func(line textLine) bool { return len(line.content) > 0 }) || was != nil {
		got = append(got, text[own.header.start:own.header.end]...)
	}
	for i, line := range stay {
		if i == at {
			got = append(got, back...)
		}
		got = append(got, text[line.start:line.end]...)
	}
	if at == len(stay) {
		got = append(got, back...)
	}
	return append(got, text[own.end:]...), whole, nil
}

// settings are the lines of a section's settings, but of the keys that are kept.
func (b *block) settings(text []byte, kept map[string]bool) (all []byte) {
	take := false
	for _, line := range b.lines {
		if line.kind == option {
			take = !kept[line.key()]
		}
		if take && line.kind != blank {
			all = append(all, text[line.start:line.end]...)
			if all[len(all)-1] != '\n' {
				all = append(all, '\n')
			}
		}
	}
	return all
}

// value returns what is behind the first = or :, as far as the line goes.
func (l textLine) value() string {
	return strings.TrimFunc(l.content[strings.IndexAny(l.content, "=:")+1:], isSpace)
}

// Markers returns what knows the marks of a profile.
func Markers() map[string]undo.Marker {
	return map[string]undo.Marker{profileMark: profileMarker{}}
}
