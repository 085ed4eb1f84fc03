package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	adc "cloud.google.com/go/auth/credentials"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/oauth2/google"
)

const cloudPlatform = "https://www.googleapis.com/auth/cloud-platform"

// goGoogle is a program as Terraform and others are: it finds Application
// Default Credentials by both of Google's libraries for Go, the older of which
// most programs still use, and prints an access token of each.
func goGoogle() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	for _, library := range []struct {
		name  string
		token func(context.Context) (string, error)
	}{{"oauth2", oauth2Token}, {"go-auth", goAuthToken}} {
		token, err := library.token(ctx)
		if err != nil {
			fmt.Fprintln(os.Stderr, "gogoogle:", err)
			os.Exit(1)
		}
		fmt.Println(library.name, token)
	}
}

func oauth2Token(ctx context.Context) (string, error) {
	found, err := google.FindDefaultCredentials(ctx, cloudPlatform)
	if err != nil {
		return "", err
	}
	token, err := found.TokenSource.Token()
	if err != nil {
		return "", err
	}
	return token.AccessToken, nil
}

func goAuthToken(ctx context.Context) (string, error) {
	found, err := adc.DetectDefault(&adc.DetectOptions{Scopes: []string{cloudPlatform}})
	if err != nil {
		return "", err
	}
	token, err := found.Token(ctx)
	if err != nil {
		return "", err
	}
	return token.Value, nil
}

// kinds are how the sandbox's access tokens begin.
var kinds = map[string]string{"account": "ya29.c.", "direct": "ya29.d."}

// granted demands that stdout holds one line "NAME TOKEN" for each name, in
// order, and that each token is one that the script's sandbox issued: to the
// service account, or to the workload itself.
func granted(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || kinds[args[0]] == "" {
		ts.Fatalf("usage: granted account|direct NAME...")
	}
	lines := strings.Split(strings.TrimSpace(ts.ReadFile("stdout")), "\n")
	if len(lines) != len(args)-1 {
		ts.Fatalf("%d lines, want %d", len(lines), len(args)-1)
	}
	issued := secretsOf(ts).all()
	for i, want := range args[1:] {
		name, token, _ := strings.Cut(lines[i], " ")
		switch {
		case name != want:
			ts.Fatalf("line %d is of %q, want %q", i+1, name, want)
		case !strings.HasPrefix(token, kinds[args[0]]) || !slices.Contains(issued, token):
			ts.Fatalf("the token of %s is none that the sandbox issued for %s access", name, args[0])
		}
	}
}

// nodeModules is where .ci/run installs what testdata/clients/node names: never
// in the checkout.
func nodeModules() string {
	tools := os.Getenv("OIDC_BROKER_TOOLS")
	if tools == "" {
		tools = filepath.Join(os.Getenv("HOME"), ".cache", "oidc-broker-tools")
	}
	return filepath.Join(tools, "node", "node_modules")
}

// missingNode says whether node or a module of it is not there.
func missingNode(name string) bool {
	if _, err := exec.LookPath("node"); err != nil {
		return true
	}
	_, err := os.Stat(filepath.Join(nodeModules(), name, "package.json"))
	return err != nil
}
