package shell

import (
	"errors"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/child"
)

// A Letter is a byte of a word. One that was quoted means itself alone.
type Letter struct {
	Byte   byte
	Quoted bool
}

// A Lexeme is a word as a shell reads it, which still knows what was quoted.
type Lexeme []Letter

// ErrQuote says that a quote is open at the end of a text, or a backslash is its end.
var ErrQuote = errors.New("a quote is not closed")

// Statements reads a text as a shell reads words: white space separates them, single
// and double quotes and a backslash keep what is special from being so, and a line
// that ends in a backslash goes on in the next. Unlike a shell's, a backslash before a
// letter or digit outside quotes stays, for paths of Windows have it. Line breaks and semicolons separate
// statements; a semicolon within a word does so only with tight. Nothing is expanded.
func Statements(text string, tight bool) ([][]Lexeme, error) {
	l := lexer{text: text, tight: tight}
	for l.at = 0; l.at < len(text); l.at++ {
		if !l.next(text[l.at]) {
			return nil, ErrQuote
		}
	}
	l.endStatement()
	return l.statements, nil
}

type lexer struct {
	text       string
	at         int
	tight      bool
	word       Lexeme
	begun      bool
	words      []Lexeme
	statements [][]Lexeme
}

// next reads what begins with c; it is false where that has no end.
func (l *lexer) next(c byte) bool {
	switch {
	case c == '\n':
		l.endStatement()
	case strings.IndexByte(" \t\r\v\f", c) >= 0:
		l.endWord()
	case c == ';' && (l.tight || !l.begun || l.separates(l.at+1)):
		l.endStatement()
	case c == '\'' || c == '"':
		return l.quoted(c)
	case c == '\\':
		l.at++
		if l.at == len(l.text) {
			return false
		}
		switch c = l.text[l.at]; {
		case c == '\n':
		case child.IsName("_" + string(rune(c))): // C:\dir is what it says
			l.add('\\', true)
			l.add(c, false)
		default:
			l.add(c, true)
		}
	default:
		l.add(c, c == ';')
	}
	return true
}

func (l *lexer) separates(at int) bool {
	return at == len(l.text) || strings.IndexByte(" \t\r\v\f\n", l.text[at]) >= 0
}

// quoted reads up to the closing quote. Within double quotes a backslash takes the
// meaning of what a shell gives one there.
func (l *lexer) quoted(quote byte) bool {
	l.begun = true
	for l.at++; l.at < len(l.text); l.at++ {
		c := l.text[l.at]
		switch {
		case c == quote:
			return true
		case quote == '"' && c == '\\' && l.at+1 < len(l.text) && strings.IndexByte("\"\\$`\n", l.text[l.at+1]) >= 0:
			l.at++
			if l.text[l.at] != '\n' {
				l.add(l.text[l.at], true)
			}
		default:
			l.add(c, true)
		}
	}
	return false
}

func (l *lexer) add(c byte, quoted bool) {
	l.word, l.begun = append(l.word, Letter{c, quoted}), true
}

func (l *lexer) endWord() {
	if l.begun {
		l.words = append(l.words, l.word)
	}
	l.word, l.begun = nil, false
}

func (l *lexer) endStatement() {
	l.endWord()
	if len(l.words) > 0 {
		l.statements = append(l.statements, l.words)
	}
	l.words = nil
}

// String is the word without its quotes.
func (w Lexeme) String() string {
	b := make([]byte, len(w))
	for i, l := range w {
		b[i] = l.Byte
	}
	return string(b)
}

// Cut splits the word at the first letter c that was not quoted.
func (w Lexeme) Cut(c byte) (before, after Lexeme, found bool) {
	for i, l := range w {
		if l.Byte == c && !l.Quoted {
			return w[:i], w[i+1:], true
		}
	}
	return w, nil, false
}

// CutLast splits the word at the last letter c that was not quoted.
func (w Lexeme) CutLast(c byte) (before, after Lexeme, found bool) {
	for i := len(w) - 1; i >= 0; i-- {
		if w[i].Byte == c && !w[i].Quoted {
			return w[:i], w[i+1:], true
		}
	}
	return w, nil, false
}

// CutSuffix takes a suffix off that was not quoted.
func (w Lexeme) CutSuffix(suffix string) (before Lexeme, found bool) {
	n := len(w) - len(suffix)
	if n < 0 || w[n:].String() != suffix {
		return w, false
	}
	for _, l := range w[n:] {
		if l.Quoted {
			return w, false
		}
	}
	return w[:n], true
}

// Is says whether the word is this text, and nothing of it was quoted.
func (w Lexeme) Is(text string) bool {
	rest, ok := w.CutSuffix(text)
	return ok && len(rest) == 0
}

// Quote writes the word so that Statements reads it again.
func (w Lexeme) Quote() string {
	if len(w) == 0 {
		return "''"
	}
	var b strings.Builder
	open := false
	for _, l := range w {
		quote := l.Quoted && l.Byte != '\''
		if quote != open {
			b.WriteByte('\'')
			open = quote
		}
		if l.Quoted && !quote {
			b.WriteByte('\\')
		}
		b.WriteByte(l.Byte)
	}
	if open {
		b.WriteByte('\'')
	}
	return b.String()
}

// Literal is a word that means nothing but this text: what a shell, or a grammar of
// ours, could take for more is quoted.
func Literal(text string) Lexeme {
	w := make(Lexeme, len(text))
	for i := range len(text) {
		c := text[i]
		safe := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("_-.,+/%", c) >= 0
		w[i] = Letter{c, !safe}
	}
	return w
}
