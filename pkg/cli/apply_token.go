package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"reflect"
	"sync"

	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/oidc"
)

// A choice is one way to choose the job's token, and the targets that made it.
type choice struct {
	options tokenOptions
	targets []*target
	token   oidc.Token
	err     error
}

// findTokens finds the token of each target: once for each choice, and before any
// call to a cloud.
func (p *plan) findTokens(ctx context.Context) (map[*target]oidc.Token, error) {
	choices := p.choices()
	shared := p.shared()
	var wg sync.WaitGroup
	for _, c := range choices {
		wg.Go(func() {
			f := p.finder(c.options)
			f.Run, f.Stdin = shared.run(f.Run), shared.input()
			c.token, c.err = f.Find(ctx)
		})
	}
	wg.Wait()
	tokens := map[*target]oidc.Token{}
	for _, c := range choices {
		if c.err != nil {
			return nil, p.noToken(ctx, choices)
		}
		for _, t := range c.targets {
			tokens[t] = c.token
		}
	}
	return tokens, p.apart(tokens)
}

// choices are the different ones among the targets that begin with the token.
func (p *plan) choices() []*choice {
	var all []*choice
	for _, t := range p.targets {
		if !t.needed || t.via != nil {
			continue
		}
		options := t.token
		if p.finder(options).ByReceiver() {
			options.receiver = t.receiver
		}
		var same *choice
		for _, c := range all {
			if reflect.DeepEqual(c.options, options) {
				same = c
			}
		}
		if same == nil {
			same = &choice{options: options}
			all = append(all, same)
		}
		same.targets = append(same.targets, t)
	}
	return all
}

// noToken is the error where choices found none.
func (p *plan) noToken(ctx context.Context, choices []*choice) error {
	if err := ctx.Err(); err == context.Canceled {
		return err
	}
	var all failures
	for _, c := range choices {
		if c.err == nil {
			continue
		}
		command := p.command
		command.receiver = c.options.receiver
		spec := mapping(c.targets[0].spec)
		if reflect.DeepEqual(c.options, command) {
			spec = nil // it is no file that chose
		}
		subject := ""
		if len(choices) > 1 {
			subject = "the token of " + whose(c.targets) + ": "
		}
		all = append(all, p.inTermsOf(spec, subject, c.err, len(choices) > 1 && len(all) == 0))
	}
	return all
}

func whose(targets []*target) string {
	names := make([]string, len(targets))
	for i, t := range targets {
		names[i] = t.String()
	}
	return fault.Names(names)
}

// apart refuses two tokens for one file: Google's configurations of one provider
// and audience name one file of the token.
func (p *plan) apart(tokens map[*target]oidc.Token) error {
	holds := map[string]*target{}
	for _, t := range p.targets {
		if t.tokenFile == nil {
			continue
		}
		path, err := t.tokenFile(tokens[t])
		if err != nil {
			return err
		}
		other := holds[path]
		if other != nil && !tokens[t].Raw.Equal(tokens[other].Raw) {
			return misplaced(t.at(), "%s and %s have two tokens for one file: %q", t, other, path).
				Hint("give both the same token, or one of them source: executable")
		}
		holds[path] = t
	}
	return nil
}

// sharedSources are what several finders ask, and may be asked once: standard input
// has an end, and minting takes seconds.
type sharedSources struct {
	stdin func() ([]byte, error)
	mu    sync.Mutex
	runs  map[string]func() ([]byte, []byte, error)
}

// maxStdin is far more than any token has.
const maxStdin = 1 << 20

func (p *plan) shared() *sharedSources {
	return &sharedSources{
		stdin: sync.OnceValues(func() ([]byte, error) { return io.ReadAll(io.LimitReader(p.Stdin, maxStdin)) }),
		runs:  map[string]func() ([]byte, []byte, error){},
	}
}

type runner = func(ctx context.Context, argv ...string) (stdout, stderr []byte, err error)

// run returns a runner that runs each command once, and gives what it gave then to
// whoever asks again.
func (s *sharedSources) run(run runner) runner {
	return func(ctx context.Context, argv ...string) ([]byte, []byte, error) {
		key := fmt.Sprintf("%q", argv)
		s.mu.Lock()
		once := s.runs[key]
		if once == nil {
			once = onceRun(func() ([]byte, []byte, error) { return run(ctx, argv...) })
			s.runs[key] = once
		}
		s.mu.Unlock()
		return once()
	}
}

func onceRun(run func() ([]byte, []byte, error)) func() ([]byte, []byte, error) {
	var stdout, stderr []byte
	var err error
	once := sync.OnceFunc(func() { stdout, stderr, err = run() })
	return func() ([]byte, []byte, error) {
		once()
		return stdout, stderr, err
	}
}

// input returns a reader of standard input from its beginning.
func (s *sharedSources) input() io.Reader { return &replay{from: s.stdin} }

type replay struct {
	from func() ([]byte, error)
	rest io.Reader
}

func (r *replay) Read(b []byte) (int, error) {
	if r.rest == nil {
		all, err := r.from()
		if err != nil {
			return 0, err
		}
		r.rest = bytes.NewReader(all)
	}
	return r.rest.Read(b)
}
