package undo

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"unicode"

	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
)

// A Mark is what an edit says of its change, by which it is found again in a file that
// was changed since. A mark without a kind says only which secrets a file holds.
type Mark struct {
	Note
	// Secrets are the digests of the secrets that the edit writes, from Digests.
	Secrets []string
}

// A Marker removes by its meaning what edits wrote, where another program or a person
// has changed the file since.
type Marker interface {
	// Remove returns the text without what the marks name, and with what backup has in
	// its place. whole says that all of that is back.
	Remove(marks []map[string]string, text, backup []byte) (got []byte, whole bool, err error)
}

// minSecret is the length from which a word can be told from others.
const minSecret = 16

// words splits a line where no secret of a cloud has a character.
func words(line string) []string {
	return strings.FieldsFunc(line, func(r rune) bool {
		return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("+/._~-", r)
	})
}

// Digests returns the digests of secrets: of the longest word of each of their lines.
func Digests(secrets ...secret.Value) []string {
	var all []string
	for _, s := range secrets {
		for line := range strings.Lines(s.Reveal()) {
			longest := ""
			for _, word := range words(line) {
				if len(word) > len(longest) {
					longest = word
				}
			}
			if len(longest) >= minSecret {
				all = union(all, []string{digest([]byte(longest))})
			}
		}
	}
	return all
}

// WithoutLines returns a text without the lines that hold a secret of ours, comments
// included.
func WithoutLines(text []byte, secrets []string) []byte {
	var out []byte
	for line := range bytes.Lines(text) {
		if !slices.ContainsFunc(words(string(line)), func(word string) bool {
			return len(word) >= minSecret && slices.Contains(secrets, digest([]byte(word)))
		}) {
			out = append(out, line...)
		}
	}
	return out
}

// Commit is files.Commit, recorded. The record is written first: after a crash in
// between, Undo finds nothing of the change and does nothing.
func (j *Journal) Commit(ctx context.Context, edits ...files.Edit) error {
	return files.CommitObserved(ctx, &recording{Journal: j}, edits...)
}

// recording records one Commit.
type recording struct {
	*Journal
	failed bool
	fresh  []string // the paths that are in the record for nothing yet
}

// Intended names the files in the record, and the directories that will be made.
func (c *recording) Intended(ctx context.Context, changes []files.Change) {
	known := func(r *record) bool {
		all := true
		c.fresh = nil
		for _, f := range changes {
			e := r.entry(f.Path)
			if e == nil || len(e.Texts) == 0 {
				c.fresh = append(c.fresh, f.Path)
			}
			all = all && e != nil && len(f.Dirs) == 0
		}
		return all
	}
	if r, err := c.read(); err == nil && known(r) {
		return
	}
	err := c.update(ctx, func(r *record) error {
		known(r)
		for _, f := range changes {
			c.entryFor(r, f)
		}
		return nil
	})
	c.failed = err != nil
	c.log(err)
}

// entryFor is a file's entry in the record, new if need be.
func (j *Journal) entryFor(r *record, f files.Change) *entry {
	e := r.entry(f.Path)
	if e == nil {
		e = &entry{Path: f.Path, Job: j.Job}
		r.Files = append(r.Files, e)
	}
	e.Dirs = union(e.Dirs, f.Dirs)
	return e
}

// Changing writes down what is about to change.
func (c *recording) Changing(ctx context.Context, changes []files.Change) {
	if c.failed {
		return
	}
	c.log(c.update(ctx, func(r *record) error {
		for _, f := range changes {
			if err := c.add(c.entryFor(r, f), f); err != nil {
				return err
			}
			c.fresh = slices.DeleteFunc(c.fresh, func(path string) bool { return path == f.Path })
		}
		return nil
	}))
}

// add records the change of one file.
func (j *Journal) add(e *entry, f files.Change) error {
	p, err := j.apart(e, f.Old)
	if err != nil {
		return err
	}
	if f.Info == nil {
		e.Created, e.Mode = true, 0
	} else if perm := f.Info.Mode().Perm(); perm != e.Given || len(e.Texts) == 0 {
		e.Mode = perm // nobody's but the user's
	}
	e.Given = f.Mode
	e.Texts = []string{digest(f.New)}
	if !bytes.Equal(p.base, f.Old) {
		e.Texts = append(e.Texts, digest(f.Old))
	}
	if base := digest(p.base); base != e.Base {
		e.Base = base
		if e.Backup, err = j.backup(p.base); err != nil {
			return err
		}
	}
	const most = 100 // what two jobs wrote under one name is two marks
	for _, edit := range f.Edits {
		if m, ok := edit.Mark.(Mark); ok {
			if m.Kind != "" && !slices.ContainsFunc(e.Marks, m.equal) {
				e.Marks = append(e.Marks, m.Note)
			}
			e.Secrets = union(e.Secrets, m.Secrets)
		}
	}
	e.Marks = e.Marks[max(0, len(e.Marks)-most):]
	e.Secrets = e.Secrets[max(0, len(e.Secrets)-10*most):]
	return nil
}

// Ended removes from the record what was intended and did not happen.
func (c *recording) Ended(ctx context.Context, _ []files.Change) {
	if c.failed || len(c.fresh) == 0 {
		return
	}
	c.log(c.takeOut(ctx, func(r *record) error {
		for _, path := range c.fresh {
			e := r.entry(path)
			if e == nil || len(e.Texts) > 0 {
				continue
			}
			files.RemoveEmpty(e.Dirs)
			if !slices.ContainsFunc(e.Dirs, exists) { // else another process uses them
				r.drop(e)
			}
		}
		return nil
	}))
}
