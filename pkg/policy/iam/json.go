package iam

import (
	"bytes"
	"encoding/json"
)

// quoteJSON writes a value as a user would paste it.
func quoteJSON(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if e.Encode(v) != nil {
		return ""
	}
	return string(bytes.TrimRight(b.Bytes(), "\n"))
}

// line writes a value in one line.
func line(v any) string {
	var b bytes.Buffer
	if json.Compact(&b, []byte(quoteJSON(v))) != nil {
		return ""
	}
	return b.String()
}
