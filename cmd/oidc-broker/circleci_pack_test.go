package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// packOrb does what `circleci orb pack` does with an orb's source, down to the
// bytes: the files of a directory become the entries of a section, what stands in
// @orb.yml becomes the top, keys are sorted, and in jobs, commands and executors
// `<<include(FILE)>>` becomes the text of the file.
func packOrb(src string) ([]byte, error) {
	top := map[string]any{}
	err := filepath.WalkDir(src, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(name) != ".yml" {
			return err
		}
		rel, err := filepath.Rel(src, name)
		if err != nil {
			return err
		}
		content, err := readYAML(name)
		if err != nil {
			return err
		}
		return place(top, filepath.ToSlash(rel), content)
	})
	if err != nil {
		return nil, err
	}
	for _, section := range []string{"jobs", "commands", "executors"} {
		if top[section], err = include(src, top[section]); err != nil {
			return nil, err
		}
	}
	var packed bytes.Buffer
	e := yaml.NewEncoder(&packed)
	e.SetIndent(4)
	if err := e.Encode(top); err != nil {
		return nil, err
	}
	return packed.Bytes(), e.Close()
}

// place puts a file's content where its name says.
func place(top map[string]any, rel string, content map[string]any) error {
	section, file := path.Split(rel)
	if section == "" {
		for key, value := range content {
			if _, twice := top[key]; twice {
				return fmt.Errorf("%s: %s is there already", rel, key)
			}
			top[key] = value
		}
		return nil
	}
	section = strings.TrimSuffix(section, "/")
	if strings.Contains(section, "/") || strings.HasPrefix(file, "@") {
		return fmt.Errorf("%s: only files right below a section are packed here", rel)
	}
	if top[section] == nil {
		top[section] = map[string]any{}
	}
	entries, ok := top[section].(map[string]any)
	if !ok {
		return fmt.Errorf("%s: %s is no section", rel, section)
	}
	entries[strings.TrimSuffix(file, ".yml")] = content
	return nil
}

// include replaces the directives in a tree. An older circleci allows one in a
// text and nothing beside it, so more is an error. What is included is no
// configuration: its << would be read as the beginning of a parameter.
func include(src string, tree any) (any, error) {
	directive := regexp.MustCompile(`<<\s*include\(([-\w/.]+)\)\s*>>`)
	return walk(tree, func(text string) (any, error) {
		found := directive.FindStringSubmatch(text)
		switch {
		case found == nil && strings.Contains(text, "include("):
			return nil, fmt.Errorf("%q is not quite a directive", text)
		case found == nil:
			return text, nil
		case found[0] != strings.TrimSpace(text):
			return nil, fmt.Errorf("%q holds more than a directive", text)
		}
		script, err := os.ReadFile(filepath.Join(src, filepath.FromSlash(found[1])))
		return strings.ReplaceAll(string(script), "<<", `\<<`), err
	})
}

// walk replaces each text of a tree.
func walk(tree any, change func(string) (any, error)) (any, error) {
	var err error
	switch t := tree.(type) {
	case string:
		return change(t)
	case map[string]any:
		changed := make(map[string]any, len(t))
		for key, value := range t {
			if changed[key], err = walk(value, change); err != nil {
				return nil, err
			}
		}
		return changed, nil
	case []any:
		changed := make([]any, len(t))
		for i, value := range t {
			if changed[i], err = walk(value, change); err != nil {
				return nil, err
			}
		}
		return changed, nil
	}
	return tree, nil
}

func readYAML(name string) (map[string]any, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return parseYAML(name, b)
}

// parseYAML reads one document, a mapping. A word that YAML 1.1, and so CircleCI,
// takes for true or false is an error.
func parseYAML(name string, b []byte) (map[string]any, error) {
	var node yaml.Node
	if err := yaml.Unmarshal(b, &node); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if line := oldBoolean(&node); line > 0 {
		return nil, fmt.Errorf("%s:%d: yes, no, on and off are booleans to CircleCI: quote them", name, line)
	}
	var tree map[string]any
	if err := node.Decode(&tree); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return tree, nil
}

func oldBoolean(n *yaml.Node) (line int) {
	if n.Kind == yaml.ScalarNode && n.Style == 0 && n.Tag == "!!str" {
		switch strings.ToLower(n.Value) {
		case "yes", "no", "on", "off":
			return n.Line
		}
	}
	for _, child := range n.Content {
		if line := oldBoolean(child); line > 0 {
			return line
		}
	}
	return 0
}
