package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

// A schema is docs/apply.schema.json: what of JSON Schema 2020-12 that uses.
type schema struct {
	Schema               string              `json:"$schema"`
	ID                   string              `json:"$id"`
	Title                string              `json:"title"`
	Description          string              `json:"description"`
	Ref                  string              `json:"$ref"`
	Type                 any                 `json:"type"` // one or several
	Enum                 []any               `json:"enum"`
	Pattern              string              `json:"pattern"`
	MinLength            int                 `json:"minLength"`
	MinItems             int                 `json:"minItems"`
	Items                *schema             `json:"items"`
	Properties           map[string]*schema  `json:"properties"`
	Required             []string            `json:"required"`
	DependentRequired    map[string][]string `json:"dependentRequired"`
	AnyOf                []*schema           `json:"anyOf"`
	AdditionalProperties *bool               `json:"additionalProperties"`
	Defs                 map[string]*schema  `json:"$defs"`
}

func readSchema(t testing.TB) *schema {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "apply.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var s schema
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.DisallowUnknownFields() // what is not known here would not be tested
	if err := d.Decode(&s); err != nil {
		t.Fatal(err)
	}
	return &s
}

// TestApplySchemaIsTheTypes: the schema has the keys that the reader has, and each
// is of the same sort.
func TestApplySchemaIsTheTypes(t *testing.T) {
	root := readSchema(t)
	if root.Schema != "https://json-schema.org/draft/2020-12/schema" {
		t.Errorf("$schema is %q", root.Schema)
	}
	for name, m := range map[string]mapping{"": &applyFile{}, "aws": &applyAWS{}, "gcp": &applyGCP{}, "vault": &applyVault{}} {
		s := root
		if name != "" {
			s = root.Defs[name]
		}
		if s == nil || s.Type != "object" || s.AdditionalProperties == nil || *s.AdditionalProperties {
			t.Errorf("%q is no object that is closed", name)
			continue
		}
		want, got := map[string]string{}, map[string]string{}
		eachKey(reflect.ValueOf(m).Elem(), func(k slot) { want[k.name] = k.sort() })
		for key, p := range s.Properties {
			got[key] = p.sort()
			if p.Description == "" {
				t.Errorf("%s %s is not described", name, key)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-types +schema):\n%s", m.what(), diff)
		}
	}
}

// sort is what a key takes.
func (s slot) sort() string {
	of := s.Type()
	list := ""
	if of.Kind() == reflect.Slice {
		of, list = of.Elem(), "s"
	}
	if s.name == "version" {
		return "one of 1 1"
	}
	if len(s.choices) > 0 {
		return "one of " + strings.Join(s.choices, " ")
	}
	switch m := reflect.New(of).Interface().(type) {
	case *entry:
		return "text" + list
	case *number:
		return "number" + list
	case *toggle:
		return "toggle" + list
	case mapping:
		return "list of " + strings.Fields(m.what())[1]
	}
	return of.String()
}

func (s *schema) sort() string {
	types, _ := s.Type.([]any)
	if one, ok := s.Type.(string); ok {
		types = []any{one}
	}
	name := fmt.Sprint(types)
	switch {
	case len(s.Enum) > 0:
		return "one of " + strings.Trim(fmt.Sprint(s.Enum), "[]")
	case name == "[array]" && s.MinItems == 1:
		return "list of " + strings.TrimPrefix(s.Items.Ref, "#/$defs/")
	case name == "[boolean]":
		return "toggle"
	case name == "[string]" && s.MinLength == 1:
		return "text"
	case name == "[string integer]" && s.MinLength == 1:
		return "number"
	case slices.Contains(types, any("array")) && s.MinItems == 1 && s.MinLength == 1 && len(types) == len(fmt.Sprint(s.Items.Type))/len("string")+1:
		return s.Items.sort() + "s"
	}
	return name
}

// of validates a file and returns what the schema says against it.
func (s *schema) of(file []byte) string {
	var document any
	if err := yaml.Unmarshal(file, &document); err != nil {
		return "" // another reader of YAML takes no part
	}
	b, err := json.Marshal(document)
	if err != nil {
		return ""
	}
	var v any
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return ""
	}
	return s.validate(s, v, "")
}

func (s *schema) validate(root *schema, v any, at string) string {
	if s.Ref != "" {
		return root.Defs[strings.TrimPrefix(s.Ref, "#/$defs/")].validate(root, v, at)
	}
	if problem := s.scalar(v, at); problem != "" {
		return problem
	}
	switch v := v.(type) {
	case map[string]any:
		return s.object(root, v, at)
	case []any:
		if len(v) < s.MinItems {
			return at + ": too few items"
		}
		for i, item := range v {
			if problem := s.Items.validate(root, item, fmt.Sprintf("%s[%d]", at, i)); problem != "" {
				return problem
			}
		}
	}
	return ""
}

