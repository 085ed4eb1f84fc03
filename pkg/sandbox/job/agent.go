package job

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/url"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

type agentRequest struct {
	Audience string `json:"audience,omitempty"`
	Lifetime int    `json:"lifetime,omitempty"` // seconds
}

type agentAnswer struct {
	Token string `json:"token"`
}

// BuildkiteAgent is the stand-in for buildkite-agent: it takes the arguments of
// `buildkite-agent oidc request-token`, and calls the API that the real one calls.
func BuildkiteAgent(ctx context.Context, getenv func(string) string, args []string, client func(*http.Request) (*http.Response, error)) (token string, err error) {
	ask, err := parseAgent(args)
	if err != nil {
		return "", err
	}
	endpoint, id := getenv("BUILDKITE_AGENT_ENDPOINT"), getenv("BUILDKITE_JOB_ID")
	if endpoint == "" || id == "" {
		return "", fault.New(fault.Usage, "BUILDKITE_AGENT_ENDPOINT or BUILDKITE_JOB_ID is not set").
			Hint("this buildkite-agent works inside `oidc-broker sandbox --ci buildkite` alone")
	}
	body, err := json.Marshal(ask)
	if err != nil {
		return "", err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint+"/jobs/"+url.PathEscape(id)+"/oidc/tokens", bytes.NewReader(body))
	if err != nil {
		return "", fault.New(fault.Usage, "BUILDKITE_AGENT_ENDPOINT is not a URL")
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Token "+getenv("BUILDKITE_AGENT_ACCESS_TOKEN"))
	answer, err := client(r)
	if err != nil {
		return "", fault.New(fault.Unavailable, "cannot reach the sandbox: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return "", fault.New(fault.Unavailable, "the sandbox issues no token: status %d", answer.StatusCode)
	}
	var minted agentAnswer
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxRequest)).Decode(&minted); err != nil || minted.Token == "" {
		return "", fault.New(fault.Unavailable, "the sandbox's answer holds no token")
	}
	return minted.Token, nil
}

// parseAgent reads the command line of the real one. It refuses what the sandbox does not
// do: a job must not come to depend on it here and fail in CI.
func parseAgent(args []string) (ask agentRequest, err error) {
	if len(args) < 2 || args[0] != "oidc" || args[1] != "request-token" {
		return ask, fault.New(fault.Usage, "the sandbox's buildkite-agent knows one command: buildkite-agent oidc request-token")
	}
	flags := flag.NewFlagSet("buildkite-agent", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&ask.Audience, "audience", "", "")
	flags.IntVar(&ask.Lifetime, "lifetime", 0, "")
	flags.Bool("skip-redaction", false, "") // there is no log to redact
	if err := flags.Parse(args[2:]); err != nil || flags.NArg() > 0 || ask.Lifetime < 0 {
		return ask, fault.New(fault.Usage, "the sandbox's buildkite-agent oidc request-token knows --audience, --lifetime and --skip-redaction")
	}
	return ask, nil
}
