package vault

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/remote"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
)

// Value is one field of a secret.
type Value struct {
	Field    string
	Variable string // that it goes into; "": none
	File     string // that it goes into; "": none
	JSON     secret.Value

	decoded *secret.Value // what its base64 stands for; nil: it is taken as it is
}

// missing is the error of what is not there: a secret, a version of it.
type missing struct{ error }

func (m missing) Unwrap() error { return m.error }

func isMissing(err error) bool {
	var m missing
	return errors.As(err, &m)
}

// empty is a secret of which nothing was read.
func (w *Wanted) empty() Secret {
	got := Secret{Path: w.Path, wanted: w}
	if w.version > 0 {
		got.Path += "?" + versionIs + strconv.Itoa(w.version)
	}
	return got
}

// absent is what a secret that is not there gives, where all that was asked of it may
// be missing.
func (w *Wanted) absent(why error) (Secret, error) {
	got := w.empty()
	for _, f := range w.fields {
		if !f.optional {
			return got, why
		}
		if f.fallback != nil {
			got.Values = append(got.Values, f.standIn())
		}
	}
	return got, nil
}

// standIn is the default of a field that is missing.
func (f field) standIn() Value {
	text, err := json.Marshal(*f.fallback)
	if err != nil {
		text = []byte(`""`) // a text always marshals
	}
	return Value{Field: f.name, Variable: f.variable, File: f.file, JSON: secret.New(string(text))}
}

// values takes what was asked for out of a secret's fields. hide goes over what an
// error shows of them.
func (w *Wanted) values(fields map[string]json.RawMessage, hide func(string) string) ([]Value, error) {
	var all []Value
	named := map[string]bool{}
	for _, f := range w.fields {
		if f.all {
			continue
		}
		raw, ok := f.find(fields)
		if !f.pointer {
			named[f.name] = true
		}
		switch {
		case !ok && f.fallback != nil:
			all = append(all, f.standIn())
			continue
		case !ok && f.optional:
			continue
		case !ok:
			return nil, fault.New(fault.Refused, "the secret %s has no field %q", w.Path, f.name).
				Hint("it has: %s", remote.Clip(hide(strings.Join(keys(fields), ", "))))
		}
		v := Value{Field: f.name, Variable: f.variable, File: f.file, JSON: secret.New(string(raw))}
		if f.base64 {
			b, err := fromBase64(v.text())
			if err != nil {
				return nil, fault.New(fault.Refused, "the field %q of %s is not base64", f.name, w.Path).Hint("without :base64 it is taken as it is")
			}
			v.decoded = &b
		}
		all = append(all, v)
	}
	for _, f := range w.fields {
		if !f.all {
			continue
		}
		for _, name := range keys(fields) {
			if named[name] {
				continue
			}
			v := Value{Field: name, Variable: name, JSON: secret.New(string(fields[name]))}
			if f.prefix != "" {
				v.Variable = f.prefix + usableName(name)
			}
			all = append(all, v)
		}
	}
	return all, nil
}

// find returns the field's value, or what its JSON pointer points to.
func (f field) find(fields map[string]json.RawMessage) (json.RawMessage, bool) {
	if !f.pointer {
		raw, ok := fields[f.name]
		return raw, ok
	}
	steps, err := pointerSteps(f.name)
	if err != nil {
		return nil, false
	}
	raw, ok := fields[steps[0]]
	for _, step := range steps[1:] {
		if !ok {
			return nil, false
		}
		var object map[string]json.RawMessage
		var array []json.RawMessage
		switch {
		case json.Unmarshal(raw, &object) == nil && object != nil:
			raw, ok = object[step]
		case json.Unmarshal(raw, &array) == nil:
			i, err := strconv.Atoi(step)
			if ok = err == nil && i >= 0 && i < len(array) && strconv.Itoa(i) == step; ok {
				raw = array[i]
			}
		default:
			ok = false
		}
	}
	return raw, ok
}

// pointerSteps reads a JSON pointer (RFC 6901 §3).
func pointerSteps(pointer string) ([]string, error) {
	steps := strings.Split(pointer[1:], "/")
	for i, s := range steps {
		for rest := s; ; {
			at := strings.IndexByte(rest, '~')
			if at < 0 {
				break
			}
			if rest = rest[at+1:]; rest == "" || rest[0] != '0' && rest[0] != '1' {
				return nil, errors.New("in a JSON pointer ~ is written ~0, and / within a name ~1")
			}
		}
		steps[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(s)
	}
	return steps, nil
}

// fromBase64 takes the standard alphabet and that of URLs, with or without padding,
// and line breaks.
func fromBase64(v secret.Value) (secret.Value, error) {
	text := strings.Join(strings.Fields(v.Reveal()), "")
	text = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	b, err := base64.RawStdEncoding.DecodeString(text)
	return secret.New(string(b)), err
}

// text is the value as it is: text without its quotes, null as nothing, anything else
// as the JSON that the server sent, so that no number loses a digit.
func (v Value) text() secret.Value {
	raw := v.JSON.Reveal()
	var text *string
	if json.Unmarshal([]byte(raw), &text) == nil {
		if text == nil {
			return secret.New("")
		}
		return secret.New(*text)
	}
	var compact bytes.Buffer
	if json.Compact(&compact, []byte(raw)) != nil {
		return v.JSON
	}
	return secret.New(compact.String())
}

// Text returns the value as a file holds it.
func (v Value) Text() secret.Value {
	if v.decoded != nil {
		return *v.decoded
	}
	return v.text()
}

// delivered is what the variable holds: the value, or the path of its file.
func (v Value) delivered() (secret.Value, error) {
	if v.File == "" {
		return v.Text(), nil
	}
	path, err := filepath.Abs(v.File)
	if err != nil {
		return secret.Value{}, fault.New(fault.Local, "cannot find the directory of %q: %w", v.File, unwrap(err))
	}
	return secret.New(path), nil
}

// json is the value as read prints it.
func (v Value) json() (json.RawMessage, error) {
	if v.decoded == nil {
		return json.RawMessage(v.JSON.Reveal()), nil
	}
	text := v.decoded.Reveal()
	if !utf8.ValidString(text) {
		return nil, fault.New(fault.Refused, "what the field %q stands for is no text, which JSON cannot hold", v.Field).
			Hint("give it a file: %s", fmt.Sprintf("%s:base64=@FILE", v.Field))
	}
	return json.Marshal(text)
}
