package cli

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/oidc-broker/oidc-broker/pkg/aws"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
)

// A shortcut is a file in the cache that says which entry answers a command line in
// an environment, so that a credential-process that is asked again need not build
// the commands. It is written for what depends on these two alone: not where files
// are read, where something else would be printed, or where the token is in a
// variable of the user's own. Whatever is not as it was misses it.

const maxShortcuts = 200 // an environment that differs with every call must not fill the disk

// shortcut answers from the cache what the command would answer from there, and
// says whether it did.
func (a *app) shortcut(ctx context.Context) (status int, done bool) {
	if !a.shortcutFits() || terminal(a.Stdout) || ctx.Err() != nil {
		return 0, false
	}
	dir, err := a.cacheDir()
	if err != nil {
		return 0, false
	}
	c := files.Cache{Dir: dir}
	entry, err := c.Read(a.shortcutName())
	if err != nil || entry == nil {
		return 0, false
	}
	b, err := c.Read(string(entry))
	if err != nil || b == nil {
		return 0, false
	}
	held, err := aws.ReadCached(b, a.Now())
	if err != nil || !held.Fresh(a.Now()) {
		return 0, false
	}
	out, err := held.Process()
	if err != nil {
		return 0, false
	}
	return a.report(a.result(out)), true
}

func (a *app) shortcutFits() bool {
	return len(a.Args) > 1 && a.Args[0] == "aws" && a.Args[1] == "credential-process"
}

// shortcutName is the digest of the command line and of all variables that the
// command reads, and of more.
func (a *app) shortcutName() string {
	env := slices.DeleteFunc(slices.Clone(a.Environ()), func(v string) bool {
		name, _, _ := strings.Cut(strings.ToUpper(v), "=")
		for _, prefix := range []string{"AWS_", "OIDC_BROKER_", "CIRCLE"} {
			if strings.HasPrefix(name, prefix) {
				return false
			}
		}
		return name != "HOME" && name != "LOCALAPPDATA" && name != "XDG_CACHE_HOME"
	})
	slices.Sort(env)
	h := sha256.New()
	for _, list := range [][]string{{"shortcut 1", version}, a.Args, env} {
		_, _ = fmt.Fprintf(h, "%d\n", len(list))
		for _, s := range list {
			_, _ = fmt.Fprintf(h, "%d:%s\n", len(s), s)
		}
	}
	return files.CacheName([sha256.Size]byte(h.Sum(nil)), "ref")
}

// remember writes the shortcut, where there can be one and is none.
func (c *awsCache) remember() {
	if !c.shortcutFits() || c.verbose || c.unused != "" || len(c.x.Notes) > 0 || c.x.FromFiles() || c.token.Env != "" || c.token.File != "" {
		return
	}
	name := c.shortcutName()
	if there, err := c.dir.Read(name); err != nil || there != nil && string(there) == c.name || c.dir.Len() > maxShortcuts {
		return
	}
	if unlock, ok, err := c.dir.TryLock(name); err == nil && ok {
		defer unlock()
		_ = c.dir.Write(name, []byte(c.name)) // without it the next call takes the long way
	}
}
