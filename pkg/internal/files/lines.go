package files

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"sort"
)

const (
	// contextLines is how many lines on each side tell places apart that look alike.
	contextLines = 3
	// hintLength is what is kept of the digest of each of our lines: enough to see
	// that none of them is there, too little to guess a short secret by.
	hintLength, maxHints = 4, 1000
	// maxTable bounds the work of comparing lines that occur more than once.
	maxTable = 1 << 16
	// maxSearch bounds the bytes that looking for one hunk may hash.
	maxSearch = 1 << 30
	// The ends of a text, where a line of context would be.
	textBegin, textEnd = "^", "$"
)

// A hunk is a place where a text that we wrote is not what it would be without
// us. It holds digests, no byte of the text.
type hunk struct {
	At     int      `json:"at"`     // where our lines begin
	Length int      `json:"length"` // of our lines, in bytes
	Lines  int      `json:"lines"`
	Old    int      `json:"old"`            // bytes that were there before, in the undo file
	Ours   string   `json:"ours,omitempty"` // of our lines, without their line ends
	First  string   `json:"first,omitempty"`
	Hints  []string `json:"hints,omitempty"` // of our lines, the beginnings of their digests
	Above  []string `json:"above"`           // of the lines around ours, the nearest first
	Below  []string `json:"below"`
}

// hunksOf returns where text is not base, and what base has in those places, one
// after the other.
func hunksOf(base, text []byte) (all []hunk, old []byte) {
	start, baseEnd, textEnd := changedLines(base, text)
	a, b := splitLines(base[start:baseEnd]), splitLines(text[start:textEnd])
	var ix *lines
	i, j, at := 0, 0, start
	gap := func(nextI, nextJ int) {
		was, ours := bytes.Join(a[i:nextI], nil), bytes.Join(b[j:nextJ], nil)
		if len(was)+len(ours) > 0 {
			if ix == nil {
				ix = linesOf(text)
			}
			all = append(all, ix.hunk(at, len(ours), len(was)))
			old = append(old, was...)
		}
		i, j, at = nextI, nextJ, at+len(ours)
	}
	for _, m := range commonLines(a, b) {
		gap(m[0], m[1])
		at += len(b[j])
		i, j = i+1, j+1
	}
	gap(len(a), len(b))
	return all, old
}

// changedLines returns the lines in which two texts differ: from start to aEnd in
// a, to bEnd in b.
func changedLines(a, b []byte) (start, aEnd, bEnd int) {
	for start < len(a) && start < len(b) && a[start] == b[start] {
		start++
	}
	start = bytes.LastIndexByte(a[:start], '\n') + 1
	aEnd, bEnd = len(a), len(b)
	for aEnd > start && bEnd > start && a[aEnd-1] == b[bEnd-1] {
		aEnd--
		bEnd--
	}
	// Up to the end of the line, unless it is one already.
	rest := 0
	if aEnd > start && a[aEnd-1] != '\n' || bEnd > start && b[bEnd-1] != '\n' {
		if rest = bytes.IndexByte(a[aEnd:], '\n') + 1; rest == 0 {
			rest = len(a) - aEnd
		}
	}
	return start, aEnd + rest, bEnd + rest
}

// splitLines returns the lines of a text, with their ends.
func splitLines(text []byte) [][]byte {
	var all [][]byte
	for line := range bytes.Lines(text) {
		all = append(all, line)
	}
	return all
}

// commonLines returns pairs of equal lines, in order in both: first those that are
// there once on each side, as many of them as can be in order, and then what else
// is equal between them.
func commonLines(a, b [][]byte) [][2]int {
	type seen struct{ inA, inB, at int }
	byText := map[string]*seen{}
	for i, line := range a {
		s := byText[string(line)]
		if s == nil {
			s = &seen{}
			byText[string(line)] = s
		}
		s.inA++
		s.at = i
	}
	for _, line := range b {
		if s := byText[string(line)]; s != nil {
			s.inB++
		}
	}
	var once [][2]int
	for j, line := range b {
		if s := byText[string(line)]; s != nil && s.inA == 1 && s.inB == 1 {
			once = append(once, [2]int{s.at, j})
		}
	}
	var all [][2]int
	i, j := 0, 0
	for _, m := range append(ascending(once), [2]int{len(a), len(b)}) {
		for _, p := range longestCommon(a[i:m[0]], b[j:m[1]]) {
			all = append(all, [2]int{i + p[0], j + p[1]})
		}
		if m[0] < len(a) {
			all = append(all, m)
		}
		i, j = m[0]+1, m[1]+1
	}
	return all
}

