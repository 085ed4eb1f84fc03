package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/sandbox"
	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// TestDocs runs every command that the documentation shows: each page in a
// sandbox and in a directory of its own, its blocks in their order.
//
// A block of sh or bash is a script, and so is each run step in a block of yaml. A
// configuration with workflows, or one that uses the orb, is expanded as CircleCI
// does it, and each of its jobs runs on a machine of its own.
// What a reader does not see stands in a comment before the block:
//
//	<!-- docs-test: exits 4 -->          the exit code that is expected
//	<!-- docs-test: not run: REASON -->
//	<!-- docs-test: release -->          it is about a release: TestInstalling runs it
//	<!-- docs-test: printed by COMMAND --> the block is what the command prints on stdout
//	<!-- docs-test: background -->       one command, which serves until the page's end
//	<!-- docs-test: file NAME -->        the block is that file of the project
//	<!-- docs-test: setup                commands that come before
//	...
//	-->
//
// testdata/docs holds what stands in for programs that would leave this machine. The
// pages under docs/examples have the real ones but for Docker, and ECR and S3 of a
// moto server.
func TestDocs(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the commands are for bash")
	}
	testenv.NeedFull(t, "starts the AWS CLI and gcloud")
	for _, name := range []string{"bash", "aws", "gcloud"} {
		testenv.Program(t, name)
	}
	m := newMotos(t)
	for _, page := range pages(t) {
		t.Run(page.name, func(t *testing.T) {
			t.Parallel()
			page.run(t, m)
		})
	}
}

// repository is the top directory.
func repository(t *testing.T) string {
	t.Helper()
	top, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return top
}

// A page of the documentation.
type page struct {
	name   string // from the top directory
	text   string
	blocks []block
}

// A block is fenced.
type block struct {
	language, text string
	line           int // of its fence
	notes          []string
}

// pages are the README and all pages under docs, but for those that are generated.
func pages(t *testing.T) []page {
	t.Helper()
	top := repository(t)
	names := []string{"README.md"}
	err := filepath.WalkDir(filepath.Join(top, "docs"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(top, path)
		switch {
		case err != nil:
			return err
		case d.IsDir() && name == filepath.Join("docs", "reference"):
			return fs.SkipDir
		case strings.HasSuffix(name, ".md"):
			names = append(names, filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var all []page
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(top, name))
		if err != nil {
			t.Fatal(err)
		}
		p := page{name: name, text: string(b)}
		p.blocks, err = blocks(p.text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all = append(all, p)
	}
	return all
}

const noteStart = "<!-- docs-test:"

// blocks finds the fenced blocks of a page, with the notes before each.
func blocks(text string) ([]block, error) {
	var all []block
	var notes []string
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		switch {
		case strings.HasPrefix(line, noteStart):
			note := strings.TrimPrefix(line, noteStart)
			for !strings.Contains(note, "-->") {
				if i++; i >= len(lines) {
					return nil, fmt.Errorf("a comment without an end")
				}
				note += "\n" + lines[i]
			}
			note, _, _ = strings.Cut(note, "-->")
			notes = append(notes, strings.TrimSpace(note))
		case strings.HasPrefix(strings.TrimLeft(line, " "), "```"):
			fence := strings.TrimLeft(line, " ")
			b := block{language: strings.TrimPrefix(fence, "```"), line: i + 1, notes: notes}
			var body []string
			for i++; i < len(lines) && strings.TrimLeft(lines[i], " ") != "```"; i++ {
				body = append(body, lines[i])
			}
			if i >= len(lines) {
				return nil, fmt.Errorf("line %d: a block without an end", b.line)
			}
			b.text = strings.Join(body, "\n") + "\n"
			all, notes = append(all, b), nil
		}
	}
	if len(notes) > 0 {
		return nil, fmt.Errorf("a note that no block follows: %q", notes[0])
	}
	return all, nil
}

// scripts are the commands in a block, each a script.
func (b block) scripts() ([]string, error) {
	switch b.language {
	case "sh", "bash":
		return []string{b.text}, nil
	case "yaml":
		var document any
		if err := yaml.Unmarshal([]byte(b.text), &document); err != nil {
			return nil, err
		}
		return steps(document), nil
	}
	return nil, nil
}

// steps finds the run steps in a part of a CircleCI configuration, in the order
// in which they stand.
func steps(v any) []string {
	var all []string
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			all = append(all, steps(item)...)
		}
	case map[string]any:
		switch run := v["run"].(type) {
		case string:
			return []string{run}
		case map[string]any:
			if command, ok := run["command"].(string); ok {
				return []string{command}
			}
		}
		for _, key := range slices.Sorted(mapKeys(v)) {
			all = append(all, steps(v[key])...)
		}
	}
	return all
}

