package cli

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/oidc-broker/oidc-broker/pkg/fault"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// The library scans and parses YAML; what the nodes mean is read here. Its own
// decoder passes over empty values, has no place of a value to name, and knows
// account ids as numbers, which lose their zeros.

const (
	// maxWords bounds the library's work, which grows with the square of the keys
	// of one mapping. 400 targets have half as many.
	maxWords = 20_000
	// maxNesting bounds the library's recursion: a stack that overflows ends the
	// program. What is asked for nests 4 deep.
	maxNesting = 32
	// maxVisits bounds what aliases can make of a small file.
	maxVisits = maxWords
)

// A place is where something stands in the file; the zero one is nowhere.
type place struct{ line, column int }

// An entry is text of the file, and where it stands.
type entry struct {
	text string
	at   place
}

// A number is an entry that need not be in quotes, like an account's id. It is
// taken as it is written: read as a number, it would lose zeros.
type number struct{ entry }

// A toggle is true or false.
type toggle struct {
	entry
	on bool
}

// described is a mapping of the file: it says what it is, for messages.
type described interface{ what() string }

func misplaced(at place, format string, args ...any) *fault.Error {
	return fault.New(fault.Usage, "line %d, column %d: %s", at.line, at.column, fmt.Sprintf(format, args...))
}

// readYAML fills a struct from the one document of a file. Every error is a
// fault.Usage that says where.
func readYAML(b []byte, into described) error {
	if len(b) >= maxDocument {
		return fault.New(fault.Usage, "the file has more than %d bytes", maxDocument-1)
	}
	text := strings.TrimPrefix(string(b), "\ufeff")
	tokens := lexer.Tokenize(text)
	if err := tame(tokens); err != nil {
		return err
	}
	file, err := parser.Parse(tokens, 0)
	var at yaml.Error
	switch {
	case errors.As(err, &at) && at.GetToken() != nil && at.GetToken().Position != nil:
		return misplaced(placeOf(at.GetToken()), "%s", at.GetMessage())
	case err != nil:
		return fault.New(fault.Usage, "the file is not YAML")
	}
	var root ast.Node
	for _, d := range file.Docs {
		switch {
		case d.Body == nil:
		case root != nil:
			return misplaced(placeOf(d.Body.GetToken()), "a second document begins").Hint("a file is one document: take out the line ---")
		default:
			root = d.Body
		}
	}
	if root == nil {
		return fault.New(fault.Usage, "the file is empty").Hint("it begins with version: 1; see docs/configuration.md")
	}
	r := &yamlReader{anchors: map[string]ast.Node{}, left: maxVisits}
	if err := r.collect(root); err != nil {
		return err
	}
	return r.into(slot{Value: reflect.ValueOf(into).Elem()}, root)
}

// tame refuses what the parser would take for ever for.
func tame(tokens token.Tokens) error {
	if len(tokens) > maxWords {
		return fault.New(fault.Usage, "the file has %d words and signs of YAML, more than the %d that are read", len(tokens), maxWords)
	}
	open, inLine, line := 0, 0, 0
	for _, t := range tokens {
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			open++
		case token.SequenceEndType, token.MappingEndType:
			open--
		case token.SequenceEntryType:
			if t.Position.Line != line {
				line, inLine = t.Position.Line, 0
			}
			inLine++
		}
		if open > maxNesting || inLine > maxNesting {
			return misplaced(placeOf(t), "nested more than %d deep", maxNesting)
		}
	}
	return nil
}

func placeOf(t *token.Token) place {
	if t == nil || t.Position == nil {
		return place{1, 1}
	}
	return place{t.Position.Line, t.Position.Column}
}

// placeOfNode is where a node begins.
func placeOfNode(n ast.Node) place {
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		return placeOf(m.Values[0].Key.GetToken())
	}
	return placeOf(n.GetToken())
}

// A yamlReader reads nodes into values.
type yamlReader struct {
	anchors map[string]ast.Node
	left    int // how many nodes it may visit yet
}

