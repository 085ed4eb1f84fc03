package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/go-secure-stdlib/parseutil"
	"github.com/hashicorp/vault/sdk/logical"
)

// system are the paths of the core itself, by operation.
var system = map[string]func(context.Context, *peer, *token, *request) (*logical.Response, error){
	"read auth/token/lookup-self":   lookupSelf,
	"update auth/token/lookup-self": lookupSelf,
	"update auth/token/lookup":      lookup,
	"update auth/token/renew-self":  renewSelf,
	"update auth/token/revoke-self": revokeSelf,
	"update auth/token/revoke":      revokeOther,
	"update sys/leases/lookup":      lookupLease,
	"update sys/leases/renew":       renewLease,
	"update sys/leases/revoke":      revokeLease,
	"update sys/wrapping/wrap":      wrapGiven,
	"update sys/wrapping/unwrap":    unwrap,
}

func lookupSelf(_ context.Context, p *peer, t *token, _ *request) (*logical.Response, error) {
	return p.describe(t), nil
}

func lookup(_ context.Context, p *peer, t *token, r *request) (*logical.Response, error) {
	if id := text(r, "token"); id != "" {
		t = p.look(id)
	}
	if t == nil {
		return logical.ErrorResponse("bad token"), logical.ErrPermissionDenied
	}
	return p.describe(t), nil
}

func renewSelf(ctx context.Context, p *peer, t *token, r *request) (*logical.Response, error) {
	increment, refusal := duration(r, "increment")
	if refusal != nil {
		return refusal, nil
	}
	return p.renew(ctx, t, increment)
}

func revokeSelf(_ context.Context, p *peer, t *token, _ *request) (*logical.Response, error) {
	if t.batch {
		return logical.ErrorResponse("batch tokens cannot be revoked"), nil
	}
	p.revoke(t)
	return nil, nil
}

func revokeOther(ctx context.Context, p *peer, _ *token, r *request) (*logical.Response, error) {
	id := text(r, "token")
	if id == "" {
		return logical.ErrorResponse("missing token ID"), logical.ErrInvalidRequest
	}
	t := p.look(id)
	if t == nil {
		return nil, nil
	}
	return revokeSelf(ctx, p, t, r)
}

func lookupLease(_ context.Context, p *peer, _ *token, r *request) (*logical.Response, error) {
	id := text(r, "lease_id")
	if id == "" {
		return logical.ErrorResponse("lease_id must be specified"), logical.ErrInvalidRequest
	}
	l := p.lookLease(id)
	if l == nil {
		return logical.ErrorResponse("invalid lease"), logical.ErrInvalidRequest
	}
	return l.describe(), nil
}

func renewLease(_ context.Context, p *peer, _ *token, r *request) (*logical.Response, error) {
	increment, refusal := duration(r, "increment")
	if refusal != nil {
		return refusal, nil
	}
	resp, err := p.renewLease(text(r, "lease_id"), increment)
	if err != nil {
		return logical.ErrorResponse(err.Error()), logical.ErrInvalidRequest
	}
	return resp, nil
}

func revokeLease(_ context.Context, p *peer, _ *token, r *request) (*logical.Response, error) {
	p.revokeLease(text(r, "lease_id"))
	if sync, err := parseutil.ParseBool(r.Data["sync"]); err == nil && sync {
		return nil, nil
	}
	return logical.RespondWithStatusCode(nil, nil, http.StatusAccepted)
}

// wrapGiven answers with what it was sent: the header asks to wrap that.
func wrapGiven(_ context.Context, _ *peer, _ *token, r *request) (*logical.Response, error) {
	if r.wrap <= 0 {
		return logical.ErrorResponse("endpoint requires response wrapping to be used"), logical.ErrInvalidRequest
	}
	return &logical.Response{Data: r.Data}, nil
}

func unwrap(_ context.Context, p *peer, _ *token, r *request) (*logical.Response, error) {
	return p.unwrap(r)
}

// mountsPath tells the version of a key/value mount to who may read below it.
const mountsPath = "sys/internal/ui/mounts/"

func (p *peer) describeMount(r *request) (*logical.Response, error) {
	path := strings.Trim(strings.TrimPrefix(r.Path, mountsPath), "/") + "/"
	t, m := p.look(r.ClientToken), p.find(r.space.path+path)
	switch {
	case t == nil:
		return nil, logical.ErrPermissionDenied
	case m == nil || !t.sees(m):
		return logical.ErrorResponse(fmt.Sprintf("preflight capability check returned 403, please ensure client's policies grant access to path %q", path)),
			logical.ErrPermissionDenied
	}
	d := map[string]any{"path": strings.TrimPrefix(m.path, r.space.path), "type": m.kind.name, "accessor": m.accessor, "options": nil}
	if m.kind.version != "" {
		d["options"] = map[string]string{"version": m.kind.version}
	}
	return &logical.Response{Data: d}, nil
}

func text(r *request, field string) string {
	s, _ := r.Data[field].(string)
	return s
}

// duration reads a number of seconds, or a text as 24h.
func duration(r *request, field string) (time.Duration, *logical.Response) {
	v, ok := r.Data[field]
	if !ok {
		return 0, nil
	}
	d, err := parseutil.ParseDurationSecond(v)
	if err != nil {
		return 0, logical.ErrorResponse("Field validation failed: error converting input for field %q: %s", field, err)
	}
	return d, nil
}
