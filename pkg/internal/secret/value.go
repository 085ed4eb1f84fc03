// Package secret holds what must not leak: Value, a string that prints as
// [secret] wherever it ends up, and private, atomic, locked files.
package secret

import (
	"crypto/subtle"
	"encoding"
	"encoding/json"
	"fmt"
	"log/slog"
)

// redacted is all that any printer, encoder or logger gets to see.
const redacted = "[secret]"

// Value is a secret string: a token, a key, a password. Its zero value is the
// empty secret. It has no ==, so that comparing goes through Equal.
type Value struct {
	// fmt does not call methods on a value it reaches through an unexported
	// field; it prints what the struct holds. So the struct holds this label
	// and, instead of the bytes, a function, of which fmt prints the address.
	label  string
	reveal func() string
}

var (
	_ fmt.Formatter          = Value{}
	_ fmt.Stringer           = Value{}
	_ json.Marshaler         = Value{}
	_ encoding.TextMarshaler = Value{}
	_ slog.LogValuer         = Value{}
)

// New returns s as a secret.
func New(s string) Value {
	return Value{label: redacted, reveal: func() string { return s }}
}

// Reveal returns the secret itself. Each call is a place to look at in review.
func (v Value) Reveal() string {
	if v.reveal == nil {
		return ""
	}
	return v.reveal()
}

// Empty reports whether there is nothing to hide.
func (v Value) Empty() bool { return v.Reveal() == "" }

// Equal compares two secrets in time that depends on their lengths alone.
func (v Value) Equal(w Value) bool {
	return subtle.ConstantTimeCompare([]byte(v.Reveal()), []byte(w.Reveal())) == 1
}

// Format prints [secret] whatever the verb and flags.
func (v Value) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// String returns [secret].
func (v Value) String() string { return redacted }

// GoString returns [secret].
func (v Value) GoString() string { return redacted }

// MarshalJSON returns "[secret]" as a JSON string.
func (v Value) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) }

// MarshalText returns [secret].
func (v Value) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue returns [secret].
func (v Value) LogValue() slog.Value { return slog.StringValue(redacted) }
