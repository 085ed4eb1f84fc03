// Fuzzing runs each fuzz target of the module for so much processor time, and prints
// a table.
//
//	go run ./testdata/fuzzing -cpu 10m [-run PATTERN] [-keep 8]
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A target is a fuzz function, by the directory of its package.
type target struct{ dir, name string }

func main() {
	var c campaign
	flag.DurationVar(&c.cpu, "cpu", 20*time.Second, "the processor time that each target gets")
	flag.IntVar(&c.parallel, "parallel", 2, "how many workers each target has")
	flag.IntVar(&c.keep, "keep", 0, "how many inputs with new coverage to copy into testdata/fuzz beside the package")
	only := flag.String("run", "", "a pattern of the names of the targets to run")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	found, err := c.run(ctx, *only)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if found > 0 {
		os.Exit(1)
	}
}

// A campaign is how targets are run.
type campaign struct {
	cpu            time.Duration
	parallel, keep int
}

// run runs the targets one after the other and returns how many of them found
// something.
func (c campaign) run(ctx context.Context, only string) (int, error) {
	wanted, err := regexp.Compile(only)
	if err != nil {
		return 0, err
	}
	all, err := targets("pkg", "cmd")
	if err != nil {
		return 0, err
	}
	found := 0
	fmt.Printf("%s of processor time each, %d workers\n\n| target | processor time | executions | inputs with new coverage | findings |\n|---|---|---|---|---|\n", c.cpu, c.parallel)
	for _, t := range all {
		if !wanted.MatchString(t.name) {
			continue
		}
		did := c.target(ctx, t)
		if ctx.Err() != nil {
			return found, errors.New("interrupted")
		}
		fmt.Println(did.row(t))
		if did.err != nil {
			found++
			fmt.Fprintf(os.Stderr, "%s\n", did.out)
			continue
		}
		if err := c.copy(ctx, t); err != nil {
			return found, err
		}
	}
	return found, nil
}

// A result is what the runs of a target did.
type result struct {
	cpu        time.Duration
	executions int
	corpus     string // how many inputs Go's cache has
	out        string // of the last run
	err        error
}

// target runs one until it had its processor time: go test knows wall time alone,
// and each run goes on with the corpus of the one before.
func (c campaign) target(ctx context.Context, t target) result {
	var did result
	did.fuzz(ctx, t, "1x", c.parallel) // so that no compiler's time is counted
	did.cpu, did.executions = 0, 0
	for did.err == nil && did.cpu < c.cpu && ctx.Err() == nil {
		time := max((c.cpu-did.cpu)/time.Duration(c.parallel), 5*time.Second).Round(time.Second)
		did.fuzz(ctx, t, time.String(), c.parallel)
	}
	return did
}

// fuzz runs a target once.
func (did *result) fuzz(ctx context.Context, t target, time string, parallel int) {
	// Minimizing by time ends a worker that is in the middle of a slow input, which Go
	// takes for a finding: by executions.
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-fuzz", "^"+t.name+"$", "-fuzztime", time, "-fuzzminimizetime", "20x", "-parallel", fmt.Sprint(parallel), "./"+t.dir)
	out, err := cmd.CombinedOutput()
	did.out, did.err = string(out), err
	if cmd.ProcessState != nil {
		did.cpu += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	executions := 0
	for _, m := range regexp.MustCompile(`execs: (\d+) .*\(total: (\d+)\)`).FindAllStringSubmatch(did.out, -1) {
		executions, _ = strconv.Atoi(m[1])
		did.corpus = m[2]
	}
	did.executions += executions
}

// copy keeps some of the inputs by which the target got further, as seeds: the
// shortest one, and others of all lengths up to 2 KiB.
func (c campaign) copy(ctx context.Context, t target) error {
	if c.keep == 0 {
		return nil
	}
	out, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.ImportPath}}", "./"+t.dir).Output()
	if err != nil {
		return err
	}
	cache, err := exec.CommandContext(ctx, "go", "env", "GOCACHE").Output()
	if err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(cache)), "fuzz", strings.TrimSpace(string(out)), t.name, "*"))
	if err != nil {
		return err
	}
	inputs := map[string][]byte{}
	for _, file := range files {
		b, err := os.ReadFile(file) // #nosec G304 -- of Go's cache
		if err != nil {
			return err
		}
		if len(b) <= 2<<10 {
			inputs[filepath.Base(file)] = b
		}
	}
	names := slices.SortedFunc(maps.Keys(inputs), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(inputs[a]), len(inputs[b])), cmp.Compare(a, b))
	})
	to := filepath.Join(t.dir, "testdata", "fuzz", t.name)
	if len(names) > 0 {
		if err := os.MkdirAll(to, 0o750); err != nil {
			return err
		}
	}
	for i := range min(c.keep, len(names)) {
		name := names[i*len(names)/min(c.keep, len(names))]
		if err := os.WriteFile(filepath.Join(to, name), inputs[name], 0o600); err != nil {
			return err
		}
	}
	return nil
}

// row is a target's line of the table.
func (did result) row(t target) string {
	findings := "0"
	if did.err != nil {
		findings = "see below"
		if m := regexp.MustCompile(`testdata/fuzz/\S+`).FindString(did.out); m != "" {
			findings = m
		}
	}
	return fmt.Sprintf("| %s %s | %s | %d | %s | %s |", strings.TrimPrefix(t.dir, "pkg/"), t.name, did.cpu.Round(time.Second), did.executions, cmp.Or(did.corpus, "0"), findings)
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
