package ci

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"regexp"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// minters are the programs that mint a token, in this order. The second is what
// self-hosted runners have.
func minters() []string { return []string{"circleci", "circleci-agent"} }

// mintTime bounds one program's run. It takes a second or two.
const mintTime = 20 * time.Second

// errNoMinter means that neither program is on PATH.
var errNoMinter = errors.New("neither circleci nor circleci-agent is on PATH")

// mint has a token made for the audience; "" leaves CircleCI's default. If the
// first program fails, the second is asked: a circleci of the user's own (the
// local CLI) can stand before CircleCI's on PATH and knows nothing of tokens.
func (f Finder) mint(ctx context.Context, audience string) (oidc.Token, error) {
	args := []string{"run", "oidc", "get"}
	if audience != "" {
		claims, err := json.Marshal(map[string]string{"aud": audience})
		if err != nil {
			return oidc.Token{}, fault.New(fault.Internal, "cannot write the claims: %w", err)
		}
		args = append(args, "--claims", string(claims))
	}
	var failed error
	for _, program := range minters() {
		t, err := f.mintWith(ctx, program, args)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if ctx.Err() == context.Canceled {
			return oidc.Token{}, context.Canceled
		}
		if err == nil {
			return t, nil
		}
		if failed == nil {
			failed = err
		}
	}
	if failed == nil {
		return oidc.Token{}, fault.New(fault.Token, "cannot mint a token: %w", errNoMinter).
			Hint("CircleCI puts one of them on the PATH of its jobs; for what else is needed, see 'oidc-broker token --help'")
	}
	return oidc.Token{}, failed
}

// mintWith asks one program.
func (f Finder) mintWith(ctx context.Context, program string, args []string) (oidc.Token, error) {
	// One that hangs must leave time for the other, and for the exchange.
	ctx, cancel := context.WithTimeout(ctx, mintTime)
	defer cancel()
	stdout, stderr, err := f.Run(ctx, append([]string{program}, args...)...)
	if errors.Is(err, fs.ErrNotExist) {
		return oidc.Token{}, err
	}
	if ctx.Err() != nil {
		return oidc.Token{}, fault.New(fault.Token, "%s run oidc get did not end in time", program)
	}
	t, err := minted(program, stdout, stderr, err)
	if err == nil && t.Expired(f.Now()) {
		return oidc.Token{}, fault.New(fault.Token, "%s run oidc get made a token that expired at %s", program, t.Expiry.Format(time.RFC3339)).
			Hint("is this machine's clock right?")
	}
	return t, err
}

// minted judges what a program printed. It is not trusted to say by its exit
// code whether it worked: some versions exit 0 with nothing printed.
func minted(program string, stdout, stderr []byte, err error) (oidc.Token, error) {
	source := "the output of '" + program + " run oidc get'"
	if err == nil {
		t, perr := oidc.Parse(string(stdout), source)
		if perr == nil {
			t.Source = program + " run oidc get"
			return t, nil
		}
		if strings.TrimSpace(string(stdout)) != "" {
			return oidc.Token{}, perr
		}
	}
	why := "it printed nothing"
	if err != nil {
		why = err.Error()
	}
	if said := firstLine(stderr); said != "" {
		why = said
	}
	return oidc.Token{}, fault.New(fault.Token, "%s run oidc get made no token: %s", program, why).
		Hint("is %s the one that CircleCI provides? The local CLI of the same name cannot mint", program)
}

// jwtLike is what no message may repeat.
const jwtLike = `[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}(?:\.[A-Za-z0-9_-]*)?` // #nosec G101 -- a pattern

// firstLine returns the first line that is not empty, fit to be printed.
func firstLine(b []byte) string {
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" {
			return secret.Foreign(regexp.MustCompile(jwtLike).ReplaceAllString(line, "[secret]"))
		}
	}
	return ""
}