func (s *schema) scalar(v any, at string) string {
	if len(s.Enum) > 0 && !slices.ContainsFunc(s.Enum, func(e any) bool { return fmt.Sprint(e) == fmt.Sprint(v) }) {
		return fmt.Sprintf("%s: %v is none of %v", at, v, s.Enum)
	}
	types, _ := s.Type.([]any)
	if one, ok := s.Type.(string); ok {
		types = []any{one}
	}
	is := map[reflect.Kind]string{reflect.Map: "object", reflect.Slice: "array", reflect.Bool: "boolean"}[reflect.ValueOf(v).Kind()]
	switch n := v.(type) {
	case json.Number:
		is = "integer"
		if strings.ContainsAny(string(n), ".eE") {
			is = "number"
		}
	case string:
		is = "string"
		if len(n) < s.MinLength || s.Pattern != "" && !regexp.MustCompile(s.Pattern).MatchString(n) {
			return fmt.Sprintf("%s: %q does not match", at, n)
		}
	}
	if len(types) > 0 && !slices.Contains(types, any(is)) {
		return fmt.Sprintf("%s is of type %q, want %v", at, is, types)
	}
	return ""
}

func (s *schema) object(root *schema, v map[string]any, at string) string {
	has := func(key string) bool { _, ok := v[key]; return ok }
	for _, key := range s.Required {
		if !has(key) {
			return at + " lacks " + key
		}
	}
	for key, others := range s.DependentRequired {
		if has(key) && !has(others[0]) {
			return at + " lacks " + others[0]
		}
	}
	if len(s.AnyOf) > 0 && !slices.ContainsFunc(s.AnyOf, func(o *schema) bool { return has(o.Required[0]) }) {
		return at + " lacks one of several"
	}
	for key, value := range v {
		p := s.Properties[key]
		if p == nil {
			return at + " has the key " + key
		}
		if problem := p.validate(root, value, at+"."+key); problem != "" {
			return problem
		}
	}
	return ""
}

// TestApplySchemaJudges: the schema takes what the reader takes, and refuses the
// slips that an editor can see.
func TestApplySchemaJudges(t *testing.T) {
	s := readSchema(t)
	for _, good := range []string{
		anAWS, aGCP, aVault,
		anAWS + "    policy-arn: x\n    allowed-account-id: [111122223333, '012345670123']\n    refuse-ssh-rerun: false\n",
		aVault + "    secret: x\n    secrets-file: y\n    secrets-format: json\n",
		aGCP + "    configuration: prod\n    project-id: p\n",
	} {
		if _, err := parseApply([]byte(good)); err != nil {
			t.Errorf("%v:\n%s", err, good)
		}
		if problem := s.of([]byte(good)); problem != "" {
			t.Errorf("%s:\n%s", problem, good)
		}
	}
	for _, bad := range []string{
		"version: 2\naws: [{profile: a, role-arn: " + aRole + "}]", "version: 1\n", "aws: [{profile: a, role-arn: " + aRole + "}]", "version: 1\naws: []\n",
		"version: 1\naws: [{profile: a}]", "version: 1\naws: [{role-arn: " + aRole + "}]",
		anAWS + "    regoin: x\n", anAWS + "    region: ''\n", anAWS + "    region: 1\n",
		anAWS + "    mode: x\n", anAWS + "    refuse-ssh-rerun: 'yes'\n", anAWS + "    policy-arn: []\n", anAWS + "    policy-arn: [[x]]\n",
		"version: 1\naws: [{profile: 'a b', role-arn: " + aRole + "}]", "version: 1\naws: [{profile: a, role-arn: deploy}]",
		aGCP + "    project-id: p\n", aGCP + "    configuration: Prod\n", aVault + "    secret: x\n", aVault + "    secrets-file: x\n",
	} {
		if problem := s.of([]byte(bad)); problem == "" {
			t.Errorf("the schema takes it:\n%s", bad)
		}
	}
}

// TestApplyPageNamesTheKeys: docs/configuration.md has each of them.
func TestApplyPageNamesTheKeys(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []mapping{&applyFile{}, &applyAWS{}, &applyGCP{}, &applyVault{}} {
		eachKey(reflect.ValueOf(m).Elem(), func(k slot) {
			if !strings.Contains(string(page), "`"+k.name+"`") {
				t.Errorf("the page does not name %s of %s", k.name, m.what())
			}
		})
	}
}
