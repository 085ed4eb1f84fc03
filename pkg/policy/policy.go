// Package policy judges the trust that a cloud's owner puts into a CI's tokens:
// who gets in (lint), why a token was refused (check), and what to write (new).
// There is a file per cloud. Nothing here talks to a network: a verdict is made
// from documents, and what they cannot decide is called undecided.
package policy

import "github.com/oidc-broker/oidc-broker/pkg/internal/document"

// Verdict is what a judgement ends with.
type Verdict string

// The three verdicts. Undecided never counts as Allow; it comes with the name of
// what could not be decided.
const (
	Allow     Verdict = "allow"
	Deny      Verdict = "deny"
	Undecided Verdict = "undecided"
)

// A Judgement is what a document makes of one token.
type Judgement struct {
	Verdict Verdict `json:"verdict"`
	// Reason says in one line why the verdict is not Allow.
	Reason string  `json:"reason,omitempty"`
	Checks []Check `json:"checks"`
	// Attributes are what Google's mapping gives, by name: google.subject,
	// attribute.NAME.
	Attributes map[string]any `json:"attributes,omitempty"`
	// Principals are the names under which Google's policies know the identity:
	// principal://... and principalSet://...
	Principals []string `json:"principals,omitempty"`
	// Notes say what no document shows, e.g. a policy of the organisation's.
	Notes []string `json:"notes,omitempty"`
}

// A Check is one condition and what became of it.
type Check struct {
	// Name is what was looked at, as a path into the document:
	// `Statement[0].Condition.StringLike["oidc.circleci.com/org/...:sub"]`.
	Name    string  `json:"name"`
	Verdict Verdict `json:"verdict"`
	Wanted  string  `json:"wanted,omitempty"` // by the document
	Got     string  `json:"got,omitempty"`    // from the token; empty with a Reason where it has none
	// Reason says where the two first differ, or what could not be decided.
	Reason string `json:"reason,omitempty"`
	// Hints name the likely slip and its remedy, a sentence each.
	Hints []string `json:"hints,omitempty"`
}

// Severity is how much a finding matters.
type Severity string

// The severities, the worst first.
const (
	Critical Severity = "critical" // somebody gets in who must not
	High     Severity = "high"     // the same with one more condition, or nobody gets in
	Medium   Severity = "medium"
	Info     Severity = "info"
)

// Severities returns all, the worst first.
func Severities() []Severity { return []Severity{Critical, High, Medium, Info} }

// A Finding is what lint has to say about a document.
type Finding struct {
	ID       string   `json:"id"` // of the rule, e.g. "A3"
	Severity Severity `json:"severity"`
	Message  string   `json:"message"`         // what is wrong, in a sentence
	Where    string   `json:"where,omitempty"` // a path into the document, as in Check.Name
	Line     int      `json:"line,omitempty"`  // of the document, from 1
	Column   int      `json:"column,omitempty"`
	// Witness is a whole token's payload that should not get in and does, as
	// Check of the same document says. Nil where nobody gets in wrongly.
	Witness Claims `json:"witness"`
	// Fix is what to write instead.
	Fix string `json:"fix"`
}

// At returns the finding with its place in the document.
func (f Finding) At(place document.Position) Finding {
	f.Line, f.Column = place.Line, place.Column
	return f
}

// Truth is the logic of three values that conditions are joined by.
type Truth int8

// The three values, in their order.
const (
	No Truth = iota - 1
	Unknown
	Yes
)

// Not is No for Yes.
func (t Truth) Not() Truth { return -t }

// And is the lesser of the two.
func (t Truth) And(u Truth) Truth { return min(t, u) }

// Or is the greater of the two.
func (t Truth) Or(u Truth) Truth { return max(t, u) }

// TruthOf is Yes for true and No for false.
func TruthOf(b bool) Truth {
	if b {
		return Yes
	}
	return No
}

// Verdict of a condition that admits where it is true.
func (t Truth) Verdict() Verdict {
	switch t {
	case Yes:
		return Allow
	case No:
		return Deny
	}
	return Undecided
}
