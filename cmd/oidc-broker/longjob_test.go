package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	adc "cloud.google.com/go/auth/credentials"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/oauth2/google"

	"github.com/oidc-broker/oidc-broker/testdata/testenv"
)

// A longJob is how long the clients of testdata/longjob work, and how long what
// they are given is valid: for a good part of the work. OIDC_BROKER_FULL=2 has them
// work for three minutes.
type longJob struct{ seconds, lasts, pause int }

func newLongJob() longJob {
	if testenv.IsProof() {
		return longJob{seconds: 180, lasts: 60, pause: 3}
	}
	return longJob{seconds: 25, lasts: 20, pause: 2}
}

func (l longJob) setenv(e *testscript.Env) {
	e.Setenv("LONG_SECONDS", strconv.Itoa(l.seconds))
	e.Setenv("LONG_PAUSE", strconv.Itoa(l.pause))
	e.Setenv("LONG_TTL", fmt.Sprintf("%ds", l.lasts))
	if !missingNode("google-auth-library") {
		e.Setenv("LONG_NODE", "yes")
	}
}

// longClient asks again and again, for as long as the environment says and once
// more, and ends at the first answer that is none. ask returns what it asked with.
func longClient(name string, ask func(context.Context) (string, error)) {
	seconds, err1 := strconv.Atoi(os.Getenv("LONG_SECONDS"))
	pause, err2 := strconv.Atoi(os.Getenv("LONG_PAUSE"))
	ctx := context.Background()
	asked, with := 0, map[string]bool{}
	err := errors.Join(err1, err2)
	end := time.Now().Add(time.Duration(seconds) * time.Second)
	for now := (time.Time{}); err == nil && now.Before(end); asked++ {
		now = time.Now()
		var key string
		key, err = ask(ctx)
		with[key] = true
		time.Sleep(time.Duration(pause) * time.Second)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: after %d answers: %v\n", name, asked-1, err)
		os.Exit(1)
	}
	fmt.Println(name, "asked", asked, "times with", len(with), "keys")
}

// goSDKLong is aws-sdk-go-v2, with one client for all its life.
func goSDKLong() {
	var options []func(*config.LoadOptions) error
	if len(os.Args) > 1 {
		options = append(options, config.WithSharedConfigProfile(os.Args[1]))
	}
	c, err := config.LoadDefaultConfig(context.Background(), options...)
	client := sts.NewFromConfig(c)
	longClient("gosdk", func(ctx context.Context) (string, error) {
		if err != nil {
			return "", err
		}
		if _, err := client.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}); err != nil {
			return "", err
		}
		got, err := c.Credentials.Retrieve(ctx)
		return got.AccessKeyID, err
	})
}

// goGoogleLong is both of Google's libraries for Go, each with one source of tokens
// for all its life.
func goGoogleLong() {
	ctx := context.Background()
	older, err1 := google.FindDefaultCredentials(ctx, cloudPlatform)
	newer, err2 := adc.DetectDefault(&adc.DetectOptions{Scopes: []string{cloudPlatform}})
	longClient("gogoogle", func(ctx context.Context) (string, error) {
		if err := errors.Join(err1, err2); err != nil {
			return "", err
		}
		first, err := older.TokenSource.Token()
		if err != nil {
			return "", err
		}
		second, err := newer.Token(ctx)
		if err != nil {
			return "", err
		}
		return first.AccessToken, errors.Join(describeProject(ctx, first.AccessToken), describeProject(ctx, second.Value))
	})
}

// describeProject asks Cloud Resource Manager for the project.
func describeProject(ctx context.Context, token string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, os.Getenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER")+"v1/projects/123456789012", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err == nil && !strings.Contains(string(body), "ACTIVE") {
		err = fmt.Errorf("%s: %s", res.Status, body)
	}
	return err
}
