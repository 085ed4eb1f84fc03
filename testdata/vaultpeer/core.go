package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/go-multierror"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
)

// A request is one that was read, in the namespace it is for. Its Path is as
// that namespace sees it.
type request struct {
	*logical.Request
	space *space
	wrap  time.Duration // how long to keep the answer, instead of giving it
}

func (r *request) whole() string { return r.space.path + r.Path }

// do finds out who may answer a request.
func (p *peer) do(ctx context.Context, r *request) (*logical.Response, error) {
	if r.Operation == logical.UpdateOperation && strings.HasSuffix(r.Path, "/") {
		return logical.ErrorResponse("cannot write to a path ending in '/'"), nil
	}
	if r.Path == "sys/wrapping/lookup" || r.Path == "sys/wrapping/unwrap" {
		if resp, err := p.checkWrapping(r); err != nil {
			return resp, err
		}
	}
	m := p.find(r.whole())
	var resp *logical.Response
	var err error
	switch {
	case m != nil && m.open(r.whole()):
		resp, err = p.withoutToken(ctx, m, r)
	case r.Path == "sys/wrapping/lookup" && r.Operation == logical.UpdateOperation:
		return p.lookupWrapping(r), nil
	case strings.HasPrefix(r.Path, mountsPath) && r.Operation == logical.ReadOperation:
		resp, err = p.describeMount(r)
	default:
		resp, err = p.withToken(ctx, m, r)
	}
	if err == nil && r.wrap > 0 && wrappable(resp) {
		return p.wrap(r, resp)
	}
	return resp, err
}

func (p *peer) withoutToken(ctx context.Context, m *mount, r *request) (*logical.Response, error) {
	resp, err := m.handle(ctx, r.whole(), r.Request)
	if err != nil || resp == nil || resp.Auth == nil {
		return resp, err
	}
	return p.login(m, r.Path, resp)
}

func (p *peer) withToken(ctx context.Context, m *mount, r *request) (resp *logical.Response, err error) {
	t := p.use(r.ClientToken)
	if t == nil {
		return nil, logical.ErrPermissionDenied
	}
	defer func() {
		if !t.spent {
			return
		}
		p.revoke(t)
		if resp != nil && resp.Secret != nil && resp.Secret.LeaseID != "" {
			resp = logical.ErrorResponse("Secret cannot be returned; token had one use left, so leased credentials were immediately revoked.")
		}
	}()
	if m != nil && r.Operation == logical.UpdateOperation {
		found, exists, err := m.backend.HandleExistenceCheck(ctx, m.inner(r.whole(), r.Request))
		if err != nil && !errors.Is(err, logical.ErrUnsupportedPath) {
			return nil, err
		}
		if found && !exists {
			r.Operation = logical.CreateOperation
		}
	}
	if !t.allows(r.space, r.Path, r.Operation) {
		return nil, multierror.Append(nil, logical.ErrPermissionDenied)
	}
	resp, err = p.route(ctx, m, t, r)
	if err != nil {
		err = multierror.Append(nil, err)
	}
	return resp, err
}

// route asks what serves a path, for a token that may.
func (p *peer) route(ctx context.Context, m *mount, t *token, r *request) (*logical.Response, error) {
	if serve := system[string(r.Operation)+" "+r.Path]; serve != nil {
		return serve(ctx, p, t, r)
	}
	if strings.HasPrefix(r.Path, "sys/") || strings.HasPrefix(r.Path, "auth/token/") {
		return nil, logical.ErrUnsupportedPath
	}
	if m == nil {
		return logical.ErrorResponse(fmt.Sprintf("no handler for route %q. route entry not found.", r.Path)), logical.ErrUnsupportedPath
	}
	resp, err := m.handle(ctx, r.whole(), r.Request)
	if err != nil || resp == nil || resp.Secret == nil {
		return resp, err
	}
	if !m.kind.leased {
		resp.Secret.Renewable = false
		return resp, nil
	}
	return resp, p.lend(m, r.Path, t, resp)
}

// checkWrapping demands a wrapping token, which the body or the header names.
func (p *peer) checkWrapping(r *request) (*logical.Response, error) {
	id := wrappingToken(r)
	if id == "" {
		return logical.ErrorResponse("error validating wrapping token: token is empty"), logical.ErrPermissionDenied
	}
	if t := p.look(id); t == nil || t.wrapped == nil || t.spent {
		return nil, consts.ErrInvalidWrappingToken
	}
	return nil, nil
}

func wrappingToken(r *request) string {
	if id, ok := r.Data["token"].(string); ok {
		return id
	}
	return r.ClientToken
}
