package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/oidc-broker/oidc-broker/pkg/aws"
	"github.com/oidc-broker/oidc-broker/pkg/internal/child"
	"github.com/oidc-broker/oidc-broker/pkg/internal/fault"
	"github.com/oidc-broker/oidc-broker/pkg/internal/files"
	"github.com/oidc-broker/oidc-broker/pkg/internal/secret"
)

// settleRefresh refuses what cannot be renewed.
func (r *awsRun) settleRefresh() error {
	if r.token.File == "-" {
		return fault.New(fault.Usage, "%s - cannot be read again: it does not go with %s", fault.Option("token-file"), fault.Option("refresh")).
			Hint("without %s a new token is minted when the job's has expired", fault.Option("token-file"))
	}
	return nil
}

// refreshed runs a command beside an endpoint, which the SDKs ask for credentials
// as often as they need some. The first are there before the command starts: what
// AWS refuses, it refuses here.
func (r *awsRun) refreshed(ctx context.Context, x *aws.Exchange, argv []string) error {
	own, err := r.withoutDefault(ctx)
	if err != nil {
		return err
	}
	defer own.remove()
	first, err := r.within(ctx, x)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil { // an interrupt that came while the last answer did
		return err
	}
	r.noteLast(ctx, r.token, "AWS credentials")
	r.token.silent = true // a token that is minted instead of the job's is noted once
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	kept := aws.NewRefreshed(first, func(ctx context.Context) (aws.Credentials, error) { return r.within(ctx, x) }, r.Now, r.notRenewed)
	running := make(chan struct{})
	go func() {
		defer close(running)
		kept.Run(life)
	}()
	defer func() { end(); <-running }()
	endpoint, err := aws.Serve(life, func(ctx context.Context) (aws.Credentials, error) {
		got, err := kept.Get(ctx)
		return got, r.inOneLine(err)
	})
	if err != nil {
		return err
	}
	defer endpoint.Close()
	env := endpoint.Environment(first.Region, r.Getenv)
	env.Set = append(env.Set, own.variables...)
	for _, n := range own.notes {
		r.note(n)
	}
	return r.child(ctx, argv, env, r.token)
}

// within is exchange in the time that a command's calls may take.
func (r *awsRun) within(ctx context.Context, x *aws.Exchange) (aws.Credentials, error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	return r.exchange(ctx, x)
}

// notRenewed says once what will happen to a command that goes on.
func (r *awsRun) notRenewed(end time.Time, err error) {
	r.note(fmt.Sprintf("the AWS credentials end at %s and could not be renewed yet: %s", end.UTC().Format(time.RFC3339), r.text(err)))
	for _, h := range asFlags.Hints(err) {
		r.note(h)
	}
}

// inOneLine is an error as it is to be shown by another program.
func (a *app) inOneLine(err error) error {
	if err == nil {
		return nil
	}
	text := a.text(err)
	if hints := asFlags.Hints(err); len(hints) > 0 {
		text += " (" + strings.Join(hints, "; ") + ")"
	}
	return errors.New(clean(text))
}

// ownFiles are copies of a user's files for a command alone.
type ownFiles struct {
	remove    func()
	variables []child.Var
	notes     []string
}

// withoutDefault gives the command copies of AWS's files where the default profile
// has credentials: the SDKs would take those, and never ask the endpoint.
func (r *awsRun) withoutDefault(ctx context.Context) (ownFiles, error) {
	none := ownFiles{remove: func() {}}
	getenv, err := r.environment("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "HOME", "BOTO_CONFIG")
	if err != nil {
		return none, err
	}
	if file := aws.BotoKeys(getenv); file != "" {
		return none, fault.New(fault.Local, "%q holds AWS keys, which the AWS CLI and boto3 would use instead", file).
			Hint("take them out, or name another file to the command: BOTO_CONFIG=%s", os.DevNull)
	}
	found, err := aws.FindFiles(getenv)
	if err != nil {
		return none, nil //nolint:nilerr // without a home directory the SDKs find none
	}
	copies, err := found.Unshadowed()
	if err != nil || len(copies) == 0 {
		return none, err
	}
	// Recorded until it is gone: what this process leaves when it is killed, cleanup removes.
	dir, done, err := r.privateDir(ctx)
	if err != nil {
		return none, err
	}
	own := ownFiles{remove: done}
	for _, c := range copies {
		path := filepath.Join(dir, c.Name)
		if err := files.WriteNew(path, c.Content); err != nil {
			own.remove()
			return none, fault.New(fault.Local, "cannot write a copy of %q: %w", c.Of, errors.Unwrap(err))
		}
		own.variables = append(own.variables, child.Var{Name: c.Variable, Value: secret.New(path)})
		own.notes = append(own.notes, fmt.Sprintf("the command reads a copy of %q, without the credentials of the default profile: they would win over those that are renewed", c.Of))
	}
	return own, nil
}
