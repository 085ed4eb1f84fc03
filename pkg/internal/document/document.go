package document

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
	// MaxDocument is far above every cloud's limit (AWS: 4 KiB of trust policy).
	MaxDocument = 1 << 20
	// MaxDepth is how deep a document may be nested.
	MaxDepth = 64
)

// kind is the type of a JSON value (RFC 8259 §3).
type kind string

// The kinds of a value.
const (
	Object  kind = "an object"
	Array   kind = "a list"
	Text    kind = "text"
	Number  kind = "a number"
	Boolean kind = "true or false"
	Null    kind = "null"
)

// A Node is a JSON value that knows where it stands in its document.
type Node struct {
	Kind    kind
	Text    string // of Text; the literal of a Number, a Boolean and Null
	Members []Member
	Items   []*Node
	Served  bool // it is the data of a server's answer
	Position
}

// A Member is one of an object: its name, where that stands, and its value.
type Member struct {
	Name  string
	Value *Node
	Position
}

// Position is a place in a document, both from 1. Columns count bytes.
type Position struct{ Line, Column int }

// At is the place in words.
func (p Position) At() string { return fmt.Sprintf("line %d, column %d", p.Line, p.Column) }

// Get returns the last Member of that name, or nil.
func (n *Node) Get(name string) *Node {
	for i := len(n.Members) - 1; i >= 0; i-- {
		if n.Members[i].Name == name {
			return n.Members[i].Value
		}
	}
	return nil
}

// List returns the items of a list, and any other value as a list of itself: in
// policies the two mean the same.
func (n *Node) List() []*Node {
	if n.Kind == Array {
		return n.Items
	}
	return []*Node{n}
}

// Duplicate returns the first Member anywhere below whose name its Object has
// already. Readers disagree about which of the two counts.
func (n *Node) Duplicate() *Member {
	seen := map[string]bool{}
	for i := range n.Members {
		m := &n.Members[i]
		if seen[m.Name] {
			return m
		}
		seen[m.Name] = true
		if d := m.Value.Duplicate(); d != nil {
			return d
		}
	}
	for _, item := range n.Items {
		if d := item.Duplicate(); d != nil {
			return d
		}
	}
	return nil
}

// Any returns the value as Go's decoder would, numbers as json.Number.
func (n *Node) Any() any {
	switch n.Kind {
	case Object:
		m := make(map[string]any, len(n.Members))
		for _, member := range n.Members {
			m[member.Name] = member.Value.Any()
		}
		return m
	case Array:
		all := make([]any, len(n.Items))
		for i, item := range n.Items {
			all[i] = item.Any()
		}
		return all
	case Text:
		return n.Text
	case Number:
		return json.Number(n.Text)
	case Boolean:
		return n.Text == "true"
	}
	return nil
}

// Parse reads one JSON document. An error is a fault.Usage with line
// and column, and shows nothing of the document but single characters.
func Parse(b []byte) (*Node, error) {
	b = bytes.TrimPrefix(b, []byte("\ufeff"))
	switch {
	case len(b) > MaxDocument:
		return nil, fault.New(fault.Usage, "the document has %d bytes, more than the %d that are read", len(b), MaxDocument)
	case len(bytes.TrimSpace(b)) == 0:
		return nil, fault.New(fault.Usage, "the document is empty")
	}
	r := &reader{text: b, decoder: json.NewDecoder(bytes.NewReader(b))}
	if !utf8.Valid(b) {
		return nil, fault.New(fault.Usage, "%s: the document is not UTF-8", r.position(invalidAt(b)).At())
	}
	r.decoder.UseNumber()
	n, err := r.value(0)
	if err != nil {
		return nil, err
	}
	after := r.position(r.start())
	if _, err := r.decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, fault.New(fault.Usage, "%s: something follows the document", after.At()).
			Hint("give one JSON document alone")
	}
	return n, nil
}

// A reader walks over a document, and knows where it is.
type reader struct {
	text    []byte
	decoder *json.Decoder
	// What Position knows already, so that it reads the document once.
	known Position
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

func (r *reader) position(offset int) Position {
	offset = min(offset, len(r.text))
	if offset < r.upto || r.known.Line == 0 {
		r.known, r.upto = Position{1, 1}, 0
	}
	for ; r.upto < offset; r.upto++ {
		r.known.Column++
		if r.text[r.upto] == '\n' {
			r.known = Position{r.known.Line + 1, 1}
		}
	}
	return r.known
}

func (r *reader) next() (json.Token, Position, error) {
	start := r.start()
	at := r.position(start)
	t, err := r.decoder.Token()
	if err == nil {
		return t, at, nil
	}
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return nil, at, fault.New(fault.Usage, "%s: not JSON: %s", r.position(max(start, int(syntax.Offset)-1)).At(), syntax.Error())
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, at, fault.New(fault.Usage, "%s: not JSON: it ends too early", r.position(len(r.text)).At())
	}
	return nil, at, fault.New(fault.Usage, "%s: not JSON", at.At())
}

func (r *reader) value(depth int) (*Node, error) {
	t, at, err := r.next()
	if err != nil {
		return nil, err
	}
	if depth > MaxDepth {
		return nil, fault.New(fault.Usage, "%s: nested deeper than %d levels", at.At(), MaxDepth)
	}
	n := &Node{Position: at}
	switch v := t.(type) {
	case json.Delim:
		return n, r.inside(n, v, depth)
	case string:
		n.Kind, n.Text = Text, v
	case json.Number:
		n.Kind, n.Text = Number, v.String()
	case bool:
		n.Kind, n.Text = Boolean, fmt.Sprint(v)
	default:
		n.Kind, n.Text = Null, "null"
	}
	return n, nil
}

// inside reads the members of an Object or the items of a list.
func (r *reader) inside(n *Node, open json.Delim, depth int) error {
	n.Kind = Array
	if open == '{' {
		n.Kind = Object
	}
	for r.decoder.More() {
		m := Member{Position: r.position(r.start())}
		if n.Kind == Object {
			name, _, err := r.next()
			if err != nil {
				return err
			}
			m.Name, _ = name.(string)
		}
		v, err := r.value(depth + 1)
		if err != nil {
			return err
		}
		if m.Value = v; n.Kind == Object {
			n.Members = append(n.Members, m)
		} else {
			n.Items = append(n.Items, v)
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
