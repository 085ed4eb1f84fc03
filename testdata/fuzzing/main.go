// Fuzzing runs each fuzz target of the module for a while and prints a table.
//
//	go run ./testdata/fuzzing -time 10m
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// A target is a fuzz function, by the directory of its package.
type target struct{ dir, name string }

func main() {
	each := flag.Duration("time", 20*time.Second, "how long each target runs")
	parallel := flag.Int("parallel", 2, "how many workers each target has")
	only := flag.String("run", "", "a pattern of the names of the targets to run")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	found, err := campaign(ctx, *each, *parallel, *only)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if found > 0 {
		os.Exit(1)
	}
}

// campaign runs the targets one after the other and returns how many of them
// found something.
func campaign(ctx context.Context, each time.Duration, parallel int, only string) (int, error) {
	wanted, err := regexp.Compile(only)
	if err != nil {
		return 0, err
	}
	all, err := targets("pkg", "cmd")
	if err != nil {
		return 0, err
	}
	found := 0
	fmt.Printf("%s each, %d workers\n\n| target | executions | new | corpus | findings |\n|---|---|---|---|---|\n", each, parallel)
	for _, t := range all {
		if !wanted.MatchString(t.name) {
			continue
		}
		// A build, and a seed corpus that is run first, come on top of the time.
		one, cancel := context.WithTimeout(ctx, each+10*time.Minute)
		cmd := exec.CommandContext(one, "go", "test", "-run", "^$", "-fuzz", "^"+t.name+"$", "-fuzztime", each.String(), "-parallel", fmt.Sprint(parallel), "./"+t.dir)
		out, err := cmd.CombinedOutput()
		cancel()
		if ctx.Err() != nil {
			return found, errors.New("interrupted")
		}
		fmt.Println(row(t, string(out), err))
		if err != nil {
			found++
			fmt.Fprintf(os.Stderr, "%s\n", out)
		}
	}
	return found, nil
}

// row is a target's line of the table: the last that go test says of its progress.
func row(t target, out string, err error) string {
	executions, fresh, corpus := "0", "0", "0"
	for _, m := range regexp.MustCompile(`execs: (\d+) .*new interesting: (\d+) \(total: (\d+)\)`).FindAllStringSubmatch(out, -1) {
		executions, fresh, corpus = m[1], m[2], m[3]
	}
	findings := "0"
	if err != nil {
		findings = "see below"
		if m := regexp.MustCompile(`testdata/fuzz/\S+`).FindString(out); m != "" {
			findings = m
		}
	}
	return fmt.Sprintf("| %s %s | %s | %s | %s | %s |", strings.TrimPrefix(t.dir, "pkg/"), t.name, executions, fresh, corpus, findings)
}

// targets are the fuzz functions of the test files below the directories.
func targets(roots ...string) ([]target, error) {
	var all []target
	for _, root := range roots {
		err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			for _, d := range file.Decls {
				if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Fuzz") {
					all = append(all, target{filepath.ToSlash(filepath.Dir(path)), f.Name.Name})
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no fuzz target below pkg: run it in the module's own directory")
	}
	return all, nil
}
