// Command reference writes what a release holds beside the program: the manual
// pages, plain and packed, and the completions.
//
//	go run ./testdata/reference -version v1.2.0 -date 2026-11-28 DIRECTORY
//
// The pages in docs/reference are rewritten by a test: UPDATE=1 go test ./pkg/cli -run TestReference
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/cli"
)

func main() {
	log.SetFlags(0)
	version := flag.String("version", "devel", "the version at the foot of the pages")
	date := flag.String("date", "", "the date there: 2006-01-02, or more of it")
	flag.Parse()
	if flag.NArg() != 1 {
		log.Fatal("usage: reference [-version V] [-date D] DIRECTORY")
	}
	if err := write(flag.Arg(0), *version, (*date + "          ")[:10]); err != nil {
		log.Fatal(err)
	}
}

func write(dir, version, date string) error {
	files := map[string][]byte{}
	for name, text := range cli.Reference().ManPages(version, strings.TrimSpace(date)) {
		files["man/"+name] = []byte(text)
		packed, err := pack([]byte(text))
		if err != nil {
			return err
		}
		files["packed/"+name+".gz"] = packed
	}
	for shell, name := range map[string]string{
		"bash": "oidc-broker.bash", "zsh": "_oidc-broker", "fish": "oidc-broker.fish", "powershell": "oidc-broker.ps1",
	} {
		script, err := completion(shell)
		if err != nil {
			return err
		}
		files["completions/"+name] = script
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// pack is gzip without a time, so that the same page has the same bytes.
func pack(text []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	err = w.Close()
	return b.Bytes(), err
}

// completion is what 'oidc-broker completion SHELL' prints.
func completion(shell string) ([]byte, error) {
	var out, errs bytes.Buffer
	status := cli.Main(context.Background(), cli.World{
		Args:   []string{"completion", shell},
		Getenv: func(string) string { return "" }, Environ: func() []string { return nil },
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs,
		Now: time.Now, Transport: http.DefaultTransport,
	})
	if status != 0 {
		return nil, fmt.Errorf("completion %s: %s", shell, errs.String())
	}
	return out.Bytes(), nil
}
