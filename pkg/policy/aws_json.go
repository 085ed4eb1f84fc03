package policy

import (
	"bytes"
	"encoding/json"
)

// awsJSON writes a value as a user would paste it.
func awsJSON(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if e.Encode(v) != nil {
		return ""
	}
	return string(bytes.TrimRight(b.Bytes(), "\n"))
}

// awsLine writes a value in one line.
func awsLine(v any) string {
	var b bytes.Buffer
	if json.Compact(&b, []byte(awsJSON(v))) != nil {
		return ""
	}
	return b.String()
}
