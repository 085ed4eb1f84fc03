package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

const (
	// maxDocument is far above every cloud's limit (AWS: 4 KiB of trust policy).
	maxDocument = 1 << 20
	maxDepth    = 64
)

// kind is the type of a JSON value (RFC 8259 §3).
type kind string

const (
	object  kind = "an object"
	array   kind = "a list"
	text    kind = "text"
	number  kind = "a number"
	boolean kind = "true or false"
	null    kind = "null"
)

// A node is a JSON value that knows where it stands in its document.
type node struct {
	kind    kind
	text    string // of text; the literal of a number, a boolean and null
	members []member
	items   []*node
	served  bool // it is the data of a server's answer
	position
}

type member struct {
	name  string
	value *node
	position
}

// position is a place in a document, both from 1. Columns count bytes.
type position struct{ line, column int }

func (p position) at() string { return fmt.Sprintf("line %d, column %d", p.line, p.column) }

// get returns the last member of that name, or nil.
func (n *node) get(name string) *node {
	for i := len(n.members) - 1; i >= 0; i-- {
		if n.members[i].name == name {
			return n.members[i].value
		}
	}
	return nil
}

// list returns the items of a list, and any other value as a list of itself: in
// policies the two mean the same.
func (n *node) list() []*node {
	if n.kind == array {
		return n.items
	}
	return []*node{n}
}

// duplicate returns the first member anywhere below whose name its object has
// already. Readers disagree about which of the two counts.
func (n *node) duplicate() *member {
	seen := map[string]bool{}
	for i := range n.members {
		m := &n.members[i]
		if seen[m.name] {
			return m
		}
		seen[m.name] = true
		if d := m.value.duplicate(); d != nil {
			return d
		}
	}
	for _, item := range n.items {
		if d := item.duplicate(); d != nil {
			return d
		}
	}
	return nil
}

// any returns the value as Go's decoder would, numbers as json.Number.
func (n *node) any() any {
	switch n.kind {
	case object:
		m := make(map[string]any, len(n.members))
		for _, member := range n.members {
			m[member.name] = member.value.any()
		}
		return m
	case array:
		all := make([]any, len(n.items))
		for i, item := range n.items {
			all[i] = item.any()
		}
		return all
	case text:
		return n.text
	case number:
		return json.Number(n.text)
	case boolean:
		return n.text == "true"
	}
	return nil
}

// parseDocument reads one JSON document. An error is a fault.Usage with line
// and column, and shows nothing of the document but single characters.
func parseDocument(b []byte) (*node, error) {
	b = bytes.TrimPrefix(b, []byte("\ufeff"))
	switch {
	case len(b) > maxDocument:
		return nil, fault.New(fault.Usage, "the document has %d bytes, more than the %d that are read", len(b), maxDocument)
	case len(bytes.TrimSpace(b)) == 0:
		return nil, fault.New(fault.Usage, "the document is empty")
	}
	r := &reader{text: b, decoder: json.NewDecoder(bytes.NewReader(b))}
	if !utf8.Valid(b) {
		return nil, fault.New(fault.Usage, "%s: the document is not UTF-8", r.position(invalidAt(b)).at())
	}
	r.decoder.UseNumber()
	n, err := r.value(0)
	if err != nil {
		return nil, err
	}
	after := r.position(r.start())
	if _, err := r.decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, fault.New(fault.Usage, "%s: something follows the document", after.at()).
			Hint("give one JSON document alone")
	}
	return n, nil
}

// A reader walks over a document, and knows where it is.
type reader struct {
	text    []byte
	decoder *json.Decoder
	// What position knows already, so that it reads the document once.
	known position
	upto  int
}

// start is where the next token begins.
func (r *reader) start() int {
	i := int(r.decoder.InputOffset())
	for i < len(r.text) && strings.IndexByte(" \t\r\n,:", r.text[i]) >= 0 {
		i++
	}
	return i
}

func (r *reader) position(offset int) position {
	offset = min(offset, len(r.text))
	if offset < r.upto || r.known.line == 0 {
		r.known, r.upto = position{1, 1}, 0
	}
	for ; r.upto < offset; r.upto++ {
		r.known.column++
		if r.text[r.upto] == '\n' {
			r.known = position{r.known.line + 1, 1}
		}
	}
	return r.known
}

func (r *reader) next() (json.Token, position, error) {
	start := r.start()
	at := r.position(start)
	t, err := r.decoder.Token()
	if err == nil {
		return t, at, nil
	}
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return nil, at, fault.New(fault.Usage, "%s: not JSON: %s", r.position(max(start, int(syntax.Offset)-1)).at(), syntax.Error())
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, at, fault.New(fault.Usage, "%s: not JSON: it ends too early", r.position(len(r.text)).at())
	}
	return nil, at, fault.New(fault.Usage, "%s: not JSON", at.at())
}

func (r *reader) value(depth int) (*node, error) {
	t, at, err := r.next()
	if err != nil {
		return nil, err
	}
	if depth > maxDepth {
		return nil, fault.New(fault.Usage, "%s: nested deeper than %d levels", at.at(), maxDepth)
	}
	n := &node{position: at}
	switch v := t.(type) {
	case json.Delim:
		return n, r.inside(n, v, depth)
	case string:
		n.kind, n.text = text, v
	case json.Number:
		n.kind, n.text = number, v.String()
	case bool:
		n.kind, n.text = boolean, fmt.Sprint(v)
	default:
		n.kind, n.text = null, "null"
	}
	return n, nil
}

// inside reads the members of an object or the items of a list.
func (r *reader) inside(n *node, open json.Delim, depth int) error {
	n.kind = array
	if open == '{' {
		n.kind = object
	}
	for r.decoder.More() {
		m := member{position: r.position(r.start())}
		if n.kind == object {
			name, _, err := r.next()
			if err != nil {
				return err
			}
			m.name, _ = name.(string)
		}
		v, err := r.value(depth + 1)
		if err != nil {
			return err
		}
		if m.value = v; n.kind == object {
			n.members = append(n.members, m)
		} else {
			n.items = append(n.items, v)
		}
	}
	_, _, err := r.next() // the end, or what is wrong
	return err
}

func invalidAt(b []byte) int {
	for i := 0; i < len(b); {
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return len(b)
}
