package main

import (
	"bytes"
	"fmt"
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
	if strings.Contains(text, "circleci/") && strings.Contains(text, "-cli@") {
		return // what one comes from
	}
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
	if file == "" {
		// It may not be copied into this repository. .ci/run says when it was not there.
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
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			if whole := wholeConfig(b); whole != "" {
				found[fmt.Sprintf("%s:%d", p.name, b.line)] = whole
			}
		}
	}
	return found
}

// wholeConfig makes a configuration of a piece of one: a list of steps, a job's
// steps, jobs without a workflow. It returns "" for a block that is something
// else.
func wholeConfig(b block) string {
	if b.language != "yaml" {
		return ""
	}
	var tree any
	if err := yaml.Unmarshal([]byte(b.text), &tree); err != nil {
		return "version: [" // that it cannot be read is an error there
	}
	if steps, ok := tree.([]any); ok {
		tree = map[string]any{"steps": steps}
	}
	top, ok := tree.(map[string]any)
	if !ok || len(runSteps(tree)) == 0 && top["orbs"] == nil && !strings.Contains(b.text, "oidc-broker/") {
		return ""
	}
	if steps := top["steps"]; steps != nil {
		delete(top, "steps")
		top["jobs"] = map[string]any{"piece": map[string]any{"docker": []any{map[string]any{"image": "cimg/base:current"}}, "steps": steps}}
	}
	if jobs := section(top, "jobs"); top["workflows"] == nil && len(jobs) > 0 {
		var names []any
		for _, name := range slices.Sorted(maps.Keys(jobs)) {
			names = append(names, name)
		}
		top["workflows"] = map[string]any{"all": map[string]any{"jobs": names}}
	}
	if strings.Contains(b.text, "oidc-broker/") && top["orbs"] == nil {
		top["orbs"] = map[string]any{"oidc-broker": "oidc-broker/oidc-broker@" + orbVersion}
	}
	if top["version"] == nil {
		top["version"] = 2.1
	}
	whole, err := yaml.Marshal(top)
	if err != nil {
		return "version: ["
	}
	return string(whole)
}