// Visit notes the anchors; it is how ast.Walk reports the nodes.
func (r *yamlReader) Visit(n ast.Node) ast.Visitor {
	if a, ok := n.(*ast.AnchorNode); ok && a.Name != nil {
		name := a.Name.GetToken().Value
		if r.anchors[name] != nil {
			r.left = 0 // collect says so
		}
		r.anchors[name] = a
	}
	return r
}

// collect finds the anchors. One that is there twice would mean another value in
// each place.
func (r *yamlReader) collect(root ast.Node) error {
	ast.Walk(r, root)
	if r.left == 0 {
		return fault.New(fault.Usage, "the file has two anchors (&) of one name")
	}
	return nil
}

// resolve follows anchors and aliases to the node that they stand for.
func (r *yamlReader) resolve(n ast.Node) (ast.Node, error) {
	for {
		if r.left--; r.left < 0 {
			return nil, misplaced(placeOfNode(n), "its aliases (*) make the file too large")
		}
		switch v := n.(type) {
		case *ast.AnchorNode:
			n = v.Value
		case *ast.AliasNode:
			name := v.Value.GetToken().Value
			a, ok := r.anchors[name].(*ast.AnchorNode)
			if !ok {
				return nil, misplaced(placeOfNode(v), "there is no anchor &%s", name)
			}
			n = a.Value
		case *ast.TagNode:
			return nil, misplaced(placeOfNode(v), "the tag %s is not taken", v.GetToken().Value).Hint("write the value alone, in quotes where it is text")
		case nil:
			return nil, fault.New(fault.Usage, "the file is not YAML")
		default:
			return n, nil
		}
	}
}

// A slot is where a value of the file goes.
type slot struct {
	reflect.Value
	name string // the key
	raw  bool   // the value may hold what looks like a variable
}

func (r *yamlReader) into(to slot, n ast.Node) error {
	n, err := r.resolve(n)
	if err != nil {
		return err
	}
	switch v := to.Addr().Interface().(type) {
	case *entry:
		return to.scalar(v, n, "text", isText)
	case *number:
		return to.scalar(&v.entry, n, "text or a whole number", isNumber)
	case *toggle:
		err := to.scalar(&v.entry, n, "true or false", isBool)
		v.on = strings.EqualFold(v.text, "true")
		return err
	case described:
		return r.mapping(to, v, n)
	}
	return r.list(to, n)
}

// list reads a sequence. A value alone is a list of one, a mapping is not.
func (r *yamlReader) list(to slot, n ast.Node) error {
	items := []ast.Node{n}
	if s, ok := n.(*ast.SequenceNode); ok {
		items = s.Values
	} else if _, mappings := reflect.New(to.Type().Elem()).Interface().(described); mappings {
		return misplaced(placeOfNode(n), "%s: a list is wanted", to.name).Hint("each of its items begins with -")
	}
	if len(items) == 0 {
		return misplaced(placeOfNode(n), "%s is an empty list", to.name).Hint("leave it out")
	}
	for _, item := range items {
		one := slot{reflect.New(to.Type().Elem()).Elem(), to.name, to.raw}
		if err := r.into(one, item); err != nil {
			return err
		}
		to.Set(reflect.Append(to.Value, one.Value))
	}
	return nil
}

// mapping reads a mapping into a struct, whose tags are the keys.
func (r *yamlReader) mapping(to slot, v described, n ast.Node) error {
	pairs, err := r.pairs(v, n)
	if err != nil {
		return err
	}
	to.FieldByName("At").Set(reflect.ValueOf(placeOfNode(n)))
	fields := map[string]slot{}
	for i := range to.NumField() {
		tag := to.Type().Field(i).Tag
		if name := tag.Get("yaml"); name != "" {
			fields[name] = slot{to.Field(i), name, tag.Get("leave") != ""}
		}
	}
	for _, p := range pairs {
		field, known := fields[p.name]
		if !known {
			return misplaced(p.at, "%s has no key %q", v.what(), p.name).Hint("its keys are %s", strings.Join(keysOf(to.Type()), ", "))
		}
		if err := r.into(field, p.value); err != nil {
			return err
		}
	}
	return nil
}

