package ci

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// Guards are what this side demands of a token before it is sent anywhere. They
// guard against mistakes: whoever controls the job controls its command line,
// and only the cloud's own conditions are a boundary.
type Guards struct {
	// Claims are NAME=VALUE, each of which the token has to have. A name without
	// its prefix is one of CircleCI's own claims: project-id, vcs-ref.
	Claims []string
	// RefuseSSHRerun refuses the token of a job that somebody may be logged in to.
	RefuseSSHRerun bool
	// MinValidity is how long the token has to be valid yet. One that is not is
	// minted anew where that is possible.
	MinValidity time.Duration
}

// settle refuses what is no guard, as a fault.Usage.
func (g Guards) settle() error {
	for _, c := range g.Claims {
		if name, _, ok := strings.Cut(c, "="); !ok || name == "" {
			return fault.New(fault.Usage, "%s %q is not NAME=VALUE", fault.Option("require-claim"), c).
				Hint("as in %s vcs-ref=refs/heads/main", fault.Option("require-claim"))
		}
	}
	if g.MinValidity < 0 {
		return fault.New(fault.Usage, "%s %s is less than zero", fault.Option("min-validity"), g.MinValidity)
	}
	return nil
}

// check returns a fault.Refused for a token that has not what is demanded, a
// fault.Token for one that ends too soon.
func (g Guards) check(t oidc.Token, now time.Time) error {
	for _, c := range g.Claims {
		name, want, _ := strings.Cut(c, "=")
		got, there := claimOf(t, name)
		if there && holds(got, want) {
			continue
		}
		e := fault.New(fault.Refused, "%s: the token's %s is %s, not %q", fault.Option("require-claim"), name, shown(got, there), want)
		if !there {
			e.Hint("the claims that it has: oidc-broker token --format json")
		}
		return e
	}
	if rerun, there := claimOf(t, "ssh-rerun"); g.RefuseSSHRerun && (!there || !holds(rerun, "false")) {
		return fault.New(fault.Refused, "%s: the token's ssh-rerun is %s", fault.Option("refuse-ssh-rerun"), shown(rerun, there)).
			Hint("another user may be logged in to this job: run it again without SSH")
	}
	if left := t.Expiry.Sub(now).Round(time.Second); g.MinValidity > 0 && left < g.MinValidity {
		return fault.New(fault.Token, "%s: the token from %s is still valid for %s, less than %s", fault.Option("min-validity"), t.Source, max(left, 0), g.MinValidity).
			Hint("no token of this job is valid for longer: give a %s of %s or less, or exchange it in an early step", fault.Option("min-validity"), max(left, 0))
	}
	return nil
}

// claimOf returns a claim by its name, or by its name without CircleCI's prefix.
func claimOf(t oidc.Token, name string) (any, bool) {
	if v, ok := t.Claims[name]; ok {
		return v, true
	}
	v, ok := t.Claims[ClaimPrefix+name]
	return v, ok
}

// holds says whether a claim has a value: it is that text, number or boolean, or
// a list with it.
func holds(got any, want string) bool {
	switch v := got.(type) {
	case string:
		return v == want
	case bool, json.Number:
		return fmt.Sprint(v) == want
	case []any:
		for _, item := range v {
			if _, list := item.([]any); !list && holds(item, want) {
				return true
			}
		}
	}
	return false
}

func shown(v any, there bool) string {
	if !there {
		return "not there"
	}
	b, err := json.Marshal(v)
	if err != nil || len(b) > 300 {
		return "something else"
	}
	return string(b)
}
