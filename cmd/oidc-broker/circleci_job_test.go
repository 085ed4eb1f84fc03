package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// circleciJob runs a job of a configuration on this machine: it expands it and
// runs its steps, each in a shell of its own, until one fails. Of CircleCI's own
// steps it only says the name.
//
//	circleci-job [--shell 'sh -e'] [--inline] FILE JOB
func circleciJob() {
	flags := flag.NewFlagSet("circleci-job", flag.ExitOnError)
	shell := flags.String("shell", "bash -eo pipefail", "the shell that this machine's image has")
	inline := flags.Bool("inline", false, "the orb is part of the configuration, which shows in its booleans")
	_ = flags.Parse(os.Args[1:])
	job, err := expandJob(flags.Arg(0), flags.Arg(1), *inline)
	if err != nil {
		fmt.Fprintln(os.Stderr, "circleci-job:", err)
		os.Exit(120)
	}
	if job.shell == "" {
		job.shell = *shell
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := job.run(ctx, machineOf{env: os.Environ(), stdout: os.Stdout, stderr: os.Stderr})
	stop()
	os.Exit(status)
}

func expandJob(file, name string, inline bool) (*circleJob, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	orb, err := readYAML(os.Getenv("ORB"))
	if err != nil {
		return nil, err
	}
	c, err := newCircleConfig(file, text, map[string]map[string]any{"oidc-broker/oidc-broker": orb})
	if err != nil {
		return nil, err
	}
	c.published = c.published && !inline
	return c.job(name)
}

// A machineOf a job is where its steps run.
type machineOf struct {
	dir            string
	env            []string
	stdout, stderr io.Writer
}

// run returns the exit code of the first step that failed.
func (j *circleJob) run(ctx context.Context, m machineOf) int {
	status := 0
	for _, s := range j.steps {
		if (s.when == "on_success" || s.kind != "run") && status != 0 || s.when == "on_fail" && status == 0 {
			continue
		}
		if s.kind != "run" {
			fmt.Fprintln(m.stdout, "==", s.kind)
			continue
		}
		fmt.Fprintln(m.stdout, "==", s.name)
		if got := j.step(ctx, m, s); status == 0 {
			status = got
		}
	}
	return status
}

func (j *circleJob) step(ctx context.Context, m machineOf, s circleStep) int {
	shell := j.shell
	if s.shell != "" {
		shell = s.shell
	}
	argv := append(strings.Fields(shell), "-c", s.command)
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.Dir, c.Env, c.Stdout, c.Stderr, c.WaitDelay = m.dir, slices.Clone(m.env), m.stdout, m.stderr, time.Second
	if s.dir != "" {
		c.Dir = filepath.Join(m.dir, s.dir)
	}
	for _, env := range []map[string]string{j.env, s.env} {
		for _, name := range slices.Sorted(maps.Keys(env)) {
			c.Env = append(c.Env, name+"="+env[name])
		}
	}
	err := c.Run()
	if c.ProcessState == nil {
		fmt.Fprintln(m.stderr, "circleci-job:", err)
		return 121
	}
	return c.ProcessState.ExitCode()
}

// machine makes PATH that of an image without oidc-broker:
//
//	machine debian               what this machine has, and ~/.local/bin in front
//	machine alpine [PROGRAM...]  busybox alone, and those programs of this machine's
//	machine windows              as debian, but it says that it is Git's bash
//
// What CircleCI and the test bring along is on it in any case.
func machine(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: machine debian|alpine|windows [PROGRAM...]")
	}
	before := ts.Getenv("MACHINE_PATH")
	if before == "" {
		before = ts.Getenv("PATH")
		ts.Setenv("MACHINE_PATH", before)
	}
	bin := ts.MkAbs("machine")
	ts.Check(os.RemoveAll(bin))
	ts.Check(os.Mkdir(bin, 0o700))
	self, err := lookPath("circleci-job", before)
	ts.Check(err)
	ts.Check(os.Symlink(self, filepath.Join(bin, "circleci-job")))
	dirs := []string{bin}
	for _, dir := range filepath.SplitList(before) {
		_, err := os.Stat(filepath.Join(dir, "oidc-broker"))
		_, injected := os.Stat(filepath.Join(dir, "circleci"))
		if err != nil && (args[0] != "alpine" || injected == nil) {
			dirs = append(dirs, dir)
		}
	}
	switch args[0] {
	case "debian":
	case "windows":
		script(ts, filepath.Join(bin, "uname"), `case $1 in -s) echo MINGW64_NT-10.0-20348 ;; *) echo x86_64 ;; esac`)
	case "alpine":
		busybox(ts, bin)
		for _, program := range args[1:] {
			script(ts, filepath.Join(bin, program), fmt.Sprintf("PATH='%s' exec %s \"$@\"", before, program))
		}
	default:
		ts.Fatalf("machine: there is no %s", args[0])
	}
	if args[0] != "alpine" {
		dirs = slices.Insert(dirs, 1, ts.MkAbs(".local/bin"))
	}
	ts.Setenv("PATH", strings.Join(dirs, string(filepath.ListSeparator)))
}

func script(ts *testscript.TestScript, path, text string) {
	// #nosec G306 -- a program has to be executable
	ts.Check(os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700))
}

// busybox links all applets, as Alpine does.
func busybox(ts *testscript.TestScript, bin string) {
	program, err := exec.LookPath("busybox")
	ts.Check(err)
	list, err := exec.Command(program, "--list").Output()
	ts.Check(err)
	for _, applet := range strings.Fields(string(list)) {
		ts.Check(os.Symlink(program, filepath.Join(bin, applet)))
	}
}
