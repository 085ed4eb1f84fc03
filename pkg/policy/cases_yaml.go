package policy

import (
	"errors"
	"fmt"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// A case file is checked in, and may be a stranger's pull request: the library
// takes gigabytes for a kilobyte of brackets or of aliases, and its recursion ends
// the program where the stack does.
const (
	maxCases     = 256 << 10 // bytes; the library's work grows with their square
	maxCaseWords = 20_000    // tokens, and values when aliases are followed
	maxCaseDepth = 32        // a claim nests a level or two, the file 7
)

func parseCases(b []byte) (CaseFile, error) {
	var f CaseFile
	if len(b) > maxCases {
		return f, fault.New(fault.Usage, "the file has %d bytes, more than the %d that are read", len(b), maxCases)
	}
	if err := tameCases(b); err != nil {
		return f, err
	}
	if err := yaml.UnmarshalWithOptions(b, &f, yaml.Strict()); err != nil {
		return f, notCases(err)
	}
	return f, nil
}

// notCases says where the library's error is, where it knows.
func notCases(err error) error {
	var at yaml.Error
	if errors.As(err, &at) && at.GetToken() != nil && at.GetToken().Position != nil {
		p := at.GetToken().Position
		return fault.New(fault.Usage, "line %d, column %d: %s", p.Line, p.Column, at.GetMessage())
	}
	return fault.New(fault.Usage, "not YAML of a case file")
}

func misplaced(t *token.Token, format string, args ...any) *fault.Error {
	return fault.New(fault.Usage, "line %d, column %d: %s", t.Position.Line, t.Position.Column, fmt.Sprintf(format, args...))
}

// tameCases refuses what the library would take for ever for.
func tameCases(b []byte) error {
	tokens := lexer.Tokenize(string(b))
	if len(tokens) > maxCaseWords {
		return misplaced(tokens[maxCaseWords], "the file has more words and signs of YAML than are read")
	}
	open, inLine, line := 0, 0, 0
	for _, t := range tokens {
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			open++
		case token.SequenceEndType, token.MappingEndType:
			open--
		case token.SequenceEntryType, token.MappingKeyType, token.MappingValueType:
			if t.Position.Line != line {
				line, inLine = t.Position.Line, 0
			}
			inLine++
		case token.TagType:
			// The library's decoder panics on some ("documents: ! 0"), and no value here needs one.
			return misplaced(t, "the tag %s is not taken", t.Value).Hint("write the value alone, in quotes where it is text")
		}
		if open > maxCaseDepth || inLine > maxCaseDepth {
			return misplaced(t, "nested too deep")
		}
	}
	file, err := parser.Parse(tokens, 0)
	if err != nil {
		return notCases(err)
	}
	w := weigher{anchors: map[string]int{}}
	for _, d := range file.Docs {
		if d.Body != nil {
			ast.Walk(&w, d.Body)
		}
	}
	if w.nodes > maxCaseWords {
		return fault.New(fault.Usage, "the file's aliases (*) make it too large")
	}
	return nil
}

// A weigher counts the values of a file, those that aliases stand for included.
type weigher struct {
	anchors map[string]int // the values in each, so far
	nodes   int            // at most maxCaseWords+1: doubling overflows soon
}

// Visit counts a node. It is how ast.Walk reports the nodes, in their order.
func (w *weigher) Visit(n ast.Node) ast.Visitor {
	switch v := n.(type) {
	case *ast.AnchorNode:
		in := weigher{anchors: w.anchors}
		ast.Walk(&in, v.Value)
		w.anchors[v.Name.GetToken().Value] = in.nodes
		w.add(in.nodes)
		return nil
	case *ast.AliasNode:
		w.add(w.anchors[v.Value.GetToken().Value])
	}
	w.add(1)
	return w
}

func (w *weigher) add(n int) { w.nodes = min(w.nodes+n, maxCaseWords+1) }
