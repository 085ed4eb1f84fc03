package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
)

// CircleCIRun is the circleci stand-in: it takes the arguments of the real
// command, `run oidc get [--claims JSON] [--root-issuer]`, and returns the
// token that a sandbox mints at mintURL, which is CIRCLE_OIDC_SANDBOX_URL. As
// the real one it is to print the token on stdout, or the error on stderr and
// to exit 1.
func CircleCIRun(ctx context.Context, mintURL string, args []string, client func(*http.Request) (*http.Response, error)) (token string, err error) {
	ask, err := parseRun(args)
	if err != nil {
		return "", err
	}
	if mintURL == "" {
		return "", fault.New(fault.Usage, "%s is not set", mintURLEnv).
			Hint("this circleci works inside `oidc-broker sandbox` alone")
	}
	body, err := json.Marshal(ask)
	if err != nil {
		return "", err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, mintURL, bytes.NewReader(body))
	if err != nil {
		return "", fault.New(fault.Usage, "%s is not a URL", mintURLEnv)
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := client(r)
	if err != nil {
		return "", fault.New(fault.Unavailable, "cannot reach the sandbox: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return "", fault.New(fault.Unavailable, "the sandbox mints no token: status %d", answer.StatusCode)
	}
	var minted mintAnswer
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxMint)).Decode(&minted); err != nil || minted.Token == "" {
		return "", fault.New(fault.Unavailable, "the sandbox's answer holds no token")
	}
	return minted.Token, nil
}

// parseRun reads the command line of the real circleci, as far as it is
// documented. What is not documented is refused: a job must not come to
// depend on it here and fail in CI.
func parseRun(args []string) (mintRequest, error) {
	var ask mintRequest
	if len(args) < 3 || args[0] != "run" || args[1] != "oidc" || args[2] != "get" {
		return ask, fault.New(fault.Usage, "the sandbox's circleci knows one command: circleci run oidc get")
	}
	for rest := args[3:]; len(rest) > 0; rest = rest[1:] {
		name, value, inline := strings.Cut(rest[0], "=")
		switch {
		case rest[0] == "--root-issuer":
			ask.RootIssuer = true
			continue
		case name != "--claims":
			return ask, fault.New(fault.Usage, "circleci run oidc get knows --claims and --root-issuer, not %q", rest[0])
		case !inline && len(rest) == 1:
			return ask, fault.New(fault.Usage, "--claims needs a value")
		case !inline:
			value, rest = rest[1], rest[1:]
		}
		audience, err := parseClaims(value)
		if err != nil {
			return ask, err
		}
		ask.Audience = audience
	}
	return ask, nil
}

func parseClaims(text string) (audience string, err error) {
	var claims map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &claims); err != nil {
		return "", fault.New(fault.Usage, "--claims is not a JSON object").
			Hint(`write --claims '{"aud":"NAME"}', in single quotes`)
	}
	for name := range claims {
		if name != "aud" {
			return "", fault.New(fault.Usage, "only the claim aud can be customised, not %q", name)
		}
	}
	raw, asked := claims["aud"]
	if !asked {
		return "", nil
	}
	if err := json.Unmarshal(raw, &audience); err != nil || audience == "" {
		return "", fault.New(fault.Usage, "the claim aud in --claims is not text, or is empty")
	}
	return audience, nil
}
