package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// TestConfigurations validates every configuration that we show or use against
// CircleCI's own JSON schema, and expands each job of those that are whole.
func TestConfigurations(t *testing.T) {
	schema := circleSchema(t)
	orb, err := readYAML(orbPacked)
	if err != nil {
		t.Fatal(err)
	}
	configurations := map[string]string{}
	for _, file := range []string{orbPacked, filepath.Join("..", "..", ".circleci", "config.yml")} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		configurations[file] = string(b)
	}
	for name := range section(orb, "examples") {
		b, err := yaml.Marshal(section(section(orb, "examples"), name)["usage"])
		if err != nil {
			t.Fatal(err)
		}
		configurations["the orb's example "+name] = string(b)
	}
	inDocs := circleYAML(t)
	if len(inDocs) < 10 {
		t.Errorf("the pages show %d pieces of configuration: they are not where they are looked for", len(inDocs))
	}
	maps.Copy(configurations, inDocs)
	for _, name := range slices.Sorted(maps.Keys(configurations)) {
		t.Run(name, func(t *testing.T) {
			text := configurations[name]
			// The schema knows no parameters here; CircleCI's own orbs have them.
			tree, err := parseYAML(name, []byte(strings.ReplaceAll(text, "when: <<parameters.when>>", "when: always")))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(tree); err != nil {
				t.Error(err)
			}
			if len(section(tree, "workflows")) > 0 {
				expandAll(t, name, text, orb)
			}
		})
	}
	// It must be able to fail.
	wrong, err := parseYAML("wrong", []byte("version: 2.1\njobs: {a: {docker: [{image: x}], steps: [{run: null, name: x, command: y}]}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if schema.Validate(wrong) == nil {
		t.Error("the schema takes a run step that is none")
	}
}

func expandAll(t *testing.T, name, text string, orb map[string]any) {
	t.Helper()
	text = regexp.MustCompile(`<<\s*pipeline\.[a-z._]+\s*>>`).ReplaceAllString(text, "pipeline")
	c, err := newCircleConfig(name, []byte(text), map[string]map[string]any{"oidc-broker/oidc-broker": orb})
	if err != nil {
		t.Error(err)
		return
	}
	jobs := c.jobs()
	if len(jobs) == 0 {
		t.Error("its workflows have no job")
	}
	for _, job := range jobs {
		if _, err := c.job(job); err != nil {
			t.Error(err)
		}
	}
}

// circleSchema is what OIDC_BROKER_CIRCLECI_SCHEMA names: the schema.json of
// github.com/CircleCI-Public/circleci-yaml-language-server. CI has it.
func circleSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	file := os.Getenv("OIDC_BROKER_CIRCLECI_SCHEMA")
	switch {
	case file == "" && os.Getenv("CI") == "true":
		t.Fatal("OIDC_BROKER_CIRCLECI_SCHEMA names no file")
	case file == "":
		t.Skip("OIDC_BROKER_CIRCLECI_SCHEMA names no file: the schema.json of circleci-yaml-language-server")
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("circleci.json", document); err != nil {
		t.Fatal(err)
	}
	return c.MustCompile("circleci.json")
}

// circleYAML returns the pieces of CircleCI configuration in our pages, by page and
// line, each made whole.
func circleYAML(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root:
			return fs.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".md":
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for line, piece := range fences(string(text), "yaml") {
			if whole := wholeConfig(piece); whole != "" {
				rel, _ := filepath.Rel(root, path)
				found[fmt.Sprintf("%s:%d", filepath.ToSlash(rel), line)] = whole
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// fences returns the blocks of a language in a page, by the line that they begin
// on.
func fences(text, language string) map[int]string {
	found := map[int]string{}
	var block []string
	start := 0
	for i, line := range strings.Split(text, "\n") {
		switch {
		case start == 0 && line == "```"+language:
			start, block = i+1, nil
		case start > 0 && line == "```":
			found[start] = strings.Join(block, "\n") + "\n"
			start = 0
		case start > 0:
			block = append(block, line)
		}
	}
	return found
}

// wholeConfig makes a configuration of a piece of one, or returns "" for what is
// something else.
func wholeConfig(piece string) string {
	var tree any
	if err := yaml.Unmarshal([]byte(piece), &tree); err != nil {
		return "version: [" // a piece that cannot be read is an error there
	}
	switch v := tree.(type) {
	case map[string]any:
		switch {
		case v["workflows"] != nil || v["jobs"] != nil && v["version"] != nil:
			return piece
		case v["jobs"] != nil || v["orbs"] != nil:
			return "version: 2.1\n" + piece
		}
	case []any:
		if step, ok := v[0].(map[string]any); ok && (step["run"] != nil || strings.Contains(piece, "oidc-broker/")) {
			return "version: 2.1\njobs:\n  piece:\n    docker: [{image: cimg/base:current}]\n    steps:\n" + indented(piece, "      ")
		}
	}
	return ""
}

func indented(text, by string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	shift := len(lines[0]) - len(strings.TrimLeft(lines[0], " "))
	for i, line := range lines {
		if len(line) >= shift {
			lines[i] = by + line[shift:]
		}
	}
	return strings.Join(lines, "\n") + "\n"
}
