package cli

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/shell"
)

// The library scans and parses YAML; what the nodes mean is read here. Its own
// decoder passes over empty values, keeps no place of a value to name, and takes
// account ids for numbers, which lose their zeros.

const (
	// maxYAML bounds the file: a mebibyte of brackets keeps the library busy for
	// three seconds.
	maxYAML = 256 << 10
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

// given says that the file has a value for the key.
func (e entry) given() bool { return e.at.line > 0 }

func (e entry) content() entry { return e }

// or is where the entry stands, or where it would.
func (e entry) or(at place) place {
	if e.given() {
		return e.at
	}
	return at
}

// A mapping of the file is read into a struct whose tags are its keys. It says
// what it is, for messages, and knows where it stands.
type mapping interface {
	what() string
	place() *place
}

// standing is where a mapping stands.
type standing struct{ at place }

func (s *standing) place() *place { return &s.at }

// misplacement is what is wrong at a place in the file.
type misplacement struct {
	at   place
	text string
}

func (m misplacement) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", m.at.line, m.at.column, m.text)
}

func misplaced(at place, format string, args ...any) *fault.Error {
	return fault.New(fault.Usage, "%w", misplacement{at, fmt.Sprintf(format, args...)})
}

// readYAML fills a struct from the one document of a file. Every error is a
// fault.Usage that says where.
func readYAML(b []byte, into mapping) error {
	text, err := decodedText(b)
	if err != nil {
		return err
	}
	root, err := parseYAML(text)
	if err != nil {
		return err
	}
	r := &yamlReader{anchors: map[string]ast.Node{}, aliases: map[*ast.AliasNode]ast.Node{}, left: maxVisits}
	ast.Walk(r, root)
	return r.into(slot{Value: reflect.ValueOf(into).Elem()}, root)
}

// decodedText returns the file as text whose lines end in LF, or says where it holds
// what YAML allows in no file (YAML 1.2 §5.1), which the library passes over.
func decodedText(b []byte) (string, error) {
	at := place{1, 1}
	if len(b) > maxYAML {
		return "", misplaced(at, "the file has more than the %d bytes that are read", maxYAML)
	}
	text := strings.TrimPrefix(string(b), "\ufeff")
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text) // as YAML has it (§5.4)
	for i, c := range text {
		_, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case c == utf8.RuneError && size == 1:
			return "", misplaced(at, "a byte that is not UTF-8").Hint("save the file as UTF-8")
		case c == '\n':
			at = place{at.line + 1, 1}
			continue
		case c == '\t', c == '\u0085': // EBCDIC's next line
		case unicode.IsControl(c), c == '\ufeff', c == '\ufffe', c == '\uffff':
			return "", misplaced(at, "the character U+%04X, which YAML allows in no file", c)
		}
		at.column++
	}
	return text, nil
}

// parseYAML returns the file's one document.
func parseYAML(text string) (ast.Node, error) {
	tokens := lexer.Tokenize(text)
	if err := boundedTokens(tokens); err != nil {
		return nil, err
	}
	file, err := parser.Parse(tokens, 0)
	var at yaml.Error
	switch {
	case errors.As(err, &at) && at.GetToken() != nil:
		place := placeOf(at.GetToken())
		if indentedByTab(text, place.line) {
			return nil, misplaced(place, "a tab indents this line, which YAML does not allow").Hint("indent with spaces")
		}
		return nil, misplaced(place, "%s", strings.ReplaceAll(at.GetMessage(), "\t", `\t`))
	case err != nil:
		return nil, misplaced(place{1, 1}, "the file is not YAML")
	}
	var root ast.Node
	for _, d := range file.Docs {
		if _, directive := d.Body.(*ast.DirectiveNode); directive || d.Body == nil {
			continue
		}
		if root != nil {
			return nil, misplaced(placeOfNode(d.Body), "a second document begins").Hint("a file is one document: take out the line ---")
		}
		root = d.Body
	}
	if root == nil {
		return nil, misplaced(place{1, 1}, "the file is empty").Hint("it begins with version: %s; see docs/configuration.md", applyVersion)
	}
	return root, nil
}