// longestCommon returns the most pairs of equal lines that are in order in both,
// by the table that the textbooks have; none where that would be too large.
func longestCommon(a, b [][]byte) [][2]int {
	if len(a) == 0 || len(b) == 0 || len(a)*len(b) > maxTable {
		return nil
	}
	length := make([][]int, len(a)+1) // of what a[i:] and b[j:] have in common
	length[len(a)] = make([]int, len(b)+1)
	for i := len(a) - 1; i >= 0; i-- {
		length[i] = make([]int, len(b)+1)
		for j := len(b) - 1; j >= 0; j-- {
			if bytes.Equal(a[i], b[j]) {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	var all [][2]int
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch {
		case bytes.Equal(a[i], b[j]):
			all = append(all, [2]int{i, j})
			i, j = i+1, j+1
		case length[i+1][j] >= length[i][j+1]:
			i++
		default:
			j++
		}
	}
	return all
}

// ascending returns the longest part of the pairs, whose second numbers ascend, in
// which the first ones do too.
func ascending(pairs [][2]int) [][2]int {
	var ends []int // the pair with which the best part of each length ends
	before := make([]int, len(pairs))
	for k, p := range pairs {
		n := sort.Search(len(ends), func(n int) bool { return pairs[ends[n]][0] >= p[0] })
		before[k] = -1
		if n > 0 {
			before[k] = ends[n-1]
		}
		if n == len(ends) {
			ends = append(ends, k)
		} else {
			ends[n] = k
		}
	}
	var best [][2]int
	if len(ends) > 0 {
		for k := ends[len(ends)-1]; k >= 0; k = before[k] {
			best = append(best, pairs[k])
		}
	}
	slices.Reverse(best)
	return best
}

// lines is a text by its lines.
type lines struct {
	text  []byte
	at    []int    // where each begins, and the end
	short []string // of each, without its end
}

func linesOf(text []byte) *lines {
	ix := &lines{text: text}
	at := 0
	for line := range bytes.Lines(text) {
		ix.at = append(ix.at, at)
		ix.short = append(ix.short, digest(bare1(line))[:16])
		at += len(line)
	}
	ix.at = append(ix.at, len(text))
	return ix
}

// bare1 is a line without its end. Tools write CR LF for LF and the other way
// round, and add or drop the last one.
func bare1(line []byte) []byte {
	line = bytes.TrimSuffix(line, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r"))
}

// hunk describes the lines that begin at a byte.
func (ix *lines) hunk(at, length, old int) hunk {
	from, _ := slices.BinarySearch(ix.at, at)
	to, _ := slices.BinarySearch(ix.at, at+length)
	if length == 0 {
		to = from
	}
	h := hunk{At: at, Length: length, Lines: to - from, Old: old, Above: []string{}, Below: []string{}}
	if h.Lines > 0 {
		h.Ours, h.First = ix.digest(from, to), ix.short[from]
		for _, short := range ix.short[from:min(to, from+maxHints)] {
			h.Hints = append(h.Hints, short[:hintLength])
		}
	}
	for n := 1; n <= contextLines; n++ {
		if from-n < 0 {
			h.Above = append(h.Above, textBegin)
			break
		}
		h.Above = append(h.Above, ix.short[from-n])
	}
	for n := range contextLines {
		if to+n >= len(ix.short) {
			h.Below = append(h.Below, textEnd)
			break
		}
		h.Below = append(h.Below, ix.short[to+n])
	}
	return h
}

// digest is that of some lines, without their ends.
func (ix *lines) digest(from, to int) string {
	sum := sha256.New()
	for n := from; n < to; n++ {
		_, _ = sum.Write(bare1(ix.text[ix.at[n]:ix.at[n+1]]))
		_, _ = sum.Write([]byte{'\n'})
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// around counts the lines of a hunk's context that are there, if it is the lines
// from and to.
func (ix *lines) around(h hunk, from, to int) (above, below int) {
	for n, want := range h.Above {
		if i := from - 1 - n; i < 0 && want != textBegin || i >= 0 && ix.short[i] != want {
			break
		}
		above++
	}
	for n, want := range h.Below {
		if i := to + n; i >= len(ix.short) && want != textEnd || i < len(ix.short) && ix.short[i] != want {
			break
		}
		below++
	}
	return above, below
}

// find returns where a hunk is in a text that has changed since: its first line.
// It is -1 where that cannot be told.
func (ix *lines) find(h hunk) int {
	if h.Lines == 0 {
		return ix.findGap(h)
	}
	best, most, hashed := -1, -1, 0
	for i := 0; i+h.Lines <= len(ix.short); i++ {
		if ix.short[i] != h.First {
			continue
		}
		if hashed += ix.at[i+h.Lines] - ix.at[i]; hashed > maxSearch {
			return -1
		}
		if ix.digest(i, i+h.Lines) != h.Ours {
			continue
		}
		above, below := ix.around(h, i, i+h.Lines)
		switch {
		case above+below > most:
			best, most = i, above+below
		case above+below == most:
			best = -1 // two that look the same
		}
	}
	return best
}

// findGap returns where lines were taken out: between the two that were around
// them, else beside the one of them that is still there.
func (ix *lines) findGap(h hunk) int {
	best, most := -1, 0
	take := func(i, score int) {
		switch {
		case score > most:
			best, most = i, score
		case score == most && score > 0:
			best = -1
		}
	}
	there := func(short string) bool { return slices.Contains(ix.short, short) }
	above, below := there(h.Above[0]), there(h.Below[0])
	for i := range len(ix.at) {
		up, down := ix.around(h, i, i)
		switch {
		case up > 0 && down > 0:
			take(i, 2*contextLines+up+down)
		case up > 0 && !below && h.Above[0] != textBegin:
			take(i, up)
		case down > 0 && !above && h.Below[0] != textEnd:
			take(i, down)
		}
	}
	return best
}

// back says whether lines that were taken out are there again. One blank line is as
// good as another, and tells nothing.
func (ix *lines) back(h hunk, was []byte) bool {
	if len(bytes.TrimSpace(was)) == 0 {
		return false
	}
	for i, at := range ix.at {
		up, down := ix.around(h, i, i)
		below := ix.text[at:]
		ends := bytes.HasSuffix(was, []byte("\n")) || len(below) <= len(was) || below[len(was)] == '\n' || below[len(was)] == '\r'
		if up > 0 && ends && bytes.HasPrefix(below, was) || down > 0 && bytes.HasSuffix(ix.text[:at], was) {
			return true
		}
	}
	return false
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
