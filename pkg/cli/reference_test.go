package cli

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestReference: docs/reference is what the commands say. UPDATE=1 rewrites it.
func TestReference(t *testing.T) {
	dir := filepath.Join("..", "..", "docs", "reference")
	pages := Reference().Markdown()
	if os.Getenv("UPDATE") == "1" {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range pages {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	there := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		there[e.Name()] = strings.ReplaceAll(string(b), "\r\n", "\n")
	}
	if diff := cmp.Diff(there, pages); diff != "" {
		t.Errorf("stale: UPDATE=1 go test ./pkg/cli -run TestReference rewrites docs/reference\n%s", diff)
	}
}

// TestManPages: each command has a page, which names each of its options and
// variables and the pages around it, and in which no text is taken for a request.
func TestManPages(t *testing.T) {
	m := Reference()
	pages := m.ManPages("v1.2.0", "2026-11-28")
	m.Walk(func(c Manual) {
		name := strings.ReplaceAll(c.Path, " ", "-") + ".1"
		page, ok := pages[name]
		if !ok {
			t.Errorf("there is no %s", name)
			return
		}
		for _, o := range slices.Concat(c.Options, c.Inherited, c.Everywhere) {
			for _, word := range append([]string{"--" + o.Name}, o.Variables...) {
				if !strings.Contains(page, `\fB`+roff(word)+`\fR`) {
					t.Errorf("%s lacks %s", name, word)
				}
			}
		}
		for _, sub := range c.Commands {
			if !strings.Contains(page, `.BR `+roff(manName(sub.Path))+` (1)`) {
				t.Errorf("%s does not name %s", name, sub.Path)
			}
		}
		for _, line := range strings.Split(page, "\n") {
			if request := regexp.MustCompile(`^[.'](\w*)`).FindStringSubmatch(line); request != nil &&
				!slices.Contains([]string{"TH", "SH", "B", "BR", "PP", "TP", "nf", "fi", "br"}, request[1]) {
				t.Errorf("%s has the request %q", name, line)
			}
		}
	})
}

func TestRoff(t *testing.T) {
	for in, want := range map[string]string{
		"plain":            "plain",
		".SH text":         `\&.SH text`,
		"a\n.b\n'c":        "a\n\\&.b\n\\(aqc",
		`back\slash`:       `back\eslash`,
		"--role-arn it's":  `\-\-role\-arn it\(aqs`,
		"`ls` ~/x ^ \"y\"": "\\(gals\\(ga \\(ti/x \\(ha \"y\"",
	} {
		if got := roff(in); got != want {
			t.Errorf("roff(%q) = %q, want %q", in, got, want)
		}
	}
	if got, want := quoteRoff(`a "b"`), `"a \(dqb\(dq"`; got != want {
		t.Errorf("quoteRoff: %q, want %q", got, want)
	}
}

// TestVariablesAreKnown: whatever variable the code names when it reads one is in the
// reference, as an option's or by itself. What doctor looks at is in docs/doctor.md.
func TestVariablesAreKnown(t *testing.T) {
	known := map[string]bool{}
	for _, v := range Variables() {
		for _, name := range strings.Split(v.Name, ", ") {
			known[name] = true
		}
	}
	Reference().Walk(func(c Manual) {
		for _, o := range slices.Concat(c.Options, c.Everywhere) {
			for _, v := range o.Variables {
				known[v] = true
			}
		}
	})
	call := regexp.MustCompile(`(?i)\b(?:getenv|variable|environment)\(((?:"[A-Z0-9_]+"(?:, )?)+)`)
	read := map[string]bool{}
	sources(t, func(path, dir string, text []byte) {
		if strings.HasPrefix(filepath.Base(path), "doctor") {
			return
		}
		for _, m := range call.FindAllStringSubmatch(string(text), -1) {
			for _, name := range strings.Split(m[1], ", ") {
				read[strings.Trim(name, `"`)] = true
			}
		}
	})
	for _, name := range slices.Sorted(maps.Keys(read)) {
		if !known[name] {
			t.Errorf("%s is read and not in the reference", name)
		}
	}
	if len(read) < 20 {
		t.Errorf("only %d variables seen", len(read))
	}
}
