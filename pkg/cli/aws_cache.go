package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/aws"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/undo"
)

const (
	// enough is what credentials have left at least that are handed out at once
	// while another process renews them.
	enough = time.Minute
	// renewTime bounds renewing what is valid still: the Go SDK waits for a minute.
	renewTime = 30 * time.Second
	// keep is how long a file of the cache is of use: no session is longer.
	keep = 24 * time.Hour
)

// awsCache keeps the credentials of one request of one job on disk, so that many
// SDKs that ask at once cause one exchange.
type awsCache struct {
	*awsRun
	x    *aws.Exchange
	dir  files.Cache
	name string // of the file
	// unused says why nothing is stored; "" while it is.
	unused string
}

// cacheDir is where caches are. An error says why there is no place for them.
func (a *app) cacheDir() (string, error) {
	dir, err := a.userDir("XDG_CACHE_HOME", ".cache")
	if err == nil && dir == "" {
		err = errors.New("there is no home directory")
	}
	return dir, err
}

// cache returns the request's cache, or nil where there can be none. An error is
// the token's, as finding it would return it.
func (r *awsRun) cache(ctx context.Context, x *aws.Exchange) (*awsCache, error) {
	if r.noCache {
		return nil, nil
	}
	dir, err := r.cacheDir()
	if err != nil {
		r.progress("works without a cache: %v", err)
		return nil, nil
	}
	id, err := r.finder(r.token).Identity(ctx)
	if err != nil {
		return nil, err
	}
	if id == nil {
		r.progress("works without a cache: nothing says beforehand which job the token is of")
		return nil, nil
	}
	return &awsCache{awsRun: r, x: x, dir: files.Cache{Dir: dir}, name: files.CacheName(x.Key(id...), "json")}, nil
}

// cached returns the credentials from the cache while they are fresh, else from an
// exchange, which one of all callers makes.
func (r *awsRun) cached(ctx context.Context, x *aws.Exchange) (aws.Credentials, error) {
	c, err := r.cache(ctx, x)
	if err != nil {
		return aws.Credentials{}, err
	}
	if c == nil {
		return r.exchange(ctx, x)
	}
	held := c.read()
	switch now := r.Now(); {
	case held.Fresh(now):
		c.remember()
		return c.from(held), nil
	case held.Left(now) >= enough:
		return c.renew(ctx, held)
	}
	return c.fill(ctx, held)
}

// read returns what is held, or the zero value, which has ended long ago.
func (c *awsCache) read() aws.Cached {
	b, err := c.dir.Read(c.name)
	if err == nil && b == nil {
		return aws.Cached{}
	}
	var held aws.Cached
	if err == nil {
		held, err = aws.ReadCached(b, c.Now())
	}
	if err != nil {
		c.progress("the cache is not used: %v", err)
		return aws.Cached{}
	}
	return held
}

func (c *awsCache) from(held aws.Cached) aws.Credentials {
	c.progress("from the cache: %s until %s", held.ARN, held.Expiration.Format(time.RFC3339))
	return held.Credentials
}

// renew makes new credentials ahead of time, unless another process is about it.
// What is held is valid, so nobody waits and no failure matters.
func (c *awsCache) renew(ctx context.Context, held aws.Cached) (aws.Credentials, error) {
	if held.JustTried(c.Now()) {
		return c.from(held), nil
	}
	unlock, ok := func() {}, true
	err := c.prepare(ctx)
	if err == nil {
		unlock, ok, err = c.dir.TryLock(c.name)
	}
	switch {
	case err != nil:
		c.without(err)
	case !ok:
		return c.from(held), nil
	default:
		defer unlock()
		if now := c.read(); now.Fresh(c.Now()) || now.JustTried(c.Now()) {
			return c.from(now), nil // another process was faster
		}
	}
	ctx, cancel := context.WithTimeout(ctx, renewTime)
	defer cancel()
	return c.make(ctx, held)
}

