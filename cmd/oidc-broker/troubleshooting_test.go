package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestTroubleshooting demands that docs/troubleshooting.md has a row for every
// error that the program can print, and none for one that it cannot. A row's
// first cell has one or more messages between backquotes; … stands for what
// differs from case to case.
func TestTroubleshooting(t *testing.T) {
	const name = "docs/troubleshooting.md"
	page, err := os.ReadFile(filepath.Join(repository(t), filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, row := range regexp.MustCompile(`(?m)^\| *(`+"`"+`.*?) \|`).FindAllStringSubmatch(strings.ReplaceAll(string(page), `\|`, "\x00"), -1) {
		for _, m := range regexp.MustCompile("``? ?(.+?) ?``?(?:<br>|$)").FindAllStringSubmatch(row[1], -1) {
			known[strings.ReplaceAll(m[1], "\x00", "|")] = true
		}
	}
	printed := messages(t, filepath.Join(repository(t), "pkg"))
	for _, m := range printed {
		if !known[m.text] {
			t.Errorf("%s: %s has no row for it:\n\t`%s`", m.at, name, m.text)
		}
	}
	for text := range known {
		if !slices.ContainsFunc(printed, func(m message) bool { return m.text == text }) {
			t.Errorf("%s has a row for what nobody prints:\n\t`%s`", name, text)
		}
	}
}

// A message is an error's text, with … for its values.
type message struct{ text, at string }

// forwarders are the functions that put something before a message that they are
// given, as fault.New's format.
func forwarders() map[string]string {
	return map[string]string{
		"fault.New":  "",
		"distrusted": "",
		"badLine":    "line %d: ",
		"badBlock":   "line %d: ",
		"malformed":  "the token in %s ",
		"misplaced":  "", // with line and column
		"mistake":    "", // with the target besides
	}
}

// messages finds the errors in the packages below a directory: the formats of
// fault.New and of what forwards to it, what remote.Failure says of a server, and
// the words by which the clouds' refusals are told apart.
func messages(t *testing.T, dir string) []message {
	t.Helper()
	files := token.NewFileSet()
	var all []message
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			for _, text := range errorTexts(t, files, n, filepath.ToSlash(path)) {
				if text = placeholders(text); regexp.MustCompile(`\pL\pL`).MatchString(text) {
					all = append(all, message{text, files.Position(n.Pos()).String()})
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// errorTexts are the messages in one node of a program's text.
func errorTexts(t *testing.T, files *token.FileSet, n ast.Node, path string) []string {
	t.Helper()
	switch n := n.(type) {
	case *ast.CallExpr:
		name := calledName(n.Fun)
		if name == "New" && strings.HasSuffix(path, "/fault/names.go") {
			name = "fault.New"
		}
		prefix, ok := forwarders()[name]
		if !ok {
			return nil
		}
		for i, arg := range n.Args {
			if text, ok := literal(arg); ok {
				return []string{prefix + withOptions(text, n.Args[i+1:])}
			}
			if name == "fault.New" && strings.Contains(source(files, arg), "format") {
				return nil // a forwarder's own
			}
		}
		t.Errorf("%s: an error whose message is no literal", files.Position(n.Pos()))
	case *ast.AssignStmt: // f.Why = "..."
		if s, ok := n.Lhs[0].(*ast.SelectorExpr); ok && s.Sel.Name == "Why" && len(n.Rhs) == 1 && !strings.Contains(path, "/cli/") && !strings.Contains(path, "/doctor/") {
			return []string{"… " + whole(n.Rhs[0])}
		}
	case *ast.KeyValueExpr:
		key, ok := n.Key.(*ast.Ident)
		switch text := whole(n.Value); {
		case !ok:
		case key.Name == "Why" && !strings.Contains(path, "/cli/") && !strings.Contains(path, "/doctor/"): // doctor gives reasons, too
			return []string{"… " + text}
		case key.Name == "text" && strings.HasSuffix(path, "/refusal.go"):
			return []string{text}
		}
	}
	return nil
}

// withOptions puts options, which are arguments of a format, into its text as flags.
func withOptions(format string, args []ast.Expr) string {
	n := -1
	return verb.ReplaceAllStringFunc(format, func(v string) string {
		if n++; n < len(args) {
			if call, ok := args[n].(*ast.CallExpr); ok && calledName(call.Fun) == "fault.Option" {
				if name, ok := literal(call.Args[0]); ok {
					return "--" + name
				}
			}
		}
		return v
	})
}

// verb is a verb of a format.
var verb = regexp.MustCompile(`%[-+#0]*[0-9.]*[a-zA-Z]`)

// calledName is how a call names its function.
func calledName(f ast.Expr) string {
	switch f := f.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		if x, ok := f.X.(*ast.Ident); ok && x.Name == "fault" {
			return "fault." + f.Sel.Name
		}
		return f.Sel.Name
	}
	return ""
}

func literal(e ast.Expr) (string, bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(l.Value)
	return text, err == nil
}

// whole is a text that is put together, with … for what is no literal.
func whole(e ast.Expr) string {
	if text, ok := literal(e); ok {
		return text
	}
	switch e := e.(type) {
	case *ast.BinaryExpr:
		return whole(e.X) + whole(e.Y)
	case *ast.CallExpr: // fmt.Sprintf
		if len(e.Args) > 0 {
			if text, ok := literal(e.Args[0]); ok {
				return text
			}
		}
	}
	return "…"
}

func source(files *token.FileSet, n ast.Node) string {
	b, err := os.ReadFile(files.Position(n.Pos()).Filename)
	if err != nil {
		return ""
	}
	return string(b[files.Position(n.Pos()).Offset:files.Position(n.End()).Offset])
}

// placeholders puts … for the verbs of a format.
func placeholders(format string) string {
	text := verb.ReplaceAllString(format, "…")
	text = regexp.MustCompile(`\{(--[a-z-]+)\}`).ReplaceAllString(text, "$1")
	return strings.TrimSpace(strings.ReplaceAll(text, "%%", "%"))
}
