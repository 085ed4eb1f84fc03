package main

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// licences are the ones that a linked module may have, by a pattern for what
// only such a text says. All let a binary be given on with the text alone.
var licences = map[string]string{
	"Apache-2.0":   `Apache License,? Version 2\.0`,
	"BSD-3-Clause": `Neither (the )?name of`,
	"BSD-2-Clause": `Redistributions in binary form must reproduce the above copyright notice`,
	"MIT":          `Permission is hereby granted, free of charge, to any person obtaining a copy of this software`,
}

// TestModules: the modules that reach the binary, on any of three systems, are
// those of the table in docs/reliability.md, with a reason and a licence that is
// really theirs and allowed.
func TestModules(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "reliability.md"))
	if err != nil {
		t.Fatal(err)
	}
	table := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z0-9./-]+\\.[a-z0-9./-]+/[^`]+)` \\| ([A-Za-z0-9., -]+) \\| .*[a-z].* \\|$").FindAllStringSubmatch(string(b), -1) {
		table[row[1]] = row[2]
	}
	linked := linkedModules(t)
	for path, dir := range linked {
		got := licenceOf(t, dir)
		switch want, ok := table[path]; {
		case !ok:
			t.Errorf("%s is linked, and not in the table (its licence: %q)", path, got)
		case got == "" || got != want:
			t.Errorf("%s has the licence %q, the table says %q", path, got, want)
		}
	}
	for path := range table {
		if linked[path] == "" {
			t.Errorf("%s is in the table, and not linked", path)
		}
	}
}

// linkedModules maps the modules that reach the binary to their directories.
func linkedModules(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, goos := range []string{"linux", "darwin", "windows"} {
		cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}\t{{.Dir}}{{end}}{{end}}", ".")
		cmd.Env = append(os.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		for line := range strings.Lines(string(out)) {
			if path, dir, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
				all[path] = dir
			}
		}
	}
	return all
}

// licenceOf names the licences in a module's LICENSE, in the order of their
// names. Two clauses of BSD are in three of them.
func licenceOf(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "LICENSE*"))
	if err != nil || len(files) != 1 {
		t.Errorf("%d licences in %s, %v", len(files), dir, err)
		return ""
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(string(b)), " ")
	var found []string
	for _, name := range slices.Sorted(maps.Keys(licences)) {
		if regexp.MustCompile(licences[name]).MatchString(text) {
			found = append(found, name)
		}
	}
	if slices.Contains(found, "BSD-3-Clause") {
		found = slices.DeleteFunc(found, func(name string) bool { return name == "BSD-2-Clause" })
	}
	return strings.Join(found, ", ")
}
