package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/buildinfo"
	"debug/elf"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/oidc-broker/oidc-broker/pkg/ci"
	"github.com/oidc-broker/oidc-broker/pkg/cli"
	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// distEnv names the directory that goreleaser wrote a snapshot into: .ci/run builds
// one before the tests.
const distEnv = "OIDC_BROKER_DIST"

// dist returns that directory.
func dist(t *testing.T) string {
	t.Helper()
	dir := os.Getenv(distEnv)
	if dir == "" {
		testenv.Missing(t, "a snapshot of a release, whose directory "+distEnv+" names,")
	}
	return dir
}

// TestReleaseIsWhole: a snapshot has an archive for each system and each processor,
// three sorts of packages, and the digest of each of them.
func TestReleaseIsWhole(t *testing.T) {
	dir := dist(t)
	sums, err := os.ReadFile(filepath.Join(dir, "checksums.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, line := range strings.Split(strings.TrimSpace(string(sums)), "\n") {
		want, name, _ := strings.Cut(line, "  ")
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != want {
			t.Errorf("%s has another digest", name)
		}
		got = append(got, regexp.MustCompile(`^oidc-broker_[^_]+_`).ReplaceAllString(name, ""))
		t.Logf("%9d %s", len(b), name)
	}
	var want []string
	for _, arch := range []string{"amd64", "arm64"} {
		want = append(want, "darwin_"+arch+".tar.gz", "linux_"+arch+".tar.gz", "windows_"+arch+".zip",
			"linux_"+arch+".deb", "linux_"+arch+".rpm", "linux_"+arch+".apk")
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	cask, err := os.ReadFile(filepath.Join(dir, "homebrew", "Casks", "oidc-broker.rb"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(sums), "\n") {
		digest, name, _ := strings.Cut(line, "  ")
		if strings.HasSuffix(name, ".tar.gz") && !strings.Contains(string(cask), digest) {
			t.Errorf("the cask lacks the digest of %s", name)
		}
	}
	if n := strings.Count(string(cask), `url "https://github.com/oidc-broker/oidc-broker/releases/download/`); n != 4 {
		t.Errorf("%d of the cask's URLs are good", n)
	}
}

// TestReleaseArchives: what an archive holds, and that its program needs nothing,
// tells nothing of the machine that built it, and is of the commit's time.
func TestReleaseArchives(t *testing.T) {
	dir := dist(t)
	names, err := filepath.Glob(filepath.Join(dir, "oidc-broker_*_*_*.[tz]*"))
	if err != nil || len(names) != 6 {
		t.Fatal(names, err)
	}
	want := []string{"LICENSE", "README.md", "completions/_oidc-broker", "completions/oidc-broker.bash", "completions/oidc-broker.fish", "completions/oidc-broker.ps1"}
	cli.Reference().Walk(func(c cli.Manual) {
		want = append(want, "man/"+strings.ReplaceAll(c.Path, " ", "-")+".1")
	})
	for _, name := range names {
		parts := regexp.MustCompile(`_([a-z]+)_([a-z0-9]+)\.(tar\.gz|zip)$`).FindStringSubmatch(name)
		program := "oidc-broker"
		if parts[1] == "windows" {
			program += ".exe"
		}
		files, times := unpacked(t, name)
		if diff := cmp.Diff(sorted(append(slices.Clone(want), program)), slices.Sorted(maps.Keys(files))); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if len(times) != 1 {
			t.Errorf("%s: its files are of %d times", name, len(times))
		}
		programOf(t, filepath.Base(name), files[program], parts[1], parts[2])
	}
}

// programOf looks at a program.
func programOf(t *testing.T, name string, program []byte, goos, goarch string) {
	t.Helper()
	info, err := buildinfo.Read(bytes.NewReader(program))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	for key, value := range map[string]string{
		"GOOS": goos, "GOARCH": goarch, "CGO_ENABLED": "0", "-trimpath": "true", "vcs.modified": "false",
	} {
		if settings[key] != value {
			t.Errorf("%s: %s is %q, want %q", name, key, settings[key], value)
		}
	}
	top := repository(t)
	if bytes.Contains(program, []byte(top+"/")) || bytes.Contains(program, []byte(os.Getenv("HOME")+"/")) {
		t.Errorf("%s: a path of this machine is in it", name)
	}
	if goos != "linux" {
		return
	}
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("%s: it is not static", name)
		}
	}
}

func sorted(all []string) []string {
	slices.Sort(all)
	return all
}

// unpacked returns what the files of an archive hold, and the times they are of.
func unpacked(t *testing.T, name string) (map[string][]byte, map[int64]bool) {
	t.Helper()
	files, times := map[string][]byte{}, map[int64]bool{}
	add := func(member string, mode fs.FileMode, at time.Time, r io.Reader) {
		want := fs.FileMode(0o644)
		if strings.HasPrefix(path.Base(member), "oidc-broker") && path.Dir(member) == "." {
			want = 0o755
		}
		if mode.Perm() != want {
			t.Errorf("%s: %s has the mode %o", name, member, mode.Perm())
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[member], times[at.Unix()] = b, true
	}
	if strings.HasSuffix(name, ".zip") {
		z, err := zip.OpenReader(name)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = z.Close() }()
		for _, f := range z.File {
			r, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			add(f.Name, f.Mode(), f.Modified, r)
		}
		return files, times
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files, times
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Uname != "root" || h.Gname != "root" {
			t.Errorf("%s: %s is of %s (%d)", name, h.Name, h.Uname, h.Uid)
		}
		add(h.Name, h.FileInfo().Mode(), h.ModTime, r)
	}
}

// TestReleaseConfiguration: what goreleaser does not check by itself.
func TestReleaseConfiguration(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(repository(t), ".goreleaser.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Casks []struct {
			Manpages []string `yaml:"manpages"`
		} `yaml:"homebrew_casks"`
		Kos []struct {
			Repositories []string `yaml:"repositories"`
		} `yaml:"kos"`
	}
	if err := yaml.Unmarshal(b, &config); err != nil {
		t.Fatal(err)
	}
	var pages []string
	cli.Reference().Walk(func(c cli.Manual) {
		if strings.Count(c.Path, " ") < 2 {
			pages = append(pages, fmt.Sprintf("man/%s.1", strings.ReplaceAll(c.Path, " ", "-")))
		}
	})
	if diff := cmp.Diff(sorted(pages), sorted(config.Casks[0].Manpages)); diff != "" {
		t.Errorf("the cask's manual pages: %s", diff)
	}
	// The jobs and the documentation name the image too.
	for _, name := range []string{".circleci/config.yml", "docs/installing.md"} {
		text, err := os.ReadFile(filepath.Join(repository(t), filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), config.Kos[0].Repositories[0]+":") {
			t.Errorf("%s does not name the image %s", name, config.Kos[0].Repositories[0])
		}
	}
}