// fill makes the first credentials, or new ones for such as have ended. All callers
// but one wait.
func (c *awsCache) fill(ctx context.Context, held aws.Cached) (aws.Credentials, error) {
	err := c.prepare(ctx)
	var unlock func()
	if err == nil {
		unlock, err = c.dir.Lock(ctx, c.name)
	}
	switch {
	case errors.Is(err, files.ErrLocked), errors.Is(err, context.Canceled):
		return c.rather(held, err)
	case err != nil:
		c.without(err)
	default:
		defer unlock()
		if now := c.read(); now.Fresh(c.Now()) {
			return c.from(now), nil
		}
	}
	return c.make(ctx, held)
}

// prepare has the directory there, private, and recorded for cleanup.
func (c *awsCache) prepare(ctx context.Context) error {
	j := c.journal()
	if j == nil {
		if err := files.MakeDirs(c.dir.Dir); err != nil {
			return fmt.Errorf("cannot make directory %q: %w", c.dir.Dir, unwrapPath(err))
		}
		return c.dir.Ready()
	}
	if err := j.MkdirAll(ctx, c.dir.Dir); err != nil {
		return err
	}
	return c.dir.Ready()
}

// without says that nothing is stored, and why.
func (c *awsCache) without(why error) {
	c.progress("works without a cache: %v", why)
	c.unused = why.Error()
}

// make makes the exchange and stores what it gave. held is what is there already.
func (c *awsCache) make(ctx context.Context, held aws.Cached) (aws.Credentials, error) {
	got, err := c.exchange(ctx, c.x)
	if err != nil {
		held.Tried = c.Now()
		if held.Left(c.Now()) > 0 {
			c.store(ctx, held)
		}
		return c.rather(held, err)
	}
	c.store(ctx, aws.Cached{Credentials: got, Made: c.Now()})
	c.remember()
	return got, nil
}

// rather returns what is held instead of an error, while it is valid. Where it has
// ended, the error says when.
func (c *awsCache) rather(held aws.Cached, err error) (aws.Credentials, error) {
	switch left := held.Left(c.Now()); {
	case errors.Is(err, context.Canceled), held.Expiration.IsZero():
		return aws.Credentials{}, err
	case left > 0:
		c.note("the credentials could not be renewed, those from before are valid until " + held.Expiration.Format(time.RFC3339) + ": " + c.text(err))
		return held.Credentials, nil
	}
	return aws.Credentials{}, fault.New(fault.KindOf(err), "the credentials ended at %s and could not be renewed: %w", held.Expiration.Format(time.RFC3339), err)
}

// store keeps credentials. That it cannot is no failure.
func (c *awsCache) store(ctx context.Context, made aws.Cached) {
	if c.unused != "" {
		return
	}
	b, err := made.Store()
	if err == nil {
		_, err = aws.ReadCached(b, c.Now())
	}
	if err == nil {
		c.noteDirectory(ctx, noteCache, c.dir.Dir)
		err = c.dir.Write(c.name, b)
	}
	if err != nil {
		c.progress("the credentials are not cached: %v", err)
		return
	}
	if err := c.dir.Sweep(c.Now().Add(-keep)); err != nil {
		c.progress("the cache is not tidied up: %v", err)
	}
}

// clearCaches removes what is in the caches that the notes name, and in the one of
// this environment. With dryRun it says what it would remove. seen are the notes
// but those whose caches could not be removed.
func (a *app) clearCaches(notes []undo.Note, dryRun bool) (done []undo.Undone, seen []undo.Note, err error) {
	var dirs []string
	add := func(dir string) {
		if filepath.IsAbs(dir) && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	for _, n := range notes {
		if n.Kind == noteCache {
			add(n.Values[noteDir])
		}
	}
	if dir, err := a.cacheDir(); err == nil {
		add(dir)
	}
	failed := map[string]bool{}
	for _, dir := range dirs {
		c := files.Cache{Dir: dir}
		if c.Len() == 0 {
			continue
		}
		u := undo.Undone{Path: dir, Action: undo.Removed}
		if !dryRun {
			if e := c.Clear(); e != nil {
				u.Left, failed[dir], err = e.Error(), true, errors.Join(err, e)
			}
		}
		done = append(done, u)
	}
	kept, e := clearStates(notes, dryRun, failed)
	done, err = append(done, kept...), errors.Join(err, e)
	seen = slices.DeleteFunc(slices.Clone(notes), func(n undo.Note) bool { return failed[n.Values[noteDir]] })
	return done, seen, err
}
