package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

const (
	// shortestRun is how many characters of a secret in a row are a leak: as many as
	// the program itself lets nobody see.
	shortestRun = 16
	chunkSize   = 8
)

// Needles find secrets in a text: whole, or 16 characters of them in a row, as they
// are and as programs write them down.
type needles struct {
	known  map[string]bool
	chunks map[[chunkSize]byte][]needlePlace
}

// A needlePlace is where in which form of a secret a chunk is.
type needlePlace struct {
	form, how string
	at        int
}

func newNeedles() *needles {
	return &needles{known: map[string]bool{}, chunks: map[[chunkSize]byte][]needlePlace{}}
}

// add adds secrets. Of a token with three parts it is the second and the third: the
// first says the same in all.
func (n *needles) add(all ...string) {
	for _, s := range all {
		for _, piece := range secretPieces(s) {
			if piece == s && strings.HasPrefix(s, "eyJ") {
				continue
			}
			for how, form := range written(piece) {
				if len(form) < chunkSize || n.known[form] {
					continue
				}
				n.known[form] = true
				for at := 0; at+chunkSize <= len(form); at += chunkSize {
					key := [chunkSize]byte([]byte(form[at:]))
					n.chunks[key] = append(n.chunks[key], needlePlace{form, how, at})
				}
			}
		}
	}
}

// written are the ways to write a secret down, by their names.
func written(s string) map[string]string {
	asJSON, _ := json.Marshal(s)
	forms := map[string]string{
		"as it is": s, "escaped for a URL": url.QueryEscape(s), "escaped for a path": url.PathEscape(s),
		"as JSON": strings.Trim(string(asJSON), `"`), "as PHP's JSON": strings.ReplaceAll(s, "/", `\/`),
		"in quotes": strings.Trim(strconv.Quote(s), `"`), "in hexadecimal": hex.EncodeToString([]byte(s)),
	}
	// What stands before a secret moves it within base64's groups of three bytes; the
	// characters that it shares with its neighbours are not its own.
	for shift := range 3 {
		moved := append(make([]byte, shift), s...)
		moved = moved[:len(moved)/3*3]
		skip := (shift*8 + 5) / 6
		if len(moved) == 0 {
			continue
		}
		forms["in base64, moved by "+strconv.Itoa(shift)] = base64.StdEncoding.EncodeToString(moved)[skip:]
		forms["in base64 of URLs, moved by "+strconv.Itoa(shift)] = base64.URLEncoding.EncodeToString(moved)[skip:]
	}
	return forms
}

// find says how a secret is written in the text, and "" where none is.
func (n *needles) find(text []byte) (how string) {
	for i := 0; i+chunkSize <= len(text); i++ {
		for _, p := range n.chunks[[chunkSize]byte(text[i:])] {
			from, to := p.at, p.at+chunkSize
			for from > 0 && i-(p.at-from) > 0 && text[i-(p.at-from)-1] == p.form[from-1] {
				from--
			}
			for to < len(p.form) && i+to-p.at < len(text) && text[i+to-p.at] == p.form[to] {
				to++
			}
			if to-from >= min(shortestRun, len(p.form)) {
				return p.how
			}
		}
	}
	return ""
}

// What looks for leaks has to find them.
func TestNeedles(t *testing.T) {
	const secret = `wJalrXUtnFEMI/K7MDENG+bPxRfi"CY<EXAMPLE>KEY`
	token := "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJvcmcveC9wcm9qZWN0L3kifQ.c2lnbmF0dXJlc2lnbmF0dXJl"
	n := newNeedles()
	n.add(secret, token, marker)
	for _, how := range []func(string) string{
		func(s string) string { return s },
		url.QueryEscape, url.PathEscape, strconv.Quote,
		func(s string) string { b, _ := json.Marshal(s); return string(b) },
		func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
		func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte("a" + s + "b")) },
		func(s string) string { return base64.StdEncoding.EncodeToString([]byte("ab" + s)) },
		func(s string) string { return hex.EncodeToString([]byte(s)) },
	} {
		for _, s := range []string{secret, secret[:23], secret[20:], token, token[30:54], token[len(token)-20:], marker} {
			if text := "before " + how(s) + " after"; n.find([]byte(text)) == "" {
				t.Errorf("not found in %s", text)
			}
		}
	}
	for i := range len(secret) - shortestRun + 1 {
		if n.find([]byte(secret[i:i+shortestRun])) == "" {
			t.Errorf("not found: 16 characters from the one at %d", i)
		}
	}
	for _, text := range []string{
		"", "nothing", secret[:shortestRun-1] + "." + secret[shortestRun:2*shortestRun-1], token[:20],
		marker[1:], string(bytes.Repeat([]byte("eyJzdWIi "), 9)),
	} {
		if how := n.find([]byte(text)); how != "" {
			t.Errorf("found %s in %q", how, text)
		}
	}
}