// keysOf are a struct's keys, in its order.
func keysOf(t reflect.Type) []string {
	var keys []string
	for i := range t.NumField() {
		if name := t.Field(i).Tag.Get("yaml"); name != "" {
			keys = append(keys, name)
		}
	}
	return keys
}

// A pair is a key of a mapping with its value.
type pair struct {
	name  string
	at    place
	value ast.Node
}

// pairs are those of a mapping. Its own keys win over those that it merges (<<).
func (r *yamlReader) pairs(v described, n ast.Node) ([]pair, error) {
	var values []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{m}
	default:
		return nil, misplaced(placeOfNode(n), "%s is a mapping: lines KEY: VALUE", v.what())
	}
	r.left -= len(values) // for those that are merged
	var own, merged []pair
	seen := map[string]bool{}
	for _, value := range values {
		if _, merge := value.Key.(*ast.MergeKeyNode); merge {
			more, err := r.merged(v, value.Value)
			if err != nil {
				return nil, err
			}
			merged = append(merged, more...)
			continue
		}
		p := pair{value.Key.GetToken().Value, placeOf(value.Key.GetToken()), value.Value}
		if seen[p.name] {
			return nil, misplaced(p.at, "%s has the key %q twice", v.what(), p.name)
		}
		seen[p.name] = true
		own = append(own, p)
	}
	for _, p := range merged { // of several, the first wins
		if !seen[p.name] {
			seen[p.name] = true
			own = append(own, p)
		}
	}
	return own, nil
}

// merged are the pairs of what << names: a mapping, or a list of them.
func (r *yamlReader) merged(v described, n ast.Node) ([]pair, error) {
	n, err := r.resolve(n)
	if err != nil {
		return nil, err
	}
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		return r.pairs(v, n)
	}
	var all []pair
	for _, item := range s.Values {
		item, err := r.resolve(item)
		if err != nil {
			return nil, err
		}
		more, err := r.pairs(v, item)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	return all, nil
}

func isText(n ast.Node) bool { return n.Type() == ast.StringType || n.Type() == ast.LiteralType }

func isNumber(n ast.Node) bool { return isText(n) || n.Type() == ast.IntegerType }

func isBool(n ast.Node) bool { return n.Type() == ast.BoolType }

// scalar reads one value, as it is written.
func (s slot) scalar(to *entry, n ast.Node, want string, is func(ast.Node) bool) error {
	at := placeOfNode(n)
	if n.Type() == ast.NullType {
		return misplaced(at, "%s is empty", s.name).Hint("leave it out to take its default")
	}
	if !is(n) {
		e := misplaced(at, "%s has to be %s", s.name, want)
		if _, single := n.(ast.ScalarNode); single && want == "text" {
			_ = e.Hint("put it in quotes")
		}
		return e
	}
	text := n.GetToken().Value
	if literal, ok := n.(*ast.LiteralNode); ok {
		text = literal.Value.Value
	}
	to.text, to.at = strings.TrimSpace(text), at
	switch {
	case to.text == "":
		return misplaced(at, "%s is empty", s.name).Hint("leave it out to take its default")
	case oidc.LooksLikeToken(to.text):
		// It would end up in a message, a file's name or the cloud's logs.
		return misplaced(at, "%s is given a token itself", s.name).
			Hint("a file that is checked in holds no token: token has token-env and token-file, which name where it is")
	case s.raw:
		return nil
	}
	if left := regexp.MustCompile(leftover).FindString(to.text); left != "" {
		return misplaced(at, "%s holds the literal text %s", s.name, left).
			Hint("nothing is expanded in this file: write the value, or expand it before, as by: circleci env subst < oidc-broker.yaml | oidc-broker apply --file -")
	}
	return nil
}
