package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// A release is what a version's files are, by name.
type release map[string][]byte

// webPage is what a proxy that wants a login answers.
const webPage = "<!DOCTYPE html>\n<html><body>Please log in</body></html>\n"

// releases builds the program once for all scripts.
type releases struct{ real func() (release, error) }

func newReleases(dir string) releases {
	return releases{sync.OnceValues(func() (release, error) {
		out := filepath.Join(dir, "oidc-broker")
		c := exec.Command("go", "build", "-o", out, "-ldflags", "-X github.com/oidc-broker/oidc-broker/pkg/cli.version="+orbVersion, ".")
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if said, err := c.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%w: %s", err, said)
		}
		program, err := os.ReadFile(out)
		if err != nil {
			return nil, err
		}
		return newRelease(program, "")
	})}
}

// of returns a release in which something is wrong, or the one that is right.
func (r releases) of(kind string) (release, error) {
	switch kind {
	case "":
		return r.real()
	case "other":
		return newRelease(standIn("0.0.9"), kind)
	}
	return newRelease(standIn(orbVersion), kind)
}

// serve starts a server of releases, sets RELEASES to its address and
// CHECKSUMS_SHA256 and ARCHIVE_SHA256 to what can be pinned:
//
//	release                what goreleaser makes of this version
//	release light          the same, with a script in the place of the program
//	release truncated      the archive's second half does not come
//	release short          it does not come, and the server says that this was all
//	release html           a web page in place of the archive
//	release html-checksums a web page in place of checksums.txt
//	release wrong          checksums.txt has another SHA-256
//	release other          the archive holds another version
//	release empty          the archive holds no program
func (r releases) serve(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 1 {
		ts.Fatalf("usage: release [KIND]")
	}
	kind := strings.Join(args, "")
	files, err := r.of(kind)
	ts.Check(err)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		name, ok := strings.CutPrefix(req.URL.Path, "/v"+orbVersion+"/")
		file, found := files[name]
		if !ok || !found {
			http.NotFound(w, req)
			return
		}
		if kind == "truncated" && name != "checksums.txt" {
			w.Header().Set("Content-Length", strconv.Itoa(len(file)))
			file = file[:len(file)/2]
		}
		_, _ = w.Write(file)
	}))
	ts.Defer(server.Close)
	ts.Setenv("RELEASES", server.URL)
	ts.Setenv("CHECKSUMS_SHA256", digestOf(files["checksums.txt"]))
	ts.Setenv("ARCHIVE_SHA256", digestOf(files[archiveName("linux", runtime.GOARCH)]))
}

func archiveName(system, arch string) string {
	extension := "tar.gz"
	if system == "windows" {
		extension = "zip"
	}
	return fmt.Sprintf("oidc-broker_%s_%s_%s.%s", orbVersion, system, arch, extension)
}

func digestOf(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }

// standIn is a program that says which version it is.
func standIn(version string) []byte {
	return fmt.Appendf(nil, "#!/bin/sh\necho 'oidc-broker %s (commit, go, platform)'\n", version)
}

// newRelease has the program in this machine's archive, and stand-ins in the
// others.
func newRelease(program []byte, kind string) (release, error) {
	files := release{}
	var checksums strings.Builder
	for _, system := range []string{"linux", "darwin", "windows"} {
		for _, arch := range []string{"amd64", "arm64"} {
			content := standIn(orbVersion)
			if system == runtime.GOOS && arch == runtime.GOARCH {
				content = program
			}
			archive, err := pack(system, content, kind == "empty")
			if err != nil {
				return nil, err
			}
			name := archiveName(system, arch)
			files[name] = archive
			sum := digestOf(archive)
			switch kind {
			case "wrong":
				sum = digestOf(nil)
			case "html":
				files[name] = []byte(webPage)
			case "short":
				files[name] = archive[:len(archive)/2]
			}
			fmt.Fprintf(&checksums, "%s  %s\n", sum, name)
		}
	}
	files["checksums.txt"] = []byte(checksums.String())
	if kind == "html-checksums" {
		files["checksums.txt"] = []byte(webPage)
	}
	return files, nil
}

// pack makes an archive as a release's.
func pack(system string, program []byte, empty bool) ([]byte, error) {
	name := "oidc-broker"
	if system == "windows" {
		name += ".exe"
	}
	entries := []struct {
		name    string
		mode    int64
		content []byte
	}{{"LICENSE", 0o644, []byte("Apache License\n")}, {"README.md", 0o644, []byte("# oidc-broker\n")}, {name, 0o755, program}}
	if empty {
		entries = entries[:2]
	}
	var b bytes.Buffer
	if system == "windows" {
		z := zip.NewWriter(&b)
		for _, e := range entries {
			w, err := z.Create(e.name)
			if err != nil {
				return nil, err
			}
			if _, err := w.Write(e.content); err != nil {
				return nil, err
			}
		}
		err := z.Close()
		return b.Bytes(), err
	}
	gz, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	t := tar.NewWriter(gz)
	for _, e := range entries {
		if err := t.WriteHeader(&tar.Header{Name: e.name, Mode: e.mode, Size: int64(len(e.content))}); err != nil {
			return nil, err
		}
		if _, err := t.Write(e.content); err != nil {
			return nil, err
		}
	}
	if err := t.Close(); err != nil {
		return nil, err
	}
	err = gz.Close()
	return b.Bytes(), err
}