// indentedByTab says whether a tab is in the white space that a line begins with.
func indentedByTab(text string, number int) bool {
	lines := strings.Split(text, "\n")
	if number < 1 || number > len(lines) {
		return false
	}
	line := lines[number-1]
	return strings.Contains(line[:len(line)-len(strings.TrimLeft(line, " \t"))], "\t")
}

// boundedTokens refuses what the parser would take forever for.
func boundedTokens(tokens token.Tokens) error {
	if len(tokens) > maxWords {
		return misplaced(placeOf(tokens[maxWords]), "the file has more words and signs of YAML than the %d that are read", maxWords)
	}
	open, inLine, line := 0, 0, 0
	for _, t := range tokens {
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			open++
		case token.SequenceEndType, token.MappingEndType:
			open--
		case token.SequenceEntryType, token.MappingKeyType:
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
	switch m := n.(type) {
	case *ast.MappingNode:
		if !m.IsFlowStyle && len(m.Values) > 0 {
			return placeOf(m.Values[0].Key.GetToken())
		}
	case *ast.MappingValueNode:
		return placeOf(m.Key.GetToken())
	}
	return placeOf(n.GetToken())
}

// A yamlReader reads nodes into values.
type yamlReader struct {
	anchors map[string]ast.Node         // by name, so far
	aliases map[*ast.AliasNode]ast.Node // what each stands for; nil: nothing
	left    int                         // how many nodes it may visit yet
}

// Visit notes what aliases stand for: the last anchor of their name before them.
// It is how ast.Walk reports the nodes, in their order.
func (r *yamlReader) Visit(n ast.Node) ast.Visitor {
	switch v := n.(type) {
	case *ast.AnchorNode:
		r.anchors[v.Name.GetToken().Value] = v.Value
	case *ast.AliasNode:
		r.aliases[v] = r.anchors[v.Value.GetToken().Value]
	}
	return r
}

// resolve follows anchors and aliases to the node that they stand for.
func (r *yamlReader) resolve(n ast.Node) (ast.Node, error) {
	for {
		if r.left--; r.left < 0 {
			return nil, misplaced(placeOfNode(n), "the file's aliases (*) make it too large: one of them may stand for what it is in")
		}
		switch v := n.(type) {
		case *ast.AnchorNode:
			n = v.Value
		case *ast.AliasNode:
			if n = r.aliases[v]; n == nil {
				return nil, misplaced(placeOf(v.Start), "there is no anchor &%s before it", v.Value.GetToken().Value)
			}
		case *ast.TagNode:
			return nil, misplaced(placeOfNode(v), "the tag %s is not taken", v.GetToken().Value).Hint("write the value alone, in quotes where it is text")
		default:
			return n, nil
		}
	}
}

// A slot is where a value of the file goes.
type slot struct {
	reflect.Value
	name    string   // the key
	raw     bool     // the value may hold what looks like a variable
	item    bool     // of a list: the text may be several, and have several lines
	choices []string // the values that there are; nil: any
	decides string   // what an author who is not trusted may not decide; "": nothing
	from    []string // the option or the variables by which the job does
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
	case mapping:
		return r.mapping(to, v, n)
	}
	return r.list(to, n)
}

// list reads a sequence. A value alone is a list of one, a mapping is not.
func (r *yamlReader) list(to slot, n ast.Node) error {
	items := []ast.Node{n}
	if s, ok := n.(*ast.SequenceNode); ok {
		items = s.Values
	} else if _, mappings := reflect.New(to.Type().Elem()).Interface().(mapping); mappings {
		return misplaced(placeOfNode(n), "%s: a list is wanted", to.name).Hint("each of its items begins with -")
	}
	if len(items) == 0 {
		return misplaced(placeOfNode(n), "%s is an empty list", to.name).Hint("leave it out")
	}
	for _, item := range items {
		one := to
		one.Value, one.item = reflect.New(to.Type().Elem()).Elem(), true
		if err := r.into(one, item); err != nil {
			return err
		}
		if err := one.appendTo(to.Value); err != nil {
			return err
		}
	}
	return nil
}

