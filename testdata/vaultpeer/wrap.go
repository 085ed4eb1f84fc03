package main

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/helper/wrapping"
	"github.com/hashicorp/vault/sdk/logical"
)

// wrapped is an answer that waits for who has its token.
type wrapped struct {
	answer []byte
	info   wrapping.ResponseWrapInfo
}

// wrappable says whether an answer holds anything that may be kept.
func wrappable(resp *logical.Response) bool {
	return resp != nil && !resp.IsError() && resp.Data[logical.HTTPStatusCode] == nil
}

func (p *peer) wrap(r *request, resp *logical.Response) (*logical.Response, error) {
	inner := logical.LogicalResponseToHTTPResponse(resp)
	inner.RequestID = r.ID
	answer, err := json.Marshal(inner)
	if err != nil {
		return nil, err
	}
	w := &wrapped{answer: answer, info: wrapping.ResponseWrapInfo{TTL: r.wrap, CreationTime: time.Now(), CreationPath: r.Path}}
	if resp.Auth != nil {
		w.info.WrappedAccessor = resp.Auth.Accessor
	}
	t := p.keep(&token{space: r.space, path: r.Path, wrapped: w, auth: &logical.Auth{
		LeaseOptions: logical.LeaseOptions{TTL: r.wrap}, Policies: []string{wrappingPolicy}, NumUses: 1, TokenType: logical.TokenTypeService,
	}})
	w.info.Token, w.info.Accessor = t.id, t.auth.Accessor
	return &logical.Response{WrapInfo: &w.info}, nil
}

// unwrap gives the kept answer once, as it was.
func (p *peer) unwrap(r *request) (*logical.Response, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tokens[wrappingToken(r)]
	if t == nil {
		return nil, consts.ErrInvalidWrappingToken
	}
	p.drop(t)
	return &logical.Response{Data: map[string]any{
		logical.HTTPStatusCode: http.StatusOK, logical.HTTPContentType: "application/json", logical.HTTPRawBody: t.wrapped.answer,
	}}, nil
}

// lookupWrapping tells who holds a wrapping token whether it is still whole,
// and what it was made for.
func (p *peer) lookupWrapping(r *request) *logical.Response {
	t := p.look(wrappingToken(r))
	if t == nil {
		return nil
	}
	i := t.wrapped.info
	return &logical.Response{Data: map[string]any{
		"creation_path": i.CreationPath, "creation_time": i.CreationTime.Format(time.RFC3339Nano), "creation_ttl": int64(i.TTL.Seconds()),
	}}
}
