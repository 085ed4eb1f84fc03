package sandbox

import (
	"encoding/base64"
	"strings"
	"sync"
	"time"
)

const (
	principalOne = "principal://iam.googleapis.com/"
	principalSet = "principalSet://iam.googleapis.com/"
)

// A googleToken is an access token: of a workload, as the token service gave
// it, or of a service account.
type googleToken struct {
	email      string // of the service account, else empty
	pool       string
	attributes map[string]string // as mapped, google.subject among them
	scopes     []string
	issued     time.Time
	expires    time.Time
}

// principal names the workload as policies of Google do.
func (t *googleToken) principal() string {
	return principalOne + t.pool + "/subject/" + t.attributes[googleSubject]
}

// is says whether the workload is the member of a binding, or among it.
func (t *googleToken) is(member string) bool {
	if member == t.principal() || member == principalSet+t.pool+"/*" {
		return true
	}
	rest, ours := strings.CutPrefix(member, principalSet+t.pool+"/")
	if !ours {
		return false
	}
	if _, in := t.attributes[rest]; in && strings.HasPrefix(rest, "group/") {
		return true
	}
	name, value, _ := strings.Cut(rest, "/")
	mapped, there := t.attributes[name]
	return there && strings.HasPrefix(name, "attribute.") && mapped == value
}

// googleTokens are the access tokens that this sandbox issued.
type googleTokens struct {
	mu     sync.Mutex
	byText map[string]*googleToken
	ledger *ledger
}

// issue makes a token that begins as the real ones do: with ya29.d. for a
// workload, with ya29.c. for a service account.
func (g *googleTokens) issue(t *googleToken) string {
	lead, length := "ya29.d.", 600
	if t.email != "" {
		lead, length = "ya29.c.", 700
	}
	text := lead + base64.RawURLEncoding.EncodeToString(random(length))
	g.mu.Lock()
	g.byText[text] = t
	g.mu.Unlock()
	g.ledger.add(text)
	return text
}

// find returns nil for a token that was not issued here.
func (g *googleTokens) find(text string) *googleToken {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.byText[text]
}