// mapping reads a mapping into a struct.
func (r *yamlReader) mapping(to slot, v mapping, n ast.Node) error {
	pairs, err := r.pairs(v, n)
	if err != nil {
		return err
	}
	*v.place() = placeOfNode(n)
	fields := map[string]slot{}
	var keys []string
	eachKey(to.Value, func(s slot) {
		fields[s.name] = s
		keys = append(keys, s.name)
	})
	for _, p := range pairs {
		field, known := fields[p.name]
		if !known {
			e := misplaced(p.at, "%s has no key %q", v.what(), p.name)
			if near := nearest(strings.ToLower(strings.ReplaceAll(p.name, "_", "-")), keys); len(near) > 0 {
				e.Hint("did you mean %s?", strings.Join(near, ", or "))
			}
			return e.Hint("its keys are %s", strings.Join(keys, ", "))
		}
		if err := r.into(field, p.value); err != nil {
			return err
		}
	}
	return nil
}

// eachKey visits the fields of a struct that are keys, in its order.
func eachKey(v reflect.Value, visit func(slot)) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if name := f.Tag.Get("yaml"); name != "" {
			visit(slot{Value: v.Field(i), name: name, raw: f.Tag.Get("leave") != "", choices: strings.Fields(f.Tag.Get("oneof")),
				decides: f.Tag.Get("decides"), from: strings.Fields(f.Tag.Get("from"))})
		} else if f.Anonymous && f.Type.Kind() == reflect.Struct {
			eachKey(v.Field(i), visit)
		}
	}
}

// A pair is a key of a mapping with its value.
type pair struct {
	name  string
	at    place
	value ast.Node
}

// pairs are those of a mapping. Its own keys win over those that it merges (<<).
func (r *yamlReader) pairs(v mapping, n ast.Node) ([]pair, error) {
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
		if slices.ContainsFunc(own, p.same) {
			return nil, misplaced(p.at, "%s has the key %q twice", v.what(), p.name)
		}
		own = append(own, p)
	}
	for _, p := range merged { // of several, the first wins
		if !slices.ContainsFunc(own, p.same) {
			own = append(own, p)
		}
	}
	return own, nil
}

func (p pair) same(other pair) bool { return p.name == other.name }

// merged are the pairs of what << names: a mapping, or a list of them.
func (r *yamlReader) merged(v mapping, n ast.Node) ([]pair, error) {
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
		if _, single := n.(ast.ScalarNode); single && !strings.Contains(want, "true") {
			e.Hint("put it in quotes: YAML takes %s for something else", n.GetToken().Value)
		}
		return e
	}
	text := n.GetToken().Value
	if literal, ok := n.(*ast.LiteralNode); ok {
		text = literal.Value.Value
	}
	to.text, to.at = strings.TrimSpace(text), at
	if choice, ok := chosen(s.choices, to.text); ok {
		to.text = choice
	}
	return s.judge(*to)
}

// judge refuses values that no key takes.
func (s slot) judge(e entry) error {
	switch {
	case e.text == "":
		return misplaced(e.at, "%s is empty", s.name).Hint("leave it out to take its default")
	case ci.LooksLikeToken(e.text):
		// It would end up in a message, a file's name or the cloud's logs.
		return misplaced(e.at, "%s is given a token itself", s.name).
			Hint("a file that is checked in holds no token: token-env and token-file name where it is")
	case s.raw:
		return nil
	}
	if left := shell.Unexpanded(e.text); left != "" {
		return misplaced(e.at, "%s holds the literal text %s", s.name, left).
			Hint("nothing is expanded in this file; expand it before: circleci env subst < oidc-broker.yaml | oidc-broker apply --file -")
	}
	for _, c := range e.text {
		if !unicode.IsPrint(c) && (c != '\n' || !s.item) {
			return misplaced(e.at, "%s holds the character U+%04X", s.name, c).Hint("it is one line of text")
		}
	}
	if len(s.choices) > 0 && !slices.Contains(s.choices, e.text) {
		return misplaced(e.at, "%s %q is none of %s", s.name, e.text, strings.Join(s.choices, ", "))
	}
	return nil
}