func mapKeys(m map[string]any) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// run runs the page's commands.
func (p page) run(t *testing.T, m *motos) {
	var job *job
	for _, b := range p.blocks {
		scripts, err := b.scripts()
		if err != nil {
			t.Errorf("%s:%d: %v", p.name, b.line, err)
			continue
		}
		want, setup, printedBy, not, file, background := 0, "", "", "", "", false
		for _, note := range b.notes {
			kind, rest, _ := strings.Cut(note, " ")
			switch {
			case kind == "exits":
				if want, err = strconv.Atoi(rest); err != nil {
					t.Fatalf("%s:%d: %v", p.name, b.line, err)
				}
			case strings.HasPrefix(note, "printed by "):
				printedBy = strings.TrimPrefix(note, "printed by ")
			case kind == "file":
				file = rest
			case note == "background":
				background = true
			case strings.HasPrefix(note, "not run: "), note == releaseNote:
				not = note
			case strings.HasPrefix(note, "setup\n"):
				setup = strings.TrimPrefix(note, "setup\n")
			default:
				t.Fatalf("%s:%d: the note %q is not known", p.name, b.line, note)
			}
		}
		if printedBy != "" {
			scripts = nil
		}
		if not != "" || len(scripts) == 0 && printedBy == "" && file == "" && !strings.Contains(b.text, "oidc-broker/") {
			continue
		}
		if job == nil {
			job = newJob(t)
			if strings.HasPrefix(p.name, "docs/examples/") {
				job.useReal(t, m, p.text)
			}
		}
		if file != "" {
			if err := os.WriteFile(filepath.Join(job.dir, file), []byte(b.text), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if printedBy != "" {
			job.prints(t, fmt.Sprintf("%s:%d", p.name, b.line), printedBy, b.text)
		}
		if setup != "" {
			job.step(t, fmt.Sprintf("%s:%d, its setup", p.name, b.line), setup, 0)
		}
		if whole := wholeConfig(b); whole != "" && (strings.Contains(b.text, "workflows:") || strings.Contains(b.text, "oidc-broker/")) {
			job.config(t, fmt.Sprintf("%s:%d", p.name, b.line), whole, want)
			continue
		}
		for _, s := range scripts {
			if background {
				job.serve(t, s)
				continue
			}
			job.step(t, fmt.Sprintf("%s:%d", p.name, b.line), s, want)
		}
	}
}

// A job is the environment that a page's commands run in.
type job struct {
	dir string
	env []string
}

// newJob makes one: a sandbox, and a project's directory with what the
// documentation supposes to be there.
func newJob(t *testing.T) *job {
	t.Helper()
	dir := t.TempDir()
	own := filepath.Join(dir, "sandbox")
	j := &job{dir: filepath.Join(dir, "project")}
	for _, d := range []string{own, j.dir, filepath.Join(dir, "home")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	self, err := lookPath("oidc-broker", os.Getenv("PATH"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := sandbox.Start(context.Background(), sandbox.Config{
		Now: time.Now, Dir: own, Executable: self,
		Roles: []string{
			sandbox.DefaultRole, "arn:aws:iam::111122223333:role/ci",
			"arn:aws:iam::222233334444:role/deploy", "arn:aws:iam::333344445555:role/deploy",
		},
		GCPServiceAccounts: []string{"deploy@my-project.iam.gserviceaccount.com"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	standIns := filepath.Join(repository(t), "testdata", "docs")
	if err := os.CopyFS(j.dir, os.DirFS(filepath.Join(standIns, "project"))); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(j.dir, "examples"), os.DirFS(filepath.Join(repository(t), "docs", "examples"))); err != nil {
		t.Fatal(err)
	}
	set, _ := s.Environment()
	for name, value := range map[string]string{
		"HOME":     filepath.Join(dir, "home"),
		"REALPATH": os.Getenv("PATH"),
		"PATH":     strings.Join([]string{filepath.Join(standIns, "bin"), s.Bin(), os.Getenv("PATH")}, string(filepath.ListSeparator)),
		"TMPDIR":   dir,
		// What the documentation tells to put into a context.
		"AWS_ROLE_ARN": sandbox.DefaultRole, "AWS_REGION": "eu-central-1",
		"GOOGLE_PROJECT_NUMBER": "123456789012", "GCP_WIP_ID": "circleci", "GCP_WIP_PROVIDER_ID": "circleci",
		"GCP_SERVICE_ACCOUNT_EMAIL": sandbox.DefaultGCPServiceAccount,
		"VAULT_ROLE":                sandbox.DefaultVaultRole,
	} {
		set[name] = value
	}
	for _, name := range []string{"GOCACHE", "GOPATH", "LANG"} {
		if v := os.Getenv(name); v != "" {
			set[name] = v
		}
	}
	for name, value := range set {
		j.env = append(j.env, name+"="+value)
	}
	return j
}

// useReal puts the real programs in the place of what stands in for them.
func (j *job) useReal(t *testing.T, m *motos, text string) {
	t.Helper()
	standIns := filepath.Join(repository(t), "testdata", "docs")
	for i, pair := range j.env {
		j.env[i] = strings.Replace(pair, "PATH="+filepath.Join(standIns, "bin"), "PATH="+filepath.Join(standIns, "examples"), 1)
	}
	for program, word := range map[string]string{"terraform": "terraform ", "jq": "jq ", "moto_server": "aws ecr"} {
		if strings.Contains(text, word) {
			testenv.Program(t, program)
		}
	}
	if !strings.Contains(text, "aws ecr") && !strings.Contains(text, "backend") {
		return
	}
	testenv.Program(t, "moto_server")
	server, err := m.open()
	if err != nil {
		t.Fatal(err)
	}
	j.env = append(j.env, "AWS_ENDPOINT_URL_ECR="+server.url, "AWS_ENDPOINT_URL_S3="+server.url,
		// A bucket has no host name of its own here.
		"TF_CLI_ARGS_init=-backend-config=use_path_style=true", "CHECKPOINT_DISABLE=1")
}

// filled puts values for the names in a script that a reader puts his own for.
func filled(script string) string {
	for _, name := range []struct{ pattern, value string }{
		{`\bORG(_UUID)?\b`, ci.SampleOrg}, {`\bPROJECT(_UUID)?\b`, ci.SampleProject},
		{`go run \./cmd/oidc-broker`, "oidc-broker"},
	} {
		script = regexp.MustCompile(name.pattern).ReplaceAllString(script, name.value)
	}
	return script
}

// step runs a script as a step of a job runs it.
func (j *job) step(t *testing.T, where, script string, want int) {
	t.Helper()
	script = filled(script)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "bash", "-eo", "pipefail", "-c", script)
	c.Dir, c.Env, c.WaitDelay = j.dir, j.env, time.Second
	var output bytes.Buffer
	c.Stdout, c.Stderr = &output, &output
	err := c.Run()
	if c.ProcessState == nil {
		t.Fatalf("%s: %v", where, err)
	}
	if got := c.ProcessState.ExitCode(); got != want {
		t.Errorf("%s: exit code %d, want %d\n%s\n%s", where, got, want, script, output.String())
	}
}

// config runs each job of a configuration: on a machine that has oidc-broker, of
// the version that the orb installs, and nothing of the jobs before.
func (j *job) config(t *testing.T, where, text string, want int) {
	t.Helper()
	orb, err := readYAML(orbPacked)
	if err != nil {
		t.Fatal(err)
	}
	c, err := newCircleConfig(where, []byte(filled(text)), map[string]map[string]any{"oidc-broker/oidc-broker": orb})
	if err != nil {
		t.Error(err)
		return
	}
	for _, name := range c.jobs() {
		expanded, err := c.job(name)
		if err != nil {
			t.Error(err)
			continue
		}
		expanded.shell = "bash -eo pipefail"
		ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
		var output bytes.Buffer
		got := expanded.run(ctx, machineOf{dir: j.dir, env: append(slices.Clone(j.env), fresh(t, j.env)...), stdout: &output, stderr: &output})
		cancel()
		if got != want {
			t.Errorf("%s: job %s: exit code %d, want %d\n%s", where, name, got, want, output.String())
		}
	}
}

// fresh are the variables that name files of a new machine, on which oidc-broker
// says that it is a release.
func fresh(t *testing.T, env []string) []string {
	t.Helper()
	dir := t.TempDir()
	path := ""
	for _, pair := range env {
		if p, ok := strings.CutPrefix(pair, "PATH="); ok {
			path = p
		}
	}
	self, err := lookPath("oidc-broker", path)
	if err != nil {
		t.Fatal(err)
	}
	writeProgram(t, filepath.Join(dir, "bin", "oidc-broker"), fmt.Sprintf(
		"[ \"$*\" != version ] || { echo 'oidc-broker %s (commit, go, platform)'; exit 0; }\nexec '%s' \"$@\"", orbVersion, self))
	return []string{
		"PATH=" + filepath.Join(dir, "bin") + string(filepath.ListSeparator) + path, "HOME=" + dir, "BASH_ENV=" + filepath.Join(dir, "bash_env"),
		"AWS_SHARED_CREDENTIALS_FILE=" + filepath.Join(dir, "aws", "credentials"), "AWS_CONFIG_FILE=" + filepath.Join(dir, "aws", "config"),
		"CLOUDSDK_CONFIG=" + filepath.Join(dir, "gcloud"), "BAO_TOKEN_PATH=" + filepath.Join(dir, "vault-token"),
	}
}

// prints demands that a command prints what a block shows.
func (j *job) prints(t *testing.T, where, command, want string) {
	t.Helper()
	c := exec.Command("bash", "-eo", "pipefail", "-c", filled(command))
	c.Dir, c.Env = j.dir, j.env
	got, err := c.Output()
	if err != nil {
		t.Fatalf("%s: %s: %v", where, command, err)
	}
	// The names that the page shows in place of values.
	text := strings.NewReplacer(ci.SampleOrg, "ORG_UUID", ci.SampleProject, "PROJECT_UUID").Replace(string(got))
	if diff := cmp.Diff(want, strings.TrimSuffix(text, "\n")+"\n"); diff != "" {
		t.Errorf("%s: not what '%s' prints (- page, + command):\n%s", where, command, diff)
	}
}

// serve starts a command that says on stderr when it serves, and ends it with the
// test.
func (j *job) serve(t *testing.T, script string) {
	t.Helper()
	c := exec.Command("bash", "-c", "exec "+filled(script))
	c.Dir, c.Env = j.dir, j.env
	stderr, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Signal(os.Interrupt)
		_, _ = io.Copy(io.Discard, stderr)
		if err := c.Wait(); err != nil {
			t.Errorf("%s: %v", script, err)
		}
	})
	for line := bufio.NewScanner(stderr); line.Scan(); {
		if strings.Contains(line.Text(), "serves until") {
			return
		}
	}
	t.Fatalf("%s: it ended without serving", script)
}

// TestDocsNameWhatThereIs holds each command and option of ours that a page
// mentions, in a block or between backquotes, against --help.
func TestDocsNameWhatThereIs(t *testing.T) {
	help := map[string]string{}
	helpOf := func(words []string) string {
		key := strings.Join(words, " ")
		if _, known := help[key]; !known {
			self, err := lookPath("oidc-broker", os.Getenv("PATH"))
			if err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(self, append(slices.Clone(words), "--help")...).Output()
			if err != nil {
				out = nil
			}
			help[key] = string(out)
		}
		return help[key]
	}
	for _, p := range pages(t) {
		for _, m := range regexp.MustCompile("(?s)`+[^`]*`+").FindAllString(p.text, -1) {
			m = strings.ReplaceAll(strings.Trim(m, "`"), "\\\n", " ")
			for _, c := range regexp.MustCompile(`(?:^|[\s'"(/;&|$-])oidc-broker ((?:[a-z][a-z-]*)(?: [^\n'"|;&)]*)?)`).FindAllStringSubmatch(m, -1) {
				if err := mentioned(strings.Fields(c[1]), helpOf); err != nil {
					t.Errorf("%s: oidc-broker %s: %v", p.name, c[1], err)
				}
			}
		}
	}
}

// mentioned finds the command that the words begin with, and their options in its
// help.
func mentioned(words []string, helpOf func([]string) string) error {
	var command []string
	for len(words) > 0 && regexp.MustCompile(`^[a-z][a-z-]*$`).MatchString(words[0]) {
		if !strings.Contains(helpOf(command), "\n  "+words[0]+" ") {
			if len(command) == 0 || strings.Contains(helpOf(command), "\nCommands:\n") {
				return fmt.Errorf("'%s' has no command %q", strings.Join(command, " "), words[0])
			}
			break
		}
		command, words = append(command, words[0]), words[1:]
	}
	for _, w := range words {
		if w == "--" {
			break
		}
		name, _, _ := strings.Cut(w, "=")
		if regexp.MustCompile(`^--[a-z][a-z0-9-]*$`).MatchString(name) && !regexp.MustCompile(name+`[ \n]`).MatchString(helpOf(command)) {
			return fmt.Errorf("'%s' has no option %s", strings.Join(command, " "), name)
		}
	}
	return nil
}
