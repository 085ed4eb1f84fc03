package gcp

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf16"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// object is a JSON object whose members keep their order.
type object []member

type member struct {
	key   string
	value any // string, int, bool or object
}

// encode writes the object as Python's json.dumps does with indent=2: ASCII
// alone, < > & as they are, no newline at the end.
func (o object) encode() []byte {
	var b bytes.Buffer
	o.write(&b, "\n")
	return b.Bytes()
}

func (o object) write(b *bytes.Buffer, newline string) {
	before := "{"
	for _, m := range o {
		b.WriteString(before + newline + "  ")
		writeText(b, m.key)
		b.WriteString(": ")
		switch v := m.value.(type) {
		case object:
			v.write(b, newline+"  ")
		case string:
			writeText(b, v)
		default:
			fmt.Fprint(b, v)
		}
		before = ","
	}
	b.WriteString(newline + "}")
}

// writeText writes a JSON string as Python's ensure_ascii has it: DEL is escaped
// too, and what lies beyond U+FFFF is a pair of surrogates.
func writeText(b *bytes.Buffer, s string) {
	const short, letters = "\"\\\b\f\n\r\t", `"\bfnrt`
	b.WriteByte('"')
	for _, r := range s {
		at := strings.IndexRune(short, r)
		switch {
		case at >= 0:
			b.WriteByte('\\')
			b.WriteByte(letters[at])
		case r >= ' ' && r <= '~':
			b.WriteByte(byte(r))
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(b, `\u%04x`, r)
		}
	}
	b.WriteByte('"')
}

// parseHeaders reads gcloud's KEY=VALUE,... ; another separator stands in front,
// between two ^. A key that comes twice keeps its first place and has its last
// value. The text may hold a credential: no error shows it.
func parseHeaders(text string) (object, error) {
	separator := ","
	if rest, ok := strings.CutPrefix(text, "^"); ok {
		if s, after, ok := strings.Cut(rest, "^"); ok {
			separator, text = s, after
		}
	}
	if separator == "" {
		return nil, fault.New(fault.Usage, "%s begins with ^^, and a separator belongs between them", fault.Option("credential-source-headers")).
			Hint("it is like ^;^A=1,2;B=3")
	}
	if text == "" {
		return nil, nil
	}
	var headers object
	place := map[string]int{}
	for i, entry := range strings.Split(strings.TrimSuffix(text, separator), separator) {
		key, value, ok := strings.Cut(entry, "=")
		if !ok || key == "" {
			return nil, fault.New(fault.Usage, "%s: entry %d is not KEY=VALUE", fault.Option("credential-source-headers"), i+1).
				Hint("where a value holds a comma, give another separator: ^;^A=1,2;B=3")
		}
		if at, ok := place[key]; ok {
			headers[at].value = value
			continue
		}
		place[key] = len(headers)
		headers = append(headers, member{key, value})
	}
	return headers, nil
}