// releaseNote marks a block in the documentation that is about a release.
const releaseNote = "release"

// TestInstalling runs what docs/installing.md says of a release, one block after the
// other in one shell, with the snapshot's files in place of the published ones.
// testdata/docs/release holds what stands in for GitHub, Sigstore and sudo.
func TestInstalling(t *testing.T) {
	dir := dist(t)
	for _, name := range []string{"bash", "dpkg", "rpm", "man", "jq"} {
		testenv.Program(t, name)
	}
	archive, err := filepath.Glob(filepath.Join(dir, "oidc-broker_*_linux_"+runtime.GOARCH+".tar.gz"))
	if err != nil || len(archive) != 1 {
		t.Fatal(archive, err)
	}
	version := strings.Split(filepath.Base(archive[0]), "_")[1]
	b, err := os.ReadFile(archive[0])
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			if slices.Contains(b.notes, releaseNote) {
				script.WriteString(b.text)
			}
		}
	}
	text := filled(strings.NewReplacer(
		"version=1.2.3", "version="+version,
		"sha256="+strings.Repeat("0", 64), fmt.Sprintf("sha256=%x", sha256.Sum256(b)),
		"linux_amd64", "linux_"+runtime.GOARCH,
	).Replace(script.String()))

	root := t.TempDir()
	for _, place := range []string{"usr/local/bin", "var/lib/rpm", "work"} {
		if err := os.MkdirAll(filepath.Join(root, place), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.Command("bash", "-exo", "pipefail", "-c", text)
	c.Dir = filepath.Join(root, "work")
	c.Env = append(os.Environ(), "ROOT="+root, "SNAPSHOT="+version, distEnv+"="+dir, "PROJECT="+ci.SampleProject,
		"MANPATH="+filepath.Join(root, "usr", "share", "man"), "MANPAGER=cat", "LC_ALL=C",
		"PATH="+strings.Join([]string{
			filepath.Join(repository(t), "testdata", "docs", "release"),
			filepath.Join(root, "usr", "local", "bin"), os.Getenv("PATH"),
		}, string(filepath.ListSeparator)))
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"oidc-broker v" + version + " (", filepath.Base(archive[0]) + ": OK", "OIDC-BROKER-AWS-ENV(1)", `"buildDefinition"`,
	} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("it does not show %q:\n%s", want, out)
		}
	}
	for _, place := range []string{"usr/bin/oidc-broker", "usr/share/man/man1/oidc-broker.1.gz"} {
		if _, err := os.Stat(filepath.Join(root, place)); err != nil {
			t.Error(err)
		}
	}
}
