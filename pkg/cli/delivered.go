package cli

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A delivery is what a command wrote for the steps that follow.
type delivery struct {
	what     string // `profile "deploy"`
	where    string // a path, or $BASH_ENV
	identity string // whose credentials they are, as the receiver names it
	expiry   time.Time
	lifetime string // instead of an expiry
}

// renewing is the lifetime of what calls this program for new credentials.
const renewing = "renewed by this program"

// delivered tells that a command worked: without this line a step whose later tool
// finds no credentials looks the same as one that wrote none. It is for files alone:
// standard output speaks for itself, and a command that runs owns stderr.
func (a *app) delivered(d delivery) {
	a.tell(a.deliveryText(d))
}

// tell prints a line of what was done.
func (a *app) tell(text string) {
	if !a.quiet && text != "" {
		_, _ = fmt.Fprintf(a.Stderr, "oidc-broker: %s\n", clean(text))
	}
}

func (a *app) deliveryText(d delivery) string {
	text := fmt.Sprintf("wrote %s to %s", d.what, a.shownPath(d.where))
	if d.identity != "" {
		text += ": " + d.identity
	}
	switch {
	case d.lifetime != "":
		return text + ", " + d.lifetime
	case d.expiry.IsZero():
		return text
	}
	return text + fmt.Sprintf(", valid until %s (%s)", d.expiry.UTC().Format(time.RFC3339), d.expiry.Sub(a.Now()).Round(time.Second))
}

// shownPath is a path as a person writes it: below the home directory with ~, and
// quoted where it holds what would not be seen.
func (a *app) shownPath(path string) string {
	if strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r == '"' || r == '\\' && filepath.Separator != '\\' || r >= 0x7f }) {
		return strconv.Quote(path)
	}
	if home := a.Getenv("HOME"); filepath.IsAbs(home) {
		if rest, ok := strings.CutPrefix(path, filepath.Clean(home)+string(filepath.Separator)); ok {
			return filepath.Join("~", rest)
		}
	}
	return path
}
