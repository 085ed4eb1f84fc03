package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/rogpeppe/go-internal/testscript"
)

// goSDK is a program as Terraform and others are: it finds credentials and
// region by aws-sdk-go-v2's own loader, by the profile that its argument names
// or by the environment, and prints whose they are.
func goSDK() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	var options []func(*config.LoadOptions) error
	if len(os.Args) > 1 {
		options = append(options, config.WithSharedConfigProfile(os.Args[1]))
	}
	c, err := config.LoadDefaultConfig(ctx, options...)
	var who *sts.GetCallerIdentityOutput
	if err == nil {
		who, err = sts.NewFromConfig(c).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gosdk:", err)
		os.Exit(1)
	}
	fmt.Println("gosdk", aws.ToString(who.Arn), c.Region)
}

// motos are the moto servers of a run of the tests. moto takes any token, so it
// says nothing about the exchange; it says that the AWS CLI and the SDKs find
// what we deliver and can work with it.
type motos struct {
	open      func() (*moto, error) // takes any credentials; all scripts share it
	verifying func() (*moto, error) // of one script: its count of requests is for all
	mu        sync.Mutex
	owner     string // the script that has verifying
}

func newMotos(t *testing.T) *motos {
	start := func(count string) func() (*moto, error) {
		return sync.OnceValues(func() (*moto, error) { return startMoto(t, count) })
	}
	return &motos{open: start("inf"), verifying: start("0")}
}

// point leads the script's clients to a moto server.
func (m *motos) point(ts *testscript.TestScript, neg bool, args []string) {
	var server *moto
	var err error
	switch {
	case !neg && len(args) == 0:
		server, err = m.open()
	case !neg && len(args) == 2 && args[0] == "--unsigned":
		m.claim(ts)
		if server, err = m.verifying(); err == nil {
			err = server.letPass(args[1])
		}
	default:
		ts.Fatalf("usage: moto [--unsigned N]")
	}
	ts.Check(err)
	ts.Setenv("AWS_ENDPOINT_URL", server.url)
	ts.Setenv("AWS_ENDPOINT_URL_STS", server.url)
	ts.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

func (m *motos) claim(ts *testscript.TestScript) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.owner != "" && m.owner != ts.Name() {
		ts.Fatalf("%s has the moto server that verifies", m.owner)
	}
	m.owner = ts.Name()
}

// A moto is a running moto_server.
type moto struct{ url string }

// bootTime bounds how long moto may take to start, on a busy machine too.
const bootTime = 90 * time.Second

// startMoto runs moto_server until the test is over. It lets unsigned actions
// pass uncontrolled, then demands good signatures.
func startMoto(t *testing.T, unsigned string) (*moto, error) {
	// Port 0: moto takes a free one, and says which. Nobody can be faster.
	cmd := exec.Command("moto_server", "-H", "127.0.0.1", "-p", "0")
	cmd.Env = append(os.Environ(), "INITIAL_NO_AUTH_ACTION_COUNT="+unsigned, "PYTHONUNBUFFERED=1")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	said := make(chan string, 1)
	go announced(stderr, said)
	select {
	case url := <-said:
		if url == "" {
			return nil, errors.New("moto_server ended, or never said where it listens")
		}
		return &moto{url}, call(http.MethodGet, url+"/moto-api/", "")
	case <-time.After(bootTime):
		return nil, fmt.Errorf("moto_server did not start within %s", bootTime)
	}
}

// announced sends the address that moto prints. It reads to the end, lest moto
// stops at a full pipe.
func announced(stderr io.Reader, said chan<- string) {
	running := regexp.MustCompile(`Running on (http://127\.0\.0\.1:[0-9]+)`)
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		if found := running.FindStringSubmatch(lines.Text()); found != nil {
			said <- found[1]
			break
		}
	}
	close(said)
	_, _ = io.Copy(io.Discard, stderr)
}

// letPass has moto take the next n actions as they are.
func (m *moto) letPass(n string) error { return call(http.MethodPost, m.url+"/moto-api/reset-auth", n) }

func call(method, url, body string) error {
	ctx, stop := context.WithTimeout(context.Background(), bootTime)
	defer stop()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("moto answers %s to %s %s", resp.Status, method, req.URL.Path)
	}
	return nil
}

// missingModule says whether python3 lacks a module.
func missingModule(name string) bool {
	const find = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"
	return exec.Command("python3", "-c", find, name).Run() != nil
}
